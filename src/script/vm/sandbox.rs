//! What scripts find: Lua's own functions that do no harm, and tables that nobody can change.
//!
//! Scripts share one interpreter, so nothing that outlasts one may be written by it. Lua 5.1 has no
//! read-only tables: what scripts see of each library is an empty table, whose metatable fetches from the
//! real one and refuses to set. The functions that look past metatables (`rawset`, `table.insert`, `next`
//! and their like) are replaced by ones that know such tables.
//!
//! Some of Lua's functions can break the server by design (bytecode) or by mistakes that this version has:
//! `load` must not collect garbage while it compiles, `unpack` overflows, `string.rep` runs for as long as it
//! is told. These are written anew here. What no script needs is left out: `newproxy` makes finalizers, which
//! would run in anybody's script; `getfenv` and `setfenv` reach into it.
use super::value::{self, bytes_at, push_bytes, push_closure, shared};
use super::{Shared, api, coroutine, hook};
use crate::state::scripts::Kind;
use mlua::ffi::{self, lua_State};
use std::ffi::{CStr, c_char, c_int};
use std::ptr;

/// Global functions that are taken over as they are.
const KEPT: &[&CStr] = &[
    c"_VERSION",
    c"assert",
    c"error",
    c"gcinfo",
    c"getmetatable",
    c"ipairs",
    c"rawequal",
    c"select",
    c"tonumber",
    c"tostring",
    c"type",
];

/// Global functions that are written anew.
const OWN: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"collectgarbage", collectgarbage),
    (c"load", load),
    (c"loadstring", loadstring),
    (c"next", next),
    (c"pairs", pairs),
    (c"pcall", pcall),
    (c"rawget", rawget),
    (c"rawset", rawset),
    (c"setmetatable", setmetatable),
    (c"unpack", unpack),
    (c"xpcall", xpcall),
];

/// Functions of Lua's libraries that are written anew.
const OF_LIBRARIES: &[(&CStr, &CStr, ffi::lua_CFunction)] = &[
    (c"coroutine", c"resume", coroutine::resume),
    (c"coroutine", c"wrap", coroutine::wrap),
    (c"table", c"insert", insert),
    (c"table", c"foreach", foreach),
    (c"string", c"rep", rep),
    (c"math", c"random", random),
    (c"math", c"randomseed", randomseed),
];

/// Libraries: Lua's own, and those that Redis adds.
const LIBRARIES: &[&CStr] = &[
    c"bit",
    c"cjson",
    c"cmsgpack",
    c"coroutine",
    c"math",
    c"string",
    c"struct",
    c"table",
];

/// Where the real globals are kept in the registry.
const GLOBALS: &CStr = c"redvault.globals";

/// Builds the sandbox out of Lua's globals and puts it in their place. May fail, in a protected call.
pub(super) unsafe fn build(lua: *mut lua_State, shared: *mut Shared, kind: Kind) {
    // SAFETY: every block leaves the stack as it was; what is indexed is there.
    unsafe {
        ffi::luaL_checkstack_(lua, 40, c"sandbox".as_ptr());
        let globals = ffi::lua_gettop(lua) + 1;
        ffi::lua_createtable(lua, 0, 48);
        for name in KEPT {
            ffi::lua_getfield_(lua, ffi::LUA_GLOBALSINDEX, name.as_ptr());
            ffi::lua_setfield(lua, globals, name.as_ptr());
        }
        for (name, function) in OWN {
            push_closure(lua, shared, *function);
            ffi::lua_setfield(lua, globals, name.as_ptr());
        }
        for (library, name, function) in OF_LIBRARIES {
            ffi::lua_getfield_(lua, ffi::LUA_GLOBALSINDEX, library.as_ptr());
            push_closure(lua, shared, *function);
            ffi::lua_setfield(lua, -2, name.as_ptr());
            ffi::lua_settop(lua, globals);
        }
        for name in LIBRARIES {
            ffi::lua_getfield_(lua, ffi::LUA_GLOBALSINDEX, name.as_ptr());
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
                protect(lua, shared);
                ffi::lua_setfield(lua, globals, name.as_ptr());
            }
            ffi::lua_settop(lua, globals);
        }
        // Of `os` only what tells nothing about the machine.
        ffi::lua_getfield_(lua, ffi::LUA_GLOBALSINDEX, c"os".as_ptr());
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_getfield_(lua, -2, c"clock".as_ptr());
        ffi::lua_setfield(lua, -2, c"clock".as_ptr());
        protect(lua, shared);
        ffi::lua_setfield(lua, globals, c"os".as_ptr());
        ffi::lua_settop(lua, globals);

        api::push_library(lua, shared, kind);
        protect(lua, shared);
        ffi::lua_setfield(lua, globals, c"redis".as_ptr());
        if kind == Kind::Script {
            for name in [c"KEYS", c"ARGV"] {
                ffi::lua_createtable(lua, 0, 0);
                ffi::lua_setfield(lua, globals, name.as_ptr());
            }
        }
        strings(lua, shared);
        replace_globals(lua, shared, globals);
        ffi::lua_settop(lua, globals - 1);
    }
}

