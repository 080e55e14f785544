//! cjson.encode. A table whose keys are positive whole numbers is an array; a sparse one is refused, or an object.
use std::ffi::CStr;

use super::{
    ENCODE_DEPTH, ENCODE_INVALID, INVALID_NULL, INVALID_OFF, PRECISION, SPARSE_CONVERT,
    SPARSE_RATIO, SPARSE_SAFE,
};
use crate::script::lib::number;
use crate::script::lib::stack::{Buffer, Fault, Kind, Outcome, Settings, Stack};

/// A table that is being written. Its stack: an array itself; of an object a key, too.
struct Level {
    /// Items written, or 1 for an object behind its first field.
    done: u32,
    /// Items of an array; 0 is an object.
    items: u32,
}

pub(super) fn encode(stack: &mut Stack<'_>) -> Outcome {
    if stack.top() != 1 {
        return Err(Fault::Argument(1, c"expected 1 argument"));
    }
    let mut out = Out {
        settings: stack.settings(),
        text: stack.buffer(0),
        levels: stack.buffer(1),
        depth: 0,
    };
    out.value(stack)?;
    while let Some(level) = out.leave() {
        if level.items > 0 {
            out.next_item(stack, level)?;
        } else {
            out.next_field(stack, level)?;
        }
    }
    out.text.push(stack);
    out.levels.done(stack);
    // What `done` may push is gone again: the text is on top.
    Ok(1)
}

struct Out {
    settings: Settings,
    text: Buffer,
    levels: Buffer,
    depth: u32,
}

impl Out {
    fn enter(&mut self, stack: &mut Stack<'_>, level: Level) -> Result<(), Fault> {
        let both = u64::from(level.done) << 32 | u64::from(level.items);
        self.levels.put(stack, &both.to_le_bytes())
    }

    fn leave(&mut self) -> Option<Level> {
        let both = u64::from_le_bytes(self.levels.take()?);
        Some(Level {
            done: (both >> 32) as u32,
            items: both as u32,
        })
    }

    /// Writes the value on top; a table is only begun.
    fn value(&mut self, stack: &mut Stack<'_>) -> Result<(), Fault> {
        match stack.kind(-1) {
            Kind::String => self.string(stack, -1),
            Kind::Number => self.number(stack, -1),
            Kind::Boolean => {
                let word: &[u8] = if stack.boolean(-1) { b"true" } else { b"false" };
                self.text.put(stack, word)
            }
            Kind::Nil | Kind::Null => self.text.put(stack, b"null"),
            Kind::Table => self.begin(stack),
            Kind::None | Kind::Other => Err(refuse(stack, -1, c"type not supported")),
        }
    }

    fn begin(&mut self, stack: &mut Stack<'_>) -> Result<(), Fault> {
        self.depth += 1;
        let depth = self.depth;
        // A key, a value, and the text of an error.
        if depth > self.settings[ENCODE_DEPTH] || !stack.room(3) {
            let text = format_args!("Cannot serialise, excessive nesting ({depth})");
            return Err(stack.told(text));
        }
        match self.items(stack)? {
            0 => {
                self.text.put(stack, b"{")?;
                stack.push_nil();
                self.enter(stack, Level { done: 0, items: 0 })
            }
            items => {
                self.text.put(stack, b"[")?;
                self.enter(stack, Level { done: 0, items })
            }
        }
    }

    fn next_item(&mut self, stack: &mut Stack<'_>, level: Level) -> Result<(), Fault> {
        let Level { mut done, items } = level;
        if done > 0 {
            // The item before.
            stack.pop(1);
        }
        // What is no table is written without coming back here.
        while done < items {
            if done > 0 {
                self.text.put(stack, b",")?;
            }
            done += 1;
            stack.raw_get_item(-1, done.cast_signed());
            if stack.kind(-1) == Kind::Table {
                self.enter(stack, Level { done, items })?;
                return self.value(stack);
            }
            self.value(stack)?;
            stack.pop(1);
        }
        self.depth -= 1;
        self.text.put(stack, b"]")
    }

