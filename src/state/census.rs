//! INFO's `keysizes`: how many keys of each type have how many bytes or elements.
//!
//! Keeping such figures at each write would cost every write. So the keys are counted when somebody asks:
//! few at once, many in small steps of the cron, from one look at INFO to the next. What is shown is
//! the last count that came to its end. Each group counts its own keys.
use super::State;
use super::groups::GroupId;
use super::per_group::{Divided, PerGroup};
use crate::types::Kind;

/// Bins by powers of two: 0, 1, 2 to 3, 4 to 7 and so on.
const BINS: usize = 65;
/// Keys looked at while INFO waits; a data set that is no larger is shown as it is now.
const AT_ONCE: usize = 5_000;
/// Keys looked at in one cron.
const STEP: usize = 1_000;
/// Counting goes on for so long after somebody has asked.
const WANTED_MS: i64 = 5 * 60 * 1000;

/// The types that are counted, with what INFO calls their figures.
pub const COUNTED: [(Kind, &str); 5] = [
    (Kind::String, "strings_sizes"),
    (Kind::List, "lists_items"),
    (Kind::Set, "sets_items"),
    (Kind::Zset, "zsets_items"),
    (Kind::Hash, "hashes_items"),
];

/// One database's figures, a row of bins for each of [`COUNTED`].
type Counts = [[u64; BINS]; COUNTED.len()];

/// The counts of all groups.
#[derive(Default)]
pub struct Census {
    counts: PerGroup<Count>,
    /// Groups whose keys are counted in steps.
    going_on: Vec<GroupId>,
}

impl Census {
    /// A group's lines of INFO, without their ends.
    pub fn lines(&self, group: GroupId) -> Vec<String> {
        self.counts.of(group).lines()
    }

    /// A group goes.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.counts.take(group);
        self.going_on.retain(|other| *other != group);
    }
}

/// A count of all keys of a group. Databases have the numbers that the group knows.
#[derive(Debug, Default)]
struct Count {
    /// The count that is under way: where it stands, and what it has found.
    at: Option<(usize, u64)>,
    found: Vec<(usize, Box<Counts>)>,
    /// The last one that came to its end.
    done: Vec<(usize, Box<Counts>)>,
    wanted_until_ms: i64,
}

impl Divided for Count {
    fn fresh(&self) -> Count {
        Count::default()
    }
}

impl Count {
    fn add(&mut self, db: usize, kind: Kind, size: u64) {
        let Some(row) = COUNTED.iter().position(|(known, _)| *known == kind) else {
            return;
        };
        if self.found.last().is_none_or(|(last, _)| *last != db) {
            let counts = Box::new([[0; BINS]; COUNTED.len()]);
            self.found.push((db, counts));
        }
        if let Some((_, counts)) = self.found.last_mut() {
            let bin = size.checked_ilog2().map_or(0, |log| log as usize + 1);
            counts[row][bin] += 1;
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (db, counts) in &self.done {
            for ((_, name), bins) in COUNTED.iter().zip(counts.iter()) {
                let filled = bins.iter().enumerate().filter(|(_, n)| **n > 0);
                let shown: Vec<String> = filled
                    .map(|(bin, n)| format!("{}={n}", label(bin)))
                    .collect();
                if !shown.is_empty() {
                    lines.push(format!("db{db}_distrib_{name}:{}", shown.join(",")));
                }
            }
        }
        lines
    }
}

/// The lower end of a bin: 0, 1, 2 .. 512, 1K, 2K and so on.
fn label(bin: usize) -> String {
    let Some(log) = bin.checked_sub(1) else {
        return "0".to_owned();
    };
    let unit = ["", "K", "M", "G", "T", "P", "E"][log / 10];
    format!("{}{unit}", 1u64 << (log % 10))
}

impl State {
    fn keys_of(&self, group: GroupId) -> usize {
        let dbs = self.dbs_of(group);
        dbs.map(|db| self.dbs[db].len()).sum()
    }

    /// Somebody looks at INFO's `keysizes`.
    pub fn want_census(&mut self, group: GroupId) {
        let few = self.keys_of(group) <= AT_ONCE;
        let wanted_until_ms = self.clock.unix_ms + WANTED_MS;
        let count = self.census.counts.of_mut(group);
        count.wanted_until_ms = wanted_until_ms;
        if few {
            count.at = None;
        }
        if few || count.done.is_empty() {
            self.count_some(group, AT_ONCE);
        }
        if !few && !self.census.going_on.contains(&group) {
            self.census.going_on.push(group);
        }
    }

    /// The cron's part of it: one group's turn.
    pub fn step_census(&mut self) {
        let Some(group) = self.census.going_on.pop() else {
            return;
        };
        let until_ms = self.census.counts.of(group).wanted_until_ms;
        if until_ms > self.clock.unix_ms {
            if self.keys_of(group) > AT_ONCE {
                self.count_some(group, STEP);
            }
            self.census.going_on.insert(0, group);
        }
    }

    /// Looks at about so many keys more, up to the end of this count.
    fn count_some(&mut self, group: GroupId, max: usize) {
        let mut count = std::mem::take(self.census.counts.of_mut(group));
        let dbs = self.dbs_of(group);
        let (mut db, mut cursor) = count.at.take().unwrap_or_default();
        if (db, cursor) == (0, 0) {
            count.found.clear();
        }
        let mut seen = 0;
        while db < dbs.len() {
            let table = &self.dbs[dbs.start + db];
            cursor = table.scan(cursor, max - seen, |entry| {
                seen += 1;
                count.add(db, entry.kind(), entry.value().size());
            });
            if cursor == 0 {
                db += 1;
            }
            if seen >= max {
                break;
            }
        }
        if db < dbs.len() {
            count.at = Some((db, cursor));
        } else {
            count.done = std::mem::take(&mut count.found);
        }
        *self.census.counts.of_mut(group) = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::state::config::Config;

    #[test]
    fn bins_are_powers_of_two() {
        let labels = [0, 1, 2, 10, 11, 12, 21, 64].map(label);
        assert_eq!(labels, ["0", "1", "2", "512", "1K", "2K", "1M", "8E"]);
    }

    #[test]
    fn few_keys_are_counted_at_once_and_many_in_steps() {
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(1_000_000));
        let mut state = State::new(Config::default(), rng, clock, 1, 1.0);
        for (db, key, value) in [
            (0, "a", ""),
            (0, "b", "xyz"),
            (3, "c", "12345"),
            (3, "d", "1"),
        ] {
            let value = NewValue::string(value.as_bytes());
            state.dbs.insert(db, key.as_bytes(), value, None);
        }
        state.want_census(GroupId::DEFAULT);
        let few = [
            "db0_distrib_strings_sizes:0=1,2=1",
            "db3_distrib_strings_sizes:1=1,4=1",
        ];
        assert_eq!(state.census.lines(GroupId::DEFAULT), few);
        for n in 0..20_000u32 {
            state
                .dbs
                .insert(1, &n.to_le_bytes(), NewValue::Int(7), None);
        }
        state.want_census(GroupId::DEFAULT);
        assert_eq!(
            state.census.lines(GroupId::DEFAULT),
            few,
            "the last count that has ended"
        );
        (0..200).for_each(|_| state.step_census());
        assert_eq!(
            state.census.lines(GroupId::DEFAULT),
            [few[0], "db1_distrib_strings_sizes:1=20000", few[1]]
        );
    }
}
