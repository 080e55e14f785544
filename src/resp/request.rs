//! Requests as they come from a socket: an incremental parser that turns bytes into spans.
//!
//! Why spans: an argument is never copied nor allocated, a handler gets slices of the buffer that
//! was read. The common request (well-formed, wholly in the buffer) takes one straight pass that
//! touches nothing but the bytes and the list of spans; everything else (unfinished, odd, inline,
//! not yet authenticated, wrong) takes the careful way, which remembers where it stopped.
//!
//! What callers may rely on: no input makes it panic; no memory is reserved for what a client only
//! announces; a request that arrives byte by byte costs as much as one that arrives whole; the
//! texts of errors, and the moment they appear, are those of Redis.

use std::borrow::Cow;

pub use super::argv::{Argv, OwnedArgv, Span};
use super::words::split_words;
use crate::base::num::parse_i64;

/// What a client may send. The connection fills it from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument (`proto-max-bulk-len`).
    pub bulk_len_max: u64,
    /// Most arguments in a request. Redis: 2,147,483,647.
    pub multibulk_max: i64,
    /// Longest line without an end: an inline request, or a line with a count.
    pub inline_max: usize,
    /// False while the client still has to authenticate: then 10 arguments of 16 KiB are the most,
    /// so that strangers cannot fill the memory.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bulk_len_max: 512 * 1024 * 1024,
            multibulk_max: i32::MAX as i64,
            inline_max: 64 * 1024,
            authenticated: true,
        }
    }
}

/// Most arguments, and longest argument, of a client that has not authenticated.
const STRANGER_ARGS_MAX: i64 = 10;
const STRANGER_BULK_MAX: u64 = 16 * 1024;

/// Spans are 32 bits wide: no request, and no buffer handed to `parse`, may be longer.
const BUFFER_MAX: usize = u32::MAX as usize - 1;

/// What `parse` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One request: its spans were appended and the position moved behind it.
    Request,
    /// The request is unfinished. At least so many further bytes are needed; the number is what the
    /// client announced, so reserve by it only within reason.
    NeedMore { at_least: usize },
    /// Something that is no request was skipped: an empty line, `*0` or `*-1`.
    Empty,
    /// The client breaks the protocol: answer and close.
    Bad(ProtocolError),
}

/// How a client broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The count of arguments is no number, or too large.
    InvalidMultibulkLen,
    /// The length of an argument is no number, negative, or too large.
    InvalidBulkLen,
    /// An argument begins with another byte than `$`.
    ExpectedDollar(u8),
    /// The line with the count of arguments does not end.
    TooBigMbulkCount,
    /// The line with an argument's length does not end.
    TooBigBulkCount,
    /// An inline request does not end.
    TooBigInline,
    /// Too many arguments from a client that has not authenticated.
    UnauthMultibulk,
    /// Too long an argument from a client that has not authenticated.
    UnauthBulk,
    /// An inline request with an open quote, or with text right behind a closed one.
    UnbalancedQuotes,
    /// A TLS client's first words: it would wait for an answer to them, and we for the end of a line.
    Tls,
}

impl ProtocolError {
    /// Redis's text, without the `ERR ` before it. Bytes, since it may show a byte of the client's.
    pub fn text(&self) -> Cow<'static, [u8]> {
        let text: &'static str = match self {
            Self::InvalidMultibulkLen => "Protocol error: invalid multibulk length",
            Self::InvalidBulkLen => "Protocol error: invalid bulk length",
            Self::ExpectedDollar(got) => {
                let mut text = b"Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[*got, b'\'']);
                return Cow::Owned(text);
            }
            Self::TooBigMbulkCount => "Protocol error: too big mbulk count string",
            Self::TooBigBulkCount => "Protocol error: too big bulk count string",
            Self::TooBigInline => "Protocol error: too big inline request",
            Self::UnauthMultibulk => "Protocol error: unauthenticated multibulk length",
            Self::UnauthBulk => "Protocol error: unauthenticated bulk length",
            Self::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
            Self::Tls => "Protocol error: TLS on a port without TLS",
        };
        Cow::Borrowed(text.as_bytes())
    }
}

