//! INFO: what the server says about itself, section by section, as tools read it.
//!
//! Field names and their order are an interface: exporters and test suites find fields by name, and
//! people compare reports line by line. Parts that do not exist (modules, threads for sockets)
//! show what an idle Redis shows.
//!
//! A group's users see the group's own figures, and of the server what does not depend on other groups:
//! `tenant` has those sections. Operators see all groups' figures together, but no group's data: error codes,
//! which scripts choose, are their own group's.
mod replication;
mod tenant;

use crate::base::alloc;
use crate::base::sys::{self, Who};
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::registry::{Family, Registry};
use crate::state::State;
use crate::state::client::client_flag;
use crate::state::config::REDIS_VERSION;
use crate::state::groups::GroupId;
use crate::state::persistence::ChildKind;
use crate::state::pubsub::Topic;
use crate::state::stats::{PerCommand, RowNumber};
use std::fmt::{Display, Write as _};
use std::sync::atomic::Ordering;

const COMMANDS: &[Command] = &[cmd(
    "info",
    -1,
    flag::LOADING | flag::STALE,
    acl::DANGEROUS,
    NO_KEYS,
    info,
)];

/// INFO.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

/// A section: its name as asked for, whether plain INFO and whether INFO ALL shows it.
struct Section {
    name: &'static str,
    default: bool,
    write: fn(&mut Report<'_>),
}

const fn section(name: &'static str, default: bool, write: fn(&mut Report<'_>)) -> Section {
    Section {
        name,
        default,
        write,
    }
}

/// In the order in which they are shown.
const SECTIONS: &[Section] = &[
    section("server", true, server),
    section("clients", true, clients),
    section("memory", true, memory),
    section("persistence", true, persistence),
    section("stats", true, stats),
    section("replication", true, replication::replication),
    section("tls", true, tls),
    section("cpu", true, cpu),
    section("modules", true, modules),
    section("commandstats", false, commandstats),
    section("errorstats", true, errorstats),
    section("latencystats", false, latencystats),
    section("cluster", true, cluster),
    section("keyspace", true, keyspace),
    section("keysizes", false, keysizes),
];

/// A report being written.
struct Report<'a> {
    out: String,
    state: &'a State,
    table: &'a Registry,
    /// Of whoever asks.
    group: GroupId,
}

impl Report<'_> {
    fn head(&mut self, name: &str) {
        if !self.out.is_empty() {
            self.out.push_str("\r\n");
        }
        self.out.push_str("# ");
        self.out.push_str(name);
        self.out.push_str("\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{name}:{value}\r\n");
    }

    /// Fields that say nothing here because there is no such thing in this server, or not now.
    fn zeros(&mut self, names: &[&str]) {
        for name in names {
            self.field(name, 0);
        }
    }

    /// A size, and the same for people.
    fn size(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.human(name, bytes);
    }

    fn human(&mut self, name: &str, bytes: u64) {
        self.field(&format!("{name}_human"), human_size(bytes));
    }
}

fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    let wanted: Vec<&[u8]> = ctx.argv.from(1).iter().collect();
    let counts = |word: &&[u8]| {
        let names: [&[u8]; 3] = [b"keysizes", b"all", b"everything"];
        names.iter().any(|name| word.eq_ignore_ascii_case(name))
    };
    if wanted.iter().any(counts) {
        ctx.state.want_census(ctx.group());
    }
    let text = report(ctx.state, ctx.table, ctx.group(), &wanted);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// The sections asked for, as a user of this group sees them, each once and in the order in which they are
/// always shown. No name at all stands for `default`.
pub fn report(state: &State, table: &Registry, group: GroupId, wanted: &[&[u8]]) -> String {
    let asked = |name: &str| {
        wanted
            .iter()
            .any(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    };
    let all = asked("all") || asked("everything");
    let default = wanted.is_empty() || asked("default");
    let mut report = Report {
        out: String::new(),
        state,
        table,
        group,
    };
    let sections = match group.is_default() {
        true => SECTIONS,
        false => tenant::SECTIONS,
    };
    for section in sections {
        if all || (default && section.default) || asked(section.name) {
            (section.write)(&mut report);
        }
    }
    report.out
}

/// `1.50K`, `2.00M` and so on.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let exponent = (bytes.ilog2() / 10).min(5);
    let value = bytes as f64 / (1u64 << (10 * exponent)) as f64;
    format!("{value:.2}{}", UNITS[exponent as usize - 1])
}

