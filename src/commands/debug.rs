//! DEBUG: looks behind the scenes, and the ways to die on purpose.
//!
//! Its subcommands are no rows of their own, as in Redis: COMMAND and ACL know DEBUG as one.
mod crash;
pub mod digest;
mod inside;
mod show;

use crate::base::alloc;
use crate::base::num::{parse_f64, parse_i64};
use crate::exec::command::{CmdResult, Command, Handler, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, NOT_INTEGER, NOT_POSITIVE, subcommand_syntax};
use crate::keyspace::NewValue;
use crate::state::config::file::errno_text;
use crate::state::config::setting::parse_memory;
use crate::state::config::{ProtectedAction, rewrite};
use crate::state::repl;
use flag::{ADMIN, LOADING, NOSCRIPT, PROTECTED, SERVER_WIDE, STALE};
use std::time::Duration;

/// DEBUG's row; what runs it is a floor that has more subcommands.
pub const fn row(handler: Handler) -> Command {
    cmd(
        "debug",
        -2,
        ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED | SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        handler,
    )
}

/// A subcommand: name, least and most arguments behind it, what runs.
pub type Sub = (&'static str, usize, usize, fn(&mut Ctx<'_>) -> CmdResult);
/// Any number of arguments.
pub const ANY: usize = usize::MAX;

const SUBS: &[Sub] = &[
    ("assert", 0, 0, crash::assertion),
    ("change-repl-id", 0, 0, change_repl_id),
    ("config-rewrite-force-all", 0, 0, config_rewrite),
    ("digest", 0, 0, digest_all),
    ("digest-value", 0, ANY, digest_values),
    ("error", 1, 1, error),
    ("help", 0, 0, help),
    ("htstats", 1, 1, show::table),
    ("htstats-key", 1, 1, show::table_of_key),
    ("leak", 1, 1, leak),
    ("listpack", 1, 1, inside::listpack),
    ("log", 1, 1, log_message),
    ("mallctl", 1, 2, mallctl),
    ("mallctl-str", 1, 2, mallctl_str),
    ("object", 1, 2, show::object),
    ("oom", 0, 0, crash::out_of_memory),
    ("panic", 0, 0, crash::panic),
    ("pause-cron", 1, 1, pause_cron),
    ("populate", 1, 3, populate),
    ("protocol", 1, 1, show::protocol),
    ("quicklist", 1, 2, inside::quicklist),
    ("quicklist-packed-threshold", 1, 1, packed_threshold),
    ("replicate", 1, ANY, replicate),
    ("replybuffer", 2, 2, reply_buffer),
    ("sdslen", 1, 1, show::string_sizes),
    ("segfault", 0, 0, crash::segfault),
    ("set-active-expire", 1, 1, set_active_expire),
    ("set-disable-deny-scripts", 1, 1, set_deny_scripts),
    ("set-skip-checksum-validation", 1, 1, set_skip_checksum),
    ("sleep", 1, 1, sleep),
    ("stringmatch-len", 2, 2, inside::matches),
    ("stringmatch-test", 0, 0, inside::match_at_random),
    ("structsize", 0, 0, inside::sizes),
];

/// Runs DEBUG, which also knows the subcommands `more`.
pub fn debug_with(ctx: &mut Ctx<'_>, more: &[Sub]) -> CmdResult {
    let allowed = match ctx.state.config.enable_debug_command {
        ProtectedAction::Yes => true,
        ProtectedAction::Local => ctx.client().peer.is_local(),
        ProtectedAction::No => false,
    };
    if !allowed {
        return Err(CmdError::new(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server.",
        ));
    }
    let (name, args) = (ctx.arg(1), ctx.argc() - 2);
    let found = SUBS.iter().chain(more).find(|(known, least, most, _)| {
        name.eq_ignore_ascii_case(known.as_bytes()) && (*least..=*most).contains(&args)
    });
    match found {
        Some((.., run)) => run(ctx),
        None => Err(wrong(name)),
    }
}

fn wrong(name: &[u8]) -> CmdError {
    subcommand_syntax(name, "DEBUG")
}

/// Argument 2 as C's atoi reads it: DEBUG's switches take any number.
fn switch(ctx: &Ctx<'_>) -> bool {
    parse_i64(ctx.arg(2)).unwrap_or(0) != 0
}

fn sleep(ctx: &mut Ctx<'_>) -> CmdResult {
    // As strtod reads it: what is no number is no time.
    let seconds = parse_f64(ctx.arg(2)).unwrap_or(0.0);
    if let Ok(time) = Duration::try_from_secs_f64(seconds.max(0.0)) {
        std::thread::sleep(time);
    }
    if ctx.mode == Mode::Client {
        // The commands behind this one in the same turn are later.
        ctx.state.clock.refresh();
    }
    ctx.ok()
}

fn set_active_expire(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.debug.active_expire = switch(ctx);
    ctx.ok()
}

fn set_deny_scripts(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.debug.deny_scripts = !switch(ctx);
    ctx.ok()
}

fn set_skip_checksum(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.debug.skip_checksum = switch(ctx);
    ctx.ok()
}

fn pause_cron(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.debug.cron_paused = switch(ctx);
    ctx.ok()
}

fn packed_threshold(ctx: &mut Ctx<'_>) -> CmdResult {
    const DEFAULT: usize = 1 << 30;
    let refused =
        CmdError::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
    let bytes = parse_memory(ctx.arg(2)).ok_or(refused.clone())?;
    ctx.state.debug.quicklist_packed_threshold = match bytes {
        0 => DEFAULT,
        n if n < 1 << 32 => n as usize,
        _ => return Err(refused),
    };
    ctx.ok()
}

