//! WATCH and blocked clients: who waits for which key.
use super::client::ClientId;
use std::collections::{BTreeMap, HashMap, VecDeque};

type KeyName = (u32, Box<[u8]>);

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

/// Clients that wait for keys, first come first served for each key.
#[derive(Debug, Default)]
pub struct BlockedClients {
    waiting: HashMap<KeyName, VecDeque<ClientId>>,
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

    /// A client waits for these keys.
    pub fn park(&mut self, who: ClientId, db: u32, keys: &[Box<[u8]>], deadline_ms: u64) {
        for key in keys {
            let queue = self.waiting.entry((db, key.clone())).or_default();
            if !queue.contains(&who) {
                queue.push_back(who);
            }
        }
        if deadline_ms != 0 {
            self.deadlines.insert((deadline_ms, who.serial), who);
        }
        self.count += 1;
    }

    /// A client waits no longer.
    pub fn unpark(&mut self, who: ClientId, db: u32, keys: &[Box<[u8]>], deadline_ms: u64) {
        for key in keys {
            let name = (db, key.clone());
            if let Some(queue) = self.waiting.get_mut(&name) {
                queue.retain(|c| *c != who);
                if queue.is_empty() {
                    self.waiting.remove(&name);
                }
            }
        }
        self.deadlines.remove(&(deadline_ms, who.serial));
        self.count -= 1;
    }

    /// A key was written: if somebody waits for it, it is ready.
    pub fn signal(&mut self, db: u32, key: &[u8]) {
        let name = (db, Box::from(key));
        if self.waiting.contains_key(&name) && !self.ready.contains(&name) {
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
        std::mem::take(&mut self.ready)
    }

    /// Who waits for a key, in their order.
    pub fn waiting_for(&self, name: &KeyName) -> Vec<ClientId> {
        self.waiting
            .get(name)
            .map_or(Vec::new(), |q| q.iter().copied().collect())
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
