//! Sets: every command's replies, errors and edges in the three encodings, as dialogues.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Raw, Server, is_oracle};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const SYNTAX: &str = "(error) ERR syntax error";
const NOT_POSITIVE: &str = "(error) ERR value is out of range, must be positive";

/// Integers in an intset, others in a listpack; all in listpacks; all in tables. The real server
/// of 7.0 knows no listpacks here, and is as right in its two encodings.
fn each_encoding(check: impl Fn(&Server)) {
    check(&Server::start());
    check(&Server::with(&["--set-max-intset-entries", "0"]));
    if !is_oracle() {
        check(&Server::with(&[
            "--set-max-intset-entries",
            "0",
            "--set-max-listpack-entries",
            "0",
        ]));
    }
}

fn words(reply: &str) -> Vec<String> {
    let words = reply.split('"').skip(1).step_by(2);
    words.map(String::from).collect()
}

fn sorted(reply: &str) -> String {
    let mut words = words(reply);
    words.sort();
    words.join(" ")
}

#[test]
fn members_are_added_found_and_removed() {
    each_encoding(|server| {
        server.check(&[
            ("SADD s 1", ":1"),
            ("SADD s 1 2 2 3", ":2"),
            ("SCARD s", ":3"),
            ("SISMEMBER s 2", ":1"),
            ("SISMEMBER s 02", ":0"),
            ("SISMEMBER s x", ":0"),
            ("SADD s x 02 -0 9223372036854775808", ":4"),
            ("SISMEMBER s 2", ":1"),
            ("SISMEMBER s 02", ":1"),
            (
                "SMISMEMBER s 1 x y -0 0 9223372036854775808",
                "[:1, :1, :0, :1, :0, :1]",
            ),
            ("SREM s y 1 x none", ":2"),
            ("SCARD s", ":5"),
            ("SREM s 2 3 02 -0 9223372036854775808 2", ":5"),
            ("EXISTS s", ":0"),
            ("SREM s 2", ":0"),
            ("SCARD s", ":0"),
            ("SISMEMBER s 1", ":0"),
            ("SMISMEMBER s 1 2", "[:0, :0]"),
            ("SMEMBERS s", "[]"),
            ("SADD one x", ":1"),
            ("SMEMBERS one", "[\"x\"]"),
            ("TYPE one", "set"),
        ]);
        let mut raw = server.raw();
        raw.ask("SADD s -3 b 5 100000 a 7000000000");
        assert_eq!(sorted(&raw.ask("SMEMBERS s")), "-3 100000 5 7000000000 a b");
    });
}

#[test]
fn wrong_requests_are_refused() {
    let dialogue = [
        ("SET str x", "OK"),
        ("SADD s 1 a", ":2"),
        ("SADD str a", WRONG),
        ("SREM str a", WRONG),
        ("SISMEMBER str a", WRONG),
        ("SMISMEMBER str a b", WRONG),
        ("SCARD str", WRONG),
        ("SMEMBERS str", WRONG),
        ("SSCAN str 0", WRONG),
        ("SPOP str", WRONG),
        ("SPOP str 0", WRONG),
        ("SPOP str -1", NOT_POSITIVE),
        ("SPOP s x", NOT_POSITIVE),
        ("SPOP s 1 2", SYNTAX),
        ("SPOP none", "nil"),
        ("SPOP none 3", "[]"),
        ("SRANDMEMBER str", WRONG),
        ("SRANDMEMBER str 0", WRONG),
        ("SRANDMEMBER str x", NOT_INT),
        ("SRANDMEMBER s 1 2", SYNTAX),
        ("SMOVE none str a", ":0"),
        ("SMOVE str s a", WRONG),
        ("SMOVE str none a", WRONG),
        ("SMOVE s str a", WRONG),
        ("SMOVE s str none", WRONG),
        ("SMOVE str str x", WRONG),
        ("SINTER s str", WRONG),
        ("SINTER none str", WRONG),
        ("SUNION none str", WRONG),
        ("SDIFF none str", WRONG),
        ("SINTERSTORE s none str", WRONG),
        ("SUNIONSTORE s str", WRONG),
        ("SDIFFSTORE s s str", WRONG),
        ("SINTERCARD 2 none str", WRONG),
        (
            "SINTERCARD 0 s",
            "(error) ERR numkeys should be greater than 0",
        ),
        (
            "SINTERCARD x s",
            "(error) ERR numkeys should be greater than 0",
        ),
        (
            "SINTERCARD 2 s",
            "(error) ERR Number of keys can't be greater than number of args",
        ),
        ("SINTERCARD 1 s s", SYNTAX),
        ("SINTERCARD 1 s LIMIT", SYNTAX),
        (
            "SINTERCARD 1 s LIMIT x",
            "(error) ERR LIMIT can't be negative",
        ),
        (
            "SINTERCARD 1 str LIMIT -1",
            "(error) ERR LIMIT can't be negative",
        ),
        ("SCARD s", ":2"),
        ("GET str", "\"x\""),
        ("EXISTS none", ":0"),
    ];
    each_encoding(|server| server.check(&dialogue));
}

