//! Coroutines: resumed under the eyes of the clock.
//!
//! The hook of `hook` counts the instructions of each thread for itself, and a new one begins at zero: scripts of
//! many short threads would never be looked at. So whoever goes on with one looks at the clock first.
use super::hook;
use super::value::shared;
use mlua::ffi::{self, lua_State};
use std::ffi::{CStr, c_int};

unsafe extern "C-unwind" {
    /// Lua's own, for this: calls of C in `to` count on from those in `from`, which bounds how deeply coroutines
    /// are nested.
    fn lua_setlevel(from: *mut lua_State, to: *mut lua_State);
}

/// What a coroutine that cannot be resumed is.
unsafe fn refused(lua: *mut lua_State, thread: *mut lua_State) -> Option<&'static CStr> {
    // SAFETY: only looks.
    unsafe {
        if lua == thread {
            return Some(c"running");
        }
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        match ffi::lua_status(thread) {
            ffi::LUA_YIELD => None,
            ffi::LUA_OK if ffi::lua_getstack(thread, 0, &mut frame) > 0 => Some(c"normal"),
            ffi::LUA_OK if ffi::lua_gettop(thread) > 0 => None,
            _ => Some(c"dead"),
        }
    }
}

/// Resumes a thread with the values on top. How many it gave, which lie on top then; or the error does.
unsafe fn go_on(lua: *mut lua_State, thread: *mut lua_State, given: c_int) -> Result<c_int, ()> {
    // SAFETY: a function of Lua, which owns nothing. Room is asked for before values move.
    unsafe {
        let shared = shared(lua);
        if !(*shared).caller.is_null() {
            hook::check(lua, shared);
        }
        if ffi::lua_checkstack(thread, given) == 0 {
            ffi::luaL_error(lua, c"too many arguments to resume".as_ptr());
        }
        if let Some(state) = refused(lua, thread) {
            ffi::lua_pushfstring(lua, c"cannot resume %s coroutine".as_ptr(), state.as_ptr());
            return Err(());
        }
        ffi::lua_xmove(lua, thread, given);
        lua_setlevel(lua, thread);
        let status = ffi::lua_resume_(thread, given);
        if status == ffi::LUA_OK || status == ffi::LUA_YIELD {
            let results = ffi::lua_gettop(thread);
            if ffi::lua_checkstack(lua, results + 1) == 0 {
                ffi::luaL_error(lua, c"too many results to resume".as_ptr());
            }
            ffi::lua_xmove(thread, lua, results);
            return Ok(results);
        }
        if (*shared).hurried {
            // The script is ended: this thread is, too.
            hook::check(lua, shared);
        }
        ffi::lua_xmove(thread, lua, 1);
        Err(())
    }
}

pub(super) unsafe extern "C-unwind" fn resume(lua: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua: arguments on the stack.
    unsafe {
        let thread = ffi::lua_tothread(lua, 1);
        if thread.is_null() {
            return ffi::luaL_argerror(lua, 1, c"coroutine expected".as_ptr());
        }
        let went = go_on(lua, thread, ffi::lua_gettop(lua) - 1);
        let results = went.unwrap_or(1);
        ffi::lua_pushboolean(lua, c_int::from(went.is_ok()));
        ffi::lua_insert(lua, -1 - results);
        results + 1
    }
}

/// A function that resumes a new thread: in its second upvalue the thread, in the first what all share.
pub(super) unsafe extern "C-unwind" fn wrap(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `resume`; balanced.
    unsafe {
        if ffi::lua_type(lua, 1) != ffi::LUA_TFUNCTION || ffi::lua_iscfunction(lua, 1) != 0 {
            return ffi::luaL_argerror(lua, 1, c"Lua function expected".as_ptr());
        }
        ffi::lua_pushlightuserdata(lua, shared(lua).cast());
        let thread = ffi::lua_newthread(lua);
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_xmove(lua, thread, 1);
        ffi::lua_pushcclosure(lua, wrapped, 2);
        1
    }
}

unsafe extern "C-unwind" fn wrapped(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `resume`; the closure was made by `wrap`.
    unsafe {
        let thread = ffi::lua_tothread(lua, ffi::lua_upvalueindex(2));
        let Ok(results) = go_on(lua, thread, ffi::lua_gettop(lua)) else {
            if ffi::lua_type(lua, -1) == ffi::LUA_TSTRING {
                // Where it was called is told, too.
                ffi::luaL_where(lua, 1);
                ffi::lua_insert(lua, -2);
                ffi::lua_concat(lua, 2);
            }
            ffi::lua_error(lua)
        };
        results
    }
}
