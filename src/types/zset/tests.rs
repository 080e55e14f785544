//! Sorted sets in both encodings against a map, and packs against what Redis writes.

use std::collections::BTreeMap;

use super::*;

fn limits(entries: usize, value: usize) -> Limits {
    Limits {
        entries,
        value,
        hash_key: HashKey { k0: 1, k1: 2 },
    }
}

fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = model.iter().map(|(m, s)| (m.clone(), *s)).collect();
    all.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("no NaN").then(a.0.cmp(&b.0)));
    all
}

fn shown<'a>(members: impl Iterator<Item = Scored<'a>>) -> Vec<(Vec<u8>, f64)> {
    members.map(|(m, s)| (m.to_vec(), s)).collect()
}

#[test]
fn grows_into_a_table_as_redis_says_and_never_back() {
    let limits = limits(2, 4);
    for last in [&b"c"[..], b"longer"] {
        let mut zset = Zset::new();
        assert!(zset.is_empty() && zset.add(b"a", 1.0, &limits));
        if last.len() == 1 {
            assert!(zset.add(b"b", 2.0, &limits) && !zset.add(b"b", 3.0, &limits));
        }
        assert_eq!(zset.encoding(), "listpack");
        assert!(zset.add(last, 0.5, &limits));
        assert_eq!(zset.encoding(), "skiplist");
        let all: Vec<_> = shown(zset.view().iter());
        assert_eq!(all[0], (last.to_vec(), 0.5));
        all.iter()
            .for_each(|(member, _)| assert!(zset.remove(member)));
        assert!(zset.is_empty() && zset.encoding() == "skiplist" && !zset.remove(b"a"));
    }
    let mut zset = Zset::new();
    zset.expect_members(2, &limits);
    assert_eq!(zset.encoding(), "listpack");
    zset.expect_members(3, &limits);
    assert_eq!(zset.encoding(), "skiplist");
}

#[test]
fn packs_are_those_of_redis() {
    let mut zset = Zset::new();
    let scores = [
        ("b", 1.0),
        ("a", 1.0),
        ("10", 1.0),
        ("9", 1.0),
        ("x", -0.5),
        ("i", f64::INFINITY),
    ];
    for (member, score) in scores {
        zset.add(member.as_bytes(), score, &limits(128, 64));
    }
    let mut pack = listpack::new();
    for text in [
        "x", "-0.5", "10", "1", "9", "1", "a", "1", "b", "1", "i", "inf",
    ] {
        listpack::push_back(&mut pack, text.as_bytes());
    }
    assert_eq!(zset.as_pack(), Some((0, &pack[..])));
    for (entries, negative) in [(128, false), (0, true)] {
        let mut zset = Zset::new();
        zset.add(b"z", -0.0, &limits(entries, 64));
        let score = zset.view().score(b"z");
        assert_eq!(score.map(f64::is_sign_negative), Some(negative));
    }
}

#[test]
fn behaves_as_a_sorted_map_in_both_encodings() {
    for (seed, limits) in [limits(1000, 64), limits(0, 64), limits(40, 20)]
        .iter()
        .enumerate()
    {
        let mut rng = Rng::from_seed(seed as u64);
        let (mut zset, mut model) = (Zset::new(), BTreeMap::new());
        for _ in 0..if cfg!(miri) { 150 } else { 6000 } {
            let member = rng.below(120).to_string().into_bytes();
            let score = [rng.below(50) as f64, rng.unit_f64(), -1.0, 1e300][rng.below(4) as usize];
            match rng.below(20) {
                0..=5 => assert_eq!(zset.remove(&member), model.remove(&member).is_some()),
                6 => {
                    let start = rng.below(130) as usize;
                    let ranks = start..start + rng.below(8) as usize;
                    let all = sorted(&model);
                    let gone = ranks.start.min(all.len())..ranks.end.min(all.len());
                    all[gone].iter().for_each(|(m, _)| _ = model.remove(m));
                    zset.remove_ranks(ranks);
                }
                _ => {
                    let new = zset.add(&member, score, limits);
                    assert_eq!(new, model.insert(member.clone(), score).is_none());
                }
            }
            let (view, all) = (zset.view(), sorted(&model));
            assert_eq!((view.len(), view.is_empty()), (all.len(), all.is_empty()));
            assert_eq!(view.score(&member), model.get(&member).copied());
            let rank = all.iter().position(|(m, _)| *m == member);
            assert_eq!(view.rank(&member).map(|(rank, _)| rank), rank);
            let range = ScoreRange {
                min: score,
                max: score + 3.0,
                min_open: rng.below(2) == 0,
                max_open: rng.below(2) == 0,
            };
            let wanted: Vec<_> = all
                .iter()
                .filter(|(_, s)| !range.is_before(*s) && !range.is_behind(*s))
                .cloned()
                .collect();
            let ranks = view.ranks_by_score(&range);
            assert_eq!(shown(view.iter_ranks(ranks.clone(), false)), wanted);
            let back = wanted.into_iter().rev().collect::<Vec<_>>();
            assert_eq!(shown(view.iter_ranks(ranks, true)), back);
            match view.random(&mut rng) {
                Some((member, score)) => assert_eq!(model[&member.to_vec()], score),
                None => assert!(model.is_empty()),
            }
        }
        assert_eq!(shown(zset.view().iter()), sorted(&model));
        assert_eq!(shown(zset.clone().view().iter()), sorted(&model));
        let (mut cursor, mut scanned) = (0, BTreeMap::new());
        loop {
            cursor = zset
                .view()
                .scan(cursor, |m, s| _ = scanned.insert(m.to_vec(), s));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, model);
    }
}

#[test]
fn names_are_ranged_in_both_encodings() {
    for limits in [limits(1000, 64), limits(0, 64)] {
        let mut zset = Zset::new();
        let mut names: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        names.sort();
        names
            .iter()
            .for_each(|name| zset.push(name.as_bytes(), 7.0, &limits));
        let ends: Vec<LexEnd<'_>> = ["", "1", "15", "151", "7", "99", "x"]
            .iter()
            .flat_map(|name| {
                [
                    LexEnd::Closed(name.as_bytes()),
                    LexEnd::Open(name.as_bytes()),
                ]
            })
            .chain([LexEnd::Lowest, LexEnd::Highest])
            .collect();
        for (min, max) in ends
            .iter()
            .flat_map(|min| ends.iter().map(move |max| (*min, *max)))
        {
            let range = LexRange { min, max };
            let wanted: Vec<_> = names
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .filter(|name| !range.is_before(name) && !range.is_behind(name))
                .collect();
            assert!(!range.is_empty() || wanted.is_empty());
            let ranks = zset.view().ranks_by_lex(&range);
            let found: Vec<_> = shown(zset.view().iter_ranks(ranks, false));
            assert_eq!(
                found.into_iter().map(|(m, _)| m).collect::<Vec<_>>(),
                wanted
            );
        }
    }
}
