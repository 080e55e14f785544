//! The libraries of scripts over hostile texts: each gives values or a text, never more, and what was read is
//! written and read again.

use redvault::script::lib::install;

/// The memory that a script may have.
const MEMORY: usize = 64 << 20;

const CHECK: &str = "
    local text = ...
    local half = math.floor(#text / 2)
    local front, rest = text:sub(1, half), text:sub(half + 1)
    local function try(f, ...)
        local r = {pcall(function(...) return (f(...)) end, ...)}
        if not r[1] then assert(type(r[2]) == 'string') end
        return r[1], r[2]
    end
    local ok, value = try(cjson.decode, text)
    if ok then
        local again, written = try(cjson.encode, value)
        if again then assert(try(cjson.decode, written)) end
        cmsgpack.pack(value)
    end
    ok, value = try(cmsgpack.unpack_one, text, #rest)
    ok, value = try(function() return (cmsgpack.unpack(text)) end)
    if ok then
        local packed = cmsgpack.pack(value)
        assert(cmsgpack.pack(cmsgpack.unpack(packed)) == packed or type(value) == 'table')
        try(cjson.encode, value)
    end
    try(struct.size, front)
    try(struct.unpack, front, rest)
    try(struct.unpack, text, text, #front)
    try(struct.pack, front, 1, rest, 2, rest, 3, rest)
";

/// Any text, as a whole and in two halves.
pub fn libraries(data: &[u8]) {
    let lua = mlua::Lua::new();
    install(&lua).expect("the libraries");
    lua.set_memory_limit(MEMORY).expect("a limit");
    let text = lua.create_string(data).expect("room for the input");
    let run = lua.load(CHECK).call::<()>(text);
    // What does not fit is an error, as any other.
    if let Err(error) = run {
        assert!(error.to_string().contains("not enough memory"), "{error}");
    }
}