#[test]
fn small_sets_are_packed_and_large_ones_tables() {
    if is_oracle() {
        return;
    }
    let limits = [
        "--set-max-intset-entries",
        "3",
        "--set-max-listpack-entries",
        "4",
    ];
    let server = Server::with(&limits);
    server.check(&[
        ("CONFIG SET set-max-listpack-value 5", "OK"),
        ("SADD i 1 2 3", ":3"),
        ("OBJECT ENCODING i", "\"intset\""),
        ("SADD i x", ":1"),
        ("OBJECT ENCODING i", "\"listpack\""),
        ("SADD i y", ":1"),
        ("OBJECT ENCODING i", "\"hashtable\""),
        ("SADD ints 1 2", ":2"),
        ("SADD ints 3 4", ":2"),
        ("OBJECT ENCODING ints", "\"hashtable\""),
        ("SADD many 1 2 3 1", ":3"),
        ("OBJECT ENCODING many", "\"listpack\""),
        ("SADD long abcdef", ":1"),
        ("OBJECT ENCODING long", "\"hashtable\""),
        ("SREM long abcdef", ":1"),
        ("SADD long abcde", ":1"),
        ("OBJECT ENCODING long", "\"listpack\""),
        ("SUNIONSTORE d i ints", ":6"),
        ("OBJECT ENCODING d", "\"hashtable\""),
        ("SINTERSTORE d i ints", ":3"),
        ("OBJECT ENCODING d", "\"intset\""),
        ("SDIFFSTORE d i ints", ":2"),
        ("OBJECT ENCODING d", "\"listpack\""),
        ("SMOVE d none x", ":1"),
        ("OBJECT ENCODING none", "\"listpack\""),
        ("SMOVE ints new 1", ":1"),
        ("OBJECT ENCODING new", "\"intset\""),
    ]);
}

#[test]
fn any_bytes_and_sizes_come_back() {
    each_encoding(|server| {
        let mut raw = server.raw();
        let texts: Vec<Vec<u8>> = [0usize, 1, 63, 64, 65, 255, 256, 4096, 70_000]
            .iter()
            .map(|&len| (0..len).map(|at| (at * 7) as u8).collect())
            .chain(["-0", "007", "\r\n", "-9223372036854775808"].map(|text| text.into()))
            .collect();
        for text in &texts {
            for (request, reply) in [
                (&[b"SADD".as_slice(), b"s", text][..], ":1"),
                (&[b"SADD".as_slice(), b"s", text], ":0"),
                (&[b"SISMEMBER".as_slice(), b"s", text], ":1"),
                (&[b"SMOVE".as_slice(), b"s", b"t", text], ":1"),
                (&[b"SMOVE".as_slice(), b"t", b"s", text], ":1"),
            ] {
                raw.command(request);
                assert_eq!(raw.reply(), reply);
            }
        }
        assert_eq!(raw.ask("SCARD s"), format!(":{}", texts.len()));
        raw.ask("SUNIONSTORE copy s none");
        for text in &texts {
            raw.command(&[b"SREM".as_slice(), b"copy", text]);
            assert_eq!(raw.reply(), ":1");
        }
        assert_eq!(raw.ask("EXISTS copy"), ":0");
    });
}

