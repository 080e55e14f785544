//! What there is to know about the machine: names, sizes and the kernel's settings.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::sync::OnceLock;

use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, gethostname, sysconf};

/// Bytes of a page of memory.
pub fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| sysconf_or(SysconfVar::PAGE_SIZE, 4096))
}

/// Bytes of physical memory; 0 if unknown.
pub fn total_system_memory() -> u64 {
    sysconf_or(SysconfVar::_PHYS_PAGES, 0) as u64 * page_size() as u64
}

fn sysconf_or(name: SysconfVar, default: usize) -> usize {
    sysconf(name)
        .ok()
        .flatten()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(default)
}

/// The machine's name in the network; empty if unknown.
pub fn hostname() -> String {
    gethostname().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

/// Kernel, release and architecture, as INFO's `os` shows them: `Linux 6.1.0 x86_64`.
pub fn os_description() -> String {
    uname().map_or(String::new(), |names| {
        let [kernel, release, machine] =
            [names.sysname(), names.release(), names.machine()].map(|s| s.to_string_lossy());
        format!("{kernel} {release} {machine}")
    })
}

/// The kernel's bound for the queue of connections that wait to be accepted; `None` if it does not
/// say.
pub fn somaxconn() -> Option<u64> {
    read_number("/proc/sys/net/core/somaxconn")
}

/// The kernel's rule for promising more memory than there is (0, 1 or 2): with 0 a fork of a large
/// process may fail.
pub fn overcommit_memory() -> Option<u64> {
    read_number("/proc/sys/vm/overcommit_memory")
}

/// True if the kernel hands out huge pages unasked.
pub fn thp_is_always() -> bool {
    fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
        .is_ok_and(|text| text.contains("[always]"))
}

/// Reads a setting of the kernel that is one number.
pub(super) fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Fills a buffer from the kernel's generator.
pub fn random_bytes(out: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: the pointer and length describe a buffer that is borrowed for the call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
            continue;
        }
        filled += n as usize;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(page_size().is_power_of_two());
        assert!(total_system_memory() > 1 << 24);
        assert!(!hostname().is_empty());
        assert!(os_description().starts_with("Linux "));
        assert!(somaxconn().is_none_or(|n| n > 0));
        assert!(overcommit_memory().is_none_or(|n| (0..=2).contains(&n)));
        let _ = thp_is_always();
    }

    #[test]
    fn random_bytes_fill_the_buffer() {
        let mut bytes = [0; 4096];
        random_bytes(&mut bytes).expect("the kernel has random bytes");
        assert!(bytes.chunks(64).all(|chunk| chunk.iter().any(|&b| b != 0)));
        random_bytes(&mut []).expect("nothing to do");
    }
}
