//! Replies read back: for tools, scripts (what a command answered inside a script) and tests.
//!
//! Reads both protocols. A reply is input like a request: its depth is bounded, no memory is
//! reserved for what is only announced, and nothing makes it panic. It reads from the start each
//! time, so whoever waits for a huge reply in small pieces should wait for more than one piece.

use crate::base::num::parse_i64;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+text`
    Simple(Vec<u8>),
    /// `-text`, the code included; also RESP3's `!` with a length.
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$` with a length
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `*n`
    Array(Vec<Value>),
    /// `_`
    Null,
    /// `#t`, `#f`
    Bool(bool),
    /// `,digits`
    Double(f64),
    /// `(digits`, the sign included
    BigNumber(Vec<u8>),
    /// `=` with a length: three bytes that say what the text is, and the text
    Verbatim([u8; 3], Vec<u8>),
    /// `%n`
    Map(Vec<(Value, Value)>),
    /// `~n`
    Set(Vec<Value>),
    /// `>n`
    Push(Vec<Value>),
    /// `|n` and the value it speaks of
    Attribute(Vec<(Value, Value)>, Box<Value>),
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// No reply begins with this byte.
    UnknownType(u8),
    /// A number, a length or a truth value is written wrongly, or out of range.
    BadNumber,
    /// Where a line end must be there is something else.
    NoLineEnd,
    /// A verbatim string is shorter than its own heading.
    BadVerbatim,
    /// Deeper nested than `DEPTH_MAX`.
    TooDeep,
    /// A line is longer than `LINE_MAX`.
    LineTooLong,
}

/// How deep aggregates may lie in each other.
pub const DEPTH_MAX: usize = 64;

/// Longest line. Errors show parts of requests, and those are cut far below this.
pub const LINE_MAX: usize = 64 * 1024;

/// Longest string and largest aggregate: more is a lie.
const LENGTH_MAX: i64 = u32::MAX as i64;

impl Value {
    /// The text of a string of any kind.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(text)
            | Value::Bulk(text)
            | Value::BigNumber(text)
            | Value::Verbatim(_, text) => Some(text),
            _ => None,
        }
    }

    /// True for the nulls of both protocols.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null | Value::NullBulk | Value::NullArray)
    }
}

/// Reads one reply from the front of `bytes`: it and its length, or `None` when it is unfinished.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.value(0) {
        Ok(value) => Ok(Some((value, reader.at))),
        Err(Stop::Unfinished) => Ok(None),
        Err(Stop::Wrong(error)) => Err(error),
    }
}

enum Stop {
    Unfinished,
    Wrong(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Stop {
        Stop::Wrong(error)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        let kind = *self.bytes.get(self.at).ok_or(Stop::Unfinished)?;
        if !b"+-:$*_#,(!=%~>|".contains(&kind) {
            return Err(DecodeError::UnknownType(kind).into());
        }
        let line = self.line()?;
        Ok(match kind {
            b'+' => Value::Simple(line.to_vec()),
            b'-' => Value::Error(line.to_vec()),
            b':' => Value::Int(parse_i64(line).ok_or(DecodeError::BadNumber)?),
            b'_' if line.is_empty() => Value::Null,
            b'#' if line == b"t" => Value::Bool(true),
            b'#' if line == b"f" => Value::Bool(false),
            b',' => Value::Double(double(line)?),
            b'(' => Value::BigNumber(big_number(line)?.to_vec()),
            b'$' if line == b"-1" => Value::NullBulk,
            b'*' if line == b"-1" => Value::NullArray,
            b'$' => Value::Bulk(self.string(line)?.to_vec()),
            b'!' => Value::Error(self.string(line)?.to_vec()),
            b'=' => match self.string(line)? {
                [a, b, c, b':', text @ ..] => Value::Verbatim([*a, *b, *c], text.to_vec()),
                _ => return Err(DecodeError::BadVerbatim.into()),
            },
            b'*' => Value::Array(self.values(line, depth)?),
            b'~' => Value::Set(self.values(line, depth)?),
            b'>' => Value::Push(self.values(line, depth)?),
            b'%' => Value::Map(self.pairs(line, depth)?),
            b'|' => {
                let pairs = self.pairs(line, depth)?;
                Value::Attribute(pairs, Box::new(self.value(depth + 1)?))
            }
            _ => return Err(DecodeError::BadNumber.into()),
        })
    }

    /// The rest of the line, behind its first byte.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at + 1..];
        let seen = &rest[..rest.len().min(LINE_MAX)];
        let Some(end) = memchr::memchr(b'\r', seen) else {
            return Err(if seen.len() == LINE_MAX {
                DecodeError::LineTooLong.into()
            } else {
                Stop::Unfinished
            });
        };
        match rest.get(end + 1) {
            None => Err(Stop::Unfinished),
            Some(b'\n') => {
                self.at += 1 + end + 2;
                Ok(&rest[..end])
            }
            Some(_) => Err(DecodeError::NoLineEnd.into()),
        }
    }

    fn string(&mut self, len: &[u8]) -> Result<&'a [u8], Stop> {
        let len = length(len)?;
        let rest = &self.bytes[self.at..];
        let Some((text, end)) = rest.split_at_checked(len) else {
            return Err(Stop::Unfinished);
        };
        match end {
            [b'\r', b'\n', ..] => {
                self.at += len + 2;
                Ok(text)
            }
            [] | [b'\r'] => Err(Stop::Unfinished),
            _ => Err(DecodeError::NoLineEnd.into()),
        }
    }

    fn values(&mut self, len: &[u8], depth: usize) -> Result<Vec<Value>, Stop> {
        (0..length(len)?).map(|_| self.value(depth + 1)).collect()
    }

    fn pairs(&mut self, len: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let pair = |_| Ok((self.value(depth + 1)?, self.value(depth + 1)?));
        (0..length(len)?).map(pair).collect()
    }
}

