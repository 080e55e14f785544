//! Messages for other clients than the one whose command runs.
//!
//! A handler never touches another client's output. It posts here; the server drains the box behind
//! the reply of the running command, so a message neither overtakes a reply nor is overtaken.
use super::client::ClientId;
use crate::resp::reply::{BY_REF_MIN, Writer};
use bytes::Bytes;
use std::ops::Range;

/// A message on its way into an output.
#[derive(Debug, Clone, Copy)]
pub enum Message<'a> {
    Copied(&'a [u8]),
    Shared(&'a Bytes),
}

impl Message<'_> {
    /// Its bytes.
    #[allow(clippy::len_without_is_empty)] // None is empty.
    pub fn len(&self) -> usize {
        match self {
            Message::Copied(bytes) => bytes.len(),
            Message::Shared(bytes) => bytes.len(),
        }
    }

    /// Appends it.
    #[inline]
    pub fn append_to(self, out: &mut Writer) {
        match self {
            Message::Copied(bytes) => out.raw(bytes),
            Message::Shared(bytes) => out.raw_ref(bytes.clone()),
        }
    }
}

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

    /// Appends what is posted to one client, ahead of all others.
    #[cold]
    pub fn hand_over(&mut self, to: ClientId, out: &mut Writer) {
        let bytes = &self.bytes;
        self.posts.retain(|(who, range)| {
            if *who == to {
                out.raw(&bytes[range.clone()]);
            }
            *who != to
        });
        if self.posts.is_empty() {
            self.bytes.clear();
        }
    }

    /// Hands every post to `deliver`, oldest first, and empties the box.
    pub fn drain(&mut self, mut deliver: impl FnMut(ClientId, Message<'_>)) {
        let mut shared = (0..0, Bytes::new());
        for (to, range) in self.posts.drain(..) {
            let bytes = &self.bytes[range.clone()];
            if bytes.len() < BY_REF_MIN {
                deliver(to, Message::Copied(bytes));
                continue;
            }
            // A large one is one for all who get it.
            if shared.0 != range {
                shared = (range, Bytes::copy_from_slice(bytes));
            }
            deliver(to, Message::Shared(&shared.1));
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
