//! CLIENT: what clients say about themselves and do to each other.
//!
//! Another client is never touched from here: KILL and UNBLOCK mark it, the server sees to it behind
//! this command's reply.
use super::client_list::{Filter, describe};
use super::client_tracking;
use super::connection::{BAD_NAME, plain_text};
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, subcommand_syntax};
use crate::exec::registry::Family;
use crate::exec::unit;
use crate::state::client::{ClientId, ReplyMode, client_flag};
use crate::state::gate;
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE};

const OPEN: u32 = NOSCRIPT | LOADING | STALE;

#[rustfmt::skip]
const SUBS: &[Command] = &[
    cmd("caching", 3, OPEN, acl::NONE, NO_KEYS, client_tracking::caching),
    cmd("capa", -3, OPEN, acl::NONE, NO_KEYS, capa),
    cmd("getname", 2, OPEN, acl::NONE, NO_KEYS, getname),
    cmd("getredir", 2, OPEN, acl::NONE, NO_KEYS, client_tracking::getredir),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd("id", 2, OPEN, acl::NONE, NO_KEYS, id),
    cmd("info", 2, OPEN, acl::NONE, NO_KEYS, info),
    cmd("kill", -3, OPEN | ADMIN, acl::NONE, NO_KEYS, kill),
    cmd("list", -2, OPEN | ADMIN, acl::NONE, NO_KEYS, list),
    cmd("no-evict", 3, OPEN | ADMIN | SERVER_WIDE, acl::NONE, NO_KEYS, no_evict),
    cmd("no-touch", 3, OPEN, acl::NONE, NO_KEYS, no_touch),
    cmd("pause", -3, OPEN | ADMIN | SERVER_WIDE, acl::NONE, NO_KEYS, pause),
    cmd("reply", 3, OPEN, acl::NONE, NO_KEYS, reply),
    cmd("setinfo", 4, OPEN, acl::NONE, NO_KEYS, setinfo),
    cmd("setname", 3, OPEN, acl::NONE, NO_KEYS, setname),
    cmd("tracking", -3, OPEN, acl::NONE, NO_KEYS, client_tracking::tracking),
    cmd("trackinginfo", 2, OPEN, acl::NONE, NO_KEYS, client_tracking::trackinginfo),
    cmd("unblock", -3, OPEN | ADMIN, acl::NONE, NO_KEYS, unblock),
    cmd("unpause", 2, OPEN | ADMIN | SERVER_WIDE, acl::NONE, NO_KEYS, unpause),
];

/// Clients.
pub static FAMILY: Family = Family {
    group: "connection",
    acl: acl::CONNECTION,
    commands: &[container("client", -2, 0, acl::NONE, SUBS)],
};

const NO_SUCH_CLIENT: CmdError = CmdError::new("ERR No such client");
const TIMEOUT_NOT_INTEGER: CmdError =
    CmdError::new("ERR timeout is not an integer or out of range");
const TIMEOUT_NEGATIVE: CmdError = CmdError::new("ERR timeout is negative");
const PAUSE_MODE: CmdError = CmdError::new("ERR CLIENT PAUSE mode must be WRITE or ALL");
const UNBLOCK_REASON: CmdError =
    CmdError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// ON or OFF.
fn on_off(word: &[u8]) -> Result<bool, CmdError> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(SYNTAX),
    }
}

fn id(ctx: &mut Ctx<'_>) -> CmdResult {
    let serial = ctx.me.serial;
    ctx.int(serial as i64)
}

fn info(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut line = String::new();
    if let Some(client) = ctx.state.clients.get(ctx.me) {
        let viewer = client.group;
        describe(
            ctx.state,
            ctx.table,
            client,
            viewer,
            Some(ctx.argv),
            &mut line,
        );
    }
    line.push('\n');
    ctx.out.verbatim("txt", line.as_bytes());
    Ok(Outcome::Done)
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let filter = Filter::parse_list(ctx.argv.from(2), (&ctx.state.users, ctx.group()))?;
    let skip_me = filter.skip_me.unwrap_or(false);
    let viewer = ctx.group();
    let state = &*ctx.state;
    let now_ms = state.clock.unix_ms;
    let mut found: Vec<_> = state
        .clients
        .iter()
        .filter(|client| {
            // Who is as good as gone is not shown: how soon it is closed is no fact to rely on.
            !client.has(client_flag::CLOSE_NOW)
                && client.is_shown_to(viewer)
                && filter.matches(state, client, now_ms)
                && !(skip_me && client.id == ctx.me)
        })
        .collect();
    // Slots are used again; the order shown is that of arrival, or the one asked for.
    match filter.wanted_ids() {
        None => found.sort_unstable_by_key(|client| client.id.serial),
        Some(ids) => found.sort_by_key(|client| {
            ids.iter()
                .position(|id| *id == client.id.serial)
                .unwrap_or(usize::MAX)
        }),
    }
    let mut lines = String::new();
    for client in found {
        let running = (client.id == ctx.me).then_some(ctx.argv);
        describe(state, ctx.table, client, viewer, running, &mut lines);
        lines.push('\n');
    }
    ctx.out.verbatim("txt", lines.as_bytes());
    Ok(Outcome::Done)
}

