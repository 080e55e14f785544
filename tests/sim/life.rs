//! One life of a server: its state, its clients, and the turns of a loop that has no sockets.

use std::collections::VecDeque;
use std::sync::Arc;

use redvault::base::clock::Clock;
use redvault::base::disk::faulty::FaultyDisk;
use redvault::base::rng::Rng;
use redvault::commands::debug::digest;
use redvault::exec::process::process;
use redvault::exec::registry::Registry;
use redvault::persist::load::Loader;
use redvault::persist::{aof, cron};
use redvault::resp::reply::Writer;
use redvault::resp::request::OwnedArgv;
use redvault::server::registry;
use redvault::state::State;
use redvault::state::aof::{FileJob, Mode};
use redvault::state::client::{ClientId, Peer};
use redvault::state::config::{Appendfsync, Config};
use redvault::state::persistence::ChildKind;

use super::history::{self, Words};
use super::ledger::Ledger;
use super::machine::JOB_MS;

const CLIENTS: usize = 3;
const CRON_EVERY_MS: i64 = 100;
/// Turns that a server lives on without requests, at times: what is due by the clock is done then.
const QUIET_TURNS: u64 = 60;

pub struct Life {
    state: State,
    table: Registry,
    clients: Vec<ClientId>,
    rng: Rng,
    /// For the background thread, with the moment at which each is done.
    jobs: VecDeque<(i64, FileJob)>,
    next_cron_ms: i64,
    crons: u64,
    appendonly: bool,
    /// The newest data set when the child that lives was begun.
    child_holds: usize,
    child: Option<(ChildKind, u64)>,
    base: Vec<u8>,
    /// The newest data set that is in the file, synced or not.
    written: usize,
    pub requests: u64,
    pub rewrites: u64,
    pub snapshots: u64,
}

