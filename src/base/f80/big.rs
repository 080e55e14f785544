//! Just enough big integers to turn decimal text into binary and back exactly. Sizes are bounded by
//! the text's length, which the caller bounds.

use std::cmp::Ordering;

/// An unsigned integer of any size: 64-bit limbs, lowest first, no zero limb on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Big {
    limbs: Vec<u64>,
}

/// The largest power of five that fits a limb.
const FIVE_27: u64 = 5u64.pow(27);
/// The largest power of ten that fits a limb, and its digits.
const TEN_19: u64 = 10u64.pow(19);
const TEN_19_DIGITS: usize = 19;

impl Big {
    pub(super) fn from_u64(n: u64) -> Big {
        let mut big = Big { limbs: vec![n] };
        big.trim();
        big
    }

    /// Reads decimal digits; every byte must be one.
    pub(super) fn from_digits(digits: impl Iterator<Item = u8>) -> Big {
        let mut big = Big::from_u64(0);
        let (mut group, mut scale) = (0u64, 1u64);
        for digit in digits {
            group = group * 10 + u64::from(digit - b'0');
            scale *= 10;
            if scale == TEN_19 {
                big.mul_add(scale, group);
                (group, scale) = (0, 1);
            }
        }
        big.mul_add(scale, group);
        big
    }

    /// Five to the `n`.
    pub(super) fn power_of_five(n: u32) -> Big {
        let mut big = Big::from_u64(1);
        big.mul_power_of_five(n);
        big
    }

    pub(super) fn mul_power_of_five(&mut self, n: u32) {
        for _ in 0..n / 27 {
            self.mul_add(FIVE_27, 0);
        }
        self.mul_add(5u64.pow(n % 27), 0);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// Bits up to the highest one that is set.
    pub(super) fn bit_len(&self) -> u32 {
        match self.limbs.last() {
            Some(top) => self.limbs.len() as u32 * 64 - top.leading_zeros(),
            None => 0,
        }
    }

    /// The 128 bits from bit `low` up, and whether any lower bit is set.
    pub(super) fn window(&self, low: u32) -> (u128, bool) {
        let (skip, shift) = ((low / 64) as usize, low % 64);
        let limb = |at: usize| u128::from(self.limbs.get(skip + at).copied().unwrap_or(0));
        let mut bits = (limb(0) | limb(1) << 64) >> shift;
        if shift > 0 {
            bits |= limb(2) << (128 - shift);
        }
        let below = self.limbs.iter().take(skip).any(|&l| l != 0)
            || (limb(0) as u64) & ((1u64 << shift) - 1) != 0;
        (bits, below)
    }

    pub(super) fn shift_left(&mut self, bits: u32) {
        let shift = bits % 64;
        if shift > 0 {
            let mut carry = 0;
            for limb in &mut self.limbs {
                let out = *limb >> (64 - shift);
                *limb = *limb << shift | carry;
                carry = out;
            }
            if carry != 0 {
                self.limbs.push(carry);
            }
        }
        if !self.is_zero() {
            self.limbs
                .splice(0..0, std::iter::repeat_n(0, (bits / 64) as usize));
        }
    }

    /// `self -= other`, which must not be larger.
    pub(super) fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let (difference, low) = limb.overflowing_sub(other.limbs.get(at).copied().unwrap_or(0));
            let (difference, high) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, low || high);
        }
        debug_assert!(!borrow, "a larger number was subtracted");
        self.trim();
    }

    /// Appends the decimal digits; nothing for zero.
    pub(super) fn push_decimal(mut self, out: &mut Vec<u8>) {
        let mut groups = Vec::new();
        while !self.is_zero() {
            groups.push(self.divide(TEN_19));
        }
        let mut groups = groups.into_iter().rev();
        if let Some(first) = groups.next() {
            out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
        }
        for group in groups {
            let mut buffer = itoa::Buffer::new();
            let digits = buffer.format(group).as_bytes();
            out.extend(std::iter::repeat_n(b'0', TEN_19_DIGITS - digits.len()));
            out.extend_from_slice(digits);
        }
    }

    fn mul_add(&mut self, factor: u64, summand: u64) {
        let mut carry = u128::from(summand);
        for limb in &mut self.limbs {
            let product = u128::from(*limb) * u128::from(factor) + carry;
            *limb = product as u64;
            carry = product >> 64;
        }
        self.limbs.push(carry as u64);
        self.trim();
    }

    /// Divides in place and returns the remainder.
    fn divide(&mut self, divisor: u64) -> u64 {
        let mut rest = 0u64;
        for limb in self.limbs.iter_mut().rev() {
            let part = u128::from(rest) << 64 | u128::from(*limb);
            *limb = (part / u128::from(divisor)) as u64;
            rest = (part % u128::from(divisor)) as u64;
        }
        self.trim();
        rest
    }

    fn trim(&mut self) {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Big) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Big) -> Ordering {
        let by_size = self.limbs.len().cmp(&other.limbs.len());
        by_size.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(big: Big) -> String {
        let mut out = Vec::new();
        big.push_decimal(&mut out);
        String::from_utf8(out).expect("digits are ASCII")
    }

    #[test]
    fn decimals_survive() {
        for digits in [
            "1",
            "18446744073709551616",
            "10000000000000000000000000000000000000001",
        ] {
            assert_eq!(decimal(Big::from_digits(digits.bytes())), digits);
        }
        let long = "1234567890".repeat(50);
        assert_eq!(decimal(Big::from_digits(long.bytes())), long);
        assert_eq!(decimal(Big::from_u64(0)), "");
    }

    #[test]
    fn powers_shifts_and_differences() {
        // 5^100 * 2^100 = 10^100
        let mut ten = Big::power_of_five(100);
        assert_eq!(ten.bit_len(), 233);
        ten.shift_left(100);
        assert_eq!(decimal(ten.clone()), format!("1{}", "0".repeat(100)));
        assert!(!ten.window(100).1);
        assert!(ten.window(101).1);
        let mut nines = ten.clone();
        nines.subtract(&Big::from_u64(1));
        assert_eq!(decimal(nines.clone()), "9".repeat(100));
        assert!(nines < ten);
        ten.subtract(&nines);
        assert_eq!(ten, Big::from_u64(1));
    }
}
