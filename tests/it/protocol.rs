//! The protocol at its edges: malformed frames, requests in pieces, long pipelines, both versions.

use std::fmt::Write as _;
use std::thread;

use crate::harness::{Raw, Server, frame};

/// A round trip on a connection of its own: what was sent to the server before has been read then.
fn settle(witness: &mut Raw) {
    assert_eq!(witness.ask("PING"), "PONG");
}

#[test]
fn malformed_frames_are_named_and_end_the_connection() {
    let server = Server::start();
    let long = "1".repeat(70_000);
    let cases: &[(&str, &str)] = &[
        ("*abc\r\n", "invalid multibulk length"),
        ("*3x\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\n\r\n", "expected '$', got '\r'"),
        ("*2\r\n$4\r\nPING\r\nx\r\n", "expected '$', got 'x'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$abc\r\n", "invalid bulk length"),
        ("*1\r\n$\r\n", "invalid bulk length"),
        ("*1\r\n$+4\r\nPING\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
        ("SET \"a\r\n", "unbalanced quotes in request"),
        ("SET 'a\r\n", "unbalanced quotes in request"),
        ("SET \"a\"b c\r\n", "unbalanced quotes in request"),
        (&long, "too big inline request"),
        (&format!("*{long}"), "too big mbulk count string"),
        (&format!("*1\r\n${long}"), "too big bulk count string"),
    ];
    for (sent, expected) in cases {
        let mut raw = server.raw();
        raw.send(sent.as_bytes());
        let reply = String::from_utf8(raw.read_to_end()).expect("errors are text");
        let expected = expected.replace('\r', " ");
        let shown: String = sent.escape_default().take(60).collect();
        assert_eq!(
            reply,
            format!("-ERR Protocol error: {expected}\r\n"),
            "to {shown}"
        );
    }
}

#[test]
fn requests_before_a_malformed_frame_are_answered() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"PING\r\n*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n");
    let expected = b"+PONG\r\n+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n";
    assert_eq!(raw.read_to_end(), expected);
}

#[test]
fn lengths_are_small_until_the_password_is_given() {
    let server = Server::with(&["--requirepass", "secret"]);
    for (sent, expected) in [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        let mut raw = server.raw();
        raw.send(sent.as_bytes());
        let reply = String::from_utf8(raw.read_to_end()).expect("errors are text");
        assert_eq!(reply, format!("-ERR Protocol error: {expected}\r\n"));
    }
    let mut raw = server.raw();
    assert_eq!(raw.ask("GET a"), "(error) NOAUTH Authentication required.");
    assert_eq!(raw.ask("AUTH secret"), "OK");
    let big = "x".repeat(20_000);
    raw.command(&["ECHO", &big]);
    assert_eq!(raw.reply(), format!("\"{big}\""));
}

#[test]
fn empty_requests_are_passed_over() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"\r\n\r\n*0\r\n*-1\r\n   \r\n\nPING\r\n");
    assert_eq!(raw.reply(), "PONG");
}

