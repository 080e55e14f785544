//! What goes wrong between a primary and its replica: noise, lies, silence, bytes that change on the way, links
//! cut at any byte, servers killed in every phase of a full synchronisation, replicas that never read. In the
//! end the data are equal, nobody has ended that was not killed, and memory was bounded all along.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::content::{facts, fill, load_libraries, same};
use crate::harness::{Raw, Server, binary, frame, is_oracle, wait_until};
use crate::proxy::{Fault, Impostor, Proxy};
use crate::replication::{
    directory, follow, in_every_pairing, in_step, number, real_then_ours, server, server_on,
};

in_every_pairing!(
    links_cut_at_many_bytes,
    a_primary_killed_in_every_phase,
    a_replica_killed_in_every_phase,
);

/// A primary with data enough that a snapshot is longer than what sockets hold.
fn filled(binary: &str, args: &[&str]) -> Server {
    let primary = server(binary, args);
    fill(&primary, true);
    load_libraries(&primary);
    enlarge(&primary);
    primary
}

/// Noise does not compress.
fn enlarge(primary: &Server) {
    let mut raw = primary.raw();
    let mut seed = 88_172_645_463_325_252_u64;
    for n in 0..100 {
        let noise = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        });
        let noise: Vec<u8> = noise.take(200_000).collect();
        raw.command(&[b"SET", format!("noise{n}").as_bytes(), &noise]);
        assert_eq!(raw.reply(), "OK");
    }
}

fn equal(primary: &Server, replica: &Server) {
    in_step(primary, replica);
    same(&facts(primary), &facts(replica));
}

/// One bulk after the other; the last is answered when all of them are.
fn write(primary: &Server, name: &str, count: usize, value: &[u8]) {
    let mut raw = primary.raw();
    for n in 0..count {
        raw.command(&[b"SET", format!("{name}{n}").as_bytes(), value]);
        assert_eq!(raw.reply(), "OK");
    }
}

/// In the introductions, in the header of the snapshot, in its middle, in the stream behind it.
fn links_cut_at_many_bytes(first: &str, second: &str) {
    for mode in ["yes", "no"] {
        let primary = server(first, &["--repl-diskless-sync", mode]);
        fill(&primary, true);
        let replica = server(second, &[]);
        let proxy = Proxy::to(primary.port);
        // The introductions take some 80 bytes: PONG, three or four times OK, FULLRESYNC.
        let places = [0, 3, 7, 14, 30, 70, 100, 150, 5_000, 77_777];
        proxy.plan(&places.map(Fault::Cut));
        follow(&replica, proxy.port);
        for n in 1..=places.len() as u64 {
            wait_until(&format!("cut {n} ({mode})"), || proxy.struck() >= n);
        }
        equal(&primary, &replica);
        // In the stream, at bytes that a request has anywhere.
        let full = number(&primary, "sync_full");
        for cut in [90, 101, 113, 130, 150, 171] {
            let struck = proxy.struck();
            proxy.plan(&[Fault::Cut(cut)]);
            proxy.cut();
            write(&primary, &format!("cut{cut}:"), 5, b"value");
            wait_until(&format!("{cut} ({mode})"), || proxy.struck() > struck);
        }
        equal(&primary, &replica);
        assert_eq!(number(&primary, "sync_full"), full);
    }
}

/// Where a full synchronisation is held when somebody is killed: bytes from the primary.
const PHASES: [(&str, Fault); 4] = [
    ("introductions", Fault::Hold(10)),
    ("the answer to PSYNC", Fault::Hold(70)),
    ("the first bytes of the snapshot", Fault::Hold(200)),
    ("the middle of the snapshot", Fault::Hold(5_000_000)),
];

fn a_primary_killed_in_every_phase(first: &str, second: &str) {
    for mode in ["yes", "no"] {
        let args = ["--repl-diskless-sync", mode];
        let mut primary = filled(first, &args);
        assert_eq!(primary.raw().ask("SAVE"), "OK");
        let before = facts(&primary);
        let replica = server(second, &[]);
        let proxy = Proxy::to(primary.port);
        for (phase, fault) in PHASES {
            proxy.plan(&[fault]);
            replica.check(&[("REPLICAOF NO ONE", "OK")]);
            follow(&replica, proxy.port);
            wait_until(phase, || proxy.holds());
            primary = server_on(first, primary.kill(), &args);
            proxy.aim(primary.port);
            proxy.release();
            equal(&primary, &replica);
        }
        same(&before, &facts(&replica));
    }
}

