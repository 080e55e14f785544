//! Replication between servers of every pairing: a real primary with a replica of ours, a real replica of ours
//! as primary, both ours; and with `REDVAULT_TEST_BINARY=/usr/bin/redis-server` both real, which is how these
//! tests were found right. Links lead through [`crate::proxy`] where one is to be cut.

use std::path::Path;

use tempfile::TempDir;

use crate::content::{facts, fill, functions_answer, libraries, load_libraries, same};
use crate::harness::{Raw, Server, binary, is_oracle, wait_until};
use crate::proxy::Proxy;

pub const REAL: &str = "/usr/bin/redis-server";

/// Who plays which part: paths of two servers. `None`: there is nobody for one of them.
pub type Roles = Option<(String, String)>;

pub fn ours_then_real() -> Roles {
    real_is_there().then(|| (binary(), REAL.into()))
}

pub fn real_then_ours() -> Roles {
    real_is_there().then(|| (REAL.into(), binary()))
}

pub fn both_ours() -> Roles {
    Some((binary(), binary()))
}

fn real_is_there() -> bool {
    let there = !is_oracle() && Path::new(REAL).exists();
    if !there {
        eprintln!("skipped: {REAL} is not there, or it is the server under test");
    }
    there
}

/// Each of these functions is a test in every pairing: `f(primary, replica)`.
macro_rules! in_every_pairing {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[test]
            fn ours_then_real() {
                if let Some((first, second)) = crate::replication::ours_then_real() {
                    super::$name(&first, &second);
                }
            }
            #[test]
            fn real_then_ours() {
                if let Some((first, second)) = crate::replication::real_then_ours() {
                    super::$name(&first, &second);
                }
            }
            #[test]
            fn both_ours() {
                if let Some((first, second)) = crate::replication::both_ours() {
                    super::$name(&first, &second);
                }
            }
        })*
    };
}
pub(crate) use in_every_pairing;

in_every_pairing!(
    all_types_over_a_full_sync_and_the_stream,
    all_types_from_a_file_into_a_second_data_set,
    a_cut_link_resumes,
    a_restarted_replica_resumes,
    a_restarted_primary_is_resumed,
    a_chain_and_a_change_of_primary_keep_the_history,
    a_writable_replica_and_expired_keys,
    good_replicas_are_counted_and_told_of,
    writes_are_waited_for,
);

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A server of this kind, with nothing to wait for in its synchronisations.
pub fn server(binary: &str, args: &[&str]) -> Server {
    server_on(binary, directory(), args)
}

pub fn server_on(binary: &str, dir: TempDir, args: &[&str]) -> Server {
    let args = [&["--repl-diskless-sync-delay", "0"], args].concat();
    let server = Server::on(binary, dir, &args);
    wait_until("the end of the loading", || {
        server.raw().ask("PING") == "PONG"
    });
    server
}

/// Makes a server follow what listens at the port.
pub fn follow(replica: &Server, port: u16) {
    let reply = replica.raw().ask(&format!("REPLICAOF 127.0.0.1 {port}"));
    assert!(reply.starts_with("OK"), "{reply}");
}

pub fn number(server: &Server, field: &str) -> i64 {
    let text = server.info(field);
    text.parse().unwrap_or_else(|_| panic!("{field}:{text}"))
}

/// Waits until the replica has applied everything that the primary has sent.
pub fn in_step(primary: &Server, replica: &Server) {
    let offset = |one: &Server| one.info("master_repl_offset");
    wait_until("the replica to be in step", || {
        replica.info("role") == "slave"
            && replica.info("master_link_status") == "up"
            && offset(primary) == offset(replica)
    });
    assert_eq!(primary.info("master_replid"), replica.info("master_replid"));
}

/// The same, and the same data.
fn equal(primary: &Server, replica: &Server) {
    in_step(primary, replica);
    same(&facts(primary), &facts(replica));
    assert_eq!(libraries(primary), libraries(replica));
}

fn all_ok(raw: &mut Raw, requests: &str) {
    for request in requests.lines().map(str::trim).filter(|s| !s.is_empty()) {
        let reply = raw.ask(request);
        assert!(!reply.starts_with("(error)"), "{reply} to {request}");
    }
}

