//! Replication with something in its way: snapshots for several replicas at once, readers while one is loaded,
//! transactions that have come by half, passwords, TLS, memory that is full; what real replicas get of groups,
//! and the tools that play a replica.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::content::{facts, fill, load_libraries, same};
use crate::harness::{Raw, Server, binary, free_port, is_oracle, wait_until};
use crate::proxy::{Fault, Proxy};
use crate::replication::{
    REAL, directory, follow, in_every_pairing, in_step, number, server, server_on,
};
use crate::tls;

in_every_pairing!(
    one_snapshot_serves_several_replicas,
    readers_are_answered_while_a_snapshot_is_loaded,
    half_a_transaction_is_none,
    passwords_and_users,
    links_over_tls,
    a_full_memory_evicts_on_both_sides,
);

fn equal(primary: &Server, replica: &Server) {
    in_step(primary, replica);
    same(&facts(primary), &facts(replica));
}

/// Three wait, and one fork serves them all; the one that stops reading holds the others up, and when it is
/// gone they go on.
fn one_snapshot_serves_several_replicas(first: &str, second: &str) {
    let many = [
        "--repl-diskless-sync-delay",
        "60",
        "--repl-diskless-sync-max-replicas",
        "3",
    ];
    let primary = server(first, &many);
    fill(&primary, true);
    let noise: String = (0..20_000_000u64)
        .map(|n| (33 + (n.wrapping_mul(n ^ 0x9e37_79b9) >> 11) % 90) as u8 as char)
        .collect();
    let mut raw = primary.raw();
    raw.command(&["SET", "noise", &noise]);
    assert_eq!(raw.reply(), "OK");
    let (a, b, c) = (server(second, &[]), server(first, &[]), server(second, &[]));
    let proxy = Proxy::to(primary.port);
    proxy.plan(&[Fault::Hold(1_000_000)]);
    follow(&a, primary.port);
    follow(&b, primary.port);
    assert_ne!(primary.info("rdb_bgsave_in_progress"), "1");
    follow(&c, proxy.port);
    wait_until("the third to stop", || proxy.holds());
    primary.check(&[("SET meanwhile x", "OK")]);
    assert_eq!(c.raw().ask("REPLICAOF NO ONE"), "OK");
    proxy.cut();
    equal(&primary, &a);
    equal(&primary, &b);
    assert_eq!(number(&primary, "total_forks"), 1);
    assert_eq!(number(&primary, "sync_full"), 3);
}

/// Waits that a snapshot is being loaded; each of its keys takes a while.
fn loads_slowly(replica: &Server, field: &str) {
    wait_until("the loading", || replica.info(field) == "1");
}

fn readers_are_answered_while_a_snapshot_is_loaded(first: &str, second: &str) {
    let primary = server(first, &[]);
    primary.check(&[
        ("DEBUG POPULATE 3000 key 100", "OK"),
        ("SET before new", "OK"),
    ]);
    let slow = [
        "--key-load-delay",
        "5000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    for load in ["disabled", "swapdb"] {
        let replica = server(
            second,
            &[&slow[..], &["--repl-diskless-load", load]].concat(),
        );
        replica.check(&[("SET before old", "OK"), ("SET own old", "OK")]);
        // With the same history the old data are as good as a replica's of a moment ago.
        follow(&replica, primary.port);
        loads_slowly(&replica, "loading");
        let mut raw = replica.raw();
        let answer = raw.ask("GET before");
        assert!(answer.starts_with("(error) LOADING "), "{answer}");
        assert_eq!(replica.info("master_link_status"), "down");
        assert_eq!(replica.info("master_sync_in_progress"), "1");
        assert_eq!(replica.info("async_loading"), "0");
        assert_eq!(raw.ask("CONFIG SET key-load-delay 0"), "OK");
        equal(&primary, &replica);
        replica.check(&[("GET before", "\"new\""), ("GET own", "nil")]);
        if load == "disabled" {
            continue;
        }
        // Too far behind for the backlog, and of one history with the primary: now the old data answer.
        let proxy = Proxy::to(primary.port);
        follow(&replica, proxy.port);
        in_step(&primary, &replica);
        proxy.refuse(true);
        primary.check(&[
            ("CONFIG SET repl-backlog-size 16384", "OK"),
            ("SET before newest", "OK"),
            ("DEBUG POPULATE 3000 more 100", "OK"),
        ]);
        for n in 0..100 {
            let mut raw = primary.raw();
            raw.command(&["SET", &format!("large{n}"), &"x".repeat(10_000)]);
            assert_eq!(raw.reply(), "OK");
        }
        assert_eq!(raw.ask("CONFIG SET key-load-delay 5000"), "OK");
        let mut watches = replica.raw();
        assert_eq!(watches.ask("WATCH before"), "OK");
        assert_eq!(watches.ask("MULTI"), "OK");
        assert_eq!(watches.ask("GET before"), "QUEUED");
        proxy.refuse(false);
        loads_slowly(&replica, "async_loading");
        assert_eq!(raw.ask("GET before"), "\"new\"");
        assert_eq!(raw.ask("EXISTS large1 key:7"), ":1");
        let answer = raw.ask("SET before x");
        assert!(answer.starts_with("(error) "), "{answer}");
        assert_eq!(raw.ask("CONFIG SET key-load-delay 0"), "OK");
        equal(&primary, &replica);
        assert_eq!(raw.ask("GET before"), "\"newest\"");
        assert_eq!(watches.ask("EXEC"), "nil");
    }
}

