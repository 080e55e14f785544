//! Tools: on files while no server needs to run (check-rdb, check-aof, recover), and clients of a server that
//! runs (cli, ping).
//!
//! They read by the readers that the server loads by and write through the same `Disk`. Nothing here serves
//! clients, and nothing touches a file unless it was asked to: `check-rdb` never writes, `check-aof` only cuts
//! off an end on demand, `recover` writes into a directory that it made itself.
//!
//! The words of the two checks are those of redis-check-rdb and redis-check-aof: scripts look for them.
pub mod check_aof;
pub mod check_rdb;
pub mod cli;
pub mod command_line;
pub mod console;
pub mod link;
pub mod ping;
pub mod recover;
pub mod scan;
pub mod time;

#[cfg(test)]
mod tests;
