//! The sorted set: members with scores, ordered by score and, where those are equal, by the
//! members' bytes.
//!
//! Small ones are a listpack of members and scores in turns, in their order, byte for byte
//! Redis's, which the keyspace keeps inside the entry where it can. A sorted set that outgrows the
//! limits becomes a [`Ranked`] and stays one.
//!
//! Everything that asks for a part of a sorted set asks in two steps: bounds to ranks (`range`),
//! ranks to members ([`ZsetRef::iter`]). Scores are never NaN; who calls sees to it. The two zeros
//! are equal, and the sign of a stored one is kept, but in a listpack.

mod packed;
mod range;
mod saved;

use std::ops::Range;

pub use self::range::{LexEnd, LexRange, ScoreRange};
use super::saved::Loading;
use super::{Collection, Fetch, Kind, PackTag, Part, TableStats};
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::codec::{Commands, Fault, Sink, Source};
use crate::ds::listpack::{self, Pack, Val};
use crate::ds::ranked::{self, Ranked};

/// When a sorted set is too large for a listpack, and with what a table hashes its members.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// zset-max-listpack-entries: more members make it a table.
    pub entries: usize,
    /// zset-max-listpack-value: a longer member makes it a table.
    pub value: usize,
    /// The key of the tables' hash function.
    pub hash_key: HashKey,
}

/// A sorted set.
#[derive(Clone)]
pub enum Zset {
    /// A listpack of members and scores in turns; no bytes at all stand for an empty one.
    Pack(Vec<u8>),
    /// A table with an index beside it.
    Ranked(Box<Ranked>),
}

/// Reads a sorted set.
#[derive(Clone, Copy)]
pub enum ZsetRef<'a> {
    /// Packed bytes, in the entry or boxed.
    Pack(Pack<'a>),
    /// A large one.
    Ranked(&'a Ranked),
}

/// A member and its score.
pub type Scored<'a> = (Val<'a>, f64);

impl Zset {
    /// Gives a member the score that `decide` makes of its present one (none: it is not there);
    /// `None` leaves all as it is. One search for all that ZADD's options ask. The score will
    /// mostly be `likely`, for which the memory is asked early.
    #[inline]
    pub fn set(
        &mut self,
        member: &[u8],
        likely: f64,
        limits: &Limits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        let pack = match self {
            Zset::Ranked(ranked) => return ranked.set(member, likely, decide),
            Zset::Pack(pack) => pack,
        };
        match packed::find(pack, member) {
            Some((at, old)) => {
                if let Some(new) = decide(Some(old))
                    && new != old
                {
                    listpack::delete_run(pack, at, 2);
                    packed::insert(pack, member, new);
                }
            }
            None => {
                if let Some(score) = decide(None) {
                    self.push(member, score, limits);
                }
            }
        }
    }

    /// Adds a member or changes its score; true if it is new.
    pub fn add(&mut self, member: &[u8], score: f64, limits: &Limits) -> bool {
        let mut new = false;
        self.set(member, score, limits, |old| {
            new = old.is_none();
            Some(score)
        });
        new
    }

    /// Adds a member that is not there. Those that come in order are added fastest, and take least.
    pub fn push(&mut self, member: &[u8], score: f64, limits: &Limits) {
        if let Zset::Pack(pack) = self {
            let count = Pack::new(pack).len() / 2;
            let bytes = pack.len() + member.len() + 2 * listpack::OVERHEAD_MAX + 32;
            if count < limits.entries
                && member.len() <= limits.value
                && bytes <= listpack::BYTES_MAX
            {
                packed::insert(pack, member, score);
                return;
            }
        }
        self.make_ranked(limits.hash_key, 0).push(member, score);
    }

    /// Says that up to `count` new members are about to be added: a set that is sure to become a
    /// table by it becomes one at once.
    pub fn expect_members(&mut self, count: usize, limits: &Limits) {
        if count > limits.entries {
            self.make_ranked(limits.hash_key, count);
        }
    }

    /// Asks the memory for what [`set`](Zset::set) will need for a member that comes soon.
    #[inline]
    pub fn prefetch(&self, member: &[u8], score: f64) {
        if let Zset::Ranked(ranked) = self {
            ranked.prefetch_new(member, score);
        }
    }

