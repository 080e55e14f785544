//! One accepted connection's session: bytes of the network in, bytes of the client out, and the other way round.
//!
//! It knows no socket. It keeps nothing between two calls but what cannot be used yet: a record that has not
//! come in whole, and plain bytes for which the caller had no room. A peer makes it hold no more than that.
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// The longest record there is, with its head.
pub const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;
/// An unfinished message of a handshake: certificates, mostly. rustls takes 64 KiB.
const HANDSHAKE_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// What the peer does not take, while it goes on sending: enciphered text, and what rustls has to say (tickets,
/// alerts, new keys).
const UNSENT_MAX: usize = 256 * 1024;
/// What a record needs beside its text, at the most.
const RECORD_EXTRA: usize = 64;
/// The longest text of a record.
const TEXT_MAX: usize = 16 * 1024;

/// A session with a client.
pub struct Session {
    rustls: UnbufferedServerConnection,
    /// The beginning of a record that has not come in whole.
    partial: Vec<u8>,
    /// Plain bytes that have not been taken, from `plain_at` on.
    plain: Vec<u8>,
    plain_at: usize,
    /// Said and not yet sent, from `unsent_at` on.
    unsent: Vec<u8>,
    unsent_at: usize,
    /// The peer has said that it sends no more.
    ended: bool,
    /// It has sent something that is no TLS, or broken: nothing more is to be done.
    failed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Why a session cannot go on.
#[derive(Debug)]
pub enum Failure {
    /// What came is not TLS at all.
    NotTls,
    Tls(Error),
    /// It wants more memory than a handshake may.
    TooLarge,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotTls => f.write_str("what came in is not TLS"),
            Failure::Tls(error) => error.fmt(f),
            Failure::TooLarge => f.write_str("the handshake is too large"),
        }
    }
}

impl Session {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            rustls: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            unsent: Vec::new(),
            unsent_at: 0,
            ended: false,
            failed: false,
        })
    }

    /// Has it not been agreed yet who speaks to whom?
    pub fn is_handshaking(&self) -> bool {
        self.rustls.is_handshaking()
    }

    /// The certificates that the client has shown, its own first.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.rustls.peer_certificates().unwrap_or_default()
    }

    /// Nothing more will come from the peer.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Plain bytes wait.
    pub fn has_plain(&self) -> bool {
        self.plain_at < self.plain.len()
    }

    /// Hands out plain bytes that wait.
    pub fn take_plain(&mut self, room: &mut [u8]) -> usize {
        let waiting = &self.plain[self.plain_at..];
        let n = waiting.len().min(room.len());
        room[..n].copy_from_slice(&waiting[..n]);
        self.plain_at += n;
        if self.plain_at == self.plain.len() {
            (self.plain, self.plain_at) = (Vec::new(), 0);
        }
        n
    }

    /// What is to be sent before anything else is.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent[self.unsent_at..]
    }

    /// So much of that has been sent.
    pub fn sent(&mut self, n: usize) {
        self.unsent_at += n;
        if self.unsent_at >= self.unsent.len() {
            (self.unsent, self.unsent_at) = (Vec::new(), 0);
        }
    }

    /// Enciphered already, and to be sent before anything else is: the network takes no more just now.
    pub fn keep(&mut self, wire: &[u8]) {
        self.unsent.extend_from_slice(wire);
    }

    /// Bytes of an unfinished record, to stand in front of what comes in next.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Memory held between calls, rustls' own aside.
    pub fn held_bytes(&self) -> usize {
        self.partial.capacity() + self.plain.capacity() + self.unsent.capacity()
    }

    /// Takes what has come in (in front of it what was left of the last time, `partial`), deciphers it in place
    /// and writes what it says to `room`. Says how many bytes that is; what finds no room waits in `plain`.
    pub fn receive(&mut self, wire: &mut [u8], room: &mut [u8]) -> Result<usize, Failure> {
        if self.failed {
            return Ok(0);
        }
        let first = self.rustls.is_handshaking() && self.rustls.protocol_version().is_none();
        if first && wire.first().is_some_and(|byte| *byte != 0x16) {
            self.failed = true;
            return Err(Failure::NotTls);
        }
        let mut filled = 0;
        let mut used = 0;
        let outcome = loop {
            let UnbufferedStatus { mut discard, state } =
                self.rustls.process_tls_records(&mut wire[used..]);
            match state {
                Err(error) => break Err(error),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let Ok(record) = record else { break };
                        discard += record.discard;
                        let n = record.payload.len().min(room.len() - filled);
                        room[filled..filled + n].copy_from_slice(&record.payload[..n]);
                        filled += n;
                        self.plain.extend_from_slice(&record.payload[n..]);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => {
                    used += discard;
                    break Ok(());
                }
            }
            used += discard;
        };
        if let Err(error) = outcome {
            self.failed = true;
            self.partial = Vec::new();
            self.drain();
            return match filled {
                // What came before it is good: it is told of the next time.
                0 => Err(Failure::Tls(error)),
                n => Ok(n),
            };
        }
        self.partial.clear();
        self.partial.extend_from_slice(&wire[used..]);
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        if self.partial.len() > HANDSHAKE_BYTES_MAX || self.unsent().len() > UNSENT_MAX {
            self.failed = true;
            return Err(Failure::TooLarge);
        }
        Ok(filled)
    }

    /// Has it failed? Then nothing of it is read any more.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes along what rustls still wants to say: the alert that says why it ends.
    fn drain(&mut self) {
        loop {
            match self.rustls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }

    /// Enciphers `text` behind what is in `out`.
    pub fn send(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            match self.rustls.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let records = text.len() / TEXT_MAX + 2;
                    let from = out.len();
                    let mut room = text.len() + records * RECORD_EXTRA;
                    loop {
                        out.resize(from + room, 0);
                        match traffic.encrypt(text, &mut out[from..]) {
                            Ok(n) => {
                                out.truncate(from + n);
                                return Ok(());
                            }
                            Err(EncryptError::InsufficientSize(size)) => room = size.required_size,
                            Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
                        }
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(out, |room| data.encode(room)),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(Error::HandshakeNotComplete),
            }
        }
    }

    /// Says that nothing more will come, behind what is in `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        loop {
            match self.rustls.process_tls_records(&mut []).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let from = out.len();
                    out.resize(from + 4 * RECORD_EXTRA, 0);
                    let n = traffic.queue_close_notify(&mut out[from..]).unwrap_or(0);
                    out.truncate(from + n);
                    return;
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                _ => return,
            }
        }
    }
}

/// Appends what rustls has to say.
fn encode(out: &mut Vec<u8>, mut data: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let from = out.len();
    let mut room = 1024;
    loop {
        out.resize(from + room, 0);
        match data(&mut out[from..]) {
            Ok(n) => return out.truncate(from + n),
            Err(EncodeError::InsufficientSize(size)) if size.required_size > room => {
                room = size.required_size;
            }
            Err(_) => return out.truncate(from),
        }
    }
}
