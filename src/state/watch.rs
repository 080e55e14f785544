//! WATCH and blocked clients: who waits for which key.
use super::client::{ClientId, Parked};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A key with its database.
pub type KeyName = (u32, Box<[u8]>);

/// Keys somebody watches.
#[derive(Debug, Default)]
pub struct Watched {
    keys: HashMap<KeyName, Vec<ClientId>>,
}

impl Watched {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A client watches a key; false if it did already.
    pub fn add(&mut self, db: u32, key: &[u8], who: ClientId) -> bool {
        let clients = self.keys.entry((db, key.into())).or_default();
        let new = !clients.contains(&who);
        if new {
            clients.push(who);
        }
        new
    }

    /// A client no longer watches a key.
    pub fn remove(&mut self, db: u32, key: &[u8], who: ClientId) {
        let name = (db, Box::from(key));
        if let Some(clients) = self.keys.get_mut(&name) {
            clients.retain(|c| *c != who);
            if clients.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    /// Who watches this key.
    pub fn of(&self, db: u32, key: &[u8]) -> &[ClientId] {
        // The map's key owns its bytes; watching is rare enough to build one for the look-up.
        self.keys
            .get(&(db, Box::from(key)))
            .map_or(&[], Vec::as_slice)
    }

    /// Every watched key of a database.
    pub fn in_db(&self, db: u32) -> impl Iterator<Item = (&[u8], &[ClientId])> {
        self.keys
            .iter()
            .filter(move |((d, _), _)| *d == db)
            .map(|((_, k), c)| (&**k, &c[..]))
    }
}

/// Those who wait for one key.
#[derive(Debug, Default)]
struct Waiters {
    queue: VecDeque<ClientId>,
    /// How many of them wait for the key's end, too.
    want_absence: usize,
    /// The key is on the list of ready ones.
    ready: bool,
}

/// Clients that wait for keys, first come first served for each key.
#[derive(Debug, Default)]
pub struct BlockedClients {
    waiting: HashMap<KeyName, Waiters>,
    /// Keys written since clients were last served, in order, each once.
    ready: Vec<KeyName>,
    /// Deadlines by monotonic milliseconds.
    deadlines: BTreeMap<(u64, u64), ClientId>,
    /// How many clients are blocked, for whatever reason.
    pub count: usize,
}

impl BlockedClients {
    /// Does anybody wait for a key?
    #[inline]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Is a key ready that somebody waits for?
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// A client waits for the keys that `parked` names.
    pub fn park(&mut self, who: ClientId, parked: &Parked) {
        for key in &parked.keys {
            let waiters = self.waiting.entry((parked.db, key.clone())).or_default();
            // A key that is named twice is waited for once.
            if waiters.queue.back() != Some(&who) {
                waiters.queue.push_back(who);
                waiters.want_absence += usize::from(parked.wants_absence);
            }
        }
        if parked.deadline_ms != 0 {
            self.deadlines.insert((parked.deadline_ms, who.serial), who);
        }
        self.count += 1;
    }

    /// A client waits no longer.
    pub fn unpark(&mut self, who: ClientId, parked: &Parked) {
        for key in &parked.keys {
            let name = (parked.db, key.clone());
            if let Some(waiters) = self.waiting.get_mut(&name)
                // Who is served is mostly the first.
                && let Some(at) = waiters.queue.iter().position(|c| *c == who)
            {
                waiters.queue.remove(at);
                waiters.want_absence -= usize::from(parked.wants_absence);
                if waiters.queue.is_empty() {
                    self.waiting.remove(&name);
                }
            }
        }
        self.deadlines.remove(&(parked.deadline_ms, who.serial));
        self.count -= 1;
    }

    /// A key was written or went: if somebody waits for it, it is looked at when the unit ends.
    pub fn signal(&mut self, db: u32, key: &[u8]) {
        let name = (db, Box::from(key));
        if let Some(waiters) = self.waiting.get_mut(&name)
            && !waiters.ready
        {
            waiters.ready = true;
            self.ready.push(name);
        }
    }

    /// Every key of a database that somebody waits for is looked at again (SWAPDB, load).
    pub fn signal_db(&mut self, db: u32) {
        let names: Vec<_> = self
            .waiting
            .keys()
            .filter(|(d, _)| *d == db)
            .cloned()
            .collect();
        for (db, key) in names {
            self.signal(db, &key);
        }
    }

    /// Takes the ready keys, oldest first.
    pub fn take_ready(&mut self) -> Vec<KeyName> {
        let ready = std::mem::take(&mut self.ready);
        for name in &ready {
            if let Some(waiters) = self.waiting.get_mut(name) {
                waiters.ready = false;
            }
        }
        ready
    }

    /// The client at a position in the queue for a key.
    pub fn waiter(&self, name: &KeyName, at: usize) -> Option<ClientId> {
        self.waiting.get(name)?.queue.get(at).copied()
    }

    /// Does anybody wait for the key's end?
    pub fn absence_wanted(&self, name: &KeyName) -> bool {
        self.waiting.get(name).is_some_and(|w| w.want_absence > 0)
    }

    /// Clients whose time is up at `now_ms`.
    pub fn timed_out(&mut self, now_ms: u64) -> Vec<ClientId> {
        self.deadlines
            .range(..(now_ms + 1, 0))
            .map(|(_, c)| *c)
            .collect()
    }

    /// The next deadline in monotonic milliseconds.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    /// How many clients wait for keys, and for how many keys.
    pub fn keys_waited_for(&self) -> usize {
        self.waiting.len()
    }
}
