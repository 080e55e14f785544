//! LCS: the longest common subsequence of two strings.
//!
//! The lengths of all pairs of prefixes are computed a row at a time. To walk back, one bit of each
//! pair is enough (which neighbour is longer), so the table is an eighth of a byte a pair where
//! Redis has four bytes. The limit is Redis's nevertheless: it also bounds the time.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::resp::reply::Writer;
use crate::types::Kind;

const NOT_STRINGS: CmdError = CmdError::new("ERR The specified keys must contain string values");
const LEN_AND_IDX: CmdError =
    CmdError::new("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: CmdError = CmdError::new("ERR String too long for LCS");
const TOO_MUCH_MEMORY: CmdError =
    CmdError::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

/// What is wanted of the subsequence.
#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(ctx: &Ctx<'_>) -> Result<Self, CmdError> {
        let mut options = Self::default();
        let mut i = 3;
        while i < ctx.argc() {
            let word = ctx.arg(i);
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"len") {
                options.len = true;
            } else if is(b"idx") {
                options.idx = true;
            } else if is(b"withmatchlen") {
                options.with_match_len = true;
            } else if is(b"minmatchlen") && i + 1 < ctx.argc() {
                i += 1;
                let n = parse_i64(ctx.arg(i)).ok_or(NOT_INTEGER)?;
                options.min_match_len = usize::try_from(n).unwrap_or(0);
            } else {
                return Err(SYNTAX);
            }
            i += 1;
        }
        if options.len && options.idx {
            return Err(LEN_AND_IDX);
        }
        Ok(options)
    }
}

pub(super) fn lcs(ctx: &mut Ctx<'_>) -> CmdResult {
    let (a, b) = (ctx.arg(1), ctx.arg(2));
    // Both are looked up before either is judged.
    let mut wrong = false;
    for key in [a, b] {
        wrong |= ctx.read(key).is_some_and(|e| e.kind() != Kind::String);
    }
    if wrong {
        return Err(NOT_STRINGS);
    }
    let options = Options::parse(ctx)?;
    let (mut room_a, mut room_b) = ([0; 20], [0; 20]);
    let dbs = &ctx.state.dbs;
    let a = match dbs.get(ctx.db, a) {
        Some(entry) => entry.string()?.bytes(&mut room_a),
        None => b"",
    };
    let b = match dbs.get(ctx.db, b) {
        Some(entry) => entry.string()?.bytes(&mut room_b),
        None => b"",
    };
    check_size(a.len(), b.len(), ctx.state.config.proto_max_bulk_len)?;
    reply(ctx.out, a, b, &options);
    Ok(Outcome::Done)
}

/// Refuses what would take Redis more memory than the limit.
fn check_size(a: usize, b: usize, limit: u64) -> Result<(), CmdError> {
    if a.max(b) >= u32::MAX as usize - 1 {
        return Err(TOO_LONG);
    }
    let cells = (a as u64 + 1) * (b as u64 + 1);
    match cells.checked_mul(4) {
        Some(bytes) if bytes <= limit => Ok(()),
        _ => Err(TOO_MUCH_MEMORY),
    }
}

fn reply(out: &mut Writer, a: &[u8], b: &[u8], options: &Options) {
    if options.len {
        let (len, _) = lengths(a, b, false);
        return out.int(i64::from(len));
    }
    let (len, longer_above) = lengths(a, b, true);
    if !options.idx {
        let mut text = vec![0; len as usize];
        let mut at = text.len();
        walk_back(a, b, &longer_above, |m| {
            let part = &a[m.a..m.a + m.len];
            at -= part.len();
            text[at..at + part.len()].copy_from_slice(part);
        });
        return out.bulk(&text);
    }
    out.map(2);
    out.bulk(b"matches");
    let hole = out.open();
    let mut count = 0;
    walk_back(a, b, &longer_above, |m| {
        if m.len < options.min_match_len {
            return;
        }
        count += 1;
        out.array(2 + usize::from(options.with_match_len));
        for start in [m.a, m.b] {
            out.array(2);
            out.int(start as i64);
            out.int((start + m.len - 1) as i64);
        }
        if options.with_match_len {
            out.int(m.len as i64);
        }
    });
    out.close_array(hole, count);
    out.bulk(b"len");
    out.int(i64::from(len));
}

