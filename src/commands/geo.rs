//! Places: GEOADD, GEODIST, GEOHASH, GEOPOS; the searches are in `search`.
//!
//! A set of places is a sorted set whose scores are geohashes (`ds::geohash`), so ZREM, ZRANGE and all the rest
//! work on it, and any sorted set can be asked for places.

mod options;
mod search;

use crate::base::f80::F80;
use crate::base::num;
use crate::commands::zset::{self, read};
use crate::ds::geohash::Point;
use crate::exec::command::{CmdResult, Command, KEY1_RO, KEY1_RW_UPDATE, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_FLOAT, SYNTAX};
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::notify::Event;
use crate::types::zset::{Zset, ZsetRef};

use acl::NONE;
use flag::{DENYOOM, READONLY, WRITE};

const UNIT_UNKNOWN: CmdError =
    CmdError::new("ERR unsupported unit provided. please use M, KM, FT, MI");

const COMMANDS: &[Command] = &[
    cmd("geoadd", -5, WRITE | DENYOOM, NONE, KEY1_RW_UPDATE, geoadd),
    cmd("geodist", -4, READONLY, NONE, KEY1_RO, geodist),
    cmd("geohash", -2, READONLY, NONE, KEY1_RO, geohash),
    cmd("geopos", -2, READONLY, NONE, KEY1_RO, geopos),
    search::GEORADIUS,
    search::GEORADIUS_RO,
    search::GEORADIUSBYMEMBER,
    search::GEORADIUSBYMEMBER_RO,
    search::GEOSEARCH,
    search::GEOSEARCHSTORE,
];

/// Places on the globe.
pub static FAMILY: Family = Family {
    group: "geo",
    acl: acl::GEO,
    commands: COMMANDS,
};

/// Where a member is.
fn place(zset: Option<ZsetRef<'_>>, member: &[u8]) -> Option<Point> {
    Some(Point::of_score(zset?.score(member)?))
}

/// Metres in a unit.
fn parse_unit(text: &[u8]) -> Result<f64, CmdError> {
    const UNITS: [(&[u8], f64); 4] = [
        (b"m", 1.0),
        (b"km", 1000.0),
        (b"ft", 0.3048),
        (b"mi", 1609.34),
    ];
    let named = |(name, _): &&(&[u8], f64)| text.eq_ignore_ascii_case(name);
    let unit = UNITS.iter().find(named).ok_or(UNIT_UNKNOWN)?;
    Ok(unit.1)
}

/// A longitude and a latitude.
fn parse_point(lon: &[u8], lat: &[u8]) -> Result<Point, CmdError> {
    let point = Point {
        lon: num::parse_f64(lon).ok_or(NOT_FLOAT)?,
        lat: num::parse_f64(lat).ok_or(NOT_FLOAT)?,
    };
    if !point.is_valid() {
        let Point { lon, lat } = point;
        return Err(CmdError::owned(format!(
            "ERR invalid longitude,latitude pair {lon:.6},{lat:.6}"
        )));
    }
    Ok(point)
}

/// GEOADD's options.
#[derive(Clone, Copy, Default)]
struct Rules {
    nx: bool,
    xx: bool,
    ch: bool,
}

