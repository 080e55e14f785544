//! What the server tells about itself, where no test of Redis's suite asks: the logs of large commands,
//! hot keys, sizes of keys, filters of CLIENT LIST, modules, and what a crash report shows.
use crate::harness::{Server, is_oracle, wait_until};
use nix::sys::signal::Signal;

const GUARDED: &[&str] = &["--enable-debug-command", "local", "--save", ""];

#[test]
fn large_requests_and_replies_are_logged_with_their_sizes() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut a = server.raw();
    a.ask("config set commandlog-request-larger-than 100");
    let long = "x".repeat(20_000);
    assert_eq!(a.ask(&format!("set k {long}")), "OK");
    let shown = format!("{}... (19872 more bytes)", "x".repeat(128));
    let entry = a.ask("commandlog get -1 large-request");
    assert!(
        entry.contains(&format!(":20030, [\"set\", \"k\", \"{shown}\"]")),
        "{entry}"
    );
    // By reference, by copy, and as a whole transaction.
    a.ask("config set commandlog-reply-larger-than 100");
    a.ask("get k");
    assert_eq!(a.ask("commandlog len large-reply"), ":1");
    a.ask("config set commandlog-reply-larger-than 50000");
    a.ask("rpush l 1");
    for _ in 0..3 {
        a.ask(&format!("append k {long}"));
    }
    a.ask("getrange k 0 -1");
    a.ask("multi");
    a.ask("get l");
    a.ask("get k");
    a.ask("exec");
    let entries = a.ask("commandlog get -1 large-reply");
    let names = ["[\"exec\"]", "[\"getrange\", \"k\"", "[\"get\", \"k\"]"];
    let at: Vec<_> = names.iter().map(|name| entries.find(name)).collect();
    assert!(at.is_sorted() && at[0].is_some(), "{entries}");
    assert_eq!(a.ask("commandlog reset large-reply"), "OK");
    assert_eq!(a.ask("commandlog len large-reply"), ":0");
    // A secret is none of a log's business.
    a.ask(&format!("config set requirepass {long}"));
    let entry = a.ask("commandlog get 1 large-request");
    assert!(
        !entry.contains("requirepass") || entry.contains("(redacted)"),
        "{entry}"
    );
    for (request, error) in [
        (
            "commandlog get x slow",
            "ERR count should be greater than or equal to -1",
        ),
        (
            "commandlog get 1 fast",
            "ERR type should be one of the following: slow, large-request, large-reply",
        ),
        (
            "commandlog len",
            "ERR wrong number of arguments for 'commandlog|len' command",
        ),
    ] {
        assert_eq!(a.ask(request), format!("(error) {error}"));
    }
}

#[test]
fn a_hot_key_is_named_first() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut a = server.raw();
    a.ask("hotkeys reset");
    a.ask("select 3");
    for n in 0..300 {
        a.ask("incr hot");
        if n % 10 == 0 {
            a.ask(&format!("set cold:{n} 1"));
        }
    }
    let found = a.ask("hotkeys get net count 1");
    assert!(
        found.contains("\"by-net\", [[\"key\", \"hot\", \"db\", :3, \"net-bytes\", :"),
        "{found}"
    );
    let empty = a.ask("hotkeys get net db 1");
    assert!(empty.ends_with("\"by-net\", []]"), "{empty}");
    a.ask("config set hotkey-top-k 0");
    let off = "(error) ERR Hot keys are not looked for: hotkey-top-k is 0";
    assert_eq!(a.ask("hotkeys get"), off);
}

#[test]
fn key_sizes_are_counted_for_all_types() {
    if is_oracle() {
        return;
    }
    let server = Server::with(GUARDED);
    let mut a = server.raw();
    for request in [
        "set s abcd",
        "rpush l 1 2 3",
        "sadd t 1",
        "zadd z 1 a 2 b",
        "hset h a 1",
    ] {
        a.ask(request);
    }
    let shown = a.ask("info keysizes");
    for line in [
        "strings_sizes:4=1",
        "lists_items:2=1",
        "sets_items:1=1",
        "zsets_items:2=1",
        "hashes_items:1=1",
    ] {
        assert!(
            shown.contains(&format!("db0_distrib_{line}\\r\\n")),
            "{line} in {shown}"
        );
    }
    // More than INFO counts at once: the cron does the rest.
    a.ask("debug populate 20000");
    wait_until("all keys are counted", || {
        a.ask("info keysizes")
            .contains("strings_sizes:4=11,8=19990")
    });
}

#[test]
fn clients_are_told_apart_by_more_than_their_address() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let (mut a, mut b) = (server.raw(), server.raw());
    a.ask("client setname first");
    b.ask("client setname second");
    b.ask("client setinfo lib-name lib");
    b.ask("select 2");
    let mut named = |filter: &str| {
        let list = a.ask(&format!("client list {filter}"));
        [list.contains("name=first"), list.contains("name=second")]
    };
    for (filter, expected) in [
        ("name second", [false, true]),
        ("not-name second", [true, false]),
        ("lib-name lib db 2", [false, true]),
        ("not-db 2", [true, false]),
        ("ip 127.0.0.1 flags N", [true, true]),
        ("not-ip 127.0.0.1", [false, false]),
        ("name first not-name first", [false, false]),
    ] {
        assert_eq!(named(filter), expected, "{filter}");
    }
    assert_eq!(a.ask("client kill lib-name lib not-name first"), ":1");
    assert_eq!(b.read_to_end(), b"");
}

#[test]
fn there_are_no_modules() {
    let server = Server::with(&["--enable-module-command", "local"]);
    server.check(&[
        ("module list", "[]"),
        (
            "module load /x.so",
            "(error) ERR Error loading the extension. Please check the server logs.",
        ),
        (
            "module unload x",
            "(error) ERR Error unloading module: no such module with that name",
        ),
    ]);
    let server = Server::start();
    let refused = server.raw().ask("module load /x.so");
    assert!(
        refused.starts_with("(error) ERR MODULE command not allowed."),
        "{refused}"
    );
}

#[test]
fn a_crash_report_shows_registers_and_the_request_but_no_data() {
    if is_oracle() {
        return;
    }
    for (hides, shown) in [("yes", false), ("no", true)] {
        let args = ["--hide-user-data-from-log", hides];
        let mut server = Server::with(&[GUARDED, &args].concat());
        let mut a = server.raw();
        a.send(b"DEBUG LOG now\r\nDEBUG SLEEP 100\r\n");
        wait_until("the requests run", || {
            server.log().contains("DEBUG LOG: now")
        });
        server.signal(Signal::SIGSEGV);
        server.wait_end();
        let log = server.log();
        for part in [
            "------ REGISTERS ------",
            "cmd=debug",
            "argc: 3\nargv[0]: \"DEBUG\"\n",
        ] {
            assert!(log.contains(part), "{part} in {log}");
        }
        assert_eq!(log.contains("argv[2]: \""), shown, "{log}");
        assert_eq!(log.contains("argv[2]: 3 bytes"), !shown, "{log}");
    }
}
