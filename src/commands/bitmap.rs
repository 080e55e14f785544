//! Bitmaps: strings as arrays of bits. The rows, single bits, and questions about ranges of them.
//!
//! A string grows only for a write, and an edit never copies it: what costs is the bytes looked at.
mod field;
mod operation;

use std::ops::Range;

use crate::base::num::parse_i64;
use crate::ds::bits;
use crate::ds::table::Slot;
use crate::exec::command::{
    CmdResult, Command, KEY1_RO, KEY1_RW_ACCESS, KeySpec, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, WRONG_TYPE};
use crate::exec::registry::Family;
use crate::keyspace::{INLINE_MAX, NewValue};
use crate::state::notify::Event;
use crate::types::string::{IntBuf, StrRef};
use crate::types::{Kind, Value};

use acl::NONE;
use flag::{DENYOOM, FAST, READONLY, WRITE};
use key_flag as k;

const BAD_OFFSET: CmdError = CmdError::new("ERR bit offset is not an integer or out of range");
const BAD_BIT: CmdError = CmdError::new("ERR bit is not an integer or out of range");
const NOT_A_BIT: CmdError = CmdError::new("ERR The bit argument must be 1 or 0.");

const FIELD_KEYS: &[KeySpec] = &[KeySpec::range(
    k::RW | k::ACCESS | k::UPDATE | k::VARIABLE_FLAGS,
    1,
    1,
    1,
)];
const OPERATION_KEYS: &[KeySpec] = &[
    KeySpec::range(k::OW | k::UPDATE, 2, 2, 1),
    KeySpec::range(k::RO | k::ACCESS, 3, -1, 1),
];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("setbit", 4, WRITE | DENYOOM, NONE, KEY1_RW_ACCESS, setbit),
    cmd("getbit", 3, READONLY | FAST, NONE, KEY1_RO, getbit),
    cmd("bitcount", -2, READONLY, NONE, KEY1_RO, bitcount),
    cmd("bitpos", -3, READONLY, NONE, KEY1_RO, bitpos),
    cmd("bitop", -4, WRITE | DENYOOM, NONE, OPERATION_KEYS, operation::bitop),
    cmd("bitfield", -2, WRITE | DENYOOM, NONE, FIELD_KEYS, field::bitfield).with_finder(field::keys),
    cmd("bitfield_ro", -2, READONLY | FAST, NONE, KEY1_RO, field::bitfield_ro),
];

/// Bitmaps.
pub static FAMILY: Family = Family {
    group: "bitmap",
    acl: acl::BITMAP,
    commands: COMMANDS,
};

/// Bit offsets that a string may have.
fn offset_in_limits(ctx: &Ctx<'_>, offset: i64) -> Result<u64, CmdError> {
    let offset = u64::try_from(offset).map_err(|_| BAD_OFFSET)?;
    if offset / 8 >= ctx.string_len_max() {
        return Err(BAD_OFFSET);
    }
    Ok(offset)
}

fn bit_offset(ctx: &Ctx<'_>, text: &[u8]) -> Result<u64, CmdError> {
    offset_in_limits(ctx, parse_i64(text).ok_or(BAD_OFFSET)?)
}

/// The key's slot, with a string of at least `len` bytes that can be edited where it is; whether it had to
/// be made or lengthened for that.
fn grown_string(ctx: &mut Ctx<'_>, key: &[u8], len: usize) -> Result<(Slot, bool), CmdError> {
    const ZEROS: [u8; INLINE_MAX] = [0; INLINE_MAX];
    let db = ctx.db;
    let Some(slot) = ctx.write_kind(key, Kind::String)? else {
        let value = match ZEROS.get(..len) {
            Some(zeros) => NewValue::Bytes(zeros),
            // Zeroed memory costs nothing before it is touched.
            None => NewValue::Owned(Value::Str(vec![0; len].into())),
        };
        let slot = ctx.state.dbs.insert(db, key, value, None);
        ctx.state.notify(db, key, Event::NEW);
        return Ok((slot, true));
    };
    let string = ctx.state.dbs[db].entry(slot).string()?;
    let grows = string.len() < len;
    if grows || matches!(string, StrRef::Int(_)) {
        ctx.state.dbs[db].edit_string(slot, |bytes| lengthen(bytes, len))?;
    }
    Ok((slot, grows))
}

/// Fills up with zeros. Long strings get less than twice the room, as they do from APPEND.
fn lengthen(bytes: &mut Vec<u8>, len: usize) {
    const DOUBLING_MAX: usize = 1 << 20;
    let more = len.saturating_sub(bytes.len());
    if len > bytes.capacity() && len > DOUBLING_MAX {
        bytes.reserve_exact(more + len / 8);
    }
    bytes.resize(bytes.len() + more, 0);
}

