//! A sorted set too large for a listpack: members found by name in one step, and by rank, score or
//! name order in O(log n).
//!
//! Each member is one allocation (a [`Pair`]: member, 8 bytes of score) that the table owns. The
//! index beside it (`tree`, `leaf`) names the same allocations in their order, 8 bytes each and
//! not much more. A score is looked up in the table alone.
//!
//! Invariants on which the `unsafe` here rests: every mark in the tree is the address of an item
//! in the table, it leaves the tree before the item leaves the table or changes its score; tree
//! and table are private to one [`Ranked`], so that whoever borrows the one borrows the other.
#![allow(unsafe_code)]

mod leaf;
mod tree;
mod walk;

use std::ops::Range;

use self::leaf::{Mark, Target, order_of, score_of};
use self::tree::Tree;
pub use self::walk::Iter;
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::pair::Pair;
use crate::ds::table::{Fetch, Slot, Table, TableStats};

/// Members removed together: their buckets are asked for before the first one is looked at.
const BATCH: usize = 16;

/// See the head of this file.
pub struct Ranked {
    table: Table<Pair, HashKey>,
    tree: Tree,
    /// Sum of the members' allocations.
    item_bytes: usize,
}

impl Ranked {
    /// An empty set, to which about so many members will come.
    pub fn new(hash_key: HashKey, expected: usize) -> Ranked {
        let mut table = Table::new(hash_key);
        table.reserve(expected);
        Ranked {
            table,
            tree: Tree::new(),
            item_bytes: 0,
        }
    }

    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        let slot = self.table.find(self.table.hash(member), member)?;
        Some(score_of(self.table.get(slot)))
    }

    /// One of the passes over a batch of members: asks the memory for what a look at the member of
    /// this hash will need. Returns whether the next pass is of use.
    #[inline]
    pub fn prefetch(&self, hash: u64, step: Fetch) -> bool {
        self.table.prefetch(hash, step);
        if step == Fetch::Chain
            && let Some(slot) = self.table.find_where(hash, |_| true)
        {
            // A member that moves or goes leaves this leaf.
            let score = score_of(self.table.get(slot));
            self.tree.prefetch(order_of(score));
        }
        step != Fetch::Chain
    }

    /// Asks the memory for what a member that gets this score will need.
    pub fn prefetch_new(&self, member: &[u8], score: f64) {
        self.table.prefetch_bucket(self.table.hash(member));
        self.tree.prefetch(order_of(score));
    }

    /// Gives a member the score that `decide` makes of its present one; `None` leaves all as it is.
    /// The score will mostly be `likely`: the memory is asked for its leaf before the member is
    /// looked up, and for the members of the same score while the lookup waits.
    #[inline]
    pub fn set(
        &mut self,
        member: &[u8],
        likely: f64,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        let hash = self.table.hash(member);
        let key = order_of(likely);
        self.table.prefetch_bucket(hash);
        let leaf = self.tree.prefetch(key);
        let found = self.table.find(hash, member);
        leaf.prefetch_ties(key);
        match found {
            Some(slot) => {
                let old = score_of(self.table.get(slot));
                if let Some(new) = decide(Some(old))
                    && new != old
                {
                    self.rescore(slot, new);
                }
            }
            None => {
                if let Some(score) = decide(None) {
                    self.insert_new(hash, member, score);
                }
            }
        }
    }

    /// Adds a member that is not there.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.insert_new(self.table.hash(member), member, score);
    }

    fn insert_new(&mut self, hash: u64, member: &[u8], score: f64) {
        let pair = Pair::new(member, &score.to_le_bytes(), None);
        self.item_bytes += pair.view().mem_bytes();
        let slot = self.table.insert_new(hash, pair);
        self.tree.insert(&Target::of(self.table.get(slot)));
    }

    fn rescore(&mut self, slot: Slot, score: f64) {
        self.tree.remove(&Target::of(self.table.get(slot)));
        let fits = self.table.get_mut(slot).set_in_place(&score.to_le_bytes());
        debug_assert!(fits, "a score has eight bytes");
        self.tree.insert(&Target::of(self.table.get(slot)));
    }

    /// Takes a member out; its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let slot = self.table.find(self.table.hash(member), member)?;
        self.tree.remove(&Target::of(self.table.get(slot)));
        let pair = self.table.take(slot);
        self.item_bytes -= pair.view().mem_bytes();
        Some(score_of(pair.view()))
    }

    /// Takes the members at these ranks out.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        let (first, single) = (ranks.start == 0, ranks.len() == 1);
        let mut batch = Vec::with_capacity(BATCH.min(ranks.len()));
        let Ranked {
            table,
            tree,
            item_bytes,
        } = self;
        tree.cut(ranks, &mut |mark| {
            mark.prefetch();
            batch.push(mark);
            if batch.len() == BATCH {
                take_out(table, item_bytes, &mut batch);
            }
        });
        take_out(table, item_bytes, &mut batch);
        if single {
            self.prefetch_end(first);
        }
    }

    /// Who takes one from an end will take the next one, too: asks the memory for its place in the
    /// table, and for the items behind it.
    fn prefetch_end(&self, first: bool) {
        let end = if first { 0 } else { self.len().wrapping_sub(1) };
        if let Some((leaf, at)) = self.tree.leaf_at(end) {
            let words = leaf.words();
            let behind = if first {
                words.get(1..4)
            } else {
                at.checked_sub(3).and_then(|low| words.get(low..at))
            };
            behind
                .into_iter()
                .flatten()
                .for_each(|word| leaf::mark_of(*word).prefetch());
            self.table
                .prefetch_bucket(self.table.hash(leaf.item(at).key()));
        }
    }

    /// How many members are ordered before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let slot = self.table.find(self.table.hash(member), member)?;
        let item = self.table.get(slot);
        Some((self.tree.rank(&Target::of(item)), score_of(item)))
    }

    /// How many members have a lower score; those of the very score count if it is `included`.
    pub fn count_below(&self, score: f64, included: bool) -> usize {
        self.tree.bound(order_of(score), included)
    }

    /// How many members `before` holds for, which must be the first ones: for sets whose members
    /// have the same score, an order of names.
    pub fn count_while(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        self.tree.partition(|item| before(item.key()))
    }

    /// The members at these ranks, from either end.
    pub fn iter(&self, ranks: Range<usize>, reverse: bool) -> Iter<'_> {
        Iter::new(&self.tree, ranks, reverse)
    }

    /// A member by chance, each with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<(&[u8], f64)> {
        if self.is_empty() {
            return None;
        }
        let rank = rng.below(self.len() as u64) as usize;
        let (leaf, at) = self.tree.leaf_at(rank)?;
        let item = leaf.item(at);
        Some((item.key(), score_of(item)))
    }

    /// One step of a scan in no order; see [`Table::scan`].
    pub fn scan<'a>(&'a self, cursor: u64, mut show: impl FnMut(&'a [u8], f64)) -> u64 {
        self.table
            .scan(cursor, |item| show(item.key(), score_of(item)))
    }

    /// Bytes of everything behind this head.
    pub fn heap_bytes(&self) -> usize {
        self.table.mem_bytes() + self.tree.mem_bytes() + self.item_bytes
    }

    /// The shape of the table.
    pub fn table_stats(&self) -> TableStats {
        self.table.stats()
    }
}

/// Takes the items of a batch, which the tree has forgotten, out of the table.
fn take_out(table: &mut Table<Pair, HashKey>, item_bytes: &mut usize, batch: &mut Vec<Mark>) {
    let mut hashes = [0; BATCH];
    for (hash, mark) in hashes.iter_mut().zip(batch.iter()) {
        // SAFETY: the item leaves the table below.
        *hash = table.hash(unsafe { mark.item() }.key());
        table.prefetch_bucket(*hash);
    }
    for (hash, mark) in hashes.iter().zip(batch.drain(..)) {
        if let Some(slot) = table.find_where(*hash, |item| Mark::of(item) == mark) {
            *item_bytes -= table.take(slot).view().mem_bytes();
        }
    }
}

impl Clone for Ranked {
    fn clone(&self) -> Ranked {
        let mut copy = Ranked::new(self.table.hasher(), self.len());
        for (member, score) in self.iter(0..self.len(), false) {
            copy.push(member, score);
        }
        copy
    }
}

#[cfg(test)]
mod tests;
