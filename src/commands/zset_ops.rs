//! Sorted sets combined: ZUNION, ZINTER, ZDIFF, their storing forms, and ZINTERCARD.
//!
//! Sources are looked up first, each like any key that is read; then the members are combined while they are
//! borrowed (`combine`), and only then the result is written to the reply or to its key.

pub mod combine;

use self::combine::{Aggregate, Members, Scored, Source};
use crate::base::num;
use crate::commands::zset;
use crate::ds::table::Slot;
use crate::exec::command::{CmdResult, Command, KeySpec, Outcome, acl, cmd, flag, key_flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, WRONG_TYPE};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::{Kind, ValueRef};

use acl::NONE;
use flag::{DENYOOM, READONLY, WRITE};
use key_flag::{ACCESS, OW, RO, UPDATE};

const WEIGHT_NOT_FLOAT: CmdError = CmdError::new("ERR weight value is not a float");
const LIMIT_NEGATIVE: CmdError = CmdError::new("ERR LIMIT can't be negative");

const SOURCES: &[KeySpec] = &[KeySpec::numkeys(RO | ACCESS, 1)];
const TARGET_AND_SOURCES: &[KeySpec] = &[
    KeySpec::range(OW | UPDATE, 1, 1, 1),
    KeySpec::numkeys(RO | ACCESS, 2),
];

const COMMANDS: &[Command] = &[
    cmd("zunion", -3, READONLY, NONE, SOURCES, zunion),
    cmd("zinter", -3, READONLY, NONE, SOURCES, zinter),
    cmd("zdiff", -3, READONLY, NONE, SOURCES, zdiff),
    cmd("zintercard", -3, READONLY, NONE, SOURCES, zintercard),
    cmd(
        "zunionstore",
        -4,
        WRITE | DENYOOM,
        NONE,
        TARGET_AND_SOURCES,
        zunionstore,
    ),
    cmd(
        "zinterstore",
        -4,
        WRITE | DENYOOM,
        NONE,
        TARGET_AND_SOURCES,
        zinterstore,
    ),
    cmd(
        "zdiffstore",
        -4,
        WRITE | DENYOOM,
        NONE,
        TARGET_AND_SOURCES,
        zdiffstore,
    ),
];

/// What combines sorted sets.
pub static FAMILY: Family = Family {
    group: "sorted-set",
    acl: acl::SORTEDSET,
    commands: COMMANDS,
};

/// How sources are combined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
    /// Counts what ZINTER would reply.
    InterCard,
}

/// A request, read.
struct Request {
    operation: Operation,
    /// Where the sources are; none for an absent one.
    sources: Vec<Option<Slot>>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: u64,
}

