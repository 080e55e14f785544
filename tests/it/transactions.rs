//! MULTI, EXEC, DISCARD and WATCH.

use redis::Value;

use crate::harness::{Server, wait_until};

#[test]
fn a_transaction_runs_as_one() {
    let server = Server::start();
    let mut con = server.client();
    let (a, b, c): (String, i64, Option<String>) = redis::pipe()
        .atomic()
        .cmd("SET")
        .arg("a")
        .arg("1")
        .cmd("INCRBY")
        .arg("a")
        .arg(9)
        .cmd("GET")
        .arg("none")
        .query(&mut con)
        .expect("a transaction works");
    assert_eq!((a.as_str(), b, c), ("OK", 10, None));
}

#[test]
fn a_counter_is_never_lost_between_clients() {
    let server = Server::start();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let mut con = server.client();
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let _: Vec<i64> = redis::transaction(&mut con, &["n"], |con, pipe| {
                        let n: Option<i64> = redis::cmd("GET").arg("n").query(con)?;
                        pipe.cmd("SET").arg("n").arg(n.unwrap_or(0) + 1).ignore();
                        pipe.cmd("GET").arg("n").query(con)
                    })
                    .expect("it succeeds in the end");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("no panic");
    }
    server.check(&[("GET n", "\"200\"")]);
}

#[test]
fn what_is_queued_and_what_is_refused() {
    Server::start().check(&[
        ("EXEC", "(error) ERR EXEC without MULTI"),
        ("DISCARD", "(error) ERR DISCARD without MULTI"),
        ("MULTI", "OK"),
        ("MULTI", "(error) ERR MULTI calls can not be nested"),
        ("WATCH a", "(error) ERR WATCH inside MULTI is not allowed"),
        ("SET a 1", "QUEUED"),
        ("HSET a f v", "QUEUED"),
        ("INCR a", "QUEUED"),
        (
            "EXEC",
            "[OK, (error) WRONGTYPE Operation against a key holding the wrong kind of value, :2]",
        ),
        ("MULTI", "OK"),
        (
            "NOSUCH",
            "(error) ERR unknown command 'NOSUCH', with args beginning with: ",
        ),
        ("SET a 5", "QUEUED"),
        (
            "EXEC",
            "(error) EXECABORT Transaction discarded because of previous errors.",
        ),
        ("MULTI", "OK"),
        (
            "GET",
            "(error) ERR wrong number of arguments for 'get' command",
        ),
        (
            "EXEC",
            "(error) EXECABORT Transaction discarded because of previous errors.",
        ),
        ("MULTI", "OK"),
        ("SET a 9", "QUEUED"),
        ("DISCARD", "OK"),
        ("GET a", "\"2\""),
        ("MULTI", "OK"),
        ("EXEC", "[]"),
        ("MULTI", "OK"),
        ("SELECT 1", "QUEUED"),
        ("SET a one", "QUEUED"),
        ("EXEC", "[OK, OK]"),
        ("GET a", "\"one\""),
        ("SELECT 0", "OK"),
        ("GET a", "\"2\""),
    ]);
}

#[test]
fn a_watched_key_that_changed_ends_the_transaction() {
    let server = Server::start();
    let (mut one, mut two) = (server.raw(), server.raw());
    // (before the watch, between, whether EXEC runs)
    let cases = [
        ("SET k 1", "SET k 2", false),
        ("SET k 1", "SET k 1", false),
        ("SET k 1", "GET k", true),
        ("SET k 1", "DEL k", false),
        ("DEL k", "SET k 1", false),
        ("DEL k", "DEL k", true),
        ("DEL k", "SET other 1", true),
        ("SET k 1", "EXPIRE k 100", false),
        ("SET k 1", "RENAME k other", false),
        ("SET k 1", "FLUSHALL", false),
        ("DEL k", "FLUSHALL", true),
        ("SET k 1", "FLUSHDB", false),
        ("SET k 1", "SWAPDB 0 1", false),
        ("SET k 1", "APPEND k x", false),
        ("SET k 1 PX 1", "DEBUG SLEEP 0.01", false),
    ];
    for (before, between, runs) in cases {
        two.ask("FLUSHALL");
        two.ask(before);
        // A key that is due before the watch is another case.
        if before.contains("PX") {
            two.ask("SET k 1 PX 30");
        }
        assert_eq!(one.ask("WATCH k"), "OK");
        two.ask(between);
        if before.contains("PX") {
            wait_until("the key's deadline", || two.ask("EXISTS k") == ":0");
        }
        one.ask("MULTI");
        one.ask("PING");
        let expected = if runs { "[PONG]" } else { "nil" };
        assert_eq!(one.ask("EXEC"), expected, "{before}, WATCH, {between}");
    }
}

