//! Sets in RDB files and dumps: an intset, or the strings of all members.
//!
//! A set in a listpack is written as its members, too: Redis 7.0 does not know the packed form.

use super::{Limits, Set, SetRef};
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::ds::intset::{self, IntSet};
use crate::ds::listpack::{Pack, Val};
use crate::types::Collection;
use crate::types::saved::{self, Loading};

const TWICE: &str = "a set has a member twice";

pub(super) const RDB_TYPES: &[u8] = &[rdb::SET, rdb::SET_INTSET, rdb::SET_LISTPACK];

pub(super) fn rdb_type(view: SetRef<'_>) -> u8 {
    match view {
        SetRef::Ints(_) => rdb::SET_INTSET,
        SetRef::Pack(_) | SetRef::Table(_) => rdb::SET,
    }
}

pub(super) fn save(view: SetRef<'_>, sink: &mut Sink<'_>) {
    if let SetRef::Ints(ints) = view {
        sink.string_of(|bytes| ints.append_to(bytes));
        return;
    }
    sink.len(view.len() as u64);
    for member in view.iter() {
        match member {
            Val::Str(text) => sink.string(text),
            Val::Int(int) => sink.int_string(int),
        }
    }
}

pub(super) fn rewrite(view: SetRef<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
    let mut items = out.items("SADD", key, view.len(), 1);
    view.iter()
        .for_each(|member| saved::argument(member, items.item()));
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Set, Fault> {
    match rdb_type {
        rdb::SET => load_members(source, &how.set),
        rdb::SET_INTSET => load_ints(source, &how.set),
        rdb::SET_LISTPACK => load_pack(source, how),
        _ => Err(source.bad(saved::UNKNOWN)),
    }
}

fn load_members(source: &mut Source<'_>, limits: &Limits) -> Result<Set, Fault> {
    let count = source.count(1)?;
    let mut set = Set::new();
    let mut room = [0; 20];
    for number in 0..count {
        let text = source.string()?;
        let member = text.bytes(&mut room);
        if number == 0 {
            set.expect(member, saved::expected(count, source), limits);
        }
        if !set.add(member, limits) {
            return Err(source.bad(TWICE));
        }
    }
    Ok(set)
}

fn load_ints(source: &mut Source<'_>, limits: &Limits) -> Result<Set, Fault> {
    let ints = source.string()?.into_vec();
    match IntSet::validate(&ints, true) {
        Ok(()) => {}
        Err(intset::Corrupt::Empty) => return Ok(Set::new()),
        Err(_) => return Err(source.bad("a broken intset")),
    }
    let count = IntSet::new(&ints).len();
    let mut set = Set::Ints(ints);
    if !limits.allow_ints(count) {
        set.make_table(limits.hash_key, 0);
    }
    Ok(set)
}

fn load_pack(source: &mut Source<'_>, how: &Loading) -> Result<Set, Fault> {
    let pack = saved::listpack(source)?;
    let view = Pack::new(&pack);
    let len = view.len();
    if !saved::distinct(view, 1, &how.hash_key) {
        return Err(source.bad(TWICE));
    }
    if len == 0 {
        return Ok(Set::new());
    }
    let mut set = Set::Pack(pack);
    if len > how.set.entries {
        set.make_table(how.set.hash_key, 0);
    }
    Ok(set)
}