/// Writes of every family, with what differs from one server to the next: chance, time, blocked clients.
/// `run` makes the names differ from those of another call.
fn changes(primary: &Server, run: usize) {
    let mut raw = primary.raw();
    all_ok(&mut raw, "SELECT 3");
    let text = "
        SET s# a EX 1000
        GETEX s# PX 5000000
        SETEX t# 1000 b
        PSETEX u# 4000000 c
        SET v# d KEEPTTL
        GETSET v# e
        GETDEL u#
        APPEND s# more
        SETRANGE s# 30 tail
        SETBIT bits# 77 1
        BITFIELD bits# SET u8 #3 200 INCRBY i5 9 3
        BITOP NOT notbits# bits#
        INCRBYFLOAT float# 3.1
        DECRBY int# 4
        MSETNX m# 1 n# 2
        RPUSH l# a b c d e f
        LINSERT l# BEFORE c x
        LSET l# 0 first
        LREM l# 1 d
        LTRIM l# 0 4
        LMOVE l# other# LEFT RIGHT
        LMPOP 1 l# RIGHT COUNT 2
        BLPOP l# nothing# 1
        SADD set# 1 2 3 4 5 6 7 8 9 a b c d e f
        SPOP set# 3
        SPOP set#
        SMOVE set# set2# a
        SUNIONSTORE set3# set# set2#
        ZADD z# 1 a 2 b 3 c 4.5 d
        ZADD z# INCR 0.1 a
        ZINCRBY z# 0.7 b
        ZPOPMIN z#
        ZRANGESTORE zr# z# 0 1
        ZUNIONSTORE zu# 2 z# zr# WEIGHTS 2 3
        GEOADD geo# 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
        GEOSEARCHSTORE near# geo# FROMLONLAT 15 37 BYRADIUS 100 km
        HSET h# f1 v1 f2 v2
        HINCRBYFLOAT h# n 1.25
        HDEL h# f1
        PFADD hll# a b c d e
        PFMERGE hlls# hll#
        XADD stream# * f v
        XADD stream# MAXLEN ~ 10 * f w
        XADD stream# 99999999999999-1 f last
        XGROUP CREATE stream# g 0
        XREADGROUP GROUP g one COUNT 2 STREAMS stream# >
        XGROUP CREATECONSUMER stream# g two
        XAUTOCLAIM stream# g two 0 0 COUNT 1
        XACK stream# g 99999999999999-1
        XTRIM stream# MAXLEN 2
        SORT set# ALPHA STORE sorted#
        COPY z# copy# DB 4
        RENAME zr# renamed#
        MOVE other# 4
        EXPIRE h# 1000 NX
        PEXPIREAT z# 33333333333333
        PERSIST h#
        UNLINK m# none
        MULTI
        SET in#multi 1 PX 700000
        SPOP set3#
        LPUSH l# inside
        EXEC
        EVAL redis.call('set','script#',redis.call('time')[1]);return(redis.call('spop','set3#')) 0
        FUNCTION LOAD REPLACE #!lua\u{a0}name=lib#\\nredis.register_function('w#',function(k)return(redis.call('INCR',k[1]))end)
        FCALL w# 1 called#
        SWAPDB 4 5
        SET gone# x PX 20
        SELECT 6
        SET flushed x
        FLUSHDB ASYNC
        SET kept# y
    ";
    let (run_text, marker) = (run.to_string(), "\u{1}");
    for line in text.lines().map(str::trim).filter(|s| !s.is_empty()) {
        // `#!lua` and the `#3` of a bit field mean themselves.
        let line = line.replace("#!", "\u{2}").replace("#3 ", marker);
        let line = line.replace('#', &run_text).replace('\u{2}', "#!");
        let line = line.replace(marker, "#3 ").replace("\\n", "\n");
        let words: Vec<String> = line.split(' ').map(|w| w.replace('\u{a0}', " ")).collect();
        raw.command(&words);
        let reply = raw.reply();
        assert!(!reply.contains("(error)"), "{reply} to {line}");
    }
    // A client that waits for an element gets it from another one's push.
    let mut waits = primary.raw();
    waits.command(&["BLMOVE", "late", "moved", "LEFT", "RIGHT", "0"]);
    wait_until("a client to be blocked", || {
        primary.info("blocked_clients") != "0"
    });
    primary.check(&[("RPUSH late element", ":1")]);
    assert_eq!(waits.reply(), "\"element\"");
    let mut raw = primary.raw();
    raw.ask("SELECT 3");
    let gone = format!("EXISTS gone{run}");
    wait_until("a key to expire", || raw.ask(&gone) == ":0");
}

