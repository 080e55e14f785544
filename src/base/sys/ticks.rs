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

/// Ticks for one microsecond, measured against the monotonic clock for ten milliseconds.
pub fn measure_ticks_per_us() -> f64 {
    let (ns, start) = (mono_ns(), ticks());
    while mono_ns() - ns < 10_000_000 {
        std::hint::spin_loop();
    }
    let (elapsed_ns, elapsed) = (mono_ns() - ns, ticks().wrapping_sub(start));
    (elapsed as f64 * 1000.0 / elapsed_ns as f64).max(0.001)
}
