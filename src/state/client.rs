//! Client sessions: all that a command may ask or change about a client.
//!
//! Bytes and sockets are the server's; a session has no idea of either. A session without a
//! connection (a script's, the loader's) is a session like any other.
use super::gate;
use crate::resp::request::OwnedArgv;
use crate::types::Kind;
use slab::Slab;
use std::net::SocketAddr;

/// Names a client for good: a slot is used again, the serial number never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    pub slot: u32,
    /// What CLIENT ID answers.
    pub serial: u64,
}

/// Bits of `Client::flags`.
pub mod client_flag {
    /// Close after what is in its output has been written.
    pub const CLOSE_AFTER_REPLY: u32 = 1 << 0;
    /// Close at the end of the turn, whatever is unwritten.
    pub const CLOSE_NOW: u32 = 1 << 1;
    pub const MONITOR: u32 = 1 << 2;
    pub const UNIX: u32 = 1 << 3;
    /// CLIENT NO-EVICT on.
    pub const NO_EVICT: u32 = 1 << 4;
    /// CLIENT NO-TOUCH on.
    pub const NO_TOUCH: u32 = 1 << 5;
    pub const BLOCKED: u32 = 1 << 6;
    /// A watched key changed: EXEC will fail.
    pub const DIRTY_CAS: u32 = 1 << 7;
    pub const READONLY: u32 = 1 << 8;
    pub const REPLICA: u32 = 1 << 9;
    pub const PRIMARY: u32 = 1 << 10;
    pub const PUBSUB: u32 = 1 << 11;
    pub const TLS: u32 = 1 << 12;
    /// CLIENT TRACKING on.
    pub const TRACKING: u32 = 1 << 13;
    /// Unblocked by CLIENT UNBLOCK or a timeout in this turn: the server resumes its input.
    pub const RESUME: u32 = 1 << 14;
    /// A request waits for the end of CLIENT PAUSE.
    pub const POSTPONED: u32 = 1 << 15;
    /// Its TLS handshake is not over: it cannot ask for anything yet.
    pub const HANDSHAKE: u32 = 1 << 24;
}

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next reply is left out.
    SkipNext,
    /// This reply is left out.
    Skip,
}

/// Requests queued since MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    pub queue: Vec<(crate::state::stats::RowNumber, Box<OwnedArgv>)>,
    /// A request could not be queued: EXEC answers EXECABORT.
    pub aborted: bool,
    /// Bytes held by the queue.
    pub bytes: usize,
    /// Flags that at least one queued row has.
    pub flags: u32,
    /// Flags that at least one queued row has not.
    pub lacks: u32,
}

/// Why and how long a client waits.
#[derive(Debug)]
pub struct Parked {
    /// The request that runs again when a key becomes ready.
    pub row: crate::state::stats::RowNumber,
    pub argv: Box<OwnedArgv>,
    /// Keys it waits for, in the order it named them.
    pub keys: Vec<Box<[u8]>>,
    pub db: u32,
    /// Monotonic milliseconds; 0: for ever.
    pub deadline_ms: u64,
    /// What a timeout answers.
    pub on_timeout: TimeoutReply,
    /// The type it waits for: a key of another type does not wake it.
    pub kind: Kind,
    /// The end of a key wakes it, too, or another type in its place.
    pub wants_absence: bool,
    /// CLIENT REPLY OFF or SKIP held when it was parked: it gets no reply.
    pub silent: bool,
    /// What it reads was to be remembered when it was parked: CLIENT CACHING holds for it, too.
    pub tracked: bool,
    /// Its place in the queues, given by `BlockedClients::park`.
    pub ticket: super::watch::Ticket,
}

/// What a blocked client is told when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutReply {
    Null,
    NullArray,
    Integer(i64),
    /// It waits for its login, or for the end of a failed one's delay.
    WrongPassword,
    /// It waits for work that others do for it, and for nothing else.
    Work,
    /// It waits for replicas or the disk, and is told how far they are.
    Replicas(super::repl::wait::Awaited),
}

impl Parked {
    /// Is it a password that this client waits for?
    pub fn is_login(&self) -> bool {
        self.on_timeout == TimeoutReply::WrongPassword
    }
}

