//! What loading a value (RESTORE, a file) is told of the configuration and of the time.

use super::State;
use crate::types::saved::Loading;
use crate::types::{hash, list, set, zset};

impl State {
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
