//! From a configuration to a running loop.
use super::busy::Lent;
use super::carrier::Connections;
use super::conn::Pool;
use super::input::Scratch;
use super::jobs::Jobs;
use super::listen::{Listener, open_tcp, open_unix};
use super::turn::{Server, TOKEN_LISTENERS, TOKEN_SIGNALS};
use super::{absent, crash, logging, reconfigure, registry, supervise, tls, watchdog};
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::base::{alloc, sys};
use crate::persist;
use crate::state::State;
use crate::state::config::{Config, Directive, LoadError, Loglevel};
use crate::state::repl;
use mio::{Interest, Poll, Token};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The version of Redis whose behaviour this is.
pub use crate::state::config::REDIS_VERSION;
/// Descriptors for everything that is no client.
pub(super) const RESERVED_FDS: u64 = 32;

/// Says why the configuration is refused, where Redis does: a file that cannot be read is a log line.
pub fn refuse(error: &LoadError) {
    match error {
        LoadError::Open { .. } => {
            logging::start(None, Loglevel::Notice, false);
            log::warn!("{error}");
        }
        _ => eprint!("{error}"),
    }
}

/// Starts the server and runs it to its end; the exit code. `config_file` is where the configuration
/// came from.
pub fn run(config: Config, config_file: Option<PathBuf>) -> i32 {
    // Lines before and behind the change of directory go to the same file.
    let logfile =
        (!config.logfile.is_empty()).then(|| config.dir.0.join(OsStr::from_bytes(&config.logfile)));
    if config.syslog_enabled {
        logging::open_syslog(config.syslog_ident.as_deref(), config.syslog_facility);
    }
    logging::start(logfile.clone(), config.loglevel, config.syslog_enabled);
    let supervised = supervise::take_over(config.supervised);
    if config.daemonize
        && supervised.is_none()
        && let Err(error) = sys::daemonize()
    {
        log::warn!("Daemonizing failed: {error}");
        return 1;
    }
    alloc::this_is_the_loop_thread();
    log::info!("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log::info!(
        "Redis version={REDIS_VERSION}, bits=64, commit=00000000, modified=0, pid={}, just started",
        sys::pid()
    );
    match &config_file {
        Some(_) => log::info!("Configuration loaded"),
        None => log::warn!(
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use redvault /path/to/redvault.conf"
        ),
    }
    crash::install(logfile, config.use_exit_on_panic);
    crash::configure(config.crash_log_enabled, config.use_exit_on_panic);
    let signals = match sys::block_signals() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("Can't take signals: {error}")),
    };
    let lines = absent::refused_lines(&config).map(str::to_owned);
    let absent = absent::refused(&config).map(|(key, why)| {
        let name = Directive::of(key).name;
        format!("'{name}': {why}")
    });
    if let Some(text) = absent.or(lines) {
        return fail(&format!("Refusing to start with {text}."));
    }
    supervise::warn_of_system(&config);
    let mut config = config;
    reconfigure::at_start(&mut config, config_file.as_deref());
    if let Err(text) = fit_descriptors(&mut config) {
        return fail(&text);
    }
    let poll = match Poll::new() {
        Ok(poll) => poll,
        Err(error) => return fail(&format!("Failed creating the event loop. Error: {error}")),
    };
    let fd = signals.as_raw_fd();
    let mut source = mio::unix::SourceFd(&fd);
    if let Err(error) =
        poll.registry()
            .register(&mut source, Token(TOKEN_SIGNALS), Interest::READABLE)
    {
        return fail(&format!("Can't poll for signals: {error}"));
    }
    let Ok(tls) = tls::setup::at_start(&config) else {
        return fail("Failed to configure TLS. Check logs for more info.");
    };
    let mut listeners = match open_listeners(&config) {
        Ok(listeners) => listeners,
        Err(code) => return code,
    };
    for (i, listener) in listeners.iter_mut().enumerate() {
        if let Err(error) = listener.register(poll.registry(), Token(TOKEN_LISTENERS + i)) {
            return fail(&format!("Can't poll a listening socket: {error}"));
        }
    }
    let table = Arc::new(registry::build(&renames(&config)));
    let lent = match Lent::new(table.clone()) {
        Ok(lent) => lent,
        Err(error) => return fail(&format!("Can't poll: {error}")),
    };
    let ticks_per_us = sys::measure_ticks_per_us();
    let rows = table.rows().len();
    let mut state = State::new(config, Rng::from_os(), Clock::system(), rows, ticks_per_us);
    state.apply_config();
    if let Err(text) = crate::exec::users::file::load_at_start(&mut state, &table) {
        return fail(&text);
    }
    state.keep_default_password();
    state.config_apply = reconfigure::hook();
    state.run.run_id = state.rng.hex_id(40);
    state.run.supervised = supervised;
    state.repl.id = state.rng.hex_id(repl::ID_LEN);
    if let Some((host, port)) = state.config.replicaof.0.clone() {
        let mut upstream = repl::Upstream::new(host, port);
        (state.repl.upstreams, upstream.serial) = (1, 1);
        state.repl.upstream = Some(upstream);
        state.settle_role();
    }
    state.run.build_id = super::cli::build_id();
    state.run.allocator = super::cli::allocator();
    state.run.pid = sys::pid();
    state.run.started_s = state.clock.unix_ms / 1000;
    state.run.started_us = state.clock.mono_us;
    state.snapshots.last_save_s = state.run.started_s;
    state.run.executable = std::env::current_exe().unwrap_or_default();
    state.run.config_file = config_file;
    state.run.tcp_port = state.config.main_port();
    state.tls.active = tls;
    state.migrations.carrier = Some(Arc::new(Connections::default()));
    state.run.hz = state.config.hz;
    let processors = state.config.bio_cpulist.clone();
    let jobs = match Jobs::start(state.garbage.disposal.clone(), processors) {
        Ok(jobs) => jobs,
        Err(error) => return fail(&format!("Can't start the background thread: {error}")),
    };
    supervise::bind_to(state.config.server_cpulist.as_deref());
    announce(&state);
    let mut server = Server {
        state,
        table,
        poll,
        signals,
        conns: Vec::new(),
        listeners,
        jobs,
        errands: Default::default(),
        pool: Pool::default(),
        scratch: Scratch::default(),
        ready: VecDeque::new(),
        unwritten: Vec::new(),
        posts: Default::default(),
        accepting: Vec::new(),
        accept_after_us: 0,
        accept_failures_logged_s: 0,
        missing: 0,
        budget_end: 0,
        unwritten_max: 0,
        budget_hard: 0,
        next_cron_us: 0,
        cron_loops: 0,
        client_cursor: 0,
        cpu_mark: (0, 0),
        more_to_expire: false,
        next_expire_us: 0,
        expiring: false,
        turn_tick: 0,
        lent: Some(Box::new(lent)),
        tls_reload: Default::default(),
        replicas: Default::default(),
        link: Default::default(),
        loader: None,
        exit: None,
    };
    reconfigure::write_pidfile(&server.state.config);
    log::info!("Server initialized");
    crash::watch(&mut server);
    crash::watch_loop();
    watchdog::set_period(server.state.config.watchdog_period, server.state.config.hz);
    persist::leftovers::remove(&server.state);
    server.begin_loading();
    let code = server.run();
    crash::unwatch();
    let Server { state, jobs, .. } = server;
    // What the background threads have to do is done; freeing every key would only hold up the end.
    drop(jobs);
    std::mem::forget(state);
    code
}

