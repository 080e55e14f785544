//! Rewrites of the append only file as clients and operators see them: replies, figures, children that are
//! killed.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Server, is_oracle, wait_until};

fn server(args: &[&str]) -> Server {
    let all = [&["--appendonly", "yes"], args].concat();
    Server::with(&all)
}

/// The files that children write, with the children's processes. Redis has them beside the directory.
fn temporaries(server: &Server) -> Vec<(PathBuf, i32)> {
    let beside = fs::read_dir(server.dir()).expect("its directory");
    let within = fs::read_dir(server.dir().join("appendonlydir")).expect("that of the AOF");
    beside
        .chain(within)
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_str()?;
            let pid = name.strip_prefix("temp-rewriteaof-")?;
            let pid = pid.trim_start_matches("bg-").strip_suffix(".aof")?;
            Some((path.clone(), pid.parse().ok()?))
        })
        .collect()
}

/// Begins a rewrite that does not end by itself; its child.
fn begin_slow(server: &Server) -> i32 {
    server.check(&[
        ("DEBUG POPULATE 100", "OK"),
        ("CONFIG SET rdb-key-save-delay 10000000", "OK"),
        (
            "BGREWRITEAOF",
            "Background append only file rewriting started",
        ),
    ]);
    let mut pid = None;
    wait_until("the child's file", || {
        pid = temporaries(server).first().map(|(_, pid)| *pid);
        pid.is_some()
    });
    server.check(&[("CONFIG SET rdb-key-save-delay 0", "OK")]);
    pid.expect("the condition says so")
}

#[test]
fn a_second_child_waits_or_is_refused() {
    let server = server(&[]);
    let child = begin_slow(&server);
    server.check(&[
        (
            "BGREWRITEAOF",
            "(error) ERR Background append only file rewriting already in progress",
        ),
        ("BGSAVE SCHEDULE", "Background saving scheduled"),
    ]);
    kill(Pid::from_raw(child), Signal::SIGKILL).expect("it runs");
    wait_until("the snapshot", || {
        server.infos(["rdb_saves", "rdb_bgsave_in_progress"]) == ["1", "0"]
    });

    // In a transaction, too, it waits: what comes behind it belongs into the file.
    let mut raw = server.raw();
    assert_eq!(raw.ask("MULTI"), "OK");
    assert_eq!(raw.ask("BGREWRITEAOF"), "QUEUED");
    assert_eq!(raw.ask("SET behind 1"), "QUEUED");
    let replies = raw.ask("EXEC");
    assert!(replies.contains("rewriting scheduled"), "{replies}");
    server.wait_rewritten();
    assert_eq!(server.info("aof_rewrites_consecutive_failures"), "0");
    server.check(&[("DEBUG LOADAOF", "OK"), ("GET behind", "\"1\"")]);
}

#[test]
fn a_killed_child_is_a_failure_and_one_that_is_told_to_end_is_none() {
    let server = server(&[]);
    for (signal, status, failures) in [
        (Signal::SIGUSR1, "ok", "0"),
        (Signal::SIGKILL, "err", "1"),
        (Signal::SIGUSR1, "err", "1"),
    ] {
        let child = begin_slow(&server);
        kill(Pid::from_raw(child), signal).expect("it runs");
        server.wait_rewritten();
        assert_eq!(server.info("aof_last_bgrewrite_status"), status);
        assert_eq!(server.info("aof_rewrites_consecutive_failures"), failures);
        wait_until("its file to go", || temporaries(&server).is_empty());
    }
    let started = "Background append only file rewriting started";
    server.check(&[("BGREWRITEAOF", started)]);
    server.wait_rewritten();
    assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
    assert_eq!(server.info("aof_rewrites"), "4");

    // Nor does one outlive the AOF, or the server.
    begin_slow(&server);
    server.check(&[("CONFIG SET appendonly no", "OK")]);
    server.wait_rewritten();
    wait_until("its file to go", || temporaries(&server).is_empty());
    assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
}

#[test]
fn growth_begins_a_rewrite() {
    let server = server(&["--auto-aof-rewrite-min-size", "20kb"]);
    let value = "x".repeat(1000);
    for _ in 0..30 {
        server.check(&[(&format!("SET same {value}"), "OK")]);
    }
    wait_until("the rewrite", || server.info("aof_rewrites") == "1");
    server.wait_rewritten();
    assert!(
        server
            .log()
            .contains("Starting automatic rewriting of AOF on")
    );
    let size: u64 = server.info("aof_current_size").parse().expect("a number");
    assert!(size < 20_000, "{size}");
    assert_eq!(server.info("aof_base_size"), size.to_string());
}

/// The loader runs the commands as clients send them; here it meets those that only a rewrite writes.
#[test]
fn a_file_of_commands_makes_the_same_data() {
    if is_oracle() {
        return;
    }
    let server = server(&["--aof-use-rdb-preamble", "no"]);
    server.check(&[
        ("HSET h f 1 g 2", ":2"),
        ("HPEXPIREAT h 60000000000000 FIELDS 1 f", "[:1]"),
        ("XADD s 1-1 f v", "\"1-1\""),
        ("XADD s 2-1 f v", "\"2-1\""),
        ("XGROUP CREATE s g 0", "OK"),
        ("XGROUP CREATECONSUMER s g idle", ":1"),
        (
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            "[[\"s\", [[\"1-1\", [\"f\", \"v\"]]]]]",
        ),
        ("XDEL s 1-1", ":1"),
        ("ZADD z 0.1 a inf b", ":2"),
        ("SET e v PXAT 60000000000000", "OK"),
    ]);
    let before = server.raw().ask("DEBUG DIGEST");
    let started = "Background append only file rewriting started";
    server.check(&[("BGREWRITEAOF", started)]);
    server.wait_rewritten();
    server.check(&[("DEBUG LOADAOF", "OK")]);
    assert_eq!(server.raw().ask("DEBUG DIGEST"), before);
    server.check(&[
        ("HPEXPIRETIME h FIELDS 2 f g", "[:60000000000000, :-1]"),
        ("PEXPIRETIME e", ":60000000000000"),
        ("XPENDING s g", "[:1, \"1-1\", \"1-1\", [[\"c\", \"1\"]]]"),
        ("XLEN s", ":1"),
        ("ZSCORE z b", "\"inf\""),
    ]);
}
