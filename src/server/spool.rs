//! Snapshots on their way into a file and out of one, by a thread for each, and keys that take long to build: none
//! of these holds the loop.
//!
//! What lies between thread and loop is bounded. A thread ends when the loop lets go of its end, and runs where
//! `bio_cpulist` says.
use crate::base::disk::DiskFile;
use crate::persist::rdb::aside::Aside;
use std::cell::OnceCell;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::Builder;

/// Bytes that are read at once, and pieces of them that wait to be taken.
const PIECE: usize = 128 << 10;
const AHEAD: usize = 8;
/// Bytes that wait to be written, beyond which no more are to come.
const BEHIND: usize = 8 << 20;
/// Bytes of a file after which the disk is told to begin with them, so that the end has little to wait for.
const FLOW: u64 = 8 << 20;
/// The threads do little.
const STACK: usize = 1 << 20;

/// Wakes the loop.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The list of processors that a thread may run on, if there is one.
type Processors = Option<Vec<u8>>;

/// Has work done by a thread that begins with the first of it.
pub(super) fn aside(on: &Processors, wake: &Option<Wake>) -> Aside {
    let (on, wake, thread) = (on.clone(), wake.clone(), OnceCell::new());
    Box::new(move |work| {
        let tasks = thread.get_or_init(|| {
            let (tasks, receiver) = channel::<Box<dyn FnOnce() + Send>>();
            let wake = wake.clone();
            let started = start(&on, move || {
                for task in receiver {
                    task();
                    wake.iter().for_each(|wake| wake());
                }
            });
            started.ok().map(|()| tasks)
        });
        match tasks {
            Some(tasks) => drop(tasks.send(work)),
            // Better late than never.
            None => work(),
        }
    })
}

/// A file that is read ahead.
pub(super) struct Reading {
    pieces: Receiver<io::Result<Vec<u8>>>,
}

impl Reading {
    /// Begins; `wake` is called for each piece that is there.
    pub(super) fn begin(
        file: Arc<dyn DiskFile>,
        on: &Processors,
        wake: impl Fn() + Send + 'static,
    ) -> io::Result<Reading> {
        let (sender, pieces) = sync_channel(AHEAD);
        start(on, move || {
            loop {
                let piece = read(&*file);
                let ends = !matches!(&piece, Ok(bytes) if !bytes.is_empty());
                if sender.send(piece).is_err() {
                    return;
                }
                wake();
                if ends {
                    return;
                }
            }
        })?;
        Ok(Reading { pieces })
    }

    /// The next piece, if it is there; an empty one at the end.
    pub(super) fn next(&self) -> Option<io::Result<Vec<u8>>> {
        match self.pieces.try_recv() {
            Ok(piece) => Some(piece),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Ok(Vec::new())),
        }
    }
}

fn read(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(n) => {
                piece.truncate(n);
                return Ok(piece);
            }
        }
    }
}

/// A file that is written.
pub(super) struct Writing {
    pieces: Sender<Vec<u8>>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Bytes that wait to be written.
    behind: AtomicUsize,
    /// Why nothing more is written.
    failed: OnceLock<io::Error>,
}

impl Writing {
    pub(super) fn begin(file: Arc<dyn DiskFile>, on: &Processors) -> io::Result<Writing> {
        let (pieces, receiver) = channel::<Vec<u8>>();
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        start(on, move || {
            let (mut written, mut begun) = (0, 0);
            for piece in receiver {
                if let Err(error) = write(&*file, &piece) {
                    // It stays behind for good.
                    let _ = shared.failed.set(error);
                    return;
                }
                written += piece.len() as u64;
                if written - begun >= FLOW {
                    file.begin_sync(begun, written - begun);
                    begun = written;
                }
                shared.behind.fetch_sub(piece.len(), Ordering::Release);
            }
        })?;
        Ok(Writing { pieces, progress })
    }

    /// Appends to the file.
    pub(super) fn write(&self, bytes: &[u8]) {
        let behind = &self.progress.behind;
        behind.fetch_add(bytes.len(), Ordering::Relaxed);
        // Where the thread has ended it has said why.
        let _ = self.pieces.send(bytes.to_vec());
    }

    /// Is no more to come for now?
    pub(super) fn is_full(&self) -> bool {
        self.progress.behind.load(Ordering::Acquire) > BEHIND
    }

    /// Is all of it in the file?
    pub(super) fn is_done(&self) -> bool {
        self.progress.behind.load(Ordering::Acquire) == 0
    }

    pub(super) fn failed(&self) -> Option<&io::Error> {
        self.progress.failed.get()
    }
}

fn write(file: &dyn DiskFile, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Ok(n) => rest = &rest[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn start(on: &Processors, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let (on, thread) = (on.clone(), Builder::new().name("rv_spool".to_owned()));
    let thread = thread.stack_size(STACK).spawn(move || {
        super::supervise::bind_to(on.as_deref());
        work();
    });
    thread.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::Disk;
    use crate::base::disk::faulty::{Faults, FaultyDisk};
    use std::path::Path;
    use std::thread::yield_now;

    fn disk() -> FaultyDisk {
        let disk = FaultyDisk::new(1);
        disk.lay_dir(Path::new("/data"));
        disk
    }

    fn all_of(reading: &Reading) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match reading.next() {
                None => yield_now(),
                Some(piece) => {
                    let piece = piece.expect("read");
                    if piece.is_empty() {
                        return all;
                    }
                    all.extend(piece);
                }
            }
        }
    }

    #[test]
    fn what_was_written_is_read_and_no_more_waits_than_is_allowed() {
        let (disk, path) = (disk(), Path::new("/data/spool"));
        let writing = Writing::begin(disk.create(path).expect("created"), &None).expect("begun");
        let text: Vec<u8> = (0..3 * BEHIND + 7).map(|i| (i % 251) as u8).collect();
        for part in text.chunks(300_000) {
            while writing.is_full() {
                yield_now();
            }
            writing.write(part);
        }
        while !writing.is_done() {
            yield_now();
        }
        assert!(writing.failed().is_none());
        let reading =
            Reading::begin(disk.open(path).expect("opened"), &None, || {}).expect("begun");
        assert!(all_of(&reading) == text);
        assert!(matches!(reading.next(), Some(Ok(end)) if end.is_empty()));
    }

    #[test]
    fn a_full_disk_is_told_of_and_nothing_counts_as_written() {
        let (disk, path) = (disk(), Path::new("/data/spool"));
        let writing = Writing::begin(disk.create(path).expect("created"), &None).expect("begun");
        disk.set_faults(Faults {
            capacity: 1000,
            ..Faults::default()
        });
        writing.write(&[7; 2000]);
        while writing.failed().is_none() {
            yield_now();
        }
        assert!(!writing.is_done());
        writing.write(b"more");
        assert!(!writing.is_done());
    }
}
