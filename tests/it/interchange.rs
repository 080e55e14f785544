//! Files that a real server of version 7.0 takes from us and we from it: each starts in the directory the
//! other one leaves behind, and has the same data. Debian's package brings the real one and its checkers;
//! where it is not installed there is nobody to ask.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Server, binary, is_oracle, wait_until};

const REAL: &str = "/usr/bin/redis-server";

/// Nobody to compare with: told, since a test that does nothing should not look like one that passed.
fn nobody_to_ask() -> bool {
    let nobody = is_oracle() || !Path::new(REAL).exists();
    if nobody {
        eprintln!("skipped: {REAL} is not there, or it is the server under test");
    }
    nobody
}

/// A server on what is in the directory, when it has loaded.
fn start(binary: &str, dir: TempDir, args: &[&str]) -> Server {
    let server = Server::on(binary, dir, args);
    wait_until("the end of the loading", || {
        server.raw().ask("PING") == "PONG"
    });
    server
}

/// Values of every type and layout in three databases, with and without deadlines. A zero below zero goes
/// where no real server has to say it by ZADD: it loses the sign of its own that way, too.
fn fill(server: &Server, zero_below_zero: bool) {
    let mut raw = server.raw();
    let mut ask = |words: &[&[u8]]| {
        raw.command(words);
        let reply = raw.reply();
        assert!(!reply.starts_with("(error)"), "{reply} to {:?}", words[0]);
    };
    // What a real server dumped; newer layouts than its own are not for it.
    for line in include_str!("../assets/dumps.txt").lines() {
        let Some((name, hex)) = line.split_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let payload: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex digits"))
            .collect();
        // Zipmaps a real server takes from files, but not all of them from RESTORE.
        let (zipmap, version) = (payload[0] == 9, payload[payload.len() - 10]);
        if version <= 10 && !zipmap && (zero_below_zero || !name.starts_with("zset-table")) {
            ask(&[b"RESTORE", name.as_bytes(), b"0", &payload]);
        }
    }
    ask(&[b"SELECT", b"9"]);
    let text = |n: usize| format!("element {n} {}", "of a list that is long ".repeat(n % 5));
    for n in 0..3000 {
        let (text, number) = (text(n), n.to_string());
        let (text, number) = (text.as_bytes(), number.as_bytes());
        ask(&[b"SET", &[b"string:", &number[..1]].concat(), text]);
        ask(&[b"RPUSH", b"list", text]);
        ask(&[b"SADD", b"set", text]);
        ask(&[b"SADD", b"set of numbers", number]);
        ask(&[b"ZADD", b"zset", number, text]);
        ask(&[b"HSET", b"hash", text, number]);
        ask(&[b"XADD", b"stream", b"*", b"field", text]);
    }
    let noise: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    ask(&[b"SET", b"\x00\xff\r\n", &noise]);
    ask(&[b"SET", b"large", &b"words that repeat ".repeat(10_000)]);
    ask(&[b"SETRANGE", b"holes", b"5000", b"x"]);
    ask(&[b"PFADD", b"hyperloglog", b"a", b"b", b"c"]);
    ask(&[b"GEOADD", b"places", b"13.361389", b"38.115556", b"Palermo"]);
    ask(&[b"XGROUP", b"CREATE", b"stream", b"group", b"0"]);
    let read: [&[u8]; 9] = [
        b"XREADGROUP",
        b"GROUP",
        b"group",
        b"consumer",
        b"COUNT",
        b"7",
        b"STREAMS",
        b"stream",
        b">",
    ];
    ask(&read);
    ask(&[b"SELECT", b"15"]);
    ask(&[b"SET", b"far", b"away", b"PXAT", b"33333333333333"]);
    ask(&[b"HSET", b"small", b"field", b"value"]);
    ask(&[b"PEXPIREAT", b"small", b"44444444444444"]);
    ask(&[b"SET", b"-1", b"-1"]);
}

