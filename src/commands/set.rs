//! Sets: SADD and its kin. Draws by chance are in `random`, what takes several sets in `operations`.

mod operations;
mod random;
#[cfg(test)]
mod tests;

use crate::commands::scan::{self, ScanOptions};
use crate::commands::vals;
use crate::ds::listpack::Val;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RO_META, KEY1_RW_DELETE, KEY1_RW_INSERT, KEYS_RO, KeySpec,
    Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::set::{Limits, Set, SetRef};

use acl::NONE;
use flag::{DENYOOM, FAST, READONLY, WRITE};
use key_flag as k;

const KEY1_POP: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS | k::DELETE, 1, 1, 1)];
const MOVE_KEYS: &[KeySpec] = &[
    KeySpec::range(k::RW | k::ACCESS | k::DELETE, 1, 1, 1),
    KeySpec::range(k::RW | k::INSERT, 2, 2, 1),
];
const STORE_KEYS: &[KeySpec] = &[
    KeySpec::range(k::OW | k::UPDATE, 1, 1, 1),
    KeySpec::range(k::RO | k::ACCESS, 2, -1, 1),
];
/// As Redis tells them, which says RW here alone.
const INTERSTORE_KEYS: &[KeySpec] = &[
    KeySpec::range(k::RW | k::UPDATE, 1, 1, 1),
    KeySpec::range(k::RO | k::ACCESS, 2, -1, 1),
];
const CARD_KEYS: &[KeySpec] = &[KeySpec::numkeys(k::RO | k::ACCESS, 1)];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("sadd", -3, WRITE | DENYOOM | FAST, NONE, KEY1_RW_INSERT, sadd).with_members(2, 1),
    cmd("srem", -3, WRITE | FAST, NONE, KEY1_RW_DELETE, srem).with_members(2, 1),
    cmd("sismember", 3, READONLY | FAST, NONE, KEY1_RO_META, sismember).with_members(2, 0),
    cmd("smismember", -3, READONLY | FAST, NONE, KEY1_RO, smismember).with_members(2, 1),
    cmd("scard", 2, READONLY | FAST, NONE, KEY1_RO_META, scard),
    cmd("smembers", 2, READONLY, NONE, KEY1_RO, smembers),
    cmd("smove", 4, WRITE | FAST, NONE, MOVE_KEYS, smove).with_members(3, 0),
    cmd("sscan", -3, READONLY, NONE, KEY1_RO, sscan),
    cmd("spop", -2, WRITE | FAST, NONE, KEY1_POP, random::spop),
    cmd("srandmember", -2, READONLY, NONE, KEY1_RO, random::srandmember),
    cmd("sinter", -2, READONLY, NONE, KEYS_RO, operations::sinter),
    cmd("sintercard", -3, READONLY, NONE, CARD_KEYS, operations::sintercard),
    cmd("sinterstore", -3, WRITE | DENYOOM, NONE, INTERSTORE_KEYS, operations::sinterstore),
    cmd("sunion", -2, READONLY, NONE, KEYS_RO, operations::sunion),
    cmd("sunionstore", -3, WRITE | DENYOOM, NONE, STORE_KEYS, operations::sunionstore),
    cmd("sdiff", -2, READONLY, NONE, KEYS_RO, operations::sdiff),
    cmd("sdiffstore", -3, WRITE | DENYOOM, NONE, STORE_KEYS, operations::sdiffstore),
];

/// Sets.
pub static FAMILY: Family = Family {
    group: "set",
    acl: acl::SET,
    commands: COMMANDS,
};

/// The set at `key` for reading.
fn read<'s>(state: &'s mut State, db: usize, key: &[u8]) -> Result<Option<SetRef<'s>>, CmdError> {
    match state.lookup_read(db, key) {
        Some(entry) => Ok(Some(entry.get::<Set>()?)),
        None => Ok(None),
    }
}

fn limits(state: &State) -> Limits {
    Limits {
        ints: state.config.set_max_intset_entries,
        entries: state.config.set_max_listpack_entries,
        value: state.config.set_max_listpack_value,
        hash_key: state.dbs.hash_key(),
    }
}

fn sadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.arg(1), ctx.argv.from(2));
    let limits = limits(ctx.state);
    let fill = |set: &mut Set| {
        if members.len() == 1 {
            return usize::from(set.add(members.get(0), &limits));
        }
        set.expect(members.get(0), members.len(), &limits);
        set.add_all(members.iter(), &limits)
    };
    let added = match ctx.write(key) {
        Some(slot) => ctx.state.dbs[ctx.db].update::<Set, _>(slot, fill)?.1,
        None => {
            let (_, added) = ctx.state.dbs.create::<Set, _>(ctx.db, key, fill);
            ctx.state.notify(ctx.db, key, Event::NEW);
            added
        }
    };
    if added > 0 {
        ctx.modified(key, Event::SADD, added);
    }
    ctx.int(added as i64)
}

