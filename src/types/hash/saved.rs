//! Hashes in RDB files and dumps: one listpack, or the strings of all fields and values, with the deadlines
//! of fields between them if any has one.
//!
//! ```text
//! HASH_METADATA (Redis 7.4)      lowest deadline: i64 | count | (deadline | field | value) ...
//! HASH_LISTPACK_EX               lowest deadline: i64 | listpack of field, value, deadline in turns
//! HASH_22 of Redis's candidates  as HASH_METADATA without the lowest deadline
//! HASH_22 of Valkey              count | (field | value | deadline: i64, -1 for none) ...
//! ```
//!
//! A deadline behind a lowest one is a length: 0 for none, else what it is later by, and one. All others are
//! unix times in milliseconds.

use super::{FieldTtl, Hash, HashRef, Limits};
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::ds::listpack::Pack;
use crate::ds::zipmap;
use crate::types::Collection;
use crate::types::saved::{self, Loading};

const TWICE: &str = "a hash has a field twice";
const PACKED_TWICE: &str = "Hash listpack with dup elements";
const BAD_DEADLINE: &str = "a field's deadline beyond all time";
/// Files of Valkey have versions from here on.
const VALKEY_VERSION_MIN: u32 = 80;
/// Deadlines are kept within the range that the commands allow.
const DEADLINE_MAX: i64 = (1 << 46) - 1;

pub(super) const RDB_TYPES: &[u8] = &[
    rdb::HASH,
    rdb::HASH_ZIPMAP,
    rdb::HASH_ZIPLIST,
    rdb::HASH_LISTPACK,
    rdb::HASH_22,
    rdb::HASH_LISTPACK_EX_PRE_GA,
    rdb::HASH_METADATA,
    rdb::HASH_LISTPACK_EX,
];

pub(super) fn rdb_type(view: HashRef<'_>) -> u8 {
    match view {
        HashRef::Pack(_) => rdb::HASH_LISTPACK,
        HashRef::Table(table) if table.fields.has_deadlines() => rdb::HASH_METADATA,
        HashRef::Table(_) => rdb::HASH,
    }
}

/// Fields whose deadline has passed are written, too: whoever loads them sees to their end.
pub(super) fn save(view: HashRef<'_>, sink: &mut Sink<'_>) {
    let fields = match view {
        HashRef::Pack(pack) => return sink.string(pack.bytes()),
        HashRef::Table(table) => table.fields,
    };
    let mut lowest = None;
    if fields.has_deadlines() {
        let first = fields.iter().filter_map(|pair| pair.expire_at()).min();
        let first = first.unwrap_or(0).max(0);
        sink.u64_le(first.cast_unsigned());
        lowest = Some(first);
    }
    sink.len(fields.table.len() as u64);
    for pair in fields.iter() {
        if let Some(lowest) = lowest {
            let later = |at_ms: i64| at_ms.saturating_sub(lowest).max(0).cast_unsigned() + 1;
            sink.len(pair.expire_at().map_or(0, later));
        }
        sink.string(pair.key());
        sink.string(pair.value());
    }
}

