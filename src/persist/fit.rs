//! Is there memory for a child? One that the kernel would kill halfway is not begun.
//!
//! A child shares its parent's memory until one of them writes. What it takes at once are page tables
//! and buffers; what it takes later is as much as the last one took, as far as anybody can know.
use crate::base::sys::{self, Available};
use crate::state::State;
use crate::state::persistence::ChildKind;
use std::io;

/// A page of memory has 8 bytes in the page tables.
const PAGE_TABLES_SHARE: u64 = 512;
/// Buffers of the writer, its stack, and what it opens.
const BUFFERS: u64 = 4 << 20;

/// Refuses where a child would plainly not fit.
pub fn check(state: &State, kind: ChildKind) -> io::Result<()> {
    if !state.disk.outlives_fork() {
        return Ok(());
    }
    let last_cow = match kind {
        ChildKind::Snapshot | ChildKind::Transfer => state.snapshots.last_cow_bytes,
        ChildKind::Rewrite => state.rewrites.last_cow_bytes,
    };
    let resident = sys::rss_bytes() as u64;
    match sys::available_memory() {
        Some(available) => fits(resident, last_cow, &available),
        // The kernel does not say: it is to decide.
        None => Ok(()),
    }
}

fn fits(resident: u64, last_cow: u64, available: &Available) -> io::Result<()> {
    let needed = resident / PAGE_TABLES_SHARE + BUFFERS + last_cow.min(resident);
    if needed <= available.bytes {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::OutOfMemory,
        format!(
            "not enough memory for a child process: it needs about {} MB, {} MB are available \
             ({})",
            needed.div_ceil(1 << 20),
            available.bytes >> 20,
            available.limit
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_does_not_fit_is_refused_with_the_limit() {
        let ask = |resident_mib: u64, cow_mib: u64, left_mib: u64| {
            let available = Available {
                bytes: left_mib << 20,
                limit: "memory limit of the control group /a".to_owned(),
            };
            fits(resident_mib << 20, cow_mib << 20, &available)
        };
        assert!(ask(1000, 0, 6).is_ok(), "page tables and buffers");
        assert!(ask(1000, 300, 306).is_ok());
        let error = ask(1000, 300, 305).expect_err("too little");
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(
            error.to_string(),
            "not enough memory for a child process: it needs about 306 MB, 305 MB are available \
             (memory limit of the control group /a)"
        );
    }
}
