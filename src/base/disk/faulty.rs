//! A disk in memory that forgets, tears and refuses as a real one may, by a seed.
//!
//! What was written is read back at once, as from a page cache; it survives a power cut only when it
//! was synced, and its name only when its directory was. In between anything may have reached the
//! disk by itself: [`FaultyDisk::after`] gives what a machine finds when it comes up again. Equal
//! seeds and equal calls give equal disks, so that a simulation can be run again.
use super::{Disk, DiskFile};
use crate::base::rng::Rng;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong, and how often: one call in so many on average, 0 for never.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Only a part of what is written is taken.
    pub short_writes: u64,
    /// Nothing of it is taken.
    pub write_errors: u64,
    /// A sync fails. Half of the times what was written before is lost for good and only the page
    /// cache still shows it, though the next sync succeeds: so Linux does it.
    pub sync_errors: u64,
    /// A name cannot be given, taken or synced.
    pub name_errors: u64,
    /// Bytes that fit in all files together; 0 for any number.
    pub capacity: u64,
    /// The machine stops within the call of this number (from 1); 0 for never. Every later call
    /// fails without doing anything.
    pub crash_at: u64,
}

/// What happened to process and machine between two lives of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The process was killed: the machine's page cache holds everything.
    Killed,
    /// The power failed, and nothing had reached the disk but what was synced.
    Bare,
    /// The power failed; some of the rest had reached the disk, in the order in which it was done,
    /// the last of it in part.
    Torn,
}

/// The disk; clones share it.
#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

struct Inner {
    rng: Rng,
    faults: Faults,
    calls: u64,
    crashed: bool,
    lost_pages: bool,
    files: Vec<Content>,
    /// As programs see them.
    names: Names,
    /// As a power cut leaves them.
    durable: Names,
    /// What leads from one to the other.
    pending: Vec<Renaming>,
}

type Names = BTreeMap<PathBuf, Node>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// Names of one directory given and taken at once.
#[derive(Clone)]
struct Renaming {
    dir: PathBuf,
    names: Vec<(PathBuf, Option<Node>)>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { at, bytes } => {
                // What a failed sync lost in front of it is a hole.
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
            Change::Cut(len) => to.resize(*len, 0),
        }
    }
}

fn os_error(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_owned()
}

impl Inner {
    /// One in `n`.
    fn hits(&mut self, n: u64) -> bool {
        n > 0 && self.rng.below(n) == 0
    }

    /// Counts a call that changes the disk; true when the machine stops within it.
    fn begin(&mut self) -> io::Result<bool> {
        if self.crashed {
            return Err(os_error(libc::EIO));
        }
        self.calls += 1;
        self.crashed = self.calls == self.faults.crash_at;
        Ok(self.crashed)
    }

    fn end(stops: bool) -> io::Result<()> {
        if stops {
            Err(os_error(libc::EIO))
        } else {
            Ok(())
        }
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        if self.crashed {
            return Err(os_error(libc::EIO));
        }
        if path == Path::new("/") {
            return Ok(Node::Dir);
        }
        let node = self.names.get(path).copied();
        node.ok_or_else(|| os_error(libc::ENOENT))
    }

    fn needs_dir(&self, path: &Path) -> io::Result<()> {
        match self.node(path)? {
            Node::Dir => Ok(()),
            Node::File(_) => Err(os_error(libc::ENOTDIR)),
        }
    }

    /// Changes names of one directory, all or none of them.
    fn name(&mut self, dir: PathBuf, names: Vec<(PathBuf, Option<Node>)>) -> io::Result<()> {
        let stops = self.begin()?;
        if !stops && self.hits(self.faults.name_errors) {
            return Err(os_error(libc::EIO));
        }
        let renaming = Renaming { dir, names };
        renaming.apply(&mut self.names);
        self.pending.push(renaming);
        Self::end(stops)
    }

