//! Lists: the rows, and what changes a list without waiting: LPUSH and its kin.
//!
//! Reading is in `read`, moving elements between lists in `transfer`, waiting for elements in
//! `blocking`. [`take`] is the one way in which an element leaves by an end, whoever asks for it.
mod blocking;
mod read;
#[cfg(test)]
mod tests;
mod transfer;

use crate::base::num::parse_i64;
use crate::commands::vals;
use crate::ds::listpack::{Side, Val};
use crate::ds::table::Slot;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RO_META, KEY1_RW_DELETE, KEY1_RW_INSERT, KEY1_RW_UPDATE,
    KeySpec, Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{
    CmdError, NO_SUCH_KEY, NOT_INTEGER, NOT_POSITIVE, OUT_OF_RANGE, SYNTAX, wrong_arity,
};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::Collection;
use crate::types::list::{End, Fill, Limits, List};

use acl::NONE;
use flag::{BLOCKING, DENYOOM, FAST, NOSCRIPT, READONLY, WRITE};
use key_flag as k;

const TAKEN: u32 = k::RW | k::ACCESS | k::DELETE;
const POP_KEYS: &[KeySpec] = &[KeySpec::range(TAKEN, 1, 1, 1)];
const MOVE_KEYS: &[KeySpec] = &[
    KeySpec::range(TAKEN, 1, 1, 1),
    KeySpec::range(k::RW | k::INSERT, 2, 2, 1),
];
const LMPOP_KEYS: &[KeySpec] = &[KeySpec::numkeys(TAKEN, 1)];
const BLMPOP_KEYS: &[KeySpec] = &[KeySpec::numkeys(TAKEN, 2)];
const BPOP_KEYS: &[KeySpec] = &[KeySpec::range(TAKEN, 1, -2, 1)];

const GROWS: u32 = WRITE | DENYOOM;
const GROWS_FAST: u32 = GROWS | FAST;
const WAITS: u32 = WRITE | NOSCRIPT | BLOCKING;

const COMMANDS: &[Command] = &[
    cmd("lpush", -3, GROWS_FAST, NONE, KEY1_RW_INSERT, lpush),
    cmd("rpush", -3, GROWS_FAST, NONE, KEY1_RW_INSERT, rpush),
    cmd("lpushx", -3, GROWS_FAST, NONE, KEY1_RW_INSERT, lpushx),
    cmd("rpushx", -3, GROWS_FAST, NONE, KEY1_RW_INSERT, rpushx),
    cmd("lpop", -2, WRITE | FAST, NONE, POP_KEYS, lpop),
    cmd("rpop", -2, WRITE | FAST, NONE, POP_KEYS, rpop),
    cmd("llen", 2, READONLY | FAST, NONE, KEY1_RO_META, read::llen),
    cmd("lindex", 3, READONLY, NONE, KEY1_RO, read::lindex),
    cmd("lrange", 4, READONLY, NONE, KEY1_RO, read::lrange),
    cmd("lpos", -3, READONLY, NONE, KEY1_RO, read::lpos),
    cmd("linsert", 5, GROWS, NONE, KEY1_RW_INSERT, linsert),
    cmd("lset", 4, GROWS, NONE, KEY1_RW_UPDATE, lset),
    cmd("lrem", 4, WRITE, NONE, KEY1_RW_DELETE, lrem),
    cmd("ltrim", 4, WRITE, NONE, KEY1_RW_DELETE, ltrim),
    cmd("lmove", 5, GROWS, NONE, MOVE_KEYS, transfer::lmove),
    cmd("rpoplpush", 3, GROWS, NONE, MOVE_KEYS, transfer::rpoplpush),
    cmd("lmpop", -4, WRITE, NONE, LMPOP_KEYS, transfer::lmpop),
    cmd("blpop", -3, WAITS, NONE, BPOP_KEYS, blocking::blpop),
    cmd("brpop", -3, WAITS, NONE, BPOP_KEYS, blocking::brpop),
    cmd(
        "blmove",
        6,
        WAITS | DENYOOM,
        NONE,
        MOVE_KEYS,
        blocking::blmove,
    ),
    cmd(
        "brpoplpush",
        4,
        WAITS | DENYOOM,
        NONE,
        MOVE_KEYS,
        blocking::brpoplpush,
    ),
    cmd(
        "blmpop",
        -5,
        WRITE | BLOCKING,
        NONE,
        BLMPOP_KEYS,
        blocking::blmpop,
    ),
];

