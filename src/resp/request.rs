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

/// Where an argument lies in the buffer that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub at: u32,
    /// Length in bytes.
    pub len: u32,
}

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
}

/// A zero byte hides every line end behind it: Redis searches lines as C strings.
const HIDDEN: u32 = u32::MAX;

impl Resume {
    /// True between two requests: nothing of an unfinished one is held.
    #[inline]
    pub fn is_start(&self) -> bool {
        (self.at | self.scanned) == 0
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
#[inline]
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
#[inline]
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
/// Gives the number and the length of the line.
#[inline]
fn length_line(bytes: &[u8], mark: u8) -> Option<(u32, usize)> {
    const CR: u8 = b'\r';
    const LF: u8 = b'\n';
    match *bytes {
        [m, a @ b'0'..=b'9', CR, LF, ..] if m == mark => Some((u32::from(a - b'0'), 4)),
        [m, a @ b'1'..=b'9', b @ b'0'..=b'9', CR, LF, ..] if m == mark => {
            Some((u32::from(a - b'0') * 10 + u32::from(b - b'0'), 5))
        }
        [m, b'1'..=b'9', ..] if m == mark => {
            let digits = bytes[1..]
                .iter()
                .take(10)
                .take_while(|b| b.is_ascii_digit())
                .count();
            if digits > 9 || bytes.get(1 + digits..3 + digits) != Some(b"\r\n") {
                return None;
            }
            let value = bytes[1..1 + digits]
                .iter()
                .fold(0, |n, b| n * 10 + u32::from(b - b'0'));
            Some((value, digits + 3))
        }
        _ => None,
    }
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
    let count = parse_length(&bytes[1..end])
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
            let len = parse_length(&bytes[at + 1..end])
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

/// A number as Redis reads counts and lengths: an optional minus, digits without needless zeros.
fn parse_length(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Counted below zero, where there is room for one more.
    let mut value = 0i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value
            .checked_mul(10)?
            .checked_sub(i64::from(digit - b'0'))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
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

/// C's isspace, which is what Redis skips between words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Splits `line[at..]` into words and unescapes each where it stands: the result is never longer
/// than the text, so the writing end never overtakes the reading one. `None`: unbalanced quotes.
fn split_words(line: &mut [u8], mut at: usize, spans: &mut Vec<Span>) -> Option<()> {
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(());
        }
        let word = at;
        let mut out = at;
        while at < line.len() {
            match line[at] {
                // Only these end a word, though \v and \f are skipped between words.
                b' ' | b'\n' | b'\r' | b'\t' => break,
                quote @ (b'"' | b'\'') => {
                    (at, out) = unquote(line, at + 1, out, quote)?;
                    // A closing quote ends the word.
                    break;
                }
                byte => {
                    line[out] = byte;
                    at += 1;
                    out += 1;
                }
            }
        }
        spans.push(Span {
            at: word as u32,
            len: (out - word) as u32,
        });
    }
}

/// Copies quoted text from `at` to `out` up to its closing quote, behind which must be a space or
/// the end of the line. Gives both positions behind it.
fn unquote(line: &mut [u8], mut at: usize, mut out: usize, quote: u8) -> Option<(usize, usize)> {
    loop {
        let (byte, used) = match line.get(at..)? {
            [] => return None,
            [b, rest @ ..] if *b == quote => {
                return rest
                    .first()
                    .is_none_or(|b| is_space(*b))
                    .then_some((at + 1, out));
            }
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if quote == b'"' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'x', 2),
            },
            [b'\\', b, ..] if quote == b'"' => {
                let byte = match b {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, 2)
            }
            [b, ..] => (*b, 1),
        };
        line[out] = byte;
        at += used;
        out += 1;
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The arguments of a request, the command's name being number 0. Copied freely: two slices.
#[derive(Clone, Copy)]
pub struct Argv<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Argv<'a> {
    /// The arguments at `spans` of `buf`.
    #[inline]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Argv { buf, spans }
    }

    /// How many there are, the command's name among them.
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True when there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`. Panics beyond the end: a command's arity is checked before its handler runs.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        let Span { at, len } = self.spans[i];
        &self.buf[at as usize..][..len as usize]
    }

    /// The arguments from `i` on; none when `i` is beyond the end.
    #[inline]
    pub fn from(&self, i: usize) -> Argv<'a> {
        Argv {
            buf: self.buf,
            spans: self.spans.get(i..).unwrap_or_default(),
        }
    }

    /// The first `n` arguments, or all when there are fewer.
    #[inline]
    pub fn first(&self, n: usize) -> Argv<'a> {
        Argv {
            buf: self.buf,
            spans: self.spans.get(..n).unwrap_or(self.spans),
        }
    }

    /// All arguments in order.
    #[inline]
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + Clone + use<'a> {
        let buf = self.buf;
        self.spans
            .iter()
            .map(move |span| &buf[span.at as usize..][..span.len as usize])
    }

    /// A copy that outlives the buffer: for MULTI's queue and for a client that blocks.
    pub fn to_owned(&self) -> Box<OwnedArgv> {
        Box::new(self.iter().collect())
    }
}

impl std::fmt::Debug for Argv<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.iter().map(<[u8]>::escape_ascii))
            .finish()
    }
}

/// Arguments with bytes of their own, all in one vector.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgv {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgv {
    /// The arguments, to be read.
    #[inline]
    pub fn argv(&self) -> Argv<'_> {
        Argv {
            buf: &self.bytes,
            spans: &self.spans,
        }
    }

    /// Appends an argument. Panics when all together exceed 4 GiB, which no request can.
    pub fn push(&mut self, arg: &[u8]) {
        let at = u32::try_from(self.bytes.len()).expect("a request is shorter than 4 GiB");
        let len = u32::try_from(arg.len()).expect("an argument is shorter than 4 GiB");
        self.bytes.extend_from_slice(arg);
        self.spans.push(Span { at, len });
    }

    /// The memory it holds, without itself.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl<'a> FromIterator<&'a [u8]> for OwnedArgv {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(args: I) -> Self {
        let args = args.into_iter();
        let mut owned = OwnedArgv {
            bytes: Vec::new(),
            spans: Vec::with_capacity(args.size_hint().0),
        };
        args.for_each(|arg| owned.push(arg));
        owned
    }
}
