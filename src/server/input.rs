//! From a readable socket to run requests: reading, batching, prefetching, running.
//!
//! Bytes are read into one large buffer that all connections share; requests are parsed in place,
//! up to 64 at a time, and the memory their keys live in is fetched for the whole batch before the
//! first one runs, so that a large keyspace costs one overlapped cache miss instead of three in a
//! row. What is left of an unfinished request moves to the connection; so does what the turn's
//! budget leaves unrun.
use super::busy::Lender;
use super::conn::{Conn, Input};
use super::crash::{self, Running};
use super::flush::{UNREAD_MAX, close_over_limit, deliver};
use super::tls::handshake::{self, Progress};
use super::turn::Server;
use crate::exec::batch::{Batch, NO_ROW, Parsed, hint_keys, prefetch_members};
use crate::exec::call::log_command;
use crate::exec::command::flag;
use crate::exec::ctx::IN_PLACE_MIN;
use crate::exec::observe::Look;
use crate::exec::process::{Flow, process, resolve_row};
use crate::exec::registry::{CommandId, Registry, Row};
use crate::keyspace::databases::BATCH_MAX;
use crate::resp::reply::Writer;
use crate::resp::request::{Argv, Limits, ProtocolError, Resume, Span, Step, parse};
use crate::state::State;
use crate::state::client::{ClientId, Parked, ReplyMode, client_flag};
use crate::state::commandlog::LogKind;
use crate::state::gate;
use crate::state::groups::GroupId;
use bytes::Bytes;
use std::io;

/// The shared read buffer: as much as one connection gets done in a turn.
pub const READ_BYTES: usize = 64 * 1024;
/// Unfinished requests below this are copied in front of the next read; larger ones are read on in
/// the connection's own buffer.
const OWN_BUFFER_MIN: usize = 16 * 1024;
/// Most bytes read at once into a connection's own buffer.
const OWN_READ_MAX: usize = 256 * 1024;
/// Room for less than this is not read into: the buffer grows first.
const READ_MIN: usize = 4096;
/// Requests parsed, and keys prefetched, before the first one runs.
const BATCH: usize = 64;

/// Buffers of the loop that are used again for every batch.
#[derive(Default)]
pub struct Scratch {
    pub read: Vec<u8>,
    batch: Batch,
    look: Option<Looking>,
}

/// Rows that may run for long: whatever others send is answered meanwhile.
const LENDS: u32 = flag::RUNS_SCRIPT | flag::RUNS_QUEUE;

/// The parts of the server that are lent to a row that runs for long.
macro_rules! lender {
    ($server:expr) => {
        Lender {
            state: &mut $server.state,
            conns: &mut $server.conns,
            listeners: &mut $server.listeners,
            poll: &mut $server.poll,
            jobs: &mut $server.jobs,
            home: &mut $server.lent,
        }
    };
}

/// How running a connection's bytes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All complete requests have run.
    Dry,
    /// The turn's budget is spent; there is more to run.
    Budget,
    /// The client waits (blocked, paused): its input waits with it.
    Waiting,
    /// Nothing more of this client is to be run.
    Closing,
}

