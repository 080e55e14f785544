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
        server.wait_rewritten();
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
        server.wait_rewritten();
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

const ON: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// What check-aof says of the log that a server which has ended has left.
fn check_aof(dir: &Path) -> (String, bool) {
    let manifest = dir.join("appendonlydir/appendonly.aof.manifest");
    let command = std::process::Command::new(binary())
        .arg("check-aof")
        .arg(manifest)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&command.stdout).into_owned();
    (text, command.status.success())
}

/// The last file of the log.
fn last_part(dir: &Path) -> std::path::PathBuf {
    dir.join("appendonlydir/appendonly.aof.1.incr.aof")
}

/// FUNCTION FLUSH has two words, and what is carried was looked at as if there were always three: the next
/// start ended in a panic, and every start after it.
#[test]
fn what_a_tenant_says_of_its_functions_is_loaded_again() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&ON);
    let mut blue = make(&server, "blue", "");
    for name in ["one", "two", "three"] {
        let code = format!(
            "#!lua name={name}\nredis.register_function('f_{name}', function() return 1 end)"
        );
        blue.command(&["function", "load", &code]);
        assert_eq!(blue.reply(), format!("\"{name}\""));
    }
    assert_eq!(blue.ask("function delete one"), "OK");
    assert_eq!(blue.ask("function flush"), "OK");
    let server = again(&binary(), server, &ON);
    assert_eq!(user_of(&server, "blue").ask("function list"), "[]");
    let dir = server.kill();
    let (text, valid) = check_aof(dir.path());
    assert!(valid, "{text}");
    // What no server can load is told of beforehand, and without its arguments.
    let bad = crate::harness::frame(&["ACL", "SETUSER"]);
    let bad = [b"redvault:run ", &bad[..]].concat();
    let mut log = std::fs::read(last_part(dir.path())).expect("the log");
    log.extend(crate::harness::frame(&[&b"ECHO"[..], &bad]));
    std::fs::write(last_part(dir.path()), log).expect("written");
    let (text, valid) = check_aof(dir.path());
    assert!(
        !valid && text.contains("'acl|setuser' has too few arguments"),
        "{text}"
    );
}

/// Names that the server writes itself are found whatever commands are called here, and what cannot be
/// loaded is told without passwords and code.
#[test]
fn a_log_is_loaded_where_commands_have_other_names() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&ON);
    let mut blue = make(&server, "blue", "");
    blue.ask("set gone 1");
    let code = "#!lua name=l\nredis.register_function('f', function() return 'secret' end)";
    blue.command(&["function", "load", code]);
    assert_eq!(blue.reply(), "\"l\"");
    assert_eq!(blue.ask("flushall"), "OK");
    assert_eq!(blue.ask("set k v px 1"), "OK");
    blue.ask("multi");
    blue.ask("set m 1");
    blue.ask("set n 1");
    blue.ask("exec");
    let mut args: Vec<&str> = ON.to_vec();
    for name in ["acl", "echo", "exec", "flushdb", "function", "group"] {
        args.extend(["--rename-command", name, ""]);
    }
    for (name, new) in [
        ("multi", "m"),
        ("select", "s"),
        ("pexpireat", "p"),
        ("del", "d"),
    ] {
        args.extend(["--rename-command", name, new]);
    }
    let server = again(&binary(), server, &args);
    let mut blue = user_of(&server, "blue");
    assert_eq!(blue.ask("fcall f 0"), "\"secret\"");
    assert_eq!(blue.ask("exists gone k m n"), ":2");
    let dir = server.kill();
    let mut log = std::fs::read(last_part(dir.path())).expect("the log");
    let bad = ["FUNCTION", "LOAD", "#!lua name=x\nhidden hidden"];
    let bad = [b"redvault:run ", &crate::harness::frame(&bad)[..]].concat();
    log.extend(crate::harness::frame(&[&b"ECHO"[..], &bad]));
    let incr = ("appendonly.aof", &log[..]);
    let (_, text, _dir) = Server::fails_with(&[incr], &ON);
    assert!(
        text.contains("'function|load' failed") && !text.contains("hidden"),
        "{text}"
    );
}

