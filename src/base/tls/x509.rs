//! What the server itself wants to know of a certificate: who it names, until when it holds, whose it is.
//!
//! Chains are verified elsewhere (`verify`), with rustls's own reader; this one only looks.
use super::der::{Element, Reader, tag};

/// The parts of a certificate that are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// 0 for version 1, which has no extensions.
    pub version: u8,
    pub serial: &'a [u8],
    /// The names, with tag and length: they are compared whole.
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    /// Unix seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// The key, with tag and length.
    pub key: &'a [u8],
    /// What is signed, the signature's algorithm (its inside), the signature.
    pub signed: &'a [u8],
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
    extensions: &'a [u8],
}

/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// `keyCertSign`, among the first eight uses of a key.
const CERT_SIGN: u8 = 0x04;
/// `[6]` in a list of general names: a URI.
const URI: u8 = 0x86;

/// Reads a certificate; nothing where it is none.
pub fn read(der: &[u8]) -> Option<Certificate<'_>> {
    let mut outer = Reader::new(der);
    let mut whole = outer.take(tag::SEQUENCE)?.inside();
    let signed = whole.take(tag::SEQUENCE)?;
    let algorithm = whole.take(tag::SEQUENCE)?.body;
    let signature = whole.take(tag::BIT_STRING)?.body.strip_prefix(&[0])?;
    let mut inside = signed.inside();
    let version = match inside.take(tag::context(0)) {
        Some(element) => *element.inside().take(tag::INTEGER)?.body.last()?,
        None => 0,
    };
    let serial = inside.take(tag::INTEGER)?.body;
    inside.take(tag::SEQUENCE)?;
    let issuer = inside.take(tag::SEQUENCE)?.whole;
    let mut validity = inside.take(tag::SEQUENCE)?.inside();
    let not_before = seconds(validity.any()?)?;
    let not_after = seconds(validity.any()?)?;
    let subject = inside.take(tag::SEQUENCE)?.whole;
    let key = inside.take(tag::SEQUENCE)?.whole;
    let mut extensions: &[u8] = &[];
    while let Some(element) = inside.any() {
        if element.tag == tag::context(3) {
            extensions = element.inside().take(tag::SEQUENCE)?.body;
        }
    }
    Some(Certificate {
        version,
        serial,
        issuer,
        subject,
        not_before,
        not_after,
        key,
        signed: signed.whole,
        algorithm,
        signature,
        extensions,
    })
}

impl<'a> Certificate<'a> {
    /// The common name of its subject: the last one, which is the most particular.
    pub fn common_name(&self) -> Option<Vec<u8>> {
        let mut found = None;
        let mut names = Reader::new(self.subject).take(tag::SEQUENCE)?.inside();
        while let Some(set) = names.take(tag::SET) {
            let mut set = set.inside();
            while let Some(pair) = set.take(tag::SEQUENCE) {
                let mut pair = pair.inside();
                if pair
                    .take(tag::OID)
                    .is_some_and(|oid| oid.body == COMMON_NAME)
                {
                    found = pair.any().and_then(text);
                }
            }
        }
        found
    }

    /// The URIs among its subject's alternative names, in order.
    pub fn uris(&self) -> impl Iterator<Item = &'a [u8]> {
        let list = self
            .extension(ALTERNATIVE_NAMES)
            .and_then(|mut inside| inside.take(tag::SEQUENCE));
        let mut names = list.map_or(Reader::new(&[]), Element::inside);
        std::iter::from_fn(move || names.any())
            .filter(|name| name.tag == URI)
            .map(|name| name.body)
    }

    /// What an extension says, if it is there.
    fn extension(&self, wanted: &[u8]) -> Option<Reader<'a>> {
        let mut extensions = Reader::new(self.extensions);
        while let Some(extension) = extensions.take(tag::SEQUENCE) {
            let mut parts = extension.inside();
            let is_it = parts.take(tag::OID).is_some_and(|oid| oid.body == wanted);
            parts.take(tag::BOOLEAN);
            if is_it {
                // One that cannot be read says nothing, and is there.
                let value = parts.take(tag::OCTET_STRING);
                return Some(value.map_or(Reader::new(&[]), Element::inside));
            }
        }
        None
    }

    /// May its key sign other certificates? An authority says so of itself; one of version 1, which can say
    /// nothing, is one if it is its own issuer.
    pub fn may_sign(&self) -> bool {
        if self.version == 0 {
            return self.issuer == self.subject;
        }
        let is_authority = self.extension(BASIC_CONSTRAINTS).is_some_and(|mut inside| {
            let constraints = inside.take(tag::SEQUENCE).map(Element::inside);
            let said = constraints.and_then(|mut parts| parts.take(tag::BOOLEAN));
            said.is_some_and(|said| said.body != [0])
        });
        // The first byte says how many bits at the end do not count.
        let signs = |mut inside: Reader<'_>| {
            let uses = inside.take(tag::BIT_STRING);
            uses.is_some_and(|uses| uses.body.get(1).is_some_and(|first| first & CERT_SIGN != 0))
        };
        is_authority && self.extension(KEY_USAGE).is_none_or(signs)
    }

    /// Its serial number as everybody prints it: hexadecimal digits, no sign, no zeros in front.
    pub fn serial_text(&self) -> String {
        let digits: String = self
            .serial
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let short = digits.trim_start_matches("00");
        if short.is_empty() {
            "00".into()
        } else {
            short.into()
        }
    }
}

