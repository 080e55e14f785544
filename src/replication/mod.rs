//! Other servers: the primary that this one follows.
pub mod link;
pub mod replicaof;
