//! Deadlines of fields under a clock that tests move: replies, what the log gets, and both against a model.
use std::collections::BTreeMap;

use super::FAMILY;
use crate::base::rng::Rng;
use crate::commands::generic;
use crate::exec::testing::{Bench, START_MS};
use crate::types::hash::Hash;

fn bench() -> Bench {
    let mut bench = Bench::new(&[&FAMILY, &generic::FAMILY]);
    // Behind this the log needs no SELECT.
    assert_eq!(bench.logs("HSET h a 1"), ["SELECT 0", "HSET h a 1"]);
    bench
}

fn check(bench: &mut Bench, dialogue: &[(&str, &str, &[&str])]) {
    for (request, reply, log) in dialogue {
        bench.logged();
        assert_eq!(bench.ask(request), *reply, "the reply to {request}");
        assert_eq!(bench.logged(), *log, "the log of {request}");
    }
}

#[test]
fn the_log_gets_moments_and_what_came_of_a_request() {
    let mut bench = bench();
    let at = |ms: i64| (START_MS + ms).to_string();
    let (at_5s, at_7, at_9s) = (at(5000), at(7), at(9000));
    let expire =
        |time: &str, n: usize, fields: &str| format!("HPEXPIREAT h {time} FIELDS {n} {fields}");
    let in_s = (START_MS / 1000 + 9).to_string();
    check(
        &mut bench,
        &[
            ("HSET h b 2 c 3", ":2", &["HSET h b 2 c 3"]),
            (
                "HEXPIRE h 5 FIELDS 3 a x b",
                "*3 :1 :-2 :1",
                &[&expire(&at_5s, 2, "a b")],
            ),
            ("HPEXPIRE h 7 GT FIELDS 2 a c", "*2 :0 :0", &[]),
            (
                "HPEXPIRE h 7 LT FIELDS 2 a c",
                "*2 :1 :1",
                &[&expire(&at_7, 2, "a c")],
            ),
            (
                &format!("HEXPIREAT h {in_s} XX FIELDS 1 c"),
                "*1 :1",
                &[&expire(&at_9s, 1, "c")],
            ),
            (
                "HPERSIST h FIELDS 3 a b x",
                "*3 :1 :1 :-2",
                &["HPERSIST h FIELDS 2 a b"],
            ),
            ("HPERSIST h FIELDS 1 a", "*1 :-1", &[]),
            ("HGETEX h FIELDS 1 a", "*1 $1 1", &[]),
            (
                "HGETEX h PX 7 FIELDS 2 a x",
                "*2 $1 1 $-1",
                &[&expire(&at_7, 1, "a")],
            ),
            (
                "HGETEX h PERSIST FIELDS 2 a b",
                "*2 $1 1 $1 2",
                &["HPERSIST h FIELDS 1 a"],
            ),
            (
                "HSETEX h EX 5 FIELDS 1 a 9",
                ":1",
                &[&format!("HSETEX h PXAT {at_5s} FIELDS 1 a 9")],
            ),
            (
                "HSETEX h FXX KEEPTTL FIELDS 1 a 8",
                ":1",
                &["HSETEX h KEEPTTL FIELDS 1 a 8"],
            ),
            ("HINCRBY h a 2", ":10", &["HINCRBY h a 2"]),
            (
                "HINCRBYFLOAT h a 0.5",
                "$4 10.5",
                &["MULTI", "HSET h a 10.5", &expire(&at_5s, 1, "a"), "EXEC"],
            ),
            ("HTTL h FIELDS 2 a b", "*2 :5 :-1", &[]),
            ("HSETEX h FNX FIELDS 2 a 1 new 1", ":0", &[]),
            ("HSETEX h FXX FIELDS 2 a 1 new 1", ":0", &[]),
            ("HSETEX h NX FIELDS 1 a 1", ":0", &[]),
            ("HSETEX none XX FIELDS 1 a 1", ":0", &[]),
            ("HSETEX h XX FIELDS 1 a 1", ":1", &["HSET h a 1"]),
            ("HTTL h FIELDS 1 a", "*1 :-1", &[]),
            ("HSETEX h PXAT 1 FIELDS 2 a 1 new 1", ":1", &["HDEL h a"]),
            ("HSETEX none EX 0 FIELDS 1 a 1", ":1", &[]),
            ("HEXPIRE h 0 FIELDS 2 b a", "*2 :2 :-2", &["HDEL h b"]),
            ("HGETDEL h FIELDS 2 c x", "*2 $1 3 $-1", &["HDEL h c"]),
            ("EXISTS h", ":0", &[]),
            ("HGETDEL h FIELDS 2 c x", "*2 $-1 $-1", &[]),
            ("HEXPIRE h 5 FIELDS 1 a", "*1 :-2", &[]),
        ],
    );
}

