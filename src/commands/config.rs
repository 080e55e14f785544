//! CONFIG: the configuration as clients read, change and write it.
//!
//! The table of directives does the work (`state::config`); whatever must follow outside is checked by
//! `state.config_apply` before a change holds, and done by the server before the reply goes out.
use crate::base::alloc;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::exec::users;
use crate::resp::request::Argv;
use crate::state;
use crate::state::config::file::errno_text;
use crate::state::config::{Caller, Directive, Key, access, rewrite};
use crate::state::gate;
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE};
use std::sync::atomic::Ordering;

const GUARDED: u32 = ADMIN | NOSCRIPT | LOADING | STALE | SERVER_WIDE;

const CONFIG: &[Command] = &[
    cmd("get", -3, GUARDED, acl::NONE, NO_KEYS, get),
    cmd("set", -4, GUARDED, acl::NONE, NO_KEYS, set).hiding(is_secret),
    cmd("resetstat", 2, GUARDED, acl::NONE, NO_KEYS, reset_stat),
    cmd("rewrite", 2, GUARDED, acl::NONE, NO_KEYS, rewrite_file),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
];

const COMMANDS: &[Command] = &[container("config", -2, 0, acl::NONE, CONFIG)];

/// The configuration.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let patterns: Vec<&[u8]> = ctx.argv.from(2).iter().collect();
    let found = access::get(&ctx.state.config, &patterns);
    ctx.out.map(found.len());
    for (name, value) in &found {
        ctx.out.bulk(name);
        ctx.out.bulk(value);
    }
    Ok(Outcome::Done)
}

fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.argc().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let argv = ctx.argv;
    let pairs: Vec<(&[u8], &[u8])> = (2..argv.len())
        .step_by(2)
        .map(|at| (argv.get(at), argv.get(at + 1)))
        .collect();
    let caller = Caller {
        local: ctx.client().peer.is_local(),
        loading: ctx.state.gate & (gate::LOADING | gate::ASYNC_LOADING) != 0,
        transaction: ctx.mode == Mode::Transaction,
    };
    let state = &mut *ctx.state;
    let mut config = state.config.clone();
    // It has the state, so it cannot be a part of it meanwhile.
    let mut apply = std::mem::replace(&mut state.config_apply, state::nothing_to_apply());
    let outcome = access::set(&mut config, &pairs, caller, &mut |old, new, changed| {
        apply(state, caller, (old, new), changed)
    });
    state.config_apply = apply;
    let changed = outcome.map_err(CmdError::owned)?;
    state.config = config;
    state.apply_config();
    state.wanted.changed.merge(&changed);
    if changed.has(Key::maxmemory) && state.over_memory_limit() {
        log::warn!(
            "WARNING: the new maxmemory value set via CONFIG SET ({}) is smaller than the current memory usage ({}). \
             This will result in key eviction and/or the inability to accept new write commands depending on the \
             maxmemory-policy.",
            state.config.maxmemory,
            alloc::used()
        );
    }
    ctx.ok()
}

/// Is argument `i` the value of a directive that holds a secret?
fn is_secret(argv: Argv<'_>, i: usize) -> bool {
    i >= 3 && i % 2 == 1 && Directive::is_secret(argv.get(i - 1))
}

fn reset_stat(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.reset_stats();
    ctx.state.reset_file_stats();
    let disposal = &ctx.state.garbage.disposal;
    disposal.freed.store(0, Ordering::Relaxed);
    ctx.ok()
}

fn rewrite_file(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &mut *ctx.state;
    // The users as they are now; where an ACL file has them, they are not written.
    state.config.user = users::file::lines(state);
    let Some(path) = &state.run.config_file else {
        return Err(CmdError::new(
            "ERR The server is running without a config file",
        ));
    };
    match rewrite::rewrite_file(path, &state.config, false) {
        Ok(()) => {
            if state.config.aclfile.is_empty() {
                users::file::now_configured(state);
            }
            log::info!("CONFIG REWRITE executed with success.");
            ctx.ok()
        }
        Err(error) => {
            let reason = errno_text(&error);
            log::warn!("CONFIG REWRITE failed: {reason}");
            Err(CmdError::owned(format!(
                "ERR Rewriting config file: {reason}"
            )))
        }
    }
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::OwnedArgv;

    #[test]
    fn only_secret_values_are_hidden() {
        let request = "CONFIG SET maxclients requirepass RequirePass x masterauth y";
        let owned: OwnedArgv = request.split(' ').map(str::as_bytes).collect();
        let row = &CONFIG[1];
        let hidden: Vec<usize> = (0..owned.argv().len())
            .filter(|i| row.hides(owned.argv(), *i))
            .collect();
        assert_eq!(hidden, [5, 7]);
    }
}
