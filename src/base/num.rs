//! Numbers as Redis reads and writes them: strict decimal integers, and doubles with the fewest
//! digits that read back.
//!
//! Everything works on bytes, since keys and arguments are not UTF-8, and nothing here allocates
//! except by growing a vector the caller hands in. Long doubles (INCRBYFLOAT) are in
//! [`super::f80`].

/// Reads a signed integer in the only spelling Redis stores as an integer: no `+`, no spaces, no
/// leading zeros, no `-0`.
///
/// Printing the result gives back the very same bytes; the integer encodings rely on that.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = parse_digits(digits)?;
    if negative {
        // i64::MIN has no positive twin, so the bound is compared before the sign is applied.
        if magnitude == 0 || magnitude > 1 << 63 {
            return None;
        }
        Some(0i64.wrapping_sub_unsigned(magnitude))
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Reads an unsigned integer in its canonical spelling (see [`parse_i64`]).
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    parse_digits(text)
}

/// Reads an unsigned integer the way Redis reads each half of a stream ID: a canonical negative
/// number is refused, and everything else goes the way of C's `strtoull` over the whole text, which
/// takes leading white space, a sign (a minus wraps around) and leading zeros.
pub fn parse_u64_loose(text: &[u8]) -> Option<u64> {
    if let Some(n) = parse_i64(text) {
        return u64::try_from(n).ok();
    }
    let start = text.iter().position(|&b| !is_c_space(b))?;
    u64_of_signed(&text[start..])
}

