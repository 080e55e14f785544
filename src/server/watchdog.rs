//! The watchdog (`watchdog-period`): tells while it lasts that a turn of the loop takes too long.
//!
//! A thread of its own looks at the loop's pulse. When it has stopped for a period, the loop's
//! thread is interrupted and logs where it stands (`crash::interrupt`). Off by default: it is a
//! tool for finding what holds a server up.
use super::crash;
use crate::base::clock::mono_us;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::Builder;
use std::time::Duration;

/// When the loop last began a turn, monotonic microseconds.
static BEAT_US: AtomicU64 = AtomicU64::new(0);
/// A pulse may be so old; 0: nobody looks.
static PERIOD_US: AtomicU64 = AtomicU64::new(0);
static WATCHING: AtomicBool = AtomicBool::new(false);

/// The loop begins a turn.
#[inline]
pub fn beat(now_us: u64) {
    BEAT_US.store(now_us, Relaxed);
}

/// Sets the period in milliseconds; 0 ends the watching. An idle loop turns only as often as `hz`
/// says, so a shorter period than two of those is stretched.
pub fn set_period(period_ms: u32, hz: u32) {
    let least_us = 2_000_000 / u64::from(hz.max(1));
    let period_us = match period_ms {
        0 => 0,
        ms => (u64::from(ms) * 1000).max(least_us),
    };
    PERIOD_US.store(period_us, Relaxed);
    if period_us > 0 && !WATCHING.swap(true, Relaxed) {
        let started = Builder::new().name("rv_watchdog".into()).spawn(watch);
        if let Err(error) = started {
            WATCHING.store(false, Relaxed);
            log::warn!("Can't start the watchdog: {error}");
        }
    }
}

/// Looks at the pulse until the period is 0; each stop is told once.
fn watch() {
    let mut told = 0;
    loop {
        let period_us = PERIOD_US.load(Relaxed);
        if period_us == 0 {
            WATCHING.store(false, Relaxed);
            // Switched on again in between: whoever did it saw this thread still there.
            if PERIOD_US.load(Relaxed) > 0 && !WATCHING.swap(true, Relaxed) {
                continue;
            }
            return;
        }
        let beat_us = BEAT_US.load(Relaxed);
        if is_late(beat_us, mono_us(), period_us) && told != beat_us {
            told = beat_us;
            crash::interrupt();
        }
        std::thread::sleep(Duration::from_micros((period_us / 4).clamp(1000, 100_000)));
    }
}

fn is_late(beat_us: u64, now_us: u64, period_us: u64) -> bool {
    beat_us > 0 && now_us.saturating_sub(beat_us) > period_us
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_grows_old() {
        assert!(!is_late(0, 1_000_000, 10), "the loop has not begun");
        assert!(!is_late(1000, 1200, 200));
        assert!(is_late(1000, 1201, 200));
        assert!(!is_late(1000, 900, 10));
    }
}
