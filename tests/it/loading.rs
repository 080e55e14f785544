//! A server that starts with files: what clients see meanwhile, and what becomes of files that cannot be
//! loaded.

use std::fs;

use nix::sys::signal::Signal;

use crate::harness::{Server, binary, frame, wait_until};

const INCREMENTAL: &str = "appendonlydir/appendonly.aof.1.incr.aof";
const MANIFEST: (&str, &[u8]) = (
    "appendonlydir/appendonly.aof.manifest",
    b"file appendonly.aof.1.incr.aof seq 1 type i\n",
);

fn requests(lines: &[&str]) -> Vec<u8> {
    let each = lines
        .iter()
        .map(|line| frame(&line.split(' ').collect::<Vec<_>>()));
    each.collect::<Vec<_>>().concat()
}

/// A snapshot of so many keys, made by a server of the same kind.
fn snapshot(keys: usize) -> Vec<u8> {
    let server = Server::start();
    server.check(&[
        (&format!("DEBUG POPULATE {keys} key 100"), "OK"),
        ("SAVE", "OK"),
    ]);
    fs::read(server.dir().join("dump.rdb")).expect("a snapshot")
}

/// A server that needs a second for loading a thousand keys.
fn slow(file: &[u8]) -> Server {
    let args = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    Server::with_files(&[("dump.rdb", file)], &args)
}

#[test]
fn clients_are_answered_while_a_file_is_loaded() {
    let file = snapshot(2000);
    let server = slow(&file);
    assert_eq!(server.info("loading"), "1");
    assert_eq!(server.info("loading_total_bytes"), file.len().to_string());
    let loading = "(error) LOADING Redis is loading the dataset in memory";
    server.check(&[
        ("GET key:1", loading),
        ("PING", loading),
        ("SAVE", loading),
        ("CONFIG SET appendonly yes", loading),
        ("DEBUG RELOAD", loading),
    ]);
    let mut last = 0;
    for _ in 0..5 {
        let mut now = last;
        wait_until("more of the file", || {
            now = server
                .info("loading_loaded_bytes")
                .parse()
                .expect("a number");
            now > last
        });
        last = now;
    }
    server.check(&[("CONFIG SET key-load-delay 0", "OK")]);
    wait_until("the end", || server.info("loading") == "0");
    server.check(&[("DBSIZE", ":2000"), ("PING", "PONG")]);
    assert_eq!(server.info("rdb_last_load_keys_loaded"), "2000");
    assert!(server.log().contains("Ready to accept connections"));
}

#[test]
fn a_signal_ends_the_loading_and_leaves_the_file_alone() {
    let file = snapshot(2000);
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = slow(&file);
        server.signal(signal);
        assert_eq!(server.wait_end().code(), Some(0));
        let log = server.log();
        assert!(
            log.contains("Received shutdown signal during loading, scheduling shutdown."),
            "{log}"
        );
        assert!(!log.contains("Ready to accept"), "{log}");
        assert_eq!(
            fs::read(server.dir().join("dump.rdb")).expect("still there"),
            file
        );
    }
}

/// The end by a signal comes with the cron. Where loading ended before it, writes were acknowledged meanwhile
/// and then dropped, because nothing is saved of half a data set.
#[test]
fn a_signal_while_loading_loses_no_write_that_came_behind_it() {
    let file = snapshot(1000);
    let mut server = slow(&file);
    server.check(&[("DEBUG PAUSE-CRON 1", "OK")]);
    server.signal(Signal::SIGTERM);
    wait_until("the signal", || {
        server
            .log()
            .contains("Received shutdown signal during loading")
    });
    server.check(&[("CONFIG SET key-load-delay 0", "OK")]);
    wait_until("the end of loading", || server.info("loading") == "0");
    let mut raw = server.raw();
    raw.command(&["CONFIG", "SET", "save", "3600 1000"]);
    assert_eq!(raw.reply(), "OK");
    server.check(&[("SET late 1", "OK"), ("DEBUG PAUSE-CRON 0", "OK")]);
    assert_eq!(server.wait_end().code(), Some(0));
    let again = Server::on(&binary(), server.kill(), &[]);
    wait_until("the end of loading", || again.info("loading") == "0");
    again.check(&[("GET late", "\"1\""), ("DBSIZE", ":1001")]);
}

#[test]
fn files_that_cannot_be_loaded_stay_as_they_are() {
    let good = requests(&["set a 1"]);
    let damaged = [&good[..], b"!!!", &good].concat();
    let lost = String::from_utf8(requests(&["set a 12345", "set b 1"])).expect("text");
    let lost = lost.replacen("$5", "$99999", 1).into_bytes();
    let hostile = requests(&["set a 1", "config set dir /", "set b 1"]);
    for (bytes, offset) in [
        (&damaged, "offset 27"),
        (&lost, "offset 0"),
        (&hostile, "offset 27"),
    ] {
        let files = [(INCREMENTAL, &bytes[..]), MANIFEST];
        let (status, log, dir) = Server::fails_with(&files, &["--appendonly", "yes"]);
        assert_eq!(status.code(), Some(1));
        assert!(
            log.contains(offset) && log.contains("appendonly.aof.1.incr.aof"),
            "{log}"
        );
        let last = log.lines().last().unwrap_or_default();
        assert!(
            last.contains("Bad file format reading the append only file"),
            "{last}"
        );
        assert_eq!(
            &fs::read(dir.path().join(INCREMENTAL)).expect("still there"),
            bytes
        );
    }
    let mut file = snapshot(10);
    let end = file.len() - 8;
    file[end..].copy_from_slice(b"foobar00");
    let (status, log, dir) = Server::fails_with(&[("dump.rdb", &file)], &[]);
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains("RDB CRC error") && log.contains("dump.rdb"),
        "{log}"
    );
    assert_eq!(
        fs::read(dir.path().join("dump.rdb")).expect("still there"),
        file
    );
}

#[test]
fn what_is_loaded_is_no_clients_doing() {
    let lines = [
        "multi",
        "set a 1",
        "set b 2",
        "exec",
        "rpush l x y",
        "pexpireat a 1000",
    ];
    let bytes = requests(&lines);
    let files = [(INCREMENTAL, &bytes[..]), MANIFEST];
    let server = Server::with_files(&files, &["--appendonly", "yes"]);
    wait_until("the end", || server.info("loading") == "0");
    server.check(&[("GET b", "\"2\""), ("EXISTS a", ":0")]);
    let mut raw = server.raw();
    let id = raw.ask("CLIENT ID");
    let connections = format!("total_connections_received{id}");
    assert!(
        raw.ask("INFO stats").contains(&connections),
        "{connections}"
    );
    // It is thrown away and comes back, and the log says nothing of it.
    server.check(&[
        ("SET c 3", "OK"),
        ("DEBUG LOADAOF", "OK"),
        ("MGET b c", "[\"2\", \"3\"]"),
    ]);
    let text = fs::read(server.dir().join(INCREMENTAL)).expect("the file");
    let text = String::from_utf8_lossy(&text).to_lowercase();
    assert!(
        !text.contains("loadaof") && text.matches("rpush").count() == 1,
        "{text}"
    );
}
