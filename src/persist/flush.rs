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
    save::after_flush(ctx.state);
    // Whatever the snapshot has set the count of changes back to, and also where there was no key: who
    // reads the log may have one.
    let request: Vec<&[u8]> = ctx.argv.iter().collect();
    ctx.propagate_as(&request);
    Ok(outcome)
}
