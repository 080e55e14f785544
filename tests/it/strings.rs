//! Strings: every command's replies, errors and edges, as dialogues.

use crate::harness::{Server, escape, is_oracle};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const NOT_FLOAT: &str = "(error) ERR value is not a valid float";
const SYNTAX: &str = "(error) ERR syntax error";

#[test]
fn set_and_its_options() {
    Server::start().check(&[
        ("SET a 1", "OK"),
        ("SET a 2 NX", "nil"),
        ("SET b 2 XX", "nil"),
        ("SET a 3 XX", "OK"),
        ("SET a 4 GET", "\"3\""),
        ("SET none 4 GET", "nil"),
        ("GET none", "\"4\""),
        ("SET a 5 NX GET", "\"4\""),
        ("GET a", "\"4\""),
        ("SET n 5 NX GET", "nil"),
        ("GET n", "\"5\""),
        ("SET a 6 EX 100", "OK"),
        ("TTL a", ":100"),
        ("SET a 7 KEEPTTL", "OK"),
        ("TTL a", ":100"),
        ("SET a 8", "OK"),
        ("TTL a", ":-1"),
        ("SET a 9 px 100000 xx", "OK"),
        ("TTL a", ":100"),
        ("SET a 9 EXAT 9999999999", "OK"),
        ("EXPIRETIME a", ":9999999999"),
        ("SET a 9 PXAT 9999999999123", "OK"),
        ("PEXPIRETIME a", ":9999999999123"),
        ("SET a 1 EX 10 ex 20", "OK"),
        ("TTL a", ":20"),
        ("SET a 1 NX nx", "nil"),
        ("SET a 9 KEEPTTL keepttl GET get", "\"1\""),
        ("SET a 1 NX XX", SYNTAX),
        ("SET a 1 EX 10 PX 10", SYNTAX),
        ("SET a 1 EX 10 KEEPTTL", SYNTAX),
        ("SET a 1 EX", SYNTAX),
        ("SET a 1 WHAT", SYNTAX),
        (
            "SET a 1 EX 0",
            "(error) ERR invalid expire time in 'set' command",
        ),
        (
            "SET a 1 EX -1",
            "(error) ERR invalid expire time in 'set' command",
        ),
        (
            "SET a 1 EX 9223372036854775807",
            "(error) ERR invalid expire time in 'set' command",
        ),
        ("SET a 1 EX x", NOT_INT),
        (
            "SET a",
            "(error) ERR wrong number of arguments for 'set' command",
        ),
        ("SETEX a 10 v", "OK"),
        ("TTL a", ":10"),
        (
            "SETEX a 0 v",
            "(error) ERR invalid expire time in 'setex' command",
        ),
        (
            "PSETEX a -5 v",
            "(error) ERR invalid expire time in 'psetex' command",
        ),
        ("SETNX a v", ":0"),
        ("SETNX c v", ":1"),
        ("GETSET c w", "\"v\""),
        ("HSET h f v", ":1"),
        ("SET h x GET", WRONG),
        ("GETSET h x", WRONG),
        ("GET h", WRONG),
        ("SET h x", "OK"),
        ("TYPE h", "string"),
    ]);
}

#[test]
fn get_and_its_kin() {
    Server::start().check(&[
        ("SET a v EX 100", "OK"),
        ("GETEX a", "\"v\""),
        ("TTL a", ":100"),
        ("GETEX a PERSIST", "\"v\""),
        ("TTL a", ":-1"),
        ("GETEX a EX 50", "\"v\""),
        ("TTL a", ":50"),
        ("GETEX a EX 50 PERSIST", SYNTAX),
        (
            "GETEX a EX 0",
            "(error) ERR invalid expire time in 'getex' command",
        ),
        ("GETEX a KEEPTTL", SYNTAX),
        ("GETEX a GET", SYNTAX),
        ("GETEX a PERSIST persist", "\"v\""),
        ("GETEX none EX 0", "nil"),
        ("GETEX none EX x", "nil"),
        ("GETEX a EX x", NOT_INT),
        ("GETEX a PXAT 1", "\"v\""),
        ("EXISTS a", ":0"),
        ("GETEX none EX 5", "nil"),
        ("SET a v", "OK"),
        ("GETDEL a", "\"v\""),
        ("GETDEL a", "nil"),
        ("STRLEN a", ":0"),
        ("SET a Hello\u{e9}", "OK"),
        ("STRLEN a", ":7"),
        ("MSET x 1 y 2 x 3", "OK"),
        ("MGET x y z", "[\"3\", \"2\", nil]"),
        ("MSETNX x 1 w 1", ":0"),
        ("EXISTS w", ":0"),
        ("MSETNX v 1 w 1", ":1"),
        (
            "MSET a",
            "(error) ERR wrong number of arguments for 'mset' command",
        ),
        (
            "MSET a 1 b",
            "(error) ERR wrong number of arguments for 'mset' command",
        ),
        ("HSET h f v", ":1"),
        ("MGET h x", "[nil, \"3\"]"),
        ("GETEX h", WRONG),
        ("GETDEL h", WRONG),
        ("STRLEN h", WRONG),
    ]);
}

