//! Clients that wait for lists: who is served, by what, in which order, and how waiting ends.

use crate::harness::{Raw, Server, wait_until};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";

fn blocked(server: &Server, count: usize) {
    wait_until(&format!("{count} blocked clients"), || {
        server.info("blocked_clients") == count.to_string()
    });
}

/// A new client that sends this request and waits, behind all others.
fn waiting(server: &Server, request: &str) -> Raw {
    let before: usize = server.info("blocked_clients").parse().expect("a number");
    let mut raw = server.raw();
    raw.command(&request.split(' ').collect::<Vec<_>>());
    blocked(server, before + 1);
    raw
}

#[test]
fn who_came_first_is_served_first_at_each_key() {
    let server = Server::start();
    let mut a = waiting(&server, "BLPOP k l 0");
    let mut b = waiting(&server, "BRPOP l k k 0");
    let mut c = waiting(&server, "BLMPOP 0 2 x k RIGHT COUNT 2");
    let mut d = waiting(&server, "BLPOP k 0");
    server.check(&[("RPUSH l 1 2", ":2"), ("LLEN l", ":0")]);
    assert_eq!(a.reply(), "[\"l\", \"1\"]");
    assert_eq!(b.reply(), "[\"l\", \"2\"]");
    blocked(&server, 2);
    server.check(&[
        ("RPUSH k 1 2 3 4", ":4"),
        ("LRANGE k 0 -1", "[\"2\"]"),
        ("LPUSH x y", ":1"),
    ]);
    assert_eq!(c.reply(), "[\"k\", [\"4\", \"3\"]]");
    assert_eq!(d.reply(), "[\"k\", \"1\"]");
    blocked(&server, 0);
    // A key that is there is taken at once, in the order of the request.
    assert_eq!(d.ask("BLPOP none x k 0"), "[\"x\", \"y\"]");
}

#[test]
fn keys_that_come_by_other_ways_wake_too() {
    let server = Server::start();
    let ways: &[(&str, &[(&str, &str)])] = &[
        ("RENAME", &[("RPUSH from v", ":1"), ("RENAME from k", "OK")]),
        (
            "RENAMENX",
            &[("RPUSH from v", ":1"), ("RENAMENX from k", ":1")],
        ),
        (
            "COPY",
            &[
                ("RPUSH from v", ":1"),
                ("COPY from k", ":1"),
                ("DEL from", ":1"),
            ],
        ),
        (
            "MOVE",
            &[("SELECT 1", "OK"), ("RPUSH k v", ":1"), ("MOVE k 0", ":1")],
        ),
        (
            "SWAPDB",
            &[
                ("SELECT 1", "OK"),
                ("RPUSH k v", ":1"),
                ("SWAPDB 0 1", "OK"),
            ],
        ),
        (
            "LMOVE",
            &[("RPUSH from v", ":1"), ("LMOVE from k LEFT LEFT", "\"v\"")],
        ),
        (
            "a transaction",
            &[
                ("MULTI", "OK"),
                ("RPUSH k gone", "QUEUED"),
                ("DEL k", "QUEUED"),
                ("LPUSH k v", "QUEUED"),
                ("EXEC", "[:1, :1, :1]"),
            ],
        ),
        (
            "another type in between",
            &[
                ("SET k s", "OK"),
                ("DEL k", ":1"),
                ("HSET k f v", ":1"),
                ("DEL k", ":1"),
                ("RPUSH k v", ":1"),
            ],
        ),
    ];
    for (way, dialogue) in ways {
        let mut client = waiting(&server, "BLPOP k 0");
        server.check(dialogue);
        assert_eq!(client.reply(), "[\"k\", \"v\"]", "{way}");
        server.check(&[("DBSIZE", ":0")]);
    }
}

#[test]
fn what_is_no_list_or_no_more_wakes_nobody() {
    let server = Server::start();
    let mut client = waiting(&server, "BLMOVE k to LEFT LEFT 0");
    server.check(&[
        ("SET k v", "OK"),
        ("DEL k", ":1"),
        ("MULTI", "OK"),
        ("RPUSH k v", "QUEUED"),
        ("DEL k", "QUEUED"),
        ("EXEC", "[:1, :1]"),
        ("MULTI", "OK"),
        ("RPUSH k v", "QUEUED"),
        ("SET k s", "QUEUED"),
        ("EXEC", "[:1, OK]"),
        ("DEL k", ":1"),
        ("SELECT 1", "OK"),
        ("RPUSH k v", ":1"),
    ]);
    blocked(&server, 1);
    // The request runs anew: what it finds wrong then is its answer, and nothing is lost.
    let mut second = waiting(&server, "BLPOP k 0");
    server.check(&[("SET to string", "OK"), ("RPUSH k v", ":1")]);
    assert_eq!(client.reply(), WRONG);
    assert_eq!(second.reply(), "[\"k\", \"v\"]");
}

