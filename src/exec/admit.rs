//! Admission: may this request run now, for this client?
//!
//! Called only when a restriction in force (`state::gate`) concerns the row; then the checks run in
//! a fixed order, the order in which Redis answers when several apply.
use super::acl;
use super::call::reject;
use super::command::{blocked_by, flag};
use super::ctx::{Ctx, Mode};
use super::error::{self, CmdError};
use super::moving;
use super::quota;
use super::registry::Row;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{ClientId, Peer, client_flag};
use crate::state::config::file::errno_text;
use crate::state::evict::Room;
use crate::state::gate;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Run,
    /// Run, with what `gate::NO_TOUCH`, `MONITORED`, `TRACKS` and `CACHING` ask for.
    RunAside,
    /// Inside MULTI: it waits for EXEC.
    Queue,
    /// The error is written.
    Refused,
    /// Paused: it is offered again later.
    Postpone,
}

/// Checks the restrictions `gate` for a row that at least one of them concerns.
pub fn admit(ctx: &mut Ctx<'_>, row: &Row, gate: u32) -> Verdict {
    let flags = effective_flags(ctx, row);
    let decided = row.cmd.is(flag::RUNS_QUEUE) || row.cmd.flag_finder.is_some();
    let concerned = match decided {
        true => blocked_by(flags) & gate,
        false => row.cmd.blocked_by & gate,
    };
    if concerned & gate::BUSY_SCRIPT != 0 && is_others_script(ctx) {
        return Verdict::Postpone;
    }
    match refusal(ctx, row, flags, concerned) {
        Some(error) => {
            reject(ctx, Some(row), &error);
            return Verdict::Refused;
        }
        None if postponed(ctx, concerned) => return Verdict::Postpone,
        None if concerned & gate::MIGRATING != 0 && moving::waits(ctx, row, flags, concerned) => {
            return Verdict::Postpone;
        }
        None => {}
    }
    if concerned & gate::IN_MULTI != 0 {
        if row.cmd.is(flag::NO_MULTI) {
            let error = CmdError::new("ERR Command not allowed inside a transaction");
            reject(ctx, Some(row), &error);
            return Verdict::Refused;
        }
        return Verdict::Queue;
    }
    let aside = gate::MONITORED | gate::NO_TOUCH | gate::TRACKS | gate::CACHING;
    if concerned & aside != 0 {
        return Verdict::RunAside;
    }
    Verdict::Run
}

/// Is the script that keeps everybody waiting another group's? Then this group waits, and hears nothing of
/// it: it could do nothing about it. Operators are told: they can end it.
fn is_others_script(ctx: &Ctx<'_>) -> bool {
    let group = ctx.group();
    let running = ctx.state.scripts.running.as_ref();
    !group.is_default() && running.is_some_and(|running| running.group != group)
}

/// The row's flags. EXEC counts as what it will run: it writes or needs memory if anything in the
/// queue does, and may run while loading (or stale) only if all of the queue may.
fn effective_flags(ctx: &mut Ctx<'_>, row: &Row) -> u32 {
    if !row.cmd.is(flag::RUNS_QUEUE) {
        return flags_of(ctx, row);
    }
    let own = row.cmd.flags;
    const NEED: u32 = flag::WRITE | flag::DENYOOM | flag::MAY_REPLICATE | flag::NO_ASYNC_LOADING;
    const EXEMPT: u32 = flag::LOADING | flag::STALE;
    let (queued, lacks) = match &ctx.client().multi {
        Some(multi) => (multi.flags, multi.lacks),
        None => (0, 0),
    };
    (own | queued & NEED) & !(lacks & EXEMPT) & !flag::RUNS_QUEUE
}

/// The row's flags, or what its arguments make of them.
pub fn flags_of(ctx: &Ctx<'_>, row: &Row) -> u32 {
    let own = row.cmd.flags;
    match row.cmd.flag_finder {
        Some(finder) => finder(ctx.state, ctx.group(), ctx.argv, own),
        None => own,
    }
}

