//! Rules as a real server takes, refuses and shows them (7.2, where it differs from 7.0).
use super::registry;
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::exec::registry::Registry;
use crate::exec::users::rules::{RuleError, Rules, join_selectors, name_refused};
use crate::exec::users::{self, describe, file};
use crate::persist::groups::run_carried;
use crate::state::State;
use crate::state::config::Config;
use crate::state::groups::{Groups, Quotas};
use crate::state::prop::{Carried, carried};
use crate::state::users::User;

fn table() -> Registry {
    registry::build(&|name| (name == "get").then(|| "fetch".to_owned()))
}

/// Applies rules to a new user and shows it, or says what was wrong.
fn shown(table: &Registry, rules: &str) -> String {
    let reader = Rules::unconfigured(table);
    let mut user = reader.new_user(b"u");
    match apply(&reader, &mut user, rules) {
        Err(why) => why.text().to_owned(),
        Ok(()) => {
            let line = describe::line(&user, &Groups::default());
            let again = line.strip_prefix(b"user u ").expect("a line of this user");
            let mut copy = reader.new_user(b"u");
            let again = String::from_utf8(again.to_vec()).expect("text");
            apply(&reader, &mut copy, &again).expect("what is shown can be read");
            assert_eq!(copy, user, "{rules}: what is shown is all there is");
            again
        }
    }
}

fn apply(reader: &Rules<'_>, user: &mut User, rules: &str) -> Result<(), RuleError> {
    let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
    for rule in join_selectors(&words).map_err(|refused| refused.why)? {
        reader.apply(user, &rule)?;
    }
    Ok(())
}

#[test]
fn rules_are_shown_as_they_hold() {
    let table = table();
    let none = "off sanitize-payload resetchannels -@all";
    for (rules, wanted) in [
        ("", none),
        (
            "on nopass",
            "on nopass sanitize-payload resetchannels -@all",
        ),
        (
            "ON >x nopass",
            "on nopass sanitize-payload resetchannels -@all",
        ),
        (
            ">",
            "off sanitize-payload #e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 resetchannels -@all",
        ),
        (
            ">x >x <x nopass skip-sanitize-payload",
            "off nopass skip-sanitize-payload resetchannels -@all",
        ),
        (
            "%R~a %W~a ~b %rw~c %W~d",
            "off sanitize-payload ~a ~b ~c %W~d resetchannels -@all",
        ),
        ("~a ~* &a &*", "off sanitize-payload ~* &* -@all"),
        (
            "&a &b &a +@ALL",
            "off sanitize-payload resetchannels &a &b +@all",
        ),
        (
            "+get +SET|x -set +@Read -@read",
            "off sanitize-payload resetchannels -@all +get -set -@read",
        ),
        (
            "-config +config|get +config",
            "off sanitize-payload resetchannels -@all +config",
        ),
        (
            "+@all -client +client|id",
            "off sanitize-payload resetchannels +@all -client +client|id",
        ),
        (
            "+@all -@hash -@slow +hget -@hash",
            "off sanitize-payload resetchannels +@all -@slow +hget -@hash",
        ),
        (
            "+select|0 +debug|object",
            "off sanitize-payload resetchannels -@all +select|0 +debug|object",
        ),
        (
            "(+get ~a) () clearselectors (%R~b)",
            "off sanitize-payload resetchannels -@all (%R~b resetchannels -@all)",
        ),
        (
            "(+get  ~a )",
            "off sanitize-payload resetchannels -@all (~a resetchannels -@all +get)",
        ),
        ("on ~x reset", none),
        (
            "+psync +REPLCONF -cluster|forget +wait",
            "off sanitize-payload resetchannels -@all +psync +replconf -cluster|forget +wait",
        ),
        (
            "db=3,1,1",
            "off sanitize-payload resetchannels db=1,3 -@all",
        ),
        (
            "db=3 alldbs (resetdbs)",
            "off sanitize-payload resetchannels -@all (resetchannels resetdbs -@all)",
        ),
        (
            "expires:99 group:blue",
            "off sanitize-payload group:blue expires:99 resetchannels -@all",
        ),
        ("expires:99 expires:0 group:blue group:default", none),
    ] {
        assert_eq!(shown(&table, rules), wanted, "{rules}");
    }
}

