//! The server's way with files, simulated: no sockets, a clock that is moved by hand, a disk that
//! forgets, tears, refuses and fills up, and everything by a seed. A life of a server runs requests in
//! turns as the loop does, with rewrites and snapshots in between; it ends in the middle of something.
//! The next life has to load its files, and the data set has to be one that there was, no older than
//! what `appendfsync` promises.
//!
//! `isolation` simulates groups instead: what one of them sees with another one there and without.
//!
//! `SIM_SEED=n` runs that case alone, `SIM_CASES=n` more of them (`make crash`), `SIM_LOG=1` shows what
//! the server logs.
mod history;
mod isolation;
mod ledger;
mod life;
mod machine;
mod requests;

use machine::{Machine, Tally};
use redvault::base::disk::faulty::Fate;

/// Cases in a run of the tests.
const CASES: u64 = 60;
/// Lives in a case.
const LIVES: u64 = 6;

fn cases() -> std::ops::Range<u64> {
    cases_of(CASES)
}

/// So many cases, unless the environment says otherwise.
fn cases_of(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match (number("SIM_SEED"), number("SIM_CASES")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 1..count + 1,
        (None, None) => 1..usual + 1,
    }
}

/// Shows what the server logs, if it is asked for.
fn show_log() {
    if std::env::var("SIM_LOG").is_ok() {
        let config = simplelog::ConfigBuilder::new()
            .set_time_level(log::LevelFilter::Off)
            .build();
        let _ = simplelog::SimpleLogger::init(log::LevelFilter::Info, config);
    }
}

/// Any faults, any settings, life after life over the same disk.
#[test]
fn nothing_acknowledged_is_lost_whatever_goes_wrong() {
    show_log();
    let mut tally = Tally::default();
    for seed in cases() {
        let mut machine = Machine::new(seed);
        for _ in 0..LIVES {
            machine.live(None);
        }
        tally.add(&machine.tally);
    }
    println!("sim: {tally}");
}

/// One history, and the machine stops within each of its calls in turn.
#[test]
fn the_machine_may_stop_within_any_call() {
    show_log();
    let mut tally = Tally::default();
    // The policy follows the seed, so that of three cases each is under another one.
    for seed in cases().step_by(25) {
        let seed = seed + 1_000_000;
        let calls = {
            let mut machine = Machine::plain(seed);
            machine.live(Some((u64::MAX, Fate::Bare)));
            machine.calls()
        };
        for crash_at in 1..=calls {
            for fate in [Fate::Bare, Fate::Torn] {
                let mut machine = Machine::plain(seed);
                machine.live(Some((crash_at, fate)));
                machine.live(Some((u64::MAX, Fate::Killed)));
                tally.add(&machine.tally);
            }
        }
    }
    println!("sim, every call: {tally}");
}

/// Equal seeds give equal lives: else no case could be looked at again.
#[test]
fn a_case_can_be_run_again() {
    let run = || {
        let mut machine = Machine::new(77);
        (0..LIVES).for_each(|_| machine.live(None));
        machine.tally.to_string()
    };
    assert_eq!(run(), run());
}
