//! Structures that know no server. Floor 1: they may rely on `base` only.

pub mod bits;
pub mod geohash;
pub mod hll;
pub mod intset;
pub mod listpack;
pub mod pair;
pub mod quicklist;
pub mod ranked;
pub mod table;
pub mod wheel;
pub mod ziplist;
pub mod zipmap;
