//! Loading files into an empty keyspace, in steps.
//!
//! The loop calls [`Loader::step`] once a turn, so that clients are answered (with LOADING, mostly) while a
//! large data set comes in; DEBUG RELOAD and LOADAOF run the same loader to its end. It feeds the readers
//! of both kinds of file, keeps INFO's figures, and says in the log what becomes of each file.
//!
//! A file that cannot be loaded stays as it is, with one exception: what a crash left of a write at the end
//! of the last append only file is cut off, if `aof-load-truncated` allows it and if it is such a rest.
//! Memory beyond what the data take: the window of a reader, which is at most twice the longest value (or
//! request, or transaction) of the file. The data take at most about a hundred times what the file does
//! (that much can LZF inflate text), except where requests of an append only file say so (SETRANGE).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::mono_us;
use crate::base::disk::DiskFile;
use crate::base::sys::ticks;
use crate::exec::registry::Registry;
use crate::state::State;
use crate::state::config::file::errno_text;
use crate::state::gate;
use crate::state::loading::LoadProgress;

use super::aof::files;
use super::aof::replay::{self, Replay, ReplayError, Why, is_torn};
use super::rdb::read::{LoadError, Options, Progress, Reader, Summary, Taken};
use super::{groups, save};

#[cfg(test)]
mod tests;

/// Most bytes read at once: about 50 microseconds where the system has them in memory.
const READ_MAX: usize = 256 << 10;
/// Bytes that tell the kind of a file.
const HEAD: usize = 5;
/// Bytes behind a request that does not end within its file that are looked at.
const TORN_MAX: u64 = 16 << 20;
/// Work between two looks at the time, in keys or requests: between these, by what the last took.
const WORK: (usize, usize) = (32, 1024);
/// The aim for it, microseconds.
const WORK_US: u64 = 100;
/// The log tells how far a long load is this often.
const TELL_EVERY_US: u64 = 5_000_000;

/// Why loading failed, as the lines that the log is to show. The last one is what tools look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub Vec<String>);

impl From<files::Logged> for Failed {
    fn from(_: files::Logged) -> Failed {
        Failed(Vec::new())
    }
}

impl Failed {
    fn line(text: String) -> Failed {
        Failed(vec![text])
    }

    /// Puts it in the log.
    pub fn log(&self) {
        self.0.iter().for_each(|line| log::warn!("{line}"));
    }
}

/// A part of the append only file.
#[derive(Debug, Clone)]
pub struct AofPart {
    pub path: PathBuf,
    /// The file's name, as log lines show it.
    pub name: String,
    /// It is the base of the others.
    pub base: bool,
    /// It is the single file of a server before 7.0.
    pub old_style: bool,
}

/// What a file is, and what becomes of it.
#[derive(Debug, Clone)]
enum Kind {
    Snapshot(Taken),
    Part(AofPart),
}

struct Task {
    kind: Kind,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    bytes: u64,
    /// Nothing is loaded behind it.
    last: bool,
    /// The server starts with it.
    starts: bool,
}

/// Loads a list of files.
pub struct Loader {
    tasks: VecDeque<Task>,
    open: Option<Open>,
    /// Bytes of the files that are done.
    done_bytes: u64,
    work: usize,
    /// With `key-load-delay`: not before this moment (monotonic microseconds).
    pub wait_until_us: u64,
    told_us: u64,
}

/// A file that is being loaded.
struct Open {
    task: Task,
    file: Arc<dyn DiskFile>,
    started_us: u64,
    /// Bytes to be read before the reader is asked again.
    lacks: usize,
    /// Bytes of the file that were read.
    read_bytes: u64,
    /// The file has been read to its end, or as far as is of use.
    at_end: bool,
    reader: AnyReader,
}

enum AnyReader {
    /// The first bytes of a file that is not known yet.
    Head(Vec<u8>),
    Rdb(Box<Reader>),
    Aof(Box<Replay>),
}

