//! Reading RDB primitives.

use std::fmt;

use super::{INT_8, INT_16, INT_32, LEN_32, LEN_64, LZF};
use crate::base::lzf;
use crate::base::num::{fmt_i64, parse_f64};

/// What is wrong with the bytes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset in the source of what could not be read.
    pub at: usize,
    /// What is wrong.
    pub why: Why,
}

/// What is wrong with bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They end too early: at least so many are missing. Not wrong yet where more may come.
    Short(usize),
    /// They can never be right.
    Bad(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at offset {}", self.why, self.at)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Short(missing) => write!(out, "{missing} bytes are missing"),
            Why::Bad(what) => out.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

/// A string as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// As it lies in the source.
    Plain(&'a [u8]),
    /// Written as a number.
    Int(i32),
    /// Written compressed.
    Unpacked(Vec<u8>),
}

impl Text<'_> {
    /// The bytes; `room` lends the room for an integer's digits.
    pub fn bytes<'b>(&'b self, room: &'b mut [u8; 20]) -> &'b [u8] {
        match self {
            Text::Plain(bytes) => bytes,
            Text::Int(int) => fmt_i64(i64::from(*int), room),
            Text::Unpacked(bytes) => bytes,
        }
    }

    /// The bytes in a vector of their own.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Text::Plain(bytes) => bytes.to_vec(),
            Text::Int(int) => fmt_i64(i64::from(int), &mut [0; 20]).to_vec(),
            Text::Unpacked(bytes) => bytes,
        }
    }
}

/// A string as it lies in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written<'a> {
    /// Its bytes.
    Plain(&'a [u8]),
    /// A number.
    Int(i32),
    /// Compressed, and the length of the text that is said to be.
    Packed {
        /// What [`Source::unpack`] unpacks.
        bytes: &'a [u8],
        /// Bytes of the text.
        len: usize,
    },
}

