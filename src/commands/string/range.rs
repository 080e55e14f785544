//! Parts of a string: APPEND, SETRANGE, GETRANGE, STRLEN.
use super::{BY_REFERENCE_MIN, insert, reply_large};
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, STRING_TOO_LONG};
use crate::keyspace::NewValue;
use crate::state::notify::Event;
use crate::types::Kind;

const BAD_OFFSET: CmdError = CmdError::new("ERR offset is out of range");

/// May a string become `from + more` long?
fn check_len(ctx: &Ctx<'_>, from: u64, more: usize) -> Result<(), CmdError> {
    let fits = from
        .checked_add(more as u64)
        .is_some_and(|len| len <= ctx.string_len_max());
    if fits { Ok(()) } else { Err(STRING_TOO_LONG) }
}

pub(super) fn append(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, tail, db) = (ctx.arg(1), ctx.arg(2), ctx.db);
    let len = match ctx.write_kind(key, Kind::String)? {
        None => {
            insert(ctx, key, NewValue::string(tail), None);
            tail.len()
        }
        Some(slot) => {
            let old = ctx.state.dbs[db].entry(slot).string()?.len();
            check_len(ctx, old as u64, tail.len())?;
            ctx.state.dbs[db].append(slot, tail)?
        }
    };
    ctx.modified(key, Event::APPEND, 1);
    ctx.int(len as i64)
}

pub(super) fn strlen(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let len = match ctx.read(key) {
        Some(entry) => entry.string()?.len(),
        None => 0,
    };
    ctx.int(len as i64)
}

pub(super) fn setrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, part, db) = (ctx.arg(1), ctx.arg(3), ctx.db);
    let offset = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let offset = u64::try_from(offset).map_err(|_| BAD_OFFSET)?;
    let found = ctx.write_kind(key, Kind::String)?;
    if part.is_empty() {
        let len = match found {
            Some(slot) => ctx.state.dbs[db].entry(slot).string()?.len(),
            None => 0,
        };
        return ctx.int(len as i64);
    }
    check_len(ctx, offset, part.len())?;
    let at = usize::try_from(offset).map_err(|_| STRING_TOO_LONG)?;
    let end = at.checked_add(part.len()).ok_or(STRING_TOO_LONG)?;
    let slot = match found {
        Some(slot) => slot,
        None => {
            let slot = ctx.state.dbs.insert(db, key, NewValue::Bytes(b""), None);
            ctx.state.notify(db, key, Event::NEW);
            slot
        }
    };
    let len = overwrite(ctx, slot, at, end, part)?;
    ctx.modified(key, Event::SETRANGE, 1);
    ctx.int(len as i64)
}

/// Writes `part` to `at..end` of a string, which grows with zeros if it has to; its new length.
fn overwrite(
    ctx: &mut Ctx<'_>,
    slot: crate::ds::table::Slot,
    at: usize,
    end: usize,
    part: &[u8],
) -> Result<usize, CmdError> {
    let db = &mut ctx.state.dbs[ctx.db];
    if let Some(bytes) = db.string_bytes_mut(slot)
        && let Some(room) = bytes.get_mut(at..end)
    {
        room.copy_from_slice(part);
        return Ok(bytes.len());
    }
    Ok(db.edit_string(slot, |bytes| {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(part);
        bytes.len()
    })?)
}

/// The range of a string that two indexes mean, negative ones counted from the end.
fn span(start: i64, end: i64, len: usize) -> std::ops::Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let len = len as i64;
    let from_start = |i: i64| {
        if i < 0 {
            i.saturating_add(len).max(0)
        } else {
            i
        }
    };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end {
        return 0..0;
    }
    start as usize..end as usize + 1
}

pub(super) fn getrange(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let start = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let end = parse_i64(ctx.arg(3)).ok_or(NOT_INTEGER)?;
    let Some(entry) = ctx.state.lookup_read(db, key) else {
        ctx.out.bulk(b"");
        return Ok(Outcome::Done);
    };
    let value = entry.string()?;
    let range = span(start, end, value.len());
    if range.len() < BY_REFERENCE_MIN {
        ctx.out.bulk(&value.bytes(&mut [0; 20])[range]);
    } else {
        reply_large(ctx, key, range.start, range.end);
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn ranges_are_cut_to_the_string() {
        for (start, end, expected) in [
            (0, -1, 0..5),
            (-3, -1, 2..5),
            (1, 100, 1..5),
            (-100, 2, 0..3),
            (3, 1, 0..0),
            (5, 9, 0..0),
            // Both before the beginning: the first byte, unless they are in the wrong order.
            (0, -100, 0..1),
            (-100, -100, 0..1),
            (-100, -101, 0..0),
            (1, -100, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MAX, i64::MAX, 0..0),
        ] {
            assert_eq!(span(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(span(0, -1, 0), 0..0);
        assert_eq!(span(-1, -1, 0), 0..0);
    }
}
