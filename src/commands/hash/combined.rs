//! Two steps in one: HGETDEL (values out, fields gone), HGETEX (values out, deadlines changed), HSETEX
//! (values in with their deadline).
//!
//! As Redis 8 defines them; HSETEX takes Valkey's NX and XX, too, which ask about the key. The log gets what
//! came of them: HDEL, HPEXPIREAT, HPERSIST, HSET, or HSETEX with a moment for a span.

use crate::base::num::{fmt_i64, parse_i64};
use crate::commands::vals;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX, shown, wrong_arity};
use crate::resp::request::Argv;
use crate::state::notify::Event;
use crate::types::Collection;
use crate::types::hash::{FieldTtl, Hash};

use super::access::{edit_at, limits, write};
use super::expiry::{Change, check_type, deadline, fields_to_read, finish};

const COUNT: CmdError = CmdError::new("ERR invalid number of fields");
const NO_TIME: CmdError = CmdError::new("ERR missing expire time");
const TWO_CONDITIONS: CmdError =
    CmdError::new("ERR Only one of FXX or FNX arguments can be specified");
const TWO_DEADLINES: CmdError =
    CmdError::new("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");

/// The unit, in ms, and the base of a deadline option; `None` for other words.
fn deadline_option(word: &[u8], now_ms: i64) -> Option<(i64, i64)> {
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    Some(match () {
        () if is(b"ex") => (1000, now_ms),
        () if is(b"px") => (1, now_ms),
        () if is(b"exat") => (1000, 0),
        () if is(b"pxat") => (1, 0),
        () => return None,
    })
}

pub(super) fn hgetdel(ctx: &mut Ctx<'_>) -> CmdResult {
    check_type(ctx)?;
    let names = fields_to_read(ctx.argv, 2)?;
    get_and_change(ctx, names, 4, Some(Change::Delete))
}

pub(super) fn hgetex(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    check_type(ctx)?;
    let (mut at, mut change) = (2, None);
    if let Some((unit_ms, base_ms)) = deadline_option(argv.get(2), ctx.state.clock.unix_ms) {
        let at_ms = deadline(argv.get(3), unit_ms, base_ms, "hgetex")?;
        at = 4;
        change = Some(if ctx.ends_at_once(at_ms) {
            Change::Delete
        } else {
            Change::Expire(at_ms)
        });
    } else if argv.get(2).eq_ignore_ascii_case(b"persist") {
        (at, change) = (3, Some(Change::Persist));
    }
    let names = fields_to_read(argv, at)?;
    get_and_change(ctx, names, at + 2, change)
}

/// Answers the values of fields, which begin at argument `first`, and does to those that are there what was
/// asked for.
fn get_and_change(
    ctx: &mut Ctx<'_>,
    names: Argv<'_>,
    first: usize,
    change: Option<Change>,
) -> CmdResult {
    let slot = write(ctx, (first, 1))?;
    ctx.out.array(names.len());
    let Some(slot) = slot else {
        names.iter().for_each(|_| ctx.out.null());
        return Ok(Outcome::Done);
    };
    let Some(change) = change else {
        let hash = ctx.state.dbs[ctx.db].entry(slot).get::<Hash>()?;
        for field in names.iter() {
            vals::reply(ctx.out, hash.get(field));
        }
        return Ok(Outcome::Done);
    };

    let limits = limits(ctx.state);
    let mut changed = Vec::new();
    let (db, out) = (&mut ctx.state.dbs[ctx.db], &mut *ctx.out);
    db.update::<Hash, ()>(slot, |hash| {
        for field in names.iter() {
            vals::reply(out, hash.view().get(field));
            let did = match change {
                Change::Delete => hash.delete(field),
                Change::Expire(at_ms) => hash.set_deadline(field, Some(at_ms), &limits),
                Change::Persist => {
                    hash.view().deadline(field).flatten().is_some()
                        && hash.set_deadline(field, None, &limits)
                }
            };
            if did {
                changed.push(field);
            }
        }
    })?;
    finish(ctx, change, &changed);
    Ok(Outcome::Done)
}

/// HSETEX's options, understood.
#[derive(Default)]
struct Options {
    /// NX or XX: whether the key must be there.
    key_there: Option<bool>,
    /// FNX or FXX: whether all of the fields must be there, or none of them.
    fields_there: Option<bool>,
    keep: bool,
    at_ms: Option<i64>,
    /// Where the first field is.
    first: usize,
}

