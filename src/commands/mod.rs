//! The command families: a file each, its rows beside its handlers. No family knows another, a
//! socket, a path or another client.
pub mod acl;
pub mod client;
pub mod client_list;
pub mod command;
pub mod config;
pub mod connection;
pub mod database;
pub mod debug;
pub mod docs;
pub mod docs_syntax;
pub mod draw;
pub mod expire;
pub mod generic;
pub mod hash;
pub mod info;
pub mod latency;
mod lolwut;
pub mod memory;
pub mod monitor;
pub mod multi;
pub mod pubsub;
pub mod scan;
pub mod shutdown;
pub mod slowlog;
pub mod status;
pub mod string;
pub mod vals;