/// Lists.
pub static FAMILY: Family = Family {
    group: "list",
    acl: acl::LIST,
    commands: COMMANDS,
};

/// The limits in force.
#[inline]
pub fn limits(state: &State) -> Limits {
    Limits {
        fill: Fill::new(state.config.list_max_listpack_size),
        depth: state.config.list_compress_depth,
        huge: state.debug.quicklist_packed_threshold,
    }
}

/// What is done to an end, as keyspace events tell it.
#[inline]
fn pushed(end: End) -> Event {
    match end {
        End::Front => Event::LPUSH,
        End::Back => Event::RPUSH,
    }
}

#[inline]
fn popped(end: End) -> Event {
    match end {
        End::Front => Event::LPOP,
        End::Back => Event::RPOP,
    }
}

/// LEFT or RIGHT.
fn end_of(word: &[u8]) -> Result<End, CmdError> {
    if word.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if word.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(SYNTAX)
    }
}

/// Adds all values of the request; an absent list is made unless it has to `exist`.
#[inline]
fn push(ctx: &mut Ctx<'_>, end: End, exist: bool) -> CmdResult {
    let (key, values) = (ctx.arg(1), ctx.argv.from(2));
    let limits = limits(ctx.state);
    let add = |list: &mut List| {
        if let List::Pack(_) = list {
            let bytes = values.iter().map(<[u8]>::len).sum();
            list.expect(bytes, values.len(), &limits);
        }
        values
            .iter()
            .for_each(|value| list.push(end, Val::of(value), &limits));
        list.view().len()
    };
    let len = match ctx.write(key) {
        Some(slot) => ctx.state.dbs[ctx.db].update::<List, _>(slot, add)?.1,
        None if exist => return ctx.int(0),
        None => {
            let (_, len) = ctx.state.dbs.create::<List, _>(ctx.db, key, add);
            ctx.state.notify(ctx.db, key, Event::NEW);
            len
        }
    };
    ctx.modified(key, pushed(end), values.len());
    ctx.int(len as i64)
}

fn lpush(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, End::Front, false)
}

fn rpush(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, End::Back, false)
}

fn lpushx(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, End::Front, true)
}

fn rpushx(ctx: &mut Ctx<'_>) -> CmdResult {
    push(ctx, End::Back, true)
}

/// How a reply shows what [`take`] took.
#[derive(Clone, Copy)]
enum Shown {
    /// One element by itself.
    Element,
    /// One element behind its key.
    KeyAndElement,
    /// An array of so many elements at most.
    Array(usize),
    /// The same behind its key.
    KeyAndArray(usize),
}

/// Takes elements away at an end and replies them. How many there were.
#[inline]
fn take(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    slot: Slot,
    end: End,
    shown: Shown,
) -> Result<usize, CmdError> {
    let limits = limits(ctx.state);
    let out = &mut *ctx.out;
    let (left, taken) = ctx.state.dbs[ctx.db].update::<List, usize>(slot, |list| {
        if let Shown::KeyAndElement | Shown::KeyAndArray(_) = shown {
            out.array(2);
            out.bulk(key);
        }
        let taken = match shown {
            Shown::Element | Shown::KeyAndElement => {
                list.pop(end, |val| vals::reply(out, Some(val)));
                1
            }
            Shown::Array(count) | Shown::KeyAndArray(count) => {
                let len = list.view().len();
                let count = count.min(len);
                out.array(count);
                match end {
                    End::Front => {
                        let show = |val: Val<'_>| vals::reply(out, Some(val));
                        list.view().each(0, count, show);
                        list.remove_range(0, count);
                    }
                    End::Back => {
                        let mut left = count;
                        list.view().visit(End::Back, |val| {
                            if left > 0 {
                                vals::reply(out, Some(val));
                                left -= 1;
                            }
                            left > 0
                        });
                        list.remove_range(len - count, count);
                    }
                }
                count
            }
        };
        list.shrunk(&limits);
        taken
    })?;
    ctx.modified(key, popped(end), taken);
    if left.is_none() {
        ctx.state.notify(ctx.db, key, Event::DEL);
    }
    Ok(taken)
}

