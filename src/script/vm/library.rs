//! The libraries that scripts find beside Lua's own.
use mlua::{Lua, Table};

/// A table with each library's table under its name.
pub(super) fn install(lua: &Lua) -> mlua::Result<Table> {
    crate::script::lib::libraries(lua)
}
