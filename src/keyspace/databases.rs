//! All databases of the server, the hash they share, and the hashes of the running batch.
//!
//! The first ones, as many as the configuration says, are always there. Those above belong to groups and are
//! made when they are first used; reading from one that is not there is reading from an empty one.
//!
//! Commands reach a key through here, because here the batch's hints are: one hash for each key and command,
//! in the prefetch pass, and none after. What is done with a found slot is [`Db`]'s own.

use std::ops::{Index, IndexMut, Range};

use crate::base::hash::HashKey;
use crate::ds::table::{Hasher64, Slot};
use crate::types::{Fetch, Stored, ValueRef};

use super::db::{Db, Detached, KeyHasher};
use super::entry::{Entry, EntryRef};
use super::expire::Expired;
pub use super::hints::BATCH_MAX;
use super::hints::Hints;
use super::layout::NewValue;
use super::members::Gone;
pub use super::others::Load;
use super::others::Others;

/// Databases looked at in one call of a cycle, so that thousands of empty ones cost no turn.
const CYCLE_DATABASES_MAX: usize = 4096;

/// All databases.
pub struct Databases {
    list: Vec<Db>,
    /// Those of groups: numbers from `list.len()` on.
    others: Others,
    hasher: KeyHasher,
    hints: Hints,
    /// The access clock a new key gets; the loop keeps it current.
    pub new_clock: u32,
    resize_paused: bool,
    /// Where the next expiry cycle and the next resize step begin.
    expire_next: usize,
    resize_next: usize,
}

impl Index<usize> for Databases {
    type Output = Db;

    #[inline]
    fn index(&self, db: usize) -> &Db {
        match self.list.get(db) {
            Some(found) => found,
            None => self.of_group(db),
        }
    }
}

impl IndexMut<usize> for Databases {
    #[inline]
    fn index_mut(&mut self, db: usize) -> &mut Db {
        if db < self.list.len() {
            return &mut self.list[db];
        }
        self.of_group_mut(db)
    }
}

impl Databases {
    /// That many empty databases.
    pub fn new(count: usize, key: HashKey) -> Databases {
        let hasher = KeyHasher(key);
        Databases {
            list: (0..count).map(|_| Db::new(hasher)).collect(),
            others: Others::new(hasher, count),
            hasher,
            hints: Hints::new(),
            new_clock: 0,
            resize_paused: false,
            expire_next: 0,
            resize_next: 0,
        }
    }

    /// Number of databases that each group has.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    #[inline(never)]
    fn of_group(&self, db: usize) -> &Db {
        self.others.get(db)
    }

    #[inline(never)]
    fn of_group_mut(&mut self, db: usize) -> &mut Db {
        self.others.get_mut(db, self.resize_paused)
    }

