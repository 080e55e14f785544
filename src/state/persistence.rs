//! What the server knows of its files: the child that writes one, and the snapshots taken.
//!
//! Data only; `persist` acts on it, INFO and admission read it.
use super::aof::Task;
use super::aof::manifest::Manifest;
use super::gate;
use crate::base::sys::ChildEnd;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildKind {
    /// Writes the snapshot (BGSAVE, save points).
    Snapshot,
    /// Writes a new base file of the AOF (BGREWRITEAOF).
    Rewrite,
    /// Writes a snapshot to replicas, and to no file.
    Transfer,
}

impl ChildKind {
    /// As log lines name it.
    pub fn name(self) -> &'static str {
        match self {
            ChildKind::Snapshot | ChildKind::Transfer => "RDB",
            ChildKind::Rewrite => "AOF rewrite",
        }
    }
}

/// What a child has told of itself so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub keys_done: u64,
    pub keys_total: u64,
    /// Bytes of memory that exist twice because of it: now, the most there were, and on average.
    pub cow_now: u64,
    pub cow_peak: u64,
    pub cow_mean: u64,
    /// When that was measured, monotonic microseconds; 0: never.
    pub cow_at_us: u64,
}

impl Progress {
    /// How far it is, in percent of the keys there were when it began.
    pub fn percent(&self) -> f64 {
        match self.keys_total {
            0 => 0.0,
            total => self.keys_done as f64 * 100.0 / total as f64,
        }
    }
}

/// The child that lives: one at a time.
pub struct Child {
    /// Its process; our own where its work was done in place (a disk that no child sees).
    pub pid: i32,
    pub kind: ChildKind,
    pub started_s: i64,
    pub started_us: u64,
    pub progress: Progress,
    /// What went wrong, in its words.
    pub failure: Option<String>,
    /// Where it reports to; never waits.
    pub reports: Box<dyn Read>,
    /// Reports not yet whole.
    pub heard: Vec<u8>,
    /// Its end, where its work was done in place: nobody will be collected.
    pub ended: Option<ChildEnd>,
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("pid", &self.pid)
            .field("kind", &self.kind)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// Children and forks in general.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forks {
    /// How long the last one held the loop.
    pub latest_us: u64,
}

/// The snapshots: when one was taken, and how that went.
#[derive(Debug, Clone)]
pub struct Snapshots {
    /// The file that a child writes, until it lies where it belongs.
    pub temporary: PathBuf,
    /// Changes that the snapshot being written does not miss.
    pub dirty_at_start: u64,
    /// Unix seconds; when the server started, as long as there is none.
    pub last_save_s: i64,
    /// When the last one was begun, whatever became of it.
    pub last_try_s: i64,
    /// Did the last background save succeed?
    pub last_ok: bool,
    /// Seconds that the last background save took; -1: there was none.
    pub last_took_s: i64,
    /// So many were begun, whatever became of them.
    pub saves: u64,
    /// BGSAVE SCHEDULE: one is wanted once no other child lives.
    pub scheduled: bool,
    pub last_cow_bytes: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Snapshots {
            temporary: PathBuf::new(),
            dirty_at_start: 0,
            last_save_s: 0,
            last_try_s: 0,
            last_ok: true,
            last_took_s: -1,
            saves: 0,
            scheduled: false,
            last_cow_bytes: 0,
        }
    }
}

/// The rewrites of the append only file.
#[derive(Debug)]
pub struct Rewrites {
    /// How many were begun.
    pub started: u64,
    /// How many failed since the last one that did not.
    pub failures: u64,
    /// Did the last one succeed?
    pub last_ok: bool,
    /// Seconds that the last one took; -1: there was none.
    pub last_took_s: i64,
    pub last_cow_bytes: u64,
    /// The one whose child lives, or whose files are put in their places.
    pub running: Option<Rewriting>,
    /// Too many failed: not before this time, unix seconds.
    pub retry_at_s: Option<i64>,
    /// So long the last wait was.
    pub delay_minutes: u32,
}

impl Default for Rewrites {
    fn default() -> Self {
        Rewrites {
            started: 0,
            failures: 0,
            last_ok: true,
            last_took_s: -1,
            last_cow_bytes: 0,
            running: None,
            retry_at_s: None,
            delay_minutes: 0,
        }
    }
}

/// A rewrite as it was begun.
#[derive(Debug, Default)]
pub struct Rewriting {
    /// Its file begins as a snapshot.
    pub rdb: bool,
    /// What is written meanwhile goes to the AOF, into the file of this number (`Aof::file_number`).
    pub appending: bool,
    pub file_number: u64,
    /// That file is not in the manifest yet.
    pub first: bool,
    /// Whatever its child says, it comes to nothing.
    pub abandoned: bool,
    /// The child has ended well.
    pub installing: Option<Installing>,
}

/// New files on their way to their places.
#[derive(Debug)]
pub struct Installing {
    pub task: Arc<Task>,
    /// What holds when they are there.
    pub manifest: Manifest,
}

impl super::State {
    /// Lets writes in, or refuses them, as it stands with what is to be on disk.
    pub fn settle_writes(&mut self) {
        let failing = self.snapshots_fail() || self.aof.fails();
        self.restrict(gate::DISK_ERROR, failing);
    }

    /// Are writes refused because the last snapshot failed?
    pub fn snapshots_fail(&self) -> bool {
        let config = &self.config;
        !self.snapshots.last_ok
            && config.stop_writes_on_bgsave_error
            && !config.save.points.is_empty()
    }

    /// CONFIG RESETSTAT: what is counted of files and children.
    pub fn reset_file_stats(&mut self) {
        self.forks = Forks::default();
        self.repl.figures = super::repl::Figures::default();
        self.snapshots.saves = 0;
        (self.rewrites.started, self.rewrites.failures) = (0, 0);
        self.aof.delayed_fsyncs = 0;
    }

    /// Does a child of this kind live?
    pub fn has_child(&self, kind: ChildKind) -> bool {
        self.child.as_ref().is_some_and(|child| child.kind == kind)
    }

    /// Does a child live that writes a snapshot, to wherever?
    pub fn is_saving(&self) -> bool {
        self.has_child(ChildKind::Snapshot) || self.has_child(ChildKind::Transfer)
    }

    /// How long the child of this kind has lived, in whole seconds; -1 without one.
    pub fn child_age_s(&self, kind: ChildKind) -> i64 {
        match &self.child {
            Some(child) if child.kind == kind => {
                (self.clock.unix_ms / 1000 - child.started_s).max(0)
            }
            _ => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_data_set_has_no_percent() {
        let mut progress = Progress::default();
        assert_eq!(progress.percent(), 0.0);
        (progress.keys_done, progress.keys_total) = (1, 4);
        assert_eq!(progress.percent(), 25.0);
    }
}
