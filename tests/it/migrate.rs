//! Keys that move to another server: what arrives, what stays, and who waits meanwhile.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::harness::{Raw, Server, frame, free_port, wait_until};
use crate::tls;

/// Another server that says what the test wants it to say.
struct Target {
    listener: TcpListener,
}

impl Target {
    fn new() -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Target { listener }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    /// The next connection, when it has sent this.
    fn accept_after(&self, text: &str) -> TcpStream {
        let (mut stream, _) = self.listener.accept().expect("a connection");
        read_until(&mut stream, text);
        stream
    }
}

fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut got = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&got).contains(text) {
        assert_ne!(stream.read(&mut byte).expect("bytes"), 0, "{got:?}");
        got.push(byte[0]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

fn migrate(to: u16, rest: &str) -> String {
    format!("MIGRATE 127.0.0.1 {to} {rest}")
}

#[test]
fn keys_move_with_all_they_have() {
    let (here, there) = (Server::start(), Server::start());
    let (mut a, mut b) = (here.raw(), there.raw());
    a.ask("SET s hello PX 100000");
    a.ask("RPUSH l a b c");
    a.ask("HSET h f v");
    a.ask("SELECT 0");
    let several = [
        b"MIGRATE".to_vec(),
        b"127.0.0.1".to_vec(),
        there.port.to_string().into_bytes(),
    ];
    let rest = ["", "3", "5000", "KEYS", "s", "none", "l"].map(|word| word.as_bytes().to_vec());
    a.command(&[&several[..], &rest].concat());
    assert_eq!(a.reply(), "OK");
    assert_eq!(a.ask("EXISTS s l h"), ":1");
    assert_eq!(b.ask("SELECT 3"), "OK");
    assert_eq!(
        (b.ask("GET s"), b.ask("LRANGE l 0 -1")),
        (r#""hello""#.into(), r#"["a", "b", "c"]"#.into())
    );
    let left: i64 = b.ask("PTTL s")[1..].parse().expect("a number");
    assert!((1..=100_000).contains(&left), "{left}");
    assert_eq!(here.info("migrate_cached_sockets"), "1");
    assert_eq!(a.ask(&migrate(there.port, "h 0 5000 COPY")), "OK");
    let refused = a.ask(&migrate(there.port, "h 0 5000"));
    assert!(refused.contains("error: BUSYKEY "), "{refused}");
    assert_eq!(a.ask("EXISTS h"), ":1");
    // In a transaction nothing can run meanwhile.
    a.ask("MULTI");
    a.ask(&migrate(there.port, "h 0 5000 REPLACE"));
    a.ask("SET h new");
    assert_eq!(a.ask("EXEC"), "[OK, OK]");
    b.ask("SELECT 0");
    assert_eq!(
        (a.ask("GET h"), b.ask("HGET h f")),
        ("\"new\"".into(), "\"v\"".into())
    );
    assert_eq!(a.ask(&migrate(there.port, "none 0 5000")), "NOKEY");
}

#[test]
fn who_changes_what_is_on_its_way_waits_and_nobody_else() {
    let (here, target) = (Server::start(), Target::new());
    let (mut mover, mut other) = (here.raw(), here.raw());
    let mut waiting: Vec<Raw> = (0..4).map(|_| here.raw()).collect();
    other.ask("MSET k old k2 v");
    waiting[3].ask("MULTI");
    waiting[3].ask("APPEND k +");
    mover.command(
        &migrate(target.port(), "k 0 20000")
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let mut stream = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    for (client, line) in
        waiting
            .iter_mut()
            .zip(["SET k new", "FLUSHALL", "EVAL return(1) 0", "EXEC"])
    {
        client.command(&line.split(' ').collect::<Vec<_>>());
    }
    wait_until("four are held back, and one waits for its answer", || {
        here.info("blocked_clients") == "5"
    });
    for (line, answer) in [
        ("GET k", "\"old\""),
        ("SET k2 w", "OK"),
        ("EVAL_RO return(2) 0", ":2"),
        ("CLIENT UNBLOCK 3", ":0"),
        ("PING", "PONG"),
    ] {
        assert_eq!(other.ask(line), answer, "{line}");
    }
    stream.write_all(b"+OK\r\n").expect("it listens");
    let sent = read_until(&mut stream, "old");
    assert!(
        sent.starts_with("*4\r\n$7\r\nRESTORE\r\n$1\r\nk\r\n$1\r\n0\r\n"),
        "{sent}"
    );
    stream.write_all(b"+OK\r\n").expect("it listens");
    assert_eq!(mover.reply(), "OK");
    let answers: Vec<String> = waiting.iter_mut().map(Raw::reply).collect();
    assert_eq!(answers[..3], ["OK", "OK", ":1"].map(str::to_owned));
    assert!(answers[3].starts_with("[:"), "{}", answers[3]);
    wait_until("nobody waits", || here.info("blocked_clients") == "0");
}

#[test]
fn what_was_followed_goes_and_what_was_not_stays() {
    let (here, target) = (Server::start(), Target::new());
    let (mut mover, mut other) = (here.raw(), here.raw());
    other.ask("MSET a 1 b 2 c 3 d 4");
    other.ask("CONFIG SET slowlog-log-slower-than 0");
    let request = |rest: &[&str]| {
        let port = target.port().to_string();
        frame(&[&["MIGRATE", "127.0.0.1", &port, "", "9", "20000"][..], rest].concat())
    };
    // Nothing is sent into a database that was not meant.
    mover.send(&request(&["KEYS", "a", "b"]));
    let mut stream = target.accept_after("SELECT\r\n$1\r\n9\r\n");
    stream
        .write_all(b"-ERR DB index is out of range\r\n")
        .expect("it listens");
    let refused = "(error) ERR Target instance replied with error: ERR DB index is out of range";
    assert_eq!(mover.reply(), refused);
    drop(stream);
    // The second is refused, and behind the third the other server is gone.
    mover.send(&request(&["AUTH2", "me", "pw", "KEYS", "a", "b", "c", "d"]));
    let mut stream = target.accept_after("SELECT\r\n$1\r\n9\r\n");
    stream
        .write_all(b"+OK\r\n+OK\r\n+OK\r\n-BUSYKEY it is there\r\n+OK\r\n")
        .expect("it listens");
    read_until(&mut stream, "$1\r\nd\r\n");
    drop(stream);
    assert_eq!(
        mover.reply(),
        "(error) IOERR error or timeout reading to target instance"
    );
    assert_eq!(other.ask("MGET a b c d"), r#"[nil, "2", nil, "4"]"#);
    // Whoever asked has left: it happens all the same.
    mover.send(&request(&["KEYS", "b"]));
    let mut stream = target.accept_after("SELECT\r\n$1\r\n9\r\n");
    drop(mover);
    wait_until("only one client is left", || {
        here.info("connected_clients") == "2"
    });
    stream.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    wait_until("it is gone", || other.ask("EXISTS b") == ":0");
    let slow = other.ask("SLOWLOG GET -1");
    assert!(
        slow.contains("MIGRATE") && !slow.contains("\"pw\""),
        "{slow}"
    );
}

#[test]
fn a_silent_target_costs_only_the_time_that_was_given() {
    let (here, target) = (Server::start(), Target::new());
    let mut mover = here.raw();
    mover.ask("SET k v");
    let silent = "(error) IOERR error or timeout reading to target instance";
    assert_eq!(mover.ask(&migrate(target.port(), "k 0 50")), silent);
    assert_eq!(mover.ask("GET k"), "\"v\"");
    mover.ask("MULTI");
    mover.ask(&migrate(target.port(), "k 0 50"));
    let reply = mover.ask("EXEC");
    assert!(reply.contains("IOERR error or timeout"), "{reply}");
    assert_eq!(mover.ask("SET k w"), "OK");
}

/// The request that moves a key of database 0.
fn errand(target: &Target, key: &str) -> Vec<u8> {
    let port = target.port().to_string();
    frame(&["MIGRATE", "127.0.0.1", &port, key, "0", "20000"])
}

#[test]
fn what_is_no_answer_says_nothing_of_a_key() {
    let (here, target) = (Server::start(), Target::new());
    let mut mover = here.raw();
    mover.ask("SET k v");
    let unread = "(error) IOERR error or timeout reading to target instance";
    // A server that is none like this one, and one that answers the first request and then says something else.
    for (first, then) in [
        ("SSH-2.0-OpenSSH_9.6\r\nInvalid identification\r\n", ""),
        ("+OK\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ("+OK\r\n", ":1\r\n"),
        ("+OK\r\n", "\r\n"),
    ] {
        mover.send(&errand(&target, "k"));
        let mut stream = target.accept_after("SELECT\r\n$1\r\n0\r\n");
        stream.write_all(first.as_bytes()).expect("it listens");
        if !then.is_empty() {
            read_until(&mut stream, "RESTORE");
            stream.write_all(then.as_bytes()).expect("it listens");
        }
        assert_eq!(mover.reply(), unread, "{first}{then}");
        assert_eq!(mover.ask("GET k"), "\"v\"", "{first}{then}");
    }
}

#[test]
fn nothing_changes_a_key_on_its_way_from_wherever_it_comes() {
    let (here, target) = (Server::start(), Target::new());
    let clients = || (here.raw(), here.raw(), here.raw());
    let ((mut mover, mut second, mut other), (mut pops, mut copies, mut queues)) =
        (clients(), clients());
    other.ask("RPUSH to old");
    other.ask("SET b 1");
    pops.send(&frame(&["BLMOVE", "from", "to", "LEFT", "RIGHT", "0"]));
    wait_until("it waits", || here.info("blocked_clients") == "1");
    mover.send(&errand(&target, "to"));
    let mut first = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    second.send(&errand(&target, "b"));
    let mut last = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    // One that waited for a key, and two that come from another database.
    other.ask("RPUSH from new");
    copies.ask("SELECT 1");
    copies.ask("SET from 1");
    copies.send(&frame(&["COPY", "from", "to", "DB", "0", "REPLACE"]));
    for line in ["SELECT 1", "MULTI", "SELECT 0", "RPUSH to queued"] {
        queues.ask(line);
    }
    queues.send(&frame(&["EXEC"]));
    wait_until("all are held back", || here.info("blocked_clients") == "5");
    assert_eq!(other.ask("LRANGE to 0 -1"), "[\"old\"]");
    assert_eq!(other.ask("LRANGE from 0 -1"), "[\"new\"]");
    first.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    assert_eq!(mover.reply(), "OK");
    // They go on although another key is on its way still.
    assert_eq!(pops.reply(), "\"new\"");
    copies.reply();
    queues.reply();
    assert_eq!(other.ask("EXISTS from"), ":0");
    assert_eq!(other.ask("EXISTS to"), ":1");
    last.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    assert_eq!(second.reply(), "OK");
    wait_until("nobody waits", || here.info("blocked_clients") == "0");
}

#[test]
fn no_key_goes_while_changes_are_held_back() {
    // It went, and the stream grew, while a failover counted on both to keep still.
    let (here, target) = (Server::start(), Target::new());
    let (mut mover, mut other) = (here.raw(), here.raw());
    other.ask("SET k v");
    mover.send(&errand(&target, "k"));
    let mut stream = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    assert_eq!(other.ask("CLIENT PAUSE 1000000 WRITE"), "OK");
    stream.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    // The answers have been read when the connection is kept for others.
    wait_until("they are there", || {
        here.info("migrate_cached_sockets") == "1"
    });
    assert_eq!(other.ask("EXISTS k"), ":1");
    assert_eq!(here.info("blocked_clients"), "1");
    assert_eq!(other.ask("CLIENT UNPAUSE"), "OK");
    assert_eq!(mover.reply(), "OK");
    assert_eq!(other.ask("EXISTS k"), ":0");
}

#[test]
fn a_script_has_its_turn_however_many_keys_move() {
    let (here, target) = (Server::start(), Target::new());
    let mut movers: Vec<Raw> = (0..3).map(|_| here.raw()).collect();
    let mut script = here.raw();
    script.ask("MSET a 1 b 1 c 1");
    let mut begin = |n: usize| movers[n].send(&errand(&target, ["a", "b", "c"][n]));
    begin(0);
    let mut first = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    begin(1);
    let mut second = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    script.send(&frame(&["EVAL", "return redis.call('incr', 'c')", "0"]));
    wait_until("it waits", || here.info("blocked_clients") == "3");
    begin(2);
    wait_until("so does who comes behind it", || {
        here.info("blocked_clients") == "4"
    });
    first.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    second.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    assert_eq!(script.reply(), ":2");
    drop((first, second));
    let mut third = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    third.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    let replies: Vec<String> = movers.iter_mut().map(Raw::reply).collect();
    assert_eq!(replies, ["OK", "OK", "OK"]);
    assert_eq!(script.ask("EXISTS a b c"), ":0");
}

#[test]
fn a_target_that_gives_no_answer_keeps_nobody_who_goes_elsewhere() {
    // Its errands had all the threads, and then all the places, that there were.
    let (here, there, silent) = (Server::start(), Server::start(), Target::new());
    let mut movers: Vec<Raw> = (0..70).map(|_| here.raw()).collect();
    for (n, mover) in movers.iter_mut().enumerate() {
        mover.ask(&format!("SET k{n} v"));
        mover.send(&errand(&silent, &format!("k{n}")));
    }
    wait_until("all wait", || here.info("blocked_clients") == "70");
    let mut other = here.raw();
    other.ask("SET k v");
    assert_eq!(other.ask(&migrate(there.port, "k 0 20000")), "OK");
    assert_eq!(here.info("blocked_clients"), "70");
    // Each has its turn.
    drop(silent);
    for mover in &mut movers {
        let reply = mover.reply();
        assert!(reply.starts_with("(error) IOERR"), "{reply}");
    }
    assert_eq!(other.ask("DBSIZE"), ":70");
}

#[test]
fn a_server_that_follows_another_one_meanwhile_keeps_its_keys() {
    let (here, target) = (Server::start(), Target::new());
    let (mut mover, mut other) = (here.raw(), here.raw());
    other.ask("SET k v");
    other.ask("CONFIG SET replica-read-only no");
    mover.send(&errand(&target, "k"));
    let mut stream = target.accept_after("SELECT\r\n$1\r\n0\r\n");
    assert_eq!(other.ask("REPLICAOF 127.0.0.1 1"), "OK");
    stream.write_all(b"+OK\r\n+OK\r\n").expect("it listens");
    let reply = mover.reply();
    assert!(reply.starts_with("(error) UNBLOCKED"), "{reply}");
    assert_eq!(other.ask("GET k"), "\"v\"");
}

#[test]
fn keys_move_over_tls_where_servers_talk_that_way() {
    let files = tls::both_ways();
    let mut own: Vec<&str> = files.iter().map(String::as_str).collect();
    own.extend(["--tls-cluster", "yes"]);
    let port = free_port();
    let text = port.to_string();
    let there = Server::with(&[&own[..], &["--tls-port", &text]].concat());
    let (here, plain) = (Server::with(&own), Server::start());
    let mut mover = here.raw();
    let large = "x".repeat(3_000_000);
    for _ in 0..2 {
        mover.command(&["MSET", "large", &large, "small", "1"]);
        assert_eq!(mover.reply(), "OK");
        let several = ["", "0", "20000", "REPLACE", "KEYS", "large", "small"];
        mover.command(&[&["MIGRATE", "127.0.0.1", &text][..], &several].concat());
        assert_eq!(mover.reply(), "OK");
    }
    assert_eq!(here.info("migrate_cached_sockets"), "1");
    assert_eq!(there.raw().ask("STRLEN large"), ":3000000");
    // Never without it.
    mover.ask("SET k v");
    for port in [plain.port, there.port] {
        let reply = mover.ask(&migrate(port, "k 0 20000"));
        assert!(reply.starts_with("(error) IOERR"), "{reply}");
        assert_eq!(mover.ask("EXISTS k"), ":1");
    }
    assert_eq!(plain.raw().ask("EXISTS k"), ":0");
}
