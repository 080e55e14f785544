//! A connection: a socket and the bytes that wait on either side of it.
//!
//! An idle connection owns no buffer: input is read into the loop's one large buffer and only an
//! unfinished request is kept here; output buffers come from a pool and return when written out.
use super::tls::stream::TlsStream;
use crate::base::sys::read_behind;
use crate::resp::reply::Writer;
use crate::resp::request::Resume;
use crate::state::client::{Client, ClientId, client_flag};
use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// A stream of any kind.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// The same for each kind of stream, or for each socket, below TLS where there is TLS.
macro_rules! each {
    ($self:expr, $s:ident => $body:expr, tls $t:ident => $tls:expr) => {
        match $self {
            Stream::Tcp($s) => $body,
            Stream::Unix($s) => $body,
            Stream::Tls($t) => $tls,
        }
    };
    ($self:expr, socket $s:ident => $body:expr) => {
        match $self {
            Stream::Tcp($s) => $body,
            Stream::Unix($s) => $body,
            Stream::Tls(t) => {
                let $s = &mut t.socket;
                $body
            }
        }
    };
}

impl Stream {
    pub fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        each!(self, s => s.read(buf), tls t => t.read(buf))
    }

    pub fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        each!(self, s => s.write(buf), tls t => t.write(buf))
    }

    pub fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, s => s.write_vectored(bufs), tls t => t.write_vectored(bufs))
    }

    /// Reads once, at most `max` bytes, into the vector's spare room.
    pub fn read_behind(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        each!(self, s => read_behind(s.as_fd(), buf, max), tls t => t.read_behind(buf, max))
    }

    /// Bytes may wait that no event will tell of, however short the last read came back.
    #[inline]
    pub fn may_have_more(&self) -> bool {
        matches!(self, Stream::Tls(t) if t.may_have_more())
    }

    /// Has all that was written left the process?
    #[inline]
    pub fn settled(&self) -> bool {
        !matches!(self, Stream::Tls(t) if !t.settled())
    }

    /// The end: what is to be said of it is said.
    pub fn close(&mut self) {
        if let Stream::Tls(t) = self {
            t.close();
        }
    }

    /// Small writes may wait for others (`repl-disable-tcp-nodelay`).
    pub fn delay_small_writes(&self) {
        match self {
            Stream::Tcp(s) => _ = s.set_nodelay(false),
            Stream::Tls(t) => _ = t.socket.set_nodelay(false),
            Stream::Unix(_) => {}
        }
    }

    pub fn fd(&self) -> RawFd {
        each!(self, s => s.as_raw_fd(), tls t => t.socket.as_raw_fd())
    }

    /// Both directions at once and once for all: EPOLLOUT rides on the events of reading.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        each!(self, socket s => s.register(registry, token, interest))
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        each!(self, socket s => s.deregister(registry))
    }
}

/// The bytes of an unfinished request, from its first byte on, and what is known of it.
#[derive(Debug, Default)]
pub struct Input {
    pub bytes: Vec<u8>,
    pub resume: Resume,
    /// Bytes the request announced and has not sent, at the least.
    pub missing: usize,
    /// Whole requests may wait here, which the last turn had no time for: run before reading on.
    pub unrun: bool,
}

/// A connection. The session is `State::clients`' under the same slot.
#[derive(Debug)]
pub struct Conn {
    pub id: ClientId,
    pub stream: Stream,
    pub out: Writer,
    pub input: Option<Box<Input>>,
    /// In the list of connections to run.
    pub queued: bool,
    /// In the list of connections to write.
    pub unwritten: bool,
    /// In the list of connections to write what others sent them.
    pub posted: bool,
    /// Bytes that others sent it and that have not been tried to be written.
    pub posted_bytes: usize,
    /// Bytes that others sent it since its output was last empty.
    pub posted_total: usize,
    /// Bytes may wait in the socket.
    pub readable: bool,
    /// The socket took less than it was given: wait for it to be writable.
    pub blocked_write: bool,
    /// Nothing of it runs until much of its output has been read.
    pub held_back: bool,
    /// The peer will send no more.
    pub read_closed: bool,
    /// Monotonic milliseconds since when the output has been over the soft limit; 0: it is not.
    pub soft_since_ms: u64,
}

impl Conn {
    pub fn new(id: ClientId, stream: Stream) -> Self {
        Self {
            id,
            stream,
            out: Writer::new(false),
            input: None,
            queued: false,
            unwritten: false,
            posted: false,
            posted_bytes: 0,
            posted_total: 0,
            readable: true,
            blocked_write: false,
            held_back: false,
            read_closed: false,
            soft_since_ms: 0,
        }
    }
}

impl Conn {
    /// Tells the client's session what TLS holds for it. (In a handshake it is counted with that of all others.)
    #[inline]
    pub fn note_session(&self, client: &mut Client) {
        if let Stream::Tls(tls) = &self.stream
            && !client.has(client_flag::HANDSHAKE)
        {
            client.transport.session_bytes = tls.held_bytes();
        }
    }
}

/// What an event has told of a connection.
pub struct Told {
    /// There may be bytes to read.
    pub readable: bool,
    /// A socket that was full takes bytes again.
    pub writable: bool,
}

impl Conn {
    /// Takes down what the poll tells; no second event tells of it.
    #[inline]
    pub fn note_event(&mut self, event: &Event) -> Told {
        if event.is_read_closed() || event.is_error() {
            self.read_closed = true;
        }
        let readable = event.is_readable() || self.read_closed;
        self.readable |= readable;
        // An error shows when writing, too.
        let writable = event.is_writable() || event.is_write_closed() || event.is_error();
        let writable = writable && std::mem::take(&mut self.blocked_write);
        Told { readable, writable }
    }
}

/// Smaller buffers are not worth keeping: the next reply would outgrow them.
const POOLED_MIN: usize = 256;
/// Buffers kept for reuse.
const POOL_MAX: usize = 64;

/// Bytes kept for reuse where memory is short: as much as a turn of small replies takes.
const KEPT_WHEN_SHORT: usize = 4 << 10;

/// Output buffers between two uses.
#[derive(Debug, Default)]
pub struct Pool {
    buffers: Vec<Vec<u8>>,
}

impl Pool {
    /// An empty buffer, used before if there is one.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    #[inline]
    pub fn give(&mut self, buffer: Vec<u8>) {
        if self.buffers.len() < POOL_MAX && buffer.capacity() >= POOLED_MIN {
            self.buffers.push(buffer);
        }
    }

    /// Frees what is kept beyond a little: memory is short.
    pub fn trim(&mut self) {
        let mut kept = 0;
        self.buffers.retain(|buffer| {
            kept += buffer.capacity();
            kept <= KEPT_WHEN_SHORT
        });
    }

    /// Frees what is kept (MEMORY PURGE).
    pub fn clear(&mut self) {
        self.buffers = Vec::new();
    }
}
