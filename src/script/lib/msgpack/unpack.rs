//! cmsgpack.unpack and its sisters: what was packed, all of it, one value of it, or some of them.
use std::ffi::c_int;

use crate::script::lib::stack::{Buffer, Fault, Outcome, Stack};

const MISSING: Fault = Fault::Text(c"Missing bytes in input.");
const BAD: Fault = Fault::Text(c"Bad data format in input.");
const TOO_MANY: Fault = Fault::Text(
    c"stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)",
);
const TOO_DEEP: [Fault; 2] = [
    Fault::Text(c"stack overflow (in function mp_decode_to_lua_array)"),
    Fault::Text(c"stack overflow (in function mp_decode_to_lua_hash)"),
];

/// Arrays begin with room for so many items at most: the length that is told is not to be believed.
const ROOM_MAX: u32 = 64;

pub(super) fn all(stack: &mut Stack<'_>) -> Outcome {
    unpack(stack, 0, 0)
}

pub(super) fn one(stack: &mut Stack<'_>) -> Outcome {
    let offset = stack.integer_or(2, 0)?;
    unpack(stack, 1, offset)
}

pub(super) fn limit(stack: &mut Stack<'_>) -> Outcome {
    let limit = stack.check_integer(2)?;
    let offset = stack.integer_or(3, 0)?;
    unpack(stack, limit, offset)
}

/// All values if both numbers are 0; else at most `limit`, behind the offset of what follows them.
fn unpack(stack: &mut Stack<'_>, limit: i64, offset: i64) -> Outcome {
    // As it is told.
    let shown = offset as c_int;
    let bytes = stack.check_bytes(1)?;
    let len = bytes.len();
    let Some(rest) = usize::try_from(offset).ok().filter(|_| limit >= 0) else {
        // The second number is not the limit, and never was.
        return Err(stack.told(format_args!(
            "Invalid request to unpack with offset of {shown} and limit of {len}."
        )));
    };
    let Some(rest) = bytes.get(rest..) else {
        return Err(stack.told(format_args!(
            "Start offset {shown} greater than input length {len}."
        )));
    };
    let everything = limit == 0 && offset == 0;
    let mut input = Input {
        rest,
        levels: stack.buffer(1),
    };
    let (first, mut count) = (stack.top() + 1, 0);
    while !input.rest.is_empty() && (everything || i64::from(count) < limit) {
        input.value(stack)?;
        count += 1;
    }
    let left = input.rest.len();
    input.levels.done(stack);
    if everything {
        return Ok(count);
    }
    let next = if left == 0 { -1.0 } else { (len - left) as f64 };
    stack.push_number(next);
    stack.insert(first);
    Ok(count + 1)
}

struct Input<'a> {
    rest: &'a [u8],
    levels: Buffer,
}

/// A table that is being filled. On the stack: itself, and behind a map's key that key.
#[derive(Clone, Copy)]
struct Level {
    /// Items or pairs to come, the one at work included.
    left: u32,
    /// The place of an array's item at work; of a map 0, or 1 behind a key.
    place: u32,
    map: bool,
}

