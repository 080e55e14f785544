//! Listpack: many short strings and integers in one run of bytes, as Redis lays them out.
//!
//! Small hashes, lists, sets, sorted sets and the nodes of streams are kept, saved and sent in
//! this form, so the bytes written here are exactly those a Redis server would write:
//!
//! ```text
//! total bytes: u32 LE | elements: u16 LE (65535 = count them) | element ... | 0xFF
//! element: head (encoding, length or value) | text or integer bytes | length of the former two
//! ```
//!
//! The trailing length of each element is what makes walking backwards possible.
//!
//! This file reads ([`Pack`], a borrowed view), `edit` writes (functions on a `Vec<u8>`), `check`
//! judges bytes that came from outside. Reading and writing never panic, whatever the bytes: an
//! element that cannot be decoded ends the walk, so garbage reads as a shorter pack. Bytes from
//! files and clients are still to be passed through [`Pack::validate`] first, because only that
//! says that they are whole.
//!
//! A position is the offset of an element's first byte (`usize`), good until the next edit.

mod check;
mod edit;

pub use check::{Corrupt, fuzz_listpack};
pub use edit::{
    Element, Side, Tail, delete, delete_equal, delete_range, delete_run, header, insert,
    insert_int, merge, new, push_back, push_back_all, push_back_int, push_back_val, push_front,
    push_front_int, replace, replace_int, replace_int_in_place,
};

use crate::base::num;

/// Bytes before the first element.
pub const HEADER: usize = 6;
/// The last byte of every pack.
const END: u8 = 0xFF;
/// The count in the header that says "walk to know".
const COUNT_UNKNOWN: u16 = u16::MAX;
/// Redis keeps packs below 1 GiB, and so the lengths in the header far from their limit.
pub const BYTES_MAX: usize = 1 << 30;
/// The pack without elements.
pub const EMPTY: [u8; 7] = [7, 0, 0, 0, 0, 0, END];
/// The most that an element costs beside its text: head and trailing length.
pub const OVERHEAD_MAX: usize = 10;

/// One element: text, or an integer that stands for its shortest decimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Val<'a> {
    /// Bytes as they were given.
    Str(&'a [u8]),
    /// Text that was a canonical `i64`.
    Int(i64),
}

impl<'a> Val<'a> {
    /// The value that a pack would keep for `text`: an integer where the text is a canonical one.
    pub fn of(text: &'a [u8]) -> Val<'a> {
        match canonical_int(text) {
            Some(int) => Val::Int(int),
            None => Val::Str(text),
        }
    }

    /// Bytes of the text.
    pub fn len(self) -> usize {
        match self {
            Val::Str(text) => text.len(),
            Val::Int(int) => num::len_i64(int),
        }
    }

    /// Whether the text is empty.
    pub fn is_empty(self) -> bool {
        matches!(self, Val::Str(b""))
    }

    /// The text; `buf` lends the room for an integer's digits.
    pub fn text<'b>(self, buf: &'b mut [u8; 20]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Val::Str(text) => text,
            Val::Int(int) => num::fmt_i64(int, buf),
        }
    }

    /// Appends the text to `out`.
    pub fn push_to(self, out: &mut Vec<u8>) {
        match self {
            Val::Str(text) => out.extend_from_slice(text),
            Val::Int(int) => num::push_i64(out, int),
        }
    }

    /// The text in a vector of its own.
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Val::Str(text) => text.to_vec(),
            Val::Int(int) => num::fmt_i64(int, &mut [0; 20]).to_vec(),
        }
    }

    /// The integer, also when a text that reads as one was stored as text by somebody else.
    pub fn as_int(self) -> Option<i64> {
        match self {
            Val::Str(text) => num::parse_i64(text),
            Val::Int(int) => Some(int),
        }
    }

    /// Whether the text equals `text`.
    pub fn is(self, text: &[u8]) -> bool {
        match self {
            Val::Str(own) => own == text,
            Val::Int(int) => canonical_int(text) == Some(int),
        }
    }
}

/// A borrowed view of a pack.
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a> {
    bytes: &'a [u8],
}

