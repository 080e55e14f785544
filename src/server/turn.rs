//! The loop: one thread that owns every connection and the keyspace.
//!
//! Order of a turn: poll; run ready connections under a budget; serve what other clients wait for;
//! expire under a budget; cron if due; append the AOF; write replies, once for each connection; close
//! what is to be closed; accept. The poll is edge-triggered: whatever was not taken to its end is on one of this
//! loop's own lists (`ready`, `unwritten`), since no second event tells of it.
use super::busy::Lent;
use super::carrier::Threads;
use super::conn::{Conn, Pool, Stream};
use super::flush::{POSTED_MAX, Posts};
use super::input::{READ_BYTES, Scratch};
use super::jobs::{Jobs, check_passwords, collect_passwords};
use super::link::{PrimaryLink, TOKEN_LINK};
use super::listen::Listener;
use super::replicas::{Replicas, TOKEN_SNAPSHOT};
use super::tls::handshake;
use super::tls::reload::Reload;
use crate::base::alloc;
use crate::base::clock::mono_us;
use crate::base::sys::{Signals, thread_cpu_us, ticks};
use crate::exec::registry::Registry;
use crate::exec::{login, unit};
use crate::persist::aof;
use crate::persist::load::Loader;
use crate::replication::{failover, feed, migrate, wait};
use crate::resp::reply::Writer;
use crate::state::State;
use crate::state::client::{ClientId, Peer, client_flag};
use crate::state::gate;
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Tokens of connections are their slots; these lie above all of them.
pub const TOKEN_SIGNALS: usize = usize::MAX - 1;
pub const TOKEN_WAKE: usize = usize::MAX - 2;
pub const TOKEN_LISTENERS: usize = usize::MAX - 1024;

/// Time for requests in a turn, microseconds: replies of this turn go out only at its end.
const REQUESTS_US: u64 = 400;
/// Connections with replies to write at which a turn takes on no more: a write costs more than a
/// small request.
const UNWRITTEN_MAX: usize = 64;
/// With `appendfsync always` a turn takes so many times the requests and replies: they share its fsync.
const GROUP_COMMIT: usize = 4;
/// Time for expiring keys in a turn, microseconds.
const EXPIRE_US: u64 = 300;
/// Due keys are looked for this often, microseconds.
const EXPIRE_EVERY_US: u64 = 10_000;
/// A turn longer than this is looked at by the thread's own CPU clock.
const LONG_TURN_US: u64 = 500;
/// The thread's CPU clock was read at most so long before a turn: what a long one is charged too much
/// at most. A read costs 0.4 microseconds.
const CPU_MARK_US: u64 = 200;
/// Connections accepted in a turn from one listener.
const ACCEPTS_MAX: usize = 64;
/// Time for accepting in a turn, microseconds.
const ACCEPT_US: u64 = 200;
/// Time for telling blocked clients that their time is up in a turn, microseconds.
const TIMEOUTS_US: u64 = 200;
/// Time for clients whose passwords were checked in a turn, microseconds.
const LOGINS_US: u64 = 200;
/// Time for closing connections in a turn, microseconds.
const CLOSE_US: u64 = 200;
/// Pause after accepting failed for want of descriptors.
const ACCEPT_RETRY_US: u64 = 100_000;

