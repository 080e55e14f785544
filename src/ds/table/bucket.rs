//! One cache line of the table: eight tag bytes and seven slots. Safe code only, except that a
//! link may be read as a pointer; who may follow it is said in `store.rs`.
//!
//! A slot word holds an item's address in its low 48 bits and bits 16..32 of the item's hash in its
//! top 16 bits. With the 8-bit tag, 24 hash bits are compared before an item is touched, so a miss
//! practically never loads one, and a split from 2^16 buckets up reads the deciding bit here.

use std::ptr::NonNull;

/// Slots of a bucket. The last one holds the link of a chained bucket.
pub(super) const SLOTS: usize = 7;
const LAST: usize = SLOTS - 1;

const LOW_7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// The top bit of each byte that belongs to a slot.
const SLOT_BITS: u64 = 0x0080_8080_8080_8080;
const LAST_BIT: u64 = 0x80 << (8 * LAST);
const ONES: u64 = 0x0101_0101_0101_0101;
/// Set in the eighth tag byte: the last slot is a link, its tag is 0.
const CHAINED: u64 = 1 << 63;

const ADDR_BITS: u32 = 48;
const ADDR_MASK: u64 = (1 << ADDR_BITS) - 1;

/// Positions in a bucket, as the top bits of their tag bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Hits(u64);

impl Hits {
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        self.0.count_ones() as usize
    }
}

impl Iterator for Hits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let pos = self.0.trailing_zeros() / 8;
        self.0 &= self.0 - 1;
        Some(pos as usize)
    }
}

/// The part of a hash that a slot keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    /// Bits 56..64, where 0 is read as 1 because 0 marks an empty slot.
    pub(super) tag: u8,
    /// Bits 16..32, in place for a slot word.
    pub(super) high: u64,
}

impl Print {
    #[inline]
    pub(super) fn of(hash: u64) -> Print {
        let top = (hash >> 56) as u8;
        Print {
            tag: top + u8::from(top == 0),
            high: (hash >> 16) << ADDR_BITS,
        }
    }
}

/// An item's address with hash bits above it.
#[derive(Clone, Copy)]
pub(super) struct Word(u64);

impl Word {
    #[inline]
    pub(super) fn new(item: NonNull<u8>, print: Print) -> Word {
        let addr = item.as_ptr().expose_provenance() as u64;
        // Five-level page tables hand out more only on request; a silent cut would be fatal.
        assert!(addr & !ADDR_MASK == 0, "an item's address fits 48 bits");
        Word(addr | print.high)
    }

    #[inline]
    pub(super) fn item(self) -> NonNull<u8> {
        let ptr = std::ptr::with_exposed_provenance_mut((self.0 & ADDR_MASK) as usize);
        NonNull::new(ptr).expect("a used slot holds an address")
    }

    #[inline]
    pub(super) fn matches(self, print: Print) -> bool {
        (self.0 ^ print.high) >> ADDR_BITS == 0
    }

    /// Bit `bit` of the hash, for the bits kept.
    #[inline]
    pub(super) fn hash_bit(self, bit: u32) -> Option<bool> {
        (16..32)
            .contains(&bit)
            .then(|| self.0 >> (bit + 32) & 1 == 1)
    }

    /// The same hash bits with another address.
    #[inline]
    pub(super) fn with_item(self, item: NonNull<u8>) -> Word {
        Word::new(
            item,
            Print {
                tag: 1,
                high: self.0 & !ADDR_MASK,
            },
        )
    }
}

#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: u64,
    slots: [u64; SLOTS],
}

impl Bucket {
    pub(super) const EMPTY: Bucket = Bucket {
        tags: 0,
        slots: [0; SLOTS],
    };

    /// Bytes equal to `tag`. The test is exact: no byte borrows from its neighbour.
    #[inline]
    fn equal(&self, tag: u8) -> u64 {
        let x = self.tags ^ (ONES * u64::from(tag));
        !(((x & LOW_7) + LOW_7) | x | LOW_7) & SLOT_BITS
    }

    /// Positions that hold `tag`.
    #[inline]
    pub(super) fn find(&self, tag: u8) -> Hits {
        debug_assert!(tag != 0);
        Hits(self.equal(tag))
    }

    /// Positions that hold an item.
    #[inline]
    pub(super) fn used(&self) -> Hits {
        Hits(!self.equal(0) & SLOT_BITS)
    }

    #[inline]
    pub(super) fn holds(&self, pos: usize) -> bool {
        pos < SLOTS && (self.tags >> (8 * pos)) as u8 != 0
    }