/// The first restriction that refuses a row with these flags.
fn refusal(ctx: &mut Ctx<'_>, row: &Row, flags: u32, concerned: u32) -> Option<CmdError> {
    if concerned & gate::UNAUTHENTICATED != 0 && ctx.state.password_needed() {
        return Some(error::NO_AUTH);
    }
    if concerned & gate::ACL != 0 {
        let queueing = concerned & gate::IN_MULTI != 0;
        let refused = acl::refusal(ctx, row, queueing);
        if refused.is_some() {
            return refused;
        }
    }
    if concerned & gate::TENANT != 0 {
        return Some(error::SERVER_WIDE);
    }
    if concerned & gate::QUOTA != 0
        && let Some(error) = quota::refusal(ctx, row, flags)
    {
        return Some(error);
    }
    // In the midst of a script there is nothing to remove, and its unit is not this request's to end.
    let alone = ctx.state.gate & gate::BUSY_SCRIPT == 0;
    if concerned & gate::MAXMEMORY != 0
        && alone
        && make_room(ctx.state) == Room::None
        // What is queued takes memory, whatever it will do.
        && (flags & flag::DENYOOM != 0 || concerned & gate::IN_MULTI != 0)
    {
        return Some(error::OOM);
    }
    if concerned & gate::DISK_ERROR != 0 {
        return Some(disk_error(ctx.state));
    }
    if concerned & gate::FEW_REPLICAS != 0 {
        return Some(CmdError::new(
            "NOREPLICAS Not enough good replicas to write.",
        ));
    }
    if concerned & gate::READ_ONLY != 0 {
        return Some(error::READ_ONLY);
    }
    if concerned & gate::SUBSCRIBED != 0 {
        return Some(CmdError::owned(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context",
            ctx.table.name(row.id)
        )));
    }
    if concerned & gate::STALE_REPLICA != 0 {
        return Some(error::MASTER_DOWN);
    }
    if concerned & (gate::LOADING | gate::ASYNC_LOADING) != 0 {
        return Some(error::LOADING);
    }
    if concerned & gate::BUSY_SCRIPT != 0 {
        return Some(CmdError::new(ctx.state.scripts.busy_error()));
    }
    if concerned & gate::NO_KEYSPACE != 0 {
        return Some(CmdError::new(
            "ERR Replica can't interact with the keyspace",
        ));
    }
    None
}

/// Keys go in front of the command, whatever it is, and are no part of its unit.
fn make_room(state: &mut State) -> Room {
    let room = state.make_room();
    if state.prop.has_unit() {
        state.prop.end_unit();
    }
    room
}

/// Why what is written could not be kept.
pub fn disk_error(state: &State) -> CmdError {
    match state.aof.error() {
        Some(error) if !state.snapshots_fail() => {
            let reason = errno_text(error);
            CmdError::owned(format!("MISCONF Errors writing to the AOF file: {reason}"))
        }
        _ => CmdError::new(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
             persist to disk. Commands that may modify the data set are disabled, because this \
             instance is configured to report errors during writes if RDB snapshotting fails \
             (stop-writes-on-bgsave-error option). Please check the Redis logs for details about \
             the RDB error.",
        ),
    }
}

/// CLIENT PAUSE: does this request wait?
fn postponed(ctx: &mut Ctx<'_>, concerned: u32) -> bool {
    concerned & (gate::PAUSED_ALL | gate::PAUSED_WRITES) != 0
        && !ctx.client().has(client_flag::REPLICA)
}

/// Shows a request to everybody in its group who runs MONITOR, unless its row forbids it or sees to it
/// itself.
#[cold]
pub fn feed_monitors(
    state: &mut State,
    argv: Argv<'_>,
    row: &Row,
    db: usize,
    mode: Mode,
    me: ClientId,
) {
    let not_here = flag::ADMIN | flag::SKIP_MONITOR | flag::RUNS_QUEUE;
    if row.cmd.flags & not_here == 0 {
        show_monitors(state, argv, row, db, mode, me);
    }
}

/// Shows a request to everybody in its group who runs MONITOR: for commands whose place in the feed is not where
/// they begin (EXEC stands behind what it ran).
#[cold]
pub fn show_monitors(
    state: &mut State,
    argv: Argv<'_>,
    row: &Row,
    db: usize,
    mode: Mode,
    me: ClientId,
) {
    let group = state.group_of_client(me);
    if state.monitors_of(group).next().is_none() {
        return;
    }
    let (at, db) = (state.clock.unix_us, state.local_db(db));
    let from = if mode == Mode::Script {
        "lua".to_string()
    } else {
        let client = state.clients.me(me);
        match &client.peer {
            Peer::Unix(path) => format!("unix:{path}"),
            _ => client.peer_text(),
        }
    };
    let message = state.outbox.encode(|out| {
        out.extend_from_slice(
            format!("+{}.{:06} [{db} {from}]", at / 1_000_000, at % 1_000_000).as_bytes(),
        );
        for (i, arg) in argv.iter().enumerate() {
            out.push(b' ');
            let hidden = row.cmd.hides(argv, i);
            push_quoted(out, if hidden { b"(redacted)" } else { arg });
        }
        out.extend_from_slice(b"\r\n");
    });
    let monitors: Vec<ClientId> = state.monitors_of(group).collect();
    for to in monitors {
        state.outbox.post(to, message.clone());
    }
}

/// Appends bytes in double quotes, unprintable ones as escapes.
pub fn push_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for &b in bytes {
        match b {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', b]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(b),
            _ => out.extend_from_slice(format!("\\x{b:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}
