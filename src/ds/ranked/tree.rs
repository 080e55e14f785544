//! The index: a B+tree of leaves that counts what is below each child, so that ranks and
//! positions are found on the way down.
//!
//! An inner node knows of each child the first member (its score's order and its mark) and how
//! many members are below it. The first member is always the real one, so every mark in the tree
//! is that of an item in the table; who takes a member out brings the nodes above up to date.
//!
//! Full leaves hand members to a neighbour before they split, and those at the tree's ends are
//! left full when members come in order: leaves are well filled without a rebuild. Leaves that
//! were emptied are merged lazily: no leaf is empty, and of two neighbours that would fit well
//! into one none is below a quarter.

use std::ops::Range;

use super::leaf::{CAP, Leaf, Mark, Target};
use crate::ds::pair::PairRef;

/// Children of an inner node.
const FAN: usize = if cfg!(test) { 6 } else { 32 };
/// A neighbour with so much room takes members of a full leaf.
const ROOM_MIN: usize = CAP / 8 + 1;
/// Below this a leaf or node is merged with a neighbour ...
const LEAF_SMALL: usize = CAP / 4;
const FAN_SMALL: usize = FAN / 3;
/// ... if both together have no more than this.
const LEAF_MERGED_MAX: usize = CAP - CAP / 4;
const FAN_MERGED_MAX: usize = FAN - FAN / 4;

pub(super) enum Node {
    Leaf(Box<Leaf>),
    Inner(Box<Inner>),
}

struct Kid {
    /// The first member below.
    first: Mark,
    node: Node,
}

impl Kid {
    #[inline]
    fn first(&self) -> PairRef<'_> {
        // SAFETY: what an index holds is in the table; both are borrowed together.
        unsafe { self.first.item() }
    }
}

/// From 1 to `FAN` children, `FAN + 1` while it splits.
pub(super) struct Inner {
    kids: Vec<Kid>,
    /// Order of the score of each child's first member, beside the head: a search waits once.
    keys: [u64; FAN + 1],
    /// Members below each child.
    counts: [usize; FAN + 1],
}

/// Whether a node is the first or last of its level: what comes in order comes there.
#[derive(Clone, Copy)]
struct Edge {
    first: bool,
    last: bool,
}

/// The members of a sorted set in their order.
pub(super) struct Tree {
    root: Node,
    len: usize,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree {
            root: Node::Leaf(Leaf::new()),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of all nodes.
    pub(super) fn mem_bytes(&self) -> usize {
        self.root.mem_bytes()
    }

    /// Adds a member that is not in the tree.
    pub(super) fn insert(&mut self, target: &Target<'_>) {
        self.len += 1;
        if let Node::Leaf(leaf) = &mut self.root {
            if !leaf.is_full() {
                leaf.insert(target);
                return;
            }
            let leaf = std::mem::replace(&mut self.root, Node::Inner(Inner::new()));
            if let Node::Inner(root) = &mut self.root {
                root.add(0, leaf);
            }
        }
        let Node::Inner(root) = &mut self.root else {
            return;
        };
        let edge = Edge {
            first: true,
            last: true,
        };
        if let Some(right) = root.insert(target, edge) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Inner::new()));
            if let Node::Inner(root) = &mut self.root {
                root.add(0, left);
                root.add(1, Node::Inner(right));
            }
        }
    }

    /// Takes a member that is in the tree out.
    pub(super) fn remove(&mut self, target: &Target<'_>) {
        self.len -= 1;
        match &mut self.root {
            Node::Leaf(leaf) => _ = leaf.remove(target),
            Node::Inner(root) => root.remove(target),
        }
        self.lower();
    }

    /// Takes the members at these ranks out and shows each.
    pub(super) fn cut(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Mark)) {
        let ranks = ranks.start..ranks.end.min(self.len);
        if ranks.is_empty() {
            return;
        }
        self.len -= ranks.len();
        self.root.cut(ranks, gone);
        self.lower();
    }

    /// A root with one child is none.
    fn lower(&mut self) {
        while let Node::Inner(root) = &mut self.root
            && root.kids.len() < 2
        {
            self.root = match root.kids.pop() {
                Some(kid) => kid.node,
                None => Node::Leaf(Leaf::new()),
            };
        }
    }

    /// Asks the memory for the leaf where a score is, or would be; returns it.
    #[inline]
    pub(super) fn prefetch(&self, key: u64) -> &Leaf {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    leaf.prefetch();
                    return leaf;
                }
                Node::Inner(inner) => {
                    let at = inner.keys()[1..].partition_point(|own| *own <= key);
                    node = &inner.kids[at].node;
                }
            }
        }
    }

    /// How many members are before the target.
    pub(super) fn rank(&self, target: &Target<'_>) -> usize {
        self.descend(|inner| inner.way_to(target), |leaf| leaf.position(target))
    }

    /// How many members have a lower score than the one of this order, or no higher one (`after`).
    pub(super) fn bound(&self, key: u64, after: bool) -> usize {
        let before = |own: u64| own < key || after && own == key;
        self.descend(
            |inner| inner.keys()[1..].partition_point(|own| before(*own)),
            |leaf| leaf.bound(key, after),
        )
    }

    /// How many members are `before` something; all that are come first.
    pub(super) fn partition(&self, before: impl Fn(PairRef<'_>) -> bool) -> usize {
        self.descend(
            |inner| inner.kids[1..].partition_point(|kid| before(kid.first())),
            |leaf| leaf.partition(&before),
        )
    }

    /// Goes down: which child each node chooses, and which position the leaf does.
    #[inline]
    fn descend(
        &self,
        way: impl Fn(&Inner) -> usize,
        position: impl FnOnce(&Leaf) -> usize,
    ) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => {
                    leaf.prefetch();
                    return before + position(leaf);
                }
                Node::Inner(inner) => {
                    let at = way(inner);
                    before += inner.counts[..at].iter().sum::<usize>();
                    node = &inner.kids[at].node;
                }
            }
        }
    }

    /// The words of the leaf that holds the member at `rank`, and its position there.
    pub(super) fn leaf_at(&self, rank: usize) -> Option<(&Leaf, usize)> {
        if rank >= self.len {
            return None;
        }
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(leaf) => return Some((leaf, rank)),
                Node::Inner(inner) => {
                    let mut at = 0;
                    while rank >= inner.counts[at] {
                        rank -= inner.counts[at];
                        at += 1;
                    }
                    node = &inner.kids[at].node;
                }
            }
        }
    }
}

