//! Hashes: every command's replies, errors and edges in both encodings, as dialogues.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{Raw, Server, is_oracle};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const NOT_FLOAT: &str = "(error) ERR value is not a valid float";
const SYNTAX: &str = "(error) ERR syntax error";
const OUT_OF_RANGE: &str = "(error) ERR value is out of range";

/// A listpack, and a table from the first field on.
fn both_encodings(check: impl Fn(&Server)) {
    check(&Server::start());
    check(&Server::with(&["--hash-max-listpack-entries", "0"]));
}

#[test]
fn fields_are_set_read_and_deleted() {
    both_encodings(|server| {
        server.check(&[
            ("HSET h a 1", ":1"),
            ("HSET h a 2 b 3 b 4 c x", ":2"),
            ("HGET h b", "\"4\""),
            ("HGET h none", "nil"),
            ("HGET none a", "nil"),
            ("HMGET h c none a c", "[\"x\", nil, \"2\", \"x\"]"),
            ("HMGET none a b", "[nil, nil]"),
            ("HLEN h", ":3"),
            ("HLEN none", ":0"),
            ("HEXISTS h a", ":1"),
            ("HEXISTS h z", ":0"),
            ("HEXISTS none z", ":0"),
            ("HSETNX h a 9", ":0"),
            ("HSETNX h d 9", ":1"),
            ("HGET h a", "\"2\""),
            ("HSETNX new d 9", ":1"),
            ("HMSET h a 5 e 6", "OK"),
            ("HDEL h none", ":0"),
            ("HDEL h a c none a", ":2"),
            ("HLEN h", ":3"),
            ("HDEL h b d e f", ":3"),
            ("EXISTS h", ":0"),
            ("HDEL h a", ":0"),
            ("HGETALL none", "[]"),
            ("HKEYS none", "[]"),
            ("HVALS none", "[]"),
            ("HSET one f v", ":1"),
            ("HKEYS one", "[\"f\"]"),
            ("HVALS one", "[\"v\"]"),
            ("TYPE one", "hash"),
        ]);
    });
}

#[test]
fn wrong_requests_are_refused() {
    let dialogue = [
        ("SET s x", "OK"),
        ("HSET h f v n 5", ":2"),
        (
            "HSET h a",
            "(error) ERR wrong number of arguments for 'hset' command",
        ),
        (
            "HSET h a 1 b",
            "(error) ERR wrong number of arguments for 'hset' command",
        ),
        (
            "HMSET h a 1 b",
            "(error) ERR wrong number of arguments for 'hmset' command",
        ),
        (
            "HSET s a 1 b",
            "(error) ERR wrong number of arguments for 'hset' command",
        ),
        (
            "HSETNX h a 1 2",
            "(error) ERR wrong number of arguments for 'hsetnx' command",
        ),
        ("HSET s a 1", WRONG),
        ("HSETNX s a 1", WRONG),
        ("HMSET s a 1", WRONG),
        ("HGET s a", WRONG),
        ("HMGET s a b", WRONG),
        ("HGETALL s", WRONG),
        ("HKEYS s", WRONG),
        ("HVALS s", WRONG),
        ("HDEL s a", WRONG),
        ("HLEN s", WRONG),
        ("HSTRLEN s a", WRONG),
        ("HEXISTS s a", WRONG),
        ("HINCRBY s a 1", WRONG),
        ("HINCRBYFLOAT s a 1", WRONG),
        ("HRANDFIELD s", WRONG),
        ("HRANDFIELD s 2", WRONG),
        ("HSCAN s 0", WRONG),
        ("HINCRBY s a x", NOT_INT),
        ("HINCRBY h n 9223372036854775808", NOT_INT),
        ("HINCRBY h n 1.5", NOT_INT),
        ("HINCRBY h f 1", "(error) ERR hash value is not an integer"),
        (
            "HINCRBY h n 9223372036854775807",
            "(error) ERR increment or decrement would overflow",
        ),
        ("HINCRBYFLOAT s a x", NOT_FLOAT),
        ("HINCRBYFLOAT h n nan", NOT_FLOAT),
        (
            "HINCRBYFLOAT none n +inf",
            "(error) ERR value is NaN or Infinity",
        ),
        (
            "HINCRBYFLOAT h n -inf",
            "(error) ERR value is NaN or Infinity",
        ),
        (
            "HINCRBYFLOAT h f 1",
            "(error) ERR hash value is not a float",
        ),
        ("HSET h i inf", ":1"),
        (
            "HINCRBYFLOAT h i 1",
            "(error) ERR increment would produce NaN or Infinity",
        ),
        ("HGET h n", "\"5\""),
        ("EXISTS none", ":0"),
    ];
    both_encodings(|server| server.check(&dialogue));
}

