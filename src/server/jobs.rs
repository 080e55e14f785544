//! The background threads: what would block the loop and owns no keyspace.
//!
//! They get ownership of what they work on and share nothing but counters and tickets. One frees values and
//! closes files whose names are gone; the other does the AOF's fsyncs, which may not stand behind a value that
//! takes seconds to free. A third one, which is there once it is needed, checks passwords: each takes tens of
//! milliseconds, and neither those nor these may stand behind each other.
use super::turn::TOKEN_WAKE;
use crate::exec::login;
use crate::state::State;
use crate::state::aof::FileJob;
use crate::state::run::{Disposal, Rubbish};
use crate::state::users::logins::{Done, Task};
use mio::{Poll, Token, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Work for a background thread.
enum Job {
    Free(Rubbish),
    File(FileJob),
    Errand(Box<dyn FnOnce() + Send>),
}

/// The sending side; dropping it lets the threads end when their work is done. The default one has none.
#[derive(Default)]
pub struct Jobs {
    frees: Option<Sender<Job>>,
    syncs: Option<Sender<Job>>,
    passwords: Option<Passwords>,
    /// What other threads wake the loop by, once one of them has to: there can be only one.
    waker: Option<Arc<Waker>>,
    processors: Option<Vec<u8>>,
    threads: Vec<JoinHandle<()>>,
}

/// The thread that checks passwords.
struct Passwords {
    tasks: Sender<Task>,
    done: Receiver<Done>,
    /// What is still to be done is of no use to anybody.
    ends: Arc<AtomicBool>,
}

impl Jobs {
    /// Starts the threads. `disposal` counts what is freed there; `processors` is where they may run.
    pub fn start(disposal: Arc<Disposal>, processors: Option<Vec<u8>>) -> std::io::Result<Self> {
        let mut threads = Vec::new();
        let mut start = |name: &str| {
            let (sender, receiver) = channel::<Job>();
            let disposal = disposal.clone();
            let processors = processors.clone();
            let thread = Builder::new().name(name.to_owned()).spawn(move || {
                super::crash::own_stack();
                super::supervise::bind_to(processors.as_deref());
                for job in receiver {
                    match job {
                        Job::Free(rubbish) => rubbish.free(&disposal),
                        Job::File(job) => job.run(),
                        Job::Errand(errand) => errand(),
                    }
                }
            })?;
            threads.push(thread);
            std::io::Result::Ok(Some(sender))
        };
        let (frees, syncs) = (start("rv_background")?, start("rv_fsync")?);
        Ok(Self {
            frees,
            syncs,
            passwords: None,
            waker: None,
            processors,
            threads,
        })
    }

    /// Checks passwords there; what `wake` makes is called whenever one is done. The task comes back where
    /// there can be no such thread.
    pub fn check(
        &mut self,
        task: Task,
        wake: impl FnOnce() -> Box<dyn Fn() + Send>,
    ) -> Result<(), Task> {
        if self.passwords.is_none() {
            match Passwords::start(wake(), self.processors.clone()) {
                Ok((passwords, thread)) => {
                    self.threads.push(thread);
                    self.passwords = Some(passwords);
                }
                Err(error) => log::warn!("Can't start the thread for passwords: {error}"),
            }
        }
        match &self.passwords {
            Some(passwords) => passwords.tasks.send(task).map_err(|back| back.0),
            None => Err(task),
        }
    }

    /// What another thread wakes the loop with. Where that cannot be, the loop looks again at the next tick of
    /// its cron.
    pub(super) fn wake(&mut self, poll: &Poll) -> impl Fn() + Send + 'static {
        if self.waker.is_none() {
            match Waker::new(poll.registry(), Token(TOKEN_WAKE)) {
                Ok(waker) => self.waker = Some(Arc::new(waker)),
                Err(error) => log::warn!("Can't be woken by other threads: {error}"),
            }
        }
        let waker = self.waker.clone();
        move || {
            if let Some(waker) = &waker {
                let _ = waker.wake();
            }
        }
    }

    /// What has been checked.
    pub fn checked(&self) -> Option<Done> {
        self.passwords.as_ref()?.done.try_recv().ok()
    }

    /// Frees a value there.
    pub fn free(&self, rubbish: Rubbish) {
        send(&self.frees, Job::Free(rubbish));
    }

    /// Whatever else would hold the loop; how it went is told by a channel of its own.
    pub fn errand(&self, errand: Box<dyn FnOnce() + Send>) {
        send(&self.frees, Job::Errand(errand));
    }

    /// Work on files there; fsyncs in the order in which they come.
    pub fn file(&self, job: FileJob) {
        let sender = match job {
            FileJob::Sync(..) => &self.syncs,
            FileJob::Close(_) | FileJob::Task(_) => &self.frees,
        };
        send(sender, Job::File(job));
    }
}

impl Passwords {
    fn start(
        wake: Box<dyn Fn() + Send>,
        processors: Option<Vec<u8>>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (tasks, receiver) = channel::<Task>();
        let (sender, done) = channel::<Done>();
        let ends = Arc::new(AtomicBool::new(false));
        let stop = ends.clone();
        let thread = Builder::new()
            .name("rv_passwords".to_owned())
            .spawn(move || {
                super::crash::own_stack();
                super::supervise::bind_to(processors.as_deref());
                for task in receiver {
                    if stop.load(Relaxed) || sender.send(task.run()).is_err() {
                        return;
                    }
                    wake();
                }
            })?;
        Ok((Self { tasks, done, ends }, thread))
    }
}

/// What the thread for passwords has done.
pub(super) fn collect_passwords(state: &mut State, jobs: &Jobs) {
    while let Some(done) = jobs.checked() {
        state.logins.done(done);
    }
}

/// Hands the next password to the thread that checks them, if it is free.
pub(super) fn check_passwords(state: &mut State, jobs: &mut Jobs, poll: &Poll) {
    if !state.logins.is_busy() {
        return;
    }
    let Some(task) = login::next_task(state) else {
        return;
    };
    let wake = jobs.wake(poll);
    if let Err(task) = jobs.check(task, || Box::new(wake)) {
        // Better late than never; the next one in the next turn.
        state.logins.done(task.run());
    }
}

fn send(sender: &Option<Sender<Job>>, job: Job) {
    if let Some(sender) = sender {
        // The thread lives as long as the sender: a failed send would only drop the job here.
        let _ = sender.send(job);
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        (self.frees, self.syncs) = (None, None);
        if let Some(passwords) = self.passwords.take() {
            passwords.ends.store(true, Relaxed);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