#[test]
fn numbers() {
    Server::start().check(&[
        ("INCR n", ":1"),
        ("INCRBY n 41", ":42"),
        ("DECR n", ":41"),
        ("DECRBY n 50", ":-9"),
        ("INCRBY n x", NOT_INT),
        ("INCRBY n 1.5", NOT_INT),
        ("SET n 9223372036854775807", "OK"),
        (
            "INCR n",
            "(error) ERR increment or decrement would overflow",
        ),
        ("GET n", "\"9223372036854775807\""),
        ("SET n -9223372036854775808", "OK"),
        (
            "DECR n",
            "(error) ERR increment or decrement would overflow",
        ),
        (
            "DECRBY n -9223372036854775808",
            "(error) ERR decrement would overflow",
        ),
        ("SET n 007", "OK"),
        ("INCR n", NOT_INT),
        ("SET n +7", "OK"),
        ("INCR n", NOT_INT),
        ("SET n -0", "OK"),
        ("INCR n", NOT_INT),
        ("SET n 9223372036854775808", "OK"),
        ("INCR n", NOT_INT),
        ("SET n 10.50", "OK"),
        ("INCRBYFLOAT n 0.1", "\"10.6\""),
        ("INCRBYFLOAT n -5", "\"5.6\""),
        ("SET n 5.0e3", "OK"),
        ("INCRBYFLOAT n 2.0e2", "\"5200\""),
        ("INCRBYFLOAT f 3", "\"3\""),
        ("INCRBYFLOAT f 1.1", "\"4.1\""),
        ("INCRBYFLOAT f x", NOT_FLOAT),
        (
            "INCRBYFLOAT f inf",
            "(error) ERR increment would produce NaN or Infinity",
        ),
        ("INCRBYFLOAT f nan", NOT_FLOAT),
        ("INCRBYFLOAT f 1e5000", NOT_FLOAT),
        ("INCRBYFLOAT f 0x10", "\"20.1\""),
        ("INCRBYFLOAT f -16", "\"4.1\""),
        ("SET z 1e-17", "OK"),
        ("INCRBYFLOAT z 0", "\"0.00000000000000001\""),
        ("INCRBYFLOAT z -1", "\"-0.99999999999999999\""),
        ("SET z -0.0", "OK"),
        ("INCRBYFLOAT z 0", "\"0\""),
        ("SET f abc", "OK"),
        ("INCRBYFLOAT f 1", NOT_FLOAT),
        ("SET n 5 EX 100", "OK"),
        ("INCR n", ":6"),
        ("TTL n", ":100"),
        ("HSET h f v", ":1"),
        ("INCR h", WRONG),
        ("INCRBYFLOAT h 1", WRONG),
    ]);
}

