//! Connections: passwords, protocols, and what clients do to each other.

use crate::harness::{Raw, Server, is_oracle, wait_until};

/// The value of a field in a client's own line of CLIENT LIST.
fn field(raw: &mut Raw, name: &str) -> String {
    let line = raw.ask("CLIENT INFO");
    let start = format!("{name}=");
    line.trim_matches('"')
        .split([' ', '\\'])
        .find_map(|word| word.strip_prefix(&start))
        .unwrap_or_else(|| panic!("no {name} in {line}"))
        .into()
}

#[test]
fn auth_with_and_without_a_password() {
    let server = Server::start();
    // Shown since 7.2.
    let shown = if is_oracle() { "" } else { "sanitize-payload " };
    server.check(&[
        (
            "AUTH x",
            "(error) ERR AUTH <password> called without any password configured for the default \
             user. Are you sure your configuration is correct?",
        ),
        ("AUTH default x", "OK"),
        (
            "AUTH nobody x",
            "(error) WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("AUTH a b c", "(error) ERR syntax error"),
        ("CONFIG SET requirepass secret", "OK"),
        // Who is in stays in.
        ("PING", "PONG"),
    ]);
    server.check(&[
        ("PING", "(error) NOAUTH Authentication required."),
        ("CLIENT ID", "(error) NOAUTH Authentication required."),
        (
            "AUTH wrong",
            "(error) WRONGPASS invalid username-password pair or user is disabled.",
        ),
        ("AUTH secret", "OK"),
        ("PING", "PONG"),
        ("RESET", "RESET"),
        ("PING", "(error) NOAUTH Authentication required."),
        ("AUTH default secret", "OK"),
        ("ACL WHOAMI", "\"default\""),
        (
            "ACL LIST",
            &format!(
                "[\"user default on {shown}\
                 #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b ~* &* +@all\"]"
            ),
        ),
        ("CONFIG SET requirepass ", "OK"),
    ]);
    server.check(&[
        ("PING", "PONG"),
        (
            "ACL LIST",
            &format!("[\"user default on nopass {shown}~* &* +@all\"]"),
        ),
    ]);
}

#[test]
fn a_password_taken_away_lets_in_who_waits() {
    let server = Server::with(&["--requirepass", "secret"]);
    let (mut outside, mut inside) = (server.raw(), server.raw());
    assert!(outside.ask("PING").contains("NOAUTH"));
    assert_eq!(inside.ask("AUTH secret"), "OK");
    inside.ask("CONFIG SET requirepass ");
    assert_eq!(outside.ask("PING"), "PONG");
}

#[test]
fn hello_speaks_both_protocols() {
    let server = Server::start();
    let mut raw = server.raw();
    let version = if is_oracle() { "7.0.15" } else { "7.2.4" };
    let id = raw.ask("CLIENT ID");
    let facts = |proto: u8| {
        [
            ("server", "\"redis\"".to_string()),
            ("version", format!("\"{version}\"")),
            ("proto", format!(":{proto}")),
            ("id", id.clone()),
            ("mode", "\"standalone\"".to_string()),
            ("role", "\"master\"".to_string()),
            ("modules", "[]".to_string()),
        ]
    };
    let list = facts(2).map(|(name, value)| format!("\"{name}\", {value}"));
    assert_eq!(raw.ask("HELLO"), format!("[{}]", list.join(", ")));
    let map = facts(3).map(|(name, value)| format!("\"{name}\" => {value}"));
    assert_eq!(
        raw.ask("HELLO 3 SETNAME me"),
        format!("{{{}}}", map.join(", "))
    );
    assert_eq!(raw.ask("GET nothing"), "nil");
    assert!(raw.ask("CLIENT INFO").starts_with("=txt:\"id="));
    assert_eq!(raw.ask("CLIENT GETNAME"), "\"me\"");
    for (request, error) in [
        ("HELLO 4", "NOPROTO unsupported protocol version"),
        (
            "HELLO x",
            "ERR Protocol version is not an integer or out of range",
        ),
        ("HELLO 2 AUTH x", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 2 what", "ERR Syntax error in HELLO option 'what'"),
        (
            "HELLO 2 AUTH nobody x",
            "WRONGPASS invalid username-password pair or user is disabled.",
        ),
    ] {
        assert_eq!(raw.ask(request), format!("(error) {error}"), "{request}");
    }
    // A HELLO that fails changes nothing.
    assert!(raw.ask("CLIENT INFO").starts_with("=txt:"));
}

#[test]
fn hello_lets_in_with_a_password() {
    let server = Server::with(&["--requirepass", "secret"]);
    let mut raw = server.raw();
    assert!(raw.ask("HELLO 3").starts_with("(error) NOAUTH HELLO must"));
    assert_eq!(
        raw.ask("HELLO 3 AUTH default wrong"),
        "(error) WRONGPASS invalid username-password pair or user is disabled."
    );
    assert!(
        raw.ask("HELLO 3 AUTH default secret")
            .starts_with("{\"server\"")
    );
    assert_eq!(raw.ask("PING"), "PONG");
}

#[test]
fn reset_forgets_everything() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("HELLO 3 SETNAME me");
    raw.ask("SELECT 5");
    if !is_oracle() {
        // Version 7.2 forgets this, too.
        raw.ask("CLIENT NO-EVICT on");
    }
    raw.ask("MULTI");
    assert_eq!(raw.ask("RESET"), "RESET");
    assert_eq!(raw.ask("EXEC"), "(error) ERR EXEC without MULTI");
    assert_eq!(raw.ask("CLIENT GETNAME"), "nil");
    assert_eq!(field(&mut raw, "db"), "0");
    assert_eq!(field(&mut raw, "flags"), "N");
    assert_eq!(field(&mut raw, "resp"), "2");
    // A client that listens is a client again.
    assert_eq!(raw.ask("MONITOR"), "OK");
    assert_eq!(
        raw.ask("GET x"),
        "(error) ERR Replica can't interact with the keyspace"
    );
    assert_eq!(raw.ask("RESET"), "RESET");
    assert_eq!(raw.ask("GET x"), "nil");
}

#[test]
fn client_kill_by_filter() {
    let server = Server::start();
    let mut me = server.raw();
    let (mut a, mut b) = (server.raw(), server.raw());
    let id = a.ask("CLIENT ID").trim_matches(':').to_string();
    let addr = field(&mut b, "addr");
    assert_eq!(me.ask(&format!("CLIENT KILL ID {id} TYPE pubsub")), ":0");
    assert_eq!(me.ask(&format!("CLIENT KILL ID {id}")), ":1");
    assert_eq!(a.read_to_end(), b"");
    assert_eq!(me.ask(&format!("CLIENT KILL {addr}")), "OK");
    assert_eq!(b.read_to_end(), b"");
    assert_eq!(
        me.ask(&format!("CLIENT KILL {addr}")),
        "(error) ERR No such client"
    );
    let mut c = server.raw();
    c.ask("PING");
    assert_eq!(me.ask("CLIENT KILL TYPE normal SKIPME yes"), ":1");
    assert_eq!(c.read_to_end(), b"");
    // Who kills itself gets the reply first.
    assert_eq!(me.ask("CLIENT KILL USER default SKIPME no"), ":1");
    assert_eq!(me.read_to_end(), b"");
}

#[test]
fn a_killed_client_runs_nothing_more() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"CLIENT KILL TYPE normal SKIPME no\r\nSET after 1\r\n");
    assert_eq!(raw.read_to_end(), b":1\r\n");
    server.check(&[("EXISTS after", ":0")]);
}

