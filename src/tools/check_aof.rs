//! Whether the append-only file is whole: `check-aof`. It can cut off a broken end, or everything younger
//! than a moment; only ever the end of the last file, so that no change is lost from between two others.
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check_rdb;
use super::console::{Console, shown};
use super::scan::{Piece, Scan, Stop, What};
use super::time::{Stamp, stamp_of};
use crate::base::disk::{Disk, DiskFile, Stream};
use crate::persist::window::Window;
use crate::state::aof::manifest::{BadManifest, Manifest, Part};
use crate::state::config::file::errno_text;
use crate::types::saved::Loading;

/// What is done beside looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Nothing,
    /// A broken end, if the person agrees.
    Broken,
    /// Everything behind the first annotation with a later time (unix seconds).
    LaterThan(i64),
}

/// What a file is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Manifest,
    /// It begins as a snapshot.
    Rdb,
    Requests,
}

/// The check ends, and why was told: the exit code is 1.
struct Told;

/// What a file turned out to be.
enum Verdict {
    Valid,
    Empty,
    CutOff,
    CutToTime(i64),
}

/// Checks a file, or all files of a manifest; the exit code.
pub fn run(
    console: &mut Console<'_>,
    disk: &dyn Disk,
    path: &Path,
    cut: Cut,
    how: &Loading,
) -> i32 {
    let mut check = Check {
        disk,
        // Zero stands for none, as it does in Redis.
        cut: if cut == Cut::LaterThan(0) {
            Cut::Nothing
        } else {
            cut
        },
        how,
        lines: 1,
    };
    let checked = match kind_of(disk, path) {
        Ok(FileKind::Manifest) => check.manifest(console, path),
        Ok(kind) => check.old(console, path, kind),
        Err((opened, error)) => {
            let path = path.display();
            console.line(if opened {
                format!("Cannot read file: {path}")
            } else {
                format!("Cannot open file {path}: {}", errno_text(&error))
            });
            Err(Told)
        }
    };
    console.end();
    i32::from(checked.is_err())
}

/// What a file is. An error tells whether it could be opened.
pub fn kind_of(disk: &dyn Disk, path: &Path) -> Result<FileKind, (bool, io::Error)> {
    let file = disk.open(path).map_err(|error| (false, error))?;
    let mut window = Window::new(&*file).map_err(|error| (true, error))?;
    // A file of that name without a line holds no data: a server does not start with it.
    let named = path.extension() == Some(OsStr::new("manifest"));
    window.more(0).map_err(|error| (true, error))?;
    let head = window.rest();
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    Ok(match lines.find(|line| line[0] != b'#') {
        Some(line) if line.starts_with(b"file") => FileKind::Manifest,
        _ if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") => FileKind::Rdb,
        None if head.is_empty() && named => FileKind::Manifest,
        _ => FileKind::Requests,
    })
}

/// The text of a manifest, read and understood.
pub fn read_manifest(disk: &dyn Disk, path: &Path) -> io::Result<Result<Manifest, BadManifest>> {
    let mut text = Vec::new();
    Stream(&*disk.open(path)?).read_to_end(&mut text)?;
    Ok(Manifest::parse(&text))
}

/// Tells why a manifest cannot be used, as a server does in its log.
pub fn tell_bad_manifest(console: &mut Console<'_>, bad: &BadManifest) {
    console.line("\n*** FATAL AOF MANIFEST FILE ERROR ***");
    if let Some((number, text)) = &bad.line {
        console.line(format_args!("Reading the manifest file, at line {number}"));
        console.line(format_args!(">>> '{}'", shown(text)));
    }
    console.line(bad.reason);
}

struct Check<'a> {
    disk: &'a dyn Disk,
    cut: Cut,
    how: &'a Loading,
    /// Lines of all files so far.
    lines: u64,
}

/// One file as it is told about.
struct File<'a> {
    path: &'a Path,
    name: &'a str,
    kind: FileKind,
    last: bool,
}

