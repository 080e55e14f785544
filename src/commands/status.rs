//! Small facts about the server: TIME and LOLWUT.
use super::lolwut::lolwut;
use crate::base::{clock, num};
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome,
    acl::{self, NONE},
    cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::registry::Family;
use flag::{FAST, LOADING, READONLY, STALE};

const ALWAYS: u32 = LOADING | STALE | FAST;

const COMMANDS: &[Command] = &[
    cmd("time", 1, ALWAYS, NONE, NO_KEYS, time),
    cmd("lolwut", -1, READONLY | FAST, acl::READ, NO_KEYS, lolwut),
];

/// Small facts about the server.
pub static FAMILY: Family = Family {
    group: "server",
    acl: NONE,
    commands: COMMANDS,
};

fn time(ctx: &mut Ctx<'_>) -> CmdResult {
    // Not the frozen clock: within a pipeline the time goes on.
    let now_us = clock::unix_us();
    let mut text = Vec::with_capacity(20);
    ctx.out.array(2);
    num::push_i64(&mut text, now_us / 1_000_000);
    ctx.out.bulk(&text);
    text.clear();
    num::push_i64(&mut text, now_us % 1_000_000);
    ctx.out.bulk(&text);
    Ok(Outcome::Done)
}