    /// The file of this name, which is made if need be.
    fn file(&mut self, path: &Path) -> io::Result<usize> {
        match self.node(path) {
            Ok(Node::File(file)) => return Ok(file),
            Ok(Node::Dir) => return Err(os_error(libc::EISDIR)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.needs_dir(&parent(path))?;
        let file = self.files.len();
        self.files.push(Content::default());
        let names = vec![(path.to_owned(), Some(Node::File(file)))];
        self.name(parent(path), names)?;
        Ok(file)
    }

    fn used(&self) -> u64 {
        let sizes = self.names.values().map(|node| match node {
            Node::Dir => 0,
            Node::File(file) => self.files[*file].now.len() as u64,
        });
        sizes.sum()
    }

    fn write(&mut self, file: usize, at: Option<usize>, bytes: &[u8]) -> io::Result<usize> {
        let stops = self.begin()?;
        if !stops && self.hits(self.faults.write_errors) {
            return Err(os_error(libc::EIO));
        }
        let mut len = bytes.len();
        if len > 1 && self.hits(self.faults.short_writes) {
            len = 1 + self.rng.below(len as u64 - 1) as usize;
        }
        if self.faults.capacity > 0 {
            let free = self.faults.capacity.saturating_sub(self.used());
            len = len.min(free as usize);
            if len == 0 && !bytes.is_empty() {
                return Err(os_error(libc::ENOSPC));
            }
        }
        let content = &mut self.files[file];
        let at = at.unwrap_or(content.now.len());
        content.change(Change::Write {
            at,
            bytes: bytes[..len].to_vec(),
        });
        Self::end(stops)?;
        Ok(len)
    }

    fn sync(&mut self, file: usize) -> io::Result<()> {
        let stops = self.begin()?;
        if !stops && self.hits(self.faults.sync_errors) {
            if self.rng.below(2) == 0 {
                self.lost_pages = true;
                let pending = &mut self.files[file].pending;
                pending.retain(|change| matches!(change, Change::Cut(_)));
            }
            return Err(os_error(libc::EIO));
        }
        // What a machine that stops here had begun to sync is left to its fate.
        if !stops {
            let content = &mut self.files[file];
            for change in content.pending.drain(..) {
                change.apply(&mut content.durable);
            }
        }
        Self::end(stops)
    }

    fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        self.needs_dir(path)?;
        let stops = self.begin()?;
        if !stops && self.hits(self.faults.name_errors) {
            return Err(os_error(libc::EIO));
        }
        if !stops {
            let (synced, rest) = std::mem::take(&mut self.pending)
                .into_iter()
                .partition::<Vec<_>, _>(|renaming| renaming.dir == path);
            self.pending = rest;
            for renaming in &synced {
                renaming.apply(&mut self.durable);
            }
        }
        Self::end(stops)
    }

    /// The names that survive: of each directory's changes the first so many.
    fn names_after(&self, fate: Fate, rng: &mut Rng) -> Names {
        let mut names = self.durable.clone();
        if fate == Fate::Torn {
            let mut left: BTreeMap<&Path, u64> = BTreeMap::new();
            for renaming in &self.pending {
                *left.entry(&renaming.dir).or_default() += 1;
            }
            for count in left.values_mut() {
                *count = rng.below(*count + 1);
            }
            for renaming in &self.pending {
                let left = left.entry(&renaming.dir).or_default();
                if *left > 0 {
                    *left -= 1;
                    renaming.apply(&mut names);
                }
            }
        }
        // What lay in a directory that is gone is gone.
        let whole = names.clone();
        let there = |path: &Path| path == Path::new("/") || whole.get(path) == Some(&Node::Dir);
        names.retain(|path, _| path.ancestors().skip(1).all(there));
        names
    }
}

impl Renaming {
    fn apply(&self, to: &mut Names) {
        for (name, node) in &self.names {
            match node {
                Some(node) => _ = to.insert(name.clone(), *node),
                None => _ = to.remove(name),
            }
        }
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn after(&self, fate: Fate, rng: &mut Rng) -> Vec<u8> {
        match fate {
            Fate::Killed => self.now.clone(),
            Fate::Bare => self.durable.clone(),
            Fate::Torn => {
                let mut bytes = self.durable.clone();
                let whole = rng.below(self.pending.len() as u64 + 1) as usize;
                for change in &self.pending[..whole] {
                    change.apply(&mut bytes);
                }
                if let Some(Change::Write { at, bytes: torn }) = self.pending.get(whole) {
                    let len = rng.below(torn.len() as u64 + 1) as usize;
                    if len > 0 {
                        let torn = Change::Write {
                            at: *at,
                            bytes: torn[..len].to_vec(),
                        };
                        torn.apply(&mut bytes);
                    }
                }
                bytes
            }
        }
    }
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rng: Rng::from_seed(seed),
            faults: Faults::default(),
            calls: 0,
            crashed: false,
            lost_pages: false,
            files: Vec::new(),
            names: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these go wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// Calls so far that changed something: what `crash_at` counts.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Has the machine stopped?
    pub fn crashed(&self) -> bool {
        self.inner().crashed
    }

    /// Did a failed sync lose what the page cache still shows?
    pub fn lost_pages(&self) -> bool {
        self.inner().lost_pages
    }

    /// Bytes in all files together: what `capacity` bounds.
    pub fn used(&self) -> u64 {
        self.inner().used()
    }

    /// The disk as the next life of the server finds it, without faults; this one stays as it is.
    pub fn after(&self, fate: Fate, seed: u64) -> FaultyDisk {
        let inner = self.inner();
        let next = FaultyDisk::new(seed);
        let mut new = next.inner();
        if fate == Fate::Killed {
            // The page cache lives on, with what has not reached the disk yet.
            new.files = inner.files.clone();
            new.names = inner.names.clone();
            new.durable = inner.durable.clone();
            new.pending = inner.pending.clone();
        } else {
            let names = inner.names_after(fate, &mut new.rng);
            for file in &inner.files {
                let bytes = file.after(fate, &mut new.rng);
                new.files.push(Content {
                    durable: bytes.clone(),
                    now: bytes,
                    pending: Vec::new(),
                });
            }
            new.durable = names.clone();
            new.names = names;
        }
        drop(new);
        next
    }

    /// A directory that was always there, with those above it.
    pub fn lay_dir(&self, path: &Path) {
        let mut inner = self.inner();
        for dir in path.ancestors().filter(|dir| *dir != Path::new("/")) {
            inner.names.insert(dir.to_owned(), Node::Dir);
            inner.durable.insert(dir.to_owned(), Node::Dir);
        }
    }

    /// A file that was always there, with its directory.
    pub fn lay_file(&self, path: &Path, bytes: &[u8]) {
        self.lay_dir(&parent(path));
        let mut inner = self.inner();
        let file = Node::File(inner.files.len());
        inner.files.push(Content {
            now: bytes.to_vec(),
            durable: bytes.to_vec(),
            pending: Vec::new(),
        });
        inner.names.insert(path.to_owned(), file);
        inner.durable.insert(path.to_owned(), file);
    }

    /// Every file with what it holds: what a simulation shows when it has found something.
    pub fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.inner();
        let files = inner.names.iter().filter_map(|(path, node)| match node {
            Node::Dir => None,
            Node::File(file) => Some((path.clone(), inner.files[*file].now.clone())),
        });
        files.collect()
    }