#[test]
fn parts() {
    Server::start().check(&[
        ("APPEND s Hello", ":5"),
        ("APPEND s World", ":10"),
        ("GETRANGE s 0 4", "\"Hello\""),
        ("GETRANGE s -5 -1", "\"World\""),
        ("GETRANGE s 5 3", "\"\""),
        ("GETRANGE s -100 100", "\"HelloWorld\""),
        ("GETRANGE s -1 -100", "\"\""),
        ("GETRANGE s 0 -100", "\"H\""),
        ("GETRANGE s -200 -100", "\"H\""),
        ("GETRANGE s 1 -100", "\"\""),
        ("SUBSTR s 0 0", "\"H\""),
        ("GETRANGE none 0 -1", "\"\""),
        ("GETRANGE s x 1", NOT_INT),
        ("SETRANGE s 5 There", ":10"),
        ("GET s", "\"HelloThere\""),
        ("SETRANGE s 12 x", ":13"),
        ("GET s", "\"HelloThere\\x00\\x00x\""),
        ("SETRANGE new 3 x", ":4"),
        ("GET new", "\"\\x00\\x00\\x00x\""),
        ("SETRANGE s -1 x", "(error) ERR offset is out of range"),
        (
            "SETRANGE s 536870911 xx",
            "(error) ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "SETRANGE s 9223372036854775807 x",
            "(error) ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        ("SETRANGE s 9223372036854775807 ", ":13"),
        ("SETRANGE none 0 ", ":0"),
        ("EXISTS none", ":0"),
        ("SET n 12", "OK"),
        ("APPEND n 3", ":3"),
        ("INCR n", ":124"),
        ("SETRANGE n 0 9", ":3"),
        ("INCR n", ":925"),
        ("HSET h f v", ":1"),
        ("APPEND h x", WRONG),
        ("SETRANGE h 0 x", WRONG),
        ("GETRANGE h 0 1", WRONG),
    ]);
}

#[test]
fn longest_common_subsequence() {
    Server::start().check(&[
        ("MSET a ohmytext b mynewtext", "OK"),
        ("LCS a b", "\"mytext\""),
        ("LCS a b LEN", ":6"),
        ("LCS a none", "\"\""),
        (
            "LCS a b IDX",
            "[\"matches\", [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], \"len\", :6]",
        ),
        (
            "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
            "[\"matches\", [[[:4, :7], [:5, :8], :4]], \"len\", :6]",
        ),
        ("LCS a none IDX", "[\"matches\", [], \"len\", :0]"),
        ("LCS none nobody LEN", ":0"),
        ("LCS a b MINMATCHLEN", SYNTAX),
        ("LCS a b MINMATCHLEN x", NOT_INT),
        ("LCS a b WHAT", SYNTAX),
        ("MSET n 12345 m 1545", "OK"),
        ("LCS n m", "\"145\""),
        (
            "LCS a b LEN IDX",
            "(error) ERR If you want both the length and indexes, please just use IDX.",
        ),
        ("HSET h f v", ":1"),
        (
            "LCS a h",
            "(error) ERR The specified keys must contain string values",
        ),
    ]);
}

#[test]
fn encodings() {
    let server = Server::start();
    let (short, long) = ("x".repeat(44), "x".repeat(45));
    server.check(&[
        ("SET a 123", "OK"),
        ("OBJECT ENCODING a", "\"int\""),
        ("SET a 01", "OK"),
        ("OBJECT ENCODING a", "\"embstr\""),
        (&format!("SET a {short}"), "OK"),
        ("OBJECT ENCODING a", "\"embstr\""),
        (&format!("SET a {long}"), "OK"),
        ("OBJECT ENCODING a", "\"raw\""),
        ("SET a 1", "OK"),
        ("APPEND a 2", ":2"),
        ("OBJECT ENCODING a", "\"raw\""),
        ("OBJECT ENCODING none", "nil"),
    ]);
}

#[test]
fn keys_may_be_any_bytes() {
    let server = Server::start();
    let mut raw = server.raw();
    let all: Vec<u8> = (0..=255).collect();
    for key in [b"".as_slice(), b"\0", &all, &vec![b'k'; 70_000]] {
        raw.command(&[b"SET".as_slice(), key, key]);
        assert_eq!(raw.reply(), "OK");
        raw.command(&[b"GET".as_slice(), key]);
        assert_eq!(raw.reply(), format!("\"{}\"", escape(key)));
        raw.command(&[b"DEL".as_slice(), key]);
        assert_eq!(raw.reply(), ":1");
    }
}

#[test]
fn newer_commands() {
    if is_oracle() {
        return; // 7.0 does not know them.
    }
    Server::start().check(&[
        ("SET a 1", "OK"),
        ("SET a 2 IFEQ 0", "nil"),
        ("SET a 2 IFEQ 1", "OK"),
        ("GET a", "\"2\""),
        ("SET none 2 IFEQ 1", "nil"),
        ("EXISTS none", ":0"),
        ("DELIFEQ a 1", ":0"),
        ("DELIFEQ a 2", ":1"),
        ("DELIFEQ a 2", ":0"),
        ("MSETEX 2 a 1 b 2 EX 100", ":1"),
        ("TTL b", ":100"),
        ("MSETEX 2 a 3 c 4 NX", ":0"),
        ("EXISTS c", ":0"),
        ("DELEX a IFEQ 9", ":0"),
        ("DELEX a IFEQ 1", ":1"),
        ("DELEX b", ":1"),
        ("SET a 1 IFEQ", SYNTAX),
        ("SET a 1 IFEQ 1 NX", SYNTAX),
        ("SET a 1 IFNE 1", "OK"),
        ("SET a 2 IFNE 1", "nil"),
        ("SET a 2 IFNE 1 GET", "\"1\""),
        ("SET a 2 EX 100 IFEQ 1 GET", "\"1\""),
        ("SET a 3 IFEQ 2 KEEPTTL", "OK"),
        ("TTL a", ":100"),
        ("HSET h f v", ":1"),
        ("SET h 1 IFEQ v", WRONG),
        ("SET h 1 IFNE v", WRONG),
        ("DELIFEQ h v", WRONG),
        (
            "DELEX h IFEQ v",
            "(error) ERR Key should be of string type if conditions are specified",
        ),
        (
            "DELEX a IFEQ",
            "(error) ERR wrong number of arguments for 'delex' command",
        ),
        ("DELEX a IFNE 3", ":0"),
        ("DELEX a IFNE 4", ":1"),
        ("DELEX a IFNE 4", ":0"),
        ("DELEX h", ":1"),
        ("MSETEX 0 a 1", "(error) ERR invalid numkeys value"),
        (
            "MSETEX 2 a 1 b",
            "(error) ERR wrong number of key-value pairs",
        ),
        ("MSETEX 1 a 1 NX XX", SYNTAX),
        ("MSETEX 1 a 1 EX 1 KEEPTTL", SYNTAX),
        ("MSETEX 2 a 1 NX 2 NX EX 100", ":1"),
        ("MGET a NX", "[\"1\", \"2\"]"),
        ("MSETEX 2 a 1 c 2 XX", ":0"),
        ("MSETEX 1 a 2 XX KEEPTTL", ":1"),
        ("TTL a", ":100"),
    ]);
}
