//! The hash table under the keyspace and under big hashes, sets and zsets.
//!
//! Cache-line buckets with one-byte tags and hash bits in the pointers' tops, linear hashing in
//! segments (findings.md, sections 3 and 7): one lookup is one line of buckets and one item; the
//! table grows and shrinks by one bucket at a time, so no insert or removal does more than a
//! bounded piece of work, a table of ten items is two cache lines and there is never a second
//! table. The parts: `bucket` is the cache line, `store` the buckets' memory and addressing, `walk`
//! the ways over many items, `prefetch` the hint.
//!
//! What a caller may rely on:
//! - A [`Slot`] is a position, valid until the table is next changed through `insert_new`, `take`,
//!   `step_resize`, `reserve` or `drain_step`. A stale one is no undefined behaviour: it names
//!   another item or none, and accessors panic on none.
//! - The hasher is part of the table; a hash passed in must be its hash of the key.
//! - Prefetches are hints; they load no item.
#![allow(unsafe_code)]

mod bucket;
pub(in crate::ds) mod prefetch;
mod store;
mod walk;

pub use walk::{Iter, IterPrefetched, TableStats};

use crate::base::bytes::same;
use crate::base::hash::{HashKey, siphash13};
use bucket::{Bucket, Print, Word};
use prefetch::prefetch;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ptr::NonNull;
use store::{AbortOnUnwind, Place, Store};

/// What a table holds: an owner of one allocation that can be named by one thin pointer.
///
/// # Safety
/// - The pointer `into_raw` gives is below 2^48 and carries the provenance of all that the other
///   functions read, write and free through it. It stays valid until it is given to `from_raw`,
///   wherever the table keeps it meanwhile.
/// - `from_raw(into_raw(x))` is `x`.
/// - `key`, `as_ref` and `as_mut` only touch the item's own data.
/// - If the table is sent or shared between threads, so are the items: `Self: Send`/`Sync` must
///   tell the truth for what the pointer leads to.
pub unsafe trait Item: Sized {
    /// A shared view of an item in the table.
    type Ref<'a>: Copy
    where
        Self: 'a;
    /// An exclusive view, for changes in place. The key must not change through it.
    type Mut<'a>
    where
        Self: 'a;

    /// Half items a bucket holds on average before one more bucket is added: 6 items, of the seven
    /// that fit, is 14.2 bytes a key with the overflow buckets. At 5.5 it was 14.7 bytes, and the
    /// same CPU within the noise: the third prefetch pass pays for the longer chains.
    const LOAD_HALVES: usize = 12;

    /// Gives the allocation up to the table.
    fn into_raw(self) -> NonNull<u8>;

    /// Takes the allocation back.
    ///
    /// # Safety
    /// `raw` came from `into_raw`, and this is its only use from now on.
    unsafe fn from_raw(raw: NonNull<u8>) -> Self;

    /// The item's key.
    ///
    /// # Safety
    /// `raw` came from `into_raw`; it is neither changed nor taken back during `'a`.
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8];

    /// A shared view.
    ///
    /// # Safety
    /// `raw` came from `into_raw`; it is neither changed nor taken back during `'a`.
    unsafe fn as_ref<'a>(raw: NonNull<u8>) -> Self::Ref<'a>;

    /// An exclusive view.
    ///
    /// # Safety
    /// `raw` came from `into_raw`; nothing else uses it during `'a`.
    unsafe fn as_mut<'a>(raw: NonNull<u8>) -> Self::Mut<'a>;
}

/// The hash function of a table. Whatever clients can fill wants a keyed one (SipHash).
pub trait Hasher64: Copy {
    /// All 64 bits must be good: low bits choose the bucket, 16..32 and 56..64 are kept with it.
    fn hash64(&self, key: &[u8]) -> u64;
}

impl<F: Fn(&[u8]) -> u64 + Copy> Hasher64 for F {
    #[inline]
    fn hash64(&self, key: &[u8]) -> u64 {
        self(key)
    }
}

impl Hasher64 for HashKey {
    #[inline]
    fn hash64(&self, key: &[u8]) -> u64 {
        siphash13(self, key)
    }
}

const POS_BITS: u32 = 3;
const DEPTH_BITS: u32 = 21;

/// The position of an item, valid until the table is next changed. As large as a pointer, also
/// inside an `Option`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(NonZeroU64);

