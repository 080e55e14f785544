//! Registers as runs of equal ones: what a small HyperLogLog is.
//!
//! ```text
//! 00llllll             l + 1 registers (1 to 64) that are zero
//! 01llllll llllllll    l + 1 registers (1 to 16,384) that are zero, high bits first
//! 1vvvvvll             l + 1 registers (1 to 4) of value v + 1 (1 to 32)
//! ```
//! Which runs stand for given registers depends on the order in which they were raised, and clients can see
//! the bytes; so `raise` splits and joins runs exactly where Redis does.

use super::{Corrupt, HEADER, REGISTERS};
use crate::base::num::push_u64;

/// The largest value a run can have.
const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
const SHORT_ZEROS_MAX: usize = 64;
/// Runs looked at behind an edit for some to join.
const JOIN_LOOK: usize = 5;

/// Some equal registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) value: u8,
    pub(super) len: usize,
    /// Bytes.
    width: usize,
}

impl Run {
    /// The run at `at`, if it is a whole one.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Option<Run> {
        let first = *bytes.get(at)?;
        let (value, len, width) = match first >> 6 {
            0 => (0, usize::from(first) + 1, 1),
            1 => {
                let low = usize::from(*bytes.get(at + 1)?);
                (0, (usize::from(first & 63) << 8 | low) + 1, 2)
            }
            _ => ((first >> 2 & 31) + 1, usize::from(first & 3) + 1, 1),
        };
        Some(Run { value, len, width })
    }
}

/// All runs; the last item is an error when they are not exactly the registers.
pub(super) fn runs(bytes: &[u8]) -> impl Iterator<Item = Result<Run, Corrupt>> {
    let (mut at, mut left) = (HEADER, Some(REGISTERS));
    std::iter::from_fn(move || {
        let rest = left?;
        if at == bytes.len() && rest == 0 {
            return None;
        }
        let run = Run::at(bytes, at).filter(|run| run.len <= rest);
        left = run.map(|run| rest - run.len);
        at += run.map_or(0, |run| run.width);
        Some(run.ok_or(Corrupt))
    })
}

/// A register's value.
pub(super) fn get(bytes: &[u8], index: usize, cursor: &mut Cursor) -> Result<u8, Corrupt> {
    Ok(find(bytes, index, cursor)?.run.value)
}

/// Where a register was found: for the same one, or one with a higher index, the search goes on from there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    /// A run's offset behind the header, and its first register.
    offset: usize,
    first: usize,
}

/// The run a register is in.
struct Found {
    at: usize,
    /// Its first register.
    first: usize,
    run: Run,
    /// The run before it, or itself.
    before: usize,
}

fn find(bytes: &[u8], index: usize, cursor: &mut Cursor) -> Result<Found, Corrupt> {
    let start = HEADER + cursor.offset;
    let (mut at, mut first, mut before) = (start, cursor.first, start);
    // The first register of the run before.
    let mut before_first = first;
    loop {
        let run = Run::at(bytes, at).ok_or(Corrupt)?;
        if index < first + run.len {
            if at == start && at != HEADER {
                // The run before it is wanted, too.
                *cursor = Cursor::default();
                return find(bytes, index, cursor);
            }
            *cursor = Cursor {
                offset: before - HEADER,
                first: before_first,
            };
            return Ok(Found {
                at,
                first,
                run,
                before,
            });
        }
        (before, before_first) = (at, first);
        at += run.width;
        first += run.len;
    }
}

/// What became of an attempt to raise a register.
pub(super) enum Raised {
    /// Whether it changed.
    Done(bool),
    /// It must be dense for that; nothing was changed.
    TooLarge,
}

/// Raises a register to a value.
pub(super) fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    len_max: usize,
    cursor: &mut Cursor,
) -> Result<Raised, Corrupt> {
    if value > VALUE_MAX {
        return Ok(Raised::TooLarge);
    }
    if index < cursor.first {
        *cursor = Cursor::default();
    }
    let Found {
        at,
        first,
        run,
        before,
    } = find(bytes, index, cursor)?;
    if run.value >= value {
        return Ok(Raised::Done(false));
    }
    if run.width == 1 && run.len == 1 {
        bytes[at] = value_run(value, 1);
    } else {
        // The run falls into what is before the register, the register, and what is behind it.
        let mut pieces = Pieces::default();
        pieces.push(run.value, index - first);
        pieces.push(value, 1);
        pieces.push(run.value, first + run.len - 1 - index);
        let pieces = pieces.bytes();
        let grown = (bytes.len() + pieces.len()).saturating_sub(run.width);
        if pieces.len() > run.width && grown > len_max {
            return Ok(Raised::TooLarge);
        }
        bytes.splice(at..at + run.width, pieces.iter().copied());
    }
    join(bytes, before);
    Ok(Raised::Done(true))
}

/// Joins neighbouring runs of one value, among the few behind `at`.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_LOOK {
        let Some(run) = Run::at(bytes, at) else {
            return;
        };
        let next = Run::at(bytes, at + run.width);
        match next {
            Some(next)
                if run.value > 0
                    && next.value == run.value
                    && run.len + next.len <= VALUE_RUN_MAX =>
            {
                bytes[at] = value_run(run.value, run.len + next.len);
                bytes.remove(at + 1);
            }
            _ => at += run.width,
        }
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// The few bytes that replace a run.
#[derive(Default)]
struct Pieces {
    bytes: [u8; 5],
    len: usize,
}

impl Pieces {
    /// A run of that value, which is 0 or that of a run; nothing for no registers.
    fn push(&mut self, value: u8, len: usize) {
        match (value, len) {
            (_, 0) => {}
            (0, 1..=SHORT_ZEROS_MAX) => self.byte((len - 1) as u8),
            (0, _) => {
                let rest = len - 1;
                self.byte(0x40 | (rest >> 8) as u8 & 63);
                self.byte(rest as u8);
            }
            _ => self.byte(value_run(value, len)),
        }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The runs as text: `z:` and `Z:` for zeros of either form, `v:` for a value and how often.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut text = Vec::new();
    for run in runs(bytes) {
        let run = run?;
        if !text.is_empty() {
            text.push(b' ');
        }
        match (run.value, run.width) {
            (0, 1) => text.extend_from_slice(b"z:"),
            (0, _) => text.extend_from_slice(b"Z:"),
            (value, _) => {
                text.extend_from_slice(b"v:");
                push_u64(&mut text, u64::from(value));
                text.push(b',');
            }
        }
        push_u64(&mut text, run.len as u64);
    }
    Ok(text)
}
