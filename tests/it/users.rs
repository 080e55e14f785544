//! Users: who is let in, what happens to those who are connected, and the files that users stand in.

use std::fs;

use crate::harness::{Raw, Server, is_oracle};

fn ask(raw: &mut Raw, words: &[&str]) -> String {
    raw.command(words);
    raw.reply()
}

#[test]
fn a_user_is_made_changed_and_gone() {
    let server = Server::start();
    let mut admin = server.raw();
    let mut alice = server.raw();
    assert_eq!(
        ask(
            &mut admin,
            &["ACL", "SETUSER", "alice", ">one", "+@all", "~*"]
        ),
        "OK"
    );
    let refused = "(error) WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(ask(&mut alice, &["AUTH", "alice", "one"]), refused, "off");
    assert_eq!(ask(&mut admin, &["ACL", "SETUSER", "alice", "on"]), "OK");
    assert_eq!(ask(&mut alice, &["AUTH", "alice", "two"]), refused);
    assert_eq!(ask(&mut alice, &["AUTH", "alice", "one"]), "OK");
    assert_eq!(ask(&mut alice, &["ACL", "WHOAMI"]), "\"alice\"");
    // One bad rule, and none of them holds.
    let reply = ask(&mut admin, &["ACL", "SETUSER", "alice", "-get", "nonsense"]);
    assert_eq!(
        reply,
        "(error) ERR Error in ACL SETUSER modifier 'nonsense': Syntax error"
    );
    assert_eq!(ask(&mut alice, &["GET", "a"]), "nil");
    // Rights are those of now.
    assert_eq!(ask(&mut admin, &["ACL", "SETUSER", "alice", "-get"]), "OK");
    assert!(ask(&mut alice, &["GET", "a"]).contains("NOPERM"));
    assert_eq!(
        ask(&mut admin, &["ACL", "DELUSER", "alice", "nobody"]),
        ":1"
    );
    assert!(alice.read_to_end().is_empty(), "closed");
    assert_eq!(ask(&mut admin, &["ACL", "GETUSER", "alice"]), "nil");
    assert_eq!(ask(&mut admin, &["ACL", "USERS"]), "[\"default\"]");
}

#[test]
fn who_deletes_itself_gets_the_answer_first() {
    let server = Server::start();
    let mut bob = server.raw();
    assert_eq!(
        ask(&mut bob, &["ACL", "SETUSER", "bob", "on", "nopass", "+acl"]),
        "OK"
    );
    assert_eq!(ask(&mut bob, &["AUTH", "bob", "x"]), "OK");
    bob.command(&["ACL", "DELUSER", "bob"]);
    bob.command(&["ACL", "WHOAMI"]);
    assert_eq!(bob.read_to_end(), b":1\r\n", "and nothing behind it is run");
}

#[test]
fn names_that_files_cannot_hold_are_refused() {
    let server = Server::start();
    let mut admin = server.raw();
    for name in ["a b", "a\nuser evil on nopass +@all ~*", "\0"] {
        let reply = ask(&mut admin, &["ACL", "SETUSER", name]);
        assert_eq!(
            reply,
            "(error) ERR Usernames can't contain spaces or null characters"
        );
    }
    if !is_oracle() {
        for name in ["", "a\x07", "\x1b[2J"] {
            let reply = ask(&mut admin, &["ACL", "SETUSER", name]);
            assert!(reply.starts_with("(error) ERR Usernames can't"), "{reply}");
        }
    }
    for rule in ["~a\nuser evil on", "&a b", "+select|a\nb"] {
        let reply = ask(&mut admin, &["ACL", "SETUSER", "u", rule]);
        if !(is_oracle() && rule.starts_with('+')) {
            assert!(reply.ends_with("Syntax error"), "{reply}");
        }
    }
}