fn server(r: &mut Report<'_>) {
    let (state, run) = (r.state, &r.state.run);
    let uptime_s = (state.clock.mono_us.saturating_sub(run.started_us)) / 1_000_000;
    r.head("Server");
    r.field("redis_version", REDIS_VERSION);
    r.field("server_name", "redvault");
    r.field("redvault_version", env!("CARGO_PKG_VERSION"));
    r.field("redis_git_sha1", "00000000");
    r.field("redis_git_dirty", 0);
    r.field("redis_build_id", format!("{:x}", run.build_id));
    let cluster = state.config.cluster_enabled;
    r.field("redis_mode", if cluster { "cluster" } else { "standalone" });
    r.field("os", sys::os_description());
    r.field("arch_bits", usize::BITS);
    r.field("monotonic_clock", "POSIX clock_gettime");
    r.field("multiplexing_api", "epoll");
    r.field("atomicvar_api", "c11-builtin");
    // No C compiler built the server: what Redis says when it does not know.
    r.field("gcc_version", "0.0.0");
    r.field("process_id", run.pid);
    r.field("process_supervised", run.supervised.unwrap_or("no"));
    r.field("run_id", &run.run_id);
    r.field("tcp_port", run.tcp_port);
    r.field("server_time_usec", state.clock.unix_us);
    r.field("uptime_in_seconds", uptime_s);
    r.field("uptime_in_days", uptime_s / 86_400);
    // The loop's own pace follows the number of all clients.
    let hz = if r.group.is_default() {
        run.hz
    } else {
        state.config.hz
    };
    r.field("hz", hz);
    r.field("configured_hz", state.config.hz);
    r.field("lru_clock", state.lru_seconds());
    if !r.group.is_default() {
        return;
    }
    r.field("executable", run.executable.display());
    let file = run.config_file.as_deref().unwrap_or("".as_ref());
    r.field("config_file", file.display());
    r.field("io_threads_active", 0);
    if let Some(waiting) = &state.wanted.shutdown_waiting {
        let left_us = waiting.until_us.saturating_sub(state.clock.mono_us);
        r.field("shutdown_in_milliseconds", left_us / 1000);
    }
    listeners(r);
}

/// Where the server listens, a line for each kind of socket.
fn listeners(r: &mut Report<'_>) {
    let config = &r.state.config;
    let mut lines = Vec::new();
    if config.port != 0 {
        let bind: Vec<String> = config.bind.0.iter().map(|a| format!(",bind={a}")).collect();
        lines.push(format!("name=tcp{},port={}", bind.concat(), config.port));
    }
    if let Some(path) = config.unixsocket.as_deref().filter(|p| !p.is_empty()) {
        lines.push(format!("name=unix,bind={}", String::from_utf8_lossy(path)));
    }
    if config.tls_port != 0 {
        let bind: Vec<String> = config.bind.0.iter().map(|a| format!(",bind={a}")).collect();
        lines.push(format!(
            "name=tls{},port={}",
            bind.concat(),
            config.tls_port
        ));
    }
    for (i, line) in lines.iter().enumerate() {
        r.field(&format!("listener{i}"), line);
    }
}

/// What one pass over the clients gives.
#[derive(Default)]
pub struct ClientSums {
    pub connected: usize,
    pub blocked: usize,
    pub tracking: usize,
    pub timed: usize,
    pub pubsub: usize,
    pub watching: usize,
    pub watched_keys: usize,
    pub input_max: u64,
    pub output_max: u64,
    pub normal_bytes: usize,
}

