//! TLS as clients meet it: who may connect, what comes through, what happens to those who stop halfway, and
//! certificates that change while the server runs. Certificates are made by `scripts/certificates.sh`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::sys::signal::Signal;
use redvault::base::tls::setup::{Authorities, Ciphers, ClientSetup, Identity, client};
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

use crate::harness::{Server, binary, free_port, wait_until};

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// Runs a program that is to succeed.
fn run(program: &str, args: &[&str], env: &[(&str, &str)]) {
    let output = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
}

fn certificates(dir: &Path, names: &[&str], env: &[(&str, &str)]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/certificates.sh");
    let dir = dir.to_str().expect("a plain path");
    run(script, &[&[dir], names].concat(), env);
}

/// Certificates for all tests: of two authorities, and some that are not good.
fn made() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let made = tempfile::tempdir().expect("a temporary directory");
        let dir = made.path();
        certificates(dir, &["alice", "nobody"], &[]);
        certificates(dir, &["late"], &[("DAYS", "-1")]);
        certificates(&dir.join("other"), &[], &[]);
        let at = |name: &str| dir.join(name).to_str().expect("a plain path").to_owned();
        let (key, csr) = (at("old.key"), at("old.csr"));
        run("openssl", &["genrsa", "-out", &key, "2048"], &[]);
        run(
            "openssl",
            &[
                "req", "-new", "-key", &key, "-subj", "/CN=old", "-out", &csr,
            ],
            &[],
        );
        let (ca, ca_key, out) = (at("ca.crt"), at("ca.key"), at("old.crt"));
        let signed = [
            "x509", "-req", "-in", &csr, "-CA", &ca, "-CAkey", &ca_key, "-out", &out,
        ];
        run(
            "openssl",
            &[&signed[..], &["-set_serial", "7", "-days", "9"]].concat(),
            &[],
        );
        made
    });
    made.path()
}

pub fn path(name: &str) -> String {
    made().join(name).to_str().expect("a plain path").to_owned()
}

/// The options of a server that others ask, and that asks others.
pub fn both_ways() -> Vec<String> {
    [
        ("--tls-cert-file", "server.crt"),
        ("--tls-key-file", "server.key"),
        ("--tls-ca-cert-file", "ca.crt"),
        ("--tls-client-cert-file", "client.crt"),
        ("--tls-client-key-file", "client.key"),
    ]
    .into_iter()
    .flat_map(|(option, name)| [option.to_owned(), path(name)])
    .collect()
}

/// A server with a plain port and one for TLS.
struct Secure {
    server: Server,
    port: u16,
}

fn start(args: &[&str]) -> Secure {
    let port = free_port();
    let text = port.to_string();
    let (cert, key, ca) = (path("server.crt"), path("server.key"), path("ca.crt"));
    let own = [
        "--tls-port",
        &text,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
    ];
    let server = Server::with(&[&own[..], args].concat());
    Secure { server, port }
}

/// What a client shows: the certificate of this name.
fn shows(name: &str) -> ClientSetup {
    ClientSetup {
        identity: Identity {
            cert: Some(PathBuf::from(path(&format!("{name}.crt")))),
            key: Some(PathBuf::from(path(&format!("{name}.key")))),
            pass: None,
        },
        ..anonymous()
    }
}

/// A client without a certificate that knows the server's authority.
fn anonymous() -> ClientSetup {
    ClientSetup {
        authorities: Authorities {
            file: Some(PathBuf::from(path("ca.crt"))),
            dir: None,
        },
        ..ClientSetup::default()
    }
}

fn only(mut setup: ClientSetup, protocol: &str) -> ClientSetup {
    setup.ciphers = Ciphers {
        protocols: Some(protocol.into()),
        ..Ciphers::default()
    };
    setup
}

