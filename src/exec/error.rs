//! What a handler answers when it refuses: the error line a client sees, code first.
//!
//! The texts are part of the protocol: client libraries match on them, so they stand here once.
use std::borrow::Cow;

/// The error reply of a command, without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmdError(pub Cow<'static, str>);

impl CmdError {
    /// An error whose text is known at compile time.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// An error whose text is made for this request.
    pub fn owned(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    /// The whole text: `CODE words`.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The first word, under which INFO errorstats counts it.
    pub fn code(&self) -> &str {
        self.0.split(' ').next().unwrap_or("")
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
pub const NOT_FLOAT: CmdError = CmdError::new("ERR value is not a valid float");
pub const NO_SUCH_KEY: CmdError = CmdError::new("ERR no such key");
pub const OUT_OF_RANGE: CmdError = CmdError::new("ERR index out of range");
pub const SAME_OBJECT: CmdError = CmdError::new("ERR source and destination objects are the same");
pub const NOT_POSITIVE: CmdError = CmdError::new("ERR value is out of range, must be positive");
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
pub const BUSY: CmdError = CmdError::new(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
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
    CmdError::owned(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        shown(sub, 128)
    ))
}

/// `ERR invalid expire time in 'name' command`.
pub fn invalid_expire(name: &str) -> CmdError {
    CmdError::owned(format!("ERR invalid expire time in '{name}' command"))
}

/// Any bytes of a client, as they may stand in an error line: cut and made printable.
pub fn shown(bytes: &[u8], max: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(max)]).into_owned()
}
