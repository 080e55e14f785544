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
        let owned = argv.from(1).to_owned();
        assert!(owned.argv().iter().eq([&b"key"[..], b"value"]));
    }
}
