//! Deadlines of fields: HEXPIRE and its kin, HTTL and its kin, HPERSIST.
//!
//! As Redis 7.4 defines them. In the log a deadline is a moment, not a span, and stands for the fields that
//! it was given; fields whose deadline lies in the past are deleted there as here.

use crate::base::num::{fmt_i64, parse_i64};
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, invalid_expire};
use crate::resp::request::Argv;
use crate::state::notify::Event;
use crate::types::hash::Hash;
use crate::types::{Collection, Kind};

use super::access::{limits, read, write};

/// The latest deadline (unix ms): Redis has 46 bits for it.
const DEADLINE_MAX_MS: i64 = (1 << 46) - 1;

const NEGATIVE: CmdError = CmdError::new("ERR invalid expire time, must be >= 0");
const NO_FIELDS: CmdError =
    CmdError::new("ERR Mandatory argument FIELDS is missing or not at the right position");
const COUNT_DIFFERS: CmdError =
    CmdError::new("ERR The `numfields` parameter must match the number of arguments");
const COUNT_TO_SET: CmdError = CmdError::new("ERR Parameter `numFields` should be greater than 0");
const COUNT_TO_READ: CmdError = CmdError::new("ERR Number of fields must be a positive integer");

/// What the reply says of a field that is not there.
const ABSENT: i64 = -2;
/// Of one without a deadline.
const NO_DEADLINE: i64 = -1;
/// Of one whose deadline the condition protects.
const REFUSED: i64 = 0;
/// Of one that was given its deadline, or lost it.
const DONE: i64 = 1;
/// Of one that was deleted, because its deadline lies in the past.
const DELETED: i64 = 2;

/// Reads a time in a unit of ms, counted from `base_ms`; `name` is the command's, for its error.
pub(super) fn deadline(
    text: &[u8],
    unit_ms: i64,
    base_ms: i64,
    name: &str,
) -> Result<i64, CmdError> {
    let time = parse_i64(text).ok_or(NOT_INTEGER)?;
    if time < 0 {
        return Err(NEGATIVE);
    }
    time.checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .filter(|at_ms| *at_ms <= DEADLINE_MAX_MS)
        .ok_or_else(|| invalid_expire(name))
}

/// Reads `FIELDS count field...`, which begins at argument `at` and ends the request.
fn fields<'a>(argv: Argv<'a>, at: usize, bad_count: CmdError) -> Result<Argv<'a>, CmdError> {
    if at + 1 >= argv.len() || !argv.get(at).eq_ignore_ascii_case(b"fields") {
        return Err(NO_FIELDS);
    }
    let fields = argv.from(at + 2);
    match parse_i64(argv.get(at + 1)) {
        Some(count) if count > 0 => {
            if count.unsigned_abs() != fields.len() as u64 {
                return Err(COUNT_DIFFERS);
            }
            Ok(fields)
        }
        _ => Err(bad_count),
    }
}

/// The same for commands that only look fields up, or take them away.
pub(super) fn fields_to_read<'a>(argv: Argv<'a>, at: usize) -> Result<Argv<'a>, CmdError> {
    fields(argv, at, COUNT_TO_READ)
}

/// Refuses a key of another type; what else is wrong with the request is told after that.
pub(super) fn check_type(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let key = ctx.arg(1);
    ctx.write_kind(key, Kind::Hash).map(|_| ())
}

/// Which deadlines a new one may replace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    /// NX: only none.
    Absent,
    /// XX: only one that is there.
    Present,
    /// GT: only an earlier one.
    Later,
    /// LT: only a later one; none is later than all.
    Earlier,
}

impl Condition {
    fn of(word: &[u8]) -> Option<Condition> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        Some(match () {
            () if is(b"nx") => Condition::Absent,
            () if is(b"xx") => Condition::Present,
            () if is(b"gt") => Condition::Later,
            () if is(b"lt") => Condition::Earlier,
            () => return None,
        })
    }

    fn allows(self, old: Option<i64>, new: i64) -> bool {
        match self {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
            Condition::Later => old.is_some_and(|old| new > old),
            Condition::Earlier => old.is_none_or(|old| new < old),
        }
    }
}

pub(super) fn hexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadlines(ctx, 1000, ctx.state.clock.unix_ms, "hexpire")
}

pub(super) fn hpexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadlines(ctx, 1, ctx.state.clock.unix_ms, "hpexpire")
}

pub(super) fn hexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadlines(ctx, 1000, 0, "hexpireat")
}

pub(super) fn hpexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadlines(ctx, 1, 0, "hpexpireat")
}

