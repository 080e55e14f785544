//! Client-side caching: what Redis's own suite does not look at.

use crate::harness::{Raw, Server, is_oracle, wait_until};

/// A RESP3 connection that tracks.
fn tracker(server: &Server, options: &str) -> Raw {
    let mut raw = server.raw();
    raw.ask("HELLO 3");
    let on = format!("CLIENT TRACKING on {options}");
    assert_eq!(raw.ask(on.trim_end()), "OK");
    raw
}

#[test]
fn what_is_refused_and_what_is_shown() {
    Server::start().check(&[
        ("CLIENT TRACKING maybe", "(error) ERR syntax error"),
        ("CLIENT TRACKING on redirect", "(error) ERR syntax error"),
        (
            "CLIENT TRACKING on redirect 0",
            "(error) ERR The client ID you want redirect to does not exist",
        ),
        (
            "CLIENT TRACKING off prefix a redirect x",
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "CLIENT TRACKING on bcast prefix a optout",
            "(error) ERR OPTIN and OPTOUT are not compatible with BCAST",
        ),
        (
            "CLIENT TRACKING on bcast prefix foo prefix bar prefix ba",
            "(error) ERR Prefix 'bar' overlaps with another provided prefix 'ba'. Prefixes for a \
             single client must not overlap.",
        ),
        ("CLIENT TRACKING on bcast prefix foo prefix bar", "OK"),
        (
            "CLIENT TRACKING on bcast prefix foo:1",
            "(error) ERR Prefix 'foo:1' overlaps with an existing prefix 'foo'. Prefixes for a \
             single client must not overlap.",
        ),
        (
            "CLIENT TRACKINGINFO",
            "[\"flags\", [\"on\", \"bcast\"], \"redirect\", :0, \"prefixes\", [\"bar\", \"foo\"]]",
        ),
        ("RESET", "RESET"),
        ("CLIENT TRACKING on optin", "OK"),
        ("CLIENT CACHING yes", "OK"),
        (
            "NONE",
            "(error) ERR unknown command 'NONE', with args beginning with: ",
        ),
        (
            "CLIENT TRACKINGINFO",
            "[\"flags\", [\"on\", \"optin\"], \"redirect\", :0, \"prefixes\", []]",
        ),
        ("RESET", "RESET"),
        ("CLIENT GETREDIR", ":-1"),
    ]);
}

#[test]
fn every_way_to_read_and_to_change_a_key_counts() {
    let server = Server::start();
    let mut reader = tracker(&server, "");
    let mut writer = server.raw();
    let changes = [
        ("GET k", "SET k 1"),
        ("EXISTS a k", "DEL k"),
        ("MGET a k b", "HSET k f v"),
        ("HGET k f", "HDEL k f"),
        ("SINTERCARD 2 a k", "SADD k m"),
        ("SORT_RO k", "EXPIRE k 100"),
        ("TTL k", "PERSIST k"),
        ("OBJECT ENCODING k", "RENAME k l"),
        ("GET k", "COPY l k"),
        ("SMEMBERS k", "SELECT 1"),
        ("SMEMBERS k", "SET k otherdatabase"),
        ("SMEMBERS k", "SWAPDB 0 1"),
        ("GET k", "FLUSHDB"),
        ("XREAD STREAMS k 0", "XADD k 1-1 f v"),
    ];
    for (read, change) in changes {
        reader.ask(read);
        writer.ask(change);
        let expected = match change {
            "SELECT 1" => continue,
            "SWAPDB 0 1" if is_oracle() => continue,
            "FLUSHDB" | "SWAPDB 0 1" => ">[\"invalidate\", nil]",
            _ => ">[\"invalidate\", [\"k\"]]",
        };
        assert_eq!(reader.reply(), expected, "{read}, then {change}");
    }
    // Once told, not told again; and nothing was told twice on the way.
    writer.ask("DEL k");
    assert_eq!(reader.ask("PING"), "PONG");
}

#[test]
fn a_transaction_is_told_of_behind_its_reply() {
    let server = Server::start();
    let mut own = tracker(&server, "OPTIN");
    for request in [
        "CLIENT CACHING yes",
        "MULTI",
        "GET a",
        "INCR a",
        "GET a",
        "GET b",
    ] {
        own.ask(request);
    }
    assert_eq!(own.ask("EXEC"), "[nil, :1, \"1\", nil]");
    assert_eq!(own.reply(), ">[\"invalidate\", [\"a\"]]");
    own.ask("GET c");
    let mut writer = server.raw();
    for (request, reply) in [("MSET a 1 b 1 c 1", "OK"), ("PING", "PONG")] {
        assert_eq!(writer.ask(request), reply);
    }
    assert_eq!(own.reply(), ">[\"invalidate\", [\"a\"]]");
    assert_eq!(own.reply(), ">[\"invalidate\", [\"b\"]]");
    assert_eq!(own.ask("PING"), "PONG", "c was read without CLIENT CACHING");
}