#[test]
fn a_look_at_a_field_that_is_dead_removes_it_first() {
    let mut bench = bench();
    check(
        &mut bench,
        &[
            (
                "HSETEX h PX 7 FIELDS 2 b 2 c 3",
                ":1",
                &[&format!("HSETEX h PXAT {} FIELDS 2 b 2 c 3", START_MS + 7)],
            ),
            ("HLEN h", ":3", &[]),
        ],
    );
    bench.state.clock.advance_ms(7);
    check(&mut bench, &[("HMGET h a b", "*2 $1 1 $1 2", &[])]);
    bench.state.clock.advance_ms(1);
    let before = bench.state.stats.expired_members;
    let log = bench.logs("HINCRBY h b 5");
    assert!(log[1] == "HDEL h b c" || log[1] == "HDEL h c b", "{log:?}");
    assert_eq!(log[2], "HINCRBY h b 5");
    assert_eq!(bench.state.stats.expired_members - before, 2);
    check(
        &mut bench,
        &[
            ("HGET h b", "$1 5", &[]),
            ("HTTL h FIELDS 2 b c", "*2 :-1 :-2", &[]),
            ("HLEN h", ":2", &[]),
            ("HDEL h b", ":1", &["HDEL h b"]),
            (
                "HPEXPIRE h 3 FIELDS 1 a",
                "*1 :1",
                &[&format!("HPEXPIREAT h {} FIELDS 1 a", START_MS + 11)],
            ),
        ],
    );
    bench.state.clock.advance_ms(4);
    check(
        &mut bench,
        &[
            ("HGETALL h", "*0", &["HDEL h a"]),
            ("HLEN h", ":0", &[]),
            ("EXISTS h", ":0", &[]),
        ],
    );
}

#[test]
fn more_dead_fields_than_a_look_removes_are_hidden_and_written_over() {
    let mut bench = bench();
    for n in 0..2000 {
        bench.ask(&format!("HSETEX h PX 100 FIELDS 1 f{n} v"));
    }
    bench.state.clock.advance_ms(5000);
    assert_eq!(bench.ask("HGETALL h"), "*2 $1 a $1 1");
    assert_eq!(bench.ask("HRANDFIELD h 5"), "*1 $1 a");
    assert_eq!(bench.ask("HMGET h f1 f1500 f1999"), "*3 $-1 $-1 $-1");
    let left = |bench: &Bench| {
        let entry = bench.state.dbs.get(0, b"h").expect("there");
        entry.get::<Hash>().expect("a hash").len()
    };
    assert!((500..1300).contains(&left(&bench)), "{}", left(&bench));
    let log = bench.logs("HSETEX h FNX PX 100 FIELDS 1 f1999 new");
    assert!(log.len() == 4 && log[2].starts_with("HSETEX"), "{log:?}");
    assert_eq!(bench.ask("HGET h f1999"), "$3 new");
    assert_eq!(bench.ask("HSETNX h f1998 new"), ":1");
    let mut calls = 0;
    while bench.state.expire_some(64) {
        calls += 1;
        assert!(calls < 100, "each call removes some");
    }
    assert_eq!(left(&bench), 3);
}

/// Fields with their values and deadlines.
type Model = BTreeMap<String, BTreeMap<String, (u64, Option<i64>)>>;

/// What a hash holds, dead fields included, read behind the commands' back.
fn stored(bench: &Bench) -> Model {
    let mut all = Model::new();
    for entry in bench.state.dbs[0].iter() {
        let hash = entry.get::<Hash>().expect("nothing else is set");
        let fields = all
            .entry(String::from_utf8_lossy(entry.key()).into())
            .or_default();
        for ((field, value), at_ms) in hash.iter_with_deadlines() {
            let value = String::from_utf8_lossy(&value.to_vec())
                .parse()
                .expect("a number");
            fields.insert(
                String::from_utf8_lossy(&field.to_vec()).into(),
                (value, at_ms),
            );
        }
    }
    all
}

