//! What a library of functions does when it is loaded: it registers them, and little else.
//!
//! The functions of a library see the globals of all; while it is loaded the same table shows, by another
//! `__index`, only what loading may use. A load that takes too long is ended.
use super::value::{bytes_at, push_bytes, push_closure, shared};
use super::{Function, Shared, Vm, api, handler, hook, sandbox};
use crate::base::sys::ticks;
use crate::script::perform::script_flag;
use crate::state::libraries::{BAD_NAME, sound_name};
use mlua::ffi::{self, lua_State};
use std::ffi::{CStr, c_int, c_void};

/// A function that a library has registered.
#[derive(Debug)]
pub struct Registered {
    pub name: Box<str>,
    pub description: Option<Box<[u8]>>,
    pub flags: u32,
    pub function: Function,
}

/// A library that is being loaded. It lives in `Vm::load_library`; `Shared` points at it meanwhile.
pub(super) struct Loading {
    chunk: c_int,
    shared: *mut Shared,
    registered: Vec<Registered>,
    status: c_int,
}

/// Where what a library sees while it is loaded is kept in the registry.
const GLOBALS: &CStr = c"redvault.loading";

/// Instructions between two looks at the time.
const EVERY: c_int = 100_000;

impl Vm {
    /// Runs the chunk of a library until `deadline` (in ticks) at most; the functions that it registered. The
    /// error is as `Vm::run` would begin it.
    pub fn load_library(
        &mut self,
        chunk: &Function,
        deadline: u64,
    ) -> Result<Vec<Registered>, Vec<u8>> {
        let mut loading = Loading {
            chunk: chunk.0,
            shared: self.shared,
            registered: Vec::new(),
            status: ffi::LUA_ERRMEM,
        };
        // SAFETY: `load` gets the pointer to what lives until it has returned; nobody else uses it, nor
        // `Shared`, meanwhile. A protected call leaves the stack as it was, or one message more.
        unsafe {
            let place = &raw mut loading;
            let top = ffi::lua_gettop(self.runner);
            let before = (*self.shared).deadline;
            (*self.shared).deadline = deadline;
            (*self.shared).loading = place;
            (*self.shared).error.clear();
            let status = ffi::lua_cpcall(self.runner, load, place.cast::<c_void>());
            (*self.shared).loading = std::ptr::null_mut();
            (*self.shared).deadline = before;
            hook::set(self.runner);
            ffi::lua_settop(self.runner, top);
            if status != ffi::LUA_OK {
                (*place).status = status;
            }
        }
        self.restore();
        if loading.status == ffi::LUA_OK {
            return Ok(loading.registered);
        }
        for registered in loading.registered {
            self.release(registered.function);
        }
        if loading.status == ffi::LUA_ERRMEM {
            self.collect();
            return Err(b"ERR not enough memory".to_vec());
        }
        // SAFETY: nothing runs.
        let text = unsafe { std::mem::take(&mut (*self.shared).error) };
        if text.is_empty() {
            return Err(b"ERR error in error handling".to_vec());
        }
        Err(text)
    }
}

/// Runs the chunk in the globals of loading.
unsafe extern "C-unwind" fn load(lua: *mut lua_State) -> c_int {
    // SAFETY: called with the library that is loaded. Everything that may fail comes before the globals are
    // exchanged; a field that is there is set without memory.
    unsafe {
        let loading = ffi::lua_touserdata(lua, 1).cast::<Loading>();
        let shared = (*loading).shared;
        ffi::luaL_checkstack_(lua, 20, c"load".as_ptr());
        // 2: the metatable of globals, 3: the name, 4: what it has now, 5: what it gets.
        ffi::lua_pushvalue(lua, ffi::LUA_GLOBALSINDEX);
        if ffi::lua_getmetatable(lua, -1) == 0 {
            return 0;
        }
        ffi::lua_replace(lua, 2);
        push_bytes(lua, b"__index");
        ffi::lua_pushvalue(lua, 3);
        ffi::lua_rawget_(lua, 2);
        push_globals(lua, shared);
        push_closure(lua, shared, handler);
        ffi::lua_pushvalue(lua, 3);
        ffi::lua_pushvalue(lua, 4);
        ffi::lua_pushvalue(lua, 3);
        ffi::lua_pushvalue(lua, 5);
        ffi::lua_rawset(lua, 2);
        ffi::lua_rawgeti_(lua, ffi::LUA_REGISTRYINDEX, (*loading).chunk);
        ffi::lua_sethook(lua, Some(look), ffi::LUA_MASKCOUNT, EVERY);
        (*loading).status = ffi::lua_pcall(lua, 0, 0, 6);
        ffi::lua_settop(lua, 8);
        ffi::lua_rawset(lua, 2);
        0
    }
}

