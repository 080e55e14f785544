//! Commands over several sets: intersections, unions, differences, and where they are stored.

use std::ops::ControlFlow;

use super::limits;
use crate::base::num;
use crate::commands::vals;
use crate::ds::table::Slot;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::set::{Member, Set, SetRef, algebra};

const NO_KEYS: CmdError = CmdError::new("ERR numkeys should be greater than 0");
const TOO_MANY_KEYS: CmdError =
    CmdError::new("ERR Number of keys can't be greater than number of args");
const BAD_LIMIT: CmdError = CmdError::new("ERR LIMIT can't be negative");

/// What is done with the sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersect,
    Unite,
    Subtract,
}

/// The sets at these keys, `None` for an absent one. Another type at any of them is an error.
fn sources<'s>(
    state: &'s mut State,
    db: usize,
    keys: Argv<'_>,
) -> Result<Vec<Option<SetRef<'s>>>, CmdError> {
    let before = state.dbs[db].len();
    let mut slots: Vec<Option<Slot>> = Vec::with_capacity(keys.len());
    for key in keys.iter() {
        let slot = state.lookup_read_slot(db, key);
        if let Some(slot) = slot {
            state.dbs[db].entry(slot).get::<Set>()?;
        }
        slots.push(slot);
    }
    let state = &*state;
    if state.dbs[db].len() != before {
        // Dead keys went on the way, and those found before them may have moved.
        for (slot, key) in slots.iter_mut().zip(keys.iter()) {
            *slot = slot.and_then(|_| state.dbs.find(db, key));
        }
    }
    let set = |slot: Slot| Ok(state.dbs[db].entry(slot).get::<Set>()?);
    slots
        .into_iter()
        .map(|slot| slot.map(set).transpose())
        .collect()
}

/// Shows the members that the operation gives, until told to stop.
fn run<'s>(
    operation: Operation,
    state: &'s mut State,
    db: usize,
    keys: Argv<'_>,
    show: impl FnMut(Member<'s>) -> ControlFlow<()>,
) -> Result<(), CmdError> {
    let key = state.dbs.hash_key();
    let found = sources(state, db, keys)?;
    let there: Vec<SetRef<'s>> = found.iter().flatten().copied().collect();
    match operation {
        Operation::Intersect if there.len() < found.len() => {}
        Operation::Intersect => algebra::intersect(&there, &key, show),
        Operation::Unite => algebra::unite(&there, &key, show),
        Operation::Subtract => {
            if let Some(Some(first)) = found.first() {
                algebra::subtract(*first, &there[1..], &key, show);
            }
        }
    }
    Ok(())
}

fn reply(ctx: &mut Ctx<'_>, operation: Operation) -> CmdResult {
    let (state, out) = (&mut *ctx.state, &mut *ctx.out);
    let hole = out.open();
    let mut count = 0;
    run(operation, state, ctx.db, ctx.argv.from(1), |member| {
        vals::reply(out, Some(member.val));
        count += 1;
        vals::go_on(out)
    })?;
    out.close_set(hole, count);
    Ok(Outcome::Done)
}

fn store(ctx: &mut Ctx<'_>, operation: Operation, event: Event) -> CmdResult {
    let (key, limits) = (ctx.arg(1), limits(ctx.state));
    let mut members = Vec::new();
    run(operation, ctx.state, ctx.db, ctx.argv.from(2), |member| {
        members.push(member);
        ControlFlow::Continue(())
    })?;
    let count = members.len();
    let set = Set::of_distinct(&members, &limits);
    ctx.store(key, set, event, 1);
    ctx.int(count as i64)
}

pub(super) fn sinter(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Intersect)
}

pub(super) fn sunion(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Unite)
}

pub(super) fn sdiff(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Subtract)
}

pub(super) fn sinterstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Intersect, Event::SINTERSTORE)
}

pub(super) fn sunionstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Unite, Event::SUNIONSTORE)
}

pub(super) fn sdiffstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Subtract, Event::SDIFFSTORE)
}

pub(super) fn sintercard(ctx: &mut Ctx<'_>) -> CmdResult {
    let keys = num::parse_i64(ctx.arg(1)).filter(|count| *count > 0);
    let keys = keys.ok_or(NO_KEYS)?;
    let keys = usize::try_from(keys).map_err(|_| TOO_MANY_KEYS)?;
    if keys > ctx.argc() - 2 {
        return Err(TOO_MANY_KEYS);
    }
    let mut limit = 0;
    let mut at = 2 + keys;
    while at < ctx.argc() {
        if !ctx.arg(at).eq_ignore_ascii_case(b"limit") || at + 1 == ctx.argc() {
            return Err(SYNTAX);
        }
        let number = num::parse_i64(ctx.arg(at + 1));
        limit = number
            .and_then(|limit| usize::try_from(limit).ok())
            .ok_or(BAD_LIMIT)?;
        at += 2;
    }
    let mut count = 0;
    let keys = ctx.argv.from(2).first(keys);
    run(Operation::Intersect, ctx.state, ctx.db, keys, |_| {
        count += 1;
        // 0 is no limit, and is never reached.
        if count == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    ctx.int(count as i64)
}