impl Secure {
    fn connect(&self, setup: &ClientSetup) -> Connection {
        let config = client(setup).expect("sound");
        let name = "localhost".try_into().expect("a name");
        let session = ClientConnection::new(config, name).expect("sound");
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the server accepts");
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(20)))
            .expect("a timeout above zero");
        StreamOwned::new(session, socket)
    }

    /// Is a client that is so served?
    fn serves(&self, setup: &ClientSetup) -> bool {
        let mut connection = self.connect(setup);
        let mut reply = [0; 7];
        connection.write_all(b"PING\r\n").is_ok()
            && connection.read_exact(&mut reply).is_ok()
            && &reply == b"+PONG\r\n"
    }

    fn set(&self, name: &str, value: &str) -> String {
        let mut raw = self.server.raw();
        raw.command(&["CONFIG", "SET", name, value]);
        raw.reply()
    }
}

/// Sends, and compares what comes back.
fn exchange(connection: &mut Connection, request: &[u8], expected: &[u8]) {
    connection.write_all(request).expect("sent");
    let mut reply = vec![0; expected.len()];
    connection.read_exact(&mut reply).expect("a reply");
    let shown = |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
    assert!(
        reply == expected,
        "{} instead of {}",
        shown(&reply),
        shown(expected)
    );
}

/// Uploads of values larger than what is read at once, in pieces that are cut elsewhere than records are: a socket
/// that has more is read on, whatever was left over from what came before.
#[test]
fn uploads_are_read_to_their_end_however_they_arrive() {
    let secure = start(&["--tls-auth-clients", "no"]);
    let value = "x".repeat(50_000);
    let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$50000\r\n{value}\r\n");
    let requests = set.repeat(16);
    for _ in 0..40 {
        let mut connection = secure.connect(&anonymous());
        exchange(&mut connection, b"PING\r\n", b"+PONG\r\n");
        connection.sock.set_nodelay(true).expect("a socket");
        let mut wire = Vec::new();
        connection.conn.set_buffer_limit(None);
        let mut writer = connection.conn.writer();
        writer.write_all(requests.as_bytes()).expect("room");
        while connection.conn.wants_write() {
            connection.conn.write_tls(&mut wire).expect("room");
        }
        for piece in wire.chunks(30_000) {
            connection
                .sock
                .write_all(piece)
                .expect("the server reads on");
        }
        exchange(&mut connection, b"", &b"+OK\r\n".repeat(16));
    }
}

#[test]
fn requests_and_replies_come_through_whole() {
    let secure = start(&["--tls-auth-clients", "no"]);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let mut connection = secure.connect(&only(anonymous(), protocol));
        exchange(&mut connection, b"PING\r\n", b"+PONG\r\n");
        // More than a turn reads and writes, and with bytes that show when they come out of order.
        let value: Vec<u8> = (0..3_000_000_u32)
            .map(|i| (i * 31 + i / 257) as u8)
            .collect();
        let framed = [b"$3000000\r\n", &value[..], b"\r\n"].concat();
        let set = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n", &framed[..]].concat();
        exchange(&mut connection, &set, b"+OK\r\n");
        exchange(&mut connection, b"GET k\r\n", &framed);
        // Requests cut at all places, in records of their own.
        for byte in b"*2\r\n$4\r\nECHO\r\n$3\r\nabc\r\n" {
            connection.write_all(&[*byte]).expect("sent");
        }
        exchange(&mut connection, b"", b"$3\r\nabc\r\n");
        // A pipeline larger than any buffer, whose replies nobody takes before it is sent.
        let pings = b"PING\r\n".repeat(30_000);
        exchange(&mut connection, &pings, &b"+PONG\r\n".repeat(30_000));
        // The server says good-bye: what ends without it was cut off.
        exchange(&mut connection, b"QUIT\r\n", b"+OK\r\n");
        assert_eq!(connection.read(&mut [0; 1]).expect("a proper end"), 0);
    }
    assert_eq!(secure.server.info("tls_handshakes"), "2");
    assert_eq!(secure.server.info("tls_handshakes_failed"), "0");
}

