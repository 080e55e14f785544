//! Full synchronisation: a snapshot for everybody who waits for one, then the stream from where it was taken.
//!
//! A round is one snapshot by one child. Without a disk (the default) the child writes to a pipe, and the server
//! passes on what comes out of it to all replicas of the round; else a BGSAVE writes the snapshot to its place,
//! and each replica is sent that file. Rounds begin at the end of a turn: between units, with everything that
//! was done before in the stream.
use crate::base::alloc;
use crate::codec::Sink;
use crate::persist::child::{self, Reporter};
use crate::persist::rdb::write::write_parts;
use crate::persist::{fit, save};
use crate::state::State;
use crate::state::client::{ClientId, client_flag};
use crate::state::persistence::ChildKind;
use crate::state::repl::{Files, ID_LEN, Parts, Replica, Round, Stage, capa};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;

/// Begins what is due; the pipe that a child writes to.
pub fn step(state: &mut State) -> Option<PipeReader> {
    join_running(state);
    let due = next_round(state)?;
    if state.child.is_some() || state.repl.round.is_some() || state.garbage.is_vast() {
        return None;
    }
    // What is in the data is in front of where the stream goes on.
    state.feed();
    let path = due.on_disk.then(|| save::path(state));
    log::info!(
        "Starting BGSAVE for SYNC with target: {}",
        if due.on_disk {
            "disk"
        } else {
            "replicas sockets"
        }
    );
    let members = members(state, due.parts, due.on_disk);
    let begun = match due.on_disk {
        true => save::in_background(state).map(|()| None),
        false => transfer(state, due.parts).map(Some),
    };
    match begun {
        Ok(pipe) => {
            state.repl.file_for_replicas |= due.on_disk;
            let offset = state.repl.offset;
            state.repl.round = Some(Round {
                on_disk: due.on_disk,
                parts: due.parts,
                offset,
                path: path.unwrap_or_default(),
                succeeded: None,
                files: Files::default(),
                abandoned: false,
            });
            // Whoever begins here does not know which database was selected.
            state.prop.log.reselect();
            members.iter().for_each(|who| enter(state, *who, offset));
            pipe
        }
        Err(error) => {
            log::warn!("BGSAVE for replication failed: {error}");
            members.iter().for_each(|who| refuse(state, *who));
            None
        }
    }
}

/// What the next round is to be.
struct Due {
    on_disk: bool,
    parts: Parts,
}

/// Is a round due? The first who waits says what it holds; with `repl-diskless-sync-delay` others are waited
/// for, so that one snapshot serves them all.
fn next_round(state: &State) -> Option<Due> {
    let waits = |one: &&Replica| one.stage == Stage::WaitSnapshot;
    let first = state.repl.replicas.iter().find(waits)?;
    let parts = parts_of(state, first);
    let on_disk = !goes_by_pipe(state, first);
    if !on_disk {
        let (config, now_us) = (&state.config, state.clock.mono_us);
        let waited_us = now_us.saturating_sub(first.since_us);
        let most = config.repl_diskless_sync_max_replicas as usize;
        let enough = most > 0 && state.repl.count(Stage::WaitSnapshot) >= most;
        if !enough && waited_us < u64::from(config.repl_diskless_sync_delay) * 1_000_000 {
            return None;
        }
    }
    Some(Due { on_disk, parts })
}

fn parts_of(state: &State, replica: &Replica) -> Parts {
    replica.parts(state.groups.exist())
}

/// Does this replica get its snapshot from the child itself? A part of the data is never put where the
/// snapshot of all of them belongs.
fn goes_by_pipe(state: &State, replica: &Replica) -> bool {
    let wanted = state.config.repl_diskless_sync || parts_of(state, replica) != Parts::ALL;
    wanted && replica.capa & capa::EOF != 0
}

/// Those who wait for such a snapshot.
fn members(state: &State, parts: Parts, on_disk: bool) -> Vec<ClientId> {
    let all = state.repl.replicas.iter();
    let fitting = all.filter(|one| {
        one.stage == Stage::WaitSnapshot
            && parts_of(state, one) == parts
            && goes_by_pipe(state, one) != on_disk
    });
    fitting.map(|one| one.client).collect()
}

/// A BGSAVE that writes for a replica serves others who come while it runs: they get the stream from the same
/// place, as long as it is still there.
fn join_running(state: &mut State) {
    let Some(round) = &state.repl.round else {
        return;
    };
    let (on_disk, parts, offset) = (round.on_disk, round.parts, round.offset);
    let there = state
        .repl
        .backlog
        .as_ref()
        .is_some_and(|b| b.base() <= offset);
    let used = state.repl.count(Stage::WaitSnapshotEnd) > 0;
    if !on_disk || round.succeeded.is_some() || !there || !used {
        return;
    }
    for who in members(state, parts, true) {
        log::info!("Waiting for end of BGSAVE for SYNC");
        enter(state, who, offset);
    }
}

