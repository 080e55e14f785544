//! What must hold of any rules and any request, for the fuzzer and for tests.
use super::{allows_at_once, check};
use crate::base::glob;
use crate::exec::process::resolve_row;
use crate::exec::registry::Registry;
use crate::exec::users::{describe, rules};
use crate::resp::request::OwnedArgv;
use crate::state::groups::Groups;
use crate::state::stats::RowNumber;
use crate::state::users::User;
use crate::state::users::pattern::Access;

/// The first line is rules, the others are requests: rules that are taken are read back as they are
/// printed, patterns match as globs do, and the first look at a request allows nothing that is refused.
pub fn fuzz_access(table: &Registry, data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(user) = read(table, lines.next().unwrap_or_default()) else {
        return;
    };
    read_back(table, &user);
    for line in lines.take(64) {
        let words: OwnedArgv = line.split(|byte| *byte == b' ').collect();
        let argv = words.argv();
        for word in argv.iter() {
            match_as_globs(&user, word);
        }
        let Ok(row) = resolve_row(table, table.find(argv.get(0)), argv) else {
            continue;
        };
        let answer = check(&user, row, argv, Some(0));
        assert!(answer.is_ok() || !allows_at_once(&user, row, argv));
        if let Err(denied) = answer {
            let _ = denied.told(table.name(row.id), argv);
        }
    }
}

/// The user whom these rules make; none where one of them is refused.
fn read(table: &Registry, line: &[u8]) -> Option<User> {
    let reader = rules::Rules::unconfigured(table);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let mut user = reader.new_user(b"u");
    for rule in rules::join_selectors(&words).ok()? {
        reader.apply(&mut user, &rule).ok()?;
    }
    Some(user)
}

fn read_back(table: &Registry, user: &User) {
    let groups = Groups::default();
    let printed = describe::rules(user, &groups);
    let again = read(table, &printed.join(&b' ')).expect("what was printed is read");
    assert_eq!(describe::rules(&again, &groups), printed);
    assert_eq!(again.selectors.len(), user.selectors.len());
    for (a, b) in again.selectors.iter().zip(&user.selectors) {
        for row in 0..table.rows().len() {
            let row = RowNumber(row as u16);
            assert_eq!(a.commands.allows(row), b.commands.allows(row));
        }
        assert!(a.keys == b.keys && a.channels == b.channels && a.dbs == b.dbs);
    }
}

fn match_as_globs(user: &User, word: &[u8]) {
    for selector in &user.selectors {
        let keys = &selector.keys;
        for access in [Access::NONE, Access::READ, Access::WRITE, Access::BOTH] {
            let matched = keys.patterns().iter().any(|(pattern, allowed)| {
                access.is_within(*allowed) && glob::matches(pattern.text(), word, false)
            });
            assert_eq!(keys.allow(word, access), keys.allows_all() || matched);
        }
        let channels = &selector.channels;
        let mut patterns = channels.patterns().iter();
        let matched = patterns.any(|(pattern, ())| glob::matches(pattern.text(), word, false));
        assert_eq!(
            channels.allow_channel(word),
            channels.allows_all() || matched
        );
    }
}