    /// Removes a member; true if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Zset::Pack(pack) => match Pack::new(pack).find_field(member) {
                Some(at) => listpack::delete_run(pack, at, 2) > 0,
                None => false,
            },
            Zset::Ranked(ranked) => ranked.remove(member).is_some(),
        }
    }

    /// Removes the members at these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match self {
            // All of them go faster with the nodes they hang from.
            Zset::Ranked(ranked) if ranks.start == 0 && ranks.end >= ranked.len() => {
                *self = Zset::new();
            }
            Zset::Pack(pack) => {
                let start = i64::try_from(ranks.start.saturating_mul(2)).unwrap_or(i64::MAX);
                listpack::delete_range(pack, start, ranks.len().saturating_mul(2));
            }
            Zset::Ranked(ranked) => ranked.remove_ranks(ranks),
        }
    }

    /// The large form, into which a listpack is turned; it is made large enough for `more` members.
    fn make_ranked(&mut self, hash_key: HashKey, more: usize) -> &mut Ranked {
        if let Zset::Pack(pack) = self {
            let members = packed::members(Pack::new(pack));
            let mut ranked = Box::new(Ranked::new(hash_key, Pack::new(pack).len() / 2 + more));
            for (member, score) in members {
                ranked.push(member.text(&mut [0; 20]), score);
            }
            *self = Zset::Ranked(ranked);
        }
        match self {
            Zset::Ranked(ranked) => ranked,
            Zset::Pack(_) => unreachable!("made a table above"),
        }
    }
}

impl<'a> ZsetRef<'a> {
    /// How many members.
    pub fn len(self) -> usize {
        match self {
            ZsetRef::Pack(pack) => pack.len() / 2,
            ZsetRef::Ranked(ranked) => ranked.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(self) -> bool {
        match self {
            ZsetRef::Pack(pack) => pack.is_empty(),
            ZsetRef::Ranked(ranked) => ranked.is_empty(),
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            ZsetRef::Pack(pack) => pack.value_of(member).map(packed::score_of),
            ZsetRef::Ranked(ranked) => ranked.score(member),
        }
    }

    /// How many members are ordered before this one, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            ZsetRef::Pack(pack) => {
                let mut members = packed::members(pack).enumerate();
                let (rank, (_, score)) = members.find(|(_, (own, _))| own.is(member))?;
                Some((rank, score))
            }
            ZsetRef::Ranked(ranked) => ranked.rank(member),
        }
    }

    /// The ranks of the members whose scores are in the range.
    pub fn ranks_by_score(self, range: &ScoreRange) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let (start, end) = match self {
            ZsetRef::Pack(pack) => (
                packed::count_while(pack, |_, score| range.is_before(score)),
                packed::count_while(pack, |_, score| !range.is_behind(score)),
            ),
            ZsetRef::Ranked(ranked) => (
                ranked.count_below(range.min, range.min_open),
                ranked.count_below(range.max, !range.max_open),
            ),
        };
        start..end.max(start)
    }

    /// The ranks of the members in a range of names. All scores are to be equal; where they are
    /// not the answer is some range.
    pub fn ranks_by_lex(self, range: &LexRange<'_>) -> Range<usize> {
        if range.is_empty() {
            return 0..0;
        }
        let (start, end) = match self {
            ZsetRef::Pack(pack) => (
                packed::count_while(pack, |member, _| range.is_before(member)),
                packed::count_while(pack, |member, _| !range.is_behind(member)),
            ),
            ZsetRef::Ranked(ranked) => (
                ranked.count_while(|member| range.is_before(member)),
                ranked.count_while(|member| !range.is_behind(member)),
            ),
        };
        start..end.max(start)
    }

    /// The members at these ranks, from the lowest or from the highest on.
    pub fn iter_ranks(self, ranks: Range<usize>, reverse: bool) -> Iter<'a> {
        match self {
            ZsetRef::Pack(pack) => Iter::Pack(packed::Members::at(pack, ranks, reverse)),
            ZsetRef::Ranked(ranked) => Iter::Ranked(ranked.iter(ranks, reverse)),
        }
    }

    /// All members in their order.
    pub fn iter(self) -> Iter<'a> {
        self.iter_ranks(0..self.len(), false)
    }

    /// One step of a scan from `cursor` on; the next cursor is 0 at the end. A packed set is shown
    /// whole. Of a table, whatever is in it during the whole scan is shown at least once.
    pub fn scan(self, cursor: u64, mut show: impl FnMut(Val<'a>, f64)) -> u64 {
        match self {
            ZsetRef::Pack(pack) => {
                packed::members(pack).for_each(|(member, score)| show(member, score));
                0
            }
            ZsetRef::Ranked(ranked) => {
                ranked.scan(cursor, |member, score| show(Val::Str(member), score))
            }
        }
    }

    /// A member by chance, each with the same probability.
    pub fn random(self, rng: &mut Rng) -> Option<Scored<'a>> {
        match self {
            ZsetRef::Pack(_) if self.is_empty() => None,
            ZsetRef::Pack(_) => {
                let rank = rng.below(self.len() as u64) as usize;
                self.iter_ranks(rank..rank + 1, false).next()
            }
            ZsetRef::Ranked(ranked) => {
                let (member, score) = ranked.random(rng)?;
                Some((Val::Str(member), score))
            }
        }
    }
}

