//! The append-only file as its users see it: what is on disk when, and what a server says and does when it
//! cannot be written. A file that leads to /dev/full stands for a full disk.

use crate::harness::{Server, is_oracle, wait_until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn text(dir: &Path, name: &str) -> String {
    let bytes = fs::read(dir.join("appendonlydir").join(name)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn words(dir: &Path, name: &str) -> String {
    let text = text(dir, name);
    let words = text.lines().filter(|l| !l.starts_with(['*', '$']));
    words.collect::<Vec<_>>().join(" ")
}

const INCREMENTAL: &str = "appendonly.aof.1.incr.aof";

/// With `always` whoever has a reply has its write on disk: nothing that comes behind it can undo that.
#[test]
fn always_survives_a_kill_with_all_that_was_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["--dir", dir.path().to_str().expect("a plain path")];
    let args = [
        &args[..],
        &["--appendonly", "yes", "--appendfsync", "always"],
    ]
    .concat();
    let mut server = Server::with(&args);
    let mut raw = server.raw();
    for n in 1..=100 {
        assert_eq!(raw.ask("INCR n"), format!(":{n}"));
        assert!(text(dir.path(), INCREMENTAL).matches("INCR").count() == n);
    }
    server.signal(Signal::SIGKILL);
    server.wait_end();
    let server = Server::with(&args);
    wait_until("the data", || server.raw().ask("GET n") == "\"100\"");
}

/// A transaction that ends the AOF: what it did before is not in the file without what came after it.
#[test]
fn it_is_switched_on_and_off_by_a_transaction() {
    let server = Server::with(&["--appendonly", "yes"]);
    server.check(&[
        ("SET before 1", "OK"),
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("CONFIG SET appendonly no", "QUEUED"),
        ("SET b 1", "QUEUED"),
        ("EXEC", "[OK, OK, OK]"),
        ("SET c 1", "OK"),
    ]);
    assert_eq!(words(server.dir(), INCREMENTAL), "SELECT 0 SET before 1");
    server.check(&[
        ("MULTI", "OK"),
        ("SET d 1", "QUEUED"),
        ("CONFIG SET appendonly yes", "QUEUED"),
        ("SET e 1", "QUEUED"),
        ("EXEC", "[OK, OK, OK]"),
    ]);
    server.wait_rewritten();
    server.check(&[
        ("SET f 1", "OK"),
        ("DEBUG LOADAOF", "OK"),
        ("EXISTS before a b c d e f", ":7"),
    ]);
}

/// What cannot be written is told, writes are refused, reads are not; and it ends when there is room.
#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let server = Server::start();
    let dir = server.dir().join("appendonlydir");
    fs::create_dir(&dir).expect("made");
    symlink("/dev/full", dir.join("temp-appendonly.aof.incr")).expect("made");
    server.check(&[("SET a 1", "OK"), ("CONFIG SET appendonly yes", "OK")]);
    server.wait_rewritten();
    let mut raw = server.raw();
    // The first one is answered: with `everysec` it has two seconds to get to disk.
    assert_eq!(raw.ask("SET a 2"), "OK");
    let refused = "(error) MISCONF Errors writing to the AOF file: No space left on device";
    assert_eq!(raw.ask("SET a 3"), refused);
    assert_eq!(raw.ask("PING"), refused);
    assert_eq!(raw.ask("GET a"), "\"2\"");
    assert_eq!(server.info("aof_last_write_status"), "err");
    let line = "Error writing to the AOF file: No space left on device";
    assert_eq!(server.log().matches(line).count(), 1);
    // The end of a server that has something to lose has to be asked for twice.
    if !is_oracle() {
        // Redis ends, and what it has answered is gone.
        assert_eq!(
            raw.ask("SHUTDOWN NOSAVE"),
            "(error) ERR Errors trying to SHUTDOWN. Check logs."
        );
    }
    assert_eq!(raw.ask("CONFIG SET appendonly no"), "OK");
    assert_eq!(raw.ask("SET a 4"), "OK");
    assert_eq!(raw.ask("CONFIG SET appendonly yes"), "OK");
    server.wait_rewritten();
    server.check(&[
        ("SET a 5", "OK"),
        ("DEBUG LOADAOF", "OK"),
        ("GET a", "\"5\""),
    ]);
}

/// No reply goes out that `always` cannot stand for.
#[test]
fn always_ends_the_server_when_it_cannot_write() {
    let mut server = Server::with(&["--appendfsync", "always"]);
    let dir = server.dir().join("appendonlydir");
    fs::create_dir(&dir).expect("made");
    symlink("/dev/full", dir.join("temp-appendonly.aof.incr")).expect("made");
    server.check(&[("CONFIG SET appendonly yes", "OK")]);
    server.wait_rewritten();
    let mut raw = server.raw();
    raw.command(&["SET", "a", "1"]);
    assert_eq!(raw.read_to_end(), b"");
    assert_eq!(server.wait_end().code(), Some(1));
    assert!(server.log().contains(
        "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
    ));
}

/// A directory that cannot be made refuses the change, and all of it.
#[test]
fn a_change_that_cannot_be_is_refused_whole() {
    let server = Server::start();
    fs::write(server.dir().join("appendonlydir"), "a file").expect("written");
    server.check(&[
        (
            "CONFIG SET hz 20 appendonly yes",
            "(error) ERR CONFIG SET failed (possibly related to argument 'appendonly') - Unable to \
             turn on AOF. Check server logs.",
        ),
        ("CONFIG GET hz", "[\"hz\", \"10\"]"),
        ("CONFIG GET appendonly", "[\"appendonly\", \"no\"]"),
        ("SET a 1", "OK"),
    ]);
    assert_eq!(server.info("aof_enabled"), "0");
}

/// The files of before stayed where they were and the next ones came elsewhere: no server found both.
#[test]
fn the_directory_stays_as_long_as_the_aof_is_on() {
    let server = Server::with(&["--appendonly", "yes", "--enable-protected-configs", "yes"]);
    let other = server.dir().join("other");
    fs::create_dir(&other).expect("made");
    let there = format!("CONFIG SET dir {}", other.display());
    server.check(&[
        ("SET before 1", "OK"),
        (
            &there,
            "(error) ERR CONFIG SET failed (possibly related to argument 'dir') - the append only file is in \
             the old one, set appendonly to no first",
        ),
        ("BGREWRITEAOF", "Background append only file rewriting started"),
        ("SET after 1", "OK"),
    ]);
    assert!(fs::read_dir(&other).expect("it is there").next().is_none());
    server.check(&[
        (&format!("{there} appendonly no"), "OK"),
        ("CONFIG SET appendonly yes", "OK"),
    ]);
    server.wait_rewritten();
    let manifest = text(&other, "appendonly.aof.manifest");
    assert_eq!(
        manifest,
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    );
}
