//! ACL SETUSER, DELUSER, GETUSER, LIST, USERS, LOAD and SAVE, and their short forms ADDUSER, DELUSER, LISTUSERS.
//!
//! Who is changed or gone is seen to by the state: clients lose or gain rights with the reply, and those of a
//! user who is gone are closed.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl as category, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, wrong_arity};
use crate::exec::login;
use crate::exec::registry::Family;
use crate::exec::users::rules::{RuleError, name_refused};
use crate::exec::users::{self, Refused, describe, file};
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::state::users::selector::Selector;
use crate::state::users::{DEFAULT_NAME, UserId};
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE};

const GUARDED: u32 = NOSCRIPT | LOADING | STALE | ADMIN | SERVER_WIDE;

pub(super) const SETUSER: Command =
    cmd("setuser", -3, GUARDED, category::NONE, NO_KEYS, setuser).hiding(names_and_rules);
pub(super) const DELUSER: Command =
    cmd("deluser", -3, GUARDED, category::NONE, NO_KEYS, deluser).hiding(names_and_rules);
pub(super) const GETUSER: Command =
    cmd("getuser", 3, GUARDED, category::NONE, NO_KEYS, getuser).hiding(names_and_rules);
pub(super) const LIST: Command = cmd("list", 2, GUARDED, category::NONE, NO_KEYS, list);
pub(super) const USERS: Command = cmd("users", 2, GUARDED, category::NONE, NO_KEYS, users);
pub(super) const LOAD: Command = cmd("load", 2, GUARDED, category::NONE, NO_KEYS, load);
pub(super) const SAVE: Command = cmd("save", 2, GUARDED, category::NONE, NO_KEYS, save);

/// Short forms.
pub static SHORT_FORMS: Family = Family {
    group: "server",
    acl: category::NONE,
    commands: &[
        cmd("adduser", -3, GUARDED, category::NONE, NO_KEYS, add_user).hiding(all),
        cmd("deluser", 2, GUARDED, category::NONE, NO_KEYS, delete_user).hiding(all),
        cmd("listusers", 1, GUARDED, category::NONE, NO_KEYS, list_users),
    ],
};

/// Who the users are is nobody's business who reads a log.
fn names_and_rules(_: Argv<'_>, i: usize) -> bool {
    i >= 2
}

fn all(_: Argv<'_>, _: usize) -> bool {
    true
}

/// The words for a rule that cannot be.
fn refusal(refused: &Refused) -> CmdError {
    if refused.why == RuleError::Unmatched {
        let text = "ERR Unmatched parenthesis in acl selector starting at '";
        return CmdError::showing(text, &refused.rule, "'.");
    }
    CmdError::showing(
        "ERR Error in ACL SETUSER modifier '",
        &refused.rule,
        &format!("': {}", refused.why.text()),
    )
}

/// Makes a user as these rules say, and sees to it that the change is kept.
fn set(ctx: &mut Ctx<'_>, name: &[u8], rules: &[&[u8]]) -> Result<UserId, CmdError> {
    if let Some(why) = name_refused(name) {
        return Err(CmdError::owned(format!("ERR {why}")));
    }
    let was = users::is_kept(ctx.state, name);
    let set = users::set(ctx.state, ctx.table, name, rules);
    let id = set.map_err(|refused| refusal(&refused))?;
    users::log_change(ctx.state, name, was);
    Ok(id)
}

/// Takes a user away, and sees to it that it stays away. Was there one?
fn remove(ctx: &mut Ctx<'_>, name: &[u8]) -> bool {
    let was = users::is_kept(ctx.state, name);
    let gone = ctx.state.remove_user(name);
    users::log_change(ctx.state, name, was);
    gone
}

fn setuser(ctx: &mut Ctx<'_>) -> CmdResult {
    let rules: Vec<&[u8]> = ctx.argv.from(3).iter().collect();
    if let Some(waits) = login::prepare(ctx, ctx.arg(2), &rules) {
        return waits;
    }
    set(ctx, ctx.arg(2), &rules)?;
    ctx.ok()
}

fn deluser(ctx: &mut Ctx<'_>) -> CmdResult {
    let names: Vec<&[u8]> = ctx.argv.from(2).iter().collect();
    if names.contains(&DEFAULT_NAME) {
        return Err(CmdError::new("ERR The 'default' user cannot be removed"));
    }
    let gone = names.iter().filter(|name| remove(ctx, name)).count();
    ctx.int(gone as i64)
}

