//! While a script runs for too long: other clients are answered all the same.
//!
//! A script runs deep inside the loop, which has the state lent out. Before one runs, the connections, the
//! listeners and the poll move into a box that the state carries; the script's engine calls it now and then
//! once `busy-reply-threshold` has passed. Everything here goes the usual way of a request, on which nearly all
//! of them are refused with BUSY; what may run (SCRIPT KILL, SHUTDOWN NOSAVE, HELLO, ...) runs. The client whose
//! script it is is left alone: its buffers are in use.
use super::conn::{Conn, Input, Pool};
use super::flush::{UNREAD_MAX, close_over_limit, flush_conn};
use super::input::{
    READ_BYTES, apply_reply_mode, count_input, is_answered_replica, limits_of, note_end,
    note_input, note_leaving, note_read, refuse_input, refuse_reply,
};
use super::jobs::{Jobs, check_passwords, collect_passwords};
use super::link::TOKEN_LINK;
use super::listen::Listener;
use super::tls::handshake::{self, Progress};
use super::turn::{Server, TOKEN_LISTENERS, TOKEN_SIGNALS, TOKEN_WAKE, accept, take_conn, welcome};
use crate::exec::login;
use crate::exec::process::{Flow, process};
use crate::exec::registry::Registry;
use crate::persist::aof;
use crate::resp::argv::Argv;
use crate::resp::request::{Resume, Step, parse};
use crate::state::State;
use crate::state::client::{ClientId, ReplyMode, client_flag};
use crate::state::gate;
use crate::state::scripts::{End, Host};
use mio::{Events, Poll};
use std::any::Any;
use std::io;
use std::mem::swap;
use std::sync::Arc;
use std::time::Duration;

/// Connections accepted at one look from one listener.
const ACCEPTS_MAX: usize = 64;

/// Logins that go on at one look.
const LOGINS_MAX: usize = 16;

/// The box. While nothing runs its lists are empty, and its poll watches nothing.
pub(super) struct Lent {
    table: Arc<Registry>,
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    listeners: Vec<Listener>,
    jobs: Jobs,
    /// Listeners that may have more to accept.
    accepting: Vec<usize>,
    /// Connections that have more to read or to run: no event tells of it again.
    more: Vec<usize>,
    pool: Pool,
    /// Bytes that others sent to connections which were closed.
    unposted: usize,
    /// A signal came in.
    signalled: bool,
    /// It was called since it was lent.
    used: bool,
}

impl Lent {
    pub(super) fn new(table: Arc<Registry>) -> io::Result<Lent> {
        Ok(Lent {
            table,
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            conns: Vec::new(),
            listeners: Vec::new(),
            jobs: Jobs::default(),
            accepting: Vec::new(),
            more: Vec::new(),
            pool: Pool::default(),
            unposted: 0,
            signalled: false,
            used: false,
        })
    }
}

/// What moves: named one by one, so that the rest of the server stays in reach.
pub(super) struct Lender<'a> {
    pub state: &'a mut State,
    pub conns: &'a mut Vec<Option<Conn>>,
    pub listeners: &'a mut Vec<Listener>,
    pub poll: &'a mut Poll,
    pub jobs: &'a mut Jobs,
    pub home: &'a mut Option<Box<Lent>>,
}

impl Lender<'_> {
    #[inline]
    fn exchange(&mut self, lent: &mut Lent) {
        swap(self.conns, &mut lent.conns);
        swap(self.listeners, &mut lent.listeners);
        swap(self.poll, &mut lent.poll);
        swap(self.jobs, &mut lent.jobs);
    }

    /// Lends the connections to what runs next.
    #[inline]
    pub(super) fn lend(mut self) {
        if let Some(mut lent) = self.home.take() {
            self.exchange(&mut lent);
            self.state.scripts.host = Some(lent);
        }
    }

    /// Takes them back; true when clients were served meanwhile.
    #[inline]
    pub(super) fn take_back(mut self) -> bool {
        let Some(host) = self.state.scripts.host.take() else {
            return false;
        };
        let host: Box<dyn Any> = host;
        let Ok(mut lent) = host.downcast::<Lent>() else {
            return false;
        };
        self.exchange(&mut lent);
        let used = std::mem::take(&mut lent.used);
        *self.home = Some(lent);
        used
    }
}

impl Server {
    /// Clients were served while a script ran: the loop learns what is left of them to do.
    #[cold]
    pub(super) fn catch_up(&mut self) {
        // Its event may have been seen by the other poll.
        self.note_snapshot();
        let Some(lent) = &mut self.lent else {
            return;
        };
        self.link.look_again();
        lent.more.clear();
        lent.pool.clear();
        self.posts.bytes -= std::mem::take(&mut lent.unposted);
        for listener in lent.accepting.drain(..) {
            if !self.accepting.contains(&listener) {
                self.accepting.push(listener);
            }
        }
        let signalled = std::mem::take(&mut lent.signalled);
        for slot in 0..self.conns.len() {
            let Some(Some(conn)) = self.conns.get(slot) else {
                continue;
            };
            let writes = !conn.out.is_empty();
            if conn.readable || conn.read_closed || conn.input.is_some() {
                self.queue(slot);
            }
            if writes {
                self.mark_unwritten(slot);
            }
        }
        if signalled {
            self.take_signals();
        }
    }
}

