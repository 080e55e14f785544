//! Runs one row: the only place where a handler is called.
//!
//! Around the handler stand its statistics, SLOWLOG, the latency monitor and the decision what to
//! propagate. EXEC, scripts and woken blocked clients come through here too; files that are loaded have a
//! way of their own, without any of that.
use super::command::{Outcome, flag};
use super::ctx::{Ctx, Mode};
use super::error::CmdError;
use super::observe::{Cost, note_keys};
use super::registry::Row;
use crate::base::sys::ticks;
use crate::resp::reply::Mark;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::ClientId;
use crate::state::commandlog::{LogKind, Sender};

/// Runs `row` with the context's request. An error becomes the whole reply.
#[inline]
pub fn call(ctx: &mut Ctx<'_>, row: &Row) -> Outcome {
    let mark = ctx.out.mark();
    let dirty = ctx.state.dirty;
    let started = ctx.state.stats.tick;
    ctx.id = row.id;
    let result = (row.cmd.handler)(ctx);
    let now = ticks();
    ctx.state.stats.tick = now;
    let spent = now.saturating_sub(started);
    let (outcome, failed) = match result {
        Ok(outcome) => (outcome, outcome == Outcome::Failed),
        Err(error) => {
            ctx.out.truncate(mark);
            ctx.out.error_bytes(error.text());
            ctx.state.count_error(error.code());
            (Outcome::Done, true)
        }
    };
    if outcome == Outcome::Block {
        // Counted when it has been served, with the time it ran then.
        debug_assert!(ctx.may_block(), "a transaction or script answers at once");
        return outcome;
    }
    let stats = &mut ctx.state.stats;
    stats.commands_processed += 1;
    let per = &mut stats.per_command[row.id.0 as usize];
    per.calls += 1;
    per.ticks += spent;
    per.failed += u64::from(failed);
    if stats.track_latency {
        per.latency.record(spent);
    }
    // A large value is replied without being copied, in no time.
    if spent >= stats.slow_ticks || !ctx.out.is_flat() {
        look_closer(ctx, row, spent, mark);
    }
    if ctx.state.dirty != dirty || ctx.state.prop.touched() {
        propagate(ctx, row, dirty);
    }
    outcome
}

/// A command that took long, or may have answered much: the logs, the latency monitor and the hot
/// keys decide themselves.
#[cold]
fn look_closer(ctx: &mut Ctx<'_>, row: &Row, spent: u64, mark: Mark) {
    let micros = ctx.state.stats.ticks_to_us(spent);
    let replied = ctx.out.len_since(mark) as u64;
    // A script's time is its own, and its keys'.
    let counts = ctx.mode != Mode::Script;
    if spent >= ctx.state.stats.hot_ticks && counts {
        let request = ctx.argv.wire().map_or(0, <[u8]>::len);
        let cost = Cost {
            ticks: spent,
            bytes: request as u64 + replied,
        };
        note_keys(ctx.state, row, ctx.argv, ctx.db, cost, 1);
    }
    if counts {
        let event = if row.cmd.is(flag::FAST) {
            "fast-command"
        } else {
            "command"
        };
        let now_s = ctx.state.clock.unix_ms / 1000;
        ctx.state.latency.add(event, now_s, micros / 1000);
    }
    // EXEC's commands are logged one by one, a script's not at all.
    if !counts {
        return;
    }
    // A reply is one client's request's: what runs inside another is part of that one's.
    if ctx.mode == Mode::Client {
        log_command(
            ctx.state,
            row,
            ctx.argv,
            ctx.me,
            LogKind::LargeReply,
            replied,
        );
    }
    log_command(ctx.state, row, ctx.argv, ctx.me, LogKind::Slow, micros);
}

/// Logs a command whose figure this log wants; one that reads secrets or the log itself never.
#[cold]
pub fn log_command(
    state: &mut State,
    row: &Row,
    argv: Argv<'_>,
    me: ClientId,
    kind: LogKind,
    value: u64,
) {
    // EXEC's commands are slow each by itself, but their replies are one: EXEC's.
    let whole = kind == LogKind::LargeReply && row.cmd.is(flag::RUNS_QUEUE);
    let skipped = row.cmd.is(flag::SKIP_SLOWLOG) && !whole;
    if skipped || !state.commandlog.wants(kind, value) {
        return;
    }
    let client = state.clients.me(me);
    let group = client.group;
    let from = Sender {
        peer: client.peer_text(),
        name: client.name_text(),
    };
    let at_s = state.clock.unix_ms / 1000;
    let hidden = |i: usize| row.cmd.hides(argv, i);
    let place = (group, kind);
    let log = &mut state.commandlog;
    log.add(place, argv, &hidden, value, at_s, from);
}

/// Decides what the log carries of a command that changed something.
#[inline]
fn propagate(ctx: &mut Ctx<'_>, row: &Row, dirty_before: u64) {
    if !ctx.state.prop.on {
        return ctx.state.prop.reset_choice();
    }
    // SAVE sets the count of changes back, and is none: a log with it could not be loaded.
    let changed = ctx.state.dirty != dirty_before
        && row.cmd.flags & (flag::ADMIN | flag::WRITE) != flag::ADMIN;
    ctx.state.prop.push(ctx.db, ctx.argv, changed);
}

/// Runs `row` for a file that is loaded: nothing is counted or logged, and nobody reads the reply.
#[inline]
pub fn replay(ctx: &mut Ctx<'_>, row: &Row) -> Result<(), CmdError> {
    ctx.id = row.id;
    let result = (row.cmd.handler)(ctx);
    ctx.state.prop.reset_choice();
    result.map(drop)
}

/// EXEC was not run: the transaction is over.
fn reject_transaction(ctx: &mut Ctx<'_>, error: &CmdError) {
    let reason = error.text();
    let reason = reason.strip_prefix(b"ERR ").unwrap_or(reason);
    ctx.out
        .error_bytes(&[b"EXECABORT Transaction discarded because of: ", reason].concat());
    ctx.state.count_error("EXECABORT");
    ctx.state.discard_transaction(ctx.me);
}

/// Writes the reply of a request that was not run, and counts it.
#[cold]
pub fn reject(ctx: &mut Ctx<'_>, row: Option<&Row>, error: &CmdError) {
    if let Some(row) = row {
        ctx.state.stats.per_command[row.id.0 as usize].rejected += 1;
        if row.cmd.is(flag::RUNS_QUEUE) {
            return reject_transaction(ctx, error);
        }
    }
    ctx.out.error_bytes(error.text());
    ctx.state.count_error(error.code());
    // A request that cannot be queued spoils the transaction.
    if let Some(multi) = &mut ctx.client().multi {
        multi.aborted = true;
    }
}
