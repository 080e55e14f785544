//! The wire: requests in, replies out. Knows Redis's protocol and nothing of commands.

pub mod reply;
pub mod request;

pub use reply::Writer;
pub use request::Argv;
