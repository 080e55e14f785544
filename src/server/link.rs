//! The link to the primary: its socket, and what it does in each turn.
//!
//! REPLICAOF only says what is wanted (`repl.upstream`); here that is compared with what there is, and each turn
//! goes a bounded piece of the way: a name is asked for, a socket connects, lines are exchanged, a snapshot comes in
//! and is loaded, the stream is applied. Whatever goes wrong ends the connection with a line in the log, and the
//! next attempt follows, at once where a stream was lost, within a second otherwise.
mod resolve;
mod stream;
mod sync;
mod wire;

use super::spool::Wake;
use super::supervise;
use super::turn::Server;
use crate::exec::registry::Registry;
use crate::persist::aof;
use crate::replication::link::handshake::{Agreed, Handshake, Introduction, Step};
use crate::replication::link::resume;
use crate::replication::link::transfer::{Frame, frame};
use crate::replication::replicaof::follow_nobody;
use crate::state::State;
use crate::state::repl::{Link, Upstream};
use mio::event::Event;
use mio::{Registry as Sockets, Token};
use resolve::{Found, Question, resolve};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use stream::Stream;
use sync::{FromFile, FromSocket, Receiving};
use wire::Wire;
use zeroize::Zeroizing;

/// The token of its socket.
pub(super) const TOKEN_LINK: usize = usize::MAX - 4;
/// Time for the link in a turn, microseconds.
const LINK_US: u64 = 400;
/// Most bytes read at once.
const READ_MAX: usize = 256 << 10;
/// Between the beginnings of two attempts, microseconds.
const RETRY_US: u64 = 1_000_000;
/// The same where a stream was lost that had gone on where it was: as long as the primary remembers.
const AGAIN_US: u64 = 100_000;
/// While something is waited for that no event tells of, microseconds.
const LOOK_AGAIN_US: u64 = 2_000;

/// How far the link is.
#[derive(Default)]
enum Phase {
    /// Nobody is followed, or the next attempt is to come.
    #[default]
    Idle,
    Resolve(Question),
    Connect,
    Shake(Box<Handshake>),
    /// The line in front of the snapshot.
    Frame,
    Receive(Box<Receiving>),
    LoadFile(Box<FromFile>),
    LoadSocket(Box<FromSocket>),
    Stream(Box<Stream>),
}

/// The link.
#[derive(Default)]
pub(super) struct PrimaryLink {
    /// For which `Upstream` all this is; 0: for none.
    serial: u64,
    phase: Phase,
    wire: Option<Wire>,
    /// Bytes may wait in the socket.
    readable: bool,
    /// The other side has closed: no more events come, and reading goes on until it says so.
    ended: bool,
    /// The socket takes bytes, as far as is known.
    writable: bool,
    /// Came in, and not used.
    input: Vec<u8>,
    /// To be sent, from `sent` on.
    out: Zeroizing<Vec<u8>>,
    sent: usize,
    /// There is more to do than this turn had time for.
    more: bool,
    /// Nothing of the stream may be applied for now.
    held: bool,
    /// When the last attempt began, and when the next one may, monotonic microseconds.
    tried_us: u64,
    next_try_us: u64,
    /// Connections that came to nothing: a name's next address is tried then.
    unconnected: usize,
    /// The stream follows a snapshot: the primary's work should not be in vain again and again.
    anew: bool,
    /// Wakes the loop from another thread.
    wake: Option<Wake>,
    /// Of which history, and from where in it, the snapshot is that comes in.
    history: Option<(String, u64)>,
}

/// What the link works on and with.
struct Around<'a> {
    state: &'a mut State,
    table: &'a Registry,
    sockets: &'a Sockets,
    /// When the time for it is up, in ticks.
    until: u64,
}

/// Why the connection ends, for the log.
struct Lost(String);

impl From<String> for Lost {
    fn from(why: String) -> Lost {
        Lost(why)
    }
}

impl Server {
    /// A piece of the link's way.
    pub(super) fn follow_primary(&mut self) {
        if self.state.repl.upstream.is_none() && self.link.serial == 0 {
            return;
        }
        // Its own files come first.
        if self.loader.is_some() {
            return;
        }
        if self.link.wake.is_none() {
            self.link.wake = Some(Arc::new(self.jobs.wake(&self.poll)));
        }
        let budget = self.state.stats.us_to_ticks(LINK_US);
        let around = &mut Around {
            state: &mut self.state,
            table: &self.table,
            sockets: self.poll.registry(),
            until: crate::base::sys::ticks() + budget,
        };
        self.link.work(around);
    }

