//! `--replica`, `--rdb` and `--functions-rdb`: the client as a server's replica, to look at what it sends.
//!
//! A snapshot is written beside its file and takes its place when it is whole, so that a transfer that breaks
//! leaves what was there. The words on standard error are redis-cli's: scripts and tests look for them.
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::session::{Session, complain};
use crate::base::num::parse_i64;
use crate::base::sys;
use crate::resp::value::Value;
use crate::tools::link::{Broken, Link};

/// Behind `$EOF:` and at the end of a snapshot whose length was not known.
const MARK_LEN: usize = 40;
/// No server says more before its snapshot.
const LINE_MAX: usize = 1024;
/// A snapshot for nobody to keep begins to be read: how often the server is told so until it says something.
const ACK_MS: u16 = 1000;

/// Why there is no snapshot.
enum Failed {
    Broken(Broken),
    /// The text for a person.
    Told(String),
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Failed {
        Failed::Broken(broken)
    }
}

/// Logs what the server tells its replicas, in CSV, until it hangs up; the exit code.
pub fn log(session: &mut Session) -> i32 {
    run(session, |session, link| {
        configure(link, "capa", "eof")?;
        // A server that knows it leaves everything out of the snapshot.
        configure(link, "rdb-filter-only", "")?;
        let size = sync(link)?;
        complain(&match &size {
            Size::Bytes(n) => format!("SYNC with master, discarding {n} bytes of bulk transfer..."),
            Size::Mark(_) => {
                "SYNC with master, discarding bytes of bulk transfer until EOF marker...".into()
            }
        });
        let bytes = transfer(link, &size, &mut io::sink())?;
        match size {
            Size::Bytes(_) => complain("SYNC done. Logging commands from master."),
            Size::Mark(_) => {
                complain(&format!(
                    "SYNC done after {bytes} bytes. Logging commands from master."
                ));
                put_online(link)?;
            }
        }
        session.form = super::print::Form::Csv;
        loop {
            let value = link.receive()?;
            session.show(&value, false);
            if session.deaf {
                return Ok(());
            }
        }
    })
}

/// Writes the server's snapshot to a file (`-`: standard output); the exit code.
pub fn snapshot(session: &mut Session, path: &Path, functions_only: bool) -> i32 {
    run(session, |_, link| {
        configure(link, "capa", "eof")?;
        configure(link, "rdb-only", "1")?;
        if functions_only && !configure(link, "rdb-filter-only", "functions")? {
            return Err(Failed::Told(
                "Failed requesting functions only RDB from server, aborting".into(),
            ));
        }
        let size = sync(link)?;
        let shown = path.display();
        complain(&match &size {
            Size::Bytes(n) => format!("SYNC sent to master, writing {n} bytes to '{shown}'"),
            Size::Mark(_) => format!(
                "SYNC sent to master, writing bytes of bulk transfer until EOF marker to '{shown}'"
            ),
        });
        let bytes = if path == Path::new("-") {
            transfer(link, &size, &mut io::stdout())?
        } else {
            to_file(link, &size, path)?
        };
        complain(&match size {
            Size::Bytes(_) => "Transfer finished with success.".to_owned(),
            Size::Mark(_) => format!("Transfer finished with success after {bytes} bytes"),
        });
        Ok(())
    })
}

fn run(
    session: &mut Session,
    work: impl FnOnce(&mut Session, &mut Link) -> Result<(), Failed>,
) -> i32 {
    if !session.connect() {
        return 1;
    }
    let Some(mut link) = session.link.take() else {
        return 1;
    };
    match work(session, &mut link) {
        Ok(()) => return 0,
        Err(Failed::Told(text)) => complain(&text),
        Err(Failed::Broken(broken)) => complain(&format!("Error: {broken}")),
    }
    1
}

