//! FUNCTION: the libraries that `state::libraries` keeps, listed, removed and carried from server to server.
//!
//! There is no engine yet: a library's functions are not known, none can be called, and a client cannot load
//! one, because that would have to say whether its code is sound. Files may hold libraries all the same, so
//! requests of an append only file do load them.
use crate::codec::{Sink, rdb};
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, subcommand_syntax};
use crate::exec::registry::Family;
use crate::state::libraries::{ENGINE, Libraries, Library, Refusal};
use crate::types::{dump, saved};
use acl::NONE;
use flag::{ALLOW_BUSY, DENYOOM, LOADING, NOSCRIPT, STALE, WRITE};

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

const CHANGES: u32 = WRITE | DENYOOM | NOSCRIPT;

/// FUNCTION.
pub static FAMILY: Family = Family {
    group: "scripting",
    acl: acl::SCRIPTING,
    commands: &[container("function", -2, 0, NONE, SUBS)],
};

const NO_ENGINE: CmdError = CmdError::new(
    "ERR This release keeps the function libraries of files and payloads, but cannot load or run any yet",
);
const NO_LIBRARY: CmdError = CmdError::new("ERR Library not found");
const NO_NAME: CmdError = CmdError::new("ERR library name argument was not given");
const NOT_BUSY: CmdError = CmdError::new("NOTBUSY No scripts in execution right now.");
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

/// A change, which goes to the log as it came.
fn changed(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.state.dirty += 1;
    ctx.ok()
}

fn load(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.mode != Mode::Replay {
        return Err(NO_ENGINE);
    }
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
    ctx.state.libraries.add(library, replace)?;
    changed(ctx)
}

fn delete(ctx: &mut Ctx<'_>) -> CmdResult {
    if !ctx.state.libraries.remove(ctx.arg(2)) {
        return Err(NO_LIBRARY);
    }
    changed(ctx)
}

fn flush(ctx: &mut Ctx<'_>) -> CmdResult {
    let lazy = match ctx.argc() {
        2 => ctx.state.config.lazyfree_lazy_user_flush,
        3 if ctx.arg(2).eq_ignore_ascii_case(b"sync") => false,
        3 if ctx.arg(2).eq_ignore_ascii_case(b"async") => true,
        3 => return Err(BAD_FLUSH),
        _ => return Err(subcommand_syntax(ctx.arg(1), "FUNCTION")),
    };
    let old = std::mem::take(&mut ctx.state.libraries);
    if lazy && !old.is_empty() {
        let count = old.len();
        ctx.state.garbage.later(Box::new(old), count);
    }
    changed(ctx)
}

fn dump_all(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut sink = Sink::to_memory(ctx.state.config.rdbcompression);
    ctx.state.libraries.save(&mut sink);
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
    let libraries = Libraries::load(body)?;
    if flush {
        ctx.state.libraries = libraries;
    } else {
        ctx.state.libraries.join(libraries, replace)?;
    }
    changed(ctx)
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
    let (out, libraries) = (&mut *ctx.out, &ctx.state.libraries);
    let hole = out.open();
    let mut count = 0;
    for (name, code) in libraries.matching(pattern.unwrap_or(b"*")) {
        out.map(3 + usize::from(with_code));
        out.bulk(b"library_name");
        out.bulk(name.as_bytes());
        out.bulk(b"engine");
        out.bulk(ENGINE.as_bytes());
        out.bulk(b"functions");
        // Nothing was compiled.
        out.array(0);
        if with_code {
            out.bulk(b"library_code");
            out.bulk(code);
        }
        count += 1;
    }
    out.close_array(hole, count);
    Ok(Outcome::Done)
}

fn stats(ctx: &mut Ctx<'_>) -> CmdResult {
    let out = &mut *ctx.out;
    out.map(2);
    out.bulk(b"running_script");
    out.null();
    out.bulk(b"engines");
    out.map(1);
    out.bulk(ENGINE.as_bytes());
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(ctx.state.libraries.len() as i64);
    out.bulk(b"functions_count");
    out.int(0);
    Ok(Outcome::Done)
}

