//! Snapshots in the background: what the child sees, leaves alone, and means to clients.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Server, binary, is_oracle, wait_until};

/// A server with so many keys of 500 bytes, whose children take this long for each.
fn populated(keys: usize, delay_us: u32) -> Server {
    let server = Server::start();
    server.check(&[
        (&format!("DEBUG POPULATE {keys} key 500"), "OK"),
        (&format!("CONFIG SET rdb-key-save-delay {delay_us}"), "OK"),
    ]);
    server
}

fn saving(server: &Server) -> bool {
    server.info("rdb_bgsave_in_progress") == "1"
}

fn wait_saved(server: &Server) {
    wait_until("the end of the child", || !saving(server));
}

/// The file that a child writes; its name tells the child's process.
fn temporary(dir: &Path) -> Option<(PathBuf, i32)> {
    fs::read_dir(dir).expect("its directory").find_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name()?.to_str()?;
        let pid = name.strip_prefix("temp-")?.strip_suffix(".rdb")?;
        Some((path.clone(), pid.parse().ok()?))
    })
}

/// Begins a snapshot that takes a while, and waits for its file.
fn begin(server: &Server) -> (PathBuf, i32) {
    assert_eq!(
        server.raw().ask("BGSAVE"),
        "Background saving started",
        "a child is started"
    );
    let mut found = None;
    wait_until("the child's file", || {
        found = temporary(server.dir());
        found.is_some()
    });
    found.expect("the condition says so")
}

fn runs(pid: i32) -> bool {
    // Nobody may be there to collect it: a zombie runs no more.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| !rest.starts_with('Z'))
}

/// What a child shares with the server costs memory once one of them writes to it. Readers must not.
#[test]
fn readers_copy_no_memory_while_a_child_lives() {
    const KEYS: usize = 10_000;
    let server = populated(KEYS, 10);
    let mut delay_us = 10;
    let mut run = |request: &dyn Fn(usize) -> String| {
        loop {
            begin(&server);
            let mut raw = server.raw();
            for first in (0..KEYS).step_by(100) {
                for n in first..first + 100 {
                    let request = request(n);
                    raw.command(&request.split(' ').collect::<Vec<_>>());
                }
                (0..100).for_each(|_| _ = raw.reply());
            }
            let outlived = saving(&server);
            wait_saved(&server);
            if outlived {
                let bytes = server.info("rdb_last_cow_size");
                return bytes.parse::<usize>().expect("a number");
            }
            // The child was faster than its readers, which tells nothing.
            delay_us *= 4;
            server.check(&[(&format!("CONFIG SET rdb-key-save-delay {delay_us}"), "OK")]);
        }
    };
    let read = run(&|n| format!("GET key:{n}"));
    let written = run(&|n| format!("SETRANGE key:{n} 3 x"));
    // What the child itself writes to (buffers, the allocator) is below 2 MiB; the keys are 5 MB.
    assert!(read < 2 << 20, "{read} bytes for reading");
    assert!(written > read + (3 << 20), "{written} bytes for writing");
}

/// A connection that the server closes is closed for the client, too: no copy in a child keeps it.
#[test]
fn a_child_keeps_no_connection_open() {
    if is_oracle() {
        return;
    }
    let server = populated(100, 1_000_000);
    let mut other = server.raw();
    let id = other.ask("CLIENT ID");
    let (_, pid) = begin(&server);
    let id = id.trim_start_matches(':');
    server.check(&[(&format!("CLIENT KILL ID {id}"), ":1")]);
    assert_eq!(other.read_to_end(), b"", "the connection ends");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives");
    let sockets = open
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter(|to| to.to_string_lossy().starts_with("socket:"));
    assert_eq!(sockets.count(), 0);
}

/// A server that is started anew must not have its snapshot replaced by one of before, by the child of
/// the server that was killed.
#[test]
fn a_child_ends_with_its_server() {
    if is_oracle() {
        return;
    }
    let mut server = populated(100, 1_000_000);
    let (_, pid) = begin(&server);
    server.signal(Signal::SIGKILL);
    server.wait_end();
    wait_until("the end of the child", || !runs(pid));
    assert!(!server.dir().join("dump.rdb").exists());
}

