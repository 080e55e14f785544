//! The rules of users, one at a time: what ACL SETUSER, `user` lines and an ACL file say.
//!
//! A rule that cannot be is told in Redis's words; the user is then not as it was, so it is a copy that rules are
//! applied to.
use super::Refused;
use crate::base::num::parse_i64;
use crate::exec::command::acl;
use crate::exec::login;
use crate::exec::registry::{Registry, Row};
use crate::state::State;
use crate::state::config::choices::AclPubsubDefault;
use crate::state::groups::{Groups, name_is_fit};
use crate::state::users::password::{NotDerived, PasswordHash};
use crate::state::users::pattern::Access;
use crate::state::users::selector::{Commands, Dbs, Selector};
use crate::state::users::{DEFAULT_NAME, Sanitize, User};
use std::borrow::Cow;

/// The longest name of a user. Names stand in lists, logs and files.
const NAME_MAX: usize = 1 << 10;

/// Commands of Redis that this server has not, with all their subcommands: rules that name them are taken and
/// kept, since users of replicas and clusters have them, and there is nothing yet that they allow.
const TO_COME: &[&[u8]] = &[
    b"asking",
    b"cluster",
    b"failover",
    b"migrate",
    b"psync",
    b"readonly",
    b"readwrite",
    b"replconf",
    b"replicaof",
    b"slaveof",
    b"sync",
    b"wait",
    b"waitaof",
];

/// Does this name a command, or a subcommand, of those?
fn is_to_come(name: &[u8]) -> bool {
    let command = name.split(|b| *b == b'|').next().unwrap_or_default();
    !has_space(name)
        && TO_COME
            .iter()
            .any(|known| known.eq_ignore_ascii_case(command))
}

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    Syntax,
    /// A command or a category that there is not.
    Unknown,
    KeysAfterAll,
    ChannelsAfterAll,
    NoSuchPassword,
    BadHash,
    FirstArgOfSubcommand,
    /// A `(` without its `)`.
    Unmatched,
    NoSuchGroup,
    BadDatabase,
    BadTime,
    /// The default user is whoever has not logged in: an operator.
    DefaultInGroup,
    NotDerived(NotDerived),
}

impl RuleError {
    /// The words for it.
    pub fn text(self) -> &'static str {
        match self {
            RuleError::Syntax => "Syntax error",
            RuleError::Unknown => "Unknown command or category name in ACL",
            RuleError::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does \
                 not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                 does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            RuleError::FirstArgOfSubcommand => {
                "Allowing first-arg of a subcommand is not supported"
            }
            RuleError::Unmatched => "Unmatched parenthesis in selector definition.",
            RuleError::NoSuchGroup => "There is no group of this name",
            RuleError::BadDatabase => "The databases must be numbers from 0 to 'databases' - 1",
            RuleError::BadTime => "The time must be in unix seconds",
            RuleError::NotDerived(why) => why.text(),
            RuleError::DefaultInGroup => "The default user cannot be in a group",
        }
    }
}

/// Why nobody can be called this.
pub fn name_refused(name: &[u8]) -> Option<&'static str> {
    if name.iter().any(|b| is_space(*b)) {
        return Some("Usernames can't contain spaces or null characters");
    }
    if name.is_empty() {
        return Some("Usernames can't be empty");
    }
    if name.iter().any(u8::is_ascii_control) {
        return Some("Usernames can't contain control characters");
    }
    (name.len() > NAME_MAX).then_some("Usernames can't be longer than 1024 bytes")
}

/// What ends a word in files and lists.
fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn has_space(text: &[u8]) -> bool {
    text.iter().any(|b| is_space(*b))
}