#[test]
fn unwatch_discard_and_exec_end_a_watch() {
    let server = Server::start();
    let (mut one, mut two) = (server.raw(), server.raw());
    for ends in [
        &["UNWATCH"][..],
        &["MULTI", "DISCARD"],
        &["MULTI", "EXEC"],
        &["RESET"],
    ] {
        assert_eq!(one.ask("WATCH k"), "OK");
        for request in ends {
            one.ask(request);
        }
        two.ask("INCR k");
        one.ask("MULTI");
        one.ask("PING");
        assert_eq!(one.ask("EXEC"), "[PONG]", "after {ends:?}");
    }
}

#[test]
fn others_wait_until_the_transaction_is_over() {
    let server = Server::start();
    let (mut one, mut two) = (server.client(), server.client());
    let mut pipe = redis::pipe();
    pipe.atomic();
    for _ in 0..1_000 {
        pipe.cmd("INCR").arg("n").ignore();
    }
    let packed = pipe.get_packed_pipeline();
    let mut seen = 0;
    for _ in 0..20 {
        one.send_packed_command(&packed).expect("the server reads");
        let n: Option<i64> = redis::cmd("GET")
            .arg("n")
            .query(&mut two)
            .expect("a number");
        assert_eq!(n.unwrap_or(0) % 1_000, 0, "half of a transaction was seen");
        seen += 1;
        // +OK, 1,000 times +QUEUED, the array
        for _ in 0..1_002 {
            assert!(!matches!(one.recv_response(), Ok(Value::Nil) | Err(_)));
        }
    }
    assert_eq!(seen, 20);
    server.check(&[("GET n", "\"20000\"")]);
}

#[test]
fn a_client_that_leaves_takes_its_transaction_along() {
    let server = Server::start();
    let mut one = server.raw();
    for request in ["WATCH k", "MULTI", "SET k 1"] {
        one.ask(request);
    }
    drop(one);
    server.check(&[("EXISTS k", ":0"), ("INCR k", ":1")]);
}

#[test]
fn exec_is_admitted_by_what_it_will_run() {
    let server = Server::start();
    let (mut a, mut b) = (server.raw(), server.raw());
    a.ask("SET k v");
    // Reads may run, queued writes that need memory may not.
    for (queued, expected) in [
        ("GET k", "[\"v\"]"),
        ("DEL none", "[:0]"),
        (
            "SET k w",
            "(error) EXECABORT Transaction discarded because of: OOM command not allowed when \
             used memory > 'maxmemory'.",
        ),
    ] {
        a.ask("MULTI");
        assert_eq!(a.ask(queued), "QUEUED");
        b.ask("CONFIG SET maxmemory 1");
        assert_eq!(a.ask("EXEC"), expected, "{queued}");
        assert_eq!(a.ask("EXEC"), "(error) ERR EXEC without MULTI");
        a.ask("MULTI");
        assert!(a.ask("GET k").contains("OOM"), "a queue takes memory");
        assert_eq!(a.ask("DISCARD"), "OK");
        b.ask("CONFIG SET maxmemory 0");
    }
    server.check(&[
        ("MULTI", "OK"),
        (
            "EXEC now",
            "(error) EXECABORT Transaction discarded because of: wrong number of arguments for \
             'exec' command",
        ),
        ("EXEC", "(error) ERR EXEC without MULTI"),
        ("MULTI", "OK"),
        (
            "MULTI now",
            "(error) ERR wrong number of arguments for 'multi' command",
        ),
        (
            "EXEC",
            "(error) EXECABORT Transaction discarded because of previous errors.",
        ),
    ]);
}

#[test]
fn a_key_that_was_dead_when_the_watch_began_is_no_key() {
    let server = Server::start();
    let (mut a, mut b) = (server.raw(), server.raw());
    b.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    let dead = |b: &mut crate::harness::Raw| {
        b.ask("FLUSHALL");
        b.ask("SET k v");
        // Nothing may look at the key meanwhile: that would remove it.
        b.ask("PEXPIRE k 1");
        assert_eq!(b.ask("DEBUG SLEEP 0.005"), "OK");
    };
    for (deed, expected) in [
        ("PING", "[PONG]"),
        ("GET k", "[PONG]"),
        ("DEL k", "[PONG]"),
        ("FLUSHALL", "[PONG]"),
        ("SET k w", "nil"),
    ] {
        dead(&mut b);
        a.ask("WATCH k");
        b.ask(deed);
        a.ask("MULTI");
        a.ask("PING");
        assert_eq!(a.ask("EXEC"), expected, "{deed}");
    }
    // Alive when the watch began, dead at EXEC: that is a change.
    b.ask("FLUSHALL");
    b.ask("SET k v PX 50");
    a.ask("WATCH k");
    wait_until("the end of the key", || b.ask("EXISTS k") == ":0");
    a.ask("MULTI");
    assert_eq!(a.ask("EXEC"), "nil");
}
