//! From a readable socket to run requests: reading, batching, prefetching, running.
//!
//! Bytes are read into one large buffer that all connections share; requests are parsed in place,
//! up to 64 at a time, and the memory their keys live in is fetched for the whole batch before the
//! first one runs, so that a large keyspace costs one overlapped cache miss instead of three in a
//! row. What is left of an unfinished request moves to the connection; so does what the turn's
//! budget leaves unrun.
use super::conn::{Conn, Input};
use super::turn::Server;
use crate::exec::process::{Flow, process};
use crate::exec::registry::Row;
use crate::keyspace::databases::BATCH_MAX;
use crate::resp::reply::Writer;
use crate::resp::request::{Argv, Limits, Resume, Span, Step, parse};
use crate::state::client::{ReplyMode, client_flag};
use std::io;

/// The shared read buffer: as much as one connection gets done in a turn.
pub const READ_BYTES: usize = 64 * 1024;
/// Unfinished requests below this are copied in front of the next read; larger ones are read on in
/// the connection's own buffer.
const OWN_BUFFER_MIN: usize = 16 * 1024;
/// Requests parsed, and keys prefetched, before the first one runs.
const BATCH: usize = 64;

/// A parsed request: where its spans are, where it ends.
#[derive(Clone, Copy)]
struct Parsed<'t> {
    row: Option<&'t Row>,
    first: u32,
    argc: u32,
    /// Offset behind its last byte.
    end: u32,
}

