//! What the bytes of a node mean: Redis's layout of a run of entries, which files carry as it is.
//!
//! ```text
//! live entries | deleted ones | n | field 1 .. field n | 0 | entry ...
//! entry: flags | ms delta | seq delta | [number of fields, unless SAME] | values, or fields and
//!        values in turns unless SAME | elements before this one
//! ```
//! Each is an element of a listpack. Deltas are to the node's id, which is that of the first entry
//! it was made for; the fields in front are that entry's. An entry with the same fields says so by
//! a flag and has its values only. Deleted entries stay, marked by another flag, until the node
//! goes. The last element of an entry is for walking backwards.
//!
//! Reading never panics, whatever the bytes: what cannot be read ends the walk.

use super::id::StreamId;
use crate::ds::listpack::{self, HEADER, Iter, Pack, Val};
use crate::resp::argv::Argv;

/// The entry is gone.
const DELETED: i64 = 1;
/// The entry has the fields that stand in front.
const SAME: i64 = 2;
/// Elements of an entry besides fields and values, not counting the last: flags and deltas.
const ENTRY_FIXED: i64 = 3;
/// No node grows beyond this, and no entry larger than this is taken.
pub const BYTES_MAX: usize = 1 << 30;

/// When a node is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// stream-node-max-bytes; 0: none.
    pub bytes: usize,
    /// stream-node-max-entries, deleted ones counted; 0: none.
    pub entries: usize,
}

impl Limits {
    /// Does a node take another entry of fields and values of `total` bytes?
    #[inline]
    pub fn admit(&self, node: &[u8], total: usize) -> bool {
        let bytes_max = match self.bytes {
            0 => BYTES_MAX,
            bytes => bytes.min(BYTES_MAX),
        };
        if node.len() + total >= bytes_max {
            return false;
        }
        let counts = Counts::of(node);
        self.entries == 0 || counts.is_some_and(|counts| counts.sum() < self.entries as i64)
    }
}

/// How many entries a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub live: i64,
    pub deleted: i64,
}

impl Counts {
    /// Reads them.
    #[inline]
    pub fn of(node: &[u8]) -> Option<Counts> {
        let mut items = Pack::new(node).iter();
        Some(Counts {
            live: int(&mut items)?,
            deleted: int(&mut items)?,
        })
    }

    fn sum(self) -> i64 {
        self.live.saturating_add(self.deleted)
    }

    /// Writes them where they take as many bytes as those that are there.
    pub fn write_in_place(self, node: &mut [u8]) -> bool {
        let before = Counts::of(node);
        if !listpack::replace_int_in_place(node, HEADER, self.live) {
            return false;
        }
        let second = Pack::new(node).next(HEADER);
        let done = second.is_some_and(|at| listpack::replace_int_in_place(node, at, self.deleted));
        if let (false, Some(before)) = (done, before) {
            listpack::replace_int_in_place(node, HEADER, before.live);
        }
        done
    }

    /// Writes them.
    pub fn write(self, node: &mut Vec<u8>) {
        listpack::replace_int(node, HEADER, self.live);
        if let Some(at) = Pack::new(node).next(HEADER) {
            listpack::replace_int(node, at, self.deleted);
        }
    }
}

#[inline]
fn int(items: &mut Iter<'_>) -> Option<i64> {
    items.next()?.as_int()
}

