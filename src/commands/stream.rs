//! Streams: XADD and its kin; reading in `read`, groups in `group` and `claim`, XINFO in `info`.
//!
//! What reading through a group changes is no change of the key: as in Redis it does not break a
//! WATCH, and the log gets it as XCLAIM and XGROUP SETID, whatever the request was.

mod add;
mod claim;
mod group;
mod info;
mod read;

use crate::base::num;
use crate::commands::vals;
use crate::ds::table::Slot;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RO_META, KEY1_RW_DELETE, KEY1_RW_UPDATE, KeySpec, NO_KEYS,
    Outcome, acl, cmd, container, flag, key_flag as k,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NO_SUCH_KEY, NOT_INTEGER, SYNTAX, shown};
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::stream::{Entries, Range, Stream, StreamId, TEXT_MAX};

use acl::NONE;
use flag::{BLOCKING, DENYOOM, FAST, LOADING, READONLY, STALE, WRITE};

const KEY2_RO: &[KeySpec] = &[KeySpec::range(k::RO | k::ACCESS, 2, 2, 1)];
const KEY2_RW_INSERT: &[KeySpec] = &[KeySpec::range(k::RW | k::INSERT, 2, 2, 1)];
const KEY2_RW_UPDATE: &[KeySpec] = &[KeySpec::range(k::RW | k::UPDATE, 2, 2, 1)];
const KEY2_RW_DELETE: &[KeySpec] = &[KeySpec::range(k::RW | k::DELETE, 2, 2, 1)];

const COMMANDS: &[Command] = &[
    cmd(
        "xadd",
        -5,
        WRITE | DENYOOM | FAST,
        NONE,
        KEY1_RW_UPDATE,
        add::xadd,
    ),
    cmd("xlen", 2, READONLY | FAST, NONE, KEY1_RO_META, xlen),
    cmd("xrange", -4, READONLY, NONE, KEY1_RO, xrange),
    cmd("xrevrange", -4, READONLY, NONE, KEY1_RO, xrevrange),
    cmd("xdel", -3, WRITE | FAST, NONE, KEY1_RW_DELETE, xdel),
    cmd("xtrim", -4, WRITE, NONE, KEY1_RW_DELETE, add::xtrim),
    cmd(
        "xsetid",
        -3,
        WRITE | DENYOOM | FAST,
        NONE,
        KEY1_RW_UPDATE,
        xsetid,
    ),
    cmd(
        "xread",
        -4,
        BLOCKING | READONLY,
        NONE,
        read::XREAD_KEYS,
        read::xread,
    )
    .with_finder(read::find_keys),
    cmd(
        "xreadgroup",
        -7,
        BLOCKING | WRITE,
        NONE,
        read::XREADGROUP_KEYS,
        read::xreadgroup,
    )
    .with_finder(read::find_keys),
    cmd("xack", -4, WRITE | FAST, NONE, KEY1_RW_UPDATE, group::xack),
    cmd("xpending", -3, READONLY, NONE, KEY1_RO, claim::xpending),
    cmd(
        "xclaim",
        -6,
        WRITE | FAST,
        NONE,
        KEY1_RW_UPDATE,
        claim::xclaim,
    ),
    cmd(
        "xautoclaim",
        -6,
        WRITE | FAST,
        NONE,
        KEY1_RW_DELETE,
        claim::xautoclaim,
    ),
];

/// Subcommands are in @stream, their containers in no category but @slow.
const GROUP_SUBS: &[Command] = &[
    cmd(
        "create",
        -5,
        WRITE | DENYOOM,
        acl::STREAM,
        KEY2_RW_INSERT,
        group::create,
    ),
    cmd(
        "createconsumer",
        5,
        WRITE | DENYOOM,
        acl::STREAM,
        KEY2_RW_INSERT,
        group::create_consumer,
    ),
    cmd(
        "delconsumer",
        5,
        WRITE,
        acl::STREAM,
        KEY2_RW_DELETE,
        group::delete_consumer,
    ),
    cmd(
        "destroy",
        4,
        WRITE,
        acl::STREAM,
        KEY2_RW_DELETE,
        group::destroy,
    ),
    cmd(
        "help",
        2,
        LOADING | STALE,
        acl::STREAM,
        NO_KEYS,
        group::help,
    ),
    cmd(
        "setid",
        -5,
        WRITE,
        acl::STREAM,
        KEY2_RW_UPDATE,
        group::set_id,
    ),
];

