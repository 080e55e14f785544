//! What is noted of a command that is looked at closer: whose keys it served, at what cost.
use super::command::{flag, key_flag};
use super::keys;
use super::registry::Row;
use crate::resp::reply::{Mark, Writer};
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::hotkeys::KeyId;

/// Keys of one command that its cost is divided among; of more, so many stand for all.
const KEYS_MAX: usize = 16;

/// What a command took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub ticks: u64,
    /// Of the request and its reply.
    pub bytes: u64,
}

/// A command that was chosen to be looked at, for as long as it runs.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    tick: u64,
    mark: Mark,
}

impl Look {
    /// It runs next.
    pub fn begin(state: &State, out: &Writer) -> Self {
        Self {
            tick: state.stats.tick,
            mark: out.mark(),
        }
    }

    /// It has run in database `db`: its keys get its cost, unless that has been seen to already since it
    /// was high.
    #[cold]
    pub fn end(self, state: &mut State, row: &Row, argv: Argv<'_>, db: usize, out: &Writer) {
        let ticks = state.stats.tick.saturating_sub(self.tick);
        if ticks >= state.stats.hot_ticks {
            return;
        }
        let request = argv.wire().map_or(0, <[u8]>::len);
        let cost = Cost {
            ticks,
            bytes: (request + out.len_since(self.mark)) as u64,
        };
        let weight = state.hotkeys.of(state.group_of(db)).period();
        note_keys(state, row, argv, db, cost, weight);
    }
}

/// Counts a command for HOTKEYS; it stands for `weight` of its kind.
#[cold]
pub fn note_keys(state: &mut State, row: &Row, argv: Argv<'_>, db: usize, cost: Cost, weight: u64) {
    let group = state.group_of(db);
    if !state.hotkeys.of(group).is_on() || row.cmd.is(flag::RUNS_QUEUE) {
        return;
    }
    let (ticks, bytes) = (
        cost.ticks.saturating_mul(weight),
        cost.bytes.saturating_mul(weight),
    );
    let mut found = match keys::has_keys(row.cmd) {
        true => keys::find(row.cmd, argv).unwrap_or_default(),
        false => Vec::new(),
    };
    found.retain(|key| key.flags & key_flag::NOT_KEY == 0);
    let shares = found.len().min(KEYS_MAX);
    let hash = |name: &[u8]| state.dbs.hash(name);
    let Some(lists) = state.hotkeys.get_mut(group) else {
        return;
    };
    if shares == 0 {
        lists.count(ticks, bytes);
        return;
    }
    let stride = found.len() / shares;
    let of_one = |all: u64| all / shares as u64;
    for share in 0..shares {
        let name = argv.get(found[share * stride].at);
        let key = KeyId {
            db: db as u32,
            hash: hash(name),
            name,
        };
        lists.add(key, of_one(ticks), of_one(bytes));
    }
}