impl Loader {
    /// Begins to load a snapshot; `None` where there is no file.
    pub fn snapshot(
        state: &mut State,
        path: &Path,
        taken: Taken,
    ) -> Result<Option<Loader>, Failed> {
        let opened = state.disk.open(path).and_then(|file| {
            let bytes = file.size()?;
            Ok((file, bytes))
        });
        let (file, bytes) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let (path, text) = (path.display(), errno_text(&error));
                return Err(Failed(vec![
                    format!("{path} cannot be opened: {text}"),
                    format!("Fatal error loading the DB: {text}. Exiting."),
                ]));
            }
        };
        let task = Task {
            kind: Kind::Snapshot(taken),
            path: path.to_owned(),
            file: Some(file),
            bytes,
            last: true,
            starts: false,
        };
        Ok(Some(Loader::begin(state, [task].into())))
    }

    /// Begins to load the parts of the append only file, in this order.
    pub fn append_only(state: &mut State, parts: Vec<AofPart>) -> Result<Loader, Failed> {
        let mut tasks = VecDeque::new();
        let count = parts.len();
        for part in parts {
            let opened = state.disk.open(&part.path);
            let bytes = opened.and_then(|file| file.size()).map_err(|error| {
                Failed::line(format!(
                    "Unable to obtain the AOF file {} length. stat: {}",
                    part.name,
                    errno_text(&error)
                ))
            })?;
            tasks.push_back(Task {
                path: part.path.clone(),
                kind: Kind::Part(part),
                file: None,
                bytes,
                last: false,
                starts: false,
            });
        }
        // A file that is still empty may be named although the server, told that naming it failed, went on
        // with the one before. (A base file is on disk before it is named.)
        for task in tasks.iter_mut().rev() {
            task.last = true;
            if task.bytes > 0 {
                break;
            }
        }
        if let Some(base) = tasks.front_mut().filter(|_| count > 1)
            && matches!(&base.kind, Kind::Part(part) if part.base)
        {
            base.last = false;
        }
        Ok(Loader::begin(state, tasks))
    }

    /// Begins to load what the configuration says: the append only file or the snapshot. `None` where there
    /// is none yet.
    pub fn at_start(state: &mut State) -> Result<Option<Loader>, Failed> {
        // Also where it is not loaded: it may be switched on.
        files::load_manifest(state).map_err(Failed::from)?;
        if !state.config.appendonly {
            let path = save::path(state);
            let mut loader = Loader::snapshot(state, &path, Taken::Refuse)?;
            let tasks = loader.iter_mut().flat_map(|loader| &mut loader.tasks);
            tasks.for_each(|task| task.starts = true);
            return Ok(loader);
        }
        files::take_over_old(state).map_err(Failed::from)?;
        Loader::manifest(state)
    }

    /// Begins to load what the manifest in the state names; `None` where it names nothing.
    pub fn manifest(state: &mut State) -> Result<Option<Loader>, Failed> {
        let (manifest, config) = (&state.aof.manifest, &state.config);
        if manifest.is_empty() {
            return Ok(None);
        }
        let parts = manifest.parts().map(|part| AofPart {
            path: files::path_of(config, &part.name),
            name: String::from_utf8_lossy(&part.name).into_owned(),
            base: manifest.base.as_ref() == Some(part),
            old_style: part.name == config.appendfilename,
        });
        let parts = parts.collect();
        Loader::append_only(state, parts).map(Some)
    }

    fn begin(state: &mut State, tasks: VecDeque<Task>) -> Loader {
        let now_us = state.clock.mono_us;
        groups::begin(state);
        state.gate |= gate::LOADING;
        state.load = LoadProgress {
            started_s: state.clock.unix_ms / 1000,
            started_us: now_us,
            total_bytes: tasks.iter().map(|task| task.bytes).sum(),
            loaded_bytes: 0,
            rdb_used_memory: 0,
            ..state.load
        };
        Loader {
            tasks,
            open: None,
            done_bytes: 0,
            work: WORK.0,
            wait_until_us: 0,
            told_us: now_us,
        }
    }

    /// Goes on until the processor's clock shows `until`; true when everything is loaded. After an error it
    /// is used no more.
    pub fn step(
        &mut self,
        state: &mut State,
        table: &Registry,
        until: u64,
    ) -> Result<bool, Failed> {
        let before = state.load.loaded_bytes;
        let interval = u64::from(state.config.loading_process_events_interval_bytes);
        // Nobody reads the log of what is loaded, and it counts for nothing.
        let logged = std::mem::take(&mut state.prop.on);
        let (hits, misses) = (state.stats.hits, state.stats.misses);
        let result = loop {
            if state.config.key_load_delay > 0 && mono_us() < self.wait_until_us {
                break Ok(false);
            }
            match self.work(state, table) {
                Ok(false) => {}
                done => break done,
            }
            if ticks() >= until || state.load.loaded_bytes - before >= interval {
                break Ok(false);
            }
        };
        state.prop.on = logged;
        (state.stats.hits, state.stats.misses) = (hits, misses);
        if !matches!(result, Ok(false)) {
            state.gate &= !gate::LOADING;
            // What is appended now continues a log that may have been written with other databases.
            state.settle_groups();
        }
        self.tell(state);
        result
    }

    /// Loads everything, while the caller waits.
    pub fn run(mut self, state: &mut State, table: &Registry) -> Result<(), Failed> {
        loop {
            if self.step(state, table, u64::MAX)? {
                return Ok(());
            }
            let now_us = mono_us();
            if state.config.key_load_delay > 0 && self.wait_until_us > now_us {
                let wait_us = self.wait_until_us - now_us;
                std::thread::sleep(std::time::Duration::from_micros(wait_us));
            }
            // The loop's thread is ours until the end: nobody else would free what requests threw away.
            let garbage = &mut state.garbage;
            let disposal = &garbage.disposal;
            garbage
                .waiting
                .drain(..)
                .for_each(|rubbish| rubbish.free(disposal));
        }
    }

    /// How far a long load is, in the log.
    fn tell(&mut self, state: &State) {
        let now_us = state.clock.mono_us;
        if now_us < self.told_us + TELL_EVERY_US || !state.is_loading() {
            return;
        }
        self.told_us = now_us;
        let (load, now_s) = (&state.load, state.clock.unix_ms / 1000);
        log::info!(
            "Loading: {:.1} % of {} bytes, {} keys, {} seconds to go",
            load.percent(),
            load.total_bytes,
            state.dbs.total_keys(),
            load.eta_s(now_s)
        );
    }

    /// One piece of work; true when everything is loaded.
    fn work(&mut self, state: &mut State, table: &Registry) -> Result<bool, Failed> {
        let Some(open) = &mut self.open else {
            let Some(task) = self.tasks.pop_front() else {
                return Ok(true);
            };
            // An empty append only file is fine; a snapshot is never empty.
            if task.bytes > 0 || matches!(task.kind, Kind::Snapshot(_)) {
                self.open = Some(Open::new(state, task)?);
            }
            return Ok(false);
        };
        let (started, keys) = (ticks(), open.count());
        let delay = state.config.key_load_delay;
        let most = if delay == 0 { self.work } else { 1 };
        let done = open.work(state, table, most)?;
        let took_us = state.stats.ticks_to_us(ticks().saturating_sub(started));
        if delay > 0 {
            let owed = open.count().saturating_sub(keys) * u64::from(delay.unsigned_abs());
            self.wait_until_us = self.wait_until_us.max(mono_us()) + owed;
        } else if took_us > 2 * WORK_US {
            self.work = (self.work / 2).max(WORK.0);
        } else if took_us < WORK_US / 2 {
            self.work = (self.work * 2).min(WORK.1);
        }
        state.load.loaded_bytes = self.done_bytes + open.position().min(open.task.bytes);
        if done {
            self.done_bytes += open.task.bytes;
            if let Kind::Part(part) = &open.task.kind {
                let took_us = mono_us().saturating_sub(open.started_us);
                log::info!(
                    "DB loaded from {} file {}: {:.3} seconds",
                    if part.base { "base" } else { "incr" },
                    part.name,
                    took_us as f64 / 1e6
                );
            }
            self.open = None;
        }
        Ok(false)
    }
}

