//! What happens by the clock, `hz` times a second: samples, timeouts.
//!
//! Each job is bounded: a part of the clients a time, a few figures a time.
use super::tls::handshake;
use super::turn::Server;
use crate::base::sys::ticks;
use crate::base::{alloc, sys};
use crate::exec::login;
use crate::persist;
use crate::state::client::client_flag;

/// Clients looked at in one cron, at least.
const CLIENTS_MIN: usize = 5;
/// With `dynamic-hz`, one cron is to look at no more clients than this: `hz` rises instead.
const CLIENTS_PER_CALL: usize = 200;
const HZ_MAX: u32 = 500;
/// Steps towards a table's right size in one cron: writes do most of them.
const IDLE_RESIZE_STEPS: usize = 64;
/// Time for the garbage of scripts in one cron, microseconds.
const SCRIPT_GARBAGE_US: u64 = 200;

impl Server {
    /// Runs the periodic jobs that are due.
    pub(super) fn cron(&mut self) {
        let now_us = self.state.clock.mono_us;
        let mut hz = self.state.config.hz;
        if self.state.config.dynamic_hz {
            while self.state.clients.len() / hz as usize > CLIENTS_PER_CALL && hz < HZ_MAX {
                hz = (hz * 2).min(HZ_MAX);
            }
        }
        self.state.run.hz = hz;
        self.next_cron_us = now_us + 1_000_000 / u64::from(hz);
        self.cron_loops += 1;

        if self.state.debug.cron_paused {
            return;
        }
        self.follow_signal();
        persist::cron::run(&mut self.state);
        let loops = self.cron_loops;
        let every = |ms: u64| loops.is_multiple_of((ms * u64::from(hz) / 1000).max(1));
        if every(100) {
            self.sample();
            self.tls_cron();
        }
        if every(1000) {
            self.sample_memory();
            persist::aof::every_second(&mut self.state);
            if let Some(carrier) = &self.state.migrations.carrier {
                carrier.tidy();
            }
            self.replicas_cron();
            self.link_cron();
            login::tell_rest(&mut self.state);
        }
        self.state.step_census();
        self.clients_cron(hz as usize);
        self.state.dbs.step_resize(IDLE_RESIZE_STEPS);
        self.state.sweep_tracking();
        self.state.scripts.note();
        let end = ticks() + self.state.stats.us_to_ticks(SCRIPT_GARBAGE_US);
        while self.state.scripts.tend() && ticks() < end {}
    }

    /// Counters and memory figures that INFO shows as of a moment ago.
    fn sample(&mut self) {
        let now_us = self.state.clock.mono_us;
        let repl = self.state.repl.figures;
        let stats = &mut self.state.stats;
        stats.instant[0].sample(stats.commands_processed, now_us);
        stats.instant[1].sample(stats.net_in + repl.net_in, now_us);
        stats.instant[2].sample(stats.net_out + repl.net_out, now_us);
        stats.instant[3].sample(stats.turns, now_us);
        stats.instant[4].sample(stats.turn_us_total, now_us);
        stats.instant[5].sample(repl.net_in, now_us);
        stats.instant[6].sample(repl.net_out, now_us);
        stats.peak_memory = stats.peak_memory.max(alloc::used());
        self.state.hotkeys.tick(self.state.clock.unix_ms);
    }

    /// Figures of the allocator and the kernel: some hundred microseconds, so once a second.
    fn sample_memory(&mut self) {
        let figures = alloc::stats();
        let stats = &mut self.state.stats;
        stats.cron_memory.rss = sys::rss_bytes();
        stats.cron_memory.allocated = figures.allocated;
        stats.cron_memory.active = figures.active;
        stats.cron_memory.resident = figures.resident;
        stats.cron_memory.retained = figures.retained;
    }

    /// Looks at a share of the clients, so that each is seen once a second.
    fn clients_cron(&mut self, hz: usize) {
        let slots = self.conns.len();
        if slots == 0 {
            return;
        }
        let share = (slots / hz).max(CLIENTS_MIN).min(slots);
        for _ in 0..share {
            self.client_cursor = (self.client_cursor + 1) % slots;
            let slot = self.client_cursor;
            if self.conns[slot].is_some() {
                self.client_cron(slot);
            }
        }
    }

    fn client_cron(&mut self, slot: usize) {
        let timeout_s = self.state.config.timeout;
        let now_ms = self.state.clock.unix_ms;
        let Some(client) = self.state.clients.at(slot) else {
            return;
        };
        let user = self.state.users.get(client.user);
        if client.authenticated && user.has_expired(now_ms / 1000) {
            log::info!("Closing a client whose user has expired");
            let id = client.id;
            self.state.close_client(id);
            return;
        }
        let exempt = client_flag::REPLICA
            | client_flag::PRIMARY
            | client_flag::BLOCKED
            | client_flag::PUBSUB
            | client_flag::MONITOR;
        if timeout_s > 0
            && client.flags & exempt == 0
            && now_ms - client.seen_ms > i64::from(timeout_s) * 1000
        {
            log::debug!("Closing idle client");
            let id = client.id;
            self.state.close_client(id);
            return;
        }
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return;
        };
        if handshake::overdue(conn, self.state.clock.mono_us / 1000) {
            log::debug!("Closing a client that has not come to the end of its TLS handshake");
            self.state.tls.handshakes_failed += 1;
            let id = conn.id;
            self.state.close_client(id);
            return;
        }
        if !conn.out.is_empty() {
            self.check_output_limit(slot);
        }
    }

    /// A child has ended: ours, or one of a process that ended before it, where this one is the first of
    /// a container.
    fn collect_children(&mut self) {
        let ours = self.state.child.as_ref().map(|child| child.pid);
        while let Ok(Some(end)) = sys::wait_child(None) {
            match &mut self.state.child {
                Some(child) if ours == Some(end.pid) => child.ended = Some(end),
                _ => log::warn!("Warning, detected child with unmatched pid: {}", end.pid),
            }
        }
        persist::cron::children(&mut self.state);
    }

    /// Signals, through the poll.
    pub(super) fn take_signals(&mut self) {
        while let Ok(Some(received)) = self.signals.next() {
            match received.signal {
                libc::SIGINT | libc::SIGTERM => self.signalled(received.signal),
                libc::SIGCHLD => self.collect_children(),
                libc::SIGHUP => self.reload_tls(),
                _ => {}
            }
        }
    }
}
