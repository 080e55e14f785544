//! A stream against maps of the standard library: entries, trimming, groups.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::rng::Rng;
use crate::resp::request::OwnedArgv;

type Model = BTreeMap<StreamId, Vec<(Vec<u8>, Vec<u8>)>>;

fn pairs(fields: &[(Vec<u8>, Vec<u8>)]) -> OwnedArgv {
    let flat = fields
        .iter()
        .flat_map(|(field, value)| [&field[..], &value[..]]);
    flat.collect()
}

fn add(stream: &mut Entries, id: StreamId, limits: &Limits) {
    let argv = pairs(&[(b"f".to_vec(), b"v".to_vec())]);
    stream
        .append(id, argv.argv(), limits)
        .expect("above the last one");
}

fn content(stream: &Entries, start: StreamId, end: StreamId, backwards: bool) -> Model {
    let (mut model, mut range) = (Model::new(), stream.range(start, end, backwards));
    let mut last = None;
    while let Some(entry) = range.entry() {
        let mut fields = Vec::new();
        // Now and then the fields are left unread.
        while let Some((field, value)) = range.pair() {
            fields.push((field.to_vec(), value.to_vec()));
        }
        assert_eq!(fields.len(), entry.fields);
        assert!(last.is_none_or(|last| if backwards {
            last > entry.id
        } else {
            last < entry.id
        }));
        last = Some(entry.id);
        model.insert(entry.id, fields);
    }
    model
}

/// Everything that can be seen of a stream is as the model says.
fn compare(stream: &Entries, model: &Model, rng: &mut Rng, ids: u64) {
    assert_eq!(stream.len() as usize, model.len());
    assert_eq!(stream.is_empty(), model.is_empty());
    let first = model
        .first_key_value()
        .map_or(StreamId::ZERO, |(id, _)| *id);
    assert_eq!(stream.first_id(), first);
    assert_eq!(
        stream.last_entry(),
        model.last_key_value().map(|(id, _)| *id)
    );
    let edge = |rng: &mut Rng| StreamId::new(rng.below(ids + 2), rng.below(4));
    let (start, end) = (edge(rng), edge(rng));
    let within: Model = if start <= end {
        model
            .range(start..=end)
            .map(|(id, fields)| (*id, fields.clone()))
            .collect()
    } else {
        Model::new()
    };
    assert_eq!(content(stream, start, end, false), within);
    assert_eq!(content(stream, start, end, true), within);
    assert_eq!(stream.has(start), model.contains_key(&start));
    // Fields that are not read do no harm.
    let (mut unread, mut count) = (stream.range(start, end, false), 0);
    while unread.entry().is_some() {
        count += 1;
    }
    assert_eq!(count, within.len());
    // The nodes are such as files carry, and make the same stream again.
    let mut again = Entries::default();
    for (id, node) in stream.nodes() {
        assert!(again.add_node(id, node));
        assert!(!again.add_node(id, node), "only once");
    }
    again.settle(stream.last_id);
    assert_eq!(
        (again.len(), again.first_id()),
        (stream.len(), stream.first_id())
    );
    assert_eq!(again.last_entry(), stream.last_entry());
}