/// Digits behind an optional sign; a minus wraps around, as in C.
fn u64_of_signed(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = u64_of_digits(digits)?;
    Some(if negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// At least one digit, and nothing else, that a u64 can hold.
fn u64_of_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, b| {
        let digit = b.wrapping_sub(b'0');
        let digit = (digit <= 9).then_some(u64::from(digit))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads an unsigned integer as C's `strtoul` does over the whole text, but without white space
/// before it: a sign (a minus wraps around), leading zeros, and nothing at all for 0.
pub fn parse_u64_cursor(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return Some(0);
    }
    u64_of_signed(text)
}

/// The white space of C's `isspace` in the C locale.
pub fn is_c_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    let (&first, rest) = digits.split_first()?;
    let mut value = u64::from(first.wrapping_sub(b'0'));
    if value > 9 || (value == 0 && !rest.is_empty()) || rest.len() > 19 {
        return None;
    }
    // Up to 19 digits cannot overflow; only the twentieth needs a checked step.
    let (safe, last) = rest.split_at(rest.len().min(18));
    for &b in safe {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if let [b] = last {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Prints an integer into the caller's buffer and returns the used part.
#[inline]
pub fn fmt_i64(value: i64, out: &mut [u8; 20]) -> &[u8] {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(value).as_bytes();
    let used = &mut out[..text.len()];
    used.copy_from_slice(text);
    used
}

/// Appends an integer in decimal.
#[inline]
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer in decimal.
#[inline]
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// How many bytes [`push_i64`] would append.
#[inline]
pub fn len_i64(value: i64) -> usize {
    let sign = usize::from(value < 0);
    sign + value.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1
}

/// Reads a double as C's `strtod` would if it had to use up the whole text: decimal with exponent,
/// hexadecimal floats, `inf` and `infinity` in any case, an optional sign.
///
/// As Redis does, it refuses what overflows to infinity or underflows to zero, `nan`, leading white
/// space and the empty text.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    // The common scores are small integers, which are exact and need no general reader.
    if text.len() <= 15
        && let Some(n) = parse_i64(text)
    {
        return Some(n as f64);
    }
    let (negative, body) = split_sign(text);
    let magnitude = match body {
        [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
        [b'0'..=b'9' | b'.', ..] => {
            let value: f64 = std::str::from_utf8(body).ok()?.parse().ok()?;
            let out_of_range = value.is_infinite() || (value == 0.0 && has_nonzero_digit(body));
            if out_of_range {
                return None;
            }
            value
        }
        _ if is_infinity(body) => f64::INFINITY,
        _ => return None,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// As [`parse_f64`], but what overflows is infinite and what underflows is zero.
pub fn parse_f64_saturating(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_f64(text) {
        return Some(value);
    }
    let (negative, body) = split_sign(text);
    let [b'0'..=b'9' | b'.', ..] = body else {
        return None;
    };
    let magnitude: f64 = std::str::from_utf8(body).ok()?.parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

/// Takes one leading `+` or `-` off.
pub(super) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// True for `inf` and `infinity` in any case.
pub(super) fn is_infinity(body: &[u8]) -> bool {
    body.eq_ignore_ascii_case(b"inf") || body.eq_ignore_ascii_case(b"infinity")
}

fn has_nonzero_digit(body: &[u8]) -> bool {
    body.iter()
        .take_while(|b| !matches!(b, b'e' | b'E'))
        .any(|b| matches!(b, b'1'..=b'9'))
}

fn parse_hex(text: &[u8]) -> Option<f64> {
    let hex = HexFloat::parse(text)?;
    if hex.mantissa == 0 {
        return Some(0.0);
    }
    round_to_f64(&hex)
}

/// A hexadecimal float as written: `mantissa * 2^exponent`, and whether nonzero bits were dropped
/// below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HexFloat {
    /// The leading bits, at least 125 of them; the top bit is set unless the number is zero.
    pub(super) mantissa: u128,
    /// Power of two of the mantissa's lowest bit, kept within a range that cannot overflow later
    /// arithmetic.
    pub(super) exponent: i32,
    /// Something below the mantissa is not zero.
    pub(super) sticky: bool,
}

impl HexFloat {
    /// Reads what follows `0x`, all of it: digits with at most one point, then an optional `p`
    /// exponent.
    pub(super) fn parse(text: &[u8]) -> Option<HexFloat> {
        let (mut mantissa, mut sticky, mut exponent) = (0u128, false, 0i64);
        let (mut any_digit, mut after_point) = (false, false);
        let mut rest = text;
        while let Some((&b, tail)) = rest.split_first() {
            match (b as char).to_digit(16) {
                Some(digit) => {
                    any_digit = true;
                    if mantissa >> 124 == 0 {
                        mantissa = mantissa << 4 | u128::from(digit);
                        exponent -= if after_point { 4 } else { 0 };
                    } else {
                        sticky |= digit != 0;
                        exponent += if after_point { 0 } else { 4 };
                    }
                }
                None if b == b'.' && !after_point => after_point = true,
                None => break,
            }
            rest = tail;
        }
        if !any_digit {
            return None;
        }
        if let [b'p' | b'P', tail @ ..] = rest {
            let (negative, digits) = split_sign(tail);
            let power = saturating_digits(digits)?;
            exponent += if negative { -power } else { power };
        } else if !rest.is_empty() {
            return None;
        }
        let shift = if mantissa == 0 {
            0
        } else {
            mantissa.leading_zeros()
        };
        let exponent = (exponent - i64::from(shift)).clamp(-1_000_000, 1_000_000) as i32;
        Some(HexFloat {
            mantissa: mantissa << shift,
            exponent,
            sticky,
        })
    }
}

/// Reads a nonempty run of digits to its end; huge values stop at a bound that means "out of range"
/// to every caller.
pub(super) fn saturating_digits(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bounded = |sum: i64, b: &u8| (sum * 10 + i64::from(b - b'0')).min(1 << 40);
    Some(digits.iter().fold(0, bounded))
}

/// Splits off the lowest `dropped` bits (1..=128, leaving at most 64) and says whether what is left
/// is to be rounded up: to nearest, ties to even. `sticky` means that there was more below.
pub(super) fn round_off(mantissa: u128, dropped: u32, sticky: bool) -> (u64, bool) {
    let kept = mantissa.checked_shr(dropped).unwrap_or(0);
    let rest = if dropped == 128 {
        mantissa
    } else {
        mantissa & ((1 << dropped) - 1)
    };
    let half = 1u128 << (dropped - 1);
    let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
    (kept as u64, up)
}

/// Rounds to nearest, ties to even; `None` when the result would be infinite or zero.
fn round_to_f64(hex: &HexFloat) -> Option<f64> {
    let top = hex.exponent + 127; // power of two of the mantissa's top bit
    if !(-1075..=1023).contains(&top) {
        return None;
    }
    let subnormal = top < -1022;
    let kept_bits = if subnormal { top + 1075 } else { 53 }; // 0..=53
    let dropped_bits = 128 - kept_bits as u32; // 75..=128
    let (kept, up) = round_off(hex.mantissa, dropped_bits, hex.sticky);
    let rounded = kept + u64::from(up);
    // A carry out of the mantissa lands in the exponent field, which is exactly where it belongs.
    let bits = if subnormal {
        rounded
    } else {
        (((top + 1022) as u64) << 52) + rounded
    };
    let value = f64::from_bits(bits);
    (value.is_finite() && value != 0.0).then_some(value)
}

/// Integers up to this size are printed digit by digit, without an exponent.
const PLAIN_INTEGER_MAX: f64 = (1u64 << 62) as f64;

/// Appends a double with the fewest digits that read back as the same double, in Redis 7.2's
/// layout.
///
/// Integers carry no `.0`; an exponent appears when plain digits would need more than seven extra
/// zeros behind the digits, or (below one) when both the digits reach seven places or more behind
/// the point and the number is below a thousandth.
pub fn fmt_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        out.extend_from_slice(b"inf");
    } else if magnitude <= PLAIN_INTEGER_MAX && magnitude.trunc() == magnitude {
        push_u64(out, magnitude as u64);
    } else {
        Digits::of(magnitude).lay_out(out);
    }
}

/// The shortest digits of a positive double: `0.d1d2d3... * 10^point`.
struct Digits {
    text: [u8; 17],
    len: usize,
    point: i32,
}

impl Digits {
    fn of(magnitude: f64) -> Digits {
        let mut buffer = ryu::Buffer::new();
        let (mut text, mut len, mut point) = ([0; 17], 0, 0);
        let (mut seen_point, mut exponent) = (false, 0i32);
        let printed = buffer.format_finite(magnitude).as_bytes();
        for (at, &b) in printed.iter().enumerate() {
            match b {
                b'.' => seen_point = true,
                b'e' => {
                    let power = parse_i64(&printed[at + 1..]).expect("ryu prints a plain exponent");
                    exponent = power as i32;
                    break;
                }
                _ => {
                    if b == b'0' && len == 0 {
                        // A leading zero is no digit, but behind the point it moves the point.
                        point -= i32::from(seen_point);
                        continue;
                    }
                    if len < text.len() {
                        text[len] = b;
                        len += 1;
                    }
                    point += i32::from(!seen_point);
                }
            }
        }
        while len > 1 && text[len - 1] == b'0' {
            len -= 1;
        }
        Digits {
            text,
            len,
            point: point + exponent,
        }
    }

    fn lay_out(&self, out: &mut Vec<u8>) {
        let digits = &self.text[..self.len];
        let len = self.len as i32;
        let last_place = self.point - len; // power of ten of the last digit
        let first_place = self.point - 1; // power of ten of the first digit
        let zeros = |n: i32| std::iter::repeat_n(b'0', n.max(0) as usize);
        if last_place >= 0 && first_place < len + 7 {
            out.extend_from_slice(digits);
            out.extend(zeros(last_place));
        } else if last_place < 0 && (last_place > -7 || first_place.abs() < 4) {
            if self.point <= 0 {
                out.extend_from_slice(b"0.");
                out.extend(zeros(-self.point));
                out.extend_from_slice(digits);
            } else {
                let (whole, fraction) = digits.split_at(self.point as usize);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
        } else {
            out.push(digits[0]);
            if len > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if first_place < 0 { b"e-" } else { b"e+" });
            push_i64(out, i64::from(first_place.abs()));
        }
    }
}

/// Parts of a long sum that are looked at: at either end, and in between.
const SUM_ENDS: usize = 8;
const SUM_MIDDLE: usize = 16;

/// The sum of `len` sizes, exact where there are few; of many only some are asked for, always the same
/// ones, and stand for all.
pub fn about_sum(len: usize, of: impl Fn(usize) -> usize) -> usize {
    let looked_at = 2 * SUM_ENDS + SUM_MIDDLE;
    if len <= looked_at {
        return (0..len).map(of).sum();
    }
    let between = len - 2 * SUM_ENDS;
    let middle = (0..SUM_MIDDLE).map(|n| SUM_ENDS + n * between / SUM_MIDDLE);
    let places = (0..SUM_ENDS).chain(middle).chain(len - SUM_ENDS..len);
    let sum: u128 = places.map(|at| of(at) as u128).sum();
    usize::try_from(sum.saturating_mul(len as u128) / looked_at as u128).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn print(x: f64) -> String {
        let mut out = Vec::new();
        fmt_f64(x, &mut out);
        String::from_utf8(out).expect("digits are ASCII")
    }

    #[test]
    fn a_long_sum_is_about_right_and_always_the_same() {
        for len in [0, 1, 32, 33, 1000, 100_000] {
            assert_eq!(about_sum(len, |_| 7), 7 * len);
        }
        let sizes = |at: usize| at % 100;
        let (about, exact) = (about_sum(10_000, sizes), 10_000 * 99 / 2);
        assert!(about.abs_diff(exact) < exact / 2, "{about} for {exact}");
        assert_eq!(about, about_sum(10_000, sizes));
    }

    #[test]
    fn only_canonical_integers_are_integers() {
        for text in [
            "",
            "-",
            "+1",
            " 1",
            "1 ",
            "01",
            "-01",
            "00",
            "-0",
            "1a",
            "a",
            "0x1",
            "1.0",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "100000000000000000000",
            "1\0",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        for n in [
            0,
            1,
            -1,
            9,
            10,
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            assert_eq!(parse_i64(n.to_string().as_bytes()), Some(n));
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn integers_survive_printing_and_reading() {
        let mut rng = Rng::from_seed(1);
        for _ in 0..20_000 {
            let n = (rng.next_u64() as i64) >> rng.below(64);
            let (mut buffer, mut out) = ([0; 20], Vec::new());
            push_i64(&mut out, n);
            assert_eq!(fmt_i64(n, &mut buffer), out);
            assert_eq!(len_i64(n), out.len(), "{n}");
            assert_eq!(parse_i64(&out), Some(n));
            assert_eq!(parse_u64_loose(&out), u64::try_from(n).ok());
        }
    }

    #[test]
    fn stream_id_halves_are_read_as_strtoull_reads_them() {
        // Each answer was taken from XADD on Redis 7.0.15.
        for (text, value) in [
            ("007", Some(7)),
            (" 7", Some(7)),
            ("+7", Some(7)),
            ("-1", None),
            ("-01", Some(u64::MAX)),
            ("-18446744073709551615", Some(1)),
            ("18446744073709551616", None),
            ("", None),
            ("0018446744073709551615", Some(u64::MAX)),
            ("7 ", None),
            ("+-7", None),
            ("-", None),
        ] {
            assert_eq!(parse_u64_loose(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        // Each answer was taken from ZADD on Redis 7.0.15.
        for (text, value) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("+2", 2.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e5", 1e5),
            ("1E+5", 1e5),
            ("007", 7.0),
            ("inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("+Inf", f64::INFINITY),
            ("0x10", 16.0),
            ("-0X1.8p1", -3.0),
            ("0x.8", 0.5),
            ("0x1p-1074", 5e-324),
            ("5e-324", 5e-324),
            ("2.4703282292062328e-324", 5e-324),
            ("0x1.0000000001p-1075", 5e-324),
            ("0e-999", 0.0),
            ("0x0p9999", 0.0),
            ("0x1.fffffffffffff7ffffffp1023", f64::MAX),
            ("0x20000000000001p0", 9007199254740992.0),
            ("0x20000000000001.0000000000000001p0", 9007199254740994.0),
        ] {
            assert_eq!(
                parse_f64(text.as_bytes()).map(f64::to_bits),
                Some(value.to_bits()),
                "{text:?}"
            );
        }
        assert_eq!(
            parse_f64(b"-0").map(f64::to_bits),
            Some((-0.0f64).to_bits())
        );
        for text in [
            "",
            " 1",
            "1 ",
            "\t1",
            "nan",
            "-nan",
            "nan(1)",
            "1e400",
            "-1e400",
            "1e-400",
            "2e-324",
            "0x",
            "0xg",
            "0x1p",
            "0x1p+",
            "0x1p-1075",
            "0x1.fffffffffffff8p1023",
            "1e",
            "1e+",
            ".",
            "e5",
            "+",
            "-",
            "--1",
            "1_0",
            "infinit",
            "1\0",
            "0x1p99999999999999999999",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_laid_out_as_redis_7_2_does() {
        for (x, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (3.0, "3"),
            (0.30000000000000004, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-6, "1.5e-6"),
            (0.000123, "0.000123"),
            (0.00012345678, "1.2345678e-4"),
            (0.0012345678, "0.0012345678"),
            (123.456, "123.456"),
            (12345.123456789, "1.2345123456789e+4"),
            (999.123456789, "999.123456789"),
            (1700000000.123, "1700000000.123"),
            (1e15, "1000000000000000"),
            (4503599627370497.0, "4503599627370497"),
            (4611686018427387904.0, "4611686018427387904"),
            (4611686018427387904.0 * 1.5, "6917529027641082000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(print(x), text);
        }
    }

    #[test]
    fn doubles_survive_printing_and_reading() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..50_000 {
            let x = match rng.below(3) {
                0 => f64::from_bits(rng.next_u64()),
                1 => (rng.next_u64() as i64 >> rng.below(64)) as f64 / 1000.0,
                _ => rng.unit_f64(),
            };
            if !x.is_nan() {
                let text = print(x);
                assert_eq!(
                    parse_f64(text.as_bytes()).map(f64::to_bits),
                    Some(x.to_bits()),
                    "{text}"
                );
                assert!(text.len() <= 25, "{text}");
            }
        }
    }
}
