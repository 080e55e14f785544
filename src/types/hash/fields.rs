//! A large hash: a table with one allocation for each field, and the deadlines of fields that have one.

use crate::base::hash::HashKey;
use crate::ds::pair::{Pair, PairRef};
use crate::ds::table::{Fetch, IterPrefetched, Slot, Table, TableStats};
use crate::ds::wheel::BATCH;

use super::deadlines::Deadlines;

/// The fields of a large hash.
pub struct Fields {
    pub(super) table: Table<Pair, HashKey>,
    /// Sum of the fields' allocations.
    pub(super) item_bytes: usize,
    /// Absent while no field has a deadline.
    deadlines: Option<Box<Deadlines>>,
}

/// What becomes of a field's deadline when the field is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldTtl {
    /// It stays (HINCRBY, HSETEX with KEEPTTL).
    Keep,
    /// It goes (HSET).
    Clear,
    /// It is this unix time in milliseconds.
    At(i64),
}

impl Fields {
    pub(super) fn new(hash_key: HashKey) -> Fields {
        Fields {
            table: Table::new(hash_key),
            item_bytes: 0,
            deadlines: None,
        }
    }

    #[inline]
    fn find(&self, field: &[u8]) -> Option<Slot> {
        self.table.find(self.table.hash(field), field)
    }

