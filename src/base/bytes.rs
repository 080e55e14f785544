//! Comparing short byte strings where a call costs more than the comparison.

/// Are these the same bytes? For keys: mostly short, mostly equal when asked. Words with one
/// overlapping load at the end, inlined; the library's routine is a call through a table, and its
/// masked vector loads wait for the whole line.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > 64 {
        return a == b;
    }
    if let (Some(x), Some(y)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        let (words_a, _) = a.as_chunks::<8>();
        let (words_b, _) = b.as_chunks::<8>();
        let differ = words_a.iter().zip(words_b).fold(0, |acc, (x, y)| {
            acc | (u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y))
        });
        return differ | (u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y)) == 0;
    }
    if let (Some(x), Some(y)) = (a.last_chunk::<4>(), b.last_chunk::<4>()) {
        return x == y && a.first_chunk::<4>() == b.first_chunk::<4>();
    }
    a.iter().zip(b).all(|(x, y)| x == y)
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn every_length_and_every_differing_byte() {
        for len in 0..100 {
            let a: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert!(same(&a, &a.clone()));
            for at in 0..len {
                let mut b = a.clone();
                b[at] ^= 0x80;
                assert!(!same(&a, &b), "{len} {at}");
            }
            assert!(!same(&a, &[a.as_slice(), b"x"].concat()));
        }
    }
}
