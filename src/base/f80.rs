//! The x87 80-bit float in software, for INCRBYFLOAT and its kin.
//!
//! Redis adds these numbers as C's `long double` and prints them with `%.17Lf`; Rust has no such
//! type, and a double would give other digits. Reading, adding and printing here are correctly
//! rounded (to nearest, ties to even), so the results equal real Redis's on x86-64 bit for bit.

mod big;

use super::num::{self, HexFloat};
use big::Big;

/// Texts as long as this or longer are not read: it is the size of the buffer Redis reads from, and
/// it bounds the work.
const TEXT_BYTES_END: usize = 5 * 1024;
/// Power of two of the lowest bit of the smallest numbers.
const LOWEST_EXPONENT: i32 = -16445;
/// Power of two of the lowest bit of the largest numbers.
const HIGHEST_EXPONENT: i32 = 16383 - 63;
/// No finite number has its first digit further left: `0.1 * 10^4934` is too large.
const POINT_MAX: i64 = 4933;
/// No number but zero has its first digit further right: `0.1 * 10^-4950` is not yet rounded to
/// zero.
const POINT_MIN: i64 = -4950;
/// Digits printed behind the point.
const PLACES: usize = 17;
const TEN_17: u64 = 10u64.pow(PLACES as u32);

/// A float with a 64-bit mantissa and a 15-bit exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct F80 {
    negative: bool,
    class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Zero,
    /// `mantissa * 2^exponent`. The mantissa's top bit is set unless the exponent is the lowest
    /// one.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
    NotANumber,
}

impl F80 {
    /// Zero.
    pub const ZERO: F80 = F80 {
        negative: false,
        class: Class::Zero,
    };

    /// Exactly `n`: every 64-bit integer fits the mantissa.
    pub fn from_i64(n: i64) -> F80 {
        round(n < 0, u128::from(n.unsigned_abs()), 0, false)
    }

    /// Exactly `x`: every double fits.
    pub fn from_f64(x: f64) -> F80 {
        let negative = x.is_sign_negative();
        let bits = x.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        match (exponent, fraction) {
            (0x7ff, 0) => F80 {
                negative,
                class: Class::Infinite,
            },
            (0x7ff, _) => F80 {
                negative,
                class: Class::NotANumber,
            },
            (0, _) => round(negative, u128::from(fraction), -1074, false),
            _ => round(
                negative,
                u128::from(fraction | 1 << 52),
                exponent - 1075,
                false,
            ),
        }
    }

    /// Reads a number as C's `strtold` would if it had to use up the whole text: decimal or
    /// hexadecimal with exponent, or infinity. Refused are the empty text, leading white space,
    /// `nan`, overflow, underflow to zero, and texts of 5 KiB.
    pub fn parse(text: &[u8]) -> Option<F80> {
        if text.len() >= TEXT_BYTES_END {
            return None;
        }
        let (negative, body) = num::split_sign(text);
        match body {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(negative, hex),
            [b'0'..=b'9' | b'.', ..] => parse_decimal(negative, body),
            _ if num::is_infinity(body) => Some(F80 {
                negative,
                class: Class::Infinite,
            }),
            _ => None,
        }
    }

    /// False for infinities and for what is not a number.
    pub fn is_finite(self) -> bool {
        matches!(self.class, Class::Zero | Class::Finite { .. })
    }

    /// True below zero (and for the negative zero).
    pub fn is_negative(self) -> bool {
        self.negative
    }

    /// The number times a thousand, rounded up to an integer: a timeout given in seconds as
    /// milliseconds. `None` if that is beyond 64 bits.
    pub fn to_thousandths_ceil(self) -> Option<i64> {
        let scaled = match self.class {
            Class::Zero => return Some(0),
            // The product is rounded to a float first, as the multiplication in C is.
            Class::Finite { mantissa, exponent } => {
                round(self.negative, u128::from(mantissa) * 1000, exponent, false)
            }
            Class::Infinite | Class::NotANumber => return None,
        };
        let Class::Finite { mantissa, exponent } = scaled.class else {
            return scaled.is_finite().then_some(0);
        };
        let (whole, dropped) = match exponent {
            // A mantissa with its top bit set is beyond i64 as it stands, except for exactly
            // i64::MIN.
            1.. => return None,
            0 => (mantissa, false),
            -63..0 => (mantissa >> -exponent, mantissa << (64 + exponent) != 0),
            _ => (0, true),
        };
        if self.negative {
            (whole <= 1 << 63).then(|| 0i64.wrapping_sub_unsigned(whole))
        } else {
            i64::try_from(whole).ok()?.checked_add(i64::from(dropped))
        }
    }