#[test]
fn several_sets_are_put_together() {
    each_encoding(|server| {
        let mut raw = server.raw();
        raw.ask("SADD a 1 2 3 x y");
        raw.ask("SADD b 2 3 4 y z");
        raw.ask("SADD c 3 y 100000");
        raw.ask("SADD ints 3 1 100000");
        for (request, members) in [
            ("SINTER a", "1 2 3 x y"),
            ("SINTER a b", "2 3 y"),
            ("SINTER a b c", "3 y"),
            ("SINTER c ints", "100000 3"),
            ("SINTER ints a", "1 3"),
            ("SINTER a a", "1 2 3 x y"),
            ("SINTER a none", ""),
            ("SUNION a b", "1 2 3 4 x y z"),
            ("SUNION none ints c none", "1 100000 3 y"),
            ("SUNION none", ""),
            ("SUNION a a b ints c a", "1 100000 2 3 4 x y z"),
            ("SDIFF a b", "1 x"),
            ("SDIFF a none c ints", "2 x"),
            ("SDIFF none a", ""),
            ("SDIFF a b a", ""),
            ("SDIFF ints a", "100000"),
        ] {
            assert_eq!(sorted(&raw.ask(request)), members, "{request}");
            let (name, keys) = request.split_once(' ').expect("keys");
            let count = members.split_whitespace().count();
            assert_eq!(
                raw.ask(&format!("{name}STORE d {keys}")),
                format!(":{count}")
            );
            assert_eq!(
                sorted(&raw.ask("SMEMBERS d")),
                members,
                "{name}STORE d {keys}"
            );
            assert_eq!(raw.ask("EXISTS d"), format!(":{}", usize::from(count > 0)));
            // The target may be a source, and lose what it was and its deadline.
            let target = keys.split(' ').next().expect("a key");
            raw.ask(&format!("COPY {target} kept REPLACE"));
            raw.ask(&format!("EXPIRE {target} 1000"));
            assert_eq!(
                raw.ask(&format!("{name}STORE {target} {keys}")),
                format!(":{count}")
            );
            assert_eq!(sorted(&raw.ask(&format!("SMEMBERS {target}"))), members);
            let ttl = if count > 0 { ":-1" } else { ":-2" };
            assert_eq!(raw.ask(&format!("TTL {target}")), ttl);
            raw.ask(&format!("DEL {target}"));
            raw.ask(&format!("RENAME kept {target}"));
        }
        server.check(&[
            ("SINTERCARD 2 a b", ":3"),
            ("SINTERCARD 2 a b LIMIT 2", ":2"),
            ("SINTERCARD 2 a b LIMIT 9 limit 0", ":3"),
            ("SINTERCARD 3 a b none", ":0"),
            ("SINTERCARD 1 ints LIMIT 3", ":3"),
            ("SET str x", "OK"),
            ("SUNIONSTORE str a", ":5"),
            ("TYPE str", "set"),
            ("SET str x", "OK"),
            ("SINTERSTORE str a none", ":0"),
            ("EXISTS str", ":0"),
        ]);
    });
}

#[test]
fn members_move_between_sets() {
    each_encoding(|server| {
        server.check(&[
            ("SADD a 1 2 x", ":3"),
            ("SMOVE a b 1", ":1"),
            ("SMOVE a b none", ":0"),
            ("SMOVE b a 1", ":1"),
            ("EXISTS b", ":0"),
            ("SADD b x", ":1"),
            ("SMOVE a b x", ":1"),
            ("SCARD a", ":2"),
            ("SCARD b", ":1"),
            ("SMOVE a a 1", ":1"),
            ("SMOVE a a x", ":0"),
            ("SCARD a", ":2"),
        ]);
    });
}

fn filled(server: &Server, prefix: &str, members: usize) -> (Raw, BTreeSet<String>) {
    let model: BTreeSet<String> = (0..members).map(|n| format!("{prefix}{n}")).collect();
    let mut raw = server.raw();
    let mut request = vec!["SADD".to_string(), "s".to_string()];
    request.extend(model.iter().cloned());
    raw.command(&request);
    assert_eq!(raw.reply(), format!(":{members}"));
    (raw, model)
}

