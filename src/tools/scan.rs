//! AOF files, piece by piece: annotations and requests, nothing of them kept but their places.
//!
//! Stricter than the server's own parser, because a file is written by a program: a count, then every
//! argument with its length, each line ended by CR LF. What is wrong is told in redis-check-aof's words, with
//! the offset of what could not be read.
use std::io;

use crate::base::num::parse_i64;
use crate::persist::groups;
use crate::persist::window::Window;

/// A line with a count or a length, with its end.
const LINE_MAX: usize = 127;
/// An annotation with its end.
const ANNOTATION_MAX: usize = 1023;
/// Longer names of commands are not told apart.
const NAME_MAX: usize = 64;

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// `#` and a line, without both.
    Annotation(Vec<u8>),
    /// A request: its first argument in lower case, cut off if it is long.
    Request(Vec<u8>),
    End,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Offset of what could not be read.
    pub at: u64,
    pub what: What,
}

/// How it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Neither a request nor an annotation begins here.
    Format,
    /// The file ends too early, as a crash may leave it. Redis has no words for an end between two lines.
    Torn(String),
    /// Anything else.
    Broken(String),
}

/// Either stops a scan.
pub enum Stop {
    Io(io::Error),
    Fault(Fault),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// A scan of one file, from the window's position on.
pub struct Scan<'w, 'f> {
    pub window: &'w mut Window<'f>,
    /// Lines read so far; Redis counts them through all files of a manifest, and no annotations.
    pub lines: u64,
    /// Where the piece begins that is being read.
    last_at: u64,
    /// Behind this all is well: never inside of a transaction.
    pub good: u64,
    in_transaction: bool,
}

impl<'w, 'f> Scan<'w, 'f> {
    pub fn new(window: &'w mut Window<'f>, lines: u64) -> Scan<'w, 'f> {
        let at = window.position();
        Scan {
            window,
            lines,
            last_at: at,
            good: at,
            in_transaction: false,
        }
    }

    /// The next piece. Transactions must be whole; `good` stands behind the last one.
    pub fn next(&mut self, name: &str) -> Result<Piece, Stop> {
        let piece = match self.window.peek()? {
            None if self.in_transaction => {
                return Err(self.torn("Reached EOF before reading EXEC for MULTI"));
            }
            None => return Ok(Piece::End),
            Some(b'#') => self.annotation()?,
            Some(b'*') => self.request()?,
            Some(_) => {
                let at = self.window.position();
                let what = What::Format;
                return Err(Stop::Fault(Fault { at, what }));
            }
        };
        if let Piece::Request(command) = &piece {
            match &command[..] {
                b"multi" if self.in_transaction => {
                    return Err(self.broken(format!("Unexpected MULTI in AOF {name}")));
                }
                b"exec" if !self.in_transaction => {
                    return Err(self.broken(format!("Unexpected EXEC in AOF {name}")));
                }
                b"multi" => self.in_transaction = true,
                b"exec" => self.in_transaction = false,
                _ => {}
            }
        }
        if !self.in_transaction {
            self.good = self.window.position();
        }
        Ok(piece)
    }

    /// Is a transaction open?
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    #[cold]
    fn broken(&self, why: impl Into<String>) -> Stop {
        Stop::Fault(Fault {
            at: self.last_at,
            what: What::Broken(why.into()),
        })
    }

    #[cold]
    fn torn(&self, why: impl Into<String>) -> Stop {
        Stop::Fault(Fault {
            at: self.last_at,
            what: What::Torn(why.into()),
        })
    }

    /// Is the end of the file at hand? Then nothing comes behind `rest`.
    fn ends(&self) -> bool {
        self.window.position() + self.window.rest().len() as u64 == self.window.size()
    }

    fn annotation(&mut self) -> Result<Piece, Stop> {
        self.last_at = self.window.position();
        self.fill_line(ANNOTATION_MAX)?;
        let Ok(line) = next_line(self.window.rest(), ANNOTATION_MAX) else {
            let why = "Annotation without an end";
            let short = self.window.rest().len() < ANNOTATION_MAX;
            return Err(if short {
                self.torn(why)
            } else {
                self.broken(why)
            });
        };
        let text = line.strip_prefix(b"#").unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text).to_vec();
        let taken = line.len() + 1;
        self.window.take(taken);
        Ok(Piece::Annotation(text))
    }

    fn request(&mut self) -> Result<Piece, Stop> {
        let count = self.number(b'*')?;
        if count < 1 {
            return Err(self.broken(format!("Expected at least 1 argument, got {count}")));
        }
        let name = self.argument(true)?;
        if name == b"echo" && count == 2 {
            self.check_carried()?;
        }
        for _ in 1..count {
            self.argument(false)?;
        }
        Ok(Piece::Request(name))
    }

