//! MIGRATE under way: which keys are on their way to another server, for whom, and what became of them.
//!
//! A key on its way may be read, and not changed: whoever wants to change it waits (`gate::MIGRATING`), so that what
//! the other server got is what is removed here. Talking to that server is done elsewhere, behind [`Carrier`].
use super::State;
use super::client::{ClientId, client_flag};
use super::gate;
use super::watch::KeyName;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Who one is to the other server: user, where one is named, and password.
pub type Login = (Option<Vec<u8>>, Zeroizing<Vec<u8>>);

/// What the other server is to be asked.
pub struct Errand {
    pub host: Vec<u8>,
    pub port: u16,
    /// Nothing may keep still for longer than this.
    pub timeout_ms: u64,
    pub db: i64,
    pub login: Option<Login>,
    /// A request for each key, one behind the other.
    pub requests: Vec<u8>,
    pub count: usize,
    /// Over TLS, and with what.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why an errand failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is no connection.
    Connecting,
    Writing,
    Reading,
    /// The other server refused: its words, code first.
    Refused(Vec<u8>),
}

/// What became of an errand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The requests that the other server has followed, by number, in their order.
    pub done: Vec<usize>,
    pub failure: Option<Failure>,
}

/// Goes to other servers; keeps connections for those who come again.
pub trait Carrier: Send + Sync {
    /// Does an errand, however long it takes.
    fn carry(&self, errand: &Errand) -> Outcome;
    /// Connections kept.
    fn kept(&self) -> usize;
    /// Lets go of connections that nobody has used for a while.
    fn tidy(&self);
}

/// Errands under way at most, and bytes of what they carry at which no other one begins: each holds its keys a
/// second time.
pub const RUNNING_MAX: usize = 64;
const BYTES_MAX: usize = 64 << 20;
/// The same for those of one server: who goes to another one does not wait for it.
const RUNNING_EACH_MAX: usize = 8;
const BYTES_EACH_MAX: usize = 16 << 20;

/// Another server: its host and port.
pub type Target = (Vec<u8>, u16);

/// An errand under way.
pub struct Running {
    number: u64,
    pub who: ClientId,
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// They stay here, too (COPY).
    pub copies: bool,
    /// Another server's data took the place of these meanwhile: nothing follows from what became of it.
    pub overtaken: bool,
    to: Target,
    bytes: usize,
    outcome: Option<Outcome>,
}

/// An errand for the threads that do them.
pub struct Task {
    pub number: u64,
    pub errand: Errand,
}

/// All of them.
#[derive(Default)]
pub struct Migrations {
    running: Vec<Running>,
    /// Keys on their way, and in which databases.
    moving: HashMap<Box<[u8]>, Vec<usize>>,
    /// For the server to hand to threads.
    pub tasks: Vec<Task>,
    pub carrier: Option<Arc<dyn Carrier>>,
    last_number: u64,
    /// Who waits for the end of one, to change what is on its way.
    held: HashSet<ClientId>,
    /// Keys that had something for blocked clients who would change what is on its way.
    unserved: HashSet<KeyName>,
    /// One of those waits for the end of all of them: no other one begins before it had its turn.
    drains: bool,
    /// One has ended since those that wait were looked at.
    pub ended: bool,
    /// Whose errands are to begin when there is room for them, and where they go, in their order.
    pub queue: VecDeque<(ClientId, Target)>,
}

impl Migrations {
    /// Is anything under way?
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Is there so much under way, to that server or to all, that another errand has to wait?
    pub fn is_full(&self, to: &Target) -> bool {
        let (mut count, mut bytes) = (0, 0);
        let (mut count_each, mut bytes_each) = (0, 0);
        for one in &self.running {
            (count, bytes) = (count + 1, bytes + one.bytes);
            if one.to == *to {
                (count_each, bytes_each) = (count_each + 1, bytes_each + one.bytes);
            }
        }
        self.drains
            || count >= RUNNING_MAX
            || bytes >= BYTES_MAX
            || count_each >= RUNNING_EACH_MAX
            || bytes_each >= BYTES_EACH_MAX
    }