impl Slot {
    #[inline]
    fn new(place: Place) -> Slot {
        // A chain this long would be ten million items in one bucket.
        assert!(place.depth < 1 << DEPTH_BITS, "a chain's depth fits a slot");
        let head = (place.index as u64) << (DEPTH_BITS + POS_BITS);
        let bits = head | (place.depth as u64) << POS_BITS | (place.pos as u64 + 1);
        Slot(NonZeroU64::new(bits).expect("pos + 1 is not 0"))
    }

    #[inline]
    fn place(self) -> Place {
        let bits = self.0.get();
        Place {
            index: (bits >> (DEPTH_BITS + POS_BITS)) as usize,
            depth: (bits >> POS_BITS) as usize & ((1 << DEPTH_BITS) - 1),
            pos: (bits & ((1 << POS_BITS) - 1)) as usize - 1,
        }
    }
}

#[cold]
#[inline(never)]
fn stale() -> ! {
    panic!("a slot was used after the table had changed")
}

/// A set of items, found by their keys. See the head of this file.
pub struct Table<T: Item, H: Hasher64> {
    store: Store,
    len: usize,
    resize_paused: bool,
    hasher: H,
    items: PhantomData<T>,
}

// SAFETY: a Table owns its items; the pointers it keeps are used through `&self`/`&mut self` only.
unsafe impl<T: Item + Send, H: Hasher64 + Send> Send for Table<T, H> {}
// SAFETY: `&Table` gives shared views of items only.
unsafe impl<T: Item + Sync, H: Hasher64 + Sync> Sync for Table<T, H> {}

impl<T: Item, H: Hasher64> Table<T, H> {
    /// An empty table, which holds no memory.
    pub const fn new(hasher: H) -> Self {
        Table {
            store: Store::new(),
            len: 0,
            resize_paused: false,
            hasher,
            items: PhantomData,
        }
    }

    /// The number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash64(key)
    }

    /// The table's hasher.
    #[inline]
    pub fn hasher(&self) -> H {
        self.hasher
    }

    /// Bytes of the table itself, without its items.
    pub fn mem_bytes(&self) -> usize {
        self.store.mem_bytes()
    }

    /// Finds the item with this key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        // SAFETY: words in the table come from `into_raw`; `&self` keeps the item as it is.
        self.search(hash, |word| same(unsafe { T::key(word.item()) }, key))
    }

    /// The first item under this hash (as far as the table keeps it) that `wanted` accepts.
    #[inline]
    pub fn find_where(
        &self,
        hash: u64,
        mut wanted: impl FnMut(T::Ref<'_>) -> bool,
    ) -> Option<Slot> {
        // SAFETY: as in `find`.
        self.search(hash, |word| wanted(unsafe { T::as_ref(word.item()) }))
    }

    #[inline]
    fn search(&self, hash: u64, mut wanted: impl FnMut(Word) -> bool) -> Option<Slot> {
        let print = Print::of(hash);
        let (index, mut bucket) = self.store.home(hash)?;
        let mut depth = 0;
        loop {
            for pos in bucket.find(print.tag) {
                let word = bucket.word(pos);
                if word.matches(print) && wanted(word) {
                    return Some(Slot::new(Place { index, depth, pos }));
                }
            }
            bucket = self.store.next(bucket)?;
            depth += 1;
        }
    }

    /// The word at `slot`. Panics on a stale slot that names no item.
    #[inline]
    fn word(&self, slot: Slot) -> Word {
        let place = slot.place();
        match self.store.at(place.index, place.depth) {
            Some(bucket) if bucket.holds(place.pos) => bucket.word(place.pos),
            _ => stale(),
        }
    }

    /// The item at `slot`. Panics on a stale slot that names no item.
    #[inline]
    pub fn get(&self, slot: Slot) -> T::Ref<'_> {
        // SAFETY: words in the table come from `into_raw`; `&self` keeps the item as it is.
        unsafe { T::as_ref(self.word(slot).item()) }
    }

    /// The item at `slot`, to be changed in place. Panics on a stale slot that names no item.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> T::Mut<'_> {
        // SAFETY: as in `get`, and `&mut self` excludes every other use.
        unsafe { T::as_mut(self.word(slot).item()) }
    }

    /// Adds an item whose key is not in the table. May grow the table by one bucket.
    pub fn insert_new(&mut self, hash: u64, item: T) -> Slot {
        self.grow_one(self.len + 1);
        let raw = item.into_raw();
        if cfg!(debug_assertions) {
            // SAFETY: just given up to the table.
            let own = self.hasher.hash64(unsafe { T::key(raw) });
            assert_eq!(hash, own, "an item is stored under its key's hash");
        }
        let print = Print::of(hash);
        let place = self
            .store
            .push(self.store.index(hash), print.tag, Word::new(raw, print));
        self.len += 1;
        Slot::new(place)
    }

    /// Puts `item` into the place of another one with the same key, which is given back.
    pub fn replace(&mut self, slot: Slot, item: T) -> T {
        let old = self.word(slot);
        let raw = item.into_raw();
        if cfg!(debug_assertions) {
            // SAFETY: both pointers belong to the table now.
            let same = unsafe { T::key(old.item()) == T::key(raw) };
            assert!(same, "an item is replaced by one with the same key");
        }
        self.set_word(slot, old.with_item(raw));
        // SAFETY: the table forgot it.
        unsafe { T::from_raw(old.item()) }
    }

    /// Lets `f` rebuild the item at `slot`, for example to move it to a larger allocation. Key and
    /// hash stay the same. The process ends if `f` panics: the table would miss an item.
    #[inline]
    pub fn update(&mut self, slot: Slot, f: impl FnOnce(T) -> T) {
        let old = self.word(slot);
        let guard = AbortOnUnwind;
        // SAFETY: the word is overwritten below before anything can read it.
        let raw = f(unsafe { T::from_raw(old.item()) }).into_raw();
        self.set_word(slot, old.with_item(raw));
        std::mem::forget(guard);
    }

    #[inline]
    fn set_word(&mut self, slot: Slot, word: Word) {
        let place = slot.place();
        match self.store.at_mut(place.index, place.depth) {
            Some(bucket) => bucket.set_word(place.pos, word),
            None => stale(),
        }
    }

    /// Takes the item at `slot` out. May shrink the table by one bucket. Panics on a stale slot
    /// that names no item.
    pub fn take(&mut self, slot: Slot) -> T {
        let Some((_, word)) = self.store.remove(slot.place()) else {
            stale()
        };
        self.len -= 1;
        self.shrink_one();
        // SAFETY: the table forgot it.
        unsafe { T::from_raw(word.item()) }
    }

    /// Takes the item with this key out.
    #[inline]
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        self.find(hash, key).map(|slot| self.take(slot))
    }
}