const INFO_SUBS: &[Command] = &[
    cmd(
        "consumers",
        4,
        READONLY,
        acl::STREAM,
        KEY2_RO,
        info::consumers,
    ),
    cmd("groups", 3, READONLY, acl::STREAM, KEY2_RO, info::groups),
    cmd("help", 2, LOADING | STALE, acl::STREAM, NO_KEYS, info::help),
    cmd("stream", -3, READONLY, acl::STREAM, KEY2_RO, info::stream),
];

/// Streams.
pub static FAMILY: Family = Family {
    group: "stream",
    acl: acl::STREAM,
    commands: COMMANDS,
};

/// XGROUP and XINFO.
pub static CONTAINERS: Family = Family {
    group: "stream",
    acl: acl::NONE,
    commands: &[
        container("xgroup", -2, 0, NONE, GROUP_SUBS),
        container("xinfo", -2, 0, NONE, INFO_SUBS),
    ],
};

const INVALID_ID: CmdError =
    CmdError::new("ERR Invalid stream ID specified as stream command argument");
const INVALID_START: CmdError = CmdError::new("ERR invalid start ID for the interval");
const INVALID_END: CmdError = CmdError::new("ERR invalid end ID for the interval");

/// An id as it stands; `ms` alone is `ms-0`.
fn parse_id(text: &[u8]) -> Result<StreamId, CmdError> {
    StreamId::parse(text, 0).ok_or(INVALID_ID)
}

/// The same, or `-` and `+` for the first and the last of all.
fn parse_edge(text: &[u8], missing_seq: u64) -> Result<StreamId, CmdError> {
    match shown(text, usize::MAX) {
        b"-" if text.len() < 128 => Ok(StreamId::ZERO),
        b"+" if text.len() < 128 => Ok(StreamId::MAX),
        _ => StreamId::parse(text, missing_seq).ok_or(INVALID_ID),
    }
}

/// Where an interval begins: an id, `-`, or `(` and the id before it.
fn parse_start(text: &[u8]) -> Result<StreamId, CmdError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let id = StreamId::parse(id, 0).ok_or(INVALID_ID)?;
            id.next().ok_or(INVALID_START)
        }
        _ => parse_edge(text, 0),
    }
}

/// Where an interval ends: an id, `+`, or `(` and the id behind it.
fn parse_end(text: &[u8]) -> Result<StreamId, CmdError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            let id = StreamId::parse(id, u64::MAX).ok_or(INVALID_ID)?;
            id.prev().ok_or(INVALID_END)
        }
        _ => parse_edge(text, u64::MAX),
    }
}

/// Reads the stream under a key.
fn read<'s>(state: &'s mut State, db: usize, key: &[u8]) -> Result<Option<&'s Entries>, CmdError> {
    match state.lookup_read(db, key) {
        Some(entry) => Ok(Some(entry.get::<Stream>()?)),
        None => Ok(None),
    }
}

/// The slot of the stream under a key, looked up as a reader does: what it counts is a read.
fn read_slot(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Option<Slot>, CmdError> {
    if ctx.read_kind(key, Kind::Stream)?.is_none() {
        return Ok(None);
    }
    Ok(ctx.state.dbs.find(ctx.db, key))
}

/// A change that is none of the key's own: counted and told, but no WATCH breaks.
fn changed_aside(ctx: &mut Ctx<'_>, key: &[u8], event: Event) {
    ctx.state.dirty += 1;
    ctx.state.notify(ctx.db, key, event);
}

fn reply_id(out: &mut Writer, id: StreamId) {
    out.bulk(id.text(&mut [0; TEXT_MAX]));
}

/// The entry that `range` is at: its id, and the array of its fields and values.
#[inline]
fn reply_entry(out: &mut Writer, id: StreamId, fields: usize, range: &mut Range<'_>) {
    out.array(2);
    reply_id(out, id);
    out.array(2 * fields);
    while let Some((field, value)) = range.pair() {
        vals::reply(out, Some(field));
        vals::reply(out, Some(value));
    }
}

/// An array of the entries of a range, `count` at most (0: all).
fn reply_range(out: &mut Writer, mut range: Range<'_>, count: u64) {
    let hole = out.open();
    let mut n = 0;
    while let Some(entry) = range.entry() {
        reply_entry(out, entry.id, entry.fields, &mut range);
        n += 1;
        if n as u64 == count {
            break;
        }
    }
    out.close_array(hole, n);
}

/// A single entry; false without it.
fn reply_one(out: &mut Writer, entries: &Entries, id: StreamId) -> bool {
    let mut range = entries.range(id, id, false);
    let Some(entry) = range.entry() else {
        return false;
    };
    reply_entry(out, entry.id, entry.fields, &mut range);
    true
}

fn xlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let len = read(ctx.state, ctx.db, ctx.argv.get(1))?.map_or(0, Entries::len);
    ctx.int(len.cast_signed())
}

