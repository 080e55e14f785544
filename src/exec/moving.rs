//! Keys on their way to another server (MIGRATE): whoever wants to change them waits, and nobody else.
use super::command::flag;
use super::ctx::Ctx;
use super::keys;
use super::registry::Row;
use crate::resp::request::Argv;
use crate::state::gate;

/// Does this request wait until what is on its way has arrived? `flags` are those that it counts as having.
pub fn waits(ctx: &mut Ctx<'_>, row: &Row, flags: u32, concerned: u32) -> bool {
    // What is only queued changes nothing yet.
    if concerned & gate::IN_MULTI != 0 || flags & (flag::WRITE | flag::MAY_REPLICATE) == 0 {
        return false;
    }
    if !row.cmd.is(flag::RUNS_QUEUE) {
        return meets(ctx, row, flags, ctx.argv);
    }
    let Some(multi) = ctx.client().multi.take() else {
        return false;
    };
    let meets = multi.queue.iter().any(|(id, owned)| {
        let row = ctx.table.row(*id);
        meets(ctx, row, row.cmd.flags, owned.argv())
    });
    ctx.client().multi = Some(multi);
    meets
}

/// Might it change such a key? A script may change what it does not name, and what empties or swaps databases
/// names no key at all.
fn meets(ctx: &Ctx<'_>, row: &Row, flags: u32, argv: Argv<'_>) -> bool {
    if flags & flag::RUNS_SCRIPT != 0 {
        return flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
    }
    if flags & flag::WRITE == 0 {
        return false;
    }
    let moving = &ctx.state.migrations;
    match keys::find(row.cmd, argv) {
        Ok(keys) if !keys.is_empty() => keys
            .iter()
            .any(|key| key.at < argv.len() && moving.holds(ctx.db, argv.get(key.at))),
        _ => true,
    }
}
