//! The members of a large set: a table with one allocation for each.
//!
//! Where many members are looked up at once, their hashes come first and the memory they lead to is
//! asked for a group ahead, so that a large table costs overlapped cache misses, not one behind the
//! other.

use std::hash::{Hash, Hasher};

use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::listpack::Val;
use crate::ds::pair::Pair;
use crate::ds::table::{Fetch, Hasher64, IterPrefetched, Table, TableStats};

/// Members whose memory is asked for together.
pub(super) const GROUP: usize = 32;

/// A member with its hash, the same in every set of the server.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its text, or the integer that stands for it.
    pub val: Val<'a>,
    /// Of the text. 0 while it is not known; a hash that is 0 is just computed again.
    pub hash: u64,
}

impl<'a> Member<'a> {
    /// A member under the server's hash key.
    #[inline]
    pub fn new(val: Val<'a>, key: &HashKey) -> Member<'a> {
        let hash = match val {
            Val::Str(text) => key.hash64(text),
            Val::Int(_) => key.hash64(val.text(&mut [0; 20])),
        };
        Member { val, hash }
    }
}

impl<'a> Member<'a> {
    /// A member whose hash is not wanted yet.
    #[inline]
    pub fn unhashed(val: Val<'a>) -> Member<'a> {
        Member { val, hash: 0 }
    }
}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.val, other.val) {
            _ if self.hash != other.hash => false,
            (Val::Str(a), Val::Str(b)) => a == b,
            (Val::Int(a), Val::Int(b)) => a == b,
            (Val::Str(text), int) | (int, Val::Str(text)) => int.is(text),
        }
    }
}

impl Eq for Member<'_> {}

impl Hash for Member<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The members of a large set.
pub struct Members {
    table: Table<Pair, HashKey>,
    /// Sum of the members' allocations.
    item_bytes: usize,
}

impl Members {
    pub(super) fn new(hash_key: HashKey) -> Members {
        Members {
            table: Table::new(hash_key),
            item_bytes: 0,
        }
    }

    /// The members given, which are all different.
    pub(super) fn of_distinct(members: &[Member<'_>], hash_key: HashKey) -> Members {
        let mut made = Members::new(hash_key);
        made.table.reserve(members.len());
        let mut room = [0; 20];
        let mut hashes = [0; GROUP];
        for group in members.chunks(GROUP) {
            for (hash, member) in hashes.iter_mut().zip(group) {
                *hash = match member.hash {
                    0 => Member::new(member.val, &hash_key).hash,
                    known => known,
                };
                made.table.prefetch_bucket(*hash);
            }
            for (hash, member) in hashes.iter().zip(group) {
                made.insert_new(*hash, member.val.text(&mut room));
            }
        }
        made
    }

    pub(super) fn reserve(&mut self, count: usize) {
        self.table.reserve(count);
    }

    #[inline]
    pub(super) fn add(&mut self, member: &[u8]) -> bool {
        self.add_hashed(self.table.hash(member), member)
    }

    #[inline]
    fn add_hashed(&mut self, hash: u64, member: &[u8]) -> bool {
        if self.table.find(hash, member).is_some() {
            return false;
        }
        self.insert_new(hash, member);
        true
    }

    #[inline]
    fn insert_new(&mut self, hash: u64, member: &[u8]) {
        let pair = Pair::new(member, b"", None);
        self.item_bytes += pair.view().mem_bytes();
        self.table.insert_new(hash, pair);
    }

    /// Adds all these members; returns how many are new.
    pub(super) fn add_all<'m>(&mut self, members: impl Iterator<Item = &'m [u8]>) -> usize {
        let mut added = 0;
        self.in_groups(members, |own, hash, member| {
            added += usize::from(own.add_hashed(hash, member));
        });
        added
    }

    /// Removes all these members, of which each is there.
    pub(super) fn remove_all<'m>(&mut self, members: impl Iterator<Item = &'m [u8]>) {
        self.in_groups(members, |own, hash, member| {
            own.remove_hashed(hash, member);
        });
    }

    fn in_groups<'m>(
        &mut self,
        members: impl Iterator<Item = &'m [u8]>,
        mut each: impl FnMut(&mut Self, u64, &'m [u8]),
    ) {
        let mut members = members;
        let mut group: [(u64, &[u8]); GROUP] = [(0, &[]); GROUP];
        loop {
            let mut count = 0;
            for (place, member) in group.iter_mut().zip(&mut members) {
                *place = (self.table.hash(member), member);
                count += 1;
            }
            let group = &group[..count];
            if count > 1 {
                self.prefetch(group.iter().map(|(hash, _)| *hash));
            }
            for (hash, member) in group {
                each(self, *hash, member);
            }
            if count < GROUP {
                return;
            }
        }
    }

    /// Asks the memory for what these hashes lead to.
    #[inline]
    pub(super) fn prefetch(&self, hashes: impl Iterator<Item = u64> + Clone) {
        hashes
            .clone()
            .for_each(|hash| self.table.prefetch_bucket(hash));
        let mut chained = false;
        for hash in hashes.clone() {
            chained |= self.table.prefetch_item(hash);
        }
        if chained {
            hashes.for_each(|hash| self.table.prefetch_chain(hash));
        }
    }

    #[inline]
    pub(super) fn fetch(&self, hash: u64, step: Fetch) -> bool {
        self.table.prefetch(hash, step)
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> bool {
        self.remove_hashed(self.table.hash(member), member)
    }

    fn remove_hashed(&mut self, hash: u64, member: &[u8]) -> bool {
        match self.table.remove(hash, member) {
            Some(old) => {
                self.item_bytes -= old.view().mem_bytes();
                true
            }
            None => false,
        }
    }

    /// Takes a member out by chance and shows it.
    pub(super) fn pop(&mut self, rng: &mut Rng, show: impl FnOnce(&[u8])) -> bool {
        let Some(slot) = self.table.random(rng) else {
            return false;
        };
        let old = self.table.take(slot);
        self.item_bytes -= old.view().mem_bytes();
        show(old.view().key());
        true
    }

    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    #[inline]
    pub(super) fn contains(&self, member: &[u8]) -> bool {
        self.table.find(self.table.hash(member), member).is_some()
    }

    #[inline]
    pub(super) fn has(&self, member: &Member<'_>) -> bool {
        let mut room = [0; 20];
        let text = member.val.text(&mut room);
        self.table.find(member.hash, text).is_some()
    }

    pub(super) fn hash_key(&self) -> HashKey {
        self.table.hasher()
    }

    pub(super) fn iter(&self) -> IterPrefetched<'_, Pair> {
        self.table.iter_prefetched()
    }

    pub(super) fn random(&self, rng: &mut Rng) -> Option<&[u8]> {
        Some(self.table.get(self.table.random(rng)?).key())
    }

    pub(super) fn scan<'a>(&'a self, cursor: u64, mut show: impl FnMut(&'a [u8])) -> u64 {
        self.table.scan(cursor, |item| show(item.key()))
    }

    pub(super) fn stats(&self) -> TableStats {
        self.table.stats()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Members>() + self.table.mem_bytes() + self.item_bytes
    }

    #[cfg(test)]
    pub(super) fn item_bytes_are_counted(&self) -> bool {
        self.item_bytes == self.table.iter().map(|item| item.mem_bytes()).sum()
    }
}

impl Clone for Members {
    fn clone(&self) -> Members {
        let mut copy = Members::new(self.hash_key());
        copy.table.reserve(self.table.len());
        for item in self.table.iter_prefetched() {
            copy.insert_new(self.table.hash(item.key()), item.key());
        }
        copy
    }
}
