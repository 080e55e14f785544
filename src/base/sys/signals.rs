//! Signals as events of the poll instead of interruptions.
//!
//! An interrupted read returns short although bytes wait, and an edge-triggered poll never tells
//! again. So the loop's thread has its signals blocked and reads them from a descriptor; threads
//! started later inherit the mask.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What is taken through the descriptor.
const TAKEN: [Signal; 5] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGCHLD,
    Signal::SIGUSR1,
];

/// The descriptor that tells of blocked signals; close-on-exec and non-blocking.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

/// One signal that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number (`libc::SIGTERM` ...).
    pub signal: i32,
    /// The process that sent it; 0 when the kernel did.
    pub from_pid: i32,
    /// The user who sent it.
    pub from_uid: u32,
}

/// Blocks SIGINT, SIGTERM, SIGHUP, SIGCHLD and SIGUSR1 in the calling thread, ignores SIGPIPE, and
/// gives the descriptor to poll instead. To be called before any thread starts, or the kernel hands
/// signals to a thread that has not blocked them.
///
/// Who starts the server may have SIGCHLD ignored, which is inherited: then the kernel collects children by
/// itself, and how they ended nobody learns.
pub fn block_signals() -> io::Result<Signals> {
    ignore_sigpipe()?;
    // SAFETY: the default action installs no code, and there is no handler whose place it takes.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let mask = taken();
    mask.thread_block()?;
    let fd = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    Ok(Signals { fd })
}

/// Undoes the blocking of SIGUSR1, for a forked child that is to die of it. The others stay blocked:
/// what ends a group of processes is its parent's affair.
pub fn let_through_sigusr1() -> io::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGUSR1);
    Ok(mask.thread_unblock()?)
}

/// Does a blocked signal wait? It stays where it is.
pub fn is_pending(signal: i32) -> bool {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the call fills the set that the second one reads; both touch nothing else.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0 && libc::sigismember(set.as_ptr(), signal) == 1
    }
}

/// Makes writing to a closed connection an error instead of the end of the process.
pub fn ignore_sigpipe() -> io::Result<()> {
    // SAFETY: ignoring a signal installs no code.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

fn taken() -> SigSet {
    TAKEN.into_iter().collect()
}

impl Signals {
    /// The next signal that is waiting, if any. Ask until `None`: the poll tells only once.
    pub fn next(&self) -> io::Result<Option<Received>> {
        let info = self.fd.read_signal()?;
        Ok(info.map(|info| Received {
            signal: info.ssi_signo as i32,
            from_pid: info.ssi_pid as i32,
            from_uid: info.ssi_uid,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_signals_wait_in_the_descriptor() {
        // In a thread of its own, since the mask stays with the thread; `raise` aims at the thread,
        // not the process.
        let seen = std::thread::spawn(|| {
            let signals = block_signals().expect("a thread may block its signals");
            assert_eq!(
                signals.next().expect("an empty descriptor is no error"),
                None
            );
            nix::sys::signal::raise(Signal::SIGUSR1).expect("a process may signal itself");
            assert!(is_pending(libc::SIGUSR1) && !is_pending(libc::SIGHUP));
            let first = signals
                .next()
                .expect("a signal waits")
                .expect("a signal waits");
            assert_eq!(
                signals.next().expect("an empty descriptor is no error"),
                None
            );
            let_through_sigusr1().expect("a thread may unblock its signals");
            first
        });
        let seen = seen.join().expect("the thread does not panic");
        assert_eq!(seen.signal, libc::SIGUSR1);
        assert_eq!(seen.from_pid, super::super::pid());
    }
}
