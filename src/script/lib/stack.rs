//! The stack of Lua during one call of a library's function, in safe words.
//!
//! What a library needs (reading arguments, walking and filling tables, a growing buffer) costs several times
//! as much through mlua's handles, each of which lives in a second stack and each of whose steps is a protected
//! call; a script that decodes JSON would feel it. So this file, and no other of the libraries, speaks to Lua
//! itself.
//!
//! **What makes that sound.** Nearly everything that allocates in Lua may leave by `longjmp` when the memory of
//! scripts is used up, over every frame down to the script's. So no frame of a library may own anything that has
//! to be dropped while it calls a method here: bodies, [`Fault`] and [`Buffer`] are plain data, buffers live in
//! userdata that Lua frees (and counts: they fall under the limit of scripts). Arguments stay on the stack until
//! the call ends ([`Stack::pop`] refuses to go below them), so what they hold stays alive.
#![allow(unsafe_code)]
use std::ffi::{CStr, c_int, c_void};
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::ops::Range;
use std::{ptr, slice};

use mlua::ffi::{self, lua_State};

/// What a function gives: how many values it left on top of the stack, or why it failed.
pub(super) type Outcome = Result<c_int, Fault>;

/// A function of a library.
pub(super) struct Function {
    pub name: &'static CStr,
    pub body: fn(&mut Stack<'_>) -> Outcome,
}

/// Why a call fails. It is raised as a string that begins with the place of the call in the script.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// An argument is of the wrong type: which, and what was expected.
    Type(c_int, &'static CStr),
    /// Something is wrong with an argument.
    Argument(c_int, &'static CStr),
    /// The same, told by the string on top of the stack.
    ArgumentTold(c_int),
    Text(&'static CStr),
    /// Told by the string on top of the stack.
    Told,
}

/// What the settings of a library are kept in.
pub(super) type Settings = [u32; 9];

/// Kinds of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// No such argument.
    None,
    Nil,
    Boolean,
    /// What libraries have for a null: the light userdata that points nowhere.
    Null,
    Number,
    String,
    Table,
    /// What cannot be saved: functions, threads, userdata.
    Other,
}

/// Upvalues of every function: its row, the settings, two buffers.
const ROW: c_int = 1;
const SETTINGS: c_int = 2;
const BUFFERS: [c_int; 2] = [3, 4];

/// Texts of faults are cut there.
const TEXT_MAX: usize = 256;

/// The largest buffer: what the largest value of the server can be.
const BUFFER_MAX: usize = 512 << 20;

/// A larger buffer is not kept for the next call.
const BUFFER_KEPT: usize = 16 << 10;

pub(super) struct Stack<'a> {
    state: *mut lua_State,
    /// How many arguments there are; they are never removed.
    args: c_int,
    call: PhantomData<&'a ()>,
}

/// What every function of the libraries is to Lua.
unsafe extern "C-unwind" fn entry(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls this with its state, and only `push_library` makes closures of it, whose first upvalue
    // is the address of a static row. A function called by Lua has room for 20 values.
    unsafe {
        let row = ffi::lua_touserdata(state, ffi::lua_upvalueindex(ROW)).cast::<Function>();
        let mut stack = Stack {
            state,
            args: ffi::lua_gettop(state),
            call: PhantomData,
        };
        match ((*row).body)(&mut stack) {
            Ok(results) => results,
            Err(fault) => raise(state, fault),
        }
    }
}

/// Raises a fault in the function that runs.
///
/// # Safety
/// `state` is that of the running function, whose frames own nothing.
unsafe fn raise(state: *mut lua_State, fault: Fault) -> c_int {
    // SAFETY: as the caller says; three values have room, because a fault's text is all that is on top.
    unsafe {
        ffi::lua_checkstack(state, 3);
        match fault {
            Fault::Type(at, expected) => ffi::luaL_typerror(state, at, expected.as_ptr()),
            Fault::Argument(at, text) => ffi::luaL_argerror(state, at, text.as_ptr()),
            Fault::ArgumentTold(at) => {
                let text = ffi::lua_tolstring(state, -1, ptr::null_mut());
                ffi::luaL_argerror(state, at, text)
            }
            Fault::Text(text) => {
                // The stack may be full.
                ffi::lua_settop(state, 0);
                ffi::lua_checkstack(state, 3);
                ffi::lua_pushstring(state, text.as_ptr());
                raise(state, Fault::Told)
            }
            Fault::Told => {
                ffi::luaL_where(state, 1);
                ffi::lua_insert(state, -2);
                ffi::lua_concat(state, 2);
                ffi::lua_error(state)
            }
        }
    }
}

/// The table that `build` leaves on the stack.
pub(super) fn table(lua: &mlua::Lua, build: fn(&mut Stack<'_>)) -> mlua::Result<mlua::Table> {
    // SAFETY: `exec_raw` runs the closure protected; it owns nothing.
    unsafe {
        lua.exec_raw((), |state| {
            build(&mut Stack {
                state,
                args: 0,
                call: PhantomData,
            });
        })
    }
}

impl<'a> Stack<'a> {
    /// How many values there are, arguments included.
    pub fn top(&self) -> c_int {
        // SAFETY: the state is alive for the call; so in every block below.
        unsafe { ffi::lua_gettop(self.state) }
    }

    /// How many arguments the call has.
    pub fn args(&self) -> c_int {
        self.args
    }

    /// An index counted from the bottom, that is there.
    fn at(&self, index: c_int) -> c_int {
        let top = self.top();
        let at = if index < 0 { top + 1 + index } else { index };
        assert!(0 < at && at <= top, "value {index} of {top}");
        at
    }

    /// Makes room for `n` more values; false if there can be none.
    pub fn room(&self, n: c_int) -> bool {
        // SAFETY: see `top`.
        unsafe { ffi::lua_checkstack(self.state, n) != 0 }
    }

    /// Room for one more value, without which there is no going on.
    fn need(&self) {
        // SAFETY: raising is allowed here as by any step of Lua.
        unsafe {
            if ffi::lua_checkstack(self.state, 1) == 0 {
                raise(self.state, Fault::Text(c"stack overflow"));
            }
        }
    }

    pub fn kind(&self, index: c_int) -> Kind {
        // SAFETY: an index that is positive may be beyond the top, where lua_type says so.
        unsafe {
            let index = if index < 0 { self.at(index) } else { index };
            match ffi::lua_type(self.state, index) {
                ffi::LUA_TNONE => Kind::None,
                ffi::LUA_TNIL => Kind::Nil,
                ffi::LUA_TBOOLEAN => Kind::Boolean,
                ffi::LUA_TNUMBER => Kind::Number,
                ffi::LUA_TSTRING => Kind::String,
                ffi::LUA_TTABLE => Kind::Table,
                ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(self.state, index).is_null() => {
                    Kind::Null
                }
                _ => Kind::Other,
            }
        }
    }

    /// What Lua calls the type of a value.
    pub fn type_name(&self, index: c_int) -> &'static str {
        // SAFETY: names of types are static text of Lua.
        unsafe {
            let name = ffi::lua_typename(self.state, ffi::lua_type(self.state, self.at(index)));
            CStr::from_ptr(name).to_str().unwrap_or("value")
        }
    }

    pub fn boolean(&self, index: c_int) -> bool {
        // SAFETY: the index is there.
        unsafe { ffi::lua_toboolean(self.state, self.at(index)) != 0 }
    }

    /// A number, or a string that spells one.
    pub fn number(&self, index: c_int) -> Option<f64> {
        // SAFETY: an index beyond the top is no number.
        unsafe {
            let index = if index < 0 { self.at(index) } else { index };
            let number = ffi::lua_tonumber(self.state, index);
            (number != 0.0 || ffi::lua_isnumber(self.state, index) != 0).then_some(number)
        }
    }

    /// An argument that has to be a number.
    pub fn check_number(&self, arg: c_int) -> Result<f64, Fault> {
        self.number(arg).ok_or(Fault::Type(arg, c"number"))
    }

    /// The same without its fraction.
    pub fn check_integer(&self, arg: c_int) -> Result<i64, Fault> {
        // As the machine converts: what does not fit, and what is no number, is the least integer.
        let number = self.check_number(arg)?;
        let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
        Ok(if fits { number as i64 } else { i64::MIN })
    }

    /// The same, or `default` where there is none.
    pub fn integer_or(&self, arg: c_int, default: i64) -> Result<i64, Fault> {
        match self.kind(arg) {
            Kind::None | Kind::Nil => Ok(default),
            _ => self.check_integer(arg),
        }
    }

    /// The bytes of an argument that has to be a string (or a number, which becomes one).
    pub fn check_bytes(&mut self, arg: c_int) -> Result<&'a [u8], Fault> {
        if !matches!(self.kind(arg), Kind::String | Kind::Number) || arg > self.args {
            return Err(Fault::Type(arg, c"string"));
        }
        // SAFETY: an argument stays where it is until the call ends, and a string of Lua does not move.
        unsafe {
            let mut len = 0;
            let bytes = ffi::lua_tolstring(self.state, arg, &raw mut len);
            Ok(slice::from_raw_parts(bytes.cast(), len))
        }
    }

