//! Writing to a quicklist: pushes and pops, inserting, replacing, removing, and keeping compressed
//! what is to be compressed.

use super::node::{Content, Node};
use super::run::Run;
use super::{End, Fill, OVERHEAD, Quicklist};
use crate::ds::listpack::{self, Element, Pack, Side, Val};

/// Ends.
impl Quicklist {
    /// Adds an element at an end. From `huge` bytes on it has a node of its own in any case.
    #[inline]
    pub fn push(&mut self, end: End, val: Val<'_>, huge: usize) {
        let most = self.fill.bytes_max();
        let last = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        if let Some(Node::Run(run)) = last
            && takes(self.fill, run.len(), run.count(), val.len(), huge)
        {
            match end {
                End::Front => run.push_front(val, most),
                End::Back => run.push_back(val, most),
            }
            self.len += 1;
            return;
        }
        self.push_node(end, val, huge);
    }

    /// Adds an element in a new node.
    fn push_node(&mut self, end: End, val: Val<'_>, huge: usize) {
        let last = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        if let Some(Node::Run(run)) = last {
            run.fit();
        }
        let node = self.node_of(end, val, huge);
        match end {
            End::Front => self.nodes.push_front(node),
            End::Back => self.nodes.push_back(node),
        }
        self.len += 1;
        self.settle_after_push(end);
    }

    /// A node of one element, which is to grow at `end`.
    fn node_of(&self, end: End, val: Val<'_>, huge: usize) -> Node {
        match val {
            Val::Str(text) if is_huge(self.fill, text.len(), huge) => Node::Plain(text.to_vec()),
            _ => {
                let mut run = Run::new();
                match end {
                    End::Front => run.push_front(val, self.fill.bytes_max()),
                    End::Back => run.push_back(val, self.fill.bytes_max()),
                }
                Node::Run(run)
            }
        }
    }

    /// Takes the element at an end away, once it has been looked at.
    #[inline]
    pub fn pop<R>(&mut self, end: End, take: impl FnOnce(Val<'_>) -> R) -> Option<R> {
        let last = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        }?;
        last.open();
        let (result, left) = match last {
            Node::Run(run) => {
                let result = match end {
                    End::Front => run.pop_front(take),
                    End::Back => run.pop_back(take),
                };
                (result?, run.count())
            }
            Node::Plain(text) => (take(Val::Str(text)), 0),
            Node::Squeezed(_) => return None,
        };
        self.len -= 1;
        if left == 0 {
            self.drop_node(end);
        }
        Some(result)
    }

    /// The node at an end is empty.
    fn drop_node(&mut self, end: End) {
        match end {
            End::Front => self.nodes.pop_front(),
            End::Back => self.nodes.pop_back(),
        };
        self.settle_after_drop(end);
        self.shrink();
    }

    /// Gives the array of nodes back when it is much too large for them.
    fn shrink(&mut self) {
        let (len, room) = (self.nodes.len(), self.nodes.capacity());
        if room > 64 && len < room / 4 {
            self.nodes.shrink_to(len * 2);
        }
    }
}

/// Anywhere.
impl Quicklist {
    /// Puts a value in the place of element number `at`; false if there is none.
    pub fn set(&mut self, at: usize, text: &[u8], huge: usize) -> bool {
        let Some((n, at)) = self.locate(at) else {
            return false;
        };
        let (fill, nodes) = (self.fill, self.nodes.len());
        let own_node = is_huge(fill, text.len(), huge);
        let node = &mut self.nodes[n];
        node.open();
        match node {
            Node::Plain(old) if own_node => {
                old.clear();
                old.extend_from_slice(text);
                old.shrink_to_fit();
            }
            Node::Run(run) if !own_node && replaces(fill, run, at, text) => {
                run.edit(|pack| {
                    if let Some(at) = Pack::new(pack).seek(at as i64) {
                        listpack::replace(pack, at, text);
                    }
                    ((), 0)
                });
            }
            _ => {
                // In a node of its own for now, between what was before and behind it.
                let behind = self.split(n, at + 1);
                self.cut_last(n);
                let new = self.node_of(End::Back, Val::of(text), huge);
                self.nodes.insert(n + 1, new);
                let first = if self.nodes[n].count() == 0 {
                    self.nodes.remove(n);
                    n
                } else {
                    n + 1
                };
                self.merge_around(first, behind);
            }
        }
        self.settle(n, nodes);
        true
    }

    /// Puts a value beside element number `at`; false if there is none.
    pub fn insert(&mut self, at: usize, side: Side, text: &[u8], huge: usize) -> bool {
        let Some((n, at)) = self.locate(at) else {
            return false;
        };
        let nodes = self.nodes.len();
        self.insert_in(n, at, side, text, huge);
        self.len += 1;
        self.settle(n, nodes);
        true
    }

