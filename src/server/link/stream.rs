//! The stream of changes: read, applied as far as the turn has time, and handed on as it came.
use super::{Around, Lost, Phase, PrimaryLink, READ_MAX};
use crate::base::sys::ticks;
use crate::exec::registry::Registry;
use crate::persist::aof::replay::{Progress, Replay, Why};
use crate::state::State;
use crate::state::aof::Mode;
use crate::state::client::{ClientId, Peer, client_flag};
use crate::state::gate;
use crate::state::prop::push_request;
use crate::state::repl::Link;
use std::net::SocketAddr;

/// Requests between two looks at the time: behind a fork each may touch two pages that are to be copied first.
const WORK: usize = 64;
/// Bytes that are read while nothing may be applied.
const AHEAD_MAX: usize = 1 << 20;

/// The stream, and the session under which it is applied.
pub(super) struct Stream {
    pub(super) me: ClientId,
    replay: Replay,
    /// The primary is told how far this server is.
    pub(super) acknowledges: bool,
}

impl Stream {
    /// Begins with these bytes.
    pub(super) fn begin(
        state: &mut State,
        table: &Registry,
        ends: (SocketAddr, SocketAddr),
        input: Vec<u8>,
    ) -> Stream {
        let me = state.open_session(Peer::Tcp(Box::new(ends)));
        let (now_us, offset) = (state.clock.mono_us, state.repl.offset);
        let mut db = 0;
        if let Some(upstream) = &mut state.repl.upstream {
            upstream.link = Link::Connected;
            upstream.client = Some(me);
            upstream.heard_us = now_us;
            upstream.down_since_s = 0;
            upstream.read_offset = offset + input.len() as u64;
            db = upstream.db;
        }
        let client = state.clients.me(me);
        client.flags |= client_flag::PRIMARY;
        client.authenticated = true;
        client.gate = 0;
        state.settle_role();
        // What it says of databases holds as long as it lasts.
        let file_databases = state
            .repl
            .upstream
            .as_ref()
            .map_or(0, |up| up.file_databases);
        state.groups.file_databases = file_databases;
        let known = state.db_of_file(db as usize);
        state.clients.me(me).db = known.unwrap_or(0) as u32;
        let mut replay = Replay::of_primary(table, db as usize, known);
        replay.feed(&input);
        Stream {
            me,
            replay,
            acknowledges: true,
        }
    }

    /// Has somebody closed it (CLIENT KILL, REPLICAOF)?
    pub(super) fn is_closed(&self, state: &State) -> bool {
        let client = state.clients.get(self.me);
        client.is_none_or(|client| client.has(client_flag::CLOSE_NOW))
    }

    /// The connection is gone.
    pub(super) fn end(self, state: &mut State) {
        if let Some(upstream) = &mut state.repl.upstream
            && upstream.client == Some(self.me)
        {
            upstream.client = None;
        }
        state.close_client(self.me);
    }
}

impl PrimaryLink {
    /// Applies what has come in.
    pub(super) fn apply(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        self.held = is_held(around.state);
        if self.held {
            return self.read_ahead(around);
        }
        let Phase::Stream(stream) = std::mem::take(&mut self.phase) else {
            return Ok(false);
        };
        let mut stream = stream;
        let result = self.apply_some(around, &mut stream);
        self.phase = Phase::Stream(stream);
        result
    }

    /// Nothing is applied now: a bounded part of what comes is read all the same, so that the primary gets rid
    /// of it, and its end is noticed.
    fn read_ahead(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let room = AHEAD_MAX.saturating_sub(self.input.len());
        if room > 0 {
            let got = self.fill(around, room.min(READ_MAX)).map_err(ended)?;
            note_read(around.state, got);
        }
        Ok(false)
    }

    fn apply_some(&mut self, around: &mut Around<'_>, stream: &mut Stream) -> Result<bool, Lost> {
        loop {
            let progress = run(around, stream);
            if std::mem::take(&mut stream.replay.asked) {
                self.acknowledge_of(around.state, stream);
            }
            match progress? {
                Progress::More => {
                    if ticks() > around.until {
                        self.more = true;
                        return Ok(false);
                    }
                    continue;
                }
                Progress::Hungry => {}
            }
            if !self.input.is_empty() {
                stream.replay.feed(&std::mem::take(&mut self.input));
                continue;
            }
            let room = stream.replay.wants().min(READ_MAX);
            let mut result = Ok(0);
            stream.replay.feed_with(|window| {
                result = self.read_into(around, window, room);
            });
            let got = result.map_err(ended)?;
            if got == 0 {
                self.more = false;
                return Ok(false);
            }
            note_read(around.state, got);
            if let Some(client) = around.state.clients.get_mut(stream.me) {
                client.net_in += got as u64;
                client.seen_ms = around.state.clock.unix_ms;
            }
            // What comes may be one long request, of which nothing runs for a while.
            if ticks() > around.until {
                self.more = true;
                return Ok(false);
            }
        }
    }

    fn acknowledge_of(&mut self, state: &State, stream: &Stream) {
        if stream.acknowledges {
            push_ack(state, &mut self.out);
        }
    }
}

/// Is nothing to be changed for now?
pub(super) fn is_held(state: &State) -> bool {
    state.is_paused() || state.gate & gate::BUSY_SCRIPT != 0
}

fn note_read(state: &mut State, bytes: usize) {
    if let Some(upstream) = &mut state.repl.upstream {
        upstream.read_offset += bytes as u64;
    }
}

fn ended(why: String) -> Lost {
    log::debug!("Reading from master: {why}");
    Lost(String::new())
}

/// Runs some requests; what has run goes into this server's own stream as it came.
fn run(around: &mut Around<'_>, stream: &mut Stream) -> Result<Progress, Lost> {
    let state = &mut *around.state;
    let file_databases = state
        .repl
        .upstream
        .as_ref()
        .map_or(0, |up| up.file_databases);
    let before = std::mem::replace(&mut state.groups.file_databases, file_databases);
    let running = state.running.replace(stream.me);
    state.stats.tick = ticks();
    state.repl.applying = true;
    let result = stream.replay.step(state, around.table, stream.me, WORK);
    state.repl.applying = false;
    state.running = running;
    state.groups.file_databases = before;
    let base = state.repl.offset;
    let hidden = stream.replay.take_hidden();
    state.repl.append(stream.replay.take_done());
    for (from, to) in hidden {
        state.repl.hide(base + from as u64, base + to as u64);
    }
    result.map_err(|error| {
        if let Why::Fatal(why) = &error.why {
            log::error!("{why}");
            state.repl.fatal = true;
            return Lost(String::new());
        }
        // From here on nothing of it can be told apart.
        if let Some(upstream) = &mut state.repl.upstream {
            upstream.resumes = false;
        }
        Lost(format!("Protocol error from the master: {error}"))
    })
}

/// Appends what tells the primary how far this server is.
pub(super) fn push_ack(state: &State, out: &mut Vec<u8>) {
    let offset = state.repl.offset.to_string();
    let on_disk = state.aof.synced.stream.min(state.repl.offset).to_string();
    let told = [
        b"REPLCONF",
        &b"ACK"[..],
        offset.as_bytes(),
        b"FACK",
        on_disk.as_bytes(),
    ];
    // Who has no file has nothing on disk to speak of (WAITAOF).
    let words = if state.aof.mode == Mode::On { 5 } else { 3 };
    push_request(out, &told[..words]);
}
