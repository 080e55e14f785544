//! SCAN's walk: a cursor that outlives inserts, removals and resizing, with bounded work for each call.

use super::db::Db;
use super::entry::EntryRef;

/// Buckets visited without finding enough before a call gives up, for each element asked for: a sparse
/// table (after mass deletion) must not hold the loop.
const BUCKETS_PER_ELEMENT: usize = 10;

impl Db {
    /// Shows `f` about `count` entries from `cursor` on (0 begins) and returns the next cursor, 0 at the
    /// end. A key that is there from the beginning to the end of a scan is shown at least once; one may be
    /// shown twice.
    pub fn scan<'a>(
        &'a self,
        mut cursor: u64,
        count: usize,
        mut f: impl FnMut(EntryRef<'a>),
    ) -> u64 {
        let mut seen = 0;
        for _ in 0..count.max(1).saturating_mul(BUCKETS_PER_ELEMENT) {
            cursor = self.entries.scan(cursor, |entry| {
                seen += 1;
                f(entry);
            });
            if cursor == 0 || seen >= count {
                break;
            }
        }
        cursor
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::base::hash::HashKey;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::keyspace::db::{Db, KeyHasher};

    fn insert(db: &mut Db, n: u64) {
        let key = n.to_le_bytes();
        db.insert_hashed(db.hash(&key), &key, NewValue::Int(1), None, 0);
    }

    #[test]
    fn a_scan_sees_every_key_that_stays_while_others_come_and_go() {
        let mut rng = Rng::from_seed(5);
        let mut db = Db::new(KeyHasher(HashKey::random(&mut rng)));
        (0..2000).for_each(|n| insert(&mut db, n));

        let mut seen = BTreeSet::new();
        let (mut cursor, mut extra) = (0, 10_000u64);
        loop {
            let mut shown = 0;
            cursor = db.scan(cursor, 10, |entry| {
                shown += 1;
                seen.insert(entry.key().to_vec());
            });
            assert!(shown <= 10 + 64, "one bucket more than asked for");
            if cursor == 0 {
                break;
            }
            // The table doubles and halves meanwhile.
            for _ in 0..rng.below(200) {
                insert(&mut db, extra);
                extra += 1;
            }
            if rng.below(8) == 0 {
                for n in 10_000..extra {
                    if let Some(slot) = db.find(&n.to_le_bytes()) {
                        drop(db.remove(slot));
                    }
                }
            }
        }
        assert!((0..2000u64).all(|n| seen.contains(&n.to_le_bytes()[..])));
    }

    #[test]
    fn a_sparse_table_is_scanned_in_bounded_calls() {
        let mut db = Db::new(KeyHasher(HashKey::random(&mut Rng::from_seed(6))));
        db.reserve(1 << 16);
        insert(&mut db, 1);
        let (mut cursor, mut calls, mut seen) = (0, 0, 0);
        loop {
            cursor = db.scan(cursor, 1, |_| seen += 1);
            calls += 1;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen, 1);
        assert!(calls > 100);
    }
}
