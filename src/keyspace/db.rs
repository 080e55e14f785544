//! One database: a table of entries, the expiry index over them, and the counts INFO shows.
//!
//! A caller finds a [`Slot`] once and then works with it. A slot stays valid while the value under it
//! changes; it ends when a key is inserted or removed. Nothing here knows the time or the server:
//! whether an expired key may be seen is decided above.

use crate::base::hash::{HashKey, siphash13};
use crate::base::rng::Rng;
use crate::ds::table::{self, Hasher64, Slot, Table, TableStats};
use crate::types::{Stored, WrongType};

use super::entry::{Entry, EntryRef, Left};
use super::expire::Index;
use super::layout::{NewValue, Ttl};
use super::members::MemberIndex;
use super::meter::Meter;

/// The hash of all names clients choose: keyed, so that nobody can aim at a bucket.
#[derive(Clone, Copy)]
pub struct KeyHasher(pub HashKey);

impl Hasher64 for KeyHasher {
    #[inline]
    fn hash64(&self, key: &[u8]) -> u64 {
        siphash13(&self.0, key)
    }
}

/// The table of a database.
pub(super) type Entries = Table<Entry, KeyHasher>;

/// The buffer lent to packed collections and edited strings is given up above this.
const ROOM_BYTES_MAX: usize = 16 << 10;

/// One database.
pub struct Db {
    pub(super) entries: Entries,
    /// Absent until a key gets a deadline.
    pub(super) index: Option<Box<Index>>,
    /// Absent until a member of a key gets a deadline.
    pub(super) members: Option<Box<MemberIndex>>,
    /// Keys with a deadline.
    expires: usize,
    /// The sum of their deadlines, exact: the average TTL follows from it without sampling.
    deadlines: i128,
    /// Lent to values that are loaded for a write, so that the write allocates nothing.
    room: Vec<u8>,
    pub(super) meter: Meter,
}

/// Reading.
impl Db {
    /// An empty database; it holds no memory of its own.
    pub const fn new(hasher: KeyHasher) -> Db {
        Db {
            entries: Table::new(hasher),
            index: None,
            members: None,
            expires: 0,
            deadlines: 0,
            room: Vec::new(),
            meter: Meter::off(),
        }
    }

    /// The hash of its keys.
    pub(super) fn hasher(&self) -> KeyHasher {
        self.entries.hasher()
    }

    /// Keys, expired ones that are not removed yet included.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys that have a deadline.
    pub fn expires(&self) -> usize {
        self.expires
    }

    /// Average time to live of the keys that have one, in milliseconds; 0 without any.
    pub fn avg_ttl_ms(&self, now_ms: i64) -> i64 {
        if self.expires == 0 {
            return 0;
        }
        let average = self.deadlines / self.expires as i128 - i128::from(now_ms);
        i64::try_from(average.max(0)).unwrap_or(i64::MAX)
    }

    /// The hash of a key. Callers that hold a batch's hints ask `Databases` instead.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.entries.hash(key)
    }

    /// Where the key is.
    #[inline]
    pub fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.entries.find(hash, key)
    }

    /// The same for a caller without the hash.
    pub fn find(&self, key: &[u8]) -> Option<Slot> {
        self.find_hashed(self.hash(key), key)
    }

    /// Asks the memory for the entries of these keys, which are looked up next.
    pub fn prefetch(&self, hashes: &[u64]) {
        let mut chained = false;
        hashes
            .iter()
            .for_each(|hash| self.entries.prefetch_bucket(*hash));
        for hash in hashes {
            chained |= self.entries.prefetch_item(*hash);
        }
        if chained {
            hashes
                .iter()
                .for_each(|hash| self.entries.prefetch_chain(*hash));
        }
    }

    /// The entry at a slot.
    #[inline]
    pub fn entry(&self, slot: Slot) -> EntryRef<'_> {
        self.entries.get(slot)
    }

    /// A key by chance, each with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<Slot> {
        self.entries.random(rng)
    }

    /// Shows up to `count` neighbouring entries from a random place: for eviction's sampling, not fair.
    pub fn sample(&self, count: usize, rng: &mut Rng, f: impl FnMut(Slot, EntryRef<'_>)) {
        self.entries.sample(count, rng, f);
    }

    /// All entries. For passes over everything: the entries ahead are prefetched.
    pub fn iter(&self) -> table::IterPrefetched<'_, Entry> {
        self.entries.iter_prefetched()
    }

    /// Bytes of the table and of the expiry index.
    pub fn overhead_bytes(&self) -> (usize, usize) {
        let index = self.index.as_ref().map_or(0, |index| index.bytes());
        let members = self.members.as_ref().map_or(0, |index| index.bytes());
        (self.entries.mem_bytes(), index + members)
    }

    /// Measures what its keys take from now on; it is still empty.
    pub(super) fn metered(mut self) -> Db {
        debug_assert!(self.is_empty(), "what is there is not measured");
        self.meter.on = true;
        self
    }

    /// Bytes that its keys and their tables take; of those that are not measured the tables alone.
    pub fn used_bytes(&self) -> usize {
        let (table, index) = self.overhead_bytes();
        self.meter.bytes() + table + index
    }

    /// The table's shape, for DEBUG HTSTATS. Walks all buckets.
    pub fn table_stats(&self) -> TableStats {
        self.entries.stats()
    }
}