fn xrange(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, 2, 3, false)
}

fn xrevrange(ctx: &mut Ctx<'_>) -> CmdResult {
    range(ctx, 3, 2, true)
}

fn range(ctx: &mut Ctx<'_>, start_at: usize, end_at: usize, backwards: bool) -> CmdResult {
    let start = parse_start(ctx.arg(start_at))?;
    let end = parse_end(ctx.arg(end_at))?;
    let mut count = None;
    let mut at = 4;
    while at < ctx.argc() {
        if !ctx.arg(at).eq_ignore_ascii_case(b"count") || at + 1 == ctx.argc() {
            return Err(SYNTAX);
        }
        let n = num::parse_i64(ctx.arg(at + 1)).ok_or(NOT_INTEGER)?;
        count = Some(n.max(0).cast_unsigned());
        at += 2;
    }
    let Some(stream) = read(ctx.state, ctx.db, ctx.argv.get(1))? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    match count {
        Some(0) => ctx.out.null_array(),
        count => reply_range(
            ctx.out,
            stream.range(start, end, backwards),
            count.unwrap_or(0),
        ),
    }
    Ok(Outcome::Done)
}

fn xdel(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let Some(slot) = ctx.write_kind(key, Kind::Stream)? else {
        return ctx.int(0);
    };
    // All of them are read before the first one goes.
    let ids = parse_ids(ctx, 2)?;
    let change = |stream: &mut Stream| stream.delete(&ids);
    let (_, deleted) = ctx.state.dbs[ctx.db].update::<Stream, _>(slot, change)?;
    if deleted > 0 {
        ctx.modified(key, Event::XDEL, deleted);
    }
    ctx.int(deleted as i64)
}

/// The ids from an argument on.
fn parse_ids(ctx: &Ctx<'_>, from: usize) -> Result<Vec<StreamId>, CmdError> {
    ctx.argv.from(from).iter().map(parse_id).collect()
}

fn xsetid(ctx: &mut Ctx<'_>) -> CmdResult {
    const SMALLER_THAN_GIVEN: CmdError = CmdError::new(
        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    );
    const SMALLER_THAN_DELETED: CmdError = CmdError::new(
        "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
    );
    const SMALLER_THAN_TOP: CmdError =
        CmdError::new("ERR The ID specified in XSETID is smaller than the target stream top item");
    const FEWER_THAN_THERE: CmdError = CmdError::new(
        "ERR The entries_added specified in XSETID is smaller than the target stream length",
    );

    let key = ctx.arg(1);
    let id = parse_id(ctx.arg(2))?;
    let (mut added, mut max_deleted) = (None, StreamId::ZERO);
    let mut at = 3;
    while at < ctx.argc() {
        let (word, more) = (ctx.arg(at), at + 1 < ctx.argc());
        if more && word.eq_ignore_ascii_case(b"entriesadded") {
            let n = num::parse_i64(ctx.arg(at + 1)).ok_or(NOT_INTEGER)?;
            let n = u64::try_from(n)
                .map_err(|_| CmdError::new("ERR entries_added must be positive"))?;
            added = Some(n);
        } else if more && word.eq_ignore_ascii_case(b"maxdeletedid") {
            max_deleted = parse_id(ctx.arg(at + 1))?;
            if id < max_deleted {
                return Err(SMALLER_THAN_GIVEN);
            }
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let slot = ctx.write_kind(key, Kind::Stream)?.ok_or(NO_SUCH_KEY)?;
    let change = |stream: &mut Stream| {
        if id < stream.max_deleted_id {
            return Err(SMALLER_THAN_DELETED);
        }
        if stream.last_entry().is_some_and(|last| id < last) {
            return Err(SMALLER_THAN_TOP);
        }
        if !stream.is_empty() && added.is_some_and(|added| added < stream.len()) {
            return Err(FEWER_THAN_THERE);
        }
        stream.last_id = id;
        stream.entries_added = added.unwrap_or(stream.entries_added);
        if max_deleted != StreamId::ZERO {
            stream.max_deleted_id = max_deleted;
        }
        Ok(())
    };
    ctx.state.dbs[ctx.db].update::<Stream, _>(slot, change)?.1?;
    changed_aside(ctx, key, Event::XSETID);
    ctx.ok()
}

#[cfg(test)]
mod tests;
