//! Rules of users, and requests that are looked at under them.

use redvault::exec::acl::fuzz::fuzz_access;
use redvault::exec::registry::Registry;
use redvault::server::registry::build;

thread_local! {
    static TABLE: Registry = build(&|_| None);
}

/// A line of rules, and lines of requests.
pub fn run(data: &[u8]) {
    TABLE.with(|table| fuzz_access(table, data));
}
