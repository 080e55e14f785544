//! Where a tool writes lines, asks, and shows how far it is.
//!
//! Lines go to standard output. How far a tool is shows as a bar where a person sits at a terminal; where
//! the output goes elsewhere, only as lines now and then, and only by tools that ask for it: programs match
//! what the checks print.
use std::fmt::Display;
use std::io::{BufRead, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two lines about progress.
const BYTES_PER_LINE: u64 = 256 << 20;
/// Between two looks at whether a bar is to be drawn anew.
const BYTES_PER_LOOK: u64 = 64 << 10;

/// The way to the person, or the program, that runs the tool.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    input: &'a mut dyn BufRead,
    terminal: bool,
    /// Without a terminal, long work writes lines about itself.
    lines: bool,
    task: Option<Task>,
}

/// The work at hand.
struct Task {
    name: String,
    total: u64,
    bar: Option<ProgressBar>,
    next_look_at: u64,
    next_line_at: u64,
}

impl<'a> Console<'a> {
    /// A console over these; bars are shown if there is a `terminal`.
    pub fn new(out: &'a mut dyn Write, input: &'a mut dyn BufRead, terminal: bool) -> Console<'a> {
        Console {
            out,
            input,
            terminal,
            lines: false,
            task: None,
        }
    }

    /// Without a terminal, progress becomes lines.
    pub fn tell_progress(&mut self) {
        self.lines = true;
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl Display) {
        self.write(&format!("{text}\n"));
    }

    fn write(&mut self, text: &str) {
        let out = &mut *self.out;
        // Who closed the output does not want to know; the exit code still tells.
        let mut write = || _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match self.task.as_ref().and_then(|task| task.bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Asks a question; true for an answer that begins with `y`.
    pub fn ask(&mut self, question: &str) -> bool {
        self.end();
        self.write(question);
        let mut answer = String::new();
        // No answer, and one that cannot be read, is no.
        self.input.read_line(&mut answer).is_ok() && answer.starts_with(['y', 'Y'])
    }

    /// Work of `total` bytes begins.
    pub fn begin(&mut self, name: &str, total: u64) {
        self.end();
        let bar = self.terminal.then(|| {
            let style = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar());
            let target = ProgressDrawTarget::stderr();
            ProgressBar::with_draw_target(Some(total), target)
                .with_style(style)
                .with_message(name.to_owned())
        });
        self.task = Some(Task {
            name: name.to_owned(),
            total,
            bar,
            next_look_at: 0,
            next_line_at: BYTES_PER_LINE,
        });
    }

    /// So much of the work is done.
    pub fn at(&mut self, position: u64) {
        let Some(task) = &mut self.task else { return };
        if position < task.next_look_at {
            return;
        }
        task.next_look_at = position + BYTES_PER_LOOK;
        if let Some(bar) = &task.bar {
            bar.set_position(position);
        } else if self.lines && position >= task.next_line_at {
            task.next_line_at = position + BYTES_PER_LINE;
            let text = format!("{}: {position} of {} bytes", task.name, task.total);
            self.line(text);
        }
    }

    /// The work is done, or given up.
    pub fn end(&mut self) {
        if let Some(bar) = self.task.take().and_then(|task| task.bar) {
            bar.finish_and_clear();
        }
    }
}

/// Bytes of a file, for a terminal: what would move its cursor or change its state is shown by its number.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| match c {
            c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_questions_and_progress() {
        let (mut out, mut input) = (Vec::new(), &b"Yes\nno\n"[..]);
        let mut console = Console::new(&mut out, &mut input, false);
        console.begin("a.aof", 2 * BYTES_PER_LINE);
        console.at(BYTES_PER_LINE - BYTES_PER_LOOK);
        console.tell_progress();
        console.at(BYTES_PER_LINE);
        console.at(BYTES_PER_LINE + BYTES_PER_LOOK);
        assert!(console.ask("Continue? "));
        assert!(!console.ask("Continue? ") && !console.ask(""));
        let text = String::from_utf8_lossy(&out);
        assert_eq!(
            text,
            "a.aof: 268435456 of 536870912 bytes\nContinue? Continue? "
        );
        assert_eq!(shown(b"a\x1b[2J\xff"), "a\\x1b[2J\u{fffd}");
    }
}
