//! One accepted connection's session: bytes of the network in, bytes of the client out, and the other way round.
//!
//! It knows no socket. It keeps nothing between two calls but what cannot be used yet: a record that has not
//! come in whole, and plain bytes for which the caller had no room. A peer makes it hold no more than that.
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// The longest record there is, with its head.
pub const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;
/// An unfinished message of a handshake where the peer is asked for its certificates: rustls takes 64 KiB. Any
/// other one fits a record.
const HANDSHAKE_BYTES_MAX: usize = 4 * RECORD_BYTES_MAX;
/// What the peer does not take, while it goes on sending: enciphered text, and what rustls has to say (tickets,
/// alerts, new keys).
const UNSENT_MAX: usize = 256 * 1024;
/// What a record needs beside its text, at the most.
const RECORD_EXTRA: usize = 64;
/// Memory for what is unfinished comes in pieces of this size.
const PARTIAL_STEP: usize = 1024;
/// The longest text of a record.
const TEXT_MAX: usize = 16 * 1024;

/// TLS 1.2 has no way to change the key of a connection; 1.3 does it by itself.
const EXHAUSTED: &str =
    "the key of this TLS 1.2 connection has enciphered as many records as it may";

type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

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
    /// The peer is asked for its certificates.
    asks: bool,
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
    /// `asks`: the configuration asks the peer for its certificates.
    pub fn new(config: Arc<ServerConfig>, asks: bool) -> Result<Self, Error> {
        Ok(Self {
            rustls: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            plain: Vec::new(),
            plain_at: 0,
            unsent: Vec::new(),
            unsent_at: 0,
            ended: false,
            failed: false,
            asks,
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
                Err(error) => {
                    used += discard;
                    break Err(error);
                }
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
            self.last_words(&mut wire[used..]);
            return match filled {
                0 => Err(Failure::Tls(error)),
                // What came before it is good: it is told of the next time.
                n => Ok(n),
            };
        }
        let rest = &wire[used..];
        if rest.len() > self.partial_max() || self.unsent().len() > UNSENT_MAX {
            self.failed = true;
            self.partial = Vec::new();
            return Err(Failure::TooLarge);
        }
        self.partial.clear();
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            // Not twice as much each time it grows: there may be thousands of these.
            let room = rest.len().next_multiple_of(PARTIAL_STEP);
            self.partial.reserve_exact(room);
            self.partial.extend_from_slice(rest);
        }
        Ok(filled)
    }

    /// How much that is unfinished is held for the peer. Before it has said hello nobody waits for its
    /// certificates.
    fn partial_max(&self) -> usize {
        let shows = self.asks && self.is_handshaking() && self.rustls.protocol_version().is_some();
        if shows {
            HANDSHAKE_BYTES_MAX
        } else {
            RECORD_BYTES_MAX
        }
    }

    /// Has it failed? Then nothing of it is read any more.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// After an error: takes along the alert that tells the peer why. rustls still counts on the bytes that it has
    /// not let go of.
    fn last_words(&mut self, rest: &mut [u8]) {
        let mut used = 0;
        // Not once more than it has something to say: it would read the broken bytes again.
        while self.rustls.wants_write() {
            let UnbufferedStatus { discard, state } =
                self.rustls.process_tls_records(&mut rest[used..]);
            match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |room| data.encode(room));
                }
                _ => return,
            }
            used += discard;
        }
    }

    /// Has rustls say something, behind what is in `out`: `what`, once it is its turn. The bytes of an unfinished
    /// record are handed in each time: rustls may point into them.
    fn speak(
        &mut self,
        out: &mut Vec<u8>,
        mut what: impl FnMut(Traffic<'_>, &mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.failed {
            return Err(Error::HandshakeNotComplete);
        }
        let mut partial = std::mem::take(&mut self.partial);
        let mut used = 0;
        let outcome = loop {
            let UnbufferedStatus { discard, state } =
                self.rustls.process_tls_records(&mut partial[used..]);
            match state {
                Ok(ConnectionState::WriteTraffic(traffic)) => break what(traffic, out),
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(out, |room| data.encode(room));
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => break Err(Error::HandshakeNotComplete),
                Err(error) => {
                    self.failed = true;
                    break Err(error);
                }
            }
            used += discard;
        };
        partial.drain(..used);
        self.partial = partial;
        outcome
    }

    /// Enciphers `text` behind what is in `out`.
    pub fn send(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.speak(out, |mut traffic, out| {
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
                    Err(EncryptError::InsufficientSize(size)) if size.required_size > room => {
                        room = size.required_size;
                    }
                    Err(EncryptError::EncryptExhausted) => {
                        out.truncate(from);
                        log::warn!("Closing a client: {EXHAUSTED}");
                        return Err(Error::General(EXHAUSTED.to_owned()));
                    }
                    Err(_) => {
                        out.truncate(from);
                        return Err(Error::EncryptError);
                    }
                }
            }
        })
    }

    /// Says that nothing more will come, behind what is in `out`.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        // Who is gone, or never quite came, is told nothing.
        let _ = self.speak(out, |mut traffic, out| {
            let from = out.len();
            out.resize(from + 4 * RECORD_EXTRA, 0);
            let n = traffic.queue_close_notify(&mut out[from..]).unwrap_or(0);
            out.truncate(from + n);
            Ok(())
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::base::tls::testing;
    use rustls::ClientConnection;
    use std::io::{Read, Write};

    fn pair(protocol: &str, shows: bool) -> (Session, ClientConnection) {
        let server = Session::new(testing::server(protocol), true).expect("sound");
        let name = "localhost".try_into().expect("a name");
        let client = ClientConnection::new(testing::client(shows), name).expect("sound");
        (server, client)
    }

    /// What the client sends now.
    fn sent(client: &mut ClientConnection) -> Vec<u8> {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("a Vec takes everything");
        }
        wire
    }

    /// Hands bytes to the server, as a stream does, and what it says to the client.
    fn hand(
        server: &mut Session,
        client: &mut ClientConnection,
        piece: &[u8],
        room: &mut [u8],
    ) -> Result<usize, Failure> {
        let mut wire = server.partial().to_vec();
        wire.extend_from_slice(piece);
        let outcome = server.receive(&mut wire, room);
        answer(client, server.unsent());
        let n = server.unsent().len();
        server.sent(n);
        outcome
    }

    fn answer(client: &mut ClientConnection, mut wire: &[u8]) {
        while !wire.is_empty() {
            if client.read_tls(&mut wire).is_err() || client.process_new_packets().is_err() {
                return;
            }
        }
    }

    #[test]
    fn whatever_the_pieces_it_is_the_same_text() {
        let mut rng = Rng::from_seed(7);
        for round in 0..60 {
            let protocol = if round % 2 == 0 { "TLSv1.2" } else { "TLSv1.3" };
            let (mut server, mut client) = pair(protocol, true);
            let text: Vec<u8> = (0..40_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
            let (mut got, mut back) = (Vec::new(), Vec::new());
            let mut said = 0;
            while got.len() < text.len() || back.len() < text.len() {
                if !client.is_handshaking() && said < text.len() {
                    let end = (said + 1 + rng.below(9000) as usize).min(text.len());
                    client.writer().write_all(&text[said..end]).expect("room");
                    said = end;
                }
                let wire = sent(&mut client);
                let mut at = 0;
                while at < wire.len() {
                    let end = (at + 1 + rng.below(3000) as usize).min(wire.len());
                    let mut room = vec![0; rng.below(5000) as usize];
                    let n = hand(&mut server, &mut client, &wire[at..end], &mut room);
                    got.extend_from_slice(&room[..n.expect("sound")]);
                    at = end;
                    // In the middle of a record the server speaks all the same.
                    if !server.is_handshaking() && back.len() < text.len() {
                        let mut out = Vec::new();
                        let end = (back.len() + 1 + rng.below(4000) as usize).min(text.len());
                        server
                            .send(&text[back.len()..end], &mut out)
                            .expect("sound");
                        answer(&mut client, &out);
                        let mut heard = vec![0; end - back.len()];
                        client.reader().read_exact(&mut heard).expect("all of it");
                        back.extend_from_slice(&heard);
                    }
                }
                while server.has_plain() {
                    let mut room = [0; 777];
                    let n = server.take_plain(&mut room);
                    got.extend_from_slice(&room[..n]);
                }
            }
            assert!(got == text && back == text, "{protocol}");
            assert_eq!(
                server.held_bytes(),
                0,
                "nothing is kept between two requests"
            );
            assert_eq!(server.peer_certificates().len(), 1);
            let mut out = Vec::new();
            server.close(&mut out);
            answer(&mut client, &out);
            assert_eq!(client.reader().read(&mut [0]).expect("a proper end"), 0);
            client.send_close_notify();
            let wire = sent(&mut client);
            assert!(hand(&mut server, &mut client, &wire, &mut [0; 9]).is_ok_and(|n| n == 0));
            assert!(server.has_ended());
        }
    }

    /// rustls panics where it is called the wrong way after what a peer has sent: it must not be reached.
    #[test]
    fn broken_bytes_end_a_session_and_nothing_else() {
        let mut rng = Rng::from_seed(11);
        let mut failed = 0;
        for round in 0..600 {
            let protocol = if round % 2 == 0 { "TLSv1.2" } else { "TLSv1.3" };
            let (mut server, mut client) = pair(protocol, round % 3 > 0);
            let mut room = vec![0; 2000];
            for _ in 0..6 {
                if !client.is_handshaking() {
                    let _ = client.writer().write_all(&[7; 500]);
                }
                let mut wire = sent(&mut client);
                for _ in 0..rng.below(3) {
                    if !wire.is_empty() {
                        let at = rng.below(wire.len() as u64) as usize;
                        match rng.below(3) {
                            0 => wire[at] ^= 1 << rng.below(8),
                            1 => wire.truncate(at),
                            _ => drop(wire.splice(at..at, [0x16, 3, 3, 0, 1, 11])),
                        }
                    }
                }
                for piece in wire.chunks(1 + rng.below(700) as usize) {
                    if hand(&mut server, &mut client, piece, &mut room).is_err() {
                        failed += 1;
                    }
                    let mut out = Vec::new();
                    let _ = server.send(b"+OK", &mut out);
                    answer(&mut client, &out);
                }
            }
            server.close(&mut Vec::new());
        }
        assert!(failed > 100, "{failed}");
    }

    fn shake(server: &mut Session, client: &mut ClientConnection) {
        while client.is_handshaking() || server.is_handshaking() {
            let wire = sent(client);
            hand(server, client, &wire, &mut []).expect("sound");
        }
    }

    /// What a session holds for somebody it does not know is what it may need, and no more.
    #[test]
    fn a_hello_is_not_longer_than_a_record() {
        let hello = |record: usize| {
            let mut bytes = vec![0x16, 3, 1];
            bytes.extend_from_slice(&(record as u16).to_be_bytes());
            bytes
        };
        for asks in [false, true] {
            let mut session = Session::new(testing::server("TLSv1.3"), asks).expect("sound");
            let mut wire = hello(16_384);
            wire.extend_from_slice(&[1, 0, 0xff, 0xfb]);
            wire.resize(5 + 16_384, b'a');
            wire.extend_from_slice(&hello(16_384));
            wire.resize(wire.len() + 1000, b'a');
            let mut held = 0;
            let mut sent = 0;
            for piece in wire.chunks(700) {
                let mut bytes = session.partial().to_vec();
                bytes.extend_from_slice(piece);
                sent += piece.len();
                match session.receive(&mut bytes, &mut []) {
                    Ok(_) => assert!(sent <= RECORD_BYTES_MAX, "{sent}"),
                    Err(Failure::TooLarge) => break,
                    Err(other) => panic!("{other}"),
                }
                held = held.max(session.held_bytes());
            }
            assert!(session.has_failed() || sent <= RECORD_BYTES_MAX);
            assert!(held <= RECORD_BYTES_MAX + PARTIAL_STEP, "{held}");
            let mut more = session.partial().to_vec();
            more.resize(RECORD_BYTES_MAX + 1, b'a');
            let _ = session.receive(&mut more, &mut []);
            assert!(session.has_failed());
            assert_eq!(session.held_bytes(), 0);
        }
    }

    #[test]
    fn keys_are_changed_where_they_can_be_and_the_end_is_told_where_not() {
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            let config = testing::short_lived(protocol, 20);
            let mut server = Session::new(config, false).expect("sound");
            let name = "localhost".try_into().expect("a name");
            let mut client = ClientConnection::new(testing::client(false), name).expect("sound");
            shake(&mut server, &mut client);
            let mut said = 0;
            let ended = loop {
                let text = [said as u8; 3000];
                let mut out = Vec::new();
                if let Err(error) = server.send(&text, &mut out) {
                    break Some(error);
                }
                answer(&mut client, &out);
                let mut heard = [0xff; 3000];
                client.reader().read_exact(&mut heard).expect("all of it");
                assert_eq!(heard, text);
                // The client answers a new key, and speaks itself.
                client.writer().write_all(b"hello").expect("room");
                let wire = sent(&mut client);
                let mut room = [0; 9];
                let n = hand(&mut server, &mut client, &wire, &mut room).expect("sound");
                assert_eq!(&room[..n], b"hello");
                said += 1;
                if said == 200 {
                    break None;
                }
            };
            match ended {
                None => assert_eq!(protocol, "TLSv1.3"),
                Some(error) => {
                    assert_eq!(protocol, "TLSv1.2");
                    assert!(said >= 15, "{said}");
                    assert!(error.to_string().contains(EXHAUSTED), "{error}");
                    let mut out = Vec::new();
                    server.close(&mut out);
                    answer(&mut client, &out);
                    assert_eq!(client.reader().read(&mut [0]).expect("a proper end"), 0);
                }
            }
        }
    }
}