fn half_a_transaction_is_none(first: &str, second: &str) {
    let primary = server(first, &[]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    proxy.refuse(true);
    let mut raw = primary.raw();
    raw.ask("MULTI");
    for (name, len) in [("a", 1), ("large", 100_000), ("b", 1)] {
        raw.command(&["SET", name, &"x".repeat(len)]);
        assert_eq!(raw.reply(), "QUEUED");
    }
    assert_eq!(raw.ask("EXEC"), "[OK, OK, OK]");
    proxy.plan(&[Fault::Hold(50_000)]);
    proxy.refuse(false);
    wait_until("half of it to be there", || proxy.holds());
    replica.check(&[("EXISTS a b large", ":0")]);
    // Whoever takes over now has not seen it.
    let before = number(&replica, "master_repl_offset");
    proxy.release();
    in_step(&primary, &replica);
    assert!(number(&replica, "master_repl_offset") > before + 100_000);
    replica.check(&[("EXISTS a b large", ":3")]);

    // The same, and the other half never comes.
    proxy.refuse(true);
    raw.ask("MULTI");
    for (name, len) in [("c", 1), ("huge", 200_000), ("d", 1)] {
        raw.command(&["SET", name, &"x".repeat(len)]);
        raw.reply();
    }
    raw.ask("EXEC");
    proxy.plan(&[Fault::Hold(50_000)]);
    proxy.refuse(false);
    wait_until("half of it to be there", || proxy.holds());
    replica.check(&[
        ("REPLICAOF NO ONE", "OK"),
        ("EXISTS c d huge", ":0"),
        ("SET own x", "OK"),
    ]);
    follow(&primary, replica.port);
    equal(&replica, &primary);
    primary.check(&[("EXISTS c d huge a own", ":2")]);
}

fn passwords_and_users(first: &str, second: &str) {
    let primary = server(first, &[]);
    let mut admin = primary.raw();
    admin.command(&["CONFIG", "SET", "requirepass", "open sesame"]);
    assert_eq!(admin.reply(), "OK");
    let told = |field: &str| {
        let mut raw = primary.raw();
        raw.command(&["AUTH", "open sesame"]);
        assert_eq!(raw.reply(), "OK");
        raw.command(&["INFO", "everything"]);
        let text = raw.reply();
        let line = text.split("\\r\\n").find(|line| line.starts_with(field));
        line.expect("INFO has it").to_owned()
    };
    let replica = server(second, &[]);
    follow(&replica, primary.port);
    wait_until("the refusal", || replica.log().contains("NOAUTH"));
    let mut raw = replica.raw();
    raw.command(&["CONFIG", "SET", "masterauth", "wrong"]);
    assert_eq!(raw.reply(), "OK");
    wait_until("the next one", || replica.log().contains("WRONGPASS"));
    raw.command(&["CONFIG", "SET", "masterauth", "open sesame"]);
    assert_eq!(raw.reply(), "OK");
    let up = || replica.info("master_link_status") == "up";
    wait_until("the link", up);
    wait_until("its first ACK", || told("slave0").contains("state=online"));
    assert!(!replica.log().contains("sesame"));

    // A user that may do no more than replicas need.
    assert_eq!(
        admin.ask("ACL SETUSER follower on >abracadabra +psync +replconf +ping"),
        "OK"
    );
    assert_eq!(
        raw.ask("CONFIG SET masteruser follower masterauth abracadabra"),
        "OK"
    );
    assert_eq!(admin.ask("CLIENT KILL TYPE replica"), ":1");
    assert_eq!(admin.ask("SET a b"), "OK");
    wait_until("the link", || up() && replica.raw().ask("GET a") == "\"b\"");
    let list = admin.ask("CLIENT LIST TYPE replica");
    assert!(
        list.contains("flags=S") && list.contains("user=follower"),
        "{list}"
    );
}

/// The handshake, the snapshot and the stream.
fn links_over_tls(first: &str, second: &str) {
    let files = tls::both_ways();
    let own: Vec<&str> = files.iter().map(String::as_str).collect();
    for mode in ["yes", "no"] {
        let port = free_port();
        let text = port.to_string();
        let args = ["--tls-port", &text, "--repl-diskless-sync", mode];
        let primary = server(first, &[&own[..], &args].concat());
        fill(&primary, true);
        load_libraries(&primary);
        let replica = server(second, &[&own[..], &["--tls-replication", "yes"]].concat());
        let proxy = Proxy::to(port);
        follow(&replica, proxy.port);
        equal(&primary, &replica);
        primary.check(&[
            ("SET over tls", "OK"),
            ("SELECT 3", "OK"),
            ("RPUSH l a b", ":2"),
        ]);
        let mut raw = primary.raw();
        raw.command(&["SET", "large", &"x".repeat(3_000_000)]);
        assert_eq!(raw.reply(), "OK");
        equal(&primary, &replica);
        // Cut, and taken up again.
        let partial = number(&primary, "sync_partial_ok");
        proxy.cut();
        primary.check(&[("SET again tls", "OK")]);
        wait_until("it to resume", || {
            number(&primary, "sync_partial_ok") > partial
        });
        equal(&primary, &replica);
    }
}

/// The primary says what goes; a replica does not choose, however small its own memory is.
fn a_full_memory_evicts_on_both_sides(first: &str, second: &str) {
    let primary = server(first, &["--maxmemory-policy", "allkeys-lru"]);
    let replica = server(
        second,
        &["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"],
    );
    follow(&replica, primary.port);
    in_step(&primary, &replica);
    let limit = number(&primary, "used_memory") + (3 << 20);
    let mut raw = primary.raw();
    assert_eq!(raw.ask(&format!("CONFIG SET maxmemory {limit}")), "OK");
    for n in 0..1000 {
        raw.command(&["SET", &format!("key{n}"), &"x".repeat(10_000)]);
        assert_eq!(raw.reply(), "OK");
    }
    assert!(number(&primary, "evicted_keys") > 500);
    assert!(number(&primary, "evicted_keys") < 1000);
    // Looking at them takes memory, too.
    assert_eq!(raw.ask("CONFIG SET maxmemory 0"), "OK");
    equal(&primary, &replica);
    assert_eq!(number(&replica, "evicted_keys"), 0);
}

fn user_of(server: &Server, name: &str) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("AUTH {name} x")), "OK");
    raw
}

