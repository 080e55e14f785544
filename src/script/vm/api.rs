//! The table `redis`: what scripts call of the server.
use super::value::{self, bytes_at, push_bytes, push_closure, shared};
use super::{Shared, hook};
use crate::base::num::{fmt_f64, fmt_i64};
use crate::exec::acl;
use crate::resp::argv::{Argv, Span};
use crate::script::perform::{find_command, perform, repl};
use crate::state::config::REDIS_VERSION;
use crate::state::scripts::Kind;
use mlua::ffi::{self, lua_State};
use sha1::{Digest as _, Sha1};
use std::ffi::{CStr, c_int};

const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"acl_check_cmd", acl_check_cmd),
    (c"breakpoint", breakpoint),
    (c"call", call),
    (c"debug", debug),
    (c"error_reply", error_reply),
    (c"log", log_line),
    (c"pcall", pcall),
    (c"replicate_commands", replicate_commands),
    (c"set_repl", set_repl),
    (c"setresp", setresp),
    (c"sha1hex", sha1hex),
    (c"status_reply", status_reply),
];

const NUMBERS: &[(&CStr, u32)] = &[
    (c"LOG_DEBUG", 0),
    (c"LOG_VERBOSE", 1),
    (c"LOG_NOTICE", 2),
    (c"LOG_WARNING", 3),
    (c"REPL_NONE", repl::NONE as u32),
    (c"REPL_AOF", repl::AOF as u32),
    (c"REPL_SLAVE", repl::REPLICA as u32),
    (c"REPL_REPLICA", repl::REPLICA as u32),
    (c"REPL_ALL", repl::ALL as u32),
];

/// How many of these are log levels.
const LOG_LEVELS: usize = 4;

/// What a function has no use for, and does not find.
const OF_SCRIPTS: &[&CStr] = &[c"breakpoint", c"debug", c"replicate_commands"];

/// Pushes the table. May fail, in a protected call.
pub(super) unsafe fn push_library(lua: *mut lua_State, shared: *mut Shared, kind: Kind) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_createtable(lua, 0, 32);
        for (name, function) in FUNCTIONS {
            if kind == Kind::Function && OF_SCRIPTS.contains(name) {
                continue;
            }
            push_closure(lua, shared, *function);
            ffi::lua_setfield(lua, -2, name.as_ptr());
        }
        push_constants(lua, NUMBERS);
    }
}

/// Pushes what of the table a library finds while it is loaded. May fail, in a protected call.
pub(super) unsafe fn push_loading(lua: *mut lua_State, shared: *mut Shared) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_createtable(lua, 0, 8);
        push_closure(lua, shared, log_line);
        ffi::lua_setfield(lua, -2, c"log".as_ptr());
        push_constants(lua, &NUMBERS[..LOG_LEVELS]);
    }
}

/// Sets numbers and the version in the table on top.
unsafe fn push_constants(lua: *mut lua_State, numbers: &[(&CStr, u32)]) {
    // SAFETY: balanced pushes.
    unsafe {
        for (name, number) in numbers {
            ffi::lua_pushnumber(lua, f64::from(*number));
            ffi::lua_setfield(lua, -2, name.as_ptr());
        }
        push_bytes(lua, REDIS_VERSION.as_bytes());
        ffi::lua_setfield(lua, -2, c"REDIS_VERSION".as_ptr());
        ffi::lua_pushnumber(lua, f64::from(version_number(REDIS_VERSION)));
        ffi::lua_setfield(lua, -2, c"REDIS_VERSION_NUM".as_ptr());
    }
}

/// A byte for each part of the version.
fn version_number(version: &str) -> u32 {
    let parts = version.split('.').take(3);
    parts.fold(0, |number, part| {
        number << 8 | part.parse::<u32>().unwrap_or(0)
    })
}

const NO_ARGUMENTS: &[u8] = b"ERR Please specify at least one argument for this redis lib call";
const BAD_ARGUMENTS: &[u8] = b"ERR Lua redis lib command arguments must be strings or integers";
const OUTSIDE: &[u8] = b"ERR redis.call/pcall can only be called inside a script invocation";
const WRONG_NUMBER: &[u8] = b"ERR wrong number or type of arguments";

/// Raises an error that is a table, as errors of commands are.
unsafe fn raise(lua: *mut lua_State, text: &[u8]) -> c_int {
    // SAFETY: does not return.
    unsafe {
        value::push_error(lua, text, false);
        ffi::lua_error(lua)
    }
}

/// Whole numbers up to here are printed as such: beyond it a float no longer holds each of them.
const WHOLE_MAX: f64 = 4_503_599_627_370_496.0;

