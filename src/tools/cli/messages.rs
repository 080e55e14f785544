//! Where a command has more than one answer: subscriptions and MONITOR.
//!
//! What comes is printed until the server hangs up. At a prompt, Ctrl-C ends it (with the connection, which
//! is opened anew), and any other key gives the prompt back while the subscriptions stay.
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::print::Form;
use super::session::{Session, is};
use crate::base::sys;
use crate::resp::value::Value;
use crate::tools::link::{Broken, Link};

const INTERRUPT: u8 = 3;

/// Whether the command changes subscriptions, and so is answered by messages.
pub fn is_subscription(argv: &[Vec<u8>]) -> bool {
    let names = ["subscribe", "psubscribe", "ssubscribe"];
    names.iter().any(|name| is(argv, &[name])) || is_leaving(argv)
}

fn is_leaving(argv: &[Vec<u8>]) -> bool {
    let names = ["unsubscribe", "punsubscribe", "sunsubscribe"];
    names.iter().any(|name| is(argv, &[name]))
}

/// Whether this is a message of a subscription, as RESP2 sends it.
pub fn is_message(value: &Value) -> bool {
    let kinds: [&[u8]; 3] = [b"message", b"pmessage", b"smessage"];
    kind(value).is_some_and(|kind| kinds.contains(&kind))
}

fn kind(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Array(items) | Value::Push(items) => items.first()?.as_bytes(),
        _ => None,
    }
}

/// What a person, or the server, did first.
enum Event {
    Data,
    Interrupted,
    Key,
}

/// Prints what comes after this request.
pub fn listen(session: &mut Session, argv: &[Vec<u8>]) -> Result<bool, Broken> {
    let monitor = is(argv, &["monitor"]);
    let leaving = is_leaving(argv);
    let expected = argv.len().saturating_sub(1).max(1);
    if !monitor && !leaving && session.form != Form::Raw {
        session.put(if session.keyboard {
            b"Reading messages... (press Ctrl-C to quit or any key to type command)\n"
        } else {
            b"Reading messages... (press Ctrl-C to quit)\n"
        });
    }
    // A terminal that does not take it leaves Ctrl-C what it always is.
    let keys = session.keyboard.then(|| sys::keys_at_once().ok()).flatten();
    let mut confirmed = 0;
    // Subscriptions to channels and patterns, and those to shard channels, are counted by themselves.
    let mut open = [0, 0];
    while !session.deaf {
        let link = session.link.as_mut().ok_or(Broken::Closed)?;
        if let Some(value) = link.take_reply()? {
            session.show(&value, false);
            if let Value::Error(_) = value {
                return Ok(false);
            }
            if let Some((sharded, count)) = confirmation(&value) {
                confirmed += 1;
                open[usize::from(sharded)] = count;
                session.subscribed = open != [0, 0];
            }
            if leaving && confirmed >= expected && open == [0, 0] {
                return Ok(true);
            }
            continue;
        }
        match keys.as_ref().map_or(Event::Data, |_| wait(link)) {
            Event::Data => {
                if link.read()? == 0 {
                    return Err(Broken::Closed);
                }
            }
            Event::Interrupted => {
                drop(keys);
                session.connect();
                return Ok(true);
            }
            // What MONITOR shows only ends with the connection.
            Event::Key if monitor => {}
            Event::Key => return Ok(true),
        }
    }
    Ok(true)
}

/// Waits for the server or a key.
fn wait(link: &Link) -> Event {
    let input = std::io::stdin();
    let mut fds = [
        PollFd::new(input.as_fd(), PollFlags::POLLIN),
        PollFd::new(link.as_fd(), PollFlags::POLLIN),
    ];
    if poll(&mut fds, PollTimeout::NONE).is_err() {
        return Event::Data;
    }
    if fds[0].any() != Some(true) {
        return Event::Data;
    }
    // Past the standard library's buffer: what that takes too much, the prompt would never see.
    let mut keys = [0; 64];
    match nix::unistd::read(&input, &mut keys) {
        Ok(count) if count > 0 && !keys[..count].contains(&INTERRUPT) => Event::Key,
        // A terminal that is gone asks for nothing any more.
        _ => Event::Interrupted,
    }
}

/// A change of subscriptions: whether of shard channels, and how many there are now.
fn confirmation(value: &Value) -> Option<(bool, i64)> {
    let (Value::Array(items) | Value::Push(items)) = value else {
        return None;
    };
    let kind = kind(value)?;
    let sharded = match kind {
        b"subscribe" | b"psubscribe" | b"unsubscribe" | b"punsubscribe" => false,
        b"ssubscribe" | b"sunsubscribe" => true,
        _ => return None,
    };
    match items.last() {
        Some(Value::Int(count)) => Some((sharded, *count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_confirmations_are_told_apart() {
        let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
        let change = |kind, count| Value::Push(vec![bulk(kind), bulk("c"), Value::Int(count)]);
        assert_eq!(confirmation(&change("subscribe", 2)), Some((false, 2)));
        assert_eq!(confirmation(&change("sunsubscribe", 0)), Some((true, 0)));
        let message = Value::Array(vec![bulk("message"), bulk("c"), bulk("text")]);
        assert_eq!(confirmation(&message), None);
        assert!(is_message(&message) && !is_message(&change("subscribe", 1)));
        assert!(!is_message(&Value::Array(vec![])) && !is_message(&Value::Int(1)));
    }
}
