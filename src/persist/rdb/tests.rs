//! Files of every version against what a real server makes of them, and our own there and back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::aside::{Aside, TEXT_HERE_MAX};
use super::check::{Check, Tally};
use super::file;
use super::read::{Options, Progress, Reader, Summary, Taken};
use super::write::write;
use crate::base::clock::Clock;
use crate::base::disk::{Disk, RealDisk};
use crate::base::rng::Rng;
use crate::codec::{Sink, Source, rdb};
use crate::commands::debug::digest;
use crate::exec::registry::Registry;
use crate::keyspace::NewValue;
use crate::persist::load::Loader;
use crate::persist::window::Window;
use crate::script::functions;
use crate::state::State;
use crate::state::config::{Config, MaxmemoryPolicy};
use crate::state::groups::GroupId;
use crate::state::libraries::Library;
use crate::types::Value;
use crate::types::saved::Loaded;

const OPTIONS: Options = Options {
    taken: Taken::Refuse,
    drop_expired: true,
    checksum: true,
    total: None,
    starts: false,
};

fn state() -> State {
    let clock = Clock::manual(1_790_000_000_000);
    let mut state = State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0);
    state.apply_config();
    state
}

/// Feeds a file in pieces of that size at least.
fn read(bytes: &[u8], state: &mut State, piece: usize) -> Result<Summary, String> {
    let mut reader = Reader::new(OPTIONS);
    let mut rest = bytes;
    loop {
        match reader.step(state, 7).map_err(|error| error.to_string())? {
            Progress::More => {}
            Progress::Done => {
                assert_eq!(reader.position(), bytes.len() as u64);
                return Ok(reader.summary().clone());
            }
            Progress::Hungry if rest.is_empty() => return Err(reader.cut_short().to_string()),
            Progress::Hungry => {
                let (next, behind) = rest.split_at(piece.min(rest.len()));
                reader.feed(next);
                rest = behind;
            }
        }
    }
}

/// What going through the bytes without loading them says.
fn checked(bytes: &[u8]) -> Result<Tally, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let file = RealDisk.open(file.path()).unwrap();
    let mut window = Window::new(&*file).unwrap();
    let mut check = Check::new(&mut window, state().loading(0));
    let ended = check.run(&mut |_, _| {}).unwrap();
    let tally = check.tally.clone();
    ended.map(|_| tally).map_err(|failure| failure.why.into())
}

fn written(state: &State) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = Sink::to_writer(&mut file, true, true);
    write(state, &mut sink, 1, &[("repl-id", "x")], &mut |_| {});
    sink.finish().unwrap();
    file
}

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/assets/rdb")
}

#[test]
fn files_of_every_version_hold_what_a_real_server_finds_in_them() {
    let recorded = std::fs::read_to_string(assets().join("digests.txt")).unwrap();
    let lines = recorded.lines().filter(|line| !line.starts_with('#'));
    for (name, digest) in lines.filter_map(|line| line.split_once(' ')) {
        let bytes = std::fs::read(assets().join(name)).unwrap();
        let mut state = state();
        let result = read(&bytes, &mut state, 1000);
        if name == "redis_40_with_module.rdb" {
            assert!(result.unwrap_err().contains("is of the module type"));
            continue;
        }
        let summary = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(summary.keys, state.dbs.total_keys() as u64, "{name}");
        let found = digest::of_all(&state.dbs).map(|digest| digest.hex());
        if digest == "-" {
            // Newer than the server that was asked; function.rdb has nothing else.
            assert!(summary.keys > 0 || summary.libraries > 0 || name.contains("aux"));
        } else {
            assert_eq!(found.as_deref(), Ok(digest), "{name}");
        }

        // Our own file of it, in pieces of any size.
        let ours = written(&state);
        for piece in [1 << 20, 13] {
            let mut again = self::state();
            read(&ours, &mut again, piece).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(
                again.libraries.of(GroupId::DEFAULT),
                state.libraries.of(GroupId::DEFAULT),
                "{name}"
            );
            assert_eq!(
                state.libraries.of(GroupId::DEFAULT).len() as u64,
                summary.libraries,
                "{name}"
            );
            assert_eq!(digest::of_all(&again.dbs).map(|d| d.hex()), found, "{name}");
        }
    }
}

