//! Groups: tenants that share a server and cannot see each other's data.
//!
//! Group `g` owns the databases `g * D` to `g * D + D - 1`, where `D` is the `databases` directive. Sessions
//! and contexts carry these global numbers, so that everything that is kept by database (keys, WATCH,
//! waiting clients, expiry, eviction) is divided without anybody asking. Numbers are translated only where
//! a client says or sees one. Group 0, called `default`, is the server as it is without groups: its
//! numbers are the same on both sides.
use super::State;
use super::client::ClientId;
use super::config::MaxmemoryPolicy;
use super::config::setting::parse_memory;
use super::gate;
use super::prop;
use super::quota::Spent;
use crate::base::num::parse_i64;
use std::collections::BTreeMap;

/// Names a group. Numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub u32);

impl GroupId {
    /// The group of everybody who is in no other.
    pub const DEFAULT: GroupId = GroupId(0);

    /// Is it the group of the server's operators?
    pub const fn is_default(self) -> bool {
        self.0 == 0
    }
}

/// The name of group 0.
pub const DEFAULT_NAME: &str = "default";
/// The longest name.
const NAME_MAX: usize = 64;
/// More groups than this there cannot be, nor databases in all: a number in a file is not to fill the memory,
/// and a number costs some before it is used.
pub const GROUPS_MAX: u32 = 1 << 20;
const DATABASES_MAX: usize = 1 << 24;

/// What a group may take; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes that its keys take.
    pub bytes: u64,
    pub keys: u64,
    /// Clients that are logged in at a time.
    pub clients: u64,
    /// Requests in a second.
    pub ops: u64,
    /// Bytes of replies and messages that its clients have not taken yet.
    pub output: u64,
    /// Which keys go where `bytes` or `keys` are reached.
    pub policy: MaxmemoryPolicy,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas {
            bytes: 0,
            keys: 0,
            clients: 0,
            ops: 0,
            output: 0,
            policy: MaxmemoryPolicy::Noeviction,
        }
    }
}

