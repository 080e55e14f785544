//! HyperLogLogs: PFADD, PFCOUNT, PFMERGE and what looks inside them.
//!
//! The value is a string like any other to the keyspace; what its bytes mean is `ds::hll`'s business. A count
//! is kept in the value, so PFCOUNT is a write where it was not kept yet.
mod selftest;

use crate::ds::hll::{self, Corrupt, Cursor, Registers};
use crate::ds::table::Slot;
use crate::exec::command::{
    CmdResult, Command, KEY1_RW_INSERT, KeySpec, NO_KEYS, Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, WRONG_TYPE};
use crate::exec::registry::Family;
use crate::keyspace::NewValue;
use crate::keyspace::entry::EntryRef;
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::string::StrRef;

use acl::NONE;
use flag::{ADMIN, DENYOOM, FAST, MAY_REPLICATE, READONLY, WRITE};
use key_flag as k;

const NOT_ONE: CmdError = CmdError::new("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: CmdError = CmdError::new("INVALIDOBJ Corrupted HLL object detected");
const ABSENT: CmdError = CmdError::new("ERR The specified key does not exist");
const NOT_SPARSE: CmdError = CmdError::new("ERR HLL encoding is not sparse");

const COUNT_KEYS: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS, 1, -1, 1)];
const DEBUG_KEYS: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS, 2, 2, 1)];
const MERGE_KEYS: &[KeySpec] = &[
    KeySpec::range(k::RW | k::ACCESS | k::INSERT, 1, 1, 1),
    KeySpec::range(k::RO | k::ACCESS, 2, -1, 1),
];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("pfadd", -2, WRITE | DENYOOM | FAST, NONE, KEY1_RW_INSERT, pfadd),
    cmd("pfcount", -2, READONLY | MAY_REPLICATE, NONE, COUNT_KEYS, pfcount),
    cmd("pfmerge", -2, WRITE | DENYOOM, NONE, MERGE_KEYS, pfmerge),
    cmd("pfdebug", 3, WRITE | DENYOOM | ADMIN, NONE, DEBUG_KEYS, pfdebug),
    cmd("pfselftest", 1, ADMIN, NONE, NO_KEYS, selftest::pfselftest),
];

/// HyperLogLogs.
pub static FAMILY: Family = Family {
    group: "hyperloglog",
    acl: acl::HYPERLOGLOG,
    commands: COMMANDS,
};

impl From<Corrupt> for CmdError {
    fn from(_: Corrupt) -> Self {
        CORRUPT
    }
}

/// The bytes of an entry, if they are a HyperLogLog.
fn valid(entry: EntryRef<'_>) -> Result<&[u8], CmdError> {
    let bytes = match entry.string()? {
        StrRef::Int(_) => return Err(NOT_ONE),
        StrRef::Inline { bytes, .. } => bytes,
        StrRef::Big(big) => big.as_slice(),
    };
    if hll::is_valid(bytes) {
        Ok(bytes)
    } else {
        Err(NOT_ONE)
    }
}

/// The key's slot for writing; without a key, that of a new empty one. Whether it is new.
fn existing_or_new(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<(Slot, bool), CmdError> {
    let db = ctx.db;
    if let Some(slot) = ctx.write_kind(key, Kind::String)? {
        valid(ctx.state.dbs[db].entry(slot))?;
        return Ok((slot, false));
    }
    let new = NewValue::Bytes(&hll::EMPTY);
    let slot = ctx.state.dbs.insert(db, key, new, None);
    ctx.state.notify(db, key, Event::NEW);
    // Made by editing, it is "raw" to OBJECT ENCODING.
    ctx.state.dbs[db].string_bytes_mut(slot);
    Ok((slot, true))
}

fn pfadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, elements, db) = (ctx.arg(1), ctx.argv.from(2), ctx.db);
    let sparse_max = ctx.state.config.hll_sparse_max_bytes;
    let (slot, new) = existing_or_new(ctx, key)?;
    let mut updated = usize::from(new);
    // Most elements were seen before: up to the first that was not, nothing is edited.
    let entry = ctx.state.dbs[db].entry(slot);
    let bytes = valid(entry)?;
    let (mut known, mut cursor) = (0, Cursor::default());
    while known < elements.len() {
        let (index, value) = hll::place(elements.get(known));
        cursor = Cursor::default();
        if hll::would_raise(bytes, index, value, &mut cursor) != Ok(false) {
            break;
        }
        known += 1;
    }
    let mut outcome = Ok(());
    if known < elements.len() {
        outcome = ctx.state.dbs[db].edit_string(slot, |bytes| {
            for element in elements.from(known).iter() {
                let (index, value) = hll::place(element);
                let changed = hll::raise(bytes, index, value, sparse_max, &mut cursor)?;
                cursor = Cursor::default();
                updated += usize::from(changed);
            }
            Ok(())
        })?;
    } else if !matches!(entry.string(), Ok(StrRef::Big(_))) || new {
        // As if it had been edited: it is "raw" from here on.
        let bytes = ctx.state.dbs[db].string_bytes_mut(slot);
        if let (Some(bytes), true) = (bytes, new) {
            hll::invalidate(bytes);
        }
    }
    if updated > 0 {
        if outcome.is_err() {
            // What was done before the fault was met stays: a replica is told that, not to fail, too.
            let bytes = valid(ctx.state.dbs[db].entry(slot))?.to_vec();
            ctx.propagate_as(&[b"SET", key, &bytes, b"KEEPTTL"]);
        }
        ctx.modified(key, Event::PFADD, updated);
    }
    outcome.map_err(|corrupt: Corrupt| CmdError::from(corrupt))?;
    ctx.int((updated > 0).into())
}

