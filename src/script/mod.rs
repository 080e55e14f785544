//! Scripts: the Lua engine, the commands that run it, functions, and the libraries that scripts find.
//!
//! `vm` holds all that touches the interpreter, and everything unsafe but the stack of `lib`; `perform` runs the
//! commands that a script calls, and knows no Lua.
pub mod engine;
pub mod eval;
pub mod function;
pub mod functions;
pub mod lib;
pub mod perform;
pub mod shebang;
pub mod vm;
