//! Lists: what the real server's suite does not ask about their replies, limits and encodings.

use std::io::Write;

use crate::harness::{Server, is_oracle, wait_until};

const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const SYNTAX: &str = "(error) ERR syntax error";

#[test]
fn wrong_requests_are_refused_in_redis_order() {
    let server = Server::start();
    server.check(&[
        ("SET s x", "OK"),
        ("RPUSH l a b c", ":3"),
        (
            "LPOP l x",
            "(error) ERR value is out of range, must be positive",
        ),
        (
            "LPOP s -1",
            "(error) ERR value is out of range, must be positive",
        ),
        (
            "LPOP l 1 2",
            "(error) ERR wrong number of arguments for 'lpop' command",
        ),
        ("LPOP l 0", "[]"),
        ("LPOP none 0", "nil"),
        ("LINDEX none x", "nil"),
        ("LINDEX l x", NOT_INT),
        ("LRANGE none x 1", NOT_INT),
        ("LSET none x v", "(error) ERR no such key"),
        ("LSET l x v", NOT_INT),
        ("LSET l 3 v", "(error) ERR index out of range"),
        ("LSET l -4 v", "(error) ERR index out of range"),
        ("LREM none x v", NOT_INT),
        ("LTRIM none x 1", NOT_INT),
        ("LINSERT none over a b", SYNTAX),
        ("LINSERT none BEFORE a b", ":0"),
        ("LINSERT l BEFORE none x", ":-1"),
        ("LMOVE none s LEFT up", SYNTAX),
        ("LMOVE none s LEFT RIGHT", "nil"),
        (
            "LMPOP 0 l LEFT",
            "(error) ERR numkeys should be greater than 0",
        ),
        ("LMPOP 9223372036854775807 l LEFT", SYNTAX),
        (
            "LMPOP 1 l LEFT COUNT 0 x",
            "(error) ERR count should be greater than 0",
        ),
        ("LMPOP 1 l LEFT COUNT 1 x", SYNTAX),
        ("LPOS l a RANK", SYNTAX),
        (
            "LPOS none a COUNT -1",
            "(error) ERR COUNT can't be negative",
        ),
        ("LPOS none a COUNT 0", "[]"),
        ("LPOS none a", "nil"),
        (
            "BLPOP s l x",
            "(error) ERR timeout is not a float or out of range",
        ),
        ("BLPOP l -1", "(error) ERR timeout is negative"),
        ("LRANGE l 0 -1", "[\"a\", \"b\", \"c\"]"),
    ]);
}

#[test]
fn edges_of_ranges_and_searches() {
    for args in [
        &[][..],
        &["--list-max-listpack-size", "2"],
        &["--list-compress-depth", "1"],
    ] {
        let server = Server::with(args);
        server.check(&[
            ("RPUSH l 0 1 2 1 -1 1 01", ":7"),
            (
                "LRANGE l -100 100",
                "[\"0\", \"1\", \"2\", \"1\", \"-1\", \"1\", \"01\"]",
            ),
            ("LRANGE l 3 2", "[]"),
            (
                "LRANGE l -9223372036854775808 9223372036854775807",
                "[\"0\", \"1\", \"2\", \"1\", \"-1\", \"1\", \"01\"]",
            ),
            ("LINDEX l -7", "\"0\""),
            ("LINDEX l -9223372036854775808", "nil"),
            ("LPOS l 1 RANK 2", ":3"),
            ("LPOS l 1 RANK -1 COUNT 2", "[:5, :3]"),
            ("LPOS l 1 COUNT 0 MAXLEN 4", "[:1, :3]"),
            ("LPOS l 01", ":6"),
            ("LPOS l 1 RANK 9223372036854775807 COUNT 0", "[]"),
            ("LREM l -2 1", ":2"),
            ("LINSERT l AFTER 1 x", ":6"),
            (
                "LRANGE l 0 -1",
                "[\"0\", \"1\", \"x\", \"2\", \"-1\", \"01\"]",
            ),
            ("LMOVE l l RIGHT LEFT", "\"01\""),
            ("LSET l -1 last", "OK"),
            ("RPOP l 2", "[\"last\", \"2\"]"),
            ("LTRIM l 1 -2", "OK"),
            ("LRANGE l 0 -1", "[\"0\", \"1\"]"),
            ("LTRIM l 2 5", "OK"),
            ("EXISTS l", ":0"),
        ]);
    }
}

#[test]
fn small_lists_are_listpacks_as_in_7_2() {
    if is_oracle() {
        return; // 7.0 has quicklists only.
    }
    let server = Server::with(&["--list-max-listpack-size", "4"]);
    server.check(&[
        ("RPUSH l 1 2 3 4", ":4"),
        ("OBJECT ENCODING l", "\"listpack\""),
        ("RPUSH l 5", ":5"),
        ("OBJECT ENCODING l", "\"quicklist\""),
        ("RPOP l 2", "[\"5\", \"4\"]"),
        ("OBJECT ENCODING l", "\"quicklist\""),
        ("RPOP l", "\"3\""),
        ("OBJECT ENCODING l", "\"listpack\""),
        ("RPUSH l 6 7", ":4"),
        ("LINSERT l BEFORE none x", ":-1"),
        ("OBJECT ENCODING l", "\"quicklist\""),
        ("COPY l m", ":1"),
        ("OBJECT ENCODING m", "\"quicklist\""),
        ("LTRIM m 0 1", "OK"),
        ("OBJECT ENCODING m", "\"listpack\""),
    ]);
}

#[test]
fn a_reply_that_outgrows_its_limit_takes_no_memory() {
    let server = Server::with(&["--client-output-buffer-limit", "normal 1000000 0 0"]);
    let mut main = server.raw();
    let item = "x".repeat(1000);
    for _ in 0..20 {
        let items = vec![&item[..]; 1000];
        main.command(&[&["RPUSH", "big"], &items[..]].concat());
        main.reply();
    }
    let used = || -> usize { server.info("used_memory").parse().expect("a number") };
    let (before, mut greedy) = (used(), server.raw());
    greedy.send(b"SET before 1\r\nLRANGE big 0 -1\r\n");
    assert_eq!(greedy.read_to_end(), b"", "not even what was said before");
    assert_eq!(main.ask("GET before"), "\"1\"");
    let peak: usize = server.info("used_memory_peak").parse().expect("a number");
    if !is_oracle() {
        assert!(peak < before + 3_000_000, "{peak} at most, {before} before");
    }
    wait_until("what it took being given back", || {
        used() < before + 500_000
    });
    // Below the limit nothing is changed by it.
    assert!(main.ask("LRANGE big 0 900").len() > 900_000);
    main.socket.flush().expect("an open socket");
}