fn a_replica_killed_in_every_phase(first: &str, second: &str) {
    for mode in ["yes", "no"] {
        let primary = filled(first, &["--repl-diskless-sync", mode]);
        let mut dir = directory();
        for (n, (phase, fault)) in PHASES.into_iter().enumerate() {
            let proxy = Proxy::to(primary.port);
            proxy.plan(&[fault]);
            let replica = server_on(second, dir, &[]);
            follow(&replica, proxy.port);
            wait_until(phase, || proxy.holds());
            dir = replica.kill();
            proxy.cut();
            // Nobody wants the snapshot any more: the child ends, too.
            wait_until("the primary to let go of it", || {
                primary.infos(["connected_slaves", "rdb_bgsave_in_progress"]) == ["0", "0"]
            });
            write(&primary, &format!("phase{n}:"), 3, phase.as_bytes());
        }
        // While it loads.
        let slow = [
            "--key-load-delay",
            "300",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        let replica = Server::on(second, dir, &slow);
        follow(&replica, primary.port);
        wait_until("the loading", || replica.info("loading") == "1");
        dir = replica.kill();
        let replica = server_on(second, dir, &[]);
        follow(&replica, primary.port);
        equal(&primary, &replica);
        // What was begun and not ended is not left lying about.
        let left = std::fs::read_dir(replica.dir()).expect("its directory");
        let names: Vec<String> = left
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into()
            })
            .collect();
        let temp = names.iter().filter(|name| name.contains("temp-"));
        assert!(temp.count() <= 3, "{names:?}");
    }
}

/// The real server ends itself over most of them. Ours says what is wrong and tries again, whether it reads the
/// snapshot through a file or not.
fn snapshots_changed_on_the_way(first: &str) {
    if is_oracle() {
        return;
    }
    for (diskless, load) in [
        ("yes", "disabled"),
        ("no", "disabled"),
        ("yes", "on-empty-db"),
        ("yes", "swapdb"),
    ] {
        let primary = filled(first, &["--repl-diskless-sync", diskless]);
        let replica = server(&binary(), &["--repl-diskless-load", load]);
        if load != "on-empty-db" {
            replica.check(&[("SET before x", "OK")]);
        }
        let proxy = Proxy::to(primary.port);
        // In the header of the file; in what it says of the history; in a value.
        let flips = [15, 100, 6_000_000].map(Fault::Spoil);
        proxy.plan(&flips);
        follow(&replica, proxy.port);
        wait_until("three of them", || proxy.struck() == flips.len() as u64);
        equal(&primary, &replica);
    }
}

#[test]
fn snapshots_of_ours_changed_on_the_way() {
    snapshots_changed_on_the_way(&binary());
}

#[test]
fn snapshots_of_the_real_one_changed_on_the_way() {
    if let Some((real, _)) = real_then_ours() {
        snapshots_changed_on_the_way(&real);
    }
}

type Say = fn(&mut TcpStream, &[u8]);

/// Sends until the other side has heard enough.
fn endlessly(replica: &mut TcpStream, what: &[u8]) {
    let mut sent = 0;
    while sent < 300 << 20 && replica.write_all(what).is_ok() {
        sent += what.len();
    }
    replica.shutdown(std::net::Shutdown::Both).ok();
}

fn once(replica: &mut TcpStream, what: &[u8]) {
    replica.write_all(what).ok();
    replica.shutdown(std::net::Shutdown::Both).ok();
}