impl Open {
    fn new(state: &State, mut task: Task) -> Result<Open, Failed> {
        let file = match task.file.take() {
            Some(file) => file,
            None => state.disk.open(&task.path).map_err(|error| {
                Failed::line(format!(
                    "Fatal error: can't open the append log file {} for reading: {}",
                    task.name(),
                    errno_text(&error)
                ))
            })?,
        };
        let reader = match task.kind {
            Kind::Snapshot(taken) => AnyReader::Rdb(Box::new(rdb_reader(state, &task, taken))),
            Kind::Part(_) => AnyReader::Head(Vec::new()),
        };
        Ok(Open {
            file,
            started_us: mono_us(),
            lacks: HEAD,
            read_bytes: 0,
            at_end: false,
            reader,
            task,
        })
    }

    /// Bytes of the file that are loaded.
    fn position(&self) -> u64 {
        match &self.reader {
            AnyReader::Head(_) => 0,
            AnyReader::Rdb(reader) => reader.position(),
            AnyReader::Aof(replay) => replay.position(),
        }
    }

    /// Keys or requests that are done.
    fn count(&self) -> u64 {
        match &self.reader {
            AnyReader::Head(_) => 0,
            AnyReader::Rdb(reader) => {
                let Summary { keys, expired, .. } = reader.summary();
                keys + expired
            }
            AnyReader::Aof(replay) => replay.requests,
        }
    }

