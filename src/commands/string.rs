//! Strings: SET with its options, reading, counting.
use crate::base::num::{fmt_i64, parse_i64};
use crate::exec::command::{
    CmdResult, Command, KEY1_OW, KEY1_RO, KEY1_RW_ACCESS, KEYS_RO, KeySpec, Outcome, acl, cmd,
    flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{self, CmdError, OVERFLOW, SYNTAX, invalid_expire};
use crate::exec::registry::Family;
use crate::keyspace::{NewValue, Ttl};
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::string::StrRef;
use flag::{DENYOOM, FAST, READONLY, WRITE};

/// SET: it overwrites, or with GET reads too.
const SET_KEYS: &[KeySpec] = &[KeySpec::range(
    key_flag::RW | key_flag::ACCESS | key_flag::UPDATE | key_flag::VARIABLE_FLAGS,
    1,
    1,
    1,
)];
const MSET_KEYS: &[KeySpec] = &[KeySpec::range(key_flag::OW | key_flag::UPDATE, 1, -1, 2)];

const COMMANDS: &[Command] = &[
    cmd("get", 2, READONLY | FAST, acl::NONE, KEY1_RO, get),
    cmd("set", -3, WRITE | DENYOOM, acl::NONE, SET_KEYS, set),
    cmd("mget", -2, READONLY | FAST, acl::NONE, KEYS_RO, mget),
    cmd("mset", -3, WRITE | DENYOOM, acl::NONE, MSET_KEYS, mset),
    cmd(
        "incr",
        2,
        WRITE | DENYOOM | FAST,
        acl::NONE,
        KEY1_RW_ACCESS,
        incr,
    ),
    cmd(
        "setnx",
        3,
        WRITE | DENYOOM | FAST,
        acl::NONE,
        KEY1_OW,
        setnx,
    ),
];

/// Strings.
pub static FAMILY: Family = Family {
    group: "string",
    acl: acl::STRING,
    commands: COMMANDS,
};

/// Values from this size on are replied by reference, unless a snapshot child lives.
const BY_REFERENCE_MIN: usize = 16 * 1024;

/// Writes the string at a key as a bulk string, or null.
#[inline]
fn reply_string(ctx: &mut Ctx<'_>, key: &[u8]) -> CmdResult {
    let db = ctx.db;
    match ctx.state.lookup_read(db, key) {
        None => ctx.out.null(),
        Some(entry) => match entry.string() {
            Ok(StrRef::Int(n)) => ctx.out.bulk_int(n),
            Ok(StrRef::Inline { bytes, .. }) => ctx.out.bulk(bytes),
            Ok(big) if big.len() < BY_REFERENCE_MIN => ctx.out.bulk(big.bytes(&mut [0; 20])),
            Ok(_) => reply_large(ctx, key),
            Err(wrong) => return Err(wrong.into()),
        },
    }
    Ok(Outcome::Done)
}

/// A large value goes out by reference: the reply holds the value's own buffer. A snapshot child
/// would have its page copied by the reference count, so while one lives the bytes are copied.
#[cold]
fn reply_large(ctx: &mut Ctx<'_>, key: &[u8]) {
    let Some(slot) = ctx.state.dbs.find(ctx.db, key) else {
        return;
    };
    if !ctx.state.child_alive
        && let Some(bytes) = ctx.state.dbs[ctx.db].share_string(slot)
    {
        ctx.out.bulk_ref(bytes);
    } else if let Ok(value) = ctx.state.dbs[ctx.db].entry(slot).string() {
        ctx.out.bulk(value.bytes(&mut [0; 20]));
    }
}

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    reply_string(ctx, key)
}

/// Stores a value under a key, whatever was there; without a deadline, as SET does.
#[inline]
fn store(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl) {
    let db = ctx.db;
    match ctx.state.lookup_write(db, key) {
        Some(slot) => ctx.state.dbs[db].set(slot, NewValue::string(value), ttl),
        None => {
            let expire_at = if let Ttl::At(at) = ttl {
                Some(at)
            } else {
                None
            };
            ctx.state
                .dbs
                .insert(db, key, NewValue::string(value), expire_at);
            ctx.state.notify(db, key, Event::NEW);
        }
    }
}

/// When SET stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When<'a> {
    Always,
    Absent,
    Present,
    /// IFEQ: the value is this one.
    Equal(&'a [u8]),
}

/// SET's options, understood.
struct SetOptions<'a> {
    when: When<'a>,
    get: bool,
    keep_ttl: bool,
    /// Unix milliseconds.
    expire_at: Option<i64>,
    /// The option was a relative or second-based one: the log gets PXAT.
    rewrite: bool,
}

/// Unit of an expire option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// A deadline in unix milliseconds from an option's argument.
fn deadline(
    ctx: &Ctx<'_>,
    arg: &[u8],
    unit: Unit,
    absolute: bool,
    name: &'static str,
) -> Result<i64, CmdError> {
    let n = parse_i64(arg).ok_or(error::NOT_INTEGER)?;
    let invalid = || invalid_expire(name);
    if n <= 0 {
        return Err(invalid());
    }
    let ms = if unit == Unit::Seconds {
        n.checked_mul(1000).ok_or_else(invalid)?
    } else {
        n
    };
    if absolute {
        Ok(ms)
    } else {
        ms.checked_add(ctx.state.clock.unix_ms).ok_or_else(invalid)
    }
}

