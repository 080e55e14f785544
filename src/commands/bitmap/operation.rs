//! BITOP: strings combined bit by bit into a new one.
use super::*;
use crate::base::num::fmt_i64;
use crate::ds::bits::combine::{Operation, combine};
use crate::keyspace::Ttl;

const NOT_OF_ONE: CmdError =
    CmdError::new("ERR BITOP NOT must be called with a single source key.");

fn operation(word: &[u8], sources: usize) -> Result<Operation, CmdError> {
    use Operation::*;
    let (_, operation) = [
        ("AND", And),
        ("OR", Or),
        ("XOR", Xor),
        ("NOT", Not),
        ("DIFF", Diff),
        ("DIFF1", Diff1),
        ("ANDOR", AndOr),
        ("ONE", One),
    ]
    .into_iter()
    .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
    .ok_or(SYNTAX)?;
    if operation == Not && sources != 1 {
        return Err(NOT_OF_ONE);
    }
    if matches!(operation, Diff | Diff1 | AndOr) && sources < 2 {
        let name = String::from_utf8_lossy(word).to_uppercase();
        return Err(CmdError::owned(format!(
            "ERR BITOP {name} must be called with at least two source keys."
        )));
    }
    Ok(operation)
}

pub(super) fn bitop(ctx: &mut Ctx<'_>) -> CmdResult {
    let (target, names, db) = (ctx.arg(2), ctx.argv.from(3), ctx.db);
    let operation = operation(ctx.arg(1), names.len())?;
    let result = combine_keys(ctx, operation)?;
    let len = result.len();
    let found = ctx.write(target);
    if result.is_empty() {
        if let Some(slot) = found {
            let lazy = ctx.state.config.lazyfree_lazy_server_del;
            ctx.state.remove(db, slot, lazy);
            ctx.modified(target, Event::DEL, 1);
        }
        return ctx.int(0);
    }
    let value = if len <= INLINE_MAX {
        NewValue::Bytes(&result)
    } else {
        NewValue::Owned(Value::Str(result.into()))
    };
    let slot = match found {
        Some(slot) => {
            ctx.state.dbs[db].set(slot, value, Ttl::Clear);
            slot
        }
        None => {
            let slot = ctx.state.dbs.insert(db, target, value, None);
            ctx.state.notify(db, target, Event::NEW);
            slot
        }
    };
    // What was made by editing is "raw" to OBJECT ENCODING, however short.
    ctx.state.dbs[db].string_bytes_mut(slot);
    ctx.modified(target, Event::SET, 1);
    ctx.int(len as i64)
}

/// The combination of the strings at the source keys, an absent one being empty.
fn combine_keys(ctx: &mut Ctx<'_>, operation: Operation) -> Result<Vec<u8>, CmdError> {
    let (names, db) = (ctx.argv.from(3), ctx.db);
    // First all look-ups, which may remove dead keys; then all values at once, none of them copied.
    let mut numbers: Vec<IntBuf> = Vec::new();
    let mut present = Vec::with_capacity(names.len());
    for name in names.iter() {
        let Some(entry) = ctx.read(name) else {
            present.push(false);
            continue;
        };
        if let StrRef::Int(n) = entry.string()? {
            let mut room = IntBuf::default();
            fmt_i64(n, &mut room);
            numbers.push(room);
        }
        present.push(true);
    }
    let mut numbers = numbers.iter_mut();
    let sources: Vec<&[u8]> = names
        .iter()
        .zip(present)
        .map(|(name, present)| {
            let entry = ctx.state.dbs.get(db, name).filter(|_| present)?;
            match entry.string().ok()? {
                StrRef::Int(n) => Some(fmt_i64(n, numbers.next()?)),
                string => match string {
                    StrRef::Inline { bytes, .. } => Some(bytes),
                    StrRef::Big(big) => Some(big.as_slice()),
                    StrRef::Int(_) => None,
                },
            }
        })
        .map(Option::unwrap_or_default)
        .collect();
    Ok(combine(operation, &sources))
}
