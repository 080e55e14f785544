//! INFO's section on replication: whom this server follows, and who follows it.
use super::Report;
use crate::state::repl::readers::replica_address;
use crate::state::repl::{Link, Stage, Upstream};

pub(super) fn replication(r: &mut Report<'_>) {
    let (repl, config) = (&r.state.repl, &r.state.config);
    r.head("Replication");
    match &repl.upstream {
        None => r.field("role", "master"),
        Some(upstream) => {
            r.field("role", "slave");
            follows(r, upstream);
        }
    }
    r.field("connected_slaves", repl.replicas.len());
    if config.min_replicas_to_write > 0 && config.min_replicas_max_lag > 0 {
        r.field("min_slaves_good_slaves", repl.good);
    }
    replicas(r);
    let failover = r.state.repl.failover.as_ref();
    let failover = failover.map_or("no-failover", |failover| failover.name());
    r.field("master_failover_state", failover);
    r.field("master_replid", &repl.id);
    r.field("master_replid2", &repl.second_id);
    r.field("master_repl_offset", repl.offset);
    r.field("second_repl_offset", repl.second_until);
    let backlog = repl.backlog.as_ref();
    r.field("repl_backlog_active", u8::from(backlog.is_some()));
    r.field("repl_backlog_size", config.repl_backlog_size);
    // Counted from 1, as PSYNC does.
    let first = backlog.map_or(0, |backlog| backlog.start() + 1);
    r.field("repl_backlog_first_byte_offset", first);
    r.field(
        "repl_backlog_histlen",
        backlog.map_or(0, |backlog| backlog.len()),
    );
}

/// The primary, and how the link to it stands.
fn follows(r: &mut Report<'_>, upstream: &Upstream) {
    let (state, now_us) = (r.state, r.state.clock.mono_us);
    let seconds_since = |us: u64| (now_us.saturating_sub(us) / 1_000_000) as i64;
    let syncs = matches!(upstream.link, Link::Transfer | Link::Load);
    r.field("master_host", &upstream.host);
    r.field("master_port", upstream.port);
    let status = if upstream.is_up() { "up" } else { "down" };
    r.field("master_link_status", status);
    let silent_s = match upstream.client {
        Some(_) => seconds_since(upstream.heard_us),
        None => -1,
    };
    r.field("master_last_io_seconds_ago", silent_s);
    r.field("master_sync_in_progress", u8::from(syncs));
    r.field(
        "slave_read_repl_offset",
        upstream.read_offset.max(state.repl.offset),
    );
    r.field("slave_repl_offset", state.repl.offset);
    if syncs {
        transfer(r, upstream, seconds_since(upstream.transfer_us));
    }
    if !upstream.is_up() {
        let now_s = state.clock.unix_ms / 1000;
        let down_s = match upstream.down_since_s {
            0 => -1,
            since_s => (now_s - since_s).max(0),
        };
        r.field("master_link_down_since_seconds", down_s);
    }
    let config = &state.config;
    r.field("slave_priority", config.replica_priority);
    r.field("slave_read_only", u8::from(config.replica_read_only));
    r.field("replica_announced", u8::from(config.replica_announced));
}

/// How far the snapshot has come. One whose length is not known has no total.
fn transfer(r: &mut Report<'_>, upstream: &Upstream, silent_s: i64) {
    let read = upstream.transfer_read;
    let total = upstream.transfer_bytes.unwrap_or(0);
    let percent = match total {
        0 => 0.0,
        total => read as f64 * 100.0 / total as f64,
    };
    r.field("master_sync_total_bytes", total);
    r.field("master_sync_read_bytes", read);
    r.field("master_sync_left_bytes", total.saturating_sub(read));
    r.field("master_sync_perc", format_args!("{percent:.2}"));
    r.field("master_sync_last_io_seconds_ago", silent_s);
}

/// A line for each replica.
fn replicas(r: &mut Report<'_>) {
    let (state, now_us) = (r.state, r.state.clock.mono_us);
    for (at, one) in state.repl.replicas.iter().enumerate() {
        let Some(client) = state.clients.get(one.client) else {
            continue;
        };
        let (ip, port) = replica_address(client);
        let lag_s = match one.stage {
            Stage::Online => one.lag_s(now_us),
            _ => 0,
        };
        r.field(
            &format!("slave{at}"),
            format_args!(
                "ip={ip},port={port},state={},offset={},lag={lag_s}",
                one.stage.name(),
                one.acked
            ),
        );
    }
}