/// Takes the arguments of the running function as the words of a request. Calls nothing that may jump out.
unsafe fn gather(
    lua: *mut lua_State,
    shared: &mut Shared,
    wire: bool,
) -> Result<(), &'static [u8]> {
    shared.words.clear();
    shared.spans.clear();
    // SAFETY: looks at arguments that are there; strings are read where they lie, and numbers are not
    // turned into strings by Lua, which would need memory.
    unsafe {
        let n = ffi::lua_gettop(lua);
        if n == 0 {
            return Err(NO_ARGUMENTS);
        }
        for index in 1..=n {
            match ffi::lua_type(lua, index) {
                ffi::LUA_TSTRING => push_word(shared, bytes_at(lua, index), wire)?,
                ffi::LUA_TNUMBER => {
                    let number = ffi::lua_tonumber(lua, index);
                    let whole = number as i64;
                    if number.abs() < WHOLE_MAX && whole as f64 == number {
                        push_word(shared, fmt_i64(whole, &mut [0; 20]), wire)?;
                    } else {
                        let mut digits = Vec::with_capacity(32);
                        fmt_f64(number, &mut digits);
                        push_word(shared, &digits, wire)?;
                    }
                }
                _ => return Err(BAD_ARGUMENTS),
            }
        }
    }
    Ok(())
}

/// Appends a word; as a request is written, so that the log can copy it as a whole, where there is a log.
#[inline]
fn push_word(shared: &mut Shared, word: &[u8], wire: bool) -> Result<(), &'static [u8]> {
    let words = &mut shared.words;
    if wire {
        words.push(b'$');
        words.extend_from_slice(fmt_i64(word.len() as i64, &mut [0; 20]));
        words.extend_from_slice(b"\r\n");
    }
    let at = u32::try_from(words.len()).map_err(|_| BAD_ARGUMENTS)?;
    let len = u32::try_from(word.len()).map_err(|_| BAD_ARGUMENTS)?;
    words.extend_from_slice(word);
    if wire {
        words.extend_from_slice(b"\r\n");
    }
    shared.spans.push(Span { at, len });
    Ok(())
}

/// Runs the command that the arguments are; its reply is in `Shared` then.
unsafe fn perform_arguments(lua: *mut lua_State, shared: *mut Shared) -> Result<(), &'static [u8]> {
    // SAFETY: the caller is set while a script runs, which waits for this; the words and the reply are
    // borrowed from other fields of `Shared` than the caller. Nothing here jumps out.
    unsafe {
        if (*shared).caller.is_null() {
            return Err(OUTSIDE);
        }
        let caller = &mut *(*shared).caller;
        gather(lua, &mut *shared, caller.ctx.state.prop.on)?;
        let Shared {
            words,
            spans,
            reply,
            ..
        } = &mut *shared;
        perform(caller, Argv::new(words, spans), reply);
        if !reply.is_flat() {
            let whole = reply.to_vec();
            reply.clear();
            reply.buf = whole;
        }
        Ok(())
    }
}

/// Before more than this the memory is looked at.
const LARGE_REPLY: usize = 4096;

#[inline]
unsafe fn call_command(lua: *mut lua_State) -> bool {
    // SAFETY: the reply stays as it is while it is read.
    unsafe {
        let shared = shared(lua);
        match perform_arguments(lua, shared) {
            Ok(()) => {
                let reply: *const [u8] = (*shared).reply.buf.as_slice();
                if reply.len() > LARGE_REPLY {
                    hook::mind_memory(lua, shared);
                }
                value::push_reply(lua, &*reply)
            }
            Err(text) => {
                value::push_error(lua, text, false);
                true
            }
        }
    }
}

unsafe extern "C-unwind" fn call(lua: *mut lua_State) -> c_int {
    // SAFETY: a function of Lua: arguments on the stack, `Shared` in the first upvalue. The same holds for
    // all below.
    unsafe {
        if call_command(lua) {
            ffi::lua_error(lua);
        }
        1
    }
}

unsafe extern "C-unwind" fn pcall(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        call_command(lua);
        1
    }
}

unsafe extern "C-unwind" fn acl_check_cmd(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        let shared = shared(lua);
        if (*shared).caller.is_null() {
            return raise(
                lua,
                b"ERR redis.acl_check_cmd can only be called inside a script invocation",
            );
        }
        if let Err(text) = gather(lua, &mut *shared, false) {
            return raise(lua, text);
        }
        let caller = &mut *(*shared).caller;
        let table = caller.ctx.table;
        let argv = Argv::new(&(*shared).words, &(*shared).spans);
        let Some(row) = find_command(table, argv) else {
            return raise(lua, b"ERR Invalid command passed to redis.acl_check_cmd()");
        };
        let denied = acl::denied_in_script(caller.ctx, row, argv, caller.terms.db);
        ffi::lua_pushboolean(lua, c_int::from(denied.is_none()));
        1
    }
}

/// One argument, a string?
unsafe fn one_string(lua: *mut lua_State) -> bool {
    // SAFETY: as in `call`.
    unsafe { ffi::lua_gettop(lua) == 1 && ffi::lua_type(lua, 1) == ffi::LUA_TSTRING }
}

