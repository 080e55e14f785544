//! What SCAN, HSCAN, SSCAN and ZSCAN have in common: cursor, options, and how far one call goes.

use crate::base::{glob, num};
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, shown};
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::types::Kind;

const INVALID_CURSOR: CmdError = CmdError::new("ERR invalid cursor");
/// How many elements a call looks at when it does not say.
const COUNT_DEFAULT: usize = 10;
/// Steps that a call makes for each element wanted, over empty buckets too.
const STEPS_PER_ELEMENT: usize = 10;

/// Options of a scan.
pub struct ScanOptions<'a> {
    /// MATCH; none for a pattern that all names match.
    pub pattern: Option<&'a [u8]>,
    /// COUNT, at least 1.
    pub count: usize,
    /// TYPE, as it was given.
    pub kind: Option<&'a [u8]>,
    /// Names only (HSCAN's NOVALUES, ZSCAN's NOSCORES).
    pub bare: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options, which are all of `argv`.
    pub fn parse(argv: Argv<'a>, takes_type: bool) -> Result<ScanOptions<'a>, CmdError> {
        Self::parse_with(argv, takes_type, None)
    }

    /// The same for a command that may show names only, if this word asks for it.
    pub fn parse_with(
        argv: Argv<'a>,
        takes_type: bool,
        bare: Option<&str>,
    ) -> Result<ScanOptions<'a>, CmdError> {
        let mut options = ScanOptions {
            pattern: None,
            count: COUNT_DEFAULT,
            kind: None,
            bare: false,
        };
        let mut at = 0;
        while at < argv.len() {
            let name = argv.get(at);
            if bare.is_some_and(|word| name.eq_ignore_ascii_case(word.as_bytes())) {
                options.bare = true;
                at += 1;
                continue;
            }
            if at + 1 == argv.len() {
                return Err(SYNTAX);
            }
            let value = argv.get(at + 1);
            if name.eq_ignore_ascii_case(b"count") {
                let count = num::parse_i64(value).ok_or(NOT_INTEGER)?;
                let count = usize::try_from(count).map_err(|_| SYNTAX)?;
                if count == 0 {
                    return Err(SYNTAX);
                }
                options.count = count;
            } else if name.eq_ignore_ascii_case(b"match") {
                options.pattern = (value != b"*").then_some(value);
            } else if takes_type && name.eq_ignore_ascii_case(b"type") {
                options.kind = Some(value);
            } else {
                return Err(SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Whether MATCH lets a name through.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// Reads a cursor.
pub fn parse_cursor(text: &[u8]) -> Result<u64, CmdError> {
    num::parse_u64_cursor(shown(text, usize::MAX)).ok_or(INVALID_CURSOR)
}

/// Repeats `step` (cursor and count of elements seen in, next cursor out) until it has seen
/// `count` elements or made a bounded number of steps; returns the next cursor, 0 at the end.
pub fn run(cursor: u64, count: usize, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
    let (mut cursor, mut seen) = (cursor, 0);
    for _ in 0..count.saturating_mul(STEPS_PER_ELEMENT) {
        cursor = step(cursor, &mut seen);
        if cursor == 0 || seen >= count {
            break;
        }
    }
    cursor
}

/// SCAN. Dead keys that it comes across, and that the options ask for, are removed.
pub(super) fn scan(ctx: &mut Ctx<'_>) -> CmdResult {
    let cursor = parse_cursor(ctx.arg(1))?;
    let options = ScanOptions::parse(ctx.argv.from(2), true)?;
    // A type nobody has heard of is no error: nothing is of it.
    let kind = options.kind.map(Kind::from_name);
    let now_ms = ctx.state.clock.unix_ms;
    let (mut keys, mut dead) = (Vec::new(), Vec::new());
    let next = ctx.state.dbs[ctx.db].scan(cursor, options.count, |entry| {
        if options.matches(entry.key()) && kind.is_none_or(|kind| kind == Some(entry.kind())) {
            if entry.is_expired(now_ms) {
                dead.push(entry.key().to_vec());
            } else {
                keys.push(entry.key());
            }
        }
    });
    reply_head(ctx.out, next);
    ctx.out.array(keys.len());
    keys.iter().for_each(|key| ctx.out.bulk(key));
    for key in dead {
        ctx.state.peek(ctx.db, &key);
    }
    Ok(Outcome::Done)
}

/// Begins the reply: the next cursor, to be followed by the array of elements.
pub fn reply_head(out: &mut Writer, next: u64) {
    out.array(2);
    let mut text = Vec::with_capacity(20);
    num::push_u64(&mut text, next);
    out.bulk(&text);
}
