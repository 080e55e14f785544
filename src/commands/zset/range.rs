//! Parts of sorted sets, by rank, score or name: read, counted, stored, removed.

use std::ops::Range;

use super::{limits, read, reply_head, reply_member};
use crate::base::num::{is_c_space, parse_f64_saturating, parse_i64};
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, shown};
use crate::state::notify::Event;
use crate::types::Collection;
use crate::types::zset::{LexEnd, LexRange, ScoreRange, Zset, ZsetRef};

const NOT_SCORES: CmdError = CmdError::new("ERR min or max is not a float");
const NOT_NAMES: CmdError = CmdError::new("ERR min or max not valid string range item");
const LIMIT_BY_RANK: CmdError = CmdError::new(
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
);
const SCORES_BY_LEX: CmdError =
    CmdError::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

/// What a range counts in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// The ends of a range, read.
#[derive(Clone, Copy)]
enum Bounds<'a> {
    /// First and last, negative ones from the end.
    Ranks(i64, i64),
    Scores(ScoreRange),
    Names(LexRange<'a>),
}

/// A score as an end of a range: as C's `strtod` reads it.
fn score_end(text: &[u8]) -> Option<(f64, bool)> {
    let (open, text) = match text {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let text = shown(text, usize::MAX);
    let digits = match text.iter().position(|b| !is_c_space(*b)) {
        Some(start) => &text[start..],
        // Nothing at all is no number, and nothing is left over of it.
        None if text.is_empty() => return Some((0.0, open)),
        None => return None,
    };
    Some((parse_f64_saturating(digits)?, open))
}

fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CmdError> {
    let (min, min_open) = score_end(min).ok_or(NOT_SCORES)?;
    let (max, max_open) = score_end(max).ok_or(NOT_SCORES)?;
    Ok(ScoreRange {
        min,
        max,
        min_open,
        max_open,
    })
}

fn lex_end(text: &[u8]) -> Result<LexEnd<'_>, CmdError> {
    match text {
        [b'-'] | [b'-', 0, ..] => Ok(LexEnd::Lowest),
        [b'+'] | [b'+', 0, ..] => Ok(LexEnd::Highest),
        [b'[', name @ ..] => Ok(LexEnd::Closed(name)),
        [b'(', name @ ..] => Ok(LexEnd::Open(name)),
        _ => Err(NOT_NAMES),
    }
}

fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CmdError> {
    Ok(LexRange {
        min: lex_end(min)?,
        max: lex_end(max)?,
    })
}

impl<'a> Bounds<'a> {
    fn read(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Bounds<'a>, CmdError> {
        Ok(match by {
            By::Rank => {
                let start = parse_i64(min).ok_or(NOT_INTEGER)?;
                Bounds::Ranks(start, parse_i64(max).ok_or(NOT_INTEGER)?)
            }
            By::Score => Bounds::Scores(score_range(min, max)?),
            By::Lex => Bounds::Names(lex_range(min, max)?),
        })
    }

    /// The ranks of the members in the range, counted from the lowest; `reverse` counts the ranks
    /// that were given from the highest.
    fn ranks(&self, zset: ZsetRef<'_>, reverse: bool) -> Range<usize> {
        match self {
            Bounds::Scores(range) => zset.ranks_by_score(range),
            Bounds::Names(range) => zset.ranks_by_lex(range),
            Bounds::Ranks(start, end) => {
                let len = zset.len() as i64;
                let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
                let start = from_end(*start).max(0);
                let end = from_end(*end).min(len - 1);
                if start > end {
                    return 0..0;
                }
                let (start, end) = (start as usize, end as usize + 1);
                if reverse {
                    zset.len() - end..zset.len() - start
                } else {
                    start..end
                }
            }
        }
    }
}

/// A request for a part of a sorted set.
struct Query<'a> {
    key: &'a [u8],
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    count: i64,
}

