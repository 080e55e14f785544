//! The stream: what each turn changed goes from the log into the backlog, which everybody reads who follows.
//!
//! Requests of the server's own (PING, GETACK) are put between units, never into one, and into no file.
use crate::state::State;
use crate::state::gate;
use crate::state::repl::backlog::Backlog;
use crate::state::repl::{ID_LEN, Stage};

/// Takes what the turn changed into the stream: in front of the append-only file, which takes it away. True when
/// there is more to be let go of than one turn has the time for.
#[inline]
pub fn end_of_turn(state: &mut State) -> bool {
    if state.prop.on {
        state.feed();
        if state.aof.file.is_none() {
            state.prop.log.took_whole();
        }
    }
    if state.repl.backlog.is_none() {
        return false;
    }
    // Nothing is added to the stream while nobody may write.
    if state.repl.ask_acks && state.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES) == 0 {
        state.repl.ask_acks = false;
        if state.repl.count(Stage::Online) > 0 {
            state.tell_replicas(&[b"REPLCONF", b"GETACK", b"*"]);
        }
    }
    let size = state.config.repl_backlog_size;
    state.repl.trim(size)
}

/// Begins to keep the stream: somebody is going to read it. With it begins a history of its own, since nobody
/// knows what came before.
pub fn begin(state: &mut State) {
    if state.repl.backlog.is_some() {
        return;
    }
    if !state.repl.is_replica() {
        state.repl.id = state.rng.hex_id(ID_LEN);
        state.repl.forget_second_id();
    }
    keep(state);
    log::info!(
        "Replication backlog created, my new replication IDs are '{}' and '{}'",
        state.repl.id,
        state.repl.second_id
    );
}

/// Keeps the stream from here on, in whatever history.
pub fn keep(state: &mut State) {
    // What is in the log already belongs to what came before.
    state.feed();
    state.repl.backlog = Some(Backlog::new(state.repl.offset));
    state.repl.hidden.clear();
    state.repl.unread_since_us = state.clock.mono_us;
    state.settle_readers();
}

/// Nobody has read the stream for long: it is kept no more.
pub fn end(state: &mut State) {
    state.feed();
    let backlog = state.repl.backlog.take();
    state.repl.hidden.clear();
    if let Some(backlog) = backlog {
        let bytes = backlog.heap_bytes();
        state.garbage.later_sized(Box::new(backlog), 0, bytes);
    }
    state.settle_readers();
    if !state.prop.on {
        state.prop.log.abandon();
    }
}
