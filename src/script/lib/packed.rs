//! struct: values packed as the structures of C are, by a format.
use std::ffi::{CStr, c_int};

use super::stack::{Fault, Function, Kind, Outcome, Stack};

const ROWS: &[Function] = &[
    row(c"pack", pack),
    row(c"size", size),
    row(c"unpack", unpack),
];

const fn row(name: &'static CStr, body: fn(&mut Stack<'_>) -> Outcome) -> Function {
    Function { name, body }
}

/// The widest integer, of which 8 bytes mean something.
const INTEGER_MAX: u64 = 32;

/// What `!` alone aligns to.
const ALIGN: u64 = 8;

/// Padding is bounded by the alignment, and everything else by the values given.
const ZEROS: [u8; 32] = [0; 32];

const TOO_SHORT: Fault = Fault::Argument(2, c"data string too short");

pub(super) fn library(stack: &mut Stack<'_>) {
    stack.push_library(ROWS, None);
}

/// A format that is being read, and what it has set so far.
struct Format<'a> {
    rest: &'a [u8],
    big: bool,
    align: u64,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        Format {
            rest: &text[..end],
            big: false,
            align: 1,
        }
    }

    /// The next letter, and the size of what it stands for.
    fn next(&mut self, stack: &mut Stack<'_>) -> Result<Option<(u8, u64)>, Fault> {
        let Some((letter, rest)) = self.rest.split_first() else {
            return Ok(None);
        };
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_MAX {
                    return Err(stack.told(format_args!(
                        "integral size {size} is larger than limit of {INTEGER_MAX}"
                    )));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((*letter, size)))
    }

    /// The number that may follow a letter.
    fn number(&mut self, default: u64) -> Result<u64, Fault> {
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        if digits.is_empty() {
            return Ok(default);
        }
        let grow = |sum: u64, digit: &u8| {
            let sum = sum * 10 + u64::from(digit - b'0');
            Some(sum).filter(|sum| *sum <= i32::MAX as u64)
        };
        let overflow = Fault::Text(c"integral size overflow");
        digits.iter().try_fold(0, grow).ok_or(overflow)
    }

    /// What a letter that stands for no value says.
    fn option(&mut self, stack: &mut Stack<'_>, letter: u8) -> Result<(), Fault> {
        match letter {
            b' ' => {}
            b'>' => self.big = true,
            b'<' => self.big = false,
            b'!' => {
                let align = self.number(ALIGN)?;
                if !align.is_power_of_two() {
                    let text = format_args!("alignment {align} is not a power of 2");
                    return Err(stack.told(text));
                }
                self.align = align;
            }
            _ => {
                stack.told_showing(b"invalid format option '", &[letter], b"'");
                return Err(Fault::ArgumentTold(1));
            }
        }
        Ok(())
    }

    /// How many bytes are skipped before a value at `at`.
    fn padding(&self, at: u64, letter: u8, size: u64) -> u64 {
        if size == 0 || letter == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        // Meant for powers of two, and what others have always been given.
        (size.wrapping_sub(at & (size - 1))) & (size - 1)
    }
}

/// An integer as the machine makes one of a number.
fn whole(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number.is_nan() || number < -HALF {
        1 << 63
    } else if number < HALF {
        (number as i64).cast_unsigned()
    } else if number < 2.0 * HALF {
        number as u64
    } else {
        0
    }
}

/// Bytes that begin with the lowest, in the order of a format; and back.
fn ordered<const N: usize>(mut bytes: [u8; N], big: bool) -> [u8; N] {
    if big {
        bytes.reverse();
    }
    bytes
}

fn pack(stack: &mut Stack<'_>) -> Outcome {
    let mut format = Format::new(stack.check_bytes(1)?);
    let mut out = stack.buffer(0);
    let (mut arg, mut total) = (2, 0_u64);
    while let Some((letter, mut size)) = format.next(stack)? {
        let padding = format.padding(total, letter, size);
        out.put(stack, &ZEROS[..padding as usize])?;
        total += padding;
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let bits = whole(value(stack, arg)?);
                let mut bytes = ZEROS;
                bytes[..8].copy_from_slice(&bits.to_le_bytes());
                let bytes = &mut bytes[..size as usize];
                if format.big {
                    bytes.reverse();
                }
                out.put(stack, bytes)?;
                arg += 1;
            }
            b'x' => out.put(stack, &[0])?,
            b'f' => {
                let bits = (value(stack, arg)? as f32).to_bits();
                out.put(stack, &ordered(bits.to_le_bytes(), format.big))?;
                arg += 1;
            }
            b'd' => {
                let bits = value(stack, arg)?.to_bits();
                out.put(stack, &ordered(bits.to_le_bytes(), format.big))?;
                arg += 1;
            }
            b'c' | b's' => {
                if stack.kind(arg) == Kind::None {
                    stack.push_nil();
                }
                let string = stack.check_bytes(arg)?;
                arg += 1;
                if size == 0 {
                    size = string.len() as u64;
                }
                if (string.len() as u64) < size {
                    return Err(Fault::Argument(arg, c"string too short"));
                }
                out.put(stack, &string[..size as usize])?;
                if letter == b's' {
                    out.put(stack, &[0])?;
                    size += 1;
                }
            }
            _ => format.option(stack, letter)?,
        }
        total += size;
    }
    out.push(stack);
    Ok(1)
}

