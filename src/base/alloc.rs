//! The process's allocator: jemalloc with 8-byte classes, and a count of the bytes that are live.
//!
//! `maxmemory`, INFO and MEMORY need the sum of live allocations after every command, so it is
//! counted here, in size classes, as Redis counts `used_memory`. The loop's thread, which makes
//! nearly all allocations, adds to a counter of its own with plain loads and stores; all other
//! threads share one with atomic adds. A block may be freed by another thread than allocated it, so
//! each counter alone may go below zero; only their sum means something.
//!
//! Relies on `JEMALLOC_SYS_WITH_LG_QUANTUM=3` in .cargo/config.toml. With that quantum classes such
//! as 24 are only 8-aligned, so every layout with a larger alignment must say so to jemalloc.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tikv_jemalloc_sys as je;

#[cfg_attr(not(miri), global_allocator)]
#[cfg_attr(miri, allow(dead_code))]
static GLOBAL: CountingJemalloc = CountingJemalloc;

/// jemalloc's quantum: every block is at least so aligned.
const QUANTUM: usize = 8;
/// jemalloc's page; above eight of them a block is rounded up to whole pages only.
const PAGE: usize = 4096;
const CLASSED_MAX: usize = 8 * PAGE;
/// Above this size the class of an over-aligned block is left to jemalloc to say.
const ALIGNED_SMALL_MAX: usize = 8192;
/// Controls of all arenas at once: 4096 is jemalloc's number for "all" (MALLCTL_ARENAS_ALL).
const PURGE_ALL: &CStr = c"arena.4096.purge";
const MUZZY_PAGES_OF_ALL: &CStr = c"stats.arenas.4096.pmuzzy";

struct CountingJemalloc;

/// Keeps the two counters out of each other's cache line.
#[repr(align(64))]
struct Counter(AtomicUsize);

static BY_LOOP: Counter = Counter(AtomicUsize::new(0));
static BY_OTHERS: Counter = Counter(AtomicUsize::new(0));
static LOOP_CLAIMED: AtomicBool = AtomicBool::new(false);

thread_local! {
    // Constant and without destructor: reading it is one load, also while a thread starts or ends.
    static IS_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// Makes the calling thread the one that counts without locked instructions. Only the first caller
/// in a process gets it (the answer says so); a second one goes on counting with atomics, which is
/// slower but just as exact.
pub fn this_is_the_loop_thread() -> bool {
    let first = !LOOP_CLAIMED.swap(true, Relaxed);
    if first {
        IS_LOOP.set(true);
    }
    first || IS_LOOP.get()
}

/// Bytes of all live allocations, in size classes.
#[inline]
pub fn used() -> usize {
    let sum = BY_LOOP
        .0
        .load(Relaxed)
        .wrapping_add(BY_OTHERS.0.load(Relaxed));
    // Two threads in the middle of handing memory over may show a sum below zero for a moment.
    if sum > isize::MAX as usize { 0 } else { sum }
}

#[inline]
fn count(delta: usize) {
    if IS_LOOP.get() {
        // No other thread ever stores here, so nothing is lost between the load and the store.
        BY_LOOP
            .0
            .store(BY_LOOP.0.load(Relaxed).wrapping_add(delta), Relaxed);
    } else {
        BY_OTHERS.0.fetch_add(delta, Relaxed);
    }
}

/// A block that is not counted while this lives: one that is no part of the data and soon gone, so that
/// it evicts nothing.
#[derive(Debug)]
pub struct LeftOut(usize);

impl LeftOut {
    /// Leaves out what a block of `n` bytes takes.
    pub fn of(n: usize) -> Self {
        let bytes = size_class(n);
        count(bytes.wrapping_neg());
        Self(bytes)
    }
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        count(self.0);
    }
}