    fn insert_in(&mut self, n: usize, at: usize, side: Side, text: &[u8], huge: usize) {
        let count = self.nodes[n].count();
        // The number the new element will have in this node.
        let place = if side == Side::Before { at } else { at + 1 };
        if self.takes_in(n, text, huge) {
            self.insert_at(n, place, text);
            return;
        }
        let beside = match place {
            0 => n.checked_sub(1),
            _ if place == count => Some(n + 1).filter(|next| *next < self.nodes.len()),
            _ => {
                let behind = self.split(n, place);
                let new = self.node_of(End::Back, Val::of(text), huge);
                self.nodes.insert(n + 1, new);
                self.merge_around(n + 1, behind);
                return;
            }
        };
        match beside {
            Some(beside) if self.takes_in(beside, text, huge) => {
                let end = if place == 0 {
                    self.nodes[beside].count()
                } else {
                    0
                };
                self.insert_at(beside, end, text);
            }
            _ => {
                let new = self.node_of(End::Back, Val::of(text), huge);
                self.nodes.insert(if place == 0 { n } else { n + 1 }, new);
            }
        }
    }

    /// Has this node room for the value?
    fn takes_in(&self, n: usize, text: &[u8], huge: usize) -> bool {
        let node = &self.nodes[n];
        !node.is_plain() && takes(self.fill, node.len(), node.count(), text.len(), huge)
    }

    /// Puts a value into a run, where it gets that number.
    fn insert_at(&mut self, n: usize, place: usize, text: &[u8]) {
        let most = self.fill.bytes_max();
        let Some(run) = self.nodes[n].run() else {
            return;
        };
        if place == 0 {
            run.push_front(Val::of(text), most);
        } else if place == run.count() {
            run.push_back(Val::of(text), most);
        } else {
            run.edit(|pack| {
                let at = Pack::new(pack).seek(place as i64);
                let put = at.and_then(|at| listpack::insert(pack, at, Side::Before, text));
                ((), usize::from(put.is_some()))
            });
        }
    }

    /// Leaves the first `keep` elements in node `n` and moves the others, if there are any, into a new
    /// node behind it. True if there is one.
    fn split(&mut self, n: usize, keep: usize) -> bool {
        let Some(run) = self.nodes[n].run() else {
            return false;
        };
        let more = run.count().saturating_sub(keep);
        if more == 0 {
            return false;
        }
        let tail = run.edit(|pack| {
            let mut tail = pack.clone();
            listpack::delete_range(&mut tail, 0, keep);
            let gone = listpack::delete_range(pack, keep as i64, more);
            (tail, gone.wrapping_neg())
        });
        let mut tail = Run::from_counted(tail, more as u32);
        tail.fit();
        self.nodes.insert(n + 1, Node::Run(tail));
        true
    }

    /// Removes the last element of node `n`, which may be empty then.
    fn cut_last(&mut self, n: usize) {
        match self.nodes[n].run() {
            Some(run) => _ = run.pop_back(|_| ()),
            None => self.nodes[n] = Node::Run(Run::new()),
        }
    }

    /// Joins the small node `n` to its neighbours where they fit together. `behind`: the node behind
    /// it was split off a moment ago.
    fn merge_around(&mut self, n: usize, behind: bool) {
        if behind {
            self.merge(n);
        }
        if n > 0 {
            self.merge(n - 1);
        }
    }

    /// Joins node `n` and the one behind it, if one node can hold both.
    fn merge(&mut self, n: usize) {
        let (Some(one), Some(two)) = (self.nodes.get(n), self.nodes.get(n + 1)) else {
            return;
        };
        if one.is_plain() || two.is_plain() {
            return;
        }
        let bytes = (one.len() + two.len()).saturating_sub(listpack::EMPTY.len());
        let added = two.count();
        if self.fill.exceeded_by(bytes, one.count() + added) {
            return;
        }
        let mut room = Vec::new();
        let Some(mut two) = self.nodes.remove(n + 1) else {
            return;
        };
        two.open();
        if let (Some(run), Content::Pack(other)) = (self.nodes[n].run(), two.content(&mut room)) {
            run.edit(|pack| {
                listpack::merge(pack, other.bytes());
                ((), added)
            });
        }
    }

    /// Removes up to `count` elements from number `from` on; returns how many there were.
    pub fn remove_range(&mut self, from: usize, count: usize) -> usize {
        let Some((first, mut at)) = self.locate(from) else {
            return 0;
        };
        let total = count.min(self.len - from);
        let (mut left, mut n) = (total, first);
        // Nodes that go whole are in one piece: at most the first and the last are cut.
        let mut whole = None;
        while left > 0 && n < self.nodes.len() {
            let here = self.nodes[n].count() - at;
            if at == 0 && here <= left {
                let (start, _) = whole.unwrap_or((n, n));
                whole = Some((start, n + 1));
                left -= here;
            } else {
                let gone = here.min(left);
                self.cut(n, at, gone);
                left -= gone;
            }
            at = 0;
            n += 1;
        }
        if let Some((start, end)) = whole {
            self.nodes.drain(start..end);
        }
        self.len -= total;
        self.settle(first, self.nodes.len());
        self.shrink();
        total
    }

