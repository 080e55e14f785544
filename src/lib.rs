//! RedVault: an in-memory data server that speaks Redis's protocol, files and commands.

pub mod base;
pub mod ds;
pub mod keyspace;
pub mod resp;
pub mod state;
pub mod types;
