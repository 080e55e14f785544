//! Rewriting the append only file: a child writes the data set to a new base file.
pub mod base;