#[test]
fn inline_requests_know_quotes_and_escapes() {
    let server = Server::start();
    let mut raw = server.raw();
    for (sent, expected) in [
        ("ECHO \"a b\\n\\x41\\\"\"\r\n", r#""a b\nA"""#),
        ("ECHO 'a \\' \\n'\r\n", r#""a ' \\n""#),
        ("  ECHO   a  \r\n", r#""a""#),
        ("ECHO a\n", r#""a""#),
        ("ECHO \"\"\r\n", r#""""#),
        ("SET k \"v w\"\r\n", "OK"),
        ("SETEX k 100 v\r\n", "OK"),
        ("GET k\r\n", r#""v""#),
    ] {
        raw.send(sent.as_bytes());
        assert_eq!(raw.reply(), expected, "to {}", sent.escape_default());
    }
}

/// Requests of every shape, and all that comes back.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let mut sent = frame(&["SET", "key", "some\r\nvalue"]);
    sent.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\nGET key\r\n\r\n*0\r\n");
    sent.extend_from_slice(b"SET \"key\" 'other' KEEPTTL\r\n");
    sent.extend_from_slice(&frame(&["MGET", "key", "", "none"]));
    sent.extend_from_slice(&frame(&["ECHO", ""]));
    sent.extend_from_slice(b"NOSUCH 1\r\n");
    sent.extend_from_slice(&frame(&["DEL", "key"]));
    let got = b"+OK\r\n$11\r\nsome\r\nvalue\r\n$11\r\nsome\r\nvalue\r\n+OK\r\n*3\r\n$5\r\nother\r\n$-1\r\n$-1\r\n\
        $0\r\n\r\n-ERR unknown command 'NOSUCH', with args beginning with: '1' \r\n:1\r\n";
    (sent, got.to_vec())
}

#[test]
fn requests_may_be_split_at_any_byte() {
    let server = Server::start();
    let (sent, expected) = conversation();
    let mut witness = server.raw();
    for at in 1..sent.len() {
        let mut raw = server.raw();
        raw.send(&sent[..at]);
        settle(&mut witness);
        raw.send(&sent[at..]);
        let got = raw.read_exact(expected.len());
        assert_eq!(
            got.escape_ascii().to_string(),
            expected.escape_ascii().to_string(),
            "split at {at}"
        );
    }
}

#[test]
fn requests_may_come_byte_by_byte() {
    let server = Server::start();
    let (sent, expected) = conversation();
    let (mut raw, mut witness) = (server.raw(), server.raw());
    for byte in sent {
        raw.send(&[byte]);
        settle(&mut witness);
    }
    assert_eq!(raw.read_exact(expected.len()), expected);
}

#[test]
fn a_pipeline_of_ten_thousand_is_answered_in_order() {
    let server = Server::start();
    let mut raw = server.raw();
    let (mut sent, mut expected) = (Vec::new(), String::new());
    for i in 0..10_000 {
        match i % 4 {
            0 => sent.extend_from_slice(&frame(&["SET", &format!("k{i}"), &format!("v{i}")])),
            1 => sent.extend_from_slice(&frame(&["GET", &format!("k{}", i - 1)])),
            2 => sent.extend_from_slice(&frame(&["INCR", "n"])),
            _ => sent.extend_from_slice(format!("ECHO {i}\r\n").as_bytes()),
        }
        let text = |s: String| format!("${}\r\n{s}\r\n", s.len());
        let reply = match i % 4 {
            0 => "+OK\r\n".into(),
            1 => text(format!("v{}", i - 1)),
            2 => format!(":{}\r\n", i / 4 + 1),
            _ => text(i.to_string()),
        };
        expected
            .write_str(&reply)
            .expect("a String takes everything");
    }
    let mut sender = raw.socket.try_clone().expect("a second handle");
    let writer = thread::spawn(move || std::io::Write::write_all(&mut sender, &sent));
    assert!(
        raw.read_exact(expected.len()) == expected.as_bytes(),
        "the replies differ"
    );
    writer.join().expect("no panic").expect("the server reads");
}

#[test]
fn large_values_pass_in_both_directions() {
    let server = Server::start();
    let (mut raw, mut witness) = (server.raw(), server.raw());
    for size in [
        16_383, 16_384, 32_767, 32_768, 65_536, 1_000_000, 20_000_000,
    ] {
        let value: Vec<u8> = (0..size).map(|i: usize| (i * 31 + size) as u8).collect();
        let request = frame(&[b"SET".as_slice(), b"big", &value]);
        let third = request.len() / 3;
        for piece in [
            &request[..third],
            &request[third..third + 1],
            &request[third + 1..],
        ] {
            raw.send(piece);
            settle(&mut witness);
        }
        assert_eq!(raw.reply(), "OK");
        raw.send(b"GET big\r\nSTRLEN big\r\n");
        let head = format!("${size}\r\n");
        assert_eq!(raw.read_exact(head.len()), head.as_bytes());
        assert!(
            raw.read_exact(size) == value,
            "{size} bytes came back otherwise"
        );
        assert_eq!(raw.read_exact(2), b"\r\n");
        assert_eq!(raw.reply(), format!(":{size}"));
    }
}

#[test]
fn noise_harms_nobody() {
    let server = Server::start();
    let mut witness = server.raw();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        let mut noise = Vec::new();
        for _ in 0..(1 + round * 7) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            noise.extend_from_slice(&seed.to_le_bytes());
        }
        // Noise behind something that looks like a request, and plain noise.
        let head: &[u8] = [
            b"*3\r\n$3\r\n".as_slice(),
            b"",
            b"*1\r\n",
            b"\"",
            b"*1000\r\n$1\r\n",
        ][round % 5];
        let mut raw = server.raw();
        // The server may hang up in the middle of it.
        let whole = [head, &noise].concat();
        std::io::Write::write_all(&mut raw.socket, &whole).ok();
        settle(&mut witness);
    }
}

#[test]
fn quit_answers_and_hangs_up() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"SET a 1\r\nQUIT\r\nSET a 2\r\n");
    assert_eq!(raw.read_to_end(), b"+OK\r\n+OK\r\n");
    server.check(&[("GET a", "\"1\"")]);
}

#[test]
fn a_sender_that_has_ended_still_gets_its_replies() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.send(b"SET a 1\r\nGET a\r\n");
    raw.end_sending();
    assert_eq!(raw.read_to_end(), b"+OK\r\n$1\r\n1\r\n");
}

