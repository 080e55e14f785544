//! How gladly the kernel kills this process when memory runs out (`oom-score-adj`).
use super::{Config, OomScoreAdj};
use crate::base::sys;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// The score that the process had before it set one of its own.
static BASE: AtomicI32 = AtomicI32::new(UNTOUCHED);
const UNTOUCHED: i32 = i32::MIN;

/// What the process is, in the order of `oom-score-adj-values`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Primary,
    Replica,
    /// Writes a file from a copy of the data set.
    Child,
}

impl Role {
    /// The server's own.
    pub fn of(config: &Config) -> Role {
        match config.replicaof.0 {
            Some(_) => Role::Replica,
            None => Role::Primary,
        }
    }
}

/// Sets the score for this role, or gives back the one that the process had.
pub fn adjust_oom_score(config: &Config, role: Role) -> io::Result<()> {
    let base = BASE.load(Ordering::Relaxed);
    if config.oom_score_adj == OomScoreAdj::No {
        if base == UNTOUCHED {
            return Ok(());
        }
        BASE.store(UNTOUCHED, Ordering::Relaxed);
        return sys::set_oom_score_adj(base);
    }
    let base = match base {
        UNTOUCHED => read()?,
        base => base,
    };
    let value = config.oom_score_adj_values.0[role as usize];
    let score = match config.oom_score_adj {
        OomScoreAdj::Relative => base + value,
        _ => value,
    };
    BASE.store(base, Ordering::Relaxed);
    sys::set_oom_score_adj(score.clamp(-1000, 1000))
}

fn read() -> io::Result<i32> {
    let text = std::fs::read_to_string("/proc/self/oom_score_adj")?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}
