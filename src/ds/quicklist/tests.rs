//! The quicklist against a `VecDeque`, with every kind of node limit and compression depth.

use std::collections::VecDeque;

use super::*;
use crate::base::lzf;
use crate::base::rng::Rng;
use crate::ds::listpack::{Pack, Side};

type Model = VecDeque<Vec<u8>>;

fn contents(list: &Quicklist) -> Model {
    let mut all = Model::new();
    list.each(0, usize::MAX, |val| all.push_back(val.to_vec()));
    all
}

/// Everything that must hold between two edits.
fn check(list: &Quicklist, model: &Model) {
    assert_eq!(
        (list.len(), list.is_empty()),
        (model.len(), model.is_empty())
    );
    let depth = usize::from(list.depth);
    let mut sum = 0;
    for (n, (node, saved)) in list.nodes.iter().zip(list.saved()).enumerate() {
        assert!(node.count() > 0, "node {n} is empty");
        sum += node.count();
        let inner = depth > 0 && n >= depth && n + depth < list.nodes.len();
        assert!(inner || node.squeezed().is_none(), "node {n} is to be open");
        let mut bytes = Vec::new();
        let (plain, bytes) = match saved {
            Saved::Plain(text) => (true, text),
            Saved::Pack(pack) => {
                let mut folded = Vec::new();
                let max = pack.len().saturating_sub(8);
                let folds = pack.len() >= 48 && lzf::compress(pack, max, &mut folded);
                assert!(!(inner && folds), "node {n} is to be compressed");
                (false, pack)
            }
            Saved::Folded {
                plain,
                bytes: folded,
                len,
            } => {
                lzf::decompress(folded, len, &mut bytes).expect("our own work");
                (plain, &bytes[..])
            }
        };
        assert_eq!(bytes.len(), node.len());
        if !plain {
            let pack = Pack::new(bytes);
            assert_eq!((pack.validate(true), pack.len()), (Ok(()), node.count()));
            let one = node.count() == 1;
            assert!(
                one || !list.fill.exceeded_by(bytes.len(), node.count()),
                "node {n}"
            );
        }
    }
    assert_eq!(sum, model.len());
    assert!(list.nodes.capacity() <= 64 || list.nodes.len() >= list.nodes.capacity() / 4);
}

/// Texts of all kinds: integers, short and long ones, a few that come often.
fn text(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0..4 => rng.below(50).to_string().into_bytes(),
        4 => (rng.next_u64() as i64).to_string().into_bytes(),
        5..9 => vec![b'a' + rng.below(3) as u8; rng.below(20) as usize],
        9 | 10 => (0..rng.below(200)).map(|_| rng.next_u64() as u8).collect(),
        _ => vec![b'x'; rng.below(6000) as usize],
    }
}

fn end(rng: &mut Rng) -> End {
    if rng.below(2) == 0 {
        End::Front
    } else {
        End::Back
    }
}

fn remove_equal(model: &mut Model, text: &[u8], max: usize, from: End) -> usize {
    let mut at: Vec<usize> = (0..model.len()).filter(|n| model[*n] == text).collect();
    match from {
        End::Front => at.truncate(max),
        End::Back => _ = at.drain(..at.len().saturating_sub(max)),
    }
    at.iter().rev().for_each(|n| _ = model.remove(*n));
    at.len()
}

fn one_edit(list: &mut Quicklist, model: &mut Model, rng: &mut Rng, huge: usize) {
    let at = rng.below(model.len() as u64 + 2) as usize;
    let there = at < model.len();
    match rng.below(20) {
        0..8 => {
            let (end, text) = (end(rng), text(rng));
            list.push(end, Val::of(&text), huge);
            match end {
                End::Front => model.push_front(text),
                End::Back => model.push_back(text),
            }
        }
        8..12 => {
            let end = end(rng);
            let got = list.pop(end, |val| val.to_vec());
            let expected = match end {
                End::Front => model.pop_front(),
                End::Back => model.pop_back(),
            };
            assert_eq!(got, expected);
        }
        12 | 13 => {
            let text = text(rng);
            assert_eq!(list.set(at, &text, huge), there);
            if there {
                model[at] = text;
            }
        }
        14..17 => {
            let text = text(rng);
            let side = if rng.below(2) == 0 {
                Side::Before
            } else {
                Side::After
            };
            assert_eq!(list.insert(at, side, &text, huge), there);
            if there {
                model.insert(at + usize::from(side == Side::After), text);
            }
        }
        17 => {
            let count = rng.below(8) as usize * rng.below(5) as usize;
            let gone = list.remove_range(at, count);
            let until = at.saturating_add(count).min(model.len());
            assert_eq!(gone, model.drain(at.min(until)..until).count());
        }
        _ => {
            let (text, from) = (text(rng), end(rng));
            let max = [1, 2, usize::MAX][rng.below(3) as usize];
            let gone = list.remove_equal(&text, max, from);
            assert_eq!(gone, remove_equal(model, &text, max, from));
        }
    }
}

