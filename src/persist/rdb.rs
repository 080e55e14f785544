//! RDB files: all databases at one point in time.
//!
//! ```text
//! "REDIS" version (4 digits) | record ... | EOF | CRC-64 of all before: u64 LE (0: none was taken; from 5 on)
//! record: opcode and what it says | [deadline] [access clock] value type | key | value
//! ```
//!
//! `write` is straight code over shared references, so that it can run in a forked child; it writes the
//! lowest version that holds the data. `read` is fed with bytes as they come and does a bounded piece of
//! work at a time, so that the loop can answer in between; whatever the bytes, it fails or gives values that
//! could have been made by commands. `file` is both over files.
pub mod aside;
pub mod check;
pub mod file;
pub mod read;
pub mod record;
pub mod write;

#[cfg(test)]
mod tests;

use crate::codec::rdb::{FUNCTION, FUNCTION_PRE_GA};

/// Valkey 9: slots that are being imported.
const SLOT_IMPORT: u8 = 243;
/// How many keys a cluster's slot has: Redis 7.4 and Valkey 8.
const SLOT_INFO: u8 = 244;
/// Data of a module that belongs to no key.
const MODULE_AUX: u8 = 247;
/// Seconds since the next key was used.
const IDLE: u8 = 248;
/// How often the next key was used.
const FREQ: u8 = 249;
/// A fact about the file or its writer.
const AUX: u8 = 250;
/// How many keys the database has, and how many with a deadline.
const RESIZE_DB: u8 = 251;
/// The next key's deadline in milliseconds.
const EXPIRE_MS: u8 = 252;
/// The next key's deadline in seconds.
const EXPIRE_S: u8 = 253;
/// Which database the following keys belong to.
const SELECT_DB: u8 = 254;
/// The end.
const EOF: u8 = 255;

/// The first version whose files end with a checksum.
const CHECKSUM_VERSION_MIN: u32 = 5;
