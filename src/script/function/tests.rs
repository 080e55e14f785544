//! FUNCTION and FCALL without a network. Texts are those of redis-server 7.0.15.
use super::*;
use crate::exec::testing::Bench;
use crate::state::groups::GroupId;

/// Commands to call, of which the keyspace need not know.
static KEYS_FAMILY: Family = Family {
    group: "string",
    acl: acl::STRING,
    commands: &[
        cmd("get", 2, READONLY, NONE, NO_KEYS, |ctx| {
            ctx.out.bulk(b"7");
            Ok(Outcome::Done)
        }),
        cmd("incr", 2, WRITE | DENYOOM, NONE, NO_KEYS, |ctx| {
            ctx.state.dirty += 1;
            ctx.int(1)
        }),
        cmd("set", 3, WRITE | DENYOOM, NONE, NO_KEYS, |ctx| ctx.ok()),
    ],
};

/// Loads a library of this body behind its first line: the reply.
fn load(bench: &mut Bench, name: &str, body: &str) -> String {
    let code = format!("#!lua name={name}\n{body}");
    bench.request([&b"function"[..], b"load", b"replace", code.as_bytes()])
}

fn bench() -> Bench {
    let mut bench = Bench::new(&[&FAMILY, &KEYS_FAMILY]);
    let body = "redis.register_function('f1', function(keys, args) return {keys, args} end)
        redis.register_function{function_name = 'F2', description = 'what it does',
            callback = function() return redis.call('get', 'x') end,
            flags = {'no-writes', 'allow-stale'}}";
    assert_eq!(load(&mut bench, "mylib", body), "$5 mylib");
    let body =
        "redis.register_function('inc', function(keys) return redis.call('incr', keys[1]) end)";
    assert_eq!(load(&mut bench, "Other", body), "$5 Other");
    bench.logged();
    bench
}

const OTHER: &str = "$12 library_name $5 Other $6 engine $3 LUA $9 functions *1 *6 $4 name $3 inc $11 \
                     description $-1 $5 flags *0";

#[test]
fn libraries_are_listed_and_removed() {
    let mut bench = bench();
    let mine = "$12 library_name $5 mylib $6 engine $3 LUA $9 functions *2 *6 $4 name $2 f1 $11 \
                description $-1 $5 flags *0 *6 $4 name $2 F2 $11 description $12 what it does $5 flags *2 \
                +no-writes +allow-stale";
    for (line, reply) in [
        ("function list", format!("*2 *6 {OTHER} *6 {mine}")),
        ("function list libraryname OTH*", format!("*1 *6 {OTHER}")),
        ("function list libraryname x", "*0".to_owned()),
        (
            "function stats",
            "*4 $14 running_script $-1 $7 engines *2 $3 LUA *4 $15 libraries_count :2 $15 \
             functions_count :3"
                .to_owned(),
        ),
    ] {
        assert_eq!(bench.ask(line), reply, "{line}");
    }
    let shown = bench.ask("function list withcode libraryname o*");
    assert!(
        shown.starts_with(&format!("*1 *8 {OTHER} $12 library_code $102 ")),
        "{shown}"
    );
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
            "ERR unknown subcommand or wrong number of arguments for 'restore'. Try FUNCTION HELP.",
        ),
        (
            "restore x y",
            "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
        ),
        (
            "restore x append",
            "ERR DUMP payload version or checksum are wrong",
        ),
        ("load #!lua", "ERR Invalid library metadata"),
        ("load replace", "ERR Missing library metadata"),
        ("load x y", "ERR Unknown option given: x"),
    ] {
        let line = format!("function {line}");
        assert_eq!(bench.ask(&line), format!("-{error}"), "{line}");
    }
    assert!(bench.logged().is_empty() && bench.state.dirty == 2);
    let deleting = "function delete mylib";
    assert_eq!(bench.logs(deleting), [deleting]);
    for line in [
        "function flush",
        "function FLUSH async",
        "function flush sync",
    ] {
        assert_eq!(bench.logs(line), [line]);
        assert!(bench.state.libraries.of(GroupId::DEFAULT).is_empty());
    }
    assert_eq!(bench.state.dirty, 6);
    let known = bench
        .state
        .scripts
        .functions
        .of(GroupId::DEFAULT)
        .figures()
        .known;
    assert_eq!(known, 0, "the engine has forgotten them");
}

