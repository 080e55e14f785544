//! Intset: a sorted array of integers without duplicates, as Redis lays it out.
//!
//! Small sets of integers are kept, saved and sent in this form, so the bytes written here are
//! exactly those a Redis server would write:
//!
//! ```text
//! bytes of an element: u32 LE (2, 4 or 8) | elements: u32 LE | element LE, smallest first ...
//! ```
//!
//! The width is that of the widest integer there ever was: removing it does not make the rest
//! narrower.
//!
//! [`IntSet`] is a borrowed view, edits are functions on the `Vec<u8>` that holds exactly the set
//! (no bytes at all are an empty one). Nothing here panics, whatever the bytes: what they are too
//! short for is not there. Bytes from files and clients are to be passed through
//! [`IntSet::validate`] first, because only that says that they are whole and sorted.

use std::fmt;

/// Bytes before the first element.
pub const HEADER: usize = 8;
/// Redis keeps intsets below this many elements whatever the configuration says.
pub const LEN_MAX: usize = 1 << 30;

/// Why bytes are no intset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// Shorter than a header.
    TooShort,
    /// The header names a width that there is not.
    WrongWidth,
    /// The header tells another number of elements than there are bytes for.
    WrongLength,
    /// No element: such a set is not kept.
    Empty,
    /// Elements out of order, or twice.
    NotSorted,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Corrupt::TooShort => "intset is too short",
            Corrupt::WrongWidth => "intset header tells an unknown width",
            Corrupt::WrongLength => "intset header tells a wrong length",
            Corrupt::Empty => "intset is empty",
            Corrupt::NotSorted => "intset is not sorted",
        })
    }
}

impl std::error::Error for Corrupt {}

/// A borrowed view of a set.
#[derive(Clone, Copy, Debug)]
pub struct IntSet<'a> {
    /// 2, 4 or 8.
    width: usize,
    /// Whole elements only.
    body: &'a [u8],
}

impl<'a> IntSet<'a> {
    /// A view of `bytes`; of what is no intset it sees the elements that may be there, or none.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> IntSet<'a> {
        let (Some(width), Some(len), Some(body)) =
            (word(bytes, 0), word(bytes, 4), bytes.get(HEADER..))
        else {
            return IntSet {
                width: 2,
                body: &[],
            };
        };
        let width = match width {
            2 | 4 | 8 => width as usize,
            _ => {
                return IntSet {
                    width: 2,
                    body: &[],
                };
            }
        };
        let len = (len as usize).min(body.len() / width);
        IntSet {
            width,
            body: &body[..len * width],
        }
    }

    /// How many elements.
    #[inline]
    pub fn len(self) -> usize {
        match self.width {
            2 => self.body.len() / 2,
            4 => self.body.len() / 4,
            _ => self.body.len() / 8,
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.body.is_empty()
    }

    /// The element number `index`, smallest first.
    #[inline]
    pub fn get(self, index: usize) -> Option<i64> {
        let at = index.checked_mul(self.width)?;
        Some(element(self.body.get(at..at.checked_add(self.width)?)?))
    }

    /// Whether the set has this element.
    #[inline]
    pub fn contains(self, value: i64) -> bool {
        self.width >= width_of(value) && self.find(value).is_ok()
    }

    /// Where the element is, or where it would go.
    #[inline]
    pub fn find(self, value: i64) -> Result<usize, usize> {
        self.halve(0, self.len(), value)
    }

    /// Where the element is, or where it would go, among those from number `from` on. An element
    /// near to `from` is found sooner: for walks along sorted values.
    pub fn search(self, from: usize, value: i64) -> Result<usize, usize> {
        let len = self.len();
        // Steps that double. Before `low` all are smaller.
        let (mut low, mut step) = (from, 1);
        let mut high = len;
        while let Some(at) = low.checked_add(step).map(|at| at - 1)
            && at < len
        {
            match self.get(at).cmp(&Some(value)) {
                std::cmp::Ordering::Less => low = at + 1,
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => {
                    high = at;
                    break;
                }
            }
            step *= 2;
        }
        self.halve(low, high, value)
    }

    /// Where the element is among those from `low` to `high`, or where it would go.
    fn halve(self, mut low: usize, mut high: usize, value: i64) -> Result<usize, usize> {
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(&Some(value)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// All elements, smallest first.
    #[inline]
    pub fn iter(self) -> Iter<'a> {
        Iter { rest: self }
    }

    /// Appends the set's bytes.
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.width as u32).to_le_bytes());
        out.extend_from_slice(&(self.len() as u32).to_le_bytes());
        out.extend_from_slice(self.body);
    }

    /// Judges bytes from outside: their frame, and if `deep` the order of the elements.
    pub fn validate(bytes: &[u8], deep: bool) -> Result<(), Corrupt> {
        let (Some(width), Some(len)) = (word(bytes, 0), word(bytes, 4)) else {
            return Err(Corrupt::TooShort);
        };
        if !matches!(width, 2 | 4 | 8) {
            return Err(Corrupt::WrongWidth);
        }
        if (bytes.len() - HEADER) as u64 != u64::from(width) * u64::from(len) {
            return Err(Corrupt::WrongLength);
        }
        if len == 0 {
            return Err(Corrupt::Empty);
        }
        if deep && !IntSet::new(bytes).iter().is_sorted_by(|a, b| a < b) {
            return Err(Corrupt::NotSorted);
        }
        Ok(())
    }
}