impl Node {
    /// The first member below: order of its score, mark.
    fn first(&self) -> (u64, Mark) {
        match self {
            Node::Leaf(leaf) => (leaf.key(0), leaf.mark(0)),
            Node::Inner(inner) => (inner.keys[0], inner.kids[0].first),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.len(),
            Node::Inner(inner) => inner.counts().iter().sum(),
        }
    }

    fn mem_bytes(&self) -> usize {
        match self {
            Node::Leaf(_) => size_of::<Leaf>(),
            Node::Inner(inner) => {
                let own = size_of::<Inner>() + inner.kids.capacity() * size_of::<Kid>();
                match inner.kids.first() {
                    Some(kid) if matches!(kid.node, Node::Leaf(_)) => {
                        own + inner.kids.len() * size_of::<Leaf>()
                    }
                    _ => own + inner.kids.iter().map(|k| k.node.mem_bytes()).sum::<usize>(),
                }
            }
        }
    }

    /// See [`Tree::cut`]; the ranks are those below this node.
    fn cut(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Mark)) {
        match self {
            Node::Leaf(leaf) => {
                ranks.clone().for_each(|at| gone(leaf.mark(at)));
                leaf.remove_range(ranks);
            }
            Node::Inner(inner) => inner.cut(ranks, gone),
        }
    }

    /// Shows all members, which are about to go.
    fn show_all(&self, gone: &mut dyn FnMut(Mark)) {
        match self {
            Node::Leaf(leaf) => (0..leaf.len()).for_each(|at| gone(leaf.mark(at))),
            Node::Inner(inner) => inner.kids.iter().for_each(|kid| kid.node.show_all(gone)),
        }
    }
}

impl Inner {
    fn new() -> Box<Inner> {
        Box::new(Inner {
            kids: Vec::with_capacity(FAN + 1),
            keys: [0; FAN + 1],
            counts: [0; FAN + 1],
        })
    }

    #[inline]
    fn keys(&self) -> &[u64] {
        &self.keys[..self.kids.len()]
    }

    #[inline]
    fn counts(&self) -> &[usize] {
        &self.counts[..self.kids.len()]
    }

    /// Adds a child that is not empty.
    fn add(&mut self, at: usize, node: Node) {
        let (key, first) = node.first();
        self.put(at, key, node.count(), Kid { first, node });
    }

    fn put(&mut self, at: usize, key: u64, count: usize, kid: Kid) {
        let len = self.kids.len();
        self.keys.copy_within(at..len, at + 1);
        self.counts.copy_within(at..len, at + 1);
        self.keys[at] = key;
        self.counts[at] = count;
        self.kids.insert(at, kid);
    }