impl<'a> Pack<'a> {
    /// A view of `bytes`, which are not looked at yet.
    pub fn new(bytes: &'a [u8]) -> Pack<'a> {
        Pack { bytes }
    }

    /// The bytes of the pack.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// How many elements; walks the pack where the header does not know (65,535 and more).
    pub fn len(self) -> usize {
        match stored_count(self.bytes) {
            COUNT_UNKNOWN => self.count_by_walking(),
            count => usize::from(count),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.first().is_none()
    }

    fn count_by_walking(self) -> usize {
        let (mut count, mut at) = (0, HEADER);
        while let Some(next) = after(self.bytes, at) {
            at = next;
            count += 1;
        }
        count
    }

    /// The position of the first element.
    #[inline]
    pub fn first(self) -> Option<usize> {
        body_len(self.bytes, HEADER).map(|_| HEADER)
    }

    /// The position of the last element.
    #[inline]
    pub fn last(self) -> Option<usize> {
        before(self.bytes, self.bytes.len().checked_sub(1)?)
    }

    /// The position of the element behind the one at `at`.
    #[inline]
    pub fn next(self, at: usize) -> Option<usize> {
        let next = after(self.bytes, at)?;
        body_len(self.bytes, next).map(|_| next)
    }

    /// The position of the element before the one at `at`.
    #[inline]
    pub fn prev(self, at: usize) -> Option<usize> {
        before(self.bytes, at)
    }

    /// The element at a position.
    #[inline]
    pub fn val(self, at: usize) -> Option<Val<'a>> {
        decode(self.bytes, at).map(|(val, _)| val)
    }

    /// The position of the element number `index`; negative numbers count from the end.
    pub fn seek(self, index: i64) -> Option<usize> {
        // Where the count is known a wrong index is refused without a walk, and the walk starts
        // from the nearer end.
        let mut index = index;
        let count = stored_count(self.bytes);
        if count != COUNT_UNKNOWN {
            let count = i64::from(count);
            if index >= count || index < -count {
                return None;
            }
            if index >= 0 && index > count / 2 {
                index -= count;
            } else if index < 0 && index + count < count / 2 {
                index += count;
            }
        }
        if index >= 0 {
            let mut at = self.first()?;
            for _ in 0..index {
                at = self.next(at)?;
            }
            Some(at)
        } else {
            let mut at = self.last()?;
            for _ in index + 1..0 {
                at = self.prev(at)?;
            }
            Some(at)
        }
    }

    /// The element number `index`; negative numbers count from the end.
    pub fn get(self, index: i64) -> Option<Val<'a>> {
        self.val(self.seek(index)?)
    }

    /// The position of the first element equal to `text`, looking from `at` on and leaving out
    /// `skip` elements after each one looked at (1: only the fields of field-value pairs).
    pub fn find(self, at: usize, text: &[u8], skip: usize) -> Option<usize> {
        let int = canonical_int(text);
        let mut at = at;
        loop {
            let (same, mut next) = match_at(self.bytes, at, text, int)?;
            if same {
                return Some(at);
            }
            for _ in 0..skip {
                next = after(self.bytes, next)?;
            }
            at = next;
        }
    }

    /// Field-value packs: the position of the field `text`.
    #[inline]
    pub fn find_field(self, text: &[u8]) -> Option<usize> {
        self.find(HEADER, text, 1)
    }

    /// Field-value packs: the value of the field `text`.
    #[inline]
    pub fn value_of(self, text: &[u8]) -> Option<Val<'a>> {
        let at = self.find_field(text)?;
        self.val(after(self.bytes, at)?)
    }

    /// All elements, from either end.
    pub fn iter(self) -> Iter<'a> {
        Iter {
            bytes: self.bytes,
            front: HEADER,
            back: self.bytes.len().saturating_sub(1),
        }
    }

    /// The elements from the position `at` on.
    pub fn iter_from(self, at: usize) -> Iter<'a> {
        Iter {
            front: at,
            ..self.iter()
        }
    }

    /// The elements two by two: fields and values, members and scores.
    pub fn pairs(self) -> Pairs<'a> {
        Pairs { items: self.iter() }
    }
}

impl<'a> IntoIterator for Pack<'a> {
    type Item = Val<'a>;
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over the elements of a pack.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    bytes: &'a [u8],
    /// HEADER <= front <= back < bytes.len(), while the pack is sound.
    front: usize,
    back: usize,
}

impl Iter<'_> {
    /// The position of the element that `next` would return.
    pub fn position(&self) -> usize {
        self.front
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Val<'a>;

    #[inline]
    fn next(&mut self) -> Option<Val<'a>> {
        if self.front >= self.back {
            return None;
        }
        let (val, next) = decode(self.bytes, self.front)?;
        self.front = next;
        Some(val)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Val<'a>> {
        if self.front >= self.back {
            return None;
        }
        let at = before(self.bytes, self.back)?;
        let (val, _) = decode(self.bytes, at)?;
        self.back = at;
        Some(val)
    }
}