/// Tells the server something about this replica; false if it does not want to know.
fn configure(link: &mut Link, name: &str, value: &str) -> Result<bool, Failed> {
    complain(&format!("sending REPLCONF {name} {value}"));
    match link.ask(&["REPLCONF", name, value])? {
        Value::Error(text) => {
            let text = String::from_utf8_lossy(&text);
            complain(&format!("REPLCONF {name} error: {text}"));
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// How long the snapshot is.
enum Size {
    Bytes(u64),
    /// It ends with this.
    Mark([u8; MARK_LEN]),
}

/// Asks for the snapshot, and waits for its beginning.
fn sync(link: &mut Link) -> Result<Size, Failed> {
    link.write(b"SYNC\r\n")?;
    loop {
        let arrived = link.arrived();
        // Empty lines keep the connection alive meanwhile.
        let empty = arrived.iter().take_while(|b| **b == b'\n').count();
        if empty > 0 {
            link.consume(empty);
            continue;
        }
        if let Some(end) = memchr::memchr(b'\n', arrived) {
            let line = arrived[..end].trim_ascii_end().to_vec();
            link.consume(end + 1);
            return read_size(&line);
        }
        if arrived.len() > LINE_MAX {
            return Err(Failed::Told("SYNC with master failed: no line".into()));
        }
        more(link)?;
    }
}

fn read_size(line: &[u8]) -> Result<Size, Failed> {
    let mark = line.strip_prefix(b"$EOF:");
    if let Some(mark) = mark.and_then(|mark| mark.first_chunk::<MARK_LEN>()) {
        return Ok(Size::Mark(*mark));
    }
    let bytes = line.strip_prefix(b"$").and_then(parse_i64);
    match bytes.and_then(|bytes| u64::try_from(bytes).ok()) {
        Some(bytes) => Ok(Size::Bytes(bytes)),
        None => Err(Failed::Told(format!(
            "SYNC with master failed: {}",
            String::from_utf8_lossy(line)
        ))),
    }
}

fn more(link: &mut Link) -> Result<(), Failed> {
    match link.read()? {
        0 => Err(Broken::Closed.into()),
        _ => Ok(()),
    }
}

/// Passes the snapshot on, without its mark; how long it was.
fn transfer(link: &mut Link, size: &Size, to: &mut dyn Write) -> Result<u64, Failed> {
    let failed = |error: io::Error| {
        let why = sys::strerror(&error);
        Failed::Told(format!("Error writing the snapshot: {why}"))
    };
    let mut done = 0;
    loop {
        let arrived = link.arrived();
        let (ready, behind) = match size {
            Size::Bytes(n) => {
                let left = usize::try_from(n - done).unwrap_or(usize::MAX);
                (arrived.len().min(left), 0)
            }
            Size::Mark(mark) => match memchr::memmem::find(arrived, mark) {
                Some(at) => (at, MARK_LEN),
                // The end of what is here may be the mark's beginning.
                None => (arrived.len().saturating_sub(MARK_LEN - 1), 0),
            },
        };
        to.write_all(&arrived[..ready]).map_err(failed)?;
        done += ready as u64;
        link.consume(ready + behind);
        if behind > 0 || matches!(size, Size::Bytes(n) if *n == done) {
            to.flush().map_err(failed)?;
            return Ok(done);
        }
        more(link)?;
    }
}

/// The same into a file, which is there when it is whole.
fn to_file(link: &mut Link, size: &Size, path: &Path) -> Result<u64, Failed> {
    let told = |error: io::Error| {
        let why = sys::strerror(&error);
        Failed::Told(format!("Error opening '{}': {why}", path.display()))
    };
    // What is no file (a pipe, a terminal) is written as it is.
    let in_place = path.metadata().is_ok_and(|found| !found.is_file());
    let beside = match in_place {
        true => path.to_owned(),
        false => beside(path),
    };
    let mut file = File::create(&beside).map_err(told)?;
    let bytes = transfer(link, size, &mut file).and_then(|bytes| {
        if !in_place {
            file.sync_all().map_err(told)?;
            std::fs::rename(&beside, path).map_err(told)?;
        }
        Ok(bytes)
    });
    if bytes.is_err() && !in_place {
        let _ = std::fs::remove_file(&beside);
    }
    bytes
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or(OsStr::new("snapshot"));
    let mut name = name.to_owned();
    name.push(format!(".{}.part", sys::pid()));
    path.with_file_name(name)
}

/// Says that the snapshot is there: from then on commands come. A server that is still busy with the end of its
/// snapshot does not hear it, so it is said until something comes.
fn put_online(link: &mut Link) -> Result<(), Failed> {
    let mut told = false;
    while link.arrived().is_empty() {
        let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(ACK_MS));
        if ready.map_err(|error| Broken::from(io::Error::from(error)))? > 0 {
            return Ok(());
        }
        if !told {
            complain("sending REPLCONF ACK 0");
            told = true;
        }
        link.send(&["REPLCONF", "ACK", "0"])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    /// A link on which a server has said this, and hung up.
    fn told(bytes: &[u8]) -> (Link, UnixStream) {
        let (mut server, client) = UnixStream::pair().expect("a pair");
        server.write_all(bytes).expect("room for it");
        server.shutdown(Shutdown::Write).expect("open");
        (Link::over(client), server)
    }

    fn received(bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (mut link, _server) = told(bytes);
        let mut file = Vec::new();
        let done = sync(&mut link).and_then(|size| transfer(&mut link, &size, &mut file));
        match done {
            Ok(n) => {
                assert_eq!(n, file.len() as u64);
                Ok((file, link.arrived().to_vec()))
            }
            Err(Failed::Told(text)) => Err(text),
            Err(Failed::Broken(broken)) => Err(broken.to_string()),
        }
    }

    #[test]
    fn a_snapshot_ends_where_its_length_or_its_mark_says() {
        let mark = "a1".repeat(20);
        let marked = format!("\n\n$EOF:{mark}\r\nREDIS a1a1{mark}*1\r\n$4\r\nPING\r\n");
        for (bytes, file, rest) in [
            ("\n$3\r\nabc*1", "abc", "*1"),
            ("$0\r\n", "", ""),
            (marked.as_str(), "REDIS ", "*1\r\n$4\r\nPING\r\n"),
        ] {
            let (got, left) = received(bytes.as_bytes()).expect("sound");
            assert_eq!(got, file.as_bytes());
            assert!(left.ends_with(rest.as_bytes()) || rest.is_empty());
        }
    }

    #[test]
    fn what_is_no_snapshot_is_told() {
        for (bytes, told) in [
            ("-NOAUTH x\r\n", "SYNC with master failed: -NOAUTH x"),
            ("$-1\r\n", "SYNC with master failed: $-1"),
            ("$EOF:short\r\n", "SYNC with master failed: $EOF:short"),
            ("$5\r\nab", "Server closed the connection"),
            ("\n\n", "Server closed the connection"),
        ] {
            assert_eq!(
                received(bytes.as_bytes()),
                Err(told.to_owned()),
                "{bytes:?}"
            );
        }
    }
}
