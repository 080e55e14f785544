//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! Queuing is `exec::unit`'s and refusing what may not be queued is admission's; here a transaction
//! begins, runs and ends.
use crate::exec::admit::show_monitors;
use crate::exec::command::{
    CmdResult, Command, KEYS_RO_META, NO_KEYS, Outcome, acl::NONE, cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::exec::unit::run_queue;
use crate::state::client::Transaction;
use crate::state::gate;
use flag::{ALLOW_BUSY, FAST, LOADING, NOSCRIPT, RUNS_QUEUE, SKIP_SLOWLOG, STALE, UNQUEUED};

const ANY_TIME: u32 = NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY;
const EXEC: u32 = NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | UNQUEUED | RUNS_QUEUE;

const COMMANDS: &[Command] = &[
    cmd("multi", 1, ANY_TIME | UNQUEUED, NONE, NO_KEYS, multi),
    cmd("exec", 1, EXEC, NONE, NO_KEYS, exec),
    cmd("discard", 1, ANY_TIME | UNQUEUED, NONE, NO_KEYS, discard),
    cmd("watch", -2, ANY_TIME | UNQUEUED, NONE, KEYS_RO_META, watch),
    cmd("unwatch", 1, ANY_TIME, NONE, NO_KEYS, unwatch),
];

/// Transactions.
pub static FAMILY: Family = Family {
    group: "transactions",
    acl: crate::exec::command::acl::TRANSACTION,
    commands: COMMANDS,
};

fn multi(ctx: &mut Ctx<'_>) -> CmdResult {
    let client = ctx.client();
    if client.multi.is_some() {
        return Err(CmdError::new("ERR MULTI calls can not be nested"));
    }
    client.multi = Some(Box::default());
    client.gate |= gate::IN_MULTI;
    ctx.ok()
}

fn exec(ctx: &mut Ctx<'_>) -> CmdResult {
    let me = ctx.me;
    let broken = ctx.state.watch_broken(me);
    let Some(transaction) = ctx.client().multi.take() else {
        return Err(CmdError::new("ERR EXEC without MULTI"));
    };
    // Keys are watched up to here: what the transaction itself does to them is no change.
    ctx.state.discard_transaction(me);
    let result = run(ctx, &transaction, broken);
    // Who runs MONITOR sees EXEC behind what it ran.
    if ctx.is_monitored() {
        let row = ctx.table.row(ctx.id);
        show_monitors(ctx.state, ctx.argv, row, ctx.db, ctx.mode, me);
    }
    result
}

fn run(ctx: &mut Ctx<'_>, transaction: &Transaction, broken: bool) -> CmdResult {
    if transaction.aborted {
        return Err(CmdError::new(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    if broken {
        ctx.out.null_array();
        return Ok(Outcome::Done);
    }
    run_queue(ctx, &transaction.queue);
    // The unit holds what the queued commands changed; EXEC adds nothing to it.
    ctx.propagate_nothing();
    Ok(Outcome::Done)
}

fn discard(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().multi.is_none() {
        return Err(CmdError::new("ERR DISCARD without MULTI"));
    }
    ctx.state.discard_transaction(ctx.me);
    ctx.ok()
}

fn watch(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().multi.is_some() {
        return Err(CmdError::new("ERR WATCH inside MULTI is not allowed"));
    }
    for key in ctx.argv.from(1).iter() {
        ctx.state.watch(ctx.me, ctx.db, key);
    }
    ctx.ok()
}

fn unwatch(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.unwatch_all(ctx.me);
    ctx.ok()
}
