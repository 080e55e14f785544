//! The leaf of the index: up to 126 members in order, 8 bytes each.
//!
//! A word is the address of a member's item in its low 48 bits and, above it, a digest of its
//! score: 16 bits that keep the order of the leaf's scores as far as 16 bits can. A search compares
//! digests, which are beside each other, and looks at items only where digests are equal.
//!
//! A digest is the distance of the score from the leaf's base, in steps of a power of two, cut at
//! both ends. So it is monotone for every score, whatever base and step are; they are chosen anew
//! (`rebase`) where too many scores would share a digest.

use std::cmp::Ordering;
use std::ops::Range;

use crate::ds::pair::{Pair, PairRef};
use crate::ds::table::Item;
use crate::ds::table::prefetch::prefetch;

/// Members of a leaf: with its head it takes 1 KiB.
pub(super) const CAP: usize = if cfg!(test) { 14 } else { 126 };
const ADDR_BITS: u32 = 48;
const ADDR_MASK: u64 = (1 << ADDR_BITS) - 1;
const DIGEST_MAX: u64 = u16::MAX as u64;
/// A digest that so many members share already is a reason to choose the base anew.
const SHARED_MAX: usize = 8;

/// The place of a score in the order, as an unsigned number. Both zeros are equal.
#[inline]
pub(super) fn order_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    let negative = bits.cast_signed() >> 63;
    bits ^ (negative.cast_unsigned() | 1 << 63)
}

/// The score of an item.
#[inline]
pub(super) fn score_of(item: PairRef<'_>) -> f64 {
    match item.value().try_into() {
        Ok(bytes) => f64::from_le_bytes(bytes),
        Err(_) => 0.0,
    }
}

/// The address of an item that the index holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark(u64);

impl Mark {
    #[inline]
    pub(super) fn of(item: PairRef<'_>) -> Mark {
        let addr = item.raw().as_ptr().expose_provenance() as u64;
        assert!(addr & !ADDR_MASK == 0, "an item's address fits 48 bits");
        Mark(addr)
    }

    /// # Safety
    /// The item is in the table, and nobody writes to it during 'a.
    #[inline]
    pub(super) unsafe fn item<'a>(self) -> PairRef<'a> {
        let at = std::ptr::with_exposed_provenance_mut(self.0 as usize);
        // SAFETY: the address is that of a live item, so it is not null; the rest is the caller's word.
        unsafe { Pair::as_ref(std::ptr::NonNull::new_unchecked(at)) }
    }

    /// Asks the memory for the item.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch(std::ptr::with_exposed_provenance::<u8>(self.0 as usize));
    }
}

/// A member with the order of its score: what a search looks for.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) key: u64,
    pub(super) member: &'a [u8],
    pub(super) mark: Mark,
}