/// Adds up the clients that a group sees.
pub fn sum_clients(state: &State, viewer: GroupId) -> ClientSums {
    let mut sums = ClientSums::default();
    for client in state.clients.iter().filter(|c| c.is_shown_to(viewer)) {
        let t = &client.transport;
        if client.has(client_flag::REPLICA) {
            continue;
        }
        let bytes = client.weight();
        sums.connected += 1;
        sums.normal_bytes += bytes;
        let waits = client_flag::BLOCKED | client_flag::POSTPONED;
        sums.blocked += usize::from(client.flags & waits != 0);
        sums.tracking += usize::from(client.has(client_flag::TRACKING));
        sums.pubsub += usize::from(client.has(client_flag::PUBSUB));
        sums.watching += usize::from(!client.watched.is_empty());
        sums.watched_keys += client.watched.len();
        sums.timed += usize::from(client.parked.as_ref().is_some_and(|p| p.deadline_ms > 0));
        sums.input_max = sums
            .input_max
            .max(u64::from(t.query_bytes) + u64::from(t.query_free));
        sums.output_max = sums.output_max.max(u64::from(t.out_bytes));
    }
    sums
}

fn clients(r: &mut Report<'_>) {
    let sums = sum_clients(r.state, r.group);
    r.head("Clients");
    r.field("connected_clients", sums.connected);
    r.field("cluster_connections", 0);
    r.field("maxclients", r.state.config.maxclients);
    r.field("client_recent_max_input_buffer", sums.input_max);
    r.field("client_recent_max_output_buffer", sums.output_max);
    r.field("blocked_clients", sums.blocked);
    r.field("tracking_clients", sums.tracking);
    r.field("pubsub_clients", sums.pubsub);
    r.field("watching_clients", sums.watching);
    r.field("total_watched_keys", sums.watched_keys);
    r.field("clients_in_timeout_table", sums.timed);
    let blocked = &r.state.blocked;
    let (keys, absences) = match r.group.is_default() {
        true => (blocked.keys_waited_for(), blocked.absences_waited_for()),
        false => blocked.waited_for_in(&r.state.dbs_of(r.group)),
    };
    r.field("total_blocking_keys", keys);
    r.field("total_blocking_keys_on_nokey", absences);
}

/// How the memory is divided: INFO, MEMORY STATS and MEMORY DOCTOR read the same figures.
pub struct MemoryFigures {
    pub used: usize,
    pub peak: usize,
    pub startup: usize,
    pub overhead: usize,
    /// Tables of keys and indexes of deadlines.
    pub tables: (usize, usize),
    pub clients: ClientSums,
    /// The stream of changes, up to the backlog's size, and what replicas have not read of it beyond that.
    pub backlog: usize,
    pub replicas: usize,
    pub dataset: usize,
    pub dataset_percent: f64,
    pub rss: usize,
    pub allocated: usize,
    pub active: usize,
    pub resident: usize,
}

/// Takes the figures; those that the kernel or the allocator would have to be asked for are as of
/// the last cron.
pub fn memory_figures(state: &State) -> MemoryFigures {
    let used = alloc::used();
    let cron = &state.stats.cron_memory;
    let clients = sum_clients(state, GroupId::DEFAULT);
    let tables = state.dbs.overhead_bytes();
    let startup = state.run.startup_memory;
    let stream = state.repl.heap_bytes();
    let size = usize::try_from(state.config.repl_backlog_size).unwrap_or(usize::MAX);
    let backlog = match state.repl.replicas.is_empty() {
        true => stream,
        false => stream.min(size),
    };
    let replicas = stream - backlog;
    let overhead = startup + tables.0 + tables.1 + clients.normal_bytes + stream;
    let dataset = used.saturating_sub(overhead);
    let net = used.saturating_sub(startup).max(1);
    MemoryFigures {
        used,
        peak: state.stats.peak_memory.max(used),
        startup,
        overhead,
        tables,
        clients,
        backlog,
        replicas,
        dataset,
        dataset_percent: (dataset as f64 * 100.0 / net as f64).min(100.0),
        rss: cron.rss,
        allocated: cron.allocated,
        active: cron.active,
        resident: cron.resident,
    }
}

