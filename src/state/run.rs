//! Facts about the running process, what commands want of the server, and DEBUG's switches.
use super::client::ClientId;
use super::config::Changed;
use crate::keyspace::entry::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Facts about this process.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// 40 hexadecimal digits, new at each start.
    pub run_id: String,
    /// Tells builds apart.
    pub build_id: u64,
    /// The allocator with its version.
    pub allocator: String,
    /// Bytes in use before the first client came.
    pub startup_memory: usize,
    pub pid: i32,
    pub ppid: i32,
    /// Unix seconds and monotonic microseconds of the start.
    pub started_s: i64,
    pub started_us: u64,
    pub executable: PathBuf,
    pub config_file: Option<PathBuf>,
    pub tcp_port: u16,
    /// Who watches this process: systemd or upstart.
    pub supervised: Option<&'static str>,
    /// What the fd limit leaves for clients.
    pub maxclients: u32,
    /// Time spent by the last active-expiry cycle and so on, for INFO.
    pub monotonic_clock: &'static str,
    pub hz: u32,
    pub listeners: usize,
}

/// How the server is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shutdown {
    /// Save even without save points (SAVE), or not at all (NOSAVE).
    pub save: Option<bool>,
    /// Do not wait for replicas.
    pub now: bool,
    /// Errors do not stop it.
    pub force: bool,
}

/// An end that waits for replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingShutdown {
    pub how: Shutdown,
    /// A signal asked for it.
    pub by_signal: bool,
    /// Monotonic microseconds.
    pub until_us: u64,
}

/// What commands asked the server to do outside commands.
#[derive(Debug, Default)]
pub struct Wanted {
    pub shutdown: Option<Shutdown>,
    /// A signal asked for it; the cron is to follow, and SHUTDOWN ABORT may be faster.
    pub shutdown_by_signal: Option<Shutdown>,
    /// The server ends as soon as its replicas have everything, or have had the time for it.
    pub shutdown_waiting: Option<WaitingShutdown>,
    /// Clients whose SHUTDOWN that is: they hear of it if it comes to nothing.
    pub shutdown_clients: Vec<ClientId>,
    /// Directives whose side effects are to be reconciled (CONFIG SET).
    pub changed: Changed,
    /// DEBUG SLEEP and other deliberate crashes.
    pub crash: Option<Crash>,
    /// Free what is pooled (MEMORY PURGE).
    pub purge: bool,
}

/// DEBUG's ways to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    Segfault,
    Panic,
    Assert,
    Oom,
    Restart,
}

/// Switches of DEBUG.
#[derive(Debug, Clone)]
pub struct DebugSwitches {
    pub active_expire: bool,
    pub cron_paused: bool,
    pub reply_peak_reset_ms: i64,
    pub reply_buffer_resizing: bool,
    pub config_rewrite_force_all: bool,
    pub deny_scripts: bool,
    pub quicklist_packed_threshold: usize,
    pub skip_checksum: bool,
    pub aof_flush_sleep_us: u64,
}

impl Default for DebugSwitches {
    fn default() -> Self {
        Self {
            active_expire: true,
            cron_paused: false,
            reply_peak_reset_ms: 5000,
            reply_buffer_resizing: true,
            config_rewrite_force_all: false,
            deny_scripts: true,
            quicklist_packed_threshold: 1 << 30,
            skip_checksum: false,
            aof_flush_sleep_us: 0,
        }
    }
}

/// CLIENT PAUSE.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pause {
    /// Unix milliseconds; 0: not paused.
    pub until_ms: i64,
    pub all: bool,
    /// The server's own reasons to hold writes back, bits of [`hold`]: they know no end.
    pub held: u8,
}

/// Why the server holds writes back by itself.
pub mod hold {
    /// Replicas are to have everything before it ends.
    pub const SHUTDOWN: u8 = 1 << 0;
    /// A replica is to have everything before it takes over.
    pub const FAILOVER: u8 = 1 << 1;
}

/// From how many allocations on a value is freed off the loop's thread.
const LAZY_EFFORT_MIN: usize = 64;

/// Something to be freed off the loop's thread.
pub struct Rubbish {
    what: Box<dyn Send>,
    /// Values in it that count as freed lazily: none of those a client asked to be freed at once.
    objects: usize,
    /// Bytes it holds, as far as they are known.
    bytes: usize,
    /// It holds much, and nobody has summed up how much.
    is_unsized: bool,
}

