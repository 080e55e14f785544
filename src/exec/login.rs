//! Logins: who may act as which user, and what a wrong password costs.
//!
//! One function for AUTH and HELLO. What a name is worth (no such user, one that is off, a wrong password)
//! shows neither in the reply nor in the time it takes. Work that takes milliseconds parks the client; its request
//! runs again, from the beginning, when the background thread is done with it: whatever has changed in
//! between counts. That holds while a script keeps the loop busy, too: it may be who comes to end it.
//!
//! A failed login that is answered late holds back every other try of that user from there until then.
use super::command::{CmdResult, Outcome};
use super::ctx::Ctx;
use super::error::{CmdError, WRONG_PASS};
use super::registry::Registry;
use super::{quota, unit};
use crate::resp::reply::Writer;
use crate::state::State;
use crate::state::acl_log::Reason;
use crate::state::client::{ClientId, Clients};
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::quota::Limit;
use crate::state::users::UserId;
use crate::state::users::lockout::Origin;
use crate::state::users::logins::{Password, Task, TooMany, Work};
use crate::state::users::password::{self, Cost, Fit, NotDerived, PasswordHash};

const EXPIRED: CmdError =
    CmdError::new("WRONGPASS the password is right, but this user has expired");
const NOT_HERE: CmdError = CmdError::new(
    "ERR a password kept as Argon2id takes time to check: log in outside of the transaction",
);
const BUSY: CmdError =
    CmdError::new("TRYAGAIN too many passwords wait to be checked, try again in a moment");

/// What was found of a name and a password.
enum Verdict {
    Fits(UserId),
    Fails,
    Ask(Vec<Box<str>>),
}

fn verdict(state: &State, name: &[u8], given: &[u8]) -> Verdict {
    let id = state.users.find(name);
    let user = id.map(|id| state.users.get(id));
    let user = user.filter(|user| user.enabled && user.awaits_group.is_none());
    let known = user.map_or(&[][..], |user| &user.passwords);
    let fit = state.logins.fits(known, given);
    let open = user.is_some_and(|user| user.nopass);
    match (id, fit) {
        (Some(id), _) if open => Verdict::Fits(id),
        (Some(id), Fit::Yes) => Verdict::Fits(id),
        (_, Fit::Ask(phc)) => Verdict::Ask(phc),
        _ => took_no_time(state, known, given),
    }
}

/// Where passwords take time, the time tells nobody which names there are: one that was refused without it has
/// a password compared that nobody has.
fn took_no_time(state: &State, known: &[PasswordHash], given: &[u8]) -> Verdict {
    let slow = |hash: &PasswordHash| matches!(hash, PasswordHash::Argon2id(_));
    match Cost::of(&state.config).filter(|_| !known.iter().any(slow)) {
        Some(cost) => match state.logins.fits(&state.logins.nobody(cost), given) {
            Fit::Ask(phc) => Verdict::Ask(phc),
            _ => Verdict::Fails,
        },
        None => Verdict::Fails,
    }
}

/// Lets the client in as this user. `Done`: it is in. `Block`: it waits, and its request will run again or be
/// answered later.
pub fn log_in(ctx: &mut Ctx<'_>, name: &[u8], given: &[u8]) -> CmdResult {
    let origin = Origin::of(&ctx.client().peer);
    let now_ms = ctx.state.clock.mono_us / 1000;
    if let Some(origin) = origin
        && let Some(left_ms) = ctx.state.logins.lockouts.locked_ms(name, origin, now_ms)
    {
        ctx.note_failed_login(name, Reason::Auth);
        return Err(CmdError::owned(format!(
            "WRONGPASS too many failed logins, no more are looked at for {} seconds",
            left_ms.div_ceil(1000)
        )));
    }
    match verdict(ctx.state, name, given) {
        Verdict::Fits(user) => enter(ctx, user, name, origin),
        Verdict::Fails => fail(ctx, name, origin),
        Verdict::Ask(phc) => {
            let password = Password::new(given.to_vec());
            let work = Work {
                verify: vec![(phc, password)],
                ..Work::default()
            };
            match ctx.may_block() {
                true => wait_for(ctx, work),
                false => Err(NOT_HERE),
            }
        }
    }
}

