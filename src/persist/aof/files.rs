//! The directory of the AOF: reading and replacing the manifest, taking over the one file of old, removing
//! history.
//!
//! A manifest is written beside its place, synced and moved there, and its directory synced: whenever the
//! machine stops, there is the old one or the new one.
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::disk::{Disk, DiskFile, Stream, exists};
use crate::state::State;
use crate::state::aof::FileJob;
use crate::state::aof::manifest::{Manifest, Part, manifest_name};
use crate::state::config::Config;
use crate::state::config::file::errno_text;

/// What went wrong is in the log already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged;

/// Bytes as a log line shows them.
pub fn shown(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// Where the AOF's files lie.
pub fn directory(config: &Config) -> PathBuf {
    config.dir.0.join(OsStr::from_bytes(&config.appenddirname))
}

/// Where one of them lies.
pub fn path_of(config: &Config, name: &[u8]) -> PathBuf {
    directory(config).join(OsStr::from_bytes(name))
}

/// Where the manifest lies.
pub fn manifest_path(config: &Config) -> PathBuf {
    path_of(config, &manifest_name(&config.appendfilename))
}

/// Where a server before 7.0 had its only file.
pub fn old_path(config: &Config) -> PathBuf {
    config.dir.0.join(OsStr::from_bytes(&config.appendfilename))
}

/// The name of the incremental file that is not in the manifest before a rewrite has succeeded.
pub fn temporary_incremental(config: &Config) -> Vec<u8> {
    [b"temp-", &config.appendfilename[..], b".incr"].concat()
}

/// All of a file.
pub fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Stream(&*disk.open(path)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the manifest that the configuration names into the state.
pub fn load_manifest(state: &mut State) -> Result<(), Logged> {
    state.aof.manifest = read_manifest(&*state.disk, &state.config)?;
    Ok(())
}

/// The manifest that a configuration names; none is an empty one.
pub fn read_manifest(disk: &dyn Disk, config: &Config) -> Result<Manifest, Logged> {
    let path = manifest_path(config);
    let text = match read_all(disk, &path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            log::debug!("The AOF manifest file {} doesn't exist", path.display());
            return Ok(Manifest::default());
        }
        Err(error) => {
            log::warn!(
                "Fatal error: can't open the AOF manifest file {} for reading: {}",
                path.display(),
                errno_text(&error)
            );
            return Err(Logged);
        }
    };
    match Manifest::parse(&text) {
        Ok(manifest) => Ok(manifest),
        Err(bad) => {
            log::warn!("\n*** FATAL AOF MANIFEST FILE ERROR ***\n");
            log::warn!("The AOF manifest file {} cannot be used", path.display());
            if let Some((number, line)) = &bad.line {
                log::warn!("Reading the manifest file, at line {number}\n");
                log::warn!(">>> '{}'\n", shown(line));
            }
            log::warn!("{}\n", bad.reason);
            Err(Logged)
        }
    }
}

/// Puts a manifest in the place of the one on disk.
pub fn save_manifest(disk: &dyn Disk, config: &Config, manifest: &Manifest) -> Result<(), Logged> {
    let directory = directory(config);
    let path = manifest_path(config);
    let name = manifest_name(&config.appendfilename);
    let temporary = path_of(config, &[b"temp-", &name[..]].concat());
    let failed = |what: &str, error: io::Error| {
        log::warn!("{what}: {}", errno_text(&error));
        Logged
    };
    let file = disk.create(&temporary).map_err(|error| {
        let what = format!("Can't open the AOF manifest file {}", temporary.display());
        failed(&what, error)
    })?;
    Stream(&*file)
        .write_all(&manifest.text())
        .map_err(|error| {
            let what = format!(
                "Error trying to write the temporary AOF manifest file {}",
                temporary.display()
            );
            failed(&what, error)
        })?;
    file.sync().map_err(|error| {
        let what = format!("Fail to fsync the temp AOF file {}", temporary.display());
        failed(&what, error)
    })?;
    disk.rename(&temporary, &path).map_err(|error| {
        let what = format!(
            "Error trying to rename the temporary AOF manifest file {} into {}",
            temporary.display(),
            path.display()
        );
        failed(&what, error)
    })?;
    disk.sync_dir(&directory).map_err(|error| {
        let what = format!("Fail to fsync AOF directory {}", directory.display());
        failed(&what, error)
    })
}

/// After [`save_manifest`] failed: is it surely this one that is on disk? If not, files that only the other
/// one names have to stay.
pub fn is_on_disk(disk: &dyn Disk, config: &Config, manifest: &Manifest) -> bool {
    match read_all(disk, &manifest_path(config)) {
        Ok(text) => Manifest::parse(&text).is_ok_and(|there| there.text() == manifest.text()),
        Err(error) => error.kind() == io::ErrorKind::NotFound && manifest.is_empty(),
    }
}

/// Makes sure that the directory is there, and stays.
pub fn make_directory(disk: &dyn Disk, config: &Config) -> Result<(), Logged> {
    let directory = directory(config);
    let made = disk
        .create_dir(&directory)
        .and_then(|()| disk.sync_dir(&config.dir.0));
    made.map_err(|error| {
        log::warn!(
            "Can't open or create append-only dir {}: {}",
            directory.display(),
            errno_text(&error)
        );
        Logged
    })
}

/// Takes over the single file of a server before 7.0, or goes on with a take-over that was cut short. To be
/// called behind [`load_manifest`] and before anything is loaded.
pub fn take_over_old(state: &mut State) -> Result<(), Logged> {
    let (disk, config, aof) = (&*state.disk, &state.config, &mut state.aof);
    let (old, name) = (old_path(config), &config.appendfilename);
    // One that is there and cannot be opened is no reason to begin without it.
    let there = |path: &Path| {
        exists(disk, path).map_err(|error| {
            log::warn!(
                "Can't open the append-only file {}: {}",
                path.display(),
                errno_text(&error)
            );
            Logged
        })
    };
    let due = match &aof.manifest.base {
        _ if !aof.manifest.incrementals.is_empty() => false,
        Some(base) => base.name == *name && !there(&path_of(config, name))?,
        None => true,
    };
    if !due || !there(&old)? {
        return Ok(());
    }
    make_directory(disk, config)?;
    let manifest = Manifest {
        base: Some(Part {
            name: name.clone(),
            seq: 1,
        }),
        base_seq: 1,
        ..Manifest::default()
    };
    // First the manifest: cut short in between, it tells that the file is still to be moved.
    save_manifest(disk, config, &manifest)?;
    let moved = disk
        .rename(&old, &path_of(config, name))
        .and_then(|()| disk.sync_dir(&directory(config)))
        .and_then(|()| disk.sync_dir(&config.dir.0));
    if let Err(error) = moved {
        log::warn!(
            "Error trying to move the old AOF file {} into dir {}: {}",
            shown(name),
            shown(&config.appenddirname),
            errno_text(&error)
        );
        return Err(Logged);
    }
    aof.manifest = manifest;
    log::info!(
        "Successfully migrated an old-style AOF configuration ({}) into the directory {}",
        shown(name),
        shown(&config.appenddirname)
    );
    Ok(())
}

/// Takes a name away and lets the background thread give the space back; a file that is not there is fine.
pub fn remove_in_background(disk: &dyn Disk, path: &Path, jobs: &mut Vec<FileJob>) {
    remove(disk, path, &mut |file| jobs.push(FileJob::Close(file)));
}

fn remove(disk: &dyn Disk, path: &Path, close: &mut dyn FnMut(Arc<dyn DiskFile>)) {
    // Who has it open keeps the space until it is closed: that is the slow part.
    let held = disk.open(path);
    if let Err(error) = disk.remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("Can't remove {}: {}", path.display(), errno_text(&error));
    }
    if let Ok(file) = held {
        close(file);
    }
}