#[test]
fn a_client_shows_the_certificate_that_is_asked_for() {
    let secure = start(&[]);
    let mut stranger = shows("client");
    let other = |name: &str| Some(PathBuf::from(path(&format!("other/client.{name}"))));
    (stranger.identity.cert, stranger.identity.key) = (other("crt"), other("key"));
    for (value, good, bad, none) in [
        ("yes", true, false, false),
        ("optional", true, false, true),
        ("no", true, true, true),
    ] {
        assert_eq!(secure.set("tls-auth-clients", value), "OK");
        for protocol in ["TLSv1.2", "TLSv1.3"] {
            let serves = |setup: &ClientSetup| secure.serves(&only(setup.clone(), protocol));
            let what = format!("{value}, {protocol}");
            assert_eq!(serves(&shows("client")), good, "{what}");
            assert_eq!(serves(&shows("old")), good, "{what}: of version 1");
            assert_eq!(serves(&shows("late")), bad, "{what}: expired");
            assert_eq!(serves(&stranger), bad, "{what}: of somebody else");
            assert_eq!(
                serves(&shows("server")),
                bad,
                "{what}: good for servers only"
            );
            assert_eq!(serves(&anonymous()), none, "{what}: without");
        }
    }
    assert!(
        secure
            .server
            .log()
            .contains("Error accepting a client connection")
    );
    // And a client knows its server.
    let mut wary = anonymous();
    wary.authorities.file = Some(PathBuf::from(path("other/ca.crt")));
    assert!(!secure.serves(&wary));
    assert!(secure.serves(&anonymous()));
}

/// Who puts the certificate of one client among the trusted ones trusts that client, and not whom it signs for.
#[test]
fn only_authorities_vouch_for_others() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| {
        let path = dir.path().join(name);
        path.to_str().expect("a plain path").to_owned()
    };
    let openssl = |args: &[&str]| run("openssl", args, &[]);
    for name in ["bob", "eve", "old"] {
        let (key, csr, subject) = (at(&format!("{name}.key")), at("csr"), format!("/CN={name}"));
        let curve = [
            "ecparam", "-genkey", "-noout", "-name", "P-256", "-out", &key,
        ];
        openssl(&curve);
        if name == "bob" {
            openssl(&[
                "req",
                "-x509",
                "-new",
                "-key",
                &key,
                "-subj",
                &subject,
                "-days",
                "9",
                "-addext",
                "basicConstraints = critical,CA:FALSE",
                "-out",
                &at("bob.crt"),
            ]);
            continue;
        }
        // Signed by bob: with extensions, and of version 1.
        openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &csr]);
        std::fs::write(at("ext"), "keyUsage = digitalSignature\n").expect("written");
        let (ext, out) = (at("ext"), at(&format!("{name}.crt")));
        let (bob, bob_key) = (at("bob.crt"), at("bob.key"));
        let signed = [
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &bob,
            "-CAkey",
            &bob_key,
            "-set_serial",
            "7",
            "-days",
            "9",
            "-out",
            &out,
        ];
        let extended = ["-extfile", &ext];
        openssl(&[&signed[..], if name == "eve" { &extended[..] } else { &[] }].concat());
    }
    let read = |path: String| std::fs::read(path).expect("a file");
    let both = [read(path("ca.crt")), read(at("bob.crt"))].concat();
    std::fs::write(at("trusted.pem"), both).expect("written");
    let secure = start(&["--tls-ca-cert-file", &at("trusted.pem")]);
    let own = |name: &str| ClientSetup {
        identity: Identity {
            cert: Some(PathBuf::from(at(&format!("{name}.crt")))),
            key: Some(PathBuf::from(at(&format!("{name}.key")))),
            pass: None,
        },
        ..anonymous()
    };
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        assert!(secure.serves(&only(own("bob"), protocol)), "itself");
        assert!(secure.serves(&only(shows("client"), protocol)));
        for name in ["eve", "old"] {
            assert!(!secure.serves(&only(own(name), protocol)), "{name}");
        }
    }
}