/// Why whoever has proved who it is may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// The user is off, or its group is not there yet.
    Off,
    Expired,
    /// The group has no room for a client more.
    Full(GroupId),
}

/// May this client act as this user? The one answer, however it proved who it is: by a password or a
/// certificate.
pub fn may_enter(state: &mut State, who: ClientId, user: UserId) -> Result<(), Shut> {
    let now_s = state.clock.unix_ms / 1000;
    let user = state.users.get(user);
    if !user.admits_logins(now_s) {
        return Err(match user.has_expired(now_s) {
            true => Shut::Expired,
            false => Shut::Off,
        });
    }
    let group = user.group;
    let moves = state.group_of_client(who) != group;
    match moves && !state.has_room_for_client(group) {
        true => Err(Shut::Full(group)),
        false => Ok(()),
    }
}

/// The client's request runs again when this work is done.
pub fn wait_for(ctx: &mut Ctx<'_>, work: Work) -> CmdResult {
    if let Some(error) = ctx.state.logins.failure() {
        return Err(CmdError::owned(format!(
            "ERR the password can't be looked at: {error}"
        )));
    }
    let me = ctx.me;
    let origin = Origin::of(&ctx.client().peer);
    let State {
        logins, clients, ..
    } = &mut *ctx.state;
    let mut asked = logins.ask(me, origin, work.clone());
    if asked == Err(TooMany) {
        logins.forget_gone(|who| waits(clients, who));
        asked = logins.ask(me, origin, work);
    }
    match asked {
        Ok(()) => Ok(ctx.block_until(0)),
        Err(TooMany) => Err(BUSY),
    }
}

fn enter(ctx: &mut Ctx<'_>, user: UserId, name: &[u8], origin: Option<Origin>) -> CmdResult {
    if let Some(origin) = origin {
        ctx.state.logins.lockouts.succeeded(name, origin);
    }
    if let Err(shut) = may_enter(ctx.state, ctx.me, user) {
        if !matches!(shut, Shut::Full(_)) {
            ctx.note_failed_login(name, Reason::Auth);
        }
        return Err(match shut {
            Shut::Off => WRONG_PASS,
            Shut::Expired => EXPIRED,
            Shut::Full(group) => quota::error(ctx.state, group, Limit::Clients),
        });
    }
    ctx.state.log_in(ctx.me, user);
    // Another group has other databases.
    ctx.db = ctx.client().db as usize;
    Ok(Outcome::Done)
}

fn fail(ctx: &mut Ctx<'_>, name: &[u8], origin: Option<Origin>) -> CmdResult {
    ctx.note_failed_login(name, Reason::Auth);
    let Some(origin) = origin else {
        return Err(WRONG_PASS);
    };
    let now_ms = ctx.state.clock.mono_us / 1000;
    let follows = ctx.state.logins.lockouts.failed(name, origin, now_ms);
    let seconds = ctx.state.config.login_lockout_seconds;
    for scope in &follows.locked {
        let more = match ctx.state.logins.lockouts.tell(now_ms) {
            None => continue,
            Some(0) => String::new(),
            Some(n) => format!(" ({n} more locks since the last one that was told)"),
        };
        log::warn!("Logins of {scope} are locked for {seconds} seconds: too many failed{more}");
    }
    // A transaction answers at once, and nothing ends a wait while a script runs: the next try is held back.
    let waits = ctx.may_block() && ctx.state.gate & gate::BUSY_SCRIPT == 0;
    if follows.delay_ms > 0 && waits {
        return Ok(ctx.block_until(now_ms + follows.delay_ms));
    }
    Err(WRONG_PASS)
}

/// Is this client there, waiting for its password?
fn waits(clients: &Clients, who: ClientId) -> bool {
    let client = clients.get(who);
    client.is_some_and(|client| {
        client
            .parked
            .as_ref()
            .is_some_and(|parked| parked.is_login())
    })
}

