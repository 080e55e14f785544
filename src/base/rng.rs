//! The only source of randomness: xoshiro256++, seeded by the system or, for tests and simulation,
//! by a number.
//!
//! Good and fast for sampling, skip lists and the like. It is not a secret: whatever must not be
//! guessed (passwords, hash keys, data keys) takes [`os_bytes`].

use std::io;

/// A small generator; equal seeds give equal sequences on every machine.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn from_seed(seed: u64) -> Rng {
        // SplitMix64 spreads the seed, so that neighbouring seeds have nothing in common and no
        // state is all zero.
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Rng { state }
    }

    /// A generator seeded by the system.
    pub fn from_os() -> Rng {
        let mut seed = [0; 32];
        os_bytes(&mut seed).expect("the kernel gives random bytes once it is up");
        let mut words = seed.chunks_exact(8).map(word);
        let state = std::array::from_fn(|_| words.next().unwrap_or(0));
        // All zero is the one state the generator cannot leave.
        if state == [0; 4] {
            Rng::from_seed(0)
        } else {
            Rng { state }
        }
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A fair number in `0..n`; 0 when `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            let low = product as u64;
            // Only the first 2^64 mod n values of the low half are unfair; the division is paid
            // when one is near.
            if low >= n || low >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// A fair double in `[0, 1)`.
    pub fn unit_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// `n` random lower-case hexadecimal digits, the form of run, replication and node ids.
    pub fn hex_id(&mut self, n: usize) -> String {
        let mut id = String::with_capacity(n);
        while id.len() < n {
            let bits = self.next_u64();
            let digits = (n - id.len()).min(16) as u32;
            id.extend((0..digits).map(|i| HEX[(bits >> (4 * i)) as usize & 15] as char));
        }
        id
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, &b| sum << 8 | u64::from(b))
}

/// Fills a buffer with secret-grade random bytes from the kernel.
pub fn os_bytes(out: &mut [u8]) -> io::Result<()> {
    super::sys::random_bytes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let draw = |seed| {
            let mut rng = Rng::from_seed(seed);
            (0..50).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn follows_the_published_generator() {
        // The first outputs of xoshiro256++ 1.0 from the state 1, 2, 3, 4.
        let mut rng = Rng {
            state: [1, 2, 3, 4],
        };
        let first = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!(first.map(|_| rng.next_u64()), first);
    }

    #[test]
    fn below_is_fair_and_in_range() {
        let mut rng = Rng::from_seed(8);
        let mut hits = [0; 7];
        for _ in 0..70_000 {
            hits[rng.below(7) as usize] += 1;
        }
        assert!(hits.iter().all(|n| (9_500..10_500).contains(n)), "{hits:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        // A bound just over 2^63 refuses nearly half of all draws, so the retry is exercised.
        assert!((0..1000).all(|_| rng.below((1 << 63) + 1) <= 1 << 63));
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit_f64())));
    }

    #[test]
    fn ids_are_hexadecimal_and_buffers_are_filled() {
        let mut rng = Rng::from_seed(9);
        let id = rng.hex_id(40);
        assert_eq!(id.len(), 40);
        assert!(id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        assert_eq!(rng.hex_id(0), "");
        let mut bytes = [0; 1003];
        rng.fill(&mut bytes);
        assert!(bytes[995..].iter().any(|&b| b != 0));
        assert_ne!(Rng::from_os().next_u64(), Rng::from_os().next_u64());
    }
}
