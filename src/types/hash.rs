//! The hash: fields with values.
//!
//! Small hashes are a listpack of fields and values in turns, byte for byte Redis's, which the
//! keyspace keeps inside the entry where it can. A hash that outgrows the limits becomes a table
//! with one allocation for each field, and stays one: as in Redis there is no way back.
//!
//! A field may have a deadline (HEXPIRE). The first one makes a table of a listpack, where it costs eight
//! bytes in the field's allocation and about as many in the index (`deadlines`) that finds what is due; a
//! hash without deadlines pays nothing for them.
//!
//! This file knows encodings and conversions. What commands reply is the command's affair, and
//! which limits are in force is the configuration's: they come in as [`Limits`].

mod deadlines;
mod fields;
mod saved;

pub use fields::{FieldTtl, Fields};

use super::saved::Loading;
use super::{Collection, Fetch, Kind, PackTag, Part, TableStats};
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::codec::{Commands, Fault, Sink, Source};
use crate::ds::listpack::{self, Pack, Pairs, Val};
use crate::ds::pair::{Pair, PairRef};
use crate::ds::table::IterPrefetched;
use fields::is_dead;

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

/// Reads a hash.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    /// Packed bytes, in the entry or boxed.
    Pack(Pack<'a>),
    /// A large one.
    Table(TableRef<'a>),
}

/// A field and its value.
pub type FieldValue<'a> = (Val<'a>, Val<'a>);

impl Hash {
    /// Sets a field, which loses its deadline; true if it is new.
    #[inline]
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.set_with(field, value, FieldTtl::Clear, limits)
    }

    /// Sets a field and settles its deadline; true if it is new. The first deadline makes a table.
    #[inline]
    pub fn set_with(&mut self, field: &[u8], value: &[u8], ttl: FieldTtl, limits: &Limits) -> bool {
        match self {
            Hash::Table(fields) => fields.set(field, value, ttl),
            Hash::Pack(_) => self.set_packed(field, value, ttl, limits),
        }
    }

    fn set_packed(&mut self, field: &[u8], value: &[u8], ttl: FieldTtl, limits: &Limits) -> bool {
        if let Hash::Pack(pack) = self
            && !matches!(ttl, FieldTtl::At(_))
        {
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
        self.make_table(limits.hash_key, 0).set(field, value, ttl)
    }

    /// Gives a field a deadline, or takes it away; false without such a field.
    pub fn set_deadline(&mut self, field: &[u8], at_ms: Option<i64>, limits: &Limits) -> bool {
        match (&mut *self, at_ms) {
            (Hash::Table(fields), _) => fields.set_deadline(field, at_ms),
            (Hash::Pack(pack), None) => Pack::new(pack).find_field(field).is_some(),
            (Hash::Pack(pack), Some(_)) => {
                Pack::new(pack).find_field(field).is_some()
                    && self
                        .make_table(limits.hash_key, 0)
                        .set_deadline(field, at_ms)
            }
        }
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

    /// Removes a field if its deadline has passed; whether it did.
    pub fn delete_dead(&mut self, field: &[u8], now_ms: i64) -> bool {
        match self {
            Hash::Pack(_) => false,
            Hash::Table(fields) => {
                fields.get(field).is_some_and(|pair| is_dead(pair, now_ms)) && fields.delete(field)
            }
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
                let (field, value) = (field.text(&mut field_room), value.text(&mut value_room));
                fields.set(field, value, FieldTtl::Clear);
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

impl<'a> HashRef<'a> {
    /// The same hash as clients see it at that time (unix ms): fields whose deadline has passed are hidden
    /// from everything but `len`.
    #[inline]
    pub fn at(self, now_ms: i64) -> HashRef<'a> {
        match self {
            HashRef::Table(table) if table.fields.has_deadlines() => HashRef::Table(TableRef {
                fields: table.fields,
                now_ms,
            }),
            _ => self,
        }
    }

    /// How many fields, hidden ones included.
    pub fn len(self) -> usize {
        match self {
            HashRef::Pack(pack) => pack.len() / 2,
            HashRef::Table(table) => table.fields.table.len(),
        }
    }

    /// How many fields are not hidden: a walk over all of them if any field may be.
    pub fn live_len(self) -> usize {
        match self {
            HashRef::Table(table) if table.may_hide() => self.iter().count(),
            _ => self.len(),
        }
    }

    /// Whether there is no field, not even a hidden one.
    pub fn is_empty(self) -> bool {
        match self {
            HashRef::Pack(pack) => pack.is_empty(),
            HashRef::Table(table) => table.fields.table.is_empty(),
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<Val<'a>> {
        match self {
            HashRef::Pack(pack) => pack.value_of(field),
            HashRef::Table(table) => table.get(field).map(|pair| Val::Str(pair.value())),
        }
    }

    /// Whether there is such a field.
    pub fn exists(self, field: &[u8]) -> bool {
        match self {
            HashRef::Pack(pack) => pack.find_field(field).is_some(),
            HashRef::Table(table) => table.get(field).is_some(),
        }
    }

    /// The deadline of a field (unix ms), which it may not have; `None` without such a field.
    pub fn deadline(self, field: &[u8]) -> Option<Option<i64>> {
        match self {
            HashRef::Pack(pack) => pack.find_field(field).map(|_| None),
            HashRef::Table(table) => table.get(field).map(|pair| pair.expire_at()),
        }
    }

    /// Does any field have a deadline?
    #[inline]
    pub fn has_deadlines(self) -> bool {
        match self {
            HashRef::Pack(_) => false,
            HashRef::Table(table) => table.fields.has_deadlines(),
        }
    }

    /// All fields with their values.
    pub fn iter(self) -> Iter<'a> {
        match self {
            HashRef::Pack(pack) => Iter::Pack(pack.pairs()),
            HashRef::Table(table) => Iter::Table(table, table.fields.iter()),
        }
    }

    /// All fields with their values and deadlines, for saving.
    pub fn iter_with_deadlines(self) -> impl Iterator<Item = (FieldValue<'a>, Option<i64>)> {
        let (pack, table) = match self {
            HashRef::Pack(pack) => (Some(pack.pairs().map(|pair| (pair, None))), None),
            HashRef::Table(table) => (None, Some(table)),
        };
        let pairs = table.map(|table| {
            table
                .fields
                .iter()
                .filter(move |pair| !table.hides(*pair))
                .map(|pair| {
                    let field = (Val::Str(pair.key()), Val::Str(pair.value()));
                    (field, pair.expire_at())
                })
        });
        pack.into_iter()
            .flatten()
            .chain(pairs.into_iter().flatten())
    }

    /// One step of a scan from `cursor` on; the next cursor is 0 at the end. A packed hash is
    /// shown whole. Of a table, whatever is in it during the whole scan is shown at least once.
    pub fn scan(self, cursor: u64, mut show: impl FnMut(Val<'a>, Val<'a>)) -> u64 {
        match self {
            HashRef::Pack(pack) => {
                pack.pairs().for_each(|(field, value)| show(field, value));
                0
            }
            HashRef::Table(table) => table.fields.table.scan(cursor, |pair| {
                if !table.hides(pair) {
                    show(Val::Str(pair.key()), Val::Str(pair.value()));
                }
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
            HashRef::Table(table) => {
                let pair = table.random(rng)?;
                Some((Val::Str(pair.key()), Val::Str(pair.value())))
            }
        }
    }
}

/// Reads a large hash.
#[derive(Clone, Copy)]
pub struct TableRef<'a> {
    fields: &'a Fields,
    /// Fields with a deadline before it are hidden.
    now_ms: i64,
}

impl<'a> TableRef<'a> {
    /// Draws of a random field that may meet a hidden one before all others are collected.
    const DRAWS_MAX: usize = 32;

    #[inline]
    fn hides(self, pair: PairRef<'_>) -> bool {
        self.now_ms != i64::MIN && is_dead(pair, self.now_ms)
    }

    fn may_hide(self) -> bool {
        self.now_ms != i64::MIN && self.fields.has_deadlines()
    }

    #[inline]
    fn get(self, field: &[u8]) -> Option<PairRef<'a>> {
        self.fields.get(field).filter(|pair| !self.hides(*pair))
    }

    fn random(self, rng: &mut Rng) -> Option<PairRef<'a>> {
        let table = &self.fields.table;
        for _ in 0..Self::DRAWS_MAX {
            let pair = table.get(table.random(rng)?);
            if !self.hides(pair) {
                return Some(pair);
            }
        }
        let live = || self.fields.iter().filter(|pair| !self.hides(*pair));
        let count = live().count() as u64;
        (count > 0).then(|| live().nth(rng.below(count) as usize))?
    }
}

/// All fields of a hash with their values.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one walk")]
pub enum Iter<'a> {
    /// Of a packed hash.
    Pack(Pairs<'a>),
    /// Of a large one.
    Table(TableRef<'a>, IterPrefetched<'a, Pair>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = FieldValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<FieldValue<'a>> {
        match self {
            Iter::Pack(pairs) => pairs.next(),
            Iter::Table(table, items) => loop {
                let pair = items.next()?;
                if !table.hides(pair) {
                    return Some((Val::Str(pair.key()), Val::Str(pair.value())));
                }
            },
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
            Hash::Table(fields) => HashRef::Table(TableRef {
                fields,
                now_ms: i64::MIN,
            }),
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

    const MEMBERS_EXPIRE: bool = true;

    #[inline]
    fn next_deadline(&self) -> Option<i64> {
        match self {
            Hash::Pack(_) => None,
            Hash::Table(fields) => fields.next_deadline(),
        }
    }

    fn expire_members(&mut self, now_ms: i64, max: usize, gone: &mut dyn FnMut(&[u8])) -> bool {
        match self {
            Hash::Pack(_) => false,
            Hash::Table(fields) => fields.expire(now_ms, max, gone),
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
            HashRef::Table(table) => table.fields.table.prefetch(hash, step),
        }
    }

    fn table_stats(view: Self::Ref<'_>) -> Option<TableStats> {
        match view {
            HashRef::Pack(_) => None,
            HashRef::Table(table) => Some(table.fields.stats()),
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