/// A number to be packed. One that was not given is told to be nil.
fn value(stack: &mut Stack<'_>, arg: c_int) -> Result<f64, Fault> {
    if stack.kind(arg) == Kind::None {
        stack.push_nil();
    }
    stack.check_number(arg)
}

fn unpack(stack: &mut Stack<'_>) -> Outcome {
    let mut format = Format::new(stack.check_bytes(1)?);
    let data = stack.check_bytes(2)?;
    let mut at = stack.integer_or(3, 1)?.cast_unsigned();
    if at == 0 {
        return Err(Fault::Argument(3, c"offset must be 1 or greater"));
    }
    at -= 1;
    let mut count = 0;
    while let Some((letter, size)) = format.next(stack)? {
        at = at.wrapping_add(format.padding(at, letter, size));
        let mut piece = piece(data, at, size)?;
        if !stack.room(2) {
            return Err(Fault::Text(c"stack overflow (too many results)"));
        }
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let value = integer(piece, format.big, letter.is_ascii_lowercase());
                stack.push_number(value);
                count += 1;
            }
            b'x' => {}
            b'f' => {
                let bytes = piece.try_into().map_err(|_| TOO_SHORT)?;
                let bits = u32::from_le_bytes(ordered(bytes, format.big));
                stack.push_number(f32::from_bits(bits).into());
                count += 1;
            }
            b'd' => {
                let bytes = piece.try_into().map_err(|_| TOO_SHORT)?;
                let bits = u64::from_le_bytes(ordered(bytes, format.big));
                stack.push_number(f64::from_bits(bits));
                count += 1;
            }
            b'c' => {
                if size == 0 {
                    // The length is the value before.
                    let len = match count {
                        0 => None,
                        _ => stack.number(-1),
                    };
                    let why = c"format 'c0' needs a previous size";
                    let len = whole(len.ok_or(Fault::Text(why))?);
                    stack.pop(1);
                    count -= 1;
                    piece = self::piece(data, at, len)?;
                }
                stack.push_bytes(piece);
                count += 1;
            }
            b's' => {
                let rest = data.get(at as usize..).unwrap_or(&[]);
                let end =
                    memchr::memchr(0, rest).ok_or(Fault::Text(c"unfinished string in data"))?;
                stack.push_bytes(&rest[..end]);
                count += 1;
                piece = &rest[..=end];
            }
            _ => format.option(stack, letter)?,
        }
        at = at.wrapping_add(piece.len() as u64);
    }
    stack.push_number(at.wrapping_add(1).cast_signed() as f64);
    Ok(count + 1)
}

fn piece(data: &[u8], at: u64, size: u64) -> Result<&[u8], Fault> {
    let len = data.len() as u64;
    if size > len || at > len - size {
        return Err(TOO_SHORT);
    }
    Ok(&data[at as usize..(at + size) as usize])
}

/// The lowest 8 bytes of an integer; a signed one of fewer takes its sign along.
fn integer(bytes: &[u8], big: bool, signed: bool) -> f64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    let value = match big {
        true => bytes.iter().fold(0, add),
        false => bytes.iter().rev().fold(0, add),
    };
    if !signed {
        return value as f64;
    }
    // The shift counts modulo 64, so that of 9 bytes and more another bit is taken for the sign, as ever.
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    let value = if value & mask == 0 {
        value
    } else {
        value | mask
    };
    value.cast_signed() as f64
}

fn size(stack: &mut Stack<'_>) -> Outcome {
    let mut format = Format::new(stack.check_bytes(1)?);
    let mut total = 0_u64;
    while let Some((letter, size)) = format.next(stack)? {
        total = total.wrapping_add(format.padding(total, letter, size));
        match letter {
            b's' => return Err(Fault::Argument(1, c"option 's' has no fixed size")),
            b'c' if size == 0 => {
                return Err(Fault::Argument(1, c"option 'c0' has no fixed size"));
            }
            _ if !letter.is_ascii_alphanumeric() => format.option(stack, letter)?,
            _ => {}
        }
        total = total.wrapping_add(size);
    }
    stack.push_number(total as f64);
    Ok(1)
}
