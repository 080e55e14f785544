//! A client's connection to a server, for the tools that speak to one: `ping` and `cli`.
//!
//! Blocking, one request after the other. What a server sends is input like any other: a reply is read by
//! `resp::value`, which bounds its depth, and takes no more memory than has arrived.
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::{ClientConnection, StreamOwned};

use crate::base::num::{parse_i64, push_u64};
use crate::base::sys::strerror;
use crate::base::tls::setup::{ClientSetup, client};
use crate::resp::value::{DEPTH_MAX, DecodeError, LINE_MAX, Value, decode};

/// What is read at a time.
const PIECE: usize = 64 << 10;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why there is no reply.
#[derive(Debug)]
pub enum Broken {
    Closed,
    Failed(io::Error),
    /// What came is no reply.
    Nonsense(DecodeError),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Closed => f.write_str("Server closed the connection"),
            Broken::Failed(error) if timed_out(error) => f.write_str("Timed out"),
            Broken::Failed(error) => f.write_str(&strerror(error)),
            Broken::Nonsense(DecodeError::UnknownType(byte)) => {
                let byte = byte.escape_ascii();
                write!(f, "Protocol error, got \"{byte}\" as reply type byte")
            }
            Broken::Nonsense(error) => write!(f, "Protocol error, {error:?}"),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
                Broken::Closed
            }
            _ => Broken::Failed(error),
        }
    }
}

fn timed_out(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// How to speak TLS, where a server wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub setup: ClientSetup,
    /// Whom the server is asked for by name, if it serves several.
    pub name: Option<String>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The same for each kind of stream.
macro_rules! each {
    ($stream:expr, $s:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($s) => $body,
            Stream::Unix($s) => $body,
            Stream::Tls($s) => $body,
        }
    };
    ($stream:expr, socket $s:ident => $body:expr) => {
        match $stream {
            Stream::Tcp($s) => $body,
            Stream::Unix($s) => $body,
            Stream::Tls(tls) => {
                let $s = &tls.sock;
                $body
            }
        }
    };
}

/// An open connection.
pub struct Link {
    stream: Stream,
    /// What has arrived; replies are taken from `at`.
    arrived: Vec<u8>,
    at: usize,
    progress: Progress,
}

impl Link {
    /// Connects; `patience` bounds this and each wait for a reply. The error is the text for a person.
    pub fn open(
        address: &Address,
        tls: Option<&Tls>,
        patience: Option<Duration>,
    ) -> Result<Link, String> {
        let stream = match address {
            Address::Tcp(host, port) => {
                let socket = connect(host, *port, patience)?;
                match tls {
                    None => Stream::Tcp(socket),
                    Some(tls) => Stream::Tls(Box::new(secure(socket, tls)?)),
                }
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(|error| strerror(&error))?;
                let set = stream.set_read_timeout(patience);
                set.map_err(|error| strerror(&error))?;
                Stream::Unix(stream)
            }
        };
        Ok(Link::new(stream))
    }

    /// A connection that is open already.
    pub fn over(stream: UnixStream) -> Link {
        Link::new(Stream::Unix(stream))
    }

    fn new(stream: Stream) -> Link {
        Link {
            stream,
            arrived: Vec::new(),
            at: 0,
            progress: Progress::default(),
        }
    }

    /// Sends a request.
    pub fn send<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Result<(), Broken> {
        self.write(&request(argv))
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        each!(&mut self.stream, stream => {
            stream.write_all(bytes)?;
            Ok(stream.flush()?)
        })
    }

