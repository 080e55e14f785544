//! The unit of execution: one top-level command with all that runs inside it.
//!
//! When a unit ends, what it changed is propagated as a whole and clients that wait for keys it
//! made ready are served, each by running its own request again through `call`.
use super::acl;
use super::admit::{Verdict, admit, feed_monitors, flags_of};
use super::call::{call, reject};
use super::command::Outcome;
use super::ctx::{Ctx, Mode};
use super::error::{CmdError, SERVER_WIDE, WRONG_PASS};
use super::moving;
use super::observe::Look;
use super::registry::{Registry, Row};
use super::{quota, track};
use crate::base::f80::F80;
use crate::base::num::parse_i64;
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::State;
use crate::state::client::{ClientId, Parked, ReplyMode, TimeoutReply, client_flag};
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::listener;
use crate::state::repl::wait::{Awaited, There};
use crate::state::stats::RowNumber;
use crate::state::users::UserId;
use crate::state::watch::{KeyName, Ticket};
use crate::types::Kind;

/// Queues a request inside MULTI.
#[cold]
pub fn enqueue(ctx: &mut Ctx<'_>, row: &Row) {
    let argv = ctx.argv.to_owned();
    let flags = flags_of(ctx, row);
    let client = ctx.client();
    if let Some(multi) = &mut client.multi {
        // Nothing of a transaction that cannot run is kept.
        if !multi.aborted {
            multi.bytes += argv.heap_bytes();
            multi.flags |= flags;
            multi.lacks |= !flags;
            multi.queue.push((row.id, argv));
        }
    }
    ctx.out.simple("QUEUED");
}

/// A user, and the group it is in.
type Identity = (UserId, GroupId);

fn identity(ctx: &mut Ctx<'_>) -> Identity {
    let user = ctx.client().user;
    (user, ctx.state.users.get(user).group)
}

/// What a transaction began in one group does not go on with the data of that group once its user is in
/// another. Nobody reads this but logs: the connection is closed.
const MOVED: CmdError =
    CmdError::new("NOPERM the user of this connection is in another group now: log in again");

/// Why a queued request may not run now: who it is for may have changed since it was queued.
fn refusal_in_exec(ctx: &mut Ctx<'_>, row: &Row, begun_as: Identity) -> Option<CmdError> {
    let now = identity(ctx);
    if now.0 == begun_as.0 && now.1 != begun_as.1 {
        return Some(MOVED);
    }
    if ctx.client().gate & row.cmd.blocked_by & gate::TENANT != 0 {
        return Some(SERVER_WIDE);
    }
    acl::refusal_in_exec(ctx, row)
}

/// Runs the queued requests of a transaction, each one's reply behind the other's.
pub fn run_queue(ctx: &mut Ctx<'_>, queue: &[(RowNumber, Box<OwnedArgv>)]) {
    ctx.out.array(queue.len());
    let begun_as = identity(ctx);
    for (id, owned) in queue {
        let row = ctx.table.row(*id);
        let argv = owned.argv();
        let reads = ctx.state.tracking.reads;
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
        let looked = inner
            .state
            .hotkeys
            .looking
            .then(|| Look::begin(inner.state, inner.out));
        let refused = refusal_in_exec(&mut inner, row, begun_as)
            .or_else(|| quota::refusal_inside(&mut inner, row));
        match refused {
            None => _ = call(&mut inner, row),
            Some(error) => {
                inner.out.error_bytes(error.text());
                inner.state.count_error(error.code());
            }
        }
        let db = inner.db;
        if let Some(look) = looked {
            look.end(inner.state, row, argv, db, inner.out);
        }
        // SELECT inside a transaction moves what follows it.
        ctx.db = db;
        // Also CLIENT TRACKING and CLIENT CACHING may have been among what ran.
        if ctx.client().gate & gate::TRACKS != 0 {
            track::remember_all(ctx.state, row, argv, ctx.me, reads);
        }
        if ctx.is_monitored() {
            feed_monitors(ctx.state, argv, row, ctx.db, Mode::Transaction, ctx.me);
        }
        if ctx.state.wanted.shutdown.is_some() {
            // Meanwhile, a script among them was busy, the server was ended: what follows would be lost.
            return;
        }
    }
}

