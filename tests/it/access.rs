//! What users may do: commands, keys, channels and databases; in transactions, in scripts, while they
//! wait; and what is noted of what they may not.

use crate::harness::{Raw, Server, is_oracle, wait_until};

const NO_KEY: &str =
    "(error) NOPERM this user has no permissions to access one of the keys used as arguments";
const NO_CHANNEL: &str =
    "(error) NOPERM this user has no permissions to access one of the channels used as arguments";

fn no_command(name: &str) -> String {
    format!("(error) NOPERM this user has no permissions to run the '{name}' command")
}

/// A connection of user `u` with these rules, and one of the default user.
fn connections(server: &Server, rules: &str) -> (Raw, Raw) {
    let (mut user, mut owner) = (server.raw(), server.raw());
    assert_eq!(owner.ask(&format!("ACL SETUSER u on nopass {rules}")), "OK");
    assert_eq!(user.ask("AUTH u x"), "OK");
    (user, owner)
}

#[test]
fn requests_are_checked_by_command_key_and_channel() {
    let server = Server::start();
    let (mut user, mut owner) =
        connections(&server, "+@all -config|get -lpush ~a* %R~r* %W~w* &n*");
    owner.ask("MSET a1 1 b1 1 r1 1 w1 1");
    let dialogue = [
        ("GET a1", "\"1\"".to_owned()),
        ("GET b1", NO_KEY.into()),
        ("GET r1", "\"1\"".into()),
        ("SET r1 2", NO_KEY.into()),
        ("GET w1", NO_KEY.into()),
        ("SET w1 2", "OK".into()),
        ("SET w1 2 GET", NO_KEY.into()),
        ("STRLEN w1", ":1".into()),
        ("STRLEN b1", NO_KEY.into()),
        ("MGET a1 r1 b1", NO_KEY.into()),
        ("COPY r1 w2", ":1".into()),
        ("COPY w1 a2", NO_KEY.into()),
        ("LPUSH a9 1", no_command("lpush")),
        ("RPUSH a9 1 2", ":2".into()),
        ("CONFIG GET maxmemory", no_command("config|get")),
        ("CONFIG SET maxmemory 0", "OK".into()),
        ("GEOADD a8 13.361389 38.115556 p", ":1".into()),
        ("GEORADIUS a8 13 38 200 km STORE b2", NO_KEY.into()),
        ("GEORADIUS a8 13 38 200 km STORE a7", ":1".into()),
        ("PUBLISH news x", ":0".into()),
        ("PUBLISH other x", NO_CHANNEL.into()),
        ("SPUBLISH other x", NO_CHANNEL.into()),
        ("PSUBSCRIBE ne*", NO_CHANNEL.into()),
        ("SUBSCRIBE news other", NO_CHANNEL.into()),
        ("SORT a9", "[\"1\", \"2\"]".into()),
        ("SORT a9 BY nosort", "[\"1\", \"2\"]".into()),
        (
            "SORT a9 BY b*",
            "(error) ERR BY option of SORT denied due to insufficient ACL permissions.".into(),
        ),
        (
            "SORT a9 GET b*",
            "(error) ERR GET option of SORT denied due to insufficient ACL permissions.".into(),
        ),
        ("XADD a6 1-1 f v", "\"1-1\"".into()),
        ("XREAD STREAMS a6 b6 0 0", NO_KEY.into()),
        ("PSUBSCRIBE n*", "[\"psubscribe\", \"n*\", :1]".into()),
    ];
    for (request, reply) in dialogue {
        assert_eq!(user.ask(request), reply, "the reply to {request}");
    }
    assert_eq!(owner.ask("EXISTS b2 a2"), ":0");
}

#[test]
fn what_redis_lets_through_is_refused_here() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let (mut user, mut owner) = connections(&server, "+@all ~a* ~STREAMS");
    owner.ask("GEOADD ag 13 38 p");
    owner.ask("XADD secret 1-1 f v");
    owner.ask("XGROUP CREATE secret STREAMS 0");
    // A merge into a key of nothing makes it; the last of several targets is the one that is written.
    for request in [
        "PFMERGE b",
        "GEORADIUS ag 13 38 200 km STORE a1 STOREDIST a2 STORE b",
        "GEORADIUS ag 13 38 200 km STORE a1 STORE b",
        "XREADGROUP COUNT 1 GROUP STREAMS STREAMS STREAMS secret >",
    ] {
        assert_eq!(user.ask(request), NO_KEY, "the reply to {request}");
    }
    assert_eq!(owner.ask("EXISTS b"), ":0");
}

