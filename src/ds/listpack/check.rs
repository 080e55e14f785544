//! Judging listpack bytes that came from a file or a client, and the entry for fuzzing them.

use std::fmt;

use super::{COUNT_UNKNOWN, EMPTY, END, HEADER, Pack, Val, after, back_len, before, body_len};
use super::{edit, stored_count};

/// Why bytes are no listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// Shorter than a header and an end mark.
    TooShort,
    /// The header tells another number of bytes.
    WrongLength,
    /// The last byte is not the end mark.
    NoEnd,
    /// An element that is no element, or goes over the end, or is told a wrong length behind it.
    BadElement,
    /// The header tells another number of elements.
    WrongCount,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Corrupt::TooShort => "listpack is too short",
            Corrupt::WrongLength => "listpack header tells a wrong length",
            Corrupt::NoEnd => "listpack has no end mark",
            Corrupt::BadElement => "listpack has a broken element",
            Corrupt::WrongCount => "listpack header tells a wrong count",
        })
    }
}

impl std::error::Error for Corrupt {}

impl Pack<'_> {
    /// Judges bytes from outside: their frame, and if `deep` each element. Bytes that pass the
    /// deep check read the same from both ends, and as many elements as they say.
    pub fn validate(self, deep: bool) -> Result<(), Corrupt> {
        let bytes = self.bytes;
        if bytes.len() < EMPTY.len() {
            return Err(Corrupt::TooShort);
        }
        let total = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if u32::from_le_bytes(total) as usize != bytes.len() {
            return Err(Corrupt::WrongLength);
        }
        let end = bytes.len() - 1;
        if bytes[end] != END {
            return Err(Corrupt::NoEnd);
        }
        if !deep {
            return Ok(());
        }

        let (mut at, mut count) = (HEADER, 0usize);
        while at < end {
            let next = after(bytes, at).ok_or(Corrupt::BadElement)?;
            // Read back from behind, the element must start where it does, and the trailing
            // length must take the bytes that the way forward skips.
            let body = body_len(bytes, at).ok_or(Corrupt::BadElement)?;
            let back = back_len(body);
            let first = bytes[next - back];
            let rest_marked = bytes[next - back + 1..next]
                .iter()
                .all(|byte| byte & 0x80 != 0);
            if first & 0x80 != 0 || !rest_marked || before(bytes, next) != Some(at) {
                return Err(Corrupt::BadElement);
            }
            at = next;
            count += 1;
        }
        let stored = stored_count(bytes);
        if stored != COUNT_UNKNOWN && usize::from(stored) != count {
            return Err(Corrupt::WrongCount);
        }
        Ok(())
    }
}

