//! Connections: who a client is, which protocol it speaks, which database it uses.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, UsedDbs, acl, cmd, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, SYNTAX, wrong_arity};
use crate::exec::login::log_in;
use crate::exec::registry::Family;
use crate::resp::request::Argv;
use crate::state::client::{ReplyMode, client_flag};
use crate::state::config::REDIS_VERSION;
use crate::state::gate;
use crate::state::users::DEFAULT_NAME;
use flag::{ALLOW_BUSY, FAST, LOADING, NO_AUTH, NOSCRIPT, SECRET, STALE, SUBSCRIBED_OK, UNQUEUED};

/// What a client may always say, whatever state it or the server is in.
const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

const COMMANDS: &[Command] = &[
    cmd("auth", -2, ALWAYS | SECRET, acl::NONE, NO_KEYS, auth),
    cmd("hello", -1, ALWAYS, acl::NONE, NO_KEYS, hello).hiding(hello_secrets),
    // Whoever asks how the server fares learns that it refuses writes.
    cmd("ping", -1, FAST | SUBSCRIBED_OK, acl::NONE, NO_KEYS, ping)
        .also_refused_by(gate::DISK_ERROR),
    cmd("echo", 2, FAST | LOADING | STALE, acl::NONE, NO_KEYS, echo),
    cmd(
        "select",
        2,
        LOADING | STALE | FAST,
        acl::NONE,
        NO_KEYS,
        select,
    )
    .using(UsedDbs::Named(|_| vec![1])),
    cmd(
        "quit",
        -1,
        ALWAYS | UNQUEUED | SUBSCRIBED_OK,
        acl::NONE,
        NO_KEYS,
        quit,
    ),
    cmd(
        "reset",
        1,
        ALWAYS | UNQUEUED | SUBSCRIBED_OK,
        acl::NONE,
        NO_KEYS,
        reset,
    ),
];

/// Connections.
pub static FAMILY: Family = Family {
    group: "connection",
    acl: acl::CONNECTION,
    commands: COMMANDS,
};

const NO_PASSWORD_SET: CmdError = CmdError::new(
    "ERR AUTH <password> called without any password configured for the default user. Are you \
     sure your configuration is correct?",
);
const HELLO_NEEDS_AUTH: CmdError = CmdError::new(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
     <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
     protocol version at the same time",
);
const PROTOCOL_NOT_INTEGER: CmdError =
    CmdError::new("ERR Protocol version is not an integer or out of range");
const NO_PROTOCOL: CmdError = CmdError::new("NOPROTO unsupported protocol version");
pub(super) const BAD_NAME: CmdError =
    CmdError::new("ERR Client names cannot contain spaces, newlines or special characters.");

fn auth(ctx: &mut Ctx<'_>) -> CmdResult {
    let (user, password): (&[u8], &[u8]) = match ctx.argc() {
        2 if ctx.state.users.default_user().nopass => return Err(NO_PASSWORD_SET),
        2 => (DEFAULT_NAME, ctx.arg(1)),
        3 => (ctx.arg(1), ctx.arg(2)),
        _ => return Err(SYNTAX),
    };
    match log_in(ctx, user, password)? {
        Outcome::Done => ctx.ok(),
        waits => Ok(waits),
    }
}

/// What stands behind HELLO's AUTH is not shown.
fn hello_secrets(argv: Argv<'_>, i: usize) -> bool {
    // In steps, as HELLO reads them: a name or a user may be called `auth`. Where it will refuse a word,
    // what follows may yet be meant as a password.
    let mut at = 1;
    while at < i {
        let word = argv.get(at);
        at += if word.eq_ignore_ascii_case(b"setname") {
            2
        } else if word.eq_ignore_ascii_case(b"auth") {
            if i <= at + 2 {
                return true;
            }
            3
        } else {
            1
        };
    }
    false
}

/// May a client, or its library, be called this? Printable and without spaces, so that CLIENT LIST
/// stays one line of fields.
pub(super) fn plain_text(name: &[u8]) -> bool {
    name.iter().all(|b| (b'!'..=b'~').contains(b))
}

fn hello(ctx: &mut Ctx<'_>) -> CmdResult {
    let argv = ctx.argv;
    let mut protocol = None;
    if argv.len() > 1 {
        let n = parse_i64(argv.get(1)).ok_or(PROTOCOL_NOT_INTEGER)?;
        if n != 2 && n != 3 {
            return Err(NO_PROTOCOL);
        }
        protocol = Some(n);
    }
    let (mut login, mut name) = (None, None);
    let mut i = 2;
    while i < argv.len() {
        let word = argv.get(i);
        let left = argv.len() - 1 - i;
        if word.eq_ignore_ascii_case(b"auth") && left >= 2 {
            login = Some((argv.get(i + 1), argv.get(i + 2)));
            i += 3;
        } else if word.eq_ignore_ascii_case(b"setname") && left >= 1 {
            let wanted = argv.get(i + 1);
            if !plain_text(wanted) {
                return Err(BAD_NAME);
            }
            name = Some(wanted);
            i += 2;
        } else {
            let text = "ERR Syntax error in HELLO option '";
            return Err(CmdError::showing(text, word, "'"));
        }
    }
    if let Some((user, password)) = login
        && log_in(ctx, user, password)? == Outcome::Block
    {
        return Ok(Outcome::Block);
    }
    if ctx.client().gate & gate::UNAUTHENTICATED != 0 && ctx.state.password_needed() {
        return Err(HELLO_NEEDS_AUTH);
    }
    if let Some(name) = name {
        ctx.client().set_name(name);
    }
    if let Some(protocol) = protocol {
        ctx.client().resp3 = protocol == 3;
        ctx.client().settle_subscribed();
        ctx.out.resp3 = protocol == 3;
    }
    reply_hello(ctx);
    Ok(Outcome::Done)
}

