//! Reading a stream's entries from one id to another, in either direction.

use super::id::StreamId;
use super::node::{Head, Reader};
use super::nodes::{Nodes, Place};
use crate::ds::listpack::Val;

/// The entries of a range of ids. [`entry`](Range::entry) goes to one, [`pair`](Range::pair)
/// then reads its fields; none has to be read.
pub struct Range<'a> {
    nodes: &'a Nodes,
    /// The node that is read.
    place: Option<Place>,
    reader: Option<Reader<'a>>,
    start: StreamId,
    end: StreamId,
    backwards: bool,
}

impl<'a> Range<'a> {
    pub(super) fn new(
        nodes: &'a Nodes,
        start: StreamId,
        end: StreamId,
        backwards: bool,
    ) -> Range<'a> {
        let place = if start > end {
            None
        } else if backwards {
            nodes.find(end)
        } else {
            nodes.find(start).or_else(|| nodes.first())
        };
        let mut range = Range {
            nodes,
            place,
            reader: None,
            start,
            end,
            backwards,
        };
        range.open();
        range
    }

    fn open(&mut self) {
        self.reader = self.place.and_then(|place| {
            let (id, node) = self.nodes.get(place);
            Reader::new(id, node)
        });
    }

    /// Goes to the next entry.
    #[inline]
    pub fn entry(&mut self) -> Option<Head> {
        loop {
            let reader = self.reader.as_mut()?;
            let head = if self.backwards {
                reader.next_back()
            } else {
                reader.next()
            };
            let Some(head) = head else {
                self.go_on();
                continue;
            };
            if head.is_deleted() {
                continue;
            }
            let (before, behind) = (head.id < self.start, head.id > self.end);
            if if self.backwards { before } else { behind } {
                (self.place, self.reader) = (None, None);
                return None;
            }
            if !before && !behind {
                return Some(head);
            }
        }
    }

    /// Opens the next node.
    fn go_on(&mut self) {
        self.place = self.place.and_then(|place| {
            if self.backwards {
                self.nodes.prev(place)
            } else {
                self.nodes.next(place)
            }
        });
        self.open();
    }

    /// The next field and value of the entry.
    #[inline]
    pub fn pair(&mut self) -> Option<(Val<'a>, Val<'a>)> {
        self.reader.as_mut()?.pair()
    }

    /// Where the node of the entry is.
    pub(super) fn place(&self) -> Option<Place> {
        self.place
    }
}