/// What the transport keeps up to date for CLIENT LIST: bytes, as of the client's last request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Transport {
    pub fd: i32,
    /// Arguments of an unfinished request that are there already, in front of a large one.
    pub argument_bytes: u32,
    /// Unparsed input, and what its buffer could take besides.
    pub query_bytes: u32,
    pub query_free: u32,
    /// Output that the socket has not taken: bytes, the pieces they are in, memory held for them.
    pub out_bytes: u32,
    pub out_pieces: u32,
    pub out_held: u32,
    /// What a TLS session holds besides: parts of records, what the socket has not taken.
    pub session_bytes: u32,
    /// Is the transport waiting to write?
    pub writing: bool,
}

impl Transport {
    /// Memory held by buffers.
    pub fn buffers(&self) -> usize {
        [
            self.argument_bytes,
            self.query_bytes,
            self.query_free,
            self.out_held,
            self.session_bytes,
        ]
        .iter()
        .map(|n| *n as usize)
        .sum()
    }
}

/// One client's session.
#[derive(Debug)]
pub struct Client {
    pub id: ClientId,
    /// Its database, by its global number: it belongs to `group`.
    pub db: u32,
    pub group: super::groups::GroupId,
    pub flags: u32,
    /// Bits of `state::gate` that hold for this client.
    pub gate: u32,
    pub resp3: bool,
    pub reply_mode: ReplyMode,
    pub authenticated: bool,
    pub last_command: crate::state::stats::RowNumber,
    pub created_ms: i64,
    /// Unix milliseconds of its last request.
    pub seen_ms: i64,
    pub net_in: u64,
    pub net_out: u64,
    pub commands: u64,
    pub multi: Option<Box<Transaction>>,
    pub watched: Vec<WatchedKey>,
    /// What those take.
    pub watched_bytes: usize,
    pub parked: Option<Box<Parked>>,
    pub subscriptions: Option<Box<super::pubsub::Subscriptions>>,
    /// How it tracks, if it does.
    pub tracking: Option<Box<super::tracking::Mode>>,
    pub details: Option<Box<Details>>,
    /// What it said of itself as a replica, before it asked for the stream.
    pub introduction: Option<Box<super::repl::Introduction>>,
    pub peer: Peer,
    pub transport: Transport,
    /// What it holds, as of when it was last looked at; kept where that is limited.
    pub weight: super::client_memory::Weight,
    /// What of it stands in its group's sum of what clients hold.
    pub held: u64,
    /// Where what it has changed ends in what was propagated (WAIT).
    pub written: super::repl::wait::Place,
    /// The user it acts as.
    pub user: super::users::UserId,
}

/// A key a client watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedKey {
    pub db: u32,
    pub key: Box<[u8]>,
}

/// What most clients never set.
#[derive(Debug, Default)]
pub struct Details {
    pub name: Box<[u8]>,
    pub lib_name: Box<[u8]>,
    pub lib_ver: Box<[u8]>,
}

/// Both ends of a client's connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Peer {
    /// No connection: a script's or loader's session.
    #[default]
    None,
    Tcp(Box<(SocketAddr, SocketAddr)>),
    /// Path of the socket it connected to.
    Unix(std::rc::Rc<str>),
}

impl Peer {
    /// Does the other end sit on this machine?
    pub fn is_local(&self) -> bool {
        match self {
            Peer::None | Peer::Unix(_) => true,
            Peer::Tcp(ends) => ends.0.ip().to_canonical().is_loopback(),
        }
    }
}

