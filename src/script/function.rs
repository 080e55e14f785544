//! FUNCTION and FCALL: libraries loaded, listed, removed and carried from server to server, and their functions
//! called.
use super::engine;
use super::eval::{keys_and_args, kill_running, run_job};
use super::functions::{self, FunctionEngine};
use super::perform::{Terms, check_read_only, command_flags, script_flag};
use super::vm::Job;
use crate::base::num::parse_i64;
use crate::base::sys::ticks;
use crate::codec::{Sink, rdb};
use crate::exec::admit::show_monitors;
use crate::exec::command::{
    CmdResult, Command, KeySpec, NO_KEYS, Outcome, acl, cmd, container, flag, key_flag,
};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, subcommand_syntax};
use crate::exec::registry::Family;
use crate::resp::argv::Argv;
use crate::state::State;
use crate::state::groups::GroupId;
use crate::state::libraries::{ENGINE, Library, Refusal};
use crate::state::scripts::Kind;
use crate::types::{dump, saved};
use acl::NONE;
use flag::{
    ALLOW_BUSY, DENYOOM, LOADING, NO_MANDATORY_KEYS, NOSCRIPT, READONLY, RUNS_SCRIPT, SKIP_MONITOR,
    STALE, WRITE,
};

const RUN: u32 = NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | RUNS_SCRIPT;
const CHANGES: u32 = WRITE | DENYOOM | NOSCRIPT;

const KEYS: &[KeySpec] = &[KeySpec::numkeys(
    key_flag::RW | key_flag::ACCESS | key_flag::UPDATE,
    2,
)];
const KEYS_RO: &[KeySpec] = &[KeySpec::numkeys(key_flag::RO | key_flag::ACCESS, 2)];

const SUBS: &[Command] = &[
    cmd("delete", 3, WRITE | NOSCRIPT, NONE, NO_KEYS, delete),
    cmd("dump", 2, NOSCRIPT, NONE, NO_KEYS, dump_all),
    cmd("flush", -2, WRITE | NOSCRIPT, NONE, NO_KEYS, flush),
    cmd("help", 2, LOADING | STALE, NONE, NO_KEYS, help),
    cmd("kill", 2, NOSCRIPT | ALLOW_BUSY, NONE, NO_KEYS, kill),
    cmd("list", -2, NOSCRIPT, NONE, NO_KEYS, list),
    cmd("load", -3, CHANGES, NONE, NO_KEYS, load),
    cmd("restore", -3, CHANGES, NONE, NO_KEYS, restore),
    cmd("stats", 2, NOSCRIPT | ALLOW_BUSY, NONE, NO_KEYS, stats),
];

/// FUNCTION, FCALL.
pub static FAMILY: Family = Family {
    group: "scripting",
    acl: acl::SCRIPTING,
    commands: &[
        cmd("fcall", -3, RUN, NONE, KEYS, fcall).with_flags(flags_by_name),
        cmd("fcall_ro", -3, RUN | READONLY, NONE, KEYS_RO, fcall_ro).with_flags(flags_by_name),
        container("function", -2, 0, NONE, SUBS),
    ],
};

const NO_FUNCTION: CmdError = CmdError::new("ERR Function not found");
const BAD_KEYS: CmdError = CmdError::new("ERR Bad number of keys provided");
const NO_LIBRARY: CmdError = CmdError::new("ERR Library not found");
const NO_NAME: CmdError = CmdError::new("ERR library name argument was not given");
const BAD_FLUSH: CmdError = CmdError::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
const BAD_FRAME: CmdError = CmdError::new("ERR DUMP payload version or checksum are wrong");
const BAD_POLICY: CmdError = CmdError::new(
    "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
);

impl From<Refusal> for CmdError {
    fn from(Refusal(text): Refusal) -> CmdError {
        CmdError::showing("ERR ", &text, "")
    }
}

fn flags_by_name(state: &State, group: GroupId, argv: Argv<'_>, own: u32) -> u32 {
    // One that is not there is told about when it is called.
    let flags = match state.libraries.of(group).function(argv.get(1)) {
        Some(function) => function.flags,
        None => script_flag::UNDECLARED,
    };
    command_flags(own, flags)
}

fn fcall(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, false)
}

fn fcall_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, true)
}