#[test]
fn numbers_are_counted_in_place() {
    both_encodings(|server| {
        server.check(&[
            ("HINCRBY h n 5", ":5"),
            ("HINCRBY h n -7", ":-2"),
            ("HSET h n -9223372036854775808", ":0"),
            ("HINCRBY h n 9223372036854775807", ":-1"),
            ("HGETALL h", "[\"n\", \"-1\"]"),
            ("HINCRBYFLOAT h n 2.5", "\"1.5\""),
            ("HINCRBYFLOAT h n -0.5", "\"1\""),
            ("HINCRBY h n 1", ":2"),
            ("HINCRBYFLOAT h new 5.0e3", "\"5000\""),
            ("HINCRBYFLOAT h hex 0x10", "\"16\""),
            ("HINCRBYFLOAT h f 1.23", "\"1.23\""),
            ("HINCRBYFLOAT h f 0.77", "\"2\""),
            ("HINCRBYFLOAT h f -0.1", "\"1.9\""),
            ("HSET h big 9223372036854775807", ":1"),
            ("HINCRBYFLOAT h big 1", "\"9223372036854775808\""),
            ("HINCRBYFLOAT h big 1e17", "\"9323372036854775808\""),
            ("HSTRLEN h big", ":19"),
            ("HSTRLEN h none", ":0"),
            ("HSTRLEN none none", ":0"),
            ("HSET h len -9223372036854775808", ":1"),
            ("HSTRLEN h len", ":20"),
            ("HSET h len 0", ":0"),
            ("HSTRLEN h len", ":1"),
        ]);
    });
}

#[test]
fn large_hashes_become_tables_and_stay_so() {
    let server = Server::with(&[
        "--hash-max-listpack-entries",
        "3",
        "--hash-max-listpack-value",
        "8",
    ]);
    server.check(&[
        ("HSET h a 1 b 2 c 12345678", ":3"),
        ("OBJECT ENCODING h", "\"listpack\""),
        ("HSET h d 4", ":1"),
        ("OBJECT ENCODING h", "\"hashtable\""),
        ("HDEL h a b c", ":3"),
        ("OBJECT ENCODING h", "\"hashtable\""),
        ("HGETALL h", "[\"d\", \"4\"]"),
        ("HSET v a 123456789", ":1"),
        ("OBJECT ENCODING v", "\"hashtable\""),
        ("HSET f abcdefghi 1", ":1"),
        ("OBJECT ENCODING f", "\"hashtable\""),
        ("HSETNX x abcdefghi 1", ":1"),
        ("OBJECT ENCODING x", "\"hashtable\""),
        ("HSET i n 0", ":1"),
        ("HINCRBYFLOAT i n 0.000005", "\"0.000005\""),
        ("OBJECT ENCODING i", "\"listpack\""),
        ("HINCRBYFLOAT i n 0.0000001", "\"0.0000051\""),
        ("OBJECT ENCODING i", "\"hashtable\""),
    ]);
}

#[test]
fn any_bytes_and_sizes_come_back() {
    both_encodings(|server| {
        let mut raw = server.raw();
        let texts: Vec<Vec<u8>> = [0usize, 1, 63, 64, 65, 255, 256, 4095, 4096, 16_378, 70_000]
            .iter()
            .map(|&len| (0..len).map(|at| (at * 7) as u8).collect())
            .chain(["-0", "007", "1e5", "\r\n", "-9223372036854775809"].map(|text| text.into()))
            .collect();
        for (number, field) in texts.iter().enumerate() {
            let value = &texts[(number + 3) % texts.len()];
            raw.command(&[b"HSET".as_slice(), b"h", field, value]);
            assert_eq!(raw.reply(), ":1");
        }
        for (number, field) in texts.iter().enumerate() {
            let value = &texts[(number + 3) % texts.len()];
            raw.command(&[b"HGET".as_slice(), b"h", field]);
            let head = format!("${}\r\n", value.len());
            assert_eq!(raw.read_exact(head.len()), head.as_bytes());
            assert_eq!(raw.read_exact(value.len() + 2)[..value.len()], value[..]);
            raw.command(&[b"HDEL".as_slice(), b"h", field]);
            assert_eq!(raw.reply(), ":1");
        }
        assert_eq!(raw.ask("EXISTS h"), ":0");
    });
}

