//! DEBUG with the subcommands that need files.

use super::rdb::file;
use super::rdb::read::Taken;
use super::save;
use crate::commands::debug::{ANY, Sub, debug_with, row};
use crate::exec::command::CmdResult;
use crate::exec::command::acl;
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;

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
    let path = save::path(ctx.state);
    ctx.propagate_nothing();
    if saves {
        save::now(ctx.state, &mut || {}).map_err(|_| SAVE_FAILED)?;
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