#[test]
fn a_damaged_file_is_refused_or_loads_and_does_no_harm() {
    let mut state = state();
    functions::add(&mut state, GroupId::DEFAULT, library("old"), false, false).unwrap();
    for (n, line) in include_str!("../../../tests/assets/dumps.txt")
        .lines()
        .enumerate()
    {
        let Some((_, hex)) = line.split_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let payload: Vec<u8> = (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let how = state.loading(12);
        if let Ok((body, 1..=20)) = crate::types::dump::open(&payload, false)
            && let Ok(Loaded::Value(value)) = crate::types::dump::load(body, &how, &mut Vec::new())
        {
            let expire_at = n.is_multiple_of(2).then_some(1_800_000_000_000);
            let key = format!("key:{n}");
            let value = NewValue::Owned(value);
            state.dbs.insert(n % 3, key.as_bytes(), value, expire_at);
        }
    }
    assert!(state.dbs.total_keys() > 20);
    let good = written(&state);
    assert!(read(&good, &mut self::state(), 1 << 20).is_ok());
    let mut rng = Rng::from_seed(3);
    for _ in 0..500 {
        let mut bad = good.clone();
        let at = rng.below(bad.len() as u64) as usize;
        bad[at] ^= 1 << rng.below(8);
        assert!(read(&bad, &mut self::state(), 1 << 20).is_err());
        // Without a checksum it may load.
        let end = bad.len() - 8;
        bad[end..].fill(0);
        let mut damaged = self::state();
        let loaded = read(&bad, &mut damaged, 1 << 20);
        let _ = written(&damaged);
        // The offline check says so beforehand; it remembers no keys and knows no number of databases.
        match (checked(&bad), loaded) {
            (Ok(tally), Ok(summary)) => assert_eq!(
                tally.keys,
                summary.keys + summary.expired + summary.empty,
                "{at}"
            ),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(why)) => {
                // It compiles nothing.
                let known = ["already", "databases", "module", "library"];
                assert!(known.iter().any(|known| why.contains(known)), "{at}: {why}");
            }
            (Err(why), Ok(_)) => panic!("{at}: it loads, but: {why}"),
        }
        bad.truncate(at);
        assert!(read(&bad, &mut self::state(), 1 << 20).is_err());
    }
}

