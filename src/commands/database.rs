//! Whole databases: DBSIZE, FLUSHDB, SWAPDB, and what FLUSHALL does to them.
use crate::base::num::parse_i64;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, UsedDbs,
    acl::{self, DANGEROUS, NONE},
    cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, DB_OUT_OF_RANGE, SYNTAX};
use crate::exec::registry::Family;
use flag::{FAST, READONLY, WRITE};

const COMMANDS: &[Command] = &[
    cmd("dbsize", 1, READONLY | FAST, NONE, NO_KEYS, dbsize).using(UsedDbs::Selected),
    cmd("flushdb", -1, WRITE, DANGEROUS, NO_KEYS, flushdb).using(UsedDbs::Selected),
    cmd("swapdb", 3, WRITE | FAST, DANGEROUS, NO_KEYS, swapdb)
        .using(UsedDbs::Named(|_| vec![1, 2])),
];

/// Whole databases.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::KEYSPACE,
    commands: COMMANDS,
};

fn dbsize(ctx: &mut Ctx<'_>) -> CmdResult {
    let keys = ctx.state.dbs[ctx.db].len();
    ctx.int(keys as i64)
}

/// SYNC, ASYNC, or what the configuration says: is the data to be freed in the background?
fn wants_lazy(ctx: &Ctx<'_>) -> Result<bool, CmdError> {
    match ctx.argc() {
        1 => Ok(ctx.state.config.lazyfree_lazy_user_flush),
        2 if ctx.arg(1).eq_ignore_ascii_case(b"sync") => Ok(false),
        2 if ctx.arg(1).eq_ignore_ascii_case(b"async") => Ok(true),
        _ => Err(SYNTAX),
    }
}

fn flushdb(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = wants_lazy(ctx)?;
    let keys = ctx.state.flush_db(ctx.db, lazy);
    ctx.state.dirty += keys as u64;
    flushed(ctx)
}

/// FLUSHALL, but for what it means to files: its row is `persist::flush`'s, which tells the log as well. Only
/// what belongs to the own group goes.
pub fn flushall(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = wants_lazy(ctx)?;
    let group = ctx.state.group_of(ctx.db);
    // A log knows no groups: it is told of each database.
    let apart = ctx
        .state
        .groups
        .exist()
        .then(|| ctx.state.filled_dbs(group));
    let keys = ctx.state.flush_all(group, lazy);
    ctx.state.dirty += keys as u64;
    let Some(dbs) = apart else {
        return flushed(ctx);
    };
    let mut argv: Vec<&[u8]> = ctx.argv.iter().collect();
    argv[0] = b"FLUSHDB";
    ctx.propagate_nothing();
    let empty = Some(ctx.db).filter(|db| !dbs.contains(db));
    for db in dbs.into_iter().chain(empty) {
        ctx.state.prop.push_own(db, &argv);
    }
    ctx.ok()
}

/// Also when nothing was there: a replica may hold what we do not.
fn flushed(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv: Vec<&[u8]> = ctx.argv.iter().collect();
    ctx.propagate_as(&argv);
    ctx.ok()
}

fn swapdb(ctx: &mut Ctx<'_>) -> CmdResult {
    let first = parse_index(ctx.arg(1), "ERR invalid first DB index")?;
    let second = parse_index(ctx.arg(2), "ERR invalid second DB index")?;
    let (Some(a), Some(b)) = (ctx.named_db(first), ctx.named_db(second)) else {
        return Err(DB_OUT_OF_RANGE);
    };
    ctx.state.swap_dbs(a, b);
    ctx.state.dirty += 1;
    if let (Some(a), Some(b)) = (ctx.logged_db(a), ctx.logged_db(b)) {
        ctx.propagate_as(&[b"SWAPDB", a.as_bytes(), b.as_bytes()]);
    }
    ctx.ok()
}

fn parse_index(text: &[u8], error: &'static str) -> Result<i32, CmdError> {
    parse_i64(text)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or(CmdError::new(error))
}