/// All elements of a set, smallest first.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: IntSet<'a>,
}

impl Iterator for Iter<'_> {
    type Item = i64;

    #[inline]
    fn next(&mut self) -> Option<i64> {
        let (first, rest) = self.rest.body.split_at_checked(self.rest.width)?;
        self.rest.body = rest;
        Some(element(first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Adds an element; false if it is there.
pub fn insert(set: &mut Vec<u8>, value: i64) -> bool {
    make_sound(set);
    let width = width_of(value);
    let view = IntSet::new(set);
    let (len, old) = (view.len(), view.width);
    if width > old {
        widen(set, width, value);
        return true;
    }
    // Ascending values are common, and go to the end without a search.
    let index = match view.get(len.wrapping_sub(1)) {
        Some(last) if last >= value => match view.find(value) {
            Ok(_) => return false,
            Err(index) => index,
        },
        _ => len,
    };
    make_room(set, old);
    let at = HEADER + index * old;
    let end = set.len();
    set.resize(end + old, 0);
    set.copy_within(at..end, at + old);
    set[at..at + old].copy_from_slice(&value.to_le_bytes()[..old]);
    set_len(set, len + 1);
    true
}

/// Makes every element wider, for a value that does not fit: it is smaller or greater than all.
fn widen(set: &mut Vec<u8>, width: usize, value: i64) {
    let view = IntSet::new(set);
    let (len, old) = (view.len(), view.width);
    let first = usize::from(value < 0);
    let size = HEADER + (len + 1) * width;
    set.reserve_exact(size - set.len());
    set.resize(size, 0);
    // From the end, so that nothing is overwritten before it is moved.
    for index in (0..len).rev() {
        let from = HEADER + index * old;
        let wide = element(&set[from..from + old]);
        put(set, index + first, width, wide);
    }
    let own = if value < 0 { 0 } else { len };
    put(set, own, width, value);
    set[..4].copy_from_slice(&(width as u32).to_le_bytes());
    set_len(set, len + 1);
}

fn put(set: &mut [u8], index: usize, width: usize, value: i64) {
    let at = HEADER + index * width;
    set[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Removes an element; false if it is not there.
pub fn remove(set: &mut Vec<u8>, value: i64) -> bool {
    match IntSet::new(set).find(value) {
        Ok(index) => remove_at(set, index),
        Err(_) => false,
    }
}

/// Removes the element number `index`; false if there is none.
pub fn remove_at(set: &mut Vec<u8>, index: usize) -> bool {
    let view = IntSet::new(set);
    let (len, width) = (view.len(), view.width);
    if index >= len {
        return false;
    }
    let at = HEADER + index * width;
    set.drain(at..at + width);
    set_len(set, len - 1);
    true
}

/// Writes a set of these values, sorted and each once, over whatever `set` holds.
pub fn write(set: &mut Vec<u8>, sorted: &[i64]) {
    let ends = [sorted.first(), sorted.last()];
    let width = ends
        .into_iter()
        .flatten()
        .map(|end| width_of(*end))
        .max()
        .unwrap_or(2);
    set.clear();
    set.reserve_exact(HEADER + sorted.len() * width);
    set.extend_from_slice(&(width as u32).to_le_bytes());
    set.extend_from_slice(&(sorted.len() as u32).to_le_bytes());
    for value in sorted {
        set.extend_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// Fewer bytes than a header, or a width that there is not, are no set at all: start one.
fn make_sound(set: &mut Vec<u8>) {
    if !matches!(word(set, 0), Some(2 | 4 | 8)) || set.len() < HEADER {
        set.clear();
        set.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
    }
    // No more than the elements the header tells.
    let view = IntSet::new(set);
    let end = HEADER + view.body.len();
    set.truncate(end);
}

/// Room for an eighth more than asked: sets are many, and each insert must not copy all.
fn make_room(set: &mut Vec<u8>, grow: usize) {
    if set.capacity() - set.len() < grow {
        set.reserve_exact(grow + set.len() / 8);
    }
}

fn set_len(set: &mut [u8], len: usize) {
    // Who lets a set grow keeps it under LEN_MAX.
    set[4..8].copy_from_slice(&(len as u32).to_le_bytes());
}

/// The least width that holds a value.
#[inline]
fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// The integer of an element's bytes, which are 2, 4 or 8.
#[inline]
fn element(bytes: &[u8]) -> i64 {
    match *bytes {
        [a, b] => i16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

/// Reads and edits arbitrary bytes as an intset: nothing may panic, and bytes that pass the deep
/// check must be sorted and survive edits.
pub fn fuzz_intset(data: &[u8]) {
    let sound = IntSet::validate(data, true).is_ok();
    let view = IntSet::new(data);
    let values: Vec<i64> = view.iter().collect();
    assert_eq!(values.len(), view.len());
    let place = data.first().copied().map_or(0, usize::from);
    let probes = [0, 1, -1, 40_000, i64::MIN, i64::MAX, place as i64];
    for value in probes {
        for from in [0, place, usize::MAX] {
            let found = view.search(from, value);
            if sound && from == 0 {
                assert_eq!(found, values.binary_search(&value));
                assert_eq!(view.contains(value), found.is_ok());
            }
        }
    }
    let mut copy = data.to_vec();
    for value in probes {
        let added = insert(&mut copy, value);
        if sound {
            assert_eq!(added, !values.contains(&value));
            assert_eq!(IntSet::validate(&copy, true), Ok(()));
        }
    }
    remove_at(&mut copy, place);
    for value in probes {
        remove(&mut copy, value);
        assert!(!sound || !IntSet::new(&copy).contains(value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn writes_what_redis_writes() {
        // SADD s 1 2 -3 | SADD s 70000 | SADD s 5000000000, DUMPed by redis-server 7.0.15.
        let mut set = Vec::new();
        assert!(insert(&mut set, 1) && insert(&mut set, 2) && insert(&mut set, -3));
        assert!(!insert(&mut set, 2));
        assert_eq!(set, b"\x02\0\0\0\x03\0\0\0\xfd\xff\x01\0\x02\0");
        assert!(insert(&mut set, 70_000));
        assert_eq!(
            set,
            b"\x04\0\0\0\x04\0\0\0\xfd\xff\xff\xff\x01\0\0\0\x02\0\0\0\x70\x11\x01\0"
        );
        assert!(insert(&mut set, 5_000_000_000) && remove(&mut set, 1) && remove(&mut set, 2));
        assert!(remove(&mut set, 70_000) && !remove(&mut set, 70_000));
        assert_eq!(
            set,
            b"\x08\0\0\0\x02\0\0\0\xfd\xff\xff\xff\xff\xff\xff\xff\0\xf2\x05\x2a\x01\0\0\0"
        );
        let mut again = vec![7; 3];
        write(&mut again, &[-3, 5_000_000_000]);
        assert_eq!(again, set);
    }

    #[test]
    fn behaves_as_a_sorted_set() {
        for seed in 0..if cfg!(miri) { 2 } else { 60 } {
            let mut rng = Rng::from_seed(seed);
            let (mut set, mut model) = (Vec::new(), BTreeSet::new());
            // Some seeds never leave a width, some come to each.
            let shift = [63, 50, 40, 20, 0][seed as usize % 5];
            for _ in 0..300 {
                let wide = rng.below(8) == 0;
                let value = rng.next_u64().cast_signed() >> if wide { shift } else { 57 };
                if rng.below(3) > 0 {
                    assert_eq!(insert(&mut set, value), model.insert(value));
                } else {
                    assert_eq!(remove(&mut set, value), model.remove(&value));
                }
                let view = IntSet::new(&set);
                assert!(view.iter().eq(model.iter().copied()));
                assert_eq!(
                    (view.len(), view.is_empty()),
                    (model.len(), model.is_empty())
                );
                assert_eq!(view.contains(value), model.contains(&value));
                let from = rng.below(model.len() as u64 + 1) as usize;
                let sorted: Vec<i64> = model.iter().copied().collect();
                let probe = rng.next_u64().cast_signed() >> 57;
                let expected = match sorted[from..].binary_search(&probe) {
                    Ok(at) => Ok(at + from),
                    Err(at) => Err(at + from),
                };
                assert_eq!(view.search(from, probe), expected);
                assert_eq!(view.get(from), sorted.get(from).copied());
                if !model.is_empty() {
                    assert_eq!(IntSet::validate(&set, true), Ok(()));
                }
            }
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let mut set = Vec::new();
        write(&mut set, &[1, 2, 3]);
        let damaged = |place: usize, byte: u8| {
            let mut copy = set.clone();
            copy[place] = byte;
            IntSet::validate(&copy, true)
        };
        assert_eq!(IntSet::validate(&set[..7], true), Err(Corrupt::TooShort));
        assert_eq!(IntSet::validate(&set[..8], true), Err(Corrupt::WrongLength));
        assert_eq!(damaged(0, 3), Err(Corrupt::WrongWidth));
        assert_eq!(damaged(4, 2), Err(Corrupt::WrongLength));
        assert_eq!(damaged(8, 2), Err(Corrupt::NotSorted));
        assert_eq!(damaged(12, 1), Err(Corrupt::NotSorted));
        assert_eq!(damaged(12, 9), Ok(()));
        assert_eq!(
            IntSet::validate(b"\x02\0\0\0\0\0\0\0", false),
            Err(Corrupt::Empty)
        );
    }

    #[test]
    fn broken_bytes_never_panic() {
        let mut rng = Rng::from_seed(3);
        for _ in 0..if cfg!(miri) { 20 } else { 5000 } {
            let mut set = Vec::new();
            for _ in 0..rng.below(6) {
                insert(&mut set, rng.next_u64().cast_signed() >> rng.below(64));
            }
            fuzz_intset(&set);
            for _ in 0..rng.below(3) {
                if set.is_empty() {
                    break;
                }
                let place = rng.below(set.len() as u64) as usize;
                set[place] = rng.next_u64() as u8;
                fuzz_intset(&set);
            }
            set.truncate(rng.below(set.len() as u64 + 1) as usize);
            fuzz_intset(&set);
        }
    }
}
