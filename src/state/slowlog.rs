//! SLOWLOG: the last commands that took longer than asked, newest first.
use crate::resp::request::Argv;
use std::collections::VecDeque;

/// Arguments kept of a request; the last place then says how many were left out.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument.
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Debug, Clone)]
pub struct SlowEntry {
    pub id: u64,
    /// Unix seconds.
    pub at_s: i64,
    pub us: u64,
    pub argv: Vec<Vec<u8>>,
    pub peer: String,
    pub name: String,
}

/// The log with its limits.
#[derive(Debug, Default)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
    /// Microseconds; negative: off.
    pub threshold_us: i64,
    pub len_max: usize,
}

impl SlowLog {
    /// Logs a command if it was slow enough; `hidden` tells which arguments are secrets.
    pub fn add(
        &mut self,
        argv: Argv<'_>,
        hidden: &dyn Fn(usize) -> bool,
        us: u64,
        at_s: i64,
        peer: String,
        name: String,
    ) {
        if self.threshold_us < 0 || us < self.threshold_us as u64 {
            return;
        }
        let argv = shortened(argv, hidden);
        self.entries.push_front(SlowEntry {
            id: self.next_id,
            at_s,
            us,
            argv,
            peer,
            name,
        });
        self.next_id += 1;
        self.entries.truncate(self.len_max);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &SlowEntry> {
        self.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// SLOWLOG RESET.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Applies a smaller `slowlog-max-len`.
    pub fn trim(&mut self) {
        self.entries.truncate(self.len_max);
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