impl Check<'_> {
    /// The one file of a server before 7.0.
    fn old(&mut self, console: &mut Console<'_>, path: &Path, kind: FileKind) -> Result<(), Told> {
        console.line("Start checking Old-Style AOF");
        let name = path.display().to_string();
        let file = File {
            path,
            name: &name,
            kind,
            last: true,
        };
        let verdict = self.file(console, &file)?;
        tell_verdict(console, "AOF", &name, &verdict);
        Ok(())
    }

    /// All files of a manifest.
    fn manifest(&mut self, console: &mut Console<'_>, path: &Path) -> Result<(), Told> {
        console.line("Start checking Multi Part AOF");
        let manifest = match read_manifest(self.disk, path) {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(bad)) => {
                tell_bad_manifest(console, &bad);
                return Err(Told);
            }
            Err(error) => return Err(cannot_open(console, path, &error, ", aborting...")),
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let is_empty = |part: &Part| {
            let file = self.disk.open(&folder.join(OsStr::from_bytes(&part.name)));
            file.and_then(|file| file.size())
                .is_ok_and(|size| size == 0)
        };
        // Of several empty ones at the end each counts as the last, as it does for a server.
        let count = manifest.parts().count();
        let empty = manifest.incrementals.iter().rev();
        let empty = empty.take_while(|part| is_empty(part)).count();
        for (at, part) in manifest.parts().enumerate() {
            let is_base = at == 0 && manifest.base.is_some();
            if at == usize::from(manifest.base.is_some()) {
                console.line("Start to check INCR files.");
            }
            let path = folder.join(OsStr::from_bytes(&part.name));
            let mut kind = FileKind::Requests;
            if is_base {
                kind = kind_of(self.disk, &path)
                    .map_err(|(_, error)| cannot_open(console, &path, &error, ""))?;
                let format = if kind == FileKind::Rdb { "RDB" } else { "RESP" };
                console.line(format_args!("Start to check BASE AOF ({format} format)."));
            }
            let name = shown(&part.name);
            let last = at + 1 == count || !is_base && at + 1 + empty >= count;
            let file = File {
                path: &path,
                name: &name,
                kind,
                last,
            };
            let verdict = self.file(console, &file)?;
            let what = if is_base { "BASE AOF" } else { "INCR AOF" };
            tell_verdict(console, what, &name, &verdict);
        }
        console.line("All AOF files and manifest are valid");
        Ok(())
    }

    fn file(&mut self, console: &mut Console<'_>, file: &File<'_>) -> Result<Verdict, Told> {
        let failed = |console: &mut Console<'_>, error: io::Error| {
            let text = errno_text(&error);
            console.line(format_args!(
                "Cannot read file {}: {text}",
                file.path.display()
            ));
            Told
        };
        let opened = self.disk.open(file.path);
        let opened =
            opened.map_err(|error| cannot_open(console, file.path, &error, ", aborting..."))?;
        let mut window = Window::new(&*opened).map_err(|error| failed(console, error))?;
        if window.size() == 0 {
            return Ok(Verdict::Empty);
        }
        if file.kind == FileKind::Rdb {
            let checked = check_rdb::check(console, &mut window, file.name, self.how);
            if checked.map_err(|error| failed(console, error))?.is_none() {
                console.line("RDB preamble of AOF file is not sane, aborting.");
                return Err(Told);
            }
            console.line("RDB preamble is OK, proceeding with AOF tail...");
        }
        console.begin(file.name, window.size());
        let size = window.size();
        let mut scan = Scan::new(&mut window, self.lines);
        let end = self.scan(console, file, &mut scan);
        let (good, lines) = (scan.good, scan.lines);
        self.lines = lines;
        console.end();
        match end {
            Ok(Ended::Well) => {
                if let Cut::LaterThan(time) = self.cut {
                    console.line(format_args!(
                        "Truncate nothing in AOF {} to timestamp {time}",
                        file.name
                    ));
                } else {
                    analyzed(console, file.name, size, good, lines);
                }
                Ok(Verdict::Valid)
            }
            Ok(Ended::Late { time, good }) => self.cut_to_time(console, file, good, time),
            Ok(Ended::BadTime) => {
                console.line("Invalid timestamp annotation");
                Err(Told)
            }
            Err(Stop::Io(error)) => Err(failed(console, error)),
            Err(Stop::Fault(fault)) => {
                match fault.what {
                    What::Format => console.line(format_args!("AOF {} format error", file.name)),
                    What::Torn(why) if why.is_empty() => {}
                    What::Torn(why) | What::Broken(why) => {
                        console.line(format_args!("0x{:>16x}: {why}", fault.at));
                    }
                }
                analyzed(console, file.name, size, good, lines);
                self.fix(console, file, size, good)
            }
        }
    }

    fn scan(
        &self,
        console: &mut Console<'_>,
        file: &File<'_>,
        scan: &mut Scan<'_, '_>,
    ) -> Result<Ended, Stop> {
        loop {
            // What is cut off begins with the annotation, and never inside of a transaction.
            let good = scan.good;
            match scan.next(file.name)? {
                Piece::End => return Ok(Ended::Well),
                Piece::Request(_) => console.at(scan.window.position()),
                Piece::Annotation(text) => {
                    let Cut::LaterThan(time) = self.cut else {
                        continue;
                    };
                    match stamp_of(&text) {
                        Stamp::At(stamp) if stamp > time => return Ok(Ended::Late { time, good }),
                        Stamp::Bad => return Ok(Ended::BadTime),
                        Stamp::At(_) | Stamp::None => {}
                    }
                }
            }
        }
    }

    fn cut_to_time(
        &self,
        console: &mut Console<'_>,
        file: &File<'_>,
        good: u64,
        time: i64,
    ) -> Result<Verdict, Told> {
        let path = file.path.display();
        if good == 0 {
            console.line(format_args!(
                "AOF {path} has nothing before timestamp {time}, aborting..."
            ));
            return Err(Told);
        }
        if !file.last {
            console.line(format_args!(
                "Failed to truncate AOF {path} to timestamp {time} to offset {good} because it is \
                 not the last file."
            ));
            console.line(
                "If you insist, please delete all files after this file according to the manifest \
                 file and delete the corresponding records in manifest file manually. Then re-run \
                 redis-check-aof.",
            );
            return Err(Told);
        }
        self.truncate(console, file, good)?;
        Ok(Verdict::CutToTime(time))
    }

    fn fix(
        &self,
        console: &mut Console<'_>,
        file: &File<'_>,
        size: u64,
        good: u64,
    ) -> Result<Verdict, Told> {
        let name = file.name;
        if self.cut != Cut::Broken {
            console.line(format_args!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            ));
            return Err(Told);
        }
        if !file.last {
            console.line(format_args!(
                "Failed to truncate AOF {name} because it is not the last file"
            ));
            return Err(Told);
        }
        console.line(format_args!(
            "This will shrink the AOF {name} from {size} bytes, with {} bytes, to {good} bytes",
            size - good
        ));
        if !console.ask("Continue? [y/N]: ") {
            console.line("Aborting...");
            return Err(Told);
        }
        self.truncate(console, file, good)?;
        Ok(Verdict::CutOff)
    }

    fn truncate(&self, console: &mut Console<'_>, file: &File<'_>, len: u64) -> Result<(), Told> {
        let cut = |file: &dyn DiskFile| file.truncate(len).and_then(|()| file.sync());
        let done = self.disk.append(file.path).and_then(|file| cut(&*file));
        done.map_err(|error| {
            let (path, text) = (file.path.display(), errno_text(&error));
            console.line(format_args!("Failed to truncate AOF {path}: {text}"));
            Told
        })
    }
}

/// How a scan without a fault ended.
enum Ended {
    Well,
    /// At an annotation with a later time; all is well up to `good`.
    Late {
        time: i64,
        good: u64,
    },
    /// At an annotation with a time that is none.
    BadTime,
}

fn analyzed(console: &mut Console<'_>, name: &str, size: u64, good: u64, lines: u64) {
    console.line(format_args!(
        "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={lines}, \
         diff={}",
        size - good
    ));
}

fn cannot_open(console: &mut Console<'_>, path: &Path, error: &io::Error, then: &str) -> Told {
    let (path, text) = (path.display(), errno_text(error));
    console.line(format_args!("Cannot open file {path}: {text}{then}"));
    Told
}

fn tell_verdict(console: &mut Console<'_>, what: &str, name: impl Display, verdict: &Verdict) {
    console.line(match verdict {
        Verdict::Valid => format!("{what} {name} is valid"),
        Verdict::Empty => format!("{what} {name} is empty"),
        Verdict::CutOff => format!("Successfully truncated AOF {name}"),
        Verdict::CutToTime(time) => {
            format!("Successfully truncated AOF {name} to timestamp {time}")
        }
    });
}
