//! MEMORY: what keys take, where the memory is, and what to do about it.
//!
//! The figures are INFO's (`commands::info::memory_figures`).
use super::info::{MemoryFigures, human_size, memory_figures, ratio};
use crate::base::num::parse_i64;
use crate::base::{alloc, sys};
use crate::exec::command::{
    CmdResult, Command, KeySpec, NO_KEYS, Outcome, acl, cmd, container, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{NOT_INTEGER, SYNTAX};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::client::Client;
use flag::{LOADING, READONLY, SERVER_WIDE, STALE};
use std::fmt::Write as _;

const USAGE_KEYS: &[KeySpec] = &[KeySpec::range(key_flag::RO, 2, 2, 1)];

const SUBS: &[Command] = &[
    cmd("doctor", 2, SERVER_WIDE, acl::NONE, NO_KEYS, doctor),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd(
        "malloc-stats",
        2,
        SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        malloc_stats,
    ),
    cmd("purge", 2, SERVER_WIDE, acl::NONE, NO_KEYS, purge),
    cmd("stats", 2, SERVER_WIDE, acl::NONE, NO_KEYS, stats),
    cmd("usage", -3, READONLY, acl::NONE, USAGE_KEYS, usage),
];

/// MEMORY.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("memory", -2, 0, acl::NONE, SUBS)],
};

