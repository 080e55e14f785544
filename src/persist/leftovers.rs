//! Files that were being written when a server or its child was killed: nobody reads them, and a server
//! that is killed again and again would fill the disk with them.
//!
//! Only what carries the number of a process that does not run, and what nobody has written to for a
//! while: another server, maybe of another container, may keep its files in the same directory.
use super::aof::files;
use crate::base::sys;
use crate::state::State;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Who writes a file writes to it at least this often.
const QUIET_MS: i64 = 60_000;

/// Names up to the process's number, and behind it.
const SNAPSHOTS: &[(&str, &str)] = &[("temp-", ".rdb")];
const REWRITES: &[(&str, &str)] = &[
    ("temp-rewriteaof-bg-", ".aof"),
    ("temp-rewriteaof-", ".aof"),
];

/// Removes them. For the start, when this process writes none yet.
pub fn remove(state: &State) {
    remove_from(state, &state.config.dir.0, SNAPSHOTS);
    if state.config.appendonly {
        remove_from(state, &files::directory(&state.config), REWRITES);
    }
}

fn remove_from(state: &State, directory: &Path, names: &[(&str, &str)]) {
    // A directory that cannot be read is told of where it matters.
    for name in state.disk.list(directory).unwrap_or_default() {
        let path = directory.join(&name);
        let Some(pid) = name.to_str().and_then(|name| writer_of(name, names)) else {
            continue;
        };
        if (pid != sys::pid() && sys::process_runs(pid)) || was_written_lately(state, &path) {
            continue;
        }
        match state.disk.remove(&path) {
            Ok(()) => log::info!(
                "Removed {}: whoever wrote it was killed before it was whole",
                path.display()
            ),
            Err(error) => log::warn!(
                "Can't remove {}, which is of no use: {}",
                path.display(),
                sys::strerror(&error)
            ),
        }
    }
}

/// The process that a temporary file's name tells.
fn writer_of(name: &str, names: &[(&str, &str)]) -> Option<i32> {
    names.iter().find_map(|(head, tail)| {
        let middle = name.strip_prefix(head)?.strip_suffix(tail)?;
        // A snapshot from a primary has the time in front of it.
        let digits = match middle.split_once('.') {
            Some((time, pid)) if time.parse::<u64>().is_ok() => pid,
            _ => middle,
        };
        let plain = digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|pid| plain && *pid > 0)
    })
}

fn was_written_lately(state: &State, path: &Path) -> bool {
    let changed = std::fs::metadata(path).and_then(|file| file.modified());
    let changed = changed
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    changed.is_some_and(|at| state.clock.unix_ms - at.as_millis() as i64 <= QUIET_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{self, Clock};
    use crate::base::rng::Rng;
    use crate::state::config::Config;

    #[test]
    fn only_what_nobody_writes_any_more_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let (gone, init) = (i32::MAX, 1);
        let names = [
            format!("temp-{gone}.rdb"),
            format!("temp-1700000000.{gone}.rdb"),
            format!("temp-{init}.rdb"),
            "temp-12x.rdb".to_owned(),
            "temp-+12.rdb".to_owned(),
            format!("temp-{gone}.rdb.bak"),
            "dump.rdb".to_owned(),
        ];
        for name in &names {
            std::fs::write(dir.path().join(name), "x").expect("written");
        }
        let clock = Clock::manual(clock::unix_ms());
        let mut state = State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0);
        state.config.dir.0 = dir.path().into();
        let left = |state: &State| {
            remove(state);
            let there = names.iter().filter(|name| dir.path().join(name).exists());
            there.count()
        };
        assert_eq!(left(&state), 7, "somebody may be writing");
        state.clock.advance_ms(120_000);
        assert_eq!(left(&state), 5);
        assert!(!dir.path().join(&names[0]).exists() && !dir.path().join(&names[1]).exists());
    }
}