/// How many times `b` fits into `a`; 0 before the first figures are there.
pub fn ratio(a: usize, b: usize) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// What scripts and functions take.
fn scripts(r: &mut Report<'_>) {
    let state = r.state;
    let (eval, functions) = match r.group.is_default() {
        true => state.scripts.figures(),
        false => state.scripts.figures_of(r.group),
    };
    let (count, bytes) = libraries(state, r.group);
    r.field("used_memory_lua", eval.vm_bytes);
    r.field("used_memory_vm_eval", eval.vm_bytes);
    r.human("used_memory_lua", eval.vm_bytes as u64);
    r.field("used_memory_scripts_eval", eval.known_bytes);
    r.field("number_of_cached_scripts", eval.known);
    r.field("number_of_functions", functions.known);
    r.field("number_of_libraries", count);
    r.field("used_memory_vm_functions", functions.vm_bytes);
    let vms = eval.vm_bytes + functions.vm_bytes;
    r.field("used_memory_vm_total", vms);
    r.human("used_memory_vm_total", vms as u64);
    let libraries = bytes + functions.known_bytes;
    r.field("used_memory_functions", libraries);
    r.size("used_memory_scripts", (libraries + eval.known_bytes) as u64);
}

/// How many function libraries a group sees, and their memory: operators see those of all groups.
fn libraries(state: &State, viewer: GroupId) -> (usize, usize) {
    let shown = |(group, _): &(GroupId, _)| viewer.is_default() || *group == viewer;
    let all = state.libraries.iter().filter(shown);
    all.fold((0, 0), |(count, bytes), (_, libraries)| {
        (count + libraries.len(), bytes + libraries.heap_bytes())
    })
}

fn memory(r: &mut Report<'_>) {
    let (state, m) = (r.state, memory_figures(r.state));
    r.head("Memory");
    r.size("used_memory", m.used as u64);
    r.size("used_memory_rss", m.rss as u64);
    r.size("used_memory_peak", m.peak as u64);
    let percent = ratio(m.used, m.peak) * 100.0;
    r.field("used_memory_peak_perc", format_args!("{percent:.2}%"));
    r.field("used_memory_overhead", m.overhead);
    r.field("used_memory_startup", m.startup);
    r.field("used_memory_dataset", m.dataset);
    let percent = m.dataset_percent;
    r.field("used_memory_dataset_perc", format_args!("{percent:.2}%"));
    r.field("allocator_allocated", m.allocated);
    r.field("allocator_active", m.active);
    r.field("allocator_resident", m.resident);
    r.size("total_system_memory", sys::total_system_memory());
    scripts(r);
    r.size("maxmemory", state.config.maxmemory);
    r.field("maxmemory_policy", state.config.maxmemory_policy.word());
    let pairs = [
        ("allocator_frag", m.active, m.allocated),
        ("allocator_rss", m.resident, m.active),
        ("rss_overhead", m.rss, m.resident),
        ("mem_fragmentation", m.rss, m.used),
    ];
    for (name, a, b) in pairs {
        r.field(&format!("{name}_ratio"), format_args!("{:.2}", ratio(a, b)));
        r.field(&format!("{name}_bytes"), a as i64 - b as i64);
    }
    r.field("mem_not_counted_for_evict", state.uncounted_bytes());
    r.field("mem_replication_backlog", m.backlog);
    r.field("mem_total_replication_buffers", m.backlog + m.replicas);
    r.field("mem_clients_slaves", m.replicas);
    r.field("mem_clients_normal", m.clients.normal_bytes);
    r.field("mem_cluster_links", 0);
    r.field("mem_aof_buffer", state.aof.waiting.capacity());
    r.field("mem_allocator", &state.run.allocator);
    r.field("active_defrag_running", 0);
    let disposal = &state.garbage.disposal;
    let pending = disposal.pending.load(Ordering::Relaxed);
    r.field("lazyfree_pending_objects", pending);
    r.field("lazyfreed_objects", disposal.freed.load(Ordering::Relaxed));
}

