//! Values between Lua and RESP, both ways.
use super::Shared;
use crate::resp::argv::Argv;
use mlua::ffi::{self, lua_State};
use std::ffi::{c_char, c_int, c_void};

/// Strings that are looked up all the time: each function that needs them holds them as upvalues, behind the
/// pointer to `Shared`.
const NAMES: &[&[u8]] = &[
    b"err",
    b"ok",
    b"double",
    b"map",
    b"set",
    b"big_number",
    b"verbatim_string",
    b"string",
    b"format",
    b"ignore_error_stats_update",
    b"KEYS",
    b"ARGV",
];
pub(super) const ERR: c_int = 2;
pub(super) const OK: c_int = 3;
const DOUBLE: c_int = 4;
const MAP: c_int = 5;
const SET: c_int = 6;
const BIG_NUMBER: c_int = 7;
const VERBATIM: c_int = 8;
const STRING: c_int = 9;
const FORMAT: c_int = 10;
pub(super) const COUNTED: c_int = 11;
pub(super) const KEYS: c_int = 12;
pub(super) const ARGV: c_int = 13;
/// The entry's own upvalue: the real globals.
pub(super) const GLOBALS: c_int = 14;

/// Pushes a function with `Shared` and the names as its upvalues.
pub(super) unsafe fn push_closure(
    state: *mut lua_State,
    shared: *mut Shared,
    function: ffi::lua_CFunction,
) {
    // SAFETY: pushes as many values as it says.
    unsafe {
        ffi::luaL_checkstack_(state, NAMES.len() as c_int + 4, c"upvalues".as_ptr());
        ffi::lua_pushlightuserdata(state, shared.cast::<c_void>());
        for name in NAMES {
            push_bytes(state, name);
        }
        ffi::lua_pushcclosure(state, function, NAMES.len() as c_int + 1);
    }
}

/// Pushes the entry of the runner: as above, with the table on top of the stack as its last upvalue.
pub(super) unsafe fn push_entry(
    state: *mut lua_State,
    shared: *mut Shared,
    function: ffi::lua_CFunction,
) {
    // SAFETY: as in `push_closure`.
    unsafe {
        ffi::luaL_checkstack_(state, NAMES.len() as c_int + 4, c"upvalues".as_ptr());
        ffi::lua_pushlightuserdata(state, shared.cast::<c_void>());
        ffi::lua_insert(state, -2);
        for name in NAMES {
            push_bytes(state, name);
            ffi::lua_insert(state, -2);
        }
        ffi::lua_pushcclosure(state, function, NAMES.len() as c_int + 2);
    }
}

/// What the running function shares: its first upvalue.
#[inline]
pub(super) unsafe fn shared(state: *mut lua_State) -> *mut Shared {
    // SAFETY: every closure of this folder has the pointer there.
    unsafe { ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast::<Shared>() }
}

/// Pushes one of the names that the running function holds.
#[inline]
pub(super) unsafe fn push_name(state: *mut lua_State, name: c_int) {
    // SAFETY: an upvalue of the running function.
    unsafe { ffi::lua_pushvalue(state, ffi::lua_upvalueindex(name)) }
}

/// Pushes a string.
#[inline]
pub(super) unsafe fn push_bytes(state: *mut lua_State, bytes: &[u8]) {
    // SAFETY: Lua copies the bytes.
    unsafe { ffi::lua_pushlstring_(state, bytes.as_ptr().cast::<c_char>(), bytes.len()) }
}

/// The bytes of a string on the stack; they live as long as it stays there.
#[inline]
pub(super) unsafe fn bytes_at<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    // SAFETY: the caller has seen that it is a string, so Lua gives its address and length.
    unsafe {
        let mut len = 0;
        let start = ffi::lua_tolstring(state, index, &mut len);
        if start.is_null() {
            return &[];
        }
        std::slice::from_raw_parts(start.cast::<u8>(), len)
    }
}

/// Pushes an array of strings.
pub(super) unsafe fn push_words(state: *mut lua_State, words: Argv<'_>) {
    // SAFETY: a table and one string at a time.
    unsafe {
        ffi::lua_createtable(state, words.len().min(c_int::MAX as usize) as c_int, 0);
        for (at, word) in words.iter().enumerate() {
            push_bytes(state, word);
            ffi::lua_rawseti_(state, -2, at as c_int + 1);
        }
    }
}

/// Sets the field `name` of the table below to the value on top.
unsafe fn set_field(state: *mut lua_State, name: c_int) {
    // SAFETY: the name goes below the value, as a raw set asks for it.
    unsafe {
        push_name(state, name);
        ffi::lua_insert(state, -2);
        ffi::lua_rawset(state, -3);
    }
}