/// The password may come in one write with what it allows.
#[test]
fn a_login_lifts_the_limits_for_what_follows_it() {
    let secure = start(&["--tls-auth-clients", "no", "--requirepass", "pw"]);
    let value = "x".repeat(20_000);
    let requests = format!(
        "PING\r\nAUTH pw\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n{value}\r\nMGET{}\r\n",
        " a".repeat(20)
    );
    let replies = format!(
        "-NOAUTH Authentication required.\r\n+OK\r\n$20000\r\n{value}\r\n*20\r\n{}",
        "$-1\r\n".repeat(20)
    );
    let mut raw = secure.server.raw();
    raw.send(requests.as_bytes());
    assert!(raw.read_exact(replies.len()) == replies.as_bytes());
    let mut connection = secure.connect(&anonymous());
    exchange(&mut connection, requests.as_bytes(), replies.as_bytes());
    // Before it they hold.
    let mut raw = secure.server.raw();
    raw.send(format!("*2\r\n$4\r\nECHO\r\n$20000\r\n{value}\r\nAUTH pw\r\n").as_bytes());
    let said = raw.read_to_end();
    let refused = b"-ERR Protocol error: unauthenticated bulk length\r\n";
    assert_eq!(
        said.escape_ascii().to_string(),
        refused.escape_ascii().to_string()
    );
}

/// Who says that it sends no more waits for its replies all the same, also where a password takes a while.
#[test]
fn a_client_that_ends_behind_its_password_is_answered() {
    let slow = [
        "--acl-password-kdf",
        "argon2id",
        "--acl-argon2id-memory",
        "8mb",
        "--requirepass",
        "pw",
        "--tls-auth-clients",
        "no",
    ];
    let secure = start(&slow);
    for (password, reply) in [("pw", &b"+OK\r\n+PONG\r\n"[..]), ("wrong", b"-WRONGPASS")] {
        let mut raw = secure.server.raw();
        raw.send(format!("AUTH {password}\r\nPING\r\n").as_bytes());
        raw.end_sending();
        let said = raw.read_to_end();
        assert!(said.starts_with(reply), "{}", said.escape_ascii());
    }
    let mut connection = secure.connect(&anonymous());
    connection.write_all(b"AUTH pw\r\nPING\r\n").expect("sent");
    connection.conn.send_close_notify();
    connection.flush().expect("sent");
    let mut said = Vec::new();
    connection.read_to_end(&mut said).expect("a proper end");
    assert_eq!(said, b"+OK\r\n+PONG\r\n");
}

#[test]
fn a_certificate_stands_for_a_user() {
    let secure = start(&["--tls-auth-clients-user", "CN", "--requirepass", "secret"]);
    let mut raw = secure.server.raw();
    raw.command(&["AUTH", "secret"]);
    assert_eq!(raw.reply(), "OK");
    raw.command(&["ACL", "SETUSER", "alice", "on", "+@all", "~*"]);
    assert_eq!(raw.reply(), "OK");
    raw.command(&[
        "ACL",
        "SETUSER",
        "urn:redvault:user:alice",
        "on",
        "+@all",
        "~*",
    ]);
    assert_eq!(raw.reply(), "OK");
    let whoami = b"ACL WHOAMI\r\n";
    let mut alice = secure.connect(&shows("alice"));
    exchange(&mut alice, whoami, b"$5\r\nalice\r\n");
    let mut nobody = secure.connect(&shows("nobody"));
    exchange(
        &mut nobody,
        b"PING\r\n",
        b"-NOAUTH Authentication required.\r\n",
    );
    raw.command(&["CONFIG", "SET", "tls-auth-clients-user", "URI"]);
    assert_eq!(raw.reply(), "OK");
    let mut alice = secure.connect(&shows("alice"));
    exchange(&mut alice, whoami, b"$23\r\nurn:redvault:user:alice\r\n");
    // Whom the server does not want, a certificate does not bring in.
    raw.command(&["ACL", "SETUSER", "urn:redvault:user:alice", "off"]);
    assert_eq!(raw.reply(), "OK");
    let mut alice = secure.connect(&shows("alice"));
    exchange(&mut alice, whoami, b"-NOAUTH Authentication required.\r\n");
    raw.command(&["INFO", "stats"]);
    assert!(raw.reply().contains("acl_access_denied_tls_cert:2"));
}

