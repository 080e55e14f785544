//! Every right that an example needs is asked for: without it the request is refused, and says why.
use super::{Example, Mark, build, examples, user_with};
use crate::base::rng::Rng;
use crate::exec::acl::fuzz::fuzz_access;
use crate::exec::acl::{Denied, allows_at_once, check};
use crate::exec::command::{UsedDbs, flag};
use crate::exec::keys;
use crate::exec::registry::Row;
use crate::resp::request::OwnedArgv;
use crate::state::users::User;
use crate::state::users::pattern::Access;
use crate::state::users::selector::Dbs;

/// What is answered; the first look must never allow what the second does not.
fn answer(user: &User, row: &Row, example: &Example) -> Result<(), Denied> {
    let argv = example.argv();
    let answer = check(user, row, argv.argv(), Some(0));
    if allows_at_once(user, row, argv.argv()) {
        assert_eq!(answer, Ok(()), "{}", example.line);
    }
    answer
}

#[test]
fn each_key_of_each_example_is_refused_where_a_right_is_missing() {
    let table = build(&|_| None);
    let mut refused = 0;
    for (id, example) in examples(&table) {
        let (row, keys) = (table.row(id), example.keys());
        // Each key's rights are exactly those it needs; one that needs none has any.
        let rights = |but: usize, instead: &[Access]| {
            let mut rights = Vec::new();
            for (at, marks) in &keys {
                let exact = [Access::of(marks.0, marks.1)];
                let exact = if exact[0] == Access::NONE {
                    [Access::WRITE]
                } else {
                    exact
                };
                let given = if *at == but { instead } else { &exact };
                given
                    .iter()
                    .for_each(|access| rights.push((example.words[*at].as_str(), *access)));
            }
            rights
        };
        let ask = |rights: &[(&str, Access)]| {
            let mut user = user_with(&table, rights, &[]);
            user.selectors[0].channels.allow_all();
            answer(&user, row, &example)
        };
        assert_eq!(ask(&rights(0, &[])), Ok(()), "{}", example.line);
        for (at, marks) in &keys {
            let lesser: &[Access] = match marks {
                (true, true) => &[Access::READ, Access::WRITE],
                (true, false) => &[Access::WRITE],
                (false, true) => &[Access::READ],
                (false, false) => &[],
            };
            let denied = Err(Denied::Key(*at));
            assert_eq!(
                ask(&rights(*at, &[])),
                denied,
                "{} without {at}",
                example.line
            );
            for given in lesser {
                assert_eq!(
                    ask(&rights(*at, &[*given])),
                    denied,
                    "{} at {at}",
                    example.line
                );
            }
            refused += 1 + lesser.len();
        }
    }
    assert!(refused > 500, "{refused} refusals are too few to be all");
}

#[test]
fn rights_do_not_add_up_over_patterns_or_selectors() {
    let table = build(&|_| None);
    for (id, example) in examples(&table) {
        let row = table.row(id);
        let key = |(at, marks): &(usize, (bool, bool))| {
            (*marks == (true, true)).then(|| example.words[*at].clone())
        };
        let Some(key) = example.keys().iter().find_map(key) else {
            continue;
        };
        let others = [("*[!]", Access::BOTH)];
        let star = format!("{}*", &key[..1]);
        let halves = [(key.as_str(), Access::READ), (&*star, Access::WRITE)];
        let user = user_with(&table, &[halves.as_slice(), &others].concat(), &[]);
        assert!(answer(&user, row, &example).is_err(), "{}", example.line);
        let mut user = user_with(&table, &halves[..1], &[]);
        user.selectors
            .push(user_with(&table, &halves[1..], &[]).selectors.remove(0));
        assert!(answer(&user, row, &example).is_err(), "{}", example.line);
    }
}

#[test]
fn each_channel_of_each_example_is_refused_where_it_is_not_allowed() {
    let table = build(&|_| None);
    let mut refused = 0;
    for (id, example) in examples(&table) {
        let row = table.row(id);
        let channels: Vec<_> = example
            .marks
            .iter()
            .filter(|(_, m)| *m >= Mark::Channel)
            .collect();
        let names = |but: usize| {
            let kept = channels.iter().filter(|(at, _)| *at != but);
            kept.map(|(at, _)| example.words[*at].as_str())
                .collect::<Vec<_>>()
        };
        let ask = |names: &[&str]| {
            let mut user = user_with(&table, &[], names);
            user.selectors[0].keys.allow_all();
            answer(&user, row, &example)
        };
        assert_eq!(ask(&names(0)), Ok(()), "{}", example.line);
        for (at, mark) in &channels {
            let denied = Err(Denied::Channel(*at));
            assert_eq!(ask(&names(*at)), denied, "{}", example.line);
            // A pattern must be allowed as it stands, a channel by any pattern that matches.
            let star = ["*"];
            let matched = if *mark == Mark::Pattern {
                denied
            } else {
                Ok(())
            };
            assert_eq!(
                ask(&[names(*at), star.to_vec()].concat()),
                matched,
                "{}",
                example.line
            );
            refused += 1;
        }
    }
    assert!(refused >= 9, "{refused}");
}

