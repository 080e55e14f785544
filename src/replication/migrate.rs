//! MIGRATE: keys move to another server, which then answers for them.
//!
//! Redis holds everybody up until the other server has answered. Here only the client waits that asked, and
//! whoever wants to change what is on its way; the request runs again when the answers are there, and removes
//! what has arrived. Inside a transaction or a script, and on a replica, nothing can run meanwhile: there it
//! is as in Redis.
use super::replicaof::UNBLOCKED;
use crate::base::num::{fmt_i64, parse_i64};
use crate::exec::command::{
    Begin, CmdResult, Find, KeyAt, KeySpec, Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::exec::registry::{Family, Registry};
use crate::exec::unit;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{ClientId, TimeoutReply};
use crate::state::migrate::{self, Errand, Failure, Login, Running, Target};
use crate::state::notify::Event;
use crate::state::prop::push_request;
use crate::types::dump;
use std::sync::Arc;
use zeroize::Zeroizing;

const MOVED: u32 = key_flag::RW | key_flag::ACCESS | key_flag::DELETE;

const KEYS: &[KeySpec] = &[
    KeySpec::range(MOVED, 3, 3, 1),
    KeySpec {
        flags: MOVED | key_flag::INCOMPLETE,
        begin: Begin::Keyword("KEYS", -2),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 0,
        },
    },
];

/// MIGRATE.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::KEYSPACE,
    commands: &[cmd(
        "migrate",
        -6,
        // Wherever it is told to, the server connects: that is for those to say whose server it is.
        flag::WRITE | flag::SERVER_WIDE,
        acl::DANGEROUS,
        KEYS,
        migrate,
    )
    .with_finder(keys)
    .hiding(secret)],
};

const NAMED_TWICE: CmdError = CmdError::new(
    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
);
const NO_CARRIER: CmdError = CmdError::new("IOERR error or timeout connecting to the client");

/// Where options begin, and the option at each place: what stands behind one of them is none.
fn options<'a>(argv: Argv<'a>) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut at = 6;
    std::iter::from_fn(move || {
        let word = (at < argv.len()).then(|| argv.get(at))?;
        let here = at;
        at += 1 + match word {
            _ if word.eq_ignore_ascii_case(b"auth") => 1,
            _ if word.eq_ignore_ascii_case(b"auth2") => 2,
            // Everything behind it is a key.
            _ if word.eq_ignore_ascii_case(b"keys") => argv.len(),
            _ => 0,
        };
        Some((here, word))
    })
}

fn keys(argv: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let key = |at| KeyAt { at, flags: MOVED };
    let named = options(argv).find(|(_, word)| word.eq_ignore_ascii_case(b"keys"));
    match named {
        None => Ok(vec![key(3)]),
        Some(_) if !argv.get(3).is_empty() => Err(NAMED_TWICE),
        Some((at, _)) => Ok((at + 1..argv.len()).map(key).collect()),
    }
}

/// What says who one is, is nobody else's business.
fn secret(argv: Argv<'_>, i: usize) -> bool {
    options(argv).any(|(at, word)| {
        let words = match word {
            _ if word.eq_ignore_ascii_case(b"auth") => 1,
            _ if word.eq_ignore_ascii_case(b"auth2") => 2,
            _ => 0,
        };
        i > at && i <= at + words
    })
}

/// What a request asks for.
struct Request<'a> {
    copies: bool,
    replaces: bool,
    login: Option<Login>,
    keys: Vec<&'a [u8]>,
    db: i64,
    timeout_ms: u64,
}

