//! LZF: the compression of strings in RDB files and of the inner nodes of long lists.
//!
//! The format is liblzf's, so each side reads what the other wrote; which matches are found is a
//! choice of ours and may differ. The stream is a run of two kinds of pieces:
//!
//! ```text
//! 000nnnnn byte*              n + 1 bytes as they are
//! lllooooo [len] offset       l + 2 bytes (l = 7: len + 9) from `offset + 1` back in the output
//! ```
//!
//! Compressed bytes come from files and clients: reading never panics, writes no more than the
//! length that was announced, and reserves no more than the input can possibly unfold to.

/// The longest run of plain bytes one piece holds.
const LITERALS_MAX: usize = 32;
/// How far back a piece may point.
const OFFSET_MAX: usize = 1 << 13;
/// The longest copy one piece makes.
const COPY_MAX: usize = 264;
/// Compression gives up on larger inputs, whose positions its table could not hold.
const INPUT_MAX: usize = 1 << 31;

/// The bytes are not what LZF writes, or not of the length that was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Appends `input` in compressed form to `out`, if that takes `max` bytes or fewer; otherwise false,
/// and `out` is as it was. For one input now and then: see [`Compressor`] for many.
pub fn compress(input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    // A table is cleared before use, so it is no larger than the input makes worthwhile.
    match input.len() {
        0..=512 => compress_with(&mut [0; 1 << 8], 1, input, max, out),
        513..=8192 => compress_with(&mut [0; 1 << 11], 1, input, max, out),
        _ => compress_with(&mut [0; 1 << 13], 1, input, max, out),
    }
}

/// Compresses many inputs one after the other without clearing its table between them.
pub struct Compressor {
    table: Vec<u32>,
    /// What a position of the current input is counted from: entries below are of older inputs.
    base: u32,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// Allocates nothing before its first use.
    pub const fn new() -> Compressor {
        Compressor {
            table: Vec::new(),
            base: 1,
        }
    }

    /// As the free function [`compress`].
    pub fn compress(&mut self, input: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
        if input.len() >= INPUT_MAX {
            return false;
        }
        if self.table.is_empty() {
            self.table = vec![0; 1 << 13];
        }
        let len = input.len() as u32;
        if self.base.checked_add(len).is_none() {
            self.table.fill(0);
            self.base = 1;
        }
        let fits = compress_with(&mut self.table, self.base, input, max, out);
        self.base += len;
        fits
    }
}

/// The compressor over a table of a power of two entries, all of them below `base`.
fn compress_with(
    table: &mut [u32],
    base: u32,
    input: &[u8],
    max: usize,
    out: &mut Vec<u8>,
) -> bool {
    if input.len() >= INPUT_MAX {
        return false;
    }
    let start = out.len();
    let end = start.saturating_add(max);
    let shift = 32 - table.len().trailing_zeros();
    let (mut plain, mut at, mut misses) = (0, 0, 0);
    while let Some(triple) = triple(input, at) {
        let slot = &mut table[slot_of(triple, shift)];
        let before = (*slot).checked_sub(base).map(|before| before as usize);
        *slot = base + at as u32;
        let found = before.filter(|&before| {
            before < at && at - before <= OFFSET_MAX && self::triple(input, before) == Some(triple)
        });
        let Some(before) = found else {
            // What has shown no match for long is looked at in growing steps.
            misses += 1;
            at += 1 + (misses >> 6);
            continue;
        };
        let len = common(input, before, at);
        let copy = if len > 8 { 3 } else { 2 };
        if out.len() + literals_len(at - plain) + copy > end {
            break;
        }
        push_literals(out, &input[plain..at]);
        push_copy(out, at - before - 1, len);
        // Of the bytes just covered only the last two are remembered: more costs more than it finds.
        for near in at + len - 2..at + len {
            if let Some(triple) = self::triple(input, near) {
                table[slot_of(triple, shift)] = base + near as u32;
            }
        }
        at += len;
        (plain, misses) = (at, 0);
    }
    if out.len() + literals_len(input.len() - plain) > end {
        out.truncate(start);
        return false;
    }
    push_literals(out, &input[plain..]);
    true
}

