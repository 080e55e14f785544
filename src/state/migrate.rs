//! MIGRATE under way: which keys are on their way to another server, for whom, and what became of them.
//!
//! A key on its way may be read, and not changed: whoever wants to change it waits (`gate::MIGRATING`), so that what
//! the other server got is what is removed here. Talking to that server is done elsewhere, behind [`Carrier`].
use super::State;
use super::client::{ClientId, client_flag};
use super::gate;
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

/// An errand under way.
pub struct Running {
    number: u64,
    pub who: ClientId,
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// They stay here, too (COPY).
    pub copies: bool,
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
    /// For the server to hand to threads.
    pub tasks: Vec<Task>,
    pub carrier: Option<Arc<dyn Carrier>>,
    last_number: u64,
}

impl Migrations {
    /// Is anything under way?
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Is this key on its way to another server?
    pub fn holds(&self, db: usize, key: &[u8]) -> bool {
        let moves = |one: &Running| !one.copies && one.db == db;
        let mut moving = self.running.iter().filter(|one| moves(one));
        moving.any(|one| one.keys.iter().any(|other| **other == *key))
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
        Some((self.running.swap_remove(at), outcome))
    }
}

impl State {
    /// An errand begins: whoever wants to change these keys waits for its end.
    pub fn begin_migration(&mut self, moved: Running, errand: Errand) {
        let number = self.migrations.last_number + 1;
        self.migrations.last_number = number;
        self.migrations.tasks.push(Task { number, errand });
        // What is copied may change as it likes.
        if !moved.copies {
            self.gate |= gate::MIGRATING;
        }
        let running = Running { number, ..moved };
        self.migrations.running.push(running);
    }

    /// An errand is over, and what follows from it is done. True where others have waited for that.
    pub fn end_migration(&mut self) -> bool {
        let moves = self.migrations.running.iter().any(|one| !one.copies);
        if moves || self.gate & gate::MIGRATING == 0 {
            return false;
        }
        self.gate &= !gate::MIGRATING;
        let mut waited = false;
        for client in self.clients.iter_mut() {
            waited |= client.has(client_flag::POSTPONED);
            client.flags &= !client_flag::POSTPONED;
        }
        waited
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
            outcome: None,
        }
    }
}