#[test]
fn resp3_has_maps_and_pairs() {
    Server::start().check(&[
        ("HSET h a 1", ":1"),
        ("HRANDFIELD h 1 WITHVALUES", "[\"a\", \"1\"]"),
        ("HRANDFIELD h -2 WITHVALUES", "[\"a\", \"1\", \"a\", \"1\"]"),
    ]);
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("HELLO 3");
    for (request, reply) in [
        ("HGETALL none", "{}"),
        ("HSET h a 1", ":1"),
        ("HGETALL h", "{\"a\" => \"1\"}"),
        ("HRANDFIELD h 1 WITHVALUES", "[[\"a\", \"1\"]]"),
        ("HRANDFIELD h 5 withvalues", "[[\"a\", \"1\"]]"),
        (
            "HRANDFIELD h -2 WITHVALUES",
            "[[\"a\", \"1\"], [\"a\", \"1\"]]",
        ),
        ("HRANDFIELD h 1", "[\"a\"]"),
        ("HRANDFIELD none", "nil"),
        ("HGET h none", "nil"),
        ("HINCRBYFLOAT h a 0.5", "\"1.5\""),
        ("HSCAN h 0", "[\"0\", [\"a\", \"1.5\"]]"),
    ] {
        assert_eq!(raw.ask(request), reply, "the reply to {request}");
    }
}

fn words(reply: &str) -> Vec<String> {
    let words = reply.split('"').skip(1).step_by(2);
    words.map(String::from).collect()
}

fn filled(server: &Server, fields: usize) -> (Raw, BTreeMap<String, String>) {
    let model: BTreeMap<String, String> = (0..fields)
        .map(|n| (format!("field:{n}"), format!("{}", n * 3)))
        .collect();
    let mut raw = server.raw();
    let mut request = vec!["HSET".to_string(), "h".to_string()];
    for (field, value) in &model {
        request.extend([field.clone(), value.clone()]);
    }
    raw.command(&request);
    assert_eq!(raw.reply(), format!(":{fields}"));
    (raw, model)
}

