//! Ziplist: what Redis before 7.0 kept small collections in. Only read, to load old files and payloads.
//!
//! ```text
//! total bytes: u32 LE | offset of the last entry: u32 LE | entries: u16 LE (65535 = count) | entry ... | 0xFF
//! entry: length of the entry before it (u8, or 0xFE and u32 LE) | encoding | text or integer
//! encoding: 00nnnnnn | 01nnnnnn n | 80 u32 BE    a text of that many bytes
//!           C0 i16 | D0 i32 | E0 i64 | F0 i24 | FE i8    the integer follows, lowest byte first
//!           F1..FD    the integers 0 to 12
//! ```
//!
//! Bytes that say two things at once (a length before an entry that is not the one before it) are no ziplist.

use super::listpack::{self, Val};

/// Bytes before the first entry.
const HEADER: usize = 10;
const END: u8 = 0xFF;
/// In front of a length that does not fit one byte.
const LONG: u8 = 0xFE;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The entries of a ziplist as a listpack; `None` if the bytes are no ziplist.
pub fn to_listpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut pack = listpack::new();
    pack.reserve(bytes.len());
    each(bytes, |val| {
        listpack::push_back_val(&mut pack, val);
        (pack.len() <= listpack::BYTES_MAX).then_some(())
    })?;
    Some(pack)
}

/// Shows every entry, until one is refused. `None` if so, or if the bytes are no ziplist.
pub fn each<'a>(bytes: &'a [u8], mut show: impl FnMut(Val<'a>) -> Option<()>) -> Option<()> {
    let (&[t0, t1, t2, t3, l0, l1, l2, l3, c0, c1], _) = bytes.split_first_chunk::<HEADER>()?;
    let total = u32::from_le_bytes([t0, t1, t2, t3]);
    let last = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let stored = u16::from_le_bytes([c0, c1]);
    if total as usize != bytes.len() || bytes.last() != Some(&END) {
        return None;
    }
    let body = &bytes[..bytes.len() - 1];

    let (mut at, mut before, mut count) = (HEADER, 0, 0u64);
    while at < body.len() {
        let start = at;
        if previous(body, &mut at)? != before {
            return None;
        }
        show(value(body, &mut at)?)?;
        before = at - start;
        count += 1;
    }
    let counted = stored == COUNT_UNKNOWN || u64::from(stored) == count;
    (counted && last == at - before).then_some(())
}

fn bytes_at<const N: usize>(body: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let bytes = *body.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(bytes)
}

/// The length of the entry before. Redis writes the long form for short lengths too, after edits.
fn previous(body: &[u8], at: &mut usize) -> Option<usize> {
    match bytes_at(body, at)? {
        [END] => None,
        [LONG] => Some(u32::from_le_bytes(bytes_at(body, at)?) as usize),
        [len] => Some(usize::from(len)),
    }
}

fn value<'a>(body: &'a [u8], at: &mut usize) -> Option<Val<'a>> {
    let [head] = bytes_at(body, at)?;
    let len = match head {
        0x00..=0x3F => usize::from(head),
        0x40..=0x7F => {
            let [low] = bytes_at(body, at)?;
            usize::from(head & 0x3F) << 8 | usize::from(low)
        }
        0x80 => u32::from_be_bytes(bytes_at(body, at)?) as usize,
        0xC0 => return Some(int(i16::from_le_bytes(bytes_at(body, at)?))),
        0xD0 => return Some(int(i32::from_le_bytes(bytes_at(body, at)?))),
        0xE0 => return Some(int(i64::from_le_bytes(bytes_at(body, at)?))),
        0xF0 => {
            let [a, b, c] = bytes_at(body, at)?;
            return Some(int(i32::from_le_bytes([0, a, b, c]) >> 8));
        }
        0xFE => return Some(int(i8::from_le_bytes(bytes_at(body, at)?))),
        0xF1..=0xFD => return Some(int(head - 0xF1)),
        _ => return None,
    };
    let text = body.get(*at..)?.get(..len)?;
    *at += len;
    Some(Val::Str(text))
}

fn int<'a>(int: impl Into<i64>) -> Val<'a> {
    Val::Int(int.into())
}

/// Fuzz target: any bytes can be read, and what is read is a sound listpack.
pub fn fuzz_ziplist(data: &[u8]) {
    if let Some(pack) = to_listpack(data) {
        assert!(listpack::Pack::new(&pack).validate(true).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::ds::listpack::Pack;

    /// A ziplist of encoded entries.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let mut before = 0;
        for entry in entries {
            let start = bytes.len();
            bytes[4..8].copy_from_slice(&(start as u32).to_le_bytes());
            if before < 254 {
                bytes.push(before as u8);
            } else {
                bytes.push(LONG);
                bytes.extend((before as u32).to_le_bytes());
            }
            bytes.extend_from_slice(entry);
            before = bytes.len() - start;
        }
        if entries.is_empty() {
            bytes[4] = HEADER as u8;
        }
        bytes.push(END);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes[8..10].copy_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes
    }

    #[test]
    fn every_encoding_is_read() {
        let long = [&[0x41, 0x2C][..], &[b'x'; 300]].concat();
        let huge = [&[0x80, 0, 0, 0x40, 0][..], &[b'y'; 0x4000]].concat();
        let entries: [&[u8]; 12] = [
            b"\x00",
            b"\x02ab",
            &long,
            &huge,
            &[0xF1],
            &[0xFD],
            &[0xFE, 0x80],
            &[0xC0, 0xFF, 0x7F],
            &[0xF0, 0, 0, 0x80],
            &[0xF0, 0xFF, 0xFF, 0x7F],
            &[0xD0, 0, 0, 0, 0x80],
            &[0xE0, 0, 0, 0, 0, 0, 0, 0, 0x80],
        ];
        let pack = to_listpack(&ziplist(&entries)).unwrap();
        let (long, huge) = ([b'x'; 300], [b'y'; 0x4000]);
        let expected = [
            Val::Str(b""),
            Val::Str(b"ab"),
            Val::Str(&long),
            Val::Str(&huge),
            Val::Int(0),
            Val::Int(12),
            Val::Int(-128),
            Val::Int(0x7FFF),
            Val::Int(-0x80_0000),
            Val::Int(0x7F_FFFF),
            Val::Int(i32::MIN.into()),
            Val::Int(i64::MIN),
        ];
        assert!(Pack::new(&pack).iter().eq(expected));
        assert_eq!(to_listpack(&ziplist(&[])), Some(listpack::EMPTY.to_vec()));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let good = ziplist(&[b"\x02ab", &[0xFE, 7], b"\x03xyz"]);
        assert!(to_listpack(&good).is_some());
        // Texts and the integer may change; everything else is said twice.
        let free = [12, 13, 16, 19, 20, 21];
        for at in (0..good.len()).filter(|at| !free.contains(at)) {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let unknown = at == 8 && bad[8] == 0xFF;
                assert!(
                    to_listpack(&bad).is_none() || unknown,
                    "byte {at} bit {bit}"
                );
            }
        }
        for end in 0..good.len() {
            assert!(to_listpack(&good[..end]).is_none());
        }
    }

    #[test]
    fn any_bytes_can_be_read() {
        let mut rng = Rng::from_seed(1);
        let good = ziplist(&[b"\x02ab", &[0xFE, 7], b"\x03xyz", &[0xF4]]);
        for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
            let mut bytes = good.clone();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            fuzz_ziplist(&bytes);
        }
    }
}
