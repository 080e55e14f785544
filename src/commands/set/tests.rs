//! What no client sees: what SPOP and its kin leave in the log.

use super::FAMILY;
use crate::commands::{expire, generic, string};
use crate::exec::testing::Bench;

fn bench() -> Bench {
    Bench::new(&[&FAMILY, &string::FAMILY, &generic::FAMILY, &expire::FAMILY])
}

#[test]
fn what_is_drawn_is_logged_by_name() {
    let mut bench = bench();
    bench.ask("SADD s a");
    assert_eq!(bench.logs("SPOP s"), ["SREM s a"]);
    assert!(bench.logs("SPOP s").is_empty());
    assert!(bench.logs("SPOP s 3").is_empty());
    bench.ask("SADD s 1 2 3 4 5");
    assert!(bench.logs("SPOP s 0").is_empty());
    let reply = bench.ask("SPOP s 2");
    let names: Vec<&str> = reply.split(' ').skip(2).step_by(2).collect();
    let logged = bench.logged();
    let words: Vec<&str> = logged.last().expect("logged").split(' ').collect();
    assert_eq!(words[..2], ["SREM", "s"]);
    assert_eq!(words[2..], names);
    assert_eq!(bench.logs("SPOP s 3"), ["DEL s"]);

    bench.state.config.lazyfree_lazy_server_del = true;
    bench.ask("SADD s 1 2 3");
    assert_eq!(bench.logs("SPOP s 9"), ["UNLINK s"]);
}

#[test]
fn many_drawn_members_are_logged_in_pieces() {
    let mut bench = bench();
    let all: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    for count in [2500usize, 200] {
        bench.ask(&format!("SADD s {}", all.join(" ")));
        let logged = bench.logs(&format!("SPOP s {count}"));
        let (first, last) = (logged.first().expect("some"), logged.last().expect("some"));
        let pieces = count.div_ceil(1024);
        if pieces > 1 {
            assert_eq!((first.as_str(), last.as_str()), ("MULTI", "EXEC"));
        }
        let members: usize = logged
            .iter()
            .filter(|line| line.starts_with("SREM s "))
            .map(|line| line.split(' ').count() - 2)
            .sum();
        assert_eq!(members, count);
        assert_eq!(bench.ask("SCARD s"), format!(":{}", 3000 - count));
        bench.ask("DEL s");
    }
}

#[test]
fn writes_that_change_nothing_are_not_logged() {
    let mut bench = bench();
    bench.ask("SADD s a");
    assert_eq!(bench.logs("SADD s a b"), ["SADD s a b"]);
    for line in [
        "SADD s a",
        "SREM s z",
        "SREM none z",
        "SMOVE s t z",
        "SMOVE s s a",
        "SINTERSTORE none s none",
        "SDIFFSTORE none none s",
    ] {
        assert!(bench.logs(line).is_empty(), "{line}");
    }
    assert_eq!(bench.logs("SMOVE s t a"), ["SMOVE s t a"]);
    assert_eq!(bench.logs("SINTERSTORE t s none"), ["SINTERSTORE t s none"]);
    assert_eq!(bench.ask("EXISTS t"), ":0");
}

#[test]
fn a_dead_source_is_absent_and_the_others_are_found() {
    let mut bench = bench();
    for n in 0..40 {
        bench.ask(&format!("SADD k{n} a b {n}"));
    }
    bench.ask("PEXPIRE k20 10");
    bench.state.clock.advance_ms(20);
    let keys: Vec<String> = (0..40)
        .filter(|n| *n != 20)
        .map(|n| format!("k{n}"))
        .collect();
    assert_eq!(bench.ask(&format!("SINTER {} k20", keys.join(" "))), "*0");
    bench.ask("SADD k20 a b 20");
    bench.ask("PEXPIRE k20 10");
    bench.state.clock.advance_ms(20);
    assert_eq!(
        bench.ask(&format!("SUNIONSTORE d {} k20", keys.join(" "))),
        ":41"
    );
}
