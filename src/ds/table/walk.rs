//! The ways over many items of a table: in order of the buckets, by a cursor that outlives
//! changes of size, and by chance.
#![allow(unsafe_code)]

use super::bucket::{Bucket, Hits, Word};
use super::prefetch::prefetch;
use super::store::{Place, Store};
use super::{Hasher64, Item, Slot, Table};
use crate::base::rng::Rng;
use std::marker::PhantomData;

/// What DEBUG HTSTATS tells of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableStats {
    /// Items in the table.
    pub items: usize,
    /// Buckets that hashes address.
    pub buckets: usize,
    /// Buckets there is memory for, without the overflow buckets.
    pub capacity: usize,
    /// Overflow buckets.
    pub overflow: usize,
    /// Items of the fullest chain.
    pub longest: usize,
    /// `chains[k]`: how many buckets hold k items with their overflow; the last entry holds the
    /// longer ones too.
    pub chains: [usize; 32],
}

/// Words of a store in the order of its buckets.
struct Words<'a> {
    store: &'a Store,
    /// The next head to visit.
    index: usize,
    bucket: Option<&'a Bucket>,
    hits: Hits,
}

impl<'a> Words<'a> {
    fn new(store: &'a Store) -> Words<'a> {
        Words {
            store,
            index: 0,
            bucket: None,
            hits: Hits::default(),
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    #[inline]
    fn next(&mut self) -> Option<Word> {
        loop {
            if let (Some(bucket), Some(pos)) = (self.bucket, self.hits.next()) {
                return Some(bucket.word(pos));
            }
            let bucket = match self.bucket.and_then(|b| self.store.next(b)) {
                Some(overflow) => overflow,
                None => {
                    let head = self.store.head(self.index)?;
                    self.index += 1;
                    // Heads stand in a row and come by themselves; overflow buckets do not.
                    let ahead = self.store.head(self.index + 7);
                    if let Some(next) = ahead.and_then(|b| self.store.next(b)) {
                        prefetch(next);
                    }
                    head
                }
            };
            self.bucket = Some(bucket);
            self.hits = bucket.used();
        }
    }
}

/// All items, in the order of the buckets.
pub struct Iter<'a, T: Item> {
    words: Words<'a>,
    left: usize,
    items: PhantomData<&'a T>,
}

impl<'a, T: Item + 'a> Iterator for Iter<'a, T> {
    type Item = T::Ref<'a>;

    #[inline]
    fn next(&mut self) -> Option<T::Ref<'a>> {
        let word = self.words.next()?;
        self.left -= 1;
        // SAFETY: words in the table come from `into_raw`; the table is borrowed during 'a.
        Some(unsafe { T::as_ref(word.item()) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Item + 'a> ExactSizeIterator for Iter<'a, T> {}

/// Items whose memory is asked for in one go. In a table larger than the caches a prefetch has to find its
/// page first; close together they do that side by side, and one between the visits of two items does not: a
/// walk over three million small entries took twice as long that way.
const TOGETHER: usize = 32;

/// All items, in the order of the buckets, each prefetched while the ones before it are used.
pub struct IterPrefetched<'a, T: Item> {
    words: Words<'a>,
    /// Two groups: one is visited, the other is on its way.
    ring: [Option<Word>; 2 * TOGETHER],
    at: usize,
    left: usize,
    items: PhantomData<&'a T>,
}

impl<T: Item> IterPrefetched<'_, T> {
    /// Fills the group from `at` on.
    fn fetch(&mut self, at: usize) {
        let group = &mut self.ring[at..at + TOGETHER];
        group.fill_with(|| self.words.next());
        for word in group.iter().flatten() {
            // Most items are small, and most small ones lie across two lines.
            let item = word.item().as_ptr();
            prefetch(item);
            prefetch(item.wrapping_add(63));
        }
    }
}

impl<'a, T: Item + 'a> Iterator for IterPrefetched<'a, T> {
    type Item = T::Ref<'a>;

    #[inline]
    fn next(&mut self) -> Option<T::Ref<'a>> {
        let word = self.ring[self.at].take()?;
        self.at = (self.at + 1) % (2 * TOGETHER);
        if self.at.is_multiple_of(TOGETHER) {
            // The group that was just visited.
            self.fetch((self.at + TOGETHER) % (2 * TOGETHER));
        }
        self.left -= 1;
        // SAFETY: words in the table come from `into_raw`; the table is borrowed during 'a.
        Some(unsafe { T::as_ref(word.item()) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Item + 'a> ExactSizeIterator for IterPrefetched<'a, T> {}

/// Buckets between the steps of a patrol's preparations.
const AHEAD: usize = 2;

/// How many draws `random` makes before it takes what it finds. Five are enough on average; only
/// hashes that are no hashes (all items in one bucket) come here.
const DRAWS_MAX: usize = 512;

impl<T: Item, H: Hasher64> Table<T, H> {
    /// All items, in the order of the buckets.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            words: Words::new(&self.store),
            left: self.len,
            items: PhantomData,
        }
    }

    /// As `iter`, for passes over tables larger than the caches.
    pub fn iter_prefetched(&self) -> IterPrefetched<'_, T> {
        let mut iter = IterPrefetched {
            words: Words::new(&self.store),
            ring: [None; 2 * TOGETHER],
            at: 0,
            left: self.len,
            items: PhantomData,
        };
        iter.fetch(0);
        if self.len > TOGETHER {
            iter.fetch(TOGETHER);
        }
        iter
    }

    /// One step of a scan that began with cursor 0 and ends when 0 is returned. Items that are in
    /// the table from its beginning to its end are seen at least once, whatever is added, removed
    /// or resized between the steps.
    ///
    /// The cursor counts in the reversed bits of the smaller mask: what it has passed is a range
    /// of reversed hashes, the same whatever the mask. A bucket that is already split is visited
    /// together with its image, so both sides of the split pointer count alike.
    pub fn scan<'a>(&'a self, cursor: u64, mut f: impl FnMut(T::Ref<'a>)) -> u64 {
        if self.store.buckets() == 0 {
            return 0;
        }
        let mask = self.store.low_mask();
        let low = (cursor & mask) as usize;
        for head in [low, low + mask as usize + 1] {
            // SAFETY: words in the table come from `into_raw`; `&self` keeps the item as it is.
            self.each_in_chain(head, |_, word| f(unsafe { T::as_ref(word.item()) }));
        }
        let passed = (cursor | !mask).reverse_bits().wrapping_add(1);
        passed.reverse_bits()
    }

    fn each_in_chain(&self, index: usize, mut f: impl FnMut(Place, Word)) {
        let mut next = self.store.head(index);
        let mut depth = 0;
        while let Some(bucket) = next {
            for pos in bucket.used() {
                f(Place { index, depth, pos }, bucket.word(pos));
            }
            next = self.store.next(bucket);
            depth += 1;
        }
    }

    fn chain_len(&self, index: usize) -> usize {
        let mut next = self.store.head(index);
        let mut count = 0;
        while let Some(bucket) = next {
            count += bucket.used().count();
            next = self.store.next(bucket);
        }
        count
    }

    /// An item by chance, each with the same probability.
    ///
    /// A group of neighbouring buckets is drawn, large enough to hold some items on average, and
    /// accepted with a probability in proportion to its items: the bias of "a random item of a
    /// random bucket" is gone. A group fuller than the bound (rare: three times the average) is
    /// taken as if it were at the bound.
    pub fn random(&self, rng: &mut Rng) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        let buckets = self.store.buckets();
        let group = (4 * buckets).div_ceil(self.len);
        let groups = buckets.div_ceil(group);
        let bound = 3 * (self.len * group).div_ceil(buckets) + 8;
        for _ in 0..DRAWS_MAX {
            let first = below(rng, groups) * group;
            let count: usize = (first..first + group)
                .map(|index| self.chain_len(index))
                .sum();
            let drawn = below(rng, bound.max(count));
            if drawn < count {
                return self.nth_from(first, drawn);
            }
        }
        // Termination for tables whose items stand in a few buckets: the next item from anywhere.
        let start = below(rng, buckets);
        let index = (start..buckets)
            .chain(0..start)
            .find(|&index| self.chain_len(index) > 0)?;
        self.nth_from(index, below(rng, self.chain_len(index)))
    }

