//! Failed logins: who is made to wait, and who is not listened to for a while.
//!
//! Failures are counted for a user at an address, for a user wherever it comes from, and for an address
//! whomever it tries; each count has a limit of its own, 0 for none. Behind the limit nobody's password is
//! looked at until the lock ends, so that a lock tells nothing about the password, the right one included.
//! A failure may also hold back whoever tries again, on whatever connection: a short lock of that user at that
//! address.
//!
//! The table is bounded, and nobody gets out of it by filling it. An origin has so many names of its own; those
//! beyond are counted as one. Where there is no room for all, counts go that lock nobody yet, the one first
//! that would be forgotten first.
use crate::state::client::Peer;
use crate::state::config::Config;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Counts that are kept at most; one takes some 200 bytes.
const ENTRIES_MAX: usize = 8192;
/// Users that are counted each by itself at one origin.
const NAMES_MAX: usize = 256;
/// A longer name counts as what it begins with.
const NAME_MAX: usize = 64;
/// Each failure in a row doubles the delay, so many times at most.
const DOUBLINGS_MAX: u32 = 6;
/// No reply is held back longer, milliseconds.
const DELAY_MAX_MS: u64 = 60_000;

/// Where a login comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    Ip(IpAddr),
    /// Whoever may open the socket's file: no stranger.
    Unix,
}

impl Origin {
    /// The origin of a connection. Who has one address of IPv6 has all of its network of 64 bits.
    pub fn of(peer: &Peer) -> Option<Self> {
        match peer {
            Peer::None => None,
            Peer::Unix(_) => Some(Origin::Unix),
            Peer::Tcp(ends) => Some(Self::of_ip(ends.0.ip())),
        }
    }

    /// The origin that an address counts as.
    pub fn of_ip(ip: IpAddr) -> Self {
        Origin::Ip(match ip.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
            }
            other => other,
        })
    }

    /// What `Display` prints, or one address.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.eq_ignore_ascii_case(b"unix") {
            return Some(Origin::Unix);
        }
        let text = std::str::from_utf8(text).ok()?;
        let text = text.strip_suffix("/64").unwrap_or(text);
        Some(Self::of_ip(text.parse().ok()?))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Unix => f.write_str("unix"),
            Origin::Ip(IpAddr::V6(v6)) if !v6.is_loopback() => write!(f, "{v6}/64"),
            Origin::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

/// What is counted together: a user, an origin, or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    pub user: Option<Box<[u8]>>,
    pub origin: Option<Origin>,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) if user.is_empty() => f.write_str("any other user")?,
            Some(user) => write!(f, "user '{}'", user.escape_ascii())?,
            None => f.write_str("any user")?,
        }
        match self.origin {
            Some(origin) => write!(f, " from {origin}"),
            None => f.write_str(" from anywhere"),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    failures: u32,
    /// When it is forgotten, and the lock ends if there is one.
    until_ms: u64,
    /// Tries before that are not looked at: the delay of the last failure.
    held_ms: u64,
    /// Tells entries of the same moment apart.
    ticket: u64,
    locked: bool,
}

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Failures that lock a user at an origin, a user, an origin.
    pub pair: u32,
    pub user: u32,
    pub origin: u32,
    /// How long a lock lasts, and a failure counts.
    pub lock_ms: u64,
    /// How long the reply of a first failure is held back.
    pub delay_ms: u64,
}

impl Limits {
    /// What the configuration says.
    pub fn of(config: &Config) -> Self {
        Self {
            pair: config.login_lockout_failures,
            user: config.login_lockout_user_failures,
            origin: config.login_lockout_address_failures,
            lock_ms: u64::from(config.login_lockout_seconds) * 1000,
            delay_ms: config.login_failure_delay,
        }
    }

    fn is_on(&self) -> bool {
        self.pair > 0 || self.user > 0 || self.origin > 0 || self.delay_ms > 0
    }
}

/// What follows from a failure.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Consequence {
    /// How long the reply is to be held back.
    pub delay_ms: u64,
    /// What is locked from now on.
    pub locked: Vec<Scope>,
}

/// A count as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Shown {
    pub scope: Scope,
    pub failures: u32,
    pub locked: bool,
    /// Milliseconds until the lock ends, or the failures are forgotten.
    pub left_ms: u64,
}