/// The log had told how many databases groups have, and nobody told it again when no group was left.
#[test]
fn more_databases_are_fine_when_no_group_is_left() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&ON);
    let mut zero = server.raw();
    assert_eq!(zero.ask("group create blue"), "OK");
    assert_eq!(zero.ask("group del blue"), "OK");
    let more = [&ON[..], &["--databases", "32"]].concat();
    let server = again(&binary(), server, &more);
    let mut zero = server.raw();
    assert_eq!(zero.ask("select 20"), "OK");
    assert_eq!(zero.ask("set k v"), "OK");
    let server = again(&binary(), server, &more);
    assert_eq!(server.raw().ask("debug loadaof"), "OK");
    let mut zero = server.raw();
    zero.ask("select 20");
    assert_eq!(zero.ask("append k w"), ":2");
    let server = again(&binary(), server, &more);
    let mut zero = server.raw();
    zero.ask("select 20");
    assert_eq!(zero.ask("get k"), "\"vw\"");
}

/// The log makes the group, deletes it and makes it again: the configuration's user is in it afterwards, as
/// the configuration says, and also when everything is loaded anew.
#[test]
fn a_user_of_the_configuration_outlives_its_group_in_files() {
    if is_oracle() {
        return;
    }
    let file = "user default on nopass ~* &* +@all\nuser bob on nopass ~* &* +@all group:blue\n";
    let args = [&ON[..], &["--aclfile", "users.acl"]].concat();
    let server = Server::with_files(&[("users.acl", file.as_bytes())], &args);
    let mut zero = server.raw();
    for request in [
        "group create blue",
        "group del blue force",
        "group create blue",
        "acl load",
    ] {
        assert_eq!(zero.ask(request), "OK", "{request}");
    }
    assert_eq!(user_of(&server, "bob").ask("set k v"), "OK");
    let server = again(&binary(), server, &args);
    assert_eq!(user_of(&server, "bob").ask("get k"), "\"v\"");
    assert_eq!(server.raw().ask("debug reload"), "OK");
    assert_eq!(user_of(&server, "bob").ask("get k"), "\"v\"");
    assert_eq!(server.raw().ask("debug loadaof"), "OK");
    assert_eq!(user_of(&server, "bob").ask("get k"), "\"v\"");
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
        server.wait_rewritten();
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

/// A transaction that moves its own user into another group ends there: the rest of it would go on with the
/// data of the group that it has left.
#[test]
fn a_transaction_ends_where_its_user_goes_into_another_group() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut blue = make(&server, "blue", "");
    let mut zero = server.raw();
    assert_eq!(zero.ask(&format!("acl setuser op {USER}")), "OK");
    let mut op = user_of(&server, "op");
    op.ask("multi");
    op.ask("set before 1");
    op.ask("acl setuser op group:blue");
    op.ask("set after 1");
    op.ask("flushall");
    let moved = "(error) NOPERM the user of this connection is in another group now: log in again";
    assert_eq!(op.ask("exec"), format!("[OK, OK, {moved}, {moved}]"));
    assert!(op.read_to_end().is_empty(), "it has to log in again");
    assert_eq!(zero.ask("keys *"), "[\"before\"]");
    assert_eq!(blue.ask("dbsize"), ":0");
    assert_eq!(user_of(&server, "op").ask("dbsize"), ":0");
}

/// A tenant's script that has written cannot be ended by the tenant, as in Redis, but by operators: it stops
/// everybody. What it wrote up to there is in the log.
#[test]
fn operators_end_a_tenants_script_that_has_written() {
    if is_oracle() {
        return;
    }
    let args = [&ON[..], &["--busy-reply-threshold", "1"]].concat();
    let server = Server::with(&args);
    let mut blue = make(&server, "blue", "");
    let mut own = user_of(&server, "blue");
    let mut zero = server.raw();
    let code =
        "redis.call('set', 'half', 1) while true do pcall(function() while true do end end) end";
    blue.command(&["eval", code, "0"]);
    wait_until("the script", || own.ask("ping").starts_with("(error) BUSY"));
    assert!(own.ask("script kill").starts_with("(error) UNKILLABLE"));
    let busy = zero.ask("function kill");
    assert!(busy.starts_with("(error) BUSY"), "{busy}");
    assert_eq!(zero.ask("script kill"), "OK");
    let told = blue.reply();
    assert!(told.contains("Script killed by user"), "{told}");
    assert_eq!(blue.ask("get half"), "\"1\"");
    let server = again(&binary(), server, &ON);
    assert_eq!(user_of(&server, "blue").ask("get half"), "\"1\"");
}
