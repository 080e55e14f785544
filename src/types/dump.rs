//! What DUMP replies and RESTORE takes: one value, framed so that a wrong or damaged one is noticed.
//!
//! ```text
//! type number | value | RDB version: u16 LE | CRC-64 of all before: u64 LE
//! ```

use super::saved::{Loaded, Loading, version_of};
use super::{Value, ValueRef};
use crate::base::crc64::crc64;
use crate::codec::{Commands, Fault, Sink, Source};

const FOOTER: usize = 10;

/// The versions that are read: up to Redis 8's, and Valkey 9's, which counts on its own.
const VERSIONS: [std::ops::RangeInclusive<u32>; 2] = [1..=12, 80..=80];

/// Do we know what a file or payload of this version may hold?
pub fn knows_version(version: u32) -> bool {
    VERSIONS.iter().any(|known| known.contains(&version))
}

/// A payload that failed before its value was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongFrame;

/// A value's payload.
pub fn dump(value: ValueRef<'_>, compress: bool) -> Vec<u8> {
    let rdb_type = value.rdb_type();
    let mut sink = Sink::to_memory(compress);
    sink.byte(rdb_type);
    value.save(&mut sink);
    seal(sink.into_vec(), version_of(rdb_type))
}

/// Frames a body that a server must know this version to read.
pub fn seal(body: Vec<u8>, version: u32) -> Vec<u8> {
    let mut payload = body;
    payload.extend_from_slice(&(version as u16).to_le_bytes());
    payload.extend_from_slice(&crc64(&payload).to_le_bytes());
    payload
}

/// The body of a payload, and its version.
pub fn open(payload: &[u8], skip_checksum: bool) -> Result<(&[u8], u32), WrongFrame> {
    let (rest, crc) = payload.split_last_chunk::<8>().ok_or(WrongFrame)?;
    let (body, version) = rest.split_last_chunk::<2>().ok_or(WrongFrame)?;
    let version = u32::from(u16::from_le_bytes(*version));
    let sound = skip_checksum || crc64(rest) == u64::from_le_bytes(*crc);
    debug_assert_eq!(body.len() + FOOTER, payload.len());
    if sound && knows_version(version) {
        Ok((body, version))
    } else {
        Err(WrongFrame)
    }
}

/// The value of a payload's body: nothing may be left over, and no collection be empty. `room` is lent as to
/// [`Value::load`].
pub fn load<'r>(body: &'r [u8], how: &Loading, room: &'r mut Vec<u8>) -> Result<Loaded<'r>, Fault> {
    let mut source = Source::new(body);
    let rdb_type = source.byte()?;
    let value = Value::load(rdb_type, &mut source, how, room)?;
    if !source.is_empty() {
        return Err(source.bad("bytes behind the value"));
    }
    if value.is_empty() {
        return Err(source.bad("a collection without elements"));
    }
    Ok(value)
}

/// Fuzz target: any bytes can be loaded as a payload's body, and what is accepted is a value: it can be
/// walked, copied, saved and loaded again, and is the same then.
pub fn fuzz_restore(data: &[u8]) {
    for version in [11, 80] {
        let how = Loading {
            version,
            ..Loading::for_tests()
        };
        if let Ok(Loaded::Value(value)) = load(data, &how, &mut Vec::new()) {
            check(&value, &how);
        }
    }
}

/// The properties of every value that was accepted.
fn check(value: &Value, how: &Loading) {
    let parts = |view: ValueRef<'_>| {
        let mut parts = Vec::new();
        view.parts(&mut |part| parts.push(format!("{part:?}")));
        parts
    };
    let shown = parts(value.view());
    let (mut copied, mut own) = (parts(value.clone().view()), shown.clone());
    // A table's copy may walk in another order.
    copied.sort_unstable();
    own.sort_unstable();
    assert_eq!(copied, own);
    assert!(value.heap_bytes() < 1 << 30 && value.free_effort() > 0);
    // Whether every command got its arguments, the writer looks itself.
    let mut sink = Sink::to_memory(false);
    let mut commands = Commands::new(&mut sink);
    value.view().rewrite(b"key", Some(1), &mut commands);
    drop(commands);
    assert!(sink.position() > 0);
    for compress in [false, true] {
        let payload = dump(value.view(), compress);
        let (body, version) = open(&payload, false).expect("made a moment ago");
        let how = Loading {
            version,
            ..how.clone()
        };
        let mut room = Vec::new();
        let again = match load(body, &how, &mut room).expect("what was saved can be loaded") {
            Loaded::Int(int) => Value::Str(int.to_string().into_bytes().into()),
            Loaded::Bytes(bytes) => Value::Str(bytes.to_vec().into()),
            Loaded::Value(value) => value,
        };
        let mut before = shown.clone();
        let mut after = parts(again.view());
        if before != after {
            // What has no order may come back in another one.
            before.sort_unstable();
            after.sort_unstable();
        }
        assert_eq!(before, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// DUMP of redis-server 7.0.15: a value of every type and layout, and how many parts it has.
    pub(crate) fn samples() -> Vec<(String, Vec<u8>)> {
        include_str!("../../tests/assets/dumps.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .map(|(name, hex)| (name.to_owned(), from_hex(hex)))
            .collect()
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect()
    }

    #[test]
    fn the_frame_is_checked() {
        let payload = dump(ValueRef::Str(super::super::string::StrRef::Int(5)), true);
        // DUMP of redis-server 7.0.15 after SET a 5.
        assert_eq!(payload, from_hex("00c0050a00632f5f66832fb351"));
        assert!(open(&payload, false).is_ok());
        for at in 0..payload.len() {
            let mut bad = payload.clone();
            bad[at] ^= 1;
            assert_eq!(open(&bad, false), Err(WrongFrame));
            assert!(open(&payload[..at], false).is_err());
        }
        let mut newer = payload.clone();
        newer[3] = 13;
        assert!(open(&newer, true).is_err());
    }

    #[test]
    fn payloads_of_a_real_server_load_and_mutated_ones_do_no_harm() {
        let mut rng = Rng::from_seed(1);
        for (name, payload) in samples() {
            let (body, version) = open(&payload, false).expect(&name);
            let how = Loading {
                version,
                ..Loading::for_tests()
            };
            let mut room = Vec::new();
            let value = match load(body, &how, &mut room) {
                Ok(Loaded::Value(value)) => value,
                Ok(_) => continue,
                Err(fault) => panic!("{name}: {fault}"),
            };
            check(&value, &how);
            for _ in 0..if cfg!(miri) { 2 } else { 300 } {
                let mut bad = body.to_vec();
                for _ in 0..1 + rng.below(3) {
                    let at = rng.below(bad.len() as u64) as usize;
                    bad[at] = rng.next_u64() as u8;
                }
                bad.truncate(rng.below(bad.len() as u64 * 4) as usize);
                fuzz_restore(&bad);
            }
        }
    }
}