/// The bytes a block of `n` bytes takes: jemalloc's size class (8, 16, 24, 32, 40, 48, 56, 64, 80,
/// 96, 112, 128, 160 .., four to a doubling), and whole pages above 32 KiB.
#[inline]
pub const fn size_class(n: usize) -> usize {
    if n <= QUANTUM {
        return QUANTUM;
    }
    if n > CLASSED_MAX {
        return n.saturating_add(PAGE - 1) & !(PAGE - 1);
    }
    let doubling = (n - 1).ilog2();
    let step = if doubling < 5 {
        QUANTUM
    } else {
        1 << (doubling - 2)
    };
    (n + step - 1) & !(step - 1)
}

/// The largest request that costs no more than a request for `n`: what a growing buffer should ask
/// for.
#[inline]
pub const fn good_size(n: usize) -> usize {
    size_class(n)
}

#[inline]
fn flags_of(align: usize) -> c_int {
    if align > QUANTUM {
        je::MALLOCX_ALIGN(align)
    } else {
        0
    }
}

#[inline]
fn class_of(size: usize, align: usize) -> usize {
    if align <= QUANTUM {
        size_class(size)
    } else if size <= ALIGNED_SMALL_MAX && align <= PAGE {
        size_class((size + align - 1) & !(align - 1))
    } else {
        // SAFETY: nallocx only computes; size is at least 1 (GlobalAlloc is never asked for 0
        // bytes).
        unsafe { je::nallocx(size, je::MALLOCX_ALIGN(align)) }
    }
}

// SAFETY: every block comes from jemalloc with the layout's size and alignment and goes back with
// the same two; jemalloc never unwinds, and counting does not allocate.
unsafe impl GlobalAlloc for CountingJemalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = if layout.align() <= QUANTUM {
            // Its way for small blocks is the shorter one, and its blocks are as aligned.
            // SAFETY: malloc asks for nothing.
            unsafe { je::malloc(layout.size()) }
        } else {
            // SAFETY: GlobalAlloc's caller promises a size above zero, which is all that mallocx asks.
            unsafe { je::mallocx(layout.size(), flags_of(layout.align())) }
        };
        if !block.is_null() {
            count(class_of(layout.size(), layout.align()));
        }
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let flags = flags_of(layout.align()) | je::MALLOCX_ZERO;
        // SAFETY: as in `alloc`.
        let block = unsafe { je::mallocx(layout.size(), flags) };
        if !block.is_null() {
            count(class_of(layout.size(), layout.align()));
        }
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(class_of(layout.size(), layout.align()).wrapping_neg());
        // SAFETY: the block is live and was allocated here; its size names the same class and its
        // alignment the same flags as at allocation.
        unsafe { je::sdallocx(block.cast(), layout.size(), flags_of(layout.align())) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let old_class = class_of(layout.size(), layout.align());
        let new_class = class_of(new_size, layout.align());
        if old_class == new_class {
            // The block already has the room, and any size of the class frees it.
            return block;
        }
        // SAFETY: the block is live and was allocated here with this alignment; GlobalAlloc's
        // caller promises a new size above zero.
        let moved = unsafe { je::rallocx(block.cast(), new_size, flags_of(layout.align())) };
        if !moved.is_null() {
            count(new_class.wrapping_sub(old_class));
        }
        moved.cast()
    }
}

/// What the allocator itself says about its memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocStats {
    /// Live allocations by jemalloc's own books: [`used`] and the free blocks that threads keep at
    /// hand.
    pub allocated: usize,
    /// Pages that hold at least one live allocation.
    pub active: usize,
    /// Pages in physical memory that the allocator holds.
    pub resident: usize,
    /// Address space given back to no one, without memory behind it.
    pub retained: usize,
    /// Address space in use.
    pub mapped: usize,
    /// The allocator's own bookkeeping.
    pub metadata: usize,
    /// Pages the kernel may take but has not taken yet.
    pub muzzy: usize,
}

