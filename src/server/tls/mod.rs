//! TLS on this server's sockets: what the directives say (`setup`,
//! `reload`), a stream of the loop (`stream`), and the steps
//! from an accepted socket to a client that may speak (`handshake`).
pub mod handshake;
pub mod reload;
pub mod setup;
pub mod stream;
