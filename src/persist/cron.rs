//! What files need by the clock: children are listened to and collected, rewrites and snapshots that are due
//! begun.
use super::{child, rewrite, save};
use crate::exec::registry::Registry;
use crate::state::State;
use crate::state::persistence::ChildKind;

/// After a failure a snapshot is tried again when so many seconds have passed.
const RETRY_S: i64 = 5;

/// Called by the server's cron, several times a second.
pub fn run(state: &mut State, table: &Registry) {
    child::listen(state);
    children(state, table);
    if state.child.is_none() {
        rewrite::start_if_due(state);
    }
    if state.child.is_none() {
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
pub fn children(state: &mut State, _table: &Registry) {
    let Some(ended) = child::collect(state) else {
        return;
    };
    match ended.child.kind {
        ChildKind::Snapshot => save::ended(state, &ended),
        ChildKind::Rewrite => rewrite::ended(state, &ended),
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