/// The server: sockets on one side, state on the other.
pub struct Server {
    pub state: State,
    pub table: Arc<Registry>,
    pub(super) poll: Poll,
    pub(super) signals: Signals,
    /// By slot, as `state.clients`.
    pub(super) conns: Vec<Option<Conn>>,
    pub(super) listeners: Vec<Listener>,
    pub(super) jobs: Jobs,
    pub(super) errands: Threads,
    pub(super) pool: Pool,
    pub(super) scratch: Scratch,
    pub(super) ready: VecDeque<usize>,
    pub(super) unwritten: Vec<usize>,
    /// Those that others sent something: written behind the replies.
    pub(super) posts: Posts,
    /// Listeners that may have more to accept.
    pub(super) accepting: Vec<usize>,
    /// No accepting before this moment (monotonic microseconds).
    pub(super) accept_after_us: u64,
    pub(super) accept_failures_logged_s: i64,
    /// Bytes the unfinished request of the connection that just ran announced.
    pub(super) missing: usize,
    /// The end of the time for requests, in ticks.
    pub(super) budget_end: u64,
    /// Connections with replies to write at which this turn takes on no more.
    pub(super) unwritten_max: usize,
    /// From here on even a batch that has begun is broken off.
    pub(super) budget_hard: u64,
    pub(super) next_cron_us: u64,
    pub(super) cron_loops: u64,
    pub(super) client_cursor: usize,
    pub(super) cpu_mark: (u64, u64),
    pub(super) more_to_expire: bool,
    pub(super) next_expire_us: u64,
    /// Keys with a deadline were there when last looked: the poll wakes up for them.
    pub(super) expiring: bool,
    /// Ticks when this turn began.
    pub(super) turn_tick: u64,
    /// What is lent while a script runs; at home otherwise.
    pub(super) lent: Option<Box<Lent>>,
    /// Certificates are being read again.
    pub(super) tls_reload: Reload,
    /// What goes to replicas.
    pub(super) replicas: Replicas,
    /// The connection to the primary.
    pub(super) link: PrimaryLink,
    /// Files are being loaded.
    pub(super) loader: Option<Box<Loader>>,
    /// The exit code, once the loop is to end.
    pub(super) exit: Option<i32>,
}