impl<'a> Target<'a> {
    #[inline]
    pub(super) fn of(item: PairRef<'a>) -> Target<'a> {
        Target {
            key: order_of(score_of(item)),
            member: item.key(),
            mark: Mark::of(item),
        }
    }

    /// How the target stands to an item.
    #[inline]
    pub(super) fn cmp(&self, item: PairRef<'_>) -> Ordering {
        let key = order_of(score_of(item));
        self.key.cmp(&key).then_with(|| self.member.cmp(item.key()))
    }
}

/// See the head of this file.
pub(super) struct Leaf {
    base: u64,
    shift: u8,
    /// Members added since the base was chosen.
    added: u16,
    len: u16,
    words: [u64; CAP],
}

impl Leaf {
    pub(super) fn new() -> Box<Leaf> {
        Box::new(Leaf {
            base: 0,
            shift: 48,
            added: 0,
            len: 0,
            words: [0; CAP],
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len() == CAP
    }

    /// The members as words, for [`mark_of`].
    #[inline]
    pub(super) fn words(&self) -> &[u64] {
        &self.words[..self.len()]
    }

    #[inline]
    pub(super) fn mark(&self, at: usize) -> Mark {
        mark_of(self.words()[at])
    }

    #[inline]
    pub(super) fn item(&self, at: usize) -> PairRef<'_> {
        // SAFETY: what an index holds is in the table; both are borrowed together.
        unsafe { self.mark(at).item() }
    }

    #[inline]
    pub(super) fn key(&self, at: usize) -> u64 {
        order_of(score_of(self.item(at)))
    }

    /// Asks the memory for the leaf.
    #[inline]
    pub(super) fn prefetch(&self) {
        let start = std::ptr::from_ref(self).cast::<u8>();
        for line in 0..size_of::<Leaf>() / 64 {
            prefetch(start.wrapping_add(64 * line));
        }
    }

    /// The digest of a score, in its place above an address.
    #[inline]
    fn digest(&self, key: u64) -> u64 {
        (key.saturating_sub(self.base) >> self.shift).min(DIGEST_MAX) << ADDR_BITS
    }

    /// The members whose digest is that of the score.
    #[inline]
    fn span(&self, key: u64) -> Range<usize> {
        let digest = self.digest(key);
        let words = self.words();
        let start = words.partition_point(|word| *word < digest);
        let last = digest | ADDR_MASK;
        // Mostly there is none, or one.
        let mut end = start;
        while end < words.len() && words[end] <= last {
            end += 1;
            if end - start == SHARED_MAX {
                end += words[end..].partition_point(|word| *word <= last);
                break;
            }
        }
        start..end
    }

    /// Asks the memory for the items that a search for this score will have to look at.
    #[inline]
    pub(super) fn prefetch_ties(&self, key: u64) {
        let span = self.span(key);
        let few = span.start..span.end.min(span.start + SHARED_MAX);
        self.words[few]
            .iter()
            .for_each(|word| mark_of(*word).prefetch());
    }

    /// The first position whose item is not before the target.
    pub(super) fn position(&self, target: &Target<'_>) -> usize {
        self.lower_bound(self.span(target.key), |item| target.cmp(item).is_gt())
    }

    /// The first position whose score is not before `key`, or is behind it (`after`).
    pub(super) fn bound(&self, key: u64, after: bool) -> usize {
        self.lower_bound(self.span(key), |item| {
            let own = order_of(score_of(item));
            own < key || after && own == key
        })
    }

    /// The first position whose item is not `before`; all that are come first.
    pub(super) fn partition(&self, before: impl FnMut(PairRef<'_>) -> bool) -> usize {
        self.lower_bound(0..self.len(), before)
    }

    #[inline]
    fn lower_bound(
        &self,
        span: Range<usize>,
        mut before: impl FnMut(PairRef<'_>) -> bool,
    ) -> usize {
        let (mut low, mut high) = (span.start, span.end);
        while low < high {
            let middle = low.midpoint(high);
            if before(self.item(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Adds the target, which is not in the leaf, at its position, which is returned. There is room.
    pub(super) fn insert(&mut self, target: &Target<'_>) -> usize {
        if self.len == 0 {
            self.choose_base(target.key, target.key);
        }
        let mut span = self.span(target.key);
        if span.len() >= SHARED_MAX && self.worth_rebasing(&span) {
            self.rebase();
            span = self.span(target.key);
        }
        let at = self.lower_bound(span, |item| target.cmp(item).is_gt());
        let len = self.len();
        self.words.copy_within(at..len, at + 1);
        self.words[at] = self.digest(target.key) | target.mark.0;
        self.len += 1;
        self.added = self.added.saturating_add(1);
        at
    }

    /// Whether other digests could tell these members apart; asked again only when the leaf has
    /// changed enough to pay for it.
    fn worth_rebasing(&self, span: &Range<usize>) -> bool {
        usize::from(self.added) * 4 >= self.len() && self.key(span.start) != self.key(span.end - 1)
    }

    /// Takes the target, which is in the leaf, out; returns where it was.
    pub(super) fn remove(&mut self, target: &Target<'_>) -> Option<usize> {
        let span = self.span(target.key);
        let word = self.digest(target.key) | target.mark.0;
        let at = span.start + self.words[span].iter().position(|own| *own == word)?;
        self.remove_range(at..at + 1);
        Some(at)
    }

    /// Takes members out.
    pub(super) fn remove_range(&mut self, range: Range<usize>) {
        let len = self.len();
        self.words.copy_within(range.end..len, range.start);
        self.len -= range.len() as u16;
    }

    /// Moves the members from `at` on to the front of the leaf behind this one.
    pub(super) fn move_tail(&mut self, at: usize, next: &mut Leaf) {
        let (count, room) = (self.len() - at, next.len());
        next.words.copy_within(..room, count);
        next.words[..count].copy_from_slice(&self.words[at..at + count]);
        next.len += count as u16;
        self.len = at as u16;
        next.rebase();
    }

    /// Moves the first `count` members to the end of the leaf before this one.
    pub(super) fn move_head(&mut self, count: usize, previous: &mut Leaf) {
        let room = previous.len();
        previous.words[room..room + count].copy_from_slice(&self.words[..count]);
        previous.len += count as u16;
        self.remove_range(0..count);
        previous.rebase();
    }

    /// Chooses base and step for the scores there are, and all digests by them.
    fn rebase(&mut self) {
        let len = self.len();
        if len == 0 {
            return;
        }
        self.words()
            .iter()
            .for_each(|word| mark_of(*word).prefetch());
        let mut keys = [0; CAP];
        for (at, key) in keys[..len].iter_mut().enumerate() {
            *key = self.key(at);
        }
        self.choose_base(keys[0], keys[len - 1]);
        for (at, key) in keys[..len].iter().enumerate() {
            self.words[at] = self.digest(*key) | self.words[at] & ADDR_MASK;
        }
    }

    /// Room for half the range again on both sides: scores that come later go beyond.
    fn choose_base(&mut self, first: u64, last: u64) {
        let range = last - first;
        let margin = range / 2 + (DIGEST_MAX >> 2);
        self.base = first.saturating_sub(margin);
        let reach = last.saturating_add(margin) - self.base;
        self.shift = (64 - reach.leading_zeros()).saturating_sub(16) as u8;
        self.added = 0;
    }
}

/// The item that a leaf's word names.
#[inline]
pub(super) fn mark_of(word: u64) -> Mark {
    Mark(word & ADDR_MASK)
}

/// What must hold of every leaf; panics where it does not.
#[cfg(test)]
pub(super) fn check(leaf: &Leaf) {
    for at in 0..leaf.len() {
        assert_eq!(leaf.words[at] & !ADDR_MASK, leaf.digest(leaf.key(at)));
        if at > 0 {
            assert!(Target::of(leaf.item(at)).cmp(leaf.item(at - 1)).is_gt());
        }
    }
}
