//! A command that a script calls: what may refuse it, and how it runs.
//!
//! It takes the one way of all commands, `exec::call`, in a mode of its own. What a script may not do is
//! looked at here, in the order in which Redis answers; statistics count a refusal once, here.
use crate::base::sys::ticks;
use crate::exec::acl;
use crate::exec::admit::{disk_error, feed_monitors};
use crate::exec::call::call;
use crate::exec::command::flag;
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{self, CmdError};
use crate::exec::registry::{Registry, Row};
use crate::exec::{quota, track};
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::state::gate;
use crate::state::prop::reader;

/// Flags of a script (its shebang's) or function.
pub mod script_flag {
    pub const NO_WRITES: u32 = 1 << 0;
    pub const ALLOW_OOM: u32 = 1 << 1;
    pub const ALLOW_STALE: u32 = 1 << 2;
    pub const NO_CLUSTER: u32 = 1 << 3;
    pub const ALLOW_CROSS_SLOT: u32 = 1 << 4;
    /// It declared no flags: what it may do is looked at command by command.
    pub const UNDECLARED: u32 = 1 << 5;
    /// The flags that can be declared, in the order in which FUNCTION LIST shows them.
    pub const NAMES: &[(u32, &str)] = &[
        (NO_WRITES, "no-writes"),
        (ALLOW_OOM, "allow-oom"),
        (ALLOW_STALE, "allow-stale"),
        (NO_CLUSTER, "no-cluster"),
        (ALLOW_CROSS_SLOT, "allow-cross-slot-keys"),
    ];
}

/// Where a script's commands are propagated to (`redis.set_repl`).
pub mod repl {
    pub const NONE: u8 = 0;
    pub const AOF: u8 = 1;
    pub const REPLICA: u8 = 2;
    pub const ALL: u8 = 3;
}

/// What a running script is allowed, and what it has chosen.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// `script_flag`s.
    pub flags: u32,
    /// It may not write: EVAL_RO and its sisters, or `no-writes`.
    pub read_only: bool,
    /// Too much memory was in use when it began.
    pub oom: bool,
    /// It has written.
    pub wrote: bool,
    /// Its commands answer in RESP3 (`redis.setresp`).
    pub resp3: bool,
    /// `repl`.
    pub repl: u8,
    /// The database it is in.
    pub db: usize,
}

impl Terms {
    /// For a script with these flags, which begins now.
    pub fn new(ctx: &Ctx<'_>, flags: u32, read_only: bool) -> Terms {
        Terms {
            flags,
            read_only: read_only || flags & script_flag::NO_WRITES != 0,
            oom: ctx.state.eviction.out_of_memory,
            wrote: false,
            resp3: false,
            repl: repl::ALL,
            db: ctx.db,
        }
    }
}

/// As ctx, for the length of a script.
pub struct Caller<'a, 'b> {
    pub ctx: &'a mut Ctx<'b>,
    pub terms: &'a mut Terms,
}

const UNKNOWN: CmdError = CmdError::new("ERR Unknown Redis command called from script");
const ARITY: CmdError = CmdError::new("ERR Wrong number of args calling Redis command from script");
const FORBIDDEN: CmdError = CmdError::new("ERR This Redis command is not allowed from script");
const STALE: CmdError = CmdError::new("ERR Can not execute the command on a stale replica");
const READ_ONLY_SCRIPT: CmdError =
    CmdError::new("ERR Write commands are not allowed from read-only scripts.");
const FEW_REPLICAS: CmdError = CmdError::new("NOREPLICAS Not enough good replicas to write.");

/// Runs a command for a script. The reply, an error's too, is all of `out`.
pub fn perform(caller: &mut Caller<'_, '_>, argv: Argv<'_>, out: &mut Writer) {
    out.clear();
    out.resp3 = caller.terms.resp3;
    let table = caller.ctx.table;
    let row = match find(table, argv) {
        Ok(row) => row,
        Err(error) => return refuse(caller, None, &error, out),
    };
    if let Some(error) = refusal(caller, row, argv) {
        return refuse(caller, Some(row), &error, out);
    }
    if caller.ctx.client().gate & gate::QUOTA != 0
        && let Some(error) = over_quota(caller, row, argv, out)
    {
        return refuse(caller, Some(row), &error, out);
    }
    run(caller, row, argv, out);
}

/// Unlike the server's own limit a group's holds in the middle of a script, too: others would feel it.
#[cold]
fn over_quota(
    caller: &mut Caller<'_, '_>,
    row: &Row,
    argv: Argv<'_>,
    out: &mut Writer,
) -> Option<CmdError> {
    let ctx = &mut *caller.ctx;
    let mut inner = Ctx {
        state: &mut *ctx.state,
        table: ctx.table,
        argv,
        out,
        me: ctx.me,
        db: caller.terms.db,
        mode: Mode::Script,
        id: row.id,
    };
    quota::refusal_inside(&mut inner, row)
}

/// The command does not run: its error is the reply, and is counted here.
#[cold]
fn refuse(caller: &mut Caller<'_, '_>, row: Option<&Row>, error: &CmdError, out: &mut Writer) {
    let state = &mut *caller.ctx.state;
    if let Some(row) = row {
        state.stats.per_command[row.id.0 as usize].rejected += 1;
    }
    state.count_error(error.code());
    out.error_bytes(error.text());
}

