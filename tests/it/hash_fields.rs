//! Fields of hashes with deadlines: newer than the oracle, so these tests hold for us alone.

use crate::harness::{Raw, Server, is_oracle, wait_until};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const NO_FIELDS: &str =
    "(error) ERR Mandatory argument FIELDS is missing or not at the right position";
const COUNT_DIFFERS: &str =
    "(error) ERR The `numfields` parameter must match the number of arguments";
const NOT_POSITIVE: &str = "(error) ERR Number of fields must be a positive integer";

/// A server, unless the tests run against one that knows nothing of this.
fn server(args: &[&str]) -> Option<Server> {
    (!is_oracle()).then(|| Server::with(args))
}

#[test]
fn wrong_requests_are_refused() {
    let Some(server) = server(&[]) else { return };
    let times = "(error) ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
    let negative = "(error) ERR invalid expire time, must be >= 0";
    let set_count = "(error) ERR Parameter `numFields` should be greater than 0";
    server.check(&[
        ("SET s x", "OK"),
        ("HSET h f v", ":1"),
        // The type comes first, except where options are many.
        ("HEXPIRE s x FIELDS 1 f", WRONG),
        ("HTTL s NOT x f", WRONG),
        ("HPERSIST s NOT x f", WRONG),
        ("HGETDEL s NOT x f", WRONG),
        ("HGETEX s NOT x f", WRONG),
        ("HSETEX s NOT x f v", "(error) ERR unknown argument: NOT"),
        ("HSETEX s FIELDS 1 f v", WRONG),
        ("HEXPIRE h x FIELDS 1 f", NOT_INT),
        ("HEXPIRE h -1 FIELDS 1 f", negative),
        (
            "HEXPIRE h 70368744178 FIELDS 1 f",
            "(error) ERR invalid expire time in 'hexpire' command",
        ),
        (
            "HPEXPIREAT h 70368744177664 FIELDS 1 f",
            "(error) ERR invalid expire time in 'hpexpireat' command",
        ),
        (
            "HPEXPIRE h 9223372036854775807 FIELDS 1 f",
            "(error) ERR invalid expire time in 'hpexpire' command",
        ),
        ("HEXPIRE h 1 ZZ FIELDS 1 f", NO_FIELDS),
        ("HEXPIRE h 1 NX XX FIELDS 1 f", NO_FIELDS),
        ("HEXPIRE h 1 NX FIELDS 1", COUNT_DIFFERS),
        ("HEXPIRE h 1 FIELDS 0 f", set_count),
        ("HEXPIRE h 1 FIELDS x f", set_count),
        ("HEXPIRE h 1 FIELDS 2 f", COUNT_DIFFERS),
        ("HEXPIRE h 1 FIELDS 9223372036854775807 f", COUNT_DIFFERS),
        (
            "HEXPIRE h 1 FIELDS 1",
            "(error) ERR wrong number of arguments for 'hexpire' command",
        ),
        ("HTTL h FIELD 1 f", NO_FIELDS),
        ("HTTL h FIELDS 0 f", NOT_POSITIVE),
        ("HPERSIST h FIELDS x f", NOT_POSITIVE),
        ("HGETDEL h FIELDS -1 f", NOT_POSITIVE),
        ("HGETDEL h FIELDS 2 f", COUNT_DIFFERS),
        ("HGETEX h KEEPTTL FIELDS 1 f", NO_FIELDS),
        ("HGETEX h EX 1 PERSIST FIELDS 1 f", NO_FIELDS),
        ("HGETEX h EX x FIELDS 1 f", NOT_INT),
        ("HGETEX h EX -1 FIELDS 1 f", negative),
        (
            "HGETEX h EXAT 99999999999 FIELDS 1 f",
            "(error) ERR invalid expire time in 'hgetex' command",
        ),
        ("HGETEX h EX 10 FIELDS", NO_FIELDS),
        ("HSETEX h EX 1 KEEPTTL FIELDS 1 f v", times),
        ("HSETEX h KEEPTTL PX 1 FIELDS 1 f v", times),
        ("HSETEX h PX 1 PX 1 FIELDS 1 f v", times),
        (
            "HSETEX h FNX FXX FIELDS 1 f v",
            "(error) ERR Only one of FXX or FNX arguments can be specified",
        ),
        (
            "HSETEX h FNX KEEPTTL f EX",
            "(error) ERR unknown argument: f",
        ),
        ("HSETEX h FNX XX KEEPTTL EX", times),
        (
            "HSETEX h FNX FIELDS 1 EX",
            "(error) ERR wrong number of arguments for 'hsetex' command",
        ),
        ("HSETEX h FNX XX NX EX", "(error) ERR syntax error"),
        (
            "HSETEX h FNX XX FIELDS 0",
            "(error) ERR invalid number of fields",
        ),
        (
            "HSETEX h FIELDS x f v",
            "(error) ERR invalid number of fields",
        ),
        (
            "HSETEX h FIELDS 2 f v",
            "(error) ERR wrong number of arguments for 'hsetex' command",
        ),
        (
            "HSETEX h FIELDS 9223372036854775807 f v",
            "(error) ERR wrong number of arguments for 'hsetex' command",
        ),
        ("HSETEX none FXX EX -5 FIELDS 1 f v", negative),
        ("HGETALL h", "[\"f\", \"v\"]"),
        ("HTTL none FIELDS 2 f g", "[:-2, :-2]"),
        ("HPERSIST none FIELDS 1 f", "[:-2]"),
        ("HEXPIRE none 5 FIELDS 1 f", "[:-2]"),
        ("HGETEX none FIELDS 1 f", "[nil]"),
        ("DBSIZE", ":2"),
    ]);
}

