//! The keys: entries, databases, expiry, eviction and scanning.
//!
//! Floor 3: it knows the types by their traits only, reads no clock (callers pass `now_ms`), and never
//! decides policy: whether an expired key is removed, propagated or announced is for the floors above.

pub mod arrivals;
pub mod databases;
pub mod db;
pub mod entry;
pub mod evict;
pub mod expire;
mod hints;
mod layout;
mod members;
mod meter;
mod others;
mod scan;

pub use databases::Databases;
pub use db::{Db, Detached};
pub use entry::{Entry, EntryRef};
pub use layout::{CLOCK_MASK, INLINE_MAX, NewValue, Ttl};
pub use members::Gone;