/// Adds an entry to a node of this id. The fields and values are `pairs`, in turns, at least one
/// of each; a node without bytes is begun, which must have the entry's id.
#[inline]
pub fn append(node: &mut Vec<u8>, node_id: StreamId, id: StreamId, pairs: Argv<'_>, total: usize) {
    let fields = pairs.len() / 2;
    // Doubles when it is full, so that a byte of an entry is moved once on average.
    node.reserve(total + (pairs.len() + 4) * listpack::OVERHEAD_MAX);
    let same = if node.is_empty() {
        begin(node, pairs);
        true
    } else {
        count_one(node);
        has_same_fields(node, pairs)
    };
    listpack::push_back_all(node, |entry| {
        entry.int(if same { SAME } else { 0 });
        entry.int(id.ms.wrapping_sub(node_id.ms).cast_signed());
        entry.int(id.seq.wrapping_sub(node_id.seq).cast_signed());
        if same {
            (0..fields).for_each(|n| entry.text(pairs.get(2 * n + 1)));
            entry.int(ENTRY_FIXED + fields as i64);
        } else {
            entry.int(fields as i64);
            pairs.iter().for_each(|text| entry.text(text));
            entry.int(ENTRY_FIXED + 1 + 2 * fields as i64);
        }
    });
}

/// Writes what stands in front of the entries, the first of which has these fields.
fn begin(node: &mut Vec<u8>, pairs: Argv<'_>) {
    let fields = pairs.len() / 2;
    listpack::push_back_all(node, |front| {
        front.int(1);
        front.int(0);
        front.int(fields as i64);
        (0..fields).for_each(|n| front.text(pairs.get(2 * n)));
        front.int(0);
    });
}

/// There is an entry more.
#[inline]
fn count_one(node: &mut Vec<u8>) {
    // A number below 128 is its own byte.
    if let Some(live @ 0..127) = node.get_mut(HEADER) {
        *live += 1;
    } else if let Some(counts) = Counts::of(node) {
        listpack::replace_int(node, HEADER, counts.live.saturating_add(1));
    }
}

#[inline]
fn has_same_fields(node: &[u8], pairs: Argv<'_>) -> bool {
    let Some(front) = Front::of(node) else {
        return false;
    };
    let mut names = Pack::new(node).iter_from(front.fields_at);
    front.fields == pairs.len() / 2
        && (0..front.fields).all(|n| names.next().is_some_and(|name| name.is(pairs.get(2 * n))))
}

/// What stands in front of the entries.
#[derive(Clone, Copy, Debug)]
struct Front {
    fields: usize,
    fields_at: usize,
}

impl Front {
    #[inline]
    fn of(node: &[u8]) -> Option<Front> {
        let mut items = Pack::new(node).iter();
        let (_live, _deleted) = (int(&mut items)?, int(&mut items)?);
        let fields = usize::try_from(int(&mut items)?).ok()?;
        Some(Front {
            fields,
            fields_at: items.position(),
        })
    }
}

/// An entry's place, and what it says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub id: StreamId,
    /// How many fields it has.
    pub fields: usize,
    /// Where its flags are.
    at: usize,
    flags: i64,
}

impl Head {
    /// Is it marked as deleted?
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Marks it as deleted; its node's counts are the caller's affair.
    pub fn mark_deleted(&self, node: &mut [u8]) {
        // Written by us or by Redis the flags are one byte, with the mark as well.
        listpack::replace_int_in_place(node, self.at, self.flags | DELETED);
    }
}

