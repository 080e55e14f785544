//! SORT and SORT_RO over lists, sets and sorted sets: options, weights, limits, what is stored.

use crate::harness::{Server, is_oracle};

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const NOT_INT: &str = "(error) ERR value is not an integer or out of range";
const SYNTAX: &str = "(error) ERR syntax error";
const NO_NUMBERS: &str = "(error) ERR One or more scores can't be converted into double";

#[test]
fn elements_are_sorted_by_number_or_by_text() {
    Server::start().check(&[
        ("RPUSH l 3 10 -2 1.5 2e0 0x10", ":6"),
        ("SORT l", r#"["-2", "1.5", "2e0", "3", "10", "0x10"]"#),
        (
            "SORT_RO l DESC",
            r#"["0x10", "10", "3", "2e0", "1.5", "-2"]"#,
        ),
        ("SORT l ALPHA", r#"["-2", "0x10", "1.5", "10", "2e0", "3"]"#),
        (
            "SORT l alpha desc",
            r#"["3", "2e0", "10", "1.5", "0x10", "-2"]"#,
        ),
        (
            "SORT l ASC DESC ASC",
            r#"["-2", "1.5", "2e0", "3", "10", "0x10"]"#,
        ),
        ("RPUSH ties 1.0 1 01 +1 1e0", ":5"),
        ("SORT ties", r#"["+1", "01", "1", "1.0", "1e0"]"#),
        ("SORT ties DESC", r#"["1e0", "1.0", "1", "01", "+1"]"#),
        ("RPUSH zeros 0 -0 0.0", ":3"),
        ("SORT zeros", r#"["-0", "0", "0.0"]"#),
        ("RPUSH ends inf -inf 0 INF", ":4"),
        ("SORT ends", r#"["-inf", "0", "INF", "inf"]"#),
        ("SADD ints 9 -3 100000 7", ":4"),
        ("SORT ints DESC", r#"["100000", "9", "7", "-3"]"#),
        ("SORT ints ALPHA", r#"["-3", "100000", "7", "9"]"#),
        ("SADD words b a longer A", ":4"),
        ("SORT words ALPHA", r#"["A", "a", "b", "longer"]"#),
        ("ZADD z 3 1 2 2 1 3", ":3"),
        ("SORT z", r#"["1", "2", "3"]"#),
        ("SORT none", "[]"),
        ("SORT none BY w_* GET # ALPHA", "[]"),
        ("SORT words", NO_NUMBERS),
        ("SORT words LIMIT 0 0", NO_NUMBERS),
        ("RPUSH n nan", ":1"),
        ("SORT n", NO_NUMBERS),
        ("RPUSH big 1e400", ":1"),
        ("SORT big", NO_NUMBERS),
    ]);
}

#[test]
fn weights_lie_under_names_made_of_the_elements() {
    Server::start().check(&[
        ("RPUSH l 1 2 3 4", ":4"),
        ("MSET w_1 30 w_2 20 w_3 10", "OK"),
        ("HSET h_1 f 5", ":1"),
        ("HSET h_2 f -5", ":1"),
        ("HSET h_3 f 0 g x", ":2"),
        ("SORT l BY w_*", r#"["4", "3", "2", "1"]"#),
        ("SORT l BY w_* DESC", r#"["1", "2", "3", "4"]"#),
        ("SORT l BY w_* LIMIT 1 2", r#"["3", "2"]"#),
        ("SORT l BY w_* DESC LIMIT 0 1", r#"["1"]"#),
        ("SORT l BY h_*->f", r#"["2", "3", "4", "1"]"#),
        ("SORT l BY h_*->none", r#"["1", "2", "3", "4"]"#),
        ("SORT l BY h_*", r#"["1", "2", "3", "4"]"#),
        ("SORT l BY w_*->f", r#"["1", "2", "3", "4"]"#),
        ("SORT l BY h_*->g", NO_NUMBERS),
        ("SORT l BY h_*->g ALPHA", r#"["1", "2", "4", "3"]"#),
        ("SORT l BY w_* ALPHA DESC", r#"["1", "2", "3", "4"]"#),
        ("SORT l BY w_* GET w_*", r#"[nil, "10", "20", "30"]"#),
        (
            "SORT l BY w_* GET # GET h_*->f GET nothing GET #",
            r#"["4", nil, nil, "4", "3", "0", nil, "3", "2", "-5", nil, "2", "1", "5", nil, "1"]"#,
        ),
        ("SORT l GET h_*->g LIMIT 2 1", r#"["x"]"#),
        ("SORT l GET *", "[nil, nil, nil, nil]"),
        ("SET x1-> arrow", "OK"),
        ("SORT l GET x*-> LIMIT 0 1", r#"["arrow"]"#),
        ("SET w_2 x", "OK"),
        ("SORT l BY w_*", NO_NUMBERS),
        ("SET w_2 ", "OK"),
        ("SORT l BY w_*", r#"["2", "4", "3", "1"]"#),
    ]);
}

#[test]
fn a_name_without_a_star_sorts_nothing() {
    Server::start().check(&[
        ("RPUSH l 3 1 x 2", ":4"),
        ("SORT l BY nosort", r#"["3", "1", "x", "2"]"#),
        ("SORT l BY nosort DESC", r#"["2", "x", "1", "3"]"#),
        ("SORT l BY nosort DESC LIMIT 1 2", r#"["x", "1"]"#),
        ("SORT l BY nosort DESC LIMIT 3 2", r#"["3"]"#),
        ("SORT l BY nosort LIMIT 1 2", r#"["1", "x"]"#),
        ("SORT l BY nosort LIMIT 3 9", r#"["2"]"#),
        ("SORT l BY nosort BY w_* ALPHA", r#"["3", "1", "x", "2"]"#),
        (
            "SORT l BY # GET # GET #",
            r#"["3", "3", "1", "1", "x", "x", "2", "2"]"#,
        ),
        ("ZADD z 1 c 2 b 3 a", ":3"),
        ("SORT z BY nosort", r#"["c", "b", "a"]"#),
        ("SORT z BY nosort DESC", r#"["a", "b", "c"]"#),
        ("SORT z BY nosort DESC LIMIT 1 9", r#"["b", "c"]"#),
        ("SORT z BY nosort LIMIT 1 1", r#"["b"]"#),
        ("SORT z BY nosort LIMIT 3 1", "[]"),
        ("SADD s c a b", ":3"),
        ("SORT s BY nosort STORE d", ":3"),
        ("LRANGE d 0 -1", r#"["a", "b", "c"]"#),
        ("SORT s BY nosort DESC LIMIT 0 2 STORE d", ":2"),
        ("LRANGE d 0 -1", r#"["c", "b"]"#),
    ]);
}

#[test]
fn limits_are_cut_to_what_there_is() {
    Server::start().check(&[
        ("RPUSH l 3 1 2", ":3"),
        ("SORT l LIMIT 0 2", r#"["1", "2"]"#),
        ("SORT l LIMIT 1 -1", r#"["2", "3"]"#),
        ("SORT l LIMIT 1 -9223372036854775808", r#"["2", "3"]"#),
        ("SORT l LIMIT -5 2", r#"["1", "2"]"#),
        ("SORT l LIMIT 2 9223372036854775807", r#"["3"]"#),
        ("SORT l LIMIT 9223372036854775807 9223372036854775807", "[]"),
        ("SORT l LIMIT 3 1", "[]"),
        ("SORT l LIMIT 1 0", "[]"),
        ("SORT l LIMIT 1 1 LIMIT 0 1", r#"["1"]"#),
        ("SORT l LIMIT 1", SYNTAX),
        ("SORT l LIMIT x 1", NOT_INT),
        ("SORT l LIMIT 1 x", NOT_INT),
        ("SORT l LIMIT 1 x STORE", NOT_INT),
        ("SORT l BY", SYNTAX),
        ("SORT l GET", SYNTAX),
        ("SORT l STORE", SYNTAX),
        ("SORT_RO l STORE d", SYNTAX),
        ("SORT l WHAT", SYNTAX),
        ("SET str x", "OK"),
        ("HSET h f v", ":1"),
        ("SORT str", WRONG),
        ("SORT h", WRONG),
        ("SORT str WHAT", SYNTAX),
    ]);
}

#[test]
fn results_are_stored_as_a_list() {
    let server = Server::start();
    server.check(&[
        ("RPUSH l 3 1 2", ":3"),
        ("SET w_1 x", "OK"),
        ("SORT l STORE d", ":3"),
        ("LRANGE d 0 -1", r#"["1", "2", "3"]"#),
        ("SORT l GET w_* GET # STORE d", ":6"),
        ("LRANGE d 0 -1", r#"["x", "1", "", "2", "", "3"]"#),
        ("EXPIRE l 1000", ":1"),
        ("SORT l DESC STORE l", ":3"),
        ("LRANGE l 0 -1", r#"["3", "2", "1"]"#),
        ("TTL l", ":-1"),
        ("SET str x", "OK"),
        ("SORT l STORE a STORE str", ":3"),
        ("TYPE str", "list"),
        ("EXISTS a", ":0"),
        ("SORT l LIMIT 5 1 STORE str", ":0"),
        ("EXISTS str", ":0"),
        ("SORT none STORE str", ":0"),
        ("SET str x", "OK"),
        ("RPUSH words b a", ":2"),
        ("SORT words STORE str", NO_NUMBERS),
        ("GET str", "\"x\""),
        (
            "COMMAND GETKEYS SORT l STORE a GET store LIMIT 0 1 STORE b",
            r#"["l", "b"]"#,
        ),
        ("COMMAND GETKEYS SORT l BY store GET store", r#"["l"]"#),
        ("COMMAND GETKEYS SORT_RO l BY w_* GET #", r#"["l"]"#),
    ]);
    if !is_oracle() {
        server.check(&[("OBJECT ENCODING l", "\"listpack\"")]);
    }
}

#[test]
fn events_tell_what_was_stored() {
    let server = Server::with(&["--notify-keyspace-events", "Elgn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, events) in [
        ("RPUSH l 2 1", &["new l", "rpush l"][..]),
        ("SORT l", &[]),
        ("SORT l STORE d", &["new d", "sortstore d"]),
        ("SORT l STORE d", &["sortstore d"]),
        ("SORT none STORE d", &["del d"]),
        ("SORT none STORE d", &[]),
        ("LPUSH end 1", &["new end", "lpush end"]),
    ] {
        raw.ask(request);
        for event in events {
            let (name, key) = event.split_once(' ').expect("a key");
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{name}\", \"{key}\"]");
            assert!(told.ends_with(&channel), "{told} after {request}");
        }
    }
}

/// Looked up a group at a time, with the memory asked for ahead: the same as one by one.
#[test]
fn many_elements_with_weights_in_a_large_database() {
    let server = Server::start();
    let mut raw = server.raw();
    let count = 5000;
    for from in (0..count).step_by(500) {
        let (mut push, mut set) = (String::from("RPUSH l"), String::from("MSET"));
        for n in from..from + 500 {
            push += &format!(" {n}");
            set += &format!(" w_{n} {}", (n * 7919) % count);
        }
        raw.ask(&push);
        raw.ask(&set);
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|n| (n * 7919) % count);
    let shown = |part: &[usize]| {
        let words: Vec<String> = part.iter().map(|n| format!("\"{n}\"")).collect();
        format!("[{}]", words.join(", "))
    };
    assert_eq!(raw.ask("SORT l BY w_*"), shown(&order));
    assert_eq!(
        raw.ask("SORT l BY w_* LIMIT 2000 40"),
        shown(&order[2000..2040])
    );
    let weights: Vec<usize> = (0..count).collect();
    assert_eq!(raw.ask("SORT l BY w_* GET w_*"), shown(&weights));
}