impl Server {
    /// Runs until the server is told to end; the exit code.
    pub fn run(&mut self) -> i32 {
        let mut events = Events::with_capacity(1024);
        self.scratch.read = vec![0; READ_BYTES * 2];
        self.state.run.startup_memory = alloc::used();
        if let Some(code) = self.exit {
            return code;
        }
        loop {
            let timeout = self.poll_timeout();
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::error!("Polling failed: {error}");
                return 1;
            }
            self.turn(&mut events);
            if let Some(code) = self.exit {
                return code;
            }
        }
    }

    /// How long the poll may sleep.
    fn poll_timeout(&self) -> Duration {
        if !self.ready.is_empty()
            || !self.unwritten.is_empty()
            || !self.posts.list.is_empty()
            || self.state.has_leaving()
            || self.state.logins.has_finished()
            || !self.state.closing.is_empty()
            || self.more_to_expire
            || self.state.eviction.running
            || self.state.migrations.can_begin()
            || self.replicas.more
            || self.state.tracks_too_much()
            || self.loader.as_ref().is_some_and(|l| l.wait_until_us == 0)
            || (!self.accepting.is_empty() && self.accept_after_us == 0)
        {
            return Duration::ZERO;
        }
        // The clock was read when this turn began; the ticks since then are cheaper than a second look.
        let elapsed = ticks().saturating_sub(self.turn_tick);
        let now = self.state.clock.mono_us + self.state.stats.ticks_to_us(elapsed);
        let mut until = self.next_cron_us;
        if self.accept_after_us > 0 {
            until = until.min(self.accept_after_us);
        }
        if let Some(ms) = self.state.blocked.next_deadline_ms() {
            until = until.min(ms * 1000);
        }
        if self.state.debug.active_expire && self.expiring {
            until = until.min(self.next_expire_us);
        }
        if let Some(loader) = &self.loader {
            until = until.min(loader.wait_until_us);
        } else if let Some(at) = self.link.wakes_us(&self.state) {
            until = until.min(at);
        }
        if self.state.pause.until_ms > 0 {
            let wait_ms = (self.state.pause.until_ms - self.state.clock.unix_ms).max(0) as u64;
            until = until.min(self.state.clock.mono_us + wait_ms * 1000);
        }
        Duration::from_micros(until.saturating_sub(now))
    }

    /// One turn of the loop.
    fn turn(&mut self, events: &mut Events) {
        self.state.clock.refresh();
        self.state.follow_clock();
        let started_us = self.state.clock.mono_us;
        if started_us - self.cpu_mark.0 > CPU_MARK_US {
            self.cpu_mark = (started_us, thread_cpu_us());
        }
        super::watchdog::beat(started_us);
        let start_tick = ticks();
        self.state.stats.tick = start_tick;
        self.turn_tick = start_tick;
        let commits = aof::commits_each_turn(&self.state);
        let share = if commits { GROUP_COMMIT } else { 1 };
        self.unwritten_max = UNWRITTEN_MAX * share;
        let budget = self.state.stats.us_to_ticks(REQUESTS_US * share as u64);
        self.budget_end = start_tick + budget;
        self.budget_hard = self.budget_end + budget / 2;
        let mut cause = "requests";
        self.state.begin_eviction_turn();

        self.take_events(events);
        self.resume_released();
        // Who knows of a write or of a lost link elsewhere is to find it here.
        let before = ticks();
        self.follow_primary();
        // That time is its own: clients have theirs all the same.
        let took = ticks() - before;
        self.budget_end += took;
        self.budget_hard += took;
        self.run_ready();
        if commits {
            self.gather(events);
        }
        self.serve_timeouts();
        self.resume_logins();
        self.end_pause();
        self.take_errands();

        let mut phase_us = 0;
        if self.loader.is_some() {
            let before = ticks();
            self.load_some();
            phase_us = self.state.stats.ticks_to_us(ticks() - before);
            cause = "loading";
        }
        if self.state.debug.active_expire && started_us >= self.next_expire_us {
            self.next_expire_us = started_us + EXPIRE_EVERY_US;
            self.expiring = self.state.dbs.has_deadlines();
            let before = ticks();
            self.expire_due();
            let expire_us = self.state.stats.ticks_to_us(ticks() - before);
            self.state.stats.expire_cycle_us += expire_us;
            if expire_us > phase_us {
                (phase_us, cause) = (expire_us, "expire");
            }
        }
        if self.state.eviction.running {
            let before = ticks();
            self.state.make_room();
            unit::finish(&mut self.state, &self.table);
            let evict_us = self.state.stats.ticks_to_us(ticks() - before);
            if evict_us > phase_us {
                (phase_us, cause) = (evict_us, "eviction");
            }
        }
        if started_us >= self.next_cron_us {
            let before = ticks();
            self.cron();
            let cron_us = self.state.stats.ticks_to_us(ticks() - before);
            if cron_us > phase_us {
                (phase_us, cause) = (cron_us, "cron");
            }
        }
        if !self.state.wanted.changed.is_empty() {
            self.reconfigure();
        }
        self.deliver_rest();
        let unkept = feed::end_of_turn(&mut self.state);
        // In front of all replies: with `appendfsync always` none may say what is not on disk.
        aof::end_of_turn(&mut self.state);
        if self.state.aof.fatal || self.state.repl.fatal {
            self.exit = Some(1);
            return;
        }
        if !self.state.repl.waiting.is_empty() && wait::serve(&mut self.state, &self.table) {
            self.deliver_rest();
        }
        failover::step(&mut self.state);
        self.follow_shutdown();
        self.take_wanted();
        self.flush_link();
        // In front of the replies: who is told that a connection was closed is not to see it open.
        self.close_closing();
        self.flush_some();
        self.serve_replicas();
        self.replicas.more |= unkept;
        super::flush::evict_clients(&mut self.state, &self.table);
        self.hand_over_garbage();
        self.close_closing();
        if self.state.is_short_of_memory() {
            // Else keys would go for what no client needs, and the messages about them need more of it.
            self.pool.trim();
            self.state.outbox.trim();
        }
        // Behind the closing: who leaves makes room for who comes, also at the limit of clients.
        if !self.accepting.is_empty() {
            self.accept_some();
        }

        let took_us = self.state.stats.ticks_to_us(ticks() - start_tick);
        self.state.stats.turns += 1;
        self.state.stats.turn_us_total += took_us;
        if took_us > LONG_TURN_US {
            let cause = if phase_us * 2 > took_us {
                cause
            } else {
                "requests"
            };
            self.long_turn(took_us, cause);
        }
    }

    /// A turn was long by the clock on the wall: how much of it was this thread's own?
    #[cold]
    fn long_turn(&mut self, wall_us: u64, cause: &'static str) {
        let cpu = thread_cpu_us();
        let own_us = (cpu - self.cpu_mark.1).min(wall_us);
        self.cpu_mark = (mono_us(), cpu);
        self.state.stats.turn_took(own_us, cause);
        let now_s = self.state.clock.unix_ms / 1000;
        match cause {
            // The latency monitor has looked at each command already.
            "requests" | "eviction" => {}
            "expire" => self.state.latency.add("expire-cycle", now_s, own_us / 1000),
            _ => self.state.latency.add("eventloop", now_s, own_us / 1000),
        }
    }

    fn take_events(&mut self, events: &Events) {
        for event in events {
            let token = event.token().0;
            if token == TOKEN_SIGNALS {
                self.take_signals();
                continue;
            }
            if token == TOKEN_SNAPSHOT {
                self.note_snapshot();
                continue;
            }
            if token == TOKEN_LINK {
                self.link.note_event(event);
                continue;
            }
            if token >= TOKEN_LISTENERS {
                if token != TOKEN_WAKE {
                    let listener = token - TOKEN_LISTENERS;
                    if !self.accepting.contains(&listener) {
                        self.accepting.push(listener);
                    }
                }
                continue;
            }
            let Some(Some(conn)) = self.conns.get_mut(token) else {
                continue;
            };
            let told = conn.note_event(event);
            if told.readable && !conn.queued {
                conn.queued = true;
                self.ready.push_back(token);
            }
            if told.writable && !conn.unwritten {
                conn.unwritten = true;
                self.unwritten.push(token);
            }
        }
    }

    /// Runs ready connections, each at most once, while the turn's time lasts.
    fn run_ready(&mut self) {
        for _ in 0..self.ready.len() {
            if self.posts.bytes > POSTED_MAX {
                break;
            }
            let Some(slot) = self.ready.pop_front() else {
                break;
            };
            if let Some(Some(conn)) = self.conns.get_mut(slot) {
                conn.queued = false;
                let more = self.run_connection(slot);
                self.state.running = None;
                if more {
                    self.queue(slot);
                }
            }
            if self.state.wanted.shutdown.is_some() {
                // The files are closed: what is done now would be acknowledged and lost.
                break;
            }
            if ticks() > self.budget_end || self.unwritten.len() >= self.unwritten_max {
                break;
            }
        }
    }

    /// What came in while requests ran takes part in their fsync, which costs more than all of them.
    fn gather(&mut self, events: &mut Events) {
        while !self.state.prop.log.bytes.is_empty()
            && self.unwritten.len() < self.unwritten_max
            && ticks() < self.budget_end
        {
            let polled = self.poll.poll(events, Some(Duration::ZERO));
            if polled.is_err() || events.is_empty() {
                return;
            }
            self.take_events(events);
            self.resume_released();
            self.run_ready();
        }
    }

    /// Puts a connection on the list of those to run.
    pub(super) fn queue(&mut self, slot: usize) {
        if let Some(Some(conn)) = self.conns.get_mut(slot)
            && !conn.queued
        {
            conn.queued = true;
            self.ready.push_back(slot);
        }
    }

    /// Clients that were unblocked go on with their input.
    fn resume_released(&mut self) {
        while let Some(who) = self.state.resumed.pop() {
            if let Some(client) = self.state.clients.get_mut(who) {
                client.flags &= !client_flag::RESUME;
                // What it waited for may have been HELLO.
                if let Some(Some(conn)) = self.conns.get_mut(who.slot as usize) {
                    conn.out.resp3 = client.resp3;
                }
                self.queue(who.slot as usize);
            }
        }
    }

    fn serve_timeouts(&mut self) {
        if let Some(at) = self.state.blocked.next_deadline_ms()
            && at <= self.state.clock.mono_us / 1000
        {
            // Thousands at once are told over many turns.
            let end = ticks() + self.state.stats.us_to_ticks(TIMEOUTS_US);
            while unit::time_out(&mut self.state, 64) && ticks() < end {}
        }
    }

    /// Logins whose passwords were checked go on.
    fn resume_logins(&mut self) {
        if !self.state.logins.is_busy() {
            return;
        }
        collect_passwords(&mut self.state, &self.jobs);
        let end = ticks() + self.state.stats.us_to_ticks(LOGINS_US);
        while login::resume_some(&mut self.state, &self.table, 16) && ticks() < end {}
    }

    /// Errands to other servers: what has come of those under way, and new ones.
    fn take_errands(&mut self) {
        if !self.state.migrations.is_busy() && self.state.migrations.queue.is_empty() {
            return;
        }
        if self.state.migrations.can_begin() {
            // Whoever was held back until the turn before has run by now.
            migrate::begin_waiting(&mut self.state, &self.table);
        }
        // What follows from one is a change like others: none comes while there are to be none (CLIENT PAUSE).
        while !self.state.is_paused()
            && let Some((number, outcome)) = self.errands.ended()
        {
            for who in migrate::came(&mut self.state, &self.table, number, outcome) {
                self.queue(who.slot as usize);
            }
        }
        for task in std::mem::take(&mut self.state.migrations.tasks) {
            let wake = self.jobs.wake(&self.poll);
            if let Some(carrier) = &self.state.migrations.carrier {
                self.errands.start(task, carrier, wake);
            }
        }
    }

    /// CLIENT PAUSE runs out, or was ended: everybody who was held back is looked at again.
    fn end_pause(&mut self) {
        let paused = gate::PAUSED_ALL | gate::PAUSED_WRITES;
        if self.state.gate & paused == 0 {
            if self.state.pause.until_ms != 0 || self.state.pause.held != 0 {
                self.state.pause = Default::default();
                self.offer_again();
            }
            return;
        }
        if self.state.clock.unix_ms < self.state.pause.until_ms {
            return;
        }
        if self.state.pause.held != 0 {
            if self.state.pause.until_ms != 0 {
                // Reads go on, if they were held back.
                self.state.pause.until_ms = 0;
                self.state.unpause_clients();
                self.offer_again();
            }
            return;
        }
        self.state.gate &= !paused;
        self.end_pause();
    }

    /// Everybody whose request was held back may try again.
    fn offer_again(&mut self) {
        for client in self.state.clients.iter_mut() {
            client.flags &= !client_flag::POSTPONED;
        }
        for slot in 0..self.conns.len() {
            self.queue(slot);
        }
    }

    /// Removes keys whose deadline has passed, for a bounded time.
    fn expire_due(&mut self) {
        let end = ticks() + self.state.stats.us_to_ticks(EXPIRE_US);
        self.more_to_expire = false;
        loop {
            let more = self.state.expire_some(64);
            unit::finish(&mut self.state, &self.table);
            if !more || ticks() > end {
                self.more_to_expire = more;
                if more {
                    self.state.stats.expire_cap_reached += 1;
                    self.next_expire_us = 0;
                }
                return;
            }
        }
    }

    /// Delivers messages that no running command took along.
    fn deliver_rest(&mut self) {
        unit::finish(&mut self.state, &self.table);
        if self.state.tracks_too_much() {
            self.state.trim_tracking();
        }
        if self.state.has_leaving() {
            self.state.forget_leaving();
        }
        if self.state.tracking.has_pending() {
            self.state.broadcast_changes();
        }
        if !self.state.outbox.is_empty() {
            let nobody = ClientId {
                slot: u32::MAX,
                serial: 0,
            };
            let mut out = Writer::new(false);
            super::flush::deliver(
                &mut self.state,
                &mut self.conns,
                &mut self.posts,
                nobody,
                &mut out,
            );
        }
        self.resume_released();
    }

    pub(super) fn hand_over_garbage(&mut self) {
        check_passwords(&mut self.state, &mut self.jobs, &self.poll);
        for job in self.state.aof.jobs.drain(..) {
            self.jobs.file(job);
        }
        let garbage = &mut self.state.garbage;
        for rubbish in garbage.waiting.drain(..) {
            self.jobs.free(rubbish);
        }
    }

    /// Ends the connections that are to be closed: the slots are free for others from here on, when
    /// no event of this poll can name them any more. Thousands at once are closed over many turns.
    pub(super) fn close_closing(&mut self) {
        if self.state.closing.is_empty() {
            return;
        }
        let end = ticks() + self.state.stats.us_to_ticks(CLOSE_US);
        while let Some(who) = self.state.closing.pop() {
            if let Some(mut conn) = take_conn(&mut self.conns, who, self.poll.registry()) {
                self.posts.bytes -= conn.posted_bytes;
                self.pool.give(conn.out.release());
            }
            self.state.end_session(who);
            if ticks() > end {
                return;
            }
        }
    }

    fn accept_some(&mut self) {
        if self.accept_after_us > self.state.clock.mono_us {
            return;
        }
        self.accept_after_us = 0;
        let end = ticks() + self.state.stats.us_to_ticks(ACCEPT_US);
        let mut list = std::mem::take(&mut self.accepting);
        list.retain(|listener| self.accept_from(*listener, end));
        list.append(&mut self.accepting);
        self.accepting = list;
    }

    /// Accepts from one listener until `end`, in ticks; true when there may be more.
    fn accept_from(&mut self, listener: usize, end: u64) -> bool {
        for n in 0..ACCEPTS_MAX {
            if n > 0 && ticks() > end {
                return true;
            }
            let Some(from) = self.listeners.get(listener) else {
                return false;
            };
            match accept(from) {
                Ok((stream, address)) => self.admit_connection(stream, address, listener),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => return self.accept_failed(&error),
            }
        }
        true
    }

    /// Accepting failed. Unless it was that one connection's failure nothing helps but waiting (for
    /// a descriptor, mostly): no edge will come, and asking again at once would spin.
    fn accept_failed(&mut self, error: &io::Error) -> bool {
        let now_s = self.state.clock.unix_ms / 1000;
        if now_s != self.accept_failures_logged_s {
            self.accept_failures_logged_s = now_s;
            log::warn!(
                "Accepting client connection: {}",
                crate::base::sys::strerror(error)
            );
        }
        let of_one = error.kind() == io::ErrorKind::Interrupted
            || matches!(
                error.raw_os_error(),
                Some(libc::ECONNABORTED | libc::EPROTO | libc::ENETDOWN | libc::ETIMEDOUT)
            );
        if !of_one {
            self.accept_after_us = self.state.clock.mono_us + ACCEPT_RETRY_US;
        }
        true
    }

    fn admit_connection(&mut self, stream: Stream, address: Option<SocketAddr>, listener: usize) {
        let Some(listener) = self.listeners.get(listener) else {
            return;
        };
        let registry = self.poll.registry();
        welcome(
            &mut self.state,
            &mut self.conns,
            registry,
            listener,
            stream,
            address,
        );
    }
}