    /// May errands that wait begin, since others have ended?
    pub fn can_begin(&self) -> bool {
        self.ended && !self.queue.is_empty()
    }

    /// Is this key of a database, or of any, on its way to another server?
    pub fn holds(&self, db: Option<usize>, key: &[u8]) -> bool {
        let moving = self.moving.get(key);
        moving.is_some_and(|dbs| db.is_none_or(|db| dbs.contains(&db)))
    }

    /// A client waits for the end of an errand, or of `all` of them.
    pub fn hold(&mut self, who: ClientId, all: bool) {
        self.held.insert(who);
        self.drains |= all;
    }

    /// A key is looked at again at the end of an errand: somebody waits for it who could not be served.
    pub fn serve_later(&mut self, name: &KeyName) {
        self.unserved.insert(name.clone());
    }

    /// Another server's data take the place of these.
    pub fn overtake(&mut self) {
        for one in &mut self.running {
            one.overtaken = true;
        }
    }

    /// Who waits for the errand of that number, which has come to this end.
    pub fn came(&mut self, number: u64, outcome: Outcome) -> Option<ClientId> {
        let one = self.running.iter_mut().find(|one| one.number == number)?;
        one.outcome = Some(outcome);
        Some(one.who)
    }

    /// A client's errand, and what became of it.
    pub fn take_finished(&mut self, who: ClientId) -> Option<(Running, Outcome)> {
        let mut all = self.running.iter_mut();
        let at = all.position(|one| one.who == who && one.outcome.is_some())?;
        let outcome = self.running[at].outcome.take()?;
        let one = self.running.swap_remove(at);
        for key in one.keys.iter().filter(|_| !one.copies) {
            if let Some(dbs) = self.moving.get_mut(key) {
                if let Some(at) = dbs.iter().position(|db| *db == one.db) {
                    dbs.swap_remove(at);
                }
                if dbs.is_empty() {
                    self.moving.remove(key);
                }
            }
        }
        Some((one, outcome))
    }
}

impl State {
    /// An errand begins: whoever wants to change these keys waits for its end.
    pub fn begin_migration(&mut self, moved: Running, errand: Errand) {
        let bytes = errand.requests.len();
        let to = (errand.host.clone(), errand.port);
        let number = self.migrations.last_number + 1;
        self.migrations.last_number = number;
        self.migrations.tasks.push(Task { number, errand });
        // What is copied may change as it likes.
        if !moved.copies {
            self.gate |= gate::MIGRATING;
            for key in &moved.keys {
                let dbs = self.migrations.moving.entry(key.clone()).or_default();
                dbs.push(moved.db);
            }
        }
        let running = Running {
            number,
            to,
            bytes,
            ..moved
        };
        self.migrations.running.push(running);
    }

    /// An errand is over, and what follows from it is done: those who have waited for that, and may go on.
    pub fn end_migration(&mut self) -> Vec<ClientId> {
        self.migrations.ended = true;
        if self.migrations.moving.is_empty() {
            self.gate &= !gate::MIGRATING;
            self.migrations.drains = false;
        }
        for (db, key) in std::mem::take(&mut self.migrations.unserved) {
            self.blocked.signal(db, &key);
        }
        let held: Vec<ClientId> = self.migrations.held.drain().collect();
        for who in &held {
            if let Some(client) = self.clients.get_mut(*who) {
                client.flags &= !client_flag::POSTPONED;
            }
        }
        held
    }
}

impl Running {
    /// Keys of a database that a client moves or copies.
    pub fn new(who: ClientId, db: usize, keys: Vec<Box<[u8]>>, copies: bool) -> Running {
        Running {
            number: 0,
            who,
            db,
            keys,
            copies,
            overtaken: false,
            to: Target::default(),
            bytes: 0,
            outcome: None,
        }
    }
}