#[test]
fn rules_that_cannot_be_are_told() {
    let table = table();
    for (rules, why) in [
        ("bad", RuleError::Syntax),
        ("+", RuleError::Unknown),
        ("+nosuch", RuleError::Unknown),
        ("+fetch", RuleError::Unknown),
        ("-@nosuch", RuleError::Unknown),
        ("+config|get|x", RuleError::FirstArgOfSubcommand),
        ("-config|get|x", RuleError::Unknown),
        ("+config|", RuleError::Syntax),
        ("+config|nosuch", RuleError::Unknown),
        ("+get|a|b", RuleError::Unknown),
        ("-select|0", RuleError::Unknown),
        ("~* ~a", RuleError::KeysAfterAll),
        ("&* &a", RuleError::ChannelsAfterAll),
        ("~a\tb", RuleError::Syntax),
        ("&a\nb", RuleError::Syntax),
        ("+get|a\nb", RuleError::Syntax),
        ("%~a", RuleError::Syntax),
        ("%RR~a", RuleError::Syntax),
        ("%X~a", RuleError::Syntax),
        ("%", RuleError::Syntax),
        ("<x", RuleError::NoSuchPassword),
        ("#ab", RuleError::BadHash),
        ("!", RuleError::BadHash),
        ("(+get", RuleError::Unmatched),
        (")", RuleError::Syntax),
        ("((+get))", RuleError::Syntax),
        ("(~a))", RuleError::Syntax),
        ("(on)", RuleError::Syntax),
        ("db=", RuleError::BadDatabase),
        ("db=1,", RuleError::BadDatabase),
        ("db=-1", RuleError::BadDatabase),
        ("expires:x", RuleError::BadTime),
        ("expires:-1", RuleError::BadTime),
        ("group:", RuleError::NoSuchGroup),
        ("group:a/b", RuleError::NoSuchGroup),
    ] {
        assert_eq!(shown(&table, rules), why.text(), "{rules}");
    }
}

/// Whatever Redis has is known to the rules; what is here by now is a row like any other.
#[test]
fn every_command_of_redis_can_be_named() {
    let table = table();
    let facts = include_str!("../../tests/assets/command-oracle.tsv");
    for line in facts.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('\t').next().expect("a name");
        for rule in [format!("+{name}"), format!("-{name}")] {
            let shown = shown(&table, &rule);
            assert!(shown.ends_with(&rule), "{rule}: {shown}");
        }
    }
}

#[test]
fn names_stand_in_lines() {
    assert_eq!(name_refused("m\u{e9}\"'#".as_bytes()), None);
    for name in [
        &b""[..],
        b"a b",
        b"a\nb",
        b"a\0",
        b"a\x01",
        b"\x7f",
        &[b'a'; 1025],
    ] {
        assert!(name_refused(name).is_some(), "{name:?}");
    }
}

/// A file whose lines are wrong was loaded up to the first of them once, in other servers.
#[test]
fn every_wrong_line_of_a_file_is_named() {
    let table = table();
    let rules = Rules::unconfigured(&table);
    let text = b"user a on\n# comment\nuser b +nosuch\n\nuser a off\nuser\nuser c (+get\n  user d on \t\r\n";
    let errors = file::read(text, "/u", &rules).expect_err("wrong");
    assert_eq!(
        errors,
        "/u:2 should start with user keyword followed by the username. /u:3: Error in applying \
         operation '+nosuch': Unknown command or category name in ACL. WARNING: Duplicate user 'a' \
         found on line 5. /u:6 should start with user keyword followed by the username. /u:7: Unmatched \
         parenthesis in selector definition.. WARNING: ACL errors detected, no change to the previously \
         active ACL rules was performed"
    );
    let users = file::read(b"user b on\nuser a (+get ~a) (+set)", "/u", &rules).expect("right");
    let counts: Vec<usize> = users.iter().map(|user| user.selectors.len()).collect();
    assert_eq!(counts, [1, 3]);
}