impl Quotas {
    /// The fields' names, in the order in which they are shown.
    pub const FIELDS: [&'static str; 6] = ["bytes", "keys", "clients", "ops", "output", "policy"];

    /// Is nothing limited?
    pub fn is_unlimited(&self) -> bool {
        [self.bytes, self.keys, self.clients, self.ops, self.output] == [0; 5]
    }

    /// Gives a field its value; the error says what is wrong with which.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> Result<(), String> {
        let size = |name: &str| {
            let digits = value.first().is_some_and(u8::is_ascii_digit);
            let size = parse_memory(value).filter(|size| digits && *size <= i64::MAX as u64);
            size.ok_or_else(|| format!("quota '{name}' must be a memory value"))
        };
        let count = |name: &str| {
            let count = parse_i64(value).and_then(|count| u64::try_from(count).ok());
            count.ok_or_else(|| format!("quota '{name}' must be a number that is not negative"))
        };
        match field.to_ascii_lowercase().as_slice() {
            b"bytes" => self.bytes = size("bytes")?,
            b"keys" => self.keys = count("keys")?,
            b"clients" => self.clients = count("clients")?,
            b"ops" => self.ops = count("ops")?,
            b"output" => self.output = size("output")?,
            b"policy" => {
                let found = MaxmemoryPolicy::WORDS
                    .iter()
                    .find(|(word, _)| value.eq_ignore_ascii_case(word.as_bytes()));
                let words = || MaxmemoryPolicy::WORDS.iter().map(|(word, _)| *word);
                self.policy = found.map(|(_, policy)| *policy).ok_or_else(|| {
                    let words: Vec<&str> = words().collect();
                    format!("quota 'policy' must be one of: {}", words.join(", "))
                })?;
            }
            _ => {
                let shown = field[..field.len().min(64)].escape_ascii();
                return Err(format!(
                    "unknown quota '{shown}'; they are: {}",
                    Quotas::FIELDS.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Gives fields their values; none of them where one is wrong.
    pub fn set_all(&mut self, words: &[&[u8]]) -> Result<(), String> {
        let mut new = *self;
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("each quota is a field and a value".to_owned());
        }
        for [field, value] in pairs {
            new.set(field, value)?;
        }
        *self = new;
        Ok(())
    }

    /// A field's value as it is shown and as [`Quotas::set`] takes it.
    pub fn shown(&self, field: &str) -> String {
        match field {
            "bytes" => self.bytes.to_string(),
            "keys" => self.keys.to_string(),
            "clients" => self.clients.to_string(),
            "ops" => self.ops.to_string(),
            "output" => self.output.to_string(),
            _ => self.policy.word().to_owned(),
        }
    }
}

/// One group.
#[derive(Debug)]
pub struct Group {
    pub id: GroupId,
    pub name: Box<str>,
    pub quotas: Quotas,
    /// Sessions that are in it.
    pub clients: u64,
    pub spent: Spent,
}

/// All groups. The default one is always there.
#[derive(Debug)]
pub struct Groups {
    slots: Vec<Option<Box<Group>>>,
    by_name: BTreeMap<Box<str>, GroupId>,
    /// How many databases each group has in the file that is being loaded; 0 where it does not say, which
    /// means as many as here.
    pub file_databases: usize,
    /// The same for the stream behind that file, where it differs: whoever wrote it follows another server, and
    /// passes on what that one says.
    pub stream_databases: usize,
}

impl Groups {
    /// How many databases each group has in the stream behind the file that was loaded.
    pub fn databases_behind_file(&self) -> usize {
        match self.stream_databases {
            0 => self.file_databases,
            count => count,
        }
    }
}

impl Default for Groups {
    fn default() -> Groups {
        let mut groups = Groups {
            slots: Vec::new(),
            by_name: BTreeMap::new(),
            file_databases: 0,
            stream_databases: 0,
        };
        groups.add(GroupId::DEFAULT, DEFAULT_NAME, Quotas::default());
        groups
    }
}

/// May a group be called this?
pub fn name_is_fit(name: &[u8]) -> bool {
    let fit = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name.iter().all(fit)
}

/// A group that is to be, as a request or a file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: Box<str>,
    /// Said by files: the number it had.
    pub id: Option<GroupId>,
    pub quotas: Quotas,
}

impl Plan {
    /// Reads a name and what may follow it: `ID n` in a file, `QUOTA` with fields and values.
    pub fn parse(words: &[&[u8]], of_file: bool) -> Result<Plan, String> {
        const SYNTAX: &str = "syntax error";
        let (name, mut rest) = words.split_first().ok_or(SYNTAX)?;
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| name_is_fit(name.as_bytes()));
        let mut plan = Plan {
            name: name.ok_or(BAD_NAME)?.into(),
            id: None,
            quotas: Quotas::default(),
        };
        if let [word, number, more @ ..] = rest
            && of_file
            && word.eq_ignore_ascii_case(b"id")
        {
            let number = parse_i64(number).and_then(|n| u32::try_from(n).ok());
            let number = number.filter(|n| (1..GROUPS_MAX).contains(n));
            plan.id = Some(GroupId(number.ok_or("a group's number out of range")?));
            rest = more;
        }
        if let [word, fields @ ..] = rest {
            if !word.eq_ignore_ascii_case(b"quota") || fields.is_empty() {
                return Err(SYNTAX.to_owned());
            }
            plan.quotas.set_all(fields)?;
        }
        Ok(plan)
    }

    /// The words that make this group again in a file.
    pub fn words(group: &Group) -> Vec<String> {
        let mut words = vec![
            group.name.to_string(),
            "ID".to_owned(),
            group.id.0.to_string(),
        ];
        if group.quotas != Quotas::default() {
            words.push("QUOTA".to_owned());
            for field in Quotas::FIELDS {
                words.extend([field.to_owned(), group.quotas.shown(field)]);
            }
        }
        words
    }
}

/// What is said of a name that cannot be.
pub const BAD_NAME: &str = "a group's name is 1 to 64 letters, digits, '_', '.' and '-'";

impl Groups {
    /// Is there any group but the default one?
    #[inline]
    pub fn exist(&self) -> bool {
        self.by_name.len() > 1
    }

    /// How many there are, the default one included.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Never: the default one is always there.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The group of this name.
    pub fn find(&self, name: &[u8]) -> Option<GroupId> {
        let name = std::str::from_utf8(name).ok()?;
        self.by_name.get(name).copied()
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// The name of a group; that of the default one where there is none.
    pub fn name(&self, id: GroupId) -> &str {
        self.get(id).map_or(DEFAULT_NAME, |group| &group.name)
    }

    /// All groups, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.slots.iter().flatten().map(|group| &**group)
    }

    /// The same for changing.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.slots.iter_mut().flatten().map(|group| &mut **group)
    }

    /// The lowest number that no group has.
    pub fn free_id(&self) -> GroupId {
        let free = self.slots.iter().position(Option::is_none);
        GroupId(free.unwrap_or(self.slots.len()) as u32)
    }

    /// Adds a group under a number and a name that are free.
    pub fn add(&mut self, id: GroupId, name: &str, quotas: Quotas) {
        let at = id.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, || None);
        }
        self.by_name.insert(name.into(), id);
        self.slots[at] = Some(Box::new(Group {
            id,
            name: name.into(),
            quotas,
            clients: 0,
            spent: Spent::default(),
        }));
    }

    /// Takes a group out; its sessions, users and data are the caller's.
    pub fn remove(&mut self, id: GroupId) -> Option<Box<Group>> {
        if id.is_default() {
            return None;
        }
        let group = self.slots.get_mut(id.0 as usize)?.take()?;
        self.by_name.remove(&group.name);
        while matches!(self.slots.last(), Some(None)) {
            self.slots.pop();
        }
        Some(group)
    }
}

