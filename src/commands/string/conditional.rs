//! Compare and delete: DELIFEQ as Valkey 9 has it, DELEX as Redis 8.4.
use super::delete;
use crate::ds::table::Slot;
use crate::exec::command::CmdResult;
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, wrong_arity};
use crate::types::Kind;

const INVALID_CONDITION: CmdError = CmdError::new("ERR Invalid condition. Use IFEQ or IFNE");
const NOT_A_STRING: CmdError =
    CmdError::new("ERR Key should be of string type if conditions are specified");

/// Is the string at a slot this one?
pub(super) fn equals(ctx: &Ctx<'_>, slot: Slot, wanted: &[u8]) -> Result<bool, CmdError> {
    let value = ctx.state.dbs[ctx.db].entry(slot).string()?;
    Ok(value.bytes(&mut [0; 20]) == wanted)
}

pub(super) fn delifeq(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, wanted) = (ctx.arg(1), ctx.arg(2));
    match ctx.write(key) {
        Some(slot) if equals(ctx, slot, wanted)? => {
            delete(ctx, key, slot);
            ctx.int(1)
        }
        _ => ctx.int(0),
    }
}

pub(super) fn delex(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    // The value, and whether it must be the key's or must not.
    let condition = match ctx.argc() {
        2 => None,
        4 if ctx.arg(2).eq_ignore_ascii_case(b"ifeq") => Some((ctx.arg(3), true)),
        4 if ctx.arg(2).eq_ignore_ascii_case(b"ifne") => Some((ctx.arg(3), false)),
        4 => return Err(INVALID_CONDITION),
        _ => return Err(wrong_arity("delex")),
    };
    let Some(slot) = ctx.write(key) else {
        return ctx.int(0);
    };
    if let Some((value, equal)) = condition {
        if ctx.state.dbs[ctx.db].entry(slot).kind() != Kind::String {
            return Err(NOT_A_STRING);
        }
        if equals(ctx, slot, value)? != equal {
            return ctx.int(0);
        }
    }
    delete(ctx, key, slot);
    ctx.int(1)
}
