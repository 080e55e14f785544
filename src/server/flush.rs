//! Writing replies: once for each connection a turn, and what happens to output nobody takes.
use super::conn::{Conn, Pool};
use super::turn::Server;
use crate::base::sys::ticks;
use crate::commands::client_list::describe;
use crate::exec::registry::Registry;
use crate::resp::reply::Writer;
use crate::state::State;
use crate::state::client::{Client, ClientId, client_flag};
use crate::state::config::ClientClass;
use crate::state::groups::GroupId;
use std::io::{self, IoSlice};

/// Pieces of one vectored write.
const PIECES_MAX: usize = 64;
/// Bytes of one connection's output written in a turn: the others are to be served, too.
const TURN_BYTES_MAX: usize = 512 * 1024;
/// Time for writing in a turn, microseconds.
const WRITE_US: u64 = 400;

/// Nothing more of a client runs while it leaves more than this unread; once half of it is gone it
/// goes on. Redis has no such bound where `client-output-buffer-limit` is 0, as it is by default.
pub(super) const UNREAD_MAX: usize = 256 * 1024 * 1024;

/// Time in a turn for writing what others sent, microseconds, whatever replies have taken.
const POSTS_US: u64 = 200;
/// So much that others sent, and that nobody has tried to write yet, and no further requests run: what
/// is written first need not be held in memory.
pub(super) const POSTED_MAX: usize = 32 * 1024 * 1024;
/// So much output every client of a group may hold, whatever the others hold.
const GROUP_SHARE_MIN: u64 = 16 * 1024;
/// From this much waiting output on, an appended message is held against the limit at once.
const LIMITED_MIN: usize = 64 * 1024;

/// Connections that others sent something.
#[derive(Default)]
pub(super) struct Posts {
    pub(super) list: Vec<usize>,
    /// Bytes in all that nobody has tried to write.
    pub(super) bytes: usize,
}

/// What became of a connection's output.
pub(super) enum Wrote {
    All,
    Some,
    Failed,
}

impl Server {
    /// Puts a connection on the list of those to write at the end of the turn.
    pub(super) fn mark_unwritten(&mut self, slot: usize) {
        if let Some(Some(conn)) = self.conns.get_mut(slot)
            && !conn.unwritten
        {
            conn.unwritten = true;
            self.unwritten.push(slot);
        }
    }

    /// Writes the connections that have output, oldest first, while the turn's time lasts.
    pub(super) fn flush_some(&mut self) {
        if self.unwritten.is_empty() && self.posts.list.is_empty() {
            return;
        }
        let end = ticks() + self.state.stats.us_to_ticks(WRITE_US);
        let mut list = std::mem::take(&mut self.unwritten);
        let mut done = 0;
        for slot in &list {
            self.flush(*slot);
            done += 1;
            if ticks() > end {
                break;
            }
        }
        list.drain(..done);
        // The list's buffer is used again; who has more to write comes behind those who waited.
        list.append(&mut self.unwritten);
        self.unwritten = list;
        if !self.posts.list.is_empty() {
            self.flush_posts(end);
        }
    }

    /// Writes what others sent to clients, oldest first, in the time that replies have left, and in a
    /// share of their own: who sends must not wait behind thousands who listen. A list that is not
    /// done with in one turn gathers more for each write.
    fn flush_posts(&mut self, end: u64) {
        let own = self.state.stats.us_to_ticks(POSTS_US);
        let end = end.max(ticks() + own);
        let mut list = std::mem::take(&mut self.posts.list);
        let mut done = 0;
        for slot in &list {
            done += 1;
            if let Some(Some(conn)) = self.conns.get_mut(*slot)
                && conn.posted
            {
                conn.posted = false;
                // Among the replies it comes to its turn, too.
                if !conn.unwritten {
                    self.flush(*slot);
                }
            }
            if ticks() > end {
                break;
            }
        }
        list.drain(..done);
        list.append(&mut self.posts.list);
        self.posts.list = list;
    }

    /// Writes all that the sockets take.
    pub(super) fn flush_all(&mut self) {
        while !self.unwritten.is_empty() || !self.posts.list.is_empty() {
            self.flush_some();
        }
    }

    /// Writes what one connection has; a socket that is full is waited for.
    pub(super) fn flush(&mut self, slot: usize) {
        let Some(Some(conn)) = self.conns.get_mut(slot) else {
            return;
        };
        conn.unwritten = false;
        self.posts.bytes -= std::mem::take(&mut conn.posted_bytes);
        let left = flush_conn(&mut self.state, conn, &mut self.pool);
        if left.more {
            self.mark_unwritten(slot);
        }
        if left.goes_on {
            self.queue(slot);
        }
    }

