//! What a handler sees: its request, the state, where to write the reply, and for whom it runs.
use super::command::{CmdResult, Outcome};
use super::error::{CmdError, DB_OUT_OF_RANGE, INT_RANGE, NOT_INTEGER, WRONG_TYPE};
use super::registry::{CommandId, Registry};
use crate::base::num::{fmt_i64, parse_i64};
use crate::ds::table::Slot;
use crate::keyspace::NewValue;
use crate::keyspace::entry::EntryRef;
use crate::resp::reply::Writer;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{Client, ClientId};
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::notify::Event;
use crate::types::{Kind, Stored, Value};

/// From this length on a value may keep the buffer it came in.
pub const IN_PLACE_MIN: usize = 32 * 1024;

/// Who runs a command: the only difference between the callers of the one execute path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A client, directly.
    Client,
    /// EXEC.
    Transaction,
    /// A script or function.
    Script,
    /// The AOF loader or the link to a primary: no admission, replies are dropped.
    Replay,
}

/// The context of one command.
pub struct Ctx<'a> {
    pub state: &'a mut State,
    pub table: &'a Registry,
    pub argv: Argv<'a>,
    pub out: &'a mut Writer,
    /// The client on whose behalf this runs.
    pub me: ClientId,
    /// Its database.
    pub db: usize,
    pub mode: Mode,
    /// The row that runs.
    pub id: CommandId,
}

impl<'a> Ctx<'a> {
    /// The session of the client on whose behalf this runs.
    #[inline]
    pub fn client(&mut self) -> &mut Client {
        self.state.clients.me(self.me)
    }

    /// The group on whose behalf this runs: that of its database.
    #[inline]
    pub fn group(&self) -> GroupId {
        self.state.group_of(self.db)
    }

    /// Does anybody watch what this client runs (MONITOR)?
    #[inline]
    pub fn is_monitored(&mut self) -> bool {
        (self.state.gate | self.client().gate) & gate::MONITORED != 0
    }

