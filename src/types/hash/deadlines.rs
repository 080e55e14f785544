//! When the fields of a hash are due.
//!
//! Holds hashes of fields with a time, never pointers, so writes to a field need not tell it. What it
//! promises: a field with a deadline is registered at its deadline or earlier. One whose deadline moved
//! later, or that is gone, is met at its old time and then registered anew or dropped. A hash with few such
//! fields keeps a heap of 16 bytes each; one with many a wheel, which takes half of that and a constant
//! time, but a few KiB of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ds::wheel::{BATCH, Wheel};

/// Registrations in a heap; more move to a wheel, which is smaller from here on.
const HEAP_MAX: usize = if cfg!(miri) { 20 } else { 256 };
/// Registrations without a field that a heap always allows, and as many again as there are fields.
const SLACK: usize = 16;

pub(super) struct Deadlines {
    /// Fields with a deadline; never 0 between two calls from outside.
    live: usize,
    index: Index,
}

enum Index {
    Heap(BinaryHeap<Reverse<(i64, u64)>>),
    Wheel(Box<Wheel>),
}

impl Deadlines {
    pub(super) fn new() -> Deadlines {
        Deadlines {
            live: 0,
            index: Index::Heap(BinaryHeap::new()),
        }
    }

    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Deadlines>()
            + match &self.index {
                Index::Heap(heap) => heap.capacity() * size_of::<(i64, u64)>(),
                Index::Wheel(wheel) => size_of::<Wheel>() + wheel.bytes(),
            }
    }

    /// A time (unix ms) before which `due` has nothing to do. A wheel may be some ms late.
    pub(super) fn next_ms(&self) -> i64 {
        let next = match &self.index {
            Index::Heap(heap) => heap.peek().map(|Reverse((at_ms, _))| *at_ms),
            Index::Wheel(wheel) => wheel.next_ms(),
        };
        next.unwrap_or(i64::MAX)
    }

    /// A field got a deadline.
    pub(super) fn added(&mut self, hash: u64, at_ms: i64) {
        self.live += 1;
        self.register(hash, at_ms);
    }

    /// A field's deadline changed.
    pub(super) fn moved(&mut self, hash: u64, from_ms: i64, to_ms: i64) {
        if to_ms < from_ms {
            self.register(hash, to_ms);
        }
    }

    /// A field lost its deadline, or is gone.
    pub(super) fn removed(&mut self) {
        self.live -= 1;
    }

    /// A field dies in the first millisecond after its deadline.
    pub(super) fn register(&mut self, hash: u64, at_ms: i64) {
        let at_ms = at_ms.saturating_add(1);
        match &mut self.index {
            Index::Heap(heap) => heap.push(Reverse((at_ms, hash))),
            Index::Wheel(wheel) => wheel.register(hash, at_ms),
        }
    }

    /// Clears `out` and puts there some hashes whose time has come, which are no longer registered.
    /// Returns whether there are more.
    pub(super) fn due(&mut self, now_ms: i64, out: &mut Vec<u64>) -> bool {
        let heap = match &mut self.index {
            Index::Wheel(wheel) => return wheel.due(now_ms, out),
            Index::Heap(heap) => heap,
        };
        out.clear();
        while let Some(Reverse((at_ms, hash))) = heap.peek()
            && *at_ms <= now_ms
        {
            if out.len() == BATCH {
                return true;
            }
            out.push(*hash);
            heap.pop();
        }
        false
    }

    /// Whether `tidy` is to be called: there are too many registrations for what they are in, or for the
    /// fields.
    #[inline]
    pub(super) fn wants_tidy(&self) -> bool {
        match &self.index {
            Index::Heap(heap) => heap.len() > HEAP_MAX || heap.len() > 2 * self.live + SLACK,
            Index::Wheel(wheel) => wheel.wants_sweep(self.live),
        }
    }

    /// A bounded piece of tidying up. `earliest` tells the earliest deadline of the fields under a hash.
    pub(super) fn tidy(&mut self, mut earliest: impl FnMut(u64) -> Option<i64>) {
        let heap = match &mut self.index {
            Index::Wheel(wheel) => {
                wheel.sweep(self.live, |hashes, deadlines| {
                    for (hash, deadline) in hashes.iter().zip(deadlines) {
                        if let Some(at_ms) = earliest(*hash) {
                            *deadline = at_ms.saturating_add(1);
                        }
                    }
                });
                return;
            }
            Index::Heap(heap) => std::mem::take(heap),
        };
        let mut hashes: Vec<u64> = heap.into_iter().map(|Reverse((_, hash))| hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        if hashes.len() > HEAP_MAX / 2 {
            self.index = Index::Wheel(Box::default());
        }
        for hash in hashes {
            if let Some(at_ms) = earliest(hash) {
                self.register(hash, at_ms);
            }
        }
    }
}