impl Input<'_> {
    fn enter(&mut self, stack: &mut Stack<'_>, level: Level) -> Result<(), Fault> {
        let both = u64::from(level.left) << 32 | u64::from(level.place);
        self.levels.put(stack, &both.to_le_bytes())?;
        self.levels.put(stack, &[level.map.into()])
    }

    fn leave(&mut self) -> Option<Level> {
        let [map] = self.levels.take()?;
        let both = u64::from_le_bytes(self.levels.take()?);
        Some(Level {
            left: (both >> 32) as u32,
            place: both as u32,
            map: map != 0,
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(MISSING)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Pushes a value with all that is in it.
    fn value(&mut self, stack: &mut Stack<'_>) -> Result<(), Fault> {
        loop {
            // A table with something in it waits for that.
            if self.single(stack)? {
                continue;
            }
            if !self.close(stack)? {
                return Ok(());
            }
        }
    }

    /// Puts the value on top where it belongs; false when none is open any more.
    fn close(&mut self, stack: &mut Stack<'_>) -> Result<bool, Fault> {
        while let Some(mut level) = self.leave() {
            if level.map && level.place == 0 {
                level.place = 1;
                self.enter(stack, level)?;
                return Ok(true);
            }
            if level.map {
                stack.raw_set(-3);
                level.place = 0;
            } else {
                stack.raw_set_item(-2, level.place);
                level.place = level.place.saturating_add(1);
            }
            level.left -= 1;
            if level.left > 0 {
                self.enter(stack, level)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Pushes a value, or opens a table: true if something has to be put into it.
    fn single(&mut self, stack: &mut Stack<'_>) -> Result<bool, Fault> {
        if !stack.room(1) {
            return Err(TOO_MANY);
        }
        let [code] = self.bytes()?;
        match code {
            0x00..=0x7f => stack.push_number(code.into()),
            0x80..=0x8f => return self.open(stack, (code & 15).into(), true),
            0x90..=0x9f => return self.open(stack, (code & 15).into(), false),
            0xa0..=0xbf => self.string(stack, (code & 31).into())?,
            0xc0 => stack.push_nil(),
            0xc2 | 0xc3 => stack.push_boolean(code == 0xc3),
            0xca => stack.push_number(f32::from_bits(u32::from_be_bytes(self.bytes()?)).into()),
            0xcb => stack.push_number(f64::from_bits(u64::from_be_bytes(self.bytes()?))),
            0xcc => stack.push_number(u8::from_be_bytes(self.bytes()?).into()),
            0xcd => stack.push_number(u16::from_be_bytes(self.bytes()?).into()),
            0xce => stack.push_number(u32::from_be_bytes(self.bytes()?).into()),
            // Signed or not, Lua is given a signed one.
            0xcf | 0xd3 => stack.push_number(i64::from_be_bytes(self.bytes()?) as f64),
            0xd0 => stack.push_number(i8::from_be_bytes(self.bytes()?).into()),
            0xd1 => stack.push_number(i16::from_be_bytes(self.bytes()?).into()),
            0xd2 => stack.push_number(i32::from_be_bytes(self.bytes()?).into()),
            0xd9 => {
                let len = u8::from_be_bytes(self.bytes()?).into();
                self.string(stack, len)?;
            }
            0xda => {
                let len = u16::from_be_bytes(self.bytes()?).into();
                self.string(stack, len)?;
            }
            0xdb => {
                let len = u32::from_be_bytes(self.bytes()?);
                self.string(stack, len)?;
            }
            0xdc | 0xde => {
                let count = u16::from_be_bytes(self.bytes()?).into();
                return self.open(stack, count, code == 0xde);
            }
            0xdd | 0xdf => {
                let count = u32::from_be_bytes(self.bytes()?);
                return self.open(stack, count, code == 0xdf);
            }
            0xe0..=0xff => stack.push_number(code.cast_signed().into()),
            _ => return Err(BAD),
        }
        Ok(false)
    }

    fn string(&mut self, stack: &mut Stack<'_>, len: u32) -> Result<(), Fault> {
        let (string, rest) = self.rest.split_at_checked(len as usize).ok_or(MISSING)?;
        self.rest = rest;
        stack.push_bytes(string);
        Ok(())
    }

    fn open(&mut self, stack: &mut Stack<'_>, left: u32, map: bool) -> Result<bool, Fault> {
        if !stack.room(2) {
            return Err(TOO_DEEP[usize::from(map)]);
        }
        // A map grows: the order in which scripts see its keys depends on it.
        let items = if map { 0 } else { left.min(ROOM_MAX) };
        stack.push_table(items, 0);
        if left == 0 {
            return Ok(false);
        }
        let place = u32::from(!map);
        self.enter(stack, Level { left, place, map })?;
        Ok(true)
    }
}
