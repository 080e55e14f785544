//! Reading a file of any version, in steps.
//!
//! The reader keeps the bytes it was fed with and has not used up: a window. A record that goes beyond it
//! is taken up again from its beginning when more has come, so who feeds it doubles the window (by
//! [`Reader::wants`]) to read a huge value once or twice, not a hundred times.
//!
//! Keys go into the keyspace by batches whose places are asked of the memory beforehand, and a database is
//! made large enough when the file says how many keys it has: together three times as fast as one by one.

use std::{fmt, mem};

use super::CHECKSUM_VERSION_MIN;
use super::aside::{Aside, Big, HERE_MAX, Outcome, TEXT_HERE_MAX};
use super::record::{MAGIC, Problem, Record, Rooms, library_failed, module_name, version_of};
use crate::base::crc64::Crc64;
use crate::base::num::parse_i64;
use crate::codec::{Fault, Source, Why, rdb};
use crate::keyspace::arrivals::Arrivals;
use crate::persist::groups;
use crate::script::functions;
use crate::state::State;
use crate::state::groups::GroupId;
use crate::state::libraries::{Library, Refusal};
use crate::state::repl::role::STREAM_DATABASES;
use crate::state::repl::{ID_LEN, OFFSET_MAX};
use crate::types::saved::{Loaded, Loading, complaint};

/// So many keys without elements are named in the log.
const EMPTY_LOGGED: u64 = 10;
/// Bytes to be fed at least.
const CHUNK: usize = 128 << 10;
/// Bytes of a small key with its type and value: a file that announces more keys than that is not believed.
const KEY_BYTES_MIN: u64 = 8;

/// What is done with a key or a library that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The file is refused: no file has one twice.
    Refuse,
    /// The file's replaces it.
    Replace,
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub taken: Taken,
    /// Keys whose deadline has passed are left out. Not where another server decides on their end.
    pub drop_expired: bool,
    /// The checksum is compared.
    pub checksum: bool,
    /// Bytes that will be fed in all, where that is known.
    pub total: Option<u64>,
    /// The server starts with it: where it tells of the history that its data belong to, that goes on.
    pub starts: bool,
}

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The version of the file.
    pub version: u32,
    /// Keys that are in the keyspace now.
    pub keys: u64,
    /// Keys left out because their deadline had passed.
    pub expired: u64,
    /// Keys left out because their collection had no element.
    pub empty: u64,
    /// Facts about the file and its writer, in their order.
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    /// Function libraries that are in the state now.
    pub libraries: u64,
    /// Requests that make users of groups: for who knows the commands.
    pub users: Vec<Vec<u8>>,
}

/// Why a file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// Offset in the file.
    pub at: u64,
    pub why: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at offset {}", self.why, self.at)
    }
}

impl std::error::Error for LoadError {}

/// Where a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The budget is spent.
    More,
    /// The window is used up, or what is left of it is part of a record.
    Hungry,
    /// The file is read to its end.
    Done,
}

/// What is known of the next key before it comes.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    expire_at: Option<i64>,
    idle_s: Option<i64>,
    uses: Option<u8>,
}

/// Reads one file. After an error or the end it is used no more.
pub struct Reader {
    options: Options,
    window: Vec<u8>,
    /// What of the window is used up.
    used: usize,
    /// Bytes of the file before the window.
    gone: u64,
    /// What the record at hand lacks at least.
    missing: usize,
    crc: Crc64,
    how: Option<Loading>,
    db: usize,
    before: Before,
    summary: Summary,
    /// Keys of `db` that are read and not in it yet, with the places of their records.
    arrivals: Arrivals<u64>,
    rooms: Rooms,
    /// Others have the data of this file: they are told of keys that are left out.
    tells: bool,
    /// Who builds keys that are large.
    aside: Option<Aside>,
    /// The record at hand is a large one's.
    big: Option<Big>,
    /// The record at hand is read here, although it is large: it is no key, or a text.
    here: bool,
    /// The last step has not seen all of the window.
    cut: bool,
}

/// What one record was.
#[derive(PartialEq, Eq)]
enum Item {
    Key,
    Other,
    End,
}

