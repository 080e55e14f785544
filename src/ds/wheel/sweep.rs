//! Sweeping: dropping registrations that no entry needs any more.
//!
//! A key that is deleted and set again with a deadline (a lock) registers each time, and the old
//! registrations stay until their time comes; with long deadlines the index would grow without
//! bound. So when there are many more registrations than keys with a deadline, a pass goes over
//! all of them and keeps one for each hash.
//!
//! Why no key loses its last registration: a word is dropped only if nothing with a deadline
//! stands under its hash, or if another word of the same hash was kept earlier in this pass, at
//! the earliest deadline or before it. That word is not met again, because the pass goes from the
//! finest wheel to the far pile while words only move the other way. When a word is put where the
//! pass is still to come, its hash comes off the list of those kept. That list is bounded: tables
//! of many keys are swept in parts, by hash.

use super::list::List;
use super::{FAR, KEPT_BITS, SLOTS, TICK_MASK, Wheel, tick_of, with_tick};

/// Hashes that the list of those kept has room for.
const SEEN: usize = 1 << 16;
/// It is no longer added to when this full: then doubles stay, nothing is lost.
const SEEN_MAX: usize = SEEN / 4 * 3;
/// Keys with a deadline that are swept in one part.
const PART_KEYS: usize = SEEN / 2;
/// Parts are told apart by hash bits 16..32.
const PARTS_MAX: usize = 1 << 16;
/// Registrations that are always allowed beyond two for each key.
const SLACK: usize = 16 * 1024;
/// A hash that was registered anew; as a word it has bits that no kept hash has.
const FORGOTTEN: u64 = u64::MAX;
/// An empty place; the hash 0 is not listed, its doubles stay.
const EMPTY: u64 = 0;

/// What stands under a hash when nothing with a deadline does; see [`Wheel::sweep`].
pub(super) const NO_DEADLINE: i64 = i64::MAX;

pub(super) struct Sweep {
    /// Hashes of which a word was kept in this part: open addressing, linear.
    seen: Vec<u64>,
    seen_len: usize,
    parts: u64,
    part: u64,
    /// The next slot to take: level * SLOTS + digit; the far pile comes last.
    next: usize,
    taken: List,
    /// First tick of the epoch that the words in `taken` belong to.
    epoch: u64,
}

impl Sweep {
    fn new(live: usize) -> Sweep {
        Sweep {
            seen: vec![EMPTY; SEEN],
            seen_len: 0,
            parts: (live / PART_KEYS + 1).next_power_of_two().min(PARTS_MAX) as u64,
            part: 0,
            next: 0,
            taken: List::default(),
            epoch: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Sweep>() + self.seen.capacity() * size_of::<u64>()
    }

    pub(super) fn taken(&self) -> &List {
        &self.taken
    }

    pub(super) fn into_taken(self) -> List {
        self.taken
    }

    /// The part a word is swept in. Not the lowest bits: those place it in `seen`.
    fn is_in_part(&self, word: u64) -> bool {
        word >> 16 & (self.parts - 1) == self.part
    }

    /// The place of `hash`, or the empty place where a search for it ends.
    fn find(&self, hash: u64) -> usize {
        let mut at = hash as usize % SEEN;
        while self.seen[at] != hash && self.seen[at] != EMPTY {
            at = (at + 1) % SEEN;
        }
        at
    }

    /// Whether a word of the same hash was kept where the pass has been.
    fn has_met(&self, word: u64) -> bool {
        let hash = word & KEPT_BITS;
        hash != EMPTY && self.seen[self.find(hash)] == hash
    }

    /// `word` was just put into slot `at`. If the pass has been there, it stands for its hash from
    /// now on; else it is still to be met, and its hash comes off the list.
    pub(super) fn noted(&mut self, word: u64, at: usize) {
        let hash = word & KEPT_BITS;
        if hash == EMPTY || !self.is_in_part(hash) {
            return;
        }
        let place = self.find(hash);
        if at >= self.next {
            if self.seen[place] == hash {
                self.seen[place] = FORGOTTEN;
            }
        } else if self.seen[place] == EMPTY && self.seen_len < SEEN_MAX {
            self.seen[place] = hash;
            self.seen_len += 1;
        }
    }
}

impl Wheel {
    /// Whether a pass of [`Wheel::sweep`] is worth while or under way; `live` is the number of
    /// entries with a deadline. A pass that could not drop much is not repeated soon.
    pub fn wants_sweep(&self, live: usize) -> bool {
        let bound = (2 * live).max(self.after_sweep + self.after_sweep / 2);
        self.sweep.is_some() || self.words > bound + SLACK
    }

