//! Sorted sets: order, ranges, the ends and those who wait for them, in both encodings.

use std::collections::BTreeMap;

use crate::harness::{Raw, Server, is_oracle};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const NOT_FLOAT: &str = "(error) ERR value is not a valid float";
const SYNTAX: &str = "(error) ERR syntax error";
const NOT_SCORES: &str = "(error) ERR min or max is not a float";
const NOT_NAMES: &str = "(error) ERR min or max not valid string range item";

/// A listpack, and a table with an index from the first member on.
fn both_encodings(check: impl Fn(&Server)) {
    check(&Server::start());
    check(&Server::with(&["--zset-max-listpack-entries", "0"]));
}

#[test]
fn the_rules_of_zadd() {
    both_encodings(|server| {
        server.check(&[
            ("ZADD z 1 a 2 b 1 a", ":2"),
            ("ZADD z CH 1 a 3 b 4 c", ":2"),
            ("ZADD z NX 9 a 5 d", ":1"),
            ("ZADD z XX CH 9 a 9 e", ":1"),
            ("ZADD z GT CH 8 a 10 b", ":1"),
            ("ZADD z LT CH 8 a 11 b", ":1"),
            ("ZADD z GT 7 new", ":1"),
            ("ZADD z GT XX 7 newer", ":0"),
            ("ZADD z INCR 2 a", "\"10\""),
            ("ZADD z NX INCR 2 a", "nil"),
            ("ZADD z XX INCR 2 none", "nil"),
            ("ZADD z GT INCR -1 a", "nil"),
            ("ZADD z GT INCR 0 a", "nil"),
            ("ZADD z INCR 0 a", "\"10\""),
            ("ZADD none XX 1 a", ":0"),
            ("ZADD none XX INCR 1 a", "nil"),
            ("EXISTS none", ":0"),
            ("ZINCRBY z -2.5 a", "\"7.5\""),
            ("ZINCRBY fresh 2 a", "\"2\""),
            (
                "ZRANGE z 0 -1 WITHSCORES",
                "[\"c\", \"4\", \"d\", \"5\", \"new\", \"7\", \"a\", \"7.5\", \"b\", \"10\"]",
            ),
            ("ZADD z INCR -inf a", "\"-inf\""),
            (
                "ZADD z INCR +inf a",
                "(error) ERR resulting score is not a number (NaN)",
            ),
            (
                "ZINCRBY z inf a",
                "(error) ERR resulting score is not a number (NaN)",
            ),
            ("ZSCORE z a", "\"-inf\""),
            ("ZREM z a none b a", ":2"),
            ("ZREM z c d new", ":3"),
            ("EXISTS z", ":0"),
        ]);
    });
}