/// What is known of an unfinished request. Kept by the connection together with the request's
/// bytes; the default is "at the start of a request". All offsets count from the request's first
/// byte, so the bytes may move to another buffer between two calls.
#[derive(Debug, Default)]
pub struct Resume {
    /// Everything before this was understood.
    at: u32,
    /// No line end before this; `HIDDEN` when there cannot be one any more.
    scanned: u32,
    /// Arguments still to come. 0: the first line was not read yet.
    left: u32,
    /// Length of the argument at `at`, once its line was read.
    bulk: Option<u32>,
    /// The last request was understood but not written as an encoder writes it.
    odd: bool,
    spans: Vec<Span>,
    /// Lines with quotes as they came, and where they stand: what they hold was unescaped in place.
    quoted: Vec<(usize, Box<[u8]>)>,
}

/// From this length on an argument counts as large: in what clients see of their buffers.
const LARGE_ARGUMENT: usize = 32 * 1024;

/// A zero byte hides every line end behind it: Redis searches lines as C strings.
const HIDDEN: u32 = u32::MAX;

impl Resume {
    /// True between two requests: nothing of an unfinished one is held.
    #[inline]
    pub fn is_start(&self) -> bool {
        (self.at | self.scanned) == 0
    }

    /// Requests up to here have run, or are to be answered: their lines are not needed again.
    #[inline]
    pub fn forget_lines(&mut self) {
        self.quoted.clear();
    }

    /// Requests from `from` on were understood and have not run: they are made what they were, to be understood
    /// again.
    pub fn restore_lines(&mut self, buf: &mut [u8], from: usize) {
        for (at, line) in self.quoted.drain(..) {
            if at >= from
                && let Some(place) = buf.get_mut(at..at + line.len())
            {
                place.copy_from_slice(&line);
            }
        }
    }

    /// Bytes in front of a large argument that is being received: the other arguments, which are there.
    pub fn understood(&self) -> usize {
        match self.bulk {
            Some(len) if len as usize >= LARGE_ARGUMENT => self.at as usize,
            _ => 0,
        }
    }

    /// Of the request that `parse` returned last: are its bytes exactly what an encoder would have
    /// written? Only then may they be copied to a file or a replica as they came; an inline request
    /// or one with other bytes in the places of CR LF must be encoded anew.
    #[inline]
    pub fn canonical(&self) -> bool {
        !self.odd
    }

    /// Forgets the request, keeps what `canonical` says.
    fn finish(&mut self) {
        *self = Resume {
            odd: self.odd,
            quoted: std::mem::take(&mut self.quoted),
            ..Resume::default()
        };
    }
}

/// Parses one request of `buf` from `*pos` on.
///
/// On `Request` and `Empty`, `*pos` moves behind what was used. On `NeedMore` it stays at the first
/// byte of the unfinished request, and what was understood of it is in `resume`: call again with
/// the same bytes and more behind them, in this buffer or (with the new position) in another.
/// Inline requests are unescaped in place, which is why `buf` is mutable.
// The compiler keeps it out of the loop's since it has more than one caller.
#[inline(always)]
pub fn parse(
    buf: &mut [u8],
    pos: &mut usize,
    resume: &mut Resume,
    limits: &Limits,
    spans: &mut Vec<Span>,
) -> Step {
    if resume.is_start() && limits.authenticated && buf.len() <= BUFFER_MAX {
        resume.odd = false;
        if quick(buf, pos, resume, limits, spans) {
            return Step::Request;
        }
    }
    careful(buf, pos, resume, limits, spans)
}

/// The common case. False: the careful way has to go on, from `resume`.
#[inline(always)]
fn quick(
    buf: &[u8],
    pos: &mut usize,
    resume: &mut Resume,
    limits: &Limits,
    spans: &mut Vec<Span>,
) -> bool {
    let start = *pos;
    let Some((count, used)) = buf.get(start..).and_then(|rest| length_line(rest, b'*')) else {
        return false;
    };
    if count == 0 || i64::from(count) > limits.multibulk_max {
        return false;
    }
    let first = spans.len();
    let mut at = start + used;
    let mut left = count;
    while left > 0 {
        let rest = &buf[at..];
        let Some((len, used)) = length_line(rest, b'$') else {
            break;
        };
        let end = used + len as usize;
        if rest.get(end..end + 2) != Some(b"\r\n") || u64::from(len) > limits.bulk_len_max {
            break;
        }
        spans.push(Span {
            at: (at + used) as u32,
            len,
        });
        at += end + 2;
        left -= 1;
    }
    if left == 0 {
        *pos = at;
        return true;
    }
    hand_over(start, at, left, resume, spans, first);
    false
}

