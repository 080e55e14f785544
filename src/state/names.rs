//! Names, each with the clients it concerns: channels and their subscribers, keys and their readers.
//!
//! A name is one allocation with its few clients behind it; only where there are many they have an
//! ordered set of their own, which grows without a pause and can be gone through in parts. The table of
//! names grows by one bucket at a time, as the key space does.
use super::client::ClientId;
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::pair::Pair;
use crate::ds::table::{Slot, Table};
use slab::Slab;
use std::collections::BTreeSet;

/// Bytes of a client: its slot and the low half of its serial number. Another client under the same eight
/// bytes would have to be four billion connections younger.
const ENTRY: usize = 8;
/// So many clients stand behind their name; more than that in a set. Copying them for each one that
/// comes or goes takes no time.
const INLINE_MAX: usize = 32;
/// Bytes of the number of a set, in the place of clients.
const SET_NUMBER: usize = 4;
/// About what a client takes in a set.
const IN_SET: usize = 12;

type Set = BTreeSet<u64>;

fn packed(who: ClientId) -> u64 {
    u64::from(who.slot) << 32 | u64::from(who.serial as u32)
}

fn unpacked(entry: u64) -> (usize, u32) {
    ((entry >> 32) as usize, entry as u32)
}

fn entries(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    entries.iter().map(|entry| u64::from_le_bytes(*entry))
}

fn bytes_of(entries: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let bytes = entries.into_iter().flat_map(u64::to_le_bytes);
    bytes.collect()
}

/// The number of a set, where a name has one.
fn set_number(value: &[u8]) -> Option<usize> {
    let number: &[u8; SET_NUMBER] = value.try_into().ok()?;
    Some(u32::from_le_bytes(*number) as usize)
}

/// See the head of this file. A name without clients is not kept.
pub struct Names {
    table: Table<Pair, HashKey>,
    sets: Slab<Set>,
    /// Pairs of a name and a client.
    items: usize,
    /// Bytes of the names, and of the clients behind them.
    bytes: usize,
}

