//! Streams in RDB files and dumps: the nodes as they are, the counters, then the groups.
//!
//! ```text
//! nodes: count, (id 16 bytes BE as a string, listpack as a string) ...
//! length, last id [first id, highest deleted id, entries added: not in type 15]
//! groups: count, (name, last id [entries read: not in type 15], pending, consumers) ...
//! pending: count, (id 16 bytes, time u64 LE, deliveries) ...
//! consumers: count, (name, seen u64 LE [active u64 LE: only in type 21], own ids) ...
//! own ids: count, 16 bytes each
//! ```
//! Type 19 is written, which Redis 7.0 reads: when a consumer last got something is not in it, and
//! taken to be when it was last seen, as Redis does.

use super::{Delivery, Entries, Group, Stream, StreamId, TEXT_MAX};
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::types::Collection;
use crate::types::saved::{self, Loading};

pub(super) const RDB_TYPES: &[u8] = &[rdb::STREAM, rdb::STREAM_2, rdb::STREAM_3];

/// What type is written, whatever the stream.
pub(super) const RDB_TYPE: u8 = rdb::STREAM_2;

const BAD_NODE: &str = "a stream has a node that is none";
const NO_NODES: &str = "a stream has entries, but no nodes";
const GROUP_TWICE: &str = "a stream has a group twice";
const CONSUMER_TWICE: &str = "Duplicate stream consumer detected";
const PENDING_ORDER: &str = "pending entries are out of order";
const NOT_PENDING: &str = "a consumer has an entry that is not pending, or another's";
const NOBODYS: &str = "a pending entry is with no consumer";

pub(super) fn save(stream: &Entries, sink: &mut Sink<'_>) {
    sink.len(stream.nodes().count() as u64);
    for (id, node) in stream.nodes() {
        sink.string(&id.to_bytes());
        sink.string(node);
    }
    sink.len(stream.len());
    for id in [stream.last_id, stream.first_id(), stream.max_deleted_id] {
        save_id(id, sink);
    }
    sink.len(stream.entries_added);
    sink.len(stream.groups().len() as u64);
    for (name, group) in stream.groups() {
        sink.string(name);
        save_group(group, sink);
    }
}

/// An id as two numbers.
fn save_id(id: StreamId, sink: &mut Sink<'_>) {
    sink.len(id.ms);
    sink.len(id.seq);
}

fn save_group(group: &Group, sink: &mut Sink<'_>) {
    save_id(group.last_id, sink);
    sink.len(group.entries_read().unwrap_or(-1).cast_unsigned());
    sink.len(group.pending().len() as u64);
    for (id, delivery) in group.pending() {
        sink.raw(&id.to_bytes());
        sink.raw(&delivery.time_ms.to_le_bytes());
        sink.len(delivery.count);
    }
    sink.len(group.consumers().len() as u64);
    for consumer in group.consumers() {
        sink.string(consumer.name());
        sink.raw(&consumer.seen_ms.to_le_bytes());
        sink.len(consumer.pending().len() as u64);
        for id in consumer.pending() {
            sink.raw(&id.to_bytes());
        }
    }
}

