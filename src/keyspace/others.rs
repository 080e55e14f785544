//! The databases of groups: most of their numbers are never used, so each is made when something is put
//! into it.
//!
//! Pages of pointers: a number that is not used costs half a byte or, beside one that is, eight. Whoever
//! reads from a database that was not made reads from one empty database that stands for all of them.
use super::db::{Db, KeyHasher};

/// Databases of one page; a power of two.
const PAGE: usize = 16;

type Page = [Option<Box<Db>>; PAGE];

/// Databases by number, made on first use.
pub(super) struct Others {
    pages: Vec<Option<Box<Page>>>,
    /// The numbers of those that were made, in their order.
    made: Vec<u32>,
    empty: Db,
}

impl Others {
    pub(super) fn new(hasher: KeyHasher) -> Others {
        Others {
            pages: Vec::new(),
            made: Vec::new(),
            empty: Db::new(hasher),
        }
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
        let page = self.pages.get(number / PAGE).and_then(Option::as_ref);
        page.and_then(|page| page[number % PAGE].as_deref())
            .unwrap_or(&self.empty)
    }

    /// For changing: it is made if need be.
    pub(super) fn get_mut(&mut self, number: usize, resize_paused: bool) -> &mut Db {
        let at = number / PAGE;
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
        }
        let slot = &mut self.pages[at].get_or_insert_default()[number % PAGE];
        slot.get_or_insert_with(|| {
            let place = self.made.partition_point(|made| (*made as usize) < number);
            self.made.insert(place, number as u32);
            let mut db = Db::new(self.empty.hasher()).metered();
            db.pause_resize(resize_paused);
            Box::new(db)
        })
    }

    /// Takes one out, if it was made.
    pub(super) fn take(&mut self, number: usize) -> Option<Box<Db>> {
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
        Some(taken)
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
        pages.flat_map(|page| page.iter_mut().flatten().map(|db| &mut **db))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::base::rng::Rng;

    #[test]
    fn what_is_not_used_is_not_made() {
        let hasher = KeyHasher(HashKey::random(&mut Rng::from_seed(1)));
        let mut others = Others::new(hasher);
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
}
