//! A node of a long list: a run of elements, one huge element, or either of them compressed.

use super::run::Run;
use crate::base::lzf;
use crate::ds::listpack::{Pack, Val};

/// Smaller nodes are not compressed.
const SQUEEZE_MIN: usize = 48;
/// Nor are those that would save less.
const SAVED_MIN: usize = 8;

/// A node; never without elements, except between two steps of an edit.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Run(Run),
    /// One element too large to share a node, as it is.
    Plain(Vec<u8>),
    Squeezed(Squeezed),
}

/// What LZF made of a node.
#[derive(Clone, Debug)]
pub(super) struct Squeezed {
    bytes: Box<[u8]>,
    /// Bytes before.
    raw: u32,
    /// Elements of a pack; none stands for a plain element.
    count: u32,
}

// The nodes lie in one array: what one takes there is paid for every 8 KiB of elements.
const _: () = assert!(size_of::<Node>() <= 32);

/// The elements of a node, uncompressed.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Pack(Pack<'a>),
    Plain(&'a [u8]),
}

impl Node {
    /// How many elements.
    #[inline]
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Run(run) => run.count(),
            Node::Plain(_) => 1,
            Node::Squeezed(squeezed) => squeezed.count.max(1) as usize,
        }
    }

    /// Bytes of the elements' pack, or of the plain element, uncompressed.
    pub(super) fn len(&self) -> usize {
        match self {
            Node::Run(run) => run.len(),
            Node::Plain(text) => text.len(),
            Node::Squeezed(squeezed) => squeezed.raw as usize,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Node::Run(run) => run.heap_bytes(),
            Node::Plain(text) => text.capacity(),
            Node::Squeezed(squeezed) => squeezed.bytes.len(),
        }
    }

    /// Holds one huge element?
    pub(super) fn is_plain(&self) -> bool {
        match self {
            Node::Run(_) => false,
            Node::Plain(_) => true,
            Node::Squeezed(squeezed) => squeezed.count == 0,
        }
    }

    /// The compressed bytes, and how long they were before.
    pub(super) fn squeezed(&self) -> Option<(&[u8], usize)> {
        match self {
            Node::Squeezed(squeezed) => Some((&squeezed.bytes, squeezed.raw as usize)),
            _ => None,
        }
    }

    /// The elements; a compressed node is unfolded into `room`.
    #[inline]
    pub(super) fn content<'a>(&'a self, room: &'a mut Vec<u8>) -> Content<'a> {
        match self {
            Node::Run(run) => Content::Pack(run.pack()),
            Node::Plain(text) => Content::Plain(text),
            Node::Squeezed(squeezed) => {
                squeezed.unfold(room);
                if squeezed.count == 0 {
                    Content::Plain(room)
                } else {
                    Content::Pack(Pack::new(room))
                }
            }
        }
    }

    /// Compresses the node, where that is worth it.
    pub(super) fn squeeze(&mut self) {
        let (bytes, count) = match self {
            Node::Run(run) => (run.pack().bytes(), run.count()),
            Node::Plain(text) => (&text[..], 0),
            Node::Squeezed(_) => return,
        };
        let Ok(raw) = u32::try_from(bytes.len()) else {
            return;
        };
        if bytes.len() < SQUEEZE_MIN {
            return;
        }
        let mut packed = Vec::with_capacity(bytes.len() / 2);
        if lzf::compress(bytes, bytes.len() - SAVED_MIN, &mut packed) {
            *self = Node::Squeezed(Squeezed {
                bytes: packed.into_boxed_slice(),
                raw,
                count: count as u32,
            });
        }
    }

    /// Undoes [`squeeze`](Node::squeeze), so that the node can be edited.
    pub(super) fn open(&mut self) {
        if let Node::Squeezed(squeezed) = self {
            let mut bytes = Vec::with_capacity(squeezed.raw as usize);
            squeezed.unfold(&mut bytes);
            *self = match squeezed.count {
                0 => Node::Plain(bytes),
                count => Node::Run(Run::from_counted(bytes, count)),
            };
        }
    }

    /// The node's run, opened; `None` for a plain one.
    pub(super) fn run(&mut self) -> Option<&mut Run> {
        self.open();
        match self {
            Node::Run(run) => Some(run),
            _ => None,
        }
    }
}

impl Squeezed {
    fn unfold(&self, room: &mut Vec<u8>) {
        room.clear();
        // The bytes are our own work: nothing else ever gets in here.
        let whole = lzf::decompress(&self.bytes, self.raw as usize, room).is_ok();
        debug_assert!(whole, "a node unfolds into what was folded");
    }
}

impl<'a> Content<'a> {
    /// Element number `at`.
    pub(super) fn get(self, at: usize) -> Option<Val<'a>> {
        match self {
            Content::Pack(pack) => pack.get(at as i64),
            Content::Plain(text) => (at == 0).then_some(Val::Str(text)),
        }
    }

    /// Shows up to `count` elements from number `from` on; returns how many there were.
    pub(super) fn each(self, from: usize, count: usize, show: &mut impl FnMut(Val<'_>)) -> usize {
        match self {
            Content::Pack(pack) => {
                let at = if from == 0 {
                    pack.first()
                } else {
                    pack.seek(from as i64)
                };
                let Some(at) = at else { return 0 };
                let mut shown = 0;
                for val in pack.iter_from(at).take(count) {
                    show(val);
                    shown += 1;
                }
                shown
            }
            Content::Plain(text) if from == 0 && count > 0 => {
                show(Val::Str(text));
                1
            }
            Content::Plain(_) => 0,
        }
    }

    /// Shows the elements from one end on, until `show` is false. False if it was.
    pub(super) fn visit(self, backwards: bool, show: &mut impl FnMut(Val<'_>) -> bool) -> bool {
        match self {
            Content::Pack(pack) if backwards => pack.iter().rev().all(show),
            Content::Pack(pack) => pack.iter().all(show),
            Content::Plain(text) => show(Val::Str(text)),
        }
    }

    /// Is there an element equal to `text`?
    pub(super) fn holds(self, text: &[u8]) -> bool {
        match self {
            Content::Pack(pack) => pack
                .first()
                .is_some_and(|at| pack.find(at, text, 0).is_some()),
            Content::Plain(own) => own == text,
        }
    }
}
