//! Floor 7: the data set in files. This floor frames files and never names a type: how a value is written
//! and read is its type's affair (`types`, over `codec`).
pub mod aof;
pub mod child;
pub mod cron;
pub mod debug;
pub mod fit;
pub mod flush;
pub mod groups;
pub mod leftovers;
pub mod load;
pub mod rdb;
pub mod rewrite;
pub mod save;
pub mod shutdown;
pub mod window;
