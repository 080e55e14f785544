//! The tools on files, as the person who needs them runs them: at a terminal, beside a server or instead of
//! one. What they print file by file is tested beside their code.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, binary, is_oracle, wait_until};

fn run(program: &str, args: &[&str]) -> (String, i32) {
    let output: Output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (text, output.status.code().expect("it ends by itself"))
}

/// A FLUSHALL by mistake: one command while the server goes on, and a server on what it wrote has the data.
#[test]
fn a_flushall_by_mistake_is_undone_in_one_command() {
    if is_oracle() {
        return;
    }
    // Always: else a write may still wait for an fsync when the files are read.
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let server = Server::with(&options);
    let mut raw = server.raw();
    assert_eq!(raw.ask("MSET a 1 b 2"), "OK");
    assert_eq!(raw.ask("HSET h f v"), ":1");
    let digest = raw.ask("DEBUG DIGEST");
    assert_eq!(raw.ask("FLUSHALL"), "OK");
    assert_eq!(raw.ask("SET later 1"), "OK");

    let dir = server.dir().to_str().expect("a plain path");
    let folder = server.dir().join("appendonlydir");
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(&folder, private).expect("ours");
    let args = ["recover", "--dir", dir, "--before", "flushall"];
    let (text, code) = run(&binary(), &args);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("as they were before FLUSHALL"), "{text}");
    let out = format!("{dir}/recovered-before-flushall");
    let mode = fs::metadata(&out).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let (text, code) = run(&binary(), &args);
    assert!(text.contains("is not empty") && code == 1, "{text}");
    let manifest = format!("{out}/appendonlydir/appendonly.aof.manifest");
    let (text, code) = run(&binary(), &["check-aof", &manifest]);
    assert!(
        text.ends_with("All AOF files and manifest are valid\n"),
        "{text}"
    );
    assert_eq!(code, 0);

    let recovered = Server::with(&[&options[..], &["--dir", &out]].concat());
    // It answers while it still loads.
    wait_until("all that was there", || {
        recovered.raw().ask("DEBUG DIGEST") == digest
    });
    assert_eq!(recovered.raw().ask("GET later"), "nil");
    // The server whose files they are has noticed nothing.
    assert_eq!(raw.ask("KEYS *"), "[\"later\"]");
}

/// Scripts call the checks by the names that they have in packages.
#[test]
fn the_checks_answer_to_their_old_names() {
    if is_oracle() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    for name in ["redis-check-rdb", "redis-check-aof"] {
        symlink(fs::canonicalize(binary()).expect("there"), path(name)).expect("made");
    }
    fs::write(path("x.rdb"), b"REDIS0010\xff\0\0\0\0\0\0\0\0").expect("written");
    fs::write(path("x.aof"), b"*1\r\n$4\r\nping\r\n*1").expect("written");
    let (text, code) = run(&path("redis-check-rdb"), &[&path("x.rdb")]);
    assert!(
        text.contains("\\o/ RDB looks OK! \\o/") && code == 0,
        "{text}"
    );
    let (text, code) = run(&path("redis-check-aof"), &[&path("x.aof")]);
    assert!(
        text.contains("ok_up_to=14, ok_up_to_line=4, diff=2"),
        "{text}"
    );
    assert_eq!(code, 1);
    let (text, code) = run(&path("redis-check-aof"), &[]);
    assert!(
        text.starts_with("Usage: redis-check-aof [--fix|") && code == 1,
        "{text}"
    );
    let (text, code) = run(&binary(), &["check-rdb", &path("x.aof")]);
    assert!(text.contains("Wrong signature") && code == 1, "{text}");
}
