//! RDB files on disk: written beside their place and moved there when whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::read::{Options, Progress, Reader, Summary, Taken};
use super::write::write;
use crate::base::alloc;
use crate::codec::Sink;
use crate::state::State;

/// Keys loaded before the caller is asked whether to go on.
const KEYS_PER_STEP: usize = 1024;

/// Writes all databases to a file. Whatever goes wrong, a file that was there stays as it was.
pub fn save(state: &State, path: &Path) -> io::Result<u64> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = directory.join(format!("temp-{}.rdb", std::process::id()));
    let result = save_to(state, &temporary).and_then(|bytes| {
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()?;
        Ok(bytes)
    });
    if result.is_err() {
        // What is there of it is of no use; the error that is told is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn save_to(state: &State, path: &Path) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let config = &state.config;
    let mut sink = Sink::to_writer(&mut file, config.rdbcompression, config.rdbchecksum);
    write(state, &mut sink, alloc::used(), &[], &mut |_| {});
    let bytes = sink.finish()?;
    file.sync_all()?;
    Ok(bytes)
}

/// Loads a file into the keyspace, as a whole. `pause` is called between steps.
pub fn load(
    state: &mut State,
    path: &Path,
    taken: Taken,
    pause: &mut dyn FnMut(&mut State, &Reader),
) -> io::Result<Summary> {
    let mut file = File::open(path)?;
    let mut reader = Reader::new(Options {
        taken,
        drop_expired: true,
        checksum: state.config.rdbchecksum,
        total: Some(file.metadata()?.len()),
    });
    let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    loop {
        match reader.step(state, KEYS_PER_STEP).map_err(bad)? {
            Progress::More => {}
            Progress::Hungry => {
                // Only what is really read makes the window grow: the file's own lengths may lie.
                let wants = reader.wants() as u64;
                let got = reader.feed_with(|window| (&mut file).take(wants).read_to_end(window))?;
                if got == 0 {
                    return Err(bad(reader.cut_short()));
                }
            }
            Progress::Done => return Ok(reader.summary().clone()),
        }
        pause(state, &reader);
    }
}
