//! What a change of the configuration does outside the state: sockets, limits, the process.
//!
//! Before a CONFIG SET holds, [`hook`] does what can fail and be undone, and tries what cannot (listening). Once it
//! holds, `Server::reconfigure` does the rest, before the reply goes out.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use super::listen::{follow, try_tcp};
use super::turn::{Server, TOKEN_LISTENERS};
use super::{absent, boot, logging, tls};
use crate::base::{alloc, sys};
use crate::persist::aof::files::{Logged, read_manifest};
use crate::persist::{aof, rewrite};
use crate::state::aof::Mode;
use crate::state::config::title::process_title;
use crate::state::config::{Caller, Config, Key, oom};
use crate::state::{ApplyConfig, State};
use mio::Token;
use oom::adjust_oom_score;

/// Where the process id goes when a daemon is not told otherwise.
const DAEMON_PIDFILE: &str = "/var/run/redis.pid";

/// What the process is to do first: where it works, how it is called, how the system sees it.
pub fn at_start(config: &mut Config, config_file: Option<&Path>) {
    // It existed a moment ago, when the configuration was read.
    if let Err(error) = std::env::set_current_dir(&config.dir.0) {
        log::warn!("Can't chdir to '{}': {error}", config.dir.0.display());
    }
    if config.daemonize && config.pidfile.is_none() {
        config.pidfile = Some(DAEMON_PIDFILE.as_bytes().to_vec());
    }
    for (directive, reason) in config.without_effect() {
        log::warn!("{} has no effect: {reason}", directive.name);
    }
    set_title(config, config_file);
    if let Err(error) = adjust_oom_score(config, oom::Role::of(config)) {
        log::warn!("Unable to write oom_score_adj: {error}");
    }
    alloc::set_background_threads(config.jemalloc_bg_thread);
}