/// A replica takes part in a round whose stream goes on at this offset.
fn enter(state: &mut State, who: ClientId, offset: u64) {
    let id = state.repl.id.clone();
    if let Some(replica) = state.repl.replica(who) {
        replica.stage = Stage::WaitSnapshotEnd;
        replica.sent = Some(offset);
        if !replica.old {
            replica.greeting = format!("+FULLRESYNC {id} {offset}\r\n").into_bytes();
        }
    }
}

/// There is no snapshot for it.
fn refuse(state: &mut State, who: ClientId) {
    state.repl.replicas.retain(|one| one.client != who);
    state.repl.unread_since_us = state.clock.mono_us;
    let message = state.outbox.encode(|out| {
        out.extend_from_slice(b"-ERR BGSAVE failed, replication can't continue\r\n");
    });
    state.outbox.post(who, message);
    if let Some(client) = state.clients.get_mut(who) {
        client.flags &= !client_flag::REPLICA;
        client.flags |= client_flag::CLOSE_AFTER_REPLY;
    }
}

/// What a child that writes to replicas is given.
struct Order {
    pipe: PipeWriter,
    parts: Parts,
    /// Stands in front of the snapshot and behind it.
    mark: String,
    facts: Vec<(&'static str, String)>,
}

/// Begins a child that writes to a pipe.
fn transfer(state: &mut State, parts: Parts) -> io::Result<PipeReader> {
    let (reader, pipe) = io::pipe()?;
    crate::base::sys::set_nonblocking(&reader)?;
    let order = Order {
        parts,
        mark: state.rng.hex_id(ID_LEN),
        facts: state.stream_facts(),
        pipe,
    };
    fit::check(state, ChildKind::Transfer)?;
    let kept = Some(order.pipe.as_raw_fd());
    let pid = child::start_with(state, ChildKind::Transfer, write, &order, kept)?;
    log::info!("Background RDB transfer started by pid {pid}");
    Ok(reader)
}

/// Bytes that the child gathers before it writes.
const GATHERED: usize = 64 << 10;

/// What the child does.
fn write(state: &State, order: &Order, reporter: &mut Reporter<'_>) -> io::Result<()> {
    let mut pipe = io::BufWriter::with_capacity(GATHERED, &order.pipe);
    write!(pipe, "$EOF:{}\r\n", order.mark)?;
    let config = &state.config;
    let mut sink = Sink::to_writer(&mut pipe, config.rdbcompression, config.rdbchecksum);
    let facts: Vec<(&str, &str)> = order.facts.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let progress = &mut |keys| reporter.keys_done(keys);
    write_parts(
        state,
        &mut sink,
        alloc::used(),
        (&facts, order.parts),
        progress,
    );
    sink.finish()?;
    pipe.write_all(order.mark.as_bytes())?;
    pipe.flush()
}

/// A replica's connection is about to end, or has: a child that works for nobody any more is told to end too.
pub fn follow_leaving(state: &mut State) -> bool {
    let used = state.repl.count(Stage::WaitSnapshotEnd) > 0;
    let Some(round) = &mut state.repl.round else {
        return false;
    };
    if round.succeeded.is_some() || used || std::mem::replace(&mut round.abandoned, true) {
        return false;
    }
    if !round.on_disk {
        log::warn!("Diskless rdb transfer, last replica dropped, killing fork child.");
        child::stop(state, ChildKind::Transfer);
        return true;
    }
    // With save points it is wanted for itself.
    if state.config.save.points.is_empty() {
        child::stop(state, ChildKind::Snapshot);
    }
    false
}

/// A replica has its snapshot; false if that was all it wanted.
pub fn put_online(state: &mut State, who: ClientId, by_pipe: bool) -> bool {
    let (name, now_us) = (state.replica_name(who), state.clock.mono_us);
    let Some(replica) = state.repl.replica(who) else {
        return false;
    };
    if replica.snapshot_only {
        replica.stage = Stage::SnapshotSent;
        replica.sent = None;
        log::info!("RDB transfer completed, rdb only replica ({name}) should be disconnected asap");
        return false;
    }
    replica.stage = Stage::Online;
    replica.acked_us = now_us;
    // With a pipe only the replica knows when it has the whole of it.
    replica.awaits_ack = by_pipe;
    if by_pipe {
        log::info!(
            "Streamed replica with replica {name} succeeded (socket). Waiting for REPLCONF ACK from replica \
             to enable streaming"
        );
    } else {
        log::info!("Synchronization with replica {name} succeeded");
    }
    state.settle_good_replicas();
    true
}