/// Databases and their groups.
impl State {
    /// The group whose database this is.
    #[inline]
    pub fn group_of(&self, db: usize) -> GroupId {
        let count = self.dbs.count();
        if db < count {
            return GroupId::DEFAULT;
        }
        GroupId((db / count) as u32)
    }

    /// A database's number as its group knows it.
    #[inline]
    pub fn local_db(&self, db: usize) -> usize {
        let count = self.dbs.count();
        if db < count { db } else { db % count }
    }

    /// The number of the group's first database.
    pub fn first_db(&self, group: GroupId) -> usize {
        group.0 as usize * self.dbs.count()
    }

    /// The group's databases.
    pub fn dbs_of(&self, group: GroupId) -> std::ops::Range<usize> {
        let first = self.first_db(group);
        first..first + self.dbs.count()
    }

    fn databases_of_file(&self) -> usize {
        match self.groups.file_databases {
            0 => self.dbs.count(),
            of_file => of_file,
        }
    }

    /// The number of the group whose database a number means there, whether or not that is here.
    pub fn group_of_file(&self, number: usize) -> usize {
        // Who has told of no groups has none, however many databases it has.
        if self.groups.file_databases == 0 && !self.groups.exist() {
            return 0;
        }
        number / self.databases_of_file()
    }

    /// The database that a number means in the file that is being loaded: its writer may have given each
    /// group more of them, or fewer.
    pub fn db_of_file(&self, number: usize) -> Option<usize> {
        let count = self.dbs.count();
        let of_file = self.databases_of_file();
        let (group, local) = (number / of_file, number % of_file);
        let known = self
            .groups
            .get(GroupId(u32::try_from(group).ok()?))
            .is_some();
        (known && local < count).then(|| group * count + local)
    }

    /// Why a number means no database in the file that is being loaded.
    pub fn unknown_db(&self, number: usize) -> String {
        let (count, of_file) = (self.dbs.count(), self.groups.file_databases);
        if of_file == 0 {
            return format!(
                "FATAL: Data file was created with a Redis server configured to handle more than \
                 {count} databases: it has keys in number {number}"
            );
        }
        let group = u32::try_from(number / of_file)
            .ok()
            .and_then(|id| self.groups.get(GroupId(id)));
        match group {
            Some(group) => format!(
                "FATAL: Data file has keys in database {} of group '{}': its writer had {of_file} \
                 databases for each group, and 'databases' is {count} here",
                number % of_file,
                group.name
            ),
            None => format!(
                "FATAL: Data file has keys in number {number}, which with {of_file} databases for \
                 each group is none of any group's"
            ),
        }
    }

