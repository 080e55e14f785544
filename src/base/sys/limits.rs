//! How many files the process may open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit of open files.
pub fn nofile_limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Raises the limit of open files to `want`, or as far as the kernel allows, and returns what it is
/// then. Never lowers it.
pub fn raise_nofile(want: u64) -> io::Result<u64> {
    /// The kernel's bound is not told, so it is searched downward in steps that waste few files.
    const STEP: u64 = 16;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= want {
        return Ok(soft);
    }
    if setrlimit(Resource::RLIMIT_NOFILE, want, want.max(hard)).is_ok() {
        return Ok(want);
    }
    // Without the privilege to raise the hard limit, the hard limit itself is the best there is.
    let mut best = want.min(hard);
    while best > soft {
        if setrlimit(Resource::RLIMIT_NOFILE, best, hard).is_ok() {
            return Ok(best);
        }
        best = best.saturating_sub(STEP);
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