/// Groups, their quotas and users go to servers that know them; a real one gets what it understands.
#[test]
fn groups_reach_replicas_that_have_groups() {
    if is_oracle() {
        return;
    }
    for mode in ["yes", "no"] {
        let primary = server(&binary(), &["--repl-diskless-sync", mode]);
        let mut zero = primary.raw();
        let make = |name: &str| {
            let mut admin = primary.raw();
            assert_eq!(
                admin.ask(&format!("GROUP CREATE {name} QUOTA BYTES 1gb")),
                "OK"
            );
            let rules = format!("ACL SETUSER {name} on nopass ~* &* +@all group:{name}");
            assert_eq!(admin.ask(&rules), "OK");
        };
        make("before");
        assert_eq!(user_of(&primary, "before").ask("SET key before"), "OK");
        assert_eq!(zero.ask("SET key zero"), "OK");
        let ours = server(&binary(), &[]);
        follow(&ours, primary.port);
        in_step(&primary, &ours);
        let real = Path::new(REAL).exists().then(|| {
            let real = server(REAL, &[]);
            follow(&real, primary.port);
            in_step(&primary, &real);
            real
        });
        // In the stream, among what belongs to no group.
        make("behind");
        for name in ["before", "behind"] {
            let mut user = user_of(&primary, name);
            assert_eq!(user.ask("SET key changed"), "OK");
            assert_eq!(user.ask("SELECT 3"), "OK");
            assert_eq!(user.ask("RPUSH list a b c"), ":3");
            assert_eq!(
                zero.ask("APPEND key !"),
                if name == "before" { ":5" } else { ":6" }
            );
            assert_eq!(user.ask("SWAPDB 3 5"), "OK");
            assert_eq!(user.ask("EVAL return(redis.call('incr','n')) 0"), ":1");
        }
        in_step(&primary, &ours);
        assert_eq!(
            ours.raw().ask("GROUP LIST"),
            primary.raw().ask("GROUP LIST")
        );
        assert_eq!(ours.raw().ask("GET key"), "\"zero!!\"");
        for name in ["before", "behind"] {
            let mut user = user_of(&ours, name);
            assert_eq!(user.ask("GET key"), "\"changed\"");
            assert_eq!(user.ask("SELECT 5"), "OK");
            assert_eq!(user.ask("LLEN list"), ":3");
        }
        if let Some(real) = real {
            in_step(&primary, &real);
            let mut raw = real.raw();
            assert_eq!(raw.ask("GET key"), "\"zero!!\"");
            assert_eq!(raw.ask("DBSIZE"), ":1");
            let keyspace = raw.ask("INFO keyspace");
            assert!(!keyspace.contains("db1"), "{keyspace}");
            assert!(!real.log().contains("== CRITICAL =="), "{}", real.log());
        }
        // And from a replica to its own replicas, and back where it is made the primary.
        let third = server(&binary(), &[]);
        follow(&third, ours.port);
        in_step(&primary, &third);
        assert_eq!(ours.raw().ask("REPLICAOF NO ONE"), "OK");
        assert_eq!(user_of(&ours, "behind").ask("SET key there"), "OK");
        in_step(&ours, &third);
        assert_eq!(user_of(&third, "behind").ask("GET key"), "\"there\"");
        assert_eq!(number(&ours, "sync_full"), 1);
    }
}