/// Pushes a table that stands for an error reply.
pub(super) unsafe fn push_error(state: *mut lua_State, text: &[u8], counted: bool) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        push_bytes(state, text);
        set_field(state, ERR);
        if counted {
            ffi::lua_pushboolean(state, 1);
            set_field(state, COUNTED);
        }
    }
}

/// Pushes a table that stands for a status reply.
pub(super) unsafe fn push_status(state: *mut lua_State, text: &[u8]) {
    // SAFETY: balanced pushes.
    unsafe {
        ffi::lua_createtable(state, 0, 1);
        push_bytes(state, text);
        set_field(state, OK);
    }
}

/// A command's reply as it is read: our own writer's, so it is whole and sound; what is not is nil.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        self.at += len + 2;
        &rest[..len]
    }

    fn length(&mut self) -> Option<usize> {
        number(self.line()).and_then(|n| usize::try_from(n).ok())
    }

    fn body(&mut self, len: usize) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += len + 2;
        &rest[..len.min(rest.len())]
    }
}

#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    if let [digit @ b'0'..=b'9'] = digits {
        return Some(i64::from(digit - b'0'));
    }
    crate::base::num::parse_i64(digits)
}

fn double(digits: &[u8]) -> f64 {
    let text = std::str::from_utf8(digits).unwrap_or_default();
    text.parse().unwrap_or(f64::NAN)
}

/// Pushes what a reply is in Lua. True when it is an error.
pub(super) unsafe fn push_reply(state: *mut lua_State, bytes: &[u8]) -> bool {
    // SAFETY: the reader only borrows the reply, which nobody changes meanwhile.
    unsafe {
        let mut reader = Reader { bytes, at: 0 };
        push_next(state, &mut reader);
    }
    bytes.first() == Some(&b'-')
}

unsafe fn push_next(state: *mut lua_State, reader: &mut Reader<'_>) {
    // SAFETY: each value needs a few places, which are asked for before it begins.
    unsafe {
        let Some(mark) = reader.bytes.get(reader.at) else {
            ffi::lua_pushnil(state);
            return;
        };
        reader.at += 1;
        match mark {
            b':' => ffi::lua_pushnumber(state, number(reader.line()).unwrap_or_default() as f64),
            b'$' => match reader.length() {
                Some(len) => push_bytes(state, reader.body(len)),
                None => ffi::lua_pushboolean(state, 0),
            },
            b'+' => push_status(state, reader.line()),
            b'-' => push_error(state, reader.line(), true),
            b'*' | b'>' => match reader.length() {
                Some(len) => push_array(state, reader, len),
                None => ffi::lua_pushboolean(state, 0),
            },
            b'%' => push_map(state, reader, MAP, false),
            b'~' => push_map(state, reader, SET, true),
            b'#' => ffi::lua_pushboolean(state, c_int::from(reader.line() == b"t")),
            b',' => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_pushnumber(state, double(reader.line()));
                set_field(state, DOUBLE);
            }
            b'(' => {
                ffi::lua_createtable(state, 0, 1);
                push_bytes(state, reader.line());
                set_field(state, BIG_NUMBER);
            }
            b'=' => push_verbatim(state, reader),
            b'|' => {
                // Attributes are not shown to scripts.
                for _ in 0..reader.length().unwrap_or_default() * 2 {
                    push_next(state, reader);
                    ffi::lua_settop(state, -2);
                }
                push_next(state, reader);
            }
            _ => {
                reader.line();
                ffi::lua_pushnil(state);
            }
        }
    }
}

const ROOM: c_int = 8;

unsafe fn push_array(state: *mut lua_State, reader: &mut Reader<'_>, len: usize) {
    // SAFETY: as in `push_next`.
    unsafe {
        ffi::luaL_checkstack_(state, ROOM, c"reply is nested too deeply".as_ptr());
        ffi::lua_createtable(state, len.min(c_int::MAX as usize) as c_int, 0);
        for at in 0..len {
            push_next(state, reader);
            ffi::lua_rawseti_(state, -2, at as c_int + 1);
        }
    }
}

/// A map or set: a table in the field that says so.
unsafe fn push_map(state: *mut lua_State, reader: &mut Reader<'_>, name: c_int, is_set: bool) {
    // SAFETY: as in `push_next`. Keys are strings or numbers, never nil: that is, they are as our handlers
    // write them.
    unsafe {
        ffi::luaL_checkstack_(state, ROOM, c"reply is nested too deeply".as_ptr());
        let len = reader.length().unwrap_or_default();
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_createtable(state, 0, len.min(c_int::MAX as usize) as c_int);
        for _ in 0..len {
            push_next(state, reader);
            if is_set {
                ffi::lua_pushboolean(state, 1);
            } else {
                push_next(state, reader);
            }
            if ffi::lua_type(state, -2) == ffi::LUA_TNIL {
                ffi::lua_settop(state, -3);
            } else {
                ffi::lua_rawset(state, -3);
            }
        }
        set_field(state, name);
    }
}

