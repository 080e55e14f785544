//! The algebra of sorted sets: several sources, one list of members with their scores.
//!
//! Members are borrowed from the sources and nothing is copied until the result is known. Scores are combined
//! in the order in which Redis combines them, from the smallest source to the largest: sums of doubles depend
//! on it, and so does what becomes of infinities that cancel out.

use std::cmp::Ordering;

use crate::base::hash::{HashKey, siphash13};
use crate::ds::listpack::Val;
use crate::types::Collection;
use crate::types::set::SetRef;
use crate::types::zset::{Limits, Zset, ZsetRef};

/// How the scores of one member become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    /// A sum that is no number (infinities of both signs) counts as zero.
    #[inline]
    fn apply(self, old: f64, new: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(old + new),
            Aggregate::Min if new < old => new,
            Aggregate::Max if new > old => new,
            Aggregate::Min | Aggregate::Max => old,
        }
    }
}

#[inline]
fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is combined: the value of a key, or nothing for an absent one.
#[derive(Clone, Copy)]
pub enum Members<'a> {
    None,
    Set(SetRef<'a>),
    Zset(ZsetRef<'a>),
}

/// A source with the factor of its scores.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub members: Members<'a>,
    pub weight: f64,
}

/// A member of the result.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    pub member: Val<'a>,
    pub score: f64,
}

impl<'a> Members<'a> {
    fn len(self) -> usize {
        match self {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::Zset(zset) => zset.len(),
        }
    }

    /// The score of a member; 1 for those of a set.
    #[inline]
    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Members::None => None,
            Members::Set(set) => set.contains(member).then_some(1.0),
            Members::Zset(zset) => zset.score(member),
        }
    }

    /// Shows the members with their scores, in no order, until told to stop.
    fn each(self, mut show: impl FnMut(Val<'a>, f64) -> bool) {
        match self {
            Members::None => {}
            Members::Set(set) => {
                let _ = set.iter().all(|member| show(member, 1.0));
            }
            Members::Zset(zset) => {
                let _ = zset.iter().all(|(member, score)| show(member, score));
            }
        }
    }
}

/// All members of all sources.
pub fn union<'a>(
    mut sources: Vec<Source<'a>>,
    aggregate: Aggregate,
    hash_key: HashKey,
) -> Vec<Scored<'a>> {
    smallest_first(&mut sources);
    sources.retain(|source| source.members.len() > 0);
    let [smaller @ .., largest] = &sources[..] else {
        return Vec::new();
    };
    if smaller.is_empty() {
        return weighted(largest);
    }

    let mut tally = Tally::with_room(hash_key, largest.members.len());
    for source in &sources {
        source.members.each(|member, score| {
            let score = number_or_zero(source.weight * score);
            if let Some(old) = tally.add(member, score) {
                *old = aggregate.apply(*old, score);
            }
            true
        });
    }
    tally.into_members()
}

/// One source alone.
fn weighted<'a>(source: &Source<'a>) -> Vec<Scored<'a>> {
    let mut all = Vec::with_capacity(source.members.len());
    source.members.each(|member, score| {
        let score = number_or_zero(source.weight * score);
        all.push(Scored { member, score });
        true
    });
    all
}

/// The members that every source has.
pub fn inter<'a>(mut sources: Vec<Source<'a>>, aggregate: Aggregate) -> Vec<Scored<'a>> {
    smallest_first(&mut sources);
    let Some((first, others)) = sources.split_first() else {
        return Vec::new();
    };
    let mut common = Vec::new();
    first.members.each(|member, score| {
        let mut room = [0; 20];
        let text = member.text(&mut room);
        let start = number_or_zero(first.weight * score);
        let score = others.iter().try_fold(start, |sum, other| {
            let score = other.members.score(text)?;
            Some(aggregate.apply(sum, other.weight * score))
        });
        if let Some(score) = score {
            common.push(Scored { member, score });
        }
        true
    });
    common
}

/// How many members every source has; counting stops at `limit`, unless that is 0.
pub fn inter_count(mut sources: Vec<Source<'_>>, limit: u64) -> u64 {
    smallest_first(&mut sources);
    let Some((first, others)) = sources.split_first() else {
        return 0;
    };
    let mut count = 0;
    first.members.each(|member, _| {
        let mut room = [0; 20];
        let text = member.text(&mut room);
        count += u64::from(
            others
                .iter()
                .all(|other| other.members.score(text).is_some()),
        );
        count != limit || limit == 0
    });
    count
}

/// The members of the first source that no other has, with their scores.
pub fn diff<'a>(sources: &[Source<'a>], hash_key: HashKey) -> Vec<Scored<'a>> {
    let Some((first, others)) = sources.split_first() else {
        return Vec::new();
    };
    let len = first.members.len();
    // What is left may be asked for in every other source, or every other's members taken away. Most members
    // are found in one of the first sources they are looked for in, hence the half, as in Redis.
    let asked = len * sources.len() / 2;
    let walked: usize = sources.iter().map(|source| source.members.len()).sum();
    if others.is_empty() || asked <= walked {
        diff_by_asking(first.members, others)
    } else {
        diff_by_walking(first.members, others, hash_key)
    }
}

