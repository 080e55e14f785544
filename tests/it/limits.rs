//! Bounds: many clients, slow ones, greedy ones, absent ones; the others keep being served.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::{Raw, Server, frame, is_oracle, wait_until};

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
fn who_ends_its_own_half_still_gets_its_replies() {
    // Redis drops what the socket did not take at once.
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let value = "x".repeat(100_000);
    let mut raw = server.raw();
    raw.command(&["SET", "big", &value]);
    assert_eq!(raw.reply(), "OK");
    raw.send(&b"GET big\r\n".repeat(400));
    raw.end_sending();
    let expected = 400 * (value.len() + "$100000\r\n\r\n".len());
    assert_eq!(raw.read_to_end().len(), expected);
    // Neither is anything left of those who never read and go away altogether.
    let mut gone = server.raw();
    gone.send(&b"GET big\r\n".repeat(400));
    gone.end_sending();
    let mut witness = server.raw();
    assert_eq!(witness.ask("PING"), "PONG");
    drop(gone);
    wait_for_clients(&mut witness, 1);
}

fn wait_for_clients(witness: &mut Raw, count: usize) {
    let line = format!("connected_clients:{count}\\r\\n");
    wait_until(&line, || witness.ask("INFO clients").contains(&line));
}

/// How often a command has run.
fn calls(witness: &mut Raw, name: &str) -> u64 {
    let text = witness.ask("INFO commandstats");
    let from = format!("cmdstat_{name}:calls=");
    let digits = text.split(&from).nth(1).unwrap_or("0,");
    let digits = digits.split(',').next().expect("there is a first part");
    digits.parse().expect("a count")
}

#[test]
fn nothing_runs_for_a_client_that_leaves_too_much_unread() {
    // Redis keeps every reply in memory.
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut witness = server.raw();
    let value = "x".repeat(4_000_000);
    witness.command(&["SET", "big", &value]);
    assert_eq!(witness.reply(), "OK");
    let mut greedy = server.raw();
    greedy.send(&b"GET big\r\n".repeat(400));
    // 256 MiB are 67 of them; the kernel's buffers hold a few more, and it is looked at each 64.
    wait_until("the greedy client to be held back", || {
        calls(&mut witness, "get") >= 67
    });
    for _ in 0..100 {
        assert_eq!(witness.ask("PING"), "PONG");
    }
    let ran = calls(&mut witness, "get");
    assert!(ran < 200, "{ran} of 400 have run");
    for _ in 0..400 {
        assert_eq!(greedy.read_exact(value.len() + 12).len(), value.len() + 12);
    }
    assert_eq!(greedy.ask("PING"), "PONG");
    // Going away meanwhile is noticed, too.
    greedy.send(&b"GET big\r\n".repeat(400));
    wait_until("the greedy client to be held back again", || {
        calls(&mut witness, "get") >= 467
    });
    drop(greedy);
    wait_for_clients(&mut witness, 1);
}

#[test]
fn a_client_over_its_soft_limit_for_too_long_is_cut_off() {
    let server = Server::with(&["--client-output-buffer-limit", "normal 0 1mb 1"]);
    let mut witness = server.raw();
    witness.command(&["SET", "big", &"x".repeat(100_000)]);
    assert_eq!(witness.reply(), "OK");
    let mut greedy = server.raw();
    greedy.send(&b"GET big\r\n".repeat(300));
    wait_for_clients(&mut witness, 1);
}

