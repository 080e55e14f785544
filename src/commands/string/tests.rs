//! What the log gets: nothing that depends on the time or on what is there, nothing an older
//! server does not know.
use super::FAMILY;
use crate::exec::testing::{Bench, START_MS};

fn bench() -> Bench {
    let mut bench = Bench::new(&[&FAMILY, &crate::commands::expire::FAMILY]);
    // Behind this the log needs no SELECT.
    assert_eq!(bench.logs("SET k 1"), ["SELECT 0", "SET k 1"]);
    bench
}

fn check(bench: &mut Bench, dialogue: &[(&str, &str, &[&str])]) {
    for (request, reply, log) in dialogue {
        bench.logged();
        assert_eq!(bench.ask(request), *reply, "the reply to {request}");
        assert_eq!(bench.logged(), *log, "the log of {request}");
    }
}

#[test]
fn deadlines_are_logged_as_points_in_time() {
    let now = START_MS;
    let at = |ms: i64| format!("SET k v PXAT {}", now + ms);
    let mut bench = bench();
    for (request, log) in [
        ("SET k v EX 5".to_owned(), at(5000)),
        ("SET k v PX 5 NX GET".to_owned(), String::new()),
        ("SET k v PX 5 XX".to_owned(), at(5)),
        (format!("SET k v EXAT {}", now / 1000 + 3), at(3000)),
        (format!("SET k v PXAT {}", now + 7), at(7)),
        (format!("SET k v PXAT {} GET", now + 7), at(7)),
        ("SETEX k 9 v".to_owned(), at(9000)),
        ("PSETEX k 9 v".to_owned(), at(9)),
        (
            "EXPIRE k 9".to_owned(),
            format!("PEXPIREAT k {}", now + 9000),
        ),
        (
            "PEXPIRE k 9 LT".to_owned(),
            format!("PEXPIREAT k {}", now + 9),
        ),
        ("PEXPIRE k 9 GT".to_owned(), String::new()),
        (
            "GETEX k EX 2".to_owned(),
            format!("PEXPIREAT k {}", now + 2000),
        ),
        ("GETEX k".to_owned(), String::new()),
        ("GETEX k PERSIST".to_owned(), "PERSIST k".to_owned()),
        ("GETEX k PERSIST".to_owned(), String::new()),
        ("GETEX k PXAT 1".to_owned(), "DEL k".to_owned()),
        ("SET k v".to_owned(), "SET k v".to_owned()),
        ("EXPIRE k -1".to_owned(), "DEL k".to_owned()),
        ("PERSIST k".to_owned(), String::new()),
    ] {
        let logged = bench.logs(&request).join("; ");
        assert_eq!(logged, log, "{request}");
    }
}

#[test]
fn conditions_are_not_logged_but_their_outcome() {
    check(
        &mut bench(),
        &[
            ("SET k 2 GET", "$1 1", &["SET k 2"]),
            ("SET k 3 XX GET KEEPTTL", "$1 2", &["SET k 3 KEEPTTL"]),
            ("SET k 4 NX", "$-1", &[]),
            ("SET k 4 IFEQ 2", "$-1", &[]),
            ("SET k 4 IFEQ 3", "+OK", &["SET k 4"]),
            ("SET k 5 IFNE 4 GET", "$1 4", &[]),
            ("SET k 5 IFNE 3 KEEPTTL", "+OK", &["SET k 5 KEEPTTL"]),
            ("SET none 5 IFEQ 5", "$-1", &[]),
            ("SET new 5 IFNE 5 GET", "$-1", &["SET new 5"]),
            ("GETSET k 6", "$1 5", &["SET k 6"]),
            ("SETNX k 7", ":0", &[]),
            ("GETDEL k", "$1 6", &["DEL k"]),
            ("GETDEL k", "$-1", &[]),
            ("DELIFEQ new 6", ":0", &[]),
            ("DELIFEQ new 5", ":1", &["DEL new"]),
            ("SET k 1", "+OK", &["SET k 1"]),
            ("DELEX k IFNE 1", ":0", &[]),
            ("DELEX k IFEQ 1", ":1", &["DEL k"]),
            ("DELEX k", ":0", &[]),
            ("INCRBYFLOAT f 0.1", "$3 0.1", &["SET f 0.1 KEEPTTL"]),
            ("INCRBY n 5", ":5", &["INCRBY n 5"]),
            ("APPEND n 0", ":2", &["APPEND n 0"]),
            ("SETRANGE n 9 ", ":2", &[]),
            ("MSETNX n 1 m 1", ":0", &[]),
        ],
    );
}

