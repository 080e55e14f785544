//! Replies as they go to a socket: one writer for both protocols.
//!
//! A handler says what it means (`map`, `null`, `double`) and never asks which protocol the client
//! speaks. Everything is appended to one vector; a big value may be added by reference instead, and
//! then stands at its place among the copied bytes when the whole goes out as one vectored write.
//! A reply can be taken back to a mark (a command that fails half way leaves no half reply), and
//! the header of an aggregate can be put in when its length is known.
//!
//! Relies on: whoever sends calls `advance` with what the socket took, and only between commands,
//! since marks and holes are positions.

use bytes::{Buf, Bytes};

use super::request::ProtocolError;
use crate::base::num::fmt_f64;

/// A reply under construction, or a connection's output that waits for its socket.
#[derive(Debug, Default)]
pub struct Writer {
    /// What is copied. The first `sent` bytes have gone out already.
    pub buf: Vec<u8>,
    /// The client speaks RESP3.
    pub resp3: bool,
    /// The most bytes that may wait; a reply that grows beyond them is lost. 0: no limit.
    pub limit: usize,
    /// A reply was lost: nothing that waits means anything, and the client is to be closed.
    lost: bool,
    /// Holes that are open, so that a wrong order of closing is seen in tests.
    holes: u32,
    sent: usize,
    /// Big values, in order: each stands before the byte of `buf` at its position.
    refs: Vec<Ref>,
    ref_bytes: usize,
}

#[derive(Clone, Debug)]
struct Ref {
    at: usize,
    bytes: Bytes,
}

/// A position in a reply to come back to. Dead after `advance` and `clear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    buf: usize,
    refs: usize,
    ref_bytes: usize,
    holes: u32,
}

/// A place for the header of an aggregate whose length is not known yet. Dead after `advance`.
#[must_use = "the aggregate has no header until the hole is closed"]
#[derive(Debug)]
pub struct Hole {
    at: usize,
    refs: usize,
    depth: u32,
}

/// From this size on a value is worth a reference and an own piece of the vectored write.
pub const BY_REF_MIN: usize = 16 * 1024;

/// A buffer larger than this is given back to the allocator when its content is gone.
pub const KEEP_MAX: usize = 64 * 1024;

/// Sent bytes at the front are dropped when they are at least this many and half of the buffer.
const DROP_SENT_MIN: usize = 16 * 1024;

/// Scalars. Where two forms are given, the first is RESP2's.
impl Writer {
    /// An empty writer that owns no memory yet.
    pub fn new(resp3: bool) -> Self {
        Writer {
            resp3,
            ..Writer::default()
        }
    }

    /// An empty writer that appends to a pooled buffer.
    pub fn with_buf(mut buf: Vec<u8>, resp3: bool) -> Self {
        buf.clear();
        Writer {
            buf,
            resp3,
            ..Writer::default()
        }
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.put(b"+OK\r\n");
    }

    /// `+PONG`
    #[inline]
    pub fn pong(&mut self) {
        self.put(b"+PONG\r\n");
    }

    /// `+QUEUED`
    #[inline]
    pub fn queued(&mut self) {
        self.put(b"+QUEUED\r\n");
    }

    /// `+<text>`. Line ends in the text become spaces.
    pub fn simple(&mut self, text: &str) {
        self.simple_bytes(text.as_bytes());
    }

