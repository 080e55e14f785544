//! Keys on their way to another server (MIGRATE): whoever wants to change them waits, and nobody else.
use super::command::{UsedDbs, flag};
use super::ctx::Ctx;
use super::keys;
use super::registry::Row;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::Parked;
use crate::state::gate;

/// Does this request wait until what is on its way has arrived? `flags` are those that it counts as having.
pub fn waits(ctx: &mut Ctx<'_>, row: &Row, flags: u32, concerned: u32) -> bool {
    // What is only queued changes nothing yet.
    if concerned & gate::IN_MULTI != 0 || flags & (flag::WRITE | flag::MAY_REPLICATE) == 0 {
        return false;
    }
    let meets = match row.cmd.is(flag::RUNS_QUEUE) {
        true => queue_meets(ctx),
        false => meets(ctx.state, Some(ctx.db), row, flags, ctx.argv),
    };
    if meets {
        // Who names no key waits for whatever is on its way: it would wait for ever while others begin.
        let names = keys::find(row.cmd, ctx.argv).is_ok_and(|keys| !keys.is_empty());
        let all = !names || flags & flag::RUNS_SCRIPT != 0;
        ctx.state.migrations.hold(ctx.me, all);
    }
    meets
}

fn queue_meets(ctx: &mut Ctx<'_>) -> bool {
    let Some(multi) = ctx.client().multi.take() else {
        return false;
    };
    let meets = multi.queue.iter().any(|(id, owned)| {
        let row = ctx.table.row(*id);
        // It may select another database on its way.
        meets(ctx.state, None, row, row.cmd.flags, owned.argv())
    });
    ctx.client().multi = Some(multi);
    meets
}

/// The same for the request of a client that waited for a key: what it would do may concern others, too (BLMOVE).
pub fn delays(state: &State, row: &Row, parked: &Parked) -> bool {
    let db = Some(parked.db as usize);
    meets(state, db, row, row.cmd.flags, parked.argv.argv())
}

/// Might it change such a key of this database, or of any? A script may change what it does not name, and what
/// empties or swaps databases names no key at all.
fn meets(state: &State, db: Option<usize>, row: &Row, flags: u32, argv: Argv<'_>) -> bool {
    if flags & flag::RUNS_SCRIPT != 0 {
        return flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
    }
    if flags & flag::WRITE == 0 {
        return false;
    }
    // These put a key into a database that they name.
    let elsewhere = matches!(row.cmd.dbs, UsedDbs::All | UsedDbs::Named(_));
    let db = db.filter(|_| !elsewhere);
    match keys::find(row.cmd, argv) {
        Ok(keys) if !keys.is_empty() => keys
            .iter()
            .any(|key| key.at < argv.len() && state.migrations.holds(db, argv.get(key.at))),
        _ => true,
    }
}