fn all_types_over_a_full_sync_and_the_stream(first: &str, second: &str) {
    let primary = server(first, &[]);
    fill(&primary, true);
    load_libraries(&primary);
    // What the replica had before is replaced.
    let replica = server(second, &[]);
    all_ok(&mut replica.raw(), "SET before x\nSELECT 9\nSET list x");
    follow(&replica, primary.port);
    in_step(&primary, &replica);
    changes(&primary, 1);
    equal(&primary, &replica);
    functions_answer(&primary);

    // Messages go along with the data.
    let mut listener = replica.raw();
    listener.ask("SUBSCRIBE news");
    primary.raw().ask("PUBLISH news today");
    assert_eq!(listener.reply(), "[\"message\", \"news\", \"today\"]");

    changes(&primary, 2);
    all_ok(&mut primary.raw(), "SELECT 3\nFLUSHDB\nSET after x");
    equal(&primary, &replica);
    assert_eq!(number(&primary, "sync_full"), 1);
    let fields = primary.info("slave0");
    assert!(
        fields.contains(&format!("port={},state=online", replica.port)),
        "{fields}"
    );
    // Nobody but the primary writes there.
    replica.check(&[(
        "SET a b",
        "(error) READONLY You can't write against a read only replica.",
    )]);
    all_ok(&mut primary.raw(), "FLUSHALL\nSET after x");
    equal(&primary, &replica);
}

fn all_types_from_a_file_into_a_second_data_set(first: &str, second: &str) {
    let primary = server(first, &["--repl-diskless-sync", "no"]);
    fill(&primary, true);
    load_libraries(&primary);
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let append = ["--appendonly", "yes", "--appendfsync", "always"];
        let args = [&append[..], &["--repl-diskless-load", load]].concat();
        let replica = server(second, &args);
        if load != "on-empty-db" {
            all_ok(&mut replica.raw(), "SET before x\nSELECT 9\nSET list x");
        }
        follow(&replica, primary.port);
        in_step(&primary, &replica);
        changes(&primary, load.len());
        equal(&primary, &replica);
        // A replica's own files hold what it has.
        replica.wait_rewritten();
        let alone = server_on(second, replica.kill(), &append);
        same(&facts(&primary), &facts(&alone));
        assert_eq!(libraries(&primary), libraries(&alone));
    }
}

fn a_cut_link_resumes(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    for round in 1..=3 {
        proxy.refuse(true);
        wait_until("the link to be down", || {
            replica.info("master_link_status") == "down"
        });
        changes(&primary, round);
        // In the middle of a transaction, and of a request.
        proxy.plan(&[crate::proxy::Fault::Cut(400 + 37 * round as u64)]);
        proxy.refuse(false);
        equal(&primary, &replica);
        assert_eq!(proxy.struck(), round as u64);
        assert_eq!(number(&primary, "sync_full"), 1);
        assert_eq!(number(&primary, "sync_partial_ok"), 2 * round as i64);
    }
    assert_eq!(number(&primary, "sync_partial_err"), 1);

    // Too late: the backlog has not all of it any more.
    proxy.refuse(true);
    wait_until("the link to be down", || {
        replica.info("master_link_status") == "down"
    });
    let mut raw = primary.raw();
    for n in 0..40 {
        raw.command(&["SET", &format!("large{n}"), &"x".repeat(100_000)]);
        assert_eq!(raw.reply(), "OK");
    }
    proxy.refuse(false);
    equal(&primary, &replica);
    assert_eq!(number(&primary, "sync_full"), 2);
    assert_eq!(number(&primary, "sync_partial_err"), 2);
}

/// Ends a server with a snapshot of what it has.
fn end_with_snapshot(mut server: Server) -> TempDir {
    server.raw().command(&["SHUTDOWN", "SAVE"]);
    assert!(server.wait_end().success(), "{}", server.log());
    server.kill()
}

fn a_restarted_replica_resumes(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    follow(&replica, primary.port);
    changes(&primary, 1);
    equal(&primary, &replica);
    let dir = end_with_snapshot(replica);
    changes(&primary, 2);
    let port = primary.port.to_string();
    let replica = server_on(second, dir, &["--replicaof", "127.0.0.1", &port]);
    equal(&primary, &replica);
    assert_eq!(number(&primary, "sync_full"), 1);
    assert_eq!(number(&primary, "sync_partial_ok"), 1);
}

fn a_restarted_primary_is_resumed(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    changes(&primary, 1);
    equal(&primary, &replica);
    proxy.refuse(true);
    let primary = server_on(first, end_with_snapshot(primary), &[]);
    changes(&primary, 2);
    proxy.aim(primary.port);
    proxy.refuse(false);
    equal(&primary, &replica);
    assert_eq!(number(&primary, "sync_full"), 0);
    assert_eq!(number(&primary, "sync_partial_ok"), 1);
    changes(&primary, 3);
    equal(&primary, &replica);
}

