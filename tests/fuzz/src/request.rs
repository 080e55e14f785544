//! The request parser: however bytes arrive they mean the same, what is called canonical can be
//! encoded back to the very same bytes, and nothing is reserved for what is only announced.

use redvault::resp::argv::{Argv, Span};
use redvault::resp::request::{Limits, ProtocolError, Resume, Step, parse};

#[derive(Debug, PartialEq)]
enum Seen {
    Request(Vec<Vec<u8>>, bool),
    Empty,
    Bad(ProtocolError),
}

/// The first byte chooses limits and piece size, the rest is what a client sends.
pub fn run(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    // Shorter than an endless line, the only thing whose detection depends on arrival.
    let stream = &stream[..stream.len().min(60_000)];
    let mut limits = Limits {
        authenticated: choice & 1 == 0,
        ..Limits::default()
    };
    if choice & 2 != 0 {
        limits.bulk_len_max = 20;
        limits.multibulk_max = 3;
    }
    let whole = feed(stream, stream.len().max(1), &limits);
    let piece = 1 + usize::from(choice >> 3);
    assert_eq!(whole, feed(stream, piece, &limits), "in pieces of {piece}");
    if choice & 4 != 0 {
        limits.inline_max = 8;
        feed(stream, piece, &limits);
    }
}

fn feed(stream: &[u8], piece: usize, limits: &Limits) -> Vec<Seen> {
    let (mut buf, mut resume, mut spans) = (Vec::new(), Resume::default(), Vec::<Span>::new());
    let mut seen = Vec::new();
    for piece in stream.chunks(piece) {
        buf.extend_from_slice(piece);
        let mut pos = 0;
        loop {
            spans.clear();
            let before = pos;
            let original = buf[before..].to_vec();
            let step = parse(&mut buf, &mut pos, &mut resume, limits, &mut spans);
            assert!(spans.capacity() <= 8 + stream.len());
            match step {
                Step::Request => {
                    assert!(pos > before && pos <= buf.len());
                    let argv = Argv::new(&buf, &spans);
                    assert!(!argv.is_empty());
                    if resume.canonical() {
                        assert_eq!(encode(argv), original[..pos - before]);
                    }
                    let args = argv.iter().map(<[u8]>::to_vec).collect();
                    seen.push(Seen::Request(args, resume.canonical()));
                }
                Step::Empty => {
                    assert!(pos > before && pos <= buf.len() && spans.is_empty());
                    seen.push(Seen::Empty);
                }
                Step::NeedMore { at_least } => {
                    assert!(at_least > 0 && pos == before && spans.is_empty());
                    assert_eq!(buf[before..], original);
                    break;
                }
                Step::Bad(error) => {
                    assert!(error.text().starts_with(b"Protocol error: "));
                    seen.push(Seen::Bad(error));
                    return seen;
                }
            }
        }
        buf.drain(..pos);
    }
    seen
}

fn encode(argv: Argv<'_>) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", argv.len()).into_bytes();
    for arg in argv.iter() {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
