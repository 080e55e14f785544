//! What replicas may do to a primary, and it to them, besides following: played by the test, byte by byte.

use crate::harness::{Raw, Server, binary, wait_until};
use crate::replication::server;
use crate::replication_faults::{false_replica, read_a_snapshot};

/// A replica that has its snapshot and reads the stream.
fn online(primary: &Server) -> Raw {
    let mut raw = false_replica(primary);
    read_a_snapshot(&mut raw);
    wait_until("it to be online", || {
        primary.info("slave0").contains("state=online")
    });
    raw.command(&["REPLCONF", "ACK", "0"]);
    raw
}

/// A replica that loads for longer than `repl-timeout` has no offset to tell of, and sends empty lines: it was
/// dropped, and began anew, and was dropped again, for ever.
#[test]
fn an_empty_line_is_a_sign_of_life() {
    let primary = server(&binary(), &[]);
    let mut replica = online(&primary);
    for _ in 0..2 {
        wait_until("silence", || !primary.info("slave0").ends_with("lag=0"));
        replica.send(b"\n");
        wait_until("a sign", || primary.info("slave0").ends_with("lag=0"));
    }
}

/// Whoever reads a stream takes all that comes for a part of it: nothing else may be said there.
#[test]
fn what_a_replica_asks_is_answered_by_the_end() {
    let primary = server(&binary(), &[]);
    let requests: [&[u8]; 7] = [
        b"PING\r\n",
        // These are answered later.
        b"WAIT 1 0\r\n",
        b"CLIENT REPLY OFF\r\nSUBSCRIBE channel\r\n",
        // And these are no requests.
        b"*1\r\nx\r\n",
        b"*99999999999\r\n",
        b"\"\r\n",
        b"*1\r\n$-1\r\n",
    ];
    for request in requests {
        let mut replica = online(&primary);
        replica.send(request);
        let stream = replica.read_to_end();
        assert_eq!(stream, b"", "{}", request.escape_ascii());
        wait_until("its end", || primary.info("connected_slaves") == "0");
    }
    // What somebody was told before is at its end, too.
    let mut raw = primary.raw();
    raw.ask("HELLO 3");
    raw.ask("SUBSCRIBE channel");
    assert_eq!(raw.ask("REPLCONF capa eof capa psync2"), "OK");
    raw.command(&["PSYNC", "?", "-1"]);
    wait_until("the message to have nobody who hears it", || {
        primary.raw().ask("PUBLISH channel message") == ":0"
    });
    read_a_snapshot(&mut raw);
    let mut raw = primary.raw();
    assert_eq!(raw.ask("MONITOR"), "OK");
    raw.command(&["PSYNC", "?", "-1"]);
    primary.raw().ask("GET key");
    assert!(raw.line().contains("\"GET\" \"key\""));
}

/// The snapshot that is sent is the one that was made, whatever lies in its place by then.
#[test]
fn a_snapshot_is_not_mistaken_for_another() {
    let args = ["--repl-diskless-sync", "no"];
    let primary = server(
        &binary(),
        &[&args[..], &["--enable-protected-configs", "yes"]].concat(),
    );
    primary.check(&[
        ("SET name old", "OK"),
        ("CONFIG SET dbfilename other.rdb", "OK"),
        ("SAVE", "OK"),
        ("CONFIG SET dbfilename dump.rdb", "OK"),
        ("SET name newer", "OK"),
        ("CONFIG SET rdb-key-save-delay 100000", "OK"),
    ]);
    let mut raw = primary.raw();
    raw.command(&["SYNC"]);
    wait_until("the child", || {
        primary.info("rdb_bgsave_in_progress") == "1"
    });
    primary.check(&[("CONFIG SET dbfilename other.rdb", "OK")]);
    let mut head = String::new();
    while head.is_empty() {
        head = raw.line().replace("\\n", "");
    }
    let bytes: usize = head[1..].parse().expect("a length");
    let snapshot = raw.read_exact(bytes);
    assert!(snapshot.windows(5).any(|word| word == b"newer"));
}