/// a <- b <- c; then b is made the primary, and everybody follows it without a full synchronisation.
fn a_chain_and_a_change_of_primary_keep_the_history(first: &str, second: &str) {
    let (a, b, c) = (server(first, &[]), server(second, &[]), server(first, &[]));
    follow(&b, a.port);
    in_step(&a, &b);
    follow(&c, b.port);
    changes(&a, 1);
    equal(&a, &b);
    equal(&a, &c);
    assert_eq!(b.info("connected_slaves"), "1");
    let before = a.info("master_replid");

    assert_eq!(b.raw().ask("REPLICAOF NO ONE"), "OK");
    assert_ne!(b.info("master_replid"), before);
    assert_eq!(b.info("master_replid2"), before);
    changes(&b, 2);
    follow(&a, b.port);
    equal(&b, &a);
    equal(&b, &c);
    // Each came with the old id, at an offset up to which both histories are one.
    assert_eq!(number(&b, "sync_full"), 1);
    assert_eq!(number(&b, "sync_partial_ok"), 2);

    // What was written apart is a history of its own, and is given up.
    assert_eq!(a.raw().ask("REPLICAOF NO ONE"), "OK");
    a.check(&[("SET apart 1", "OK")]);
    b.check(&[("SET instead 1", "OK")]);
    follow(&a, b.port);
    equal(&b, &a);
    assert_eq!(number(&b, "sync_full"), 2);
    a.check(&[("GET apart", "nil"), ("GET instead", "\"1\"")]);
}

fn a_writable_replica_and_expired_keys(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    all_ok(
        &mut primary.raw(),
        "DEBUG SET-ACTIVE-EXPIRE 0\nSET logical x PX 30\nSET lasting x",
    );
    in_step(&primary, &replica);
    // Readers do not see it, and yet it is there until the primary says otherwise.
    wait_until("the deadline", || replica.raw().ask("GET logical") == "nil");
    replica.check(&[
        ("EXISTS logical", ":0"),
        ("TTL logical", ":-2"),
        ("DBSIZE", ":2"),
    ]);
    assert_eq!(primary.raw().ask("GET logical"), "nil");
    in_step(&primary, &replica);
    replica.check(&[("DBSIZE", ":1")]);

    let allowed = [("CONFIG SET replica-read-only no", "OK")];
    replica.check(&allowed);
    replica.check(&[("SET own x PX 20", "OK"), ("SET lasting changed", "OK")]);
    // Its own keys with a deadline it takes away itself.
    wait_until("its own key to go", || replica.raw().ask("DBSIZE") == ":1");
    // What it writes goes nowhere, and the stream is applied over it.
    replica.check(&[("GET lasting", "\"changed\"")]);
    primary.check(&[("APPEND lasting y", ":2")]);
    in_step(&primary, &replica);
    replica.check(&[("GET lasting", "\"changedy\"")]);

    // Without a link: old data, or none.
    proxy.refuse(true);
    wait_until("the link to be down", || {
        replica.info("master_link_status") == "down"
    });
    replica.check(&[
        ("GET lasting", "\"changedy\""),
        ("CONFIG SET replica-serve-stale-data no", "OK"),
        (
            "GET lasting",
            "(error) MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set \
             to 'no'.",
        ),
        (
            "PING",
            "(error) MASTERDOWN Link with MASTER is down and replica-serve-stale-data is \
             set to 'no'.",
        ),
    ]);
    proxy.refuse(false);
    in_step(&primary, &replica);
    replica.check(&[("GET lasting", "\"changedy\"")]);
}

fn good_replicas_are_counted_and_told_of(first: &str, second: &str) {
    let primary = server(first, &["--min-replicas-to-write", "1"]);
    let refused = "(error) NOREPLICAS Not enough good replicas to write.";
    primary.check(&[("SET a 1", refused), ("GET a", "nil")]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    wait_until("a good replica", || primary.raw().ask("SET a 1") == "OK");
    primary.check(&[("CONFIG SET min-replicas-to-write 0", "OK")]);
    let role = primary.raw().ask("ROLE");
    let (port, address) = (replica.port, "127.0.0.1");
    assert!(
        role.starts_with("[\"master\", :")
            && role.contains(&format!("[\"{address}\", \"{port}\", \"")),
        "{role}"
    );
    let role = replica.raw().ask("ROLE");
    let expected = format!(
        "[\"slave\", \"{address}\", :{}, \"connected\", :",
        proxy.port
    );
    assert!(role.starts_with(&expected), "{role}");
}

fn writes_are_waited_for(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    let mut raw = primary.raw();
    assert_eq!(raw.ask("SET a 2"), "OK");
    assert_eq!(raw.ask("WAIT 1 0"), ":1");
    assert_eq!(replica.raw().ask("GET a"), "\"2\"");
    // What does not get through is not acknowledged.
    proxy.hold();
    assert_eq!(raw.ask("SET a 3"), "OK");
    assert_eq!(raw.ask("WAIT 1 50"), ":0");
    proxy.release();
    assert_eq!(raw.ask("WAIT 1 0"), ":1");
    equal(&primary, &replica);
}