#[test]
fn a_transaction_is_checked_when_it_is_queued_and_when_it_runs() {
    let server = Server::start();
    let (mut user, mut owner) = connections(&server, "+@all -publish ~a* ~b* &n");
    let again = |reason: &str| {
        format!(
            "(error) NOPERM ACLs rules changed between the moment the transaction was accumulated \
             and the EXEC call. This command is no longer allowed for the following reason: {reason}"
        )
    };
    for (request, reply) in [
        ("MULTI", "OK".to_owned()),
        ("SET a 1", "QUEUED".into()),
        ("SET c 1", NO_KEY.into()),
        (
            "EXEC",
            "(error) EXECABORT Transaction discarded because of previous errors.".into(),
        ),
        ("EXISTS a", ":0".into()),
        ("MULTI", "OK".into()),
        ("SET a 1", "QUEUED".into()),
        ("SET b 1", "QUEUED".into()),
        ("INCR a", "QUEUED".into()),
        ("GET a", "QUEUED".into()),
        ("SPUBLISH n x", "QUEUED".into()),
    ] {
        assert_eq!(user.ask(request), reply, "the reply to {request}");
    }
    owner.ask("ACL SETUSER u resetkeys ~a resetchannels -incr");
    let replies = [
        "OK".to_owned(),
        again("no permission to touch the specified keys"),
        again("no permission to execute the command or subcommand"),
        "\"1\"".into(),
        again("no permission to access one of the channels used as arguments"),
    ];
    assert_eq!(user.ask("EXEC"), format!("[{}]", replies.join(", ")));
    assert_eq!(owner.ask("MGET a b"), "[\"1\", nil]");
    // EXEC itself may be taken away.
    user.ask("MULTI");
    owner.ask("ACL SETUSER u -exec");
    let refused = no_command("exec").replace("(error) ", "");
    assert_eq!(
        user.ask("EXEC"),
        format!("(error) EXECABORT Transaction discarded because of: {refused}")
    );
}

#[test]
fn a_script_may_do_what_its_caller_may() {
    let server = Server::start();
    let (mut user, mut owner) = connections(&server, "+@all -get ~a* &n");
    owner.ask("MSET a 1 b 1");
    let starts = |reply: String, text: &str| assert!(reply.starts_with(text), "{reply}");
    starts(
        user.ask("EVAL return(redis.call('strlen','b')) 0"),
        "(error) ERR The user executing the script can't access at least one of the keys mentioned \
         in the command arguments",
    );
    starts(
        user.ask("EVAL return(redis.pcall('get','a')) 0"),
        "(error) ERR The user executing the script can't run this command or subcommand",
    );
    starts(
        user.ask("EVAL return(redis.call('publish','m','x')) 0"),
        "(error) ERR The user executing the script can't publish to the channel mentioned in the \
         command",
    );
    assert_eq!(user.ask("EVAL return(redis.call('strlen','a')) 0"), ":1");
    assert_eq!(user.ask("EVAL return(1) 1 b"), NO_KEY);
    for (request, allowed) in [
        ("'set','a','1'", ":1"),
        ("'set','b','1'", "nil"),
        ("'get','a'", "nil"),
    ] {
        let script = format!("EVAL return(redis.acl_check_cmd({request})) 0");
        assert_eq!(user.ask(&script), allowed, "{request}");
    }
    starts(
        user.ask("EVAL return(redis.acl_check_cmd('nosuch')) 0"),
        "(error) ERR ",
    );
    assert_eq!(
        owner.ask("EVAL return(redis.acl_check_cmd('get','b')) 0"),
        ":1"
    );
}

#[test]
fn who_loses_rights_while_waiting_gets_nothing_for_them() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let (mut user, mut owner) = connections(&server, "+@all ~a* ~b*");
    user.command(&["BLPOP", "a", "b", "0"]);
    wait_until("a client that waits", || {
        server.info("blocked_clients") == "1"
    });
    owner.ask("ACL SETUSER u resetkeys ~a*");
    owner.ask("RPUSH b x");
    assert_eq!(user.reply(), NO_KEY);
    assert_eq!(owner.ask("LLEN b"), ":1");
    assert_eq!(user.ask("PING"), "PONG");
}