/// Asks the allocator for its figures as of now. It walks all arenas: call it from cron, not for
/// each command.
pub fn stats() -> AllocStats {
    refresh_epoch();
    let get = |name: &CStr| ctl_get::<usize>(name).unwrap_or(0);
    AllocStats {
        allocated: get(c"stats.allocated"),
        active: get(c"stats.active"),
        resident: get(c"stats.resident"),
        retained: get(c"stats.retained"),
        mapped: get(c"stats.mapped"),
        metadata: get(c"stats.metadata"),
        muzzy: get(MUZZY_PAGES_OF_ALL) * super::sys::page_size(),
    }
}

/// jemalloc's statistics are copied to where they can be read only when the epoch is written.
fn refresh_epoch() {
    let _ = ctl_set::<u64>(c"epoch", 1);
}

/// Gives all unused dirty pages back to the kernel now (MEMORY PURGE). False if the allocator
/// refused.
pub fn purge() -> bool {
    trigger(PURGE_ALL).is_ok()
}

fn trigger(name: &CStr) -> Result<(), CtlError> {
    // SAFETY: the name ends with NUL; a control without value takes null pointers for both
    // directions.
    let code = unsafe {
        je::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(CtlError(code))
    }
}

/// Triggers a control that takes no value (DEBUG MALLCTL-STR .. VOID), of those that only tidy up.
pub fn ctl_trigger(name: &str) -> Result<(), CtlError> {
    let tidies = name == "thread.tcache.flush"
        || name == "thread.idle"
        || (name.starts_with("arena.") && (name.ends_with(".purge") || name.ends_with(".decay")));
    let name = CString::new(name).map_err(|_| CtlError(libc::ENOENT))?;
    if !tidies {
        return Err(CtlError(libc::EPERM));
    }
    trigger(&name)
}

/// Lets jemalloc purge in threads of its own (`jemalloc-bg-thread`). False if it could not be
/// switched.
pub fn set_background_threads(on: bool) -> bool {
    ctl_set::<bool>(c"background_thread", on).is_ok()
}

/// The allocator's full report (MEMORY MALLOC-STATS).
pub fn stats_text() -> String {
    extern "C" fn append(text: *mut c_void, piece: *const c_char) {
        if !text.is_null() && !piece.is_null() {
            // SAFETY: jemalloc hands back the pointer given to it below, which outlives the call
            // and is used by nobody else meanwhile, and a text that ends with NUL.
            unsafe {
                let text = &mut *text.cast::<Vec<u8>>();
                text.extend_from_slice(CStr::from_ptr(piece).to_bytes());
            }
        }
    }
    let mut text: Vec<u8> = Vec::with_capacity(64 * 1024);
    let target = (&raw mut text).cast::<c_void>();
    // SAFETY: `append` has the type jemalloc expects and `target` points to a live vector during
    // the call.
    unsafe { je::malloc_stats_print(Some(append), target, std::ptr::null()) };
    String::from_utf8_lossy(&text).into_owned()
}

/// Why a control of the allocator could not be read or written: the error number it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtlError(pub i32);

/// Reads a number from a control by its name (DEBUG MALLCTL); controls of 1, 4 and 8 bytes are
/// understood.
pub fn ctl_read_u64(name: &str) -> Result<u64, CtlError> {
    let name = CString::new(name).map_err(|_| CtlError(libc::ENOENT))?;
    refresh_epoch();
    ctl_get::<u64>(&name)
        .or_else(|_| ctl_get::<u32>(&name).map(u64::from))
        .or_else(|_| ctl_get::<u8>(&name).map(u64::from))
}

/// Writes a number to a control by its name and width.
pub fn ctl_write_u64(name: &str, value: u64) -> Result<(), CtlError> {
    let name = CString::new(name).map_err(|_| CtlError(libc::ENOENT))?;
    match ctl_set::<u64>(&name, value) {
        Err(CtlError(libc::EINVAL)) => {}
        done => return done,
    }
    if let Ok(narrow) = u32::try_from(value) {
        match ctl_set::<u32>(&name, narrow) {
            Err(CtlError(libc::EINVAL)) => {}
            done => return done,
        }
    }
    ctl_set::<bool>(&name, value != 0)
}