unsafe fn push_verbatim(state: *mut lua_State, reader: &mut Reader<'_>) {
    // SAFETY: as in `push_next`.
    unsafe {
        let len = reader.length().unwrap_or_default();
        let body = reader.body(len);
        let (format, text) = body.split_at_checked(4).unwrap_or((b"txt:", body));
        ffi::lua_createtable(state, 0, 1);
        ffi::lua_createtable(state, 0, 2);
        push_bytes(state, text);
        set_field(state, STRING);
        push_bytes(state, &format[..3]);
        set_field(state, FORMAT);
        set_field(state, VERBATIM);
    }
}

/// Deeper results end in an error, as they do in Redis when its stack is full.
const DEPTH_MAX: u32 = 1600;

/// Writes the value on top of the stack as the script's reply, and takes it off.
pub(super) unsafe fn write_reply(state: *mut lua_State, shared: *mut Shared, depth: u32) {
    // SAFETY: the caller is set while a script runs; its writer is borrowed for one value at a time. Raw
    // looks into tables call nobody.
    unsafe {
        let ctx = &mut *(*(*shared).caller).ctx;
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => ctx.out.bulk(bytes_at(state, -1)),
            ffi::LUA_TNUMBER => ctx.out.int(truncated(ffi::lua_tonumber(state, -1))),
            ffi::LUA_TBOOLEAN => {
                let value = ffi::lua_toboolean(state, -1) != 0;
                if (*(*shared).caller).terms.resp3 {
                    ctx.out.bool(value);
                } else if value {
                    ctx.out.int(1);
                } else {
                    ctx.out.null();
                }
            }
            ffi::LUA_TTABLE => write_table(state, shared, depth),
            _ => ctx.out.null(),
        }
        ffi::lua_settop(state, -2);
    }
}

/// As the processor of the real server makes integers: what has no place becomes the smallest one.
fn truncated(value: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    if fits { value as i64 } else { i64::MIN }
}

/// Pushes a field of the table on top if it is of this type; true when it is there now.
unsafe fn push_field(state: *mut lua_State, name: c_int, kind: c_int) -> bool {
    // SAFETY: room was asked for.
    unsafe {
        push_name(state, name);
        ffi::lua_rawget_(state, -2);
        let found = ffi::lua_type(state, -1) == kind;
        if !found {
            ffi::lua_settop(state, -2);
        }
        found
    }
}

unsafe fn write_table(state: *mut lua_State, shared: *mut Shared, depth: u32) {
    // SAFETY: as in `write_reply`. The writer is taken anew behind each inner value.
    unsafe {
        let full = depth >= DEPTH_MAX || ffi::lua_checkstack(state, ROOM) == 0;
        let ctx = (*(*shared).caller).ctx as *mut crate::exec::ctx::Ctx<'static>;
        if full {
            (*ctx).out.error("ERR reached lua stack limit");
            (*ctx).state.count_error("ERR");
            (*shared).failed = true;
            return;
        }
        if push_field(state, ERR, ffi::LUA_TSTRING) {
            let text = bytes_at(state, -1);
            (*ctx).out.error_bytes(text);
            ffi::lua_settop(state, -2);
            (*shared).failed = true;
            if push_field(state, COUNTED, ffi::LUA_TBOOLEAN) {
                ffi::lua_settop(state, -2);
            } else if push_field(state, ERR, ffi::LUA_TSTRING) {
                (*ctx).state.count_error(code_of(bytes_at(state, -1)));
                ffi::lua_settop(state, -2);
            }
        } else if push_field(state, OK, ffi::LUA_TSTRING) {
            (*ctx).out.simple_bytes(bytes_at(state, -1));
            ffi::lua_settop(state, -2);
        } else if push_field(state, DOUBLE, ffi::LUA_TNUMBER) {
            (*ctx).out.double(ffi::lua_tonumber(state, -1));
            ffi::lua_settop(state, -2);
        } else if push_field(state, MAP, ffi::LUA_TTABLE) {
            write_pairs(state, shared, depth, true);
        } else if push_field(state, SET, ffi::LUA_TTABLE) {
            write_pairs(state, shared, depth, false);
        } else if push_field(state, BIG_NUMBER, ffi::LUA_TSTRING) {
            (*ctx).out.big_number(bytes_at(state, -1));
            ffi::lua_settop(state, -2);
        } else if push_field(state, VERBATIM, ffi::LUA_TTABLE) {
            write_verbatim(state, shared, depth);
        } else {
            write_array(state, shared, depth);
        }
    }
}

