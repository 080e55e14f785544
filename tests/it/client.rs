//! `redvault cli` and `redvault ping`, as a script runs them. How replies look is tested beside their code.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, binary, frame, is_oracle};

/// What the program printed, what it complained of, and its exit code.
fn run(program: &str, args: &[&str], input: &[u8]) -> (String, String, i32) {
    let mut child = Command::new(program)
        .args(args)
        .env_remove("REDISCLI_AUTH")
        .env_remove("FAKETTY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // Who reads nothing may be gone by now.
    stdin.write_all(input).ok();
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        text(stdout),
        text(stderr),
        status.code().expect("by itself"),
    )
}

/// A client of this server: `cli`'s output and code.
fn client(server: &Server) -> impl Fn(&[&str], &[u8]) -> (String, i32) {
    let port = server.port.to_string();
    move |args, input| {
        let (out, complaints, code) =
            run(&binary(), &[&["cli", "-p", &port], args].concat(), input);
        (out + &complaints, code)
    }
}

#[test]
fn one_command_and_its_exit_code() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let ask = client(&server);
    let ok = |text: &str| (text.to_owned(), 0);
    assert_eq!(ask(&["SET", "k", "a b"], b""), ok("OK\n"));
    assert_eq!(ask(&["--no-raw", "GET", "k"], b""), ok("\"a b\"\n"));
    assert_eq!(ask(&["-x", "SET", "k"], b"from input"), ok("OK\n"));
    assert_eq!(ask(&["GET", "k"], b""), ok("from input\n"));
    assert_eq!(ask(&["-X", "tag", "SET", "tag", "v"], b"name"), ok("OK\n"));
    assert_eq!(ask(&["-r", "3", "INCR", "n"], b""), ok("1\n2\n3\n"));
    assert_eq!(ask(&["-n", "5", "SET", "there", "1"], b""), ok("OK\n"));
    assert_eq!(ask(&["-n", "5", "--scan"], b""), ok("there\n"));
    let (text, code) = ask(&["-e", "INCR", "k"], b"");
    assert!(
        text.starts_with("ERR value is not an integer") && code == 1,
        "{text}"
    );
    assert_eq!(ask(&["INCR", "k"], b"").1, 0);
    // What would go to another database does not go at all.
    let (text, code) = ask(&["-n", "99", "SET", "lost", "1"], b"");
    assert_eq!(
        (text.as_str(), code),
        ("SELECT 99 failed: ERR DB index is out of range\n", 1)
    );
    assert_eq!(ask(&["EXISTS", "lost"], b""), ok("0\n"));
    assert_eq!(ask(&["SHUTDOWN", "NOSAVE"], b""), ok(""));
    let (text, code) = ask(&["PING"], b"");
    assert!(text.contains("Connection refused") && code == 1, "{text}");
}

#[test]
fn lines_from_standard_input() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let ask = client(&server);
    let lines = b"set k \"a\\x41\"\nget k\nget \"k\n2 incr n\nmulti\nincr n\nexec\nhello 3\nhset h f v\nhgetall h\nquit\nget k\n";
    let (text, code) = ask(&["--no-raw"], lines);
    let shown: Vec<&str> = text.lines().filter(|line| !line.contains('#')).collect();
    assert_eq!(
        shown,
        [
            "OK",
            "\"aA\"",
            "Invalid argument(s)",
            "(integer) 1",
            "(integer) 2",
            "OK",
            "QUEUED",
            "1) (integer) 3",
            "(integer) 1",
        ]
    );
    assert!(text.ends_with("1# \"f\" => \"v\"\n") && code == 0, "{text}");
    assert_eq!(ask(&["-e"], b"incr k\nset never 1\n").1, 1);
    assert_eq!(ask(&["EXISTS", "never"], b"").0, "0\n");
}

/// More requests than the socket holds while nobody takes the replies.
#[test]
fn a_pipe_of_requests_is_passed_through() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let ask = client(&server);
    let mut requests = frame(&["SET", "big", &"x".repeat(1 << 20)]);
    for _ in 0..40 {
        requests.extend_from_slice(b"GET big\r\nINCR n\r\n");
    }
    requests.extend_from_slice(b"INCR big");
    let (text, code) = ask(&["--pipe"], &requests);
    assert!(text.contains("errors: 1, replies: 82\n"), "{text}");
    assert!(
        text.contains("ERR value is not an integer") && code == 1,
        "{text}"
    );
    assert_eq!(ask(&["GET", "n"], b""), ("40\n".to_owned(), 0));
    let (text, code) = ask(&["--pipe"], b"INCR n\r\n");
    assert!(
        text.contains("errors: 0, replies: 1\n") && code == 0,
        "{text}"
    );
}

#[test]
fn a_server_is_well_if_it_answers_or_asks_who_it_is() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let port = server.port.to_string();
    let ping = |more: &[&str]| run(&binary(), &[&["ping", "-p", &port], more].concat(), b"");
    assert_eq!(ping(&[]), ("PONG\n".to_owned(), String::new(), 0));
    assert_eq!(server.raw().ask("CONFIG SET requirepass secret"), "OK");
    let (text, _, code) = ping(&[]);
    assert!(text.starts_with("NOAUTH") && code == 0, "{text}");
    assert_eq!(ping(&["-a", "secret"]).0, "PONG\n");
    drop(server);
    let (text, _, code) = ping(&[]);
    assert!(text.contains("Connection refused") && code == 1, "{text}");
    // Its backlog takes the connection, and nobody answers.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("bound").port().to_string();
    let (text, _, code) = run(&binary(), &["ping", "-p", &port, "-t", "1"], b"");
    assert_eq!((text.as_str(), code), ("Timed out\n", 1));
}

/// Any name that ends in -cli is the client's, and what stands behind its options is the command's.
#[test]
fn the_client_has_a_name_of_its_own() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let dir = tempfile::tempdir().expect("a directory");
    let name = dir.path().join("redvault-cli");
    symlink(std::fs::canonicalize(binary()).expect("there"), &name).expect("made");
    let name = name.to_str().expect("a plain path");
    let port = server.port.to_string();
    let (text, _, code) = run(name, &["-p", &port, "ECHO", "--sentinel"], b"");
    assert_eq!((text.as_str(), code), ("--sentinel\n", 0));
    let (_, complaint, code) = run(name, &["--nosuch"], b"");
    assert!(complaint.starts_with("Unrecognized option") && code == 1);
}
