//! WAIT and WAITAOF: a client waits until others have what it wrote, or until it is on disk.
//!
//! It waits for nothing that others have written. In a transaction or a script it is told how far things are.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, NOT_POSITIVE};
use crate::exec::registry::{Family, Registry};
use crate::exec::unit;
use crate::state::State;
use crate::state::client::TimeoutReply;
use crate::state::repl::wait::Awaited;

const COMMANDS: &[Command] = &[
    cmd("wait", 3, flag::NOSCRIPT, acl::CONNECTION, NO_KEYS, wait),
    cmd(
        "waitaof",
        4,
        flag::NOSCRIPT,
        acl::CONNECTION,
        NO_KEYS,
        wait_aof,
    ),
];

/// WAIT, WAITAOF.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::NONE,
    commands: COMMANDS,
};

const NO_AOF: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

fn wait(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.repl.is_replica() {
        return Err(CmdError::new(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a \
             replica is configured to be writable (which is not the default) writes to replicas are just \
             local and are not propagated.",
        ));
    }
    let replicas = parse_i64(ctx.arg(1)).ok_or(NOT_INTEGER)?;
    // None is as good as less than none.
    await_replicas(ctx, replicas.max(0).cast_unsigned(), None, 2)
}

fn wait_aof(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.repl.is_replica() {
        return Err(CmdError::new(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas \
             are just local and are not propagated.",
        ));
    }
    let local = match parse_i64(ctx.arg(1)).ok_or(NOT_INTEGER)? {
        0 => 0,
        1 => 1,
        _ => {
            return Err(CmdError::new(
                "ERR value is out of range, value must between 0 and 1",
            ));
        }
    };
    let replicas = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let replicas = u64::try_from(replicas).map_err(|_| NOT_POSITIVE)?;
    await_replicas(ctx, replicas, Some(local), 3)
}

fn await_replicas(ctx: &mut Ctx<'_>, replicas: u64, disk: Option<u8>, at: usize) -> CmdResult {
    let deadline_ms = ctx.deadline_ms(ctx.arg(at))?;
    if disk == Some(1) && !ctx.state.aof.enabled() {
        return Err(CmdError::new(NO_AOF));
    }
    let awaited = Awaited {
        place: ctx.state.written(ctx.me),
        replicas,
        disk,
    };
    if ctx.state.is_there(&awaited) || !ctx.may_block() {
        let there = ctx.state.there(&awaited);
        unit::tell_there(ctx.out, &awaited, there);
        return Ok(Outcome::Done);
    }
    // They say so once a second of their own accord.
    ctx.state.repl.ask_acks |= replicas > 0;
    ctx.state.repl.waiting.push_back(ctx.me);
    Ok(ctx.block_for(deadline_ms, TimeoutReply::Replicas(awaited)))
}

/// Answers those for whom it is there by now. True if there were any.
pub fn serve(state: &mut State, table: &Registry) -> bool {
    let mut served = false;
    for who in std::mem::take(&mut state.repl.waiting) {
        let parked = state
            .clients
            .get(who)
            .and_then(|client| client.parked.as_ref());
        let Some(TimeoutReply::Replicas(awaited)) = parked.map(|parked| parked.on_timeout) else {
            continue;
        };
        if state.is_there(&awaited) {
            unit::rerun(state, table, who);
            served = true;
        } else if awaited.disk == Some(1) && !state.aof.enabled() {
            served |= unit::unblock(state, who, Some(NO_AOF));
        } else {
            state.repl.waiting.push_back(who);
        }
    }
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{multi, string};
    use crate::exec::testing::Bench;
    use crate::replication::psync;
    use crate::state::aof::Mode;
    use crate::state::client::Peer;
    use crate::state::repl::Stage;
    use crate::state::repl::backlog::Backlog;

    fn bench() -> Bench {
        let mut bench = Bench::new(&[&FAMILY, &string::FAMILY, &multi::FAMILY]);
        bench.state.repl.backlog = Some(Backlog::new(0));
        bench
    }

    fn replica(bench: &mut Bench) -> usize {
        let client = bench.state.open_session(Peer::None);
        let mut replica = psync::new_replica(&bench.state, client, &Default::default());
        replica.stage = Stage::Online;
        bench.state.repl.replicas.push(replica);
        bench.state.repl.replicas.len() - 1
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let mut bench = bench();
        for (line, told) in [
            ("wait x 0", "-ERR value is not an integer or out of range"),
            ("wait 1 x", "-ERR timeout is not an integer or out of range"),
            ("wait 1 -1", "-ERR timeout is negative"),
            (
                "waitaof 2 0 0",
                "-ERR value is out of range, value must between 0 and 1",
            ),
            (
                "waitaof 0 -1 0",
                "-ERR value is out of range, must be positive",
            ),
            ("wait 0 0", ":0"),
            ("wait -1 0", ":0"),
            ("waitaof 0 0 0", "*2 :0 :0"),
        ] {
            assert_eq!(bench.ask(line), told, "{line}");
        }
        assert_eq!(bench.ask("waitaof 1 0 0"), format!("-{NO_AOF}"));
    }

    #[test]
    fn a_client_waits_for_its_own_writes() {
        let mut bench = bench();
        let at = replica(&mut bench);
        assert_eq!(bench.ask("wait 1 0"), ":1", "nothing was written");
        bench.ask("set a 1");
        bench.state.feed();
        let end = bench.state.repl.offset;
        assert!(end > 0);
        bench.ask("multi");
        bench.ask("wait 1 0");
        assert_eq!(bench.ask("exec"), "*1 :0", "it cannot wait there");
        assert_eq!(bench.ask("wait 1 0"), "", "it waits");
        assert!(bench.state.repl.ask_acks);
        assert!(!bench.serve(serve));
        bench.state.repl.replicas[at].acked = end;
        // What others are told since is not waited for.
        bench.state.repl.append(b"*1\r\n$4\r\nPING\r\n");
        assert!(bench.serve(serve));
        assert_eq!(bench.posted(), ":1");
        assert!(bench.state.repl.waiting.is_empty());
    }

    #[test]
    fn disks_count_where_they_are_asked_for() {
        let mut bench = bench();
        let at = replica(&mut bench);
        bench.state.aof.mode = Mode::On;
        bench.ask("set a 1");
        assert_eq!(bench.ask("waitaof 1 1 0"), "");
        let place = bench.state.place();
        bench.state.repl.replicas[at].acked = place.stream;
        assert!(!bench.serve(serve), "applied is not on disk");
        bench.state.repl.replicas[at].acked_on_disk = Some(place.stream);
        assert!(!bench.serve(serve), "and not here");
        bench.state.aof.synced = place;
        bench.state.feed();
        assert!(bench.serve(serve));
        assert_eq!(bench.posted(), "*2 :1 :1");
        bench.ask("set a 2");
        assert_eq!(bench.ask("waitaof 1 0 0"), "");
        bench.state.aof.mode = Mode::Off;
        assert!(bench.serve(serve));
        assert_eq!(bench.posted(), format!("-{NO_AOF}"));
    }
}
