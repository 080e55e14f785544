//! RDB files on disk: written beside their place and moved there when whole. `persist::load` reads them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::write::write;
use crate::base::disk::DiskFile;
use crate::base::{alloc, sys};
use crate::codec::Sink;
use crate::state::State;

/// Writes all databases to a file. Whatever goes wrong, a file that was there stays as it was; the error
/// says what failed. `progress` is called with the number of keys so far.
pub fn save(state: &State, path: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let temporary = temporary(path, sys::pid());
    let result = save_to(state, &temporary, progress).and_then(|bytes| {
        put_in_place(state, &temporary, path)?;
        Ok(bytes)
    });
    if result.is_err() {
        // What is there of it is of no use; the error that is told is the first one.
        let _ = state.disk.remove(&temporary);
    }
    result
}

/// Where a process writes the file that is to lie at `path`.
pub fn temporary(path: &Path, pid: i32) -> PathBuf {
    directory(path).join(format!("temp-{pid}.rdb"))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn save_to(state: &State, path: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let config = &state.config;
    let file = state.disk.create(path).map_err(|error| {
        told(&error, |why| {
            format!(
                "Failed opening the temp RDB file {} (in server root dir {}) for saving: {why}",
                name(path),
                config.dir.0.display()
            )
        })
    })?;
    let failed = |what: &str, error: io::Error| {
        told(&error, |why| {
            format!(
                "Write error saving DB on disk({what} {}): {why}",
                path.display()
            )
        })
    };
    let mut out = Flowing::new(&*file, config.rdb_save_incremental_fsync);
    let mut sink = Sink::to_writer(&mut out, config.rdbcompression, config.rdbchecksum);
    let facts = state.stream_facts();
    let facts: Vec<(&str, &str)> = facts.iter().map(|(k, v)| (*k, v.as_str())).collect();
    write(state, &mut sink, alloc::used(), &facts, progress);
    let bytes = sink.finish().map_err(|error| failed("write", error))?;
    file.sync().map_err(|error| failed("fsync", error))?;
    Ok(bytes)
}

fn put_in_place(state: &State, temporary: &Path, path: &Path) -> io::Result<()> {
    let root = state.config.dir.0.display();
    state.disk.rename(temporary, path).map_err(|error| {
        told(&error, |why| {
            format!(
                "Error moving temp DB file {} on the final destination {} (in server root dir \
                 {root}): {why}",
                name(temporary),
                name(path)
            )
        })
    })?;
    let directory = directory(path);
    state.disk.sync_dir(directory).map_err(|error| {
        told(&error, |why| {
            format!(
                "Write error saving DB on disk(fsync of {}): {why}",
                directory.display()
            )
        })
    })
}

/// A file's name without its directory, as log lines have it.
pub fn name(path: &Path) -> std::path::Display<'_> {
    path.file_name().map_or(path, Path::new).display()
}

/// The error as a sentence that names the file.
fn told(error: &io::Error, text: impl FnOnce(String) -> String) -> io::Error {
    io::Error::new(error.kind(), text(sys::strerror(error)))
}

/// Bytes between two nudges of the disk.
const FLOW: u64 = 4 << 20;

/// A file that reaches the disk as it is written, so that the sync at its end has little to wait for
/// (`rdb-save-incremental-fsync`, `aof-rewrite-incremental-fsync`).
pub struct Flowing<'a> {
    file: &'a dyn DiskFile,
    written: u64,
    /// Up to here the disk was told to write.
    begun: u64,
    on: bool,
}

impl<'a> Flowing<'a> {
    /// An empty file; `on` is what the configuration says.
    pub fn new(file: &'a dyn DiskFile, on: bool) -> Flowing<'a> {
        Flowing {
            file,
            written: 0,
            begun: 0,
            on,
        }
    }
}

impl Write for Flowing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.written += n as u64;
        if self.on && self.written - self.begun >= FLOW {
            self.file.begin_sync(self.begun, self.written - self.begun);
            self.begun = self.written;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
