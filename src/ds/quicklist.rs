//! Quicklist: a long list as a row of nodes, each a listpack of some KiB.
//!
//! The nodes stand in one array with room at either end, so that a push or pop at an end costs the
//! same however long the list is, and finding an element by its number passes over nodes, not over
//! elements. Nodes further than a given depth from both ends can be kept compressed; reading those
//! unfolds them into a buffer of the reader's and leaves them as they are.
//!
//! What fills a node is Redis's rule ([`Fill`]): a size or a number of elements, and an element too
//! large for it has a node of its own.
//!
//! Numbers of elements count from 0 at the front; whoever asks has turned negative ones round.

mod edit;
mod node;
mod run;

use std::collections::VecDeque;

use crate::base::num::about_sum;
use crate::ds::listpack::{self, Val};
use node::Node;
use run::Run;

/// Bytes of a node, by list-max-listpack-size -1 to -5.
const BYTES_BY_LEVEL: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];
/// What a node takes where the limit is a number of elements.
const BYTES_SAFE: usize = 8192;
/// What an element is taken to cost beside its text: an estimate that is never too low for a node.
const OVERHEAD: usize = 8;

/// One of the list's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Number 0 is here.
    Front,
    /// The last number is here.
    Back,
}

/// How much fits into a node: list-max-listpack-size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill(i16);

impl Fill {
    /// The setting, brought into the range that means something.
    pub fn new(setting: i32) -> Fill {
        Fill(setting.clamp(-5, i32::from(i16::MAX)) as i16)
    }

    /// The bytes and the elements a node may have: one of them is unlimited.
    pub fn limits(self) -> (usize, usize) {
        match usize::try_from(self.0) {
            Ok(count) => (usize::MAX, count.max(1)),
            Err(_) => (
                BYTES_BY_LEVEL[usize::from(self.0.unsigned_abs()) - 1],
                usize::MAX,
            ),
        }
    }

    /// Is that too much for one node?
    pub fn exceeded_by(self, bytes: usize, count: usize) -> bool {
        let (_, count_max) = self.limits();
        bytes > self.bytes_max() || count > count_max
    }

    /// The most bytes a node ever has, unless one element alone takes more.
    pub fn bytes_max(self) -> usize {
        match self.limits() {
            (usize::MAX, _) => BYTES_SAFE,
            (bytes, _) => bytes,
        }
    }
}

/// A long list.
#[derive(Clone, Debug)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    fill: Fill,
    /// That many nodes at either end stay uncompressed; 0: all do.
    depth: u16,
}

/// A node as it is saved.
#[derive(Clone, Copy, Debug)]
pub enum Saved<'a> {
    /// A listpack of elements.
    Pack(&'a [u8]),
    /// One huge element.
    Plain(&'a [u8]),
    /// Either of them as LZF folded it, and its length unfolded.
    Folded {
        plain: bool,
        bytes: &'a [u8],
        len: usize,
    },
}

impl Quicklist {
    /// An empty list; list-compress-depth is its `depth`.
    pub fn new(fill: Fill, depth: u32) -> Quicklist {
        Quicklist {
            nodes: VecDeque::new(),
            len: 0,
            fill,
            depth: u16::try_from(depth).unwrap_or(u16::MAX),
        }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many nodes: what a drop frees.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of the allocations behind the list, without `Self`.
    pub fn heap_bytes(&self) -> usize {
        let nodes: usize = self.nodes.iter().map(Node::heap_bytes).sum();
        nodes + self.nodes.capacity() * size_of::<Node>()
    }

    /// The same from some of the nodes, where there are many.
    pub fn about_heap_bytes(&self) -> usize {
        let of_node = |at: usize| self.nodes.get(at).map_or(0, Node::heap_bytes);
        about_sum(self.nodes.len(), of_node) + self.nodes.capacity() * size_of::<Node>()
    }

    /// Each node as it is saved, from the front.
    pub fn saved(&self) -> impl Iterator<Item = Saved<'_>> {
        self.nodes.iter().map(|node| match node {
            Node::Run(run) => Saved::Pack(run.pack().bytes()),
            Node::Plain(text) => Saved::Plain(text),
            Node::Squeezed(_) => {
                let (bytes, len) = node.squeezed().unwrap_or_default();
                Saved::Folded {
                    plain: node.is_plain(),
                    bytes,
                    len,
                }
            }
        })
    }

    /// Adds a whole pack of elements behind all others: a node of its own, as it was saved. The pack
    /// has been validated; an empty one is left out.
    pub fn append_pack(&mut self, pack: Vec<u8>) {
        let mut run = Run::from_pack(pack);
        run.fit();
        if run.count() > 0 {
            self.len += run.count();
            self.nodes.push_back(Node::Run(run));
            self.settle_after_push(End::Back);
        }
    }

    /// Adds one huge element behind all others, as it was saved.
    pub fn append_plain(&mut self, text: Vec<u8>) {
        self.len += 1;
        self.nodes.push_back(Node::Plain(text));
        self.settle_after_push(End::Back);
    }

    /// Which node element number `at` is in, and the number it has there.
    fn locate(&self, at: usize) -> Option<(usize, usize)> {
        if at >= self.len {
            return None;
        }
        let mut left = at;
        if at <= self.len / 2 {
            for (n, node) in self.nodes.iter().enumerate() {
                let count = node.count();
                if left < count {
                    return Some((n, left));
                }
                left -= count;
            }
        } else {
            left = self.len - at;
            for (n, node) in self.nodes.iter().enumerate().rev() {
                let count = node.count();
                if left <= count {
                    return Some((n, count - left));
                }
                left -= count;
            }
        }
        None
    }

    /// Shows element number `at`, if there is one.
    pub fn get<R>(&self, at: usize, show: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        let (node, at) = self.locate(at)?;
        let mut room = Vec::new();
        self.nodes[node].content(&mut room).get(at).map(show)
    }

    /// Shows up to `count` elements from number `from` on.
    pub fn each(&self, from: usize, count: usize, mut show: impl FnMut(Val<'_>)) {
        let Some((first, mut at)) = self.locate(from) else {
            return;
        };
        let (mut left, mut room) = (count, Vec::new());
        for node in self.nodes.range(first..) {
            if left == 0 {
                return;
            }
            left -= node.content(&mut room).each(at, left, &mut show);
            at = 0;
        }
    }

    /// Shows the elements from one end on, until `show` is false.
    pub fn visit(&self, from: End, mut show: impl FnMut(Val<'_>) -> bool) {
        let mut room = Vec::new();
        let mut node = |node: &Node| node.content(&mut room).visit(from == End::Back, &mut show);
        let _ = match from {
            End::Front => self.nodes.iter().all(&mut node),
            End::Back => self.nodes.iter().rev().all(&mut node),
        };
    }

    /// Bytes of the only node, unless there are others or it holds an element of `huge` bytes.
    pub fn only_node(&self, huge: usize) -> Option<usize> {
        let node = self.nodes.front().filter(|_| self.nodes.len() == 1)?;
        (!node.is_plain() || node.len() < huge).then(|| node.len())
    }

    /// The elements as one pack.
    pub fn into_pack(self) -> Vec<u8> {
        let mut all = Vec::new();
        for mut node in self.nodes {
            node.open();
            match node {
                Node::Run(run) if all.is_empty() => all = run.into_pack(),
                Node::Run(run) => listpack::merge(&mut all, run.pack().bytes()),
                Node::Plain(text) => _ = listpack::push_back_val(&mut all, Val::Str(&text)),
                Node::Squeezed(_) => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