    /// All databases that are there, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Db)> {
        self.list.iter().enumerate().chain(self.others.iter())
    }

    /// Those of them with numbers of a range.
    pub fn iter_in(&self, range: Range<usize>) -> impl Iterator<Item = (usize, &Db)> {
        let places = self.place(range.start)..self.place(range.end);
        places.map(|place| self.at_place(place))
    }

    /// How many databases are there.
    fn places(&self) -> usize {
        self.list.len() + self.others.len()
    }

    /// The place of the first database from this number on, among those that are there.
    fn place(&self, number: usize) -> usize {
        let first = self.list.len();
        match number < first {
            true => number,
            false => first + self.others.place_from(number),
        }
    }

    fn at_place(&self, place: usize) -> (usize, &Db) {
        let number = self.number(place);
        (number, &self[number])
    }

    /// The number of the database at a place.
    fn number(&self, place: usize) -> usize {
        let behind = place.checked_sub(self.list.len());
        behind
            .and_then(|place| self.others.number(place))
            .unwrap_or(place)
    }

    /// The first database from this number on that is there.
    pub fn next_from(&self, number: usize) -> Option<usize> {
        let place = self.place(number);
        (place < self.places()).then(|| self.number(place))
    }

    /// Keys of all databases.
    pub fn total_keys(&self) -> usize {
        self.iter().map(|(_, db)| db.len()).sum()
    }

    /// Keys of a range of databases.
    pub fn keys_in(&self, range: Range<usize>) -> usize {
        self.iter_in(range).map(|(_, db)| db.len()).sum()
    }

    /// Bytes that the keys of a range of databases take, with their tables; of databases of the first group
    /// only the tables count.
    pub fn bytes_in(&self, range: Range<usize>) -> usize {
        self.iter_in(range).map(|(_, db)| db.used_bytes()).sum()
    }

    /// What the databases of a group other than the first hold. It is kept, not summed up for whoever asks.
    pub fn load_of(&self, group: usize) -> Load {
        self.others.load_of(group)
    }

    /// Takes note of what has changed: [`Databases::load_of`] looks at that each time.
    pub fn sum_up(&mut self) {
        self.others.sum_up();
    }

    /// Does any key have a deadline? Where to look costs as much as going round, perhaps.
    pub fn has_deadlines(&self) -> bool {
        self.places() > CYCLE_DATABASES_MAX
            || self
                .iter()
                .any(|(_, db)| db.expires() > 0 || db.keys_with_expiring_members() > 0)
    }

    /// Bytes of all tables and of all expiry indexes.
    pub fn overhead_bytes(&self) -> (usize, usize) {
        self.iter()
            .map(|(_, db)| db.overhead_bytes())
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    }

    /// The secret the keys are hashed with.
    pub fn hash_key(&self) -> HashKey {
        self.hasher.0
    }
}

/// Keys by name.
impl Databases {
    /// The key's hash: from the batch's hints when its bytes are the very ones that were hashed before.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        match self.hints.get(key) {
            Some(hash) => hash,
            None => self.hash_anew(key),
        }
    }

    /// Kept apart, so that what is looked up with a hint stays small.
    #[inline(never)]
    fn hash_anew(&self, key: &[u8]) -> u64 {
        self.hasher.hash64(key)
    }

    /// Where the key is.
    #[inline]
    pub fn find(&self, db: usize, key: &[u8]) -> Option<Slot> {
        self[db].find_hashed(self.hash(key), key)
    }

    /// The key's entry.
    #[inline]
    pub fn get(&self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        self.find(db, key).map(|slot| self[db].entry(slot))
    }

    /// Adds a key that is not there.
    #[inline]
    pub fn insert(
        &mut self,
        db: usize,
        key: &[u8],
        value: NewValue<'_>,
        expire_at: Option<i64>,
    ) -> Slot {
        let hash = self.hash(key);
        let clock = self.new_clock;
        self[db].insert_hashed(hash, key, value, expire_at, clock)
    }

    /// Adds an entry that was taken out elsewhere (MOVE), under its own key, which is not there.
    pub fn insert_entry(&mut self, db: usize, entry: Entry) -> Slot {
        let hash = self.hash(entry.view().key());
        self[db].insert_entry(hash, entry)
    }

    /// Creates a collection under a key that is not there, unless the edit leaves it empty.
    pub fn create<T: Stored, R>(
        &mut self,
        db: usize,
        key: &[u8],
        edit: impl FnOnce(&mut T) -> R,
    ) -> (Option<Slot>, R) {
        let hash = self.hash(key);
        let clock = self.new_clock;
        self[db].create_hashed(hash, key, clock, edit)
    }

    /// Gives a key another name, which is not there.
    pub fn rename(&mut self, db: usize, slot: Slot, key: &[u8]) -> Slot {
        let hash = self.hash(key);
        self[db].rename(slot, hash, key)
    }
}

/// Batches.
impl Databases {
    /// Hashes the next key of the batch and asks the memory for its bucket; false when the batch is
    /// full. The key's bytes must stay unchanged and in place until
    /// [`end_batch`](Databases::end_batch).
    #[inline(always)]
    pub fn hint(&mut self, db: usize, key: &[u8]) -> bool {
        let hash = self.hasher.hash64(key);
        self[db].entries.prefetch_bucket(hash);
        self.hints.note(db, key, hash)
    }

    /// Number of keys in the batch.
    #[inline]
    pub fn hinted(&self) -> usize {
        self.hints.len()
    }