fn persistence(r: &mut Report<'_>) {
    let state = r.state;
    r.head("Persistence");
    r.field("loading", u8::from(state.is_loading()));
    let upstream = state.repl.upstream.as_ref();
    let swaps = upstream.is_some_and(|upstream| upstream.async_loading);
    r.field("async_loading", u8::from(swaps));
    child(r);
    let snapshots = &state.snapshots;
    let saving = state.is_saving();
    r.field("rdb_changes_since_last_save", state.dirty);
    r.field("rdb_bgsave_in_progress", u8::from(saving));
    r.field("rdb_last_save_time", snapshots.last_save_s);
    let status = if snapshots.last_ok { "ok" } else { "err" };
    r.field("rdb_last_bgsave_status", status);
    r.field("rdb_last_bgsave_time_sec", snapshots.last_took_s);
    let ages = [ChildKind::Snapshot, ChildKind::Transfer].map(|kind| state.child_age_s(kind));
    let age_s = ages[0].max(ages[1]);
    r.field("rdb_current_bgsave_time_sec", age_s);
    r.field("rdb_saves", snapshots.saves);
    r.field("rdb_last_cow_size", snapshots.last_cow_bytes);
    r.field("rdb_last_load_keys_expired", state.load.rdb_expired);
    r.field("rdb_last_load_keys_loaded", state.load.rdb_keys);
    append_only_file(r);
    if state.is_loading() {
        loading(r);
    }
}

/// How far the loading of files has come.
fn loading(r: &mut Report<'_>) {
    let (load, now_s) = (&r.state.load, r.state.clock.unix_ms / 1000);
    r.field("loading_start_time", load.started_s);
    r.field("loading_total_bytes", load.total_bytes);
    r.field("loading_rdb_used_mem", load.rdb_used_memory);
    r.field("loading_loaded_bytes", load.loaded_bytes);
    r.field("loading_loaded_perc", format_args!("{:.2}", load.percent()));
    r.field("loading_eta_seconds", load.eta_s(now_s));
}

fn append_only_file(r: &mut Report<'_>) {
    let state = r.state;
    let (aof, rewrites) = (&state.aof, &state.rewrites);
    // Until its files are in their places.
    let rewriting = rewrites.running.is_some();
    let status = |ok: bool| if ok { "ok" } else { "err" };
    r.field("aof_enabled", u8::from(aof.enabled()));
    r.field("aof_rewrite_in_progress", u8::from(rewriting));
    r.field("aof_rewrite_scheduled", u8::from(aof.rewrite_scheduled));
    r.field("aof_last_rewrite_time_sec", rewrites.last_took_s);
    let age_s = state.child_age_s(ChildKind::Rewrite);
    r.field("aof_current_rewrite_time_sec", age_s);
    r.field("aof_last_bgrewrite_status", status(rewrites.last_ok));
    r.field("aof_rewrites", rewrites.started);
    r.field("aof_rewrites_consecutive_failures", rewrites.failures);
    r.field("aof_last_write_status", status(aof.error().is_none()));
    r.field("aof_last_cow_size", rewrites.last_cow_bytes);
    r.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if aof.enabled() {
        r.field("aof_current_size", aof.current_bytes);
        r.field("aof_base_size", aof.base_bytes);
        r.zeros(&["aof_pending_rewrite"]);
        r.field("aof_buffer_length", aof.waiting.len());
        r.field("aof_pending_bio_fsync", aof.syncs.len());
        r.field("aof_delayed_fsync", aof.delayed_fsyncs);
    }
}

/// What the child that lives has told of itself.
fn child(r: &mut Report<'_>) {
    let progress = r.state.child.as_ref().map(|child| child.progress);
    let p = progress.unwrap_or_default();
    r.field("current_cow_peak", p.cow_peak);
    r.field("current_cow_size", p.cow_now);
    let age_us = match p.cow_at_us {
        0 => 0,
        at_us => r.state.clock.mono_us.saturating_sub(at_us),
    };
    r.field("current_cow_size_age", age_us / 1_000_000);
    r.field("current_fork_perc", format_args!("{:.2}", p.percent()));
    r.field("current_save_keys_processed", p.keys_done);
    r.field("current_save_keys_total", p.keys_total);
}