fn setbit(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let offset = bit_offset(ctx, ctx.arg(2))?;
    let on = match parse_i64(ctx.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(BAD_BIT),
    };
    let at = usize::try_from(offset / 8).map_err(|_| BAD_OFFSET)?;
    let (slot, grown) = grown_string(ctx, key, at + 1)?;
    let bytes = ctx.state.dbs[db].string_bytes_mut(slot);
    let byte = bytes.and_then(|b| b.get_mut(at)).ok_or(WRONG_TYPE)?;
    let mask = 0x80_u8 >> (offset % 8);
    let was = *byte & mask != 0;
    if was != on {
        *byte ^= mask;
    }
    if grown || was != on {
        ctx.modified(key, Event::SETBIT, 1);
    }
    ctx.int(was.into())
}

fn getbit(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let offset = bit_offset(ctx, ctx.arg(2))?;
    let bit = match ctx.read(key) {
        Some(entry) => {
            let mut room = IntBuf::default();
            let bytes = entry.string()?.bytes(&mut room);
            // Beyond its end a string is all zeros.
            bits::integer(bytes, offset, 1)
        }
        None => 0,
    };
    ctx.int(bit as i64)
}

/// What a range is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Unit, CmdError> {
        if word.eq_ignore_ascii_case(b"bit") {
            Ok(Unit::Bit)
        } else if word.eq_ignore_ascii_case(b"byte") {
            Ok(Unit::Byte)
        } else {
            Err(SYNTAX)
        }
    }

    /// The bits from `start` to `end`, negative ones counted from the end of `len` bytes; `None` for none.
    fn range(self, start: i64, end: i64, len: usize) -> Option<Range<u64>> {
        let width = match self {
            Unit::Byte => 8,
            Unit::Bit => 1,
        };
        let units = len as i64 * (8 / width);
        let from_start = |i: i64| if i < 0 { (i + units).max(0) } else { i };
        let (start, end) = (from_start(start), from_start(end).min(units - 1));
        let scaled = |i: i64| (i * width) as u64;
        (start <= end).then(|| scaled(start)..scaled(end + 1))
    }
}

fn bitcount(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let number = |i: usize| parse_i64(ctx.arg(i)).ok_or(NOT_INTEGER);
    // As Valkey 8 has it, a range may have no end.
    let (start, end) = match ctx.argc() {
        2 => (0, -1),
        3 => (number(2)?, -1),
        4 | 5 => (number(2)?, number(3)?),
        _ => return Err(SYNTAX),
    };
    let unit = match ctx.argc() {
        5 => Unit::parse(ctx.arg(4))?,
        _ => Unit::Byte,
    };
    let Some(entry) = ctx.read(key) else {
        return ctx.int(0);
    };
    let mut room = IntBuf::default();
    let bytes = entry.string()?.bytes(&mut room);
    // Both before the beginning and the wrong way round: nothing, though both would be cut to the first.
    let reversed = start < 0 && end < 0 && start > end;
    let count = match unit.range(start, end, bytes.len()) {
        Some(range) if !reversed => bits::count_within(bytes, range),
        _ => 0,
    };
    ctx.int(count as i64)
}

fn bitpos(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let number = |i: usize| parse_i64(ctx.arg(i)).ok_or(NOT_INTEGER);
    let bit = match number(2)? {
        0 => false,
        1 => true,
        _ => return Err(NOT_A_BIT),
    };
    let argc = ctx.argc();
    if argc > 6 {
        return Err(SYNTAX);
    }
    let start = if argc > 3 { number(3)? } else { 0 };
    let unit = match argc {
        6 => Unit::parse(ctx.arg(5))?,
        _ => Unit::Byte,
    };
    let end = if argc > 4 { Some(number(4)?) } else { None };
    let Some(entry) = ctx.read(key) else {
        // An absent string is zeros without end.
        return ctx.int(if bit { -1 } else { 0 });
    };
    let mut room = IntBuf::default();
    let bytes = entry.string()?.bytes(&mut room);
    let Some(range) = unit.range(start, end.unwrap_or(-1), bytes.len()) else {
        return ctx.int(-1);
    };
    let found = match bits::find(bytes, bit, range) {
        Some(at) => at as i64,
        // Zeros follow the last byte, unless the range ends there by the client's own word.
        None if !bit && end.is_none() => bytes.len() as i64 * 8,
        None => -1,
    };
    ctx.int(found)
}