#[test]
fn client_list_shows_what_clients_are_in() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(field(&mut raw, "cmd"), "client|info");
    assert_eq!(field(&mut raw, "qbuf"), "26");
    raw.ask("MULTI");
    raw.ask("SET a 1");
    let mut other = server.raw();
    let list = other.ask("CLIENT LIST");
    assert!(list.contains(" flags=x db=0 sub=0 psub=0 ssub=0 multi=1 "));
    let id = other.ask("CLIENT ID").trim_matches(':').to_string();
    let line = other.ask(&format!("CLIENT LIST ID {id} 99999"));
    assert!(line.starts_with(&format!("\"id={id} addr=127.0.0.1:")));
    assert_eq!(line.matches("id=").count(), 1, "{line}");
    assert_eq!(other.ask("CLIENT LIST TYPE pubsub"), "\"\"");
    if !is_oracle() {
        assert_eq!(other.ask("CLIENT SETINFO LIB-NAME it(rs)"), "OK");
        assert_eq!(other.ask("CLIENT SETINFO lib-ver 1.0"), "OK");
        assert_eq!(field(&mut other, "lib-name"), "it(rs)");
        assert_eq!(field(&mut other, "lib-ver"), "1.0");
        assert_eq!(
            other.ask("CLIENT SETINFO LIB-OTHER x"),
            "(error) ERR Unrecognized option 'LIB-OTHER'"
        );
        other.command(&["CLIENT", "SETINFO", "LIB-NAME", "two words"]);
        assert_eq!(
            other.reply(),
            "(error) ERR lib-name cannot contain spaces, newlines or special characters."
        );
    }
}

