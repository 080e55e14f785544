//! GROUP: who shares the server without seeing one another's data.
//!
//! What a group is says `state::groups`. The log gets these requests in a form that a server without groups
//! takes for an ECHO: its data are the same afterwards, in databases with higher numbers.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::state::groups::{Group, GroupId, Plan, Quotas};
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE, WRITE};

/// What changes groups changes what a file holds.
const CHANGES: u32 = WRITE | ADMIN | NOSCRIPT | SERVER_WIDE;
const SHOWS: u32 = ADMIN | NOSCRIPT | LOADING | STALE | SERVER_WIDE;

const SUBS: &[Command] = &[
    cmd("create", -3, CHANGES, acl::NONE, NO_KEYS, create),
    cmd("del", -3, CHANGES, acl::NONE, NO_KEYS, del),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd("info", 3, SHOWS, acl::NONE, NO_KEYS, info),
    cmd("list", 2, SHOWS, acl::NONE, NO_KEYS, list),
    cmd("set", -5, CHANGES, acl::NONE, NO_KEYS, set),
];

/// GROUP.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("group", -2, 0, acl::NONE, SUBS)],
};

const DEFAULT_STAYS: CmdError = CmdError::new("ERR the default group cannot be deleted");
const DEFAULT_IS_FREE: CmdError = CmdError::new(
    "ERR the default group has no quotas: maxmemory, maxclients and the like limit the server",
);

fn refused(why: String) -> CmdError {
    CmdError::owned(format!("ERR {why}"))
}

/// The group that an argument names.
fn named(ctx: &Ctx<'_>, at: usize) -> Result<GroupId, CmdError> {
    let name = ctx.arg(at);
    let found = ctx.state.groups.find(name);
    found.ok_or_else(|| {
        let shown = name[..name.len().min(64)].escape_ascii();
        refused(format!("no such group '{shown}'"))
    })
}

/// GROUP CREATE name [QUOTA field value ..]
fn create(ctx: &mut Ctx<'_>) -> CmdResult {
    let words: Vec<&[u8]> = ctx.argv.from(2).iter().collect();
    let of_file = ctx.mode == Mode::Replay;
    let plan = Plan::parse(&words, of_file).map_err(refused)?;
    if of_file {
        ctx.state.restore_group(&plan).map_err(refused)?;
        return ctx.ok();
    }
    let id = ctx.state.create_group(&plan).map_err(refused)?;
    ctx.state.dirty += 1;
    propagate_group(ctx, id);
    log::info!("Group '{}' created, number {}", plan.name, id.0);
    ctx.ok()
}

/// What makes this group as it is now goes into the log.
fn propagate_group(ctx: &mut Ctx<'_>, id: GroupId) {
    let state = &mut *ctx.state;
    let (count, Some(group)) = (state.dbs.count(), state.groups.get(id)) else {
        return;
    };
    let words = Plan::words(group);
    let mut argv: Vec<&[u8]> = vec![b"GROUP", b"CREATE"];
    argv.extend(words.iter().map(String::as_bytes));
    state.prop.replace_databases(count);
    state.prop.also_carried(&argv);
}

/// GROUP DEL name [FORCE]
fn del(ctx: &mut Ctx<'_>) -> CmdResult {
    let force = match ctx.argc() {
        3 => false,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"force") => true,
        _ => return Err(SYNTAX),
    };
    let group = named(ctx, 2)?;
    if group.is_default() {
        return Err(DEFAULT_STAYS);
    }
    let state = &mut *ctx.state;
    let keys = state.dbs.keys_in(state.dbs_of(group));
    let users = state.users_of(group);
    let name = state.groups.name(group).to_owned();
    if !force && keys + users > 0 {
        return Err(refused(format!(
            "group '{name}' has {keys} keys and {users} users: say FORCE to delete them with it"
        )));
    }
    let filled = state.filled_dbs(group);
    state.delete_group(group);
    state.dirty += keys as u64 + 1;
    // Also for those who know no groups.
    ctx.propagate_nothing();
    for db in filled {
        ctx.state.prop.push_own(db, &[b"FLUSHDB"]);
    }
    let argv: [&[u8]; 4] = [b"GROUP", b"DEL", name.as_bytes(), b"FORCE"];
    ctx.state.prop.replace_carried(&argv);
    if ctx.mode != Mode::Replay {
        log::info!("Group '{name}' deleted, with {keys} keys and {users} users");
    }
    ctx.ok()
}

/// GROUP SET name field value ..
fn set(ctx: &mut Ctx<'_>) -> CmdResult {
    let group = named(ctx, 2)?;
    if group.is_default() {
        return Err(DEFAULT_IS_FREE);
    }
    let words: Vec<&[u8]> = ctx.argv.from(3).iter().collect();
    let known = ctx.state.groups.get(group);
    let mut quotas = known.map_or_else(Quotas::default, |group| group.quotas);
    quotas.set_all(&words).map_err(refused)?;
    ctx.state.set_quotas(group, quotas);
    ctx.state.dirty += 1;
    propagate_group(ctx, group);
    ctx.ok()
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.state.groups.len());
    for group in ctx.state.groups.iter() {
        ctx.out.bulk(group.name.as_bytes());
    }
    Ok(Outcome::Done)
}

/// GROUP INFO name
fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    let id = named(ctx, 2)?;
    let (state, out) = (&*ctx.state, &mut *ctx.out);
    let Some(group) = state.groups.get(id) else {
        return Ok(Outcome::Done);
    };
    let dbs = state.dbs_of(id);
    let (mut keys, mut expires) = (0, 0);
    for (_, db) in state.dbs.iter_in(dbs.clone()) {
        keys += db.len();
        expires += db.expires();
    }
    let figures = [
        ("id", id.0 as usize),
        ("first-database", dbs.start),
        ("databases", dbs.len()),
        ("users", state.users_of(id)),
        ("clients", group.clients as usize),
        ("keys", keys),
        ("expires", expires),
    ];
    let use_of = use_of(group);
    out.map(figures.len() + 2 + use_of.len());
    out.bulk(b"name");
    out.bulk(group.name.as_bytes());
    for (name, value) in figures.iter().chain(&use_of) {
        out.bulk(name.as_bytes());
        out.int(*value as i64);
    }
    out.bulk(b"quotas");
    out.map(Quotas::FIELDS.len());
    for field in Quotas::FIELDS {
        out.bulk(field.as_bytes());
        let shown = group.quotas.shown(field);
        match shown.parse() {
            Ok(number) => out.int(number),
            Err(_) => out.bulk(shown.as_bytes()),
        }
    }
    Ok(Outcome::Done)
}

/// What the group uses, and what it was refused.
fn use_of(_: &Group) -> Vec<(&'static str, usize)> {
    Vec::new()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CREATE <name> [QUOTA <field> <value> [<field> <value> ...]]",
        "    Make a group: databases of its own, whose data only its users see.",
        "    Quotas are bytes, keys, clients, ops (requests a second) and output (bytes that its",
        "    clients have not read yet), 0 for no limit, and policy, which is noeviction or",
        "    what maxmemory-policy can be.",
        "DEL <name> [FORCE]",
        "    Delete a group. FORCE: with its keys and users; its clients are disconnected.",
        "INFO <name>",
        "    Show what a group has and may have.",
        "LIST",
        "    Show the names of all groups.",
        "SET <name> <field> <value> [<field> <value> ...]",
        "    Change quotas of a group.",
    ])
}
