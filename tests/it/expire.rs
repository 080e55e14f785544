//! Deadlines: how they are set and told, and that a key is gone when its time has come.

use crate::harness::{Server, wait_until};

#[test]
fn deadlines_are_set_and_told() {
    Server::start().check(&[
        ("EXPIRE none 10", ":0"),
        ("TTL none", ":-2"),
        ("SET a 1", "OK"),
        ("TTL a", ":-1"),
        ("EXPIRETIME a", ":-1"),
        ("EXPIRE a 100", ":1"),
        ("TTL a", ":100"),
        ("PEXPIRE a 50000", ":1"),
        ("TTL a", ":50"),
        ("EXPIREAT a 9999999999", ":1"),
        ("EXPIRETIME a", ":9999999999"),
        ("PEXPIRETIME a", ":9999999999000"),
        ("PEXPIREAT a 9999999999500", ":1"),
        ("EXPIRETIME a", ":10000000000"),
        ("PERSIST a", ":1"),
        ("PERSIST a", ":0"),
        (
            "EXPIRE a x",
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "EXPIRE a 9223372036854775807",
            "(error) ERR invalid expire time in 'expire' command",
        ),
        (
            "PEXPIRE a 9223372036854775807",
            "(error) ERR invalid expire time in 'pexpire' command",
        ),
        ("EXPIRE a 10 WHAT", "(error) ERR Unsupported option WHAT"),
        (
            "EXPIRE none 9223372036854775807",
            "(error) ERR invalid expire time in 'expire' command",
        ),
        (
            "EXPIREAT a 9223372036854776",
            "(error) ERR invalid expire time in 'expireat' command",
        ),
        ("PEXPIREAT a 9223372036854775807", ":1"),
        ("PEXPIRETIME a", ":9223372036854775807"),
        ("EXPIRETIME a", ":9223372036854776"),
        ("EXPIREAT a 9223372036854775", ":1"),
        ("PEXPIREAT a -9223372036854775808", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "OK"),
        ("EXPIRE a -1", ":1"),
        ("EXISTS a", ":0"),
        ("SET a 1", "OK"),
        ("EXPIREAT a 1", ":1"),
        ("GET a", "nil"),
    ]);
}

#[test]
fn conditions_on_a_deadline() {
    Server::start().check(&[
        ("SET a 1", "OK"),
        ("EXPIRE a 100 XX", ":0"),
        ("EXPIRE a 100 GT", ":0"),
        ("EXPIRE a 100 NX", ":1"),
        ("EXPIRE a 200 NX", ":0"),
        ("EXPIRE a 50 GT", ":0"),
        ("EXPIRE a 200 GT", ":1"),
        ("EXPIRE a 300 LT", ":0"),
        ("EXPIRE a 150 LT XX", ":1"),
        ("TTL a", ":150"),
        ("PERSIST a", ":1"),
        ("EXPIRE a 100 LT", ":1"),
        (
            "EXPIRE a 100 NX XX",
            "(error) ERR NX and XX, GT or LT options at the same time are not compatible",
        ),
        (
            "EXPIRE a 100 GT LT",
            "(error) ERR GT and LT options at the same time are not compatible",
        ),
    ]);
}

#[test]
fn writes_keep_or_clear_the_deadline() {
    Server::start().check(&[
        ("SET a 1 EX 100", "OK"),
        ("APPEND a 2", ":2"),
        ("TTL a", ":100"),
        ("INCR a", ":13"),
        ("TTL a", ":100"),
        ("RENAME a b", "OK"),
        ("TTL b", ":100"),
        ("COPY b c", ":1"),
        ("TTL c", ":100"),
        ("GETSET b x", "\"13\""),
        ("TTL b", ":-1"),
        ("MSET c 1", "OK"),
        ("TTL c", ":-1"),
        ("SET d 1", "OK"),
        ("RENAME d c", "OK"),
        ("TTL c", ":-1"),
    ]);
}

#[test]
fn a_key_is_gone_when_it_is_due_though_nobody_removes_it() {
    let server = Server::with(&["--hz", "1"]);
    let mut raw = server.raw();
    assert_eq!(raw.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
    assert_eq!(raw.ask("SET a 1 PX 30"), "OK");
    wait_until("the key's deadline", || raw.ask("GET a") == "nil");
    for (request, reply) in [
        ("EXISTS a", ":0"),
        ("TTL a", ":-2"),
        ("TYPE a", "none"),
        ("SET a 1 XX", "nil"),
        ("APPEND a x", ":1"),
        ("TTL a", ":-1"),
    ] {
        assert_eq!(raw.ask(request), reply, "{request}");
    }
}

#[test]
fn due_keys_are_removed_though_nobody_asks_for_them() {
    let server = Server::start();
    let mut con = server.client();
    let mut pipe = redis::pipe();
    for i in 0..20_000 {
        pipe.cmd("SET")
            .arg(i)
            .arg("v")
            .arg("PX")
            .arg(20 + i % 200)
            .ignore();
    }
    pipe.cmd("SET").arg("stays").arg("v").ignore();
    pipe.cmd("SET")
        .arg("later")
        .arg("v")
        .arg("EX")
        .arg(1_000)
        .ignore();
    let () = pipe.query(&mut con).expect("it is a pipeline of SET");
    let size =
        |con: &mut redis::Connection| redis::cmd("DBSIZE").query::<i64>(con).expect("a count");
    wait_until("20,000 keys to expire", || size(&mut con) == 2);
    assert_eq!(server.info("expired_keys"), "20000");
    assert!(server.info("db0").starts_with("keys=2,expires=1,avg_ttl="));
}

#[test]
fn a_key_does_not_expire_within_a_transaction() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(raw.ask("SET a 1 PX 50"), "OK");
    for request in ["MULTI", "GET a", "DEBUG SLEEP 0.1", "GET a", "EXISTS a"] {
        raw.ask(request);
    }
    let reply = raw.ask("EXEC");
    assert!(
        reply == "[\"1\", OK, \"1\", :1]" || reply == "[nil, OK, nil, :0]",
        "{reply}"
    );
    assert_eq!(raw.ask("GET a"), "nil");
}
