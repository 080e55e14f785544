//! What a request may take of what its group has left (`state::quota`).
//!
//! Asked before a request runs, wherever it comes from: a client, a transaction, a script. Only sessions of
//! groups with limits get here (`gate::QUOTA`).
use super::command::{flag, key_flag};
use super::ctx::Ctx;
use super::error::CmdError;
use super::keys;
use super::registry::Row;
use crate::state::State;
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::quota::Limit;

/// Why a request of a group is refused. `flags` are what it counts as.
pub fn refusal(ctx: &mut Ctx<'_>, row: &Row, flags: u32) -> Option<CmdError> {
    let group = ctx.client().group;
    if !ctx.state.take_request(group) {
        return Some(error(ctx.state, group, Limit::Ops));
    }
    // What is queued is held against the limits when it runs: by then there may be room.
    let queued = ctx.client().multi.is_some() && !row.cmd.is(flag::UNQUEUED);
    if queued || flags & flag::DENYOOM == 0 {
        return None;
    }
    no_room(ctx, row, group)
}

/// Why what runs inside a transaction or a script is refused: it counts as no request of its own.
#[inline]
pub fn refusal_inside(ctx: &mut Ctx<'_>, row: &Row) -> Option<CmdError> {
    if ctx.client().gate & gate::QUOTA == 0 || !row.cmd.is(flag::DENYOOM) {
        return None;
    }
    let group = ctx.client().group;
    no_room(ctx, row, group)
}

#[cold]
fn no_room(ctx: &mut Ctx<'_>, row: &Row, group: GroupId) -> Option<CmdError> {
    let more_keys = new_keys(ctx, row);
    let exceeded = ctx.state.make_room_in(group, more_keys);
    if ctx.state.prop.has_unit() && ctx.mode == super::ctx::Mode::Client {
        // What went is no part of what the request does.
        ctx.state.prop.end_unit();
    }
    exceeded.map(|limit| error(ctx.state, group, limit))
}

/// How many keys a request would add. What a script or a transaction adds is asked for as it does.
fn new_keys(ctx: &mut Ctx<'_>, row: &Row) -> u64 {
    if row.cmd.flags & (flag::RUNS_SCRIPT | flag::RUNS_QUEUE) != 0 {
        return 0;
    }
    let Ok(found) = keys::find(row.cmd, ctx.argv) else {
        return 0;
    };
    let (db, argv) = (ctx.db, ctx.argv);
    let written = found
        .iter()
        .filter(|key| key.flags & (key_flag::RW | key_flag::OW) != 0);
    let new = written.filter(|key| ctx.state.peek(db, argv.get(key.at)).is_none());
    new.count() as u64
}

/// `-QUOTA ...` for a limit of a group.
pub fn error(state: &State, group: GroupId, limit: Limit) -> CmdError {
    let Some(group) = state.groups.get(group) else {
        return CmdError::new("QUOTA the group is gone");
    };
    let (name, most) = (&group.name, limit.of(&group.quotas));
    let what = limit.name();
    CmdError::owned(match limit {
        Limit::Ops => format!("QUOTA ops of group '{name}' are used up: {most} requests a second"),
        _ => format!("QUOTA {what} of group '{name}' are used up: the limit is {most}"),
    })
}
