//! RedVault: an in-memory data server that speaks Redis's protocol, files and commands.
//!
//! The modules are floors: each names only lower ones (README.md, "Architecture"; `tests/tidy.rs`
//! holds the code to it). `main.rs` is the command line and nothing more.

pub mod base;
pub mod codec;
pub mod commands;
pub mod ds;
pub mod exec;
pub mod keyspace;
pub mod persist;
pub mod replication;
pub mod resp;
pub mod script;
pub mod server;
pub mod state;
pub mod tools;
pub mod types;
