//! The AOF over files of the machine, without a loop: what is written when, and what is in it.
use super::files::{
    load_manifest, manifest_path, path_of, read_all, remove_history, take_over_old,
};
use super::switch::{open_at_start, open_for_rewrite, rewrite_succeeded, stop};
use super::{end_of_turn, every_second, switch};
use crate::base::clock::Clock;
use crate::base::disk::faulty::{Fate, Faults, FaultyDisk};
use crate::base::disk::{Disk, RealDisk};
use crate::base::rng::Rng;
use crate::state::State;
use crate::state::aof::Mode;
use crate::state::config::{Appendfsync, Config, WorkDir};
use crate::state::gate;
use std::path::Path;
use std::sync::Arc;

fn server(dir: &Path) -> State {
    let mut config = Config {
        appendonly: true,
        ..Config::default()
    };
    config.dir = WorkDir(dir.to_owned());
    let clock = Clock::manual(1_700_000_000_000);
    let mut state = State::new(config, Rng::from_seed(1), clock, 0, 1.0);
    load_manifest(&mut state).expect("a manifest or none");
    state
}

/// A turn that propagates something, when the background thread has done what it had.
fn log(state: &mut State, text: &str) {
    run_jobs(state);
    turn(state, text);
}

fn turn(state: &mut State, text: &str) {
    state.prop.log.bytes.extend_from_slice(text.as_bytes());
    end_of_turn(state);
}

fn run_jobs(state: &mut State) {
    state.aof.jobs.drain(..).for_each(|job| job.run());
}

fn text(state: &State, name: &str) -> String {
    let path = path_of(&state.config, name.as_bytes());
    let bytes = read_all(&RealDisk, &path).unwrap_or_else(|error| panic!("{name}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn manifest(state: &State) -> String {
    let bytes = read_all(&RealDisk, &manifest_path(&state.config)).expect("is there");
    String::from_utf8(bytes).expect("is text")
}

#[test]
fn a_new_server_has_a_base_and_appends() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = server(dir.path());
    open_at_start(&mut state).expect("opened");
    assert!(state.prop.on && state.aof.mode == Mode::On);
    assert_eq!(
        manifest(&state),
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n"
    );
    assert!(text(&state, "appendonly.aof.1.base.rdb").contains("aof-base"));
    log(&mut state, "one");
    log(&mut state, "two");
    assert_eq!(text(&state, "appendonly.aof.1.incr.aof"), "onetwo");
    assert_eq!(state.aof.file_bytes, 6);

    // The next server goes on where this one stopped.
    let mut state = server(dir.path());
    open_at_start(&mut state).expect("opened");
    state.config.aof_timestamp_enabled = true;
    log(&mut state, "three");
    log(&mut state, "four");
    state.clock.advance_ms(1000);
    log(&mut state, "five");
    assert_eq!(
        text(&state, "appendonly.aof.1.incr.aof"),
        "onetwo#TS:1700000000\r\nthreefour#TS:1700000001\r\nfive"
    );
    stop(&mut state);
    log(&mut state, "six");
    assert!(!state.prop.on && text(&state, "appendonly.aof.1.incr.aof").ends_with("five"));
}

#[test]
fn everysec_syncs_behind_the_loops_back_and_writes_wait_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = server(dir.path());
    open_at_start(&mut state).expect("opened");
    turn(&mut state, "a");
    assert_eq!(state.aof.syncs.len(), 1, "the first one is due at once");
    for ms in [0, 1000, 999] {
        state.clock.advance_ms(ms);
        turn(&mut state, "b");
    }
    assert_eq!((state.aof.waiting.len(), state.aof.delayed_fsyncs), (3, 0));
    state.clock.advance_ms(1);
    turn(&mut state, "c");
    assert_eq!((state.aof.waiting.len(), state.aof.delayed_fsyncs), (0, 1));
    assert_eq!(state.aof.jobs.len(), 1, "one at a time");
    run_jobs(&mut state);
    end_of_turn(&mut state);
    assert_eq!(state.aof.jobs.len(), 1, "what has come since is due");
    run_jobs(&mut state);
    state.clock.advance_ms(2000);
    every_second(&mut state);
    end_of_turn(&mut state);
    assert!(state.aof.jobs.is_empty(), "everything is on disk");
}

#[test]
fn always_syncs_before_the_turn_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = server(dir.path());
    state.config.appendfsync = Appendfsync::Always;
    open_at_start(&mut state).expect("opened");
    log(&mut state, "a");
    assert_eq!((state.aof.sync_asked, state.aof.jobs.len()), (1, 0));
    assert!(!state.aof.fatal);
}

