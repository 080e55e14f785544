//! The expiry index: which hashes have a deadline that has come.
//!
//! Sampling finds expired keys late; an index of keys would cost more than the keys. This one holds
//! eight bytes for each registration and answers "what is due" without looking at anything that is
//! not. It knows no keys: it is handed 64-bit hashes and hands them out again once their time has
//! come, a little late (up to 16 ms) or early, never lost. The caller looks up what stands under
//! the hash, removes what is due, and registers the rest again.
//!
//! **What the caller promises.** It registers a hash when an entry gets a deadline, and when the
//! deadline becomes earlier. A deadline that becomes later or goes away needs nothing: the hash
//! comes out at the old time and is then registered anew or forgotten. When a hash comes out, all
//! entries under it count (`Table::find_where` with a closure that collects): those due go, and if
//! others with a deadline remain, the earliest deadline is registered.
//!
//! **Only 40 bits of a hash come back**: 0..32 and 56..64, which are all that `ds::table` uses. The
//! 24 bits between hold the deadline in ticks of 16 ms, so moving a word to a finer wheel needs no
//! look at its entry. Four wheels of 64 slots (1 s, 65 s, 70 min, 74 h); a word is in the wheel of
//! the highest digit, in base 64, in which its tick differs from the current one. Later deadlines
//! are in one pile that is sorted in every 74 hours, and may then come out early.
//!
//! Work in one call is bounded; time is only what the caller says it is.

mod list;
mod sweep;

use list::{CHUNK_BYTES, List};
use sweep::Sweep;

/// The most hashes that [`Wheel::due`] hands out at once: enough for a prefetched batch.
pub const BATCH: usize = 64;

const TICK_MS: i64 = 16;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 4;
/// Slots are numbered from the finest wheel up; the pile of later epochs comes last.
const FAR: usize = LEVELS * SLOTS;
/// Ticks that the wheels tell apart: an epoch.
const TICK_BITS: u32 = DIGIT_BITS * LEVELS as u32;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
/// Where the tick stands in a word.
const TICK_SHIFT: u32 = 32;
/// Words that one call moves between wheels: about 10 microseconds.
const MOVES_MAX: usize = 1024;
/// A clock that goes back less than this (one second) is waited for.
const REWIND_TICKS: u64 = 64;

const _: () = assert!(TICK_SHIFT + TICK_BITS == 56);

/// The bits of a hash that the index keeps.
pub const KEPT_BITS: u64 = !(TICK_MASK << TICK_SHIFT);

/// One of the four wheels; its slots are allocated when first used.
#[derive(Default)]
struct Ring {
    slots: Option<Box<[List; SLOTS]>>,
    /// One bit for each slot that is not empty.
    used: u64,
}

impl Ring {
    fn slot(&mut self, digit: usize) -> &mut List {
        let slots = self
            .slots
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| List::default())));
        &mut slots[digit]
    }

    fn take(&mut self, digit: usize) -> List {
        self.used &= !(1 << digit);
        std::mem::take(self.slot(digit))
    }
}

/// The index of one database. See the head of this file.
#[derive(Default)]
pub struct Wheel {
    rings: [Ring; LEVELS],
    /// Deadlines of later epochs.
    far: List,
    /// Piles that are being sorted in. The wheels stand still meanwhile.
    opening: Vec<List>,
    /// All ticks before this one have been handed out. Wheels are read relative to it.
    current: u64,
    /// The tick of the last `due`: what is registered as due now waits for the next one, so that
    /// a caller who registers what it was handed does not run in circles.
    seen: u64,
    started: bool,
    words: usize,
    chunks: usize,
    /// Words left by the last sweep; see `wants_sweep`.
    after_sweep: usize,
    sweep: Option<Box<Sweep>>,
    scratch: Vec<u64>,
}

/// Digit `level` of a tick in base 64.
fn digit(tick: u64, level: usize) -> usize {
    (tick >> (level as u32 * DIGIT_BITS)) as usize & (SLOTS - 1)
}

