//! A socket with a TLS session on it, with the manners of a plain one: bytes are read and written, or it would
//! block.
//!
//! What is read off the wire and what is to go there pass through buffers that all such streams share; a stream
//! by itself holds what it cannot go on with. It never claims to have written what it could not encipher, and
//! `settled` says whether all that it took has left.
use crate::base::tls::session::{RECORD_BYTES_MAX, Session};
use mio::net::TcpStream;
use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};

/// Bytes of the wire read at once, besides what is left of a record.
const WIRE_BYTES: usize = 64 * 1024;
/// Bytes enciphered at once.
const SEND_BYTES: usize = 64 * 1024;
/// Buffers that grew beyond this (a handshake's) are not kept.
const KEPT_BYTES: usize = 2 * (WIRE_BYTES + RECORD_BYTES_MAX);

thread_local! {
    /// The loop's thread is the only one with such streams; elsewhere these stay empty.
    static WIRE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static OUT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn give_back(place: &'static std::thread::LocalKey<Cell<Vec<u8>>>, buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT_BYTES {
        place.set(buffer);
    }
}

/// Such a stream.
#[derive(Debug)]
pub struct TlsStream {
    pub socket: TcpStream,
    pub session: Session,
    /// The socket may have more than was read.
    more: bool,
    /// When the handshake has to be over, in monotonic milliseconds.
    pub deadline_ms: u64,
}

impl TlsStream {
    pub fn new(socket: TcpStream, session: Session, deadline_ms: u64) -> Self {
        Self {
            socket,
            session,
            more: true,
            deadline_ms,
        }
    }

    /// May more be read without an event telling of it?
    pub fn may_have_more(&self) -> bool {
        self.more || self.session.has_plain()
    }

    /// Has all that was written left?
    pub fn settled(&self) -> bool {
        self.session.unsent().is_empty()
    }

    /// Memory held for what is on its way, as a client's figures have it.
    pub fn held_bytes(&self) -> u32 {
        u32::try_from(self.session.held_bytes()).unwrap_or(u32::MAX)
    }