    /// Argument `i` (0 is the name).
    #[inline]
    pub fn arg(&self, i: usize) -> &'a [u8] {
        self.argv.get(i)
    }

    /// Number of arguments, the name included.
    #[inline]
    pub fn argc(&self) -> usize {
        self.argv.len()
    }

    /// Must a command that waits answer at once instead?
    pub fn may_block(&self) -> bool {
        self.mode == Mode::Client
    }

    /// The key's entry for reading: dead keys are absent, hits and misses counted.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.state.lookup_read(self.db, key)
    }

    /// The same, refusing another type.
    #[inline]
    pub fn read_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<EntryRef<'_>>, CmdError> {
        match self.state.lookup_read(self.db, key) {
            Some(entry) if entry.kind() != kind => Err(WRONG_TYPE),
            found => Ok(found),
        }
    }

    /// The key's slot for writing: dead keys are absent; does not count hits.
    #[inline]
    pub fn write(&mut self, key: &[u8]) -> Option<Slot> {
        self.state.lookup_write(self.db, key)
    }

    /// The same, refusing another type.
    #[inline]
    pub fn write_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<Slot>, CmdError> {
        let Some(slot) = self.state.lookup_write(self.db, key) else {
            return Ok(None);
        };
        if self.state.dbs[self.db].entry(slot).kind() != kind {
            return Err(WRONG_TYPE);
        }
        Ok(Some(slot))
    }

    /// A string argument as it is stored: an integer where it is one, a copy, or a large one in the
    /// very buffer it came in.
    #[inline]
    pub fn string_value(&self, bytes: &'a [u8]) -> NewValue<'a> {
        if bytes.len() >= IN_PLACE_MIN
            && let Some(buffer) = self.state.argument_buffer(bytes)
        {
            return NewValue::Owned(Value::Str(buffer.into()));
        }
        NewValue::string(bytes)
    }

    /// Puts a collection in the place of whatever the key holds, deadline included, and says so: the end of
    /// every command that stores a result. An empty one removes the key.
    pub fn store<T: Stored>(&mut self, key: &[u8], value: T, event: Event, n: usize) {
        let taken = self.state.find_live(self.db, key);
        if let Some(slot) = taken {
            let lazy = self.state.config.lazyfree_lazy_server_del;
            self.state.remove(self.db, slot, lazy);
        }
        if value.is_empty() {
            if taken.is_some() {
                self.modified(key, Event::DEL, 1);
            }
            return;
        }
        let value = NewValue::Owned(value.into());
        self.state.dbs.insert(self.db, key, value, None);
        if taken.is_none() {
            self.state.notify(self.db, key, Event::NEW);
        }
        self.modified(key, event, n);
    }

    /// The write epilogue: dirty count, WATCH, keyspace event, ready keys.
    #[inline]
    pub fn modified(&mut self, key: &[u8], event: Event, n: usize) {
        self.state.modified(self.db, key, event, n as u64);
    }

    /// The database that an argument names.
    pub fn db_number(&self, text: &[u8]) -> Result<usize, CmdError> {
        let n = parse_i64(text).ok_or(NOT_INTEGER)?;
        let n = i32::try_from(n).map_err(|_| INT_RANGE)?;
        self.named_db(n).ok_or(DB_OUT_OF_RANGE)
    }

    /// The database that a number means: one of the own group's or, in a file, any group's.
    pub fn named_db(&self, n: i32) -> Option<usize> {
        let n = usize::try_from(n).ok()?;
        if self.mode == Mode::Replay {
            return self.state.db_of_file(n);
        }
        let group = self.state.group_of(self.db);
        (n < self.state.dbs.count()).then(|| self.state.first_db(group) + n)
    }

    /// A database's number in the log, which knows no groups; `None` where it is the one that was asked
    /// for, so that the request can be logged as it is.
    pub fn logged_db(&self, db: usize) -> Option<String> {
        (db >= self.state.dbs.count()).then(|| db.to_string())
    }

    /// Answers `+OK`.
    #[inline]
    pub fn ok(&mut self) -> CmdResult {
        self.out.ok();
        Ok(Outcome::Done)
    }

    /// Answers an integer.
    #[inline]
    pub fn int(&mut self, n: i64) -> CmdResult {
        self.out.int(n);
        Ok(Outcome::Done)
    }

    /// Gives a key this deadline; the log gets it as it is.
    pub fn set_deadline(&mut self, key: &[u8], slot: Slot, at_ms: i64) {
        self.state.dbs[self.db].set_expire(slot, Some(at_ms));
        self.modified(key, Event::EXPIRE, 1);
        self.propagate_as(&[b"PEXPIREAT", key, fmt_i64(at_ms, &mut [0; 20])]);
    }

    /// Does a key that is given this deadline end at once? A file or a primary says by itself when
    /// a key ends; only a client's own command may decide it here.
    pub fn ends_at_once(&self, at_ms: i64) -> bool {
        at_ms <= self.state.clock.unix_ms && self.mode != Mode::Replay
    }

    /// The longest that a string may become. What another server has accepted is not refused again, but a
    /// damaged file does not get all memory either.
    pub fn string_len_max(&self) -> u64 {
        let configured = self.state.config.proto_max_bulk_len;
        match self.mode {
            Mode::Replay => configured.max(u64::from(u32::MAX)),
            _ => configured,
        }
    }

    /// Removes a key that was given a deadline in the past; the log gets its end.
    pub fn delete_expired(&mut self, key: &[u8], slot: Slot) {
        let lazy = self.state.config.lazyfree_lazy_expire;
        self.state.remove(self.db, slot, lazy);
        self.modified(key, Event::DEL, 1);
        self.propagate_as(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
    }

    /// Propagates this instead of the request as it came (AOF, replicas).
    pub fn propagate_as(&mut self, argv: &[&[u8]]) {
        self.state.prop.replace(argv);
    }

    /// The request is not propagated, whatever it changed.
    pub fn propagate_nothing(&mut self) {
        self.state.prop.suppress();
    }

    /// Answers the lines of a HELP subcommand: usage, then `lines`, then HELP's own.
    pub fn help(&mut self, lines: &[&str]) -> CmdResult {
        let name = self
            .table
            .name(self.table.row(self.id).parent)
            .to_uppercase();
        self.out.array(lines.len() + 3);
        self.out.simple(&format!(
            "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        ));
        for line in lines {
            self.out.simple(line);
        }
        self.out.simple("HELP");
        self.out.simple("    Prints this help.");
        Ok(Outcome::Done)
    }
}
