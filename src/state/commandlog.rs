//! COMMANDLOG: the last commands that took longer, came larger or answered more than asked, newest
//! first. SLOWLOG is the view of the first of the three.
use super::config::Config;
use crate::resp::request::Argv;
use std::collections::VecDeque;

/// Arguments kept of a request; the last place then says how many were left out.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARG_BYTES_MAX: usize = 128;

/// What a log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    Slow,
    LargeRequest,
    LargeReply,
}

/// One command.
#[derive(Debug, Clone)]
pub struct LogEntry {
    pub id: u64,
    /// Unix seconds.
    pub at_s: i64,
    /// Microseconds it took, or bytes of its request or reply.
    pub value: u64,
    pub argv: Vec<Vec<u8>>,
    pub peer: String,
    pub name: String,
}

/// One log with its limits.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next_id: u64,
    /// From here on a command is logged; negative: none is.
    threshold: i64,
    len_max: usize,
}

/// Who sent a command, as the log shows it.
#[derive(Debug, Default, Clone)]
pub struct Sender {
    pub peer: String,
    pub name: String,
}

impl Log {
    /// Is a command with this figure logged?
    #[inline]
    pub fn wants(&self, value: u64) -> bool {
        self.threshold >= 0 && value >= self.threshold as u64
    }

    /// Logs a command that [`Self::wants`] said yes to; `hidden` tells which arguments are secrets.
    pub fn add(
        &mut self,
        argv: Argv<'_>,
        hidden: &dyn Fn(usize) -> bool,
        value: u64,
        at_s: i64,
        from: Sender,
    ) {
        let argv = if self.len_max == 0 {
            Vec::new()
        } else {
            shortened(argv, hidden)
        };
        self.entries.push_front(LogEntry {
            id: self.next_id,
            at_s,
            value,
            argv,
            peer: from.peer,
            name: from.name,
        });
        self.next_id += 1;
        self.entries.truncate(self.len_max);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the entries; their numbers go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn limit(&mut self, threshold: i64, len_max: usize) {
        (self.threshold, self.len_max) = (threshold, len_max);
        self.entries.truncate(len_max);
    }
}

/// The three logs.
#[derive(Debug, Default)]
pub struct CommandLog {
    pub slow: Log,
    pub large_requests: Log,
    pub large_replies: Log,
}

impl CommandLog {
    /// The log about this.
    pub fn of(&self, kind: LogKind) -> &Log {
        match kind {
            LogKind::Slow => &self.slow,
            LogKind::LargeRequest => &self.large_requests,
            LogKind::LargeReply => &self.large_replies,
        }
    }

    /// The same, to be emptied.
    pub fn of_mut(&mut self, kind: LogKind) -> &mut Log {
        match kind {
            LogKind::Slow => &mut self.slow,
            LogKind::LargeRequest => &mut self.large_requests,
            LogKind::LargeReply => &mut self.large_replies,
        }
    }

    /// Takes over the directives.
    pub fn configure(&mut self, config: &Config) {
        self.slow
            .limit(config.slowlog_log_slower_than, config.slowlog_max_len);
        self.large_requests.limit(
            config.commandlog_request_larger_than,
            config.commandlog_large_request_max_len,
        );
        self.large_replies.limit(
            config.commandlog_reply_larger_than,
            config.commandlog_large_reply_max_len,
        );
    }
}

/// At most 32 arguments of at most 128 bytes, each cut one saying what is missing.
fn shortened(argv: Argv<'_>, hidden: &dyn Fn(usize) -> bool) -> Vec<Vec<u8>> {
    let n = argv.len();
    let kept = n.min(ARGS_MAX);
    let mut out = Vec::with_capacity(kept);
    for i in 0..kept {
        if n > ARGS_MAX && i == ARGS_MAX - 1 {
            out.push(format!("... ({} more arguments)", n - ARGS_MAX + 1).into_bytes());
            break;
        }
        let arg = argv.get(i);
        if hidden(i) {
            out.push(b"(redacted)".to_vec());
        } else if arg.len() > ARG_BYTES_MAX {
            let mut cut = arg[..ARG_BYTES_MAX].to_vec();
            cut.extend(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).bytes());
            out.push(cut);
        } else {
            out.push(arg.to_vec());
        }
    }
    out
}
