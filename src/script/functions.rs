//! The engine of functions: compiles libraries, and runs what they have registered.
//!
//! All libraries of a group share one interpreter, apart from EVAL's. `state::libraries` says what there is, and knows each
//! function by a handle, its place here.
use slab::Slab;

use super::engine::{self, Kept};
use super::vm::{self, Vm};
use crate::base::sys::ticks;
use crate::exec::error::CmdError;
use crate::state::State;
use crate::state::groups::GroupId;
use crate::state::libraries::{Function, Libraries, Library, Refusal, read_payload};
use crate::state::scripts::{Engine, Kind, Place, Scripts};

/// How long a client's library may take to load.
const LOAD_MS_MAX: u64 = 500;

/// The interpreter and its functions.
pub struct FunctionEngine {
    pub vm: Vm,
    functions: Slab<vm::Function>,
}

impl Engine for FunctionEngine {
    fn vm_bytes(&self) -> usize {
        self.vm.bytes()
    }

    fn known(&self) -> (usize, usize) {
        let each = size_of::<vm::Function>() * 2;
        (self.functions.len(), self.functions.capacity() * each)
    }

    fn limit(&mut self, bytes: usize) {
        self.vm.set_limit(bytes);
    }

    fn tend(&mut self) -> bool {
        self.vm.tend()
    }
}

impl Kept for FunctionEngine {
    const KIND: Kind = Kind::Function;

    fn with(vm: Vm) -> FunctionEngine {
        FunctionEngine {
            vm,
            functions: Slab::new(),
        }
    }

    fn place(scripts: &mut Scripts, group: GroupId) -> &mut Place {
        scripts.functions.of_mut(group)
    }
}

impl FunctionEngine {
    /// The interpreter and the function of a handle.
    pub fn function(&mut self, handle: u32) -> Option<(&mut Vm, &vm::Function)> {
        let function = self.functions.get(handle as usize)?;
        Some((&mut self.vm, function))
    }

    fn forget(&mut self, handles: Vec<u32>) {
        for handle in handles {
            if let Some(function) = self.functions.try_remove(handle as usize) {
                self.vm.release(function);
            }
        }
    }

    fn load(&mut self, library: &Library, deadline: u64) -> Result<Vec<Function>, Refusal> {
        // From the end of the first line on, so that lines keep their numbers.
        let start = memchr::memchr(b'\n', library.code()).unwrap_or(0);
        let chunk = self
            .vm
            .compile(&library.code()[start..], c"@user_function")
            .map_err(|text| Refusal::showing("Error compiling function: ", &text, ""))?;
        let registered = self.vm.load_library(&chunk, deadline);
        self.vm.release(chunk);
        let registered = registered
            .map_err(|text| Refusal::showing("Error registering functions: ", &text, ""))?;
        if registered.is_empty() {
            return Err(Refusal::new("No functions registered"));
        }
        let functions = registered.into_iter().map(|registered| Function {
            name: registered.name,
            description: registered.description,
            flags: registered.flags,
            handle: self.functions.insert(registered.function) as u32,
        });
        Ok(functions.collect())
    }
}

/// Lets a group's engine forget the functions that are gone.
pub fn sweep(state: &mut State, group: GroupId) {
    let idle = state.libraries.of(group).released.is_empty();
    if idle || state.scripts.functions.of(group).engine_ref().is_none() {
        return;
    }
    if let Ok(mut engine) = engine::take::<FunctionEngine>(state, group) {
        let released = &mut state.libraries.of_mut(group).released;
        engine.forget(std::mem::take(released));
        state.scripts.functions.of_mut(group).put(engine);
    }
}

/// Compiles a library. What it has registered is the caller's to add to the libraries, or to release.
fn compile(
    state: &mut State,
    group: GroupId,
    library: &Library,
    timed: bool,
) -> Result<Vec<Function>, Refusal> {
    let told = |error: CmdError| {
        let text = error.text();
        Refusal(text.strip_prefix(b"ERR ").unwrap_or(text).to_vec())
    };
    let mut engine: Box<FunctionEngine> = engine::take(state, group).map_err(told)?;
    let deadline = match timed {
        true => ticks().saturating_add(state.stats.us_to_ticks(LOAD_MS_MAX * 1000)),
        false => u64::MAX,
    };
    let functions = engine.load(library, deadline);
    state.scripts.functions.of_mut(group).put(engine);
    functions
}

/// Compiles a library and adds it to a group's. A client's may only take so long (`timed`); a file's was
/// loaded before.
pub fn add(
    state: &mut State,
    group: GroupId,
    library: Library,
    replace: bool,
    timed: bool,
) -> Result<(), Refusal> {
    state.libraries.of(group).check(library.name(), replace)?;
    let added = compile(state, group, &library, timed).and_then(|functions| {
        let libraries = state.libraries.of_mut(group);
        libraries.add(library, functions, replace)
    });
    sweep(state, group);
    added
}

/// Adds the libraries of a payload to a group's: all, or none. The old ones go before (`flush`), or their
/// likes do (`replace`). `timed` as in [`add`], for each of them.
pub fn restore(
    state: &mut State,
    group: GroupId,
    body: &[u8],
    (flush, replace): (bool, bool),
    timed: bool,
) -> Result<(), Refusal> {
    let mut compiled = Vec::new();
    for library in read_payload(body)? {
        match compile(state, group, &library, timed) {
            Ok(functions) => compiled.push((library, functions)),
            Err(refusal) => {
                release(state, group, compiled);
                return Err(refusal);
            }
        }
    }
    let libraries = state.libraries.of_mut(group);
    let joined = if flush {
        // They may still be in each other's way.
        let mut all = Libraries::default();
        let joined = all.join(compiled, false);
        if joined.is_ok() {
            libraries.clear();
        }
        all.released.append(&mut libraries.released);
        if joined.is_ok() {
            *libraries = all;
        } else {
            libraries.released = all.released;
        }
        joined
    } else {
        libraries.join(compiled, replace)
    };
    sweep(state, group);
    joined
}

fn release(state: &mut State, group: GroupId, compiled: Vec<(Library, Vec<Function>)>) {
    let functions = compiled.iter().flat_map(|(_, functions)| functions);
    let released = &mut state.libraries.of_mut(group).released;
    released.extend(functions.map(|f| f.handle));
    sweep(state, group);
}
