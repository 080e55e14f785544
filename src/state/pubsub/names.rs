//! Names of one kind with their subscribers, and the other side: the names of one client.
//!
//! A name is one allocation with its few subscribers behind it; only where there are many they have a
//! set of their own. A client keeps 64-bit hashes instead of names: with the client they lead back to
//! the name.
use crate::base::hash::HashKey;
use crate::ds::pair::Pair;
use crate::ds::table::Table;
use crate::state::client::ClientId;
use slab::Slab;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a subscriber: slot and low half of the serial number.
const ENTRY: usize = 8;
/// So many subscribers stand behind their name; more than that in a set. Copying them for each one
/// that comes or goes takes no time.
const INLINE_MAX: usize = 32;
/// Bytes of the number of a set, in the place of subscribers.
const SET_NUMBER: usize = 4;

fn packed(who: ClientId) -> u64 {
    u64::from(who.slot) << 32 | u64::from(who.serial as u32)
}

/// Takes what is a hash already, or next to one, as its own hash.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        // Slots and serial numbers are small: spread over all bits.
        self.0 = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Set = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The hashes of what is to be unsubscribed.
pub(super) type IntoHashes = std::collections::hash_set::IntoIter<u64>;

/// The hashes of a client's names of one kind.
#[derive(Default)]
pub(super) struct Hashes(Set);

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

/// See the head of this file.
pub(super) struct Names {
    table: Table<Pair, HashKey>,
    sets: Slab<Set>,
}

/// The subscribers of a name.
#[derive(Clone, Copy)]
pub(super) enum Subscribers<'a> {
    Few(&'a [u8]),
    Many(&'a Set),
}

impl Subscribers<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Subscribers::Few(bytes) => bytes.len() / ENTRY,
            Subscribers::Many(set) => set.len(),
        }
    }

    fn has(&self, who: ClientId) -> bool {
        match self {
            Subscribers::Few(bytes) => entries(bytes).any(|entry| entry == packed(who)),
            Subscribers::Many(set) => set.contains(&packed(who)),
        }
    }

    /// Calls `f` with slot and low half of the serial number of each.
    pub(super) fn each(&self, mut f: impl FnMut(usize, u32)) {
        let mut one = |entry: u64| f((entry >> 32) as usize, entry as u32);
        match self {
            Subscribers::Few(bytes) => entries(bytes).for_each(one),
            Subscribers::Many(set) => set.iter().for_each(|entry| one(*entry)),
        }
    }
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    entries.iter().map(|entry| u64::from_le_bytes(*entry))
}

/// The number of a set, where a name has one.
fn set_number(value: &[u8]) -> Option<usize> {
    let number: &[u8; SET_NUMBER] = value.try_into().ok()?;
    Some(u32::from_le_bytes(*number) as usize)
}

