//! DEBUG with the subcommands that need files.

use std::path::PathBuf;

use super::rdb::file;
use super::rdb::read::Taken;
use crate::commands::debug::{ANY, Sub, debug_with, row};
use crate::exec::command::CmdResult;
use crate::exec::command::acl;
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::state::State;

/// DEBUG.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[row(debug)],
};

const SUBS: &[Sub] = &[("reload", 0, ANY, reload)];

const SAVE_FAILED: CmdError = CmdError::new("ERR");
const LOAD_FAILED: CmdError =
    CmdError::new("ERR Error trying to load the RDB dump, check server logs.");

fn debug(ctx: &mut Ctx<'_>) -> CmdResult {
    debug_with(ctx, SUBS)
}

/// Where the snapshot of the data set lies.
fn snapshot_path(state: &State) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(&state.config.dbfilename);
    state.config.dir.0.join(name)
}

/// Saves everything and loads it again.
fn reload(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut save, mut flush, mut taken) = (true, true, Taken::Refuse);
    for at in 2..ctx.argc() {
        let word = ctx.arg(at);
        if word.eq_ignore_ascii_case(b"merge") {
            taken = Taken::Replace;
        } else if word.eq_ignore_ascii_case(b"noflush") {
            flush = false;
        } else if word.eq_ignore_ascii_case(b"nosave") {
            save = false;
        } else {
            return Err(CmdError::new(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    let path = snapshot_path(ctx.state);
    ctx.propagate_nothing();
    if save {
        file::save(ctx.state, &path).map_err(|error| {
            log::warn!("Error saving DB on disk: {}: {error}", path.display());
            SAVE_FAILED
        })?;
        ctx.state.dirty = 0;
        ctx.state.snapshots.last_save_s = ctx.state.clock.unix_ms / 1000;
    }
    if flush {
        ctx.state.flush_all(false);
    }
    let summary = file::load(ctx.state, &path, taken, &mut |_, _| {}).map_err(|error| {
        log::warn!("Error loading {}: {error}", path.display());
        LOAD_FAILED
    })?;
    log::info!(
        "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
        summary.keys,
        summary.expired,
        summary.empty
    );
    if !summary.functions.is_empty() {
        let count = summary.functions.len();
        log::warn!("{count} function libraries are left out: this release has no functions yet");
    }
    log::warn!("DB reloaded by DEBUG RELOAD");
    ctx.ok()
}
