//! The end of the server: by SHUTDOWN, SIGTERM or SIGINT.
//!
//! SHUTDOWN ends it with the turn. A signal only schedules the end; the cron follows, so that
//! SHUTDOWN ABORT can still be faster, as in Redis.
use super::turn::Server;
use crate::base::alloc;
use crate::persist::shutdown::{By, Verdict, follow, prepare};
use crate::replication::feed;
use crate::state::config::ShutdownFlags;
use crate::state::run::Shutdown;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

impl Server {
    /// SIGINT and SIGTERM ask for an orderly end; a SIGINT behind either one for an end at once.
    pub(super) fn signalled(&mut self, signal: i32) {
        let (name, flags) = if signal == libc::SIGINT {
            ("SIGINT", self.state.config.shutdown_on_sigint)
        } else {
            ("SIGTERM", self.state.config.shutdown_on_sigterm)
        };
        let loading = self.state.is_loading();
        let waits = self.state.wanted.shutdown_waiting.is_some();
        let wanted = &mut self.state.wanted.shutdown_by_signal;
        if signal == libc::SIGINT && (wanted.is_some() || waits) {
            log::warn!("You insist... exiting now.");
            self.exit = Some(1);
            return;
        }
        if loading {
            // Half a data set is not saved (see `prepare`); but by the time this is followed it may be whole,
            // with writes of clients in it.
            log::warn!("Received shutdown signal during loading, scheduling shutdown.");
        } else {
            log::warn!("Received {name} scheduling shutdown...");
        }
        let save = if flags.has(ShutdownFlags::SAVE) {
            Some(true)
        } else if flags.has(ShutdownFlags::NOSAVE) {
            Some(false)
        } else {
            None
        };
        *wanted = Some(Shutdown {
            save,
            now: flags.has(ShutdownFlags::NOW),
            force: flags.has(ShutdownFlags::FORCE),
        });
    }

    /// Does what a signal asked for, unless SHUTDOWN ABORT was faster.
    pub(super) fn follow_signal(&mut self) {
        let Some(how) = self.state.wanted.shutdown_by_signal.take() else {
            return;
        };
        if prepare(&mut self.state, how, By::Signal) == Verdict::Ready {
            self.shut_down();
        }
    }

    /// An end that waits for replicas comes, or waits on.
    pub(super) fn follow_shutdown(&mut self) {
        if self.state.wanted.shutdown_waiting.is_some() && follow(&mut self.state) == Verdict::Ready
        {
            self.shut_down();
        }
    }

    /// What commands asked for, at the end of the turn.
    pub(super) fn take_wanted(&mut self) {
        if self.state.wanted.shutdown.take().is_some() {
            self.shut_down();
        }
        if std::mem::take(&mut self.state.wanted.purge) {
            self.pool.clear();
            alloc::purge();
        }
    }

    /// Ends the server in order: replies go out, files that only a living server has are removed.
    fn shut_down(&mut self) {
        let config = &self.state.config;
        for (file, what) in [
            (&config.pidfile, "pid"),
            (&config.unixsocket, "unix socket"),
        ] {
            if let Some(path) = file.as_deref().filter(|path| !path.is_empty()) {
                log::info!("Removing the {what} file.");
                let _ = std::fs::remove_file(OsStr::from_bytes(path));
            }
        }
        self.link.remove_file(&self.state);
        // First: whoever sees the end of a connection must not get another one.
        self.listeners.clear();
        feed::end_of_turn(&mut self.state);
        self.tell_replicas_the_rest();
        self.flush_all();
        log::warn!("Redis is now ready to exit, bye bye...");
        self.exit = Some(0);
    }
}