/// Writes the process id where it is wanted; as in Redis a failure stops nothing.
pub fn write_pidfile(config: &Config) {
    let Some(path) = &config.pidfile else {
        return;
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    if let Err(error) = std::fs::write(path, format!("{}\n", sys::pid())) {
        log::warn!("Failed to write PID file: {error}");
    }
}

/// Shows the process under its title.
fn set_title(config: &Config, config_file: Option<&Path>) {
    // The first title overwrites the arguments that the name is read from.
    static PROGRAM: OnceLock<String> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let name = std::env::args_os().next().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    if config.set_proc_title
        && let Err(error) = sys::set_title(&process_title(config, program, config_file))
    {
        log::debug!("Can't set the process title: {error}");
    }
}

/// Does what a change needs outside and can be refused for.
pub fn hook() -> Box<ApplyConfig> {
    // A refusal is followed by the way back, where there is nothing to try: those sockets are open.
    let mut refused = false;
    Box::new(move |state: &mut State, caller, (old, new), changed| {
        let undoing = std::mem::take(&mut refused);
        // Every step is taken even after a failure: going back runs through here too, and must undo them all.
        let mut outcome = Ok(());
        let mut refuse = |key, reason: String| {
            if outcome.is_ok() {
                outcome = Err((key, reason));
            }
        };
        const NOT_THIS_PORT: &str = "Unable to listen on this port. Check server logs.";
        let ports = [(Key::port, new.port), (Key::tls_port, new.tls_port)];
        if !undoing && new.port != 0 && new.port == new.tls_port {
            let key = ports.iter().find(|(key, _)| changed.has(*key));
            if let Some((key, port)) = key {
                log::warn!(
                    "port and tls-port can't both be {port}: one connection is either plain or not"
                );
                refuse(*key, NOT_THIS_PORT.to_owned());
            }
        }
        for (key, port) in ports {
            if !undoing
                && changed.any(&[key, Key::bind])
                && let Err(text) = try_tcp(new, old, port)
            {
                log::warn!("{text}");
                match changed.has(key) {
                    true => refuse(key, NOT_THIS_PORT.to_owned()),
                    false => refuse(
                        Key::bind,
                        "Failed to bind to specified addresses.".to_owned(),
                    ),
                }
            }
        }
        if let Err((key, why)) = tls::setup::change(state, new, changed, undoing) {
            refuse(key, why);
        }
        if let Some((key, why)) = absent::refused(new)
            && changed.has(key)
        {
            refuse(key, why.to_owned());
        }
        if changed.has(Key::maxclients)
            && let Err(most) = fit_clients(new.maxclients)
        {
            refuse(
                Key::maxclients,
                format!(
                    "The operating system is not able to handle the specified number of clients, try with {most}"
                ),
            );
        }
        if !undoing && changed.has(Key::dir) && old.appendonly && new.appendonly {
            // Its files stay where they are: the next ones would be in another place, and no server finds both.
            refuse(
                Key::dir,
                "the append only file is in the old one, set appendonly to no first".to_owned(),
            );
        }
        if changed.has(Key::dir)
            && let Err(error) = std::env::set_current_dir(&new.dir.0)
        {
            refuse(Key::dir, crate::base::sys::strerror(&error));
        }
        if changed.any(&[Key::oom_score_adj, Key::oom_score_adj_values])
            && let Err(error) = adjust_oom_score(new, oom::Role::of(new))
        {
            log::warn!("Unable to write oom_score_adj: {error}");
            let key = match changed.has(Key::oom_score_adj) {
                true => Key::oom_score_adj,
                false => Key::oom_score_adj_values,
            };
            refuse(
                key,
                "Failed to set current oom_score_adj. Check server logs.".to_owned(),
            );
        }
        // Another directory may have an AOF of its own, whose files are not to be written over.
        let mut manifest = None;
        if changed.has(Key::dir) {
            match read_manifest(&*state.disk, new) {
                Ok(read) => manifest = Some(read),
                Err(Logged) => refuse(
                    Key::dir,
                    "Its AOF manifest can't be used. Check server logs.".to_owned(),
                ),
            }
        }
        // Last: it is not begun where something else is refused.
        if changed.has(Key::appendonly)
            && outcome.is_ok()
            && switch_aof(state, caller, new).is_err()
        {
            outcome = Err((
                Key::appendonly,
                "Unable to turn on AOF. Check server logs.".to_owned(),
            ));
        }
        if let Some(manifest) = manifest
            && outcome.is_ok()
            && state.aof.mode != Mode::On
        {
            state.aof.manifest = manifest;
        }
        refused = !undoing && outcome.is_err();
        outcome
    })
}

/// Begins or ends the AOF, as it is not yet.
fn switch_aof(state: &mut State, caller: Caller, new: &Config) -> Result<(), Logged> {
    if new.appendonly == state.aof.enabled() {
        return Ok(());
    }
    if !new.appendonly {
        aof::switch::stop(state);
        return Ok(());
    }
    // What else is changed by the same request holds for it already.
    let old = std::mem::replace(&mut state.config, new.clone());
    let outcome = aof::switch::start(state, caller.transaction);
    state.config = old;
    outcome
}

/// Makes room for so many clients, or tells how many there is room for.
fn fit_clients(clients: u32) -> Result<(), u64> {
    let wanted = u64::from(clients) + boot::RESERVED_FDS;
    let limit = sys::nofile_limit().unwrap_or(1024);
    if limit >= wanted {
        return Ok(());
    }
    match sys::raise_nofile(wanted).unwrap_or(limit) {
        got if got >= wanted => Ok(()),
        got => Err(got.saturating_sub(boot::RESERVED_FDS)),
    }
}

impl Server {
    /// Follows what CONFIG SET has changed since the last time.
    pub(super) fn reconfigure(&mut self) {
        let changed = std::mem::take(&mut self.state.wanted.changed);
        // Keys that are no longer in use are not kept.
        self.state.tls.before = None;
        if changed.any(&[Key::port, Key::tls_port, Key::bind]) {
            self.reopen_tcp();
        }
        let config = &self.state.config;
        if changed.has(Key::loglevel) {
            logging::set_level(config.loglevel);
        }
        if changed.any(&[Key::watchdog_period, Key::hz]) {
            super::watchdog::set_period(config.watchdog_period, config.hz);
        }
        if changed.any(&[Key::crash_log_enabled, Key::use_exit_on_panic]) {
            super::crash::configure(config.crash_log_enabled, config.use_exit_on_panic);
        }
        if changed.has(Key::jemalloc_bg_thread) {
            alloc::set_background_threads(config.jemalloc_bg_thread);
        }
        if changed.any(&[
            Key::proc_title_template,
            Key::port,
            Key::bind,
            Key::tls_port,
        ]) {
            set_title(config, self.state.run.config_file.as_deref());
        }
        if changed.has(Key::aof_disable_auto_gc) {
            rewrite::settle(&mut self.state);
            // That it failed is in the log.
            let _ = aof::files::remove_history(&mut self.state);
        }
        let config = &self.state.config;
        if changed.has(Key::hz) {
            // Otherwise the new pace would begin after one more turn at the old one.
            self.next_cron_us = 0;
        }
        if changed.has(Key::replicaof)
            && let Err(error) = adjust_oom_score(config, oom::Role::of(config))
        {
            log::warn!("Unable to write oom_score_adj: {error}");
        }
    }

    /// Listens where the configuration says now. That it can was tried when the change was accepted; what is open
    /// there stays open, with those who wait to be accepted.
    fn reopen_tcp(&mut self) {
        let registry = self.poll.registry();
        for listener in &mut self.listeners {
            // A socket that is not polled is not an error worth more than leaving it.
            let _ = listener.deregister(registry);
        }
        let open = std::mem::take(&mut self.listeners);
        let config = &self.state.config;
        self.listeners = follow(config, open);
        self.state.run.tcp_port = config.main_port();
        self.accepting.clear();
        for (at, listener) in self.listeners.iter_mut().enumerate() {
            if let Err(error) = listener.register(registry, Token(TOKEN_LISTENERS + at)) {
                log::warn!("Can't poll a listening socket: {error}");
            }
            // Edge-triggered: who came in between announces itself no second time.
            self.accepting.push(at);
        }
    }
}