/// A selector may come as several words: `(+get`, `~a)` are `(+get ~a)`.
pub fn join_selectors<'w>(words: &[&'w [u8]]) -> Result<Vec<Cow<'w, [u8]>>, Refused> {
    let mut rules: Vec<Cow<'w, [u8]>> = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(first) = words.next() {
        if !first.starts_with(b"(") || first.ends_with(b")") {
            rules.push(Cow::Borrowed(first));
            continue;
        }
        let mut rule = first.to_vec();
        loop {
            let Some(word) = words.next() else {
                return Err(Refused {
                    rule: first.to_vec(),
                    why: RuleError::Unmatched,
                });
            };
            rule.push(b' ');
            rule.extend_from_slice(word);
            if word.ends_with(b")") {
                break;
            }
        }
        rules.push(Cow::Owned(rule));
    }
    Ok(rules)
}

/// Reads rules.
pub struct Rules<'t> {
    table: &'t Registry,
    /// Who knows passwords that take time; none where a line is only checked.
    state: Option<&'t State>,
    /// The groups there are; none while a configuration is read, when nobody knows them yet.
    groups: Option<&'t Groups>,
    /// A group that is not there is waited for.
    awaits: bool,
    /// New users may use all channels (`acl-pubsub-default`).
    all_channels: bool,
    databases: u32,
    rows: usize,
}

impl<'t> Rules<'t> {
    /// As they are under this state.
    pub fn of(state: &'t State, table: &'t Registry) -> Self {
        Self {
            table,
            state: Some(state),
            groups: Some(&state.groups),
            awaits: false,
            all_channels: state.config.acl_pubsub_default == AclPubsubDefault::Allchannels,
            databases: state.config.databases,
            rows: table.rows().len(),
        }
    }

    /// For a file that is read before the data: groups are taken at their word.
    pub fn before_data(mut self) -> Self {
        self.groups = None;
        self.awaiting_groups()
    }

    /// For a file that is read when groups are known: one may be made later.
    pub fn awaiting_groups(mut self) -> Self {
        self.awaits = true;
        self
    }

    /// For a line that is only checked: nothing is known but the commands.
    pub fn unconfigured(table: &'t Registry) -> Self {
        Self {
            table,
            state: None,
            groups: None,
            awaits: true,
            all_channels: false,
            databases: u32::MAX,
            rows: table.rows().len(),
        }
    }

    /// A user without rights.
    pub fn new_user(&self, name: &[u8]) -> User {
        let mut user = User::new(name, self.rows);
        user.selectors[0] = self.new_selector(true);
        user
    }

    fn new_selector(&self, root: bool) -> Selector {
        let mut selector = Selector::new(self.rows);
        if root && self.all_channels {
            selector.channels.allow_all();
        }
        selector
    }

    /// Applies one rule to a user.
    pub fn apply(&self, user: &mut User, rule: &[u8]) -> Result<(), RuleError> {
        let word = rule.to_ascii_lowercase();
        match word.as_slice() {
            b"" => {}
            b"on" => user.enabled = true,
            b"off" => user.enabled = false,
            b"nopass" => {
                user.nopass = true;
                user.passwords.clear();
            }
            b"resetpass" => {
                user.nopass = false;
                user.passwords.clear();
            }
            b"sanitize-payload" => user.sanitize = Sanitize::Yes,
            b"skip-sanitize-payload" => user.sanitize = Sanitize::Skip,
            b"clearselectors" => user.selectors.truncate(1),
            b"reset" => {
                let configured = user.configured;
                *user = self.new_user(&user.name);
                user.configured = configured;
            }
            _ => match (rule[0], &rule[1..]) {
                (b'>', password) => add(user, self.keep(password)?),
                (b'#', hash) => add(user, PasswordHash::parse(hash).ok_or(RuleError::BadHash)?),
                (b'<', password) => {
                    let kept = self.find_password(user, password);
                    remove(user, &kept.ok_or(RuleError::NoSuchPassword)?)?;
                }
                (b'!', hash) => {
                    remove(user, &PasswordHash::parse(hash).ok_or(RuleError::BadHash)?)?;
                }
                (b'(', _) if rule.ends_with(b")") => {
                    let mut selector = self.new_selector(false);
                    let inside = &rule[1..rule.len() - 1];
                    for rule in inside.split(|b| *b == b' ').filter(|rule| !rule.is_empty()) {
                        if rule.ends_with(b")") {
                            // In a file, whose lines are split at spaces, the selector would end there.
                            return Err(RuleError::Syntax);
                        }
                        self.apply_to(&mut selector, rule)?;
                    }
                    user.selectors.push(selector);
                }
                _ if word.starts_with(b"group:") => self.join(user, &rule[b"group:".len()..])?,
                _ if word.starts_with(b"expires:") => {
                    user.expires = expiry(&rule[b"expires:".len()..])?;
                }
                _ => self.apply_to(&mut user.selectors[0], rule)?,
            },
        }
        Ok(())
    }

