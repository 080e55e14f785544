//! Eviction: which key goes first when memory is short.
//!
//! Keys are not kept in the order of their use: that would cost every read a write and every key two
//! pointers. A patrol goes round the tables instead, a few keys for each one to be evicted, and a pool
//! keeps the best candidates it came by. A table's order is random to every workload (names are hashed
//! under a secret), and since the patrol comes by each key once in a round, a key is looked at every so
//! many evictions, not once by luck and then for long not at all. Each step asks the memory for what the
//! next one reads, so that a look waits for none of it.
//!
//! What "first" means is the caller's: a rank, the lowest of which goes first. It is asked again before a
//! candidate is given out: one that was used since it was seen is one no more.

use crate::base::rng::Rng;
use crate::ds::table::Slot;
use crate::ds::wheel::KEPT_BITS;

use super::databases::Databases;
use super::db::Db;
use super::entry::EntryRef;
use super::expire::prefetch_all;
use std::ops::Range;

/// Candidates that are remembered.
const POOL: usize = 64;
/// More looks for one eviction than this make no better choice, only a longer one.
const SAMPLES_MAX: u32 = 1024;
/// Evictions between two looks at how large the databases are.
const REVIEW_EVERY: u32 = 64;
/// Where fewer than one key in so many has a deadline, those that do are looked for in the index of
/// deadlines.
const SPARSE: usize = 32;
/// The index is asked when fewer candidates than this are left.
const INDEX_LOW: usize = POOL / 4;
/// Pieces of the index that are looked at then, of so many at its beginning.
const PIECES_MAX: usize = 64;
const PIECES_REACH: usize = 1024;
/// Buckets of the table that are looked at where the index did not help.
const BUCKETS_MAX: usize = 256;
/// Rounds of looking in one call.
const TRIES: usize = 2;

/// A key as the patrol saw it. No pointer: it may be gone when its turn comes.
#[derive(Clone, Copy)]
struct Candidate {
    rank: u64,
    hash: u64,
    db: u32,
}

/// The best candidates seen so far, the very best at the end.
#[derive(Default)]
struct Pool(Vec<Candidate>);

impl Pool {
    /// Would a key of this rank be kept?
    #[inline]
    fn wants(&self, rank: u64) -> bool {
        self.0.len() < POOL || self.0.first().is_some_and(|worst| rank < worst.rank)
    }

    fn add(&mut self, new: Candidate) {
        let at = self.0.partition_point(|kept| kept.rank > new.rank);
        if self.0.len() < POOL {
            self.0.insert(at, new);
        } else if at > 0 {
            // The worst one goes.
            self.0.copy_within(1..at, 0);
            self.0[at - 1] = new;
        }
    }
}

/// A database with keys that may be evicted.
struct Beat {
    db: usize,
    keys: u64,
    /// Where its patrol goes on.
    place: usize,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This database's key at this slot goes.
    Key(usize, Slot),
    /// There are keys that may go, and none was found yet.
    NotYet,
    /// There is none.
    Nothing,
}

/// How keys are chosen.
pub struct Choice<R> {
    /// Keys looked at for each one that goes.
    pub samples: u32,
    /// Only keys with a deadline may go: all others have no rank.
    pub volatile: bool,
    /// The lowest goes first; a key without may not go.
    pub rank: R,
}

/// The patrol: where it goes on, and its pool.
#[derive(Default)]
pub struct Evictor {
    pool: Pool,
    beats: Vec<Beat>,
    keys: u64,
    until_review: u32,
    /// Looks not yet taken: a step shows a whole bucket, so some come too soon.
    owed: i64,
    /// Databases it goes round; all of them without.
    range: Option<Range<usize>>,
}

impl Evictor {
    /// Goes round these databases only.
    pub fn of(range: Range<usize>) -> Evictor {
        Evictor {
            range: Some(range),
            ..Evictor::default()
        }
    }

    /// Forgets its candidates: ranks mean something else from here on.
    pub fn forget(&mut self) {
        self.pool.0.clear();
        self.until_review = 0;
    }

    /// The key to evict next, which the caller removes.
    pub fn pick<R>(&mut self, dbs: &Databases, rng: &mut Rng, choice: &Choice<R>) -> Pick
    where
        R: Fn(EntryRef<'_>) -> Option<u64>,
    {
        for _ in 0..TRIES {
            if self.until_review == 0 || self.keys == 0 {
                self.review(dbs, choice.volatile);
            }
            if self.keys == 0 {
                return Pick::Nothing;
            }
            self.until_review -= 1;
            self.look(dbs, rng, choice);
            while let Some(best) = self.pool.0.pop() {
                let still = |entry: EntryRef<'_>| {
                    (choice.rank)(entry).is_some_and(|rank| rank <= best.rank)
                };
                let db = best.db as usize;
                if let Some(slot) = dbs[db].entries.find_where(best.hash, still) {
                    return Pick::Key(db, slot);
                }
            }
            // Perhaps there is nothing any more.
            self.until_review = 0;
        }
        Pick::NotYet
    }

