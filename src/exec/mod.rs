//! The frame in which every command runs: rows, the context a handler sees, admission, the one
//! execute path and the unit that ends with propagation. Contains no command name.
pub mod acl;
pub mod admit;
pub mod batch;
pub mod call;
pub mod command;
pub mod ctx;
pub mod error;
pub mod keys;
pub mod login;
pub mod moving;
pub mod observe;
pub mod process;
pub mod quota;
pub mod registry;
#[cfg(test)]
pub mod testing;
pub mod track;
pub mod unit;
pub mod users;
