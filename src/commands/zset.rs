//! Sorted sets: ZADD and its kin. Here are the rows and what works on members by name; `range`
//! works on parts, `pop` takes the ends, also of sets that others fill later, `draw` shows members
//! in no order.

mod draw;
mod pop;
mod range;

use crate::base::num;
use crate::commands::vals;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RO_META, KEY1_RW_ACCESS, KEY1_RW_DELETE, KEY1_RW_UPDATE,
    KeySpec, Outcome, acl, cmd, flag, key_flag as k,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_FLOAT, SYNTAX, wrong_arity};
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::zset::{Limits, Scored, Zset, ZsetRef};

use acl::NONE;
use flag::{BLOCKING, DENYOOM, FAST, NOSCRIPT, READONLY, WRITE};

const STORE: &[KeySpec] = &[
    KeySpec::range(k::OW | k::UPDATE, 1, 1, 1),
    KeySpec::range(k::RO | k::ACCESS, 2, 2, 1),
];
const POP: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS | k::DELETE, 1, 1, 1)];
const POP_MANY: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS | k::DELETE, 1, -2, 1)];
const MPOP: &[KeySpec] = &[KeySpec::numkeys(k::RW | k::ACCESS | k::DELETE, 1)];
const BMPOP: &[KeySpec] = &[KeySpec::numkeys(k::RW | k::ACCESS | k::DELETE, 2)];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("zadd", -4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_UPDATE, zadd).with_members(3, 2),
    cmd("zincrby", 4, WRITE | DENYOOM | FAST, NONE, KEY1_RW_ACCESS, zincrby).with_members(3, 0),
    cmd("zrem", -3, WRITE | FAST, NONE, KEY1_RW_DELETE, zrem).with_members(2, 1),
    cmd("zcard", 2, READONLY | FAST, NONE, KEY1_RO_META, zcard),
    cmd("zscore", 3, READONLY | FAST, NONE, KEY1_RO, zscore).with_members(2, 0),
    cmd("zmscore", -3, READONLY | FAST, NONE, KEY1_RO, zmscore).with_members(2, 1),
    cmd("zrank", -3, READONLY | FAST, NONE, KEY1_RO, zrank).with_members(2, 0),
    cmd("zrevrank", -3, READONLY | FAST, NONE, KEY1_RO, zrevrank).with_members(2, 0),
    cmd("zcount", 4, READONLY | FAST, NONE, KEY1_RO, range::zcount),
    cmd("zlexcount", 4, READONLY | FAST, NONE, KEY1_RO, range::zlexcount),
    cmd("zrange", -4, READONLY, NONE, KEY1_RO, range::zrange),
    cmd("zrevrange", -4, READONLY, NONE, KEY1_RO, range::zrevrange),
    cmd("zrangebyscore", -4, READONLY, NONE, KEY1_RO, range::zrangebyscore),
    cmd("zrevrangebyscore", -4, READONLY, NONE, KEY1_RO, range::zrevrangebyscore),
    cmd("zrangebylex", -4, READONLY, NONE, KEY1_RO, range::zrangebylex),
    cmd("zrevrangebylex", -4, READONLY, NONE, KEY1_RO, range::zrevrangebylex),
    cmd("zrangestore", -5, WRITE | DENYOOM, NONE, STORE, range::zrangestore),
    cmd("zremrangebyrank", 4, WRITE, NONE, KEY1_RW_DELETE, range::zremrangebyrank),
    cmd("zremrangebyscore", 4, WRITE, NONE, KEY1_RW_DELETE, range::zremrangebyscore),
    cmd("zremrangebylex", 4, WRITE, NONE, KEY1_RW_DELETE, range::zremrangebylex),
    cmd("zpopmin", -2, WRITE | FAST, NONE, POP, pop::zpopmin),
    cmd("zpopmax", -2, WRITE | FAST, NONE, POP, pop::zpopmax),
    cmd("zmpop", -4, WRITE, NONE, MPOP, pop::zmpop),
    cmd("bzpopmin", -3, WRITE | FAST | BLOCKING | NOSCRIPT, NONE, POP_MANY, pop::bzpopmin),
    cmd("bzpopmax", -3, WRITE | FAST | BLOCKING | NOSCRIPT, NONE, POP_MANY, pop::bzpopmax),
    cmd("bzmpop", -5, WRITE | BLOCKING, NONE, BMPOP, pop::bzmpop),
    cmd("zrandmember", -2, READONLY, NONE, KEY1_RO, draw::zrandmember),
    cmd("zscan", -3, READONLY, NONE, KEY1_RO, draw::zscan),
];