    /// Appends the number in plain decimal with up to 17 places, trailing zeros cut off. Zero has
    /// no sign.
    pub fn push_decimal(self, out: &mut Vec<u8>) {
        let (mantissa, exponent) = match self.class {
            Class::Zero => return out.push(b'0'),
            Class::Infinite if self.negative => return out.extend_from_slice(b"-inf"),
            Class::Infinite => return out.extend_from_slice(b"inf"),
            Class::NotANumber => return out.extend_from_slice(b"nan"),
            Class::Finite { mantissa, exponent } => (mantissa, exponent),
        };
        if exponent >= 0 {
            if self.negative {
                out.push(b'-');
            }
            let mut whole = Big::from_u64(mantissa);
            whole.shift_left(exponent as u32);
            return whole.push_decimal(out);
        }
        let (whole, fraction) = split_fraction(mantissa, exponent.unsigned_abs());
        if self.negative && (whole, fraction) != (0, 0) {
            out.push(b'-');
        }
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        if fraction != 0 {
            let digits = format!(".{fraction:0PLACES$}");
            out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
        }
    }
}

impl std::ops::Add for F80 {
    type Output = F80;

    /// The sum, rounded to nearest, ties to even; too large a sum is infinite.
    fn add(self, other: F80) -> F80 {
        match (self.class, other.class) {
            (Class::NotANumber, _) => self,
            (_, Class::NotANumber) => other,
            (Class::Infinite, Class::Infinite) if self.negative != other.negative => F80 {
                negative: false,
                class: Class::NotANumber,
            },
            (Class::Infinite, _) => self,
            (_, Class::Infinite) => other,
            (Class::Zero, Class::Zero) => F80 {
                negative: self.negative && other.negative,
                class: Class::Zero,
            },
            (Class::Zero, _) => other,
            (_, Class::Zero) => self,
            (
                Class::Finite {
                    mantissa: m1,
                    exponent: e1,
                },
                Class::Finite {
                    mantissa: m2,
                    exponent: e2,
                },
            ) => {
                if (e1, m1) >= (e2, m2) {
                    add_ordered((self.negative, m1, e1), (other.negative, m2, e2))
                } else {
                    add_ordered((other.negative, m2, e2), (self.negative, m1, e1))
                }
            }
        }
    }
}

/// Adds two finite numbers (sign, mantissa, exponent), the first of which is not smaller in size.
fn add_ordered(large: (bool, u64, i32), small: (bool, u64, i32)) -> F80 {
    /// Room below the larger mantissa: more than the two bits that rounding after a subtraction
    /// needs.
    const ROOM: u32 = 62;
    let (negative, mantissa, exponent) = large;
    let gap = (exponent - small.2).unsigned_abs();
    let wide = u128::from(mantissa) << ROOM;
    let whole = u128::from(small.1) << ROOM;
    let (shifted, dropped) = if gap < 128 {
        (whole >> gap, whole & ((1u128 << gap) - 1) != 0)
    } else {
        (0, true)
    };
    let sum = if negative == small.0 {
        wide + shifted
    } else {
        // What was dropped makes the subtrahend larger by less than one unit.
        wide - shifted - u128::from(dropped)
    };
    if sum == 0 {
        return F80::ZERO;
    }
    round(negative, sum, exponent - ROOM as i32, dropped)
}