/// The clients of a name.
#[derive(Clone, Copy)]
pub enum Clients<'a> {
    Few(&'a [u8]),
    Many(&'a Set),
}

impl Clients<'_> {
    pub fn len(&self) -> usize {
        match self {
            Clients::Few(bytes) => bytes.len() / ENTRY,
            Clients::Many(set) => set.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn has(&self, who: ClientId) -> bool {
        match self {
            Clients::Few(bytes) => entries(bytes).any(|entry| entry == packed(who)),
            Clients::Many(set) => set.contains(&packed(who)),
        }
    }

    /// Calls `f` with slot and low half of the serial number of each.
    pub fn each(&self, mut f: impl FnMut(usize, u32)) {
        let mut one = |entry: u64| {
            let (slot, serial) = unpacked(entry);
            f(slot, serial);
        };
        match self {
            Clients::Few(bytes) => entries(bytes).for_each(one),
            Clients::Many(set) => set.iter().for_each(|entry| one(*entry)),
        }
    }
}

/// A name that was taken out, with its clients.
pub struct Gone {
    pair: Pair,
    set: Set,
}

impl Gone {
    pub fn name(&self) -> &[u8] {
        self.pair.view().key()
    }

    /// Slot and low half of the serial number of each.
    pub fn clients(&self) -> impl Iterator<Item = (usize, u32)> {
        let few = entries(self.pair.view().value());
        few.chain(self.set.iter().copied()).map(unpacked)
    }

    /// Is freeing it more than a moment's work?
    pub fn is_large(&self) -> bool {
        self.set.len() > 1000
    }
}

/// How far a search for clients that have gone has come.
#[derive(Default)]
pub struct Sweep {
    cursor: u64,
    scanned: bool,
    /// Names with many clients, and from which of those on they are still to be looked at.
    large: Vec<(Box<[u8]>, u64)>,
}

/// What a step of such a search did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Looks, of which a name is one, and eight clients of a name are another.
    pub looks: usize,
    /// Clients that were struck out.
    pub struck: usize,
}

impl Sweep {
    /// Was everything looked at?
    pub fn is_done(&self) -> bool {
        self.scanned && self.large.is_empty()
    }
}

impl Names {
    pub fn new(key: HashKey) -> Self {
        Self {
            table: Table::new(key),
            sets: Slab::new(),
            items: 0,
            bytes: 0,
        }
    }

    /// Names.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Pairs of a name and a client.
    pub fn items(&self) -> usize {
        self.items
    }

    /// About the bytes of it all.
    pub fn bytes(&self) -> usize {
        let many: usize = self.sets.iter().map(|(_, set)| set.len()).sum();
        self.table.mem_bytes() + self.bytes + many * IN_SET
    }

    pub fn hash(&self, name: &[u8]) -> u64 {
        self.table.hash(name)
    }

    fn clients<'a>(&'a self, value: &'a [u8]) -> Clients<'a> {
        match set_number(value).and_then(|number| self.sets.get(number)) {
            Some(set) => Clients::Many(set),
            None => Clients::Few(value),
        }
    }

    /// The clients of a name, if it has any.
    pub fn get(&self, name: &[u8]) -> Option<Clients<'_>> {
        if self.table.is_empty() {
            return None;
        }
        let slot = self.table.find(self.table.hash(name), name)?;
        Some(self.clients(self.table.get(slot).value()))
    }

    /// Is this one of a name's clients?
    pub fn has(&self, name: &[u8], who: ClientId) -> bool {
        self.get(name).is_some_and(|clients| clients.has(who))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Clients<'_>)> {
        self.table
            .iter()
            .map(|pair| (pair.key(), self.clients(pair.value())))
    }

    /// The name under a hash that has this client.
    pub fn name_of(&self, hash: u64, who: ClientId) -> Option<&[u8]> {
        let slot = self.table.find_where(hash, |pair| {
            self.clients(pair.value()).has(who) && self.table.hash(pair.key()) == hash
        })?;
        Some(self.table.get(slot).key())
    }

    /// Puts something else behind a name.
    fn replace(&mut self, slot: Slot, name: &[u8], value: &[u8]) {
        let new = Pair::new(name, value, None);
        self.bytes += new.view().mem_bytes();
        self.bytes -= self.table.get(slot).mem_bytes();
        self.table.replace(slot, new);
    }

    /// Adds a client: the name's hash, whether it is new to the name, and whether it is the first.
    pub fn add(&mut self, name: &[u8], who: ClientId) -> (u64, bool, bool) {
        let hash = self.table.hash(name);
        let entry = packed(who).to_le_bytes();
        let Some(slot) = self.table.find(hash, name) else {
            let new = Pair::new(name, &entry, None);
            self.bytes += new.view().mem_bytes();
            self.items += 1;
            self.table.insert_new(hash, new);
            return (hash, true, true);
        };
        let value = self.table.get(slot).value();
        if let Some(set) = set_number(value).and_then(|number| self.sets.get_mut(number)) {
            let new = set.insert(packed(who));
            self.items += usize::from(new);
            return (hash, new, false);
        }
        if Clients::Few(value).has(who) {
            return (hash, false, false);
        }
        let value = if value.len() < INLINE_MAX * ENTRY {
            [value, &entry].concat()
        } else {
            let set = entries(value).chain([packed(who)]).collect();
            let number = self.sets.insert(set) as u32;
            number.to_le_bytes().to_vec()
        };
        self.replace(slot, name, &value);
        self.items += 1;
        (hash, true, false)
    }

    /// Takes a client out; true when it was the last of its name.
    pub fn remove(&mut self, name: &[u8], who: ClientId) -> bool {
        let hash = self.table.hash(name);
        let Some(slot) = self.table.find(hash, name) else {
            return false;
        };
        let value = self.table.get(slot).value();
        match set_number(value).and_then(|number| self.sets.get_mut(number)) {
            Some(set) => {
                self.items -= usize::from(set.remove(&packed(who)));
                self.settle_set(slot, name)
            }
            None => {
                let others = entries(value).filter(|entry| *entry != packed(who));
                let left = bytes_of(others);
                self.keep(slot, name, &left)
            }
        }
    }

    /// Leaves these clients of those behind a name; true when there are none.
    fn keep(&mut self, slot: Slot, name: &[u8], left: &[u8]) -> bool {
        if left.is_empty() {
            self.take_slot(slot);
            return true;
        }
        let before = self.table.get(slot).value().len();
        if left.len() < before {
            self.items -= (before - left.len()) / ENTRY;
            self.replace(slot, name, left);
        }
        false
    }

    /// Clients have left the set of a name: few that are left stand behind it again. True when there are
    /// none.
    fn settle_set(&mut self, slot: Slot, name: &[u8]) -> bool {
        let number = set_number(self.table.get(slot).value());
        let Some(number) = number.filter(|number| self.sets.contains(*number)) else {
            return false;
        };
        if self.sets[number].len() > INLINE_MAX / 2 {
            return false;
        }
        if self.sets[number].is_empty() {
            self.take_slot(slot);
            return true;
        }
        let left = bytes_of(self.sets.remove(number));
        self.replace(slot, name, &left);
        false
    }

    fn take_slot(&mut self, slot: Slot) -> Gone {
        let pair = self.table.take(slot);
        self.bytes -= pair.view().mem_bytes();
        let value = pair.view().value();
        let set = match set_number(value).filter(|number| self.sets.contains(*number)) {
            Some(number) => self.sets.remove(number),
            None => Set::new(),
        };
        self.items -= value.len() / ENTRY + set.len();
        Gone { pair, set }
    }

    /// Takes a name out.
    pub fn take(&mut self, name: &[u8]) -> Option<Gone> {
        let slot = self.table.find(self.table.hash(name), name)?;
        Some(self.take_slot(slot))
    }

    /// Takes any name out.
    pub fn take_random(&mut self, rng: &mut Rng) -> Option<Gone> {
        let slot = self.table.random(rng)?;
        Some(self.take_slot(slot))
    }

    /// Goes on with a search for clients that do not live, for about `max` looks, and strikes them out.
    pub fn sweep(
        &mut self,
        at: &mut Sweep,
        max: usize,
        mut lives: impl FnMut((usize, u32)) -> bool,
    ) -> Swept {
        let mut swept = Swept::default();
        while swept.looks < max {
            if let Some((name, from)) = at.large.pop() {
                let next = self.sweep_set(&name, from, (max, &mut swept), &mut lives);
                at.large.extend(next.map(|from| (name, from)));
            } else if at.scanned {
                break;
            } else {
                self.sweep_bucket(at, &mut swept, &mut lives);
            }
        }
        swept
    }

    fn sweep_bucket(
        &mut self,
        at: &mut Sweep,
        swept: &mut Swept,
        mut lives: impl FnMut((usize, u32)) -> bool,
    ) {
        // An empty bucket is a look, too.
        swept.looks += 1;
        let mut stale: Vec<(Box<[u8]>, Vec<u8>)> = Vec::new();
        at.cursor = self.table.scan(at.cursor, |pair| {
            swept.looks += 1;
            let value = pair.value();
            if set_number(value).is_some() {
                at.large.push((pair.key().into(), 0));
                return;
            }
            swept.looks += value.len() / ENTRY / 8;
            let left = bytes_of(entries(value).filter(|entry| lives(unpacked(*entry))));
            if left.len() < value.len() {
                stale.push((pair.key().into(), left));
            }
        });
        at.scanned = at.cursor == 0;
        for (name, left) in stale {
            if let Some(slot) = self.table.find(self.table.hash(&name), &name) {
                let before = self.items;
                self.keep(slot, &name, &left);
                swept.struck += before - self.items;
            }
        }
    }

    /// Looks at clients of a name from one on, as long as there are looks left; from which one on to go
    /// on with it.
    fn sweep_set(
        &mut self,
        name: &[u8],
        from: u64,
        (max, swept): (usize, &mut Swept),
        mut lives: impl FnMut((usize, u32)) -> bool,
    ) -> Option<u64> {
        let slot = self.table.find(self.table.hash(name), name)?;
        let value = self.table.get(slot).value();
        let Some(set) = set_number(value).and_then(|number| self.sets.get_mut(number)) else {
            // Few are left meanwhile.
            let left = bytes_of(entries(value).filter(|entry| lives(unpacked(*entry))));
            let before = self.items;
            self.keep(slot, name, &left);
            swept.looks += 1 + INLINE_MAX / 8;
            swept.struck += before - self.items;
            return None;
        };
        let share = max.saturating_sub(swept.looks).max(1) * 8;
        let (mut dead, mut seen, mut next) = (Vec::new(), 0, None);
        for entry in set.range(from..) {
            if seen == share {
                next = Some(*entry);
                break;
            }
            seen += 1;
            if !lives(unpacked(*entry)) {
                dead.push(*entry);
            }
        }
        for entry in &dead {
            set.remove(entry);
        }
        self.items -= dead.len();
        swept.looks += 1 + seen / 8;
        swept.struck += dead.len();
        if next.is_none() {
            self.settle_set(slot, name);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashSet};

    fn client(slot: u32) -> ClientId {
        ClientId {
            slot,
            serial: u64::from(slot) + 1 + (1 << 40),
        }
    }

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
            let who = client(slot);
            // By and by more come than go, then more go.
            let comes = rng.below(4) < if round % 2000 < 1000 { 3 } else { 1 };
            let set = model.entry(name.clone()).or_default();
            if comes {
                let first = set.is_empty();
                let (hash, new, was_first) = names.add(name.as_bytes(), who);
                assert_eq!((new, was_first), (set.insert(slot), first));
                assert_eq!(names.name_of(hash, who), Some(name.as_bytes()));
            } else if rng.below(500) == 0 {
                let gone = names.take(name.as_bytes());
                assert_eq!(gone.map_or(0, |gone| gone.clients().count()), set.len());
                set.clear();
            } else {
                let last = set.remove(&slot) && set.is_empty();
                assert_eq!(names.remove(name.as_bytes(), who), last);
            }
            model.retain(|_, set| !set.is_empty());
            let expected = model.get(&name).map_or(0, HashSet::len);
            let found = names.get(name.as_bytes()).map_or(0, |s| s.len());
            assert_eq!((found, names.len()), (expected, model.len()));
            assert_eq!(names.items(), model.values().map(HashSet::len).sum());
        }
        for (name, clients) in names.iter() {
            let mut slots = HashSet::new();
            clients.each(|slot, _| _ = slots.insert(slot as u32));
            let name = String::from_utf8_lossy(name).into_owned();
            assert_eq!(model.get(&name), Some(&slots));
        }
        assert!(names.sets.len() <= 5);
        while names.take_random(&mut rng).is_some() {}
        assert_eq!((names.items, names.bytes, names.sets.len()), (0, 0, 0));
    }

    /// Sweeps to the end; how many steps it took.
    fn sweep(names: &mut Names, max: usize, lives: impl Fn(usize) -> bool) -> usize {
        let (mut at, mut steps) = (Sweep::default(), 0);
        while !at.is_done() {
            let swept = names.sweep(&mut at, max, |(slot, _)| lives(slot));
            assert!(swept.looks < max + 100, "{swept:?}");
            steps += 1;
        }
        steps
    }

    #[test]
    fn a_sweep_leaves_those_who_live() {
        let mut names = Names::new(HashKey::default());
        let keys = if cfg!(miri) { 50 } else { 5000 };
        for n in 0..keys {
            for reader in 0..4 {
                if reader == 0 || n % 3 != 0 {
                    names.add(n.to_string().as_bytes(), client(reader));
                }
            }
        }
        let steps = sweep(&mut names, 100, |slot| slot % 2 == 1);
        let left = (0..keys).filter(|n| n % 3 != 0).count();
        assert_eq!((names.len(), names.items()), (left, 2 * left));
        assert!(steps >= keys / 200, "in steps");
        let gone = names.take(b"1").expect("it has two");
        assert_eq!((gone.name(), gone.is_large()), (&b"1"[..], false));
        let clients: Vec<_> = gone.clients().collect();
        assert_eq!(clients, [(1, 2), (3, 4)]);
    }

    #[test]
    fn a_sweep_breaks_off_within_a_name() {
        let mut names = Names::new(HashKey::default());
        let count = if cfg!(miri) { 400 } else { 50_000 };
        for slot in 0..count {
            names.add(b"k", client(slot));
            names.add(b"l", client(slot));
        }
        assert!(names.bytes() > 8 * names.items());
        let steps = sweep(&mut names, 50, |slot| slot % 100 == 7);
        assert!(steps >= 2 * count as usize / 8 / 60, "{steps}");
        assert_eq!(names.items(), 2 * count as usize / 100);
        // Few are left, and stand behind their name again.
        sweep(&mut names, 50, |slot| slot == 7);
        assert_eq!((names.items(), names.sets.len()), (2, 0));
        sweep(&mut names, 50, |_| false);
        assert_eq!((names.len(), names.items(), names.bytes), (0, 0, 0));
    }

    #[test]
    fn clients_that_come_and_go_do_not_disturb_a_sweep() {
        let mut names = Names::new(HashKey::default());
        for slot in 0..1000 {
            names.add(b"k", client(slot));
        }
        let mut at = Sweep::default();
        names.sweep(&mut at, 10, |(slot, _)| slot >= 990);
        for slot in 20..1000 {
            names.remove(b"k", client(slot));
        }
        while !at.is_done() {
            names.sweep(&mut at, 10, |(slot, _)| slot >= 990);
        }
        assert_eq!((names.len(), names.items(), names.sets.len()), (0, 0, 0));
        names.add(b"k", client(990));
        assert_eq!(names.take(b"k").map(|gone| gone.clients().count()), Some(1));
    }
}
