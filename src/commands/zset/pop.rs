//! Taking members from an end: ZPOPMIN, ZPOPMAX, ZMPOP, and those of them that wait.

use crate::base::num::{fmt_i64, parse_i64};
use crate::commands::vals;
use crate::ds::table::Slot;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_POSITIVE, SYNTAX};
use crate::exec::unit::Wait;
use crate::state::client::TimeoutReply;
use crate::state::notify::Event;
use crate::types::zset::Zset;
use crate::types::{Collection, Kind};

const NUMKEYS: CmdError = CmdError::new("ERR numkeys should be greater than 0");
const COUNT: CmdError = CmdError::new("ERR count should be greater than 0");

/// The end that members are taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> Event {
        match self {
            End::Min => Event::ZPOPMIN,
            End::Max => Event::ZPOPMAX,
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// The form of the reply, before the members.
#[derive(Clone, Copy)]
enum Form {
    /// Member and score, nothing around them.
    Single,
    /// Pairs where there are any in the protocol.
    Many,
    /// The key, then member and score.
    WithKey,
    /// The key, then an array of pairs.
    Nested,
}

/// Takes up to `count` members from an end of the sorted set at `slot`, which are the reply;
/// returns how many.
fn pop(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    slot: Slot,
    end: End,
    count: usize,
    form: Form,
) -> Result<usize, CmdError> {
    let out = &mut *ctx.out;
    let (left, popped) = ctx.state.dbs[ctx.db].update::<Zset, usize>(slot, |zset| {
        let len = zset.view().len();
        let count = count.min(len);
        let ranks = match end {
            End::Min => 0..count,
            End::Max => len - count..len,
        };
        let nested = match form {
            Form::Single => {
                out.array(2);
                false
            }
            Form::WithKey => {
                out.array(3);
                out.bulk(key);
                false
            }
            Form::Many => {
                let pairs = out.resp3;
                out.array(if pairs { count } else { 2 * count });
                pairs
            }
            Form::Nested => {
                out.array(2);
                out.bulk(key);
                out.array(count);
                true
            }
        };
        for (member, score) in zset.view().iter_ranks(ranks.clone(), end == End::Max) {
            if nested {
                out.array(2);
            }
            vals::reply(out, Some(member));
            out.double(score);
        }
        zset.remove_ranks(ranks);
        count
    })?;
    ctx.modified(key, end.event(), popped);
    if left.is_none() {
        ctx.state.notify(ctx.db, key, Event::DEL);
    }
    Ok(popped)
}

pub(super) fn zpopmin(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_one_key(ctx, End::Min)
}

pub(super) fn zpopmax(ctx: &mut Ctx<'_>) -> CmdResult {
    pop_one_key(ctx, End::Max)
}

fn pop_one_key(ctx: &mut Ctx<'_>, end: End) -> CmdResult {
    let key = ctx.arg(1);
    let (count, form) = match ctx.argc() {
        2 => (1, Form::Single),
        3 => {
            let count = parse_i64(ctx.arg(2)).and_then(|count| usize::try_from(count).ok());
            (count.ok_or(NOT_POSITIVE)?, Form::Many)
        }
        _ => return Err(SYNTAX),
    };
    match ctx.write_kind(key, Kind::Zset)? {
        Some(slot) if count > 0 => _ = pop(ctx, key, slot, end, count, form)?,
        _ => ctx.out.empty_array(),
    }
    Ok(Outcome::Done)
}

pub(super) fn bzpopmin(ctx: &mut Ctx<'_>) -> CmdResult {
    wait_and_pop_one(ctx, End::Min)
}

pub(super) fn bzpopmax(ctx: &mut Ctx<'_>) -> CmdResult {
    wait_and_pop_one(ctx, End::Max)
}

fn wait_and_pop_one(ctx: &mut Ctx<'_>, end: End) -> CmdResult {
    let last = ctx.argc() - 1;
    let deadline_ms = ctx.deadline_s(ctx.arg(last))?;
    let keys: Vec<&[u8]> = (1..last).map(|at| ctx.arg(at)).collect();
    for key in &keys {
        if let Some(slot) = ctx.write_kind(key, Kind::Zset)? {
            pop(ctx, key, slot, end, 1, Form::WithKey)?;
            ctx.propagate_as(&[end.command(), key]);
            return Ok(Outcome::Done);
        }
    }
    wait(ctx, &keys, deadline_ms)
}

/// Nothing to take: waits, where that is possible.
fn wait(ctx: &mut Ctx<'_>, keys: &[&[u8]], deadline_ms: u64) -> CmdResult {
    if !ctx.may_block() {
        ctx.out.null_array();
        return Ok(Outcome::Done);
    }
    Ok(ctx.block_on(&Wait {
        keys,
        kind: Kind::Zset,
        wants_absence: false,
        deadline_ms,
        on_timeout: TimeoutReply::NullArray,
    }))
}

/// What ZMPOP and BZMPOP are asked for.
struct Mpop<'a> {
    keys: Vec<&'a [u8]>,
    end: End,
    count: usize,
}

impl<'a> Mpop<'a> {
    /// Reads the arguments from the number of keys, at `at`, on.
    fn parse(ctx: &Ctx<'a>, at: usize) -> Result<Mpop<'a>, CmdError> {
        let positive = |text: &[u8], error: CmdError| match parse_i64(text) {
            Some(n @ 1..) => usize::try_from(n).map_err(|_| error),
            _ => Err(error),
        };
        let (argv, numkeys) = (ctx.argv, positive(ctx.arg(at), NUMKEYS)?);
        let end_at = at.saturating_add(numkeys).saturating_add(1);
        if end_at >= argv.len() {
            return Err(SYNTAX);
        }
        let end = match argv.get(end_at) {
            word if word.eq_ignore_ascii_case(b"min") => End::Min,
            word if word.eq_ignore_ascii_case(b"max") => End::Max,
            _ => return Err(SYNTAX),
        };
        let count = match argv.len() - end_at - 1 {
            0 => 1,
            more if more >= 2 && argv.get(end_at + 1).eq_ignore_ascii_case(b"count") => {
                let count = positive(argv.get(end_at + 2), COUNT)?;
                if more > 2 {
                    return Err(SYNTAX);
                }
                count
            }
            _ => return Err(SYNTAX),
        };
        Ok(Mpop {
            keys: (at + 1..end_at).map(|at| argv.get(at)).collect(),
            end,
            count,
        })
    }

    /// Pops from the first key that holds something; whether there is one.
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, CmdError> {
        for key in &self.keys {
            let Some(slot) = ctx.write_kind(key, Kind::Zset)? else {
                continue;
            };
            let popped = pop(ctx, key, slot, self.end, self.count, Form::Nested)?;
            let popped = fmt_i64(popped as i64, &mut [0; 20]).to_vec();
            ctx.propagate_as(&[self.end.command(), key, &popped]);
            return Ok(true);
        }
        Ok(false)
    }
}

pub(super) fn zmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    if !Mpop::parse(ctx, 1)?.run(ctx)? {
        ctx.out.null_array();
    }
    Ok(Outcome::Done)
}

pub(super) fn bzmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let request = Mpop::parse(ctx, 2)?;
    let deadline_ms = ctx.deadline_s(ctx.arg(1))?;
    if request.run(ctx)? {
        return Ok(Outcome::Done);
    }
    wait(ctx, &request.keys, deadline_ms)
}
