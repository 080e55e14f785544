//! One Lua interpreter: how it is made, compiles and runs. All that is unsafe about scripts is in this folder.
//!
//! The interpreter is used through its own C interface, since a call of a small script costs less than one
//! wrapped closure would. What that asks for, everywhere below:
//! - Lua ends a failed call by jumping over the frames between. So a function that Lua may jump out of (each
//!   one that calls into Lua, unless it says otherwise) holds nothing that would have to be dropped: what
//!   needs memory lies in `Shared`, which outlives the call.
//! - Whatever may fail (with limited memory: every push of a string or table) runs inside a protected call.
//! - What a run lends (`Shared::caller`, `Shared::job`) is set for the length of that run only, and nobody
//!   uses the borrow it came from meanwhile.
#![allow(unsafe_code)]
mod api;
mod coroutine;
mod hook;
mod register;
mod sandbox;
mod value;

#[cfg(test)]
mod tests;

pub(super) use api::{digest, hex};

use super::perform::{Caller, Terms};
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::resp::argv::{Argv, Span};
use crate::resp::reply::Writer;
use crate::state::scripts::Kind;
use mlua::ffi::{self, lua_State};
use mlua::{Lua, LuaOptions, StdLib};
pub use register::Registered;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

/// A compiled function, kept by the interpreter until it is released.
#[derive(Debug, PartialEq, Eq)]
pub struct Function(c_int);

/// What is to run.
pub struct Job<'a> {
    pub function: &'a Function,
    /// A script finds these in `KEYS` and `ARGV`, a function gets them as arguments.
    pub keys: Argv<'a>,
    pub args: Argv<'a>,
    pub kind: Kind,
    /// What error texts call it: a script's digest, a function's name.
    pub name: &'a [u8],
}

/// What the functions that scripts call share with the run. It lies at one place as long as the interpreter.
struct Shared {
    /// On whose behalf something runs; null when nothing does.
    caller: *mut Caller<'static, 'static>,
    job: *const Job<'static>,
    /// The command that is being called, and its reply.
    words: Vec<u8>,
    spans: Vec<Span>,
    reply: Writer,
    /// Why the run failed, and where.
    error: Vec<u8>,
    source: Vec<u8>,
    line: c_int,
    /// The error was counted when it arose.
    counted: bool,
    /// An error reply is part of the result.
    failed: bool,
    /// The library that is being loaded; null when none is.
    loading: *mut register::Loading,
    /// Tables that nobody may change.
    protected: Vec<*const c_void>,
    /// The collector was told something that is not to outlast the script.
    collector_touched: bool,
    /// The collector goes on without a rest, since memory is running out.
    urged: bool,
    /// The hook was told to come often.
    hurried: bool,
    /// The state of `math.random`.
    random: u64,
    /// From these ticks on the script is busy.
    deadline: u64,
    /// Bytes that the interpreter may hold; 0: as many as there are.
    memory_limit: usize,
}

/// An interpreter with its sandbox.
pub struct Vm {
    /// Dropped by hand: the interpreter goes before what its functions share.
    lua: std::mem::ManuallyDrop<Lua>,
    /// The thread on which everything runs.
    runner: *mut lua_State,
    shared: *mut Shared,
    /// 0: none.
    memory_limit: usize,
    /// Bytes that were in use when the collector had last been through all of it.
    settled: usize,
}

impl Drop for Vm {
    fn drop(&mut self) {
        // SAFETY: both are dropped here only; the interpreter first, since closing it may run code that
        // looks into the other.
        unsafe {
            std::mem::ManuallyDrop::drop(&mut self.lua);
            drop(Box::from_raw(self.shared));
        }
    }
}

/// The places on the runner's stack that stay: the error handler and the entry.
const HANDLER: c_int = 1;
const ENTRY: c_int = 2;

/// Garbage below this waits for the scripts that come.
const GARBAGE_MIN: usize = 1 << 20;

/// How much memory grows until the collector begins anew (per cent of what was left), and how fast it goes on.
const GC_PAUSE: c_int = 170;
const GC_STEPMUL: c_int = 200;
/// The same where memory is running out.
const GC_PAUSE_URGED: c_int = 100;
const GC_STEPMUL_URGED: c_int = 400;

