//! What an operator asks and does: reports, slow commands, digests, the end of the server.

use nix::sys::signal::Signal;

use crate::harness::{Raw, Server, wait_until};

/// The reply to a request, without the quotes of a bulk.
fn text(raw: &mut Raw, request: &str) -> String {
    raw.ask(request).trim_matches('"').replace("\\r\\n", "\n")
}

#[test]
fn reports_have_the_sections_asked_for() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("SET a 1");
    raw.ask("SET b 1 PX 100000");
    let report = text(&mut raw, "INFO KeySpace cluster nothing");
    let (head, rest) = report.split_once("db0:").expect("a database is shown");
    assert_eq!(head, "# Cluster\ncluster_enabled:0\n\n# Keyspace\n");
    assert!(rest.starts_with("keys=2,expires=1,avg_ttl="), "{rest}");
    assert_eq!(text(&mut raw, "INFO sentinel"), "");
    assert!(!text(&mut raw, "INFO").contains("# Commandstats"));
    let all = text(&mut raw, "INFO all");
    assert!(all.contains("\ncmdstat_set:calls=2,usec="), "{all}");
    assert!(all.contains("\nlatency_percentiles_usec_set:p50="), "{all}");
    raw.ask("HELLO 3");
    assert!(raw.ask("INFO cpu").starts_with("=txt:\"# CPU"));
}

#[test]
fn failed_and_refused_commands_are_counted() {
    let server = Server::start();
    let mut raw = server.raw();
    for request in ["SET", "SET a x", "INCR a", "NOSUCH", "CONFIG NOSUCH"] {
        raw.ask(request);
    }
    let stats = text(&mut raw, "INFO commandstats errorstats");
    assert!(
        stats.contains("rejected_calls=1,failed_calls=0\n"),
        "{stats}"
    );
    assert!(
        stats.contains("rejected_calls=0,failed_calls=1\n"),
        "{stats}"
    );
    assert!(stats.contains("errorstat_ERR:count=4\n"), "{stats}");
    assert_eq!(server.info("total_error_replies"), "4");
    assert_eq!(raw.ask("CONFIG RESETSTAT"), "OK");
    assert_eq!(text(&mut raw, "INFO errorstats"), "# Errorstats\n");
}

