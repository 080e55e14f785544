//! Users: who may log in, and what each of them may do.
//!
//! This is data. Rules are read and printed by `exec::users`, which knows the commands that they name, and
//! looked at by `exec::acl` when a request of a restricted user is admitted. No client acts for a user who is
//! gone: whoever takes a user away sees to the clients first (`State::remove_user`).
pub mod lockout;
pub mod logins;
pub mod password;
pub mod pattern;
pub mod selector;

use super::State;
use super::client::{Client, ClientId, client_flag};
use super::config::Secret;
use super::gate;
use super::groups::GroupId;
use super::pubsub::Topic;
use password::{Cost, PasswordHash};
use selector::Selector;
use slab::Slab;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names a user as long as there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UserId(pub u32);

impl UserId {
    /// The user every connection begins as; there always is one.
    pub const DEFAULT: UserId = UserId(0);
}

/// The name of the user every connection begins as.
pub const DEFAULT_NAME: &[u8] = b"default";

/// Are payloads of RESTORE checked in depth, where the configuration leaves that to the client's rights?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sanitize {
    #[default]
    Yes,
    /// `skip-sanitize-payload`.
    Skip,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: Box<[u8]>,
    /// `on`: may log in.
    pub enabled: bool,
    /// Any password will do.
    pub nopass: bool,
    pub sanitize: Sanitize,
    /// Any of them will do.
    pub passwords: Vec<PasswordHash>,
    /// The root's rules, and those of each selector; one that allows a request is enough.
    pub selectors: Vec<Selector>,
    /// Whose data its clients use.
    pub group: GroupId,
    /// The name of a group that there was not yet when the user was configured: until there is, no login
    /// succeeds.
    pub awaits_group: Option<Box<str>>,
    /// Whether the rules allow everything; known once it is among the users.
    unrestricted: bool,
    /// It stands in the configuration or the ACL file: what the data say of it does not count.
    pub configured: bool,
    /// Unix seconds from when on no login succeeds.
    pub expires: Option<i64>,
}

impl User {
    /// A user who may do nothing, of a server with so many command rows.
    pub fn new(name: &[u8], rows: usize) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            nopass: false,
            sanitize: Sanitize::Yes,
            passwords: Vec::new(),
            selectors: vec![Selector::new(rows)],
            group: GroupId::DEFAULT,
            awaits_group: None,
            unrestricted: false,
            configured: false,
            expires: None,
        }
    }

    /// The default user as a server without configuration has it.
    fn all_powerful(rows: usize) -> Self {
        let mut user = Self::new(DEFAULT_NAME, rows);
        user.enabled = true;
        user.nopass = true;
        let root = &mut user.selectors[0];
        root.commands.allow_all();
        root.keys.allow_all();
        root.channels.allow_all();
        user
    }

    /// The rules outside any parentheses.
    pub fn root(&self) -> &Selector {
        &self.selectors[0]
    }

    /// Is there nothing to check for this user?
    pub fn is_unrestricted(&self) -> bool {
        self.unrestricted
    }

    /// Does a new connection act as this user without a login?
    pub fn is_open(&self) -> bool {
        self.enabled && self.nopass
    }

    /// May nobody log in as this user any more at this time?
    pub fn has_expired(&self, unix_s: i64) -> bool {
        self.expires.is_some_and(|at| unix_s >= at)
    }

    /// May it use this channel?
    fn may_hear(&self, channel: &[u8]) -> bool {
        self.selectors
            .iter()
            .any(|selector| selector.channels.allow_channel(channel))
    }

    /// May it subscribe to this pattern?
    fn may_hear_pattern(&self, pattern: &[u8]) -> bool {
        self.selectors
            .iter()
            .any(|selector| selector.channels.allow_pattern(pattern))
    }

    /// May it use every channel that another user may use, for all that the rules say?
    fn hears_all_of(&self, other: &User) -> bool {
        let all = |user: &User| {
            user.selectors
                .iter()
                .any(|selector| selector.channels.allows_all())
        };
        let mut patterns = other.selectors.iter().flat_map(|s| s.channels.patterns());
        all(self)
            || (!all(other) && patterns.all(|(pattern, ())| self.may_hear_pattern(pattern.text())))
    }

    /// Is it one of those who run the server, and no user of a group?
    pub fn is_operator(&self) -> bool {
        self.group.is_default() && self.awaits_group.is_none()
    }

    /// May anybody log in as this user at this time?
    pub fn admits_logins(&self, unix_s: i64) -> bool {
        self.enabled && !self.has_expired(unix_s) && self.awaits_group.is_none()
    }
}

