//! Strings as arrays of bits: counting, searching, and integers of any width at any bit.
//!
//! Bit 0 is the highest of the first byte, as Redis numbers them. Everything here works on plain words in
//! loops the compiler turns into vectors, so it needs neither `unsafe` nor a newer machine than the build.

pub mod combine;

use std::ops::Range;

/// A word of the counting loop: two machine vectors, so that one addition need not wait for another.
type Wide = [u64; 4];
/// Words summed up in one round of the counting loop.
const ROUND: usize = 16;
const ROUND_BYTES: usize = ROUND * size_of::<Wide>();

/// Adds three bits in each place: their sum and what carries over.
#[inline(always)]
fn add(a: Wide, b: Wide, c: Wide) -> (Wide, Wide) {
    let (mut sum, mut carry) = ([0; 4], [0; 4]);
    for i in 0..4 {
        let half = a[i] ^ b[i];
        sum[i] = half ^ c[i];
        carry[i] = a[i] & b[i] | half & c[i];
    }
    (sum, carry)
}

#[inline(always)]
fn ones_in(wide: Wide) -> u64 {
    wide.iter().map(|w| u64::from(w.count_ones())).sum()
}

#[inline(always)]
fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

/// Bits that are set.
///
/// A tree of adders (Harley and Seal) turns sixteen words into one that must be counted: without a machine
/// instruction for it, counting is what is dear.
pub fn count(bytes: &[u8]) -> u64 {
    let (rounds, rest) = bytes.as_chunks::<ROUND_BYTES>();
    let (mut ones, mut twos, mut fours, mut eights) = ([0; 4], [0; 4], [0; 4], [0; 4]);
    let mut total = 0;
    for round in rounds {
        let (words, _) = round.as_chunks::<8>();
        let at = |i: usize| -> Wide {
            let mut wide = [0; 4];
            for (k, lane) in wide.iter_mut().enumerate() {
                *lane = word(&words[i * 4 + k]);
            }
            wide
        };
        // Two words give a carry of twos, two of those one of fours, and so on. Written out: through
        // functions that call each other, the compiler did not find the vectors.
        let (sum, two_a) = add(ones, at(0), at(1));
        let (sum, two_b) = add(sum, at(2), at(3));
        let (two, four_a) = add(twos, two_a, two_b);
        let (sum, two_a) = add(sum, at(4), at(5));
        let (sum, two_b) = add(sum, at(6), at(7));
        let (two, four_b) = add(two, two_a, two_b);
        let (four, eight_a) = add(fours, four_a, four_b);
        let (sum, two_a) = add(sum, at(8), at(9));
        let (sum, two_b) = add(sum, at(10), at(11));
        let (two, four_a) = add(two, two_a, two_b);
        let (sum, two_a) = add(sum, at(12), at(13));
        let (sum, two_b) = add(sum, at(14), at(15));
        let (two, four_b) = add(two, two_a, two_b);
        let (four, eight_b) = add(four, four_a, four_b);
        let (eight, carry) = add(eights, eight_a, eight_b);
        (ones, twos, fours, eights) = (sum, two, four, eight);
        total += ones_in(carry);
    }
    total *= 16;
    total += 8 * ones_in(eights) + 4 * ones_in(fours) + 2 * ones_in(twos) + ones_in(ones);
    let (words, tail) = rest.as_chunks::<8>();
    total += words
        .iter()
        .map(|w| u64::from(word(w).count_ones()))
        .sum::<u64>();
    total + tail.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

/// Bits that are set among those of `range`, which lies within the bytes.
pub fn count_within(bytes: &[u8], range: Range<u64>) -> u64 {
    let Some(parts) = Parts::of(bytes, range) else {
        return 0;
    };
    let edge = |byte: Option<u8>| byte.map_or(0, |byte| u64::from(byte.count_ones()));
    edge(parts.head) + count(parts.middle) + edge(parts.tail)
}

/// The first bit of `range` that is `bit`.
pub fn find(bytes: &[u8], bit: bool, range: Range<u64>) -> Option<u64> {
    let parts = Parts::of(bytes, range.clone())?;
    // Looked for is always a set bit; the edges' other bits are those that do not count.
    let flip = if bit { 0 } else { 0xff };
    let edge = |byte: Option<u8>, mask: u8| {
        let byte = (byte? ^ flip) & mask;
        (byte != 0).then(|| u64::from(byte.leading_zeros()))
    };
    let at = range.start & !7;
    if let Some(found) = edge(parts.head, parts.head_mask) {
        return Some(at + found);
    }
    let at = at + if parts.head.is_some() { 8 } else { 0 };
    if let Some(found) = find_whole(parts.middle, flip) {
        return Some(at + found);
    }
    let at = at + parts.middle.len() as u64 * 8;
    edge(parts.tail, parts.tail_mask).map(|found| at + found)
}

/// The first bit that is set once every byte was xored with `flip`.
fn find_whole(bytes: &[u8], flip: u8) -> Option<u64> {
    let flip_word = u64::from_le_bytes([flip; 8]);
    let (blocks, _) = bytes.as_chunks::<64>();
    let boring = blocks.iter().take_while(|block| {
        let (words, _) = block.as_chunks::<8>();
        words.iter().fold(0, |all, w| all | (word(w) ^ flip_word)) == 0
    });
    let skipped = boring.count() * 64;
    let rest = bytes[skipped..].iter();
    let (at, byte) = rest.enumerate().find(|(_, b)| **b != flip)?;
    Some((skipped + at) as u64 * 8 + u64::from((byte ^ flip).leading_zeros()))
}

/// A range of bits as whole bytes with an edge on either side.
struct Parts<'a> {
    /// The first byte, when only some of its bits are meant; other bits are zero.
    head: Option<u8>,
    head_mask: u8,
    middle: &'a [u8],
    tail: Option<u8>,
    tail_mask: u8,
}

