//! Moments as people and AOF files write them: RFC 3339, unix seconds, annotations.

/// The time of an annotation `TS:seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    At(i64),
    /// An annotation of another kind.
    None,
    /// A time that is no number.
    Bad,
}

/// The time that an annotation (without its `#`) tells.
pub fn stamp_of(annotation: &[u8]) -> Stamp {
    let Some(digits) = annotation.strip_prefix(b"TS:") else {
        return Stamp::None;
    };
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    number.map_or(Stamp::Bad, Stamp::At)
}

const HOW_TO: &str = "give the time as 2026-11-20T10:15:00Z, with an offset (+01:00) instead of the Z, or as \
                      unix seconds";

/// Reads a moment: unix seconds. Parts of a second are dropped, since files do not know them.
pub fn parse(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    if let Some((seconds, part)) = text.split_once('.')
        && part.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(seconds) = seconds.parse()
    {
        return Ok(seconds);
    }
    rfc3339(text.as_bytes()).ok_or_else(|| format!("'{text}' is no time: {HOW_TO}"))
}

fn rfc3339(text: &[u8]) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let ([y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1], [t, h0, h1, b':', i0, i1, b':', s0, s1]) = (
        <&[u8; 10]>::try_from(day).ok()?,
        <&[u8; 9]>::try_from(clock).ok()?,
    ) else {
        return None;
    };
    if !matches!(t, b'T' | b't' | b' ') {
        return None;
    }
    let year = number(&[*y0, *y1, *y2, *y3])?;
    let (month, day) = (number(&[*m0, *m1])?, number(&[*d0, *d1])?);
    let (hour, minute, second) = (
        number(&[*h0, *h1])?,
        number(&[*i0, *i1])?,
        number(&[*s0, *s1])?,
    );
    let offset = match rest {
        [b'.', part @ ..] => {
            let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            &part[digits..]
        }
        rest => rest,
    };
    let offset = match offset {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number(&[*h0, *h1])?, number(&[*m0, *m1])?);
            let seconds = hours * 3600 + minutes * 60;
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // A leap second is the second behind it, as everywhere in unix time.
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. Years are counted from March on, so that the leap day is a year's last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month < 3);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// A moment for people: RFC 3339, in UTC.
pub fn shown(seconds: i64) -> String {
    let (day, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (mut year, mut left) = (1970 + day.div_euclid(366), 0);
    // A few steps from a guess that is never too high, for times that anybody has.
    if !(-100_000..=2_900_000).contains(&day) {
        return format!("unix time {seconds}");
    }
    while day >= days(year + 1, 1, 1) {
        year += 1;
    }
    while day < days(year, 1, 1) {
        year -= 1;
    }
    left += day - days(year, 1, 1);
    let mut month = 1;
    while left >= days_in(year, month) {
        left -= days_in(year, month);
        month += 1;
    }
    format!(
        "{year:04}-{month:02}-{:02}T{:02}:{:02}:{:02}Z",
        left + 1,
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_shown() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-20T10:15:00Z", 1_795_169_700),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
            assert_eq!(shown(seconds), text);
        }
        for text in [
            "2026-11-20T11:45:00+01:30",
            "2026-11-20 05:15:00.75-05:00",
            "2026-11-20t10:15:00z",
            "1795169700",
            "1795169700.5",
        ] {
            assert_eq!(parse(text), Ok(1_795_169_700), "{text}");
        }
        for day in -90_000..90_000 {
            let seconds = day * 86_400 + 3_661;
            assert_eq!(parse(&shown(seconds)), Ok(seconds));
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "2026-11-20",
            "2026-11-20T10:15:00",
            "2026-11-20T10:15Z",
            "2026-13-20T10:15:00Z",
            "2026-02-29T10:15:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T10:15:00.Z",
            "2026-11-20T10:15:00+0100",
            "2026-11-20T10:15:00+24:00",
            "2026-11-2\u{e9}T10:15:00Z",
            "12x",
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("unix seconds"), "{error}");
        }
    }

    #[test]
    fn annotations_tell_the_time() {
        assert_eq!(stamp_of(b"TS:1628217470"), Stamp::At(1_628_217_470));
        assert_eq!(stamp_of(b"TS:-5"), Stamp::At(-5));
        assert_eq!(stamp_of(b"ts:5"), Stamp::None);
        assert_eq!(stamp_of(b" a comment"), Stamp::None);
        for text in ["TS:", "TS:5x", "TS: 5"] {
            assert_eq!(stamp_of(text.as_bytes()), Stamp::Bad);
        }
    }
}
