//! The command row: everything the server knows about a command besides its handler's body.
//!
//! COMMAND, ACL categories, key extraction, prefetching, admission and MONITOR all read the row;
//! nothing about a command is written down twice. `cmd` runs at compile time and asserts what a
//! row must hold, so that a bad row does not build.
use super::ctx::Ctx;
use super::error::CmdError;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::gate;
use crate::state::groups::GroupId;

/// What a handler did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is in `ctx.out`.
    Done,
    /// The client waits: the handler has parked it (`ctx.block_on`), nothing was replied.
    Block,
    /// The reply is in `ctx.out`, it is an error (or has one in it), and that was counted where it arose.
    Failed,
}

/// Result of a handler: an error is written as the whole reply, whatever was written before.
pub type CmdResult = Result<Outcome, CmdError>;
/// The body of a command.
pub type Handler = fn(&mut Ctx<'_>) -> CmdResult;
/// The flags that a request of a group counts as having, where its arguments decide (scripts): of the row's
/// flags.
pub type FlagFinder = fn(&State, GroupId, Argv<'_>, u32) -> u32;
/// Finds the keys of a command whose row cannot say where they are: indexes into argv.
pub type KeyFinder = fn(Argv<'_>) -> Result<Vec<KeyAt>, CmdError>;

/// Tells whether argument `i` is a secret, which no log may show.
pub type SecretFinder = fn(Argv<'_>, usize) -> bool;

/// A key found in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyAt {
    /// Index into argv.
    pub at: usize,
    /// How the command uses it (`key_flags`).
    pub flags: u32,
}

macro_rules! flags {
    ($(#[$m:meta])* $module:ident { $($(#[$d:meta])* $name:ident = $bit:expr, $shown:expr;)* }) => {
        $(#[$m])*
        pub mod $module {
            $($(#[$d])* pub const $name: u32 = 1 << $bit;)*
            /// Every flag with the name COMMAND INFO shows; empty for internal ones.
            pub const NAMES: &[(u32, &str)] = &[$(($name, $shown)),*];
        }
    };
}

flags! {
    /// Flags of a row, in the order in which COMMAND INFO prints them.
    flag {
        WRITE = 0, "write";
        READONLY = 1, "readonly";
        DENYOOM = 2, "denyoom";
        ADMIN = 3, "admin";
        PUBSUB = 4, "pubsub";
        NOSCRIPT = 5, "noscript";
        BLOCKING = 6, "blocking";
        LOADING = 7, "loading";
        STALE = 8, "stale";
        SKIP_MONITOR = 9, "skip_monitor";
        SKIP_SLOWLOG = 10, "skip_slowlog";
        ASKING = 11, "asking";
        FAST = 12, "fast";
        NO_AUTH = 13, "no_auth";
        /// May tell replicas something without being a write: held back like one, and in no script that only
        /// reads. The real server does not show it either.
        MAY_REPLICATE = 14, "";
        NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
        NO_ASYNC_LOADING = 16, "no_async_loading";
        NO_MULTI = 17, "no_multi";
        ALLOW_BUSY = 18, "allow_busy";
        MOVABLE_KEYS = 19, "movablekeys";
        PROTECTED = 20, "";
        /// Runs at once inside MULTI (EXEC, DISCARD, MULTI, WATCH, QUIT, RESET).
        UNQUEUED = 21, "";
        /// Allowed for a RESP2 client in subscribed mode.
        SUBSCRIBED_OK = 22, "";
        /// Its arguments are secrets: MONITOR and SLOWLOG show "(redacted)".
        SECRET = 23, "";
        /// Meets keys that it was not asked for (SCAN, RANDOMKEY), and removes dead ones.
        ARBITRARY_KEYS = 24, "";
        /// Runs what was queued (EXEC): is admitted by the flags of what it will run.
        RUNS_QUEUE = 25, "";
        /// Nothing but subcommands: its family's ACL category is theirs alone.
        CONTAINER = 26, "";
        /// Moves the access clock even for a client that asked not to (TOUCH).
        ALWAYS_TOUCHES = 27, "";
        /// Runs scripts: it may take long, and others are answered meanwhile.
        RUNS_SCRIPT = 28, "";
        /// Concerns the whole server: only users of the default group may run it.
        SERVER_WIDE = 29, "";
    }
}

flags! {
    /// How a command uses a key: COMMAND's key-spec flags.
    key_flag {
        RO = 0, "RO";
        RW = 1, "RW";
        OW = 2, "OW";
        RM = 3, "RM";
        ACCESS = 4, "access";
        UPDATE = 5, "update";
        INSERT = 6, "insert";
        DELETE = 7, "delete";
        NOT_KEY = 8, "not_key";
        INCOMPLETE = 9, "incomplete";
        VARIABLE_FLAGS = 10, "variable_flags";
    }
}

/// ACL categories that flags and group do not already give.
pub mod acl {
    pub const NONE: u32 = 0;
    pub const KEYSPACE: u32 = 1 << 0;
    pub const READ: u32 = 1 << 1;
    pub const WRITE: u32 = 1 << 2;
    pub const SET: u32 = 1 << 3;
    pub const SORTEDSET: u32 = 1 << 4;
    pub const LIST: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const STRING: u32 = 1 << 7;
    pub const BITMAP: u32 = 1 << 8;
    pub const HYPERLOGLOG: u32 = 1 << 9;
    pub const GEO: u32 = 1 << 10;
    pub const STREAM: u32 = 1 << 11;
    pub const PUBSUB: u32 = 1 << 12;
    pub const ADMIN: u32 = 1 << 13;
    pub const FAST: u32 = 1 << 14;
    pub const SLOW: u32 = 1 << 15;
    pub const BLOCKING: u32 = 1 << 16;
    pub const DANGEROUS: u32 = 1 << 17;
    pub const CONNECTION: u32 = 1 << 18;
    pub const TRANSACTION: u32 = 1 << 19;
    pub const SCRIPTING: u32 = 1 << 20;
    /// Names in the order in which ACL CAT and COMMAND INFO list them.
    pub const NAMES: &[(u32, &str)] = &[
        (KEYSPACE, "keyspace"),
        (READ, "read"),
        (WRITE, "write"),
        (SET, "set"),
        (SORTEDSET, "sortedset"),
        (LIST, "list"),
        (HASH, "hash"),
        (STRING, "string"),
        (BITMAP, "bitmap"),
        (HYPERLOGLOG, "hyperloglog"),
        (GEO, "geo"),
        (STREAM, "stream"),
        (PUBSUB, "pubsub"),
        (ADMIN, "admin"),
        (FAST, "fast"),
        (SLOW, "slow"),
        (BLOCKING, "blocking"),
        (DANGEROUS, "dangerous"),
        (CONNECTION, "connection"),
        (TRANSACTION, "transaction"),
        (SCRIPTING, "scripting"),
    ];

    /// The category of this name, in any case.
    pub fn find(name: &[u8]) -> Option<u32> {
        let same = |known: &&(u32, &str)| known.1.as_bytes().eq_ignore_ascii_case(name);
        NAMES.iter().find(same).map(|known| known.0)
    }
}

/// Where a key spec begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin {
    /// At a fixed argument.
    Index(usize),
    /// Behind a keyword, searched from an argument (negative: from the end, backwards).
    Keyword(&'static str, i32),
    /// Only the key finder knows.
    Unknown,
}

/// How the keys go on from where they begin.
#[derive(Debug, Clone, Copy)]
pub enum Find {
    /// Up to `last` relative to the first (negative: relative to the end), every `step`; `limit`
    /// > 1: only the first 1/limit of the remaining arguments.
    Range { last: i32, step: i32, limit: i32 },
    /// A count at `at`, the first key at `first` (both relative to the beginning).
    KeyNum {
        at: usize,
        first: usize,
        step: usize,
    },
    /// Only the key finder knows.
    Unknown,
}

/// One group of keys in a command's arguments.
#[derive(Debug, Clone, Copy)]
pub struct KeySpec {
    pub flags: u32,
    pub begin: Begin,
    pub find: Find,
}

impl KeySpec {
    /// Keys from `first` to `last` (negative: from the end), every `step`, as in COMMAND.
    pub const fn range(flags: u32, first: usize, last: i32, step: i32) -> Self {
        // COMMAND gives `last` absolute for positive values, key specs relative to the first.
        let relative = if last >= 0 { last - first as i32 } else { last };
        Self {
            flags,
            begin: Begin::Index(first),
            find: Find::Range {
                last: relative,
                step,
                limit: 0,
            },
        }
    }

    /// A count at `at` and its keys behind it.
    pub const fn numkeys(flags: u32, at: usize) -> Self {
        Self {
            flags,
            begin: Begin::Index(at),
            find: Find::KeyNum {
                at: 0,
                first: 1,
                step: 1,
            },
        }
    }
}

use key_flag as k;
/// No keys.
pub const NO_KEYS: &[KeySpec] = &[];
/// One key, read (its value).
pub const KEY1_RO: &[KeySpec] = &[KeySpec::range(k::RO | k::ACCESS, 1, 1, 1)];
/// One key, read (only metadata: existence, type, length).
pub const KEY1_RO_META: &[KeySpec] = &[KeySpec::range(k::RO, 1, 1, 1)];
/// One key, its content read and changed.
pub const KEY1_RW_ACCESS: &[KeySpec] = &[KeySpec::range(k::RW | k::ACCESS | k::UPDATE, 1, 1, 1)];
/// One key, changed.
pub const KEY1_RW_UPDATE: &[KeySpec] = &[KeySpec::range(k::RW | k::UPDATE, 1, 1, 1)];
/// One key, elements added.
pub const KEY1_RW_INSERT: &[KeySpec] = &[KeySpec::range(k::RW | k::INSERT, 1, 1, 1)];
/// One key, elements removed.
pub const KEY1_RW_DELETE: &[KeySpec] = &[KeySpec::range(k::RW | k::DELETE, 1, 1, 1)];
/// One key, elements read and removed.
pub const KEY1_RW_ACCESS_DELETE: &[KeySpec] =
    &[KeySpec::range(k::RW | k::ACCESS | k::DELETE, 1, 1, 1)];
/// One key, overwritten.
pub const KEY1_OW: &[KeySpec] = &[KeySpec::range(k::OW | k::UPDATE, 1, 1, 1)];
/// All arguments are keys, read.
pub const KEYS_RO: &[KeySpec] = &[KeySpec::range(k::RO | k::ACCESS, 1, -1, 1)];
/// All arguments are keys, only metadata read.
pub const KEYS_RO_META: &[KeySpec] = &[KeySpec::range(k::RO, 1, -1, 1)];
/// All arguments are keys, removed.
pub const KEYS_RM: &[KeySpec] = &[KeySpec::range(k::RM | k::DELETE, 1, -1, 1)];

/// Which arguments of a command are channels that its user must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    None,
    /// The first one.
    First,
    /// All of them.
    All,
    /// All of them, and they are patterns.
    Patterns,
}

/// Which databases a command uses besides the one that its keys are in.
#[derive(Debug, Clone, Copy)]
pub enum UsedDbs {
    None,
    /// The one selected, though no key is named.
    Selected,
    /// Those whose numbers are these arguments.
    Named(DbFinder),
    /// All of them.
    All,
}

/// Finds the arguments that are numbers of databases.
pub type DbFinder = fn(Argv<'_>) -> Vec<usize>;

/// The keys of a row that are found by counting alone: its only spec, for the first look at rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainKeys {
    pub first: u8,
    /// Negative: from the end.
    pub last: i8,
    pub step: u8,
    /// `key_flag`s: at least what any request does to them.
    pub flags: u32,
}

/// A command or, inside a container, a subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Lower case; a subcommand carries its own name only.
    pub name: &'static str,
    /// Number of arguments with the name: exact, or at least `-arity`.
    pub arity: i32,
    pub flags: u32,
    /// Exceptions to the derived categories.
    pub acl: u32,
    pub keys: &'static [KeySpec],
    pub handler: Handler,
    pub subs: &'static [Command],
    pub finder: Option<KeyFinder>,
    pub channels: Channels,
    pub dbs: UsedDbs,
    /// None where keys have to be looked for.
    pub plain_keys: Option<PlainKeys>,
    /// For admission, where it is called at all.
    pub flag_finder: Option<FlagFinder>,
    /// Where only some arguments are secrets (`flag::SECRET`: all of them).
    pub secret: Option<SecretFinder>,
    /// Admission: bits of `state::gate` that may refuse this command.
    pub blocked_by: u32,
    /// First key, last key, step as the old COMMAND triple (0 0 0 without keys): prefetching.
    pub first_key: i16,
    pub last_key: i16,
    pub key_step: i16,
    /// First argument that names a member of the first key's collection (0: none does) and the step to
    /// the next one (0: there is one): for prefetching, so a guess that fits mostly will do.
    pub first_member: u8,
    pub member_step: u8,
}

/// A command row. Panics at compile time when the row cannot be right.
pub const fn cmd(
    name: &'static str,
    arity: i32,
    flags: u32,
    acl: u32,
    keys: &'static [KeySpec],
    handler: Handler,
) -> Command {
    assert!(arity != 0, "arity counts the name");
    assert!(
        flags & flag::WRITE == 0 || flags & flag::READONLY == 0,
        "a command writes or reads only"
    );
    assert!(
        flags & flag::DENYOOM == 0 || flags & flag::WRITE != 0,
        "only a write can be refused for memory"
    );
    let range = plain_range(keys);
    assert!(
        range.first < arity.abs() || keys[0].flags & key_flag::NOT_KEY != 0,
        "the first key is an argument"
    );
    let flags = if range.movable {
        flags | flag::MOVABLE_KEYS
    } else {
        flags
    };
    Command {
        name,
        arity,
        flags,
        acl,
        keys,
        handler,
        subs: &[],
        finder: None,
        channels: Channels::None,
        dbs: UsedDbs::None,
        plain_keys: plain_keys(keys),
        flag_finder: None,
        secret: None,
        blocked_by: blocked_by(flags),
        first_key: range.first as i16,
        last_key: range.last as i16,
        key_step: range.step as i16,
        first_member: 0,
        member_step: 0,
    }
}

/// See [`PlainKeys`]; `first` is 0 where there are no keys at all.
const fn plain_keys(keys: &[KeySpec]) -> Option<PlainKeys> {
    const READS_AND_WRITES: u32 = key_flag::ACCESS | key_flag::UPDATE;
    if keys.is_empty() || keys.len() == 1 && keys[0].flags & key_flag::NOT_KEY != 0 {
        return Some(PlainKeys {
            first: 0,
            last: 0,
            step: 1,
            flags: 0,
        });
    }
    let (Begin::Index(first), Find::Range { last, step, limit }) = (keys[0].begin, keys[0].find)
    else {
        return None;
    };
    let vague = keys[0].flags & key_flag::VARIABLE_FLAGS != 0;
    let last = if last >= 0 { last + first as i32 } else { last };
    if keys.len() > 1 || keys[0].flags & key_flag::INCOMPLETE != 0 || limit > 1 {
        return None;
    }
    assert!(first < 128 && last < 128 && last > -128 && step > 0 && step < 128);
    Some(PlainKeys {
        first: first as u8,
        last: last as i8,
        step: step as u8,
        // What it does depends on its arguments: whoever may do both may do that.
        flags: if vague {
            READS_AND_WRITES
        } else {
            keys[0].flags
        },
    })
}

/// The old triple of COMMAND (first key, last key, step).
struct PlainRange {
    first: i32,
    last: i32,
    step: i32,
    /// It does not say all: clients have to ask for the keys.
    movable: bool,
}

/// Joins the key specs that stand at fixed places, one behind the other, into one range.
const fn plain_range(keys: &[KeySpec]) -> PlainRange {
    let mut range = PlainRange {
        first: 0,
        last: 0,
        step: 0,
        movable: false,
    };
    let mut i = 0;
    while i < keys.len() {
        let spec = &keys[i];
        i += 1;
        let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            range.movable = true;
            continue;
        };
        let first = first as i32;
        let last = if last >= 0 { first + last } else { last };
        if range.first == 0 {
            (range.first, range.last, range.step) = (first, last, step);
        } else if range.step == 1 && step == 1 && range.last == first - 1 {
            range.last = last;
        } else {
            range.movable = true;
        }
    }
    range
}

/// A command whose first argument names a subcommand.
pub const fn container(
    name: &'static str,
    arity: i32,
    flags: u32,
    acl: u32,
    subs: &'static [Command],
) -> Command {
    let flags = flags | flag::CONTAINER;
    let mut row = cmd(name, arity, flags, acl, NO_KEYS, subcommand_missing);
    row.subs = subs;
    row
}

impl Command {
    /// The same row, refused by more restrictions than its flags say.
    pub const fn also_refused_by(mut self, bits: u32) -> Command {
        self.blocked_by |= bits;
        self
    }

    /// The same row with a function that finds its keys, or what it does with them, where the key
    /// specs cannot say it.
    pub const fn with_finder(mut self, finder: KeyFinder) -> Self {
        self.finder = Some(finder);
        if self.keys.is_empty() || self.keys[0].flags & key_flag::VARIABLE_FLAGS == 0 {
            self.plain_keys = None;
        }
        self
    }

    /// The same row with arguments that are channels.
    pub const fn on_channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// The same row using databases that its keys do not tell.
    pub const fn using(mut self, dbs: UsedDbs) -> Self {
        self.dbs = dbs;
        self
    }

    /// The same row with a function that tells what it counts as; it can be all that a write can be.
    pub const fn with_flags(mut self, finder: FlagFinder) -> Self {
        self.flag_finder = Some(finder);
        self.blocked_by |= blocked_by(flag::WRITE | flag::DENYOOM | flag::MAY_REPLICATE);
        self
    }

    /// The same row naming members of the collection at its first key: from argument `first` on every
    /// `step` (0: only that one). What a batch's members need is fetched before its first request runs.
    pub const fn with_members(mut self, first: u8, step: u8) -> Self {
        assert!(
            self.first_key == 1 && first > 1,
            "members stand behind their key"
        );
        self.first_member = first;
        self.member_step = step;
        self
    }

    /// The same row with subcommands: called without any, its handler runs.
    pub const fn with_subs(mut self, subs: &'static [Command]) -> Self {
        self.subs = subs;
        self
    }

    /// The same row with a function that tells its secret arguments.
    pub const fn hiding(mut self, secret: SecretFinder) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Is argument `i` of this request a secret? SLOWLOG and MONITOR then show `(redacted)`.
    pub fn hides(&self, argv: Argv<'_>, i: usize) -> bool {
        i > 0 && (self.is(flag::SECRET) || self.secret.is_some_and(|secret| secret(argv, i)))
    }

    /// Does it have this flag?
    pub const fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Is `argc` (the name included) a number of arguments it takes?
    #[inline]
    pub const fn takes(&self, argc: usize) -> bool {
        if self.arity > 0 {
            argc == self.arity as usize
        } else {
            argc >= (-self.arity) as usize
        }
    }
}

/// The handler of a container: lookup finds the subcommand, so this runs for none.
fn subcommand_missing(_: &mut Ctx<'_>) -> CmdResult {
    Err(CmdError::new("ERR unknown subcommand"))
}

/// Which restrictions of `state::gate` concern a row with these flags.
pub(super) const fn blocked_by(flags: u32) -> u32 {
    let mut mask = gate::ACL | gate::MAXMEMORY | gate::MONITORED | gate::CACHING;
    if flags & flag::NO_AUTH == 0 {
        mask |= gate::UNAUTHENTICATED | gate::QUOTA;
    }
    if flags & flag::UNQUEUED == 0 {
        mask |= gate::IN_MULTI;
    }
    if flags & flag::SUBSCRIBED_OK == 0 {
        mask |= gate::SUBSCRIBED;
    }
    if flags & flag::LOADING == 0 {
        mask |= gate::LOADING;
    }
    if flags & flag::STALE == 0 {
        mask |= gate::STALE_REPLICA;
    }
    if flags & flag::NO_ASYNC_LOADING != 0 {
        mask |= gate::ASYNC_LOADING;
    }
    if flags & flag::ALLOW_BUSY == 0 {
        mask |= gate::BUSY_SCRIPT;
    }
    if flags & flag::WRITE != 0 {
        mask |= gate::READ_ONLY | gate::DISK_ERROR | gate::FEW_REPLICAS;
    }
    if flags & (flag::WRITE | flag::MAY_REPLICATE) != 0 {
        mask |= gate::PAUSED_WRITES;
    }
    if flags & (flag::WRITE | flag::MAY_REPLICATE | flag::RUNS_SCRIPT) != 0 {
        mask |= gate::MIGRATING;
    }
    if flags & (flag::WRITE | flag::MAY_REPLICATE | flag::READONLY) != 0 {
        mask |= gate::NO_KEYSPACE;
    }
    // Shard channels look like keys, and are none.
    if flags & (flag::READONLY | flag::RUNS_SCRIPT) != 0 && flags & flag::PUBSUB == 0 {
        mask |= gate::TRACKS;
    }
    if flags & flag::SERVER_WIDE != 0 {
        mask |= gate::TENANT;
    }
    if flags & flag::ALWAYS_TOUCHES == 0 {
        mask |= gate::NO_TOUCH;
    }
    if flags & flag::RUNS_QUEUE != 0 {
        // Whatever may be queued; admission looks at what was.
        mask |= blocked_by(flag::WRITE | flag::NO_ASYNC_LOADING);
        mask &= !(gate::UNAUTHENTICATED | gate::IN_MULTI | gate::SUBSCRIBED);
        mask |= blocked_by(flags & !flag::RUNS_QUEUE);
    }
    mask | gate::PAUSED_ALL
}