fn stats(r: &mut Report<'_>) {
    let s = &r.state.stats;
    let logins = &r.state.logins;
    let (lockouts, waiting) = (logins.lockouts.total, logins.waiting());
    let kib = |rate: usize| s.instant[rate].per_second() / 1024.0;
    r.head("Stats");
    r.field("total_connections_received", s.connections);
    r.field("total_commands_processed", s.commands_processed);
    r.field(
        "instantaneous_ops_per_sec",
        s.instant[0].per_second() as u64,
    );
    let repl = &r.state.repl.figures;
    r.field("total_net_input_bytes", s.net_in + repl.net_in);
    r.field("total_net_output_bytes", s.net_out + repl.net_out);
    r.field("total_net_repl_input_bytes", repl.net_in);
    r.field("total_net_repl_output_bytes", repl.net_out);
    r.field("instantaneous_input_kbps", format_args!("{:.2}", kib(1)));
    r.field("instantaneous_output_kbps", format_args!("{:.2}", kib(2)));
    r.field(
        "instantaneous_input_repl_kbps",
        format_args!("{:.2}", kib(5)),
    );
    r.field(
        "instantaneous_output_repl_kbps",
        format_args!("{:.2}", kib(6)),
    );
    r.field("rejected_connections", s.connections_refused);
    r.field(
        "client_query_buffer_limit_disconnections",
        s.query_limit_disconnections,
    );
    r.field(
        "client_output_buffer_limit_disconnections",
        s.output_limit_disconnections,
    );
    r.field("sync_full", repl.full_syncs);
    r.field("sync_partial_ok", repl.partial_syncs);
    r.field("sync_partial_err", repl.partial_syncs_refused);
    r.field("expired_keys", s.expired);
    r.field("expired_subkeys", s.expired_members);
    let stale = s.expired_stale_percent;
    r.field("expired_stale_perc", format_args!("{stale:.2}"));
    r.field("expired_time_cap_reached_count", s.expire_cap_reached);
    r.field("expire_cycle_cpu_milliseconds", s.expire_cycle_us / 1000);
    r.field("evicted_keys", s.evicted);
    r.field("evicted_clients", s.evicted_clients);
    r.field("evicted_scripts", s.evicted_scripts);
    let exceeded_us = r.state.exceeded_now_us();
    let total_us = s.eviction_exceeded_us + exceeded_us;
    r.field("total_eviction_exceeded_time", total_us / 1000);
    r.field("current_eviction_exceeded_time", exceeded_us / 1000);
    r.field("keyspace_hits", s.hits);
    r.field("keyspace_misses", s.misses);
    pubsub(r);
    r.field("latest_fork_usec", r.state.forks.latest_us);
    r.field("total_forks", s.forks);
    let carrier = r.state.migrations.carrier.as_ref();
    let kept = carrier.map_or(0, |carrier| carrier.kept());
    r.field("migrate_cached_sockets", kept);
    r.zeros(&[
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
    ]);
    tracking(r);
    r.field("unexpected_error_replies", s.unexpected_errors);
    let errors: u64 = s.errors.iter().map(|(_, errors)| errors.total).sum();
    r.field("total_error_replies", errors);
    r.field("dump_payload_sanitizations", 0);
    r.field("total_reads_processed", s.reads);
    r.field("total_writes_processed", s.writes);
    r.zeros(&[
        "io_threaded_reads_processed",
        "io_threaded_writes_processed",
        "reply_buffer_shrinks",
        "reply_buffer_expands",
    ]);
    r.field("eventloop_cycles", s.turns);
    r.field("eventloop_duration_sum", s.turn_us_total);
    let in_commands: u64 = s.per_command.iter().map(|p| p.ticks).sum();
    r.field("eventloop_duration_cmd_sum", s.ticks_to_us(in_commands));
    let (turns, busy) = (s.instant[3].per_second(), s.instant[4].per_second());
    let each = if turns > 0.0 { busy / turns } else { 0.0 };
    r.field("instantaneous_eventloop_cycles_per_sec", turns as u64);
    r.field("instantaneous_eventloop_duration_usec", each as u64);
    let [auth, command, key, channel, db, certificate] = s.acl_denied;
    r.field("acl_access_denied_auth", auth);
    r.field("acl_access_denied_cmd", command);
    r.field("acl_access_denied_key", key);
    r.field("acl_access_denied_channel", channel);
    r.field("acl_access_denied_db", db);
    r.field("acl_access_denied_tls_cert", certificate);
    r.field("login_lockouts_total", lockouts);
    r.field("logins_waiting", waiting);
    r.field("loop_longest_turn_us", s.longest_turn_us);
    r.field("loop_longest_turn_cause", s.longest_turn_cause);
}

