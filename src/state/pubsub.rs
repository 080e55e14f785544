//! Who subscribed to what, and how a message reaches them.
//!
//! Both sides know each other: a name its subscribers, a client the hashes of its names, so that
//! neither a PUBLISH nor a client's end walks what does not concern it. A subscription takes some
//! sixty bytes; a million of them end over many turns.
mod names;

use super::State;
use super::client::{Client, ClientId, Clients, client_flag};
use super::gate;
use super::outbox::Outbox;
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

/// Channels and patterns with their subscribers; a name without any is not kept.
pub struct PubSub {
    kinds: [Names; 3],
    /// Channels and patterns that events of a key, and those of a kind, may reach.
    keyspace_names: usize,
    keyevent_names: usize,
    /// What clients that have ended subscribed to, and is still to be ended.
    leaving: Vec<Leaving>,
}

/// What is left of the subscriptions of a client.
struct Leaving {
    who: ClientId,
    kinds: [IntoHashes; 3],
}

impl PubSub {
    /// Nobody subscribes. Names are hashed under this key.
    pub fn new(key: HashKey) -> Self {
        Self {
            kinds: [Names::new(key), Names::new(key), Names::new(key)],
            keyspace_names: 0,
            keyevent_names: 0,
            leaving: Vec::new(),
        }
    }

    fn of(&self, topic: Topic) -> &Names {
        &self.kinds[topic as usize]
    }

    /// How many names of a kind have subscribers.
    pub fn len(&self, topic: Topic) -> usize {
        self.of(topic).len()
    }

    /// Is there no subscription at all?
    pub fn is_empty(&self) -> bool {
        self.kinds.iter().all(|names| names.len() == 0)
    }

    /// The names of a kind.
    pub fn names(&self, topic: Topic) -> impl Iterator<Item = &[u8]> {
        self.of(topic).iter().map(|(name, _)| name)
    }

    /// How many clients subscribed to a name.
    pub fn subscribers(&self, topic: Topic, name: &[u8]) -> usize {
        self.of(topic).get(name).map_or(0, |clients| clients.len())
    }

    /// May anybody hear the events of a key?
    pub fn hears_keyspace(&self) -> bool {
        self.keyspace_names > 0
    }

    /// May anybody hear the events of a kind?
    pub fn hears_keyevent(&self) -> bool {
        self.keyevent_names > 0
    }

    /// Are there subscriptions of clients that have ended?
    #[inline]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// A name got its first subscriber, or lost its last.
    fn count_event_names(&mut self, topic: Topic, name: &[u8], came: bool) {
        let about = |prefix: &[u8]| match topic {
            Topic::Channel => name.starts_with(prefix),
            Topic::Pattern => may_begin_with(name, prefix),
            Topic::ShardChannel => false,
        };
        let counts = [
            (about(b"__keyspace@"), &mut self.keyspace_names),
            (about(b"__keyevent@"), &mut self.keyevent_names),
        ];
        for (is_about, count) in counts {
            let one = usize::from(is_about);
            *count = if came { *count + one } else { *count - one };
        }
    }

    /// Takes a subscription out.
    fn forget(&mut self, topic: Topic, name: &[u8], who: ClientId) {
        if self.kinds[topic as usize].remove(name, who) {
            self.count_event_names(topic, name, false);
        }
    }

