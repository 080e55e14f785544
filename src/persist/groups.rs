//! Groups in files: what a file says of them besides their keys, which lie in databases with high numbers.
//!
//! A snapshot has facts about itself that servers skip which do not know them, and a log of changes has ECHO
//! with an argument that means nothing to others: a server without groups reads both and has each group's keys
//! in a range of databases. What is said is the same in both, and comes from [`tell`] alone.
//!
//! Users of groups are data like their keys; those of the default group are configuration. Where the
//! configuration has a user of the same name, it wins.
use crate::base::num::parse_i64;
use crate::codec::{Commands, Sink};
use crate::exec::call::{call, replay};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::CmdError;
use crate::exec::registry::Registry;
use crate::exec::users;
use crate::persist::rdb::write::write_aux;
use crate::resp::reply::Writer;
use crate::resp::request::{Argv, Limits, OwnedArgv, Resume, Span, Step, parse};
use crate::state::State;
use crate::state::client::ClientId;
use crate::state::groups::{GroupId, Plan};
pub use crate::state::prop::CARRIED_MARK;
use crate::state::prop::{Carried, carried, told_databases};

/// Names of facts.
pub const DATABASES: &str = "redvault-databases";
pub const GROUP: &str = "redvault-group";
pub const USER: &str = "redvault-user";
pub const LIBRARY: &str = "redvault-library";

