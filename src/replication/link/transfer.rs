//! A snapshot on its way from the primary: how long it is, and where it ends.
//!
//! `$<length>` and so many bytes, or `$EOF:<mark>` and bytes up to that mark. Empty lines in front of it tell only
//! that the primary is still there.

/// Digits of the mark behind a snapshot whose length is not known.
const MARK: usize = 40;
/// The line in front is not longer.
const LINE_MAX: usize = 1024;

/// How the end is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// After so many bytes.
    Length(u64),
    /// By these bytes.
    Mark(Box<[u8; MARK]>),
}

/// Looks for the line in front of a snapshot; takes it, with the empty ones before it.
pub fn frame(input: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let empty = input.iter().position(|b| !blank(b)).unwrap_or(input.len());
    input.drain(..empty);
    let Some(end) = memchr::memchr(b'\n', input) else {
        return match input.len() > LINE_MAX {
            true => Err(strange(input)),
            false => Ok(None),
        };
    };
    let line: Vec<u8> = input.drain(..=end).collect();
    let line = line[..end].strip_suffix(b"\r").unwrap_or(&line[..end]);
    if line.starts_with(b"-") {
        let text = String::from_utf8_lossy(&line[1..]);
        return Err(format!("MASTER aborted replication with an error: {text}"));
    }
    let Some(told) = line.strip_prefix(b"$") else {
        return Err(strange(line));
    };
    if let Some(mark) = told.strip_prefix(b"EOF:") {
        let mark = <[u8; MARK]>::try_from(mark).map_err(|_| strange(line))?;
        return Ok(Some(Frame::Mark(Box::new(mark))));
    }
    let digits = std::str::from_utf8(told).ok().filter(|text| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain && !text.is_empty()
    });
    let length = digits.and_then(|text| text.parse().ok());
    match length {
        Some(length) => Ok(Some(Frame::Length(length))),
        None => Err(strange(line)),
    }
}

fn strange(line: &[u8]) -> String {
    format!(
        "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host \
         and port are right?",
        line[..line.len().min(128)].escape_ascii()
    )
}

/// Parts the snapshot's bytes from what stands behind it.
#[derive(Debug)]
pub struct Transfer {
    pub frame: Frame,
    /// Bytes of the snapshot that were handed out.
    pub taken: u64,
    /// With a mark: what may be the beginning of it.
    held: Vec<u8>,
}

impl Transfer {
    pub fn new(frame: Frame) -> Transfer {
        Transfer {
            frame,
            taken: 0,
            held: Vec::new(),
        }
    }

    /// How long the snapshot is, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self.frame {
            Frame::Length(length) => Some(length),
            Frame::Mark(_) => None,
        }
    }

    /// Hands the snapshot's bytes among these out, and leaves what does not belong to it; true behind its end.
    /// Behind a mark nothing comes before the replica has said that it has all: the mark is the last of what has
    /// come in.
    pub fn take(&mut self, input: &mut Vec<u8>, mut out: impl FnMut(&[u8])) -> bool {
        match &self.frame {
            Frame::Length(length) => {
                let left = usize::try_from(length - self.taken).unwrap_or(usize::MAX);
                let n = left.min(input.len());
                out(&input[..n]);
                self.taken += n as u64;
                input.drain(..n);
                n == left
            }
            Frame::Mark(mark) => {
                self.held.append(input);
                if self.held.ends_with(&mark[..]) {
                    let n = self.held.len() - MARK;
                    out(&self.held[..n]);
                    self.taken += n as u64;
                    self.held = Vec::new();
                    return true;
                }
                let n = self.held.len().saturating_sub(MARK);
                out(&self.held[..n]);
                self.taken += n as u64;
                self.held.drain(..n);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef01234567";

    fn told(text: &str) -> Result<Option<Frame>, String> {
        frame(&mut text.as_bytes().to_vec())
    }

    #[test]
    fn the_line_in_front_says_how_the_end_is_told() {
        assert_eq!(told("\n\n$12\r\nabc"), Ok(Some(Frame::Length(12))));
        assert_eq!(told("\n\n"), Ok(None));
        assert_eq!(told("$12"), Ok(None));
        let mark = Box::new(NAME.as_bytes().try_into().expect("40 bytes"));
        assert_eq!(
            told(&format!("$EOF:{NAME}\r\n")),
            Ok(Some(Frame::Mark(mark)))
        );
        let wrong = [
            "$EOF:short\r\n".to_owned(),
            "$-1\r\n".to_owned(),
            "$\r\n".to_owned(),
            "$99999999999999999999999\r\n".to_owned(),
            "+OK\r\n".to_owned(),
            "-ERR no\r\n".to_owned(),
            "x".repeat(2000),
        ];
        for line in wrong {
            assert!(told(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_snapshot_is_whole_whatever_pieces_it_comes_in() {
        let body: Vec<u8> = (0..500u32).map(|n| (n * 7) as u8).collect();
        let rest = b"*1\r\n";
        for piece in [1, 3, 39, 40, 41, 1000] {
            for frame in [
                Frame::Length(body.len() as u64),
                Frame::Mark(Box::new(NAME.as_bytes().try_into().expect("40 bytes"))),
            ] {
                let mut stream = body.clone();
                let marked = matches!(frame, Frame::Mark(_));
                stream.extend_from_slice(if marked { NAME.as_bytes() } else { rest });
                let mut transfer = Transfer::new(frame);
                let (mut got, mut left) = (Vec::new(), Vec::new());
                let mut done = false;
                for bytes in stream.chunks(piece) {
                    left.extend_from_slice(bytes);
                    if !done {
                        done = transfer.take(&mut left, |part| got.extend_from_slice(part));
                    }
                }
                assert!(done && got == body, "{piece}");
                assert_eq!(left, if marked { &b""[..] } else { rest });
                assert_eq!(transfer.taken, body.len() as u64);
            }
        }
    }
}
