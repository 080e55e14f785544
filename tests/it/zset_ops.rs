//! Sorted sets combined: what becomes of scores, targets, encodings and events.

use crate::harness::Server;

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "(error) ERR syntax error";
const NOT_FLOAT: &str = "(error) ERR weight value is not a float";

/// Listpacks, and tables from the first member on.
fn both_encodings(check: impl Fn(&Server)) {
    check(&Server::start());
    check(&Server::with(&[
        "--zset-max-listpack-entries",
        "0",
        "--set-max-intset-entries",
        "0",
    ]));
}

const SOURCES: [(&str, &str); 3] = [
    ("ZADD a 1 x 2 y 3 z", ":3"),
    ("ZADD b 10 y 20 z 30 q", ":3"),
    ("SADD s z 7 y", ":3"),
];

#[test]
fn sources_are_combined() {
    both_encodings(|server| {
        server.check(&SOURCES);
        server.check(&[
            ("ZUNION 2 a b", "[\"x\", \"y\", \"z\", \"q\"]"),
            (
                "ZUNION 2 a b WITHSCORES",
                "[\"x\", \"1\", \"y\", \"12\", \"z\", \"23\", \"q\", \"30\"]",
            ),
            ("ZUNION 2 a none", "[\"x\", \"y\", \"z\"]"),
            ("ZUNION 2 none none", "[]"),
            (
                "ZUNION 2 a s AGGREGATE MAX WEIGHTS 1 2.5 WITHSCORES",
                "[\"x\", \"1\", \"7\", \"2.5\", \"y\", \"2.5\", \"z\", \"3\"]",
            ),
            (
                "ZUNION 2 a a WITHSCORES",
                "[\"x\", \"2\", \"y\", \"4\", \"z\", \"6\"]",
            ),
            (
                "ZINTER 3 a b s WITHSCORES",
                "[\"y\", \"13\", \"z\", \"24\"]",
            ),
            (
                "ZINTER 2 b a AGGREGATE MIN WITHSCORES",
                "[\"y\", \"2\", \"z\", \"3\"]",
            ),
            ("ZINTER 2 a none", "[]"),
            ("ZINTERCARD 2 a b", ":2"),
            ("ZINTERCARD 2 a b LIMIT 1", ":1"),
            ("ZINTERCARD 2 a b LIMIT 0", ":2"),
            ("ZINTERCARD 2 a none LIMIT 5", ":0"),
            ("ZDIFF 2 a b WITHSCORES", "[\"x\", \"1\"]"),
            ("ZDIFF 2 s a WITHSCORES", "[\"7\", \"1\"]"),
            ("ZDIFF 2 a a", "[]"),
            ("ZDIFF 2 none a", "[]"),
            ("ZDIFF 1 a", "[\"x\", \"y\", \"z\"]"),
        ]);
        let mut raw = server.raw();
        raw.ask("HELLO 3");
        let reply = raw.ask("ZUNION 2 a b WITHSCORES");
        assert_eq!(
            reply,
            "[[\"x\", ,1], [\"y\", ,12], [\"z\", ,23], [\"q\", ,30]]"
        );
        assert_eq!(raw.ask("ZDIFF 2 a b WITHSCORES"), "[[\"x\", ,1]]");
    });
}

#[test]
fn infinities_that_cancel_out_are_zero() {
    both_encodings(|server| {
        server.check(&[
            ("ZADD a inf p -inf q", ":2"),
            ("ZADD b -inf p -inf q 1 r", ":3"),
            (
                "ZUNION 2 a b WITHSCORES",
                "[\"q\", \"-inf\", \"p\", \"0\", \"r\", \"1\"]",
            ),
            ("ZINTER 2 a b WITHSCORES", "[\"q\", \"-inf\", \"p\", \"0\"]"),
            (
                "ZUNION 2 a b WEIGHTS 0 1 WITHSCORES",
                "[\"p\", \"-inf\", \"q\", \"-inf\", \"r\", \"1\"]",
            ),
            (
                "ZINTER 2 a b WEIGHTS 0 0 WITHSCORES",
                "[\"p\", \"0\", \"q\", \"0\"]",
            ),
            ("ZUNIONSTORE d 1 a WEIGHTS -1", ":2"),
            ("ZSCORE d p", "\"-inf\""),
        ]);
    });
}

#[test]
fn results_are_stored() {
    both_encodings(|server| {
        server.check(&SOURCES);
        server.check(&[
            ("ZUNIONSTORE d 2 a b", ":4"),
            ("ZSCORE d z", "\"23\""),
            ("ZINTERSTORE a 2 a b WEIGHTS 2 1", ":2"),
            ("ZRANGE a 0 -1 WITHSCORES", "[\"y\", \"14\", \"z\", \"26\"]"),
            ("ZDIFFSTORE b 2 b s", ":1"),
            ("ZRANGE b 0 -1 WITHSCORES", "[\"q\", \"30\"]"),
            ("SET str x EX 100", "OK"),
            ("ZUNIONSTORE str 1 b", ":1"),
            ("TTL str", ":-1"),
            ("ZINTERSTORE str 2 b none", ":0"),
            ("EXISTS str", ":0"),
            ("ZUNIONSTORE d 1 s", ":3"),
            (
                "ZRANGE d 0 -1 WITHSCORES",
                "[\"7\", \"1\", \"y\", \"1\", \"z\", \"1\"]",
            ),
        ]);
    });
}

