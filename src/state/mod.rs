//! The data of the server that a command may see, almost without behaviour.
//!
//! `State` is public fields and the few verbs every handler needs: looking a key up, and saying that
//! it was modified. What belongs to one part lives with that part or on a floor above. No field
//! names a socket, a file descriptor or a command row.
pub mod access;
pub mod acl_log;
pub mod aof;
pub mod census;
pub mod client;
pub mod client_memory;
pub mod commandlog;
pub mod config;
pub mod evict;
pub mod figures;
pub mod gate;
pub mod groups;
pub mod hotkeys;
pub mod latency;
pub mod libraries;
pub mod listener;
pub mod loading;
pub mod members;
pub mod migrate;
pub mod names;
pub mod notify;
pub mod outbox;
pub mod per_group;
pub mod persistence;
pub mod prop;
pub mod pubsub;
pub mod quota;
pub mod repl;
pub mod run;
pub mod scripts;
pub mod session;
pub mod stats;
pub mod tls;
pub mod tracking;
pub mod transaction;
pub mod users;
pub mod watch;
pub mod whole;

use crate::base::clock::Clock;
use crate::base::disk::{Disk, RealDisk};
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::table::Slot;
use crate::keyspace::databases::Databases;
use crate::keyspace::entry::EntryRef;
use client::{ClientId, Clients, client_flag};
use config::Config;
use notify::Event;
use per_group::PerGroup;
use std::sync::Arc;

/// Makes a CONFIG SET take hold outside, or refuses it: who asks, the values before and behind it, what
/// differs. The state still has the values before it.
pub type ApplyConfig = dyn FnMut(
    &mut State,
    config::Caller,
    (&Config, &Config),
    &config::Changed,
) -> Result<(), (config::Key, String)>;

/// For a server without an outside.
pub fn nothing_to_apply() -> Box<ApplyConfig> {
    Box::new(|_, _, _, _| Ok(()))
}

/// Everything a command may see.
pub struct State {
    pub config: Config,
    /// Asked before a CONFIG SET holds: what is outside may refuse it.
    pub config_apply: Box<ApplyConfig>,
    /// Frozen for one unit: a key cannot expire halfway through a script.
    pub clock: Clock,
    pub rng: Rng,
    /// Where everything lies that is to survive a crash.
    pub disk: Arc<dyn Disk>,
    pub dbs: Databases,
    /// Function libraries.
    pub libraries: PerGroup<libraries::Libraries>,
    pub scripts: scripts::Scripts,
    pub clients: Clients,
    /// Who may log in, and what each may do.
    pub users: users::Users,
    /// Logins that failed, or take time.
    pub logins: users::logins::Logins,
    /// What was refused to whom.
    pub acl_logs: acl_log::AclLogs,
    /// Whose data are kept apart.
    pub groups: groups::Groups,
    /// What they hold together, if that is limited.
    pub client_memory: client_memory::ClientMemory,
    /// Whose requests run; none while the server works by itself.
    pub running: Option<ClientId>,
    /// Restrictions in force for everybody (`gate`).
    pub gate: u32,
    /// Changes since the last save.
    pub dirty: u64,
    /// Files that are being loaded, or were.
    pub load: loading::LoadProgress,
    pub stats: stats::Stats,
    /// What of it is whose.
    pub figures: figures::GroupFigures,
    pub commandlog: commandlog::CommandLog,
    pub hotkeys: hotkeys::HotKeys,
    pub census: census::Census,
    pub latency: latency::LatencyMonitor,
    pub watched: watch::Watched,
    pub blocked: watch::BlockedClients,
    pub pubsub: pubsub::PubSub,
    /// Who caches what.
    pub tracking: tracking::Tracking,
    /// Who is to learn of changes (`listener`).
    listeners: u32,
    /// Used again for the name of each event's channel.
    event_channel: Vec<u8>,
    /// The append-only file.
    pub aof: aof::Aof,
    /// Whom this server follows, and who follows it.
    pub repl: repl::Repl,
    /// Keys on their way to other servers.
    pub migrations: migrate::Migrations,
    /// What units changed, for the AOF and the replicas.
    pub prop: prop::Propagation,
    pub outbox: outbox::Outbox,
    pub monitors: Vec<ClientId>,
    /// Clients to close at the end of the turn.
    pub closing: Vec<ClientId>,
    /// Clients that were unblocked: their input goes on.
    pub resumed: Vec<ClientId>,
    /// TLS connections.
    pub tls: tls::Tls,
    /// What the server does outside commands, as commands asked for it.
    pub wanted: run::Wanted,
    /// Facts about this process.
    pub run: run::Run,
    /// Switches of DEBUG.
    pub debug: run::DebugSwitches,
    pub pause: run::Pause,
    /// The process that writes a file from a copy of the data set; one at a time.
    pub child: Option<persistence::Child>,
    pub forks: persistence::Forks,
    pub snapshots: persistence::Snapshots,
    pub rewrites: persistence::Rewrites,
    /// A snapshot child lives: nothing is written to shared pages that need not be.
    pub child_alive: bool,
    /// Lookups leave the access clock alone: a child lives, or the running client asked for it.
    pub touch_off: bool,
    /// The access clock (29 bits, ticks of 32 ms).
    pub lru_clock: u32,
    /// Keys count their uses (an LFU policy): as of the access clock's last tick.
    lfu: bool,
    /// Keys that go for their memory.
    pub eviction: evict::Eviction,
    /// Values to be freed off the loop's thread.
    pub garbage: run::Garbage,
    /// The running request's own buffer, when a large value is nearly all of it; else empty.
    pub request: bytes::Bytes,
    /// Used again by each round of expiry.
    due: Vec<(usize, crate::keyspace::entry::Entry)>,
}