/// Takes a connection that is to be closed out of its place.
pub(super) fn take_conn(
    conns: &mut [Option<Conn>],
    who: ClientId,
    registry: &mio::Registry,
) -> Option<Conn> {
    let place = conns.get_mut(who.slot as usize)?;
    let mut conn = place.take_if(|conn| conn.id == who)?;
    // What was said last is still given a chance: an error reply explains the closing.
    if !conn.out.is_empty() && !conn.blocked_write && conn.out.is_flat() {
        let _ = conn.stream.write(conn.out.head());
    }
    conn.stream.close();
    let _ = conn.stream.deregister(registry);
    Some(conn)
}

/// The next connection that waits at a listener.
pub(super) fn accept(listener: &Listener) -> io::Result<(Stream, Option<SocketAddr>)> {
    match listener {
        Listener::Tcp(l) | Listener::Tls(l) => l.accept().map(|(s, a)| (Stream::Tcp(s), Some(a))),
        Listener::Unix(l, _) => l.accept().map(|(s, _)| (Stream::Unix(s), None)),
    }
}

/// A connection came in: limits, protected mode, options, session. The slot, if it may stay.
pub(super) fn welcome(
    state: &mut State,
    conns: &mut Vec<Option<Conn>>,
    registry: &mio::Registry,
    listener: &Listener,
    mut stream: Stream,
    address: Option<SocketAddr>,
) -> Option<usize> {
    let tls = matches!(listener, Listener::Tls(_));
    if state.clients.len() >= state.config.maxclients as usize {
        state.stats.connections_refused += 1;
        if !tls {
            let _ = stream.write(b"-ERR max number of clients reached\r\n");
        }
        return None;
    }
    let peer = match (&stream, address, listener) {
        (Stream::Tcp(tcp), Some(address), _) => {
            let local = tcp.local_addr().unwrap_or(address);
            Peer::Tcp(Box::new((address, local)))
        }
        (_, _, Listener::Unix(_, path)) => Peer::Unix(path.to_string_lossy().into()),
        _ => return None,
    };
    if !tls && protected_from(state, address) {
        let _ = stream.write(PROTECTED.as_bytes());
        state.stats.connections_refused += 1;
        return None;
    }
    if let Stream::Tcp(tcp) = &stream {
        let _ = tcp.set_nodelay(true);
        keep_alive(tcp, state.config.tcp_keepalive);
    }
    let unix = matches!(stream, Stream::Unix(_));
    if tls {
        stream = handshake::begin(state, stream)?;
    }
    let fd = stream.fd();
    let id = state.open_session(peer);
    let slot = id.slot as usize;
    if conns.len() <= slot {
        conns.resize_with(slot + 1, || None);
    }
    if let Err(error) = stream.register(registry, Token(slot)) {
        log::warn!("Registering a connection: {error}");
        state.end_session(id);
        return None;
    }
    let client = state.clients.me(id);
    client.transport.fd = fd;
    if unix {
        client.flags |= client_flag::UNIX;
    }
    if tls {
        client.flags |= client_flag::TLS | client_flag::HANDSHAKE;
    } else {
        state.stats.connections += 1;
    }
    conns[slot] = Some(Conn::new(id, stream));
    state.weigh(id);
    Some(slot)
}

/// Protected mode: without a password only this machine may connect.
pub(super) fn protected_from(state: &State, address: Option<SocketAddr>) -> bool {
    state.config.protected_mode
        && state.users.default_user().nopass
        && address.is_some_and(|a| !a.ip().to_canonical().is_loopback())
}

/// Sets keepalive so that a dead peer is noticed about `seconds` after its last sign of life.
fn keep_alive(tcp: &mio::net::TcpStream, seconds: u32) {
    if seconds == 0 {
        return;
    }
    let interval = (seconds / 3).max(1);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(seconds)))
        .with_interval(Duration::from_secs(u64::from(interval)))
        .with_retries(3);
    let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
}

pub(super) const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. If you want to connect from external computers to Redis you may adopt \
one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET \
protected-mode no' from the loopback interface by connecting to Redis from the same host the \
server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. \
Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the \
protected mode by editing the Redis configuration file, and setting the protected mode option to \
'no', and then restarting the server. 3) If you started the server manually just for testing, \
restart it with the '--protected-mode no' option. 4) Set up an authentication password for the \
default user. NOTE: You only need to do one of the above things in order for the server to start \
accepting connections from the outside.\r\n";
