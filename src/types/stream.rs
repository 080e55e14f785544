//! The stream: entries of fields and values under ids that only grow, and groups of consumers that
//! share the reading of them.
//!
//! The entries lie in listpacks of exactly Redis's layout (`node`), about a hundred to each, which
//! `nodes` keeps in the order of their ids: adding at the end touches the last node only, any id
//! is found in O(log n), and trimming takes whole nodes where it may. Beside them stand counters
//! that tell how far a group is behind ([`Entries::lag`]).
//!
//! A stream without entries is still a stream: its key stays until somebody deletes it.

mod group;
mod id;
mod node;
mod nodes;
mod radix;
mod range;
mod saved;

pub use group::{Consumer, ConsumerId, Delivery, Group};
pub use id::{Partial, StreamId, TEXT_MAX};
pub use node::{BYTES_MAX, Limits};
pub use range::Range;
pub use saved::fuzz_stream;

use std::collections::BTreeMap;

use self::node::{Counts, Reader};
use self::nodes::{Nodes, Place};
use super::saved::Loading;
use super::{Collection, Kind, PackTag, Part};
use crate::codec::{Commands, Fault, Sink, Source};
use crate::ds::listpack::Pack;
use crate::resp::argv::Argv;

/// A stream.
#[derive(Clone)]
pub struct Stream(Box<Entries>);

/// What a stream consists of.
#[derive(Clone, Default)]
pub struct Entries {
    nodes: Nodes,
    /// How many live entries.
    len: u64,
    /// The first live entry's id; zero without any.
    first_id: StreamId,
    /// The last id that was given, also when its entry is gone.
    pub last_id: StreamId,
    /// The highest id among deleted entries (XDEL; trimming does not count).
    pub max_deleted_id: StreamId,
    /// How many entries there ever were.
    pub entries_added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
}

/// An entry that cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its id is not above the last one.
    NotAbove,
    /// It is larger than a node may be.
    TooLarge,
}

/// What XTRIM and XADD are to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// All but so many of the newest.
    MaxLen(u64),
    /// All below this id.
    MinId(StreamId),
}