/// Pushes what a library sees while it is loaded.
unsafe fn push_globals(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_getfield_(lua, ffi::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
        if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
            return;
        }
        ffi::lua_settop(lua, -2);
        ffi::lua_createtable(lua, 0, 1);
        sandbox::refuse_unknown(lua, shared);
        api::push_loading(lua, shared);
        push_closure(lua, shared, register_function);
        ffi::lua_setfield(lua, -2, c"register_function".as_ptr());
        sandbox::refuse_unknown(lua, shared);
        sandbox::protect(lua, shared);
        ffi::lua_setfield(lua, -2, c"redis".as_ptr());
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setfield(lua, ffi::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
    }
}

/// Ends a load that takes too long.
unsafe extern "C-unwind" fn look(lua: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: a hook has room on the stack, and owns nothing when Lua jumps out.
    unsafe {
        let shared = hook::shared(lua);
        if shared.is_null() || ticks() < (*shared).deadline {
            return;
        }
        // Whatever catches the error is ended, too.
        ffi::lua_sethook(lua, Some(look), ffi::LUA_MASKCOUNT | ffi::LUA_MASKLINE, 1);
        push_bytes(lua, b"FUNCTION LOAD timeout");
        ffi::lua_error(lua);
    }
}

const WRONG_COUNT: &str = "wrong number of arguments to redis.register_function";

/// The arguments of a registration, checked: places on the stack.
struct Arguments {
    name: c_int,
    callback: c_int,
    /// 0: none.
    description: c_int,
    flags: u32,
}

unsafe extern "C-unwind" fn register_function(lua: *mut lua_State) -> c_int {
    // SAFETY: as every function of this folder; what is owned is made when nothing can fail any more.
    unsafe {
        let refused = match register(lua) {
            Ok(()) => return 0,
            Err(text) => text,
        };
        push_bytes(lua, refused.as_bytes());
        ffi::lua_error(lua)
    }
}

unsafe fn register(lua: *mut lua_State) -> Result<(), &'static str> {
    // SAFETY: as in `register_function`. The library lives while `Shared` points at it.
    unsafe {
        let loading = (*shared(lua)).loading;
        if loading.is_null() {
            return Err("redis.register_function can only be called on FUNCTION LOAD command");
        }
        ffi::luaL_checkstack_(lua, 20, c"register".as_ptr());
        let found = match ffi::lua_gettop(lua) {
            1 => named(lua)?,
            2 => positional(lua)?,
            _ => return Err(WRONG_COUNT),
        };
        // A number among the arguments becomes a string here, where it stays.
        let name = sound_name(text_at(lua, found.name)).ok_or(BAD_NAME)?;
        let taken = |known: &Registered| known.name.eq_ignore_ascii_case(name);
        if (*loading).registered.iter().any(taken) {
            return Err("Function already exists in the library");
        }
        ffi::lua_pushvalue(lua, found.callback);
        let function = Function(ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX));
        let description = match found.description {
            0 => None,
            at => Some(text_at(lua, at).into()),
        };
        (*loading).registered.push(Registered {
            name: name.into(),
            description,
            flags: found.flags,
            function,
        });
        Ok(())
    }
}

unsafe fn is_text(lua: *mut lua_State, index: c_int) -> bool {
    // SAFETY: only looks.
    let kind = unsafe { ffi::lua_type(lua, index) };
    kind == ffi::LUA_TSTRING || kind == ffi::LUA_TNUMBER
}

unsafe fn is_function(lua: *mut lua_State, index: c_int) -> bool {
    // SAFETY: only looks.
    unsafe { ffi::lua_type(lua, index) == ffi::LUA_TFUNCTION }
}

