//! WATCH and the end of a transaction: which changes of a key count for whoever watches it.
//!
//! A key that was past its deadline when the watch began is as good as absent: that it goes is no
//! change, that something takes its place is one. A key that passes its deadline while it is watched
//! has changed, whether or not it was removed.
use super::State;
use super::client::{ClientId, WatchedKey, client_flag};
use super::listener;

/// What a watched key takes besides its name, here and in the table of all that is watched.
const WATCH_BYTES: usize = 2 * size_of::<WatchedKey>();

impl State {
    /// A client watches a key from now on.
    pub fn watch(&mut self, who: ClientId, db: usize, key: &[u8]) {
        let now_ms = self.clock.unix_ms;
        let expired = self.dbs.get(db, key).is_some_and(|e| e.is_expired(now_ms));
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        // A transaction that will fail anyway needs no further watch.
        if client.has(client_flag::DIRTY_CAS) || !self.watched.add(db as u32, key, who) {
            return;
        }
        client.watched_bytes += key.len() + WATCH_BYTES;
        self.listeners |= listener::WATCHED;
        client.watched.push(WatchedKey {
            db: db as u32,
            key: key.into(),
            expired,
        });
    }

    /// Stops watching every key, and forgets whether one had changed.
    pub fn unwatch_all(&mut self, who: ClientId) {
        self.forget_watches(who);
        if let Some(client) = self.clients.get_mut(who) {
            client.flags &= !client_flag::DIRTY_CAS;
        }
    }

    /// Leaves MULTI without running anything.
    pub fn discard_transaction(&mut self, who: ClientId) {
        if let Some(client) = self.clients.get_mut(who) {
            client.end_multi();
        }
        self.unwatch_all(who);
    }

    /// Has a key that the client watches changed, or passed its deadline since?
    pub fn watch_broken(&self, who: ClientId) -> bool {
        let now_ms = self.clock.unix_ms;
        self.clients.get(who).is_some_and(|client| {
            client.has(client_flag::DIRTY_CAS)
                || client.watched.iter().any(|w| {
                    let entry = self.dbs.get(w.db as usize, &w.key);
                    !w.expired && entry.is_some_and(|e| e.is_expired(now_ms))
                })
        })
    }

    /// A key changed or went: tells those who watch it.
    #[cold]
    pub(super) fn break_watches(&mut self, db: usize, key: &[u8]) {
        let gone = self.dbs.get(db, key).is_none();
        for who in self.watched.of(db as u32, key).to_vec() {
            let stale = self
                .clients
                .get_mut(who)
                .and_then(|client| watched_key(&mut client.watched, db, key))
                .filter(|w| w.expired);
            match stale {
                Some(watched) if gone => watched.expired = false,
                _ => self.spoil(who),
            }
        }
    }

    /// A database is about to be emptied, or to take the content of another one: tells those who
    /// watch a key that is in either.
    pub(super) fn break_watches_of_db(&mut self, db: usize, successor: Option<usize>) {
        let now_ms = self.clock.unix_ms;
        let mut spoilt = Vec::new();
        for (key, watchers) in self.watched.in_db(db as u32) {
            let exists = self.dbs.get(db, key).is_some();
            let next = successor.and_then(|other| self.dbs.get(other, key));
            let next_expired = next.map(|entry| entry.is_expired(now_ms));
            if !exists && next_expired.is_none() {
                continue;
            }
            for who in watchers {
                let Some(watched) = self
                    .clients
                    .get_mut(*who)
                    .and_then(|client| watched_key(&mut client.watched, db, key))
                else {
                    continue;
                };
                match (watched.expired, next_expired) {
                    // As good as absent before and after.
                    (true, None) => watched.expired = false,
                    (true, Some(true)) => {}
                    (false, Some(true)) if !exists => watched.expired = true,
                    _ => spoilt.push(*who),
                }
            }
        }
        for who in spoilt {
            self.spoil(who);
        }
    }

    /// The client's transaction will fail: there is nothing left to watch for.
    fn spoil(&mut self, who: ClientId) {
        if let Some(client) = self.clients.get_mut(who) {
            client.flags |= client_flag::DIRTY_CAS;
        }
        self.forget_watches(who);
    }

    fn forget_watches(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        client.watched_bytes = 0;
        for watched in std::mem::take(&mut client.watched) {
            self.watched.remove(watched.db, &watched.key, who);
        }
    }
}

fn watched_key<'a>(
    list: &'a mut [WatchedKey],
    db: usize,
    key: &[u8],
) -> Option<&'a mut WatchedKey> {
    list.iter_mut()
        .find(|w| w.db == db as u32 && *w.key == *key)
}
