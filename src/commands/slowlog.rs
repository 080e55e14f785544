//! SLOWLOG: shows what `state::slowlog` has kept.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, shown};
use crate::exec::registry::Family;
use flag::{ADMIN, LOADING, STALE};

const SUBS: &[Command] = &[
    cmd("get", -2, ADMIN | LOADING | STALE, acl::NONE, NO_KEYS, get),
    cmd("len", 2, ADMIN | LOADING | STALE, acl::NONE, NO_KEYS, len),
    cmd(
        "reset",
        2,
        ADMIN | LOADING | STALE,
        acl::NONE,
        NO_KEYS,
        reset,
    ),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
];

/// SLOWLOG.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("slowlog", -2, 0, acl::NONE, SUBS)],
};

/// Entries that GET shows unless told otherwise.
const SHOWN: usize = 10;

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let count = match ctx.argc() {
        2 => SHOWN,
        3 => {
            let refused = || CmdError::new("ERR count should be greater than or equal to -1");
            match parse_i64(ctx.arg(2)) {
                Some(-1) => usize::MAX,
                Some(n) => usize::try_from(n).map_err(|_| refused())?,
                None => return Err(refused()),
            }
        }
        _ => {
            return Err(CmdError::owned(format!(
                "ERR unknown subcommand or wrong number of arguments for '{}'. Try SLOWLOG HELP.",
                shown(ctx.arg(1), 128)
            )));
        }
    };
    let log = &ctx.state.slowlog;
    ctx.out.array(log.len().min(count));
    for entry in log.iter().take(count) {
        ctx.out.array(6);
        ctx.out.int(entry.id as i64);
        ctx.out.int(entry.at_s);
        ctx.out.int(entry.us as i64);
        ctx.out.array(entry.argv.len());
        entry.argv.iter().for_each(|arg| ctx.out.bulk(arg));
        ctx.out.bulk(entry.peer.as_bytes());
        ctx.out.bulk(entry.name.as_bytes());
    }
    Ok(Outcome::Done)
}

fn len(ctx: &mut Ctx<'_>) -> CmdResult {
    let n = ctx.state.slowlog.len();
    ctx.int(n as i64)
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.slowlog.clear();
    ctx.ok()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
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
