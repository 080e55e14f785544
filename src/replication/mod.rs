//! Other servers: what they are told of changes here, and keys that move to them.
pub mod migrate;
