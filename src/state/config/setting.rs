//! How one value is read from words and shown again: numbers, memory sizes, yes/no, words of a list, text.
//!
//! A type says how it is written; the [`Rule`] of a directive's row says which of its values are allowed. The
//! error texts are those that Redis prints, because tools and people search for them.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::base::num::parse_i64;

/// Why a value was refused.
pub type Reason = Cow<'static, str>;

/// Where a value comes from: a few directives add up in a file and replace in CONFIG SET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A line of a configuration file, of standard input or of the command line.
    File,
    /// CONFIG SET.
    Command,
}

/// What a directive's row says about its values, beyond what their type says.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Whatever the type accepts.
    Plain,
    /// A number within limits.
    Number(Range),
    /// Text that this function finds no fault with.
    Check(fn(&[u8]) -> Result<(), &'static str>),
}

/// The limits of a number, how it is written, and what it is pulled to once accepted.
#[derive(Clone, Copy)]
pub struct Range {
    min: i128,
    max: i128,
    kept_min: i128,
    kept_max: i128,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Octal,
    Bytes,
}

/// A whole number from `min` to `max`.
pub(super) const fn int(min: i64, max: i64) -> Rule {
    number(min as i128, max as i128, Unit::Count)
}

/// File permissions, written in octal.
pub(super) const fn octal(max: u32) -> Rule {
    number(0, max as i128, Unit::Octal)
}

/// A size in bytes; units are understood (`1k` is 1000, `1kb` is 1024).
pub(super) const fn bytes(min: u64, max: u64) -> Rule {
    number(min as i128, max as i128, Unit::Bytes)
}

const fn number(min: i128, max: i128, unit: Unit) -> Rule {
    Rule::Number(Range {
        min,
        max,
        kept_min: min,
        kept_max: max,
        unit,
    })
}

impl Rule {
    /// The same limits, but what is accepted outside `min..=max` is pulled inside.
    pub(super) const fn kept_within(self, min: i64, max: i64) -> Rule {
        match self {
            Rule::Number(mut range) => {
                range.kept_min = min as i128;
                range.kept_max = max as i128;
                Rule::Number(range)
            }
            other => other,
        }
    }

    fn range(&self) -> Range {
        match self {
            Rule::Number(range) => *range,
            _ => Range {
                min: i64::MIN as i128,
                max: i64::MAX as i128,
                kept_min: i64::MIN as i128,
                kept_max: i64::MAX as i128,
                unit: Unit::Count,
            },
        }
    }
}

/// A value that a directive can hold.
pub trait Setting {
    /// Reads the words behind the directive's name. The driver has already checked that there is exactly one,
    /// unless the row is marked MULTI.
    fn parse(&mut self, words: &[&[u8]], rule: &Rule, origin: Origin) -> Result<(), Reason>;

    /// The value as CONFIG GET shows it.
    fn show(&self, rule: &Rule, out: &mut Vec<u8>);

    /// The lines that CONFIG REWRITE needs to say this value, each without the directive's name; none where the
    /// value can only be said by leaving the directive out.
    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        let mut line = Vec::new();
        self.show(rule, &mut line);
        vec![line]
    }

    /// True if each of the lines is left out by itself where it is the default.
    fn lines_stand_alone(&self) -> bool {
        false
    }
}

impl Setting for bool {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        *self = if words[0].eq_ignore_ascii_case(b"yes") {
            true
        } else if words[0].eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".into());
        };
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"yes" } else { b"no" });
    }
}

/// Reads a number by its rule; the caller's type is wide enough for the rule's limits.
fn parse_number(word: &[u8], rule: &Rule) -> Result<i128, Reason> {
    let range = rule.range();
    let number = match range.unit {
        Unit::Count => i128::from(
            parse_i64(word).ok_or(Cow::Borrowed("argument couldn't be parsed into an integer"))?,
        ),
        Unit::Octal => parse_octal(word).ok_or(Cow::Borrowed(
            "argument couldn't be parsed as an octal number",
        ))?,
        Unit::Bytes => {
            i128::from(parse_memory(word).ok_or(Cow::Borrowed("argument must be a memory value"))?)
        }
    };
    if number < range.min || number > range.max {
        return Err(match range.unit {
            Unit::Octal => format!(
                "argument must be between {:o} and {:o} inclusive",
                range.min, range.max
            ),
            _ => format!(
                "argument must be between {} and {} inclusive",
                range.min, range.max
            ),
        }
        .into());
    }
    Ok(number.clamp(range.kept_min, range.kept_max))
}