#[test]
fn behaves_as_a_map() {
    let limits = [(4096, 100), (0, 3), (60, 0), (4096, 1), (0, 0), (200, 200)];
    for (seed, (bytes, entries)) in limits.into_iter().enumerate() {
        let limits = Limits { bytes, entries };
        let mut rng = Rng::from_seed(seed as u64);
        let (mut stream, mut model) = (Entries::default(), Model::new());
        let (mut ms, mut added, mut max_deleted) = (1, 0, StreamId::ZERO);
        for step in 0..if cfg!(miri) { 120 } else { 6_000 } {
            match rng.below(12) {
                0..8 => {
                    ms += rng.below(3);
                    let id = StreamId::new(ms, rng.below(4));
                    let count = if rng.below(4) == 0 {
                        1 + rng.below(4)
                    } else {
                        2
                    };
                    let fields: Vec<_> = (0..count)
                        .map(|n| {
                            let field = if rng.below(9) == 0 {
                                b"x".to_vec()
                            } else {
                                vec![b'a' + n as u8]
                            };
                            let value = match rng.below(4) {
                                0 => (rng.next_u64().cast_signed() >> rng.below(64))
                                    .to_string()
                                    .into_bytes(),
                                _ => vec![b'v'; rng.below(30) as usize],
                            };
                            (field, value)
                        })
                        .collect();
                    let above = id > stream.last_id;
                    let done = stream.append(id, pairs(&fields).argv(), &limits);
                    assert_eq!(done.is_ok(), above);
                    if above {
                        added += 1;
                        model.insert(id, fields);
                    }
                }
                8 | 9 => {
                    let ids: Vec<_> = (0..rng.below(4))
                        .map(|_| {
                            let recent = ms.saturating_sub(rng.below(60));
                            StreamId::new(recent, rng.below(4))
                        })
                        .collect();
                    let gone = ids.iter().filter(|id| {
                        let gone = model.remove(id).is_some();
                        if gone {
                            max_deleted = max_deleted.max(**id);
                        }
                        gone
                    });
                    let gone = gone.count();
                    assert_eq!(stream.delete(&ids), gone);
                }
                10 if rng.below(8) == 0 => {
                    let most = rng.below(80);
                    let gone = (model.len() as u64).saturating_sub(most);
                    if rng.below(2) == 0 {
                        assert_eq!(stream.trim(Trim::MaxLen(most), false, 0), gone);
                        (0..gone).for_each(|_| _ = model.pop_first());
                    } else {
                        let limit = rng.below(50);
                        let trimmed = stream.trim(Trim::MaxLen(most), true, limit);
                        assert!(trimmed <= gone && (limit == 0 || trimmed <= limit));
                        (0..trimmed).for_each(|_| _ = model.pop_first());
                    }
                }
                11 if rng.below(8) == 0 => {
                    let min = StreamId::new(ms.saturating_sub(rng.below(60)), rng.below(4));
                    let below = model.range(..min).count() as u64;
                    let whole = rng.below(2) == 0;
                    let trimmed = stream.trim(Trim::MinId(min), whole, 0);
                    assert!(trimmed == below || whole && trimmed < below);
                    (0..trimmed).for_each(|_| _ = model.pop_first());
                }
                _ => {}
            }
            assert_eq!(
                (stream.entries_added, stream.max_deleted_id),
                (added, max_deleted)
            );
            if step % 16 == 0 {
                compare(&stream, &model, &mut rng, ms);
            }
        }
        compare(&stream.clone(), &model, &mut rng, ms);
        let all: Vec<StreamId> = model.keys().copied().collect();
        assert_eq!(stream.delete(&all), all.len());
        compare(&stream, &Model::new(), &mut rng, ms);
        assert_eq!(stream.node_counts(), (0, 1));
        assert_eq!(
            stream.append(stream.last_id, pairs(&[]).argv(), &limits),
            Err(Refused::NotAbove)
        );
    }
}

/// A group as two plain maps: what is pending, and the consumers there are.
#[derive(Default)]
struct PlainGroup {
    pending: BTreeMap<StreamId, (Vec<u8>, i64, u64)>,
    consumers: BTreeSet<Vec<u8>>,
}

fn compare_groups(group: &Group, model: &PlainGroup) {
    let names: Vec<&[u8]> = group.consumers().map(Consumer::name).collect();
    assert!(
        names
            .iter()
            .copied()
            .eq(model.consumers.iter().map(|name| &name[..]))
    );
    let pending = group.pending().iter().map(|(id, delivery)| {
        let name = group.consumer(delivery.consumer).name().to_vec();
        (*id, (name, delivery.time_ms, delivery.count))
    });
    assert!(pending.eq(model.pending.iter().map(|(id, entry)| (*id, entry.clone()))));
    for consumer in group.consumers() {
        let own = model
            .pending
            .iter()
            .filter(|(_, entry)| entry.0 == consumer.name());
        assert!(consumer.pending().iter().eq(own.map(|(id, _)| id)));
    }
}

#[test]
fn what_is_pending_is_with_one_consumer() {
    let mut rng = Rng::from_seed(9);
    let (mut group, mut model) = (Group::default(), PlainGroup::default());
    for step in 0..if cfg!(miri) { 200 } else { 8_000 } {
        let name = rng.below(6).to_string().into_bytes();
        let id = StreamId::new(rng.below(60), 0);
        match rng.below(8) {
            0..5 => {
                let consumer = group.find_consumer(&name).unwrap_or_else(|| {
                    model.consumers.insert(name.clone());
                    group.create_consumer(&name, 5)
                });
                let delivery = Delivery {
                    time_ms: step,
                    count: rng.below(9),
                    consumer,
                };
                group.deliver(id, delivery);
                model.pending.insert(id, (name, step, delivery.count));
            }
            5 | 6 => assert_eq!(group.forget(id), model.pending.remove(&id).is_some()),
            _ => {
                if let Some(consumer) = group.find_consumer(&name).filter(|_| rng.below(4) == 0) {
                    let before = model.pending.len();
                    model.pending.retain(|_, entry| entry.0 != name);
                    model.consumers.remove(&name);
                    assert_eq!(
                        group.delete_consumer(consumer),
                        before - model.pending.len()
                    );
                }
            }
        }
        compare_groups(&group, &model);
    }
    compare_groups(&group.clone(), &model);
    assert!(group.heap_bytes() > 0 && group.free_effort() > 0);
}

