//! What loading a value (RESTORE, a file) is told of the configuration and of the time, and how far the
//! loading of files has come.

use super::State;
use super::gate;
use crate::types::saved::Loading;
use crate::types::{hash, list, set, zset};

/// How far the loading of files has come, and what the last one found: for INFO.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadProgress {
    /// Unix seconds and monotonic microseconds of its beginning.
    pub started_s: i64,
    pub started_us: u64,
    /// Bytes of all files, and how many of them are loaded.
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    /// Memory in use when the file was written.
    pub rdb_used_memory: u64,
    /// Keys in the RDB file that was loaded last, and those left out of it because they had expired.
    pub rdb_keys: u64,
    pub rdb_expired: u64,
}

impl LoadProgress {
    /// How much is loaded, of a hundred.
    pub fn percent(&self) -> f64 {
        100.0 * self.loaded_bytes as f64 / self.total_bytes.max(1) as f64
    }

    /// Seconds until it is done, if it goes on as it went so far.
    pub fn eta_s(&self, now_s: i64) -> i64 {
        let elapsed_s = now_s - self.started_s;
        if elapsed_s <= 0 || self.loaded_bytes == 0 {
            return 1;
        }
        let left = self.total_bytes.saturating_sub(self.loaded_bytes);
        (elapsed_s as f64 * left as f64 / self.loaded_bytes as f64) as i64
    }
}

impl State {
    /// Is a data set being loaded? Then no key ends: what a file says of a key holds for it as it was.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.gate & gate::LOADING != 0
    }

    /// For a payload or file of this RDB version.
    pub fn loading(&self, version: u32) -> Loading {
        let (config, hash_key) = (&self.config, self.dbs.hash_key());
        Loading {
            version,
            now_ms: self.clock.unix_ms,
            hash_key,
            hash: hash::Limits {
                entries: config.hash_max_listpack_entries,
                value: config.hash_max_listpack_value,
                hash_key,
            },
            list: list::Limits {
                fill: list::Fill::new(config.list_max_listpack_size),
                depth: config.list_compress_depth,
                huge: self.debug.quicklist_packed_threshold,
            },
            set: set::Limits {
                ints: config.set_max_intset_entries,
                entries: config.set_max_listpack_entries,
                value: config.set_max_listpack_value,
                hash_key,
            },
            zset: zset::Limits {
                entries: config.zset_max_listpack_entries,
                value: config.zset_max_listpack_value,
                hash_key,
            },
        }
    }
}
