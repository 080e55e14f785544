//! Several keys at once: MGET, MSET, MSETNX, MSETEX.
use super::options::{Condition, For, Options};
use super::{log_set, reply_string, set_now, store};
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, wrong_arity};
use crate::keyspace::Ttl;
use crate::resp::request::Argv;
use crate::state::notify::Event;

const BAD_NUMKEYS: CmdError = CmdError::new("ERR invalid numkeys value");
const BAD_PAIRS: CmdError = CmdError::new("ERR wrong number of key-value pairs");

pub(super) fn mget(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.argc() - 1);
    for key in ctx.argv.from(1).iter() {
        // Another type is as absent here.
        if reply_string(ctx, key).is_err() {
            ctx.out.null();
        }
    }
    Ok(Outcome::Done)
}

pub(super) fn mset(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    store_pairs(ctx);
    ctx.ok()
}

pub(super) fn msetnx(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc().is_multiple_of(2) {
        return Err(wrong_arity("msetnx"));
    }
    for i in (1..ctx.argc()).step_by(2) {
        let key = ctx.arg(i);
        if ctx.write(key).is_some() {
            return ctx.int(0);
        }
    }
    store_pairs(ctx);
    ctx.int(1)
}

/// Stores the request's pairs, each as SET does.
#[inline]
fn store_pairs(ctx: &mut Ctx<'_>) {
    for i in (1..ctx.argc()).step_by(2) {
        let (key, value) = (ctx.arg(i), ctx.arg(i + 1));
        store(ctx, key, value, Ttl::Clear);
        ctx.modified(key, Event::SET, 1);
    }
}

pub(super) fn msetex(ctx: &mut Ctx<'_>) -> CmdResult {
    let pairs = parse_i64(ctx.arg(1)).filter(|n| (1..=i64::from(i32::MAX)).contains(n));
    let behind = 2 + 2 * pairs.ok_or(BAD_NUMKEYS)? as usize;
    if behind > ctx.argc() {
        return Err(BAD_PAIRS);
    }
    let options = Options::parse(ctx.argv.from(behind), For::MSetEx)?;
    let ttl = options.expiry.ttl(ctx.state.clock.unix_ms, "msetex")?;
    if !all_fulfil(ctx, ctx.argv, behind, options.condition) {
        return ctx.int(0);
    }
    for i in (2..behind).step_by(2) {
        let (key, value) = (ctx.arg(i), ctx.arg(i + 1));
        set_now(ctx, key, value, ttl);
        // Servers of today and yesterday know what SET is.
        log_set(ctx, key, value, ttl);
    }
    ctx.int(1)
}

/// Is none of the keys there (NX), or are all of them (XX)?
fn all_fulfil(ctx: &mut Ctx<'_>, argv: Argv<'_>, behind: usize, condition: Condition<'_>) -> bool {
    let wanted = match condition {
        Condition::Absent => false,
        Condition::Present => true,
        _ => return true,
    };
    (2..behind)
        .step_by(2)
        .all(|i| ctx.write(argv.get(i)).is_some() == wanted)
}
