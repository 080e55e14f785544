//! Logins: failures that are held back and locked out, passwords kept as Argon2id, users that expire,
//! secrets in files, and that no secret is told.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{Server, escape, frame, is_oracle, wait_until};

const WRONG: &str = "(error) WRONGPASS invalid username-password pair or user is disabled.";
const LOCKED: &str = "(error) WRONGPASS too many failed logins";

#[test]
fn too_many_failures_lock_a_user_out_where_they_happened() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--requirepass", "right", "--login-lockout-failures", "3"]);
    let (mut stranger, mut operator) = (server.raw(), server.raw());
    assert_eq!(operator.ask("AUTH right"), "OK");
    for _ in 0..3 {
        assert_eq!(stranger.ask("AUTH wrong"), WRONG);
    }
    // The right password, too: whoever guesses must not learn it from the lock.
    assert!(stranger.ask("AUTH right").starts_with(LOCKED));
    assert!(
        server
            .raw()
            .ask("HELLO 3 AUTH default right")
            .starts_with(LOCKED)
    );
    assert_eq!(
        stranger.ask("AUTH nobody right"),
        WRONG,
        "another name is another count"
    );
    let shown = operator.ask("ACL LOCKOUTS");
    let first = "\"user\" \"default\" \"address\" \"127.0.0.1\" \"failures\" :3 \"locked\" :1";
    assert!(shown.replace(',', "").contains(first), "{shown}");
    assert_eq!(server_info(&mut operator, "login_lockouts_total"), "1");
    assert!(
        server
            .log()
            .contains("Logins of user 'default' from 127.0.0.1 are locked")
    );

    assert_eq!(operator.ask("ACL UNLOCK ADDR 10.0.0.1"), ":0");
    assert_eq!(operator.ask("ACL UNLOCK USER default ADDR 127.0.0.1"), ":1");
    assert_eq!(stranger.ask("AUTH right"), "OK");
    for (request, error) in [
        ("ACL UNLOCK USER", "ERR syntax error"),
        ("ACL UNLOCK ADDR here", "ERR ADDR takes an IP address"),
        ("ACL UNLOCK USER a USER b", "ERR syntax error"),
    ] {
        assert!(operator.ask(request).contains(error), "{request}");
    }
    // What is switched off holds nobody.
    let mut stranger = server.raw();
    for _ in 0..3 {
        stranger.ask("AUTH wrong");
    }
    assert!(stranger.ask("AUTH right").starts_with(LOCKED));
    assert_eq!(operator.ask("CONFIG SET login-lockout-failures 0"), "OK");
    assert_eq!(stranger.ask("AUTH right"), "OK");
}

/// Names are made up for nothing: no count gets lost, and the log tells of it once a second.
#[test]
fn whoever_makes_up_names_is_locked_out_all_the_same() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--requirepass", "right", "--login-lockout-failures", "3"]);
    let (mut stranger, mut operator) = (server.raw(), server.raw());
    assert_eq!(operator.ask("AUTH right"), "OK");
    for _ in 0..2 {
        assert_eq!(stranger.ask("AUTH wrong"), WRONG);
    }
    let names = 3000;
    for chunk in 0..names / 100 {
        let tries = (0..300).map(|n| frame(&["AUTH", &format!("n{chunk}-{}", n / 3), "x"]));
        stranger.send(&tries.collect::<Vec<_>>().concat());
        for _ in 0..300 {
            stranger.reply();
        }
    }
    assert_eq!(stranger.ask("AUTH wrong"), WRONG, "the third");
    assert!(stranger.ask("AUTH right").starts_with(LOCKED));
    assert!(stranger.ask("AUTH one-more x").starts_with(LOCKED));
    let shown = operator.ask("ACL LOCKOUTS").matches("\"failures\"").count();
    assert!(shown < 300, "{shown}");
    let lines = server.log().matches(" are locked for ").count();
    assert!(lines < 100, "{lines}");
    assert_eq!(
        operator.ask("ACL UNLOCK ADDR 127.0.0.1"),
        format!(":{shown}")
    );
    assert_eq!(stranger.ask("AUTH right"), "OK");
}