/// Removes the files that a rewrite has made superfluous, unless they are to be kept.
pub fn remove_history(state: &mut State) -> Result<(), Logged> {
    let aof = &mut state.aof;
    remove_history_of(
        &*state.disk,
        &state.config,
        &mut aof.manifest,
        &mut |file| {
            aof.jobs.push(FileJob::Close(file));
        },
    )
}

/// The same for a manifest that is on disk; `close` gets the files whose names are gone.
pub fn remove_history_of(
    disk: &dyn Disk,
    config: &Config,
    manifest: &mut Manifest,
    close: &mut dyn FnMut(Arc<dyn DiskFile>),
) -> Result<(), Logged> {
    if config.aof_disable_auto_gc || manifest.history.is_empty() {
        return Ok(());
    }
    for part in std::mem::take(&mut manifest.history) {
        log::info!(
            "Removing the history file {} in the background",
            shown(&part.name)
        );
        remove(disk, &path_of(config, &part.name), close);
    }
    // Only now: cut short before, the manifest still names what is to be removed.
    save_manifest(disk, config, manifest)
}

/// Removes the incremental file of a rewrite that failed.
pub fn remove_temporary_incremental(state: &mut State) {
    let (disk, config, aof) = (&*state.disk, &state.config, &mut state.aof);
    let name = temporary_incremental(config);
    log::info!(
        "Removing the temp incr aof file {} in the background",
        shown(&name)
    );
    remove_in_background(disk, &path_of(config, &name), &mut aof.jobs);
}
