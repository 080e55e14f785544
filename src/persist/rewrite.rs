//! Rewriting the append only file: a child writes the data set as it is now to a new base file, while what
//! is written since goes to a new incremental file. When the child has ended the manifest names the two, and
//! the files before them are history.
//!
//! Whatever fails on the way, the manifest names a whole set of files: the old base with all incremental
//! files stays valid until the new one is on disk and named.
pub mod base;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aof::files::{
    Logged, directory, is_on_disk, path_of, remove_history_of, remove_in_background, save_manifest,
    temporary_incremental,
};
use super::aof::switch;
use super::child::{self, Ended};
use super::fit;
use super::rdb::file::name;
use crate::base::disk::Disk;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::{Ctx, Mode as RunMode};
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::aof::manifest::Manifest;
use crate::state::aof::{FileJob, Mode, Task};
use crate::state::config::Config;
use crate::state::config::file::errno_text;
use crate::state::persistence::{ChildKind, Installing, Rewriting};
use base::Form;

const COMMANDS: &[Command] = &[cmd(
    "bgrewriteaof",
    1,
    flag::ADMIN | flag::NOSCRIPT | flag::NO_ASYNC_LOADING | flag::SERVER_WIDE,
    acl::NONE,
    NO_KEYS,
    bgrewriteaof,
)];

/// Rewriting.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