/// Moves the quick way's progress into `resume`, so that nothing is read twice.
#[cold]
fn hand_over(
    start: usize,
    at: usize,
    left: u32,
    resume: &mut Resume,
    spans: &mut Vec<Span>,
    first: usize,
) {
    resume.spans.extend(spans[first..].iter().map(|span| Span {
        at: span.at - start as u32,
        len: span.len,
    }));
    spans.truncate(first);
    resume.at = (at - start) as u32;
    resume.left = left;
}

/// Reads `<mark><digits>\r\n` where it is whole and plain: one to nine digits, no needless zero.
/// Gives the number and the length of the line. One or two digits, nearly all lines, cost one load.
#[inline(always)]
fn length_line(bytes: &[u8], mark: u8) -> Option<(u32, usize)> {
    const ONE_DIGIT: u64 = 0xFFFF_00FF;
    const TWO_DIGITS: u64 = 0xFF_FF00_00FF;
    let mark_crlf = u64::from(mark) | 0x0A0D_0000;
    let mark_2_crlf = u64::from(mark) | 0x0A_0D00_0000;
    if let Some(head) = bytes.first_chunk::<8>() {
        let word = u64::from_le_bytes(*head);
        let first = (word >> 8) as u8;
        let first = u32::from(first.wrapping_sub(b'0'));
        if word & ONE_DIGIT == mark_crlf && first < 10 {
            return Some((first, 4));
        }
        let second = (word >> 16) as u8;
        let second = u32::from(second.wrapping_sub(b'0'));
        if word & TWO_DIGITS == mark_2_crlf && first.wrapping_sub(1) < 9 && second < 10 {
            return Some((first * 10 + second, 5));
        }
    }
    long_length_line(bytes, mark)
}

/// The same for any number of digits.
fn long_length_line(bytes: &[u8], mark: u8) -> Option<(u32, usize)> {
    let [m, digits @ ..] = bytes else { return None };
    let count = digits
        .iter()
        .take(10)
        .take_while(|b| b.is_ascii_digit())
        .count();
    let plain = *m == mark
        && (1..=9).contains(&count)
        && (digits[0] != b'0' || count == 1)
        && digits.get(count..count + 2) == Some(b"\r\n");
    let value = digits[..count.min(9)]
        .iter()
        .fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    plain.then_some((value, count + 3))
}

/// The way for everything, one line or argument at a time.
#[inline(never)]
fn careful(
    buf: &mut [u8],
    pos: &mut usize,
    resume: &mut Resume,
    limits: &Limits,
    spans: &mut Vec<Span>,
) -> Step {
    let start = *pos;
    if buf.len() > BUFFER_MAX {
        return Step::Bad(ProtocolError::InvalidBulkLen);
    }
    let bytes = &buf[start..];
    if resume.left == 0 {
        match bytes.first() {
            None => return Step::NeedMore { at_least: 1 },
            Some(b'*') => {}
            Some(_) => return inline(buf, pos, resume, limits, spans),
        }
        resume.odd = false;
        match count_line(bytes, resume, limits) {
            Ok(()) => {}
            Err(Step::Empty) => {
                *pos += resume.at as usize;
                resume.finish();
                return Step::Empty;
            }
            Err(step) => return step,
        }
    }
    while resume.left > 0 {
        if let Err(step) = argument(bytes, resume, limits) {
            return step;
        }
    }
    let base = start as u32;
    spans.extend(resume.spans.iter().map(|span| Span {
        at: span.at + base,
        len: span.len,
    }));
    *pos += resume.at as usize;
    resume.finish();
    Step::Request
}

