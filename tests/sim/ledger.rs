//! What there was, and how much of it has to be there again.

use std::collections::VecDeque;

/// Every data set there was, in order, and which of them files must not be older than.
#[derive(Default)]
pub struct Ledger {
    /// Digests.
    states: Vec<String>,
    /// When what was acknowledged: the clock, and how many states there were.
    acknowledged: VecDeque<(i64, usize)>,
    /// The data set that the append only file, or the snapshot, has to hold, or a later one.
    pub aof_floor: usize,
    pub snapshot_floor: usize,
}

impl Ledger {
    /// A request changed something.
    pub fn note(&mut self, digest: String) {
        if self.states.last() != Some(&digest) {
            self.states.push(digest);
        }
    }

    /// How many there were: the number of the newest, to be given to a floor, is one less.
    pub fn newest(&self) -> usize {
        self.states.len() - 1
    }

    /// Replies went out, and an append only file is kept.
    pub fn acknowledge(&mut self, now_ms: i64) {
        self.acknowledged.push_back((now_ms, self.newest()));
    }

    /// What was acknowledged until this moment has to be in the append only file.
    pub fn settle_until(&mut self, at_ms: i64) {
        while let Some((ms, newest)) = self.acknowledged.front()
            && *ms <= at_ms
        {
            self.aof_floor = self.aof_floor.max(*newest);
            self.acknowledged.pop_front();
        }
    }

    /// Nothing that was acknowledged since is promised (no append only file is kept, or nobody
    /// promises when it reaches the disk).
    pub fn forget(&mut self) {
        self.acknowledged.clear();
    }

    /// The same for what is newer than this data set.
    pub fn forget_behind(&mut self, written: usize) {
        self.acknowledged.retain(|(_, newest)| *newest <= written);
    }

    /// How old what was found is: the number of states since; `None` if it was never there, or is
    /// older than it may be.
    pub fn age_of(&self, digest: &str, floor: usize) -> Option<usize> {
        let allowed = &self.states[floor..];
        allowed.iter().rev().position(|state| state == digest)
    }

    /// Where it was at all: for the message of a failure.
    pub fn places(&self, digest: &str) -> Vec<usize> {
        let all = self.states.iter().enumerate();
        let found = all.filter(|(_, state)| *state == digest);
        found.map(|(n, _)| n).collect()
    }
}
