//! How the hash commands reach a hash: fields whose deadline has passed are gone for them.
//!
//! A look at a hash with deadlines removes what is due of it, so that events and the log tell of a field's
//! end before they tell of what comes after it. A look removes a bounded number; what remains of it is
//! hidden from readers, and a writer removes the fields it names. Files and primaries say by themselves when
//! a field ends: for them every field that is stored is there.

use crate::ds::table::Slot;
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::CmdError;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::hash::{Hash, HashRef, Limits};

/// The hash at `key` for reading, without fields that are dead.
#[inline]
pub(super) fn read<'s>(
    state: &'s mut State,
    (db, mode): (usize, Mode),
    key: &[u8],
) -> Result<Option<HashRef<'s>>, CmdError> {
    let Some(slot) = state.lookup_read_slot(db, key) else {
        return Ok(None);
    };
    let hash = state.dbs[db].entry(slot).get::<Hash>()?;
    if hash.has_deadlines() && mode != Mode::Replay {
        return read_expiring(state, db, key, slot);
    }
    Ok(Some(state.dbs[db].entry(slot).get::<Hash>()?))
}

#[cold]
fn read_expiring<'s>(
    state: &'s mut State,
    db: usize,
    key: &[u8],
    slot: Slot,
) -> Result<Option<HashRef<'s>>, CmdError> {
    let mut left = Some(slot);
    if state.may_expire() {
        left = state.expire_members_of(db, key, slot, |slot, _, _| Some(slot));
    }
    let Some(slot) = left else { return Ok(None) };
    let hash = state.dbs[db].entry(slot).get::<Hash>()?;
    Ok(Some(hash.at(state.clock.unix_ms)))
}

/// Where the fields are that a request names: its first argument that is one, and the step to the next.
pub(super) type Named = (usize, usize);

/// The slot of the hash at the request's key for writing: fields that are dead are gone, of those that the
/// request names every one.
#[inline]
pub(super) fn write(ctx: &mut Ctx<'_>, named: Named) -> Result<Option<Slot>, CmdError> {
    let key = ctx.arg(1);
    let Some(slot) = ctx.write(key) else {
        return Ok(None);
    };
    let hash = ctx.state.dbs[ctx.db].entry(slot).get::<Hash>()?;
    if hash.has_deadlines() && ctx.mode != Mode::Replay {
        return Ok(write_expiring(ctx, slot, named));
    }
    Ok(Some(slot))
}

#[cold]
fn write_expiring(ctx: &mut Ctx<'_>, slot: Slot, (first, step): Named) -> Option<Slot> {
    let (db, argv) = (ctx.db, ctx.argv);
    ctx.state
        .expire_members_of(db, argv.get(1), slot, |slot, state, gone| {
            let now_ms = state.clock.unix_ms;
            let edited = state.dbs[db].update::<Hash, ()>(slot, |hash| {
                for at in (first..argv.len()).step_by(step.max(1)) {
                    if hash.delete_dead(argv.get(at), now_ms) {
                        gone(argv.get(at));
                    }
                }
            });
            edited.ok()?.0
        })
}

/// Edits the hash at the request's key, which is made if it is absent and the edit fills it.
#[inline]
pub(super) fn edit<R>(
    ctx: &mut Ctx<'_>,
    named: Named,
    change: impl FnOnce(&mut Hash) -> R,
) -> Result<R, CmdError> {
    let slot = write(ctx, named)?;
    edit_at(ctx, slot, change)
}

/// The same for a caller that has reached the hash by [`write`], or found none.
#[inline]
pub(super) fn edit_at<R>(
    ctx: &mut Ctx<'_>,
    slot: Option<Slot>,
    change: impl FnOnce(&mut Hash) -> R,
) -> Result<R, CmdError> {
    if let Some(slot) = slot {
        return Ok(ctx.state.dbs[ctx.db].update::<Hash, R>(slot, change)?.1);
    }
    let key = ctx.arg(1);
    let (made, result) = ctx.state.dbs.create::<Hash, R>(ctx.db, key, change);
    if made.is_some() {
        ctx.state.notify(ctx.db, key, Event::NEW);
    }
    Ok(result)
}

#[inline]
pub(super) fn limits(state: &State) -> Limits {
    Limits {
        entries: state.config.hash_max_listpack_entries,
        value: state.config.hash_max_listpack_value,
        hash_key: state.dbs.hash_key(),
    }
}