/// Sorted sets.
pub static FAMILY: Family = Family {
    group: "sorted-set",
    acl: acl::SORTEDSET,
    commands: COMMANDS,
};

const NX_AND_XX: CmdError =
    CmdError::new("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: CmdError =
    CmdError::new("ERR GT, LT, and/or NX options at the same time are not compatible");
const ONE_INCREMENT: CmdError =
    CmdError::new("ERR INCR option supports a single increment-element pair");
const SUM_IS_NAN: CmdError = CmdError::new("ERR resulting score is not a number (NaN)");

/// Members of a long ZADD between the prefetch and the work.
const PAIRS_AHEAD: usize = 6;

/// The sorted set at `key` for reading.
pub(super) fn read<'s>(
    state: &'s mut State,
    db: usize,
    key: &[u8],
) -> Result<Option<ZsetRef<'s>>, CmdError> {
    match state.lookup_read(db, key) {
        Some(entry) => Ok(Some(entry.get::<Zset>()?)),
        None => Ok(None),
    }
}

/// The limits in force.
pub(super) fn limits(state: &State) -> Limits {
    Limits {
        entries: state.config.zset_max_listpack_entries,
        value: state.config.zset_max_listpack_value,
        hash_key: state.dbs.hash_key(),
    }
}

/// Begins an array of that many members. With scores it is flat in RESP2, and of pairs in RESP3.
pub(super) fn reply_head(out: &mut Writer, count: usize, with_scores: bool) {
    let flat = with_scores && !out.resp3;
    out.array(if flat { count.saturating_mul(2) } else { count });
}

/// One of the members of such an array.
#[inline]
pub(super) fn reply_member(out: &mut Writer, (member, score): Scored<'_>, with_scores: bool) {
    if with_scores && out.resp3 {
        out.array(2);
    }
    vals::reply(out, Some(member));
    if with_scores {
        out.double(score);
    }
}

/// The options of ZADD.
#[derive(Clone, Copy, Default)]
struct Rules {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Rules {
    /// Notes an option; whether it is one.
    fn take(&mut self, word: &[u8]) -> bool {
        let option = match word {
            [b'n' | b'N', b'x' | b'X'] => &mut self.nx,
            [b'x' | b'X', b'x' | b'X'] => &mut self.xx,
            [b'g' | b'G', b't' | b'T'] => &mut self.gt,
            [b'l' | b'L', b't' | b'T'] => &mut self.lt,
            [b'c' | b'C', b'h' | b'H'] => &mut self.ch,
            [_, _, _, _] if word.eq_ignore_ascii_case(b"incr") => &mut self.incr,
            _ => return false,
        };
        *option = true;
        true
    }

