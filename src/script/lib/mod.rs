//! The libraries that scripts find as globals: bit, cjson, cmsgpack, struct.
//!
//! They do what those of redis-server 7.0 do, bit for bit and to the texts of their errors, because scripts store
//! what they make and match on what they say. They read what clients send: depth and size are bounded by the stack
//! and the memory that scripts have. Nothing here knows the server; a state of Lua is all it takes.
mod bit;
mod json;
mod msgpack;
mod number;
mod packed;
mod stack;

#[cfg(test)]
mod tests;

/// Makes the libraries globals of a state.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    for (name, build) in [
        ("bit", bit::library as fn(&mut stack::Stack<'_>)),
        ("cjson", json::library),
        ("cmsgpack", msgpack::library),
        ("struct", packed::library),
    ] {
        globals.raw_set(name, stack::table(lua, build)?)?;
    }
    Ok(())
}
