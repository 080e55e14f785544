//! Processes: forking, ending, waiting, and becoming a daemon.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, RawFd};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};

/// On which side of a fork the caller woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// In the process that called; the child's id.
    Parent(i32),
    /// In the new process.
    Child,
}

/// Splits off a child process with a copy-on-write view of all memory.
///
/// Only the calling thread lives on in the child, so the child must not wait for a lock that
/// another thread may have held (the allocator's are safe: jemalloc takes and renews them around a
/// fork), must not log, and ends by [`exit_now`].
pub fn fork() -> io::Result<Forked> {
    // SAFETY: the child runs only what its one caller, the snapshot code, gives it: reading the
    // keyspace and writing to files of its own, which needs no lock but the allocator's.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw())),
        ForkResult::Child => Ok(Forked::Child),
    }
}

/// Ends the process at once: no destructors, no flush of buffers that belong to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildEnd {
    /// Which child.
    pub pid: i32,
    /// Its exit code, unless a signal killed it (then -1).
    pub code: i32,
    /// The signal that killed it, or 0.
    pub signal: i32,
}

/// Collects one child that has ended: any, or the one asked for. `None` if there is none that has
/// ended.
pub fn wait_child(pid: Option<i32>) -> io::Result<Option<ChildEnd>> {
    let who = Pid::from_raw(pid.unwrap_or(-1));
    match waitpid(who, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Ok(Some(ChildEnd {
            pid: pid.as_raw(),
            code,
            signal: 0,
        })),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Ok(Some(ChildEnd {
            pid: pid.as_raw(),
            code: -1,
            signal: signal as i32,
        })),
        Ok(_) | Err(nix::Error::ECHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until this child has ended.
pub fn wait_for_child(pid: i32) -> io::Result<ChildEnd> {
    loop {
        match waitpid(Pid::from_raw(pid), None) {
            Ok(WaitStatus::Exited(_, code)) => {
                return Ok(ChildEnd {
                    pid,
                    code,
                    signal: 0,
                });
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Ok(ChildEnd {
                    pid,
                    code: -1,
                    signal: signal as i32,
                });
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends a signal by number to a process.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    Ok(nix::sys::signal::kill(Pid::from_raw(pid), signal)?)
}

/// Ends this process when the one that forked it ends; an error where that has happened already.
pub fn end_with_parent(parent: i32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    match parent_pid() == parent {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

/// Closes every descriptor but the standard streams and one more, for a child that is to keep
/// nothing open which its parent closes. Whatever holds those descriptors must not be used again.
pub fn close_all_but(kept: &[RawFd]) {
    let close = |first: i32, last: i32| {
        if first <= last {
            // SAFETY: closes descriptors by number and touches no memory. A child calls it that runs
            // only code which opens its own and ends by `_exit`, so that no owner of one is used.
            let _ = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|fd| *fd >= 3).collect();
    kept.sort_unstable();
    let mut from = 3;
    for fd in kept {
        close(from, fd - 1);
        from = fd + 1;
    }
    close(from, i32::MAX);
}

/// Makes reads from this give an error instead of waiting.
pub fn set_nonblocking(file: &impl AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Is there a process of this number, whoever's it is?
pub fn process_runs(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None) != Err(nix::Error::ESRCH)
}

/// This process's id.
pub fn pid() -> i32 {
    unistd::getpid().as_raw()
}

/// The id of the process that started this one.
pub fn parent_pid() -> i32 {
    unistd::getppid().as_raw()
}

/// Goes on in the background: a new session without a terminal, standard streams on /dev/null,
/// working directory kept. Must be called before any thread is started, since threads do not
/// survive it. The calling process ends.
pub fn daemonize() -> io::Result<()> {
    Ok(unistd::daemon(true, false)?)
}

/// Sets which permissions new files do not get, and returns what was set before.
pub fn umask(mask: u32) -> u32 {
    nix::sys::stat::umask(Mode::from_bits_truncate(mask)).bits()
}

/// Tells the kernel how gladly to kill this process when memory runs out (-1000 never, 1000 first).
pub fn set_oom_score_adj(score: i32) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Allows a core file also after the process has changed its user.
pub fn make_dumpable() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `job` in a child and gives its end.
    fn in_child(job: fn() -> i32) -> ChildEnd {
        match fork().expect("there is room for a child") {
            Forked::Child => exit_now(job()),
            Forked::Parent(child) => loop {
                if let Some(end) = wait_child(Some(child)).expect("it is our child") {
                    assert_eq!(end.pid, child);
                    return end;
                }
                std::thread::yield_now();
            },
        }
    }

    #[test]
    fn a_childs_end_is_told() {
        let end = in_child(|| 7);
        assert_eq!((end.code, end.signal), (7, 0));
        let end = in_child(|| {
            let _ = kill(pid(), libc::SIGKILL);
            0
        });
        assert_eq!((end.code, end.signal), (-1, libc::SIGKILL));
        assert_eq!(
            wait_child(Some(end.pid)).expect("no child is no error"),
            None
        );
    }

    #[test]
    fn a_child_can_allocate() {
        let end = in_child(|| i32::from(vec![1u8; 1 << 20].iter().all(|&b| b == 1)));
        assert_eq!(end.code, 1);
    }

    #[test]
    fn the_title_is_the_command_line() {
        let end = in_child(|| {
            let long = "redvault *:6379 [cluster] ".repeat(8);
            let shown = |title: &str| {
                let set = crate::base::sys::set_title(title).is_ok();
                let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
                let line = line.trim_ascii_end();
                let text = line.split(|&b| b == 0).next().unwrap_or_default();
                set && !text.is_empty() && (title.as_bytes().starts_with(text))
            };
            let path = std::env::var_os("PATH");
            let all =
                shown("rv") && shown(&long) && shown("rv 2") && std::env::var_os("PATH") == path;
            i32::from(all)
        });
        assert_eq!(end.code, 1);
    }

    #[test]
    fn the_score_and_signals_by_number() {
        assert!(kill(pid(), 12345).is_err());
        assert!(parent_pid() > 0);
        // Raising one's own score needs no privilege; it happens in a child, so that the tests keep
        // theirs.
        let end = in_child(|| i32::from(set_oom_score_adj(500).is_ok()));
        assert_eq!(end.code, 1);
        let end = in_child(|| {
            let before = umask(0o027);
            i32::from(umask(before) == 0o027)
        });
        assert_eq!(end.code, 1);
    }
}
