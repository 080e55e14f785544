//! Active expiry: removes dead keys soon after their deadline, without sampling and in bounded steps.
//!
//! The index holds hashes with a time, never pointers, so writes need not tell it when a key goes. What it
//! promises: a key with a deadline is registered at its deadline or earlier. An early registration is moved
//! when it comes due; one without a key is dropped. Since names that are deleted and set again register
//! again each time, the index is swept when it holds far more than there are keys with a deadline.

use crate::ds::table::Hasher64;
use crate::ds::wheel::{BATCH, KEPT_BITS, Wheel};

use super::db::{Db, Entries};
use super::entry::Entry;
use super::meter::Meter;

/// The expiry index of a database and the buffer it hands hashes out in.
#[derive(Default)]
pub(super) struct Index {
    pub(super) wheel: Wheel,
    due: Vec<u64>,
}

impl Index {
    pub(super) fn bytes(&self) -> usize {
        self.wheel.bytes() + self.due.capacity() * size_of::<u64>() + size_of::<Index>()
    }
}

/// What a call of the expiry cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Keys removed.
    pub removed: usize,
    /// How much of the budget the call took: hashes looked up, whether a key was dead or not.
    pub spent: usize,
    /// The budget was used up: there is more to do.
    pub more: bool,
}

impl Db {
    /// Tells the index of a deadline. A key dies in the first millisecond after it.
    pub(super) fn register(&mut self, hash: u64, at_ms: i64) {
        self.index
            .get_or_insert_default()
            .wheel
            .register(hash, at_ms.saturating_add(1));
    }

    /// Registrations in the expiry index: up to some more than twice the keys with a deadline.
    pub fn registrations(&self) -> usize {
        self.index.as_ref().map_or(0, |index| index.wheel.len())
    }

    /// A time (unix ms) before which the expiry cycle has nothing to do; `None` without deadlines.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.index.as_ref().and_then(|index| index.wheel.next_ms())
    }

    /// Removes up to about `max` keys whose deadline has passed and hands each to `gone`, which drops it,
    /// here or on another thread. The budget counts hashes looked up, in batches of 64, so a call is bounded
    /// also when the index holds many names that are gone.
    pub fn expire_cycle(
        &mut self,
        now_ms: i64,
        max: usize,
        mut gone: impl FnMut(Entry),
    ) -> Expired {
        let mut done = Expired::default();
        // Out while it is used: settling a hash may register it anew, in the wheel.
        let Some(mut index) = self.index.take() else {
            return done;
        };
        while done.spent < max {
            done.more = index.wheel.due(now_ms, &mut index.due);
            prefetch_all(&self.entries, &index.due);
            for &hash in &index.due {
                done.removed += self.settle(&mut index.wheel, hash, now_ms, &mut gone);
            }
            // A call that could not finish took as long as a full batch: it sorted the index.
            done.spent += if done.more { BATCH } else { index.due.len() };
            if !done.more {
                break;
            }
        }
        self.index = Some(index);
        let swept = self.sweep_index(max.saturating_sub(done.spent));
        done.spent += swept.spent;
        done.more |= max == 0 || swept.more;
        done
    }

    /// The part of the cycle that removes nothing: drops needless registrations when there are very many.
    /// For a server that leaves expired keys alone (a replica), where names still come and go.
    pub fn sweep_index(&mut self, max: usize) -> Expired {
        let mut done = Expired::default();
        let Some(mut index) = self.index.take() else {
            return done;
        };
        done.more = index.wheel.wants_sweep(self.expires());
        while done.more && done.spent < max {
            self.sweep(&mut index.wheel);
            done.spent += BATCH;
            done.more = index.wheel.wants_sweep(self.expires());
        }
        self.index = Some(index);
        done
    }

    /// Does what a registration that has come due asks for; the number of keys removed.
    fn settle(
        &mut self,
        wheel: &mut Wheel,
        hash: u64,
        now_ms: i64,
        gone: &mut impl FnMut(Entry),
    ) -> usize {
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
        // A deadline that was moved is registered again.
        if let Some(at_ms) = earliest_deadline((&mut self.entries, &mut self.meter), hash) {
            wheel.register(hash, at_ms.saturating_add(1));
        }
        removed
    }

    /// One piece of a pass that drops what no key needs from the index.
    fn sweep(&mut self, wheel: &mut Wheel) {
        let live = self.expires();
        let (entries, meter) = (&mut self.entries, &mut self.meter);
        wheel.sweep(live, |hashes, deadlines| {
            prefetch_all(entries, hashes);
            for (&hash, deadline) in hashes.iter().zip(deadlines) {
                if let Some(at_ms) = earliest_deadline((entries, meter), hash) {
                    *deadline = at_ms.saturating_add(1);
                }
            }
        });
    }
}

/// The earliest deadline of the keys under a hash whose registration is about to be dropped. Keys without
/// a deadline forget that they were registered.
fn earliest_deadline((entries, meter): (&mut Entries, &mut Meter), hash: u64) -> Option<i64> {
    let hasher = entries.hasher();
    // Here the key's own hash counts: an entry that only looks like a match is registered elsewhere.
    let is_under = |key: &[u8]| (hasher.hash64(key) ^ hash) & KEPT_BITS == 0;
    let (mut earliest, mut forgetful) = (None, false);
    _ = entries.find_where(hash, |entry| {
        if entry.bound().is_some() && is_under(entry.key()) {
            match entry.expire_at() {
                Some(at_ms) => earliest = Some(earliest.map_or(at_ms, |e: i64| e.min(at_ms))),
                None => forgetful = true,
            }
        }
        false
    });
    while forgetful {
        let slot = entries.find_where(hash, |entry| {
            entry.bound().is_some() && entry.expire_at().is_none() && is_under(entry.key())
        });
        forgetful = slot.is_some();
        if let Some(slot) = slot {
            meter.update(entries, slot, |mut entry| {
                entry.forget_bound();
                entry
            });
        }
    }
    earliest
}

pub(super) fn prefetch_all(entries: &Entries, hashes: &[u64]) {
    hashes
        .iter()
        .for_each(|&hash| entries.prefetch_bucket(hash));
    let mut chained = false;
    hashes
        .iter()
        .for_each(|&hash| chained |= entries.prefetch_item(hash));
    if chained {
        hashes.iter().for_each(|&hash| entries.prefetch_chain(hash));
    }
}