/// The entries, the counters, then the groups with what is pending.
///
/// XCLAIM gives out only entries that are there. One that was deleted while it was pending is therefore
/// added in its place, and deleted again when it is with its consumer.
pub(super) fn rewrite(stream: &Entries, key: &[u8], out: &mut Commands<'_, '_>) {
    let gone = pending_and_gone(stream);
    let mut next_gone = gone.iter().copied().peekable();
    let mut all = stream.range(StreamId::ZERO, StreamId::MAX, false);
    while let Some(entry) = all.entry() {
        while let Some(id) = next_gone.next_if(|id| *id < entry.id) {
            rewrite_stand_in(id, key, &[], out);
        }
        out.command("XADD", 2 + 2 * entry.fields);
        out.bulk(key);
        rewrite_id(entry.id, out);
        while let Some((field, value)) = all.pair() {
            saved::argument(field, out);
            saved::argument(value, out);
        }
    }
    next_gone.for_each(|id| rewrite_stand_in(id, key, &[], out));
    if stream.is_empty() && gone.is_empty() {
        // A stream is there without entries, too. No entry has the lowest id.
        let id = stream.last_id.max(StreamId::new(0, 1));
        rewrite_stand_in(id, key, &[b"MAXLEN", b"0"], out);
    }
    if gone.is_empty() {
        rewrite_counters(stream, stream.last_id, key, out);
    }
    for (name, group) in stream.groups() {
        rewrite_group(name, group, key, out);
    }
    if !gone.is_empty() {
        let mut items = out.items("XDEL", key, gone.len(), 1);
        gone.iter().for_each(|id| rewrite_id(*id, items.item()));
        // Only here: with those that are not to stay there may be more entries than were ever added.
        let last_gone = gone.last().copied().unwrap_or_default();
        rewrite_counters(stream, stream.last_id.max(last_gone), key, out);
    }
}

/// The ids of entries that are pending and not there, in their order.
fn pending_and_gone(stream: &Entries) -> Vec<StreamId> {
    let pending = stream
        .groups()
        .flat_map(|(_, group)| group.pending().keys());
    let gone = pending.filter(|id| !stream.has(**id) && **id != StreamId::ZERO);
    let mut gone: Vec<StreamId> = gone.copied().collect();
    gone.sort_unstable();
    gone.dedup();
    gone
}

fn rewrite_id(id: StreamId, out: &mut Commands<'_, '_>) {
    out.bulk(id.text(&mut [0; TEXT_MAX]));
}

/// An entry that is not to stay.
fn rewrite_stand_in(id: StreamId, key: &[u8], options: &[&[u8]], out: &mut Commands<'_, '_>) {
    out.command("XADD", 4 + options.len());
    out.bulk(key);
    options.iter().for_each(|word| out.bulk(word));
    rewrite_id(id, out);
    out.bulk(b"x");
    out.bulk(b"y");
}

/// A file may have said anything of them: what XSETID would refuse is made plausible.
fn rewrite_counters(stream: &Entries, last_id: StreamId, key: &[u8], out: &mut Commands<'_, '_>) {
    out.command("XSETID", 6);
    out.bulk(key);
    rewrite_id(last_id, out);
    out.bulk(b"ENTRIESADDED");
    out.uint(stream.entries_added.clamp(stream.len(), i64::MAX as u64));
    out.bulk(b"MAXDELETEDID");
    rewrite_id(stream.max_deleted_id.min(last_id), out);
}

fn rewrite_group(name: &[u8], group: &Group, key: &[u8], out: &mut Commands<'_, '_>) {
    out.command("XGROUP", 6);
    out.bulk(b"CREATE");
    out.bulk(key);
    out.bulk(name);
    rewrite_id(group.last_id, out);
    out.bulk(b"ENTRIESREAD");
    out.int(group.entries_read().unwrap_or(-1).max(-1));
    for consumer in group.consumers() {
        // Zero is no entry's id, whatever a file says.
        let pending = || {
            consumer
                .pending()
                .iter()
                .filter(|id| **id != StreamId::ZERO)
        };
        if pending().next().is_none() {
            out.command("XGROUP", 4);
            out.bulk(b"CREATECONSUMER");
            out.bulk(key);
            out.bulk(name);
            out.bulk(consumer.name());
        }
        for id in pending() {
            if let Some(delivery) = group.delivery(*id) {
                rewrite_pending(*id, delivery, [key, name, consumer.name()], out);
            }
        }
    }
}