    /// A key by chance.
    pub fn draw(&mut self, dbs: &Databases, rng: &mut Rng) -> Pick {
        for _ in 0..TRIES {
            if self.until_review == 0 || self.keys == 0 {
                self.review(dbs, false);
            }
            if self.keys == 0 {
                return Pick::Nothing;
            }
            self.until_review -= 1;
            let db = self.beats[self.choose(rng)].db;
            if let Some(slot) = dbs[db].random(rng) {
                return Pick::Key(db, slot);
            }
            self.until_review = 0;
        }
        Pick::NotYet
    }

    /// Looks at how large the databases are.
    fn review(&mut self, dbs: &Databases, volatile: bool) {
        self.until_review = REVIEW_EVERY;
        // Both are by number.
        let mut before = std::mem::take(&mut self.beats).into_iter().peekable();
        let range = self.range.clone().unwrap_or(0..usize::MAX);
        for (db, table) in dbs.iter_in(range) {
            let keys = if volatile {
                table.expires()
            } else {
                table.len()
            } as u64;
            if keys > 0 {
                while before.next_if(|beat| beat.db < db).is_some() {}
                let known = before.next_if(|beat| beat.db == db);
                let place = known.map_or(0, |beat| beat.place);
                self.beats.push(Beat { db, keys, place });
            }
        }
        self.keys = self.beats.iter().map(|beat| beat.keys).sum();
    }

    /// A beat by chance, in proportion to its keys: an old key is as likely found in any of them.
    fn choose(&self, rng: &mut Rng) -> usize {
        let mut drawn = match self.beats.len() {
            1 => 0,
            _ => rng.below(self.keys),
        };
        for (at, beat) in self.beats.iter().enumerate() {
            if drawn < beat.keys {
                return at;
            }
            drawn -= beat.keys;
        }
        0
    }