impl Request {
    /// Reads the request, whose number of keys is argument `at`. The sources are looked up on the way:
    /// Redis looks at their types before it looks at the options.
    fn read(ctx: &mut Ctx<'_>, operation: Operation, at: usize) -> Result<Request, CmdError> {
        let count = num::parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER)?;
        if count < 1 {
            let name = ctx.table.name(ctx.id);
            return Err(CmdError::owned(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let given = ctx.argc() - at - 1;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > given {
            return Err(SYNTAX);
        }

        let mut request = Request {
            operation,
            sources: Vec::with_capacity(count),
            weights: Vec::new(),
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let (db, keys) = (ctx.db, ctx.argv.from(at + 1).first(count));
        let before = ctx.state.dbs[db].len();
        for key in keys.iter() {
            let slot = ctx.state.lookup_read_slot(db, key);
            let kind = slot.map(|slot| ctx.state.dbs[db].entry(slot).kind());
            if !matches!(kind, None | Some(Kind::Zset | Kind::Set)) {
                return Err(WRONG_TYPE);
            }
            request.sources.push(slot);
        }
        if ctx.state.dbs[db].len() != before {
            // Dead keys went on the way, and those found before them may have moved.
            for (slot, key) in request.sources.iter_mut().zip(keys.iter()) {
                *slot = slot.and_then(|_| ctx.state.dbs.find(db, key));
            }
        }
        request.read_options(ctx, at + 1 + count, at > 1)?;
        Ok(request)
    }

    fn read_options(&mut self, ctx: &Ctx<'_>, from: usize, stores: bool) -> Result<(), CmdError> {
        let (mut at, argc) = (from, ctx.argc());
        let scored = matches!(self.operation, Operation::Union | Operation::Inter);
        let counts = self.operation == Operation::InterCard;
        while at < argc {
            let is = |word: &[u8]| ctx.arg(at).eq_ignore_ascii_case(word);
            let left = argc - at - 1;
            if scored && is(b"weights") && left >= self.sources.len() {
                let texts = ctx.argv.from(at + 1).first(self.sources.len());
                let weights = texts.iter().map(num::parse_f64);
                self.weights = weights.collect::<Option<_>>().ok_or(WEIGHT_NOT_FLOAT)?;
                at += self.sources.len();
            } else if scored && is(b"aggregate") && left > 0 {
                self.aggregate = match ctx.arg(at + 1) {
                    word if word.eq_ignore_ascii_case(b"sum") => Aggregate::Sum,
                    word if word.eq_ignore_ascii_case(b"min") => Aggregate::Min,
                    word if word.eq_ignore_ascii_case(b"max") => Aggregate::Max,
                    _ => return Err(SYNTAX),
                };
                at += 1;
            } else if !stores && !counts && is(b"withscores") {
                self.with_scores = true;
            } else if counts && is(b"limit") && left > 0 {
                let limit = num::parse_i64(ctx.arg(at + 1)).ok_or(LIMIT_NEGATIVE)?;
                self.limit = u64::try_from(limit).map_err(|_| LIMIT_NEGATIVE)?;
                at += 1;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(())
    }

    /// The sources as they lie in the keyspace.
    fn open<'s>(&self, state: &'s State, db: usize) -> Vec<Source<'s>> {
        let members = |slot: Slot| match state.dbs[db].entry(slot).value() {
            ValueRef::Set(set) => Members::Set(set),
            ValueRef::Zset(zset) => Members::Zset(zset),
            _ => Members::None,
        };
        let source = |(at, slot): (usize, &Option<Slot>)| Source {
            members: slot.map_or(Members::None, members),
            weight: self.weights.get(at).copied().unwrap_or(1.0),
        };
        self.sources.iter().enumerate().map(source).collect()
    }

    /// The members of the result, in no order.
    fn combine<'s>(&self, state: &'s State, db: usize) -> Vec<Scored<'s>> {
        let (sources, hash_key) = (self.open(state, db), state.dbs.hash_key());
        match self.operation {
            Operation::Union => combine::union(sources, self.aggregate, hash_key),
            Operation::Inter | Operation::InterCard => combine::inter(sources, self.aggregate),
            Operation::Diff => combine::diff(&sources, hash_key),
        }
    }
}

fn zunion(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Union)
}

fn zinter(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Inter)
}

fn zdiff(ctx: &mut Ctx<'_>) -> CmdResult {
    reply(ctx, Operation::Diff)
}

/// ZUNION and the like.
fn reply(ctx: &mut Ctx<'_>, operation: Operation) -> CmdResult {
    let request = Request::read(ctx, operation, 1)?;
    let mut members = request.combine(ctx.state, ctx.db);
    combine::sort(&mut members);
    zset::reply_head(ctx.out, members.len(), request.with_scores);
    for Scored { member, score } in members {
        zset::reply_member(ctx.out, (member, score), request.with_scores);
    }
    Ok(Outcome::Done)
}

fn zintercard(ctx: &mut Ctx<'_>) -> CmdResult {
    let request = Request::read(ctx, Operation::InterCard, 1)?;
    let count = combine::inter_count(request.open(ctx.state, ctx.db), request.limit);
    ctx.int(count.cast_signed())
}

fn zunionstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Union, Event::ZUNIONSTORE)
}

fn zinterstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Inter, Event::ZINTERSTORE)
}

fn zdiffstore(ctx: &mut Ctx<'_>) -> CmdResult {
    store(ctx, Operation::Diff, Event::ZDIFFSTORE)
}

/// ZUNIONSTORE and the like.
fn store(ctx: &mut Ctx<'_>, operation: Operation, event: Event) -> CmdResult {
    let request = Request::read(ctx, operation, 2)?;
    let members = request.combine(ctx.state, ctx.db);
    let count = members.len();
    let result = combine::build(members, &zset::limits(ctx.state));
    ctx.store(ctx.arg(1), result, event, 1);
    ctx.int(count as i64)
}

#[cfg(test)]
mod tests;
