//! Rewrites over a disk in memory, where the child's job is done in place: what is on disk when something
//! fails, or everything stops.

use super::*;
use crate::base::clock::Clock;
use crate::base::disk::Disk;
use crate::base::disk::faulty::{Fate, Faults, FaultyDisk};
use crate::base::rng::Rng;
use crate::keyspace::NewValue;
use crate::persist::aof::files::{load_manifest, manifest_path, read_all};
use crate::persist::aof::switch::open_at_start;
use crate::persist::aof::{end_of_turn, every_second};
use crate::persist::child;
use crate::persist::rdb::read::{Options, Progress, Reader, Taken};
use crate::state::aof::manifest::Manifest;
use crate::state::config::{Appendfsync, WorkDir};
use std::sync::Arc;

const DIR: &str = "/data";

fn server(disk: &FaultyDisk, appendonly: bool) -> State {
    let config = Config {
        appendonly,
        appendfsync: Appendfsync::Always,
        dir: WorkDir(DIR.into()),
        ..Config::default()
    };
    let clock = Clock::manual(1_700_000_000_000);
    let mut state = State::new(config, Rng::from_seed(1), clock, 0, 1.0);
    state.disk = Arc::new(disk.clone());
    let _ = load_manifest(&mut state);
    state
}

fn new_disk() -> FaultyDisk {
    let disk = FaultyDisk::new(7);
    disk.lay_dir(Path::new(DIR));
    disk
}

/// A key is set, and the turn ends; was that acknowledged?
fn set(state: &mut State, key: &str) -> bool {
    state
        .dbs
        .insert(0, key.as_bytes(), NewValue::Bytes(b"v"), None);
    if state.prop.on {
        state
            .prop
            .log
            .bytes
            .extend_from_slice(format!("SET {key}\n").as_bytes());
    }
    end_of_turn(state);
    state.aof.jobs.drain(..).for_each(|job| job.run());
    state.aof.mode == Mode::On && state.aof.error().is_none() && !state.aof.fatal
}

/// The cron, so much later.
fn cron(state: &mut State, later_ms: u64) {
    state.clock.advance_ms(later_ms);
    every_second(state);
    crate::persist::cron::children(state);
    state.aof.jobs.drain(..).for_each(|job| job.run());
    follow(state);
    start_if_due(state);
    state.aof.jobs.drain(..).for_each(|job| job.run());
}