#[test]
fn deadlines_databases_and_access_clocks_come_back() {
    let mut state = state();
    let now_ms = state.clock.unix_ms;
    state
        .dbs
        .insert(0, b"stays", NewValue::Int(1), Some(now_ms + 5));
    state
        .dbs
        .insert(3, b"past", NewValue::Int(1), Some(now_ms - 5));
    let slot = state.dbs.insert(3, b"idle", NewValue::Bytes(b"x"), None);
    let clock = state.restored_clock(Some(77), None);
    state.dbs[3].set_clock(slot, clock);
    state.config.maxmemory_policy = MaxmemoryPolicy::AllkeysLru;

    let bytes = written(&state);
    let mut again = self::state();
    let summary = read(&bytes, &mut again, 100).unwrap();
    assert_eq!((summary.version, summary.keys, summary.expired), (10, 2, 1));
    assert!(summary.aux.contains(&(b"repl-id".to_vec(), b"x".to_vec())));
    assert_eq!(
        again.dbs.get(0, b"stays").unwrap().expire_at(),
        Some(now_ms + 5)
    );
    assert_eq!(again.idle_s(again.dbs.get(3, b"idle").unwrap()), 77);

    // The same keys again: refused, or put in the place of those that are there.
    assert!(
        read(&bytes, &mut again, 100)
            .unwrap_err()
            .contains("there already")
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    file::save(&state, &path, &mut |_| {}).unwrap();
    let table = Registry::new(&[], &|_| None);
    let loader = Loader::snapshot(&mut again, &path, Taken::Replace).unwrap();
    assert!(again.is_loading());
    loader.unwrap().run(&mut again, &table).unwrap();
    assert_eq!((again.load.rdb_keys, again.dbs.total_keys()), (2, 2));
    assert!(!again.is_loading() && again.load.loaded_bytes == again.load.total_bytes);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
    let nowhere = dir.path().join("no/dump.rdb");
    assert!(file::save(&state, &nowhere, &mut |_| {}).is_err());
    let none = Loader::snapshot(&mut again, &nowhere, Taken::Replace).unwrap();
    assert!(none.is_none() && !again.is_loading());
}

fn library(remark: &str) -> Library {
    let code = format!("#!lua name=mylib\nredis.register_function('f', redis.log) -- {remark}");
    Library::parse(code.into_bytes()).unwrap()
}

#[test]
fn libraries_stand_in_front_of_the_keys_and_once() {
    let mut state = state();
    functions::add(&mut state, GroupId::DEFAULT, library("old"), false, false).unwrap();
    let key = NewValue::Int(1);
    state.dbs.insert(0, b"key", key, None);
    let bytes = written(&state);
    let place = |what: &[u8]| memchr::memmem::find(&bytes, what).unwrap();
    assert!(place(b"aof-base") < place(b"#!lua") && place(b"#!lua") < place(b"key"));
    assert_eq!(checked(&bytes).unwrap().functions, 1);

    // With keys that are there already, too: refused, or put in their place.
    let mut again = self::state();
    functions::add(&mut again, GroupId::DEFAULT, library("new"), false, false).unwrap();
    let why = read(&bytes, &mut again, 100).unwrap_err();
    assert!(
        why.contains("Failed loading library, Library 'mylib' already exists at offset"),
        "{why}"
    );
    assert_ne!(
        again.libraries.of(GroupId::DEFAULT),
        state.libraries.of(GroupId::DEFAULT)
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb");
    std::fs::write(&path, &bytes).unwrap();
    let table = Registry::new(&[], &|_| None);
    let loader = Loader::snapshot(&mut again, &path, Taken::Replace).unwrap();
    loader.unwrap().run(&mut again, &table).unwrap();
    assert_eq!(
        again.libraries.of(GroupId::DEFAULT),
        state.libraries.of(GroupId::DEFAULT)
    );
    assert_eq!(
        again
            .libraries
            .of(GroupId::DEFAULT)
            .function(b"F")
            .map(|f| &*f.name),
        Some("f")
    );

    // What does not compile is no library.
    let bad = b"REDIS0010\xf5\x13#!lua name=x\nno lua\xff\0\0\0\0\0\0\0\0";
    assert_eq!(checked(bad).unwrap().functions, 1);
    let why =
        "Failed loading library, Error compiling function: user_function:2: '=' expected near";
    let told = read(bad, &mut self::state(), 100).unwrap_err();
    assert!(told.starts_with(why), "{told}");

    // What the loader refuses the offline check does, too.
    for (code, why) in [
        (&b"abc"[..], "Missing library metadata"),
        (b"#!x name=y\n", "Engine 'x' not found"),
    ] {
        let mut bad = b"REDIS0010\xf5".to_vec();
        bad.push(code.len() as u8);
        bad.extend_from_slice(code);
        bad.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
        let why = format!("Failed loading library, {why}");
        assert_eq!(checked(&bad).unwrap_err(), why);
        assert!(
            read(&bad, &mut self::state(), 100)
                .unwrap_err()
                .starts_with(&why)
        );
    }
}

#[test]
fn what_is_no_file_is_refused() {
    for (bytes, why) in [
        (&b""[..], "ends too early"),
        (b"REDIS0", "ends too early"),
        (b"nothing at all", "no RDB file"),
        (b"REDIS0099\xFF", "version 99"),
        (b"REDIS00x9\xFF", "no RDB file"),
        (b"REDIS0010\xFE\x40\xFF", "more than 16 databases"),
        (b"REDIS0010\x63", "neither an opcode nor a type"),
        (
            b"REDIS0010\xFB\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x01a",
            "ends too early",
        ),
        (b"REDIS0010\xFF1234567", "ends too early"),
        (b"REDIS0010\xFF12345678", "CRC error"),
    ] {
        let error = read(bytes, &mut state(), 100).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(read(b"REDIS0004\xFF", &mut state(), 1).is_ok());
    assert!(read(b"REDIS0010\xFF\0\0\0\0\0\0\0\0", &mut state(), 1).is_ok());
}

/// As [`read`], with large keys built aside; how many attempts that took, too.
fn read_aside(bytes: &[u8], state: &mut State, piece: usize) -> (Result<Summary, String>, usize) {
    let tasks = Rc::new(RefCell::new(VecDeque::<Box<dyn FnOnce() + Send>>::new()));
    let queue = tasks.clone();
    let aside: Aside = Box::new(move |work| queue.borrow_mut().push_back(work));
    let mut reader = Reader::new(OPTIONS).building_aside(Some(aside));
    let (mut rest, mut attempts) = (bytes, 0);
    loop {
        let (before, waited) = (reader.position(), reader.waits());
        match reader.step(state, 1000) {
            Err(error) => return (Err(error.to_string()), attempts),
            Ok(Progress::Done) => return (Ok(reader.summary().clone()), attempts),
            Ok(Progress::More) if reader.waits() => {
                let task = tasks.borrow_mut().pop_front();
                if let Some(task) = task {
                    assert_eq!(reader.step(state, 1000), Ok(Progress::More), "it waits");
                    attempts += 1;
                    task();
                }
            }
            Ok(Progress::More) => {}
            Ok(Progress::Hungry) if rest.is_empty() => {
                return (Err(reader.cut_short().to_string()), attempts);
            }
            Ok(Progress::Hungry) => {
                let (next, behind) = rest.split_at(piece.min(rest.len()));
                reader.feed(next);
                rest = behind;
            }
        }
        let here = (reader.position() - before) as usize;
        assert!(
            waited || here <= 2 * TEXT_HERE_MAX,
            "{here} bytes in one step"
        );
    }
}

/// A step once built a hash of two million fields at once, and all others waited for it.
#[test]
fn large_keys_are_built_aside_as_they_are_beside_the_others() {
    let mut full = state();
    let small = |state: &mut State, n: i64| {
        let name = format!("small:{n}");
        state.dbs.insert(0, name.as_bytes(), NewValue::Int(n), None);
    };
    let item = |n: usize| format!("item number {n}").into_bytes();
    let mut rng = Rng::from_seed(7);
    let noise: Vec<u8> = (0..400_000).map(|_| rng.below(256) as u8).collect();
    let how = full.loading(10);
    for (n, rdb_type) in [rdb::SET, rdb::LIST, rdb::HASH, rdb::ZSET_2]
        .into_iter()
        .enumerate()
    {
        let mut body = Vec::new();
        let mut sink = Sink::to_writer(&mut body, true, true);
        sink.len(4_000);
        for i in 0..4_000 {
            sink.string(&item(i));
            match rdb_type {
                rdb::HASH => sink.string(&item(i + 1)),
                rdb::ZSET_2 => sink.raw(&(i as f64).to_le_bytes()),
                _ => {}
            }
        }
        sink.finish().unwrap();
        let mut room = Vec::new();
        let value = Value::load(rdb_type, &mut Source::new(&body), &how, &mut room).unwrap();
        let at = (n % 2 == 0).then_some(1_800_000_000_000);
        full.dbs
            .insert(0, format!("large:{n}").as_bytes(), value.into(), at);
        (0..500).for_each(|i| small(&mut full, (n * 1000 + i) as i64));
    }
    for (n, text) in [
        &noise[..],
        &noise[..200_000],
        &noise[..100_000],
        &[b'a'; 600_000],
    ]
    .into_iter()
    .enumerate()
    {
        full.dbs.insert(
            0,
            format!("text:{n}").as_bytes(),
            NewValue::Bytes(text),
            None,
        );
    }
    let bytes = written(&full);
    let whole = digest::of_all(&full.dbs).map(|digest| digest.hex());
    for piece in [1 << 20, 60_000, 5_000] {
        let mut again = state();
        let (result, attempts) = read_aside(&bytes, &mut again, piece);
        assert_eq!(result.unwrap().keys, full.dbs.total_keys() as u64);
        assert!(attempts >= 5, "{attempts}");
        assert_eq!(digest::of_all(&again.dbs).map(|digest| digest.hex()), whole);
    }
    for n in 0..24 {
        let mut bad = bytes.clone();
        match n % 3 {
            0 => bad.truncate(rng.below(bytes.len() as u64) as usize),
            _ => bad[rng.below(bytes.len() as u64) as usize] ^= 1 << rng.below(8),
        }
        let (there, (aside, _)) = (
            read(&bad, &mut state(), 100_000),
            read_aside(&bad, &mut state(), 100_000),
        );
        assert_eq!(aside, there);
    }
}