/// Whole keys.
impl Db {
    /// Adds a key that is not there; `clock` is its first access clock.
    pub fn insert_hashed(
        &mut self,
        hash: u64,
        key: &[u8],
        value: NewValue<'_>,
        expire_at: Option<i64>,
        clock: u32,
    ) -> Slot {
        self.insert_entry(hash, Entry::new(key, value, expire_at, clock))
    }

    /// The same for an entry that was built before, or taken out of another database.
    pub fn insert_entry(&mut self, hash: u64, mut entry: Entry) -> Slot {
        match entry.view().expire_at() {
            Some(at_ms) => {
                self.count_deadline(None, Some(at_ms));
                self.register(hash, at_ms);
            }
            // What it says is true of the index it comes from, not of ours.
            None => entry.forget_bound(),
        }
        let members = entry.view().next_member_deadline();
        if members.is_some() {
            self.members_moved(hash, None, members);
        }
        self.meter.came(entry.view());
        self.entries.insert_new(hash, entry)
    }

    /// Takes a key out. Dropping the entry frees it; one with a high `free_effort` is better dropped by
    /// the background thread.
    pub fn remove(&mut self, slot: Slot) -> Entry {
        let entry = self.entries.take(slot);
        self.meter.went(entry.view());
        self.count_deadline(entry.view().expire_at(), None);
        let members = entry.view().next_member_deadline();
        if members.is_some() {
            self.members_moved(0, members, None);
        }
        entry
    }

    /// Gives a key another name, which is not there; value, deadline and access clock stay.
    pub fn rename(&mut self, slot: Slot, hash: u64, key: &[u8]) -> Slot {
        let entry = self.remove(slot).renamed(key);
        self.insert_entry(hash, entry)
    }

    /// Overwrites a value of any type by one of any type; what becomes of the deadline is said by `ttl`.
    #[inline]
    pub fn set(&mut self, slot: Slot, value: NewValue<'_>, ttl: Ttl) {
        let mut entry = self.entries.get_mut(slot);
        let before = entry.view().expire_at();
        let unregistered = match entry.set_in_place(&value, ttl) {
            Some(unregistered) => unregistered,
            None => self.set_moving(slot, value, ttl),
        };
        match ttl {
            Ttl::Keep => {}
            Ttl::Clear => self.count_deadline(before, None),
            Ttl::At(at_ms) => self.deadline_moved(slot, before, at_ms, unregistered),
        }
    }

    fn set_moving(&mut self, slot: Slot, value: NewValue<'_>, ttl: Ttl) -> bool {
        let (mut unregistered, mut members) = (false, (None, None));
        self.meter.update(&mut self.entries, slot, |mut entry| {
            members.0 = entry.view().next_member_deadline();
            unregistered = entry.set(value, ttl);
            members.1 = entry.view().next_member_deadline();
            entry
        });
        if members.0 != members.1 {
            self.members_moved_at(slot, members.0, members.1);
        }
        unregistered
    }

    #[cold]
    fn members_moved_at(&mut self, slot: Slot, before: Option<i64>, after: Option<i64>) {
        self.members_moved(self.hash(self.entry(slot).key()), before, after);
    }

    /// Sets or takes away the deadline.
    pub fn set_expire(&mut self, slot: Slot, expire_at: Option<i64>) {
        let before = self.entry(slot).expire_at();
        let Some(at_ms) = expire_at else {
            if before.is_some() {
                self.entries.get_mut(slot).clear_expire();
                self.count_deadline(before, None);
            }
            return;
        };
        let mut unregistered = false;
        self.meter.update(&mut self.entries, slot, |mut entry| {
            unregistered = entry.set_expire(at_ms);
            entry
        });
        self.deadline_moved(slot, before, at_ms, unregistered);
    }

    /// Stores the access clock; writes nothing when it has not changed.
    #[inline]
    pub fn set_clock(&mut self, slot: Slot, clock: u32) {
        self.entries.get_mut(slot).set_clock(clock);
    }

    fn deadline_moved(&mut self, slot: Slot, before: Option<i64>, at_ms: i64, unregistered: bool) {
        self.count_deadline(before, Some(at_ms));
        if unregistered {
            self.register(self.hash(self.entry(slot).key()), at_ms);
        }
    }

    #[inline]
    fn count_deadline(&mut self, before: Option<i64>, after: Option<i64>) {
        if let Some(at_ms) = before {
            self.expires -= 1;
            self.deadlines -= i128::from(at_ms);
        }
        if let Some(at_ms) = after {
            self.expires += 1;
            self.deadlines += i128::from(at_ms);
        }
    }
}

/// Strings.
impl Db {
    /// Stores a number over a string; the deadline stays.
    #[inline]
    pub fn set_int(&mut self, slot: Slot, n: i64) {
        if !self.entries.get_mut(slot).set_int_in_place(n) {
            self.set(slot, NewValue::Int(n), Ttl::Keep);
        }
    }

