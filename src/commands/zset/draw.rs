//! Members in no order: ZRANDMEMBER and ZSCAN.

use super::{read, reply_head, reply_member};
use crate::base::num::{fmt_f64, parse_i64};
use crate::base::rng::Rng;
use crate::commands::scan::{self, ScanOptions};
use crate::commands::{draw, vals};
use crate::ds::listpack::Val;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::types::zset::{Scored, ZsetRef};

const COUNT_RANGE: CmdError = CmdError::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
const COUNT_TOO_LARGE: CmdError = CmdError::new("ERR value is out of range");

impl<'a> draw::Pool for ZsetRef<'a> {
    type Item = Scored<'a>;
    type Id = Val<'a>;

    fn size(self) -> usize {
        self.len()
    }

    fn elements(self) -> impl Iterator<Item = Scored<'a>> {
        self.iter()
    }

    fn random(self, rng: &mut Rng) -> Option<Scored<'a>> {
        ZsetRef::random(self, rng)
    }

    fn walks(self) -> bool {
        matches!(self, ZsetRef::Pack(_))
    }

    fn id((member, _): Scored<'a>) -> Val<'a> {
        member
    }
}

pub(super) fn zrandmember(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut rng = Rng::from_seed(ctx.state.rng.next_u64());
    if ctx.argc() == 2 {
        let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
        let drawn = zset.and_then(|zset| zset.random(&mut rng));
        vals::reply(ctx.out, drawn.map(|(member, _)| member));
        return Ok(Outcome::Done);
    }

    let count = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    if count == i64::MIN {
        return Err(COUNT_RANGE);
    }
    let with_scores = match ctx.argc() {
        3 => false,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(SYNTAX),
    };
    if with_scores && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(COUNT_TOO_LARGE);
    }
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| COUNT_TOO_LARGE)?;

    let Some(zset) = read(ctx.state, ctx.db, ctx.argv.get(1))? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let out = &mut *ctx.out;
    if count >= 0 {
        reply_head(out, wanted.min(zset.len()), with_scores);
    } else {
        reply_head(out, wanted, with_scores);
    }
    let show = |scored| {
        reply_member(out, scored, with_scores);
        vals::go_on(out)
    };
    if count >= 0 {
        draw::different(zset, wanted, &mut rng, show);
    } else {
        draw::repeatedly(zset, wanted, &mut rng, show);
    }
    Ok(Outcome::Done)
}

pub(super) fn zscan(ctx: &mut Ctx<'_>) -> CmdResult {
    let cursor = scan::parse_cursor(ctx.arg(2))?;
    let argv = ctx.argv;
    // As in Redis an absent key is answered before the options are looked at.
    let Some(zset) = read(ctx.state, ctx.db, argv.get(1))? else {
        scan::reply_head(ctx.out, 0);
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let options = ScanOptions::parse_with(argv.from(3), false, Some("noscores"))?;
    let mut found: Vec<Scored<'_>> = Vec::new();
    let next = scan::run(cursor, options.count, |cursor, seen| {
        zset.scan(cursor, |member, score| {
            *seen += 1;
            if options.matches(member.text(&mut [0; 20])) {
                found.push((member, score));
            }
        })
    });
    scan::reply_head(ctx.out, next);
    ctx.out
        .array(if options.bare { 1 } else { 2 } * found.len());
    let mut digits = Vec::new();
    for (member, score) in found {
        vals::reply(ctx.out, Some(member));
        if options.bare {
            continue;
        }
        // Not a double, in RESP3 neither.
        digits.clear();
        fmt_f64(score, &mut digits);
        ctx.out.bulk(&digits);
    }
    Ok(Outcome::Done)
}
