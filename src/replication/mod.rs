//! Floor 8: replication. What is said between a primary and its replicas, on either side, and what follows from
//! it; sockets and files of the kernel are the server's, data are `state::repl`'s.
pub mod cron;
pub mod failover;
pub mod feed;
pub mod full;
pub mod link;
pub mod migrate;
pub mod psync;
pub mod replconf;
pub mod replicaof;
pub mod role;
pub mod wait;

#[cfg(test)]
mod tests;