    /// `client-output-buffer-limit`: over the hard limit, or for too long over the soft one, a
    /// client is closed.
    pub(super) fn check_output_limit(&mut self, slot: usize) {
        if let Some(Some(conn)) = self.conns.get_mut(slot) {
            check_output_limit(&mut self.state, conn);
        }
    }

    /// The most output that may wait for this client, as replies are written; 0: no limit.
    pub(super) fn output_limit(&mut self, slot: usize) -> usize {
        limit_of(&mut self.state, slot)
    }
}

/// What is left to do for a connection that was written.
#[derive(Default)]
pub(super) struct Left {
    /// More could be written: in the next turn.
    pub more: bool,
    /// It was held back, and goes on with its requests.
    pub goes_on: bool,
}

/// Writes what a connection has.
pub(super) fn flush_conn(state: &mut State, conn: &mut Conn, pool: &mut Pool) -> Left {
    let mut left = Left::default();
    let id = conn.id;
    if conn.out.is_lost() {
        conn.out.clear();
        close_over_limit(state, id);
        return left;
    }
    if conn.blocked_write {
        check_output_limit(state, conn);
        return left;
    }
    let Some(client) = state.clients.at(id.slot as usize) else {
        return left;
    };
    let before = conn.out.len();
    let wrote = if before == 0 && conn.stream.settled() {
        Wrote::All
    } else {
        write_out(conn)
    };
    let sent = (before - conn.out.len()) as u64;
    client.net_out += sent;
    let group = client.group;
    state.stats.net_out += sent;
    if let Some(own) = state.figures.get_mut(group) {
        own.net_out += sent;
    }
    state.stats.writes += 1;
    if sent > 0 {
        // Who takes its replies is not idle.
        client.seen_ms = state.clock.unix_ms;
    }
    left.goes_on = conn.held_back && conn.out.len() <= UNREAD_MAX / 2;
    if left.goes_on {
        conn.held_back = false;
    }
    match wrote {
        Wrote::All => {
            let buffer = conn.out.release();
            pool.give(buffer);
            conn.soft_since_ms = 0;
            conn.posted_total = 0;
            conn.note_session(client);
            let counted = show_output(client, None);
            let ends = client.has(client_flag::CLOSE_AFTER_REPLY);
            if let Some((group, before, now)) = counted {
                state.count_output(group, before, now);
            }
            state.weigh(id);
            if ends {
                state.close_client(id);
            }
        }
        Wrote::Some => {
            left.more = !conn.blocked_write;
            check_output_limit(state, conn);
        }
        Wrote::Failed => state.close_client(id),
    }
    left
}

/// Closes a client whose output is over its limit.
fn check_output_limit(state: &mut State, conn: &mut Conn) {
    let id = conn.id;
    let Some(client) = state.clients.at(id.slot as usize) else {
        return;
    };
    let limit = state.config.client_output_buffer_limit.of(class_of(client));
    let held = conn.out.heap_bytes() as u64;
    conn.note_session(client);
    let counted = show_output(client, Some(conn));
    let now_ms = state.clock.mono_us / 1000;
    let mut over = limit.hard_bytes > 0 && held > limit.hard_bytes;
    // Before it has authenticated a client may not make the server hold anything for it.
    let unknown = client.gate & crate::state::gate::UNAUTHENTICATED != 0 && state.password_needed();
    over |= unknown && held > 64 * 1024;
    // Others fill what a listener leaves unread: holding it back would be of no use.
    over |= conn.posted_total.min(conn.out.len()) > UNREAD_MAX;
    if limit.soft_bytes > 0 && held > limit.soft_bytes {
        if conn.soft_since_ms == 0 {
            conn.soft_since_ms = now_ms.max(1);
        }
        over |= now_ms - conn.soft_since_ms > limit.soft_seconds * 1000;
    } else {
        conn.soft_since_ms = 0;
    }
    if let Some((group, before, now)) = counted {
        state.count_output(group, before, now);
        // Whoever holds much when the group's share is used up is closed, not who comes by then.
        over |= now > GROUP_SHARE_MIN && state.output_left(group) == Some(0);
    }
    if over {
        close_over_limit(state, id);
    } else {
        state.weigh(id);
    }
}

/// Closes a client whose output has outgrown its limit.
#[cold]
pub(super) fn close_over_limit(state: &mut State, id: ClientId) {
    let client = state.clients.me(id);
    // What was cut off is looked at again when the rest is written.
    if client.has(client_flag::CLOSE_NOW) {
        return;
    }
    log::warn!(
        "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer \
         limits.",
        id.serial,
        client.peer_text()
    );
    let group = client.group;
    state.stats.output_limit_disconnections += 1;
    state.count_output_refusal(group);
    state.close_client(id);
}