#[test]
fn hello_switches_the_protocol() {
    let server = Server::start();
    let mut raw = server.raw();
    assert_eq!(raw.ask("GET none"), "nil");
    let hello = raw.ask("HELLO 3 SETNAME tester");
    assert!(
        hello.starts_with('{') && hello.contains("\"proto\" => :3"),
        "{hello}"
    );
    assert!(
        hello.contains("\"role\" => \"master\"") && hello.contains("\"modules\" => []"),
        "{hello}"
    );
    assert_eq!(raw.ask("CLIENT GETNAME"), "\"tester\"");
    raw.send(b"GET none\r\n");
    assert_eq!(raw.read_exact(3), b"_\r\n");
    assert_eq!(
        raw.ask("CONFIG GET port"),
        format!("{{\"port\" => \"{}\"}}", server.port)
    );
    assert_eq!(
        raw.ask("HELLO 4"),
        "(error) NOPROTO unsupported protocol version"
    );
    assert_eq!(
        raw.ask("HELLO x"),
        "(error) ERR Protocol version is not an integer or out of range"
    );
    let hello = raw.ask("HELLO 2");
    assert!(hello.starts_with("[\"server\", "), "{hello}");
    assert_eq!(
        raw.ask("CONFIG GET port"),
        format!("[\"port\", \"{}\"]", server.port)
    );
}

#[test]
fn both_protocols_say_every_kind_of_reply() {
    let server = Server::start();
    let kinds = [
        ("string", "\"Hello World\"", "\"Hello World\""),
        ("integer", ":12345", ":12345"),
        ("double", "\"3.141\"", ",3.141"),
        ("null", "nil", "nil"),
        ("array", "[:0, :1, :2]", "[:0, :1, :2]"),
        ("set", "[:0, :1, :2]", "~[:0, :1, :2]"),
        (
            "map",
            "[:0, :0, :1, :1, :2, :0]",
            "{:0 => #f, :1 => #t, :2 => #f}",
        ),
        ("true", ":1", "#t"),
        ("false", ":0", "#f"),
        (
            "verbatim",
            r#""This is a verbatim\nstring""#,
            r#"=txt:"This is a verbatim\nstring""#,
        ),
        (
            "bignum",
            "\"1234567999999999999999999999999999999\"",
            "(1234567999999999999999999999999999999",
        ),
    ];
    let (mut two, mut three) = (server.raw(), server.raw());
    three.ask("HELLO 3");
    for (kind, resp2, resp3) in kinds {
        let request = format!("DEBUG PROTOCOL {kind}");
        assert_eq!(two.ask(&request), resp2, "{kind}, RESP2");
        assert_eq!(three.ask(&request), resp3, "{kind}, RESP3");
    }
}

#[test]
fn a_client_library_speaks_both() {
    let server = Server::start();
    for con in [&mut server.client(), &mut server.client3()] {
        let got: (String, Option<String>, i64) = redis::pipe()
            .cmd("SET")
            .arg("a")
            .arg("x")
            .ignore()
            .cmd("GET")
            .arg("a")
            .cmd("GET")
            .arg("none")
            .cmd("APPEND")
            .arg("a")
            .arg("y")
            .query(con)
            .expect("a pipeline works");
        assert_eq!(got, ("x".into(), None, 2));
    }
}
