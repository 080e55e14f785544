//! Who subscribed to what.
use super::State;
use super::client::{ClientId, client_flag};
use crate::base::glob;
use std::collections::HashMap;

/// Channels and patterns with their subscribers.
#[derive(Debug, Default)]
pub struct PubSub {
    pub channels: HashMap<Box<[u8]>, Vec<ClientId>>,
    pub patterns: HashMap<Box<[u8]>, Vec<ClientId>>,
    pub shard_channels: HashMap<Box<[u8]>, Vec<ClientId>>,
}

impl State {
    /// A client that ends leaves every channel and pattern.
    pub fn unsubscribe_all(&mut self, who: ClientId) {
        if !self
            .clients
            .get(who)
            .is_some_and(|c| c.has(client_flag::PUBSUB))
        {
            return;
        }
        let tables = &mut self.pubsub;
        for table in [
            &mut tables.channels,
            &mut tables.patterns,
            &mut tables.shard_channels,
        ] {
            table.retain(|_, clients| {
                clients.retain(|c| *c != who);
                !clients.is_empty()
            });
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
}

/// Posts one push message to several clients, encoded once for each protocol that is spoken.
fn post(
    outbox: &mut super::outbox::Outbox,
    clients: &super::client::Clients,
    to: &[ClientId],
    parts: &[&[u8]],
) {
    let mut encoded = [None, None];
    for who in to {
        let Some(client) = clients.get(*who) else {
            continue;
        };
        let message = encoded[usize::from(client.resp3)].get_or_insert_with(|| {
            outbox.encode(|out| {
                let mut writer = crate::resp::reply::Writer::new(client.resp3);
                writer.push(parts.len());
                parts.iter().for_each(|part| writer.bulk(part));
                out.extend_from_slice(&writer.buf);
            })
        });
        outbox.post(*who, message.clone());
    }
}
