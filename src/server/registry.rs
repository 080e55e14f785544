//! The list of families: the one place that knows them all, a line each.
use crate::commands;
use crate::exec::registry::{Family, Registry};

/// Every family of commands.
pub const FAMILIES: &[&Family] = &[
    &commands::string::FAMILY,
    &commands::expire::FAMILY,
    &commands::hash::FAMILY,
    &commands::connection::FAMILY,
    &commands::generic::FAMILY,
    &commands::generic::object::FAMILY,
    &commands::database::FAMILY,
    &commands::multi::FAMILY,
    &commands::status::FAMILY,
    &commands::config::FAMILY,
    &commands::info::FAMILY,
    &commands::slowlog::FAMILY,
    &commands::debug::FAMILY,
    &commands::latency::FAMILY,
    &commands::memory::FAMILY,
    &commands::shutdown::FAMILY,
];

/// The registry with the names in force.
pub fn build(rename: &dyn Fn(&str) -> Option<String>) -> Registry {
    Registry::new(FAMILIES, rename)
}
