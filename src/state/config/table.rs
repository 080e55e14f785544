//! The directives: one row each, from which the struct, the defaults, the file parser, CONFIG GET, SET and REWRITE
//! all come. To add a directive, add a row.
//!
//! A row reads `name | alias => field: type = default, rule, flags;` and ends with `=> "reason"` where the
//! directive is accepted only so that existing files and tools keep working: README lists those.

use super::choices::*;
use super::secret::Secret;
use super::setting::{Rule, Setting, bytes, int, octal};
use super::special::*;

/// Cannot be changed while the server runs.
pub const IMMUTABLE: u8 = 1;
/// Changed at run time only with `enable-protected-configs`.
pub const PROTECTED: u8 = 1 << 1;
/// Not matched by the patterns of CONFIG GET, only by name.
pub const HIDDEN: u8 = 1 << 2;
/// A secret: masked wherever commands are logged or watched.
pub const SENSITIVE: u8 = 1 << 3;
/// Takes several words.
pub const MULTI: u8 = 1 << 4;
/// Cannot be changed while a dataset is being loaded.
pub const DENY_LOADING: u8 = 1 << 5;
/// Stands for more than its text, the content of a file: setting it to what it is already is a change.
pub const VOLATILE: u8 = 1 << 6;

/// One directive.
pub struct Directive {
    /// Its name, in lower case.
    pub name: &'static str,
    /// A second name, from before it was renamed; it works everywhere the first does.
    pub alias: Option<&'static str>,
    /// Which field it sets.
    pub key: Key,
    /// What values it takes.
    pub rule: Rule,
    /// The bits above.
    pub flags: u8,
    /// Why it is accepted without having an effect, where that is so.
    pub unused: Option<&'static str>,
    /// Its value.
    pub get: fn(&Config) -> &dyn Setting,
    /// Its value, to be changed.
    pub get_mut: fn(&mut Config) -> &mut dyn Setting,
}

impl Directive {
    /// True if the flag is set.
    pub fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The value as CONFIG GET shows it.
    pub fn show(&self, config: &Config) -> Vec<u8> {
        let mut out = Vec::new();
        (self.get)(config).show(&self.rule, &mut out);
        out
    }
}

macro_rules! directives {
    ($(
        $name:literal $(| $alias:literal)? => $field:ident: $ty:ty = $default:expr, $rule:expr
        $(, $flag:ident)* $(=> $unused:literal)?;
    )*) => {
        /// The values of every directive. Fields have the directive's name and are read directly.
        #[derive(Clone)]
        pub struct Config {
            $(#[doc = concat!("`", $name, "`")] pub $field: $ty,)*
            /// `rename-command` lines: from, to (empty: the command is gone).
            pub rename_command: Vec<(Vec<u8>, Vec<u8>)>,
            /// `user` lines: the words behind `user`.
            pub user: Vec<Vec<Vec<u8>>>,
            /// `loadmodule` lines: the words behind `loadmodule`.
            pub loadmodule: Vec<Vec<Vec<u8>>>,
        }

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $($field: $default,)*
                    rename_command: Vec::new(),
                    user: Vec::new(),
                    loadmodule: Vec::new(),
                }
            }
        }

        /// The directives by field, for asking what a CONFIG SET has changed. Variants are spelled as the fields
        /// are, so that the two cannot be taken for different things.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Key {
            $(#[doc = concat!("`", $name, "`")] $field,)*
        }

        /// Every directive, in the order of [`Key`].
        pub static DIRECTIVES: &[Directive] = &[$(
            Directive {
                name: $name,
                alias: first(&[$($alias)?]),
                key: Key::$field,
                rule: $rule,
                flags: 0 $(| $flag)*,
                unused: first(&[$($unused)?]),
                get: |config| &config.$field,
                get_mut: |config| &mut config.$field,
            },
        )*];
    };
}

