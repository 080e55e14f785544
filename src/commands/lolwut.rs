//! LOLWUT: a drawing, and the version that tools read off its end.
//!
//! The drawing is a woven band: each cell turns one of two ways and neighbouring arcs join to
//! threads, never twice the same. `LOLWUT VERSION n [columns] [rows]` asks for a certain edition;
//! there is one, so every edition is this one.
use crate::base::num::parse_i64;
use crate::base::rng::Rng;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER};
use crate::state::config::REDIS_VERSION;

const COLUMNS: i64 = 48;
const ROWS: i64 = 8;
const SIDE_MAX: i64 = 1000;

pub(super) fn lolwut(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut first = 1;
    if ctx.argc() >= 3 && ctx.arg(1).eq_ignore_ascii_case(b"version") {
        parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
        first = 3;
    }
    let columns = side(ctx, first, COLUMNS)?;
    let rows = side(ctx, first + 1, ROWS)?;
    let mut text = draw(columns, rows, &mut ctx.state.rng);
    text.push_str("\nRedis ver. ");
    text.push_str(REDIS_VERSION);
    text.push('\n');
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// A side of the drawing. Words that are no edition's arguments are passed over.
fn side(ctx: &Ctx<'_>, at: usize, default: i64) -> Result<i64, CmdError> {
    if at >= ctx.argc() {
        return Ok(default);
    }
    match parse_i64(ctx.arg(at)) {
        Some(n) => Ok(n.clamp(1, SIDE_MAX)),
        None if ctx.arg(1).eq_ignore_ascii_case(b"version") && at >= 3 => Err(NOT_INTEGER),
        None => Ok(default),
    }
}

fn draw(columns: i64, rows: i64, rng: &mut Rng) -> String {
    let mut text = String::new();
    for row in 0..rows {
        for column in 0..columns {
            // Order at the left, chance at the right.
            let chance = rng.below(columns.unsigned_abs()) < column.unsigned_abs();
            let turned = if chance {
                rng.below(2) == 1
            } else {
                (row + column) % 2 == 1
            };
            text.push(if turned { '╱' } else { '╲' });
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::base::rng::Rng;

    #[test]
    fn a_drawing_has_its_size_and_differs_from_the_next() {
        let mut rng = Rng::from_seed(4);
        let (one, two) = (draw(30, 4, &mut rng), draw(30, 4, &mut rng));
        assert_eq!(one.lines().count(), 4);
        assert!(one.lines().all(|line| line.chars().count() == 30));
        assert_ne!(one, two);
    }
}