    fn next_field(&mut self, stack: &mut Stack<'_>, level: Level) -> Result<(), Fault> {
        let mut done = level.done;
        if done > 0 {
            // The value of the field before.
            stack.pop(1);
        }
        while stack.next(-2) {
            if done > 0 {
                self.text.put(stack, b",")?;
            }
            done = 1;
            match stack.kind(-2) {
                Kind::Number => {
                    self.text.put(stack, b"\"")?;
                    self.number(stack, -2)?;
                    self.text.put(stack, b"\":")?;
                }
                Kind::String => {
                    self.string(stack, -2)?;
                    self.text.put(stack, b":")?;
                }
                _ => return Err(refuse(stack, -2, c"table key must be a number or string")),
            }
            if stack.kind(-1) == Kind::Table {
                self.enter(stack, Level { done, items: 0 })?;
                return self.value(stack);
            }
            self.value(stack)?;
            stack.pop(1);
        }
        self.depth -= 1;
        self.text.put(stack, b"}")
    }

    /// How many items the table on top has as an array; 0 if it is to be an object.
    fn items(&self, stack: &mut Stack<'_>) -> Result<u32, Fault> {
        let (mut largest, mut count) = (0.0_f64, 0.0_f64);
        stack.push_nil();
        while stack.next(-2) {
            stack.pop(1);
            let key = match stack.kind(-1) {
                Kind::Number => stack.number(-1),
                _ => None,
            };
            match key.filter(|key| *key >= 1.0 && key.floor() == *key) {
                // What no array can have is counted, and nothing more: such a table is an object, mostly.
                Some(key) if key > f64::from(i32::MAX) => {}
                Some(key) => largest = largest.max(key),
                None => {
                    stack.pop(1);
                    return Ok(0);
                }
            }
            count += 1.0;
        }
        let ratio = f64::from(self.settings[SPARSE_RATIO]);
        let safe = f64::from(self.settings[SPARSE_SAFE]);
        if ratio > 0.0 && largest > count * ratio && largest > safe {
            if self.settings[SPARSE_CONVERT] == 0 {
                return Err(refuse(stack, -1, c"excessively sparse array"));
            }
            return Ok(0);
        }
        Ok(largest as u32)
    }

    fn number(&mut self, stack: &mut Stack<'_>, index: i32) -> Result<(), Fault> {
        let value = stack.number(index).unwrap_or(0.0);
        if !value.is_finite() {
            match self.settings[ENCODE_INVALID] {
                INVALID_OFF => return Err(refuse(stack, index, c"must not be NaN or Inf")),
                INVALID_NULL => return self.text.put(stack, b"null"),
                // Some print -nan, which nobody reads.
                _ if value.is_nan() => return self.text.put(stack, b"nan"),
                _ => {}
            }
        }
        let printed = number::print(value, self.settings[PRECISION] as usize);
        self.text.put(stack, printed.as_bytes())
    }

    fn string(&mut self, stack: &mut Stack<'_>, index: i32) -> Result<(), Fault> {
        self.text.put(stack, b"\"")?;
        let len = stack.bytes(index).len();
        let mut from = 0;
        while from < len {
            let rest = &stack.bytes(index)[from..];
            let plain = rest.iter().take_while(|b| escape(**b).is_none()).count();
            let special = rest.get(plain).copied();
            self.text.put_part(stack, index, from..from + plain)?;
            from += plain + 1;
            let Some(byte) = special else { break };
            match escape(byte) {
                Some(Escape::Letter(letter)) => self.text.put(stack, &[b'\\', letter])?,
                _ => {
                    let digit = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
                    let code = [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)];
                    self.text.put(stack, &code)?;
                }
            }
        }
        self.text.put(stack, b"\"")
    }
}

enum Escape {
    Letter(u8),
    Code,
}

/// How a byte that cannot stand for itself is written.
fn escape(byte: u8) -> Option<Escape> {
    let letter = match byte {
        b'"' | b'/' | b'\\' => byte,
        8 => b'b',
        9 => b't',
        10 => b'n',
        12 => b'f',
        13 => b'r',
        0..32 | 127 => return Some(Escape::Code),
        _ => return None,
    };
    Some(Escape::Letter(letter))
}

fn refuse(stack: &mut Stack<'_>, index: i32, why: &CStr) -> Fault {
    let (name, why) = (stack.type_name(index), why.to_str().unwrap_or(""));
    stack.told(format_args!("Cannot serialise {name}: {why}"))
}
