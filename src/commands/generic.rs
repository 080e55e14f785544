//! Keys of any type: removing, looking, listing. Moving them is in `relocate`, what is inside them
//! in `object`.
pub mod object;
mod relocate;

use super::scan;
use crate::base::glob;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO_META, KEYS_RM, KEYS_RO_META, NO_KEYS, Outcome, UsedDbs,
    acl::{self, DANGEROUS, NONE},
    cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::notify::Event;
use flag::{ALWAYS_TOUCHES, ARBITRARY_KEYS, FAST, READONLY, WRITE};

const WALK: u32 = READONLY | ARBITRARY_KEYS;

const COMMANDS: &[Command] = &[
    cmd("del", -2, WRITE, NONE, KEYS_RM, del),
    cmd("unlink", -2, WRITE | FAST, NONE, KEYS_RM, unlink),
    cmd("exists", -2, READONLY | FAST, NONE, KEYS_RO_META, exists),
    cmd(
        "touch",
        -2,
        READONLY | FAST | ALWAYS_TOUCHES,
        NONE,
        KEYS_RO_META,
        touch,
    ),
    cmd("type", 2, READONLY | FAST, NONE, KEY1_RO_META, kind),
    cmd("keys", 2, READONLY, DANGEROUS, NO_KEYS, keys).using(UsedDbs::Selected),
    cmd("randomkey", 1, WALK, NONE, NO_KEYS, randomkey).using(UsedDbs::Selected),
    cmd("scan", -2, WALK, NONE, NO_KEYS, scan::scan).using(UsedDbs::Selected),
    relocate::RENAME,
    relocate::RENAMENX,
    relocate::COPY,
    relocate::MOVE,
];

/// Keys of any type.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::KEYSPACE,
    commands: COMMANDS,
};

fn del(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = ctx.state.config.lazyfree_lazy_user_del;
    delete(ctx, lazy)
}

fn unlink(ctx: &mut Ctx<'_>) -> CmdResult {
    delete(ctx, true)
}

fn delete(ctx: &mut Ctx<'_>, lazy: bool) -> CmdResult {
    let mut deleted = 0;
    for key in ctx.argv.from(1).iter() {
        if let Some(slot) = ctx.state.find_live(ctx.db, key) {
            ctx.state.remove(ctx.db, slot, lazy);
            ctx.modified(key, Event::DEL, 1);
            deleted += 1;
        }
    }
    ctx.int(deleted)
}

fn exists(ctx: &mut Ctx<'_>) -> CmdResult {
    let (state, db) = (&mut *ctx.state, ctx.db);
    let keys = ctx.argv.from(1);
    let found = keys
        .iter()
        .filter(|k| state.lookup_untouched(db, k).is_some());
    let found = found.count();
    ctx.int(found as i64)
}

fn touch(ctx: &mut Ctx<'_>) -> CmdResult {
    let (state, db) = (&mut *ctx.state, ctx.db);
    let keys = ctx.argv.from(1);
    let found = keys.iter().filter(|k| state.lookup_read(db, k).is_some());
    let found = found.count();
    ctx.int(found as i64)
}

fn kind(ctx: &mut Ctx<'_>) -> CmdResult {
    let entry = ctx.state.lookup_untouched(ctx.db, ctx.arg(1));
    let name = entry.map_or("none", |entry| entry.kind().name());
    ctx.out.simple(name);
    Ok(Outcome::Done)
}

fn keys(ctx: &mut Ctx<'_>) -> CmdResult {
    let pattern = ctx.arg(1);
    let now_ms = ctx.state.clock.unix_ms;
    let hole = ctx.out.open();
    let mut found = 0;
    for entry in ctx.state.dbs[ctx.db].iter() {
        let key = entry.key();
        if (pattern == b"*" || glob::matches(pattern, key, false)) && !entry.is_expired(now_ms) {
            ctx.out.bulk(key);
            found += 1;
            if ctx.out.is_lost() {
                break;
            }
        }
    }
    ctx.out.close_array(hole, found);
    Ok(Outcome::Done)
}

fn randomkey(ctx: &mut Ctx<'_>) -> CmdResult {
    match random_key(ctx.state, ctx.db) {
        Some(key) => ctx.out.bulk(&key),
        None => ctx.out.null(),
    }
    Ok(Outcome::Done)
}

/// A live key by chance. Dead ones that are met are removed; while keys may not expire, a database
/// full of dead keys must not hold the search for ever, so one of them is shown in the end.
fn random_key(state: &mut State, db: usize) -> Option<Vec<u8>> {
    const TRIES_MAX: usize = 100;
    let mut tries = 0;
    loop {
        let slot = state.dbs[db].random(&mut state.rng)?;
        let entry = state.dbs[db].entry(slot);
        let key = entry.key().to_vec();
        tries += 1;
        let show =
            !entry.is_expired(state.clock.unix_ms) || (tries >= TRIES_MAX && !state.may_expire());
        if show {
            return Some(key);
        }
        // Looking at it removes it, if keys may expire.
        state.peek(db, &key);
    }
}