impl State {
    /// An empty state under this configuration; `rows` is the number of command rows.
    pub fn new(config: Config, rng: Rng, clock: Clock, rows: usize, ticks_per_us: f64) -> Self {
        let mut rng = rng;
        let dbs = Databases::new(config.databases as usize, HashKey::random(&mut rng));
        Self {
            clock,
            rng,
            disk: Arc::new(RealDisk),
            libraries: PerGroup::default(),
            scripts: scripts::Scripts::default(),
            clients: Clients::default(),
            users: users::Users::new(rows),
            logins: users::logins::Logins::default(),
            acl_logs: acl_log::AclLogs::default(),
            groups: groups::Groups::default(),
            client_memory: client_memory::ClientMemory::default(),
            running: None,
            gate: 0,
            dirty: 0,
            load: loading::LoadProgress::default(),
            stats: stats::Stats::new(rows, ticks_per_us),
            figures: figures::GroupFigures::default(),
            commandlog: commandlog::CommandLog::default(),
            hotkeys: hotkeys::HotKeys::default(),
            census: census::Census::default(),
            latency: latency::LatencyMonitor::default(),
            watched: watch::Watched::default(),
            blocked: watch::BlockedClients::default(),
            pubsub: pubsub::PubSub::new(dbs.hash_key()),
            tracking: tracking::Tracking::new(dbs.hash_key()),
            listeners: 0,
            event_channel: Vec::new(),
            // The server gives the data set its name when it starts.
            repl: repl::Repl::new(String::new()),
            migrations: migrate::Migrations::default(),
            prop: prop::Propagation::default(),
            aof: aof::Aof::default(),
            outbox: outbox::Outbox::default(),
            monitors: Vec::new(),
            closing: Vec::new(),
            resumed: Vec::new(),
            wanted: run::Wanted::default(),
            tls: tls::Tls::default(),
            run: run::Run::default(),
            debug: run::DebugSwitches::default(),
            pause: run::Pause::default(),
            child: None,
            forks: persistence::Forks::default(),
            snapshots: persistence::Snapshots::default(),
            rewrites: persistence::Rewrites::default(),
            child_alive: false,
            touch_off: false,
            lru_clock: 0,
            lfu: false,
            eviction: evict::Eviction::default(),
            garbage: run::Garbage::default(),
            request: bytes::Bytes::new(),
            due: Vec::new(),
            config_apply: nothing_to_apply(),
            config,
            dbs,
        }
    }

    /// Copies what the hot path reads out of the configuration to where it reads it.
    pub fn apply_config(&mut self) {
        let config = &self.config;
        self.commandlog.configure(config);
        self.hotkeys.configure(config.hotkey_top_k as usize);
        self.latency.threshold_ms = config.latency_monitor_threshold as i64;
        self.stats.set_thresholds(config);
        self.stats.track_latency = config.latency_tracking;
        self.settle_good_replicas();
        self.settle_writes();
        self.settle_default_password();
        let limits = users::lockout::Limits::of(&self.config);
        self.logins.lockouts.configure(limits);
        self.acl_logs.shorten(self.config.acllog_max_len);
        self.settle_events();
        self.tick_access_clock();
        self.settle_memory_limit();
        self.settle_client_limit();
        self.settle_tracking_limit();
        self.settle_role();
    }

    fn restrict(&mut self, bit: u32, on: bool) {
        self.gate = self.gate & !bit | if on { bit } else { 0 };
    }

    /// The key's entry for reading: a dead key is removed and absent; counts hits and misses. While a file
    /// is loaded no key is dead: what it says of a key holds for the key as it was then.
    #[inline]
    pub fn lookup_read(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let slot = self.lookup_read_slot(db, key)?;
        Some(self.dbs[db].entry(slot))
    }

    /// The same for a command that reads several keys: where the key is. A later look-up that
    /// removes a dead key (there are fewer keys then) may move it.
    #[inline]
    pub fn lookup_read_slot(&mut self, db: usize, key: &[u8]) -> Option<Slot> {
        match self.find_visible(db, key) {
            Some(slot) => {
                self.stats.hits += 1;
                if !self.touch_off {
                    self.touch(db, slot);
                }
                Some(slot)
            }
            None => {
                self.missed(db, key);
                None
            }
        }
    }

