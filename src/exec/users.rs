//! Users as text: the rules of ACL SETUSER read, printed, and kept in files.
//!
//! The model is `state::users`; what is here knows the command table besides, because rules name commands.
pub mod describe;
pub mod file;
pub mod rules;

use super::registry::Registry;
use crate::state::State;
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
