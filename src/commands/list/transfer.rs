//! Elements that leave by an end and go elsewhere: LMOVE and RPOPLPUSH, and LMPOP, which takes from
//! the first of several lists. The waiting kinds are in `blocking` and end here.

use super::{Shown, end_of, limits, popped, pushed, take};
use crate::base::num::{fmt_i64, parse_i64};
use crate::commands::vals;
use crate::ds::listpack::Val;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, SYNTAX};
use crate::resp::request::Argv;
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::list::{End, List};

const KEYS_MIN: CmdError = CmdError::new("ERR numkeys should be greater than 0");
const COUNT_MIN: CmdError = CmdError::new("ERR count should be greater than 0");

/// Elements up to this length move without an allocation.
const SHORT: usize = 128;

/// An element between two lists.
enum Kept {
    Int(i64),
    Short([u8; SHORT], usize),
    Long(Box<[u8]>),
}

impl Kept {
    fn new(val: Val<'_>) -> Kept {
        match val {
            Val::Int(int) => Kept::Int(int),
            Val::Str(text) if text.len() <= SHORT => {
                let mut room = [0; SHORT];
                room[..text.len()].copy_from_slice(text);
                Kept::Short(room, text.len())
            }
            Val::Str(text) => Kept::Long(text.into()),
        }
    }

    fn val(&self) -> Val<'_> {
        match self {
            Kept::Int(int) => Val::Int(*int),
            Kept::Short(room, len) => Val::Str(&room[..*len]),
            Kept::Long(text) => Val::Str(text),
        }
    }

    /// Bytes as the list's limits count them: not those of numbers.
    fn bytes(&self) -> usize {
        match self.val() {
            Val::Str(text) => text.len(),
            Val::Int(_) => 0,
        }
    }
}

/// Moves an element from argument 1's list, which is there, to argument 2's, and replies it. The log
/// gets the request, or what the caller has chosen instead.
pub(super) fn transfer(ctx: &mut Ctx<'_>, from: End, to: End) -> CmdResult {
    let (db, source, target) = (ctx.db, ctx.arg(1), ctx.arg(2));
    let limits = limits(ctx.state);
    let put = |list: &mut List, kept: &Kept| {
        list.expect(kept.bytes(), 1, &limits);
        list.push(to, kept.val(), &limits);
    };
    let Some(mut slot) = ctx.write_kind(source, Kind::List)? else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };

    let (mut emptied, mut made) = (false, false);
    let kept = if source == target {
        let turn = |list: &mut List| {
            let kept = list.pop(from, Kept::new)?;
            put(list, &kept);
            list.shrunk(&limits);
            Some(kept)
        };
        ctx.state.dbs[db].update::<List, _>(slot, turn)?.1
    } else {
        let mut goal = ctx.write_kind(target, Kind::List)?;
        if goal.is_none()
            && let Some(moved) = ctx.state.dbs.find(db, source)
        {
            // The look-up may have removed a dead target, and with it the source's place.
            slot = moved;
        }
        let (left, kept) = ctx.state.dbs[db].update::<List, _>(slot, |list| {
            let kept = list.pop(from, Kept::new);
            list.shrunk(&limits);
            kept
        })?;
        emptied = left.is_none();
        if emptied && goal.is_some() {
            goal = ctx.state.dbs.find(db, target);
        }
        if let Some(kept) = &kept {
            match goal {
                Some(goal) => {
                    let put = |list: &mut List| put(list, kept);
                    ctx.state.dbs[db].update::<List, _>(goal, put)?;
                }
                None => {
                    let put = |list: &mut List| put(list, kept);
                    ctx.state.dbs.create::<List, _>(db, target, put);
                    made = true;
                }
            }
        }
        kept
    };
    let Some(kept) = kept else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };

    if made {
        ctx.state.notify(db, target, Event::NEW);
    }
    ctx.modified(target, pushed(to), 0);
    ctx.modified(source, popped(from), 1);
    if emptied {
        ctx.state.notify(db, source, Event::DEL);
    }
    vals::reply(ctx.out, Some(kept.val()));
    Ok(Outcome::Done)
}

pub(super) fn lmove(ctx: &mut Ctx<'_>) -> CmdResult {
    let (from, to) = (end_of(ctx.arg(3))?, end_of(ctx.arg(4))?);
    transfer(ctx, from, to)
}

pub(super) fn rpoplpush(ctx: &mut Ctx<'_>) -> CmdResult {
    transfer(ctx, End::Back, End::Front)
}

/// The arguments of LMPOP and BLMPOP.
pub(super) struct Pops {
    /// Arguments that are keys: the first, and how many.
    pub(super) first: usize,
    pub(super) keys: usize,
    end: End,
    count: usize,
}

impl Pops {
    /// Reads them from the number of keys on, which is argument `at`.
    pub(super) fn parse(argv: Argv<'_>, at: usize) -> Result<Pops, CmdError> {
        let at_least_one = |text, error| match parse_i64(text) {
            Some(number @ 1..) => usize::try_from(number).map_err(|_| error),
            _ => Err(error),
        };
        let keys = at_least_one(argv.get(at), KEYS_MIN)?;
        let first = at + 1;
        let end_at = first.saturating_add(keys);
        if end_at >= argv.len() {
            return Err(SYNTAX);
        }
        let end = end_of(argv.get(end_at))?;
        let count = match argv.len() - end_at {
            1 => 1,
            3 if argv.get(end_at + 1).eq_ignore_ascii_case(b"count") => {
                at_least_one(argv.get(end_at + 2), COUNT_MIN)?
            }
            // A second COUNT is an error behind a good first one only.
            4.. if argv.get(end_at + 1).eq_ignore_ascii_case(b"count") => {
                at_least_one(argv.get(end_at + 2), COUNT_MIN)?;
                return Err(SYNTAX);
            }
            _ => return Err(SYNTAX),
        };
        Ok(Pops {
            first,
            keys,
            end,
            count,
        })
    }

    /// Takes from the first list there is; false if there is none.
    pub(super) fn run(&self, ctx: &mut Ctx<'_>) -> Result<bool, CmdError> {
        for at in self.first..self.first + self.keys {
            let key = ctx.arg(at);
            if let Some(slot) = ctx.write(key) {
                let shown = Shown::KeyAndArray(self.count);
                let taken = take(ctx, key, slot, self.end, shown)?;
                let mut room = [0; 20];
                let count = fmt_i64(taken as i64, &mut room);
                ctx.propagate_as(&[pop_name(self.end), key, count]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What the log calls a pop at that end.
pub(super) fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

pub(super) fn lmpop(ctx: &mut Ctx<'_>) -> CmdResult {
    let pops = Pops::parse(ctx.argv, 1)?;
    if !pops.run(ctx)? {
        ctx.out.null_array();
    }
    Ok(Outcome::Done)
}
