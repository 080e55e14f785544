//! Hot keys: which keys take most of the processor's time and most of the network's bytes, lately.
//!
//! Always on, so it must cost next to nothing: one request in many is looked at, chosen at random and
//! the rarer the more there are; what took long is looked at in any case. Two lists of bounded size keep
//! the keys with what they are known to have taken at least (Space-Saving, where a new key takes the
//! place of the least of a few drawn by lot). All figures halve every minute, so the lists tell of now.
//!
//! Names of keys are a group's own: each group has lists and a pace of its own. Those of group 0 are always
//! on; another's begin when it asks for them and end when it has not asked for a while, so that a thousand
//! groups cost nothing.
use super::groups::GroupId;
use super::per_group::{Divided, PerGroup};
use crate::base::rng::Rng;

/// Keys kept of each kind.
pub const KEPT: usize = 128;
/// Bytes kept of a key's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Every figure halves in so many seconds.
pub const HALF_LIFE_S: u32 = 60;
/// Of a figure, one part in so many goes each second: what is left of it after a minute is half.
const FADE: u64 = 87;
/// Requests looked at in a tenth of a second from which on fewer are, and up to which more.
const LOOKS_MAX: u32 = 256;
const LOOKS_MIN: u32 = 64;
/// Drawn by lot when a place is needed: that one of the hottest keys is the least of them is next to
/// impossible.
const DRAWN: u64 = 8;
/// Hashes compared at once.
const AT_ONCE: usize = 16;
/// A group's lists go on for so long after it has looked at them.
const ASKED_MS: i64 = 15 * 60 * 1000;
/// At most one request in so many is looked at.
const PERIOD_MAX: u64 = 8192;

/// One key of a list.
#[derive(Debug)]
struct Kept {
    db: u32,
    /// Of its whole name.
    len: usize,
    /// Its beginning.
    name: Box<[u8]>,
    /// How much of the figure may have been another key's, which had this place before.
    error: u64,
}

/// The keys with the largest sums.
#[derive(Debug, Default)]
struct Top {
    /// Parts of the hashes, side by side since each look goes through all of them.
    tags: Vec<u32>,
    sums: Vec<u64>,
    keys: Vec<Kept>,
    total: u64,
}

/// A key and what it has taken at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hot {
    pub db: u32,
    /// Cut as the logs cut arguments.
    pub key: Vec<u8>,
    pub sum: u64,
}

/// A key as the lists tell it from others: database, hash of the name, name.
#[derive(Debug, Clone, Copy)]
pub struct KeyId<'k> {
    pub db: u32,
    pub hash: u64,
    pub name: &'k [u8],
}

impl Kept {
    fn of(key: KeyId<'_>, error: u64) -> Self {
        Self {
            db: key.db,
            len: key.name.len(),
            name: key.name[..key.name.len().min(NAME_BYTES_MAX)].into(),
            error,
        }
    }

    fn is(&self, key: KeyId<'_>) -> bool {
        self.db == key.db && self.len == key.name.len() && key.name.starts_with(&self.name)
    }
}

impl Top {
    fn find(&self, key: KeyId<'_>, tag: u32) -> Option<usize> {
        let same = |at: &usize| self.tags[*at] == tag && self.keys[*at].is(key);
        let chunks = self.tags.chunks(AT_ONCE).enumerate();
        // Without an early end, so that it is a comparison of vectors.
        let hits = |chunk: &[u32]| chunk.iter().fold(false, |hit, one| hit | (*one == tag));
        chunks
            .filter(|(_, chunk)| hits(chunk))
            .find_map(|(n, chunk)| {
                let first = n * AT_ONCE;
                (first..first + chunk.len()).find(same)
            })
    }

