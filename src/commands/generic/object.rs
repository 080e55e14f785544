//! OBJECT: what lies behind a key. A look by OBJECT is no use of the key.
use crate::exec::command::{
    CmdResult, Command, KeySpec, NO_KEYS, Outcome,
    acl::{self, KEYSPACE, NONE},
    cmd, container, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::keyspace::EntryRef;
use crate::state::State;
use crate::state::config::MaxmemoryPolicy;
use crate::types::string::StrRef;
use flag::{LOADING, READONLY, STALE};

const KEY2: &[KeySpec] = &[KeySpec::range(key_flag::RO, 2, 2, 1)];

const SUBS: &[Command] = &[
    cmd("encoding", 3, READONLY, KEYSPACE, KEY2, encoding),
    cmd("freq", 3, READONLY, KEYSPACE, KEY2, freq),
    cmd("help", 2, LOADING | STALE, KEYSPACE, NO_KEYS, help),
    cmd("idletime", 3, READONLY, KEYSPACE, KEY2, idletime),
    cmd("refcount", 3, READONLY, KEYSPACE, KEY2, refcount),
];

/// OBJECT; the container itself is in no category but @slow.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::NONE,
    commands: &[container("object", -2, 0, NONE, SUBS)],
};

const LFU_OFF: CmdError = CmdError::new(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU_ON: CmdError = CmdError::new(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// Real servers share the numbers below this one and answer the largest count for them: tests and
/// tools tell a shared value by it.
const SHARED_NUMBERS: i64 = 10_000;
const SHARED_COUNT: i64 = i32::MAX as i64;

/// Answers a number about the key's entry, or null without one.
fn reply_number(
    ctx: &mut Ctx<'_>,
    number: impl FnOnce(&State, EntryRef<'_>) -> Result<i64, CmdError>,
) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    if !found(ctx) {
        return Ok(Outcome::Done);
    }
    let state = &*ctx.state;
    if let Some(entry) = state.dbs.get(db, key) {
        let n = number(state, entry)?;
        ctx.out.int(n);
    }
    Ok(Outcome::Done)
}

/// Is the key there? Counts a hit or a miss, without an event; answers null for a miss.
fn found(ctx: &mut Ctx<'_>) -> bool {
    let found = ctx.state.peek(ctx.db, ctx.arg(2)).is_some();
    if found {
        ctx.state.stats.hits += 1;
    } else {
        ctx.state.stats.misses += 1;
        ctx.out.null();
    }
    found
}

fn encoding(ctx: &mut Ctx<'_>) -> CmdResult {
    if found(ctx)
        && let Some(entry) = ctx.state.peek(ctx.db, ctx.arg(2))
    {
        ctx.out.bulk(entry.encoding().as_bytes());
    }
    Ok(Outcome::Done)
}

fn refcount(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_number(ctx, |state, entry| {
        let shared = match entry.string() {
            Ok(StrRef::Int(n)) => shares_numbers(state) && (0..SHARED_NUMBERS).contains(&n),
            _ => false,
        };
        Ok(if shared { SHARED_COUNT } else { 1 })
    })
}

/// Each key needs an access clock of its own for eviction by use, and real servers keep it in the
/// value.
fn shares_numbers(state: &State) -> bool {
    use MaxmemoryPolicy::{AllkeysLfu, AllkeysLru, VolatileLfu, VolatileLru};
    state.config.maxmemory == 0
        || !matches!(
            state.config.maxmemory_policy,
            AllkeysLfu | AllkeysLru | VolatileLfu | VolatileLru
        )
}

fn freq(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_number(ctx, |state, entry| match state.counts_uses() {
        true => Ok(i64::from(state.uses(entry))),
        false => Err(LFU_OFF),
    })
}

fn idletime(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_number(ctx, |state, entry| match state.counts_uses() {
        true => Err(LFU_ON),
        false => Ok(i64::from(state.idle_s(entry))),
    })
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    ])
}
