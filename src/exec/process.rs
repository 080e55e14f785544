//! The way of a client's request: lookup, arity, admission, queue or call, end of unit.
use super::acl;
use super::admit::{self, Verdict};
use super::call::{call, reject};
use super::command::{Outcome, flag};
use super::ctx::{Ctx, Mode};
use super::error::{CmdError, shown, wrong_arity};
use super::registry::{Registry, Row};
use super::track;
use super::unit;
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{ClientId, ReplyMode};
use crate::state::gate;

/// What the connection does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next request.
    Continue,
    /// Nothing more until the client is unblocked; the request is consumed.
    Blocked,
    /// Nothing more until the pause ends; the same request is offered again.
    Postponed,
}

/// Runs one request of a client. The reply goes to `out`; messages for other clients are left in
/// `state.outbox`, which the caller drains behind the reply.
#[inline(always)]
pub fn process<'a>(
    state: &'a mut State,
    table: &'a Registry,
    row: Option<&'a Row>,
    argv: Argv<'a>,
    out: &'a mut Writer,
    me: ClientId,
) -> Flow {
    let client = state.clients.me(me);
    let (db, client_gate) = (client.db as usize, client.gate);
    client.commands += 1;
    let gate = client_gate | state.gate;
    let mut ctx = Ctx {
        state,
        table,
        argv,
        out,
        me,
        db,
        mode: Mode::Client,
        id: Default::default(),
    };
    let row = match row {
        Some(row) if row.cmd.takes(argv.len()) && row.cmd.subs.is_empty() => row,
        other => match resolve(&mut ctx, other) {
            Some(row) => row,
            None => return Flow::Continue,
        },
    };
    let concerned = row.cmd.blocked_by & gate;
    if concerned != 0 && !is_free(&mut ctx, row, concerned) {
        let verdict = admit::admit(&mut ctx, row, gate);
        if !ctx.state.outbox.is_empty() {
            tell_first(&mut ctx, verdict);
        }
        match verdict {
            Verdict::Run => {}
            Verdict::RunAside => return run_aside(ctx, row, gate),
            Verdict::Queue => {
                unit::enqueue(&mut ctx, row);
                return Flow::Continue;
            }
            Verdict::Refused => {
                used_caching(&mut ctx);
                return Flow::Continue;
            }
            Verdict::Postpone => return Flow::Postponed,
        }
    }
    run(ctx, row)
}

/// What making room for a request had to tell its own client goes in front of the reply. A client that
/// wants no replies gets it as others do.
#[cold]
fn tell_first(ctx: &mut Ctx<'_>, verdict: Verdict) {
    let (replies, commands) = match ctx.client() {
        client if client.reply_mode == ReplyMode::On => (true, client.commands),
        _ => (false, 0),
    };
    if replies && !matches!(verdict, Verdict::Refused | Verdict::Postpone) {
        ctx.state.outbox.hand_over(ctx.me, commands, ctx.out);
    }
}

/// Does nothing of what concerns every command stand in the way of this one? There is nearly always room
/// where memory is limited, and users mostly do what they may.
#[inline]
fn is_free(ctx: &mut Ctx<'_>, row: &Row, concerned: u32) -> bool {
    if concerned & gate::MAXMEMORY != 0 && !ctx.state.is_at_ease() {
        return false;
    }
    match concerned & !gate::MAXMEMORY {
        0 => true,
        gate::ACL => {
            let user = ctx.client().user;
            acl::allows_at_once(ctx.state.users.get(user), row, ctx.argv)
        }
        _ => false,
    }
}

/// Runs an admitted request and ends its unit.
#[inline(always)]
fn run(mut ctx: Ctx<'_>, row: &Row) -> Flow {
    ctx.client().last_command = row.id;
    let outcome = call(&mut ctx, row);
    let alone = ctx.state.gate & gate::BUSY_SCRIPT == 0;
    if (ctx.state.prop.has_unit() || ctx.state.blocked.has_ready()) && alone {
        // What such a command expires on its way is no part of what it does.
        ctx.state.prop.apart = row.cmd.is(flag::ARBITRARY_KEYS);
        let wrote = ctx.state.prop.has_unit();
        unit::finish(ctx.state, ctx.table);
        if wrote {
            ctx.state.note_written(ctx.me);
        }
    }
    if outcome == Outcome::Block {
        Flow::Blocked
    } else {
        Flow::Continue
    }
}

