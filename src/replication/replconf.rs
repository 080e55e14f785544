//! REPLCONF: what replicas tell of themselves before they ask for the stream, and how far they are behind it.
use crate::base::num::parse_i64;
use crate::exec::command::{
    CmdResult, NO_KEYS, Outcome, acl, cmd,
    flag::{ADMIN, ALLOW_BUSY, LOADING, NOSCRIPT, SERVER_WIDE, STALE},
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::exec::registry::Family;
use crate::state::client::client_flag;
use crate::state::config::file::split_words;
use crate::state::repl::{Introduction, Stage, capa};

/// REPLCONF.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[cmd(
        "replconf",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY | SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        replconf,
    )],
};

/// Bytes that an address may have.
const ADDRESS_MAX: usize = 256;
/// What of a version is kept.
const VERSION_MAX: usize = 64;
const NOT_ZERO_OR_ONE: CmdError =
    CmdError::new("ERR value is out of range, value must between 0 and 1");

fn replconf(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.argc().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for at in (1..ctx.argc()).step_by(2) {
        let (name, value) = (ctx.arg(at).to_ascii_lowercase(), ctx.arg(at + 1));
        match name.as_slice() {
            // Never answered: it comes over the link on which the stream goes out.
            b"ack" => return ack(ctx, at),
            // The link to the primary answers it; from anybody else it means nothing.
            b"getack" => return Ok(Outcome::Done),
            name => {
                let told = ctx.client().introduction.get_or_insert_default();
                take(told, name, value)?;
            }
        }
    }
    ctx.ok()
}

/// Takes down one option.
fn take(told: &mut Introduction, name: &[u8], value: &[u8]) -> Result<(), CmdError> {
    match name {
        b"listening-port" => {
            let port = parse_i64(value).ok_or(NOT_INTEGER)?;
            told.port = u16::try_from(port).unwrap_or(0);
        }
        // It stands in lines that others read: INFO's, the log's.
        b"ip-address"
            if !value
                .iter()
                .all(|byte| byte.is_ascii_graphic() && *byte != b',') =>
        {
            return Err(CmdError::new("ERR REPLCONF ip-address is no address"));
        }
        b"ip-address" if value.len() < ADDRESS_MAX => {
            told.address = String::from_utf8_lossy(value).into_owned();
        }
        b"ip-address" => {
            return Err(CmdError::owned(format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                value.len()
            )));
        }
        b"capa" => {
            told.capa |= match value.to_ascii_lowercase().as_slice() {
                b"eof" => capa::EOF,
                b"psync2" => capa::PSYNC2,
                b"redvault-groups" => capa::GROUPS,
                // Of later versions.
                _ => 0,
            };
        }
        b"rdb-only" => {
            told.snapshot_only = match parse_i64(value).ok_or(NOT_INTEGER)? {
                0 => false,
                1 => true,
                _ => return Err(NOT_ZERO_OR_ONE),
            };
        }
        b"rdb-filter-only" => {
            let Some(words) = split_words(value) else {
                return Err(CmdError::new("ERR Missing rdb-filter-only values"));
            };
            (told.without_data, told.without_functions) = (true, true);
            for word in words {
                if !word.eq_ignore_ascii_case(b"functions") {
                    let text = "ERR Unsupported rdb-filter-only option: ";
                    return Err(CmdError::showing(text, &word, ""));
                }
                told.without_functions = false;
            }
        }
        b"version" => {
            let kept = &value[..value.len().min(VERSION_MAX)];
            told.version = String::from_utf8_lossy(kept).into_owned();
        }
        _ => {
            return Err(CmdError::showing(
                "ERR Unrecognized REPLCONF option: ",
                name,
                "",
            ));
        }
    }
    Ok(())
}

/// `ACK <offset> [FACK <offset>]`: a replica says how far it has applied the stream, and its AOF.
fn ack(ctx: &mut Ctx<'_>, at: usize) -> CmdResult {
    if !ctx.client().has(client_flag::REPLICA) {
        return Ok(Outcome::Done);
    }
    let Some(offset) = offset(ctx.arg(at + 1)) else {
        return Ok(Outcome::Done);
    };
    let on_disk = (at + 3 < ctx.argc() && ctx.arg(at + 2).eq_ignore_ascii_case(b"fack"))
        .then(|| self::offset(ctx.arg(at + 3)))
        .flatten();
    let (now_us, me) = (ctx.state.clock.mono_us, ctx.me);
    let Some(replica) = ctx.state.repl.replica(me) else {
        return Ok(Outcome::Done);
    };
    replica.acked = replica.acked.max(offset);
    if on_disk.is_some() {
        replica.acked_on_disk = replica.acked_on_disk.max(on_disk);
    }
    replica.acked_us = now_us;
    if replica.stage == Stage::Online {
        replica.awaits_ack = false;
        ctx.state.settle_good_replicas();
    }
    Ok(Outcome::Done)
}

fn offset(text: &[u8]) -> Option<u64> {
    u64::try_from(parse_i64(text)?).ok()
}
