//! Sets in every encoding against `BTreeSet`: conversions, single members, draws, and the algebra.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::*;

fn limits(ints: usize, entries: usize, value: usize) -> Limits {
    Limits {
        ints,
        entries,
        value,
        hash_key: HashKey { k0: 1, k1: 2 },
    }
}

fn contents(set: &Set) -> BTreeSet<Vec<u8>> {
    let all: Vec<_> = set.view().iter().map(Val::to_vec).collect();
    let different: BTreeSet<_> = all.iter().cloned().collect();
    assert_eq!(all.len(), different.len());
    different
}

fn set_of(words: &str, limits: &Limits) -> Set {
    let mut set = Set::new();
    for word in words.split_whitespace() {
        set.add(word.as_bytes(), limits);
    }
    set
}

#[test]
fn encodings_follow_the_limits_as_in_redis() {
    let three = limits(3, 3, 5);
    for (words, more, encoding) in [
        ("1 2", "3", "intset"),
        ("1 2 3", "4", "hashtable"),
        ("1 2 3", "x", "hashtable"),
        ("1 2", "x", "listpack"),
        ("1 2", "longer", "hashtable"),
        ("100000 2", "x", "hashtable"),
        ("x y", "1", "listpack"),
        ("x 1 2", "3", "hashtable"),
        ("x 1 2", "2", "listpack"),
        ("", "longer", "hashtable"),
        ("", "007", "listpack"),
        ("", "123456", "intset"),
    ] {
        let mut set = set_of(words, &three);
        set.add(more.as_bytes(), &three);
        assert_eq!(set.encoding(), encoding, "{words} + {more}");
        let model = contents(&set);
        assert!(
            words
                .split_whitespace()
                .all(|w| model.contains(w.as_bytes()))
        );
        for member in &model {
            assert!(set.remove(member) && !set.remove(member));
        }
        assert!(set.is_empty());
    }
    assert_eq!(set_of("1", &limits(0, 3, 5)).encoding(), "listpack");
    assert_eq!(set_of("1", &limits(0, 0, 5)).encoding(), "hashtable");
    assert_eq!(set_of("x", &limits(9, 0, 5)).encoding(), "hashtable");
}

#[test]
fn what_is_announced_decides_the_encoding() {
    let limits = limits(4, 2, 5);
    for (words, first, count, encoding) in [
        ("", "1", 4, "intset"),
        ("", "1", 5, "hashtable"),
        ("", "x", 2, "listpack"),
        ("", "x", 3, "hashtable"),
        ("1", "x", 4, "intset"),
        ("1", "2", 5, "hashtable"),
        ("x", "1", 2, "listpack"),
        ("x", "1", 3, "hashtable"),
    ] {
        let mut set = set_of(words, &limits);
        set.expect(first.as_bytes(), count, &limits);
        assert_eq!(set.encoding(), encoding, "{words}: {count} from {first}");
        assert_eq!(contents(&set).len(), words.len());
    }
}

/// Names of which some are integers, so that all encodings come about.
fn name(rng: &mut Rng, range: u64) -> Vec<u8> {
    let number = rng.below(range).cast_signed() - 20;
    match rng.below(40) {
        0 => format!("name:{number}").into_bytes(),
        1 => vec![b'x'; number.unsigned_abs() as usize],
        _ => number.to_string().into_bytes(),
    }
}