/// Replaces the table on top by one that shows it and cannot be changed.
pub(super) unsafe fn protect(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes; the table is kept by its metatable, and the empty one by whoever shows it, so
    // its address stays its own.
    unsafe {
        ffi::lua_createtable(lua, 0, 0);
        ffi::lua_createtable(lua, 0, 3);
        ffi::lua_pushvalue(lua, -3);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        push_closure(lua, shared, refuse);
        ffi::lua_setfield(lua, -2, c"__newindex".as_ptr());
        ffi::lua_pushboolean(lua, 0);
        ffi::lua_setfield(lua, -2, c"__metatable".as_ptr());
        ffi::lua_setmetatable(lua, -2);
        let address = ffi::lua_topointer(lua, -1);
        (*shared).protected.push(address);
        // Kept for ever, so that no other table gets the address.
        ffi::lua_pushvalue(lua, -1);
        ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        ffi::lua_remove(lua, -2);
    }
}

/// The metatable of strings, which every script can ask for.
unsafe fn strings(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        push_bytes(lua, b"");
        ffi::lua_getmetatable(lua, -1);
        ffi::lua_createtable(lua, 0, 1);
        ffi::lua_getfield_(lua, ffi::LUA_GLOBALSINDEX, c"string".as_ptr());
        protect(lua, shared);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
        protect(lua, shared);
        ffi::lua_setfield(lua, -2, c"__metatable".as_ptr());
        ffi::lua_settop(lua, -3);
    }
}

/// Pushes a metatable under which what is asked for and is not there is an error.
unsafe fn push_refusal(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_createtable(lua, 0, 1);
        push_closure(lua, shared, nonexistent);
        ffi::lua_setfield(lua, -2, c"__index".as_ptr());
    }
}

/// Gives the table on top such a metatable.
pub(super) unsafe fn refuse_unknown(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        push_refusal(lua, shared);
        ffi::lua_setmetatable(lua, -2);
    }
}

/// Puts a table that shows `globals` in the place of Lua's own.
unsafe fn replace_globals(lua: *mut lua_State, shared: *mut Shared, globals: c_int) {
    // SAFETY: balanced pushes.
    unsafe {
        push_refusal(lua, shared);
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setmetatable(lua, globals);
        protect(lua, shared);

        ffi::lua_pushvalue(lua, globals);
        protect(lua, shared);
        ffi::lua_getmetatable(lua, -1);
        ffi::lua_pushvalue(lua, -3);
        ffi::lua_setfield(lua, -2, c"__metatable".as_ptr());
        ffi::lua_settop(lua, -2);
        ffi::lua_pushvalue(lua, -1);
        ffi::lua_setfield(lua, globals, c"_G".as_ptr());
        ffi::lua_replace(lua, ffi::LUA_GLOBALSINDEX);

        ffi::lua_pushvalue(lua, globals);
        ffi::lua_setfield(lua, ffi::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
        ffi::lua_settop(lua, globals);
    }
}

/// Pushes the real table of globals.
pub(super) unsafe fn push_globals(lua: *mut lua_State, _: *mut Shared) {
    // SAFETY: put there when the sandbox was built.
    unsafe { ffi::lua_getfield_(lua, ffi::LUA_REGISTRYINDEX, GLOBALS.as_ptr()) }
}

/// What the last script was given, and may have filled, is no use to the next one. Where nothing runs, and
/// memory is not refused.
pub(super) unsafe fn forget_arguments(lua: *mut lua_State) {
    // SAFETY: balanced; a raw field that is there is set without memory.
    unsafe {
        let top = ffi::lua_gettop(lua);
        ffi::lua_getfield_(lua, ffi::LUA_REGISTRYINDEX, GLOBALS.as_ptr());
        for name in [&b"KEYS"[..], b"ARGV"] {
            push_bytes(lua, name);
            ffi::lua_rawget_(lua, top + 1);
            if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
                push_bytes(lua, name);
                ffi::lua_pushnil(lua);
                ffi::lua_rawset(lua, top + 1);
            }
            ffi::lua_settop(lua, top + 1);
        }
        ffi::lua_settop(lua, top);
    }
}