const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a primary that is none says to PSYNC.
fn lies() -> Vec<(Vec<u8>, Say)> {
    let resync = |offset: &str, more: &str| format!("+FULLRESYNC {ID} {offset}\r\n{more}");
    let texts = [
        "+FULLRESYNC\r\n".into(),
        "+FULLRESYNC short 5\r\n$5\r\nREDIS".into(),
        format!("+FULLRESYNC {ID}\r\n"),
        resync("-7", "$5\r\nREDIS"),
        resync("99999999999999999999", "$5\r\nREDIS"),
        resync("9223372036854775807", "$5\r\nREDIS"),
        resync("1", "$-1\r\n"),
        resync("1", "$99999999999999999999\r\nREDIS0010"),
        resync("1", "$4611686018427387904\r\nREDIS0010"),
        resync("1", "$1000000\r\nREDIS0010"),
        resync("1", "$0\r\n"),
        resync("1", "$9\r\nREDIS9999"),
        resync("1", "$EOF:short\r\nREDIS0010"),
        resync("1", &format!("$EOF:{ID}\r\n{ID}")),
        resync("1", &format!("$EOF:{ID}\r\nREDIS0010\u{1}\u{2}\u{3}{ID}")),
        resync("1", "+OK\r\n"),
        resync("1", "-ERR no snapshot today\r\n"),
        "+CONTINUE\r\n*1\r\n$4\r\nPING\r\n".into(),
        format!("+CONTINUE {ID}\r\n*1000000000\r\n"),
        "+CONTINUE \u{1}\u{2}\r\n".into(),
        "-NOMASTERLINK Can't SYNC while not connected with my master\r\n".into(),
        "-LOADING\r\n".into(),
        "-ERR unknown command 'PSYNC'\r\n".into(),
        "-\r\n".into(),
        ":1\r\n".into(),
        "$3\r\nabc\r\n".into(),
        "\r\n\r\n\r\n".into(),
        String::new(),
    ];
    let mut lies: Vec<(Vec<u8>, Say)> = (texts
        .into_iter()
        .map(|text: String| (text.into_bytes(), once as Say)))
    .collect();
    // No line's end, no mark, no end of a request: how much of it is kept?
    let noise: Vec<u8> = (0..1u32 << 16)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80)
        .collect();
    lies.push((noise.clone(), once));
    lies.push((noise, endlessly));
    lies
}

/// The replica outlives each of them, its memory does not grow, and it follows a true primary afterwards.
#[test]
fn a_primary_that_says_what_none_would_say() {
    if is_oracle() {
        // It ends itself over a snapshot that it cannot read.
        return;
    }
    let primary = filled(&binary(), &[]);
    let replica = server(&binary(), &[]);
    let lies = lies();
    let count = lies.len();
    // A session that was begun well: what follows it is believed as far as it can be.
    let next = Arc::new(AtomicUsize::new(0));
    let ours = Arc::clone(&next);
    let impostor = Impostor::with(Box::new(move |replica| {
        if let Some((text, say)) = lies.get(ours.fetch_add(1, Ordering::SeqCst)) {
            say(replica, text);
        } else {
            once(replica, b"");
        }
    }));
    let used = number(&replica, "used_memory");
    while next.load(Ordering::SeqCst) < count {
        let n = next.load(Ordering::SeqCst);
        replica.check(&[("REPLICAOF NO ONE", "OK")]);
        follow(&replica, impostor.port);
        wait_until("the next try", || next.load(Ordering::SeqCst) > n);
    }
    wait_until("one more", || next.load(Ordering::SeqCst) > count);
    let peak = number(&replica, "used_memory_peak") - used;
    assert!(peak < 64 << 20, "{peak} bytes more at its peak");
    follow(&replica, primary.port);
    equal(&primary, &replica);
}

/// A snapshot of one key, `n`, without a checksum; `broken`: it does not end as one.
fn small_snapshot(broken: bool) -> Vec<u8> {
    let mut bytes = b"REDIS0010\xfe\0\0\x01n\x011".to_vec();
    match broken {
        true => bytes.extend_from_slice(b"\x77\x77\x77"),
        false => bytes.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
    }
    bytes
}

