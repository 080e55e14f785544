//! Groups do not see each other: what only the loop and its sockets show. That all commands keep to it
//! `tests/sim/isolation.rs` tries.

use crate::harness::{Raw, Server};

/// A connection of a new user in a new group, both of this name.
fn make(server: &Server, name: &str) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("group create {name}")), "OK");
    let setuser = format!("acl setuser {name} on nopass ~* &* +@all group:{name}");
    assert_eq!(raw.ask(&setuser), "OK");
    user_of(server, name)
}

fn user_of(server: &Server, name: &str) -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("auth {name} x")), "OK");
    raw
}

/// A script that does not end keeps all waiting. Its own group is told BUSY, and so are operators; another
/// group just waits.
#[test]
fn a_busy_script_is_its_groups_affair() {
    let server = Server::with(&["--busy-reply-threshold", "20"]);
    let mut zero = server.raw();
    let (mut red, mut blue) = (make(&server, "red"), make(&server, "blue"));
    let (mut red2, mut blue2) = (user_of(&server, "red"), user_of(&server, "blue"));
    red.command(&["eval", "while true do end", "0"]);
    let busy = "BUSY Redis is busy running a script.";
    crate::harness::wait_until("the script to be busy", || zero.ask("ping").contains(busy));
    assert!(red2.ask("get k").contains(busy));
    blue.command(&["set", "k", "v"]);
    let others = blue2.ask("script kill");
    assert!(others.contains("NOTBUSY"), "{others}");
    let stats = zero.ask("function stats");
    assert!(!stats.contains("while"), "{stats}");
    assert_eq!(zero.ask("script kill"), "OK");
    assert!(red.reply().contains("Script killed by user"));
    assert_eq!(blue.reply(), "OK");
    assert_eq!(
        (red2.ask("get k"), blue2.ask("get k")),
        ("nil".into(), "\"v\"".into())
    );
}

/// Operators see who is connected, and may close them; what a group sends, runs and stores they do not see.
#[test]
fn operators_see_figures_and_no_data() {
    let server = Server::with(&["--slowlog-log-slower-than", "0"]);
    let mut zero = server.raw();
    let mut red = make(&server, "red");
    let mut blue = make(&server, "blue");
    let mut watcher = server.raw();
    assert_eq!(watcher.ask("monitor"), "OK");
    let mut listener = server.raw();
    listener.ask("psubscribe *");
    for request in [
        "set secret1 secret2",
        "publish secret3 x",
        "eval return{'secret4'} 0",
        "select 3",
    ] {
        red.ask(request);
    }
    zero.ask("publish plain x");
    let seen = listener.reply();
    assert!(seen.contains("plain") && !seen.contains("secret"), "{seen}");
    let lines = [watcher.reply(), watcher.reply()];
    assert!(
        lines[0].contains("psubscribe") && lines[1].contains("plain"),
        "{lines:?}"
    );
    for look in [
        "slowlog get -1",
        "commandlog get -1 slow",
        "info everything",
        "keys *",
        "hotkeys get",
    ] {
        let seen = zero.ask(look);
        assert!(!seen.contains("secret"), "{look}: {seen}");
        let seen = blue.ask(look);
        assert!(!seen.contains("secret"), "{look} of another group: {seen}");
    }
    let all = zero.ask("client list");
    assert!(
        all.contains("db=3") && all.contains("group=red") && all.contains("group=default"),
        "{all}"
    );
    let id = red.ask("client id");
    let own = blue.ask("client list");
    assert!(
        own.contains("group=blue") && !own.contains("group=red"),
        "{own}"
    );
    assert_eq!(blue.ask(&format!("client kill id {}", &id[1..])), ":0");
    assert_eq!(zero.ask(&format!("client kill id {}", &id[1..])), ":1");
    assert!(red.read_to_end().is_empty());
}

/// What a group that goes leaves behind is nothing, whoever gets its number.
#[test]
fn a_group_that_goes_takes_everything_along() {
    let server = Server::start();
    let mut zero = server.raw();
    let mut red = make(&server, "red");
    let mut listener = user_of(&server, "red");
    listener.ask("subscribe ch");
    let mut waiting = user_of(&server, "red");
    waiting.command(&["blpop", "list", "0"]);
    let sha = red.ask("script load return{1}");
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    red.command(&["function", "load", code]);
    assert_eq!(red.reply(), "\"lib\"");
    red.ask("set k v");
    red.ask("client tracking on bcast");
    assert_eq!(zero.ask("group del red force"), "OK");
    for raw in [&mut red, &mut listener, &mut waiting] {
        raw.read_to_end();
    }
    let mut blue = make(&server, "blue");
    for (request, reply) in [
        ("dbsize", ":0".to_owned()),
        ("pubsub channels", "[]".to_owned()),
        ("function list", "[]".to_owned()),
        (
            &format!("script exists {}", sha.trim_matches('"')),
            "[:0]".to_owned(),
        ),
        ("slowlog len", ":0".to_owned()),
        ("publish ch x", ":0".to_owned()),
        ("rpush list x", ":1".to_owned()),
    ] {
        assert_eq!(blue.ask(request), reply, "{request}");
    }
}

/// A user who changes groups in the middle of something has left the old one altogether.
#[test]
fn who_changes_groups_leaves_everything_behind() {
    let server = Server::start();
    let mut red = make(&server, "red");
    let mut blue = make(&server, "blue");
    red.ask("set k red");
    blue.ask("set k blue");
    let mut client = user_of(&server, "red");
    client.ask("hello 3");
    client.ask("subscribe ch");
    client.ask("client tracking on");
    assert_eq!(client.ask("get k"), "\"red\"");
    client.ask("watch k");
    client.ask("multi");
    client.ask("auth blue x");
    client.ask("get k");
    let replies = client.ask("exec");
    assert!(
        replies.contains("blue") && !replies.contains("red"),
        "{replies}"
    );
    // Neither the message nor the invalidation of the group it left comes.
    assert_eq!(red.ask("publish ch x"), ":0");
    red.ask("set k other");
    assert_eq!(client.ask("ping"), "PONG");
    assert_eq!(client.ask("get k"), "\"blue\"");
    // An operator who becomes a group's user within a transaction is one from there on.
    let mut zero = server.raw();
    for request in ["multi", "auth red x", "config get maxmemory", "get k"] {
        zero.ask(request);
    }
    let replies = zero.ask("exec");
    assert!(
        replies.contains("NOPERM this command concerns") && replies.contains("other"),
        "{replies}"
    );
}
