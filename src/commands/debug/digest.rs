//! Digests of values and of the whole data set: equal data give equal digests, whatever the
//! encodings, the order of the keys and the server (Redis gives the same ones).
//!
//! What has an order is mixed in, one after the other, so that its place counts; what has none is
//! added by exclusive or, each as the hash of itself.
use crate::keyspace::databases::Databases;
use crate::keyspace::entry::EntryRef;
use crate::types::{Kind, Part};
use sha1::{Digest as _, Sha1};

/// A digest, all zeros for nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds something that has no place of its own.
    fn add(&mut self, data: &[u8]) {
        let hash = Sha1::digest(data);
        self.0.iter_mut().zip(hash).for_each(|(a, b)| *a ^= b);
    }

    /// Adds something whose place counts.
    fn mix(&mut self, data: &[u8]) {
        self.add(data);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Several things of a kind as one without a place.
    fn add_group(&mut self, parts: &[&[u8]]) {
        let mut group = Digest::default();
        parts.iter().for_each(|part| group.mix(part));
        self.add(&group.0);
    }

    /// 40 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The number under which a type is known to files and digests.
fn type_number(kind: Kind) -> u32 {
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::Zset => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

/// Adds a key's value, type and whether it has a deadline. False if its type cannot be shown.
fn add_value(digest: &mut Digest, entry: EntryRef<'_>) -> bool {
    digest.mix(&type_number(entry.kind()).to_be_bytes());
    let shown = entry.value().parts(&mut |part| match part {
        Part::Item(item) => digest.mix(item),
        Part::Member(member) => digest.add(member),
        Part::Pair(field, value) => digest.add_group(&[field, value]),
        Part::Scored(member, score) => digest.add_group(&[member, &g17(score)]),
    });
    if entry.expire_at().is_some() {
        digest.add(b"!!expire!!");
    }
    shown
}

/// The digest of one value.
pub fn of_value(entry: EntryRef<'_>) -> Option<Digest> {
    let mut digest = Digest::default();
    add_value(&mut digest, entry).then_some(digest)
}

/// The digest of everything; the name of a type that cannot be shown instead if there is one.
pub fn of_all(databases: &Databases) -> Result<Digest, &'static str> {
    let mut all = Digest::default();
    for (number, db) in databases.iter() {
        if db.is_empty() {
            continue;
        }
        all.mix(&(number as u32).to_be_bytes());
        for entry in db.iter() {
            let mut digest = Digest::default();
            digest.mix(entry.key());
            if !add_value(&mut digest, entry) {
                return Err(entry.kind().name());
            }
            all.add(&digest.0);
        }
    }
    Ok(all)
}

/// A number as C's `%.17g` prints it.
fn g17(value: f64) -> Vec<u8> {
    const DIGITS: i32 = 17;
    if !value.is_finite() {
        let text = if value.is_nan() { "nan" } else { "inf" };
        let sign = if value.is_sign_negative() { "-" } else { "" };
        return format!("{sign}{text}").into_bytes();
    }
    let scientific = format!("{value:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let places = (DIGITS - 1 - exponent) as usize;
        return trimmed(&format!("{value:.places$}")).into_bytes();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::HashKey;
    use crate::base::rng::Rng;
    use crate::keyspace::NewValue;

    fn databases(seed: u64) -> Databases {
        Databases::new(4, HashKey::random(&mut Rng::from_seed(seed)))
    }

    #[test]
    fn equal_data_give_equal_digests() {
        let (mut a, mut b) = (databases(1), databases(2));
        for n in 0..100i64 {
            a.insert(0, &n.to_le_bytes(), NewValue::Int(n), None);
            let other = 99 - n;
            b.insert(0, &other.to_le_bytes(), NewValue::Int(other), None);
        }
        assert_eq!(of_all(&a), of_all(&b));
        assert_ne!(of_all(&a), Ok(Digest::default()));
        b.insert(0, b"x", NewValue::Int(1), None);
        assert_ne!(of_all(&a), of_all(&b));
        a.insert(1, b"x", NewValue::Int(1), None);
        assert_ne!(of_all(&a), of_all(&b));
        assert_eq!(of_all(&databases(3)).map(|d| d.hex()), Ok("0".repeat(40)));
    }

    #[test]
    fn digests_are_those_of_redis() {
        // DEBUG DIGEST-VALUE and DEBUG DIGEST of redis-server 7.0.15 after SET a 1.
        let mut dbs = databases(1);
        let slot = dbs.insert(0, b"a", NewValue::Int(1), None);
        let value = of_value(dbs[0].entry(slot)).expect("strings can be shown");
        assert_eq!(value.hex(), "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da");
    }

    #[test]
    fn scores_are_written_as_c_does() {
        let cases: [(f64, &str); 9] = [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e-5, "1.0000000000000001e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(g17(value), text.as_bytes(), "{value}");
        }
    }
}