/// The keys that a server finds which starts with these files.
fn found(disk: &FaultyDisk) -> Vec<String> {
    let mut state = server(disk, true);
    let path = manifest_path(&state.config);
    let text = read_all(disk, &path).expect("a manifest");
    assert_eq!(state.aof.manifest, Manifest::parse(&text).expect("whole"));
    let mut keys: Vec<String> = Vec::new();
    for part in state.aof.manifest.clone().parts() {
        let bytes = read_all(disk, &path_of(&state.config, &part.name)).expect("every file");
        if bytes.starts_with(b"REDIS") {
            read_base(&mut state, &bytes);
            continue;
        }
        keys.extend(
            String::from_utf8(bytes)
                .expect("text")
                .lines()
                .filter_map(|line| line.strip_prefix("SET ").map(str::to_owned)),
        );
    }
    keys.extend(
        state.dbs[0]
            .iter()
            .map(|entry| String::from_utf8_lossy(entry.key()).into_owned()),
    );
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn read_base(state: &mut State, bytes: &[u8]) {
    let mut reader = Reader::new(Options {
        taken: Taken::Refuse,
        drop_expired: false,
        starts: false,
        checksum: true,
        total: None,
    });
    reader.feed(bytes);
    while !matches!(
        reader.step(state, 100).expect("a whole base file"),
        Progress::Done
    ) {}
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    let listed = disk.list(&Path::new(DIR).join("appendonlydir"));
    let mut names: Vec<String> = listed
        .unwrap_or_default()
        .into_iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

/// A server with data, a rewrite that begins and ends, and writes before, meanwhile and behind. The keys
/// that were acknowledged.
fn history(disk: &FaultyDisk, live: bool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut state = server(disk, !live);
    if live {
        state.config.appendonly = true;
        if switch::start(&mut state, false).is_err() {
            return acknowledged;
        }
        cron(&mut state, 100);
    } else if open_at_start(&mut state).is_err() {
        return acknowledged;
    }
    for (step, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        if set(&mut state, key) {
            acknowledged.push(key.to_owned());
        }
        match step {
            0 | 2 => _ = start(&mut state),
            _ => cron(&mut state, 100),
        }
    }
    acknowledged
}

#[test]
fn wherever_everything_stops_what_was_acknowledged_is_there() {
    for live in [false, true] {
        let mut stopped = 0;
        for at in 1.. {
            let disk = new_disk();
            disk.set_faults(Faults {
                crash_at: at,
                ..Faults::default()
            });
            let acknowledged = history(&disk, live);
            for fate in [Fate::Killed, Fate::Bare, Fate::Torn] {
                for seed in 0..if fate == Fate::Torn { 20 } else { 1 } {
                    let after = disk.after(fate, seed);
                    if acknowledged.is_empty() {
                        continue;
                    }
                    let keys = found(&after);
                    for key in &acknowledged {
                        assert!(
                            keys.contains(key),
                            "{live} {at} {fate:?} {seed}: {key} is lost"
                        );
                    }
                }
            }
            if !disk.crashed() {
                assert_eq!(acknowledged, ["a", "b", "c", "d"]);
                break;
            }
            stopped += 1;
        }
        assert!(stopped > 40, "{stopped} places to stop at");
    }
}

#[test]
fn whatever_fails_the_files_stay_whole_and_the_next_rewrite_tidies_up() {
    for seed in 0..200 {
        let disk = FaultyDisk::new(seed);
        disk.lay_dir(Path::new(DIR));
        let mut state = server(&disk, true);
        open_at_start(&mut state).expect("no faults yet");
        disk.set_faults(Faults {
            write_errors: 20,
            name_errors: 5,
            ..Faults::default()
        });
        state.config.appendfsync = Appendfsync::Everysec;
        let mut keys = Vec::new();
        for n in 0..6 {
            let key = format!("k{n}");
            set(&mut state, &key);
            keys.push(key);
            let _ = start(&mut state);
            cron(&mut state, 5000);
        }
        disk.set_faults(Faults::default());
        state.rewrites.failures = 0;
        cron(&mut state, 5000);
        set(&mut state, "last");
        keys.push("last".to_owned());
        cron(&mut state, 5000);
        assert_eq!(found(&disk), keys, "seed {seed}");
        start(&mut state).expect("no faults any more");
        cron(&mut state, 100);
        assert!(state.rewrites.last_ok && state.child.is_none());
        assert_eq!(found(&disk), keys, "seed {seed}");
        let base = state.aof.manifest.base_seq;
        let incremental = state.aof.manifest.incremental_seq;
        let named = [
            format!("appendonly.aof.{base}.base.rdb"),
            format!("appendonly.aof.{incremental}.incr.aof"),
            "appendonly.aof.manifest".to_owned(),
        ];
        assert!(named.iter().all(|name| names(&disk).contains(name)));
    }
}

#[test]
fn three_failures_in_a_row_are_followed_by_waits_that_grow() {
    let disk = new_disk();
    let mut state = server(&disk, true);
    open_at_start(&mut state).expect("opened");
    state.config.auto_aof_rewrite_min_size = 1;
    state.config.auto_aof_rewrite_percentage = 1;
    for key in ["a", "b", "c"] {
        set(&mut state, key);
        start(&mut state).expect("begun");
        state.child.as_mut().unwrap().ended.as_mut().unwrap().code = 1;
        child_ended(&mut state);
    }
    assert_eq!(
        (state.rewrites.failures, state.rewrites.last_ok),
        (3, false)
    );
    assert_eq!(state.aof.manifest.incrementals.len(), 4);
    assert!(!names(&disk).iter().any(|name| name.starts_with("temp")));
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        start_if_due(&mut state);
        assert!(state.child.is_none() && state.rewrites.delay_minutes == minutes);
        state.clock.advance_ms(u64::from(minutes) * 60_000 - 1);
        start_if_due(&mut state);
        assert!(state.child.is_none());
        state.clock.advance_ms(1);
        start_if_due(&mut state);
        assert!(state.has_child(ChildKind::Rewrite));
        state.child.as_mut().unwrap().ended.as_mut().unwrap().code = 1;
        child_ended(&mut state);
    }
    state.rewrites.failures = 0;
    start_if_due(&mut state);
    child_ended(&mut state);
    assert!(state.rewrites.last_ok && state.aof.manifest.incrementals.len() == 1);
    start_if_due(&mut state);
    assert!(state.child.is_none(), "nothing has grown since");
}

fn child_ended(state: &mut State) {
    let end = child::collect(state).expect("there is one");
    ended(state, &end);
    settle(state);
}

#[test]
fn an_aof_that_is_switched_off_and_on_leaves_no_rewrite_behind() {
    let disk = new_disk();
    let mut state = server(&disk, true);
    open_at_start(&mut state).expect("opened");
    set(&mut state, "a");
    start(&mut state).expect("begun");
    set(&mut state, "b");
    // The child had done its work when it was told to end: it does not count.
    switch::stop(&mut state);
    state.child.as_mut().unwrap().ended.as_mut().unwrap().code = 0;
    state.child.as_mut().unwrap().ended.as_mut().unwrap().signal = 0;
    assert_eq!(found(&disk), ["a", "b"]);
    switch::start(&mut state, false).expect("scheduled");
    assert!(state.aof.rewrite_scheduled);
    child_ended(&mut state);
    assert_eq!(found(&disk), ["a", "b"]);
    assert_eq!(state.aof.mode, Mode::WaitRewrite);
    set(&mut state, "c");
    cron(&mut state, 100);
    assert!(state.has_child(ChildKind::Rewrite) && state.prop.on);
    set(&mut state, "d");
    cron(&mut state, 100);
    assert_eq!((state.aof.mode, state.rewrites.failures), (Mode::On, 0));
    set(&mut state, "e");
    assert_eq!(found(&disk), ["a", "b", "c", "d", "e"]);
    assert_eq!(names(&disk).len(), 3, "{:?}", names(&disk));
}

/// A base file that was begun without an AOF lacks what was written between then and the AOF's beginning.
#[test]
fn a_rewrite_from_before_the_aof_does_not_make_it_whole() {
    let disk = new_disk();
    let mut state = server(&disk, false);
    set(&mut state, "a");
    start(&mut state).expect("begun");
    set(&mut state, "b");
    let end = child::collect(&mut state).expect("done in place");
    ended(&mut state, &end);
    assert!(is_installing(&state) && state.rewrites.running.is_some());
    switch::start(&mut state, false).expect("begun");
    assert_eq!(state.aof.mode, Mode::WaitRewrite);
    cron(&mut state, 100);
    assert_eq!(state.aof.mode, Mode::On);
    assert_eq!(found(&disk), ["a", "b"]);
}
