//! WATCH and blocked clients: who waits for which key.
use super::client::{ClientId, Parked, WatchedKey};
use crate::types::Kind;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// A key with its database.
pub type KeyName = (u32, Box<[u8]>);

/// Keys of a client that ends which are forgotten with it at once; more than that in later turns.
pub const FORGOTTEN_AT_ONCE_MAX: usize = 1000;

/// Who watches a key.
#[derive(Debug, Clone, Copy)]
pub struct Watcher {
    pub who: ClientId,
    /// The key was past its deadline already when the watch began: its removal is no change.
    pub expired: bool,
}

/// Keys somebody watches.
#[derive(Debug, Default)]
pub struct Watched {
    keys: HashMap<KeyName, Vec<Watcher>>,
    /// What clients that have ended watched, and is still to be forgotten.
    leaving: Vec<(ClientId, std::vec::IntoIter<WatchedKey>)>,
}

impl Watched {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A client watches a key, which is past its deadline or not; false if it did already.
    pub fn add(&mut self, db: u32, key: &[u8], who: ClientId, expired: bool) -> bool {
        let watchers = self.keys.entry((db, key.into())).or_default();
        let new = watchers.iter().all(|watcher| watcher.who != who);
        if new {
            watchers.push(Watcher { who, expired });
        }
        new
    }

    /// A client no longer watches a key.
    fn remove(&mut self, watched: WatchedKey, who: ClientId) {
        let name = (watched.db, watched.key);
        if let Some(watchers) = self.keys.get_mut(&name) {
            watchers.retain(|watcher| watcher.who != who);
            if watchers.is_empty() {
                self.keys.remove(&name);
            }
        }
    }

    /// A client no longer watches these keys.
    pub fn remove_all(&mut self, watched: Vec<WatchedKey>, who: ClientId) {
        for key in watched {
            self.remove(key, who);
        }
    }

    /// The same for a client that ends: where there are many, those left are forgotten by and by.
    pub fn leave(&mut self, watched: Vec<WatchedKey>, who: ClientId) {
        self.leaving.push((who, watched.into_iter()));
        self.forget_some(FORGOTTEN_AT_ONCE_MAX);
    }

    /// Are there keys that clients watched which have ended?
    #[inline]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets up to `max` keys of clients that have ended.
    pub fn forget_some(&mut self, max: usize) {
        for _ in 0..max {
            let Some((who, keys)) = self.leaving.last_mut() else {
                return;
            };
            let who = *who;
            match keys.next() {
                Some(key) => self.remove(key, who),
                None => _ = self.leaving.pop(),
            }
        }
    }

    /// Who watches this key.
    pub fn of(&mut self, db: u32, key: &[u8]) -> &mut [Watcher] {
        // The map's key owns its bytes; watching is rare enough to build one for the look-up.
        self.keys
            .get_mut(&(db, Box::from(key)))
            .map_or(&mut [], Vec::as_mut_slice)
    }

    /// Does this client watch a key that was past its deadline when it began to?
    pub fn is_of_expired(&self, db: u32, key: &[u8], who: ClientId) -> bool {
        let watchers = self.keys.get(&(db, Box::from(key)));
        watchers.is_some_and(|all| all.iter().any(|w| w.who == who && w.expired))
    }

    /// Every watched key of a database.
    pub fn in_db(&mut self, db: u32) -> impl Iterator<Item = (&[u8], &mut [Watcher])> {
        self.keys
            .iter_mut()
            .filter(move |((d, _), _)| *d == db)
            .map(|((_, key), watchers)| (&**key, &mut watchers[..]))
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
    /// What clients waited for that wait no longer, and is still to be forgotten.
    leaving: Vec<Leaving>,
    /// How many clients are blocked, for whatever reason.
    pub count: usize,
}

/// Keys that a client no longer waits for.
#[derive(Debug)]
struct Leaving {
    db: u32,
    ticket: Ticket,
    wants_absence: bool,
    keys: std::vec::IntoIter<Box<[u8]>>,
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

    /// A client waits no longer. It may still stand in the queues for some of very many keys: nobody
    /// is there any more under its ticket, then.
    pub fn unpark(&mut self, parked: &mut Parked) {
        self.deadlines.remove(&(parked.deadline_ms, parked.ticket));
        self.count -= 1;
        self.leaving.push(Leaving {
            db: parked.db,
            ticket: parked.ticket,
            wants_absence: parked.wants_absence,
            keys: std::mem::take(&mut parked.keys).into_iter(),
        });
        self.forget_some(FORGOTTEN_AT_ONCE_MAX);
    }

