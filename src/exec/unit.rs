//! The unit of execution: one top-level command with all that runs inside it.
//!
//! When a unit ends, what it changed is propagated as a whole and clients that wait for keys it
//! made ready are served, each by running its own request again through `call`.
use super::admit::feed_monitors;
use super::call::call;
use super::command::{Outcome, flag};
use super::ctx::{Ctx, Mode};
use super::registry::{Registry, Row};
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::State;
use crate::state::client::{ClientId, Parked, TimeoutReply, client_flag};
use crate::state::gate;
use crate::state::stats::RowNumber;

/// Queues a request inside MULTI.
#[cold]
pub fn enqueue(ctx: &mut Ctx<'_>, row: &Row) {
    let argv = ctx.argv.to_owned();
    let client = ctx.client();
    if let Some(multi) = &mut client.multi {
        // Nothing of a transaction that cannot run is kept.
        if !multi.aborted {
            multi.bytes += argv.heap_bytes();
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
            for who in state.blocked.waiting_for(&name) {
                retry(state, table, who);
            }
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
        return;
    }
    release(state, who, &parked, &reply);
    emit(state);
}

/// Unblocks a client with this reply.
fn release(state: &mut State, who: ClientId, parked: &Parked, reply: &Writer) {
    state
        .blocked
        .unpark(who, parked.db, &parked.keys, parked.deadline_ms);
    if let Some(client) = state.clients.get_mut(who) {
        client.flags = client.flags & !client_flag::BLOCKED | client_flag::RESUME;
    }
    let message = state
        .outbox
        .encode(|out| out.extend_from_slice(&reply.to_vec()));
    state.outbox.post(who, message);
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

impl Ctx<'_> {
    /// The client waits for these arguments to become ready: parks the request.
    ///
    /// `deadline_ms` is monotonic, 0 means for ever. A request that is run again after it waited
    /// keeps its place.
    pub fn block_on(
        &mut self,
        keys: &[&[u8]],
        deadline_ms: u64,
        on_timeout: TimeoutReply,
    ) -> Outcome {
        let (me, db, row) = (self.me, self.db as u32, self.id);
        let client = self.state.clients.me(me);
        if client.has(client_flag::BLOCKED) {
            return Outcome::Block;
        }
        client.flags |= client_flag::BLOCKED;
        let keys: Vec<Box<[u8]>> = keys.iter().map(|k| Box::from(*k)).collect();
        self.state.blocked.park(me, db, &keys, deadline_ms);
        let argv = self.argv.to_owned();
        let parked = Parked {
            row,
            argv,
            keys,
            db,
            deadline_ms,
            on_timeout,
        };
        self.state.clients.me(me).parked = Some(Box::new(parked));
        Outcome::Block
    }
}

/// Is this row one that only an idle client may run (none of MULTI's own)?
pub fn is_write(row: &Row) -> bool {
    row.cmd.is(flag::WRITE)
}
