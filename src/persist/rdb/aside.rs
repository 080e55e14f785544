//! A key too large to be built beside everything else that a turn does: another thread builds it.
//!
//! That thread is lent all that has come in, and gives it back with where it got to: behind the record, or nowhere
//! where more of it is to come first. What comes in until then waits in pieces: to put them together takes its
//! time, too.
use super::record::{Problem, Record, Rooms};
use crate::base::crc64::Crc64;
use crate::codec::{Fault, Source, Why};
use crate::types::Value;
use crate::types::saved::{Loaded, Loading};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// Has work done elsewhere, in the order in which it comes.
pub type Aside = Box<dyn Fn(Box<dyn FnOnce() + Send>)>;

/// Bytes of a record from which on it is read elsewhere: reading so many takes about half a millisecond, where
/// they are members of a collection.
pub(super) const HERE_MAX: usize = 32 << 10;
/// The same where they are one text.
pub(super) const TEXT_HERE_MAX: usize = 128 << 10;

/// The record at hand.
#[derive(Default)]
pub(super) struct Big {
    /// What came in and was not lent yet, and how many bytes that is.
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) fresh: usize,
    /// What is lent comes back here.
    lent: Option<Receiver<Attempt>>,
}

/// What has become of an attempt to read the record.
pub(super) struct Attempt {
    /// What was lent, and how much of it is used up.
    pub(super) window: Vec<u8>,
    pub(super) used: usize,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Key(Box<Key>),
    /// It is no key.
    Other,
    /// It lacks so many bytes at least.
    Short(usize),
    Problem(Problem),
}

/// A key that is built.
pub(super) struct Key {
    /// Where it begins in its record.
    pub(super) at: usize,
    pub(super) name: Vec<u8>,
    pub(super) value: Loaded<'static>,
    /// Bytes of the record, and the checksum behind it.
    pub(super) bytes: usize,
    pub(super) crc: Crc64,
}

impl Big {
    /// Is nothing to be done before another thread is done?
    pub(super) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Lends everything: what is in the window behind `used`, and all pieces.
    pub(super) fn lend(&mut self, window: Vec<u8>, used: usize, how: Loading, crc: Crc64) -> Work {
        let pieces = std::mem::take(&mut self.pieces);
        self.fresh = 0;
        let (tell, lent) = channel();
        self.lent = Some(lent);
        Box::new(move || {
            let (mut window, mut start) = (window, used);
            if !pieces.is_empty() {
                window.drain(..start);
                start = 0;
                window.reserve_exact(pieces.iter().map(Vec::len).sum());
            }
            for piece in pieces {
                window.extend_from_slice(&piece);
            }
            // Nobody may want it any more.
            let _ = tell.send(attempt(window, start, &how, crc));
        })
    }

    /// What was lent, if it is back; an error if it never will be.
    pub(super) fn take_back(&mut self) -> Result<Option<Attempt>, String> {
        let Some(lent) = &self.lent else {
            return Ok(None);
        };
        match lent.try_recv() {
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err("the thread that reads it has ended".to_owned()),
            Ok(attempt) => {
                self.lent = None;
                Ok(Some(attempt))
            }
        }
    }
}

type Work = Box<dyn FnOnce() + Send>;

fn attempt(mut window: Vec<u8>, start: usize, how: &Loading, mut crc: Crc64) -> Attempt {
    let mut source = Source::new(&window[start..]);
    let outcome = match Record::read(&mut source, how, &mut Rooms::default()) {
        Ok(Record::Key { at, key, value }) => {
            let bytes = source.position();
            crc.update(&window[start..start + bytes]);
            Outcome::Key(Box::new(Key {
                at,
                name: key.to_vec(),
                value: match value {
                    Loaded::Int(int) => Loaded::Int(int),
                    Loaded::Bytes(text) => Loaded::Value(Value::Str(text.to_vec().into())),
                    Loaded::Value(value) => Loaded::Value(value),
                },
                bytes,
                crc,
            }))
        }
        Ok(_) => Outcome::Other,
        Err(Problem::Fault(Fault {
            why: Why::Short(missing),
            ..
        })) => Outcome::Short(missing),
        Err(problem) => Outcome::Problem(problem),
    };
    let mut used = start;
    if let Outcome::Key(key) = &outcome {
        used += key.bytes;
        // Behind a huge value lie as many bytes again, with thousands of large ones in them: if each of these moved
        // what is left, that would take hours.
        if window.len() - used <= used {
            (window, used) = (window.split_off(used), 0);
        }
    }
    Attempt {
        window,
        used,
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb;

    #[test]
    fn what_lies_behind_a_record_moves_no_more_often_than_it_halves() {
        // Each large key behind a huge one once copied all that was left.
        const COUNT: usize = 1000;
        let record = [rdb::STRING, 1, b'k', 2, b'a', b'b'];
        let (mut window, mut used) = (record.repeat(COUNT), 0);
        let (mut big, mut moved) = (Big::default(), 0);
        for left in (0..COUNT).rev() {
            let place = window.as_ptr();
            big.lend(window, used, Loading::for_tests(), Crc64::new())();
            let attempt = big.take_back().expect("it was read").expect("it is there");
            assert!(matches!(attempt.outcome, Outcome::Key(key) if key.bytes == record.len()));
            (window, used) = (attempt.window, attempt.used);
            assert_eq!(window.len() - used, left * record.len());
            moved += usize::from(window.as_ptr() != place);
        }
        assert!(moved <= 12, "{moved}");
    }

    #[test]
    fn what_came_meanwhile_is_put_behind_what_is_left() {
        let mut big = Big {
            pieces: vec![b"b".to_vec(), b"..".to_vec()],
            ..Big::default()
        };
        let window = [1, 1, rdb::STRING, 1, b'k', 2, b'a'].to_vec();
        big.lend(window, 2, Loading::for_tests(), Crc64::new())();
        let attempt = big.take_back().expect("it was read").expect("it is there");
        assert!(matches!(&attempt.outcome, Outcome::Key(key) if key.name == b"k"));
        assert_eq!(attempt.window[attempt.used..], *b"..");
    }
}
