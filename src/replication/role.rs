//! ROLE: what this server is to others, and where it stands.
use crate::exec::command::{
    CmdResult, NO_KEYS, Outcome,
    acl::{self, ADMIN, DANGEROUS},
    cmd,
    flag::{FAST, LOADING, NOSCRIPT, STALE},
};
use crate::exec::ctx::Ctx;
use crate::exec::registry::Family;
use crate::state::repl::Stage;
use crate::state::repl::readers::replica_address;

/// ROLE.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[cmd(
        "role",
        1,
        NOSCRIPT | LOADING | STALE | FAST,
        ADMIN | DANGEROUS,
        NO_KEYS,
        role,
    )],
};

fn role(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.group().is_default() {
        // Whom the server follows, and who follows it, is no group's affair.
        ctx.out.array(3);
        ctx.out.bulk(b"master");
        ctx.out.int(0);
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    }
    let repl = &ctx.state.repl;
    if let Some(upstream) = &repl.upstream {
        ctx.out.array(5);
        ctx.out.bulk(b"slave");
        ctx.out.bulk(upstream.host.as_bytes());
        ctx.out.int(upstream.port.into());
        ctx.out.bulk(upstream.link.name().as_bytes());
        let offset = match upstream.is_up() {
            true => repl.offset.cast_signed(),
            false => -1,
        };
        ctx.out.int(offset);
        return Ok(Outcome::Done);
    }
    ctx.out.array(3);
    ctx.out.bulk(b"master");
    ctx.out.int(repl.offset.cast_signed());
    let online = repl
        .replicas
        .iter()
        .filter(|one| one.stage == Stage::Online);
    let clients = online.filter_map(|one| Some((one, ctx.state.clients.get(one.client)?)));
    let shown: Vec<_> = clients
        .map(|(one, client)| (replica_address(client), one.acked))
        .collect();
    ctx.out.array(shown.len());
    for ((ip, port), acked) in shown {
        ctx.out.array(3);
        ctx.out.bulk(ip.as_bytes());
        ctx.out.bulk(port.to_string().as_bytes());
        ctx.out.bulk(acked.to_string().as_bytes());
    }
    Ok(Outcome::Done)
}
