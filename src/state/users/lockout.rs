//! Failed logins: who is made to wait, and who is not listened to for a while.
//!
//! Failures are counted for a user at an address, for a user wherever it comes from, and for an address
//! whomever it tries; each count has a limit of its own, 0 for none. Behind the limit nobody's password is
//! looked at until the lock ends, so that a lock tells nothing about the password, the right one included.
//! The table is bounded: whoever fills it pushes out what would be forgotten first.
use crate::state::client::Peer;
use crate::state::config::Config;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Counts that are kept at most; one takes some 200 bytes.
const ENTRIES_MAX: usize = 8192;
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
    /// The same by the moment at which they are forgotten.
    ends: BTreeMap<(u64, u64), Scope>,
    next_ticket: u64,
    /// Locks there were.
    pub total: u64,
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
            (Some(_), Some(_)) => self.limits.pair,
            (Some(_), None) => self.limits.user,
            (None, _) => self.limits.origin,
        }
    }

    /// Is anything to be counted for this? The delay follows the user's failures at its origin.
    fn counts_for(&self, scope: &Scope) -> bool {
        let both = scope.user.is_some() && scope.origin.is_some();
        self.limit(scope) > 0 || both && self.limits.delay_ms > 0
    }

    /// How long nobody is listened to who wants to be this user from there, milliseconds.
    pub fn locked_ms(&mut self, user: &[u8], origin: Origin, now_ms: u64) -> Option<u64> {
        if self.counts.is_empty() {
            return None;
        }
        self.forget(now_ms);
        let concerned = scopes(user, origin);
        let ends = concerned.iter().filter_map(|scope| {
            // Strangers must not be able to lock out whoever is on this machine.
            if origin == Origin::Unix && scope.origin.is_none() {
                return None;
            }
            let count = self.counts.get(scope).filter(|count| count.locked)?;
            Some(count.until_ms.saturating_sub(now_ms))
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
        for scope in scopes(user, origin) {
            if !self.counts_for(&scope) {
                continue;
            }
            let mut count = self.counts.get(&scope).copied().unwrap_or_default();
            if count.locked {
                continue;
            }
            count.failures = count.failures.saturating_add(1);
            let limit = self.limit(&scope);
            count.locked = limit > 0 && count.failures >= limit;
            count.until_ms = now_ms + self.limits.lock_ms;
            if scope.user.is_some() && scope.origin.is_some() {
                let doublings = (count.failures - 1).min(DOUBLINGS_MAX);
                consequence.delay_ms = (self.limits.delay_ms << doublings).min(DELAY_MAX_MS);
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
        let all = self.ends.iter().rev().filter_map(|(end, scope)| {
            let count = self.counts.get(scope)?;
            Some(Shown {
                scope: scope.clone(),
                failures: count.failures,
                locked: count.locked,
                left_ms: end.0.saturating_sub(now_ms),
            })
        });
        all.collect()
    }

    /// How many locks hold now.
    pub fn locked(&mut self, now_ms: u64) -> usize {
        self.forget(now_ms);
        self.counts.values().filter(|count| count.locked).count()
    }

    fn put(&mut self, scope: Scope, mut count: Count) {
        self.remove(&scope);
        if self.counts.len() >= ENTRIES_MAX
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.counts.remove(&first);
        }
        self.next_ticket += 1;
        count.ticket = self.next_ticket;
        self.ends
            .insert((count.until_ms, count.ticket), scope.clone());
        self.counts.insert(scope, count);
    }

    fn remove(&mut self, scope: &Scope) {
        if let Some(count) = self.counts.remove(scope) {
            self.ends.remove(&(count.until_ms, count.ticket));
        }
    }

    /// Drops what is over.
    fn forget(&mut self, now_ms: u64) {
        while let Some(first) = self.ends.first_entry()
            && first.key().0 <= now_ms
        {
            self.counts.remove(&first.remove());
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
        assert!(table.ends.is_empty());
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
        assert!(table.counts.is_empty() && table.ends.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = lockouts(2, 0, 0, 0);
        for n in 0..ENTRIES_MAX as u64 + 100 {
            table.failed(format!("user{n}").as_bytes(), ip("10.0.0.1"), n / 100);
        }
        assert_eq!(table.counts.len(), ENTRIES_MAX);
        assert_eq!(table.ends.len(), ENTRIES_MAX);
        table.failed(&[b'x'; 1000], ip("10.0.0.1"), 100);
        let longest = table
            .counts
            .keys()
            .map(|s| s.user.as_ref().map_or(0, |u| u.len()));
        assert_eq!(longest.max(), Some(NAME_MAX));
        table.forget(5000);
        assert!(table.counts.is_empty());
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
