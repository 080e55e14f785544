//! cjson: JSON, and the settings of how it is read and written.
//!
//! The settings belong to a table of functions: `cjson.new` makes another one with its own.
mod decode;
mod encode;

use std::ffi::{CStr, c_int};

use super::stack::{Fault, Function, Kind, Outcome, Settings, Stack};

const ROWS: &[Function] = &[
    row(c"decode", decode::decode),
    row(c"decode_invalid_numbers", |stack| {
        arguments(stack, 1)?;
        choice(stack, 1, DECODE_INVALID, &["off", "on"])
    }),
    row(c"decode_max_depth", |stack| {
        arguments(stack, 1)?;
        integer(stack, 1, DECODE_DEPTH, 1, INT_MAX)
    }),
    row(c"encode", encode::encode),
    row(c"encode_invalid_numbers", |stack| {
        arguments(stack, 1)?;
        choice(stack, 1, ENCODE_INVALID, &["off", "on", "null"])
    }),
    row(c"encode_keep_buffer", |stack| {
        arguments(stack, 1)?;
        choice(stack, 1, KEEP_BUFFER, &["off", "on"])
    }),
    row(c"encode_max_depth", |stack| {
        arguments(stack, 1)?;
        integer(stack, 1, ENCODE_DEPTH, 1, INT_MAX)
    }),
    row(c"encode_number_precision", |stack| {
        arguments(stack, 1)?;
        integer(stack, 1, PRECISION, 1, 14)
    }),
    row(c"encode_sparse_array", |stack| {
        arguments(stack, 3)?;
        choice(stack, 1, SPARSE_CONVERT, &["off", "on"])?;
        integer(stack, 2, SPARSE_RATIO, 0, INT_MAX)?;
        integer(stack, 3, SPARSE_SAFE, 0, INT_MAX)?;
        Ok(3)
    }),
    row(c"new", |stack| {
        library(stack);
        Ok(1)
    }),
];

const fn row(name: &'static CStr, body: fn(&mut Stack<'_>) -> Outcome) -> Function {
    Function { name, body }
}

const INT_MAX: u32 = i32::MAX as u32;

// Places of the settings.
const SPARSE_CONVERT: usize = 0;
const SPARSE_RATIO: usize = 1;
const SPARSE_SAFE: usize = 2;
const ENCODE_DEPTH: usize = 3;
const DECODE_DEPTH: usize = 4;
const ENCODE_INVALID: usize = 5;
const DECODE_INVALID: usize = 6;
/// Has no effect on results: a small buffer is always kept, a large one never.
const KEEP_BUFFER: usize = 7;
const PRECISION: usize = 8;

/// By default numbers that JSON does not know are read, but not written.
const DEFAULTS: Settings = [0, 2, 10, 1000, 1000, 0, 1, 1, 14];

/// What `ENCODE_INVALID` may be: an error, as C prints them, null.
const INVALID_OFF: u32 = 0;
const INVALID_NULL: u32 = 2;

pub(super) fn library(stack: &mut Stack<'_>) {
    stack.push_library(ROWS, Some(DEFAULTS));
    let table = stack.top();
    for (name, value) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        stack.push_bytes(name.as_bytes());
        stack.push_bytes(value.as_bytes());
        stack.raw_set(table);
    }
    stack.push_bytes(b"null");
    stack.push_null();
    stack.raw_set(table);
}

/// No more arguments than a setting has.
fn arguments(stack: &Stack<'_>, max: c_int) -> Result<(), Fault> {
    match stack.top() <= max {
        true => Ok(()),
        false => Err(Fault::Argument(max + 1, c"found too many arguments")),
    }
}

fn given(stack: &Stack<'_>, arg: c_int) -> bool {
    // The results of the settings before stand behind the arguments, where an absent one would be.
    arg <= stack.args() && stack.kind(arg) != Kind::Nil
}

/// A number as a setting: set if one is given, and told.
fn integer(stack: &mut Stack<'_>, arg: c_int, setting: usize, min: u32, max: u32) -> Outcome {
    if given(stack, arg) {
        let value = stack.check_integer(arg)?;
        match u32::try_from(value) {
            Ok(value) if min <= value && value <= max => stack.change(setting, value),
            _ => {
                stack.told(format_args!("expected integer between {min} and {max}"));
                return Err(Fault::ArgumentTold(1));
            }
        }
    }
    let now = stack.settings()[setting];
    stack.push_number(now.into());
    Ok(1)
}

/// A word as a setting; true and false stand for the first two.
fn choice(stack: &mut Stack<'_>, arg: c_int, setting: usize, words: &[&str]) -> Outcome {
    if given(stack, arg) {
        if stack.kind(arg) == Kind::Boolean {
            let value = stack.boolean(arg);
            stack.change(setting, value.into());
        } else {
            let word = stack.check_bytes(arg)?;
            match words.iter().position(|known| known.as_bytes() == word) {
                Some(value) => stack.change(setting, value as u32),
                None => {
                    stack.told_showing(b"invalid option '", word, b"'");
                    return Err(Fault::ArgumentTold(arg));
                }
            }
        }
    }
    match stack.settings()[setting] {
        now @ (0 | 1) => stack.push_boolean(now == 1),
        now => stack.push_bytes(words.get(now as usize).unwrap_or(&"").as_bytes()),
    }
    Ok(1)
}