/// What two servers have to agree on, and the digest of each key, so that a difference has a name.
fn facts(server: &Server) -> Vec<String> {
    let mut raw = server.raw();
    let mut facts = vec![format!("all: {}", raw.ask("DEBUG DIGEST"))];
    for db in 0..16 {
        raw.ask(&format!("SELECT {db}"));
        facts.push(format!("{db}: {} keys", raw.ask("DBSIZE")));
        let mut client = server.client();
        let mut ask = redis::cmd("SELECT");
        ask.arg(db).exec(&mut client).expect("a database");
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg("*")
            .query(&mut client)
            .expect("keys");
        keys.sort_unstable();
        for key in keys {
            raw.command(&[&b"DEBUG"[..], b"DIGEST-VALUE", &key]);
            let digest = raw.reply();
            raw.command(&[&b"PEXPIRETIME"[..], &key]);
            let name = key.escape_ascii();
            facts.push(format!("{db} {name}: {digest} {}", raw.reply()));
        }
    }
    for request in ["SELECT 9", "XPENDING stream group", "XLEN stream"] {
        facts.push(raw.ask(request));
    }
    facts
}

/// Compares what two servers have; the first differences are enough.
fn same(there: &[String], here: &[String]) {
    let differ = |a: &[String], b: &[String]| -> Vec<String> {
        let gone = a.iter().filter(|fact| !b.contains(fact));
        gone.take(5).cloned().collect()
    };
    if there != here {
        let (lost, new) = (differ(there, here), differ(here, there));
        panic!("lost on the way: {lost:#?}, and found instead: {new:#?}");
    }
}

fn accepted(checker: &str, file: PathBuf) {
    let output = Command::new(checker)
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("{checker}: {error}"));
    assert!(
        output.status.success(),
        "{checker} {}: {}",
        file.display(),
        String::from_utf8_lossy(&output.stdout)
    );
}

fn rewrite(server: &Server) {
    let reply = server.raw().ask("BGREWRITEAOF");
    assert!(reply.starts_with("Background append only file"), "{reply}");
    let done = |field| server.info(field) == "0";
    wait_until("the end of the rewrite", || {
        done("aof_rewrite_in_progress") && done("aof_rewrite_scheduled")
    });
    assert_eq!(server.info("aof_last_bgrewrite_status"), "ok");
}

/// Writes of every turn are in the file before the reply: a server may be killed afterwards.
const APPEND: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[test]
fn snapshots_go_to_a_real_server_and_come_back() {
    if nobody_to_ask() {
        return;
    }
    let ours = Server::start();
    fill(&ours, true);
    let before = facts(&ours);
    assert_eq!(ours.raw().ask("SAVE"), "OK");
    let dir = ours.kill();
    accepted("redis-check-rdb", dir.path().join("dump.rdb"));

    let real = start(REAL, dir, &[]);
    same(&before, &facts(&real));
    real.check(&[
        ("SET there and", "OK"),
        ("CONFIG SET rdbcompression no", "OK"),
        ("SAVE", "OK"),
    ]);
    let after = facts(&real);

    let ours = start(&binary(), real.kill(), &[]);
    same(&after, &facts(&ours));
    ours.check(&[("DEBUG RELOAD", "OK")]);
    same(&after, &facts(&ours));
}

/// Libraries of functions and what they answer.
const LIBRARIES: [(&str, &str); 2] = [
    (
        "first",
        "redis.register_function('one', function() return 1 end)",
    ),
    (
        "Second",
        "redis.register_function('two', function(keys) return redis.call('GET', keys[1]) end)",
    ),
];

