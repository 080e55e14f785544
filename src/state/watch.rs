//! WATCH and blocked clients: who waits for which key.
use super::client::{ClientId, Parked};
use crate::types::Kind;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

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

/// A client in the queue for a key.
#[derive(Debug, Clone, Copy)]
struct Waiter {
    who: ClientId,
    kind: Kind,
    wants_absence: bool,
}

/// Those who wait for one key.
#[derive(Debug, Default)]
struct Waiters {
    /// By ticket: who came first is first, and anybody can leave from anywhere.
    queue: BTreeMap<Ticket, Waiter>,
    /// The key is on the list of ready ones.
    ready: bool,
}

/// A place in all queues a client waits in: given in the order of their coming.
pub type Ticket = u64;

/// Slots of the filter in front of the table of waited-for keys.
const FILTER: usize = 1024;

/// Clients that wait for keys, first come first served for each key.
#[derive(Debug, Default)]
pub struct BlockedClients {
    waiting: HashMap<KeyName, Waiters>,
    /// How many of the keys in `waiting` fall into each slot: a write to a key that nobody waits for
    /// is done with after one look here. Empty while nobody waits.
    filter: Vec<u32>,
    /// Keys written since clients were last served, in order, each once.
    ready: Vec<KeyName>,
    /// Deadlines by monotonic milliseconds.
    deadlines: BTreeMap<(u64, Ticket), ClientId>,
    next_ticket: Ticket,
    /// Keys whose end somebody waits for.
    absences: HashMap<KeyName, usize>,
    /// How many clients are blocked, for whatever reason.
    pub count: usize,
}

/// The slot of a key. No secret is in it: who aims at a slot gains a look-up for each write.
#[inline]
fn filter_slot(key: &[u8]) -> usize {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (first, last) = match key.len() {
        len @ 0..=8 => (word(&key[..len]), 0),
        len => (word(&key[..8]), word(&key[len - 8..])),
    };
    let mixed =
        (first ^ last.rotate_left(29) ^ key.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 54) as usize
}