/// All users.
#[derive(Debug, Clone)]
pub struct Users {
    slab: Slab<User>,
    /// In the order in which lists show them.
    by_name: BTreeMap<Box<[u8]>, UserId>,
    /// Number of command rows: rules have a bit for each.
    rows: usize,
    /// The password of the configuration that the default user was given last, and as what it is kept.
    requirepass: Option<(Secret, PasswordHash)>,
    /// It stands in a file of its own.
    in_file: bool,
}

impl Users {
    /// The default user alone, who may do everything.
    pub fn new(rows: usize) -> Self {
        let mut users = Self {
            slab: Slab::new(),
            by_name: BTreeMap::new(),
            rows,
            requirepass: None,
            in_file: false,
        };
        users.put(User::all_powerful(rows));
        users
    }

    /// Number of command rows that a rule speaks of.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(name).copied()
    }

    /// The same as a group sees it: only the default one sees the users of others.
    pub fn find_for(&self, viewer: GroupId, name: &[u8]) -> Option<UserId> {
        let found = self.find(name)?;
        (viewer.is_default() || self.get(found).group == viewer).then_some(found)
    }

    /// A user who is there.
    #[inline]
    pub fn get(&self, id: UserId) -> &User {
        &self.slab[id.0 as usize]
    }

    /// The default user.
    pub fn default_user(&self) -> &User {
        self.get(UserId::DEFAULT)
    }

    /// All users by name.
    pub fn iter(&self) -> impl Iterator<Item = (UserId, &User)> {
        self.by_name.values().map(|id| (*id, self.get(*id)))
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Puts a user in the place of the one of the same name, or adds it. What clients may do follows with
    /// `State::put_user`.
    pub fn put(&mut self, user: User) -> UserId {
        let mut user = user;
        user.unrestricted = user.root().is_unrestricted();
        if let Some(id) = self.find(&user.name) {
            self.slab[id.0 as usize] = user;
            return id;
        }
        let name = user.name.clone();
        let id = UserId(self.slab.insert(user) as u32);
        self.by_name.insert(name, id);
        id
    }

    /// What there is now stands in the ACL file.
    pub fn all_are_configured(&mut self) {
        self.slab
            .iter_mut()
            .for_each(|(_, user)| user.configured = true);
    }

    /// Takes a user out, the default one excepted.
    fn take(&mut self, id: UserId) -> Option<User> {
        if id == UserId::DEFAULT {
            return None;
        }
        let user = self.slab.try_remove(id.0 as usize)?;
        self.by_name.remove(&user.name);
        Some(user)
    }
}

impl State {
    /// Must a new connection log in before it may do anything?
    pub fn password_needed(&self) -> bool {
        let user = self.users.default_user();
        !user.is_open() || user.has_expired(self.clock.unix_ms / 1000)
    }

    /// The user a client acts as.
    pub fn user_of(&self, who: ClientId) -> UserId {
        self.clients.get(who).map_or(UserId::DEFAULT, |c| c.user)
    }

    /// The name of the user a client acts as.
    pub fn user_name(&self, user: UserId) -> &[u8] {
        &self.users.get(user).name
    }