#[test]
fn slow_commands_are_kept() {
    let server = Server::with(&["--slowlog-log-slower-than", "200000"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("SLOWLOG LEN"), ":0");
    raw.ask("PING");
    raw.ask("DEBUG SLEEP 0.3");
    assert_eq!(raw.ask("SLOWLOG LEN"), ":1");
    let entry = raw.ask("SLOWLOG GET -1");
    assert!(entry.contains("[\"DEBUG\", \"SLEEP\", \"0.3\"]"), "{entry}");
    assert_eq!(raw.ask("SLOWLOG GET 0"), "[]");
    let refused = "(error) ERR count should be greater than or equal to -1";
    assert_eq!(raw.ask("SLOWLOG GET -2"), refused);
    assert_eq!(raw.ask("SLOWLOG GET x"), refused);
    assert_eq!(raw.ask("SLOWLOG RESET"), "OK");
    assert_eq!(raw.ask("SLOWLOG GET"), "[]");
}

#[test]
fn long_events_are_kept_by_the_second() {
    let server = Server::with(&["--latency-monitor-threshold", "200"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("LATENCY LATEST"), "[]");
    assert_eq!(raw.ask("LATENCY HISTORY command"), "[]");
    raw.ask("DEBUG SLEEP 0.3");
    let latest = raw.ask("LATENCY LATEST");
    assert!(latest.starts_with("[[\"command\", :"), "{latest}");
    let graph = text(&mut raw, "LATENCY GRAPH command");
    assert!(graph.starts_with("command - high "), "{graph}");
    let missing = "(error) ERR No samples available for event 'x'";
    assert_eq!(raw.ask("LATENCY GRAPH x"), missing);
    assert!(text(&mut raw, "LATENCY DOCTOR").contains("1. command: 1 latency spikes"));
    assert_eq!(raw.ask("LATENCY RESET x"), ":0");
    assert_eq!(raw.ask("LATENCY RESET"), ":1");
    raw.ask("CONFIG RESETSTAT");
    raw.ask("SET a b");
    let histogram = raw.ask("LATENCY HISTOGRAM set nosuch");
    assert!(histogram.starts_with("[\"set\", [\"calls\", :1, \"histogram_usec\", [:"));
    assert!(
        raw.ask("LATENCY HISTOGRAM config")
            .starts_with("[\"config|resetstat\", ")
    );
}

#[test]
fn memory_of_keys_and_of_the_server() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("SET small x");
    raw.ask(&format!("SET large {}", "x".repeat(10_000)));
    let usage = |raw: &mut Raw, key: &str| -> i64 {
        let reply = raw.ask(&format!("MEMORY USAGE {key} SAMPLES 0"));
        reply[1..].parse().expect("a number")
    };
    let (small, large) = (usage(&mut raw, "small"), usage(&mut raw, "large"));
    assert!((16..200).contains(&small) && (10_000..20_000).contains(&large));
    assert_eq!(raw.ask("MEMORY USAGE nosuch"), "nil");
    assert_eq!(
        raw.ask("MEMORY USAGE small SAMPLES"),
        "(error) ERR syntax error"
    );
    assert_eq!(
        raw.ask("MEMORY USAGE small SAMPLES -1"),
        "(error) ERR syntax error"
    );
    assert!(
        raw.ask("MEMORY STATS")
            .starts_with("[\"peak.allocated\", :")
    );
    assert!(!raw.ask("MEMORY DOCTOR").is_empty());
    assert_eq!(raw.ask("MEMORY PURGE"), "OK");
}

#[test]
fn equal_data_have_equal_digests() {
    let (one, other) = (Server::start(), Server::start());
    let (mut a, mut b) = (one.raw(), other.raw());
    assert_eq!(a.ask("DEBUG DIGEST"), "0".repeat(40));
    for request in ["SET x 1", "HSET h f 1 g 2", "SET y abc"] {
        a.ask(request);
    }
    for request in [
        "SET y abc",
        "HSET h g 2",
        "SET x 2",
        "HSET h f 1",
        "INCRBY x -1",
    ] {
        b.ask(request);
    }
    let digest = a.ask("DEBUG DIGEST");
    assert_ne!(digest, "0".repeat(40));
    assert_eq!(digest, b.ask("DEBUG DIGEST"));
    let nothing = "0".repeat(40);
    let values = a.ask("DEBUG DIGEST-VALUE h nosuch");
    assert!(values.ends_with(&format!(", {nothing}]")), "{values}");
    a.ask("PEXPIRE x 100000");
    assert_ne!(a.ask("DEBUG DIGEST"), digest);
}

#[test]
fn debugging_is_refused_unless_allowed() {
    let server = Server::with(&["--enable-debug-command", "no"]);
    let reply = server.raw().ask("DEBUG SLEEP 0");
    assert!(
        reply.starts_with("(error) ERR DEBUG command not allowed. If the "),
        "{reply}"
    );
    let server = Server::with(&["--enable-debug-command", "local"]);
    server.check(&[
        ("DEBUG SLEEP 0", "OK"),
        ("DEBUG ERROR CODE", "(error) CODE"),
        (
            "DEBUG SLEEP",
            "(error) ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.",
        ),
        ("DEBUG POPULATE 3 p 10", "OK"),
        ("GET p:2", "\"value:2\\x00\\x00\\x00\""),
        ("DEBUG PROTOCOL bignum", "\"1234567999999999999999999999999999999\""),
        ("DEBUG HTSTATS 99", "(error) ERR Out of range database"),
        ("DEBUG OBJECT nosuch", "(error) ERR no such key"),
    ]);
}

#[test]
fn a_shutdown_ends_the_server() {
    let mut server = Server::start();
    server.check(&[
        ("SHUTDOWN NOW WHAT", "(error) ERR syntax error"),
        ("SHUTDOWN SAVE NOSAVE", "(error) ERR syntax error"),
        ("SHUTDOWN ABORT NOW", "(error) ERR syntax error"),
        ("SHUTDOWN ABORT", "(error) ERR No shutdown in progress."),
    ]);
    let mut raw = server.raw();
    raw.send(b"SHUTDOWN NOSAVE\r\nPING\r\n");
    assert_eq!(raw.read_to_end(), b"");
    assert!(server.wait_end().success());
    assert!(server.log().contains("ready to exit, bye bye"));
}

#[test]
fn a_signal_schedules_a_shutdown_that_can_be_aborted() {
    let mut server = Server::start();
    let mut raw = server.raw();
    assert_eq!(raw.ask("DEBUG PAUSE-CRON 1"), "OK");
    server.signal(Signal::SIGTERM);
    wait_until("the signal", || {
        server
            .log()
            .contains("Received SIGTERM scheduling shutdown")
    });
    assert_eq!(raw.ask("SHUTDOWN ABORT"), "OK");
    assert_eq!(raw.ask("DEBUG PAUSE-CRON 0"), "OK");
    assert_eq!(raw.ask("PING"), "PONG");
    assert!(server.log().contains("Shutdown manually aborted"));
    server.signal(Signal::SIGTERM);
    assert!(server.wait_end().success());
}

#[test]
fn a_second_interrupt_insists() {
    let mut server = Server::start();
    server.raw().ask("DEBUG PAUSE-CRON 1");
    server.signal(Signal::SIGINT);
    wait_until("the signal", || {
        server.log().contains("Received SIGINT scheduling shutdown")
    });
    server.signal(Signal::SIGINT);
    assert_eq!(server.wait_end().code(), Some(1));
    assert!(server.log().contains("You insist... exiting now."));
}

#[test]
fn files_of_a_living_server_go_with_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| {
        dir.path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    };
    let (pid, socket) = (path("pid"), path("socket"));
    let mut server = Server::with(&["--pidfile", &pid, "--unixsocket", &socket]);
    let written = std::fs::read_to_string(&pid).expect("the file is there");
    assert_eq!(written.trim(), server.info("process_id"));
    server.signal(Signal::SIGTERM);
    assert!(server.wait_end().success());
    assert!(!std::path::Path::new(&pid).exists() && !std::path::Path::new(&socket).exists());
}

