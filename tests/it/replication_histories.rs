//! Streams as they may come: of servers before Redis 7, of servers with other numbers of databases, through
//! replicas of replicas, before and after a restart and a change of the primary.

use std::io::Write;

use crate::harness::{Raw, Server, binary, is_oracle, wait_until};
use crate::proxy::Impostor;
use crate::replication::{follow, in_step, server, server_on};

/// A snapshot without a key.
fn empty_snapshot() -> Vec<u8> {
    let server = server(&binary(), &[]);
    assert_eq!(server.raw().ask("SAVE"), "OK");
    std::fs::read(server.dir().join("dump.rdb")).expect("it was saved")
}

fn request(words: &[&str]) -> Vec<u8> {
    crate::harness::frame(words)
}

/// Before Redis 7 scripts may come as they were called, by their digest too where they were told of before. What
/// they do is in the replica's own file, which is whole without them.
#[test]
fn scripts_of_old_primaries_run_here() {
    let snapshot = empty_snapshot();
    let replica = server(&binary(), &["--appendonly", "yes"]);
    let id = "a".repeat(40);
    let mut head = format!("+FULLRESYNC {id} 0\r\n${}\r\n", snapshot.len()).into_bytes();
    head.extend_from_slice(&snapshot);
    // The digest is found out where the script is known.
    let mut raw = replica.raw();
    raw.command(&["SCRIPT", "LOAD", "return redis.call('incr', KEYS[1])"]);
    let digest = raw.reply().trim_matches('"').to_owned();
    assert_eq!(replica.raw().ask("SCRIPT FLUSH"), "OK");
    let stream = [
        request(&["SELECT", "0"]),
        request(&["EVAL", "return redis.call('incr', KEYS[1])", "1", "called"]),
        request(&["SCRIPT", "LOAD", "return redis.call('incr', KEYS[1])"]),
        request(&["EVALSHA", &digest, "1", "named"]),
        request(&["MULTI"]),
        request(&["EVAL", "redis.call('rpush', 'l', 1, 2)", "0"]),
        request(&["SET", "last", "1"]),
        request(&["EXEC"]),
    ];
    let stream = stream.concat();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let impostor = Impostor::with(Box::new(move |socket| {
        let _ = socket.write_all(&head);
        // The stream begins when the replica's own file is there.
        let _ = told.recv();
        let _ = socket.write_all(&stream);
    }));
    follow(&replica, impostor.port);
    wait_until("it is up", || replica.info("master_link_status") == "up");
    replica.wait_rewritten();
    tell.send(()).expect("it waits");
    wait_until("all of it", || replica.raw().ask("GET last") == "\"1\"");
    let content = |server: &Server| {
        let mut raw = server.raw();
        let lines = ["GET called", "GET named", "LRANGE l 0 -1", "GET last"];
        lines.map(|line| raw.ask(line))
    };
    let whole = ["\"1\"", "\"1\"", "[\"1\", \"2\"]", "\"1\""].map(str::to_owned);
    assert_eq!(content(&replica), whole, "{}", replica.log());
    assert_eq!(replica.raw().ask("REPLICAOF NO ONE"), "OK");
    assert_eq!(replica.raw().ask("CONFIG SET appendfsync always"), "OK");
    let dir = replica.kill();
    let again = server_on(&binary(), dir, &["--appendonly", "yes"]);
    assert_eq!(content(&again), whole, "{}", again.log());
}

/// As a user of the group.
fn tenant(server: &Server) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask("AUTH alice pw"), "OK");
    raw
}

/// A key of the group and one of the operators in this database.
fn write(primary: &Server, db: usize, name: &str) {
    for mut raw in [tenant(primary), primary.raw()] {
        assert_eq!(raw.ask(&format!("SELECT {db}")), "OK");
        assert_eq!(raw.ask(&format!("SET {name} 1")), "OK");
    }
}

/// The names of all keys of the group and of the operators in these databases.
fn names(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    for mut raw in [tenant(server), server.raw()] {
        for db in 0..4 {
            assert_eq!(raw.ask(&format!("SELECT {db}")), "OK");
            names.push(raw.ask("DBSIZE"));
            for n in 0..8 {
                names.push(raw.ask(&format!("EXISTS k{n}")));
            }
        }
    }
    names
}

