//! Hashes: HSET and its kin. Deadlines of fields are in `expiry`, what sets or takes fields together with
//! their deadlines in `combined`.

mod access;
mod combined;
mod expiry;

use std::ops::ControlFlow;

use crate::base::f80::F80;
use crate::base::num;
use crate::base::rng::Rng;
use crate::commands::draw;
use crate::commands::scan::{self, ScanOptions};
use crate::commands::vals;
use crate::ds::listpack::Val;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RO_META, KEY1_RW_ACCESS, KEY1_RW_ACCESS_DELETE,
    KEY1_RW_DELETE, KEY1_RW_INSERT, KEY1_RW_UPDATE, Outcome, acl, cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{
    CmdError, NAN_OR_INF, NOT_FLOAT, NOT_INTEGER, OVERFLOW, SYNTAX, wrong_arity,
};
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::notify::Event;
use crate::types::Collection;
use crate::types::hash::{FieldTtl, FieldValue, Hash, HashRef};
use access::{Named, edit, limits, read, write};

const VALUE_NOT_INTEGER: CmdError = CmdError::new("ERR hash value is not an integer");
const VALUE_NOT_FLOAT: CmdError = CmdError::new("ERR hash value is not a float");
const NOT_FINITE: CmdError = CmdError::new("ERR value is NaN or Infinity");
const COUNT_RANGE: CmdError = CmdError::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
const COUNT_TOO_LARGE: CmdError = CmdError::new("ERR value is out of range");

use acl::NONE;
use flag::{DENYOOM, FAST, READONLY, WRITE};

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("hset", -4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, hset).with_members(2, 2),
    cmd("hsetnx", 4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_INSERT, hsetnx).with_members(2, 0),
    cmd("hmset", -4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, hmset).with_members(2, 2),
    cmd("hget", 3, READONLY | FAST, NONE, KEY1_RO, hget).with_members(2, 0),
    cmd("hmget", -3, READONLY | FAST, NONE, KEY1_RO, hmget).with_members(2, 1),
    cmd("hgetall", 2, READONLY, NONE, KEY1_RO, hgetall),
    cmd("hdel", -3, WRITE | FAST, NONE, KEY1_RW_DELETE, hdel).with_members(2, 1),
    cmd("hlen", 2, READONLY | FAST, NONE, KEY1_RO_META, hlen),
    cmd("hstrlen", 3, READONLY | FAST, NONE, KEY1_RO_META, hstrlen).with_members(2, 0),
    cmd("hexists", 3, READONLY | FAST, NONE, KEY1_RO_META, hexists).with_members(2, 0),
    cmd("hkeys", 2, READONLY, NONE, KEY1_RO, hkeys),
    cmd("hvals", 2, READONLY, NONE, KEY1_RO, hvals),
    cmd("hincrby", 4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_ACCESS, hincrby).with_members(2, 0),
    cmd("hincrbyfloat", 4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_ACCESS, hincrbyfloat).with_members(2, 0),
    cmd("hrandfield", -2, READONLY, NONE, KEY1_RO, hrandfield),
    cmd("hscan", -3, READONLY, NONE, KEY1_RO, hscan),
    cmd("hexpire", -6, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, expiry::hexpire),
    cmd("hpexpire", -6, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, expiry::hpexpire),
    cmd("hexpireat", -6, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, expiry::hexpireat),
    cmd("hpexpireat", -6, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, expiry::hpexpireat),
    cmd("hpersist", -5, WRITE | FAST, NONE, KEY1_RW_UPDATE, expiry::hpersist).with_members(4, 1),
    cmd("httl", -5, READONLY | FAST, NONE, KEY1_RO, expiry::httl).with_members(4, 1),
    cmd("hpttl", -5, READONLY | FAST, NONE, KEY1_RO, expiry::hpttl).with_members(4, 1),
    cmd("hexpiretime", -5, READONLY | FAST, NONE, KEY1_RO, expiry::hexpiretime).with_members(4, 1),
    cmd("hpexpiretime", -5, READONLY | FAST, NONE, KEY1_RO, expiry::hpexpiretime).with_members(4, 1),
    cmd("hgetdel", -5, WRITE | FAST, NONE, KEY1_RW_ACCESS_DELETE, combined::hgetdel).with_members(4, 1),
    cmd("hgetex", -5, WRITE | FAST, NONE, KEY1_RW_ACCESS, combined::hgetex),
    cmd("hsetex", -6, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, combined::hsetex),
];

/// The fields of a request that names one.
const ONE: Named = (2, usize::MAX);

/// Hashes.
pub static FAMILY: Family = Family {
    group: "hash",
    acl: acl::HASH,
    commands: COMMANDS,
};

