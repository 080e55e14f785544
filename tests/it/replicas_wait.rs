//! What waits for replicas: WAIT, WAITAOF and the end of the server.

use crate::harness::{Raw, Server, wait_until};

/// A replica that acknowledges what the test says, and when it says so.
struct Replica {
    link: Raw,
}

impl Replica {
    fn of(server: &Server) -> Replica {
        let mut link = server.raw();
        assert_eq!(link.ask("REPLCONF capa eof capa psync2"), "OK");
        link.send(b"PSYNC ? -1\r\n");
        assert!(link.reply().starts_with("FULLRESYNC"));
        wait_until("the snapshot is there", || {
            server.info("slave0").contains("state=online")
        });
        let replica = Replica { link };
        replica.check(server);
        replica
    }

    fn check(&self, server: &Server) {
        assert_eq!(server.info("connected_slaves"), "1");
    }

    fn acks(&mut self, server: &Server) {
        let offset = server.info("master_repl_offset");
        self.link
            .send(format!("REPLCONF ACK {offset} FACK {offset}\r\n").as_bytes());
    }
}

fn is_ending(server: &Server) -> bool {
    server
        .raw()
        .ask("INFO server")
        .contains("shutdown_in_milliseconds:")
}

const NO_DELAY: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

#[test]
fn a_client_waits_until_a_replica_has_what_it_wrote() {
    let server = Server::with(&[&NO_DELAY[..], &["--appendonly", "yes"]].concat());
    let mut writer = server.raw();
    assert_eq!(writer.ask("WAIT 0 0"), ":0");
    let mut replica = Replica::of(&server);
    writer.ask("SET a 1");
    assert_eq!(writer.ask("WAIT 1 20"), ":0");
    writer.command(&["WAIT", "1", "0"]);
    wait_until("it waits", || server.info("blocked_clients") == "1");
    replica.acks(&server);
    assert_eq!(writer.reply(), ":1");
    assert_eq!(writer.ask("WAIT 1 0"), ":1", "nothing was written since");
    writer.ask("SET a 2");
    writer.command(&["WAITAOF", "1", "1", "0"]);
    wait_until("it waits", || server.info("blocked_clients") == "1");
    replica.acks(&server);
    assert_eq!(writer.reply(), "[:1, :1]");
}

#[test]
fn the_server_ends_when_its_replicas_have_everything_or_is_told_to_stay() {
    let mut server = Server::with(&NO_DELAY);
    let (mut writer, mut ends) = (server.raw(), server.raw());
    let mut replica = Replica::of(&server);
    assert_eq!(
        writer.ask("SHUTDOWN ABORT"),
        "(error) ERR No shutdown in progress."
    );
    writer.ask("SET a 1");
    ends.command(&["SHUTDOWN", "NOSAVE"]);
    wait_until("it waits", || is_ending(&server));
    let mut held = server.raw();
    held.command(&["SET", "a", "2"]);
    assert_eq!(writer.ask("GET a"), "\"1\"");
    assert_eq!(writer.ask("SHUTDOWN ABORT"), "OK");
    assert_eq!(
        ends.reply(),
        "(error) ERR Errors trying to SHUTDOWN. Check logs."
    );
    assert_eq!(held.reply(), "OK");
    ends.command(&["SHUTDOWN", "NOSAVE"]);
    wait_until("it waits", || is_ending(&server));
    replica.acks(&server);
    assert!(server.wait_end().success());
    let log = server.log();
    assert!(
        log.contains("Waiting for replicas before shutting down."),
        "{log}"
    );
    assert!(
        log.contains("1 of 1 replicas are in sync when shutting down."),
        "{log}"
    );
}

