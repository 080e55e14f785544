//! What two servers have to agree on: a data set of every type and layout, its digest key by key, and libraries
//! of functions. For servers that hand their data to each other, by files or by a link.

use std::collections::HashMap;

use crate::harness::Server;

/// Values of every type and layout in three databases, with and without deadlines. A zero below zero goes
/// where no real server has to say it by ZADD: it loses the sign of its own that way, too.
pub fn fill(server: &Server, zero_below_zero: bool) {
    let mut raw = server.raw();
    let mut ask = |words: &[&[u8]]| {
        raw.command(words);
        let reply = raw.reply();
        assert!(!reply.starts_with("(error)"), "{reply} to {:?}", words[0]);
    };
    // What a real server dumped; newer layouts than its own are not for it.
    for line in include_str!("../assets/dumps.txt").lines() {
        let Some((name, hex)) = line.split_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let payload: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex digits"))
            .collect();
        // Zipmaps a real server takes from files, but not all of them from RESTORE.
        let (zipmap, version) = (payload[0] == 9, payload[payload.len() - 10]);
        if version <= 10 && !zipmap && (zero_below_zero || !name.starts_with("zset-table")) {
            ask(&[b"RESTORE", name.as_bytes(), b"0", &payload]);
        }
    }
    ask(&[b"SELECT", b"9"]);
    let text = |n: usize| format!("element {n} {}", "of a list that is long ".repeat(n % 5));
    for n in 0..3000 {
        let (text, number) = (text(n), n.to_string());
        let (text, number) = (text.as_bytes(), number.as_bytes());
        ask(&[b"SET", &[b"string:", &number[..1]].concat(), text]);
        ask(&[b"RPUSH", b"list", text]);
        ask(&[b"SADD", b"set", text]);
        ask(&[b"SADD", b"set of numbers", number]);
        ask(&[b"ZADD", b"zset", number, text]);
        ask(&[b"HSET", b"hash", text, number]);
        ask(&[b"XADD", b"stream", b"*", b"field", text]);
    }
    let noise: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    ask(&[b"SET", b"\x00\xff\r\n", &noise]);
    ask(&[b"SET", b"large", &b"words that repeat ".repeat(10_000)]);
    ask(&[b"SETRANGE", b"holes", b"5000", b"x"]);
    ask(&[b"PFADD", b"hyperloglog", b"a", b"b", b"c"]);
    ask(&[b"GEOADD", b"places", b"13.361389", b"38.115556", b"Palermo"]);
    ask(&[b"XGROUP", b"CREATE", b"stream", b"group", b"0"]);
    let read: [&[u8]; 9] = [
        b"XREADGROUP",
        b"GROUP",
        b"group",
        b"consumer",
        b"COUNT",
        b"7",
        b"STREAMS",
        b"stream",
        b">",
    ];
    ask(&read);
    ask(&[b"SELECT", b"15"]);
    ask(&[b"SET", b"far", b"away", b"PXAT", b"33333333333333"]);
    ask(&[b"HSET", b"small", b"field", b"value"]);
    ask(&[b"PEXPIREAT", b"small", b"44444444444444"]);
    ask(&[b"SET", b"-1", b"-1"]);
}

/// What two servers have to agree on, and the digest of each key, so that a difference has a name.
pub fn facts(server: &Server) -> Vec<String> {
    let mut raw = server.raw();
    let mut facts = vec![format!("all: {}", raw.ask("DEBUG DIGEST"))];
    for db in 0..16 {
        raw.ask(&format!("SELECT {db}"));
        facts.push(format!("{db}: {} keys", raw.ask("DBSIZE")));
        let mut client = server.client();
        let mut ask = redis::cmd("SELECT");
        ask.arg(db).exec(&mut client).expect("a database");
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg("*")
            .query(&mut client)
            .expect("keys");
        keys.sort_unstable();
        for key in keys {
            raw.command(&[&b"DEBUG"[..], b"DIGEST-VALUE", &key]);
            let digest = raw.reply();
            raw.command(&[&b"PEXPIRETIME"[..], &key]);
            let name = key.escape_ascii();
            facts.push(format!("{db} {name}: {digest} {}", raw.reply()));
        }
    }
    for request in ["SELECT 9", "XPENDING stream group", "XLEN stream"] {
        facts.push(raw.ask(request));
    }
    facts
}

/// Compares what two servers have; the first differences are enough.
pub fn same(there: &[String], here: &[String]) {
    let differ = |a: &[String], b: &[String]| -> Vec<String> {
        let gone = a.iter().filter(|fact| !b.contains(fact));
        gone.take(5).cloned().collect()
    };
    if there != here {
        let (lost, new) = (differ(there, here), differ(here, there));
        panic!("lost on the way: {lost:#?}, and found instead: {new:#?}");
    }
}

/// Libraries of functions and what they answer.
const LIBRARIES: [(&str, &str); 2] = [
    (
        "first",
        "redis.register_function('one', function() return 1 end)",
    ),
    (
        "Second",
        "redis.register_function('two', function(keys) return redis.call('GET', keys[1]) end)",
    ),
];

pub fn load_libraries(real: &Server) {
    let mut raw = real.raw();
    for (name, body) in LIBRARIES {
        let code = format!("#!lua name={name}\n{body}");
        raw.command(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", code.as_bytes()]);
        assert_eq!(raw.reply(), format!("\"{name}\""));
    }
}

/// Names and sources, by name.
pub fn libraries(server: &Server) -> Vec<(String, String)> {
    let mut client = server.client();
    let found: Vec<HashMap<String, redis::Value>> = redis::cmd("FUNCTION")
        .arg("LIST")
        .arg("WITHCODE")
        .query(&mut client)
        .expect("libraries");
    let text = |value: &redis::Value| redis::from_redis_value::<String>(value).expect("text");
    let mut found: Vec<(String, String)> = found
        .iter()
        .map(|library| {
            assert_eq!(text(&library["engine"]), "LUA");
            (
                text(&library["library_name"]),
                text(&library["library_code"]),
            )
        })
        .collect();
    found.sort();
    found
}

pub fn functions_answer(real: &Server) {
    real.check(&[
        ("FCALL one 0", ":1"),
        ("SET key text", "OK"),
        ("FCALL two 1 key", "\"text\""),
    ]);
}