fn fail(text: &str) -> i32 {
    log::warn!("{text}");
    1
}

/// `rename-command` as a function.
fn renames(config: &Config) -> impl Fn(&str) -> Option<String> {
    let pairs = config.rename_command.clone();
    move |name| {
        pairs
            .iter()
            .find(|(from, _)| from.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, to)| String::from_utf8_lossy(to).to_lowercase())
    }
}

/// Raises the limit of descriptors to what `maxclients` needs, or lowers `maxclients`.
fn fit_descriptors(config: &mut Config) -> Result<(), String> {
    let wanted = u64::from(config.maxclients) + RESERVED_FDS;
    let limit = sys::nofile_limit().unwrap_or(1024);
    if limit >= wanted {
        return Ok(());
    }
    let got = sys::raise_nofile(wanted).unwrap_or(limit);
    if got >= wanted {
        return Ok(());
    }
    if got <= RESERVED_FDS {
        return Err(format!(
            "Your current 'ulimit -n' of {got} is not enough for the server to start. Please \
             increase your open file limit to at least {wanted}. Exiting."
        ));
    }
    log::warn!(
        "You requested maxclients of {} requiring at least {wanted} max file descriptors.",
        config.maxclients
    );
    config.maxclients = (got - RESERVED_FDS) as u32;
    log::warn!(
        "Current maximum open files is {got}. maxclients has been reduced to {} to compensate for \
         low ulimit. If you need higher maxclients increase 'ulimit -n'.",
        config.maxclients
    );
    Ok(())
}