/// Reads a text from a control by its name (DEBUG MALLCTL-STR).
pub fn ctl_read_str(name: &str) -> Result<String, CtlError> {
    let name = CString::new(name).map_err(|_| CtlError(libc::ENOENT))?;
    // Only controls documented to hold text are read as text: a number taken for a pointer would be
    // followed.
    if !is_text_control(name.to_bytes()) {
        return Err(CtlError(libc::EINVAL));
    }
    let text = ctl_get::<Option<&'static c_char>>(&name)?.ok_or(CtlError(libc::EFAULT))?;
    // SAFETY: jemalloc's text controls give a pointer to a constant that ends with NUL and lives as
    // long as the process.
    let text = unsafe { CStr::from_ptr(std::ptr::from_ref(text)) };
    Ok(text.to_string_lossy().into_owned())
}

fn is_text_control(name: &[u8]) -> bool {
    const TEXT: [&[u8]; 8] = [
        b"version",
        b"config.malloc_conf",
        b"opt.metadata_thp",
        b"opt.dss",
        b"opt.percpu_arena",
        b"opt.junk",
        b"opt.thp",
        b"opt.zero_realloc",
    ];
    let per_arena_dss = name.starts_with(b"arena.") && name.ends_with(b".dss");
    TEXT.contains(&name) || per_arena_dss
}

/// What may be read from or written to a control: plain values for which jemalloc checks the width.
///
/// # Safety
/// Every bit pattern jemalloc puts into a control of this width must be a value of the type.
unsafe trait CtlValue: Copy {}
// SAFETY: any bits are a number.
unsafe impl CtlValue for u64 {}
// SAFETY: any bits are a number.
unsafe impl CtlValue for u32 {}
// SAFETY: any bits are a number.
unsafe impl CtlValue for u8 {}
// SAFETY: any bits are a number.
unsafe impl CtlValue for usize {}
// SAFETY: jemalloc's one-byte controls are C's bool, which is 0 or 1; reading uses u8 all the same.
unsafe impl CtlValue for bool {}
// SAFETY: used only for controls that hold a text pointer or null (see `is_text_control`).
unsafe impl CtlValue for Option<&'static c_char> {}

fn ctl_get<T: CtlValue>(name: &CStr) -> Result<T, CtlError> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>();
    // SAFETY: the name ends with NUL and `value` has room for `len` bytes; nothing is written to
    // the control.
    let code = unsafe {
        je::mallctl(
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            &raw mut len,
            std::ptr::null_mut(),
            0,
        )
    };
    if code != 0 || len != size_of::<T>() {
        return Err(CtlError(if code == 0 { libc::EINVAL } else { code }));
    }
    // SAFETY: the control has exactly this width and wrote all of it; CtlValue promises that it is
    // a value of T.
    Ok(unsafe { value.assume_init() })
}

