//! The access clock: when a key was last used, or how often.
//!
//! An entry has 29 bits for it. Under the LFU policies these are a time in minutes (16 bits) and a
//! logarithmic counter (13 bits) that fades with time; under all others a time in ticks of 32 ms. Clients
//! see seconds, and eight bits of the counter, as Redis has them: the rest makes better choices where keys
//! come and go within seconds, or are used a few times only. Keys keep what they have when the policy
//! changes, so figures are wrong for a while then, as in Redis.
use super::State;
use super::config::MaxmemoryPolicy;
use crate::ds::table::Slot;
use crate::keyspace::{CLOCK_MASK, EntryRef};

/// A tick, as a shift of milliseconds: 32 ms, and the clock comes round after 198 days.
const TICK_SHIFT: u32 = 5;
/// Bits of the counter, and how many of them are a fraction.
const COUNTER_BITS: u32 = 13;
const FRACTION_BITS: u32 = 5;
const ONE: u32 = 1 << FRACTION_BITS;
/// The counter of a new key: a chance to be used before it is the least used of all.
const COUNTER_NEW: u32 = 5 * ONE;
const COUNTER_MAX: u32 = 255 * ONE;
const COUNTER_MASK: u32 = (1 << COUNTER_BITS) - 1;

/// The access clock at a moment.
#[derive(Clone, Copy)]
pub(super) struct AccessClock {
    unix_ms: u64,
    minutes: u32,
    decay: u32,
}

impl AccessClock {
    fn ticks(self) -> u64 {
        self.unix_ms >> TICK_SHIFT
    }

    /// Ticks since a key was last used.
    fn idle_ticks(self, entry: EntryRef<'_>) -> u64 {
        u64::from((self.ticks() as u32).wrapping_sub(entry.clock()) & CLOCK_MASK)
    }

    /// A key's use counter as of now.
    fn counter(self, entry: EntryRef<'_>) -> u32 {
        let counter = entry.clock() & COUNTER_MASK;
        match self.rested(entry).checked_div(self.decay) {
            Some(periods) => counter.saturating_sub(periods.saturating_mul(ONE)),
            None => counter,
        }
    }

    /// Minutes since a key's counter was last touched.
    fn rested(self, entry: EntryRef<'_>) -> u32 {
        self.minutes.wrapping_sub(entry.clock() >> COUNTER_BITS) & 0xffff
    }

    /// When a key was last used: the same number however long one looks at it.
    pub(super) fn last_use(self, entry: EntryRef<'_>) -> u64 {
        self.ticks().saturating_sub(self.idle_ticks(entry))
    }

    /// How much a key is used; of two that are used alike the one that rests longer is less.
    pub(super) fn usefulness(self, entry: EntryRef<'_>) -> u64 {
        let minute = (self.unix_ms / 60_000).saturating_sub(u64::from(self.rested(entry)));
        u64::from(self.counter(entry)) << 40 | minute
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

    /// Brings the access clock up to date if it is behind; the server does so in each turn.
    #[inline]
    pub fn follow_clock(&mut self) {
        if self.lru_clock != self.tick() {
            self.tick_access_clock();
        }
    }

    /// Brings the access clock up to date.
    #[cold]
    pub fn tick_access_clock(&mut self) {
        self.lfu = self.counts_uses();
        self.lru_clock = self.tick();
        self.dbs.new_clock = if self.lfu {
            self.minutes() << COUNTER_BITS | COUNTER_NEW
        } else {
            self.lru_clock
        };
    }

    #[inline]
    fn tick(&self) -> u32 {
        (self.clock.unix_ms >> TICK_SHIFT) as u32 & CLOCK_MASK
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
        let counter = self.access_clock().counter(self.dbs[db].entry(slot));
        let above = counter.saturating_sub(COUNTER_NEW) >> FRACTION_BITS;
        // The higher the counter, the slower it moves: 8 bits hold millions of uses.
        let slowness = f64::from(above) * f64::from(self.config.lfu_log_factor) + 1.0;
        let gain = f64::from(ONE) / slowness;
        let chance = self.rng.unit_f64() < gain.fract();
        let counter = (counter + gain as u32 + u32::from(chance)).min(COUNTER_MAX);
        let clock = self.minutes() << COUNTER_BITS | counter;
        self.dbs[db].set_clock(slot, clock);
    }

    /// A key's use counter as of now (OBJECT FREQ).
    pub fn uses(&self, entry: EntryRef<'_>) -> u32 {
        self.access_clock().counter(entry) >> FRACTION_BITS
    }

    /// What the clock says, for whoever compares many keys.
    pub(super) fn access_clock(&self) -> AccessClock {
        AccessClock {
            unix_ms: self.clock.unix_ms.max(0) as u64,
            minutes: self.minutes(),
            decay: self.config.lfu_decay_time,
        }
    }

    /// Seconds since a key was last used (OBJECT IDLETIME).
    pub fn idle_s(&self, entry: EntryRef<'_>) -> u32 {
        let passed = self.lru_clock.wrapping_sub(entry.clock()) & CLOCK_MASK;
        // What was a whole second is one again.
        let ms = (u64::from(passed) << TICK_SHIFT) + (1 << TICK_SHIFT) - 1;
        (ms / 1000) as u32
    }

    /// The clock as Redis counts it: seconds, in 24 bits.
    pub fn lru_seconds(&self) -> u32 {
        (self.clock.unix_ms / 1000) as u32 & 0xff_ffff
    }

    /// The access clock of a key that comes with what another server knew of it: seconds since its last
    /// use, or its use counter. What the policy in force does not ask for is dropped.
    pub fn restored_clock(&self, idle_s: Option<i64>, uses: Option<u8>) -> u32 {
        match (self.lfu, idle_s, uses) {
            (true, _, Some(uses)) => {
                self.minutes() << COUNTER_BITS | u32::from(uses) << FRACTION_BITS
            }
            (false, Some(idle_s), _) => {
                // The clock wraps round; nothing is older than half of its range.
                let half = u64::from(CLOCK_MASK / 2);
                let idle_ms = (idle_s.max(0) as u64).saturating_mul(1000);
                let ticks = idle_ms.div_ceil(1 << TICK_SHIFT).min(half) as u32;
                self.lru_clock.wrapping_sub(ticks) & CLOCK_MASK
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
