//! The end of the server, as far as files go: what is in memory is brought to disk, or the server stays.
//!
//! By SHUTDOWN or by a signal; closing sockets and leaving the loop is the server's. Once this has said
//! yes nothing may change any more: it would be acknowledged and lost.
use super::{aof, child, rewrite, save};
use crate::base::disk::Disk;
use crate::base::sys;
use crate::exec::command::{CmdResult, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::exec::unit;
use crate::state::State;
use crate::state::aof::Mode;
use crate::state::client::TimeoutReply;
use crate::state::gate;
use crate::state::persistence::ChildKind;
use crate::state::repl::{Replica, Stage};
use crate::state::run::{Shutdown, WaitingShutdown, hold};
use flag::{ADMIN, ALLOW_BUSY, LOADING, NO_MULTI, NOSCRIPT, SERVER_WIDE, STALE};
use std::path::Path;

/// SHUTDOWN.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[cmd(
        "shutdown",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY | SERVER_WIDE,
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
    if ctx.state.gate & gate::BUSY_SCRIPT != 0 && how.save != Some(false) {
        // What the running script has done so far is no data to keep.
        return Err(CmdError::new(ctx.state.scripts.busy_error()));
    }
    match prepare(ctx.state, how, By::Command) {
        Verdict::Ready => {
            ctx.state.wanted.shutdown = Some(how);
            // There is no reply: the connection ends with the server, and nothing behind this runs.
            Ok(Outcome::Block)
        }
        Verdict::Stays => Err(CmdError::new(FAILED)),
        Verdict::Waits => {
            ctx.state.wanted.shutdown_clients.push(ctx.me);
            Ok(ctx.block_for(0, TimeoutReply::Work))
        }
    }
}

const FAILED: &str = "ERR Errors trying to SHUTDOWN. Check logs.";

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is on disk: it ends now.
    Ready,
    /// It does not end: why is in the log.
    Stays,
    /// Replicas are to have everything first.
    Waits,
}

/// Who wants the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Command,
    /// A SIGINT behind it ends everything at once.
    Signal,
}

/// Begins the end: at once, or when the replicas have everything. A second request changes nothing about that.
pub fn prepare(state: &mut State, how: Shutdown, by: By) -> Verdict {
    if state.wanted.shutdown_waiting.is_some() {
        return Verdict::Waits;
    }
    log::warn!("User requested shutdown...");
    tell_systemd(state, "STOPPING=1\n");
    let timeout_s = u64::from(state.config.shutdown_timeout);
    state.feed();
    if !how.now && timeout_s > 0 && behind(state).next().is_some() {
        state.wanted.shutdown_waiting = Some(WaitingShutdown {
            how,
            by_signal: by == By::Signal,
            until_us: state.clock.mono_us + timeout_s * 1_000_000,
        });
        // Else they would never have everything.
        state.hold_writes(hold::SHUTDOWN);
        log::info!("Waiting for replicas before shutting down.");
        return Verdict::Waits;
    }
    finish(state, how, by)
}

/// Replicas that lack something. One that is being synchronised lacks nothing of a stream that has not begun.
fn behind(state: &State) -> impl Iterator<Item = &Replica> {
    let replicas = state.repl.replicas.iter().filter(|one| !one.snapshot_only);
    replicas.filter(|one| one.acked != state.repl.offset)
}

/// Goes on with an end that waits, if it need not wait any longer.
pub fn follow(state: &mut State) -> Verdict {
    let Some(waiting) = state.wanted.shutdown_waiting else {
        return Verdict::Stays;
    };
    if state.clock.mono_us < waiting.until_us && behind(state).next().is_some() {
        return Verdict::Waits;
    }
    let by = match waiting.by_signal {
        true => By::Signal,
        false => By::Command,
    };
    let verdict = finish(state, waiting.how, by);
    if verdict == Verdict::Stays {
        cancel(state);
    }
    verdict
}

/// Brings everything to disk that is to be there.
fn finish(state: &mut State, how: Shutdown, by: By) -> Verdict {
    tell_lags(state);
    if bring_to_disk(state, how, by) {
        return Verdict::Ready;
    }
    log::warn!("Errors trying to shut down the server. Check the logs for more information.");
    Verdict::Stays
}