    /// Sends what the link has to say, behind what was written to disk.
    pub(super) fn flush_link(&mut self) {
        if let Err(Lost(why)) = self.link.send() {
            let around = &mut Around {
                state: &mut self.state,
                table: &self.table,
                sockets: self.poll.registry(),
                until: 0,
            };
            self.link.lose(around, &why);
        }
    }

    /// What the link needs by the clock: once a second.
    pub(super) fn link_cron(&mut self) {
        let around = &mut Around {
            state: &mut self.state,
            table: &self.table,
            sockets: self.poll.registry(),
            until: 0,
        };
        self.link.cron(around);
    }
}

impl PrimaryLink {
    /// The poll tells of its socket.
    pub(super) fn note_event(&mut self, event: &Event) {
        self.ended |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ended;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.more = true;
    }

    /// An event was missed: what it would have told is found out.
    pub(super) fn look_again(&mut self) {
        // An end that was not told would leave what is behind a short read unread.
        (self.readable, self.writable, self.more, self.ended) = (true, true, true, true);
    }

    /// The server ends: a file with a part of a snapshot is of no use to anybody.
    pub(super) fn remove_file(&self, state: &State) {
        let path = match &self.phase {
            Phase::Receive(receiving) => Some(receiving.path()),
            Phase::LoadFile(load) => load.path(),
            _ => None,
        };
        if let Some(path) = path {
            let _ = state.disk.remove(path);
        }
    }

    /// When it wants to be called again, monotonic microseconds; 0: at once.
    pub(super) fn wakes_us(&self, state: &State) -> Option<u64> {
        let wanted = state.repl.upstream.as_ref().map_or(0, |up| up.serial);
        if self.more || self.serial != wanted {
            return Some(0);
        }
        if self.serial == 0 {
            return None;
        }
        let now_us = state.clock.mono_us;
        match &self.phase {
            Phase::Idle => Some(self.next_try_us),
            Phase::Resolve(_) => Some(now_us + LOOK_AGAIN_US),
            Phase::Receive(receiving) => receiving.waits().then_some(now_us + LOOK_AGAIN_US),
            Phase::LoadFile(load) => Some(load.intake_waits_us().max(now_us + LOOK_AGAIN_US)),
            Phase::LoadSocket(load) => load.waits_us(),
            Phase::Stream(stream) => {
                let goes_on = self.held && !stream::is_held(state);
                (goes_on || stream.is_closed(state)).then_some(0)
            }
            _ => None,
        }
    }

    fn work(&mut self, around: &mut Around<'_>) {
        self.more = false;
        self.reconcile(around);
        if self.serial == 0 {
            return;
        }
        // A step of each kind leads to the next.
        loop {
            match self.step(around) {
                Ok(true) => {}
                Ok(false) => return,
                Err(Lost(why)) => return self.lose(around, &why),
            }
            if crate::base::sys::ticks() > around.until {
                self.more = true;
                return;
            }
        }
    }

    /// Whom to follow may have changed, and the connection may have been closed by others.
    fn reconcile(&mut self, around: &mut Around<'_>) {
        let wanted = around.state.repl.upstream.as_ref();
        let serial = wanted.map_or(0, |upstream| upstream.serial);
        if self.serial != serial {
            super::logging::set_role(if wanted.is_some() { b'S' } else { b'M' });
            self.drop_all(around);
            self.serial = serial;
            self.next_try_us = 0;
            self.announce(around.state);
            return;
        }
        if let Phase::Stream(stream) = &self.phase
            && stream.is_closed(around.state)
        {
            self.lose(around, "");
        }
    }

    fn announce(&self, state: &State) {
        if let Some(Upstream { host, port, .. }) = &state.repl.upstream {
            log::info!("Connecting to MASTER {host}:{port}");
        }
    }

    /// One step; true if another one may follow at once.
    fn step(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        match &mut self.phase {
            Phase::Idle => self.begin(around),
            Phase::Resolve(question) => match question.answer(self.unconnected) {
                None => Ok(false),
                Some(Ok(address)) => self.connect(around, address),
                Some(Err(error)) => Err(unreachable_primary(&error)),
            },
            Phase::Connect => self.connecting(around),
            Phase::Shake(_) => self.shake(around),
            Phase::Frame => self.await_frame(around),
            Phase::Receive(_) => self.receive(around),
            Phase::LoadFile(_) => self.load_file(around),
            Phase::LoadSocket(_) => self.load_socket(around),
            Phase::Stream(_) => self.apply(around),
        }
    }