    /// As `simple`, for text that need not be UTF-8.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    /// `-<text>`. The text begins with its code, as in `ERR syntax error`. Line ends behind it are
    /// dropped, others become spaces.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// As `error`, for text that shows a client's bytes.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let end = text
            .iter()
            .rposition(|b| !matches!(b, b'\r' | b'\n'))
            .map_or(0, |last| last + 1);
        self.line(b'-', &text[..end]);
    }

    /// The reply to a client that breaks the protocol; the connection is closed behind it.
    pub fn protocol_error(&mut self, error: ProtocolError) {
        self.error_bytes(&[b"ERR ", &*error.text()].concat());
    }

    /// `:<value>`
    #[inline]
    pub fn int(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.put(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.header(b':', value);
        }
    }

    /// `$<len>`, the bytes
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.room(bytes.len() + HEADER_MAX);
        self.bulk_len(bytes.len());
        self.put(bytes);
        self.put(b"\r\n");
    }

    /// The value's digits as a bulk: `$2`, `42`
    #[inline]
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// As `bulk`; a big value is referred to, a smaller one copied.
    pub fn bulk_ref(&mut self, bytes: Bytes) {
        if bytes.len() < BY_REF_MIN {
            return self.bulk(&bytes);
        }
        self.bulk_len(bytes.len());
        self.push_ref(bytes);
        self.put(b"\r\n");
    }

    /// `$-1` or `_`
    #[inline]
    pub fn null(&mut self) {
        self.buf
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// `*-1` or `_`
    #[inline]
    pub fn null_array(&mut self) {
        self.buf
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// A bulk of the digits, or `,<digits>`: the fewest digits that read back as the same number.
    pub fn double(&mut self, value: f64) {
        // Enough for the digits, so that nothing moves between here and the end.
        self.room(DOUBLE_MAX);
        if self.resp3 {
            self.put(b",");
            fmt_f64(value, &mut self.buf);
        } else {
            // The length is known last; nearly always it has one digit, as guessed here.
            let at = self.buf.len();
            self.put(b"$0\r\n");
            fmt_f64(value, &mut self.buf);
            let len = (self.buf.len() - at - 4) as u8;
            self.buf[at + 1] = b'0' + len % 10;
            if len >= 10 {
                self.buf.insert(at + 1, b'0' + len / 10);
            }
        }
        self.put(b"\r\n");
    }

    /// As `double`, for a number that its command has printed already (long doubles).
    pub fn double_text(&mut self, digits: &[u8]) {
        if self.resp3 {
            self.line(b',', digits)
        } else {
            self.bulk(digits)
        }
    }

    /// `:1` and `:0`, or `#t` and `#f`
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.put(match (self.resp3, value) {
            (false, false) => b":0\r\n",
            (false, true) => b":1\r\n",
            (true, false) => b"#f\r\n",
            (true, true) => b"#t\r\n",
        });
    }

    /// A bulk, or `=<len + 4>`, `<ext>:`, the bytes. `ext` says what the text is, `txt` or `mkd`;
    /// it is filled up or cut to the three bytes the protocol asks for, since scripts choose it.
    pub fn verbatim(&mut self, ext: &str, bytes: &[u8]) {
        if !self.resp3 {
            return self.bulk(bytes);
        }
        let mut kind = *b"   :";
        kind.iter_mut()
            .take(3)
            .zip(ext.bytes())
            .for_each(|(to, from)| *to = from);
        self.header(b'=', (bytes.len() + kind.len()) as i64);
        self.put(&kind);
        self.put(bytes);
        self.put(b"\r\n");
    }

    /// A bulk of the digits, or `(<digits>`. Line ends become spaces in both.
    pub fn big_number(&mut self, digits: &[u8]) {
        if self.resp3 {
            self.line(b'(', digits);
        } else {
            self.bulk_len(digits.len());
            self.one_line(digits);
        }
    }

    /// Bytes that are encoded already.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.put(encoded);
    }

    /// As `raw`; many bytes are referred to, few are copied.
    pub fn raw_ref(&mut self, encoded: Bytes) {
        if encoded.len() < BY_REF_MIN {
            self.raw(&encoded)
        } else {
            self.push_ref(encoded)
        }
    }
}

/// Aggregates. A header is followed by its elements, each written by the caller.
impl Writer {
    /// `*0`
    #[inline]
    pub fn empty_array(&mut self) {
        self.put(b"*0\r\n");
    }

