//! Intersection, union and difference of sets in any encodings.
//!
//! Nothing is built where it can be avoided: members of one set are looked up in the others, a
//! group at a time, so that the cache misses of large tables overlap; two intsets are walked side
//! by side. Only where very many look-ups would be made a temporary table of references is
//! cheaper. Every result member is shown once, as it lies in the set it was found in.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;

use super::members::GROUP;
use super::{Member, Members, SetRef, as_int};
use crate::base::hash::HashKey;
use crate::ds::intset::IntSet;
use crate::ds::listpack::{self, Pack, Val};

/// A table's memory is asked for ahead only where it may not be in the cache.
const PREFETCH_MIN: usize = 4096;
/// From this number of look-ups on a listpack is indexed first.
const INDEX_MIN: usize = 32;
/// What putting a member into a temporary table costs, in look-ups.
const INSERT_COST: usize = 3;

/// A member carries its hash already.
#[derive(Default)]
struct OwnHash(u64);

impl Hasher for OwnHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type Found<'a> = HashSet<Member<'a>, BuildHasherDefault<OwnHash>>;

/// A set in which members are looked up.
enum Seeker<'a> {
    Ints {
        set: IntSet<'a>,
        /// Where the last look-up of an ascending walk ended.
        from: usize,
    },
    Pack(Pack<'a>),
    Index(Found<'a>),
    Table(&'a Members),
}

impl<'a> Seeker<'a> {
    /// For about so many look-ups.
    fn new(set: SetRef<'a>, lookups: usize, key: &HashKey) -> Seeker<'a> {
        match set {
            SetRef::Ints(set) => Seeker::Ints { set, from: 0 },
            SetRef::Pack(pack) if lookups >= INDEX_MIN => {
                Seeker::Index(pack.iter().map(|val| Member::new(val, key)).collect())
            }
            SetRef::Pack(pack) => Seeker::Pack(pack),
            SetRef::Table(members) => Seeker::Table(members),
        }
    }

    /// Does it want members with their hashes?
    fn hashes(&self) -> bool {
        matches!(self, Seeker::Index(_) | Seeker::Table(_))
    }

    /// The walk whose members are looked up begins anew.
    fn rewind(&mut self) {
        if let Seeker::Ints { from, .. } = self {
            *from = 0;
        }
    }

    /// Keeps of a group the members that are in this set, or those that are not. `ascending`: they
    /// come from an intset, in order.
    fn sift(&mut self, group: &mut Vec<Member<'a>>, ascending: bool, keep: bool) {
        match self {
            Seeker::Ints { set, from } => group.retain(|member| {
                let int = match member.val {
                    Val::Int(int) => Some(int),
                    Val::Str(text) => as_int(text),
                };
                let found = match int {
                    Some(int) if ascending => match set.search(*from, int) {
                        Ok(at) => {
                            *from = at + 1;
                            true
                        }
                        Err(at) => {
                            *from = at;
                            false
                        }
                    },
                    Some(int) => set.contains(int),
                    None => false,
                };
                found == keep
            }),
            Seeker::Pack(pack) => {
                let mut room = [0; 20];
                group.retain(|member| {
                    let text = member.val.text(&mut room);
                    pack.find(listpack::HEADER, text, 0).is_some() == keep
                });
            }
            Seeker::Index(found) => group.retain(|member| found.contains(member) == keep),
            Seeker::Table(members) => {
                if members.len() >= PREFETCH_MIN {
                    members.prefetch(group.iter().map(|member| member.hash));
                }
                group.retain(|member| members.has(member) == keep);
            }
        }
    }
}

/// Shows those members of `first` that every seeker lets through.
fn sieve<'a>(
    first: SetRef<'a>,
    seekers: &mut [Seeker<'a>],
    keep: bool,
    key: &HashKey,
    show: &mut impl FnMut(Member<'a>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let ascending = matches!(first, SetRef::Ints(_));
    let hashed = seekers.iter().any(Seeker::hashes);
    seekers.iter_mut().for_each(Seeker::rewind);
    let mut vals = first.iter();
    let mut group = Vec::with_capacity(GROUP);
    loop {
        group.clear();
        group.extend(vals.by_ref().take(GROUP).map(|val| match hashed {
            true => Member::new(val, key),
            false => Member::unhashed(val),
        }));
        if group.is_empty() {
            return ControlFlow::Continue(());
        }
        for seeker in seekers.iter_mut() {
            if !group.is_empty() {
                seeker.sift(&mut group, ascending, keep);
            }
        }
        for member in &group {
            show(*member)?;
        }
    }
}

/// Shows the members that all sets have, until told to stop. There is at least one set.
pub fn intersect<'a>(
    sets: &[SetRef<'a>],
    key: &HashKey,
    mut show: impl FnMut(Member<'a>) -> ControlFlow<()>,
) {
    let mut sets = sets.to_vec();
    sets.sort_by_key(|set| set.len());
    let Some((first, others)) = sets.split_first() else {
        return;
    };
    let lookups = first.len();
    if lookups == 0 {
        return;
    }
    let mut seekers: Vec<Seeker<'a>> = others
        .iter()
        .map(|set| Seeker::new(*set, lookups, key))
        .collect();
    _ = sieve(*first, &mut seekers, true, key, &mut show);
}

/// Shows the members that any of the sets has, until told to stop.
pub fn unite<'a>(
    sets: &[SetRef<'a>],
    key: &HashKey,
    mut show: impl FnMut(Member<'a>) -> ControlFlow<()>,
) {
    let mut sets = sets.to_vec();
    // The largest needs no look-up at all.
    sets.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let total: usize = sets.iter().map(|set| set.len()).sum();
    let lookups = sets.iter().enumerate().map(|(at, set)| at * set.len());
    if lookups.fold(0, usize::saturating_add) > INSERT_COST * total {
        let mut seen = Found::default();
        seen.reserve(sets.first().map_or(0, |set| set.len()));
        for set in sets {
            for val in set.iter() {
                let member = Member::new(val, key);
                if seen.insert(member) && show(member).is_break() {
                    return;
                }
            }
        }
        return;
    }
    let mut seekers = Vec::new();
    let mut left = total;
    for set in sets {
        left -= set.len();
        if sieve(set, &mut seekers, false, key, &mut show).is_break() {
            return;
        }
        if left > 0 {
            seekers.push(Seeker::new(set, left, key));
        }
    }
}

/// Shows the members of the first set that none of the others has, until told to stop.
pub fn subtract<'a>(
    first: SetRef<'a>,
    others: &[SetRef<'a>],
    key: &HashKey,
    mut show: impl FnMut(Member<'a>) -> ControlFlow<()>,
) {
    let lookups = first.len();
    let mut others = others.to_vec();
    // The larger, the sooner a member is found, which then is looked up no more.
    others.sort_by_key(|set| std::cmp::Reverse(set.len()));
    let theirs: usize = others.iter().map(|set| set.len()).sum();
    if lookups.saturating_mul(others.len()) > INSERT_COST * lookups + theirs {
        // Many others, and small ones: what they have is taken out of the first.
        let mut left: Found<'a> = first.iter().map(|val| Member::new(val, key)).collect();
        for val in others.iter().flat_map(|set| set.iter()) {
            if left.remove(&Member::new(val, key)) && left.is_empty() {
                return;
            }
        }
        for member in left {
            if show(member).is_break() {
                return;
            }
        }
        return;
    }
    let mut seekers: Vec<Seeker<'a>> = others
        .iter()
        .map(|set| Seeker::new(*set, lookups, key))
        .collect();
    _ = sieve(first, &mut seekers, false, key, &mut show);
}
