//! Numbers: INCR and its kin, INCRBYFLOAT.
use super::insert;
use crate::base::f80::F80;
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NAN_OR_INF, NOT_FLOAT, NOT_INTEGER, OVERFLOW};
use crate::keyspace::{NewValue, Ttl};
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::string::StrRef;

const NEGATION_OVERFLOW: CmdError = CmdError::new("ERR decrement would overflow");

/// Adds to the integer at a key; an absent one counts as 0.
#[inline]
fn increment(ctx: &mut Ctx<'_>, key: &[u8], by: i64) -> CmdResult {
    let db = ctx.db;
    let Some(slot) = ctx.write_kind(key, Kind::String)? else {
        insert(ctx, key, NewValue::Int(by), None);
        ctx.modified(key, Event::INCRBY, 1);
        return ctx.int(by);
    };
    let old = ctx.state.dbs[db].entry(slot).string()?.as_int();
    let sum = old.ok_or(NOT_INTEGER)?.checked_add(by).ok_or(OVERFLOW)?;
    ctx.state.dbs[db].set_int(slot, sum);
    ctx.modified(key, Event::INCRBY, 1);
    ctx.int(sum)
}

pub(super) fn incr(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    increment(ctx, key, 1)
}

pub(super) fn decr(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    increment(ctx, key, -1)
}

pub(super) fn incrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let by = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    increment(ctx, key, by)
}

pub(super) fn decrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let by = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    increment(ctx, key, by.checked_neg().ok_or(NEGATION_OVERFLOW)?)
}

pub(super) fn incrbyfloat(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let slot = ctx.write_kind(key, Kind::String)?;
    let old = match slot {
        None => F80::from_i64(0),
        Some(slot) => match ctx.state.dbs[db].entry(slot).string()? {
            StrRef::Int(n) => F80::from_i64(n),
            text => F80::parse(text.bytes(&mut [0; 20])).ok_or(NOT_FLOAT)?,
        },
    };
    let sum = old + F80::parse(ctx.arg(2)).ok_or(NOT_FLOAT)?;
    if !sum.is_finite() {
        return Err(NAN_OR_INF);
    }
    let mut text = Vec::new();
    sum.push_decimal(&mut text);
    // As bytes even where it is a whole number: OBJECT ENCODING tells.
    let value = NewValue::Bytes(&text);
    match slot {
        Some(slot) => ctx.state.dbs[db].set(slot, value, Ttl::Keep),
        None => insert(ctx, key, value, None),
    }
    ctx.modified(key, Event::INCRBYFLOAT, 1);
    // Another machine might add otherwise.
    ctx.propagate_as(&[b"SET", key, &text, b"KEEPTTL"]);
    ctx.out.bulk(&text);
    Ok(Outcome::Done)
}