/// The next password for the background thread, once that has done with the last one.
pub fn next_task(state: &mut State) -> Option<Task> {
    let State {
        logins, clients, ..
    } = state;
    logins.next_task(|who| waits(clients, who))
}

/// Runs the requests of up to `max` clients again whose work is done; true when there may be more.
pub fn resume_some(state: &mut State, table: &Registry, max: usize) -> bool {
    for _ in 0..max {
        let Some(who) = state.logins.next_finished(false) else {
            return false;
        };
        unit::rerun(state, table, who);
        state.logins.settle_down();
    }
    true
}

/// The same for one who logs in while a script runs: the reply is for the caller to hand on. Others, whose
/// requests may not run now, wait for the script's end.
pub fn resume_beside_script(state: &mut State, table: &Registry) -> Option<(ClientId, Writer)> {
    loop {
        let who = state.logins.next_finished(true)?;
        let reply = unit::rerun_beside_script(state, table, who);
        state.logins.settle_down();
        if let Some(reply) = reply {
            return Some((who, reply));
        }
    }
}

/// Tells of the locks of which nothing was said, lest the log be flooded.
pub fn tell_rest(state: &mut State) {
    let now_ms = state.clock.mono_us / 1000;
    if let Some(locks) = state.logins.lockouts.tell_rest(now_ms) {
        log::warn!("Logins were locked {locks} times more: see ACL LOCKOUTS");
    }
}

/// A new password as it is kept. Where nobody derived it before, that is done here and now: tens of
/// milliseconds.
pub fn keep(state: &State, given: &[u8]) -> Result<PasswordHash, NotDerived> {
    let Some(cost) = Cost::of(&state.config) else {
        return Ok(PasswordHash::sha256(given));
    };
    if let Some(known) = state.logins.derived(given) {
        return Ok(known.clone());
    }
    password::derive(given, cost)
}

/// Which of these passwords this one is. Slow, as [`keep`], where nobody looked before.
pub fn find(state: &State, known: &[PasswordHash], given: &[u8]) -> Option<PasswordHash> {
    let digest = PasswordHash::sha256(given);
    if known.contains(&digest) {
        return Some(digest);
    }
    if let Some(hash) = state.logins.fitting(known, given) {
        return Some(hash.clone());
    }
    let Fit::Ask(phc) = state.logins.fits(known, given) else {
        return None;
    };
    let at = password::verify(&phc, given).ok().flatten()?;
    Some(PasswordHash::Argon2id(phc.get(at)?.clone()))
}

/// Has the new passwords among a user's rules derived, and those looked for that are taken away, before the
/// request runs: `Some` if it waits for that now.
pub fn prepare(ctx: &mut Ctx<'_>, name: &[u8], rules: &[&[u8]]) -> Option<CmdResult> {
    if !ctx.may_block() || ctx.state.logins.failure().is_some() {
        return None;
    }
    let (state, own) = (&*ctx.state, |password: &[u8]| {
        Password::new(password.to_vec())
    });
    let behind = |sign: u8| move |rule: &&[u8]| rule.first() == Some(&sign);
    let user = state.users.find(name).map(|id| state.users.get(id));
    let known = user.map_or(&[][..], |user| &user.passwords);
    let mut work = Work {
        cost: Cost::of(&state.config),
        by_operator: true,
        ..Work::default()
    };
    if work.cost.is_some() {
        let new = rules.iter().copied().filter(behind(b'>'));
        let missing = new.filter(|rule| state.logins.derived(&rule[1..]).is_none());
        work.derive.extend(missing.map(|rule| own(&rule[1..])));
    }
    for rule in rules.iter().copied().filter(behind(b'<')) {
        if let Fit::Ask(phc) = state.logins.fits(known, &rule[1..]) {
            work.verify.push((phc, own(&rule[1..])));
        }
    }
    let nothing = work.derive.is_empty() && work.verify.is_empty();
    (!nothing).then(|| wait_for(ctx, work))
}
