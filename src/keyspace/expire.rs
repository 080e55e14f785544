//! Active expiry: removes dead keys soon after their deadline, without sampling and in bounded steps.
//!
//! The index holds hashes with a time, never pointers, so writes need not tell it when a key goes. What it
//! promises: a key with a deadline is registered at its deadline or earlier. An early registration is moved
//! when it comes due; one without a key is dropped. Since names that are deleted and set again register
//! again each time, the index is swept when it holds far more than there are keys with a deadline.

use crate::ds::table::Hasher64;

use super::db::Db;
use super::entry::Entry;

/// Hashes looked up together: as many cache misses as are worth having in flight.
const BATCH: usize = 64;

/// Registrations beyond twice the keys with a deadline before the index is swept.
const SWEEP_SLACK: usize = 4096;

/// What a call of the expiry cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Keys removed.
    pub removed: usize,
    /// The budget was used up: more keys may be due.
    pub more: bool,
}

impl Db {
    /// Removes up to about `max` keys whose deadline has passed and hands each to `gone`, which drops it,
    /// here or on another thread. The budget counts hashes looked up, so a call is bounded also when the
    /// index holds many names that are gone.
    pub fn expire_cycle(
        &mut self,
        now_ms: i64,
        max: usize,
        mut gone: impl FnMut(Entry),
    ) -> Expired {
        let mut done = Expired::default();
        if self.wheel.len() == 0 {
            return done;
        }
        let mut due = Vec::new();
        let mut looked_up = 0;
        while looked_up < max {
            due.clear();
            let want = BATCH.min(max - looked_up);
            if self.wheel.due(now_ms, want, &mut due) == 0 {
                return done;
            }
            self.prefetch_all(&due);
            for &hash in &due {
                done.removed += self.settle(hash, now_ms, &mut gone);
            }
            looked_up += due.len();
        }
        done.more = true;
        done
    }

    /// Does what a registration that has come due asks for.
    fn settle(&mut self, hash: u64, now_ms: i64, gone: &mut impl FnMut(Entry)) -> usize {
        let mut removed = 0;
        // Whatever is expired may go, so the key need not be compared: one of another name that is stored
        // under the same bits is as dead.
        while let Some(slot) = self
            .entries
            .find_where(hash, |entry| entry.is_expired(now_ms))
        {
            gone(self.remove(slot));
            removed += 1;
        }
        // A deadline that was moved is registered again. Here the name counts, or it would be registered
        // under the wrong hash and never found.
        let hasher = self.entries.hasher();
        let moved = self.entries.find_where(hash, |entry| {
            entry.bound().is_some() && hasher.hash64(entry.key()) == hash
        });
        if let Some(slot) = moved {
            match self.entry(slot).expire_at() {
                Some(at_ms) => self.register(hash, at_ms),
                None => self.entries.update(slot, |mut entry| {
                    entry.forget_bound();
                    entry
                }),
            }
        }
        removed
    }

    fn prefetch_all(&self, hashes: &[u64]) {
        hashes
            .iter()
            .for_each(|&hash| self.entries.prefetch_bucket(hash));
        let mut chained = false;
        hashes
            .iter()
            .for_each(|&hash| chained |= self.entries.prefetch_item(hash));
        if chained {
            hashes
                .iter()
                .for_each(|&hash| self.entries.prefetch_chain(hash));
        }
    }
}