/// Walks the entries of a node in one direction, deleted ones too.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pack: Pack<'a>,
    node_id: StreamId,
    front: Front,
    /// Where the entries begin.
    entries_at: usize,
    /// What comes next of the entry that was read last.
    items: Iter<'a>,
    /// The fields of an entry that does not have its own.
    names: Option<Iter<'a>>,
    /// Pairs of it that were not read yet.
    left: usize,
    /// Where it begins.
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader before the first entry. None for bytes that are no node.
    #[inline]
    pub fn new(node_id: StreamId, node: &'a [u8]) -> Option<Reader<'a>> {
        let (pack, front) = (Pack::new(node), Front::of(node)?);
        let mut items = pack.iter_from(front.fields_at);
        for _ in 0..front.fields {
            items.next()?;
        }
        // The zero behind the fields.
        items.next()?;
        let entries_at = items.position();
        Some(Reader {
            pack,
            node_id,
            front,
            entries_at,
            items,
            names: None,
            left: 0,
            at: node.len().saturating_sub(1),
        })
    }

    /// The next entry.
    #[inline]
    pub fn next(&mut self) -> Option<Head> {
        if self.items.position() > self.entries_at {
            let elements = self.left * if self.names.is_some() { 1 } else { 2 };
            for _ in 0..elements {
                self.items.next()?;
            }
            // How many elements it has.
            self.items.next()?;
        }
        self.read(self.items.position())
    }

    /// The entry before the one that was read last, or the last one.
    #[inline]
    pub fn next_back(&mut self) -> Option<Head> {
        if self.at <= self.entries_at {
            return None;
        }
        let mut at = self.pack.prev(self.at)?;
        let elements = usize::try_from(self.pack.val(at)?.as_int()?).ok()?;
        for _ in 0..elements {
            at = self.pack.prev(at)?;
        }
        if at < self.entries_at || at >= self.at {
            return None;
        }
        self.read(at)
    }

    #[inline]
    fn read(&mut self, at: usize) -> Option<Head> {
        let mut items = self.pack.iter_from(at);
        let flags = int(&mut items)?;
        let ms = self.node_id.ms.wrapping_add_signed(int(&mut items)?);
        let seq = self.node_id.seq.wrapping_add_signed(int(&mut items)?);
        let fields = if flags & SAME != 0 {
            self.names = Some(self.pack.iter_from(self.front.fields_at));
            self.front.fields
        } else {
            self.names = None;
            usize::try_from(int(&mut items)?).ok()?
        };
        (self.items, self.left, self.at) = (items, fields, at);
        Some(Head {
            id: StreamId::new(ms, seq),
            fields,
            at,
            flags,
        })
    }

    /// The next field and value of the entry that was read last.
    #[inline]
    pub fn pair(&mut self) -> Option<(Val<'a>, Val<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let name = match &mut self.names {
            Some(names) => names.next()?,
            None => self.items.next()?,
        };
        Some((name, self.items.next()?))
    }
}

/// Judges bytes from outside, which are a sound listpack: is this a node, entry by entry, forwards
/// and backwards the same, with as many as it says, at least one of them live, and those in the
/// order of their ids? (Old servers could leave a deleted one out of order.) Returns the live ones.
pub fn check(node_id: StreamId, node: &[u8]) -> Option<usize> {
    let counts = Counts::of(node)?;
    let front = Front::of(node)?;
    let mut items = Pack::new(node).iter_from(front.fields_at);
    for _ in 0..front.fields {
        items.next()?;
    }
    if items.next()? != Val::Int(0) {
        return None;
    }
    let (mut live, mut deleted, mut last) = (0i64, 0i64, None);
    while let Some(flags) = items.next() {
        let Val::Int(flags @ 0..=3) = flags else {
            return None;
        };
        let (Val::Int(ms), Val::Int(seq)) = (items.next()?, items.next()?) else {
            return None;
        };
        let id = StreamId::new(
            node_id.ms.wrapping_add_signed(ms),
            node_id.seq.wrapping_add_signed(seq),
        );
        if flags & DELETED == 0 {
            if id < node_id || last.is_some_and(|last| last >= id) {
                return None;
            }
            last = Some(id);
        }
        let elements = if flags & SAME != 0 {
            front.fields
        } else {
            let Val::Int(fields) = items.next()? else {
                return None;
            };
            usize::try_from(fields).ok()?.checked_mul(2)?
        };
        for _ in 0..elements {
            items.next()?;
        }
        let own = i64::from(flags & SAME == 0);
        if items.next()? != Val::Int(ENTRY_FIXED + own + i64::try_from(elements).ok()?) {
            return None;
        }
        if flags & DELETED == 0 {
            live += 1;
        } else {
            deleted += 1;
        }
    }
    let honest = Counts { live, deleted } == counts && live > 0;
    honest.then_some(live as usize)
}
