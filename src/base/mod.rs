//! Floor 0: bytes and the machine. Nothing here knows a Redis idea beyond how Redis writes numbers
//! and patterns.
pub mod alloc;
pub mod bytes;
pub mod clock;
pub mod crc64;
pub mod disk;
pub mod f80;
pub mod glob;
pub mod hash;
pub mod lzf;
pub mod num;
pub mod rng;
pub mod sys;
pub mod tls;