#[inline]
fn pop(ctx: &mut Ctx<'_>, end: End, name: &str) -> CmdResult {
    let key = ctx.arg(1);
    let count = match ctx.argc() {
        2 => None,
        3 => {
            let count = parse_i64(ctx.arg(2)).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(NOT_POSITIVE)?)
        }
        _ => return Err(wrong_arity(name)),
    };
    let Some(slot) = ctx.write(key) else {
        match count {
            None => ctx.out.null(),
            Some(_) => ctx.out.null_array(),
        }
        return Ok(Outcome::Done);
    };
    match count {
        None => _ = take(ctx, key, slot, end, Shown::Element)?,
        Some(0) => {
            ctx.state.dbs[ctx.db].entry(slot).get::<List>()?;
            ctx.out.empty_array();
        }
        Some(count) => _ = take(ctx, key, slot, end, Shown::Array(count))?,
    }
    Ok(Outcome::Done)
}

fn lpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, End::Front, "lpop")
}

fn rpop(ctx: &mut Ctx<'_>) -> CmdResult {
    pop(ctx, End::Back, "rpop")
}

fn linsert(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, word, pivot, value) = (ctx.arg(1), ctx.arg(2), ctx.arg(3), ctx.arg(4));
    let side = if word.eq_ignore_ascii_case(b"before") {
        Side::Before
    } else if word.eq_ignore_ascii_case(b"after") {
        Side::After
    } else {
        return Err(SYNTAX);
    };
    let limits = limits(ctx.state);
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let (_, len) = ctx.state.dbs[ctx.db].update::<List, _>(slot, |list| {
        // As in Redis also when the pivot is not found.
        list.expect(value.len(), 1, &limits);
        let put = list.insert(pivot, side, value, &limits);
        put.then(|| list.view().len() as i64)
    })?;
    if len.is_some() {
        ctx.modified(key, Event::LINSERT, 1);
    }
    ctx.int(len.unwrap_or(-1))
}

fn lset(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, value) = (ctx.arg(1), ctx.arg(3));
    let limits = limits(ctx.state);
    let slot = ctx.write(key).ok_or(NO_SUCH_KEY)?;
    ctx.state.dbs[ctx.db].entry(slot).get::<List>()?;
    let index = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let (_, set) = ctx.state.dbs[ctx.db].update::<List, _>(slot, |list| {
        list.expect(value.len(), 1, &limits);
        let at = list.view().number(index);
        let set = at.is_some_and(|at| list.set(at, value, &limits));
        if set {
            list.shrunk(&limits);
        }
        set
    })?;
    if !set {
        return Err(OUT_OF_RANGE);
    }
    ctx.modified(key, Event::LSET, 1);
    ctx.ok()
}

/// After elements went from within: the key may have gone with them.
fn removed(ctx: &mut Ctx<'_>, key: &[u8], left: Option<Slot>, event: Event, count: usize) {
    ctx.modified(key, event, count);
    if left.is_none() {
        ctx.state.notify(ctx.db, key, Event::DEL);
    }
}

fn lrem(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, text) = (ctx.arg(1), ctx.arg(3));
    let count = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let from = if count < 0 { End::Back } else { End::Front };
    let max = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(max) => max,
    };
    let limits = limits(ctx.state);
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let (left, gone) = ctx.state.dbs[ctx.db].update::<List, usize>(slot, |list| {
        let gone = list.remove_equal(text, max, from);
        if gone > 0 {
            list.shrunk(&limits);
        }
        gone
    })?;
    if gone > 0 {
        removed(ctx, key, left, Event::LREM, gone);
    }
    ctx.int(gone as i64)
}

/// The elements that a client means by a first and a last index, as number and count.
fn range(start: i64, end: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index + len } else { index };
    let start = from_end(start).max(0);
    let end = from_end(end).min(len - 1);
    if start > end {
        return (0, 0);
    }
    (start as usize, (end - start + 1) as usize)
}

/// Two indexes of a request.
fn range_arguments(ctx: &Ctx<'_>) -> Result<(i64, i64), CmdError> {
    let start = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let end = parse_i64(ctx.arg(3)).ok_or(NOT_INTEGER)?;
    Ok((start, end))
}

fn ltrim(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let (start, end) = range_arguments(ctx)?;
    let limits = limits(ctx.state);
    let Some(slot) = ctx.write(key) else {
        return ctx.ok();
    };
    let (left, gone) = ctx.state.dbs[ctx.db].update::<List, usize>(slot, |list| {
        let len = list.view().len();
        let (from, count) = range(start, end, len);
        list.remove_range(from + count, usize::MAX);
        list.remove_range(0, from);
        list.shrunk(&limits);
        len - count
    })?;
    removed(ctx, key, left, Event::LTRIM, gone);
    ctx.ok()
}
