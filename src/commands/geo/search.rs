//! The searches: GEORADIUS, GEORADIUSBYMEMBER, GEOSEARCH, GEOSEARCHSTORE.
//!
//! Cell by cell the sorted set's scores are walked; what lies in the form is collected, put in order, and then
//! shown or stored.

use super::options::{self, Options, Order, Shape, With};
use super::{reply_distance, reply_point};
use crate::commands::vals;
use crate::commands::zset::{self, read};
use crate::commands::zset_ops::combine::{self, Scored};
use crate::ds::geohash::{Point, Search, score_bits};
use crate::ds::listpack::Val;
use crate::exec::command::{
    Begin, CmdResult, Command, Find, KEY1_RO, KeyAt, KeySpec, Outcome, acl::NONE, cmd, flag,
    key_flag,
};
use crate::exec::ctx::Ctx;
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::state::notify::Event;
use crate::types::zset::{ScoreRange, ZsetRef};
use flag::{DENYOOM, READONLY, WRITE};
use key_flag::{ACCESS, OW, RO, UPDATE};

/// The key behind a word, searched from an argument on.
const fn behind(word: &'static str, from: i32) -> KeySpec {
    KeySpec {
        flags: OW | UPDATE,
        begin: Begin::Keyword(word, from),
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
    }
}

const RADIUS_KEYS: &[KeySpec] = &[
    KeySpec::range(RO | ACCESS, 1, 1, 1),
    behind("STORE", 6),
    behind("STOREDIST", 6),
];
const BY_MEMBER_KEYS: &[KeySpec] = &[
    KeySpec::range(RO | ACCESS, 1, 1, 1),
    behind("STORE", 5),
    behind("STOREDIST", 5),
];
const STORE_KEYS: &[KeySpec] = &[
    KeySpec::range(OW | UPDATE, 1, 1, 1),
    KeySpec::range(RO | ACCESS, 2, 2, 1),
];

pub(super) const GEORADIUS: Command = cmd(
    "georadius",
    -6,
    WRITE | DENYOOM,
    NONE,
    RADIUS_KEYS,
    georadius,
)
.with_finder(|argv| Ok(keys(argv, 6)));
pub(super) const GEORADIUS_RO: Command =
    cmd("georadius_ro", -6, READONLY, NONE, KEY1_RO, georadius_ro);
pub(super) const GEORADIUSBYMEMBER: Command = cmd(
    "georadiusbymember",
    -5,
    WRITE | DENYOOM,
    NONE,
    BY_MEMBER_KEYS,
    georadiusbymember,
)
.with_finder(|argv| Ok(keys(argv, 5)));
pub(super) const GEORADIUSBYMEMBER_RO: Command = cmd(
    "georadiusbymember_ro",
    -5,
    READONLY,
    NONE,
    KEY1_RO,
    georadiusbymember_ro,
);
pub(super) const GEOSEARCH: Command = cmd("geosearch", -7, READONLY, NONE, KEY1_RO, geosearch);
pub(super) const GEOSEARCHSTORE: Command = cmd(
    "geosearchstore",
    -8,
    WRITE | DENYOOM,
    NONE,
    STORE_KEYS,
    geosearchstore,
);

/// The keys of GEORADIUS: its source, and the last key named behind STORE or STOREDIST.
fn keys(argv: Argv<'_>, from: usize) -> Vec<KeyAt> {
    let mut found = vec![KeyAt {
        at: 1,
        flags: RO | ACCESS,
    }];
    let mut target = None;
    let mut at = from;
    while at + 1 < argv.len() {
        let word = argv.get(at);
        if word.eq_ignore_ascii_case(b"store") || word.eq_ignore_ascii_case(b"storedist") {
            at += 1;
            target = Some(at);
        }
        at += 1;
    }
    found.extend(target.map(|at| KeyAt {
        at,
        flags: OW | UPDATE,
    }));
    found
}

fn georadius(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::Radius { stores: true }, 1)
}

fn georadius_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::Radius { stores: false }, 1)
}

fn georadiusbymember(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::RadiusByMember { stores: true }, 1)
}