fn pfcount(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc() > 2 {
        let mut registers = Registers::new();
        for key in ctx.argv.from(1).iter() {
            if let Some(entry) = ctx.read(key) {
                registers.merge(valid(entry)?)?;
            }
        }
        return ctx.int(hll::estimate_of(&registers) as i64);
    }
    let (key, db) = (ctx.arg(1), ctx.db);
    let Some(entry) = ctx.read(key) else {
        return ctx.int(0);
    };
    let bytes = valid(entry)?;
    let cached = hll::cached(bytes);
    let small = !matches!(entry.string(), Ok(StrRef::Big(_)));
    let estimate = match cached {
        Some(estimate) => Ok(estimate),
        None => hll::estimate(bytes),
    };
    if let (Some(estimate), false) = (cached, small) {
        return ctx.int(estimate as i64);
    }
    // As if it had been edited: it is "raw" to OBJECT ENCODING from here on, whatever comes of it.
    let bytes = match ctx.state.dbs.find(db, key) {
        Some(slot) => ctx.state.dbs[db].string_bytes_mut(slot),
        None => None,
    };
    let estimate = estimate?;
    if let (Some(bytes), None) = (bytes, cached) {
        hll::cache(bytes, estimate);
        // Bytes changed, so the log gets it and watchers learn of it; there is no event.
        ctx.state.dirty += 1;
        ctx.state.key_touched(db, key);
    }
    ctx.int(estimate as i64)
}

fn pfmerge(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let sparse_max = ctx.state.config.hll_sparse_max_bytes;
    let mut registers = Registers::new();
    let mut dense = false;
    for source in ctx.argv.from(1).iter() {
        if let Some(entry) = ctx.read(source) {
            let bytes = valid(entry)?;
            dense |= hll::is_dense(bytes);
            registers.merge(bytes)?;
        }
    }
    let (slot, _) = existing_or_new(ctx, key)?;
    ctx.state.dbs[db].edit_string(slot, |bytes| {
        hll::store(bytes, &registers, dense, sparse_max)
    })??;
    // It is as if many elements were added.
    ctx.modified(key, Event::PFADD, 1);
    ctx.ok()
}

fn pfdebug(ctx: &mut Ctx<'_>) -> CmdResult {
    let (word, key, db) = (ctx.arg(1), ctx.arg(2), ctx.db);
    let slot = ctx.write(key).ok_or(ABSENT)?;
    valid(ctx.state.dbs[db].entry(slot))?;
    // As PFCOUNT: a small one is "raw" from here on.
    ctx.state.dbs[db].string_bytes_mut(slot);
    let bytes = valid(ctx.state.dbs[db].entry(slot))?;
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    if is(b"encoding") {
        let name = if hll::is_dense(bytes) {
            "dense"
        } else {
            "sparse"
        };
        ctx.out.simple(name);
    } else if is(b"decode") {
        let text = hll::decode(bytes).ok_or(NOT_SPARSE)??;
        ctx.out.bulk(&text);
    } else if is(b"todense") {
        let converted = to_dense(ctx, slot)?;
        return ctx.int(converted.into());
    } else if is(b"getreg") {
        to_dense(ctx, slot)?;
        let mut registers = Registers::new();
        registers.merge(valid(ctx.state.dbs[db].entry(slot))?)?;
        ctx.out.array(registers.values().len());
        for value in registers.values() {
            ctx.out.int((*value).into());
        }
    } else {
        return Err(CmdError::showing(
            "ERR Unknown PFDEBUG subcommand '",
            word,
            "'",
        ));
    }
    Ok(Outcome::Done)
}

/// Makes it dense, which the log must have; was it sparse?
fn to_dense(ctx: &mut Ctx<'_>, slot: Slot) -> Result<bool, CmdError> {
    let db = &mut ctx.state.dbs[ctx.db];
    if hll::is_dense(valid(db.entry(slot))?) {
        return Ok(false);
    }
    db.edit_string(slot, hll::to_dense)
        .map_err(|_| WRONG_TYPE)??;
    ctx.state.dirty += 1;
    Ok(true)
}

#[cfg(test)]
mod tests;
