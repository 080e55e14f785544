//! Counters of the server, each kept where the borrow already is.
use super::State;
use super::config::Config;
use super::per_group::{Divided, PerGroup};
use std::collections::HashMap;

/// A row's number as state keeps it (`exec::registry::CommandId` is the same number; state may not
/// name the floor above).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RowNumber(pub u16);

/// Distribution of a command's run times: power-of-two ranges of nanoseconds, each cut in eight.
///
/// Recording costs two instructions and one line of cache; a percentile is at most 12.5 % too high,
/// and LATENCY HISTOGRAM's power-of-two buckets of microseconds come out of it.
#[derive(Debug, Default, Clone)]
pub struct LatencyCounts {
    counts: Option<Box<[u64; LatencyCounts::CELLS]>>,
}

impl LatencyCounts {
    const SUB_BITS: u32 = 3;
    const CELLS: usize = 40 << Self::SUB_BITS;

    #[inline]
    fn cell(ticks: u64) -> usize {
        let t = ticks.max(1 << Self::SUB_BITS);
        let log = 63 - t.leading_zeros();
        let sub = (t >> (log - Self::SUB_BITS)) & ((1 << Self::SUB_BITS) - 1);
        let cell = (((log - Self::SUB_BITS) as usize) << Self::SUB_BITS) + sub as usize;
        cell.min(Self::CELLS - 1)
    }

    /// Upper end, in ticks, of a cell.
    fn upper(cell: usize) -> u64 {
        let (log, sub) = (cell >> Self::SUB_BITS, cell & ((1 << Self::SUB_BITS) - 1));
        (((1 << Self::SUB_BITS) + sub as u64 + 1) << log) - 1
    }

    /// Counts one run of `ticks`.
    #[inline]
    pub fn record(&mut self, ticks: u64) {
        let counts = self
            .counts
            .get_or_insert_with(|| Box::new([0; Self::CELLS]));
        counts[Self::cell(ticks)] += 1;
    }

    /// Has anything been counted?
    pub fn is_empty(&self) -> bool {
        self.counts.is_none()
    }

    /// How many runs were counted.
    pub fn total(&self) -> u64 {
        self.counts.as_ref().map_or(0, |c| c.iter().sum())
    }

    /// Ticks that `percent` of the runs did not exceed; 100 gives the longest.
    pub fn percentile(&self, percent: f64) -> u64 {
        let Some(counts) = &self.counts else { return 0 };
        let total: u64 = counts.iter().sum();
        let wanted = ((percent / 100.0 * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (cell, n) in counts.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Self::upper(cell);
            }
        }
        0
    }

    /// Number of runs of at most `ticks`, by whole cells.
    pub fn up_to(&self, ticks: u64) -> u64 {
        let Some(counts) = &self.counts else { return 0 };
        counts
            .iter()
            .enumerate()
            .take_while(|(cell, _)| Self::upper(*cell) <= ticks)
            .map(|c| c.1)
            .sum()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.counts = None;
    }
}

/// What INFO commandstats and latencystats show of a row.
#[derive(Debug, Default, Clone)]
pub struct PerCommand {
    pub calls: u64,
    pub ticks: u64,
    pub rejected: u64,
    pub failed: u64,
    pub latency: LatencyCounts,
}

/// A run that takes so long counts for the hot keys in any case, microseconds: to look at it is less than
/// a hundredth of that.
const HOT_US: u64 = 50;
/// More bytes than any machine copies in a microsecond.
const COPIED_IN_US: u64 = 128 * 1024;

/// How many different error codes are counted; past it all codes are dropped, as in Redis.
const ERROR_CODES_MAX: usize = 128;

/// Error replies, by their first words.
#[derive(Debug, Default, Clone)]
pub struct Errors {
    pub by_code: HashMap<String, u64>,
    pub total: u64,
}

impl Divided for Errors {
    fn fresh(&self) -> Errors {
        Errors::default()
    }
}

impl Errors {
    pub fn count(&mut self, code: &str) {
        self.total += 1;
        if let Some(count) = self.by_code.get_mut(code) {
            *count += 1;
        } else if self.by_code.len() < ERROR_CODES_MAX {
            self.by_code.insert(code.to_string(), 1);
        }
    }
}

impl State {
    /// Counts an error reply, by its first word, for the group whose request runs.
    #[cold]
    pub fn count_error(&mut self, code: &str) {
        let group = self.running.map(|who| self.group_of_client(who));
        let group = group.unwrap_or_default();
        self.stats.errors.of_mut(group).count(code);
    }
}

/// All counters. `reset` is CONFIG RESETSTAT.
pub struct Stats {
    /// Clock ticks at the end of the last command: the start of the next one in a batch.
    pub tick: u64,
    /// Ticks for one microsecond.
    ticks_per_us: f64,
    /// Runs at least this long are looked at by the logs, the latency monitor and the hot keys.
    pub slow_ticks: u64,
    /// Runs at least this long count for the hot keys, without being chosen.
    pub hot_ticks: u64,
    /// Requests of at least so many bytes are looked at by COMMANDLOG.
    pub large_request: usize,
    pub track_latency: bool,
    pub per_command: Vec<PerCommand>,
    /// Error replies. Codes may come from scripts, so that each group has its own.
    pub errors: PerGroup<Errors>,
    pub commands_processed: u64,
    pub connections: u64,
    pub connections_refused: u64,
    pub net_in: u64,
    pub net_out: u64,
    pub reads: u64,
    pub writes: u64,
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    /// Members (fields of hashes) that expired.
    pub expired_members: u64,
    pub expired_stale_percent: f64,
    pub expire_cap_reached: u64,
    pub expire_cycle_us: u64,
    pub evicted: u64,
    pub evicted_clients: u64,
    pub evicted_scripts: u64,
    /// Microseconds during which memory was over its limit, up to when it last came below.
    pub eviction_exceeded_us: u64,
    pub query_limit_disconnections: u64,
    pub output_limit_disconnections: u64,
    pub acl_denied: [u64; 6],
    pub forks: u64,
    pub unexpected_errors: u64,
    pub peak_memory: usize,
    pub cron_memory: CronMemory,
    /// Longest turn of the loop, microseconds of its thread's CPU, and what it was doing.
    pub longest_turn_us: u64,
    pub longest_turn_cause: &'static str,
    pub turns: u64,
    pub turn_us_total: u64,
    pub instant: [Rate; 7],
}

