//! DEBUG with the subcommands that need files.

use super::aof;
use super::load::{Failed, Loader};
use super::rdb::read::Taken;
use super::{rewrite, save};
use crate::base::num::parse_i64;
use crate::commands::debug::{ANY, Sub, debug_with, row};
use crate::exec::command::CmdResult;
use crate::exec::command::acl;
use crate::exec::ctx::Ctx;
use crate::exec::error::{self, CmdError};
use crate::exec::registry::Family;
use crate::script::functions;
use crate::state::State;
use crate::state::groups::GroupId;

/// DEBUG.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[row(debug)],
};

const SUBS: &[Sub] = &[
    ("aof-flush-sleep", 1, 1, aof_flush_sleep),
    ("loadaof", 0, 0, load_aof),
    ("reload", 0, ANY, reload),
];

const SAVE_FAILED: CmdError = CmdError::new("ERR");
const LOAD_FAILED: CmdError =
    CmdError::new("ERR Error trying to load the RDB dump, check server logs.");
const AOF_FAILED: CmdError =
    CmdError::new("ERR Error trying to load the AOF files, check server logs.");
const NO_AOF: CmdError = CmdError::new("ERR There is no append only file");

fn debug(ctx: &mut Ctx<'_>) -> CmdResult {
    debug_with(ctx, SUBS)
}

/// Lets each write to the AOF take so many microseconds longer.
fn aof_flush_sleep(ctx: &mut Ctx<'_>) -> CmdResult {
    // As in Redis what is no number is none.
    let us = parse_i64(ctx.arg(2)).unwrap_or(0);
    ctx.state.debug.aof_flush_sleep_us = us.max(0).unsigned_abs();
    ctx.ok()
}

/// Throws away all that a file can bring back: not only what FLUSHALL does.
pub fn empty(state: &mut State, lazy: bool) {
    let groups: Vec<GroupId> = state.groups.iter().map(|group| group.id).collect();
    for group in groups.into_iter().filter(|group| !group.is_default()) {
        state.delete_group(group, true);
    }
    state.flush_all(GroupId::DEFAULT, lazy);
    state.libraries.of_mut(GroupId::DEFAULT).clear();
    functions::sweep(state, GroupId::DEFAULT);
}

/// Saves everything and loads it again.
fn reload(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut saves, mut flush, mut taken) = (true, true, Taken::Refuse);
    for at in 2..ctx.argc() {
        let word = ctx.arg(at);
        if word.eq_ignore_ascii_case(b"merge") {
            taken = Taken::Replace;
        } else if word.eq_ignore_ascii_case(b"noflush") {
            flush = false;
        } else if word.eq_ignore_ascii_case(b"nosave") {
            saves = false;
        } else {
            return Err(CmdError::new(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    if ctx.state.is_loading() {
        return Err(error::LOADING);
    }
    let path = save::path(ctx.state);
    ctx.propagate_nothing();
    if saves {
        save::now(ctx.state, &mut || {}).map_err(|_| SAVE_FAILED)?;
    }
    if flush {
        empty(ctx.state, false);
    }
    let loader = Loader::snapshot(ctx.state, &path, taken);
    let loaded = loader.and_then(|loader| match loader {
        Some(loader) => loader.run(ctx.state, ctx.table),
        None => Err(Failed(vec![format!("There is no {}", path.display())])),
    });
    loaded.map_err(|failed| {
        failed.log();
        LOAD_FAILED
    })?;
    log::warn!("DB reloaded by DEBUG RELOAD");
    ctx.ok()
}

/// Throws everything away and loads the append only file.
fn load_aof(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.is_loading() {
        return Err(error::LOADING);
    }
    let state = &mut *ctx.state;
    rewrite::settle(state);
    if state.aof.enabled() {
        // What was propagated so far is part of it; what the running unit did is undone.
        aof::flush(state, true);
        state.abandon_log();
    }
    let loader = aof::files::load_manifest(state)
        .map_err(Failed::from)
        .and_then(|()| Loader::manifest(state));
    let loader = match loader {
        Ok(Some(loader)) => loader,
        Ok(None) => return Err(NO_AOF),
        Err(failed) => {
            failed.log();
            return Err(AOF_FAILED);
        }
    };
    empty(state, false);
    if let Err(failed) = loader.run(state, ctx.table) {
        failed.log();
        // Half a data set must neither be served nor written.
        state.aof.fatal = true;
        return Err(AOF_FAILED);
    }
    state.dirty = 0;
    // Last: what was loaded has made choices, too.
    ctx.propagate_nothing();
    log::warn!("Append Only File loaded by DEBUG LOADAOF");
    ctx.ok()
}