/// Is the value a table that nobody may change?
unsafe fn is_protected(lua: *mut lua_State, index: c_int) -> bool {
    // SAFETY: the running function is one of ours. Nearly no table has a metatable.
    unsafe {
        if ffi::lua_getmetatable(lua, index) == 0 {
            return false;
        }
        ffi::lua_settop(lua, -2);
        let address = ffi::lua_topointer(lua, index);
        (*shared(lua)).protected.contains(&address)
    }
}

/// Replaces a protected table among the arguments by what it shows: only for those who do not hand it on.
unsafe fn see_through(lua: *mut lua_State, index: c_int) {
    // SAFETY: a protected table has a metatable with this field.
    unsafe {
        if is_protected(lua, index) {
            ffi::lua_getmetatable(lua, index);
            push_bytes(lua, b"__index");
            ffi::lua_rawget_(lua, -2);
            ffi::lua_replace(lua, index);
            ffi::lua_settop(lua, -2);
        }
    }
}

const READ_ONLY: &CStr = c"Attempt to modify a readonly table";

/// Raises an error without a place, as Lua's own interface does.
unsafe fn raise(lua: *mut lua_State, text: &CStr) -> c_int {
    // SAFETY: does not return.
    unsafe {
        push_bytes(lua, text.to_bytes());
        ffi::lua_error(lua)
    }
}

unsafe extern "C-unwind" fn refuse(lua: *mut lua_State) -> c_int {
    // SAFETY: does not return.
    unsafe { ffi::luaL_error(lua, c"%s".as_ptr(), READ_ONLY.as_ptr()) }
}

unsafe extern "C-unwind" fn nonexistent(lua: *mut lua_State) -> c_int {
    // SAFETY: does not return. The name is a string where a global is named; others may look with any key.
    unsafe {
        let name = match ffi::lua_type(lua, 2) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => ffi::lua_tolstring(lua, 2, ptr::null_mut()),
            _ => c"?".as_ptr(),
        };
        let format = c"Script attempted to access nonexistent global variable '%s'";
        ffi::luaL_error(lua, format.as_ptr(), name)
    }
}

unsafe extern "C-unwind" fn next(lua: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua: arguments on the stack.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::lua_settop(lua, 2);
        see_through(lua, 1);
        if ffi::lua_next(lua, 1) != 0 {
            return 2;
        }
        ffi::lua_pushnil(lua);
        1
    }
}