impl Names {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            table: Table::new(key),
            sets: Slab::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        self.table.hash(name)
    }

    fn subscribers<'a>(&'a self, value: &'a [u8]) -> Subscribers<'a> {
        match set_number(value).and_then(|number| self.sets.get(number)) {
            Some(set) => Subscribers::Many(set),
            None => Subscribers::Few(value),
        }
    }

    /// The subscribers of a name, if it has any.
    pub(super) fn get(&self, name: &[u8]) -> Option<Subscribers<'_>> {
        if self.table.is_empty() {
            return None;
        }
        let slot = self.table.find(self.table.hash(name), name)?;
        Some(self.subscribers(self.table.get(slot).value()))
    }

    /// Is a client subscribed to a name?
    pub(super) fn has(&self, name: &[u8], who: ClientId) -> bool {
        self.get(name).is_some_and(|clients| clients.has(who))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Subscribers<'_>)> {
        self.table
            .iter()
            .map(|pair| (pair.key(), self.subscribers(pair.value())))
    }

    /// The name under a hash that a client subscribed to.
    pub(super) fn name_of(&self, hash: u64, who: ClientId) -> Option<&[u8]> {
        let slot = self.table.find_where(hash, |pair| {
            self.subscribers(pair.value()).has(who) && self.table.hash(pair.key()) == hash
        })?;
        Some(self.table.get(slot).key())
    }

    /// Adds a subscriber: the name's hash, whether it is new to the name, and whether it is the first.
    pub(super) fn add(&mut self, name: &[u8], who: ClientId) -> (u64, bool, bool) {
        let hash = self.table.hash(name);
        let entry = packed(who).to_le_bytes();
        let Some(slot) = self.table.find(hash, name) else {
            self.table.insert_new(hash, Pair::new(name, &entry, None));
            return (hash, true, true);
        };
        let value = self.table.get(slot).value();
        if let Some(set) = set_number(value).and_then(|number| self.sets.get_mut(number)) {
            return (hash, set.insert(packed(who)), false);
        }
        if Subscribers::Few(value).has(who) {
            return (hash, false, false);
        }
        let value = if value.len() < INLINE_MAX * ENTRY {
            [value, &entry].concat()
        } else {
            let set = entries(value).chain([packed(who)]).collect();
            let number = self.sets.insert(set) as u32;
            number.to_le_bytes().to_vec()
        };
        self.table.replace(slot, Pair::new(name, &value, None));
        (hash, true, false)
    }

    /// Takes a subscriber out; true when it was the last of its name.
    pub(super) fn remove(&mut self, name: &[u8], who: ClientId) -> bool {
        let hash = self.table.hash(name);
        let Some(slot) = self.table.find(hash, name) else {
            return false;
        };
        let value = self.table.get(slot).value();
        let number = set_number(value).filter(|number| self.sets.contains(*number));
        let left: Vec<u64> = match number {
            None => entries(value).filter(|e| *e != packed(who)).collect(),
            Some(number) => {
                let set = &mut self.sets[number];
                set.remove(&packed(who));
                if set.len() > INLINE_MAX / 2 {
                    return false;
                }
                self.sets.remove(number).into_iter().collect()
            }
        };
        if left.is_empty() {
            drop(self.table.take(slot));
            return true;
        }
        let bytes: Vec<u8> = left.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        self.table.replace(slot, Pair::new(name, &bytes, None));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_as_a_map_of_sets() {
        let mut rng = Rng::from_seed(3);
        let mut names = Names::new(HashKey::random(&mut rng));
        let mut model: BTreeMap<String, HashSet<u32>> = BTreeMap::new();
        let rounds = if cfg!(miri) { 300 } else { 20_000 };
        for round in 0..rounds {
            // Few names for many clients, so that they come and go past the bound.
            let name = format!("name:{}", rng.below(5));
            let slot = rng.below(80) as u32;
            let who = ClientId {
                slot,
                serial: u64::from(slot) + 1,
            };
            // By and by more come than go, then more go.
            let comes = rng.below(4) < if round % 2000 < 1000 { 3 } else { 1 };
            if comes {
                let set = model.entry(name.clone()).or_default();
                let first = set.is_empty();
                let (hash, new, was_first) = names.add(name.as_bytes(), who);
                assert_eq!((new, was_first), (set.insert(slot), first));
                assert_eq!(names.name_of(hash, who), Some(name.as_bytes()));
            } else {
                let set = model.entry(name.clone()).or_default();
                let last = set.remove(&slot) && set.is_empty();
                assert_eq!(names.remove(name.as_bytes(), who), last);
            }
            model.retain(|_, set| !set.is_empty());
            let expected = model.get(&name).map_or(0, HashSet::len);
            let found = names.get(name.as_bytes()).map_or(0, |s| s.len());
            assert_eq!((found, names.len()), (expected, model.len()));
        }
        for (name, subscribers) in names.iter() {
            let mut slots = HashSet::new();
            subscribers.each(|slot, _| _ = slots.insert(slot as u32));
            let name = String::from_utf8_lossy(name).into_owned();
            assert_eq!(model.get(&name), Some(&slots));
        }
        assert!(names.sets.len() <= 5);
    }
}