#[test]
fn the_one_file_of_old_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("appendonly.aof");
    std::fs::write(&old, "old").expect("written");
    let mut state = server(dir.path());
    take_over_old(&mut state).expect("moved");
    open_at_start(&mut state).expect("opened");
    let expected =
        "file appendonly.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(manifest(&state), expected);
    assert!(!old.exists() && text(&state, "appendonly.aof") == "old");
    assert_eq!(state.aof.base_bytes, 3);
    // A second one is somebody else's: an AOF is there.
    std::fs::write(&old, "other").expect("written");
    take_over_old(&mut state).expect("nothing to do");
    assert!(old.exists() && manifest(&state) == expected);
}

#[test]
fn an_old_file_that_cannot_be_opened_is_not_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = dir.path().join("appendonly.aof");
    std::os::unix::fs::symlink(&old, &old).expect("made");
    let mut state = server(dir.path());
    take_over_old(&mut state).expect_err("a link to itself");
    assert!(state.aof.manifest.is_empty());
}

#[test]
fn a_take_over_that_was_cut_short_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("appendonly.aof"), "old").expect("written");
    std::fs::create_dir(dir.path().join("appendonlydir")).expect("made");
    let begun = "file appendonly.aof seq 1 type b\n";
    let path = dir.path().join("appendonlydir/appendonly.aof.manifest");
    std::fs::write(path, begun).expect("written");
    let mut state = server(dir.path());
    take_over_old(&mut state).expect("moved");
    assert_eq!(text(&state, "appendonly.aof"), "old");
}

#[test]
fn a_rewrite_begins_a_file_and_its_success_removes_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = server(dir.path());
    open_at_start(&mut state).expect("opened");
    log(&mut state, "before");
    open_for_rewrite(&mut state).expect("opened");
    log(&mut state, "behind");
    assert_eq!(text(&state, "appendonly.aof.1.incr.aof"), "before");
    assert_eq!(text(&state, "appendonly.aof.2.incr.aof"), "behind");
    // What the parent of a rewrite does.
    let name = state.aof.manifest.new_base(b"appendonly.aof", true);
    state.aof.manifest.retire_incrementals(true);
    drop(RealDisk.create(&path_of(&state.config, &name)));
    state.config.aof_disable_auto_gc = true;
    rewrite_succeeded(&mut state);
    assert_eq!(state.aof.base_bytes, 6);
    assert_eq!(text(&state, "appendonly.aof.1.incr.aof"), "before");
    state.config.aof_disable_auto_gc = false;
    remove_history(&mut state).expect("removed");
    run_jobs(&mut state);
    let names = RealDisk.list(&dir.path().join("appendonlydir"));
    let mut names = names.expect("listed");
    names.sort();
    assert_eq!(
        names,
        [
            "appendonly.aof.2.base.rdb",
            "appendonly.aof.2.incr.aof",
            "appendonly.aof.manifest"
        ]
    );
    assert_eq!(
        manifest(&state),
        "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n"
    );
}

/// A server whose disk lies in memory.
fn faulty_server(disk: &FaultyDisk) -> State {
    let mut state = State::new(
        Config {
            appendonly: true,
            dir: WorkDir("/data".into()),
            ..Config::default()
        },
        Rng::from_seed(1),
        Clock::manual(1_700_000_000_000),
        0,
        1.0,
    );
    state.disk = Arc::new(disk.clone());
    load_manifest(&mut state).expect("a manifest or none");
    state
}

fn new_disk() -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    disk.lay_dir(Path::new("/data"));
    disk
}

