//! What a request may take of what its group has left (`state::quota`).
//!
//! Asked before a request runs, wherever it comes from: a client, a transaction, a script. Only sessions of
//! groups with limits get here (`gate::QUOTA`).
use super::command::{flag, key_flag};
use super::ctx::{Ctx, Mode};
use super::error::CmdError;
use super::keys;
use super::registry::Row;
use crate::base::num::parse_i64;
use crate::state::State;
use crate::state::client::Client;
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::quota::{Limit, Wanted};

/// What is not asked for: room for so little there is as long as the limit is not reached.
const SMALL: u64 = 4096;
/// What a session may queue, watch and subscribe to where its group has used up its bytes: enough for the
/// transaction that makes room.
const HELD_FREE: usize = 16 << 10;
/// Requests whose arguments the session keeps.
const HOLD: &[&str] = &["psubscribe", "ssubscribe", "subscribe", "watch"];
/// Requests whose arguments take the place of what their keys hold.
const OVERWRITE: &[&str] = &["getset", "mset", "psetex", "restore", "set", "setex"];

/// Why a request of a group is refused. `flags` are what it counts as.
pub fn refusal(ctx: &mut Ctx<'_>, row: &Row, flags: u32) -> Option<CmdError> {
    let group = ctx.client().group;
    if !ctx.state.take_request(group) {
        return Some(error(ctx.state, group, Limit::Ops));
    }
    // What is queued is held against the limits of keys when it runs: by then there may be room.
    let queued = ctx.client().multi.is_some() && !row.cmd.is(flag::UNQUEUED);
    if queued || HOLD.contains(&row.cmd.name) {
        return no_room_to_hold(ctx, group);
    }
    if flags & flag::DENYOOM == 0 {
        return None;
    }
    no_room(ctx, row, group)
}

/// Why what runs inside a transaction or a script is refused: it counts as no request of its own.
#[inline]
pub fn refusal_inside(ctx: &mut Ctx<'_>, row: &Row) -> Option<CmdError> {
    if ctx.client().gate & gate::QUOTA == 0 {
        return None;
    }
    let group = ctx.client().group;
    match row.cmd.is(flag::DENYOOM) {
        true => no_room(ctx, row, group),
        false if HOLD.contains(&row.cmd.name) => no_room_to_hold(ctx, group),
        false => None,
    }
}

/// Why a script with so long a text is refused, which is kept from now on.
pub fn refusal_of_script(ctx: &mut Ctx<'_>, bytes: usize) -> Option<CmdError> {
    let group = ctx.client().group;
    let bytes = bytes as u64;
    match bytes > SMALL {
        true => room(ctx, group, Wanted { keys: 0, bytes }),
        false => None,
    }
}

#[cold]
fn no_room(ctx: &mut Ctx<'_>, row: &Row, group: GroupId) -> Option<CmdError> {
    let wanted = wanted(ctx, row, group);
    room(ctx, group, wanted)
}

/// For what the session itself keeps of a request.
#[cold]
fn no_room_to_hold(ctx: &mut Ctx<'_>, group: GroupId) -> Option<CmdError> {
    let bytes = brought(ctx);
    let held = ctx.client().memory() - size_of::<Client>();
    match held + bytes as usize > HELD_FREE {
        true => room(ctx, group, Wanted { keys: 0, bytes }),
        false => None,
    }
}

fn room(ctx: &mut Ctx<'_>, group: GroupId, wanted: Wanted) -> Option<CmdError> {
    // The others' sessions were looked at when their input was read.
    ctx.state.note_held(ctx.me);
    let exceeded = ctx.state.make_room_in(group, wanted);
    if ctx.state.prop.has_unit() && ctx.mode == Mode::Client {
        // What went is no part of what the request does.
        ctx.state.prop.end_unit();
    }
    exceeded.map(|limit| error(ctx.state, group, limit))
}

/// Bytes of the request's arguments.
fn brought(ctx: &Ctx<'_>) -> u64 {
    let bytes: usize = ctx.argv.iter().map(<[u8]>::len).sum();
    bytes as u64
}

/// What a request would add. What a script or a transaction adds is asked for as it does.
fn wanted(ctx: &mut Ctx<'_>, row: &Row, group: GroupId) -> Wanted {
    let runs = row.cmd.flags & (flag::RUNS_SCRIPT | flag::RUNS_QUEUE) != 0;
    let group = ctx.state.groups.get(group).filter(|_| !runs);
    let Some(quotas) = group.map(|group| group.quotas) else {
        return Wanted::default();
    };
    Wanted {
        keys: if quotas.keys > 0 {
            new_keys(ctx, row)
        } else {
            0
        },
        bytes: if quotas.bytes > 0 {
            new_bytes(ctx, row)
        } else {
            0
        },
    }
}