fn rewrite_pending(
    id: StreamId,
    delivery: Delivery,
    whose: [&[u8]; 3],
    out: &mut Commands<'_, '_>,
) {
    out.command("XCLAIM", 11);
    whose.iter().for_each(|word| out.bulk(word));
    out.bulk(b"0");
    rewrite_id(id, out);
    out.bulk(b"TIME");
    out.int(delivery.time_ms);
    out.bulk(b"RETRYCOUNT");
    out.uint(delivery.count.min(i64::MAX as u64));
    out.bulk(b"JUSTID");
    out.bulk(b"FORCE");
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, _how: &Loading) -> Result<Stream, Fault> {
    let mut stream = Stream::new();
    // A node's id is a string of 16 bytes.
    let count = source.count(18)?;
    for _ in 0..count {
        let (id, node) = (source.string()?, source.string()?);
        let (mut one, mut two) = ([0; 20], [0; 20]);
        let id = id.bytes(&mut one).try_into().map(StreamId::from_bytes);
        let added = id.is_ok_and(|id| stream.add_node(id, node.bytes(&mut two)));
        if !added {
            return Err(source.bad(BAD_NODE));
        }
    }
    // How many entries there are the nodes say.
    if source.len()? > 0 && count == 0 {
        return Err(source.bad(NO_NODES));
    }
    stream.settle(load_id(source)?);
    if rdb_type == rdb::STREAM {
        stream.entries_added = stream.len();
    } else {
        let _first_id = load_id(source)?;
        stream.max_deleted_id = load_id(source)?;
        stream.entries_added = source.len()?;
    }
    // The least group: an empty name, two halves of an id, nothing pending, no consumers.
    for _ in 0..source.count(5)? {
        let name = source.string()?.into_vec();
        let group = load_group(rdb_type, source, &stream)?;
        if !stream.create_group(&name, group) {
            return Err(source.bad(GROUP_TWICE));
        }
    }
    Ok(stream)
}

fn load_id(source: &mut Source<'_>) -> Result<StreamId, Fault> {
    Ok(StreamId::new(source.len()?, source.len()?))
}

/// An id as its bytes.
fn load_raw_id(source: &mut Source<'_>) -> Result<StreamId, Fault> {
    let bytes = source.take(16)?.try_into();
    bytes
        .map(StreamId::from_bytes)
        .map_err(|_| source.bad(BAD_NODE))
}

fn load_ms(source: &mut Source<'_>) -> Result<i64, Fault> {
    source.u64_le().map(u64::cast_signed)
}

fn load_group(rdb_type: u8, source: &mut Source<'_>, stream: &Entries) -> Result<Group, Fault> {
    let last_id = load_id(source)?;
    let entries_read = if rdb_type == rdb::STREAM {
        stream.distance_from_first(last_id).unwrap_or(-1)
    } else {
        source.len()?.cast_signed()
    };
    let mut group = Group::new(last_id, entries_read);
    let pending = load_pending(source)?;
    // The least consumer: an empty name, a time, no entries.
    for _ in 0..source.count(10)? {
        let name = source.string()?.into_vec();
        let seen_ms = load_ms(source)?;
        let active_ms = if rdb_type == rdb::STREAM_3 {
            load_ms(source)?
        } else {
            seen_ms
        };
        if group.find_consumer(&name).is_some() {
            return Err(source.bad(CONSUMER_TWICE));
        }
        let id = group.create_consumer(&name, seen_ms);
        group.consumer_mut(id).active_ms = (active_ms != -1).then_some(active_ms);
        for _ in 0..source.count(16)? {
            let entry = load_raw_id(source)?;
            let found = pending.binary_search_by_key(&entry, |(entry, ..)| *entry);
            let (Ok(at), None) = (found, group.delivery(entry)) else {
                return Err(source.bad(NOT_PENDING));
            };
            let (_, time_ms, count) = pending[at];
            group.deliver(
                entry,
                Delivery {
                    time_ms,
                    count,
                    consumer: id,
                },
            );
        }
    }
    if group.pending().len() != pending.len() {
        return Err(source.bad(NOBODYS));
    }
    Ok(group)
}