unsafe extern "C-unwind" fn pairs(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`. The first upvalues are shared's; `next` is looked up among the real globals,
    // which nobody changes.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        push_globals(lua, shared(lua));
        ffi::lua_getfield_(lua, -1, c"next".as_ptr());
        ffi::lua_pushvalue(lua, 1);
        ffi::lua_pushnil(lua);
        3
    }
}

unsafe extern "C-unwind" fn foreach(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::luaL_checktype(lua, 2, ffi::LUA_TFUNCTION);
        ffi::lua_settop(lua, 2);
        see_through(lua, 1);
        ffi::lua_pushnil(lua);
        while ffi::lua_next(lua, 1) != 0 {
            ffi::lua_pushvalue(lua, 2);
            ffi::lua_pushvalue(lua, -3);
            ffi::lua_pushvalue(lua, -3);
            ffi::lua_call(lua, 2, 1);
            if ffi::lua_type(lua, -1) != ffi::LUA_TNIL {
                return 1;
            }
            ffi::lua_settop(lua, -3);
        }
        0
    }
}

unsafe extern "C-unwind" fn rawget(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(lua, 2);
        ffi::lua_settop(lua, 2);
        see_through(lua, 1);
        ffi::lua_rawget_(lua, 1);
        1
    }
}

unsafe extern "C-unwind" fn rawset(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        ffi::luaL_checkany(lua, 2);
        ffi::luaL_checkany(lua, 3);
        ffi::lua_settop(lua, 3);
        if is_protected(lua, 1) {
            return raise(lua, READ_ONLY);
        }
        ffi::lua_rawset(lua, 1);
        1
    }
}

unsafe extern "C-unwind" fn setmetatable(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        let kind = ffi::lua_type(lua, 2);
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        if kind != ffi::LUA_TNIL && kind != ffi::LUA_TTABLE {
            return ffi::luaL_argerror(lua, 2, c"nil or table expected".as_ptr());
        }
        if is_protected(lua, 1) {
            return raise(lua, READ_ONLY);
        }
        if ffi::luaL_getmetafield_(lua, 1, c"__metatable".as_ptr()) != 0 {
            return ffi::luaL_error(lua, c"cannot change a protected metatable".as_ptr());
        }
        ffi::lua_settop(lua, 2);
        ffi::lua_setmetatable(lua, 1);
        1
    }
}

/// Positions far in front of a list would be walked through one by one.
const INSERT_MIN: i64 = -1_000_000;

unsafe extern "C-unwind" fn insert(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        let mut end = ffi::lua_objlen(lua, 1).min(c_int::MAX as usize - 1) as c_int + 1;
        let at = match ffi::lua_gettop(lua) {
            2 => end,
            3 => {
                let at = ffi::luaL_checkinteger(lua, 2);
                if at < INSERT_MIN || at > i64::from(c_int::MAX) {
                    return ffi::luaL_argerror(lua, 2, c"position out of bounds".as_ptr());
                }
                at as c_int
            }
            _ => {
                let text = c"wrong number of arguments to 'insert'";
                return ffi::luaL_error(lua, text.as_ptr());
            }
        };
        if is_protected(lua, 1) {
            return raise(lua, READ_ONLY);
        }
        end = end.max(at);
        while end > at {
            ffi::lua_rawgeti_(lua, 1, end - 1);
            ffi::lua_rawseti_(lua, 1, end);
            end -= 1;
        }
        ffi::lua_rawseti_(lua, 1, at);
        0
    }
}

unsafe extern "C-unwind" fn unpack(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`; there is room for what is pushed.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TTABLE);
        let first = ffi::luaL_optinteger(lua, 2, 1);
        let last = match ffi::lua_type(lua, 3) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => ffi::lua_objlen(lua, 1) as i64,
            _ => ffi::luaL_checkinteger(lua, 3),
        };
        if first > last {
            return 0;
        }
        let wanted = last.saturating_sub(first).saturating_add(1);
        let fits = (i64::from(c_int::MIN)..i64::from(c_int::MAX)).contains(&first)
            && last < i64::from(c_int::MAX)
            && wanted < 1_000_000
            && ffi::lua_checkstack(lua, wanted as c_int) != 0;
        if !fits {
            return ffi::luaL_error(lua, c"too many results to unpack".as_ptr());
        }
        for at in first..=last {
            ffi::lua_rawgeti_(lua, 1, at as c_int);
        }
        wanted as c_int
    }
}

/// Results up to here are put together on the stack: they leave no garbage.
const SMALL_REP: usize = 2048;

