//! HyperLogLog: how many different elements were seen, from 16,384 registers of six bits.
//!
//! The registers live in a string that clients can GET, SET, DUMP and replicate, so its bytes are exactly
//! Redis's, and any bytes may come in: whatever claims to be such a string is checked before it is read.
//!
//! ```text
//! "HYLL" | encoding 1 | unused 3 | cached estimate 8, little endian, stale when its top bit is set | registers
//! dense:   16,384 registers of 6 bits, lowest bits first
//! sparse:  runs of equal registers (see sparse.rs)
//! ```

mod estimate;
mod registers;
mod sparse;

pub use registers::Registers;
pub use sparse::Cursor;

use self::registers::{Histogram, dense_get, dense_set, histogram, pack};

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of the hash that choose the register; the rest is counted in.
const INDEX_BITS: u32 = 14;
const RANK_BITS: u32 = 64 - INDEX_BITS;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const ENCODING_AT: usize = 4;
const ESTIMATE_AT: usize = 8;
const STALE: u8 = 0x80;

/// A new one: a single run of zeros.
pub const EMPTY: [u8; HEADER + 2] = {
    let mut bytes = [0; HEADER + 2];
    let magic = *b"HYLL";
    let mut i = 0;
    while i < magic.len() {
        bytes[i] = magic[i];
        i += 1;
    }
    bytes[ENCODING_AT] = SPARSE;
    (bytes[HEADER], bytes[HEADER + 1]) = (0x7f, 0xff);
    bytes
};

/// The registers make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Is it a HyperLogLog by its header and length? Its runs may still be corrupt.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(b"HYLL")
        && match bytes[ENCODING_AT] {
            DENSE => bytes.len() == DENSE_LEN,
            encoding => encoding == SPARSE,
        }
}

/// Are the registers written one by one?
pub fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(ENCODING_AT) == Some(&DENSE) && bytes.len() == DENSE_LEN
}

/// Where an element counts: its register, and the least value that register then has.
#[inline]
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let index = hash as usize & (REGISTERS - 1);
    // A bit behind the last one ends the run.
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A with Redis's seed: the element's place is part of the format.
fn hash(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const MIX: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(MIX);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MIX);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(MIX)).wrapping_mul(MIX);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MIX);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> SHIFT
}

/// The estimate that was stored, unless registers changed since.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let (field, _) = bytes.get(ESTIMATE_AT..)?.split_first_chunk::<8>()?;
    (field[7] & STALE == 0).then(|| u64::from_le_bytes(*field))
}

/// Stores an estimate.
pub fn cache(bytes: &mut [u8], estimate: u64) {
    if let Some(field) = bytes.get_mut(ESTIMATE_AT..HEADER) {
        field.copy_from_slice(&estimate.to_le_bytes());
    }
}

/// The stored estimate no longer holds.
pub fn invalidate(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(HEADER - 1) {
        *last |= STALE;
    }
}

/// Estimates from the registers. `bytes` are valid, here and in what follows.
pub fn estimate(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut seen: Histogram = [0; 64];
    if is_dense(bytes) {
        histogram(&bytes[HEADER..], &mut seen);
    } else {
        for run in sparse::runs(bytes) {
            let run = run?;
            seen[usize::from(run.value)] += run.len as u32;
        }
    }
    Ok(estimate::estimate(&seen))
}

/// Estimates from registers that were merged.
pub fn estimate_of(registers: &Registers) -> u64 {
    estimate::estimate(&registers.histogram())
}

/// Would a register rise to that value? The cursor then is where [`raise`] finds it again.
pub fn would_raise(
    bytes: &[u8],
    index: usize,
    value: u8,
    cursor: &mut Cursor,
) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(dense_get(&bytes[HEADER..], index) < value);
    }
    sparse::get(bytes, index, cursor).map(|old| old < value)
}

