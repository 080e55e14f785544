//! Bounds: many clients, slow ones, greedy ones, absent ones; the others keep being served.

use std::io::Write;
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::{Server, frame, is_oracle, wait_until};

/// Lets this process have as many descriptors as it may, and tells how many.
fn raise_descriptors() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it is a known resource");
    let wanted = hard.min(1_000_000);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).expect("up to the hard limit it is ours");
    wanted
}

#[test]
fn ten_thousand_connections_at_once() {
    let most = raise_descriptors();
    let count = 10_000.min(most.saturating_sub(500)) as usize;
    let server = Server::with(&["--maxclients", "10000", "--tcp-backlog", "4096"]);
    let mut witness = server.raw();
    let mut held: Vec<TcpStream> = Vec::new();
    // Two are the witness's and INFO's.
    while held.len() < count - 2 {
        let mut socket =
            TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
        socket.write_all(b"PING\r\n").expect("the server reads");
        held.push(socket);
        if held.len().is_multiple_of(500) {
            assert_eq!(witness.ask("PING"), "PONG", "with {} others", held.len());
        }
    }
    let all = (count - 1).to_string();
    wait_until("every client to be accepted", || {
        witness
            .ask("INFO clients")
            .contains(&format!("connected_clients:{all}\\r\\n"))
    });
    let mut last = server.raw();
    assert_eq!(last.ask("PING"), "PONG");
    drop(last);
    drop(held);
    wait_until("every client to be gone", || {
        witness
            .ask("INFO clients")
            .contains("connected_clients:1\\r\\n")
    });
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::with(&["--maxclients", "3"]);
    // One after the other: the harness's own connection may only just have ended.
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = server.raw();
        assert_eq!(raw.ask("PING"), "PONG");
        held.push(raw);
    }
    assert_eq!(
        server.raw().read_to_end(),
        b"-ERR max number of clients reached\r\n"
    );
    drop(held.pop());
    wait_until("a place to be free again", || {
        held[0]
            .ask("INFO clients")
            .contains("connected_clients:2\\r\\n")
    });
    assert_eq!(server.raw().ask("PING"), "PONG");
    assert!(
        server
            .info("rejected_connections")
            .parse::<i64>()
            .expect("a count")
            >= 1
    );
}

#[test]
fn a_reader_that_never_reads_is_cut_off() {
    let server = Server::with(&["--client-output-buffer-limit", "normal 2mb 0 0"]);
    let mut witness = server.raw();
    witness.command(&["SET", "big", &"x".repeat(100_000)]);
    assert_eq!(witness.reply(), "OK");
    let greedy = server.raw();
    let mut socket = greedy.socket.try_clone().expect("a second handle");
    socket
        .write_all(&frame(&["CLIENT", "SETNAME", "greedy"]))
        .expect("the server reads");
    // 2,000 times 100 kB, far more than the kernel's buffers hold.
    let asks = b"GET big\r\n".repeat(2_000);
    socket.write_all(&asks).ok();
    wait_until("the greedy client's end", || {
        !witness.ask("CLIENT LIST").contains("name=greedy")
    });
    let used: i64 = server.info("used_memory").parse().expect("a count");
    assert!(used < 60_000_000, "{used} bytes are in use behind it");
    assert_eq!(witness.ask("PING"), "PONG");
}

#[test]
fn a_slow_reader_gets_everything_in_the_end() {
    let server = Server::start();
    let mut witness = server.raw();
    let value = "x".repeat(50_000);
    witness.command(&["SET", "big", &value]);
    assert_eq!(witness.reply(), "OK");
    let mut slow = server.raw();
    slow.send(&b"GET big\r\nECHO mark\r\n".repeat(400));
    for _ in 0..20 {
        assert_eq!(witness.ask("PING"), "PONG");
    }
    for _ in 0..400 {
        assert_eq!(slow.reply().len(), value.len() + 2);
        assert_eq!(slow.reply(), "\"mark\"");
    }
}

#[test]
fn an_endless_request_is_cut_off() {
    let server = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut witness = server.raw();
    let mut raw = server.raw();
    raw.send(b"*2\r\n$4\r\nECHO\r\n$5000000\r\n");
    raw.socket.write_all(&vec![b'x'; 4_000_000]).ok();
    assert_eq!(raw.read_to_end(), b"");
    assert_eq!(witness.ask("PING"), "PONG");
}

#[test]
fn unfinished_requests_hold_nobody_up() {
    let server = Server::start();
    let held: Vec<_> = (0..500)
        .map(|i| {
            let mut raw = server.raw();
            let whole = frame(&["SET", "key", &"v".repeat(i)]);
            raw.send(&whole[..1 + i % (whole.len() - 1)]);
            raw
        })
        .collect();
    server.check(&[
        ("SET other 1", "OK"),
        ("GET other", "\"1\""),
        ("EXISTS key", ":0"),
    ]);
    drop(held);
    let mut witness = server.raw();
    wait_until("every client to be gone", || {
        witness
            .ask("INFO clients")
            .contains("connected_clients:1\\r\\n")
    });
    assert_eq!(witness.ask("DBSIZE"), ":1");
}

#[test]
fn an_idle_client_is_sent_away_when_asked_for() {
    let server = Server::with(&["--timeout", "1"]);
    let mut idle = server.raw();
    assert_eq!(idle.ask("PING"), "PONG");
    assert_eq!(idle.read_to_end(), b"");
}

#[test]
fn a_length_that_is_never_sent_costs_nothing() {
    let server = Server::start();
    let before: i64 = server.info("used_memory").parse().expect("a count");
    let held: Vec<_> = (0..50)
        .map(|_| {
            let mut raw = server.raw();
            raw.send(b"*2\r\n$4\r\nECHO\r\n$500000000\r\nx");
            raw
        })
        .collect();
    let mut witness = server.raw();
    assert_eq!(witness.ask("PING"), "PONG");
    let after: i64 = server.info("used_memory").parse().expect("a count");
    if !is_oracle() {
        assert!(
            after - before < 20_000_000,
            "{} bytes for 50 promises",
            after - before
        );
    }
    drop(held);
}

#[test]
fn a_transaction_may_not_queue_more_than_a_query_may_be() {
    if is_oracle() {
        return; // 7.0.15 counts the buffer only.
    }
    let server = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("MULTI"), "OK");
    let big = "x".repeat(300_000);
    for _ in 0..10 {
        // It may be over before all is sent.
        let _ = raw.socket.write_all(&frame(&["SET", "k", &big]));
    }
    let _ = raw.socket.shutdown(std::net::Shutdown::Write);
    let end = raw.read_to_end();
    let queued = end.windows(7).filter(|w| w == b"+QUEUED").count();
    assert!(queued <= 5, "{queued} requests were queued");
    server.check(&[("EXISTS k", ":0")]);
}
