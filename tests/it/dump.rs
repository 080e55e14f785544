//! DUMP and RESTORE as dialogues, payloads of a real server, and DEBUG RELOAD.

use crate::harness::{Raw, Server, is_oracle};

const WRONG_FRAME: &str = "(error) ERR DUMP payload version or checksum are wrong";
const BAD_DATA: &str = "(error) ERR Bad data format";

/// Payloads of redis-server 7.0.15 and of older files, by name.
fn payloads() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("../assets/dumps.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (name, hex) = line.split_once(' ')?;
        let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        Some((name, (0..hex.len()).step_by(2).map(digits).collect()))
    })
}

fn restore(raw: &mut Raw, key: &str, ttl: &str, payload: &[u8], options: &[&str]) -> String {
    let mut argv = vec![&b"RESTORE"[..], key.as_bytes(), ttl.as_bytes(), payload];
    argv.extend(options.iter().map(|option| option.as_bytes()));
    raw.command(&argv);
    raw.reply()
}

/// The bytes of a DUMP.
fn dump(raw: &mut Raw, key: &str) -> Vec<u8> {
    raw.command(&["DUMP", key]);
    let mut len = String::new();
    while !len.ends_with("\r\n") {
        len.push(char::from(raw.read_exact(1)[0]));
    }
    let len: usize = len[1..].trim().parse().expect("the key is there");
    let mut payload = raw.read_exact(len + 2);
    payload.truncate(len);
    payload
}

#[test]
fn arguments_are_checked_in_the_order_of_a_real_server() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("SET a hello");
    let good = dump(&mut raw, "a");
    let mut newer = good.clone();
    newer[7] = 99;
    let mut damaged = good.clone();
    damaged[3] ^= 1;
    for (key, ttl, payload, options, expected) in [
        (
            "a",
            "x",
            &b""[..],
            &[][..],
            "(error) BUSYKEY Target key name already exists.",
        ),
        (
            "b",
            "x",
            b"",
            &[],
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "b",
            "-1",
            b"",
            &[],
            "(error) ERR Invalid TTL value, must be >= 0",
        ),
        ("b", "0", b"", &[], WRONG_FRAME),
        ("b", "0", &good[..9], &[], WRONG_FRAME),
        ("b", "0", &damaged, &[], WRONG_FRAME),
        ("b", "0", &newer, &[], WRONG_FRAME),
        ("a", "x", b"", &["nothing"], "(error) ERR syntax error"),
        ("a", "x", b"", &["IDLETIME"], "(error) ERR syntax error"),
        (
            "a",
            "x",
            b"",
            &["IDLETIME", "1", "FREQ", "1"],
            "(error) ERR syntax error",
        ),
        (
            "a",
            "x",
            b"",
            &["FREQ", "1", "IDLETIME", "1"],
            "(error) ERR syntax error",
        ),
        (
            "a",
            "x",
            b"",
            &["IDLETIME", "x"],
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "a",
            "x",
            b"",
            &["IDLETIME", "-1"],
            "(error) ERR Invalid IDLETIME value, must be >= 0",
        ),
        (
            "a",
            "x",
            b"",
            &["FREQ", "-1"],
            "(error) ERR Invalid FREQ value, must be >= 0 and <= 255",
        ),
        (
            "a",
            "x",
            b"",
            &["FREQ", "256"],
            "(error) ERR Invalid FREQ value, must be >= 0 and <= 255",
        ),
        (
            "b",
            "0",
            &good,
            &["absttl", "REPLACE", "idletime", "5"],
            "OK",
        ),
        ("a", "0", &good, &["replace", "Freq", "255"], "OK"),
    ] {
        let reply = restore(&mut raw, key, ttl, payload, options);
        assert_eq!(reply, expected, "RESTORE {key} {ttl} .. {options:?}");
    }
    server.check(&[
        ("GET b", "\"hello\""),
        ("TTL b", ":-1"),
        ("DUMP none", "nil"),
    ]);
}

