//! What one client subscribed to: 64-bit hashes in place of names. With the client they lead back to the
//! name.
pub(super) use crate::state::names::{Clients as Subscribers, Names};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Takes what is a hash already as its own hash.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hashes of what is to be unsubscribed.
pub(super) type IntoHashes = std::collections::hash_set::IntoIter<u64>;

/// The hashes of a client's names of one kind.
#[derive(Default)]
pub(super) struct Hashes(HashSet<u64, BuildHasherDefault<AsIs>>);

impl Hashes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, hash: u64) {
        self.0.insert(hash);
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.0.remove(&hash);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// Hands them out one by one: a pause between two costs nothing.
    pub(super) fn into_iter(self) -> IntoHashes {
        self.0.into_iter()
    }
}
