//! What loading a value (RESTORE, a file) is told of the configuration and of the time.

use super::State;
use crate::types::hash;
use crate::types::saved::Loading;

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
        }
    }
}
