//! The set: members without order.
//!
//! Small sets of integers are an intset, other small ones a listpack, byte for byte Redis's; the
//! keyspace keeps both inside the entry where it can. A set that outgrows the limits becomes a
//! table with one allocation for each member, and stays one: only what rewrites the whole set
//! (STORE, SPOP of most) may choose anew.
//!
//! This file knows encodings and conversions, `members` the table, `algebra` how sets are
//! intersected, joined and subtracted. What commands reply is the command's affair, and which
//! limits are in force is the configuration's: they come in as [`Limits`].

pub mod algebra;
mod members;
mod pop;
mod saved;

pub use members::{Member, Members};
pub use pop::Popped;

use super::saved::Loading;
use super::{Collection, Fetch, Kind, PackTag, Part, TableStats};
use crate::base::hash::HashKey;
use crate::base::num;
use crate::base::rng::Rng;
use crate::codec::{Commands, Fault, Sink, Source};
use crate::ds::intset::{self, IntSet};
use crate::ds::listpack::{self, Pack, Val};
use crate::ds::pair::Pair;
use crate::ds::table::IterPrefetched;

/// When a set is too large for a packed encoding, and with what a table hashes its members.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// set-max-intset-entries: of more integers a table is made.
    pub ints: usize,
    /// set-max-listpack-entries: more members make a listpack a table.
    pub entries: usize,
    /// set-max-listpack-value: a longer member makes it a table.
    pub value: usize,
    /// The key of the tables' hash function.
    pub hash_key: HashKey,
}

impl Limits {
    fn allow_ints(&self, count: usize) -> bool {
        count <= self.ints.min(intset::LEN_MAX)
    }

    /// Whether a listpack may have this number of members, of this many bytes with their heads.
    fn allow_pack(&self, count: usize, bytes: usize) -> bool {
        count <= self.entries && bytes <= listpack::BYTES_MAX
    }
}

/// The tag of packed bytes that are a listpack.
const PACK: PackTag = 0;
/// The tag of packed bytes that are an intset.
const INTS: PackTag = 1;

/// A set.
#[derive(Clone)]
pub enum Set {
    /// An intset; no bytes at all stand for an empty set.
    Ints(Vec<u8>),
    /// A listpack; no bytes at all stand for an empty set.
    Pack(Vec<u8>),
    /// One allocation for each member.
    Table(Box<Members>),
}