    /// What servers with groups tell one another must be such that they understand it: the argument at hand
    /// is looked at, not taken.
    fn check_carried(&mut self) -> Result<(), Stop> {
        let at = self.window.position();
        self.fill_line(LINE_MAX)?;
        let Ok(line) = next_line(self.window.rest(), LINE_MAX) else {
            return Ok(());
        };
        let digits = line
            .strip_prefix(b"$")
            .and_then(|line| line.strip_suffix(b"\r"));
        let len = digits
            .and_then(parse_i64)
            .and_then(|len| usize::try_from(len).ok());
        let head = line.len() + 1;
        // A length that the file does not have is told of when the argument is taken.
        let Some(len) = len.filter(|len| *len as u64 <= self.window.size() - at) else {
            return Ok(());
        };
        let marked = groups::CARRIED_MARK;
        let fill = |window: &mut Window<'_>, len: usize| {
            while window.rest().len() < len && window.more(len)? > 0 {}
            io::Result::Ok(window.rest().len() >= len)
        };
        if !fill(self.window, head + len.min(marked.len()))?
            || !self.window.rest()[head..].starts_with(marked)
            || !fill(self.window, head + len)?
        {
            return Ok(());
        }
        let checked = groups::check_carried(&self.window.rest()[head..head + len]);
        self.last_at = at;
        checked.map_err(|why| self.broken(format!("What is told of groups cannot be: {why}")))
    }

    /// A count or a length, with its line.
    fn number(&mut self, prefix: u8) -> Result<i64, Stop> {
        self.last_at = self.window.position();
        self.fill_line(LINE_MAX)?;
        let line = match next_line(self.window.rest(), LINE_MAX) {
            Ok(line) => line,
            Err([]) => return Err(self.torn("")),
            Err(rest) => rest,
        };
        if line.first() != Some(&prefix) {
            let got = line.first().copied().unwrap_or_default();
            let (prefix, got) = (char::from(prefix), got.escape_ascii());
            let why = format!("Expected prefix '{prefix}', got: '{got}'");
            return Err(self.broken(why));
        }
        let digits = line[1..]
            .iter()
            .enumerate()
            .position(|(at, byte)| !(byte.is_ascii_digit() || at == 0 && *byte == b'-'))
            .map_or(line.len(), |at| at + 1);
        let number = std::str::from_utf8(&line[1..digits])
            .ok()
            .and_then(|text| text.parse().ok());
        if number.is_none() || line[digits..] != *b"\r" {
            // The line end that was searched belongs to what was found in its place.
            let end = match self.window.rest().get(line.len()) {
                Some(b'\n') => &self.window.rest()[digits..line.len() + 1],
                _ => &line[digits..],
            };
            let torn = number.is_some() && digits == line.len() && self.ends();
            let torn = torn || line == [prefix] && self.ends();
            let why = no_line_end(end);
            return Err(if torn {
                self.torn(why)
            } else {
                self.broken(why)
            });
        }
        let taken = line.len() + 1;
        self.window.take(taken);
        self.lines += 1;
        Ok(number.unwrap_or_default())
    }

    /// An argument; the beginning of its text in lower case, if it is `wanted`.
    fn argument(&mut self, wanted: bool) -> Result<Vec<u8>, Stop> {
        let len = self.number(b'$')?;
        let Some(len) = u64::try_from(len)
            .ok()
            .filter(|len| *len <= i64::MAX as u64 - 2)
        else {
            return Err(self.broken(format!(
                "Expected to read string of {len} bytes, which is not in the suitable range"
            )));
        };
        self.last_at = self.window.position();
        let mut text = Vec::new();
        if wanted {
            let shown = len.min(NAME_MAX as u64) as usize;
            while self.window.rest().len() < shown && self.window.more(shown)? > 0 {}
            let rest = self.window.rest();
            text = rest[..shown.min(rest.len())].to_ascii_lowercase();
        }
        let got = self.window.skip(len)?;
        while self.window.rest().len() < 2 && self.window.more(2)? > 0 {}
        let end = &self.window.rest()[..self.window.rest().len().min(2)];
        let got = got + end.len() as u64;
        if got < len + 2 {
            let why = format!("Expected to read {} bytes, got {got} bytes", len + 2);
            return Err(self.torn(why));
        }
        if end != b"\r\n" {
            return Err(self.broken(no_line_end(end)));
        }
        self.window.take(2);
        self.lines += 1;
        Ok(text)
    }

    /// Makes the next line be at hand, as far as there is one within `max` bytes.
    fn fill_line(&mut self, max: usize) -> io::Result<()> {
        loop {
            let rest = self.window.rest();
            if rest.len() >= max || memchr::memchr(b'\n', rest).is_some() {
                return Ok(());
            }
            if self.window.more(max)? == 0 {
                return Ok(());
            }
        }
    }
}

/// The line that comes next, without its line feed, if it ends within `max` bytes; else what there is of it.
fn next_line(rest: &[u8], max: usize) -> Result<&[u8], &[u8]> {
    let rest = &rest[..rest.len().min(max)];
    memchr::memchr(b'\n', rest).map_or(Err(rest), |end| Ok(&rest[..end]))
}

fn no_line_end(found: &[u8]) -> String {
    let at = |at| found.get(at).copied().unwrap_or_default();
    format!("Expected \\r\\n, got: {:02x}{:02x}", at(0), at(1))
}
