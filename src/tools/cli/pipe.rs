//! `--pipe`: requests from standard input to the server as they come, replies only counted.
//!
//! Both ways at once: a server stops reading from a client that does not take its replies.
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::session::{Session, complain};
use crate::base::clock::mono_us;
use crate::base::sys;
use crate::resp::value::Value;
use crate::tools::link::{Broken, Link, request};

const PIECE: usize = 64 << 10;

/// What has come of it.
#[derive(Default)]
struct Tally {
    errors: u64,
    replies: u64,
    /// The last reply is there.
    done: bool,
}

/// Sends everything and waits for the last reply; the exit code.
pub fn run(session: &mut Session) -> i32 {
    if !session.connect() {
        return 1;
    }
    let patience_us = session.options.pipe_timeout_s.saturating_mul(1_000_000);
    let Some(mut link) = session.link.take() else {
        return 1;
    };
    // Nobody sends this by chance: its echo is the last reply.
    let mut mark = [0; 20];
    if let Err(error) = sys::random_bytes(&mut mark) {
        complain(&format!("Error: {}", sys::strerror(&error)));
        return 1;
    }
    let mark: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
    let passed = link
        .set_nonblocking()
        .and_then(|()| pass(session, &mut link, mark.as_bytes(), patience_us));
    match passed {
        Ok(tally) => {
            let (errors, replies) = (tally.errors, tally.replies);
            if tally.done {
                session.put(b"Last reply received from server.\n");
            } else {
                session.put(
                    format!(
                        "No replies for {} seconds: exiting.\n",
                        patience_us / 1_000_000
                    )
                    .as_bytes(),
                );
            }
            session.put(format!("errors: {errors}, replies: {replies}\n").as_bytes());
            i32::from(errors > 0 || !tally.done)
        }
        Err(broken) => {
            complain(&format!("Error: {broken}"));
            1
        }
    }
}

fn pass(
    session: &mut Session,
    link: &mut Link,
    mark: &[u8],
    patience_us: u64,
) -> Result<Tally, Broken> {
    let mut tally = Tally::default();
    let input = std::io::stdin();
    let (mut piece, mut sent, mut at_end) = (Vec::new(), 0, false);
    let mut quiet_since_us = mono_us();
    while !tally.done {
        if sent == piece.len() && !at_end {
            // What is left to send comes first: nothing more is read before.
            (piece, sent) = (Vec::new(), 0);
        }
        let full = sent < piece.len() || link.has_unsent();
        let hungry = piece.is_empty() && !at_end;
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, full);
        let mut fds = vec![PollFd::new(link.as_fd(), wanted)];
        if hungry {
            fds.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut fds, PollTimeout::from(500_u16)).map_err(std::io::Error::from)?;
        let ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| fd.any() == Some(true));
        let (server, more) = (ready(fds.first()), ready(fds.get(1)));
        if server && take(link, mark, at_end, &mut tally)? {
            quiet_since_us = mono_us();
        }
        if more {
            piece.resize(PIECE, 0);
            let read = input.lock().read(&mut piece)?;
            piece.truncate(read);
            if read == 0 {
                at_end = true;
                // The line end closes an inline request that has none.
                piece = [b"\r\n".to_vec(), request(&[b"ECHO".as_slice(), mark])].concat();
                session.put(b"All data transferred. Waiting for the last reply...\n");
                quiet_since_us = mono_us();
            }
        }
        if sent < piece.len() || link.has_unsent() {
            sent += link.write_some(&piece[sent..])?;
        }
        let waiting = at_end && sent == piece.len() && patience_us > 0;
        if waiting && mono_us() - quiet_since_us > patience_us {
            break;
        }
    }
    Ok(tally)
}

/// Counts what the server has said; whether it said anything.
fn take(link: &mut Link, mark: &[u8], at_end: bool, tally: &mut Tally) -> Result<bool, Broken> {
    match link.read() {
        Ok(0) => return Err(Broken::Closed),
        Err(Broken::Failed(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        read => _ = read?,
    }
    while let Some(value) = link.take_reply()? {
        match value {
            Value::Bulk(text) if at_end && text == mark => tally.done = true,
            Value::Error(text) => {
                complain(&String::from_utf8_lossy(&text));
                tally.errors += 1;
                tally.replies += 1;
            }
            _ => tally.replies += 1,
        }
    }
    Ok(true)
}
