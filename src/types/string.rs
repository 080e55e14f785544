//! The string: an integer, bytes inside the entry, or a large buffer of its own.
//!
//! This file says how a string reads (`StrRef`), what a large one is (`BigStr`) and which bytes are stored
//! as an integer; where each form lies is the entry's business. Large strings are shared buffers when they
//! came in or go out by reference, and growable ones once they are edited.

use bytes::Bytes;

use crate::base::num::{fmt_i64, len_i64, parse_i64};

/// Strings up to this length are "embstr" to OBJECT ENCODING unless they were edited in place.
pub const EMBSTR_LEN_MAX: usize = 44;

/// Room to print an integer in.
pub type IntBuf = [u8; 20];

/// A string value as it lies in the keyspace.
#[derive(Clone, Copy)]
pub enum StrRef<'a> {
    /// Stored as a number.
    Int(i64),
    /// Bytes inside the entry.
    Inline {
        /// The value.
        bytes: &'a [u8],
        /// It was edited in place (APPEND, SETRANGE, SETBIT), which clients can see as its encoding.
        raw: bool,
    },
    /// A buffer of its own.
    Big(&'a BigStr),
}

impl<'a> StrRef<'a> {
    /// The bytes; an integer is printed into `room`.
    #[inline]
    pub fn bytes<'b>(self, room: &'b mut IntBuf) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            StrRef::Int(n) => fmt_i64(n, room),
            StrRef::Inline { bytes, .. } => bytes,
            StrRef::Big(big) => big.as_slice(),
        }
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        match self {
            StrRef::Int(n) => len_i64(n),
            StrRef::Inline { bytes, .. } => bytes.len(),
            StrRef::Big(big) => big.as_slice().len(),
        }
    }

    /// True for the empty string.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The number the string spells, if it is one.
    #[inline]
    pub fn as_int(self) -> Option<i64> {
        match self {
            StrRef::Int(n) => Some(n),
            StrRef::Inline { bytes, .. } => parse_i64(bytes),
            StrRef::Big(_) => None,
        }
    }

    /// A copy.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut [0; 20]).to_vec()
    }

    /// The name OBJECT ENCODING replies.
    pub fn encoding(self) -> &'static str {
        match self {
            StrRef::Int(_) => "int",
            StrRef::Inline { bytes, raw: false } if bytes.len() <= EMBSTR_LEN_MAX => "embstr",
            StrRef::Inline { .. } => "raw",
            StrRef::Big(big) => big.encoding(),
        }
    }
}

/// A string with a buffer of its own.
#[derive(Clone)]
pub enum BigStr {
    /// Edited last: nobody else holds it.
    Owned(Vec<u8>),
    /// As it came from the socket, or lent to replies that are still being written.
    Shared(Bytes),
}

impl BigStr {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            BigStr::Owned(v) => v,
            BigStr::Shared(b) => b,
        }
    }

    /// Lends the bytes without copying them; the string can still be edited afterwards, at the cost of one
    /// copy if the loan is still out then.
    pub fn share(&mut self) -> Bytes {
        if let BigStr::Owned(v) = self {
            *self = BigStr::Shared(Bytes::from(std::mem::take(v)));
        }
        match self {
            BigStr::Shared(b) => b.clone(),
            BigStr::Owned(_) => unreachable!("made shared above"),
        }
    }

    /// Overwrites the string, in the buffer it has when that is free and of about the size.
    pub fn assign(&mut self, bytes: &[u8]) {
        if let BigStr::Shared(b) = self
            && b.is_unique()
        {
            self.make_owned();
        }
        match self {
            BigStr::Owned(v) if (bytes.len()..=bytes.len() * 2).contains(&v.capacity()) => {
                v.clear();
                v.extend_from_slice(bytes);
            }
            _ => *self = BigStr::Owned(bytes.to_vec()),
        }
    }

    /// The bytes as a growable buffer: copies only when they are lent out.
    pub fn make_owned(&mut self) -> &mut Vec<u8> {
        if let BigStr::Shared(b) = self {
            *self = BigStr::Owned(Vec::from(std::mem::take(b)));
        }
        match self {
            BigStr::Owned(v) => v,
            BigStr::Shared(_) => unreachable!("made owned above"),
        }
    }

    /// Bytes of the buffer behind the string.
    pub fn heap_bytes(&self) -> usize {
        match self {
            BigStr::Owned(v) => v.capacity(),
            BigStr::Shared(b) => b.len(),
        }
    }

    /// The name OBJECT ENCODING replies.
    pub fn encoding(&self) -> &'static str {
        "raw"
    }
}

impl From<Vec<u8>> for BigStr {
    fn from(bytes: Vec<u8>) -> BigStr {
        BigStr::Owned(bytes)
    }
}

impl From<Bytes> for BigStr {
    fn from(bytes: Bytes) -> BigStr {
        BigStr::Shared(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_named_as_redis_names_them() {
        assert_eq!(StrRef::Int(5).encoding(), "int");
        let long = [b'x'; 45];
        assert_eq!(
            StrRef::Inline {
                bytes: &long[..44],
                raw: false
            }
            .encoding(),
            "embstr"
        );
        assert_eq!(
            StrRef::Inline {
                bytes: &long[..44],
                raw: true
            }
            .encoding(),
            "raw"
        );
        assert_eq!(
            StrRef::Inline {
                bytes: &long,
                raw: false
            }
            .encoding(),
            "raw"
        );
        assert_eq!(StrRef::Int(-120).len(), 4);
        assert_eq!(StrRef::Int(-120).to_vec(), b"-120");
    }

    #[test]
    fn a_lent_string_is_copied_before_it_is_edited() {
        let mut big = BigStr::from(b"hello".to_vec());
        let lent = big.share();
        big.make_owned().push(b'!');
        assert_eq!((&lent[..], big.as_slice()), (&b"hello"[..], &b"hello!"[..]));

        let at = big.share().as_ptr();
        assert_eq!(
            big.make_owned().as_ptr(),
            at,
            "no copy once the loan is back"
        );
    }
}
