//! The databases of groups: most of their numbers are never used, so each is made when something is put
//! into it.
//!
//! Pages of pointers: a number that is not used costs half a byte or, beside one that is, eight. Whoever
//! reads from a database that was not made reads from one empty database that stands for all of them.
use super::db::{Db, KeyHasher};

/// Databases of one page; a power of two.
const PAGE: usize = 16;

type Page = [Option<Box<Made>>; PAGE];

/// What databases hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    pub bytes: usize,
    pub keys: usize,
}

impl Load {
    /// An empty database costs its group nothing that it could free.
    fn of(db: &Db) -> Load {
        /// A table that was large and has not shrunk yet counts all the same.
        const SMALL: usize = 4096;
        let bytes = db.used_bytes();
        Load {
            bytes: if db.is_empty() && bytes < SMALL {
                0
            } else {
                bytes
            },
            keys: db.len(),
        }
    }

    /// This, where a part of it was `before` and is `now`.
    fn changed(self, before: Load, now: Load) -> Load {
        Load {
            bytes: (self.bytes + now.bytes).saturating_sub(before.bytes),
            keys: (self.keys + now.keys).saturating_sub(before.keys),
        }
    }
}

/// A database that was made.
struct Made {
    db: Db,
    /// What of it stands in its group's sum.
    counted: Load,
    /// It was handed out for changing since, and stands in the list of those.
    changed: bool,
}

/// Databases by number, made on first use.
pub(super) struct Others {
    pages: Vec<Option<Box<Page>>>,
    /// The numbers of those that were made, in their order.
    made: Vec<u32>,
    empty: Db,
    /// How many each group has.
    of_group: usize,
    /// What the databases of each group held when they were last summed up, and which may have changed since.
    sums: Vec<Load>,
    changed: Vec<u32>,
}

impl Others {
    pub(super) fn new(hasher: KeyHasher, of_group: usize) -> Others {
        Others {
            pages: Vec::new(),
            made: Vec::new(),
            empty: Db::new(hasher),
            of_group: of_group.max(1),
            sums: Vec::new(),
            changed: Vec::new(),
        }
    }

    fn made_at(&self, number: usize) -> Option<&Made> {
        let page = self.pages.get(number / PAGE).and_then(Option::as_ref);
        page.and_then(|page| page[number % PAGE].as_deref())
    }

    fn made_at_mut(&mut self, number: usize) -> Option<&mut Made> {
        let page = self.pages.get_mut(number / PAGE).and_then(Option::as_mut);
        page.and_then(|page| page[number % PAGE].as_deref_mut())
    }

    /// What the databases of a group hold: as they were summed up, and those anew that have changed since.
    pub(super) fn load_of(&self, group: usize) -> Load {
        let sum = self.sums.get(group).copied().unwrap_or_default();
        let changed = self.changed.iter().map(|number| *number as usize);
        let changed = changed.filter(|number| number / self.of_group == group);
        let changed = changed.filter_map(|number| self.made_at(number));
        changed.fold(sum, |sum, made| {
            sum.changed(made.counted, Load::of(&made.db))
        })
    }

    /// Takes what has changed into the sums.
    pub(super) fn sum_up(&mut self) {
        while let Some(number) = self.changed.pop() {
            let number = number as usize;
            let Some(made) = self.made_at_mut(number) else {
                continue;
            };
            let now = Load::of(&made.db);
            let before = std::mem::replace(&mut made.counted, now);
            made.changed = false;
            self.count(number, before, now);
        }
    }

    fn count(&mut self, number: usize, before: Load, now: Load) {
        let group = number / self.of_group;
        if self.sums.len() <= group {
            self.sums.resize(group + 1, Load::default());
        }
        self.sums[group] = self.sums[group].changed(before, now);
    }

    /// How many were made.
    pub(super) fn len(&self) -> usize {
        self.made.len()
    }

    /// The number of the one at this place among those that were made.
    pub(super) fn number(&self, at: usize) -> Option<usize> {
        self.made.get(at).map(|number| *number as usize)
    }

    /// The first place from this number on.
    pub(super) fn place_from(&self, number: usize) -> usize {
        self.made.partition_point(|made| (*made as usize) < number)
    }