    /// Removes some, not all, elements of a run.
    fn cut(&mut self, n: usize, at: usize, count: usize) {
        if let Some(run) = self.nodes[n].run() {
            run.edit(|pack| {
                let gone = listpack::delete_range(pack, at as i64, count);
                ((), gone.wrapping_neg())
            });
            run.fit();
        }
    }

    /// Removes up to `max` elements equal to `text`, from one end on; returns how many.
    pub fn remove_equal(&mut self, text: &[u8], max: usize, from: End) -> usize {
        let (mut gone, mut emptied, mut room) = (0, false, Vec::new());
        for step in 0..self.nodes.len() {
            if gone == max {
                break;
            }
            let n = match from {
                End::Front => step,
                End::Back => self.nodes.len() - 1 - step,
            };
            if !self.nodes[n].content(&mut room).holds(text) {
                continue;
            }
            let count = match self.nodes[n].run() {
                Some(run) => {
                    let back = from == End::Back;
                    let count = run.edit(|pack| {
                        let gone = listpack::delete_equal(pack, text, max - gone, back);
                        (gone, gone.wrapping_neg())
                    });
                    run.fit();
                    count
                }
                None => {
                    self.nodes[n] = Node::Run(Run::new());
                    1
                }
            };
            gone += count;
            emptied |= self.nodes[n].count() == 0;
            if self.is_inner(n) {
                self.nodes[n].squeeze();
            }
        }
        if emptied {
            // All at once: taking them out one by one would move the others each time.
            self.nodes.retain(|node| node.count() > 0);
            self.shrink();
        }
        self.len -= gone;
        self.settle(0, self.nodes.len());
        gone
    }
}

/// Compression.
impl Quicklist {
    /// Is node `n` to be compressed?
    fn is_inner(&self, n: usize) -> bool {
        let depth = usize::from(self.depth);
        depth > 0 && n >= depth && n + depth < self.nodes.len()
    }

    /// A node was added at an end: the one that is as deep now as to be compressed is.
    #[inline]
    pub(super) fn settle_after_push(&mut self, end: End) {
        let depth = usize::from(self.depth);
        if depth > 0 && self.nodes.len() > 2 * depth {
            let n = match end {
                End::Front => depth,
                End::Back => self.nodes.len() - 1 - depth,
            };
            self.nodes[n].squeeze();
        }
    }

    /// After an edit at node `around`, of a list that had `nodes` nodes before: those near the ends
    /// are opened, those that the edit opened or pushed inwards are compressed.
    fn settle(&mut self, around: usize, nodes: usize) {
        if self.depth == 0 {
            return;
        }
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        for n in (0..depth.min(len)).chain(len.saturating_sub(depth)..len) {
            self.nodes[n].open();
        }
        self.squeeze_inner(around.saturating_sub(1), around + 3);
        // An edit adds two nodes at most: so far may others have moved.
        let added = len.saturating_sub(nodes);
        self.squeeze_inner(depth, depth + added);
        self.squeeze_inner(len.saturating_sub(depth + added), len.saturating_sub(depth));
    }

    fn squeeze_inner(&mut self, from: usize, to: usize) {
        for n in from..to.min(self.nodes.len()) {
            if self.is_inner(n) {
                self.nodes[n].squeeze();
            }
        }
    }

    /// A node at an end has gone: the one that has come so near as to stay open is opened.
    fn settle_after_drop(&mut self, end: End) {
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        if depth > 0 && len >= depth {
            let n = match end {
                End::Front => depth - 1,
                End::Back => len - depth,
            };
            self.nodes[n].open();
        }
    }
}

/// Must an element of that length have a node of its own?
fn is_huge(fill: Fill, len: usize, huge: usize) -> bool {
    len >= huge || len > fill.bytes_max()
}

/// Does a node take an element of that length?
#[inline]
fn takes(fill: Fill, bytes: usize, count: usize, len: usize, huge: usize) -> bool {
    len < huge && !fill.exceeded_by(bytes + len + OVERHEAD, count + 1)
}

/// Can a run take this value in the place of its element `at`?
fn replaces(fill: Fill, run: &Run, at: usize, text: &[u8]) -> bool {
    let taken = |val| Element::new(val).len();
    let (old, new) = (
        run.pack().get(at as i64).map_or(0, taken),
        taken(Val::of(text)),
    );
    new <= old || !fill.exceeded_by(run.len() - old + new, run.count())
}
