//! BITFIELD: integers of any width at any bit of a string.
//!
//! A request is read whole before anything is done: one wrong operation, and none of them happens.
use super::*;
use crate::exec::command::{KeyAt, Outcome};
use crate::resp::request::Argv;

const BAD_TYPE: CmdError = CmdError::new(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but \
     i64 is.",
);
const BAD_OVERFLOW: CmdError = CmdError::new("ERR Invalid OVERFLOW type specified");
const ONLY_GET: CmdError = CmdError::new("ERR BITFIELD_RO only supports the GET subcommand");

/// What happens to a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Width {
    signed: bool,
    /// 1 to 64, unsigned to 63.
    bits: u32,
}

impl Width {
    fn parse(text: &[u8]) -> Result<Width, CmdError> {
        let (letter, digits) = text.split_first().ok_or(BAD_TYPE)?;
        let (signed, max) = match letter {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return Err(BAD_TYPE),
        };
        let bits = parse_i64(digits).filter(|bits| (1..=max).contains(bits));
        Ok(Width {
            signed,
            bits: bits.ok_or(BAD_TYPE)? as u32,
        })
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            let half = 1 << (self.bits - 1);
            (-half, half - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    fn read(self, bytes: &[u8], at: u64) -> i64 {
        let raw = bits::integer(bytes, at, self.bits);
        self.of(raw)
    }

    /// The number that these bits are.
    fn of(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed {
            (raw << unused) as i64 >> unused
        } else {
            raw as i64
        }
    }

    /// The number as it is stored; `None` when it may not be.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.range();
        if (min..=max).contains(&number) {
            return Some(number as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.of(number as u64 & bits::mask(self.bits))),
            Overflow::Saturate => Some(number.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    width: Width,
    at: u64,
    action: Action,
}

/// The offset of an operation: in bits, or with `#` in integers of its width.
fn offset(ctx: &Ctx<'_>, text: &[u8], width: Width) -> Result<u64, CmdError> {
    let Some(count) = text.strip_prefix(b"#") else {
        return bit_offset(ctx, text);
    };
    let count = parse_i64(count).ok_or(BAD_OFFSET)?;
    let offset = count.checked_mul(width.bits.into()).ok_or(BAD_OFFSET)?;
    offset_in_limits(ctx, offset)
}

fn parse(ctx: &Ctx<'_>) -> Result<Vec<Operation>, CmdError> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut rest = ctx.argv.from(2);
    while !rest.is_empty() {
        let word = rest.get(0);
        let is = |name: &[u8], arguments: usize| {
            word.eq_ignore_ascii_case(name) && rest.len() > arguments
        };
        let writes = is(b"set", 3) || is(b"incrby", 3);
        if is(b"overflow", 1) {
            overflow = match rest.get(1) {
                w if w.eq_ignore_ascii_case(b"wrap") => Overflow::Wrap,
                w if w.eq_ignore_ascii_case(b"sat") => Overflow::Saturate,
                w if w.eq_ignore_ascii_case(b"fail") => Overflow::Fail,
                _ => return Err(BAD_OVERFLOW),
            };
            rest = rest.from(2);
            continue;
        }
        if !writes && !is(b"get", 2) {
            return Err(SYNTAX);
        }
        let width = Width::parse(rest.get(1))?;
        let at = offset(ctx, rest.get(2), width)?;
        let action = if writes {
            let number = parse_i64(rest.get(3)).ok_or(NOT_INTEGER)?;
            if is(b"set", 3) {
                Action::Set(number, overflow)
            } else {
                Action::Add(number, overflow)
            }
        } else {
            Action::Get
        };
        operations.push(Operation { width, at, action });
        rest = rest.from(if writes { 4 } else { 3 });
    }
    Ok(operations)
}

/// BITFIELD reads, unless an operation writes or is not understood.
pub(super) fn keys(argv: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let mut reads = true;
    let mut rest = argv.from(2);
    while reads && !rest.is_empty() {
        let word = rest.get(0);
        if word.eq_ignore_ascii_case(b"get") && rest.len() > 2 {
            rest = rest.from(3);
        } else if word.eq_ignore_ascii_case(b"overflow") && rest.len() > 1 {
            rest = rest.from(2);
        } else {
            reads = false;
        }
    }
    let flags = if reads {
        k::RO | k::ACCESS
    } else {
        k::RW | k::ACCESS | k::UPDATE
    };
    Ok(vec![KeyAt { at: 1, flags }])
}

pub(super) fn bitfield(ctx: &mut Ctx<'_>) -> CmdResult {
    let operations = parse(ctx)?;
    let writes = operations.iter().filter(|o| o.action != Action::Get);
    match writes.map(|o| o.at + u64::from(o.width.bits)).max() {
        Some(bits) => change(ctx, &operations, bits),
        None => show(ctx, &operations),
    }
}

pub(super) fn bitfield_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    let operations = parse(ctx)?;
    if operations.iter().any(|o| o.action != Action::Get) {
        return Err(ONLY_GET);
    }
    show(ctx, &operations)
}

/// Only reads: a string that is too short stays so.
fn show(ctx: &mut Ctx<'_>, operations: &[Operation]) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let entry = ctx.state.lookup_read(db, key);
    let mut room = IntBuf::default();
    let bytes = match entry {
        Some(entry) => entry.string()?.bytes(&mut room),
        None => &[],
    };
    ctx.out.array(operations.len());
    for operation in operations {
        ctx.out.int(operation.width.read(bytes, operation.at));
    }
    Ok(Outcome::Done)
}

/// Reads and writes a string of at least that many bits.
fn change(ctx: &mut Ctx<'_>, operations: &[Operation], bits: u64) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let len = usize::try_from(bits.div_ceil(8)).map_err(|_| BAD_OFFSET)?;
    let (slot, grown) = grown_string(ctx, key, len)?;
    let Some(bytes) = ctx.state.dbs[db].string_bytes_mut(slot) else {
        return Err(WRONG_TYPE);
    };
    ctx.out.array(operations.len());
    let mut changes = 0;
    for Operation { width, at, action } in operations {
        let old = width.read(bytes, *at);
        let (new, reply_new) = match *action {
            Action::Get => {
                ctx.out.int(old);
                continue;
            }
            // An unsigned one takes a number below zero for the large one of the same bits.
            Action::Set(number, overflow) if !width.signed => {
                (width.fit(i128::from(number as u64), overflow), false)
            }
            Action::Set(number, overflow) => (width.fit(number.into(), overflow), false),
            Action::Add(number, overflow) => {
                let sum = i128::from(old) + i128::from(number);
                (width.fit(sum, overflow), true)
            }
        };
        let Some(new) = new else {
            ctx.out.null();
            continue;
        };
        if new != old {
            bits::set_integer(bytes, *at, width.bits, new as u64);
        }
        changes += usize::from(grown || new != old);
        ctx.out.int(if reply_new { new } else { old });
    }
    if changes > 0 {
        ctx.modified(key, Event::SETBIT, changes);
    } else if grown {
        // Nothing fitted, but the string is longer: no event, yet the log must have it.
        ctx.state.dirty += 1;
        ctx.state.key_touched(db, key);
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::Overflow::*;
    use super::*;

    #[test]
    fn types_are_a_letter_and_a_width() {
        for (text, expected) in [
            ("i1", Some((true, 1))),
            ("i64", Some((true, 64))),
            ("u63", Some((false, 63))),
            ("u64", None),
            ("i65", None),
            ("i0", None),
            ("u-1", None),
            ("I8", None),
            ("i08", None),
            ("i", None),
            ("", None),
            ("8", None),
        ] {
            let width = Width::parse(text.as_bytes()).ok();
            let width = width.map(|w| (w.signed, w.bits));
            assert_eq!(width, expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_wrap_saturate_or_fail() {
        let (u8, i8) = (Width::parse(b"u8"), Width::parse(b"i8"));
        let (u8, i8) = (u8.expect("a type"), i8.expect("a type"));
        let i64 = Width::parse(b"i64").expect("a type");
        for (width, number, wrapped, saturated) in [
            (u8, 255, 255, 255),
            (u8, 256, 0, 255),
            (u8, -1, 255, 0),
            (i8, 128, -128, 127),
            (i8, -129, 127, -128),
            (i8, i128::from(i64::MIN), 0, -128),
            (i64, i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            (i64, i128::from(i64::MIN) - 1, i64::MAX, i64::MIN),
        ] {
            assert_eq!(width.fit(number, Wrap), Some(wrapped), "{number}");
            assert_eq!(width.fit(number, Saturate), Some(saturated), "{number}");
            let fits = (wrapped == saturated).then_some(wrapped);
            assert_eq!(width.fit(number, Fail), fits, "{number}");
        }
    }
}