/// MEMORY USAGE key [SAMPLES n]. The size is known without sampling: SAMPLES is checked and has no
/// effect.
fn usage(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut at = 3;
    while at < ctx.argc() {
        if !ctx.arg(at).eq_ignore_ascii_case(b"samples") || at + 1 == ctx.argc() {
            return Err(SYNTAX);
        }
        if parse_i64(ctx.arg(at + 1)).ok_or(NOT_INTEGER)? < 0 {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let (db, key) = (ctx.db, ctx.arg(2));
    match ctx.state.peek(db, key).map(|entry| entry.mem_bytes()) {
        Some(bytes) => {
            // The key's place in the table is its own, too.
            let table = &ctx.state.dbs[db];
            let share = table.overhead_bytes().0 / table.len().max(1);
            ctx.out.int((bytes + share) as i64);
        }
        None => ctx.out.null(),
    }
    Ok(Outcome::Done)
}

fn purge(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.wanted.purge = true;
    ctx.ok()
}

fn malloc_stats(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.verbatim("txt", alloc::stats_text().as_bytes());
    Ok(Outcome::Done)
}

fn stats(ctx: &mut Ctx<'_>) -> CmdResult {
    let m = memory_figures(ctx.state);
    let keys = ctx.state.dbs.total_keys();
    let net = m.used.saturating_sub(m.startup);
    let state = &*ctx.state;
    let out = &mut *ctx.out;
    let hole = out.open();
    let mut fields = 0;
    let mut int = |out: &mut crate::resp::reply::Writer, name: &str, value: i64| {
        out.bulk(name.as_bytes());
        out.int(value);
        fields += 1;
    };
    int(out, "peak.allocated", m.peak as i64);
    int(out, "total.allocated", m.used as i64);
    int(out, "startup.allocated", m.startup as i64);
    int(out, "replication.backlog", m.backlog as i64);
    int(out, "clients.slaves", m.replicas as i64);
    int(out, "clients.normal", m.clients.normal_bytes as i64);
    int(out, "cluster.links", 0);
    int(out, "aof.buffer", state.aof.waiting.capacity() as i64);
    let (eval, functions) = state.scripts.figures();
    let eval = eval.known_bytes;
    let libraries = state.libraries.iter().map(|(_, all)| all.heap_bytes());
    let functions = libraries.sum::<usize>() + functions.known_bytes;
    int(out, "lua.caches", eval as i64);
    int(out, "functions.caches", functions as i64);
    let mut databases = 0;
    for (number, db) in state.dbs.iter().filter(|(_, db)| !db.is_empty()) {
        let (table, index) = db.overhead_bytes();
        out.bulk(format!("db.{number}").as_bytes());
        out.map(3);
        out.bulk(b"overhead.hashtable.main");
        out.int(table as i64);
        out.bulk(b"overhead.hashtable.expires");
        out.int(index as i64);
        out.bulk(b"overhead.hashtable.slot-to-keys");
        out.int(0);
        databases += 1;
    }
    int(out, "overhead.total", m.overhead as i64);
    int(out, "keys.count", keys as i64);
    int(
        out,
        "keys.bytes-per-key",
        (net / keys.max(1)) as i64 * i64::from(keys > 0),
    );
    int(out, "dataset.bytes", m.dataset as i64);
    let ratios = [
        ("dataset.percentage", m.dataset_percent),
        ("peak.percentage", ratio(m.used, m.peak) * 100.0),
    ];
    for (name, value) in ratios {
        out.bulk(name.as_bytes());
        out.double(value);
    }
    int(out, "allocator.allocated", m.allocated as i64);
    int(out, "allocator.active", m.active as i64);
    int(out, "allocator.resident", m.resident as i64);
    let pairs = [
        ("allocator-fragmentation", ".ratio", m.active, m.allocated),
        ("allocator-rss", ".ratio", m.resident, m.active),
        ("rss-overhead", ".ratio", m.rss, m.resident),
        ("fragmentation", "", m.rss, m.used),
    ];
    for (name, suffix, a, b) in pairs {
        out.bulk(format!("{name}{suffix}").as_bytes());
        out.double(ratio(a, b));
        int(out, &format!("{name}.bytes"), a as i64 - b as i64);
    }
    out.close_map(hole, fields + databases + ratios.len() + pairs.len());
    Ok(Outcome::Done)
}

fn doctor(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = diagnosis(ctx.state, &memory_figures(ctx.state));
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// Below so much memory in use, ratios say nothing.
const SMALL_BYTES: usize = 5 << 20;
/// A difference smaller than this is not worth a word, whatever the ratio.
const SLACK_BYTES: usize = 10 << 20;

fn diagnosis(state: &State, m: &MemoryFigures) -> String {
    if m.used < SMALL_BYTES {
        return format!(
            "This instance uses only {}: too little to say anything about ratios.\n",
            human_size(m.used as u64)
        );
    }
    let size = |bytes: usize| human_size(bytes as u64);
    let mut found: Vec<String> = Vec::new();
    if ratio(m.peak, m.used) > 1.5 {
        found.push(format!(
            "Peak memory: the peak was {}, {:.1} times what is in use now ({}). The resident set \
             may stay large after such a peak, so high fragmentation figures are no fault by \
             themselves. MEMORY PURGE gives unused pages back now.",
            size(m.peak),
            ratio(m.peak, m.used),
            size(m.used)
        ));
    }
    let worth = |a: usize, b: usize, limit: f64| ratio(a, b) > limit && a - b > SLACK_BYTES;
    if worth(m.rss, m.used, 1.4) {
        found.push(format!(
            "Total fragmentation: {} are resident for {} in use (ratio {:.2}).",
            size(m.rss),
            size(m.used),
            ratio(m.rss, m.used)
        ));
    }
    if worth(m.active, m.allocated, 1.1) {
        found.push(format!(
            "Allocator fragmentation: the pages in use hold {} for {} of allocations (ratio \
             {:.2}). It comes from values of changing sizes; a restart, or a failover to a \
             replica, packs them anew.",
            size(m.active),
            size(m.allocated),
            ratio(m.active, m.allocated)
        ));
    }
    if worth(m.resident, m.active, 1.1) {
        found.push(format!(
            "Allocator's free pages: {} are resident beyond the {} in use. MEMORY PURGE gives \
             them back now; by themselves they go within seconds.",
            size(m.resident - m.active),
            size(m.active)
        ));
    }
    if worth(m.rss, m.resident, 1.1) {
        found.push(format!(
            "Outside the allocator: {} of the process are not the allocator's (code, stacks, \
             scripts).",
            size(m.rss - m.resident)
        ));
    }
    let limit = state.config.maxmemory as usize;
    if limit > 0 && m.used > limit / 10 * 9 {
        found.push(format!(
            "maxmemory: {} of {} are used. With the policy {} {}.",
            size(m.used),
            size(limit),
            state.config.maxmemory_policy.word(),
            match state.config.maxmemory_policy.word() {
                "noeviction" => "writes that need memory will be refused",
                _ => "keys are evicted",
            }
        ));
    }
    let each = m.clients.normal_bytes / m.clients.connected.max(1);
    if each > 200 << 10 {
        found.push(format!(
            "Client buffers: clients hold {} each, {} together. Pipelines of large replies that \
             nobody reads do that; see CLIENT LIST (omem, tot-mem), client-output-buffer-limit \
             and maxmemory-clients.",
            size(each),
            size(m.clients.normal_bytes)
        ));
    }
    if m.replicas > SLACK_BYTES {
        found.push(format!(
            "Replica buffers: {} wait for replicas that do not keep up.",
            size(m.replicas)
        ));
    }
    let index = m.tables.1;
    if index > m.used / 4 {
        found.push(format!(
            "Deadlines: the index of expiring keys takes {}, more than a quarter of the memory. \
             Keys whose deadline is moved again and again do that; it shrinks as old deadlines \
             pass.",
            size(index)
        ));
    }
    found.extend(largest_client(state));
    found.extend(machine(state, m));
    if found.is_empty() {
        return "No memory problem was found in this instance.\n".to_owned();
    }
    let mut text = String::from("This instance has something to look at:\n\n");
    for line in found {
        let _ = writeln!(text, " * {line}\n");
    }
    text
}

/// One client that holds much, by name: whom to ask.
fn largest_client(state: &State) -> Option<String> {
    let held = |client: &Client| client.memory() + client.transport.buffers();
    let client = state.clients.iter().max_by_key(|client| held(client))?;
    let bytes = held(client);
    (bytes > SLACK_BYTES).then(|| {
        format!(
            "Largest client: id={} addr={} name={} holds {} (input {}, output {}). CLIENT KILL ID {} \
             ends it.",
            client.id.serial,
            client.peer_text(),
            client.name_text(),
            human_size(bytes as u64),
            human_size(u64::from(client.transport.query_bytes)),
            human_size(u64::from(client.transport.out_held)),
            client.id.serial
        )
    })
}

/// What the machine does to this much memory.
fn machine(state: &State, m: &MemoryFigures) -> Vec<String> {
    let mut found = Vec::new();
    let total = sys::total_system_memory();
    if state.config.maxmemory == 0 && m.used as u64 > total / 10 * 7 {
        found.push(format!(
            "No limit: {} of this machine's {} are used, and maxmemory is 0. When it is full the \
             kernel ends some process, most likely this one.",
            human_size(m.used as u64),
            human_size(total)
        ));
    }
    let saves = !state.config.save.points.is_empty() || state.config.appendonly;
    if saves && m.used as u64 > total / 2 {
        found.push(format!(
            "Snapshots: under writes a child may need as much memory again ({}), and the machine \
             has {}. See rdb_last_cow_size and aof_last_cow_size in INFO for what it was.",
            human_size(m.used as u64),
            human_size(total)
        ));
    }
    if sys::thp_is_always() && !state.config.disable_thp {
        found.push(
            "Transparent huge pages are on for this process: what is written while a child lives is \
             copied by 2 MiB. disable-thp yes turns them off."
                .to_owned(),
        );
    }
    found
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    ])
}