#[test]
fn a_crash_leaves_a_report() {
    let ways: [(&str, &str); 3] = [
        ("DEBUG SEGFAULT", "crashed by signal"),
        ("DEBUG PANIC", "Guru Meditation"),
        ("DEBUG ASSERT", "ASSERTION FAILED"),
    ];
    for (request, sign) in ways {
        let mut server = Server::start();
        let mut raw = server.raw();
        raw.send(format!("{request}\r\n").as_bytes());
        assert_eq!(raw.read_to_end(), b"");
        assert_eq!(server.wait_end().code(), None, "it dies of a signal");
        let log = server.log();
        for part in [
            "=== REDIS BUG REPORT START",
            sign,
            "STACK TRACE",
            "redis_version:",
            "=== REDIS BUG REPORT END",
        ] {
            assert!(log.contains(part), "{request}: {part} is missing in\n{log}");
        }
        assert_eq!(
            log.matches("=== REDIS BUG REPORT START").count(),
            1,
            "{log}"
        );
    }
}

#[test]
fn a_crash_report_can_be_switched_off() {
    let mut server = Server::with(&["--crash-log-enabled", "no"]);
    server.signal(Signal::SIGABRT);
    assert_eq!(server.wait_end().code(), None);
    assert!(!server.log().contains("BUG REPORT"));
}

/// As the first process of a container, too, where a signal's default action is nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_crash_report_that_does_not_end_ends_with_its_time() {
    let log = tempfile::tempdir().expect("a directory");
    let path = log.path().join("log");
    let path_text = path.to_str().expect("a plain path");
    let mut server = Server::with(&["--logfile", path_text]);
    let pid = server.info("process_id");
    // A report that goes where nobody reads.
    std::fs::remove_file(&path).expect("the log");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    server.signal(Signal::SIGSEGV);
    let status = format!("/proc/{pid}/status");
    wait_until("a limit of its time", || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0));
        caught.is_some_and(|mask| mask & 1 << (Signal::SIGALRM as u32 - 1) != 0)
    });
    // What the clock would send.
    server.signal(Signal::SIGALRM);
    assert_eq!(server.wait_end().code(), Some(1));
}

#[test]
fn the_watchdog_tells_what_holds_the_loop() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(raw.ask("CONFIG SET watchdog-period 200"), "OK");
    raw.ask("DEBUG SLEEP 0.5");
    let log = server.log();
    assert!(log.contains("WATCHDOG TIMER EXPIRED"), "{log}");
    assert_eq!(raw.ask("CONFIG SET watchdog-period 0"), "OK");
}