    /// Are there keys that clients no longer wait for?
    #[inline]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Forgets up to `max` keys that clients no longer wait for.
    pub fn forget_some(&mut self, max: usize) {
        let Some(mut leaving) = self.leaving.pop() else {
            return;
        };
        for key in leaving.keys.by_ref().take(max) {
            self.forget(leaving.db, key, leaving.ticket, leaving.wants_absence);
        }
        if leaving.keys.len() > 0 {
            self.leaving.push(leaving);
        }
    }

    fn forget(&mut self, db: u32, key: Box<[u8]>, ticket: Ticket, wants_absence: bool) {
        let name = (db, key);
        let Some(waiters) = self.waiting.get_mut(&name) else {
            return;
        };
        let gone = waiters.queue.remove(&ticket).is_some();
        if waiters.queue.is_empty() {
            self.waiting.remove(&name);
            self.filter[filter_slot(&name.1)] -= 1;
        }
        if gone
            && wants_absence
            && let Some(count) = self.absences.get_mut(&name)
        {
            *count -= 1;
            if *count == 0 {
                self.absences.remove(&name);
            }
        }
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

    fn parked(keys: &[&str], kind: Kind, deadline_ms: u64) -> Box<Parked> {
        Box::new(Parked {
            row: Default::default(),
            argv: Box::default(),
            keys: keys.iter().map(|key| key.as_bytes().into()).collect(),
            db: 0,
            deadline_ms,
            on_timeout: TimeoutReply::Null,
            kind,
            wants_absence: kind == Kind::Stream,
            silent: false,
            tracked: false,
            ticket: 0,
        })
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
        let mut all: Vec<Box<Parked>> = keys.map(|(keys, kind)| parked(keys, kind, 0)).into();
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
        all.iter_mut().for_each(|parked| blocked.unpark(parked));
        assert!(!blocked.waits() && blocked.count == 0 && blocked.absences.is_empty());
        assert!(blocked.filter.iter().all(|keys| *keys == 0));
    }

    #[test]
    fn thousands_leave_in_any_order() {
        let mut blocked = BlockedClients::default();
        let mut rng = Rng::from_seed(1);
        let count = if cfg!(miri) { 100 } else { 20_000 };
        let mut all: Vec<_> = (0..count)
            .map(|_| Some(parked(&["k", "l"], Kind::List, 1 + rng.below(50))))
            .collect();
        for (n, parked) in all.iter_mut().flatten().enumerate() {
            blocked.park(client(n as u32), parked);
        }
        assert_eq!(blocked.next_deadline_ms(), Some(1));
        let mut last = 0;
        while blocked.waits() {
            for who in blocked.timed_out(60, 64) {
                let mut parked = all[who.slot as usize].take().expect("it waits");
                assert!(parked.deadline_ms >= last, "the longest overdue first");
                last = parked.deadline_ms;
                blocked.unpark(&mut parked);
            }
        }
        assert_eq!((blocked.count, blocked.next_deadline_ms()), (0, None));
    }

    /// What one client leaves behind is not taken apart at once, and does not hold up who comes behind it.
    #[test]
    fn a_client_with_many_keys_leaves_in_steps() {
        let keys: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut blocked = BlockedClients::default();
        let (mut many, mut one) = (
            parked(&names, Kind::Stream, 5),
            parked(&["9999"], Kind::List, 0),
        );
        blocked.park(client(0), &mut many);
        blocked.park(client(1), &mut one);
        let gone = many.ticket;
        blocked.unpark(&mut many);
        assert_eq!((blocked.count, blocked.next_deadline_ms()), (1, None));
        assert_eq!(blocked.keys_waited_for(), 9000);
        let (mut ticket, mut line) = (0, Vec::new());
        let name = (0, b"9999"[..].into());
        while let Some((next, who)) = blocked.next_waiter(&name, ticket, None) {
            line.push((next, who.slot));
            ticket = next;
        }
        assert_eq!(
            line,
            [(gone, 0)],
            "under a ticket that is nobody's any more"
        );
        let mut steps = 0;
        while blocked.has_leaving() {
            blocked.forget_some(500);
            steps += 1;
        }
        assert_eq!((steps, blocked.keys_waited_for()), (18, 1));
        assert_eq!(blocked.absences_waited_for(), 0);
        blocked.unpark(&mut one);
        assert!(!blocked.waits() && blocked.filter.iter().all(|keys| *keys == 0));
    }
}