impl<'a> Request<'a> {
    fn parse(argv: Argv<'a>) -> Result<Request<'a>, CmdError> {
        let mut request = Request {
            copies: false,
            replaces: false,
            login: None,
            keys: vec![argv.get(3)],
            db: 0,
            timeout_ms: 0,
        };
        for (at, word) in options(argv) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let behind = argv.len() - 1 - at;
            let password = |at| Zeroizing::new(argv.get(at).to_vec());
            if is(b"copy") {
                request.copies = true;
            } else if is(b"replace") {
                request.replaces = true;
            } else if is(b"auth") && behind >= 1 {
                request.login = Some((None, password(at + 1)));
            } else if is(b"auth2") && behind >= 2 {
                request.login = Some((Some(argv.get(at + 1).to_vec()), password(at + 2)));
            } else if is(b"keys") {
                if !argv.get(3).is_empty() {
                    return Err(NAMED_TWICE);
                }
                request.keys = (at + 1..argv.len()).map(|i| argv.get(i)).collect();
            } else {
                return Err(SYNTAX);
            }
        }
        let timeout_ms = parse_i64(argv.get(5)).ok_or(NOT_INTEGER)?;
        request.db = parse_i64(argv.get(4)).ok_or(NOT_INTEGER)?;
        request.timeout_ms = u64::try_from(timeout_ms)
            .ok()
            .filter(|ms| *ms > 0)
            .unwrap_or(1000);
        Ok(request)
    }
}

fn migrate(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.may_block()
        && let Some((running, outcome)) = ctx.state.migrations.take_finished(ctx.me)
    {
        return settle(ctx, &running, &outcome);
    }
    let request = Request::parse(ctx.argv)?;
    let waits = ctx.may_block() && !ctx.state.repl.is_replica();
    let to = (ctx.arg(1).to_vec(), port(ctx.arg(2)));
    if waits && is_early(ctx, &request, &to) {
        ctx.state.migrations.queue.push_back((ctx.me, to));
        return Ok(ctx.block_for(0, TimeoutReply::Work));
    }
    let mut requests = Vec::new();
    let mut found: Vec<Box<[u8]>> = Vec::new();
    for key in &request.keys {
        if restoring(ctx, key, request.replaces, &mut requests) {
            found.push(Box::from(*key));
        }
    }
    if found.is_empty() {
        ctx.out.simple("NOKEY");
        return Ok(Outcome::Done);
    }
    let carrier = ctx.state.migrations.carrier.clone().ok_or(NO_CARRIER)?;
    let tls = outgoing_tls(ctx.state)?;
    let errand = Errand {
        host: to.0,
        port: to.1,
        timeout_ms: request.timeout_ms,
        db: request.db,
        login: request.login,
        requests,
        count: found.len(),
        tls,
    };
    let running = Running::new(ctx.me, ctx.db, found, request.copies);
    // What the primary sends cannot be told to wait.
    if waits {
        ctx.state.begin_migration(running, errand);
        return Ok(ctx.block_for(0, TimeoutReply::Work));
    }
    let outcome = carrier.carry(&errand);
    settle(ctx, &running, &outcome)
}

/// Is it to begin later: is there no room for another errand, or is a key already on its way?
fn is_early(ctx: &Ctx<'_>, request: &Request<'_>, to: &Target) -> bool {
    let (all, db) = (&ctx.state.migrations, Some(ctx.db));
    all.is_busy() && (all.is_full(to) || request.keys.iter().any(|key| all.holds(db, key)))
}

/// With what it goes over TLS, if it is to (`tls-cluster`): never without where it is.
fn outgoing_tls(state: &State) -> Result<Option<Arc<rustls::ClientConfig>>, CmdError> {
    if !state.config.tls_cluster {
        return Ok(None);
    }
    let active = state.tls.active.as_ref();
    let outgoing = active.and_then(|tls| tls.outgoing.clone());
    if outgoing.is_none() {
        log::warn!("MIGRATE: TLS is not set up");
    }
    outgoing.map(Some).ok_or(NO_CARRIER)
}

/// As C's `atoi` takes it, and a socket cuts it.
fn port(text: &[u8]) -> u16 {
    let digits = text.iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0u32, |sum, b| {
        sum.wrapping_mul(10).wrapping_add(u32::from(b - b'0'))
    }) as u16
}

