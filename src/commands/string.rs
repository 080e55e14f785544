//! Strings: the rows, and the commands every client runs all day: GET, SET and their closest kin.
//!
//! The folder beside this file has the others by concept. `reply_string` and `store` are the two
//! ends all of them share, and the hot path: GET and a plain SET do one look-up and no more.
mod conditional;
mod count;
mod lcs;
mod many;
pub mod options;
mod range;

use crate::base::num::fmt_i64;
use crate::exec::command::{
    CmdResult, Command, Find, KEY1_OW, KEY1_RO, KEY1_RO_META, KEY1_RW_ACCESS,
    KEY1_RW_ACCESS_DELETE, KEY1_RW_INSERT, KEY1_RW_UPDATE, KEYS_RO, KeyAt, KeySpec, Outcome, acl,
    cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::keyspace::{NewValue, Ttl};
use crate::resp::request::Argv;
use crate::state::notify::Event;
use crate::types::string::StrRef;
use options::{Condition, Expiry, For, Options, Unit};

use acl::NONE;
use flag::{DENYOOM, FAST, MOVABLE_KEYS, READONLY, WRITE};
use key_flag as k;

/// SET: it overwrites, or with GET reads too.
const SET_KEYS: &[KeySpec] = &[KeySpec::range(
    k::RW | k::ACCESS | k::UPDATE | k::VARIABLE_FLAGS,
    1,
    1,
    1,
)];
const SETNX_KEYS: &[KeySpec] = &[KeySpec::range(k::OW | k::INSERT, 1, 1, 1)];
const DELEX_KEYS: &[KeySpec] = &[KeySpec::range(
    k::RW | k::DELETE | k::VARIABLE_FLAGS,
    1,
    1,
    1,
)];
const MSET_KEYS: &[KeySpec] = &[KeySpec::range(k::OW | k::UPDATE, 1, -1, 2)];
const MSETNX_KEYS: &[KeySpec] = &[KeySpec::range(k::OW | k::INSERT, 1, -1, 2)];
const MSETEX_KEYS: &[KeySpec] = &[KeySpec {
    find: Find::KeyNum {
        at: 0,
        first: 1,
        step: 2,
    },
    ..KeySpec::numkeys(k::OW | k::UPDATE, 1)
}];
const LCS_KEYS: &[KeySpec] = &[KeySpec::range(k::RO | k::ACCESS, 1, 2, 1)];

const READ_FAST: u32 = READONLY | FAST;
const GROWS: u32 = WRITE | DENYOOM;
const GROWS_FAST: u32 = GROWS | FAST;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("get", 2, READ_FAST, NONE, KEY1_RO, get),
    cmd("set", -3, GROWS, NONE, SET_KEYS, set).with_finder(set_key),
    cmd("setnx", 3, GROWS_FAST, NONE, SETNX_KEYS, setnx),
    cmd("setex", 4, GROWS, NONE, KEY1_OW, setex),
    cmd("psetex", 4, GROWS, NONE, KEY1_OW, psetex),
    cmd("getset", 3, GROWS_FAST, NONE, KEY1_RW_ACCESS, getset),
    cmd("getdel", 2, WRITE | FAST, NONE, KEY1_RW_ACCESS_DELETE, getdel),
    cmd("getex", -2, WRITE | FAST, NONE, KEY1_RW_ACCESS, getex),
    cmd("mget", -2, READ_FAST, NONE, KEYS_RO, many::mget),
    cmd("mset", -3, GROWS, NONE, MSET_KEYS, many::mset),
    cmd("msetnx", -3, GROWS, NONE, MSETNX_KEYS, many::msetnx),
    cmd("msetex", -4, GROWS | MOVABLE_KEYS, NONE, MSETEX_KEYS, many::msetex),
    cmd("incr", 2, GROWS_FAST, NONE, KEY1_RW_ACCESS, count::incr),
    cmd("decr", 2, GROWS_FAST, NONE, KEY1_RW_ACCESS, count::decr),
    cmd("incrby", 3, GROWS_FAST, NONE, KEY1_RW_ACCESS, count::incrby),
    cmd("decrby", 3, GROWS_FAST, NONE, KEY1_RW_ACCESS, count::decrby),
    cmd("incrbyfloat", 3, GROWS_FAST, NONE, KEY1_RW_ACCESS, count::incrbyfloat),
    cmd("append", 3, GROWS_FAST, NONE, KEY1_RW_INSERT, range::append),
    cmd("strlen", 2, READ_FAST, NONE, KEY1_RO_META, range::strlen),
    cmd("setrange", 4, GROWS, NONE, KEY1_RW_UPDATE, range::setrange),
    cmd("getrange", 4, READONLY, NONE, KEY1_RO, range::getrange),
    cmd("substr", 4, READONLY, NONE, KEY1_RO, range::getrange),
    cmd("lcs", -3, READONLY, NONE, LCS_KEYS, lcs::lcs),
    cmd("delifeq", 3, WRITE | FAST, NONE, DELEX_KEYS, conditional::delifeq),
    cmd("delex", -2, WRITE | FAST, NONE, DELEX_KEYS, conditional::delex),
];