    fn handle(&self, file: Option<usize>, append: bool) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile {
            disk: self.clone(),
            file,
            append,
            at: Mutex::new(0),
        })
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.inner();
        let file = inner.file(path)?;
        inner.files[file].change(Change::Cut(0));
        drop(inner);
        Ok(self.handle(Some(file), false))
    }

    fn append(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.inner().file(path)?;
        Ok(self.handle(Some(file), true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        match self.inner().node(path)? {
            Node::File(file) => Ok(self.handle(Some(file), false)),
            Node::Dir => Ok(self.handle(None, false)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        let node = inner.node(from)?;
        inner.needs_dir(&parent(to))?;
        let names = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
        inner.name(parent(to), names)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.node(path)? {
            Node::Dir => Err(os_error(libc::EISDIR)),
            Node::File(_) => inner.name(parent(path), vec![(path.to_owned(), None)]),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.node(path) {
            Ok(Node::Dir) => return Ok(()),
            Ok(Node::File(_)) => return Err(os_error(libc::EEXIST)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        inner.needs_dir(&parent(path))?;
        inner.name(parent(path), vec![(path.to_owned(), Some(Node::Dir))])
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let inner = self.inner();
        inner.needs_dir(path)?;
        let below = inner.names.keys();
        let below = below.filter(|name| name.parent() == Some(path));
        Ok(below
            .filter_map(|name| Some(name.file_name()?.to_owned()))
            .collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner().sync_dir(path)
    }

    fn outlives_fork(&self) -> bool {
        false
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    /// None for a directory, which can be opened and not read.
    file: Option<usize>,
    append: bool,
    at: Mutex<usize>,
}

impl FaultyFile {
    fn file(&self) -> io::Result<usize> {
        self.file.ok_or_else(|| os_error(libc::EISDIR))
    }

    fn at(&self) -> MutexGuard<'_, usize> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskFile for FaultyFile {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (file, mut at) = (self.file()?, self.at());
        let inner = self.disk.inner();
        if inner.crashed {
            return Err(os_error(libc::EIO));
        }
        let rest = inner.files[file].now.get(*at..).unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        *at += len;
        Ok(len)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (file, mut at) = (self.file()?, self.at());
        let place = if self.append { None } else { Some(*at) };
        let len = self.disk.inner().write(file, place, bytes)?;
        *at += len;
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let file = self.file()?;
        self.disk.inner().sync(file)
    }

    fn size(&self) -> io::Result<u64> {
        let file = self.file()?;
        Ok(self.disk.inner().files[file].now.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let file = self.file()?;
        let mut inner = self.disk.inner();
        let stops = inner.begin()?;
        inner.files[file].change(Change::Cut(len as usize));
        Inner::end(stops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "/data";

    fn path(name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }

    fn disk() -> FaultyDisk {
        let disk = FaultyDisk::new(1);
        disk.lay_dir(Path::new(DIR));
        disk
    }

    fn read(disk: &FaultyDisk, name: &str) -> Option<String> {
        let contents = disk.contents();
        let found = contents.into_iter().find(|(p, _)| *p == path(name))?;
        Some(String::from_utf8(found.1).expect("text"))
    }

    #[test]
    fn a_power_cut_leaves_what_was_synced_under_the_names_that_were() {
        let disk = disk();
        let file = disk.create(&path("a")).expect("created");
        assert_eq!(file.write(b"one ").expect("written"), 4);
        file.sync().expect("synced");
        assert_eq!(file.write(b"two").expect("written"), 3);
        assert_eq!(
            read(&disk.after(Fate::Killed, 1), "a").expect("there"),
            "one two"
        );
        assert_eq!(read(&disk.after(Fate::Bare, 1), "a"), None, "no name");
        disk.sync_dir(Path::new(DIR)).expect("synced");
        assert_eq!(
            read(&disk.after(Fate::Bare, 1), "a").expect("there"),
            "one "
        );

        disk.rename(&path("a"), &path("b")).expect("moved");
        file.sync().expect("synced");
        let bare = disk.after(Fate::Bare, 1);
        assert_eq!(
            (read(&bare, "a"), read(&bare, "b")),
            (Some("one two".into()), None)
        );
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let torn = disk.after(Fate::Torn, seed);
            seen.insert((read(&torn, "a").is_some(), read(&torn, "b").is_some()));
        }
        let either = [(false, true), (true, false)];
        assert!(seen.iter().eq(&either), "never both or none: {seen:?}");
    }

    #[test]
    fn a_torn_tail_ends_anywhere() {
        let disk = disk();
        let file = disk.create(&path("a")).expect("created");
        disk.sync_dir(Path::new(DIR)).expect("synced");
        for bytes in [&b"abc"[..], b"de", b"f"] {
            file.write(bytes).expect("written");
        }
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let text = read(&disk.after(Fate::Torn, seed), "a").expect("there");
            assert!("abcdef".starts_with(&text), "{text}");
            seen.insert(text.len());
        }
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn what_is_in_a_directory_goes_with_it() {
        let disk = disk();
        disk.create_dir(&path("sub")).expect("made");
        disk.create(&path("sub/x")).expect("created");
        disk.sync_dir(&path("sub")).expect("synced");
        assert_eq!(disk.after(Fate::Bare, 1).contents(), []);
        disk.sync_dir(Path::new(DIR)).expect("synced");
        assert_eq!(disk.after(Fate::Bare, 1).contents().len(), 1);
        assert_eq!(disk.list(Path::new(DIR)).expect("listed"), ["sub"]);
        let lost = disk
            .create(&path("no/x"))
            .map(|_| ())
            .expect_err("no directory");
        assert_eq!(lost.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_failed_sync_may_lose_what_only_the_page_cache_still_shows() {
        let mut holes = 0;
        for seed in 0..20 {
            let disk = FaultyDisk::new(seed);
            disk.lay_file(&path("a"), b"");
            let file = disk.append(&path("a")).expect("opened");
            file.write(b"lost").expect("written");
            disk.set_faults(Faults {
                sync_errors: 1,
                ..Faults::default()
            });
            file.sync().expect_err("refused");
            disk.set_faults(Faults::default());
            file.write(b"kept").expect("written");
            file.sync().expect("synced");
            assert_eq!(read(&disk, "a").expect("there"), "lostkept");
            match read(&disk.after(Fate::Bare, 1), "a")
                .expect("there")
                .as_str()
            {
                "\0\0\0\0kept" => holes += 1,
                text => assert_eq!(text, "lostkept"),
            }
        }
        assert!((4..17).contains(&holes), "{holes}");
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let disk = disk();
        disk.set_faults(Faults {
            capacity: 10,
            ..Faults::default()
        });
        let (a, b) = (disk.create(&path("a")), disk.create(&path("b")));
        let (a, b) = (a.expect("created"), b.expect("created"));
        assert_eq!(a.write(b"1234567").expect("fits"), 7);
        assert_eq!(b.write(b"1234567").expect("in part"), 3);
        let full = b.write(b"4").expect_err("full");
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        a.truncate(5).expect("cut off");
        assert_eq!((disk.used(), b.write(b"4567").expect("in part")), (8, 2));
    }

    #[test]
    fn the_machine_stops_within_a_call_and_does_nothing_more() {
        let disk = disk();
        disk.set_faults(Faults {
            crash_at: 3,
            ..Faults::default()
        });
        let file = disk.create(&path("a")).expect("created");
        assert_eq!((file.write(b"1").expect("written"), disk.calls()), (1, 2));
        assert!(file.sync().is_err() && disk.crashed());
        assert!(file.write(b"2").is_err() && disk.open(&path("a")).is_err());
        assert!(disk.create(&path("b")).is_err() && disk.list(Path::new(DIR)).is_err());
        assert_eq!(read(&disk.after(Fate::Killed, 1), "a").expect("there"), "1");
        assert!(!disk.after(Fate::Killed, 1).crashed());
    }
}