    /// Reads a piece, or loads about `most` keys or requests; true at the end of the file.
    fn work(&mut self, state: &mut State, table: &Registry, most: usize) -> Result<bool, Failed> {
        if self.lacks > 0 {
            return self.read().map(|()| false);
        }
        let unread = self.task.bytes.saturating_sub(self.read_bytes);
        match &mut self.reader {
            AnyReader::Head(head) => {
                let head = std::mem::take(head);
                self.begin(state, table, head);
                Ok(false)
            }
            AnyReader::Rdb(reader) => match reader.step(state, most) {
                Ok(Progress::More) => Ok(false),
                Ok(Progress::Hungry) if self.at_end || reader.missing() as u64 > unread => {
                    let error = reader.cut_short();
                    Err(self.rdb_failed(&error))
                }
                Ok(Progress::Hungry) => {
                    self.lacks = reader.wants();
                    Ok(false)
                }
                Ok(Progress::Done) => self.rdb_done(state, table),
                Err(error) => Err(self.rdb_failed(&error)),
            },
            AnyReader::Aof(replay) => {
                let me = state.open_loader_session();
                let result = replay.step(state, table, me, most);
                state.end_session(me);
                match result {
                    Ok(replay::Progress::More) => Ok(false),
                    Ok(replay::Progress::Hungry) if self.at_end => self.aof_done(state, table),
                    Ok(replay::Progress::Hungry) => {
                        self.lacks = replay.wants();
                        if replay.missing() as u64 > unread {
                            // It will never be whole; what follows tells why.
                            self.lacks = unread.min(TORN_MAX) as usize;
                            self.at_end = true;
                        }
                        Ok(false)
                    }
                    Err(error) => Err(self.aof_failed(&error)),
                }
            }
        }
    }

