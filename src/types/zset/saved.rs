//! Sorted sets in RDB files and dumps: one listpack, or all members with their scores.

use super::{Limits, Zset, ZsetRef, packed};
use crate::base::num;
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::ds::listpack::{Pack, Val};
use crate::types::Collection;
use crate::types::saved::{self, Loading};

const TWICE: &str = "a sorted set has a member twice";
const NO_SCORE: &str = "a score that is no number";

pub(super) const RDB_TYPES: &[u8] = &[
    rdb::ZSET,
    rdb::ZSET_2,
    rdb::ZSET_ZIPLIST,
    rdb::ZSET_LISTPACK,
];

pub(super) fn rdb_type(view: ZsetRef<'_>) -> u8 {
    match view {
        ZsetRef::Pack(_) => rdb::ZSET_LISTPACK,
        ZsetRef::Ranked(_) => rdb::ZSET_2,
    }
}

pub(super) fn save(view: ZsetRef<'_>, sink: &mut Sink<'_>) {
    if let ZsetRef::Pack(pack) = view {
        sink.string(pack.bytes());
        return;
    }
    // From the highest on, as Redis does: its own loading inserts at the front then.
    sink.len(view.len() as u64);
    for (member, score) in view.iter_ranks(0..view.len(), true) {
        sink.string(member.text(&mut [0; 20]));
        sink.f64(score);
    }
}

pub(super) fn rewrite(view: ZsetRef<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
    let mut items = out.items("ZADD", key, view.len(), 2);
    for (member, score) in view.iter() {
        let out = items.item();
        out.double(score);
        saved::argument(member, out);
    }
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Zset, Fault> {
    match rdb_type {
        rdb::ZSET => load_members(source, 2, Source::f64_text, &how.zset),
        rdb::ZSET_2 => load_members(source, 9, Source::f64, &how.zset),
        rdb::ZSET_ZIPLIST => from_pack(saved::ziplist(source)?, source, how),
        rdb::ZSET_LISTPACK => from_pack(saved::listpack(source)?, source, how),
        _ => Err(source.bad(saved::UNKNOWN)),
    }
}

fn load_members<'a>(
    source: &mut Source<'a>,
    least: usize,
    score: impl Fn(&mut Source<'a>) -> Result<f64, Fault>,
    limits: &Limits,
) -> Result<Zset, Fault> {
    let count = source.count(least)?;
    let expected = saved::expected(count, source);
    // Where each member begins, and its score: the members themselves are read when it is their turn.
    let mut members: Vec<(usize, f64)> = Vec::with_capacity(expected);
    let mut longest = 0;
    for _ in 0..count {
        let at = source.position();
        longest = longest.max(source.skip_string()?);
        let score = score(source)?;
        if score.is_nan() {
            return Err(source.bad(NO_SCORE));
        }
        members.push((at, score));
    }
    // They are written from the highest on, and inserted fastest from the lowest on.
    if let [(_, first), .., (_, last)] = members[..]
        && first > last
    {
        members.reverse();
    }
    let mut zset = Zset::new();
    if count > limits.entries || longest > limits.value {
        // At once: a zero would lose its sign on the way through a listpack.
        zset.make_ranked(limits.hash_key, expected);
    }
    let mut room = [0; 20];
    for (at, score) in members {
        let member = source.string_at(at)?;
        if !zset.add(member.bytes(&mut room), score, limits) {
            return Err(source.bad(TWICE));
        }
    }
    Ok(zset)
}

fn from_pack(pack: Vec<u8>, source: &Source<'_>, how: &Loading) -> Result<Zset, Fault> {
    let view = Pack::new(&pack);
    let len = view.len();
    if !len.is_multiple_of(2) {
        return Err(source.bad("a packed sorted set has a member without a score"));
    }
    let scores_are_numbers = view.pairs().all(|(_, score)| match score {
        Val::Int(_) => true,
        Val::Str(text) => num::parse_f64(text).is_some_and(|score| !score.is_nan()),
    });
    if !scores_are_numbers {
        return Err(source.bad(NO_SCORE));
    }
    if !saved::distinct(view, 2, &how.hash_key) {
        return Err(source.bad(TWICE));
    }
    if len == 0 {
        return Ok(Zset::new());
    }
    let (mut one, mut two) = ([0; 20], [0; 20]);
    let ordered = packed::members(view)
        .is_sorted_by(|a, b| a.1 < b.1 || a.1 == b.1 && a.0.text(&mut one) < b.0.text(&mut two));
    if !ordered {
        let mut zset = Zset::new();
        zset.expect_members(len / 2, &how.zset);
        for (member, score) in packed::members(view) {
            zset.push(member.text(&mut one), score, &how.zset);
        }
        return Ok(zset);
    }
    let mut zset = Zset::Pack(pack);
    if len / 2 > how.zset.entries {
        zset.make_ranked(how.zset.hash_key, 0);
    }
    Ok(zset)
}