unsafe extern "C-unwind" fn rep(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`; the buffer is Lua's own and large enough.
    unsafe {
        let mut len = 0;
        let text = ffi::luaL_checklstring(lua, 1, &mut len).cast::<u8>();
        let times = ffi::luaL_checkinteger(lua, 2).max(0) as usize;
        let total = match len.checked_mul(times) {
            Some(0) => {
                push_bytes(lua, b"");
                return 1;
            }
            Some(total) if total <= c_int::MAX as usize => total,
            _ => return ffi::luaL_error(lua, c"resulting string too large".as_ptr()),
        };
        let mut small = [0; SMALL_REP];
        let buffer = match total {
            ..=SMALL_REP => small.as_mut_ptr(),
            _ => ffi::lua_newuserdata(lua, total).cast::<u8>(),
        };
        ptr::copy_nonoverlapping(text, buffer, len);
        let mut filled = len;
        while filled < total {
            let more = filled.min(total - filled);
            ptr::copy_nonoverlapping(buffer, buffer.add(filled), more);
            filled += more;
        }
        ffi::lua_pushlstring_(lua, buffer.cast::<c_char>(), total);
        if total > SMALL_REP {
            hook::mind_memory(lua, shared(lua));
        }
        1
    }
}

/// An error that is a table with a text is caught as its text: so scripts know errors of `redis.call`.
unsafe extern "C-unwind" fn pcall(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checkany(lua, 1);
        let status = ffi::lua_pcall(lua, ffi::lua_gettop(lua) - 1, ffi::LUA_MULTRET, 0);
        if status == ffi::LUA_OK {
            ffi::lua_pushboolean(lua, 1);
            ffi::lua_insert(lua, 1);
            return ffi::lua_gettop(lua);
        }
        if ffi::lua_type(lua, -1) == ffi::LUA_TTABLE {
            value::push_name(lua, value::ERR);
            ffi::lua_rawget_(lua, -2);
            if ffi::lua_type(lua, -1) == ffi::LUA_TSTRING {
                ffi::lua_remove(lua, -2);
            } else {
                ffi::lua_settop(lua, -2);
            }
        }
        ffi::lua_pushboolean(lua, 0);
        ffi::lua_insert(lua, -2);
        2
    }
}

/// The handler runs when the call has ended, not on top of it: Lua lets no hook interrupt a handler of an error
/// that a hook raised, so one that never ends could not be stopped.
unsafe extern "C-unwind" fn xpcall(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        ffi::luaL_checkany(lua, 2);
        ffi::lua_settop(lua, 2);
        ffi::lua_pushvalue(lua, 1);
        let status = ffi::lua_pcall(lua, 0, ffi::LUA_MULTRET, 0);
        if status == ffi::LUA_OK {
            ffi::lua_pushboolean(lua, 1);
            ffi::lua_replace(lua, 2);
            return ffi::lua_gettop(lua) - 1;
        }
        ffi::lua_pushvalue(lua, 2);
        ffi::lua_insert(lua, -2);
        // What goes wrong in the handler is the result, as anything else that it returns.
        ffi::lua_pcall(lua, 1, 1, 0);
        ffi::lua_pushboolean(lua, 0);
        ffi::lua_insert(lua, -2);
        2
    }
}

unsafe extern "C-unwind" fn collectgarbage(lua: *mut lua_State) -> c_int {
    const OPTIONS: &[(&[u8], c_int)] = &[
        (b"collect", ffi::LUA_GCCOLLECT),
        (b"count", ffi::LUA_GCCOUNT),
        (b"restart", ffi::LUA_GCRESTART),
        (b"setpause", ffi::LUA_GCSETPAUSE),
        (b"setstepmul", ffi::LUA_GCSETSTEPMUL),
        (b"step", ffi::LUA_GCSTEP),
        (b"stop", ffi::LUA_GCSTOP),
    ];
    // SAFETY: as in `next`.
    unsafe {
        let mut len = 0;
        let name = ffi::luaL_optlstring(lua, 1, c"collect".as_ptr(), &mut len);
        let name = std::slice::from_raw_parts(name.cast::<u8>(), len);
        let Some((_, what)) = OPTIONS.iter().find(|(known, _)| *known == name) else {
            return ffi::luaL_argerror(lua, 1, c"invalid option".as_ptr());
        };
        let amount = ffi::luaL_optinteger(lua, 2, 0) as c_int;
        let result = ffi::lua_gc(lua, *what, amount);
        match *what {
            ffi::LUA_GCCOUNT => {
                let rest = ffi::lua_gc(lua, ffi::LUA_GCCOUNTB, 0);
                ffi::lua_pushnumber(lua, f64::from(result) + f64::from(rest) / 1024.0);
            }
            ffi::LUA_GCSTEP => ffi::lua_pushboolean(lua, result),
            _ => {
                (*shared(lua)).collector_touched |= *what != ffi::LUA_GCCOLLECT;
                ffi::lua_pushnumber(lua, f64::from(result));
            }
        }
        1
    }
}

/// Compiles text; bytecode is refused, since a wrong one breaks the interpreter. The chunk's name lies on the
/// stack meanwhile: the compiler itself keeps it from nobody's hands.
unsafe fn compile(lua: *mut lua_State, code: &[u8], name: *const c_char) -> c_int {
    // SAFETY: the code is a string that its caller keeps.
    unsafe {
        if code.first() == Some(&0x1b) {
            push_bytes(lua, b"attempt to load a binary chunk");
            return ffi::LUA_ERRSYNTAX;
        }
        ffi::lua_pushstring_(lua, name);
        let start = code.as_ptr().cast::<c_char>();
        let status = ffi::luaL_loadbuffer(lua, start, code.len(), name);
        ffi::lua_remove(lua, -2);
        status
    }
}

/// The function on top, or nil and the message on top.
unsafe fn loaded(lua: *mut lua_State, status: c_int) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        if status == ffi::LUA_OK {
            return 1;
        }
        ffi::lua_pushnil(lua);
        ffi::lua_insert(lua, -2);
        2
    }
}

unsafe extern "C-unwind" fn loadstring(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`; both strings are arguments and stay.
    unsafe {
        let mut len = 0;
        let start = ffi::luaL_checklstring(lua, 1, &mut len);
        let code = std::slice::from_raw_parts(start.cast::<u8>(), len);
        let name = ffi::luaL_optlstring(lua, 2, start, ptr::null_mut());
        let status = compile(lua, code, name);
        loaded(lua, status)
    }
}

