//! Sorted sets as listpacks: members and scores in turns, in their order.

use std::ops::Range;

use super::Scored;
use crate::base::num;
use crate::ds::listpack::{self, Pack, Side, Val};

/// Integers up to this size are packed as such.
const INTEGER_MAX: f64 = (1u64 << 62) as f64;

/// The score that an element stands for.
#[inline]
pub(super) fn score_of(val: Val<'_>) -> f64 {
    match val {
        Val::Int(int) => int as f64,
        Val::Str(text) => num::parse_f64(text).unwrap_or(0.0),
    }
}

/// The position of a member, and its score.
pub(super) fn find(pack: &[u8], member: &[u8]) -> Option<(usize, f64)> {
    let pack = Pack::new(pack);
    let at = pack.find_field(member)?;
    let score = pack.next(at).and_then(|at| pack.val(at))?;
    Some((at, score_of(score)))
}

/// Adds a member that is not there, at its place.
pub(super) fn insert(pack: &mut Vec<u8>, member: &[u8], score: f64) {
    let at = place(Pack::new(pack), member, score);
    let digits = &mut Vec::new();
    // A zero loses its sign by it, as in Redis.
    let int = score.trunc() == score && score.abs() <= INTEGER_MAX;
    if !int {
        num::fmt_f64(score, digits);
    }
    match at {
        None if digits.is_empty() => {
            listpack::push_back(pack, member);
            listpack::push_back_int(pack, score as i64);
        }
        None => {
            listpack::push_back(pack, member);
            listpack::push_back(pack, digits);
        }
        Some(at) => {
            let at = listpack::insert(pack, at, Side::Before, member).unwrap_or(at);
            if digits.is_empty() {
                listpack::insert_int(pack, at, Side::After, score as i64);
            } else {
                listpack::insert(pack, at, Side::After, digits);
            }
        }
    }
}

/// The position of the first member that is to stand behind this one.
fn place(pack: Pack<'_>, member: &[u8], score: f64) -> Option<usize> {
    let is_behind = |own: Val<'_>, own_score: Val<'_>| {
        let own_score = score_of(own_score);
        own_score > score || own_score == score && own.text(&mut [0; 20]) > member
    };
    // What comes in order is not compared with all that came before.
    let mut items = pack.iter();
    if let Some(last_score) = items.next_back()
        && !is_behind(items.next_back()?, last_score)
    {
        return None;
    }
    let mut items = pack.iter();
    loop {
        let at = items.position();
        if is_behind(items.next()?, items.next()?) {
            return Some(at);
        }
    }
}

/// How many of the first members `wanted` holds for.
pub(super) fn count_while(pack: Pack<'_>, wanted: impl Fn(&[u8], f64) -> bool) -> usize {
    members(pack)
        .take_while(|(member, score)| wanted(member.text(&mut [0; 20]), *score))
        .count()
}

/// All members.
pub(super) fn members(pack: Pack<'_>) -> impl Iterator<Item = Scored<'_>> {
    pack.pairs()
        .map(|(member, score)| (member, score_of(score)))
}

/// Members at a range of ranks, from either end.
pub struct Members<'a> {
    items: listpack::Iter<'a>,
    left: usize,
    reverse: bool,
}

impl<'a> Members<'a> {
    pub(super) fn at(pack: Pack<'a>, ranks: Range<usize>, reverse: bool) -> Members<'a> {
        let len = pack.len() / 2;
        let ranks = ranks.start.min(len)..ranks.end.min(len);
        let mut items = pack.iter();
        if reverse {
            let skipped = 2 * (len - ranks.end);
            (0..skipped).for_each(|_| _ = items.next_back());
        } else if let Some(at) = pack.seek(2 * ranks.start as i64) {
            items = pack.iter_from(at);
        }
        Members {
            items,
            left: ranks.len(),
            reverse,
        }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (member, score) = if self.reverse {
            let score = self.items.next_back()?;
            (self.items.next_back()?, score)
        } else {
            (self.items.next()?, self.items.next()?)
        };
        Some((member, score_of(score)))
    }
}
