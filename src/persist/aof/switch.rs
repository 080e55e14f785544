//! Where the AOF begins and ends: at the start, by CONFIG SET, with each rewrite, and anew when a file
//! cannot be trusted any more.
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::files::{
    Logged, is_on_disk, make_directory, path_of, remove_history, remove_in_background,
    remove_temporary_incremental, save_manifest, shown, temporary_incremental,
};
use super::writer::flush;
use crate::base::disk::{DiskFile, Stream};
use crate::codec::Sink;
use crate::persist::rewrite::{self, base, base::Form};
use crate::state::State;
use crate::state::aof::{FileJob, Mode};
use crate::state::config::file::errno_text;

/// Opens the AOF of a server that starts, behind what was loaded; a data set without one gets its first
/// base file. Does nothing with `appendonly no`.
pub fn open_at_start(state: &mut State) -> Result<(), Logged> {
    if !state.config.appendonly {
        return Ok(());
    }
    make_directory(&*state.disk, &state.config)?;
    let stem = state.config.appendfilename.clone();
    let mut manifest = state.aof.manifest.clone();
    if manifest.is_empty() {
        let form = Form::wanted(state);
        let name = manifest.new_base(&stem, form == Form::Snapshot);
        let path = path_of(&state.config, &name);
        log::info!("Creating AOF base file {} on server start", shown(&name));
        write_base(state, &path, form).map_err(|error| {
            log::warn!("Can't write {}: {}", path.display(), errno_text(&error));
            Logged
        })?;
    }
    let (name, what) = match manifest.incrementals.last() {
        Some(last) => (last.name.clone(), "Opening"),
        None => (manifest.new_incremental(&stem), "Creating"),
    };
    let path = path_of(&state.config, &name);
    let opened = state
        .disk
        .append(&path)
        .and_then(|file| Ok((file.size()?, file)));
    let (bytes, file) = opened.map_err(|error| {
        let reason = errno_text(&error);
        log::warn!("Can't open the append-only file {}: {reason}", shown(&name));
        Logged
    })?;
    save_manifest(&*state.disk, &state.config, &manifest)?;
    log::info!("{what} AOF incr file {} on server start", shown(&name));
    state.aof.manifest = manifest;
    adopt(state, file, bytes);
    state.aof.mode = Mode::On;
    // Who wrote it may have been killed before its fsync: only the page cache is sure to hold it.
    state.aof.sync_asked = 0;
    measure(state);
    state.settle_readers();
    Ok(())
}

/// Writes the data set as a base file, in place: only for one that is as good as empty.
fn write_base(state: &State, path: &Path, form: Form) -> io::Result<()> {
    let config = &state.config;
    let file = state.disk.create(path)?;
    let mut out = Stream(&*file);
    let mut sink = Sink::to_writer(&mut out, config.rdbcompression, config.rdbchecksum);
    base::write(state, form, &mut sink, &mut |_| {});
    sink.finish()?;
    file.sync()
}

/// Takes the figures of INFO from the files.
fn measure(state: &mut State) {
    let size = |name: &[u8]| {
        let file = state.disk.open(&path_of(&state.config, name));
        file.and_then(|file| file.size()).unwrap_or(0)
    };
    let manifest = &state.aof.manifest;
    let base = manifest.base.as_ref().map_or(0, |part| size(&part.name));
    let all = manifest.parts().map(|part| size(&part.name)).sum();
    (state.aof.current_bytes, state.aof.base_bytes) = (all, base);
}

/// From here on this file is written to; so many bytes of it are whole.
fn adopt(state: &mut State, file: Arc<dyn DiskFile>, bytes: u64) {
    let aof = &mut state.aof;
    aof.file = Some(file);
    aof.file_number += 1;
    (aof.file_bytes, aof.sync_asked) = (bytes, bytes);
    aof.stamped_s = 0;
    aof.postponed_us = None;
    // It may begin behind another history: what that one had on disk says nothing of this one.
    aof.synced.stream = 0;
    state.prop.log.reselect();
}