fn georadiusbymember_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::RadiusByMember { stores: false }, 1)
}

fn geosearch(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::Search, 1)
}

fn geosearchstore(ctx: &mut Ctx<'_>) -> CmdResult {
    search(ctx, Shape::SearchStore, 2)
}

/// A member that was found.
#[derive(Clone, Copy)]
struct Found<'a> {
    member: Val<'a>,
    /// Metres from the centre.
    distance: f64,
    score: f64,
}

/// Every search; its source is the key at `source`.
fn search(ctx: &mut Ctx<'_>, shape: Shape, source: usize) -> CmdResult {
    let limits = zset::limits(ctx.state);
    let zset = read(ctx.state, ctx.db, ctx.argv.get(source))?;
    let options = options::parse(ctx.argv, shape, zset)?;
    let (mut found, mut unit) = (Vec::new(), 1.0);
    if let Some((search, zset)) = options.search.zip(zset) {
        unit = search.unit;
        found = collect(&search, zset, if options.any { options.count } else { 0 });
    }
    arrange(&mut found, &options);

    let Some(target) = options.target else {
        reply(ctx.out, &found, options.with, unit);
        return Ok(Outcome::Done);
    };
    let count = found.len();
    let scored = found.iter().map(|found| Scored {
        member: found.member,
        score: match options.store_distances {
            true => found.distance / unit,
            false => found.score,
        },
    });
    let result = combine::build(scored.collect(), &limits);
    let event = match shape {
        Shape::SearchStore => Event::GEOSEARCHSTORE,
        _ => Event::GEORADIUSSTORE,
    };
    ctx.store(target, result, event, count);
    ctx.int(count as i64)
}

/// What lies in the form, in the order of the cells; the search ends at `limit` members, unless that is 0.
fn collect<'s>(search: &Search, zset: ZsetRef<'s>, limit: u64) -> Vec<Found<'s>> {
    let window = search.window();
    let limit = match limit {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let mut found = Vec::new();
    for cell in search.cells() {
        let (min, max) = cell.scores();
        let range = ScoreRange {
            min,
            max,
            min_open: false,
            max_open: true,
        };
        for (member, score) in zset.iter_ranks(zset.ranks_by_score(&range), false) {
            let Some(point) = window.point(score_bits(score)) else {
                continue;
            };
            let Some(distance) = search.distance_within(point) else {
                continue;
            };
            found.push(Found {
                member,
                distance,
                score,
            });
            if found.len() == limit {
                return found;
            }
        }
    }
    found
}

/// Puts what was found into the order asked for, and keeps as many as asked for. Of two at the same distance
/// the one found first comes first.
fn arrange(found: &mut Vec<Found<'_>>, options: &Options<'_>) {
    let count = usize::try_from(options.count).unwrap_or(usize::MAX);
    if options.order != Order::Found {
        let mut order: Vec<(f64, u32)> =
            found.iter().map(|found| found.distance).zip(0..).collect();
        let by_distance = |a: &(f64, u32), b: &(f64, u32)| {
            let distances = match options.order {
                Order::FarFirst => b.0.total_cmp(&a.0),
                _ => a.0.total_cmp(&b.0),
            };
            distances.then(a.1.cmp(&b.1))
        };
        if (1..order.len()).contains(&count) {
            order.select_nth_unstable_by(count - 1, by_distance);
            order.truncate(count);
        }
        order.sort_unstable_by(by_distance);
        *found = order.iter().map(|(_, at)| found[*at as usize]).collect();
    }
    if count > 0 {
        found.truncate(count);
    }
}

fn reply(out: &mut Writer, found: &[Found<'_>], with: With, unit: f64) {
    out.array(found.len());
    for found in found {
        if with != With::default() {
            out.array(1 + with.count());
        }
        vals::reply(out, Some(found.member));
        if with.distance {
            reply_distance(out, found.distance / unit);
        }
        if with.hash {
            out.int(score_bits(found.score).cast_signed());
        }
        if with.place {
            reply_point(out, Point::of_score(found.score));
        }
    }
}