#[test]
fn broadcasts_are_one_message_for_each_prefix() {
    let server = Server::start();
    let mut all = tracker(&server, "BCAST NOLOOP");
    let mut users = tracker(&server, "BCAST PREFIX user: PREFIX x");
    let mut writer = server.raw();
    writer.ask("MSET user:2 1 user:1 1 other 1 user:2 2");
    assert_eq!(
        all.reply(),
        ">[\"invalidate\", [\"other\", \"user:1\", \"user:2\"]]"
    );
    assert_eq!(users.reply(), ">[\"invalidate\", [\"user:1\", \"user:2\"]]");
    all.ask("SET user:3 1");
    assert_eq!(users.reply(), ">[\"invalidate\", [\"user:3\"]]");
    assert_eq!(all.ask("PING"), "PONG", "its own changes are no news");
    assert_eq!(server.info("tracking_total_prefixes"), "3");
    drop(users);
    wait_until("the end of a client", || {
        server.info("tracking_total_prefixes") == "1"
    });
}

#[test]
fn the_table_is_bounded_and_forgets_who_left() {
    let server = Server::with(&["--tracking-table-max-keys", "1000", "--hz", "500"]);
    let mut reader = tracker(&server, "");
    let mut other = tracker(&server, "");
    let mut told = 0;
    for n in 0..1500 {
        reader.ask(&format!("GET key:{n}"));
        if n >= 1000 {
            assert!(reader.reply().starts_with(">[\"invalidate\", [\"key:"));
            told += 1;
        }
    }
    assert_eq!(
        (told, server.info("tracking_total_keys").as_str()),
        (500, "1000")
    );
    // Made smaller it is made to fit without another request for it.
    server.raw().ask("CONFIG SET tracking-table-max-keys 10");
    for _ in 0..990 {
        reader.reply();
    }
    wait_until("the smaller table", || {
        server.info("tracking_total_keys") == "10"
    });
    server.raw().ask("CONFIG SET tracking-table-max-keys 0");
    assert_eq!(other.ask("GET shared"), "nil");
    assert_eq!(reader.ask("GET shared"), "nil");
    assert_eq!(server.info("tracking_total_items"), "12");
    drop(reader);
    // Redis leaves what a client had read for as long as nobody changes it.
    if !is_oracle() {
        wait_until("the keys of the client that left", || {
            server.info("tracking_total_items") == "1"
        });
    }
    drop(other);
    wait_until("the last client's end", || {
        server.info("tracking_clients") == "0"
    });
    if !is_oracle() {
        wait_until("an empty table", || {
            server.info("tracking_total_keys") == "0"
        });
    }
}

/// Waits until so many clients are blocked.
fn blocked(server: &Server, count: &str) {
    wait_until("blocked clients", || {
        server.info("blocked_clients") == count
    });
}

#[test]
fn who_waits_on_is_told_whatever_the_limit_on_memory() {
    let server = Server::start();
    let mut writer = server.raw();
    writer.ask("XADD t 1-1 f v");
    for (limit, changes) in [
        ("0", ["XADD s 1-1 f v", "XADD s 2-1 f v"]),
        ("1gb", ["XADD s 3-1 f v", "XADD s 4-1 f v"]),
        ("1", ["RENAME t s", "RENAME s t"]),
    ] {
        let mut reader = tracker(&server, "");
        reader.command(&["XREAD", "BLOCK", "0", "STREAMS", "s", "100-0"]);
        blocked(&server, "1");
        writer.ask(&format!("CONFIG SET maxmemory {limit}"));
        // Tried again it has read the key again. Redis 7.0 does not try.
        for change in &changes[..if is_oracle() { 1 } else { 2 }] {
            assert!(!writer.ask(change).contains("ERR"));
            let told = ">[\"invalidate\", [\"s\"]]";
            assert_eq!(reader.reply(), told, "{change} under a limit of {limit}");
        }
        drop(reader);
        blocked(&server, "0");
    }
}

#[test]
fn caching_holds_for_a_request_until_it_is_answered() {
    // Redis 7.0 serves who waits without another look at what is tracked.
    if is_oracle() {
        return;
    }
    for (options, caching, tracked) in [("OPTIN", "yes", true), ("OPTOUT", "no", false)] {
        let server = Server::start();
        let (mut reader, mut writer) = (tracker(&server, options), server.raw());
        assert_eq!(reader.ask(&format!("CLIENT CACHING {caching}")), "OK");
        reader.command(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0-0"]);
        blocked(&server, "1");
        let told = ">[\"invalidate\", [\"s\"]]";
        writer.ask("XADD s 1-1 f v");
        let served = "{\"s\" => [[\"1-1\", [\"f\", \"v\"]]]}";
        let mut replies: Vec<String> = (0..1 + usize::from(tracked))
            .map(|_| reader.reply())
            .collect();
        replies.sort();
        assert_eq!(replies.last().map(String::as_str), Some(served));
        writer.ask("XADD s 2-1 f v");
        if tracked {
            assert_eq!(reader.reply(), told, "it was read when it was served");
        }
        assert_eq!(reader.ask("PING"), "PONG");
        assert_eq!(reader.ask("GET other"), "nil");
        writer.ask("SET other 1");
        if !tracked {
            assert_eq!(reader.reply(), ">[\"invalidate\", [\"other\"]]");
        }
        assert_eq!(reader.ask("PING"), "PONG", "{options}: for one request");
    }
}