/// A certificate opens what a password opens, and no more.
#[test]
fn a_certificate_opens_no_group_that_is_shut() {
    let file = b"user default on nopass ~* &* +@all\nuser alice on nopass ~* &* +@all group:blue\n";
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("u.acl");
    std::fs::write(&path, file).expect("written");
    let file = path.to_str().expect("a plain path");
    let secure = start(&["--tls-auth-clients-user", "CN", "--aclfile", file]);
    let mut raw = secure.server.raw();
    let whoami = b"ACL WHOAMI\r\n";
    let as_default = b"$7\r\ndefault\r\n";
    // It waits for its group: it is no operator meanwhile.
    exchange(&mut secure.connect(&shows("alice")), whoami, as_default);
    assert_eq!(raw.ask("GROUP CREATE blue QUOTA clients 1"), "OK");
    let mut alice = secure.connect(&shows("alice"));
    exchange(&mut alice, whoami, b"$5\r\nalice\r\n");
    exchange(&mut secure.connect(&shows("alice")), whoami, as_default);
    assert!(
        raw.ask("GROUP INFO blue")
            .contains("\"refused-clients\", :1")
    );
    assert_eq!(raw.ask("ACL LOAD"), "OK");
    assert_eq!(raw.ask("ACL SETUSER alice expires:1"), "OK");
    exchange(&mut secure.connect(&shows("alice")), whoami, as_default);
}

#[test]
fn what_is_no_tls_and_what_stops_halfway_is_closed() {
    let secure = start(&["--tls-auth-clients", "no", "--tls-handshake-timeout", "1"]);
    let address = ("127.0.0.1", secure.port);
    let mut plain = TcpStream::connect(address).expect("the server accepts");
    plain.write_all(b"*1\r\n$4\r\nPING\r\n").expect("sent");
    let mut said = Vec::new();
    let ended = plain.read_to_end(&mut said);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert_eq!(
        said, b"",
        "there is nothing that a plain client would understand"
    );
    // A hello of which half comes, and then nothing.
    let mut half = TcpStream::connect(address).expect("the server accepts");
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        .expect("sent");
    let mut silent = TcpStream::connect(address).expect("the server accepts");
    assert_eq!(half.read(&mut [0; 1]).expect("closed by the server"), 0);
    assert_eq!(silent.read(&mut [0; 1]).expect("closed by the server"), 0);
    // What is held for whoever shakes hands is seen; a hello longer than a record is none.
    assert_eq!(secure.set("tls-handshake-timeout", "60"), "OK");
    let mut hello = b"\x16\x03\x01\x40\x00\x01\x00\xff\xfb".to_vec();
    hello.resize(15_005, b'a');
    let mut half = TcpStream::connect(address).expect("the server accepts");
    half.write_all(&hello).expect("sent");
    let held = || {
        let mut raw = secure.server.raw();
        let list = raw.ask("CLIENT LIST");
        let sizes = list
            .split("tot-mem=")
            .skip(1)
            .filter_map(|rest| rest.split(' ').next());
        sizes.filter_map(|size| size.parse::<usize>().ok()).max()
    };
    wait_until("its bytes to be counted", || {
        held().is_some_and(|bytes| bytes > 15_000)
    });
    let mut rest = vec![b'a'; 16_389 - hello.len()];
    rest.extend_from_slice(b"\x16\x03\x01\x40\x00");
    rest.resize(rest.len() + 6000, b'a');
    half.write_all(&rest).expect("sent");
    let mut said = Vec::new();
    let ended = half.read_to_end(&mut said);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert_eq!(secure.set("tls-handshake-timeout", "1"), "OK");
    // A record that is longer than any, and one whose content is none of a handshake.
    for nonsense in [&b"\x16\x03\x01\xff\xff"[..], b"\x16\x03\x01\x00\x05hello"] {
        let mut socket = TcpStream::connect(address).expect("the server accepts");
        socket.write_all(nonsense).expect("sent");
        let mut said = Vec::new();
        let _ = socket.read_to_end(&mut said);
        assert!(
            said.is_empty() || said[0] == 0x15,
            "an alert or nothing: {said:?}"
        );
    }
    // TLS on the plain port is told from a request.
    let mut raw = TcpStream::connect(("127.0.0.1", secure.server.port)).expect("accepts");
    raw.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        .expect("sent");
    let mut said = Vec::new();
    let _ = raw.read_to_end(&mut said);
    assert!(
        said.starts_with(b"-ERR Protocol error"),
        "{}",
        said.escape_ascii()
    );
    assert!(secure.serves(&anonymous()));
    assert_eq!(secure.server.info("connected_clients"), "1");
}

