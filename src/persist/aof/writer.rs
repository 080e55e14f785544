//! Appending: once a turn, what was propagated goes to the last incremental file, and from there to the
//! disk as `appendfsync` says.
use std::io;
use std::sync::Arc;

use super::switch;
use crate::base::clock::mono_us;
use crate::base::sys::ticks;
use crate::state::State;
use crate::state::aof::{FileJob, Mode, SyncTicket};
use crate::state::config::Appendfsync;
use crate::state::config::file::errno_text;
use crate::state::repl::wait::Place;

/// So long writing waits for an fsync that is still running, microseconds.
const POSTPONED_MAX_US: u64 = 2_000_000;
/// With `everysec` an fsync is asked for this often, microseconds.
const SYNC_EVERY_US: u64 = 1_000_000;
/// A write that fails again and again is told of this often, seconds.
const ERROR_LOG_EVERY_S: u64 = 30;
/// The buffer keeps so much room.
const BUFFER_KEPT: usize = 1 << 20;

/// Takes what the turn has propagated. To be called before any of its replies goes out; where
/// `state.aof.fatal` is set afterwards none may, and the server ends with code 1.
#[inline]
pub fn end_of_turn(state: &mut State) {
    if state.aof.mode != Mode::Off {
        flush(state, false);
    }
}

/// Does each turn with a write end with an fsync?
#[inline]
pub fn commits_each_turn(state: &State) -> bool {
    state.aof.mode != Mode::Off && state.config.appendfsync == Appendfsync::Always
}

/// Tries again what could not be written. (An fsync or a write that was put off is done by the end of the
/// first turn in which it is due.)
pub fn every_second(state: &mut State) {
    if state.aof.mode != Mode::Off && state.aof.write_error.is_some() {
        append(state, false);
    }
}

/// Writes what is there; `force` does not wait for an fsync that is running.
pub fn flush(state: &mut State, force: bool) {
    settle_syncs(state);
    take_log(state);
    // A write that failed is tried again once a second: see `every_second`.
    if state.aof.write_error.is_none() || force {
        append(state, force);
    }
}

/// Moves the log's bytes to the buffer, behind what could not be written yet: of whole units only.
pub fn take_log(state: &mut State) {
    state.feed();
    let (aof, log) = (&mut state.aof, &mut state.prop.log);
    let whole = log.whole();
    if whole == 0 {
        return;
    }
    aof.taken += whole as u64;
    let now_s = state.clock.unix_ms / 1000;
    if state.config.aof_timestamp_enabled && now_s > aof.stamped_s {
        aof.waiting.extend_from_slice(&timestamp(now_s));
        aof.stamped_s = now_s;
    }
    if whole < log.bytes.len() || !log.is_all_for_aof() {
        // In the midst of a unit: its first half waits for the second. Or some of it is for others.
        log.copy_for_aof(&mut aof.waiting);
        return log.took_whole();
    }
    if aof.waiting.is_empty() {
        std::mem::swap(&mut aof.waiting, &mut log.bytes);
    } else {
        aof.waiting.extend_from_slice(&log.bytes);
    }
    log.clear();
}

/// The annotation that says when what follows was written.
pub fn timestamp(unix_s: i64) -> Vec<u8> {
    format!("#TS:{unix_s}\r\n").into_bytes()
}

fn append(state: &mut State, force: bool) {
    if !state.aof.waiting.is_empty() {
        if !force && postponed(state) {
            return;
        }
        if let Err(error) = write_waiting(state) {
            write_failed(state, error);
            return;
        }
    }
    state.aof.written = Place {
        stream: state.repl.offset,
        file: state.aof.taken,
    };
    sync_if_due(state);
}

/// With `everysec` a write waits while an fsync runs (it would be held up in the kernel), up to a limit.
fn postponed(state: &mut State) -> bool {
    let (aof, now_us) = (&mut state.aof, state.clock.mono_us);
    if state.config.appendfsync != Appendfsync::Everysec || aof.syncs.is_empty() {
        aof.postponed_us = None;
        return false;
    }
    let since = *aof.postponed_us.get_or_insert(now_us);
    if now_us.saturating_sub(since) < POSTPONED_MAX_US {
        return true;
    }
    aof.postponed_us = None;
    aof.delayed_fsyncs += 1;
    log::info!(
        "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer without \
         waiting for fsync to complete, this may slow down Redis."
    );
    false
}

/// What a write that failed leaves behind.
struct WriteFailed {
    error: io::Error,
    /// Whole bytes taken before it.
    written: usize,
}

