//! The link to a primary, without its socket: bytes in, bytes out, and what the state makes of them.
//!
//! `handshake` comes to terms with the primary, `transfer` takes the snapshot's bytes apart from what frames them,
//! `intake` loads it, `resume` says from where the stream may go on. A primary is as little trusted as any other
//! peer: whatever it sends, the outcome is a line in the log and another attempt.
pub mod handshake;
pub mod intake;
pub mod resume;
pub mod transfer;

#[cfg(test)]
mod tests;