/// Splits `mantissa / 2^places2` into the whole part and the fraction in units of the last printed
/// place, rounded to nearest, ties to even.
fn split_fraction(mantissa: u64, places2: u32) -> (u64, u64) {
    // Below this the number is less than half a unit of the last place.
    if places2 >= 128 {
        return (0, 0);
    }
    let whole = mantissa.checked_shr(places2).unwrap_or(0);
    let fraction = u128::from(mantissa) & ((1u128 << places2) - 1);
    // 64 and 57 bits: the product fits.
    let scaled = fraction * u128::from(TEN_17);
    let (units, rest) = (
        (scaled >> places2) as u64,
        scaled & ((1u128 << places2) - 1),
    );
    let half = 1u128 << (places2 - 1);
    let units = units + u64::from(rest > half || (rest == half && units & 1 == 1));
    if units == TEN_17 {
        (whole + 1, 0)
    } else {
        (whole, units)
    }
}

/// Rounds `mantissa * 2^exponent` (plus less than one unit if `sticky`) to the nearest float, ties
/// to even.
fn round(negative: bool, mantissa: u128, exponent: i32, sticky: bool) -> F80 {
    if mantissa == 0 {
        return F80 {
            negative,
            class: Class::Zero,
        };
    }
    let shift = mantissa.leading_zeros();
    let (mantissa, exponent) = (mantissa << shift, exponent - shift as i32);
    // 64 bits are dropped, or more where the exponent cannot go low enough.
    let dropped = 64.max(LOWEST_EXPONENT - exponent);
    if dropped > 128 {
        return F80 {
            negative,
            class: Class::Zero,
        };
    }
    let exponent = exponent + dropped;
    let (kept, up) = num::round_off(mantissa, dropped as u32, sticky);
    let (mantissa, exponent) = match kept.overflowing_add(u64::from(up)) {
        (_, true) => (1 << 63, exponent + 1),
        (sum, false) => (sum, exponent),
    };
    let class = match mantissa {
        0 => Class::Zero,
        _ if exponent > HIGHEST_EXPONENT => Class::Infinite,
        _ => Class::Finite { mantissa, exponent },
    };
    F80 { negative, class }
}

/// A rounded result of reading digits that are not all zero: `None` where C reports a range error.
fn in_range(number: F80) -> Option<F80> {
    matches!(number.class, Class::Finite { .. }).then_some(number)
}

fn parse_hex(negative: bool, text: &[u8]) -> Option<F80> {
    let hex = HexFloat::parse(text)?;
    if hex.mantissa == 0 {
        return Some(F80 {
            negative,
            class: Class::Zero,
        });
    }
    in_range(round(negative, hex.mantissa, hex.exponent, hex.sticky))
}

