//! FLUSHALL: what is gone from memory is to be gone from the snapshot, too.
use super::save;
use crate::commands::database;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, UsedDbs,
    acl::{self, DANGEROUS},
    cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::registry::Family;

const COMMANDS: &[Command] =
    &[cmd("flushall", -1, flag::WRITE, DANGEROUS, NO_KEYS, flushall).using(UsedDbs::All)];

/// FLUSHALL.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::KEYSPACE,
    commands: COMMANDS,
};

fn flushall(ctx: &mut Ctx<'_>) -> CmdResult {
    let outcome = database::flushall(ctx)?;
    // A group's end of its own data is no reason to make all others wait for a snapshot.
    if ctx.state.group_of(ctx.db).is_default() {
        save::after_flush(ctx.state);
    }
    Ok(outcome)
}