#[test]
fn behaves_as_a_set_in_every_encoding() {
    let rounds = if cfg!(miri) { 150 } else { 8_000 };
    for (seed, limits) in [
        limits(9000, 9000, 64),
        limits(0, 9000, 64),
        limits(0, 0, 0),
        limits(60, 80, 30),
        limits(512, 128, 64),
    ]
    .iter()
    .enumerate()
    {
        let mut rng = Rng::from_seed(seed as u64);
        let (mut set, mut model) = (Set::new(), BTreeSet::new());
        for _ in 0..rounds {
            let member = name(&mut rng, 200);
            match rng.below(8) {
                0..=3 => assert_eq!(set.add(&member, limits), model.insert(member.clone())),
                4 | 5 => assert_eq!(set.remove(&member), model.remove(&member)),
                6 => {
                    let mut gone = Vec::new();
                    assert_eq!(
                        set.pop(&mut rng, |val| gone = val.to_vec()),
                        !model.is_empty()
                    );
                    assert!(model.is_empty() || model.remove(&gone));
                }
                _ => {
                    let many: Vec<_> = (0..rng.below(70)).map(|_| name(&mut rng, 200)).collect();
                    let added = set.add_all(many.iter().map(Vec::as_slice), limits);
                    let before = model.len();
                    model.extend(many);
                    assert_eq!(added, model.len() - before);
                }
            }
            let view = set.view();
            assert_eq!(
                (view.len(), view.is_empty()),
                (model.len(), model.is_empty())
            );
            assert_eq!(view.contains(&member), model.contains(&member));
            match view.random(&mut rng) {
                Some(val) => assert!(model.contains(&val.to_vec())),
                None => assert!(model.is_empty()),
            }
        }
        assert_eq!(contents(&set), model);
        let copy = set.clone();
        assert_eq!(contents(&copy), model);
        assert_eq!(
            (copy.encoding(), copy.free_effort()),
            (set.encoding(), set.free_effort())
        );

        let (mut cursor, mut scanned) = (0, BTreeSet::new());
        loop {
            cursor = set
                .view()
                .scan(cursor, |val| _ = scanned.insert(val.to_vec()));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned, model);
        if let Set::Table(members) = &copy {
            assert!(members.item_bytes_are_counted());
        }
    }
}

#[test]
fn many_are_popped_fairly_and_the_rest_stays() {
    let mut rng = Rng::from_seed(9);
    for limits in [
        limits(900, 0, 0),
        limits(0, 900, 64),
        limits(0, 0, 0),
        limits(20, 20, 64),
    ] {
        for count in [1, 3, 10, 30, 39] {
            let mut hits = BTreeMap::new();
            let rounds = if cfg!(miri) { 2 } else { 4000 };
            for _ in 0..rounds {
                let mut set = Set::new();
                let all: BTreeSet<_> = (0..40).map(|n| n.to_string().into_bytes()).collect();
                set.add_all(
                    all.iter()
                        .map(Vec::as_slice)
                        .collect::<Vec<_>>()
                        .into_iter(),
                    &limits,
                );
                let mut popped = BTreeSet::new();
                let gone = set.pop_many(count, &mut rng, &limits, |val| {
                    assert!(popped.insert(val.to_vec()));
                });
                drop(gone.rest);
                assert_eq!(popped.len(), count);
                let left = contents(&set);
                assert_eq!(left.len(), 40 - count);
                assert!(popped.is_disjoint(&left) && popped.is_subset(&all));
                if let Set::Table(members) = &set {
                    assert!(members.item_bytes_are_counted());
                }
                for member in popped {
                    *hits.entry(member).or_insert(0) += 1;
                }
            }
            let fair = (rounds * count) as f64 / 40.0;
            let off = 6.0 * fair.sqrt() + 1.0;
            assert!(cfg!(miri) || hits.values().all(|n| (f64::from(*n) - fair).abs() < off));
        }
    }
}

type Model = BTreeSet<Vec<u8>>;

