//! FAILOVER: this server hands its part over to one of its replicas, and follows it.
//!
//! Writes wait until the replica has everything (or, with FORCE, until the time is up); then this server becomes
//! its replica, and its PSYNC asks it to take over. Nothing is lost, and nobody writes to both.
use super::replicaof::{follow, follow_nobody};
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, NO_KEYS, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::exec::registry::Family;
use crate::state::State;
use crate::state::repl::readers::replica_address;
use crate::state::repl::{Failover, Link, Replica, Stage};
use crate::state::run::hold;

/// FAILOVER.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[cmd(
        "failover",
        -1,
        flag::ADMIN | flag::NOSCRIPT | flag::STALE | flag::SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        failover,
    )],
};

fn refused<T>(text: &'static str) -> Result<T, CmdError> {
    Err(CmdError::new(text))
}

/// What a request asks for.
#[derive(Default)]
struct Request {
    target: Option<(String, u16)>,
    timeout_ms: Option<u64>,
    force: bool,
}

fn parse(ctx: &Ctx<'_>) -> Result<Request, CmdError> {
    let mut request = Request::default();
    let mut at = 1;
    while at < ctx.argc() {
        let word = ctx.arg(at);
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let behind = ctx.argc() - 1 - at;
        if is(b"timeout") && behind >= 1 && request.timeout_ms.is_none() {
            let ms = parse_i64(ctx.arg(at + 1)).ok_or(NOT_INTEGER)?;
            request.timeout_ms = u64::try_from(ms).ok().filter(|ms| *ms > 0);
            if request.timeout_ms.is_none() {
                return refused("ERR FAILOVER timeout must be greater than 0");
            }
            at += 1;
        } else if is(b"to") && behind >= 2 && request.target.is_none() {
            let port = parse_i64(ctx.arg(at + 2)).ok_or(NOT_INTEGER)?;
            let host = String::from_utf8_lossy(ctx.arg(at + 1)).into_owned();
            // A port that there is not is no replica's.
            request.target = Some((host, u16::try_from(port).unwrap_or(0)));
            at += 2;
        } else if is(b"force") && !request.force {
            request.force = true;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(request)
}

fn failover(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.config.cluster_enabled {
        return refused("ERR FAILOVER not allowed in cluster mode.");
    }
    if ctx.argc() == 2 && ctx.arg(1).eq_ignore_ascii_case(b"abort") {
        if ctx.state.repl.failover.is_none() {
            return refused("ERR No failover in progress.");
        }
        abort(ctx.state, "Failover manually aborted");
        return ctx.ok();
    }
    let request = parse(ctx)?;
    let repl = &ctx.state.repl;
    if repl.failover.is_some() {
        return refused("ERR FAILOVER already in progress.");
    }
    if repl.is_replica() {
        return refused("ERR FAILOVER is not valid when server is a replica.");
    }
    if repl.replicas.is_empty() {
        return refused("ERR FAILOVER requires connected replicas.");
    }
    if request.force && (request.timeout_ms.is_none() || request.target.is_none()) {
        return refused(
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP to be set.",
        );
    }
    if let Some(target) = &request.target {
        match find(ctx.state, target).map(|replica| replica.stage) {
            None => return refused("ERR FAILOVER target HOST and PORT is not a replica."),
            Some(Stage::Online) => log::info!("FAILOVER requested to {}:{}.", target.0, target.1),
            Some(_) => return refused("ERR FAILOVER target replica is not online."),
        }
    } else {
        log::info!("FAILOVER requested.");
    }
    let now_us = ctx.state.clock.mono_us;
    ctx.state.repl.failover = Some(Failover {
        target: request.target,
        until_us: request
            .timeout_ms
            .map(|ms| now_us.saturating_add(ms.saturating_mul(1000))),
        force: request.force,
        takes_over: false,
    });
    ctx.state.hold_writes(hold::FAILOVER);
    ctx.ok()
}

/// The replica that can be reached there.
fn find<'s>(state: &'s State, target: &(String, u16)) -> Option<&'s Replica> {
    state.repl.replicas.iter().find(|one| {
        let client = state.clients.get(one.client);
        let known = client.map(replica_address);
        known.is_some_and(|(host, port)| host.eq_ignore_ascii_case(&target.0) && port == target.1)
    })
}

/// Goes on with a failover, once a turn.
pub fn step(state: &mut State) {
    match &state.repl.failover {
        None => {}
        Some(failover) if failover.takes_over => follow_takeover(state),
        Some(_) => hand_over(state),
    }
}

/// Is there a replica that has everything? Then it is its turn.
fn hand_over(state: &mut State) {
    state.feed();
    let (now_us, end) = (state.clock.mono_us, state.repl.offset);
    let Some(failover) = &mut state.repl.failover else {
        return;
    };
    if failover.until_us.is_some_and(|until_us| now_us >= until_us) {
        if let (true, Some((host, port))) = (failover.force, failover.target.clone()) {
            log::info!("Failover to {host}:{port} time out exceeded, failing over.");
            take_over(state, host, port);
        } else {
            abort(state, "Replica never caught up before timeout");
        }
        return;
    }
    let target = failover.target.clone();
    let has_all = |one: &&Replica| one.stage == Stage::Online && one.acked == end;
    let replica = match &target {
        Some(target) => find(state, target).filter(has_all),
        None => state.repl.replicas.iter().find(has_all),
    };
    let known = replica.and_then(|replica| state.clients.get(replica.client));
    if let Some((host, port)) = known.map(replica_address) {
        log::info!("Failover target {host}:{port} is synced, failing over.");
        take_over(state, host, port);
    }
}

/// Becomes the replica of the one that is to take over.
fn take_over(state: &mut State, host: String, port: u16) {
    if let Some(failover) = &mut state.repl.failover {
        failover.takes_over = true;
        failover.target = Some((host.clone(), port));
    }
    follow(state, host, port);
    if let Some(upstream) = &mut state.repl.upstream {
        upstream.takes_over = true;
    }
}

/// Has it taken over?
fn follow_takeover(state: &mut State) {
    match state.repl.upstream.as_ref().map(|upstream| upstream.link) {
        Some(Link::Transfer | Link::Load | Link::Connected) => clear(state),
        Some(Link::Connect | Link::Connecting | Link::Handshake) => {}
        // It said no, and this server is a primary again.
        None => abort(state, "Failover target rejected psync request"),
    }
}

fn abort(state: &mut State, why: &str) {
    let Some(failover) = &state.repl.failover else {
        return;
    };
    let name = failover.name();
    match &failover.target {
        Some((host, port)) => log::info!("Aborting failover to {host}:{port} while {name}: {why}"),
        None => log::info!("Aborting failover while {name}: {why}"),
    }
    if failover.takes_over && state.repl.is_replica() {
        follow_nobody(state);
    }
    clear(state);
}

fn clear(state: &mut State) {
    state.repl.failover = None;
    state.release_writes(hold::FAILOVER);
}
