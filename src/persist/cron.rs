//! What files need by the clock: children are listened to and collected, rewrites and snapshots that are due
//! begun.
use super::{child, rewrite, save};
use crate::state::State;
use crate::state::persistence::ChildKind;

/// After a failure a snapshot is tried again when so many seconds have passed.
const RETRY_S: i64 = 5;

/// Called by the server's cron, several times a second.
pub fn run(state: &mut State) {
    child::listen(state);
    children(state);
    rewrite::follow(state);
    if state.is_loading() {
        // Half a data set never replaces a whole one.
        return;
    }
    rewrite::start_if_due(state);
    if state.child.is_none() && !state.garbage.is_vast() {
        save_if_due(state);
    }
    // Behind what else may begin a child.
    if state.child.is_none()
        && state.snapshots.scheduled
        && may_try(state)
        && save::in_background(state).is_ok()
    {
        state.snapshots.scheduled = false;
    }
}

/// A child may have ended: called when the kernel says so, too.
pub fn children(state: &mut State) {
    let Some(ended) = child::collect(state) else {
        return;
    };
    match ended.child.kind {
        ChildKind::Snapshot => save::ended(state, &ended),
        ChildKind::Rewrite => rewrite::ended(state, &ended),
        ChildKind::Transfer => save::transferred(state, &ended),
    }
}

/// Begins a snapshot where a save point asks for it.
fn save_if_due(state: &mut State) {
    let since_s = state.clock.unix_ms / 1000 - state.snapshots.last_save_s;
    let due = state
        .config
        .save
        .points
        .iter()
        .find(|point| state.dirty.cast_signed() >= point.changes && since_s > point.seconds);
    if let Some(point) = due.copied()
        && may_try(state)
    {
        log::info!(
            "{} changes in {} seconds. Saving...",
            point.changes,
            point.seconds
        );
        // That it failed is in the log, and in what clients are told.
        let _ = save::in_background(state);
    }
}

/// A failure is not repeated at once.
fn may_try(state: &State) -> bool {
    let since_s = state.clock.unix_ms / 1000 - state.snapshots.last_try_s;
    state.snapshots.last_ok || since_s > RETRY_S
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::disk::faulty::{Faults, FaultyDisk};
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::config::Config;
    use crate::state::gate;
    use std::path::Path;
    use std::sync::Arc;

    /// A server that keeps its files in memory and takes a snapshot after 10 seconds with 3 changes.
    struct Bench {
        state: State,
        disk: FaultyDisk,
    }

    impl Bench {
        fn new() -> Bench {
            let disk = FaultyDisk::new(1);
            disk.lay_dir(Path::new("/data"));
            let mut config = Config::default();
            config.dir.0 = "/data".into();
            config.save.points[0].seconds = 10;
            config.save.points[0].changes = 3;
            config.save.points.truncate(1);
            let clock = Clock::manual(1_000_000_000);
            let mut state = State::new(config, Rng::from_seed(1), clock, 1, 1.0);
            state.disk = Arc::new(disk.clone());
            state.snapshots.last_save_s = 1_000_000;
            state.dbs.insert(0, b"k", NewValue::Int(1), None);
            Bench { state, disk }
        }

        fn after_s(&mut self, seconds: u64) -> bool {
            self.state.clock.advance_ms(seconds * 1000);
            let saves = self.state.snapshots.saves;
            run(&mut self.state);
            let began = self.state.snapshots.saves > saves;
            run(&mut self.state);
            assert!(self.state.child.is_none(), "collected at the next look");
            began
        }

        fn fail(&self, writes: bool) {
            self.disk.set_faults(Faults {
                capacity: u64::from(writes),
                ..Faults::default()
            });
        }
    }

    #[test]
    fn a_save_point_wants_both_time_and_changes() {
        let mut bench = Bench::new();
        bench.state.dirty = 2;
        assert!(!bench.after_s(100), "too few changes");
        bench.state.dirty = 3;
        bench.state.snapshots.last_save_s = bench.state.clock.unix_ms / 1000;
        assert!(!bench.after_s(10), "too early");
        assert!(bench.after_s(1));
        assert_eq!(bench.state.dirty, 0);
        assert_eq!(
            bench.state.snapshots.last_save_s,
            bench.state.clock.unix_ms / 1000
        );
        let names = bench.state.disk.list(Path::new("/data")).expect("listed");
        assert_eq!(names, ["dump.rdb"]);
    }

    #[test]
    fn a_failure_refuses_writes_and_is_tried_again_in_a_while() {
        let mut bench = Bench::new();
        bench.state.dirty = 5;
        bench.fail(true);
        assert!(bench.after_s(11));
        assert_eq!(bench.state.dirty, 5);
        assert!(!bench.state.snapshots.last_ok);
        assert_ne!(bench.state.gate & gate::DISK_ERROR, 0);
        let names = bench.state.disk.list(Path::new("/data")).expect("listed");
        assert!(names.is_empty(), "{names:?}");
        assert!(!bench.after_s(5), "not at once");
        bench.fail(false);
        assert!(bench.after_s(1));
        assert_eq!(bench.state.gate & gate::DISK_ERROR, 0);
        assert_eq!(bench.state.dirty, 0);
    }

    #[test]
    fn half_a_data_set_is_not_saved() {
        let mut bench = Bench::new();
        bench.state.dirty = 5;
        bench.state.snapshots.scheduled = true;
        bench.state.gate |= gate::LOADING;
        assert!(!bench.after_s(11));
        bench.state.gate &= !gate::LOADING;
        bench.state.dirty = 0;
        assert!(bench.after_s(0), "it was scheduled");
    }
}
