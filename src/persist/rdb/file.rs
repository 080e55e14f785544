//! RDB files on disk: written beside their place and moved there when whole. `persist::load` reads them.

use std::fs::File;
use std::io;
use std::path::Path;

use super::write::write;
use crate::base::alloc;
use crate::codec::Sink;
use crate::state::State;

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
