//! Snapshots: SAVE, BGSAVE, LASTSAVE, and what the end of a child that writes one means.
use super::aof::files::remove_in_background;
use super::child::{self, Ended, Reporter};
use super::rdb::file::{self, temporary};
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome,
    acl::{self, ADMIN as ACL_ADMIN, DANGEROUS},
    cmd, flag,
};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::persistence::ChildKind;
use crate::state::repl::{Files, Stage};
use flag::{ADMIN, FAST, LOADING, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, SERVER_WIDE, STALE};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const COMMANDS: &[Command] = &[
    cmd(
        "save",
        1,
        ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        save,
    ),
    cmd(
        "bgsave",
        -1,
        ADMIN | NOSCRIPT | NO_ASYNC_LOADING | SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        bgsave,
    ),
    cmd(
        "lastsave",
        1,
        LOADING | STALE | FAST | SERVER_WIDE,
        ACL_ADMIN | DANGEROUS,
        NO_KEYS,
        lastsave,
    ),
];

/// Snapshots.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

/// Where the snapshot lies.
pub fn path(state: &State) -> PathBuf {
    let name = OsStr::from_bytes(&state.config.dbfilename);
    state.config.dir.0.join(name)
}

/// What failed is in the log.
const FAILED: CmdError = CmdError::new("ERR");
const IN_PROGRESS: CmdError = CmdError::new("ERR Background save already in progress");

fn save(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.is_saving() {
        return Err(IN_PROGRESS);
    }
    ctx.state.snapshots.saves += 1;
    now(ctx.state, &mut || {}).map_err(|_| FAILED)?;
    ctx.ok()
}

fn bgsave(ctx: &mut Ctx<'_>) -> CmdResult {
    let schedule = match ctx.argc() {
        1 => false,
        2 if ctx.arg(1).eq_ignore_ascii_case(b"schedule") => true,
        2 if ctx.arg(1).eq_ignore_ascii_case(b"cancel") => return cancel(ctx),
        _ => return Err(SYNTAX),
    };
    if ctx.state.is_saving() {
        return Err(IN_PROGRESS);
    }
    // In a transaction: what it has not done yet belongs into the snapshot.
    let later = ctx.mode == Mode::Transaction;
    if ctx.state.child.is_some() || later {
        if !schedule && !later {
            return Err(CmdError::new(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE \
                 SCHEDULE in order to schedule a BGSAVE whenever possible.",
            ));
        }
        ctx.state.snapshots.scheduled = true;
        return status(ctx, "Background saving scheduled");
    }
    match in_background(ctx.state) {
        Ok(()) => status(ctx, "Background saving started"),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            Err(CmdError::owned(format!("ERR {error}")))
        }
        Err(_) => Err(FAILED),
    }
}

fn cancel(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.has_child(ChildKind::Snapshot) {
        log::info!("Background saving will be aborted due to user request");
        child::stop(ctx.state, ChildKind::Snapshot);
        return status(ctx, "Background saving cancelled");
    }
    if std::mem::take(&mut ctx.state.snapshots.scheduled) {
        log::info!("Scheduled background saving will be cancelled due to user request");
        return status(ctx, "Scheduled background saving cancelled");
    }
    Err(CmdError::new(
        "ERR Background saving is currently not in progress or scheduled",
    ))
}

fn status(ctx: &mut Ctx<'_>, text: &str) -> CmdResult {
    ctx.out.simple(text);
    Ok(Outcome::Done)
}

fn lastsave(ctx: &mut Ctx<'_>) -> CmdResult {
    let at_s = ctx.state.snapshots.last_save_s;
    ctx.int(at_s)
}

/// Writes a snapshot here and now, in place of one that a child may be writing; what goes wrong is in the
/// log too. `pause` is called between keys, often enough for a signal to be noticed.
pub fn now(state: &mut State, pause: &mut dyn FnMut()) -> io::Result<()> {
    // It would put an older file over this one.
    end_child(state);
    // The file says how far in the stream its data go.
    state.feed();
    let path = path(state);
    let keys = state.dbs.total_keys() as u64;
    let result = file::save(state, &path, &mut |_| pause());
    state.clock.refresh();
    if let Err(error) = result {
        log::warn!("{error}");
        return Err(error);
    }
    log::info!("DB saved on disk");
    log::debug!("{keys} keys saved to {}", path.display());
    state.dirty = 0;
    state.snapshots.last_save_s = state.clock.unix_ms / 1000;
    state.snapshots.last_ok = true;
    state.settle_writes();
    Ok(())
}

/// Begins a snapshot in a child. There must be no other child.
pub fn in_background(state: &mut State) -> io::Result<()> {
    state.snapshots.saves += 1;
    state.snapshots.dirty_at_start = state.dirty;
    state.snapshots.last_try_s = state.clock.unix_ms / 1000;
    state.feed();
    let path = path(state);
    let started = super::fit::check(state, ChildKind::Snapshot)
        .and_then(|()| child::start(state, ChildKind::Snapshot, write, &*path));
    match started {
        Ok(pid) => {
            state.snapshots.temporary = temporary_path(state, pid);
            log::info!("Background saving started by pid {pid}");
            Ok(())
        }
        Err(error) => {
            state.snapshots.last_ok = false;
            state.settle_writes();
            log::warn!("Can't save in background: fork: {error}");
            Err(error)
        }
    }
}