#[test]
fn behaves_as_a_deque_whatever_the_limits() {
    let fills = [-1, -2, -5, 0, 1, 2, 3, 16, 200];
    for (seed, setting) in fills.into_iter().enumerate() {
        for (depth, huge) in [(0, usize::MAX), (1, usize::MAX), (2, 100), (5, 10)] {
            let mut rng = Rng::from_seed((seed * 10 + depth) as u64);
            let mut list = Quicklist::new(Fill::new(setting), depth as u32);
            let mut model = Model::new();
            for step in 0..if cfg!(miri) { 60 } else { 1500 } {
                one_edit(&mut list, &mut model, &mut rng, huge);
                if step % 50 == 0 {
                    check(&list, &model);
                    assert_eq!(contents(&list), model, "fill {setting}, depth {depth}");
                }
                let at = rng.below(model.len() as u64 + 1) as usize;
                assert_eq!(list.get(at, |val| val.to_vec()).as_ref(), model.get(at));
            }
            check(&list, &model);
            check(&list.clone(), &model);
            let mut backwards = Model::new();
            list.visit(End::Back, |val| {
                backwards.push_front(val.to_vec());
                backwards.len() < 100
            });
            let from = model.len().saturating_sub(100);
            assert_eq!(backwards, model.range(from..).cloned().collect::<Model>());

            // As it is saved and loaded.
            let mut again = Quicklist::new(Fill::new(setting), depth as u32);
            for saved in list.saved() {
                match saved {
                    Saved::Pack(pack) => again.append_pack(pack.to_vec()),
                    Saved::Plain(text) => again.append_plain(text.to_vec()),
                    Saved::Folded { plain, bytes, len } => {
                        let mut raw = Vec::new();
                        lzf::decompress(bytes, len, &mut raw).expect("our own work");
                        if plain {
                            again.append_plain(raw)
                        } else {
                            again.append_pack(raw)
                        }
                    }
                }
            }
            check(&again, &model);
            assert_eq!(contents(&again), model);
            while list.pop(End::Front, |_| ()).is_some() {}
            check(&list, &Model::new());
        }
    }
}

#[test]
fn queues_move_through_without_growing() {
    for (push, pop) in [(End::Front, End::Back), (End::Back, End::Front)] {
        let mut list = Quicklist::new(Fill::new(-2), 0);
        let rounds = if cfg!(miri) { 300 } else { 100_000 };
        for n in 0..rounds {
            list.push(push, Val::Int(n), usize::MAX);
            if n >= 100 {
                assert_eq!(list.pop(pop, |val| val.as_int()), Some(Some(n - 100)));
            }
            assert!(list.heap_bytes() < 24_000, "{} bytes", list.heap_bytes());
        }
        assert_eq!(list.len(), 100);
    }
}

#[test]
fn nodes_are_full_and_tight() {
    for end in [End::Front, End::Back] {
        let mut list = Quicklist::new(Fill::new(-2), 0);
        let count = if cfg!(miri) { 1000 } else { 100_000 };
        for n in 0..count {
            list.push(end, Val::Int(n), usize::MAX);
        }
        let bytes: usize = list.nodes.iter().map(Node::len).sum();
        assert!(list.nodes.len() <= bytes / 8100 + 1);
        let limit = bytes + bytes / 50 + 9000;
        assert!(
            list.heap_bytes() <= limit,
            "{} for {bytes}",
            list.heap_bytes()
        );
    }
}

#[test]
fn limits_are_those_of_redis() {
    let fill = Fill::new;
    assert_eq!(fill(-9).limits(), (65_536, usize::MAX));
    assert_eq!(fill(-1).limits(), (4096, usize::MAX));
    assert_eq!(
        (fill(0).limits(), fill(7).limits()),
        ((usize::MAX, 1), (usize::MAX, 7))
    );
    assert_eq!(fill(i32::MAX).limits(), (usize::MAX, 32_767));
    assert!(!fill(-2).exceeded_by(8192, 9999) && fill(-2).exceeded_by(8193, 1));
    assert!(fill(100).exceeded_by(8193, 1) && fill(100).exceeded_by(10, 101));
}
