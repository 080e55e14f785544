//! PSYNC and SYNC: somebody wants to follow. From where it is, if the backlog reaches back so far and its history
//! is ours; else from a snapshot (`full`).
use super::{feed, replicaof};
use crate::base::num::parse_i64;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome, acl, cmd,
    flag::{ADMIN, NO_ASYNC_LOADING, NO_MULTI, NOSCRIPT, SERVER_WIDE},
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::client::{ClientId, client_flag};
use crate::state::gate;
use crate::state::repl::{Introduction, Replica, Stage, capa};

const FLAGS: u32 = ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | SERVER_WIDE;

const COMMANDS: &[Command] = &[
    cmd("psync", -3, FLAGS, acl::NONE, NO_KEYS, psync),
    cmd("sync", 1, FLAGS, acl::NONE, NO_KEYS, sync),
];

/// How replicas begin.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

const NO_LINK: CmdError =
    CmdError::new("NOMASTERLINK Can't SYNC while not connected with my master");
const FAILING_OVER: CmdError = CmdError::new("NOMASTERLINK Can't SYNC while failing over");
const PENDING_OUTPUT: CmdError =
    CmdError::new("ERR SYNC and PSYNC are invalid with pending output");
const NEEDS_EOF: CmdError = CmdError::new("ERR Filtered replica requires EOF capability");

/// What a connection already gets leaves no room for a stream.
const LISTENS: u32 = client_flag::REPLICA | client_flag::MONITOR;

fn psync(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().has(LISTENS) {
        return Ok(Outcome::Done);
    }
    if ctx.argc() > 3 && ctx.arg(3).eq_ignore_ascii_case(b"failover") {
        take_over(ctx)?;
    }
    let told = greet(ctx)?;
    let (id, me) = (ctx.arg(1), ctx.me);
    let Some(offset) = parse_i64(ctx.arg(2)) else {
        let name = ctx.state.replica_name(me);
        log::warn!("Replica {name} asks for synchronization but with a wrong offset");
        return Err(NOT_INTEGER);
    };
    match place_of(ctx.state, me, id, offset) {
        Some(place) => resume(ctx.state, me, &told, place),
        None => {
            ctx.state.repl.figures.partial_syncs_refused += u64::from(!id.starts_with(b"?"));
            begin(ctx.state, me, &told, false);
        }
    }
    Ok(Outcome::Done)
}

fn sync(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.client().has(LISTENS) {
        return Ok(Outcome::Done);
    }
    let told = greet(ctx)?;
    begin(ctx.state, ctx.me, &told, true);
    Ok(Outcome::Done)
}

/// The primary hands its part over (FAILOVER): it asks to follow from here on.
fn take_over(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let id = ctx.arg(1);
    log::warn!(
        "Failover request received for replid {}.",
        String::from_utf8_lossy(id)
    );
    if !ctx.state.repl.is_replica() {
        return Err(CmdError::new(
            "ERR PSYNC FAILOVER can't be sent to a master.",
        ));
    }
    if !ctx.state.repl.id.as_bytes().eq_ignore_ascii_case(id) {
        return Err(CmdError::new(
            "ERR PSYNC FAILOVER replid must match my replid.",
        ));
    }
    replicaof::follow_nobody(ctx.state);
    let who = replicaof::described(ctx);
    log::info!("MASTER MODE enabled (failover request from '{who}')");
    Ok(())
}

/// May it follow? What it has told of itself.
fn greet(ctx: &mut Ctx<'_>) -> Result<Introduction, CmdError> {
    if ctx.state.repl.failover.is_some() {
        return Err(FAILING_OVER);
    }
    let upstream = ctx.state.repl.upstream.as_ref();
    if upstream.is_some_and(|upstream| !upstream.is_up()) {
        return Err(NO_LINK);
    }
    if !ctx.out.is_empty() {
        // It would be read as a part of what is to come.
        return Err(PENDING_OUTPUT);
    }
    let told = ctx.client().introduction.as_deref().cloned();
    let told = told.unwrap_or_default();
    let groups = ctx.state.groups.exist() && told.capa & capa::GROUPS == 0;
    if (told.without_data || told.without_functions || groups) && told.capa & capa::EOF == 0 {
        return Err(NEEDS_EOF);
    }
    let name = ctx.state.replica_name(ctx.me);
    log::info!("Replica {name} asks for synchronization");
    Ok(told)
}

