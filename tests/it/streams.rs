//! Streams: the shapes of replies in both protocols, and waiting: who is woken, by what, and with
//! what answer.

use crate::harness::{Raw, Server, is_oracle, wait_until};

/// Sends a request that is going to wait, and waits until it does.
fn park(server: &Server, raw: &mut Raw, request: &str) {
    let before: u32 = blocked(server);
    raw.command(&request.split(' ').collect::<Vec<_>>());
    wait_until(request, || blocked(server) == before + 1);
}

fn blocked(server: &Server) -> u32 {
    server.info("blocked_clients").parse().expect("a number")
}

#[test]
fn replies_in_both_protocols() {
    let server = Server::start();
    let mut raw = server.raw();
    for (request, reply) in [
        ("XADD s 1-1 f 1 g 2", "\"1-1\""),
        ("XADD s 1-* f 3", "\"1-2\""),
        ("XGROUP CREATE s g 0", "OK"),
        (
            "XREAD COUNT 1 STREAMS s none 0 0",
            "[[\"s\", [[\"1-1\", [\"f\", \"1\", \"g\", \"2\"]]]]]",
        ),
        ("XREAD STREAMS s 1-2", "nil"),
        (
            "XREADGROUP GROUP g c COUNT 1 STREAMS s >",
            "[[\"s\", [[\"1-1\", [\"f\", \"1\", \"g\", \"2\"]]]]]",
        ),
        ("XDEL s 1-1", ":1"),
        (
            "XREADGROUP GROUP g c STREAMS s 0",
            "[[\"s\", [[\"1-1\", nil]]]]",
        ),
        ("XPENDING s g", "[:1, \"1-1\", \"1-1\", [[\"c\", \"1\"]]]"),
        ("XAUTOCLAIM s g d 0 - COUNT 1", "[\"0-0\", [], [\"1-1\"]]"),
        ("XPENDING s g", "[:0, nil, nil, nil]"),
        // 7.0 has not made it by XAUTOCLAIM, which gave it nothing.
        ("XGROUP CREATECONSUMER s g d", ""),
        ("XPENDING s g - + 5 nobody", "[]"),
        ("XRANGE s - + COUNT 0", "nil"),
        ("XRANGE none - +", "[]"),
        ("HELLO 3", ""),
        (
            "XREAD STREAMS s none 0 0",
            "{\"s\" => [[\"1-2\", [\"f\", \"3\"]]]}",
        ),
        (
            "XREADGROUP GROUP g c STREAMS s >",
            "{\"s\" => [[\"1-2\", [\"f\", \"3\"]]]}",
        ),
        ("XREAD STREAMS s 1-2", "nil"),
        (
            "XINFO GROUPS s",
            "[{\"name\" => \"g\", \"consumers\" => :2, \"pending\" => :1, \"last-delivered-id\" => \"1-2\", \"entries-read\" => :2, \"lag\" => :0}]",
        ),
        ("XTRIM s MAXLEN 0", ":1"),
        // Without entries it is a stream still.
        ("TYPE s", "stream"),
        ("XLEN s", ":0"),
        (
            "XADD s 1-2 f v",
            "(error) ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ),
    ] {
        let got = raw.ask(request);
        assert!(
            got == reply || reply.is_empty(),
            "the reply to {request}: {got}"
        );
    }
}

#[test]
fn a_consumer_is_seen_when_it_asks_and_active_when_it_gets() {
    if is_oracle() {
        return; // 7.2 has made it so.
    }
    let server = Server::start();
    let mut raw = server.raw();
    let fields = |reply: &str| reply.split("inactive\", ").nth(1).map(str::to_owned);
    raw.ask("XGROUP CREATE s g $ MKSTREAM");
    assert_eq!(raw.ask("XREADGROUP GROUP g c STREAMS s >"), "nil");
    let idle = raw.ask("XINFO CONSUMERS s g");
    assert_eq!(fields(&idle).as_deref(), Some(":-1]]"), "{idle}");
    raw.ask("XADD s 1-1 f v");
    raw.ask("XREADGROUP GROUP g c STREAMS s >");
    let active = raw.ask("XINFO CONSUMERS s g");
    assert!(!active.contains(":-1"), "{active}");
    // Taking over makes a consumer, whether there is anything to take or not.
    assert_eq!(raw.ask("XCLAIM s g taker 1000000 1-1"), "[]");
    assert_eq!(
        raw.ask("XAUTOCLAIM s g sweeper 1000000 0"),
        "[\"0-0\", [], []]"
    );
    assert_eq!(raw.ask("XGROUP CREATECONSUMER s g taker"), ":0");
    assert_eq!(raw.ask("XGROUP CREATECONSUMER s g sweeper"), ":0");
}

#[test]
fn all_who_wait_for_a_stream_get_the_entry() {
    let server = Server::start();
    let (mut a, mut b, mut c) = (server.raw(), server.raw(), server.raw());
    c.ask("XADD s 1-1 f old");
    park(&server, &mut a, "XREAD BLOCK 0 STREAMS none s 0 $");
    park(&server, &mut b, "XREAD COUNT 1 BLOCK 0 STREAMS s 1-1");
    if !is_oracle() {
        // An entry that comes and goes in one transaction wakes nobody; 7.0 answers without entries.
        c.ask("MULTI");
        c.ask("XADD s 2-1 f gone");
        c.ask("XDEL s 2-1");
        assert_eq!(c.ask("EXEC"), "[\"2-1\", :1]");
        assert_eq!(blocked(&server), 2);
    }
    c.ask("XADD s 3-1 f new");
    let entry = "[[\"s\", [[\"3-1\", [\"f\", \"new\"]]]]]";
    assert_eq!(a.reply(), entry);
    assert_eq!(b.reply(), entry);
    // The connections go on.
    assert_eq!(a.ask("PING"), "PONG");
    park(&server, &mut a, "XREAD BLOCK 20 STREAMS s $");
    assert_eq!(a.reply(), "nil");
    assert_eq!(
        a.ask("XREAD BLOCK 0 STREAMS s 0").matches("-1\"").count(),
        2
    );
    // Nobody waits inside a transaction.
    a.ask("MULTI");
    a.ask("XREAD BLOCK 0 STREAMS s $");
    assert_eq!(a.ask("EXEC"), "[nil]");
}

#[test]
fn a_group_gives_each_entry_to_one_of_those_who_wait() {
    let server = Server::start();
    let (mut a, mut b, mut c) = (server.raw(), server.raw(), server.raw());
    c.ask("XGROUP CREATE s g $ MKSTREAM");
    park(
        &server,
        &mut a,
        "XREADGROUP GROUP g a COUNT 1 BLOCK 0 STREAMS s >",
    );
    park(
        &server,
        &mut b,
        "XREADGROUP GROUP g b COUNT 1 BLOCK 0 STREAMS s >",
    );
    c.ask("XADD s 1-1 f v");
    assert_eq!(a.reply(), "[[\"s\", [[\"1-1\", [\"f\", \"v\"]]]]]");
    assert_eq!(blocked(&server), 1);
    // The history of a consumer is answered at once, however empty.
    assert_eq!(
        a.ask("XREADGROUP GROUP g c BLOCK 0 STREAMS s 0"),
        "[[\"s\", []]]"
    );
    c.ask("XADD s 2-1 f v");
    assert_eq!(b.reply(), "[[\"s\", [[\"2-1\", [\"f\", \"v\"]]]]]");
    assert_eq!(
        c.ask("XPENDING s g"),
        "[:2, \"1-1\", \"2-1\", [[\"a\", \"1\"], [\"b\", \"1\"]]]"
    );
}

#[test]
fn whoever_reads_through_a_group_learns_of_its_end() {
    const GONE: &str =
        "(error) NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
    const UNBLOCKED: &str = "(error) UNBLOCKED the stream key no longer exists";
    let server = Server::start();
    let (mut a, mut c) = (server.raw(), server.raw());
    for (ends, newer) in [
        (&["XGROUP DESTROY s g"][..], GONE),
        (&["DEL s"], GONE),
        (&["UNLINK s"], GONE),
        (&["FLUSHDB"], GONE),
        (&["SWAPDB 0 5"], GONE),
        (&["RENAME s other"], GONE),
        (&["PEXPIREAT s 1"], GONE),
        (&["SET s v"], WRONG),
        (&["MULTI", "DEL s", "HSET s f v", "EXEC"], WRONG),
    ] {
        c.ask("FLUSHALL");
        c.ask("XGROUP CREATE s g $ MKSTREAM");
        park(&server, &mut a, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
        for request in ends {
            c.ask(request);
        }
        let reply = a.reply();
        let older = is_oracle() && (reply == UNBLOCKED || reply.contains("NOGROUP"));
        assert!(reply == newer || older, "{ends:?}: {reply}");
        assert_eq!(a.ask("PING"), "PONG");
    }
    // A key that goes and comes back within a unit is not missed; reading on is.
    c.ask("FLUSHALL");
    c.ask("XGROUP CREATE s g $ MKSTREAM");
    park(&server, &mut a, "XREADGROUP GROUP g a BLOCK 0 STREAMS s >");
    for request in [
        "MULTI",
        "DEL s",
        "XGROUP CREATE s g $ MKSTREAM",
        "XADD s 7-1 f v",
        "EXEC",
    ] {
        c.ask(request);
    }
    assert_eq!(a.reply(), "[[\"s\", [[\"7-1\", [\"f\", \"v\"]]]]]");
}

#[test]
fn a_plain_reader_waits_on_whatever_becomes_of_the_key() {
    let server = Server::start();
    let (mut a, mut c) = (server.raw(), server.raw());
    c.ask("XADD s 5-1 f v");
    park(&server, &mut a, "XREAD BLOCK 0 STREAMS s $");
    for request in [
        "DEL s",
        "SET s v",
        "DEL s",
        "XADD s 3-1 f low",
        "DEL s",
        "XADD o 9-1 f v",
    ] {
        c.ask(request);
    }
    assert_eq!(blocked(&server), 1);
    // `$` was 5-1 when it began to wait, and still is.
    assert_eq!(c.ask("RENAME o s"), "OK");
    assert_eq!(a.reply(), "[[\"s\", [[\"9-1\", [\"f\", \"v\"]]]]]");
}

#[test]
fn the_last_entry_is_asked_for_by_a_plus() {
    if is_oracle() {
        return; // Since 7.4.
    }
    let server = Server::start();
    let (mut a, mut c) = (server.raw(), server.raw());
    assert_eq!(c.ask("XREAD STREAMS s +"), "nil");
    park(&server, &mut a, "XREAD BLOCK 0 STREAMS s +");
    c.ask("XADD s 1-1 f 1");
    assert_eq!(a.reply(), "[[\"s\", [[\"1-1\", [\"f\", \"1\"]]]]]");
    c.ask("XADD s 2-1 f 2");
    c.ask("XADD s 3-1 f 3");
    c.ask("XDEL s 3-1");
    assert_eq!(
        c.ask("XREAD COUNT 9 STREAMS s +"),
        "[[\"s\", [[\"2-1\", [\"f\", \"2\"]]]]]"
    );
    c.ask("XGROUP CREATE s g 0");
    let refused = c.ask("XREADGROUP GROUP g c STREAMS s +");
    assert!(
        refused.starts_with("(error) ERR The + ID is meaningless"),
        "{refused}"
    );
}

#[test]
fn a_stream_survives_being_dumped() {
    let server = Server::start();
    let mut raw = server.raw();
    for n in 1..=350 {
        raw.ask(&format!("XADD s {n}-1 temp {} hum {}", n % 50, n % 90));
    }
    raw.ask("XGROUP CREATE s g 0 ENTRIESREAD 0");
    raw.ask("XREADGROUP GROUP g one COUNT 30 STREAMS s >");
    raw.ask("XREADGROUP GROUP g two COUNT 30 STREAMS s >");
    raw.ask("XACK s g 3-1 35-1");
    raw.ask("XDEL s 5-1 100-1 350-1");
    raw.ask("XTRIM s MAXLEN 300");
    assert_eq!(raw.ask("COPY s t"), ":1");
    let seen = |raw: &mut Raw, key: &str| {
        let info = raw.ask(&format!("XINFO STREAM {key}"));
        let groups = raw.ask(&format!("XINFO GROUPS {key}"));
        let digest = raw.ask(&format!("DEBUG DIGEST-VALUE {key}"));
        let pending = raw.ask(&format!("XPENDING {key} g"));
        [info, groups, digest, pending]
    };
    let before = seen(&mut raw, "s");
    assert_eq!(seen(&mut raw, "t"), before);
    raw.command(&["DUMP", "s"]);
    let mut header = Vec::new();
    while !header.ends_with(b"\r\n") {
        header.extend(raw.read_exact(1));
    }
    let len: usize = std::str::from_utf8(&header[1..header.len() - 2])
        .expect("digits")
        .parse()
        .expect("digits");
    let payload = raw.read_exact(len + 2);
    raw.command(&[&b"RESTORE"[..], b"u", b"0", &payload[..len]]);
    assert_eq!(raw.reply(), "OK");
    assert_eq!(seen(&mut raw, "u"), before);
    assert_eq!(
        raw.ask("XADD u 350-1 f v"),
        "(error) ERR The ID specified in XADD is equal or smaller than the target stream top item"
    );
}