/// The elements up to the first nil.
unsafe fn write_array(state: *mut lua_State, shared: *mut Shared, depth: u32) {
    // SAFETY: as in `write_table`.
    unsafe {
        let hole = (*(*shared).caller).ctx.out.open();
        let mut n = 0;
        loop {
            ffi::lua_rawgeti_(state, -1, n + 1);
            if ffi::lua_type(state, -1) == ffi::LUA_TNIL {
                ffi::lua_settop(state, -2);
                break;
            }
            write_reply(state, shared, depth + 1);
            n += 1;
        }
        (*(*shared).caller).ctx.out.close_array(hole, n as usize);
    }
}

/// The table on top as a map, or its keys as a set; takes it off.
unsafe fn write_pairs(state: *mut lua_State, shared: *mut Shared, depth: u32, map: bool) {
    // SAFETY: as in `write_table`. The key stays for the next step, a copy is written.
    unsafe {
        let hole = (*(*shared).caller).ctx.out.open();
        let mut n = 0;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            ffi::lua_pushvalue(state, -2);
            write_reply(state, shared, depth + 1);
            if map {
                write_reply(state, shared, depth + 1);
            } else {
                ffi::lua_settop(state, -2);
            }
            n += 1;
        }
        let out = &mut *(*(*shared).caller).ctx.out;
        if map {
            out.close_map(hole, n);
        } else {
            out.close_set(hole, n);
        }
        ffi::lua_settop(state, -2);
    }
}

/// The table on top as a text with its format; takes it off. Where it lacks one of them the table that it
/// came from is an array like any other.
unsafe fn write_verbatim(state: *mut lua_State, shared: *mut Shared, depth: u32) {
    // SAFETY: as in `write_table`.
    unsafe {
        if push_field(state, FORMAT, ffi::LUA_TSTRING) {
            ffi::lua_insert(state, -2);
            if push_field(state, STRING, ffi::LUA_TSTRING) {
                let out = &mut *(*(*shared).caller).ctx.out;
                let format = std::str::from_utf8(bytes_at(state, -3)).unwrap_or("txt");
                out.verbatim(format, bytes_at(state, -1));
                return ffi::lua_settop(state, -4);
            }
            ffi::lua_settop(state, -2);
        }
        ffi::lua_settop(state, -2);
        write_array(state, shared, depth);
    }
}

/// Under which code an error is counted: its first word, if it has more.
pub(super) fn code_of(text: &[u8]) -> &str {
    const LONGEST: usize = 32;
    let head = &text[..text.len().min(LONGEST)];
    let code = memchr::memchr(b' ', head).and_then(|end| std::str::from_utf8(&text[..end]).ok());
    code.unwrap_or("ERR")
}

/// Takes the error value on top of the handler's stack into `Shared`.
pub(super) unsafe fn note_error(state: *mut lua_State, shared: *mut Shared) {
    // SAFETY: `Shared` owns the vector. Whatever of this fails, fails the handler, not the server.
    unsafe {
        if ffi::lua_type(state, 1) == ffi::LUA_TTABLE {
            ffi::lua_settop(state, 1);
            (*shared).counted = push_field(state, COUNTED, ffi::LUA_TBOOLEAN);
            ffi::lua_settop(state, 1);
            let text: &[u8] = if push_field(state, ERR, ffi::LUA_TSTRING)
                || push_field(state, ERR, ffi::LUA_TNUMBER)
            {
                bytes_at(state, -1)
            } else {
                b"ERR unknown error"
            };
            (*shared).error.clear();
            (*shared).error.extend_from_slice(text);
            ffi::lua_settop(state, 1);
            return;
        }
        let text: &[u8] = match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => bytes_at(state, 1),
            ffi::LUA_TUSERDATA if ffi::luaL_callmeta(state, 1, c"__tostring".as_ptr()) != 0 => {
                bytes_at(state, -1)
            }
            ffi::LUA_TBOOLEAN if ffi::lua_toboolean(state, 1) != 0 => b"true",
            ffi::LUA_TBOOLEAN => b"false",
            ffi::LUA_TNIL | ffi::LUA_TNONE => b"nil",
            _ => b"unknown error",
        };
        let error = &mut (*shared).error;
        error.clear();
        error.extend_from_slice(b"ERR ");
        error.extend_from_slice(text);
        ffi::lua_settop(state, 1);
    }
}
