//! Files that a real server of version 7.0 takes from us and we from it: each starts in the directory the
//! other one leaves behind, and has the same data. Debian's package brings the real one and its checkers;
//! where it is not installed there is nobody to ask.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::content::{facts, fill, functions_answer, libraries, load_libraries, same};
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
    server.wait_rewritten();
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
