//! Users: who may log in, and as what.
pub mod password;