#[test]
fn databases_are_checked_where_they_are_used() {
    if is_oracle() {
        return;
    }
    let denied = "(error) NOPERM No permissions to access database";
    let server = Server::start();
    let (mut user, mut owner) = connections(&server, "+@all ~* db=1,3");
    for (request, reply) in [
        ("PING", "PONG"),
        ("GET k", denied),
        ("DBSIZE", denied),
        ("SELECT 2", denied),
        ("SELECT 1", "OK"),
        ("SET k v", "OK"),
        ("DBSIZE", ":1"),
        ("MOVE k 2", denied),
        ("COPY k k DB 0", denied),
        ("MOVE k 3", ":1"),
        ("SWAPDB 1 3", "OK"),
        ("SWAPDB 1 2", denied),
        ("FLUSHALL", denied),
        ("EVAL return(redis.call('select','1')) 0", "OK"),
        ("MULTI", "OK"),
        ("SELECT 3", "QUEUED"),
        ("SET k w", "QUEUED"),
        ("SELECT 0", denied),
        ("DISCARD", "OK"),
        ("FLUSHDB", "OK"),
    ] {
        assert_eq!(user.ask(request), reply, "the reply to {request}");
    }
    let reply = user.ask("EVAL redis.call('select','2')return(redis.call('get','k')) 0");
    assert!(reply.contains("can't access the database"), "{reply}");
    owner.ask("ACL SETUSER u alldbs");
    assert_eq!(user.ask("SELECT 2"), "OK");
}

#[test]
fn refusals_are_noted_and_counted() {
    let server = Server::with(&["--acllog-max-len", "4"]);
    let (mut user, mut owner) = connections(&server, "+@all -incr ~a* &n");
    user.ask("GET b");
    user.ask("GET b");
    user.ask("PUBLISH m x");
    user.ask("INCR a");
    user.ask("MULTI");
    user.ask("GET c");
    user.ask("DISCARD");
    user.ask("EVAL return(redis.call('get','d')) 0");
    user.ask("AUTH nobody secret");
    let mut log = owner.ask("ACL LOG");
    let mut entries = Vec::new();
    while let Some(at) = log.find("\"count\", ") {
        let rest = log.split_off(at);
        log = rest[1..].to_owned();
        let fields: Vec<&str> = rest.split(", ").collect();
        let field = |name: &str| {
            let at = fields.iter().position(|f| f.trim_matches('"') == name);
            at.map_or("", |at| fields[at + 1].trim_matches('"'))
        };
        let shown = ["count", "reason", "context", "object", "username"].map(field);
        entries.push(shown.join(" "));
    }
    let expected = [
        ":1 auth toplevel AUTH nobody",
        ":1 key lua d u",
        ":1 key multi c u",
        ":1 command toplevel incr u",
    ];
    assert_eq!(entries, expected);
    assert_eq!(owner.ask("ACL LOG RESET"), "OK");
    assert_eq!(owner.ask("ACL LOG"), "[]");
    if !is_oracle() {
        let counted = ["auth", "cmd", "key", "channel"]
            .map(|kind| server.info(&format!("acl_access_denied_{kind}")));
        assert_eq!(counted, ["1", "1", "4", "1"]);
    }
}

#[test]
fn a_request_can_be_tried_out_for_a_user() {
    let server = Server::start();
    let (_user, mut owner) = connections(&server, "+@all -incr ~a* &n");
    for (request, reply) in [
        ("ACL DRYRUN u GET a", "OK"),
        (
            "ACL DRYRUN u GET b",
            "\"This user has no permissions to access the 'b' key\"",
        ),
        (
            "ACL DRYRUN u INCR a",
            "\"This user has no permissions to run the 'incr' command\"",
        ),
        (
            "ACL DRYRUN u PUBLISH m x",
            "\"This user has no permissions to access the 'm' channel\"",
        ),
        ("ACL DRYRUN v GET a", "(error) ERR User 'v' not found"),
        (
            "ACL DRYRUN u NOSUCH a",
            "(error) ERR Command 'NOSUCH' not found",
        ),
        (
            "ACL DRYRUN u CONFIG x",
            "(error) ERR Command 'CONFIG' not found",
        ),
        (
            "ACL DRYRUN u GET",
            "(error) ERR wrong number of arguments for 'get' command",
        ),
        (
            "ACL LOG 1 2",
            "(error) ERR unknown subcommand or wrong number of arguments for 'LOG'. Try ACL HELP.",
        ),
        ("ACL LOG -1", "[]"),
        (
            "ACL LOG x",
            "(error) ERR value is not an integer or out of range",
        ),
    ] {
        assert_eq!(owner.ask(request), reply, "the reply to {request}");
    }
    // It is looked at, not run, and nothing is noted.
    assert_eq!(owner.ask("ACL LOG"), "[]");
}