/// A bit for each pair of positions.
struct Bits {
    words: Vec<u64>,
    width: usize,
}

impl Bits {
    fn get(&self, i: usize, j: usize) -> bool {
        let at = i * self.width + j;
        self.words[at / 64] >> (at % 64) & 1 != 0
    }
}

/// The length of the longest common subsequence, and if asked for, for each `(i, j)` whether
/// leaving out `a[i]` leaves a longer one in `a[..=i]` and `b[..=j]` than leaving out `b[j]`.
fn lengths(a: &[u8], b: &[u8], with_bits: bool) -> (u32, Bits) {
    let width = b.len();
    let words = if with_bits {
        (a.len() * width).div_ceil(64)
    } else {
        0
    };
    let mut bits = Bits {
        words: vec![0; words],
        width,
    };
    // Lengths for a[..i] and each b[..j + 1]; the one for j = -1 is always 0.
    let mut row = vec![0u32; width];
    for (i, &x) in a.iter().enumerate() {
        let (mut left, mut diagonal) = (0, 0);
        for (j, (cell, &y)) in row.iter_mut().zip(b).enumerate() {
            let above = *cell;
            let is_longer_above = above > left;
            if with_bits && is_longer_above {
                let at = i * width + j;
                bits.words[at / 64] |= 1 << (at % 64);
            }
            left = if x == y {
                diagonal + 1
            } else {
                left.max(above)
            };
            *cell = left;
            diagonal = above;
        }
    }
    (row.last().copied().unwrap_or(0), bits)
}

/// A run that both strings have, where it begins in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// Shows the runs of the subsequence, last first.
fn walk_back(a: &[u8], b: &[u8], longer_above: &Bits, mut run: impl FnMut(Match)) {
    let (mut i, mut j, mut len) = (a.len(), b.len(), 0);
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j, len) = (i - 1, j - 1, len + 1);
            continue;
        }
        if len > 0 {
            run(Match { a: i, b: j, len });
            len = 0;
        }
        if longer_above.get(i - 1, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    if len > 0 {
        run(Match { a: i, b: j, len });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    fn runs(a: &[u8], b: &[u8]) -> (u32, Vec<(usize, usize, usize)>) {
        let (len, bits) = lengths(a, b, true);
        assert_eq!(lengths(a, b, false).0, len);
        let mut all = Vec::new();
        walk_back(a, b, &bits, |m| all.push((m.a, m.b, m.len)));
        (len, all)
    }

    #[test]
    fn the_runs_are_found_last_first() {
        assert_eq!(
            runs(b"ohmytext", b"mynewtext"),
            (6, vec![(4, 5, 4), (2, 0, 2)])
        );
        assert_eq!(runs(b"", b"abc"), (0, vec![]));
        assert_eq!(runs(b"abc", b""), (0, vec![]));
        assert_eq!(runs(b"abc", b"abc"), (3, vec![(0, 0, 3)]));
        assert_eq!(runs(b"abc", b"xyz"), (0, vec![]));
    }

    #[test]
    fn the_runs_are_a_common_subsequence_of_that_length() {
        let mut rng = Rng::from_seed(7);
        for _ in 0..200 {
            let mut text = |max: u64| -> Vec<u8> {
                let len = rng.below(max);
                (0..len).map(|_| b'a' + rng.below(3) as u8).collect()
            };
            let (a, b) = (text(40), text(30));
            let (len, all) = runs(&a, &b);
            let total: usize = all.iter().map(|r| r.2).sum();
            assert_eq!(total, len as usize);
            let (mut end_a, mut end_b) = (a.len(), b.len());
            for (at_a, at_b, n) in all {
                assert_eq!(a[at_a..at_a + n], b[at_b..at_b + n]);
                assert!(at_a + n <= end_a && at_b + n <= end_b);
                (end_a, end_b) = (at_a, at_b);
            }
        }
    }

    #[test]
    fn the_memory_redis_would_take_is_bounded() {
        assert_eq!(check_size(1000, 1000, 4 * 1001 * 1001), Ok(()));
        assert_eq!(
            check_size(1000, 1000, 4 * 1001 * 1001 - 1),
            Err(TOO_MUCH_MEMORY)
        );
        assert_eq!(check_size(u32::MAX as usize, 0, u64::MAX), Err(TOO_LONG));
    }
}
