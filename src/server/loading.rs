//! The data set comes in while the loop runs: sockets are open, clients are answered, signals are taken.
use super::listen::Listener;
use super::supervise;
use super::turn::Server;
use crate::base::clock::mono_us;
use crate::base::sys::ticks;
use crate::exec::users::file::tell_waiting;
use crate::persist::aof::files::remove_history;
use crate::persist::aof::switch::open_at_start;
use crate::persist::load::{Failed, Loader};

/// Time for loading in a turn, microseconds.
const LOAD_US: u64 = 400;

impl Server {
    /// Begins to load the files that the configuration names; without any the server is ready.
    pub(super) fn begin_loading(&mut self) {
        match Loader::at_start(&mut self.state) {
            Ok(Some(loader)) => self.loader = Some(Box::new(loader)),
            Ok(None) => self.ready(),
            Err(failed) => self.loading_failed(&failed),
        }
    }

    /// Loads for a bounded time.
    pub(super) fn load_some(&mut self) {
        let Some(loader) = &mut self.loader else {
            return;
        };
        let until = ticks() + self.state.stats.us_to_ticks(LOAD_US);
        match loader.step(&mut self.state, &self.table, until) {
            Ok(false) => {}
            Ok(true) => {
                self.loader = None;
                self.loaded();
            }
            Err(failed) => self.loading_failed(&failed),
        }
    }

    fn loaded(&mut self) {
        let took_us = mono_us().saturating_sub(self.state.load.started_us);
        let from = if self.state.config.appendonly {
            "append only file"
        } else {
            "disk"
        };
        log::info!("DB loaded from {from}: {:.3} seconds", took_us as f64 / 1e6);
        self.ready();
    }

    /// The data set is there: from here on it is written, and clients may come.
    fn ready(&mut self) {
        let state = &mut self.state;
        let opened = open_at_start(state).and_then(|()| remove_history(state));
        if opened.is_err() {
            self.exit = Some(1);
            return;
        }
        state.settle_readers();
        tell_waiting(state);
        let kind = |listener: &Listener| match listener {
            Listener::Tcp(_) => "tcp",
            Listener::Tls(_) => "tls",
            Listener::Unix(..) => "unix",
        };
        for open in ["tcp", "unix", "tls"] {
            if self.listeners.iter().any(|listener| kind(listener) == open) {
                log::info!("Ready to accept connections {open}");
            }
        }
        if self.state.run.supervised.is_some() {
            supervise::notify(match self.state.repl.is_replica() {
                false => "STATUS=Ready to accept connections\nREADY=1\n",
                true => {
                    "STATUS=Ready to accept connections in read-only mode. Waiting for MASTER <-> REPLICA \
                     sync\nREADY=1\n"
                }
            });
        }
    }

    /// The server ends, and the last line in the log says why.
    fn loading_failed(&mut self, failed: &Failed) {
        self.loader = None;
        failed.log();
        self.exit = Some(1);
    }
}
