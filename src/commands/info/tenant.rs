//! INFO as the users of a group see it: their group's own figures.
//!
//! Nothing here may depend on what other groups have or do: no figure of the process (memory, processor,
//! files, the loop), whose changes would tell of them. What is left out is the operators'.
use super::{Report, Section, clients, cluster, errorstats, keysizes, keyspace, modules, scripts};
use super::{pubsub, section, server, sum_clients, tracking};
use crate::state::groups::Quotas;
use crate::state::quota::Limit;

/// In the order in which they are shown.
pub(super) const SECTIONS: &[Section] = &[
    section("server", true, server),
    section("clients", true, clients),
    section("memory", true, memory),
    section("persistence", true, persistence),
    section("stats", true, stats),
    section("replication", true, replication),
    section("modules", true, modules),
    section("errorstats", true, errorstats),
    section("cluster", true, cluster),
    section("keyspace", true, keyspace),
    section("keysizes", false, keysizes),
    section("group", true, group),
];

fn memory(r: &mut Report<'_>) {
    r.head("Memory");
    if let Some(own) = r.state.groups.get(r.group) {
        let (bytes, limit) = (r.state.in_use(own, Limit::Bytes), own.quotas.bytes);
        r.size("used_memory", bytes);
        r.size("maxmemory", limit);
        r.field("maxmemory_policy", own.quotas.policy.word());
    }
    scripts(r);
    let bytes = sum_clients(r.state, r.group).normal_bytes;
    r.field("mem_clients_normal", bytes);
}

/// Clients wait for the end of loading by its first line.
fn persistence(r: &mut Report<'_>) {
    r.head("Persistence");
    r.field("loading", u8::from(r.state.is_loading()));
}

fn stats(r: &mut Report<'_>) {
    let own = r.state.figures_of(r.group);
    r.head("Stats");
    r.field("total_connections_received", own.logins);
    r.field("total_commands_processed", own.commands);
    r.field("total_net_input_bytes", own.net_in);
    r.field("total_net_output_bytes", own.net_out);
    r.field("expired_keys", own.expired);
    r.field("expired_subkeys", own.expired_members);
    r.field("evicted_keys", own.evicted);
    r.field("keyspace_hits", own.hits);
    r.field("keyspace_misses", own.misses);
    pubsub(r);
    tracking(r);
    let errors = r.state.stats.errors.of(r.group).total;
    r.field("total_error_replies", errors);
}

/// What libraries ask for: not how far the log of all groups has come.
fn replication(r: &mut Report<'_>) {
    r.head("Replication");
    r.field("role", "master");
}

fn group(r: &mut Report<'_>) {
    let state = r.state;
    r.head("Group");
    r.field("group_name", state.groups.name(r.group));
    let dbs = state.dbs.iter_in(state.dbs_of(r.group));
    let keys: usize = dbs.map(|(_, db)| db.len()).sum();
    r.field("group_keys", keys);
    let Some(own) = state.groups.get(r.group) else {
        return;
    };
    r.field("group_clients", own.clients);
    for field in Quotas::FIELDS {
        r.field(&format!("quota_{field}"), own.quotas.shown(field));
    }
    for limit in [Limit::Bytes, Limit::Output] {
        let used = state.in_use(own, limit);
        r.field(&format!("group_{}", limit.name()), used);
    }
    r.field("group_evicted_keys", own.spent.evicted);
    for limit in Limit::ALL {
        let refused = own.spent.refused[limit as usize];
        r.field(&format!("refused_{}", limit.name()), refused);
    }
}
