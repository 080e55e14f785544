//! The nodes of a stream: listpacks in the order of their ids, found by id, added at the end.
//!
//! The last node, to which entries are added, is a vector of its own with room to grow. When it is
//! full its bytes move to a block: many nodes back to back in one allocation. An allocation for
//! each node would waste the rest of its size class (53 bytes of 1,280), and two words of the
//! index. A block is edited in place where the bytes keep their number; else what is behind moves,
//! which is at most a block. Nodes that are trimmed from the front of a block stay dead
//! weight until they are a quarter of it.
//!
//! Nothing here knows what the bytes mean.

use std::collections::VecDeque;
use std::ops::Range;

use super::id::StreamId;
use crate::base::num::about_sum;

/// The first block takes no further node when it would exceed this, the next one twice as much, and
/// so on: no stream has reserved much more than it has. These are size classes of the allocator,
/// which spends a page on each large allocation: the larger, the less of it.
const BLOCK_BYTES_MIN: usize = 32 << 10;
/// How often the size of blocks doubles: 256 KiB move in ten microseconds.
const DOUBLINGS: usize = 3;
/// Nor takes a block more nodes than this: small ones come and go more often.
const BLOCK_NODES: usize = 512;
/// A node that is longer than this becomes a block of its own instead of being copied.
const OWN_BLOCK_MIN: usize = 16 << 10;

/// The nodes of a stream.
#[derive(Clone, Default)]
pub struct Nodes {
    /// All but the last node. No block is empty.
    blocks: VecDeque<Block>,
    /// The id and bytes of the last node; no bytes: there is no node at all.
    last_id: StreamId,
    last: Vec<u8>,
    count: usize,
}

/// Several nodes in one allocation.
#[derive(Clone)]
struct Block {
    nodes: VecDeque<Node>,
    bytes: Vec<u8>,
}

/// Where a node lies in its block: from here to the next one.
#[derive(Clone, Copy)]
struct Node {
    id: StreamId,
    start: u32,
}

/// Which node; good until nodes are added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of blocks: the last node.
    block: usize,
    at: usize,
}

impl Nodes {
    /// How many nodes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The first node.
    pub fn first(&self) -> Option<Place> {
        (self.count > 0).then_some(Place { block: 0, at: 0 })
    }

    /// The last node.
    pub fn last(&self) -> Option<Place> {
        (self.count > 0).then_some(self.last_place())
    }

    fn last_place(&self) -> Place {
        Place {
            block: self.blocks.len(),
            at: 0,
        }
    }

    /// The node behind this one.
    pub fn next(&self, place: Place) -> Option<Place> {
        let block = self.blocks.get(place.block)?;
        Some(if place.at + 1 < block.nodes.len() {
            Place {
                at: place.at + 1,
                ..place
            }
        } else {
            Place {
                block: place.block + 1,
                at: 0,
            }
        })
    }

    /// The node before this one.
    pub fn prev(&self, place: Place) -> Option<Place> {
        if place.at > 0 {
            return Some(Place {
                at: place.at - 1,
                ..place
            });
        }
        let block = place.block.checked_sub(1)?;
        Some(Place {
            block,
            at: self.blocks[block].nodes.len() - 1,
        })
    }

    /// The last node whose id is not above this one: where an entry of this id is, if it is.
    pub fn find(&self, id: StreamId) -> Option<Place> {
        if self.count == 0 {
            return None;
        }
        if self.last_id <= id {
            return self.last();
        }
        let blocks = self.blocks.partition_point(|block| block.first_id() <= id);
        let block = blocks.checked_sub(1)?;
        let nodes = &self.blocks[block].nodes;
        let at = nodes.partition_point(|node| node.id <= id);
        at.checked_sub(1).map(|at| Place { block, at })
    }

    /// A node's id and bytes.
    #[inline]
    pub fn get(&self, place: Place) -> (StreamId, &[u8]) {
        match self.blocks.get(place.block) {
            Some(block) => (
                block.nodes[place.at].id,
                &block.bytes[block.range(place.at)],
            ),
            None => (self.last_id, &self.last),
        }
    }

    /// A node's bytes, to be edited without changing their number.
    pub fn bytes_mut(&mut self, place: Place) -> &mut [u8] {
        match self.blocks.get_mut(place.block) {
            Some(block) => {
                let range = block.range(place.at);
                &mut block.bytes[range]
            }
            None => &mut self.last,
        }
    }

    /// Edits a node's bytes, of which some must be left.
    pub fn edit(&mut self, place: Place, edit: impl FnOnce(&mut Vec<u8>)) {
        let Some(block) = self.blocks.get_mut(place.block) else {
            return edit(&mut self.last);
        };
        let range = block.range(place.at);
        let mut bytes = block.bytes[range.clone()].to_vec();
        edit(&mut bytes);
        block.splice(place.at, range, &bytes);
    }

