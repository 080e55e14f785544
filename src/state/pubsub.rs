//! Who subscribed to what, and how a message reaches them.
//!
//! Both sides know each other: a name its subscribers, a client the hashes of its names, so that
//! neither a PUBLISH nor a client's end walks what does not concern it. A subscription takes some
//! sixty bytes; a million of them end over many turns.
//!
//! Each group has names of its own (`Topics`): a message can reach nobody but who subscribed in the
//! group in which it was published.
mod names;

use super::State;
use super::client::{Client, ClientId, Clients, client_flag};
use super::gate;
use super::groups::GroupId;
use super::outbox::Outbox;
use super::per_group::{Divided, PerGroup};
use crate::base::glob;
use crate::base::hash::HashKey;
use names::{Hashes, IntoHashes, Names, Subscribers};

/// What a client subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Channel,
    Pattern,
    /// A channel that belongs to a slot.
    ShardChannel,
}

const TOPICS: [Topic; 3] = [Topic::Channel, Topic::Pattern, Topic::ShardChannel];

/// Subscriptions of a client that ends which are ended with it at once; more than that in later turns.
const ENDED_AT_ONCE_MAX: usize = 1000;

/// What a subscription takes besides the name.
const NAME_BYTES: usize = 48;

/// The subscriptions of all groups.
pub struct PubSub {
    topics: PerGroup<Topics>,
    /// How many names of any group events of a key, and those of a kind, may reach.
    keyspace_names: usize,
    keyevent_names: usize,
    /// What clients that have ended subscribed to, and is still to be ended.
    leaving: Vec<Leaving>,
}

/// A group's channels and patterns with their subscribers; a name without any is not kept.
pub struct Topics {
    key: HashKey,
    kinds: [Names; 3],
    /// As above, of this group.
    keyspace_names: usize,
    keyevent_names: usize,
}

/// What is left of the subscriptions of a client.
struct Leaving {
    group: GroupId,
    who: ClientId,
    kinds: [IntoHashes; 3],
}

impl Divided for Topics {
    fn fresh(&self) -> Topics {
        Topics::new(self.key)
    }
}

impl Topics {
    fn new(key: HashKey) -> Topics {
        Topics {
            key,
            kinds: [Names::new(key), Names::new(key), Names::new(key)],
            keyspace_names: 0,
            keyevent_names: 0,
        }
    }

    fn names_of(&self, topic: Topic) -> &Names {
        &self.kinds[topic as usize]
    }

    /// How many names of a kind have subscribers.
    pub fn len(&self, topic: Topic) -> usize {
        self.names_of(topic).len()
    }

    /// Is there no subscription at all?
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(|names| names.len() == 0)
    }

    /// The names of a kind.
    pub fn names(&self, topic: Topic) -> impl Iterator<Item = &[u8]> {
        self.names_of(topic).iter().map(|(name, _)| name)
    }

    /// How many clients subscribed to a name.
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        let found = self.names_of(topic).get(name);
        found.map_or(0, |clients| clients.len())
    }

    /// May anybody hear the events of a key?
    pub fn hears_keyspace(&self) -> bool {
        self.keyspace_names > 0
    }

    /// May anybody hear the events of a kind?
    pub fn hears_keyevent(&self) -> bool {
        self.keyevent_names > 0
    }
}

impl PubSub {
    /// Nobody subscribes. Names are hashed under this key.
    pub fn new(key: HashKey) -> Self {
        Self {
            topics: PerGroup::new(Topics::new(key)),
            keyspace_names: 0,
            keyevent_names: 0,
            leaving: Vec::new(),
        }
    }

