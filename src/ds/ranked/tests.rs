//! A ranked set against std: the same members in the same order, whatever the scores and edits.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::rng::Rng;

/// The set as std would do it.
#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
    order: BTreeSet<(u64, Vec<u8>)>,
}

impl Model {
    fn set(&mut self, member: &[u8], score: f64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&(order_of(old), member.to_vec()));
        }
        self.order.insert((order_of(score), member.to_vec()));
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let old = self.scores.remove(member)?;
        self.order.remove(&(order_of(old), member.to_vec()));
        Some(old)
    }

    fn listed(&self) -> Vec<(Vec<u8>, f64)> {
        let members = self.order.iter().map(|(_, member)| member);
        members.map(|m| (m.clone(), self.scores[m])).collect()
    }
}

fn listed(ranked: &Ranked, ranks: Range<usize>, reverse: bool) -> Vec<(Vec<u8>, f64)> {
    let members = ranked.iter(ranks, reverse);
    members.map(|(m, score)| (m.to_vec(), score)).collect()
}

fn same(ranked: &Ranked, model: &Model, rng: &mut Rng) {
    tree::check(&ranked.tree);
    let (all, len) = (model.listed(), model.scores.len());
    assert_eq!((ranked.len(), ranked.tree.len()), (len, len));
    let (a, b) = (
        rng.below(len as u64 + 2) as usize,
        rng.below(len as u64 + 2) as usize,
    );
    let clamped = a.min(len)..b.min(len).max(a.min(len));
    assert_eq!(listed(ranked, a..b, false), all[clamped.clone()]);
    let mut reversed = all[clamped].to_vec();
    reversed.reverse();
    assert_eq!(listed(ranked, a..b, true), reversed);
    let sum: usize = ranked.table.iter().map(|item| item.mem_bytes()).sum();
    assert_eq!(sum, ranked.item_bytes);
    if len > 0 {
        let rank = rng.below(len as u64) as usize;
        let (member, score) = &all[rank];
        assert_eq!(ranked.rank(member), Some((rank, *score)));
        assert_eq!(ranked.score(member), Some(*score));
        let below = all.iter().filter(|(_, own)| own < score).count();
        let up_to = all.iter().filter(|(_, own)| own <= score).count();
        assert_eq!(
            (
                ranked.count_below(*score, false),
                ranked.count_below(*score, true)
            ),
            (below, up_to)
        );
        assert!(
            ranked
                .random(rng)
                .is_some_and(|(m, s)| model.scores[m] == s)
        );
    }
}

/// Scores of one kind: dense, spread over all magnitudes, many ties, ever rising, ever falling.
fn score(kind: u64, step: usize, rng: &mut Rng) -> f64 {
    match kind {
        0 => rng.below(1000) as f64,
        1 => f64::from_bits(rng.next_u64()),
        2 => rng.below(3) as f64 - 1.0,
        3 => step as f64,
        4 => -(step as f64) / 7.0,
        5 => [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-310, 1e308][rng.below(6) as usize],
        _ => 0.0,
    }
}

#[test]
fn behaves_as_an_ordered_set_whatever_the_scores() {
    for kind in 0..7 {
        let mut rng = Rng::from_seed(kind);
        let mut ranked = Ranked::new(HashKey { k0: 1, k1: kind }, 0);
        let mut model = Model::default();
        let steps = if cfg!(miri) { 250 } else { 12_000 };
        for step in 0..steps {
            let growing = step % (steps / 2) < steps / 3;
            let member = rng
                .below(if growing { 4000 } else { 900 })
                .to_string()
                .into_bytes();
            let score = score(kind, step, &mut rng);
            match rng.below(if growing { 30 } else { 12 }) {
                0..=3 => assert_eq!(ranked.remove(&member), model.remove(&member)),
                4 if step % 5 == 0 => {
                    let len = ranked.len() as u64;
                    let start = rng.below(len + 1) as usize;
                    let count = rng.below(if step % 15 == 0 { len / 2 + 1 } else { 20 }) as usize;
                    let listed = model.listed();
                    let gone = start..(start + count).min(listed.len());
                    listed[gone].iter().for_each(|(m, _)| _ = model.remove(m));
                    ranked.remove_ranks(start..start + count);
                }
                _ if !score.is_nan() => {
                    ranked.set(&member, score, |old| {
                        assert_eq!(old, model.scores.get(&member).copied());
                        Some(score)
                    });
                    // Equal scores are not written: the sign of a zero stays.
                    if model.scores.get(&member) != Some(&score) {
                        model.set(&member, score);
                    }
                }
                _ => {}
            }
            if step % 97 == 0 {
                same(&ranked, &model, &mut rng);
            }
        }
        same(&ranked, &model, &mut rng);
        let copy = ranked.clone();
        same(&copy, &model, &mut rng);
        let len = ranked.len();
        ranked.remove_ranks(0..len);
        same(&ranked, &Model::default(), &mut rng);
        assert_eq!(ranked.item_bytes, 0);
    }
}

#[test]
fn members_of_one_score_are_ordered_by_their_bytes() {
    let mut ranked = Ranked::new(HashKey { k0: 3, k1: 4 }, 0);
    let mut names: Vec<Vec<u8>> = (0..400u32)
        .map(|n| (n * 37 % 400).to_string().into())
        .collect();
    names.push(Vec::new());
    names
        .iter()
        .for_each(|name| ranked.set(name, 0.0, |_| Some(0.0)));
    names.sort();
    for (rank, name) in names.iter().enumerate() {
        assert_eq!(ranked.rank(name), Some((rank, 0.0)));
        assert_eq!(ranked.count_while(|own| own < &name[..]), rank);
        assert_eq!(ranked.count_while(|own| own <= &name[..]), rank + 1);
    }
    tree::check(&ranked.tree);
}

#[test]
fn what_comes_in_order_fills_its_leaves() {
    let sizes = [1.0, -1.0].map(|step| {
        let mut ranked = Ranked::new(HashKey { k0: 3, k1: 4 }, 0);
        for n in 0..2000u32 {
            ranked.set(&n.to_le_bytes(), 1.0, |_| Some(step * f64::from(n)));
        }
        tree::check(&ranked.tree);
        ranked.tree.mem_bytes()
    });
    let leaves = 2000 / leaf::CAP * size_of::<leaf::Leaf>();
    assert!(
        sizes.iter().all(|size| *size < leaves * 2),
        "{sizes:?} {leaves}"
    );
}

#[test]
fn a_leaf_may_change_for_ever() {
    // The count of what a leaf was given since its base was chosen has 16 bits.
    let mut ranked = Ranked::new(HashKey { k0: 3, k1: 4 }, 0);
    let rounds = if cfg!(miri) { 100 } else { 70_000 };
    for round in 0..rounds {
        for (member, score) in [(&b"one"[..], round), (b"other", rounds - round)] {
            let score = f64::from(score);
            ranked.set(member, score, |_| Some(score));
        }
    }
    tree::check(&ranked.tree);
    assert_eq!(ranked.rank(b"one"), Some((1, f64::from(rounds - 1))));
}
