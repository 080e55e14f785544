//! What the server knows of replication: the history its data belong to, the stream of changes, the replicas
//! that read it, and the primary that it follows itself.
//!
//! Data only. `replication` acts on it; INFO, admission and the propagation of commands read it.
pub mod backlog;
pub mod own;
pub mod readers;
pub mod role;
pub mod wait;

use super::client::ClientId;
use crate::base::disk::DiskFile;
use backlog::Backlog;
use own::OwnDeadlines;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

/// Hexadecimal digits of a replication id.
pub const ID_LEN: usize = 40;

/// Replication as a whole.
#[derive(Debug)]
pub struct Repl {
    /// The history that the data belong to: 40 hexadecimal digits.
    pub id: String,
    /// The history before it, if this server was a replica: up to `second_until` both are the same.
    pub second_id: String,
    /// Offset up to which `second_id` may be continued; -1: not at all.
    pub second_until: i64,
    /// Offset behind the last byte of the stream.
    pub offset: u64,
    /// The newest bytes of the stream; there is one as soon as somebody has read it.
    pub backlog: Option<Backlog>,
    /// Parts of it that replicas without groups see as blanks, in order: offsets of beginning and end.
    pub hidden: VecDeque<(u64, u64)>,
    /// Since when nobody reads it, monotonic microseconds.
    pub unread_since_us: u64,
    /// Who reads it, or is about to; in the order in which they came.
    pub replicas: Vec<Replica>,
    /// The snapshot that is being made for some of them.
    pub round: Option<Round>,
    /// What lies at the place of the snapshot was made for replicas, not to be kept (`rdb-del-sync-files`).
    pub file_for_replicas: bool,
    /// How many of them have said lately that they follow (`min-replicas-to-write`).
    pub good: u32,
    /// When replicas were last sent a PING, monotonic microseconds.
    pub pinged_us: u64,
    /// WAIT asks the replicas where they are: at the end of the turn.
    pub ask_acks: bool,
    /// The primary that this server follows.
    pub upstream: Option<Upstream>,
    /// Primaries that there have been so far.
    pub upstreams: u64,
    /// A request of the primary's runs: it says by itself when a key ends.
    pub applying: bool,
    /// Keys that got a deadline from clients of this writable replica: no primary will end them.
    pub own_deadlines: OwnDeadlines,
    /// Clients that wait for replicas or for the disk (WAIT, WAITAOF).
    pub waiting: VecDeque<ClientId>,
    pub figures: Figures,
    /// This server is handing its part over (FAILOVER).
    pub failover: Option<Failover>,
}

/// A failover under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// To whom; without a name, to the first replica that has everything.
    pub target: Option<(String, u16)>,
    /// For how long it waits for that, monotonic microseconds.
    pub until_us: Option<u64>,
    /// Then it is done all the same.
    pub force: bool,
    /// The target is asked to take over; before, it is waited for.
    pub takes_over: bool,
}

impl Failover {
    /// How far it is, as INFO calls it.
    pub fn name(&self) -> &'static str {
        match self.takes_over {
            true => "failover-in-progress",
            false => "waiting-for-sync",
        }
    }
}

/// Counters for INFO.
#[derive(Debug, Default, Clone, Copy)]
pub struct Figures {
    pub full_syncs: u64,
    pub partial_syncs: u64,
    pub partial_syncs_refused: u64,
    /// Bytes of replication that were read and written.
    pub net_in: u64,
    pub net_out: u64,
}

/// What of the data set a snapshot is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    pub data: bool,
    pub functions: bool,
    /// Groups, and what is theirs.
    pub groups: bool,
}

impl Parts {
    pub const ALL: Parts = Parts {
        data: true,
        functions: true,
        groups: true,
    };
}

/// A snapshot that is being made for replicas ([`Stage::WaitSnapshotEnd`]).
#[derive(Debug)]
pub struct Round {
    /// It lies on disk first; else the child writes it to all of them at once.
    pub on_disk: bool,
    pub parts: Parts,
    /// The stream goes on from here behind it.
    pub offset: u64,
    /// Where it lies when it is done.
    pub path: PathBuf,
    /// Has the child done what it was for? Unknown while it lives.
    pub succeeded: Option<bool>,
    /// It is opened once for each of them as soon as it is there: whatever lies in its place later would not fit
    /// the offset.
    pub files: Files,
    /// Nobody waits for it any more.
    pub abandoned: bool,
}