    fn check(self, pairs: usize) -> Result<(), CmdError> {
        if self.nx && self.xx {
            return Err(NX_AND_XX);
        }
        if [self.gt, self.lt, self.nx]
            .into_iter()
            .filter(|on| *on)
            .count()
            > 1
        {
            return Err(GT_LT_NX);
        }
        if self.incr && pairs > 1 {
            return Err(ONE_INCREMENT);
        }
        Ok(())
    }
}

/// What ZADD did.
#[derive(Default)]
struct Added {
    new: usize,
    changed: usize,
    /// The last member's score, unless a rule kept it from being touched.
    score: Option<f64>,
    nan: bool,
}

impl Added {
    /// What a member's score becomes by the rules.
    #[inline]
    fn decide(&mut self, rules: Rules, given: f64, old: Option<f64>) -> Option<f64> {
        self.score = None;
        let Some(old) = old else {
            if rules.xx {
                return None;
            }
            self.new += 1;
            self.score = Some(given);
            return Some(given);
        };
        if rules.nx {
            return None;
        }
        let score = if rules.incr { old + given } else { given };
        self.nan = score.is_nan();
        if self.nan || rules.lt && score >= old || rules.gt && score <= old {
            return None;
        }
        self.score = Some(score);
        if score == old {
            return None;
        }
        self.changed += 1;
        Some(score)
    }
}

fn zadd(ctx: &mut Ctx<'_>) -> CmdResult {
    add(ctx, Rules::default())
}

fn zincrby(ctx: &mut Ctx<'_>) -> CmdResult {
    let incr = Rules {
        incr: true,
        ..Rules::default()
    };
    add(ctx, incr)
}

fn add(ctx: &mut Ctx<'_>, mut rules: Rules) -> CmdResult {
    let (argv, key) = (ctx.argv, ctx.arg(1));
    let mut at = 2;
    while at < argv.len() && rules.take(argv.get(at)) {
        at += 1;
    }
    let rest = argv.from(at);
    if rest.is_empty() || rest.len() % 2 == 1 {
        return Err(SYNTAX);
    }
    let pairs = rest.len() / 2;
    rules.check(pairs)?;
    // All scores are looked at before any is stored.
    let first = num::parse_f64(rest.get(0)).ok_or(NOT_FLOAT)?;
    if (1..pairs).any(|pair| num::parse_f64(rest.get(2 * pair)).is_none()) {
        return Err(NOT_FLOAT);
    }

    let limits = limits(ctx.state);
    let mut added = Added::default();
    let work = |zset: &mut Zset| {
        if !rules.xx {
            zset.expect_members(pairs, &limits);
        }
        for pair in 0..pairs {
            let later = pair + PAIRS_AHEAD;
            if later < pairs
                && let Some(score) = num::parse_f64(rest.get(2 * later))
            {
                zset.prefetch(rest.get(2 * later + 1), score);
            }
            let given = match pair {
                0 => first,
                _ => num::parse_f64(rest.get(2 * pair)).unwrap_or(first),
            };
            let member = rest.get(2 * pair + 1);
            zset.set(member, given, &limits, |old| {
                added.decide(rules, given, old)
            });
        }
    };
    if let Some(slot) = ctx.write(key) {
        ctx.state.dbs[ctx.db].update::<Zset, ()>(slot, work)?;
    } else if !rules.xx {
        let (made, ()) = ctx.state.dbs.create::<Zset, ()>(ctx.db, key, work);
        if made.is_some() {
            ctx.state.notify(ctx.db, key, Event::NEW);
        }
    }
    if added.nan {
        return Err(SUM_IS_NAN);
    }
    let changes = added.new + added.changed;
    if changes > 0 {
        let event = if rules.incr {
            Event::ZINCR
        } else {
            Event::ZADD
        };
        ctx.modified(key, event, changes);
    }

    match (rules.incr, added.score) {
        (true, Some(score)) => ctx.out.double(score),
        (true, None) => ctx.out.null(),
        (false, _) => ctx
            .out
            .int(if rules.ch { changes } else { added.new } as i64),
    }
    Ok(Outcome::Done)
}

fn zrem(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, members) = (ctx.arg(1), ctx.argv.from(2));
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let (left, removed) = ctx.state.dbs[ctx.db].update::<Zset, usize>(slot, |zset| {
        members.iter().filter(|member| zset.remove(member)).count()
    })?;
    if removed > 0 {
        ctx.modified(key, Event::ZREM, removed);
        if left.is_none() {
            ctx.state.notify(ctx.db, key, Event::DEL);
        }
    }
    ctx.int(removed as i64)
}