    /// One piece of a pass: looks at up to 63 registrations, or a thousand of another part's.
    /// `deadlines` gets hashes and puts beside each the earliest deadline (Unix ms) of the entries
    /// under it, `i64::MAX` if there is none. Returns whether the pass goes on.
    pub fn sweep(&mut self, live: usize, mut deadlines: impl FnMut(&[u64], &mut [i64])) -> bool {
        let mut sweep = self
            .sweep
            .take()
            .unwrap_or_else(|| Box::new(Sweep::new(live)));
        let mut words = std::mem::take(&mut self.scratch);
        for _ in 0..16 {
            if sweep.taken.is_empty() && !self.take_next(&mut sweep) {
                self.after_sweep = self.words;
                return false;
            }
            words.clear();
            self.chunks -= usize::from(sweep.taken.pop(usize::MAX, &mut words));
            let looked_up = self.sift(&mut sweep, &mut words, &mut deadlines);
            if looked_up {
                break;
            }
        }
        self.scratch = words;
        self.sweep = Some(sweep);
        true
    }

    /// Takes the next slot's words out, to be put back one by one. False: the pass is over.
    fn take_next(&mut self, sweep: &mut Sweep) -> bool {
        sweep.epoch = self.epoch_of(self.current);
        while sweep.next < FAR {
            let (level, at) = (sweep.next / SLOTS, sweep.next % SLOTS);
            sweep.next += 1;
            if self.rings[level].used >> at & 1 == 1 {
                sweep.taken = self.rings[level].take(at);
                return true;
            }
        }
        if sweep.next == FAR {
            sweep.next += 1;
            sweep.taken = std::mem::take(&mut self.far);
            sweep.epoch += TICK_MASK + 1;
            return true;
        }
        sweep.part += 1;
        sweep.next = 0;
        sweep.seen.fill(EMPTY);
        sweep.seen_len = 0;
        sweep.part < sweep.parts && self.take_next(sweep)
    }

    /// Puts back what stays of `words`. Returns whether any had to be looked up.
    fn sift(
        &mut self,
        sweep: &mut Sweep,
        words: &mut [u64],
        deadlines: &mut impl FnMut(&[u64], &mut [i64]),
    ) -> bool {
        let mut ours = [0; super::list::CHUNK];
        let mut count = 0;
        for &word in words.iter() {
            if sweep.is_in_part(word) {
                ours[count] = word;
                count += 1;
            } else {
                self.put(word, Self::tick_in(sweep.epoch, word).max(self.current));
            }
        }
        let ours = &ours[..count];
        let mut hashes = [0; super::list::CHUNK];
        let mut at_ms = [NO_DEADLINE; super::list::CHUNK];
        for (hash, word) in hashes.iter_mut().zip(ours) {
            *hash = word & KEPT_BITS;
        }
        if count > 0 {
            deadlines(&hashes[..count], &mut at_ms[..count]);
        }
        for (&word, &at_ms) in ours.iter().zip(&at_ms) {
            if at_ms == NO_DEADLINE || sweep.has_met(word) {
                self.words -= 1;
                continue;
            }
            let in_time = Self::tick_in(sweep.epoch, word).min(tick_of(at_ms));
            let tick = in_time.max(self.current);
            let at = self.put(with_tick(word, tick), tick);
            sweep.noted(word, at);
        }
        count > 0
    }
}