/// What was opened for whom.
#[derive(Default)]
pub struct Files(pub Vec<(ClientId, io::Result<Arc<dyn DiskFile>>)>);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} files", self.0.len())
    }
}

/// What a replica said that it can do (REPLCONF capa).
pub mod capa {
    /// It reads a snapshot whose length is not known.
    pub const EOF: u8 = 1 << 0;
    /// It knows `+CONTINUE <id>`.
    pub const PSYNC2: u8 = 1 << 1;
    /// It is a server like this one: it has groups.
    pub const GROUPS: u8 = 1 << 2;
}

/// How far a replica's synchronisation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a snapshot to begin.
    WaitSnapshot,
    /// A snapshot for it is being written.
    WaitSnapshotEnd,
    /// The snapshot is sent to it.
    SendSnapshot,
    /// Only the snapshot was wanted (`redis-cli --rdb`): it is sent, and the end is awaited.
    SnapshotSent,
    /// It reads the stream.
    Online,
}

impl Stage {
    /// As INFO calls it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::WaitSnapshot | Stage::WaitSnapshotEnd => "wait_bgsave",
            Stage::SendSnapshot => "send_bulk",
            Stage::SnapshotSent => "rdb_transmitted",
            Stage::Online => "online",
        }
    }
}

/// A server that follows this one.
#[derive(Debug)]
pub struct Replica {
    pub client: ClientId,
    pub stage: Stage,
    /// Bits of [`capa`].
    pub capa: u8,
    /// It wants a snapshot and nothing else (`REPLCONF rdb-only`).
    pub snapshot_only: bool,
    /// The snapshot is to leave data out (`rdb-filter-only`): keys, functions.
    pub without_data: bool,
    pub without_functions: bool,
    /// It asked by SYNC: it is told nothing of histories, and sends no REPLCONF ACK.
    pub old: bool,
    /// Offset of the next byte of the stream that is to be written to it; not known before there is a
    /// snapshot for it.
    pub sent: Option<u64>,
    /// What it is told in front of the snapshot or the stream.
    pub greeting: Vec<u8>,
    /// It has the snapshot, and gets the stream when it has told that it is loaded.
    pub awaits_ack: bool,
    /// When it came, monotonic microseconds.
    pub since_us: u64,
    /// Since when it has taken nothing of the snapshot that was to be written, monotonic microseconds; 0: it
    /// takes what it is given.
    pub stuck_since_us: u64,
    /// Offset up to which it has applied the stream, as it says.
    pub acked: u64,
    /// Offset up to which its AOF is on disk, as it says; `None` if it never said so.
    pub acked_on_disk: Option<u64>,
    /// When it last said so, monotonic microseconds; 0: never.
    pub acked_us: u64,
    /// The output limit's clock: monotonic milliseconds since when it has been over the soft limit; 0: it is not.
    pub soft_since_ms: u64,
}

impl Replica {
    /// Bytes of the stream that wait for it.
    pub fn pending(&self, end: u64) -> u64 {
        self.sent.map_or(0, |sent| end.saturating_sub(sent))
    }

    /// Does it get the stream?
    pub fn streams(&self) -> bool {
        self.stage == Stage::Online && !self.awaits_ack
    }

    /// What its snapshot is to hold; groups only where there are any.
    pub fn parts(&self, groups: bool) -> Parts {
        Parts {
            data: !self.without_data,
            functions: !self.without_functions,
            groups: !groups || self.capa & capa::GROUPS != 0,
        }
    }
}

/// What REPLCONF has told before PSYNC, kept with the client.
#[derive(Debug, Default, Clone)]
pub struct Introduction {
    pub port: u16,
    /// Where it says that it can be reached (`ip-address`); empty: where it comes from.
    pub address: String,
    pub capa: u8,
    pub snapshot_only: bool,
    pub without_data: bool,
    pub without_functions: bool,
    /// The version it said it is (7.2: `version`).
    pub version: String,
}

/// How the link to the primary stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It is to be connected.
    Connect,
    /// The connection is being made.
    Connecting,
    /// Both sides introduce themselves.
    Handshake,
    /// The snapshot comes in.
    Transfer,
    /// The snapshot is loaded.
    Load,
    /// The stream is applied as it comes.
    Connected,
}