/// Buffers of the loop that are used again for every batch.
#[derive(Default)]
pub struct Scratch {
    pub read: Vec<u8>,
    pub spans: Vec<Span>,
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
        if client.flags & waiting != 0 {
            // A client that waits is read again when it is released; its going away is noticed now.
            if conn.read_closed && client.flags & client_flag::BLOCKED != 0 {
                let id = conn.id;
                self.state.close_client(id);
            }
            return false;
        }
        client.seen_ms = self.state.clock.unix_ms;
        let mut input = conn.input.take();
        // An unfinished request that is (or will be) large is read where it is.
        let own = input
            .as_ref()
            .is_some_and(|i| i.bytes.len() >= OWN_BUFFER_MIN || i.missing >= OWN_BUFFER_MIN);
        let mut buf;
        let mut resume;
        let mut filled;
        let asked;
        if own {
            let held = input.take().unwrap_or_default();
            (buf, resume) = (held.bytes, held.resume);
            filled = buf.len();
            // Grows with what arrives, never by what is only announced.
            let room = held.missing.clamp(READ_BYTES, filled.max(READ_BYTES) * 2);
            asked = room;
            buf.resize(filled + room, 0);
        } else {
            buf = std::mem::take(&mut self.scratch.read);
            resume = Resume::default();
            filled = 0;
            if let Some(held) = input.take() {
                filled = held.bytes.len();
                buf[..filled].copy_from_slice(&held.bytes);
                resume = held.resume;
            }
            asked = READ_BYTES;
        }
        let got = if conn.readable {
            read_some(conn, &mut buf[filled..filled + asked])
        } else {
            0
        };
        if got > 0 {
            client.net_in += got as u64;
            self.state.stats.net_in += got as u64;
            self.state.stats.reads += 1;
        }
        filled += got;
        let (end, used) = self.run_bytes(slot, &mut buf[..filled], &mut resume);
        self.keep_rest(slot, buf, filled, used, resume, own, end)
    }

    /// Runs all requests in `buf`. Says how it ended and how many bytes were used.
    fn run_bytes(&mut self, slot: usize, buf: &mut [u8], resume: &mut Resume) -> (End, usize) {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return (End::Closing, 0);
        };
        let me = conn.id;
        let mut out = std::mem::take(&mut conn.out);
        if out.buf.capacity() == 0 {
            out.buf = self.pool.take();
        }
        let limits = self.limits(slot);
        let mut spans = std::mem::take(&mut self.scratch.spans);
        let mut pos = 0;
        let mut used = 0;
        let mut end = End::Dry;
        'bytes: while pos < buf.len() {
            spans.clear();
            let mut batch = [Parsed {
                row: None,
                first: 0,
                argc: 0,
                end: 0,
            }; BATCH];
            let (mut n, mut keys) = (0, 0);
            let mut broken = None;
            while n < BATCH && keys < BATCH_MAX && pos < buf.len() {
                let first = spans.len();
                match parse(buf, &mut pos, resume, &limits, &mut spans) {
                    Step::Request => {
                        let name = spans[first];
                        let name = &buf[name.at as usize..][..name.len as usize];
                        let row = self.table.find(name);
                        let argc = spans.len() - first;
                        keys += row.map_or(0, |row| key_range(row, argc).len());
                        batch[n] = Parsed {
                            row,
                            first: first as u32,
                            argc: argc as u32,
                            end: pos as u32,
                        };
                        n += 1;
                    }
                    Step::Empty => {
                        if n == 0 {
                            used = pos;
                        } else {
                            batch[n - 1].end = pos as u32;
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
            if keys > 1 {
                prefetch(&mut self.state, slot, &batch[..n], buf, &spans);
            }
            for parsed in &batch[..n] {
                let range = parsed.first as usize..(parsed.first + parsed.argc) as usize;
                let argv = Argv::new(buf, &spans[range]);
                let mark = out.mark();
                let flow = process(&mut self.state, &self.table, parsed.row, argv, &mut out, me);
                if flow == Flow::Postponed {
                    self.state.postpone(me);
                    end = End::Waiting;
                    self.state.dbs.end_batch();
                    break 'bytes;
                }
                used = parsed.end as usize;
                let client = self.state.clients.me(me);
                let special = client.flags & ATTENTION != 0
                    || client.reply_mode != ReplyMode::On
                    || client.resp3 != out.resp3;
                if special {
                    // Messages that the command sent are no replies: they come behind this.
                    out.resp3 = self.state.clients.me(me).resp3;
                    apply_reply_mode(&mut self.state, me, &mut out, mark);
                }
                if !self.state.outbox.is_empty() {
                    deliver(
                        &mut self.state,
                        &mut self.conns,
                        &mut self.unwritten,
                        me,
                        &mut out,
                    );
                }
                if special {
                    let flags = self.state.clients.me(me).flags;
                    if flags & (client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY) != 0 {
                        end = End::Closing;
                        self.state.dbs.end_batch();
                        break 'bytes;
                    }
                }
                if flow == Flow::Blocked {
                    end = End::Waiting;
                    self.state.dbs.end_batch();
                    break 'bytes;
                }
                if self.state.stats.tick > self.budget_end && used < buf.len() {
                    end = End::Budget;
                    self.state.dbs.end_batch();
                    break 'bytes;
                }
            }
            self.state.dbs.end_batch();
            if let Some(error) = broken {
                let mut text = b"ERR ".to_vec();
                text.extend_from_slice(&error.text());
                out.error_bytes(&text);
                self.state.stats.count_error("ERR");
                log::debug!(
                    "Protocol error ({}) from client",
                    String::from_utf8_lossy(&text)
                );
                self.state.clients.me(me).flags |= client_flag::CLOSE_AFTER_REPLY;
                end = End::Closing;
                break;
            }
            if n == 0 {
                break;
            }
        }
        self.scratch.spans = spans;
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
        if end != End::Dry && end != End::Closing {
            // Parsed ahead and not run: their first bytes are looked at again later.
            *resume = Resume::default();
        }
        (end, used)
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
            if bytes.capacity() > 4 * bytes.len().max(4096) {
                bytes.shrink_to_fit();
            }
            conn.input = Some(Box::new(Input {
                bytes,
                resume,
                missing,
            }));
        }
        if !own {
            self.scratch.read = buf;
        }
        let held = conn.input.as_ref().map_or(0, |i| i.bytes.len());
        if let Some(client) = self.state.clients.at(slot) {
            client.transport.query_bytes = held as u32;
            client.transport.query_free =
                conn.input.as_ref().map_or(0, |i| i.bytes.capacity() - held) as u32;
        }
        if held as u64 > self.state.config.client_query_buffer_limit {
            let id = conn.id;
            log::warn!("Closing client that reached max query buffer length: {held} bytes pending");
            self.state.stats.query_limit_disconnections += 1;
            self.state.close_client(id);
            return false;
        }
        match end {
            End::Dry => {
                if conn.read_closed && !conn.readable {
                    let id = conn.id;
                    self.state.close_client(id);
                    return false;
                }
                conn.readable
            }
            End::Budget => true,
            End::Waiting => {
                // Bytes stay where they are. Going away while waiting is noticed by the poll, or
                // here if it was seen already.
                if conn.read_closed {
                    let id = conn.id;
                    self.state.close_client(id);
                }
                false
            }
            End::Closing => false,
        }
    }

    /// Protocol limits of this client.
    fn limits(&mut self, slot: usize) -> Limits {
        let authenticated = self.authenticated(slot);
        Limits {
            bulk_len_max: self.state.config.proto_max_bulk_len,
            authenticated,
            ..Limits::default()
        }
    }
}