fn reply_buffer(ctx: &mut Ctx<'_>) -> CmdResult {
    const PEAK_RESET_MS: i64 = 5000;
    let (what, value) = (ctx.arg(2), ctx.arg(3));
    if what.eq_ignore_ascii_case(b"peak-reset-time") {
        let time = if value.eq_ignore_ascii_case(b"never") {
            -1
        } else if value.eq_ignore_ascii_case(b"reset") {
            PEAK_RESET_MS
        } else {
            parse_i64(value).ok_or(NOT_INTEGER)?
        };
        ctx.state.debug.reply_peak_reset_ms = time;
    } else if what.eq_ignore_ascii_case(b"resizing") {
        ctx.state.debug.reply_buffer_resizing = parse_i64(value).unwrap_or(0) != 0;
    } else {
        return Err(wrong(ctx.arg(1)));
    }
    ctx.ok()
}

fn log_message(ctx: &mut Ctx<'_>) -> CmdResult {
    log::warn!("DEBUG LOG: {}", String::from_utf8_lossy(ctx.arg(2)));
    ctx.ok()
}

fn error(ctx: &mut Ctx<'_>) -> CmdResult {
    Err(CmdError::owned(
        String::from_utf8_lossy(ctx.arg(2)).into_owned(),
    ))
}

fn leak(ctx: &mut Ctx<'_>) -> CmdResult {
    std::mem::forget(ctx.arg(2).to_vec());
    ctx.ok()
}

fn change_repl_id(ctx: &mut Ctx<'_>) -> CmdResult {
    log::info!("Changing replication IDs after receiving change-repl-id");
    let state = &mut *ctx.state;
    state.repl.id = state.rng.hex_id(repl::ID_LEN);
    ctx.ok()
}

/// Tells replicas what is not done here, as it is said: they may differ from here on.
fn replicate(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv: Vec<&[u8]> = ctx.argv.from(2).iter().collect();
    ctx.state.tell_replicas(&argv);
    ctx.ok()
}

fn config_rewrite(ctx: &mut Ctx<'_>) -> CmdResult {
    let Some(path) = &ctx.state.run.config_file else {
        return Err(CmdError::new(
            "ERR The server is running without a config file",
        ));
    };
    match rewrite::rewrite_file(path, &ctx.state.config, true) {
        Ok(()) => ctx.ok(),
        Err(error) => Err(CmdError::owned(format!(
            "ERR CONFIG-REWRITE-FORCE-ALL failed: {}",
            errno_text(&error)
        ))),
    }
}

fn digest_all(ctx: &mut Ctx<'_>) -> CmdResult {
    let digest = digest::of_all(&ctx.state.dbs).map_err(no_digest)?;
    ctx.out.simple(&digest.hex());
    Ok(Outcome::Done)
}

fn no_digest(kind: &str) -> CmdError {
    CmdError::owned(format!("ERR values of type {kind} have no digest"))
}

fn digest_values(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.argc() - 2);
    for i in 2..ctx.argc() {
        let (db, key) = (ctx.db, ctx.arg(i));
        let digest = match ctx.state.peek(db, key) {
            None => digest::Digest::default(),
            Some(entry) => digest::of_value(entry).ok_or_else(|| no_digest(entry.kind().name()))?,
        };
        ctx.out.simple(&digest.hex());
    }
    Ok(Outcome::Done)
}

/// Adds keys to play with: `<prefix>:0`, `<prefix>:1` and so on.
fn populate(ctx: &mut Ctx<'_>) -> CmdResult {
    let positive = |arg: &[u8]| {
        let n = parse_i64(arg).and_then(|n| u64::try_from(n).ok());
        n.ok_or(NOT_POSITIVE)
    };
    let count = positive(ctx.arg(2))?;
    let prefix: &[u8] = if ctx.argc() > 3 { ctx.arg(3) } else { b"key" };
    let size = if ctx.argc() > 4 {
        positive(ctx.arg(4))?
    } else {
        0
    };
    let mut key = Vec::new();
    for n in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(format!(":{n}").as_bytes());
        if ctx.state.find_live(ctx.db, &key).is_some() {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size as usize, 0);
        }
        ctx.state
            .dbs
            .insert(ctx.db, &key, NewValue::Bytes(&value), None);
        ctx.state.key_touched(ctx.db, &key);
    }
    ctx.propagate_nothing();
    ctx.ok()
}

fn mallctl(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = String::from_utf8_lossy(ctx.arg(2)).into_owned();
    if ctx.argc() > 3 {
        let value = parse_i64(ctx.arg(3)).ok_or(NOT_INTEGER)?;
        let old = alloc::ctl_read_u64(&name);
        alloc::ctl_write_u64(&name, value as u64).map_err(allocator_error)?;
        return ctx.int(old.unwrap_or(0) as i64);
    }
    let value = alloc::ctl_read_u64(&name).map_err(allocator_error)?;
    ctx.int(value as i64)
}

fn mallctl_str(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = String::from_utf8_lossy(ctx.arg(2)).into_owned();
    if ctx.argc() > 3 {
        // "VOID" triggers a control that takes no value; no other is text that can be written.
        if ctx.arg(3) != b"VOID" {
            return Err(allocator_error(alloc::CtlError(libc::EPERM)));
        }
        alloc::ctl_trigger(&name).map_err(allocator_error)?;
        return ctx.ok();
    }
    let text = alloc::ctl_read_str(&name).map_err(allocator_error)?;
    ctx.out.bulk(text.as_bytes());
    Ok(Outcome::Done)
}

fn allocator_error(error: alloc::CtlError) -> CmdError {
    let reason = errno_text(&std::io::Error::from_raw_os_error(error.0));
    CmdError::owned(format!("ERR {reason}"))
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(show::HELP)
}