#[test]
fn replies_can_be_switched_off() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"CLIENT REPLY SKIP\r\nPING one\r\nPING two\r\n");
    assert_eq!(raw.reply(), "\"two\"");
    raw.send(b"CLIENT REPLY OFF\r\nPING one\r\nnonsense\r\nCLIENT REPLY SKIP\r\n");
    raw.send(b"PING two\r\nCLIENT REPLY ON\r\nPING three\r\n");
    assert_eq!(raw.reply(), "OK");
    assert_eq!(raw.reply(), "\"three\"");
}

#[test]
fn a_pause_holds_back_writes_until_it_ends() {
    let server = Server::start();
    let (mut me, mut writer) = (server.raw(), server.raw());
    assert_eq!(me.ask("CLIENT PAUSE 60000 WRITE"), "OK");
    // A shorter pause does not cut a longer one short.
    assert_eq!(me.ask("CLIENT PAUSE 1 WRITE"), "OK");
    assert_eq!(writer.ask("GET key"), "nil");
    writer.send(b"SET key 1\r\nGET key\r\n");
    wait_until("the writer to wait", || {
        server.info("blocked_clients") == "1"
    });
    assert_eq!(me.ask("EXISTS key"), ":0");
    assert_eq!(me.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(writer.reply(), "OK");
    assert_eq!(writer.reply(), "\"1\"");
    assert_eq!(server.info("blocked_clients"), "0");
}

/// What is no write but may be told to replicas waits, too, and is refused where a script only reads.
#[test]
fn a_pause_of_writes_holds_back_what_replicas_may_be_told() {
    let server = Server::start();
    let mut me = server.raw();
    assert_eq!(me.ask("PFADD hll a"), ":1");
    assert_eq!(me.ask("CLIENT PAUSE 60000 WRITE"), "OK");
    let mut waiting = ["PUBLISH c m", "SPUBLISH c m", "PFCOUNT hll"].map(|request| {
        let mut client = server.raw();
        client.command(&request.split(' ').collect::<Vec<_>>());
        client
    });
    wait_until("three clients that wait", || {
        server.info("blocked_clients") == "3"
    });
    assert_eq!(me.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(
        waiting.each_mut().map(|client| client.reply()),
        [":0", ":0", ":1"]
    );
    me.command(&["EVAL_RO", "return redis.pcall('pfcount', 'hll')", "0"]);
    assert_eq!(
        me.reply(),
        "(error) ERR Write commands are not allowed from read-only scripts."
    );
}

#[test]
fn who_leaves_during_a_pause_writes_nothing() {
    let server = Server::start();
    let mut me = server.raw();
    assert_eq!(me.ask("CLIENT PAUSE 60000 WRITE"), "OK");
    let mut writer = server.raw();
    writer.send(b"SET key 1\r\n");
    wait_until("the writer to wait", || {
        server.info("blocked_clients") == "1"
    });
    drop(writer);
    wait_until("the writer to be gone", || {
        server.info("blocked_clients") == "0"
    });
    assert_eq!(me.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(me.ask("EXISTS key"), ":0");
}

#[test]
fn a_client_that_does_not_touch_leaves_the_clock() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--maxmemory-policy", "allkeys-lfu"]);
    let (mut quiet, mut loud) = (server.raw(), server.raw());
    loud.ask("SET key 1");
    assert_eq!(quiet.ask("CLIENT NO-TOUCH on"), "OK");
    assert_eq!(field(&mut quiet, "flags"), "T");
    let counted = loud.ask("OBJECT FREQ key");
    for _ in 0..200 {
        quiet.ask("GET key");
    }
    assert_eq!(loud.ask("OBJECT FREQ key"), counted);
    // TOUCH says what it wants.
    for _ in 0..200 {
        quiet.ask("TOUCH key");
    }
    assert_ne!(loud.ask("OBJECT FREQ key"), counted);
    assert_eq!(quiet.ask("CLIENT NO-TOUCH off"), "OK");
    assert_eq!(field(&mut quiet, "flags"), "N");
}

#[test]
fn monitor_shows_requests_and_no_secrets() {
    let server = Server::start();
    let (mut monitor, mut raw) = (server.raw(), server.raw());
    assert_eq!(monitor.ask("MONITOR"), "OK");
    let addr = field(&mut raw, "addr");
    raw.ask("MULTI");
    raw.ask("SET a \"\\\n\x01");
    raw.ask("EXEC");
    raw.ask("AUTH name word");
    raw.ask("HELLO 2 AUTH name word SETNAME x");
    raw.ask("CONFIG GET port");
    raw.ask("SELECT 2");
    raw.ask("PING");
    let head = |db: u8| format!(" [{db} {addr}] ");
    for (db, shown) in [
        (0, r#""CLIENT" "INFO""#),
        (0, r#""MULTI""#),
        (0, r#""SET" "a" "\\"\\\\\\n\\x01""#),
        (0, r#""EXEC""#),
        (0, r#""AUTH" "(redacted)" "(redacted)""#),
        (
            0,
            r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME" "x""#,
        ),
        // Where it led.
        (2, r#""SELECT" "2""#),
        (2, r#""PING""#),
    ] {
        let line = monitor.reply();
        let (_, tail) = line.split_at(line.find(" [").expect("a place"));
        assert_eq!(tail, format!("{}{shown}", head(db)));
    }
}

#[test]
fn command_finds_keys() {
    let server = Server::start();
    server.check(&[
        ("COMMAND GETKEYS GET key", "[\"key\"]"),
        ("COMMAND GETKEYS mset a 1 b 2", "[\"a\", \"b\"]"),
        ("COMMAND GETKEYS MEMORY USAGE key", "[\"key\"]"),
        ("COMMAND GETKEYS object encoding key", "[\"key\"]"),
        ("COMMAND GETKEYS rename a b", "[\"a\", \"b\"]"),
        (
            "COMMAND GETKEYS nonsense x",
            "(error) ERR Invalid command specified",
        ),
        (
            "COMMAND GETKEYS MEMORY nonsense x",
            "(error) ERR Invalid command specified",
        ),
        (
            "COMMAND GETKEYS PING x",
            "(error) ERR The command has no key arguments",
        ),
        (
            "COMMAND GETKEYS GET a b",
            "(error) ERR Invalid number of arguments specified for command",
        ),
        ("COMMAND GETKEYSANDFLAGS SET a 1", "[[\"a\", [OW, update]]]"),
        (
            "COMMAND GETKEYSANDFLAGS SET a 1 GET",
            "[[\"a\", [RW, access, update]]]",
        ),
        ("COMMAND INFO nonsense get|x", "[nil, nil]"),
        ("COMMAND LIST FILTERBY PATTERN gEt", "[\"get\"]"),
        ("COMMAND LIST FILTERBY MODULE x", "[]"),
        ("COMMAND LIST FILTERBY x y", "(error) ERR syntax error"),
    ]);
}