#[test]
fn certificates_change_while_clients_stay() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = |from: &str, to: &str| {
        std::fs::copy(made().join(from), dir.path().join(to)).expect("copied");
    };
    copy("server.crt", "in-use.crt");
    copy("server.key", "in-use.key");
    let at = |name: &str| {
        dir.path()
            .join(name)
            .to_str()
            .expect("a plain path")
            .to_owned()
    };
    let (cert, key) = (at("in-use.crt"), at("in-use.key"));
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key];
    let secure = start(&[&files[..], &["--tls-auth-clients", "no"]].concat());
    let serial = || secure.server.info("tls_server_cert_serial");
    let first = serial();
    let mut old = secure.connect(&anonymous());
    exchange(&mut old, b"PING\r\n", b"+PONG\r\n");

    // The same name again is a change: the file is another one.
    copy("alice.crt", "in-use.crt");
    copy("alice.key", "in-use.key");
    assert_eq!(secure.set("tls-cert-file", &cert), "OK");
    let second = serial();
    assert_ne!(first, second);
    exchange(&mut old, b"PING\r\n", b"+PONG\r\n");
    assert!(secure.serves(&anonymous()));

    // A key that is not the certificate's, and a file that is none: nothing changes.
    copy("nobody.key", "in-use.key");
    let refused = secure.set("tls-key-file", &key);
    assert!(refused.contains("Unable to update TLS configuration. Check server logs."));
    secure.server.signal(Signal::SIGHUP);
    wait_until("the failed reading", || {
        secure.server.info("tls_reloads_failed") == "1"
    });
    assert_eq!(serial(), second);
    assert!(secure.serves(&anonymous()));
    assert!(secure.server.log().contains("it is not the certificate's"));

    // A signal is enough, and a passing of time.
    copy("nobody.crt", "in-use.crt");
    secure.server.signal(Signal::SIGHUP);
    wait_until("the other certificate", || serial() != second);
    let third = serial();
    assert_eq!(secure.set("tls-auto-reload-interval", "1"), "OK");
    copy("server.crt", "in-use.crt");
    copy("server.key", "in-use.key");
    wait_until("the first certificate again", || serial() == first);
    assert_ne!(first, third);
    // One half of a renewal is there. It is tried again, and told of once, until the other half comes.
    let failures = || {
        secure
            .server
            .info("tls_reloads_failed")
            .parse::<u32>()
            .expect("a number")
    };
    let before = failures();
    let told = || {
        secure
            .server
            .log()
            .matches("it is not the certificate's")
            .count()
    };
    let told_before = told();
    copy("nobody.key", "in-use.key");
    wait_until("several failures", || failures() >= before + 2);
    assert_eq!(told(), told_before + 1);
    assert_eq!(serial(), first);
    copy("nobody.crt", "in-use.crt");
    wait_until("the other half", || serial() == third);
    exchange(&mut old, b"PING\r\n", b"+PONG\r\n");
    assert!(secure.serves(&anonymous()));
}