    /// The same for what only asks about a key (TTL, TYPE, EXISTS): the access clock stays.
    #[inline]
    pub fn lookup_untouched(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let Some(slot) = self.find_visible(db, key) else {
            self.missed(db, key);
            return None;
        };
        self.stats.hits += 1;
        Some(self.dbs[db].entry(slot))
    }

    /// The same without a trace: neither statistics nor access clock.
    #[inline]
    pub fn peek(&mut self, db: usize, key: &[u8]) -> Option<EntryRef<'_>> {
        let slot = self.find_visible(db, key)?;
        Some(self.dbs[db].entry(slot))
    }

    /// The key's slot for writing: a dead key is removed and absent.
    #[inline]
    pub fn lookup_write(&mut self, db: usize, key: &[u8]) -> Option<Slot> {
        let slot = self.find_live(db, key)?;
        if !self.touch_off {
            self.touch(db, slot);
        }
        Some(slot)
    }

    /// The key's slot for a reader. A dead key is absent, and removed unless keys may not expire now
    /// (CLIENT PAUSE).
    #[inline]
    fn find_visible(&mut self, db: usize, key: &[u8]) -> Option<Slot> {
        let slot = self.dbs.find(db, key)?;
        if self.dbs[db].entry(slot).is_expired(self.clock.unix_ms) && !self.keeps_expired() {
            if self.may_expire() {
                self.expire(db, key, slot);
            }
            return None;
        }
        Some(slot)
    }

    /// The key's slot unless it is absent or past its deadline; a dead one is removed, so that a
    /// writer can put another in its place.
    #[inline]
    pub fn find_live(&mut self, db: usize, key: &[u8]) -> Option<Slot> {
        let slot = self.dbs.find(db, key)?;
        if self.dbs[db].entry(slot).is_expired(self.clock.unix_ms) && !self.keeps_expired() {
            if self.may_end_keys() {
                self.expire(db, key, slot);
            }
            return None;
        }
        Some(slot)
    }

    /// A snapshot child was started, or is gone.
    pub fn set_child_alive(&mut self, alive: bool) {
        self.child_alive = alive;
        self.touch_off = alive;
        self.dbs.pause_resize(alive);
    }

    /// Removes a key whose deadline has passed.
    #[cold]
    fn expire(&mut self, db: usize, key: &[u8], slot: Slot) {
        self.remove(db, slot, self.config.lazyfree_lazy_expire);
        self.note_expired(db, key);
    }

    /// What follows when a key expired: statistics, the log, event, WATCH.
    pub fn note_expired(&mut self, db: usize, key: &[u8]) {
        self.stats.expired += 1;
        if let Some(own) = self.figures.get_mut(self.group_of(db)) {
            own.expired += 1;
        }
        let lazy = self.config.lazyfree_lazy_expire;
        self.prop
            .push_own(db, &[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        self.key_ended(db, key);
        self.notify(db, key, Event::EXPIRED);
    }

    /// Takes a key out and frees it, a big value off the loop's thread; the epilogue is the
    /// caller's.
    #[inline]
    pub fn remove(&mut self, db: usize, slot: Slot, lazy: bool) {
        let gone = self.dbs[db].remove(slot);
        self.discard(gone, lazy);
    }

    /// Frees a removed entry: a big one off the loop's thread.
    #[inline]
    pub fn discard(&mut self, gone: crate::keyspace::entry::Entry, lazy: bool) {
        self.garbage.entry(gone, lazy);
    }

    fn missed(&mut self, db: usize, key: &[u8]) {
        self.stats.misses += 1;
        self.notify(db, key, Event::KEY_MISS);
    }

    /// Marks a client for closing at the end of the turn.
    pub fn close_client(&mut self, who: ClientId) {
        if let Some(client) = self.clients.get_mut(who)
            && !client.has(client_flag::CLOSE_NOW)
        {
            client.flags |= client_flag::CLOSE_NOW;
            self.closing.push(who);
            // Nobody is served any more who is as good as gone: an element would be lost.
            if let Some(mut parked) = client.parked.take() {
                self.blocked.unpark(&mut parked);
            }
            self.unweigh(who);
        }
    }

    /// An argument of the running request with the buffer it came in, where it fills that buffer:
    /// a large value is stored without being copied.
    pub fn argument_buffer(&self, argument: &[u8]) -> Option<bytes::Bytes> {
        let whole = self.request.as_ptr_range();
        let part = argument.as_ptr_range();
        let fits = whole.start <= part.start && part.end <= whole.end;
        // What else the buffer holds stays with the value.
        let fills = argument.len() >= self.request.len() - self.request.len() / 16;
        (fits && fills && !argument.is_empty()).then(|| self.request.slice_ref(argument))
    }

    /// Does anybody wait for what the unit did? Else it has ended with this.
    #[inline]
    pub fn end_unit(&mut self) -> bool {
        self.prop.end_unit();
        self.blocked.has_ready()
    }
}
