//! Floor 4: the data of the server that a command may see, with almost no behaviour of its own.

pub mod config;