/// Raises a register to that value; did it change? A sparse one over `sparse_max` bytes becomes dense.
pub fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
    cursor: &mut Cursor,
) -> Result<bool, Corrupt> {
    if !is_dense(bytes) {
        match sparse::raise(bytes, index, value, sparse_max, cursor)? {
            sparse::Raised::Done(changed) => {
                if changed {
                    invalidate(bytes);
                }
                return Ok(changed);
            }
            sparse::Raised::TooLarge => _ = to_dense(bytes)?,
        }
    }
    let registers = &mut bytes[HEADER..];
    let rises = dense_get(registers, index) < value;
    if rises {
        dense_set(registers, index, value);
        invalidate(bytes);
    }
    Ok(rises)
}

/// Writes the registers one by one; was it sparse before?
pub fn to_dense(bytes: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if is_dense(bytes) {
        return Ok(false);
    }
    let mut registers = Registers::new();
    registers.merge(bytes)?;
    write_dense(bytes, &registers);
    Ok(true)
}

/// Overwrites the registers, the header's other fields stay.
fn write_dense(bytes: &mut Vec<u8>, registers: &Registers) {
    bytes.resize(DENSE_LEN, 0);
    bytes[ENCODING_AT] = DENSE;
    pack(registers, &mut bytes[HEADER..]);
}

/// Stores merged registers, which are nowhere less than those that `bytes` has.
pub fn store(
    bytes: &mut Vec<u8>,
    registers: &Registers,
    dense: bool,
    sparse_max: usize,
) -> Result<(), Corrupt> {
    let mut cursor = Cursor::default();
    if !dense && !is_dense(bytes) {
        for (index, value) in registers.raised() {
            raise(bytes, index, value, sparse_max, &mut cursor)?;
            if is_dense(bytes) {
                break;
            }
        }
    }
    if dense || is_dense(bytes) {
        write_dense(bytes, registers);
    }
    invalidate(bytes);
    Ok(())
}

/// The runs as text (PFDEBUG DECODE); `None` for a dense one.
pub fn decode(bytes: &[u8]) -> Option<Result<Vec<u8>, Corrupt>> {
    (!is_dense(bytes)).then(|| sparse::decode(bytes))
}

/// For the fuzzer: whatever the bytes, nothing panics, no promise about registers is broken, and work stays
/// in proportion to the input.
pub fn fuzz_hll(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<4>() else {
        return;
    };
    let mut bytes = EMPTY[..HEADER].to_vec();
    if head[0] & 1 == 0 {
        bytes.extend_from_slice(rest);
    } else {
        bytes[ENCODING_AT] = DENSE;
        bytes.extend(rest.iter().copied().cycle().take(DENSE_LEN - HEADER));
    }
    if !is_valid(&bytes) {
        return;
    }
    let (index, value) = (
        usize::from(u16::from_le_bytes([head[1], head[2]])) % REGISTERS,
        1 + head[3] % (RANK_BITS as u8 + 1),
    );
    let mut registers = Registers::new();
    let sound = registers.merge(&bytes).is_ok();
    assert_eq!(estimate(&bytes).is_ok(), sound);
    if let Some(text) = decode(&bytes) {
        assert_eq!(text.is_ok(), sound);
    }
    let before = would_raise(&bytes, index, value, &mut Cursor::default());
    let mut raised = bytes.clone();
    let max = usize::from(head[0]) * 16;
    let changed = raise(&mut raised, index, value, max, &mut Cursor::default());
    if sound {
        assert_eq!(changed, before);
        let mut after = Registers::new();
        after.merge(&raised).expect("stays sound");
        registers.raise(index, value);
        assert!(after == registers);
        let mut merged = EMPTY.to_vec();
        store(&mut merged, &registers, false, 3000).expect("an empty one is sound");
        let mut stored = Registers::new();
        stored.merge(&merged).expect("what was stored is sound");
        assert!(stored == registers && merged.len() <= DENSE_LEN);
    }
}

#[cfg(test)]
mod tests;
