//! Connections: what a client says about itself and asks of its connection.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{self, wrong_arity};
use crate::exec::registry::Family;
use flag::{ALLOW_BUSY, FAST, LOADING, NO_AUTH, NOSCRIPT, STALE, SUBSCRIBED_OK, UNQUEUED};

const COMMANDS: &[Command] = &[
    cmd("ping", -1, FAST | SUBSCRIBED_OK, acl::NONE, NO_KEYS, ping),
    cmd("echo", 2, FAST | LOADING | STALE, acl::NONE, NO_KEYS, echo),
    cmd(
        "select",
        2,
        LOADING | STALE | FAST,
        acl::NONE,
        NO_KEYS,
        select,
    ),
    cmd(
        "quit",
        -1,
        ALLOW_BUSY | NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | UNQUEUED | SUBSCRIBED_OK,
        acl::NONE,
        NO_KEYS,
        quit,
    ),
];

/// Connections.
pub static FAMILY: Family = Family {
    group: "connection",
    acl: acl::CONNECTION,
    commands: COMMANDS,
};

fn ping(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc() > 2 {
        return Err(wrong_arity("ping"));
    }
    match ctx.argc() {
        1 => ctx.out.pong(),
        _ => {
            let text = ctx.arg(1);
            ctx.out.bulk(text);
        }
    }
    Ok(Outcome::Done)
}

fn echo(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = ctx.arg(1);
    ctx.out.bulk(text);
    Ok(Outcome::Done)
}

fn select(ctx: &mut Ctx<'_>) -> CmdResult {
    let n = crate::base::num::parse_i64(ctx.arg(1)).ok_or(error::NOT_INTEGER)?;
    let db = usize::try_from(n)
        .ok()
        .filter(|db| *db < ctx.state.dbs.count());
    let db = db.ok_or(error::DB_OUT_OF_RANGE)?;
    ctx.db = db;
    ctx.client().db = db as u32;
    ctx.ok()
}

fn quit(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.client().flags |= crate::state::client::client_flag::CLOSE_AFTER_REPLY;
    ctx.ok()
}