/// What is on its way to be freed, and what was freed so.
#[derive(Debug, Default)]
pub struct Disposal {
    /// Handed over and not yet freed (`lazyfree_pending_objects`).
    pub pending: AtomicUsize,
    /// Freed so (`lazyfreed_objects`).
    pub freed: AtomicUsize,
    /// Bytes that are as good as free: evicting more for them would be wrong.
    pub bytes: AtomicUsize,
    /// Pieces of rubbish not freed yet.
    pub pieces: AtomicUsize,
    /// Those among them of which nobody knows how much they hold.
    unsized_pieces: AtomicUsize,
}

/// What waits to be freed; the server hands it to the background thread.
#[derive(Default)]
pub struct Garbage {
    pub waiting: Vec<Rubbish>,
    pub disposal: Arc<Disposal>,
    /// The most that pieces of unknown size, if any wait, hold together.
    unsized_bytes: usize,
}

impl Rubbish {
    /// Frees it, and tells the counters.
    pub fn free(self, disposal: &Disposal) {
        drop(self.what);
        // In this order: whoever sees nothing pending finds everything counted.
        disposal.freed.fetch_add(self.objects, Ordering::Release);
        disposal.bytes.fetch_sub(self.bytes, Ordering::Release);
        let one = usize::from(self.is_unsized);
        disposal.unsized_pieces.fetch_sub(one, Ordering::Release);
        disposal.pending.fetch_sub(self.objects, Ordering::Release);
        disposal.pieces.fetch_sub(1, Ordering::Release);
    }
}

impl Garbage {
    /// Frees an entry now, or later when that would take long. Asked to be lazy, a smaller value
    /// is worth the hand-over, too.
    #[inline]
    pub fn entry(&mut self, entry: Entry, lazy: bool) {
        let limit = if lazy {
            LAZY_EFFORT_MIN
        } else {
            16 * LAZY_EFFORT_MIN
        };
        if entry.view().free_effort() > limit {
            let bytes = entry.view().mem_bytes();
            self.later_sized(Box::new(entry), 1, bytes);
        }
    }

    /// Frees anything later, which counts as that many values freed lazily, and as no bytes.
    pub fn later(&mut self, what: Box<dyn Send>, objects: usize) {
        self.later_sized(what, objects, 0);
    }

    /// The same for something of that many bytes.
    pub fn later_sized(&mut self, what: Box<dyn Send>, objects: usize, bytes: usize) {
        self.push(Rubbish {
            what,
            objects,
            bytes,
            is_unsized: false,
        });
    }

    /// The same for something of unknown size. `most` is what it may hold with everything of unknown size
    /// that waits already: no more than what is in use.
    pub fn later_unsized(&mut self, what: Box<dyn Send>, objects: usize, most: usize) {
        let before = self.disposal.unsized_pieces.fetch_add(1, Ordering::Relaxed);
        self.unsized_bytes = match before {
            0 => most,
            _ => most.max(self.unsized_bytes),
        };
        self.push(Rubbish {
            what,
            objects,
            bytes: 0,
            is_unsized: true,
        });
    }

    fn push(&mut self, rubbish: Rubbish) {
        let disposal = &self.disposal;
        disposal
            .pending
            .fetch_add(rubbish.objects, Ordering::Relaxed);
        disposal.bytes.fetch_add(rubbish.bytes, Ordering::Relaxed);
        disposal.pieces.fetch_add(1, Ordering::Relaxed);
        self.waiting.push(rubbish);
    }

    /// Bytes that are as good as free; where that is unknown, the most that they can be.
    pub fn bytes(&self) -> usize {
        let known = self.disposal.bytes.load(Ordering::Acquire);
        match self.disposal.unsized_pieces.load(Ordering::Acquire) {
            0 => known,
            _ => known + self.unsized_bytes,
        }
    }

    /// Is a whole data set on its way to be freed? A fork would copy its page tables, and wait for each piece of
    /// memory that is just being given back.
    pub fn is_vast(&self) -> bool {
        self.disposal.unsized_pieces.load(Ordering::Acquire) > 0
    }

    /// Is nothing on its way to be freed?
    pub fn is_empty(&self) -> bool {
        self.disposal.pieces.load(Ordering::Acquire) == 0
    }
}
