//! Users in files: the ACL file, and the `user` lines of the configuration.
//!
//! A file is taken whole or not at all, and every line that is wrong is named.
use super::rules::{RuleError, Rules, join_selectors, name_refused};
use super::{describe, is_data, log_change};
use crate::exec::registry::Registry;
use crate::state::State;
use crate::state::config::file::errno_text;
use crate::state::config::rewrite::replace_file;
use crate::state::users::{DEFAULT_NAME, User};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where the ACL file is; none without one.
pub fn path(state: &State) -> Option<PathBuf> {
    let path = &state.config.aclfile;
    (!path.is_empty()).then(|| state.config.dir.0.join(OsStr::from_bytes(path)))
}

/// Space around a line.
fn trim(line: &[u8]) -> &[u8] {
    let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
    let from = line.iter().position(|b| !space(b)).unwrap_or(line.len());
    let to = line
        .iter()
        .rposition(|b| !space(b))
        .map_or(from, |at| at + 1);
    &line[from..to]
}

/// The users that a file describes; the error names every line that is wrong.
pub fn read(text: &[u8], shown_path: &str, rules: &Rules<'_>) -> Result<Vec<User>, String> {
    let mut users: Vec<User> = Vec::new();
    let mut names: HashSet<Box<[u8]>> = HashSet::new();
    let mut errors = String::new();
    for (at, line) in text.split(|b| *b == b'\n').enumerate() {
        let number = at + 1;
        let line = trim(line);
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        // A String takes everything, here and below.
        let [b"user", name, words @ ..] = &words[..] else {
            let _ = write!(
                errors,
                "{shown_path}:{number} should start with user keyword followed by the username. "
            );
            continue;
        };
        if let Some(why) = name_refused(name) {
            let _ = write!(errors, "{shown_path}:{number}: {why}. ");
            continue;
        }
        if !names.insert((*name).into()) {
            let _ = write!(
                errors,
                "WARNING: Duplicate user '{}' found on line {number}. ",
                String::from_utf8_lossy(name)
            );
            continue;
        }
        match read_user(name, words, rules) {
            Ok(user) => users.push(user),
            Err(wrong) => {
                for (rule, why) in wrong {
                    let _ = match why {
                        RuleError::Unknown | RuleError::NoSuchGroup => write!(
                            errors,
                            "{shown_path}:{number}: Error in applying operation '{}': {}. ",
                            String::from_utf8_lossy(&rule),
                            why.text()
                        ),
                        _ => write!(errors, "{shown_path}:{number}: {}. ", why.text()),
                    };
                }
            }
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push_str(
        "WARNING: ACL errors detected, no change to the previously active ACL rules was performed",
    );
    Err(errors)
}

/// A user by its rules, or all that is wrong with them.
fn read_user(
    name: &[u8],
    words: &[&[u8]],
    rules: &Rules<'_>,
) -> Result<User, Vec<(Vec<u8>, RuleError)>> {
    let mut user = rules.new_user(name);
    user.configured = true;
    let joined = join_selectors(words).map_err(|refused| vec![(refused.rule, refused.why)])?;
    let mut wrong = Vec::new();
    for rule in joined {
        let rule = trim(&rule);
        if let Err(why) = rules.apply(&mut user, rule) {
            wrong.push((rule.to_vec(), why));
        }
    }
    if wrong.is_empty() {
        Ok(user)
    } else {
        Err(wrong)
    }
}

/// The rules of the ACL file that give new passwords; none where it cannot be read.
pub fn new_passwords(state: &State) -> Vec<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(std::fs::read(path(state).unwrap_or_default()).unwrap_or_default());
    let words = text.split(|b| b" \t\r\n".contains(b));
    let new = words.filter(|word| word.first() == Some(&b'>'));
    new.map(|word| Zeroizing::new(word.to_vec())).collect()
}

/// Checks a `user` line of the configuration: the words behind `user`.
pub fn check_line(table: &Registry, words: &[&[u8]]) -> Result<(), String> {
    let rules = Rules::unconfigured(table);
    let name = words.first().copied().unwrap_or_default();
    let wrong = |why: &str| {
        // All rules given as one word begin with a name, and a password may follow.
        let name = name.split(|b| *b <= b' ').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        Err(format!("Error in user declaration '{name}': {why}"))
    };
    if let Some(why) = name_refused(name) {
        return wrong(why);
    }
    match read_user(name, words.get(1..).unwrap_or_default(), &rules) {
        Ok(_) => Ok(()),
        // The rule is not shown: it may hold a password.
        Err(all) => wrong(all.first().map_or("", |(_, why)| why.text())),
    }
}

/// Makes the users whom the configuration or the ACL file describes, before any data are loaded. The error is why
/// the server cannot start.
pub fn load_at_start(state: &mut State, table: &Registry) -> Result<(), String> {
    if !state.config.aclfile.is_empty() && !state.config.user.is_empty() {
        return Err(
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL \
             file path is invalid. This setup is very likely to lead to configuration errors and \
             security holes, please define either an ACL file or declare users directly in your \
             redis.conf, but not both."
                .to_owned(),
        );
    }
    if !state.config.aclfile.is_empty() {
        let users = read_file(state, table, true)
            .map_err(|why| format!("Aborting Redis startup because of ACL errors: {why}"))?;
        users.into_iter().for_each(|user| {
            state.put_user(user);
        });
        return Ok(());
    }
    let mut users = Vec::new();
    let rules = Rules::of(state, table).before_data();
    for words in &state.config.user {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let name = words.first().copied().unwrap_or_default();
        let user = read_user(name, words.get(1..).unwrap_or_default(), &rules).map_err(|all| {
            format!(
                "Error loading the user named '{}': {}. Critical error while loading ACLs. Exiting.",
                String::from_utf8_lossy(name),
                all.first().map_or("", |(_, why)| why.text())
            )
        })?;
        users.push(user);
    }
    users.into_iter().for_each(|user| {
        state.put_user(user);
    });
    Ok(())
}

/// The users whom the ACL file describes. `early`: before the data, when no groups are known.
fn read_file(state: &State, table: &Registry, early: bool) -> Result<Vec<User>, String> {
    let path = path(state).unwrap_or_default();
    let text = std::fs::read(&path).map_err(|error| {
        format!(
            "Error loading ACLs, opening file '{}': {}",
            path.display(),
            errno_text(&error)
        )
    })?;
    let rules = Rules::of(state, table);
    let rules = match early {
        true => rules.before_data(),
        // What a start accepts, so does this.
        false => rules.awaiting_groups(),
    };
    read(&text, &path.display().to_string(), &rules)
}

/// ACL LOAD: the users of the file take the place of those there are. Clients of users whom the file, or the
/// configuration before it, told of are closed; users of groups of whom only the data tell stay.
pub fn load(state: &mut State, table: &Registry) -> Result<(), String> {
    let users = read_file(state, table, false)?;
    let named: HashSet<Box<[u8]>> = users.iter().map(|user| user.name.clone()).collect();
    let old: Vec<Box<[u8]>> = state
        .users
        .iter()
        .filter(|(_, user)| *user.name != *DEFAULT_NAME)
        .filter(|(_, user)| !is_data(user) || named.contains(&user.name))
        .map(|(_, user)| user.name.clone())
        .collect();
    for name in &old {
        // The data may still tell of one of a group.
        let may_be_data = state.users.find(name);
        let may_be_data = may_be_data.is_some_and(|id| !state.users.get(id).group.is_default());
        state.remove_user(name);
        log_change(state, name, may_be_data);
    }
    if !named.contains(DEFAULT_NAME) {
        state.restore_default_user();
    }
    for user in users {
        state.put_user(user);
    }
    state.keep_default_password();
    tell_waiting(state);
    Ok(())
}

/// Names those who cannot log in because nobody has made their group.
pub fn tell_waiting(state: &State) {
    for (_, user) in state.users.iter() {
        if let Some(group) = &user.awaits_group {
            log::warn!(
                "User '{}' cannot log in until there is a group '{group}'",
                user.name.escape_ascii()
            );
        }
    }
}

/// ACL SAVE: the file as the users are now, replaced whole.
pub fn save(state: &mut State) -> io::Result<()> {
    let path = path(state).unwrap_or_default();
    let mut text = Vec::new();
    for (_, user) in state.users.iter() {
        let user = state.for_files(user);
        text.extend_from_slice(&describe::line(&user, &state.groups));
        text.push(b'\n');
    }
    replace_file(&path, &text)?;
    now_configured(state);
    Ok(())
}

/// What users there are stands in the configuration or its file now: the data tell of them no more, lest one
/// comes back who is taken out there.
pub fn now_configured(state: &mut State) {
    let users = state.users.iter().filter(|(_, user)| is_data(user));
    let told: Vec<Box<[u8]>> = users.map(|(_, user)| user.name.clone()).collect();
    state.users.all_are_configured();
    told.iter().for_each(|name| log_change(state, name, true));
}

/// The words of the `user` lines that CONFIG REWRITE writes.
pub fn lines(state: &State) -> Vec<Vec<Vec<u8>>> {
    let words = |user: &User| {
        let mut words = vec![user.name.to_vec()];
        for rule in describe::rules(&state.for_files(user), &state.groups) {
            words.extend(rule.split(|b| *b == b' ').map(<[u8]>::to_vec));
        }
        words
    };
    state.users.iter().map(|(_, user)| words(user)).collect()
}