    /// Sends as much of these bytes as the socket takes; only after `set_nonblocking`.
    pub fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let written = each!(&mut self.stream, stream => stream.write(bytes));
        match written {
            Err(error) if timed_out(&error) => Ok(0),
            written => Ok(written?),
        }
    }

    /// Was more taken by `write_some` than the socket has? Then it is to be called again, if for nothing.
    pub fn has_unsent(&self) -> bool {
        matches!(&self.stream, Stream::Tls(stream) if stream.conn.wants_write())
    }

    /// Waits for the next reply, or what else the server says.
    pub fn receive(&mut self) -> Result<Value, Broken> {
        loop {
            if let Some(value) = self.take_reply()? {
                return Ok(value);
            }
            if self.read()? == 0 {
                return Err(Broken::Closed);
            }
        }
    }

    /// Asks and waits for the answer.
    pub fn ask<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Result<Value, Broken> {
        self.send(argv)?;
        self.receive()
    }

    /// The next reply of what has arrived, if it is whole.
    pub fn take_reply(&mut self) -> Result<Option<Value>, Broken> {
        let rest = &self.arrived[self.at..];
        if !self.progress.whole(rest) {
            return Ok(None);
        }
        self.progress = Progress::default();
        let (value, len) = match decode(rest) {
            Ok(Some(read)) => read,
            // Both read the same format: one of them is wrong, so nothing behind it can be trusted.
            Ok(None) => return Err(Broken::Nonsense(DecodeError::NoLineEnd)),
            Err(error) => return Err(Broken::Nonsense(error)),
        };
        self.at += len;
        if self.at == self.arrived.len() {
            self.at = 0;
            self.arrived.clear();
            self.arrived.shrink_to(2 * PIECE);
        }
        Ok(Some(value))
    }

    /// What has arrived and was not taken: for those who read more than replies.
    pub fn arrived(&self) -> &[u8] {
        &self.arrived[self.at..]
    }

    /// That much of it has been taken.
    pub fn consume(&mut self, len: usize) {
        self.at += len.min(self.arrived.len() - self.at);
        if self.at == self.arrived.len() {
            self.at = 0;
            self.arrived.clear();
        }
    }

    /// Reads once; 0 at the server's end, or when it is nonblocking and nothing is there.
    pub fn read(&mut self) -> Result<usize, Broken> {
        if self.at > PIECE && self.at > self.arrived.len() / 2 {
            self.arrived.drain(..self.at);
            self.at = 0;
        }
        let end = self.arrived.len();
        self.arrived.resize(end + PIECE, 0);
        let room = &mut self.arrived[end..];
        let read = each!(&mut self.stream, stream => stream.read(room));
        self.arrived.truncate(end + *read.as_ref().unwrap_or(&0));
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read(),
            read => Ok(read?),
        }
    }

    /// From now on nothing waits; for those who poll themselves.
    pub fn set_nonblocking(&mut self) -> Result<(), Broken> {
        Ok(each!(&self.stream, socket stream => stream.set_nonblocking(true))?)
    }

    /// Whether the server has hung up meanwhile: nothing would come of a request.
    pub fn is_dead(&mut self) -> bool {
        // What is there may be TLS' own, behind which nothing comes: that is not waited for.
        let waits = |link: &Link, waits: bool| match &link.stream {
            Stream::Tls(stream) => stream.sock.set_nonblocking(!waits).is_ok(),
            _ => true,
        };
        if !waits(self, false) {
            return true;
        }
        let dead = loop {
            if !readable(self.as_fd()) {
                break false;
            }
            match self.read() {
                Err(Broken::Failed(error)) if error.kind() == ErrorKind::WouldBlock => break false,
                Ok(0) | Err(_) => break true,
                Ok(_) => {}
            }
        };
        dead || !waits(self, true)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(&self.stream, socket stream => stream.as_fd())
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn connect(host: &str, port: u16, patience: Option<Duration>) -> Result<TcpStream, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| {
        // The resolver's own words stand behind a general text of the standard library.
        let text = error.to_string();
        text.rsplit(": ").next().unwrap_or_default().to_owned()
    })?;
    let mut last = "Name or service not known".to_owned();
    for address in found {
        let stream = match patience {
            Some(patience) => TcpStream::connect_timeout(&address, patience),
            None => TcpStream::connect(address),
        };
        let ready = stream.and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(patience)?;
            Ok(stream)
        });
        match ready {
            Ok(stream) => return Ok(stream),
            Err(error) if timed_out(&error) => "Connection timed out".clone_into(&mut last),
            Err(error) => last = strerror(&error),
        }
    }
    Err(last)
}

/// Comes to terms with a server about TLS.
fn secure(
    mut socket: TcpStream,
    tls: &Tls,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut config = client(&tls.setup)?;
    // An address is not told to the server: this one stands for "whoever it is".
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
    let name = match &tls.name {
        None => nobody,
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| format!("'{name}' cannot be the name of a server"))?,
    };
    std::sync::Arc::make_mut(&mut config).enable_sni = tls.name.is_some();
    let mut session = ClientConnection::new(config, name).map_err(|error| error.to_string())?;
    while session.is_handshaking() {
        session
            .complete_io(&mut socket)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => "TLS handshake: the server hung up".to_owned(),
                _ if timed_out(&error) => "TLS handshake: Timed out".to_owned(),
                _ => format!("TLS handshake: {}", strerror(&error)),
            })?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// A request's bytes.