#[test]
fn without_descriptors_nobody_is_dropped_and_nothing_spins() {
    let server = Server::start();
    let mut witness = server.raw();
    let open: u64 = std::fs::read_dir(format!("/proc/{}/fd", server.info("process_id")))
        .expect("our own child")
        .count() as u64;
    limit_descriptors(&mut witness, open as u32 + 3);
    let mut held: Vec<Raw> = (0..100).map(|_| server.raw()).collect();
    for raw in &mut held {
        raw.send(b"PING\r\n");
    }
    wait_until("accepting to fail", || {
        server.log().contains("Accepting client connection")
    });
    let field = |witness: &mut Raw, name: &str| -> u64 {
        let text = witness.ask("INFO everything");
        let value = text.split(name).nth(1).expect("a known field");
        value
            .split("\\r")
            .next()
            .and_then(|v| v.parse().ok())
            .expect("a number")
    };
    if !is_oracle() {
        let until = field(&mut witness, "uptime_in_seconds:") + 2;
        let (before, mut asked) = (field(&mut witness, "eventloop_cycles:"), 0);
        wait_until("two seconds to pass", || {
            asked += 1;
            field(&mut witness, "uptime_in_seconds:") >= until
        });
        let turns = field(&mut witness, "eventloop_cycles:") - before;
        // Each question is a turn or two; a loop that spins makes a hundred thousand a second.
        assert!(
            turns < 3 * asked + 1000,
            "{turns} turns for {asked} questions"
        );
    }
    limit_descriptors(&mut witness, 1000);
    for raw in &mut held {
        assert_eq!(raw.reply(), "PONG");
    }
    assert_eq!(witness.ask("PING"), "PONG");
}

/// Limits the descriptors of a server that runs already.
fn limit_descriptors(witness: &mut Raw, most: u32) {
    let text = witness.ask("INFO server");
    let pid = text.split("process_id:").nth(1).expect("a known field");
    let pid = pid.split("\\r").next().expect("there is a first part");
    let done = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={most}:")])
        .status()
        .expect("util-linux is installed");
    assert!(done.success(), "prlimit: {done}");
}

#[test]
fn a_paused_client_that_goes_away_is_forgotten() {
    let server = Server::start();
    let mut witness = server.raw();
    let mut paused = server.raw();
    assert_eq!(paused.ask("PING"), "PONG");
    assert_eq!(witness.ask("CLIENT PAUSE 100000 WRITE"), "OK");
    paused.send(b"SET key value\r\n");
    let mut hasty = server.raw();
    hasty.send(b"SET key value\r\n");
    hasty.end_sending();
    drop(paused);
    wait_for_clients(&mut witness, 1);
    assert_eq!(witness.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(witness.ask("EXISTS key"), ":0");
}

#[test]
fn the_unix_socket_has_its_permissions() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("socket");
    let server = Server::with(&[
        "--unixsocket",
        path.to_str().expect("a plain path"),
        "--unixsocketperm",
        "750",
    ]);
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o750);
    let mut socket = UnixStream::connect(&path).expect("the server accepts");
    socket
        .write_all(b"SET key value\r\n")
        .expect("the server reads");
    let mut reply = [0; 5];
    socket.read_exact(&mut reply).expect("the server answers");
    assert_eq!(&reply, b"+OK\r\n");
    server.check(&[("GET key", "\"value\"")]);
}

#[test]
fn strangers_are_told_of_protected_mode() {
    // The address that packets to the outside would carry: none, or only a loopback one, here?
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let Some(ip) = socket
        .connect("192.0.2.1:9")
        .and_then(|()| socket.local_addr())
        .ok()
        .map(|a| a.ip())
        .filter(|ip| !ip.is_loopback())
    else {
        return;
    };
    let server = Server::with(&["--bind", "0.0.0.0"]);
    let mut text = String::new();
    TcpStream::connect((ip, server.port))
        .and_then(|mut socket| socket.read_to_string(&mut text))
        .expect("a text");
    assert!(
        text.starts_with(
            "-DENIED Redis is running in protected mode because protected mode is enabled"
        ),
        "{text}"
    );
    server.check(&[("CONFIG SET requirepass secret", "OK")]);
    let mut guest = TcpStream::connect((ip, server.port)).expect("the server accepts");
    guest
        .write_all(b"AUTH secret\r\n")
        .expect("the server reads");
    let mut reply = [0; 5];
    guest.read_exact(&mut reply).expect("the server answers");
    assert_eq!(&reply, b"+OK\r\n");
}

