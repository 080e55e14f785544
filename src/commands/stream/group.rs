//! XGROUP and XACK.

use super::{changed_aside, parse_edge, parse_id, read_slot};
use crate::base::num;
use crate::ds::table::Slot;
use crate::exec::command::CmdResult;
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, shown, subcommand_syntax};
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::stream::{Group, Stream, StreamId};

const KEY_MISSING: CmdError = CmdError::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to \
     use the MKSTREAM option to create an empty stream automatically.",
);
const GROUP_EXISTS: CmdError = CmdError::new("BUSYGROUP Consumer Group name already exists");
const READ_NEGATIVE: CmdError = CmdError::new("ERR value for ENTRIESREAD must be positive or -1");
const READ_UNKNOWN: i64 = -1;

/// The error for a group that is not there, where the key is.
pub(super) fn no_group(key: &[u8], group: &[u8]) -> CmdError {
    CmdError::owned_bytes(
        [
            b"NOGROUP No such consumer group '".as_slice(),
            shown(group, usize::MAX),
            b"' for key name '",
            shown(key, usize::MAX),
            b"'",
        ]
        .concat(),
    )
}

/// Options of CREATE and SETID.
struct Options {
    make_stream: bool,
    entries_read: i64,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, creates: bool) -> Result<Options, CmdError> {
        let mut options = Options {
            make_stream: false,
            entries_read: READ_UNKNOWN,
        };
        let mut at = 5;
        while at < ctx.argc() {
            let word = ctx.arg(at);
            if creates && word.eq_ignore_ascii_case(b"mkstream") {
                options.make_stream = true;
            } else if word.eq_ignore_ascii_case(b"entriesread") && at + 1 < ctx.argc() {
                at += 1;
                options.entries_read = num::parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER)?;
                if options.entries_read < READ_UNKNOWN {
                    return Err(READ_NEGATIVE);
                }
            } else {
                return Err(syntax(ctx));
            }
            at += 1;
        }
        Ok(options)
    }
}

fn syntax(ctx: &Ctx<'_>) -> CmdError {
    subcommand_syntax(ctx.arg(1), "XGROUP")
}

/// The slot of the request's stream, which must be there.
fn slot(ctx: &mut Ctx<'_>) -> Result<Slot, CmdError> {
    ctx.write_kind(ctx.argv.get(2), Kind::Stream)?
        .ok_or(KEY_MISSING)
}

/// Edits the request's group, which must be there.
fn edit<R>(
    ctx: &mut Ctx<'_>,
    change: impl FnOnce(&mut Group, StreamId) -> Result<R, CmdError>,
) -> Result<R, CmdError> {
    let slot = slot(ctx)?;
    let (key, name) = (ctx.arg(2), ctx.arg(3));
    let edit = |stream: &mut Stream| {
        let last_id = stream.last_id;
        let group = stream.group_mut(name).ok_or_else(|| no_group(key, name))?;
        change(group, last_id)
    };
    ctx.state.dbs[ctx.db].update::<Stream, _>(slot, edit)?.1
}

pub(super) fn create(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name, id) = (ctx.arg(2), ctx.arg(3), ctx.arg(4));
    let options = Options::parse(ctx, true)?;
    let slot = match ctx.write_kind(key, Kind::Stream)? {
        None if !options.make_stream => return Err(KEY_MISSING),
        slot => slot,
    };
    if ctx.argc() > 8 {
        return Err(syntax(ctx));
    }
    let id = if id == b"$" {
        None
    } else {
        Some(parse_id(id)?)
    };
    let create = |stream: &mut Stream| {
        let last_id = id.unwrap_or(stream.last_id);
        stream.create_group(name, Group::new(last_id, options.entries_read))
    };
    let created = match slot {
        Some(slot) => ctx.state.dbs[ctx.db].update::<Stream, _>(slot, create)?.1,
        None => {
            let (_, created) = ctx.state.dbs.create::<Stream, _>(ctx.db, key, create);
            ctx.state.notify(ctx.db, key, Event::NEW);
            ctx.state.key_touched(ctx.db, key);
            created
        }
    };
    if !created {
        return Err(GROUP_EXISTS);
    }
    changed_aside(ctx, key, Event::XGROUP_CREATE);
    ctx.ok()
}