    /// The channels and patterns of every group that has used any.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Topics)> {
        self.topics.iter()
    }

    /// A group's channels and patterns.
    pub fn of(&self, group: GroupId) -> &Topics {
        self.topics.of(group)
    }

    /// May anybody of any group hear the events of a key?
    pub fn hears_keyspace(&self) -> bool {
        self.keyspace_names > 0
    }

    /// May anybody of any group hear the events of a kind?
    pub fn hears_keyevent(&self) -> bool {
        self.keyevent_names > 0
    }

    /// Are there subscriptions of clients that have ended?
    #[inline]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// A name got its first subscriber, or lost its last.
    fn count_event_names(&mut self, group: GroupId, topic: Topic, name: &[u8], came: bool) {
        let about = |prefix: &[u8]| match topic {
            Topic::Channel => name.starts_with(prefix),
            Topic::Pattern => may_begin_with(name, prefix),
            Topic::ShardChannel => false,
        };
        let topics = self.topics.of_mut(group);
        let counts = [
            (about(b"__keyspace@"), &mut self.keyspace_names),
            (about(b"__keyspace@"), &mut topics.keyspace_names),
            (about(b"__keyevent@"), &mut self.keyevent_names),
            (about(b"__keyevent@"), &mut topics.keyevent_names),
        ];
        for (is_about, count) in counts {
            let one = usize::from(is_about);
            *count = if came { *count + one } else { *count - one };
        }
    }

    /// Takes a subscription out.
    fn forget(&mut self, group: GroupId, topic: Topic, name: &[u8], who: ClientId) {
        if self.topics.of_mut(group).kinds[topic as usize].remove(name, who) {
            self.count_event_names(group, topic, name, false);
        }
    }

    /// Ends up to `max` subscriptions; what is left is kept for later.
    fn forget_some(&mut self, mut leaving: Leaving, max: usize) {
        let (group, who) = (leaving.group, leaving.who);
        let mut left = max;
        for topic in TOPICS {
            for hash in leaving.kinds[topic as usize].by_ref().take(left) {
                left -= 1;
                let names = self.of(group).names_of(topic);
                let name = names.name_of(hash, who).map(Box::<[u8]>::from);
                if let Some(name) = name {
                    self.forget(group, topic, &name, who);
                }
            }
        }
        if leaving.kinds.iter().any(|kind| kind.len() > 0) {
            self.leaving.push(leaving);
        }
    }

    /// A client comes into a group: what it has not left there yet, it leaves now.
    fn finish(&mut self, group: GroupId, who: ClientId) {
        let own = |leaving: &Leaving| leaving.group == group && leaving.who == who;
        while let Some(at) = self.leaving.iter().position(own) {
            let leaving = self.leaving.swap_remove(at);
            self.forget_some(leaving, usize::MAX);
        }
    }

    /// Forgets a group with all that is in it; its clients have ended.
    fn forget_group(&mut self, group: GroupId) {
        self.leaving.retain(|leaving| leaving.group != group);
        if let Some(topics) = self.topics.take(group) {
            self.keyspace_names -= topics.keyspace_names;
            self.keyevent_names -= topics.keyevent_names;
        }
    }
}

/// What one client subscribed to.
#[derive(Default)]
pub struct Subscriptions {
    kinds: [Hashes; 3],
    /// What the names take, here and in the tables of all channels.
    pub bytes: usize,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = TOPICS.map(|topic| self.len(topic));
        f.debug_tuple("Subscriptions").field(&counts).finish()
    }
}

impl Subscriptions {
    fn of_mut(&mut self, topic: Topic) -> &mut Hashes {
        &mut self.kinds[topic as usize]
    }

    /// How many names of a kind.
    pub fn len(&self, topic: Topic) -> usize {
        self.kinds[topic as usize].len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(|kind| kind.len() == 0)
    }

    /// The number a reply to (P)SUBSCRIBE or SSUBSCRIBE carries: shard channels count alone.
    pub fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::ShardChannel => self.len(topic),
            _ => self.len(Topic::Channel) + self.len(Topic::Pattern),
        }
    }
}

