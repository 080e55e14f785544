//! What the log gets: ids that were chosen, how much was left, and of reading through a group only
//! what it changed. The lines are those of a real server's AOF.

use super::{CONTAINERS, FAMILY};
use crate::exec::testing::{Bench, START_MS};

fn bench() -> Bench {
    let mut bench = Bench::new(&[&FAMILY, &CONTAINERS]);
    // Behind this the log needs no SELECT.
    assert_eq!(
        bench.logs("XADD other 1-1 f v"),
        ["SELECT 0", "XADD other 1-1 f v"]
    );
    bench
}

fn check(bench: &mut Bench, dialogue: &[(&str, &[&str])]) {
    for (request, log) in dialogue {
        assert_eq!(bench.logs(request), *log, "the log of {request}");
    }
}

#[test]
fn ids_that_the_server_chose_are_logged() {
    let mut bench = bench();
    let now = START_MS;
    assert_eq!(bench.logs("XADD s * f v"), [format!("XADD s {now}-0 f v")]);
    assert_eq!(bench.logs("XADD s * f v"), [format!("XADD s {now}-1 f v")]);
    let next = now + 7;
    assert_eq!(
        bench.logs(&format!("XADD s {next}-* f v")),
        [format!("XADD s {next}-0 f v")]
    );
    check(
        &mut bench,
        &[
            ("XADD t 5 f v", &["XADD t 5 f v"]),
            ("XADD t 5-3 f v", &["XADD t 5-3 f v"]),
            ("XADD t 5-* f v", &["XADD t 5-4 f v"]),
            ("XADD t 5-3 f v", &[]),
            ("XADD none NOMKSTREAM * f v", &[]),
        ],
    );
}

#[test]
fn an_approximate_trim_is_logged_as_what_it_left() {
    let mut bench = bench();
    bench.state.config.stream_node_max_entries = 3;
    (1..10).for_each(|ms| _ = bench.ask(&format!("XADD s {ms}-1 f v")));
    check(
        &mut bench,
        &[
            ("XTRIM s MAXLEN ~ 8", &[]),
            ("XTRIM s MAXLEN ~ 5", &["XTRIM s MAXLEN = 6"]),
            (
                "XTRIM s MAXLEN ~ 0 LIMIT 3",
                &["XTRIM s MAXLEN = 3 LIMIT 3"],
            ),
            (
                "XADD s MAXLEN ~ 100 LIMIT 7 10-1 f v",
                &["XADD s MAXLEN = 4 LIMIT 7 10-1 f v"],
            ),
            (
                "XADD s MINID ~ 9 11-1 f v",
                &["XADD s MINID = 7-1 11-1 f v"],
            ),
            (
                "XADD s MINID ~ 10 12-* f v",
                &["XADD s MINID = 10-1 12-0 f v"],
            ),
            (
                "XADD gone MINID ~ 5 1-1 f v",
                &["XADD gone MINID = 18446744073709551615-18446744073709551615 1-1 f v"],
            ),
            ("XADD s MAXLEN 2 13-1 f v", &["XADD s MAXLEN 2 13-1 f v"]),
            ("XTRIM s MAXLEN = 1", &["XTRIM s MAXLEN = 1"]),
            ("XTRIM s MAXLEN 1", &[]),
            ("XDEL s 13-1 9-9", &["XDEL s 13-1 9-9"]),
            ("XDEL s 13-1", &[]),
            (
                "XSETID s 20 ENTRIESADDED 30",
                &["XSETID s 20 ENTRIESADDED 30"],
            ),
        ],
    );
}