unsafe extern "C-unwind" fn error_reply(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`; the text is put together in `Shared`, which owns it.
    unsafe {
        if !one_string(lua) {
            value::push_error(lua, WRONG_NUMBER, false);
            return 1;
        }
        let text = bytes_at(lua, 1);
        let text = text.strip_prefix(b"-").unwrap_or(text);
        let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
        let text = &text[..end.map_or(0, |last| last + 1)];
        if memchr::memchr(b' ', text).is_some() {
            value::push_error(lua, text, false);
            return 1;
        }
        let shared = shared(lua);
        (*shared).words.clear();
        (*shared).words.extend_from_slice(b"ERR ");
        (*shared).words.extend_from_slice(text);
        let whole: *const [u8] = (*shared).words.as_slice();
        value::push_error(lua, &*whole, false);
        1
    }
}

unsafe extern "C-unwind" fn status_reply(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        if one_string(lua) {
            value::push_status(lua, bytes_at(lua, 1));
        } else {
            value::push_error(lua, WRONG_NUMBER, false);
        }
        1
    }
}

unsafe extern "C-unwind" fn sha1hex(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`. A digest owns no memory.
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR wrong number of arguments");
        }
        let text: &[u8] = match ffi::lua_type(lua, 1) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => bytes_at(lua, 1),
            _ => b"",
        };
        let digits = hex(&digest(text));
        push_bytes(lua, &digits);
        1
    }
}

/// A script's digest, by which it is known.
pub(in crate::script) fn digest(body: &[u8]) -> [u8; 20] {
    Sha1::digest(body).into()
}

/// The same as it is written.
pub(in crate::script) fn hex(digest: &[u8; 20]) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 40];
    for (two, byte) in text.chunks_exact_mut(2).zip(digest) {
        two.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
    text
}

unsafe extern "C-unwind" fn log_line(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`; the line is put together in `Shared`, which owns it.
    unsafe {
        let n = ffi::lua_gettop(lua);
        if n < 2 {
            return raise(lua, b"ERR redis.log() requires two arguments or more.");
        }
        if ffi::lua_type(lua, 1) != ffi::LUA_TNUMBER {
            return raise(lua, b"ERR First argument must be a number (log level).");
        }
        let level = match ffi::lua_tonumber(lua, 1) as i64 {
            0 => log::Level::Trace,
            1 => log::Level::Debug,
            2 => log::Level::Info,
            3 => log::Level::Warn,
            _ => return raise(lua, b"ERR Invalid debug level."),
        };
        if !log::log_enabled!(level) {
            return 0;
        }
        let shared = shared(lua);
        (*shared).words.clear();
        for index in 2..=n {
            if index > 2 {
                (*shared).words.push(b' ');
            }
            if matches!(
                ffi::lua_type(lua, index),
                ffi::LUA_TSTRING | ffi::LUA_TNUMBER
            ) {
                (*shared).words.extend_from_slice(bytes_at(lua, index));
            }
        }
        write_log(level, &(*shared).words);
        0
    }
}

fn write_log(level: log::Level, line: &[u8]) {
    log::log!(level, "{}", String::from_utf8_lossy(line));
}

unsafe extern "C-unwind" fn setresp(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR redis.setresp() requires one argument.");
        }
        let version = ffi::lua_tonumber(lua, 1) as i64;
        if version != 2 && version != 3 {
            return raise(lua, b"ERR RESP version must be 2 or 3.");
        }
        let shared = shared(lua);
        if (*shared).caller.is_null() {
            return raise(
                lua,
                b"ERR redis.setresp can only be called inside a script invocation",
            );
        }
        (*(*shared).caller).terms.resp3 = version == 3;
        0
    }
}

unsafe extern "C-unwind" fn set_repl(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        if ffi::lua_gettop(lua) != 1 {
            return raise(lua, b"ERR redis.set_repl() requires two arguments.");
        }
        let flags = ffi::lua_tonumber(lua, 1) as i64;
        let Ok(flags @ 0..=repl::ALL) = u8::try_from(flags) else {
            return raise(
                lua,
                b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            );
        };
        let shared = shared(lua);
        if (*shared).caller.is_null() {
            return raise(
                lua,
                b"ERR redis.set_repl can only be called inside a script invocation",
            );
        }
        (*(*shared).caller).terms.repl = flags;
        0
    }
}

/// Scripts are propagated by what they did, always.
unsafe extern "C-unwind" fn replicate_commands(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        ffi::lua_pushboolean(lua, 1);
        1
    }
}

/// There is no debugger: nothing stops here.
unsafe extern "C-unwind" fn breakpoint(lua: *mut lua_State) -> c_int {
    // SAFETY: as in `call`.
    unsafe {
        ffi::lua_pushboolean(lua, 0);
        1
    }
}

unsafe extern "C-unwind" fn debug(_: *mut lua_State) -> c_int {
    0
}