impl Host for Lent {
    fn serve(&mut self, state: &mut State) {
        let first = !std::mem::replace(&mut self.used, true);
        let polled = self.poll.poll(&mut self.events, Some(Duration::ZERO));
        if polled.is_err() {
            return;
        }
        let me = state.running;
        let mut slots = std::mem::take(&mut self.more);
        if first {
            // What the loop was told of already.
            let known = self.conns.iter().flatten();
            let waits = |c: &&Conn| c.queued || c.unwritten;
            slots.extend(known.filter(waits).map(|c| c.id.slot as usize));
            // Who came in the turn in which the script began: nobody tells of that again.
            self.accepting = (0..self.listeners.len()).collect();
        }
        self.take_events(&mut slots);
        self.write_log(state);
        self.resume_logins(state, &mut slots);
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| me.is_none_or(|me| me.slot as usize != *slot));
        for slot in &slots {
            self.run(state, *slot);
        }
        check_passwords(state, &mut self.jobs, &self.poll);
        self.close_closing(state, me);
        // Behind the closing, as in a turn.
        self.accept_all(state);
        state.running = me;
        if let Some(client) = me.and_then(|me| state.clients.get(me)) {
            state.count_for(client.group);
        }
        let ends = state.wanted.shutdown.is_some() || state.aof.fatal;
        if let Some(running) = &mut state.scripts.running
            && ends
        {
            running.end = Some(End::Shutdown);
        }
    }
}

impl Lent {
    /// Notes what the poll tells; the connections that may have something to read or to write.
    fn take_events(&mut self, slots: &mut Vec<usize>) {
        for event in &self.events {
            let token = event.token().0;
            if token == TOKEN_SIGNALS {
                self.signalled = true;
                continue;
            }
            if token == TOKEN_LINK {
                // The loop looks at it when it is back.
                continue;
            }
            if token >= TOKEN_LISTENERS {
                let listener = token - TOKEN_LISTENERS;
                if token != TOKEN_WAKE && !self.accepting.contains(&listener) {
                    self.accepting.push(listener);
                }
                continue;
            }
            if let Some(Some(conn)) = self.conns.get_mut(token) {
                conn.note_event(event);
                slots.push(token);
            }
        }
    }

    /// Logins whose passwords were checked go on: one may be of whoever comes to end the script.
    fn resume_logins(&mut self, state: &mut State, slots: &mut Vec<usize>) {
        if !state.logins.is_busy() {
            return;
        }
        collect_passwords(state, &self.jobs);
        for _ in 0..LOGINS_MAX {
            let Some((who, reply)) = login::resume_beside_script(state, &self.table) else {
                return;
            };
            if let Some(Some(conn)) = self.conns.get_mut(who.slot as usize) {
                conn.out.raw(&reply.to_vec());
                conn.out.resp3 = state.clients.me(who).resp3;
                slots.push(who.slot as usize);
            }
        }
    }

    /// What this turn did before the script goes to the AOF, so that its replies may go out; and to the disk,
    /// as often as that is asked for. What the script has done so far stays where it is.
    fn write_log(&mut self, state: &mut State) {
        state.clock.refresh_mono();
        aof::end_of_turn(state);
        for job in state.aof.jobs.drain(..) {
            self.jobs.file(job);
        }
    }

    /// Ends the connections that are to be closed: who leaves makes room for who comes, and may come to end
    /// the script. The client whose script it is waits for the loop.
    fn close_closing(&mut self, state: &mut State, me: Option<ClientId>) {
        if state.aof.fatal {
            return;
        }
        let mut closing = std::mem::take(&mut state.closing);
        closing.retain(|who| {
            if me == Some(*who) {
                return true;
            }
            if let Some(conn) = take_conn(&mut self.conns, *who, self.poll.registry()) {
                self.unposted += conn.posted_bytes;
            }
            state.end_session(*who);
            false
        });
        state.closing.append(&mut closing);
    }