fn srem(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.arg(1), ctx.argv.from(2));
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let (left, removed) = ctx.state.dbs[ctx.db].update::<Set, usize>(slot, |set| {
        members.iter().filter(|member| set.remove(member)).count()
    })?;
    if removed > 0 {
        ctx.modified(key, Event::SREM, removed);
        if left.is_none() {
            ctx.state.notify(ctx.db, key, Event::DEL);
        }
    }
    ctx.int(removed as i64)
}

fn smove(ctx: &mut Ctx<'_>) -> CmdResult {
    let (from, to, member) = (ctx.arg(1), ctx.arg(2), ctx.arg(3));
    let db = ctx.db;
    if ctx.write(from).is_none() {
        return ctx.int(0);
    }
    let target = ctx.write_kind(to, Kind::Set);
    // Found anew: the look at the target may have removed it, dead, and moved the source.
    let Some(source) = ctx.state.dbs.find(db, from) else {
        return ctx.int(0);
    };
    ctx.state.dbs[db].entry(source).get::<Set>()?;
    target?;
    if from == to {
        let set = ctx.state.dbs[db].entry(source).get::<Set>()?;
        return ctx.int(i64::from(set.contains(member)));
    }

    let (left, moved) = ctx.state.dbs[db].update::<Set, bool>(source, |set| set.remove(member))?;
    if !moved {
        return ctx.int(0);
    }
    ctx.modified(from, Event::SREM, 1);
    if left.is_none() {
        ctx.state.notify(db, from, Event::DEL);
    }
    let limits = limits(ctx.state);
    let added = match ctx.state.dbs.find(db, to) {
        Some(slot) => {
            let fill = |set: &mut Set| set.add(member, &limits);
            ctx.state.dbs[db].update::<Set, bool>(slot, fill)?.1
        }
        None => {
            ctx.state.dbs.create::<Set, _>(db, to, |set| {
                set.expect(member, 1, &limits);
                set.add(member, &limits);
            });
            ctx.state.notify(db, to, Event::NEW);
            true
        }
    };
    if added {
        ctx.modified(to, Event::SADD, 1);
    }
    ctx.int(1)
}

fn sismember(ctx: &mut Ctx<'_>) -> CmdResult {
    let member = ctx.arg(2);
    let set = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    let found = set.is_some_and(|set| set.contains(member));
    ctx.int(i64::from(found))
}

fn smismember(ctx: &mut Ctx<'_>) -> CmdResult {
    let members = ctx.argv.from(2);
    let set = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    ctx.out.array(members.len());
    for member in members.iter() {
        let found = set.is_some_and(|set| set.contains(member));
        ctx.out.int(i64::from(found));
    }
    Ok(Outcome::Done)
}

fn scard(ctx: &mut Ctx<'_>) -> CmdResult {
    let len = read(ctx.state, ctx.db, ctx.argv.get(1))?.map_or(0, SetRef::len);
    ctx.int(len as i64)
}

fn smembers(ctx: &mut Ctx<'_>) -> CmdResult {
    let Some(set) = read(ctx.state, ctx.db, ctx.argv.get(1))? else {
        ctx.out.set(0);
        return Ok(Outcome::Done);
    };
    ctx.out.set(set.len());
    for member in set.iter() {
        vals::reply(ctx.out, Some(member));
    }
    Ok(Outcome::Done)
}

fn sscan(ctx: &mut Ctx<'_>) -> CmdResult {
    let cursor = scan::parse_cursor(ctx.arg(2))?;
    let argv = ctx.argv;
    // As in Redis an absent key is answered before the options are looked at.
    let Some(set) = read(ctx.state, ctx.db, argv.get(1))? else {
        scan::reply_head(ctx.out, 0);
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let options = ScanOptions::parse(argv.from(3), false)?;
    let mut found: Vec<Val<'_>> = Vec::new();
    let next = scan::run(cursor, options.count, |cursor, seen| {
        set.scan(cursor, |member| {
            *seen += 1;
            if options.matches(member.text(&mut [0; 20])) {
                found.push(member);
            }
        })
    });
    scan::reply_head(ctx.out, next);
    ctx.out.array(found.len());
    for member in found {
        vals::reply(ctx.out, Some(member));
    }
    Ok(Outcome::Done)
}