#[test]
fn groups_are_where_they_belong_whatever_databases_each_server_has() {
    if is_oracle() {
        return;
    }
    let kept = |count| ["--databases", count, "--save", "10000 1"];
    let first = server(&binary(), &kept("4"));
    first.check(&[("GROUP CREATE team", "OK"), ("ADDUSER alice pw team", "OK")]);
    write(&first, 2, "k0");
    let second = server(&binary(), &kept("16"));
    follow(&second, first.port);
    in_step(&first, &second);
    write(&first, 3, "k1");
    in_step(&first, &second);
    // A replica of the replica: the stream it gets is the first one's.
    let third = server(&binary(), &kept("8"));
    follow(&third, second.port);
    in_step(&second, &third);
    write(&first, 1, "k2");
    in_step(&first, &third);
    assert_eq!(names(&second), names(&first));
    assert_eq!(names(&third), names(&first), "{}", third.log());
    // It goes on where it was, behind a restart.
    let full = second.info("sync_full");
    let mut third = third;
    third.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(third.wait_end().success());
    let dir = third.kill();
    write(&first, 3, "k3");
    let upstream = format!("127.0.0.1 {}", second.port);
    let third = server_on(
        &binary(),
        dir,
        &[&kept("8")[..], &["--replicaof", &upstream]].concat(),
    );
    in_step(&first, &third);
    assert_eq!(second.info("sync_full"), full);
    assert_eq!(names(&third), names(&first), "{}", third.log());
    // Another primary counts in another way.
    second.check(&[("REPLICAOF NO ONE", "OK")]);
    follow(&first, second.port);
    write(&second, 2, "k4");
    // What has no place there goes into no other.
    let mut alice = tenant(&second);
    assert_eq!(alice.ask("SELECT 9"), "OK");
    assert_eq!(alice.ask("SET k5 1"), "OK");
    write(&second, 1, "k6");
    in_step(&second, &third);
    in_step(&second, &first);
    assert_eq!(names(&third), names(&second), "{}", third.log());
    assert_eq!(names(&first), names(&second), "{}", first.log());
}

/// What a tenant said in a database that its replica has not was carried out in the one selected before; and what
/// belongs to a whole group, or to nobody, was not done at all.
#[test]
fn what_is_no_databases_is_done_where_that_database_is_not() {
    let primary = server(&binary(), &["--databases", "32"]);
    let replica = server(&binary(), &["--databases", "16"]);
    follow(&replica, primary.port);
    in_step(&primary, &replica);
    let library = |code: &str| {
        let text = format!(
            "#!lua name=l\nredis.register_function{{function_name='f', flags={{'no-writes'}}, \
             callback=function() {code} end}}"
        );
        ["FUNCTION".to_owned(), "LOAD".to_owned(), text]
    };
    let ask = |raw: &mut Raw, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        raw.command(&words);
        raw.reply()
    };
    let mut raw = primary.raw();
    assert_eq!(ask(&mut raw, &library("return 'ours'")), "\"l\"");
    assert_eq!(raw.ask("SET a 1"), "OK");
    let mut listener = replica.raw();
    listener.command(&["SUBSCRIBE", "news"]);
    listener.reply();
    for line in [
        "SELECT 20",
        "PUBLISH news hello",
        "FLUSHALL",
        "SELECT 0",
        "SET a 1",
    ] {
        raw.ask(line);
    }
    in_step(&primary, &replica);
    assert!(listener.reply().contains("hello"));
    replica.check(&[("DBSIZE", ":1")]);
    if !is_oracle() {
        primary.check(&[("GROUP CREATE team", "OK"), ("ADDUSER alice pw team", "OK")]);
        raw.ask("SET b 1");
        let mut alice = tenant(&primary);
        assert_eq!(alice.ask("SELECT 20"), "OK");
        assert_eq!(ask(&mut alice, &library("return 'theirs'")), "\"l\"");
        in_step(&primary, &replica);
        assert_eq!(
            replica.raw().ask("FCALL_RO f 0"),
            primary.raw().ask("FCALL_RO f 0")
        );
        assert_eq!(
            tenant(&replica).ask("FUNCTION STATS"),
            tenant(&primary).ask("FUNCTION STATS")
        );
        raw.ask("SET b 2");
        assert_eq!(alice.ask("FUNCTION FLUSH"), "OK");
        in_step(&primary, &replica);
        assert_eq!(replica.raw().ask("FUNCTION LIST"), raw.ask("FUNCTION LIST"));
    }
}
