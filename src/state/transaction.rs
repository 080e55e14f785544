//! WATCH and the end of a transaction: which changes of a key count for whoever watches it.
//!
//! A key that was past its deadline when the watch began is as good as absent: that it goes is no
//! change, that something takes its place is one. A key that passes its deadline while it is watched
//! has changed, whether or not it was removed.
use super::State;
use super::client::{ClientId, WatchedKey, client_flag};
use super::listener;
use super::watch::FORGOTTEN_AT_ONCE_MAX;

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
        if client.has(client_flag::DIRTY_CAS) || !self.watched.add(db as u32, key, who, expired) {
            return;
        }
        client.watched_bytes += key.len() + WATCH_BYTES;
        self.listeners |= listener::WATCHED;
        client.watched.push(WatchedKey {
            db: db as u32,
            key: key.into(),
        });
    }

    /// Stops watching every key, and forgets whether one had changed.
    pub fn unwatch_all(&mut self, who: ClientId) {
        let watched = self.take_watches(who);
        self.watched.remove_all(watched, who);
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
                    entry.is_some_and(|e| e.is_expired(now_ms))
                        && !self.watched.is_of_expired(w.db, &w.key, who)
                })
        })
    }

    /// A key changed or went: tells those who watch it.
    #[cold]
    pub(super) fn break_watches(&mut self, db: usize, key: &[u8]) {
        let gone = self.dbs.get(db, key).is_none();
        let mut spoilt = Vec::new();
        for watcher in self.watched.of(db as u32, key) {
            if watcher.expired && gone {
                watcher.expired = false;
            } else {
                spoilt.push(watcher.who);
            }
        }
        for who in spoilt {
            self.spoil(who);
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
            for watcher in watchers {
                match (watcher.expired, next_expired) {
                    // As good as absent before and after.
                    (true, None) => watcher.expired = false,
                    (true, Some(true)) => {}
                    (false, Some(true)) if !exists => watcher.expired = true,
                    _ => spoilt.push(watcher.who),
                }
            }
        }
        for who in spoilt {
            self.spoil(who);
        }
    }

    /// The client's transaction will fail: there is nothing left to watch for. Very many keys are left for
    /// the client itself to forget: whoever changed this one does not wait for that.
    fn spoil(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        client.flags |= client_flag::DIRTY_CAS;
        if client.watched.len() <= FORGOTTEN_AT_ONCE_MAX {
            let watched = self.take_watches(who);
            self.watched.remove_all(watched, who);
        }
    }

    /// A client that ends watches nothing.
    pub(super) fn leave_watches(&mut self, who: ClientId) {
        let watched = self.take_watches(who);
        if !watched.is_empty() {
            self.watched.leave(watched, who);
        }
    }

    fn take_watches(&mut self, who: ClientId) -> Vec<WatchedKey> {
        let Some(client) = self.clients.get_mut(who) else {
            return Vec::new();
        };
        client.watched_bytes = 0;
        std::mem::take(&mut client.watched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::client::{Peer, Transaction};
    use crate::state::config::Config;

    const MANY: usize = 5 * FORGOTTEN_AT_ONCE_MAX;

    fn state() -> State {
        State::new(
            Config::default(),
            Rng::from_seed(1),
            Clock::manual(1),
            1,
            1.0,
        )
    }

    fn watching(state: &mut State, keys: usize) -> ClientId {
        let who = state.open_session(Peer::None);
        for n in 0..keys {
            state.watch(who, 0, n.to_string().as_bytes());
        }
        who
    }

    #[test]
    fn who_changes_a_key_does_not_wait_for_all_that_is_watched_with_it() {
        let mut state = state();
        let (few, many) = (watching(&mut state, 10), watching(&mut state, MANY));
        for _ in 0..2 {
            state.break_watches(0, b"7");
            assert!(state.watch_broken(few) && state.watch_broken(many));
            assert_eq!(
                state.clients.me(few).watched.len(),
                0,
                "nothing to watch for"
            );
            assert_eq!(state.clients.me(many).watched.len(), MANY);
        }
        state.unwatch_all(many);
        assert!(state.watched.is_empty() && !state.watch_broken(many));
        assert_eq!(state.clients.me(many).watched_bytes, 0);
        state.watch(many, 0, b"7");
        assert!(!state.watch_broken(many));
        state.break_watches(0, b"7");
        assert!(state.watch_broken(many));
    }

    #[test]
    fn a_client_that_ends_is_forgotten_in_steps() {
        let mut state = state();
        let (stays, ends) = (watching(&mut state, 10), watching(&mut state, MANY));
        let multi = Transaction {
            queue: (0..MANY).map(|_| Default::default()).collect(),
            bytes: 17,
            ..Transaction::default()
        };
        state.clients.me(ends).multi = Some(Box::new(multi));
        state.end_session(ends);
        assert_eq!(state.garbage.bytes(), 17);
        let mut steps = 0;
        while state.has_leaving() {
            // It stands there for somebody who is gone.
            state.break_watches(0, format!("{}", MANY - 1).as_bytes());
            state.forget_leaving();
            steps += 1;
        }
        assert!((4..=6).contains(&steps), "{steps}");
        assert!(!state.watch_broken(stays) && !state.watched.is_empty());
        state.unwatch_all(stays);
        assert!(state.watched.is_empty());
    }
}
