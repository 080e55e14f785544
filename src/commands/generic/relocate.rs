//! A key under another name or in another database: RENAME, RENAMENX, COPY, MOVE.
use crate::exec::command::{
    CmdResult, Command, KEY1_RW_ACCESS, KeySpec, UsedDbs, acl::NONE, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NO_SUCH_KEY, SAME_OBJECT, SYNTAX};
use crate::keyspace::Entry;
use crate::resp::argv::Argv;
use crate::state::notify::Event;
use crate::types::string::StrRef;
use flag::{DENYOOM, FAST, WRITE};
use key_flag::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE};

const RENAME_KEYS: &[KeySpec] = &[
    KeySpec::range(RW | ACCESS | DELETE, 1, 1, 1),
    KeySpec::range(OW | UPDATE, 2, 2, 1),
];
const RENAMENX_KEYS: &[KeySpec] = &[
    KeySpec::range(RW | ACCESS | DELETE, 1, 1, 1),
    KeySpec::range(OW | INSERT, 2, 2, 1),
];
const COPY_KEYS: &[KeySpec] = &[
    KeySpec::range(RO | ACCESS, 1, 1, 1),
    KeySpec::range(OW | UPDATE, 2, 2, 1),
];

pub(super) const RENAME: Command = cmd("rename", 3, WRITE, NONE, RENAME_KEYS, rename);
pub(super) const RENAMENX: Command =
    cmd("renamenx", 3, WRITE | FAST, NONE, RENAMENX_KEYS, renamenx);
pub(super) const COPY: Command =
    cmd("copy", -3, WRITE | DENYOOM, NONE, COPY_KEYS, copy).using(UsedDbs::Named(dbs_of_copy));
pub(super) const MOVE: Command =
    cmd("move", 3, WRITE | FAST, NONE, KEY1_RW_ACCESS, move_key).using(UsedDbs::Named(|_| vec![2]));

fn rename(ctx: &mut Ctx<'_>) -> CmdResult {
    rename_key(ctx, true)?;
    ctx.ok()
}

fn renamenx(ctx: &mut Ctx<'_>) -> CmdResult {
    let renamed = rename_key(ctx, false)?;
    ctx.int(i64::from(renamed))
}

/// Renames argument 1 to argument 2; false when the new name is taken and may not be overwritten.
fn rename_key(ctx: &mut Ctx<'_>, overwrite: bool) -> Result<bool, CmdError> {
    let (db, from, to) = (ctx.db, ctx.arg(1), ctx.arg(2));
    if ctx.write(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from == to {
        return Ok(false);
    }
    if let Some(slot) = ctx.state.find_live(db, to) {
        if !overwrite {
            return Ok(false);
        }
        let lazy = ctx.state.config.lazyfree_lazy_server_del;
        ctx.state.remove(db, slot, lazy);
    }
    // Found anew: the removal may have moved it.
    let slot = ctx.state.dbs.find(db, from).ok_or(NO_SUCH_KEY)?;
    ctx.state.dbs.rename(db, slot, to);

    ctx.state.notify(db, to, Event::NEW);
    ctx.modified(from, Event::RENAME_FROM, 0);
    ctx.modified(to, Event::RENAME_TO, 1);
    Ok(true)
}

/// The databases that COPY names.
fn dbs_of_copy(argv: Argv<'_>) -> Vec<usize> {
    let named = |at: &usize| argv.get(at - 1).eq_ignore_ascii_case(b"db");
    (4..argv.len()).filter(named).collect()
}

/// Options of COPY.
struct CopyOptions {
    db: usize,
    /// Which argument names it.
    db_at: Option<usize>,
    replace: bool,
}

impl CopyOptions {
    fn parse(ctx: &Ctx<'_>) -> Result<CopyOptions, CmdError> {
        let mut options = CopyOptions {
            db: ctx.db,
            db_at: None,
            replace: false,
        };
        let mut at = 3;
        while at < ctx.argc() {
            let word = ctx.arg(at);
            if word.eq_ignore_ascii_case(b"replace") {
                options.replace = true;
                at += 1;
            } else if word.eq_ignore_ascii_case(b"db") && at + 1 < ctx.argc() {
                options.db = ctx.db_number(ctx.arg(at + 1))?;
                options.db_at = Some(at + 1);
                at += 2;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

fn copy(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = CopyOptions::parse(ctx)?;
    let (from, to) = (ctx.arg(1), ctx.arg(2));
    if options.db == ctx.db && from == to {
        return Err(SAME_OBJECT);
    }
    if ctx.read(from).is_none() {
        return ctx.int(0);
    }
    let state = &mut *ctx.state;
    let taken = state.find_live(options.db, to);
    if taken.is_some() && !options.replace {
        return ctx.int(0);
    }
    let clock = state.dbs.new_clock;
    let Some(source) = state.dbs.get(ctx.db, from) else {
        return ctx.int(0);
    };
    let raw = matches!(source.string(), Ok(StrRef::Inline { raw: true, .. }));
    let copied = Entry::new(to, source.to_value(), source.expire_at(), clock);
    if let Some(slot) = taken {
        let lazy = state.config.lazyfree_lazy_server_del;
        state.remove(options.db, slot, lazy);
    }
    let slot = state.dbs.insert_entry(options.db, copied);
    if raw {
        // Nothing is appended, but a string that was edited stays one.
        state.dbs[options.db].append(slot, b"")?;
    }

    state.notify(options.db, to, Event::NEW);
    state.modified(options.db, to, Event::COPY_TO, 1);
    if let Some(at) = options.db_at {
        log_db(ctx, at, options.db);
    }
    ctx.int(1)
}

fn move_key(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(1));
    let to = ctx.db_number(ctx.arg(2))?;
    if to == db {
        return Err(SAME_OBJECT);
    }
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    let state = &mut *ctx.state;
    if state.find_live(to, key).is_some() {
        return ctx.int(0);
    }
    let entry = state.dbs[db].remove(slot);
    state.dbs.insert_entry(to, entry);

    state.notify(to, key, Event::NEW);
    state.modified(db, key, Event::MOVE_FROM, 0);
    state.modified(to, key, Event::MOVE_TO, 1);
    log_db(ctx, 2, to);
    ctx.int(1)
}

/// The log gets the request with the number of this database where argument `at` says what a group calls it.
fn log_db(ctx: &mut Ctx<'_>, at: usize, db: usize) {
    if let Some(number) = ctx.logged_db(db) {
        let mut argv: Vec<&[u8]> = ctx.argv.iter().collect();
        argv[at] = number.as_bytes();
        ctx.propagate_as(&argv);
    }
}
