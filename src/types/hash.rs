//! The hash: fields with values.
//!
//! Small hashes are a listpack of fields and values in turns, byte for byte Redis's, which the
//! keyspace keeps inside the entry where it can. A hash that outgrows the limits becomes a table
//! with one allocation for each field, and stays one: as in Redis there is no way back.
//!
//! This file knows encodings and conversions. What commands reply is the command's affair, and
//! which limits are in force is the configuration's: they come in as [`Limits`].

use super::{Collection, Fetch, Kind, PackTag, Part, TableStats};
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::listpack::{self, Pack, Pairs, Val};
use crate::ds::pair::Pair;
use crate::ds::table::{IterPrefetched, Table};

/// When a hash is too large for a listpack, and with what a table hashes its fields.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// hash-max-listpack-entries: more fields make it a table.
    pub entries: usize,
    /// hash-max-listpack-value: a longer field or value makes it a table.
    pub value: usize,
    /// The key of the tables' hash function.
    pub hash_key: HashKey,
}

impl Limits {
    fn allow_text(&self, text: &[u8]) -> bool {
        text.len() <= self.value
    }
}

/// A hash.
#[derive(Clone)]
pub enum Hash {
    /// A listpack of fields and values in turns; no bytes at all stand for an empty one.
    Pack(Vec<u8>),
    /// One allocation for each field.
    Table(Box<Fields>),
}

/// The fields of a large hash.
pub struct Fields {
    table: Table<Pair, HashKey>,
    /// Sum of the fields' allocations.
    item_bytes: usize,
}

/// Reads a hash.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    /// Packed bytes, in the entry or boxed.
    Pack(Pack<'a>),
    /// A large one.
    Table(&'a Fields),
}

/// A field and its value.
pub type FieldValue<'a> = (Val<'a>, Val<'a>);

impl Hash {
    /// Sets a field; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Hash::Pack(pack) = self {
            let more = field.len() + value.len() + 2 * listpack::OVERHEAD_MAX;
            let fits = limits.allow_text(field) && limits.allow_text(value);
            if fits && pack.len() + more <= listpack::BYTES_MAX {
                let created = set_packed(pack, field, value);
                if Pack::new(pack).len() > limits.entries.saturating_mul(2) {
                    self.make_table(limits.hash_key, 0);
                }
                return created;
            }
        }
        self.make_table(limits.hash_key, 0).set(field, value)
    }

    /// Says that up to `count` new fields are about to be set: a hash that is sure to become a
    /// table by it becomes one at once.
    pub fn expect_fields(&mut self, count: usize, limits: &Limits) {
        if count > limits.entries {
            self.make_table(limits.hash_key, count);
        }
    }

    /// Removes a field; true if it was there.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        match self {
            Hash::Pack(pack) => match Pack::new(pack).find_field(field) {
                Some(at) => listpack::delete_run(pack, at, 2) > 0,
                None => false,
            },
            Hash::Table(fields) => fields.delete(field),
        }
    }

    /// The table, into which a listpack is turned; it is made large enough for `more` fields.
    fn make_table(&mut self, hash_key: HashKey, more: usize) -> &mut Fields {
        if let Hash::Pack(pack) = self {
            let pack = Pack::new(pack);
            let mut fields = Box::new(Fields::new(hash_key));
            fields.table.reserve(pack.len() / 2 + more);
            let (mut field_room, mut value_room) = ([0; 20], [0; 20]);
            for (field, value) in pack.pairs() {
                fields.set(field.text(&mut field_room), value.text(&mut value_room));
            }
            *self = Hash::Table(fields);
        }
        match self {
            Hash::Table(fields) => fields,
            Hash::Pack(_) => unreachable!("made a table above"),
        }
    }
}

/// Sets a field of a packed hash; true if it is new.
fn set_packed(pack: &mut Vec<u8>, field: &[u8], value: &[u8]) -> bool {
    let view = Pack::new(pack);
    match view.find_field(field).and_then(|at| view.next(at)) {
        Some(at) => {
            listpack::replace(pack, at, value);
            false
        }
        None => {
            listpack::push_back(pack, field);
            listpack::push_back(pack, value);
            true
        }
    }
}

impl Fields {
    fn new(hash_key: HashKey) -> Fields {
        Fields {
            table: Table::new(hash_key),
            item_bytes: 0,
        }
    }

    fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let hash = self.table.hash(field);
        let Some(slot) = self.table.find(hash, field) else {
            let pair = Pair::new(field, value, None);
            self.item_bytes += pair.view().mem_bytes();
            self.table.insert_new(hash, pair);
            return true;
        };
        if !self.table.get_mut(slot).set_in_place(value) {
            let pair = Pair::new(field, value, self.table.get(slot).expire_at());
            self.item_bytes += pair.view().mem_bytes();
            let old = self.table.replace(slot, pair);
            self.item_bytes -= old.view().mem_bytes();
        }
        false
    }

    fn delete(&mut self, field: &[u8]) -> bool {
        match self.table.remove(self.table.hash(field), field) {
            Some(old) => {
                self.item_bytes -= old.view().mem_bytes();
                true
            }
            None => false,
        }
    }

    fn get(&self, field: &[u8]) -> Option<&[u8]> {
        let slot = self.table.find(self.table.hash(field), field)?;
        Some(self.table.get(slot).value())
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Fields>() + self.table.mem_bytes() + self.item_bytes
    }
}

impl Clone for Fields {
    fn clone(&self) -> Fields {
        let mut copy = Fields::new(self.table.hasher());
        copy.table.reserve(self.table.len());
        for pair in self.table.iter_prefetched() {
            let hash = self.table.hash(pair.key());
            copy.table
                .insert_new(hash, Pair::new(pair.key(), pair.value(), pair.expire_at()));
        }
        copy.item_bytes = self.item_bytes;
        copy
    }
}

impl<'a> HashRef<'a> {
    /// How many fields.
    pub fn len(self) -> usize {
        match self {
            HashRef::Pack(pack) => pack.len() / 2,
            HashRef::Table(fields) => fields.table.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(self) -> bool {
        match self {
            HashRef::Pack(pack) => pack.is_empty(),
            HashRef::Table(fields) => fields.table.is_empty(),
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<Val<'a>> {
        match self {
            HashRef::Pack(pack) => pack.value_of(field),
            HashRef::Table(fields) => fields.get(field).map(Val::Str),
        }
    }

    /// Whether there is such a field.
    pub fn exists(self, field: &[u8]) -> bool {
        match self {
            HashRef::Pack(pack) => pack.find_field(field).is_some(),
            HashRef::Table(fields) => fields.get(field).is_some(),
        }
    }

    /// All fields with their values.
    pub fn iter(self) -> Iter<'a> {
        match self {
            HashRef::Pack(pack) => Iter::Pack(pack.pairs()),
            HashRef::Table(fields) => Iter::Table(fields.table.iter_prefetched()),
        }
    }

    /// One step of a scan from `cursor` on; the next cursor is 0 at the end. A packed hash is
    /// shown whole. Of a table, whatever is in it during the whole scan is shown at least once.
    pub fn scan(self, cursor: u64, mut show: impl FnMut(Val<'a>, Val<'a>)) -> u64 {
        match self {
            HashRef::Pack(pack) => {
                pack.pairs().for_each(|(field, value)| show(field, value));
                0
            }
            HashRef::Table(fields) => fields.table.scan(cursor, |pair| {
                show(Val::Str(pair.key()), Val::Str(pair.value()))
            }),
        }
    }

    /// A field by chance, each with the same probability.
    pub fn random(self, rng: &mut Rng) -> Option<FieldValue<'a>> {
        match self {
            HashRef::Pack(pack) => {
                let index = rng.below(self.len() as u64);
                let at = pack.seek(index.cast_signed() * 2)?;
                pack.val(at).zip(pack.next(at).and_then(|at| pack.val(at)))
            }
            HashRef::Table(fields) => {
                let pair = fields.table.get(fields.table.random(rng)?);
                Some((Val::Str(pair.key()), Val::Str(pair.value())))
            }
        }
    }
}

/// All fields of a hash with their values.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one walk")]
pub enum Iter<'a> {
    /// Of a packed hash.
    Pack(Pairs<'a>),
    /// Of a large one.
    Table(IterPrefetched<'a, Pair>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = FieldValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<FieldValue<'a>> {
        match self {
            Iter::Pack(pairs) => pairs.next(),
            Iter::Table(items) => {
                let pair = items.next()?;
                Some((Val::Str(pair.key()), Val::Str(pair.value())))
            }
        }
    }
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;
    type Ref<'a> = HashRef<'a>;

    fn new_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Hash::Pack(buffer)
    }

    fn from_pack(_tag: PackTag, pack: Vec<u8>) -> Self {
        Hash::Pack(pack)
    }

    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        match self {
            Hash::Pack(pack) => Some((0, pack)),
            Hash::Table(_) => None,
        }
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        match self {
            Hash::Pack(pack) => Ok((0, pack)),
            Hash::Table(_) => Err(self),
        }
    }