#[test]
fn a_port_is_plain_or_not_as_the_configuration_says() {
    let secure = start(&["--tls-auth-clients", "no"]);
    let plain = secure.server.port.to_string();
    let mut kept = secure.connect(&anonymous());
    exchange(&mut kept, b"CONFIG SET port 0\r\n", b"+OK\r\n");
    let moved = format!("CONFIG SET tls-port {plain}\r\n");
    exchange(&mut kept, moved.as_bytes(), b"+OK\r\n");
    let secure = Secure {
        port: secure.server.port,
        ..secure
    };
    assert!(secure.serves(&anonymous()));
    // A port that is in use, by whomever, changes nothing.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = other.local_addr().expect("bound").port();
    let mut refused = |what: &str, key: &str| {
        let reply = format!(
            "-ERR CONFIG SET failed (possibly related to argument '{key}') - Unable to listen on this port. Check \
             server logs.\r\n"
        );
        exchange(&mut kept, what.as_bytes(), reply.as_bytes());
        assert!(secure.serves(&anonymous()));
    };
    refused(&format!("CONFIG SET port {plain}\r\n"), "port");
    refused(&format!("CONFIG SET port {taken}\r\n"), "port");
    refused(&format!("CONFIG SET tls-port {taken}\r\n"), "tls-port");
    // Both at once may change places, and who listens at the same place goes on.
    let free = free_port();
    let both = format!("CONFIG SET port {plain} tls-port {free}\r\n");
    exchange(&mut kept, both.as_bytes(), b"+OK\r\n");
    secure.server.check(&[("PING", "PONG")]);
    let both = format!("CONFIG SET tls-port {plain} port {free}\r\n");
    exchange(&mut kept, both.as_bytes(), b"+OK\r\n");
    assert!(secure.serves(&anonymous()));
    exchange(&mut kept, b"CONFIG SET port 0\r\n", b"+OK\r\n");
    exchange(&mut kept, b"CONFIG SET tls-port 0\r\n", b"+OK\r\n");
    let moved = format!("CONFIG SET port {plain}\r\n");
    exchange(&mut kept, moved.as_bytes(), b"+OK\r\n");
    secure.server.check(&[("PING", "PONG")]);
}

