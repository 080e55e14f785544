//! The list: elements in the order in which clients put them.
//!
//! A small list is a listpack, byte for byte Redis's, which the keyspace keeps inside the entry
//! where it can. One that outgrows list-max-listpack-size becomes a [`Quicklist`], and goes back
//! when it has shrunk to one node of half that size, so that it does not swing.
//!
//! This file knows encodings and conversions. What commands reply is the command's affair, and
//! which limits are in force is the configuration's: they come in as [`Limits`].

mod saved;

use super::saved::Loading;
use super::{Collection, Kind, PackTag, Part};
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::ds::listpack::{self, HEADER, Pack, Side, Val};
pub use crate::ds::quicklist::{End, Fill, Quicklist, Saved};

/// When a list is too large for a listpack, and how a quicklist is built.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// list-max-listpack-size.
    pub fill: Fill,
    /// list-compress-depth.
    pub depth: u32,
    /// An element of so many bytes has a node of its own, whatever the node's limit.
    pub huge: usize,
}

/// A list.
#[derive(Clone)]
pub enum List {
    /// A listpack; no bytes at all stand for an empty one.
    Pack(Vec<u8>),
    /// A row of listpacks.
    Quick(Box<Quicklist>),
}

/// Reads a list.
#[derive(Clone, Copy)]
pub enum ListRef<'a> {
    /// Packed bytes, in the entry or boxed.
    Pack(Pack<'a>),
    /// A large one.
    Quick(&'a Quicklist),
}

/// Encodings.
impl List {
    /// Says that `count` elements of together `bytes` bytes are about to come: a listpack that would
    /// grow too large becomes a quicklist now.
    #[inline]
    pub fn expect(&mut self, bytes: usize, count: usize, limits: &Limits) {
        if let List::Pack(pack) = self {
            let bytes = pack.len().max(listpack::EMPTY.len()).saturating_add(bytes);
            if limits
                .fill
                .exceeded_by(bytes, Pack::new(pack).len() + count)
            {
                self.make_quick(limits);
            }
        }
    }

    #[cold]
    fn make_quick(&mut self, limits: &Limits) {
        if let List::Pack(pack) = self {
            let mut quick = Box::new(Quicklist::new(limits.fill, limits.depth));
            quick.append_pack(std::mem::take(pack));
            *self = List::Quick(quick);
        }
    }

    /// Elements have gone: a quicklist that is small enough by half becomes a listpack.
    #[inline]
    pub fn shrunk(&mut self, limits: &Limits) {
        self.repack(limits, 2);
    }

    /// The list was built as a whole: it takes the encoding that fits its size.
    pub fn choose_encoding(&mut self, limits: &Limits) {
        self.expect(0, 0, limits);
        self.repack(limits, 1);
    }

    #[inline]
    fn repack(&mut self, limits: &Limits, part: usize) {
        if let List::Quick(quick) = self
            && let Some(bytes) = quick.only_node(limits.huge)
        {
            let (bytes_max, count_max) = limits.fill.limits();
            if bytes <= bytes_max / part && quick.len() <= count_max / part {
                let none = Quicklist::new(limits.fill, limits.depth);
                *self = List::Pack(std::mem::replace(&mut **quick, none).into_pack());
            }
        }
    }
}

/// Editing. Elements are not to be larger than [`expect`](List::expect) was told.
impl List {
    /// Adds an element at an end.
    #[inline]
    pub fn push(&mut self, end: End, val: Val<'_>, limits: &Limits) {
        match (self, end, val) {
            (List::Quick(quick), end, val) => quick.push(end, val, limits.huge),
            (List::Pack(pack), End::Back, val) => _ = listpack::push_back_val(pack, val),
            (List::Pack(pack), End::Front, Val::Int(int)) => listpack::push_front_int(pack, int),
            (List::Pack(pack), End::Front, Val::Str(text)) => listpack::push_front(pack, text),
        }
    }

    /// Takes the element at an end away, once it has been looked at.
    #[inline]
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        match self {
            List::Quick(quick) => quick.pop(end, take),
            List::Pack(pack) => {
                let view = Pack::new(pack);
                let at = match end {
                    End::Front => view.first(),
                    End::Back => view.last(),
                }?;
                let result = take(view.val(at)?);
                listpack::delete(pack, at);
                Some(result)
            }
        }
    }

    /// Puts a value in the place of element number `at`; false if there is none.
    pub fn set(&mut self, at: usize, text: &[u8], limits: &Limits) -> bool {
        match self {
            List::Quick(quick) => quick.set(at, text, limits.huge),
            List::Pack(pack) => match Pack::new(pack).seek(at as i64) {
                Some(at) => {
                    listpack::replace(pack, at, text);
                    true
                }
                None => false,
            },
        }
    }

    /// Puts a value beside the first element equal to `pivot`; false if there is none.
    pub fn insert(&mut self, pivot: &[u8], side: Side, text: &[u8], limits: &Limits) -> bool {
        match self {
            List::Quick(quick) => {
                let (mut at, mut found) = (0, false);
                let pivot = Pivot::new(pivot);
                quick.visit(End::Front, |val| {
                    found = pivot.is(val);
                    at += usize::from(!found);
                    !found
                });
                found && quick.insert(at, side, text, limits.huge)
            }
            List::Pack(pack) => {
                let at = Pack::new(pack).find(HEADER, pivot, 0);
                at.and_then(|at| listpack::insert(pack, at, side, text))
                    .is_some()
            }
        }
    }

    /// Removes up to `count` elements from number `from` on; returns how many there were.
    pub fn remove_range(&mut self, from: usize, count: usize) -> usize {
        match self {
            List::Quick(quick) => quick.remove_range(from, count),
            List::Pack(pack) => listpack::delete_range(pack, from as i64, count),
        }
    }

    /// Removes up to `max` elements equal to `text`, from one end on; returns how many.
    pub fn remove_equal(&mut self, text: &[u8], max: usize, from: End) -> usize {
        match self {
            List::Quick(quick) => quick.remove_equal(text, max, from),
            List::Pack(pack) => listpack::delete_equal(pack, text, max, from == End::Back),
        }
    }
}