fn write_waiting(state: &mut State) -> Result<(), WriteFailed> {
    if state.debug.aof_flush_sleep_us > 0 {
        std::thread::sleep(std::time::Duration::from_micros(
            state.debug.aof_flush_sleep_us,
        ));
    }
    let aof = &mut state.aof;
    let Some(file) = aof.file.clone() else {
        aof.waiting.clear();
        return Ok(());
    };
    let started = ticks();
    let mut written = 0;
    while written < aof.waiting.len() {
        match file.write(&aof.waiting[written..]) {
            Ok(0) => {
                let error = io::Error::from_raw_os_error(libc::ENOSPC);
                return Err(WriteFailed { error, written });
            }
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WriteFailed { error, written }),
        }
    }
    let took_ms = state.stats.ticks_to_us(ticks() - started) / 1000;
    aof.file_bytes += written as u64;
    aof.current_bytes += written as u64;
    aof.waiting.clear();
    if aof.waiting.capacity() > BUFFER_KEPT {
        aof.waiting = Vec::new();
    }
    if aof.write_error.take().is_some() {
        log::warn!("AOF write error looks solved. The server can write again.");
        state.settle_writes();
    }
    let event = if !state.aof.syncs.is_empty() {
        "aof-write-pending-fsync"
    } else if state.child_alive {
        "aof-write-active-child"
    } else {
        "aof-write-alone"
    };
    note_latency(state, event, took_ms);
    note_latency(state, "aof-write", took_ms);
    Ok(())
}

fn note_latency(state: &mut State, event: &'static str, ms: u64) {
    if state.latency.threshold_ms > 0 {
        state.latency.add(event, state.clock.unix_ms / 1000, ms);
    }
}

/// Nothing of what was not written whole stays in the file; it is tried again, or with `always` given up.
fn write_failed(state: &mut State, failed: WriteFailed) {
    let always = state.config.appendfsync == Appendfsync::Always;
    let (aof, now_s) = (&mut state.aof, state.clock.mono_us / 1_000_000);
    let loud = always
        || aof
            .error_logged_s
            .is_none_or(|at| now_s - at > ERROR_LOG_EVERY_S);
    if loud {
        aof.error_logged_s = Some(now_s);
    }
    if failed.written == 0 {
        if loud {
            let reason = errno_text(&failed.error);
            log::warn!("Error writing to the AOF file: {reason}");
        }
    } else {
        if loud {
            log::warn!(
                "Short write while writing to the AOF file: (nwritten={}, expected={})",
                failed.written,
                aof.waiting.len()
            );
        }
        let cut = aof.file.as_ref().map(|file| file.truncate(aof.file_bytes));
        if let Some(Err(error)) = cut {
            if loud {
                log::warn!(
                    "Could not remove short write from the append-only file.  Redis may refuse to load \
                     the AOF the next time it starts.  ftruncate: {}",
                    errno_text(&error)
                );
            }
            // What is there counts; the rest goes behind it.
            aof.file_bytes += failed.written as u64;
            aof.current_bytes += failed.written as u64;
            aof.waiting.drain(..failed.written);
        }
    }
    if always {
        log::warn!(
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
        );
        aof.fatal = true;
        return;
    }
    aof.write_error = Some(failed.error);
    state.settle_writes();
}

fn sync_if_due(state: &mut State) {
    let (config, aof) = (&state.config, &mut state.aof);
    if aof.sync_asked == aof.file_bytes {
        if aof.syncs.is_empty() {
            aof.synced = aof.written;
        }
        return;
    }
    if config.appendfsync == Appendfsync::No {
        return;
    }
    if config.no_appendfsync_on_rewrite && state.child_alive {
        return;
    }
    if config.appendfsync == Appendfsync::Always {
        return sync_now(state);
    }
    let now_us = state.clock.mono_us;
    if aof.syncs.is_empty() && now_us.saturating_sub(aof.synced_us) >= SYNC_EVERY_US {
        aof.synced_us = now_us;
        sync_later(state);
    }
}

/// Lets the background thread do an fsync of the current file.
fn sync_later(state: &mut State) {
    let aof = &mut state.aof;
    if let Some(file) = &aof.file {
        let ticket = Arc::new(SyncTicket::new(aof.file_number, aof.written));
        aof.syncs.push_back(ticket.clone());
        aof.jobs.push(FileJob::Sync(file.clone(), ticket));
        aof.sync_asked = aof.file_bytes;
    }
}

/// `appendfsync always`: a failure ends the server, since no reply may say what is not true.
fn sync_now(state: &mut State) {
    let Some(file) = state.aof.file.clone() else {
        return;
    };
    let started = mono_us();
    if let Err(error) = file.sync() {
        log::warn!(
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {}. Exiting...",
            errno_text(&error)
        );
        state.aof.fatal = true;
        return;
    }
    note_latency(state, "aof-fsync-always", (mono_us() - started) / 1000);
    state.aof.sync_asked = state.aof.file_bytes;
    state.aof.synced_us = state.clock.mono_us;
    state.aof.synced = state.aof.written;
}

/// Looks at the fsyncs of the background thread that have ended.
pub(super) fn settle_syncs(state: &mut State) {
    while let Some(ticket) = state.aof.syncs.front()
        && let Some(outcome) = ticket.outcome()
    {
        let (number, place) = (ticket.file_number, ticket.place);
        state.aof.syncs.pop_front();
        // What an earlier file held was synced when this one began.
        if outcome.is_ok() && number == state.aof.file_number {
            state.aof.synced = place;
        }
        if let Err(error) = outcome {
            log::warn!("Fail to fsync the AOF file: {}", errno_text(&error));
            switch::lost(state, number, error);
        }
    }
}
