//! TLS on this server's sockets: what the directives say (`setup`), a stream of the loop (`stream`), and the steps
//! from an accepted socket to a client that may speak (`handshake`).
pub mod handshake;
pub mod setup;
pub mod stream;
