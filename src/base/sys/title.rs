//! The process title that `ps` and /proc/PID/cmdline show.
//!
//! Linux shows the memory where the kernel put the arguments at exec, so a title is written over
//! them, and over the environment that lies right behind when it needs more room. The environment
//! moves to the heap first.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};
use std::fs;
use std::io;
use std::sync::OnceLock;

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// The memory of arguments and environment.
#[derive(Clone, Copy, Debug)]
struct Area {
    start: usize,
    total: usize,
}

/// Shows `title` as the process's command line, cut to the room there is.
///
/// The first call must come before any thread starts, since it moves the environment, and after the
/// arguments have been read: from then on `std::env::args` gives the title.
pub fn set_title(title: &str) -> io::Result<()> {
    static AREA: OnceLock<Option<Area>> = OnceLock::new();
    let area = AREA
        .get_or_init(|| {
            let area = find_area().ok()?;
            move_environment();
            Some(area)
        })
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    write_over(area, title.as_bytes());
    Ok(())
}

fn find_area() -> io::Result<Area> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    // The second field is the program's name in parentheses, which may itself hold spaces; count
    // behind it.
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(malformed)?;
    let mut bounds = fields
        .split_whitespace()
        .skip(45)
        .map(|field| field.parse::<usize>());
    let mut bound = || {
        bounds
            .next()
            .and_then(Result::ok)
            .filter(|&n| n != 0)
            .ok_or_else(malformed)
    };
    let (arg_start, arg_end, env_start, env_end) = (bound()?, bound()?, bound()?, bound()?);
    if arg_end <= arg_start {
        return Err(malformed());
    }
    let contiguous = env_start == arg_end && env_end > env_start;
    let end = if contiguous { env_end } else { arg_end };
    Ok(Area {
        start: arg_start,
        total: end - arg_start,
    })
}

/// Copies the environment's strings to the heap, so that the memory they came in can be written
/// over. The copies live as long as the process, as C's `getenv` promises.
fn move_environment() {
    let mut moved: Vec<*mut c_char> = Vec::new();
    // SAFETY: `environ` is null or an array of NUL-terminated strings that ends with a null
    // pointer. No other thread exists yet (see `set_title`), so nobody reads or changes it
    // meanwhile.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let copy = CStr::from_ptr(*entry).to_owned();
            moved.push(copy.into_raw());
            entry = entry.add(1);
        }
        moved.push(std::ptr::null_mut());
        environ = moved.leak().as_mut_ptr();
    }
}

fn write_over(area: Area, title: &[u8]) {
    // The kernel shows the part behind the arguments only when the arguments' last byte is not NUL:
    // a title that reaches so far makes it so.
    let shown = title.len().min(area.total - 1);
    // SAFETY: the kernel says that the process's own writable stack pages from `start` on hold
    // arguments and environment, `total` bytes of them. The environment's strings have moved,
    // arguments are only read by `std::env::args`, which copies what it finds and always finds a
    // NUL before the end.
    unsafe {
        let start = std::ptr::with_exposed_provenance_mut::<u8>(area.start);
        std::ptr::write_bytes(start, 0, area.total);
        std::ptr::copy_nonoverlapping(title.as_ptr(), start, shown);
    }
}
