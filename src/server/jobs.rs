//! The background threads: what would block the loop and owns no keyspace.
//!
//! They get ownership of what they work on and share nothing but counters and tickets. One frees values and
//! closes files whose names are gone; the other does the AOF's fsyncs, which may not stand behind a value that
//! takes seconds to free.
use crate::state::aof::FileJob;
use crate::state::run::{Disposal, Rubbish};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Work for a background thread.
enum Job {
    Free(Rubbish),
    File(FileJob),
    Errand(Box<dyn FnOnce() + Send>),
}

/// The sending side; dropping it lets the threads end when their work is done.
pub struct Jobs {
    frees: Option<Sender<Job>>,
    syncs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
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
            threads,
        })
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

fn send(sender: &Option<Sender<Job>>, job: Job) {
    if let Some(sender) = sender {
        // The thread lives as long as the sender: a failed send would only drop the job here.
        let _ = sender.send(job);
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        (self.frees, self.syncs) = (None, None);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
