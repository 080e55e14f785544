//! Keys that go for their memory: who learns of it, what a limit counts, and that nobody waits for it.

use std::fs;

use crate::harness::{Server, frame, is_oracle, wait_until};

/// Sets keys `key:0`, `key:1` .. of 100 bytes.
fn fill(server: &Server, keys: usize) {
    let mut raw = server.raw();
    let value = "x".repeat(100);
    for first in (0..keys).step_by(1000) {
        let batch: Vec<u8> = (first..first + 1000)
            .flat_map(|n| frame(&["SET", &format!("key:{n}"), &value]))
            .collect();
        raw.send(&batch);
        for _ in 0..1000 {
            let reply = raw.reply();
            assert!(reply == "OK" || reply.contains("OOM"), "{reply}");
        }
    }
}

fn number(server: &Server, field: &str) -> usize {
    server.info(field).parse().expect("a number")
}

/// What was evicted is gone from the log, too: the same keys are there after a restart without a limit.
#[test]
fn the_log_tells_of_what_went() {
    for (lazy, word) in [("no", "DEL"), ("yes", "UNLINK")] {
        let dir = tempfile::tempdir().expect("a directory");
        let args = ["--dir", dir.path().to_str().expect("a plain path")];
        let args = [&args[..], &["--appendonly", "yes"]].concat();
        let server = Server::with(&args);
        let mut raw = server.raw();
        let limit = number(&server, "used_memory") + 300_000;
        raw.ask("CONFIG SET maxmemory-policy allkeys-random");
        raw.ask(&format!("CONFIG SET lazyfree-lazy-eviction {lazy}"));
        raw.ask(&format!("CONFIG SET maxmemory {limit}"));
        fill(&server, 5_000);
        // In front of a transaction, which is logged as one.
        assert_eq!(raw.ask("MULTI"), "OK");
        raw.ask("SET a 1");
        raw.ask("SET b 1");
        assert_eq!(raw.ask("EXEC"), "[OK, OK]");
        raw.ask("CONFIG SET maxmemory 0");
        let (keys, evicted) = (raw.ask("DBSIZE"), number(&server, "evicted_keys"));
        assert!(evicted > 1000);
        let incremental = dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        let (log, removal) = (&mut String::new(), format!("\r\n{word}\r\n"));
        wait_until("the log", || {
            *log = fs::read_to_string(&incremental).unwrap_or_default();
            log.matches(&removal).count() == evicted && log.contains("EXEC")
        });
        let unit = log
            .split("MULTI")
            .nth(1)
            .and_then(|rest| rest.split("EXEC").next());
        assert!(
            unit.is_some_and(|unit| !unit.contains(&removal)),
            "{unit:?}"
        );
        drop((raw, server));
        let server = Server::with(&args);
        wait_until("the data", || server.raw().ask("DBSIZE") == keys);
    }
}

/// Clients are told as of every other change of a key.
#[test]
fn a_key_that_goes_is_announced() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("SET key v");
    raw.ask("CONFIG SET notify-keyspace-events Ee");
    raw.ask("CONFIG SET maxmemory-policy allkeys-lru");
    let (mut listener, mut watcher) = (server.raw(), server.raw());
    listener.ask("SUBSCRIBE __keyevent@0__:evicted");
    watcher.ask("WATCH key");
    assert_eq!(raw.ask("CONFIG SET maxmemory 1"), "OK");
    let message = "[\"message\", \"__keyevent@0__:evicted\", \"key\"]";
    assert_eq!(listener.reply(), message, "though nobody asked for room");
    raw.ask("CONFIG SET maxmemory 0");
    watcher.ask("MULTI");
    watcher.ask("PING");
    assert_eq!(watcher.ask("EXEC"), "nil");
    assert_eq!(server.info("evicted_keys"), "1");
}

/// A large value is freed elsewhere: what it holds is as good as free, and no other key goes in its place.
#[test]
fn a_large_value_goes_alone() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("CONFIG SET maxmemory-policy allkeys-lru");
    let members: Vec<String> = (0..1000).map(|n| format!("member:{n}")).collect();
    for key in 0..20 {
        for part in 0..20 {
            let mut request = vec!["SADD".to_string(), format!("key:{key}")];
            request.extend(members.iter().map(|member| format!("{member}:{part}")));
            raw.command(&request);
            assert_eq!(raw.reply(), ":1000");
        }
    }
    let limit = number(&server, "used_memory") - 100_000;
    raw.ask(&format!("CONFIG SET maxmemory {limit}"));
    wait_until("room", || number(&server, "used_memory") <= limit);
    assert_eq!(raw.ask("SET another v"), "OK");
    assert_eq!(server.info("evicted_keys"), "1");
    assert_eq!(raw.ask("DBSIZE"), ":20");
}

