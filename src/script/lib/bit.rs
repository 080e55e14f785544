//! bit: operations on the lowest 32 bits of numbers, which come back as signed integers.
use std::ffi::{CStr, c_int};

use super::stack::{Fault, Function, Outcome, Stack};

const ROWS: &[Function] = &[
    row(c"arshift", |stack| {
        shift(stack, |bits, by| (bits.cast_signed() >> by).cast_unsigned())
    }),
    row(c"band", |stack| fold(stack, |a, b| a & b)),
    row(c"bnot", |stack| {
        let bits = bits(stack, 1)?;
        give(stack, !bits)
    }),
    row(c"bor", |stack| fold(stack, |a, b| a | b)),
    row(c"bswap", |stack| {
        let bits = bits(stack, 1)?;
        give(stack, bits.swap_bytes())
    }),
    row(c"bxor", |stack| fold(stack, |a, b| a ^ b)),
    row(c"lshift", |stack| shift(stack, |bits, by| bits << by)),
    row(c"rol", |stack| shift(stack, u32::rotate_left)),
    row(c"ror", |stack| shift(stack, u32::rotate_right)),
    row(c"rshift", |stack| shift(stack, |bits, by| bits >> by)),
    row(c"tobit", |stack| {
        let bits = bits(stack, 1)?;
        give(stack, bits)
    }),
    row(c"tohex", to_hex),
];

const fn row(name: &'static CStr, body: fn(&mut Stack<'_>) -> Outcome) -> Function {
    Function { name, body }
}

pub(super) fn library(stack: &mut Stack<'_>) {
    stack.push_library(ROWS, None);
}

/// The lowest 32 bits of a number, rounded to an integer. Beyond 2^51 that is what is left of them after an
/// addition that puts the units of a double into its lowest bits, as everyone who has this library sees them.
fn bits(stack: &Stack<'_>, arg: c_int) -> Result<u32, Fault> {
    const UNITS: f64 = 6_755_399_441_055_744.0;
    let number = stack.check_number(arg)?;
    Ok((number + UNITS).to_bits() as u32)
}

fn give(stack: &mut Stack<'_>, bits: u32) -> Outcome {
    stack.push_number(bits.cast_signed().into());
    Ok(1)
}

fn fold(stack: &mut Stack<'_>, operation: fn(u32, u32) -> u32) -> Outcome {
    let mut all = bits(stack, 1)?;
    // The last one first: of several that are no numbers it is the one that is told.
    for arg in (2..=stack.top()).rev() {
        all = operation(all, bits(stack, arg)?);
    }
    give(stack, all)
}

fn shift(stack: &mut Stack<'_>, operation: fn(u32, u32) -> u32) -> Outcome {
    let (value, by) = (bits(stack, 1)?, bits(stack, 2)?);
    give(stack, operation(value, by & 31))
}

/// As many of the lowest digits as asked for, 8 at most; capital ones for a negative number.
fn to_hex(stack: &mut Stack<'_>) -> Outcome {
    let mut value = bits(stack, 1)?;
    let asked = match stack.top() {
        1 => 8,
        _ => bits(stack, 2)?.cast_signed(),
    };
    let digits: &[u8; 16] = match asked < 0 {
        true => b"0123456789ABCDEF",
        false => b"0123456789abcdef",
    };
    let count = asked.unsigned_abs().min(8) as usize;
    let mut text = [0; 8];
    for place in text[..count].iter_mut().rev() {
        *place = digits[(value & 15) as usize];
        value >>= 4;
    }
    stack.push_bytes(&text[..count]);
    Ok(1)
}
