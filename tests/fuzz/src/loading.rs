//! The readers of files: whatever the bytes, and in whatever pieces they come, a file is refused or leaves a
//! keyspace that can be walked, saved and loaded again; nothing is reserved for what is only announced.

use std::sync::OnceLock;

use redvault::base::clock::Clock;
use redvault::base::rng::Rng;
use redvault::codec::Sink;
use redvault::exec::registry::Registry;
use redvault::persist::aof::replay::{self, Replay, is_torn};
use redvault::persist::rdb::read::{Options, Progress, Reader, Taken};
use redvault::persist::rdb::write::write;
use redvault::server::registry;
use redvault::state::State;
use redvault::state::client::Peer;
use redvault::state::config::Config;

/// More keys than that from the fewest bytes would be a reader that invents some.
const BYTES_PER_KEY_MIN: usize = 3;

pub(crate) fn table() -> &'static Registry {
    static TABLE: OnceLock<Registry> = OnceLock::new();
    TABLE.get_or_init(|| registry::build(&|_| None))
}

pub(crate) fn state() -> State {
    let config = Config {
        // A request of a few bytes may ask for so much memory.
        proto_max_bulk_len: 1 << 20,
        ..Config::default()
    };
    let rows = table().rows().len();
    let mut state = State::new(
        config,
        Rng::from_seed(1),
        Clock::manual(1_790_000_000_000),
        rows,
        1.0,
    );
    state.apply_config();
    state
}

/// A snapshot, whole and in pieces.
pub fn rdb(data: &[u8]) {
    let mut whole = state();
    let result = read(data, &mut whole, data.len().max(1));
    let mut again = state();
    assert_eq!(result, read(data, &mut again, 13), "in pieces");
    if result.is_none() {
        return;
    }
    assert!(whole.dbs.total_keys() * BYTES_PER_KEY_MIN <= data.len());
    let ours = written(&whole);
    let mut third = state();
    assert!(read(&ours, &mut third, 4096).is_some(), "our own file");
    assert_eq!(third.dbs.total_keys(), whole.dbs.total_keys());
}

/// The keys that were loaded; `None` for a file that is refused.
fn read(data: &[u8], state: &mut State, piece: usize) -> Option<u64> {
    let mut reader = Reader::new(Options {
        taken: Taken::Refuse,
        drop_expired: false,
        checksum: false,
        total: Some(data.len() as u64),
        starts: false,
    });
    let mut rest = data;
    loop {
        match reader.step(state, 5).ok()? {
            Progress::More => {}
            Progress::Done => return Some(reader.summary().keys),
            Progress::Hungry if rest.is_empty() => return None,
            Progress::Hungry => {
                assert!(reader.missing() > 0);
                let (next, behind) = rest.split_at(piece.min(rest.len()));
                reader.feed(next);
                rest = behind;
            }
        }
    }
}

fn written(state: &State) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = Sink::to_writer(&mut file, false, true);
    write(state, &mut sink, 1, &[], &mut |_| {});
    sink.finish().expect("a vector takes everything");
    file
}

/// An append only file behind one byte that chooses the size of pieces.
pub fn aof(data: &[u8]) {
    let Some((&choice, file)) = data.split_first() else {
        return;
    };
    let mut whole = state();
    let result = run(file, &mut whole, file.len().max(1), 1000);
    let mut again = state();
    let pieces = run(file, &mut again, 1 + usize::from(choice), 1 + usize::from(choice & 7));
    assert_eq!(result, pieces, "in pieces");
    if result.is_none() {
        // How much of a file has run that is refused is nobody's business: the server ends.
        return;
    }
    assert_eq!(whole.dbs.total_keys(), again.dbs.total_keys());
    let mut third = state();
    let loaded = read(&written(&whole), &mut third, 4096);
    assert!(loaded.is_some(), "what requests have made can be saved");
}

/// Up to where a file is whole; `None` for one that is refused.
fn run(file: &[u8], state: &mut State, piece: usize, most: usize) -> Option<u64> {
    state.gate |= redvault::state::gate::LOADING;
    let me = state.open_session(Peer::None);
    let mut replay = Replay::new(table());
    let mut rest = file;
    loop {
        match replay.step(state, table(), me, most).ok()? {
            replay::Progress::More => {}
            replay::Progress::Hungry if rest.is_empty() => break,
            replay::Progress::Hungry => {
                assert!(replay.missing() > 0);
                let (next, behind) = rest.split_at(piece.min(rest.len()));
                replay.feed(next);
                rest = behind;
            }
        }
    }
    let end = match replay.end() {
        Ok(()) => file.len() as u64,
        Err(cut) => {
            is_torn(replay.rest().to_vec(), table());
            cut.at
        }
    };
    assert!(end <= file.len() as u64);
    Some(end)
}