/// Where the stream goes on for a replica that asks for the byte of this number (the first one is 1) of this
/// history; `None` if it needs everything.
fn place_of(state: &State, me: ClientId, id: &[u8], wanted: i64) -> Option<u64> {
    let repl = &state.repl;
    let name = state.replica_name(me);
    let is = |known: &str| known.as_bytes().eq_ignore_ascii_case(id);
    if !is(&repl.id) && (!is(&repl.second_id) || wanted > repl.second_until) {
        if id.starts_with(b"?") {
            log::info!("Full resync requested by replica {name}");
        } else if is(&repl.second_id) {
            log::info!(
                "Partial resynchronization not accepted: Requested offset for second ID was {wanted}, \
                 but I can reply up to {}",
                repl.second_until
            );
        } else {
            log::info!(
                "Partial resynchronization not accepted: Replication ID mismatch (Replica asked for '{}', \
                 my replication IDs are '{}' and '{}')",
                String::from_utf8_lossy(id),
                repl.id,
                repl.second_id
            );
        }
        return None;
    }
    let place = u64::try_from(wanted).ok().and_then(|n| n.checked_sub(1));
    let place = place.filter(|place| repl.backlog.as_ref().is_some_and(|b| b.has(*place)));
    if place.is_none() {
        log::info!(
            "Unable to partial resync with replica {name} for lack of backlog (Replica request was: \
             {wanted})."
        );
        if wanted > repl.offset.cast_signed() {
            log::warn!(
                "Warning: replica {name} tried to PSYNC with an offset that is greater than the master \
                 replication offset."
            );
        }
    }
    place
}

/// It goes on where it was.
fn resume(state: &mut State, me: ClientId, told: &Introduction, place: u64) {
    // What this turn has changed so far is behind it.
    state.feed();
    let mut replica = new_replica(state, me, told);
    replica.stage = Stage::Online;
    replica.sent = Some(place);
    replica.greeting = match told.capa & capa::PSYNC2 {
        0 => b"+CONTINUE\r\n".to_vec(),
        _ => format!("+CONTINUE {}\r\n", state.repl.id).into_bytes(),
    };
    log::info!(
        "Partial resynchronization request from {} accepted. Sending {} bytes of backlog starting from \
         offset {}.",
        state.replica_name(me),
        replica.pending(state.repl.offset),
        place + 1
    );
    state.repl.figures.partial_syncs += 1;
    admit(state, replica);
    state.settle_good_replicas();
}

/// It gets a snapshot, and the stream behind it.
fn begin(state: &mut State, me: ClientId, told: &Introduction, old: bool) {
    state.repl.figures.full_syncs += 1;
    let mut replica = new_replica(state, me, told);
    replica.old = old;
    admit(state, replica);
    feed::begin(state);
}

pub(super) fn new_replica(state: &State, me: ClientId, told: &Introduction) -> Replica {
    let now_us = state.clock.mono_us;
    Replica {
        client: me,
        stage: Stage::WaitSnapshot,
        capa: told.capa,
        snapshot_only: told.snapshot_only,
        without_data: told.without_data,
        without_functions: told.without_functions,
        old: false,
        sent: None,
        greeting: Vec::new(),
        awaits_ack: false,
        since_us: now_us,
        stuck_since_us: 0,
        acked: 0,
        acked_on_disk: None,
        acked_us: now_us,
        soft_since_ms: 0,
    }
}

/// From here on this client is a replica: it gets no replies, and no data but by the stream.
fn admit(state: &mut State, replica: Replica) {
    // Nor anything of what others publish or change.
    state.unsubscribe_all(replica.client, false);
    state.untrack(replica.client);
    let client = state.clients.me(replica.client);
    client.flags |= client_flag::REPLICA;
    client.gate |= gate::NO_KEYSPACE;
    let who = client.id;
    state.repl.replicas.push(replica);
    // It is no client any more whose memory is limited.
    state.weigh(who);
}