/// Size: load factor and steps.
impl<T: Item, H: Hasher64> Table<T, H> {
    const GROW_HALVES: usize = T::LOAD_HALVES;
    /// Half items a bucket below which one bucket is taken away. The gap to the above keeps a
    /// table that swings by a third from working at its size.
    const SHRINK_HALVES: usize = 7;
    /// While resizing is paused a bucket's load may rise to this multiple of the usual one.
    const PAUSED_FACTOR: usize = 4;

    /// Whether `len` items are too many for the buckets there are. The few items on top let the
    /// single bucket of a tiny table fill up.
    #[inline]
    fn wants_to_grow(&self, len: usize) -> bool {
        let halves = self.store.buckets() * Self::GROW_HALVES;
        let limit = if self.resize_paused {
            halves * Self::PAUSED_FACTOR
        } else {
            halves
        };
        len * 2 > limit + 3 || halves == 0
    }

    #[inline]
    fn wants_to_shrink(&self) -> bool {
        let buckets = self.store.buckets();
        !self.resize_paused && buckets > 1 && self.len * 2 < buckets * Self::SHRINK_HALVES
    }

    #[inline]
    fn grow_one(&mut self, len: usize) -> bool {
        let grow = self.wants_to_grow(len);
        if grow {
            let hasher = self.hasher;
            self.store.split(|bit, word| match word.hash_bit(bit) {
                Some(set) => set,
                // SAFETY: words in the table come from `into_raw`; nothing changes the item here.
                None => hasher.hash64(unsafe { T::key(word.item()) }) >> bit & 1 == 1,
            });
        }
        grow
    }

    #[inline]
    fn shrink_one(&mut self) -> bool {
        let shrink = self.wants_to_shrink();
        if shrink {
            self.store.merge();
        }
        shrink
    }

    /// Stops resizing (a snapshot child lives: what is not moved is not copied), or lets it go on.
    /// A table four times too full grows all the same.
    pub fn pause_resize(&mut self, paused: bool) {
        self.resize_paused = paused;
    }