/// Ends a unit: what it changed is handed on, then blocked clients are served until nothing is ready.
#[inline]
pub fn finish(state: &mut State, table: &Registry) {
    if state.end_unit() {
        serve_all(state, table);
    }
}

#[cold]
fn serve_all(state: &mut State, table: &Registry) {
    // What has made a key ready may have taken longer than the key had to live.
    state.clock.refresh();
    while state.blocked.has_ready() {
        for name in state.blocked.take_ready() {
            serve(state, table, &name);
        }
    }
}

/// Serves those who wait for a key, oldest first, as long as the key is of use to them. What they
/// do may make this key ready again, or others: those are served after it.
fn serve(state: &mut State, table: &Registry, name: &KeyName) {
    let mut ticket = 0;
    loop {
        let there = state.dbs.get(name.0 as usize, &name.1);
        let kind = there.map(|entry| entry.kind());
        let Some((next, who)) = state.blocked.next_waiter(name, ticket, kind) else {
            return;
        };
        ticket = next;
        if state.gate & gate::MIGRATING != 0 && is_delayed(state, table, who) {
            state.migrations.serve_later(name);
            continue;
        }
        retry(state, table, who, next);
    }
}

/// Would it change a key that is on its way to another server?
#[cold]
fn is_delayed(state: &State, table: &Registry, who: ClientId) -> bool {
    let client = state.clients.get(who);
    let parked = client.and_then(|client| client.parked.as_ref());
    parked.is_some_and(|parked| moving::delays(state, table.row(parked.row), parked))
}

/// Restrictions that were looked at when the request came, and that do not concern it again.
const SETTLED: u32 = gate::MONITORED
    | gate::NO_TOUCH
    | gate::PAUSED_ALL
    | gate::PAUSED_WRITES
    | gate::MIGRATING
    | gate::IN_MULTI
    | gate::TRACKS
    | gate::CACHING;

/// May a request run again now? What holds now may refuse what was admitted then; to wait is not asked again.
/// Nor is it another request for which its group has to have one left: there has only to be room.
fn admit_again(ctx: &mut Ctx<'_>, row: &Row) -> bool {
    let gate = (ctx.client().gate | ctx.state.gate) & row.cmd.blocked_by & !SETTLED;
    let others = gate & !gate::QUOTA;
    // There is room nearly always, as for a request that comes.
    let concerned = others != 0 && (others != gate::MAXMEMORY || !ctx.state.is_at_ease());
    if concerned && admit(ctx, row, others) == Verdict::Refused {
        return false;
    }
    match quota::refusal_inside(ctx, row) {
        Some(error) => {
            reject(ctx, Some(row), &error);
            false
        }
        None => true,
    }
}

/// The request with which a client waits, to be run again.
fn ctx_of<'a>(
    state: &'a mut State,
    table: &'a Registry,
    me: ClientId,
    parked: &'a Parked,
    out: &'a mut Writer,
) -> Ctx<'a> {
    Ctx {
        state,
        table,
        argv: parked.argv.argv(),
        out,
        me,
        db: parked.db as usize,
        mode: Mode::Client,
        id: parked.row,
    }
}

/// Runs the request again with which a client waits under this ticket.
fn retry(state: &mut State, table: &Registry, who: ClientId, ticket: Ticket) {
    let Some(client) = state.clients.get_mut(who) else {
        return;
    };
    // It may have gone, or wait for something else by now.
    let Some(mut parked) = client.parked.take_if(|parked| parked.ticket == ticket) else {
        return;
    };
    let resp3 = client.resp3;
    let row = table.row(parked.row);
    let before = state.running.replace(who);
    let mut reply = Writer::new(resp3);
    let mut ctx = ctx_of(state, table, who, &parked, &mut reply);
    let refused = !admit_again(&mut ctx, row);
    // What making room had to tell is in the box, in front of the reply.
    let place = ctx.state.outbox.place();
    let waits = !refused && call(&mut ctx, row) == Outcome::Block;
    if parked.tracked {
        track::remember(state, row, parked.argv.argv(), who);
    }
    if waits {
        if let Some(client) = state.clients.get_mut(who) {
            client.parked = Some(parked);
        }
    } else {
        release(state, who, &mut parked, &reply);
        // The reply goes before what the request caused, for this client as for one that did not wait.
        if !parked.silent {
            state.outbox.advance_last(place);
        }
    }
    state.running = before;
    // Also when it waits on: the look at its keys may have removed dead ones.
    let wrote = state.prop.has_unit();
    state.prop.end_unit();
    if wrote {
        state.note_written(who);
    }
}