/// The bytes of a string, or of a number that becomes one.
unsafe fn text_at<'a>(lua: *mut lua_State, index: c_int) -> &'a [u8] {
    // SAFETY: the caller has seen that it is one, and leaves it on the stack.
    unsafe { bytes_at(lua, index) }
}

unsafe fn positional(lua: *mut lua_State) -> Result<Arguments, &'static str> {
    // SAFETY: only looks.
    unsafe {
        if !is_text(lua, 1) {
            return Err("first argument to redis.register_function must be a string");
        }
        if !is_function(lua, 2) {
            return Err("second argument to redis.register_function must be a function");
        }
        Ok(Arguments {
            name: 1,
            callback: 2,
            description: 0,
            flags: 0,
        })
    }
}

/// The arguments as fields of a table.
unsafe fn named(lua: *mut lua_State) -> Result<Arguments, &'static str> {
    // SAFETY: balanced, but for what is found, which goes to the places 2 to 4.
    unsafe {
        if ffi::lua_type(lua, 1) != ffi::LUA_TTABLE {
            return Err(
                "calling redis.register_function with a single argument is only applicable to Lua \
                 table (representing named arguments).",
            );
        }
        ffi::lua_settop(lua, 4);
        let mut found = Arguments {
            name: 0,
            callback: 0,
            description: 0,
            flags: 0,
        };
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, 1) != 0 {
            const KEY: c_int = 5;
            const VALUE: c_int = 6;
            if !is_text(lua, KEY) {
                return Err("named argument key given to redis.register_function is not a string");
            }
            // Converting a number would confuse the walk; no number is a name.
            let key: &[u8] = match ffi::lua_type(lua, KEY) {
                ffi::LUA_TSTRING => bytes_at(lua, KEY),
                _ => b"",
            };
            if key.eq_ignore_ascii_case(b"function_name") {
                if !is_text(lua, VALUE) {
                    return Err(
                        "function_name argument given to redis.register_function must be a string",
                    );
                }
                ffi::lua_replace(lua, 2);
                found.name = 2;
            } else if key.eq_ignore_ascii_case(b"description") {
                if !is_text(lua, VALUE) {
                    return Err(
                        "description argument given to redis.register_function must be a string",
                    );
                }
                ffi::lua_replace(lua, 3);
                found.description = 3;
            } else if key.eq_ignore_ascii_case(b"callback") {
                if !is_function(lua, VALUE) {
                    return Err(
                        "callback argument given to redis.register_function must be a function",
                    );
                }
                ffi::lua_replace(lua, 4);
                found.callback = 4;
            } else if key.eq_ignore_ascii_case(b"flags") {
                found.flags = flags(lua, VALUE)?;
                ffi::lua_settop(lua, KEY);
            } else {
                return Err("unknown argument given to redis.register_function");
            }
        }
        if found.name == 0 {
            return Err("redis.register_function must get a function name argument");
        }
        if found.callback == 0 {
            return Err("redis.register_function must get a callback argument");
        }
        Ok(found)
    }
}

/// An array of the names of flags.
unsafe fn flags(lua: *mut lua_State, index: c_int) -> Result<u32, &'static str> {
    // SAFETY: balanced.
    unsafe {
        if ffi::lua_type(lua, index) != ffi::LUA_TTABLE {
            return Err(
                "flags argument to redis.register_function must be a table representing function \
                 flags",
            );
        }
        let mut flags = 0;
        for at in 1.. {
            ffi::lua_rawgeti_(lua, index, at);
            let name: &[u8] = match ffi::lua_type(lua, -1) {
                ffi::LUA_TNIL => break,
                ffi::LUA_TSTRING => bytes_at(lua, -1),
                _ => b"",
            };
            let known = |(_, known): &&(u32, &str)| name.eq_ignore_ascii_case(known.as_bytes());
            flags |= script_flag::NAMES
                .iter()
                .find(known)
                .ok_or("unknown flag given")?
                .0;
            ffi::lua_settop(lua, -2);
        }
        ffi::lua_settop(lua, -2);
        Ok(flags)
    }
}