    /// The batch is complete: asks the memory for all its entries, then for those in chained buckets.
    #[inline]
    pub fn prefetch_hints(&self) {
        let mut chained = 0u64;
        for (at, hint) in self.hints.all().iter().enumerate() {
            if self[hint.db as usize].entries.prefetch_item(hint.hash) {
                chained |= 1 << at;
            }
        }
        while chained != 0 {
            let hint = &self.hints.all()[chained.trailing_zeros() as usize];
            self[hint.db as usize].entries.prefetch_chain(hint.hash);
            chained &= chained - 1;
        }
    }

    /// Requests of the batch name these members of the collections at its keys (by number): asks the memory
    /// for what they will look at, where the collection is a large one. In three passes, as for the keys,
    /// and behind [`prefetch_hints`](Databases::prefetch_hints).
    #[inline]
    pub fn prefetch_members<'m>(&self, members: impl Iterator<Item = (usize, &'m [u8])>) {
        let mut wanted: Vec<(ValueRef<'_>, u64)> = Vec::with_capacity(BATCH_MAX);
        let mut last = None;
        for (at, member) in members {
            let Some(key) = self.hints.all().get(at) else {
                break;
            };
            let value = match last {
                // Members of one key mostly come in a row.
                Some((known, value)) if known == (key.db, key.hash) => value,
                _ => self.large_value(key.db, key.hash),
            };
            last = Some(((key.db, key.hash), value));
            if let Some(value) = value {
                let hash = self.hasher.hash64(member);
                if value.prefetch(hash, Fetch::Bucket) {
                    wanted.push((value, hash));
                }
                if wanted.len() == BATCH_MAX {
                    break;
                }
            }
        }
        let mut chained = 0u64;
        for (at, (value, hash)) in wanted.iter().enumerate() {
            chained |= u64::from(value.prefetch(*hash, Fetch::Item)) << at;
        }
        while chained != 0 {
            let (value, hash) = wanted[chained.trailing_zeros() as usize];
            value.prefetch(hash, Fetch::Chain);
            chained &= chained - 1;
        }
    }

    /// The collection under a hash, if it is one with tables of its own. The wrong key under the right bits
    /// would do no harm to a prefetch, so names are not compared.
    #[inline]
    fn large_value(&self, db: u32, hash: u64) -> Option<ValueRef<'_>> {
        let entries = &self[db as usize].entries;
        let slot = entries.find_where(hash, |_| true)?;
        entries.get(slot).large()
    }

    /// The command whose first key is number `at` of the batch runs next.
    #[inline]
    pub fn seek_hint(&mut self, at: usize) {
        self.hints.seek(at);
    }

    /// Forgets the batch's hashes: its bytes may change now.
    #[inline]
    pub fn end_batch(&mut self) {
        self.hints.clear();
    }
}

/// Whole databases.
impl Databases {
    /// Exchanges the contents of two databases.
    pub fn swap(&mut self, a: usize, b: usize) {
        if a.max(b) < self.list.len() {
            return self.list.swap(a, b);
        }
        let empty = || Db::new(self.hasher);
        let (old_a, old_b) = (empty(), empty());
        let old_a = std::mem::replace(&mut self[a], old_a);
        let old_b = std::mem::replace(&mut self[b], old_b);
        (self[a], self[b]) = (old_b, old_a);
    }

    /// Empties a database; what was in it can be freed elsewhere or in pieces.
    pub fn flush(&mut self, db: usize) -> Detached {
        if db >= self.list.len() {
            let mut gone = self.others.take(db);
            let gone = gone.get_or_insert_with(|| Db::new(self.hasher));
            return gone.detach();
        }
        let detached = self.list[db].detach();
        self.list[db].pause_resize(self.resize_paused);
        detached
    }

    /// A database of a group that goes, which is empty: it takes no memory any more.
    pub fn forget(&mut self, db: usize) {
        if db >= self.list.len() {
            drop(self.others.take(db));
        }
    }

    /// Stops all tables from resizing (a snapshot child lives), or lets them go on.
    pub fn pause_resize(&mut self, paused: bool) {
        self.resize_paused = paused;
        let all = self.list.iter_mut().chain(self.others.iter_mut());
        all.for_each(|db| db.pause_resize(paused));
    }