#[test]
fn a_restored_key_tells_its_end_and_its_beginning() {
    let server = Server::with(&["--notify-keyspace-events", "EA"]);
    let mut raw = server.raw();
    raw.ask("SET a hello");
    let payload = dump(&mut raw, "a");
    let mut events = server.raw();
    events.ask("PSUBSCRIBE *");
    assert_eq!(
        restore(&mut raw, "a", "1", &payload, &["REPLACE", "ABSTTL"]),
        "OK"
    );
    assert_eq!(raw.ask("EXISTS a"), ":0");
    // Past and not there: nothing happens.
    assert_eq!(restore(&mut raw, "a", "1", &payload, &["ABSTTL"]), "OK");
    assert_eq!(restore(&mut raw, "b", "100000", &payload, &[]), "OK");
    let ttl: i64 = raw.ask("PTTL b")[1..].parse().expect("a number");
    assert!((90_000..=100_000).contains(&ttl));
    for name in ["del a", "restore b"] {
        let (event, key) = name.split_once(' ').expect("two words");
        let message = events.reply();
        assert!(
            message.contains(&format!("keyevent@0__:{event}")),
            "{message}"
        );
        assert!(message.ends_with(&format!("\"{key}\"]")), "{message}");
    }
}

#[test]
fn payloads_of_older_servers_load_and_a_restored_value_is_the_same() {
    let server = Server::start();
    let mut raw = server.raw();
    for (name, payload) in payloads() {
        // The real 7.0 does not know what is newer, nor a zipmap that does not count its fields.
        let newer = ["24", "20", "21", "22"]
            .iter()
            .any(|kind| name.ends_with(kind));
        if is_oracle() && (newer || name == "zipmap_big_len-9") {
            continue;
        }
        assert_eq!(restore(&mut raw, name, "0", &payload, &[]), "OK", "{name}");
        let again = dump(&mut raw, name);
        assert_eq!(
            restore(&mut raw, "again", "0", &again, &["REPLACE"]),
            "OK",
            "{name}"
        );
        assert_eq!(raw.ask(&format!("COPY {name} copy REPLACE")), ":1");
        let digests = raw.ask(&format!("DEBUG DIGEST-VALUE {name} again copy"));
        let hex = &digests[1..41];
        assert_eq!(digests, format!("[{hex}, {hex}, {hex}]"), "{name}");
    }
    // All of it at once, through a file.
    raw.ask("DEL again copy");
    let digest = raw.ask("DEBUG DIGEST");
    for options in ["", " NOSAVE", " NOFLUSH MERGE"] {
        assert_eq!(raw.ask(&format!("DEBUG RELOAD{options}")), "OK");
        assert_eq!(raw.ask("DEBUG DIGEST"), digest);
    }
    let refused = "(error) ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.";
    assert_eq!(raw.ask("DEBUG RELOAD now"), refused);
}

#[test]
fn a_payload_that_lies_is_refused_and_changes_nothing() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1");
    raw.ask("CONFIG SET sanitize-dump-payload yes");
    raw.ask("SET there x");
    for body in [
        &b"\x00"[..],                                     // a string of no length
        b"\x00\x05ab",                                    // shorter than it says
        b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff",      // nearly all memory
        b"\x00\xc3\x02\x80\xff\xff\xff\xff\x00a",         // unfolds to 4 GiB, it says
        b"\x04\x81\x7f\xff\xff\xff\xff\xff\xff\xff",      // as many fields
        b"\x02\x00",                                      // no member at all
        b"\x02\x02\x01a\x01a",                            // a member twice
        b"\x04\x02\x01a\x01b\x01a\x01c",                  // a field twice
        b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f", // a score that is no number
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",      // an intset out of order
        b"\x10\x07\x07\0\0\0\0\0\xff",                    // an empty listpack
        b"\x63\x01a",                                     // no type at all
    ] {
        let payload = [body, b"\x0a\0--------"].concat();
        assert_eq!(
            restore(&mut raw, "new", "0", &payload, &[]),
            BAD_DATA,
            "{body:?}"
        );
        let reply = restore(&mut raw, "there", "0", &payload, &["REPLACE"]);
        assert_eq!(reply, BAD_DATA, "{body:?}");
    }
    server.check(&[
        ("GET there", "\"x\""),
        ("EXISTS new", ":0"),
        ("DBSIZE", ":1"),
    ]);
}