impl Client {
    fn details(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// CLIENT SETNAME; empty takes it away.
    pub fn set_name(&mut self, name: &[u8]) {
        self.details().name = name.into();
    }

    /// CLIENT SETINFO LIB-NAME.
    pub fn set_lib_name(&mut self, name: &[u8]) {
        self.details().lib_name = name.into();
    }

    /// CLIENT SETINFO LIB-VER.
    pub fn set_lib_ver(&mut self, version: &[u8]) {
        self.details().lib_ver = version.into();
    }

    /// Its name; empty without one.
    pub fn name(&self) -> &[u8] {
        self.details.as_ref().map_or(&[], |d| &d.name)
    }

    pub fn lib_name(&self) -> &[u8] {
        self.details.as_ref().map_or(&[], |d| &d.lib_name)
    }

    pub fn lib_ver(&self) -> &[u8] {
        self.details.as_ref().map_or(&[], |d| &d.lib_ver)
    }

    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// May somebody of this group know of it? Operators see all clients, others their own.
    pub fn is_shown_to(&self, viewer: super::groups::GroupId) -> bool {
        viewer.is_default() || self.group == viewer
    }

    /// The other end as CLIENT LIST shows it: `ip:port`, `[v6]:port`, `path:0`.
    pub fn peer_text(&self) -> String {
        match &self.peer {
            Peer::None => String::new(),
            Peer::Tcp(ends) => shown_address(&ends.0),
            Peer::Unix(path) => format!("{path}:0"),
        }
    }

    /// Our end, likewise.
    pub fn local_text(&self) -> String {
        match &self.peer {
            Peer::None => String::new(),
            Peer::Tcp(ends) => shown_address(&ends.1),
            Peer::Unix(path) => format!("{path}:0"),
        }
    }

    pub fn name_text(&self) -> String {
        String::from_utf8_lossy(self.name()).into_owned()
    }

    /// Leaves MULTI.
    pub fn end_multi(&mut self) {
        self.multi = None;
        self.gate &= !gate::IN_MULTI;
        self.flags &= !client_flag::DIRTY_CAS;
    }

    /// Memory of the session besides its transport's buffers.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self
                .multi
                .as_ref()
                .map_or(0, |m| m.bytes + size_of::<Transaction>())
            + self.details.as_ref().map_or(0, |d| {
                size_of::<Details>() + d.name.len() + d.lib_name.len() + d.lib_ver.len()
            })
            + self.watched_bytes
            + self.subscriptions.as_ref().map_or(0, |s| s.bytes)
            + self.tracking.as_ref().map_or(0, |mode| mode.bytes())
    }
}

fn shown_address(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.to_string(),
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => format!("{v4}:{}", v6.port()),
            None => format!("[{}]:{}", v6.ip(), v6.port()),
        },
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Clients {
    slab: Slab<Client>,
    next_serial: u64,
}

impl Clients {
    /// Opens a session; its slot is the connection's too.
    pub fn open(&mut self, peer: Peer, now_ms: i64) -> ClientId {
        self.next_serial += 1;
        self.open_as(self.next_serial, peer, now_ms)
    }

    /// Opens a session whose number is not one of a client's.
    pub(super) fn open_as(&mut self, serial: u64, peer: Peer, now_ms: i64) -> ClientId {
        let entry = self.slab.vacant_entry();
        let id = ClientId {
            slot: entry.key() as u32,
            serial,
        };
        entry.insert(Client {
            id,
            db: 0,
            group: Default::default(),
            flags: 0,
            gate: 0,
            resp3: false,
            reply_mode: ReplyMode::On,
            authenticated: false,
            last_command: Default::default(),
            created_ms: now_ms,
            seen_ms: now_ms,
            net_in: 0,
            net_out: 0,
            commands: 0,
            multi: None,
            watched: Vec::new(),
            watched_bytes: 0,
            parked: None,
            subscriptions: None,
            tracking: None,
            details: None,
            introduction: None,
            peer,
            transport: Transport::default(),
            weight: Default::default(),
            held: 0,
            written: Default::default(),
            user: Default::default(),
        });
        id
    }

    /// Ends a session.
    pub fn close(&mut self, id: ClientId) -> Option<Client> {
        self.get(id)?;
        Some(self.slab.remove(id.slot as usize))
    }

    /// The session on whose behalf a command runs: it is there as long as the command runs.
    #[inline]
    pub fn me(&mut self, id: ClientId) -> &mut Client {
        &mut self.slab[id.slot as usize]
    }

    /// The session, unless it has ended.
    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.slab.get(id.slot as usize).filter(|c| c.id == id)
    }

    /// The session for changing, unless it has ended.
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.slab.get_mut(id.slot as usize).filter(|c| c.id == id)
    }

    /// The session in this slot.
    pub fn at(&mut self, slot: usize) -> Option<&mut Client> {
        self.slab.get_mut(slot)
    }

    /// The session with this CLIENT ID.
    pub fn by_serial(&self, serial: u64) -> Option<&Client> {
        self.slab
            .iter()
            .map(|(_, c)| c)
            .find(|c| c.id.serial == serial)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slab.iter().map(|(_, c)| c)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slab.iter_mut().map(|(_, c)| c)
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Serial number of the newest session.
    pub fn last_serial(&self) -> u64 {
        self.next_serial
    }
}
