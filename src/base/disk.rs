//! Files as the code for durability sees them: [`RealDisk`], or one in memory that fails on purpose.
//!
//! Whatever has to survive a crash goes through these two traits and through nothing else, so that a
//! simulated disk can lose, tear and refuse what a real one may.
pub mod faulty;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

/// A file that is open. Shared: the background thread syncs what the loop writes.
pub trait DiskFile: Send + Sync {
    /// Reads from where the last read ended; 0 at the end.
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;
    /// Writes once; fewer bytes than given may have been taken.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Everything written so far survives a crash when this has returned (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Hints that these bytes may go to the disk now, so that a later sync finds less to do; waits for
    /// what was hinted at before, so that not everything piles up. Promises nothing.
    fn begin_sync(&self, _from: u64, _len: u64) {}
    /// Bytes in the file.
    fn size(&self) -> io::Result<u64>;
    /// Cuts the file off.
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Where files lie. A change of names survives a crash once its directory was synced.
pub trait Disk: Send + Sync {
    /// A new empty file, in the place of one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A file that every write makes longer; a new one where there is none.
    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A file that is there, to be read.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Moves a file, over another one if need be.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory; one that is there is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Makes names that were given and taken in a directory survive a crash.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Does a forked child see the same files? Else what a child is for has to be done in place.
    fn outlives_fork(&self) -> bool;
}

/// Is there a file?
pub fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// An open file where a reader or a writer is asked for.
pub struct Stream<'a>(pub &'a dyn DiskFile);

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut file = self;
        Read::read(&mut file, into)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        Write::write(&mut file, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn begin_sync(&self, from: u64, len: u64) {
        super::sys::begin_sync(self, from, len);
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::create(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            result => result,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn outlives_fork(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_machine() {
        let dir = tempfile::tempdir().expect("a directory");
        let (disk, path) = (RealDisk, dir.path().join("a"));
        assert!(!exists(&disk, &path).expect("can be asked"));
        Stream(&*disk.create(&path).expect("created"))
            .write_all(b"one two")
            .expect("written");
        let file = disk.append(&path).expect("opened");
        file.truncate(3).expect("cut off");
        Stream(&*file).write_all(b" more").expect("written");
        file.sync().expect("synced");
        assert_eq!(file.size().expect("known"), 8);
        let to = dir.path().join("b");
        disk.rename(&path, &to).expect("moved");
        disk.create_dir(dir.path()).expect("is there");
        disk.sync_dir(dir.path()).expect("synced");
        let mut text = String::new();
        Stream(&*disk.open(&to).expect("opened"))
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "one more");
        assert_eq!(disk.list(dir.path()).expect("listed"), ["b"]);
        disk.remove(&to).expect("removed");
        assert!(disk.open(&to).is_err());
    }
}
