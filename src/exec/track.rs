//! Client-side caching, on the way of a request: the keys it read are remembered with who read them.
use super::command::flag;
use super::keys;
use super::registry::Row;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::ClientId;

/// Remembers the keys of a request that reads, for a client that tracks what it reads
/// (`gate::TRACKS`): whatever was answered, since it may keep that a key is absent, too.
#[cold]
pub fn remember(state: &mut State, row: &Row, argv: Argv<'_>, who: ClientId) {
    let cmd = row.cmd;
    if !cmd.is(flag::READONLY) || cmd.is(flag::PUBSUB) {
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