/// Clients closed in one turn for what they hold.
const EVICTIONS_MAX: usize = 16;

/// `maxmemory-clients`: closes those that hold most while all hold too much together. Their memory is free
/// when they are closed, at the end of the turn.
pub(super) fn evict_clients(state: &mut State, table: &Registry) {
    for _ in 0..EVICTIONS_MAX {
        let Some(who) = state.heaviest_client() else {
            return;
        };
        let mut line = String::new();
        if let Some(client) = state.clients.get(who) {
            describe(state, table, client, GroupId::DEFAULT, None, &mut line);
        }
        log::info!("Evicting client: {line}");
        state.stats.evicted_clients += 1;
        state.close_client(who);
    }
}

/// Appends what other clients' commands sent to clients: behind the running command's reply.
pub(super) fn deliver(
    state: &mut State,
    conns: &mut [Option<Conn>],
    posts: &mut Posts,
    me: ClientId,
    out: &mut Writer,
) {
    let mut outbox = std::mem::take(&mut state.outbox);
    outbox.drain(|to, message| {
        if to == me {
            message.append_to(out);
            return;
        }
        let slot = to.slot as usize;
        let Some(Some(conn)) = conns.get_mut(slot) else {
            return;
        };
        if conn.id != to {
            return;
        }
        let len = message.len();
        if conn.out.len() + len > LIMITED_MIN {
            conn.out.limit = limit_of(state, slot);
        }
        message.append_to(&mut conn.out);
        conn.posted_bytes += len;
        conn.posted_total += len;
        posts.bytes += len;
        if !conn.posted {
            conn.posted = true;
            posts.list.push(slot);
        }
    });
    state.outbox = outbox;
}

/// The most output that may wait for this client; 0: no limit.
fn limit_of(state: &mut State, slot: usize) -> usize {
    let Some(client) = state.clients.at(slot) else {
        return 0;
    };
    let limits = &state.config.client_output_buffer_limit;
    let own = limits.of(class_of(client)).hard_bytes;
    let (group, held) = (client.group, u64::from(client.transport.out_held));
    let limit = match group.is_default() {
        true => own,
        false => limit_in_group(state, group, own, held),
    };
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The same within what a group may hold for all its clients.
#[cold]
fn limit_in_group(state: &State, group: GroupId, own: u64, held: u64) -> u64 {
    match state.output_left(group) {
        Some(left) => {
            let share = (left + held).max(GROUP_SHARE_MIN);
            if own == 0 { share } else { own.min(share) }
        }
        None => own,
    }
}

/// Which limits hold for a client's output.
fn class_of(client: &Client) -> ClientClass {
    if client.flags & client_flag::REPLICA != 0 {
        ClientClass::Replica
    } else if client.flags & client_flag::PUBSUB != 0 {
        ClientClass::Pubsub
    } else {
        ClientClass::Normal
    }
}

/// Tells the session what output it has: none, or what this connection holds. For a client of a group what
/// it held before and holds now.
fn show_output(client: &mut Client, conn: Option<&Conn>) -> Option<(GroupId, u64, u64)> {
    let (group, before) = (client.group, u64::from(client.transport.out_held));
    let transport = &mut client.transport;
    let short = |n: usize| n.min(u32::MAX as usize) as u32;
    (transport.out_bytes, transport.out_held) = (0, 0);
    (transport.out_pieces, transport.writing) = (0, false);
    if let Some(conn) = conn {
        transport.out_bytes = short(conn.out.len());
        transport.out_held = short(conn.out.heap_bytes());
        transport.out_pieces = short(conn.out.segments().count());
        transport.writing = conn.blocked_write;
    }
    (!group.is_default()).then_some((group, before, u64::from(transport.out_held)))
}

/// Writes until all is out, the socket is full, or the turn's share is spent.
pub(super) fn write_out(conn: &mut Conn) -> Wrote {
    let mut share = TURN_BYTES_MAX;
    loop {
        let result = if conn.out.is_flat() {
            conn.stream.write(conn.out.head())
        } else {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let mut n = 0;
            for segment in conn.out.segments().take(PIECES_MAX) {
                pieces[n] = IoSlice::new(segment);
                n += 1;
            }
            conn.stream.write_vectored(&pieces[..n])
        };
        match result {
            Ok(n) => {
                conn.out.advance(n);
                if conn.out.is_empty() {
                    if conn.stream.settled() {
                        return Wrote::All;
                    }
                    conn.blocked_write = true;
                    return Wrote::Some;
                }
                if n >= share {
                    return Wrote::Some;
                }
                share -= n;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                conn.blocked_write = true;
                return Wrote::Some;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                log::debug!("Error writing to client: {error}");
                return Wrote::Failed;
            }
        }
    }
}