    fn add(&mut self, key: KeyId<'_>, sum: u64, rng: &mut Rng) {
        let tag = key.hash as u32;
        if let Some(at) = self.find(key, tag) {
            self.sums[at] = self.sums[at].saturating_add(sum);
            return;
        }
        if self.keys.len() < KEPT {
            self.tags.push(tag);
            self.sums.push(sum);
            self.keys.push(Kept::of(key, 0));
            return;
        }
        let drawn = (0..DRAWN).map(|_| rng.below(KEPT as u64) as usize);
        let Some(at) = drawn.min_by_key(|at| self.sums[*at]) else {
            return;
        };
        let before = self.sums[at];
        self.tags[at] = tag;
        self.sums[at] = before.saturating_add(sum);
        self.keys[at] = Kept::of(key, before);
    }

    /// A second has passed.
    fn fade(&mut self) {
        let less = |figure: u64| figure - figure.div_ceil(FADE);
        self.total = less(self.total);
        for at in (0..self.keys.len()).rev() {
            self.sums[at] = less(self.sums[at]);
            self.keys[at].error = less(self.keys[at].error);
            if self.sums[at] == 0 {
                self.tags.swap_remove(at);
                self.sums.swap_remove(at);
                self.keys.swap_remove(at);
            }
        }
    }

    fn list(&self, count: usize, db: Option<u32>) -> Vec<Hot> {
        let mut found: Vec<(u64, &Kept)> = self
            .keys
            .iter()
            .zip(&self.sums)
            .filter(|(key, _)| db.is_none_or(|db| db == key.db))
            .map(|(key, sum)| (sum.saturating_sub(key.error), key))
            .filter(|(sum, _)| *sum > 0)
            .collect();
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
        found.truncate(count);
        let shown = |(sum, key): (u64, &Kept)| {
            let mut name = key.name.to_vec();
            let more = key.len - name.len();
            if more > 0 {
                name.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
            }
            Hot {
                db: key.db,
                key: name,
                sum,
            }
        };
        found.into_iter().map(shown).collect()
    }
}

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Ticks of the clock of `stats`.
    Cpu,
    /// Bytes of requests and replies.
    Net,
}

/// A group's lists, and which of its requests is looked at next.
#[derive(Debug)]
pub struct Lists {
    /// Keys that are shown of each list; 0: off.
    shown: usize,
    /// Requests that pass before the next one is looked at.
    skip: usize,
    /// One request in so many is looked at.
    period: u64,
    /// Looked at since the pace was last set.
    looks: u32,
    /// Unix milliseconds of the last look at the lists; 0: whatever it was, they go on.
    asked_ms: i64,
    /// Unix milliseconds of the beginning, or of the last reset.
    pub since_ms: i64,
    faded_s: i64,
    rng: Rng,
    cpu: Top,
    net: Top,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            shown: 0,
            skip: usize::MAX,
            period: 1,
            looks: 0,
            asked_ms: 0,
            since_ms: 0,
            faded_s: 0,
            rng: Rng::from_seed(1),
            cpu: Top::default(),
            net: Top::default(),
        }
    }
}

impl Divided for Lists {
    fn fresh(&self) -> Lists {
        Lists::default()
    }
}

/// The lists of all groups.
#[derive(Default)]
pub struct HotKeys {
    lists: PerGroup<Lists>,
    /// Keys that are shown of each list; 0: off.
    shown: usize,
    /// The request that runs is looked at: what it runs inside is, too.
    pub looking: bool,
}

impl HotKeys {
    /// `hotkey-top-k`: how many keys are shown; 0 turns it off and forgets all.
    pub fn configure(&mut self, shown: usize) {
        self.shown = shown;
        for (_, lists) in self.lists.iter_mut() {
            lists.configure(shown);
        }
    }

    /// A group's lists.
    pub fn of(&self, group: GroupId) -> &Lists {
        self.lists.of(group)
    }

    /// A group's lists, if it has any.
    pub fn get_mut(&mut self, group: GroupId) -> Option<&mut Lists> {
        self.lists.get_mut(group)
    }

    /// A group looks at its lists: they begin now, or go on for a while.
    pub fn ask(&mut self, group: GroupId, unix_ms: i64) {
        if group.is_default() || self.shown == 0 {
            return;
        }
        let lists = self.lists.of_mut(group);
        lists.configure(self.shown);
        lists.asked_ms = unix_ms;
        if lists.since_ms == 0 {
            lists.since_ms = unix_ms;
        }
    }