#[test]
fn deadlines_move_with_their_hash() {
    let Some(server) = server(&[]) else { return };
    let at = "7000000000123";
    let mut raw = server.raw();
    raw.ask(&format!("HSETEX h PXAT {at} FIELDS 2 a 1 b 2"));
    raw.ask("HSET h c 3");
    let told = format!("[:{at}, :{at}, :-1]");
    let check = |raw: &mut Raw, request: &str, key: &str| {
        raw.ask(request);
        assert_eq!(
            raw.ask(&format!("HPEXPIRETIME {key} FIELDS 3 a b c")),
            told,
            "{request}"
        );
    };
    check(&mut raw, "PING", "h");
    check(&mut raw, "COPY h copy", "copy");
    check(&mut raw, "RENAME h renamed", "renamed");
    check(&mut raw, "MOVE renamed 1", "copy");
    raw.ask("SELECT 1");
    check(&mut raw, "PING", "renamed");
    check(&mut raw, "SWAPDB 0 1", "copy");
    // Their database knows how many such hashes it has.
    raw.ask("SET plain x");
    for (change, count) in [
        ("PING", 1),
        ("DEL copy", 0),
        ("HSETEX h EX 100 FIELDS 1 f v", 1),
        ("COPY h h2", 2),
        ("HDEL h2 f", 1),
        ("SET h x", 0),
        ("HSETEX h2 EX 100 FIELDS 1 f v", 1),
        ("HPERSIST h2 FIELDS 1 f", 0),
        ("HEXPIRE h2 100 FIELDS 1 f", 1),
        ("HSET h2 f v", 0),
        ("HEXPIRE h2 100 FIELDS 1 f", 1),
        ("FLUSHDB", 0),
    ] {
        raw.ask(change);
        raw.ask("SET plain x");
        let told = server.info("db1");
        assert!(
            told.ends_with(&format!("subexpiry={count}")),
            "{change}: {told}"
        );
    }
    raw.ask("HSETEX h EX 100 FIELDS 1 f v");
    assert_eq!(raw.ask("OBJECT ENCODING h"), "\"hashtable\"");
}

#[test]
fn fields_vanish_though_nobody_looks_and_events_tell() {
    let Some(server) = server(&["--notify-keyspace-events", "Ehgn"]) else {
        return;
    };
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, events) in [
        (
            "HSETEX h EX 100 FIELDS 2 a 1 b 2",
            &["new", "hset", "hexpire"][..],
        ),
        ("HSETEX h KEEPTTL FIELDS 1 a 1", &["hset"]),
        ("HEXPIRE h 200 FIELDS 2 a x", &["hexpire"]),
        ("HEXPIRE h 100 GT FIELDS 1 a", &[]),
        ("HGETEX h FIELDS 1 a", &[]),
        ("HGETEX h EX 100 FIELDS 1 a", &["hexpire"]),
        ("HGETEX h PERSIST FIELDS 2 a x", &["hpersist"]),
        ("HPERSIST h FIELDS 1 b", &["hpersist"]),
        ("HPERSIST h FIELDS 1 b", &[]),
        ("HGETEX h PXAT 1 FIELDS 1 a", &["hdel"]),
        ("HSETEX h EX 0 FIELDS 1 new v", &["hset", "hdel"]),
        ("HGETDEL h FIELDS 2 x b", &["hdel", "del"]),
        (
            "HSETEX h PX 5 FIELDS 1 a 1",
            &["new", "hset", "hexpire", "hexpired", "del"],
        ),
        ("HSET h a 1", &["new", "hset"]),
        (
            "HSETEX h PX 5 FIELDS 2 b 1 c 1",
            &["hset", "hexpire", "hexpired"],
        ),
        ("HEXPIRE h 0 FIELDS 1 a", &["hdel", "del"]),
    ] {
        raw.ask(request);
        for event in events {
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{event}\", \"h\"]");
            assert!(
                told.ends_with(&channel),
                "{told}, not {event} after {request}"
            );
        }
    }
    assert_eq!(server.info("expired_subkeys"), "3");
    assert_eq!(server.info("expired_keys"), "0");
}

#[test]
fn a_hash_of_many_due_fields_holds_nobody_up() {
    let Some(server) = server(&["--hash-max-listpack-entries", "0"]) else {
        return;
    };
    let mut raw = server.raw();
    for batch in 0..100 {
        let mut request = "HSETEX h PX 300 FIELDS 500".to_string();
        for n in 0..500 {
            request += &format!(" field:{} v", batch * 500 + n);
        }
        raw.ask(&request);
    }
    raw.ask("HSET h stays v");
    wait_until("the end of the fields", || raw.ask("HLEN h") == ":1");
    assert_eq!(server.info("expired_subkeys"), "50000");
    assert_eq!(raw.ask("HGETALL h"), "[\"stays\", \"v\"]");
    assert!(server.info("db0").ends_with("subexpiry=0"));
}

#[test]
fn scans_show_names_only_where_asked() {
    let Some(server) = server(&[]) else { return };
    server.check(&[
        ("HSET h a 1 b 2", ":2"),
        ("HSCAN h 0 NOVALUES", "[\"0\", [\"a\", \"b\"]]"),
        ("HSCAN h 0 novalues match b", "[\"0\", [\"b\"]]"),
        ("HSCAN h 0 count 5 novalues", "[\"0\", [\"a\", \"b\"]]"),
        ("HSCAN h 0", "[\"0\", [\"a\", \"1\", \"b\", \"2\"]]"),
        ("SCAN 0 NOVALUES", "(error) ERR syntax error"),
    ]);
}