    /// Looks at the keys that one eviction is worth.
    fn look<R>(&mut self, dbs: &Databases, rng: &mut Rng, choice: &Choice<R>)
    where
        R: Fn(EntryRef<'_>) -> Option<u64>,
    {
        self.owed += i64::from(choice.samples.clamp(1, SAMPLES_MAX));
        while self.owed > 0 {
            let beat = self.choose(rng);
            let db = self.beats[beat].db;
            let table = &dbs[db];
            if choice.volatile && table.expires() < table.len() / SPARSE {
                self.owed = 0;
                if self.pool.0.len() < INDEX_LOW {
                    look_at_index(&mut self.pool, (db, table), rng, &choice.rank);
                }
                // It may show names only that are gone. The table is complete.
                for _ in 0..BUCKETS_MAX {
                    if !self.pool.0.is_empty() {
                        return;
                    }
                    self.step(beat, table, choice);
                }
                return;
            }
            let (shown, ranked) = self.step(beat, table, choice);
            // Where few keys have a rank, looks at the others count as well, a little.
            self.owed -= ranked.max(shown / 8).max(1);
        }
    }

    /// Looks at one bucket; how many keys were in it, and how many of them may go.
    fn step<R>(&mut self, beat: usize, table: &Db, choice: &Choice<R>) -> (i64, i64)
    where
        R: Fn(EntryRef<'_>) -> Option<u64>,
    {
        let (mut shown, mut ranked) = (0, 0);
        let (pool, beat) = (&mut self.pool, &mut self.beats[beat]);
        let db = beat.db;
        beat.place = table.entries.patrol(beat.place, |entry| {
            shown += 1;
            if let Some(rank) = (choice.rank)(entry) {
                ranked += 1;
                if pool.wants(rank) {
                    let (hash, db) = (table.hash(entry.key()), db as u32);
                    pool.add(Candidate { rank, hash, db });
                }
            }
        });
        (shown, ranked)
    }
}

/// Fills the pool from the index of deadlines, in which some names are gone already: from pieces that are
/// spread over all of it that can be reached in a short time.
fn look_at_index(
    pool: &mut Pool,
    (db, table): (usize, &Db),
    rng: &mut Rng,
    rank: impl Fn(EntryRef<'_>) -> Option<u64>,
) {
    let Some(index) = &table.index else { return };
    let reach = index.wheel.piece_count().min(PIECES_REACH);
    let stride = reach.div_ceil(PIECES_MAX).max(1);
    let from = rng.below(stride as u64) as usize;
    let pieces = index.wheel.pieces().take(reach).skip(from).step_by(stride);
    let mut hashes = Vec::new();
    for piece in pieces {
        hashes.clear();
        hashes.extend(piece.iter().map(|word| word & KEPT_BITS));
        prefetch_all(&table.entries, &hashes);
        for &hash in &hashes {
            let mut found = None;
            _ = table.entries.find_where(hash, |entry| {
                found = rank(entry);
                found.is_some()
            });
            if let Some(rank) = found.filter(|rank| pool.wants(*rank)) {
                let db = db as u32;
                pool.add(Candidate { rank, hash, db });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::keyspace::NewValue;

    fn databases(keys: impl Iterator<Item = (usize, u32, Option<i64>)>) -> Databases {
        let mut dbs = Databases::new(4, HashKey::random(&mut Rng::from_seed(1)));
        for (n, (db, clock, at_ms)) in keys.enumerate() {
            let name = format!("key:{n}");
            dbs.new_clock = clock;
            dbs.insert(db, name.as_bytes(), NewValue::Int(1), at_ms);
        }
        dbs
    }

    fn evict<R>(
        dbs: &mut Databases,
        evictor: &mut Evictor,
        n: usize,
        choice: &Choice<R>,
    ) -> Vec<u32>
    where
        R: Fn(EntryRef<'_>) -> Option<u64>,
    {
        let mut rng = Rng::from_seed(7);
        let mut clocks = Vec::new();
        while clocks.len() < n {
            match evictor.pick(dbs, &mut rng, choice) {
                Pick::Key(db, slot) => clocks.push(dbs[db].remove(slot).view().clock()),
                Pick::NotYet => {}
                Pick::Nothing => break,
            }
        }
        clocks
    }

    fn by_clock(entry: EntryRef<'_>) -> Option<u64> {
        Some(u64::from(entry.clock()))
    }

    #[test]
    fn the_oldest_go_first_and_all_in_the_end() {
        // In all databases alike, though they differ in size.
        let mut dbs = databases((0..20_000).map(|n| (usize::from(n % 10 == 0), n, None)));
        let mut evictor = Evictor::default();
        let choice = Choice {
            samples: 5,
            volatile: false,
            rank: by_clock,
        };
        let gone = evict(&mut dbs, &mut evictor, 2_000, &choice);
        let old = gone.iter().filter(|clock| **clock < 5_000).count();
        assert!(old > 1_960, "{old} of 2000 are of the oldest quarter");
        let all = evict(&mut dbs, &mut evictor, usize::MAX, &choice);
        assert_eq!((all.len(), dbs.total_keys()), (18_000, 0));
    }

    #[test]
    fn a_candidate_that_is_used_again_is_one_no_more() {
        let mut dbs = databases((0..100).map(|n| (0, n, None)));
        let mut evictor = Evictor::default();
        let choice = Choice {
            samples: 100,
            volatile: false,
            rank: by_clock,
        };
        assert_eq!(evict(&mut dbs, &mut evictor, 1, &choice), [0]);
        for n in 1..10 {
            let slot = dbs
                .find(0, format!("key:{n}").as_bytes())
                .expect("is there");
            dbs[0].set_clock(slot, 1000);
        }
        assert_eq!(evict(&mut dbs, &mut evictor, 2, &choice), [10, 11]);
    }

    #[test]
    fn only_keys_with_a_deadline_go_however_few_they_are() {
        for one_in in [2, 50, 3_000] {
            let deadline = |n: u32| n.is_multiple_of(one_in).then(|| i64::from(1_000_000 + n));
            let mut dbs = databases((0..9_000).map(|n| (2, 9_000 - n, deadline(n))));
            // Names that are registered and gone.
            for n in 0..5_000 {
                let name = format!("gone:{n}");
                let slot = dbs.insert(2, name.as_bytes(), NewValue::Int(1), Some(2_000_000));
                drop(dbs[2].remove(slot));
            }
            let mut evictor = Evictor::default();
            let choice = Choice {
                samples: 5,
                volatile: true,
                rank: |entry: EntryRef<'_>| entry.expire_at().map(|at_ms| at_ms as u64),
            };
            let gone = evict(&mut dbs, &mut evictor, usize::MAX, &choice);
            assert_eq!(gone.len(), 9_000 / one_in as usize, "one in {one_in}");
            assert_eq!(dbs[2].expires(), 0);
            if one_in == 2 {
                let soon = gone.iter().take(1_000);
                let soon = soon.filter(|clock| **clock > 9_000 - 4_000).count();
                assert!(soon > 950, "{soon} of 1000 were in the sooner part");
            }
        }
    }

    #[test]
    fn chance_comes_by_every_key() {
        let mut dbs = databases((0..500).map(|n| (n as usize % 3, n, None)));
        let (mut evictor, mut rng) = (Evictor::default(), Rng::from_seed(3));
        while let Pick::Key(db, slot) = evictor.draw(&dbs, &mut rng) {
            drop(dbs[db].remove(slot));
        }
        assert_eq!(dbs.total_keys(), 0);
        assert_eq!(evictor.draw(&dbs, &mut rng), Pick::Nothing);
        dbs.insert(1, b"new", NewValue::Int(1), None);
        assert!(matches!(evictor.draw(&dbs, &mut rng), Pick::Key(1, _)));
    }
}