    /// Reads a piece of what the reader lacks.
    fn read(&mut self) -> Result<(), Failed> {
        // No more than the file has: memory for what a length in it claims is not taken.
        let piece = self.lacks.min(READ_MAX);
        let file = &self.file;
        let more = |window: &mut Vec<u8>| {
            let before = window.len();
            window.resize(before + piece, 0);
            let result = loop {
                match file.read(&mut window[before..]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result,
                }
            };
            window.truncate(before + *result.as_ref().unwrap_or(&0));
            result
        };
        let result = match &mut self.reader {
            AnyReader::Head(head) => more(head),
            AnyReader::Rdb(reader) => reader.feed_with(more),
            AnyReader::Aof(replay) => replay.feed_with(more),
        };
        match result {
            Ok(0) => (self.at_end, self.lacks) = (true, 0),
            Ok(got) => {
                self.read_bytes += got as u64;
                self.lacks = self.lacks.saturating_sub(got);
            }
            Err(error) => {
                let (path, text) = (self.task.path.display(), errno_text(&error));
                let mut lines = vec![format!(
                    "Reading {path} failed behind offset {}: {text}",
                    self.position()
                )];
                lines.push(match self.task.kind {
                    Kind::Snapshot(_) => format!("Fatal error loading the DB: {text}. Exiting."),
                    Kind::Part(_) => format!(
                        "Unrecoverable error reading the append only file {}: {text}",
                        self.task.name()
                    ),
                });
                return Err(Failed(lines));
            }
        }
        Ok(())
    }

    /// The first bytes of a part of the append only file tell what it begins with.
    fn begin(&mut self, state: &State, table: &Registry, head: Vec<u8>) {
        if !head.starts_with(b"REDIS") && !head.starts_with(b"VALKE") {
            self.reader = AnyReader::Aof(Box::new(Replay::behind(table, 0, head)));
            return;
        }
        if self.task.old_style() {
            log::info!("Reading RDB preamble from AOF file...");
        } else {
            log::info!("Reading RDB base file on AOF loading...");
        }
        let mut reader = rdb_reader(state, &self.task, Taken::Refuse);
        reader.feed(&head);
        self.reader = AnyReader::Rdb(Box::new(reader));
    }

