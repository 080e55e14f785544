//! ACL LOCKOUTS and ACL UNLOCK: whose failed logins are counted, who is locked out, and the end of that.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl as category, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::state::users::lockout::Origin;
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE};

const FLAGS: u32 = NOSCRIPT | LOADING | STALE | ADMIN | SERVER_WIDE;

pub(super) const LOCKOUTS: Command = cmd("lockouts", 2, FLAGS, category::NONE, NO_KEYS, lockouts);
pub(super) const UNLOCK: Command = cmd("unlock", -3, FLAGS, category::NONE, NO_KEYS, unlock);

const BAD_ADDRESS: CmdError =
    CmdError::new("ERR ADDR takes an IP address, or 'unix' for connections of the Unix socket");

fn lockouts(ctx: &mut Ctx<'_>) -> CmdResult {
    let now_ms = ctx.state.clock.mono_us / 1000;
    let all = ctx.state.logins.lockouts.shown(now_ms);
    let out = &mut *ctx.out;
    out.array(all.len());
    for shown in all {
        out.map(5);
        out.bulk(b"user");
        match &shown.scope.user {
            Some(user) => out.bulk(user),
            None => out.null(),
        }
        out.bulk(b"address");
        match shown.scope.origin {
            Some(origin) => out.bulk(origin.to_string().as_bytes()),
            None => out.null(),
        }
        out.bulk(b"failures");
        out.int(i64::from(shown.failures));
        out.bulk(b"locked");
        out.bool(shown.locked);
        out.bulk(b"seconds-left");
        out.int(shown.left_ms.div_ceil(1000) as i64);
    }
    Ok(Outcome::Done)
}

fn unlock(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut user, mut origin) = (None, None);
    let all = ctx.argc() == 3 && ctx.arg(2).eq_ignore_ascii_case(b"all");
    if !all {
        if !ctx.argc().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        for i in (2..ctx.argc()).step_by(2) {
            let (word, value) = (ctx.arg(i), ctx.arg(i + 1));
            if word.eq_ignore_ascii_case(b"user") && user.is_none() {
                user = Some(value);
            } else if word.eq_ignore_ascii_case(b"addr") && origin.is_none() {
                origin = Some(Origin::parse(value).ok_or(BAD_ADDRESS)?);
            } else {
                return Err(SYNTAX);
            }
        }
    }
    let lifted = ctx.state.logins.lockouts.unlock(user, origin);
    ctx.int(lifted as i64)
}
