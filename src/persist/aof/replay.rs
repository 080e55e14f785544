//! Reading an append only file, or a primary's stream: requests run again, in steps.
//!
//! Like the reader of RDB files it is fed with bytes as they come (its window) and does a bounded piece of
//! work at a time. Requests are parsed ahead and what their keys need is fetched for many of them at once,
//! as for a client's pipeline. A transaction runs only when its EXEC has been seen: until then the window
//! grows, so that a file that ends within one leaves nothing of it behind. The window is never longer than
//! twice the longest request or transaction.
//!
//! What the file says is trusted as little as any other input: a request runs only if it is one that a log
//! of changes may hold, so no file can end the server or change its configuration.
//!
//! A stream is the same with clients around: what runs is counted, logged for this server's own file and told to
//! whoever watches or waits for a key. Its raw bytes are handed on as far as they have run ([`Replay::take_done`]),
//! never a part of a transaction.

use std::fmt;

use crate::base::num::parse_i64;
use crate::exec::admit::feed_monitors;
use crate::exec::batch::{Batch, NO_ROW, Parsed, hint_keys, prefetch_members};
use crate::exec::call::{call, replay};
use crate::exec::command::{UsedDbs, flag};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::CmdError;
use crate::exec::keys;
use crate::exec::process::resolve_row;
use crate::exec::registry::{CommandId, Registry, Row};
use crate::exec::unit;
use crate::keyspace::databases::BATCH_MAX;
use crate::persist::groups;
use crate::resp::reply::Writer;
use crate::resp::request::{Argv, Limits, Resume, Step, parse};
use crate::state::State;
use crate::state::client::ClientId;
use crate::state::config::PropagationErrorBehavior;
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::prop::Carried;

/// Bytes to be fed at least.
const CHUNK: usize = 128 << 10;
/// Requests parsed before the first one runs.
const AHEAD: usize = 64;
/// Room that the window keeps when it is empty.
const WINDOW_KEPT: usize = 4 << 20;
/// Spans are 32 bits wide.
const WINDOW_MAX: usize = u32::MAX as usize - 1;
/// The longest comment: annotations are short.
const COMMENT_MAX: usize = 1024;
/// So many errors of commands are logged one by one; the others are counted.
const ERRORS_LOGGED: u64 = 100;
const NESTED: &str = "MULTI calls can not be nested";
const NO_MULTI: &str = "EXEC without MULTI";
const NOWHERE: &str = "ERR DB index is out of range";
/// That changes are applied which can't be kept is told this often, microseconds.
const UNKEPT_TOLD_EVERY_US: u64 = 10_000_000;
/// No argument is too long for a file that a server has written.
const LIMITS: Limits = Limits {
    bulk_len_max: u32::MAX as u64,
    multibulk_max: i32::MAX as i64,
    inline_max: 64 * 1024,
    authenticated: true,
};

/// Why a file cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// Offset in the file.
    pub at: u64,
    pub why: Why,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is no sequence of requests.
    Format(String),
    /// A command that nobody knows.
    Unknown(String),
    /// A request that a log of changes cannot hold.
    Misplaced(String),
    /// A command failed, and the configuration says that this is the end.
    Failed(String),
    /// The same for a server that follows its primary.
    Fatal(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Format(what) | Why::Misplaced(what) | Why::Failed(what) => out.write_str(what)?,
            Why::Unknown(name) => write!(out, "unknown command '{name}'")?,
            Why::Fatal(what) => return out.write_str(what),
        }
        write!(out, " at offset {}", self.at)
    }
}

impl std::error::Error for ReplayError {}

/// Where a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to run.
    More,
    /// The window is used up, or what is left of it is part of a request or of a transaction.
    Hungry,
}

/// How a file ends that does not end with a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Up to here it is whole.
    pub at: u64,
    /// What is behind that begins a transaction.
    pub transaction: bool,
}

/// Where the requests come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    File,
    /// A primary, as long as it is connected.
    Primary,
}

