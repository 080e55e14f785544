//! What happens every so many instructions of a script: it may be busy by now, or have been told to end.
use super::value;
use super::{GC_PAUSE, GC_PAUSE_URGED, GC_STEPMUL, GC_STEPMUL_URGED, Shared};
use crate::base::sys::ticks;
use crate::resp::argv::Argv;
use crate::state::State;
use crate::state::gate;
use crate::state::scripts::{End, Kind, Running};
use mlua::ffi::{self, lua_State};
use std::ffi::{CStr, c_int, c_void};

/// Instructions between two looks: some tenths of a millisecond.
const EVERY: c_int = 100_000;

/// Its address is the registry's key for the pointer to `Shared`.
static KEY: u8 = 0;

fn key() -> *mut c_void {
    (&raw const KEY).cast_mut().cast::<c_void>()
}

/// From when on a script that begins now is busy, in ticks.
pub(super) fn deadline(state: &State) -> u64 {
    match state.config.busy_reply_threshold {
        0 => u64::MAX,
        ms => {
            let us = ms.saturating_mul(1000).min(1 << 50);
            state.stats.tick + state.stats.us_to_ticks(us)
        }
    }
}

/// Sets the hook on this thread and on all that are made from it. May fail, in a protected call.
pub(super) unsafe fn install(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_pushlightuserdata(lua, key());
        ffi::lua_pushlightuserdata(lua, shared.cast::<c_void>());
        ffi::lua_rawset(lua, ffi::LUA_REGISTRYINDEX);
        set(lua);
    }
}

/// The hook as it is when nothing hurries.
pub(super) unsafe fn set(lua: *mut lua_State) {
    // SAFETY: allocates nothing.
    unsafe { ffi::lua_sethook(lua, Some(hook), ffi::LUA_MASKCOUNT, EVERY) };
}

/// What the interpreter's functions share; null before it is whole.
pub(super) unsafe fn shared(lua: *mut lua_State) -> *mut Shared {
    // SAFETY: one value, which a hook has room for.
    unsafe {
        ffi::lua_pushlightuserdata(lua, key());
        ffi::lua_rawget_(lua, ffi::LUA_REGISTRYINDEX);
        let shared = ffi::lua_touserdata(lua, -1).cast::<Shared>();
        ffi::lua_settop(lua, -2);
        shared
    }
}

unsafe extern "C-unwind" fn hook(lua: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: a hook has room on the stack; the registry holds the pointer since the interpreter was made.
    unsafe {
        let shared = shared(lua);
        if !shared.is_null() && !(*shared).caller.is_null() {
            mind_memory(lua, shared);
            check(lua, shared);
        }
        if ffi::lua_gethookmask(lua) != ffi::LUA_MASKCOUNT {
            // A thread that outlived a script which was told to end.
            set(lua);
        }
    }
}

/// Looks at the clock: what is due is done, and a script that is to end ends here. The caller is a function of
/// Lua or a hook, and owns nothing.
pub(super) unsafe fn check(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: the caller of the run is set; what is borrowed of `Shared` has ended when Lua may jump out.
    unsafe {
        if ticks() >= (*shared).deadline
            && let Some(text) = look(&mut *shared)
        {
            // Until the outermost call has ended: what catches the error is ended, too.
            (*shared).hurried = true;
            let every = ffi::LUA_MASKCOUNT | ffi::LUA_MASKLINE;
            ffi::lua_sethook(lua, Some(hook), every, 1);
            value::push_bytes(lua, text.to_bytes());
            ffi::lua_error(lua);
        }
    }
}

/// Beyond half of the memory that there is the collector takes no rest: Lua knows of no limit, and would wait
/// for garbage that there is no room for. Asked every so often, and behind what makes large strings.
pub(super) unsafe fn mind_memory(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: the collector may work wherever a hook may run: those of other languages run Lua.
    unsafe {
        let limit = (*shared).memory_limit;
        let used = ffi::lua_gc(lua, ffi::LUA_GCCOUNT, 0) as usize * 1024;
        let urged = limit > 0 && used > limit / 2;
        if urged == (*shared).urged || (*shared).collector_touched {
            return;
        }
        (*shared).urged = urged;
        let (pause, stepmul) = match urged {
            true => (GC_PAUSE_URGED, GC_STEPMUL_URGED),
            false => (GC_PAUSE, GC_STEPMUL),
        };
        ffi::lua_gc(lua, ffi::LUA_GCSETPAUSE, pause);
        ffi::lua_gc(lua, ffi::LUA_GCSETSTEPMUL, stepmul);
        if urged {
            ffi::lua_gc(lua, ffi::LUA_GCSTEP, 0);
        }
    }
}

/// The script is busy: lets the server serve others. A text when the script is to end.
fn look(shared: &mut Shared) -> Option<&'static CStr> {
    // SAFETY: not null, so a script runs, and it waits for this; its context is used by nobody else.
    let state = unsafe { &mut *(*shared.caller).ctx.state };
    if state.scripts.running.as_ref().is_some_and(|r| !r.busy) {
        // SAFETY: set together with the caller.
        let (job, argv) = unsafe { (&*shared.job, (*shared.caller).ctx.argv) };
        begin(state, job, argv);
    }
    if end(state).is_none()
        && let Some(mut host) = state.scripts.host.take()
    {
        host.serve(state);
        state.scripts.host = Some(host);
    }
    match end(state)? {
        End::Killed => Some(c"Script killed by user with SCRIPT KILL..."),
        End::Shutdown => Some(c"Script ended by SHUTDOWN."),
    }
}

fn end(state: &State) -> Option<End> {
    state
        .scripts
        .running
        .as_ref()
        .and_then(|running| running.end)
}

fn begin(state: &mut State, job: &super::Job<'_>, argv: Argv<'_>) {
    let us = |r: &Running| state.stats.ticks_to_us(ticks().saturating_sub(r.started));
    let ran_ms = state.scripts.running.as_ref().map_or(0, us) / 1000;
    let kill = match job.kind {
        Kind::Script => "SCRIPT KILL",
        Kind::Function => "FUNCTION KILL",
    };
    log::warn!(
        "Slow script detected: still in execution after {ran_ms} milliseconds. You can try killing the \
         script using the {kill} command. Script name is: {}.",
        String::from_utf8_lossy(job.name)
    );
    state.gate |= gate::BUSY_SCRIPT;
    if let Some(running) = &mut state.scripts.running {
        running.busy = true;
        running.name = job.name.to_vec();
        running.request = argv.iter().collect();
    }
}
