//! Whole databases: emptying and exchanging them, and who must learn of it (WATCH, blocked clients).
use super::State;
use crate::base::alloc;
use crate::keyspace::Detached;

/// Allocations freed at once when a client asks for it: about half a millisecond. More than that is
/// freed by the background thread; to clients the keys are gone in either case.
const FREED_AT_ONCE_MAX: usize = 8192;

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
        self.break_watches_of_db(db, None);
        let keys = self.dbs[db].len();
        if keys > 0 {
            let small = !lazy && self.frees_fast(db);
            let old = self.dbs.flush(db);
            if small {
                drop(old);
            } else {
                let objects = if lazy { keys } else { 0 };
                self.garbage.later(Box::new(Flushed(Some(old))), objects);
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

    /// Empties all databases; how many keys were in them.
    pub fn flush_all(&mut self, lazy: bool) -> usize {
        (0..self.dbs.count())
            .map(|db| self.flush_db(db, lazy))
            .sum()
    }

    /// Exchanges the contents of two databases. Clients stay where they are: those that watch or
    /// wait for keys there see the other content.
    pub fn swap_dbs(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.break_watches_of_db(a, Some(b));
        self.break_watches_of_db(b, Some(a));
        self.dbs.swap(a, b);
        self.blocked.signal_db(a as u32);
        self.blocked.signal_db(b as u32);
    }
}