impl State {
    /// Subscribes a client; what it is subscribed to afterwards, as its reply counts it.
    pub fn subscribe(&mut self, who: ClientId, topic: Topic, name: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(who) else {
            return 0;
        };
        let group = client.group;
        let subscriptions = client.subscriptions.get_or_insert_default();
        let topics = self.pubsub.topics.of_mut(group);
        let (hash, new, first) = topics.kinds[topic as usize].add(name, who);
        if new {
            subscriptions.of_mut(topic).add(hash);
            subscriptions.bytes += name.len() + NAME_BYTES;
        }
        let count = subscriptions.count(topic);
        client.flags |= client_flag::PUBSUB;
        client.settle_subscribed();
        if first {
            self.pubsub.count_event_names(group, topic, name, true);
            self.settle_events();
        }
        count
    }

    /// Ends a subscription; what is left, as its reply counts it.
    pub fn unsubscribe(&mut self, who: ClientId, topic: Topic, name: &[u8]) -> usize {
        let Some(client) = self.clients.get_mut(who) else {
            return 0;
        };
        let Some(subscriptions) = &mut client.subscriptions else {
            return 0;
        };
        let group = client.group;
        let names = self.pubsub.of(group).names_of(topic);
        let (hash, has) = (names.hash(name), names.has(name, who));
        if has {
            subscriptions.of_mut(topic).remove(hash);
            subscriptions.bytes -= name.len() + NAME_BYTES;
            self.pubsub.forget(group, topic, name, who);
        }
        let count = subscriptions.count(topic);
        if subscriptions.is_empty() {
            client.subscriptions = None;
            client.flags &= !client_flag::PUBSUB;
        }
        client.settle_subscribed();
        if has {
            self.settle_events();
        }
        count
    }

    /// The names a client subscribed to.
    pub fn subscriptions_of(&self, who: ClientId, topic: Topic) -> Vec<Box<[u8]>> {
        let Some(client) = self.clients.get(who) else {
            return Vec::new();
        };
        let names = self.pubsub.of(client.group).names_of(topic);
        client.subscriptions.as_ref().map_or(Vec::new(), |s| {
            s.kinds[topic as usize]
                .iter()
                .filter_map(|hash| names.name_of(hash, who).map(Box::from))
                .collect()
        })
    }

    /// A client that ends, goes into another group or starts anew leaves every channel and pattern. One with
    /// very many that is gone from its group leaves the rest of them in the next turns.
    pub fn unsubscribe_all(&mut self, who: ClientId, is_gone: bool) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let Some(subscriptions) = client.subscriptions.take() else {
            return;
        };
        client.flags &= !client_flag::PUBSUB;
        client.settle_subscribed();
        let max = if is_gone {
            ENDED_AT_ONCE_MAX
        } else {
            usize::MAX
        };
        let leaving = Leaving {
            group: client.group,
            who,
            kinds: subscriptions.kinds.map(Hashes::into_iter),
        };
        self.pubsub.forget_some(leaving, max);
        self.settle_events();
    }

    /// A client comes into a group that it may have left only just now.
    pub(super) fn finish_leaving(&mut self, who: ClientId, group: GroupId) {
        if self.pubsub.has_leaving() {
            self.pubsub.finish(group, who);
            self.settle_events();
        }
    }

    /// Ends some subscriptions of clients that have ended.
    #[cold]
    pub fn end_leaving_subscriptions(&mut self) {
        if let Some(leaving) = self.pubsub.leaving.pop() {
            self.pubsub.forget_some(leaving, ENDED_AT_ONCE_MAX);
        }
        self.settle_events();
    }

    /// A group goes: so does what its clients, which have ended, subscribed to.
    pub(super) fn forget_topics(&mut self, group: GroupId) {
        self.pubsub.forget_group(group);
        self.settle_events();
    }

    /// Sends a message to all subscribers of a group's channel and of its patterns that match it; says
    /// how many got it. Encoded once for each protocol and kind.
    pub fn publish(&mut self, group: GroupId, channel: &[u8], message: &[u8]) -> usize {
        let (outbox, clients) = (&mut self.outbox, &mut self.clients);
        let topics = self.pubsub.topics.of(group);
        let mut receivers = 0;
        if let Some(subscribers) = topics.names_of(Topic::Channel).get(channel) {
            let parts: [&[u8]; 3] = [b"message", channel, message];
            receivers += post(outbox, clients, (group, subscribers), &parts);
        }
        if topics.len(Topic::Pattern) > 0 {
            for (pattern, subscribers) in topics.names_of(Topic::Pattern).iter() {
                if glob::matches(pattern, channel, false) {
                    let parts: [&[u8]; 4] = [b"pmessage", pattern, channel, message];
                    receivers += post(outbox, clients, (group, subscribers), &parts);
                }
            }
        }
        receivers
    }

    /// SPUBLISH: to the subscribers of a shard channel, which no pattern matches.
    pub fn publish_to_shard(&mut self, group: GroupId, channel: &[u8], message: &[u8]) -> usize {
        let topics = self.pubsub.topics.of(group);
        let Some(subscribers) = topics.names_of(Topic::ShardChannel).get(channel) else {
            return 0;
        };
        let parts: [&[u8]; 3] = [b"smessage", channel, message];
        post(
            &mut self.outbox,
            &mut self.clients,
            (group, subscribers),
            &parts,
        )
    }
}