fn reply_hello(ctx: &mut Ctx<'_>) {
    let serial = ctx.me.serial as i64;
    let out = &mut *ctx.out;
    out.map(7);
    out.bulk(b"server");
    out.bulk(b"redis");
    out.bulk(b"version");
    out.bulk(REDIS_VERSION.as_bytes());
    out.bulk(b"proto");
    out.int(if out.resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.int(serial);
    out.bulk(b"mode");
    out.bulk(b"standalone");
    out.bulk(b"role");
    out.bulk(b"master");
    out.bulk(b"modules");
    out.empty_array();
}

fn ping(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc() > 2 {
        return Err(wrong_arity("ping"));
    }
    let subscribed = ctx.client().gate & gate::SUBSCRIBED != 0;
    let text = (ctx.argc() == 2).then(|| ctx.arg(1));
    match text {
        // A RESP2 client that subscribed expects nothing but messages.
        text if subscribed && !ctx.out.resp3 => {
            ctx.out.array(2);
            ctx.out.bulk(b"pong");
            ctx.out.bulk(text.unwrap_or_default());
        }
        None => ctx.out.pong(),
        Some(text) => ctx.out.bulk(text),
    }
    Ok(Outcome::Done)
}

fn echo(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = ctx.arg(1);
    ctx.out.bulk(text);
    Ok(Outcome::Done)
}

fn select(ctx: &mut Ctx<'_>) -> CmdResult {
    let db = ctx.db_number(ctx.arg(1))?;
    ctx.db = db;
    // A script has a database of its own while it runs.
    if ctx.mode != Mode::Script {
        ctx.client().db = db as u32;
    }
    ctx.ok()
}

fn quit(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.client().flags |= client_flag::CLOSE_AFTER_REPLY;
    ctx.ok()
}

/// Everything a connection was told is forgotten, as if it had just been opened.
fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let me = ctx.me;
    ctx.state.unsubscribe_all(me, false);
    ctx.state.stop_monitor(me);
    ctx.state.untrack(me);
    ctx.state.discard_transaction(me);
    let client = ctx.state.clients.me(me);
    client.set_name(b"");
    // What CLIENT REPLY SKIP leaves out is this very reply.
    if client.reply_mode != ReplyMode::Skip {
        client.reply_mode = ReplyMode::On;
    }
    client.resp3 = false;
    client.flags &= !(client_flag::PUBSUB
        | client_flag::READONLY
        | client_flag::NO_TOUCH
        | client_flag::NO_EVICT);
    client.gate &= !(gate::SUBSCRIBED | gate::NO_TOUCH);
    ctx.state.forget_login(me);
    let client = ctx.state.clients.me(me);
    let group = client.group;
    ctx.db = ctx.state.first_db(group);
    ctx.client().db = ctx.db as u32;
    ctx.out.resp3 = false;
    ctx.out.simple("RESET");
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::login;
    use crate::exec::registry::Registry;
    use crate::exec::testing::Bench;
    use crate::resp::request::OwnedArgv;
    use crate::state::config::PasswordKdf;
    use crate::state::gate;
    use crate::state::users::UserId;

    /// Passwords that take time are the background thread's work, whatever keeps the loop busy.
    #[test]
    fn a_login_waits_for_its_password_beside_a_script_too() {
        let table = Registry::new(&[&FAMILY], &|_| None);
        let mut bench = Bench::new(&[&FAMILY]);
        bench.state.config.acl_password_kdf = PasswordKdf::Argon2id;
        bench.state.config.acl_argon2id_memory = 64 << 10;
        bench.state.config.acl_argon2id_passes = 1;
        bench.state.config.requirepass = Some(b"right"[..].into());
        bench.state.apply_config();
        let user = bench.state.users.get(UserId::DEFAULT);
        assert!(user.passwords[0].text().starts_with("$argon2id$"));
        bench.state.gate |= gate::BUSY_SCRIPT;
        assert_eq!(bench.ask("auth wrong"), "", "it is parked");
        assert_eq!(bench.state.logins.waiting(), 1);
        let task = login::next_task(&mut bench.state).expect("work");
        bench.state.logins.done(task.run());
        let told = login::resume_beside_script(&mut bench.state, &table);
        let (_, reply) = told.expect("somebody is told");
        assert!(reply.to_vec().starts_with(b"-WRONGPASS"));
        assert!(login::resume_beside_script(&mut bench.state, &table).is_none());
        // Whoever derived the password knows it.
        assert_eq!(bench.ask("auth right"), "+OK");
    }

    #[test]
    fn hello_hides_user_and_password() {
        for (line, expected) in [
            ("hello 3 AUTH u p SETNAME n", &[3, 4][..]),
            ("hello 3 setname auth auth default p", &[5, 6]),
            (
                "hello 3 auth auth auth setname setname auth u p",
                &[3, 4, 8, 9],
            ),
            ("hello 3 auth", &[]),
            // Refused, but not without a trace.
            ("hello 3 nonsense auth u p", &[4, 5]),
            ("hello auth u p", &[2, 3]),
            ("hello 3 setname", &[]),
        ] {
            let argv: OwnedArgv = line.split(' ').map(str::as_bytes).collect();
            let all = 0..argv.argv().len();
            let hidden: Vec<usize> = all.filter(|i| hello_secrets(argv.argv(), *i)).collect();
            assert_eq!(hidden, expected, "{line}");
        }
    }

    #[test]
    fn names_are_plain() {
        assert!(plain_text(b"my-name:1"));
        assert!(plain_text(b""));
        assert!(!plain_text(b"two words"));
        assert!(!plain_text(b"line\n"));
        assert!(!plain_text("\u{e4}".as_bytes()));
    }
}
