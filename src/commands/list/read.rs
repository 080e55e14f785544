//! Reading lists: LLEN, LINDEX, LRANGE, LPOS.

use super::{range, range_arguments};
use crate::base::num::parse_i64;
use crate::commands::vals;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::state::State;
use crate::types::list::{End, List, ListRef, Pivot};

const RANK_ZERO: CmdError = CmdError::new(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
     negative to start from the end of the list",
);
const RANK_RANGE: CmdError = CmdError::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);

/// The list at `key` for reading.
fn read<'s>(state: &'s mut State, db: usize, key: &[u8]) -> Result<Option<ListRef<'s>>, CmdError> {
    match state.lookup_read(db, key) {
        Some(entry) => Ok(Some(entry.get::<List>()?)),
        None => Ok(None),
    }
}

pub(super) fn llen(ctx: &mut Ctx<'_>) -> CmdResult {
    let len = read(ctx.state, ctx.db, ctx.argv.get(1))?.map_or(0, ListRef::len);
    ctx.int(len as i64)
}

pub(super) fn lindex(ctx: &mut Ctx<'_>) -> CmdResult {
    let Some(list) = read(ctx.state, ctx.db, ctx.argv.get(1))? else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };
    let index = parse_i64(ctx.argv.get(2)).ok_or(NOT_INTEGER)?;
    let out = &mut *ctx.out;
    let shown = list
        .number(index)
        .and_then(|at| list.get(at, |val| vals::reply(out, Some(val))));
    if shown.is_none() {
        out.null();
    }
    Ok(Outcome::Done)
}

pub(super) fn lrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let (start, end) = range_arguments(ctx)?;
    let Some(list) = read(ctx.state, ctx.db, ctx.argv.get(1))? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let (from, count) = range(start, end, list.len());
    let out = &mut *ctx.out;
    out.array(count);
    list.each(from, count, |val| vals::reply(out, Some(val)));
    Ok(Outcome::Done)
}

/// Options of LPOS.
struct Search {
    /// This match is the first that counts.
    rank: u64,
    from: End,
    /// Where COUNT is given: that many matches, 0 for all of them, as an array.
    count: Option<u64>,
    /// That many elements are compared; 0: all.
    compared_max: u64,
}

impl Search {
    fn parse(ctx: &Ctx<'_>) -> Result<Search, CmdError> {
        let mut search = Search {
            rank: 1,
            from: End::Front,
            count: None,
            compared_max: 0,
        };
        for at in (3..ctx.argc()).step_by(2) {
            let word = ctx.arg(at);
            if at + 1 == ctx.argc() {
                return Err(SYNTAX);
            }
            let number = parse_i64(ctx.arg(at + 1));
            let natural = |error| {
                let number = number.and_then(|number| u64::try_from(number).ok());
                number.ok_or(CmdError::new(error))
            };
            if word.eq_ignore_ascii_case(b"rank") {
                let rank = number.ok_or(NOT_INTEGER)?;
                match rank {
                    0 => return Err(RANK_ZERO),
                    i64::MIN => return Err(RANK_RANGE),
                    _ => {}
                }
                search.rank = rank.unsigned_abs();
                search.from = if rank < 0 { End::Back } else { End::Front };
            } else if word.eq_ignore_ascii_case(b"count") {
                search.count = Some(natural("ERR COUNT can't be negative")?);
            } else if word.eq_ignore_ascii_case(b"maxlen") {
                search.compared_max = natural("ERR MAXLEN can't be negative")?;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(search)
    }

    /// Shows the number of each match that counts.
    fn run(&self, list: ListRef<'_>, text: &[u8], mut show: impl FnMut(usize)) {
        let pivot = Pivot::new(text);
        let (len, wanted) = (list.len(), self.count.unwrap_or(1));
        let (mut compared, mut matches, mut shown) = (0, 0, 0);
        list.visit(self.from, |val| {
            compared += 1;
            if pivot.is(val) {
                matches += 1;
                if matches >= self.rank {
                    show(match self.from {
                        End::Front => compared - 1,
                        End::Back => len - compared,
                    });
                    shown += 1;
                }
            }
            let found_all = wanted != 0 && shown == wanted;
            !found_all && (self.compared_max == 0 || (compared as u64) < self.compared_max)
        });
    }
}

pub(super) fn lpos(ctx: &mut Ctx<'_>) -> CmdResult {
    let search = Search::parse(ctx)?;
    let text = ctx.arg(2);
    let list = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    let out = &mut *ctx.out;
    if search.count.is_none() {
        let mut found = None;
        if let Some(list) = list {
            search.run(list, text, |at| found = Some(at));
        }
        match found {
            Some(at) => out.int(at as i64),
            None => out.null(),
        }
        return Ok(Outcome::Done);
    }
    let Some(list) = list else {
        out.empty_array();
        return Ok(Outcome::Done);
    };
    let mut count = 0;
    let hole = out.open();
    search.run(list, text, |at| {
        out.int(at as i64);
        count += 1;
    });
    out.close_array(hole, count);
    Ok(Outcome::Done)
}
