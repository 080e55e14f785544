//! The socket to a primary, with TLS where `tls-replication` asks for it.
use crate::base::sys::read_behind;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

/// The socket.
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<Secure>),
}

pub(super) struct Secure {
    socket: TcpStream,
    session: ClientConnection,
}

impl Wire {
    /// Begins to connect, from this address if one is given.
    pub(super) fn connect(
        to: SocketAddr,
        from: Option<SocketAddr>,
        tls: Option<Arc<ClientConfig>>,
    ) -> io::Result<Wire> {
        let socket = match from {
            None => TcpStream::connect(to)?,
            Some(from) => connect_from(to, from)?,
        };
        let _ = socket.set_nodelay(true);
        let Some(config) = tls else {
            return Ok(Wire::Plain(socket));
        };
        // Whom an address belongs to is not asked, as in Redis: the certificate's signer is.
        let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
        let session = ClientConnection::new(config, nobody).map_err(io::Error::other)?;
        Ok(Wire::Tls(Box::new(Secure { socket, session })))
    }

    fn socket(&mut self) -> &mut TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => &mut tls.socket,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(self.socket(), token, interest)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        let _ = registry.deregister(self.socket());
    }

    /// Both ends, once it is connected; the error, if it never will be.
    pub(super) fn connected(&mut self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let socket = self.socket();
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(peer) => Ok(Some((peer, socket.local_addr()?))),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Both ends of an open connection.
    pub(super) fn ends(&mut self) -> Option<(SocketAddr, SocketAddr)> {
        let socket = self.socket();
        Some((socket.peer_addr().ok()?, socket.local_addr().ok()?))
    }

    /// Reads at most `max` bytes behind those in `buf`; 0: the primary has hung up.
    pub(super) fn read_behind(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        let tls = match self {
            // Most reads bring much less than there could be: no room is blanked for them.
            Wire::Plain(socket) => {
                buf.reserve(max);
                return read_behind(socket.as_fd(), buf, max);
            }
            Wire::Tls(tls) => tls,
        };
        let before = buf.len();
        buf.resize(before + max, 0);
        let result = tls.read(&mut buf[before..]);
        buf.truncate(before + *result.as_ref().unwrap_or(&0));
        result
    }

    /// Does a read that came back short mean that there is no more for now?
    pub(super) fn short_is_dry(&self) -> bool {
        matches!(self, Wire::Plain(_))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }

    /// Has all that was written left the process?
    pub(super) fn settled(&self) -> bool {
        match self {
            Wire::Plain(_) => true,
            Wire::Tls(tls) => !tls.session.wants_write(),
        }
    }
}

impl Secure {
    fn push(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            // An alert goes out too, so that the other side knows why.
            match self.push() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            processed.map_err(io::Error::other)?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match bytes.is_empty() {
            true => 0,
            false => self.session.writer().write(bytes)?,
        };
        match self.push() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(taken),
            Err(error) => Err(error),
            Ok(()) => Ok(taken),
        }
    }
}

/// A connection that goes out from a certain address (`bind-source-addr`).
fn connect_from(to: SocketAddr, from: SocketAddr) -> io::Result<TcpStream> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&from.into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