/// Reads a set.
#[derive(Clone, Copy)]
pub enum SetRef<'a> {
    /// An intset, in the entry or boxed.
    Ints(IntSet<'a>),
    /// A listpack, in the entry or boxed.
    Pack(Pack<'a>),
    /// A large one.
    Table(&'a Members),
}

/// The integer that a member is kept as in an intset.
#[inline]
fn as_int(member: &[u8]) -> Option<i64> {
    match member.first() {
        Some(b'0'..=b'9' | b'-') => num::parse_i64(member),
        _ => None,
    }
}

/// A member as a packed encoding keeps it.
fn canonical(val: Val<'_>) -> Val<'_> {
    match val {
        Val::Str(text) => Val::of(text),
        int => int,
    }
}

impl Set {
    /// Adds a member; false if it is there.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &Limits) -> bool {
        match self {
            Set::Table(members) => members.add(member),
            Set::Ints(_) => self.add_to_ints(member, limits),
            Set::Pack(_) => self.add_to_pack(member, limits),
        }
    }

    fn add_to_ints(&mut self, member: &[u8], limits: &Limits) -> bool {
        let Set::Ints(set) = self else { return false };
        let count = IntSet::new(set).len();
        if let Some(int) = as_int(member)
            && (count > 0 || limits.ints > 0)
        {
            if !intset::insert(set, int) {
                return false;
            }
            if !limits.allow_ints(count + 1) {
                self.make_table(limits.hash_key, 0);
            }
            return true;
        }
        // Not a set of integers any more.
        let ints = IntSet::new(set);
        let ends = [ints.get(0), ints.get(count.wrapping_sub(1))];
        let longest = ends
            .into_iter()
            .flatten()
            .map(num::len_i64)
            .max()
            .unwrap_or(0);
        let bytes = count * (longest + listpack::OVERHEAD_MAX) + member.len();
        let short = longest.max(member.len()) <= limits.value;
        if short && limits.allow_pack(count + 1, bytes) {
            self.make_pack();
            return self.add_to_pack(member, limits);
        }
        self.make_table(limits.hash_key, 0).add(member)
    }

    fn add_to_pack(&mut self, member: &[u8], limits: &Limits) -> bool {
        let Set::Pack(pack) = self else { return false };
        let view = Pack::new(pack);
        if view.find(listpack::HEADER, member, 0).is_some() {
            return false;
        }
        let bytes = pack.len() + member.len() + listpack::OVERHEAD_MAX;
        if member.len() <= limits.value && limits.allow_pack(view.len() + 1, bytes) {
            listpack::push_back(pack, member);
            return true;
        }
        self.make_table(limits.hash_key, 0).add(member)
    }

    /// Says that up to `count` new members, the first of them `first`, are about to be added: the
    /// encoding that they are sure to lead to is taken at once.
    pub fn expect(&mut self, first: &[u8], count: usize, limits: &Limits) {
        let new = self.is_empty();
        match self {
            Set::Ints(_) if new && !(as_int(first).is_some() && limits.allow_ints(count)) => {
                if count <= limits.entries {
                    self.make_pack();
                } else {
                    self.make_table(limits.hash_key, count);
                }
            }
            Set::Ints(_) if !limits.allow_ints(count) => {
                self.make_table(limits.hash_key, count);
            }
            Set::Pack(_) if count > limits.entries => {
                self.make_table(limits.hash_key, count);
            }
            _ => {}
        }
    }

    /// Adds all these members; returns how many are new.
    pub fn add_all<'m>(
        &mut self,
        members: impl ExactSizeIterator<Item = &'m [u8]>,
        limits: &Limits,
    ) -> usize {
        let (mut members, mut added) = (members, 0);
        loop {
            if let Set::Table(table) = self {
                return added + table.add_all(members);
            }
            match members.next() {
                Some(member) => added += usize::from(self.add(member, limits)),
                None => return added,
            }
        }
    }

    /// Removes a member; true if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Ints(set) => as_int(member).is_some_and(|int| intset::remove(set, int)),
            Set::Pack(pack) => match Pack::new(pack).find(listpack::HEADER, member, 0) {
                Some(at) => {
                    listpack::delete(pack, at);
                    true
                }
                None => false,
            },
            Set::Table(members) => members.remove(member),
        }
    }

    /// A set of these members, which are all different, in the smallest encoding.
    pub fn of_distinct(members: &[Member<'_>], limits: &Limits) -> Set {
        if limits.allow_ints(members.len())
            && let Some(mut ints) = all_ints(members)
        {
            ints.sort_unstable();
            let mut set = Vec::new();
            intset::write(&mut set, &ints);
            return Set::Ints(set);
        }
        let lens = || members.iter().map(|member| member.val.len());
        if members.len() <= limits.entries && lens().all(|len| len <= limits.value) {
            let bytes = lens().map(|len| len + listpack::OVERHEAD_MAX).sum();
            if limits.allow_pack(members.len(), bytes) {
                let mut pack = Vec::with_capacity(bytes);
                for member in members {
                    listpack::push_back_val(&mut pack, canonical(member.val));
                }
                pack.shrink_to_fit();
                return Set::Pack(pack);
            }
        }
        Set::Table(Box::new(Members::of_distinct(members, limits.hash_key)))
    }

    /// A listpack out of an intset.
    fn make_pack(&mut self) {
        if let Set::Ints(set) = self {
            if set.is_empty() {
                *self = Set::Pack(std::mem::take(set));
                return;
            }
            let mut pack = Vec::with_capacity(set.len() + set.len() / 2);
            for int in IntSet::new(set).iter() {
                listpack::push_back_int(&mut pack, int);
            }
            *self = Set::Pack(pack);
        }
    }

    /// The table, into which a packed set is turned; it is made large enough for `more` members.
    fn make_table(&mut self, hash_key: HashKey, more: usize) -> &mut Members {
        if !matches!(self, Set::Table(_)) {
            let mut members = Box::new(Members::new(hash_key));
            members.reserve(self.view().len().saturating_add(more));
            let mut room = [0; 20];
            for val in self.view().iter() {
                members.add(val.text(&mut room));
            }
            *self = Set::Table(members);
        }
        match self {
            Set::Table(members) => members,
            _ => unreachable!("made a table above"),
        }
    }
}

