//! A request's arguments, as everything behind the parser sees them.
//!
//! Two slices and no allocation: the bytes stay in the buffer that was read. What has to outlive
//! that buffer (MULTI's queue, a blocked client) is copied into one allocation for all arguments.

/// Where an argument lies in the buffer that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub at: u32,
    /// Length in bytes.
    pub len: u32,
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

    /// The bytes from the first argument to the last one, if all stand there as a request is written
    /// (each behind its `\r\n$<length>\r\n`): an inline request or a copy has them otherwise.
    #[inline]
    pub fn wire(&self) -> Option<&'a [u8]> {
        let (first, rest) = self.spans.split_first()?;
        let mut end = (first.at + first.len) as usize;
        for span in rest {
            let at = span.at as usize;
            // A line break stands in no inline request, and a length with as many digits as the number
            // has can only be that number.
            let head = self.buf.get(end..at)?;
            let as_written = head.len() == 5 + digits(span.len)
                && head.starts_with(b"\r\n$")
                && head.ends_with(b"\r\n");
            if !as_written {
                return None;
            }
            end = at + span.len as usize;
        }
        self.buf.get(first.at as usize..end)
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

/// How many decimal digits a number has.
#[inline]
fn digits(n: u32) -> usize {
    match n {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        _ => n.ilog10() as usize + 1,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argv_is_a_window() {
        let bytes = b"SETkeyvalue";
        let spans = [
            Span { at: 0, len: 3 },
            Span { at: 3, len: 3 },
            Span { at: 6, len: 5 },
        ];
        let argv = Argv::new(bytes, &spans);
        assert_eq!(
            (argv.len(), argv.get(1), argv.from(2).get(0)),
            (3, &b"key"[..], &b"value"[..])
        );
        assert_eq!(
            (
                argv.from(3).len(),
                argv.from(9).is_empty(),
                argv.first(2).len()
            ),
            (0, true, 2)
        );
        assert!(argv.iter().rev().eq([&b"value"[..], b"key", b"SET"]));
        assert_eq!(argv.wire(), None);
        let owned = argv.from(1).to_owned();
        assert!(owned.argv().iter().eq([&b"key"[..], b"value"]));
    }

    #[test]
    fn a_request_is_one_piece_where_it_was_written_plainly() {
        use crate::resp::request::{Limits, Resume, Step, parse};
        for (sent, wire) in [
            ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$11\r\n12345678901\r\n", true),
            ("*1\r\n$4\r\nPING\r\n", true),
            ("*2\r\n$03\r\nDEL\r\n$1\r\nk\r\n", false),
            ("*2\r\n$3\r\nDEL\r\n$01\r\nk\r\n", false),
            ("*2\r\n$3\r\nDEL..$1\r\nk\r\n", false),
            ("DEL       k\r\n", false),
            ("DEL \"\\x24\" \"\r\"$   k\n", false),
        ] {
            let mut buf = sent.as_bytes().to_vec();
            let (mut pos, mut resume, mut spans) = (0, Resume::default(), Vec::new());
            let step = parse(
                &mut buf,
                &mut pos,
                &mut resume,
                &Limits::default(),
                &mut spans,
            );
            if !matches!(step, Step::Request) {
                assert!(!wire, "{sent:?}");
                continue;
            }
            let argv = Argv::new(&buf, &spans);
            assert_eq!(argv.wire().is_some(), wire, "{sent:?}");
            if let Some(wire) = argv.wire() {
                assert!(wire.starts_with(argv.get(0)) && wire.ends_with(argv.get(argv.len() - 1)));
            }
        }
    }
}
