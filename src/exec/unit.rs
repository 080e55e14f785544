//! The unit of execution: one top-level command with all that runs inside it.
//!
//! When a unit ends, what it changed is propagated as a whole and clients that wait for keys it
//! made ready are served, each by running its own request again through `call`.
use super::admit::feed_monitors;
use super::call::call;
use super::command::Outcome;
use super::ctx::{Ctx, Mode};
use super::registry::{Registry, Row};
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::State;
use crate::state::client::{ClientId, Parked, ReplyMode, TimeoutReply, client_flag};
use crate::state::gate;
use crate::state::stats::RowNumber;
use crate::state::watch::KeyName;
use crate::types::Kind;

/// Queues a request inside MULTI.
#[cold]
pub fn enqueue(ctx: &mut Ctx<'_>, row: &Row) {
    let argv = ctx.argv.to_owned();
    let client = ctx.client();
    if let Some(multi) = &mut client.multi {
        // Nothing of a transaction that cannot run is kept.
        if !multi.aborted {
            multi.bytes += argv.heap_bytes();
            multi.flags |= row.cmd.flags;
            multi.lacks |= !row.cmd.flags;
            multi.queue.push((row.id, argv));
        }
    }
    ctx.out.simple("QUEUED");
}

/// Runs the queued requests of a transaction, each one's reply behind the other's.
pub fn run_queue(ctx: &mut Ctx<'_>, queue: &[(RowNumber, Box<OwnedArgv>)]) {
    ctx.out.array(queue.len());
    for (id, owned) in queue {
        let row = ctx.table.row(*id);
        let argv = owned.argv();
        if ctx.state.gate & gate::MONITORED != 0 {
            feed_monitors(ctx.state, argv, row, ctx.db, Mode::Transaction, ctx.me);
        }
        let mut inner = Ctx {
            state: &mut *ctx.state,
            table: ctx.table,
            argv,
            out: &mut *ctx.out,
            me: ctx.me,
            db: ctx.db,
            mode: Mode::Transaction,
            id: row.id,
        };
        call(&mut inner, row);
        // SELECT inside a transaction moves what follows it.
        ctx.db = inner.db;
    }
}

/// Ends a unit: serves blocked clients until nothing is ready, then hands on what was changed.
#[cold]
pub fn finish(state: &mut State, table: &Registry) {
    emit(state);
    while state.blocked.has_ready() {
        for name in state.blocked.take_ready() {
            serve(state, table, &name);
        }
    }
}

/// Serves those who wait for a key, oldest first, as long as the key is of use to them. What they
/// do may make this key ready again, or others: those are served after it.
fn serve(state: &mut State, table: &Registry, name: &KeyName) {
    let mut at = 0;
    while let Some(who) = state.blocked.waiter(name, at) {
        let (db, key) = (name.0 as usize, &*name.1);
        let kind = state.dbs.get(db, key).map(|entry| entry.kind());
        if kind.is_none() && !state.blocked.absence_wanted(name) {
            return;
        }
        let parked = state.clients.get(who).and_then(|c| c.parked.as_ref());
        let wakes = parked.is_some_and(|p| p.wants_absence || kind == Some(p.kind));
        if wakes {
            retry(state, table, who);
        }
        // Who was served has left the queue.
        if state.blocked.waiter(name, at) == Some(who) {
            at += 1;
        }
    }
}

/// Hands the unit's commands to the readers of the log: more than one go inside MULTI/EXEC.
fn emit(state: &mut State) {
    let unit = std::mem::take(&mut state.prop.unit);
    if !unit.is_empty() {
        state.log.append(&unit);
    }
}

/// Runs a blocked client's request again.
fn retry(state: &mut State, table: &Registry, who: ClientId) {
    let Some(client) = state.clients.get_mut(who) else {
        return;
    };
    let Some(parked) = client.parked.take() else {
        return;
    };
    let (resp3, db) = (client.resp3, parked.db as usize);
    let row = table.row(parked.row);
    let mut reply = Writer::new(resp3);
    let mut ctx = Ctx {
        state: &mut *state,
        table,
        argv: parked.argv.argv(),
        out: &mut reply,
        me: who,
        db,
        mode: Mode::Client,
        id: row.id,
    };
    if call(&mut ctx, row) == Outcome::Block {
        if let Some(client) = state.clients.get_mut(who) {
            client.parked = Some(parked);
        }
    } else {
        release(state, who, &parked, &reply);
    }
    // Also when it waits on: the look at its keys may have removed dead ones.
    emit(state);
}

/// Unblocks a client with this reply.
fn release(state: &mut State, who: ClientId, parked: &Parked, reply: &Writer) {
    state.blocked.unpark(who, parked);
    if let Some(client) = state.clients.get_mut(who) {
        client.flags = client.flags & !client_flag::BLOCKED | client_flag::RESUME;
    }
    if !parked.silent {
        let message = state
            .outbox
            .encode(|out| out.extend_from_slice(&reply.to_vec()));
        state.outbox.post(who, message);
    }
    state.resumed.push(who);
}

/// Unblocks a client without having served it: its time is up, or CLIENT UNBLOCK.
pub fn unblock(state: &mut State, who: ClientId, error: Option<&str>) -> bool {
    let Some(client) = state.clients.get_mut(who) else {
        return false;
    };
    let resp3 = client.resp3;
    let Some(parked) = client.parked.take() else {
        return false;
    };
    let mut reply = Writer::new(resp3);
    match (error, parked.on_timeout) {
        (Some(text), _) => {
            reply.error(text);
            state
                .stats
                .count_error(text.split(' ').next().unwrap_or("ERR"));
        }
        (None, TimeoutReply::Null) => reply.null(),
        (None, TimeoutReply::NullArray) => reply.null_array(),
        (None, TimeoutReply::Integer(n)) => reply.int(n),
    }
    release(state, who, &parked, &reply);
    true
}

/// Unblocks every client whose deadline has passed.
pub fn time_out(state: &mut State) {
    for who in state.blocked.timed_out(state.clock.mono_us / 1000) {
        unblock(state, who, None);
    }
}

/// What a client waits for, and how long.
pub struct Wait<'k> {
    /// In the order in which it named them.
    pub keys: &'k [&'k [u8]],
    /// A key wakes it only when it holds this type.
    pub kind: Kind,
    /// It wakes too when a key goes or takes another type (a stream's group cannot be read then).
    pub wants_absence: bool,
    /// Monotonic milliseconds; 0: for ever.
    pub deadline_ms: u64,
    pub on_timeout: TimeoutReply,
}

impl Ctx<'_> {
    /// The client waits: parks the request, which runs again when a key may serve it. A handler asks
    /// `may_block` first.
    ///
    /// A request that is run again and finds nothing keeps its place and its deadline.
    pub fn block_on(&mut self, wait: &Wait<'_>) -> Outcome {
        let (me, db, row) = (self.me, self.db as u32, self.id);
        let client = self.state.clients.me(me);
        if client.has(client_flag::BLOCKED) {
            return Outcome::Block;
        }
        client.flags |= client_flag::BLOCKED;
        let parked = Box::new(Parked {
            row,
            argv: self.argv.to_owned(),
            keys: wait.keys.iter().map(|k| Box::from(*k)).collect(),
            db,
            deadline_ms: wait.deadline_ms,
            on_timeout: wait.on_timeout,
            kind: wait.kind,
            wants_absence: wait.wants_absence,
            silent: client.reply_mode != ReplyMode::On,
        });
        self.state.blocked.park(me, &parked);
        self.state.clients.me(me).parked = Some(parked);
        Outcome::Block
    }
}
