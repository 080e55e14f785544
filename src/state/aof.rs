//! What the server knows of its append-only file. Data only: `persist::aof` acts on it, INFO and admission
//! read it.
pub mod manifest;

use super::repl::wait::Place;
use crate::base::disk::DiskFile;
use manifest::Manifest;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Is there an AOF?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Off,
    /// Every write goes to the last incremental file.
    On,
    /// What is on disk does not hold the data set (it was just switched on, or a file was lost to a failed
    /// fsync). A rewrite makes it whole; writes since its beginning go to a file that is not in the manifest
    /// yet.
    WaitRewrite,
}

/// The append-only file.
#[derive(Default)]
pub struct Aof {
    pub mode: Mode,
    pub manifest: Manifest,
    /// The incremental file that is written to.
    pub file: Option<Arc<dyn DiskFile>>,
    /// Whole bytes in it: what lies behind is cut off before anything else is written.
    pub file_bytes: u64,
    /// How much of it was handed to an fsync.
    pub sync_asked: u64,
    /// Tells this file's fsyncs from those of files before it.
    pub file_number: u64,
    /// Bytes in all files that are to be loaded, and how many there were after the last rewrite.
    pub current_bytes: u64,
    pub base_bytes: u64,
    /// Taken from the log and not written yet.
    pub waiting: Vec<u8>,
    /// Bytes of the log that were ever taken.
    pub taken: u64,
    /// Up to where all of it has been written, and up to where it has been synced.
    pub written: Place,
    pub synced: Place,
    /// Unix seconds of the last annotation with the time.
    pub stamped_s: i64,
    /// The last write failed so: writes are refused until one succeeds.
    pub write_error: Option<io::Error>,
    /// When that was written to the log file last, monotonic seconds.
    pub error_logged_s: Option<u64>,
    /// An fsync failed so: bytes may be lost, so that writes are refused until a rewrite has succeeded.
    pub sync_error: Option<io::Error>,
    /// Since when writing waits for an fsync, monotonic microseconds.
    pub postponed_us: Option<u64>,
    /// Writes that went out although an fsync was still running.
    pub delayed_fsyncs: u64,
    /// When the last fsync was asked for, monotonic microseconds.
    pub synced_us: u64,
    /// Fsyncs that the background thread has not been seen to finish.
    pub syncs: VecDeque<Arc<SyncTicket>>,
    /// For the background thread; the server hands it over.
    pub jobs: Vec<FileJob>,
    /// A rewrite is wanted as soon as there is no other child.
    pub rewrite_scheduled: bool,
    /// Another data set is on its way: nothing of it takes the place of the files before all of it is there.
    pub left: bool,
    /// `appendfsync always` cannot keep its word: the server ends with code 1 before any reply goes out.
    pub fatal: bool,
}

impl fmt::Debug for Aof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aof")
            .field("mode", &self.mode)
            .field("manifest", &self.manifest)
            .field("file_bytes", &self.file_bytes)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Aof {
    /// Is there one, if only to be?
    pub fn enabled(&self) -> bool {
        self.mode != Mode::Off
    }

    /// Are writes refused because it cannot be written?
    pub fn fails(&self) -> bool {
        self.enabled() && self.error().is_some()
    }

    /// Why writes are refused, in the system's words.
    pub fn error(&self) -> Option<&io::Error> {
        self.write_error.as_ref().or(self.sync_error.as_ref())
    }
}

/// One fsync, as the loop follows it.
#[derive(Debug)]
pub struct SyncTicket {
    /// Of which file (`Aof::file_number`).
    pub file_number: u64,
    /// What it brings to disk.
    pub place: Place,
    outcome: OnceLock<i32>,
}

impl SyncTicket {
    /// For an fsync that is yet to begin.
    pub fn new(file_number: u64, place: Place) -> SyncTicket {
        SyncTicket {
            file_number,
            place,
            outcome: OnceLock::new(),
        }
    }

    /// It has ended.
    pub fn settle(&self, result: io::Result<()>) {
        let code = match result {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        // It ends once.
        let _ = self.outcome.set(code);
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Result<(), io::Error>> {
        match self.outcome.get()? {
            0 => Some(Ok(())),
            code => Some(Err(io::Error::from_raw_os_error(*code))),
        }
    }
}

type Work = Box<dyn FnOnce() -> bool + Send>;

/// Work whose end the loop follows; where it cannot go on before that it does the work itself, or waits for
/// who does.
pub struct Task {
    work: Mutex<Option<Work>>,
    outcome: OnceLock<bool>,
}

impl Task {
    /// For work that is yet to begin, and tells whether it was done.
    pub fn new(work: impl FnOnce() -> bool + Send + 'static) -> Arc<Task> {
        Arc::new(Task {
            work: Mutex::new(Some(Box::new(work))),
            outcome: OnceLock::new(),
        })
    }

    /// Does it unless it is done, or waits until it is.
    pub fn run(&self) -> bool {
        *self.outcome.get_or_init(|| {
            let work = self
                .work
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            work.is_some_and(|work| work())
        })
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<bool> {
        self.outcome.get().copied()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.outcome).finish()
    }
}

/// Work on files that would hold the loop.
pub enum FileJob {
    /// Makes what was written so far survive a crash; the file is closed with its last reference.
    Sync(Arc<dyn DiskFile>, Arc<SyncTicket>),
    /// Closes a file whose name is gone: its space is given back, which can take long.
    Close(Arc<dyn DiskFile>),
    /// Several steps of which the loop wants to know the end.
    Task(Arc<Task>),
}

impl FileJob {
    /// Does it.
    pub fn run(self) {
        match self {
            FileJob::Sync(file, ticket) => ticket.settle(file.sync()),
            FileJob::Close(file) => drop(file),
            FileJob::Task(task) => _ = task.run(),
        }
    }
}