/// A default user with a password, then off: what a connection that did not log in may do.
#[test]
fn the_default_user_lets_in_who_it_should() {
    let server = Server::start();
    let mut early = server.raw();
    assert_eq!(
        ask(&mut early, &["CONFIG", "SET", "requirepass", "secret"]),
        "OK"
    );
    assert_eq!(ask(&mut early, &["PING"]), "PONG", "who was in stays in");
    let mut late = server.raw();
    assert!(ask(&mut late, &["PING"]).contains("NOAUTH"));
    assert_eq!(ask(&mut late, &["AUTH", "secret"]), "OK");
    assert_eq!(ask(&mut early, &["ACL", "SETUSER", "default", "off"]), "OK");
    let mut refused = server.raw();
    assert!(ask(&mut refused, &["AUTH", "secret"]).contains("WRONGPASS"));
    assert_eq!(
        ask(&mut early, &["ACL", "SETUSER", "default", "on", "nopass"]),
        "OK"
    );
    assert_eq!(ask(&mut refused, &["PING"]), "PONG");
    assert!(ask(&mut refused, &["AUTH", "x"]).contains("without any password configured"));
    assert_eq!(ask(&mut refused, &["RESET"]), "RESET");
}

#[test]
fn subscribers_who_lose_a_channel_are_closed() {
    let server = Server::start();
    let mut admin = server.raw();
    assert_eq!(
        ask(
            &mut admin,
            &[
                "ACL", "SETUSER", "sub", "on", "nopass", "+@all", "&a", "&p*"
            ]
        ),
        "OK"
    );
    let mut subscribers = Vec::new();
    for (command, name) in [
        ("SUBSCRIBE", "a"),
        ("PSUBSCRIBE", "p*"),
        ("SSUBSCRIBE", "a"),
    ] {
        let mut raw = server.raw();
        assert_eq!(ask(&mut raw, &["AUTH", "sub", "x"]), "OK");
        assert!(ask(&mut raw, &[command, name]).contains(":1"));
        subscribers.push(raw);
    }
    // More rights close nobody; nor does the loss of what nobody listens to.
    for rules in [&["&b"][..], &["resetchannels", "&a", "&p*"]] {
        let words = [&["ACL", "SETUSER", "sub"], rules].concat();
        assert_eq!(ask(&mut admin, &words), "OK");
    }
    assert_eq!(ask(&mut admin, &["PUBLISH", "a", "m"]), ":1");
    // A pattern that covers it is not the pattern.
    assert_eq!(
        ask(
            &mut admin,
            &["ACL", "SETUSER", "sub", "resetchannels", "&a", "&*p*"]
        ),
        "OK"
    );
    assert!(subscribers[1].read_to_end().is_empty());
    assert_eq!(
        ask(&mut admin, &["ACL", "SETUSER", "sub", "resetchannels"]),
        "OK"
    );
    assert!(
        !subscribers[0].read_to_end().is_empty(),
        "the message came first"
    );
    assert!(subscribers[2].read_to_end().is_empty());
}

#[test]
fn users_are_saved_to_their_file_and_read_again() {
    let file = "user default on nopass ~* &* +@all\nuser carol on nopass ~c:* +@read (%W~w +set)\n";
    let server = Server::with_files(&[("u.acl", file.as_bytes())], &["--aclfile", "u.acl"]);
    let mut admin = server.raw();
    let mut carol = server.raw();
    assert_eq!(ask(&mut carol, &["AUTH", "carol", "x"]), "OK");
    assert_eq!(
        ask(&mut admin, &["ACL", "SETUSER", "dave", "on", ">x", "+get"]),
        "OK"
    );
    assert_eq!(ask(&mut admin, &["ACL", "SAVE"]), "OK");
    let path = server.dir().join("u.acl");
    let saved = fs::read_to_string(&path).expect("the file");
    assert!(saved.contains("user carol on "), "{saved}");
    assert!(
        saved.contains("(%W~w resetchannels -@all +set)\n"),
        "{saved}"
    );
    assert!(saved.contains("#2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 "));
    // A wrong line: nothing is applied, everything that is wrong is told.
    fs::write(
        &path,
        format!("{saved}user eve on\nuser dave off\nrubbish\nuser x +none\n"),
    )
    .expect("written");
    let reply = ask(&mut admin, &["ACL", "LOAD"]);
    for told in [
        "Duplicate user 'dave' found on line 5",
        ":6 should start with user",
        "'+none'",
    ] {
        assert!(reply.contains(told), "{reply}");
    }
    assert!(reply.ends_with("no change to the previously active ACL rules was performed"));
    assert_eq!(
        ask(&mut admin, &["ACL", "USERS"]),
        "[\"carol\", \"dave\", \"default\"]"
    );
    assert_eq!(ask(&mut carol, &["GET", "c:1"]), "nil");
    // A right one: who stood in the old one has to log in again.
    fs::write(&path, saved.replace("user dave", "user eve")).expect("written");
    assert_eq!(ask(&mut admin, &["ACL", "LOAD"]), "OK");
    assert!(carol.read_to_end().is_empty());
    assert_eq!(
        ask(&mut admin, &["ACL", "USERS"]),
        "[\"carol\", \"default\", \"eve\"]"
    );
    assert_eq!(ask(&mut admin, &["PING"]), "PONG");
}