impl Vm {
    /// A new interpreter for scripts or functions; `seed` for `math.random`.
    pub fn new(kind: Kind, limit: usize, seed: u64) -> Result<Vm, CmdError> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        // What mlua does to `pcall` concerns panics, of which this server dies.
        let options = LuaOptions::new().catch_rust_panics(true);
        let lua = Lua::new_with(libs, options).map_err(|error| broken(&error))?;
        crate::script::lib::install(&lua).map_err(|error| broken(&error))?;
        let shared = Box::into_raw(Box::new(Shared {
            caller: ptr::null_mut(),
            job: ptr::null(),
            words: Vec::new(),
            spans: Vec::new(),
            reply: Writer::new(false),
            error: Vec::new(),
            source: Vec::new(),
            line: 0,
            counted: false,
            failed: false,
            loading: ptr::null_mut(),
            protected: Vec::new(),
            collector_touched: false,
            urged: false,
            hurried: false,
            random: seed,
            deadline: u64::MAX,
            memory_limit: 0,
        }));
        let mut vm = Vm {
            lua: std::mem::ManuallyDrop::new(lua),
            runner: ptr::null_mut(),
            shared,
            memory_limit: 0,
            settled: 0,
        };
        let mut runner = ptr::null_mut();
        // SAFETY: runs protected; the closure holds only pointers.
        let made = unsafe {
            let runner = &raw mut runner;
            vm.lua.exec_raw::<()>((), |state| {
                sandbox::build(state, shared, kind);
                *runner = start_runner(state, shared);
            })
        };
        made.map_err(|error| broken(&error))?;
        vm.runner = runner;
        vm.set_limit(limit);
        // What came and went while it was made.
        vm.collect();
        // SAFETY: allocates nothing.
        unsafe { ffi::lua_gc(runner, ffi::LUA_GCSETPAUSE, GC_PAUSE) };
        Ok(vm)
    }

    /// The interpreter, for what is set up through its safe interface.
    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.lua.used_memory()
    }

    /// From here on it gets no more memory than this; 0: as much as there is.
    pub fn set_limit(&mut self, bytes: usize) {
        // Only an interpreter that somebody else made has none to set.
        let _ = self.lua.set_memory_limit(bytes);
        self.memory_limit = bytes;
        // SAFETY: nothing runs.
        unsafe { (*self.shared).memory_limit = bytes };
    }

    /// Is most of what it may hold taken by what stays?
    pub fn is_crowded(&self) -> bool {
        self.memory_limit > 0 && self.settled > self.memory_limit / 2
    }

    /// Goes on collecting garbage that no script waits for, for a short time; true while there is more.
    pub fn tend(&mut self) -> bool {
        if self.bytes() < self.settled + self.settled / 2 + GARBAGE_MIN {
            return false;
        }
        if self.collect_some() {
            self.settled = self.bytes();
        }
        true
    }

    /// Compiles a chunk; the error is the compiler's own text. `name` is what error texts call it (with a
    /// leading `@`). Where there is no memory for it, it is tried again when all garbage is gone.
    pub fn compile(&mut self, code: &[u8], name: &CStr) -> Result<Function, Vec<u8>> {
        match self.compile_once(code, name) {
            Err(text) if text == NO_MEMORY => {
                self.collect();
                self.compile_once(code, name)
            }
            result => result,
        }
    }

    fn compile_once(&mut self, code: &[u8], name: &CStr) -> Result<Function, Vec<u8>> {
        let mut chunk = sandbox::Chunk {
            code: code.as_ptr(),
            len: code.len(),
            name: name.as_ptr(),
            reference: ffi::LUA_NOREF,
            shared: self.shared,
        };
        // SAFETY: `load_chunk` gets the pointer to the chunk that lives until it has returned, and keeps what
        // it has compiled in the registry. A protected call leaves the stack as it was, or one message more.
        unsafe {
            (*self.shared).error.clear();
            let status = ffi::lua_cpcall(
                self.runner,
                sandbox::load_chunk,
                (&raw mut chunk).cast::<c_void>(),
            );
            if status != ffi::LUA_OK {
                ffi::lua_settop(self.runner, ENTRY);
                if status == ffi::LUA_ERRMEM {
                    return Err(NO_MEMORY.to_vec());
                }
                return Err(b"error in error handling".to_vec());
            }
            if chunk.reference == ffi::LUA_NOREF {
                return Err(std::mem::take(&mut (*self.shared).error));
            }
        }
        Ok(Function(chunk.reference))
    }

    /// Forgets a compiled function.
    pub fn release(&mut self, function: Function) {
        self.unlimited(|lua| {
            // SAFETY: the reference is this registry's. The first that is given back makes a place for the
            // list of free ones: that may need memory.
            unsafe { ffi::luaL_unref(lua, ffi::LUA_REGISTRYINDEX, function.0) }
        });
    }

    /// Runs a script or function for a client; the result is the reply.
    pub fn run(&mut self, ctx: &mut Ctx<'_>, terms: &mut Terms, job: &Job<'_>) -> CmdResult {
        let mark = ctx.out.mark();
        let deadline = hook::deadline(ctx.state);
        // SAFETY: the caller and the job outlive the protected call, which is all that uses them; `ctx` and
        // `terms` are not touched through their own names until it has returned. The reference to `Shared`
        // is not held across it.
        let status = unsafe {
            let mut caller = Caller {
                ctx: &mut *ctx,
                terms,
            };
            {
                let shared = &mut *self.shared;
                shared.caller = (&raw mut caller).cast::<Caller<'static, 'static>>();
                shared.job = (&raw const *job).cast::<Job<'static>>();
                shared.counted = false;
                shared.failed = false;
                shared.line = -1;
                shared.error.clear();
                shared.source.clear();
                shared.deadline = deadline;
            }
            ffi::lua_pushvalue(self.runner, ENTRY);
            let status = ffi::lua_pcall(self.runner, 0, 0, HANDLER);
            ffi::lua_settop(self.runner, ENTRY);
            let shared = &mut *self.shared;
            shared.caller = ptr::null_mut();
            shared.job = ptr::null();
            status
        };
        self.restore();
        // SAFETY: nothing runs, so nobody else looks at it.
        let shared = unsafe { &mut *self.shared };
        if status == ffi::LUA_OK {
            return Ok(if shared.failed {
                Outcome::Failed
            } else {
                Outcome::Done
            });
        }
        if status == ffi::LUA_ERRMEM {
            shared.error.extend_from_slice(b"ERR not enough memory");
        } else if shared.error.is_empty() {
            shared
                .error
                .extend_from_slice(b"ERR error in error handling");
        }
        let text = &mut shared.error;
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(job.name);
        if shared.line >= 0 {
            text.extend_from_slice(b", on ");
            text.extend_from_slice(&shared.source);
            text.extend_from_slice(format!(":{}.", shared.line).as_bytes());
        }
        let (text, counted) = (std::mem::take(text), shared.counted);
        if status == ffi::LUA_ERRMEM {
            self.collect();
        }
        if !counted {
            return Err(CmdError::owned_bytes(text));
        }
        ctx.out.truncate(mark);
        ctx.out.error_bytes(&text);
        Ok(Outcome::Failed)
    }

    /// What a script may have set does not outlast it.
    fn restore(&mut self) {
        // SAFETY: nothing runs; these calls allocate nothing.
        unsafe {
            let shared = &mut *self.shared;
            if shared.collector_touched || shared.urged {
                (shared.collector_touched, shared.urged) = (false, false);
                ffi::lua_gc(self.runner, ffi::LUA_GCSETPAUSE, GC_PAUSE);
                ffi::lua_gc(self.runner, ffi::LUA_GCSETSTEPMUL, GC_STEPMUL);
                ffi::lua_gc(self.runner, ffi::LUA_GCRESTART, 0);
            }
            if shared.hurried {
                shared.hurried = false;
                hook::set(self.runner);
            }
            // A reply or request that was large once is no reason to keep the room for it.
            if shared.words.capacity() > KEPT {
                shared.words = Vec::new();
            }
            if shared.spans.capacity() > KEPT / 8 {
                shared.spans = Vec::new();
            }
            shared.reply.clear();
        }
        // What was eaten up to the limit, and given up since (a caught error), is not to fail the next one.
        let limit = self.memory_limit;
        if limit > 0 && self.bytes() > (limit / 2).max(self.settled + limit / 4) {
            self.collect();
        }
    }

    /// Frees all garbage, however long it takes.
    pub fn collect(&mut self) {
        // SAFETY: nothing runs, and no finalizer is a script's.
        self.unlimited(|lua| unsafe {
            sandbox::forget_arguments(lua);
            ffi::lua_gc(lua, ffi::LUA_GCCOLLECT, 0)
        });
        self.settled = self.bytes();
        if self.is_crowded() {
            // It begins anew at once: to wait until there is much more would be to wait for ever.
            // SAFETY: allocates nothing.
            unsafe { ffi::lua_gc(self.runner, ffi::LUA_GCRESTART, 0) };
        }
    }

    /// One step of the collector; true when a cycle has ended.
    fn collect_some(&mut self) -> bool {
        // SAFETY: as in `collect`.
        self.unlimited(|lua| unsafe { ffi::lua_gc(lua, ffi::LUA_GCSTEP, 1) != 0 })
    }

    /// Does what may need memory outside a protected call: a refusal there would end the process. (The
    /// collector, too, takes some to make tables smaller.)
    fn unlimited<R>(&mut self, work: impl FnOnce(*mut lua_State) -> R) -> R {
        let _ = self.lua.set_memory_limit(0);
        let result = work(self.runner);
        let _ = self.lua.set_memory_limit(self.memory_limit);
        result
    }
}