fn run(ctx: &mut Ctx<'_>, read_only: bool) -> CmdResult {
    if ctx.is_monitored() {
        // In front of the commands that it runs.
        let row = ctx.table.row(ctx.id);
        show_monitors(ctx.state, ctx.argv, row, ctx.db, ctx.mode, ctx.me);
    }
    let group = ctx.group();
    let found = ctx.state.libraries.of(group).function(ctx.arg(1));
    let function = found.ok_or(NO_FUNCTION)?.clone();
    parse_i64(ctx.arg(2)).ok_or(BAD_KEYS)?;
    let (keys, args) = keys_and_args(ctx.argv)?;
    check_read_only(function.flags, read_only)?;
    let mut engine: Box<FunctionEngine> = engine::take(ctx.state, group)?;
    let result = match engine.function(function.handle) {
        None => Err(NO_FUNCTION),
        Some((vm, callback)) => {
            let mut terms = Terms::new(ctx, function.flags, read_only);
            let job = Job {
                function: callback,
                keys,
                args,
                kind: Kind::Function,
                name: function.name.as_bytes(),
            };
            run_job(vm, ctx, &mut terms, &job)
        }
    };
    ctx.state.scripts.functions.of_mut(group).put(engine);
    result
}

/// A change, which goes to the log as it came.
fn changed(ctx: &mut Ctx<'_>) {
    ctx.state.dirty += 1;
    // To a server that knows no groups these would be everybody's.
    if !ctx.group().is_default() {
        let argv: Vec<&[u8]> = ctx.argv.iter().collect();
        ctx.state.prop.replace_carried(&argv);
    }
}

fn load(ctx: &mut Ctx<'_>) -> CmdResult {
    let code = ctx.argc() - 1;
    let mut replace = false;
    for at in 2..code {
        if !ctx.arg(at).eq_ignore_ascii_case(b"replace") {
            return Err(CmdError::showing(
                "ERR Unknown option given: ",
                ctx.arg(at),
                "",
            ));
        }
        replace = true;
    }
    let library = Library::parse(ctx.arg(code).to_vec())?;
    let name = library.name().to_owned();
    functions::add(
        ctx.state,
        ctx.group(),
        library,
        replace,
        ctx.mode != Mode::Replay,
    )?;
    changed(ctx);
    ctx.out.bulk(name.as_bytes());
    Ok(Outcome::Done)
}

fn delete(ctx: &mut Ctx<'_>) -> CmdResult {
    let (group, name) = (ctx.group(), ctx.arg(2));
    if !ctx.state.libraries.of_mut(group).remove(name) {
        return Err(NO_LIBRARY);
    }
    functions::sweep(ctx.state, group);
    changed(ctx);
    ctx.ok()
}

fn flush(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = match ctx.argc() {
        2 => ctx.state.config.lazyfree_lazy_user_flush,
        3 if ctx.arg(2).eq_ignore_ascii_case(b"sync") => false,
        3 if ctx.arg(2).eq_ignore_ascii_case(b"async") => true,
        3 => return Err(BAD_FLUSH),
        _ => return Err(subcommand_syntax(ctx.arg(1), "FUNCTION")),
    };
    let group = ctx.group();
    let old = ctx.state.libraries.of_mut(group).clear();
    if lazy && !old.is_empty() {
        let count = old.len();
        ctx.state.garbage.later(Box::new(old), count);
    }
    functions::sweep(ctx.state, group);
    changed(ctx);
    ctx.ok()
}

fn dump_all(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut sink = Sink::to_memory(ctx.state.config.rdbcompression);
    ctx.state.libraries.of(ctx.group()).save(&mut sink);
    let payload = dump::seal(sink.into_vec(), saved::version_of(rdb::FUNCTION));
    ctx.out.bulk(&payload);
    Ok(Outcome::Done)
}

