//! Listening sockets: made with socket2 as Redis makes them, accepted a bounded number at a time.
use crate::state::config::Config;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A socket that connections come from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    /// Whoever connects begins with a handshake.
    Tls(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(l) | Self::Tls(l) => l.register(registry, token, Interest::READABLE),
            Self::Unix(l, _) => l.register(registry, token, Interest::READABLE),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(l) | Self::Tls(l) => l.deregister(registry),
            Self::Unix(l, _) => l.deregister(registry),
        }
    }
}

/// An address of `bind`: where to listen, and whether its absence is forgiven.
fn parse_bind(address: &str) -> Option<(IpAddr, bool)> {
    let (text, optional) = match address.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (address, false),
    };
    let ip = match text {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => text.parse().ok()?,
    };
    Some((ip, optional))
}

/// Opens the listeners of the configuration on `port` and says what they are by `make`. The error says which
/// address failed.
pub fn open_tcp(
    config: &Config,
    port: u16,
    make: fn(TcpListener) -> Listener,
) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    let mut skipped = None;
    for address in &config.bind.0 {
        let Some((ip, optional)) = parse_bind(address) else {
            return Err(format!(
                "Warning: Could not create server TCP listening socket {address}:{port}: \
                 Name or service not known"
            ));
        };
        match open_one(SocketAddr::new(ip, port), config) {
            Ok(listener) => listeners.push(make(listener)),
            Err(error) => {
                let text = format!(
                    "Warning: Could not create server TCP listening socket {address}:{port}: {}",
                    crate::base::sys::strerror(&error)
                );
                if optional && absent(&error) {
                    skipped = Some(text);
                    continue;
                }
                return Err(text);
            }
        }
    }
    match skipped {
        Some(text) if listeners.is_empty() => Err(text),
        _ => Ok(listeners),
    }
}

/// Tries whether the addresses of `new` can be listened on at `port`, beside those of `old` that are open now. An
/// address that overlaps an open one at the same port is taken to work: it cannot be tried before that one is
/// closed.
pub fn try_tcp(new: &Config, old: &Config, port: u16) -> Result<(), String> {
    if port == 0 {
        return Ok(());
    }
    let open: Vec<IpAddr> = match port == old.port || port == old.tls_port {
        true => old
            .bind
            .0
            .iter()
            .filter_map(|text| parse_bind(text))
            .map(|(ip, _)| ip)
            .collect(),
        false => Vec::new(),
    };
    let overlaps = |ip: &IpAddr| {
        open.iter().any(|other| {
            let wide = ip.is_unspecified() || other.is_unspecified();
            ip == other || (wide && ip.is_ipv4() == other.is_ipv4())
        })
    };
    let untried = new
        .bind
        .0
        .iter()
        .filter(|text| !parse_bind(text).is_some_and(|(ip, _)| overlaps(&ip)));
    let mut rest = new.clone();
    rest.bind.0 = untried.cloned().collect();
    open_tcp(&rest, port, Listener::Tcp).map(|_| ())
}

/// From the listeners that are open to those of the configuration. One at an address that is wanted stays, whatever
/// is spoken there from now on; the others are closed before new ones are opened, since they may overlap. Where a
/// new one fails all the same, the old ones of its kind are opened again: better those than none.
pub fn follow(config: &Config, open: Vec<Listener>) -> Vec<Listener> {
    let ports = [(config.port, false), (config.tls_port, true)];
    let ports = ports.iter().filter(|(port, _)| *port != 0);
    let wanted: Vec<(SocketAddr, bool, bool)> = ports
        .flat_map(|(port, tls)| {
            let parsed = config.bind.0.iter().filter_map(|text| parse_bind(text));
            parsed.map(|(ip, optional)| (SocketAddr::new(ip, *port), *tls, optional))
        })
        .collect();
    let (mut now, mut kept, mut closed) = (Vec::new(), Vec::new(), Vec::new());
    for listener in open {
        let tls = matches!(listener, Listener::Tls(_));
        match listener {
            Listener::Unix(..) => now.push(listener),
            Listener::Tcp(l) | Listener::Tls(l) => match l.local_addr() {
                Ok(at) if wanted.iter().any(|(address, ..)| *address == at) => kept.push((at, l)),
                Ok(at) => closed.push((at, tls)),
                Err(_) => {}
            },
        }
    }
    let make = |tls| if tls { Listener::Tls } else { Listener::Tcp };
    let mut failed = Vec::new();
    for (address, tls, optional) in wanted {
        let found = kept.iter().position(|(at, _)| *at == address);
        let listener = match found {
            Some(at) => Ok(kept.swap_remove(at).1),
            None => open_one(address, config),
        };
        match listener {
            Ok(listener) => now.push(make(tls)(listener)),
            Err(error) if optional && absent(&error) => {}
            Err(error) => {
                let why = crate::base::sys::strerror(&error);
                log::warn!(
                    "Warning: Could not create server TCP listening socket {address}: {why}"
                );
                failed.push(tls);
            }
        }
    }
    for (address, tls) in closed {
        if failed.contains(&tls)
            && let Ok(listener) = open_one(address, config)
        {
            log::warn!("Listening at {address} still, where it was before");
            now.push(make(tls)(listener));
        }
    }
    now
}

/// Errors that mean "this machine has no such address".
fn absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EADDRNOTAVAIL
                | libc::ENOPROTOOPT
                | libc::EPROTONOSUPPORT
                | libc::ESOCKTNOSUPPORT
                | libc::EPFNOSUPPORT
                | libc::EAFNOSUPPORT
        )
    )
}

fn open_one(address: SocketAddr, config: &Config) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_cloexec(true)?;
    #[cfg(target_os = "linux")]
    if config.socket_mark_id != 0 {
        socket.set_mark(config.socket_mark_id)?;
    }
    socket.bind(&address.into())?;
    socket.listen(config.tcp_backlog.min(i32::MAX as u32) as i32)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Opens the unix socket, replacing a left-over file.
pub fn open_unix(path: &str, mode: u32, backlog: i32) -> Result<Listener, String> {
    let open = || -> io::Result<UnixListener> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_cloexec(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(backlog)?;
        socket.set_nonblocking(true)?;
        if mode != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(UnixListener::from_std(socket.into()))
    };
    match open() {
        Ok(listener) => Ok(Listener::Unix(listener, PathBuf::from(path))),
        Err(error) => Err(format!(
            "Failed opening Unix socket: bind: {}",
            crate::base::sys::strerror(&error)
        )),
    }
}
