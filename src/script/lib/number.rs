//! Numbers as C reads and prints them, which is what JSON's numbers are made with.
use std::fmt::Write as _;

use super::stack::Short;
use crate::base::num;

/// Reads the longest beginning of a text that `strtod` takes: the number and the length. White space does not
/// come here, nor does a text go on beyond a zero byte.
pub(super) fn read(text: &[u8]) -> Option<(f64, usize)> {
    let (signed, at) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let rest = &text[at..];
    if rest
        .get(..3)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"nan"))
    {
        let nan = if signed { -f64::NAN } else { f64::NAN };
        return Some((nan, at + 3 + note(&rest[3..])));
    }
    let len = at
        + [infinity, hexadecimal, decimal]
            .iter()
            .find_map(|f| f(rest))?;
    let plain = &text[at..len];
    // Up to 15 digits are exact and need no care.
    let value = if plain.len() <= 15 && plain.iter().all(u8::is_ascii_digit) {
        let whole = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
        let value = plain.iter().fold(0, whole) as f64;
        if signed { -value } else { value }
    } else {
        num::parse_f64_saturating(&text[..len]).unwrap_or_else(|| beyond(&text[at..len]))
    };
    let value = if value == 0.0 && signed { -0.0 } else { value };
    Some((value, len))
}

/// A hexadecimal number that no double can hold: nothing is left of it, or it is too large.
fn beyond(plain: &[u8]) -> f64 {
    let tiny = plain.windows(2).any(|two| two.eq_ignore_ascii_case(b"p-"));
    let fraction = plain.get(2) == Some(&b'.') || plain.get(2..4) == Some(b"0.");
    if tiny || fraction { 0.0 } else { f64::INFINITY }
}

/// The parenthesis that may follow `nan`.
fn note(text: &[u8]) -> usize {
    let inside = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
    match text.strip_prefix(b"(") {
        Some(rest) => {
            let len = rest.iter().take_while(inside).count();
            if rest.get(len) == Some(&b')') {
                len + 2
            } else {
                0
            }
        }
        None => 0,
    }
}

fn infinity(text: &[u8]) -> Option<usize> {
    [&b"infinity"[..], b"inf"]
        .iter()
        .map(|word| word.len())
        .zip([&b"infinity"[..], b"inf"])
        .find(|(len, word)| {
            text.get(..*len)
                .is_some_and(|t| t.eq_ignore_ascii_case(word))
        })
        .map(|(len, _)| len)
}

fn hexadecimal(text: &[u8]) -> Option<usize> {
    let digits = text
        .strip_prefix(b"0x")
        .or_else(|| text.strip_prefix(b"0X"))?;
    let len = places(digits, u8::is_ascii_hexdigit)?;
    Some(2 + len + exponent(&digits[len..], b'p'))
}

fn decimal(text: &[u8]) -> Option<usize> {
    let len = places(text, u8::is_ascii_digit)?;
    Some(len + exponent(&text[len..], b'e'))
}

/// Digits with or without a point, at least one of them.
fn places(text: &[u8], digit: fn(&u8) -> bool) -> Option<usize> {
    let run = |text: &[u8]| text.iter().take_while(|byte| digit(byte)).count();
    let whole = run(text);
    let Some(rest) = text[whole..].strip_prefix(b".") else {
        return (whole > 0).then_some(whole);
    };
    let fraction = run(rest);
    (whole + fraction > 0).then_some(whole + 1 + fraction)
}

fn exponent(text: &[u8], letter: u8) -> usize {
    let mut at = match text.first() {
        Some(byte) if byte.eq_ignore_ascii_case(&letter) => 1,
        _ => return 0,
    };
    at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
    let digits = text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 { 0 } else { at + digits }
}