#[test]
fn msetex_is_logged_as_sets() {
    let mut bench = bench();
    let at = START_MS + 10_000;
    let pair = |deadline: &str| {
        let set = |key: &str| format!("SET {key}{deadline}");
        vec![
            "MULTI".to_owned(),
            set("a 1"),
            set("b 2"),
            "EXEC".to_owned(),
        ]
    };
    assert_eq!(
        bench.logs("MSETEX 2 a 1 b 2 EX 10"),
        pair(&format!(" PXAT {at}"))
    );
    assert_eq!(bench.logs("MSETEX 2 a 1 b 2 KEEPTTL XX"), pair(" KEEPTTL"));
    assert_eq!(bench.ask("PEXPIRETIME a"), format!(":{at}"));
    assert_eq!(bench.logs("MSETEX 2 a 1 b 2"), pair(""));
    assert_eq!(bench.ask("PTTL b"), ":-1");
    assert!(bench.logs("MSETEX 2 a 1 c 2 NX").is_empty());
    assert!(bench.logs("MSETEX 2 a 1 c 2 XX").is_empty());
    for (request, error) in [
        ("MSETEX 0 a 1", "-ERR invalid numkeys value"),
        ("MSETEX 2147483648 a 1", "-ERR invalid numkeys value"),
        (
            "MSETEX 2147483647 a 1",
            "-ERR wrong number of key-value pairs",
        ),
        ("MSETEX 1 a 1 IFEQ 1", "-ERR syntax error"),
        (
            "MSETEX 1 a 1 EX 0",
            "-ERR invalid expire time in 'msetex' command",
        ),
    ] {
        assert_eq!(bench.ask(request), error, "{request}");
    }
}

#[test]
fn a_dead_key_is_absent_to_every_condition() {
    let mut bench = bench();
    check(
        &mut bench,
        &[("PEXPIRE k 10", ":1", &["PEXPIREAT k 1700000000010"])],
    );
    bench.state.clock.advance_ms(10);
    assert_eq!(
        bench.ask("PTTL k"),
        ":0",
        "it lives through its last millisecond"
    );
    bench.state.clock.advance_ms(1);
    check(
        &mut bench,
        &[
            ("SET k 2 IFEQ 1", "$-1", &["DEL k"]),
            (
                "SET k 2 PX 10 IFNE 1",
                "+OK",
                &["SET k 2 PXAT 1700000000021"],
            ),
        ],
    );
    bench.state.clock.advance_ms(11);
    check(
        &mut bench,
        &[
            (
                "APPEND k 5",
                ":1",
                &["MULTI", "DEL k", "APPEND k 5", "EXEC"],
            ),
            ("PTTL k", ":-1", &[]),
            ("PTTL none", ":-2", &[]),
        ],
    );
}

#[test]
fn lengths_are_limited() {
    let mut bench = bench();
    bench.state.config.proto_max_bulk_len = 10;
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    check(
        &mut bench,
        &[
            ("SET s 12345678", "+OK", &["SET s 12345678"]),
            ("APPEND s 12", ":10", &["APPEND s 12"]),
            ("APPEND s 3", too_long, &[]),
            ("SETRANGE s 8 123", too_long, &[]),
            ("SETRANGE none 10 1", too_long, &[]),
            ("SETRANGE none 9223372036854775807 1", too_long, &[]),
            ("STRLEN none", ":0", &[]),
            ("SETRANGE s 8 xy", ":10", &["SETRANGE s 8 xy"]),
            ("GETRANGE s 6 -1", "$4 78xy", &[]),
            (
                "LCS s s",
                "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
                &[],
            ),
        ],
    );
}
