//! Messages for other clients than the one whose command runs.
//!
//! A handler never touches another client's output. It posts here; the server drains the box behind
//! the reply of the running command, so a message neither overtakes a reply nor is overtaken.
use super::client::ClientId;
use crate::resp::reply::{BY_REF_MIN, Mark, Writer};
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
    /// Who was last handed something in front of a reply: the client, how many requests it had sent, and
    /// where the reply begins.
    handed: Option<(ClientId, u64, Mark)>,
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

    /// Appends what is posted to one client, ahead of all others, and in front of the reply to the
    /// request of that number.
    #[cold]
    pub fn hand_over(&mut self, to: ClientId, request: u64, out: &mut Writer) {
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
        self.handed = Some((to, request, out.mark()));
    }

    /// Where the reply to a client's request of that number begins, if anything was handed over in front
    /// of it: the reply may be taken back, what stands before it not.
    pub fn reply_begins(&self, to: ClientId, request: u64) -> Option<Mark> {
        let handed = self.handed.filter(|h| (h.0, h.1) == (to, request));
        handed.map(|(_, _, mark)| mark)
    }

    /// Hands every post to `deliver`, oldest first, and empties the box.
    pub fn drain(&mut self, mut deliver: impl FnMut(ClientId, Message<'_>)) {
        // The last two large ones, the newer first: one message is posted in two protocols by turns.
        let mut shared = [(0..0, Bytes::new()), (0..0, Bytes::new())];
        for (to, range) in self.posts.drain(..) {
            let bytes = &self.bytes[range.clone()];
            if bytes.len() < BY_REF_MIN {
                deliver(to, Message::Copied(bytes));
                continue;
            }
            // A large one is one for all who get it.
            if shared[0].0 != range {
                shared.swap(0, 1);
                if shared[0].0 != range {
                    shared[0] = (range, Bytes::copy_from_slice(bytes));
                }
            }
            deliver(to, Message::Shared(&shared[0].1));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn client(slot: u32) -> ClientId {
        ClientId { slot, serial: 1 }
    }

    #[test]
    fn a_large_message_in_two_protocols_is_copied_twice_in_all() {
        let mut outbox = Outbox::default();
        let [a, b, c] = [b'a', b'b', b'c']
            .map(|byte| outbox.encode(|out| out.resize(out.len() + BY_REF_MIN, byte)));
        for n in 0..50 {
            let message = if n % 3 == 0 { &a } else { &b };
            outbox.post(client(n), message.clone());
        }
        outbox.post(client(50), c);
        let mut copies = Vec::new();
        let mut got = String::new();
        outbox.drain(|_, message| {
            let Message::Shared(bytes) = message else {
                panic!("it is worth a reference")
            };
            // Kept, so that no address is used again.
            copies.push(bytes.clone());
            got.push(bytes[0] as char);
        });
        assert_eq!(got[..6], *"abbabb");
        assert!(got.ends_with("ac") || got.ends_with("bc"));
        let mut places: Vec<_> = copies.iter().map(|bytes| bytes.as_ptr()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn what_was_handed_over_stands_in_front_of_its_own_reply_only() {
        let mut outbox = Outbox::default();
        for (to, text) in [(1, "x"), (2, "y"), (1, "z")] {
            let message = outbox.encode(|out| out.extend_from_slice(text.as_bytes()));
            outbox.post(client(to), message);
        }
        let mut out = Writer::new(false);
        let before = out.mark();
        outbox.hand_over(client(1), 7, &mut out);
        assert_eq!(out.to_vec(), b"xz");
        assert_eq!(outbox.reply_begins(client(1), 7), Some(out.mark()));
        assert_ne!(out.mark(), before);
        assert_eq!(outbox.reply_begins(client(1), 8), None);
        assert_eq!(outbox.reply_begins(client(2), 7), None);
        let mut left = Vec::new();
        outbox.drain(|to, _| left.push(to.slot));
        assert_eq!(left, [2]);
    }
}