/// Sets all pairs of the request; returns how many fields are new.
fn set_pairs(ctx: &mut Ctx<'_>, name: &str) -> Result<usize, CmdError> {
    let argv = ctx.argv;
    if argv.len() % 2 == 1 {
        return Err(wrong_arity(name));
    }
    let pairs = (argv.len() - 2) / 2;
    let limits = limits(ctx.state);
    let created = edit(ctx, (2, 2), |hash| {
        hash.expect_fields(pairs, &limits);
        (0..pairs)
            .filter(|pair| hash.set(argv.get(2 * pair + 2), argv.get(2 * pair + 3), &limits))
            .count()
    })?;
    ctx.modified(argv.get(1), Event::HSET, pairs);
    Ok(created)
}

fn hset(ctx: &mut Ctx<'_>) -> CmdResult {
    let created = set_pairs(ctx, "hset")?;
    ctx.int(created as i64)
}

fn hmset(ctx: &mut Ctx<'_>) -> CmdResult {
    set_pairs(ctx, "hmset")?;
    ctx.ok()
}

fn hsetnx(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, field, value) = (ctx.arg(1), ctx.arg(2), ctx.arg(3));
    let limits = limits(ctx.state);
    let created = edit(ctx, ONE, |hash| {
        !hash.view().exists(field) && hash.set(field, value, &limits)
    })?;
    if created {
        ctx.modified(key, Event::HSET, 1);
    }
    ctx.int(i64::from(created))
}

fn hget(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, field) = (ctx.arg(1), ctx.arg(2));
    let hash = read(ctx.state, (ctx.db, ctx.mode), key)?;
    vals::reply(ctx.out, hash.and_then(|hash| hash.get(field)));
    Ok(Outcome::Done)
}

fn hmget(ctx: &mut Ctx<'_>) -> CmdResult {
    let fields = ctx.argv.from(2);
    let hash = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?;
    ctx.out.array(fields.len());
    for field in fields.iter() {
        vals::reply(ctx.out, hash.and_then(|hash| hash.get(field)));
    }
    Ok(Outcome::Done)
}

fn hgetall(ctx: &mut Ctx<'_>) -> CmdResult {
    let Some(hash) = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))? else {
        ctx.out.map(0);
        return Ok(Outcome::Done);
    };
    ctx.out.map(hash.live_len());
    for (field, value) in hash.iter() {
        vals::reply(ctx.out, Some(field));
        vals::reply(ctx.out, Some(value));
    }
    Ok(Outcome::Done)
}

/// One half of each pair, as an array.
fn reply_halves(ctx: &mut Ctx<'_>, half: fn(FieldValue<'_>) -> Val<'_>) -> CmdResult {
    let Some(hash) = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    ctx.out.array(hash.live_len());
    for pair in hash.iter() {
        vals::reply(ctx.out, Some(half(pair)));
    }
    Ok(Outcome::Done)
}

fn hkeys(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_halves(ctx, |(field, _)| field)
}

fn hvals(ctx: &mut Ctx<'_>) -> CmdResult {
    reply_halves(ctx, |(_, value)| value)
}

fn hlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let len = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?.map_or(0, HashRef::len);
    ctx.int(len as i64)
}

fn hstrlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let field = ctx.arg(2);
    let value =
        read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?.and_then(|hash| hash.get(field));
    let len = value.map_or(0, Val::len);
    ctx.int(len as i64)
}

fn hexists(ctx: &mut Ctx<'_>) -> CmdResult {
    let field = ctx.arg(2);
    let found = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?
        .is_some_and(|hash| hash.exists(field));
    ctx.int(i64::from(found))
}

fn hdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, fields) = (ctx.arg(1), ctx.argv.from(2));
    let Some(slot) = write(ctx, (2, 1))? else {
        return ctx.int(0);
    };
    let (left, deleted) = ctx.state.dbs[ctx.db].update::<Hash, usize>(slot, |hash| {
        fields.iter().filter(|field| hash.delete(field)).count()
    })?;
    if deleted > 0 {
        ctx.modified(key, Event::HDEL, deleted);
        if left.is_none() {
            ctx.state.notify(ctx.db, key, Event::DEL);
        }
    }
    ctx.int(deleted as i64)
}

fn hincrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, field) = (ctx.arg(1), ctx.arg(2));
    let by = num::parse_i64(ctx.arg(3)).ok_or(NOT_INTEGER)?;
    let limits = limits(ctx.state);
    let sum = edit(ctx, ONE, |hash| {
        let old = match hash.view().get(field) {
            Some(value) => value.as_int().ok_or(VALUE_NOT_INTEGER)?,
            None => 0,
        };
        let sum = old.checked_add(by).ok_or(OVERFLOW)?;
        let mut room = [0; 20];
        let text = num::fmt_i64(sum, &mut room);
        hash.set_with(field, text, FieldTtl::Keep, &limits);
        Ok::<i64, CmdError>(sum)
    })??;
    ctx.modified(key, Event::HINCRBY, 1);
    ctx.int(sum)
}

