//! DER, as far as certificates and keys need it: one element after the other, nothing copied.
//!
//! What is read here comes from files and from peers: each length is held against what is there, and nothing
//! recurses.

/// Tags that are asked for by name.
pub mod tag {
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTF8: u8 = 0x0c;
    pub const PRINTABLE: u8 = 0x13;
    pub const TELETEX: u8 = 0x14;
    pub const IA5: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const BMP: u8 = 0x1e;
    pub const BOOLEAN: u8 = 0x01;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// `[n]`, constructed.
    pub const fn context(n: u8) -> u8 {
        0xa0 | n
    }
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    pub tag: u8,
    /// What is in it.
    pub body: &'a [u8],
    /// All of it, tag and length included.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements inside.
    pub fn inside(self) -> Reader<'a> {
        Reader(self.body)
    }
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is.
    pub fn any(&mut self) -> Option<Element<'a>> {
        let all = self.0;
        let (&tag, rest) = all.split_first()?;
        if tag & 0x1f == 0x1f {
            return None; // no tag of several bytes is in what is read here
        }
        let (&first, rest) = rest.split_first()?;
        let (len, head) = match first {
            0..=0x7f => (usize::from(first), 2),
            0x81..=0x84 => {
                let n = usize::from(first & 0x7f);
                let digits = rest.get(..n)?;
                let len = digits
                    .iter()
                    .fold(0usize, |len, b| len << 8 | usize::from(*b));
                (len, 2 + n)
            }
            _ => return None,
        };
        let end = head.checked_add(len)?;
        let whole = all.get(..end)?;
        self.0 = &all[end..];
        Some(Element {
            tag,
            body: &whole[head..],
            whole,
        })
    }

    /// The next element, if it is of this kind; otherwise nothing is read.
    pub fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.any().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }
}

/// A small whole number.
pub fn number(body: &[u8]) -> Option<u32> {
    let digits = body.strip_prefix(&[0]).unwrap_or(body);
    if digits.len() > 4 || body.is_empty() || body[0] & 0x80 != 0 {
        return None;
    }
    Some(digits.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_not_read() {
        let bytes = [0x30, 0x06, 0x02, 0x01, 0x05, 0x04, 0x01, 0xff];
        let mut reader = Reader::new(&bytes);
        let mut inside = reader.take(tag::SEQUENCE).expect("a sequence").inside();
        assert!(reader.is_empty());
        assert!(inside.take(tag::SEQUENCE).is_none());
        assert_eq!(
            inside.take(tag::INTEGER).and_then(|e| number(e.body)),
            Some(5)
        );
        assert_eq!(inside.any().map(|e| e.body), Some(&[0xff][..]));
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).any().is_none(), "{end}");
        }
        assert!(
            Reader::new(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff, 0])
                .any()
                .is_none()
        );
        assert_eq!(number(&[0x80]), None);
        assert_eq!(number(&[0, 0xff, 0xff, 0xff, 0xff]), Some(u32::MAX));
        assert_eq!(number(&[1, 0, 0, 0, 0]), None);
    }
}