fn server_info(raw: &mut crate::harness::Raw, field: &str) -> String {
    let text = raw.ask("INFO stats");
    let line = text
        .split("\\r\\n")
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

#[test]
fn the_reply_to_a_failed_login_is_held_back() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--requirepass", "right", "--login-failure-delay", "50"]);
    let mut operator = server.raw();
    assert_eq!(operator.ask("AUTH right"), "OK");
    let mut stranger = server.raw();
    let started = Instant::now();
    stranger.send(
        &[
            frame(&["AUTH", "wrong"]),
            frame(&["AUTH", "right"]),
            frame(&["PING"]),
        ]
        .concat(),
    );
    assert_eq!(stranger.reply(), WRONG);
    assert!(
        started.elapsed() >= Duration::from_millis(45),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(stranger.reply(), "OK", "its other requests waited");
    assert_eq!(stranger.reply(), "PONG");

    // Nobody can cut it short, and who goes away leaves nothing behind.
    operator.ask("CONFIG SET login-failure-delay 60000");
    let mut waits = server.raw();
    waits.send(&frame(&["HELLO", "2", "AUTH", "default", "wrong"]));
    let mut id = String::new();
    wait_until("a client to be held back", || {
        let list = operator.ask("CLIENT LIST");
        let line = list.split("\\n").find(|line| line.contains("flags=b"));
        id = line
            .and_then(|line| line.split("id=").nth(1)?.split(' ').next())
            .unwrap_or_default()
            .to_owned();
        !id.is_empty()
    });
    // Nor is another connection a way around it, or a transaction.
    assert!(server.raw().ask("AUTH right").starts_with(LOCKED));
    for (request, reply) in [
        ("MULTI", "OK"),
        ("AUTH other one", "QUEUED"),
        ("AUTH other two", "QUEUED"),
    ] {
        assert_eq!(operator.ask(request), reply);
    }
    let replies = operator.ask("EXEC");
    let refused = [&WRONG[8..], &LOCKED[8..]];
    assert!(
        refused.iter().all(|text| replies.contains(text)),
        "{replies}"
    );
    for how in ["", " TIMEOUT", " ERROR"] {
        assert_eq!(operator.ask(&format!("CLIENT UNBLOCK {id}{how}")), ":0");
    }
    drop(waits);
    wait_until("it is gone", || {
        !operator.ask("CLIENT LIST").contains("flags=b")
    });
}

/// A server that keeps passwords as Argon2id with so much memory.
fn with_argon2id(memory: &str, args: &[&str]) -> Server {
    let own = [
        "--acl-password-kdf",
        "argon2id",
        "--acl-argon2id-memory",
        memory,
    ];
    Server::with(&[&own[..], args].concat())
}

#[test]
fn passwords_are_kept_as_argon2id_and_logins_wait_for_them() {
    if is_oracle() {
        return;
    }
    let server = with_argon2id("1mb", &[]);
    let mut admin = server.raw();
    assert_eq!(admin.ask("ACL SETUSER alice on >old >pw +@all ~* &*"), "OK");
    let shown = admin.ask("ACL GETUSER alice");
    assert_eq!(
        shown.matches("$argon2id$v=19$m=1024,t=2,p=1$").count(),
        2,
        "{shown}"
    );
    assert_eq!(admin.ask("ACL SETUSER alice <old"), "OK");
    let error = admin.ask("ACL SETUSER alice <old");
    assert!(error.contains("The password you are trying to remove from the user does not exist"));

    // Requests behind a login wait for it; a failure is one like any other.
    for (password, reply, who) in [("pw", "OK", "\"alice\""), ("old", WRONG, "\"default\"")] {
        let mut raw = server.raw();
        raw.send(
            &[
                frame(&["AUTH", "alice", password]),
                frame(&["ACL", "WHOAMI"]),
            ]
            .concat(),
        );
        assert_eq!(raw.reply(), reply);
        assert_eq!(raw.reply(), who);
    }
    let mut raw = server.raw();
    assert!(
        raw.ask("HELLO 3 AUTH alice pw SETNAME n")
            .contains("\"proto\"")
    );
    assert_eq!(raw.ask("CLIENT GETNAME"), "\"n\"");
    assert_eq!(
        raw.ask("HGETALL none"),
        "{}",
        "the protocol changed with the login"
    );
    assert_eq!(raw.ask("AUTH nobody pw"), WRONG);

    // All at once: the same password is derived once.
    let mut pool: Vec<_> = (0..40).map(|_| server.raw()).collect();
    for raw in &mut pool {
        raw.send(&frame(&["AUTH", "alice", "pw"]));
    }
    for raw in &mut pool {
        assert_eq!(raw.reply(), "OK");
    }
    // A transaction answers at once: what is known already it can check.
    let mut raw = server.raw();
    for (request, reply) in [
        ("MULTI", "OK"),
        ("AUTH alice guess", "QUEUED"),
        ("AUTH alice pw", "QUEUED"),
        ("ACL WHOAMI", "QUEUED"),
    ] {
        assert_eq!(raw.ask(request), reply);
    }
    let replies = raw.ask("EXEC");
    assert!(
        replies.contains("log in outside of the transaction"),
        "{replies}"
    );
    assert!(replies.ends_with("OK, \"alice\"]"), "{replies}");

    // Kept as text it is the same password elsewhere, and so is a digest.
    let listed = admin.ask("ACL LIST");
    let from = listed.find("#$argon2id").expect("it is listed");
    let phc = listed[from..].split(' ').next().expect("a word").to_owned();
    assert_eq!(admin.ask("ACL DELUSER alice"), ":1");
    admin.ask("CONFIG SET acl-password-kdf sha256");
    assert_eq!(
        admin.ask(&format!("ACL SETUSER bob on {phc} >plain +@all")),
        "OK"
    );
    for password in ["pw", "plain"] {
        assert_eq!(server.raw().ask(&format!("AUTH bob {password}")), "OK");
    }
    let error = admin.ask("ACL SETUSER bob #$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$AAAA");
    assert!(
        error.starts_with("(error) ERR Error in ACL SETUSER modifier"),
        "{error}"
    );
}

#[test]
fn a_failure_is_counted_also_where_the_password_takes_time() {
    if is_oracle() {
        return;
    }
    let server = with_argon2id("64kb", &["--login-lockout-user-failures", "2"]);
    let mut admin = server.raw();
    admin.ask("ACL SETUSER alice on >pw");
    // All are under way before the first is known to be wrong, and the right one is among them.
    let mut guesses: Vec<_> = (0..6).map(|_| server.raw()).collect();
    for (n, raw) in guesses.iter_mut().enumerate() {
        raw.send(&frame(&["AUTH", "alice", &format!("guess{n}")]));
    }
    let replies: Vec<String> = guesses.iter_mut().map(|raw| raw.reply()).collect();
    let looked_at = replies.iter().filter(|reply| *reply == WRONG).count();
    let locked = replies
        .iter()
        .filter(|reply| reply.starts_with(LOCKED))
        .count();
    assert_eq!((looked_at, locked), (2, 4), "{replies:?}");
    assert!(server.raw().ask("AUTH alice pw").starts_with(LOCKED));
    assert_eq!(admin.ask("ACL UNLOCK ALL"), ":2");
    assert_eq!(server.raw().ask("AUTH alice pw"), "OK");
}

fn unix_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

#[test]
fn an_expired_user_cannot_log_in_and_is_closed() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut admin = server.raw();
    let later = unix_s() + 100;
    admin.ask(&format!("ACL SETUSER guest on >pw +@all expires:{later}"));
    let mut guest = server.raw();
    assert_eq!(guest.ask("AUTH guest pw"), "OK");
    assert_eq!(guest.ask("PING"), "PONG");
    admin.ask(&format!("ACL SETUSER guest expires:{}", unix_s() - 1));
    guest.read_to_end();
    let mut late = server.raw();
    assert_eq!(
        late.ask("AUTH guest pw"),
        "(error) WRONGPASS the password is right, but this user has expired"
    );
    assert_eq!(late.ask("AUTH guest wrong"), WRONG);
    admin.ask("ACL SETUSER guest expires:0");
    assert_eq!(late.ask("AUTH guest pw"), "OK");
    // Who needs no password has to log in as somebody else once the default user has expired.
    admin.ask("ACL SETUSER operator on >pw +@all ~*");
    admin.ask("ACL SETUSER default expires:1");
    admin.read_to_end();
    let mut new = server.raw();
    assert_eq!(new.ask("PING"), "(error) NOAUTH Authentication required.");
    assert_eq!(new.ask("AUTH operator pw"), "OK");
    assert_eq!(new.ask("PING"), "PONG");
}