#[test]
fn a_key_may_be_encrypted_and_lists_are_openssls() {
    let secure = start(&["--tls-auth-clients", "no"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let key = dir
        .path()
        .join("key")
        .to_str()
        .expect("a plain path")
        .to_owned();
    let from = path("server.key");
    let args = [
        "pkcs8",
        "-topk8",
        "-in",
        &from,
        "-out",
        &key,
        "-passout",
        "pass:1234",
    ];
    run("openssl", &args, &[]);
    let refused = "(error) ERR CONFIG SET failed (possibly related to argument 'tls-key-file') - \
                   Unable to update TLS configuration. Check server logs.";
    assert_eq!(secure.set("tls-key-file", &key), refused);
    assert_eq!(secure.set("tls-key-file-pass", "4321"), "OK");
    assert_eq!(secure.set("tls-key-file", &key), refused);
    assert_eq!(secure.set("tls-key-file-pass", "1234"), "OK");
    assert_eq!(secure.set("tls-key-file", &key), "OK");
    assert!(secure.serves(&anonymous()));
    assert!(!secure.server.log().contains("4321"));

    assert_eq!(secure.set("tls-protocols", "TLSv1.3"), "OK");
    assert!(!secure.serves(&only(anonymous(), "TLSv1.2")));
    assert!(secure.serves(&only(anonymous(), "TLSv1.3")));
    assert_eq!(secure.set("tls-protocols", "TLSv1.2"), "OK");
    assert!(!secure.serves(&only(anonymous(), "TLSv1.3")));
    assert_eq!(secure.set("tls-ciphers", "DEFAULT:!CHACHA20"), "OK");
    let mut picky = only(anonymous(), "TLSv1.2");
    picky.ciphers.ciphers = Some(b"CHACHA20".to_vec());
    assert!(!secure.serves(&picky));
    assert_eq!(secure.set("tls-ciphers", "DEFAULT"), "OK");
    assert!(secure.serves(&picky));
    for (name, value) in [
        ("tls-ciphers", "AES128-SHA256"),
        ("tls-ciphersuites", "TLS_NONE"),
        ("tls-protocols", "SSLv3"),
        ("tls-cert-file", "/nonexistent"),
        ("tls-ca-cert-dir", "/nonexistent"),
    ] {
        let reply = secure.set(name, value);
        assert!(
            reply.contains("Unable to update TLS configuration"),
            "{name}: {reply}"
        );
    }
    assert!(secure.serves(&only(anonymous(), "TLSv1.2")));
}

#[test]
fn our_own_client_speaks_tls() {
    let secure = start(&[]);
    let port = secure.port.to_string();
    let (ca, cert, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    let to = ["-p", &port, "--tls", "--cacert", &ca];
    let own = ["--cert", &cert, "--key", &key];
    let ours = |tool: &str, args: &[&str], input: &[u8]| {
        let mut child = Command::new(binary())
            .arg(tool)
            .args(to)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("our own program");
        child.stdin.take().expect("a pipe").write_all(input).ok();
        let output = child.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    assert_eq!(ours("ping", &own, b""), (Some(0), "PONG\n".to_owned()));
    assert_eq!(
        ours("ping", &[], b"").0,
        Some(1),
        "a certificate is asked for"
    );
    let value = "x".repeat(300_000);
    let set = ours(
        "cli",
        &[&own[..], &["-x", "SET", "k"]].concat(),
        value.as_bytes(),
    );
    assert_eq!(set, (Some(0), "OK\n".to_owned()));
    let get = ours("cli", &[&own[..], &["GET", "k"]].concat(), b"");
    assert!(get == (Some(0), value + "\n"));
    // More both ways than any buffer holds.
    let piped = ours(
        "cli",
        &[&own[..], &["--pipe"]].concat(),
        &b"GET k\r\n".repeat(100),
    );
    assert!(
        piped.1.ends_with("errors: 0, replies: 100\n"),
        "{}",
        piped.1
    );
    // A server that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let deaf = silent.local_addr().expect("bound").port().to_string();
    let output = Command::new(binary())
        .args(["ping", "-p", &deaf, "--tls", "--cacert", &ca, "-t", "1"])
        .output()
        .expect("our own program");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("Timed out"), "{said}");
    let other = path("other/ca.crt");
    let wary = ours(
        "cli",
        &[&own[..], &["--cacert", &other, "PING"]].concat(),
        b"",
    );
    assert_eq!(wary.0, Some(1));
    assert!(wary.1.contains("invalid peer certificate"), "{}", wary.1);
    let careless = ["--insecure", "--cacert", &other, "PING"];
    assert_eq!(
        ours("cli", &[&own[..], &careless].concat(), b"").1,
        "PONG\n"
    );
}

#[test]
fn a_server_that_cannot_do_as_it_is_told_does_not_start() {
    let port = free_port().to_string();
    let (cert, key) = (path("server.crt"), path("server.key"));
    for (args, why) in [
        (vec!["--tls-port", &port], "No tls-cert-file configured!"),
        (
            vec![
                "--tls-port",
                &port,
                "--tls-cert-file",
                &cert,
                "--tls-key-file",
                &key,
            ],
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified",
        ),
        (
            vec![
                "--tls-port",
                &port,
                "--tls-cert-file",
                &cert,
                "--tls-key-file",
                &cert,
            ],
            "Either tls-ca-cert-file",
        ),
    ] {
        let (status, log, _) = Server::fails_with(&[], &args);
        assert_eq!(status.code(), Some(1));
        assert!(log.contains(why), "{log}");
    }
}