    #[inline]
    pub(super) fn get(&self, field: &[u8]) -> Option<PairRef<'_>> {
        Some(self.table.get(self.find(field)?))
    }

    /// Sets a field; true if it is new.
    #[inline]
    pub(super) fn set(&mut self, field: &[u8], value: &[u8], ttl: FieldTtl) -> bool {
        let hash = self.table.hash(field);
        let slot = self.table.find(hash, field);
        if let FieldTtl::At(at_ms) = ttl {
            self.store(hash, slot, Pair::new(field, value, Some(at_ms)));
            return slot.is_none();
        }
        let Some(slot) = slot else {
            self.insert(hash, Pair::new(field, value, None));
            return true;
        };
        if self.deadlines.is_some() {
            let kept = self.table.get(slot).expire_at();
            if kept.is_some() && ttl == FieldTtl::Clear {
                self.store(hash, Some(slot), Pair::new(field, value, None));
                return false;
            }
        }
        if !self.table.get_mut(slot).set_in_place(value) {
            let pair = Pair::new(field, value, self.table.get(slot).expire_at());
            self.replace(slot, pair);
        }
        false
    }

    fn insert(&mut self, hash: u64, pair: Pair) {
        self.item_bytes += pair.view().mem_bytes();
        self.table.insert_new(hash, pair);
    }

    fn replace(&mut self, slot: Slot, pair: Pair) {
        self.item_bytes += pair.view().mem_bytes();
        let old = self.table.replace(slot, pair);
        self.item_bytes -= old.view().mem_bytes();
    }

    /// Puts a pair where it belongs, and notes what that means for the deadlines.
    fn store(&mut self, hash: u64, slot: Option<Slot>, pair: Pair) {
        let before = slot.and_then(|slot| self.table.get(slot).expire_at());
        let after = pair.view().expire_at();
        match slot {
            Some(slot) => self.replace(slot, pair),
            None => self.insert(hash, pair),
        }
        self.deadline_moved(hash, before, after);
    }

    fn deadline_moved(&mut self, hash: u64, before: Option<i64>, after: Option<i64>) {
        match (before, after) {
            (None, None) => return,
            (None, Some(at_ms)) => self
                .deadlines
                .get_or_insert_with(|| Box::new(Deadlines::new()))
                .added(hash, at_ms),
            (Some(_), None) => return self.lost_deadline(),
            (Some(from_ms), Some(to_ms)) => {
                if let Some(deadlines) = &mut self.deadlines {
                    deadlines.moved(hash, from_ms, to_ms);
                }
            }
        }
        let Some(mut deadlines) = self.deadlines.take_if(|deadlines| deadlines.wants_tidy()) else {
            return;
        };
        deadlines.tidy(|hash| self.earliest_deadline(hash));
        self.deadlines = Some(deadlines);
    }

    fn lost_deadline(&mut self) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.removed();
            if deadlines.live() == 0 {
                self.deadlines = None;
            }
        }
    }

    /// Gives a field a deadline, or takes it away; false without such a field.
    pub(super) fn set_deadline(&mut self, field: &[u8], at_ms: Option<i64>) -> bool {
        let hash = self.table.hash(field);
        let Some(slot) = self.table.find(hash, field) else {
            return false;
        };
        let pair = self.table.get(slot);
        let before = pair.expire_at();
        match (before, at_ms) {
            (None, None) => return true,
            (Some(_), Some(at_ms)) => self.table.get_mut(slot).set_expire_at(at_ms),
            _ => {
                let pair = Pair::new(field, pair.value(), at_ms);
                self.replace(slot, pair);
            }
        }
        self.deadline_moved(hash, before, at_ms);
        true
    }

    /// Removes a field; true if it was there.
    pub(super) fn delete(&mut self, field: &[u8]) -> bool {
        let slot = self.find(field);
        if let Some(slot) = slot {
            self.take(slot);
        }
        slot.is_some()
    }

    fn take(&mut self, slot: Slot) -> Pair {
        let old = self.table.take(slot);
        self.item_bytes -= old.view().mem_bytes();
        if self.deadlines.is_some() && old.view().expire_at().is_some() {
            self.lost_deadline();
        }
        old
    }

    /// Does any field have a deadline?
    #[inline]
    pub(super) fn has_deadlines(&self) -> bool {
        self.deadlines.is_some()
    }

    /// A time before which `expire` has nothing to do; `None` without deadlines.
    #[inline]
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.as_ref().map(|deadlines| deadlines.next_ms())
    }

    /// The earliest deadline under a hash that was registered. More fields may seem to be under it than
    /// are, and are then registered twice.
    fn earliest_deadline(&self, hash: u64) -> Option<i64> {
        let mut earliest = None;
        _ = self.table.find_where(hash, |pair| {
            if let Some(at_ms) = pair.expire_at() {
                earliest = Some(earliest.map_or(at_ms, |e: i64| e.min(at_ms)));
            }
            false
        });
        earliest
    }

    /// Removes up to about `max` fields whose deadline has passed and shows their names. Returns whether
    /// there may be more.
    pub(super) fn expire(&mut self, now_ms: i64, max: usize, gone: &mut dyn FnMut(&[u8])) -> bool {
        // Out while it is used: settling a hash may register it anew.
        let Some(mut deadlines) = self.deadlines.take() else {
            return false;
        };
        let (mut hashes, mut spent, mut more) = (Vec::with_capacity(BATCH), 0, true);
        while more && spent < max && deadlines.live() > 0 {
            more = deadlines.due(now_ms, &mut hashes);
            self.prefetch(&hashes);
            for &hash in &hashes {
                // Whatever is dead may go, whichever field was registered.
                while let Some(slot) = self.table.find_where(hash, |pair| is_dead(pair, now_ms)) {
                    gone(self.take(slot).view().key());
                    deadlines.removed();
                }
                if let Some(at_ms) = self.earliest_deadline(hash) {
                    deadlines.register(hash, at_ms);
                }
            }
            // A call that found nothing sorted the index, which took as long as a batch.
            spent += if more { BATCH } else { hashes.len() };
        }
        if deadlines.live() == 0 {
            return false;
        }
        self.deadlines = Some(deadlines);
        more
    }

    fn prefetch(&self, hashes: &[u64]) {
        for step in [Fetch::Bucket, Fetch::Item, Fetch::Chain] {
            for &hash in hashes {
                self.table.prefetch(hash, step);
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let deadlines = self.deadlines.as_ref().map_or(0, |index| index.bytes());
        size_of::<Fields>() + self.table.mem_bytes() + self.item_bytes + deadlines
    }

    pub(super) fn iter(&self) -> IterPrefetched<'_, Pair> {
        self.table.iter_prefetched()
    }

    pub(super) fn stats(&self) -> TableStats {
        self.table.stats()
    }
}

/// Has the field's deadline passed? It is then dead to clients whether or not it was removed.
#[inline]
pub(super) fn is_dead(pair: PairRef<'_>, now_ms: i64) -> bool {
    pair.expire_at().is_some_and(|at_ms| at_ms < now_ms)
}

impl Clone for Fields {
    fn clone(&self) -> Fields {
        let mut copy = Fields::new(self.table.hasher());
        copy.table.reserve(self.table.len());
        for pair in self.iter() {
            let hash = self.table.hash(pair.key());
            copy.store(
                hash,
                None,
                Pair::new(pair.key(), pair.value(), pair.expire_at()),
            );
        }
        copy
    }
}