    /// Ends up to `max` subscriptions; what is left is kept for later.
    fn forget_some(&mut self, mut leaving: Leaving, max: usize) {
        let who = leaving.who;
        let mut left = max;
        for topic in TOPICS {
            for hash in leaving.kinds[topic as usize].by_ref().take(left) {
                left -= 1;
                let name = self.of(topic).name_of(hash, who).map(Box::<[u8]>::from);
                if let Some(name) = name {
                    self.forget(topic, &name, who);
                }
            }
        }
        if leaving.kinds.iter().any(|kind| kind.len() > 0) {
            self.leaving.push(leaving);
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
        let subscriptions = client.subscriptions.get_or_insert_default();
        let (hash, new, first) = self.pubsub.kinds[topic as usize].add(name, who);
        if new {
            subscriptions.of_mut(topic).add(hash);
            subscriptions.bytes += name.len() + NAME_BYTES;
        }
        let count = subscriptions.count(topic);
        client.flags |= client_flag::PUBSUB;
        client.settle_subscribed();
        if first {
            self.pubsub.count_event_names(topic, name, true);
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
        let hash = self.pubsub.of(topic).hash(name);
        let has = self.pubsub.of(topic).has(name, who);
        if has {
            subscriptions.of_mut(topic).remove(hash);
            subscriptions.bytes -= name.len() + NAME_BYTES;
            self.pubsub.forget(topic, name, who);
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
        let client = self.clients.get(who);
        let hashes = client.and_then(|client| client.subscriptions.as_ref());
        let names = self.pubsub.of(topic);
        hashes.map_or(Vec::new(), |s| {
            s.kinds[topic as usize]
                .iter()
                .filter_map(|hash| names.name_of(hash, who).map(Box::from))
                .collect()
        })
    }

    /// A client that ends, or starts anew, leaves every channel and pattern; one with very many, those
    /// it has not left yet in the next turns.
    pub fn unsubscribe_all(&mut self, who: ClientId, ends: bool) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let Some(subscriptions) = client.subscriptions.take() else {
            return;
        };
        client.flags &= !client_flag::PUBSUB;
        client.settle_subscribed();
        let max = if ends { ENDED_AT_ONCE_MAX } else { usize::MAX };
        let kinds = subscriptions.kinds.map(Hashes::into_iter);
        self.pubsub.forget_some(Leaving { who, kinds }, max);
        self.settle_events();
    }

    /// Ends some subscriptions of clients that have ended.
    #[cold]
    pub fn end_leaving_subscriptions(&mut self) {
        if let Some(leaving) = self.pubsub.leaving.pop() {
            self.pubsub.forget_some(leaving, ENDED_AT_ONCE_MAX);
        }
        self.settle_events();
    }

    /// Sends a message to all subscribers of a channel and of the patterns that match it; says how
    /// many got it. Encoded once for each protocol and kind.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let (outbox, clients) = (&mut self.outbox, &mut self.clients);
        let mut receivers = 0;
        if let Some(subscribers) = self.pubsub.of(Topic::Channel).get(channel) {
            let parts: [&[u8]; 3] = [b"message", channel, message];
            receivers += post(outbox, clients, subscribers, &parts);
        }
        if self.pubsub.len(Topic::Pattern) > 0 {
            for (pattern, subscribers) in self.pubsub.of(Topic::Pattern).iter() {
                if glob::matches(pattern, channel, false) {
                    let parts: [&[u8]; 4] = [b"pmessage", pattern, channel, message];
                    receivers += post(outbox, clients, subscribers, &parts);
                }
            }
        }
        receivers
    }

    /// SPUBLISH: to the subscribers of a shard channel, which no pattern matches.
    pub fn publish_to_shard(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let Some(subscribers) = self.pubsub.of(Topic::ShardChannel).get(channel) else {
            return 0;
        };
        let parts: [&[u8]; 3] = [b"smessage", channel, message];
        post(&mut self.outbox, &mut self.clients, subscribers, &parts)
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

/// Posts one push message to several clients, encoded once for each protocol that is spoken; to how
/// many.
fn post(outbox: &mut Outbox, clients: &mut Clients, to: Subscribers<'_>, parts: &[&[u8]]) -> usize {
    let mut encoded = [None, None];
    let mut count = 0;
    to.each(|slot, serial| {
        // Who has ended may stand here for some turns.
        let Some(client) = clients.at(slot).filter(|c| c.id.serial as u32 == serial) else {
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
