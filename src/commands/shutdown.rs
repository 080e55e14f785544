//! SHUTDOWN: asks the server to end, or to change its mind.
//!
//! What an orderly end consists of is the server's; here it is decided whether it may begin.
use crate::exec::command::{CmdResult, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::state::run::Shutdown;
use flag::{ADMIN, ALLOW_BUSY, LOADING, NO_MULTI, NOSCRIPT, STALE};

/// SHUTDOWN.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[cmd(
        "shutdown",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
        acl::NONE,
        NO_KEYS,
        shutdown,
    )],
};

/// What the words of a request ask for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    End(Shutdown),
    Abort,
}

fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<Request> {
    let mut how = Shutdown::default();
    let mut abort = false;
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" if how.save != Some(true) => how.save = Some(false),
            b"save" if how.save != Some(false) => how.save = Some(true),
            b"now" => how.now = true,
            b"force" => how.force = true,
            b"abort" => abort = true,
            _ => return None,
        }
    }
    match (abort, how == Shutdown::default()) {
        (false, _) => Some(Request::End(how)),
        (true, true) => Some(Request::Abort),
        (true, false) => None,
    }
}

fn shutdown(ctx: &mut Ctx<'_>) -> CmdResult {
    let how = match parse(ctx.argv.from(1).iter()).ok_or(SYNTAX)? {
        Request::End(how) => how,
        Request::Abort => return abort(ctx),
    };
    log::warn!("User requested shutdown...");
    if how.must_save() && !how.force {
        log::warn!(
            "Error trying to save the DB, can't exit. This version cannot save: use SHUTDOWN \
             NOSAVE, or SHUTDOWN SAVE FORCE."
        );
        log::warn!("Errors trying to shut down the server. Check the logs for more information.");
        return Err(CmdError::new("ERR Errors trying to SHUTDOWN. Check logs."));
    }
    ctx.state.wanted.shutdown = Some(how);
    // There is no reply: the connection ends with the server, and nothing behind this runs.
    Ok(Outcome::Block)
}

fn abort(ctx: &mut Ctx<'_>) -> CmdResult {
    let wanted = &mut ctx.state.wanted;
    if wanted.shutdown_by_signal.take().is_none() {
        return Err(CmdError::new("ERR No shutdown in progress."));
    }
    log::info!("Shutdown manually aborted.");
    ctx.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &str) -> Option<Request> {
        parse(words.split_whitespace().map(str::as_bytes))
    }

    fn end(save: Option<bool>, now: bool, force: bool) -> Option<Request> {
        Some(Request::End(Shutdown { save, now, force }))
    }

    #[test]
    fn words_are_understood() {
        assert_eq!(parsed(""), end(None, false, false));
        assert_eq!(parsed("NoSave"), end(Some(false), false, false));
        assert_eq!(parsed("save now force"), end(Some(true), true, true));
        assert_eq!(parsed("abort"), Some(Request::Abort));
        for wrong in [
            "x",
            "save nosave",
            "nosave save",
            "abort now",
            "force abort",
            "now x",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