impl Life {
    /// Starts a server as `server::boot` does: what it is refused with, else a server that has loaded
    /// its files.
    pub fn start(
        disk: &FaultyDisk,
        config: &Config,
        now_ms: i64,
        seed: u64,
    ) -> Result<Life, String> {
        let table = registry::build(&|_| None);
        let (rng, clock) = (Rng::from_seed(seed), Clock::manual(now_ms));
        let mut state = State::new(config.clone(), rng.clone(), clock, table.rows().len(), 1.0);
        state.disk = Arc::new(disk.clone());
        state.apply_config();
        if let Some(mut loader) =
            Loader::at_start(&mut state).map_err(|failed| failed.0.join("\n"))?
        {
            loop {
                match loader.step(&mut state, &table, u64::MAX) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(failed) => return Err(failed.0.join("\n")),
                }
            }
        }
        aof::switch::open_at_start(&mut state)
            .and_then(|()| aof::files::remove_history(&mut state))
            .map_err(|_| "the AOF could not be opened")?;
        let clients = (0..CLIENTS).map(|_| state.open_session(Peer::None));
        let clients = clients.collect();
        Ok(Life {
            appendonly: state.config.appendonly,
            child: None,
            base: base_name(&state),
            state,
            table,
            clients,
            rng,
            jobs: VecDeque::new(),
            next_cron_ms: now_ms,
            crons: 0,
            child_holds: 0,
            written: 0,
            requests: 0,
            rewrites: 0,
            snapshots: 0,
        })
    }

    pub fn digest(&self) -> String {
        let digest = digest::of_all(&self.state.dbs).expect("every type has a digest");
        digest.hex()
    }

    pub fn now_ms(&self) -> i64 {
        self.state.clock.unix_ms
    }

    /// As CONFIG SET left it.
    pub fn appendonly(&self) -> bool {
        self.state.config.appendonly
    }

    /// Did the server end by itself?
    pub fn ended(&self) -> bool {
        self.state.aof.fatal
    }

    /// Lives for so many turns, or until the machine stops or the server ends by itself.
    pub fn run(&mut self, turns: u64, quiet: bool, disk: &FaultyDisk, ledger: &mut Ledger) {
        for n in 0..turns + if quiet { QUIET_TURNS } else { 0 } {
            let pause = [0, 1, 10, 50, 400, 1100][self.rng.below(6) as usize];
            self.pass(pause, ledger);
            self.turn(n < turns, ledger);
            if disk.crashed() || self.ended() {
                return;
            }
            self.acknowledged(ledger);
        }
    }

    /// Time goes by; the loop wakes up for its cron.
    fn pass(&mut self, ms: u64, ledger: &mut Ledger) {
        let mut left = ms;
        while left > CRON_EVERY_MS as u64 {
            self.state.clock.advance_ms(CRON_EVERY_MS as u64);
            self.turn(false, ledger);
            left -= CRON_EVERY_MS as u64;
        }
        self.state.clock.advance_ms(left);
    }

    fn turn(&mut self, busy: bool, ledger: &mut Ledger) {
        if self.ended() {
            // Before the next turn the process was gone.
            return;
        }
        self.run_jobs();
        if busy {
            for _ in 0..1 + self.rng.below(3) {
                let client = self.clients[self.rng.below(CLIENTS as u64) as usize];
                for request in history::batch(&mut self.rng) {
                    self.request(client, &request, ledger);
                }
            }
            if self.rng.below(8) == 0 {
                let request = history::operate(&mut self.rng);
                self.request(self.clients[0], &request, ledger);
            }
        }
        let now_ms = self.now_ms();
        if now_ms >= self.next_cron_ms {
            self.next_cron_ms = now_ms + CRON_EVERY_MS;
            self.crons += 1;
            cron::run(&mut self.state);
            if self.crons.is_multiple_of(10) {
                aof::every_second(&mut self.state);
            }
            self.look_at_children(ledger);
        }
        aof::end_of_turn(&mut self.state);
        if self.state.aof.sync_error.is_some() {
            // What the failed fsync was to bring to disk was younger than the window then, and is in memory
            // only from here on, while writes are refused: it grows no older in a promise.
            ledger.forget();
        }
        self.run_jobs();
    }

    fn request(&mut self, client: ClientId, words: &Words, ledger: &mut Ledger) {
        let argv: OwnedArgv = words.iter().map(Vec::as_slice).collect();
        let mut out = Writer::new(false);
        let row = self.table.find(argv.argv().get(0));
        let (state, table) = (&mut self.state, &self.table);
        process(state, table, row, argv.argv(), &mut out, client);
        state.outbox.drain(|_, _| {});
        self.requests += 1;
        ledger.note(self.digest());
        let reply = out.to_vec();
        if words[0] == b"SAVE" && reply == b"+OK\r\n" {
            ledger.snapshot_floor = ledger.newest();
            self.snapshots += 1;
        }
        self.look_at_children(ledger);
        if self.state.config.appendonly != self.appendonly {
            self.appendonly = self.state.config.appendonly;
            if self.appendonly {
                if aof::switch::start(&mut self.state, false).is_err() {
                    (self.state.config.appendonly, self.appendonly) = (false, false);
                }
            } else {
                aof::switch::stop(&mut self.state);
            }
        }
    }

    /// What a child that has just begun holds, and what one that has ended well has made safe.
    fn look_at_children(&mut self, ledger: &mut Ledger) {
        let state = &self.state;
        let child = state.child.as_ref();
        let child = child.map(|child| (child.kind, child.started_us));
        if child == self.child {
            return;
        }
        match self.child {
            Some((ChildKind::Snapshot, _)) => {
                let saved_ms = state.snapshots.last_save_s * 1000;
                if state.snapshots.last_ok && saved_ms + 1000 > self.now_ms() {
                    ledger.snapshot_floor = self.child_holds;
                    self.snapshots += 1;
                }
            }
            Some((ChildKind::Rewrite, _)) => {
                let base = base_name(state);
                if base != self.base && state.aof.mode == Mode::On {
                    self.base = base;
                    self.rewrites += 1;
                    ledger.aof_floor = ledger.aof_floor.max(self.child_holds);
                }
            }
            // It goes to no file.
            Some((ChildKind::Transfer, _)) | None => {}
        }
        self.child = child;
        self.child_holds = ledger.newest();
    }

    /// Replies went out.
    fn acknowledged(&mut self, ledger: &mut Ledger) {
        let (state, now_ms) = (&self.state, self.now_ms());
        if state.aof.mode != Mode::On || state.aof.sync_error.is_some() {
            return ledger.forget();
        }
        if state.aof.write_error.is_some() {
            // What was answered before the write that fails (the turn's own requests, and those of turns
            // that waited for an fsync) is kept in memory until there is space, as in Redis; from here on
            // writes are refused.
            return ledger.forget_behind(self.written);
        }
        if state.aof.waiting.is_empty() {
            self.written = ledger.newest();
        }
        ledger.acknowledge(now_ms);
        match state.config.appendfsync {
            Appendfsync::Always => ledger.settle_until(now_ms),
            Appendfsync::Everysec => ledger.settle_until(now_ms - 2000),
            Appendfsync::No => ledger.forget(),
        }
    }

    /// The background thread does what it was given, later.
    fn run_jobs(&mut self) {
        let now_ms = self.now_ms();
        for job in self.state.aof.jobs.drain(..) {
            let done_ms = now_ms + self.rng.below(JOB_MS) as i64;
            self.jobs.push_back((done_ms, job));
        }
        while self
            .jobs
            .front()
            .is_some_and(|(done_ms, _)| *done_ms <= now_ms)
        {
            if let Some((_, job)) = self.jobs.pop_front() {
                job.run();
            }
        }
    }
}

fn base_name(state: &State) -> Vec<u8> {
    let base = state.aof.manifest.base.as_ref();
    base.map(|part| part.name.clone()).unwrap_or_default()
}