/// Half of the keys are to go at once: clients are served meanwhile, also those that write.
#[test]
fn a_lower_limit_is_reached_in_turns() {
    let server = Server::start();
    fill(&server, 200_000);
    let mut raw = server.raw();
    raw.ask("CONFIG SET maxmemory-policy allkeys-lfu");
    raw.ask("CONFIG RESETSTAT");
    let limit = number(&server, "used_memory") / 2;
    assert_eq!(raw.ask(&format!("CONFIG SET maxmemory {limit}")), "OK");
    assert_eq!(raw.ask("SET new v"), "OK", "room is being made");
    // What INFO itself takes is there when it looks.
    wait_until("room", || number(&server, "used_memory") <= limit + 100_000);
    wait_until("the end of it", || {
        server.info("current_eviction_exceeded_time") == "0"
    });
    let evicted = number(&server, "evicted_keys");
    assert!((80_000..130_000).contains(&evicted), "{evicted}");
    if !is_oracle() {
        assert_ne!(server.info("loop_longest_turn_cause"), "");
    }
}

/// A policy that finds nothing to remove refuses what needs memory, and nothing else.
#[test]
fn without_anything_to_remove_writes_are_refused() {
    let server = Server::start();
    fill(&server, 1_000);
    let refused = "(error) OOM command not allowed when used memory > 'maxmemory'.";
    server.check(&[
        ("CONFIG SET maxmemory-policy volatile-lru", "OK"),
        ("CONFIG SET maxmemory 1", "OK"),
        ("SET k v", refused),
        ("GET key:1", &format!("\"{}\"", "x".repeat(100))),
        ("EXPIRE key:1 1000", ":1"),
        ("SET k v", refused),
        ("DBSIZE", ":999"),
        ("DEL key:2", ":1"),
        ("CONFIG SET maxmemory 0", "OK"),
        ("SET k v", "OK"),
    ]);
}

/// Who holds most is closed, whether it reads or not; who is exempt stays.
#[test]
fn clients_that_hold_too_much_are_closed() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(raw.ask("CONFIG SET maxmemory-clients 1mb"), "OK");
    let part = "x".repeat(600_000);
    let announced = |n: usize| format!("*2\r\n$3\r\nGET\r\n${n}\r\n");
    let (mut small, mut exempt, mut large) = (server.raw(), server.raw(), server.raw());
    small.send(announced(100_000).as_bytes());
    small.send(&part.as_bytes()[..50_000]);
    assert_eq!(exempt.ask("CLIENT NO-EVICT on"), "OK");
    exempt.send(announced(700_000).as_bytes());
    exempt.send(part.as_bytes());
    large.send(announced(900_000).as_bytes());
    large.send(part.as_bytes());
    assert_eq!(large.read_to_end(), b"");
    assert_eq!(server.info("evicted_clients"), "1");
    exempt.send(&part.as_bytes()[..100_000]);
    exempt.send(b"\r\n");
    assert_eq!(exempt.reply(), "nil");
    small.send(&part.as_bytes()[..50_000]);
    small.send(b"\r\n");
    assert_eq!(small.reply(), "nil");
}

/// A client learns of what went to make room for its request in front of the reply, and also where it
/// wants no reply.
#[test]
fn who_asks_for_room_is_told_though_it_wants_no_replies() {
    let server = Server::start();
    for (request, silent) in [("SKIP", "PING one\r\n"), ("OFF", "CLIENT REPLY ON\r\n")] {
        let mut raw = server.raw();
        raw.ask("HELLO 3");
        for request in [
            "CONFIG SET maxmemory 0",
            "CONFIG SET maxmemory-policy allkeys-random",
            "SET key v",
            "CLIENT TRACKING on",
        ] {
            assert_eq!(raw.ask(request), "OK");
        }
        assert_eq!(raw.ask("GET key"), "\"v\"");
        let limit = "CONFIG SET maxmemory 1\r\n";
        raw.send(format!("{limit}CLIENT REPLY {request}\r\n{silent}PING two\r\n").as_bytes());
        assert_eq!(raw.reply(), "OK");
        assert_eq!(raw.reply(), ">[\"invalidate\", [\"key\"]]");
        if request == "OFF" {
            assert_eq!(raw.reply(), "OK");
        }
        assert_eq!(raw.reply(), "\"two\"");
    }
}

/// What a flush frees is as good as free though it takes a while: what is written behind it stays.
#[test]
fn no_key_goes_behind_a_flush() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("CONFIG SET maxmemory-policy allkeys-random");
    for flush in ["FLUSHALL ASYNC", "FLUSHALL SYNC", "FLUSHDB"] {
        raw.ask("CONFIG SET maxmemory 0");
        fill(&server, 50_000);
        let limit = number(&server, "used_memory");
        raw.ask(&format!("CONFIG SET maxmemory {limit}"));
        raw.ask("CONFIG RESETSTAT");
        assert_eq!(raw.ask(flush), "OK");
        fill(&server, 1000);
        assert_eq!(
            (raw.ask("DBSIZE"), number(&server, "evicted_keys")),
            (":1000".into(), 0)
        );
        raw.ask("FLUSHALL");
    }
}