#[test]
fn random_fields_are_fair_and_different_where_asked() {
    both_encodings(|server| {
        server.check(&[
            ("HRANDFIELD none", "nil"),
            ("HRANDFIELD none 3", "[]"),
            ("HRANDFIELD none x", NOT_INT),
            ("HRANDFIELD none 1 values", SYNTAX),
            ("HRANDFIELD none 1 WITHVALUES x", SYNTAX),
            (
                "HRANDFIELD none 9223372036854775807 WITHVALUES",
                OUT_OF_RANGE,
            ),
            (
                "HRANDFIELD none -9223372036854775807 WITHVALUES",
                OUT_OF_RANGE,
            ),
            ("HRANDFIELD none -9223372036854775807", "[]"),
            (
                "HRANDFIELD none -9223372036854775808",
                "(error) ERR value is out of range, value must between -9223372036854775807 and \
                 9223372036854775807",
            ),
        ]);
        let (mut raw, model) = filled(server, 60);
        assert_eq!(raw.ask("HRANDFIELD h 0"), "[]");
        // Few of many, most of them, all of them, more than there are.
        for count in [1, 7, 19, 20, 21, 45, 59, 60, 61, 1000] {
            let drawn = words(&raw.ask(&format!("HRANDFIELD h {count} WITHVALUES")));
            let pairs: BTreeMap<&String, &String> =
                drawn.chunks(2).map(|pair| (&pair[0], &pair[1])).collect();
            assert_eq!(
                (pairs.len(), drawn.len()),
                (count.min(60), 2 * count.min(60))
            );
            assert!(pairs.iter().all(|(field, value)| model[*field] == **value));
            assert_eq!(
                words(&raw.ask(&format!("HRANDFIELD h {count}"))).len(),
                count.min(60)
            );
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for field in words(&raw.ask("HRANDFIELD h -60000")) {
            *counts.entry(field).or_default() += 1;
        }
        // Redis's tables favour fields that share a bucket with few others.
        let fair = if is_oracle() { 100..4000 } else { 800..1200 };
        assert_eq!(counts.len(), 60);
        assert!(
            counts.values().all(|count| fair.contains(count)),
            "{counts:?}"
        );
        assert_eq!(words(&raw.ask("HRANDFIELD h -3 WITHVALUES")).len(), 6);
        let alone: BTreeSet<String> = (0..2000).map(|_| raw.ask("HRANDFIELD h")).collect();
        assert_eq!(alone.len(), 60);
    });
}

#[test]
fn scans_show_everything_once_at_least() {
    both_encodings(|server| {
        server.check(&[
            ("HSCAN none 0", "[\"0\", []]"),
            ("HSCAN none 0 COUNT x", "[\"0\", []]"),
            ("HSCAN none x", "(error) ERR invalid cursor"),
            (
                "HSCAN none 18446744073709551616",
                "(error) ERR invalid cursor",
            ),
            ("HSET one a 1", ":1"),
            ("HSCAN one 0", "[\"0\", [\"a\", \"1\"]]"),
            ("HSCAN one 0 MATCH b*", "[\"0\", []]"),
            ("HSCAN one 0 match ? count 3", "[\"0\", [\"a\", \"1\"]]"),
            ("HSCAN one 0 COUNT", SYNTAX),
            ("HSCAN one 0 COUNT 0", SYNTAX),
            ("HSCAN one 0 COUNT x", NOT_INT),
            ("HSCAN one 0 TYPE hash", SYNTAX),
            ("HSCAN one 0 WHAT a", SYNTAX),
        ]);
        let (mut raw, model) = filled(server, 500);
        for options in [
            "",
            " COUNT 1",
            " COUNT 100",
            " COUNT 9223372036854775807",
            " MATCH *:1*",
        ] {
            let (mut cursor, mut seen) = ("0".to_string(), BTreeMap::new());
            loop {
                let reply = words(&raw.ask(&format!("HSCAN h {cursor}{options}")));
                cursor = reply[0].clone();
                for pair in reply[1..].chunks(2) {
                    seen.insert(pair[0].clone(), pair[1].clone());
                }
                if cursor == "0" {
                    break;
                }
            }
            let wanted = |field: &str| !options.contains("MATCH") || field.starts_with("field:1");
            let expected: BTreeMap<String, String> = model
                .clone()
                .into_iter()
                .filter(|(field, _)| wanted(field))
                .collect();
            assert_eq!(seen, expected, "{options}");
        }
    });
}

#[test]
fn events_tell_what_happened() {
    let server = Server::with(&["--notify-keyspace-events", "Ehgn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, events) in [
        ("HSET h a 1 b 2", &["new", "hset"][..]),
        ("HSET h a 1", &["hset"]),
        ("HSETNX h a 1", &[]),
        ("HSETNX h c 1", &["hset"]),
        ("HINCRBY h a 1", &["hincrby"]),
        ("HINCRBYFLOAT h a 1", &["hincrbyfloat"]),
        ("HINCRBY n a 1", &["new", "hincrby"]),
        ("HDEL h none", &[]),
        ("HDEL h a", &["hdel"]),
        ("HDEL h b c", &["hdel", "del"]),
        ("HDEL h b c", &[]),
        ("HMSET end a 1", &["new", "hset"]),
    ] {
        raw.ask(request);
        for event in events {
            let key = request.split(' ').nth(1).expect("a key");
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{event}\", \"{key}\"]");
            assert!(told.ends_with(&channel), "{told} after {request}");
        }
    }
}

#[test]
fn transactions_notice_changed_hashes() {
    let server = Server::start();
    let (mut one, mut other) = (server.raw(), server.raw());
    one.ask("HSET h a 1");
    for (change, executed) in [
        ("HSETNX h a 2", true),
        ("HDEL h none", true),
        ("HSET h a 2", false),
        ("HDEL h a", false),
    ] {
        one.ask("WATCH h");
        other.ask(change);
        one.ask("MULTI");
        one.ask("HLEN h");
        assert_eq!(one.ask("EXEC") != "nil", executed, "{change}");
    }
}