    /// The password of the configuration is the default user's, where it changed: alone, as Redis has it. One
    /// that stands in a file of its own takes the place of the last such one, and whatever passwords the lines
    /// of users give besides stay.
    pub fn settle_default_password(&mut self) {
        let last = self.users.requirepass.take();
        let in_file = self.config.requirepass_file.is_some();
        let same = self.config.requirepass.as_ref() == last.as_ref().map(|(given, _)| given);
        if same {
            (self.users.requirepass, self.users.in_file) = (last, in_file);
            return;
        }
        let given = self.config.requirepass.clone();
        let kept = given.map(|given| (self.kept_password(&given), given));
        let mut user = self.users.default_user().clone();
        match last {
            Some((_, last)) if in_file || self.users.in_file && kept.is_none() => {
                user.passwords.retain(|known| *known != last);
            }
            // It never had one of these.
            None if in_file => {}
            _ => user.passwords.clear(),
        }
        user.passwords
            .extend(kept.iter().map(|(hash, _)| hash.clone()));
        user.nopass = user.passwords.is_empty();
        self.users.requirepass = kept.map(|(hash, given)| (given, hash));
        self.users.in_file = in_file;
        self.put_user(user);
    }

    /// A password of the configuration as the default user has it. Argon2id takes its time here: the server is
    /// about to start, or somebody changes its configuration.
    fn kept_password(&mut self, given: &[u8]) -> PasswordHash {
        let derived = Cost::of(&self.config).map(|cost| password::derive(given, cost));
        match derived {
            Some(Ok(hash)) => {
                self.logins.know(&hash, given);
                hash
            }
            Some(Err(error)) => {
                log::warn!("Keeping the password of requirepass as its digest: {error}");
                PasswordHash::sha256(given)
            }
            None => PasswordHash::sha256(given),
        }
    }

    /// The default user as it is when no file says anything of it.
    pub fn restore_default_user(&mut self) {
        let mut user = User::all_powerful(self.users.rows);
        if let Some((_, kept)) = &self.users.requirepass {
            user.nopass = false;
            user.passwords.push(kept.clone());
        }
        self.put_user(user);
    }

    /// What a file holds is a password of the default user, whatever the lines of users say of it: they do not
    /// know it.
    pub fn keep_default_password(&mut self) {
        let Some((_, kept)) = self
            .users
            .requirepass
            .as_ref()
            .filter(|_| self.users.in_file)
        else {
            return;
        };
        let mut user = self.users.default_user().clone();
        if !user.passwords.contains(kept) {
            user.passwords.push(kept.clone());
        }
        user.nopass = false;
        self.put_user(user);
    }

