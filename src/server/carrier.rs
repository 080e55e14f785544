//! Errands to other servers (MIGRATE): blocking conversations, on threads of their own.
//!
//! A conversation ends when nothing has come for as long as whoever asked was ready to wait. Connections are kept
//! for a while, for those who come again as the same user. What the other server says is input like any other:
//! a line has an end, or is refused.
use crate::base::clock::mono_us;
use crate::resp::value::LINE_MAX;
use crate::state::migrate::{Carrier, Errand, Failure, Login, Outcome, RUNNING_MAX, Task};
use crate::state::prop::push_request;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;
use zeroize::Zeroizing;

/// Connections kept, and for how long after their last use.
const KEPT_MAX: usize = 64;
const KEPT_US: u64 = 10_000_000;
/// What is written at a time: each piece has the whole time.
const PIECE: usize = 64 << 10;

/// Does errands; every thread asks the same one.
#[derive(Default)]
pub struct Connections {
    kept: Mutex<Vec<Connection>>,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Tcp(socket) => socket,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(room),
            Stream::Tls(stream) => stream.read(room),
        }
    }
}

/// A connection to another server, and as whom.
struct Connection {
    host: Vec<u8>,
    port: u16,
    login: Option<Login>,
    stream: Stream,
    /// The database that it has selected.
    db: Option<i64>,
    /// Answers that have arrived and were not looked at.
    arrived: Vec<u8>,
    used_us: u64,
    /// For how long an answer is waited for.
    patience_us: u64,
}

/// Why there is no answer.
#[derive(Debug)]
enum Broken {
    /// It came to nothing in time.
    Writing(io::Error),
    Reading(io::Error),
    /// What the other server refused in front of everything else.
    Refused(Vec<u8>),
}

impl Broken {
    fn failure(self) -> Failure {
        match self {
            Broken::Writing(_) => Failure::Writing,
            Broken::Reading(_) => Failure::Reading,
            Broken::Refused(words) => Failure::Refused(words),
        }
    }

    /// May another connection do better? One that was kept may have been hung up since.
    fn is_hung_up(&self) -> bool {
        let slow =
            |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        match self {
            Broken::Writing(error) | Broken::Reading(error) => !slow(error),
            Broken::Refused(_) => false,
        }
    }
}

impl Carrier for Connections {
    fn carry(&self, errand: &Errand) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(mut kept) = self.take(errand) {
            match kept.talk(errand, &mut outcome) {
                Err(broken) if broken.is_hung_up() && outcome == Outcome::default() => {}
                told => return self.ended(kept, told, outcome),
            }
        }
        match Connection::open(errand) {
            Ok(mut fresh) => {
                let told = fresh.talk(errand, &mut outcome);
                self.ended(fresh, told, outcome)
            }
            Err(failure) => {
                outcome.failure = Some(failure);
                outcome
            }
        }
    }

    fn kept(&self) -> usize {
        self.lock().len()
    }

    fn tidy(&self) {
        let now_us = mono_us();
        let recent = |one: &Connection| now_us.saturating_sub(one.used_us) < KEPT_US;
        self.lock().retain(recent);
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to that server, as that user, if one is kept.
    fn take(&self, errand: &Errand) -> Option<Connection> {
        let mut kept = self.lock();
        let at = kept.iter().position(|one| one.fits(errand))?;
        Some(kept.swap_remove(at))
    }

    /// A conversation is over: what came of it, and whether the connection is of use again.
    fn ended(&self, one: Connection, told: Result<(), Broken>, outcome: Outcome) -> Outcome {
        let mut outcome = outcome;
        match told {
            Ok(()) if one.arrived.is_empty() => {
                let mut kept = self.lock();
                if kept.len() >= KEPT_MAX {
                    let oldest = kept.iter().enumerate().min_by_key(|(_, one)| one.used_us);
                    if let Some((at, _)) = oldest {
                        kept.swap_remove(at);
                    }
                }
                let used_us = mono_us();
                kept.push(Connection { used_us, ..one });
            }
            Ok(()) => {}
            Err(broken) => outcome.failure = Some(broken.failure()),
        }
        outcome
    }
}