/// The first number of more than so many digits.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Prints a number as `%.{precision}g` does; `precision` is 1 to 17.
pub(super) fn print(value: f64, precision: usize) -> Short<32> {
    let mut out = Short::new();
    if value.is_nan() {
        out.put(if value.is_sign_negative() {
            b"-nan"
        } else {
            b"nan"
        });
        return out;
    }
    // Most are integers that have room for all their digits.
    if value.fract() == 0.0 && value.abs() < POWERS[precision.min(15)] && value != 0.0 {
        out.put(num::fmt_i64(value as i64, &mut [0; 20]));
        return out;
    }
    if value.is_infinite() {
        out.put(if value < 0.0 { b"-inf" } else { b"inf" });
        return out;
    }
    let mut digits = Short::<48>::new();
    // Writing to a Short cannot fail.
    let _ = write!(digits, "{:.*e}", precision - 1, value.abs());
    let digits = digits.as_bytes();
    let split = digits.iter().position(|byte| *byte == b'e');
    let (mantissa, power) = digits.split_at(split.unwrap_or(digits.len()));
    let power = power
        .strip_prefix(b"e")
        .and_then(num::parse_i64)
        .unwrap_or(0);
    // The digits without the point, and without zeros at the end.
    let mut plain = Short::<32>::new();
    plain.put(&mantissa[..1]);
    plain.put(mantissa.get(2..).unwrap_or(&[]));
    let zeros = plain
        .as_bytes()
        .iter()
        .rev()
        .take_while(|b| **b == b'0')
        .count();
    let plain = &plain.as_bytes()[..(plain.as_bytes().len() - zeros).max(1)];

    if value.is_sign_negative() {
        out.put(b"-");
    }
    if power < -4 || power >= precision as i64 {
        out.put(&plain[..1]);
        if plain.len() > 1 {
            out.put(b".");
            out.put(&plain[1..]);
        }
        let sign = if power < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", power.unsigned_abs());
    } else if power < 0 {
        out.put(b"0.");
        out.put(&b"000"[..(-power - 1) as usize]);
        out.put(plain);
    } else {
        let whole = power as usize + 1;
        out.put(&plain[..whole.min(plain.len())]);
        for _ in plain.len()..whole {
            out.put(b"0");
        }
        if plain.len() > whole {
            out.put(b".");
            out.put(&plain[whole..]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, value, len) in [
            ("12,", 12.0, 2),
            ("-0]", -0.0, 2),
            ("0x10", 16.0, 4),
            ("0x", 0.0, 1),
            ("0x.8p1z", 1.0, 6),
            ("1e+", 1.0, 1),
            ("1.5e-1x", 0.15, 6),
            ("5.", 5.0, 2),
            ("-.5", -0.5, 3),
            ("infinit", f64::INFINITY, 3),
            ("-InFinity", f64::NEG_INFINITY, 9),
            ("1e400", f64::INFINITY, 5),
            ("12345678901234567890", 12_345_678_901_234_567_890.0, 20),
        ] {
            assert_eq!(read(text.as_bytes()), Some((value, len)), "{text}");
        }
        assert!(read(b"-0").is_some_and(|(zero, _)| zero.is_sign_negative()));
        for (text, len) in [("nan", 3), ("-NaN(a_1)", 9), ("nan(", 3), ("nan(-)", 3)] {
            let (value, read) = read(text.as_bytes()).unwrap();
            assert!(value.is_nan() && read == len, "{text}");
        }
        for text in [
            "", "-", "+", ".", "x", "-+1", "- 1", "i", "na", ".e5", "--1",
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_printed_as_c_does() {
        for (value, precision, text) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.5, 14, "1.5"),
            (100.0, 14, "100"),
            (1e100, 14, "1e+100"),
            (123_456_789_012_345_678.0, 14, "1.2345678901235e+17"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (999_999_999_999_999.0, 14, "1e+15"),
            (0.1, 14, "0.1"),
            (0.000_123, 14, "0.000123"),
            (0.000_012_3, 14, "1.23e-05"),
            (1234.0, 2, "1.2e+03"),
            (9.96, 2, "10"),
            (5.0, 1, "5"),
            (15.0, 1, "2e+01"),
            (f64::NEG_INFINITY, 14, "-inf"),
            (5e-324, 17, "4.9406564584124654e-324"),
        ] {
            let printed = print(value, precision);
            assert_eq!(printed.as_bytes(), text.as_bytes(), "{value}");
        }
    }
}
