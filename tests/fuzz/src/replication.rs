//! The link between servers: what a primary says, whatever it is and in whatever pieces it comes, is refused or
//! taken, never more than there was; its stream does the same in pieces as whole, and to a replica's replica. What
//! replicas say of themselves leaves a stream that everybody finds his place in.

use std::io::IoSlice;

use redvault::exec::process::process;
use redvault::persist::aof::replay::{Progress, Replay};
use redvault::replication::link::handshake::{Agreed, Handshake, Introduction, Step};
use redvault::replication::link::resume;
use redvault::replication::link::transfer::{Frame, Transfer, frame};
use redvault::replication::{cron, feed};
use redvault::resp::argv::Argv;
use redvault::resp::reply::Writer;
use redvault::resp::request::{Limits, Resume, parse};
use redvault::state::State;
use redvault::state::client::{ClientId, Peer, client_flag};
use redvault::state::config::PropagationErrorBehavior;
use redvault::state::repl::{Link, Stage};

use crate::loading::{state, table};

const ID: &str = "0123456789abcdef0123456789abcdef01234567";
/// A line that is longer may be refused or cut, as it comes.
const LINE_MAX: usize = 1000;

/// The lines before any data flow; the first byte chooses what the replica has to say, and the size of pieces.
pub fn handshake(data: &[u8]) {
    let Some((&choice, lines)) = data.split_first() else {
        return;
    };
    let whole = shake(lines, lines.len().max(1), choice);
    if lines.split(|byte| *byte == b'\n').all(|line| line.len() < LINE_MAX) {
        let piece = 1 + usize::from(choice >> 4);
        assert_eq!(whole, shake(lines, piece, choice), "in pieces");
    }
}