/// The entries.
impl Entries {
    /// How many.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True without entries; the stream is there nevertheless.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The id of the first one; zero without any.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The entries of these ids and between, in their order or back.
    pub fn range(&self, start: StreamId, end: StreamId, backwards: bool) -> Range<'_> {
        Range::new(&self.nodes, start, end, backwards)
    }

    /// Is there such an entry?
    pub fn has(&self, id: StreamId) -> bool {
        self.range(id, id, false).entry().is_some()
    }

    /// The id of the last entry that is there.
    pub fn last_entry(&self) -> Option<StreamId> {
        // Nearly always it is the one that was added last.
        let mut all = self.range(StreamId::ZERO, StreamId::MAX, true);
        all.entry().map(|entry| entry.id)
    }

    /// The id for an entry that is added now; none when there is none left.
    pub fn next_id(&self, now_ms: u64) -> Option<StreamId> {
        if now_ms > self.last_id.ms {
            Some(StreamId::new(now_ms, 0))
        } else {
            self.last_id.next()
        }
    }

    /// The id for an entry whose first half is given.
    pub fn next_id_in(&self, ms: u64) -> Result<StreamId, Refused> {
        if ms == self.last_id.ms {
            let seq = self.last_id.seq.checked_add(1).ok_or(Refused::NotAbove)?;
            return Ok(StreamId::new(ms, seq));
        }
        Ok(StreamId::new(ms, 0))
    }

    /// Adds an entry: fields and values in turns, at least one of each.
    #[inline]
    pub fn append(
        &mut self,
        id: StreamId,
        pairs: Argv<'_>,
        limits: &Limits,
    ) -> Result<(), Refused> {
        if id <= self.last_id {
            return Err(Refused::NotAbove);
        }
        let total = pairs.iter().map(<[u8]>::len).sum::<usize>();
        if total > BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        match self.nodes.last_mut() {
            Some((node_id, node)) if limits.admit(node, total) => {
                node::append(node, node_id, id, pairs, total);
            }
            _ => node::append(self.nodes.push(id), id, id, pairs, total),
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    /// Removes entries; how many of them were there.
    pub fn delete(&mut self, ids: &[StreamId]) -> usize {
        let (mut deleted, mut first_gone) = (0, false);
        for id in ids {
            if self.delete_one(*id) {
                deleted += 1;
                first_gone |= *id == self.first_id;
                self.max_deleted_id = self.max_deleted_id.max(*id);
            }
        }
        if first_gone {
            self.find_first();
        }
        deleted
    }

    fn delete_one(&mut self, id: StreamId) -> bool {
        let mut found = self.range(id, id, false);
        let Some((head, place)) = found.entry().zip(found.place()) else {
            return false;
        };
        let node = self.nodes.bytes_mut(place);
        let Some(counts) = Counts::of(node) else {
            return false;
        };
        if counts.live <= 1 {
            self.nodes.remove(place);
        } else {
            head.mark_deleted(node);
            self.add_deleted(place, counts, 1);
        }
        self.len -= 1;
        true
    }

    /// So many more entries of a node, which had these counts, are marked as deleted.
    fn add_deleted(&mut self, place: Place, counts: Counts, more: i64) {
        let counts = Counts {
            live: counts.live - more,
            deleted: counts.deleted.saturating_add(more),
        };
        if !counts.write_in_place(self.nodes.bytes_mut(place)) {
            self.nodes.edit(place, |node| counts.write(node));
        }
    }

    fn find_first(&mut self) {
        let mut all = self.range(StreamId::ZERO, StreamId::MAX, false);
        self.first_id = all.entry().map_or(StreamId::ZERO, |entry| entry.id);
    }

    /// Trims. Only whole nodes if `whole`, and then no more than `limit` entries unless that is 0.
    /// Returns how many went.
    #[inline]
    pub fn trim(&mut self, to: Trim, whole: bool, limit: u64) -> u64 {
        match to {
            Trim::MaxLen(len_max) if self.len <= len_max => 0,
            _ => self.trim_nodes(to, whole, limit),
        }
    }

    fn trim_nodes(&mut self, to: Trim, whole: bool, limit: u64) -> u64 {
        let mut gone = 0u64;
        while let Some(place) = self.nodes.first() {
            let (node_id, node) = self.nodes.get(place);
            let Some(counts) = Counts::of(node) else {
                break;
            };
            let live = u64::try_from(counts.live).unwrap_or(0);
            if limit != 0 && gone + live > limit {
                break;
            }
            let all = match to {
                Trim::MaxLen(len_max) if self.len <= len_max => break,
                Trim::MaxLen(len_max) => self.len.saturating_sub(live) >= len_max,
                Trim::MinId(min) => {
                    let last = Reader::new(node_id, node).and_then(|mut node| node.next_back());
                    last.is_some_and(|last| last.id < min)
                }
            };
            if all {
                self.nodes.remove(place);
                self.len = self.len.saturating_sub(live);
                gone += live;
                continue;
            }
            if !whole {
                gone += self.trim_within(place, to, counts);
            }
            break;
        }
        if gone > 0 {
            self.find_first();
        }
        gone
    }

    /// Marks entries of the first node, of which some stay.
    fn trim_within(&mut self, place: Place, to: Trim, counts: Counts) -> u64 {
        let (node_id, node) = self.nodes.get(place);
        let mut marked = Vec::new();
        if let Some(mut reader) = Reader::new(node_id, node) {
            while let Some(head) = reader.next() {
                let stop = match to {
                    Trim::MaxLen(len_max) => self.len - marked.len() as u64 <= len_max,
                    Trim::MinId(min) => head.id >= min,
                };
                if stop {
                    break;
                }
                if !head.is_deleted() && (marked.len() as u64) < self.len {
                    marked.push(head);
                }
            }
        }
        let node = self.nodes.bytes_mut(place);
        marked.iter().for_each(|head| head.mark_deleted(node));
        self.add_deleted(place, counts, marked.len() as i64);
        self.len -= marked.len() as u64;
        marked.len() as u64
    }

    /// How many nodes, and how many nodes the radix tree would have in which Redis keeps them.
    pub fn node_counts(&self) -> (usize, usize) {
        (self.nodes.len(), radix::node_count(self.nodes.ids()))
    }
}

/// Putting a stream together again, from a file.
impl Entries {
    /// Adds a node with its entries behind all others. False for bytes that are none, which are
    /// then not added.
    pub fn add_node(&mut self, id: StreamId, node: &[u8]) -> bool {
        let above = self.last_entry().max(self.nodes.ids_last());
        if above.is_some_and(|above| above >= id) || Pack::new(node).validate(true).is_err() {
            return false;
        }
        let Some(live) = node::check(id, node) else {
            return false;
        };
        self.nodes.push(id).extend_from_slice(node);
        self.len += live as u64;
        true
    }

    /// All nodes are there. No entry has an id above the last one: should a file say so, it is the
    /// entry that is right.
    pub fn settle(&mut self, last_id: StreamId) {
        self.nodes.fit();
        self.find_first();
        self.last_id = self.last_entry().map_or(last_id, |last| last.max(last_id));
    }

    /// All nodes, as files carry them.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &[u8])> {
        let places = std::iter::successors(self.nodes.first(), |place| self.nodes.next(*place));
        places.map(|place| self.nodes.get(place))
    }
}