#[test]
fn reading_through_a_group_is_logged_as_claims() {
    let mut bench = bench();
    let claim = |consumer: &str, id: &str, count: u32, last: &str| {
        format!(
            "XCLAIM s g {consumer} 0 {id} TIME {START_MS} RETRYCOUNT {count} FORCE JUSTID LASTID {last}"
        )
    };
    (1..6).for_each(|ms| _ = bench.ask(&format!("XADD s {ms}-1 f v")));
    check(
        &mut bench,
        &[("XGROUP CREATE s g 0", &["XGROUP CREATE s g 0"])],
    );
    assert_eq!(
        bench.logs("XREADGROUP GROUP g c1 COUNT 2 STREAMS s >"),
        [
            "MULTI".to_owned(),
            claim("c1", "1-1", 1, "1-1"),
            claim("c1", "2-1", 1, "2-1"),
            "XGROUP SETID s g 2-1 ENTRIESREAD 2".to_owned(),
            "EXEC".to_owned(),
        ]
    );
    check(
        &mut bench,
        &[
            ("XREADGROUP GROUP g c1 STREAMS s 0", &[]),
            (
                "XREADGROUP GROUP g c2 COUNT 1 NOACK STREAMS s >",
                &[
                    "MULTI",
                    "XGROUP CREATECONSUMER s g c2",
                    "XGROUP SETID s g 3-1 ENTRIESREAD 3",
                    "EXEC",
                ],
            ),
            ("XACK s g 2-1 9-9", &["XACK s g 2-1 9-9"]),
            ("XACK s g 9-9", &[]),
        ],
    );
    assert_eq!(
        bench.logs("XCLAIM s g c3 0 1-1"),
        [claim("c3", "1-1", 3, "3-1")]
    );
    assert_eq!(
        bench.logs("XCLAIM s g c3 0 4 4-1 FORCE JUSTID LASTID 4-1"),
        [claim("c3", "4-1", 1, "4-1")]
    );
    check(
        &mut bench,
        &[
            ("XCLAIM s g c3 100 1-1", &[]),
            (
                "XCLAIM s g c3 0 9-9 LASTID 5-0",
                &["XGROUP SETID s g 5-0 ENTRIESREAD 3"],
            ),
        ],
    );
    bench.ask("XDEL s 1-1");
    assert_eq!(
        bench.logs("XAUTOCLAIM s g c4 0 0"),
        [
            "MULTI".to_owned(),
            claim("c3", "1-1", 3, "5-0"),
            claim("c4", "4-1", 2, "5-0"),
            "EXEC".to_owned(),
        ]
    );
    check(
        &mut bench,
        &[
            // There is nothing for them but to be there.
            ("XAUTOCLAIM s g c5 0 9", &["XGROUP CREATECONSUMER s g c5"]),
            ("XAUTOCLAIM s g c5 0 9", &[]),
            ("XCLAIM s g c7 0 9-9", &["XGROUP CREATECONSUMER s g c7"]),
            (
                "XREADGROUP GROUP g c8 STREAMS s 0",
                &["XGROUP CREATECONSUMER s g c8"],
            ),
            (
                "XGROUP CREATECONSUMER s g c6",
                &["XGROUP CREATECONSUMER s g c6"],
            ),
            ("XGROUP CREATECONSUMER s g c6", &[]),
            ("XGROUP SETID s g 0", &["XGROUP SETID s g 0"]),
            ("XGROUP DELCONSUMER s g c4", &["XGROUP DELCONSUMER s g c4"]),
            ("XGROUP DELCONSUMER s g c4", &[]),
            ("XGROUP DESTROY s g", &["XGROUP DESTROY s g"]),
            (
                "XGROUP CREATE new g $ MKSTREAM",
                &["XGROUP CREATE new g $ MKSTREAM"],
            ),
            ("XGROUP CREATE new g $ MKSTREAM", &[]),
            // It waits: the consumer that it made is all there is to log, and nothing stays behind.
            (
                "XREADGROUP GROUP g c NOACK BLOCK 0 STREAMS new >",
                &["XGROUP CREATECONSUMER new g c"],
            ),
        ],
    );
}

#[test]
fn a_command_behind_one_that_waits_is_logged() {
    let mut bench = bench();
    bench.ask("XGROUP CREATE s g $ MKSTREAM");
    let made = "XGROUP CREATECONSUMER s g c".to_owned();
    assert_eq!(
        bench.logs("XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        [made]
    );
    check(&mut bench, &[("XADD t 1-1 f v", &["XADD t 1-1 f v"])]);
}