/// What comes in one piece with the end of a snapshot of known length was taken for a part of it, where it is loaded
/// as it comes.
#[test]
fn a_stream_right_behind_a_snapshot() {
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let replica = server(&binary(), &["--repl-diskless-load", load]);
        let impostor = Impostor::with(Box::new(|replica| {
            let snapshot = small_snapshot(false);
            let mut bytes = format!("+FULLRESYNC {ID} 1\r\n${}\r\n", snapshot.len()).into_bytes();
            bytes.extend_from_slice(&snapshot);
            bytes.extend_from_slice(&frame(&["SELECT", "0"]));
            bytes.extend_from_slice(&frame(&["SET", "behind", "1"]));
            replica.write_all(&bytes).ok();
        }));
        follow(&replica, impostor.port);
        wait_until(load, || replica.raw().ask("EXISTS behind") == ":1");
        assert_eq!(replica.raw().ask("EXISTS n"), ":1", "{load}");
        assert_eq!(impostor.asked(), 1, "{load}");
    }
}

/// Has the replica follow somebody whose snapshot drives out its data, and cannot be loaded.
fn lose_data_to(replica: &Server) -> Impostor {
    let impostor = Impostor::with(Box::new(|replica| {
        let snapshot = small_snapshot(true);
        let head = format!("+FULLRESYNC {ID} 1\r\n${}\r\n", snapshot.len());
        replica
            .write_all(&[head.as_bytes(), &snapshot].concat())
            .ok();
    }));
    follow(replica, impostor.port);
    wait_until("the old data are gone", || {
        replica.raw().ask("DBSIZE") == ":0"
    });
    impostor
}

/// Old data that a snapshot which cannot be loaded has driven out were still in the append-only file, and what was
/// written afterwards went behind them: the next start found a mix of both.
#[test]
fn a_file_never_holds_parts_of_two_data_sets() {
    if is_oracle() {
        return;
    }
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let replica = server(&binary(), &args);
    assert_eq!(replica.raw().ask("SET old 1"), "OK");
    let _impostor = lose_data_to(&replica);
    wait_until("nobody is followed", || {
        replica.raw().ask("REPLICAOF NO ONE") == "OK"
    });
    assert_eq!(replica.raw().ask("SET new 1"), "OK");
    replica.wait_rewritten();
    let replica = server_on(&binary(), replica.kill(), &args);
    replica.check(&[("EXISTS old", ":0"), ("EXISTS new", ":1")]);
}

/// A rewrite that ran when the snapshot came in began anew behind it, with nothing: the good file was replaced.
#[test]
fn a_file_outlives_a_synchronisation_that_fails_during_a_rewrite() {
    if is_oracle() {
        return;
    }
    let args = ["--appendonly", "yes", "--appendfsync", "always"];
    let replica = server(&binary(), &args);
    replica.check(&[
        ("SET old 1", "OK"),
        ("CONFIG SET rdb-key-save-delay 20000000", "OK"),
        (
            "BGREWRITEAOF",
            "Background append only file rewriting started",
        ),
    ]);
    let impostor = lose_data_to(&replica);
    replica.raw().ask("CONFIG SET rdb-key-save-delay 0");
    // Each try begins after the last one's end, and there is a cron in between.
    let tries = impostor.asked();
    wait_until("more tries", || impostor.asked() >= tries + 2);
    assert_eq!(replica.info("aof_rewrite_in_progress"), "0");
    let replica = server_on(&binary(), replica.kill(), &args);
    replica.check(&[("EXISTS old", ":1")]);
}

/// A file with a part of a snapshot does not outlive the server in order: each end would leave one behind.
#[test]
fn a_server_that_ends_takes_its_half_snapshot_along() {
    if is_oracle() {
        return;
    }
    let mut replica = server(&binary(), &[]);
    let dir = replica.dir().to_owned();
    let temporary = || {
        let names = std::fs::read_dir(&dir).expect("it is there").flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.any(|name| name.starts_with("temp-"))
    };
    let half = format!("+FULLRESYNC {ID} 1\r\n$1000000\r\nREDIS0010");
    let impostor = Impostor::with(Box::new(move |replica| {
        replica.write_all(half.as_bytes()).ok();
    }));
    follow(&replica, impostor.port);
    wait_until("a part of it is there", temporary);
    replica.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(replica.wait_end().success());
    assert!(!temporary());
}