impl Reader {
    /// A reader that has seen nothing yet.
    pub fn new(options: Options) -> Reader {
        Reader {
            options,
            window: Vec::new(),
            used: 0,
            gone: 0,
            missing: MAGIC,
            crc: Crc64::new(),
            how: None,
            db: 0,
            before: Before::default(),
            summary: Summary::default(),
            arrivals: Arrivals::new(),
            rooms: Rooms::default(),
            tells: false,
            aside: None,
            big: None,
            here: false,
            cut: false,
        }
    }

    /// Has large keys built elsewhere: whoever steps then asks whether it [`waits`](Reader::waits).
    pub fn building_aside(self, aside: Option<Aside>) -> Reader {
        Reader { aside, ..self }
    }

    /// Is there nothing to do until a key is built?
    pub fn waits(&self) -> bool {
        self.big.as_ref().is_some_and(Big::is_lent)
    }

    /// How many bytes to feed next.
    pub fn wants(&self) -> usize {
        let wanted = self.missing.max(self.window.len() - self.used).max(CHUNK);
        let fresh = self.big.as_ref().map_or(0, |big| big.fresh);
        wanted.saturating_sub(fresh).max(1)
    }

    /// How many bytes the record at hand lacks at least.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.feed_with(|window| window.extend_from_slice(bytes));
    }

    /// Takes the next bytes of the file, as `read` puts them behind those that are there.
    pub fn feed_with<R>(&mut self, read: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if let Some(big) = &mut self.big {
            let mut piece = Vec::new();
            let result = read(&mut piece);
            big.fresh += piece.len();
            big.pieces.push(piece);
            return result;
        }
        self.tidy();
        read(&mut self.window)
    }

    fn tidy(&mut self) {
        self.window.drain(..self.used);
        self.gone += self.used as u64;
        self.used = 0;
    }

    /// What was fed and does not belong to the file, behind its end.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.window.split_off(self.used);
        self.tidy();
        rest
    }

    /// Bytes of the file that are loaded.
    pub fn position(&self) -> u64 {
        self.gone + self.used as u64
    }

    /// What was loaded so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The file ended although the reader is hungry.
    pub fn cut_short(&self) -> LoadError {
        let fresh = self.big.as_ref().map_or(0, |big| big.fresh);
        let held = self.window.len() - self.used + fresh;
        self.error(held, "the file ends too early")
    }

    #[cold]
    fn error(&self, at: usize, why: impl Into<String>) -> LoadError {
        LoadError {
            at: self.position() + at as u64,
            why: why.into(),
        }
    }

    /// Loads about `keys` keys into the keyspace.
    pub fn step(&mut self, state: &mut State, keys: usize) -> Result<Progress, LoadError> {
        if self.big.is_some() {
            return self.step_aside(state);
        }
        let before = self.used;
        // Out while they are used.
        let (window, mut rooms) = (mem::take(&mut self.window), mem::take(&mut self.rooms));
        let result = self.step_in(&window, &mut rooms, state, keys);
        (self.window, self.rooms) = (window, rooms);
        // Whoever looks at the keyspace between two steps sees every key that was counted.
        let settled = self.settle(state);
        let progress = result.and_then(|progress| settled.map(|()| progress))?;
        if progress != Progress::Hungry || self.aside.is_none() {
            return Ok(progress);
        }
        let text = self.window.get(self.used) == Some(&rdb::STRING);
        if self.cut {
            if self.used > before {
                return Ok(Progress::More);
            }
            if text && self.window.len() - self.used <= TEXT_HERE_MAX {
                // If it is not all there it is known what it lacks.
                self.here = true;
                return Ok(Progress::More);
            }
            self.missing = 0;
        } else {
            let most = if text { TEXT_HERE_MAX } else { HERE_MAX };
            if self.missing <= most || (self.here && !text) {
                return Ok(progress);
            }
        }
        (self.big, self.here) = (Some(Big::default()), false);
        self.step_aside(state)
    }

    /// A step on the way of a key that is built elsewhere.
    fn step_aside(&mut self, state: &mut State) -> Result<Progress, LoadError> {
        let Some(mut big) = self.big.take() else {
            return Ok(Progress::More);
        };
        if !big.is_lent() {
            if big.fresh < self.missing {
                self.big = Some(big);
                return Ok(Progress::Hungry);
            }
            let (window, used) = (mem::take(&mut self.window), mem::take(&mut self.used));
            self.gone += used as u64;
            let mut how = self.how.clone().unwrap_or_else(|| state.loading(0));
            how.now_ms = state.clock.unix_ms;
            let work = big.lend(window, used, how, self.crc.clone());
            if let Some(aside) = &self.aside {
                aside(work);
            }
        }
        let Some(attempt) = big.take_back().map_err(|why| self.error(0, why))? else {
            self.big = Some(big);
            return Ok(Progress::More);
        };
        // Until here this is where the record begins, and what tells of a place counts from it.
        debug_assert_eq!((self.window.len(), self.used), (0, 0));
        let mut whole = true;
        match attempt.outcome {
            Outcome::Short(missing) => (self.missing, whole) = (missing, false),
            Outcome::Problem(Problem::Fault(fault)) => {
                let first = attempt.window.get(attempt.used).copied();
                return Err(self.broken(first.unwrap_or_default(), &fault));
            }
            Outcome::Problem(Problem::Other(why)) => return Err(self.error(0, why)),
            Outcome::Other => self.here = true,
            Outcome::Key(key) => {
                self.crc = key.crc;
                let built = self.key(key.at, &key.name, key.value, state);
                built.and_then(|()| self.settle(state))?;
                self.gone += key.bytes as u64;
            }
        }
        (self.window, self.used) = (attempt.window, attempt.used);
        self.gone -= self.used as u64;
        if !whole {
            self.big = Some(big);
            return Ok(Progress::Hungry);
        }
        for piece in big.pieces {
            self.window.extend_from_slice(&piece);
        }
        Ok(Progress::More)
    }

    /// What is wrong with a record, which began with this byte.
    fn broken(&self, first: u8, fault: &Fault) -> LoadError {
        let why = complaint(first, fault);
        self.error(fault.at, why.unwrap_or_else(|| fault.why.to_string()))
    }

    fn step_in(
        &mut self,
        window: &[u8],
        rooms: &mut Rooms,
        state: &mut State,
        keys: usize,
    ) -> Result<Progress, LoadError> {
        let start = self.used;
        let seen = match self.aside {
            // What goes beyond it is read elsewhere.
            Some(_) if !self.here => window.len().min(start + HERE_MAX),
            _ => window.len(),
        };
        self.cut = seen < window.len();
        let window = &window[..seen];
        let mut source = Source::new(&window[start..]);
        if self.how.is_none() {
            if source.left() < MAGIC {
                self.missing = MAGIC - source.left();
                return Ok(Progress::Hungry);
            }
            let magic = source.take(MAGIC).unwrap_or_default();
            let version = version_of(magic).map_err(|why| self.error(0, why))?;
            self.summary.version = version;
            self.how = Some(state.loading(version));
        }
        let mut how = self.how.clone().unwrap_or_else(|| state.loading(0));
        how.now_ms = state.clock.unix_ms;

        let mut left = keys;
        let mut taken = source.position();
        let progress = loop {
            if left == 0 {
                break Progress::More;
            }
            let mut ahead = source.clone();
            match self.item(&mut ahead, rooms, state, &how) {
                Ok(Item::Key) => left -= 1,
                Ok(Item::Other) => {}
                Ok(Item::End) => {
                    let end = ahead.position();
                    match self.end(&window[start..], end, ahead)? {
                        Progress::Done => return Ok(Progress::Done),
                        // The records before it need not come again.
                        progress => break progress,
                    }
                }
                Err(Stop::Problem(Problem::Fault(Fault {
                    why: Why::Short(missing),
                    ..
                }))) => {
                    self.missing = missing;
                    break Progress::Hungry;
                }
                Err(Stop::Problem(Problem::Fault(fault))) => {
                    // Where a value is broken its record began with its type.
                    return Err(self.broken(window[start + taken], &fault));
                }
                Err(Stop::Problem(Problem::Other(why))) => return Err(self.error(taken, why)),
                Err(Stop::Load(error)) => return Err(error),
            }
            source = ahead;
            taken = source.position();
            if self.here {
                break Progress::More;
            }
        };
        self.crc.update(&window[start..start + taken]);
        self.used += taken;
        self.here &= taken == 0;
        Ok(progress)
    }

    /// Behind the last record: the checksum.
    fn end(
        &mut self,
        bytes: &[u8],
        taken: usize,
        mut source: Source<'_>,
    ) -> Result<Progress, LoadError> {
        if self.summary.version < CHECKSUM_VERSION_MIN {
            self.used += taken;
            return Ok(Progress::Done);
        }
        let Ok(expected) = source.u64_le() else {
            // The end comes again when it is whole.
            self.missing = 8;
            return Ok(Progress::Hungry);
        };
        self.crc.update(&bytes[..taken]);
        let found = self.crc.value();
        match expected {
            _ if !self.options.checksum => {}
            0 => log::warn!("RDB file was saved with checksum disabled: no check performed."),
            _ if expected == found => {}
            _ => {
                return Err(self.error(
                    taken,
                    format!("RDB CRC error: the file says {expected:016x}, its bytes {found:016x}"),
                ));
            }
        }
        self.used += taken + 8;
        Ok(Progress::Done)
    }

    /// Reads the next record. What it says takes effect only when it is whole.
    #[inline]
    fn item(
        &mut self,
        source: &mut Source<'_>,
        rooms: &mut Rooms,
        state: &mut State,
        how: &Loading,
    ) -> Result<Item, Stop> {
        match Record::read(source, how, rooms)? {
            Record::Key { at, key, value } => {
                self.key(at, key, value, state)?;
                return Ok(Item::Key);
            }
            Record::End => return Ok(Item::End),
            Record::Db(db) => {
                let number = usize::try_from(db).unwrap_or(usize::MAX);
                let Some(db) = state.db_of_file(number) else {
                    return Err(Stop::from(Problem::Other(state.unknown_db(number))));
                };
                self.settle(state)?;
                self.db = db;
            }
            Record::Size { keys } => self.reserve(keys, state),
            Record::Deadline(at) => self.before.expire_at = Some(at),
            Record::Idle(seconds) => self.before.idle_s = Some(seconds),
            Record::Uses(uses) => self.before.uses = Some(uses),
            Record::Fact { name, value } => self.aux(state, name, value)?,
            Record::Function(library) => {
                let replace = self.options.taken == Taken::Replace;
                let added = functions::add(state, GroupId::DEFAULT, library, replace, false);
                added.map_err(library_failed)?;
                self.summary.libraries += 1;
            }
            Record::ModuleData(module) => {
                log::warn!("Data of the module {} are left out", module_name(module));
            }
            Record::ModuleKey { key, module } => {
                return Err(Stop::from(Problem::Other(format!(
                    "the key '{}' is of the module type {}, which is not known",
                    String::from_utf8_lossy(&key),
                    module_name(module)
                ))));
            }
            Record::Slot => {}
        }
        Ok(Item::Other)
    }

    /// Makes room for the keys that the file announces, if the rest of it can hold them.
    fn reserve(&self, keys: u64, state: &mut State) {
        /// Where the length of the file is not known, it is not believed beyond this.
        const KEYS_MAX: u64 = 1 << 20;
        let most = match self.options.total {
            Some(total) => total.saturating_sub(self.position()) / KEY_BYTES_MIN,
            None => KEYS_MAX,
        };
        let there = state.dbs[self.db].len();
        state.dbs[self.db].reserve(there + keys.min(most) as usize);
    }

    fn aux(&mut self, state: &mut State, name: Vec<u8>, value: Vec<u8>) -> Result<(), Stop> {
        /// Facts that are kept: nobody writes more.
        const KEPT_MAX: usize = 100;
        let number = || parse_i64(&value).unwrap_or_default();
        match &name[..] {
            b"redis-ver" | b"valkey-ver" => {
                let writer = String::from_utf8_lossy(&value);
                log::info!("Loading RDB produced by version {writer}");
            }
            b"ctime" => {
                let age_s = (state.clock.unix_ms / 1000).saturating_sub(number()).max(0);
                log::info!("RDB age {age_s} seconds");
            }
            b"used-mem" => {
                state.load.rdb_used_memory = number().max(0).cast_unsigned();
                let mib = number() as f64 / (1024.0 * 1024.0);
                log::info!("RDB memory usage when created {mib:.2} Mb");
            }
            b"repl-offset" if self.options.starts => self.history(state, &value),
            b"aof-base" if number() == 1 => log::info!("RDB is base AOF"),
            name if name.starts_with(b"redvault-") => return self.group_fact(state, name, &value),
            _ => {}
        }
        if self.summary.aux.len() < KEPT_MAX {
            self.summary.aux.push((name, value));
        }
        Ok(())
    }

    /// The file tells how far its data go in a history, of which it has said the name.
    fn history(&mut self, state: &mut State, offset: &[u8]) {
        let told = |name: &[u8]| {
            let found = self.summary.aux.iter().find(|(key, _)| key == name);
            found.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        let offset = parse_i64(offset).and_then(|offset| u64::try_from(offset).ok());
        let offset = offset.filter(|offset| *offset < OFFSET_MAX);
        let id = told(b"repl-id").filter(|id| id.len() == ID_LEN);
        if let (Some(id), Some(offset)) = (id, offset) {
            let db = told(b"repl-stream-db").and_then(|db| db.parse().ok());
            state.continue_history(id.to_owned(), offset, db.unwrap_or(0));
            self.tells = !state.repl.is_replica();
        }
    }

    /// What the file says of groups.
    fn group_fact(&mut self, state: &mut State, name: &[u8], value: &[u8]) -> Result<(), Stop> {
        let done = match std::str::from_utf8(name) {
            Ok(groups::DATABASES) => {
                groups::count_of_file(value).map(|count| state.groups.file_databases = count)
            }
            Ok(STREAM_DATABASES) => {
                groups::count_of_file(value).map(|count| state.groups.stream_databases = count)
            }
            Ok(groups::GROUP) => groups::restore(state, value),
            Ok(groups::USER) => {
                self.summary.users.push(value.to_vec());
                Ok(())
            }
            Ok(groups::LIBRARY) => self.library(state, value),
            // A newer server's.
            _ => Ok(()),
        };
        done.map_err(|why| Stop::from(Problem::Other(format!("a group cannot be: {why}"))))
    }

    /// A group's number and, behind a colon, the code of a library.
    fn library(&mut self, state: &mut State, value: &[u8]) -> Result<(), String> {
        let colon = memchr::memchr(b':', value).ok_or("a library of no group")?;
        let id = parse_i64(&value[..colon]).and_then(|id| u32::try_from(id).ok());
        let group = id.map(GroupId).filter(|id| state.groups.get(*id).is_some());
        let group = group.ok_or("a library of a group that is not there")?;
        let replace = self.options.taken == Taken::Replace;
        let added = Library::parse(value[colon + 1..].to_vec())
            .and_then(|library| functions::add(state, group, library, replace, false));
        added.map_err(|Refusal(why)| String::from_utf8_lossy(&why).into_owned())?;
        self.summary.libraries += 1;
        Ok(())
    }

    /// Builds a key.
    #[inline]
    fn key(
        &mut self,
        at: usize,
        key: &[u8],
        value: Loaded<'_>,
        state: &mut State,
    ) -> Result<(), LoadError> {
        let before = mem::take(&mut self.before);
        let past = before.expire_at.is_some_and(|at| at < state.clock.unix_ms);
        if past && self.options.drop_expired {
            self.summary.expired += 1;
            if self.tells {
                state.tell_left_out(self.db, key);
            }
            return Ok(());
        }
        if value.is_empty() {
            if self.summary.empty < EMPTY_LOGGED {
                let name = String::from_utf8_lossy(key);
                log::info!("rdbLoadObject skipping empty key: {name}");
            }
            self.summary.empty += 1;
            return Ok(());
        }
        let clock = if before.idle_s.is_some() || before.uses.is_some() {
            state.restored_clock(before.idle_s, before.uses)
        } else {
            state.dbs.new_clock
        };
        let (db, at) = (&state.dbs[self.db], self.position() + at as u64);
        self.arrivals
            .add(db, key, value.into(), before.expire_at, clock, at);
        if self.arrivals.is_full() {
            self.settle(state)?;
        }
        Ok(())
    }

    /// Puts the keys that were built into their database.
    fn settle(&mut self, state: &mut State) -> Result<(), LoadError> {
        let before = state.dbs[self.db].len() as u64;
        while let Some(taken) = self.arrivals.settle(&mut state.dbs[self.db]) {
            if self.options.taken == Taken::Refuse {
                return Err(LoadError {
                    at: taken.note,
                    why: "a key that is there already".to_owned(),
                });
            }
            state.remove(self.db, taken.there, false);
            state.dbs[self.db].insert_entry(taken.hash, taken.entry);
            self.summary.keys += 1;
        }
        self.summary.keys += state.dbs[self.db].len() as u64 - before;
        Ok(())
    }
}

/// Why a record was not taken.
enum Stop {
    Problem(Problem),
    Load(LoadError),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Stop {
        Stop::Problem(problem)
    }
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Stop {
        Stop::Load(error)
    }
}
