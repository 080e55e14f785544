//! HyperLogLogs against plain registers, and against bytes that a real server made.

use super::*;
use crate::base::rng::Rng;

fn registers(bytes: &[u8]) -> Registers {
    let mut registers = Registers::new();
    registers.merge(bytes).expect("sound");
    registers
}

fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> bool {
    let (index, value) = place(element);
    raise(bytes, index, value, sparse_max, &mut Cursor::default()).expect("sound")
}

#[test]
fn a_small_one_has_the_bytes_of_a_real_server() {
    let mut bytes = EMPTY.to_vec();
    for element in ["a", "b", "c"] {
        assert!(add(&mut bytes, element.as_bytes(), 3000));
        assert!(!add(&mut bytes, element.as_bytes(), 3000));
    }
    assert_eq!(cached(&bytes), None);
    let runs = b"\x60\xf3\x80P\xb1\x84K\xfb\x80BZ";
    assert_eq!(&bytes[HEADER..], runs);
    assert_eq!(
        decode(&bytes),
        Some(Ok(b"Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603".to_vec()))
    );
    assert_eq!(estimate(&bytes), Ok(3));
    cache(&mut bytes, 3);
    assert_eq!(cached(&bytes), Some(3));
}

#[test]
fn runs_and_single_registers_agree() {
    let mut rng = Rng::from_seed(4);
    for round in 0..if cfg!(miri) { 2 } else { 40 } {
        let (mut bytes, mut model) = (EMPTY.to_vec(), Registers::new());
        let spread = [64, 1000, REGISTERS as u64][round % 3];
        let values = [3, 32, 51][rng.below(3) as usize];
        let sparse_max = [100, 3000, 16_000][rng.below(3) as usize];
        for _ in 0..if cfg!(miri) { 30 } else { 2000 } {
            let (index, value) = (
                (REGISTERS / 3 + rng.below(spread) as usize) % REGISTERS,
                1 + rng.below(values) as u8,
            );
            let rises = model.values()[index] < value;
            let mut cursor = Cursor::default();
            assert_eq!(would_raise(&bytes, index, value, &mut cursor), Ok(rises));
            let changed = raise(&mut bytes, index, value, sparse_max, &mut Cursor::default());
            assert_eq!(changed, Ok(rises));
            model.raise(index, value);
            assert!(is_dense(&bytes) || bytes.len() <= sparse_max);
        }
        assert!(registers(&bytes) == model);
        let expected = estimate_of(&model);
        assert_eq!(estimate(&bytes), Ok(expected));
        // A cursor that goes on where it was gives the bytes that starting anew gives.
        let (mut quick, mut slow) = (EMPTY.to_vec(), EMPTY.to_vec());
        let mut cursor = Cursor::default();
        for (index, value) in model.raised() {
            raise(&mut quick, index, value, sparse_max, &mut cursor).expect("sound");
            raise(&mut slow, index, value, sparse_max, &mut Cursor::default()).expect("sound");
        }
        assert!(quick == slow && registers(&quick) == model);
        let mut stored = EMPTY.to_vec();
        store(&mut stored, &model, false, sparse_max).expect("sound");
        assert!(stored == quick);
        assert_eq!(
            to_dense(&mut bytes).map(|_| estimate(&bytes)),
            Ok(Ok(expected))
        );
    }
}

#[test]
fn estimates_are_as_good_as_promised() {
    let mut bytes = EMPTY.to_vec();
    let last = if cfg!(miri) { 300 } else { 200_000u64 };
    for n in 1..=last {
        add(&mut bytes, &n.to_le_bytes(), 3000);
        if n.is_power_of_two() || n == last {
            let error = estimate(&bytes).expect("sound").abs_diff(n);
            // Five times the standard error of 1.04 / sqrt(16,384).
            assert!(error as f64 <= 1.0 + n as f64 * 0.04, "{error} at {n}");
        }
    }
}

#[test]
fn what_is_corrupt_is_refused() {
    assert!(is_valid(&EMPTY));
    assert!(!is_valid(&EMPTY[..15]) && !is_valid(b"") && !is_valid(&[0; DENSE_LEN]));
    let with = |runs: &[u8]| [&EMPTY[..HEADER], runs].concat();
    for runs in [
        &b""[..],
        b"\x7f",
        b"\x7f\xfe",
        b"\x7f\xff\x00",
        b"\x7f\xff\x80",
        b"\x00\x7f\xff",
        b"\x7f\xfe\x00\x40",
    ] {
        let mut bytes = with(runs);
        assert!(is_valid(&bytes));
        assert_eq!(estimate(&bytes), Err(Corrupt), "{runs:?}");
        assert_eq!(decode(&bytes), Some(Err(Corrupt)));
        assert_eq!(Registers::new().merge(&bytes), Err(Corrupt));
        assert_eq!(to_dense(&mut bytes), Err(Corrupt));
        assert_eq!(bytes, with(runs));
    }
    let mut bytes = with(b"\x7f\xff");
    bytes[ENCODING_AT] = DENSE;
    assert!(!is_valid(&bytes));
    bytes.resize(DENSE_LEN, 0xff);
    assert!(is_valid(&bytes));
    // Values no element gives: no panic, and some estimate.
    assert!(estimate(&bytes).is_ok());
    bytes[ENCODING_AT] = 2;
    assert!(!is_valid(&bytes));
}

#[test]
fn any_bytes_can_be_fuzzed() {
    let mut rng = Rng::from_seed(5);
    for _ in 0..if cfg!(miri) { 3 } else { 500 } {
        let mut data = vec![0; rng.below(200) as usize];
        rng.fill(&mut data);
        fuzz_hll(&data);
        fuzz_hll(&[&[40, 1, 2, 3][..], &EMPTY[HEADER..]].concat());
    }
}