/// The file that is left is on disk before another one is named behind it: only the last one may end in
/// the middle of a request. (Redis 7.0 does this in the background, and its files do not load when the power
/// fails meanwhile.) A fork is about to hold the loop anyway.
fn sync_before_next(state: &mut State) -> Result<(), Logged> {
    let aof = &mut state.aof;
    if aof.syncs.is_empty() && aof.sync_asked == aof.file_bytes {
        return Ok(());
    }
    let Some(file) = aof.file.clone() else {
        return Ok(());
    };
    if let Err(error) = file.sync() {
        log::warn!("Fail to fsync the AOF file: {}", errno_text(&error));
        let number = aof.file_number;
        lost(state, number, error);
        return Err(Logged);
    }
    aof.sync_asked = aof.file_bytes;
    aof.synced = aof.written;
    Ok(())
}

/// `CONFIG SET appendonly yes`: begins with a rewrite, at once or as soon as one can begin. `later`: not
/// before the running transaction has ended.
pub fn start(state: &mut State, later: bool) -> Result<(), Logged> {
    let aof = &mut state.aof;
    aof.mode = Mode::WaitRewrite;
    aof.left = false;
    aof.synced_us = state.clock.mono_us;
    (aof.write_error, aof.sync_error) = (None, None);
    let begun = rewrite::begin_first(state, later);
    if begun.is_err() {
        state.aof.mode = Mode::Off;
    }
    state.settle_readers();
    begun
}

/// `CONFIG SET appendonly no`: everything is on disk when it has ended.
pub fn stop(state: &mut State) {
    rewrite::settle(state);
    rewrite::abandon(state);
    if state.aof.mode == Mode::WaitRewrite {
        // What it holds goes behind a base file that will never be.
        give_up_temporary(state);
    }
    flush(state, true);
    state.abandon_log();
    if let Some(file) = state.aof.file.take()
        && let Err(error) = file.sync()
    {
        log::warn!("Fail to fsync the AOF file: {}", errno_text(&error));
    }
    let aof = &mut state.aof;
    aof.mode = Mode::Off;
    (aof.left, aof.rewrite_scheduled) = (false, false);
    aof.waiting = Vec::new();
    (aof.write_error, aof.sync_error) = (None, None);
    state.settle_readers();
    state.settle_writes();
}

/// The end of the server: everything that was acknowledged is on disk behind it, or it says no.
pub fn finish(state: &mut State) -> bool {
    if state.aof.mode == Mode::Off {
        return true;
    }
    log::info!("Calling fsync() on the AOF file.");
    flush(state, true);
    if let Some(file) = &state.aof.file
        && let Err(error) = file.sync()
    {
        log::warn!("Fail to fsync the AOF file: {}.", errno_text(&error));
        return false;
    }
    // `fatal`: a failed write of `appendfsync always` is not tried again, its turn has said so.
    state.aof.waiting.is_empty() && state.aof.sync_error.is_none() && !state.aof.fatal
}

/// Before a rewrite's child is started: what is propagated from here on goes to a new incremental file.
/// Without an AOF there is none.
pub fn open_for_rewrite(state: &mut State) -> Result<(), Logged> {
    if state.aof.mode != Mode::On {
        make_directory(&*state.disk, &state.config)?;
    }
    let mut manifest = None;
    let name = match state.aof.mode {
        Mode::Off => return Ok(()),
        Mode::On => {
            flush(state, true);
            if !state.aof.waiting.is_empty() {
                // They are part of what the child writes: in the new file they would be done twice.
                log::warn!(
                    "Can't rewrite the AOF before what could not be written to it is written."
                );
                return Err(Logged);
            }
            sync_before_next(state)?;
            let mut next = state.aof.manifest.clone();
            let name = next.new_incremental(&state.config.appendfilename);
            manifest = Some(next);
            name
        }
        Mode::WaitRewrite => {
            state.abandon_log();
            state.aof.waiting.clear();
            temporary_incremental(&state.config)
        }
    };
    let path = path_of(&state.config, &name);
    // Empty first; then so that every write goes to its end, even behind a tail that was cut off.
    let disk = &state.disk;
    let opened = disk.create(&path).and_then(|_| disk.append(&path));
    let file = opened.map_err(|error| {
        let reason = errno_text(&error);
        log::warn!("Can't open the append-only file {}: {reason}", shown(&name));
        Logged
    })?;
    if let Some(manifest) = manifest {
        if let Err(error) = save_manifest(&**disk, &state.config, &manifest) {
            if is_on_disk(&**disk, &state.config, &state.aof.manifest) {
                remove_in_background(&**disk, &path, &mut state.aof.jobs);
            }
            return Err(error);
        }
        state.aof.manifest = manifest;
    }
    log::info!(
        "Creating AOF incr file {} on background rewrite",
        shown(&name)
    );
    // What the running unit has done so far is part of what the child writes.
    state.abandon_log();
    // What was written to the one before is on disk already.
    let left = state.aof.file.take().map(FileJob::Close);
    state.aof.jobs.extend(left);
    adopt(state, file, 0);
    state.settle_readers();
    Ok(())
}

