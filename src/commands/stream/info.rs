//! XINFO: a stream, its groups and their consumers as they stand.

use super::group::no_group;
use super::{read, reply_entry, reply_id, reply_range};
use crate::base::num;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NO_SUCH_KEY, NOT_INTEGER, subcommand_syntax};
use crate::resp::reply::Writer;
use crate::types::stream::{Entries, Group, StreamId};

/// Entries, and pending ones of each group and consumer, that FULL shows when it does not say.
const COUNT_DEFAULT: u64 = 10;

pub(super) fn consumers(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.arg(2), ctx.arg(3));
    let now_ms = ctx.state.clock.unix_ms;
    let stream = read(ctx.state, ctx.db, key)?.ok_or(NO_SUCH_KEY)?;
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    let out = &mut *ctx.out;
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        let idle_ms = now_ms.wrapping_sub(consumer.seen_ms).max(0);
        let inactive_ms = match consumer.active_ms {
            Some(active_ms) => now_ms.wrapping_sub(active_ms).max(0),
            None => -1,
        };
        out.map(4);
        out.bulk(b"name");
        out.bulk(consumer.name());
        reply_int(out, "pending", consumer.pending().len() as i64);
        reply_int(out, "idle", idle_ms);
        reply_int(out, "inactive", inactive_ms);
    }
    Ok(Outcome::Done)
}

pub(super) fn groups(ctx: &mut Ctx<'_>) -> CmdResult {
    let stream = read(ctx.state, ctx.db, ctx.argv.get(2))?.ok_or(NO_SUCH_KEY)?;
    let out = &mut *ctx.out;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        reply_int(out, "consumers", group.consumers().len() as i64);
        reply_int(out, "pending", group.pending().len() as i64);
        reply_progress(out, stream, group);
    }
    Ok(Outcome::Done)
}

fn reply_int(out: &mut Writer, name: &str, value: i64) {
    out.bulk(name.as_bytes());
    out.int(value);
}

fn reply_known(out: &mut Writer, name: &str, value: Option<i64>) {
    out.bulk(name.as_bytes());
    match value {
        Some(value) => out.int(value),
        None => out.null(),
    }
}

/// Up to where a group has read, and how far it is behind.
fn reply_progress(out: &mut Writer, stream: &Entries, group: &Group) {
    out.bulk(b"last-delivered-id");
    reply_id(out, group.last_id);
    reply_known(out, "entries-read", group.entries_read());
    reply_known(out, "lag", stream.lag(group));
}

/// Reads `FULL [COUNT n]`: how much to show of each part (0: all), or none without FULL.
fn parse_full(ctx: &Ctx<'_>) -> Result<Option<u64>, CmdError> {
    let syntax = || subcommand_syntax(ctx.arg(1), "XINFO");
    let (options, is) = (ctx.argv.from(3), <[u8]>::eq_ignore_ascii_case);
    match options.len() {
        0 => Ok(None),
        1 | 3 if !is(options.get(0), b"full") => Err(syntax()),
        1 => Ok(Some(COUNT_DEFAULT)),
        3 if !is(options.get(1), b"count") => Err(syntax()),
        3 => {
            let count = num::parse_i64(options.get(2)).ok_or(NOT_INTEGER)?;
            Ok(Some(u64::try_from(count).unwrap_or(COUNT_DEFAULT)))
        }
        _ => Err(syntax()),
    }
}

pub(super) fn stream(ctx: &mut Ctx<'_>) -> CmdResult {
    // As in Redis the key is looked at before the options.
    let db = ctx.db;
    read(ctx.state, db, ctx.argv.get(2))?.ok_or(NO_SUCH_KEY)?;
    let full = parse_full(ctx)?;
    let entry = ctx.state.dbs.get(db, ctx.argv.get(2)).ok_or(NO_SUCH_KEY)?;
    let stream = entry.get::<crate::types::stream::Stream>()?;
    let out = &mut *ctx.out;
    let (nodes, radix_nodes) = stream.node_counts();
    out.map(if full.is_some() { 9 } else { 10 });
    reply_int(out, "length", stream.len().cast_signed());
    reply_int(out, "radix-tree-keys", nodes as i64);
    reply_int(out, "radix-tree-nodes", radix_nodes as i64);
    for (name, id) in [
        ("last-generated-id", stream.last_id),
        ("max-deleted-entry-id", stream.max_deleted_id),
    ] {
        out.bulk(name.as_bytes());
        reply_id(out, id);
    }
    reply_int(out, "entries-added", stream.entries_added.cast_signed());
    out.bulk(b"recorded-first-entry-id");
    reply_id(out, stream.first_id());
    match full {
        None => brief(out, stream),
        Some(count) => {
            out.bulk(b"entries");
            reply_range(
                out,
                stream.range(StreamId::ZERO, StreamId::MAX, false),
                count,
            );
            out.bulk(b"groups");
            out.array(stream.groups().len());
            for (name, group) in stream.groups() {
                full_group(out, stream, name, group, count);
            }
        }
    }
    Ok(Outcome::Done)
}

fn brief(out: &mut Writer, stream: &Entries) {
    reply_int(out, "groups", stream.groups().len() as i64);
    for (name, backwards) in [("first-entry", false), ("last-entry", true)] {
        out.bulk(name.as_bytes());
        let mut range = stream.range(StreamId::ZERO, StreamId::MAX, backwards);
        match range.entry() {
            Some(entry) => reply_entry(out, entry.id, entry.fields, &mut range),
            None => out.null(),
        }
    }
}

fn full_group(out: &mut Writer, stream: &Entries, name: &[u8], group: &Group, count: u64) {
    let shown = |len: usize| match count {
        0 => len,
        count => len.min(usize::try_from(count).unwrap_or(usize::MAX)),
    };
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    reply_progress(out, stream, group);
    let pending = group.pending();
    reply_int(out, "pel-count", pending.len() as i64);
    out.bulk(b"pending");
    out.array(shown(pending.len()));
    for (id, delivery) in pending.iter().take(shown(pending.len())) {
        out.array(4);
        reply_id(out, *id);
        out.bulk(group.consumer(delivery.consumer).name());
        out.int(delivery.time_ms);
        out.int(delivery.count.cast_signed());
    }
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    for consumer in group.consumers() {
        out.map(5);
        out.bulk(b"name");
        out.bulk(consumer.name());
        reply_int(out, "seen-time", consumer.seen_ms);
        reply_int(out, "active-time", consumer.active_ms.unwrap_or(-1));
        let pending = consumer.pending();
        reply_int(out, "pel-count", pending.len() as i64);
        out.bulk(b"pending");
        let most = shown(pending.len());
        out.array(most);
        for id in pending.iter().take(most) {
            let delivery = group.delivery(*id);
            out.array(3);
            reply_id(out, *id);
            out.int(delivery.map_or(0, |delivery| delivery.time_ms));
            out.int(delivery.map_or(0, |delivery| delivery.count.cast_signed()));
        }
    }
}

pub(super) fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CONSUMERS <key> <groupname>",
        "    Shows the consumers of a group.",
        "GROUPS <key>",
        "    Shows the groups of a stream.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Shows a stream; FULL: with entries, groups and what is pending.",
    ])
}