#[test]
fn functions_are_called_by_name_in_any_case() {
    let mut bench = bench();
    for (line, reply) in [
        ("fcall f1 0", "*2 *0 *0"),
        ("fcall F1 1 a b c", "*2 *1 $1 a *2 $1 b $1 c"),
        ("fcall inc 1 n", ":1"),
        ("fcall_ro f2 0", "$1 7"),
        ("fcall f2 0", "$1 7"),
        ("fcall nope x", "-ERR Function not found"),
        ("fcall f1 x", "-ERR Bad number of keys provided"),
        ("fcall f1 -1", "-ERR Number of keys can't be negative"),
        (
            "fcall f1 2 a",
            "-ERR Number of keys can't be greater than number of args",
        ),
        (
            "fcall_ro inc 1 n",
            "-ERR Can not execute a script with write flag using *_ro command.",
        ),
    ] {
        assert_eq!(bench.ask(line), reply, "{line}");
    }
    // Its effects are logged, not the call.
    assert_eq!(bench.logs("fcall inc 1 n"), ["incr n"]);
}

#[test]
fn what_goes_wrong_in_a_function_is_told_with_its_name() {
    let mut bench = bench();
    let body = "redis.register_function('f3', function() error('boom') end)
        redis.register_function('f4', function() x = 1 end)
        redis.register_function('f5', function() redis.register_function('g', redis.log) end)
        redis.register_function('f6', function() return KEYS end)
        local lib = redis
        redis.register_function('f7', function() lib.register_function('g', redis.log) end)
        redis.register_function('f8', function() lib.math = 1 end)
        redis.register_function{function_name = 'f9', flags = {'no-writes'},
            callback = function() return redis.call('set', 'x', 1) end}";
    assert_eq!(load(&mut bench, "bad", body), "$3 bad");
    for (name, error) in [
        (
            "f3",
            "user_function:2: boom script: f3, on @user_function:2.",
        ),
        (
            "f4",
            "user_function:3: Attempt to modify a readonly table script: f4, on @user_function:3.",
        ),
        (
            "f5",
            "user_function:4: attempt to call field 'register_function' (a nil value) script: f5, on \
             @user_function:4.",
        ),
        (
            "f6",
            "user_function:5: Script attempted to access nonexistent global variable 'KEYS' script: f6, \
             on @user_function:5.",
        ),
        (
            "f7",
            "redis.register_function can only be called on FUNCTION LOAD command script: f7, on \
             @user_function:7.",
        ),
        (
            "f8",
            "user_function:8: Attempt to modify a readonly table script: f8, on @user_function:8.",
        ),
        (
            "f9",
            "Write commands are not allowed from read-only scripts. script: f9, on @user_function:10.",
        ),
    ] {
        assert_eq!(
            bench.ask(&format!("fcall {name} 0")),
            format!("-ERR {error}"),
            "{name}"
        );
    }
    assert_eq!(bench.ask("fcall f1 0"), "*2 *0 *0");
}