    /// A password as it is kept. Whoever cannot wait has it derived before: see `exec::login::prepare`.
    fn keep(&self, password: &[u8]) -> Result<PasswordHash, RuleError> {
        match self.state {
            Some(state) => login::keep(state, password).map_err(RuleError::NotDerived),
            None => Ok(PasswordHash::sha256(password)),
        }
    }

    /// Which of a user's passwords this is.
    fn find_password(&self, user: &User, password: &[u8]) -> Option<PasswordHash> {
        match self.state {
            Some(state) => login::find(state, &user.passwords, password),
            None => Some(PasswordHash::sha256(password)),
        }
    }

    /// `group:NAME`.
    fn join(&self, user: &mut User, name: &[u8]) -> Result<(), RuleError> {
        if !name_is_fit(name) {
            return Err(RuleError::NoSuchGroup);
        }
        let found = self.groups.and_then(|groups| groups.find(name));
        let default = name == crate::state::groups::DEFAULT_NAME.as_bytes();
        if *user.name == *DEFAULT_NAME && !default {
            return Err(RuleError::DefaultInGroup);
        }
        match found {
            Some(group) => (user.group, user.awaits_group) = (group, None),
            None if default => (user.group, user.awaits_group) = Default::default(),
            None if !self.awaits => return Err(RuleError::NoSuchGroup),
            None => {
                let name = String::from_utf8_lossy(name).into_owned();
                (user.group, user.awaits_group) = (Default::default(), Some(name.into()));
            }
        }
        Ok(())
    }

    /// Applies one rule to a selector.
    fn apply_to(&self, selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
        let word = rule.to_ascii_lowercase();
        match word.as_slice() {
            b"allkeys" | b"~*" => selector.keys.allow_all(),
            b"resetkeys" => selector.keys.deny_all(),
            b"allchannels" | b"&*" => selector.channels.allow_all(),
            b"resetchannels" => selector.channels.deny_all(),
            b"allcommands" | b"+@all" => selector.commands.allow_all(),
            b"nocommands" | b"-@all" => selector.commands.deny_all(),
            b"alldbs" => selector.dbs = Dbs::All,
            b"resetdbs" => selector.dbs = Dbs::These(Vec::new()),
            _ if word.starts_with(b"db=") => selector.dbs = self.databases(&rule[3..])?,
            _ => match (rule[0], &rule[1..]) {
                (b'~' | b'%', _) => add_keys(selector, rule)?,
                (b'&', _) if selector.channels.allows_all() => {
                    return Err(RuleError::ChannelsAfterAll);
                }
                (b'&', pattern) if has_space(pattern) => return Err(RuleError::Syntax),
                (b'&', pattern) => selector.channels.add(pattern),
                (sign @ (b'+' | b'-'), [b'@', category @ ..]) => {
                    self.set_category(&mut selector.commands, category, sign == b'+')?;
                }
                (b'+', name) => self.allow(&mut selector.commands, name)?,
                (b'-', name) => {
                    match self.find(name) {
                        Some(row) => self.set_row(&mut selector.commands, row, false),
                        None if is_to_come(name) => {}
                        None => return Err(RuleError::Unknown),
                    }
                    selector.commands.note(name, false);
                }
                _ => return Err(RuleError::Syntax),
            },
        }
        Ok(())
    }

