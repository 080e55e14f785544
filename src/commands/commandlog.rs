//! COMMANDLOG and SLOWLOG: show what `state::commandlog` has kept.
//!
//! SLOWLOG is the same log as COMMANDLOG's `slow`, in the words that clients know.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, subcommand_syntax};
use crate::exec::registry::Family;
use crate::state::commandlog::LogKind;
use flag::{ADMIN, LOADING, STALE};

const GUARDED: u32 = ADMIN | LOADING | STALE;

const SLOWLOG: &[Command] = &[
    cmd("get", -2, GUARDED, acl::NONE, NO_KEYS, slowlog_get),
    cmd("len", 2, GUARDED, acl::NONE, NO_KEYS, slowlog_len),
    cmd("reset", 2, GUARDED, acl::NONE, NO_KEYS, slowlog_reset),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, slowlog_help),
];

const COMMANDLOG: &[Command] = &[
    cmd("get", 4, GUARDED, acl::NONE, NO_KEYS, get),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd("len", 3, GUARDED, acl::NONE, NO_KEYS, len),
    cmd("reset", 3, GUARDED, acl::NONE, NO_KEYS, reset),
];

/// SLOWLOG and COMMANDLOG.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[
        container("slowlog", -2, 0, acl::NONE, SLOWLOG),
        container("commandlog", -2, 0, acl::NONE, COMMANDLOG),
    ],
};

/// Entries that SLOWLOG GET shows unless told otherwise.
const SHOWN: usize = 10;

const COUNT_RANGE: CmdError = CmdError::new("ERR count should be greater than or equal to -1");

/// How many entries are wanted: -1 for all.
fn count(word: &[u8]) -> Result<usize, CmdError> {
    match parse_i64(word) {
        Some(-1) => Ok(usize::MAX),
        Some(n) => usize::try_from(n).map_err(|_| COUNT_RANGE),
        None => Err(COUNT_RANGE),
    }
}

fn kind(word: &[u8]) -> Result<LogKind, CmdError> {
    match word.to_ascii_lowercase().as_slice() {
        b"slow" => Ok(LogKind::Slow),
        b"large-request" => Ok(LogKind::LargeRequest),
        b"large-reply" => Ok(LogKind::LargeReply),
        _ => Err(CmdError::new(
            "ERR type should be one of the following: slow, large-request, large-reply",
        )),
    }
}

fn show(ctx: &mut Ctx<'_>, kind: LogKind, count: usize) -> CmdResult {
    let log = ctx.state.commandlog.of(ctx.group(), kind);
    ctx.out.array(log.len().min(count));
    for entry in log.iter().take(count) {
        ctx.out.array(6);
        ctx.out.int(entry.id as i64);
        ctx.out.int(entry.at_s);
        ctx.out.int(entry.value as i64);
        ctx.out.array(entry.argv.len());
        entry.argv.iter().for_each(|arg| ctx.out.bulk(arg));
        ctx.out.bulk(entry.peer.as_bytes());
        ctx.out.bulk(entry.name.as_bytes());
    }
    Ok(Outcome::Done)
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    // The count is judged first, then the type.
    let count = count(ctx.arg(2))?;
    let kind = kind(ctx.arg(3))?;
    show(ctx, kind, count)
}

fn len(ctx: &mut Ctx<'_>) -> CmdResult {
    let n = ctx
        .state
        .commandlog
        .of(ctx.group(), kind(ctx.arg(2))?)
        .len();
    ctx.int(n as i64)
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let kind = kind(ctx.arg(2))?;
    let group = ctx.group();
    ctx.state.commandlog.of_mut(group, kind).clear();
    ctx.ok()
}

fn slowlog_get(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = match ctx.argc() {
        2 => SHOWN,
        3 => count(ctx.arg(2))?,
        _ => return Err(subcommand_syntax(ctx.arg(1), "SLOWLOG")),
    };
    show(ctx, LogKind::Slow, count)
}

fn slowlog_len(ctx: &mut Ctx<'_>) -> CmdResult {
    let n = ctx.state.commandlog.of(ctx.group(), LogKind::Slow).len();
    ctx.int(n as i64)
}

fn slowlog_reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let group = ctx.group();
    ctx.state.commandlog.of_mut(group, LogKind::Slow).clear();
    ctx.ok()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "GET <count> <type>",
        "    The newest <count> entries (-1: all) of a log: slow, large-request or large-reply.",
        "    An entry is: id, unix time, microseconds (slow) or bytes, arguments, address and",
        "    name of the client.",
        "LEN <type>",
        "    The number of entries of a log.",
        "RESET <type>",
        "    Empty a log.",
    ])
}

fn slowlog_help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    ])
}