pub(super) fn set_id(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx, false)?;
    let id = ctx.arg(4);
    let argc = ctx.argc();
    let syntax = syntax(ctx);
    edit(ctx, |group, last_id| {
        if argc != 5 && argc != 7 {
            return Err(syntax);
        }
        group.last_id = if id == b"$" {
            last_id
        } else {
            parse_edge(id, 0)?
        };
        group.set_entries_read(Some(options.entries_read));
        Ok(())
    })?;
    changed_aside(ctx, ctx.argv.get(2), Event::XGROUP_SETID);
    ctx.ok()
}

pub(super) fn destroy(ctx: &mut Ctx<'_>) -> CmdResult {
    let slot = slot(ctx)?;
    let (db, key, name) = (ctx.db, ctx.arg(2), ctx.arg(3));
    let destroy = |stream: &mut Stream| stream.destroy_group(name).is_some();
    let destroyed = ctx.state.dbs[db].update::<Stream, _>(slot, destroy)?.1;
    if destroyed {
        changed_aside(ctx, key, Event::XGROUP_DESTROY);
        // Whoever reads through it waits in vain from now on.
        ctx.state.blocked.signal(db as u32, key);
    }
    ctx.int(i64::from(destroyed))
}

pub(super) fn create_consumer(ctx: &mut Ctx<'_>) -> CmdResult {
    let (name, now_ms) = (ctx.arg(4), ctx.state.clock.unix_ms);
    let created = edit(ctx, |group, _| {
        let is_new = group.find_consumer(name).is_none();
        if is_new {
            group.create_consumer(name, now_ms);
        }
        Ok(is_new)
    })?;
    if created {
        changed_aside(ctx, ctx.argv.get(2), Event::XGROUP_CREATECONSUMER);
    }
    ctx.int(i64::from(created))
}

pub(super) fn delete_consumer(ctx: &mut Ctx<'_>) -> CmdResult {
    let name = ctx.arg(4);
    let pending = edit(ctx, |group, _| {
        let found = group.find_consumer(name);
        Ok(found.map(|consumer| group.delete_consumer(consumer)))
    })?;
    if pending.is_some() {
        changed_aside(ctx, ctx.argv.get(2), Event::XGROUP_DELCONSUMER);
    }
    ctx.int(pending.unwrap_or(0) as i64)
}

pub(super) fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CREATE <key> <groupname> <id|$> [option]",
        "    Makes a consumer group that has read up to <id>, $ being the last entry. Options:",
        "    * MKSTREAM",
        "      Makes the stream, too, where there is none.",
        "    * ENTRIESREAD entries_read",
        "      How many entries come up to <id>, where somebody knows it.",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Makes a consumer in a group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Removes a consumer, and what is pending with it.",
        "DESTROY <key> <groupname>",
        "    Removes a group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Sets up to which entry a group has read.",
    ])
}

pub(super) fn xack(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.arg(1), ctx.arg(2));
    let Some(slot) = read_slot(ctx, key)? else {
        return ctx.int(0);
    };
    let argv = ctx.argv;
    let acknowledge = |stream: &mut Stream| {
        let Some(group) = stream.group_mut(name) else {
            return Ok(0);
        };
        // All of them are read before the first one counts; a single one needs no list.
        if argv.len() == 4 {
            return Ok(usize::from(group.forget(parse_id(argv.get(3))?)));
        }
        let ids: Vec<StreamId> = argv
            .from(3)
            .iter()
            .map(parse_id)
            .collect::<Result<_, _>>()?;
        Ok(ids.into_iter().filter(|id| group.forget(*id)).count())
    };
    let (_, count) =
        ctx.state.dbs[ctx.db].update::<Stream, Result<usize, CmdError>>(slot, acknowledge)?;
    let count = count?;
    ctx.state.dirty += count as u64;
    ctx.int(count as i64)
}