#[test]
fn algebra_agrees_with_the_model_in_all_encodings() {
    let every = [
        limits(9000, 9000, 64),
        limits(0, 9000, 64),
        limits(0, 0, 0),
        limits(512, 128, 64),
    ];
    for seed in 0..if cfg!(miri) { 3 } else { 400 } {
        let mut rng = Rng::from_seed(seed);
        let count = 1 + rng.below(if seed % 4 == 0 { 14 } else { 3 }) as usize;
        let (mut sets, mut models): (Vec<Set>, Vec<Model>) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (mut set, mut model) = (Set::new(), Model::new());
            let limits = &every[rng.below(4) as usize];
            let words = rng.below(5) == 0;
            let range = 5 + rng.below(200);
            let most = if rng.below(3) == 0 { 300 } else { 8 };
            for _ in 0..1 + rng.below(most) {
                let member = match words {
                    true => name(&mut rng, range),
                    false => rng.below(range).to_string().into_bytes(),
                };
                set.add(&member, limits);
                model.insert(member);
            }
            sets.push(set);
            models.push(model);
        }
        let views: Vec<SetRef<'_>> = sets.iter().map(|set| set.view()).collect();
        let limits = &every[rng.below(4) as usize];
        let key = &limits.hash_key;
        let check = |found: Vec<Member<'_>>, wanted: Model| {
            let made = Set::of_distinct(&found, limits);
            assert_eq!(contents(&made), wanted);
            assert_eq!(found.len(), wanted.len());
            if let Set::Table(members) = &made {
                assert!(members.item_bytes_are_counted());
                assert!(wanted.iter().all(|member| made.view().contains(member)));
            }
        };
        let mut found = Vec::new();
        let mut take = |member| {
            found.push(member);
            ControlFlow::Continue(())
        };
        algebra::intersect(&views, key, &mut take);
        let all = models.iter().skip(1).fold(models[0].clone(), |a, b| &a & b);
        check(std::mem::take(&mut found), all);

        let mut take = |member| {
            found.push(member);
            ControlFlow::Continue(())
        };
        algebra::unite(&views, key, &mut take);
        let any = models.iter().skip(1).fold(models[0].clone(), |a, b| &a | b);
        check(std::mem::take(&mut found), any);

        let mut take = |member| {
            found.push(member);
            ControlFlow::Continue(())
        };
        algebra::subtract(views[0], &views[1..], key, &mut take);
        let rest = models.iter().skip(1).fold(models[0].clone(), |a, b| &a - b);
        check(std::mem::take(&mut found), rest);
    }
}

#[test]
fn algebra_stops_when_told() {
    let limits = limits(0, 0, 0);
    let mut set = Set::new();
    (0..200).for_each(|n| _ = set.add(n.to_string().as_bytes(), &limits));
    let sets = vec![set.view(); 20];
    let few = set_of("500", &limits);
    let others = vec![few.view(); 20];
    let mut shown = 0;
    let mut two = |_| {
        shown += 1;
        if shown % 2 == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    algebra::intersect(&sets, &limits.hash_key, &mut two);
    algebra::unite(&sets, &limits.hash_key, &mut two);
    algebra::unite(&sets[..2], &limits.hash_key, &mut two);
    algebra::subtract(sets[0], &others, &limits.hash_key, &mut two);
    algebra::subtract(sets[0], &others[..1], &limits.hash_key, &mut two);
    assert_eq!(shown, 10);
}

#[test]
fn large_tables_are_looked_up_ahead_with_the_same_result() {
    if cfg!(miri) {
        return;
    }
    let limits = limits(0, 0, 0);
    let (mut even, mut third) = (Set::new(), Set::new());
    for n in 0..30_000 {
        even.add(format!("member:{}", 2 * n).as_bytes(), &limits);
        third.add(format!("member:{}", 3 * n).as_bytes(), &limits);
    }
    let (mut both, mut any, mut rest) = (0, 0, 0);
    let sets = [even.view(), third.view()];
    algebra::intersect(&sets, &limits.hash_key, |_| {
        both += 1;
        ControlFlow::Continue(())
    });
    algebra::unite(&sets, &limits.hash_key, |_| {
        any += 1;
        ControlFlow::Continue(())
    });
    algebra::subtract(sets[0], &sets[1..], &limits.hash_key, |_| {
        rest += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((both, any, rest), (10_000, 50_000, 20_000));
}