/// A text that elements are compared with, many of them.
pub struct Pivot<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Pivot<'a> {
    /// What equals this text.
    pub fn new(text: &'a [u8]) -> Pivot<'a> {
        let int = match Val::of(text) {
            Val::Int(int) => Some(int),
            Val::Str(_) => None,
        };
        Pivot { text, int }
    }

    /// Is this element it?
    #[inline]
    pub fn is(&self, val: Val<'_>) -> bool {
        match val {
            Val::Str(text) => text == self.text,
            Val::Int(int) => self.int == Some(int),
        }
    }
}

impl ListRef<'_> {
    /// How many elements.
    #[inline]
    pub fn len(self) -> usize {
        match self {
            ListRef::Pack(pack) => pack.len(),
            ListRef::Quick(quick) => quick.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        match self {
            ListRef::Pack(pack) => pack.is_empty(),
            ListRef::Quick(quick) => quick.is_empty(),
        }
    }

    /// The number of the element that a client means by `index`: negative ones count from the end.
    pub fn number(self, index: i64) -> Option<usize> {
        let len = self.len();
        let at = match usize::try_from(index) {
            Ok(at) => at,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (at < len).then_some(at)
    }

    /// Shows element number `at`, if there is one.
    pub fn get<R>(self, at: usize, show: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        match self {
            ListRef::Pack(pack) => pack.get(at as i64).map(show),
            ListRef::Quick(quick) => quick.get(at, show),
        }
    }

    /// Shows up to `count` elements from number `from` on.
    pub fn each(self, from: usize, count: usize, mut show: impl FnMut(Val<'_>)) {
        match self {
            ListRef::Pack(pack) => {
                if let Some(at) = pack.seek(from as i64) {
                    pack.iter_from(at).take(count).for_each(show);
                }
            }
            ListRef::Quick(quick) => quick.each(from, count, &mut show),
        }
    }

    /// Shows the elements from one end on, until `show` is false.
    pub fn visit(self, from: End, mut show: impl FnMut(Val<'_>) -> bool) {
        match (self, from) {
            (ListRef::Pack(pack), End::Front) => _ = pack.iter().all(show),
            (ListRef::Pack(pack), End::Back) => _ = pack.iter().rev().all(show),
            (ListRef::Quick(quick), from) => quick.visit(from, &mut show),
        }
    }
}

impl Collection for List {
    const KIND: Kind = Kind::List;
    type Ref<'a> = ListRef<'a>;

    fn new_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        List::Pack(buffer)
    }

    fn from_pack(_tag: PackTag, pack: Vec<u8>) -> Self {
        List::Pack(pack)
    }

    #[inline]
    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        match self {
            List::Pack(pack) => Some((0, pack)),
            List::Quick(_) => None,
        }
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        match self {
            List::Pack(pack) => Ok((0, pack)),
            List::Quick(_) => Err(self),
        }
    }

    #[inline]
    fn view(&self) -> ListRef<'_> {
        match self {
            List::Pack(pack) => ListRef::Pack(Pack::new(pack)),
            List::Quick(quick) => ListRef::Quick(quick),
        }
    }

    #[inline]
    fn view_pack(_tag: PackTag, pack: &[u8]) -> ListRef<'_> {
        ListRef::Pack(Pack::new(pack))
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            List::Pack(pack) => pack.capacity(),
            List::Quick(quick) => size_of::<Quicklist>() + quick.heap_bytes(),
        }
    }

    fn metered_bytes(&self) -> usize {
        match self {
            List::Pack(pack) => pack.capacity(),
            List::Quick(quick) => size_of::<Quicklist>() + quick.about_heap_bytes(),
        }
    }

    fn free_effort(&self) -> usize {
        match self {
            List::Pack(_) => 1,
            List::Quick(quick) => quick.nodes(),
        }
    }

    fn encoding(&self) -> &'static str {
        match self {
            List::Pack(_) => "listpack",
            List::Quick(_) => "quicklist",
        }
    }

    fn pack_encoding(_tag: PackTag) -> &'static str {
        "listpack"
    }

    fn parts(view: Self::Ref<'_>, show: &mut dyn FnMut(Part<'_>)) -> bool {
        view.each(0, usize::MAX, |val| {
            show(Part::Item(val.text(&mut [0; 20])));
        });
        true
    }

    const RDB_TYPES: &'static [u8] = saved::RDB_TYPES;

    fn rdb_type(_view: Self::Ref<'_>) -> u8 {
        rdb::LIST_QUICKLIST_2
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
mod tests {
    use super::*;

    fn limits(setting: i32) -> Limits {
        Limits {
            fill: Fill::new(setting),
            depth: 0,
            huge: 1 << 30,
        }
    }

    /// As RPUSH does.
    fn push(list: &mut List, text: &[u8], limits: &Limits) {
        list.expect(text.len(), 1, limits);
        list.push(End::Back, Val::of(text), limits);
    }

    fn contents(list: &List) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        list.view()
            .each(0, usize::MAX, |val| all.push(val.to_vec()));
        all
    }

    #[test]
    fn outgrows_a_listpack_by_count_and_goes_back_at_half() {
        let limits = limits(8);
        let mut list = List::new();
        assert!(list.is_empty() && list.pop(End::Front, |_| ()).is_none());
        for n in 0..8u8 {
            push(&mut list, &[b'a' + n], &limits);
            assert_eq!(list.encoding(), "listpack");
        }
        push(&mut list, b"i", &limits);
        assert_eq!((list.encoding(), list.free_effort()), ("quicklist", 2));
        for (end, left) in [
            (End::Back, 8),
            (End::Front, 7),
            (End::Front, 6),
            (End::Back, 5),
        ] {
            assert!(list.pop(end, |_| ()).is_some());
            list.shrunk(&limits);
            assert_eq!((list.encoding(), list.view().len()), ("quicklist", left));
        }
        assert_eq!(list.remove_range(1, 1), 1);
        list.shrunk(&limits);
        assert_eq!(list.encoding(), "listpack");
        assert_eq!(contents(&list), [b"c", b"e", b"f", b"g"]);
        // A list that was loaded may be as large as the limit.
        list.expect(0, 5, &limits);
        assert_eq!(list.encoding(), "quicklist");
        list.choose_encoding(&limits);
        assert_eq!(list.encoding(), "listpack");
    }

    #[test]
    fn outgrows_a_listpack_by_bytes() {
        for (setting, bytes) in [(-1, 4096), (-2, 8192), (100, 8192)] {
            let limits = limits(setting);
            let mut list = List::new();
            list.expect(bytes - 7, 1, &limits);
            assert_eq!(list.encoding(), "listpack");
            list.expect(bytes - 6, 1, &limits);
            assert_eq!(list.encoding(), "quicklist");
            push(&mut list, &vec![b'x'; bytes + 1], &limits);
            push(&mut list, b"y", &limits);
            assert_eq!((list.free_effort(), list.view().len()), (2, 2));
            assert!(list.heap_bytes() > bytes);
            list.pop(End::Back, |_| ());
            list.shrunk(&limits);
            // Where only the number counts it is small enough.
            let encoding = if setting > 0 { "listpack" } else { "quicklist" };
            assert_eq!(list.encoding(), encoding);
            assert_eq!(contents(&list)[0].len(), bytes + 1);
        }
    }

    #[test]
    fn finds_places_from_either_end() {
        for setting in [1, 100] {
            let limits = limits(setting);
            let mut list = List::new();
            for text in [&b"a"[..], b"2", b"c", b"2", b"a"] {
                push(&mut list, text, &limits);
            }
            let numbers = [0, 4, 5, -1, -5, -6, i64::MIN].map(|index| list.view().number(index));
            let expected = [Some(0), Some(4), None, Some(4), Some(0), None, None];
            assert_eq!(numbers, expected);
            assert!(list.insert(b"2", Side::After, b"new", &limits));
            assert!(list.insert(b"a", Side::Before, b"first", &limits));
            assert!(!list.insert(b"none", Side::Before, b"x", &limits));
            assert!(list.set(3, b"NEW", &limits) && !list.set(7, b"x", &limits));
            let expected: [&[u8]; 7] = [b"first", b"a", b"2", b"NEW", b"c", b"2", b"a"];
            assert_eq!(contents(&list), expected);
            assert_eq!(list.remove_equal(b"2", 1, End::Back), 1);
            assert_eq!(list.remove_equal(b"a", 9, End::Front), 2);
            assert_eq!(contents(&list), [&b"first"[..], b"2", b"NEW", b"c"]);
            let mut last = Vec::new();
            list.view().visit(End::Back, |val| {
                last.push(val.to_vec());
                last.len() < 2
            });
            assert_eq!(last, [b"c".to_vec(), b"NEW".to_vec()]);
            assert_eq!(list.view().get(1, |val| val.as_int()), Some(Some(2)));
        }
    }
}
