//! Lua: what scripts are given, and what runs them.

pub mod lib;