#[test]
fn a_server_does_not_start_with_users_that_cannot_be() {
    for (files, args, told) in [
        (
            &[("u.acl", &b"user a on\nuser a off\n"[..])][..],
            &["--aclfile", "u.acl"][..],
            "Duplicate user 'a'",
        ),
        (&[], &["--aclfile", "none.acl"], "No such file or directory"),
        (
            &[("u.acl", b"user a on\n")],
            &["--aclfile", "u.acl", "--user", "b", "on"],
            "at the same",
        ),
        (&[], &["--user", "a", "--user", "a"], "Duplicate user found"),
        (&[], &["--user", "a", "nonsense"], "Syntax error"),
        (
            &[],
            &["--user", "a", "+nosuch"],
            "Unknown command or category name",
        ),
    ] {
        let (status, log, _dir) = Server::fails_with(files, args);
        assert!(!status.success() && log.contains(told), "{args:?}: {log}");
    }
}

/// What a start takes ACL LOAD takes, and what the one leaves the other reads.
#[test]
fn files_name_groups_that_are_to_come_and_no_selector_that_ends_twice() {
    if is_oracle() {
        return;
    }
    let file = "user default on nopass ~* &* +@all\nuser carol on nopass +@all group:blue\n";
    let server = Server::with_files(&[("u.acl", file.as_bytes())], &["--aclfile", "u.acl"]);
    let mut admin = server.raw();
    assert_eq!(ask(&mut admin, &["ACL", "LOAD"]), "OK");
    let told = "User 'carol' cannot log in until there is a group 'blue'";
    assert_eq!(
        server.log().matches(told).count(),
        2,
        "at the start and now"
    );
    assert!(ask(&mut server.raw(), &["AUTH", "carol", "x"]).contains("WRONGPASS"));
    assert_eq!(ask(&mut admin, &["GROUP", "CREATE", "blue"]), "OK");
    assert_eq!(ask(&mut server.raw(), &["AUTH", "carol", "x"]), "OK");
    assert_eq!(
        ask(&mut admin, &["ACL", "SETUSER", "dave", "(~a) +get)"]),
        "(error) ERR Error in ACL SETUSER modifier '(~a) +get)': Syntax error"
    );
    assert_eq!(ask(&mut admin, &["ACL", "SAVE"]), "OK");
    assert_eq!(ask(&mut admin, &["ACL", "LOAD"]), "OK");
}

