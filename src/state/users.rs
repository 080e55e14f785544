//! Users: who may log in, and as what.
pub mod lockout;
pub mod password;
