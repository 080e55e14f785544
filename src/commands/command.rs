//! COMMAND: the rows, as clients and tools see them.
use super::docs;
use crate::base::glob;
use crate::exec::command::{
    Begin, CmdResult, Command, Find, KeyAt, KeySpec, NO_KEYS, Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::keys;
use crate::exec::registry::{Family, Registry, Row};
use crate::resp::reply::Writer;
use flag::{LOADING, STALE};

const OPEN: u32 = LOADING | STALE;

const SUBS: &[Command] = &[
    cmd("count", 2, OPEN, acl::NONE, NO_KEYS, count),
    cmd("docs", -2, OPEN, acl::NONE, NO_KEYS, docs),
    cmd("getkeys", -3, OPEN, acl::NONE, NO_KEYS, getkeys),
    cmd(
        "getkeysandflags",
        -3,
        OPEN,
        acl::NONE,
        NO_KEYS,
        getkeysandflags,
    ),
    cmd("help", 2, OPEN, acl::NONE, NO_KEYS, help),
    cmd("info", -2, OPEN, acl::NONE, NO_KEYS, info),
    cmd("list", -2, OPEN, acl::NONE, NO_KEYS, list),
];

/// Introspection of commands.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::CONNECTION,
    commands: &[cmd("command", -1, OPEN, acl::NONE, NO_KEYS, all).with_subs(SUBS)],
};

const INVALID_COMMAND: CmdError = CmdError::new("ERR Invalid command specified");
const NO_KEY_ARGUMENTS: CmdError = CmdError::new("ERR The command has no key arguments");
const INVALID_COUNT: CmdError =
    CmdError::new("ERR Invalid number of arguments specified for command");
const INVALID_ARGUMENTS: CmdError = CmdError::new("ERR Invalid arguments specified for command");

/// Writes the names of the bits that are set, as a set of simple strings.
fn names(out: &mut Writer, bits: u32, names: &[(u32, &str)], prefix: &str) {
    let shown: Vec<_> = names
        .iter()
        .filter(|(bit, name)| bits & bit != 0 && !name.is_empty())
        .collect();
    out.set(shown.len());
    for (_, name) in shown {
        out.simple(&format!("{prefix}{name}"));
    }
}

/// One element of COMMAND and COMMAND INFO.
fn describe(out: &mut Writer, table: &Registry, row: &Row) {
    let name = table.name(row.id);
    out.array(10);
    out.bulk(name.as_bytes());
    out.int(i64::from(row.cmd.arity));
    names(out, row.cmd.flags, flag::NAMES, "");
    out.int(i64::from(row.cmd.first_key));
    out.int(i64::from(row.cmd.last_key));
    out.int(i64::from(row.cmd.key_step));
    names(out, row.acl, acl::NAMES, "@");
    let doc = docs::find(&own_name(table, row));
    let tips = doc.map_or(&[][..], |doc| &doc.tips);
    out.set(tips.len());
    tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(row.cmd.keys.len());
    for (number, spec) in row.cmd.keys.iter().enumerate() {
        key_spec(out, spec, doc.and_then(|doc| doc.note(number)));
    }
    let subs = table.subs(row);
    match subs.len() {
        0 => out.set(0),
        n => out.array(n),
    }
    subs.iter().for_each(|sub| describe(out, table, sub));
}

/// The name under which docs know a command, whatever it is renamed to.
fn own_name(table: &Registry, row: &Row) -> String {
    if row.parent == row.id {
        row.cmd.name.to_string()
    } else {
        format!("{}|{}", table.row(row.parent).cmd.name, row.cmd.name)
    }
}

fn key_spec(out: &mut Writer, spec: &KeySpec, note: Option<&str>) {
    out.map(3 + usize::from(note.is_some()));
    if let Some(note) = note {
        out.bulk(b"notes");
        out.bulk(note.as_bytes());
    }
    out.bulk(b"flags");
    names(out, spec.flags, key_flag::NAMES, "");
    out.bulk(b"begin_search");
    let (kind, fields): (&str, usize) = match spec.begin {
        Begin::Index(_) => ("index", 1),
        Begin::Keyword(..) => ("keyword", 2),
        Begin::Unknown => ("unknown", 0),
    };
    spec_head(out, kind, fields);
    match spec.begin {
        Begin::Index(at) => number(out, "index", at as i64),
        Begin::Keyword(word, from) => {
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            number(out, "startfrom", i64::from(from));
        }
        Begin::Unknown => {}
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Range { last, step, limit } => {
            spec_head(out, "range", 3);
            number(out, "lastkey", i64::from(last));
            number(out, "keystep", i64::from(step));
            number(out, "limit", i64::from(limit));
        }
        Find::KeyNum { at, first, step } => {
            spec_head(out, "keynum", 3);
            number(out, "keynumidx", at as i64);
            number(out, "firstkey", first as i64);
            number(out, "keystep", step as i64);
        }
        Find::Unknown => spec_head(out, "unknown", 0),
    }
}

fn spec_head(out: &mut Writer, kind: &str, fields: usize) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields);
}

fn number(out: &mut Writer, name: &str, n: i64) {
    out.bulk(name.as_bytes());
    out.int(n);
}

fn all(ctx: &mut Ctx<'_>) -> CmdResult {
    let table = ctx.table;
    ctx.out.array(table.commands().count());
    for row in table.commands() {
        describe(ctx.out, table, row);
    }
    Ok(Outcome::Done)
}