    /// Of `n` requests of a group that run now, the first one to look at; `n` or more: none of them.
    #[inline]
    pub fn next_look(&mut self, group: GroupId, n: usize) -> usize {
        let lists = self.lists.get_mut(group);
        lists.map_or(usize::MAX, |lists| lists.next_look(n))
    }

    /// The request at `at` of `n` has been looked at: the next one to look at.
    pub fn look_again(&mut self, group: GroupId, at: usize, n: usize) -> usize {
        let lists = self.lists.get_mut(group);
        lists.map_or(usize::MAX, |lists| lists.look_again(at, n))
    }

    /// A tenth of a second has passed.
    pub fn tick(&mut self, unix_ms: i64) {
        let mut over = None;
        for (group, lists) in self.lists.iter_mut() {
            lists.tick(unix_ms);
            if lists.asked_ms != 0 && unix_ms - lists.asked_ms > ASKED_MS {
                over = Some(group);
            }
        }
        if let Some(group) = over {
            self.forget(group);
        }
    }

    /// The group goes, or has not asked for its lists for long.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.lists.take(group);
    }
}

impl Lists {
    /// `hotkey-top-k`: how many keys are shown; 0 turns it off and forgets all.
    pub fn configure(&mut self, shown: usize) {
        if shown == 0 {
            let since_ms = self.since_ms;
            *self = Self {
                since_ms,
                ..Self::default()
            };
        } else if self.shown == 0 {
            self.skip = 0;
        }
        self.shown = shown;
    }