fn load_libraries(real: &Server) {
    let mut raw = real.raw();
    for (name, body) in LIBRARIES {
        let code = format!("#!lua name={name}\n{body}");
        raw.command(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", code.as_bytes()]);
        assert_eq!(raw.reply(), format!("\"{name}\""));
    }
}

/// Names and sources, by name.
fn libraries(server: &Server) -> Vec<(String, String)> {
    let mut client = server.client();
    let found: Vec<HashMap<String, redis::Value>> = redis::cmd("FUNCTION")
        .arg("LIST")
        .arg("WITHCODE")
        .query(&mut client)
        .expect("libraries");
    let text = |value: &redis::Value| redis::from_redis_value::<String>(value).expect("text");
    let mut found: Vec<(String, String)> = found
        .iter()
        .map(|library| {
            assert_eq!(text(&library["engine"]), "LUA");
            (
                text(&library["library_name"]),
                text(&library["library_code"]),
            )
        })
        .collect();
    found.sort();
    found
}

fn functions_answer(real: &Server) {
    real.check(&[
        ("FCALL one 0", ":1"),
        ("SET key text", "OK"),
        ("FCALL two 1 key", "\"text\""),
    ]);
}

#[test]
fn libraries_of_functions_survive_our_snapshots() {
    if nobody_to_ask() {
        return;
    }
    let real = Server::on(REAL, tempfile::tempdir().expect("a directory"), &[]);
    load_libraries(&real);
    let before = libraries(&real);
    real.check(&[("SAVE", "OK")]);
    let dump = |server: &Server| -> Vec<u8> {
        let mut ask = redis::cmd("FUNCTION");
        let ask = ask.arg("DUMP");
        ask.query(&mut server.client()).expect("a payload")
    };
    let payload = dump(&real);

    let ours = start(&binary(), real.kill(), &[]);
    assert_eq!(libraries(&ours), before);
    functions_answer(&ours);
    ours.check(&[("DEBUG RELOAD", "OK"), ("FLUSHALL", "OK")]);
    assert_eq!(libraries(&ours), before);
    functions_answer(&ours);
    let ours_dumped = dump(&ours);
    let mut raw = ours.raw();
    raw.command(&[&b"FUNCTION"[..], b"RESTORE", &payload, b"FLUSH"]);
    assert_eq!(raw.reply(), "OK");
    assert_eq!(
        (libraries(&ours), dump(&ours)),
        (before.clone(), ours_dumped.clone())
    );
    ours.check(&[("SAVE", "OK")]);
    let dir = ours.kill();
    accepted("redis-check-rdb", dir.path().join("dump.rdb"));

    let real = start(REAL, dir, &[]);
    assert_eq!(libraries(&real), before);
    functions_answer(&real);
    let mut raw = real.raw();
    raw.command(&[&b"FUNCTION"[..], b"RESTORE", &ours_dumped, b"FLUSH"]);
    assert_eq!(raw.reply(), "OK");
    assert_eq!(libraries(&real), before);
    functions_answer(&real);
}

#[test]
fn libraries_of_functions_survive_our_append_only_files() {
    if nobody_to_ask() {
        return;
    }
    for preamble in ["no", "yes"] {
        let mut args = APPEND.to_vec();
        args.extend(["--aof-use-rdb-preamble", preamble]);
        // As requests; then in the base file, with changes behind it.
        let real = Server::on(REAL, tempfile::tempdir().expect("a directory"), &args);
        load_libraries(&real);
        let before = libraries(&real);
        let ours = start(&binary(), real.kill(), &args);
        assert_eq!(libraries(&ours), before);
        rewrite(&ours);
        ours.check(&[("FUNCTION DELETE Second", "OK")]);
        let ours = start(&binary(), ours.kill(), &args);
        assert_eq!(libraries(&ours), before[1..]);
        let real = start(REAL, ours.kill(), &args);
        assert_eq!(libraries(&real), before[1..]);
        load_libraries(&real);
        functions_answer(&real);
        rewrite(&real);
        let ours = start(&binary(), real.kill(), &args);
        assert_eq!(libraries(&ours), before);
        functions_answer(&ours);
    }
}

/// `preamble`: is the base file a snapshot, or commands?
fn append_only_there_and_back(preamble: &str) {
    if nobody_to_ask() {
        return;
    }
    let mut args = APPEND.to_vec();
    args.extend(["--aof-use-rdb-preamble", preamble]);
    let ours = Server::with(&args);
    fill(&ours, preamble == "yes");
    let before = facts(&ours);
    let dir = ours.kill();
    let manifest = |dir: &TempDir| dir.path().join("appendonlydir/appendonly.aof.manifest");
    accepted("redis-check-aof", manifest(&dir));

    // Commands as they came; then a base file, and commands behind it.
    let real = start(REAL, dir, &args);
    same(&before, &facts(&real));
    let ours = start(&binary(), real.kill(), &args);
    same(&before, &facts(&ours));
    rewrite(&ours);
    ours.check(&[("SET there and", "OK"), ("APPEND there back", ":7")]);
    let before = facts(&ours);
    let dir = ours.kill();
    accepted("redis-check-aof", manifest(&dir));

    let real = start(REAL, dir, &args);
    same(&before, &facts(&real));
    rewrite(&real);
    real.check(&[("INCRBYFLOAT float 0.1", "\"0.1\"")]);
    let before = facts(&real);
    let ours = start(&binary(), real.kill(), &args);
    same(&before, &facts(&ours));
}

#[test]
fn append_only_files_over_snapshots_go_to_a_real_server_and_come_back() {
    append_only_there_and_back("yes");
}

#[test]
fn append_only_files_of_commands_go_to_a_real_server_and_come_back() {
    append_only_there_and_back("no");
}