/// Reads and edits arbitrary bytes as a pack: nothing may panic, and bytes that pass the deep
/// check must read the same both ways and survive edits.
pub fn fuzz_listpack(data: &[u8]) {
    let pack = Pack::new(data);
    let sound = pack.validate(true).is_ok();
    let forward: Vec<Val<'_>> = pack.iter().collect();
    let mut backward: Vec<Val<'_>> = pack.iter().rev().collect();
    backward.reverse();
    if sound {
        assert_eq!(forward, backward);
        assert_eq!(forward.len(), pack.len());
    }
    for index in [0, 1, -1, -2, 1000, i64::MIN, i64::MAX] {
        pack.get(index);
    }
    for text in [&b"a"[..], b"1", b"-129", b"", &data[..data.len().min(5)]] {
        pack.find(HEADER, text, 0);
        pack.value_of(text);
    }
    pack.pairs().for_each(drop);

    let place = data.first().copied().map_or(0, usize::from);
    let mut copy = data.to_vec();
    edit::replace(&mut copy, place, b"replaced");
    edit::insert(&mut copy, place, edit::Side::After, b"-77");
    edit::push_front(&mut copy, b"front");
    edit::push_back(&mut copy, b"12345");
    edit::delete_range(&mut copy, -2, 1);
    edit::delete_run(&mut copy, place, 3);
    edit::merge(&mut copy, data);
    if sound {
        let mut copy = data.to_vec();
        edit::push_back(&mut copy, b"12345");
        edit::push_front(&mut copy, b"x");
        edit::merge(&mut copy, data);
        assert!(Pack::new(&copy).validate(true).is_ok());
        assert_eq!(Pack::new(&copy).len(), 2 * forward.len() + 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::ds::listpack::{
        Side, delete, delete_range, insert, merge, new, push_back, push_front, replace,
    };

    fn random_text(rng: &mut Rng) -> Vec<u8> {
        let len = match rng.below(20) {
            0 => 16_370 + rng.below(16),
            1 => 4_090 + rng.below(10),
            2 => 60 + rng.below(70),
            _ => rng.below(12),
        };
        match rng.below(3) {
            0 => {
                let wide = rng.next_u64().cast_signed() >> rng.below(64);
                wide.to_string().into_bytes()
            }
            1 => vec![b'0' + (len % 10) as u8; (len % 25) as usize],
            _ => (0..len).map(|_| rng.next_u64() as u8).collect(),
        }
    }

    fn compare(pack: &[u8], model: &[Vec<u8>], rng: &mut Rng) {
        let view = Pack::new(pack);
        assert_eq!(view.validate(true), Ok(()));
        assert_eq!(view.len(), model.len());
        assert!(view.iter().map(Val::to_vec).eq(model.iter().cloned()));
        assert!(
            view.iter()
                .rev()
                .map(Val::to_vec)
                .eq(model.iter().rev().cloned())
        );
        let index = rng.below(model.len() as u64 + 2) as usize;
        assert_eq!(
            view.get(index as i64).map(Val::to_vec).as_ref(),
            model.get(index)
        );
        let from_end = model
            .len()
            .checked_sub(index + 1)
            .map(|index| &model[index]);
        assert_eq!(
            view.get(-1 - index as i64).map(Val::to_vec).as_ref(),
            from_end
        );
        let sought = model
            .get(index)
            .cloned()
            .unwrap_or_else(|| random_text(rng));
        for step in [1, 2] {
            let found = view.find(HEADER, &sought, step - 1);
            let place = model.iter().step_by(step).position(|text| *text == sought);
            assert_eq!(
                found,
                place.and_then(|place| view.seek((place * step) as i64))
            );
        }
        assert!(
            view.iter()
                .zip(model)
                .all(|(val, text)| val.is(text) && val == Val::of(text))
        );
    }

    #[test]
    fn behaves_as_a_vector_of_texts() {
        let rounds = if cfg!(miri) { 1 } else { 40 };
        for seed in 0..rounds {
            let mut rng = Rng::from_seed(seed);
            let (mut pack, mut model) = (new(), Vec::new());
            for _ in 0..200 {
                let text = random_text(&mut rng);
                let index = rng.below(model.len() as u64 + 1) as usize;
                let at = Pack::new(&pack).seek(index as i64);
                match (rng.below(8), at) {
                    (0 | 1, _) => {
                        push_back(&mut pack, &text);
                        model.push(text);
                    }
                    (2, _) => {
                        push_front(&mut pack, &text);
                        model.insert(0, text);
                    }
                    (3, Some(at)) => {
                        insert(&mut pack, at, Side::Before, &text);
                        model.insert(index, text);
                    }
                    (4, Some(at)) => {
                        insert(&mut pack, at, Side::After, &text);
                        model.insert(index + 1, text);
                    }
                    (5, Some(at)) => {
                        replace(&mut pack, at, &text);
                        model[index] = text;
                    }
                    (6, Some(at)) => {
                        delete(&mut pack, at);
                        model.remove(index);
                    }
                    (7, Some(_)) => {
                        let count = rng.below(4) as usize;
                        let gone = delete_range(&mut pack, index as i64, count);
                        assert_eq!(gone, count.min(model.len() - index));
                        model.drain(index..index + gone);
                    }
                    _ => {
                        let mut other = new();
                        push_back(&mut other, &text);
                        merge(&mut pack, &other);
                        model.push(text);
                    }
                }
                compare(&pack, &model, &mut rng);
            }
        }
    }

    #[test]
    fn broken_bytes_are_refused_and_never_panic() {
        let mut rng = Rng::from_seed(7);
        for _ in 0..if cfg!(miri) { 5 } else { 3000 } {
            let mut pack = new();
            for _ in 0..rng.below(6) {
                let mut text = random_text(&mut rng);
                text.truncate(150);
                push_back(&mut pack, &text);
            }
            fuzz_listpack(&pack);
            for _ in 0..1 + rng.below(3) {
                let place = rng.below(pack.len() as u64) as usize;
                pack[place] = rng.next_u64() as u8;
                fuzz_listpack(&pack);
            }
            pack.truncate(rng.below(pack.len() as u64) as usize);
            fuzz_listpack(&pack);
        }
    }

    #[test]
    fn each_kind_of_damage_has_its_name() {
        let mut pack = new();
        push_back(&mut pack, b"hello");
        let damaged = |place: usize, byte: u8| {
            let mut copy = pack.clone();
            copy[place] = byte;
            Pack::new(&copy).validate(true)
        };
        assert_eq!(Pack::new(&pack[..6]).validate(true), Err(Corrupt::TooShort));
        assert_eq!(damaged(0, 13), Err(Corrupt::WrongLength));
        assert_eq!(damaged(4, 2), Err(Corrupt::WrongCount));
        assert_eq!(damaged(6, 0x86), Err(Corrupt::BadElement));
        assert_eq!(damaged(6, 0xF5), Err(Corrupt::BadElement));
        assert_eq!(damaged(12, 5), Err(Corrupt::BadElement));
        assert_eq!(damaged(13, 0xFE), Err(Corrupt::NoEnd));
        assert_eq!(damaged(8, b'E'), Ok(()));
    }
}
