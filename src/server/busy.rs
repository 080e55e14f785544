//! While a script runs for too long: other clients are answered all the same.
//!
//! A script runs deep inside the loop, which has the state lent out. Before one runs, the connections, the
//! listeners and the poll move into a box that the state carries; the script's engine calls it now and then
//! once `busy-reply-threshold` has passed. Everything here goes the usual way of a request, on which nearly all
//! of them are refused with BUSY; what may run (SCRIPT KILL, SHUTDOWN NOSAVE, HELLO, ...) runs. The client whose
//! script it is is left alone: its buffers are in use.
use super::conn::{Conn, Input};
use super::flush::{UNREAD_MAX, Wrote, write_out};
use super::input::{READ_BYTES, apply_reply_mode, limits_of};
use super::listen::Listener;
use super::tls::handshake::{self, Progress};
use super::turn::{Server, TOKEN_LISTENERS, TOKEN_SIGNALS, TOKEN_WAKE, accept, welcome};
use crate::exec::process::{Flow, process};
use crate::exec::registry::Registry;
use crate::persist::aof::commits_each_turn;
use crate::resp::argv::Argv;
use crate::resp::request::{Resume, Step, parse};
use crate::state::State;
use crate::state::client::{ReplyMode, client_flag};
use crate::state::scripts::{End, Host};
use mio::{Events, Poll};
use std::any::Any;
use std::io;
use std::mem::swap;
use std::sync::Arc;
use std::time::Duration;

/// Connections accepted at one look from one listener.
const ACCEPTS_MAX: usize = 64;

/// The box. While nothing runs its lists are empty, and its poll watches nothing.
pub(super) struct Lent {
    table: Arc<Registry>,
    poll: Poll,
    events: Events,
    conns: Vec<Option<Conn>>,
    listeners: Vec<Listener>,
    /// Listeners that may have more to accept.
    accepting: Vec<usize>,
    /// Connections that the loop is to look at when it goes on.
    ready: Vec<usize>,
    /// Those that have replies which their sockets did not take.
    unwritten: Vec<usize>,
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
            accepting: Vec::new(),
            ready: Vec::new(),
            unwritten: Vec::new(),
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
    pub home: &'a mut Option<Box<Lent>>,
}

impl Lender<'_> {
    #[inline]
    fn exchange(&mut self, lent: &mut Lent) {
        swap(self.conns, &mut lent.conns);
        swap(self.listeners, &mut lent.listeners);
        swap(self.poll, &mut lent.poll);
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
        let Some(lent) = &mut self.lent else {
            return;
        };
        let (mut ready, mut unwritten) = (
            std::mem::take(&mut lent.ready),
            std::mem::take(&mut lent.unwritten),
        );
        for listener in lent.accepting.drain(..) {
            if !self.accepting.contains(&listener) {
                self.accepting.push(listener);
            }
        }
        let signalled = std::mem::take(&mut lent.signalled);
        ready.drain(..).for_each(|slot| self.queue(slot));
        for slot in unwritten.drain(..) {
            self.mark_unwritten(slot);
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
        // What the loop was told of already, and what was not read to its end: no event tells of it again.
        let mut slots: Vec<usize> = self.ready.drain(..).collect();
        if first {
            let known = self.conns.iter().flatten();
            let waits = |c: &&Conn| c.queued || c.unwritten;
            slots.extend(known.filter(waits).map(|c| c.id.slot as usize));
        }
        self.take_events(&mut slots);
        self.accept_all(state, &mut slots);
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            if me.is_some_and(|me| me.slot as usize == slot) {
                self.ready.push(slot);
            } else {
                self.run(state, slot);
            }
        }
        state.running = me;
        if state.wanted.shutdown.is_some()
            && let Some(running) = &mut state.scripts.running
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
            if token >= TOKEN_LISTENERS {
                let listener = token - TOKEN_LISTENERS;
                if token != TOKEN_WAKE && !self.accepting.contains(&listener) {
                    self.accepting.push(listener);
                }
                continue;
            }
            let Some(Some(conn)) = self.conns.get_mut(token) else {
                continue;
            };
            if event.is_read_closed() || event.is_error() {
                conn.read_closed = true;
            }
            conn.readable |= event.is_readable() || conn.read_closed;
            if event.is_writable() || event.is_write_closed() || event.is_error() {
                conn.blocked_write = false;
            }
            slots.push(token);
        }
    }

    fn accept_all(&mut self, state: &mut State, slots: &mut Vec<usize>) {
        let Lent {
            poll,
            conns,
            listeners,
            accepting,
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
                        slots.extend(welcome(state, conns, registry, listener, stream, address));
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
            self.ready.push(slot);
            return;
        }
        let unrun = conn.input.as_ref().is_some_and(|input| input.unrun);
        let runs =
            client.flags & waiting == 0 && conn.out.len() <= UNREAD_MAX && (conn.readable || unrun);
        if runs {
            let mut input = conn
                .input
                .take()
                .map_or_else(Input::default, |input| *input);
            if conn.readable && !unrun {
                read(conn, &mut input);
            }
            state.running = Some(conn.id);
            run_input(state, &self.table, conn, &mut input, slot);
            if !input.bytes.is_empty() {
                conn.input = Some(Box::new(input));
            }
        }
        // What this turn has answered waits for the turn's fsync, if there is to be one.
        let held = conn.unwritten && commits_each_turn(state);
        if !conn.out.is_empty() && !conn.blocked_write && !held {
            let done = matches!(write_out(conn), Wrote::All);
            if done {
                drop(conn.out.release());
            }
        }
        // Whatever is left, the end of the connection included, is the loop's.
        if conn.readable || conn.read_closed || conn.input.is_some() {
            self.ready.push(slot);
        }
        let closing = state
            .clients
            .at(slot)
            .is_some_and(|c| c.flags & waiting != 0);
        if !conn.out.is_empty() || closing {
            self.unwritten.push(slot);
        }
    }
}