    /// For idle time: up to `steps` steps of resizing in one database; true when more are wanted.
    pub fn step_resize(&mut self, steps: usize) -> bool {
        for _ in 0..self.places().min(CYCLE_DATABASES_MAX) {
            let at = self.resize_next % self.places();
            let db = self.number(at);
            if self[db].step_resize(steps) {
                return true;
            }
            self.resize_next = at + 1;
        }
        false
    }

    /// Removes up to `max` keys whose deadline has passed, in all databases, and hands each with its
    /// database's number to `gone`. See [`Db::expire_cycle`].
    pub fn expire_cycle(
        &mut self,
        now_ms: i64,
        max: usize,
        mut gone: impl FnMut(usize, Entry),
    ) -> Expired {
        self.each_expiring(max, |at, db, left| {
            db.expire_cycle(now_ms, left, |entry| gone(at, entry))
        })
    }

    /// The same for members of keys (fields of hashes). See [`Db::expire_members`].
    pub fn expire_members(
        &mut self,
        now_ms: i64,
        max: usize,
        mut gone: impl FnMut(usize, Gone<'_>),
    ) -> Expired {
        self.each_expiring(max, |at, db, left| {
            db.expire_members(now_ms, left, |what| gone(at, what))
        })
    }

    /// What is to be called instead while expired keys are left alone. See [`Db::sweep_index`].
    pub fn sweep_indexes(&mut self, max: usize) -> Expired {
        self.each_expiring(max, |_, db, left| db.sweep_index(left))
    }

    /// Goes round the databases until the budget is spent, and on from there the next time.
    fn each_expiring(
        &mut self,
        max: usize,
        mut cycle: impl FnMut(usize, &mut Db, usize) -> Expired,
    ) -> Expired {
        let mut total = Expired::default();
        for _ in 0..self.places().min(CYCLE_DATABASES_MAX) {
            let at = self.expire_next % self.places();
            let left = max.saturating_sub(total.spent);
            let db = self.number(at);
            let done = cycle(db, &mut self[db], left);
            total.removed += done.removed;
            total.spent += done.spent;
            if done.more {
                // The budget is spent: go on in this database next time.
                total.more = true;
                break;
            }
            self.expire_next = at + 1;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::types::hash::{Hash, Limits};

    fn databases(count: usize) -> Databases {
        Databases::new(count, HashKey::random(&mut Rng::from_seed(1)))
    }

    #[test]
    fn an_empty_database_costs_little() {
        assert!(size_of::<Db>() < 200, "{} bytes", size_of::<Db>());
        let count = if cfg!(miri) { 100 } else { 16_000 };
        let dbs = databases(count);
        assert_eq!(
            (dbs.count(), dbs.total_keys(), dbs.overhead_bytes()),
            (count, 0, (0, 0))
        );
    }

    #[test]
    fn a_prefetched_batch_finds_its_keys() {
        let mut dbs = databases(2);
        for n in 0..1000i64 {
            dbs.insert(
                (n % 2) as usize,
                format!("key:{n}").as_bytes(),
                NewValue::Int(n),
                None,
            );
        }
        let names: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
        let noted = names
            .iter()
            .enumerate()
            .take_while(|(n, key)| dbs.hint(n % 2, key.as_bytes()));
        assert_eq!(noted.count(), BATCH_MAX, "the rest finds no room");
        dbs.prefetch_hints();
        for (n, key) in names.iter().enumerate() {
            let hinted = dbs.hash(key.as_bytes());
            assert_eq!(
                hinted,
                dbs.hash(key.clone().as_bytes()),
                "with and without a hint"
            );
            let entry = dbs.get(n % 2, key.as_bytes()).expect("inserted");
            assert_eq!(entry.string().map(|s| s.as_int()), Ok(Some(n as i64)));
            assert!(dbs.find(1 - n % 2, key.as_bytes()).is_none());
        }
        dbs.end_batch();
    }

    #[test]
    fn members_of_large_and_small_collections_are_hinted() {
        let mut dbs = databases(1);
        let limits = Limits {
            entries: 4,
            value: 64,
            hash_key: dbs.hash_key(),
        };
        for (key, fields) in [(&b"large"[..], 1000), (b"small", 2)] {
            dbs.create::<Hash, _>(0, key, |hash| {
                for n in 0..fields {
                    hash.set(format!("f{n}").as_bytes(), b"v", &limits);
                }
            });
        }
        dbs.insert(0, b"text", NewValue::Bytes(b"v"), None);
        for key in [&b"large"[..], b"none", b"small", b"text", b"large"] {
            assert!(dbs.hint(0, key));
        }
        dbs.prefetch_hints();
        // A prefetch has no effect that shows: this is for what it must not do.
        let names: Vec<String> = (0..3 * BATCH_MAX).map(|n| format!("f{n}")).collect();
        for keys in [1, 5, 6] {
            let members = names.iter().enumerate();
            dbs.prefetch_members(members.map(|(n, name)| (n % keys, name.as_bytes())));
        }
        dbs.end_batch();
        dbs.prefetch_members([(0, &b"f1"[..])].into_iter());
    }

    #[test]
    fn swapped_databases_keep_their_deadlines() {
        let mut dbs = databases(3);
        dbs.insert(0, b"a", NewValue::Int(1), Some(50));
        dbs.insert(2, b"b", NewValue::Int(2), None);
        dbs.swap(0, 2);
        assert!(dbs.find(2, b"a").is_some() && dbs.find(0, b"b").is_some());
        let mut gone = Vec::new();
        let done = dbs.expire_cycle(5_000, 10, |db, entry| {
            gone.push((db, entry.view().key().to_vec()))
        });
        assert_eq!(
            (done.removed, done.more, gone),
            (1, false, vec![(2, b"a".to_vec())])
        );
        assert_eq!(dbs.total_keys(), 1);
    }

    #[test]
    fn the_budget_is_shared_by_all_databases_and_idle_ones_take_none() {
        let mut dbs = databases(300);
        for db in 0..300usize {
            for n in 0..10u8 {
                let at = if db.is_multiple_of(2) { 100 } else { 1 << 40 };
                dbs.insert(db, &[n], NewValue::Int(1), Some(at));
            }
        }
        let first = dbs.expire_cycle(10_000, 500, |_, _| {});
        assert!(first.more && (500..600).contains(&first.spent), "{first:?}");
        let (mut removed, mut calls) = (first.removed, 1);
        loop {
            let done = dbs.expire_cycle(10_000, 500, |_, _| {});
            (removed, calls) = (removed + done.removed, calls + 1);
            if !done.more {
                break;
            }
        }
        assert!(removed == 1500 && calls < 12, "{removed} in {calls} calls");
        assert_eq!(dbs.expire_cycle(10_100, 10, |_, _| {}), Expired::default());
    }

    #[test]
    fn a_flushed_database_is_freed_in_pieces_on_another_thread() {
        let mut dbs = databases(1);
        (0..500i64).for_each(|n| {
            dbs.insert(0, &n.to_le_bytes(), NewValue::Bytes(&[b'x'; 2000]), Some(n));
        });
        dbs.pause_resize(true);
        let mut old = dbs.flush(0);
        assert_eq!(
            (
                dbs[0].len(),
                dbs[0].expires(),
                dbs[0].avg_ttl_ms(0),
                old.len()
            ),
            (0, 0, 0, 500)
        );
        let left = std::thread::spawn(move || {
            while old.free_step(64) {}
            old.len()
        });
        assert_eq!(left.join().expect("freed"), 0);
        assert_eq!(dbs.expire_cycle(i64::MAX, 10, |_, _| {}).removed, 0);
    }

    #[test]
    fn new_databases_follow_a_pause_in_force() {
        let mut dbs = databases(1);
        dbs.pause_resize(true);

        (0..40i64).for_each(|n| {
            dbs.insert(1, &n.to_le_bytes(), NewValue::Int(n), None);
        });
        dbs.pause_resize(false);
        while (0..2).any(|_| dbs.step_resize(4)) {}
        assert!((0..40i64).all(|n| dbs.find(1, &n.to_le_bytes()).is_some()));
    }
}