impl Connection {
    fn fits(&self, errand: &Errand) -> bool {
        let same_tls = matches!(self.stream, Stream::Tls(_)) == errand.tls.is_some();
        self.host == errand.host
            && self.port == errand.port
            && self.login == errand.login
            && same_tls
    }

    fn open(errand: &Errand) -> Result<Connection, Failure> {
        let patience = Duration::from_millis(errand.timeout_ms);
        let host = String::from_utf8_lossy(&errand.host);
        let found = (host.as_ref(), errand.port).to_socket_addrs();
        let found = found.map_err(|_| Failure::Connecting)?;
        let mut failure = Failure::Connecting;
        for address in found {
            let socket = TcpStream::connect_timeout(&address, patience).and_then(|socket| {
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(patience))?;
                socket.set_write_timeout(Some(patience))?;
                Ok(socket)
            });
            match socket {
                Ok(socket) => return Connection::over(socket, errand),
                Err(error) if error.kind() == ErrorKind::TimedOut => failure = Failure::Connecting,
                // As Redis has it, which notices when it writes.
                Err(_) => failure = Failure::Writing,
            }
        }
        Err(failure)
    }

    fn over(socket: TcpStream, errand: &Errand) -> Result<Connection, Failure> {
        let stream = match &errand.tls {
            None => Stream::Tcp(socket),
            Some(config) => {
                let mut config = config.clone();
                // Whoever has a certificate of those trusted is a server of this system: names are not asked for.
                Arc::make_mut(&mut config).enable_sni = false;
                let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
                let session = ClientConnection::new(config, name);
                let session = session.map_err(|_| Failure::Connecting)?;
                let mut stream = Box::new(StreamOwned::new(session, socket));
                while stream.conn.is_handshaking() {
                    if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                        log::warn!("MIGRATE: the TLS handshake failed: {error}");
                        return Err(Failure::Connecting);
                    }
                }
                Stream::Tls(stream)
            }
        };
        Ok(Connection {
            host: errand.host.clone(),
            port: errand.port,
            login: errand.login.clone(),
            stream,
            db: None,
            arrived: Vec::new(),
            used_us: 0,
            patience_us: 0,
        })
    }

    /// Asks everything, and notes what was followed.
    fn talk(&mut self, errand: &Errand, outcome: &mut Outcome) -> Result<(), Broken> {
        self.patience_us = errand.timeout_ms.saturating_mul(1000);
        let patience = Some(Duration::from_millis(errand.timeout_ms));
        let socket = self.stream.socket();
        let set = socket.set_read_timeout(patience);
        set.and_then(|()| socket.set_write_timeout(patience))
            .map_err(Broken::Writing)?;
        self.introduce(errand)?;
        for piece in errand.requests.chunks(PIECE) {
            self.stream.write(piece).map_err(Broken::Writing)?;
        }
        for number in 0..errand.count {
            match self.answer()? {
                Ok(()) => outcome.done.push(number),
                Err(words) => {
                    outcome.failure.get_or_insert(Failure::Refused(words));
                }
            }
        }
        Ok(())
    }

    /// Says who asks, and where the keys are to be: nothing is sent before the other server has agreed, so that
    /// nothing comes into a database that was not meant.
    fn introduce(&mut self, errand: &Errand) -> Result<(), Broken> {
        let mut requests = Zeroizing::new(Vec::new());
        let mut count = 0;
        if let Some((user, password)) = &errand.login {
            match user {
                Some(user) => push_request(&mut requests, &[b"AUTH", user, password]),
                None => push_request(&mut requests, &[b"AUTH", password]),
            }
            count += 1;
        }
        if self.db != Some(errand.db) {
            let db = errand.db.to_string();
            push_request(&mut requests, &[b"SELECT", db.as_bytes()]);
            count += 1;
        }
        self.db = None;
        if count > 0 {
            self.stream.write(&requests).map_err(Broken::Writing)?;
        }
        let mut refused = None;
        for _ in 0..count {
            if let Err(words) = self.answer()? {
                refused.get_or_insert(words);
            }
        }
        match refused {
            Some(words) => Err(Broken::Refused(words)),
            None => {
                self.db = Some(errand.db);
                Ok(())
            }
        }
    }

    /// The next answer: a line that says yes, or is an error. Anything else is no answer of a server like this one,
    /// and says nothing of what became of a key.
    fn answer(&mut self) -> Result<Result<(), Vec<u8>>, Broken> {
        let no_answer = |kind: ErrorKind, text: &str| Broken::Reading(io::Error::new(kind, text));
        let until_us = mono_us().saturating_add(self.patience_us);
        let mut seen = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.arrived[seen..]) {
                let line: Vec<u8> = self.arrived.drain(..=seen + at).collect();
                return match line.trim_ascii_end() {
                    [b'-', words @ ..] => Ok(Err(words.to_vec())),
                    [b'+', ..] => Ok(Ok(())),
                    _ => Err(no_answer(ErrorKind::InvalidData, "this is no answer")),
                };
            }
            seen = self.arrived.len();
            if seen > LINE_MAX {
                let text = "a line without an end";
                return Err(no_answer(ErrorKind::InvalidData, text));
            }
            // Each byte in time does not make a line in time.
            if mono_us() >= until_us {
                return Err(no_answer(ErrorKind::TimedOut, "a line that is late"));
            }
            let mut room = [0; 4096];
            match self.stream.read(&mut room) {
                Ok(0) => return Err(Broken::Reading(ErrorKind::UnexpectedEof.into())),
                Ok(n) => self.arrived.extend_from_slice(&room[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Reading(error)),
            }
        }
    }
}