/// Flags that make the loop look at a client after its command.
const ATTENTION: u32 =
    client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY | client_flag::BLOCKED;

/// Reads once. A read that came back short has emptied the socket: no second one is needed to see
/// EAGAIN, since signals cannot interrupt it (they come through a descriptor).
fn read_some(conn: &mut Conn, buf: &mut [u8]) -> usize {
    match conn.stream.read(buf) {
        Ok(0) => {
            (conn.readable, conn.read_closed) = (false, true);
            0
        }
        Ok(n) => {
            // With the peer's end seen, read on to the zero: no further event would tell of it.
            conn.readable = n == buf.len() || conn.read_closed;
            n
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            conn.readable = false;
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

/// The positions of a request's keys in its arguments, by its row.
#[inline]
fn key_range(row: &Row, argc: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
    let cmd = row.cmd;
    let first = cmd.first_key as usize;
    let end = if cmd.last_key >= 0 {
        (cmd.last_key as usize + 1).min(argc)
    } else {
        (argc + 1).saturating_sub(cmd.last_key.unsigned_abs() as usize)
    };
    let end = if first == 0 { 0 } else { end };
    (first..end.max(first)).step_by((cmd.key_step as usize).max(1))
}

/// Hashes the keys of a batch and fetches, in overlapped passes, the memory they live in.
fn prefetch(
    state: &mut crate::state::State,
    slot: usize,
    batch: &[Parsed<'_>],
    buf: &[u8],
    spans: &[Span],
) {
    let Some(client) = state.clients.at(slot) else {
        return;
    };
    let db = client.db as usize;
    if client.multi.is_some() {
        return;
    }
    let keys = batch.iter().flat_map(|parsed| {
        let spans = &spans[parsed.first as usize..][..parsed.argc as usize];
        let range = parsed
            .row
            .map_or((0..0).step_by(1), |row| key_range(row, spans.len()));
        range.map(move |at| (db, &buf[spans[at].at as usize..][..spans[at].len as usize]))
    });
    state.dbs.prefetch(keys);
}

/// Appends what other clients' commands sent to clients: behind the running command's reply.
pub(super) fn deliver(
    state: &mut crate::state::State,
    conns: &mut [Option<Conn>],
    unwritten: &mut Vec<usize>,
    me: crate::state::client::ClientId,
    out: &mut Writer,
) {
    let mut outbox = std::mem::take(&mut state.outbox);
    outbox.drain(|to, bytes| {
        if to == me {
            out.raw(bytes);
            return;
        }
        let slot = to.slot as usize;
        if let Some(Some(conn)) = conns.get_mut(slot)
            && conn.id == to
        {
            conn.out.raw(bytes);
            if !conn.unwritten {
                conn.unwritten = true;
                unwritten.push(slot);
            }
        }
    });
    state.outbox = outbox;
}

/// CLIENT REPLY OFF and SKIP: takes back what was just written.
fn apply_reply_mode(
    state: &mut crate::state::State,
    me: crate::state::client::ClientId,
    out: &mut Writer,
    mark: crate::resp::reply::Mark,
) {
    let client = state.clients.me(me);
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