    /// Makes a group; the error says why it cannot be.
    pub fn create_group(&mut self, plan: &Plan) -> Result<GroupId, String> {
        let (groups, name) = (&self.groups, &plan.name);
        if groups.find(name.as_bytes()).is_some() {
            return Err(format!("group '{name}' already exists"));
        }
        let id = plan.id.unwrap_or_else(|| groups.free_id());
        if let Some(there) = groups.get(id) {
            let there = &there.name;
            return Err(format!(
                "group '{name}' has number {}, which is that of '{there}'",
                id.0
            ));
        }
        let databases = (id.0 as usize + 1).saturating_mul(self.dbs.count());
        if id.0 >= GROUPS_MAX || databases > DATABASES_MAX {
            return Err(format!(
                "there are too many groups: there can be {GROUPS_MAX}, and {DATABASES_MAX} databases"
            ));
        }
        self.groups.add(id, name, Quotas::default());
        self.set_quotas(id, plan.quotas);
        self.settle_groups();
        // The configuration may have told of its users before there was a group.
        let waiting = self
            .users
            .iter()
            .filter(|(_, user)| user.awaits_group.as_ref() == Some(name));
        for mut user in waiting.map(|(_, user)| user.clone()).collect::<Vec<_>>() {
            (user.group, user.awaits_group) = (id, None);
            self.put_user(user);
        }
        Ok(id)
    }

    /// The same for a group that a file tells of, which may be there already.
    pub fn restore_group(&mut self, plan: &Plan) -> Result<(), String> {
        let known = self.groups.find(plan.name.as_bytes());
        match known.filter(|known| plan.id.is_none_or(|id| id == *known)) {
            Some(known) => {
                self.set_quotas(known, plan.quotas);
                Ok(())
            }
            None => self.create_group(plan).map(drop),
        }
    }

    /// A group goes, with its keys and whatever else it has; its clients are closed. How many keys it had.
    /// Where `reloads`, it goes because of files: users whom the configuration has stay, and wait for it.
    pub fn delete_group(&mut self, group: GroupId, reloads: bool) -> usize {
        let clients = self.clients.iter().filter(|client| client.group == group);
        for who in clients.map(|client| client.id).collect::<Vec<_>>() {
            self.close_client(who);
            // Its number may be another's before the end of the turn.
            self.join_group(who, GroupId::DEFAULT);
        }
        let name: Box<str> = self.groups.name(group).into();
        self.remove_users_of(group, |user| match reloads && user.configured {
            true => Some(name.clone()),
            false => None,
        });
        let keys = self.flush_all(group, true);
        // The last one first: what is behind one that goes moves up.
        for db in self.dbs_of(group).rev() {
            self.dbs.forget(db);
        }
        self.forget_shares(group);
        self.groups.remove(group);
        self.settle_groups();
        keys
    }

    /// How many users a group has.
    pub fn users_of(&self, group: GroupId) -> usize {
        let users = self.users.iter();
        users.filter(|(_, user)| user.group == group).count()
    }

    /// Groups came or went, or files were loaded: whoever reads the log is to know what its numbers of
    /// databases mean. Also when no group is left: what the log said before may hold no more.
    pub fn settle_groups(&mut self) {
        let log = &mut self.prop.log;
        if self.groups.exist() || self.groups.file_databases != 0 {
            log.groups_from = u32::try_from(self.dbs.count()).unwrap_or(u32::MAX);
            log.preamble.clear();
            let told = prop::told_databases(self.dbs.count());
            prop::push_request(&mut log.preamble, &[b"ECHO", &told]);
            self.send_plain_replicas_away();
        }
    }

    /// The group of the client on whose behalf something runs; the default one while the server works by
    /// itself.
    pub fn group_of_client(&self, who: ClientId) -> GroupId {
        self.clients
            .get(who)
            .map_or(GroupId::DEFAULT, |client| client.group)
    }

    /// The client is in this group from now on, in the database that has the same number there. What it
    /// had to do with the data of the group it leaves is forgotten.
    pub fn join_group(&mut self, who: ClientId, group: GroupId) {
        let Some(client) = self.clients.get(who) else {
            return;
        };
        let (left, db) = (client.group, client.db as usize);
        if left == group {
            return;
        }
        if client.parked.is_some() {
            // What it waits for is the other group's.
            self.close_client(who);
        }
        self.discard_transaction(who);
        self.unwatch_all(who);
        // By and by; messages reach nobody who has left. Unless it comes back: then it is to have left.
        self.unsubscribe_all(who, true);
        self.finish_leaving(who, group);
        self.untrack(who);
        self.stop_monitor(who);
        self.forget_held(who);
        let db = self.first_db(group) + self.local_db(db);
        let client = self.clients.me(who);
        client.group = group;
        client.db = db as u32;
        if group.is_default() {
            client.gate &= !gate::TENANT;
        } else {
            client.gate |= gate::TENANT;
        }
        let held = u64::from(client.transport.out_held);
        self.settle_monitored_client(who);
        self.count_login(who, group);
        self.count_client(left, -1);
        self.count_client(group, 1);
        self.count_output(left, held, 0);
        self.count_output(group, 0, held);
        self.settle_quota(who);
    }