    /// Appends; returns the new length. The caller checks the limits.
    pub fn append(&mut self, slot: Slot, tail: &[u8]) -> Result<usize, WrongType> {
        let mut result = Err(WrongType);
        self.meter.update(&mut self.entries, slot, |mut entry| {
            result = entry.append(tail);
            entry
        });
        result
    }

    /// Edits a string as a growable buffer. It counts as "raw" afterwards.
    pub fn edit_string<R>(
        &mut self,
        slot: Slot,
        edit: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Result<R, WrongType> {
        let mut result = Err(WrongType);
        let room = &mut self.room;
        self.meter.update(&mut self.entries, slot, |mut entry| {
            result = entry.edit_string(room, edit);
            entry
        });
        self.trim_room();
        result
    }

    /// A string's bytes for an edit that keeps their number: nothing is copied. `None` for a string that is
    /// stored as a number and for other types; then [`edit_string`](Db::edit_string) is the way.
    pub fn string_bytes_mut(&mut self, slot: Slot) -> Option<&mut [u8]> {
        self.entries.get_mut(slot).into_string_bytes()
    }

    /// Lends the buffer of a large string to a reply; `None` when it has none of its own. Touches a
    /// reference count inside the value, so not while a snapshot child lives.
    pub fn share_string(&mut self, slot: Slot) -> Option<bytes::Bytes> {
        self.entries.get_mut(slot).share()
    }
}

/// Collections.
impl Db {
    /// Edits a collection and stores it the smallest way. When nothing is left the key is removed and no
    /// slot is returned.
    pub fn update<T: Stored, R>(
        &mut self,
        slot: Slot,
        edit: impl FnOnce(&mut T) -> R,
    ) -> Result<(Option<Slot>, R), WrongType> {
        let mut result = Err(WrongType);
        let mut members = (None, None);
        let room = &mut self.room;
        self.meter.update(&mut self.entries, slot, |mut entry| {
            if T::MEMBERS_EXPIRE {
                members.0 = entry.view().next_member_deadline();
            }
            result = entry.update(room, edit);
            if T::MEMBERS_EXPIRE {
                members.1 = entry.view().next_member_deadline();
            }
            entry
        });
        if members.0 != members.1 {
            self.members_moved_at(slot, members.0, members.1);
        }
        self.trim_room();
        let (left, result) = result?;
        if left == Left::Nothing {
            drop(self.remove(slot));
            return Ok((None, result));
        }
        Ok((Some(slot), result))
    }

    /// Creates a collection under a key that is not there, unless the edit leaves it empty.
    pub fn create_hashed<T: Stored, R>(
        &mut self,
        hash: u64,
        key: &[u8],
        clock: u32,
        edit: impl FnOnce(&mut T) -> R,
    ) -> (Option<Slot>, R) {
        let mut value = T::new_in(std::mem::take(&mut self.room));
        let result = edit(&mut value);
        if value.is_empty() {
            self.take_room_back(value);
            return (None, result);
        }
        let (entry, room) = Entry::from_collection(key, value, clock);
        self.room = room;
        self.trim_room();
        (Some(self.insert_entry(hash, entry)), result)
    }

    fn take_room_back<T: Stored>(&mut self, value: T) {
        if let Ok((_, pack)) = value.into_pack() {
            self.room = pack;
            self.trim_room();
        }
    }

    fn trim_room(&mut self) {
        if self.room.capacity() > ROOM_BYTES_MAX {
            self.room = Vec::new();
        }
    }
}

/// Size of the table.
impl Db {
    /// Stops the table from resizing (a snapshot child lives), or lets it go on.
    pub fn pause_resize(&mut self, paused: bool) {
        self.entries.pause_resize(paused);
    }

    /// Up to `steps` steps towards the size that fits; true when more are wanted.
    pub fn step_resize(&mut self, steps: usize) -> bool {
        self.entries.step_resize(steps)
    }

    /// Makes room for that many keys, for loading; the caller bounds the number.
    pub fn reserve(&mut self, keys: usize) {
        self.entries.reserve(keys);
    }

    /// Empties the database; what was in it can be freed elsewhere or in pieces.
    pub fn detach(&mut self) -> Detached {
        self.meter.emptied();
        let fresh = Table::new(self.entries.hasher());
        let entries = std::mem::replace(&mut self.entries, fresh);
        let index = (self.index.take(), self.members.take());
        (self.expires, self.deadlines, self.room) = (0, 0, Vec::new());
        Detached {
            entries,
            _index: index,
        }
    }
}

/// What a flushed database held. It can go to another thread; dropping it frees all at once.
pub struct Detached {
    entries: Entries,
    _index: (Option<Box<Index>>, Option<Box<MemberIndex>>),
}

impl Detached {
    /// Keys not freed yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when every key is freed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frees about `budget` keys; true when more are left.
    pub fn free_step(&mut self, budget: usize) -> bool {
        self.entries.drain_step(budget)
    }
}

#[cfg(test)]
mod tests;