#[test]
fn a_replica_takes_over_when_it_has_everything() {
    let (first, second) = (Server::with(&NO_DELAY), Server::with(&NO_DELAY));
    let (mut a, mut b) = (first.raw(), second.raw());
    for (line, told) in [
        ("FAILOVER ABORT", "No failover in progress."),
        ("FAILOVER", "FAILOVER requires connected replicas."),
        (
            "FAILOVER TIMEOUT 0",
            "FAILOVER timeout must be greater than 0",
        ),
        ("FAILOVER TO h", "syntax error"),
    ] {
        assert_eq!(a.ask(line), format!("(error) ERR {told}"), "{line}");
    }
    a.ask("SET a 1");
    assert_eq!(b.ask(&format!("REPLICAOF 127.0.0.1 {}", first.port)), "OK");
    wait_until("it follows", || {
        second.info("master_link_status") == "up" && first.info("slave0").contains("state=online")
    });
    let refused = a.ask("FAILOVER TO 127.0.0.1 1 TIMEOUT 10");
    assert_eq!(
        refused,
        "(error) ERR FAILOVER target HOST and PORT is not a replica."
    );
    let refused = a.ask("FAILOVER FORCE");
    assert!(
        refused.contains("requires both a timeout and target"),
        "{refused}"
    );
    assert_eq!(
        b.ask("FAILOVER"),
        "(error) ERR FAILOVER is not valid when server is a replica."
    );
    assert_eq!(a.ask("SET a 2"), "OK");
    assert_eq!(
        a.ask(&format!("FAILOVER TO 127.0.0.1 {}", second.port)),
        "OK"
    );
    wait_until("the roles are swapped", || {
        first.info("role") == "slave" && second.info("role") == "master"
    });
    wait_until("it follows", || first.info("master_link_status") == "up");
    wait_until("it is over", || {
        first.info("master_failover_state") == "no-failover"
    });
    assert_eq!(b.ask("SET b 3"), "OK");
    wait_until("it has what was written", || a.ask("GET b") == "\"3\"");
    assert_eq!(a.ask("GET a"), "\"2\"");
    assert!(a.ask("SET a 3").starts_with("(error) READONLY"));
    assert_eq!(second.info("sync_partial_ok"), "1", "nothing is sent twice");
}

#[test]
fn a_failover_asks_again_until_it_is_understood() {
    let (first, second) = (Server::with(&NO_DELAY), Server::with(&NO_DELAY));
    let (mut a, mut b) = (first.raw(), second.raw());
    b.ask(&format!("REPLICAOF 127.0.0.1 {}", first.port));
    wait_until("it follows", || {
        second.info("master_link_status") == "up" && first.info("slave0").contains("state=online")
    });
    // The password does not fit: no PSYNC is heard until it does.
    a.ask("CONFIG SET masterauth wrong");
    assert_eq!(a.ask("FAILOVER"), "OK");
    wait_until("it was refused", || {
        first.log().contains("Unable to AUTH to MASTER")
    });
    assert_eq!(first.info("master_failover_state"), "failover-in-progress");
    assert_eq!(second.info("role"), "slave");
    a.command(&["CONFIG", "SET", "masterauth", ""]);
    assert!(a.reply().starts_with("OK"));
    wait_until("the roles are swapped", || {
        first.info("role") == "slave" && second.info("role") == "master"
    });
    wait_until("it is over", || {
        first.info("master_failover_state") == "no-failover"
            && first.info("master_link_status") == "up"
    });
}

#[test]
fn a_replicas_disk_counts_when_it_is_one() {
    let with_file = [&NO_DELAY[..], &["--appendonly", "yes"]].concat();
    let (first, second) = (Server::with(&NO_DELAY), Server::with(&with_file));
    let (mut a, mut b) = (first.raw(), second.raw());
    b.ask(&format!("REPLICAOF 127.0.0.1 {}", first.port));
    wait_until("it follows", || {
        second.info("master_link_status") == "up" && first.info("slave0").contains("state=online")
    });
    assert_eq!(a.ask("SET a 1"), "OK");
    assert_eq!(a.ask("WAITAOF 0 1 20000"), "[:0, :1]");
    assert_eq!(a.ask("SET a 2"), "OK");
    assert_eq!(a.ask("WAIT 1 20000"), ":1");
    b.ask("CONFIG SET appendonly no");
    assert_eq!(a.ask("SET a 3"), "OK");
    assert_eq!(a.ask("WAIT 1 20000"), ":1");
    assert_eq!(
        a.ask("WAITAOF 0 1 100"),
        "[:0, :0]",
        "it has no file any more"
    );
    let refused = a.ask("WAITAOF 1 0 0");
    assert!(refused.contains("appendonly is disabled"), "{refused}");
}
