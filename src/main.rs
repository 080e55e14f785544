//! The command line of RedVault.
fn main() {}
