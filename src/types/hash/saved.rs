//! Hashes in RDB files and dumps: one listpack, or the strings of all fields and values.

use super::{Hash, HashRef, Limits};
use crate::codec::{Fault, Sink, Source, rdb};
use crate::ds::listpack::Pack;
use crate::ds::zipmap;
use crate::types::Collection;
use crate::types::saved::{self, Loading};

const TWICE: &str = "a hash has a field twice";

pub(super) const RDB_TYPES: &[u8] = &[
    rdb::HASH,
    rdb::HASH_ZIPMAP,
    rdb::HASH_ZIPLIST,
    rdb::HASH_LISTPACK,
];

pub(super) fn rdb_type(view: HashRef<'_>) -> u8 {
    match view {
        HashRef::Pack(_) => rdb::HASH_LISTPACK,
        HashRef::Table(_) => rdb::HASH,
    }
}

pub(super) fn save(view: HashRef<'_>, sink: &mut Sink<'_>) {
    match view {
        HashRef::Pack(pack) => sink.string(pack.bytes()),
        HashRef::Table(fields) => {
            sink.len(fields.table.len() as u64);
            for pair in fields.table.iter_prefetched() {
                sink.string(pair.key());
                sink.string(pair.value());
            }
        }
    }
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Hash, Fault> {
    match rdb_type {
        rdb::HASH => load_pairs(source, &how.hash),
        rdb::HASH_ZIPMAP => load_zipmap(source, &how.hash),
        rdb::HASH_ZIPLIST => from_pack(saved::ziplist(source)?, source, how),
        rdb::HASH_LISTPACK => from_pack(saved::listpack(source)?, source, how),
        _ => Err(source.bad(saved::UNKNOWN)),
    }
}

fn load_pairs(source: &mut Source<'_>, limits: &Limits) -> Result<Hash, Fault> {
    let count = source.count(2)?;
    let mut hash = Hash::new();
    hash.expect_fields(count, limits);
    let (mut field_room, mut value_room) = ([0; 20], [0; 20]);
    for _ in 0..count {
        let (field, value) = (source.string()?, source.string()?);
        if !hash.set(
            field.bytes(&mut field_room),
            value.bytes(&mut value_room),
            limits,
        ) {
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
        return Err(source.bad(TWICE));
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