    /// A user as files may have it: without the password that stands in a file of its own.
    pub fn for_files<'u>(&self, user: &'u User) -> Cow<'u, User> {
        let secret = self.users.requirepass.as_ref();
        match secret.filter(|_| self.users.in_file && *user.name == *DEFAULT_NAME) {
            Some((_, kept)) if user.passwords.contains(kept) => {
                let mut user = user.clone();
                user.passwords.retain(|known| known != kept);
                Cow::Owned(user)
            }
            _ => Cow::Borrowed(user),
        }
    }

    /// The session acts as this user from now on.
    pub fn log_in(&mut self, who: ClientId, user: UserId) {
        let client = self.clients.me(who);
        client.user = user;
        client.authenticated = true;
        client.gate &= !gate::UNAUTHENTICATED;
        self.settle_rights(who);
        self.join_group(who, self.users.get(user).group);
    }

    /// The session begins again as the default user, who may have to say the password.
    pub fn forget_login(&mut self, who: ClientId) {
        let needed = self.password_needed();
        let client = self.clients.me(who);
        client.user = UserId::DEFAULT;
        client.authenticated = !needed;
        if needed {
            client.gate |= gate::UNAUTHENTICATED;
        } else {
            client.gate &= !gate::UNAUTHENTICATED;
        }
        self.settle_rights(who);
        self.join_group(who, self.users.default_user().group);
    }

    /// Whether the client's requests are checked against its user's rules.
    fn settle_rights(&mut self, who: ClientId) {
        let client = self.clients.me(who);
        let user = self.users.get(client.user);
        client.gate &= !gate::ACL;
        if !user.is_unrestricted() {
            client.gate |= gate::ACL;
        }
    }

    /// Puts a user in the place of the one of the same name, or adds it: what its clients may do follows, and
    /// those are closed who subscribed to what they may no longer hear.
    pub fn put_user(&mut self, user: User) -> UserId {
        let old = self
            .users
            .find(&user.name)
            .map(|id| self.users.get(id).clone());
        let id = self.users.put(user);
        if let Some(old) = old {
            self.close_deaf(id, &old);
            if old.group != self.users.get(id).group {
                // What they did so far was with another group's data.
                let moved = self.clients_of(id);
                moved.into_iter().for_each(|who| self.close_politely(who));
            }
        }
        let concerned: Vec<ClientId> = self.clients_of(id);
        concerned
            .into_iter()
            .for_each(|who| self.settle_rights(who));
        id
    }

    /// Takes a user away, and closes its clients: the one that asks gets its reply first. Was there one?
    pub fn remove_user(&mut self, name: &[u8]) -> bool {
        let Some(id) = self.users.find(name).filter(|id| *id != UserId::DEFAULT) else {
            return false;
        };
        for who in self.clients_of(id) {
            self.dismiss(who);
        }
        self.users.take(id).is_some()
    }

    /// Takes away all users of a group, with one look at the clients: they may be many. Those for whom `stays`
    /// names a group are kept, and wait for it.
    pub(super) fn remove_users_of(
        &mut self,
        group: GroupId,
        stays: impl Fn(&User) -> Option<Box<str>>,
    ) {
        let acts = |client: &&Client| self.users.get(client.user).group == group;
        let clients = self.clients.iter().filter(acts).map(|client| client.id);
        for who in clients.collect::<Vec<_>>() {
            self.dismiss(who);
        }
        let users = self.users.iter().filter(|(_, user)| user.group == group);
        let users: Vec<_> = users.map(|(id, user)| (id, stays(user))).collect();
        for (id, stays) in users {
            if stays.is_none() {
                self.users.take(id);
                continue;
            }
            let mut user = self.users.get(id).clone();
            (user.group, user.awaits_group) = (GroupId::DEFAULT, stays);
            self.users.put(user);
        }
    }

    /// Ends a client whose user is gone: until it is closed it is one that has not logged in.
    fn dismiss(&mut self, who: ClientId) {
        self.forget_login(who);
        let client = self.clients.me(who);
        client.authenticated = false;
        client.gate |= gate::UNAUTHENTICATED;
        self.close_politely(who);
    }

    /// Closes a client, the one whose request runs only when its reply is out.
    pub fn close_politely(&mut self, who: ClientId) {
        if self.running == Some(who) {
            self.clients.me(who).flags |= client_flag::CLOSE_AFTER_REPLY;
        } else {
            self.close_client(who);
        }
    }

    /// The clients who act as this user.
    pub fn clients_of(&self, user: UserId) -> Vec<ClientId> {
        let acts = self.clients.iter().filter(|client| client.user == user);
        acts.map(|client| client.id).collect()
    }

    /// Closes the clients of a user who subscribed to what it may not hear any more.
    fn close_deaf(&mut self, id: UserId, old: &User) {
        let new = self.users.get(id);
        if new.hears_all_of(old) {
            return;
        }
        let deaf = |who: &ClientId| {
            let heard = |topic| self.subscriptions_of(*who, topic);
            heard(Topic::Pattern)
                .iter()
                .any(|name| !new.may_hear_pattern(name))
                || [Topic::Channel, Topic::ShardChannel]
                    .into_iter()
                    .any(|topic| heard(topic).iter().any(|name| !new.may_hear(name)))
        };
        let subscribed = self.clients.iter().filter(|client| {
            client.user == id && client.subscriptions.as_ref().is_some_and(|s| !s.is_empty())
        });
        let closed: Vec<ClientId> = subscribed.map(|client| client.id).filter(deaf).collect();
        closed.into_iter().for_each(|who| self.close_politely(who));
    }
}