fn kill(_: &mut Ctx<'_>) -> CmdResult {
    Err(NOT_BUSY)
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
mod tests {
    use super::*;
    use crate::exec::testing::Bench;

    const CODE: &[u8] = b"#!lua name=mylib\nsource text";

    fn bench() -> Bench {
        let mut bench = Bench::new(&[&FAMILY]);
        for code in [CODE, b"#!LUA name=Other\n"] {
            let library = Library::parse(code.to_vec()).unwrap();
            bench.state.libraries.add(library, false).unwrap();
        }
        bench
    }

    #[test]
    fn libraries_are_listed_and_removed() {
        let mut bench = bench();
        let other = "*6 $12 library_name $5 Other $6 engine $3 LUA $9 functions *0";
        let mine = "$12 library_name $5 mylib $6 engine $3 LUA $9 functions *0";
        for (line, reply) in [
            ("function list", format!("*2 {other} *6 {mine}")),
            ("function list libraryname OTH*", format!("*1 {other}")),
            (
                "function list withcode libraryname m*",
                format!("*1 *8 {mine} $12 library_code $28 #!lua name=mylib\nsource text"),
            ),
            ("function list libraryname x", "*0".to_owned()),
            (
                "function stats",
                "*4 $14 running_script $-1 $7 engines *2 $3 LUA *4 $15 libraries_count :2 $15 \
                 functions_count :0"
                    .to_owned(),
            ),
        ] {
            assert_eq!(bench.ask(line), reply, "{line}");
        }
        for (line, error) in [
            (
                "list libraryname",
                "ERR library name argument was not given",
            ),
            ("list x", "ERR Unknown argument x"),
            ("list withcode WithCode", "ERR Unknown argument WithCode"),
            (
                "list libraryname a libraryname b",
                "ERR Unknown argument libraryname",
            ),
            ("delete MYLIB", "ERR Library not found"),
            ("kill", "NOTBUSY No scripts in execution right now."),
            (
                "flush now",
                "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
            ),
            (
                "flush sync x",
                "ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.",
            ),
            (
                "restore x y z",
                "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION \
                 HELP.",
            ),
            (
                "restore x y",
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ),
            (
                "restore x append",
                "ERR DUMP payload version or checksum are wrong",
            ),
            (
                "load #!lua",
                "ERR This release keeps the function libraries of files and payloads, but cannot \
                 load or run any yet",
            ),
        ] {
            let line = format!("function {line}");
            assert_eq!(bench.ask(&line), format!("-{error}"), "{line}");
        }
        assert!(bench.logged().is_empty() && bench.state.dirty == 0);
        assert_eq!(
            bench.logs("function delete mylib"),
            ["SELECT 0", "function delete mylib"]
        );
        for line in [
            "function flush",
            "function FLUSH async",
            "function flush sync",
        ] {
            assert_eq!(bench.logs(line), [line]);
            assert!(bench.state.libraries.is_empty());
        }
        assert_eq!(bench.state.dirty, 4);
    }

    #[test]
    fn what_was_dumped_is_restored_by_the_policy_asked_for() {
        let mut bench = bench();
        let dumped = |bench: &Bench| {
            let mut sink = Sink::to_memory(bench.state.config.rdbcompression);
            bench.state.libraries.save(&mut sink);
            dump::seal(sink.into_vec(), 10)
        };
        let both = dumped(&bench);
        bench.ask("function delete Other");
        let mine = dumped(&bench);
        bench.logged();

        let mut restore = |policy: &str, payload: &[u8]| {
            let words = [&b"function"[..], b"restore", payload, policy.as_bytes()];
            let reply = bench.request(words);
            let all = &bench.state.libraries;
            let names: Vec<_> = all.iter().map(|(name, _)| name.to_owned()).collect();
            (reply, names.join(" "), bench.logged().len())
        };
        let refused = "-ERR Library mylib already exists".to_owned();
        assert_eq!(restore("append", &both), (refused, "mylib".into(), 0));
        let ok = "+OK".to_owned();
        assert_eq!(
            restore("REPLACE", &both),
            (ok.clone(), "Other mylib".into(), 1)
        );
        assert_eq!(restore("Flush", &mine), (ok, "mylib".into(), 1));
        let words = [&b"function"[..], b"restore", &both];
        assert_eq!(bench.request(words), "-ERR Library mylib already exists");
        assert_eq!(bench.state.dirty, 3);
    }

    /// FUNCTION DUMP of redis-server 7.0.15, and what it takes for the same.
    #[test]
    fn payloads_are_those_of_redis() {
        let payload = dump::seal(Vec::new(), saved::version_of(rdb::FUNCTION));
        assert_eq!(payload, b"\x0a\0\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda");
        let mut bench = bench();
        bench.state.flush_all(false);
        assert_eq!(bench.state.libraries.len(), 2, "FLUSHALL is about keys");
        let flushed = bench.request([&b"function"[..], b"restore", &payload, b"flush"]);
        assert_eq!(flushed, "+OK");
        assert!(bench.state.libraries.is_empty());
    }
}
