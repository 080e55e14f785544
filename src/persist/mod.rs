//! Floor 7: the data set in files. This floor frames files and never names a type: how a value is written
//! and read is its type's affair (`types`, over `codec`).
pub mod aof;
pub mod child;
pub mod debug;
pub mod rdb;
pub mod rewrite;
