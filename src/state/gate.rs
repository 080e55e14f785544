//! Restrictions in force, as bits: admission is one AND of these with the row's mask.
//!
//! Bits of the server (`State::gate`) and of a client (`Client::gate`) share one number space, so
//! that both are tested together. In the common case no bit is set and no check runs.

/// The client has not authenticated.
pub const UNAUTHENTICATED: u32 = 1 << 0;
/// The client is inside MULTI: requests are queued.
pub const IN_MULTI: u32 = 1 << 1;
/// A RESP2 client in subscribed mode.
pub const SUBSCRIBED: u32 = 1 << 2;
/// The client's user has rules to check.
pub const ACL: u32 = 1 << 3;
/// A data set is being loaded.
pub const LOADING: u32 = 1 << 4;
/// A replica whose link is down and which must not serve stale data.
pub const STALE_REPLICA: u32 = 1 << 5;
/// A read-only replica.
pub const READ_ONLY: u32 = 1 << 6;
/// `maxmemory` is set.
pub const MAXMEMORY: u32 = 1 << 7;
/// The last snapshot or AOF write failed.
pub const DISK_ERROR: u32 = 1 << 8;
/// Fewer good replicas than `min-replicas-to-write`.
pub const FEW_REPLICAS: u32 = 1 << 9;
/// CLIENT PAUSE WRITE.
pub const PAUSED_WRITES: u32 = 1 << 10;
/// CLIENT PAUSE ALL.
pub const PAUSED_ALL: u32 = 1 << 11;
/// A script has run for too long.
pub const BUSY_SCRIPT: u32 = 1 << 12;
/// Somebody runs MONITOR.
pub const MONITORED: u32 = 1 << 13;
/// The client listens (MONITOR, a replica): it may not use the keyspace.
pub const NO_KEYSPACE: u32 = 1 << 14;
/// CLIENT NO-TOUCH: what the client reads keeps its access clock.
pub const NO_TOUCH: u32 = 1 << 15;
/// The client caches what it reads (CLIENT TRACKING): its keys are remembered.
pub const TRACKS: u32 = 1 << 16;
/// CLIENT CACHING holds for the next request.
pub const CACHING: u32 = 1 << 17;
/// The client is in a group of its own: what concerns the whole server is not for it.
pub const TENANT: u32 = 1 << 18;
/// The client's group has limits (`groups::Quotas`).
pub const QUOTA: u32 = 1 << 19;
/// A replica takes over a whole new data set while the old one still answers.
pub const ASYNC_LOADING: u32 = 1 << 20;
/// Keys are on their way to another server (MIGRATE): who changes them waits.
pub const MIGRATING: u32 = 1 << 21;
