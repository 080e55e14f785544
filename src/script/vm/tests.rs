//! The interpreter at its limits: each of these scripts once ended the process, or could.
use crate::exec::testing::Bench;
use crate::script::{eval, function};

/// Memory for a script of these tests.
const LIMIT: usize = 8 << 20;

fn bench() -> Bench {
    let mut bench = Bench::new(&[&eval::FAMILY, &function::FAMILY]);
    bench.state.config.script_memory_limit = LIMIT as u64;
    bench
}

fn eval(bench: &mut Bench, code: &str) -> String {
    bench.request([&b"eval"[..], code.as_bytes(), b"0"])
}

/// Many strings come and go, so that the collector makes the table of strings smaller, for which it needs
/// memory; then all there is is eaten.
const FILL: &str = "local t = {} for i = 1, 60000 do t[i] = 'k' .. i end t = nil
    collectgarbage() collectgarbage('stop')
    local s = string.rep('y', 16000) for i = 1, 1e9 do ARGV[i] = s .. i end";

/// A refusal of memory outside a protected call ends the process: the collector is not to meet one.
#[test]
fn a_full_interpreter_is_cleaned_up() {
    let mut bench = bench();
    for _ in 0..3 {
        let reply = eval(&mut bench, FILL);
        assert!(
            reply.starts_with("-ERR not enough memory script: "),
            "{reply}"
        );
        assert_eq!(eval(&mut bench, "return 1"), ":1");
    }
    // What is left of one that was not told is cleaned up by and by.
    let caught = format!("pcall(loadstring([[{FILL}]])) return #ARGV > 100 and 1");
    assert_eq!(eval(&mut bench, &caught), ":1");
    assert!(bench.state.scripts.vm_bytes() < LIMIT / 2);
}

/// The first function that is given up makes the list of free places.
#[test]
fn functions_are_given_up_when_memory_is_full() {
    let mut bench = bench();
    let fill = FILL.replace("ARGV", "ARGV_");
    let code = format!(
        "#!lua name=lib\nlocal ARGV_ = {{}} {fill} redis.register_function('f', function() end)"
    );
    for _ in 0..3 {
        let reply = bench.request([&b"function"[..], b"load", code.as_bytes()]);
        assert!(reply.starts_with("-ERR "), "{reply}");
    }
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let reply = bench.request([&b"function"[..], b"load", code.as_bytes()]);
    assert_eq!(reply, "$3 lib");
    assert_eq!(bench.ask("fcall f 0"), ":1");
}

/// Lua knows of no limit: left to itself it lets garbage grow to a multiple of what stays before it begins to
/// collect it, which may be more than there is.
#[test]
fn garbage_is_gone_before_memory_is() {
    let mut bench = bench();
    let code = "local keep = {} for i = 1, 45 do keep[i] = i .. string.rep('x', 100000) end
        for i = 1, 2000 do local s = string.rep('y', 50000 + i) end return #keep";
    assert_eq!(eval(&mut bench, code), ":45");
    let code = "local keep = {} for i = 1, 45000 do keep[i] = i .. string.rep('x', 80) end
        for i = 1, 1e6 do local s = 'a' .. i .. 'bcdefghijklmnopqrstuvwxyzbcdefghijklmnopqrstuvwxyz' end
        return #keep";
    assert_eq!(eval(&mut bench, code), ":45000");
}