/// An octal number as C reads it: space before it is skipped, nothing at all is zero.
fn parse_octal(word: &[u8]) -> Option<i128> {
    let word = word.trim_ascii_start();
    let (digits, sign) = match word.strip_prefix(b"-") {
        Some(digits) => (digits, -1),
        None => (word, 1),
    };
    if digits.is_empty() {
        return word.is_empty().then_some(0);
    }
    let mut number: i128 = 0;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        number = (number * 8 + i128::from(digit - b'0')).min(i128::from(i64::MAX));
    }
    Some(sign * number)
}

/// A size with its unit: `100`, `1k` (1000), `1kb` (1024), up to `gb`, in either case. Too much becomes the most
/// that fits; no digits are zero.
pub fn parse_memory(word: &[u8]) -> Option<u64> {
    let end = word
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(word.len());
    let (digits, unit) = word.split_at(end);
    let unit: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let count = digits.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(count.saturating_mul(unit))
}

/// A size as people write it: the largest binary unit that divides it evenly.
pub(super) fn memory_text(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

fn show_number(number: i128, rule: &Rule, out: &mut Vec<u8>) {
    let text = match rule.range().unit {
        Unit::Octal => format!("{number:o}"),
        _ => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

fn number_line(number: i128, rule: &Rule) -> Vec<Vec<u8>> {
    let mut line = Vec::new();
    match (rule.range().unit, u64::try_from(number)) {
        (Unit::Bytes, Ok(bytes)) => line.extend_from_slice(memory_text(bytes).as_bytes()),
        _ => show_number(number, rule, &mut line),
    }
    vec![line]
}

macro_rules! number_settings {
    ($($ty:ty),*) => {$(
        impl Setting for $ty {
            fn parse(&mut self, words: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
                let number = parse_number(words[0], rule)?;
                *self = <$ty>::try_from(number).map_err(|_| "argument does not fit".to_owned())?;
                Ok(())
            }

            fn show(&self, rule: &Rule, out: &mut Vec<u8>) {
                show_number(*self as i128, rule, out);
            }

            fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
                number_line(*self as i128, rule)
            }
        }
    )*};
}

number_settings!(u16, u32, i32, u64, i64, usize);

fn check_text(text: &[u8], rule: &Rule) -> Result<(), Reason> {
    match rule {
        Rule::Check(check) => check(text).map_err(Cow::Borrowed),
        _ => Ok(()),
    }
}

/// Text that may be empty.
impl Setting for Vec<u8> {
    fn parse(&mut self, words: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
        check_text(words[0], rule)?;
        *self = words[0].to_vec();
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        vec![quoted(self)]
    }
}

/// Text that is either there or not: the empty text means that it is not.
impl Setting for Option<Vec<u8>> {
    fn parse(&mut self, words: &[&[u8]], rule: &Rule, _: Origin) -> Result<(), Reason> {
        check_text(words[0], rule)?;
        *self = (!words[0].is_empty()).then(|| words[0].to_vec());
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_deref().unwrap_or_default());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        self.iter().map(|text| quoted(text)).collect()
    }
}

/// Text in double quotes with everything escaped that a line of a file cannot hold as it is.
pub fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for &byte in text {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out.into_bytes()
}

/// A word as it can stand on a line: as it is, or quoted where that would read differently.
pub fn word_text(word: &[u8]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if !word.is_empty() && word.iter().all(plain) {
        word.to_vec()
    } else {
        quoted(word)
    }
}

/// One or more words of a fixed list, each standing for bits of a value.
pub(super) fn one_of(names: &[&str]) -> Reason {
    format!(
        "argument(s) must be one of the following: {}",
        names.join(", ")
    )
    .into()
}

/// Declares an enum whose variants are words in a configuration file; a variant may have further names (the first
/// is the one shown).
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $($word:literal)|+),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$vmeta])* $variant),*
        }

        impl $name {
            /// Every word that stands for a variant, in the order of Redis's error message.
            pub const WORDS: &'static [(&'static str, $name)] = &[$($(($word, $name::$variant)),+),*];

            /// The word that CONFIG GET and INFO show.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => [$($word),+][0]),*
                }
            }
        }

        impl $crate::state::config::setting::Setting for $name {
            fn parse(
                &mut self,
                words: &[&[u8]],
                _: &$crate::state::config::setting::Rule,
                _: $crate::state::config::setting::Origin,
            ) -> Result<(), $crate::state::config::setting::Reason> {
                let found = Self::WORDS.iter().find(|(word, _)| words[0].eq_ignore_ascii_case(word.as_bytes()));
                *self = found.map(|(_, variant)| *variant).ok_or_else(|| {
                    let names: Vec<&str> = Self::WORDS.iter().map(|(word, _)| *word).collect();
                    $crate::state::config::setting::one_of(&names)
                })?;
                Ok(())
            }

            fn show(&self, _: &$crate::state::config::setting::Rule, out: &mut Vec<u8>) {
                out.extend_from_slice(self.word().as_bytes());
            }
        }
    )*};
}
pub(super) use choices;