impl<'a> Query<'a> {
    /// Reads key, ends and options from argument `at` on. `by` and `reverse` are given for the
    /// commands whose names say them.
    fn parse(
        ctx: &Ctx<'a>,
        at: usize,
        store: bool,
        by: Option<By>,
        reverse: Option<bool>,
    ) -> Result<Query<'a>, CmdError> {
        let (argv, mut chosen_by, mut chosen_reverse) = (ctx.argv, by, reverse);
        let (mut with_scores, mut offset, mut count) = (false, 0, -1);
        let mut next = at + 3;
        while next < argv.len() {
            let word = argv.get(next);
            if !store && word.eq_ignore_ascii_case(b"withscores") {
                with_scores = true;
            } else if word.eq_ignore_ascii_case(b"limit") && next + 2 < argv.len() {
                offset = parse_i64(argv.get(next + 1)).ok_or(NOT_INTEGER)?;
                count = parse_i64(argv.get(next + 2)).ok_or(NOT_INTEGER)?;
                next += 2;
            } else if chosen_reverse.is_none() && word.eq_ignore_ascii_case(b"rev") {
                chosen_reverse = Some(true);
            } else if chosen_by.is_none() && word.eq_ignore_ascii_case(b"bylex") {
                chosen_by = Some(By::Lex);
            } else if chosen_by.is_none() && word.eq_ignore_ascii_case(b"byscore") {
                chosen_by = Some(By::Score);
            } else {
                return Err(SYNTAX);
            }
            next += 1;
        }
        let by = chosen_by.unwrap_or(By::Rank);
        let reverse = chosen_reverse.unwrap_or(false);
        if count != -1 && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX);
        }
        let (mut min, mut max) = (argv.get(at + 1), argv.get(at + 2));
        if reverse && by != By::Rank {
            (min, max) = (max, min);
        }
        if by == By::Rank {
            offset = 0;
        }
        Ok(Query {
            key: argv.get(at),
            bounds: Bounds::read(by, min, max)?,
            reverse,
            with_scores,
            offset,
            count,
        })
    }

    /// The ranks of what is asked for, LIMIT included.
    fn ranks(&self, zset: ZsetRef<'_>) -> Range<usize> {
        let found = self.bounds.ranks(zset, self.reverse);
        // A negative offset is one that no member reaches.
        let skipped = usize::try_from(self.offset).map_or(found.len(), |n| n.min(found.len()));
        let left = found.len() - skipped;
        let wanted = usize::try_from(self.count).map_or(left, |n| n.min(left));
        if self.reverse {
            let end = found.end - skipped;
            end - wanted..end
        } else {
            let start = found.start + skipped;
            start..start + wanted
        }
    }
}

fn answer(ctx: &mut Ctx<'_>, by: Option<By>, reverse: Option<bool>) -> CmdResult {
    let query = Query::parse(ctx, 1, false, by, reverse)?;
    let Some(zset) = read(ctx.state, ctx.db, query.key)? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let ranks = query.ranks(zset);
    reply_head(ctx.out, ranks.len(), query.with_scores);
    for scored in zset.iter_ranks(ranks, query.reverse) {
        reply_member(ctx.out, scored, query.with_scores);
    }
    Ok(Outcome::Done)
}

pub(super) fn zrange(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, None, None)
}

pub(super) fn zrevrange(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, Some(By::Lex), Some(false))
}

pub(super) fn zrevrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    answer(ctx, Some(By::Lex), Some(true))
}

pub(super) fn zrangestore(ctx: &mut Ctx<'_>) -> CmdResult {
    let query = Query::parse(ctx, 2, true, None, None)?;
    let limits = limits(ctx.state);
    let mut result = Zset::new();
    if let Some(zset) = read(ctx.state, ctx.db, query.key)? {
        let ranks = query.ranks(zset);
        result.expect_members(ranks.len(), &limits);
        for (member, score) in zset.iter_ranks(ranks, false) {
            result.push(member.text(&mut [0; 20]), score, &limits);
        }
    }
    let len = result.view().len();
    ctx.store(ctx.arg(1), result, Event::ZRANGESTORE, 1);
    ctx.int(len as i64)
}

fn count(ctx: &mut Ctx<'_>, by: By) -> CmdResult {
    let bounds = Bounds::read(by, ctx.arg(2), ctx.arg(3))?;
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    let count = zset.map_or(0, |zset| bounds.ranks(zset, false).len());
    ctx.int(count as i64)
}

pub(super) fn zcount(ctx: &mut Ctx<'_>) -> CmdResult {
    count(ctx, By::Score)
}

pub(super) fn zlexcount(ctx: &mut Ctx<'_>) -> CmdResult {
    count(ctx, By::Lex)
}

fn remove(ctx: &mut Ctx<'_>, by: By, event: Event) -> CmdResult {
    let key = ctx.arg(1);
    let bounds = Bounds::read(by, ctx.arg(2), ctx.arg(3))?;
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let (left, removed) = ctx.state.dbs[ctx.db].update::<Zset, usize>(slot, |zset| {
        let ranks = bounds.ranks(zset.view(), false);
        let count = ranks.len();
        zset.remove_ranks(ranks);
        count
    })?;
    if removed > 0 {
        ctx.modified(key, event, removed);
        if left.is_none() {
            ctx.state.notify(ctx.db, key, Event::DEL);
        }
    }
    ctx.int(removed as i64)
}

pub(super) fn zremrangebyrank(ctx: &mut Ctx<'_>) -> CmdResult {
    remove(ctx, By::Rank, Event::ZREMRANGEBYRANK)
}

pub(super) fn zremrangebyscore(ctx: &mut Ctx<'_>) -> CmdResult {
    remove(ctx, By::Score, Event::ZREMRANGEBYSCORE)
}

pub(super) fn zremrangebylex(ctx: &mut Ctx<'_>) -> CmdResult {
    remove(ctx, By::Lex, Event::ZREMRANGEBYLEX)
}
