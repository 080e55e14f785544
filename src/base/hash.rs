//! SipHash-1-3 under a random 128-bit key: the hash of everything clients can fill.
//!
//! A keyed hash keeps an attacker from aiming at one bucket; it costs about 5 ns a key more than
//! the fast unkeyed ones (measured: 0-3 % of a pipelined GET).

use super::rng::{Rng, os_bytes};

/// The secret key of a hash function.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct HashKey {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

impl HashKey {
    /// A key from a generator, for tests and simulation, where hashes must repeat.
    pub fn random(rng: &mut Rng) -> HashKey {
        HashKey {
            k0: rng.next_u64(),
            k1: rng.next_u64(),
        }
    }

    /// A secret key from the kernel, for a server that faces clients.
    pub fn from_os() -> HashKey {
        let mut bytes = [0; 16];
        os_bytes(&mut bytes).expect("the kernel gives random bytes once it is up");
        let bits = u128::from_le_bytes(bytes);
        HashKey {
            k0: bits as u64,
            k1: (bits >> 64) as u64,
        }
    }
}

// The key must not end up in a log.
impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

macro_rules! round {
    ($a:ident, $b:ident, $c:ident, $d:ident) => {
        $a = $a.wrapping_add($b);
        $b = $b.rotate_left(13) ^ $a;
        $a = $a.rotate_left(32);
        $c = $c.wrapping_add($d);
        $d = $d.rotate_left(16) ^ $c;
        $a = $a.wrapping_add($d);
        $d = $d.rotate_left(21) ^ $a;
        $c = $c.wrapping_add($b);
        $b = $b.rotate_left(17) ^ $c;
        $c = $c.rotate_left(32);
    };
}

/// SipHash with one round for each word and three at the end.
#[inline(always)]
pub fn siphash13(key: &HashKey, bytes: &[u8]) -> u64 {
    let mut a = key.k0 ^ 0x736f_6d65_7073_6575;
    let mut b = key.k1 ^ 0x646f_7261_6e64_6f6d;
    let mut c = key.k0 ^ 0x6c79_6765_6e65_7261;
    let mut d = key.k1 ^ 0x7465_6462_7974_6573;
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let m = u64::from_le_bytes(*word);
        d ^= m;
        round!(a, b, c, d);
        a ^= m;
    }
    let m = (bytes.len() as u64) << 56 | le_tail(tail);
    d ^= m;
    round!(a, b, c, d);
    a ^= m;
    c ^= 0xff;
    round!(a, b, c, d);
    round!(a, b, c, d);
    round!(a, b, c, d);
    a ^ b ^ c ^ d
}

/// Up to seven bytes as a little-endian number, in a few overlapping loads.
#[inline]
fn le_tail(tail: &[u8]) -> u64 {
    let n = tail.len();
    if let Some(low) = tail.first_chunk::<4>()
        && let Some(high) = tail.last_chunk::<4>()
    {
        // The bytes in the middle are in both, at the same place.
        return u64::from(u32::from_le_bytes(*low))
            | u64::from(u32::from_le_bytes(*high)) << (8 * (n - 4));
    }
    if n == 0 {
        return 0;
    }
    // One to three bytes: first, middle and last cover them, saying the same twice where they meet.
    let (first, middle, last) = (tail[0], tail[n / 2], tail[n - 1]);
    u64::from(first) | u64::from(middle) << (8 * (n / 2)) | u64::from(last) << (8 * (n - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn equals_the_standard_library_under_its_zero_key() {
        let mut rng = Rng::from_seed(6);
        for len in 0..200 {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            let mut reference = DefaultHasher::new();
            reference.write(&bytes);
            assert_eq!(
                siphash13(&HashKey::default(), &bytes),
                reference.finish(),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn the_key_matters() {
        let mut rng = Rng::from_seed(7);
        let keys: Vec<HashKey> = (0..100).map(|_| HashKey::random(&mut rng)).collect();
        let hashes: std::collections::HashSet<u64> =
            keys.iter().map(|key| siphash13(key, b"key:1")).collect();
        assert_eq!(hashes.len(), keys.len());
        assert_ne!(HashKey::from_os(), HashKey::from_os());
        assert_eq!(format!("{:?}", keys[0]), "HashKey(..)");
    }
}