/// The keys that a request writes, each with its database.
fn written<'a>(ctx: &Ctx<'a>, row: &Row) -> Vec<(usize, &'a [u8])> {
    let Ok(found) = keys::find(row.cmd, ctx.argv) else {
        return Vec::new();
    };
    let argv = ctx.argv;
    let copies = row.cmd.name == "copy";
    let named = |at: &usize| copies && argv.get(at - 1).eq_ignore_ascii_case(b"db");
    let db = (4..argv.len()).find(named).map(|at| argv.get(at));
    let db = db.and_then(|text| ctx.db_number(text).ok());
    let db = db.unwrap_or(ctx.db);
    let written = found
        .iter()
        .filter(|key| key.flags & (key_flag::RW | key_flag::OW) != 0);
    written.map(|key| (db, argv.get(key.at))).collect()
}

/// How many keys a request would add.
fn new_keys(ctx: &mut Ctx<'_>, row: &Row) -> u64 {
    let mut new = written(ctx, row);
    new.retain(|(db, key)| ctx.state.peek(*db, key).is_none());
    if new.len() > 1 {
        new.sort_unstable();
        new.dedup();
    }
    new.len() as u64
}

/// How many bytes a request would add, as far as that is known beforehand: what it brings, or how long it
/// makes a string. None where that is little.
fn new_bytes(ctx: &mut Ctx<'_>, row: &Row) -> u64 {
    let number = |at: usize| match at < ctx.argc() {
        true => parse_i64(ctx.arg(at)).and_then(|n| u64::try_from(n).ok()),
        false => None,
    };
    let (becomes, at) = match row.cmd.name {
        "setrange" if ctx.argc() > 3 && !ctx.arg(3).is_empty() => {
            let offset = number(2).unwrap_or(0);
            (offset.saturating_add(ctx.arg(3).len() as u64), 1)
        }
        "setbit" => (number(2).unwrap_or(0) / 8 + 1, 1),
        "bitfield" => (end_of_bitfield(ctx), 1),
        "bitop" => {
            let sources = ctx.argv.from(3);
            let longest = sources.iter().map(|key| bytes_at(ctx.state, ctx.db, key));
            (longest.max().unwrap_or(0), 2)
        }
        "copy" => {
            let bytes = bytes_at(ctx.state, ctx.db, ctx.arg(1));
            return if bytes > SMALL { bytes } else { 0 };
        }
        name => {
            let bytes = brought(ctx);
            if bytes <= SMALL {
                return 0;
            }
            if !OVERWRITE.contains(&name) {
                return bytes;
            }
            let taken = written(ctx, row).into_iter();
            let taken = taken.map(|(db, key)| bytes_at(ctx.state, db, key));
            return bytes.saturating_sub(taken.sum());
        }
    };
    if becomes <= SMALL || at >= ctx.argc() {
        return 0;
    }
    becomes.saturating_sub(bytes_at(ctx.state, ctx.db, ctx.arg(at)))
}

/// What a key takes.
fn bytes_at(state: &mut State, db: usize, key: &[u8]) -> u64 {
    let entry = state.peek(db, key);
    entry.map_or(0, |entry| entry.metered_bytes() as u64)
}

/// How long a string becomes by what BITFIELD writes: `SET type offset value` and the like.
fn end_of_bitfield(ctx: &Ctx<'_>) -> u64 {
    let (mut at, mut end) = (2, 0u64);
    while at + 3 < ctx.argc() {
        let word = ctx.arg(at);
        let writes = word.eq_ignore_ascii_case(b"set") || word.eq_ignore_ascii_case(b"incrby");
        if !writes {
            at += 1;
            continue;
        }
        let width = ctx.arg(at + 1).get(1..).and_then(parse_i64).unwrap_or(64);
        let width = u64::try_from(width).unwrap_or(64).min(64);
        let offset = ctx.arg(at + 2);
        let (offset, unit) = match offset.strip_prefix(b"#") {
            Some(offset) => (offset, width),
            None => (offset, 1),
        };
        let offset = parse_i64(offset).and_then(|offset| u64::try_from(offset).ok());
        let bits = offset
            .unwrap_or(0)
            .saturating_mul(unit)
            .saturating_add(width);
        end = end.max(bits.div_ceil(8));
        at += 4;
    }
    end
}

/// `-QUOTA ...` for a limit of a group.
pub fn error(state: &State, group: GroupId, limit: Limit) -> CmdError {
    let Some(group) = state.groups.get(group) else {
        return CmdError::new("QUOTA the group is gone");
    };
    let (name, most) = (&group.name, limit.of(&group.quotas));
    let what = limit.name();
    CmdError::owned(match limit {
        Limit::Ops => format!("QUOTA ops of group '{name}' are used up: {most} requests a second"),
        _ => format!("QUOTA {what} of group '{name}' are used up: the limit is {most}"),
    })
}
