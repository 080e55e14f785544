//! From where the stream may go on, and what the end of a synchronisation makes of the server's own history.
use crate::persist::aof;
use crate::replication::feed;
use crate::state::State;
use crate::state::repl::{Link, Upstream};

/// The history that a primary is asked to go on with: its id, and up to where it is known here.
pub fn known(state: &State) -> Option<(String, u64)> {
    let upstream = state.repl.upstream.as_ref()?;
    let known = (state.repl.id.clone(), state.repl.offset);
    upstream.resumes.then_some(known)
}

/// A new data set is taken over: what is known of the old one's history is of no use any more, neither to this
/// server nor to those who follow it, and the append-only file is left as it is.
pub fn forget(state: &mut State) {
    if let Some(upstream) = &mut state.repl.upstream {
        upstream.resumes = false;
    }
    state.disconnect_replicas();
    feed::end(state);
    aof::switch::leave_to_other_data(state);
}

/// The data are those of this history at this offset, `db` is where the stream goes on.
pub fn synced(state: &mut State, id: String, offset: u64, db: u32) {
    feed::end(state);
    let repl = &mut state.repl;
    (repl.id, repl.offset) = (id, offset);
    repl.forget_second_id();
    let databases = state.groups.databases_behind_file();
    if let Some(upstream) = &mut repl.upstream {
        upstream.db = db;
        upstream.resumes = true;
        upstream.file_databases = databases;
    }
    state.begin_backlog();
}

/// The primary goes on with the stream where this server knew it, under this name.
pub fn continued(state: &mut State, id: Option<String>) {
    if let Some(id) = id
        && id != state.repl.id
    {
        log::info!("Master replication ID changed to {id}");
        let repl = &mut state.repl;
        repl.second_id = std::mem::replace(&mut repl.id, id);
        repl.second_until = repl.offset as i64 + 1;
        // They learn of the name when they come back.
        state.disconnect_replicas();
    }
    state.begin_backlog();
}

/// Becomes a replica, or the replica of another one.
pub fn follow(state: &mut State, host: String, port: u16) {
    let was_primary = state.repl.upstream.is_none();
    // What was done so far is part of the history under which it was done.
    state.feed();
    state.end_primary_session();
    let before = state.repl.upstream.take();
    let mut upstream = Upstream::new(host, port);
    state.repl.upstreams += 1;
    upstream.serial = state.repl.upstreams;
    match before {
        Some(before) => {
            upstream.resumes = before.resumes;
            upstream.db = before.db;
            upstream.file_databases = before.file_databases;
            upstream.down_since_s = before.down_since_s;
        }
        None => {
            log::info!(
                "Before turning into a replica, using my own master parameters to synthesize a cached \
                 master: I may be able to synchronize with the new master with just a partial transfer."
            );
            upstream.resumes = true;
            upstream.file_databases = state.dbs.count();
        }
    }
    if upstream.down_since_s == 0 && !was_primary {
        upstream.down_since_s = state.clock.unix_ms / 1000;
    }
    upstream.link = Link::Connect;
    state.repl.upstream = Some(upstream);
    if was_primary {
        state.begin_backlog();
    }
    state.settle_readers();
    state.settle_role();
}

/// Becomes a primary again: what comes from here on is another history, which begins where this one is known.
pub fn follow_nobody(state: &mut State) {
    if state.repl.upstream.is_none() {
        return;
    }
    // What the log holds came from the primary, and is in the stream as it came.
    if state.aof.enabled() {
        aof::take_log(state);
    } else {
        state.prop.log.abandon();
    }
    state.end_primary_session();
    state.repl.upstream = None;
    let fresh = state.rng.hex_id(crate::state::repl::ID_LEN);
    state.repl.shift(fresh);
    state.disconnect_replicas();
    state.repl.unread_since_us = state.clock.mono_us;
    state.prop.log.reselect();
    // A synchronisation that failed may have left them.
    aof::switch::go_on(state);
    state.settle_readers();
    state.settle_role();
}