/// Members with their scores, in order of rank or against it.
pub enum Iter<'a> {
    /// Of a packed set.
    Pack(packed::Members<'a>),
    /// Of a large one.
    Ranked(ranked::Iter<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Scored<'a>;

    #[inline]
    fn next(&mut self) -> Option<Scored<'a>> {
        match self {
            Iter::Pack(members) => members.next(),
            Iter::Ranked(members) => {
                let (member, score) = members.next()?;
                Some((Val::Str(member), score))
            }
        }
    }
}

impl Collection for Zset {
    const KIND: Kind = Kind::Zset;
    type Ref<'a> = ZsetRef<'a>;

    fn new_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Zset::Pack(buffer)
    }

    fn from_pack(_tag: PackTag, pack: Vec<u8>) -> Self {
        Zset::Pack(pack)
    }

    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        match self {
            Zset::Pack(pack) => Some((0, pack)),
            Zset::Ranked(_) => None,
        }
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        match self {
            Zset::Pack(pack) => Ok((0, pack)),
            Zset::Ranked(_) => Err(self),
        }
    }

    fn view(&self) -> ZsetRef<'_> {
        match self {
            Zset::Pack(pack) => ZsetRef::Pack(Pack::new(pack)),
            Zset::Ranked(ranked) => ZsetRef::Ranked(ranked),
        }
    }

    fn view_pack(_tag: PackTag, pack: &[u8]) -> ZsetRef<'_> {
        ZsetRef::Pack(Pack::new(pack))
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Zset::Pack(pack) => pack.capacity(),
            Zset::Ranked(ranked) => size_of::<Ranked>() + ranked.heap_bytes(),
        }
    }

    fn free_effort(&self) -> usize {
        match self {
            Zset::Pack(_) => 1,
            Zset::Ranked(ranked) => ranked.len(),
        }
    }

    fn encoding(&self) -> &'static str {
        match self {
            Zset::Pack(_) => "listpack",
            Zset::Ranked(_) => "skiplist",
        }
    }

    fn pack_encoding(_tag: PackTag) -> &'static str {
        "listpack"
    }

    fn parts(view: Self::Ref<'_>, show: &mut dyn FnMut(Part<'_>)) -> bool {
        for (member, score) in view.iter() {
            show(Part::Scored(member.text(&mut [0; 20]), score));
        }
        true
    }

    #[inline]
    fn prefetch(view: Self::Ref<'_>, hash: u64, step: Fetch) -> bool {
        match view {
            ZsetRef::Pack(_) => false,
            ZsetRef::Ranked(ranked) => ranked.prefetch(hash, step),
        }
    }

    fn table_stats(view: Self::Ref<'_>) -> Option<TableStats> {
        match view {
            ZsetRef::Pack(_) => None,
            ZsetRef::Ranked(ranked) => Some(ranked.table_stats()),
        }
    }

    const RDB_TYPES: &'static [u8] = saved::RDB_TYPES;

    fn rdb_type(view: Self::Ref<'_>) -> u8 {
        saved::rdb_type(view)
    }

    fn save(view: Self::Ref<'_>, sink: &mut Sink<'_>) {
        saved::save(view, sink);
    }

    fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Self, Fault> {
        saved::load(rdb_type, source, how)
    }

    fn rewrite(view: Self::Ref<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
        saved::rewrite(view, key, out);
    }
}

#[cfg(test)]
mod tests;
