//! Registers one by one: six bits each as they are stored, a byte each while several are merged.
//!
//! Eight registers are six bytes: they are spread out and gathered in one word, by three masks and shifts.

use super::{Corrupt, HEADER, REGISTERS, is_dense, sparse};

/// How many registers have each value.
pub(super) type Histogram = [u32; 64];

/// Registers being merged.
#[derive(Clone, PartialEq, Eq)]
pub struct Registers(Box<[u8; REGISTERS]>);

impl Registers {
    /// All zero.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Registers {
        Registers(Box::new([0; REGISTERS]))
    }

    /// Raises each to what the string has, if that is more.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        if is_dense(bytes) {
            let (blocks, _) = self.0.as_chunks_mut::<64>();
            for (source, block) in bytes[HEADER..].as_chunks::<48>().0.iter().zip(blocks) {
                let mut other = [0; 64];
                unpack(source, &mut other);
                for (mine, theirs) in block.iter_mut().zip(other) {
                    *mine = (*mine).max(theirs);
                }
            }
            return Ok(());
        }
        // Told to be corrupt only at its end, as Redis does; what was merged by then is not used.
        let mut at = 0;
        for run in sparse::runs(bytes) {
            let run = run?;
            if run.value > 0 {
                for mine in &mut self.0[at..at + run.len] {
                    *mine = (*mine).max(run.value);
                }
            }
            at += run.len;
        }
        Ok(())
    }

    /// Raises one.
    pub fn raise(&mut self, index: usize, value: u8) {
        let old = &mut self.0[index];
        *old = value.max(*old);
    }

    /// Their values.
    pub fn values(&self) -> &[u8] {
        &self.0[..]
    }

    /// Those that are not zero.
    pub(super) fn raised(&self) -> impl Iterator<Item = (usize, u8)> {
        let all = self.0.iter().copied().enumerate();
        all.filter(|(_, value)| *value > 0)
    }

    pub(super) fn histogram(&self) -> Histogram {
        let mut parts = [[0; 64]; 4];
        for eight in self.0.as_chunks::<8>().0 {
            if *eight == [0; 8] {
                parts[0][0] += 8;
            } else {
                tally(eight, &mut parts);
            }
        }
        sum(&parts)
    }
}

/// Counts dense registers by value.
pub(super) fn histogram(dense: &[u8], seen: &mut Histogram) {
    let mut parts = [[0; 64]; 4];
    for source in dense.as_chunks::<48>().0 {
        let mut values = [0; 64];
        unpack(source, &mut values);
        for eight in values.as_chunks::<8>().0 {
            tally(eight, &mut parts);
        }
    }
    *seen = sum(&parts);
}

/// Neighbours are often equal: in four tables none waits for the one before.
#[inline(always)]
fn tally(values: &[u8; 8], parts: &mut [Histogram; 4]) {
    for (i, value) in values.iter().enumerate() {
        parts[i % 4][usize::from(value & 63)] += 1;
    }
}

fn sum(parts: &[Histogram; 4]) -> Histogram {
    std::array::from_fn(|value| parts.iter().map(|part| part[value]).sum())
}

/// Spreads registers of six bits out to a byte each.
#[inline]
pub(super) fn unpack(from: &[u8; 48], to: &mut [u8; 64]) {
    for (six, eight) in from.as_chunks::<6>().0.iter().zip(to.as_chunks_mut().0) {
        let [a, b, c, d, e, f] = *six;
        let x = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let x = x & 0xff_ffff | (x & 0xffff_ff00_0000) << 8;
        let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
        let x = x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
        *eight = x.to_le_bytes();
    }
}

/// Gathers registers into six bits each.
pub(super) fn pack(registers: &Registers, to: &mut [u8]) {
    let (sixes, _) = to.as_chunks_mut::<6>();
    for (eight, six) in registers.0.as_chunks::<8>().0.iter().zip(sixes) {
        let x = u64::from_le_bytes(*eight);
        let x = x & 0x003f_003f_003f_003f | (x & 0x3f00_3f00_3f00_3f00) >> 2;
        let x = x & 0x0000_0fff_0000_0fff | (x & 0x0fff_0000_0fff_0000) >> 4;
        let x = x & 0xff_ffff | (x & 0x00ff_ffff_0000_0000) >> 8;
        let [a, b, c, d, e, f, ..] = x.to_le_bytes();
        *six = [a, b, c, d, e, f];
    }
}

/// A register's value.
pub(super) fn dense_get(dense: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let high = dense.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([dense[at], high]) >> shift) as u8 & 63
}

/// Overwrites a register.
pub(super) fn dense_set(dense: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let high = dense.get(at + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([dense[at], high]);
    let word = word & !(63 << shift) | u16::from(value & 63) << shift;
    let [low, high] = word.to_le_bytes();
    dense[at] = low;
    if let Some(byte) = dense.get_mut(at + 1) {
        *byte = high;
    }
}