/// Fields of a hash with deadlines of their own: no real server of 7.0 has them.
#[test]
fn deadlines_of_fields_are_the_primarys() {
    if is_oracle() {
        return;
    }
    let primary = server(&binary(), &[]);
    primary.check(&[
        ("HSET early a 1 b 2 c 3", ":3"),
        ("HEXPIRE early 1000 FIELDS 1 a", "[:1]"),
    ]);
    let replica = server(&binary(), &[]);
    follow(&replica, primary.port);
    in_step(&primary, &replica);
    primary.check(&[
        ("HSET late a 1 b 2", ":2"),
        ("HPEXPIRE late 30 FIELDS 1 a", "[:1]"),
        ("HPEXPIRE early 3000000 FIELDS 1 b", "[:1]"),
    ]);
    wait_until("a field to go", || primary.raw().ask("HLEN late") == ":1");
    equal(&primary, &replica);
    let ask = "HEXPIRETIME early FIELDS 3 a b c";
    assert_eq!(primary.raw().ask(ask), replica.raw().ask(ask));
}

/// What Redis's own client does as a replica: a snapshot for a file, functions alone, the stream as it comes.
#[test]
fn tools_that_play_a_replica() {
    let tool = "/usr/bin/redis-cli";
    if !Path::new(tool).exists() {
        eprintln!("skipped: {tool} is not there");
        return;
    }
    let primary = server(&binary(), &[]);
    fill(&primary, true);
    load_libraries(&primary);
    let port = primary.port.to_string();
    for option in ["--rdb", "--functions-rdb"] {
        let dir = directory();
        let file = dir.path().join("dump.rdb");
        let output = Command::new(tool)
            .args(["-p", &port, option])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let loaded = server_on(&binary(), dir, &[]);
        if option == "--rdb" {
            same(&facts(&primary), &facts(&loaded));
        } else {
            loaded.check(&[("DBSIZE", ":0"), ("FCALL one 0", ":1")]);
        }
    }
    wait_until("them to be forgotten", || {
        primary.info("connected_slaves") == "0"
    });
    let dir = directory();
    let out = std::fs::File::create(dir.path().join("out")).expect("a file");
    let mut listens = Command::new(tool)
        .args(["-p", &port, "--replica"])
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    wait_until("a replica", || {
        primary.info("connected_slaves") == "1" && primary.info("slave0").contains("state=online")
    });
    primary.check(&[("SET seen by", "OK")]);
    wait_until("the stream", || {
        let text = std::fs::read_to_string(dir.path().join("out")).unwrap_or_default();
        text.contains("seen")
    });
    listens.kill().ok();
    listens.wait().ok();
}