    /// The bytes of a value that is a string: nothing for any other.
    pub fn bytes(&self, index: c_int) -> &[u8] {
        if self.kind(index) != Kind::String {
            return &[];
        }
        // SAFETY: a string is not converted, and what would remove it borrows the stack mutably.
        unsafe {
            let mut len = 0;
            let bytes = ffi::lua_tolstring(self.state, self.at(index), &raw mut len);
            slice::from_raw_parts(bytes.cast(), len)
        }
    }

    pub fn pop(&mut self, n: c_int) {
        let left = self.top() - n;
        assert!(left >= self.args && n >= 0, "arguments stay");
        // SAFETY: there are that many.
        unsafe { ffi::lua_settop(self.state, left) }
    }

    /// Moves the value on top below those from `index` on.
    pub fn insert(&mut self, index: c_int) {
        let at = self.at(index);
        assert!(at > self.args, "arguments stay");
        // SAFETY: the index is there.
        unsafe { ffi::lua_insert(self.state, at) }
    }

    pub fn push_nil(&mut self) {
        self.need();
        // SAFETY: there is room; so in the blocks that follow.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub fn push_null(&mut self) {
        self.need();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushlightuserdata(self.state, ptr::null_mut()) }
    }

    pub fn push_boolean(&mut self, value: bool) {
        self.need();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushboolean(self.state, value.into()) }
    }

    pub fn push_number(&mut self, value: f64) {
        self.need();
        // SAFETY: there is room.
        unsafe { ffi::lua_pushnumber(self.state, value) }
    }

    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.need();
        // SAFETY: there is room, and Lua copies the bytes before anything else.
        unsafe {
            ffi::lua_pushlstring(self.state, bytes.as_ptr().cast(), bytes.len());
        }
    }

    /// A fault with a text that is put together; it is left on top of the stack.
    pub fn told(&mut self, text: fmt::Arguments<'_>) -> Fault {
        let mut short = Short::<TEXT_MAX>::new();
        // What does not fit is cut.
        let _ = short.write_fmt(text);
        self.tell(short.as_bytes())
    }

    /// The same for a text that shows bytes as they are.
    pub fn told_showing(&mut self, before: &[u8], bytes: &[u8], after: &[u8]) -> Fault {
        let mut short = Short::<TEXT_MAX>::new();
        for part in [before, bytes, after] {
            short.put(part);
        }
        self.tell(short.as_bytes())
    }

    fn tell(&mut self, text: &[u8]) -> Fault {
        // The stack may be full; what is above the arguments is of no use any more.
        // SAFETY: there are that many.
        unsafe { ffi::lua_settop(self.state, self.args) }
        self.push_bytes(text);
        Fault::Told
    }

    /// A table with room for some items.
    pub fn push_table(&mut self, items: u32, fields: u32) {
        self.need();
        let room = |n: u32| c_int::try_from(n).unwrap_or(0);
        // SAFETY: there is room.
        unsafe { ffi::lua_createtable(self.state, room(items), room(fields)) }
    }

    fn table_at(&self, index: c_int) -> c_int {
        let at = self.at(index);
        assert!(self.kind(at) == Kind::Table, "a table is there");
        at
    }

    /// Sets the key below the top of the table at `index` to the value on top; both go.
    pub fn raw_set(&mut self, index: c_int) {
        let table = self.table_at(index);
        // SAFETY: a table is there, and two values stand above it.
        unsafe { ffi::lua_rawset(self.state, table) }
    }

    /// Sets an item of the table at `index` to the value on top, which goes.
    pub fn raw_set_item(&mut self, index: c_int, item: u32) {
        let table = self.table_at(index);
        let Ok(item) = c_int::try_from(item) else {
            self.push_number(item.into());
            self.insert(-2);
            return self.raw_set(table);
        };
        // SAFETY: a table is there.
        unsafe { ffi::lua_rawseti_(self.state, table, item) }
    }

    /// Pushes an item of the table at `index`.
    pub fn raw_get_item(&mut self, index: c_int, item: c_int) {
        self.need();
        let table = self.table_at(index);
        // SAFETY: a table is there, and room.
        unsafe { ffi::lua_rawgeti_(self.state, table, item) }
    }

    /// Replaces the key on top by the next key and its value of the table at `index`; at the end it is removed.
    pub fn next(&mut self, index: c_int) -> bool {
        self.need();
        let table = self.table_at(index);
        // SAFETY: a table is there, and room for one more value.
        unsafe { ffi::lua_next(self.state, table) != 0 }
    }

    /// Pushes a table of functions; those of `settings` share a copy of them.
    pub fn push_library(&mut self, rows: &'static [Function], settings: Option<Settings>) {
        self.push_table(0, 16);
        match settings {
            None => self.push_nil(),
            // SAFETY: userdata of this size, aligned for anything, that nothing but this file knows.
            Some(settings) => unsafe {
                self.need();
                ffi::lua_newuserdata(self.state, size_of::<Settings>())
                    .cast::<Settings>()
                    .write(settings);
            },
        }
        assert!(self.room(8), "a call begins with room for 20");
        for row in rows {
            // SAFETY: there is room for the four upvalues; the row is static.
            unsafe {
                ffi::lua_pushlightuserdata(self.state, ptr::from_ref(row).cast_mut().cast());
                ffi::lua_pushvalue(self.state, -2);
                ffi::lua_pushnil(self.state);
                ffi::lua_pushnil(self.state);
                ffi::lua_pushcclosure(self.state, entry, 4);
                ffi::lua_setfield(self.state, -3, row.name.as_ptr());
            }
        }
        self.pop(1);
    }

    fn settings_at(&self) -> *mut Settings {
        // SAFETY: only read for its type and address.
        unsafe {
            let at = ffi::lua_upvalueindex(SETTINGS);
            let data: *mut c_void = ffi::lua_touserdata(self.state, at);
            assert!(!data.is_null(), "a library of settings");
            data.cast()
        }
    }

    /// The settings of the library this function is of.
    pub fn settings(&self) -> Settings {
        // SAFETY: `push_library` made it, and the function keeps it alive.
        unsafe { self.settings_at().read() }
    }

    pub fn change(&mut self, setting: usize, value: u32) {
        let mut settings = self.settings();
        settings[setting] = value;
        // SAFETY: as above.
        unsafe { self.settings_at().write(settings) }
    }

    /// One of the two buffers of this function, empty.
    pub fn buffer(&self, which: usize) -> Buffer {
        let slot = ffi::lua_upvalueindex(BUFFERS[which]);
        // SAFETY: only `Buffer::grow` puts userdata there.
        let (start, room) = unsafe {
            let start = ffi::lua_touserdata(self.state, slot).cast::<u8>();
            let room = match start.is_null() {
                true => 0,
                false => ffi::lua_objlen(self.state, slot),
            };
            (start, room)
        };
        Buffer {
            slot,
            start,
            len: 0,
            room,
        }
    }
}