unsafe extern "C-unwind" fn load(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`. All pieces are there before any is compiled.
    unsafe {
        ffi::luaL_checktype(lua, 1, ffi::LUA_TFUNCTION);
        let name = ffi::luaL_optlstring(lua, 2, c"=(load)".as_ptr(), ptr::null_mut());
        ffi::lua_settop(lua, 2);
        ffi::lua_createtable(lua, 0, 0);
        let mut pieces = 0;
        loop {
            ffi::lua_pushvalue(lua, 1);
            if ffi::lua_pcall(lua, 0, 1, 0) != ffi::LUA_OK {
                return loaded(lua, ffi::LUA_ERRRUN);
            }
            match ffi::lua_type(lua, -1) {
                ffi::LUA_TNIL => break,
                ffi::LUA_TSTRING | ffi::LUA_TNUMBER => {
                    if bytes_at(lua, -1).is_empty() {
                        break;
                    }
                }
                _ => {
                    push_bytes(lua, b"reader function must return a string");
                    return loaded(lua, ffi::LUA_ERRRUN);
                }
            }
            pieces += 1;
            ffi::lua_rawseti_(lua, 3, pieces);
        }
        ffi::lua_settop(lua, 3);
        let mut buffer: ffi::luaL_Buffer = std::mem::zeroed();
        ffi::luaL_buffinit(lua, &mut buffer);
        for piece in 1..=pieces {
            ffi::lua_rawgeti_(lua, 3, piece);
            ffi::luaL_addvalue(&mut buffer);
        }
        ffi::luaL_pushresult(&mut buffer);
        let code = bytes_at(lua, -1);
        let status = compile(lua, code, name);
        loaded(lua, status)
    }
}

/// What `Vm::compile` hands in, and gets back.
pub(super) struct Chunk {
    pub code: *const u8,
    pub len: usize,
    pub name: *const c_char,
    pub reference: c_int,
    pub shared: *mut Shared,
}

/// Compiles a chunk and keeps the function in the registry.
pub(super) unsafe extern "C-unwind" fn load_chunk(lua: *mut lua_State) -> c_int {
    // SAFETY: called with a chunk that lives until this has returned.
    unsafe {
        let chunk = ffi::lua_touserdata(lua, 1).cast::<Chunk>();
        let code = std::slice::from_raw_parts((*chunk).code, (*chunk).len);
        if compile(lua, code, (*chunk).name) == ffi::LUA_OK {
            (*chunk).reference = ffi::luaL_ref(lua, ffi::LUA_REGISTRYINDEX);
        } else {
            let shared = (*chunk).shared;
            (*shared).error.extend_from_slice(bytes_at(lua, -1));
        }
        0
    }
}

/// The generator of the POSIX family of 48 bits: what scripts that seed it expect.
fn draw(state: &mut u64) -> f64 {
    const RANGE: u64 = 0x7fff_ffff;
    *state = state.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
    ((*state >> 17) % RANGE) as f64 / RANGE as f64
}

unsafe extern "C-unwind" fn random(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        let drawn = draw(&mut (*shared(lua)).random);
        let (low, high) = match ffi::lua_gettop(lua) {
            0 => {
                ffi::lua_pushnumber(lua, drawn);
                return 1;
            }
            1 => {
                let high = ffi::luaL_checkinteger(lua, 1);
                if high < 1 {
                    return ffi::luaL_argerror(lua, 1, c"interval is empty".as_ptr());
                }
                (1.0, high as f64)
            }
            2 => {
                let low = ffi::luaL_checkinteger(lua, 1);
                let high = ffi::luaL_checkinteger(lua, 2);
                if low > high {
                    return ffi::luaL_argerror(lua, 2, c"interval is empty".as_ptr());
                }
                (low as f64, high as f64)
            }
            _ => return ffi::luaL_error(lua, c"wrong number of arguments".as_ptr()),
        };
        ffi::lua_pushnumber(lua, (drawn * (high - low + 1.0)).floor() + low);
        1
    }
}

unsafe extern "C-unwind" fn randomseed(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `next`.
    unsafe {
        let seed = ffi::luaL_checkinteger(lua, 1) as u64 & 0xffff_ffff;
        (*shared(lua)).random = seed << 16 | 0x330E;
        0
    }
}
