//! Deadlines of keys: EXPIRE and its kin, TTL and its kin, PERSIST.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, KEY1_RO, KEY1_RW_UPDATE, acl, cmd, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, invalid_expire};
use crate::exec::registry::Family;
use crate::state::notify::Event;
use flag::{FAST, READONLY, WRITE};

const NX_WITH_OTHERS: CmdError =
    CmdError::new("ERR NX and XX, GT or LT options at the same time are not compatible");
const GT_WITH_LT: CmdError =
    CmdError::new("ERR GT and LT options at the same time are not compatible");

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("expire", -3, WRITE | FAST, acl::NONE, KEY1_RW_UPDATE, expire),
    cmd("pexpire", -3, WRITE | FAST, acl::NONE, KEY1_RW_UPDATE, pexpire),
    cmd("expireat", -3, WRITE | FAST, acl::NONE, KEY1_RW_UPDATE, expireat),
    cmd("pexpireat", -3, WRITE | FAST, acl::NONE, KEY1_RW_UPDATE, pexpireat),
    cmd("ttl", 2, READONLY | FAST, acl::NONE, KEY1_RO, ttl),
    cmd("pttl", 2, READONLY | FAST, acl::NONE, KEY1_RO, pttl),
    cmd("expiretime", 2, READONLY | FAST, acl::NONE, KEY1_RO, expiretime),
    cmd("pexpiretime", 2, READONLY | FAST, acl::NONE, KEY1_RO, pexpiretime),
    cmd("persist", 2, WRITE | FAST, acl::NONE, KEY1_RW_UPDATE, persist),
];

/// Deadlines of keys.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::KEYSPACE,
    commands: COMMANDS,
};

/// Which deadlines a new one may replace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Conditions {
    /// NX: only none.
    absent: bool,
    /// XX: only one that is there.
    present: bool,
    /// GT: only an earlier one.
    later: bool,
    /// LT: only a later one.
    earlier: bool,
}

impl Conditions {
    fn parse<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, CmdError> {
        let mut conditions = Self::default();
        for word in words {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let condition = match () {
                () if is(b"nx") => &mut conditions.absent,
                () if is(b"xx") => &mut conditions.present,
                () if is(b"gt") => &mut conditions.later,
                () if is(b"lt") => &mut conditions.earlier,
                () => {
                    return Err(CmdError::showing("ERR Unsupported option ", word, ""));
                }
            };
            *condition = true;
        }
        let Self {
            absent,
            present,
            later,
            earlier,
        } = conditions;
        if absent && (present || later || earlier) {
            return Err(NX_WITH_OTHERS);
        }
        if later && earlier {
            return Err(GT_WITH_LT);
        }
        Ok(conditions)
    }

    /// May `new` replace `old`? A key without a deadline lives for ever.
    fn allow(self, old: Option<i64>, new: i64) -> bool {
        match old {
            Some(old) => !self.absent && (!self.later || new > old) && (!self.earlier || new < old),
            None => !self.present && !self.later,
        }
    }
}

fn expire(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadline(ctx, 1000, ctx.state.clock.unix_ms, "expire")
}

fn pexpire(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadline(ctx, 1, ctx.state.clock.unix_ms, "pexpire")
}

fn expireat(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadline(ctx, 1000, 0, "expireat")
}

fn pexpireat(ctx: &mut Ctx<'_>) -> CmdResult {
    set_deadline(ctx, 1, 0, "pexpireat")
}

/// The deadline is the argument times `unit_ms`, counted from `base_ms`.
fn set_deadline(ctx: &mut Ctx<'_>, unit_ms: i64, base_ms: i64, name: &'static str) -> CmdResult {
    let key = ctx.arg(1);
    let conditions = match ctx.argc() {
        3 => Conditions::default(),
        _ => Conditions::parse(ctx.argv.from(3).iter())?,
    };
    let at = parse_i64(ctx.arg(2))
        .ok_or(NOT_INTEGER)?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or_else(|| invalid_expire(name))?;
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    if !conditions.allow(ctx.state.dbs[ctx.db].entry(slot).expire_at(), at) {
        return ctx.int(0);
    }
    if ctx.ends_at_once(at) {
        ctx.delete_expired(key, slot);
    } else {
        ctx.set_deadline(key, slot, at);
    }
    ctx.int(1)
}

fn ttl(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadline(ctx, 1000, ctx.state.clock.unix_ms)
}

fn pttl(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadline(ctx, 1, ctx.state.clock.unix_ms)
}

fn expiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadline(ctx, 1000, 0)
}

fn pexpiretime(ctx: &mut Ctx<'_>) -> CmdResult {
    tell_deadline(ctx, 1, 0)
}

/// Answers the deadline as counted from `base_ms`, rounded to the unit: -1 without one, -2 without
/// a key.
fn tell_deadline(ctx: &mut Ctx<'_>, unit_ms: i64, base_ms: i64) -> CmdResult {
    let key = ctx.arg(1);
    let Some(entry) = ctx.state.lookup_untouched(ctx.db, key) else {
        return ctx.int(-2);
    };
    let Some(at) = entry.expire_at() else {
        return ctx.int(-1);
    };
    let left = at.saturating_sub(base_ms).max(0);
    ctx.int(left / unit_ms + i64::from(left % unit_ms * 2 >= unit_ms && unit_ms > 1))
}

fn persist(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, db) = (ctx.arg(1), ctx.db);
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    if ctx.state.dbs[db].entry(slot).expire_at().is_none() {
        return ctx.int(0);
    }
    ctx.state.dbs[db].set_expire(slot, None);
    ctx.modified(key, Event::PERSIST, 1);
    ctx.int(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Conditions, CmdError> {
        Conditions::parse(line.split_whitespace().map(str::as_bytes))
    }

    #[test]
    fn conditions_decide_which_deadline_may_be_replaced() {
        let (none, early, late) = (None, Some(10), Some(30));
        for (line, on_none, on_early, on_late) in [
            ("", true, true, true),
            ("nx", true, false, false),
            ("XX", false, true, true),
            ("gt", false, true, false),
            ("lt", true, false, true),
            ("gt xx", false, true, false),
            ("xx lt", false, false, true),
        ] {
            let conditions = parsed(line).expect("well-formed");
            let got = [none, early, late].map(|old| conditions.allow(old, 20));
            assert_eq!(got, [on_none, on_early, on_late], "{line}");
        }
        // Neither later nor earlier.
        assert!(!parsed("gt").expect("well-formed").allow(early, 10));
        assert!(!parsed("lt").expect("well-formed").allow(early, 10));
    }

    #[test]
    fn conditions_that_contradict_each_other_are_refused() {
        assert_eq!(parsed("nx gt lt"), Err(NX_WITH_OTHERS));
        assert_eq!(parsed("xx nx"), Err(NX_WITH_OTHERS));
        assert_eq!(parsed("gt lt"), Err(GT_WITH_LT));
        let unknown = parsed("nx xx ab").map_err(|e| e.text().to_vec());
        assert_eq!(unknown, Err(b"ERR Unsupported option ab".to_vec()));
    }
}