impl<'a> Parts<'a> {
    /// `None` for a range without bits. Whatever lies behind the bytes is left out.
    fn of(bytes: &'a [u8], range: Range<u64>) -> Option<Parts<'a>> {
        let end = range.end.min(bytes.len() as u64 * 8);
        if range.start >= end {
            return None;
        }
        let (first, last) = ((range.start / 8) as usize, ((end - 1) / 8) as usize);
        let mut head_mask = 0xff_u8 >> (range.start % 8);
        let tail_mask = 0xff_u8 << (7 - (end - 1) % 8);
        if first == last {
            head_mask &= tail_mask;
            return Some(Parts {
                head: Some(bytes[first] & head_mask),
                head_mask,
                middle: &[],
                tail: None,
                tail_mask,
            });
        }
        let (cut_head, cut_tail) = (head_mask != 0xff, tail_mask != 0xff);
        Some(Parts {
            head: cut_head.then(|| bytes[first] & head_mask),
            head_mask,
            middle: &bytes[first + usize::from(cut_head)..=last - usize::from(cut_tail)],
            tail: cut_tail.then(|| bytes[last] & tail_mask),
            tail_mask,
        })
    }
}

/// The unsigned integer of `width` bits (1 to 64) that begins at bit `at`; what lies behind the bytes
/// reads as zero.
pub fn integer(bytes: &[u8], at: u64, width: u32) -> u64 {
    let (first, shift) = ((at / 8) as usize, (at % 8) as u32);
    let touched = (shift + width).div_ceil(8);
    let word = (0..touched as usize).fold(0_u128, |word, i| {
        word << 8 | u128::from(bytes.get(first + i).copied().unwrap_or(0))
    });
    (word >> (touched * 8 - shift - width)) as u64 & mask(width)
}

/// Overwrites the integer of `width` bits that begins at bit `at`. All of it lies within the bytes.
pub fn set_integer(bytes: &mut [u8], at: u64, width: u32, value: u64) {
    let (first, shift) = ((at / 8) as usize, (at % 8) as u32);
    let touched = (shift + width).div_ceil(8);
    let below = touched * 8 - shift - width;
    let clear = !(u128::from(mask(width)) << below);
    let put = u128::from(value & mask(width)) << below;
    for i in 0..touched {
        let down = (touched - 1 - i) * 8;
        let byte = &mut bytes[first + i as usize];
        *byte = *byte & (clear >> down) as u8 | (put >> down) as u8;
    }
}

/// The lowest `width` bits.
pub fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const LARGEST: usize = if cfg!(miri) { 1200 } else { 5000 };

    fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
        // Mostly the same byte, so that searches have something to pass over.
        let dull = [0, 0xff][rng.below(2) as usize];
        let odds = [1, 4, 400, 100_000][rng.below(4) as usize];
        (0..len)
            .map(|_| match rng.below(odds) {
                0 => rng.next_u64() as u8,
                _ => dull,
            })
            .collect()
    }

    fn bit(bytes: &[u8], at: u64) -> bool {
        bytes[(at / 8) as usize] >> (7 - at % 8) & 1 == 1
    }

    #[test]
    fn counts_and_finds_as_one_bit_at_a_time_does() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..if cfg!(miri) { 5 } else { 300 } {
            let len = rng.below(LARGEST as u64) as usize;
            let bytes = bytes(&mut rng, len);
            let slow = bytes.iter().map(|b| u64::from(b.count_ones())).sum::<u64>();
            assert_eq!(count(&bytes), slow);
            let bits = len as u64 * 8;
            for _ in 0..5 {
                let start = rng.below(bits + 2);
                let end = start + rng.below(bits + 2);
                let inside = start..end.min(bits);
                let slow = inside.clone().filter(|at| bit(&bytes, *at)).count();
                assert_eq!(count_within(&bytes, start..end), slow as u64);
                for wanted in [false, true] {
                    let slow = inside.clone().find(|at| bit(&bytes, *at) == wanted);
                    assert_eq!(find(&bytes, wanted, start..end), slow, "{start}..{end}");
                }
            }
        }
    }

    #[test]
    fn integers_lie_at_any_bit() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..if cfg!(miri) { 50 } else { 5000 } {
            let mut bytes = bytes(&mut rng, 24);
            let before = bytes.clone();
            let (at, width) = (rng.below(100), 1 + rng.below(64) as u32);
            let value = rng.next_u64();
            set_integer(&mut bytes, at, width, value);
            assert_eq!(integer(&bytes, at, width), value & mask(width));
            for other in (0..at).chain(at + u64::from(width)..24 * 8) {
                assert_eq!(bit(&bytes, other), bit(&before, other));
            }
            for i in 0..u64::from(width) {
                let expected = value >> (u64::from(width) - 1 - i) & 1 == 1;
                assert_eq!(bit(&bytes, at + i), expected);
            }
        }
        assert_eq!(integer(b"\xff", 4, 8), 0xf0);
        assert_eq!(integer(b"", 1 << 40, 64), 0);
    }
}