    /// `*<n>`
    #[inline]
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n as i64);
    }

    /// `*<2n>` or `%<n>`: n pairs of key and value follow.
    #[inline]
    pub fn map(&mut self, n: usize) {
        let (mark, n) = self.map_header(n);
        self.header(mark, n);
    }

    /// `*<n>` or `~<n>`
    #[inline]
    pub fn set(&mut self, n: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, n as i64);
    }

    /// `*<n>` or `><n>`: a message the client did not ask for.
    #[inline]
    pub fn push(&mut self, n: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, n as i64);
    }

    /// Nothing and false, or `|<n>` and true: n pairs and then the reply itself follow. RESP2 has
    /// no attributes: on false the caller leaves the pairs out.
    pub fn attribute(&mut self, n: usize) -> bool {
        if self.resp3 {
            self.header(b'|', n as i64);
        }
        self.resp3
    }

    /// Begins an aggregate of unknown length. Close the holes of inner ones first.
    #[inline]
    pub fn open(&mut self) -> Hole {
        self.holes += 1;
        Hole {
            at: self.buf.len(),
            refs: self.refs.len(),
            depth: self.holes,
        }
    }

    /// Puts in the header of an array of `n` elements. One memmove of what was written since.
    pub fn close_array(&mut self, hole: Hole, n: usize) {
        self.close(hole, b'*', n as i64);
    }

    /// As `close_array`, for a map of `n` pairs.
    pub fn close_map(&mut self, hole: Hole, n: usize) {
        let (mark, n) = self.map_header(n);
        self.close(hole, mark, n);
    }

    /// As `close_array`, for a set.
    pub fn close_set(&mut self, hole: Hole, n: usize) {
        self.close(hole, if self.resp3 { b'~' } else { b'*' }, n as i64);
    }

    /// As `close_array`, for a push message.
    pub fn close_push(&mut self, hole: Hole, n: usize) {
        self.close(hole, if self.resp3 { b'>' } else { b'*' }, n as i64);
    }

    #[inline]
    fn map_header(&self, n: usize) -> (u8, i64) {
        if self.resp3 {
            (b'%', n as i64)
        } else {
            (b'*', n as i64 * 2)
        }
    }

    fn close(&mut self, hole: Hole, mark: u8, n: i64) {
        debug_assert_eq!(
            hole.depth, self.holes,
            "holes are closed from the inside out"
        );
        self.holes -= 1;
        if self.lost {
            return;
        }
        self.room(HEADER_MAX);
        if hole.at > self.buf.len() {
            return;
        }
        let end = self.buf.len();
        self.header(mark, n);
        let header = self.buf.len() - end;
        self.buf[hole.at..].rotate_right(header);
        for moved in &mut self.refs[hole.refs..] {
            moved.at += header;
        }
    }
}

/// The limit. It is looked at only where the buffer has to grow, so a reply costs the same with it.
impl Writer {
    /// Appends bytes.
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len());
        self.buf.extend_from_slice(bytes);
    }

    /// Makes room for bytes that are about to be appended.
    #[inline]
    fn room(&mut self, bytes: usize) {
        if bytes > self.buf.capacity() - self.buf.len() {
            self.grow(bytes);
        }
    }

    #[cold]
    fn grow(&mut self, bytes: usize) {
        if self.limit == 0 {
            return self.buf.reserve(bytes);
        }
        if self.len() + bytes > self.limit {
            self.lose();
        }
        let needed = self.buf.len() + bytes;
        // Not beyond the limit, so that reaching it is noticed here.
        let most = self.limit.max(needed);
        let wanted = needed.max(self.buf.capacity() * 2).min(most);
        self.buf.reserve_exact(wanted - self.buf.len());
    }

    /// Gives up what waits. Whatever is written from here on is as short-lived: memory stays bounded
    /// while a command that cannot be broken off runs to its end.
    #[cold]
    fn lose(&mut self) {
        self.lost = true;
        self.buf.clear();
        self.refs.clear();
        (self.sent, self.ref_bytes) = (0, 0);
    }

    /// Was a reply lost, or does more wait than may? A handler may then stop; the client is closed.
    #[inline]
    pub fn is_lost(&self) -> bool {
        self.lost || self.limit > 0 && self.len() > self.limit
    }
}

