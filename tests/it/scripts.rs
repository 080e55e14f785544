//! EVAL and what surrounds it: what a script may take of the server, and how others fare while one is busy.
//!
//! Who is kept busy by a script waits for its first BUSY, and ends the script: no clock decides.

use std::fs;
use std::io::Write;

use crate::harness::{Raw, Server, frame, is_oracle, wait_until};

const BUSY: &str = "(error) BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// A server that is busy at once.
fn server(args: &[&str]) -> Server {
    let mut all = vec!["--busy-reply-threshold", "1"];
    all.extend_from_slice(args);
    Server::with(&all)
}

fn eval(raw: &mut Raw, code: &str) -> String {
    raw.command(&["EVAL", code, "0"]);
    raw.reply()
}

/// Waits until the server answers BUSY: for ever is a script's loop, so it does.
fn wait_busy(raw: &mut Raw) {
    wait_until("the script to be busy", || raw.ask("PING") == BUSY);
}

/// A connection that has found a place.
fn joined(server: &Server) -> Raw {
    let mut found = None;
    wait_until("a place", || {
        let mut raw = server.raw();
        raw.send(b"PING\r\n");
        let takes = raw.read_exact(1) == b"+";
        if takes {
            raw.read_exact(6);
        }
        found = takes.then_some(raw);
        takes
    });
    found.expect("it was found")
}

const ENDLESS: &str = "while true do end";

#[test]
fn a_busy_script_is_killed_unless_it_has_written() {
    let server = server(&[]);
    let (mut one, mut other) = (server.raw(), server.raw());
    one.command(&["EVAL", ENDLESS, "0"]);
    wait_busy(&mut other);
    assert_eq!(other.ask("SET a 1"), BUSY);
    assert_eq!(other.ask("FUNCTION KILL"), BUSY);
    assert_eq!(other.ask("SCRIPT KILL"), "OK");
    let told = one.reply();
    assert!(
        told.contains("Script killed by user with SCRIPT KILL"),
        "{told}"
    );
    assert_eq!(other.ask("PING"), "PONG");

    let code = "redis.call('SET', 'k', 1) while redis.call('EXISTS', 'never') == 0 do end";
    one.command(&["EVAL", code, "0"]);
    wait_busy(&mut other);
    for kill in ["SCRIPT KILL", "FUNCTION KILL"] {
        let told = other.ask(kill);
        assert!(told.starts_with("(error) UNKILLABLE "), "{told}");
    }
    other.command(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(other.read_to_end(), b"");
    assert_eq!(one.read_to_end(), b"", "nothing of it counts");
}

/// Passwords take time, and a script has the loop: whoever guesses holds up neither of those who come to end it.
#[test]
fn a_login_beside_a_script_waits_for_its_password_only() {
    if is_oracle() {
        return;
    }
    let phc =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
    let server = server(&[
        "--acl-password-kdf",
        "argon2id",
        "--acl-argon2id-memory",
        "1mb",
        "--user",
        "op",
        "on",
        &format!("#{phc}"),
        "+@all",
        "~*",
    ]);
    let (mut one, mut other, mut op) = (server.raw(), server.raw(), server.raw());
    // This login begins before the script, and may end beside it.
    let mut early = server.raw();
    early.send(&[frame(&["AUTH", "op", "guess"]), frame(&["PING"])].concat());
    one.command(&["EVAL", ENDLESS, "0"]);
    wait_busy(&mut other);
    let guesses = (0..50).map(|n| frame(&["AUTH", "op", &format!("guess{n}")]));
    other.send(&guesses.collect::<Vec<_>>().concat());
    let wrong = "(error) WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(other.reply(), wrong);
    op.send(
        &[
            frame(&["HELLO", "3", "AUTH", "op", "password", "SETNAME", "op"]),
            frame(&["PING"]),
            frame(&["SCRIPT", "KILL"]),
        ]
        .concat(),
    );
    assert!(op.reply().contains("\"proto\""));
    assert_eq!(op.reply(), BUSY);
    assert_eq!(op.reply(), "OK");
    for _ in 1..50 {
        assert_eq!(other.reply(), wrong);
    }
    assert_eq!(early.reply(), wrong);
    let ping = early.reply();
    assert!(ping == "PONG" || ping == BUSY, "{ping}");
    assert_eq!(other.ask("PING"), "PONG");
    assert_eq!(op.ask("ACL WHOAMI"), "\"op\"");
    assert!(one.reply().contains("Script killed by user"));
}

/// Who goes away while a script is busy makes room for who comes to end it.
#[test]
fn clients_that_leave_a_busy_server_make_room() {
    let server = server(&["--maxclients", "3"]);
    let (mut one, mut other, last) = (joined(&server), joined(&server), joined(&server));
    one.command(&["EVAL", ENDLESS, "0"]);
    wait_busy(&mut other);
    drop(last);
    assert_eq!(other.ask("QUIT"), "OK");
    assert_eq!(other.read_to_end(), b"");
    wait_until("a place", || {
        let mut raw = server.raw();
        raw.send(&frame(&["SCRIPT", "KILL"]));
        let mut mark = raw.read_exact(1);
        mark.extend(raw.read_exact(2));
        mark == b"+OK"
    });
    assert!(one.reply().contains("Script killed by user"));
}

/// Replies of what ran before the script go out while it is busy: their writes go to the AOF meanwhile.
#[test]
fn what_is_answered_during_a_script_is_in_the_aof() {
    if is_oracle() {
        return;
    }
    for fsync in ["everysec", "always", "no"] {
        let server = server(&["--appendonly", "yes", "--appendfsync", fsync]);
        let (mut one, mut other) = (server.raw(), server.raw());
        assert_eq!(one.ask("SET first 1"), "OK");
        let both = [
            frame(&["SET", "second", "1"]),
            frame(&["EVAL", ENDLESS, "0"]),
        ];
        one.send(&both.concat());
        wait_busy(&mut other);
        let path = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
        // A write waits for an fsync that is still running, as it does without scripts.
        wait_until("the write in the file", || {
            let text = fs::read(&path).expect("the file is there");
            String::from_utf8_lossy(&text).contains("second")
        });
        assert_eq!(other.ask("SCRIPT KILL"), "OK");
        assert_eq!(one.reply(), "OK");
        assert!(one.reply().contains("Script killed by user"));
    }
}

/// The server ends in the middle of a transaction: nothing of it is in the AOF, so nothing of it is
/// acknowledged, and nothing that would come behind it runs.
#[test]
fn a_transaction_that_a_shutdown_cuts_short_is_not_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let args = ["--dir", dir.path().to_str().expect("a plain path")];
    let args = [&args[..], &["--appendonly", "yes"]].concat();
    let mut server = server(&args);
    let (mut one, mut other) = (server.raw(), server.raw());
    for (request, reply) in [
        ("SET before 1", "OK"),
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
    ] {
        assert_eq!(one.ask(request), reply);
    }
    assert_eq!(eval(&mut one, ENDLESS), "QUEUED");
    assert_eq!(one.ask("SET b 1"), "QUEUED");
    one.send(b"EXEC\r\n");
    wait_busy(&mut other);
    other.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(other.read_to_end(), b"");
    assert_eq!(one.read_to_end(), b"");
    assert_eq!(server.wait_end().code(), Some(0));
    let server = Server::with(&args);
    wait_until("the data", || server.raw().ask("GET before") == "\"1\"");
    assert_eq!(server.raw().ask("EXISTS a b"), ":0");
}

