//! What was refused to whom: ACL LOG.
//!
//! Refusals that are alike and follow each other are one entry, so that a client which tries for ever fills
//! nothing. Every group has a log of its own: an entry shows a key, which is its group's alone.
use super::State;
use super::client::ClientId;
use super::groups::GroupId;
use std::collections::{BTreeMap, VecDeque};

/// Of the newest entries, so many may be like a new refusal.
const ALIKE_AMONG: usize = 10;
/// How long after its last refusal an entry counts more of the kind.
const ALIKE_MS: i64 = 60_000;
/// So much of a key, channel or name is kept.
const SHOWN_MAX: usize = 1024;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Auth,
    Command,
    Key,
    Channel,
    Database,
    /// A certificate names no user who may log in.
    Certificate,
}

impl Reason {
    /// As the log shows it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Auth => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Database => "database",
            Reason::Certificate => "tls-cert",
        }
    }
}

/// Where it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Toplevel,
    Multi,
    Script,
}

impl Context {
    /// As the log shows it.
    pub fn word(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Script => "lua",
        }
    }
}

/// One refusal.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    pub reason: Reason,
    pub context: Context,
    /// The command, key, channel or database.
    pub object: &'a [u8],
    pub user: &'a [u8],
    /// The client's line in CLIENT LIST.
    pub client: &'a [u8],
}

/// Refusals that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: u64,
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    pub object: Box<[u8]>,
    pub user: Box<[u8]>,
    /// The client whose refusal was the last.
    pub client: Box<[u8]>,
    /// Unix milliseconds of the first and of the last.
    pub created_ms: i64,
    pub updated_ms: i64,
}

/// The refusals of one group, the last one first.
#[derive(Debug, Default)]
pub struct AclLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

/// The logs of all groups.
#[derive(Debug, Default)]
pub struct AclLogs(BTreeMap<GroupId, AclLog>);

/// Beginning of a text, and how much more there was.
fn shown(bytes: &[u8]) -> Box<[u8]> {
    if bytes.len() <= SHOWN_MAX {
        return bytes.into();
    }
    let rest = format!("... ({} more bytes)", bytes.len() - SHOWN_MAX);
    [&bytes[..SHOWN_MAX], rest.as_bytes()].concat().into()
}

impl AclLogs {
    /// Notes a refusal in a group's log, which keeps so many.
    pub fn add(&mut self, group: GroupId, refusal: Refusal<'_>, now_ms: i64, max: usize) {
        self.0.entry(group).or_default().add(refusal, now_ms, max);
    }

    /// The refusals of a group, the last one first.
    pub fn of(&self, group: GroupId) -> impl ExactSizeIterator<Item = &Entry> {
        static NONE: VecDeque<Entry> = VecDeque::new();
        self.0.get(&group).map_or(&NONE, |log| &log.entries).iter()
    }

    /// Forgets the refusals of a group.
    pub fn reset(&mut self, group: GroupId) {
        if let Some(log) = self.0.get_mut(&group) {
            log.entries.clear();
        }
    }

    /// The group is gone, and its log with it.
    pub fn forget(&mut self, group: GroupId) {
        self.0.remove(&group);
    }

    /// Each log keeps no more than so many from now on.
    pub fn shorten(&mut self, max: usize) {
        for log in self.0.values_mut() {
            log.entries.truncate(max);
        }
    }
}

impl State {
    /// Counts a refusal and notes it in the log of the client's group.
    pub fn note_refusal(&mut self, who: ClientId, refusal: Refusal<'_>) {
        self.stats.acl_denied[refusal.reason as usize] += 1;
        let group = self.group_of_client(who);
        let (now_ms, max) = (self.clock.unix_ms, self.config.acllog_max_len);
        self.acl_logs.add(group, refusal, now_ms, max);
    }
}