/// Iterator over the elements of a pack two by two. A last element without partner is left out.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    items: Iter<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Val<'a>, Val<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.items.next()?, self.items.next()?))
    }
}

/// The element count as the header has it.
fn stored_count(bytes: &[u8]) -> u16 {
    match bytes.get(4..HEADER) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

/// The integer that `text` is stored as, if it is. The first byte settles it for most texts.
#[inline]
fn canonical_int(text: &[u8]) -> Option<i64> {
    match text.first() {
        Some(b'0'..=b'9' | b'-') if text.len() <= 20 => num::parse_i64(text),
        _ => None,
    }
}

/// Bytes of the trailing length of an element whose head and text take `body` bytes. The odd
/// limits (16,383 already takes three) are Redis's, and are part of the format.
#[inline]
fn back_len(body: usize) -> usize {
    match body {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// Bytes of head and text of the element at `at`; `None` at the end mark and on garbage.
#[inline]
fn body_len(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    Some(match *rest.first()? {
        0x00..=0x7F => 1,
        head @ 0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        head @ 0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(*rest.get(1)?)),
        0xF0 => 5 + long_text_len(rest)?,
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        _ => return None,
    })
}

/// The 32-bit text length behind a 0xF0 head.
fn long_text_len(rest: &[u8]) -> Option<usize> {
    let len = rest.get(1..5)?.try_into().map(u32::from_le_bytes).ok()?;
    usize::try_from(len).ok()
}

/// Where the element at `at` ends, which is where the next one or the end mark starts.
#[inline]
fn after(bytes: &[u8], at: usize) -> Option<usize> {
    let body = body_len(bytes, at)?;
    let next = at + body + back_len(body);
    (next < bytes.len()).then_some(next)
}

/// The position of the element that ends at `end`.
#[inline]
fn before(bytes: &[u8], end: usize) -> Option<usize> {
    let (mut body, mut size) = (0usize, 0);
    loop {
        let byte = *bytes.get(end.checked_sub(size + 1)?)?;
        body |= usize::from(byte & 0x7F) << (7 * size);
        size += 1;
        if byte & 0x80 == 0 {
            break;
        }
        if size == 5 {
            return None;
        }
    }
    let at = end.checked_sub(size)?.checked_sub(body)?;
    (at >= HEADER && body > 0).then_some(at)
}

/// The element at `at` and where it ends.
#[inline]
fn decode(bytes: &[u8], at: usize) -> Option<(Val<'_>, usize)> {
    let next = after(bytes, at)?;
    let rest = &bytes[at..next];
    let val = match rest[0] {
        head @ 0x00..=0x7F => Val::Int(i64::from(head)),
        head @ 0x80..=0xBF => Val::Str(rest.get(1..1 + usize::from(head & 0x3F))?),
        head @ 0xE0..=0xEF => {
            let len = usize::from(head & 0x0F) << 8 | usize::from(*rest.get(1)?);
            Val::Str(rest.get(2..2 + len)?)
        }
        0xF0 => Val::Str(rest.get(5..5 + long_text_len(rest)?)?),
        _ => Val::Int(decode_int(rest)?),
    };
    Some((val, next))
}

/// The integer of an element that starts with an integer head of more than one byte.
fn decode_int(rest: &[u8]) -> Option<i64> {
    Some(match *rest.first()? {
        head @ 0xC0..=0xDF => {
            // 13 bits, moved to the top of an i16 and back to spread the sign.
            let bits = u16::from(head & 0x1F) << 8 | u16::from(*rest.get(1)?);
            i64::from((bits << 3).cast_signed() >> 3)
        }
        0xF1 => i64::from(i16::from_le_bytes(rest.get(1..3)?.try_into().ok()?)),
        0xF2 => {
            let low = rest.get(1..4)?;
            i64::from(i32::from_le_bytes([0, low[0], low[1], low[2]]) >> 8)
        }
        0xF3 => i64::from(i32::from_le_bytes(rest.get(1..5)?.try_into().ok()?)),
        0xF4 => i64::from_le_bytes(rest.get(1..9)?.try_into().ok()?),
        _ => return None,
    })
}

/// Whether the element at `at` is `text` (whose integer is `int`), and where the element ends.
/// The body is touched only where the lengths agree.
#[inline]
fn match_at(bytes: &[u8], at: usize, text: &[u8], int: Option<i64>) -> Option<(bool, usize)> {
    let rest = bytes.get(at..)?;
    let (head_len, text_len) = match *rest.first()? {
        head @ 0x80..=0xBF => (1, usize::from(head & 0x3F)),
        head @ 0xE0..=0xEF => (
            2,
            usize::from(head & 0x0F) << 8 | usize::from(*rest.get(1)?),
        ),
        0xF0 => (5, long_text_len(rest)?),
        head @ 0x00..=0x7F => return step(bytes, at, 1, int == Some(i64::from(head))),
        _ => {
            let body = body_len(bytes, at)?;
            let same = int.is_some() && decode_int(rest) == int;
            return step(bytes, at, body, same);
        }
    };
    let same = text_len == text.len() && rest.get(head_len..head_len + text_len)? == text;
    step(bytes, at, head_len + text_len, same)
}

#[inline]
fn step(bytes: &[u8], at: usize, body: usize, same: bool) -> Option<(bool, usize)> {
    let next = at + body + back_len(body);
    (next < bytes.len()).then_some((same, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack_of(texts: &[&[u8]]) -> Vec<u8> {
        let mut pack = new();
        texts.iter().for_each(|text| {
            push_back(&mut pack, text);
        });
        pack
    }

    #[test]
    fn reads_what_redis_wrote() {
        // HSET h ZIP 127 f -1 g <64 x> h 1048576, DUMPed by redis-server 7.0.15 without compression.
        let mut bytes =
            b"\x71\x00\x00\x00\x08\x00\x83ZIP\x04\x7f\x01\x81f\x02\xdf\xff\x02".to_vec();
        bytes.extend_from_slice(b"\x81g\x02\xe0\x40");
        bytes.extend_from_slice(&[b'x'; 64]);
        bytes.extend_from_slice(b"\x42\x81h\x02\xf2\x00\x00\x10\x04\xff");
        bytes[0] = bytes.len() as u8;
        let pack = Pack::new(&bytes);
        assert_eq!(pack.validate(true), Ok(()));
        assert_eq!(pack.value_of(b"ZIP"), Some(Val::Int(127)));
        assert_eq!(pack.value_of(b"f"), Some(Val::Int(-1)));
        assert_eq!(pack.value_of(b"g").map(Val::len), Some(64));
        assert_eq!(pack.value_of(b"h"), Some(Val::Int(1_048_576)));
        assert_eq!(pack.value_of(b"127"), None);
        let again = pack_of(&[
            b"ZIP",
            b"127",
            b"f",
            b"-1",
            b"g",
            &[b'x'; 64],
            b"h",
            b"1048576",
        ]);
        assert_eq!(again, bytes);
    }

    #[test]
    fn finds_texts_and_integers() {
        let bytes = pack_of(&[
            b"1", b"one", b"one", b"1", b"007", b"x", b"-300", b"", b"", b"70000",
        ]);
        let pack = Pack::new(&bytes);
        assert_eq!(pack.value_of(b"one"), Some(Val::Int(1)));
        assert_eq!(pack.value_of(b"1"), Some(Val::Str(b"one")));
        assert_eq!(pack.value_of(b"007"), Some(Val::Str(b"x")));
        assert_eq!(pack.value_of(b"-300"), Some(Val::Str(b"")));
        assert_eq!(pack.value_of(b""), Some(Val::Int(70_000)));
        assert_eq!(pack.value_of(b"7"), None);
        assert_eq!(pack.find(HEADER, b"70000", 0), pack.last());
        assert_eq!(pack.find(HEADER, b"70000", 1), None);
        assert_eq!(pack.pairs().count(), 5);
    }

    #[test]
    fn walks_meet_in_the_middle() {
        let bytes = pack_of(&[b"a", b"b", b"c"]);
        let mut iter = Pack::new(&bytes).iter();
        assert_eq!(iter.next(), Some(Val::Str(b"a")));
        assert_eq!(iter.next_back(), Some(Val::Str(b"c")));
        assert_eq!(iter.next(), Some(Val::Str(b"b")));
        assert_eq!((iter.next(), iter.next_back()), (None, None));
        assert_eq!(Pack::new(&EMPTY).iter().next_back(), None);
        assert!(Pack::new(&EMPTY).is_empty());
    }

    #[test]
    fn values_know_their_text() {
        for int in [0, 9, 10, -1, -10, i64::MIN, i64::MAX] {
            let text = int.to_string();
            assert_eq!(Val::of(text.as_bytes()), Val::Int(int));
            assert_eq!(Val::Int(int).len(), text.len());
            assert_eq!(Val::Int(int).text(&mut [0; 20]), text.as_bytes());
            assert!(Val::Int(int).is(text.as_bytes()));
        }
        assert_eq!(Val::of(b"+1"), Val::Str(b"+1"));
        assert_eq!(Val::Str(b"12").as_int(), Some(12));
    }
}
