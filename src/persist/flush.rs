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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{connection, group, string};
    use crate::exec::testing::Bench;
    use crate::state::groups::GroupId;

    #[test]
    fn a_group_flushes_what_is_its_own_and_the_log_says_which_databases() {
        let families = [
            &FAMILY,
            &connection::FAMILY,
            &group::FAMILY,
            &string::FAMILY,
        ];
        let mut bench = Bench::new(&families);
        bench.state.config.save.points.clear();
        assert_eq!(bench.logs("flushall"), ["SELECT 0", "flushall"]);
        bench.ask("group create blue");
        bench.ask("set k 1");
        let who = bench.state.clients.iter().next().expect("a client").id;
        bench.state.join_group(who, GroupId(1));
        for request in ["set k 1", "select 9", "set k 1", "select 2"] {
            bench.ask(request);
        }
        let told = bench.logs("flushall async");
        let commands = ["FLUSHDB async", "SELECT 25", "FLUSHDB async", "SELECT 18"];
        assert_eq!(told[..2], ["SELECT 16", "MULTI"]);
        assert_eq!(
            told[2..],
            [&commands[..], &["FLUSHDB async", "EXEC"]].concat()
        );
        assert_eq!(bench.state.dbs.total_keys(), 1);
        bench.state.join_group(who, GroupId::DEFAULT);
        let told = bench.logs("flushall");
        let commands = ["MULTI", "FLUSHDB", "SELECT 2", "FLUSHDB", "EXEC"];
        assert_eq!(told, [&["SELECT 0"][..], &commands].concat());
    }
}
