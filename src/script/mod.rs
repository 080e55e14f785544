//! Scripts: the Lua engine and the commands that run it.
//!
//! `vm` holds all that touches the interpreter, and everything unsafe; `perform` runs the commands that a
//! script calls, and knows no Lua.
pub mod eval;
pub mod perform;
pub mod shebang;
pub mod vm;