/// Fields first, then the deadlines, each by itself: equal ones are rare.
pub(super) fn rewrite(view: HashRef<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
    let mut items = out.items("HSET", key, view.len(), 2);
    for (field, value) in view.iter() {
        let out = items.item();
        saved::argument(field, out);
        saved::argument(value, out);
    }
    if !view.has_deadlines() {
        return;
    }
    for ((field, _), at_ms) in view.iter_with_deadlines() {
        if let Some(at_ms) = at_ms {
            out.command("HPEXPIREAT", 5);
            out.bulk(key);
            out.int(at_ms);
            out.bulk(b"FIELDS");
            out.int(1);
            saved::argument(field, out);
        }
    }
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Hash, Fault> {
    match rdb_type {
        rdb::HASH => load_pairs(source, Deadlines::None, &how.hash),
        rdb::HASH_ZIPMAP => load_zipmap(source, &how.hash),
        rdb::HASH_ZIPLIST => from_pack(saved::ziplist(source)?, source, how),
        rdb::HASH_LISTPACK => from_pack(saved::listpack(source)?, source, how),
        rdb::HASH_22 if how.version >= VALKEY_VERSION_MIN => {
            load_pairs(source, Deadlines::Behind, &how.hash)
        }
        rdb::HASH_22 => load_pairs(source, Deadlines::Absolute, &how.hash),
        rdb::HASH_METADATA => {
            let lowest = lowest(source)?;
            load_pairs(source, Deadlines::From(lowest), &how.hash)
        }
        rdb::HASH_LISTPACK_EX => {
            lowest(source)?;
            from_triples(saved::listpack(source)?, source, how)
        }
        rdb::HASH_LISTPACK_EX_PRE_GA => from_triples(saved::listpack(source)?, source, how),
        _ => Err(source.bad(saved::UNKNOWN)),
    }
}

/// How the deadlines of fields are written.
#[derive(Clone, Copy)]
enum Deadlines {
    /// Not at all.
    None,
    /// In front of the field, counted from this time.
    From(i64),
    /// In front of the field.
    Absolute,
    /// Behind the value.
    Behind,
}

impl Deadlines {
    /// What is written in front of a field.
    fn before(self, source: &mut Source<'_>) -> Result<Option<i64>, Fault> {
        let lowest = match self {
            Deadlines::From(lowest) => lowest.cast_unsigned(),
            Deadlines::Absolute => 1,
            Deadlines::None | Deadlines::Behind => return Ok(None),
        };
        match source.len()? {
            0 => Ok(None),
            later => deadline((later - 1).saturating_add(lowest), source).map(Some),
        }
    }

    /// What is written behind a value.
    fn behind(self, source: &mut Source<'_>) -> Result<Option<i64>, Fault> {
        match self {
            Deadlines::Behind => match source.u64_le()?.cast_signed() {
                -1 => Ok(None),
                at_ms => deadline(at_ms.cast_unsigned(), source).map(Some),
            },
            _ => Ok(None),
        }
    }
}

fn deadline(at_ms: u64, source: &Source<'_>) -> Result<i64, Fault> {
    i64::try_from(at_ms)
        .ok()
        .filter(|at_ms| *at_ms <= DEADLINE_MAX)
        .ok_or_else(|| source.bad(BAD_DEADLINE))
}

/// The lowest deadline in front of a hash. Redis writes a huge one when there is none left.
fn lowest(source: &mut Source<'_>) -> Result<i64, Fault> {
    let lowest = source.u64_le()?.cast_signed();
    Ok(if lowest > DEADLINE_MAX {
        0
    } else {
        lowest.max(0)
    })
}

fn load_pairs(
    source: &mut Source<'_>,
    deadlines: Deadlines,
    limits: &Limits,
) -> Result<Hash, Fault> {
    let count = source.count(2)?;
    let mut hash = Hash::new();
    hash.expect_fields(saved::expected(count, source), limits);
    let (mut field_room, mut value_room) = ([0; 20], [0; 20]);
    for _ in 0..count {
        let before = deadlines.before(source)?;
        let (field, value) = (source.string()?, source.string()?);
        let ttl = match before.or(deadlines.behind(source)?) {
            Some(at_ms) => FieldTtl::At(at_ms),
            None => FieldTtl::Clear,
        };
        let (field, value) = (field.bytes(&mut field_room), value.bytes(&mut value_room));
        if !hash.set_with(field, value, ttl, limits) {
            return Err(source.bad(TWICE));
        }
    }
    Ok(hash)
}

fn load_zipmap(source: &mut Source<'_>, limits: &Limits) -> Result<Hash, Fault> {
    let text = source.string()?.into_vec();
    let mut hash = Hash::new();
    zipmap::each(&text, |field, value| {
        hash.set(field, value, limits).then_some(())
    })
    .ok_or_else(|| source.bad("a broken zipmap"))?;
    Ok(hash)
}

fn from_pack(pack: Vec<u8>, source: &Source<'_>, how: &Loading) -> Result<Hash, Fault> {
    let view = Pack::new(&pack);
    let len = view.len();
    if !len.is_multiple_of(2) {
        return Err(source.bad("a packed hash has a field without a value"));
    }
    if !saved::distinct(view, 2, &how.hash_key) {
        return Err(source.bad(PACKED_TWICE));
    }
    let mut hash = if len == 0 {
        Hash::new()
    } else {
        Hash::Pack(pack)
    };
    if len / 2 > how.hash.entries {
        hash.make_table(how.hash.hash_key, 0);
    }
    Ok(hash)
}

/// Fields, values and deadlines (0 for none) in turns.
fn from_triples(pack: Vec<u8>, source: &Source<'_>, how: &Loading) -> Result<Hash, Fault> {
    let view = Pack::new(&pack);
    if !view.len().is_multiple_of(3) {
        return Err(source.bad("a packed hash has a field without a deadline"));
    }
    let mut hash = Hash::new();
    let (mut field_room, mut value_room) = ([0; 20], [0; 20]);
    let mut vals = view.iter();
    while let (Some(field), Some(value), Some(at_ms)) = (vals.next(), vals.next(), vals.next()) {
        let at_ms = at_ms.as_int().ok_or_else(|| source.bad(BAD_DEADLINE))?;
        let ttl = match deadline(at_ms.cast_unsigned(), source)? {
            0 => FieldTtl::Clear,
            at_ms => FieldTtl::At(at_ms),
        };
        let (field, value) = (field.text(&mut field_room), value.text(&mut value_room));
        if !hash.set_with(field, value, ttl, &how.hash) {
            return Err(source.bad(TWICE));
        }
    }
    Ok(hash)
}