/// The file that CONFIG REWRITE leaves makes the same users.
#[test]
fn users_are_rewritten_with_the_configuration() {
    let server = Server::with_file(
        Some(
            "user alice on #2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 ~a +get\n",
        ),
        &[],
    );
    let mut admin = server.raw();
    assert_eq!(
        ask(
            &mut admin,
            &["ACL", "SETUSER", "alice", "+set", "(+del ~d)"]
        ),
        "OK"
    );
    assert_eq!(
        ask(&mut admin, &["ACL", "SETUSER", "bob", "on", "nopass"]),
        "OK"
    );
    // A real 7.0 says this only of users who were told so, or read from a file.
    let without = |list: String| list.replace("sanitize-payload ", "");
    let list = without(ask(&mut admin, &["ACL", "LIST"]));
    assert_eq!(ask(&mut admin, &["CONFIG", "REWRITE"]), "OK");
    let dir = server.kill();
    let server = Server::on(&crate::harness::binary(), dir, &[]);
    let mut admin = server.raw();
    assert_eq!(without(ask(&mut admin, &["ACL", "LIST"])), list);
    let mut alice = server.raw();
    assert_eq!(ask(&mut alice, &["AUTH", "alice", "x"]), "OK");
    assert!(ask(&mut alice, &["PING"]).contains("NOPERM"));
    let shown = ask(&mut admin, &["CLIENT", "LIST"]);
    assert!(
        shown.contains(" user=alice ") && shown.contains(" user=default "),
        "{shown}"
    );
    assert_eq!(ask(&mut admin, &["CLIENT", "KILL", "USER", "alice"]), ":1");
    assert!(alice.read_to_end().is_empty(), "closed");
}

#[test]
fn short_forms_make_list_and_delete_users() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut admin = server.raw();
    assert_eq!(ask(&mut admin, &["ADDUSER", "zoe", "pw"]), "OK");
    assert_eq!(
        ask(&mut admin, &["ADDUSER", "yan", "pw", "nogroup"]),
        "(error) ERR There is no group 'nogroup'. GROUP CREATE makes one."
    );
    assert_eq!(
        ask(&mut admin, &["LISTUSERS"]),
        "[\"user=default group=default\", \"user=zoe group=default\"]"
    );
    let mut zoe = server.raw();
    assert_eq!(ask(&mut zoe, &["AUTH", "zoe", "pw"]), "OK");
    assert_eq!(ask(&mut zoe, &["SET", "a", "1"]), "OK");
    assert_eq!(ask(&mut admin, &["DELUSER", "zoe"]), "OK");
    assert!(zoe.read_to_end().is_empty());
    assert_eq!(
        ask(&mut admin, &["DELUSER", "zoe"]),
        "(error) ERR There is no user 'zoe'"
    );
    assert!(ask(&mut admin, &["DELUSER", "default"]).contains("cannot be removed"));
    // A new password gives nobody rights, nor takes it out of its group.
    assert_eq!(ask(&mut admin, &["GROUP", "CREATE", "blue"]), "OK");
    assert_eq!(ask(&mut admin, &["ADDUSER", "xia", "pw", "blue"]), "OK");
    assert_eq!(ask(&mut admin, &["ACL", "SETUSER", "xia", "-del"]), "OK");
    assert_eq!(ask(&mut admin, &["ADDUSER", "xia", "new"]), "OK");
    let mut xia = server.raw();
    assert!(ask(&mut xia, &["AUTH", "xia", "pw"]).contains("WRONGPASS"));
    assert_eq!(ask(&mut xia, &["AUTH", "xia", "new"]), "OK");
    for refused in [&["CONFIG", "GET", "port"][..], &["DEL", "a"]] {
        assert!(ask(&mut xia, refused).contains("NOPERM"));
    }
    assert_eq!(ask(&mut admin, &["ADDUSER", "xia", "new", "default"]), "OK");
    assert!(
        xia.read_to_end().is_empty(),
        "in another group it logs in again"
    );
    assert_eq!(ask(&mut admin, &["DELUSER", "xia"]), "OK");
    // What rules and passwords were is in no log.
    assert_eq!(
        ask(
            &mut admin,
            &["CONFIG", "SET", "slowlog-log-slower-than", "0"]
        ),
        "OK"
    );
    assert_eq!(ask(&mut admin, &["ADDUSER", "name1", "word1"]), "OK");
    assert_eq!(
        ask(&mut admin, &["ACL", "SETUSER", "name1", ">word2"]),
        "OK"
    );
    let log = ask(&mut admin, &["SLOWLOG", "GET", "10"]);
    assert!(log.contains("redacted"), "{log}");
    for secret in ["name1", "word1", "word2"] {
        assert!(!log.contains(secret), "{log}");
    }
}
