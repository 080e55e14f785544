//! Client-side caching, on the way of a request: the keys it read are remembered with who read them.
use super::command::flag;
use super::keys;
use super::registry::Row;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::ClientId;

/// Remembers the keys of a request that reads, for a client that tracks what it reads
/// (`gate::TRACKS`): whatever was answered, since it may keep that a key is absent, too.
///
/// What a script reads is remembered while it runs. Once it has read anything, the keys it declared count
/// as read, too: Redis up to 7.0 remembers those, from 7.2 on the others.
#[cold]
pub fn remember(state: &mut State, row: &Row, argv: Argv<'_>, who: ClientId) {
    let cmd = row.cmd;
    if !cmd.is(flag::READONLY) || cmd.flags & (flag::PUBSUB | flag::RUNS_SCRIPT) != 0 {
        return;
    }
    if cmd.first_key > 0 && cmd.last_key == cmd.first_key && !cmd.is(flag::MOVABLE_KEYS) {
        state.remember_read(who, argv.get(cmd.first_key as usize));
        return;
    }
    // A request whose keys cannot be told was refused.
    for key in keys::find(cmd, argv).unwrap_or_default() {
        state.remember_read(who, argv.get(key.at));
    }
}

/// The same behind a request that may have run a script; `reads` is `Tracking::reads` before it.
#[cold]
pub fn remember_all(state: &mut State, row: &Row, argv: Argv<'_>, who: ClientId, reads: u64) {
    if !row.cmd.is(flag::RUNS_SCRIPT) {
        return remember(state, row, argv, who);
    }
    if state.tracking.reads != reads {
        for key in keys::find(row.cmd, argv).unwrap_or_default() {
            state.remember_read(who, argv.get(key.at));
        }
    }
}