/// Bytes being read, with the place where reading goes on. A failed read leaves it anywhere.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Source<'a> {
    /// Reads these bytes from their beginning.
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// A fault of the bytes read last.
    #[cold]
    pub fn bad(&self, what: &'static str) -> Fault {
        Fault {
            at: self.at,
            why: Why::Bad(what),
        }
    }

    #[cold]
    fn short(&self, wanted: usize) -> Fault {
        Fault {
            at: self.at,
            why: Why::Short(wanted.saturating_sub(self.left()).max(1)),
        }
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        match self.bytes[self.at..].get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => Err(self.short(len)),
        }
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.short(N)),
        }
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes, the lowest first.
    #[inline]
    pub fn u32_le(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, the lowest first.
    #[inline]
    pub fn u64_le(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length, or a number written as one.
    #[inline]
    pub fn len(&mut self) -> Result<u64, Fault> {
        let at = self.at;
        match self.length()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => Err(Fault {
                at,
                why: Why::Bad("a string's encoding where a length belongs"),
            }),
        }
    }

    #[inline]
    fn length(&mut self) -> Result<Length, Fault> {
        let head = self.byte()?;
        Ok(Length::Plain(match head >> 6 {
            0 => u64::from(head),
            1 => u64::from(head & 0x3F) << 8 | u64::from(self.byte()?),
            3 => return Ok(Length::Encoded(head & 0x3F)),
            _ => match head {
                LEN_32 => u64::from(u32::from_be_bytes(self.array()?)),
                LEN_64 => u64::from_be_bytes(self.array()?),
                _ => return Err(self.bad("an unknown form of length")),
            },
        }))
    }

    /// How many things follow, each of at least `least` bytes. A count that the bytes which are left
    /// cannot hold is refused, so that memory may be reserved by it.
    pub fn count(&mut self, least: usize) -> Result<usize, Fault> {
        let count = self.len()?;
        let needed = count.saturating_mul(least as u64);
        if needed > self.left() as u64 {
            return Err(self.short(usize::try_from(needed).unwrap_or(usize::MAX)));
        }
        Ok(count as usize)
    }

    fn blob_len(&mut self) -> Result<usize, Fault> {
        let len = self.len()?;
        usize::try_from(len).map_err(|_| self.bad("a length beyond all memory"))
    }

    /// A string as it is written: nothing is unpacked yet.
    #[inline]
    pub fn written(&mut self) -> Result<Written<'a>, Fault> {
        let form = match self.length()? {
            Length::Plain(len) => {
                let len =
                    usize::try_from(len).map_err(|_| self.bad("a length beyond all memory"))?;
                return self.take(len).map(Written::Plain);
            }
            Length::Encoded(form) => form,
        };
        let int = match form {
            INT_8 => i32::from(i8::from_le_bytes(self.array()?)),
            INT_16 => i32::from(i16::from_le_bytes(self.array()?)),
            INT_32 => i32::from_le_bytes(self.array()?),
            LZF => {
                let packed_len = self.blob_len()?;
                let len = self.blob_len()?;
                let bytes = self.take(packed_len)?;
                return Ok(Written::Packed { bytes, len });
            }
            _ => return Err(self.bad("an unknown encoding of a string")),
        };
        Ok(Written::Int(int))
    }

    /// Appends a compressed string's text to `out`.
    #[inline]
    pub fn unpack(&self, packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        lzf::decompress(packed, len, out)
            .map_err(|lzf::Corrupt| self.bad("a string whose compression is broken"))
    }

    /// A string.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        Ok(match self.written()? {
            Written::Plain(bytes) => Text::Plain(bytes),
            Written::Int(int) => Text::Int(int),
            Written::Packed { bytes, len } => {
                let mut text = Vec::new();
                self.unpack(bytes, len, &mut text)?;
                Text::Unpacked(text)
            }
        })
    }

    /// A string's bytes, which are put into `room` if they do not lie in the source.
    #[inline]
    pub fn string_in<'r>(&mut self, room: &'r mut Vec<u8>) -> Result<&'r [u8], Fault>
    where
        'a: 'r,
    {
        match self.written()? {
            Written::Plain(bytes) => return Ok(bytes),
            Written::Int(int) => {
                room.clear();
                room.extend_from_slice(fmt_i64(i64::from(int), &mut [0; 20]));
            }
            Written::Packed { bytes, len } => {
                room.clear();
                self.unpack(bytes, len, room)?;
            }
        }
        Ok(room)
    }

    /// The string at an offset that was passed already; reading goes on where it was.
    pub fn string_at(&self, at: usize) -> Result<Text<'a>, Fault> {
        let mut there = Source {
            bytes: self.bytes,
            at: at.min(self.at),
        };
        there.string()
    }

    /// Steps over `len` bytes.
    pub fn skip(&mut self, len: usize) -> Result<(), Fault> {
        self.take(len).map(drop)
    }

    /// Steps over a string without unpacking it; the length that its text has, or is said to have (a number:
    /// of its bytes).
    pub fn skip_string(&mut self) -> Result<usize, Fault> {
        let (len, text_len) = match self.length()? {
            Length::Plain(len) => {
                let len =
                    usize::try_from(len).map_err(|_| self.bad("a length beyond all memory"))?;
                (len, len)
            }
            Length::Encoded(INT_8) => (1, 1),
            Length::Encoded(INT_16) => (2, 2),
            Length::Encoded(INT_32) => (4, 4),
            Length::Encoded(LZF) => (self.blob_len()?, self.blob_len()?),
            Length::Encoded(_) => return Err(self.bad("an unknown encoding of a string")),
        };
        self.skip(len)?;
        Ok(text_len)
    }

    /// A double as its eight bytes.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A double as old files have it: text behind one byte of length, three of whose values are names.
    pub fn f64_text(&mut self) -> Result<f64, Fault> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            253 => Ok(f64::NAN),
            len => {
                let text = self.take(usize::from(len))?;
                parse_f64(text).ok_or_else(|| self.bad("a double that is no number"))
            }
        }
    }
}

