//! Who subscribed to what, and how a message reaches them.
//!
//! Both sides know each other: a channel its subscribers, a client its channels, so that neither a
//! PUBLISH nor a client's end walks what does not concern it.
use super::State;
use super::client::{ClientId, Clients, client_flag};
use super::gate;
use super::outbox::Outbox;
use crate::base::glob;
use std::collections::{HashMap, HashSet};

/// What a client subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Channel,
    Pattern,
    /// A channel that belongs to a slot.
    ShardChannel,
}

type Names = HashSet<Box<[u8]>>;
type Subscribers = HashMap<Box<[u8]>, HashSet<ClientId>>;

/// What a subscription takes besides the name.
const NAME_BYTES: usize = size_of::<Box<[u8]>>() + size_of::<ClientId>() + 16;

/// Channels and patterns with their subscribers; a name without any is not kept.
#[derive(Debug, Default)]
pub struct PubSub {
    pub channels: Subscribers,
    pub patterns: Subscribers,
    pub shard_channels: Subscribers,
    /// Channels and patterns that events of a key, and those of a kind, may reach.
    keyspace_names: usize,
    keyevent_names: usize,
}

impl PubSub {
    /// May anybody hear the events of a key?
    pub fn hears_keyspace(&self) -> bool {
        self.keyspace_names > 0
    }

    /// May anybody hear the events of a kind?
    pub fn hears_keyevent(&self) -> bool {
        self.keyevent_names > 0
    }

    /// A name got its first subscriber, or lost its last; whether it is about events.
    fn count_event_names(&mut self, topic: Topic, name: &[u8], came: bool) -> bool {
        let about = |prefix: &[u8]| match topic {
            Topic::Channel => name.starts_with(prefix),
            Topic::Pattern => may_begin_with(name, prefix),
            Topic::ShardChannel => false,
        };
        let counts = [
            (about(b"__keyspace@"), &mut self.keyspace_names),
            (about(b"__keyevent@"), &mut self.keyevent_names),
        ];
        let mut any = false;
        for (is_about, count) in counts {
            let one = usize::from(is_about);
            *count = if came { *count + one } else { *count - one };
            any |= is_about;
        }
        any
    }

    /// The names of a kind, with their subscribers.
    pub fn of(&self, topic: Topic) -> &Subscribers {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut Subscribers {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }
}

/// What one client subscribed to.
#[derive(Debug, Default)]
pub struct Subscriptions {
    pub channels: Names,
    pub patterns: Names,
    pub shard_channels: Names,
    /// What the names take, here and in the tables of all channels.
    pub bytes: usize,
}

impl Subscriptions {
    /// The names of a kind.
    pub fn of(&self, topic: Topic) -> &Names {
        match topic {
            Topic::Channel => &self.channels,
            Topic::Pattern => &self.patterns,
            Topic::ShardChannel => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut Names {
        match topic {
            Topic::Channel => &mut self.channels,
            Topic::Pattern => &mut self.patterns,
            Topic::ShardChannel => &mut self.shard_channels,
        }
    }

    fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    /// The number a reply to (P)SUBSCRIBE or SSUBSCRIBE carries: shard channels count alone.
    pub fn count(&self, topic: Topic) -> usize {
        match topic {
            Topic::ShardChannel => self.shard_channels.len(),
            _ => self.channels.len() + self.patterns.len(),
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
        let mut changed = false;
        if subscriptions.of_mut(topic).insert(name.into()) {
            subscriptions.bytes += name.len() + NAME_BYTES;
            let subscribers = self.pubsub.of_mut(topic).entry(name.into()).or_default();
            subscribers.insert(who);
            if subscribers.len() == 1 {
                changed = self.pubsub.count_event_names(topic, name, true);
            }
        }
        let count = subscriptions.count(topic);
        client.flags |= client_flag::PUBSUB;
        client.settle_subscribed();
        if changed {
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
        let mut changed = false;
        if subscriptions.of_mut(topic).remove(name) {
            subscriptions.bytes -= name.len() + NAME_BYTES;
            if forget(self.pubsub.of_mut(topic), name, who) {
                changed = self.pubsub.count_event_names(topic, name, false);
            }
        }
        let count = subscriptions.count(topic);
        if subscriptions.is_empty() {
            client.subscriptions = None;
            client.flags &= !client_flag::PUBSUB;
        }
        client.settle_subscribed();
        if changed {
            self.settle_events();
        }
        count
    }

    /// A client that ends, or starts anew, leaves every channel and pattern.
    pub fn unsubscribe_all(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let Some(subscriptions) = client.subscriptions.take() else {
            return;
        };
        client.flags &= !client_flag::PUBSUB;
        client.settle_subscribed();
        for topic in [Topic::Channel, Topic::Pattern, Topic::ShardChannel] {
            for name in subscriptions.of(topic) {
                if forget(self.pubsub.of_mut(topic), name, who) {
                    self.pubsub.count_event_names(topic, name, false);
                }
            }
        }
        self.settle_events();
    }

    /// Sends a message to all subscribers of a channel and of the patterns that match it; says how
    /// many got it. Encoded once for each protocol and kind.
    pub fn publish(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let mut receivers = 0;
        if let Some(clients) = self.pubsub.channels.get(channel) {
            receivers += clients.len();
            let parts: [&[u8]; 3] = [b"message", channel, message];
            post(&mut self.outbox, &self.clients, clients, &parts);
        }
        for (pattern, clients) in &self.pubsub.patterns {
            if glob::matches(pattern, channel, false) {
                receivers += clients.len();
                let parts: [&[u8]; 4] = [b"pmessage", pattern, channel, message];
                post(&mut self.outbox, &self.clients, clients, &parts);
            }
        }
        receivers
    }

    /// SPUBLISH: to the subscribers of a shard channel, which no pattern matches.
    pub fn publish_to_shard(&mut self, channel: &[u8], message: &[u8]) -> usize {
        let Some(clients) = self.pubsub.shard_channels.get(channel) else {
            return 0;
        };
        let parts: [&[u8]; 3] = [b"smessage", channel, message];
        post(&mut self.outbox, &self.clients, clients, &parts);
        clients.len()
    }
}

impl super::client::Client {
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

/// Takes a subscriber away; whether it was the last one.
fn forget(table: &mut Subscribers, name: &[u8], who: ClientId) -> bool {
    if let Some(clients) = table.get_mut(name) {
        clients.remove(&who);
        if clients.is_empty() {
            table.remove(name);
            return true;
        }
    }
    false
}

/// Posts one push message to several clients, encoded once for each protocol that is spoken.
fn post(outbox: &mut Outbox, clients: &Clients, to: &HashSet<ClientId>, parts: &[&[u8]]) {
    let mut encoded = [None, None];
    for who in to {
        let Some(client) = clients.get(*who) else {
            continue;
        };
        let message = encoded[usize::from(client.resp3)].get_or_insert_with(|| {
            outbox.write(client.resp3, |out| {
                out.push(parts.len());
                parts.iter().for_each(|part| out.bulk(part));
            })
        });
        outbox.post(*who, message.clone());
    }
}