pub fn request<A: AsRef<[u8]>>(argv: &[A]) -> Vec<u8> {
    let mut out = Vec::new();
    header(&mut out, b'*', argv.len());
    for arg in argv {
        header(&mut out, b'$', arg.as_ref().len());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn header(out: &mut Vec<u8>, kind: u8, len: usize) {
    out.push(kind);
    push_u64(out, len as u64);
    out.extend_from_slice(b"\r\n");
}

/// How far an unfinished reply has been seen: each byte is looked at once, however many pieces it comes in.
/// Finds ends only; what is wrong counts as whole, for the decoder to say so.
#[derive(Default)]
struct Progress {
    at: usize,
    /// Of each aggregate that is still open: elements to come.
    open: Vec<u64>,
}

impl Progress {
    fn whole(&mut self, bytes: &[u8]) -> bool {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(kind) = rest.first() else {
                return false;
            };
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return rest.len() > LINE_MAX || !b"+-:$*_#,(!=%~>|".contains(kind);
            };
            let line = rest[1..end].strip_suffix(b"\r").unwrap_or_default();
            // Longer than that is a lie, and the decoder says so.
            let len = parse_i64(line).and_then(|len| u32::try_from(len).ok());
            let len = len.map(u64::from);
            let mut elements = 0;
            let mut used = end + 1;
            match (kind, len) {
                (b'$' | b'!' | b'=', Some(len)) => {
                    used += len as usize + 2;
                    if rest.len() < used {
                        return false;
                    }
                }
                (b'*' | b'~' | b'>', Some(len)) => elements = len,
                (b'%', Some(len)) => elements = 2 * len,
                // The value that it speaks of follows as if it were an element.
                (b'|', Some(len)) => elements = 2 * len + 1,
                (b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(', _) => {}
                (b'$' | b'*', None) if line == b"-1" => {}
                _ => return true,
            }
            self.at += used;
            if elements > 0 {
                self.open.push(elements);
                if self.open.len() > DEPTH_MAX {
                    return true;
                }
                continue;
            }
            loop {
                match self.open.last_mut() {
                    None => return true,
                    Some(1) => _ = self.open.pop(),
                    Some(left) => {
                        *left -= 1;
                        break;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_end_where_the_decoder_says_whatever_the_pieces() {
        let replies: [&[u8]; 10] = [
            b"+OK\r\n",
            b"$4\r\na\r\nb\r\n",
            b"$-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n*-1\r\n",
            b"%1\r\n+a\r\n~2\r\n#t\r\n_\r\n",
            b"|1\r\n+a\r\n:1\r\n*1\r\n,1.5\r\n",
            b">2\r\n+message\r\n=5\r\ntxt:a\r\n",
            b"(12\r\n",
            b"!3\r\nERR\r\n",
        ];
        for reply in replies {
            let mut progress = Progress::default();
            for cut in 0..reply.len() {
                assert!(!progress.whole(&reply[..cut]), "{}", reply.escape_ascii());
            }
            let followed = [reply, b"+more"].concat();
            assert!(progress.whole(&followed), "{}", reply.escape_ascii());
            assert_eq!(progress.at, reply.len());
        }
    }

    #[test]
    fn nonsense_is_left_to_the_decoder() {
        for bytes in [
            &b"PING"[..],
            b"$x\r\n",
            b"*-2\r\n",
            b"$4294967296\r\n",
            &b"*1\r\n".repeat(DEPTH_MAX + 1),
            &[b'+'; LINE_MAX + 2],
        ] {
            assert!(Progress::default().whole(bytes));
            assert!(decode(bytes).is_err());
        }
        let huge = b"*4294967295\r\n%4294967295\r\n$4294967295\r\n";
        assert!(!Progress::default().whole(huge));
    }

    #[test]
    fn a_request_is_framed() {
        let framed: &[u8] = b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
        assert_eq!(request(&[&b"GET"[..], b""]), framed);
    }
}
