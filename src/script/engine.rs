//! The engines, EVAL's and that of functions: what they have in common, and how one is taken out of its place
//! to run something.
use std::any::Any;

use super::vm::Vm;
use crate::exec::error::CmdError;
use crate::state::State;
use crate::state::groups::GroupId;
use crate::state::scripts::{Engine, Kind, Place, Scripts};

/// Of the engine that is wanted something runs.
pub const NESTED: CmdError = CmdError::new("ERR A script is running already");

/// One of the engines.
pub trait Kept: Engine + Sized {
    const KIND: Kind;

    /// A new one.
    fn with(vm: Vm) -> Self;

    /// Where a group keeps it.
    fn place(scripts: &mut Scripts, group: GroupId) -> &mut Place;
}

/// A group's engine, taken out of its place; made if there is none yet.
pub fn take<E: Kept>(state: &mut State, group: GroupId) -> Result<Box<E>, CmdError> {
    match E::place(&mut state.scripts, group).take() {
        Some(engine) => {
            let engine: Box<dyn Any> = engine;
            engine.downcast().map_err(|_| NESTED)
        }
        None if state.scripts.running.is_some() => Err(NESTED),
        None => {
            let seed = state.rng.next_u64();
            let limit = state.config.script_memory_limit as usize;
            let vm = Vm::new(E::KIND, limit, seed)?;
            Ok(Box::new(E::with(vm)))
        }
    }
}