    /// The first slot that can take an item.
    #[inline]
    pub(super) fn free_pos(&self) -> Option<usize> {
        let link = if self.is_chained() { LAST_BIT } else { 0 };
        Hits(self.equal(0) & !link).next()
    }

    #[inline]
    pub(super) fn is_chained(&self) -> bool {
        self.tags & CHAINED != 0
    }

    #[inline]
    pub(super) fn link(&self) -> Option<NonNull<Bucket>> {
        if !self.is_chained() {
            return None;
        }
        NonNull::new(std::ptr::with_exposed_provenance_mut(
            self.slots[LAST] as usize,
        ))
    }

    /// Puts `next` into the last slot, which must be empty.
    pub(super) fn set_link(&mut self, next: NonNull<Bucket>) {
        debug_assert!(!self.holds(LAST));
        self.slots[LAST] = next.as_ptr().expose_provenance() as u64;
        self.tags |= CHAINED;
    }

    pub(super) fn clear_link(&mut self) {
        debug_assert!(self.is_chained());
        self.slots[LAST] = 0;
        self.tags &= !CHAINED;
    }

    /// The item at `pos`, which must hold one.
    #[inline]
    pub(super) fn word(&self, pos: usize) -> Word {
        debug_assert!(self.holds(pos));
        Word(self.slots[pos])
    }

    #[inline]
    pub(super) fn tag(&self, pos: usize) -> u8 {
        (self.tags >> (8 * pos)) as u8
    }

    #[inline]
    pub(super) fn put(&mut self, pos: usize, tag: u8, word: Word) {
        debug_assert!(tag != 0 && !self.holds(pos) && !(pos == LAST && self.is_chained()));
        self.tags |= u64::from(tag) << (8 * pos);
        self.slots[pos] = word.0;
    }

    /// Another item in the place of the one at `pos`, under the same hash.
    #[inline]
    pub(super) fn set_word(&mut self, pos: usize, word: Word) {
        debug_assert!(self.holds(pos));
        self.slots[pos] = word.0;
    }

    /// Empties `pos`, which must hold an item.
    #[inline]
    pub(super) fn take(&mut self, pos: usize) -> (u8, Word) {
        debug_assert!(self.holds(pos));
        let taken = (self.tag(pos), Word(self.slots[pos]));
        self.tags &= !(0xff << (8 * pos));
        self.slots[pos] = 0;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(n: usize) -> Word {
        // Never followed: any non-null address below 2^48 will do.
        let item = NonNull::new(std::ptr::without_provenance_mut(n)).expect("not null");
        Word::new(item, Print::of(0xabcd_0000))
    }

    #[test]
    fn tags_match_exactly_beside_any_neighbour() {
        for a in [1u8, 2, 0x7f, 0x80, 0x81, 0xff] {
            for b in [1u8, 2, 0x7f, 0x80, 0x81, 0xff] {
                let mut bucket = Bucket::EMPTY;
                bucket.put(2, a, word(8));
                bucket.put(3, b, word(16));
                let hits: Vec<usize> = bucket.find(a).collect();
                assert_eq!(hits, if a == b { vec![2, 3] } else { vec![2] });
                assert_eq!(bucket.used().collect::<Vec<_>>(), [2, 3]);
            }
        }
    }

    #[test]
    fn a_link_is_no_item_and_no_free_slot() {
        let mut overflow = Box::new(Bucket::EMPTY);
        let mut bucket = Bucket::EMPTY;
        (0..6).for_each(|pos| bucket.put(pos, 9, word(8 + pos)));
        assert_eq!(bucket.free_pos(), Some(6));
        bucket.set_link(NonNull::from(&mut *overflow));
        assert_eq!((bucket.free_pos(), bucket.used().count()), (None, 6));
        assert!(bucket.link().is_some() && !bucket.holds(6));
        assert_eq!(bucket.take(1).0, 9);
        assert_eq!(bucket.free_pos(), Some(1));
        bucket.clear_link();
        assert!(bucket.link().is_none());
    }

    #[test]
    fn a_word_keeps_sixteen_hash_bits() {
        let hash = 0x1234_5678_9abc_def0;
        let w = word(4096).with_item(word(8192).item());
        assert!(w.matches(Print::of(0xabcd_0000)) && !w.matches(Print::of(0xabcc_0000)));
        assert_eq!(w.item().as_ptr().addr(), 8192);
        let kept = Word::new(w.item(), Print::of(hash));
        for bit in 16..32 {
            assert_eq!(kept.hash_bit(bit), Some(hash >> bit & 1 == 1));
        }
        assert_eq!((kept.hash_bit(15), kept.hash_bit(32)), (None, None));
        assert_eq!((Print::of(5).tag, Print::of(0xff << 56).tag), (1, 0xff));
    }
}
