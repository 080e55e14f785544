//! Users as text: the rules of ACL SETUSER read, printed, and kept in files.
//!
//! The model is `state::users`; what is here knows the command table besides, because rules name commands.
pub mod describe;
pub mod file;
pub mod rules;

use super::registry::Registry;
use crate::state::State;
use crate::state::groups::Groups;
use crate::state::users::{User, UserId};
use rules::{RuleError, Rules};

/// Why a user is not as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The rule that cannot be, as it was given.
    pub rule: Vec<u8>,
    pub why: RuleError,
}

/// The user of this name, or a new one, with more rules. Nothing is changed yet.
pub fn draft(
    state: &State,
    table: &Registry,
    name: &[u8],
    rules: &[&[u8]],
) -> Result<User, Refused> {
    let reader = Rules::of(state, table);
    let mut user = match state.users.find(name) {
        Some(id) => state.users.get(id).clone(),
        None => reader.new_user(name),
    };
    for rule in rules::join_selectors(rules)? {
        reader.apply(&mut user, &rule).map_err(|why| Refused {
            rule: rule.to_vec(),
            why,
        })?;
    }
    Ok(user)
}

/// The same, and the user is as asked for.
pub fn set(
    state: &mut State,
    table: &Registry,
    name: &[u8],
    rules: &[&[u8]],
) -> Result<UserId, Refused> {
    let user = draft(state, table, name, rules)?;
    Ok(state.put_user(user))
}

/// Is this user kept with the data? Those of groups are, unless the configuration tells of them.
pub fn is_data(user: &User) -> bool {
    !user.group.is_default() && !user.configured
}

/// The rules that make this user whatever it was before.
pub fn whole_rules(user: &User, groups: &Groups) -> Vec<Vec<u8>> {
    let mut words = vec![user.name.to_vec(), b"reset".to_vec()];
    words.extend(describe::rules(user, groups));
    words
}

/// The log is told of a user who changed or went, where that is kept with the data. `was`: it was kept there
/// before.
pub fn log_change(state: &mut State, name: &[u8], was: bool) {
    let user = state.users.find(name).map(|id| state.users.get(id));
    let words = match user.filter(|user| is_data(user)) {
        Some(user) => whole_rules(user, &state.groups),
        None if was => Vec::new(),
        None => return,
    };
    state.dirty += 1;
    let mut argv: Vec<&[u8]> = match words.is_empty() {
        true => vec![b"ACL", b"DELUSER", name],
        false => vec![b"ACL", b"SETUSER"],
    };
    argv.extend(words.iter().map(Vec::as_slice));
    state.prop.also_carried(&argv);
}

/// Is the user of this name kept with the data now?
pub fn is_kept(state: &State, name: &[u8]) -> bool {
    let user = state.users.find(name).map(|id| state.users.get(id));
    user.is_some_and(is_data)
}
