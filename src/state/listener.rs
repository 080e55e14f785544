//! Who learns that a key changed: those who watch it, wait for it or cache it, and keyspace events.
//!
//! One word says whether anybody is there at all, so that a write asks once: the class bits of
//! `EventMask` for events that somebody can hear, and the bits below. Those are set where the first one
//! comes, and taken back when a change finds nobody.
use super::State;
use super::client::ClientId;
use super::config::EventMask;
use super::notify::Event;

/// Clients of a writable replica give keys deadlines that no primary knows of.
pub const OWN_DEADLINES: u32 = 1 << 28;
/// Somebody watches a key.
pub const WATCHED: u32 = 1 << 29;
/// Somebody waits for a key.
pub const BLOCKED: u32 = 1 << 30;
/// Somebody caches keys.
pub const TRACKED: u32 = 1 << 31;
/// Any change of a key is of interest, whatever it is called.
pub const KEYS: u32 = WATCHED | BLOCKED | TRACKED;

impl State {
    /// Somebody listens from now on, or nobody does any more.
    #[inline]
    pub fn listen(&mut self, bit: u32, on: bool) {
        self.listeners = self.listeners & !bit | if on { bit } else { 0 };
    }

    /// Which events are formatted and published: those that are asked for and that a channel or pattern
    /// somebody subscribed to may be about.
    pub(super) fn settle_events(&mut self) {
        let mut wanted = self.config.notify_keyspace_events.0;
        if !self.pubsub.hears_keyspace() {
            wanted &= !EventMask::KEYSPACE;
        }
        if !self.pubsub.hears_keyevent() {
            wanted &= !EventMask::KEYEVENT;
        }
        if wanted & (EventMask::KEYSPACE | EventMask::KEYEVENT) == 0 {
            wanted = 0;
        }
        self.listeners = self.listeners & (KEYS | OWN_DEADLINES) | wanted;
    }

    /// The epilogue of a write: `n` changes, and everybody who cares for the key is told.
    #[inline]
    pub fn modified(&mut self, db: usize, key: &[u8], event: Event, n: u64) {
        self.dirty += n;
        if self.listeners & (KEYS | OWN_DEADLINES | event.class) != 0 {
            self.tell_all(db, key, event);
        }
    }

    #[cold]
    fn tell_all(&mut self, db: usize, key: &[u8], event: Event) {
        if self.listeners & OWN_DEADLINES != 0 {
            self.note_own_deadline(db, key);
        }
        self.key_touched(db, key);
        self.notify(db, key, event);
    }

    /// Those who watch, wait for or cache a key learn that the running client changed it.
    #[inline]
    pub fn key_touched(&mut self, db: usize, key: &[u8]) {
        if self.listeners & KEYS != 0 {
            self.tell_of_key(db, key, self.running);
        }
    }

    /// The same for a key that ended by no client's doing: it expired, or was evicted.
    #[inline]
    pub fn key_ended(&mut self, db: usize, key: &[u8]) {
        if self.listeners & KEYS != 0 {
            self.tell_of_key(db, key, None);
        }
    }

    #[cold]
    fn tell_of_key(&mut self, db: usize, key: &[u8], by: Option<ClientId>) {
        if !self.watched.is_empty() {
            self.break_watches(db, key);
        } else {
            self.listeners &= !WATCHED;
        }
        if self.blocked.waits() {
            self.blocked.signal(db as u32, key);
        } else {
            self.listeners &= !BLOCKED;
        }
        if self.listeners & TRACKED != 0 {
            self.key_changed_for_trackers(db, key, by);
        }
    }

    /// Publishes a keyspace event, if its class is wanted and somebody may hear it.
    #[inline]
    pub fn notify(&mut self, db: usize, key: &[u8], event: Event) {
        if self.listeners & event.class != 0 {
            self.publish_event(db, key, event);
        }
    }

    #[cold]
    fn publish_event(&mut self, db: usize, key: &[u8], event: Event) {
        let wanted = self.listeners;
        // Somebody may hear it, but perhaps in another group.
        let group = self.group_of(db);
        let topics = self.pubsub.of(group);
        let of_key = wanted & EventMask::KEYSPACE != 0 && topics.hears_keyspace();
        let of_kind = wanted & EventMask::KEYEVENT != 0 && topics.hears_keyevent();
        if !of_key && !of_kind {
            return;
        }
        let shown_db = self.local_db(db);
        let mut channel = std::mem::take(&mut self.event_channel);
        if of_key {
            name_channel(&mut channel, b"__keyspace@", shown_db, key);
            self.publish(group, &channel, event.name.as_bytes());
        }
        if of_kind {
            let name = event.name.as_bytes();
            name_channel(&mut channel, b"__keyevent@", shown_db, name);
            self.publish(group, &channel, key);
        }
        if channel.capacity() < 4096 {
            self.event_channel = channel;
        }
    }
}

/// Writes `<kind><db>__:<what>`.
fn name_channel(channel: &mut Vec<u8>, kind: &[u8], db: usize, what: &[u8]) {
    channel.clear();
    channel.extend_from_slice(kind);
    channel.extend_from_slice(itoa::Buffer::new().format(db).as_bytes());
    channel.extend_from_slice(b"__:");
    channel.extend_from_slice(what);
}