impl Client {
    /// A RESP2 client with subscriptions may send little else; a RESP3 one anything.
    pub fn settle_subscribed(&mut self) {
        if self.has(client_flag::PUBSUB) && !self.resp3 {
            self.gate |= gate::SUBSCRIBED;
        } else {
            self.gate &= !gate::SUBSCRIBED;
        }
    }
}

/// Can a name that begins so match this pattern, as far as its plain beginning tells?
fn may_begin_with(pattern: &[u8], beginning: &[u8]) -> bool {
    let special = |b: &u8| matches!(b, b'*' | b'?' | b'[' | b'\\');
    let plain = pattern.iter().position(special).unwrap_or(pattern.len());
    let both = plain.min(beginning.len());
    // One that is shorter than the beginning and has nothing special matches nothing longer.
    pattern[..both] == beginning[..both] && (plain >= beginning.len() || plain < pattern.len())
}

/// Posts one push message to several clients of a group, encoded once for each protocol that is spoken;
/// to how many.
fn post(
    outbox: &mut Outbox,
    clients: &mut Clients,
    (group, to): (GroupId, Subscribers<'_>),
    parts: &[&[u8]],
) -> usize {
    let mut encoded = [None, None];
    let mut count = 0;
    to.each(|slot, serial| {
        // Who has ended, or left the group, may stand here for some turns.
        let is_here = |c: &&mut Client| c.id.serial as u32 == serial && c.group == group;
        let Some(client) = clients.at(slot).filter(is_here) else {
            return;
        };
        let message = encoded[usize::from(client.resp3)].get_or_insert_with(|| {
            outbox.write(client.resp3, |out| {
                out.push(parts.len());
                parts.iter().for_each(|part| out.bulk(part));
            })
        });
        outbox.post(client.id, message.clone());
        count += 1;
    });
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_may_be_about_events_is_known_by_its_beginning() {
        for (pattern, may) in [
            ("*", true),
            ("__key*", true),
            ("__keyspace@0__:*", true),
            ("__keyspace@?__:k", true),
            ("__keyspace@0__:k", true),
            ("[_]x", true),
            ("\\_x", true),
            ("__keyevent@*", false),
            ("__keyspace", false),
            ("_*", true),
            ("a*", false),
            ("", false),
        ] {
            let found = may_begin_with(pattern.as_bytes(), b"__keyspace@");
            assert_eq!(found, may, "{pattern}");
        }
    }
}