fn ctl_set<T: CtlValue>(name: &CStr, mut value: T) -> Result<(), CtlError> {
    // SAFETY: the name ends with NUL; jemalloc reads size_of::<T>() bytes from `value` and refuses
    // any other width.
    let code = unsafe {
        je::mallctl(
            name.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            (&raw mut value).cast(),
            size_of::<T>(),
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(CtlError(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn classes_equal_the_allocators() {
        assert_eq!(
            [1, 8, 9, 24, 33, 57, 65, 81, 129, 1025].map(size_class),
            [8, 8, 16, 24, 40, 64, 80, 96, 160, 1280]
        );
        let mut rng = Rng::from_seed(10);
        let large = (0..20_000).map(|_| ((rng.next_u64() >> 24) >> rng.below(40)) as usize + 1);
        for n in (1..40_000).chain(large) {
            // SAFETY: nallocx only computes, for any size above zero.
            let class = unsafe { je::nallocx(n, 0) };
            assert_eq!(size_class(n), class, "{n}");
            assert_eq!(size_class(class), class);
        }
        for lg in 0..16 {
            for n in (1..3_000).chain([4095, 4097, 8191, 8192, 8193, 14_336, 14_337, 65_537]) {
                // SAFETY: as above.
                let class = unsafe { je::nallocx(n, flags_of(1 << lg)) };
                assert_eq!(class_of(n, 1 << lg), class, "{n} aligned to {}", 1 << lg);
            }
        }
    }

    #[test]
    fn over_aligned_blocks_are_aligned() {
        // With 8-byte classes, 24 and 40 bytes are not 16-aligned by themselves.
        #[repr(align(16))]
        struct Wide([u8; 40]);
        let many: Vec<Box<Wide>> = (0..100).map(|i| Box::new(Wide([i; 40]))).collect();
        assert!(many.iter().all(|wide| (&raw const **wide).addr() % 16 == 0));
        assert!(many.iter().zip(0..).all(|(wide, i)| wide.0 == [i; 40]));
    }

    /// What jemalloc says the calling thread has allocated, less what it has freed.
    fn of_this_thread() -> u64 {
        let get = |name| ctl_get::<u64>(name).expect("statistics are compiled in");
        get(c"thread.allocated").wrapping_sub(get(c"thread.deallocated"))
    }

    #[test]
    fn the_loops_count_equals_jemallocs() {
        // Other tests allocate meanwhile, but only this thread adds to the loop's counter.
        if !this_is_the_loop_thread() {
            return;
        }
        let mut rng = Rng::from_seed(11);
        let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(1000);
        let start = (BY_LOOP.0.load(Relaxed) as u64, of_this_thread());
        for _ in 0..20_000 {
            let at = rng.below(1000) as usize;
            let size = (rng.next_u64() >> 48 >> rng.below(16)) as usize;
            match rng.below(4) {
                _ if at >= blocks.len() => blocks.push(vec![0; size]),
                0 => drop(blocks.swap_remove(at)),
                1 => blocks[at].resize(size, 1),
                2 => blocks[at].shrink_to(size),
                _ => blocks[at] = Vec::with_capacity(size),
            }
        }
        let end = (BY_LOOP.0.load(Relaxed) as u64, of_this_thread());
        assert_eq!(end.0.wrapping_sub(start.0), end.1.wrapping_sub(start.1));
        drop(blocks);
        assert!(used() > 0);
    }

    #[test]
    fn memory_handed_to_another_thread_is_counted_once() {
        const BIG: usize = 1 << 28;
        // Untouched pages cost nothing, and nothing else in these tests comes near this size.
        let big: Vec<u8> = Vec::with_capacity(BIG);
        assert!(used() >= BIG);
        std::thread::spawn(move || drop(big))
            .join()
            .expect("the thread only drops");
        assert!(used() < BIG);
    }

    #[test]
    fn the_allocator_answers_questions() {
        let stats = stats();
        assert!(stats.allocated > 0 && stats.allocated <= stats.active);
        assert!(stats.active <= stats.mapped && stats.resident > 0 && stats.metadata > 0);
        assert!(purge());
        assert!(stats_text().contains("Allocated: "));
        assert_eq!(ctl_read_u64("arenas.quantum"), Ok(QUANTUM as u64));
        assert!(ctl_read_u64("opt.narenas").is_ok_and(|n| n > 0));
        assert!(ctl_read_str("version").is_ok_and(|version| version.starts_with("5.")));
        assert_eq!(ctl_read_u64("no.such.thing"), Err(CtlError(libc::ENOENT)));
        assert_eq!(ctl_read_str("opt.narenas"), Err(CtlError(libc::EINVAL)));
        let decay = ctl_read_u64("arenas.dirty_decay_ms").expect("a documented control");
        assert_eq!(ctl_write_u64("arenas.dirty_decay_ms", decay), Ok(()));
    }
}
