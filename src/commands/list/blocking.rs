//! Waiting for elements: BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP.
//!
//! A handler that finds nothing parks its client; when a key becomes a list, the same handler runs
//! again. The log gets what was done in the end: a pop or a move that does not wait.

use super::transfer::{Pops, pop_name, transfer};
use super::{Shown, end_of, take};
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::unit::Wait;
use crate::state::client::TimeoutReply;
use crate::types::Kind;
use crate::types::list::End;

/// Waits for a list at one of the arguments `first..first + keys`. Where nobody may wait, `null` is
/// the answer.
fn wait(
    ctx: &mut Ctx<'_>,
    first: usize,
    keys: usize,
    deadline_ms: u64,
    null: TimeoutReply,
) -> CmdResult {
    if !ctx.may_block() {
        match null {
            TimeoutReply::Null => ctx.out.null(),
            _ => ctx.out.null_array(),
        }
        return Ok(Outcome::Done);
    }
    let argv = ctx.argv;
    let keys: Vec<&[u8]> = (first..first + keys).map(|at| argv.get(at)).collect();
    Ok(ctx.block_on(&Wait {
        keys: &keys,
        kind: Kind::List,
        wants_absence: false,
        deadline_ms,
        // Redis tells every client whose time is up the same.
        on_timeout: TimeoutReply::NullArray,
    }))
}

fn pop(ctx: &mut Ctx<'_>, end: End) -> CmdResult {
    let last = ctx.argc() - 1;
    let deadline_ms = ctx.deadline_s(ctx.arg(last))?;
    for at in 1..last {
        let key = ctx.arg(at);
        if let Some(slot) = ctx.write(key) {
            take(ctx, key, slot, end, Shown::KeyAndElement)?;
            ctx.propagate_as(&[pop_name(end), key]);
            return Ok(Outcome::Done);
        }
    }
    wait(ctx, 1, last - 1, deadline_ms, TimeoutReply::NullArray)
}

pub(super) fn blpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, End::Front)
}

pub(super) fn brpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, End::Back)
}

pub(super) fn blmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let pops = Pops::parse(ctx.argv, 2)?;
    let deadline_ms = ctx.deadline_s(ctx.arg(1))?;
    if pops.run(ctx)? {
        return Ok(Outcome::Done);
    }
    wait(
        ctx,
        pops.first,
        pops.keys,
        deadline_ms,
        TimeoutReply::NullArray,
    )
}

pub(super) fn blmove(ctx: &mut Ctx<'_>) -> CmdResult {
    let (from, to) = (end_of(ctx.arg(3))?, end_of(ctx.arg(4))?);
    let deadline_ms = ctx.deadline_s(ctx.arg(5))?;
    if ctx.write_kind(ctx.arg(1), Kind::List)?.is_none() {
        return wait(ctx, 1, 1, deadline_ms, TimeoutReply::Null);
    }
    let done = transfer(ctx, from, to)?;
    let (source, target) = (ctx.arg(1), ctx.arg(2));
    ctx.propagate_as(&[b"LMOVE", source, target, ctx.arg(3), ctx.arg(4)]);
    Ok(done)
}

pub(super) fn brpoplpush(ctx: &mut Ctx<'_>) -> CmdResult {
    let deadline_ms = ctx.deadline_s(ctx.arg(3))?;
    if ctx.write_kind(ctx.arg(1), Kind::List)?.is_none() {
        return wait(ctx, 1, 1, deadline_ms, TimeoutReply::Null);
    }
    let done = transfer(ctx, End::Back, End::Front)?;
    ctx.propagate_as(&[b"RPOPLPUSH", ctx.arg(1), ctx.arg(2)]);
    Ok(done)
}
