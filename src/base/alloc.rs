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

#[global_allocator]
static GLOBAL: CountingJemalloc = CountingJemalloc;

/// jemalloc's quantum: every block is at least so aligned.
const QUANTUM: usize = 8;
/// Above this size the class of an over-aligned block is left to jemalloc to say.
const ALIGNED_SMALL_MAX: usize = 8192;
/// jemalloc's number for "all arenas" in names of its controls (MALLCTL_ARENAS_ALL).
const ALL_ARENAS: usize = 4096;

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

/// The bytes a block of `n` bytes takes: jemalloc's size class (8, 16, 24, 32, 40, 48, 56, 64, 80,
/// 96, 112, 128, 160 .., four to a doubling).
#[inline]
pub const fn size_class(n: usize) -> usize {
    if n <= QUANTUM {
        return QUANTUM;
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
    } else if size <= ALIGNED_SMALL_MAX && align <= 4096 {
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
        // SAFETY: GlobalAlloc's caller promises a size above zero, which is all that mallocx asks.
        let block = unsafe { je::mallocx(layout.size(), flags_of(layout.align())) };
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
    /// Live allocations (as [`used`], but from jemalloc's own books, and dearer to read).
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
    let muzzy_pages = CString::new(format!("stats.arenas.{ALL_ARENAS}.pmuzzy"))
        .map_or(0, |name| ctl_get::<usize>(&name).unwrap_or(0));
    AllocStats {
        allocated: get(c"stats.allocated"),
        active: get(c"stats.active"),
        resident: get(c"stats.resident"),
        retained: get(c"stats.retained"),
        mapped: get(c"stats.mapped"),
        metadata: get(c"stats.metadata"),
        muzzy: muzzy_pages * super::sys::page_size(),
    }
}

/// jemalloc's statistics are copied to where they can be read only when the epoch is written.
fn refresh_epoch() {
    let _ = ctl_set::<u64>(c"epoch", 1);
}

/// Gives all unused dirty pages back to the kernel now (MEMORY PURGE). False if the allocator
/// refused.
pub fn purge() -> bool {
    let Ok(name) = CString::new(format!("arena.{ALL_ARENAS}.purge")) else {
        return false;
    };
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
    code == 0
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
    const TEXT: &[&[u8]] = &[
        b"version",
        b"config.malloc_conf",
        b"opt.metadata_thp",
        b"opt.dss",
        b"opt.percpu_arena",
        b"opt.mutex_max_spin",
        b"opt.junk",
        b"opt.thp",
        b"opt.zero_realloc",
        b"opt.stats_print_opts",
        b"opt.stats_interval_opts",
        b"opt.prof_prefix",
    ];
    let per_arena_dss = name.starts_with(b"arena.") && name.ends_with(b".dss");
    (TEXT.contains(&name) && name != b"opt.mutex_max_spin") || per_arena_dss
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