/// The threads that do errands, as many as there are errands at once: none waits for one to a server that gives
/// no answer. They end with the process, whatever they wait for.
pub struct Threads {
    tasks: Sender<Task>,
    waiting: Arc<Mutex<Receiver<Task>>>,
    tell: Sender<(u64, Outcome)>,
    told: Receiver<(u64, Outcome)>,
    threads: usize,
    /// Tasks handed over whose end was not told yet.
    open: usize,
}

impl Default for Threads {
    fn default() -> Self {
        let (tasks, waiting) = channel();
        let (tell, told) = channel();
        Threads {
            tasks,
            waiting: Arc::new(Mutex::new(waiting)),
            tell,
            told,
            threads: 0,
            open: 0,
        }
    }
}

impl Threads {
    /// Hands an errand over; `wake` is called when it is done.
    pub fn start(
        &mut self,
        task: Task,
        carrier: &Arc<dyn Carrier>,
        wake: impl Fn() + Send + 'static,
    ) {
        self.open += 1;
        if self.open > self.threads && self.threads < RUNNING_MAX {
            let (waiting, tell) = (self.waiting.clone(), self.tell.clone());
            let carrier = carrier.clone();
            let name = "rv_errands".to_owned();
            let started = Builder::new().name(name).spawn(move || {
                super::crash::own_stack();
                loop {
                    let next = waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok(task) = next else {
                        return;
                    };
                    let outcome = carrier.carry(&task.errand);
                    if tell.send((task.number, outcome)).is_err() {
                        return;
                    }
                    wake();
                }
            });
            match started {
                Ok(_) => self.threads += 1,
                Err(error) => log::warn!("Can't start a thread for errands: {error}"),
            }
        }
        if self.threads == 0 {
            // Better late than never.
            let outcome = carrier.carry(&task.errand);
            let _ = self.tell.send((task.number, outcome));
            return;
        }
        let _ = self.tasks.send(task);
    }

    /// An errand that is done: its number, and what became of it.
    pub fn ended(&mut self) -> Option<(u64, Outcome)> {
        let ended = self.told.try_recv().ok()?;
        self.open -= 1;
        Some(ended)
    }
}
