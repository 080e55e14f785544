//! Files of requests, whole, torn and damaged, against what they ought to leave.

use super::{AofPart, Failed, Loader};
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::commands::{bitmap, connection, expire, hash, list, multi, string};
use crate::exec::registry::Registry;
use crate::persist::aof::replay::{Progress, Replay};
use crate::script::function;
use crate::state::State;
use crate::state::client::Peer;
use crate::state::config::{Config, PropagationErrorBehavior};
use crate::state::groups::GroupId;
use crate::state::prop::push_request;
use crate::types::Kind;
use std::path::Path;

const NOW_MS: i64 = 1_790_000_000_000;

fn table() -> Registry {
    Registry::new(
        &[
            &string::FAMILY,
            &bitmap::FAMILY,
            &list::FAMILY,
            &hash::FAMILY,
            &expire::FAMILY,
            &function::FAMILY,
            &connection::FAMILY,
            &multi::FAMILY,
            &crate::persist::shutdown::FAMILY,
        ],
        &|_| None,
    )
}

fn state(table: &Registry) -> State {
    let clock = Clock::manual(NOW_MS);
    let rows = table.rows().len();
    let mut state = State::new(Config::default(), Rng::from_seed(1), clock, rows, 1.0);
    state.apply_config();
    state
}

fn request(line: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    push_request(&mut bytes, &words);
    bytes
}

/// What the keys hold, in a form that can be compared.
fn shown(state: &State) -> Vec<String> {
    let mut keys: Vec<String> = (0..state.dbs.count())
        .flat_map(|db| state.dbs[db].iter().map(move |entry| (db, entry)))
        .map(|(db, entry)| {
            let key = String::from_utf8_lossy(entry.key()).into_owned();
            let mut parts = Vec::new();
            entry
                .value()
                .parts(&mut |part| parts.push(format!("{part:?}")));
            format!("{db} {key} {parts:?} {:?}", entry.expire_at())
        })
        .collect();
    keys.sort();
    keys
}

fn load(state: &mut State, table: &Registry, paths: &[&Path]) -> Result<(), Failed> {
    let parts = paths.iter().map(|path| AofPart {
        path: path.to_path_buf(),
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        base: false,
        old_style: false,
    });
    let loader = Loader::append_only(state, parts.collect())?;
    assert!(state.is_loading());
    let result = loader.run(state, table);
    assert!(!state.is_loading() && state.clients.is_empty());
    result
}