    /// A session came into a group, or went.
    pub(super) fn count_client(&mut self, group: GroupId, n: i64) {
        if let Some(group) = self.groups.get_mut(group) {
            group.clients = group.clients.saturating_add_signed(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::client::Peer;
    use crate::state::config::Config;
    use crate::state::pubsub::Topic;

    /// A client that goes into another group hears nothing more of the one it left, though it leaves many
    /// channels by and by; and nothing it left long ago when it comes back.
    #[test]
    fn many_subscriptions_are_left_by_and_by() {
        let clock = Clock::manual(1_000_000);
        let mut state = State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0);
        for name in [&b"blue"[..], b"red"] {
            let plan = Plan::parse(&[name], false).expect("a plan");
            state.create_group(&plan).expect("made");
        }
        let (blue, red) = (GroupId(1), GroupId(2));
        let who = state.open_session(Peer::None);
        state.join_group(who, blue);
        for n in 0..5000 {
            state.subscribe(who, Topic::Channel, format!("c{n}").as_bytes());
        }
        let heard = |state: &mut State, group| {
            let names = (0..5000).map(|n| format!("c{n}"));
            let each = names.map(|name| state.publish(group, name.as_bytes(), b"m"));
            each.sum::<usize>()
        };
        assert_eq!(heard(&mut state, blue), 5000);
        state.join_group(who, red);
        assert!(state.pubsub.has_leaving() && heard(&mut state, blue) == 0);
        state.subscribe(who, Topic::Channel, b"c4999");
        assert_eq!(heard(&mut state, red), 1);
        state.join_group(who, blue);
        assert!(!state.pubsub.has_leaving() && heard(&mut state, blue) == 0);
        assert_eq!(state.subscribe(who, Topic::Channel, b"c4999"), 1);
        assert_eq!((heard(&mut state, blue), heard(&mut state, red)), (1, 0));
        assert_eq!(state.pubsub.of(red).len(Topic::Channel), 0);
    }

    #[test]
    fn names_are_plain_and_short() {
        for name in ["a", "Blue-1_x.y", &"n".repeat(64)] {
            assert!(name_is_fit(name.as_bytes()), "{name}");
        }
        for name in ["", "a b", "a\0", "ä", "a:b", &"n".repeat(65)] {
            assert!(!name_is_fit(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn numbers_are_used_again() {
        let mut groups = Groups::default();
        assert!(!groups.exist() && groups.name(GroupId(7)) == "default");
        for name in ["a", "b", "c"] {
            groups.add(groups.free_id(), name, Quotas::default());
        }
        assert_eq!(groups.find(b"b"), Some(GroupId(2)));
        assert!(groups.remove(GroupId(2)).is_some() && groups.remove(GroupId(2)).is_none());
        assert!(groups.remove(GroupId::DEFAULT).is_none());
        assert_eq!((groups.free_id(), groups.find(b"b")), (GroupId(2), None));
        groups.remove(GroupId(3));
        assert_eq!((groups.free_id(), groups.len()), (GroupId(2), 2));
    }

    #[test]
    fn quotas_are_read_as_they_are_shown() {
        let mut quotas = Quotas::default();
        assert!(quotas.is_unlimited());
        for (field, value) in [
            ("bytes", "100mb"),
            ("Keys", "1000"),
            ("clients", "5"),
            ("ops", "10"),
            ("output", "1kb"),
            ("policy", "ALLKEYS-LRU"),
        ] {
            quotas
                .set(field.as_bytes(), value.as_bytes())
                .expect("fits");
        }
        let mut again = Quotas::default();
        for field in Quotas::FIELDS {
            let shown = quotas.shown(field);
            again.set(field.as_bytes(), shown.as_bytes()).expect("fits");
        }
        assert_eq!((again, quotas.bytes), (quotas, 100 << 20));
        for (field, value) in [
            ("bytes", "-1"),
            ("bytes", ""),
            ("bytes", "mb"),
            ("keys", "1kb"),
            ("keys", "-1"),
            ("policy", "lru"),
            ("space", "1"),
        ] {
            let before = quotas;
            let why = quotas.set(field.as_bytes(), value.as_bytes());
            assert!(why.is_err() && quotas == before, "{field} {value}");
        }
    }
}
