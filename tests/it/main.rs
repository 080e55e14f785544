//! Behaviour tests: a server of our own for each test, spoken to over sockets as clients do. The
//! same tests hold for the real one: `REDVAULT_TEST_BINARY=/usr/bin/redis-server cargo test --test it`.
//! They wait for conditions, never for time.

mod access;
mod append_only;
mod bitmaps;
mod blocking;
mod client;
mod config;
mod connection;
mod dump;
mod eviction;
mod expire;
mod geo;
mod groups;
mod groups_isolation;
mod harness;
mod hash_fields;
mod hashes;
mod interchange;
mod introspection;
mod keys;
mod limits;
mod lists;
mod loading;
mod logins;
mod noise;
mod offline;
mod operations;
mod packaging;
mod protocol;
mod pubsub;
mod quotas;
mod readme;
mod rewrites;
mod scripts;
mod sets;
mod snapshots;
mod sort;
mod streams;
mod strings;
mod tls;
mod tracking;
mod transactions;
mod users;
mod zset_ops;
mod zsets;