const _: () = assert!(FILTER == 1 << (64 - 54));

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

    /// A client waits for the keys that `parked` names, which gets its ticket.
    pub fn park(&mut self, who: ClientId, parked: &mut Parked) {
        self.next_ticket += 1;
        parked.ticket = self.next_ticket;
        let waiter = Waiter {
            who,
            kind: parked.kind,
            wants_absence: parked.wants_absence,
        };
        self.filter.resize(FILTER, 0);
        for key in &parked.keys {
            let name = (parked.db, key.clone());
            let waiters = self.waiting.entry(name).or_insert_with(|| {
                self.filter[filter_slot(key)] += 1;
                Waiters::default()
            });
            // A key that is named twice is waited for once.
            let new = waiters.queue.insert(parked.ticket, waiter).is_none();
            if new && parked.wants_absence {
                *self.absences.entry((parked.db, key.clone())).or_default() += 1;
            }
        }
        if parked.deadline_ms != 0 {
            self.deadlines
                .insert((parked.deadline_ms, parked.ticket), who);
        }
        self.count += 1;
    }

    /// A client waits no longer.
    pub fn unpark(&mut self, parked: &Parked) {
        for key in &parked.keys {
            let name = (parked.db, key.clone());
            let Some(waiters) = self.waiting.get_mut(&name) else {
                continue;
            };
            let gone = waiters.queue.remove(&parked.ticket).is_some();
            if waiters.queue.is_empty() {
                self.waiting.remove(&name);
                self.filter[filter_slot(key)] -= 1;
            }
            if gone
                && parked.wants_absence
                && let Some(count) = self.absences.get_mut(&name)
            {
                *count -= 1;
                if *count == 0 {
                    self.absences.remove(&name);
                }
            }
        }
        self.deadlines.remove(&(parked.deadline_ms, parked.ticket));
        self.count -= 1;
    }

    /// A key was written or went: if somebody waits for it, it is looked at when the unit ends.
    #[inline]
    pub fn signal(&mut self, db: u32, key: &[u8]) {
        if self
            .filter
            .get(filter_slot(key))
            .is_some_and(|keys| *keys > 0)
        {
            self.signal_waited(db, key);
        }
    }

    #[cold]
    fn signal_waited(&mut self, db: u32, key: &[u8]) {
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
        for (name, waiters) in &mut self.waiting {
            if name.0 == db && !waiters.ready {
                waiters.ready = true;
                self.ready.push(name.clone());
            }
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

    /// The first behind `ticket` in the queue for a key who is woken by what is there now: a value of
    /// this kind, or none.
    pub fn next_waiter(
        &self,
        name: &KeyName,
        ticket: Ticket,
        there: Option<Kind>,
    ) -> Option<(Ticket, ClientId)> {
        if there.is_none() && !self.absences.contains_key(name) {
            return None;
        }
        let queue = &self.waiting.get(name)?.queue;
        queue
            .range(ticket + 1..)
            .find(|(_, waiter)| waiter.wants_absence || there == Some(waiter.kind))
            .map(|(ticket, waiter)| (*ticket, waiter.who))
    }

    /// Up to `max` clients whose time is up at `now_ms`, the longest overdue first.
    pub fn timed_out(&self, now_ms: u64, max: usize) -> Vec<ClientId> {
        self.deadlines
            .range(..=(now_ms, Ticket::MAX))
            .take(max)
            .map(|(_, who)| *who)
            .collect()
    }

    /// The next deadline in monotonic milliseconds.
    #[inline]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    /// How many keys are waited for.
    pub fn keys_waited_for(&self) -> usize {
        self.waiting.len()
    }

    /// How many keys somebody waits for to go.
    pub fn absences_waited_for(&self) -> usize {
        self.absences.len()
    }

    /// The same two of some databases.
    pub fn waited_for_in(&self, dbs: &Range<usize>) -> (usize, usize) {
        let here = |(db, _): &&KeyName| dbs.contains(&(*db as usize));
        let keys = self.waiting.keys().filter(here).count();
        (keys, self.absences.keys().filter(here).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::state::client::TimeoutReply;

    fn parked(keys: &[&str], kind: Kind, deadline_ms: u64) -> Parked {
        Parked {
            row: Default::default(),
            argv: Box::default(),
            keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
            db: 0,
            deadline_ms,
            on_timeout: TimeoutReply::Null,
            kind,
            wants_absence: kind == Kind::Stream,
            silent: false,
            ticket: 0,
        }
    }

    fn client(slot: u32) -> ClientId {
        ClientId {
            slot,
            serial: u64::from(slot),
        }
    }

    #[test]
    fn each_waits_in_one_line_for_each_key() {
        let mut blocked = BlockedClients::default();
        let keys: [(&[&str], Kind); 4] = [
            (&["a", "b", "a"], Kind::List),
            (&["b"], Kind::Zset),
            (&["b", "a"], Kind::List),
            (&["a"], Kind::Stream),
        ];
        let mut all: Vec<Parked> = keys.map(|(keys, kind)| parked(keys, kind, 0)).into();
        for (n, parked) in all.iter_mut().enumerate() {
            blocked.park(client(n as u32), parked);
        }
        let line = |blocked: &BlockedClients, key: &str, there| {
            let (name, mut ticket, mut line) = ((0, key.as_bytes().into()), 0, Vec::new());
            while let Some((next, who)) = blocked.next_waiter(&name, ticket, there) {
                line.push(who.slot);
                ticket = next;
            }
            line
        };
        assert_eq!(line(&blocked, "a", Some(Kind::List)), [0, 2, 3]);
        assert_eq!(line(&blocked, "b", Some(Kind::List)), [0, 2]);
        assert_eq!(line(&blocked, "b", Some(Kind::Zset)), [1]);
        assert_eq!(line(&blocked, "a", None), [3]);
        assert_eq!(line(&blocked, "b", None), []);
        assert_eq!(
            (blocked.keys_waited_for(), blocked.absences_waited_for()),
            (2, 1)
        );
        for key in ["a", "c", "b", "a", "absent key of some length"] {
            blocked.signal(0, key.as_bytes());
            blocked.signal(1, key.as_bytes());
        }
        let ready = blocked.take_ready();
        assert_eq!(ready, [(0, b"a"[..].into()), (0, b"b"[..].into())]);
        all.iter().for_each(|parked| blocked.unpark(parked));
        assert!(!blocked.waits() && blocked.count == 0 && blocked.absences.is_empty());
        assert!(blocked.filter.iter().all(|keys| *keys == 0));
    }

    #[test]
    fn thousands_leave_in_any_order() {
        let mut blocked = BlockedClients::default();
        let mut rng = Rng::from_seed(1);
        let count = if cfg!(miri) { 100 } else { 20_000 };
        let mut all: Vec<Parked> = (0..count)
            .map(|_| parked(&["k", "l"], Kind::List, 1 + rng.below(50)))
            .collect();
        for (n, parked) in all.iter_mut().enumerate() {
            blocked.park(client(n as u32), parked);
        }
        assert_eq!(blocked.next_deadline_ms(), Some(1));
        let mut last = 0;
        while blocked.waits() {
            for who in blocked.timed_out(60, 64) {
                let parked = &all[who.slot as usize];
                assert!(parked.deadline_ms >= last, "the longest overdue first");
                last = parked.deadline_ms;
                blocked.unpark(parked);
            }
        }
        assert_eq!((blocked.count, blocked.next_deadline_ms()), (0, None));
    }
}
