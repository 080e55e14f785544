//! From registers to an estimate (Ertl, "New cardinality estimation algorithms for HyperLogLog sketches",
//! 2017): exact in its use of all registers, without tables of corrections.

use super::registers::Histogram;
use super::{RANK_BITS, REGISTERS};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// The estimate, from how many registers have each value.
pub(super) fn estimate(seen: &Histogram) -> u64 {
    let m = REGISTERS as f64;
    let full = f64::from(seen[RANK_BITS as usize + 1]);
    let mut z = m * tau((m - full) / m);
    for value in (1..=RANK_BITS as usize).rev() {
        z = (z + f64::from(seen[value])) * 0.5;
    }
    z += m * sigma(f64::from(seen[0]) / m);
    // Away from zero at one half; what is infinite or no number becomes 0.
    (ALPHA * m * m / z).round() as u64
}

/// The share of registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        y *= 0.5;
        let before = z;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The share of registers that are empty.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}