fn count(ctx: &mut Ctx<'_>) -> CmdResult {
    let n = ctx.table.commands().count();
    ctx.int(n as i64)
}

fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc() == 2 {
        return all(ctx);
    }
    let (table, wanted) = (ctx.table, ctx.argv.from(2));
    ctx.out.array(wanted.len());
    for name in wanted.iter() {
        match table.find_full(name) {
            Some(row) => describe(ctx.out, table, row),
            None => ctx.out.null(),
        }
    }
    Ok(Outcome::Done)
}

/// Writes name and docs of a command; false where there are none.
fn document(out: &mut Writer, table: &Registry, row: &Row) -> bool {
    let Some(doc) = docs::find(&own_name(table, row)) else {
        return false;
    };
    out.bulk(table.name(row.id).as_bytes());
    let subs = table.subs(row);
    if subs.is_empty() {
        doc.write(out, None);
        return true;
    }
    let mut write_subs = |out: &mut Writer| {
        let map = out.open();
        let known = subs.iter().filter(|sub| document(out, table, sub)).count();
        out.close_map(map, known);
    };
    doc.write(out, Some(&mut write_subs));
    true
}

fn docs(ctx: &mut Ctx<'_>) -> CmdResult {
    let (table, out) = (ctx.table, &mut *ctx.out);
    let map = out.open();
    let mut known = 0;
    if ctx.argv.len() == 2 {
        for row in table.commands() {
            known += usize::from(document(out, table, row));
        }
    } else {
        for name in ctx.argv.from(2).iter() {
            let row = table.find_full(name);
            known += usize::from(row.is_some_and(|row| document(out, table, row)));
        }
    }
    out.close_map(map, known);
    Ok(Outcome::Done)
}

/// What COMMAND LIST lets through.
enum Only<'a> {
    Category(u32),
    Pattern(&'a [u8]),
    Nothing,
    Everything,
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    let only = match argv.len() {
        2 => Only::Everything,
        5 if argv.get(2).eq_ignore_ascii_case(b"filterby") => {
            let value = argv.get(4);
            match argv.get(3).to_ascii_lowercase().as_slice() {
                b"aclcat" => acl::find(value).map_or(Only::Nothing, Only::Category),
                b"pattern" => Only::Pattern(value),
                // There are no modules, so no command is from one.
                b"module" => Only::Nothing,
                _ => return Err(SYNTAX),
            }
        }
        _ => return Err(SYNTAX),
    };
    let table = ctx.table;
    let lets_through = |row: &&Row| {
        let name = table.name(row.id);
        !name.is_empty()
            && match only {
                Only::Everything => true,
                Only::Nothing => false,
                Only::Category(wanted) => row.acl & wanted != 0,
                Only::Pattern(pattern) => glob::matches(pattern, name.as_bytes(), true),
            }
    };
    let found = || table.rows().iter().filter(lets_through);
    ctx.out.array(found().count());
    for row in found() {
        ctx.out.bulk(table.name(row.id).as_bytes());
    }
    Ok(Outcome::Done)
}

/// The keys of the command that stands behind COMMAND's own words; none where it may have none.
fn keys_of_rest(ctx: &Ctx<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let (table, argv) = (ctx.table, ctx.argv.from(2));
    let mut row = table.find(argv.get(0)).ok_or(INVALID_COMMAND)?;
    if row.cmd.is(flag::CONTAINER) || (!row.cmd.subs.is_empty() && argv.len() > 1) {
        if argv.len() < 2 {
            return Err(INVALID_COMMAND);
        }
        row = table.find_sub(row, argv.get(1)).ok_or(INVALID_COMMAND)?;
    }
    if !keys::has_keys(row.cmd) {
        return Err(NO_KEY_ARGUMENTS);
    }
    if !row.cmd.takes(argv.len()) {
        return Err(INVALID_COUNT);
    }
    let found = keys::find(row.cmd, argv).unwrap_or_default();
    if found.is_empty() && !row.cmd.is(flag::NO_MANDATORY_KEYS) {
        return Err(INVALID_ARGUMENTS);
    }
    Ok(found)
}

fn getkeys(ctx: &mut Ctx<'_>) -> CmdResult {
    let found = keys_of_rest(ctx)?;
    ctx.out.array(found.len());
    for key in found {
        let key = ctx.arg(2 + key.at);
        ctx.out.bulk(key);
    }
    Ok(Outcome::Done)
}

fn getkeysandflags(ctx: &mut Ctx<'_>) -> CmdResult {
    let found = keys_of_rest(ctx)?;
    ctx.out.array(found.len());
    for key in found {
        let name = ctx.arg(2 + key.at);
        ctx.out.array(2);
        ctx.out.bulk(name);
        names(ctx.out, key.flags, key_flag::NAMES, "");
    }
    Ok(Outcome::Done)
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "(no subcommand)",
        "    Describe all commands.",
        "COUNT",
        "    Number of commands.",
        "DOCS [<command-name> ...]",
        "    Documentation of the commands named, or of all.",
        "GETKEYS <full-command>",
        "    The keys in a command.",
        "GETKEYSANDFLAGS <full-command>",
        "    The keys in a command, each with how it is used.",
        "INFO [<command-name> ...]",
        "    Describe the commands named, or all.",
        "LIST [FILTERBY (MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>)]",
        "    Names of all commands, or of those that the filter leaves.",
    ])
}