/// A request that was not run is the next one, too, for which CLIENT CACHING was given.
#[cold]
fn used_caching(ctx: &mut Ctx<'_>) {
    let client = ctx.client();
    if client.gate & gate::CACHING != 0 {
        client.used_caching(None);
    }
}

/// The same where somebody runs MONITOR, where the client's reads are to leave no trace (NO-TOUCH), or
/// where they are tracked.
#[cold]
fn run_aside(ctx: Ctx<'_>, row: &Row, gate: u32) -> Flow {
    let Ctx {
        state,
        table,
        argv,
        out,
        me,
        db,
        mode,
        id,
    } = ctx;
    let blocked_by = row.cmd.blocked_by;
    if blocked_by & gate & gate::NO_TOUCH != 0 {
        state.touch_off = true;
    }
    let reads = state.tracking.reads;
    let inner = Ctx {
        state: &mut *state,
        table,
        argv,
        out,
        me,
        db,
        mode,
        id,
    };
    let flow = run(inner, row);
    state.touch_off = state.child_alive;
    if blocked_by & gate & gate::TRACKS != 0 {
        track::remember_all(state, row, argv, me, reads);
    }
    if gate & gate::CACHING != 0 {
        state.clients.me(me).used_caching(Some(row.parent));
    }
    // Shown when it has run, in the database it left: a script's commands come behind the script
    // only because its row sees to that itself.
    if !state.monitors.is_empty() {
        let db = state.clients.me(me).db as usize;
        admit::feed_monitors(state, argv, row, db, mode, me);
    }
    flow
}

/// The slow way to a row: subcommands, and the errors of those not found.
#[cold]
fn resolve<'a>(ctx: &mut Ctx<'a>, row: Option<&'a Row>) -> Option<&'a Row> {
    if row.is_none() && is_http(ctx.argv.get(0)) {
        let client = ctx.client();
        log::warn!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: \
             commands to Redis. This is likely due to an attacker attempting to use Cross Protocol \
             Scripting to compromise your Redis instance. Connection from {} aborted.",
            client.peer_text()
        );
        ctx.state.close_client(ctx.me);
        return None;
    }
    match resolve_row(ctx.table, row, ctx.argv) {
        Ok(row) => Some(row),
        Err((row, error)) => {
            reject(ctx, row, &error);
            used_caching(ctx);
            None
        }
    }
}

/// A web page can make a browser send us its request; nothing after the line that gives it away may
/// run.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

type Refusal<'t> = (Option<&'t Row>, CmdError);

/// Finds the row that will run: the command itself or its subcommand, with a fitting arity.
pub fn resolve_row<'t>(
    table: &'t Registry,
    row: Option<&'t Row>,
    argv: Argv<'_>,
) -> Result<&'t Row, Refusal<'t>> {
    let Some(row) = row else {
        return Err((None, unknown_command(argv)));
    };
    let mut found = row;
    if !row.cmd.subs.is_empty() {
        if argv.len() < 2 {
            if row.cmd.is(flag::CONTAINER) {
                return Err((Some(row), wrong_arity(table.name(row.id))));
            }
            return Ok(row);
        }
        match table.find_sub(row, argv.get(1)) {
            Some(sub) => found = sub,
            None => {
                return Err((
                    None,
                    CmdError::showing(
                        "ERR unknown subcommand '",
                        shown(argv.get(1), 128),
                        &format!("'. Try {} HELP.", table.name(row.id).to_uppercase()),
                    ),
                ));
            }
        }
    }
    if !found.cmd.takes(argv.len()) {
        return Err((Some(found), wrong_arity(table.name(found.id))));
    }
    Ok(found)
}

/// `ERR unknown command 'x', with args beginning with: 'a' 'b' `, at most 128 bytes of arguments.
pub fn unknown_command(argv: Argv<'_>) -> CmdError {
    let mut text = b"', with args beginning with: ".to_vec();
    let before = text.len();
    for i in 1..argv.len() {
        let length = text.len() - before;
        if length >= 128 {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(shown(argv.get(i), 128 - length));
        text.extend_from_slice(b"' ");
    }
    CmdError::owned_bytes([b"ERR unknown command '", shown(argv.get(0), 128), &text].concat())
}