/// What came of it, what was sent, and what of the input is left.
fn shake(lines: &[u8], piece: usize, choice: u8) -> (Step, Vec<u8>, Vec<u8>) {
    let has = |bit: u8| choice & bit != 0;
    let known = has(4).then(|| (ID.to_owned(), 12));
    let mut shake = Handshake::begin(Introduction {
        user: has(1).then(|| b"user".to_vec()),
        password: has(1).then(|| b"word".to_vec().into()),
        address: has(2).then(|| b"10.0.0.1".to_vec()),
        port: 6379,
        takes_over: has(8) && known.is_some(),
        known: known.clone(),
    });
    let mut input = Vec::new();
    let mut pieces = lines.chunks(piece);
    let step = loop {
        let Some(bytes) = pieces.next() else {
            break Step::Waiting;
        };
        input.extend_from_slice(bytes);
        match shake.take(&mut input) {
            Step::Waiting => assert!(input.len() <= LINE_MAX + 100 + piece),
            step => break step,
        }
    };
    if let Step::Agreed(Agreed::Full(Some((id, _))) | Agreed::Continue(Some(id))) = &step {
        assert!(id.len() == ID.len() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    if matches!(step, Step::Agreed(Agreed::Continue(_))) {
        assert!(known.is_some(), "nothing is known that could go on");
    }
    assert!(shake.out.len() < 1000);
    pieces.for_each(|bytes| input.extend_from_slice(bytes));
    (step, shake.out.to_vec(), input)
}

/// The snapshot's frame and its bytes; the first byte chooses the size of pieces.
pub fn transfer(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let whole = receive(bytes, bytes.len().max(1));
    let pieces = receive(bytes, 1 + usize::from(choice));
    // Where a mark stands by chance only the arrival tells it from the end.
    let marked = |got: &Option<Received>| matches!(got, Some((Frame::Mark(_), ..)));
    if !marked(&whole) && bytes.len() < LINE_MAX {
        assert_eq!(whole, pieces, "in pieces");
    }
}

type Received = (Frame, Vec<u8>, Vec<u8>, bool);

/// The frame, the snapshot's bytes, what is behind it, and whether it was whole.
fn receive(bytes: &[u8], piece: usize) -> Option<Received> {
    let (mut input, mut body, mut fed) = (Vec::new(), Vec::new(), 0);
    let mut transfer: Option<Transfer> = None;
    let mut whole = false;
    let mut before = 0;
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        fed += piece.len();
        if whole {
            continue;
        }
        if transfer.is_none() {
            let told = frame(&mut input).ok()?;
            before = fed - input.len();
            transfer = told.map(Transfer::new);
        }
        let Some(transfer) = &mut transfer else {
            continue;
        };
        whole = transfer.take(&mut input, |part| body.extend_from_slice(part));
        assert_eq!(transfer.taken, body.len() as u64);
        let mark = if transfer.length().is_none() { ID.len() } else { 0 };
        assert!(body.len() + input.len() + before + mark >= fed, "nothing is lost");
        assert!(before + body.len() <= fed, "nothing is invented");
        if let Some(length) = transfer.length() {
            assert_eq!(whole, body.len() as u64 == length);
        }
    }
    transfer.map(|transfer| (transfer.frame, body, input, whole))
}

/// A primary's stream; the first byte chooses the size of pieces, and what becomes of errors.
pub fn stream(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let mut whole = replica(choice);
    let result = follow(&mut whole, bytes, bytes.len().max(1), 1000);
    let mut second = replica(choice);
    let pieces = follow(&mut second, bytes, 1 + usize::from(choice >> 1), 1 + usize::from(choice & 7));
    assert_eq!(result.is_some(), pieces.is_some(), "in pieces");
    let (Some(done), Some(in_pieces)) = (result, pieces) else {
        return;
    };
    assert_eq!(done, in_pieces, "what is handed on");
    assert!(bytes.starts_with(&done));
    assert_eq!(whole.repl.offset, done.len() as u64);
    assert_eq!(whole.dbs.total_keys(), second.dbs.total_keys());
    // A replica of the replica has the same.
    let mut third = replica(choice);
    assert_eq!(follow(&mut third, &done, 100, 3).as_deref(), Some(&done[..]));
    assert_eq!(whole.dbs.total_keys(), third.dbs.total_keys());
}

fn replica(choice: u8) -> State {
    let mut state = state();
    if choice & 1 != 0 {
        state.config.propagation_error_behavior = PropagationErrorBehavior::Panic;
    }
    resume::follow(&mut state, "127.0.0.1".to_owned(), 1);
    resume::synced(&mut state, ID.to_owned(), 0, 0);
    state
}

/// What was handed on; `None` where the link ends.
fn follow(state: &mut State, bytes: &[u8], piece: usize, most: usize) -> Option<Vec<u8>> {
    let me = state.open_session(Peer::None);
    let client = state.clients.me(me);
    client.flags |= client_flag::PRIMARY;
    client.authenticated = true;
    client.gate = 0;
    if let Some(upstream) = &mut state.repl.upstream {
        (upstream.link, upstream.client) = (Link::Connected, Some(me));
    }
    let mut replay = Replay::of_primary(table(), 0);
    let (mut rest, mut done) = (bytes, Vec::new());
    let ended = loop {
        state.repl.applying = true;
        let running = state.running.replace(me);
        let step = replay.step(state, table(), me, most);
        state.running = running;
        state.repl.applying = false;
        let base = state.repl.offset;
        let hidden = replay.take_hidden();
        let part = replay.take_done().to_vec();
        state.repl.append(&part);
        for (from, to) in hidden {
            assert!(from <= to && to <= part.len());
            state.repl.hide(base + from as u64, base + to as u64);
        }
        done.extend_from_slice(&part);
        match step {
            Err(_) => break None,
            Ok(Progress::More) => {}
            Ok(Progress::Hungry) if rest.is_empty() => break Some(()),
            Ok(Progress::Hungry) => {
                assert!(replay.missing() > 0);
                let (next, behind) = rest.split_at(piece.min(rest.len()));
                replay.feed(next);
                rest = behind;
            }
        }
    };
    assert!(!state.prop.has_unit());
    feed::end_of_turn(state);
    state.end_session(me);
    ended.map(|()| done)
}

/// Requests of three clients about replication, a line each; its first byte tells whose it is.
pub fn replicas(data: &[u8]) {
    const NAMES: &[&[u8]] = &[
        b"psync", b"sync", b"replconf", b"replicaof", b"slaveof", b"role", b"wait", b"failover", b"info", b"set",
        b"select", b"multi", b"exec", b"client", b"incr", b"flushall", b"reset", b"waitaof",
    ];
    let mut state = state();
    state.config.repl_backlog_size = 16 << 10;
    state.repl.id = ID.to_owned();
    let clients: [ClientId; 3] = std::array::from_fn(|_| state.open_session(Peer::None));
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let Some((&whose, line)) = line.split_first() else {
            continue;
        };
        if whose == b'.' {
            state.clock.advance_ms(700);
            cron::run(&mut state);
            feed::end_of_turn(&mut state);
            continue;
        }
        let who = clients[usize::from(whose) % clients.len()];
        let mut line = [line, b"\r\n"].concat();
        let (mut pos, mut resume, mut spans) = (0, Resume::default(), Vec::new());
        parse(&mut line, &mut pos, &mut resume, &Limits::default(), &mut spans);
        if spans.is_empty() || state.clients.get(who).is_none() {
            continue;
        }
        let argv = Argv::new(&line, &spans);
        if !NAMES.iter().any(|name| name.eq_ignore_ascii_case(argv.get(0))) {
            continue;
        }
        let mut out = Writer::new(false);
        state.running = Some(who);
        process(&mut state, table(), table().find(argv.get(0)), argv, &mut out, who);
        state.running = None;
        // What a snapshot would do for those who wait for one.
        let offset = state.repl.offset;
        for replica in &mut state.repl.replicas {
            if replica.stage == Stage::WaitSnapshot && whose & 32 == 0 {
                (replica.stage, replica.sent) = (Stage::Online, Some(offset));
            }
        }
        feed::end_of_turn(&mut state);
        check(&state);
    }
}

/// The stream and those who read it agree.
fn check(state: &State) {
    let repl = &state.repl;
    if let Some(backlog) = &repl.backlog {
        assert_eq!(backlog.end(), repl.offset);
        assert!(backlog.base() <= backlog.end());
        for replica in &repl.replicas {
            let Some(sent) = replica.sent else { continue };
            assert!(sent <= repl.offset && sent >= backlog.base(), "its place is gone");
            let mut pieces = [IoSlice::new(&[]); 8];
            let n = backlog.pieces(sent, &mut pieces);
            assert!(n > 0 || sent == repl.offset);
        }
    } else {
        assert!(repl.replicas.iter().all(|one| one.sent.is_none()), "nothing to read from");
    }
    assert!(repl.hidden.iter().all(|(from, to)| from <= to && *to <= repl.offset));
    assert!(repl.id.len() == ID.len() && repl.second_id.len() == ID.len());
}
