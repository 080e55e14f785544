//! Processor time, and where the process may run.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::base::num;

/// Whose processor time is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The whole process.
    Process,
    /// Children that have ended and been waited for.
    Children,
    /// The calling thread.
    Thread,
}

/// Processor time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In the program itself.
    pub user_us: u64,
    /// In the kernel on its behalf.
    pub sys_us: u64,
}

/// Processor time used so far; zeros if the kernel does not say.
pub fn cpu_times(who: Who) -> CpuTimes {
    let who = match who {
        Who::Process => UsageWho::RUSAGE_SELF,
        Who::Children => UsageWho::RUSAGE_CHILDREN,
        Who::Thread => UsageWho::RUSAGE_THREAD,
    };
    getrusage(who).map_or(CpuTimes::default(), |usage| CpuTimes {
        user_us: usage.user_time().num_microseconds().max(0) as u64,
        sys_us: usage.system_time().num_microseconds().max(0) as u64,
    })
}

/// Processor time of the calling thread in microseconds. A real system call (0.4 us): too dear for
/// every turn.
pub fn thread_cpu_us() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |t| {
        t.tv_sec().max(0) as u64 * 1_000_000 + t.tv_nsec().max(0) as u64 / 1000
    })
}

/// Binds the calling thread (and threads it starts later) to a list of processors such as
/// `0,2-3,8-20:2`.
pub fn set_cpu_affinity(list: &str) -> io::Result<()> {
    let set = parse_cpu_list(list)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a list of processors"))?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

fn parse_cpu_list(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in list.split(',').map(str::trim) {
        let (range, step) = match range.split_once(':') {
            Some((range, step)) => (range, parse_number(step)?),
            None => (range, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (parse_number(first)?, parse_number(last)?),
            None => (parse_number(range)?, parse_number(range)?),
        };
        if step == 0 || first > last || last >= CpuSet::count() {
            return None;
        }
        for cpu in (first..=last).step_by(step) {
            set.set(cpu).ok()?;
        }
    }
    Some(set)
}

fn parse_number(text: &str) -> Option<usize> {
    num::parse_u64_loose(text.trim().as_bytes()).and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists_are_read_as_redis_reads_them() {
        let list = |text: &str| {
            let set = parse_cpu_list(text)?;
            Some(
                (0..CpuSet::count())
                    .filter(|&n| set.is_set(n) == Ok(true))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(list("0"), Some(vec![0]));
        assert_eq!(list("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(list("1-10:3, 12"), Some(vec![1, 4, 7, 10, 12]));
        for bad in ["", "a", "1,", "3-1", "1-", "1-5:0", "99999", "-1"] {
            assert_eq!(list(bad), None, "{bad:?}");
        }
        assert!(set_cpu_affinity("x").is_err());
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = thread_cpu_us();
        while thread_cpu_us() == before {
            std::hint::spin_loop();
        }
        assert!(cpu_times(Who::Process).user_us + cpu_times(Who::Process).sys_us > 0);
        assert!(cpu_times(Who::Thread).user_us <= cpu_times(Who::Process).user_us + 1_000_000);
        let _ = cpu_times(Who::Children);
    }
}