/// Runs the request of a client again that waited for something else than a key, as if it came just now.
pub fn rerun(state: &mut State, table: &Registry, who: ClientId) {
    let place = state.outbox.place();
    if let Some((parked, reply)) = run_again(state, table, who) {
        answer(state, who, &parked, &reply);
        if !parked.silent {
            state.outbox.advance_last(place);
        }
    }
    let wrote = state.prop.has_unit();
    finish(state, table);
    if wrote {
        state.note_written(who);
    }
}

/// The same while a script runs, whose unit goes on: the reply that the client is to get at once, which waits
/// no longer. None for one that has gone, or waits again.
pub fn rerun_beside_script(state: &mut State, table: &Registry, who: ClientId) -> Option<Writer> {
    let (parked, reply) = run_again(state, table, who)?;
    match parked.silent {
        true => Some(Writer::new(false)),
        false => Some(reply),
    }
}

/// Runs it; what it answers, if it waits no longer.
fn run_again(state: &mut State, table: &Registry, who: ClientId) -> Option<(Box<Parked>, Writer)> {
    let client = state.clients.get_mut(who)?;
    let mut parked = client.parked.take()?;
    client.flags &= !client_flag::BLOCKED;
    let resp3 = client.resp3;
    state.blocked.unpark(&mut parked);
    let row = table.row(parked.row);
    let before = state.running.replace(who);
    let mut reply = Writer::new(resp3);
    let mut ctx = ctx_of(state, table, who, &parked, &mut reply);
    let refused = !admit_again(&mut ctx, row);
    let waits = !refused && call(&mut ctx, row) == Outcome::Block;
    state.running = before;
    if waits {
        if let Some(again) = &mut state.clients.me(who).parked {
            again.silent = parked.silent;
        }
        return None;
    }
    Some((parked, reply))
}

/// Unblocks a client with this reply.
fn release(state: &mut State, who: ClientId, parked: &mut Parked, reply: &Writer) {
    state.blocked.unpark(parked);
    answer(state, who, parked, reply);
}

fn answer(state: &mut State, who: ClientId, parked: &Parked, reply: &Writer) {
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
    // A login is answered when it is time, whoever asks for it.
    let timely = client.parked.as_ref().is_some_and(|parked| {
        let now_ms = state.clock.mono_us / 1000;
        let over = parked.deadline_ms != 0 && parked.deadline_ms <= now_ms;
        !(parked.is_login() || parked.on_timeout == TimeoutReply::Work) || over
    });
    timely && answer_waiting(state, who, error)
}

/// The same for one that waits for work: it comes to nothing.
pub fn refuse(state: &mut State, who: ClientId, error: &str) {
    answer_waiting(state, who, Some(error));
}

fn answer_waiting(state: &mut State, who: ClientId, error: Option<&str>) -> bool {
    let Some(client) = state.clients.get_mut(who) else {
        return false;
    };
    let resp3 = client.resp3;
    let Some(mut parked) = client.parked.take() else {
        return false;
    };
    let mut reply = Writer::new(resp3);
    let group = state.group_of_client(who);
    match (error, parked.on_timeout) {
        (Some(text), _) => {
            reply.error(text);
            let code = text.split(' ').next().unwrap_or("ERR");
            state.stats.errors.of_mut(group).count(code);
        }
        (None, TimeoutReply::Null | TimeoutReply::Work) => reply.null(),
        (None, TimeoutReply::Replicas(awaited)) => {
            tell_there(&mut reply, &awaited, state.there(&awaited));
        }
        (None, TimeoutReply::NullArray) => reply.null_array(),
        (None, TimeoutReply::Integer(n)) => reply.int(n),
        (None, TimeoutReply::WrongPassword) => {
            reply.error_bytes(WRONG_PASS.text());
            state.stats.errors.of_mut(group).count(WRONG_PASS.code());
        }
    }
    // It has run, if to no end.
    state.count_ended_for(group);
    let per = &mut state.stats.per_command[parked.row.0 as usize];
    per.calls += 1;
    per.failed += u64::from(reply.head().first() == Some(&b'-'));
    release(state, who, &mut parked, &reply);
    true
}