/// The tick in which a deadline has surely passed.
fn tick_of(at_ms: i64) -> u64 {
    let ms = at_ms.max(0) as u64;
    ms.div_ceil(TICK_MS as u64)
}

fn with_tick(hash: u64, tick: u64) -> u64 {
    hash & KEPT_BITS | (tick & TICK_MASK) << TICK_SHIFT
}

impl Wheel {
    /// An empty index, which holds no memory.
    pub fn new() -> Wheel {
        Wheel::default()
    }

    /// Registrations held, stale and double ones included.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let rings = self
            .rings
            .iter()
            .filter(|ring| ring.slots.is_some())
            .count();
        self.chunks * CHUNK_BYTES
            + rings * SLOTS * size_of::<List>()
            + self.opening.capacity() * size_of::<List>()
            + self.scratch.capacity() * size_of::<u64>()
            + self.sweep.as_ref().map_or(0, |sweep| sweep.bytes())
    }

    /// All registrations, in pieces, of which `piece_count` says about how many there are. Only
    /// [`KEPT_BITS`] of a word are the hash.
    pub fn pieces(&self) -> impl Iterator<Item = &[u64]> {
        let slots = self.rings.iter().filter_map(|ring| ring.slots.as_deref());
        slots
            .flatten()
            .chain([&self.far])
            .chain(&self.opening)
            .chain(self.sweep.as_ref().map(|sweep| sweep.taken()))
            .flat_map(List::pieces)
    }

    /// The number of pieces.
    pub fn piece_count(&self) -> usize {
        self.chunks
    }

    /// Forgets everything, memory included.
    pub fn clear(&mut self) {
        let (current, seen, started) = (self.current, self.seen, self.started);
        *self = Wheel {
            current,
            seen,
            started,
            ..Wheel::default()
        };
    }

    /// Asks for `hash` to be handed out once `at_ms` (Unix time) has come.
    #[inline]
    pub fn register(&mut self, hash: u64, at_ms: i64) {
        let tick = tick_of(at_ms).max(self.seen + 1).max(self.current);
        let word = with_tick(hash, tick);
        self.words += 1;
        let at = self.put(word, tick);
        if let Some(sweep) = &mut self.sweep {
            sweep.noted(word, at);
        }
    }

    /// Puts a word where its tick, current or later, belongs. Returns the number of the slot.
    #[inline]
    fn put(&mut self, word: u64, tick: u64) -> usize {
        if self.started && self.epoch_of(tick) == self.epoch_of(self.current) {
            return self.place(word, tick);
        }
        self.chunks += usize::from(self.far.push(word));
        FAR
    }

    /// The first tick of a tick's epoch.
    fn epoch_of(&self, tick: u64) -> u64 {
        tick & !TICK_MASK
    }

    /// The tick of a word that belongs to the epoch given.
    fn tick_in(epoch: u64, word: u64) -> u64 {
        epoch | (word >> TICK_SHIFT & TICK_MASK)
    }

    /// Puts a word into the wheel where its tick belongs; a tick that has passed is current.
    /// Returns the number of the slot.
    #[inline]
    fn place(&mut self, word: u64, tick: u64) -> usize {
        let tick = tick.max(self.current);
        let differs = (tick ^ self.current)
            .checked_ilog2()
            .map_or(0, |bit| bit / DIGIT_BITS);
        let level = (differs as usize).min(LEVELS - 1);
        let at = digit(tick, level);
        let ring = &mut self.rings[level];
        ring.used |= 1 << at;
        self.chunks += usize::from(ring.slot(at).push(word));
        level * SLOTS + at
    }

    /// Clears `out` and puts there up to [`BATCH`] hashes whose time has come. Returns whether
    /// there is more to do at `now_ms`; then call again, in this turn or the next. The hashes in
    /// `out` are no longer registered.
    pub fn due(&mut self, now_ms: i64, out: &mut Vec<u64>) -> bool {
        out.clear();
        let now = (now_ms.max(0) / TICK_MS) as u64;
        self.follow_clock(now);
        let mut moves = MOVES_MAX;
        loop {
            if !self.sort_in(&mut moves) {
                return true;
            }
            if self.current > now {
                return false;
            }
            let at = digit(self.current, 0);
            while self.rings[0].used >> at & 1 == 1 {
                if out.len() == BATCH {
                    return true;
                }
                self.hand_out(at, out);
            }
            let next = self.next_stop().map_or(now + 1, |stop| stop.min(now + 1));
            if self.epoch_of(next) != self.epoch_of(self.current) {
                self.opening.push(std::mem::take(&mut self.far));
            }
            self.current = next;
        }
    }

    /// Takes the time as given: starts with it, and goes back with it if it goes back far. Then
    /// all words are sorted in again; across an epoch's border they may come out too early.
    fn follow_clock(&mut self, now: u64) {
        self.seen = now;
        let back = now + REWIND_TICKS < self.current;
        if self.started && !back {
            return;
        }
        if !self.started {
            self.opening.push(std::mem::take(&mut self.far));
        }
        if let Some(sweep) = self.sweep.take() {
            self.opening.push(sweep.into_taken());
        }
        for ring in &mut self.rings {
            while ring.used != 0 {
                self.opening
                    .push(ring.take(ring.used.trailing_zeros() as usize));
            }
        }
        (self.started, self.current) = (true, now);
    }

    fn hand_out(&mut self, at: usize, out: &mut Vec<u64>) {
        let (before, room) = (out.len(), BATCH - out.len());
        let slot = self.rings[0].slot(at);
        let freed = slot.pop(room, out);
        if slot.is_empty() {
            self.rings[0].used &= !(1 << at);
        }
        self.chunks -= usize::from(freed);
        self.words -= out.len() - before;
        out[before..].iter_mut().for_each(|word| *word &= KEPT_BITS);
    }

    /// Moves the words of open piles, and of the slots that `current` has entered, to where they
    /// belong now. Returns whether that is done.
    fn sort_in(&mut self, moves: &mut usize) -> bool {
        loop {
            let entered = (1..LEVELS)
                .rev()
                .find(|&level| self.rings[level].used >> digit(self.current, level) & 1 == 1);
            if let Some(level) = entered {
                let pile = self.rings[level].take(digit(self.current, level));
                self.opening.push(pile);
            }
            let Some(mut pile) = self.opening.pop() else {
                return true;
            };
            let mut words = std::mem::take(&mut self.scratch);
            while *moves > 0 && !pile.is_empty() {
                words.clear();
                self.chunks -= usize::from(pile.pop(*moves, &mut words));
                *moves -= words.len();
                let epoch = self.epoch_of(self.current);
                for &word in &words {
                    self.place(word, Self::tick_in(epoch, word));
                }
            }
            self.scratch = words;
            if !pile.is_empty() {
                self.opening.push(pile);
                return false;
            }
        }
    }

    /// The next tick at which a slot or the pile of later epochs is to be opened.
    fn next_stop(&self) -> Option<u64> {
        for (level, ring) in self.rings.iter().enumerate() {
            let shift = level as u32 * DIGIT_BITS;
            // Digits above the current one; shifted in two steps, as by 64 is not allowed.
            let later = ring.used >> digit(self.current, level) >> 1;
            if later != 0 {
                return Some(
                    ((self.current >> shift) + 1 + u64::from(later.trailing_zeros())) << shift,
                );
            }
        }
        (!self.far.is_empty()).then(|| self.epoch_of(self.current) + TICK_MASK + 1)
    }

    /// A time before which `due` has nothing to do, for the loop's sleep. None: nothing registered.
    pub fn next_ms(&self) -> Option<i64> {
        if self.words == 0 {
            return None;
        }
        let at_once = !self.started
            || !self.opening.is_empty()
            || (0..LEVELS).any(|l| self.rings[l].used >> digit(self.current, l) & 1 == 1);
        let tick = if at_once {
            Some(self.current)
        } else {
            self.next_stop()
        };
        // Only a running sweep holds words outside of the above.
        Some(tick.unwrap_or(self.current) as i64 * TICK_MS)
    }
}

#[cfg(test)]
mod tests;