fn diff_by_asking<'a>(first: Members<'a>, others: &[Source<'a>]) -> Vec<Scored<'a>> {
    // The largest is the likeliest to have a member.
    let mut others: Vec<Members<'a>> = others.iter().map(|other| other.members).collect();
    others.sort_by_key(|other| std::cmp::Reverse(other.len()));
    let mut left = Vec::new();
    first.each(|member, score| {
        let mut room = [0; 20];
        let text = member.text(&mut room);
        if others.iter().all(|other| other.score(text).is_none()) {
            left.push(Scored { member, score });
        }
        true
    });
    left
}

fn diff_by_walking<'a>(
    first: Members<'a>,
    others: &[Source<'a>],
    hash_key: HashKey,
) -> Vec<Scored<'a>> {
    let mut tally = Tally::with_room(hash_key, first.len());
    first.each(|member, score| {
        tally.add(member, score);
        true
    });
    let mut gone = vec![false; tally.items.len()];
    let mut count = gone.len();
    for other in others {
        other.members.each(|member, _| {
            if let Some(at) = tally.find(member)
                && !std::mem::replace(&mut gone[at], true)
            {
                count -= 1;
            }
            count > 0
        });
    }
    let mut at = 0;
    let mut left = tally.into_members();
    left.retain(|_| {
        at += 1;
        !gone[at - 1]
    });
    left
}

/// Sources of the same size keep their order.
fn smallest_first(sources: &mut [Source<'_>]) {
    sources.sort_by_key(|source| source.members.len());
}

/// A sorted set of these members.
pub fn build(mut members: Vec<Scored<'_>>, limits: &Limits) -> Zset {
    sort(&mut members);
    let mut zset = Zset::new();
    zset.expect_members(members.len(), limits);
    for Scored { member, score } in members {
        zset.push(member.text(&mut [0; 20]), score, limits);
    }
    zset
}

/// Puts members into a sorted set's order: by score, then by name.
pub fn sort(members: &mut Vec<Scored<'_>>) {
    // What decides mostly stands in the key itself: the score, and the name's first bytes.
    let keys = members.iter().zip(0..).map(|(item, at)| Key::of(item, at));
    let mut keys: Vec<Key> = keys.collect();
    let by_name = |a: &Key, b: &Key| {
        let (mut one, mut two) = ([0; 20], [0; 20]);
        let name = |key: &Key| members[key.at as usize].member;
        name(a).text(&mut one).cmp(name(b).text(&mut two))
    };
    keys.sort_unstable_by(|a, b| match a.place.cmp(&b.place) {
        Ordering::Equal => by_name(a, b),
        decided => decided,
    });
    *members = keys.iter().map(|key| members[key.at as usize]).collect();
}

/// A member's place, as far as two words can tell it.
struct Key {
    place: (u64, u64),
    at: u32,
}

impl Key {
    #[inline]
    fn of(item: &Scored<'_>, at: u32) -> Key {
        let mut room = [0; 20];
        let text = item.member.text(&mut room);
        let mut head = [0; 8];
        let len = text.len().min(8);
        head[..len].copy_from_slice(&text[..len]);
        Key {
            place: (order_of(item.score), u64::from_be_bytes(head)),
            at,
        }
    }
}

/// The place of a score among all others, as an unsigned number. Both zeros are equal.
#[inline]
fn order_of(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    let negative = bits.cast_signed() >> 63;
    bits ^ (negative.cast_unsigned() | 1 << 63)
}

/// Members met so far, each once, found again by name.
struct Tally<'a> {
    hash_key: HashKey,
    items: Vec<Tallied<'a>>,
    /// Positions in `items` plus one, at the place their hash says or behind it; 0 is free. A power of two
    /// long, never more than half full.
    index: Vec<u32>,
}

struct Tallied<'a> {
    hash: u64,
    scored: Scored<'a>,
}

impl<'a> Tally<'a> {
    fn with_room(hash_key: HashKey, members: usize) -> Tally<'a> {
        Tally {
            hash_key,
            items: Vec::with_capacity(members),
            index: vec![0; (2 * members).next_power_of_two().max(16)],
        }
    }

    /// The place of a member in the index, or the free one where it would be; and its hash.
    #[inline]
    fn probe(&self, member: Val<'a>) -> (usize, u64) {
        let mut room = [0; 20];
        let text = member.text(&mut room);
        let hash = siphash13(&self.hash_key, text);
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(number) = self.index[at].checked_sub(1) {
            let item = &self.items[number as usize];
            if item.hash == hash && item.scored.member.is(text) {
                break;
            }
            at = (at + 1) & mask;
        }
        (at, hash)
    }

    /// Adds a member that is new; else its score as it is.
    #[inline]
    fn add(&mut self, member: Val<'a>, score: f64) -> Option<&mut f64> {
        let (at, hash) = self.probe(member);
        if let Some(number) = self.index[at].checked_sub(1) {
            return Some(&mut self.items[number as usize].scored.score);
        }
        let scored = Scored { member, score };
        self.items.push(Tallied { hash, scored });
        self.index[at] = self.items.len() as u32;
        if 2 * self.items.len() > self.index.len() {
            self.grow();
        }
        None
    }

    /// The position of a member.
    fn find(&self, member: Val<'a>) -> Option<usize> {
        let number = self.index[self.probe(member).0].checked_sub(1)?;
        Some(number as usize)
    }

    #[cold]
    fn grow(&mut self) {
        let len = 2 * self.index.len();
        let mut index = vec![0; len];
        for (item, number) in self.items.iter().zip(1..) {
            let mut at = item.hash as usize & (len - 1);
            while index[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            index[at] = number;
        }
        self.index = index;
    }

    fn into_members(self) -> Vec<Scored<'a>> {
        self.items.into_iter().map(|item| item.scored).collect()
    }
}