/// Nothing of a library that fails to load stays, and what was there before does.
#[test]
fn a_library_that_does_not_load_changes_nothing() {
    let mut bench = bench();
    let registering = |text: &str| format!("Error registering functions: ERR {text}");
    let unknown = |name: &str| {
        registering(&format!(
            "user_function:2: Script attempted to access nonexistent global variable '{name}'"
        ))
    };
    let named = |rest: &str| format!("redis.register_function{{{rest}}}");
    let ok = "function_name = 'f', callback = function() end";
    for (body, error) in [
        (
            "bad script".to_owned(),
            "Error compiling function: user_function:2: '=' expected near 'script'".to_owned(),
        ),
        ("return 1".to_owned(), "No functions registered".to_owned()),
        (
            "\u{1b}Lua".to_owned(),
            "Error compiling function: ".to_owned(),
        ),
        ("error('x')".to_owned(), unknown("error")),
        ("local a = _G".to_owned(), unknown("_G")),
        ("local a = cjson".to_owned(), unknown("cjson")),
        ("redis.call('ping')".to_owned(), unknown("call")),
        ("local a = redis.REPL_ALL".to_owned(), unknown("REPL_ALL")),
        (
            "local a = redis.LOG_DEBUG + redis.REDIS_VERSION_NUM".to_owned(),
            "No functions registered".to_owned(),
        ),
        (
            "a = 1".to_owned(),
            registering("user_function:2: Attempt to modify a readonly table"),
        ),
        (
            "redis.a = 1".to_owned(),
            registering("user_function:2: Attempt to modify a readonly table"),
        ),
        (
            "local function f() return 1 + f() end f()".to_owned(),
            registering("user_function:2: stack overflow"),
        ),
        (
            "redis.register_function()".to_owned(),
            registering("wrong number of arguments to redis.register_function"),
        ),
        (
            "redis.register_function('f')".to_owned(),
            registering(
                "calling redis.register_function with a single argument is only applicable to Lua table \
                 (representing named arguments).",
            ),
        ),
        (
            "redis.register_function({}, function() end)".to_owned(),
            registering("first argument to redis.register_function must be a string"),
        ),
        (
            "redis.register_function('f', 1)".to_owned(),
            registering("second argument to redis.register_function must be a function"),
        ),
        (
            "redis.register_function('a-b', function() end)".to_owned(),
            registering(crate::state::libraries::BAD_NAME),
        ),
        (
            "redis.register_function('f', redis.log) redis.register_function('F', redis.log)"
                .to_owned(),
            registering("Function already exists in the library"),
        ),
        (
            named("function_name = 'f', callback = 1"),
            registering("callback argument given to redis.register_function must be a function"),
        ),
        (
            named(&format!("{ok}, description = {{}}")),
            registering("description argument given to redis.register_function must be a string"),
        ),
        (
            named(&format!("{ok}, flags = 'x'")),
            registering(
                "flags argument to redis.register_function must be a table representing function flags",
            ),
        ),
        (
            named(&format!("{ok}, flags = {{1}}")),
            registering("unknown flag given"),
        ),
        (
            named(&format!("{ok}, [1] = 1")),
            registering("unknown argument given to redis.register_function"),
        ),
        (
            named(&format!("{ok}, [true] = 1")),
            registering("named argument key given to redis.register_function is not a string"),
        ),
        (
            named("callback = function() end"),
            registering("redis.register_function must get a function name argument"),
        ),
        (
            named("function_name = 'f'"),
            registering("redis.register_function must get a callback argument"),
        ),
        (
            "redis.register_function('INC', function() end)".to_owned(),
            "Function INC already exists".to_owned(),
        ),
    ] {
        let told = load(&mut bench, "mylib", &body);
        assert!(told.starts_with(&format!("-ERR {error}")), "{body}: {told}");
    }
    assert_eq!(functions_known(&bench), (3, 3));
    assert!(bench.logged().is_empty());
    // What a table names as a number is taken, and a name may change its case.
    let body = "redis.register_function{function_name = 1, callback = redis.log, description = 3}
        redis.register_function('F1', function() return 1 end)";
    assert_eq!(load(&mut bench, "mylib", body), "$5 mylib");
    assert_eq!(bench.ask("fcall f1 0"), ":1");
}

/// How many functions the engine knows, and how many there are.
fn functions_known(bench: &Bench) -> (usize, usize) {
    let engine = bench.state.scripts.functions.of(GroupId::DEFAULT);
    let libraries = bench.state.libraries.of(GroupId::DEFAULT);
    (engine.figures().known, libraries.functions())
}

