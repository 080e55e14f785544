//! Keys of any type and whole databases: copying, moving, scanning, swapping, flushing.

use std::collections::BTreeSet;

use crate::harness::{Raw, Server, wait_until};

#[test]
fn a_copy_in_another_database_has_the_deadline_and_a_life_of_its_own() {
    let server = Server::start();
    server.check(&[
        ("SET k v PXAT 33177117420000", "OK"),
        ("COPY k k DB 3", ":1"),
        ("COPY k k DB 3", ":0"),
        (
            "COPY k k DB 0",
            "(error) ERR source and destination objects are the same",
        ),
        ("COPY k k DB 16", "(error) ERR DB index is out of range"),
        ("COPY k k DB -1", "(error) ERR DB index is out of range"),
        (
            "COPY k k DB x",
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "COPY k k DB 4294967296",
            "(error) ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        ("COPY k k DB", "(error) ERR syntax error"),
        ("PERSIST k", ":1"),
        ("APPEND k 2", ":2"),
        ("SELECT 3", "OK"),
        ("GET k", "\"v\""),
        ("PEXPIRETIME k", ":33177117420000"),
        ("SELECT 0", "OK"),
        ("COPY k k REPLACE DB 3", ":1"),
        ("SELECT 3", "OK"),
        ("GET k", "\"v2\""),
        ("OBJECT ENCODING k", "\"raw\""),
        ("TTL k", ":-1"),
        ("COPY none k REPLACE", ":0"),
        ("GET k", "\"v2\""),
    ]);
}

#[test]
fn a_key_moves_and_is_renamed_with_its_deadline() {
    Server::start().check(&[
        ("SET a 1 PXAT 33177117420000", "OK"),
        ("SET b 2", "OK"),
        ("RENAMENX a b", ":0"),
        ("RENAME a b", "OK"),
        ("PEXPIRETIME b", ":33177117420000"),
        ("EXISTS a b b", ":2"),
        ("RENAME a b", "(error) ERR no such key"),
        ("RENAMENX b b", ":0"),
        ("RENAME b b", "OK"),
        (
            "MOVE b 0",
            "(error) ERR source and destination objects are the same",
        ),
        (
            "MOVE b x",
            "(error) ERR value is not an integer or out of range",
        ),
        ("MOVE b 99", "(error) ERR DB index is out of range"),
        ("MOVE b 1", ":1"),
        ("MOVE b 1", ":0"),
        ("SET b 3", "OK"),
        ("MOVE b 1", ":0"),
        ("SELECT 1", "OK"),
        ("GET b", "\"1\""),
        ("PEXPIRETIME b", ":33177117420000"),
        ("TYPE b", "string"),
        ("TYPE a", "none"),
        ("UNLINK a b b", ":1"),
        ("RANDOMKEY", "nil"),
        ("DBSIZE", ":0"),
    ]);
}

/// One step of a scan: the next cursor, and the keys.
fn scan(raw: &mut Raw, cursor: &str, options: &str) -> (String, Vec<String>) {
    let reply = raw.ask(&format!("SCAN {cursor}{options}"));
    let inner = reply.trim_start_matches('[').trim_end_matches("]]");
    let (cursor, keys) = inner.split_once(", [").expect("a cursor and keys");
    let keys = keys.split(", ").filter(|k| !k.is_empty());
    (
        cursor.trim_matches('"').into(),
        keys.map(|k| k.trim_matches('"').into()).collect(),
    )
}

fn set_many(raw: &mut Raw, names: impl Iterator<Item = String>) {
    let mut words = vec!["MSET".to_string()];
    names.for_each(|name| words.extend([name, "v".into()]));
    raw.command(&words);
    assert_eq!(raw.reply(), "OK");
}

#[test]
fn a_scan_finds_every_key_that_stays_while_the_database_grows_and_shrinks() {
    let server = Server::start();
    let (mut raw, mut other) = (server.raw(), server.raw());
    for shrinks in [false, true] {
        raw.ask("FLUSHALL");
        set_many(&mut raw, (0..1000).map(|n| format!("stay:{n}")));
        if shrinks {
            set_many(&mut raw, (0..20_000).map(|n| format!("go:{n}")));
        }
        let (mut seen, mut cursor, mut round) = (BTreeSet::new(), "0".to_string(), 0);
        loop {
            let (next, keys) = scan(&mut raw, &cursor, " COUNT 50 MATCH stay:*");
            seen.extend(keys);
            cursor = next;
            if cursor == "0" {
                break;
            }
            let names = (round * 400..(round + 1) * 400).map(|n| format!("go:{n}"));
            if shrinks {
                let mut words = vec!["DEL".to_string()];
                words.extend(names);
                other.command(&words);
                other.reply();
            } else if round < 50 {
                set_many(&mut other, names);
            }
            round += 1;
        }
        assert!(round > 3, "the scan was over too soon to say anything");
        let wanted: BTreeSet<String> = (0..1000).map(|n| format!("stay:{n}")).collect();
        assert_eq!(seen, wanted, "shrinks: {shrinks}");
    }
}

#[test]
fn what_scan_refuses_and_what_it_leaves_out() {
    let server = Server::start();
    server.check(&[
        ("SCAN x", "(error) ERR invalid cursor"),
        ("SCAN -", "(error) ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "(error) ERR syntax error"),
        (
            "SCAN 0 COUNT x",
            "(error) ERR value is not an integer or out of range",
        ),
        ("SCAN 0 COUNT", "(error) ERR syntax error"),
        ("SCAN 0 FOO 1", "(error) ERR syntax error"),
        ("SCAN 0", "[\"0\", []]"),
        ("SET s v", "OK"),
        ("HSET h f v", ":1"),
        ("SCAN 0 TYPE hash", "[\"0\", [\"h\"]]"),
        ("SCAN 0 TYPE STRING COUNT 100", "[\"0\", [\"s\"]]"),
        ("SCAN 0 TYPE nothing", "[\"0\", []]"),
        ("SCAN 0 MATCH [st] TYPE string", "[\"0\", [\"s\"]]"),
    ]);
    let mut raw = server.raw();
    raw.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    raw.ask("PEXPIRE s 1");
    wait_until("the end of a key", || {
        raw.ask("SCAN 0 COUNT 100") == "[\"0\", [\"h\"]]"
    });
    assert_eq!(raw.ask("DBSIZE"), ":1", "the dead key was removed");
}

#[test]
fn swapped_databases_and_who_watches_them() {
    let server = Server::start();
    let (mut a, mut b) = (server.raw(), server.raw());
    for (setup, swap, watched, dirty) in [
        ("SET k 1", "SWAPDB 0 1", "k", true),
        ("SET other 1", "SWAPDB 0 1", "k", false),
        ("SET k 1", "SWAPDB 1 2", "k", false),
        ("SET k 1", "SWAPDB 0 0", "k", false),
    ] {
        b.ask("FLUSHALL");
        b.ask(setup);
        a.ask(&format!("WATCH {watched}"));
        assert_eq!(b.ask(swap), "OK");
        a.ask("MULTI");
        a.ask("PING");
        let expected = if dirty { "nil" } else { "[PONG]" };
        assert_eq!(a.ask("EXEC"), expected, "{setup}, {swap}");
    }
    // A watch stays with the database's number.
    server.check(&[
        ("FLUSHALL", "OK"),
        ("SET k 0", "OK"),
        ("SELECT 1", "OK"),
        ("WATCH k", "OK"),
        ("SELECT 0", "OK"),
        ("SET k 00", "OK"),
        ("MULTI", "OK"),
        ("SWAPDB 0 1", "QUEUED"),
        ("SELECT 1", "QUEUED"),
        ("GET k", "QUEUED"),
        ("EXEC", "[OK, OK, \"00\"]"),
        ("GET k", "\"00\""),
        ("SWAPDB x 1", "(error) ERR invalid first DB index"),
        ("SWAPDB 0 x", "(error) ERR invalid second DB index"),
        ("SWAPDB 0 16", "(error) ERR DB index is out of range"),
    ]);
}

#[test]
fn a_flush_empties_one_database_or_all() {
    let server = Server::start();
    let mut raw = server.raw();
    for how in ["", " SYNC", " ASYNC"] {
        set_many(&mut raw, (0..30_000).map(|n| format!("key:{n}")));
        raw.ask("COPY key:1 k DB 1");
        assert_eq!(raw.ask(&format!("FLUSHDB{how}")), "OK");
        assert_eq!(raw.ask("DBSIZE"), ":0");
        assert_eq!(raw.ask("KEYS *"), "[]");
        set_many(&mut raw, (0..30_000).map(|n| format!("key:{n}")));
        assert_eq!(raw.ask(&format!("FLUSHALL{how}")), "OK");
        assert_eq!(
            raw.ask("COPY k k DB 0"),
            "(error) ERR source and destination objects are the same"
        );
        raw.ask("SELECT 1");
        assert_eq!(raw.ask("DBSIZE"), ":0");
        raw.ask("SELECT 0");
    }
    for wrong in ["FLUSHALL x", "FLUSHDB SYNC ASYNC", "FLUSHALL ASYNC x"] {
        assert_eq!(raw.ask(wrong), "(error) ERR syntax error");
    }
    wait_until("the background thread", || {
        server.info("lazyfree_pending_objects") == "0"
    });
}

#[test]
fn what_object_tells() {
    let lru = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that \
               when switching between policies at runtime LRU and LFU data will take some time to \
               adjust.";
    let lfu = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please \
               note that when switching between policies at runtime LRU and LFU data will take \
               some time to adjust.";
    Server::start().check(&[
        ("SET n 9999", "OK"),
        ("OBJECT ENCODING n", "\"int\""),
        ("OBJECT REFCOUNT n", ":2147483647"),
        ("INCR n", ":10000"),
        ("OBJECT REFCOUNT n", ":1"),
        ("OBJECT IDLETIME n", ":0"),
        ("OBJECT FREQ n", &format!("(error) {lfu}")),
        ("OBJECT FREQ none", "nil"),
        ("OBJECT IDLETIME none", "nil"),
        ("OBJECT ENCODING none", "nil"),
        ("OBJECT REFCOUNT none", "nil"),
        ("CONFIG SET maxmemory-policy allkeys-lfu", "OK"),
        ("SET m v", "OK"),
        ("OBJECT FREQ m", ":5"),
        ("OBJECT IDLETIME m", &format!("(error) {lru}")),
        (
            "OBJECT NONE m",
            "(error) ERR unknown subcommand 'NONE'. Try OBJECT HELP.",
        ),
        (
            "OBJECT FREQ",
            "(error) ERR wrong number of arguments for 'object|freq' command",
        ),
    ]);
}

#[test]
fn removals_count_what_was_there() {
    Server::start().check(&[
        ("MSET a 1 b 2 c 3", "OK"),
        ("DEL a a none b", ":2"),
        ("EXISTS c c none", ":2"),
        ("TOUCH c none c", ":2"),
        ("KEYS [a-c]", "[\"c\"]"),
        ("KEYS d*", "[]"),
        ("RANDOMKEY", "\"c\""),
    ]);
}
