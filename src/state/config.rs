//! The configuration: every directive of redis.conf with its value, how files and commands change it, and how it is
//! written back.
//!
//! [`table`] holds one row for each directive and is the only place that names it; the other modules walk the table.
//! Reading a value is reading a public field of [`Config`]. Nothing here has a side effect on the server: a CONFIG
//! SET yields the set of changed directives and whoever owns the affected part reconciles it.

pub mod access;
pub mod choices;
pub mod file;
pub mod oom;
pub mod rewrite;
pub mod secret;
pub mod setting;
pub mod special;
pub mod table;
pub mod title;

pub use access::{Apply, Caller, Changed};
pub use choices::*;
pub use file::{LoadError, Lookups, fuzz_config};
pub use secret::Secret;
pub use setting::{Origin, Reason, Setting};
pub use special::*;
pub use table::{Config, DIRECTIVES, Directive, Key};

/// The version that clients and tools are told: what this server is a drop-in for.
pub const REDIS_VERSION: &str = "7.2.4";