/// What the child does.
fn write(state: &State, path: &Path, reporter: &mut Reporter<'_>) -> io::Result<()> {
    file::save(state, path, &mut |keys| reporter.keys_done(keys))?;
    Ok(())
}

/// A child that wrote a snapshot has ended.
pub fn ended(state: &mut State, ended: &Ended) {
    let snapshots = &mut state.snapshots;
    let now_s = state.clock.unix_ms / 1000;
    snapshots.last_cow_bytes = ended.child.progress.cow_now;
    snapshots.last_took_s = (now_s - ended.child.started_s).max(0);
    if ended.succeeded() {
        log::info!("DB saved on disk");
        log::info!("Background saving terminated with success");
        state.dirty = state.dirty.saturating_sub(snapshots.dirty_at_start);
        snapshots.last_save_s = now_s;
        snapshots.last_ok = true;
    } else if ended.end.signal == 0 {
        log::warn!("Background saving error");
        snapshots.last_ok = false;
    } else {
        log::warn!(
            "Background saving terminated by signal {}",
            ended.end.signal
        );
        snapshots.last_ok &= ended.was_stopped();
        forget_temporary(state);
    }
    end_round_on_disk(state, ended.succeeded());
    state.settle_writes();
}

/// The snapshot that replicas wait for is there, or not.
fn end_round_on_disk(state: &mut State, succeeded: bool) {
    let repl = &mut state.repl;
    let Some(round) = repl.round.as_mut().filter(|round| round.on_disk) else {
        return;
    };
    round.succeeded = Some(succeeded);
    let waiting = repl.replicas.iter();
    let waiting = waiting.filter(|one| succeeded && one.stage == Stage::WaitSnapshotEnd);
    let opened = waiting.map(|one| (one.client, state.disk.open(&round.path)));
    round.files = Files(opened.collect());
}

/// A child that wrote a snapshot to replicas has ended.
pub fn transferred(state: &mut State, ended: &Ended) {
    let now_s = state.clock.unix_ms / 1000;
    state.snapshots.last_cow_bytes = ended.child.progress.cow_now;
    state.snapshots.last_took_s = (now_s - ended.child.started_s).max(0);
    match ended.end.signal {
        0 if ended.succeeded() => log::info!("Background RDB transfer terminated with success"),
        0 => log::warn!("Background transfer error"),
        signal => log::warn!("Background transfer terminated by signal {signal}"),
    }
    if let Some(round) = state.repl.round.as_mut().filter(|round| !round.on_disk) {
        round.succeeded = Some(ended.succeeded());
    }
}

/// Where a process writes the snapshot until it is whole.
pub fn temporary_path(state: &State, pid: i32) -> PathBuf {
    temporary(&path(state), pid)
}

/// Removes what a child left that could not do so itself.
fn forget_temporary(state: &mut State) {
    let path = std::mem::take(&mut state.snapshots.temporary);
    remove_in_background(&*state.disk, &path, &mut state.aof.jobs);
}

/// Ends a child that writes a snapshot: it puts no file in place any more.
pub fn end_child(state: &mut State) {
    if let Some(end) = child::end(state, ChildKind::Snapshot) {
        ended(state, &end);
    }
}

/// FLUSHALL: a snapshot of what is gone is of no use, and one that is older brings it back after a
/// restart. What a log that is being replayed flushed is another matter: the snapshot may be all that there
/// is, should the log turn out to be unreadable.
pub fn after_flush(state: &mut State) {
    if state.is_loading() {
        return;
    }
    // Replicas that wait for it get a better one.
    child::stop(state, ChildKind::Transfer);
    if state.config.save.points.is_empty() {
        child::stop(state, ChildKind::Snapshot);
    } else {
        // As in Redis the reply is the same when this fails; the log tells.
        let _ = now(state, &mut || {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::disk::faulty::FaultyDisk;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::config::Config;
    use crate::state::gate;
    use std::sync::Arc;

    fn state() -> (State, FaultyDisk) {
        let disk = FaultyDisk::new(1);
        disk.lay_dir(Path::new("/data"));
        let mut state = State::new(
            Config::default(),
            Rng::from_seed(1),
            Clock::manual(1_000_000),
            1,
            1.0,
        );
        state.config.dir.0 = "/data".into();
        state.disk = Arc::new(disk.clone());
        state.dbs.insert(0, b"k", NewValue::Int(1), None);
        (state, disk)
    }

    /// The log that is replayed may end in rubbish, and then the server ends: with its snapshot as it was.
    #[test]
    fn a_replayed_flush_leaves_the_snapshot_alone() {
        let (mut state, disk) = state();
        state.gate |= gate::LOADING;
        after_flush(&mut state);
        assert!(disk.contents().is_empty());
        state.gate &= !gate::LOADING;
        after_flush(&mut state);
        assert_eq!(disk.contents().len(), 1);
    }

    /// Otherwise a file of before lies in the place of the new one, and its changes count as saved.
    #[test]
    fn no_child_outlasts_a_snapshot_of_now() {
        let (mut state, _) = state();
        state.dirty = 7;
        in_background(&mut state).expect("begun");
        now(&mut state, &mut || {}).expect("written");
        assert!(state.child.is_none());
        state.dirty = 2;
        super::super::cron::run(&mut state);
        assert_eq!(state.dirty, 2);
    }
}