/// The only item, where a row has given one.
const fn first(given: &[&'static str]) -> Option<&'static str> {
    match given {
        [text, ..] => Some(text),
        [] => None,
    }
}

const INT_MAX: i64 = i32::MAX as i64;
const INT_MIN: i64 = i32::MIN as i64;
const LONG_MAX: i64 = i64::MAX;
const SIZE_MAX: u64 = i64::MAX as u64;

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

directives! {
    // Network.
    "bind" => bind: Bind = Bind::default(), Rule::Plain, MULTI;
    "bind-source-addr" => bind_source_addr: Option<Vec<u8>> = None, Rule::Plain;
    "port" => port: u16 = 6379, int(0, 65535);
    "tcp-backlog" => tcp_backlog: u32 = 511, int(0, INT_MAX), IMMUTABLE;
    "tcp-keepalive" => tcp_keepalive: u32 = 300, int(0, INT_MAX);
    "timeout" => timeout: u32 = 0, int(0, INT_MAX);
    "unixsocket" => unixsocket: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "unixsocketperm" => unixsocketperm: u32 = 0, octal(0o777), IMMUTABLE;
    "protected-mode" => protected_mode: bool = true, Rule::Plain;
    "maxclients" => maxclients: u32 = 10000, int(1, u32::MAX as i64);
    "socket-mark-id" => socket_mark_id: u32 = 0, int(0, u32::MAX as i64), IMMUTABLE;
    "enable-protected-configs" => enable_protected_configs: ProtectedAction = ProtectedAction::No, Rule::Plain, IMMUTABLE;
    "enable-debug-command" => enable_debug_command: ProtectedAction = ProtectedAction::No, Rule::Plain, IMMUTABLE;
    "enable-module-command" => enable_module_command: ProtectedAction = ProtectedAction::No, Rule::Plain, IMMUTABLE;

    // TLS.
    "tls-port" => tls_port: u16 = 0, int(0, 65535);
    "tls-cert-file" => tls_cert_file: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-key-file" => tls_key_file: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-key-file-pass" => tls_key_file_pass: Option<Secret> = None, Rule::Plain, SENSITIVE;
    "tls-key-file-pass-file" => tls_key_file_pass_file: Option<Vec<u8>> = None, Rule::Plain;
    "tls-client-cert-file" => tls_client_cert_file: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-client-key-file" => tls_client_key_file: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-client-key-file-pass" => tls_client_key_file_pass: Option<Secret> = None, Rule::Plain, SENSITIVE;
    "tls-client-key-file-pass-file" => tls_client_key_file_pass_file: Option<Vec<u8>> = None, Rule::Plain;
    "tls-dh-params-file" => tls_dh_params_file: Option<Vec<u8>> = None, Rule::Plain
        => "only elliptic-curve key exchange is offered";
    "tls-ca-cert-file" => tls_ca_cert_file: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-ca-cert-dir" => tls_ca_cert_dir: Option<Vec<u8>> = None, Rule::Plain, VOLATILE;
    "tls-auth-clients" => tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, Rule::Plain;
    "tls-auth-clients-user" => tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off, Rule::Plain;
    "tls-replication" => tls_replication: bool = false, Rule::Plain;
    "tls-cluster" => tls_cluster: bool = false, Rule::Plain;
    "tls-protocols" => tls_protocols: Option<Vec<u8>> = None, Rule::Plain;
    "tls-ciphers" => tls_ciphers: Option<Vec<u8>> = None, Rule::Plain;
    "tls-ciphersuites" => tls_ciphersuites: Option<Vec<u8>> = None, Rule::Plain;
    "tls-prefer-server-ciphers" => tls_prefer_server_ciphers: bool = false, Rule::Plain;
    "tls-session-caching" => tls_session_caching: bool = true, Rule::Plain;
    "tls-session-cache-size" => tls_session_cache_size: u32 = 20 * 1024, int(0, INT_MAX);
    "tls-session-cache-timeout" => tls_session_cache_timeout: u32 = 300, int(0, INT_MAX);
    "tls-auto-reload-interval" => tls_auto_reload_interval: u32 = 0, int(0, INT_MAX);
    "tls-handshake-timeout" => tls_handshake_timeout: u32 = 10, int(0, INT_MAX);

    // The process.
    "daemonize" => daemonize: bool = false, Rule::Plain, IMMUTABLE;
    "supervised" => supervised: Supervised = Supervised::No, Rule::Plain, IMMUTABLE;
    "pidfile" => pidfile: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "loglevel" => loglevel: Loglevel = Loglevel::Notice, Rule::Plain;
    "logfile" => logfile: Vec<u8> = Vec::new(), Rule::Plain, IMMUTABLE;
    "syslog-enabled" => syslog_enabled: bool = false, Rule::Plain, IMMUTABLE;
    "syslog-ident" => syslog_ident: Option<Vec<u8>> = Some(text("redis")), Rule::Plain, IMMUTABLE;
    "syslog-facility" => syslog_facility: SyslogFacility = SyslogFacility::Local0, Rule::Plain, IMMUTABLE;
    "databases" => databases: u32 = 16, int(1, INT_MAX), IMMUTABLE;
    "always-show-logo" => always_show_logo: bool = false, Rule::Plain, IMMUTABLE;
    "set-proc-title" => set_proc_title: bool = true, Rule::Plain, IMMUTABLE;
    "proc-title-template" => proc_title_template: Vec<u8> = text("{title} {listen-addr} {server-mode}"),
        Rule::Check(super::title::check);
    "locale-collate" => locale_collate: Vec<u8> = Vec::new(), Rule::Plain
        => "texts compare by their bytes, whatever the locale";
    "crash-log-enabled" => crash_log_enabled: bool = true, Rule::Plain;
    "crash-memcheck-enabled" => crash_memcheck_enabled: bool = true, Rule::Plain
        => "a crash report does not test the machine's memory";
    "use-exit-on-panic" => use_exit_on_panic: bool = false, Rule::Plain, HIDDEN;
    "watchdog-period" => watchdog_period: u32 = 0, int(0, INT_MAX), HIDDEN;
    "hz" => hz: u32 = 10, int(0, INT_MAX).kept_within(1, 500);
    "dynamic-hz" => dynamic_hz: bool = true, Rule::Plain;
    "disable-thp" => disable_thp: bool = true, Rule::Plain, IMMUTABLE;
    "ignore-warnings" => ignore_warnings: Vec<u8> = Vec::new(), Rule::Plain;
    "server_cpulist" => server_cpulist: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "bio_cpulist" => bio_cpulist: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "aof_rewrite_cpulist" => aof_rewrite_cpulist: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "bgsave_cpulist" => bgsave_cpulist: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE;
    "jemalloc-bg-thread" => jemalloc_bg_thread: bool = true, Rule::Plain;
    "oom-score-adj" => oom_score_adj: OomScoreAdj = OomScoreAdj::No, Rule::Plain;
    "oom-score-adj-values" => oom_score_adj_values: OomValues = OomValues([0, 200, 800]), Rule::Plain, MULTI;
    "io-threads" => io_threads: u32 = 1, int(1, 128), IMMUTABLE
        => "one thread serves every connection";
    "io-threads-do-reads" => io_threads_do_reads: bool = false, Rule::Plain, IMMUTABLE
        => "one thread serves every connection";
    "req-res-logfile" => req_res_logfile: Option<Vec<u8>> = None, Rule::Plain, IMMUTABLE, HIDDEN
        => "for testing Redis itself";
    "client-default-resp" => client_default_resp: u32 = 2, int(2, 3), IMMUTABLE, HIDDEN;
    "busy-reply-threshold" | "lua-time-limit" => busy_reply_threshold: u64 = 5000, int(0, LONG_MAX);
    "script-memory-limit" => script_memory_limit: u64 = 512 << 20, bytes(0, SIZE_MAX);
    "lua-enable-deprecated-api" => lua_enable_deprecated_api: bool = false, Rule::Plain, IMMUTABLE, HIDDEN;
    "shutdown-timeout" => shutdown_timeout: u32 = 10, int(0, INT_MAX);
    "shutdown-on-sigint" => shutdown_on_sigint: ShutdownFlags = ShutdownFlags(0), Rule::Plain, MULTI;
    "shutdown-on-sigterm" => shutdown_on_sigterm: ShutdownFlags = ShutdownFlags(0), Rule::Plain, MULTI;

    // Snapshots.
    "save" => save: SavePoints = SavePoints::default(), Rule::Plain, MULTI;
    "stop-writes-on-bgsave-error" => stop_writes_on_bgsave_error: bool = true, Rule::Plain;
    "rdbcompression" => rdbcompression: bool = true, Rule::Plain;
    "rdbchecksum" => rdbchecksum: bool = true, Rule::Plain, IMMUTABLE;
    "sanitize-dump-payload" => sanitize_dump_payload: SanitizeDumpPayload = SanitizeDumpPayload::No, Rule::Plain
        => "every payload is checked in depth";
    "dbfilename" => dbfilename: Vec<u8> = text("dump.rdb"), Rule::Check(check_dbfilename), PROTECTED;
    "dir" => dir: WorkDir = WorkDir::default(), Rule::Plain, PROTECTED, DENY_LOADING;
    "rdb-del-sync-files" => rdb_del_sync_files: bool = false, Rule::Plain;
    "rdb-save-incremental-fsync" => rdb_save_incremental_fsync: bool = true, Rule::Plain;
    "rdb-key-save-delay" => rdb_key_save_delay: i32 = 0, int(INT_MIN, INT_MAX), HIDDEN;
    "key-load-delay" => key_load_delay: i32 = 0, int(INT_MIN, INT_MAX), HIDDEN;
    "loading-process-events-interval-bytes" => loading_process_events_interval_bytes: u32 = 2 * 1024 * 1024,
        int(1024, INT_MAX), HIDDEN;

    // Append-only file.
    "appendonly" => appendonly: bool = false, Rule::Plain, DENY_LOADING;
    "appendfilename" => appendfilename: Vec<u8> = text("appendonly.aof"), Rule::Check(check_appendfilename), IMMUTABLE;
    "appenddirname" => appenddirname: Vec<u8> = text("appendonlydir"), Rule::Check(check_appenddirname), IMMUTABLE;
    "appendfsync" => appendfsync: Appendfsync = Appendfsync::Everysec, Rule::Plain;
    "no-appendfsync-on-rewrite" => no_appendfsync_on_rewrite: bool = false, Rule::Plain;
    "auto-aof-rewrite-percentage" => auto_aof_rewrite_percentage: u32 = 100, int(0, INT_MAX);
    "auto-aof-rewrite-min-size" => auto_aof_rewrite_min_size: u64 = 64 << 20, bytes(0, SIZE_MAX);
    "aof-load-truncated" => aof_load_truncated: bool = true, Rule::Plain;
    "aof-use-rdb-preamble" => aof_use_rdb_preamble: bool = true, Rule::Plain;
    "aof-timestamp-enabled" => aof_timestamp_enabled: bool = false, Rule::Plain;
    "aof-rewrite-incremental-fsync" => aof_rewrite_incremental_fsync: bool = true, Rule::Plain;
    "aof-disable-auto-gc" => aof_disable_auto_gc: bool = false, Rule::Plain;

    // Replication.
    "replicaof" | "slaveof" => replicaof: ReplicaOf = ReplicaOf(None), Rule::Plain, IMMUTABLE, MULTI;
    "masterauth" => masterauth: Option<Secret> = None, Rule::Plain, SENSITIVE;
    "masterauth-file" => masterauth_file: Option<Vec<u8>> = None, Rule::Plain;
    "masteruser" => masteruser: Option<Vec<u8>> = None, Rule::Plain, SENSITIVE;
    "replica-serve-stale-data" | "slave-serve-stale-data" => replica_serve_stale_data: bool = true, Rule::Plain;
    "replica-read-only" | "slave-read-only" => replica_read_only: bool = true, Rule::Plain;
    "repl-diskless-sync" => repl_diskless_sync: bool = true, Rule::Plain;
    "repl-diskless-sync-delay" => repl_diskless_sync_delay: u32 = 5, int(0, INT_MAX);
    "repl-diskless-sync-max-replicas" => repl_diskless_sync_max_replicas: u32 = 0, int(0, INT_MAX);
    "repl-diskless-load" => repl_diskless_load: ReplDisklessLoad = ReplDisklessLoad::Disabled, Rule::Plain,
        DENY_LOADING;
    "repl-ping-replica-period" | "repl-ping-slave-period" => repl_ping_replica_period: u32 = 10, int(1, INT_MAX);
    "repl-timeout" => repl_timeout: u32 = 60, int(1, INT_MAX);
    "repl-disable-tcp-nodelay" => repl_disable_tcp_nodelay: bool = false, Rule::Plain;
    "repl-backlog-size" => repl_backlog_size: u64 = 1 << 20, bytes(1, SIZE_MAX).kept_within(16 * 1024, LONG_MAX);
    "repl-backlog-ttl" => repl_backlog_ttl: u64 = 3600, int(0, LONG_MAX);
    "replica-priority" | "slave-priority" => replica_priority: u32 = 100, int(0, INT_MAX);
    "replica-announced" => replica_announced: bool = true, Rule::Plain;
    "replica-announce-ip" | "slave-announce-ip" => replica_announce_ip: Option<Vec<u8>> = None, Rule::Plain;
    "replica-announce-port" | "slave-announce-port" => replica_announce_port: u16 = 0, int(0, 65535);
    "replica-ignore-maxmemory" | "slave-ignore-maxmemory" => replica_ignore_maxmemory: bool = true, Rule::Plain;
    "replica-ignore-disk-write-errors" => replica_ignore_disk_write_errors: bool = false, Rule::Plain;
    "replica-lazy-flush" | "slave-lazy-flush" => replica_lazy_flush: bool = false, Rule::Plain;
    "min-replicas-to-write" | "min-slaves-to-write" => min_replicas_to_write: u32 = 0, int(0, INT_MAX);
    "min-replicas-max-lag" | "min-slaves-max-lag" => min_replicas_max_lag: u32 = 10, int(0, INT_MAX);
    "propagation-error-behavior" => propagation_error_behavior: PropagationErrorBehavior =
        PropagationErrorBehavior::Ignore, Rule::Plain;

    // Security.
    "requirepass" => requirepass: Option<Secret> = None, Rule::Plain, SENSITIVE;
    "requirepass-file" => requirepass_file: Option<Vec<u8>> = None, Rule::Plain;
    "aclfile" => aclfile: Vec<u8> = Vec::new(), Rule::Plain, IMMUTABLE;
    "acllog-max-len" => acllog_max_len: usize = 128, int(0, LONG_MAX);
    "acl-password-kdf" => acl_password_kdf: PasswordKdf = PasswordKdf::Sha256, Rule::Plain;
    "acl-argon2id-memory" => acl_argon2id_memory: u64 = 19 << 20, bytes(64 << 10, 256 << 20);
    "acl-argon2id-passes" => acl_argon2id_passes: u32 = 2, int(1, 16);
    "login-failure-delay" => login_failure_delay: u64 = 0, int(0, 60_000);
    "login-lockout-failures" => login_lockout_failures: u32 = 0, int(0, INT_MAX);
    "login-lockout-user-failures" => login_lockout_user_failures: u32 = 0, int(0, INT_MAX);
    "login-lockout-address-failures" => login_lockout_address_failures: u32 = 0, int(0, INT_MAX);
    "login-lockout-seconds" => login_lockout_seconds: u32 = 300, int(1, INT_MAX);
    "acl-pubsub-default" => acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::Resetchannels, Rule::Plain;

    // Memory.
    "maxmemory" => maxmemory: u64 = 0, bytes(0, u64::MAX);
    "maxmemory-policy" => maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::Noeviction, Rule::Plain;
    "maxmemory-samples" => maxmemory_samples: u32 = 5, int(1, INT_MAX);
    "maxmemory-eviction-tenacity" => maxmemory_eviction_tenacity: u32 = 10, int(0, 100);
    "maxmemory-clients" => maxmemory_clients: MemoryLimit = MemoryLimit::Bytes(0), Rule::Plain;
    "active-expire-effort" => active_expire_effort: u32 = 1, int(1, 10);
    "lazyfree-lazy-eviction" => lazyfree_lazy_eviction: bool = false, Rule::Plain;
    "lazyfree-lazy-expire" => lazyfree_lazy_expire: bool = false, Rule::Plain;
    "lazyfree-lazy-server-del" => lazyfree_lazy_server_del: bool = false, Rule::Plain;
    "lazyfree-lazy-user-del" => lazyfree_lazy_user_del: bool = false, Rule::Plain;
    "lazyfree-lazy-user-flush" => lazyfree_lazy_user_flush: bool = false, Rule::Plain;
    "lfu-log-factor" => lfu_log_factor: u32 = 10, int(0, INT_MAX);
    "lfu-decay-time" => lfu_decay_time: u32 = 1, int(0, INT_MAX);
    "activerehashing" => activerehashing: bool = true, Rule::Plain
        => "tables grow a bucket at a time with the writes, nothing is left for the idle time";
    "activedefrag" => activedefrag: ActiveDefrag = ActiveDefrag(false), Rule::Plain
        => "values are not moved; CONFIG SET refuses to turn it on";
    "active-defrag-cycle-min" => active_defrag_cycle_min: u32 = 1, int(1, 99) => "see activedefrag";
    "active-defrag-cycle-max" => active_defrag_cycle_max: u32 = 25, int(1, 99) => "see activedefrag";
    "active-defrag-threshold-lower" => active_defrag_threshold_lower: u32 = 10, int(0, 1000) => "see activedefrag";
    "active-defrag-threshold-upper" => active_defrag_threshold_upper: u32 = 100, int(0, 1000) => "see activedefrag";
    "active-defrag-ignore-bytes" => active_defrag_ignore_bytes: u64 = 100 << 20, bytes(1, SIZE_MAX)
        => "see activedefrag";
    "active-defrag-max-scan-fields" => active_defrag_max_scan_fields: u64 = 1000, int(1, LONG_MAX)
        => "see activedefrag";

    // Clients.
    "client-output-buffer-limit" => client_output_buffer_limit: OutputLimits = OutputLimits::default(), Rule::Plain,
        MULTI;
    "client-query-buffer-limit" => client_query_buffer_limit: u64 = 1 << 30, bytes(1 << 20, SIZE_MAX);
    "proto-max-bulk-len" => proto_max_bulk_len: u64 = 512 << 20, bytes(1 << 20, SIZE_MAX);
    "tracking-table-max-keys" => tracking_table_max_keys: usize = 1_000_000, int(0, LONG_MAX);

    // Watching the server.
    "slowlog-log-slower-than" | "commandlog-execution-slower-than" => slowlog_log_slower_than: i64 = 10000,
        int(-1, LONG_MAX);
    "slowlog-max-len" | "commandlog-slow-execution-max-len" => slowlog_max_len: usize = 128, int(0, LONG_MAX);
    "commandlog-request-larger-than" => commandlog_request_larger_than: i64 = 1 << 20, int(-1, LONG_MAX);
    "commandlog-large-request-max-len" => commandlog_large_request_max_len: usize = 128, int(0, LONG_MAX);
    "commandlog-reply-larger-than" => commandlog_reply_larger_than: i64 = 1 << 20, int(-1, LONG_MAX);
    "commandlog-large-reply-max-len" => commandlog_large_reply_max_len: usize = 128, int(0, LONG_MAX);
    "hotkey-top-k" => hotkey_top_k: u32 = 16, int(0, 128);
    "hide-user-data-from-log" => hide_user_data_from_log: bool = true, Rule::Plain;
    "latency-monitor-threshold" => latency_monitor_threshold: u64 = 0, int(0, LONG_MAX);
    "latency-tracking" => latency_tracking: bool = true, Rule::Plain;
    "latency-tracking-info-percentiles" => latency_tracking_info_percentiles: Percentiles = Percentiles::default(),
        Rule::Plain, MULTI;
    "notify-keyspace-events" => notify_keyspace_events: EventMask = EventMask(0), Rule::Plain;

    // When small collections turn into big ones.
    "hash-max-listpack-entries" | "hash-max-ziplist-entries" => hash_max_listpack_entries: usize = 512, int(0, LONG_MAX);
    "hash-max-listpack-value" | "hash-max-ziplist-value" => hash_max_listpack_value: usize = 64, bytes(0, SIZE_MAX);
    "list-max-listpack-size" | "list-max-ziplist-size" => list_max_listpack_size: i32 = -2, int(INT_MIN, INT_MAX);
    "list-compress-depth" => list_compress_depth: u32 = 0, int(0, INT_MAX);
    "set-max-intset-entries" => set_max_intset_entries: usize = 512, int(0, LONG_MAX);
    "set-max-listpack-entries" => set_max_listpack_entries: usize = 128, int(0, LONG_MAX);
    "set-max-listpack-value" => set_max_listpack_value: usize = 64, int(0, LONG_MAX);
    "zset-max-listpack-entries" | "zset-max-ziplist-entries" => zset_max_listpack_entries: usize = 128, int(0, LONG_MAX);
    "zset-max-listpack-value" | "zset-max-ziplist-value" => zset_max_listpack_value: usize = 64, bytes(0, SIZE_MAX);
    "hll-sparse-max-bytes" => hll_sparse_max_bytes: usize = 3000, bytes(0, SIZE_MAX);
    "stream-node-max-bytes" => stream_node_max_bytes: usize = 4096, bytes(0, SIZE_MAX);
    "stream-node-max-entries" => stream_node_max_entries: usize = 100, int(0, LONG_MAX);

    // Cluster.
    "cluster-enabled" => cluster_enabled: bool = false, Rule::Plain, IMMUTABLE;
    "cluster-config-file" => cluster_config_file: Vec<u8> = text("nodes.conf"), Rule::Plain, IMMUTABLE;
    "cluster-port" => cluster_port: u16 = 0, int(0, 65535), IMMUTABLE;
    "cluster-node-timeout" => cluster_node_timeout: u64 = 15000, int(0, LONG_MAX);
    "cluster-ping-interval" => cluster_ping_interval: u32 = 1000, int(0, INT_MAX), HIDDEN;
    "cluster-migration-barrier" => cluster_migration_barrier: u32 = 1, int(0, INT_MAX);
    "cluster-replica-validity-factor" | "cluster-slave-validity-factor" => cluster_replica_validity_factor: u32 = 10,
        int(0, INT_MAX);
    "cluster-replica-no-failover" | "cluster-slave-no-failover" => cluster_replica_no_failover: bool = false, Rule::Plain;
    "cluster-require-full-coverage" => cluster_require_full_coverage: bool = true, Rule::Plain;
    "cluster-allow-reads-when-down" => cluster_allow_reads_when_down: bool = false, Rule::Plain;
    "cluster-allow-pubsubshard-when-down" => cluster_allow_pubsubshard_when_down: bool = true, Rule::Plain;
    "cluster-allow-replica-migration" => cluster_allow_replica_migration: bool = true, Rule::Plain;
    "cluster-link-sendbuf-limit" => cluster_link_sendbuf_limit: u64 = 0, bytes(0, u64::MAX);
    "cluster-announce-ip" => cluster_announce_ip: Option<Vec<u8>> = None, Rule::Plain;
    "cluster-announce-hostname" => cluster_announce_hostname: Option<Vec<u8>> = None, Rule::Check(check_hostname);
    "cluster-announce-human-nodename" => cluster_announce_human_nodename: Option<Vec<u8>> = None,
        Rule::Check(check_nodename);
    "cluster-announce-port" => cluster_announce_port: u16 = 0, int(0, 65535);
    "cluster-announce-tls-port" => cluster_announce_tls_port: u16 = 0, int(0, 65535);
    "cluster-announce-bus-port" => cluster_announce_bus_port: u16 = 0, int(0, 65535);
    "cluster-preferred-endpoint-type" => cluster_preferred_endpoint_type: PreferredEndpointType =
        PreferredEndpointType::Ip, Rule::Plain;
}

type Check = Result<(), &'static str>;

fn is_path(text: &[u8]) -> bool {
    text.contains(&b'/')
}

fn check_dbfilename(text: &[u8]) -> Check {
    if is_path(text) {
        return Err("dbfilename can't be a path, just a filename");
    }
    Ok(())
}

fn check_appendfilename(text: &[u8]) -> Check {
    if text.is_empty() {
        return Err("appendfilename can't be empty");
    }
    if is_path(text) {
        return Err("appendfilename can't be a path, just a filename");
    }
    Ok(())
}

fn check_appenddirname(text: &[u8]) -> Check {
    if text.is_empty() {
        return Err("appenddirname can't be empty");
    }
    if is_path(text) {
        return Err("appenddirname can't be a path, just a dirname");
    }
    Ok(())
}

/// The longest host name, with room for a terminating zero in the cluster bus's message.
const HOSTNAME_BYTES_MAX: usize = 256;

fn check_hostname(text: &[u8]) -> Check {
    if text.len() >= HOSTNAME_BYTES_MAX {
        return Err("Hostnames must be less than 256 characters");
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !text.iter().all(allowed) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots");
    }
    Ok(())
}

/// A node's readable name stands in nodes.conf between spaces and in quotes, so it may hold neither.
fn check_nodename(text: &[u8]) -> Check {
    let forbidden = b" '\"\r\n\t=,:@";
    if text.iter().any(|byte| forbidden.contains(byte)) {
        return Err("Announced human node name contained invalid character");
    }
    Ok(())
}