/// A rewrite has ended well, its files are named in the manifest in memory and on disk: the AOF is whole.
pub fn rewrite_succeeded(state: &mut State) {
    if state.aof.mode == Mode::WaitRewrite {
        state.aof.mode = Mode::On;
    }
    state.aof.sync_error = None;
    // What becomes of files that are history now does not matter.
    let current = state.aof.file_number;
    let syncs = &mut state.aof.syncs;
    syncs.retain(|ticket| ticket.file_number == current);
    state.settle_writes();
    measure(state);
    state.aof.base_bytes = state.aof.current_bytes;
    // What cannot be removed now is removed at the next start; it is in the log.
    let _ = remove_history(state);
}

/// A rewrite has failed, or could not begin.
pub fn rewrite_failed(state: &mut State) {
    match state.aof.mode {
        Mode::Off => {}
        Mode::On if state.aof.sync_error.is_some() => begin_anew(state),
        Mode::On => {}
        Mode::WaitRewrite => {
            give_up_temporary(state);
            state.aof.rewrite_scheduled = true;
        }
    }
}

/// The incremental file of a rewrite that came to nothing goes, and what was recorded with it.
fn give_up_temporary(state: &mut State) {
    let aof = &mut state.aof;
    aof.waiting = Vec::new();
    aof.write_error = None;
    (aof.file_bytes, aof.sync_asked) = (0, 0);
    let file = aof.file.take();
    state.abandon_log();
    if let Some(file) = file {
        state.aof.jobs.push(FileJob::Close(file));
        remove_temporary_incremental(state);
    }
    state.settle_readers();
    state.settle_writes();
}

/// An fsync of file `number` failed: what it was to bring to disk may be lost, and no later fsync tells. A
/// rewrite makes the AOF whole again; until then writes are refused.
pub(super) fn lost(state: &mut State, number: u64, error: io::Error) {
    if state.aof.mode == Mode::Off {
        return;
    }
    state.aof.sync_error = Some(error);
    // A file before the current one is replaced by the rewrite that is running, if one is.
    let replaced = number != state.aof.file_number && rewrite::is_running(state);
    if !replaced {
        begin_anew(state);
    }
    state.settle_writes();
}

/// Another data set is about to take the place of this one: the files hold the old one, and nothing that is done
/// to the new one goes to them. Until all of it is there ([`go_on`]) they are what a server that is killed begins
/// with again.
pub fn leave_to_other_data(state: &mut State) {
    if state.aof.mode == Mode::Off {
        return;
    }
    rewrite::abandon(state);
    flush(state, true);
    leave_files(state);
    state.aof.rewrite_scheduled = false;
    state.aof.left = true;
}

/// The data are what is to be kept, whatever the files hold: a rewrite is what comes next where they were left.
pub fn go_on(state: &mut State) {
    state.aof.left = false;
    if state.aof.mode == Mode::WaitRewrite && !rewrite::is_running(state) {
        state.aof.rewrite_scheduled = true;
    }
}

/// Nothing more goes to the files there are: they are a whole AOF up to the last fsync, with what is
/// missing no more. As when the AOF is switched on a rewrite is what comes next.
fn begin_anew(state: &mut State) {
    log::warn!("The AOF can't be relied on after a failed fsync: it is rewritten.");
    rewrite::abandon(state);
    leave_files(state);
}

/// What is propagated goes to no file until a rewrite begins.
fn leave_files(state: &mut State) {
    match state.aof.mode {
        Mode::WaitRewrite => give_up_temporary(state),
        _ => {
            let aof = &mut state.aof;
            aof.mode = Mode::WaitRewrite;
            aof.waiting = Vec::new();
            aof.write_error = None;
            aof.jobs.extend(aof.file.take().map(FileJob::Close));
            state.abandon_log();
        }
    }
    state.aof.rewrite_scheduled = true;
    state.settle_readers();
}
