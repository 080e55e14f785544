//! The ids of a stream's entries: a time in milliseconds and a number within it.

use std::fmt;

use crate::base::num;

/// The id of an entry. Ids of a stream only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix milliseconds, when the id was made by a server.
    pub ms: u64,
    /// Tells entries of one millisecond apart.
    pub seq: u64,
}

/// Bytes of the longest id as text.
pub const TEXT_MAX: usize = 41;

impl StreamId {
    /// `0-0`, which no entry has.
    pub const ZERO: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last of all.
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An id of its two halves.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The id behind this one; none behind the last of all.
    pub fn next(self) -> Option<StreamId> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The id before this one; none before `0-0`.
    pub fn prev(self) -> Option<StreamId> {
        match (self.seq.checked_sub(1), self.ms.checked_sub(1)) {
            (Some(seq), _) => Some(StreamId { seq, ..self }),
            (None, Some(ms)) => Some(StreamId { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// The form in which files carry it, and in whose order they have their nodes.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of that form.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }

    /// `ms-seq`; `buf` lends the room.
    #[inline]
    pub fn text(self, buf: &mut [u8; TEXT_MAX]) -> &[u8] {
        let mut at = TEXT_MAX;
        at = put_digits(buf, at, self.seq);
        at -= 1;
        buf[at] = b'-';
        at = put_digits(buf, at, self.ms);
        &buf[at..]
    }

    /// Reads `ms-seq` or `ms`, which stands for `ms-<missing_seq>`, as Redis does: a NUL ends the
    /// text, and each half may have what C's `strtoull` takes.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<StreamId> {
        match Partial::parse(text, missing_seq)? {
            Partial::Whole(id) => Some(id),
            Partial::AnySeq(_) => None,
        }
    }
}

/// Writes digits that end before `end`; returns where they begin.
#[inline]
fn put_digits(buf: &mut [u8; TEXT_MAX], end: usize, value: u64) -> usize {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    let at = end - digits.len();
    buf[at..end].copy_from_slice(digits);
    at
}

/// An id as XADD takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Both halves.
    Whole(StreamId),
    /// `ms-*`: the number is the server's to choose.
    AnySeq(u64),
}

impl Partial {
    /// Reads an id; see [`StreamId::parse`].
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Partial> {
        const LONGEST: usize = 127;
        if text.len() > LONGEST {
            return None;
        }
        let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
        let Some(dash) = memchr::memchr(b'-', text) else {
            let ms = num::parse_u64_loose(text)?;
            return Some(Partial::Whole(StreamId::new(ms, missing_seq)));
        };
        let ms = num::parse_u64_loose(&text[..dash])?;
        if &text[dash + 1..] == b"*" {
            return Some(Partial::AnySeq(ms));
        }
        let seq = num::parse_u64_loose(&text[dash + 1..])?;
        Some(Partial::Whole(StreamId::new(ms, seq)))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_over() {
        let id = StreamId::new;
        assert_eq!(id(1, 5).next(), Some(id(1, 6)));
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(id(1, 5).prev(), Some(id(1, 4)));
        assert_eq!(id(1, 0).prev(), Some(id(0, u64::MAX)));
        assert_eq!(StreamId::ZERO.prev(), None);
    }

    #[test]
    fn text_and_bytes_go_both_ways() {
        for id in [
            StreamId::ZERO,
            StreamId::MAX,
            StreamId::new(1_526_919_030_474, 55),
        ] {
            let mut buf = [0; TEXT_MAX];
            assert_eq!(id.text(&mut buf), id.to_string().as_bytes());
            assert_eq!(StreamId::parse(id.text(&mut buf), 9), Some(id));
            assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        }
        assert!(StreamId::new(1, u64::MAX).to_bytes() < StreamId::new(2, 0).to_bytes());
    }

    #[test]
    fn odd_texts() {
        let parse = |text: &[u8]| StreamId::parse(text, 7);
        assert_eq!(parse(b"5"), Some(StreamId::new(5, 7)));
        assert_eq!(parse(b"05-+6"), Some(StreamId::new(5, 6)));
        assert_eq!(parse(b"5\0-9"), Some(StreamId::new(5, 7)));
        for bad in [
            &b""[..],
            b"-",
            b"+",
            b"5-",
            b"-5",
            b"5-6-7",
            b"a",
            b"5-*",
            b"5-6x",
        ] {
            assert_eq!(parse(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(parse(&[b'0'; 128]), None);
        assert_eq!(Partial::parse(b"5-*", 0), Some(Partial::AnySeq(5)));
        assert_eq!(Partial::parse(b"5-**", 0), None);
    }
}