/// The limit holds for who waits behind a script, too.
#[test]
fn a_client_that_sends_too_much_is_closed_while_a_script_is_busy() {
    let server = server(&["--client-query-buffer-limit", "1mb"]);
    let (mut one, mut other, mut greedy) = (server.raw(), server.raw(), server.raw());
    one.command(&["EVAL", ENDLESS, "0"]);
    wait_busy(&mut other);
    greedy.send(b"*2\r\n$4\r\nECHO\r\n$4000000\r\n");
    let part = vec![b'x'; 100_000];
    let ended = (0..30).any(|_| greedy.socket.write_all(&part).is_err());
    assert!(ended || greedy.read_to_end().is_empty());
    assert_eq!(other.ask("SCRIPT KILL"), "OK");
    assert!(one.reply().contains("Script killed by user"));
    if !is_oracle() {
        let stats = other.ask("INFO stats");
        assert!(
            stats.contains("client_query_buffer_limit_disconnections:1"),
            "{stats}"
        );
    }
}

/// One script once ended the process: the collector met the limit where nothing catches it.
#[test]
fn a_script_that_eats_all_memory_ends_alone() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--script-memory-limit", "16mb"]);
    let mut raw = server.raw();
    let code = "local t = {} for i = 1, 200000 do t[i] = 'k' .. i end t = nil
        collectgarbage() collectgarbage('stop')
        local s = string.rep('y', 16000) for i = 1, 1e9 do ARGV[i] = s .. i end";
    for _ in 0..3 {
        let told = eval(&mut raw, code);
        assert!(told.starts_with("(error) ERR not enough memory"), "{told}");
        assert_eq!(eval(&mut raw, "return 1"), ":1");
    }
}

/// The interpreter's garbage is bounded by its own limit: no key makes room for it.
#[test]
fn a_scripts_garbage_evicts_no_keys() {
    let server = Server::with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut raw = server.raw();
    for n in 0..200 {
        raw.command(&["SET", &format!("k{n}"), &"x".repeat(10_000)]);
        assert_eq!(raw.reply(), "OK");
    }
    let used: usize = server.info("used_memory").parse().expect("a number");
    let limit = (used + 2_000_000).to_string();
    assert_eq!(raw.ask(&format!("CONFIG SET maxmemory {limit}")), "OK");
    let code = "collectgarbage('stop') local t = {}
        for i = 1, 80 do t[i] = string.rep('y', 100000) .. i end return #t";
    assert_eq!(eval(&mut raw, code), ":80");
    for n in 0..20 {
        raw.command(&["SET", &format!("more{n}"), "x"]);
        assert_eq!(raw.reply(), "OK");
    }
    assert_eq!(server.info("evicted_keys"), "0");
}

#[test]
fn scripts_that_only_eval_brought_go_when_there_are_too_many() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut raw = server.raw();
    raw.command(&["SCRIPT", "LOAD", "return 'loaded'"]);
    let loaded = raw.reply().trim_matches('"').to_owned();
    for n in 0..510 {
        assert_eq!(eval(&mut raw, &format!("return {n}")), format!(":{n}"));
    }
    assert_eq!(server.info("evicted_scripts"), "10");
    assert_eq!(server.info("number_of_cached_scripts"), "501");
    assert_eq!(raw.ask(&format!("EVALSHA {loaded} 0")), "\"loaded\"");
}
