//! Members whose deadline has passed (fields of hashes): who must learn of their end.
use super::State;
use super::notify::Event;
use crate::ds::table::Slot;
use crate::keyspace::Gone;

/// Members that a command's look at a key removes at most; those that remain are hidden from it, and
/// active expiry removes them soon.
const ON_ACCESS_MAX: usize = 256;

/// Members of one key that went together.
struct Lost {
    db: usize,
    key: Vec<u8>,
    members: Members,
    emptied: bool,
}

/// Their names, where the log wants them, and how many they are.
#[derive(Default)]
struct Members {
    names: Vec<Box<[u8]>>,
    count: u64,
}

impl Members {
    fn add(&mut self, name: &[u8], logged: bool) {
        self.count += 1;
        if logged {
            self.names.push(name.into());
        }
    }
}

impl State {
    /// Removes up to about `max` members whose deadline has passed; true when more may be due.
    pub(super) fn expire_some_members(&mut self, max: usize) -> bool {
        let logged = self.prop.on;
        let (mut members, mut lost) = (Members::default(), Vec::new());
        let done = self
            .dbs
            .expire_members(self.clock.unix_ms, max, |db, gone| match gone {
                Gone::Member(name) => members.add(name, logged),
                Gone::Key { key, emptied } => lost.push(Lost {
                    db,
                    key: key.to_vec(),
                    members: std::mem::take(&mut members),
                    emptied,
                }),
            });
        for Lost {
            db,
            key,
            members,
            emptied,
        } in lost
        {
            self.note_expired_members(db, &key, &members, emptied);
        }
        done.more
    }

    /// Removes members whose deadline has passed from the key at a slot, which a command looks at: as many
    /// as a look may take, and those it names. The slot, unless the key went with its last member.
    pub fn expire_members_of(
        &mut self,
        db: usize,
        key: &[u8],
        slot: Slot,
        named: impl Fn(Slot, &mut State, &mut dyn FnMut(&[u8])) -> Option<Slot>,
    ) -> Option<Slot> {
        let (now_ms, logged) = (self.clock.unix_ms, self.prop.on);
        let mut members = Members::default();
        let (more, mut left) =
            self.dbs[db].expire_members_at(slot, now_ms, ON_ACCESS_MAX, &mut |name| {
                members.add(name, logged);
            });
        if let Some(slot) = left
            && more
        {
            left = named(slot, self, &mut |name| members.add(name, logged));
        }
        if members.count > 0 {
            self.note_expired_members(db, key, &members, left.is_none());
        }
        left
    }

    /// What follows when members of a key expired: statistics, the log, events, WATCH.
    fn note_expired_members(&mut self, db: usize, key: &[u8], members: &Members, emptied: bool) {
        self.stats.expired_members += members.count;
        if let Some(own) = self.figures.get_mut(self.group_of(db)) {
            own.expired_members += members.count;
        }
        if !members.names.is_empty() {
            let mut argv: Vec<&[u8]> = vec![b"HDEL", key];
            argv.extend(members.names.iter().map(|name| &**name));
            self.prop.push_own(db, &argv);
        }
        self.key_ended(db, key);
        self.notify(db, key, Event::HEXPIRED);
        if emptied {
            self.notify(db, key, Event::DEL);
        }
    }
}
