//! Active expiry of members: fields of hashes vanish soon after their deadline.
//!
//! Each database has an index of the keys whose members have deadlines, by the next one of each; the
//! collection itself knows which members are due. The index is the same wheel of hashes as that of the keys
//! (`expire.rs`) and makes the same promise: such a key is registered at its next deadline or earlier, and
//! what comes out without need is registered anew or dropped. One step removes a bounded number of members,
//! of however large a collection; the next step goes on there.

use crate::ds::table::{Hasher64, Slot};
use crate::ds::wheel::{BATCH, KEPT_BITS, Wheel};

use super::db::{Db, Entries};
use super::expire::{Expired, prefetch_all};

/// The keys of a database whose members have deadlines.
#[derive(Default)]
pub(super) struct MemberIndex {
    wheel: Wheel,
    due: Vec<u64>,
    /// How many such keys there are.
    keys: usize,
}

impl MemberIndex {
    pub(super) fn bytes(&self) -> usize {
        self.wheel.bytes() + self.due.capacity() * size_of::<u64>() + size_of::<MemberIndex>()
    }
}

/// What a step of the cycle tells.
pub enum Gone<'a> {
    /// A member, of the key that is told next.
    Member(&'a [u8]),
    /// The key whose members went. Its entry, too, went with the last of them.
    Key {
        /// Its name.
        key: &'a [u8],
        /// Whether the key went, too.
        emptied: bool,
    },
}

impl Db {
    /// Keys whose members have deadlines.
    pub fn keys_with_expiring_members(&self) -> usize {
        self.members.as_ref().map_or(0, |index| index.keys)
    }

    /// The next deadline of a key's members moved.
    #[cold]
    pub(super) fn members_moved(&mut self, hash: u64, before: Option<i64>, after: Option<i64>) {
        let index = self.members.get_or_insert_default();
        index.keys += usize::from(after.is_some());
        index.keys -= usize::from(before.is_some());
        if let Some(at_ms) = after
            && before.is_none_or(|before| at_ms < before)
        {
            index.wheel.register(hash, at_ms);
        }
    }

    /// Removes up to about `max` members whose deadline has passed from the key at a slot. Returns whether
    /// there may be more, and where the key is if any member is left.
    pub fn expire_members_at(
        &mut self,
        slot: Slot,
        now_ms: i64,
        max: usize,
        gone: &mut dyn FnMut(&[u8]),
    ) -> (bool, Option<Slot>) {
        let before = self.entry(slot).next_member_deadline();
        self.meter.went(self.entries.get(slot));
        let (more, left) = self.entries.get_mut(slot).expire_members(now_ms, max, gone);
        self.meter.came(self.entries.get(slot));
        let after = self.entry(slot).next_member_deadline();
        if before != after {
            self.members_moved(self.hash(self.entry(slot).key()), before, after);
        }
        if left {
            return (more, Some(slot));
        }
        drop(self.remove(slot));
        (false, None)
    }

    /// Removes up to about `max` members whose deadline has passed, from keys that are not dead themselves,
    /// and tells which. The budget counts members and registrations looked up.
    pub fn expire_members(
        &mut self,
        now_ms: i64,
        max: usize,
        mut gone: impl FnMut(Gone<'_>),
    ) -> Expired {
        let mut done = Expired::default();
        // Out while it is used: settling a key may register it anew.
        let Some(mut due) = self
            .members
            .as_mut()
            .map(|index| std::mem::take(&mut index.due))
        else {
            return done;
        };
        while done.spent < max {
            let Some(&hash) = due.last() else {
                let Some(index) = &mut self.members else {
                    break;
                };
                done.more = index.wheel.due(now_ms, &mut due);
                prefetch_all(&self.entries, &due);
                if due.is_empty() {
                    if !done.more {
                        break;
                    }
                    // A call that found nothing sorted the index, which took as long as a batch.
                    done.spent += BATCH;
                }
                continue;
            };
            let left = max - done.spent;
            let (removed, more) = self.settle_members(hash, now_ms, left, &mut gone);
            done.removed += removed;
            done.spent += removed.max(1);
            if more {
                done.spent = max;
                break;
            }
            due.pop();
        }
        done.more |= !due.is_empty();
        if let Some(index) = &mut self.members {
            index.due = due;
        }
        self.sweep_members(&mut done, max);
        done
    }

    /// Does what a registration that has come due asks for. The number of members removed, and whether it
    /// asks for more.
    fn settle_members(
        &mut self,
        hash: u64,
        now_ms: i64,
        max: usize,
        gone: &mut impl FnMut(Gone<'_>),
    ) -> (usize, bool) {
        // A key that is dead itself goes as a whole, without a word about its members.
        let found = self.entries.find_where(hash, |entry| {
            entry
                .next_member_deadline()
                .is_some_and(|at_ms| at_ms <= now_ms)
                && !entry.is_expired(now_ms)
        });
        let mut removed = 0;
        if let Some(slot) = found {
            let key = self.entry(slot).key().to_vec();
            let (more, left) = self.expire_members_at(slot, now_ms, max, &mut |member| {
                removed += 1;
                gone(Gone::Member(member));
            });
            if removed > 0 {
                gone(Gone::Key {
                    key: &key,
                    emptied: left.is_none(),
                });
            }
            if more {
                return (removed, true);
            }
        }
        // Those that remain are registered again, others under the same bits included.
        if let Some(at_ms) = earliest_member_deadline(&self.entries, hash)
            && let Some(index) = &mut self.members
        {
            index.wheel.register(hash, at_ms);
        }
        (removed, false)
    }

    /// Drops registrations that no key needs, a piece at a time, when there are very many.
    fn sweep_members(&mut self, done: &mut Expired, max: usize) {
        let Some(mut index) = self.members.take() else {
            return;
        };
        if index.keys == 0 && index.due.is_empty() {
            // The last such key is gone: so is what the index knew.
            done.more = false;
            return;
        }
        while index.wheel.wants_sweep(index.keys) {
            if done.spent >= max {
                done.more = true;
                break;
            }
            index.wheel.sweep(index.keys, |hashes, deadlines| {
                prefetch_all(&self.entries, hashes);
                for (&hash, deadline) in hashes.iter().zip(deadlines) {
                    if let Some(at_ms) = earliest_member_deadline(&self.entries, hash) {
                        *deadline = at_ms;
                    }
                }
            });
            done.spent += BATCH;
        }
        self.members = Some(index);
    }
}

/// The earliest deadline of members of the keys under a hash.
fn earliest_member_deadline(entries: &Entries, hash: u64) -> Option<i64> {
    let hasher = entries.hasher();
    let mut earliest = None;
    _ = entries.find_where(hash, |entry| {
        // Here the key's own hash counts: an entry that only looks like a match is registered elsewhere.
        if let Some(at_ms) = entry.next_member_deadline()
            && (hasher.hash64(entry.key()) ^ hash) & KEPT_BITS == 0
        {
            earliest = Some(earliest.map_or(at_ms, |e: i64| e.min(at_ms)));
        }
        false
    });
    earliest
}