/// All counts.
#[derive(Debug, Default)]
pub struct Lockouts {
    limits: Limits,
    counts: HashMap<Scope, Count>,
    /// The same by the moment at which they are forgotten: those that lock nobody yet, and locks.
    ends: [BTreeMap<(u64, u64), Scope>; 2],
    /// How many users are counted at each origin.
    names: HashMap<Origin, usize>,
    next_ticket: u64,
    /// Locks there were.
    pub total: u64,
    /// When one was told of last, and how many were not since.
    told_ms: Option<u64>,
    untold: u64,
}

fn scopes(user: &[u8], origin: Origin) -> [Scope; 3] {
    let user: Box<[u8]> = user[..user.len().min(NAME_MAX)].into();
    let scope = |user, origin| Scope { user, origin };
    [
        scope(Some(user.clone()), Some(origin)),
        scope(Some(user), None),
        scope(None, Some(origin)),
    ]
}

/// A user at an origin?
fn is_pair(scope: &Scope) -> bool {
    scope.user.is_some() && scope.origin.is_some()
}

impl Lockouts {
    /// Follows the configuration. What is switched off holds nobody any longer.
    pub fn configure(&mut self, limits: Limits) {
        if limits == self.limits {
            return;
        }
        self.limits = limits;
        let gone: Vec<Scope> = (self.counts.keys())
            .filter(|scope| !self.counts_for(scope))
            .cloned()
            .collect();
        gone.iter().for_each(|scope| self.remove(scope));
    }

    fn limit(&self, scope: &Scope) -> u32 {
        match (&scope.user, scope.origin) {
            // The names of an origin that are not counted by themselves.
            (Some(user), Some(_)) if user.is_empty() && self.limits.pair == 0 => self.limits.user,
            (Some(_), Some(_)) => self.limits.pair,
            (Some(_), None) => self.limits.user,
            (None, _) => self.limits.origin,
        }
    }

    /// Is anything to be counted for this? The delay follows the user's failures at its origin, and how many
    /// names an origin has says which counts of users it may begin.
    fn counts_for(&self, scope: &Scope) -> bool {
        let also = self.limits.delay_ms > 0 || self.limits.user > 0;
        self.limit(scope) > 0 || is_pair(scope) && also
    }

    /// What a user at an origin counts as: the user itself, or one of all those for whom there is no room.
    fn pair(&self, pair: Scope) -> Scope {
        let names = pair.origin.and_then(|origin| self.names.get(&origin));
        let full = names.is_some_and(|names| *names >= NAMES_MAX);
        match full && !self.counts.contains_key(&pair) {
            true => Scope {
                user: Some(Box::default()),
                ..pair
            },
            false => pair,
        }
    }

    /// How long nobody is listened to who wants to be this user from there, milliseconds.
    pub fn locked_ms(&mut self, user: &[u8], origin: Origin, now_ms: u64) -> Option<u64> {
        if self.counts.is_empty() {
            return None;
        }
        self.forget(now_ms);
        let [pair, user, from] = scopes(user, origin);
        let concerned = [self.pair(pair), user, from];
        let ends = concerned.iter().filter_map(|scope| {
            // Strangers must not be able to lock out whoever is on this machine.
            if origin == Origin::Unix && scope.origin.is_none() {
                return None;
            }
            let count = self.counts.get(scope)?;
            let until_ms = if count.locked {
                count.until_ms
            } else {
                count.held_ms
            };
            until_ms.checked_sub(now_ms).filter(|left| *left > 0)
        });
        ends.max()
    }

    /// A login failed.
    pub fn failed(&mut self, user: &[u8], origin: Origin, now_ms: u64) -> Consequence {
        let mut consequence = Consequence::default();
        if !self.limits.is_on() {
            return consequence;
        }
        self.forget(now_ms);
        let [own, user, from] = scopes(user, origin);
        let pair = self.pair(own.clone());
        let one_of_many = pair != own;
        for scope in [pair, user, from] {
            let known = self.counts.get(&scope).copied();
            // Who makes up names cannot fill the table with them.
            let begins = known.is_none() && scope.origin.is_none();
            if !self.counts_for(&scope) || begins && one_of_many {
                continue;
            }
            let mut count = known.unwrap_or_default();
            if count.locked {
                continue;
            }
            count.failures = count.failures.saturating_add(1);
            let limit = self.limit(&scope);
            count.locked = limit > 0 && count.failures >= limit;
            count.until_ms = now_ms + self.limits.lock_ms;
            if is_pair(&scope) {
                let doublings = (count.failures - 1).min(DOUBLINGS_MAX);
                consequence.delay_ms = (self.limits.delay_ms << doublings).min(DELAY_MAX_MS);
                count.held_ms = now_ms + consequence.delay_ms;
                count.until_ms = count.until_ms.max(count.held_ms);
            }
            if count.locked {
                self.total += 1;
                consequence.locked.push(scope.clone());
            }
            self.put(scope, count);
        }
        consequence
    }