    fn begin(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        if around.state.clock.mono_us < self.next_try_us {
            return Ok(false);
        }
        if self.next_try_us != 0 {
            self.announce(around.state);
        }
        let Some(upstream) = &mut around.state.repl.upstream else {
            return Ok(false);
        };
        upstream.transfer_us = around.state.clock.mono_us;
        self.tried_us = around.state.clock.mono_us;
        match resolve(&upstream.host, upstream.port).map_err(|e| unreachable_primary(&e))? {
            Found::Now(address) => self.connect(around, address),
            Found::Later(question) => {
                self.phase = Phase::Resolve(question);
                Ok(false)
            }
        }
    }

    fn connect(&mut self, around: &mut Around<'_>, to: SocketAddr) -> Result<bool, Lost> {
        self.phase = Phase::Connect;
        let config = &around.state.config;
        let from = config.bind_source_addr.as_deref();
        let from = from.and_then(|text| std::str::from_utf8(text).ok());
        let from = from.and_then(|text| text.parse().ok());
        let from = from.map(|ip| SocketAddr::new(ip, 0));
        let tls = match config.tls_replication {
            false => None,
            true => {
                let active = around.state.tls.active.as_ref();
                let outgoing = active.and_then(|active| active.outgoing.clone());
                let missing = || Lost("Unable to connect to MASTER: TLS is not set up".to_owned());
                Some(outgoing.ok_or_else(missing)?)
            }
        };
        let mut wire = Wire::connect(to, from, tls).map_err(|e| unreachable_primary(&e))?;
        let registered = wire.register(around.sockets, Token(TOKEN_LINK));
        registered.map_err(|error| unreachable_primary(&error))?;
        self.wire = Some(wire);
        (self.readable, self.writable, self.ended) = (false, false, false);
        set_link(around.state, Link::Connecting);
        log::info!("MASTER <-> REPLICA sync started");
        Ok(false)
    }

    fn connecting(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let Some(wire) = &mut self.wire else {
            return Err(Lost("there is no connection".to_owned()));
        };
        match wire.connected() {
            Ok(None) => Ok(false),
            Err(error) => Err(Lost(format!(
                "Error condition on socket for SYNC: {}",
                crate::base::sys::strerror(&error)
            ))),
            Ok(Some(_)) => {
                log::info!("Non blocking connect for SYNC fired the event.");
                let shake = Handshake::begin(introduction(around.state));
                self.phase = Phase::Shake(Box::new(shake));
                (self.readable, self.writable) = (true, true);
                set_link(around.state, Link::Handshake);
                Ok(true)
            }
        }
    }