#[test]
fn wrong_requests_are_refused() {
    let dialogue = [
        ("SET s x", "OK"),
        ("ZADD z 1 a", ":1"),
        ("ZADD s 1 a", WRONG),
        ("ZADD s x a", NOT_FLOAT),
        ("ZADD s 1 a 2", SYNTAX),
        ("ZADD z NX XX GT", "(error) ERR syntax error"),
        (
            "ZADD z NX XX GT 1 a",
            "(error) ERR XX and NX options at the same time are not compatible",
        ),
        (
            "ZADD z NX GT 1 a",
            "(error) ERR GT, LT, and/or NX options at the same time are not compatible",
        ),
        (
            "ZADD z LT GT 1 a",
            "(error) ERR GT, LT, and/or NX options at the same time are not compatible",
        ),
        (
            "ZADD z INCR 1 a 2 b",
            "(error) ERR INCR option supports a single increment-element pair",
        ),
        ("ZADD z 1 a nan b", NOT_FLOAT),
        ("ZADD z 1e400 b", NOT_FLOAT),
        ("ZCARD z", ":1"),
        ("ZINCRBY z x a", NOT_FLOAT),
        ("ZINCRBY z nx a", SYNTAX),
        ("ZRANGE z 0 x", NOT_INT),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "(error) ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
        (
            "ZRANGE z - + BYLEX WITHSCORES",
            "(error) ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
        ("ZRANGE z 0 1 BYSCORE BYLEX", SYNTAX),
        ("ZREVRANGE z 0 1 REV", SYNTAX),
        ("ZRANGEBYSCORE z 0 1 LIMIT 0", SYNTAX),
        ("ZRANGEBYSCORE z (x 1", NOT_SCORES),
        ("ZRANGEBYSCORE z nan 1", NOT_SCORES),
        ("ZCOUNT s x 1", NOT_SCORES),
        ("ZLEXCOUNT s a +", NOT_NAMES),
        ("ZRANGEBYLEX z -a +", NOT_NAMES),
        ("ZRANGESTORE d z 0 1 WITHSCORES", SYNTAX),
        ("ZRANGESTORE d s 0 1", WRONG),
        ("ZREMRANGEBYRANK s x 1", NOT_INT),
        (
            "ZPOPMIN z -1",
            "(error) ERR value is out of range, must be positive",
        ),
        (
            "ZPOPMIN z x",
            "(error) ERR value is out of range, must be positive",
        ),
        ("ZPOPMIN z 1 2", SYNTAX),
        ("ZPOPMAX s 0", WRONG),
        (
            "ZMPOP 0 z MIN",
            "(error) ERR numkeys should be greater than 0",
        ),
        ("ZMPOP 2 z MIN", SYNTAX),
        ("ZMPOP 9223372036854775807 z MIN", SYNTAX),
        ("ZMPOP 1 z MID", SYNTAX),
        (
            "ZMPOP 1 z MIN COUNT 0",
            "(error) ERR count should be greater than 0",
        ),
        ("ZMPOP 1 z MIN COUNT 1 COUNT 1", SYNTAX),
        ("ZMPOP 2 s z MIN", WRONG),
        (
            "BZPOPMIN z x",
            "(error) ERR timeout is not a float or out of range",
        ),
        ("BZPOPMIN z -1", "(error) ERR timeout is negative"),
        ("BZPOPMAX s 1", WRONG),
        ("BZMPOP x 1 z MID", SYNTAX),
        (
            "BZMPOP x 1 z MIN",
            "(error) ERR timeout is not a float or out of range",
        ),
        ("ZRANDMEMBER z x", NOT_INT),
        ("ZRANDMEMBER z 1 WITHVALUES", SYNTAX),
        (
            "ZRANDMEMBER z 9223372036854775807 WITHSCORES",
            "(error) ERR value is out of range",
        ),
        ("ZSCAN z x", "(error) ERR invalid cursor"),
        ("ZSCAN z 0 COUNT 0", SYNTAX),
        ("ZRANGE z 0 -1 WITHSCORES", "[\"a\", \"1\"]"),
    ];
    both_encodings(|server| {
        server.check(&dialogue);
        for command in [
            "ZCARD s",
            "ZSCORE s a",
            "ZMSCORE s a",
            "ZRANK s a",
            "ZREVRANK s a",
            "ZREM s a",
            "ZCOUNT s 0 1",
            "ZLEXCOUNT s - +",
            "ZRANGE s 0 1",
            "ZREVRANGEBYLEX s + -",
            "ZREMRANGEBYSCORE s 0 1",
            "ZPOPMIN s",
            "ZRANDMEMBER s",
            "ZRANDMEMBER s 3",
            "ZSCAN s 0",
            "ZINCRBY s 1 a",
        ] {
            server.check(&[(command, WRONG)]);
        }
    });
}

#[test]
fn ranges_by_rank_score_and_name() {
    both_encodings(|server| {
        server.check(&[
            ("ZADD z 1 a 2 b 2 bb 3 c -inf low +inf high", ":6"),
            ("ZRANGE z 1 3", "[\"a\", \"b\", \"bb\"]"),
            ("ZRANGE z -2 99", "[\"c\", \"high\"]"),
            ("ZRANGE z 3 1", "[]"),
            (
                "ZREVRANGE z 0 1 WITHSCORES",
                "[\"high\", \"inf\", \"c\", \"3\"]",
            ),
            ("ZRANGE z 0 1 REV", "[\"high\", \"c\"]"),
            ("ZRANGE z 9223372036854775807 -9223372036854775808", "[]"),
            (
                "ZRANGE z -9223372036854775808 9223372036854775807 REV",
                "[\"high\", \"c\", \"bb\", \"b\", \"a\", \"low\"]",
            ),
            ("ZRANGEBYSCORE z (1 2", "[\"b\", \"bb\"]"),
            ("ZRANGEBYSCORE z -inf (2", "[\"low\", \"a\"]"),
            ("ZRANGEBYSCORE z (-inf +inf LIMIT 1 2", "[\"b\", \"bb\"]"),
            ("ZRANGEBYSCORE z -inf +inf LIMIT -1 2", "[]"),
            ("ZRANGEBYSCORE z -inf +inf LIMIT 4 -5", "[\"c\", \"high\"]"),
            (
                "ZREVRANGEBYSCORE z +inf 2 WITHSCORES LIMIT 1 2",
                "[\"c\", \"3\", \"bb\", \"2\"]",
            ),
            ("ZRANGE z (3 1 BYSCORE REV", "[\"bb\", \"b\", \"a\"]"),
            ("ZRANGE z 3 1 BYSCORE", "[]"),
            ("ZRANGEBYSCORE z 1e-999 1e999 LIMIT 0 1", "[\"a\"]"),
            ("ZCOUNT z (1 +inf", ":4"),
            ("ZCOUNT z 2 2", ":2"),
            ("ZCOUNT z (2 2", ":0"),
            ("ZRANK z bb", ":3"),
            ("ZREVRANK z bb", ":2"),
            ("ZRANK z none", "nil"),
            ("ZMSCORE z a none high", "[\"1\", nil, \"inf\"]"),
            ("ZADD l 0 a 0 b 0 ba 0 c 0 ca", ":5"),
            ("ZRANGEBYLEX l [b (c", "[\"b\", \"ba\"]"),
            ("ZRANGEBYLEX l - [b", "[\"a\", \"b\"]"),
            ("ZRANGEBYLEX l (ba + LIMIT 1 5", "[\"ca\"]"),
            ("ZREVRANGEBYLEX l + (b", "[\"ca\", \"c\", \"ba\"]"),
            ("ZRANGE l (c [a BYLEX REV LIMIT 0 2", "[\"ba\", \"b\"]"),
            ("ZRANGEBYLEX l + -", "[]"),
            ("ZLEXCOUNT l [aa [ca", ":4"),
            ("ZLEXCOUNT l (c (c", ":0"),
            ("ZRANGESTORE d z (1 +inf BYSCORE LIMIT 1 2", ":2"),
            ("ZRANGE d 0 -1 WITHSCORES", "[\"bb\", \"2\", \"c\", \"3\"]"),
            ("ZRANGESTORE d l [b + BYLEX", ":4"),
            ("ZRANGESTORE d d 0 0 REV", ":1"),
            ("ZRANGE d 0 -1", "[\"ca\"]"),
            ("ZRANGESTORE d none 0 -1", ":0"),
            ("EXISTS d", ":0"),
            ("ZREMRANGEBYRANK z 1 2", ":2"),
            ("ZREMRANGEBYSCORE z (2 3", ":1"),
            ("ZRANGE z 0 -1", "[\"low\", \"bb\", \"high\"]"),
            ("ZREMRANGEBYLEX l (a [c", ":3"),
            ("ZRANGE l 0 -1", "[\"a\", \"ca\"]"),
            ("ZREMRANGEBYRANK z 0 -1", ":3"),
            ("EXISTS z", ":0"),
        ]);
    });
}

#[test]
fn zeros_and_ties_are_ordered_as_bytes() {
    both_encodings(|server| {
        server.check(&[
            ("ZADD z -0 b 0 a 0 10 -0 9 0 \u{e9} 0 aa", ":6"),
            (
                "ZRANGE z 0 -1",
                "[\"10\", \"9\", \"a\", \"aa\", \"b\", \"\\xc3\\xa9\"]",
            ),
            ("ZADD z CH 0 b", ":0"),
            ("ZCOUNT z 0 -0", ":6"),
            ("ZRANGEBYSCORE z (0 0", "[]"),
            ("ZINCRBY z 0.1 a", "\"0.1\""),
            ("ZRANK z a", ":5"),
        ]);
    });
    // A listpack keeps integers, which have no negative zero.
    Server::start().check(&[("ZADD z -0 b", ":1"), ("ZSCORE z b", "\"0\"")]);
    Server::with(&["--zset-max-listpack-entries", "0"])
        .check(&[("ZADD z -0 b", ":1"), ("ZSCORE z b", "\"-0\"")]);
}

#[test]
fn the_ends_are_taken() {
    both_encodings(|server| {
        server.check(&[
            ("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f", ":6"),
            ("ZPOPMIN z", "[\"a\", \"1\"]"),
            ("ZPOPMAX z 2", "[\"f\", \"6\", \"e\", \"5\"]"),
            ("ZPOPMIN z 0", "[]"),
            ("ZMPOP 2 none z MAX", "[\"z\", [[\"d\", \"4\"]]]"),
            (
                "ZMPOP 1 z MIN COUNT 9",
                "[\"z\", [[\"b\", \"2\"], [\"c\", \"3\"]]]",
            ),
            ("EXISTS z", ":0"),
            ("ZPOPMIN z", "[]"),
            ("ZMPOP 1 z MIN", "nil"),
            ("ZADD z 1 a 2 b 3 c", ":3"),
            ("BZPOPMIN none z 0", "[\"z\", \"a\", \"1\"]"),
            ("BZPOPMAX z 0", "[\"z\", \"c\", \"3\"]"),
            ("BZMPOP 0 2 none z MIN COUNT 3", "[\"z\", [[\"b\", \"2\"]]]"),
            ("BZPOPMIN z 0.01", "nil"),
            ("BZMPOP 0.01 1 z MAX", "nil"),
            ("MULTI", "OK"),
            ("BZPOPMIN z 0", "QUEUED"),
            ("BZMPOP 0 1 z MAX", "QUEUED"),
            ("EXEC", "[nil, nil]"),
        ]);
    });
}

#[test]
fn who_waits_is_served_once_a_member_comes() {
    both_encodings(|server| {
        let (mut first, mut second, mut third) = (server.raw(), server.raw(), server.raw());
        let wait = |raw: &mut Raw, request: &str, blocked: usize| {
            raw.command(&request.split(' ').collect::<Vec<_>>());
            crate::harness::wait_until("another client waits", || {
                server.info("blocked_clients") == blocked.to_string()
            });
        };
        wait(&mut first, "BZPOPMIN a z 0", 1);
        wait(&mut second, "BZMPOP 0 2 a z MAX COUNT 2", 2);
        wait(&mut third, "BZPOPMAX z a 0", 3);
        server.check(&[
            ("SET a x", "OK"),
            ("DEL a", ":1"),
            ("SADD a x", ":1"),
            ("DEL a", ":1"),
        ]);
        server.check(&[("ZADD z 1 m 2 n 3 o 4 p", ":4")]);
        assert_eq!(first.reply(), "[\"z\", \"m\", \"1\"]");
        assert_eq!(second.reply(), "[\"z\", [[\"p\", \"4\"], [\"o\", \"3\"]]]");
        assert_eq!(third.reply(), "[\"z\", \"n\", \"2\"]");
        assert_eq!(server.raw().ask("EXISTS z"), ":0");
        wait(&mut first, "BZPOPMIN z 0", 1);
        server.check(&[("ZADD other 7 x", ":1"), ("RENAME other z", "OK")]);
        assert_eq!(first.reply(), "[\"z\", \"x\", \"7\"]");
    });
}

#[test]
fn resp3_has_doubles_and_pairs() {
    both_encodings(|server| {
        let mut raw = server.raw();
        raw.ask("HELLO 3");
        let mut bytes = |request: &str, reply: &[u8]| {
            raw.command(&request.split(' ').collect::<Vec<_>>());
            let got = raw.read_exact(reply.len());
            assert_eq!(
                got.escape_ascii().to_string(),
                reply.escape_ascii().to_string(),
                "{request}"
            );
        };
        bytes("ZADD z 1 a 2.5 b", b":2\r\n");
        bytes("ZADD z INCR 1 a", b",2\r\n");
        bytes("ZSCORE z b", b",2.5\r\n");
        bytes("ZMSCORE z b none", b"*2\r\n,2.5\r\n_\r\n");
        bytes("ZRANGE z 0 0 WITHSCORES", b"*1\r\n*2\r\n$1\r\na\r\n,2\r\n");
        bytes(
            "ZRANDMEMBER z 9 WITHSCORES",
            b"*2\r\n*2\r\n$1\r\na\r\n,2\r\n*2\r\n$1\r\nb\r\n,2.5\r\n",
        );
        bytes(
            "ZSCAN z 0 MATCH b",
            b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$3\r\n2.5\r\n",
        );
        bytes("ZPOPMIN z", b"*2\r\n$1\r\na\r\n,2\r\n");
        bytes("ZPOPMAX z 5", b"*1\r\n*2\r\n$1\r\nb\r\n,2.5\r\n");
        bytes("ZADD z -inf a", b":1\r\n");
        bytes("BZPOPMIN z 0", b"*3\r\n$1\r\nz\r\n$1\r\na\r\n,-inf\r\n");
        bytes("ZADD z 0 a", b":1\r\n");
        bytes(
            "BZMPOP 0 1 z MIN",
            b"*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\na\r\n,0\r\n",
        );
        bytes("ZRANK none a", b"_\r\n");
    });
}

#[test]
fn what_newer_servers_add() {
    if is_oracle() {
        return;
    }
    both_encodings(|server| {
        server.check(&[
            ("ZADD z 0.1 a 0.2 b", ":2"),
            ("ZRANK z b WITHSCORE", "[:1, \"0.2\"]"),
            ("ZREVRANK z b withscore", "[:0, \"0.2\"]"),
            ("ZRANK z none WITHSCORE", "nil"),
            ("ZRANK z b WITHSCORES", SYNTAX),
            (
                "ZRANK z b WITHSCORE x",
                "(error) ERR wrong number of arguments for 'zrank' command",
            ),
            ("ZSCAN z 0 NOSCORES MATCH a", "[\"0\", [\"a\"]]"),
            ("ZSCAN z 0 MATCH NOSCORES", "[\"0\", []]"),
            ("ZINCRBY z 0.2 a", "\"0.30000000000000004\""),
        ]);
    });
}

#[test]
fn large_sets_become_tables_and_stay_so() {
    let server = Server::with(&[
        "--zset-max-listpack-entries",
        "3",
        "--zset-max-listpack-value",
        "8",
    ]);
    server.check(&[
        ("ZADD z 1 a 2 b 3 12345678", ":3"),
        ("OBJECT ENCODING z", "\"listpack\""),
        ("ZADD z 4 d", ":1"),
        ("OBJECT ENCODING z", "\"skiplist\""),
        ("ZREM z a b d", ":3"),
        ("OBJECT ENCODING z", "\"skiplist\""),
        ("ZRANGE z 0 -1 WITHSCORES", "[\"12345678\", \"3\"]"),
        ("ZADD v 1 123456789", ":1"),
        ("OBJECT ENCODING v", "\"skiplist\""),
        ("ZRANGESTORE w z 0 -1", ":1"),
        ("OBJECT ENCODING w", "\"listpack\""),
        ("COPY z y", ":1"),
        ("ZADD y 1 other", ":1"),
        ("ZCARD z", ":1"),
    ]);
}

#[test]
fn a_scan_meets_every_member_of_a_large_set() {
    let server = Server::start();
    let mut raw = server.raw();
    let mut model = BTreeMap::new();
    let mut request = vec!["ZADD".to_string(), "z".to_string()];
    for n in 0..3000 {
        model.insert(format!("m{n}"), (n % 97).to_string());
        request.extend([(n % 97).to_string(), format!("m{n}")]);
    }
    raw.command(&request);
    assert_eq!(raw.reply(), ":3000");
    let (mut cursor, mut seen) = ("0".to_string(), BTreeMap::new());
    loop {
        let reply = raw.ask(&format!("ZSCAN z {cursor} COUNT 100"));
        let words: Vec<String> = reply
            .split('"')
            .skip(1)
            .step_by(2)
            .map(String::from)
            .collect();
        words[1..]
            .chunks(2)
            .for_each(|pair| _ = seen.insert(pair[0].clone(), pair[1].clone()));
        cursor = words[0].clone();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, model);
    // In parts until nothing is left, ties and all.
    assert_eq!(raw.ask("ZCOUNT z 10 (20"), ":310");
    assert_eq!(raw.ask("ZREMRANGEBYSCORE z 10 (20"), ":310");
    assert_eq!(raw.ask("ZREMRANGEBYRANK z -100 -1"), ":100");
    assert_eq!(raw.ask("ZRANGE z 0 2"), "[\"m0\", \"m1067\", \"m1164\"]");
    let popped = raw.ask("ZPOPMIN z 2589");
    assert_eq!(popped.matches("\"m").count(), 2589);
    assert_eq!(raw.ask("ZCARD z"), ":1");
    assert_eq!(raw.ask("ZPOPMAX z"), "[\"m2809\", \"93\"]");
    assert_eq!(raw.ask("EXISTS z"), ":0");
}

#[test]
fn events_tell_what_happened() {
    let server = Server::with(&["--notify-keyspace-events", "Kz$gn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE *");
    server.check(&[
        ("ZADD z 1 a 2 b 3 c 4 d 5 e", ":5"),
        ("ZADD z 1 a", ":0"),
        ("ZINCRBY z 1 a", "\"2\""),
        ("ZREM z a none", ":1"),
        ("ZREMRANGEBYRANK z 0 0", ":1"),
        ("ZREMRANGEBYSCORE z 9 9", ":0"),
        ("ZPOPMIN z", "[\"c\", \"3\"]"),
        ("ZRANGESTORE d z 0 -1", ":2"),
        (
            "ZMPOP 1 d MAX COUNT 5",
            "[\"d\", [[\"e\", \"5\"], [\"d\", \"4\"]]]",
        ),
        ("ZRANGESTORE z none 0 -1", ":0"),
    ]);
    let mut seen = Vec::new();
    for _ in 0..11 {
        let reply = listener.reply();
        let words: Vec<&str> = reply.split('"').skip(1).step_by(2).collect();
        seen.push(format!(
            "{} {}",
            words[2].trim_start_matches("__keyspace@0__:"),
            words[3]
        ));
    }
    assert_eq!(
        seen,
        [
            "z new",
            "z zadd",
            "z zincr",
            "z zrem",
            "z zremrangebyrank",
            "z zpopmin",
            "d new",
            "d zrangestore",
            "d zpopmax",
            "d del",
            "z del"
        ]
    );
}
