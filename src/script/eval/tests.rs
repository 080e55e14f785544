//! EVAL without a network: which scripts are kept, and what others may do while one is busy.
use super::*;
use crate::exec::command::{NO_KEYS, flag};
use crate::exec::process::process;
use crate::exec::registry::Registry;
use crate::exec::testing::Bench;
use crate::resp::argv::OwnedArgv;
use crate::resp::reply::Writer;
use crate::script::function;
use crate::state::client::{ClientId, Peer};
use crate::state::scripts::Host;
use std::cell::RefCell;
use std::rc::Rc;

/// Commands to call, of which the keyspace need not know.
static KEYS_FAMILY: Family = Family {
    group: "string",
    acl: acl::STRING,
    commands: &[
        cmd("ping", 1, flag::FAST, NONE, NO_KEYS, |ctx| ctx.ok()),
        cmd("set", 3, flag::WRITE, NONE, NO_KEYS, |ctx| {
            ctx.state.dirty += 1;
            ctx.ok()
        }),
    ],
};

const FAMILIES: &[&Family] = &[&FAMILY, &KEYS_FAMILY, &function::FAMILY];

fn eval(bench: &mut Bench, code: &str) -> String {
    bench.request([&b"eval"[..], code.as_bytes(), b"0"])
}

fn exists(bench: &mut Bench, code: &str) -> bool {
    let digest = hex(&digest(code.as_bytes()));
    let reply = bench.request([&b"script"[..], b"exists", &digest]);
    reply == "*1 :1"
}

#[test]
fn of_the_scripts_that_only_eval_brought_the_last_ones_are_kept() {
    let mut bench = Bench::new(FAMILIES);
    let code = |n: usize| format!("return {n}");
    for n in 0..EVALLED_MAX {
        assert_eq!(eval(&mut bench, &code(n)), format!(":{n}"));
    }
    // One is loaded on purpose, another used again: both stay.
    bench.request([&b"script"[..], b"load", code(0).as_bytes()]);
    assert_eq!(eval(&mut bench, &code(1)), ":1");
    assert_eq!(bench.state.stats.evicted_scripts, 0);
    for n in 0..2 {
        eval(&mut bench, &code(EVALLED_MAX + n));
    }
    assert_eq!(bench.state.stats.evicted_scripts, 1);
    for (n, there) in [(0, true), (1, true), (2, false), (3, true)] {
        assert_eq!(exists(&mut bench, &code(n)), there, "{n}");
    }
    let known = bench.state.scripts.figures().0;
    assert_eq!(known.known, EVALLED_MAX + 1);
    // Its place is another's now, and it comes back.
    assert_eq!(eval(&mut bench, &code(2)), ":2");
    assert_eq!(
        eval(&mut bench, &code(EVALLED_MAX)),
        format!(":{EVALLED_MAX}")
    );
    // Loaded ones have no end.
    for n in 0..EVALLED_MAX + 10 {
        bench.request([&b"script"[..], b"load", code(10_000 + n).as_bytes()]);
    }
    assert!(exists(&mut bench, &code(10_000)));
}

#[test]
fn scripts_go_before_there_is_no_memory_for_another() {
    let mut bench = Bench::new(FAMILIES);
    bench.state.config.script_memory_limit = 4 << 20;
    for n in 0..40 {
        // Each takes a few hundred kilobytes when it is compiled.
        let values: Vec<_> = (0..8000).map(|v| format!("'{n}_{v}'")).collect();
        let lists: Vec<_> = values.chunks(200).map(|some| some.join(",")).collect();
        let code = format!("local t = {{{{{}}}}} return {n}", lists.join("},{"));
        assert_eq!(eval(&mut bench, &code), format!(":{n}"));
    }
    assert!(bench.state.stats.evicted_scripts > 0);
}

#[test]
fn the_memory_of_scripts_is_not_the_keys() {
    let mut bench = Bench::new(FAMILIES);
    let before = bench.state.uncounted_bytes();
    eval(&mut bench, "return 1");
    let vm_bytes = bench.state.scripts.vm_bytes();
    assert!(vm_bytes > 10_000 && bench.state.uncounted_bytes() >= before + vm_bytes);
}

/// What another client asks while a script is busy, and gets: each of these once. Then the script is ended.
struct Asks {
    table: Registry,
    who: ClientId,
    requests: Vec<&'static str>,
    replies: Rc<RefCell<Vec<String>>>,
    kills: bool,
}

impl Host for Asks {
    fn serve(&mut self, state: &mut State) {
        for request in self.requests.drain(..) {
            let argv: OwnedArgv = request.split(' ').map(str::as_bytes).collect();
            let mut out = Writer::new(false);
            let row = self.table.find(argv.argv().get(0));
            process(state, &self.table, row, argv.argv(), &mut out, self.who);
            let reply = String::from_utf8_lossy(&out.to_vec()).replace("\r\n", "");
            self.replies.borrow_mut().push(reply);
        }
        if self.kills
            && let Some(running) = &mut state.scripts.running
        {
            running.end = Some(End::Killed);
        }
    }
}

