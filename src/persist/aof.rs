//! The append-only file: every write, in order, on disk when the policy says so.
//!
//! ```text
//! appendonlydir/  appendonly.aof.manifest      which files, in which order
//!                 appendonly.aof.7.base.rdb    the data set at a moment, by a rewrite
//!                 appendonly.aof.9.incr.aof    every write since, as requests
//! ```
//!
//! What the policy `always` promises holds because [`end_of_turn`] stands in front of the turn's replies:
//! one write and one fsync for all the commands of a turn. With `everysec` the fsync is the background
//! thread's; writes wait for it, for two seconds at most. A write that fails leaves no torn tail behind and
//! is tried again every second, while clients' writes are refused. An fsync that fails is never tried again:
//! the system may have thrown away what it could not write and say next time that all is well. The file
//! begins anew then, by a rewrite.
//!
//! `files` knows the directory, `writer` appends, `switch` begins and ends. `replay` runs a
//! file's requests again, for `persist::load`. What is not here: the rewrite's child.
pub mod files;
pub mod replay;
pub mod switch;
pub mod writer;

#[cfg(test)]
mod tests;

pub use writer::{commits_each_turn, end_of_turn, every_second, flush, take_log, timestamp};