    /// Is anything looked at?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.shown > 0
    }

    /// One request in so many is looked at, at the moment.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Of `n` requests that run now, the first one to look at; `n` or more: none of them.
    #[inline]
    pub fn next_look(&mut self, n: usize) -> usize {
        let at = self.skip;
        self.skip = at.saturating_sub(n);
        at
    }

    /// The request at `at` of `n` has been looked at: the next one to look at.
    pub fn look_again(&mut self, at: usize, n: usize) -> usize {
        self.looks += 1;
        if self.looks >= LOOKS_MAX {
            self.period = (self.period * 2).min(PERIOD_MAX);
            self.looks = 0;
        }
        // From one to twice the period less one: no rhythm of requests can hide from it.
        let next = at + 1 + self.rng.below(2 * self.period - 1) as usize;
        self.skip = if self.is_on() {
            next.saturating_sub(n)
        } else {
            usize::MAX
        };
        next
    }

    /// A tenth of a second has passed: the pace follows the load, and each second all figures fade.
    pub fn tick(&mut self, unix_ms: i64) {
        if self.looks < LOOKS_MIN && self.period > 1 {
            self.period /= 2;
            self.skip = self.skip.min(2 * self.period as usize);
        }
        self.looks = 0;
        if self.since_ms == 0 {
            self.since_ms = unix_ms;
        }
        let now_s = unix_ms / 1000;
        // After a clock that was set, or a stop, at most so much as to have forgotten nearly all.
        for _ in 0..(now_s - self.faded_s).clamp(0, 8 * i64::from(HALF_LIFE_S)) {
            if self.cpu.total == 0 && self.net.total == 0 {
                break;
            }
            self.cpu.fade();
            self.net.fade();
        }
        self.faded_s = now_s;
    }

    /// Counts a command that names no key.
    pub fn count(&mut self, ticks: u64, bytes: u64) {
        self.cpu.total = self.cpu.total.saturating_add(ticks);
        self.net.total = self.net.total.saturating_add(bytes);
    }

    /// Counts a key's share of a command.
    pub fn add(&mut self, key: KeyId<'_>, ticks: u64, bytes: u64) {
        self.count(ticks, bytes);
        self.cpu.add(key, ticks, &mut self.rng);
        self.net.add(key, bytes, &mut self.rng);
    }

    /// The hottest keys, at most `count` and at most as many as are to be shown; only one database's,
    /// if that is asked.
    pub fn list(&self, metric: Metric, count: usize, db: Option<u32>) -> Vec<Hot> {
        self.top(metric).list(count.min(self.shown), db)
    }

    /// What all commands together took.
    pub fn total(&self, metric: Metric) -> u64 {
        self.top(metric).total
    }

    fn top(&self, metric: Metric) -> &Top {
        match metric {
            Metric::Cpu => &self.cpu,
            Metric::Net => &self.net,
        }
    }

    /// HOTKEYS RESET.
    pub fn reset(&mut self, unix_ms: i64) {
        (self.cpu, self.net) = (Top::default(), Top::default());
        self.since_ms = unix_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyId<'_> {
        KeyId {
            db: 0,
            hash: name.len() as u64,
            name: name.as_bytes(),
        }
    }

    fn on() -> Lists {
        let mut hot = Lists::default();
        hot.configure(16);
        hot
    }

    #[test]
    fn a_hot_key_is_found_among_ever_new_ones() {
        let mut hot = on();
        for n in 0..100_000u64 {
            let cold = format!("cold:{n}");
            hot.add(key(&cold), 100, 10);
            if n % 20 == 0 {
                hot.add(key("hot"), 100, 10);
            }
        }
        let found = hot.list(Metric::Cpu, 10, None);
        assert_eq!(found[0].key, b"hot");
        // Never more than it took, and most of it; the others are not known to be anything.
        assert!((400_000..=500_000).contains(&found[0].sum), "{found:?}");
        assert!(found[1..].iter().all(|k| k.sum <= 200), "{found:?}");
        assert_eq!(hot.total(Metric::Net), 1_050_000);
        assert_eq!(hot.net.keys.len(), KEPT);
    }

    #[test]
    fn databases_and_long_names_are_told_apart() {
        let mut hot = on();
        let long = "x".repeat(1000);
        hot.add(key(&long), 5, 5);
        hot.add(KeyId { db: 3, ..key("a") }, 3, 9);
        hot.add(key("a"), 2, 1);
        let shown = |metric, db| -> Vec<(String, u64)> {
            let list = hot.list(metric, 10, db);
            list.into_iter()
                .map(|k| (String::from_utf8(k.key).expect("text"), k.sum))
                .collect()
        };
        let cut = format!("{}... (744 more bytes)", "x".repeat(256));
        let all = [(cut, 5), ("a".into(), 3), ("a".into(), 2)];
        assert_eq!(shown(Metric::Cpu, None), all);
        assert_eq!(shown(Metric::Net, Some(3)), [("a".into(), 9)]);
    }

    #[test]
    fn figures_halve_in_a_minute_and_end() {
        let mut hot = on();
        hot.tick(1000);
        hot.add(key("a"), 1_000_000, 1);
        hot.tick(61_000);
        let left = hot.total(Metric::Cpu);
        assert!((495_000..505_000).contains(&left), "{left}");
        assert_eq!(hot.list(Metric::Net, 10, None), []);
        hot.tick(i64::MAX);
        hot.tick(0);
        hot.tick(10_000_000);
        hot.tick(20_000_000);
        hot.tick(30_000_000);
        assert_eq!(hot.total(Metric::Cpu), 0);
        assert_eq!(hot.list(Metric::Cpu, 10, None), []);
    }

    #[test]
    fn the_pace_follows_the_load() {
        let mut hot = on();
        let (mut looks, batch) = (0u64, 16);
        for _ in 0..1_000_000 / batch {
            let mut at = hot.next_look(batch);
            while at < batch {
                looks += 1;
                at = hot.look_again(at, batch);
            }
        }
        // A million at once: 256 of each pace from 1 to 2,048.
        assert!((2_000..3_500).contains(&looks), "{looks}");
        assert!(hot.period() >= 256);
        (0..20).for_each(|n| hot.tick(n * 100));
        assert_eq!(hot.period(), 1);
        hot.configure(0);
        assert_eq!(hot.next_look(64), usize::MAX);
    }
}