/// After a failure writes are refused, and whoever asks how the server is learns it; until one
/// succeeds, or nobody wants to know.
#[test]
fn a_failed_snapshot_refuses_writes() {
    let server = populated(10, 1_000_000);
    let mut raw = server.raw();
    raw.command(&["CONFIG", "SET", "save", "3600 1"]);
    assert_eq!(raw.reply(), "OK");
    let (path, pid) = begin(&server);
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("our own grandchild");
    wait_saved(&server);
    assert!(!path.exists(), "what it left is removed");
    assert_eq!(server.info("rdb_last_bgsave_status"), "err");
    for refused in ["SET a b", "PING", "DEL nothing"] {
        let reply = raw.ask(refused);
        assert!(reply.starts_with("(error) MISCONF Redis is"), "{reply}");
    }
    assert_eq!(raw.ask("GET a"), "nil");
    assert_eq!(raw.ask("MULTI"), "OK");
    assert!(raw.ask("SET a b").starts_with("(error) MISCONF"));
    assert!(raw.ask("EXEC").starts_with("(error) EXECABORT"));

    server.check(&[
        ("CONFIG SET stop-writes-on-bgsave-error no", "OK"),
        ("SET a b", "OK"),
        ("CONFIG SET stop-writes-on-bgsave-error yes", "OK"),
        ("CONFIG SET rdb-key-save-delay 0", "OK"),
        ("BGSAVE", "Background saving started"),
    ]);
    wait_saved(&server);
    assert_eq!(server.info("rdb_last_bgsave_status"), "ok");
    server.check(&[("PING", "PONG"), ("SET a c", "OK")]);
}

/// A snapshot that was told to end is no failure.
#[test]
fn a_cancelled_snapshot_is_no_failure() {
    if is_oracle() {
        return;
    }
    let server = populated(100, 1_000_000);
    let nothing = "(error) ERR Background saving is currently not in progress or scheduled";
    server.check(&[("BGSAVE CANCEL", nothing)]);
    let (path, _) = begin(&server);
    server.check(&[
        (
            "BGSAVE SCHEDULE",
            "(error) ERR Background save already in progress",
        ),
        ("SAVE", "(error) ERR Background save already in progress"),
        ("BGSAVE CANCEL", "Background saving cancelled"),
    ]);
    wait_saved(&server);
    assert!(!path.exists(), "what it left is removed");
    assert_eq!(server.info("rdb_last_bgsave_status"), "ok");
    server.check(&[
        ("MULTI", "OK"),
        ("BGSAVE", "QUEUED"),
        ("EXEC", "[Background saving scheduled]"),
    ]);
    wait_until("the scheduled child", || saving(&server));
}

/// What is written while a child lives is not in its file, and counts as unsaved.
#[test]
fn changes_behind_a_childs_back_stay_unsaved() {
    let server = populated(5, 50_000);
    begin(&server);
    server.check(&[("SET a 1", "OK"), ("SET b 1", "OK")]);
    assert!(saving(&server));
    wait_saved(&server);
    assert_eq!(server.info("rdb_changes_since_last_save"), "2");
    server.check(&[("SAVE", "OK")]);
    assert_eq!(server.info("rdb_changes_since_last_save"), "0");
}

/// A request behind SHUTDOWN in the same turn would be acknowledged and lost.
#[test]
fn nothing_is_acknowledged_behind_the_last_snapshot() {
    let mut server = Server::start();
    let mut raw = server.raw();
    raw.send(b"SET a 1\r\nSHUTDOWN SAVE\r\nSET b 1\r\n");
    assert_eq!(raw.read_to_end(), b"+OK\r\n");
    assert!(server.wait_end().success());
    assert!(server.dir().join("dump.rdb").exists());
}

/// Who starts the server may have SIGCHLD ignored: the kernel collected the child then, nobody learnt how it
/// ended, and no other one was begun any more.
#[test]
fn children_are_collected_where_sigchld_was_ignored() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = dir.path().join("redvault");
    let text = format!("#!/bin/sh\ntrap '' CHLD\nexec {} \"$@\"\n", binary());
    fs::write(&script, text).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let server = Server::on(script.to_str().expect("text"), dir, &[]);
    for saves in ["1", "2"] {
        server.check(&[("BGSAVE", "Background saving started")]);
        wait_until("the end of the child", || {
            server.info("rdb_bgsave_in_progress") == "0"
        });
        assert_eq!(server.info("rdb_saves"), saves);
        assert_eq!(server.info("rdb_last_bgsave_status"), "ok");
    }
}
