//! MONITOR: a client sees what all others run.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::state::client::client_flag;

const COMMANDS: &[Command] = &[cmd(
    "monitor",
    1,
    flag::ADMIN | flag::NOSCRIPT | flag::LOADING | flag::STALE,
    acl::NONE,
    NO_KEYS,
    monitor,
)];

/// MONITOR, which COMMAND counts to the server's own.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

fn monitor(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.mode != Mode::Client {
        return Err(CmdError::new(
            "ERR MONITOR isn't allowed for DENY BLOCKING client",
        ));
    }
    if ctx.client().has(client_flag::REPLICA) {
        // It has a stream to read.
        return Ok(Outcome::Done);
    }
    let me = ctx.me;
    ctx.state.start_monitor(me);
    ctx.ok()
}