/// Closes these clients; the caller only when its reply is out.
fn close_all(ctx: &mut Ctx<'_>, doomed: &[ClientId]) {
    for who in doomed {
        if *who == ctx.me {
            ctx.client().flags |= client_flag::CLOSE_AFTER_REPLY;
        } else {
            ctx.state.close_client(*who);
        }
    }
}

fn kill(ctx: &mut Ctx<'_>) -> CmdResult {
    let now_ms = ctx.state.clock.unix_ms;
    let viewer = ctx.group();
    if ctx.argc() == 3 {
        let wanted = ctx.arg(2);
        let found = ctx
            .state
            .clients
            .iter()
            .filter(|client| client.is_shown_to(viewer))
            .find(|client| client.peer_text().as_bytes() == wanted)
            .map(|client| client.id);
        close_all(ctx, &[found.ok_or(NO_SUCH_CLIENT)?]);
        return ctx.ok();
    }
    let filter = Filter::parse_kill(ctx.argv.from(2), (&ctx.state.users, ctx.group()))?;
    let skip_me = filter.skip_me.unwrap_or(true);
    let state = &*ctx.state;
    let doomed: Vec<ClientId> = state
        .clients
        .iter()
        .filter(|client| !client.has(client_flag::CLOSE_NOW) && client.is_shown_to(viewer))
        .filter(|client| filter.matches(state, client, now_ms))
        .map(|client| client.id)
        .filter(|who| !(skip_me && *who == ctx.me))
        .collect();
    close_all(ctx, &doomed);
    ctx.int(doomed.len() as i64)
}

fn getname(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = ctx.state.clients.me(ctx.me).name();
    if name.is_empty() {
        ctx.out.null();
    } else {
        ctx.out.bulk(name);
    }
    Ok(Outcome::Done)
}

fn setname(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = ctx.arg(2);
    if !plain_text(name) {
        return Err(BAD_NAME);
    }
    ctx.client().set_name(name);
    ctx.ok()
}

fn setinfo(ctx: &mut Ctx<'_>) -> CmdResult {
    let (attribute, value) = (ctx.arg(2), ctx.arg(3));
    let is_name = attribute.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !attribute.eq_ignore_ascii_case(b"lib-ver") {
        let text = "ERR Unrecognized option '";
        return Err(CmdError::showing(text, attribute, "'"));
    }
    if !plain_text(value) {
        let attribute = if is_name { "lib-name" } else { "lib-ver" };
        return Err(CmdError::owned(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        )));
    }
    let client = ctx.client();
    if is_name {
        client.set_lib_name(value);
    } else {
        client.set_lib_ver(value);
    }
    ctx.ok()
}

fn no_evict(ctx: &mut Ctx<'_>) -> CmdResult {
    let on = on_off(ctx.arg(2))?;
    let client = ctx.client();
    client.flags &= !client_flag::NO_EVICT;
    if on {
        client.flags |= client_flag::NO_EVICT;
    }
    ctx.ok()
}

fn no_touch(ctx: &mut Ctx<'_>) -> CmdResult {
    let on = on_off(ctx.arg(2))?;
    let client = ctx.client();
    client.flags &= !client_flag::NO_TOUCH;
    client.gate &= !gate::NO_TOUCH;
    if on {
        client.flags |= client_flag::NO_TOUCH;
        client.gate |= gate::NO_TOUCH;
    }
    ctx.ok()
}