impl Options {
    fn parse(argv: Argv<'_>, now_ms: i64) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = 2;
        while at < argv.len() {
            let word = argv.get(at);
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            at += 1;
            if is(b"fields") {
                let count = (at < argv.len()).then(|| parse_i64(argv.get(at))).flatten();
                let count = count.filter(|count| *count > 0).ok_or(COUNT)?;
                options.first = at + 1;
                let pairs = (argv.len() - options.first) as u64;
                if count.unsigned_abs().checked_mul(2) != Some(pairs) {
                    return Err(wrong_arity("hsetex"));
                }
                return Ok(options);
            }
            let expiry = deadline_option(word, now_ms);
            if expiry.is_some() || is(b"keepttl") {
                if options.keep || options.at_ms.is_some() {
                    return Err(TWO_DEADLINES);
                }
                options.keep = expiry.is_none();
            }
            if let Some((unit_ms, base_ms)) = expiry {
                if at == argv.len() {
                    return Err(NO_TIME);
                }
                options.at_ms = Some(deadline(argv.get(at), unit_ms, base_ms, "hsetex")?);
                at += 1;
            } else if is(b"fnx") || is(b"fxx") {
                if options.fields_there.replace(is(b"fxx")).is_some() {
                    return Err(TWO_CONDITIONS);
                }
            } else if is(b"nx") || is(b"xx") {
                if options.key_there.replace(is(b"xx")).is_some() {
                    return Err(SYNTAX);
                }
            } else if !is(b"keepttl") {
                let word = shown(word, usize::MAX);
                return Err(CmdError::showing("ERR unknown argument: ", word, ""));
            }
        }
        Err(SYNTAX)
    }
}

pub(super) fn hsetex(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    let options = Options::parse(argv, ctx.state.clock.unix_ms)?;
    let key = ctx.arg(1);
    let pairs = argv.from(options.first);
    let names = || (0..pairs.len()).step_by(2).map(|at| pairs.get(at));

    let slot = write(ctx, (options.first, 2))?;
    let hash = match slot {
        Some(slot) => Some(ctx.state.dbs[ctx.db].entry(slot).get::<Hash>()?),
        None => None,
    };
    let there = |field: &[u8]| hash.is_some_and(|hash| hash.exists(field));
    let key_fits = options
        .key_there
        .is_none_or(|wanted| wanted == slot.is_some());
    let fields_fit = options
        .fields_there
        .is_none_or(|wanted| names().all(|field| there(field) == wanted));
    if !key_fits || !fields_fit {
        return ctx.int(0);
    }

    if options.at_ms.is_some_and(|at_ms| ctx.ends_at_once(at_ms)) {
        let mut gone = Vec::new();
        if let Some(slot) = slot {
            ctx.state.dbs[ctx.db].update::<Hash, ()>(slot, |hash| {
                gone.extend(names().filter(|field| hash.delete(field)));
            })?;
        }
        // Set and gone at once, as Redis tells it.
        ctx.state.notify(ctx.db, key, Event::HSET);
        if gone.is_empty() {
            ctx.state.notify(ctx.db, key, Event::HDEL);
        }
        finish(ctx, Change::Delete, &gone);
        return ctx.int(1);
    }

    let (count, limits) = (pairs.len() / 2, limits(ctx.state));
    let ttl = match options.at_ms {
        Some(at_ms) => FieldTtl::At(at_ms),
        None if options.keep => FieldTtl::Keep,
        None => FieldTtl::Clear,
    };
    edit_at(ctx, slot, |hash| {
        hash.expect_fields(count, &limits);
        for at in (0..pairs.len()).step_by(2) {
            hash.set_with(pairs.get(at), pairs.get(at + 1), ttl, &limits);
        }
    })?;

    let (mut time, mut number) = ([0; 20], [0; 20]);
    let number = fmt_i64(count as i64, &mut number);
    let mut log: Vec<&[u8]> = match ttl {
        FieldTtl::Clear => vec![b"HSET", key],
        FieldTtl::Keep => vec![b"HSETEX", key, b"KEEPTTL", b"FIELDS", number],
        FieldTtl::At(at_ms) => {
            let time = fmt_i64(at_ms, &mut time);
            vec![b"HSETEX", key, b"PXAT", time, b"FIELDS", number]
        }
    };
    log.extend(pairs.iter());
    ctx.propagate_as(&log);
    ctx.modified(key, Event::HSET, count);
    if options.at_ms.is_some() {
        ctx.state.notify(ctx.db, key, Event::HEXPIRE);
    }
    ctx.int(1)
}
