//! Files: what the standard library has no name for.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;

/// Tells the kernel to begin writing a part of a file to the disk, once the part of that length before
/// it is there. A hint: whatever the kernel answers, a sync has the last word.
pub fn begin_sync(file: &impl AsRawFd, from: u64, len: u64) {
    let fd = file.as_raw_fd();
    let range = |from: u64, flags| {
        if let (Ok(from), Ok(len)) = (i64::try_from(from), i64::try_from(len)) {
            // SAFETY: names a descriptor that is open during the call, and touches no memory.
            let _ = unsafe { libc::sync_file_range(fd, from, len, flags) };
        }
    };
    range(from, libc::SYNC_FILE_RANGE_WRITE);
    if from >= len {
        let and_wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        range(from - len, and_wait);
    }
}

/// The system's text for an error, as C programs print it.
pub fn strerror(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_string(),
        None => error.to_string(),
    }
}