    /// A login succeeded: the failures of this user at this origin are forgiven. Not those of the user
    /// elsewhere, which are somebody else's, nor those of the origin: else whoever has one password may
    /// try for others without end.
    pub fn succeeded(&mut self, user: &[u8], origin: Origin) {
        if !self.counts.is_empty() {
            let [pair, ..] = scopes(user, origin);
            self.remove(&pair);
        }
    }

    /// Forgets the counts that concern this user and this origin, all of them without either; how many
    /// there were.
    pub fn unlock(&mut self, user: Option<&[u8]>, origin: Option<Origin>) -> usize {
        let user = user.map(|user| &user[..user.len().min(NAME_MAX)]);
        let concerned = |scope: &&Scope| {
            (user.is_none() || scope.user.as_deref() == user)
                && (origin.is_none() || scope.origin == origin)
        };
        let gone: Vec<Scope> = self.counts.keys().filter(concerned).cloned().collect();
        gone.iter().for_each(|scope| self.remove(scope));
        gone.len()
    }

    /// All counts, the one that lasts longest first.
    pub fn shown(&mut self, now_ms: u64) -> Vec<Shown> {
        self.forget(now_ms);
        let all = self.counts.iter().map(|(scope, count)| {
            let shown = Shown {
                scope: scope.clone(),
                failures: count.failures,
                locked: count.locked,
                left_ms: count.until_ms.saturating_sub(now_ms),
            };
            ((count.until_ms, count.ticket), shown)
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|(end, _)| std::cmp::Reverse(*end));
        all.into_iter().map(|(_, shown)| shown).collect()
    }

    /// How many locks hold now.
    pub fn locked(&mut self, now_ms: u64) -> usize {
        self.forget(now_ms);
        self.ends[1].len()
    }

    /// May a lock be told of now, and how many were not before it? One a second may.
    pub fn tell(&mut self, now_ms: u64) -> Option<u64> {
        if self.told_ms.is_some_and(|told| now_ms < told + 1000) {
            self.untold += 1;
            return None;
        }
        self.told_ms = Some(now_ms);
        Some(std::mem::take(&mut self.untold))
    }

    /// How many locks have not been told of that may be now.
    pub fn tell_rest(&mut self, now_ms: u64) -> Option<u64> {
        let due = self.untold > 0 && self.told_ms.is_none_or(|told| now_ms >= told + 1000);
        due.then(|| {
            self.told_ms = Some(now_ms);
            std::mem::take(&mut self.untold)
        })
    }

    fn put(&mut self, scope: Scope, mut count: Count) {
        self.remove(&scope);
        if self.counts.len() >= ENTRIES_MAX {
            // No lock goes while there is anything else.
            let mut ends = self.ends.iter().filter_map(|ends| ends.values().next());
            if let Some(first) = ends.next().cloned() {
                self.remove(&first);
            }
        }
        self.next_ticket += 1;
        count.ticket = self.next_ticket;
        if let Some(origin) = scope.origin.filter(|_| is_pair(&scope)) {
            *self.names.entry(origin).or_default() += 1;
        }
        self.ends[usize::from(count.locked)].insert((count.until_ms, count.ticket), scope.clone());
        self.counts.insert(scope, count);
    }

    fn remove(&mut self, scope: &Scope) {
        let Some(count) = self.counts.remove(scope) else {
            return;
        };
        self.ends[usize::from(count.locked)].remove(&(count.until_ms, count.ticket));
        if let Some(origin) = scope.origin.filter(|_| is_pair(scope))
            && let Some(names) = self.names.get_mut(&origin)
        {
            *names -= 1;
            if *names == 0 {
                self.names.remove(&origin);
            }
        }
    }

    /// Drops what is over.
    fn forget(&mut self, now_ms: u64) {
        let over = |ends: &BTreeMap<(u64, u64), Scope>| {
            let (end, scope) = ends.first_key_value()?;
            (end.0 <= now_ms).then(|| scope.clone())
        };
        while let Some(first) = self.ends.iter().find_map(over) {
            self.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Origin {
        Origin::parse(text.as_bytes()).expect("an address")
    }

    fn lockouts(pair: u32, user: u32, origin: u32, delay_ms: u64) -> Lockouts {
        let mut lockouts = Lockouts::default();
        lockouts.configure(Limits {
            pair,
            user,
            origin,
            lock_ms: 1000,
            delay_ms,
        });
        lockouts
    }

    #[test]
    fn nothing_is_kept_unless_asked_for() {
        let mut table = lockouts(0, 0, 0, 0);
        assert_eq!(
            table.failed(b"u", ip("10.0.0.1"), 0),
            Consequence::default()
        );
        assert!(table.counts.is_empty());
    }

    #[test]
    fn a_user_is_locked_where_it_failed_and_only_there() {
        let mut table = lockouts(3, 0, 0, 0);
        let (here, there) = (ip("10.0.0.1"), ip("10.0.0.2"));
        for now in 0..2 {
            assert!(table.failed(b"u", here, now).locked.is_empty());
        }
        assert_eq!(table.locked_ms(b"u", here, 2), None);
        assert_eq!(table.failed(b"u", here, 2).locked.len(), 1);
        assert_eq!(table.locked_ms(b"u", here, 502), Some(500));
        assert_eq!(table.locked_ms(b"u", there, 502), None);
        assert_eq!(table.locked_ms(b"v", here, 502), None);
        // What is tried while it is locked does not make the lock longer.
        table.failed(b"u", here, 900);
        assert_eq!(table.locked_ms(b"u", here, 1002), None);
        assert!(table.failed(b"u", here, 1003).locked.is_empty());
    }

    #[test]
    fn success_forgives_the_pair_alone() {
        let mut table = lockouts(2, 3, 3, 0);
        let here = ip("10.0.0.1");
        for now in 0..2 {
            table.failed(b"u", here, now);
            table.succeeded(b"u", here);
        }
        assert_eq!(table.locked_ms(b"u", here, 2), None);
        let locked = table.failed(b"u", here, 2).locked;
        let shown: Vec<String> = locked.iter().map(Scope::to_string).collect();
        assert_eq!(shown, ["user 'u' from anywhere", "any user from 10.0.0.1"]);
        assert!(table.locked_ms(b"v", here, 3).is_some());
        assert!(table.locked_ms(b"u", ip("::1"), 3).is_some());
        assert_eq!(table.locked_ms(b"u", Origin::Unix, 3), None);
        assert_eq!(table.locked(3), 2);
    }

    #[test]
    fn the_delay_doubles_to_an_end() {
        let mut table = lockouts(0, 0, 0, 100);
        let here = ip("10.0.0.1");
        let delays: Vec<u64> = (0..9)
            .map(|_| table.failed(b"u", here, 0).delay_ms)
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 6400, 6400]);
        table.succeeded(b"u", here);
        assert_eq!(table.failed(b"u", here, 0).delay_ms, 100);
        assert_eq!(table.failed(b"u", here, 5000).delay_ms, 100, "forgotten");
    }

    #[test]
    fn locks_are_lifted_by_name_and_address() {
        let mut table = lockouts(1, 1, 1, 0);
        for (user, address) in [("u", "10.0.0.1"), ("v", "10.0.0.2")] {
            table.failed(user.as_bytes(), ip(address), 0);
        }
        assert_eq!(table.shown(1).len(), 6);
        assert_eq!(table.unlock(Some(b"u"), Some(ip("10.0.0.2"))), 0);
        assert_eq!(table.unlock(Some(b"u"), None), 2);
        assert_eq!(table.unlock(None, Some(ip("10.0.0.1"))), 1);
        assert_eq!(table.locked_ms(b"u", ip("10.0.0.1"), 1), None);
        assert!(table.locked_ms(b"v", ip("10.0.0.2"), 1).is_some());
        assert_eq!(table.unlock(None, None), 3);
        assert!(table.ends.iter().all(BTreeMap::is_empty) && table.names.is_empty());
    }

    #[test]
    fn what_is_switched_off_holds_nobody() {
        let mut table = lockouts(1, 1, 0, 0);
        table.failed(b"u", ip("10.0.0.1"), 0);
        table.configure(Limits {
            pair: 5,
            lock_ms: 1000,
            ..Limits::default()
        });
        assert_eq!(table.locked(1), 1, "the user's own lock is gone");
        table.configure(Limits::default());
        assert!(table.counts.is_empty() && table.ends.iter().all(BTreeMap::is_empty));
    }

    #[test]
    fn whoever_fills_the_table_gets_nobody_out_of_it() {
        let mut table = lockouts(2, 0, 0, 0);
        let here = ip("10.0.0.1");
        table.failed(b"adm", here, 0);
        let at = |n: usize| ip(&format!("10.1.{}.{}", n / 256, n % 256));
        for n in 0..2 * ENTRIES_MAX {
            table.failed(format!("user{n}").as_bytes(), here, 1);
        }
        assert_eq!(table.counts.len(), NAMES_MAX + 1, "and one for all others");
        assert_eq!(
            table.failed(b"adm", here, 2).locked.len(),
            1,
            "it was not forgotten"
        );
        // Whom this origin has not tried before is one of the others, who are locked; elsewhere nobody is.
        assert!(table.locked_ms(b"new", here, 2).is_some());
        assert!(
            table.locked_ms(b"user7", here, 2).is_none(),
            "it has a count of its own"
        );
        assert_eq!(table.locked_ms(b"new", at(1), 2), None);
        table.succeeded(b"new", here);
        assert!(table.locked_ms(b"newer", here, 2).is_some());
        for n in 0..2 * ENTRIES_MAX {
            table.failed(b"x", at(n), 3);
        }
        assert_eq!(table.counts.len(), ENTRIES_MAX);
        assert!(table.locked_ms(b"adm", here, 4).is_some(), "locks stay");
        assert_eq!(
            table.counts.len(),
            table.ends.iter().map(BTreeMap::len).sum::<usize>()
        );
        table.failed(&[b'x'; 1000], ip("10.0.0.2"), 100);
        let longest = table
            .counts
            .keys()
            .map(|s| s.user.as_ref().map_or(0, |u| u.len()));
        assert_eq!(longest.max(), Some(NAME_MAX));
        table.forget(5000);
        assert!(table.counts.is_empty() && table.names.is_empty());
    }

    #[test]
    fn made_up_names_are_no_way_around_the_limit_of_a_user() {
        let mut table = lockouts(0, 3, 0, 0);
        let here = ip("10.0.0.1");
        for n in 0..NAMES_MAX + 50 {
            table.failed(format!("user{n}").as_bytes(), here, 1);
        }
        assert!(table.counts.len() <= 2 * NAMES_MAX + 1);
        assert!(
            table.locked_ms(b"adm", here, 2).is_some(),
            "one of many there"
        );
        assert_eq!(table.locked_ms(b"adm", ip("10.0.0.2"), 2), None);
    }

    #[test]
    fn locks_are_told_of_once_a_second() {
        let mut table = lockouts(1, 0, 0, 0);
        assert_eq!(table.tell(5), Some(0));
        assert_eq!((table.tell(6), table.tell(900)), (None, None));
        assert_eq!(table.tell_rest(1004), None);
        assert_eq!(table.tell(1005), Some(2));
        assert_eq!((table.tell(1006), table.tell_rest(2005)), (None, Some(1)));
        assert_eq!(table.tell_rest(9000), None);
    }

    /// The delay is a lock: a new connection is no way around it.
    #[test]
    fn a_delay_holds_back_every_try() {
        let mut table = lockouts(0, 0, 0, 100);
        let here = ip("10.0.0.1");
        assert_eq!(table.failed(b"u", here, 0).delay_ms, 100);
        assert_eq!(table.locked_ms(b"u", here, 40), Some(60));
        assert_eq!(table.locked_ms(b"u", ip("10.0.0.2"), 40), None);
        assert_eq!(table.locked_ms(b"v", here, 40), None);
        assert_eq!(table.locked_ms(b"u", here, 100), None);
        assert_eq!(table.failed(b"u", here, 100).delay_ms, 200);
        assert_eq!(table.locked_ms(b"u", here, 250), Some(50));
        assert_eq!(table.locked(250), 0, "that is no lock that is shown");
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:0:0:2"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
        assert_eq!(ip("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(ip("2001:db8::/64"), ip("2001:db8::1"));
        assert_eq!(ip("UNIX"), Origin::Unix);
        assert_eq!(Origin::parse(b"10.0.0"), None);
    }
}
