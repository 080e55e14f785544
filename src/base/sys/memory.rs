//! The process's memory as the kernel sees it, and hints about it.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::io::Read;

use super::machine::page_size;

/// Asks the processor to load the cache line at an address. Only a hint: any address, also a stale
/// or null one, is fine, since nothing is read.
#[inline(always)]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance::<i8>(address));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction never faults, whatever the address, and touches no register or flag.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) address,
            options(nostack, readonly, preserves_flags),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Bytes of the process in physical memory; 0 if the kernel does not say.
pub fn rss_bytes() -> usize {
    // Read on every cron tick, so without an allocation: the second number of statm, in pages.
    let mut buffer = [0; 128];
    let read = fs::File::open("/proc/self/statm").and_then(|mut file| file.read(&mut buffer));
    let Ok(n) = read else { return 0 };
    let pages = buffer[..n]
        .split(|&b| b == b' ')
        .nth(1)
        .and_then(crate::base::num::parse_u64);
    pages.unwrap_or(0) as usize * page_size()
}

/// The largest [`rss_bytes`] there has been; 0 if the kernel does not say.
pub fn peak_rss() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    sum_kib(&status, "VmHWM:")
}

/// Bytes of pages that belong to this process alone and have been written: in a forked child, what
/// copy-on-write has cost so far.
pub fn private_dirty_bytes() -> usize {
    // The rolled-up file costs one walk instead of a line for each mapping; old kernels do not have
    // it.
    let maps = fs::read_to_string("/proc/self/smaps_rollup")
        .or_else(|_| fs::read_to_string("/proc/self/smaps"));
    sum_kib(&maps.unwrap_or_default(), "Private_Dirty:")
}

/// Adds up all lines of the form `<field>   <n> kB`, in bytes.
fn sum_kib(text: &str, field: &str) -> usize {
    let sizes = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(field)?;
        rest.split_whitespace().next()?.parse::<usize>().ok()
    });
    sizes.sum::<usize>() * 1024
}

/// Keeps the kernel from giving this process huge pages: they make copy-on-write and first touches
/// dearer.
pub fn disable_thp() -> io::Result<()> {
    Ok(nix::sys::prctl::set_thp_disable(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_figures_are_plausible() {
        let rss = rss_bytes();
        assert!(rss > 100_000, "{rss}");
        assert!(peak_rss() > 100_000);
        assert!(private_dirty_bytes() > 10_000);
    }

    #[test]
    fn lines_in_kib_are_added_up() {
        let text = "Rss: 10 kB\nPrivate_Dirty:  4 kB\nPrivate_Dirty: 8 kB\nPrivate_Dirty: x\n";
        assert_eq!(sum_kib(text, "Private_Dirty:"), 12 * 1024);
        assert_eq!(sum_kib("", "Private_Dirty:"), 0);
    }

    #[test]
    fn any_address_may_be_prefetched() {
        let here = 0u64;
        for address in [0, 1, usize::MAX, (&raw const here).addr()] {
            prefetch(address);
        }
    }
}
