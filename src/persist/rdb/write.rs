//! Writing all databases.

use std::time::Duration;

use super::{AUX, CHECKSUM_VERSION_MIN, EOF, EXPIRE_MS, FREQ, IDLE, RESIZE_DB, SELECT_DB};
use crate::codec::Sink;
use crate::keyspace::databases::Databases;
use crate::keyspace::{Db, EntryRef};
use crate::persist::groups;
use crate::state::State;
use crate::state::config::{MaxmemoryPolicy, REDIS_VERSION};
use crate::state::groups::GroupId;
use crate::state::repl::Parts;

/// The lowest version that Redis 7.0 calls its own, and the one that fields with deadlines take.
const VERSION: u32 = 10;
const VERSION_FIELD_DEADLINES: u32 = 12;

/// How the access clock of keys is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clocks {
    /// The policy in force does not look at it.
    None,
    Idle,
    Uses,
}

impl Clocks {
    fn of(policy: MaxmemoryPolicy) -> Clocks {
        match policy {
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => Clocks::Uses,
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Clocks::Idle,
            _ => Clocks::None,
        }
    }
}

/// Writes all libraries and databases. `used_memory` is told in the file, `aux` what else the caller knows (the
/// replication's place). `progress` is called with the number of keys so far, now and then; it cannot stop
/// the writing.
pub fn write(
    state: &State,
    sink: &mut Sink<'_>,
    used_memory: usize,
    aux: &[(&str, &str)],
    progress: &mut dyn FnMut(u64),
) {
    write_parts(state, sink, used_memory, (aux, Parts::ALL), progress);
}

/// The same with only these parts of the data set.
pub fn write_parts(
    state: &State,
    sink: &mut Sink<'_>,
    used_memory: usize,
    (aux, parts): (&[(&str, &str)], Parts),
    progress: &mut dyn FnMut(u64),
) {
    let version = version_for(&state.dbs);
    sink.raw(format!("REDIS{version:04}").as_bytes());
    write_aux(sink, "redis-ver", REDIS_VERSION.as_bytes());
    write_aux(sink, "redis-bits", b"64");
    write_aux(
        sink,
        "ctime",
        (state.clock.unix_ms / 1000).to_string().as_bytes(),
    );
    write_aux(sink, "used-mem", used_memory.to_string().as_bytes());
    aux.iter()
        .for_each(|(name, value)| write_aux(sink, name, value.as_bytes()));
    if !aux.iter().any(|(name, _)| *name == "aof-base") {
        write_aux(sink, "aof-base", b"0");
    }
    if parts.groups {
        groups::write_facts(state, sink);
    }
    if parts.functions {
        state.libraries.of(GroupId::DEFAULT).save(sink);
    }

    let clocks = Clocks::of(state.config.maxmemory_policy);
    let mut keys = 0;
    let dbs = state.dbs.iter().filter(|_| parts.data);
    for (number, db) in dbs {
        let is_others = number >= state.dbs.count();
        if !db.is_empty() && (parts.groups || !is_others) {
            write_db(state, sink, number, db, clocks, &mut keys, progress);
        }
    }
    sink.byte(EOF);
    const { assert!(VERSION >= CHECKSUM_VERSION_MIN) };
    let checksum = sink.checksum();
    sink.u64_le(checksum);
    progress(keys);
}

/// The lowest version that holds the data.
fn version_for(dbs: &Databases) -> u32 {
    if dbs
        .iter()
        .any(|(_, db)| db.keys_with_expiring_members() > 0)
    {
        VERSION_FIELD_DEADLINES
    } else {
        VERSION
    }
}

/// Writes a fact about the file; servers skip those they do not know.
pub fn write_aux(sink: &mut Sink<'_>, name: &str, value: &[u8]) {
    sink.byte(AUX);
    sink.string(name.as_bytes());
    sink.string(value);
}

/// Keys written between two calls that tell of it.
const PROGRESS_EVERY: u64 = 1024;

/// The same, where every key is to be waited at.
pub fn progress_every(state: &State) -> u64 {
    match state.config.rdb_key_save_delay {
        0 => PROGRESS_EVERY,
        _ => 1,
    }
}

/// `rdb-key-save-delay`, for tests: sleeps so many microseconds at each key; below zero, one at every
/// so-manieth key.
pub fn delay(state: &State, keys: u64) {
    let delay = state.config.rdb_key_save_delay;
    let every = u64::from(delay.unsigned_abs());
    let us = match delay {
        0 => 0,
        1.. => every,
        _ => u64::from(keys.is_multiple_of(every)),
    };
    if us > 0 {
        std::thread::sleep(Duration::from_micros(us));
    }
}

fn write_db(
    state: &State,
    sink: &mut Sink<'_>,
    number: usize,
    db: &Db,
    clocks: Clocks,
    keys: &mut u64,
    progress: &mut dyn FnMut(u64),
) {
    let every = progress_every(state);
    sink.byte(SELECT_DB);
    sink.len(number as u64);
    sink.byte(RESIZE_DB);
    sink.len(db.len() as u64);
    sink.len(db.expires() as u64);
    for entry in db.iter() {
        write_key(state, sink, entry, clocks);
        *keys += 1;
        if keys.is_multiple_of(every) {
            delay(state, *keys);
            progress(*keys);
        }
        if sink.failed() {
            // The caller learns of it from the sink; there is no use in going on.
            break;
        }
    }
}

#[inline]
fn write_key(state: &State, sink: &mut Sink<'_>, entry: EntryRef<'_>, clocks: Clocks) {
    let value = entry.value();
    if let Some(at_ms) = entry.expire_at() {
        sink.byte(EXPIRE_MS);
        sink.u64_le(at_ms.cast_unsigned());
    }
    match clocks {
        Clocks::None => {}
        Clocks::Idle => {
            sink.byte(IDLE);
            sink.len(u64::from(state.idle_s(entry)));
        }
        Clocks::Uses => {
            sink.byte(FREQ);
            // A counter is a byte; see `state::access`.
            sink.byte(state.uses(entry).min(255) as u8);
        }
    }
    sink.byte(value.rdb_type());
    sink.string(entry.key());
    value.save(sink);
}
