//! What the keys of a database take, exactly and at any time, for groups with a limit.
//!
//! Every change of an entry is measured before and behind it, so the sum is that of the entries as they
//! are, whatever led to them. It is exact as long as an entry's measure says only what the entry is, and as
//! long as no entry changes its size unseen: whoever changes one does it through here. Databases that nobody
//! limits are not measured.
use super::db::Entries;
use super::entry::{Entry, EntryRef};
use crate::ds::table::Slot;

/// The sum, if anybody wants to know it.
#[derive(Default)]
pub(super) struct Meter {
    pub(super) on: bool,
    bytes: usize,
}

impl Meter {
    /// Not measuring.
    pub(super) const fn off() -> Meter {
        Meter {
            on: false,
            bytes: 0,
        }
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// An entry came.
    #[inline]
    pub(super) fn came(&mut self, entry: EntryRef<'_>) {
        if self.on {
            self.bytes += entry.metered_bytes();
        }
    }

    /// An entry went.
    #[inline]
    pub(super) fn went(&mut self, entry: EntryRef<'_>) {
        if self.on {
            self.bytes = self.bytes.saturating_sub(entry.metered_bytes());
        }
    }

    /// All entries went.
    pub(super) fn emptied(&mut self) {
        self.bytes = 0;
    }

    /// Changes an entry.
    #[inline]
    pub(super) fn update(
        &mut self,
        entries: &mut Entries,
        slot: Slot,
        change: impl FnOnce(Entry) -> Entry,
    ) {
        if !self.on {
            return entries.update(slot, change);
        }
        self.went(entries.get(slot));
        entries.update(slot, change);
        self.came(entries.get(slot));
    }
}
