//! Taking members out by chance: SPOP.

use super::{Limits, Member, Set};
use crate::base::rng::Rng;
use crate::ds::intset::{self, IntSet};
use crate::ds::listpack::{self, Pack, Val};
use crate::types::Collection;

/// Of fewer than one in so many members each is drawn by itself.
const PASS_SHARE: usize = 8;

/// What is left behind when members were taken out.
#[must_use = "a large set is freed off the loop's thread"]
pub struct Popped {
    /// The table that was given up, with all it held: dropping it may take long.
    pub rest: Option<Box<super::Members>>,
}

impl Set {
    /// Takes a member out by chance and shows it; false if there is none.
    pub fn pop(&mut self, rng: &mut Rng, show: impl FnOnce(Val<'_>)) -> bool {
        match self {
            Set::Ints(set) => {
                let view = IntSet::new(set);
                let index = rng.below(view.len() as u64) as usize;
                let Some(int) = view.get(index) else {
                    return false;
                };
                show(Val::Int(int));
                intset::remove_at(set, index)
            }
            Set::Pack(pack) => {
                let view = Pack::new(pack);
                let at = view.seek(rng.below(view.len() as u64).cast_signed());
                let Some((at, val)) = at.and_then(|at| Some((at, view.val(at)?))) else {
                    return false;
                };
                show(val);
                listpack::delete(pack, at);
                true
            }
            Set::Table(members) => members.pop(rng, |text| show(Val::Str(text))),
        }
    }

    /// Takes `count` members out by chance, which is fewer than there are, and shows each.
    pub fn pop_many(
        &mut self,
        count: usize,
        rng: &mut Rng,
        limits: &Limits,
        mut show: impl FnMut(Val<'_>),
    ) -> Popped {
        let len = self.view().len();
        let kept = len.saturating_sub(count);
        let nothing = Popped { rest: None };
        if count < len / PASS_SHARE {
            for _ in 0..count {
                self.pop(rng, &mut show);
            }
            return nothing;
        }
        // One pass: each member goes with the probability that leaves all choices equal.
        let mut draw = Draw { left: len, count };
        match self {
            Set::Ints(set) => {
                let mut ints = Vec::with_capacity(kept);
                for int in IntSet::new(set).iter() {
                    if draw.next(rng) {
                        show(Val::Int(int));
                    } else {
                        ints.push(int);
                    }
                }
                intset::write(set, &ints);
                nothing
            }
            Set::Pack(pack) => {
                let mut rest = Vec::with_capacity(pack.len());
                for val in Pack::new(pack) {
                    if draw.next(rng) {
                        show(val);
                    } else {
                        listpack::push_back_val(&mut rest, val);
                    }
                }
                *pack = rest;
                nothing
            }
            Set::Table(members) if kept < count => {
                // The few that stay move to a new set, which may be a packed one.
                let mut stay = Vec::with_capacity(kept);
                for item in members.iter() {
                    if draw.next(rng) {
                        show(Val::Str(item.key()));
                    } else {
                        stay.push(Member::new(Val::Str(item.key()), &limits.hash_key));
                    }
                }
                let made = Set::of_distinct(&stay, limits);
                match std::mem::replace(self, made) {
                    Set::Table(rest) => Popped { rest: Some(rest) },
                    _ => nothing,
                }
            }
            Set::Table(members) => {
                let (mut texts, mut ends) = (Vec::new(), Vec::with_capacity(count));
                for item in members.iter() {
                    if draw.next(rng) {
                        show(Val::Str(item.key()));
                        texts.extend_from_slice(item.key());
                        ends.push(texts.len());
                    }
                }
                let mut from = 0;
                members.remove_all(ends.iter().map(|end| {
                    let text = &texts[from..*end];
                    from = *end;
                    text
                }));
                nothing
            }
        }
    }
}

/// Chooses `count` of the next `left`, all choices with the same probability.
struct Draw {
    left: usize,
    count: usize,
}

impl Draw {
    fn next(&mut self, rng: &mut Rng) -> bool {
        let chosen = rng.below(self.left as u64) < self.count as u64;
        self.left = self.left.saturating_sub(1);
        self.count -= usize::from(chosen);
        chosen
    }
}