    fn shake(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let failed = |error| Lost(format!("Failed to read response from the server: {error}"));
        let got = self.fill(around, READ_MAX).map_err(failed)?;
        let Phase::Shake(shake) = &mut self.phase else {
            return Ok(false);
        };
        let step = shake.take(&mut self.input);
        self.out.extend_from_slice(&shake.out);
        *shake.out = Vec::new();
        // Where nobody has understood that the other side is to take over, it is asked again.
        let asked = matches!(step, Step::Agreed(_) | Step::Refused);
        if let (true, Some(upstream)) = (asked, &mut around.state.repl.upstream) {
            upstream.takes_over = false;
        }
        match step {
            Step::Waiting => {
                self.send()?;
                Ok(got > 0)
            }
            Step::Failed(why) => Err(Lost(why)),
            Step::Refused => {
                follow_nobody(around.state);
                Ok(false)
            }
            Step::Agreed(Agreed::Full(history)) => {
                (self.history, self.anew) = (history, true);
                self.phase = Phase::Frame;
                set_link(around.state, Link::Transfer);
                if let Some(upstream) = &mut around.state.repl.upstream {
                    (upstream.transfer_bytes, upstream.transfer_read) = (None, 0);
                }
                self.send()?;
                Ok(true)
            }
            Step::Agreed(Agreed::Continue(id)) => {
                log::info!("Successful partial resynchronization with master.");
                resume::continued(around.state, id);
                self.anew = false;
                systemd(
                    around.state,
                    "STATUS=MASTER <-> REPLICA sync: Partial Resynchronization accepted. Ready to accept \
                     connections in read-write mode.\n",
                );
                self.begin_stream(around)?;
                log::info!("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
                Ok(true)
            }
        }
    }

    fn await_frame(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let failed = |error| Lost(format!("I/O error reading bulk count from MASTER: {error}"));
        let got = self.fill(around, READ_MAX).map_err(failed)?;
        match frame(&mut self.input)? {
            None => Ok(got > 0),
            Some(frame) => {
                if let (Frame::Length(length), Some(up)) = (&frame, &mut around.state.repl.upstream)
                {
                    up.transfer_bytes = Some(*length);
                }
                self.begin_sync(around, frame)?;
                Ok(true)
            }
        }
    }

    /// Reads what is there, at most so much; what came is in `input`. The end of the connection is an error.
    fn fill(&mut self, around: &mut Around<'_>, max: usize) -> Result<usize, String> {
        let mut input = std::mem::take(&mut self.input);
        let result = self.read_into(around, &mut input, max);
        self.input = input;
        result
    }

    fn read_into(
        &mut self,
        around: &mut Around<'_>,
        into: &mut Vec<u8>,
        max: usize,
    ) -> Result<usize, String> {
        let Some(wire) = self.wire.as_mut().filter(|_| self.readable) else {
            return Ok(0);
        };
        match wire.read_behind(into, max) {
            Ok(0) => Err("connection lost".to_owned()),
            Ok(n) => {
                self.readable = n == max || self.ended || !wire.short_is_dry();
                let now_us = around.state.clock.mono_us;
                around.state.stats.net_in += n as u64;
                if let Some(upstream) = &mut around.state.repl.upstream {
                    (upstream.heard_us, upstream.transfer_us) = (now_us, now_us);
                }
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (self.readable, self.ended) = (false, false);
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(crate::base::sys::strerror(&error)),
        }
    }

    /// Sends what is there to be sent.
    fn send(&mut self) -> Result<(), Lost> {
        let Some(wire) = &mut self.wire else {
            return Ok(());
        };
        while self.writable && (self.sent < self.out.len() || !wire.settled()) {
            match wire.write(&self.out[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    if n == 0 && !wire.settled() {
                        self.writable = false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let text = crate::base::sys::strerror(&error);
                    return Err(Lost(format!("Sending to the master failed: {text}")));
                }
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// The connection ends; an empty reason has been told already.
    fn lose(&mut self, around: &mut Around<'_>, why: &str) {
        for line in why.lines() {
            log::warn!("{line}");
        }
        let streamed = matches!(self.phase, Phase::Stream(_));
        if matches!(self.phase, Phase::Connect) {
            self.unconnected = self.unconnected.wrapping_add(1);
        }
        self.drop_all(around);
        let now_s = around.state.clock.unix_ms / 1000;
        self.next_try_us = self.tried_us + RETRY_US;
        if let Some(upstream) = &mut around.state.repl.upstream {
            upstream.link = Link::Connect;
            if streamed {
                upstream.down_since_s = now_s;
                log::info!("Connection with master lost.");
                if upstream.resumes {
                    log::info!("Caching the disconnected master state.");
                }
                log::info!("Reconnecting to MASTER {}:{}", upstream.host, upstream.port);
                if upstream.resumes && !self.anew {
                    self.next_try_us = self.tried_us + AGAIN_US;
                }
            }
        }
        around.state.settle_role();
        self.more = streamed;
    }

    /// Lets go of everything that belongs to the connection.
    fn drop_all(&mut self, around: &mut Around<'_>) {
        if let Some(mut wire) = self.wire.take() {
            wire.deregister(around.sockets);
        }
        match std::mem::take(&mut self.phase) {
            Phase::Stream(stream) => stream.end(around.state),
            Phase::Receive(receiving) => receiving.abandon(around.state),
            Phase::LoadFile(load) => load.abandon(around.state),
            Phase::LoadSocket(load) => load.abandon(around.state),
            _ => {}
        }
        (self.input, self.history) = (Vec::new(), None);
        self.out = Zeroizing::default();
        self.sent = 0;
        if let Some(upstream) = &mut around.state.repl.upstream {
            (upstream.transfer_bytes, upstream.transfer_read) = (None, 0);
        }
    }

    fn cron(&mut self, around: &mut Around<'_>) {
        let Some(upstream) = &around.state.repl.upstream else {
            return;
        };
        if self.serial != upstream.serial {
            return;
        }
        let now_us = around.state.clock.mono_us;
        let limit_us = u64::from(around.state.config.repl_timeout) * 1_000_000;
        let since = |at_us: u64| now_us.saturating_sub(at_us) > limit_us;
        let (quiet, silent) = (since(upstream.transfer_us), since(upstream.heard_us));
        match &self.phase {
            Phase::Resolve(_) | Phase::Connect | Phase::Shake(_) if quiet => {
                self.lose(around, "Timeout connecting to the MASTER...");
            }
            Phase::Frame | Phase::Receive(_) | Phase::LoadSocket(_) if quiet => self.lose(
                around,
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the \
                 'repl-timeout' parameter in redis.conf to a larger value.",
            ),
            Phase::Stream(_) if silent && !self.held => {
                self.lose(around, "MASTER timeout: no data nor PING received...");
            }
            // It is told that there is somebody still.
            Phase::Frame | Phase::Receive(_) | Phase::LoadFile(_) | Phase::LoadSocket(_) => {
                self.out.push(b'\n');
                if let Err(Lost(why)) = self.send() {
                    self.lose(around, &why);
                }
            }
            Phase::Stream(_) => self.acknowledge(around.state),
            _ => {}
        }
    }

    /// Tells the primary how far this server is.
    fn acknowledge(&mut self, state: &State) {
        // One that takes nothing is not told again and again.
        const UNSENT_MAX: usize = 1 << 20;
        if self.out.len() - self.sent < UNSENT_MAX && self.history_known() {
            stream::push_ack(state, &mut self.out);
        }
    }

    /// A primary that only knows SYNC knows of no offsets.
    fn history_known(&self) -> bool {
        matches!(&self.phase, Phase::Stream(stream) if stream.acknowledges)
    }

    /// All is applied from here on as it comes.
    fn begin_stream(&mut self, around: &mut Around<'_>) -> Result<(), Lost> {
        let ends = self.wire.as_mut().and_then(Wire::ends);
        let Some(ends) = ends else {
            return Err(Lost("connection lost".to_owned()));
        };
        let input = std::mem::take(&mut self.input);
        let stream = Stream::begin(around.state, around.table, ends, input);
        self.phase = Phase::Stream(Box::new(stream));
        self.acknowledge(around.state);
        (self.readable, self.more) = (true, true);
        Ok(())
    }

    /// The data of a snapshot are there.
    fn synced(&mut self, around: &mut Around<'_>, db: u32) -> Result<bool, Lost> {
        let acknowledges = self.history.is_some();
        let fresh = || (around.state.rng.hex_id(crate::state::repl::ID_LEN), 0);
        let (id, offset) = self.history.take().unwrap_or_else(fresh);
        resume::synced(around.state, id, offset, db);
        aof::switch::go_on(around.state);
        log::info!("MASTER <-> REPLICA sync: Finished with success");
        systemd(
            around.state,
            "STATUS=MASTER <-> REPLICA sync: Finished with success. Ready to accept connections in \
             read-write mode.\n",
        );
        self.begin_stream(around)?;
        if let Phase::Stream(stream) = &mut self.phase
            && !acknowledges
        {
            stream.acknowledges = false;
            self.out.clear();
            self.sent = 0;
            if let Some(upstream) = &mut around.state.repl.upstream {
                upstream.resumes = false;
            }
        }
        Ok(true)
    }
}

fn unreachable_primary(error: &io::Error) -> Lost {
    Lost(format!(
        "Unable to connect to MASTER: {}",
        crate::base::sys::strerror(error)
    ))
}

fn set_link(state: &mut State, link: Link) {
    if let Some(upstream) = &mut state.repl.upstream {
        upstream.link = link;
    }
    state.settle_role();
}

/// Tells systemd, if it watches.
fn systemd(state: &State, text: &str) {
    if state.run.supervised == Some("systemd") {
        supervise::notify(text);
    }
}

/// What this server says of itself.
fn introduction(state: &State) -> Introduction {
    let config = &state.config;
    let port = match config.replica_announce_port {
        0 if config.tls_replication && config.tls_port != 0 => config.tls_port,
        0 => config.port,
        port => port,
    };
    let some = |text: &Option<Vec<u8>>| text.clone().filter(|text| !text.is_empty());
    let password = config.masterauth.as_ref().filter(|text| !text.is_empty());
    Introduction {
        user: some(&config.masteruser),
        password: password.map(|text| Zeroizing::new(text.to_vec())),
        port,
        address: some(&config.replica_announce_ip),
        known: resume::known(state),
        takes_over: state
            .repl
            .upstream
            .as_ref()
            .is_some_and(|upstream| upstream.takes_over),
    }
}