/// Nothing at all is said, or nothing more: it gives up after `repl-timeout`, and tries again.
#[test]
fn a_primary_that_falls_silent() {
    let primary = server(&binary(), &["--repl-ping-replica-period", "1"]);
    let middle = format!("+FULLRESYNC {ID} 1\r\n$1000000\r\nREDIS0010");
    for text in [String::new(), middle] {
        let replica = server(&binary(), &["--repl-timeout", "2"]);
        let text = text.clone();
        let impostor = Impostor::with(Box::new(move |replica| {
            replica.write_all(text.as_bytes()).ok();
        }));
        follow(&replica, impostor.port);
        wait_until("the third try", || impostor.asked() >= 3);
        follow(&replica, primary.port);
        equal(&primary, &replica);
    }
    // In the stream: the real primary is there, and not heard of.
    let replica = server(&binary(), &["--repl-timeout", "2"]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    proxy.hold();
    wait_until("a new connection", || proxy.connections() >= 2);
    proxy.release();
    equal(&primary, &replica);
    assert!(number(&primary, "sync_partial_ok") >= 1);
}

/// A replica played by the test: introduced, and asking for a synchronisation.
pub fn false_replica(primary: &Server) -> Raw {
    let mut raw = primary.raw();
    assert_eq!(raw.ask("REPLCONF listening-port 7"), "OK");
    assert_eq!(raw.ask("REPLCONF capa eof capa psync2"), "OK");
    raw.command(&["PSYNC", "?", "-1"]);
    raw
}

pub fn read_a_snapshot(raw: &mut Raw) -> String {
    // Newlines keep the link alive until there is an answer.
    let mut line = String::new();
    while line.is_empty() {
        line = raw.line().trim_matches('\n').replace("\\n", "");
    }
    assert!(line.starts_with("+FULLRESYNC "), "{line}");
    let mut head = String::new();
    while head.is_empty() {
        head = raw.line().replace("\\n", "");
    }
    let mark = head
        .strip_prefix("$EOF:")
        .expect("a mark")
        .as_bytes()
        .to_vec();
    let mut seen = Vec::new();
    while !seen.ends_with(&mark) {
        seen.extend(raw.read_exact(1));
    }
    line
}

/// It is let go of when what waits for it passes the limit; others read the same stream all along.
#[test]
fn a_replica_that_never_reads() {
    let limit = ["--client-output-buffer-limit", "replica 8mb 0 0"];
    let primary = server(&binary(), &limit);
    let good = server(&binary(), &[]);
    follow(&good, primary.port);
    in_step(&primary, &good);
    let mut lazy = false_replica(&primary);
    read_a_snapshot(&mut lazy);
    lazy.command(&["REPLCONF", "ACK", "0"]);
    wait_until("both", || primary.info("connected_slaves") == "2");
    let used = number(&primary, "used_memory");
    let value = vec![b'x'; 200_000];
    let mut writer = primary.raw();
    let mut most = 0;
    for n in 0..300 {
        writer.command(&[&b"SET"[..], b"same", &value]);
        assert_eq!(writer.reply(), "OK");
        if n % 10 == 0 {
            most = most.max(number(&primary, "used_memory") - used);
            // Else the limit might meet this one, too.
            in_step(&primary, &good);
        }
    }
    assert!(most < 40 << 20, "{most} bytes more");
    wait_until("the lazy one to go", || {
        primary.info("connected_slaves") == "1"
    });
    wait_until("memory to come back", || {
        number(&primary, "used_memory") - used < 8 << 20
    });
    equal(&primary, &good);
    assert_eq!(number(&primary, "sync_full"), 2);
}

fn threads(server: &Server) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.info("process_id")));
    let tasks = tasks.expect("it lives").flatten();
    // One of them may end while they are listed.
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(name).collect()
}

