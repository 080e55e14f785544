//! The hashes of the keys in the running batch, so that a key is hashed once for each command.
//!
//! The prefetch pass over a pipeline hashes every key; when the commands run, a key is recognised by
//! where its bytes lie. Commands use their keys in the order in which they name them, so only two
//! places are looked at: where the last key was found, and the next one. A command that uses its keys
//! in another order costs a hash, never a wrong one.

use std::cell::Cell;

/// Keys of one batch: more cache misses are not in flight at once anyway.
pub const BATCH_MAX: usize = 64;

/// A key of the batch.
#[derive(Clone, Copy, Default)]
pub(super) struct Hint {
    address: usize,
    /// Low 32 bits of the length: keys are at most 512 MB.
    len: u32,
    pub(super) db: u32,
    pub(super) hash: u64,
}

/// See the head of this file. Whoever notes a key keeps its bytes unchanged and in place until `clear`.
pub(super) struct Hints {
    list: [Hint; BATCH_MAX],
    len: usize,
    /// Where the last key was found.
    cursor: Cell<usize>,
}

impl Hints {
    pub(super) fn new() -> Hints {
        Hints {
            list: [Hint::default(); BATCH_MAX],
            len: 0,
            cursor: Cell::new(0),
        }
    }

    /// Notes the next key of the batch; false when there is no room for it.
    #[inline]
    pub(super) fn note(&mut self, db: usize, key: &[u8], hash: u64) -> bool {
        let Some(place) = self.list.get_mut(self.len) else {
            return false;
        };
        *place = Hint {
            address: key.as_ptr().addr(),
            len: key.len() as u32,
            db: db as u32,
            hash,
        };
        self.len += 1;
        true
    }

    /// The command whose first key is number `at` runs next.
    #[inline]
    pub(super) fn seek(&mut self, at: usize) {
        self.cursor.set(at);
    }

    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<u64> {
        let at = self.cursor.get();
        let hints = &self.list[..self.len];
        let is = |hint: &&Hint| hint.address == key.as_ptr().addr() && hint.len == key.len() as u32;
        if let Some(hint) = hints.get(at).filter(is) {
            return Some(hint.hash);
        }
        let next = hints.get(at + 1).filter(is)?;
        self.cursor.set(at + 1);
        Some(next.hash)
    }

    /// The keys of the batch.
    #[inline]
    pub(super) fn all(&self) -> &[Hint] {
        &self.list[..self.len]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.cursor.set(0);
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
        assert!(hints.note(0, &bytes[..3], 7));
        assert!(hints.note(0, &bytes[3..6], 8));
        assert_eq!(hints.get(&bytes[..3]), Some(7));
        assert_eq!(
            hints.get(&bytes[..3]),
            Some(7),
            "a second look costs no hash"
        );
        assert_eq!(hints.get(&bytes[..4]), None, "same address, other length");
        assert_eq!(hints.get(&bytes[3..6]), Some(8));
        assert_eq!(hints.get(&bytes[6..9]), None, "same bytes, other place");
        hints.seek(0);
        assert_eq!(hints.get(&bytes[..3]), Some(7));
        hints.clear();
        assert_eq!(hints.get(&bytes[..3]), None);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let bytes = [0u8; BATCH_MAX + 1];
        let mut hints = Hints::new();
        for at in 0..BATCH_MAX {
            assert!(hints.note(0, &bytes[at..=at], at as u64));
        }
        assert!(!hints.note(0, &bytes[BATCH_MAX..], 0));
    }
}