    /// Reads plain bytes. Nothing means that the peer has ended.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.push_some()?;
        if self.session.has_plain() {
            // The socket was not looked at: an event may have told of it since its last read came back short, and
            // whoever reads a short piece here must not take that for it.
            self.more = true;
            return Ok(self.session.take_plain(room));
        }
        if self.session.has_failed() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.session.has_ended() || room.is_empty() {
            self.more = false;
            return Ok(0);
        }
        let mut wire = WIRE.take();
        let outcome = self.read_wire(&mut wire, room);
        give_back(&WIRE, wire);
        outcome
    }

    fn read_wire(&mut self, wire: &mut Vec<u8>, room: &mut [u8]) -> io::Result<usize> {
        let partial = self.session.partial();
        let held = partial.len();
        if wire.len() < held + WIRE_BYTES {
            wire.resize(held + WIRE_BYTES, 0);
        }
        wire[..held].copy_from_slice(partial);
        // Not more than the caller has room for, but whole records: the rest would only lie here.
        let end = held + room.len().clamp(RECORD_BYTES_MAX, WIRE_BYTES);
        self.more = false;
        let n = match self.socket.read(&mut wire[held..end]) {
            Ok(0) => return Ok(0),
            Ok(n) => n,
            Err(error) => {
                self.more = error.kind() == io::ErrorKind::Interrupted;
                return Err(error);
            }
        };
        self.more = n == end - held;
        let outcome = self.session.receive(&mut wire[..held + n], room);
        // New keys, an alert: what the peer waits for, or is not to miss.
        self.push_some()?;
        match outcome {
            Err(failure) => Err(io::Error::other(failure.to_string())),
            Ok(0) if self.session.has_ended() => Ok(0),
            // A part of a record, or what rustls keeps to itself.
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(got) => {
                self.more |= self.session.has_ended() || self.session.has_failed();
                Ok(got)
            }
        }
    }

    /// A step of the handshake: true when it is over.
    pub fn shake(&mut self) -> io::Result<bool> {
        self.push_some()?;
        let mut wire = WIRE.take();
        let outcome = self.read_wire(&mut wire, &mut []);
        give_back(&WIRE, wire);
        match outcome {
            Ok(_) if !self.session.is_handshaking() => Ok(true),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(!self.session.is_handshaking())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads at most `max` plain bytes behind what is in `buf`.
    pub fn read_behind(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let len = buf.len();
        buf.resize(len + max, 0);
        let outcome = self.read(&mut buf[len..]);
        buf.truncate(len + outcome.as_ref().map_or(0, |n| *n));
        outcome
    }

    /// Sends what is left from before, as far as the socket takes it.
    fn push(&mut self) -> io::Result<()> {
        while !self.session.unsent().is_empty() {
            match self.socket.write(self.session.unsent()) {
                Ok(n) => self.session.sent(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same where a full socket is no failure. Whoever reads does this first and last: what is left behind it
    /// found the socket full just now, so that an event will tell when it is not.
    fn push_some(&mut self) -> io::Result<()> {
        match self.push() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes plain bytes: so many have been taken, and go out before others.
    pub fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.push()?;
        if text.is_empty() {
            return Ok(0);
        }
        if self.session.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let text = &text[..text.len().min(SEND_BYTES)];
        let mut out = OUT.take();
        out.clear();
        let outcome = self.session.send(text, &mut out);
        let outcome = match outcome {
            Ok(()) => self.send_out(&out),
            Err(error) => Err(io::Error::other(error)),
        };
        give_back(&OUT, out);
        outcome.map(|()| text.len())
    }

    fn send_out(&mut self, out: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < out.len() {
            match self.socket.write(&out[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.session.keep(&out[sent..]);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same from several pieces: small ones share a record.
    pub fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut text = TEXT.take();
        text.clear();
        for piece in pieces {
            let n = piece.len().min(SEND_BYTES - text.len());
            text.extend_from_slice(&piece[..n]);
        }
        let outcome = self.write(&text);
        give_back(&TEXT, text);
        outcome
    }

    /// Says good-bye, if that can be said at once.
    pub fn close(&mut self) {
        if self.push().is_err() || self.session.is_handshaking() || self.session.has_failed() {
            return;
        }
        let mut out = Vec::new();
        self.session.close(&mut out);
        let _ = self.socket.write(&out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tls::testing;
    use rustls::ClientConnection;
    use std::net::TcpListener;

    /// Both ends of a connection, after their handshake.
    fn pair() -> (TlsStream, ClientConnection, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut far = std::net::TcpStream::connect(address).expect("it listens");
        let (near, _) = listener.accept().expect("it came");
        near.set_nonblocking(true).expect("a socket");
        let session = Session::new(testing::server("TLSv1.3"), true).expect("sound");
        let mut stream = TlsStream::new(TcpStream::from_std(near), session, 0);
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(testing::client(false), name).expect("sound");
        while stream.session.is_handshaking() {
            while client.wants_write() {
                client.write_tls(&mut far).expect("room");
            }
            stream.shake().expect("sound");
            if client.is_handshaking() {
                client.read_tls(&mut far).expect("an answer");
                client.process_new_packets().expect("sound");
            }
        }
        (stream, client, far)
    }

    /// Whoever is handed what was left over has not looked at the socket, whatever an event has told of it.
    #[test]
    fn left_over_text_says_nothing_of_the_socket() {
        let (mut stream, mut client, mut far) = pair();
        let mut say = |bytes: usize| {
            client.writer().write_all(&vec![7; bytes]).expect("room");
            while client.wants_write() {
                client.write_tls(&mut far).expect("room");
            }
        };
        say(16_000);
        let mut got = 0;
        let mut room = [0; 10_000];
        while got < 10_000 {
            got += stream.read(&mut room[got..]).unwrap_or(0);
        }
        assert!(stream.session.has_plain());
        say(300);
        let left = stream.read(&mut room).expect("what was left over");
        assert!(left < room.len(), "less than asked for");
        got += left;
        assert!(stream.may_have_more());
        while got < 16_300 && stream.may_have_more() {
            got += stream.read(&mut room).unwrap_or(0);
        }
        assert_eq!(got, 16_300);
        // And with nothing left it is the socket that says so.
        let nothing = stream.read(&mut room).expect_err("nothing");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        assert!(!stream.may_have_more());
    }
}
