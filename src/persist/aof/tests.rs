//! The AOF over files of the machine, without a loop: what is written when, and what is in it.
use super::files::{
    load_manifest, manifest_path, path_of, read_all, remove_history, take_over_old,
};
use super::switch::{open_at_start, open_for_rewrite, rewrite_succeeded, stop};
use super::{end_of_turn, every_cron};
use crate::base::clock::Clock;
use crate::base::disk::{Disk, RealDisk};
use crate::base::rng::Rng;
use crate::state::State;
use crate::state::aof::Mode;
use crate::state::config::{Appendfsync, Config, WorkDir};
use std::path::Path;

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
    every_cron(&mut state, true);
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
