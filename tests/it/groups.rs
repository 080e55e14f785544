//! Groups: each has databases of its own and sees no others; what files hold of them, a restart and a real
//! server that knows no groups.
use std::path::Path;

use crate::harness::{Raw, Server, binary, is_oracle, wait_until};

const REAL: &str = "/usr/bin/redis-server";
const USER: &str = "on nopass ~* &* +@all";

/// A connection of a user of this name, who is in the group of the same name.
fn user_of(server: &Server, name: &str) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("auth {name} x")), "OK");
    raw
}

/// A group with a user of the same name.
fn make(server: &Server, name: &str, quota: &str) -> Raw {
    let mut raw = server.raw();
    let create = format!("group create {name} {quota}");
    assert_eq!(raw.ask(create.trim_end()), "OK");
    let setuser = format!("acl setuser {name} {USER} group:{name}");
    assert_eq!(raw.ask(&setuser), "OK");
    user_of(server, name)
}

/// A server with two groups that have keys of the same names, and the default one.
fn filled(args: &[&str]) -> Server {
    let server = Server::with(args);
    let mut zero = server.raw();
    zero.ask("set key zero");
    let mut blue = make(&server, "blue", "quota bytes 1gb ops 100000");
    let mut red = make(&server, "red", "");
    for (client, name) in [(&mut blue, "blue"), (&mut red, "red")] {
        client.ask(&format!("set key {name}"));
        client.ask("set gone 1");
        client.ask("move gone 4");
        client.ask("select 3");
        client.ask(&format!("rpush list {name} {name}"));
        client.ask("pexpire list 100000000");
        client.ask("swapdb 3 5");
    }
    server
}

/// What [`filled`] made is there.
fn check(server: &Server) {
    let mut zero = server.raw();
    for (request, reply) in [
        ("get key", "\"zero\""),
        ("dbsize", ":1"),
        ("group list", "[\"default\", \"blue\", \"red\"]"),
    ] {
        assert_eq!(zero.ask(request), reply, "{request}");
    }
    let info = zero.ask("group info blue");
    assert!(info.contains("\"bytes\", :1073741824"), "{info}");
    assert!(info.contains("\"keys\", :3, \"expires\", :1"), "{info}");
    for name in ["blue", "red"] {
        let mut client = user_of(server, name);
        assert_eq!(client.ask("get key"), format!("\"{name}\""));
        assert_eq!(client.ask("select 4"), "OK");
        assert_eq!(client.ask("keys *"), "[\"gone\"]");
        assert_eq!(client.ask("select 5"), "OK");
        let list = client.ask("lrange list 0 -1");
        assert_eq!(list, format!("[\"{name}\", \"{name}\"]"));
        let left: i64 = client.ask("pttl list")[1..].parse().expect("a number");
        assert!(left > 0, "{left}");
    }
}

/// The next server on the same directory, when it has loaded.
fn again(program: &str, server: Server, args: &[&str]) -> Server {
    let server = Server::on(program, server.kill(), args);
    wait_until("the end of the loading", || {
        server.raw().ask("ping") == "PONG"
    });
    server
}

#[test]
fn a_snapshot_brings_groups_back_and_a_real_server_their_keys() {
    if is_oracle() {
        return;
    }
    let off = ["--appendonly", "no"];
    let server = filled(&off);
    check(&server);
    assert_eq!(server.raw().ask("debug reload"), "OK");
    check(&server);
    assert_eq!(server.raw().ask("save"), "OK");
    let more = ["--databases", "20", "--appendonly", "no"];
    let server = again(&binary(), server, &more);
    check(&server);
    assert_eq!(user_of(&server, "red").ask("select 19"), "OK");
    // What the others write is not what the first wrote.
    assert_eq!(server.raw().ask("save"), "OK");
    let server = again(&binary(), server, &off);
    check(&server);
    assert_eq!(server.raw().ask("save"), "OK");
    if Path::new(REAL).exists() {
        let server = again(REAL, server, &["--databases", "64"]);
        let mut real = server.raw();
        for (db, reply) in [(0, "zero"), (16, "blue"), (32, "red")] {
            real.ask(&format!("select {db}"));
            assert_eq!(real.ask("get key"), format!("\"{reply}\""));
        }
        assert!(real.ask("info keyspace").contains("db37:keys=1,expires=1"));
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    if is_oracle() {
        return;
    }
    let server = filled(&[]);
    assert_eq!(server.raw().ask("save"), "OK");
    let bytes = std::fs::read(server.dir().join("dump.rdb")).expect("saved");
    let files = [("dump.rdb", &bytes[..])];
    let (status, log, _dir) = Server::fails_with(&files, &["--databases", "4"]);
    assert!(!status.success());
    let why = "keys in database 4 of group 'blue': its writer had 16 databases for each group";
    assert!(log.contains(why), "{log}");
}

#[test]
fn the_log_of_changes_brings_groups_back_and_a_real_server_their_keys() {
    if is_oracle() {
        return;
    }
    for preamble in ["yes", "no"] {
        let on = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--aof-use-rdb-preamble",
            preamble,
        ];
        let server = filled(&on);
        let server = again(&binary(), server, &on);
        check(&server);
        // With a base file as well, and other numbers from here on.
        assert!(server.raw().ask("bgrewriteaof").contains("started"));
        wait_until("the rewrite", || {
            server.info("aof_rewrite_in_progress") == "0"
        });
        let more = [&on[..], &["--databases", "17"]].concat();
        let server = again(&binary(), server, &more);
        check(&server);
        user_of(&server, "red").ask("set late 1");
        let mut zero = server.raw();
        assert_eq!(zero.ask("group create green quota keys 9"), "OK");
        assert_eq!(zero.ask("group del green"), "OK");
        let server = again(&binary(), server, &on);
        check(&server);
        assert_eq!(user_of(&server, "red").ask("get late"), "\"1\"");
        assert!(server.raw().ask("bgrewriteaof").contains("started"));
        wait_until("the rewrite", || {
            server.info("aof_rewrite_in_progress") == "0"
        });
        if Path::new(REAL).exists() {
            let real = [&on[..], &["--databases", "64"]].concat();
            let server = again(REAL, server, &real);
            let mut real = server.raw();
            for (db, reply) in [(0, "zero"), (16, "blue"), (32, "red")] {
                real.ask(&format!("select {db}"));
                assert_eq!(real.ask("get key"), format!("\"{reply}\""));
            }
        }
    }
}