#[test]
fn what_was_dumped_is_restored_by_the_policy_asked_for() {
    let mut bench = bench();
    let dumped = |bench: &Bench| {
        let mut sink = Sink::to_memory(bench.state.config.rdbcompression);
        bench.state.libraries.of(GroupId::DEFAULT).save(&mut sink);
        dump::seal(sink.into_vec(), 10)
    };
    let both = dumped(&bench);
    bench.ask("function delete Other");
    let mine = dumped(&bench);
    bench.logged();

    let mut restore = |policy: &str, payload: &[u8]| {
        let words = [&b"function"[..], b"restore", payload, policy.as_bytes()];
        let reply = bench.request(words);
        let all = bench.state.libraries.of(GroupId::DEFAULT);
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
    assert_eq!(restore("Flush", &mine), (ok.clone(), "mylib".into(), 1));
    // What does not compile is no reason to forget what does.
    let code = b"#!lua name=zzz\nno lua";
    let mut sink = Sink::to_memory(false);
    sink.byte(rdb::FUNCTION);
    sink.string(code);
    let broken = dump::seal(sink.into_vec(), 10);
    let (told, names, logged) = restore("flush", &broken);
    assert!(
        told.starts_with("-ERR Error compiling function: "),
        "{told}"
    );
    assert_eq!((&names[..], logged), ("mylib", 0));

    let words = [&b"function"[..], b"restore", &both];
    assert_eq!(bench.request(words), "-ERR Library mylib already exists");
    assert_eq!(
        load(
            &mut bench,
            "thief",
            "redis.register_function('INC', redis.log)"
        ),
        "$5 thief"
    );
    let words = [&b"function"[..], b"restore", &both, b"replace"];
    assert_eq!(bench.request(words), "-ERR Function inc already exists");
    assert_eq!(functions_known(&bench), (3, 3));
    assert_eq!(bench.ask("fcall f1 0"), "*2 *0 *0");
}

/// FUNCTION DUMP of redis-server 7.0.15, and what it takes for the same.
#[test]
fn payloads_are_those_of_redis() {
    let payload = dump::seal(Vec::new(), saved::version_of(rdb::FUNCTION));
    assert_eq!(payload, b"\x0a\0\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda");
    let mut bench = bench();
    bench.state.flush_all(GroupId::DEFAULT, false);
    assert_eq!(
        bench.state.libraries.of(GroupId::DEFAULT).len(),
        2,
        "FLUSHALL is about keys"
    );
    let flushed = bench.request([&b"function"[..], b"restore", &payload, b"flush"]);
    assert_eq!(flushed, "+OK");
    assert!(bench.state.libraries.of(GroupId::DEFAULT).is_empty());
}

/// Half a second is the limit for a client, as in Redis; nothing catches the end.
#[test]
fn a_library_that_loads_for_ever_is_ended() {
    let mut bench = bench();
    let told = load(&mut bench, "endless", "while true do end");
    assert_eq!(
        told,
        "-ERR Error registering functions: ERR FUNCTION LOAD timeout"
    );
    let body =
        "local s = ('x'):rep(100) while true do s:gsub('x', function() while true do end end) end";
    let told = load(&mut bench, "endless", body);
    assert_eq!(
        told,
        "-ERR Error registering functions: ERR FUNCTION LOAD timeout"
    );
    // As a payload, too.
    let mut sink = Sink::to_memory(false);
    sink.byte(rdb::FUNCTION);
    sink.string(b"#!lua name=endless\nwhile true do end");
    let payload = dump::seal(sink.into_vec(), 10);
    assert_eq!(
        bench.request([&b"function"[..], b"restore", &payload]),
        "-ERR Error registering functions: ERR FUNCTION LOAD timeout"
    );
    assert_eq!(bench.ask("fcall f1 0"), "*2 *0 *0");
}