#[test]
fn random_members_are_fair_and_different_where_asked() {
    each_encoding(|server| {
        for prefix in ["", "member:"] {
            server.check(&[
                ("SRANDMEMBER none", "nil"),
                ("SRANDMEMBER none 3", "[]"),
                ("SRANDMEMBER none -9223372036854775807", "[]"),
                (
                    "SRANDMEMBER none -9223372036854775808",
                    "(error) ERR value is out of range, value must between -9223372036854775807 \
                     and 9223372036854775807",
                ),
            ]);
            let (mut raw, model) = filled(server, prefix, 60);
            assert_eq!(raw.ask("SRANDMEMBER s 0"), "[]");
            for count in [1, 6, 7, 8, 19, 45, 59, 60, 61, 1000] {
                let drawn = words(&raw.ask(&format!("SRANDMEMBER s {count}")));
                let different: BTreeSet<String> = drawn.iter().cloned().collect();
                let wanted = count.min(60);
                assert_eq!((different.len(), drawn.len()), (wanted, wanted));
                assert!(different.is_subset(&model));
            }
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for member in words(&raw.ask("SRANDMEMBER s -60000")) {
                *counts.entry(member).or_default() += 1;
            }
            // Redis's tables favour members that share a bucket with few others.
            let fair = if is_oracle() { 100..4000 } else { 800..1200 };
            assert_eq!(counts.len(), 60);
            assert!(
                counts.values().all(|count| fair.contains(count)),
                "{counts:?}"
            );
            let alone: BTreeSet<String> = (0..2000).map(|_| raw.ask("SRANDMEMBER s")).collect();
            assert_eq!(alone.len(), 60);
            raw.ask("DEL s");
        }
    });
}

#[test]
fn popped_members_are_gone() {
    each_encoding(|server| {
        for (members, count) in [
            (60, 3),
            (60, 20),
            (60, 55),
            (3000, 5),
            (3000, 1000),
            (3000, 2990),
        ] {
            let (mut raw, model) = filled(server, "", members);
            let popped: BTreeSet<String> = words(&raw.ask(&format!("SPOP s {count}")))
                .into_iter()
                .collect();
            let left: BTreeSet<String> = words(&raw.ask("SMEMBERS s")).into_iter().collect();
            assert_eq!((popped.len(), left.len()), (count, members - count));
            assert!(popped.is_disjoint(&left));
            assert_eq!(&popped | &left, model);
            assert_eq!(raw.ask("SCARD s"), format!(":{}", left.len()));
            let one = words(&raw.ask("SPOP s"));
            assert!(left.contains(&one[0]));
            assert_eq!(raw.ask(&format!("SISMEMBER s {}", one[0])), ":0");
            assert_eq!(words(&raw.ask("SPOP s 99999")).len(), left.len() - 1);
            assert_eq!(raw.ask("EXISTS s"), ":0");
            raw.ask("SADD s x");
            assert_eq!(raw.ask("SPOP s"), "\"x\"");
            assert_eq!(raw.ask("EXISTS s"), ":0");
        }
    });
}

#[test]
fn scans_show_everything_once_at_least() {
    each_encoding(|server| {
        server.check(&[
            ("SSCAN none 0", "[\"0\", []]"),
            ("SSCAN none 0 COUNT x", "[\"0\", []]"),
            ("SSCAN none x", "(error) ERR invalid cursor"),
            ("SADD one a", ":1"),
            ("SSCAN one 0", "[\"0\", [\"a\"]]"),
            ("SSCAN one 0 MATCH b*", "[\"0\", []]"),
            ("SSCAN one 0 match ? count 3", "[\"0\", [\"a\"]]"),
            ("SSCAN one 0 COUNT", SYNTAX),
            ("SSCAN one 0 COUNT 0", SYNTAX),
            ("SSCAN one 0 COUNT x", NOT_INT),
            ("SSCAN one 0 TYPE set", SYNTAX),
        ]);
        for prefix in ["", "m:"] {
            let (mut raw, model) = filled(server, prefix, 700);
            for options in ["", " COUNT 1", " COUNT 9223372036854775807", " MATCH *5*"] {
                let (mut cursor, mut seen) = ("0".to_string(), BTreeSet::new());
                loop {
                    let reply = words(&raw.ask(&format!("SSCAN s {cursor}{options}")));
                    cursor = reply[0].clone();
                    seen.extend(reply[1..].iter().cloned());
                    if cursor == "0" {
                        break;
                    }
                }
                let expected: BTreeSet<String> = model
                    .iter()
                    .filter(|member| !options.contains("MATCH") || member.contains('5'))
                    .cloned()
                    .collect();
                assert_eq!(seen, expected, "{options}");
            }
            raw.ask("DEL s");
        }
    });
}