#[test]
fn fields_live_and_die_as_in_a_model_and_a_reader_of_the_log_agrees() {
    for seed in 0..4 {
        let mut rng = Rng::from_seed(seed);
        let mut primary = Bench::new(&[&FAMILY, &generic::FAMILY]);
        // Its clock stands still, so nothing ends there but what the log ends.
        let mut replica = Bench::new(&[&FAMILY, &generic::FAMILY]);
        let mut model = Model::new();
        let spread = [3, 40, 400, 4000][seed as usize];
        for _ in 0..if cfg!(miri) { 100 } else { 4000 } {
            let now = primary.state.clock.unix_ms;
            let key = format!("k{}", rng.below(3));
            let field = format!("f{}", rng.below(spread));
            let at = now + rng.below(60) as i64;
            model.values_mut().for_each(|fields| {
                fields.retain(|_, (_, due)| due.is_none_or(|due| due >= now));
            });
            let fields = model.entry(key.clone()).or_default();
            let old = fields.get(&field).copied();
            let value = rng.below(1000);
            let (request, reply) = match rng.below(9) {
                0 => {
                    fields.insert(field.clone(), (value, None));
                    (
                        format!("HSET {key} {field} {value}"),
                        format!(":{}", u8::from(old.is_none())),
                    )
                }
                1 | 2 => {
                    fields.insert(field.clone(), (value, Some(at)));
                    if at <= now {
                        fields.remove(&field);
                    }
                    (
                        format!("HSETEX {key} PXAT {at} FIELDS 1 {field} {value}"),
                        ":1".into(),
                    )
                }
                3 => {
                    let code = match old {
                        None => -2,
                        Some(_) if at <= now => 2,
                        Some(_) => 1,
                    };
                    match code {
                        2 => _ = fields.remove(&field),
                        1 => _ = fields.insert(field.clone(), (old.expect("there").0, Some(at))),
                        _ => {}
                    }
                    (
                        format!("HPEXPIREAT {key} {at} FIELDS 1 {field}"),
                        format!("*1 :{code}"),
                    )
                }
                4 => {
                    let code = old.map_or(-2, |(_, due)| if due.is_some() { 1 } else { -1 });
                    if let Some((_, due)) = fields.get_mut(&field) {
                        *due = None;
                    }
                    (
                        format!("HPERSIST {key} FIELDS 1 {field}"),
                        format!("*1 :{code}"),
                    )
                }
                5 => {
                    let (before, due) = old.unwrap_or((0, None));
                    fields.insert(field.clone(), (before + value, due));
                    (
                        format!("HINCRBY {key} {field} {value}"),
                        format!(":{}", before + value),
                    )
                }
                6 => {
                    fields.remove(&field);
                    (
                        format!("HDEL {key} {field}"),
                        format!(":{}", u8::from(old.is_some())),
                    )
                }
                7 => {
                    let code = old.map_or(-2, |(_, due)| due.unwrap_or(-1));
                    (
                        format!("HPEXPIRETIME {key} FIELDS 1 {field}"),
                        format!("*1 :{code}"),
                    )
                }
                _ => {
                    // Time passes, and active expiry has a turn.
                    primary.state.clock.advance_ms(rng.below(20));
                    primary.state.expire_some(64);
                    continue;
                }
            };
            assert_eq!(primary.ask(&request), reply, "{request} with seed {seed}");
        }
        primary.state.clock.advance_ms(1000);
        while primary.state.expire_some(64) {}
        // A wheel may be late by 16 ms, and its database's by as much again.
        primary.state.clock.advance_ms(40);
        while primary.state.expire_some(64) {}
        let now = primary.state.clock.unix_ms;
        for fields in model.values_mut() {
            fields.retain(|_, (_, due)| due.is_none_or(|due| due >= now));
        }
        model.retain(|_, fields| !fields.is_empty());
        assert_eq!(stored(&primary), model, "seed {seed}");
        let with_deadlines = model
            .values()
            .filter(|f| f.values().any(|(_, due)| due.is_some()));
        assert_eq!(
            primary.state.dbs[0].keys_with_expiring_members(),
            with_deadlines.count()
        );
        primary.ask("HLEN none");
        for line in primary.logged() {
            if !matches!(line.as_str(), "MULTI" | "EXEC" | "SELECT 0") {
                replica.ask(&line);
            }
        }
        assert_eq!(
            stored(&replica),
            model,
            "the reader of the log, seed {seed}"
        );
    }
}