fn hincrbyfloat(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, field) = (ctx.arg(1), ctx.arg(2));
    let by = F80::parse(ctx.arg(3)).ok_or(NOT_FLOAT)?;
    if !by.is_finite() {
        return Err(NOT_FINITE);
    }
    let limits = limits(ctx.state);
    let (sum, deadline) = edit(ctx, ONE, |hash| {
        let old = match hash.view().get(field) {
            Some(Val::Int(int)) => F80::from_i64(int),
            Some(Val::Str(text)) => F80::parse(text).ok_or(VALUE_NOT_FLOAT)?,
            None => F80::ZERO,
        };
        let sum = old + by;
        if !sum.is_finite() {
            return Err(NAN_OR_INF);
        }
        let mut text = Vec::with_capacity(40);
        sum.push_decimal(&mut text);
        hash.set_with(field, &text, FieldTtl::Keep, &limits);
        Ok((text, hash.view().deadline(field).flatten()))
    })??;
    // The sum as text: whoever reads the log may add floats in another way. HSET takes a deadline away.
    ctx.propagate_as(&[b"HSET", key, field, &sum]);
    if let Some(at_ms) = deadline {
        let mut room = [0; 20];
        let at_ms = num::fmt_i64(at_ms, &mut room);
        let argv: [&[u8]; 6] = [b"HPEXPIREAT", key, at_ms, b"FIELDS", b"1", field];
        ctx.state.prop.also(&argv);
    }
    ctx.modified(key, Event::HINCRBYFLOAT, 1);
    ctx.out.bulk(&sum);
    Ok(Outcome::Done)
}

fn hrandfield(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut rng = Rng::from_seed(ctx.state.rng.next_u64());
    if ctx.argc() == 2 {
        let drawn = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?
            .and_then(|hash| hash.random(&mut rng));
        vals::reply(ctx.out, drawn.map(|(field, _)| field));
        return Ok(Outcome::Done);
    }

    let count = num::parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(COUNT_RANGE);
    }
    let with_values = match ctx.argc() {
        3 => false,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(SYNTAX),
    };
    if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(COUNT_TOO_LARGE);
    }
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| COUNT_TOO_LARGE)?;

    let Some(hash) = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let mut reply = RandomReply {
        out: ctx.out,
        with_values,
    };
    if count >= 0 {
        reply.start(wanted.min(hash.live_len()));
        draw::different(hash, wanted, &mut rng, |pair| reply.add(pair));
    } else {
        reply.start(wanted);
        draw::repeatedly(hash, wanted, &mut rng, |pair| reply.add(pair));
    }
    Ok(Outcome::Done)
}

/// The form of HRANDFIELD's replies: with values RESP3 has pairs, RESP2 a flat array.
struct RandomReply<'a> {
    out: &'a mut Writer,
    with_values: bool,
}

impl RandomReply<'_> {
    fn start(&mut self, count: usize) {
        let flat = self.with_values && !self.out.resp3;
        self.out.array(if flat { 2 * count } else { count });
    }

    fn add(&mut self, (field, value): FieldValue<'_>) -> ControlFlow<()> {
        if self.with_values && self.out.resp3 {
            self.out.array(2);
        }
        vals::reply(self.out, Some(field));
        if self.with_values {
            vals::reply(self.out, Some(value));
        }
        vals::go_on(self.out)
    }
}

impl<'a> draw::Pool for HashRef<'a> {
    type Item = FieldValue<'a>;
    type Id = Val<'a>;

    fn size(self) -> usize {
        self.live_len()
    }

    fn elements(self) -> impl Iterator<Item = FieldValue<'a>> {
        self.iter()
    }

    fn random(self, rng: &mut Rng) -> Option<FieldValue<'a>> {
        HashRef::random(self, rng)
    }

    fn walks(self) -> bool {
        matches!(self, HashRef::Pack(_))
    }

    fn id((field, _): FieldValue<'a>) -> Val<'a> {
        field
    }
}

fn hscan(ctx: &mut Ctx<'_>) -> CmdResult {
    let cursor = scan::parse_cursor(ctx.arg(2))?;
    let argv = ctx.argv;
    // As in Redis an absent key is answered before the options are looked at.
    let Some(hash) = read(ctx.state, (ctx.db, ctx.mode), argv.get(1))? else {
        scan::reply_head(ctx.out, 0);
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let options = ScanOptions::parse_with(argv.from(3), false, Some("novalues"))?;
    let mut found: Vec<FieldValue<'_>> = Vec::new();
    let next = scan::run(cursor, options.count, |cursor, seen| {
        hash.scan(cursor, |field, value| {
            *seen += 1;
            if options.matches(field.text(&mut [0; 20])) {
                found.push((field, value));
            }
        })
    });
    scan::reply_head(ctx.out, next);
    let parts = if options.bare { 1 } else { 2 };
    ctx.out.array(parts * found.len());
    for (field, value) in found {
        vals::reply(ctx.out, Some(field));
        if !options.bare {
            vals::reply(ctx.out, Some(value));
        }
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests;