    /// Up to `steps` steps towards the size that fits the items, for a table whose resizing was
    /// paused. Returns whether more are wanted.
    pub fn step_resize(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            if !self.grow_one(self.len) && !self.shrink_one() {
                return false;
            }
        }
        self.wants_to_grow(self.len) || self.wants_to_shrink()
    }

    /// Makes room for `items` items in all. At once when the table is empty, else by splitting:
    /// for loading, not for the request path. The caller bounds `items`.
    pub fn reserve(&mut self, items: usize) {
        let buckets = items.saturating_mul(2).div_ceil(Self::GROW_HALVES);
        if buckets <= self.store.buckets() {
            return;
        }
        if self.len == 0 {
            while self.store.buckets() > 1 {
                self.store.drop_last_head();
            }
            self.store.presize(buckets);
        }
        while self.store.buckets() < buckets && self.grow_one(usize::MAX / 2) {}
    }

    /// Frees items until `budget` items and buckets are done, from the table's end: what is left
    /// is a valid, smaller table. Returns whether anything is left.
    pub fn drain_step(&mut self, budget: usize) -> bool {
        let mut left = budget;
        while left > 0 {
            let Some(last) = self.store.buckets().checked_sub(1) else {
                return false;
            };
            self.prefetch_items_of(last.saturating_sub(2));
            let mut depth = 0;
            while self.store.at(last, depth).is_some_and(Bucket::is_chained) {
                depth += 1;
            }
            while left > 0 {
                let Some(pos) = self.store.at(last, depth).and_then(|b| b.used().last()) else {
                    break;
                };
                let place = Place {
                    index: last,
                    depth,
                    pos,
                };
                let (_, word) = self.store.remove(place).expect("the position is used");
                if self.store.at(last, depth).is_none() {
                    depth -= 1;
                }
                self.len -= 1;
                left -= 1;
                // SAFETY: the table forgot it.
                drop(unsafe { T::from_raw(word.item()) });
            }
            if self
                .store
                .head(last)
                .is_some_and(|b| b.used().is_empty() && !b.is_chained())
            {
                self.store.drop_last_head();
                left = left.saturating_sub(1);
            }
        }
        self.store.buckets() > 0
    }
}

/// The passes of a prefetch, each over a whole batch before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// The bucket.
    Bucket,
    /// The item in it.
    Item,
    /// The item in an overflow bucket.
    Chain,
}

/// Prefetching for a batch of keys: first all buckets, then the items, then the chained rest.
impl<T: Item, H: Hasher64> Table<T, H> {
    /// One of the passes below; returns whether the next one is worth while.
    #[inline]
    pub fn prefetch(&self, hash: u64, step: Fetch) -> bool {
        match step {
            Fetch::Bucket => self.prefetch_bucket(hash),
            Fetch::Item => return self.prefetch_item(hash),
            Fetch::Chain => self.prefetch_chain(hash),
        }
        step == Fetch::Bucket
    }

    /// Pass 1: asks for the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        if let Some((_, bucket)) = self.store.home(hash) {
            prefetch(bucket);
        }
    }

    /// Pass 2: asks for the item under `hash`, or for the overflow bucket it may be in; then
    /// returns true, and pass 3 is worth while.
    #[inline]
    pub fn prefetch_item(&self, hash: u64) -> bool {
        let Some((_, bucket)) = self.store.home(hash) else {
            return false;
        };
        if Self::prefetch_match(bucket, Print::of(hash)) {
            return false;
        }
        match self.store.next(bucket) {
            Some(next) => {
                prefetch(next);
                true
            }
            None => false,
        }
    }

    /// Pass 3: asks for the item under `hash` if an overflow bucket holds it.
    #[inline]
    pub fn prefetch_chain(&self, hash: u64) {
        let Some((_, mut bucket)) = self.store.home(hash) else {
            return;
        };
        while let Some(next) = self.store.next(bucket) {
            if Self::prefetch_match(next, Print::of(hash)) {
                return;
            }
            bucket = next;
        }
    }

    #[inline]
    fn prefetch_match(bucket: &Bucket, print: Print) -> bool {
        for pos in bucket.find(print.tag) {
            let word = bucket.word(pos);
            if word.matches(print) {
                prefetch(word.item().as_ptr());
                return true;
            }
        }
        false
    }

    fn prefetch_items_of(&self, index: usize) {
        if let Some(bucket) = self.store.head(index) {
            bucket
                .used()
                .for_each(|pos| prefetch(bucket.word(pos).item().as_ptr()));
        }
    }
}

impl<T: Item, H: Hasher64> Drop for Table<T, H> {
    fn drop(&mut self) {
        while self.drain_step(usize::MAX) {}
    }
}

#[cfg(test)]
mod tests;