/// Three bytes as a number.
#[inline]
fn triple(input: &[u8], at: usize) -> Option<u32> {
    let bytes = input.get(at..)?.first_chunk::<3>()?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
}

/// Where the table keeps three bytes: the top bits of a product spread them.
#[inline]
fn slot_of(triple: u32, shift: u32) -> usize {
    (triple.wrapping_mul(0x9E37_79B1) >> shift) as usize
}

/// How many bytes at `at` equal those at `before`, which is less, up to what a piece can copy.
#[inline]
fn common(input: &[u8], before: usize, at: usize) -> usize {
    let here = &input[at..input.len().min(at + COPY_MAX)];
    let there = &input[before..before + here.len()];
    let (words, _) = here.as_chunks::<8>();
    let (old, _) = there.as_chunks::<8>();
    for (n, (new, old)) in words.iter().zip(old).enumerate() {
        let differ = u64::from_le_bytes(*new) ^ u64::from_le_bytes(*old);
        if differ != 0 {
            return n * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    let whole = words.len() * 8;
    let rest = here[whole..].iter().zip(&there[whole..]);
    whole + rest.take_while(|(new, old)| new == old).count()
}

/// Bytes that so many plain ones take.
fn literals_len(count: usize) -> usize {
    count + count.div_ceil(LITERALS_MAX)
}

fn push_literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

/// `offset` is one less than the distance.
fn push_copy(out: &mut Vec<u8>, offset: usize, len: usize) {
    let (high, low) = ((offset >> 8) as u8, offset as u8);
    match len - 2 {
        short @ 0..7 => out.extend_from_slice(&[(short as u8) << 5 | high, low]),
        long => out.extend_from_slice(&[7 << 5 | high, (long - 7) as u8, low]),
    }
}

/// Appends the `len` bytes that `input` stands for to `out`; on error `out` is as it was.
pub fn decompress(input: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    // Three bytes make 264 at most, so a length that lies is refused before it is reserved.
    if len > input.len().saturating_mul(COPY_MAX / 3) {
        return Err(Corrupt);
    }
    let start = out.len();
    out.resize(start + len, 0);
    let result = unfold(input, &mut out[start..]);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Unfolds to exactly these bytes.
fn unfold(mut input: &[u8], out: &mut [u8]) -> Result<(), Corrupt> {
    let mut at = 0;
    while let Some((&head, rest)) = input.split_first() {
        input = rest;
        if usize::from(head) < LITERALS_MAX {
            let len = usize::from(head) + 1;
            let (run, rest) = input.split_at_checked(len).ok_or(Corrupt)?;
            let room = out.get_mut(at..at + len).ok_or(Corrupt)?;
            room.copy_from_slice(run);
            (input, at) = (rest, at + len);
            continue;
        }
        let mut len = usize::from(head >> 5) + 2;
        if len == 9 {
            let (&more, rest) = input.split_first().ok_or(Corrupt)?;
            len += usize::from(more);
            input = rest;
        }
        let (&low, rest) = input.split_first().ok_or(Corrupt)?;
        input = rest;
        let back = (usize::from(head & 31) << 8 | usize::from(low)) + 1;
        if back > at || out.len() - at < len {
            return Err(Corrupt);
        }
        copy_within(out, at, back, len);
        at += len;
    }
    if at == out.len() {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

/// Copies `len` bytes to `at` from `back` before it. A copy that reaches into itself repeats the bytes that
/// are there already.
#[inline]
fn copy_within(out: &mut [u8], at: usize, back: usize, len: usize) {
    if back == 1 {
        let byte = out[at - 1];
        out[at..at + len].fill(byte);
        return;
    }
    let (mut done, from) = (0, at - back);
    while done < len {
        let ready = (len - done).min(back + done);
        out.copy_within(from..from + ready, at + done);
        done += ready;
    }
}

/// Fuzz target: decompression keeps its promises on any bytes, and what was compressed comes back.
pub fn fuzz_lzf(data: &[u8]) {
    let mut out = vec![b'x'];
    for len in [0, 1, data.len(), data.len() * 3, data.len() * 88] {
        match decompress(data, len, &mut out) {
            Ok(()) => assert_eq!(out.len(), len + 1),
            Err(Corrupt) => assert_eq!(out, b"x"),
        }
        out.truncate(1);
    }
    let mut packed = Vec::new();
    let mut compressor = Compressor::new();
    for max in [data.len(), data.len() * 2 + 2] {
        packed.clear();
        if !compressor.compress(data, max, &mut packed) {
            assert!(packed.is_empty() && max < data.len() * 2);
            continue;
        }
        assert!(packed.len() <= max);
        assert_eq!(decompress(&packed, data.len(), &mut out), Ok(()));
        assert_eq!(&out[1..], data);
        assert_eq!(decompress(&packed, data.len() + 1, &mut out), Err(Corrupt));
        out.truncate(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn both_ways(input: &[u8]) -> usize {
        let mut packed = Vec::new();
        assert!(compress(input, input.len() * 2 + 2, &mut packed));
        let mut out = b"kept".to_vec();
        decompress(&packed, input.len(), &mut out).unwrap();
        assert_eq!(&out[4..], input);
        packed.len()
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut rng = Rng::from_seed(1);
        let mut compressor = Compressor::new();
        for round in 0..if cfg!(miri) { 20 } else { 2000 } {
            let len = rng.below([5, 100, 700, 20_000][round % 4]) as usize;
            let letters = 1 + rng.below(255);
            let mut input: Vec<u8> = (0..len).map(|_| rng.below(letters) as u8).collect();
            let copy = input[len / 3..].to_vec();
            input.extend(copy);
            both_ways(&input);

            let mut packed = Vec::new();
            if compressor.compress(&input, input.len(), &mut packed) {
                assert!(packed.len() <= input.len());
                let mut out = Vec::new();
                decompress(&packed, input.len(), &mut out).unwrap();
                assert_eq!(out, input);
            } else {
                assert!(packed.is_empty());
            }
        }
    }

    #[test]
    fn repetition_shrinks_and_noise_is_given_up() {
        assert!(both_ways(&[b'a'; 10_000]) < 130);
        assert!(both_ways(&b"hello world, ".repeat(100)) < 50);
        assert_eq!(both_ways(b""), 0);
        let mut noise = vec![0; 1000];
        Rng::from_seed(2).fill(&mut noise);
        let mut out = vec![7];
        assert!(!compress(&noise, 996, &mut out));
        assert_eq!(out, [7]);
        assert!(!compress(b"aaaaaaaaaaaaaaaaaaaaa", 4, &mut out));
        assert!(compress(b"aaaaaaaaaaaaaaaaaaaaa", 5, &mut out));
        assert_eq!(out, [7, 0, b'a', 7 << 5, 11, 0]);
    }

    #[test]
    fn reads_what_liblzf_wrote() {
        // DUMP of a string of 100 times "ab" by redis-server 7.0.15.
        let packed = [2, b'a', b'b', b'a', 0xE0, 0xBA, 1, 1, b'a', b'b'];
        let mut out = Vec::new();
        decompress(&packed, 200, &mut out).unwrap();
        assert_eq!(out, b"ab".repeat(100));
    }

    #[test]
    fn corrupt_input_is_an_error_and_reserves_nothing() {
        let mut out = Vec::new();
        for (bytes, len) in [
            (&[][..], 1),
            (&[0], 1),
            (&[0, b'a'], 2),
            (&[1, b'a', b'b'], 1),
            (&[0x20, 0], 3),                   // points before the beginning
            (&[0, b'a', 0x20], 4),             // no offset
            (&[0, b'a', 0xE0, 5], 15),         // a length, no offset
            (&[0, b'a', 0x20, 0], 3),          // one byte more than announced
            (&[0, b'a', 0x20, 0], usize::MAX), // absurd
            (&[0, b'a', 0x20, 0], 1_000_000),
        ] {
            assert_eq!(decompress(bytes, len, &mut out), Err(Corrupt), "{bytes:?}");
            assert!(out.is_empty() && out.capacity() < 1000);
        }
        fuzz_lzf(b"\x00a\x20\x00");
        fuzz_lzf(&[b'a'; 300]);
    }
}