#[test]
fn results_are_as_small_as_they_can_be() {
    let server = Server::with(&[
        "--zset-max-listpack-entries",
        "2",
        "--zset-max-listpack-value",
        "8",
    ]);
    server.check(&[
        ("ZADD a 1 x 2 y 3 z", ":3"),
        ("ZADD b 1 x 2 y", ":2"),
        ("ZADD long 1 123456789", ":1"),
        ("OBJECT ENCODING a", "\"skiplist\""),
        ("ZINTERSTORE d 2 a b", ":2"),
        ("OBJECT ENCODING d", "\"listpack\""),
        ("ZUNIONSTORE d 2 a b", ":3"),
        ("OBJECT ENCODING d", "\"skiplist\""),
        ("ZDIFFSTORE d 2 a b", ":1"),
        ("OBJECT ENCODING d", "\"listpack\""),
        ("ZUNIONSTORE d 1 long", ":1"),
        ("OBJECT ENCODING d", "\"skiplist\""),
    ]);
}

#[test]
fn wrong_requests_are_refused() {
    Server::start().check(&[
        ("ZADD a 1 x", ":1"),
        ("SET str x", "OK"),
        (
            "ZUNION x a",
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "ZUNION 0 a",
            "(error) ERR at least 1 input key is needed for 'zunion' command",
        ),
        (
            "ZINTERSTORE d -1 a",
            "(error) ERR at least 1 input key is needed for 'zinterstore' command",
        ),
        ("ZDIFF 2 a", SYNTAX),
        ("ZDIFF 9223372036854775807 a", SYNTAX),
        ("ZUNION 2 a str nonsense", WRONG),
        ("ZUNION 1 a nonsense", SYNTAX),
        ("ZUNION 1 a WEIGHTS", SYNTAX),
        ("ZUNION 1 a WEIGHTS x", NOT_FLOAT),
        ("ZUNION 1 a WEIGHTS nan", NOT_FLOAT),
        ("ZUNION 1 a AGGREGATE", SYNTAX),
        ("ZUNION 1 a AGGREGATE avg", SYNTAX),
        ("ZDIFF 1 a WEIGHTS 1", SYNTAX),
        ("ZDIFF 1 a AGGREGATE sum", SYNTAX),
        ("ZUNIONSTORE d 1 a WITHSCORES", SYNTAX),
        ("ZINTERCARD 1 a WITHSCORES", SYNTAX),
        ("ZINTERCARD 1 a LIMIT", SYNTAX),
        (
            "ZINTERCARD 1 a LIMIT -1",
            "(error) ERR LIMIT can't be negative",
        ),
        (
            "ZINTERCARD 1 a LIMIT x",
            "(error) ERR LIMIT can't be negative",
        ),
        ("ZUNION 1 a LIMIT 1", SYNTAX),
        ("ZUNIONSTORE str 1 str", WRONG),
        ("GET str", "\"x\""),
        ("EXISTS d", ":0"),
    ]);
}

#[test]
fn events_tell_what_happened() {
    let server = Server::with(&["--notify-keyspace-events", "Ezgn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, key, events) in [
        ("ZADD a 1 x 2 y", "a", &["new", "zadd"][..]),
        ("ZUNIONSTORE d 1 a", "d", &["new", "zunionstore"]),
        ("ZINTERSTORE d 1 a", "d", &["zinterstore"]),
        ("ZDIFFSTORE d 2 a none", "d", &["zdiffstore"]),
        ("ZDIFFSTORE d 2 a a", "d", &["del"]),
        ("ZDIFFSTORE d 2 a a", "d", &[]),
        ("ZUNIONSTORE end 1 a", "end", &["new", "zunionstore"]),
    ] {
        raw.ask(request);
        for event in events {
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{event}\", \"{key}\"]");
            assert!(told.ends_with(&channel), "{told} after {request}");
        }
    }
}

#[test]
fn a_stored_result_wakes_who_waits_for_it() {
    let server = Server::start();
    let (mut waiting, mut raw) = (server.raw(), server.raw());
    waiting.command(&["BZPOPMIN", "d", "0"]);
    raw.ask("ZADD a 1 x 2 y");
    while raw.ask("INFO clients").contains("blocked_clients:0") {}
    assert_eq!(raw.ask("ZUNIONSTORE d 1 a"), ":2");
    assert_eq!(waiting.reply(), "[\"d\", \"x\", \"1\"]");
    assert_eq!(raw.ask("ZRANGE d 0 -1"), "[\"y\"]");
}