fn zcard(ctx: &mut Ctx<'_>) -> CmdResult {
    let len = read(ctx.state, ctx.db, ctx.argv.get(1))?.map_or(0, ZsetRef::len);
    ctx.int(len as i64)
}

fn reply_score(out: &mut Writer, score: Option<f64>) {
    match score {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

fn zscore(ctx: &mut Ctx<'_>) -> CmdResult {
    let member = ctx.arg(2);
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    reply_score(ctx.out, zset.and_then(|zset| zset.score(member)));
    Ok(Outcome::Done)
}

fn zmscore(ctx: &mut Ctx<'_>) -> CmdResult {
    let members = ctx.argv.from(2);
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    ctx.out.array(members.len());
    for member in members.iter() {
        reply_score(ctx.out, zset.and_then(|zset| zset.score(member)));
    }
    Ok(Outcome::Done)
}

fn zrank(ctx: &mut Ctx<'_>) -> CmdResult {
    rank(ctx, "zrank", |_, rank| rank)
}

fn zrevrank(ctx: &mut Ctx<'_>) -> CmdResult {
    rank(ctx, "zrevrank", |len, rank| len - 1 - rank)
}

fn rank(ctx: &mut Ctx<'_>, name: &str, counted: fn(usize, usize) -> usize) -> CmdResult {
    let member = ctx.arg(2);
    let with_score = match ctx.argc() {
        3 => false,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"withscore") => true,
        4 => return Err(SYNTAX),
        _ => return Err(wrong_arity(name)),
    };
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    let found = zset.and_then(|zset| Some((zset.len(), zset.rank(member)?)));
    match found {
        Some((len, (rank, score))) => {
            if with_score {
                ctx.out.array(2);
            }
            ctx.out.int(counted(len, rank) as i64);
            if with_score {
                ctx.out.double(score);
            }
        }
        None if with_score => ctx.out.null_array(),
        None => ctx.out.null(),
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::FAMILY;
    use crate::exec::testing::Bench;

    /// Replicas and files get what happened, not what was asked for.
    #[test]
    fn the_log_gets_what_was_done() {
        let mut bench = Bench::new(&[&FAMILY]);
        assert_eq!(
            bench.logs("ZADD z 1 a 2 b 3 c 4 d"),
            ["SELECT 0", "ZADD z 1 a 2 b 3 c 4 d"]
        );
        assert_eq!(bench.logs("ZADD z INCR 1 a"), ["ZADD z INCR 1 a"]);
        assert_eq!(bench.logs("BZPOPMIN none z 0"), ["ZPOPMIN z"]);
        assert_eq!(bench.logs("ZMPOP 2 none z MAX COUNT 2"), ["ZPOPMAX z 2"]);
        assert_eq!(bench.logs("BZMPOP 0 1 z MIN COUNT 7"), ["ZPOPMIN z 1"]);
        for nothing in [
            "ZADD z XX 1 a",
            "ZREM z a",
            "ZPOPMIN z",
            "ZMPOP 1 z MIN",
            "ZREMRANGEBYRANK z 0 9",
        ] {
            assert!(bench.logs(nothing).is_empty(), "{nothing}");
        }
        assert_eq!(bench.logs("ZRANGESTORE d z 0 -1"), [""; 0]);
        assert_eq!(bench.logs("ZADD z 1 a"), ["ZADD z 1 a"]);
        assert_eq!(bench.logs("ZRANGESTORE d z 0 -1"), ["ZRANGESTORE d z 0 -1"]);
        assert_eq!(
            bench.logs("ZRANGESTORE d none 0 -1"),
            ["ZRANGESTORE d none 0 -1"]
        );
    }
}
