//! How many files the process may open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::machine::read_number;

/// The soft limit of open files.
pub fn nofile_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Raises the limit of open files to `want`, or as far as the kernel allows, and returns what it is
/// then. Never lowers it.
pub fn raise_nofile(want: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= want {
        return Ok(soft);
    }
    // With the privilege to raise the hard limit the kernel's own bound is the limit, without it
    // the hard limit is.
    let kernel_max = read_number("/proc/sys/fs/nr_open").unwrap_or(want);
    for best in [want, want.min(kernel_max), want.min(hard)] {
        if best > soft && setrlimit(Resource::RLIMIT_NOFILE, best, best.max(hard)).is_ok() {
            return Ok(best);
        }
    }
    Ok(soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_never_lowered() {
        let before = nofile_limit().expect("a process knows its limits");
        assert_eq!(raise_nofile(1).expect("nothing to do"), before);
        assert_eq!(nofile_limit().expect("a process knows its limits"), before);
    }
}
