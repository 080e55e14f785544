//! ACL LOG and ACL DRYRUN: what was refused, and what would be.
use crate::base::num::parse_i64;
use crate::exec::acl;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl::NONE, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, subcommand_syntax, wrong_arity};
use crate::exec::process::resolve_row;
use crate::resp::reply::Writer;
use crate::state::acl_log::Entry;
use flag::{ADMIN, LOADING, NOSCRIPT, STALE};

const OPEN: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

pub(super) const LOG: Command = cmd("log", -2, OPEN, NONE, NO_KEYS, log);
pub(super) const DRYRUN: Command = cmd("dryrun", -4, OPEN, NONE, NO_KEYS, dryrun);

/// So many entries are shown where nothing is said.
const SHOWN: i64 = 10;

/// The refusals in the group of the one who asks.
fn log(ctx: &mut Ctx<'_>) -> CmdResult {
    let group = ctx.client().group;
    let count = match ctx.argc() {
        2 => SHOWN,
        3 if ctx.arg(2).eq_ignore_ascii_case(b"reset") => {
            ctx.state.acl_logs.reset(group);
            return ctx.ok();
        }
        3 => parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?,
        _ => return Err(subcommand_syntax(ctx.arg(1), "ACL")),
    };
    let entries = ctx.state.acl_logs.of(group);
    let shown = entries.len().min(usize::try_from(count).unwrap_or(0));
    ctx.out.array(shown);
    for entry in entries.take(shown) {
        show(ctx.out, entry, ctx.state.clock.unix_ms);
    }
    Ok(Outcome::Done)
}

fn show(out: &mut Writer, entry: &Entry, now_ms: i64) {
    let word = |out: &mut Writer, name: &str, text: &[u8]| {
        out.bulk(name.as_bytes());
        out.bulk(text);
    };
    let number = |out: &mut Writer, name: &str, n: i64| {
        out.bulk(name.as_bytes());
        out.int(n);
    };
    out.map(10);
    number(out, "count", entry.count as i64);
    word(out, "reason", entry.reason.word().as_bytes());
    word(out, "context", entry.context.word().as_bytes());
    word(out, "object", &entry.object);
    word(out, "username", &entry.user);
    out.bulk(b"age-seconds");
    out.double((now_ms - entry.updated_ms) as f64 / 1000.0);
    word(out, "client-info", &entry.client);
    number(out, "entry-id", entry.id as i64);
    number(out, "timestamp-created", entry.created_ms);
    number(out, "timestamp-last-updated", entry.updated_ms);
}

/// Would a user be allowed this request? It is looked at, not run.
fn dryrun(ctx: &mut Ctx<'_>) -> CmdResult {
    let (name, argv) = (ctx.arg(2), ctx.argv.from(3));
    // To a tenant there are no users but those of its own group.
    let viewer = ctx.client().group;
    let Some(user) = ctx.state.users.find_for(viewer, name) else {
        return Err(CmdError::showing("ERR User '", name, "' not found"));
    };
    let table = ctx.table;
    let row = match resolve_row(table, table.find(argv.get(0)), argv) {
        Ok(row) => row,
        Err((Some(row), _)) => return Err(wrong_arity(table.name(row.id))),
        Err((None, _)) => {
            let text = "ERR Command '";
            return Err(CmdError::showing(text, argv.get(0), "' not found"));
        }
    };
    match acl::dry_run(ctx, user, row, argv) {
        Ok(()) => ctx.ok(),
        Err(denied) => {
            let text = denied.told(table.name(row.id), argv);
            ctx.out.bulk(&text);
            Ok(Outcome::Done)
        }
    }
}
