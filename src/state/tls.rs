//! What TLS connections are accepted with, and how that goes.
use crate::base::tls::setup::Server;

/// TLS as of now. A connection keeps what it was accepted with.
#[derive(Debug, Default)]
pub struct Tls {
    /// `None`: no directive asks for TLS.
    pub active: Option<Server>,
    /// What was in force before a CONFIG SET that may still be refused for another directive.
    pub before: Option<Server>,
    /// Handshakes that came to their end, and that did not.
    pub handshakes: u64,
    pub handshakes_failed: u64,
    /// Bytes that those which are not over hold.
    pub held_by_handshakes: usize,
    /// When a failed one was last logged, in unix seconds: nobody fills the log from outside.
    pub logged_s: i64,
    /// Times that the certificates were read again, and could not be.
    pub reloads: u64,
    pub reloads_failed: u64,
}