/// Taking back, handing on, sending.
impl Writer {
    /// The end of what was written so far.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            buf: self.buf.len(),
            refs: self.refs.len(),
            ref_bytes: self.ref_bytes,
            holes: self.holes,
        }
    }

    /// Takes back everything behind the mark, open holes too.
    pub fn truncate(&mut self, mark: Mark) {
        self.holes = mark.holes;
        if self.lost {
            return;
        }
        self.buf.truncate(mark.buf);
        self.refs.truncate(mark.refs);
        self.ref_bytes = mark.ref_bytes;
    }

    /// Bytes written behind the mark.
    pub fn len_since(&self, mark: Mark) -> usize {
        (self.buf.len() + self.ref_bytes).saturating_sub(mark.buf + mark.ref_bytes)
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() - self.sent + self.ref_bytes
    }

    /// True when nothing waits to be sent.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when all that waits is one slice, `head`: a plain write will do.
    #[inline]
    pub fn is_flat(&self) -> bool {
        self.refs.is_empty()
    }

    /// The copied bytes before the first reference.
    #[inline]
    pub fn head(&self) -> &[u8] {
        let end = self.refs.first().map_or(self.buf.len(), |first| first.at);
        &self.buf[self.sent..end]
    }

    /// What waits, in order, as pieces for a vectored write. No piece is empty.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.sent;
        let pieces = self.refs.iter().flat_map(move |r| {
            let copied = &self.buf[at..r.at];
            at = r.at;
            [copied, &r.bytes]
        });
        let tail = &self.buf[self.refs.last().map_or(self.sent, |last| last.at)..];
        pieces.chain([tail]).filter(|piece| !piece.is_empty())
    }

    /// Drops the first `n` waiting bytes: the socket took them. When none is left the writer is
    /// as after `clear`.
    pub fn advance(&mut self, n: usize) {
        if n >= self.len() {
            return self.clear();
        }
        let mut left = n;
        let mut gone = 0;
        for r in &mut self.refs {
            let copied = left.min(r.at - self.sent);
            self.sent += copied;
            left -= copied;
            let referred = left.min(r.bytes.len());
            if self.sent < r.at || referred < r.bytes.len() {
                r.bytes.advance(referred);
                self.ref_bytes -= referred;
                left = 0;
                break;
            }
            self.ref_bytes -= referred;
            left -= referred;
            gone += 1;
        }
        self.sent += left;
        self.refs.drain(..gone);
        if self.sent >= DROP_SENT_MIN && self.sent >= self.buf.len() / 2 {
            self.buf.drain(..self.sent);
            self.refs.iter_mut().for_each(|r| r.at -= self.sent);
            self.sent = 0;
        }
    }

    /// Appends all that waits in another writer. Values it refers to are referred to, not copied.
    pub fn append(&mut self, other: &Writer) {
        let start = Mark {
            buf: other.sent,
            refs: 0,
            ref_bytes: 0,
            holes: 0,
        };
        self.append_range(other, start, other.mark());
    }

    /// Appends what another writer holds between two of its marks.
    pub fn append_range(&mut self, other: &Writer, from: Mark, to: Mark) {
        if other.lost {
            return self.lose();
        }
        self.room(to.buf - from.buf);
        let base = self.buf.len();
        self.put(&other.buf[from.buf..to.buf]);
        for r in &other.refs[from.refs..to.refs] {
            self.ref_bytes += r.bytes.len();
            self.refs.push(Ref {
                at: base + r.at - from.buf,
                bytes: r.bytes.clone(),
            });
        }
    }

    /// Forgets everything. A buffer of moderate size is kept.
    pub fn clear(&mut self) {
        self.buf = self.release();
    }

    /// Forgets everything and gives the buffer away, emptied, for a pool. One that has grown large
    /// is freed instead: then the vector returned owns nothing.
    pub fn release(&mut self) -> Vec<u8> {
        let mut buf = std::mem::take(&mut self.buf);
        buf.clear();
        *self = Writer {
            resp3: self.resp3,
            limit: self.limit,
            lost: self.lost,
            ..Writer::default()
        };
        if buf.capacity() > KEEP_MAX {
            Vec::new()
        } else {
            buf
        }
    }

    /// All that waits as one vector: for tests, scripts and other cold readers.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.segments()
            .for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// The memory it holds: what output limits and CLIENT LIST count. References count in full,
    /// since they may keep a deleted value alive.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity() + self.refs.capacity() * size_of::<Ref>() + self.ref_bytes
    }
}

