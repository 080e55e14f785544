//! The access clock: when a key was last used, or how often.
//!
//! An entry has 24 bits for it. Under the LFU policies these are a time in minutes (16 bits) and a
//! logarithmic counter (8 bits) that fades with time; under all others a time in seconds. Keys keep
//! what they have when the policy changes, so figures are wrong for a while then, as in Redis.
use super::State;
use super::config::MaxmemoryPolicy;
use crate::ds::table::Slot;
use crate::keyspace::{CLOCK_MASK, EntryRef};

/// The counter of a new key: a chance to be used before it is the least used of all.
const COUNTER_NEW: u32 = 5;
const COUNTER_MAX: u32 = 255;

/// The access clock at a moment.
#[derive(Clone, Copy)]
pub(super) struct AccessClock {
    seconds: u32,
    minutes: u32,
    unix_s: u64,
    decay: u32,
}

impl AccessClock {
    /// Seconds since a key was last used.
    fn idle_s(self, entry: EntryRef<'_>) -> u32 {
        self.seconds.wrapping_sub(entry.clock()) & CLOCK_MASK
    }

    /// A key's use counter as of now.
    fn uses(self, entry: EntryRef<'_>) -> u32 {
        let (passed, counter) = self.counter(entry);
        match passed.checked_div(self.decay) {
            Some(periods) => counter.saturating_sub(periods),
            None => counter,
        }
    }

    /// Minutes since a key's counter was last touched, and what it was then.
    fn counter(self, entry: EntryRef<'_>) -> (u32, u32) {
        let (then, counter) = (entry.clock() >> 8, entry.clock() & COUNTER_MAX);
        (self.minutes.wrapping_sub(then) & 0xffff, counter)
    }

    /// When a key was last used: the same number however long one looks at it.
    pub(super) fn last_use(self, entry: EntryRef<'_>) -> u64 {
        self.unix_s.saturating_sub(u64::from(self.idle_s(entry)))
    }

    /// How much a key is used; of two that are used alike the one that rests longer is less.
    pub(super) fn usefulness(self, entry: EntryRef<'_>) -> u64 {
        let (passed, _) = self.counter(entry);
        let minute = (self.unix_s / 60).saturating_sub(u64::from(passed));
        u64::from(self.uses(entry)) << 40 | minute
    }
}

impl State {
    /// Do keys count their uses, instead of remembering the last one?
    pub fn counts_uses(&self) -> bool {
        matches!(
            self.config.maxmemory_policy,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu
        )
    }

    /// Brings the clock up to date; the server does so several times a second.
    pub fn tick_access_clock(&mut self) {
        self.lfu = self.counts_uses();
        self.lru_clock = (self.clock.unix_ms / 1000) as u32 & CLOCK_MASK;
        self.dbs.new_clock = if self.lfu {
            self.minutes() << 8 | COUNTER_NEW
        } else {
            self.lru_clock
        };
    }

    /// A key was used.
    #[inline]
    pub(super) fn touch(&mut self, db: usize, slot: Slot) {
        if self.lfu {
            self.count_use(db, slot);
        } else {
            self.dbs[db].set_clock(slot, self.lru_clock);
        }
    }

    #[cold]
    fn count_use(&mut self, db: usize, slot: Slot) {
        let mut counter = self.uses(self.dbs[db].entry(slot));
        let above = counter.saturating_sub(COUNTER_NEW);
        // The higher the counter, the rarer it moves: 8 bits hold millions of uses.
        let odds = f64::from(above) * f64::from(self.config.lfu_log_factor) + 1.0;
        if counter < COUNTER_MAX && self.rng.unit_f64() * odds < 1.0 {
            counter += 1;
        }
        let clock = self.minutes() << 8 | counter;
        self.dbs[db].set_clock(slot, clock);
    }

    /// A key's use counter as of now (OBJECT FREQ).
    pub fn uses(&self, entry: EntryRef<'_>) -> u32 {
        self.access_clock().uses(entry)
    }

    /// What the clock says, for whoever compares many keys.
    pub(super) fn access_clock(&self) -> AccessClock {
        AccessClock {
            seconds: self.lru_clock,
            minutes: self.minutes(),
            unix_s: self.clock.unix_ms as u64 / 1000,
            decay: self.config.lfu_decay_time,
        }
    }

    /// Seconds since a key was last used (OBJECT IDLETIME).
    pub fn idle_s(&self, entry: EntryRef<'_>) -> u32 {
        self.access_clock().idle_s(entry)
    }

    /// The access clock of a key that comes with what another server knew of it: seconds since its last
    /// use, or its use counter. What the policy in force does not ask for is dropped.
    pub fn restored_clock(&self, idle_s: Option<i64>, uses: Option<u8>) -> u32 {
        match (self.lfu, idle_s, uses) {
            (true, _, Some(uses)) => self.minutes() << 8 | u32::from(uses),
            (false, Some(idle_s), _) => {
                // The clock wraps round; nothing is older than half of its range.
                let idle_s = idle_s.clamp(0, i64::from(CLOCK_MASK / 2)) as u32;
                self.lru_clock.wrapping_sub(idle_s) & CLOCK_MASK
            }
            _ => self.dbs.new_clock,
        }
    }

    fn minutes(&self) -> u32 {
        (self.clock.unix_ms / 60_000) as u32 & 0xffff
    }
}

#[cfg(test)]
mod tests {
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::State;
    use crate::state::config::{Config, MaxmemoryPolicy};

    fn state(policy: MaxmemoryPolicy) -> State {
        let config = Config {
            maxmemory_policy: policy,
            ..Config::default()
        };
        let mut state = State::new(
            config,
            Rng::from_seed(1),
            Clock::manual(1_700_000_000_000),
            1,
            1.0,
        );
        state.tick_access_clock();
        state.dbs.insert(0, b"k", NewValue::Int(1), None);
        state
    }

    #[test]
    fn seconds_since_the_last_use() {
        let mut state = state(MaxmemoryPolicy::Noeviction);
        state.clock.advance_ms(7_000);
        state.tick_access_clock();
        assert_eq!(state.idle_s(state.dbs.get(0, b"k").expect("set")), 7);
        state.lookup_read(0, b"k");
        assert_eq!(state.idle_s(state.dbs.get(0, b"k").expect("set")), 0);
    }

    #[test]
    fn uses_count_on_a_logarithmic_scale_and_fade() {
        let mut state = state(MaxmemoryPolicy::AllkeysLfu);
        assert_eq!(state.uses(state.dbs.get(0, b"k").expect("set")), 5);
        for _ in 0..1000 {
            state.lookup_read(0, b"k");
        }
        let counter = state.uses(state.dbs.get(0, b"k").expect("set"));
        assert!((15..=22).contains(&counter), "{counter} for 1000 uses");
        state.clock.advance_ms(3 * 60_000);
        assert_eq!(
            state.uses(state.dbs.get(0, b"k").expect("set")),
            counter - 3
        );
        state.config.lfu_decay_time = 0;
        assert_eq!(state.uses(state.dbs.get(0, b"k").expect("set")), counter);
    }
}