/// Reads `*<count>\r\n`. `Err(Empty)` with `resume.at` behind the line: nothing to run.
fn count_line(bytes: &[u8], resume: &mut Resume, limits: &Limits) -> Result<(), Step> {
    let end = line_end(bytes, resume, limits, ProtocolError::TooBigMbulkCount)?;
    let count = parse_i64(&bytes[1..end])
        .filter(|count| *count <= limits.multibulk_max)
        .ok_or(Step::Bad(ProtocolError::InvalidMultibulkLen))?;
    if count > STRANGER_ARGS_MAX && !limits.authenticated {
        return Err(Step::Bad(ProtocolError::UnauthMultibulk));
    }
    next_line(bytes, resume, end);
    if count <= 0 {
        return Err(Step::Empty);
    }
    resume.left =
        u32::try_from(count).map_err(|_| Step::Bad(ProtocolError::InvalidMultibulkLen))?;
    Ok(())
}

/// Reads one `$<length>\r\n<bytes>\r\n`.
fn argument(bytes: &[u8], resume: &mut Resume, limits: &Limits) -> Result<(), Step> {
    let len = match resume.bulk {
        Some(len) => len as usize,
        None => {
            let end = line_end(bytes, resume, limits, ProtocolError::TooBigBulkCount)?;
            let at = resume.at as usize;
            if bytes[at] != b'$' {
                return Err(Step::Bad(ProtocolError::ExpectedDollar(bytes[at])));
            }
            let len = parse_i64(&bytes[at + 1..end])
                .and_then(|len| u64::try_from(len).ok())
                .filter(|len| *len <= limits.bulk_len_max)
                .ok_or(Step::Bad(ProtocolError::InvalidBulkLen))?;
            if len > STRANGER_BULK_MAX && !limits.authenticated {
                return Err(Step::Bad(ProtocolError::UnauthBulk));
            }
            // A request of more than 4 GiB cannot be pointed into. Redis would take it only with
            // `client-query-buffer-limit` raised from its 1 GiB.
            if len >= BUFFER_MAX.saturating_sub(end + 4) as u64 {
                return Err(Step::Bad(ProtocolError::InvalidBulkLen));
            }
            next_line(bytes, resume, end);
            resume.bulk = Some(len as u32);
            len as usize
        }
    };
    let at = resume.at as usize;
    let (needed, have) = (at + len + 2, bytes.len());
    if have < needed {
        return Err(Step::NeedMore {
            at_least: needed - have,
        });
    }
    // Redis steps over two bytes without looking at them; so do we, but remember if they were odd.
    resume.odd |= bytes[at + len..needed] != *b"\r\n";
    resume.spans.push(Span {
        at: at as u32,
        len: len as u32,
    });
    resume.at = needed as u32;
    resume.scanned = needed as u32;
    resume.bulk = None;
    resume.left -= 1;
    Ok(())
}

/// The offset of the CR that ends the line at `resume.at`, when the byte behind it has come too.
fn line_end(
    bytes: &[u8],
    resume: &mut Resume,
    limits: &Limits,
    endless: ProtocolError,
) -> Result<usize, Step> {
    let from = resume.scanned.max(resume.at);
    match find_end(bytes, from, b'\r') {
        Ok(end) => {
            resume.scanned = end as u32;
            if end + 1 < bytes.len() {
                Ok(end)
            } else {
                Err(Step::NeedMore { at_least: 1 })
            }
        }
        Err(scanned) => {
            resume.scanned = scanned;
            if bytes.len() - resume.at as usize > limits.inline_max {
                return Err(Step::Bad(endless));
            }
            Err(Step::NeedMore { at_least: 1 })
        }
    }
}

/// Steps behind the line that ends at `end`. Which byte follows the CR is not looked at (Redis).
fn next_line(bytes: &[u8], resume: &mut Resume, end: usize) {
    resume.odd |= bytes[end + 1] != b'\n';
    resume.at = (end + 2) as u32;
    resume.scanned = resume.at;
}

/// Looks for `wanted` from `from` on; `Err` says from where to look next time.
fn find_end(bytes: &[u8], from: u32, wanted: u8) -> Result<usize, u32> {
    if from == HIDDEN {
        return Err(HIDDEN);
    }
    match memchr::memchr2(wanted, 0, &bytes[from as usize..]) {
        None => Err(bytes.len() as u32),
        Some(i) if bytes[from as usize + i] == 0 => Err(HIDDEN),
        Some(i) => Ok(from as usize + i),
    }
}

