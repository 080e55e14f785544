//! Messages for other clients than the one whose command runs.
//!
//! A handler never touches another client's output. It posts here; the server drains the box behind
//! the reply of the running command, so a message neither overtakes a reply nor is overtaken.
use super::client::ClientId;
use crate::resp::reply::Writer;
use std::ops::Range;

/// Bytes waiting to be appended to clients' outputs, encoded once however many get them.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    posts: Vec<(ClientId, Range<usize>)>,
}

impl Outbox {
    /// Is there nothing to deliver?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// Encodes a message; the range may be posted to any number of clients.
    pub fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }

    /// The same, in the client's protocol.
    pub fn write(&mut self, resp3: bool, write: impl FnOnce(&mut Writer)) -> Range<usize> {
        let start = self.bytes.len();
        let mut writer = Writer::new(resp3);
        writer.buf = std::mem::take(&mut self.bytes);
        write(&mut writer);
        self.bytes = writer.buf;
        start..self.bytes.len()
    }

    /// A place among the posts, to come back to before the box is next drained.
    pub fn place(&self) -> usize {
        self.posts.len()
    }

    /// Puts the last post in front of those made since: a reply, in front of what its command caused.
    pub fn advance_last(&mut self, place: usize) {
        if let Some(since) = self.posts.get_mut(place..)
            && !since.is_empty()
        {
            since.rotate_right(1);
        }
    }

    /// Posts an encoded message to a client.
    pub fn post(&mut self, to: ClientId, message: Range<usize>) {
        self.posts.push((to, message));
    }

    /// Hands every post to `deliver`, oldest first, and empties the box.
    pub fn drain(&mut self, mut deliver: impl FnMut(ClientId, &[u8])) {
        for (to, range) in self.posts.drain(..) {
            deliver(to, &self.bytes[range]);
        }
        self.bytes.clear();
        if self.bytes.capacity() > 1 << 20 {
            self.trim();
        }
    }

    /// Bytes it holds, in use or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.posts.capacity() * size_of::<(ClientId, Range<usize>)>()
    }

    /// Gives back most of the room of an empty box.
    pub fn trim(&mut self) {
        self.bytes.shrink_to(1 << 16);
        self.posts.shrink_to(1 << 10);
    }
}