#[test]
fn however_it_is_cut_a_file_loads_up_to_its_last_whole_unit() {
    let table = table();
    let units: Vec<Vec<u8>> = vec![
        b"#TS:1790000000\r\n".to_vec(),
        request("set a 1"),
        request("select 3"),
        [
            request("multi"),
            request("rpush list a b c"),
            request("set b 2"),
            request("exec"),
        ]
        .concat(),
        b"#TS:1790000001\r\n".to_vec(),
        request("select 0"),
        request("hset h f v"),
    ];
    let whole = units.concat();
    let mut ends = vec![0];
    units
        .iter()
        .for_each(|unit| ends.push(ends.last().unwrap() + unit.len()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.aof");
    let expected: Vec<Vec<String>> = ends
        .iter()
        .map(|end| {
            std::fs::write(&path, &whole[..*end]).unwrap();
            let mut state = state(&table);
            load(&mut state, &table, &[&path]).unwrap();
            shown(&state)
        })
        .collect();
    assert_eq!(expected.last().unwrap().len(), 4);
    for cut in 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let last = ends.iter().rposition(|end| *end <= cut).unwrap();
        if !ends.contains(&cut) {
            let mut refused = state(&table);
            refused.config.aof_load_truncated = false;
            let Failed(lines) = load(&mut refused, &table, &[&path]).unwrap_err();
            assert!(lines.last().unwrap().starts_with("Unexpected end of file"));
            let other = dir.path().join("other.aof");
            std::fs::write(&other, request("set z 1")).unwrap();
            let error = load(&mut state(&table), &table, &[&path, &other]).unwrap_err();
            let reason = error.0.last().unwrap();
            assert!(
                reason.ends_with("the truncated file is not the last file"),
                "{reason}"
            );
            assert_eq!(
                std::fs::read(&path).unwrap(),
                whole[..cut],
                "it stays as it was"
            );
            // Nothing can have been written behind it: that file was named, and given up.
            std::fs::write(&other, "").unwrap();
            let mut state = state(&table);
            load(&mut state, &table, &[&path, &other]).unwrap();
            assert_eq!(shown(&state), expected[last], "cut at {cut}");
            std::fs::write(&path, &whole[..cut]).unwrap();
        }
        let mut state = state(&table);
        load(&mut state, &table, &[&path]).unwrap();
        assert_eq!(shown(&state), expected[last], "cut at {cut}");
        assert_eq!(std::fs::read(&path).unwrap(), whole[..ends[last]]);
    }
}

#[test]
fn it_does_not_matter_in_which_pieces_a_file_comes() {
    let table = table();
    let mut file = Vec::new();
    for n in 0..300 {
        let unit = match n % 5 {
            0 => request(&format!("select {}", n % 7)),
            1 => [request("multi"), request("incr n"), request("exec")].concat(),
            2 => request(&format!("append text:{} {}", n % 9, "x".repeat(n))),
            3 => format!("#TS:{n}\r\n").into_bytes(),
            _ => request(&format!("rpush list:{} {n} {n}", n % 4)),
        };
        file.extend_from_slice(&unit);
    }
    let run = |piece: usize, most: usize| {
        let mut state = state(&table);
        let me = state.open_session(Peer::None);
        let mut replay = Replay::new(&table);
        let mut rest = &file[..];
        loop {
            match replay.step(&mut state, &table, me, most).unwrap() {
                Progress::More => {}
                Progress::Hungry if rest.is_empty() => break,
                Progress::Hungry => {
                    let (next, behind) = rest.split_at(piece.min(rest.len()));
                    replay.feed(next);
                    rest = behind;
                }
            }
        }
        assert_eq!(
            (replay.end(), replay.position()),
            (Ok(()), file.len() as u64)
        );
        shown(&state)
    };
    let whole = run(file.len(), 1000);
    assert!(whole.len() > 20);
    for (piece, most) in [(1, 1), (7, 64), (1000, 3), (4096, 1000)] {
        assert_eq!(run(piece, most), whole, "pieces of {piece}");
    }
}

#[test]
fn a_damaged_middle_is_no_torn_end() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.aof");
    let good = [
        request("set key 12345"),
        request("set b 2"),
        request("set c 3"),
    ]
    .concat();
    for (from, to) in [("$5", "$9999"), ("*3", "*99")] {
        let text = String::from_utf8(good.clone()).unwrap();
        let bad = text.replacen(from, to, 1);
        std::fs::write(&path, &bad).unwrap();
        let Failed(lines) = load(&mut state(&table), &table, &[&path]).unwrap_err();
        assert!(lines[0].contains("offset 0"), "{lines:?}");
        assert!(
            lines.last().unwrap().starts_with("Bad file format reading"),
            "{lines:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), bad.as_bytes());
    }
    // The same length at the end is what a torn write leaves.
    let torn = [&good[..], b"*3\r\n$3\r\nset\r\n$3\r\nkey\r\n$9999\r\n123"].concat();
    std::fs::write(&path, &torn).unwrap();
    load(&mut state(&table), &table, &[&path]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn what_is_no_change_of_data_is_refused() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.aof");
    for (bytes, why, last) in [
        (request("shutdown"), "offset 30", "Bad file format"),
        (request("set a"), "offset 30", "Bad file format"),
        (
            request("nothing"),
            "unknown command",
            "Unknown command 'nothing' reading",
        ),
        (b"PING\r\n".to_vec(), "no request begins", "Bad file format"),
        (b"*0\r\n".to_vec(), "without a command", "Bad file format"),
        (b"*1\r\n$-1\r\n".to_vec(), "bulk length", "Bad file format"),
        (
            b"*1\r\n$99999999999\r\n".to_vec(),
            "bulk length",
            "Bad file format",
        ),
        (vec![b'#'; 2000], "comment", "Bad file format"),
    ] {
        std::fs::write(&path, [request("set good 1"), bytes].concat()).unwrap();
        let Failed(lines) = load(&mut state(&table), &table, &[&path]).unwrap_err();
        assert!(lines[0].contains(why), "{lines:?}");
        assert!(lines.last().unwrap().starts_with(last), "{lines:?}");
        assert!(lines[0].contains("hostile.aof"), "the file is named");
    }
}

#[test]
fn libraries_come_and_go_as_the_file_says() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("functions.aof");
    let code = |name: &str, rest: &str| {
        format!("#!lua\tname={name}\nredis.register_function('{name}',redis.log)--{rest}")
    };
    let lines = [
        format!("function load {}", code("a", "1")),
        format!("function load {}", code("b", "1")),
        "function flush async".to_owned(),
        format!("FUNCTION LOAD {}", code("a", "2")),
        format!("function load replace {}", code("a", "3")),
        format!("function load {}", code("c", "1")),
        "function delete c".to_owned(),
        // Told, and left out, as the next one.
        format!("function load {}", code("a", "4")),
        "function load nonsense".to_owned(),
        // A client wrote this one over another of Redis.
        "function restore nonsense".to_owned(),
    ];
    let bytes = lines.each_ref().map(|line| request(line)).concat();
    std::fs::write(&path, bytes).unwrap();
    let mut state = state(&table);
    load(&mut state, &table, &[&path]).unwrap();
    let all: Vec<_> = state.libraries.of(GroupId::DEFAULT).iter().collect();
    assert_eq!(all, [("a", code("a", "3").as_bytes())]);
    std::fs::write(&path, request("function list")).unwrap();
    assert!(load(&mut state, &table, &[&path]).is_err());
}

#[test]
fn keys_live_past_their_deadline_until_everything_is_loaded() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.aof");
    let lines = [
        "rpush list a",
        "pexpireat list 1000",
        "rpush list b",
        "blpop list 0",
    ];
    std::fs::write(&path, lines.map(request).concat()).unwrap();
    let mut state = state(&table);
    state.prop.on = true;
    load(&mut state, &table, &[&path]).unwrap();
    let entry = state.dbs.get(0, b"list").unwrap();
    assert_eq!((entry.kind(), entry.expire_at()), (Kind::List, Some(1000)));
    assert!(state.prop.on && state.prop.log.bytes.is_empty());
    assert!(state.peek(0, b"list").is_none(), "and then it ends");
}