    fn view(&self) -> HashRef<'_> {
        match self {
            Hash::Pack(pack) => HashRef::Pack(Pack::new(pack)),
            Hash::Table(fields) => HashRef::Table(fields),
        }
    }

    fn view_pack(_tag: PackTag, pack: &[u8]) -> HashRef<'_> {
        HashRef::Pack(Pack::new(pack))
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Hash::Pack(pack) => pack.capacity(),
            Hash::Table(fields) => fields.heap_bytes(),
        }
    }

    fn free_effort(&self) -> usize {
        match self {
            Hash::Pack(_) => 1,
            Hash::Table(fields) => fields.table.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match self {
            Hash::Pack(_) => "listpack",
            Hash::Table(_) => "hashtable",
        }
    }

    fn pack_encoding(_tag: PackTag) -> &'static str {
        "listpack"
    }

    fn parts(view: Self::Ref<'_>, show: &mut dyn FnMut(Part<'_>)) -> bool {
        let (mut one, mut two) = ([0; 20], [0; 20]);
        for (field, value) in view.iter() {
            show(Part::Pair(field.text(&mut one), value.text(&mut two)));
        }
        true
    }

    #[inline]
    fn prefetch(view: Self::Ref<'_>, hash: u64, step: Fetch) -> bool {
        match view {
            HashRef::Pack(_) => false,
            HashRef::Table(fields) => fields.table.prefetch(hash, step),
        }
    }

    fn table_stats(view: Self::Ref<'_>) -> Option<TableStats> {
        match view {
            HashRef::Pack(_) => None,
            HashRef::Table(fields) => Some(fields.table.stats()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn limits(entries: usize, value: usize) -> Limits {
        Limits {
            entries,
            value,
            hash_key: HashKey { k0: 1, k1: 2 },
        }
    }

    fn contents(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        hash.view()
            .iter()
            .map(|(field, value)| (field.to_vec(), value.to_vec()))
            .collect()
    }

    #[test]
    fn grows_into_a_table_as_redis_says_and_never_back() {
        let limits = limits(3, 10);
        for (field, value) in [
            (&b"d"[..], &b"1"[..]),
            (b"a", b"longer than 10"),
            (b"longer than 10", b"a"),
        ] {
            let mut hash = Hash::new();
            assert!(hash.is_empty() && hash.set(b"a", b"1", &limits));
            assert!(hash.set(b"b", b"2", &limits) && hash.set(b"c", b"ten  bytes", &limits));
            assert_eq!(hash.encoding(), "listpack");
            let before = contents(&hash);
            assert_eq!(hash.set(field, value, &limits), field != b"a");
            assert_eq!(hash.encoding(), "hashtable");
            assert_eq!(
                hash.view().get(field).map(Val::to_vec).as_deref(),
                Some(value)
            );
            let mut after = before;
            after.insert(field.to_vec(), value.to_vec());
            assert_eq!(contents(&hash), after);
            for field in after.keys() {
                assert!(hash.delete(field));
            }
            assert!(hash.is_empty() && hash.encoding() == "hashtable" && !hash.delete(b"a"));
        }
        let mut hash = Hash::new();
        hash.expect_fields(3, &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.expect_fields(4, &limits);
        assert_eq!(hash.encoding(), "hashtable");
    }

    #[test]
    fn behaves_as_a_map_in_both_encodings() {
        for (seed, limits) in [limits(1000, 64), limits(0, 64), limits(40, 20)]
            .iter()
            .enumerate()
        {
            let mut rng = Rng::from_seed(seed as u64);
            let (mut hash, mut model) = (Hash::new(), BTreeMap::new());
            for _ in 0..if cfg!(miri) { 200 } else { 20_000 } {
                let field = rng.below(150).to_string().into_bytes();
                let value = vec![b'0' + rng.below(10) as u8; rng.below(30) as usize];
                if rng.below(3) > 0 {
                    let created = hash.set(&field, &value, limits);
                    assert_eq!(created, model.insert(field.clone(), value).is_none());
                } else {
                    assert_eq!(hash.delete(&field), model.remove(&field).is_some());
                }
                let view = hash.view();
                assert_eq!(
                    view.get(&field).map(Val::to_vec).as_ref(),
                    model.get(&field)
                );
                assert_eq!(
                    (view.len(), view.is_empty()),
                    (model.len(), model.is_empty())
                );
                assert_eq!(view.exists(b"77"), model.contains_key(&b"77"[..]));
                match view.random(&mut rng) {
                    Some((field, value)) => assert_eq!(model[&field.to_vec()], value.to_vec()),
                    None => assert!(model.is_empty()),
                }
            }
            assert_eq!(contents(&hash), model);
            let copy = hash.clone();
            assert_eq!(contents(&copy), model);
            assert_eq!(
                (copy.encoding(), copy.free_effort()),
                (hash.encoding(), hash.free_effort())
            );

            let (mut cursor, mut scanned) = (0, BTreeMap::new());
            loop {
                cursor = hash.view().scan(cursor, |field, value| {
                    scanned.insert(field.to_vec(), value.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, model);
            if let Hash::Table(fields) = &hash {
                let sum: usize = fields.table.iter().map(|pair| pair.mem_bytes()).sum();
                assert_eq!(fields.item_bytes, sum);
            }
        }
    }
}