    /// The n-th item from the head of chain `first` on.
    fn nth_from(&self, first: usize, mut n: usize) -> Option<Slot> {
        for index in first..self.store.buckets() {
            let mut next = self.store.head(index);
            let mut depth = 0;
            while let Some(bucket) = next {
                let mut used = bucket.used();
                if let Some(pos) = used.nth(n) {
                    return Some(Slot::new(Place { index, depth, pos }));
                }
                n -= bucket.used().count();
                next = self.store.next(bucket);
                depth += 1;
            }
        }
        None
    }

    /// Shows `f` up to `count` different items from neighbouring buckets: cheap, for sampling, not
    /// fair as `random` is. Looks at no more than ten buckets for each item wanted.
    pub fn sample(&self, count: usize, rng: &mut Rng, mut f: impl FnMut(Slot, T::Ref<'_>)) {
        let buckets = self.store.buckets();
        let (mut left, mut looks) = (count.min(self.len), count.saturating_mul(10));
        let start = if buckets == 0 { 0 } else { below(rng, buckets) };
        for index in (start..buckets).chain(0..start) {
            if left == 0 || looks == 0 {
                return;
            }
            looks -= 1;
            self.each_in_chain(index, |place, word| {
                if left > 0 {
                    left -= 1;
                    // SAFETY: as in `scan`.
                    f(Slot::new(place), unsafe { T::as_ref(word.item()) });
                }
            });
        }
    }

    /// Shows `f` the items of bucket `at`, or of the first one where there is none of that number, and asks
    /// the memory for those of the buckets behind it. Returns where a walk goes on that comes round again
    /// and again, each of its steps cheap because the one before prepared it.
    pub fn patrol<'a>(&'a self, at: usize, mut f: impl FnMut(T::Ref<'a>)) -> usize {
        let buckets = self.store.buckets();
        if buckets == 0 {
            return 0;
        }
        let at = if at < buckets { at } else { 0 };
        // Three lines that depend on each other, each asked for while the one in front of it is there.
        if let Some(far) = self.store.head(at + 3 * AHEAD) {
            prefetch(far);
        }
        let further = self.store.head(at + 2 * AHEAD);
        if let Some(chained) = further.and_then(|bucket| self.store.next(bucket)) {
            prefetch(chained);
        }
        let mut near = self.store.head(at + AHEAD);
        while let Some(bucket) = near {
            bucket
                .used()
                .for_each(|pos| prefetch(bucket.word(pos).item().as_ptr()));
            near = self.store.next(bucket);
        }
        // SAFETY: words in the table come from `into_raw`; `&self` keeps the item as it is.
        self.each_in_chain(at, |_, word| f(unsafe { T::as_ref(word.item()) }));
        at + 1
    }

    /// Counts buckets and chains: a walk over all buckets, for DEBUG.
    pub fn stats(&self) -> TableStats {
        let mut stats = TableStats {
            items: self.len,
            buckets: self.store.buckets(),
            capacity: self.store.capacity(),
            overflow: self.store.overflow(),
            longest: 0,
            chains: [0; 32],
        };
        for index in 0..stats.buckets {
            let len = self.chain_len(index);
            stats.longest = stats.longest.max(len);
            stats.chains[len.min(31)] += 1;
        }
        stats
    }
}

/// A number below `n`, which is not 0.
fn below(rng: &mut Rng, n: usize) -> usize {
    rng.below(n as u64) as usize
}