    /// The last node, to add to it; `None` when there is none.
    #[inline]
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut Vec<u8>)> {
        (self.count > 0).then_some((self.last_id, &mut self.last))
    }

    /// Begins a new last node, and returns it, to be filled with at least a byte.
    pub fn push(&mut self, id: StreamId) -> &mut Vec<u8> {
        if self.count > 0 {
            self.close_last();
        }
        self.count += 1;
        self.last_id = id;
        &mut self.last
    }

    /// Moves the last node to the blocks, and leaves an empty vector in its place.
    fn close_last(&mut self) {
        let (id, len) = (self.last_id, self.last.len());
        if len > OWN_BLOCK_MIN {
            let mut bytes = std::mem::take(&mut self.last);
            bytes.shrink_to_fit();
            return self.blocks.push_back(Block {
                nodes: VecDeque::from([Node { id, start: 0 }]),
                bytes,
            });
        }
        let limit = block_limit(self.blocks.len());
        match self.blocks.back_mut() {
            Some(block) if block.takes(len, limit) => block.push(id, &self.last),
            full => {
                // The first block grows as a small stream does. A stream that has filled one fills
                // the next one, too, which gets its room at once: only what is written is resident.
                let mut room = len;
                if let Some(block) = full {
                    block.fit();
                    room = block_limit(self.blocks.len() + 1);
                }
                let mut bytes = Vec::with_capacity(room);
                bytes.extend_from_slice(&self.last);
                self.blocks.push_back(Block {
                    nodes: VecDeque::from([Node { id, start: 0 }]),
                    bytes,
                });
            }
        }
        self.last.clear();
    }

    /// Removes a node.
    pub fn remove(&mut self, place: Place) {
        self.count -= 1;
        let Some(block) = self.blocks.get_mut(place.block) else {
            return self.reopen_last();
        };
        if block.nodes.len() == 1 {
            self.blocks.remove(place.block);
        } else {
            block.remove(place.at);
        }
    }

    /// The last node is gone: the one before it takes its place.
    fn reopen_last(&mut self) {
        self.last = Vec::new();
        let Some(block) = self.blocks.back_mut() else {
            return;
        };
        self.last_id = block.nodes[block.nodes.len() - 1].id;
        if block.nodes.len() == 1 {
            let range = block.range(0);
            block.bytes.drain(..range.start);
            self.last = std::mem::take(&mut block.bytes);
            self.blocks.pop_back();
        } else {
            let at = block.nodes.len() - 1;
            self.last = block.bytes[block.range(at)].to_vec();
            block.remove(at);
        }
    }

    /// Ids of all nodes, in order.
    pub fn ids(&self) -> impl Iterator<Item = StreamId> {
        let closed = self
            .blocks
            .iter()
            .flat_map(|block| block.nodes.iter().map(|node| node.id));
        closed.chain((self.count > 0).then_some(self.last_id))
    }

    /// The id of the last node.
    pub fn ids_last(&self) -> Option<StreamId> {
        (self.count > 0).then_some(self.last_id)
    }

    /// Bytes of all allocations.
    pub fn heap_bytes(&self) -> usize {
        self.blocks.iter().map(Block::heap_bytes).sum::<usize>() + self.last.capacity()
    }

    /// The same from some of the blocks, where there are many.
    pub fn about_heap_bytes(&self) -> usize {
        let of_block = |at: usize| self.blocks.get(at).map_or(0, Block::heap_bytes);
        about_sum(self.blocks.len(), of_block) + self.last.capacity()
    }

    /// Gives back the room that the last node keeps to grow (a loaded stream).
    pub fn fit(&mut self) {
        self.last.shrink_to_fit();
        if let Some(block) = self.blocks.back_mut() {
            block.fit();
        }
    }
}

/// How many bytes the last of so many blocks may have.
fn block_limit(blocks: usize) -> usize {
    BLOCK_BYTES_MIN << blocks.saturating_sub(1).min(DOUBLINGS)
}