#[test]
fn dead_peers_are_looked_for() {
    let server = Server::with(&["--tcp-keepalive", "77"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("PING"), "PONG");
    // The server's end of an established connection, and its keepalive timer (2).
    let end = format!("0100007F:{:04X}", server.port);
    let table = std::fs::read_to_string("/proc/net/tcp").expect("this is Linux");
    let watched = table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&end)
            && fields.nth(1) == Some("01")
            && fields.nth(1).is_some_and(|timer| timer.starts_with("02:"))
    });
    assert!(watched, "{table}");
}

#[test]
fn large_values_that_keep_their_buffer_are_whole_and_can_be_edited() {
    let server = Server::start();
    let mut raw = server.raw();
    let value: String = (0..300_000u32)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    let whole = frame(&["SET", "big", &value]);
    for piece in [1usize, 1000, 20_000, 100_000] {
        // What stands behind a large request, and before it, is no part of it.
        raw.send(b"PING\r\n");
        for part in whole.chunks(piece.max(whole.len() / 300)) {
            raw.send(part);
        }
        raw.send(b"STRLEN big\r\n");
        assert_eq!(raw.reply(), "PONG");
        assert_eq!(raw.reply(), "OK");
        assert_eq!(raw.reply(), ":300000");
        raw.command(&["GET", "big"]);
        assert_eq!(raw.reply(), format!("\"{value}\""));
        assert_eq!(raw.ask("APPEND big tail"), ":300004");
        assert_eq!(raw.ask("SETRANGE big 0 HEAD"), ":300004");
        assert_eq!(
            raw.ask("GETRANGE big -6 -1"),
            "\"oftail\"".replace("of", &value[299_998..])
        );
        assert_eq!(
            raw.ask("GETRANGE big 0 4"),
            format!("\"HEAD{}\"", &value[4..5])
        );
    }
    // Offered twice, since the first time the server was paused.
    assert_eq!(raw.ask("CLIENT PAUSE 100000 WRITE"), "OK");
    let mut paused = server.raw();
    paused.send(&whole);
    paused.send(b"STRLEN big\r\n");
    wait_until("the request to wait", || {
        is_oracle() || raw.ask("CLIENT LIST").contains("qbuf=3000")
    });
    assert_eq!(raw.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(paused.reply(), "OK");
    assert_eq!(paused.reply(), ":300000");
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

#[test]
fn a_subscriber_that_never_reads_is_cut_off() {
    for limit in ["pubsub 2mb 0 0", "pubsub 0 1mb 1"] {
        let server = Server::with(&["--client-output-buffer-limit", limit]);
        let mut publisher = server.raw();
        let mut deaf = server.raw();
        let mut keen = server.raw();
        deaf.command(&["SUBSCRIBE", "news"]);
        keen.command(&["SUBSCRIBE", "news"]);
        keen.reply();
        wait_until("both to listen", || {
            publisher.ask("PUBSUB NUMSUB news") == "[\"news\", :2]"
        });
        let news = "x".repeat(100_000);
        let mut sent = 0;
        wait_until("the deaf one's end", || {
            // Of no use for the soft limit: once it is over that, it is a matter of time.
            if sent < 200 {
                publisher.command(&["PUBLISH", "news", &news]);
                publisher.reply();
                assert!(keen.reply().ends_with(&format!("\"{news}\"]")), "{limit}");
                sent += 1;
            }
            publisher.ask("PUBSUB NUMSUB news") == "[\"news\", :1]"
        });
        drop(deaf);
        keen.command(&["PING"]);
        assert_eq!(keen.reply(), "[\"pong\", \"\"]");
    }
}

#[test]
fn a_monitor_sees_all_and_slows_nobody_down() {
    let server = Server::start();
    let mut monitor = server.raw();
    assert_eq!(monitor.ask("MONITOR"), "OK");
    let mut raw = server.raw();
    let value = "x".repeat(10_000);
    for _ in 0..500 {
        raw.command(&["SET", "key", &value]);
        assert_eq!(raw.reply(), "OK");
    }
    for _ in 0..500 {
        assert!(monitor.reply().ends_with(&format!("\"{value}\"")));
    }
    drop(monitor);
    wait_for_clients(&mut raw, 1);
}