/// Strings.
pub static FAMILY: Family = Family {
    group: "string",
    acl: acl::STRING,
    commands: COMMANDS,
};

/// Values from this size on are replied by reference, unless a snapshot child lives.
const BY_REFERENCE_MIN: usize = 16 * 1024;

/// Writes the string at a key as a bulk string, or null; was the key there?
#[inline]
fn reply_string(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, CmdError> {
    let db = ctx.db;
    let Some(entry) = ctx.state.lookup_read(db, key) else {
        ctx.out.null();
        return Ok(false);
    };
    match entry.string() {
        Ok(StrRef::Int(n)) => ctx.out.bulk_int(n),
        Ok(StrRef::Inline { bytes, .. }) => ctx.out.bulk(bytes),
        Ok(big) if big.len() < BY_REFERENCE_MIN => ctx.out.bulk(big.bytes(&mut [0; 20])),
        Ok(big) => {
            let len = big.len();
            reply_large(ctx, key, 0, len);
        }
        Err(wrong) => return Err(wrong.into()),
    }
    Ok(true)
}

/// A large value goes out by reference: the reply holds the value's own buffer. A snapshot child
/// would have its page copied by the reference count, so while one lives the bytes are copied.
#[cold]
fn reply_large(ctx: &mut Ctx<'_>, key: &[u8], from: usize, to: usize) {
    let Some(slot) = ctx.state.dbs.find(ctx.db, key) else {
        return;
    };
    if !ctx.state.child_alive
        && let Some(bytes) = ctx.state.dbs[ctx.db].share_string(slot)
    {
        ctx.out.bulk_ref(bytes.slice(from..to));
    } else if let Ok(value) = ctx.state.dbs[ctx.db].entry(slot).string() {
        ctx.out.bulk(&value.bytes(&mut [0; 20])[from..to]);
    }
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    reply_string(ctx, key)?;
    Ok(Outcome::Done)
}

/// Stores a value under a key, whatever was there; without a deadline, as SET does.
#[inline]
fn store(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl) {
    let db = ctx.db;
    match ctx.state.lookup_write(db, key) {
        Some(slot) => {
            let value = ctx.string_value(value);
            ctx.state.dbs[db].set(slot, value, ttl);
        }
        None => {
            let expire_at = if let Ttl::At(at) = ttl {
                Some(at)
            } else {
                None
            };
            let value = ctx.string_value(value);
            insert(ctx, key, value, expire_at);
        }
    }
}

/// Adds a key that is not there.
#[inline]
fn insert(ctx: &mut Ctx<'_>, key: &[u8], value: NewValue<'_>, expire_at: Option<i64>) {
    ctx.state.dbs.insert(ctx.db, key, value, expire_at);
    ctx.state.notify(ctx.db, key, Event::NEW);
}

/// Takes a key out, with its event; the log gets DEL.
fn delete(ctx: &mut Ctx<'_>, key: &[u8], slot: crate::ds::table::Slot) {
    let lazy = ctx.state.config.lazyfree_lazy_user_del;
    ctx.state.remove(ctx.db, slot, lazy);
    ctx.modified(key, Event::DEL, 1);
    ctx.propagate_as(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
}

/// SET overwrites its key; with GET it reads it, too.
fn set_key(argv: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let reads = argv.from(3).iter().any(|w| w.eq_ignore_ascii_case(b"get"));
    let flags = if reads {
        k::RW | k::ACCESS | k::UPDATE
    } else {
        k::OW | k::UPDATE
    };
    Ok(vec![KeyAt { at: 1, flags }])
}

fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.arg(1), ctx.arg(2));
    if ctx.argc() == 3 {
        store(ctx, key, value, Ttl::Clear);
        ctx.modified(key, Event::SET, 1);
        return ctx.ok();
    }
    let options = Options::parse(ctx.argv.from(3), For::Set)?;
    let ttl = options.expiry.ttl(ctx.state.clock.unix_ms, "set")?;
    if options.get {
        reply_string(ctx, key)?;
    }
    let stored = holds(ctx, key, options.condition)?;
    if stored {
        set_now(ctx, key, value, ttl);
        // The log gets absolute deadlines, said as Redis says it, and nothing that an older server does not know.
        let told_otherwise = options.expiry.is_relative() || options.expiry.is_at_ms();
        if options.get || options.condition.is_recent() || told_otherwise {
            log_set(ctx, key, value, ttl);
        }
    }
    if !options.get {
        if stored { ctx.out.ok() } else { ctx.out.null() }
    }
    Ok(Outcome::Done)
}