fn set_deadlines(ctx: &mut Ctx<'_>, unit_ms: i64, base_ms: i64, name: &str) -> CmdResult {
    let argv = ctx.argv;
    check_type(ctx)?;
    let at_ms = deadline(argv.get(2), unit_ms, base_ms, name)?;
    let condition = Condition::of(argv.get(3));
    let fields_at = 3 + usize::from(condition.is_some());
    let condition = condition.unwrap_or(Condition::Always);
    let names = fields(argv, fields_at, COUNT_TO_SET)?;

    let (limits, past) = (limits(ctx.state), ctx.ends_at_once(at_ms));
    let codes = change_each(ctx, fields_at + 2, names, |hash, field| {
        let code = match hash.view().deadline(field) {
            None => ABSENT,
            Some(old) if !condition.allows(old, at_ms) => REFUSED,
            Some(_) if past => DELETED,
            Some(_) => DONE,
        };
        match code {
            DELETED => _ = hash.delete(field),
            DONE => _ = hash.set_deadline(field, Some(at_ms), &limits),
            _ => {}
        }
        code
    })?;

    let changed: Vec<&[u8]> = (names.iter().zip(&codes))
        .filter(|(_, code)| **code >= DONE)
        .map(|(field, _)| field)
        .collect();
    let change = if past {
        Change::Delete
    } else {
        Change::Expire(at_ms)
    };
    finish(ctx, change, &changed);
    reply_codes(ctx, codes.into_iter())
}

/// Calls `change` for each of these fields of the request's hash and collects the codes it gives. An absent
/// key has none of the fields.
fn change_each(
    ctx: &mut Ctx<'_>,
    first: usize,
    names: Argv<'_>,
    mut change: impl FnMut(&mut Hash, &[u8]) -> i64,
) -> Result<Vec<i64>, CmdError> {
    let Some(slot) = write(ctx, (first, 1))? else {
        return Ok(vec![ABSENT; names.len()]);
    };
    let db = &mut ctx.state.dbs[ctx.db];
    let edited = db.update::<Hash, Vec<i64>>(slot, |hash| {
        names.iter().map(|field| change(hash, field)).collect()
    });
    Ok(edited?.1)
}

fn reply_codes(ctx: &mut Ctx<'_>, codes: impl ExactSizeIterator<Item = i64>) -> CmdResult {
    ctx.out.array(codes.len());
    codes.for_each(|code| ctx.out.int(code));
    Ok(Outcome::Done)
}

/// What happened to fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// They were given this deadline (unix ms).
    Expire(i64),
    /// They lost their deadlines.
    Persist,
    /// They are gone.
    Delete,
}

/// The epilogue of a change of these fields of the request's key: events, and the log in a form that does
/// not depend on when it is read.
pub(super) fn finish(ctx: &mut Ctx<'_>, change: Change, changed: &[&[u8]]) {
    if changed.is_empty() {
        return;
    }
    let key = ctx.arg(1);
    let (mut time, mut count) = ([0; 20], [0; 20]);
    let count = fmt_i64(changed.len() as i64, &mut count);
    let (event, head): (Event, &[&[u8]]) = match change {
        Change::Delete => (Event::HDEL, &[b"HDEL", key]),
        Change::Persist => (Event::HPERSIST, &[b"HPERSIST", key, b"FIELDS", count]),
        Change::Expire(at_ms) => {
            let time = fmt_i64(at_ms, &mut time);
            (
                Event::HEXPIRE,
                &[b"HPEXPIREAT", key, time, b"FIELDS", count],
            )
        }
    };
    ctx.propagate_as(&[head, changed].concat());
    ctx.modified(key, event, changed.len());
    if change == Change::Delete && ctx.state.dbs.find(ctx.db, key).is_none() {
        ctx.state.notify(ctx.db, key, Event::DEL);
    }
}

pub(super) fn httl(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadlines(ctx, 1000, ctx.state.clock.unix_ms)
}

pub(super) fn hpttl(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadlines(ctx, 1, ctx.state.clock.unix_ms)
}

pub(super) fn hexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadlines(ctx, 1000, 0)
}

pub(super) fn hpexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadlines(ctx, 1, 0)
}

/// Answers deadlines as counted from `base_ms`, in whole units, begun ones included.
fn tell_deadlines(ctx: &mut Ctx<'_>, unit_ms: i64, base_ms: i64) -> CmdResult {
    let hash = read(ctx.state, (ctx.db, ctx.mode), ctx.argv.get(1))?;
    let names = fields_to_read(ctx.argv, 2)?;
    ctx.out.array(names.len());
    for field in names.iter() {
        let code = match hash.and_then(|hash| hash.deadline(field)) {
            None => ABSENT,
            Some(None) => NO_DEADLINE,
            Some(Some(at_ms)) => {
                let left = at_ms.saturating_sub(base_ms).max(0);
                left / unit_ms + i64::from(left % unit_ms > 0)
            }
        };
        ctx.out.int(code);
    }
    Ok(Outcome::Done)
}

pub(super) fn hpersist(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    check_type(ctx)?;
    let names = fields_to_read(argv, 2)?;
    let limits = limits(ctx.state);
    let codes = change_each(ctx, 4, names, |hash, field| {
        match hash.view().deadline(field) {
            None => ABSENT,
            Some(None) => NO_DEADLINE,
            Some(Some(_)) => {
                hash.set_deadline(field, None, &limits);
                DONE
            }
        }
    })?;
    let changed: Vec<&[u8]> = (names.iter().zip(&codes))
        .filter(|(_, code)| **code == DONE)
        .map(|(field, _)| field)
        .collect();
    finish(ctx, Change::Persist, &changed);
    reply_codes(ctx, codes.into_iter())
}