fn getuser(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &*ctx.state;
    let Some(id) = state.users.find(ctx.arg(2)) else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };
    let user = state.users.get(id);
    let group = describe::group(user, &state.groups);
    let dbs = describe::databases(user.root());
    let extra = [group.is_some(), user.expires.is_some(), dbs.is_some()];
    let out = &mut *ctx.out;
    out.map(6 + extra.iter().filter(|shown| **shown).count());
    out.bulk(b"flags");
    let flags = describe::flags(user);
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(user.passwords.len());
    for hash in &user.passwords {
        out.bulk(hash.text().as_bytes());
    }
    show_selector(out, user.root());
    out.bulk(b"selectors");
    out.array(user.selectors.len() - 1);
    for selector in &user.selectors[1..] {
        let dbs = describe::databases(selector);
        out.map(3 + usize::from(dbs.is_some()));
        show_selector(out, selector);
        show_databases(out, dbs);
    }
    // What Redis has no word for is shown only where it was said.
    show_databases(out, dbs);
    if let Some(group) = group {
        out.bulk(b"group");
        out.bulk(group.as_bytes());
    }
    if let Some(at) = user.expires {
        out.bulk(b"expires");
        out.int(at);
    }
    Ok(Outcome::Done)
}

fn show_selector(out: &mut Writer, selector: &Selector) {
    out.bulk(b"commands");
    out.bulk(&describe::commands(&selector.commands));
    out.bulk(b"keys");
    out.bulk(&describe::keys(selector));
    out.bulk(b"channels");
    out.bulk(&describe::channels(selector));
}

fn show_databases(out: &mut Writer, dbs: Option<Vec<u8>>) {
    if let Some(dbs) = dbs {
        out.bulk(b"databases");
        out.bulk(&dbs);
    }
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &*ctx.state;
    ctx.out.array(state.users.len());
    for (_, user) in state.users.iter() {
        ctx.out.bulk(&describe::line(user, &state.groups));
    }
    Ok(Outcome::Done)
}

fn users(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &*ctx.state;
    ctx.out.array(state.users.len());
    for (_, user) in state.users.iter() {
        ctx.out.bulk(&user.name);
    }
    Ok(Outcome::Done)
}

const NO_FILE: CmdError = CmdError::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via \
     the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration \
     file set) in order to store users in the Redis configuration.",
);

fn load(ctx: &mut Ctx<'_>) -> CmdResult {
    if file::path(ctx.state).is_none() {
        return Err(NO_FILE);
    }
    let new = file::new_passwords(ctx.state);
    let new: Vec<&[u8]> = new.iter().map(|rule| rule.as_slice()).collect();
    if let Some(waits) = login::prepare(ctx, b"", &new) {
        return waits;
    }
    match file::load(ctx.state, ctx.table) {
        Ok(()) => ctx.ok(),
        Err(errors) => {
            log::warn!("ACL LOAD: {errors}");
            Err(CmdError::owned(format!("ERR {errors}")))
        }
    }
}

fn save(ctx: &mut Ctx<'_>) -> CmdResult {
    if file::path(ctx.state).is_none() {
        return Err(NO_FILE);
    }
    match file::save(ctx.state) {
        Ok(()) => ctx.ok(),
        Err(error) => {
            log::warn!("Saving the ACL file: {error}");
            Err(CmdError::new(
                "ERR There was an error trying to save the ACLs. Please check the server logs for \
                 more information",
            ))
        }
    }
}

/// `ADDUSER name password [group]`: a user who may do everything in its group. Where there is one of this
/// name and no group is said, it is let in with this password alone, and is otherwise what it was: nobody gets
/// rights that were not asked for.
fn add_user(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc() > 4 {
        return Err(wrong_arity("adduser"));
    }
    let password = [b">", ctx.arg(2)].concat();
    let group = (ctx.argc() == 4).then(|| [b"group:", ctx.arg(3)].concat());
    let known = ctx.state.users.find(ctx.arg(1)).is_some();
    let mut rules: Vec<&[u8]> = match known && group.is_none() {
        true => vec![b"resetpass", b"on", &password],
        false => vec![b"reset", b"on", &password, b"~*", b"&*", b"+@all"],
    };
    rules.extend(group.as_deref());
    if let Some(waits) = login::prepare(ctx, ctx.arg(1), &rules) {
        return waits;
    }
    match set(ctx, ctx.arg(1), &rules) {
        Ok(_) => ctx.ok(),
        Err(_) if group.is_some() && ctx.state.groups.find(ctx.arg(3)).is_none() => {
            let text = "ERR There is no group '";
            Err(CmdError::showing(
                text,
                ctx.arg(3),
                "'. GROUP CREATE makes one.",
            ))
        }
        Err(error) => Err(error),
    }
}

/// `DELUSER name`.
fn delete_user(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = ctx.arg(1);
    if name == DEFAULT_NAME {
        return Err(CmdError::new("ERR The 'default' user cannot be removed"));
    }
    if !remove(ctx, name) {
        return Err(CmdError::showing("ERR There is no user '", name, "'"));
    }
    ctx.ok()
}

/// `LISTUSERS`: a line for each user with its group.
fn list_users(ctx: &mut Ctx<'_>) -> CmdResult {
    let state = &*ctx.state;
    ctx.out.array(state.users.len());
    for (_, user) in state.users.iter() {
        let group = describe::group(user, &state.groups).unwrap_or("default");
        let line = [b"user=", &*user.name, b" group=", group.as_bytes()].concat();
        ctx.out.bulk(&line);
    }
    Ok(Outcome::Done)
}