    /// What stands behind `db=`.
    fn databases(&self, list: &[u8]) -> Result<Dbs, RuleError> {
        let mut dbs = Vec::new();
        for number in list.split(|b| *b == b',') {
            let db = parse_i64(number).and_then(|db| u32::try_from(db).ok());
            dbs.push(
                db.filter(|db| *db < self.databases)
                    .ok_or(RuleError::BadDatabase)?,
            );
        }
        dbs.sort_unstable();
        dbs.dedup();
        Ok(Dbs::These(dbs))
    }

    /// The row that a rule names: by the name that the command has in Redis, however it was renamed.
    fn find(&self, name: &[u8]) -> Option<&'t Row> {
        self.table.find_original(name)
    }

    /// `+name`, `+name|sub`, `+name|argument`.
    fn allow(&self, commands: &mut Commands, name: &[u8]) -> Result<(), RuleError> {
        if let Some(row) = self.find(name) {
            self.set_row(commands, row, true);
            commands.note(name, true);
            return Ok(());
        }
        if is_to_come(name) {
            commands.note(name, true);
            return Ok(());
        }
        let at = memchr::memrchr(b'|', name).ok_or(RuleError::Unknown)?;
        let (command, argument) = (&name[..at], &name[at + 1..]);
        let row = self.find(command).ok_or(RuleError::Unknown)?;
        if row.parent != row.id {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if argument.is_empty() || has_space(argument) {
            return Err(RuleError::Syntax);
        }
        if !row.cmd.subs.is_empty() {
            return Err(RuleError::Unknown);
        }
        commands.allow_first_arg(row.id, argument);
        commands.note(name, true);
        log::warn!(
            "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL and \
             may get disabled in the future (offender: +{})",
            String::from_utf8_lossy(name)
        );
        Ok(())
    }

    /// A row and its subcommands.
    fn set_row(&self, commands: &mut Commands, row: &Row, allow: bool) {
        commands.set(row.id, allow);
        for sub in self.table.subs(row) {
            commands.set(sub.id, allow);
        }
    }

    fn set_category(
        &self,
        commands: &mut Commands,
        name: &[u8],
        allow: bool,
    ) -> Result<(), RuleError> {
        let category = acl::find(name).ok_or(RuleError::Unknown)?;
        let rows = self.table.rows().iter();
        for row in rows.filter(|row| row.acl & category != 0) {
            commands.set(row.id, allow);
        }
        commands.note(&[b"@", name].concat(), allow);
        Ok(())
    }
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
fn add_keys(selector: &mut Selector, rule: &[u8]) -> Result<(), RuleError> {
    if selector.keys.allows_all() {
        return Err(RuleError::KeysAfterAll);
    }
    let (access, pattern) = match rule {
        [b'~', pattern @ ..] => (Access::BOTH, pattern),
        _ => {
            let mut access = Access::NONE;
            let mut rest = &rule[1..];
            loop {
                let (one, behind) = match rest {
                    [b'R' | b'r', behind @ ..] => (Access::READ, behind),
                    [b'W' | b'w', behind @ ..] => (Access::WRITE, behind),
                    [b'~', behind @ ..] if access != Access::NONE => break (access, behind),
                    [] if access != Access::NONE => break (access, rest),
                    _ => return Err(RuleError::Syntax),
                };
                if one.is_within(access) {
                    return Err(RuleError::Syntax);
                }
                access.0 |= one.0;
                rest = behind;
            }
        }
    };
    if has_space(pattern) {
        return Err(RuleError::Syntax);
    }
    selector.keys.add(pattern, access);
    Ok(())
}

fn add(user: &mut User, hash: PasswordHash) {
    user.nopass = false;
    if !user.passwords.contains(&hash) {
        user.passwords.push(hash);
    }
}

fn remove(user: &mut User, hash: &PasswordHash) -> Result<(), RuleError> {
    let at = user.passwords.iter().position(|known| known == hash);
    user.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
    Ok(())
}

/// `expires:SECONDS`; `expires:0` is never.
fn expiry(text: &[u8]) -> Result<Option<i64>, RuleError> {
    match parse_i64(text) {
        Some(0) => Ok(None),
        Some(at) if at > 0 => Ok(Some(at)),
        _ => Err(RuleError::BadTime),
    }
}