/// Bytes that grow in the memory of Lua.
pub(super) struct Buffer {
    /// The upvalue that keeps it alive.
    slot: c_int,
    /// `room` bytes, of which the first `len` are written; null while there is no room.
    start: *mut u8,
    len: usize,
    room: usize,
}

impl Buffer {
    /// What was put in.
    pub fn bytes(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: so many bytes were written, in userdata that only `grow` replaces.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn put(&mut self, stack: &mut Stack<'_>, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > self.room - self.len {
            self.grow(stack, bytes.len())?;
        }
        // SAFETY: there is room for them, and they are not part of this buffer, which is borrowed mutably.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(self.len), bytes.len());
        }
        self.len += bytes.len();
        Ok(())
    }

    /// Puts a part of the string at `index` in.
    pub fn put_part(
        &mut self,
        stack: &mut Stack<'_>,
        index: c_int,
        part: Range<usize>,
    ) -> Result<(), Fault> {
        if part.is_empty() {
            return Ok(());
        }
        if part.len() > self.room - self.len {
            self.grow(stack, part.len())?;
        }
        let part = &stack.bytes(index)[part];
        // SAFETY: as in `put`; a string of Lua is no userdata.
        unsafe {
            ptr::copy_nonoverlapping(part.as_ptr(), self.start.add(self.len), part.len());
        }
        self.len += part.len();
        Ok(())
    }

    #[cold]
    fn grow(&mut self, stack: &mut Stack<'_>, more: usize) -> Result<(), Fault> {
        let needed = self.len.saturating_add(more);
        if needed > BUFFER_MAX {
            return Err(Fault::Text(c"not enough memory"));
        }
        let room = needed.max(self.room * 2).max(512);
        stack.need();
        // SAFETY: there is room for one value; the old bytes are alive until the upvalue is replaced.
        unsafe {
            let start = ffi::lua_newuserdata(stack.state, room).cast::<u8>();
            if self.len > 0 {
                ptr::copy_nonoverlapping(self.start, start, self.len);
            }
            ffi::lua_replace(stack.state, self.slot);
            self.start = start;
        }
        self.room = room;
        Ok(())
    }

    /// Takes the last `N` bytes off again.
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.bytes().last_chunk::<N>()?;
        self.len -= N;
        Some(bytes)
    }

    /// Pushes what was put in, and lets a large buffer go.
    pub fn push(self, stack: &mut Stack<'_>) {
        stack.push_bytes(self.bytes());
        self.done(stack);
    }

    /// Lets a large buffer go.
    pub fn done(self, stack: &mut Stack<'_>) {
        if self.room > BUFFER_KEPT {
            stack.push_nil();
            // SAFETY: the nil is on top; nothing borrows the buffer any more.
            unsafe { ffi::lua_replace(stack.state, self.slot) }
        }
    }
}

/// A short text put together without memory of its own; what does not fit is cut.
pub(super) struct Short<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Short<N> {
    pub fn new() -> Short<N> {
        Short {
            bytes: [0; N],
            len: 0,
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn put(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(N - self.len);
        self.bytes[self.len..][..taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
    }
}

impl<const N: usize> fmt::Write for Short<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