/// Reads one file or stream. After an error it is used no more.
pub struct Replay {
    origin: Origin,
    window: Vec<u8>,
    /// Offset in the window behind everything that has run.
    used: usize,
    /// The same behind everything that was parsed.
    parsed: usize,
    /// The same behind the last request or transaction that has run, and up to where its bytes were taken.
    done: usize,
    taken: usize,
    /// The same behind the last request that has run, wherever it belongs.
    ran: usize,
    /// Where requests lie, of what was not taken yet, that mean nothing to servers without groups.
    hidden: Vec<(usize, usize)>,
    /// A transaction has begun to run.
    inside: bool,
    /// The primary has asked how far this server is.
    pub asked: bool,
    /// Bytes of the file before the window.
    gone: u64,
    /// What the request or transaction at hand lacks at least.
    missing: usize,
    resume: Resume,
    /// The database in force.
    db: usize,
    /// The number of the one that the primary has selected, if there is none of it here.
    nowhere: Option<usize>,
    batch: Batch,
    /// Which request of the batch runs next.
    next: usize,
    out: Writer,
    /// What is left of the window begins a transaction.
    transaction: bool,
    /// Its end was looked for up to here: requests before this are not looked at again until it is there, however
    /// small the pieces are in which it comes.
    searched: Option<usize>,
    names: Names,
    /// Requests that ran, and how many of them failed.
    pub requests: u64,
    pub failed: u64,
    /// When it was last told that what is applied can't be kept, monotonic microseconds.
    unkept_told_us: u64,
}

/// Rows that mean something to the reader itself.
#[derive(Clone, Copy)]
struct Names {
    multi: u16,
    exec: u16,
    select: u16,
    echo: u16,
    replconf: u16,
    /// Servers before Redis 7 tell of scripts that EVALSHA names later.
    script_load: u16,
    script_flush: u16,
}

impl Names {
    fn of(table: &Registry) -> Names {
        let number = |name: &[u8]| table.find_original(name).map_or(NO_ROW, |row| row.id.0);
        let script = |name: &[u8]| {
            let row = table.find_original(b"script");
            let row = row.and_then(|row| table.find_sub(row, name));
            row.map_or(NO_ROW, |row| row.id.0)
        };
        Names {
            script_load: script(b"load"),
            script_flush: script(b"flush"),
            multi: number(b"multi"),
            exec: number(b"exec"),
            select: number(b"select"),
            echo: number(b"echo"),
            replconf: number(b"replconf"),
        }
    }
}

impl Replay {
    /// A reader that has seen nothing yet.
    pub fn new(table: &Registry) -> Replay {
        Replay::behind(table, 0, Vec::new())
    }

    /// A reader of what follows the first `gone` bytes of a file, the beginning of which was read already.
    pub fn behind(table: &Registry, gone: u64, window: Vec<u8>) -> Replay {
        Replay {
            origin: Origin::File,
            window,
            used: 0,
            parsed: 0,
            done: 0,
            taken: 0,
            ran: 0,
            hidden: Vec::new(),
            inside: false,
            asked: false,
            gone,
            missing: 1,
            resume: Resume::default(),
            db: 0,
            nowhere: None,
            batch: Batch::default(),
            next: 0,
            out: Writer::new(false),
            transaction: false,
            searched: None,
            names: Names::of(table),
            requests: 0,
            failed: 0,
            unkept_told_us: 0,
        }
    }

    /// A reader of a primary's stream that goes on in the database of this number there, and here, if there is one.
    pub fn of_primary(table: &Registry, number: usize, db: Option<usize>) -> Replay {
        Replay {
            origin: Origin::Primary,
            db: db.unwrap_or(0),
            nowhere: db.is_none().then_some(number),
            ..Replay::behind(table, 0, Vec::new())
        }
    }

    /// The database in force.
    pub fn db(&self) -> usize {
        self.db
    }

    /// Bytes that were fed and have not run.
    pub fn waiting(&self) -> usize {
        self.window.len() - self.done.max(self.used)
    }