/// What compiling says when there is no memory for it.
pub const NO_MEMORY: &[u8] = b"not enough memory";

/// Room for a request's words that is kept.
const KEPT: usize = 64 * 1024;

fn broken(error: &mlua::Error) -> CmdError {
    CmdError::owned(format!(
        "ERR The script engine could not be started: {error}"
    ))
}

/// A thread with the error handler and the entry on its stack. May fail, in a protected call.
unsafe fn start_runner(state: *mut lua_State, shared: *mut Shared) -> *mut lua_State {
    // SAFETY: the thread is kept in the registry; what is moved was just pushed.
    unsafe {
        hook::install(state, shared);
        let runner = ffi::lua_newthread(state);
        ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX);
        value::push_closure(state, shared, handler);
        sandbox::push_globals(state, shared);
        value::push_entry(state, shared, enter);
        ffi::lua_xmove(state, runner, 2);
        runner
    }
}

/// Runs the job of the run, and turns its result into the reply.
unsafe extern "C-unwind" fn enter(state: *mut lua_State) -> c_int {
    // SAFETY: the first upvalue of this closure is the interpreter's `Shared`, whose job is set while it
    // runs. Nothing here needs to be dropped.
    unsafe {
        let shared = value::shared(state);
        let job = &*(*shared).job;
        let by_arguments = job.kind == Kind::Function;
        if by_arguments {
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, job.function.0);
            value::push_words(state, job.keys);
            value::push_words(state, job.args);
            ffi::lua_call(state, 2, 1);
        } else {
            value::push_name(state, value::GLOBALS);
            value::push_name(state, value::KEYS);
            value::push_words(state, job.keys);
            ffi::lua_rawset(state, 1);
            value::push_name(state, value::ARGV);
            value::push_words(state, job.args);
            ffi::lua_rawset(state, 1);
            ffi::lua_rawgeti_(state, ffi::LUA_REGISTRYINDEX, job.function.0);
            ffi::lua_call(state, 0, 1);
        }
        value::write_reply(state, shared, 0);
        0
    }
}

/// Notes what an error says and where it arose.
unsafe extern "C-unwind" fn handler(state: *mut lua_State) -> c_int {
    // SAFETY: as in `enter`. The vectors belong to `Shared`, so nothing is lost when Lua jumps out.
    unsafe {
        let shared = value::shared(state);
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        for level in 1..=2 {
            if ffi::lua_getstack(state, level, &mut frame) == 0
                || ffi::lua_getinfo(state, c"Sl".as_ptr(), &mut frame) == 0
            {
                break;
            }
            (*shared).line = frame.currentline;
            if *frame.what.cast::<u8>() != b'C' {
                break;
            }
        }
        if (*shared).line >= 0 && !frame.source.is_null() {
            const SHOWN: usize = 256;
            let source = CStr::from_ptr(frame.source).to_bytes();
            let place = &mut (*shared).source;
            place.clear();
            place.extend_from_slice(&source[..source.len().min(SHOWN)]);
        }
        value::note_error(state, shared);
        1
    }
}