impl Link {
    /// As ROLE calls it.
    pub fn name(self) -> &'static str {
        match self {
            Link::Connect => "connect",
            Link::Connecting => "connecting",
            Link::Handshake => "handshake",
            Link::Transfer | Link::Load => "sync",
            Link::Connected => "connected",
        }
    }
}

/// The primary that this server follows.
#[derive(Debug)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub link: Link,
    /// The session under which the stream is applied, while there is a connection.
    pub client: Option<ClientId>,
    /// Tells one REPLICAOF from another: whoever acts for this one sees that it is another.
    pub serial: u64,
    /// The data here are of `Repl::id` up to `Repl::offset`: that history may be continued.
    pub resumes: bool,
    /// The database in which the stream goes on.
    pub db: u32,
    /// How many databases each group has where the stream comes from; 0: it has no groups.
    pub file_databases: usize,
    /// The primary is asked to hand its part over (FAILOVER): PSYNC says so once.
    pub takes_over: bool,
    /// Offset behind the last byte that came in, applied or not.
    pub read_offset: u64,
    /// Since when the link is down, Unix seconds; 0: it was never up.
    pub down_since_s: i64,
    /// When something last came from it, monotonic microseconds.
    pub heard_us: u64,
    /// The snapshot: its bytes, where it said how many, and how many of them are here.
    pub transfer_bytes: Option<u64>,
    pub transfer_read: u64,
    /// When bytes of it last came, monotonic microseconds.
    pub transfer_us: u64,
    /// The data set is being replaced, and the old one still answers (`repl-diskless-load swapdb`).
    pub async_loading: bool,
}

impl Upstream {
    /// A primary that is to be connected to.
    pub fn new(host: String, port: u16) -> Upstream {
        Upstream {
            host,
            port,
            link: Link::Connect,
            client: None,
            serial: 0,
            resumes: false,
            db: 0,
            file_databases: 0,
            takes_over: false,
            read_offset: 0,
            down_since_s: 0,
            heard_us: 0,
            transfer_bytes: None,
            transfer_read: 0,
            transfer_us: 0,
            async_loading: false,
        }
    }

    /// Are the data those of the primary, as far as is known?
    pub fn is_up(&self) -> bool {
        self.link == Link::Connected
    }
}

impl Repl {
    /// A server that follows nobody, with a history of its own.
    pub fn new(id: String) -> Repl {
        Repl {
            id,
            second_id: "0".repeat(ID_LEN),
            second_until: -1,
            offset: 0,
            backlog: None,
            hidden: VecDeque::new(),
            unread_since_us: 0,
            replicas: Vec::new(),
            round: None,
            file_for_replicas: false,
            good: 0,
            pinged_us: 0,
            ask_acks: false,
            upstream: None,
            upstreams: 0,
            applying: false,
            own_deadlines: OwnDeadlines::default(),
            waiting: VecDeque::new(),
            figures: Figures::default(),
            failover: None,
        }
    }

    /// Does this server follow another one?
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.upstream.is_some()
    }

    /// Do changes of this server's own go into the stream? A replica's stream is its primary's.
    #[inline]
    pub fn feeds(&self) -> bool {
        self.backlog.is_some() && self.upstream.is_none()
    }

    /// Another history begins where this one is known.
    pub fn shift(&mut self, fresh: String) {
        self.second_id = std::mem::replace(&mut self.id, fresh);
        self.second_until = self.offset as i64 + 1;
        log::warn!(
            "Setting secondary replication ID to {}, valid up to offset: {}. New replication ID is {}",
            self.second_id,
            self.second_until,
            self.id
        );
    }

    /// There is no history before this one.
    pub fn forget_second_id(&mut self) {
        self.second_id = "0".repeat(ID_LEN);
        self.second_until = -1;
    }

    /// Appends to the stream.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(backlog) = &mut self.backlog {
            backlog.push(bytes);
            self.offset = backlog.end();
        }
    }

    /// The replica that this client is.
    pub fn replica(&mut self, who: ClientId) -> Option<&mut Replica> {
        self.replicas.iter_mut().find(|one| one.client == who)
    }
}