fn held(disk: &FaultyDisk, name: &str) -> String {
    let path = Path::new("/data/appendonlydir").join(name);
    let bytes = read_all(disk, &path).unwrap_or_else(|error| panic!("{name}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn may_write(state: &State) -> bool {
    state.gate & gate::DISK_ERROR == 0
}

#[test]
fn a_full_disk_leaves_no_torn_tail_and_is_got_over() {
    let disk = new_disk();
    let mut state = faulty_server(&disk);
    open_at_start(&mut state).expect("opened");
    log(&mut state, "first");
    let room = |bytes| Faults {
        capacity: disk.used() + bytes,
        ..Faults::default()
    };
    disk.set_faults(room(3));
    log(&mut state, "second");
    assert_eq!(held(&disk, "appendonly.aof.1.incr.aof"), "first");
    assert_eq!((state.aof.waiting.len(), state.aof.fatal), (6, false));
    assert!(!may_write(&state));
    let reason = state.aof.error().map(ToString::to_string);
    assert!(reason.is_some_and(|text| text.contains("No space left")));
    // What goes on without clients (keys expire) waits with it, tried again once a second.
    log(&mut state, "third");
    disk.set_faults(room(100));
    end_of_turn(&mut state);
    assert!(!may_write(&state), "not before the second is over");
    every_second(&mut state);
    assert!(may_write(&state) && state.aof.waiting.is_empty());
    assert_eq!(held(&disk, "appendonly.aof.1.incr.aof"), "firstsecondthird");
}

#[test]
fn always_ends_the_server_rather_than_break_its_word() {
    for faults in [
        Faults {
            write_errors: 1,
            ..Faults::default()
        },
        Faults {
            sync_errors: 1,
            ..Faults::default()
        },
    ] {
        let disk = new_disk();
        let mut state = faulty_server(&disk);
        state.config.appendfsync = Appendfsync::Always;
        open_at_start(&mut state).expect("opened");
        disk.set_faults(faults.clone());
        log(&mut state, "a");
        assert!(state.aof.fatal, "{faults:?}");
        disk.set_faults(Faults::default());
        assert!(
            !switch::finish(&mut state),
            "{faults:?}: a later fsync says nothing of what an earlier one lost"
        );
    }
}

/// Once an fsync has failed the next one may succeed and say nothing of what was lost.
#[test]
fn a_failed_fsync_is_healed_by_a_rewrite_only() {
    let disk = new_disk();
    let mut state = faulty_server(&disk);
    open_at_start(&mut state).expect("opened");
    log(&mut state, "one");
    log(&mut state, "two");
    state.clock.advance_ms(1000);
    disk.set_faults(Faults {
        sync_errors: 1,
        ..Faults::default()
    });
    turn(&mut state, "three");
    run_jobs(&mut state);
    disk.set_faults(Faults::default());
    end_of_turn(&mut state);
    assert!(!may_write(&state) && state.aof.mode == Mode::WaitRewrite);
    assert!(state.aof.rewrite_scheduled && !state.prop.on);
    assert!(
        !switch::finish(&mut state),
        "what was acknowledged may be lost"
    );
    for _ in 0..3 {
        state.clock.advance_ms(1000);
        every_second(&mut state);
        end_of_turn(&mut state);
        run_jobs(&mut state);
    }
    assert!(!may_write(&state));

    open_for_rewrite(&mut state).expect("opened");
    assert!(state.prop.on);
    log(&mut state, "four");
    assert_eq!(held(&disk, "temp-appendonly.aof.incr"), "four");
    switch::rewrite_failed(&mut state);
    assert!(!may_write(&state) && state.aof.rewrite_scheduled && !state.prop.on);
    open_for_rewrite(&mut state).expect("opened");
    switch::rewrite_succeeded(&mut state);
    assert!(may_write(&state) && state.aof.mode == Mode::On);
}

/// Whenever the machine stops while a server starts, the next one finds all that was there.
#[test]
fn starting_may_be_cut_short_anywhere() {
    for old_file in [false, true] {
        for crash_at in 1.. {
            let disk = new_disk();
            if old_file {
                disk.lay_file(Path::new("/data/appendonly.aof"), b"old");
            }
            disk.set_faults(Faults {
                crash_at,
                ..Faults::default()
            });
            let mut state = faulty_server(&disk);
            let done = take_over_old(&mut state).and_then(|()| open_at_start(&mut state));
            if done.is_ok() && !disk.crashed() {
                break;
            }
            for (fate, seed) in [
                (Fate::Killed, 1),
                (Fate::Bare, 1),
                (Fate::Torn, 1),
                (Fate::Torn, 2),
                (Fate::Torn, 3),
            ] {
                let disk = disk.after(fate, seed);
                let mut state = faulty_server(&disk);
                take_over_old(&mut state).expect("goes on");
                open_at_start(&mut state).expect("opened");
                for part in state.aof.manifest.parts() {
                    let name = String::from_utf8_lossy(&part.name);
                    let text = held(&disk, &name);
                    match &*name {
                        "appendonly.aof" => assert_eq!(text, "old"),
                        name if name.contains("base") => assert!(text.contains("aof-base")),
                        _ => assert_eq!(text, ""),
                    }
                }
                let base = state.aof.manifest.base.as_ref().map(|part| &part.name[..]);
                assert_eq!(
                    base == Some(b"appendonly.aof"),
                    old_file,
                    "{crash_at} {fate:?}"
                );
            }
        }
    }
}

/// A SHUTDOWN that is refused comes in the midst of a unit where a script is busy: the first half of what that
/// does was dropped from the log, and the second written as if it were all.
#[test]
fn a_unit_stays_whole_when_the_end_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = server(dir.path());
    open_at_start(&mut state).expect("opened");
    state.prop.push_own(0, &[b"A"]);
    state.prop.end_unit();
    state.prop.push_own(0, &[b"B"]);
    assert!(switch::finish(&mut state));
    let words = |state: &State| {
        let text = text(state, "appendonly.aof.1.incr.aof");
        let words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    assert_eq!(words(&state), "SELECT 0 A");
    run_jobs(&mut state);
    state.prop.push_own(1, &[b"C"]);
    end_of_turn(&mut state);
    assert_eq!(words(&state), "SELECT 0 A");
    state.prop.end_unit();
    end_of_turn(&mut state);
    assert_eq!(words(&state), "SELECT 0 A MULTI B SELECT 1 C EXEC");
    // What ends with the AOF is not found in the next one.
    state.prop.push_own(1, &[b"D"]);
    stop(&mut state);
    assert!(state.prop.log.bytes.is_empty() && !state.prop.has_unit());
}