    /// The snapshot is in; true when nothing else is in its file.
    fn rdb_done(&mut self, state: &mut State, table: &Registry) -> Result<bool, Failed> {
        let AnyReader::Rdb(reader) = &mut self.reader else {
            return Ok(true);
        };
        let summary = reader.summary();
        if let Err(why) = groups::restore_users(state, table, &summary.users) {
            let (at, why) = (
                reader.position(),
                format!("a group's user cannot be: {why}"),
            );
            return Err(self.rdb_failed(&LoadError { at, why }));
        }
        let (keys, expired) = (summary.keys, summary.expired);
        (state.load.rdb_keys, state.load.rdb_expired) = (keys, expired);
        let empty = match summary.empty {
            0 => String::new(),
            count => format!(", empty keys skipped: {count}"),
        };
        log::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}{empty}.");
        if matches!(self.task.kind, Kind::Snapshot(_)) {
            return Ok(true);
        }
        if self.task.old_style() {
            log::info!("Reading the remaining AOF tail...");
        }
        let (gone, rest) = (reader.position(), reader.take_rest());
        self.reader = AnyReader::Aof(Box::new(Replay::behind(table, gone, rest)));
        Ok(false)
    }

    fn rdb_failed(&self, error: &LoadError) -> Failed {
        let LoadError { at, why } = error;
        let mut lines = Vec::new();
        if why.contains("integrity check failed") {
            lines.push(format!("{why}."));
        }
        lines.push(format!(
            "Internal error in RDB reading offset {at}, file {} -> {why}",
            self.task.path.display()
        ));
        match &self.task.kind {
            Kind::Snapshot(_) => {
                lines.push("Terminating server after rdb file reading failure.".to_owned());
                lines.push("Fatal error loading the DB, check server logs. Exiting.".to_owned());
            }
            Kind::Part(part) => lines.push(if part.old_style {
                format!(
                    "Error reading the RDB preamble of the AOF file {}, AOF loading aborted",
                    part.name
                )
            } else {
                format!(
                    "Error reading the RDB base file {}, AOF loading aborted",
                    part.name
                )
            }),
        }
        Failed(lines)
    }

    /// The file has ended: is it whole?
    fn aof_done(&mut self, state: &State, table: &Registry) -> Result<bool, Failed> {
        let AnyReader::Aof(replay) = &self.reader else {
            return Ok(true);
        };
        if replay.failed > 0 {
            log::warn!(
                "{} of {} requests in {} failed",
                replay.failed,
                replay.requests,
                self.task.path.display()
            );
        }
        let Err(cut) = replay.end() else {
            return Ok(true);
        };
        let (name, path) = (self.task.name(), self.task.path.display());
        let (at, len) = (cut.at, self.task.bytes);
        if !is_torn(replay.rest().to_vec(), table) {
            return Err(Failed(vec![
                format!(
                    "{path}: the request behind offset {at} does not end within the file, but whole \
                     ones follow it: a length is damaged"
                ),
                bad_format(name),
            ]));
        }
        if cut.transaction {
            log::warn!("Revert incomplete MULTI/EXEC transaction in AOF file {name}");
        }
        if !state.config.aof_load_truncated {
            return Err(Failed(vec![
                format!("{path}: of {len} bytes, only {at} are whole requests"),
                format!(
                    "Unexpected end of file reading the append only file {name}. You can: 1) Make a \
                     backup of your AOF file, then use ./redis-check-aof --fix <filename.manifest>. \
                     2) Alternatively you can set the 'aof-load-truncated' configuration option to \
                     yes and restart the server."
                ),
            ]));
        }
        log::warn!("!!! Warning: short read while loading the AOF file {name}!!!");
        if !self.task.last {
            return Err(Failed(vec![
                format!("{path}: of {len} bytes, only {at} are whole requests"),
                "Fatal error: the truncated file is not the last file".to_owned(),
            ]));
        }
        log::warn!("!!! Truncating the AOF {name} at offset {at} !!!");
        let result = state.disk.append(&self.task.path).and_then(|file| {
            file.truncate(at)?;
            file.sync()
        });
        if let Err(error) = result {
            let text = errno_text(&error);
            return Err(Failed(vec![
                format!("Error truncating the AOF file {name}: {text}"),
                format!("Unrecoverable error reading the append only file {name}: {text}"),
            ]));
        }
        log::warn!("AOF {name} loaded anyway because aof-load-truncated is enabled");
        Ok(true)
    }

    fn aof_failed(&self, error: &ReplayError) -> Failed {
        let name = self.task.name();
        let last = match &error.why {
            Why::Unknown(command) => {
                format!("Unknown command '{command}' reading the append only file {name}")
            }
            Why::Format(_) | Why::Misplaced(_) => bad_format(name),
            Why::Failed(text) | Why::Fatal(text) => text.clone(),
        };
        Failed(vec![format!("{}: {error}", self.task.path.display()), last])
    }
}

impl Task {
    fn name(&self) -> &str {
        match &self.kind {
            Kind::Part(part) => &part.name,
            Kind::Snapshot(_) => "",
        }
    }

    fn old_style(&self) -> bool {
        matches!(&self.kind, Kind::Part(part) if part.old_style)
    }
}

fn bad_format(name: &str) -> String {
    format!(
        "Bad file format reading the append only file {name}: make a backup of your AOF file, then \
         use ./redis-check-aof --fix <filename.manifest>"
    )
}

/// A reader for a snapshot, or for one at the beginning of a part of the append only file: there keys live
/// on past their deadlines, since requests behind it may change them.
fn rdb_reader(state: &State, task: &Task, taken: Taken) -> Reader {
    Reader::new(Options {
        taken,
        // On a replica it is for the primary to say when a key ends.
        drop_expired: matches!(task.kind, Kind::Snapshot(_)) && !state.repl.is_replica(),
        checksum: state.config.rdbchecksum,
        total: Some(task.bytes),
        starts: task.starts,
    })
}
