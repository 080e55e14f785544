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
    flushed(ctx, keys)
}

/// FLUSHALL, but for what it means to files: its row is `persist::flush`'s.
pub fn flushall(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = wants_lazy(ctx)?;
    let keys = ctx.state.flush_all(lazy);
    flushed(ctx, keys)
}

fn flushed(ctx: &mut Ctx<'_>, keys: usize) -> CmdResult {
    ctx.state.dirty += keys as u64;
    // Also when nothing was there: a replica may hold what we do not.
    let argv: Vec<&[u8]> = ctx.argv.iter().collect();
    ctx.propagate_as(&argv);
    ctx.ok()
}

fn swapdb(ctx: &mut Ctx<'_>) -> CmdResult {
    let first = parse_index(ctx.arg(1), "ERR invalid first DB index")?;
    let second = parse_index(ctx.arg(2), "ERR invalid second DB index")?;
    let count = ctx.state.dbs.count();
    let known = |n: i32| usize::try_from(n).ok().filter(|db| *db < count);
    let (Some(a), Some(b)) = (known(first), known(second)) else {
        return Err(DB_OUT_OF_RANGE);
    };
    ctx.state.swap_dbs(a, b);
    ctx.state.dirty += 1;
    ctx.ok()
}

fn parse_index(text: &[u8], error: &'static str) -> Result<i32, CmdError> {
    parse_i64(text)
        .and_then(|n| i32::try_from(n).ok())
        .ok_or(CmdError::new(error))
}