/// Does the key fulfil the condition under which it is set?
fn holds(ctx: &mut Ctx<'_>, key: &[u8], condition: Condition<'_>) -> Result<bool, CmdError> {
    if condition == Condition::Always {
        return Ok(true);
    }
    let found = ctx.write(key);
    Ok(match condition {
        Condition::Always => true,
        Condition::Absent => found.is_none(),
        Condition::Present => found.is_some(),
        Condition::Equal(wanted) => match found {
            Some(slot) => conditional::equals(ctx, slot, wanted)?,
            None => false,
        },
        Condition::Differs(unwanted) => match found {
            Some(slot) => !conditional::equals(ctx, slot, unwanted)?,
            None => true,
        },
    })
}

/// Stores as SET does, with its events.
#[inline]
fn set_now(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl) {
    store(ctx, key, value, ttl);
    ctx.modified(key, Event::SET, 1);
    if let Ttl::At(_) = ttl {
        ctx.state.notify(ctx.db, key, Event::EXPIRE);
    }
}

/// The log gets a SET that depends on nothing: neither on the time nor on what is there.
fn log_set(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl) {
    let prop = &mut ctx.state.prop;
    match ttl {
        Ttl::Clear => prop.also(&[b"SET", key, value]),
        Ttl::Keep => prop.also(&[b"SET", key, value, b"KEEPTTL"]),
        Ttl::At(at) => prop.also(&[b"SET", key, value, b"PXAT", fmt_i64(at, &mut [0; 20])]),
    }
}

fn setnx(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.arg(1), ctx.arg(2));
    if ctx.write(key).is_some() {
        return ctx.int(0);
    }
    insert(ctx, key, NewValue::string(value), None);
    ctx.modified(key, Event::SET, 1);
    ctx.int(1)
}

fn setex(ctx: &mut Ctx<'_>) -> CmdResult {
    set_for_a_time(ctx, Unit::Seconds, "setex")
}

fn psetex(ctx: &mut Ctx<'_>) -> CmdResult {
    set_for_a_time(ctx, Unit::Milliseconds, "psetex")
}

fn set_for_a_time(ctx: &mut Ctx<'_>, unit: Unit, name: &'static str) -> CmdResult {
    let (key, time, value) = (ctx.arg(1), ctx.arg(2), ctx.arg(3));
    let ttl = Expiry::In(time, unit).ttl(ctx.state.clock.unix_ms, name)?;
    set_now(ctx, key, value, ttl);
    log_set(ctx, key, value, ttl);
    ctx.ok()
}

fn getset(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.arg(1), ctx.arg(2));
    reply_string(ctx, key)?;
    set_now(ctx, key, value, Ttl::Clear);
    log_set(ctx, key, value, Ttl::Clear);
    Ok(Outcome::Done)
}

fn getdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    if reply_string(ctx, key)?
        && let Some(slot) = ctx.write(key)
    {
        delete(ctx, key, slot);
    }
    Ok(Outcome::Done)
}

fn getex(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let options = Options::parse(ctx.argv.from(2), For::GetEx)?;
    if !reply_string(ctx, key)? {
        return Ok(Outcome::Done);
    }
    // Only now: a key that is not there has no wrong deadline.
    let ttl = options.expiry.ttl(ctx.state.clock.unix_ms, "getex")?;
    let Some(slot) = ctx.state.find_live(ctx.db, key) else {
        return Ok(Outcome::Done);
    };
    match ttl {
        Ttl::At(at) if ctx.ends_at_once(at) => ctx.delete_expired(key, slot),
        Ttl::At(at) => ctx.set_deadline(key, slot, at),
        Ttl::Clear if options.persist => {
            if ctx.state.dbs[ctx.db].entry(slot).expire_at().is_some() {
                ctx.state.dbs[ctx.db].set_expire(slot, None);
                ctx.modified(key, Event::PERSIST, 1);
                ctx.propagate_as(&[b"PERSIST", key]);
            }
        }
        Ttl::Clear | Ttl::Keep => {}
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests;