fn parse_decimal(negative: bool, body: &[u8]) -> Option<F80> {
    let end_of_digits = body
        .iter()
        .position(|b| matches!(b, b'e' | b'E'))
        .unwrap_or(body.len());
    let (digits, power) = body.split_at(end_of_digits);
    let power = match power {
        [] => 0,
        [_, rest @ ..] => {
            let (negative, rest) = num::split_sign(rest);
            let size = num::saturating_digits(rest)?;
            if negative { -size } else { size }
        }
    };
    let point = digits.iter().position(|&b| b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let all_digits = || whole.iter().chain(fraction).copied();
    if (whole.is_empty() && fraction.is_empty()) || !all_digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let leading_zeros = all_digits().take_while(|&b| b == b'0').count();
    let count = whole.len() + fraction.len() - leading_zeros;
    if count == 0 {
        return Some(F80 {
            negative,
            class: Class::Zero,
        });
    }
    let power = power - fraction.len() as i64; // power of ten of the last digit
    let first = count as i64 + power;
    if !(POINT_MIN..=POINT_MAX).contains(&first) {
        return None;
    }
    let power = power as i32; // within the two bounds and the text's length
    let digits = all_digits().skip(leading_zeros);
    in_range(if count <= 19 && (-18..=0).contains(&power) {
        let digits = digits.fold(0, |sum, b| sum * 10 + u64::from(b - b'0'));
        from_short(negative, digits, 10u64.pow(power.unsigned_abs()))
    } else {
        from_long(negative, Big::from_digits(digits), power)
    })
}

/// `digits / divisor` (at most 10^18), the common case, in registers.
fn from_short(negative: bool, digits: u64, divisor: u64) -> F80 {
    let shift = digits.leading_zeros();
    let scaled = u128::from(digits << shift) << 64;
    // The quotient has at least 67 bits: the mantissa's and some to round by.
    let (quotient, rest) = (scaled / u128::from(divisor), scaled % u128::from(divisor));
    round(negative, quotient, -64 - shift as i32, rest != 0)
}

/// `digits * 10^power` with the power of two split off, so that only powers of five need big
/// numbers.
fn from_long(negative: bool, mut digits: Big, power: i32) -> F80 {
    if power >= 0 {
        digits.mul_power_of_five(power.unsigned_abs());
        let low = digits.bit_len().saturating_sub(128);
        let (mantissa, sticky) = digits.window(low);
        return round(negative, mantissa, low as i32 + power, sticky);
    }
    /// Bits of the quotient: 64 for the mantissa, one to round by, one to spare.
    const QUOTIENT_BITS: u32 = 66;
    let mut divisor = Big::power_of_five(power.unsigned_abs());
    // Shift until 1 <= digits / divisor < 2, then take the quotient bit by bit.
    let mut exponent = power;
    let (n, d) = (digits.bit_len(), divisor.bit_len());
    digits.shift_left(d.saturating_sub(n));
    divisor.shift_left(n.saturating_sub(d));
    exponent += n as i32 - d as i32;
    if digits < divisor {
        digits.shift_left(1);
        exponent -= 1;
    }
    let mut quotient = 0u128;
    for _ in 0..QUOTIENT_BITS {
        quotient <<= 1;
        if digits >= divisor {
            digits.subtract(&divisor);
            quotient |= 1;
        }
        digits.shift_left(1);
    }
    round(
        negative,
        quotient,
        exponent - (QUOTIENT_BITS as i32 - 1),
        !digits.is_zero(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn print(x: F80) -> String {
        let mut out = Vec::new();
        x.push_decimal(&mut out);
        String::from_utf8(out).expect("digits are ASCII")
    }

    fn parse(text: &str) -> Option<F80> {
        F80::parse(text.as_bytes())
    }

    #[test]
    fn sums_equal_those_of_redis() {
        // Each answer was taken from SET and INCRBYFLOAT on Redis 7.0.15 on x86-64.
        for (a, b, sum) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "200", "5200"),
            ("3.0e3", "-3000", "0"),
            ("0.1", "0.2", "0.3"),
            ("1", "1.23456789012345678901", "2.23456789012345679"),
            ("-0.0", "-0", "0"),
            ("3", "-3.00000000000000000001", "0"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("36893488147419103231", "0", "36893488147419103232"),
            ("36893488147419103233", "0.0000001", "36893488147419103232"),
            ("0x1p-4", "0x.8p1", "1.0625"),
            ("0x1.fffffffffffffffp63", "0x.8p0", "18446744073709551608"),
            ("0x10000000000000001p0", "0x1p-1", "18446744073709551616"),
            ("0xcCcaEeC5a236ad5ED0.8p-62", "0", "819.1708234867207547"),
            ("1e-17", "0", "0.00000000000000001"),
            ("5e-18", "0", "0"),
            ("1.5e-17", "0", "0.00000000000000002"),
            ("5.0000000000000000001e-18", "0", "0"),
            ("0.5", "0x1p-18", "0.50000381469726562"),
            ("0.99999999999999999999", "0", "1"),
            ("0.999999999999999995", "0", "1"),
            ("123456789012345678.5", "0.25", "123456789012345678.75"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("1e30", "-1e30", "0"),
            ("1e22", "1e-5", "10000000000000000000000"),
            ("-12345.678", "0.001", "-12345.6769999999999996"),
            (
                "3.14159265358979323846264338327950288",
                "0",
                "3.14159265358979324",
            ),
            ("2e-4951", "0", "0"),
            ("1.83e-4951", "1", "1"),
            (".5", "5.", "5.5"),
            ("+1", "+1", "2"),
            ("0e99999999999", "1", "1"),
            (
                "10000000000000000000000000000000000000000",
                "1",
                "9999999999999999999783686092270256259072",
            ),
            (
                "0.333333333333333333333333333333333333333333333333",
                "0",
                "0.33333333333333333",
            ),
        ] {
            let (x, y) = (parse(a).expect(a), parse(b).expect(b));
            assert_eq!(print(x + y), sum, "{a} + {b}");
            assert_eq!(print(y + x), sum, "{b} + {a}");
        }
    }

    #[test]
    fn what_strtold_refuses_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "1e",
            "1e+",
            "e1",
            ".",
            "+",
            "-",
            "--1",
            "0x",
            "0x.p1",
            "nan",
            "nan(1)",
            "infin",
            "1_0",
            "1\0",
            "1.5L",
            "1e-4951",
            "1.82e-4951",
            "1.2e4932",
            "1e4933",
            "-1e4933",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0x1p20000",
            "0x1p-20000",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(&"1".repeat(TEXT_BYTES_END)), None);
        assert!(parse(&"0".repeat(TEXT_BYTES_END - 1)).is_some());
    }

    #[test]
    fn infinities_and_overflow_are_not_finite() {
        let largest = parse("1.18973149535723176502e4932").expect("the largest number");
        assert!(!(largest + largest).is_finite());
        let inf = parse("-inf").expect("infinity is a number to strtold");
        assert!(!inf.is_finite() && inf.is_negative());
        let nothing = inf + parse("Infinity").expect("infinity is a number to strtold");
        assert_eq!(nothing.class, Class::NotANumber);
        assert_eq!(print(inf), "-inf");
    }

    #[test]
    fn doubles_and_integers_fit_exactly() {
        assert_eq!(print(F80::from_f64(0.1)), "0.10000000000000001");
        assert_eq!(print(F80::from_f64(-2.5)), "-2.5");
        assert_eq!(print(F80::from_f64(5e-324)), "0");
        assert_eq!(print(F80::from_i64(i64::MIN)), "-9223372036854775808");
        assert!(!F80::from_f64(f64::NAN).is_finite());
        let mut rng = Rng::from_seed(3);
        for _ in 0..5_000 {
            let n = (rng.next_u64() as i64) >> rng.below(64);
            assert_eq!(print(F80::from_i64(n)), n.to_string());
            assert_eq!(parse(&n.to_string()), Some(F80::from_i64(n)));
        }
    }

    #[test]
    fn short_and_long_division_agree() {
        let mut rng = Rng::from_seed(4);
        for _ in 0..5_000 {
            let digits = (rng.next_u64() >> rng.below(60)) % 10u64.pow(19);
            let power = rng.below(19) as i32;
            if digits == 0 {
                continue;
            }
            let short = from_short(false, digits, 10u64.pow(power.unsigned_abs()));
            assert_eq!(
                short,
                from_long(false, Big::from_u64(digits), -power),
                "{digits}e-{power}"
            );
        }
    }

    #[test]
    fn addition_is_exact_where_it_can_be() {
        // Small enough to be summed in i128 without rounding, however far apart the two are.
        let mut rng = Rng::from_seed(5);
        for _ in 0..20_000 {
            let a = (rng.next_u64() as i64 >> rng.below(64)) as i128;
            let b = ((rng.next_u64() as i64 >> rng.below(64)) as i128) << rng.below(60);
            let exact = round(a + b < 0, (a + b).unsigned_abs(), 0, false);
            let of = |n: i128| round(n < 0, n.unsigned_abs(), 0, false);
            let sum = of(a) + of(b);
            assert_eq!(print(sum), print(exact), "{a} + {b}");
        }
    }

    #[test]
    fn timeouts_are_rounded_up_to_milliseconds() {
        for (seconds, ms) in [
            ("0", Some(0)),
            ("0.001", Some(1)),
            ("0.0001", Some(1)),
            ("1e-30", Some(1)),
            ("1.0005", Some(1001)),
            ("1.5", Some(1500)),
            ("-0.0001", Some(0)),
            ("-1.5", Some(-1500)),
            ("9223372036854775.807", Some(i64::MAX)),
            ("9223372036854775.808", None),
            ("inf", None),
            ("1e30", None),
            ("-1e30", None),
            ("0x1p-10", Some(1)),
            ("10", Some(10_000)),
        ] {
            let read = parse(seconds).expect(seconds);
            assert_eq!(read.to_thousandths_ceil(), ms, "{seconds}");
        }
    }
}
