//! The configuration: every directive of redis.conf with its value, how files and commands change it, and how it is
//! written back.
//!
//! [`table`] holds one row for each directive and is the only place that names it; the other modules walk the table.
//! Reading a value is reading a public field of [`Config`]. Nothing here has a side effect on the server: a CONFIG
//! SET yields the set of changed directives and whoever owns the affected part reconciles it.

pub mod choices;
pub mod setting;
pub mod special;
pub mod table;

pub use choices::*;
pub use setting::{Origin, Reason, Setting};
pub use special::*;
pub use table::{Config, DIRECTIVES, Directive, Key};