/// Memory figures sampled by the cron: too dear for each INFO.
#[derive(Debug, Default, Clone, Copy)]
pub struct CronMemory {
    pub rss: usize,
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
    pub retained: usize,
}

/// A rate over the last 16 samples of the cron (commands, bytes in, bytes out, turns of the loop,
/// microseconds spent in them).
#[derive(Debug, Default, Clone)]
pub struct Rate {
    samples: [f64; 16],
    at: usize,
    last_count: u64,
    last_us: u64,
}

impl Rate {
    /// Takes the counter's value now.
    pub fn sample(&mut self, count: u64, now_us: u64) {
        if self.last_us != 0 && now_us > self.last_us {
            let delta = count.saturating_sub(self.last_count) as f64;
            self.samples[self.at] = delta * 1e6 / (now_us - self.last_us) as f64;
            self.at = (self.at + 1) % self.samples.len();
        }
        (self.last_count, self.last_us) = (count, now_us);
    }

    /// Units a second.
    pub fn per_second(&self) -> f64 {
        self.samples.iter().sum::<f64>() / self.samples.len() as f64
    }
}

impl Stats {
    /// Counters for `rows` rows; `ticks_per_us` as calibrated at boot.
    pub fn new(rows: usize, ticks_per_us: f64) -> Self {
        Self {
            tick: 0,
            ticks_per_us,
            slow_ticks: u64::MAX,
            hot_ticks: u64::MAX,
            large_request: usize::MAX,
            track_latency: true,
            per_command: vec![PerCommand::default(); rows],
            errors: PerGroup::default(),
            commands_processed: 0,
            connections: 0,
            connections_refused: 0,
            net_in: 0,
            net_out: 0,
            reads: 0,
            writes: 0,
            hits: 0,
            misses: 0,
            expired: 0,
            expired_members: 0,
            expired_stale_percent: 0.0,
            expire_cap_reached: 0,
            expire_cycle_us: 0,
            evicted: 0,
            evicted_clients: 0,
            evicted_scripts: 0,
            eviction_exceeded_us: 0,
            query_limit_disconnections: 0,
            output_limit_disconnections: 0,
            acl_denied: [0; 6],
            forks: 0,
            unexpected_errors: 0,
            peak_memory: 0,
            cron_memory: CronMemory::default(),
            longest_turn_us: 0,
            longest_turn_cause: "",
            turns: 0,
            turn_us_total: 0,
            instant: Default::default(),
        }
    }

    /// CONFIG RESETSTAT: everything back to the start but what describes the machine.
    pub fn reset(&mut self) {
        let fresh = Self {
            tick: self.tick,
            slow_ticks: self.slow_ticks,
            hot_ticks: self.hot_ticks,
            large_request: self.large_request,
            track_latency: self.track_latency,
            cron_memory: self.cron_memory,
            peak_memory: self.peak_memory,
            instant: std::mem::take(&mut self.instant),
            ..Self::new(self.per_command.len(), self.ticks_per_us)
        };
        *self = fresh;
    }

    pub fn ticks_to_us(&self, ticks: u64) -> u64 {
        (ticks as f64 / self.ticks_per_us) as u64
    }

    /// The same with its fraction.
    pub fn ticks_to_us_f64(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_us
    }

    pub fn us_to_ticks(&self, us: u64) -> u64 {
        (us as f64 * self.ticks_per_us) as u64
    }

    /// The same for parts of a microsecond.
    pub fn us_to_ticks_f64(&self, us: f64) -> f64 {
        us * self.ticks_per_us
    }

    /// Notes from where on a run is looked at closer: what SLOWLOG and the latency monitor want, and how
    /// long it takes at least to copy a reply that is logged for its size.
    pub fn set_thresholds(&mut self, config: &Config) {
        // As numbers of ticks: what is off is never reached.
        let never = u64::MAX;
        let ticks = |us: u64| self.us_to_ticks(us);
        let slow = u64::try_from(config.slowlog_log_slower_than).map_or(never, ticks);
        let late = match config.latency_monitor_threshold {
            0 => never,
            ms => ticks(ms.saturating_mul(1000)),
        };
        let large = u64::try_from(config.commandlog_reply_larger_than);
        let large = large.map_or(never, |bytes| ticks(bytes / COPIED_IN_US));
        let hot = match config.hotkey_top_k {
            0 => never,
            _ => ticks(HOT_US),
        };
        self.hot_ticks = hot;
        self.slow_ticks = slow.min(late).min(large).min(hot);
        let request = usize::try_from(config.commandlog_request_larger_than);
        self.large_request = request.unwrap_or(usize::MAX);
    }

    /// Keeps the longest turn with its cause.
    pub fn turn_took(&mut self, us: u64, cause: &'static str) {
        if us > self.longest_turn_us {
            (self.longest_turn_us, self.longest_turn_cause) = (us, cause);
        }
    }
}
