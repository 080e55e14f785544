//! A primary's snapshot is loaded: in the place of what is there, or beside it.
//!
//! In steps, as files are at the start (`persist::load`), and fed by whoever has the bytes: from the file that they
//! were put into, or as they come. Beside what is there (`repl-diskless-load swapdb`), each step runs with the new
//! databases in the place of the old ones and puts those back: everybody else sees the old ones until all of the
//! new ones are there, and they stay if that never happens.
use crate::base::alloc;
use crate::base::clock::mono_us;
use crate::base::sys::ticks;
use crate::exec::registry::Registry;
use crate::keyspace::databases::Databases;
use crate::persist::debug::empty;
use crate::persist::groups;
use crate::persist::rdb::aside::Aside;
use crate::persist::rdb::read::{LoadError, Options, Progress, Reader, Taken};
use crate::state::State;
use crate::state::gate;
use crate::state::groups::{GroupId, Groups, Plan};
use crate::state::libraries::Libraries;
use crate::state::loading::LoadProgress;
use crate::state::per_group::PerGroup;
use std::mem::swap;
use std::time::Duration;

/// Keys between two looks at the time: between these, by what the last took.
const WORK: (usize, usize) = (32, 1024);
/// The aim for it, microseconds.
const WORK_US: u64 = 100;
/// A wait shorter than this is waited for in place, microseconds.
const POLLED_US: u64 = 2000;

/// Where a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The time is up.
    More,
    /// It wants so many bytes.
    Hungry(usize),
    /// A large key is built elsewhere.
    Waits,
    Done,
}

/// What is loaded beside what is there.
struct Beside {
    dbs: Databases,
    libraries: PerGroup<Libraries>,
    groups: Groups,
}

impl Beside {
    fn new(state: &State) -> Beside {
        let dbs = Databases::new(state.dbs.count(), state.dbs.hash_key());
        Beside {
            dbs,
            libraries: PerGroup::default(),
            groups: Groups::default(),
        }
    }

    fn exchange(&mut self, state: &mut State) {
        swap(&mut self.dbs, &mut state.dbs);
        swap(&mut self.libraries, &mut state.libraries);
        swap(&mut self.groups, &mut state.groups);
    }
}

/// A snapshot being loaded.
pub struct Intake {
    reader: Reader,
    beside: Option<Box<Beside>>,
    /// The old data answer meanwhile.
    serves: bool,
    work: usize,
    /// With `key-load-delay`: not before this moment (monotonic microseconds).
    pub wait_until_us: u64,
}

/// Where the data go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into the place of the old ones, which go now.
    Instead,
    /// Beside the old ones, which nobody sees meanwhile: they come back if it fails.
    Hidden,
    /// Beside the old ones, which answer meanwhile.
    Beside,
}

impl Intake {
    /// Begins; `total` is how many bytes will be fed, where that is known, and large keys are built `aside`.
    pub fn begin(
        state: &mut State,
        place: Place,
        total: Option<u64>,
        aside: Option<Aside>,
    ) -> Intake {
        let mut beside = None;
        if place == Place::Instead {
            log::info!("MASTER <-> REPLICA sync: Flushing old data");
            discard(state);
        } else {
            beside = Some(Box::new(Beside::new(state)));
        }
        groups::begin(state);
        let serves = place == Place::Beside;
        if let Some(upstream) = &mut state.repl.upstream {
            upstream.async_loading = serves;
        }
        if !serves {
            state.gate |= gate::LOADING;
        }
        state.settle_role();
        state.load = LoadProgress {
            started_s: state.clock.unix_ms / 1000,
            started_us: state.clock.mono_us,
            total_bytes: total.unwrap_or(0),
            loaded_bytes: 0,
            rdb_used_memory: 0,
            ..state.load
        };
        log::info!("MASTER <-> REPLICA sync: Loading DB in memory");
        Intake {
            reader: Reader::new(Options {
                taken: Taken::Refuse,
                drop_expired: false,
                checksum: state.config.rdbchecksum,
                total,
                starts: false,
            })
            .building_aside(aside),
            beside,
            serves,
            work: WORK.0,
            wait_until_us: 0,
        }
    }

    /// Takes the snapshot's next bytes; when it is hungry.
    pub fn feed_with<R>(&mut self, read: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.reader.feed_with(read)
    }

