//! COMMANDLOG: the last commands that took longer, came larger or answered more than asked, newest
//! first. SLOWLOG is the view of the first of the three. Each group has its own: the arguments of commands
//! are data.
use super::config::Config;
use super::groups::GroupId;
use super::per_group::{Divided, PerGroup};
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

/// What one log takes, in every group.
#[derive(Debug, Default, Clone, Copy)]
struct Limits {
    /// From here on a command is logged; negative: none is.
    threshold: i64,
    len_max: usize,
}

/// One log.
#[derive(Debug, Default)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next_id: u64,
}

/// Who sent a command, as the log shows it.
#[derive(Debug, Default, Clone)]
pub struct Sender {
    pub peer: String,
    pub name: String,
}

impl Log {
    fn add(&mut self, argv: Vec<Vec<u8>>, value: u64, at_s: i64, from: Sender, len_max: usize) {
        self.entries.push_front(LogEntry {
            id: self.next_id,
            at_s,
            value,
            argv,
            peer: from.peer,
            name: from.name,
        });
        self.next_id += 1;
        self.entries.truncate(len_max);
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
}

/// The three logs of a group.
#[derive(Debug, Default)]
struct Logs([Log; 3]);

impl Divided for Logs {
    fn fresh(&self) -> Logs {
        Logs::default()
    }
}

/// The logs of all groups.
#[derive(Default)]
pub struct CommandLog {
    limits: [Limits; 3],
    logs: PerGroup<Logs>,
}

impl CommandLog {
    /// Is a command with this figure logged?
    #[inline]
    pub fn wants(&self, kind: LogKind, value: u64) -> bool {
        let threshold = self.limits[kind as usize].threshold;
        threshold >= 0 && value >= threshold as u64
    }

    /// A group's log about this.
    pub fn of(&self, group: GroupId, kind: LogKind) -> &Log {
        &self.logs.of(group).0[kind as usize]
    }

    /// The same, to be emptied.
    pub fn of_mut(&mut self, group: GroupId, kind: LogKind) -> &mut Log {
        &mut self.logs.of_mut(group).0[kind as usize]
    }

    /// Logs a group's command that [`Self::wants`] said yes to; `hidden` tells which arguments are secrets.
    pub fn add(
        &mut self,
        (group, kind): (GroupId, LogKind),
        argv: Argv<'_>,
        hidden: &dyn Fn(usize) -> bool,
        value: u64,
        at_s: i64,
        from: Sender,
    ) {
        let len_max = self.limits[kind as usize].len_max;
        let argv = match len_max {
            0 => Vec::new(),
            _ => shortened(argv, hidden),
        };
        self.of_mut(group, kind)
            .add(argv, value, at_s, from, len_max);
    }

    /// Takes over the directives.
    pub fn configure(&mut self, config: &Config) {
        let limits = |threshold, len_max| Limits { threshold, len_max };
        // In the order of the kinds.
        self.limits = [
            limits(config.slowlog_log_slower_than, config.slowlog_max_len),
            limits(
                config.commandlog_request_larger_than,
                config.commandlog_large_request_max_len,
            ),
            limits(
                config.commandlog_reply_larger_than,
                config.commandlog_large_reply_max_len,
            ),
        ];
        for (_, logs) in self.logs.iter_mut() {
            for (log, limits) in logs.0.iter_mut().zip(&self.limits) {
                log.entries.truncate(limits.len_max);
            }
        }
    }

    /// A group goes, and its logs do.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.logs.take(group);
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