/// What is pending in a group: ids with time and number of their deliveries.
fn load_pending(source: &mut Source<'_>) -> Result<Vec<(StreamId, i64, u64)>, Fault> {
    let count = source.count(25)?;
    let mut pending: Vec<(StreamId, i64, u64)> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = load_raw_id(source)?;
        let (time_ms, deliveries) = (load_ms(source)?, source.len()?);
        if pending.last().is_some_and(|(last, ..)| *last >= id) {
            return Err(source.bad(PENDING_ORDER));
        }
        pending.push((id, time_ms, deliveries));
    }
    Ok(pending)
}

/// Fuzz target: a stream that was accepted stands every operation, and its counts stay true.
///
/// The first byte chooses the type, the second what is done, the rest is the payload.
pub fn fuzz_stream(data: &[u8]) {
    let [rdb_type, deed, payload @ ..] = data else {
        return;
    };
    let rdb_type = RDB_TYPES[usize::from(*rdb_type) % RDB_TYPES.len()];
    let mut source = Source::new(payload);
    let Ok(mut stream) = load(rdb_type, &mut source, &Loading::for_tests()) else {
        return;
    };
    let count = |stream: &Entries, backwards| {
        let (mut n, mut all) = (0, stream.range(StreamId::ZERO, StreamId::MAX, backwards));
        while all.entry().is_some() {
            n += 1;
            while all.pair().is_some() {}
        }
        n
    };
    let sound = |stream: &Entries| {
        assert_eq!(count(stream, false), stream.len());
        assert_eq!(count(stream, true), stream.len());
        for (_, group) in stream.groups() {
            let own = group.consumers().map(|consumer| consumer.pending().len());
            assert_eq!(own.sum::<usize>(), group.pending().len());
            stream.lag(group);
        }
        assert!(stream.node_counts().1 > 0);
    };
    sound(&stream);
    let half = stream.len() / 2;
    let middle = StreamId::new(stream.first_id().ms / 2 + stream.last_id.ms / 2, 0);
    match deed % 4 {
        0 => _ = stream.trim(super::Trim::MaxLen(half), deed & 4 != 0, 0),
        1 => _ = stream.trim(super::Trim::MinId(middle), deed & 4 != 0, 0),
        2 => {
            let (mut ids, mut all) = (Vec::new(), stream.range(StreamId::ZERO, middle, true));
            while let Some(entry) = all.entry() {
                ids.push(entry.id);
            }
            assert_eq!(stream.delete(&ids), ids.len());
        }
        _ => {
            let argv: crate::resp::request::OwnedArgv =
                [&b"field"[..], b"value"].into_iter().collect();
            let limits = super::Limits {
                bytes: 4096,
                entries: 100,
            };
            if let Some(id) = stream.next_id(0) {
                let before = stream.len();
                assert!(stream.append(id, argv.argv(), &limits).is_ok());
                assert_eq!((stream.len(), stream.last_entry()), (before + 1, Some(id)));
            }
        }
    }
    sound(&stream);
    let names: Vec<Vec<u8>> = stream.groups().map(|(name, _)| name.to_vec()).collect();
    for name in names {
        let Some(mut group) = stream.take_group(&name) else {
            continue;
        };
        let ids: Vec<StreamId> = group.pending().keys().copied().collect();
        assert!(ids.iter().step_by(2).all(|id| group.forget(*id)));
        let first = group.consumers().next();
        let first = first.and_then(|first| group.find_consumer(first.name()));
        if let Some(first) = first {
            group.delete_consumer(first);
        }
        stream.put_group(&name, group);
    }
    sound(&stream);
    // A trimmed stream can be saved and loaded, too.
    let mut sink = Sink::to_memory(true);
    save(&stream, &mut sink);
    let bytes = sink.into_vec();
    let again = load(RDB_TYPE, &mut Source::new(&bytes), &Loading::for_tests());
    let again = again.expect("what was saved can be loaded");
    assert_eq!((again.len(), again.last_id), (stream.len(), stream.last_id));
}