/// Busy at once, and served by somebody who asks this.
fn asked(bench: &mut Bench, requests: &[&'static str]) -> Rc<RefCell<Vec<String>>> {
    bench.state.config.busy_reply_threshold = 1;
    let replies = Rc::new(RefCell::new(Vec::new()));
    bench.state.scripts.host = Some(Box::new(Asks {
        table: Registry::new(FAMILIES, &|_| None),
        who: bench.state.open_session(Peer::None),
        requests: requests.to_vec(),
        replies: replies.clone(),
        kills: requests.is_empty(),
    }));
    replies
}

const BUSY: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

/// With `maxmemory` set each request looks for room, and what that removes is a unit of its own: it was the
/// running script's that ended there, so that the AOF had half of it without the other.
#[test]
fn a_request_that_is_refused_ends_nobodys_unit() {
    let mut bench = Bench::new(FAMILIES);
    bench.state.config.maxmemory = 1;
    bench.state.apply_config();
    bench.logged();
    let replies = asked(&mut bench, &["ping", "set x 1"]);
    let code = "#!lua flags=allow-oom\nredis.call('set', 'a', 1) for i = 1, 3e7 do end
        redis.call('set', 'b', 1) return 1";
    assert_eq!(eval(&mut bench, code), ":1");
    assert_eq!(*replies.borrow(), [BUSY, BUSY]);
    assert_eq!(
        bench.logged(),
        ["SELECT 0", "MULTI", "set a 1", "set b 1", "EXEC"]
    );
}

/// In the order in which redis-server 7.0.15 looks at it.
#[test]
fn what_has_written_is_killed_by_neither_command() {
    let mut bench = Bench::new(FAMILIES);
    let kills = &["function kill", "script kill"];
    let replies = asked(&mut bench, kills);
    let code = "redis.call('set', 'a', 1) for i = 1, 3e7 do end return 1";
    assert_eq!(eval(&mut bench, code), ":1");
    let replies = replies.borrow();
    assert!(
        replies[0].starts_with("-UNKILLABLE ") && replies[0] == replies[1],
        "{replies:?}"
    );
    let replies = asked(&mut bench, kills);
    let told = eval(&mut bench, "while true do end");
    assert!(
        told.starts_with("-ERR Error running script") || told.contains("Script killed by user"),
        "{told}"
    );
    assert_eq!(*replies.borrow(), [BUSY, "+OK"]);
}

/// The hook counts each thread's instructions for itself: threads that are short enough were never looked at,
/// and this one would run for a year.
#[test]
fn a_script_of_many_short_coroutines_can_be_killed() {
    for code in [
        "local function f(d) if d == 0 then for i = 1, 20000 do end return end
            for i = 1, 8000 do coroutine.wrap(f)(d - 1) end end f(4)",
        "local function f(d) if d == 0 then for i = 1, 20000 do end return end
            for i = 1, 8000 do coroutine.resume(coroutine.create(f), d - 1) end end f(4)",
        "local t = {} for i = 1, 20000 do
            t[i] = coroutine.create(function() for i = 1, 20000 do end end) end
            while true do for i = 1, #t do coroutine.resume(t[i]) end end",
    ] {
        let mut bench = Bench::new(FAMILIES);
        asked(&mut bench, &[]);
        let told = eval(&mut bench, code);
        assert!(told.contains("Script killed by user"), "{told}");
    }
}

/// As redis-server 7.0.15 answers.
#[test]
fn coroutines_are_luas_own() {
    let mut bench = Bench::new(FAMILIES);
    for (code, reply) in [
        (
            "local c = coroutine.create(function(a, b) local d = coroutine.yield(a + b) return d, 9 end)
                local x, y = coroutine.resume(c, 1, 2) local u, v, w = coroutine.resume(c, 7)
                return {tostring(x), y, tostring(u), v, w, coroutine.status(c)}",
            "*6 $4 true :3 $4 true :7 :9 $4 dead",
        ),
        (
            "local n = 0 for x in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do
                n = n + x end return n",
            ":6",
        ),
        (
            // One less than there: the entry into Lua is a call, too.
            "local d = 0 local function f() d = d + 1 return coroutine.wrap(f)() end pcall(f) return d",
            ":198",
        ),
        (
            "local f = coroutine.wrap(function() error('x') end) local _, e = pcall(f) return e",
            "$16 user_script:1: x",
        ),
        (
            "local f = coroutine.wrap(function() error('x') end) f()",
            "-ERR user_script:1: user_script:1: x script:",
        ),
        (
            "local f = coroutine.wrap(function() error({err = 'x'}) end) f()",
            "-x script:",
        ),
        (
            "local f = coroutine.wrap(function() end) f() f()",
            "-ERR user_script:1: cannot resume dead coroutine script:",
        ),
        (
            "local c c = coroutine.create(function() local a, b = coroutine.resume(c) return b end)
                local a, b = coroutine.resume(c) return b",
            "$31 cannot resume running coroutine",
        ),
        (
            "local c c = coroutine.create(function() local d = coroutine.create(function()
                local a, b = coroutine.resume(c) return b end)
                local a, b = coroutine.resume(d) return b end)
                local a, b = coroutine.resume(c) return b",
            "$30 cannot resume normal coroutine",
        ),
        (
            "return coroutine.resume(1)",
            "-ERR user_script:1: bad argument #1 to 'resume' (coroutine expected) script:",
        ),
        (
            "return coroutine.wrap(tostring)",
            "-ERR user_script:1: bad argument #1 to 'wrap' (Lua function expected) script:",
        ),
    ] {
        let told = eval(&mut bench, code);
        assert!(told.starts_with(reply), "{code}: {told}");
    }
}