fn pause(ctx: &mut Ctx<'_>) -> CmdResult {
    let all = match ctx.argc() {
        3 => true,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"all") => true,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"write") => false,
        4 => return Err(PAUSE_MODE),
        _ => return Err(subcommand_syntax(ctx.arg(1), "CLIENT")),
    };
    let timeout_ms = parse_i64(ctx.arg(2)).ok_or(TIMEOUT_NOT_INTEGER)?;
    if timeout_ms < 0 {
        return Err(TIMEOUT_NEGATIVE);
    }
    let now_ms = ctx.state.clock.unix_ms;
    let until_ms = now_ms.checked_add(timeout_ms).ok_or(TIMEOUT_NOT_INTEGER)?;
    ctx.state.pause_clients(until_ms, all);
    ctx.ok()
}

fn unpause(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.unpause_clients();
    ctx.ok()
}

fn reply(ctx: &mut Ctx<'_>) -> CmdResult {
    let word = ctx.arg(2).to_ascii_lowercase();
    let client = ctx.client();
    match word.as_slice() {
        b"on" => {
            client.reply_mode = ReplyMode::On;
            return ctx.ok();
        }
        b"off" => client.reply_mode = ReplyMode::Off,
        b"skip" if client.reply_mode != ReplyMode::Off => {
            client.reply_mode = ReplyMode::SkipNext;
        }
        b"skip" => {}
        _ => return Err(SYNTAX),
    }
    Ok(Outcome::Done)
}

fn unblock(ctx: &mut Ctx<'_>) -> CmdResult {
    let error = match ctx.argc() {
        3 => None,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"timeout") => None,
        4 if ctx.arg(3).eq_ignore_ascii_case(b"error") => Some(UNBLOCKED),
        4 => return Err(UNBLOCK_REASON),
        _ => return Err(subcommand_syntax(ctx.arg(1), "CLIENT")),
    };
    let serial = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let viewer = ctx.group();
    let who = u64::try_from(serial)
        .ok()
        .and_then(|serial| ctx.state.clients.by_serial(serial))
        .filter(|client| client.is_shown_to(viewer) && client.has(client_flag::BLOCKED))
        .map(|client| client.id);
    let done = who.is_some_and(|who| unit::unblock(ctx.state, who, error));
    ctx.int(i64::from(done))
}

/// A client names what it understands; what is not known here changes nothing.
fn capa(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.ok()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CACHING (YES|NO)",
        "    Whether the keys of the next request are tracked, against what TRACKING said.",
        "CAPA <capability> [<capability> ...]",
        "    Tell what this connection understands: redirect.",
        "GETREDIR",
        "    Id of the client that gets this connection's invalidations, -1 without tracking.",
        "GETNAME",
        "    Name of this connection.",
        "ID",
        "    Id of this connection.",
        "INFO",
        "    This connection, as LIST shows it.",
        "KILL <ip:port>",
        "    Close the connection from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close all connections that every option fits:",
        "    * ADDR (<ip:port>|<unixsocket>:0): the other end",
        "    * LADDR (<ip:port>|<unixsocket>:0): our end",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "    * USER <username>",
        "    * ID <client-id> [<client-id> ...]",
        "    * SKIPME (YES|NO): leave this connection out (default: yes)",
        "    * MAXAGE <seconds>: open at least that long",
        "    * IDLE <seconds>: without a request for at least that long",
        "    * NAME <name>, LIB-NAME <name>, LIB-VER <version>, DB <db>, IP <address>",
        "    * FLAGS <letters>: all of these, as LIST shows them",
        "    NOT- in front of a name (but SKIPME, MAXAGE, IDLE) means all others.",
        "LIST [options ...]",
        "    All connections, a line each. Options: those of KILL.",
        "NO-EVICT (ON|OFF)",
        "    Keep this connection when clients are closed for memory.",
        "NO-TOUCH (ON|OFF)",
        "    Do not let this connection's reads count as use of the keys.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Hold back requests of all clients, or those that write, for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies.",
        "SETINFO <option> <value>",
        "    Tell about the client library: LIB-NAME, LIB-VER.",
        "SETNAME <name>",
        "    Name this connection.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [PREFIX <prefix> ...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Whether this connection is told of changes of the keys it reads.",
        "TRACKINGINFO",
        "    How this connection's keys are tracked.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Release a client that waits, as if its time were up or with an error.",
        "UNPAUSE",
        "    End PAUSE.",
    ])
}