/// Tells a client that waits for replicas or the disk how far they are.
pub fn tell_there(out: &mut Writer, awaited: &Awaited, there: There) {
    let replicas = there.replicas.min(i64::MAX as u64).cast_signed();
    if awaited.disk.is_some() {
        out.array(2);
        out.int(there.local.into());
    }
    out.int(replicas);
}

/// Unblocks up to `max` clients whose deadline has passed; true when there may be more.
pub fn time_out(state: &mut State, max: usize) -> bool {
    let overdue = state.blocked.timed_out(state.clock.mono_us / 1000, max);
    for who in &overdue {
        unblock(state, *who, None);
    }
    overdue.len() == max
}

const TIMEOUT_RANGE: CmdError = CmdError::new("ERR timeout is out of range");

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
    /// The moment at which a timeout in seconds (a float) ends, for [`Wait`]; 0 waits for ever.
    pub fn deadline_s(&self, timeout: &[u8]) -> Result<u64, CmdError> {
        const NOT_FLOAT: CmdError = CmdError::new("ERR timeout is not a float or out of range");
        // Nearly every timeout is a whole number.
        if let Some(ms) = parse_i64(timeout).and_then(|seconds| seconds.checked_mul(1000)) {
            return self.deadline(ms);
        }
        let seconds = F80::parse(timeout).ok_or(NOT_FLOAT)?;
        match seconds.to_thousandths_ceil() {
            Some(ms) => self.deadline(ms),
            None if seconds.is_negative() => self.deadline(-1),
            None => Err(TIMEOUT_RANGE),
        }
    }

    /// The same for milliseconds (an integer).
    pub fn deadline_ms(&self, timeout: &[u8]) -> Result<u64, CmdError> {
        const NOT_INTEGER: CmdError =
            CmdError::new("ERR timeout is not an integer or out of range");
        self.deadline(parse_i64(timeout).ok_or(NOT_INTEGER)?)
    }

    fn deadline(&self, ms: i64) -> Result<u64, CmdError> {
        // Far enough for everybody, and sums with it do not overflow.
        const LONGEST_MS: u64 = 1 << 43;
        match u64::try_from(ms) {
            Ok(0) => Ok(0),
            // Never too early: the millisecond that has begun does not count.
            Ok(ms) => Ok(self.state.clock.mono_us.div_ceil(1000) + ms.min(LONGEST_MS)),
            Err(_) => Err(CmdError::new("ERR timeout is negative")),
        }
    }

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
        let mut parked = Box::new(Parked {
            row,
            argv: self.argv.to_owned(),
            keys: wait.keys.iter().map(|k| Box::from(*k)).collect(),
            db,
            deadline_ms: wait.deadline_ms,
            on_timeout: wait.on_timeout,
            kind: wait.kind,
            wants_absence: wait.wants_absence,
            silent: client.reply_mode != ReplyMode::On,
            tracked: client.gate & gate::TRACKS != 0,
            ticket: 0,
        });
        self.state.blocked.park(me, &mut parked);
        self.state.listen(listener::BLOCKED, true);
        self.state.clients.me(me).parked = Some(parked);
        Outcome::Block
    }

    /// The client waits for no key: until its request is run again ([`rerun`]), or until the deadline
    /// (monotonic milliseconds, 0: none), when it is told that its password is wrong.
    pub(super) fn block_until(&mut self, deadline_ms: u64) -> Outcome {
        let outcome = self.block_on(&Wait {
            keys: &[],
            kind: Kind::String,
            wants_absence: false,
            deadline_ms,
            on_timeout: TimeoutReply::WrongPassword,
        });
        debug_assert!(self.client().parked.is_some(), "it was not parked before");
        outcome
    }

    /// The client waits for no key: until its request is run again ([`rerun`]), or until the deadline
    /// (monotonic milliseconds, 0: none), when it is told this.
    pub fn block_for(&mut self, deadline_ms: u64, on_timeout: TimeoutReply) -> Outcome {
        self.block_on(&Wait {
            keys: &[],
            kind: Kind::String,
            wants_absence: false,
            deadline_ms,
            on_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::exec::command::{
        CmdResult, KEY1_OW, KEY1_RW_DELETE, KEYS_RM, NO_KEYS, acl, cmd, flag,
    };
    use crate::exec::process::{Flow, process};
    use crate::exec::registry::Family;
    use crate::keyspace::{NewValue, Ttl};
    use crate::state::client::Peer;
    use crate::state::config::Config;
    use crate::state::groups::GroupId;
    use crate::state::notify::Event;
    use crate::types::Kind;

    /// PUT key value, DROP key, TAKE timeout key.. (waits for one of the keys and takes its value),
    /// FAREWELL key (waits for the end of a key), QUEUE (begins a transaction), RUN (runs it).
    const FAMILY: Family = Family {
        group: "test",
        acl: acl::NONE,
        commands: &[
            cmd("put", 3, flag::WRITE, 0, KEY1_OW, put),
            cmd("drop", 2, flag::WRITE, 0, KEY1_RW_DELETE, drop_key),
            cmd("take", -3, flag::WRITE | flag::BLOCKING, 0, KEYS_RM, take),
            cmd("farewell", 2, flag::BLOCKING, 0, KEY1_OW, farewell),
            cmd("queue", 1, flag::UNQUEUED, 0, NO_KEYS, queue),
            cmd("run", 1, flag::UNQUEUED | flag::RUNS_QUEUE, 0, NO_KEYS, run),
        ],
    };

    fn put(ctx: &mut Ctx<'_>) -> CmdResult {
        let (db, key, value) = (ctx.db, ctx.arg(1), NewValue::string(ctx.arg(2)));
        match ctx.write(key) {
            Some(slot) => ctx.state.dbs[db].set(slot, value, Ttl::Clear),
            None => _ = ctx.state.dbs.insert(db, key, value, None),
        }
        ctx.modified(key, Event::SET, 1);
        ctx.ok()
    }

    fn drop_key(ctx: &mut Ctx<'_>) -> CmdResult {
        let (db, key) = (ctx.db, ctx.arg(1));
        if let Some(slot) = ctx.write(key) {
            ctx.state.remove(db, slot, false);
            ctx.modified(key, Event::DEL, 1);
        }
        ctx.ok()
    }

    fn take(ctx: &mut Ctx<'_>) -> CmdResult {
        let db = ctx.db;
        let keys: Vec<&[u8]> = ctx.argv.from(2).iter().collect();
        for key in &keys {
            let Some(slot) = ctx.write_kind(key, Kind::String)? else {
                continue;
            };
            let value = ctx.state.dbs[db].entry(slot).string()?.to_vec();
            ctx.state.remove(db, slot, false);
            ctx.propagate_as(&[b"DROP", key]);
            ctx.modified(key, Event::DEL, 1);
            ctx.out.array(2);
            ctx.out.bulk(key);
            ctx.out.bulk(&value);
            return Ok(Outcome::Done);
        }
        let deadline_ms = ctx.deadline_s(ctx.arg(1))?;
        wait(ctx, &keys, Kind::String, false, deadline_ms)
    }

    fn farewell(ctx: &mut Ctx<'_>) -> CmdResult {
        let key = ctx.arg(1);
        if ctx.state.peek(ctx.db, key).is_none() {
            return ctx.ok();
        }
        wait(ctx, &[key], Kind::Stream, true, 0)
    }

    fn wait(
        ctx: &mut Ctx<'_>,
        keys: &[&[u8]],
        kind: Kind,
        wants_absence: bool,
        deadline_ms: u64,
    ) -> CmdResult {
        if !ctx.may_block() {
            ctx.out.null_array();
            return Ok(Outcome::Done);
        }
        Ok(ctx.block_on(&Wait {
            keys,
            kind,
            wants_absence,
            deadline_ms,
            on_timeout: TimeoutReply::NullArray,
        }))
    }

    fn queue(ctx: &mut Ctx<'_>) -> CmdResult {
        ctx.client().multi = Some(Box::default());
        ctx.client().gate |= gate::IN_MULTI;
        ctx.ok()
    }

    fn run(ctx: &mut Ctx<'_>) -> CmdResult {
        let transaction = ctx.client().multi.take().unwrap_or_default();
        ctx.client().end_multi();
        run_queue(ctx, &transaction.queue);
        ctx.propagate_nothing();
        Ok(Outcome::Done)
    }

    struct Bench {
        state: State,
        table: Registry,
    }

    impl Bench {
        fn new() -> Bench {
            let table = Registry::new(&[&FAMILY], &|_| None);
            let clock = Clock::manual(1_000_000);
            let rows = table.rows().len();
            let mut state = State::new(Config::default(), Rng::from_seed(1), clock, rows, 1.0);
            state.prop.on = true;
            Bench { state, table }
        }

        fn client(&mut self) -> ClientId {
            self.state.open_session(Peer::None)
        }

        /// The reply, and whether the client waits now.
        fn ask(&mut self, me: ClientId, request: &str) -> (String, Flow) {
            let mut owned = OwnedArgv::default();
            request
                .split(' ')
                .for_each(|word| owned.push(word.as_bytes()));
            let mut out = Writer::new(false);
            let row = self.table.find(owned.argv().get(0));
            let flow = process(
                &mut self.state,
                &self.table,
                row,
                owned.argv(),
                &mut out,
                me,
            );
            (String::from_utf8_lossy(&out.to_vec()).into_owned(), flow)
        }

        fn parks(&mut self, me: ClientId, request: &str) {
            assert_eq!(self.ask(me, request), (String::new(), Flow::Blocked));
        }

        fn runs(&mut self, me: ClientId, request: &str) {
            let (reply, flow) = self.ask(me, request);
            assert!(
                reply.starts_with('+') && flow == Flow::Continue,
                "{request}: {reply}"
            );
        }

        /// What was delivered to other clients since, as (client, reply).
        fn delivered(&mut self) -> Vec<(ClientId, String)> {
            let mut got = Vec::new();
            self.state.outbox.drain(|to, message| {
                let mut out = Writer::new(false);
                message.append_to(&mut out);
                let text = String::from_utf8_lossy(&out.buf).replace("\r\n", " ");
                got.push((to, text));
            });
            got
        }

        fn log(&mut self) -> String {
            let bytes = std::mem::take(&mut self.state.prop.log.bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let words = text
                .split("\r\n")
                .filter(|w| !w.starts_with(['*', '$']) && !w.is_empty());
            words.collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn the_first_to_wait_is_served_first_and_runs_its_own_request() {
        let mut bench = Bench::new();
        let (a, b, c) = (bench.client(), bench.client(), bench.client());
        bench.parks(a, "take 0 none k");
        bench.parks(b, "take 0 k k");
        bench.runs(c, "put k v1");
        let served = "*2 $1 k $2 v1 ".to_string();
        assert_eq!(bench.delivered(), [(a, served)]);
        assert_eq!(bench.state.resumed, [a]);
        // Two units: what was put, and what the waiting client took from it.
        assert_eq!(bench.log(), "SELECT 0 put k v1 DROP k");
        assert_eq!(
            (
                bench.state.blocked.count,
                bench.state.blocked.keys_waited_for()
            ),
            (1, 1)
        );
        bench.runs(c, "put k v2");
        assert_eq!(bench.delivered(), [(b, "*2 $1 k $2 v2 ".to_string())]);
        assert!(!bench.state.blocked.waits() && bench.state.blocked.count == 0);
    }

    #[test]
    fn waiting_clients_see_a_transaction_only_when_it_has_ended() {
        let mut bench = Bench::new();
        let (a, b) = (bench.client(), bench.client());
        bench.parks(a, "take 0 k");
        bench.runs(b, "queue");
        for request in ["put k 1", "drop k", "put k 2", "take 0 k2"] {
            assert_eq!(bench.ask(b, request).0, "+QUEUED\r\n");
        }
        let (reply, flow) = bench.ask(b, "run");
        assert_eq!(reply, "*4\r\n+OK\r\n+OK\r\n+OK\r\n*-1\r\n");
        assert_eq!(flow, Flow::Continue);
        assert_eq!(bench.delivered(), [(a, "*2 $1 k $1 2 ".to_string())]);
        assert_eq!(
            bench.log(),
            "SELECT 0 MULTI put k 1 drop k put k 2 EXEC DROP k"
        );
    }

    #[test]
    fn a_key_that_is_gone_again_wakes_nobody_but_those_who_wait_for_that() {
        let mut bench = Bench::new();
        let (a, b, c) = (bench.client(), bench.client(), bench.client());
        bench.runs(c, "put k v");
        bench.parks(b, "farewell k");
        bench.runs(c, "queue");
        bench.ask(c, "put other v");
        bench.ask(c, "drop other");
        bench.parks(a, "take 0 other");
        bench.ask(c, "run");
        assert_eq!(bench.delivered(), []);
        bench.runs(c, "drop k");
        assert_eq!(bench.delivered(), [(b, "+OK ".to_string())]);
        assert_eq!(bench.state.blocked.count, 1);
    }

    #[test]
    fn time_passes_and_sessions_end() {
        let mut bench = Bench::new();
        let (a, b) = (bench.client(), bench.client());
        let now_ms = bench.state.clock.mono_us / 1000;
        bench.parks(a, "take 0.0095 k");
        bench.parks(b, "take 0.02 k");
        assert_eq!(bench.state.blocked.next_deadline_ms(), Some(now_ms + 10));
        bench.state.end_session(b);
        bench.state.clock.advance_ms(10);
        assert!(!time_out(&mut bench.state, 64));
        assert_eq!(bench.delivered(), [(a, "*-1 ".to_string())]);
        assert_eq!(bench.state.blocked.next_deadline_ms(), None);
        assert!(!bench.state.blocked.waits());
        assert!(!unblock(&mut bench.state, a, None), "it waits no more");
    }

    #[test]
    fn timeouts_are_checked() {
        let mut bench = Bench::new();
        let me = bench.client();
        for (timeout, error) in [
            ("x", "timeout is not a float or out of range"),
            ("nan", "timeout is not a float or out of range"),
            ("-1", "timeout is negative"),
            ("1e30", "timeout is out of range"),
            ("inf", "timeout is out of range"),
        ] {
            let (reply, _) = bench.ask(me, &format!("take {timeout} k"));
            assert_eq!(reply, format!("-ERR {error}\r\n"), "{timeout}");
        }
        bench.parks(me, "take 9e15 k");
        assert!(bench.state.blocked.next_deadline_ms() > Some(1 << 42));
    }

    #[test]
    fn keys_that_expire_by_the_way_are_logged_one_by_one() {
        let mut bench = Bench::new();
        let me = bench.client();
        for key in [b"a", b"b"] {
            let at_ms = Some(bench.state.clock.unix_ms + 5);
            bench.state.dbs.insert(0, key, NewValue::Int(1), at_ms);
        }
        bench.state.clock.advance_ms(100);
        assert!(!bench.state.expire_some(10));
        finish(&mut bench.state, &bench.table);
        let log = bench.log();
        assert!(
            ["SELECT 0 DEL a DEL b", "SELECT 0 DEL b DEL a"].contains(&&*log),
            "{log}"
        );
        bench.runs(me, "queue");
        bench.ask(me, "put a 1");
        bench.ask(me, "put b 1");
        bench.ask(me, "run");
        assert_eq!(bench.log(), "MULTI put a 1 put b 1 EXEC");
    }

    #[test]
    fn whole_databases_come_and_go_under_those_who_wait() {
        let mut bench = Bench::new();
        let (a, b) = (bench.client(), bench.client());
        bench.parks(a, "take 0 k");
        bench
            .state
            .dbs
            .insert(1, b"k", NewValue::Bytes(b"there"), None);
        bench.state.swap_dbs(0, 1);
        finish(&mut bench.state, &bench.table);
        assert_eq!(bench.delivered(), [(a, "*2 $1 k $5 there ".to_string())]);
        bench.runs(b, "put k v");
        bench.parks(a, "farewell k");
        assert_eq!(bench.state.flush_all(GroupId::DEFAULT, true), 1);
        finish(&mut bench.state, &bench.table);
        assert_eq!(bench.delivered(), [(a, "+OK ".to_string())]);
    }
}