fn restore(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut flush, mut replace) = (false, false);
    match ctx.argc() {
        3 => {}
        4 => {
            let is = |policy: &[u8]| ctx.arg(3).eq_ignore_ascii_case(policy);
            (flush, replace) = (is(b"flush"), is(b"replace"));
            if !flush && !replace && !is(b"append") {
                return Err(BAD_POLICY);
            }
        }
        _ => return Err(subcommand_syntax(ctx.arg(1), "FUNCTION")),
    }
    let (body, _) = dump::open(ctx.arg(2), ctx.state.debug.skip_checksum).map_err(|_| BAD_FRAME)?;
    let (group, timed) = (ctx.group(), ctx.mode != Mode::Replay);
    functions::restore(ctx.state, group, body, (flush, replace), timed)?;
    changed(ctx);
    ctx.ok()
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut pattern, mut with_code) = (None, false);
    let mut at = 2;
    while at < ctx.argc() {
        let word = ctx.arg(at);
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            at += 1;
            if at == ctx.argc() {
                return Err(NO_NAME);
            }
            pattern = Some(ctx.arg(at));
        } else {
            return Err(CmdError::showing("ERR Unknown argument ", word, ""));
        }
        at += 1;
    }
    let libraries = ctx.state.libraries.of(ctx.group());
    let out = &mut *ctx.out;
    let hole = out.open();
    let mut count = 0;
    for library in libraries.matching(pattern.unwrap_or(b"*")) {
        out.map(3 + usize::from(with_code));
        out.bulk(b"library_name");
        out.bulk(library.name.as_bytes());
        out.bulk(b"engine");
        out.bulk(ENGINE.as_bytes());
        out.bulk(b"functions");
        out.array(library.functions.len());
        for function in &library.functions {
            out.map(3);
            out.bulk(b"name");
            out.bulk(function.name.as_bytes());
            out.bulk(b"description");
            match &function.description {
                Some(text) => out.bulk(text),
                None => out.null(),
            }
            out.bulk(b"flags");
            let names = script_flag::NAMES;
            out.set(function.flags.count_ones() as usize);
            for (_, name) in names.iter().filter(|(flag, _)| function.flags & flag != 0) {
                out.simple(name);
            }
        }
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&library.code);
        }
        count += 1;
    }
    out.close_array(hole, count);
    Ok(Outcome::Done)
}

fn stats(ctx: &mut Ctx<'_>) -> CmdResult {
    let group = ctx.group();
    let (out, state) = (&mut *ctx.out, &*ctx.state);
    // What another group runs, and with which arguments, is its own affair.
    let running = state.scripts.running.as_ref().filter(|r| r.group == group);
    if running.is_some_and(|running| running.kind == Kind::Script) {
        return Err(CmdError::new(state.scripts.busy_error()));
    }
    out.map(2);
    out.bulk(b"running_script");
    match running {
        None => out.null(),
        Some(running) => {
            let ran = ticks().saturating_sub(running.started);
            out.map(3);
            out.bulk(b"name");
            out.bulk(&running.name);
            out.bulk(b"command");
            let request = running.request.argv();
            out.array(request.len());
            for word in request.iter() {
                out.bulk(word);
            }
            out.bulk(b"duration_ms");
            out.int((state.stats.ticks_to_us(ran) / 1000) as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(ENGINE.as_bytes());
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(state.libraries.of(group).len() as i64);
    out.bulk(b"functions_count");
    out.int(state.libraries.of(group).functions() as i64);
    Ok(Outcome::Done)
}

fn kill(ctx: &mut Ctx<'_>) -> CmdResult {
    kill_running(ctx, Kind::Function)
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "LOAD [REPLACE] <FUNCTION CODE>",
        "    Create a new library with the given library name and code.",
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries:",
        "    * Library name",
        "    * The engine used to run the Library",
        "    * Library description",
        "    * Functions list",
        "    * Library code (if WITHCODE is given)",
        "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
        "STATS",
        "    Return information about the current function running:",
        "    * Function name",
        "    * Command used to run the function",
        "    * Duration in MS that the function is running",
        "    If no function is running, return nil",
        "    In addition, returns a list of available engines.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the libraries.",
        "    * SYNC: Synchronously flush the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries, can be restored using \
         FUNCTION RESTORE command",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
        "    Restore the libraries represented by the given payload, it is possible to give a restore \
         policy to",
        "    control how to handle existing libraries (default APPEND):",
        "    * FLUSH: delete all existing libraries.",
        "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
        "    * REPLACE: appends the restored libraries to the existing libraries, On collision, \
         replace the old",
        "      libraries with the new libraries (notice that even on this option there is a chance of \
         failure",
        "      in case of functions name collision with another library).",
    ])
}

#[cfg(test)]
mod tests;
