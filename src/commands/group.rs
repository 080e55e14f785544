//! GROUP: who shares the server without seeing one another's data.
//!
//! What a group is says `state::groups`. The log gets these requests in a form that a server without groups
//! takes for an ECHO: its data are the same afterwards, in databases with higher numbers.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::groups::{Group, GroupId, Plan, Quotas};
use crate::state::quota::Limit;
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
    let libraries = state.libraries.of(group).len();
    if !force && keys + users + libraries > 0 {
        return Err(refused(format!(
            "group '{name}' has {keys} keys, {users} users and {libraries} function libraries: say \
             FORCE to delete them with it"
        )));
    }
    let filled = state.filled_dbs(group);
    state.delete_group(group, ctx.mode == Mode::Replay);
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
    let use_of = use_of(state, group);
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
fn use_of(state: &State, group: &Group) -> Vec<(&'static str, usize)> {
    let refused = |limit: Limit| group.spent.refused[limit as usize] as usize;
    vec![
        ("bytes", state.in_use(group, Limit::Bytes) as usize),
        ("output", state.in_use(group, Limit::Output) as usize),
        ("evicted-keys", group.spent.evicted as usize),
        ("refused-bytes", refused(Limit::Bytes)),
        ("refused-keys", refused(Limit::Keys)),
        ("refused-clients", refused(Limit::Clients)),
        ("refused-ops", refused(Limit::Ops)),
        ("refused-output", refused(Limit::Output)),
    ]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{connection, database, generic, string};
    use crate::exec::testing::Bench;

    fn bench() -> Bench {
        Bench::new(&[
            &FAMILY,
            &connection::FAMILY,
            &database::FAMILY,
            &generic::FAMILY,
            &string::FAMILY,
        ])
    }

    /// The bench's client goes into a group, or back.
    fn enter(bench: &mut Bench, name: &str) {
        let group = bench.state.groups.find(name.as_bytes()).expect("a group");
        let who = bench.state.clients.iter().next().expect("a client").id;
        bench.state.join_group(who, group);
    }

    fn carried(words: &str) -> String {
        let argv: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        let text = crate::state::prop::carried(&argv);
        format!("ECHO {}", String::from_utf8_lossy(&text))
    }

    #[test]
    fn groups_come_change_and_go() {
        let mut bench = bench();
        assert_eq!(bench.ask("group create blue"), "+OK");
        let create = bench.logs("group create red quota keys 5 policy allkeys-lru");
        assert_eq!(create.len(), 4, "{create:?}");
        assert_eq!(create[1], "ECHO redvault:databases 16");
        let all = "bytes 0 keys 5 clients 0 ops 0 output 0 policy allkeys-lru";
        let red = format!("GROUP CREATE red ID 2 QUOTA {all}");
        assert_eq!(create[2], carried(&red));
        assert_eq!(bench.ask("group list"), "*3 $7 default $4 blue $3 red");
        assert_eq!(bench.ask("group set red ops 7 keys 0"), "+OK");
        let info = bench.ask("group info red");
        assert!(
            info.contains("$14 first-database :32 $9 databases :16"),
            "{info}"
        );
        assert!(
            info.contains("$4 keys :0 $7 clients :0 $3 ops :7"),
            "{info}"
        );
        assert!(info.ends_with("$6 policy $11 allkeys-lru"), "{info}");

        for (request, error) in [
            ("group create blue", "group 'blue' already exists"),
            ("group create default", "group 'default' already exists"),
            ("group create a:b", crate::state::groups::BAD_NAME),
            ("group create x quota", "syntax error"),
            (
                "group create x quota keys",
                "each quota is a field and a value",
            ),
            ("group create x id 7", "syntax error"),
            (
                "group set red keys x",
                "quota 'keys' must be a number that is not negative",
            ),
            ("group set green keys 1", "no such group 'green'"),
            ("group del green", "no such group 'green'"),
            ("group del red now", "syntax error"),
        ] {
            assert_eq!(bench.ask(request), format!("-ERR {error}"), "{request}");
        }
        assert!(bench.ask("group del default").contains("cannot be deleted"));
        assert!(
            bench
                .ask("group set default keys 1")
                .contains("has no quotas")
        );

        assert_eq!(bench.ask("group del blue"), "+OK");
        let create = bench.logs("group create green");
        assert_eq!(
            create[2],
            carried("GROUP CREATE green ID 1"),
            "a number that is free"
        );
    }

    #[test]
    fn a_group_has_numbers_of_its_own_and_the_log_has_those_of_all() {
        let mut bench = bench();
        bench.ask("group create blue");
        bench.ask("set k zero");
        enter(&mut bench, "blue");
        assert_eq!(bench.ask("get k"), "$-1");
        assert_eq!(bench.logs("set k one"), ["SELECT 16", "set k one"]);
        assert_eq!(bench.ask("select 16"), "-ERR DB index is out of range");
        assert_eq!(bench.ask("select 3"), "+OK");
        bench.ask("set a 1");
        assert_eq!(
            bench.logs("copy a b db 0 replace")[0],
            "copy a b db 16 replace"
        );
        assert_eq!(bench.logs("move a 15")[0], "move a 31");
        assert_eq!(bench.logs("copy a b").len(), 0, "nothing was copied");
        assert_eq!(bench.logs("swapdb 0 3")[0], "SWAPDB 16 19");
        assert_eq!(bench.ask("swapdb 0 16"), "-ERR DB index is out of range");
        assert_eq!(
            (bench.ask("dbsize"), bench.ask("get k")),
            (":2".into(), "$3 one".into())
        );
        enter(&mut bench, "default");
        assert_eq!(
            bench.ask("get k"),
            "$-1",
            "in the database of the same number"
        );
        bench.ask("select 0");
        assert_eq!(bench.ask("get k"), "$4 zero");
    }

    #[test]
    fn a_group_with_keys_goes_only_by_force_and_its_clients_with_it() {
        let mut bench = bench();
        bench.ask("group create blue");
        let other = bench.state.open_session(crate::state::client::Peer::None);
        bench.state.join_group(other, GroupId(1));
        bench
            .state
            .dbs
            .insert(20, b"k", crate::keyspace::NewValue::Int(1), None);
        let refused = bench.ask("group del blue");
        assert!(
            refused.starts_with("-ERR group 'blue' has 1 keys, 0 users and 0 function"),
            "{refused}"
        );
        let logged = bench.logs("group del blue force");
        assert_eq!(logged[..4], ["SELECT 20", "MULTI", "FLUSHDB", "SELECT 0"]);
        assert_eq!(logged[4], carried("GROUP DEL blue FORCE"));
        assert!(bench.state.closing.contains(&other) && bench.state.dbs.total_keys() == 0);
        assert_eq!(bench.state.group_of_client(other), GroupId::DEFAULT);
        assert_eq!(bench.state.dbs.next_from(16), None, "nothing is left of it");
    }

    #[test]
    fn what_concerns_the_server_is_refused_inside() {
        let mut bench = bench();
        bench.ask("group create blue");
        enter(&mut bench, "blue");
        for request in ["group list", "group create x", "group del default"] {
            assert!(
                bench
                    .ask(request)
                    .starts_with("-NOPERM this command concerns"),
                "{request}"
            );
        }
    }
}