impl Block {
    fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.nodes.capacity() * size_of::<Node>() + size_of::<Block>()
    }

    /// Is there room for a node of that length?
    fn takes(&self, len: usize, limit: usize) -> bool {
        self.bytes.len() + len <= limit && self.nodes.len() < BLOCK_NODES
    }

    fn first_id(&self) -> StreamId {
        self.nodes[0].id
    }

    fn range(&self, at: usize) -> Range<usize> {
        let end = self
            .nodes
            .get(at + 1)
            .map_or(self.bytes.len(), |next| next.start as usize);
        self.nodes[at].start as usize..end
    }

    /// Adds a node; the caller has asked whether the block takes it.
    fn push(&mut self, id: StreamId, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.nodes.push_back(Node {
            id,
            // A block with more than one node is small.
            start: start as u32,
        });
    }

    /// Gives back the room to grow.
    fn fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.nodes.shrink_to_fit();
    }

    /// Removes a node that is not the only one.
    fn remove(&mut self, at: usize) {
        let range = self.range(at);
        self.nodes.remove(at);
        if at > 0 {
            self.cut(at, range);
        } else if self.nodes[0].start as usize > self.bytes.len() / 4 {
            // All that is dead goes at once; what it costs was paid by as many bytes of nodes.
            let dead = self.nodes[0].start as usize;
            self.cut(0, 0..dead);
        }
        if self.bytes.len() < self.bytes.capacity() / 2 {
            self.fit();
        }
    }

    /// Takes bytes out; the nodes from number `at` on lie behind them.
    fn cut(&mut self, at: usize, range: Range<usize>) {
        let gone = range.len() as u32;
        self.bytes.drain(range);
        self.nodes
            .iter_mut()
            .skip(at)
            .for_each(|node| node.start -= gone);
    }

    /// Puts other bytes in the place of a node's.
    fn splice(&mut self, at: usize, range: Range<usize>, bytes: &[u8]) {
        let (old, new) = (range.len(), bytes.len());
        if old == new {
            return self.bytes[range].copy_from_slice(bytes);
        }
        self.bytes.splice(range, bytes.iter().copied());
        for node in self.nodes.iter_mut().skip(at + 1) {
            node.start = (node.start as usize + new - old) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::rng::Rng;

    fn content(nodes: &Nodes) -> Vec<(StreamId, Vec<u8>)> {
        let (mut all, mut place) = (Vec::new(), nodes.first());
        while let Some(at) = place {
            let (id, bytes) = nodes.get(at);
            all.push((id, bytes.to_vec()));
            place = nodes.next(at);
        }
        let (mut back, mut place) = (Vec::new(), nodes.last());
        while let Some(at) = place {
            back.push(nodes.get(at).0);
            place = nodes.prev(at);
        }
        back.reverse();
        assert!(all.iter().map(|(id, _)| *id).eq(back));
        assert!(nodes.ids().eq(all.iter().map(|(id, _)| *id)));
        assert_eq!(nodes.len(), all.len());
        all
    }

    #[test]
    fn behaves_as_a_map_of_vectors() {
        for seed in 0..4 {
            let mut rng = Rng::from_seed(seed);
            let (mut nodes, mut model) = (Nodes::default(), BTreeMap::new());
            let mut next = 0;
            for step in 0..if cfg!(miri) { 150 } else { 6_000 } {
                let len = match rng.below(100) {
                    0 => 17_000 + rng.below(60_000),
                    _ => 1 + rng.below(4_000),
                } as usize;
                let bytes = vec![step as u8; len];
                let id = StreamId::new(rng.below(next + 2), rng.below(2));
                let found = nodes.find(id);
                let expected = model.range(..=id).next_back();
                assert_eq!(
                    found.map(|at| nodes.get(at)),
                    expected.map(|(id, bytes): (&StreamId, &Vec<u8>)| (*id, &bytes[..]))
                );
                // Long phases of growth and of trimming.
                match (rng.below(10), found) {
                    (0..5, _) if step / 1_000 % 2 == 0 => {
                        next += 1;
                        let id = StreamId::new(next, rng.below(2));
                        nodes.push(id).extend_from_slice(&bytes);
                        model.insert(id, bytes);
                    }
                    (5 | 6, _) => {
                        if let Some(first) = nodes.first() {
                            nodes.remove(first);
                            model.pop_first();
                        }
                    }
                    (7, Some(at)) => {
                        let (id, _) = nodes.get(at);
                        nodes.remove(at);
                        model.remove(&id);
                    }
                    (8, Some(at)) => {
                        let (id, _) = nodes.get(at);
                        nodes.edit(at, |bytes| bytes.insert(0, 7));
                        nodes.bytes_mut(at)[0] = 9;
                        model.get_mut(&id).expect("as found").insert(0, 9);
                    }
                    (9, _) => {
                        if let Some((id, bytes)) = nodes.last_mut() {
                            bytes.push(1);
                            model.get_mut(&id).expect("it is there").push(1);
                        }
                    }
                    _ => {}
                }
                if step % 50 == 0 {
                    assert!(content(&nodes).into_iter().eq(model.clone()));
                }
            }
            assert!(content(&nodes.clone()).into_iter().eq(model.clone()));
            while let Some(last) = nodes.last() {
                nodes.remove(last);
                model.pop_last();
                if model.len() % 20 == 0 {
                    assert!(content(&nodes).into_iter().eq(model.clone()));
                }
            }
            assert!(model.is_empty() && nodes.find(StreamId::MAX).is_none());
        }
    }

    #[test]
    fn what_is_trimmed_from_the_front_is_given_back() {
        let mut nodes = Nodes::default();
        for n in 0..2_000 {
            nodes
                .push(StreamId::new(n, 0))
                .extend_from_slice(&[1; 1_200]);
            if nodes.len() > 10 {
                nodes.remove(nodes.first().expect("eleven"));
            }
        }
        assert!(
            nodes.heap_bytes() < 10 * 1_200 * 2,
            "{}",
            nodes.heap_bytes()
        );
    }

    #[test]
    fn many_nodes_cost_little_more_than_their_bytes() {
        let mut nodes = Nodes::default();
        for n in 0..5_000 {
            nodes
                .push(StreamId::new(n, 0))
                .extend_from_slice(&[1; 1_227]);
        }
        let each = nodes.heap_bytes() as f64 / 5_000.0;
        // Up to a block is reserved and not used yet.
        assert!(each < 1_227.0 + 24.0 + 60.0, "{each} bytes a node");
    }
}