    /// What was fed and stands behind the snapshot.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.reader.take_rest()
    }

    /// Bytes of the snapshot that are loaded.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Is there nothing to do until a key is built?
    pub fn waits(&self) -> bool {
        self.reader.waits()
    }

    /// No more bytes will come.
    pub fn cut_short(&self) -> String {
        told(&self.reader.cut_short())
    }

    /// Goes on until the processor's clock shows `until`.
    pub fn step(&mut self, state: &mut State, until: u64) -> Result<Step, String> {
        let logged = std::mem::take(&mut state.prop.on);
        let (hits, misses) = (state.stats.hits, state.stats.misses);
        if let Some(beside) = &mut self.beside {
            beside.exchange(state);
        }
        let result = self.work(state, until);
        if let Some(beside) = &mut self.beside {
            beside.exchange(state);
        }
        state.prop.on = logged;
        (state.stats.hits, state.stats.misses) = (hits, misses);
        state.load.loaded_bytes = self.reader.position();
        result.map_err(|error| told(&error))
    }

    fn work(&mut self, state: &mut State, until: u64) -> Result<Step, LoadError> {
        let interval = u64::from(state.config.loading_process_events_interval_bytes);
        let before = self.reader.position();
        loop {
            let delay = state.config.key_load_delay;
            if delay > 0 {
                let wait_us = self.wait_until_us.saturating_sub(mono_us());
                if wait_us >= POLLED_US {
                    return Ok(Step::More);
                }
                // The poll knows no shorter time than that; this is for tests alone.
                std::thread::sleep(Duration::from_micros(wait_us));
            }
            let (started, keys) = (ticks(), self.reader.summary().keys);
            let most = if delay == 0 { self.work } else { 1 };
            match self.reader.step(state, most)? {
                Progress::More if self.reader.waits() => return Ok(Step::Waits),
                Progress::More => {}
                Progress::Hungry => return Ok(Step::Hungry(self.reader.wants())),
                Progress::Done => return Ok(Step::Done),
            }
            let took_us = state.stats.ticks_to_us(ticks().saturating_sub(started));
            if delay > 0 {
                let keys = self.reader.summary().keys - keys;
                let owed = keys * u64::from(delay.unsigned_abs());
                self.wait_until_us = self.wait_until_us.max(mono_us()) + owed;
            } else if took_us > 2 * WORK_US {
                self.work = (self.work / 2).max(WORK.0);
            } else if took_us < WORK_US / 2 {
                self.work = (self.work * 2).min(WORK.1);
            }
            if ticks() >= until || self.reader.position() - before >= interval {
                return Ok(Step::More);
            }
        }
    }

    /// All is loaded: it is the data set from here on. The database in which the stream goes on.
    pub fn finish(mut self, state: &mut State, table: &Registry) -> Result<u32, String> {
        let summary = self.reader.summary().clone();
        let swapped = self.beside.is_some();
        let installed = match self.beside.take() {
            Some(beside) => install(state, *beside),
            None => Ok(()),
        };
        let users = installed.and_then(|()| groups::restore_users(state, table, &summary.users));
        self.release(state);
        users.map_err(|why| format!("a group or its user cannot be: {why}"))?;
        if swapped {
            log::info!("MASTER <-> REPLICA sync: Discarding old DB in background");
        }
        let (keys, expired) = (summary.keys, summary.expired);
        (state.load.rdb_keys, state.load.rdb_expired) = (keys, expired);
        log::info!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}.");
        let db = summary
            .aux
            .iter()
            .find(|(name, _)| name == b"repl-stream-db");
        let db = db.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        Ok(db.unwrap_or(0))
    }

    /// It came to nothing: what is half there goes, or what was there before stays.
    pub fn abandon(mut self, state: &mut State) {
        match self.beside.take() {
            Some(beside) => {
                log::info!("MASTER <-> REPLICA sync: Discarding temporary DB in background");
                free(state, beside.dbs);
            }
            None => discard(state),
        }
        self.release(state);
    }

    fn release(&mut self, state: &mut State) {
        if !self.serves {
            state.gate &= !gate::LOADING;
        }
        if let Some(upstream) = &mut state.repl.upstream {
            upstream.async_loading = false;
        }
        state.settle_role();
    }
}

/// Databases on their way to be freed.
struct Gone(#[allow(dead_code)] Databases);

/// Frees databases that nobody sees.
fn free(state: &mut State, dbs: Databases) {
    let most = alloc::used().saturating_sub(state.run.startup_memory);
    state.garbage.later_unsized(Box::new(Gone(dbs)), 0, most);
}

/// All that there is goes.
fn discard(state: &mut State) {
    let logged = std::mem::take(&mut state.prop.on);
    empty(state, state.config.replica_lazy_flush);
    state.prop.on = logged;
}

/// What was loaded beside it takes the place of the data set.
fn install(state: &mut State, mut new: Beside) -> Result<(), String> {
    log::info!("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
    discard(state);
    swap(&mut state.dbs, &mut new.dbs);
    swap(&mut state.libraries, &mut new.libraries);
    state.dbs.new_clock = new.dbs.new_clock;
    state.dbs.pause_resize(state.child_alive);
    state.groups.file_databases = new.groups.file_databases;
    state.groups.stream_databases = new.groups.stream_databases;
    let plans: Vec<Vec<String>> = new
        .groups
        .iter()
        .filter(|group| !group.id.is_default())
        .map(Plan::words)
        .collect();
    for words in plans {
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let plan = Plan::parse(&words, true)?;
        state.restore_group(&plan)?;
    }
    state.signal_all_dbs();
    free(state, new.dbs);
    state.invalidate_all(GroupId::DEFAULT);
    Ok(())
}

fn told(error: &LoadError) -> String {
    format!(
        "Internal error in RDB reading offset {} -> {}",
        error.at, error.why
    )
}