/// Reads once, behind what is there already.
fn read(conn: &mut Conn, input: &mut Input) {
    let room = input.missing.clamp(READ_BYTES / 4, READ_BYTES);
    input.bytes.reserve(room);
    match conn.stream.read_behind(&mut input.bytes, room) {
        Ok(0) => (conn.readable, conn.read_closed) = (false, true),
        Ok(n) => conn.readable = n == room || conn.read_closed || conn.stream.may_have_more(),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => {
            conn.readable = conn.stream.may_have_more();
            conn.read_closed |= error.kind() != io::ErrorKind::WouldBlock;
        }
    }
}

/// Runs the whole requests of a connection's input, one by one; what is left of it is kept.
fn run_input(state: &mut State, table: &Registry, conn: &mut Conn, input: &mut Input, slot: usize) {
    let me = conn.id;
    let limits = limits_of(state, slot);
    let mut pos = 0;
    let mut used = 0;
    let mut spans = Vec::new();
    input.unrun = false;
    while pos < input.bytes.len() {
        spans.clear();
        match parse(
            &mut input.bytes,
            &mut pos,
            &mut input.resume,
            &limits,
            &mut spans,
        ) {
            Step::Empty => {
                used = pos;
                continue;
            }
            Step::NeedMore { at_least } => {
                input.missing = at_least;
                break;
            }
            Step::Bad(error) => {
                conn.out.protocol_error(error);
                state.count_error("ERR");
                state.clients.me(me).flags |= client_flag::CLOSE_AFTER_REPLY;
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
            state.clients.me(me).flags |= client_flag::POSTPONED;
            break;
        }
        used = pos;
        let client = state.clients.me(me);
        conn.out.resp3 = client.resp3;
        if client.reply_mode != ReplyMode::On {
            apply_reply_mode(state, me, &mut conn.out, mark);
        }
        let ends = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        let over = state.clients.me(me).flags & ends != 0 || state.wanted.shutdown.is_some();
        if over || flow == Flow::Blocked || conn.out.len() > UNREAD_MAX {
            break;
        }
    }
    if used > 0 {
        input.bytes.drain(..used);
    }
    if used < pos || used > 0 && !input.bytes.is_empty() {
        // Bytes have moved, or were parsed and not run: they are looked at again.
        input.resume = Resume::default();
        input.unrun = true;
    }
}