/// The integers of these members, if all are.
fn all_ints(members: &[Member<'_>]) -> Option<Vec<i64>> {
    let mut ints = Vec::new();
    for member in members {
        match canonical(member.val) {
            Val::Int(int) => ints.push(int),
            Val::Str(_) => return None,
        }
    }
    Some(ints)
}

impl<'a> SetRef<'a> {
    /// How many members.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            SetRef::Ints(ints) => ints.len(),
            SetRef::Pack(pack) => pack.len(),
            SetRef::Table(members) => members.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(self) -> bool {
        match self {
            SetRef::Ints(ints) => ints.is_empty(),
            SetRef::Pack(pack) => pack.is_empty(),
            SetRef::Table(members) => members.len() == 0,
        }
    }

    /// Whether the set has this member.
    #[inline]
    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            SetRef::Ints(ints) => as_int(member).is_some_and(|int| ints.contains(int)),
            SetRef::Pack(pack) => pack.find(listpack::HEADER, member, 0).is_some(),
            SetRef::Table(members) => members.contains(member),
        }
    }

    /// All members.
    pub fn iter(self) -> Iter<'a> {
        match self {
            SetRef::Ints(ints) => Iter::Ints(ints.iter()),
            SetRef::Pack(pack) => Iter::Pack(pack.iter()),
            SetRef::Table(members) => Iter::Table(members.iter()),
        }
    }

    /// One step of a scan from `cursor` on; the next cursor is 0 at the end. A packed set is shown
    /// whole. Of a table, whatever is in it during the whole scan is shown at least once.
    pub fn scan(self, cursor: u64, mut show: impl FnMut(Val<'a>)) -> u64 {
        match self {
            SetRef::Table(members) => members.scan(cursor, |text| show(Val::Str(text))),
            _ => {
                self.iter().for_each(show);
                0
            }
        }
    }

    /// A member by chance, each with the same probability.
    pub fn random(self, rng: &mut Rng) -> Option<Val<'a>> {
        match self {
            SetRef::Ints(ints) => ints
                .get(rng.below(ints.len() as u64) as usize)
                .map(Val::Int),
            SetRef::Pack(pack) => pack.get(rng.below(pack.len() as u64).cast_signed()),
            SetRef::Table(members) => members.random(rng).map(Val::Str),
        }
    }
}

/// All members of a set.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one walk")]
pub enum Iter<'a> {
    /// Of an intset.
    Ints(intset::Iter<'a>),
    /// Of a listpack.
    Pack(listpack::Iter<'a>),
    /// Of a large one.
    Table(IterPrefetched<'a, Pair>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Val<'a>;

    #[inline]
    fn next(&mut self) -> Option<Val<'a>> {
        match self {
            Iter::Ints(ints) => ints.next().map(Val::Int),
            Iter::Pack(vals) => vals.next(),
            Iter::Table(items) => items.next().map(|item| Val::Str(item.key())),
        }
    }
}

impl Collection for Set {
    const KIND: Kind = Kind::Set;
    type Ref<'a> = SetRef<'a>;

    fn new_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Set::Ints(buffer)
    }

    fn from_pack(tag: PackTag, pack: Vec<u8>) -> Self {
        match tag {
            INTS => Set::Ints(pack),
            _ => Set::Pack(pack),
        }
    }

    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        match self {
            Set::Ints(set) => Some((INTS, set)),
            Set::Pack(pack) => Some((PACK, pack)),
            Set::Table(_) => None,
        }
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        match self {
            Set::Ints(set) => Ok((INTS, set)),
            Set::Pack(pack) => Ok((PACK, pack)),
            Set::Table(_) => Err(self),
        }
    }

    fn view(&self) -> SetRef<'_> {
        match self {
            Set::Ints(set) => SetRef::Ints(IntSet::new(set)),
            Set::Pack(pack) => SetRef::Pack(Pack::new(pack)),
            Set::Table(members) => SetRef::Table(members),
        }
    }

    fn view_pack(tag: PackTag, pack: &[u8]) -> SetRef<'_> {
        match tag {
            INTS => SetRef::Ints(IntSet::new(pack)),
            _ => SetRef::Pack(Pack::new(pack)),
        }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Set::Ints(bytes) | Set::Pack(bytes) => bytes.capacity(),
            Set::Table(members) => members.heap_bytes(),
        }
    }

    fn free_effort(&self) -> usize {
        match self {
            Set::Ints(_) | Set::Pack(_) => 1,
            Set::Table(members) => members.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match self.as_pack() {
            Some((tag, _)) => Self::pack_encoding(tag),
            None => "hashtable",
        }
    }

    fn pack_encoding(tag: PackTag) -> &'static str {
        match tag {
            INTS => "intset",
            _ => "listpack",
        }
    }

    fn parts(view: Self::Ref<'_>, show: &mut dyn FnMut(Part<'_>)) -> bool {
        let mut room = [0; 20];
        for val in view.iter() {
            show(Part::Member(val.text(&mut room)));
        }
        true
    }

    #[inline]
    fn prefetch(view: Self::Ref<'_>, hash: u64, step: Fetch) -> bool {
        match view {
            SetRef::Table(members) => members.fetch(hash, step),
            _ => false,
        }
    }

    fn table_stats(view: Self::Ref<'_>) -> Option<TableStats> {
        match view {
            SetRef::Table(members) => Some(members.stats()),
            _ => None,
        }
    }

    const RDB_TYPES: &'static [u8] = saved::RDB_TYPES;

    fn rdb_type(view: Self::Ref<'_>) -> u8 {
        saved::rdb_type(view)
    }

    fn save(view: Self::Ref<'_>, sink: &mut Sink<'_>) {
        saved::save(view, sink);
    }

    fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Self, Fault> {
        saved::load(rdb_type, source, how)
    }

    fn rewrite(view: Self::Ref<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
        saved::rewrite(view, key, out);
    }
}

#[cfg(test)]
mod tests;
