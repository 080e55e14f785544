//! Bitmaps and HyperLogLogs where Redis's own suite does not look: limits, what grows and what does not,
//! sizes at which a value lies elsewhere, and events.

use crate::harness::{Server, is_oracle};

const OFFSET: &str = "(error) ERR bit offset is not an integer or out of range";
const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const INVALID: &str = "(error) WRONGTYPE Key is not a valid HyperLogLog string value.";

#[test]
fn a_string_grows_up_to_its_limit_and_only_for_writes() {
    let server = Server::with(&["--proto-max-bulk-len", "1mb"]);
    server.check(&[
        ("SETBIT b 8388608 1", OFFSET),
        ("BITFIELD b SET u8 8388608 1", OFFSET),
        ("BITFIELD b SET u8 #1048576 1", OFFSET),
        ("GETBIT b -1", OFFSET),
        ("EXISTS b", ":0"),
        ("SETBIT b 8388607 1", ":0"),
        ("STRLEN b", ":1048576"),
        ("BITPOS b 1", ":8388607"),
        ("BITCOUNT b", ":1"),
        ("BITFIELD r GET u8 100", "[:0]"),
        ("BITFIELD_RO r GET u8 100", "[:0]"),
        ("EXISTS r", ":0"),
        ("BITFIELD w OVERFLOW FAIL SET u8 9 256", "[nil]"),
        ("STRLEN w", ":3"),
        // Inside the entry, across the size at which it moves out, and as a number before.
        ("SET n 123", "OK"),
        ("SETBIT n 1 0", ":0"),
        ("OBJECT ENCODING n", "\"raw\""),
        ("SETBIT n 9599 1", ":0"),
        ("SETBIT n 99999 1", ":0"),
        ("GETBIT n 9599", ":1"),
        ("BITCOUNT n", ":12"),
        ("STRLEN n", ":12500"),
        ("HSET h f v", ":1"),
        ("SETBIT h 0 1", WRONG),
        ("BITOP AND d h n", WRONG),
        ("PFADD h a", WRONG),
    ]);
}

#[test]
fn strings_of_any_form_are_combined() {
    let server = Server::start();
    server.check(&[
        ("SET n 12", "OK"),
        ("SET s 1", "OK"),
        ("BITOP OR d n none s", ":2"),
        ("GET d", "\"12\""),
        ("OBJECT ENCODING d", "\"raw\""),
        ("SETBIT big 80000 1", ":0"),
        ("BITOP NOT d big", ":10001"),
        ("BITCOUNT d", ":80007"),
        ("BITOP XOR d d d", ":10001"),
        ("BITCOUNT d", ":0"),
        ("BITOP AND d none", ":0"),
        ("EXISTS d", ":0"),
    ]);
    if !is_oracle() {
        server.check(&[
            // The real server multiplies until it is small again.
            ("BITFIELD b GET u8 #4611686018427387904", OFFSET),
            ("SET a a", "OK"),
            ("SET b b", "OK"),
            ("SET c c", "OK"),
            ("BITOP ONE d a b c", ":1"),
            ("BITFIELD d GET u8 0", "[:0]"),
            ("BITOP ONE d a b", ":1"),
            ("BITFIELD d GET u8 0", "[:3]"),
            ("BITOP DIFF d c a", ":1"),
            ("BITFIELD d GET u8 0", "[:2]"),
            ("BITOP DIFF1 d a c", ":1"),
            ("BITFIELD d GET u8 0", "[:2]"),
            ("BITOP ANDOR d c a b", ":1"),
            ("BITFIELD d GET u8 0", "[:99]"),
            (
                "BITOP diff d c",
                "(error) ERR BITOP DIFF must be called with at least two source keys.",
            ),
            ("BITCOUNT a 0", ":3"),
        ]);
    }
}

#[test]
fn only_changes_are_events() {
    let server = Server::with(&["--notify-keyspace-events", "E$gn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    server.check(&[
        ("SETBIT b 7 1", ":0"),
        ("SETBIT b 7 1", ":1"),
        ("BITFIELD b SET u8 0 1", "[:1]"),
        ("BITFIELD b INCRBY u8 0 1 GET u8 0", "[:2, :2]"),
        ("BITOP AND d b", ":1"),
        ("BITOP AND d none", ":0"),
        ("BITOP AND d none", ":0"),
        ("PFADD h a", ":1"),
        ("PFADD h a", ":0"),
        ("PFCOUNT h", ":1"),
        ("PFMERGE m h", "OK"),
        ("PUBLISH __keyevent@0__:end x", ":1"),
    ]);
    let mut seen = Vec::new();
    loop {
        let message = listener.reply();
        let event = message.rsplit("__:").next().unwrap_or_default().to_owned();
        if event.contains("end") {
            break;
        }
        seen.push(event.replace(['"', ',', ']'], ""));
    }
    assert_eq!(
        seen,
        [
            "new b", "setbit b", "setbit b", "new d", "set d", "del d", "new h", "pfadd h",
            "new m", "pfadd m"
        ]
    );
}

#[test]
fn what_only_looks_like_a_hyperloglog_is_refused() {
    let server = Server::start();
    server.check(&[
        ("SET short HYLL", "OK"),
        ("PFADD short a", INVALID),
        ("SET number 12", "OK"),
        ("PFCOUNT number", INVALID),
        ("PFADD h a b c", ":1"),
        ("PFMERGE m h number", INVALID),
        ("EXISTS m", ":0"),
        ("SETRANGE h 4 z", ":27"),
        ("PFCOUNT h", INVALID),
        ("PFDEBUG TODENSE h", INVALID),
        ("PFADD dense a", ":1"),
        ("PFDEBUG TODENSE dense", ":1"),
        ("APPEND dense x", ":12305"),
        ("PFADD dense b", INVALID),
        ("PFSELFTEST", "OK"),
    ]);
}
