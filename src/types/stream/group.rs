//! Consumer groups: who was given which entry, and has not acknowledged it yet.
//!
//! A group has the pending entries in the order of their ids, each with the consumer that has it;
//! a consumer has the ids of its own. Both are changed together, here only, so that an id is with
//! a consumer exactly when the group says so.

use std::collections::{BTreeMap, BTreeSet};

use super::id::StreamId;

/// `entries_read` of a group for which nobody knows it.
const UNKNOWN: i64 = -1;

/// A group of consumers.
#[derive(Clone)]
pub struct Group {
    /// The last entry that was given to anybody.
    pub last_id: StreamId,
    /// How many entries of the stream come up to `last_id`; -1: not known.
    entries_read: i64,
    pending: BTreeMap<StreamId, Delivery>,
    /// Consumers by name.
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    /// By their ids; a place is used again when its consumer is gone.
    consumers: Vec<Option<Consumer>>,
    free: Vec<ConsumerId>,
}

/// A consumer's place in its group; good until the consumer is deleted.
pub type ConsumerId = u32;

/// A pending entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it was given out last, in unix milliseconds.
    pub time_ms: i64,
    /// How often.
    pub count: u64,
    /// To whom.
    pub consumer: ConsumerId,
}

/// A consumer.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it last asked for anything, in unix milliseconds.
    pub seen_ms: i64,
    /// When it last got anything; none: never.
    pub active_ms: Option<i64>,
    pending: BTreeSet<StreamId>,
}

impl Default for Group {
    fn default() -> Group {
        Group::new(StreamId::ZERO, UNKNOWN)
    }
}

impl Group {
    /// A group that has read up to `last_id`, which is so many entries (-1: not known).
    pub fn new(last_id: StreamId, entries_read: i64) -> Group {
        Group {
            last_id,
            entries_read,
            pending: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
        }
    }

    /// How many entries come up to `last_id`, where that is known.
    pub fn entries_read(&self) -> Option<i64> {
        (self.entries_read != UNKNOWN).then_some(self.entries_read)
    }

    /// Sets that number.
    pub fn set_entries_read(&mut self, entries_read: Option<i64>) {
        self.entries_read = entries_read.unwrap_or(UNKNOWN);
    }

    /// Bytes of its allocations, about.
    pub fn heap_bytes(&self) -> usize {
        // A tree's nodes are about two thirds full.
        let pending = self.pending.len() * (size_of::<(StreamId, Delivery)>() * 3 / 2);
        let of_consumer = |consumer: &Consumer| {
            2 * consumer.name.len() + consumer.pending.len() * (size_of::<StreamId>() * 3 / 2)
        };
        let consumers = self.consumers.iter().flatten().map(of_consumer);
        let places = self.consumers.capacity() * size_of::<Option<Consumer>>();
        size_of::<Group>() + pending + places + consumers.sum::<usize>()
    }

    /// About how many allocations a drop frees.
    pub fn free_effort(&self) -> usize {
        1 + self.pending.len() / 4 + 2 * self.consumers.len()
    }
}

/// Consumers.
impl Group {
    /// All consumers, by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.names.values().map(|id| self.consumer(*id))
    }

    /// The place of the consumer of that name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// A consumer. Panics where none is, which only a broken invariant can cause.
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id as usize]
            .as_ref()
            .expect("ids are of consumers that are there")
    }

    /// A consumer, to be changed.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id as usize]
            .as_mut()
            .expect("ids are of consumers that are there")
    }

    /// Adds a consumer whose name is new.
    pub fn create_consumer(&mut self, name: &[u8], now_ms: i64) -> ConsumerId {
        debug_assert!(!self.names.contains_key(name));
        let consumer = Some(Consumer {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: None,
            pending: BTreeSet::new(),
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.consumers[id as usize] = consumer;
                id
            }
            None => {
                self.consumers.push(consumer);
                (self.consumers.len() - 1) as ConsumerId
            }
        };
        self.names.insert(name.into(), id);
        id
    }

    /// Removes a consumer and what is pending with it; how much that was.
    pub fn delete_consumer(&mut self, id: ConsumerId) -> usize {
        let Some(consumer) = self.consumers[id as usize].take() else {
            return 0;
        };
        self.names.remove(&consumer.name);
        self.free.push(id);
        for entry in &consumer.pending {
            self.pending.remove(entry);
        }
        consumer.pending.len()
    }
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The entries that it was given and has not acknowledged.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// Pending entries.
impl Group {
    /// All of them.
    pub fn pending(&self) -> &BTreeMap<StreamId, Delivery> {
        &self.pending
    }

    /// A pending entry.
    pub fn delivery(&self, id: StreamId) -> Option<Delivery> {
        self.pending.get(&id).copied()
    }

    /// An entry is with this consumer now, whoever had it before.
    pub fn deliver(&mut self, id: StreamId, delivery: Delivery) {
        let before = self.pending.insert(id, delivery);
        if let Some(before) = before {
            if before.consumer == delivery.consumer {
                return;
            }
            self.consumer_mut(before.consumer).pending.remove(&id);
        }
        self.consumer_mut(delivery.consumer).pending.insert(id);
    }

    /// An entry is pending no longer; false if it was not.
    pub fn forget(&mut self, id: StreamId) -> bool {
        let Some(delivery) = self.pending.remove(&id) else {
            return false;
        };
        self.consumer_mut(delivery.consumer).pending.remove(&id);
        true
    }
}
