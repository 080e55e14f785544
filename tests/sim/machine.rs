//! A machine with its disk, over which servers live one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use redvault::base::disk::faulty::{Fate, Faults, FaultyDisk};
use redvault::base::rng::Rng;
use redvault::state::config::{Appendfsync, Config, WorkDir};

use super::ledger::Ledger;
use super::life::Life;

/// The directory of the files.
pub const DIR: &str = "/data";
/// `appendfsync everysec` loses so much at most, milliseconds.
const EVERYSEC_LOSES_MS: i64 = 2_000;
/// The background thread takes so long for a job at most, milliseconds: part of the above.
pub const JOB_MS: u64 = 300;

/// What was tried.
#[derive(Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub fn count(&mut self, what: &'static str, n: u64) {
        *self.0.entry(what).or_default() += n;
    }

    pub fn add(&mut self, other: &Tally) {
        other.0.iter().for_each(|(what, n)| self.count(what, *n));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(what, n)| format!("{what}: {n}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

pub struct Machine {
    seed: u64,
    rng: Rng,
    disk: FaultyDisk,
    config: Config,
    ledger: Ledger,
    now_ms: i64,
    /// Does anything go wrong but the end?
    faulty: bool,
    /// How the last life ended, for messages.
    fate: Fate,
    calls: u64,
    pub tally: Tally,
}

impl Machine {
    /// Everything may go wrong.
    pub fn new(seed: u64) -> Machine {
        let disk = FaultyDisk::new(seed);
        disk.lay_dir(Path::new(DIR));
        let mut ledger = Ledger::default();
        ledger.note("0".repeat(40));
        let mut rng = Rng::from_seed(seed);
        let mut config = Config {
            dir: WorkDir(PathBuf::from(DIR)),
            appendonly: rng.below(6) > 0,
            appendfsync: Appendfsync::Always,
            ..Config::default()
        };
        config.save.points.clear();
        Machine {
            seed,
            rng,
            disk,
            config,
            ledger,
            now_ms: 1_700_000_000_000,
            faulty: true,
            fate: Fate::Killed,
            calls: 0,
            tally: Tally::default(),
        }
    }

    /// Nothing goes wrong but the end.
    pub fn plain(seed: u64) -> Machine {
        let mut machine = Machine::new(seed);
        machine.config.appendonly = true;
        machine.faulty = false;
        machine
    }

    /// Calls of the disk in the last life.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Every file.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.disk.contents()
    }

    fn draw_settings(&mut self) {
        let (rng, config) = (&mut self.rng, &mut self.config);
        let policies = [Appendfsync::Always, Appendfsync::Everysec, Appendfsync::No];
        let policy = match self.faulty {
            true => rng.below(3),
            false => self.seed % 3,
        };
        config.appendfsync = policies[policy as usize];
        config.aof_use_rdb_preamble = rng.below(2) == 0;
        config.aof_timestamp_enabled = rng.below(2) == 0;
        config.auto_aof_rewrite_percentage = [0, 100][rng.below(2) as usize];
        config.auto_aof_rewrite_min_size = 4000;
        config.rdbcompression = rng.below(2) == 0;
        config.aof_disable_auto_gc = rng.below(8) == 0;
    }

    fn draw_faults(&mut self) -> Faults {
        let mut faults = Faults::default();
        if !self.faulty {
            return faults;
        }
        let used = self.disk.used();
        let rng = &mut self.rng;
        match rng.below(8) {
            0..3 => {}
            3 => faults.short_writes = 3,
            4 => faults.write_errors = 10,
            5 => faults.sync_errors = 8,
            6 => faults.name_errors = 8,
            _ => faults.capacity = used + 1 + rng.below(20_000),
        }
        if rng.below(3) == 0 {
            faults.crash_at = 1 + rng.below(150);
        }
        faults
    }

    /// A server's life from its start to its end, by chance or as told: the machine stops within
    /// the call of that number, and with that fate.
    pub fn live(&mut self, end: Option<(u64, Fate)>) {
        self.draw_settings();
        let mut faults = self.draw_faults();
        if let Some((crash_at, _)) = end {
            faults.crash_at = crash_at;
        }
        self.tally.count("lives", 1);
        let life_seed = self.rng.next_u64();
        // Half of the servers start on a disk that works.
        let early = end.is_some() || self.rng.below(2) == 0;
        if early {
            self.disk.set_faults(faults.clone());
        }
        match Life::start(&self.disk, &self.config, self.now_ms, life_seed) {
            Ok(mut life) => {
                self.check(&life);
                self.disk.set_faults(faults);
                let turns = if self.faulty { 60 } else { 15 };
                let turns = 5 + self.rng.below(turns);
                let quiet = self.faulty && self.rng.below(4) == 0;
                life.run(turns, quiet, &self.disk, &mut self.ledger);
                self.now_ms = life.now_ms();
                self.config.appendonly = life.appendonly();
                self.tally.count("requests", life.requests);
                self.tally.count("rewrites", life.rewrites);
                self.tally.count("snapshots", life.snapshots);
                self.tally
                    .count("ended for an error of the disk", u64::from(life.ended()));
            }
            Err(text) => {
                // Refusing to start is right while the disk fails, and then only.
                let excused = self.disk.crashed() || early && self.faulty;
                assert!(excused, "{}: the files do not load: {text}", self.story());
                self.tally.count("refused to start on a failing disk", 1);
            }
        }
        self.die(end.map(|(_, fate)| fate));
    }

    fn die(&mut self, fate: Option<Fate>) {
        let crashed = self.disk.crashed();
        // A page cache that shows what is not on the disk, and no process that knows of it: nobody
        // can tell, so nobody has to.
        let power = crashed || self.disk.lost_pages();
        let fate = match fate {
            Some(fate) if crashed || !power => fate,
            _ if power || self.rng.below(2) == 0 => {
                [Fate::Bare, Fate::Torn, Fate::Torn][self.rng.below(3) as usize]
            }
            _ => Fate::Killed,
        };
        self.tally.count(
            match fate {
                Fate::Killed => "killed",
                Fate::Bare | Fate::Torn => "power cuts",
            },
            1,
        );
        if self.config.appendfsync == Appendfsync::Everysec {
            self.ledger.settle_until(self.now_ms - EVERYSEC_LOSES_MS);
        }
        if fate != Fate::Killed {
            self.ledger.forget();
        }
        self.fate = fate;
        self.calls = self.disk.calls();
        self.disk = self.disk.after(fate, self.rng.next_u64());
        self.now_ms += 1 + self.rng.below(1000) as i64;
    }

    /// The data set that was loaded against what was promised.
    fn check(&mut self, life: &Life) {
        let digest = life.digest();
        let floor = if self.config.appendonly {
            self.ledger.aof_floor
        } else {
            self.ledger.snapshot_floor
        };
        let Some(age) = self.ledger.age_of(&digest, floor) else {
            panic!(
                "{}: what was loaded is number {:?} of the data sets there were; {floor} to {} were \
                 promised ({:?}, appendonly {})",
                self.story(),
                self.ledger.places(&digest),
                self.ledger.newest(),
                self.config.appendfsync,
                self.config.appendonly,
            );
        };
        self.tally.count("changes lost", age as u64);
        self.tally.count("loaded and compared", 1);
        self.ledger.note(digest);
        let newest = self.ledger.newest();
        if self.fate != Fate::Killed && self.config.appendonly {
            // What a machine comes up with is on its disk.
            self.ledger.aof_floor = newest;
        }
    }

    fn story(&self) -> String {
        let names: Vec<_> = self.contents();
        let names = names
            .iter()
            .map(|(path, bytes)| format!("{}: {} bytes", path.display(), bytes.len()));
        let names: Vec<_> = names.collect();
        format!(
            "SIM_SEED={}, after {:?}, on {names:?}, {}",
            self.seed, self.fate, self.tally
        )
    }
}
