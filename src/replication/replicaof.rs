//! REPLICAOF and SLAVEOF: whom this server follows. The link itself is the loop's: these only say what is wanted.
use super::link::resume;
use crate::base::num::parse_i64;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome,
    acl::{self, ADMIN as ACL_ADMIN, DANGEROUS},
    cmd, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::exec::unit::unblock;
use crate::state::State;
use crate::state::client::{ClientId, client_flag};
use crate::state::config::{Key, ReplicaOf};
use flag::{ADMIN, NO_ASYNC_LOADING, NOSCRIPT, SERVER_WIDE, STALE};

const FLAGS: u32 = ADMIN | NO_ASYNC_LOADING | NOSCRIPT | STALE | SERVER_WIDE;
const CATEGORIES: u32 = ACL_ADMIN | DANGEROUS;

const COMMANDS: &[Command] = &[
    cmd("replicaof", 3, FLAGS, CATEGORIES, NO_KEYS, replicaof),
    cmd("slaveof", 3, FLAGS, CATEGORIES, NO_KEYS, replicaof),
];

/// REPLICAOF.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: COMMANDS,
};

pub(super) const UNBLOCKED: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

fn replicaof(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.state.config.cluster_enabled {
        return Err(CmdError::new("ERR REPLICAOF not allowed in cluster mode."));
    }
    if ctx.state.repl.failover.is_some() {
        return Err(CmdError::new(
            "ERR REPLICAOF not allowed while failing over.",
        ));
    }
    let (host, port) = (ctx.arg(1), ctx.arg(2));
    let nobody = host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one");
    let who = described(ctx);
    if nobody {
        if ctx.state.repl.is_replica() {
            follow_nobody(ctx.state);
            log::info!("MASTER MODE enabled (user request from '{who}')");
        }
        return ctx.ok();
    }
    if ctx.client().has(client_flag::REPLICA) {
        return Err(CmdError::new(
            "ERR Command is not valid when client is a replica.",
        ));
    }
    let port = parse_i64(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(CmdError::new("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host).into_owned();
    let upstream = ctx.state.repl.upstream.as_ref();
    if upstream.is_some_and(|up| up.host.eq_ignore_ascii_case(&host) && up.port == port) {
        log::info!(
            "REPLICAOF would result into synchronization with the master we are already connected with. \
             No operation performed."
        );
        ctx.out.simple("OK Already connected to specified master");
        return Ok(Outcome::Done);
    }
    follow(ctx.state, host, port);
    if let Some(upstream) = &ctx.state.repl.upstream {
        let (host, port) = (&upstream.host, upstream.port);
        log::info!("REPLICAOF {host}:{port} enabled (user request from '{who}')");
    }
    ctx.ok()
}

/// Who asks, as CLIENT LIST has it.
pub(super) fn described(ctx: &mut Ctx<'_>) -> String {
    let mut line = String::new();
    if let Some(client) = ctx.state.clients.get(ctx.me) {
        let group = client.group;
        (ctx.table.describe)(ctx.state, ctx.table, client, group, None, &mut line);
    }
    line
}

/// Becomes the replica of this server. Whoever waits for a key here waits no more: it would be in vain.
pub fn follow(state: &mut State, host: String, port: u16) {
    let waiting: Vec<ClientId> = state
        .clients
        .iter()
        .filter(|client| client.parked.as_ref().is_some_and(|p| !p.is_login()))
        .map(|client| client.id)
        .collect();
    for who in waiting {
        if unblock(state, who, Some(UNBLOCKED))
            && let Some(client) = state.clients.get_mut(who)
        {
            client.flags |= client_flag::CLOSE_AFTER_REPLY;
        }
    }
    state.migrations.overtake();
    resume::follow(state, host.clone(), port);
    state.config.replicaof = ReplicaOf(Some((host, port)));
    state.wanted.changed.insert(Key::replicaof);
}

/// Becomes a primary.
pub fn follow_nobody(state: &mut State) {
    resume::follow_nobody(state);
    state.config.replicaof = ReplicaOf(None);
    state.wanted.changed.insert(Key::replicaof);
}
