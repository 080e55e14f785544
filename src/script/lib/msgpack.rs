//! cmsgpack: MessagePack, without its binary and extension types, as scripts have always had it.
use std::ffi::{CStr, c_int};

use super::stack::{Buffer, Fault, Function, Kind, Outcome, Stack};

mod unpack;

const ROWS: &[Function] = &[
    row(c"pack", pack),
    row(c"unpack", unpack::all),
    row(c"unpack_limit", unpack::limit),
    row(c"unpack_one", unpack::one),
];

const fn row(name: &'static CStr, body: fn(&mut Stack<'_>) -> Outcome) -> Function {
    Function { name, body }
}

/// What lies deeper than this is written as nil.
const NESTING_MAX: u32 = 16;

pub(super) fn library(stack: &mut Stack<'_>) {
    stack.push_library(ROWS, None);
    let table = stack.top();
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        stack.push_bytes(name.as_bytes());
        stack.push_bytes(value.as_bytes());
        stack.raw_set(table);
    }
}

fn pack(stack: &mut Stack<'_>) -> Outcome {
    let args = stack.top();
    if args == 0 {
        return Err(Fault::Argument(0, c"MessagePack pack needs input."));
    }
    if !stack.room(args) {
        let why = c"Too many arguments for MessagePack pack.";
        return Err(Fault::Argument(0, why));
    }
    let mut out = stack.buffer(0);
    for arg in 1..=args {
        value(stack, &mut out, arg, 0)?;
    }
    out.push(stack);
    Ok(1)
}

/// Writes the value at `index`, counted from the bottom.
fn value(stack: &mut Stack<'_>, out: &mut Buffer, index: c_int, depth: u32) -> Result<(), Fault> {
    match stack.kind(index) {
        Kind::String => string(stack, out, index),
        Kind::Boolean => {
            let byte = if stack.boolean(index) { 0xc3 } else { 0xc2 };
            out.put(stack, &[byte])
        }
        Kind::Number => {
            let value = stack.number(index).unwrap_or(0.0);
            number(stack, out, value)
        }
        Kind::Table if depth < NESTING_MAX => table(stack, out, index, depth),
        _ => out.put(stack, &[0xc0]),
    }
}

fn string(stack: &mut Stack<'_>, out: &mut Buffer, index: c_int) -> Result<(), Fault> {
    let len = stack.bytes(index).len();
    match len {
        0..32 => out.put(stack, &[0xa0 | len as u8])?,
        32..=0xff => out.put(stack, &[0xd9, len as u8])?,
        _ => sized(stack, out, 0xda, len)?,
    }
    out.put_part(stack, index, 0..len)
}

/// A length of two or four bytes behind one of two neighbouring codes.
fn sized(stack: &mut Stack<'_>, out: &mut Buffer, code: u8, len: usize) -> Result<(), Fault> {
    match u16::try_from(len) {
        Ok(len) => {
            let [a, b] = len.to_be_bytes();
            out.put(stack, &[code, a, b])
        }
        Err(_) => {
            // No string or table of Lua is longer than the memory of scripts.
            let [a, b, c, d] = (len as u32).to_be_bytes();
            out.put(stack, &[code + 1, a, b, c, d])
        }
    }
}

/// The shortest form: an integer if it is one, else a float if that is exact.
fn number(stack: &mut Stack<'_>, out: &mut Buffer, value: f64) -> Result<(), Fault> {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    if !fits || value.fract() != 0.0 {
        return match f64::from(value as f32) == value {
            true => coded(stack, out, 0xca, &(value as f32).to_bits().to_be_bytes()),
            false => coded(stack, out, 0xcb, &value.to_bits().to_be_bytes()),
        };
    }
    let whole = value as i64;
    let bytes = whole.to_be_bytes();
    match whole {
        -32..=127 => out.put(stack, &bytes[7..]),
        128..=0xff => coded(stack, out, 0xcc, &bytes[7..]),
        0x100..=0xffff => coded(stack, out, 0xcd, &bytes[6..]),
        0x1_0000..=0xffff_ffff => coded(stack, out, 0xce, &bytes[4..]),
        0x1_0000_0000.. => coded(stack, out, 0xcf, &bytes),
        -0x80..=-33 => coded(stack, out, 0xd0, &bytes[7..]),
        -0x8000..=-0x81 => coded(stack, out, 0xd1, &bytes[6..]),
        -0x8000_0000..=-0x8001 => coded(stack, out, 0xd2, &bytes[4..]),
        _ => coded(stack, out, 0xd3, &bytes),
    }
}

fn coded(stack: &mut Stack<'_>, out: &mut Buffer, code: u8, bytes: &[u8]) -> Result<(), Fault> {
    out.put(stack, &[code])?;
    out.put(stack, bytes)
}

/// A table whose keys are 1 to n is an array, an empty one too.
fn table(stack: &mut Stack<'_>, out: &mut Buffer, index: c_int, depth: u32) -> Result<(), Fault> {
    let (mut largest, mut count, mut array) = (0.0_f64, 0_usize, true);
    stack.push_nil();
    while stack.next(index) {
        stack.pop(1);
        count += 1;
        match stack.number(-1) {
            Some(key) if stack.kind(-1) == Kind::Number && key > 0.0 && key.fract() == 0.0 => {
                largest = largest.max(key);
            }
            _ => array = false,
        }
    }
    if array && largest == count as f64 {
        match count {
            0..16 => out.put(stack, &[0x90 | count as u8])?,
            _ => sized(stack, out, 0xdc, count)?,
        }
        for item in 1..=count {
            stack.raw_get_item(index, c_int::try_from(item).unwrap_or(c_int::MAX));
            let at = stack.top();
            value(stack, out, at, depth + 1)?;
            stack.pop(1);
        }
        return Ok(());
    }
    match count {
        0..16 => out.put(stack, &[0x80 | count as u8])?,
        _ => sized(stack, out, 0xde, count)?,
    }
    stack.push_nil();
    while stack.next(index) {
        let at = stack.top();
        value(stack, out, at - 1, depth + 1)?;
        value(stack, out, at, depth + 1)?;
        stack.pop(1);
    }
    Ok(())
}
