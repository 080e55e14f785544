//! The cheapest clock there is: the processor's counter, about 8 ns a read where the system's
//! clock takes 27. It times single commands; how long a tick is is measured at the start.
#![allow(unsafe_code)]

use crate::base::clock::mono_ns;

/// Ticks of the processor's counter since some moment.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the counter, and reading it touches no memory.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: the virtual counter may be read at every level and touches no memory.
        unsafe {
            std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack));
        }
        ticks
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        mono_ns()
    }
}

/// How long the two clocks are compared, nanoseconds.
const COMPARED_NS: u64 = 10_000_000;
/// Looks at both of them for one moment.
const LOOKS: usize = 32;

/// Ticks for one microsecond, measured against the monotonic clock for ten milliseconds.
pub fn measure_ticks_per_us() -> f64 {
    let look = || (ticks(), mono_ns(), ticks());
    let moment = || closest((0..LOOKS).map(|_| look()));
    let (start_ns, start) = moment();
    while mono_ns() - start_ns < COMPARED_NS {
        std::hint::spin_loop();
    }
    let (end_ns, end) = moment();
    let (elapsed_ns, elapsed) = (end_ns - start_ns, end.wrapping_sub(start));
    (elapsed as f64 * 1000.0 / elapsed_ns as f64).max(0.001)
}

/// Of looks at both clocks (ticks, nanoseconds, ticks again) the moment of the one that took least: nanoseconds
/// and ticks. Whoever loses the processor between two clocks has seen two moments, and all budgets of the
/// server would be too small or too large by a factor of any size, for as long as it runs.
fn closest(looks: impl Iterator<Item = (u64, u64, u64)>) -> (u64, u64) {
    looks
        .min_by_key(|(before, _, after)| after.wrapping_sub(*before))
        .map_or((0, 0), |(before, ns, _)| (ns, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_was_interrupted_counts_for_nothing() {
        let looks = [
            (1_000, 10, 900_000),
            (910_000, 800_000, 910_100),
            (920_000, 10, 980_000),
        ];
        assert_eq!(closest(looks.into_iter()), (800_000, 910_000));
    }

    #[test]
    fn the_rate_is_that_of_the_clocks() {
        let rate = measure_ticks_per_us();
        let again = measure_ticks_per_us();
        assert!((rate / again - 1.0).abs() < 0.05, "{rate} and {again}");
    }
}