    /// Bytes of memory that it holds.
    pub fn heap_bytes(&self) -> usize {
        self.window.capacity()
    }

    /// Which parts of what [`Replay::take_done`] hands out next mean nothing to servers without groups.
    pub fn take_hidden(&mut self) -> Vec<(usize, usize)> {
        let taken = self.taken;
        let hidden = std::mem::take(&mut self.hidden).into_iter();
        hidden
            .map(|(from, to)| (from - taken, to - taken))
            .collect()
    }

    /// The bytes of what has run since this was asked last.
    pub fn take_done(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.taken, self.done);
        &self.window[from..self.done]
    }

    /// How many bytes to feed next.
    pub fn wants(&self) -> usize {
        let left = self.window.len() - self.used;
        // The room for what is left and what comes ends one byte beyond what can be parsed.
        let most = (WINDOW_MAX + 1).saturating_sub(left).max(1);
        self.missing.max(left).max(CHUNK).min(most)
    }

    /// How many bytes the request or transaction at hand lacks at least.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.feed_with(|window| window.extend_from_slice(bytes));
    }

    /// Takes the next bytes of the file, as `read` puts them behind those that are there.
    pub fn feed_with<R>(&mut self, read: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        // Only when hungry: nothing of the batch is left to run.
        self.window.drain(..self.used);
        self.gone += self.used as u64;
        // No request of an open transaction has run.
        self.searched = self.searched.map(|at| at - self.used);
        (self.used, self.parsed, self.done, self.taken) = (0, 0, 0, 0);
        self.ran = 0;
        if self.window.capacity() > WINDOW_KEPT.max(4 * self.window.len()) {
            self.window.shrink_to(CHUNK);
        }
        read(&mut self.window)
    }

    /// Bytes of the file that have run.
    pub fn position(&self) -> u64 {
        self.gone + self.used as u64
    }

    /// What is left of the window.
    pub fn rest(&self) -> &[u8] {
        &self.window[self.used..]
    }

    /// The file has ended: is it whole?
    pub fn end(&self) -> Result<(), Cut> {
        if self.used == self.window.len() {
            return Ok(());
        }
        Err(Cut {
            at: self.position(),
            transaction: self.transaction,
        })
    }

    #[cold]
    fn error(&self, at: usize, why: Why) -> ReplayError {
        ReplayError {
            at: self.gone + at as u64,
            why,
        }
    }

    #[cold]
    fn format(&self, at: usize, what: &str) -> ReplayError {
        self.error(at, Why::Format(what.to_owned()))
    }

    /// Runs up to about `requests` requests on behalf of a session of their own.
    pub fn step(
        &mut self,
        state: &mut State,
        table: &Registry,
        me: ClientId,
        requests: usize,
    ) -> Result<Progress, ReplayError> {
        let mut left = requests;
        loop {
            if self.next == self.batch.requests.len() {
                (self.used, self.done) = (self.parsed, self.parsed);
                self.parse_ahead(table)?;
                if self.batch.requests.is_empty() {
                    // Comments may have been all there was.
                    (self.used, self.done) = (self.parsed, self.parsed);
                    return Ok(Progress::Hungry);
                }
            }
            if left == 0 && !self.inside {
                return Ok(Progress::More);
            }
            // Out while the requests are borrowed from them.
            let window = std::mem::take(&mut self.window);
            let batch = std::mem::take(&mut self.batch);
            let result = self.run_some(
                &window,
                &batch,
                state,
                (table, me, if self.inside { BATCH_MAX } else { left }),
            );
            (self.window, self.batch) = (window, batch);
            left = left.saturating_sub(result?);
        }
    }

    /// Parses the next requests, and transactions only as a whole.
    fn parse_ahead(&mut self, table: &Registry) -> Result<(), ReplayError> {
        self.batch.clear();
        self.next = 0;
        if !self.finds_end(table) {
            return Ok(());
        }
        // Where the transaction began that is open: its request's number and its offset.
        let mut open: Option<(usize, usize)> = None;
        let mut pos = self.used;
        self.transaction = false;
        loop {
            if open.is_none() && self.batch.requests.len() >= AHEAD {
                break;
            }
            match self.window.get(pos) {
                Some(b'*') if self.window.len() <= WINDOW_MAX => {}
                Some(b'*') => return Err(self.format(pos, "a request or transaction beyond 4 GiB")),
                None => {
                    self.missing = 1;
                    break;
                }
                Some(b'\r' | b'\n') if self.origin == Origin::Primary => {
                    // In the place of what is not for everybody, or to keep the connection alive.
                    let blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
                    let rest = &self.window[pos..];
                    pos += rest.iter().position(|b| !blank(b)).unwrap_or(rest.len());
                    continue;
                }
                Some(b'#') if self.origin == Origin::File => match comment(&self.window[pos..]) {
                    Some(len) => {
                        pos += len;
                        continue;
                    }
                    None if self.window.len() - pos < COMMENT_MAX => {
                        self.missing = 1;
                        break;
                    }
                    None => return Err(self.format(pos, "a comment that does not end")),
                },
                Some(_) => return Err(self.format(pos, "no request begins here")),
            }
            let (first, start) = (self.batch.spans.len(), pos);
            let spans = &mut self.batch.spans;
            match parse(&mut self.window, &mut pos, &mut self.resume, &LIMITS, spans) {
                Step::Request => {
                    let parsed = self.classify(table, first, pos, start)?;
                    let of_file = self.origin == Origin::File;
                    if parsed.row == self.names.multi {
                        if open.is_some() && of_file {
                            self.complain("multi", NESTED);
                        }
                        open = open.or(Some((self.batch.requests.len(), start)));
                    } else if parsed.row == self.names.exec && open.take().is_none() && of_file {
                        self.complain("exec", NO_MULTI);
                    }
                    self.batch.requests.push(parsed);
                }
                Step::NeedMore { at_least } => {
                    self.missing = at_least;
                    break;
                }
                Step::Empty => return Err(self.format(start, "a request without a command")),
                Step::Bad(error) => {
                    let text = String::from_utf8_lossy(&error.text()).into_owned();
                    return Err(self.format(start, &text));
                }
            }
        }
        if let Some((request, start)) = open {
            // It comes again when all of it is there.
            self.transaction = true;
            self.batch.requests.truncate(request);
            self.searched = Some(pos);
            pos = start;
        }
        self.parsed = pos;
        Ok(())
    }

    /// Is there something to parse from the start? Not while the end of an open transaction is to come.
    fn finds_end(&mut self, table: &Registry) -> bool {
        let Some(mut pos) = self.searched.take() else {
            return true;
        };
        loop {
            match self.window.get(pos) {
                Some(b'*') if self.window.len() <= WINDOW_MAX => {}
                Some(b'\r' | b'\n') if self.origin == Origin::Primary => {
                    pos += 1;
                    continue;
                }
                None => {
                    self.missing = 1;
                    break;
                }
                // What is wrong is told where it stands.
                Some(_) => {
                    self.resume = Resume::default();
                    return true;
                }
            }
            let spans = &mut self.batch.spans;
            spans.clear();
            match parse(&mut self.window, &mut pos, &mut self.resume, &LIMITS, spans) {
                Step::Request => {
                    let name = Argv::new(&self.window, spans).get(0);
                    let row = table.find_logged(name);
                    if row.is_some_and(|row| row.id.0 == self.names.exec) {
                        spans.clear();
                        return true;
                    }
                }
                Step::NeedMore { at_least } => {
                    self.missing = at_least;
                    break;
                }
                Step::Empty | Step::Bad(_) => {
                    spans.clear();
                    self.resume = Resume::default();
                    return true;
                }
            }
        }
        self.batch.spans.clear();
        self.searched = Some(pos);
        false
    }

    /// The request whose spans begin at `first` and which lies between two offsets.
    fn classify(
        &self,
        table: &Registry,
        first: usize,
        end: usize,
        start: usize,
    ) -> Result<Parsed, ReplayError> {
        let spans = &self.batch.spans[first..];
        let argv = Argv::new(&self.window, spans);
        let shown = |bytes: &[u8]| bytes[..bytes.len().min(128)].escape_ascii().to_string();
        let parsed = |row: u16| Parsed {
            row,
            first: first as u32,
            argc: spans.len() as u32,
            end: end as u32,
            hint: 0,
        };
        let of_primary = self.origin == Origin::Primary;
        let Some(row) = table.find_logged(argv.get(0)) else {
            if of_primary {
                return Ok(parsed(NO_ROW));
            }
            return Err(self.error(start, Why::Unknown(shown(argv.get(0)))));
        };
        let mut number = row.id.0;
        if !row.cmd.takes(argv.len()) || !row.cmd.subs.is_empty() {
            match resolve_row(table, Some(row), argv) {
                Ok(row) => number = row.id.0,
                Err(_) if of_primary => return Ok(parsed(NO_ROW)),
                Err((None, _)) => {
                    return Err(self.error(start, Why::Unknown(shown(argv.get(0)))));
                }
                Err((Some(row), _)) => {
                    let what = format!("too few or too many arguments of '{}'", table.name(row.id));
                    return Err(self.error(start, Why::Misplaced(what)));
                }
            }
        }
        let row = table.row(CommandId(number));
        let (multi, exec) = (self.names.multi, self.names.exec);
        let own = number == multi || number == exec || of_primary && number == self.names.replconf;
        let scripts = number == self.names.script_load || number == self.names.script_flush;
        if !belongs(row) && !own && !scripts {
            if of_primary {
                return Ok(parsed(NO_ROW));
            }
            let what = format!("'{}' is nothing that changes data", table.name(row.id));
            return Err(self.error(start, Why::Misplaced(what)));
        }
        Ok(parsed(number))
    }

    /// Runs requests of the batch whose keys are fetched together; how many.
    fn run_some(
        &mut self,
        window: &[u8],
        batch: &Batch,
        state: &mut State,
        (table, me, most): (&Registry, ClientId, usize),
    ) -> Result<usize, ReplayError> {
        let mut chunk = [Parsed::default(); BATCH_MAX];
        let (mut count, mut members) = (0, false);
        state.dbs.end_batch();
        for parsed in batch.requests[self.next..].iter().take(most.min(BATCH_MAX)) {
            chunk[count] = *parsed;
            if state.dbs.hinted() < BATCH_MAX && parsed.row != NO_ROW {
                let row = table.row(CommandId(parsed.row));
                let spans = batch.spans_of(parsed);
                chunk[count].hint = hint_keys(&mut state.dbs, self.db, row, window, spans);
                members |= row.cmd.first_member != 0;
            }
            count += 1;
            // What follows belongs to another database.
            if parsed.row == self.names.select {
                break;
            }
        }
        let chunk = &chunk[..count];
        state.dbs.prefetch_hints();
        if members {
            prefetch_members(&state.dbs, table, window, (&batch.spans, chunk));
        }
        let mut result = Ok(count);
        for parsed in chunk {
            state.dbs.seek_hint(parsed.hint as usize);
            let argv = batch.argv(window, parsed);
            let ran = match self.origin {
                Origin::File => self.run(state, table, me, parsed.row, argv),
                Origin::Primary => self.follow(state, table, me, parsed.row, argv),
            };
            if let Err(error) = ran {
                let at = parsed.end as usize;
                result = Err(self.error(at, error));
                break;
            }
            let from = std::mem::replace(&mut self.ran, parsed.end as usize);
            if self.origin == Origin::Primary {
                // The frame of a transaction does no harm where nothing is left in it.
                let frame = parsed.row == self.names.multi || parsed.row == self.names.exec;
                let told = parsed.row == self.names.echo && Carried::read(argv.get(1)).is_some();
                let asks = parsed.row == self.names.replconf;
                let of_group = match self.nowhere {
                    Some(number) => state.group_of_file(number) > 0,
                    None => self.db >= state.dbs.count(),
                };
                if told || of_group && !frame && !asks {
                    self.hidden
                        .push((from.max(self.taken), parsed.end as usize));
                }
            }
            if !self.inside {
                self.done = parsed.end as usize;
            }
        }
        state.dbs.end_batch();
        self.next += count;
        self.requests += count as u64;
        result
    }

    #[inline]
    fn run(
        &mut self,
        state: &mut State,
        table: &Registry,
        me: ClientId,
        row: u16,
        argv: Argv<'_>,
    ) -> Result<(), Why> {
        // A transaction's requests follow one another anyway.
        if row == self.names.multi || row == self.names.exec {
            return Ok(());
        }
        if row == self.names.echo {
            return self.run_carried(state, table, me, argv.get(1));
        }
        let moves = row == self.names.select;
        let row = table.row(CommandId(row));
        let (result, db) = self.perform(state, table, me, (row, argv), replay);
        self.db = db;
        self.out.clear();
        match result {
            Ok(()) => Ok(()),
            // What follows would go into another database.
            Err(_) if moves => {
                let number = parse_i64(argv.get(1)).and_then(|n| usize::try_from(n).ok());
                Err(Why::Failed(state.unknown_db(number.unwrap_or(usize::MAX))))
            }
            Err(error) => self.failed(state, table.name(row.id), &error),
        }
    }

    /// Runs a request in the database in force; which one is in force behind it.
    #[inline]
    fn perform<T>(
        &mut self,
        state: &mut State,
        table: &Registry,
        me: ClientId,
        (row, argv): (&Row, Argv<'_>),
        run: impl FnOnce(&mut Ctx<'_>, &Row) -> T,
    ) -> (T, usize) {
        let mut ctx = Ctx {
            state,
            table,
            argv,
            out: &mut self.out,
            me,
            db: self.db,
            mode: Mode::Replay,
            id: row.id,
        };
        let result = run(&mut ctx, row);
        (result, ctx.db)
    }

    /// A change of the primary's can't be kept here: the disk is full, mostly.
    #[cold]
    fn not_kept(&mut self, state: &State) -> Result<(), Why> {
        if !state.config.replica_ignore_disk_write_errors {
            return Err(Why::Fatal(
                "Replica was unable to write command to disk.".to_owned(),
            ));
        }
        let now_us = state.clock.mono_us;
        if now_us >= self.unkept_told_us + UNKEPT_TOLD_EVERY_US {
            self.unkept_told_us = now_us;
            log::warn!("Replica is applying a command even though it is unable to write to disk.");
        }
        Ok(())
    }

    /// Runs a request of a primary's stream.
    #[inline]
    fn follow(
        &mut self,
        state: &mut State,
        table: &Registry,
        me: ClientId,
        number: u16,
        argv: Argv<'_>,
    ) -> Result<(), Why> {
        if number == NO_ROW {
            let known = resolve_row(table, table.find(argv.get(0)), argv);
            let text = match known {
                Err((_, error)) => String::from_utf8_lossy(error.text()).into_owned(),
                Ok(_) => "ERR it is nothing that changes data".to_owned(),
            };
            let name = String::from_utf8_lossy(&argv.get(0)[..argv.get(0).len().min(128)]);
            return self.report(state, &name, &text);
        }
        if number == self.names.multi {
            if std::mem::replace(&mut self.inside, true) {
                self.report(state, "multi", NESTED)?;
            }
        } else if number == self.names.exec {
            if !std::mem::replace(&mut self.inside, false) {
                self.report(state, "exec", NO_MULTI)?;
            }
        } else if number == self.names.replconf {
            let word = argv.iter().nth(1);
            self.asked |= word.is_some_and(|word| word.eq_ignore_ascii_case(b"getack"));
        } else if number == self.names.echo {
            self.run_carried(state, table, me, argv.get(1))?;
        } else {
            let row = table.row(CommandId(number));
            let mut selected = None;
            if self.nowhere.is_some() && number != self.names.select {
                match self.stand_in(state, row) {
                    Some(db) => selected = Some(std::mem::replace(&mut self.db, db)),
                    None => return self.report(state, table.name(row.id), NOWHERE),
                }
            }
            if state.gate & gate::DISK_ERROR != 0 && row.cmd.is(flag::WRITE) {
                self.not_kept(state)?;
            }
            let (_, db) = self.perform(state, table, me, (row, argv), call);
            if !state.monitors.is_empty() {
                feed_monitors(state, argv, row, db, Mode::Client, me);
            }
            if let Some(selected) = selected {
                self.db = selected;
            } else if self.db != db {
                self.db = db;
                let client = state.clients.me(me);
                client.db = db as u32;
            }
            if number == self.names.select {
                let told = parse_i64(argv.get(1)).and_then(|n| u32::try_from(n).ok());
                let failed = self.out.head().first() == Some(&b'-');
                self.nowhere = failed.then_some(told.unwrap_or(u32::MAX) as usize);
                if let (Some(upstream), Some(told)) = (&mut state.repl.upstream, told) {
                    upstream.db = told;
                }
            }
            if self.out.head().first() == Some(&b'-') {
                let text = String::from_utf8_lossy(&self.out.head()[1..]);
                let text = text.trim_end().to_owned();
                self.out.clear();
                self.report(state, table.name(row.id), &text)?;
            }
            self.out.clear();
        }
        let busy = state.prop.has_unit() || state.blocked.has_ready();
        if busy && !self.inside {
            // Clients that wait run as what they are.
            state.repl.applying = false;
            unit::finish(state, table);
            state.repl.applying = true;
        }
        Ok(())
    }

    /// A database of the group that is spoken of; none of it where even that is not here.
    fn place(&self, state: &State) -> Option<usize> {
        let Some(number) = self.nowhere else {
            return Some(self.db);
        };
        let group = GroupId(u32::try_from(state.group_of_file(number)).ok()?);
        state.groups.get(group).map(|_| state.first_db(group))
    }

    /// Where a request runs while the database that is selected is not here. What belongs into that one goes into
    /// no other; what is a group's, or nobody's, is done all the same.
    #[cold]
    fn stand_in(&self, state: &State, row: &Row) -> Option<usize> {
        let cmd = row.cmd;
        let placed = keys::has_keys(cmd)
            || cmd.is(flag::RUNS_SCRIPT)
            || matches!(cmd.dbs, UsedDbs::Selected);
        if placed {
            return None;
        }
        let changes = cmd.flags & (flag::WRITE | flag::MAY_REPLICATE) != 0;
        self.place(state).or((!changes).then_some(self.db))
    }

    /// A primary's request failed here that did not there.
    #[cold]
    fn report(&mut self, state: &mut State, name: &str, text: &str) -> Result<(), Why> {
        self.failed += 1;
        state.stats.unexpected_errors += 1;
        if self.failed <= ERRORS_LOGGED {
            log::warn!(
                "== CRITICAL == This replica is sending an error to its master: '{text}' after \
                 processing the command '{name}'"
            );
        }
        let config = &state.config;
        // What clients wrote into a writable replica explains an error.
        if config.propagation_error_behavior == PropagationErrorBehavior::Ignore
            || !config.replica_read_only
        {
            return Ok(());
        }
        Err(Why::Fatal(format!(
            "This replica panicked sending an error to its master after processing the command \
             '{name}': '{text}'"
        )))
    }

    /// What a server with groups says to its like in the argument of an ECHO.
    #[cold]
    fn run_carried(
        &mut self,
        state: &mut State,
        table: &Registry,
        me: ClientId,
        text: &[u8],
    ) -> Result<(), Why> {
        match Carried::read(text) {
            None => Ok(()),
            Some(Carried::Databases(count)) => {
                state.groups.file_databases = groups::count_of_file(count).map_err(Why::Failed)?;
                if let Some(upstream) = &mut state.repl.upstream
                    && self.origin == Origin::Primary
                {
                    upstream.file_databases = state.groups.file_databases;
                }
                Ok(())
            }
            Some(Carried::Request(bytes)) => {
                let db = match self.place(state) {
                    Some(db) => db,
                    None if groups::concerns_group(bytes) => {
                        return self.report(state, "echo", NOWHERE);
                    }
                    None => 0,
                };
                let of_primary = self.origin == Origin::Primary;
                groups::run_carried(state, table, (me, db), bytes, of_primary)
                    .map_err(|why| Why::Failed(format!("a group or its user cannot be: {why}")))
            }
        }
    }

    #[cold]
    fn complain(&mut self, name: &str, text: &str) {
        self.failed += 1;
        if self.failed <= ERRORS_LOGGED {
            log::warn!(
                "== CRITICAL == This server is sending an error to its AOF-loading-client: '{text}' \
                 after processing the command '{name}'"
            );
        }
    }

    /// A command failed that did not when it was written.
    #[cold]
    fn failed(&mut self, state: &State, name: &str, error: &CmdError) -> Result<(), Why> {
        let text = error.text();
        let text = match text.strip_prefix(b"ERR ") {
            Some(text) => String::from_utf8_lossy(text).into_owned(),
            None => format!("-{}", String::from_utf8_lossy(text)),
        };
        self.complain(name, &text);
        if state.config.propagation_error_behavior == PropagationErrorBehavior::Panic {
            return Err(Why::Failed(format!(
                "This server panicked sending an error to its AOF-loading-client after processing \
                 the command '{name}': '{text}'"
            )));
        }
        Ok(())
    }
}

/// May a log of changes hold this command? Whatever changes keys, and what changes nothing but a session
/// that ends with the file. Servers before Redis 7 may write scripts down as they were called.
fn belongs(row: &Row) -> bool {
    const CHANGES: u32 = flag::WRITE | flag::MAY_REPLICATE | flag::RUNS_SCRIPT;
    const ACTS: u32 = flag::ADMIN | flag::NOSCRIPT | flag::PUBSUB;
    row.cmd.flags & CHANGES != 0 || row.cmd.flags & ACTS == 0
}

/// The length of the comment that begins here, its line end included.
fn comment(bytes: &[u8]) -> Option<usize> {
    let most = &bytes[..bytes.len().min(COMMENT_MAX)];
    memchr::memchr(b'\n', most).map(|at| at + 1)
}

/// Is this what a write leaves that was cut short: whole requests, then a part of one? A damaged length in
/// the middle of a file looks the same at first, but whole requests follow it: to cut them off would lose
/// them.
pub fn is_torn(mut rest: Vec<u8>, table: &Registry) -> bool {
    /// Places where a request may begin that are looked at, and arguments it may have there: enough to tell
    /// one case from the other, and no work without end.
    const PLACES_MAX: usize = 4096;
    const LIMITED: Limits = Limits {
        multibulk_max: 1024,
        ..LIMITS
    };
    let mut spans = Vec::new();
    let mut whole = |rest: &mut [u8], at: &mut usize, limits: &Limits| {
        spans.clear();
        parse(rest, at, &mut Resume::default(), limits, &mut spans) == Step::Request
            && table.find_logged(Argv::new(rest, &spans).get(0)).is_some()
    };
    let mut from = 0;
    while rest.get(from) == Some(&b'*') && whole(&mut rest, &mut from, &LIMITS) {}
    for _ in 0..PLACES_MAX {
        let Some(found) = memchr::memmem::find(rest.get(from..).unwrap_or_default(), b"\r\n*")
        else {
            break;
        };
        from += found + 2;
        let mut end = from;
        if whole(&mut rest, &mut end, &LIMITED) && matches!(rest.get(end), None | Some(b'*' | b'#'))
        {
            return false;
        }
    }
    true
}