/// Says which replicas lack something.
fn tell_lags(state: &State) {
    let (now_us, end) = (state.clock.mono_us, state.repl.offset);
    let all = state.repl.replicas.iter().filter(|one| !one.snapshot_only);
    let (all, lagging) = (all.count(), behind(state).count());
    for one in behind(state) {
        let (lag_s, stage) = match one.stage {
            Stage::Online => (one.lag_s(now_us), "online"),
            stage => (0, stage.name()),
        };
        log::info!(
            "Lagging replica {} reported offset {} behind master, lag={lag_s}, state={stage}.",
            state.replica_name(one.client),
            end.saturating_sub(one.acked)
        );
    }
    if all > 0 {
        log::info!(
            "{} of {all} replicas are in sync when shutting down.",
            all - lagging
        );
    }
}

/// The server stays: whoever asked for its end is told.
fn cancel(state: &mut State) {
    state.wanted.shutdown_waiting = None;
    state.release_writes(hold::SHUTDOWN);
    for who in std::mem::take(&mut state.wanted.shutdown_clients) {
        unit::refuse(state, who, FAILED);
    }
}

fn bring_to_disk(state: &mut State, how: Shutdown, by: By) -> bool {
    // It would end with this process, but may finish before: over what is written here.
    if state.has_child(ChildKind::Snapshot) {
        log::warn!("There is a child saving an .rdb. Killing it!");
        save::end_child(state);
    }
    // Its replicas see the end of the connection.
    child::stop(state, ChildKind::Transfer);
    if !end_aof(state, how.force) {
        return false;
    }
    // Half a data set never replaces a whole one.
    let points = !state.config.save.points.is_empty();
    if state.is_loading() || !how.save.unwrap_or(points) {
        return true;
    }
    log::info!("Saving the final RDB snapshot before exiting.");
    tell_systemd(state, "STATUS=Saving the final RDB snapshot\n");
    let temporary = save::temporary_path(state, sys::pid());
    let disk = state.disk.clone();
    let mut pause = || {
        if by == By::Signal && sys::is_pending(libc::SIGINT) {
            give_up(&*disk, &temporary);
        }
    };
    if save::now(state, &mut pause).is_ok() {
        return true;
    }
    if how.force {
        log::warn!("Error trying to save the DB. Exit anyway.");
        return true;
    }
    log::warn!("Error trying to save the DB, can't exit.");
    tell_systemd(state, "STATUS=Error trying to save the DB, can't exit.\n");
    false
}

/// What was acknowledged is in the AOF behind this; false if that cannot be, and is not to be passed over.
fn end_aof(state: &mut State, force: bool) -> bool {
    if state.has_child(ChildKind::Rewrite) {
        if state.aof.mode == Mode::WaitRewrite {
            if !force {
                log::warn!("Writing initial AOF, can't exit.");
                tell_systemd(state, "STATUS=Writing initial AOF, can't exit.\n");
                return false;
            }
            log::warn!("Writing initial AOF. Exit anyway.");
        }
        log::warn!("There is a child rewriting the AOF. Killing it!");
    }
    rewrite::end(state);
    if aof::switch::finish(state) {
        return true;
    }
    if force {
        log::warn!("The AOF can't be written. Exit anyway.");
    } else {
        log::warn!("The AOF can't be written, can't exit.");
        tell_systemd(state, "STATUS=The AOF can't be written, can't exit.\n");
    }
    force
}

/// Ends at once, in the middle of the last snapshot.
fn give_up(disk: &dyn Disk, temporary: &Path) -> ! {
    log::warn!("You insist... exiting now.");
    let _ = disk.remove(temporary);
    sys::exit_now(1)
}

fn tell_systemd(state: &State, text: &str) {
    if state.run.supervised == Some("systemd") {
        sys::notify_systemd(text);
    }
}

fn abort(ctx: &mut Ctx<'_>) -> CmdResult {
    let wanted = &mut ctx.state.wanted;
    let by_signal = wanted.shutdown_by_signal.take().is_some();
    if wanted.shutdown_waiting.is_none() && !by_signal {
        return Err(CmdError::new("ERR No shutdown in progress."));
    }
    cancel(ctx.state);
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
