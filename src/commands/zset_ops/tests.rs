//! The algebra against maps, in every encoding of the sources.

use std::collections::{BTreeMap, BTreeSet};

use super::combine::*;
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::listpack::Val;
use crate::types::Collection;
use crate::types::set::{self, Set};
use crate::types::zset::{self, Zset};

const KEY: HashKey = HashKey { k0: 3, k1: 4 };

type Model = BTreeMap<Vec<u8>, f64>;

enum Made {
    Set(Set),
    Zset(Zset),
}

impl Made {
    fn source(&self, weight: f64) -> Source<'_> {
        let members = match self {
            Made::Set(set) => Members::Set(set.view()),
            Made::Zset(zset) => Members::Zset(zset.view()),
        };
        Source { members, weight }
    }
}

fn name(rng: &mut Rng) -> Vec<u8> {
    let number = rng.below(60);
    match rng.below(3) {
        0 => format!("name{number}").into_bytes(),
        1 => format!("a long name that begins like others: {number}").into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}

/// A set or sorted set of random encoding, and what is in it.
fn random_source(rng: &mut Rng) -> (Made, Model) {
    let entries = [0, 1000][rng.below(2) as usize];
    let count = [0, 3, 20, 200][rng.below(4) as usize];
    let mut model = Model::new();
    if rng.below(3) == 0 {
        let limits = set::Limits {
            ints: entries,
            entries,
            value: 64,
            hash_key: KEY,
        };
        let ints_only = rng.below(2) == 0;
        let mut made = Set::new();
        for _ in 0..count {
            let mut member = name(rng);
            if ints_only {
                member = rng.below(60).to_string().into_bytes();
            }
            made.add(&member, &limits);
            model.insert(member, 1.0);
        }
        return (Made::Set(made), model);
    }
    let limits = zset_limits(entries);
    let mut made = Zset::new();
    for _ in 0..count {
        let (member, score) = (name(rng), score(rng));
        made.add(&member, score, &limits);
        model.insert(member, score);
    }
    (Made::Zset(made), model)
}

fn zset_limits(entries: usize) -> zset::Limits {
    zset::Limits {
        entries,
        value: 64,
        hash_key: KEY,
    }
}

fn score(rng: &mut Rng) -> f64 {
    match rng.below(12) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        _ => rng.below(9) as f64 - 4.0,
    }
}

fn contents(members: &[Scored<'_>]) -> Model {
    let found: Model = members
        .iter()
        .map(|item| (item.member.to_vec(), item.score))
        .collect();
    assert_eq!(found.len(), members.len(), "each member once");
    found
}

fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

#[test]
fn results_are_those_of_maps() {
    let mut rng = Rng::from_seed(11);
    for _ in 0..if cfg!(miri) { 5 } else { 3000 } {
        let made: Vec<(Made, Model)> = (0..rng.below(4) + 1)
            .map(|_| random_source(&mut rng))
            .collect();
        let weights: Vec<f64> = made.iter().map(|_| score(&mut rng)).collect();
        let sources: Vec<Source<'_>> = made
            .iter()
            .zip(&weights)
            .map(|((made, _), weight)| made.source(*weight))
            .collect();
        // Small integers and infinities: sums do not depend on the order but for what cancels out.
        let mut order: Vec<usize> = (0..made.len()).collect();
        order.sort_by_key(|at| made[*at].1.len());

        let (mut union, mut inter) = (Model::new(), Model::new());
        for at in &order {
            for (member, score) in &made[*at].1 {
                let score = number(weights[*at] * score);
                let sum = union.get(member).map_or(score, |old| number(old + score));
                union.insert(member.clone(), sum);
            }
        }
        'members: for member in made[order[0]].1.keys() {
            let mut sum = None;
            for at in &order {
                let Some(score) = made[*at].1.get(member) else {
                    continue 'members;
                };
                let score = weights[*at] * score;
                sum = Some(sum.map_or(number(score), |sum: f64| number(sum + score)));
            }
            inter.insert(member.clone(), sum.unwrap_or(0.0));
        }
        let others: BTreeSet<&Vec<u8>> = made[1..].iter().flat_map(|(_, m)| m.keys()).collect();
        let mut diff = made[0].1.clone();
        diff.retain(|member, _| !others.contains(member));

        let found = super::combine::union(sources.clone(), Aggregate::Sum, KEY);
        assert_eq!(contents(&found), union);
        let found = super::combine::inter(sources.clone(), Aggregate::Sum);
        assert_eq!(contents(&found), inter);
        let limit = rng.below(6);
        let expected = match limit {
            0 => inter.len() as u64,
            limit => limit.min(inter.len() as u64),
        };
        assert_eq!(inter_count(sources.clone(), limit), expected);
        let found = super::combine::diff(&sources, KEY);
        assert_eq!(contents(&found), diff);
    }
}

#[test]
fn a_built_set_is_in_order_and_as_small_as_can_be() {
    let mut rng = Rng::from_seed(12);
    for entries in [0, 1000] {
        let limits = zset_limits(entries);
        let texts: BTreeSet<Vec<u8>> = (0..300).map(|_| name(&mut rng)).collect();
        let members = texts.iter().map(|text| Scored {
            member: Val::of(text),
            score: score(&mut rng),
        });
        let members: Vec<Scored<'_>> = members.collect();
        let mut expected: Vec<(f64, Vec<u8>)> = members
            .iter()
            .map(|item| (item.score, item.member.to_vec()))
            .collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        let built = build(members, &limits);
        let found: Vec<(f64, Vec<u8>)> = built
            .view()
            .iter()
            .map(|(member, score)| (score, member.to_vec()))
            .collect();
        assert_eq!(found, expected);
        let encoding = if entries == 0 { "skiplist" } else { "listpack" };
        assert_eq!(built.encoding(), encoding);
    }
}