#[test]
fn nodes_have_redis_bytes() {
    // The node that redis-server 7.0.15 made of these three entries (DUMP, 7.0.15).
    let mut stream = Entries::default();
    let limits = Limits {
        bytes: 4096,
        entries: 100,
    };
    for (id, fields) in [
        ((1, 1), &[("a", "1"), ("b", "2")][..]),
        ((1, 2), &[("a", "1"), ("b", "x")]),
        ((5, 0), &[("c", "300")]),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let id = StreamId::new(id.0, id.1);
        stream
            .append(id, pairs(&fields).argv(), &limits)
            .expect("ids grow");
    }
    let (id, node) = stream.nodes().next().expect("there is one");
    assert_eq!(id, StreamId::new(1, 1));
    let elements = [
        &[3, 1, 0, 1, 2, 1, 0x81, b'a', 2, 0x81, b'b', 2, 0, 1][..],
        &[2, 1, 0, 1, 0, 1, 1, 1, 2, 1, 5, 1],
        &[2, 1, 0, 1, 1, 1, 1, 1, 0x81, b'x', 2, 5, 1],
        // Minus one: the number within the millisecond is below the node's.
        &[
            0, 1, 4, 1, 0xDF, 0xFF, 2, 1, 1, 0x81, b'c', 2, 0xC1, 0x2C, 2, 6, 1,
        ],
    ]
    .concat();
    assert_eq!(node[6..node.len() - 1], elements);
    assert_eq!(node[..6], [node.len() as u8, 0, 0, 0, 25, 0]);

    stream.delete(&[StreamId::new(1, 2)]);
    let (_, node) = stream.nodes().next().expect("two are left");
    assert_eq!((&node[6..10], node[32]), (&[2, 1, 1, 1][..], 3));
}

#[test]
fn bytes_that_are_no_node_are_refused() {
    let mut stream = Entries::default();
    let limits = Limits {
        bytes: 0,
        entries: 0,
    };
    (1..20).for_each(|ms| add(&mut stream, StreamId::new(ms, 1), &limits));
    let (id, node) = stream.nodes().next().expect("one");
    let node = node.to_vec();
    let mut rng = Rng::from_seed(3);
    let mut accepted = 0;
    for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
        let mut bad = node.clone();
        for _ in 0..1 + rng.below(2) {
            let at = rng.below(bad.len() as u64) as usize;
            bad[at] = if rng.below(2) == 0 {
                bad[at] ^ 1
            } else {
                rng.next_u64() as u8
            };
        }
        let mut again = Entries::default();
        if !again.add_node(id, &bad) {
            continue;
        }
        accepted += 1;
        again.settle(StreamId::MAX);
        let all = content(&again, StreamId::ZERO, StreamId::MAX, false);
        assert_eq!(all.len() as u64, again.len());
        assert_eq!(content(&again, StreamId::ZERO, StreamId::MAX, true), all);
        again.trim(Trim::MaxLen(rng.below(20)), false, 0);
        let ids: Vec<StreamId> = all.keys().copied().collect();
        again.delete(&ids);
        assert!(again.is_empty());
    }
    assert!(accepted > 0, "some changes are of values only");
    assert!(!Entries::default().add_node(StreamId::ZERO, b""));
}

/// Payloads of real servers and of files, of all three layouts.
fn samples() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../tests/assets/dumps.txt").lines();
    let payloads = lines
        .filter_map(|line| line.split_once(' '))
        .map(|(_, hex)| {
            let digits = hex.as_bytes().chunks(2);
            let bytes = digits
                .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            bytes.collect::<Vec<u8>>()
        });
    payloads
        .filter(|bytes| Stream::RDB_TYPES.contains(&bytes[0]))
        .collect()
}

#[test]
fn loaded_streams_stand_everything() {
    let mut rng = Rng::from_seed(5);
    let samples = samples();
    assert!(samples.len() > 4);
    for payload in samples {
        let number = Stream::RDB_TYPES
            .iter()
            .position(|known| *known == payload[0]);
        let number = number.expect("filtered") as u8;
        let body = &payload[1..payload.len() - 10];
        let how = Loading::for_tests();
        let stream = Stream::load(payload[0], &mut Source::new(body), &how).expect("sound");
        // A real server's own bytes come out again, but for LZF's choices: those of the plain ones.
        let mut sink = Sink::to_memory(false);
        Stream::save(&stream, &mut sink);
        let bytes = sink.into_vec();
        if payload[0] == Stream::rdb_type(&stream) && bytes.len() == body.len() {
            assert_eq!(bytes, body);
        }
        for deed in 0..8 {
            fuzz_stream(&[&[number, deed], body].concat());
        }
        for _ in 0..if cfg!(miri) { 5 } else { 1_500 } {
            let mut bad = [&[number, rng.next_u64() as u8], &bytes[..]].concat();
            bad[0] = 1;
            for _ in 0..1 + rng.below(3) {
                let at = 2 + rng.below(bad.len() as u64 - 2) as usize;
                bad[at] = if rng.below(2) == 0 {
                    bad[at] ^ 1
                } else {
                    rng.next_u64() as u8
                };
            }
            fuzz_stream(&bad);
        }
    }
}