#[inline]
fn run(caller: &mut Caller<'_, '_>, row: &Row, argv: Argv<'_>, out: &mut Writer) {
    let (ctx, terms) = (&mut *caller.ctx, &mut *caller.terms);
    if row.cmd.is(flag::WRITE) && !terms.wrote {
        terms.wrote = true;
        if let Some(running) = &mut ctx.state.scripts.running {
            running.wrote = true;
        }
    }
    let logged = ctx.state.prop.on;
    // What comes from a file goes to no log; a primary's script goes into this server's own by what it does.
    let from_file = ctx.mode == Mode::Replay && !ctx.state.repl.applying;
    ctx.state.prop.on = logged && terms.repl != 0 && !from_file;
    ctx.state.prop.readers = match terms.repl {
        repl::AOF => reader::AOF,
        repl::REPLICA => reader::REPLICAS | reader::PLAIN,
        _ => reader::ALL,
    };
    // What the script did since its last command is not this command's.
    ctx.state.stats.tick = ticks();
    let mut inner = Ctx {
        state: &mut *ctx.state,
        table: ctx.table,
        argv,
        out,
        me: ctx.me,
        db: terms.db,
        mode: Mode::Script,
        id: row.id,
    };
    call(&mut inner, row);
    terms.db = inner.db;
    ctx.state.prop.on = logged;
    ctx.state.prop.readers = reader::ALL;
    let gate = ctx.client().gate | ctx.state.gate;
    if gate & gate::TRACKS != 0 {
        track::remember(ctx.state, row, argv, ctx.me);
    }
    if gate & gate::MONITORED != 0 {
        feed_monitors(ctx.state, argv, row, terms.db, Mode::Script, ctx.me);
    }
}

/// The row of a command or subcommand that takes so many arguments.
fn find<'t>(table: &'t Registry, argv: Argv<'_>) -> Result<&'t Row, CmdError> {
    let mut row = table.find(argv.get(0)).ok_or(UNKNOWN)?;
    if !row.cmd.subs.is_empty() && argv.len() > 1 {
        row = table.find_sub(row, argv.get(1)).ok_or(UNKNOWN)?;
    } else if row.cmd.is(flag::CONTAINER) {
        return Err(ARITY);
    }
    if row.cmd.takes(argv.len()) {
        Ok(row)
    } else {
        Err(ARITY)
    }
}

/// The command that a script checks its rights for (`redis.acl_check_cmd`).
pub fn find_command<'t>(table: &'t Registry, argv: Argv<'_>) -> Option<&'t Row> {
    let row = table.find(argv.get(0))?;
    if row.cmd.subs.is_empty() || argv.len() < 2 {
        return Some(row);
    }
    table.find_sub(row, argv.get(1))
}

/// Why the script may not run this row, or may not run it now.
#[inline]
fn refusal(caller: &mut Caller<'_, '_>, row: &Row, argv: Argv<'_>) -> Option<CmdError> {
    let (state, db) = (&*caller.ctx.state, caller.terms.db);
    if row.cmd.is(flag::NOSCRIPT) && state.debug.deny_scripts {
        return Some(FORBIDDEN);
    }
    let tenant = || !state.group_of(db).is_default();
    if row.cmd.is(flag::SERVER_WIDE) && tenant() {
        return Some(error::SERVER_WIDE);
    }
    let gate = state.gate & row.cmd.blocked_by;
    if gate & gate::STALE_REPLICA != 0 {
        return Some(STALE);
    }
    if let Some(error) = acl::refusal_in_script(caller.ctx, row, argv, db) {
        return Some(error);
    }
    let (state, terms) = (&*caller.ctx.state, &*caller.terms);
    // What only may be told to replicas (PUBLISH, PFCOUNT) counts as a write here.
    if terms.read_only && row.cmd.flags & (flag::WRITE | flag::MAY_REPLICATE) != 0 {
        return Some(READ_ONLY_SCRIPT);
    }
    if !row.cmd.is(flag::WRITE) {
        return None;
    }
    // The state of the server counts up to the first write: half of a script is worse than all of it.
    if terms.wrote || caller.ctx.mode == Mode::Replay {
        return None;
    }
    if gate & gate::READ_ONLY != 0 {
        return Some(error::READ_ONLY);
    }
    if gate & gate::DISK_ERROR != 0 {
        return Some(disk_error(state));
    }
    if gate & gate::FEW_REPLICAS != 0 {
        return Some(FEW_REPLICAS);
    }
    let oom = terms.oom && terms.flags & script_flag::ALLOW_OOM == 0;
    (oom && row.cmd.is(flag::DENYOOM)).then_some(error::OOM)
}

/// The command flags that a script's declared flags stand for: admission treats it as such a command.
pub fn command_flags(own: u32, script: u32) -> u32 {
    if script & script_flag::UNDECLARED != 0 {
        // EVAL_RO and its sisters change nothing, whatever they run.
        let reads = own & flag::READONLY != 0;
        let own = own & !flag::STALE;
        return own | if reads { 0 } else { flag::MAY_REPLICATE };
    }
    let mut flags = own & !(flag::STALE | flag::DENYOOM | flag::WRITE);
    // What does not write needs no memory that counts.
    if script & (script_flag::ALLOW_OOM | script_flag::NO_WRITES) == 0 {
        flags |= flag::DENYOOM;
    }
    if script & script_flag::NO_WRITES == 0 {
        flags |= flag::WRITE;
    }
    if script & script_flag::ALLOW_STALE != 0 {
        flags |= flag::STALE;
    }
    flags
}

/// A script that declares what it needs, but not that it only reads, is not for the commands that only read.
pub fn check_read_only(flags: u32, read_only: bool) -> Result<(), CmdError> {
    match read_only && flags & (script_flag::NO_WRITES | script_flag::UNDECLARED) == 0 {
        true => Err(CmdError::new(
            "ERR Can not execute a script with write flag using *_ro command.",
        )),
        false => Ok(()),
    }
}