fn bgrewriteaof(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &mut *ctx.state;
    if is_running(state) {
        return Err(CmdError::new(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    // In a transaction: what it has not done yet belongs into the file, too.
    if state.child.is_some() || state.aof.left || ctx.mode == RunMode::Transaction {
        state.aof.rewrite_scheduled = true;
        // Who asks for it does not want to wait for what failures before have earned.
        state.rewrites.failures = 0;
        ctx.out
            .simple("Background append only file rewriting scheduled");
        return Ok(Outcome::Done);
    }
    start(state).map_err(|Logged| CANNOT)?;
    ctx.out
        .simple("Background append only file rewriting started");
    Ok(Outcome::Done)
}

const CANNOT: CmdError = CmdError::new(
    "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
);

/// Does a rewrite run that is to be completed?
pub fn is_running(state: &State) -> bool {
    let running = state.rewrites.running.as_ref();
    running.is_some_and(|running| !running.abandoned)
}

/// Begins a rewrite. There must be no child.
pub fn start(state: &mut State) -> Result<(), Logged> {
    let result = start_child(state);
    if result.is_err() {
        failed(state);
    }
    result
}

fn start_child(state: &mut State) -> Result<(), Logged> {
    let refused = |error: std::io::Error| {
        log::warn!("Can't rewrite append only file in background: fork: {error}");
        Logged
    };
    // First: a file that is begun for a child that never comes is one file more to load.
    fit::check(state, ChildKind::Rewrite).map_err(refused)?;
    switch::open_for_rewrite(state)?;
    state.rewrites.started += 1;
    let form = Form::wanted(state);
    let pid = child::start(state, ChildKind::Rewrite, base::write_file, &form).map_err(refused)?;
    log::info!("Background append only file rewriting started by pid {pid}");
    state.aof.rewrite_scheduled = false;
    state.rewrites.running = Some(Rewriting {
        rdb: form == Form::Snapshot,
        appending: state.aof.mode != Mode::Off,
        file_number: state.aof.file_number,
        first: state.aof.mode == Mode::WaitRewrite,
        ..Rewriting::default()
    });
    Ok(())
}

/// `CONFIG SET appendonly yes`: the first rewrite, at once or as soon as it can begin. `later`: not before
/// the running transaction has ended.
pub fn begin_first(state: &mut State, later: bool) -> Result<(), Logged> {
    settle(state);
    state.aof.rewrite_scheduled = true;
    if later {
        log::warn!(
            "AOF was enabled during a transaction. An AOF background was scheduled to start when \
             possible."
        );
    } else if state.has_child(ChildKind::Rewrite) {
        // It has no incremental file: what is written since its beginning would be in none.
        log::warn!(
            "AOF was enabled but there is already an AOF rewriting in background. Stopping \
             background AOF and starting a rewrite now."
        );
        abandon(state);
    } else if state.child.is_some() {
        log::warn!(
            "AOF was enabled but there is already another background operation. An AOF background \
             was scheduled to start when possible."
        );
    } else if start(state).is_err() {
        log::warn!(
            "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. \
             Check the above logs for more info about the error."
        );
        state.aof.rewrite_scheduled = false;
        return Err(Logged);
    }
    Ok(())
}

/// The running rewrite is to come to nothing: its incremental file does not hold what was written since its
/// beginning. Its child is told to end, and collected later.
pub fn abandon(state: &mut State) {
    if let (Some(child), Some(running)) = (&state.child, &mut state.rewrites.running)
        && child.kind == ChildKind::Rewrite
        && !running.abandoned
    {
        log::info!("Killing running AOF rewrite child: {}", child.pid);
        running.abandoned = true;
        child::stop(state, ChildKind::Rewrite);
    }
}

/// Begins a rewrite that was put off, or that the growth of the files asks for. Called by the cron.
pub fn start_if_due(state: &mut State) {
    if state.child.is_some() || is_installing(state) || state.aof.left || state.garbage.is_vast() {
        return;
    }
    if state.aof.rewrite_scheduled {
        if !is_limited(state) {
            // That it failed is in the log.
            let _ = start(state);
        }
        return;
    }
    if let Some(percent) = growth(state)
        && !is_limited(state)
    {
        log::info!("Starting automatic rewriting of AOF on {percent}% growth");
        let _ = start(state);
    }
}

/// By how many percent the files have grown since the last rewrite, where that is enough for the next.
fn growth(state: &State) -> Option<u64> {
    let (config, aof) = (&state.config, &state.aof);
    let wanted = u64::from(config.auto_aof_rewrite_percentage);
    if aof.mode != Mode::On || wanted == 0 || aof.current_bytes <= config.auto_aof_rewrite_min_size
    {
        return None;
    }
    let percent = u128::from(aof.current_bytes) * 100 / u128::from(aof.base_bytes.max(1));
    let grown = u64::try_from(percent.saturating_sub(100)).unwrap_or(u64::MAX);
    (grown >= wanted).then_some(grown)
}

/// So many failures in a row are no accident.
const FAILURES_MAX: u64 = 3;
const DELAY_MINUTES_MAX: u32 = 60;

/// Is the next rewrite to wait, because the last ones failed? Each leaves an incremental file behind.
fn is_limited(state: &mut State) -> bool {
    let now_s = state.clock.unix_ms / 1000;
    // While writes are refused until a rewrite succeeds no files pile up, and somebody waits.
    let minutes_max = if state.aof.sync_error.is_some() {
        1
    } else {
        DELAY_MINUTES_MAX
    };
    let rewrites = &mut state.rewrites;
    if rewrites.failures < FAILURES_MAX {
        (rewrites.delay_minutes, rewrites.retry_at_s) = (0, None);
        return false;
    }
    match rewrites.retry_at_s {
        Some(at_s) if now_s < at_s => true,
        Some(_) => {
            rewrites.retry_at_s = None;
            false
        }
        None => {
            let minutes = (rewrites.delay_minutes * 2).clamp(1, minutes_max);
            rewrites.delay_minutes = minutes;
            rewrites.retry_at_s = Some(now_s + i64::from(minutes) * 60);
            log::warn!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in \
                 {minutes} minutes"
            );
            true
        }
    }
}

/// Where a process writes a new base file: in the directory where it is to stay.
pub fn temporary(config: &Config, pid: i32) -> PathBuf {
    path_of(config, format!("temp-rewriteaof-bg-{pid}.aof").as_bytes())
}

/// A child that wrote a base file has ended.
pub fn ended(state: &mut State, ended: &Ended) {
    let pid = ended.child.pid;
    let running = state.rewrites.running.take().unwrap_or_default();
    let now_s = state.clock.unix_ms / 1000;
    state.rewrites.last_cow_bytes = ended.child.progress.cow_now;
    state.rewrites.last_took_s = (now_s - ended.child.started_s).max(0);
    let path = temporary(&state.config, pid);
    if running.abandoned {
        switch::rewrite_failed(state);
    } else if ended.succeeded() {
        let name = name(&path);
        log::info!("Successfully created the temporary AOF base file {name}");
        log::info!("Background AOF rewrite terminated with success");
        return install(state, running, &path);
    } else {
        match ended.end.signal {
            0 => log::warn!("Background AOF rewrite terminated with error"),
            signal => log::warn!("Background AOF rewrite terminated by signal {signal}"),
        }
        if ended.was_stopped() {
            switch::rewrite_failed(state);
        } else {
            failed(state);
        }
    }
    remove_in_background(&*state.disk, &path, &mut state.aof.jobs);
}

fn failed(state: &mut State) {
    state.rewrites.last_ok = false;
    state.rewrites.failures += 1;
    switch::rewrite_failed(state);
}

/// Begins to put the new files in their places: that takes several fsyncs, which are the background
/// thread's.
fn install(state: &mut State, mut running: Rewriting, temporary: &Path) {
    let config = &state.config;
    let stem = &config.appendfilename;
    let mut manifest = state.aof.manifest.clone();
    let base = path_of(config, &manifest.new_base(stem, running.rdb));
    let mut files = vec![("base", temporary.to_owned(), base)];
    if running.first {
        let from = path_of(config, &temporary_incremental(config));
        let to = path_of(config, &manifest.new_incremental(stem));
        files.push(("incr", from, to));
    }
    manifest.retire_incrementals(running.appending);
    let mut after = manifest.clone();
    if !config.aof_disable_auto_gc {
        after.history.clear();
    }
    let order = Install {
        disk: state.disk.clone(),
        config: config.clone(),
        files,
        before: state.aof.manifest.clone(),
        manifest,
    };
    let task = Task::new(move || order.run());
    state.aof.jobs.push(FileJob::Task(task.clone()));
    running.installing = Some(Installing {
        task,
        manifest: after,
    });
    state.rewrites.running = Some(running);
}

/// What the background thread needs to put the files of a rewrite in their places.
struct Install {
    disk: Arc<dyn Disk>,
    config: Config,
    /// What they are, and from where to where they are moved.
    files: Vec<(&'static str, PathBuf, PathBuf)>,
    before: Manifest,
    manifest: Manifest,
}

impl Install {
    fn run(mut self) -> bool {
        if self.put_in_place().is_err() {
            self.undo();
            return false;
        }
        // What cannot be removed now is removed at the next start; it is in the log.
        let _ = remove_history_of(&*self.disk, &self.config, &mut self.manifest, &mut |file| {
            drop(file);
        });
        true
    }

    fn put_in_place(&self) -> Result<(), Logged> {
        for (what, from, to) in &self.files {
            self.rename(what, from, to)?;
        }
        // The names have to be there for good before the manifest relies on them.
        let directory = directory(&self.config);
        self.disk.sync_dir(&directory).map_err(|error| {
            let reason = errno_text(&error);
            log::warn!(
                "Fail to fsync AOF directory {}: {reason}",
                directory.display()
            );
            Logged
        })?;
        save_manifest(&*self.disk, &self.config, &self.manifest)
    }

    fn rename(&self, what: &str, from: &Path, to: &Path) -> Result<(), Logged> {
        let (from_name, to_name) = (name(from), name(to));
        self.disk.rename(from, to).map_err(|error| {
            log::warn!(
                "Error trying to rename the temporary AOF {what} file {from_name} into {to_name}: {}",
                errno_text(&error)
            );
            Logged
        })?;
        log::info!("Successfully renamed the temporary AOF {what} file {from_name} into {to_name}");
        Ok(())
    }

    /// Removes what is of no use, unless the manifest on disk may name it.
    fn undo(&self) {
        if is_on_disk(&*self.disk, &self.config, &self.before) {
            for (_, from, to) in &self.files {
                let _ = self.disk.remove(from);
                let _ = self.disk.remove(to);
            }
        }
    }
}

/// Are the files of a rewrite on their way to their places?
fn is_installing(state: &State) -> bool {
    let running = state.rewrites.running.as_ref();
    running.is_some_and(|running| running.installing.is_some())
}

/// Looks whether the files of a rewrite are in their places. Called by the cron.
pub fn follow(state: &mut State) {
    let ended = |running: &mut Rewriting| {
        let installing = running.installing.as_ref();
        installing.is_some_and(|installing| installing.task.outcome().is_some())
    };
    let Some(mut running) = state.rewrites.running.take_if(ended) else {
        return;
    };
    let Some(installing) = running.installing.take() else {
        return;
    };
    if installing.task.run() {
        log::info!("Background AOF rewrite finished successfully");
        state.rewrites.last_ok = true;
        state.rewrites.failures = 0;
        state.aof.manifest = installing.manifest;
        let appending = state.aof.file.is_some() && state.aof.file_number == running.file_number;
        // Else the file that goes behind it came to nothing since, or there is to be one now that was not
        // when it began: the next rewrite makes the AOF whole.
        if appending || state.aof.mode == Mode::Off {
            switch::rewrite_succeeded(state);
        } else {
            state.aof.rewrite_scheduled = true;
        }
    } else {
        // Their numbers are not given again: which manifest a crash would leave nobody knows now.
        state.aof.manifest.base_seq = installing.manifest.base_seq;
        state.aof.manifest.incremental_seq = installing.manifest.incremental_seq;
        failed(state);
    }
}

/// Before anybody else touches the manifest: waits for the files of a rewrite to be in their places.
pub fn settle(state: &mut State) {
    if let Some(running) = &state.rewrites.running
        && let Some(installing) = &running.installing
    {
        installing.task.run();
        follow(state);
    }
}

/// The server ends: no rewrite goes on, and none leaves a file behind.
pub fn end(state: &mut State) {
    settle(state);
    if let Some(child) = state
        .child
        .as_ref()
        .filter(|child| child.kind == ChildKind::Rewrite)
    {
        let path = temporary(&state.config, child.pid);
        child::stop(state, ChildKind::Rewrite);
        let _ = state.disk.remove(&path);
    }
}