/// It reads nothing of its snapshot: the child waits, and then nobody does.
#[test]
fn a_replica_that_never_reads_its_snapshot() {
    for mode in ["yes", "no"] {
        let limit = ["--client-output-buffer-limit", "replica 8mb 0 0"];
        let args = ["--repl-diskless-sync", mode, "--repl-timeout", "3"];
        let primary = filled(&binary(), &[&args[..], &limit].concat());
        let _lazy = false_replica(&primary);
        wait_until("the synchronisation", || {
            primary.info("connected_slaves") == "1"
        });
        if mode == "no" {
            // A file is there, and costs nothing to keep: what waits behind it does.
            wait_until("the file", || {
                primary.info("rdb_bgsave_in_progress") == "0"
                    && primary.info("slave0").contains("state=send_bulk")
            });
            write(&primary, "meanwhile", 100, &[b'x'; 100_000]);
        }
        wait_until("the lazy one to go", || {
            primary.infos(["connected_slaves", "rdb_bgsave_in_progress"]) == ["0", "0"]
        });
        // It holds the file, which may have no name any more.
        wait_until("the thread that read for it to end", || {
            !threads(&primary).contains(&"rv_spool\n".to_owned())
        });
        let replica = server(&binary(), &[]);
        follow(&replica, primary.port);
        equal(&primary, &replica);
    }
}

/// It says what is not so of itself: offsets that never were, and PSYNC of what nobody has.
#[test]
fn a_replica_that_lies_about_offsets() {
    let primary = server(&binary(), &["--repl-backlog-size", "16kb"]);
    let good = server(&binary(), &[]);
    follow(&good, primary.port);
    in_step(&primary, &good);
    write(&primary, "key", 1000, &[b'x'; 200]);
    // What a replica has not read yet is kept for it.
    in_step(&primary, &good);
    write(&primary, "more", 100, &[b'x'; 200]);
    assert!(number(&primary, "repl_backlog_first_byte_offset") > 1);
    let (id, end) = (
        primary.info("master_replid"),
        number(&primary, "master_repl_offset"),
    );
    let upper = id.to_uppercase();
    for (id, offset) in [
        (id.as_str(), "1".to_string()),
        (&id, (end + 2).to_string()),
        (&id, (end + 1_000_000).to_string()),
        (&id, "-5".into()),
        (&id, "0".into()),
        (&id, "9223372036854775807".into()),
        ("?", end.to_string()),
        (ID, end.to_string()),
        (&id[..39], end.to_string()),
    ] {
        let mut raw = primary.raw();
        raw.ask("REPLCONF capa eof capa psync2");
        raw.command(&["PSYNC", id, &offset]);
        read_a_snapshot(&mut raw);
    }
    let mut raw = primary.raw();
    let refused = "(error) ERR value is not an integer or out of range";
    for offset in ["x", "99999999999999999999", ""] {
        raw.command(&["PSYNC", &id, offset]);
        assert_eq!(raw.reply(), refused);
    }
    // Ids are compared as Redis does, in either case.
    let mut raw = primary.raw();
    raw.ask("REPLCONF capa eof capa psync2");
    raw.command(&[
        "PSYNC",
        &upper,
        &(number(&primary, "master_repl_offset") + 1).to_string(),
    ]);
    assert_eq!(raw.reply(), format!("CONTINUE {id}"));
    // An ACK from the future counts for no more than what there is.
    let mut liar = false_replica(&primary);
    read_a_snapshot(&mut liar);
    liar.command(&["REPLCONF", "ACK", "9223372036854775807"]);
    liar.command(&["REPLCONF", "ACK", "5"]);
    write(&primary, "later", 100, b"value");
    equal(&primary, &good);
    assert_eq!(number(&primary, "sync_full"), 11);
}

/// Commands that arrive changed: what the replica cannot run it says, and it goes on or begins again.
#[test]
fn a_stream_changed_on_the_way() {
    let primary = server(&binary(), &[]);
    let replica = server(&binary(), &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    for at in 95..125u64 {
        let struck = proxy.struck();
        proxy.plan(&[Fault::Flip(at)]);
        proxy.cut();
        write(&primary, "some", 20, b"value");
        wait_until("the change", || proxy.struck() > struck);
    }
    // It may have believed one of them; begun anew, it has what the primary has.
    replica.check(&[("REPLICAOF NO ONE", "OK"), ("SET own x", "OK")]);
    follow(&replica, proxy.port);
    equal(&primary, &replica);
}