fn open_listeners(config: &Config) -> Result<Vec<Listener>, i32> {
    let mut listeners = Vec::new();
    if config.port != 0 {
        match open_tcp(config, config.port, Listener::Tcp) {
            Ok(tcp) => listeners.extend(tcp),
            Err(text) => {
                log::warn!("{text}");
                return Err(fail(&format!(
                    "Failed listening on port {} (tcp), aborting.",
                    config.port
                )));
            }
        }
    }
    if config.tls_port != 0 {
        match open_tcp(config, config.tls_port, Listener::Tls) {
            Ok(tls) => listeners.extend(tls),
            Err(text) => {
                log::warn!("{text}");
                return Err(fail(&format!(
                    "Failed listening on port {} (tls), aborting.",
                    config.tls_port
                )));
            }
        }
    }
    if let Some(path) = config.unixsocket.as_ref().filter(|p| !p.is_empty()) {
        let path = String::from_utf8_lossy(path);
        match open_unix(&path, config.unixsocketperm, config.tcp_backlog as i32) {
            Ok(unix) => listeners.push(unix),
            Err(text) => return Err(fail(&text)),
        }
    }
    if listeners.is_empty() {
        return Err(fail("Configured to not listen anywhere, exiting."));
    }
    if let Some(max) = sys::somaxconn()
        && max < u64::from(config.tcp_backlog)
    {
        log::warn!(
            "WARNING: The TCP backlog setting of {} cannot be enforced because \
             /proc/sys/net/core/somaxconn is set to the lower value of {max}.",
            config.tcp_backlog
        );
    }
    Ok(listeners)
}

/// The lines that say what is running and where: as a picture on a terminal or when asked for.
fn announce(state: &State) {
    let (port, pid) = (state.run.tcp_port, state.run.pid);
    log::info!("monotonic clock: POSIX clock_gettime");
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let config = &state.config;
    let picture = config.always_show_logo || (terminal && config.logfile.is_empty());
    if !picture {
        log::info!("Running mode=standalone, port={port}.");
        return;
    }
    let version = env!("CARGO_PKG_VERSION");
    log::info!(
        "\n\
         \x20   .-----------.\n\
         \x20  /  .-------.  \\     RedVault {version} (redis {REDIS_VERSION}), 64 bit\n\
         \x20 |  |  o   o  |  |    Running in standalone mode\n\
         \x20 |  |    +    |  |    Port: {port}\n\
         \x20 |  |  o   o  |  |    PID: {pid}\n\
         \x20  \\  '-------'  /\n\
         \x20   '-----------'\n"
    );
}