/// Appends the request that makes the key anew elsewhere; false if there is none, or it ends now.
fn restoring(ctx: &mut Ctx<'_>, key: &[u8], replaces: bool, requests: &mut Vec<u8>) -> bool {
    let (now_ms, compress) = (ctx.state.clock.unix_ms, ctx.state.config.rdbcompression);
    let name: &[u8] = match ctx.state.config.cluster_enabled {
        true => b"RESTORE-ASKING",
        false => b"RESTORE",
    };
    let Some(entry) = ctx.read(key) else {
        return false;
    };
    let left_ms = match entry.expire_at() {
        None => 0,
        Some(at_ms) if at_ms < now_ms => return false,
        Some(at_ms) => (at_ms - now_ms).max(1),
    };
    let payload = dump::dump(entry.value(), compress);
    let mut room = [0; 20];
    let argv = [name, key, fmt_i64(left_ms, &mut room), &payload, b"REPLACE"];
    push_request(requests, &argv[..if replaces { 5 } else { 4 }]);
    true
}

/// Does what follows from the answers, and says it.
fn settle(ctx: &mut Ctx<'_>, running: &Running, outcome: &migrate::Outcome) -> CmdResult {
    let mut gone: Vec<&[u8]> = vec![b"DEL"];
    if running.overtaken {
        return Err(CmdError::new(UNBLOCKED));
    }
    if !running.copies {
        for at in &outcome.done {
            let Some(key) = running.keys.get(*at) else {
                continue;
            };
            if let Some(slot) = ctx.state.lookup_write(running.db, key) {
                ctx.state.remove(running.db, slot, false);
                ctx.state.modified(running.db, key, Event::DEL, 1);
                gone.push(key);
            }
        }
    }
    if gone.len() > 1 {
        ctx.propagate_as(&gone);
    }
    match &outcome.failure {
        None => ctx.ok(),
        Some(Failure::Connecting) => Err(NO_CARRIER),
        Some(Failure::Writing) => Err(CmdError::new(
            "IOERR error or timeout writing to target instance",
        )),
        Some(Failure::Reading) => Err(CmdError::new(
            "IOERR error or timeout reading to target instance",
        )),
        Some(Failure::Refused(words)) => Err(CmdError::owned_bytes(
            [b"ERR Target instance replied with error: ", &words[..]].concat(),
        )),
    }
}

/// An errand came to its end: whoever waits for it goes on. Those who held back may try again now.
pub fn came(
    state: &mut State,
    table: &Registry,
    number: u64,
    outcome: migrate::Outcome,
) -> Vec<ClientId> {
    let Some(who) = state.migrations.came(number, outcome) else {
        return Vec::new();
    };
    if state.clients.get(who).is_some() {
        unit::rerun(state, table, who);
    }
    // Who asked has left, or may not do it any more.
    if let Some((running, outcome)) = state.migrations.take_finished(who) {
        forgotten(state, &running, &outcome);
    }
    let held = state.end_migration();
    unit::finish(state, table);
    held
}

/// Errands that had to wait begin, as far as there is room: behind those who were held back.
pub fn begin_waiting(state: &mut State, table: &Registry) {
    state.migrations.ended = false;
    for (who, to) in std::mem::take(&mut state.migrations.queue) {
        match state.migrations.is_full(&to) {
            true => state.migrations.queue.push_back((who, to)),
            false => unit::rerun(state, table, who),
        }
    }
}

/// Nobody is there to be told; what has arrived elsewhere goes all the same, unless this server follows another
/// one by now.
fn forgotten(state: &mut State, running: &Running, outcome: &migrate::Outcome) {
    if running.copies || running.overtaken || state.repl.is_replica() || state.is_loading() {
        return;
    }
    for key in outcome.done.iter().filter_map(|at| running.keys.get(*at)) {
        if let Some(slot) = state.lookup_write(running.db, key) {
            state.remove(running.db, slot, false);
            state.modified(running.db, key, Event::DEL, 1);
            state.prop.push_own(running.db, &[b"DEL", key]);
        }
    }
}
