//! The one place that forks: a child writes a file from a copy of the data set as it is now.
//!
//! A shared reference to the state and a plain function go in, so that a child can change nothing and
//! captures nothing. It never logs (a lock another thread held would stay locked), keeps no descriptor
//! but its way back, and ends with `_exit`. What it has to say comes through a pipe: progress, the
//! memory its copy costs, why it failed. SIGUSR1 ends it without that being an error.
//!
//! It ends with the server, too: a server that is started anew must not find a file replaced by an
//! older one, by a child of the one before it.
//!
//! Where a disk is none of the machine's ([`Disk::outlives_fork`](crate::base::disk::Disk)), the job
//! runs in place, at once; its end is collected later, like a child's.
use crate::base::clock::mono_us;
use crate::base::sys::{self, ChildEnd, Forked};
use crate::state::State;
use crate::state::config::oom::{Role, adjust_oom_score};
use crate::state::persistence::{Child, ChildKind, Progress};
use std::io::{self, Cursor, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

/// What a child does. The order is a small description of what is wanted.
pub type Job<O> = fn(&State, &O, &mut Reporter<'_>) -> io::Result<()>;

/// A child that was told to end, and ends for no other reason.
pub const STOPPED: i32 = libc::SIGUSR1;

/// A child that has ended.
#[derive(Debug)]
pub struct Ended {
    pub child: Child,
    pub end: ChildEnd,
}

impl Ended {
    /// Has it done what it was for?
    pub fn succeeded(&self) -> bool {
        self.end.code == 0 && self.end.signal == 0
    }

    /// Was it told to end?
    pub fn was_stopped(&self) -> bool {
        self.end.signal == STOPPED
    }
}

/// Begins a job in a child; its process. There must be no other child.
pub fn start<O: ?Sized>(
    state: &mut State,
    kind: ChildKind,
    job: Job<O>,
    order: &O,
) -> io::Result<i32> {
    start_with(state, kind, job, order, None)
}

/// The same for a child that keeps a descriptor of its order's.
pub fn start_with<O: ?Sized>(
    state: &mut State,
    kind: ChildKind,
    job: Job<O>,
    order: &O,
    kept: Option<RawFd>,
) -> io::Result<i32> {
    debug_assert!(state.child.is_none(), "one child at a time");
    let keys_total = state.dbs.total_keys() as u64;
    if !state.disk.outlives_fork() {
        return Ok(run_here(state, kind, job, order, keys_total));
    }
    let (reports, mut back) = io::pipe()?;
    sys::set_nonblocking(&reports)?;
    let parent = sys::pid();
    let started_us = mono_us();
    let pid = match sys::fork()? {
        Forked::Child => {
            be_a_child(state, kind, parent, (back.as_raw_fd(), kept));
            let mut reporter = Reporter::new(&mut back, keys_total, true);
            let code = reporter.run(state, job, order);
            sys::exit_now(code)
        }
        Forked::Parent(pid) => pid,
    };
    state.forks.latest_us = mono_us().saturating_sub(started_us);
    state.stats.forks += 1;
    let (now_s, took_ms) = (state.clock.unix_ms / 1000, state.forks.latest_us / 1000);
    state.latency.add("fork", now_s, took_ms);
    adopt(state, kind, pid, keys_total, Box::new(reports), None);
    Ok(pid)
}

/// Does the job in this process.
fn run_here<O: ?Sized>(
    state: &mut State,
    kind: ChildKind,
    job: Job<O>,
    order: &O,
    keys: u64,
) -> i32 {
    let mut told = Vec::new();
    let code = Reporter::new(&mut told, keys, false).run(state, job, order);
    let end = ChildEnd {
        pid: sys::pid(),
        code,
        signal: 0,
    };
    adopt(
        state,
        kind,
        end.pid,
        keys,
        Box::new(Cursor::new(told)),
        Some(end),
    );
    end.pid
}

fn adopt(
    state: &mut State,
    kind: ChildKind,
    pid: i32,
    keys_total: u64,
    reports: Box<dyn Read>,
    ended: Option<ChildEnd>,
) {
    state.child = Some(Child {
        pid,
        kind,
        started_s: state.clock.unix_ms / 1000,
        started_us: state.clock.mono_us,
        progress: Progress {
            keys_total,
            ..Progress::default()
        },
        failure: None,
        reports,
        heard: Vec::new(),
        ended,
    });
    state.set_child_alive(true);
}

/// Makes a process of its own out of the copy. What fails here costs comfort, not data.
fn be_a_child(state: &State, kind: ChildKind, parent: i32, kept: (RawFd, Option<RawFd>)) {
    if sys::end_with_parent(parent).is_err() {
        sys::exit_now(1);
    }
    let _ = sys::let_through_sigusr1();
    // A connection that the server closes is closed: no copy keeps it open.
    match kept {
        (back, None) => sys::close_all_but(&[back]),
        (back, Some(kept)) => sys::close_all_but(&[back, kept]),
    }
    let config = &state.config;
    let (title, processors) = match kind {
        ChildKind::Snapshot => ("redis-rdb-bgsave", &config.bgsave_cpulist),
        ChildKind::Rewrite => ("redis-aof-rewrite", &config.aof_rewrite_cpulist),
        ChildKind::Transfer => ("redis-rdb-to-slaves", &config.bgsave_cpulist),
    };
    if config.set_proc_title {
        let _ = sys::set_title(title);
    }
    if let Some(list) = processors.as_ref().filter(|list| !list.is_empty()) {
        let _ = sys::set_cpu_affinity(&String::from_utf8_lossy(list));
    }
    let _ = adjust_oom_score(config, Role::Child);
}

/// Tells a child to end; that it has is collected later.
pub fn stop(state: &mut State, kind: ChildKind) {
    if let Some(child) = state.child.as_mut().filter(|child| child.kind == kind) {
        match &mut child.ended {
            // What was done in place is done; it counts as not done.
            Some(end) => (end.code, end.signal) = (-1, STOPPED),
            None => _ = sys::kill(child.pid, STOPPED),
        }
    }
}

/// Ends a child and waits until it is gone: from here on it changes no file any more. It counts as
/// stopped.
pub fn end(state: &mut State, kind: ChildKind) -> Option<Ended> {
    let child = state.child.as_mut().filter(|child| child.kind == kind)?;
    if child.ended.is_none() {
        // Also one that does not run (SIGSTOP) dies of this one.
        let _ = sys::kill(child.pid, libc::SIGKILL);
        let mut end = sys::wait_for_child(child.pid)
            .inspect_err(|error| log::warn!("Can't wait for the child {}: {error}", child.pid))
            .ok()?;
        if end.signal == libc::SIGKILL {
            end.signal = STOPPED;
        }
        child.ended = Some(end);
    }
    collect(state)
}

/// Takes in what the child has told since the last time.
pub fn listen(state: &mut State) {
    if let Some(child) = &mut state.child {
        hear(child);
    }
}

/// The child, if it has ended: there is none any more then.
pub fn collect(state: &mut State) -> Option<Ended> {
    let child = state.child.as_mut()?;
    let end = match child.ended {
        Some(end) => end,
        None => match sys::wait_child(Some(child.pid)) {
            Ok(end) => end?,
            Err(error) => {
                log::warn!("Can't wait for the child {}: {error}", child.pid);
                return None;
            }
        },
    };
    hear(child);
    let child = state.child.take()?;
    state.set_child_alive(false);
    if let Some(text) = &child.failure {
        log::warn!("{text}");
    }
    if child.progress.cow_at_us > 0 {
        let mib = |bytes: u64| bytes >> 20;
        log::info!(
            "Fork CoW for {}: current {} MB, peak {} MB, average {} MB",
            child.kind.name(),
            mib(child.progress.cow_now),
            mib(child.progress.cow_peak),
            mib(child.progress.cow_mean)
        );
    }
    Some(Ended { child, end })
}

/// A report is this byte and numbers, each 8 bytes, low end first; or the other and a text.
const PROGRESS: u8 = b'p';
const PROGRESS_BYTES: usize = 5 * 8;
const FAILURE: u8 = b'e';
/// No failure takes more to tell.
const FAILURE_BYTES_MAX: usize = 4096;

fn hear(child: &mut Child) {
    let mut room = [0; 4096];
    while let Ok(n) = child.reports.read(&mut room) {
        if n == 0 {
            break;
        }
        child.heard.extend_from_slice(&room[..n]);
    }
    let mut used = 0;
    while let Some(size) = take_report(&child.heard[used..], &mut child.progress) {
        let report = &child.heard[used..used + size];
        if report[0] == FAILURE {
            child.failure = Some(String::from_utf8_lossy(&report[3..]).into_owned());
        }
        used += size;
    }
    child.heard.drain(..used);
}

/// The size of the report at the front, once it is whole.
fn take_report(heard: &[u8], progress: &mut Progress) -> Option<usize> {
    let (kind, rest) = heard.split_first()?;
    if *kind == FAILURE {
        let size = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
        return (rest.len() >= 2 + size).then_some(3 + size);
    }
    let numbers = rest.get(..PROGRESS_BYTES)?;
    let mut numbers = numbers
        .chunks_exact(8)
        .map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
    let mut next = || numbers.next().unwrap_or(0);
    progress.keys_done = next();
    progress.cow_now = next();
    progress.cow_peak = next();
    progress.cow_mean = next();
    progress.cow_at_us = next();
    Some(1 + PROGRESS_BYTES)
}

/// A running child tells of itself at most so often, microseconds.
const REPORT_EVERY_US: u64 = 1_000_000;
/// Measuring the copy walks all page tables: at most one part in so many of the child's time.
const COW_SHARE: u64 = 100;

/// The child's way back to the server.
pub struct Reporter<'a> {
    out: &'a mut dyn Write,
    progress: Progress,
    /// A process of its own: memory is copied, and nobody waits for it.
    forked: bool,
    reported_us: u64,
    cow_cost_us: u64,
    cow_sum: u64,
    cow_samples: u64,
}

impl<'a> Reporter<'a> {
    fn new(out: &'a mut dyn Write, keys_total: u64, forked: bool) -> Reporter<'a> {
        Reporter {
            out,
            progress: Progress {
                keys_total,
                ..Progress::default()
            },
            forked,
            reported_us: if forked { mono_us() } else { 0 },
            cow_cost_us: 0,
            cow_sum: 0,
            cow_samples: 0,
        }
    }

    /// Does the job run in a process of its own? Else time is not to be wasted.
    pub fn is_child(&self) -> bool {
        self.forked
    }

    /// So many keys are written. Cheap: to be called every thousand keys or so.
    pub fn keys_done(&mut self, keys: u64) {
        self.progress.keys_done = keys;
        if !self.forked {
            return;
        }
        let now_us = mono_us();
        if now_us.saturating_sub(self.reported_us) >= REPORT_EVERY_US {
            self.reported_us = now_us;
            let since_us = now_us.saturating_sub(self.progress.cow_at_us);
            if since_us > self.cow_cost_us * COW_SHARE {
                self.measure();
            }
            self.report();
        }
    }

    /// How much memory exists twice.
    fn measure(&mut self) {
        let started_us = mono_us();
        let now = sys::private_dirty_bytes() as u64;
        self.cow_sum += now;
        self.cow_samples += 1;
        let progress = &mut self.progress;
        progress.cow_now = now;
        progress.cow_peak = progress.cow_peak.max(now);
        progress.cow_mean = self.cow_sum / self.cow_samples;
        progress.cow_at_us = mono_us();
        self.cow_cost_us = progress.cow_at_us.saturating_sub(started_us);
    }

    fn report(&mut self) {
        let p = &self.progress;
        let mut report = [0; 1 + PROGRESS_BYTES];
        report[0] = PROGRESS;
        let numbers = [p.keys_done, p.cow_now, p.cow_peak, p.cow_mean, p.cow_at_us];
        for (room, number) in report[1..].chunks_exact_mut(8).zip(numbers) {
            room.copy_from_slice(&number.to_le_bytes());
        }
        // Whoever does not listen any more needs no report.
        let _ = self.out.write_all(&report);
    }

    /// Runs the job and tells how it went; the exit code.
    fn run<O: ?Sized>(&mut self, state: &State, job: Job<O>, order: &O) -> i32 {
        let result = job(state, order, self);
        if self.forked {
            self.measure();
        }
        self.report();
        let Err(error) = result else { return 0 };
        let mut text = error.to_string().into_bytes();
        text.truncate(FAILURE_BYTES_MAX);
        let mut report = vec![FAILURE];
        report.extend_from_slice(&(text.len() as u16).to_le_bytes());
        report.extend_from_slice(&text);
        let _ = self.out.write_all(&report);
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::config::Config;

    fn state() -> State {
        let clock = Clock::manual(1_000_000);
        let mut state = State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0);
        state.config.set_proc_title = false;
        state.dbs.insert(0, b"k", NewValue::Int(1), None);
        state
    }

    fn run(state: &mut State, job: Job<i32>, order: i32) -> Ended {
        let pid =
            start(state, ChildKind::Snapshot, job, &order).expect("there is room for a child");
        assert!(state.child_alive && state.touch_off && state.has_child(ChildKind::Snapshot));
        let ended = wait(state);
        assert_eq!((ended.child.pid, ended.end.pid), (pid, pid));
        assert!(!state.child_alive && !state.touch_off && state.child.is_none());
        ended
    }

    fn wait(state: &mut State) -> Ended {
        loop {
            if let Some(ended) = collect(state) {
                return ended;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_child_sees_the_state_and_tells_of_itself() {
        let mut state = state();
        let ended = run(
            &mut state,
            |state, order, reporter| {
                assert!(reporter.is_child());
                reporter.keys_done(state.dbs.total_keys() as u64 + *order as u64);
                Ok(())
            },
            5,
        );
        assert!(ended.succeeded());
        let progress = ended.child.progress;
        assert_eq!((progress.keys_done, progress.keys_total), (6, 1));
        assert!(progress.cow_now > 0 && progress.cow_peak >= progress.cow_now);
        assert_eq!(state.stats.forks, 1);
    }

    #[test]
    fn a_failure_is_told_in_words() {
        let mut state = state();
        let job: Job<i32> = |_, order, _| {
            Err(io::Error::other(
                "x".repeat(*order as usize) + ": no space left",
            ))
        };
        let ended = run(&mut state, job, 3);
        assert!(!ended.succeeded() && !ended.was_stopped());
        assert_eq!(ended.child.failure.as_deref(), Some("xxx: no space left"));
        let ended = run(&mut state, job, 10_000);
        assert_eq!(ended.child.failure.map(|text| text.len()), Some(4096));
    }

    #[test]
    fn a_child_that_is_stopped_ends_for_no_other_reason() {
        let mut state = state();
        let job: Job<i32> = |_, _, _| loop {
            std::thread::park();
        };
        start(&mut state, ChildKind::Snapshot, job, &0).expect("there is room for a child");
        stop(&mut state, ChildKind::Rewrite);
        assert!(collect(&mut state).is_none(), "another one was meant");
        stop(&mut state, ChildKind::Snapshot);
        let ended = wait(&mut state);
        assert!(ended.was_stopped() && !ended.succeeded());
        start(&mut state, ChildKind::Snapshot, job, &0).expect("there is room for a child");
        assert!(end(&mut state, ChildKind::Rewrite).is_none());
        let ended = end(&mut state, ChildKind::Snapshot).expect("it is gone");
        assert!(ended.was_stopped() && state.child.is_none());
    }

    #[test]
    fn reports_come_in_pieces() {
        let mut told = Vec::new();
        let mut reporter = Reporter::new(&mut told, 9, false);
        reporter.keys_done(7);
        reporter.report();
        let mut progress = Progress::default();
        for cut in 0..told.len() {
            assert_eq!(take_report(&told[..cut], &mut progress), None);
        }
        assert_eq!(take_report(&told, &mut progress), Some(told.len()));
        assert_eq!(progress.keys_done, 7);
    }
}