enum Length {
    Plain(u64),
    /// Of a string: how it is encoded.
    Encoded(u8),
}

#[cfg(test)]
mod tests {
    use super::super::{Sink, fuzz_codec};
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn what_was_written_is_read() {
        let mut rng = Rng::from_seed(1);
        let mut sink = Sink::to_memory(true);
        let mut expected = Vec::new();
        for _ in 0..if cfg!(miri) { 50 } else { 3000 } {
            let len = rng.next_u64() >> rng.below(64);
            let text = match rng.below(3) {
                0 => vec![b'a'; rng.below(300) as usize],
                1 => (len.cast_signed() >> rng.below(64))
                    .to_string()
                    .into_bytes(),
                _ => (0..rng.below(100)).map(|_| rng.next_u64() as u8).collect(),
            };
            let double = f64::from_bits(rng.next_u64());
            sink.len(len);
            sink.string(&text);
            sink.int_string(len.cast_signed());
            sink.f64(double);
            expected.push((len, text, double));
        }
        let bytes = sink.into_vec();
        let mut source = Source::new(&bytes);
        let mut skipping = Source::new(&bytes);
        for (len, text, double) in expected {
            assert_eq!(source.len(), Ok(len));
            assert_eq!(source.string().unwrap().into_vec(), text);
            let digits = source.string().unwrap().into_vec();
            assert_eq!(digits, len.cast_signed().to_string().into_bytes());
            assert_eq!(source.f64().unwrap().to_bits(), double.to_bits());

            skipping.len().unwrap();
            skipping.skip_string().unwrap();
            skipping.skip_string().unwrap();
            skipping.skip(8).unwrap();
            assert_eq!(skipping.position(), source.position());
        }
        assert!(source.is_empty());
    }

    #[test]
    fn old_doubles_are_text() {
        let mut source = Source::new(b"\x043.25\xFF\xFE\xFD\x02ab");
        assert_eq!(source.f64_text(), Ok(3.25));
        assert_eq!(source.f64_text(), Ok(f64::NEG_INFINITY));
        assert_eq!(source.f64_text(), Ok(f64::INFINITY));
        assert!(source.f64_text().unwrap().is_nan());
        assert!(source.f64_text().is_err());
    }

    #[test]
    fn lies_are_found_before_memory_is_reserved() {
        let huge = [0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2];
        assert_eq!(Source::new(&huge).count(1).unwrap_err().at, 9);
        assert!(Source::new(&huge).string().is_err());
        // 200 bytes said to unfold to 4 GiB.
        let mut bomb = vec![0xC3, 0x40, 200, 0x80, 0xFF, 0xFF, 0xFF, 0xFF];
        bomb.extend([0; 200]);
        assert!(matches!(
            Source::new(&bomb).string().unwrap_err().why,
            Why::Bad(_)
        ));
        for bytes in [
            &[][..],
            &[0x82],
            &[0xC4],
            &[0xC0],
            &[5, 1],
            &[0xC3, 1],
            &[0x40],
        ] {
            assert!(Source::new(bytes).string().is_err(), "{bytes:?}");
            assert!(Source::new(bytes).skip_string().is_err(), "{bytes:?}");
        }
        assert_eq!(
            Source::new(&[5, 1]).string().unwrap_err(),
            Fault {
                at: 1,
                why: Why::Short(4)
            }
        );
        assert!(Source::new(&[0xC1, 0, 0]).len().is_err());
        assert!(Source::new(&[3, 0, 0]).count(1).is_err());
        assert_eq!(Source::new(&[2, 0, 0]).count(1), Ok(2));
    }

    #[test]
    fn any_bytes_can_be_read() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..if cfg!(miri) { 20 } else { 2000 } {
            let mut bytes = vec![0; rng.below(60) as usize];
            rng.fill(&mut bytes);
            fuzz_codec(&bytes);
        }
    }
}