fn length(digits: &[u8]) -> Result<usize, DecodeError> {
    parse_i64(digits)
        .filter(|len| (0..=LENGTH_MAX).contains(len))
        .map(|len| len as usize)
        .ok_or(DecodeError::BadNumber)
}

fn big_number(digits: &[u8]) -> Result<&[u8], DecodeError> {
    let unsigned = digits
        .strip_prefix(b"-")
        .or(digits.strip_prefix(b"+"))
        .unwrap_or(digits);
    let sound = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    if sound {
        Ok(digits)
    } else {
        Err(DecodeError::BadNumber)
    }
}

fn double(text: &[u8]) -> Result<f64, DecodeError> {
    match text {
        b"nan" | b"-nan" => Ok(f64::NAN),
        _ => crate::base::num::parse_f64(text).ok_or(DecodeError::BadNumber),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::reply::Writer;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[test]
    fn every_kind_is_read() {
        for (bytes, value) in [
            (&b"+OK\r\n"[..], Value::Simple(b"OK".to_vec())),
            (b"-ERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (b"!6\r\nERR no\r\n", Value::Error(b"ERR no".to_vec())),
            (b":-7\r\n", Value::Int(-7)),
            (b"$4\r\na\r\nb\r\n", bulk("a\r\nb")),
            (b"$0\r\n\r\n", bulk("")),
            (b"$-1\r\n", Value::NullBulk),
            (b"*-1\r\n", Value::NullArray),
            (b"_\r\n", Value::Null),
            (b"#t\r\n", Value::Bool(true)),
            (b"#f\r\n", Value::Bool(false)),
            (b",3.5\r\n", Value::Double(3.5)),
            (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
            (b"(-123456789012345678901234567890\r\n", {
                Value::BigNumber(b"-123456789012345678901234567890".to_vec())
            }),
            (
                b"=6\r\ntxt:ab\r\n",
                Value::Verbatim(*b"txt", b"ab".to_vec()),
            ),
            (
                b"*2\r\n:1\r\n*0\r\n",
                Value::Array(vec![Value::Int(1), Value::Array(vec![])]),
            ),
            (b"~1\r\n$1\r\na\r\n", Value::Set(vec![bulk("a")])),
            (b">1\r\n$1\r\na\r\n", Value::Push(vec![bulk("a")])),
            (
                b"%1\r\n$1\r\na\r\n:1\r\n",
                Value::Map(vec![(bulk("a"), Value::Int(1))]),
            ),
            (b"|1\r\n$1\r\na\r\n:1\r\n:2\r\n", {
                Value::Attribute(vec![(bulk("a"), Value::Int(1))], Box::new(Value::Int(2)))
            }),
        ] {
            let followed = [bytes, b"+more\r\n"].concat();
            let shown = bytes.escape_ascii();
            assert_eq!(decode(&followed), Ok(Some((value, bytes.len()))), "{shown}");
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Ok(None), "{shown} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (bytes, error) in [
            (&b"PING\r\n"[..], DecodeError::UnknownType(b'P')),
            (b"*1\r\n?", DecodeError::UnknownType(b'?')),
            (b":\r\n", DecodeError::BadNumber),
            (b":1x\r\n", DecodeError::BadNumber),
            (b":9223372036854775808\r\n", DecodeError::BadNumber),
            (b"$-2\r\n", DecodeError::BadNumber),
            (b"*-2\r\n", DecodeError::BadNumber),
            (b"%-1\r\n", DecodeError::BadNumber),
            (b"$4294967296\r\n", DecodeError::BadNumber),
            (b"#x\r\n", DecodeError::BadNumber),
            (b"_x\r\n", DecodeError::BadNumber),
            (b"(12a\r\n", DecodeError::BadNumber),
            (b"(\r\n", DecodeError::BadNumber),
            (b",x\r\n", DecodeError::BadNumber),
            (b"=3\r\ntxt\r\n", DecodeError::BadVerbatim),
            (b"$1\r\nabc", DecodeError::NoLineEnd),
            (b"+a\rb\r\n", DecodeError::NoLineEnd),
        ] {
            assert_eq!(decode(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        assert_eq!(
            decode(&vec![b'+'; LINE_MAX + 1]),
            Err(DecodeError::LineTooLong)
        );
        assert_eq!(
            decode(&b"*1\r\n".repeat(1 << 20)),
            Err(DecodeError::TooDeep)
        );
        assert_eq!(
            decode(&b"|0\r\n".repeat(1 << 20)),
            Err(DecodeError::TooDeep)
        );
        assert_eq!(
            decode(b"*4294967295\r\n:1\r\n"),
            Ok(None),
            "and no memory for it"
        );
    }

    #[test]
    fn what_the_writer_writes_is_read_back() {
        let write = |resp3| {
            let mut out = Writer::new(resp3);
            out.map(2);
            out.bulk(b"a");
            out.double(-0.5);
            out.bulk(b"b");
            out.verbatim("txt", b"c\r\n");
            let (value, used) = decode(&out.buf).expect("sound").expect("whole");
            assert_eq!(used, out.buf.len());
            value
        };
        let (double, text) = (
            Value::Double(-0.5),
            Value::Verbatim(*b"txt", b"c\r\n".to_vec()),
        );
        assert_eq!(
            write(true),
            Value::Map(vec![(bulk("a"), double), (bulk("b"), text)])
        );
        let flat = ["a", "-0.5", "b", "c\r\n"].map(bulk).to_vec();
        assert_eq!(write(false), Value::Array(flat));
    }
}
