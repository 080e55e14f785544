//! Who subscribed to what, and how a message reaches them.
//!
//! Both sides know each other: a channel its subscribers, a client its channels, so that neither a
//! PUBLISH nor a client's end walks what does not concern it.
use super::State;
use super::client::{ClientId, Clients, client_flag};
use super::gate;
use super::outbox::Outbox;
use crate::base::glob;
use crate::resp::reply::Writer;
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
}

impl PubSub {
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
        if subscriptions.of_mut(topic).insert(name.into()) {
            subscriptions.bytes += name.len() + NAME_BYTES;
            let subscribers = self.pubsub.of_mut(topic).entry(name.into()).or_default();
            subscribers.insert(who);
        }
        let count = subscriptions.count(topic);
        client.flags |= client_flag::PUBSUB;
        client.settle_subscribed();
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
        if subscriptions.of_mut(topic).remove(name) {
            subscriptions.bytes -= name.len() + NAME_BYTES;
            forget(self.pubsub.of_mut(topic), name, who);
        }
        let count = subscriptions.count(topic);
        if subscriptions.is_empty() {
            client.subscriptions = None;
            client.flags &= !client_flag::PUBSUB;
        }
        client.settle_subscribed();
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
                forget(self.pubsub.of_mut(topic), name, who);
            }
        }
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

fn forget(table: &mut Subscribers, name: &[u8], who: ClientId) {
    if let Some(clients) = table.get_mut(name) {
        clients.remove(&who);
        if clients.is_empty() {
            table.remove(name);
        }
    }
}

/// Posts one push message to several clients, encoded once for each protocol that is spoken.
fn post(outbox: &mut Outbox, clients: &Clients, to: &HashSet<ClientId>, parts: &[&[u8]]) {
    let mut encoded = [None, None];
    for who in to {
        let Some(client) = clients.get(*who) else {
            continue;
        };
        let message = encoded[usize::from(client.resp3)].get_or_insert_with(|| {
            outbox.encode(|out| {
                let mut writer = Writer::new(client.resp3);
                writer.push(parts.len());
                parts.iter().for_each(|part| writer.bulk(part));
                out.extend_from_slice(&writer.buf);
            })
        });
        outbox.post(*who, message.clone());
    }
}
