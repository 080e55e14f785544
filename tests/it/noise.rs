//! Noise: bytes that are no requests, requests that went wrong on the way, lengths that are lies,
//! from many connections at once. The server stays up, its memory bounded, its other clients served.
//!
//! Seeded: `NOISE_SEED=n` replays a run, which prints its seed when it fails.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::harness::{Server, frame, is_oracle};

/// Connections at the same time, and how many each thread opens one after the other.
const THREADS: u64 = 8;
const CONNECTIONS: usize = 60;

/// A small generator of our own: the tests see the server from outside only.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// A well-formed request with words that mean something somewhere.
fn request(dice: &mut Dice) -> Vec<u8> {
    let names: &[&str] = &[
        "SET",
        "GET",
        "MSET",
        "APPEND",
        "SETRANGE",
        "GETRANGE",
        "INCRBY",
        "HSET",
        "HGETALL",
        "EXPIRE",
        "SCAN",
        "HELLO",
        "CLIENT",
        "COMMAND",
        "OBJECT",
        "MULTI",
        "EXEC",
        "DISCARD",
        "WATCH",
        "RESET",
        "SELECT",
        "DEL",
        "RENAME",
        "COPY",
        "PING",
        "ECHO",
        "LCS",
        "MONITOR",
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "UNSUBSCRIBE",
        "SSUBSCRIBE",
        "PUBLISH",
        "INFO",
        "CONFIG",
        "MEMORY",
        "TYPE",
        "QUIT",
    ];
    let words: &[&str] = &[
        "k1",
        "k2",
        "k3",
        "0",
        "-1",
        "1",
        "9223372036854775807",
        "-9223372036854775808",
        "EX",
        "PX",
        "NX",
        "GET",
        "COUNT",
        "MATCH",
        "*",
        "2",
        "3",
        "LIST",
        "INFO",
        "DOCS",
        "GETKEYS",
        "1e400",
        "nan",
        "",
        "\0",
        "\r\n",
        "REPLY",
        "SKIP",
        "LEN",
        "IDX",
        "FREQ",
        "ENCODING",
    ];
    let mut args = vec![dice.pick(names).as_bytes().to_vec()];
    for _ in 0..dice.below(6) {
        let mut word = dice.pick(words).as_bytes().to_vec();
        if dice.below(12) == 0 {
            word = vec![b'y'; dice.below(70_000)];
        }
        args.push(word);
    }
    frame(&args)
}

/// What one connection sends.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + dice.below(30) {
        match dice.below(10) {
            0 => bytes.extend((0..dice.below(3000)).map(|_| dice.next() as u8)),
            1 => {
                let lies: &[&str] = &[
                    "*1000000000\r\n$3\r\nSET\r\n",
                    "*2147483647\r\n",
                    "*2147483648\r\n",
                    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\nxxxx",
                    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108865\r\n",
                    "*2\r\n$4\r\nECHO\r\n$-1\r\n",
                    "*-5\r\n",
                    "*1\r\n$99999999999999999999\r\n",
                    "*1\r\n:3\r\n",
                    "GET \"unbalanced\r\n",
                    "SETRANGE k1 67000000 x\r\n",
                    "\r\n\r\n\r\n",
                ];
                bytes.extend_from_slice(dice.pick(lies).as_bytes());
            }
            2 => {
                // A request that went wrong on the way.
                let mut sent = request(dice);
                for _ in 0..1 + dice.below(4) {
                    let at = dice.below(sent.len());
                    match dice.below(3) {
                        0 => sent[at] = dice.next() as u8,
                        1 => _ = sent.remove(at),
                        _ => sent.insert(at, dice.next() as u8),
                    }
                    if sent.is_empty() {
                        break;
                    }
                }
                bytes.extend(sent);
            }
            _ => bytes.extend(request(dice)),
        }
    }
    bytes
}

/// One connection: sends its noise in pieces, reads some of the replies or none, and goes.
fn disturb(port: u16, dice: &mut Dice) {
    let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let patience = Some(Duration::from_millis(3));
    socket.set_read_timeout(patience).expect("above zero");
    socket.set_write_timeout(patience).expect("above zero");
    let bytes = noise(dice);
    let most = if dice.below(3) == 0 { 100 } else { 50_000 };
    let piece = 1 + dice.below(most);
    let mut room = vec![0; 10_000];
    for part in bytes.chunks(piece.max(bytes.len() / 200 + 1)) {
        if socket.write_all(part).is_err() {
            break;
        }
        if dice.below(4) == 0 && matches!(socket.read(&mut room), Ok(0)) {
            break;
        }
    }
    if dice.below(2) == 0 {
        socket.shutdown(Shutdown::Write).ok();
        while matches!(socket.read(&mut room), Ok(n) if n > 0) {}
    }
}

#[test]
fn noise_from_many_connections_disturbs_nobody() {
    let seed: u64 = match std::env::var("NOISE_SEED") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => 20_261_121,
    };
    println!("NOISE_SEED={seed}");
    let server = Server::with(&["--maxclients", "500", "--proto-max-bulk-len", "64mb"]);
    let mut witness = server.raw();
    let port = server.port;
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            thread::spawn(move || {
                let mut dice = Dice(seed.wrapping_mul(THREADS).wrapping_add(n) | 1 << 63);
                for _ in 0..CONNECTIONS {
                    disturb(port, &mut dice);
                }
            })
        })
        .collect();
    let mut most = 0;
    while threads.iter().any(|t| !t.is_finished()) {
        // A reply that does not come within the harness's patience is a failure.
        assert_eq!(witness.ask("PING"), "PONG");
        let text = witness.ask("INFO memory");
        let used = text.split("used_memory:").nth(1).expect("a known field");
        let used = used.split("\\r").next().and_then(|v| v.parse().ok());
        most = most.max(used.unwrap_or(0u64));
    }
    for one in threads {
        one.join().expect("a thread only sends and reads");
    }
    // SETRANGE may make one value of 64 MB for each of the few keys, at their full length.
    assert!(most < 600_000_000, "{most} bytes were in use");
    assert_eq!(witness.ask("FLUSHALL"), "OK");
    server.check(&[("SET key value", "OK"), ("GET key", "\"value\"")]);
    if !is_oracle() {
        assert!(
            !server.log().contains("REDIS BUG REPORT"),
            "{}",
            server.log()
        );
    }
}
