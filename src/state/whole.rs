//! Whole databases: emptying and exchanging them, and who must learn of it (WATCH, blocked clients).
use super::State;
use super::groups::GroupId;
use crate::base::alloc;
use crate::keyspace::Detached;

/// Allocations freed at once when a client asks for it: about half a millisecond. More than that is
/// freed by the background thread; to clients the keys are gone in either case.
const FREED_AT_ONCE_MAX: usize = 8192;

/// Keys whose bytes are summed up when they go. Of more it is only known that they hold no more than all
/// there is: while they are freed, as much again may be in use for a moment, and no other key is evicted.
const SUMMED_MAX: usize = 1024;

/// The keys of a flushed database on their way to the background thread.
struct Flushed(Option<Detached>);

impl Drop for Flushed {
    fn drop(&mut self) {
        drop(self.0.take());
        // An idle server would keep the pages otherwise: the allocator gives them back by and by,
        // while it is used.
        alloc::purge();
    }
}

impl State {
    /// Empties a database; how many keys were in it.
    pub fn flush_db(&mut self, db: usize, lazy: bool) -> usize {
        let keys = self.empty_db(db, lazy);
        self.invalidate_all(self.group_of(db));
        keys
    }

    fn empty_db(&mut self, db: usize, lazy: bool) -> usize {
        self.break_watches_of_db(db, None);
        let keys = self.dbs[db].len();
        if keys > 0 {
            let small = !lazy && self.frees_fast(db);
            let summed = keys <= SUMMED_MAX;
            let bytes = match summed {
                true => self.dbs[db].iter().map(|e| e.mem_bytes()).sum(),
                false => alloc::used().saturating_sub(self.run.startup_memory),
            };
            let old = self.dbs.flush(db);
            let objects = if lazy { keys } else { 0 };
            if small {
                drop(old);
            } else if summed {
                let flushed = Box::new(Flushed(Some(old)));
                self.garbage.later_sized(flushed, objects, bytes);
            } else {
                let flushed = Box::new(Flushed(Some(old)));
                self.garbage.later_unsized(flushed, objects, bytes);
            }
        }
        // Whoever waits for a key may wait for its end.
        self.blocked.signal_db(db as u32);
        keys
    }

    /// Is a database small enough to be freed where we are?
    fn frees_fast(&self, db: usize) -> bool {
        let db = &self.dbs[db];
        db.len() <= FREED_AT_ONCE_MAX
            && db.iter().map(|e| e.free_effort()).sum::<usize>() <= FREED_AT_ONCE_MAX
    }

    /// Empties all databases of a group; how many keys were in them.
    pub fn flush_all(&mut self, group: GroupId, lazy: bool) -> usize {
        let dbs = self.dbs_of(group);
        let keys = dbs.rev().map(|db| self.empty_db(db, lazy)).sum();
        self.invalidate_all(group);
        keys
    }

    /// All databases hold other keys now: whoever waits for one looks again.
    pub fn signal_all_dbs(&mut self) {
        for db in 0..self.dbs.count() {
            self.blocked.signal_db(db as u32);
        }
    }

    /// The databases of a group that hold keys.
    pub fn filled_dbs(&self, group: GroupId) -> Vec<usize> {
        let dbs = self.dbs.iter_in(self.dbs_of(group));
        let filled = dbs.filter(|(_, db)| !db.is_empty());
        filled.map(|(number, _)| number).collect()
    }

    /// Exchanges the contents of two databases. Clients stay where they are: those that watch or
    /// wait for keys there see the other content.
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.break_watches_of_db(a, Some(b));
        self.break_watches_of_db(b, Some(a));
        let empty = self.dbs[a].len() + self.dbs[b].len() == 0;
        self.dbs.swap(a, b);
        if !empty {
            // What clients keep by name means other keys now.
            self.invalidate_all(self.group_of(a));
        }
        self.blocked.signal_db(a as u32);
        self.blocked.signal_db(b as u32);
    }
}

#[cfg(test)]
mod tests {
    use crate::base::alloc;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::State;
    use crate::state::client::{Peer, client_flag};
    use crate::state::config::Config;
    use crate::state::groups::GroupId;
    use std::sync::atomic::Ordering;

    fn state_with(keys: usize) -> State {
        let clock = Clock::manual(1_000_000);
        let mut state = State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0);
        for n in 0..keys {
            let key = n.to_string();
            state.dbs.insert(2, key.as_bytes(), NewValue::Int(1), None);
        }
        state
    }

    #[test]
    fn a_small_flush_is_done_at_once_and_a_large_one_in_the_background() {
        let mut state = state_with(100);
        assert_eq!(
            (
                state.flush_all(GroupId::DEFAULT, false),
                state.garbage.waiting.len()
            ),
            (100, 0)
        );
        let mut state = state_with(20_000);
        assert_eq!(
            (state.flush_db(0, false), state.flush_db(2, false)),
            (0, 20_000)
        );
        assert_eq!((state.dbs[2].len(), state.garbage.waiting.len()), (0, 1));
        assert_eq!(
            state.garbage.disposal.pending.load(Ordering::Relaxed),
            0,
            "was not lazy"
        );
    }

    #[test]
    fn a_lazy_flush_counts_its_keys() {
        let mut state = state_with(100);
        state.flush_all(GroupId::DEFAULT, true);
        let garbage = &mut state.garbage;
        assert_eq!(garbage.disposal.pending.load(Ordering::Relaxed), 100);
        for rubbish in garbage.waiting.drain(..) {
            rubbish.free(&garbage.disposal);
        }
        assert_eq!(garbage.disposal.pending.load(Ordering::Relaxed), 0);
        assert_eq!(garbage.disposal.freed.load(Ordering::Relaxed), 100);
    }

    /// Until it is freed it is as good as free: no key that is written meanwhile goes in its place.
    #[test]
    fn what_a_flush_frees_counts_before_it_is_freed() {
        let mut state = state_with(20_000);
        state.flush_all(GroupId::DEFAULT, false);
        let of_many = state.garbage.bytes();
        assert!(of_many > 0 || alloc::used() == 0, "no counting allocator");
        state.dbs.insert(0, b"new", NewValue::Int(1), None);
        state.flush_all(GroupId::DEFAULT, true);
        // Few keys are summed up.
        assert!((1..1000).contains(&(state.garbage.bytes() - of_many)));
        for rubbish in state.garbage.waiting.drain(..) {
            rubbish.free(&state.garbage.disposal);
        }
        assert_eq!(state.garbage.bytes(), 0);
    }

    #[test]
    fn a_swap_concerns_those_who_watch_a_key_of_either_side() {
        let mut state = state_with(1);
        let clients: Vec<_> = (0..4).map(|_| state.open_session(Peer::None)).collect();
        state.watch(clients[0], 2, b"0");
        state.watch(clients[1], 1, b"0");
        state.watch(clients[2], 3, b"0");
        state.watch(clients[3], 1, b"other");
        state.swap_dbs(1, 2);
        let broken = clients.iter().map(|who| state.watch_broken(*who));
        assert_eq!(broken.collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!((state.dbs[1].len(), state.dbs[2].len()), (1, 0));
        for who in clients {
            state.unwatch_all(who);
            assert!(!state.clients.me(who).has(client_flag::DIRTY_CAS));
        }
        assert!(state.watched.is_empty(), "nobody is remembered");
    }
}
