//! The hashes of the keys in the running batch, so that a key is hashed once for each command.
//!
//! The prefetch pass over a pipeline hashes every key; when the commands run, a key is recognised by where its
//! bytes lie. The cache is direct-mapped by that address: a lookup is one compare, a collision costs one
//! more hash, and forgetting a batch is one addition.

/// Slots: four for each key of a full batch, and the addresses of a pipeline's keys are evenly spread.
const SLOTS: usize = 256;

#[derive(Clone, Copy)]
struct Hint {
    address: usize,
    /// Low 32 bits of the length: keys are at most 512 MB.
    len: u32,
    /// The batch it belongs to.
    batch: u32,
    hash: u64,
}

/// See the head of this file. Whoever notes a key keeps its bytes unchanged and in place until `clear`.
pub(super) struct Hints {
    batch: u32,
    slots: Box<[Hint; SLOTS]>,
}

impl Hints {
    pub(super) fn new() -> Hints {
        let free = Hint {
            address: 0,
            len: 0,
            batch: 0,
            hash: 0,
        };
        Hints {
            batch: 1,
            slots: Box::new([free; SLOTS]),
        }
    }

    #[inline]
    fn slot_of(address: usize) -> usize {
        // Multiplicative: equal strides, as in a pipeline, give evenly spread slots.
        ((address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
    }

    #[inline]
    pub(super) fn note(&mut self, key: &[u8], hash: u64) {
        let address = key.as_ptr().addr();
        self.slots[Self::slot_of(address)] = Hint {
            address,
            len: key.len() as u32,
            batch: self.batch,
            hash,
        };
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<u64> {
        let address = key.as_ptr().addr();
        let hint = &self.slots[Self::slot_of(address)];
        (hint.address == address && hint.len == key.len() as u32 && hint.batch == self.batch)
            .then_some(hint.hash)
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            // Numbers come round once in four billion batches; no old hint may look current then.
            *self = Hints::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_place_until_the_batch_ends() {
        let bytes = b"keykeykey";
        let mut hints = Hints::new();
        assert_eq!(hints.get(&bytes[..3]), None);
        hints.note(&bytes[..3], 7);
        assert_eq!(hints.get(&bytes[..3]), Some(7));
        assert_eq!(hints.get(&bytes[..4]), None, "same address, other length");
        assert_eq!(hints.get(&bytes[3..6]), None, "same bytes, other place");
        hints.clear();
        assert_eq!(hints.get(&bytes[..3]), None);
    }

    #[test]
    fn batch_numbers_may_come_round() {
        let mut hints = Hints::new();
        hints.note(b"old", 1);
        let old = hints.slots[Hints::slot_of(b"old".as_ptr().addr())].batch;
        hints.batch = u32::MAX;
        hints.clear();
        assert_eq!(hints.batch, old);
        assert_eq!(hints.get(b"old"), None);
    }
}
