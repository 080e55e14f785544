//! The wheel against a map of deadlines, seeded: `SEED=n cargo test ds::wheel` replays one case.

use super::*;
use crate::base::rng::Rng;
use std::collections::HashMap;

const START: i64 = 1_790_000_000_000;

/// What the keyspace does with the wheel, with a map for the table.
struct Keys {
    wheel: Wheel,
    /// By what the wheel keeps of a hash; the deadline is None after PERSIST.
    deadlines: HashMap<u64, Option<i64>>,
    set_at: HashMap<u64, i64>,
    now: i64,
    batch: Vec<u64>,
}

impl Keys {
    fn new() -> Keys {
        Keys {
            wheel: Wheel::new(),
            deadlines: HashMap::new(),
            set_at: HashMap::new(),
            now: START,
            batch: Vec::new(),
        }
    }

    fn set(&mut self, hash: u64, at_ms: Option<i64>) {
        self.set_at.insert(hash & KEPT_BITS, self.now);
        let old = self.deadlines.insert(hash & KEPT_BITS, at_ms).flatten();
        if let Some(at_ms) = at_ms
            && old.is_none_or(|old| at_ms < old)
        {
            self.wheel.register(hash, at_ms);
        }
    }

    /// One call; returns what it does.
    fn due(&mut self) -> bool {
        let more = self.wheel.due(self.now, &mut self.batch);
        assert!(self.batch.len() <= BATCH);
        for &hash in &self.batch {
            assert_eq!(hash & !KEPT_BITS, 0);
            match self.deadlines.get(&hash) {
                Some(&Some(at_ms)) if at_ms <= self.now => {
                    self.deadlines.remove(&hash);
                }
                Some(&Some(at_ms)) => self.wheel.register(hash, at_ms),
                Some(None) | None => {}
            }
        }
        more
    }

    fn live(&self) -> usize {
        self.deadlines.values().flatten().count()
    }

    fn sweep(&mut self) -> bool {
        let live = self.live();
        let deadlines = &self.deadlines;
        self.wheel.sweep(live, |hashes, at_ms| {
            for (hash, at_ms) in hashes.iter().zip(at_ms) {
                *at_ms = deadlines.get(hash).copied().flatten().unwrap_or(i64::MAX);
            }
        })
    }

    /// Whether a deadline was missed. One that is set when it has passed waits for the next tick.
    fn is_late(&self) -> bool {
        self.deadlines.iter().any(|(hash, at_ms)| {
            at_ms.is_some_and(|at_ms| at_ms.max(self.set_at[hash] + TICK_MS) <= self.now - TICK_MS)
        })
    }

    fn finish(&mut self) {
        while self.wheel.sweep.is_some() && self.sweep() {}
    }
}

fn case(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut keys = Keys::new();
    let names = 1 + rng.below(2000);
    let reach = 1i64 << (4 + rng.below(29));
    let registers_first = rng.below(2) == 0;
    if !registers_first {
        keys.due();
    }
    let rewinds = rng.below(3) == 0;
    let mut highest = keys.now;
    for _ in 0..if cfg!(miri) { 300 } else { 6000 } {
        let hash = rng.below(names).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at_ms = keys.now + rng.below(reach as u64) as i64 - 40;
        match rng.below(100) {
            0..50 => keys.set(hash, Some(at_ms)),
            50..60 => {
                keys.deadlines.remove(&(hash & KEPT_BITS));
                keys.set(hash, Some(at_ms));
            }
            60..65 => keys.set(hash, None),
            65..68 => drop(keys.deadlines.remove(&(hash & KEPT_BITS))),
            68..95 => {
                keys.now += rng.below(1 + reach as u64 / 100) as i64;
                keys.due();
            }
            95..97 => drop(keys.sweep()),
            97 => keys.now += rng.below(reach as u64) as i64,
            98 if rewinds => keys.now -= rng.below(reach as u64) as i64,
            _ => {
                if rng.below(3) == 0 {
                    keys.finish();
                }
                keys.now += TICK_MS;
                while keys.due() {}
                // Nothing due is left, except what a running sweep has in its hands; what one has
                // just put back too late came out with this tick.
                let excused = keys.wheel.sweep.is_some() || keys.now < highest + TICK_MS;
                assert!(excused || !keys.is_late(), "seed {seed}");
            }
        }
        highest = highest.max(keys.now);
    }
    keys.finish();
    keys.now = highest + TICK_MS;
    while keys.due() {}
    assert!(!keys.is_late(), "seed {seed}");
    while let Some(next) = keys.wheel.next_ms() {
        keys.now = next.max(keys.now + 1);
        while keys.due() {}
        assert!(!keys.is_late(), "seed {seed}");
    }
    assert_eq!(
        (keys.live(), keys.wheel.len(), keys.wheel.chunks),
        (0, 0, 0),
        "seed {seed}"
    );
}

#[test]
fn no_deadline_is_forgotten_or_late() {
    match std::env::var("SEED") {
        Ok(seed) => case(seed.parse().expect("SEED is a number")),
        Err(_) => (0..if cfg!(miri) { 2 } else { 300 }).for_each(case),
    }
}

#[test]
fn a_lock_taken_again_and_again_keeps_the_index_small() {
    let mut keys = Keys::new();
    keys.due();
    let names = 1000;
    let mut most = 0;
    for round in 0..200_000u64 {
        let hash = (round % names).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        keys.deadlines.remove(&(hash & KEPT_BITS));
        keys.set(hash, Some(keys.now + 90_000_000));
        if round % 16 == 0 {
            keys.now += 1;
            keys.due();
            if keys.wheel.wants_sweep(names as usize) {
                keys.sweep();
            }
        }
        most = most.max(keys.wheel.len());
    }
    assert!(most < 40_000, "{most} registrations for {names} keys");
    keys.finish();
    assert_eq!(keys.live(), names as usize);
}

#[test]
fn one_call_does_a_bounded_piece() {
    let mut keys = Keys::new();
    keys.due();
    for n in 0..100_000u64 {
        keys.set(
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            Some(START + 50_000 + n as i64 % 900),
        );
    }
    let per_word = keys.wheel.bytes() as f64 / 1e5;
    assert!(per_word < 8.6, "{per_word} bytes a registration");
    keys.now = START + 60_000;
    let mut calls = 1;
    while keys.due() {
        calls += 1;
    }
    assert!(
        (100_000 / BATCH..100_000 / BATCH + 400).contains(&calls),
        "{calls} calls"
    );
    assert!(keys.deadlines.is_empty() && keys.wheel.is_empty());
}

#[test]
fn what_is_registered_as_due_now_waits_for_the_next_tick() {
    let (mut wheel, mut out) = (Wheel::new(), Vec::new());
    wheel.register(7, START - 1000);
    assert!(!wheel.due(START, &mut out));
    assert_eq!(out, [7]);
    wheel.register(7, START - 1000);
    assert!(!wheel.due(START, &mut out) && out.is_empty());
    assert!(!wheel.due(START + TICK_MS, &mut out));
    assert_eq!((out.len(), wheel.len()), (1, 0));
}

#[test]
fn clear_gives_all_memory_back() {
    let mut wheel = Wheel::new();
    let mut out = Vec::new();
    wheel.due(START, &mut out);
    (0..1000).for_each(|n| wheel.register(n, START + n as i64 * 100_000));
    wheel.clear();
    assert_eq!((wheel.bytes(), wheel.len(), wheel.next_ms()), (0, 0, None));
    wheel.register(1, START + 5);
    assert!(!wheel.due(START + 50, &mut out) && out == [1]);
}