    fn drop_kids(&mut self, range: Range<usize>) {
        let len = self.kids.len();
        self.keys.copy_within(range.end..len, range.start);
        self.counts.copy_within(range.end..len, range.start);
        self.kids.drain(range);
    }

    /// Moves the children from `at` on to the end of another node.
    fn move_tail(&mut self, at: usize, to: &mut Inner) {
        let (len, room) = (self.kids.len(), to.kids.len());
        to.keys[room..room + len - at].copy_from_slice(&self.keys[at..len]);
        to.counts[room..room + len - at].copy_from_slice(&self.counts[at..len]);
        to.kids.extend(self.kids.drain(at..));
    }

    /// Notes the first member of a child anew.
    fn refresh(&mut self, at: usize) {
        let (key, first) = self.kids[at].node.first();
        self.keys[at] = key;
        self.kids[at].first = first;
    }

    /// The child where the target is, or would be.
    #[inline]
    fn way_to(&self, target: &Target<'_>) -> usize {
        let keys = &self.keys()[1..];
        let mut low = keys.partition_point(|own| *own < target.key);
        if keys.get(low) != Some(&target.key) {
            return low;
        }
        let mut high = low + keys[low..].partition_point(|own| *own == target.key);
        while low < high {
            let middle = low.midpoint(high);
            let kid = &self.kids[middle + 1];
            if kid.first == target.mark || target.cmp(kid.first()).is_ge() {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Adds a member; the right half of this node, when it had to be split.
    fn insert(&mut self, target: &Target<'_>, edge: Edge) -> Option<Box<Inner>> {
        let mut at = self.way_to(target);
        let mut edge = Edge {
            first: edge.first && at == 0,
            last: edge.last && at + 1 == self.kids.len(),
        };
        match &mut self.kids[at].node {
            Node::Leaf(leaf) => {
                leaf.prefetch();
                if leaf.is_full() {
                    at = self.make_room(at, target, edge);
                }
                if let Node::Leaf(leaf) = &mut self.kids[at].node
                    && leaf.insert(target) == 0
                {
                    self.keys[at] = target.key;
                    self.kids[at].first = target.mark;
                }
                self.counts[at] += 1;
            }
            Node::Inner(inner) => {
                let right = inner.insert(target, edge);
                self.counts[at] += 1;
                if at == 0 {
                    self.refresh(0);
                }
                if let Some(right) = right {
                    let node = Node::Inner(right);
                    self.counts[at] -= node.count();
                    self.add(at + 1, node);
                }
            }
        }
        if self.kids.len() <= FAN {
            return None;
        }
        // What comes in order at an end leaves full nodes behind.
        edge.last &= at + 2 >= self.kids.len();
        let middle = match edge {
            Edge { last: true, .. } => FAN,
            Edge { first: true, .. } => 1,
            _ => self.kids.len() / 2,
        };
        let mut right = Inner::new();
        self.move_tail(middle, &mut right);
        Some(right)
    }

    /// Makes room in the full leaf at `at`; returns the child that takes the target now.
    fn make_room(&mut self, at: usize, target: &Target<'_>, edge: Edge) -> usize {
        let Node::Leaf(leaf) = &self.kids[at].node else {
            return at;
        };
        if edge.last && target.cmp(leaf.item(CAP - 1)).is_gt() {
            self.add_empty(at + 1, target);
            return at + 1;
        }
        if edge.first && target.cmp(leaf.item(0)).is_lt() {
            self.add_empty(at, target);
            return at;
        }
        let room = |at: usize| self.counts().get(at).map_or(0, |count| CAP - count);
        let (left, right) = (at.checked_sub(1).map_or(0, room), room(at + 1));
        if left.max(right) < ROOM_MIN {
            self.split_leaf(at);
        } else if left > right {
            self.level(at - 1, left.div_ceil(2), |count, one, two| {
                two.move_head(count, one)
            });
        } else {
            self.level(at, right.div_ceil(2), |count, one, two| {
                one.move_tail(CAP - count, two)
            });
        }
        self.way_to(target)
    }

    /// A leaf for a target, which goes in at once.
    fn add_empty(&mut self, at: usize, target: &Target<'_>) {
        let kid = Kid {
            first: target.mark,
            node: Node::Leaf(Leaf::new()),
        };
        self.put(at, target.key, 0, kid);
    }

    fn split_leaf(&mut self, at: usize) {
        let Node::Leaf(leaf) = &mut self.kids[at].node else {
            return;
        };
        let mut right = Leaf::new();
        leaf.move_tail(CAP / 2, &mut right);
        self.counts[at] = leaf.len();
        self.add(at + 1, Node::Leaf(right));
    }

    /// Lets members move between the leaves at `at` and behind it.
    fn level(
        &mut self,
        at: usize,
        count: usize,
        mut moving: impl FnMut(usize, &mut Leaf, &mut Leaf),
    ) {
        let [Kid { node: one, .. }, Kid { node: two, .. }] = &mut self.kids[at..at + 2] else {
            return;
        };
        if let (Node::Leaf(one), Node::Leaf(two)) = (one, two) {
            moving(count, one, two);
            self.counts[at] = one.len();
            self.counts[at + 1] = two.len();
            self.refresh(at + 1);
        }
    }

    fn remove(&mut self, target: &Target<'_>) {
        let at = self.way_to(target);
        match &mut self.kids[at].node {
            Node::Leaf(leaf) => {
                leaf.prefetch();
                leaf.remove(target);
            }
            Node::Inner(inner) => inner.remove(target),
        }
        self.counts[at] -= 1;
        if self.counts[at] == 0 {
            self.drop_kids(at..at + 1);
            return;
        }
        if self.kids[at].first == target.mark {
            self.refresh(at);
        }
        self.mend(at);
    }

    fn cut(&mut self, ranks: Range<usize>, gone: &mut dyn FnMut(Mark)) {
        let (mut at, mut from) = (0, ranks.start);
        while from >= self.counts[at] {
            from -= self.counts[at];
            at += 1;
        }
        let (first, mut left) = (at, ranks.len());
        let mut whole = None;
        while left > 0 {
            let count = left.min(self.counts[at] - from);
            if count == self.counts[at] {
                self.kids[at].node.show_all(gone);
                whole = Some(whole.map_or(at..at + 1, |w: Range<usize>| w.start..at + 1));
            } else {
                self.kids[at].node.cut(from..from + count, gone);
                self.counts[at] -= count;
                if from == 0 {
                    self.refresh(at);
                }
            }
            left -= count;
            from = 0;
            at += 1;
        }
        if let Some(whole) = whole {
            self.drop_kids(whole);
        }
        // No more than two children lost a part, and they are neighbours now.
        for at in [first + 1, first] {
            if at < self.kids.len() {
                self.mend(at);
            }
        }
    }

    /// Merges a child that has become small with a neighbour, if both fit well into one.
    fn mend(&mut self, at: usize) {
        let small = match &self.kids[at].node {
            Node::Leaf(leaf) => leaf.len() < LEAF_SMALL,
            Node::Inner(inner) => inner.kids.len() < FAN_SMALL,
        };
        if small && !(at > 0 && self.merge(at - 1)) && at + 1 < self.kids.len() {
            self.merge(at);
        }
    }

    /// Merges the child at `at` with the next one; whether they were small enough.
    fn merge(&mut self, at: usize) -> bool {
        let [Kid { node: one, .. }, Kid { node: two, .. }] = &mut self.kids[at..at + 2] else {
            return false;
        };
        match (one, two) {
            (Node::Leaf(one), Node::Leaf(two)) => {
                // The counts tell without touching the neighbour.
                if self.counts[at] + self.counts[at + 1] > LEAF_MERGED_MAX {
                    return false;
                }
                two.move_head(two.len(), one);
            }
            (Node::Inner(one), Node::Inner(two)) => {
                if one.kids.len() + two.kids.len() > FAN_MERGED_MAX {
                    return false;
                }
                two.move_tail(0, one);
            }
            _ => return false,
        }
        self.counts[at] += self.counts[at + 1];
        self.drop_kids(at + 1..at + 2);
        true
    }
}

/// Walks the whole tree; panics where something does not hold that must.
#[cfg(test)]
pub(super) fn check(tree: &Tree) {
    fn below(node: &Node, depth: usize, depths: &mut Vec<usize>) -> usize {
        match node {
            Node::Leaf(leaf) => {
                depths.push(depth);
                super::leaf::check(leaf);
                leaf.len()
            }
            Node::Inner(inner) => {
                let len = inner.kids.len();
                assert!((1..=FAN).contains(&len));
                for at in 0..len {
                    let kid = &inner.kids[at];
                    assert!(inner.counts[at] > 0);
                    assert_eq!(inner.counts[at], below(&kid.node, depth + 1, depths));
                    assert_eq!(kid.node.first(), (inner.keys[at], kid.first));
                }
                inner.counts().iter().sum()
            }
        }
    }
    let mut depths = Vec::new();
    assert_eq!(below(&tree.root, 0, &mut depths), tree.len);
    assert!(depths.windows(2).all(|w| w[0] == w[1]), "leaves are level");
}