    fn accept_all(&mut self, state: &mut State) {
        let Lent {
            poll,
            conns,
            listeners,
            accepting,
            more,
            ..
        } = self;
        accepting.retain(|number| {
            let Some(listener) = listeners.get(*number) else {
                return false;
            };
            for _ in 0..ACCEPTS_MAX {
                match accept(listener) {
                    Ok((stream, address)) => {
                        let registry = poll.registry();
                        more.extend(welcome(state, conns, registry, listener, stream, address));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                    // The loop knows what to do about it.
                    Err(_) => return true,
                }
            }
            true
        });
    }

    /// Reads and runs one connection, and writes what it got.
    fn run(&mut self, state: &mut State, slot: usize) {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return;
        };
        let Some(client) = state.clients.at(slot) else {
            return;
        };
        let waiting =
            client_flag::BLOCKED | client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        let closed = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        if client.flags & (client_flag::HANDSHAKE | closed) == client_flag::HANDSHAKE {
            if handshake::step(state, &self.table, conn) == Progress::Failed {
                state.close_client(conn.id);
            }
            if conn.readable {
                self.more.push(slot);
            }
            return;
        }
        let unrun = conn.input.as_ref().is_some_and(|input| input.unrun);
        if client.flags & waiting == 0 && conn.out.len() <= UNREAD_MAX {
            if conn.readable || unrun {
                state.running = Some(conn.id);
                if run_conn(state, &self.table, conn) {
                    self.more.push(slot);
                }
            }
        } else if conn.read_closed && client.flags & client_flag::BLOCKED != 0 {
            note_leaving(state, conn);
        }
        let ends = client_flag::CLOSE_AFTER_REPLY;
        let ended = state.clients.me(conn.id).flags & ends != 0;
        let speaks = !conn.out.is_empty() || !conn.stream.settled() || ended;
        // Where the AOF could not be written nothing may be said any more.
        if speaks && !state.aof.fatal && flush_conn(state, conn, &mut self.pool).more {
            self.more.push(slot);
        }
    }
}

/// Reads and runs a connection once; true when there is more to do for it.
fn run_conn(state: &mut State, table: &Registry, conn: &mut Conn) -> bool {
    let slot = conn.id.slot as usize;
    let mut input = conn
        .input
        .take()
        .map_or_else(Input::default, |input| *input);
    let mut got = 0;
    if conn.readable && !input.unrun {
        let room = input.missing.clamp(READ_BYTES / 4, READ_BYTES);
        input.bytes.reserve(room);
        let result = conn.stream.read_behind(&mut input.bytes, room);
        got = note_read(conn, result, room);
    }
    count_input(state, slot, got);
    let waits = run_input(state, table, conn, &mut input);
    let unrun = input.unrun;
    if !input.bytes.is_empty() {
        conn.input = Some(Box::new(input));
    }
    if note_input(state, conn) {
        return false;
    }
    if waits {
        if conn.read_closed {
            note_leaving(state, conn);
        }
        return false;
    }
    if conn.read_closed && !conn.readable && !unrun {
        note_end(state, conn);
    }
    conn.readable || unrun
}

/// Runs the whole requests of a connection's input, one by one; what is left of it is kept. True when the
/// client waits for something before it goes on.
fn run_input(state: &mut State, table: &Registry, conn: &mut Conn, input: &mut Input) -> bool {
    let me = conn.id;
    let mut limits = limits_of(state, me.slot as usize);
    let mut pos = 0;
    let mut used = 0;
    let mut spans = Vec::new();
    let mut waits = false;
    input.unrun = false;
    while pos < input.bytes.len() {
        spans.clear();
        input.resume.forget_lines();
        match parse(
            &mut input.bytes,
            &mut pos,
            &mut input.resume,
            &limits,
            &mut spans,
        ) {
            Step::Empty => {
                state.note_empty_line(me);
                used = pos;
                continue;
            }
            Step::NeedMore { at_least } => {
                input.missing = at_least;
                break;
            }
            Step::Bad(error) => {
                refuse_input(state, me, &error, &mut conn.out);
                used = input.bytes.len();
                break;
            }
            Step::Request => {}
        }
        let argv = Argv::new(&input.bytes, &spans);
        let mark = conn.out.mark();
        let flow = process(
            state,
            table,
            table.find(argv.get(0)),
            argv,
            &mut conn.out,
            me,
        );
        if flow == Flow::Postponed {
            // Whoever waits for another group's script goes on behind it; the end of a pause takes its
            // mark back.
            if state.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES) != 0 {
                state.clients.me(me).flags |= client_flag::POSTPONED;
            }
            waits = true;
            break;
        }
        used = pos;
        if is_answered_replica(state, me, conn.out.len_since(mark), flow) {
            refuse_reply(state, table, argv, me, (&mut conn.out, mark));
            waits = true;
            break;
        }
        if !limits.authenticated {
            limits = limits_of(state, me.slot as usize);
        }
        let client = state.clients.me(me);
        conn.out.resp3 = client.resp3;
        if client.reply_mode != ReplyMode::On {
            apply_reply_mode(state, me, &mut conn.out, mark);
        }
        if conn.out.is_lost() {
            conn.out.clear();
            close_over_limit(state, me);
        }
        waits = flow == Flow::Blocked;
        let ends = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        waits |= state.clients.me(me).flags & ends != 0 || state.wanted.shutdown.is_some();
        if waits || conn.out.len() > UNREAD_MAX {
            break;
        }
    }
    if used < pos {
        input.resume.restore_lines(&mut input.bytes, used);
    }
    if used > 0 {
        input.bytes.drain(..used);
    }
    if used < pos || used > 0 && !input.bytes.is_empty() {
        // Bytes have moved, or were parsed and not run: they are looked at again.
        input.resume = Resume::default();
        input.unrun = true;
    }
    waits
}