fn geoadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let (argv, key) = (ctx.argv, ctx.arg(1));
    let mut rules = Rules::default();
    let mut at = 2;
    while at < argv.len() {
        match argv.get(at) {
            word if word.eq_ignore_ascii_case(b"nx") => rules.nx = true,
            word if word.eq_ignore_ascii_case(b"xx") => rules.xx = true,
            word if word.eq_ignore_ascii_case(b"ch") => rules.ch = true,
            _ => break,
        }
        at += 1;
    }
    let places = argv.from(at);
    if !places.len().is_multiple_of(3) || rules.nx && rules.xx {
        return Err(SYNTAX);
    }
    // All are looked at before any is stored.
    let mut added = Vec::with_capacity(places.len() / 3);
    for place in (0..places.len()).step_by(3) {
        let point = parse_point(places.get(place), places.get(place + 1))?;
        added.push((point.hash(), places.get(place + 2)));
    }

    let (mut new, mut changed) = (0, 0);
    let limits = zset::limits(ctx.state);
    let work = |zset: &mut Zset| {
        if !rules.xx {
            zset.expect_members(added.len(), &limits);
        }
        for (hash, member) in &added {
            let score = *hash as f64;
            zset.set(member, score, &limits, |old| match old {
                None if rules.xx => None,
                None => {
                    new += 1;
                    Some(score)
                }
                Some(old) if rules.nx || old == score => None,
                Some(_) => {
                    changed += 1;
                    Some(score)
                }
            });
        }
    };
    if let Some(slot) = ctx.write(key) {
        ctx.state.dbs[ctx.db].update::<Zset, ()>(slot, work)?;
    } else if ctx
        .state
        .dbs
        .create::<Zset, ()>(ctx.db, key, work)
        .0
        .is_some()
    {
        ctx.state.notify(ctx.db, key, Event::NEW);
    }
    let changes = new + changed;
    if changes > 0 {
        log_scores(ctx, at, &added);
        ctx.modified(key, Event::ZADD, changes);
    }
    ctx.int(if rules.ch { changes } else { new } as i64)
}

/// The log gets a ZADD of the scores: they mean the same to whoever reads it.
fn log_scores(ctx: &mut Ctx<'_>, at: usize, added: &[(u64, &[u8])]) {
    if !ctx.state.prop.on {
        return;
    }
    let mut room = vec![[0; 20]; added.len()];
    let mut log: Vec<&[u8]> = vec![b"zadd"];
    log.extend(ctx.argv.first(at).from(1).iter());
    for ((hash, member), room) in added.iter().zip(&mut room) {
        log.extend([num::fmt_i64(hash.cast_signed(), room), *member]);
    }
    ctx.propagate_as(&log);
}

fn geodist(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    let unit = match argv.len() {
        4 => 1.0,
        5 => parse_unit(argv.get(4))?,
        _ => return Err(SYNTAX),
    };
    let zset = read(ctx.state, ctx.db, argv.get(1))?;
    match place(zset, argv.get(2)).zip(place(zset, argv.get(3))) {
        Some((one, other)) => reply_distance(ctx.out, one.distance(other) / unit),
        None => ctx.out.null(),
    }
    Ok(Outcome::Done)
}

fn geohash(ctx: &mut Ctx<'_>) -> CmdResult {
    let members = ctx.argv.from(2);
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    ctx.out.array(members.len());
    for member in members.iter() {
        match place(zset, member) {
            Some(point) => ctx.out.bulk(&point.text()),
            None => ctx.out.null(),
        }
    }
    Ok(Outcome::Done)
}

fn geopos(ctx: &mut Ctx<'_>) -> CmdResult {
    let members = ctx.argv.from(2);
    let zset = read(ctx.state, ctx.db, ctx.argv.get(1))?;
    ctx.out.array(members.len());
    for member in members.iter() {
        match place(zset, member) {
            Some(point) => reply_point(ctx.out, point),
            None => ctx.out.null_array(),
        }
    }
    Ok(Outcome::Done)
}

/// Longitude and latitude with all the digits they have, up to 17 places.
fn reply_point(out: &mut Writer, point: Point) {
    out.array(2);
    let mut digits = Vec::with_capacity(24);
    for degrees in [point.lon, point.lat] {
        digits.clear();
        F80::from_f64(degrees).push_decimal(&mut digits);
        out.double_text(&digits);
    }
}

/// A distance with four places.
fn reply_distance(out: &mut Writer, distance: f64) {
    out.bulk(format!("{distance:.4}").as_bytes());
}

#[cfg(test)]
mod tests;