#[test]
fn secrets_stand_in_files_of_their_own() {
    if is_oracle() {
        return;
    }
    let files: [(&str, &[u8]); 3] = [
        ("redis.conf", b"requirepass-file pass\n"),
        ("pass", b"fr0m-file\n"),
        ("bad", b""),
    ];
    let server = Server::with_files(&files, &["--requirepass-file", "pass"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("AUTH fr0m-file"), "OK");
    assert_eq!(
        raw.ask("CONFIG GET requirepass*"),
        "[\"requirepass\", \"\", \"requirepass-file\", \"pass\"]"
    );
    let put = |text: &str| {
        let mut file = std::fs::File::create(server.dir().join("pass")).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    };
    put("rotated\n");
    assert_eq!(
        raw.ask("CONFIG SET requirepass-file bad")
            .split(" - ")
            .count(),
        2
    );
    assert_eq!(server.raw().ask("AUTH fr0m-file"), "OK", "nothing changed");
    assert_eq!(raw.ask("CONFIG SET requirepass-file pass"), "OK");
    assert_eq!(server.raw().ask("AUTH fr0m-file"), WRONG);
    assert_eq!(server.raw().ask("AUTH rotated"), "OK");
    assert_eq!(raw.ask("CONFIG REWRITE"), "OK");
    let written = std::fs::read_to_string(server.dir().join("redis.conf")).expect("written");
    assert!(!written.contains("rotated"), "{written}");
    // It is the file that counts when the server starts again, not what was written of its secret.
    put("again\n");
    let dir = server.kill();
    let server = Server::on(&crate::harness::binary(), dir, &[]);
    assert_eq!(server.raw().ask("AUTH rotated"), WRONG);
    assert_eq!(server.raw().ask("AUTH again"), "OK");
}

/// The password of a file is one of the default user's, as long as the file has it, and is written nowhere.
#[test]
fn a_secret_of_a_file_stands_beside_those_of_the_acl_file() {
    if is_oracle() {
        return;
    }
    let files: [(&str, &[u8]); 3] = [
        ("redis.conf", b"requirepass-file pass\naclfile u.acl\n"),
        ("pass", b"fr0m-file\n"),
        ("u.acl", b"user default on >fr0m-acl ~* &* +@all\n"),
    ];
    for kdf in ["sha256", "argon2id"] {
        let args = ["--acl-password-kdf", kdf, "--acl-argon2id-memory", "64kb"];
        let server = Server::with_files(&files, &args);
        let login = |password: &str| server.raw().ask(&format!("AUTH {password}"));
        let mut raw = server.raw();
        assert_eq!(raw.ask("AUTH fr0m-file"), "OK");
        let kept = |raw: &mut crate::harness::Raw| {
            let user = raw.ask("ACL GETUSER default");
            let from = user.find("\"passwords\", [").expect("passwords") + 14;
            let user = &user[from..];
            let hashes = user[..user.find(']').unwrap_or(0)].split(", ");
            hashes
                .map(|hash| hash.trim_matches('"').to_owned())
                .collect::<Vec<_>>()
        };
        for request in ["PING", "ACL LOAD", "ACL SAVE", "ACL LOAD", "CONFIG REWRITE"] {
            assert!(!raw.ask(request).contains("ERR"), "{request}");
            assert_eq!(login("fr0m-file"), "OK", "{request}");
            assert_eq!(login("fr0m-acl"), "OK", "{request}");
        }
        let hashes = kept(&mut raw);
        assert_eq!(hashes.len(), 2, "{hashes:?}");
        assert!(
            hashes
                .iter()
                .all(|hash| hash.contains("argon2id") == (kdf == "argon2id"))
        );
        for file in ["u.acl", "redis.conf"] {
            let text = std::fs::read_to_string(server.dir().join(file)).expect("written");
            assert!(
                !text.contains("fr0m-file") && !text.contains(&hashes[1]),
                "{text}"
            );
            assert_eq!(text.contains(&hashes[0]), file == "u.acl");
        }
        std::fs::write(server.dir().join("pass"), "rotated\n").expect("written");
        assert_eq!(raw.ask("CONFIG SET requirepass-file pass"), "OK");
        for (password, reply) in [("rotated", "OK"), ("fr0m-acl", "OK"), ("fr0m-file", WRONG)] {
            assert_eq!(login(password), reply, "{password}");
        }
        assert_eq!(raw.ask("CONFIG SET requirepass-file "), "OK");
        for (password, reply) in [("rotated", WRONG), ("fr0m-acl", "OK")] {
            assert_eq!(login(password), reply, "{password}");
        }
    }
}

#[test]
fn a_server_does_not_start_without_its_secrets() {
    if is_oracle() {
        return;
    }
    for (files, why) in [
        (
            vec![("redis.conf", &b"requirepass-file none\n"[..])],
            "requirepass-file: can't read",
        ),
        (
            vec![
                ("redis.conf", &b"requirepass-file pass\n"[..]),
                ("pass", b"\n"),
            ],
            "requirepass-file: there is no secret in",
        ),
        (
            vec![("redis.conf", &b"requirepass s3cret s3cret\n"[..])],
            "requirepass (redacted)",
        ),
    ] {
        let (status, log, _dir) = Server::fails_with(&files, &[]);
        assert!(!status.success() && log.contains(why), "{log}");
        assert!(!log.contains("s3cret"), "{log}");
    }
}

/// Every way in which a secret comes in, and then every place where one could come out.
#[test]
fn no_secret_is_told() {
    if is_oracle() {
        return;
    }
    let files: [(&str, &[u8]); 1] = [("filed", b"s3cret-filed\n")];
    let server = Server::with_files(
        &files,
        &[
            "--loglevel",
            "debug",
            "--slowlog-log-slower-than",
            "0",
            "--masterauth-file",
            "filed",
            "--tls-key-file-pass-file",
            "filed",
            "--login-lockout-failures",
            "3",
        ],
    );
    let mut monitor = server.raw();
    assert_eq!(monitor.ask("MONITOR"), "OK");
    let mut raw = server.raw();
    for request in [
        "ACL SETUSER u on >s3cret-a >s3cret-b <s3cret-a +@all ~* &*",
        "ACL SETUSER u on >s3cret-a nonsense",
        "acl setuser v (>s3cret-a)",
        "ADDUSER w s3cret-a",
        "ADDUSER w s3cret-a none",
        "AUTH s3cret-x",
        "AUTH u s3cret-x",
        "AUTH u s3cret-b",
        "AUTH u s3cret-x s3cret-y",
        "HELLO 3 AUTH u s3cret-x",
        "HELLO 3 AUTH u s3cret-b SETNAME n",
        "HELLO 3 SETNAME n AUTH u s3cret-x",
        "HELLO 2",
        "CONFIG SET requirepass s3cret-c",
        "CONFIG SET masterauth s3cret-c maxmemory nonsense",
        "CONFIG SET maxclients 100 tls-key-file-pass s3cret-c",
        "CONFIG SET tls-key-file-pass-file filed",
        "CONFIG SET requirepass ",
        "MIGRATE 127.0.0.1 1 k 0 10 AUTH s3cret-m",
        "MIGRATE 127.0.0.1 1 k 0 10 AUTH2 u s3cret-m",
        "MULTI",
        "AUTH u s3cret-x",
        "ACL SETUSER u >s3cret-d",
        "CONFIG SET masterauth s3cret-c",
        "EXEC",
        "CONFIG SET masterauth-file filed",
    ] {
        raw.ask(request);
    }
    // The inline form is a request like any other.
    raw.send(b"AUTH u s3cret-x\r\n");
    raw.reply();
    let mut told = String::new();
    for request in [
        "SLOWLOG GET -1",
        "COMMANDLOG GET -1 slow",
        "CONFIG GET *",
        "INFO everything",
        "CLIENT LIST",
        "CLIENT INFO",
        "ACL LIST",
        "ACL GETUSER u",
        "ACL LOG",
        "ACL LOCKOUTS",
        "LATENCY LATEST",
        "HOTKEYS GET",
    ] {
        told += &raw.ask(request);
    }
    assert!(!told.contains("s3cret"), "{}", around(&told));
    raw.ask("ECHO that-was-all");
    let mut seen = String::new();
    while !seen.contains("that-was-all") {
        seen = monitor.reply();
        assert!(!seen.contains("s3cret"), "{seen}");
    }
    // A report of a crash tells what runs: here, and behind it in the same batch.
    raw.send(
        &[
            frame(&["DEBUG", "SEGFAULT"]),
            frame(&["AUTH", "u", "s3cret-x"]),
            frame(&["ACL", "SETUSER", "u", ">s3cret-x"]),
        ]
        .concat(),
    );
    wait_until("the report", || server.log().contains("REPORT END"));
    let log = server.log();
    assert!(!log.contains("s3cret"), "{}", around(&log));
    for entry in std::fs::read_dir(server.dir()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "filed") {
            let text = escape(&std::fs::read(&path).unwrap_or_default());
            assert!(!text.contains("s3cret"), "{}", path.display());
        }
    }
}

/// The neighbourhood of what should not be there.
fn around(text: &str) -> &str {
    let at = text.find("s3cret").unwrap_or(0);
    let from = (0..=at.saturating_sub(200))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    let to = (at..=text.len().min(at + 80))
        .rev()
        .find(|i| text.is_char_boundary(*i));
    &text[from.unwrap_or(0)..to.unwrap_or(text.len())]
}