impl AclLog {
    fn add(&mut self, refusal: Refusal<'_>, now_ms: i64, max: usize) {
        if max == 0 {
            self.entries.clear();
            return;
        }
        let (object, user) = (shown(refusal.object), shown(refusal.user));
        let alike = |entry: &Entry| {
            entry.reason == refusal.reason
                && entry.context == refusal.context
                && (now_ms - entry.updated_ms).abs() <= ALIKE_MS
                && entry.object == object
                && entry.user == user
        };
        let known = self.entries.iter().take(ALIKE_AMONG).position(alike);
        let entry = match known.and_then(|at| self.entries.remove(at)) {
            Some(known) => Entry {
                count: known.count + 1,
                client: shown(refusal.client),
                updated_ms: now_ms,
                ..known
            },
            None => {
                self.next_id += 1;
                Entry {
                    id: self.next_id - 1,
                    count: 1,
                    reason: refusal.reason,
                    context: refusal.context,
                    object,
                    user,
                    client: shown(refusal.client),
                    created_ms: now_ms,
                    updated_ms: now_ms,
                }
            }
        };
        self.entries.truncate(max - 1);
        self.entries.push_front(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(object: &str) -> Refusal<'_> {
        Refusal {
            reason: Reason::Key,
            context: Context::Toplevel,
            object: object.as_bytes(),
            user: b"u",
            client: b"id=1",
        }
    }

    fn shows(logs: &AclLogs) -> Vec<(String, u64, u64)> {
        let entry = |e: &Entry| {
            (
                String::from_utf8_lossy(&e.object).into_owned(),
                e.count,
                e.id,
            )
        };
        logs.of(GroupId::DEFAULT).map(entry).collect()
    }

    #[test]
    fn refusals_that_are_alike_are_one_for_a_minute_after_the_last() {
        let mut logs = AclLogs::default();
        let add = |logs: &mut AclLogs, object: &str, ms| {
            logs.add(GroupId::DEFAULT, refusal(object), ms, 128);
        };
        add(&mut logs, "a", 0);
        add(&mut logs, "b", 1);
        add(&mut logs, "a", 60_000);
        add(&mut logs, "a", 120_000);
        let (a, b) = ("a".to_string(), "b".to_string());
        assert_eq!(shows(&logs), [(a.clone(), 3, 0), (b.clone(), 1, 1)]);
        let entry = logs.of(GroupId::DEFAULT).next().cloned();
        assert!(entry.is_some_and(|e| e.created_ms == 0 && e.updated_ms == 120_000));
        add(&mut logs, "a", 180_001);
        assert_eq!(shows(&logs), [(a.clone(), 1, 2), (a, 3, 0), (b, 1, 1)]);
        // Who is not among the newest is not looked for.
        (0..10).for_each(|n| add(&mut logs, &n.to_string(), 180_002));
        add(&mut logs, "a", 180_003);
        assert_eq!(shows(&logs)[0].1, 1);
    }

    #[test]
    fn logs_are_bounded_and_a_groups_own() {
        let mut logs = AclLogs::default();
        let long = "x".repeat(3000);
        for (at, object) in ["a", "b", "c", &long].into_iter().enumerate() {
            logs.add(GroupId::DEFAULT, refusal(object), at as i64, 3);
        }
        logs.add(GroupId(7), refusal("t"), 9, 3);
        assert_eq!(logs.of(GroupId::DEFAULT).len(), 3);
        assert!(logs.of(GroupId::DEFAULT).all(|e| e.object.len() < 1100));
        assert_eq!(
            (logs.of(GroupId(7)).len(), logs.of(GroupId(8)).len()),
            (1, 0)
        );
        logs.reset(GroupId::DEFAULT);
        logs.shorten(0);
        assert_eq!(logs.of(GroupId(7)).len(), 0);
        logs.add(GroupId(7), refusal("t"), 9, 0);
        assert_eq!(logs.of(GroupId(7)).len(), 0);
    }
}