/// Names with subscribers. Operators see the numbers of all groups.
fn pubsub(r: &mut Report<'_>) {
    let counts = [Topic::Channel, Topic::Pattern, Topic::ShardChannel].map(|topic| {
        let viewer = r.group;
        let all = r.state.pubsub.iter();
        let shown = all.filter(|(group, _)| viewer.is_default() || *group == viewer);
        shown.map(|(_, topics)| topics.len(topic)).sum::<usize>()
    });
    r.field("pubsub_channels", counts[0]);
    r.field("pubsub_patterns", counts[1]);
    r.field("pubsubshard_channels", counts[2]);
}

/// What clients cache. Operators see the numbers of all groups.
fn tracking(r: &mut Report<'_>) {
    let tracking = &r.state.tracking;
    let (keys, items, prefixes) = match r.group.is_default() {
        true => tracking.all_counts(),
        false => tracking.counts(r.group),
    };
    r.field("tracking_total_keys", keys);
    r.field("tracking_total_items", items);
    r.field("tracking_total_prefixes", prefixes);
}

/// TLS, where there is any: certificates in force, in the words of Valkey 9.1, and how handshakes go.
fn tls(r: &mut Report<'_>) {
    let tls = &r.state.tls;
    let Some(active) = &tls.active else {
        return;
    };
    let now_s = r.state.clock.unix_ms / 1000;
    let certificates = [
        ("server", Some(&active.cert)),
        ("client", active.client_cert.as_ref()),
        ("ca", active.authority.as_ref()),
    ];
    r.head("TLS");
    for (whose, facts) in certificates {
        let serial = facts.map_or("none", |facts| &facts.serial);
        let left_s = facts.map_or(0, |facts| (facts.not_after - now_s).max(0));
        r.field(&format!("tls_{whose}_cert_serial"), serial);
        r.field(&format!("tls_{whose}_cert_expires_in_seconds"), left_s);
    }
    r.field("tls_handshakes", tls.handshakes);
    r.field("tls_handshakes_failed", tls.handshakes_failed);
    r.field("tls_reloads", tls.reloads);
    r.field("tls_reloads_failed", tls.reloads_failed);
}

fn cpu(r: &mut Report<'_>) {
    let whose = [
        ("", Who::Process),
        ("_children", Who::Children),
        ("_main_thread", Who::Thread),
    ];
    r.head("CPU");
    for (suffix, who) in whose {
        let times = sys::cpu_times(who);
        for (kind, us) in [("sys", times.sys_us), ("user", times.user_us)] {
            let name = format!("used_cpu_{kind}{suffix}");
            let value = format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000).to_string();
            r.field(&name, value);
        }
    }
}

fn modules(r: &mut Report<'_>) {
    r.head("Modules");
}

/// Every row that has something to tell, with the name it has in statistics (its own, whatever it
/// was renamed to).
fn each_row(r: &mut Report<'_>, write: impl Fn(&mut Report<'_>, &str, &PerCommand)) {
    let table = r.table;
    for row in table.rows() {
        let RowNumber(at) = row.id;
        let name = if row.parent == row.id {
            row.cmd.name
        } else {
            table.name(row.id)
        };
        let state = r.state;
        write(r, name, &state.stats.per_command[at as usize]);
    }
}

fn commandstats(r: &mut Report<'_>) {
    r.head("Commandstats");
    each_row(r, |r, name, per| {
        if per.calls == 0 && per.rejected == 0 && per.failed == 0 {
            return;
        }
        let usec = r.state.stats.ticks_to_us(per.ticks);
        let each = if per.calls == 0 {
            0.0
        } else {
            r.state.stats.ticks_to_us_f64(per.ticks) / per.calls as f64
        };
        let _ = write!(
            r.out,
            "cmdstat_{name}:calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},\
             failed_calls={}\r\n",
            per.calls, per.rejected, per.failed
        );
    });
}

fn errorstats(r: &mut Report<'_>) {
    r.head("Errorstats");
    let errors = r.state.stats.errors.of(r.group);
    let mut errors: Vec<_> = errors.by_code.iter().collect();
    errors.sort_unstable();
    for (code, count) in errors {
        // A code may come from a script: nothing of it may break the line.
        let code = code.replace([':', '\r', '\n', ' '], "_");
        let _ = write!(r.out, "errorstat_{code}:count={count}\r\n");
    }
}