/// The longest double with all that stands around it.
const DOUBLE_MAX: usize = 48;
/// A mark, the digits of an i64 and two line ends.
const HEADER_MAX: usize = 1 + 20 + 2 + 2;

impl Writer {
    /// `<mark><n>`
    #[inline]
    fn header(&mut self, mark: u8, n: i64) {
        match n {
            0..10 => self.put(&[mark, b'0' + n as u8, b'\r', b'\n']),
            10..100 => {
                let (tens, ones) = (b'0' + (n / 10) as u8, b'0' + (n % 10) as u8);
                self.put(&[mark, tens, ones, b'\r', b'\n']);
            }
            _ => {
                self.room(HEADER_MAX);
                self.put(&[mark]);
                self.put(itoa::Buffer::new().format(n).as_bytes());
                self.put(b"\r\n");
            }
        }
    }

    #[inline]
    fn bulk_len(&mut self, len: usize) {
        self.header(b'$', len as i64);
    }

    /// `<mark><text>`
    fn line(&mut self, mark: u8, text: &[u8]) {
        self.room(text.len() + HEADER_MAX);
        self.put(&[mark]);
        self.one_line(text);
    }

    /// The text and a line end. Line ends within become spaces: a line must stay one line.
    fn one_line(&mut self, text: &[u8]) {
        self.room(text.len() + 2);
        let start = self.buf.len();
        self.put(text);
        for byte in &mut self.buf[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.put(b"\r\n");
    }

    fn push_ref(&mut self, bytes: Bytes) {
        if self.limit > 0 && self.len() + bytes.len() > self.limit {
            return self.lose();
        }
        self.ref_bytes += bytes.len();
        self.refs.push(Ref {
            at: self.buf.len(),
            bytes,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// What is written for a client of each protocol.
    fn both(write: impl Fn(&mut Writer)) -> [String; 2] {
        [false, true].map(|resp3| {
            let mut out = Writer::new(resp3);
            write(&mut out);
            assert_eq!(out.len(), out.to_vec().len());
            out.to_vec()
                .escape_ascii()
                .to_string()
                .replace("\\r\\n", " ")
        })
    }

    fn big(byte: u8) -> Bytes {
        Bytes::from(vec![byte; BY_REF_MIN])
    }

    #[test]
    fn each_reply_in_both_protocols() {
        type Write = fn(&mut Writer);
        for (write, resp2, resp3) in [
            ((|w| w.ok()) as Write, "+OK ", "+OK "),
            (|w| w.pong(), "+PONG ", "+PONG "),
            (|w| w.queued(), "+QUEUED ", "+QUEUED "),
            (|w| w.simple("a\r\nb\n"), "+a  b  ", "+a  b  "),
            (|w| w.error("ERR a\r\nb\r\n"), "-ERR a  b ", "-ERR a  b "),
            (|w| w.error("\n\n"), "- ", "- "),
            (|w| w.int(0), ":0 ", ":0 "),
            (|w| w.int(-1), ":-1 ", ":-1 "),
            (|w| w.int(10), ":10 ", ":10 "),
            (|w| w.int(99), ":99 ", ":99 "),
            (|w| w.int(100), ":100 ", ":100 "),
            (
                |w| w.int(i64::MIN),
                ":-9223372036854775808 ",
                ":-9223372036854775808 ",
            ),
            (|w| w.bulk(b""), "$0  ", "$0  "),
            (|w| w.bulk(b"a b"), "$3 a b ", "$3 a b "),
            (|w| w.bulk_int(-42), "$3 -42 ", "$3 -42 "),
            (
                |w| w.bulk_ref(Bytes::from_static(b"ab")),
                "$2 ab ",
                "$2 ab ",
            ),
            (|w| w.null(), "$-1 ", "_ "),
            (|w| w.null_array(), "*-1 ", "_ "),
            (|w| w.empty_array(), "*0 ", "*0 "),
            (|w| w.array(12), "*12 ", "*12 "),
            (|w| w.map(3), "*6 ", "%3 "),
            (|w| w.set(3), "*3 ", "~3 "),
            (|w| w.push(3), "*3 ", ">3 "),
            (|w| assert_eq!(w.attribute(1), w.resp3), "", "|1 "),
            (|w| w.double(3.125), "$5 3.125 ", ",3.125 "),
            (
                |w| w.double(0.1234567890123),
                "$15 0.1234567890123 ",
                ",0.1234567890123 ",
            ),
            (
                |w| w.double(1234567890.0),
                "$10 1234567890 ",
                ",1234567890 ",
            ),
            (|w| w.double(f64::NEG_INFINITY), "$4 -inf ", ",-inf "),
            (|w| w.double_text(b"5.0e3"), "$5 5.0e3 ", ",5.0e3 "),
            (|w| w.bool(true), ":1 ", "#t "),
            (|w| w.bool(false), ":0 ", "#f "),
            (|w| w.verbatim("txt", b"ab"), "$2 ab ", "=6 txt:ab "),
            (|w| w.verbatim("t", b"ab"), "$2 ab ", "=6 t  :ab "),
            (|w| w.verbatim("text", b"ab"), "$2 ab ", "=6 tex:ab "),
            (|w| w.big_number(b"12\n3"), "$4 12 3 ", "(12 3 "),
            (|w| w.raw(b":1\r\n"), ":1 ", ":1 "),
        ] {
            assert_eq!(both(write), [resp2, resp3]);
        }
    }

    #[test]
    fn protocol_errors_stay_one_line() {
        let [text, _] = both(|w| w.protocol_error(ProtocolError::ExpectedDollar(b'\r')));
        assert_eq!(text, "-ERR Protocol error: expected \\'$\\', got \\' \\' ");
    }

    #[test]
    fn headers_are_put_in_when_the_length_is_known() {
        let nested = |w: &mut Writer| {
            w.int(7);
            let outer = w.open();
            w.bulk_ref(big(b'a'));
            let empty = w.open();
            w.close_set(empty, 0);
            let inner = w.open();
            w.bulk_ref(big(b'b'));
            w.bulk(b"k");
            w.close_map(inner, 1);
            w.close_array(outer, 100);
            w.bulk_ref(big(b'c'));
        };
        let flat = |w: &mut Writer| {
            w.int(7);
            w.array(100);
            w.bulk(&big(b'a'));
            w.set(0);
            w.map(1);
            w.bulk(&big(b'b'));
            w.bulk(b"k");
            w.bulk(&big(b'c'));
        };
        assert_eq!(both(nested), both(flat));
        let push = |w: &mut Writer| {
            let hole = w.open();
            w.int(1);
            w.close_push(hole, 1);
        };
        assert_eq!(both(push), ["*1 :1 ", ">1 :1 "]);
    }

    #[test]
    fn a_mark_takes_back_references_and_holes_too() {
        let mut out = Writer::new(false);
        out.int(1);
        let mark = out.mark();
        let _hole = out.open();
        out.bulk_ref(big(b'a'));
        assert_eq!(out.len_since(mark), BY_REF_MIN + 10);
        out.truncate(mark);
        assert_eq!((out.to_vec(), out.is_flat()), (b":1\r\n".to_vec(), true));
        let hole = out.open();
        out.close_array(hole, 0);
        assert_eq!(out.to_vec(), b":1\r\n*0\r\n");
    }

    #[test]
    fn writers_are_joined_without_copying_values() {
        let mut inner = Writer::new(false);
        inner.int(1);
        let from = inner.mark();
        inner.bulk_ref(big(b'a'));
        let to = inner.mark();
        inner.int(2);
        inner.advance(2);
        let mut out = Writer::new(false);
        out.raw_ref(big(b'z'));
        out.append(&inner);
        out.append_range(&inner, from, to);
        let value = [b"$16384\r\n", &big(b'a')[..], b"\r\n"].concat();
        let all = [&big(b'z')[..], b"\r\n", &value, b":2\r\n", &value].concat();
        assert_eq!(
            (out.to_vec(), out.len(), out.refs.len()),
            (all.clone(), all.len(), 3)
        );
    }

    #[test]
    fn a_socket_may_take_any_part() {
        let mut rng = Rng::from_seed(7);
        for _ in 0..200 {
            let (mut out, mut expected, mut got) = (Writer::new(false), Vec::new(), Vec::new());
            for byte in 0..20 {
                let value = match rng.below(4) {
                    0 => Bytes::from(vec![byte; BY_REF_MIN + rng.below(9000) as usize]),
                    1 => Bytes::from(vec![byte; rng.below(9000) as usize]),
                    _ => Bytes::new(),
                };
                out.bulk_ref(value.clone());
                let mut plain = Writer::new(false);
                plain.bulk(&value);
                expected.extend_from_slice(&plain.buf);
                if rng.below(3) == 0 {
                    let taken = rng.below(out.len() as u64 + 1) as usize;
                    got.extend_from_slice(&out.to_vec()[..taken]);
                    out.advance(taken);
                    assert_eq!(out.len(), out.to_vec().len());
                    assert_eq!(out.len(), expected.len() - got.len());
                    assert!(out.to_vec().starts_with(out.head()));
                    assert!(out.segments().all(|piece| !piece.is_empty()));
                    assert_eq!(out.is_empty(), out.sent == 0 && out.buf.is_empty());
                }
            }
            got.extend_from_slice(&out.to_vec());
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn buffers_go_back_to_the_pool_unless_they_grew_large() {
        let mut out = Writer::with_buf(Vec::with_capacity(100), true);
        out.int(1);
        out.clear();
        assert_eq!(
            (out.is_empty(), out.resp3, out.buf.capacity()),
            (true, true, 100)
        );
        let buf = out.release();
        assert_eq!(
            (buf.capacity(), out.buf.capacity(), out.heap_bytes()),
            (100, 0, 0)
        );
        out.raw(&vec![0; KEEP_MAX + 1]);
        assert_eq!(out.release().capacity(), 0);
    }

    #[test]
    fn a_reply_beyond_the_limit_is_lost_and_takes_no_memory() {
        for limit in [1000, 70_000] {
            let mut out = Writer::new(true);
            out.limit = limit;
            out.bulk(&vec![b'x'; limit - 100]);
            let mark = out.mark();
            out.bulk(&[b'y'; 40]);
            out.truncate(mark);
            assert!(!out.is_lost() && out.len() > limit - 100);
            // Whatever is written, in whatever state it was before.
            let hole = out.open();
            out.double(1.5);
            for n in 0..100_000 {
                out.int(n);
                out.bulk(b"some text");
                out.double(0.1);
                out.error("ERR two\r\nlines");
            }
            out.big_number(b"1\n2");
            out.raw_ref(Bytes::from(vec![0; 100_000]));
            out.close_array(hole, 1);
            out.truncate(mark);
            let mut other = Writer::new(true);
            other.append_range(&out, mark, mark);
            assert!(out.is_lost() && other.is_lost() && out.heap_bytes() <= limit + 100);
            assert!(out.len_since(mark) <= limit);
            out.clear();
            assert!(
                out.is_lost() && out.is_empty(),
                "until the client is closed"
            );
        }
        let mut out = Writer::new(false);
        out.limit = 50_000;
        out.bulk_ref(Bytes::from(vec![0; 20_000]));
        out.bulk_ref(Bytes::from(vec![0; 20_000]));
        assert!(!out.is_lost());
        out.bulk_ref(Bytes::from(vec![0; 20_000]));
        assert!(out.is_lost());
    }
}