impl<'a> SetOptions<'a> {
    /// Parses what stands behind SET's key and value.
    #[inline]
    fn parse(ctx: &Ctx<'a>) -> Result<Self, CmdError> {
        let mut options = Self {
            when: When::Always,
            get: false,
            keep_ttl: false,
            expire_at: None,
            rewrite: false,
        };
        let argv = ctx.argv;
        if argv.len() == 3 {
            return Ok(options);
        }
        options.parse_words(ctx)?;
        Ok(options)
    }

    fn parse_words(&mut self, ctx: &Ctx<'a>) -> Result<(), CmdError> {
        let argv = ctx.argv;
        let mut expiry: Option<(&[u8], Unit, bool)> = None;
        let mut i = 3;
        while i < argv.len() {
            let word = argv.get(i);
            let next = (i + 1 < argv.len()).then(|| argv.get(i + 1));
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let timed = self.keep_ttl || expiry.is_some();
            if is("nx") && self.when == When::Always {
                self.when = When::Absent;
            } else if is("xx") && self.when == When::Always {
                self.when = When::Present;
            } else if is("get") {
                self.get = true;
            } else if is("keepttl") && expiry.is_none() {
                self.keep_ttl = true;
            } else if is("ifeq") && self.when == When::Always && next.is_some() {
                self.when = When::Equal(argv.get(i + 1));
                i += 1;
            } else if !timed && let Some(next) = next {
                let (unit, absolute) = match () {
                    () if is("ex") => (Unit::Seconds, false),
                    () if is("px") => (Unit::Milliseconds, false),
                    () if is("exat") => (Unit::Seconds, true),
                    () if is("pxat") => (Unit::Milliseconds, true),
                    () => return Err(SYNTAX),
                };
                expiry = Some((next, unit, absolute));
                i += 1;
            } else {
                return Err(SYNTAX);
            }
            i += 1;
        }
        if let Some((arg, unit, absolute)) = expiry {
            self.expire_at = Some(deadline(ctx, arg, unit, absolute, "set")?);
            self.rewrite = !absolute || unit == Unit::Seconds;
        }
        Ok(())
    }
}

fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = SetOptions::parse(ctx)?;
    let (key, value) = (ctx.arg(1), ctx.arg(2));
    if options.when != When::Always || options.get {
        return set_checked(ctx, key, value, &options);
    }
    set_now(ctx, key, value, &options);
    ctx.ok()
}

/// The unconditional part of SET: value, deadline, events, what the log carries.
#[inline]
fn set_now(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], options: &SetOptions<'_>) {
    let ttl = match options.expire_at {
        Some(at) => Ttl::At(at),
        None if options.keep_ttl => Ttl::Keep,
        None => Ttl::Clear,
    };
    store(ctx, key, value, ttl);
    ctx.modified(key, Event::SET, 1);
    if let Some(at) = options.expire_at {
        ctx.state.notify(ctx.db, key, Event::EXPIRE);
        if options.rewrite {
            ctx.propagate_as(&[b"SET", key, value, b"PXAT", fmt_i64(at, &mut [0; 20])]);
        }
    }
}

/// SET with NX, XX, IFEQ or GET: the old value decides or is the reply.
fn set_checked(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], options: &SetOptions<'_>) -> CmdResult {
    if options.get {
        reply_string(ctx, key)?;
    }
    let old = ctx.write(key);
    let holds = match options.when {
        When::Always => true,
        When::Absent => old.is_none(),
        When::Present => old.is_some(),
        When::Equal(wanted) => match old {
            None => false,
            Some(slot) => {
                let entry = ctx.state.dbs[ctx.db].entry(slot);
                entry.string()?.bytes(&mut [0; 20]) == wanted
            }
        },
    };
    if holds {
        set_now(ctx, key, value, options);
    }
    if !options.get {
        if holds { ctx.out.ok() } else { ctx.out.null() }
    }
    Ok(Outcome::Done)
}

fn setnx(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.arg(1), ctx.arg(2));
    if ctx.write(key).is_some() {
        return ctx.int(0);
    }
    store(ctx, key, value, Ttl::Clear);
    ctx.modified(key, Event::SET, 1);
    ctx.int(1)
}

fn mget(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.argc() - 1);
    for key in ctx.argv.from(1).iter() {
        // Another type is as absent here.
        if reply_string(ctx, key).is_err() {
            ctx.out.null();
        }
    }
    Ok(Outcome::Done)
}

fn mset(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc().is_multiple_of(2) {
        return Err(error::wrong_arity("mset"));
    }
    for i in (1..ctx.argc()).step_by(2) {
        let (key, value) = (ctx.arg(i), ctx.arg(i + 1));
        store(ctx, key, value, Ttl::Clear);
        ctx.modified(key, Event::SET, 1);
    }
    ctx.ok()
}

/// Adds to the integer at a key; an absent one counts as 0.
fn increment(ctx: &mut Ctx<'_>, key: &[u8], by: i64) -> CmdResult {
    let db = ctx.db;
    let Some(slot) = ctx.write_kind(key, Kind::String)? else {
        ctx.state.dbs.insert(db, key, NewValue::Int(by), None);
        ctx.state.notify(db, key, Event::NEW);
        ctx.modified(key, Event::INCRBY, 1);
        return ctx.int(by);
    };
    let old = ctx.state.dbs[db].entry(slot).string()?.as_int();
    let sum = old
        .ok_or(error::NOT_INTEGER)?
        .checked_add(by)
        .ok_or(OVERFLOW)?;
    ctx.state.dbs[db].set_int(slot, sum);
    ctx.modified(key, Event::INCRBY, 1);
    ctx.int(sum)
}

fn incr(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    increment(ctx, key, 1)
}