/// Reads one line of words: what a person types into telnet.
fn inline(
    buf: &mut [u8],
    pos: &mut usize,
    resume: &mut Resume,
    limits: &Limits,
    spans: &mut Vec<Span>,
) -> Step {
    let start = *pos;
    // A record of a handshake, in any version that is in use.
    if buf[start..].starts_with(&[0x16, 0x03]) {
        return Step::Bad(ProtocolError::Tls);
    }
    let newline = match find_end(&buf[start..], resume.scanned, b'\n') {
        Ok(newline) => newline,
        Err(scanned) => {
            resume.scanned = scanned;
            if buf.len() - start > limits.inline_max {
                return Step::Bad(ProtocolError::TooBigInline);
            }
            return Step::NeedMore { at_least: 1 };
        }
    };
    let mut end = start + newline;
    *pos = end + 1;
    if newline > 0 && buf[end - 1] == b'\r' {
        end -= 1;
    }
    resume.finish();
    resume.odd = true;
    let line = &buf[start..end];
    if memchr::memchr2(b'"', b'\'', line).is_some() {
        resume.quoted.push((start, line.into()));
    }
    let first = spans.len();
    if split_words(&mut buf[..end], start, spans).is_none() {
        spans.truncate(first);
        return Step::Bad(ProtocolError::UnbalancedQuotes);
    }
    if spans.len() == first {
        Step::Empty
    } else {
        Step::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// What a stream of bytes meant.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Request(Vec<Vec<u8>>, bool),
        Empty,
        Bad(ProtocolError),
    }

    /// Feeds the pieces one after another, as a connection does: what is unfinished is moved to
    /// the front of the buffer.
    fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Vec<Seen> {
        let (mut buf, mut resume, mut spans) = (Vec::new(), Resume::default(), Vec::new());
        let mut seen = Vec::new();
        for piece in pieces {
            buf.extend_from_slice(piece);
            let mut pos = 0;
            loop {
                spans.clear();
                let before = pos;
                match parse(&mut buf, &mut pos, &mut resume, limits, &mut spans) {
                    Step::Request => {
                        assert!(resume.is_start() && pos > before);
                        let argv = Argv::new(&buf, &spans);
                        let args = argv.iter().map(<[u8]>::to_vec).collect();
                        seen.push(Seen::Request(args, resume.canonical()));
                    }
                    Step::Empty => {
                        assert!(resume.is_start() && pos > before);
                        seen.push(Seen::Empty);
                    }
                    Step::NeedMore { at_least } => {
                        assert!(at_least > 0 && pos == before && spans.is_empty());
                        break;
                    }
                    Step::Bad(error) => {
                        seen.push(Seen::Bad(error));
                        return seen;
                    }
                }
            }
            buf.drain(..pos);
        }
        seen
    }

    fn whole(bytes: &[u8]) -> Vec<Seen> {
        feed([bytes], &Limits::default())
    }

    fn args(bytes: &[u8]) -> Vec<String> {
        match &whole(bytes)[..] {
            [Seen::Request(args, _)] => args
                .iter()
                .map(|arg| arg.escape_ascii().to_string())
                .collect(),
            other => panic!("{} gave {other:?}", bytes.escape_ascii()),
        }
    }

    fn error(bytes: &[u8], limits: &Limits) -> Option<String> {
        let error = match feed([bytes], limits).pop() {
            Some(Seen::Bad(error)) => error.text().escape_ascii().to_string(),
            _ => return None,
        };
        Some(
            error
                .strip_prefix("Protocol error: ")
                .expect("all begin so")
                .to_owned(),
        )
    }

    #[test]
    fn a_request_is_its_arguments() {
        assert_eq!(args(b"*1\r\n$4\r\nPING\r\n"), ["PING"]);
        assert_eq!(
            args(b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n"),
            ["SET", "", "\\r\\n"]
        );
        let long = [
            b"*2\r\n$4\r\nECHO\r\n$1000\r\n".as_slice(),
            &[b'x'; 1000],
            b"\r\n",
        ]
        .concat();
        assert_eq!(args(&long)[1].len(), 1000);
        let many = [b"*100\r\n".as_slice(), &b"$1\r\na\r\n".repeat(100)].concat();
        assert_eq!(args(&many).len(), 100);
        assert_eq!(whole(b"").len(), 0);
    }

    #[test]
    fn nothing_to_run_is_skipped() {
        for nothing in [
            &b"*0\r\n"[..],
            b"*-1\r\n",
            b"*-5\r\n",
            b"\r\n",
            b"\n",
            b"   \r\n",
            b"\r\r\n",
        ] {
            let bytes = [nothing, b"PING\r\n"].concat();
            let ping = Seen::Request(vec![b"PING".to_vec()], false);
            assert_eq!(
                whole(&bytes),
                [Seen::Empty, ping],
                "{}",
                nothing.escape_ascii()
            );
        }
    }

    /// Each asked of redis-server 7.0.15.
    #[test]
    fn wrong_lengths_are_refused_as_redis_refuses_them() {
        const COUNT: Option<&str> = Some("invalid multibulk length");
        const BULK: Option<&str> = Some("invalid bulk length");
        for (bytes, text) in [
            (&b"*\r\nPING\r\n"[..], COUNT),
            (b"*+1\r\n", COUNT),
            (b"*01\r\n", COUNT),
            (b"*-0\r\n", COUNT),
            (b"* 1\r\n", COUNT),
            (b"*1 \r\n", COUNT),
            (b"*1\n$4\r\nPING\r\n", COUNT),
            (b"*2147483648\r\n", COUNT),
            (b"*9223372036854775808\r\n", COUNT),
            (b"*2147483647\r\n", None),
            (b"*1\r\n$-1\r\n", BULK),
            (b"*1\r\n$\r\n", BULK),
            (b"*1\r\n$04\r\nPING\r\n", BULK),
            (b"*1\r\n$4x\r\n", BULK),
            (b"*1\r\n$99999999999999999999\r\n", BULK),
            (b"*1\r\n$536870913\r\n", BULK),
            (b"*1\r\n$536870912\r\n", None),
            (b"*1\r\nx4\r\n", Some("expected \\'$\\', got \\'x\\'")),
            (b"*1\r\n\xff\r\n", Some("expected \\'$\\', got \\'\\xff\\'")),
            (b"*1\r\n\r\n", Some("expected \\'$\\', got \\'\\r\\'")),
            (b"*1\r\n*1\r\n", Some("expected \\'$\\', got \\'*\\'")),
            (b"*1\r\nx", None),
        ] {
            let got = error(bytes, &Limits::default());
            assert_eq!(got.as_deref(), text, "{}", bytes.escape_ascii());
        }
        let huge = Limits {
            bulk_len_max: u64::MAX,
            ..Limits::default()
        };
        assert_eq!(
            error(b"*1\r\n$9223372036854775807\r\n", &huge).as_deref(),
            BULK
        );
        assert_eq!(error(b"*1\r\n$4294967295\r\n", &huge).as_deref(), BULK);
        assert_eq!(error(b"*1\r\n$4294960000\r\n", &huge), None);
    }

    #[test]
    fn lines_without_an_end_are_refused() {
        let endless = |start: &[u8], total: usize| {
            let mut bytes = start.to_vec();
            bytes.resize(total, b'1');
            error(&bytes, &Limits::default())
        };
        assert_eq!(endless(b"*", 65536), None);
        assert_eq!(
            endless(b"*", 65537).as_deref(),
            Some("too big mbulk count string")
        );
        assert_eq!(endless(b"a", 65536), None);
        assert_eq!(
            endless(b"a", 65537).as_deref(),
            Some("too big inline request")
        );
        assert_eq!(endless(b"*1\r\n$", 4 + 65536), None);
        assert_eq!(
            endless(b"*1\r\n$", 4 + 65537).as_deref(),
            Some("too big bulk count string")
        );
        // Redis searches lines as C strings: no line ends behind a zero byte.
        assert_eq!(endless(b"\0\r\nPING\r\n", 65536), None);
        assert_eq!(
            endless(b"\0\r\n", 65537).as_deref(),
            Some("too big inline request")
        );
        assert_eq!(
            endless(b"*\0\r\n", 65537).as_deref(),
            Some("too big mbulk count string")
        );
        assert_eq!(
            endless(b"*1\r\n$\0\r\n", 4 + 65537).as_deref(),
            Some("too big bulk count string")
        );
    }

    #[test]
    fn lines_that_did_not_run_are_understood_again() {
        let sent = b"*1\r\n$4\r\nPING\r\nSET \"a b\" '\\'' \"\\x41\"\r\nGET \"a b\"\r\n".to_vec();
        let mut buf = sent.clone();
        let (mut pos, mut resume, mut spans) = (0, Resume::default(), Vec::new());
        let limits = Limits::default();
        let mut ends = Vec::new();
        while pos < buf.len() {
            let step = parse(&mut buf, &mut pos, &mut resume, &limits, &mut spans);
            assert_eq!(step, Step::Request);
            ends.push(pos);
        }
        assert_ne!(buf, sent, "unescaped in place");
        resume.restore_lines(&mut buf, ends[1]);
        assert_eq!(buf[ends[1]..], sent[ends[1]..], "the last one alone");
        let (mut again, mut spans) = (ends[1], Vec::new());
        let step = parse(
            &mut buf,
            &mut again,
            &mut Resume::default(),
            &limits,
            &mut spans,
        );
        assert_eq!((step, again), (Step::Request, sent.len()));
        let words: Vec<&[u8]> = spans
            .iter()
            .map(|span| &buf[span.at as usize..][..span.len as usize])
            .collect();
        assert_eq!(words, [&b"GET"[..], b"a b"]);
    }

    #[test]
    fn a_stranger_may_send_little() {
        let stranger = Limits {
            authenticated: false,
            ..Limits::default()
        };
        for (bytes, text) in [
            (&b"*10\r\n$4\r\n"[..], None),
            (b"*11\r\n", Some("unauthenticated multibulk length")),
            (b"*1\r\n$16384\r\n", None),
            (b"*1\r\n$16385\r\n", Some("unauthenticated bulk length")),
            (b"*1\r\n$16385", None),
            (b"*1\r\n$536870913\r\n", Some("invalid bulk length")),
            (b"*1000000000000000\r\n", Some("invalid multibulk length")),
        ] {
            assert_eq!(
                error(bytes, &stranger).as_deref(),
                text,
                "{}",
                bytes.escape_ascii()
            );
        }
        let ping = Seen::Request(vec![b"PING".to_vec()], true);
        assert_eq!(feed([&b"*1\r\n$4\r\nPING\r\n"[..]], &stranger), [ping]);
    }

    #[test]
    fn bytes_in_the_place_of_line_ends_are_not_looked_at_but_reported() {
        let ping = |canonical| Seen::Request(vec![b"PING".to_vec()], canonical);
        assert_eq!(whole(b"*1\r\n$4\r\nPING\r\n"), [ping(true)]);
        for odd in [
            &b"*1\rX$4\r\nPING\r\n"[..],
            b"*1\r\n$4\rYPING\r\n",
            b"*1\r\n$4\r\nPINGZZ",
        ] {
            let twice = [odd, b"*1\r\n$4\r\nPING\r\n"].concat();
            assert_eq!(
                whole(&twice),
                [ping(false), ping(true)],
                "{}",
                odd.escape_ascii()
            );
        }
        assert_eq!(
            whole(b"ECHO \"a b\" 'c'\r\n"),
            [Seen::Request(
                vec![b"ECHO".to_vec(), b"a b".to_vec(), b"c".to_vec()],
                false
            )]
        );
        let unbalanced = Seen::Bad(ProtocolError::UnbalancedQuotes);
        assert_eq!(whole(b"PING\r\nECHO \"a\r\n")[1..], [unbalanced]);
        // An inline request may look like another one once it is unescaped in place.
        assert_eq!(
            whole(b"\"\\x2a1\"\r\n"),
            [Seen::Request(vec![b"*1".to_vec()], false)]
        );
    }

    #[test]
    fn an_announced_size_costs_nothing() {
        let (mut resume, mut spans, mut pos) = (Resume::default(), Vec::new(), 0);
        let limits = Limits::default();
        let mut buf = b"*1000000000\r\n$536870912\r\nabc".to_vec();
        let step = parse(&mut buf, &mut pos, &mut resume, &limits, &mut spans);
        assert_eq!(
            step,
            Step::NeedMore {
                at_least: 536_870_911
            }
        );
        assert_eq!((spans.capacity(), resume.spans.capacity()), (0, 0));
    }

    #[test]
    fn an_unfinished_request_may_move() {
        let (mut resume, mut spans, limits) = (Resume::default(), Vec::new(), Limits::default());
        let mut first = b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$5\r\nhe".to_vec();
        let mut pos = 0;
        assert_eq!(
            parse(&mut first, &mut pos, &mut resume, &limits, &mut spans),
            Step::Request
        );
        let step = parse(&mut first, &mut pos, &mut resume, &limits, &mut spans);
        assert_eq!(
            (step, pos, spans.len()),
            (Step::NeedMore { at_least: 5 }, 14, 1)
        );
        let mut second = [b"....", &first[pos..], b"llo\r\n"].concat();
        pos = 4;
        spans.clear();
        assert_eq!(
            parse(&mut second, &mut pos, &mut resume, &limits, &mut spans),
            Step::Request
        );
        assert_eq!(
            (Argv::new(&second, &spans).get(1), pos),
            (&b"hello"[..], second.len())
        );
    }

    /// A stream of requests of all shapes, sound ones mostly.
    fn stream(rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..rng.below(8) {
            match rng.below(12) {
                0 => bytes.extend_from_slice(b"SET \"a\\x41 \" 'b c'\r\n"),
                1 => {
                    bytes.extend_from_slice([&b"\r\n"[..], b"*0\r\n", b"\n"][rng.below(3) as usize])
                }
                _ => {
                    let count = [1, 2, 3, 12][rng.below(4) as usize];
                    bytes.extend_from_slice(format!("*{count}\r\n").as_bytes());
                    for _ in 0..count {
                        let len = [0, 1, 9, 10, 99, 100, 300][rng.below(7) as usize];
                        bytes.extend_from_slice(format!("${len}\r\n").as_bytes());
                        bytes.extend((0..len).map(|i| b"ab\r\n\0"[i % 5]));
                        bytes.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        // Sometimes a byte goes wrong.
        if rng.below(2) == 0 && !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = b"\0\r\n*$019-x\" "[rng.below(12) as usize];
        }
        bytes
    }

    /// However the bytes arrive, and whichever way reads them, they mean the same.
    #[test]
    fn pieces_mean_what_the_whole_means() {
        let mut rng = Rng::from_seed(0x5EED);
        let limits = Limits::default();
        for _ in 0..3000 {
            let bytes = stream(&mut rng);
            let expected = feed([&bytes[..]], &limits);
            assert_eq!(
                feed(bytes.chunks(1), &limits),
                expected,
                "{}",
                bytes.escape_ascii()
            );
            let (mut rest, mut pieces) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(1 + rng.below(rest.len() as u64) as usize);
                pieces.push(piece);
                rest = behind;
            }
            assert_eq!(feed(pieces, &limits), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn slow_arrival_is_not_quadratic() {
        // 60 KB in one line and 20,000 arguments, byte by byte: hours if each byte began anew,
        // counted here by what is looked at rather than by time.
        let (mut resume, mut spans, limits) = (Resume::default(), Vec::new(), Limits::default());
        let mut line = vec![b'x'; 60_000];
        for have in 1..line.len() {
            let step = parse(&mut line[..have], &mut 0, &mut resume, &limits, &mut spans);
            assert_eq!(
                (step, resume.scanned as usize),
                (Step::NeedMore { at_least: 1 }, have)
            );
        }
        let mut resume = Resume::default();
        let mut many = [b"*20001\r\n".as_slice(), &b"$1\r\na\r\n".repeat(20_000)].concat();
        for have in 1..=many.len() {
            let at = resume.at;
            parse(&mut many[..have], &mut 0, &mut resume, &limits, &mut spans);
            assert!(
                resume.at - at <= 8,
                "no more than one line or argument is new"
            );
        }
        assert_eq!(resume.spans.len(), 20_000);
    }
}