fn latencystats(r: &mut Report<'_>) {
    r.head("Latencystats");
    each_row(r, |r, name, per| {
        if per.latency.is_empty() {
            return;
        }
        let _ = write!(r.out, "latency_percentiles_usec_{name}:");
        let config = &r.state.config.latency_tracking_info_percentiles.0;
        for (i, percent) in config.iter().enumerate() {
            let label = format!("{percent:.6}");
            let label = label.trim_end_matches('0').trim_end_matches('.');
            let us = r
                .state
                .stats
                .ticks_to_us_f64(per.latency.percentile(*percent));
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(r.out, "{comma}p{label}={:.3}", us.max(0.001));
        }
        r.out.push_str("\r\n");
    });
}

fn cluster(r: &mut Report<'_>) {
    r.head("Cluster");
    r.field("cluster_enabled", u8::from(r.state.config.cluster_enabled));
}

fn keyspace(r: &mut Report<'_>) {
    r.head("Keyspace");
    let now_ms = r.state.clock.unix_ms;
    for (number, db) in r.state.dbs.iter_in(r.state.dbs_of(r.group)) {
        if !db.is_empty() {
            let i = r.state.local_db(number);
            let _ = write!(
                r.out,
                "db{i}:keys={},expires={},avg_ttl={},subexpiry={}\r\n",
                db.len(),
                db.expires(),
                db.avg_ttl_ms(now_ms),
                db.keys_with_expiring_members()
            );
        }
    }
}

fn keysizes(r: &mut Report<'_>) {
    r.head("Keysizes");
    for line in r.state.census.lines(r.group) {
        r.out.push_str(&line);
        r.out.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::config::Config;

    fn shown(wanted: &[&str]) -> String {
        let table = Registry::new(&[&FAMILY], &|_| None);
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(1_700_000_000_000));
        let mut state = State::new(Config::default(), rng, clock, table.rows().len(), 1000.0);
        state.stats.per_command[0].calls = 4;
        state.stats.per_command[0].ticks = 10_000;
        state.stats.per_command[0].latency.record(3000);
        state.count_error("WRONGTYPE");
        state.count_error("ERR");
        let wanted: Vec<&[u8]> = wanted.iter().map(|word| word.as_bytes()).collect();
        report(&state, &table, GroupId::DEFAULT, &wanted)
    }

    fn heads(wanted: &[&str]) -> String {
        let text = shown(wanted);
        let heads: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# ")).collect();
        heads.join(" ")
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let default = "Server Clients Memory Persistence Stats Replication CPU Modules \
                       Errorstats Cluster Keyspace";
        let all = "Server Clients Memory Persistence Stats Replication CPU Modules \
                   Commandstats Errorstats Latencystats Cluster Keyspace Keysizes";
        assert_eq!(heads(&[]), default);
        assert_eq!(heads(&["DEFAULT", "cpu"]), default);
        assert_eq!(heads(&["all"]), all);
        assert_eq!(heads(&["everything", "nothing"]), all);
        assert_eq!(heads(&["keyspace", "Server", "server"]), "Server Keyspace");
        assert_eq!(shown(&["sentinel"]), "");
        assert_eq!(
            shown(&["modules", "cluster"]),
            "# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n"
        );
    }

    #[test]
    fn statistics_have_their_shape() {
        assert_eq!(
            shown(&["commandstats", "errorstats", "latencystats"]),
            "# Commandstats\r\n\
             cmdstat_info:calls=4,usec=10,usec_per_call=2.50,rejected_calls=0,failed_calls=0\r\n\
             \r\n# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=1\r\n\
             \r\n# Latencystats\r\n\
             latency_percentiles_usec_info:p50=3.071,p99=3.071,p99.9=3.071\r\n"
        );
    }

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 1023, 1024, 1536, 1 << 20, 23 << 30, u64::MAX].map(human_size);
        let expected = [
            "0B",
            "1023B",
            "1.00K",
            "1.50K",
            "1.00M",
            "23.00G",
            "16384.00P",
        ];
        assert_eq!(sizes, expected);
    }
}
