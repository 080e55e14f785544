//! The server itself: the only floor that owns both sockets and state.
pub mod absent;
pub mod boot;
pub mod busy;
pub mod carrier;
pub mod cli;
pub mod conn;
pub mod crash;
pub mod cron;
pub mod flush;
pub mod input;
pub mod jobs;
pub mod link;
pub mod listen;
pub mod loading;
pub mod logging;
pub mod reconfigure;
pub mod registry;
pub mod replicas;
#[cfg(test)]
pub mod requests;
#[cfg(test)]
mod rules;
pub mod shutdown;
mod spool;
pub mod supervise;
pub mod tls;
pub mod turn;
pub mod watchdog;