#[test]
fn each_command_is_refused_where_its_row_is_not_allowed() {
    let table = build(&|_| None);
    for (id, example) in examples(&table) {
        let row = table.row(id);
        let mut user = user_with(&table, &[], &[]);
        let root = &mut user.selectors[0];
        root.keys.allow_all();
        root.channels.allow_all();
        root.commands.set(id, false);
        let expected = match row.cmd.is(flag::NO_AUTH) {
            true => Ok(()),
            false => Err(Denied::Command),
        };
        assert_eq!(answer(&user, row, &example), expected, "{}", example.line);
        let first = if row.parent == row.id { 1 } else { 2 };
        if let Some(arg) = example.words.get(first) {
            user.selectors[0]
                .commands
                .allow_first_arg(id, arg.as_bytes());
            assert_eq!(answer(&user, row, &example), Ok(()), "{}", example.line);
        }
    }
}

/// What names no key and uses no database has nothing to do with the rights to one; everything else has.
#[test]
fn whoever_may_use_one_database_uses_no_other() {
    let table = build(&|_| None);
    let ask = |row: &Row, words: &str, dbs: &[u32], from: Option<u32>| {
        let mut user = user_with(&table, &[], &[]);
        let root = &mut user.selectors[0];
        root.keys.allow_all();
        root.channels.allow_all();
        root.dbs = Dbs::These(dbs.to_vec());
        let argv: OwnedArgv = words.split(' ').map(str::as_bytes).collect();
        assert!(!allows_at_once(&user, row, argv.argv()));
        check(&user, row, argv.argv(), from)
    };
    for (id, example) in examples(&table) {
        let row = table.row(id);
        let line = example.words.join(" ");
        let uses = keys::has_keys(row.cmd) || !matches!(row.cmd.dbs, UsedDbs::None);
        assert_eq!(ask(row, &line, &[], Some(3)).is_err(), uses, "{line}");
        let elsewhere = matches!(row.cmd.dbs, UsedDbs::All | UsedDbs::Named(_));
        if !elsewhere {
            assert_eq!(ask(row, &line, &[3], Some(3)), Ok(()), "{line}");
        }
    }
    let ask = |words: &str, dbs: &[u32], from: Option<u32>| {
        let name = words.split(' ').next().unwrap_or_default();
        let row = table.find(name.as_bytes()).expect("a command");
        ask(row, words, dbs, from)
    };
    let denied = |at| Err(Denied::Db(at));
    assert_eq!(ask("select 1", &[1], Some(0)), Ok(()));
    assert_eq!(ask("select 2", &[1], Some(1)), denied(1));
    assert_eq!(ask("select x", &[1], Some(1)), Ok(()));
    assert_eq!(ask("select 9999999999", &[1], Some(1)), Ok(()));
    assert_eq!(ask("swapdb 1 2", &[1], Some(0)), denied(2));
    assert_eq!(ask("swapdb 1 2", &[1, 2], Some(0)), Ok(()));
    assert_eq!(ask("move k 2", &[1, 2], Some(0)), denied(0));
    assert_eq!(ask("move k 2", &[1], Some(1)), denied(2));
    assert_eq!(ask("copy a b", &[1], Some(1)), Ok(()));
    assert_eq!(ask("copy a b REPLACE db 2", &[1], Some(1)), denied(5));
    assert_eq!(ask("copy a b DB 1 DB 2", &[1], Some(1)), denied(6));
    assert_eq!(ask("copy a db db 1", &[1], Some(1)), Ok(()));
    assert_eq!(ask("flushall", &[0, 1], Some(1)), denied(0));
    // While requests are queued it is not known where they will run.
    assert_eq!(ask("get k", &[1], None), Ok(()));
    assert_eq!(ask("select 2", &[1], None), denied(1));
}

#[test]
fn rules_and_requests_of_chance_keep_what_is_promised() {
    let table = build(&|_| None);
    let seeds = [
        include_str!("../../../tests/fuzz/seeds/access/keys"),
        include_str!("../../../tests/fuzz/seeds/access/selectors"),
    ];
    let mut rng = Rng::from_seed(3);
    for turn in 0..20_000 {
        let mut bytes = seeds[turn % seeds.len()].as_bytes().to_vec();
        for _ in 0..rng.below(6) {
            let at = rng.below(bytes.len() as u64) as usize;
            let from = rng.below(bytes.len() as u64) as usize;
            match rng.below(3) {
                0 => bytes[at] = bytes[from],
                1 => _ = bytes.remove(at),
                _ => bytes.insert(at, b"~%&+-@|()*[]?\\ #>"[rng.below(17) as usize]),
            }
        }
        fuzz_access(&table, &bytes);
    }
}
