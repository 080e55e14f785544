//! A listpack with room at either end: what the nodes of a long list are.
//!
//! The pack lies somewhere inside its buffer, whole and byte for byte Redis's, so that reading and
//! saving take it as it is. An element is added or taken at either end without moving the others:
//! the header is written anew where the pack begins then. The room is made by doubling, up to what
//! a node may hold, so a node is copied a few times in its life.

use crate::ds::listpack::{self, Element, HEADER, Pack, Val};

/// The first buffer of a run that is pushed to.
const FIRST_BYTES: usize = 128;

/// A listpack inside a buffer.
#[derive(Debug)]
pub(super) struct Run {
    /// The pack ends where these end.
    bytes: Vec<u8>,
    /// Where it begins; what lies before means nothing.
    start: u32,
    count: u32,
}

impl Run {
    /// Takes a whole pack.
    pub(super) fn from_pack(bytes: Vec<u8>) -> Run {
        let count = Pack::new(&bytes).len() as u32;
        Run {
            bytes,
            start: 0,
            count,
        }
    }

    /// The same where the number of elements is known.
    pub(super) fn from_counted(bytes: Vec<u8>, count: u32) -> Run {
        Run {
            bytes,
            start: 0,
            count,
        }
    }

    pub(super) fn new() -> Run {
        Run::from_counted(Vec::new(), 0)
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the pack.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start as usize
    }

    #[inline]
    pub(super) fn pack(&self) -> Pack<'_> {
        Pack::new(&self.bytes[self.start as usize..])
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The pack by itself.
    pub(super) fn into_pack(mut self) -> Vec<u8> {
        self.close_gap();
        self.bytes
    }

    /// Edits the pack as one. The edit says how many elements it added (wrapping, as a removal adds a
    /// negative number).
    pub(super) fn edit<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> (R, usize)) -> R {
        self.close_gap();
        let (result, added) = edit(&mut self.bytes);
        self.count = (self.count as usize).wrapping_add(added) as u32;
        result
    }

    fn close_gap(&mut self) {
        if self.start > 0 {
            self.bytes.drain(..self.start as usize);
            self.start = 0;
        }
    }

    /// Adds an element at the front. `most` is what the buffer of a full node takes.
    #[inline]
    pub(super) fn push_front(&mut self, val: Val<'_>, most: usize) {
        let element = Element::new(val);
        if (self.start as usize) < element.len() || self.count == 0 {
            self.room_in_front(element.len(), most);
        }
        let start = self.start as usize - element.len();
        element.write(&mut self.bytes[start + HEADER..][..element.len()]);
        self.start = start as u32;
        self.count += 1;
        self.write_header();
    }

    /// Adds an element at the back.
    #[inline]
    pub(super) fn push_back(&mut self, val: Val<'_>, most: usize) {
        let element = Element::new(val);
        if self.bytes.capacity() - self.bytes.len() < element.len() || self.count == 0 {
            self.room_behind(element.len(), most);
        }
        let end = self.bytes.len() - 1;
        // The end mark moves behind; its place, and what was added, are overwritten.
        self.bytes.resize(end + element.len(), 0);
        element.write(&mut self.bytes[end..]);
        self.bytes.push(END);
        self.count += 1;
        self.write_header();
    }

    /// Takes the first element away, once it has been looked at.
    #[inline]
    pub(super) fn pop_front<R>(&mut self, take: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        let mut items = self.pack().iter();
        let result = take(items.next()?);
        // The header goes where the element ended.
        let end = items.position();
        self.start += (end - HEADER) as u32;
        self.count -= 1;
        self.write_header();
        Some(result)
    }

    /// Takes the last element away, once it has been looked at.
    #[inline]
    pub(super) fn pop_back<R>(&mut self, take: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        let pack = self.pack();
        let at = pack.last()?;
        let result = take(pack.val(at)?);
        let at = self.start as usize + at;
        self.bytes[at] = END;
        self.bytes.truncate(at + 1);
        self.count -= 1;
        self.write_header();
        Some(result)
    }

    #[inline]
    fn write_header(&mut self) {
        let start = self.start as usize;
        let header = listpack::header(self.bytes.len() - start, self.count as usize);
        self.bytes[start..start + HEADER].copy_from_slice(&header);
    }

    /// What the buffer grows to when the pack is to take `more` bytes.
    fn target(&self, more: usize, most: usize) -> usize {
        let needed = self.len() + more;
        (2 * needed).max(FIRST_BYTES).min(most.max(needed))
    }

    #[cold]
    fn room_in_front(&mut self, more: usize, most: usize) {
        if self.count == 0 {
            self.reset();
        }
        let (len, total) = (self.len(), self.target(more, most));
        let start = self.start as usize;
        if self.bytes.capacity() >= total && total - len >= more + len / 4 {
            // Room was left behind by what was taken there.
            self.bytes.resize(total, 0);
            self.bytes.copy_within(start..start + len, total - len);
        } else {
            let total = total.max(len + more + len / 8);
            let mut bytes = vec![0; total];
            bytes[total - len..].copy_from_slice(&self.bytes[start..]);
            self.bytes = bytes;
        }
        self.start = (self.bytes.len() - len) as u32;
    }

    #[cold]
    fn room_behind(&mut self, more: usize, most: usize) {
        if self.count == 0 {
            self.reset();
        }
        let len = self.len();
        // A gap in front is given up where it is large enough to pay for the move.
        if self.start as usize > len / 4 || self.bytes.capacity() == 0 {
            self.close_gap();
        }
        if self.bytes.capacity() - self.bytes.len() < more {
            let total = self.target(more, most).max(len + more) + self.start as usize;
            self.bytes.reserve_exact(total - self.bytes.len());
        }
    }

    /// An empty pack in the same buffer.
    fn reset(&mut self) {
        self.start = 0;
        self.bytes.clear();
        self.bytes.extend_from_slice(&listpack::EMPTY);
    }

    /// Gives back room of which there is much: the run is not pushed to any more.
    pub(super) fn fit(&mut self) {
        let len = self.len();
        if self.bytes.capacity() > len + len / 8 + 16 {
            self.bytes = self.bytes[self.start as usize..].to_vec();
            self.start = 0;
        }
    }
}

/// The last byte of a pack.
const END: u8 = 0xFF;

impl Clone for Run {
    fn clone(&self) -> Run {
        Run::from_counted(self.pack().bytes().to_vec(), self.count)
    }
}