impl Server {
    /// Reads and runs one connection. True when there is more to do for it in a later turn.
    pub(super) fn run_connection(&mut self, slot: usize) -> bool {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return false;
        };
        let Some(client) = self.state.clients.at(slot) else {
            return false;
        };
        let waiting =
            client_flag::BLOCKED | client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        if client.flags & (waiting | client_flag::HANDSHAKE) != 0 {
            if client.flags & (waiting | client_flag::HANDSHAKE) == client_flag::HANDSHAKE {
                return self.shake(slot);
            }
            // A client that waits is read again when it is released; its going away is noticed now.
            if conn.read_closed && client.flags & client_flag::BLOCKED != 0 {
                note_leaving(&mut self.state, conn);
            }
            return false;
        }
        if conn.out.len() > UNREAD_MAX {
            conn.held_back = true;
            return false;
        }
        self.state.running = Some(conn.id);
        let mut input = conn.input.take();
        // An unfinished request that is (or will be) large is read where it is.
        let own = input
            .as_ref()
            .is_some_and(|i| i.bytes.len() >= OWN_BUFFER_MIN || i.missing >= OWN_BUFFER_MIN);
        let held = input.take().map_or_else(Input::default, |input| *input);
        let wants_more = conn.readable && !held.unrun;
        let mut resume = held.resume;
        let mut filled = held.bytes.len();
        let mut buf;
        let got;
        if own {
            buf = held.bytes;
            got = if wants_more {
                read_on(conn, &mut buf, held.missing)
            } else {
                0
            };
        } else {
            buf = std::mem::take(&mut self.scratch.read);
            buf[..filled].copy_from_slice(&held.bytes);
            got = if wants_more {
                let room = &mut buf[filled..filled + READ_BYTES];
                let asked = room.len();
                let result = conn.stream.read(room);
                note_read(conn, result, asked)
            } else {
                0
            };
        }
        count_input(&mut self.state, slot, got);
        filled += got;
        let (end, used) = self.run_bytes(slot, &mut buf, filled, &mut resume, own);
        self.keep_rest(slot, buf, filled, used, resume, own, end)
    }

    /// A step of a TLS handshake. True when there is more to do for it in a later turn.
    #[cold]
    fn shake(&mut self, slot: usize) -> bool {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return false;
        };
        if handshake::step(&mut self.state, &self.table, conn) == Progress::Failed {
            let id = conn.id;
            self.state.close_client(id);
            return false;
        }
        conn.readable
    }

    /// Runs all requests in the first `filled` bytes of `buf`. Says how it ended and how many bytes
    /// were used. A buffer of the connection's own may be gone behind it, with all its bytes used.
    fn run_bytes(
        &mut self,
        slot: usize,
        buf: &mut Vec<u8>,
        filled: usize,
        resume: &mut Resume,
        own: bool,
    ) -> (End, usize) {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return (End::Closing, 0);
        };
        let me = conn.id;
        let mut out = std::mem::take(&mut conn.out);
        if out.buf.capacity() == 0 {
            out.buf = self.pool.take();
        }
        out.limit = self.output_limit(slot);
        let mut limits = self.limits(slot);
        // Who holds too much is closed at the end of the turn: not much later than that.
        let limit = self.state.client_memory.limit();
        let unread_max = limit.map_or(UNREAD_MAX, |limit| limit.min(UNREAD_MAX));
        let mut scratch = std::mem::take(&mut self.scratch.batch);
        let (mut pos, mut used) = (0, 0);
        let mut end = End::Dry;
        while end == End::Dry && pos < filled {
            let bytes = &mut buf[..filled];
            let broken = self.parse_batch(me, bytes, &mut pos, resume, &limits, &mut scratch);
            if scratch.requests.is_empty() {
                used = pos;
            }
            end = if own && is_large_whole(buf, filled, &scratch) {
                self.run_in_place(me, buf, &scratch, &mut out, &mut used)
            } else {
                self.run_batch(me, &buf[..filled], &scratch, &mut out, &mut used)
            };
            self.state.dbs.end_batch();
            if !limits.authenticated {
                // The request may have been the password: what follows is held against other limits.
                limits = self.limits(slot);
            }
            let spent = self.state.stats.tick > self.budget_end && pos < filled;
            if end == End::Dry && (spent || out.len() > unread_max) {
                end = End::Budget;
            }
            if let Some(error) = broken
                && end == End::Dry
            {
                refuse_input(&mut self.state, me, &error, &mut out);
                end = End::Closing;
            }
            if scratch.requests.is_empty() {
                break;
            }
        }
        self.scratch.batch = scratch;
        let wants_write = !out.is_empty();
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return (End::Closing, used);
        };
        conn.out = out;
        if wants_write || end == End::Closing {
            self.mark_unwritten(slot);
        } else {
            let buffer = conn.out.release();
            self.pool.give(buffer);
        }
        if matches!(end, End::Budget | End::Waiting) {
            // Parsed ahead and not run: their first bytes are looked at again later.
            resume.restore_lines(buf, used);
            *resume = Resume::default();
        }
        (end, used)
    }

    /// Parses requests from `pos` on until the batch is full, hashing their keys on the way, and
    /// fetches what the keys need.
    #[inline]
    fn parse_batch(
        &mut self,
        me: ClientId,
        buf: &mut [u8],
        pos: &mut usize,
        resume: &mut Resume,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Option<ProtocolError> {
        batch.clear();
        resume.forget_lines();
        let client = self.state.clients.me(me);
        // Where requests are only queued nothing is to be fetched.
        let hint_db = client.multi.is_none().then_some(client.db as usize);
        let dbs = &mut self.state.dbs;
        let mut broken = None;
        let (mut members, mut empty) = (false, false);
        let most = if limits.authenticated { BATCH } else { 1 };
        while batch.requests.len() < most && dbs.hinted() < BATCH_MAX && *pos < buf.len() {
            let first = batch.spans.len();
            match parse(buf, pos, resume, limits, &mut batch.spans) {
                Step::Request => {
                    let spans = &batch.spans[first..];
                    let name = &buf[spans[0].at as usize..][..spans[0].len as usize];
                    let (mut number, mut hint) = (NO_ROW, 0);
                    if let Some(row) = self.table.find(name) {
                        number = row.id.0;
                        if let Some(db) = hint_db {
                            hint = hint_keys(dbs, db, row, buf, spans);
                            members |= row.cmd.first_member != 0;
                        }
                    }
                    batch.requests.push(Parsed {
                        row: number,
                        first: first as u32,
                        argc: spans.len() as u32,
                        end: *pos as u32,
                        hint,
                    });
                }
                Step::Empty => {
                    empty = true;
                    if let Some(last) = batch.requests.last_mut() {
                        last.end = *pos as u32;
                    }
                }
                Step::NeedMore { at_least } => {
                    self.missing = at_least;
                    break;
                }
                Step::Bad(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        if dbs.hinted() > 1 {
            dbs.prefetch_hints();
        }
        // A single request that names a single member would only wait twice.
        if members && (batch.requests.len() > 1 || batch.spans.len() > 4) {
            prefetch_members(dbs, &self.table, buf, (&batch.spans, &batch.requests));
        }
        if empty {
            self.state.note_empty_line(me);
        }
        broken
    }

    /// Runs the requests of a batch in order, until one of them ends it. `used` follows the bytes of
    /// those that ran.
    #[inline]
    fn run_batch(
        &mut self,
        me: ClientId,
        buf: &[u8],
        batch: &Batch,
        out: &mut Writer,
        used: &mut usize,
    ) -> End {
        let before = self.state.clients.me(me).commands;
        let running = Running {
            buf,
            batch,
            me,
            before,
        };
        let outer = crash::enter(&running);
        let end = self.run_requests(me, buf, batch, out, used);
        crash::leave(outer);
        end
    }

    #[inline]
    fn run_requests(
        &mut self,
        me: ClientId,
        buf: &[u8],
        batch: &Batch,
        out: &mut Writer,
        used: &mut usize,
    ) -> End {
        let requests = batch.requests.len();
        let group = self.state.clients.me(me).group;
        let mut look_at = self.state.hotkeys.next_look(group, requests);
        let large = buf.len() >= self.state.stats.large_request;
        for (at, parsed) in batch.requests.iter().enumerate() {
            let argv = batch.argv(buf, parsed);
            let row = (parsed.row != NO_ROW).then(|| self.table.row(CommandId(parsed.row)));
            self.state.dbs.seek_hint(parsed.hint as usize);
            let mark = out.mark();
            let looked = at == look_at;
            if looked {
                look_at = self.state.hotkeys.look_again(group, at, requests);
                self.scratch.look = Some(begin_look(&mut self.state, out, me));
            }
            let lends = row.is_some_and(|row| row.cmd.flags & LENDS != 0);
            if lends {
                lender!(self).lend();
            }
            let flow = process(&mut self.state, &self.table, row, argv, out, me);
            let served = lends && lender!(self).take_back();
            if looked | large {
                let look = self.scratch.look.take();
                self.state.hotkeys.looking = false;
                if flow == Flow::Continue
                    && let Ok(row) = resolve_row(&self.table, row, argv)
                {
                    let bytes = parsed.end as usize - *used;
                    look_back(&mut self.state, row, argv, (look, bytes), out, me);
                }
            }
            if flow == Flow::Postponed {
                self.state.clients.me(me).flags |= client_flag::POSTPONED;
                return End::Waiting;
            }
            *used = parsed.end as usize;
            if served {
                self.catch_up();
                if self.state.wanted.shutdown.is_some() {
                    // The files are closed: what was done is not to be found again, and is not acknowledged.
                    out.truncate(mark);
                    return End::Waiting;
                }
            }
            let client = self.state.clients.me(me);
            let special = client.flags & ATTENTION != 0
                || client.reply_mode != ReplyMode::On
                || client.resp3 != out.resp3
                || out.is_lost();
            if special {
                // What the command sent is no reply: it comes behind what this takes back.
                out.resp3 = self.state.clients.me(me).resp3;
                if is_answered_replica(&mut self.state, me, out.len_since(mark), flow) {
                    let (state, table) = (&mut self.state, &self.table);
                    refuse_reply(state, table, argv, me, (out, mark));
                    return End::Closing;
                }
                apply_reply_mode(&mut self.state, me, out, mark);
                if out.is_lost() {
                    out.clear();
                    close_over_limit(&mut self.state, me);
                    return End::Closing;
                }
            }
            if !self.state.outbox.is_empty() {
                let (state, posts) = (&mut self.state, &mut self.posts);
                deliver(state, &mut self.conns, posts, me, out);
                let told = out.len_since(mark);
                if special && is_answered_replica(&mut self.state, me, told, flow) {
                    let (state, table) = (&mut self.state, &self.table);
                    refuse_reply(state, table, argv, me, (out, mark));
                    return End::Closing;
                }
            }
            let closing = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
            if special && self.state.clients.me(me).flags & closing != 0 {
                return End::Closing;
            }
            if flow == Flow::Blocked {
                return End::Waiting;
            }
            // A pipeline that has begun is finished: its replies then go out in one write.
            if self.state.stats.tick > self.budget_hard && *used < buf.len() {
                return End::Budget;
            }
        }
        End::Dry
    }

    /// Runs the one request that is all of `buf`; what it stores may keep the buffer.
    #[cold]
    fn run_in_place(
        &mut self,
        me: ClientId,
        buf: &mut Vec<u8>,
        batch: &Batch,
        out: &mut Writer,
        used: &mut usize,
    ) -> End {
        let whole = Bytes::from(std::mem::take(buf));
        self.state.request = whole.clone();
        let end = self.run_batch(me, &whole, batch, out, used);
        self.state.request = Bytes::new();
        if *used < whole.len() {
            *buf = Vec::from(whole);
        }
        end
    }

    /// Keeps what is left of a connection's bytes, and says whether it is to run again.
    #[allow(clippy::too_many_arguments)]
    fn keep_rest(
        &mut self,
        slot: usize,
        mut buf: Vec<u8>,
        filled: usize,
        used: usize,
        resume: Resume,
        own: bool,
        end: End,
    ) -> bool {
        let missing = std::mem::take(&mut self.missing);
        let left = filled - used;
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            if !own {
                self.scratch.read = buf;
            }
            return false;
        };
        if left > 0 && end != End::Closing {
            let mut bytes;
            if own {
                buf.truncate(filled);
                buf.drain(..used);
                bytes = buf;
                buf = Vec::new();
            } else {
                bytes = Vec::with_capacity(left);
                bytes.extend_from_slice(&buf[used..filled]);
            }
            if bytes.capacity() > 4 * bytes.len().max(4096) + READ_BYTES {
                bytes.shrink_to_fit();
            }
            let unrun = end != End::Dry;
            conn.input = Some(Box::new(Input {
                bytes,
                resume,
                missing,
                unrun,
            }));
        }
        if !own {
            self.scratch.read = buf;
        }
        if note_input(&mut self.state, conn) {
            return false;
        }
        match end {
            End::Dry => {
                if conn.read_closed && !conn.readable {
                    note_end(&mut self.state, conn);
                    return false;
                }
                conn.readable
            }
            End::Budget => true,
            End::Waiting => {
                // Bytes stay where they are. Going away while waiting is noticed by the poll, or
                // here if it was seen already.
                if conn.read_closed {
                    note_leaving(&mut self.state, conn);
                }
                false
            }
            End::Closing => false,
        }
    }

    /// Protocol limits of this client.
    fn limits(&mut self, slot: usize) -> Limits {
        limits_of(&mut self.state, slot)
    }
}

/// So many bytes have come from a client, whose requests run next.
#[inline]
pub(super) fn count_input(state: &mut State, slot: usize, got: usize) {
    if let Some(client) = state.clients.at(slot) {
        if got > 0 {
            client.seen_ms = state.clock.unix_ms;
            client.net_in += got as u64;
        }
        let group = client.group;
        state.count_for(group);
    }
    state.stats.net_in += got as u64;
    state.stats.reads += u64::from(got > 0);
}

/// What came is no request: nothing behind it can be read.
#[cold]
pub(super) fn refuse_input(
    state: &mut State,
    me: ClientId,
    error: &ProtocolError,
    out: &mut Writer,
) {
    let text = error.text();
    state.count_error("ERR");
    if state.clients.me(me).has(client_flag::REPLICA) {
        // It would read the answer as a part of the stream.
        log::warn!(
            "Replica {} sends what is no request, disconnecting it: {}",
            state.replica_name(me),
            String::from_utf8_lossy(&text)
        );
        return state.close_client(me);
    }
    let client = state.clients.me(me);
    client.flags |= client_flag::CLOSE_AFTER_REPLY;
    if client.reply_mode == ReplyMode::On {
        out.protocol_error(*error);
    }
    log::debug!(
        "{} from client id={}",
        String::from_utf8_lossy(&text),
        me.serial
    );
}

/// Takes down what input a client has waiting. True when it is too much, and the client is closed.
pub(super) fn note_input(state: &mut State, conn: &Conn) -> bool {
    let input = conn.input.as_deref();
    let held = input.map_or(0, |i| i.bytes.len());
    let mut pending = held;
    if let Some(client) = state.clients.at(conn.id.slot as usize) {
        // What waits for EXEC was sent and has not run: it is input as well.
        pending += client.multi.as_ref().map_or(0, |m| m.bytes);
        let understood = input.map_or(0, |i| i.resume.understood()).min(held);
        client.transport.argument_bytes = understood as u32;
        client.transport.query_bytes = (held - understood) as u32;
        conn.note_session(client);
        client.transport.query_free = input.map_or(0, |i| i.bytes.capacity() - held) as u32;
    }
    state.weigh(conn.id);
    let over = pending as u64 > state.config.client_query_buffer_limit;
    if over {
        log::warn!("Closing client that reached max query buffer length: {pending} bytes pending");
        state.stats.query_limit_disconnections += 1;
        state.close_client(conn.id);
    }
    over
}

/// The peer sends no more, while a request of it waits.
pub(super) fn note_leaving(state: &mut State, conn: &Conn) {
    // A password that takes a moment to check is a request like any other: its reply comes, and the end behind it.
    // (The reply to a wrong one that is held back has a time when it comes: nobody is kept for that.)
    let checked = |parked: &Parked| parked.is_login() && parked.deadline_ms == 0;
    let parked = state.clients.me(conn.id).parked.as_deref();
    if !parked.is_some_and(checked) {
        state.close_client(conn.id);
    }
}

/// The peer sends no more, and all that it sent has run.
pub(super) fn note_end(state: &mut State, conn: &Conn) {
    // Who only ended its own half still gets its replies; who is gone altogether lets the writing fail.
    match state.clients.at(conn.id.slot as usize) {
        Some(client) if !conn.out.is_empty() || !conn.stream.settled() => {
            client.flags |= client_flag::CLOSE_AFTER_REPLY;
        }
        _ => state.close_client(conn.id),
    }
}

/// Protocol limits of the client at this slot.
pub(super) fn limits_of(state: &mut State, slot: usize) -> Limits {
    let needed = state.password_needed();
    let known = |c: &mut crate::state::client::Client| c.gate & gate::UNAUTHENTICATED == 0;
    Limits {
        bulk_len_max: state.config.proto_max_bulk_len,
        authenticated: !needed || state.clients.at(slot).is_none_or(known),
        ..Limits::default()
    }
}

/// A look at a request, and the database of one that is not queued.
type Looking = (Look, Option<usize>);

/// A request that was chosen to be looked at runs next. Queued ones are looked at when they run.
#[cold]
fn begin_look(state: &mut State, out: &Writer, me: ClientId) -> Looking {
    let client = state.clients.me(me);
    let db = client.multi.is_none().then_some(client.db as usize);
    state.hotkeys.looking = true;
    (Look::begin(state, out), db)
}

/// A request has run that was chosen to be looked at, or that may be a large one.
#[cold]
fn look_back(
    state: &mut State,
    row: &Row,
    argv: Argv<'_>,
    (look, bytes): (Option<Looking>, usize),
    out: &Writer,
    me: ClientId,
) {
    if let Some((look, Some(db))) = look {
        look.end(state, row, argv, db, out);
    }
    if bytes >= state.stats.large_request {
        log_command(state, row, argv, me, LogKind::LargeRequest, bytes as u64);
    }
}

/// Has a replica asked something that was answered, or will be?
pub(super) fn is_answered_replica(
    state: &mut State,
    me: ClientId,
    reply: usize,
    flow: Flow,
) -> bool {
    state.clients.me(me).has(client_flag::REPLICA) && (reply > 0 || flow == Flow::Blocked)
}

/// A replica has asked something that was answered: the reply would be taken for a part of the stream. It is
/// dropped with the connection.
#[cold]
pub(super) fn refuse_reply(
    state: &mut State,
    table: &Registry,
    argv: Argv<'_>,
    me: ClientId,
    (out, mark): (&mut Writer, crate::resp::reply::Mark),
) {
    let Some(client) = state.clients.get(me) else {
        return;
    };
    let mut line = String::new();
    (table.describe)(state, table, client, GroupId::DEFAULT, None, &mut line);
    let row = resolve_row(table, table.find(argv.get(0)), argv).ok();
    let name = row.map_or("unknown", |row| table.name(row.id));
    let reply = out.to_vec();
    if let Some(error) = reply.strip_prefix(b"-") {
        log::warn!(
            "== CRITICAL == This master is sending an error to its replica: '{}' after processing the \
             command '{name}'",
            String::from_utf8_lossy(error).trim_end()
        );
    }
    log::warn!("Replica generated a reply to command '{name}', disconnecting it: {line}");
    out.truncate(mark);
    state.close_client(me);
}

/// Flags that make the loop look at a client after its command.
const ATTENTION: u32 = client_flag::CLOSE_NOW
    | client_flag::CLOSE_AFTER_REPLY
    | client_flag::BLOCKED
    | client_flag::REPLICA;

/// Does one request fill the buffer, and one large argument the request?
fn is_large_whole(buf: &Vec<u8>, filled: usize, batch: &Batch) -> bool {
    let [only] = &batch.requests[..] else {
        return false;
    };
    let (first, argc) = (only.first as usize, only.argc as usize);
    let large = |span: &Span| span.len as usize >= IN_PLACE_MIN.max(filled - filled / 16);
    // Room to spare would stay with the value.
    only.end as usize == filled
        && buf.len() == filled
        && buf.capacity() <= filled + filled / 8
        && batch.spans[first..first + argc].iter().any(large)
}

/// Reads on into the buffer of an unfinished request that misses at least that much. The buffer
/// grows with what has arrived, never by what is only announced, and a large argument ends where
/// the buffer ends.
fn read_on(conn: &mut Conn, buf: &mut Vec<u8>, missing: usize) -> usize {
    let (room, most) = if missing >= OWN_BUFFER_MIN {
        let share = missing.min(OWN_READ_MAX);
        let room = (3 * buf.len()).max(READ_BYTES);
        // No small rest is left, for which it would have to grow again.
        let all = missing <= room + OWN_BUFFER_MIN;
        (if all { missing } else { room }, share)
    } else {
        (buf.len().max(READ_BYTES), OWN_READ_MAX)
    };
    // Not before it is full, growing moves it; and not for the line end behind a large argument.
    let wanted = most.min(READ_MIN).min(missing.max(1));
    if buf.capacity() - buf.len() < wanted && buf.try_reserve_exact(room).is_err() {
        log::warn!("No memory for {room} more bytes of a client's request");
        (conn.readable, conn.read_closed) = (false, true);
        return 0;
    }
    let asked = most.min(buf.capacity() - buf.len());
    let result = conn.stream.read_behind(buf, asked);
    note_read(conn, result, asked)
}

/// What a read tells about the socket. One that came back short has emptied it: no second one is
/// needed to see EAGAIN, since signals cannot interrupt it (they come through a descriptor).
pub(super) fn note_read(conn: &mut Conn, result: io::Result<usize>, asked: usize) -> usize {
    // What TLS has to say, and the socket did not take while it was read, goes out when it is writable again.
    conn.blocked_write |= !conn.stream.settled();
    match result {
        Ok(0) => {
            (conn.readable, conn.read_closed) = (false, true);
            0
        }
        Ok(n) => {
            // With the peer's end seen, read on to the zero: no further event would tell of it.
            conn.readable = n == asked || conn.read_closed || conn.stream.may_have_more();
            n
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            conn.readable = conn.stream.may_have_more();
            0
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        Err(error) => {
            log::debug!("Reading from client: {error}");
            (conn.readable, conn.read_closed) = (false, true);
            0
        }
    }
}

/// CLIENT REPLY OFF and SKIP: takes back what was just written.
pub(super) fn apply_reply_mode(
    state: &mut State,
    me: ClientId,
    out: &mut Writer,
    mark: crate::resp::reply::Mark,
) {
    let client = state.clients.me(me);
    // What it was told in front of the reply is no reply.
    let mark = state
        .outbox
        .reply_begins(me, client.commands)
        .unwrap_or(mark);
    match client.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => out.truncate(mark),
        ReplyMode::SkipNext => {
            out.truncate(mark);
            client.reply_mode = ReplyMode::Skip;
        }
        ReplyMode::Skip => {
            out.truncate(mark);
            client.reply_mode = ReplyMode::On;
        }
    }
}