#[test]
fn a_group_goes_with_everything_and_its_number_is_used_again() {
    if is_oracle() {
        return;
    }
    let on = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = filled(&on);
    let (mut zero, mut blue) = (server.raw(), user_of(&server, "blue"));
    let refused = zero.ask("group del blue");
    assert!(
        refused.contains("group 'blue' has 3 keys, 1 users and 0 function libraries"),
        "{refused}"
    );
    assert_eq!(zero.ask("group del blue force"), "OK");
    assert!(blue.read_to_end().is_empty(), "its clients are gone");
    let denied = zero.ask("auth blue x");
    assert!(denied.starts_with("(error) WRONGPASS"), "{denied}");
    let mut green = make(&server, "green", "");
    assert_eq!(green.ask("dbsize"), ":0");
    green.ask("set mine 1");
    let server = again(&binary(), server, &on);
    let mut green = user_of(&server, "green");
    assert_eq!(green.ask("keys *"), "[\"mine\"]");
    assert_eq!(green.ask("select 5"), "OK");
    assert_eq!(green.ask("dbsize"), ":0");
    let list = server.raw().ask("group list");
    assert_eq!(list, "[\"default\", \"green\", \"red\"]");
}

#[test]
fn a_login_changes_the_group_and_nothing_of_the_old_one_stays() {
    if is_oracle() {
        return;
    }
    let server = filled(&[]);
    let mut client = user_of(&server, "blue");
    client.ask("select 4");
    client.ask("watch gone");
    // In the database of the same number, as a server without groups has it.
    assert_eq!(client.ask("auth red x"), "OK");
    let mut blue = user_of(&server, "blue");
    blue.ask("select 4");
    blue.ask("del gone");
    client.ask("multi");
    client.ask("exists gone");
    assert_eq!(client.ask("exec"), "[:1]");
    // Also between two requests of a transaction.
    client.ask("multi");
    client.ask("auth blue x");
    client.ask("exists gone");
    client.ask("select 0");
    client.ask("get key");
    assert_eq!(client.ask("exec"), "[OK, :0, OK, \"blue\"]");
    assert_eq!(client.ask("reset"), "RESET");
    assert_eq!(client.ask("get key"), "\"zero\"");
}

/// Users of groups come back with every rule they had, out of a log as out of a snapshot.
#[test]
fn users_of_groups_come_back_as_they_were() {
    if is_oracle() {
        return;
    }
    let aof = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--acl-argon2id-memory",
        "64kb",
    ];
    let rdb = [&["--appendonly", "no"], &aof[4..]].concat();
    for (args, save) in [
        (&aof[..], "ping"),
        (&aof[..], "bgrewriteaof"),
        (&rdb[..], "save"),
    ] {
        let server = Server::with(args);
        let mut zero = server.raw();
        zero.ask("group create blue");
        zero.ask("config set acl-password-kdf argon2id");
        for rules in [
            "u1 on >pw group:blue ~a ~b %R~c %W~d &x &y -@all +get +@hash -hset",
            "u2 on >pw >more group:blue ~* &* +@all -del db=1,2 expires:4000000000",
            "u3 off nopass group:blue ~a +get (~b ~c &z +set +del) (%R~d db=3 +@read)",
        ] {
            assert_eq!(zero.ask(&format!("acl setuser {rules}")), "OK", "{rules}");
        }
        zero.ask("config set acl-password-kdf sha256");
        zero.ask("acl setuser u2 >third");
        zero.ask("set k v");
        let list = zero.ask("acl list");
        assert_ne!(zero.ask(save), "");
        wait_until("the end of the rewrite", || {
            server.info("aof_rewrite_in_progress") == "0"
        });
        let server = again(&binary(), server, args);
        assert_eq!(server.raw().ask("acl list"), list, "{save}");
        assert_eq!(server.raw().ask("auth u2 third"), "OK");
        assert_eq!(server.raw().ask("auth u1 pw"), "OK");
    }
}

/// What concerns the whole server a user of a group may not, whatever its rules: a trial says so, too.
#[test]
fn a_trial_knows_what_concerns_the_whole_server() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let _blue = make(&server, "blue", "");
    let mut zero = server.raw();
    let no = "\"This user has no permissions to run the 'config|get' command\"";
    assert_eq!(zero.ask("acl dryrun blue config get port"), no);
    assert_eq!(zero.ask("acl dryrun blue get port"), "OK");
    assert_eq!(zero.ask("acl dryrun default config get port"), "OK");
}