#[test]
fn a_command_that_fails_is_told_or_the_end() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fails.aof");
    let lines = ["set a 1", "rpush a 1", "exec", "set b 1"];
    std::fs::write(&path, lines.map(request).concat()).unwrap();
    let mut lenient = state(&table);
    load(&mut lenient, &table, &[&path]).unwrap();
    assert_eq!(lenient.dbs.total_keys(), 2);
    assert_eq!(
        lenient.stats.commands_processed, 0,
        "nothing of it was a client's"
    );
    let mut strict = state(&table);
    strict.config.propagation_error_behavior = PropagationErrorBehavior::Panic;
    let Failed(lines) = load(&mut strict, &table, &[&path]).unwrap_err();
    assert!(lines.last().unwrap().contains("panicked"), "{lines:?}");
}

/// Replaying lifts the limit of a string's length, which another server may have had higher: a damaged
/// offset asked for all memory there is, and the server ended without a word about the file.
#[test]
fn an_offset_beyond_reason_is_an_error_like_any_other() {
    let table = table();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("offset.aof");
    for line in [
        "setrange k 9223372036854775806 x",
        "setbit k 9223372036854775807 1",
        "setrange k 1099511627776 x",
        "bitfield k set u8 #1152921504606846975 1",
    ] {
        std::fs::write(&path, [request("set a 1"), request(line)].concat()).unwrap();
        let mut strict = state(&table);
        strict.config.propagation_error_behavior = PropagationErrorBehavior::Panic;
        let Failed(lines) = load(&mut strict, &table, &[&path]).unwrap_err();
        assert!(lines[0].contains("offset.aof"), "{lines:?}");
        assert!(lines[1].contains("panicked"), "{lines:?}");
        let mut lenient = state(&table);
        load(&mut lenient, &table, &[&path]).unwrap();
        assert_eq!(lenient.dbs.total_keys(), 1, "{line}");
    }
    // What a server with a higher limit has written.
    std::fs::write(&path, request("setbit k 4294967296 1")).unwrap();
    let mut high = state(&table);
    high.config.proto_max_bulk_len = 1 << 20;
    load(&mut high, &table, &[&path]).unwrap();
    assert_eq!(
        high.dbs.get(0, b"k").unwrap().string().unwrap().len(),
        (1 << 29) + 1
    );
}
