//! Zipmap: what Redis before 2.6 kept small hashes in. Only read, to load old files.
//!
//! ```text
//! fields: u8 (254 and more = count) | (length | field | length | unused: u8 | value | unused bytes) ... | 0xFF
//! length: u8 below 254, or 0xFE and u32 LE
//! ```

const END: u8 = 0xFF;
const LONG: u8 = 0xFE;

/// Shows every field with its value, until one is refused. `None` if so, or if the bytes are no zipmap.
pub fn each<'a>(
    bytes: &'a [u8],
    mut show: impl FnMut(&'a [u8], &'a [u8]) -> Option<()>,
) -> Option<()> {
    let (&stored, mut rest) = bytes.split_first()?;
    let mut count = 0u64;
    while rest != [END] {
        let field = part(&mut rest, false)?;
        let value = part(&mut rest, true)?;
        show(field, value)?;
        count += 1;
    }
    (stored >= LONG || u64::from(stored) == count).then_some(())
}

/// A text behind its length; behind a value's length is the number of bytes that are unused.
fn part<'a>(rest: &mut &'a [u8], is_value: bool) -> Option<&'a [u8]> {
    let (&head, mut from) = rest.split_first()?;
    let len = match head {
        END => return None,
        LONG => {
            let (len, behind) = from.split_first_chunk::<4>()?;
            from = behind;
            u32::from_le_bytes(*len) as usize
        }
        len => usize::from(len),
    };
    let mut unused = 0;
    if is_value {
        let (&count, behind) = from.split_first()?;
        (unused, from) = (usize::from(count), behind);
    }
    let (text, behind) = from.split_at_checked(len)?;
    // The end mark at least is behind whatever is unused.
    *rest = behind.get(unused..).filter(|rest| !rest.is_empty())?;
    Some(text)
}

/// Fuzz target: any bytes can be read.
pub fn fuzz_zipmap(data: &[u8]) {
    let mut shown = 0;
    let _ = each(data, |field, value| {
        shown += field.len() + value.len();
        Some(())
    });
    assert!(shown <= data.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn pairs(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
        let mut pairs = Vec::new();
        each(bytes, |field, value| {
            pairs.push((field, value));
            Some(())
        })?;
        Some(pairs)
    }

    #[test]
    fn fields_and_values_are_read() {
        let mut bytes =
            b"\x03\x01a\x02\x00bc\x00\x01\x03z___\x02kk\xFE\x02\x01\x00\x00\x00".to_vec();
        bytes.extend([b'v'; 258]);
        bytes.push(END);
        let long = [b'v'; 258];
        let expected = [(&b"a"[..], &b"bc"[..]), (b"", b"z"), (b"kk", &long)];
        assert_eq!(pairs(&bytes).unwrap(), expected);
        assert_eq!(pairs(b"\x00\xFF").unwrap(), []);
        assert_eq!(
            pairs(b"\xFE\x01a\x01\x00b\xFF").unwrap(),
            [(&b"a"[..], &b"b"[..])]
        );
        for end in 0..bytes.len() {
            assert!(pairs(&bytes[..end]).is_none());
        }
        for bad in [
            &b"\x02\x01a\x01\x00b\xFF"[..],
            b"\x01\x01a\x01\x01b\xFF",
            b"\x01\x01a\xFF",
            b"\x00\xFF\xFF",
            b"\x01\xFE\xFF\xFF\xFF\xFFa\x01\x00b\xFF",
        ] {
            assert!(pairs(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn any_bytes_can_be_read() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..if cfg!(miri) { 100 } else { 10_000 } {
            let mut bytes = b"\x02\x01a\x02\x00bc\x01b\x01\x01z_\xFF".to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            fuzz_zipmap(&bytes);
        }
    }
}
