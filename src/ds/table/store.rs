//! The buckets of a table: linear hashing in segments, overflow chains, and the memory of both.
//!
//! Knows words and tags, not items: freeing what the words point to is the table's part. Relies on
//! two invariants, which hold between any two calls:
//! - buckets `0..n` are initialised; `first` and `far` own the memory they stand in;
//! - a link owns the overflow bucket it names and nothing else names it. Every bucket of a chain
//!   but the last holds six items and a link, so only the last one has room.
//!
//! Growing adds one bucket and splits one; nothing is ever moved at large, there is no second table
//! and memory follows the number of items. Until the first segment is full it grows by a quarter
//! of a power of two (the allocator's size classes), so that a table of ten items is two buckets.
#![allow(unsafe_code)]

use super::bucket::{Bucket, SLOTS, Word};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

/// Buckets of a segment: 256 KiB.
const SEGMENT: usize = if cfg!(miri) { 16 } else { 4096 };

const _: () = assert!(size_of::<usize>() == 8 && size_of::<Bucket>() == 64);

/// Where a bucket stands: the chain of bucket `index`, `depth` links behind its head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) depth: usize,
    pub(super) pos: usize,
}

pub(super) struct Store {
    first: NonNull<Bucket>,
    /// Buckets that `first` has room for; 0 = nothing is allocated.
    first_cap: usize,
    /// Further segments, each of `SEGMENT` buckets.
    far: Vec<NonNull<Bucket>>,
    /// Live buckets.
    n: usize,
    /// `2^(L+1) - 1` where `2^L <= n < 2^(L+1)`.
    mask: u64,
    /// Overflow buckets.
    overflow: usize,
}

// SAFETY: a Store owns all memory it points to and has no interior mutability.
unsafe impl Send for Store {}
// SAFETY: as above; `&Store` only reads.
unsafe impl Sync for Store {}

/// Ends the process if a caller's closure panics while a chain is half moved.
pub(super) struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

fn layout(buckets: usize) -> Layout {
    Layout::array::<Bucket>(buckets).expect("a segment is far below isize::MAX")
}

