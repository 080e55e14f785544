//! Append only files: what changed the data set, as requests.
pub mod replay;