#[test]
fn one_push_may_pass_through_many_hands() {
    let server = Server::start();
    let mut last = waiting(&server, "BLPOP d 0");
    let mut first = waiting(&server, "BLMOVE a b LEFT RIGHT 0");
    let mut second = waiting(&server, "BRPOPLPUSH b c 0");
    let mut third = waiting(&server, "BLMOVE c d RIGHT LEFT 0");
    let mut circle = waiting(&server, "BLMOVE e e LEFT RIGHT 0");
    server.check(&[("RPUSH a x", ":1"), ("DBSIZE", ":0")]);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.reply(), "\"x\"");
    }
    assert_eq!(last.reply(), "[\"d\", \"x\"]");
    server.check(&[("RPUSH e 1 2", ":2"), ("LRANGE e 0 -1", "[\"2\", \"1\"]")]);
    assert_eq!(circle.reply(), "\"1\"");
    blocked(&server, 0);
}

#[test]
fn waiting_ends_in_other_ways() {
    let server = Server::start();
    let mut main = server.raw();
    let id = |raw: &mut Raw| raw.ask("CLIENT ID").trim_start_matches(':').to_owned();

    let mut told = server.raw();
    let told_id = id(&mut told);
    told.send(b"BLPOP k 0\r\n");
    blocked(&server, 1);
    let timeout = format!("CLIENT UNBLOCK {told_id} TIMEOUT");
    let error = format!("CLIENT UNBLOCK {told_id} ERROR");
    assert_eq!(main.ask(&timeout), ":1");
    assert_eq!(told.reply(), "nil");
    assert_eq!(main.ask(&error), ":0");
    // What was sent behind a request that waits runs when it has been answered.
    told.send(b"BLMOVE k l LEFT LEFT 0\r\nPING\r\nBLPOP k 0\r\nPING\r\n");
    blocked(&server, 1);
    assert_eq!(main.ask(&error), ":1");
    let unblocked = "(error) UNBLOCKED client unblocked via CLIENT UNBLOCK";
    assert_eq!(
        (told.reply(), told.reply()),
        (unblocked.into(), "PONG".into())
    );
    blocked(&server, 1);

    // Who goes away does not take an element along.
    let gone = waiting(&server, "BLPOP k 0");
    drop(gone);
    blocked(&server, 1);
    let mut killed = server.raw();
    let killed_id = id(&mut killed);
    killed.send(b"BLPOP k 0\r\n");
    blocked(&server, 2);
    assert_eq!(main.ask(&format!("CLIENT KILL ID {killed_id}")), ":1");
    let mut next = waiting(&server, "BLPOP k 0");
    assert_eq!(main.ask("RPUSH k 1 2"), ":2");
    assert_eq!(
        (told.reply(), told.reply()),
        ("[\"k\", \"1\"]".into(), "PONG".into())
    );
    assert_eq!(next.reply(), "[\"k\", \"2\"]");
    assert_eq!(killed.read_to_end(), b"");
}

#[test]
fn whose_time_is_up_is_told_so() {
    let server = Server::start();
    let mut raw = server.raw();
    for (request, reply) in [
        ("BLPOP k l 0.001", "*-1\r\n"),
        ("BRPOP k 0.001", "*-1\r\n"),
        ("BLMPOP 0.001 1 k LEFT", "*-1\r\n"),
        ("BLMOVE k l LEFT LEFT 0.001", "*-1\r\n"),
        ("BRPOPLPUSH k l 0.001", "*-1\r\n"),
    ] {
        raw.command(&request.split(' ').collect::<Vec<_>>());
        assert_eq!(raw.read_exact(reply.len()), reply.as_bytes(), "{request}");
    }
    // Where nobody may wait the answer is there at once.
    for request in [
        "MULTI",
        "BLPOP k 0",
        "BLMOVE k l LEFT LEFT 0",
        "BLMPOP 0 1 k LEFT",
    ] {
        raw.ask(request);
    }
    raw.send(b"EXEC\r\n");
    assert_eq!(raw.read_exact(19), b"*3\r\n*-1\r\n$-1\r\n*-1\r\n");
    assert!(raw.ask("HELLO 3").contains("proto"));
    assert_eq!(raw.ask("BLPOP k 0.001"), "nil");
    blocked(&server, 0);
}

#[test]
fn many_wait_and_each_gets_its_own() {
    let server = Server::start();
    let mut clients: Vec<Raw> = (0..200)
        .map(|n| {
            let mut raw = server.raw();
            raw.command(&["BLPOP", &format!("own:{n}"), "k", "0"]);
            blocked(&server, n + 1);
            raw
        })
        .collect();
    let mut main = server.raw();
    for n in (0..200).step_by(2) {
        assert_eq!(main.ask(&format!("RPUSH own:{n} {n}")), ":1");
        assert_eq!(clients[n].reply(), format!("[\"own:{n}\", \"{n}\"]"));
    }
    let values: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    assert_eq!(main.ask(&format!("RPUSH k {}", values.join(" "))), ":101");
    for (n, client) in clients.iter_mut().skip(1).step_by(2).enumerate() {
        assert_eq!(client.reply(), format!("[\"k\", \"{n}\"]"));
    }
    assert_eq!(main.ask("LRANGE k 0 -1"), "[\"100\"]");
    blocked(&server, 0);
}