#[test]
fn resp3_has_sets() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("HELLO 3");
    for (request, reply) in [
        ("SMEMBERS none", "~[]"),
        ("SADD s 1", ":1"),
        ("SMEMBERS s", "~[\"1\"]"),
        ("SINTER s s", "~[\"1\"]"),
        ("SINTER s none", "~[]"),
        ("SUNION s none", "~[\"1\"]"),
        ("SDIFF s none", "~[\"1\"]"),
        ("SRANDMEMBER s 1", "[\"1\"]"),
        ("SRANDMEMBER s 5", "[\"1\"]"),
        ("SRANDMEMBER s -2", "[\"1\", \"1\"]"),
        ("SRANDMEMBER none", "nil"),
        ("SMISMEMBER s 1 2", "[:1, :0]"),
        ("SISMEMBER s 1", ":1"),
        ("SSCAN s 0", "[\"0\", [\"1\"]]"),
        ("SPOP s 0", "~[]"),
        ("SADD s 2", ":1"),
        ("SREM s 2", ":1"),
        ("SPOP s 1", "~[\"1\"]"),
        ("SPOP none 1", "~[]"),
        ("SPOP none", "nil"),
    ] {
        assert_eq!(raw.ask(request), reply, "the reply to {request}");
    }
}

#[test]
fn events_tell_what_happened() {
    let server = Server::with(&["--notify-keyspace-events", "Esgn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, events) in [
        ("SADD s 1 2 3 4 5", &["new s", "sadd s"][..]),
        ("SADD s 1", &[]),
        ("SADD s x", &["sadd s"]),
        ("SREM s none", &[]),
        ("SREM s x 5", &["srem s"]),
        ("SMOVE s t 1", &["srem s", "new t", "sadd t"]),
        ("SADD s 1", &["sadd s"]),
        ("SMOVE s t 1", &["srem s"]),
        ("SMOVE t s 1", &["srem t", "del t", "sadd s"]),
        ("SMOVE s s 1", &[]),
        ("SPOP s", &["spop s"]),
        ("SPOP s 1", &["spop s"]),
        ("SPOP s 99", &["spop s", "del s"]),
        ("SPOP s", &[]),
        ("SADD s 1", &["new s", "sadd s"]),
        ("SPOP s", &["spop s", "del s"]),
        ("SADD s 1 2", &["new s", "sadd s"]),
        ("SUNIONSTORE d s none", &["new d", "sunionstore d"]),
        ("SINTERSTORE d s s", &["sinterstore d"]),
        ("SDIFFSTORE d s none", &["sdiffstore d"]),
        ("SDIFFSTORE d s s", &["del d"]),
        ("SINTERSTORE d none s", &[]),
        ("SUNIONSTORE s none", &["del s"]),
        ("SADD end 1", &["new end", "sadd end"]),
    ] {
        raw.ask(request);
        for event in events {
            let (name, key) = event.split_once(' ').expect("a key");
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{name}\", \"{key}\"]");
            assert!(told.ends_with(&channel), "{told} after {request}");
        }
    }
}

#[test]
fn transactions_notice_changed_sets() {
    let server = Server::start();
    let (mut one, mut other) = (server.raw(), server.raw());
    one.ask("SADD s 1 2 3");
    for (change, executed) in [
        ("SADD s 1", true),
        ("SREM s none", true),
        ("SMOVE s s 1", true),
        ("SRANDMEMBER s 2", true),
        ("SADD s 4", false),
        ("SPOP s", false),
        ("SPOP s 1", false),
        ("SMOVE none s x", true),
        ("SUNIONSTORE s s", false),
        ("SDIFFSTORE s s s", false),
        ("SDIFFSTORE s s s", true),
    ] {
        one.ask("WATCH s");
        other.ask(change);
        one.ask("MULTI");
        one.ask("PING");
        let done = one.ask("EXEC") == "[PONG]";
        assert_eq!(done, executed, "{change}");
    }
}