    /// For reading: the database, or the empty one.
    pub(super) fn get(&self, number: usize) -> &Db {
        self.made_at(number).map_or(&self.empty, |made| &made.db)
    }

    /// For changing: it is made if need be.
    pub(super) fn get_mut(&mut self, number: usize, resize_paused: bool) -> &mut Db {
        let at = number / PAGE;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let slot = &mut self.pages[at].get_or_insert_default()[number % PAGE];
        let made = slot.get_or_insert_with(|| {
            let place = self.made.partition_point(|made| (*made as usize) < number);
            self.made.insert(place, number as u32);
            let mut db = Db::new(self.empty.hasher()).metered();
            db.pause_resize(resize_paused);
            Box::new(Made {
                db,
                counted: Load::default(),
                changed: false,
            })
        });
        if !made.changed {
            made.changed = true;
            self.changed.push(number as u32);
        }
        &mut made.db
    }

    /// Takes one out, if it was made.
    pub(super) fn take(&mut self, number: usize) -> Option<Db> {
        // It stands in no list behind this.
        self.sum_up();
        let page = self.pages.get_mut(number / PAGE)?.as_mut()?;
        let taken = page[number % PAGE].take()?;
        if page.iter().all(Option::is_none) {
            self.pages[number / PAGE] = None;
            while matches!(self.pages.last(), Some(None)) {
                self.pages.pop();
            }
        }
        let place = self.place_from(number);
        self.made.remove(place);
        self.count(number, taken.counted, Load::default());
        Some(taken.db)
    }

    /// Those that were made, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Db)> {
        self.made
            .iter()
            .map(|number| (*number as usize, self.get(*number as usize)))
    }

    /// The same for changing.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Db> {
        let pages = self.pages.iter_mut().flatten();
        pages.flat_map(|page| page.iter_mut().flatten().map(|made| &mut made.db))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;
    use crate::keyspace::databases::Databases;

    #[test]
    fn what_is_not_used_is_not_made() {
        let hasher = KeyHasher(HashKey::random(&mut Rng::from_seed(1)));
        let mut others = Others::new(hasher, 16);
        assert!(others.get(1_000_000).is_empty() && others.len() == 0);
        for number in [40, 17, 3000, 41] {
            others.get_mut(number, false);
        }
        let made = |others: &Others| others.iter().map(|(number, _)| number).collect::<Vec<_>>();
        assert_eq!(made(&others), [17, 40, 41, 3000]);
        assert_eq!((others.number(2), others.number(4)), (Some(41), None));
        assert_eq!((others.place_from(40), others.place_from(42)), (1, 3));
        assert_eq!(others.iter_mut().count(), 4);
        assert!(others.take(3000).is_some() && others.take(3000).is_none());
        assert_eq!((made(&others), others.pages.len()), (vec![17, 40, 41], 3));
        assert!(others.take(17).is_some() && others.pages[1].is_none());
    }

    /// The sums are those of the databases, whatever was changed, and when they were looked at.
    #[test]
    fn sums_follow_every_change() {
        let mut rng = Rng::from_seed(7);
        let mut dbs = Databases::new(4, HashKey::random(&mut rng));
        for step in 0..3000 {
            let (db, key) = (4 + rng.below(12) as usize, rng.below(40).to_string());
            match rng.below(10) {
                0 => _ = dbs.flush(db),
                1 => dbs.swap(db, 4 + rng.below(12) as usize),
                2 => dbs.sum_up(),
                3 => dbs.forget(4 + rng.below(4) as usize),
                _ => match dbs.find(db, key.as_bytes()) {
                    Some(slot) => _ = dbs[db].remove(slot),
                    None => _ = dbs.insert(db, key.as_bytes(), NewValue::Bytes(b"value"), None),
                },
            }
            if step % 7 == 0 {
                dbs.sum_up();
            }
            for group in 1..4 {
                let own = 4 * group..4 * group + 4;
                let filled = dbs.iter_in(own.clone()).filter(|(_, db)| !db.is_empty());
                let bytes: usize = filled.map(|(_, db)| db.used_bytes()).sum();
                let keys = dbs.keys_in(own);
                assert_eq!(dbs.load_of(group), Load { bytes, keys }, "step {step}");
            }
        }
    }
}
