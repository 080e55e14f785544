//! What a handler answers when it refuses: the error line a client sees, code first.
//!
//! The texts are part of the protocol: client libraries match on them, so they stand here once.
use std::borrow::Cow;

/// The error reply of a command, without the leading `-`. Bytes, because some texts show what a
/// client sent, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdError(Cow<'static, [u8]>);

impl CmdError {
    /// An error whose text is known at compile time.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    /// An error whose text is made for this request.
    pub fn owned(text: String) -> Self {
        Self(Cow::Owned(text.into_bytes()))
    }

    /// As `owned`, for a text that shows a client's bytes.
    pub fn owned_bytes(text: Vec<u8>) -> Self {
        Self(Cow::Owned(text))
    }

    /// An error that shows bytes of a client between two texts; see [`shown`].
    pub fn showing(before: &str, bytes: &[u8], after: &str) -> Self {
        let text = [
            before.as_bytes(),
            shown(bytes, usize::MAX),
            after.as_bytes(),
        ];
        Self(Cow::Owned(text.concat()))
    }

    /// The whole text: `CODE words`.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The first word, under which INFO errorstats counts it.
    pub fn code(&self) -> &str {
        let word = self.0.split(|b| *b == b' ').next().unwrap_or_default();
        std::str::from_utf8(word).unwrap_or_default()
    }
}

impl From<crate::types::WrongType> for CmdError {
    fn from(_: crate::types::WrongType) -> Self {
        WRONG_TYPE
    }
}

pub const WRONG_TYPE: CmdError =
    CmdError::new("WRONGTYPE Operation against a key holding the wrong kind of value");
pub const SYNTAX: CmdError = CmdError::new("ERR syntax error");
pub const NOT_INTEGER: CmdError = CmdError::new("ERR value is not an integer or out of range");
pub const INT_RANGE: CmdError =
    CmdError::new("ERR value is out of range, value must between -2147483648 and 2147483647");
pub const NOT_FLOAT: CmdError = CmdError::new("ERR value is not a valid float");
pub const NO_SUCH_KEY: CmdError = CmdError::new("ERR no such key");
pub const OUT_OF_RANGE: CmdError = CmdError::new("ERR index out of range");
pub const SAME_OBJECT: CmdError = CmdError::new("ERR source and destination objects are the same");
pub const NOT_POSITIVE: CmdError = CmdError::new("ERR value is out of range, must be positive");
pub const SERVER_WIDE: CmdError = CmdError::new(
    "NOPERM this command concerns the whole server; only users of group 0 may run it",
);
pub const DB_OUT_OF_RANGE: CmdError = CmdError::new("ERR DB index is out of range");
pub const STRING_TOO_LONG: CmdError =
    CmdError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub const OVERFLOW: CmdError = CmdError::new("ERR increment or decrement would overflow");
pub const NAN_OR_INF: CmdError = CmdError::new("ERR increment would produce NaN or Infinity");
pub const NO_AUTH: CmdError = CmdError::new("NOAUTH Authentication required.");
pub const WRONG_PASS: CmdError =
    CmdError::new("WRONGPASS invalid username-password pair or user is disabled.");
pub const OOM: CmdError = CmdError::new("OOM command not allowed when used memory > 'maxmemory'.");
pub const LOADING: CmdError = CmdError::new("LOADING Redis is loading the dataset in memory");
pub const READ_ONLY: CmdError =
    CmdError::new("READONLY You can't write against a read only replica.");
pub const MASTER_DOWN: CmdError = CmdError::new(
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
);

/// `ERR wrong number of arguments for 'name' command`; subcommands show as `config|get`.
pub fn wrong_arity(full_name: &str) -> CmdError {
    CmdError::owned(format!(
        "ERR wrong number of arguments for '{full_name}' command"
    ))
}

/// A subcommand whose arguments make no sense: `sub` as it was given.
pub fn subcommand_syntax(sub: &[u8], container: &str) -> CmdError {
    CmdError::showing(
        "ERR unknown subcommand or wrong number of arguments for '",
        shown(sub, 128),
        &format!("'. Try {container} HELP."),
    )
}

/// `ERR invalid expire time in 'name' command`.
pub fn invalid_expire(name: &str) -> CmdError {
    CmdError::owned(format!("ERR invalid expire time in '{name}' command"))
}

/// What of a client's bytes an error line shows: up to a NUL, where C's strings end, and no more
/// than `max`. The reply writer sees to line ends.
pub fn shown(bytes: &[u8], max: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(max)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}