/// What a file says of groups.
pub enum Told<'a> {
    /// How many databases each group has, in front of everything else.
    Databases(usize),
    /// A group: the words behind GROUP CREATE.
    Group(&'a [String]),
    /// A user of a group: the words behind ACL SETUSER.
    User(&'a [Vec<u8>]),
    /// The code of a library of functions.
    Library(GroupId, &'a [u8]),
}

/// Tells all there is; nothing where there are no groups.
pub fn tell(state: &State, told: &mut dyn FnMut(Told<'_>)) {
    if !state.groups.exist() {
        return;
    }
    told(Told::Databases(state.dbs.count()));
    for group in state.groups.iter().filter(|group| !group.id.is_default()) {
        told(Told::Group(&Plan::words(group)));
        for (_, code) in state.libraries.of(group.id).iter() {
            told(Told::Library(group.id, code));
        }
    }
    let users = state.users.iter().filter(|(_, user)| users::is_data(user));
    for (_, user) in users {
        told(Told::User(&users::whole_rules(user, &state.groups)));
    }
}

/// As facts of a snapshot.
pub fn write_facts(state: &State, sink: &mut Sink<'_>) {
    tell(state, &mut |told| match told {
        Told::Databases(count) => write_aux(sink, DATABASES, count.to_string().as_bytes()),
        Told::Group(words) => write_aux(sink, GROUP, words.join(" ").as_bytes()),
        Told::User(words) => {
            let mut argv: Vec<&[u8]> = vec![b"ACL", b"SETUSER"];
            argv.extend(words.iter().map(Vec::as_slice));
            write_aux(sink, USER, &carried(&argv));
        }
        Told::Library(group, code) => {
            let text = [group.0.to_string().as_bytes(), b":", code].concat();
            write_aux(sink, LIBRARY, &text);
        }
    });
}

/// As commands of a log.
pub fn write_commands(state: &State, out: &mut Commands<'_, '_>) {
    let mut echo = |text: &[u8]| {
        out.command("ECHO", 1);
        out.bulk(text);
    };
    let mut told_dbs = Vec::new();
    tell(state, &mut |told| match told {
        Told::Databases(count) => echo(&told_databases(count)),
        Told::Group(words) => {
            let mut argv: Vec<&[u8]> = vec![b"GROUP", b"CREATE"];
            argv.extend(words.iter().map(String::as_bytes));
            echo(&carried(&argv));
        }
        Told::User(words) => {
            let mut argv: Vec<&[u8]> = vec![b"ACL", b"SETUSER"];
            argv.extend(words.iter().map(Vec::as_slice));
            echo(&carried(&argv));
        }
        Told::Library(group, code) => told_dbs.push((group, code.to_vec())),
    });
    for (group, code) in told_dbs {
        out.command("SELECT", 1);
        out.uint(state.first_db(group) as u64);
        out.command("ECHO", 1);
        out.bulk(&carried(&[b"FUNCTION", b"LOAD", &code]));
    }
}

/// How many databases each group has, as a file says it.
pub fn count_of_file(text: &[u8]) -> Result<usize, String> {
    let count = parse_i64(text).and_then(|count| i32::try_from(count).ok());
    let count = count.and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| "a number of databases that cannot be".to_owned())
}

/// A group as a snapshot tells of it.
pub fn restore(state: &mut State, text: &[u8]) -> Result<(), String> {
    let words: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
    let plan = Plan::parse(&words, true)?;
    state.restore_group(&plan)
}

/// Files are about to be loaded: nothing is known of them yet.
pub fn begin(state: &mut State) {
    state.groups.file_databases = 0;
    state.groups.stream_databases = 0;
}

/// The users that a snapshot told of.
pub fn restore_users(state: &mut State, table: &Registry, users: &[Vec<u8>]) -> Result<(), String> {
    let me = state.open_loader_session();
    let run = |text: &Vec<u8>| match Carried::read(text) {
        Some(Carried::Request(request)) => run_carried(state, table, (me, 0), request, false),
        _ => Err("it is no request".to_owned()),
    };
    let done = users.iter().try_for_each(run);
    state.end_session(me);
    done
}

/// No argument is too long for a file that a server has written.
const LIMITS: Limits = Limits {
    bulk_len_max: u32::MAX as u64,
    multibulk_max: i32::MAX as i64,
    inline_max: 0,
    authenticated: true,
};

/// Requests that files may carry: they make groups, and what groups have besides keys. With how many words
/// each has at least.
const CARRIED: &[(&str, usize)] = &[
    ("group|create", 3),
    ("group|del", 3),
    ("acl|setuser", 3),
    ("acl|deluser", 3),
    ("function|load", 3),
    ("function|delete", 3),
    ("function|flush", 2),
    ("function|restore", 3),
];

/// A request that a file carried, taken apart. What goes wrong is told without its arguments: there are
/// passwords among them, and the code of tenants.
struct Request {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    name: &'static str,
}

impl Request {
    fn read(request: &[u8]) -> Result<Request, String> {
        let (mut bytes, mut at, mut spans) = (request.to_vec(), 0, Vec::new());
        let resume = &mut Resume::default();
        let step = parse(&mut bytes, &mut at, resume, &LIMITS, &mut spans);
        if step != Step::Request || at != bytes.len() {
            return Err("it is no request".to_owned());
        }
        let argv = Argv::new(&bytes, &spans);
        let is_called = |(name, _): &&(&str, usize)| {
            let (first, second) = name.split_once('|').unwrap_or_default();
            argv.len() > 1
                && argv.get(0).eq_ignore_ascii_case(first.as_bytes())
                && argv.get(1).eq_ignore_ascii_case(second.as_bytes())
        };
        let Some((name, least)) = CARRIED.iter().find(is_called) else {
            return Err("it is nothing that makes one".to_owned());
        };
        if argv.len() < *least {
            return Err(format!("'{name}' has too few arguments"));
        }
        Ok(Request { bytes, spans, name })
    }
}

/// Is this the argument of an ECHO that a server with groups can run? Also right is one that says nothing to
/// such a server.
pub fn check_carried(text: &[u8]) -> Result<(), String> {
    match Carried::read(text) {
        None => Ok(()),
        Some(Carried::Databases(count)) => count_of_file(count).map(drop),
        Some(Carried::Request(request)) => Request::read(request).map(drop),
    }
}

/// Does this request concern the group whose database is selected? Groups and users are nobody's.
pub fn concerns_group(request: &[u8]) -> bool {
    Request::read(request).is_ok_and(|request| request.name.starts_with("function|"))
}

/// What a handler says of a request, without what it shows of the arguments.
fn reason(name: &str, error: &CmdError) -> String {
    let text = String::from_utf8_lossy(error.text());
    let text = text.strip_prefix("ERR ").unwrap_or(&text);
    match name {
        // Of rules only those are shown that are no passwords.
        "acl|setuser" => match text.split_once("modifier '") {
            Some((_, rule)) if !rule.starts_with(['+', '-', '~', '%', '&']) => {
                "one of its rules is not understood".to_owned()
            }
            _ => text.to_owned(),
        },
        _ if name.starts_with("function|") => {
            format!("'{name}' failed: a library is not understood")
        }
        _ => text.to_owned(),
    }
}

/// Files of the first servers with groups have several rules of a user in one argument.
fn rules_one_by_one(argv: Argv<'_>) -> OwnedArgv {
    let words = argv.iter().enumerate().flat_map(|(i, word)| {
        let joined = i >= 3 && !word.starts_with(b"(");
        word.split(move |b| joined && *b == b' ')
    });
    words.collect()
}

/// Runs a request that a file or, `logged`, a primary's stream carried, in this database.
pub fn run_carried(
    state: &mut State,
    table: &Registry,
    (me, db): (ClientId, usize),
    request: &[u8],
    logged: bool,
) -> Result<(), String> {
    let request = Request::read(request)?;
    let (argv, name) = (Argv::new(&request.bytes, &request.spans), request.name);
    // Whatever it was renamed to: servers write the names of Redis.
    let row = table.find_original(name.as_bytes());
    let row = row.filter(|row| row.cmd.takes(argv.len()));
    let row = row.ok_or_else(|| format!("'{name}' has the wrong number of arguments"))?;
    // The configuration's users are as it says. Every request about users names one.
    if name.starts_with("acl|") {
        let known = state.users.find(argv.get(2));
        if known.is_some_and(|user| state.users.get(user).configured) {
            return Ok(());
        }
    }
    let mut out = Writer::new(false);
    let spread = (name == "acl|setuser").then(|| rules_one_by_one(argv));
    let mut ctx = Ctx {
        state,
        table,
        argv: spread.as_ref().map_or(argv, OwnedArgv::argv),
        out: &mut out,
        me,
        db,
        mode: Mode::Replay,
        id: row.id,
    };
    if logged {
        call(&mut ctx, row);
        let reply = out.head();
        return match reply.strip_prefix(b"-") {
            Some(text) => Err(String::from_utf8_lossy(text).trim_end().to_owned()),
            None => Ok(()),
        };
    }
    replay(&mut ctx, row).map_err(|error| reason(name, &error))
}