/// `buckets` buckets: zeroed ones are empty, others are not initialised.
fn allocate(buckets: usize, zeroed: bool) -> NonNull<Bucket> {
    let layout = layout(buckets);
    debug_assert!(buckets > 0);
    // SAFETY: the layout is not empty.
    let ptr = unsafe {
        if zeroed {
            alloc_zeroed(layout)
        } else {
            alloc(layout)
        }
    };
    NonNull::new(ptr.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Sizes of the first segment: 1, 2, 3, 4, then four steps for each doubling.
fn next_cap(cap: usize) -> usize {
    if cap < 4 {
        cap + 1
    } else {
        cap + (1 << cap.ilog2()) / 4
    }
}

fn previous_cap(cap: usize) -> usize {
    if cap <= 4 {
        cap - 1
    } else {
        cap - (1 << (cap - 1).ilog2()) / 4
    }
}

impl Store {
    pub(super) const fn new() -> Store {
        Store {
            first: NonNull::dangling(),
            first_cap: 0,
            far: Vec::new(),
            n: 0,
            mask: 0,
            overflow: 0,
        }
    }

    #[inline]
    pub(super) fn buckets(&self) -> usize {
        self.n
    }

    pub(super) fn capacity(&self) -> usize {
        self.first_cap + self.far.len() * SEGMENT
    }

    pub(super) fn overflow(&self) -> usize {
        self.overflow
    }

    pub(super) fn mem_bytes(&self) -> usize {
        (self.capacity() + self.overflow) * size_of::<Bucket>()
            + self.far.capacity() * size_of::<NonNull<Bucket>>()
    }

    /// The lower half of the pair of masks that addresses the buckets.
    #[inline]
    pub(super) fn low_mask(&self) -> u64 {
        self.mask >> 1
    }

    /// The bucket that `hash` belongs to, when there is any bucket.
    #[inline]
    pub(super) fn index(&self, hash: u64) -> usize {
        let i = (hash & self.mask) as usize;
        if i < self.n {
            i
        } else {
            i & (self.mask >> 1) as usize
        }
    }

    /// # Safety
    /// `index` is below the capacity. (Below `n` the bucket is initialised.)
    #[inline]
    unsafe fn ptr(&self, index: usize) -> NonNull<Bucket> {
        if index < SEGMENT {
            // SAFETY: inside `first` by the contract.
            unsafe { self.first.add(index) }
        } else {
            // SAFETY: as above, inside a far segment.
            unsafe {
                self.far
                    .get_unchecked(index / SEGMENT - 1)
                    .add(index % SEGMENT)
            }
        }
    }

    /// The bucket that `hash` belongs to; none in a table that has no memory yet.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> Option<(usize, &Bucket)> {
        if self.n == 0 {
            return None;
        }
        let index = self.index(hash);
        // SAFETY: with n > 0 `index` yields less than n: the smaller mask is at most n - 1.
        Some((index, unsafe { self.ptr(index).as_ref() }))
    }

    #[inline]
    pub(super) fn head(&self, index: usize) -> Option<&Bucket> {
        // SAFETY: buckets below n are initialised; `&self` keeps them from changing.
        (index < self.n).then(|| unsafe { self.ptr(index).as_ref() })
    }

    /// The bucket behind `bucket`, which is one of this store.
    #[inline]
    pub(super) fn next(&self, bucket: &Bucket) -> Option<&Bucket> {
        // SAFETY: a link names a live overflow bucket of the same store.
        bucket.link().map(|p| unsafe { p.as_ref() })
    }

    #[inline]
    pub(super) fn at(&self, index: usize, depth: usize) -> Option<&Bucket> {
        let mut bucket = self.head(index)?;
        for _ in 0..depth {
            bucket = self.next(bucket)?;
        }
        Some(bucket)
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: usize, depth: usize) -> Option<&mut Bucket> {
        if index >= self.n {
            return None;
        }
        // SAFETY: below n.
        let mut p = unsafe { self.ptr(index) };
        for _ in 0..depth {
            // SAFETY: heads and linked buckets are live, and no other reference exists.
            p = unsafe { p.as_ref() }.link()?;
        }
        // SAFETY: as above; `&mut self` makes the reference the only one.
        Some(unsafe { p.as_mut() })
    }

    /// Adds an item to the chain of `index`.
    pub(super) fn push(&mut self, index: usize, tag: u8, word: Word) -> Place {
        self.push_reusing(index, tag, word, &mut None)
    }

    fn push_reusing(
        &mut self,
        index: usize,
        tag: u8,
        word: Word,
        spare: &mut Option<NonNull<Bucket>>,
    ) -> Place {
        assert!(index < self.n);
        // SAFETY: below n.
        let mut p = unsafe { self.ptr(index) };
        let mut depth = 0;
        loop {
            // SAFETY: heads and linked buckets are live; `&mut self` excludes other references.
            let bucket = unsafe { p.as_mut() };
            if let Some(next) = bucket.link() {
                (p, depth) = (next, depth + 1);
                continue;
            }
            if let Some(pos) = bucket.free_pos() {
                bucket.put(pos, tag, word);
                return Place { index, depth, pos };
            }
            let mut fresh = self.new_overflow(spare);
            let (moved_tag, moved) = bucket.take(SLOTS - 1);
            bucket.set_link(fresh);
            // SAFETY: just allocated and initialised; only `bucket` names it.
            let fresh = unsafe { fresh.as_mut() };
            fresh.put(0, moved_tag, moved);
            fresh.put(1, tag, word);
            return Place {
                index,
                depth: depth + 1,
                pos: 1,
            };
        }
    }

    /// An empty overflow bucket that nothing names yet.
    fn new_overflow(&mut self, spare: &mut Option<NonNull<Bucket>>) -> NonNull<Bucket> {
        self.overflow += 1;
        match spare.take() {
            Some(mut p) => {
                // SAFETY: spares are live and named by the spare list alone.
                let bucket = unsafe { p.as_mut() };
                *spare = bucket.link();
                *bucket = Bucket::EMPTY;
                p
            }
            None => {
                let p = allocate(1, false);
                // SAFETY: room for one bucket, ours alone.
                unsafe { p.write(Bucket::EMPTY) };
                p
            }
        }
    }

    /// Takes the item at `place` out. Its hole is filled from the end of the chain, so other items
    /// of the same chain may move. None if there is no item.
    pub(super) fn remove(&mut self, place: Place) -> Option<(u8, Word)> {
        let bucket = self.at_mut(place.index, place.depth)?;
        if !bucket.holds(place.pos) {
            return None;
        }
        let taken = bucket.take(place.pos);
        if place.depth > 0 || bucket.is_chained() {
            self.mend(place);
        }
        Some(taken)
    }

    /// Makes a chain dense again around the hole at `hole`.
    #[cold]
    fn mend(&mut self, hole: Place) {
        let mut depth = hole.depth;
        while self.at(hole.index, depth).is_some_and(Bucket::is_chained) {
            depth += 1;
        }
        if depth != hole.depth {
            let last = self
                .at_mut(hole.index, depth)
                .expect("the chain was just walked");
            let pos = last
                .used()
                .last()
                .expect("the last bucket of a chain holds an item");
            let (tag, word) = last.take(pos);
            let bucket = self
                .at_mut(hole.index, hole.depth)
                .expect("the hole is in the chain");
            bucket.put(hole.pos, tag, word);
        }
        let last = self
            .at_mut(hole.index, depth)
            .expect("the chain was just walked");
        if depth > 0 && last.used().is_empty() {
            let before = self
                .at_mut(hole.index, depth - 1)
                .expect("shorter than the chain");
            let p = before.link().expect("not the last bucket");
            before.clear_link();
            self.overflow -= 1;
            // SAFETY: the one link to it is gone; overflow buckets come from `allocate(1)`.
            unsafe { dealloc(p.as_ptr().cast(), layout(1)) };
        }
    }

    /// Adds one bucket and moves the items for which `goes_up` holds there. `goes_up` gets the
    /// number of the hash bit that decides.
    pub(super) fn split(&mut self, mut goes_up: impl FnMut(u32, Word) -> bool) {
        let up = self.n;
        self.make_room(up + 1);
        // SAFETY: inside the capacity.
        unsafe { self.ptr(up).write(Bucket::EMPTY) };
        self.set_buckets(up + 1);
        if up > 0 {
            let bit = up.ilog2();
            let low = up - (1 << bit);
            self.scatter(low, |word| if goes_up(bit, word) { up } else { low });
        }
    }

    /// Removes the last bucket; its items join the bucket it was split from.
    pub(super) fn merge(&mut self) {
        if self.n < 2 {
            return;
        }
        let up = self.n - 1;
        let low = up - (1 << up.ilog2());
        self.scatter(up, |_| low);
        self.drop_last_head();
    }

    /// Empties the chain of `from` and puts each item where `to` says.
    fn scatter(&mut self, from: usize, mut to: impl FnMut(Word) -> usize) {
        let guard = AbortOnUnwind;
        let head = self.at_mut(from, 0).expect("a live bucket");
        let mut part = std::mem::replace(head, Bucket::EMPTY);
        let mut spare: Option<NonNull<Bucket>> = None;
        loop {
            let next = part.link();
            for pos in part.used() {
                let word = part.word(pos);
                self.push_reusing(to(word), part.tag(pos), word, &mut spare);
            }
            let Some(mut p) = next else { break };
            self.overflow -= 1;
            // SAFETY: the link that named it is only in the local copy `part`, now used up.
            let bucket = unsafe { p.as_mut() };
            part = std::mem::replace(bucket, Bucket::EMPTY);
            if let Some(behind) = spare {
                bucket.set_link(behind);
            }
            spare = Some(p);
        }
        while let Some(p) = spare {
            // SAFETY: spares are live, came from `allocate(1)` and are named by this list alone.
            unsafe {
                spare = p.as_ref().link();
                dealloc(p.as_ptr().cast(), layout(1));
            }
        }
        std::mem::forget(guard);
    }

    /// Forgets the last bucket, whose chain is empty.
    pub(super) fn drop_last_head(&mut self) {
        debug_assert!(self.head(self.n - 1).is_some_and(|b| b.used().is_empty()));
        self.set_buckets(self.n - 1);
        while !self.far.is_empty() && self.n <= SEGMENT * self.far.len() {
            let segment = self.far.pop().expect("not empty");
            // SAFETY: far segments come from `allocate(SEGMENT)`; no bucket in it is live.
            unsafe { dealloc(segment.as_ptr().cast(), layout(SEGMENT)) };
        }
        if self.far.is_empty() {
            self.far = Vec::new();
            self.shrink_first();
        }
    }

    fn shrink_first(&mut self) {
        if self.n == 0 {
            // SAFETY: `first` has `first_cap` > 0 buckets, none of them live.
            unsafe { dealloc(self.first.as_ptr().cast(), layout(self.first_cap)) };
            self.first_cap = 0;
            return;
        }
        let less = previous_cap(self.first_cap);
        // One size of slack, so that going to and fro over a border does not reallocate.
        if less > 1 && self.n <= previous_cap(less) {
            self.resize_first(less);
        }
    }

    /// Makes the capacity at least `buckets`.
    fn make_room(&mut self, buckets: usize) {
        if buckets > self.first_cap && self.first_cap < SEGMENT {
            let mut cap = self.first_cap;
            while cap < buckets.min(SEGMENT) {
                cap = next_cap(cap);
            }
            if self.first_cap == 0 {
                self.first = allocate(cap, false);
                self.first_cap = cap;
            } else {
                self.resize_first(cap);
            }
        }
        while self.capacity() < buckets {
            self.far.push(allocate(SEGMENT, false));
        }
    }

    fn resize_first(&mut self, cap: usize) {
        let new = layout(cap);
        // SAFETY: `first` was allocated with this layout; the new size is not 0.
        let p = unsafe {
            realloc(
                self.first.as_ptr().cast(),
                layout(self.first_cap),
                new.size(),
            )
        };
        self.first = NonNull::new(p.cast()).unwrap_or_else(|| handle_alloc_error(new));
        self.first_cap = cap;
    }

    /// Makes an empty store `buckets` large at once. Far segments are taken zeroed, which touches
    /// no fresh page, so presizing costs no time by itself.
    pub(super) fn presize(&mut self, buckets: usize) {
        assert!(self.n <= 1 && self.overflow == 0);
        self.make_room(buckets.min(SEGMENT));
        for index in 0..buckets.min(SEGMENT) {
            // SAFETY: inside the capacity; bucket 0 holds nothing, the caller says.
            unsafe { self.ptr(index).write(Bucket::EMPTY) };
        }
        while self.capacity() < buckets {
            self.far.push(allocate(SEGMENT, true));
        }
        self.set_buckets(buckets);
    }

    fn set_buckets(&mut self, n: usize) {
        self.n = n;
        self.mask = if n == 0 { 0 } else { (2 << n.ilog2()) - 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_the_first_segment_reach_a_segment_and_back() {
        let mut caps = vec![1];
        while *caps.last().expect("not empty") < 4096 {
            caps.push(next_cap(caps[caps.len() - 1]));
        }
        assert_eq!(caps[..12], [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]);
        assert_eq!(caps.last(), Some(&4096));
        assert!(caps.windows(2).all(|w| previous_cap(w[1]) == w[0]));
    }

    #[test]
    fn every_hash_has_a_live_bucket_at_every_size() {
        let mut store = Store::new();
        for n in 1..70usize {
            store.split(|_, _| unreachable!("no items"));
            assert_eq!(store.buckets(), n);
            for hash in 0..200u64 {
                let index = store.index(hash);
                assert!(index < n && hash as usize % (1 << n.ilog2()) == index % (1 << n.ilog2()));
            }
        }
        let at_peak = store.mem_bytes();
        while store.buckets() > 0 {
            store.drop_last_head();
        }
        assert!(at_peak >= 69 * 64 && store.mem_bytes() == 0);
    }
}
