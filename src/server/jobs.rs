//! The background thread: what would block the loop and owns no keyspace.
//!
//! It gets ownership of what it works on and shares nothing but counters: values to free, files to
//! close.
use crate::state::run::Rubbish;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

/// Work for the background thread.
enum Job {
    Free(Rubbish),
    Close(std::fs::File),
}

/// The sending side; dropping it lets the thread end when its work is done.
pub struct Jobs {
    sender: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Jobs {
    /// Starts the thread. `pending` counts values handed over and not yet freed, `freed` all that
    /// were; `processors` is where it may run.
    pub fn start(
        pending: Arc<AtomicUsize>,
        freed: Arc<AtomicUsize>,
        processors: Option<Vec<u8>>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = channel::<Job>();
        let thread = Builder::new().name("rv_background".into()).spawn(move || {
            super::crash::own_stack();
            super::supervise::bind_to(processors.as_deref());
            for job in receiver {
                match job {
                    Job::Free(rubbish) => {
                        rubbish.free(&pending, &freed);
                    }
                    Job::Close(file) => drop(file),
                }
            }
        })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Frees a value there.
    pub fn free(&self, rubbish: Rubbish) {
        self.send(Job::Free(rubbish));
    }

    /// Closes a file there: closing the last reference to a deleted file can take long.
    pub fn close(&self, file: std::fs::File) {
        self.send(Job::Close(file));
    }

    fn send(&self, job: Job) {
        if let Some(sender) = &self.sender {
            // The thread lives as long as the sender: a failed send would only drop the job here.
            let _ = sender.send(job);
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
