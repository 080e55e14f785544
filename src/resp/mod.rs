//! The wire: requests in, replies out. Knows Redis's protocol and nothing of commands.

pub mod argv;
pub mod reply;
pub mod request;
pub mod words;

pub use argv::Argv;
pub use reply::Writer;
