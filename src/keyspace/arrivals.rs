//! Keys on their way into a database in numbers, from a file: each is built as it comes, and several are put
//! into the table together, whose places the memory was asked for before.
//!
//! A key that comes alone waits for the bucket it belongs to, and for the chain behind it. Of keys that come
//! in dozens nobody waits.

use super::db::Db;
use super::entry::Entry;
use super::layout::NewValue;
use crate::ds::table::Slot;

/// Keys that wait together.
pub const ARRIVALS_MAX: usize = 64;

/// Keys that are built and not in a database yet, each with what its bringer knows of it.
pub struct Arrivals<T> {
    list: Vec<(u64, Entry, T)>,
}

/// A key whose name is taken: the one that is there, and the one that came.
pub struct Taken<T> {
    pub there: Slot,
    pub hash: u64,
    pub entry: Entry,
    pub note: T,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Arrivals { list: Vec::new() }
    }
}

impl<T> Arrivals<T> {
    /// None yet.
    pub fn new() -> Arrivals<T> {
        Arrivals::default()
    }

    /// Time to let them in.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.list.len() >= ARRIVALS_MAX
    }

    /// Builds a key for `db`, the same for all until they are let in.
    #[inline]
    pub fn add(
        &mut self,
        db: &Db,
        key: &[u8],
        value: NewValue<'_>,
        expire_at: Option<i64>,
        clock: u32,
        note: T,
    ) {
        let hash = db.hash(key);
        let entry = Entry::new(key, value, expire_at, clock);
        self.list.push((hash, entry, note));
    }

    /// Puts them into the database, in the order in which they came, up to one whose name is taken: that
    /// one is given back and the others wait. `None` when all are in.
    pub fn settle(&mut self, db: &mut Db) -> Option<Taken<T>> {
        // In passes of their own: prefetches find their pages side by side then.
        for (hash, ..) in &self.list {
            db.entries.prefetch_bucket(*hash);
        }
        let mut chained = false;
        for (hash, ..) in &self.list {
            chained |= db.entries.prefetch_item(*hash);
        }
        if chained {
            for (hash, ..) in &self.list {
                db.entries.prefetch_chain(*hash);
            }
        }
        let mut list = std::mem::take(&mut self.list);
        let mut rest = list.drain(..);
        for (hash, entry, note) in rest.by_ref() {
            if let Some(there) = db.find_hashed(hash, entry.view().key()) {
                self.list.extend(rest);
                return Some(Taken {
                    there,
                    hash,
                    entry,
                    note,
                });
            }
            db.insert_entry(hash, entry);
        }
        drop(rest);
        self.list = list;
        None
    }
}