/// A public key's algorithm (its inside) and its bits.
pub fn key_parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Reader::new(key).take(tag::SEQUENCE)?.inside();
    let algorithm = parts.take(tag::SEQUENCE)?.body;
    Some((
        algorithm,
        parts.take(tag::BIT_STRING)?.body.strip_prefix(&[0])?,
    ))
}

/// Text in one of the forms that names are written in.
fn text(element: Element<'_>) -> Option<Vec<u8>> {
    match element.tag {
        tag::UTF8 | tag::PRINTABLE | tag::IA5 => Some(element.body.to_vec()),
        tag::TELETEX => {
            let chars = element.body.iter().map(|byte| char::from(*byte));
            Some(chars.collect::<String>().into_bytes())
        }
        tag::BMP if element.body.len().is_multiple_of(2) => {
            let units = element
                .body
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            let chars: Result<String, _> = char::decode_utf16(units).collect();
            chars.ok().map(String::into_bytes)
        }
        _ => None,
    }
}

/// A moment: `YYMMDDhhmmssZ`, or with four digits for the year.
fn seconds(element: Element<'_>) -> Option<i64> {
    let digits = element.body.strip_suffix(b"Z")?;
    let mut pairs = Vec::with_capacity(7);
    for pair in digits.chunks(2) {
        let &[tens, ones] = pair else { return None };
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            return None;
        }
        pairs.push(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'));
    }
    let (year, rest) = match (element.tag, &pairs[..]) {
        (tag::UTC_TIME, [year, rest @ ..]) => {
            (if *year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (tag::GENERALIZED_TIME, [century, year, rest @ ..]) => (century * 100 + year, rest),
        _ => return None,
    };
    let &[month, day, hour, minute, second] = rest else {
        return None;
    };
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years are counted from March on, so that the
/// day that leap years add comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, body: &[u8]) -> Option<i64> {
        seconds(Element {
            tag,
            body,
            whole: body,
        })
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(time(tag::UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(tag::UTC_TIME, b"000301000000Z"), Some(951_868_800));
        assert_eq!(time(tag::UTC_TIME, b"261121180000Z"), Some(1_795_284_000));
        assert_eq!(
            time(tag::GENERALIZED_TIME, b"20500101000000Z"),
            Some(2_524_608_000)
        );
        assert_eq!(
            time(tag::GENERALIZED_TIME, b"99991231235959Z"),
            Some(253_402_300_799)
        );
        for bad in [
            &b"700101000000"[..],
            b"7001010000Z",
            b"701301000000Z",
            b"70010100000aZ",
            b"Z",
            b"7Z",
        ] {
            assert_eq!(time(tag::UTC_TIME, bad), None);
        }
    }

    #[test]
    fn who_may_sign_says_so() {
        let authority = super::super::testing::der("ca.crt");
        let read_whole = |der: &[u8]| read(der).expect("a certificate").may_sign();
        assert!(read_whole(&authority));
        assert!(!read_whole(&super::super::testing::leaf()), "CA:FALSE");
        // The same authority with another use for its key, and with nothing that makes it one.
        let at = |oid: &[u8]| {
            let found = authority.windows(oid.len()).position(|bytes| bytes == oid);
            found.expect("it has this extension")
        };
        let mut other = authority.clone();
        let uses = at(KEY_USAGE) + KEY_USAGE.len();
        // critical, then the octets of the bits: how many do not count, then `keyCertSign, cRLSign`.
        let bits = uses + 3 + 2 + 2 + 1;
        assert_eq!(other[bits], 0x06);
        other[bits] = 0x82;
        assert!(!read_whole(&other));
        let mut other = authority.clone();
        other[at(BASIC_CONSTRAINTS) + 2] ^= 0x40;
        assert!(!read_whole(&other));
        let mut old = read(&authority).expect("a certificate");
        (old.version, old.extensions) = (0, &[]);
        assert!(old.may_sign(), "of version 1, and its own issuer");
        old.subject = &[];
        assert!(!old.may_sign());
    }

    #[test]
    fn nothing_is_read_from_what_is_cut_off() {
        let der = super::super::testing::leaf();
        let whole = read(&der).expect("a certificate");
        assert_eq!(whole.common_name().as_deref(), Some(&b"alice"[..]));
        assert_eq!(
            whole.uris().collect::<Vec<_>>(),
            [b"urn:redvault:user:alice"]
        );
        assert!(whole.not_after > whole.not_before);
        for end in 0..der.len() {
            assert!(read(&der[..end]).is_none(), "{end}");
        }
        // Whatever a byte is changed to, reading ends, and finds no more than is there.
        let mut broken = der.clone();
        for at in 0..der.len() {
            for change in [1, 0x80, 0xff] {
                broken[at] ^= change;
                if let Some(certificate) = read(&broken) {
                    certificate.common_name();
                    assert!(certificate.uris().count() < der.len());
                    assert!(certificate.serial_text().len() <= 2 * der.len());
                }
                broken[at] ^= change;
            }
        }
    }
}
