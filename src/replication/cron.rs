//! What primaries do once a second: signs of life, and an end for those who give none.
use super::feed;
use crate::persist::aof::files::remove_in_background;
use crate::persist::save;
use crate::state::State;
use crate::state::client::ClientId;
use crate::state::config::Config;
use crate::state::repl::{ID_LEN, Stage};

/// Called once a second. The replicas that wait for a snapshot, and are to see that the link lives.
pub fn run(state: &mut State) -> Vec<ClientId> {
    ping(state);
    drop_silent(state);
    end_unread_backlog(state);
    remove_file_for_replicas(state);
    state.settle_good_replicas();
    let round_on_disk = state.repl.round.as_ref().is_none_or(|round| round.on_disk);
    let waiting = state.repl.replicas.iter().filter(|one| match one.stage {
        Stage::WaitSnapshot => true,
        Stage::WaitSnapshotEnd => round_on_disk,
        _ => false,
    });
    waiting.map(|one| one.client).collect()
}

fn ping(state: &mut State) {
    let period_us = u64::from(state.config.repl_ping_replica_period) * 1_000_000;
    let now_us = state.clock.mono_us;
    if state.repl.pinged_us == 0 {
        // The first one comes when a period has passed.
        state.repl.pinged_us = now_us;
    }
    // Nothing is added to the stream while replicas are to come to its end.
    if state.repl.replicas.is_empty()
        || state.pause.held != 0
        || now_us.saturating_sub(state.repl.pinged_us) < period_us
    {
        return;
    }
    state.repl.pinged_us = now_us;
    state.tell_replicas(&[b"PING"]);
}

/// Ends the connections of replicas that say nothing, or take nothing, for too long.
fn drop_silent(state: &mut State) {
    let (now_us, timeout_s) = (state.clock.mono_us, u64::from(state.config.repl_timeout));
    let over = |since_us: u64| now_us.saturating_sub(since_us) / 1_000_000 > timeout_s;
    let silent = state.repl.replicas.iter().filter_map(|one| {
        if one.stage == Stage::Online && !one.old && over(one.acked_us) {
            return Some((one.client, "streaming sync"));
        }
        let takes = [Stage::WaitSnapshotEnd, Stage::SendSnapshot].contains(&one.stage);
        let stuck = takes && one.stuck_since_us > 0;
        (stuck && over(one.stuck_since_us)).then_some((one.client, "full sync"))
    });
    let silent: Vec<_> = silent.collect();
    for (who, what) in silent {
        let name = state.replica_name(who);
        log::warn!("Disconnecting timedout replica ({what}): {name}");
        state.close_client(who);
    }
}

/// `repl-backlog-ttl`: a server without replicas needs no backlog. Whoever comes back later gets everything
/// anew, under another history: this one goes on unrecorded.
fn end_unread_backlog(state: &mut State) {
    let (ttl_s, repl) = (state.config.repl_backlog_ttl, &state.repl);
    if ttl_s == 0 || !repl.feeds() || !repl.replicas.is_empty() {
        return;
    }
    let idle_us = state.clock.mono_us.saturating_sub(repl.unread_since_us);
    if idle_us / 1_000_000 > ttl_s {
        state.repl.id = state.rng.hex_id(ID_LEN);
        state.repl.forget_second_id();
        feed::end(state);
        log::info!("Replication backlog freed after {ttl_s} seconds without connected replicas.");
    }
}

/// `rdb-del-sync-files`: what is not to be on disk does not stay there because of a replica.
fn remove_file_for_replicas(state: &mut State) {
    let in_use = [
        Stage::WaitSnapshot,
        Stage::WaitSnapshotEnd,
        Stage::SendSnapshot,
    ];
    if !state.repl.file_for_replicas
        || !state.config.rdb_del_sync_files
        || persists(&state.config)
        || in_use.iter().any(|stage| state.repl.count(*stage) > 0)
    {
        return;
    }
    state.repl.file_for_replicas = false;
    log::info!(
        "Removing the RDB file {} used to feed replicas in a persistence-less instance",
        String::from_utf8_lossy(&state.config.dbfilename)
    );
    let path = save::path(state);
    remove_in_background(&*state.disk, &path, &mut state.aof.jobs);
}

/// Is anything to be on disk at all?
fn persists(config: &Config) -> bool {
    config.appendonly || !config.save.points.is_empty()
}