/// Counting what a group has read.
impl Entries {
    /// Is the highest deleted id at or behind `start`, and not before all entries? Then those from
    /// there on are not all that there ever were.
    pub fn has_gaps_from(&self, start: StreamId) -> bool {
        let deleted = self.max_deleted_id;
        self.len > 0 && deleted != StreamId::ZERO && self.first_id.max(start) <= deleted
    }

    /// How many entries there were up to this id since the stream began; none where nobody can
    /// tell.
    pub fn distance_from_first(&self, id: StreamId) -> Option<i64> {
        let added = self.entries_added.cast_signed();
        if added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id || id == self.last_id {
            return Some(added);
        }
        if id > self.last_id {
            return None;
        }
        let deleted = self.max_deleted_id;
        let whole = deleted == StreamId::ZERO || deleted < self.first_id;
        let before_first = added.wrapping_sub(self.len.cast_signed());
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if whole => Some(before_first),
            std::cmp::Ordering::Equal if whole => Some(before_first.wrapping_add(1)),
            _ => None,
        }
    }

    /// How many entries a group has not read yet; none where nobody can tell.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let added = self.entries_added.cast_signed();
        if added == 0 {
            return Some(0);
        }
        let read = match group.entries_read() {
            Some(read) if !self.has_gaps_from(group.last_id) => read,
            _ => self.distance_from_first(group.last_id)?,
        };
        Some(added.wrapping_sub(read))
    }
}

/// The groups.
impl Entries {
    /// All groups by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// A group, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Makes a group; false if there is one of that name.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        self.groups.insert(name.into(), group);
        true
    }

    /// Removes a group.
    pub fn destroy_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.remove(name)
    }

    /// A group apart from the entries, for reading these while that is changed. It is empty until
    /// [`put_group`](Entries::put_group).
    pub fn take_group(&mut self, name: &[u8]) -> Option<Group> {
        self.groups.get_mut(name).map(std::mem::take)
    }

    /// Puts back what was taken.
    pub fn put_group(&mut self, name: &[u8], group: Group) {
        if let Some(place) = self.groups.get_mut(name) {
            *place = group;
        }
    }
}

impl std::ops::Deref for Stream {
    type Target = Entries;

    #[inline]
    fn deref(&self) -> &Entries {
        &self.0
    }
}

impl std::ops::DerefMut for Stream {
    #[inline]
    fn deref_mut(&mut self) -> &mut Entries {
        &mut self.0
    }
}

/// Groups of consumers whose size is told wherever it must not take long.
const METERED_GROUPS: usize = 16;

impl Collection for Stream {
    const KIND: Kind = Kind::Stream;
    type Ref<'a> = &'a Entries;

    fn new_in(_buffer: Vec<u8>) -> Self {
        Stream(Box::default())
    }

    fn from_pack(_tag: PackTag, pack: Vec<u8>) -> Self {
        // No stream is ever packed.
        Self::new_in(pack)
    }

    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        None
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        Err(self)
    }

    fn view(&self) -> &Entries {
        &self.0
    }

    fn view_pack(_tag: PackTag, _pack: &[u8]) -> &'static Entries {
        static NOTHING: std::sync::LazyLock<Entries> = std::sync::LazyLock::new(Entries::default);
        &NOTHING
    }

    fn is_empty(&self) -> bool {
        false
    }

    fn heap_bytes(&self) -> usize {
        let groups = self.groups.iter();
        let groups = groups.map(|(name, group)| name.len() + group.heap_bytes());
        size_of::<Entries>() + self.nodes.heap_bytes() + groups.sum::<usize>()
    }

    fn metered_bytes(&self) -> usize {
        let groups = self.groups.iter().take(METERED_GROUPS);
        let groups = groups.map(|(name, group)| name.len() + group.heap_bytes());
        size_of::<Entries>() + self.nodes.about_heap_bytes() + groups.sum::<usize>()
    }

    fn free_effort(&self) -> usize {
        let groups = self.groups.values().map(Group::free_effort);
        // By nodes, as Redis has it: several of them lie in one allocation.
        1 + self.nodes.len() + groups.sum::<usize>()
    }

    fn encoding(&self) -> &'static str {
        "stream"
    }

    fn pack_encoding(_tag: PackTag) -> &'static str {
        "stream"
    }

    fn parts(view: Self::Ref<'_>, show: &mut dyn FnMut(Part<'_>)) -> bool {
        let (mut one, mut two) = ([0; 20], [0; 20]);
        let mut all = view.range(StreamId::ZERO, StreamId::MAX, false);
        while let Some(entry) = all.entry() {
            show(Part::Item(
                format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes(),
            ));
            while let Some((field, value)) = all.pair() {
                show(Part::Item(field.text(&mut one)));
                show(Part::Item(value.text(&mut two)));
            }
        }
        true
    }

    const RDB_TYPES: &'static [u8] = saved::RDB_TYPES;

    fn rdb_type(_view: Self::Ref<'_>) -> u8 {
        saved::RDB_TYPE
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