#[test]
fn groups_are_known_or_awaited() {
    let table = table();
    let mut state = state(&table);
    let refused = users::set(&mut state, &table, b"a", &[b"group:blue"]).expect_err("no group");
    assert_eq!(refused.why, RuleError::NoSuchGroup);
    let id = state.groups.free_id();
    state.groups.add(id, "blue", Quotas::default());
    let a = users::set(&mut state, &table, b"a", &[b"group:blue", b"on"]).expect("fits");
    assert_eq!(state.users.get(a).group, id);
    let refused = users::set(&mut state, &table, b"default", &[b"group:blue"]);
    assert_eq!(refused.expect_err("refused").why, RuleError::DefaultInGroup);
    let early = Rules::of(&state, &table).before_data();
    let mut user = early.new_user(b"b");
    early
        .apply(&mut user, b"on")
        .and(early.apply(&mut user, b"group:red"))
        .expect("taken");
    assert!(user.group.is_default() && !user.admits_logins(0));
}

fn state(table: &Registry) -> State {
    State::new(
        Config::default(),
        Rng::from_seed(1),
        Clock::manual(1),
        table.rows().len(),
        1.0,
    )
}

/// What files carry of a user makes it again: each rule as an argument of its own, and also as the first servers
/// with groups wrote them, joined.
#[test]
fn what_files_carry_of_a_user_makes_it_again() {
    let table = table();
    for rules in [
        "on >a >b ~* &* +@all",
        "~a %R~b %W~c ~d &x &y* -@all +get +set|a -@read +config|get db=1,3",
        "on nopass skip-sanitize-payload allkeys -get -@write resetdbs expires:4000000000",
        "#$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA >b on ~a ~b (~c ~d +get +set) (%R~e db=2 &f &g -@all) ()",
    ] {
        let mut state = state(&table);
        let blue = state.groups.free_id();
        state.groups.add(blue, "blue", Quotas::default());
        let words: Vec<&[u8]> = rules.split(' ').map(str::as_bytes).collect();
        let words = [&words[..], &[b"group:blue"]].concat();
        let id = users::set(&mut state, &table, b"u", &words).expect("rules that fit");
        let made = state.users.get(id).clone();
        let told = users::whole_rules(&made, &state.groups);
        let one_by_one: Vec<&[u8]> = told.iter().map(Vec::as_slice).collect();
        let selectors = one_by_one.iter().position(|rule| rule.starts_with(b"("));
        let (root, selectors) = one_by_one.split_at(selectors.unwrap_or(one_by_one.len()));
        let root = root[1..].join(&b' ');
        let joined = [&[&b"u"[..], &root], selectors].concat();
        let me = state.open_loader_session();
        for words in [&one_by_one, &joined] {
            let argv = [&[&b"ACL"[..], b"SETUSER"], &words[..]].concat();
            state.remove_user(b"u");
            let text = carried(&argv);
            let Some(Carried::Request(request)) = Carried::read(&text) else {
                panic!("{rules}: no request");
            };
            run_carried(&mut state, &table, (me, 0), request, false).expect("it can be run");
            let id = state.users.find(b"u").expect("the user is back");
            assert_eq!(*state.users.get(id), made, "{rules}");
        }
    }
}

/// A file that says of a group what is not there yet is taken by ACL LOAD as at a start.
#[test]
fn a_group_of_a_file_may_come_later() {
    let table = table();
    let state = state(&table);
    let rules = Rules::of(&state, &table).awaiting_groups();
    let users = file::read(b"user a on group:blue", "/u", &rules).expect("taken");
    assert_eq!(users[0].awaits_group.as_deref(), Some("blue"));
    assert!(!users[0].is_operator());
    let errors = file::read(b"user a on group:b/e", "/u", &rules).expect_err("no name");
    assert!(errors.contains("'group:b/e'"), "{errors}");
}
