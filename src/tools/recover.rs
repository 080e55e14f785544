//! The data set as it was at a moment, out of an append-only file: `recover`.
//!
//! No data are loaded: the files are read through once, the place is found behind which everything is later,
//! and what stands before it is copied to a new directory, with a manifest, as a server starts on it. So it
//! takes no memory, whatever the size of the data set, and may run beside the server whose files they are:
//! every file is open before the first is read, and each is read as far as it went then.
//!
//! What it relies on: `#TS` annotations stand in front of the changes of their second; a base file is as old
//! as it says (`ctime`). Where files do not tell the time of a change, a moment is refused rather than guessed,
//! with one exception that no file shows: changes made after `aof-timestamp-enabled` was turned off again stand
//! behind the last annotation like those of its second, and count as of then.
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check_aof::{FileKind, kind_of, read_manifest, tell_bad_manifest};
use super::console::{Console, shown};
use super::scan::{Piece, Scan, Stop, What};
use super::time::{self, Stamp, stamp_of};
use crate::base::disk::{Disk, DiskFile, Stream};
use crate::persist::rdb::check::Check;
use crate::persist::window::Window;
use crate::state::aof::manifest::{Manifest, Part, manifest_name};
use crate::state::config::file::errno_text;
use crate::types::saved::Loading;

/// What is to be recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The server's directory, or the AOF's, or its manifest.
    pub dir: PathBuf,
    /// The last second that counts, in unix time.
    pub to: Option<i64>,
    /// Everything from the last command of this name on is left out.
    pub before: Option<Vec<u8>>,
    pub out: Option<PathBuf>,
}

/// Why there is no recovery, for the person who asked.
struct Refused(String);

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(why.into()))
}

/// An error of the system, with what it happened to.
fn failed(path: &Path) -> impl Fn(io::Error) -> Refused {
    move |error| Refused(format!("{}: {}", path.display(), errno_text(&error)))
}

/// Where the AOF's files lie, and which they are.
struct Source {
    folder: PathBuf,
    /// `appendfilename`.
    stem: Vec<u8>,
    manifest: Manifest,
}

/// A file of the chain that holds the data: a base, then incremental ones.
struct Link {
    path: PathBuf,
    part: Part,
    is_base: bool,
    kind: FileKind,
    /// To be gone through, and to be copied.
    handles: [Arc<dyn DiskFile>; 2],
}

/// Where the copy ends: in which file of the chain, before which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    link: usize,
    offset: u64,
}

/// What going through a chain has found.
struct Found {
    end: Place,
    /// Requests in all incremental files before the end.
    requests: u64,
    /// Keys in the base file.
    keys: Option<u64>,
    /// The time of the last change that is in it, as far as it is known.
    last_s: Option<i64>,
}

/// Recovers; the exit code.
pub fn run(console: &mut Console<'_>, disk: &dyn Disk, order: &Order, how: &Loading) -> i32 {
    console.tell_progress();
    let done = recover(console, disk, order, how);
    console.end();
    match done {
        Ok(()) => 0,
        Err(Refused(why)) => {
            console.line(format_args!("Nothing was recovered: {why}"));
            1
        }
    }
}

fn recover(
    console: &mut Console<'_>,
    disk: &dyn Disk,
    order: &Order,
    how: &Loading,
) -> Result<(), Refused> {
    let source = find(console, disk, &order.dir)?;
    console.line(format_args!(
        "Reading {}",
        source
            .folder
            .join(OsStr::from_bytes(&manifest_name(&source.stem)))
            .display()
    ));
    let places = places(order, &source);
    places.must_be_free(disk)?;
    let links = open(disk, &source.folder, chain(&source.manifest))?;
    let (links, found) = match walk(console, &links, order, how)? {
        Walked::Found(found) => (links, found),
        missed => {
            let older = older_chain(&source.manifest)
                .ok_or_else(|| out_of_reach(&links, order, &missed))?;
            let path = links[0].path.display();
            match missed {
                Walked::NotThere => console.line(format_args!(
                    "It is not in {path} and behind it; going back to the files that a rewrite replaced"
                )),
                _ => console.line(format_args!(
                    "{path} is newer than that; going back to the files that its rewrite replaced"
                )),
            }
            let links = open(disk, &source.folder, older)?;
            match walk(console, &links, order, how)? {
                Walked::Found(found) => (links, found),
                missed => return Err(out_of_reach(&links, order, &missed)),
            }
        }
    };
    write(console, disk, &places, &source, &links, &found)?;
    tell_end(console, order, &source, &places, &found);
    Ok(())
}

/// What is asked for is not in these files, nor in any that are left.
fn out_of_reach(links: &[Link], order: &Order, missed: &Walked) -> Refused {
    let path = links.first().map_or(Path::new(""), |link| &link.path);
    let path = path.display();
    let why = match missed {
        Walked::TooNew { since } => {
            let to = order.to.map_or(String::new(), time::shown);
            let since = time::shown(*since);
            format!("{path} holds the data of {since} and nothing before, so {to} is out of reach")
        }
        Walked::Found(_) | Walked::NotThere => {
            let name = order.before.as_deref().unwrap_or_default();
            let name = shown(name).to_ascii_uppercase();
            format!("there is no {name} in the files, from {path} on")
        }
    };
    Refused(format!(
        "{why}. A rewrite removes what is older, unless aof-disable-auto-gc is yes."
    ))
}

/// Finds the manifest, or the one file of a server before 7.0.
fn find(console: &mut Console<'_>, disk: &dyn Disk, dir: &Path) -> Result<Source, Refused> {
    let named = |dir: &Path, end: &[u8]| -> io::Result<Vec<PathBuf>> {
        let mut names = disk.list(dir)?;
        names.retain(|name| {
            name.as_bytes().ends_with(end) && !name.as_bytes().starts_with(b"temp-")
        });
        names.sort_unstable();
        Ok(names.iter().map(|name| dir.join(name)).collect())
    };
    if let Ok(FileKind::Manifest) = kind_of(disk, dir) {
        return source_of(console, disk, dir);
    }
    let mut manifests = named(dir, b".manifest").map_err(failed(dir))?;
    for folder in disk.list(dir).map_err(failed(dir))? {
        // What cannot be listed is no directory.
        manifests.extend(named(&dir.join(folder), b".manifest").unwrap_or_default());
    }
    match &manifests[..] {
        [manifest] => return source_of(console, disk, manifest),
        [] => {}
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            return refused(format!(
                "there are several manifests: name one of them with --dir: {}",
                names.join(", ")
            ));
        }
    }
    match &named(dir, b".aof").map_err(failed(dir))?[..] {
        [file] => {
            let name = file.file_name().unwrap_or_default().as_bytes().to_vec();
            let part = Part {
                name: name.clone(),
                seq: 1,
            };
            Ok(Source {
                folder: dir.to_owned(),
                stem: name,
                manifest: Manifest {
                    base: Some(part),
                    base_seq: 1,
                    ..Manifest::default()
                },
            })
        }
        _ => refused(format!(
            "{} has no append-only file: no *.manifest here or one directory below. Going back in time \
             needs appendonly yes and aof-timestamp-enabled yes beforehand.",
            dir.display()
        )),
    }
}

fn source_of(console: &mut Console<'_>, disk: &dyn Disk, path: &Path) -> Result<Source, Refused> {
    let manifest = match read_manifest(disk, path).map_err(failed(path))? {
        Ok(manifest) => manifest,
        Err(bad) => {
            tell_bad_manifest(console, &bad);
            return refused(format!("{} cannot be used", path.display()));
        }
    };
    if manifest.is_empty() {
        return refused(format!("{} names no files", path.display()));
    }
    let name = path.file_name().unwrap_or_default().as_bytes();
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Source {
        // A bare file name has an empty parent, which cannot be listed.
        folder: if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        },
        stem: name.strip_suffix(b".manifest").unwrap_or(name).to_vec(),
        manifest,
    })
}

/// The files that a server loads.
fn chain(manifest: &Manifest) -> Vec<(Part, bool)> {
    let base = manifest.base.iter().map(|part| (part.clone(), true));
    base.chain(
        manifest
            .incrementals
            .iter()
            .map(|part| (part.clone(), false)),
    )
    .collect()
}

/// The oldest base that is still named, and all incremental files since. Rewrites remove all of their
/// history or none of it, so the first incremental file belongs to the first base.
fn older_chain(manifest: &Manifest) -> Option<Vec<(Part, bool)>> {
    let is_incremental = |part: &&Part| part.name.ends_with(b".incr.aof");
    let bases = manifest.history.iter().filter(|part| !is_incremental(part));
    let base = bases.min_by_key(|part| part.seq)?;
    let history = manifest.history.iter().filter(is_incremental);
    let mut incrementals: Vec<&Part> = history.chain(&manifest.incrementals).collect();
    incrementals.sort_by_key(|part| part.seq);
    let whole = incrementals
        .windows(2)
        .all(|pair| pair[0].seq + 1 == pair[1].seq);
    let incrementals = incrementals.into_iter().map(|part| (part.clone(), false));
    whole.then(|| {
        std::iter::once((base.clone(), true))
            .chain(incrementals)
            .collect()
    })
}

/// Opens all files, so that a rewrite that goes on meanwhile takes none away.
fn open(disk: &dyn Disk, folder: &Path, parts: Vec<(Part, bool)>) -> Result<Vec<Link>, Refused> {
    parts
        .into_iter()
        .map(|(part, is_base)| {
            let path = folder.join(OsStr::from_bytes(&part.name));
            let opened = || disk.open(&path).map_err(failed(&path));
            let handles = [opened()?, opened()?];
            let kind = kind_of(disk, &path).map_err(|(_, error)| failed(&path)(error))?;
            Ok(Link {
                path,
                part,
                is_base,
                kind,
                handles,
            })
        })
        .collect()
}

/// How going through a chain ended.
enum Walked {
    Found(Found),
    /// Its first data are of this time, which is too late.
    TooNew {
        since: i64,
    },
    /// No command in it has the name that is asked for.
    NotThere,
}

/// Going through a chain.
struct Walk<'a> {
    order: &'a Order,
    /// The last time that an annotation told.
    stamp_s: Option<i64>,
    /// The first file with requests that no time stands before, and whether annotations did in files before.
    timeless: Option<(usize, bool)>,
    /// The time of the last request that counts, as far as it is known.
    changed_s: Option<i64>,
    /// Before the last command of the name that is asked for.
    before: Option<Place>,
    requests: u64,
    /// What was counted when `before` was found.
    before_requests: u64,
    before_changed_s: Option<i64>,
}

fn walk(
    console: &mut Console<'_>,
    links: &[Link],
    order: &Order,
    how: &Loading,
) -> Result<Walked, Refused> {
    let mut walk = Walk {
        order,
        stamp_s: None,
        timeless: None,
        changed_s: None,
        before: None,
        requests: 0,
        before_requests: 0,
        before_changed_s: None,
    };
    let mut keys = None;
    let mut since = None;
    let mut end = Place { link: 0, offset: 0 };
    for (at, link) in links.iter().enumerate() {
        let mut window = Window::new(&*link.handles[0]).map_err(failed(&link.path))?;
        console.begin(&shown(&link.part.name), window.size());
        if link.kind == FileKind::Rdb {
            let mut check = Check::new(&mut window, how.clone());
            let checked = check
                .run(&mut |offset, _| console.at(offset))
                .map_err(failed(&link.path))?;
            if let Err(failure) = checked {
                return refused(format!(
                    "{} is broken at offset {}: {}",
                    link.path.display(),
                    failure.at,
                    failure.why
                ));
            }
            keys = Some(check.tally.keys);
            since = check.tally.created_s.or_else(|| modified_s(&link.path));
            if let (Some(to), Some(since)) = (order.to, since)
                && since > to
            {
                return Ok(Walked::TooNew { since });
            }
        }
        let requests = walk.requests;
        let mut is_last = true;
        for link in &links[at + 1..] {
            is_last &= link.handles[0].size().map_err(failed(&link.path))? == 0;
        }
        let (offset, late) = walk.file(console, at, link, &mut window, is_last)?;
        end = Place { link: at, offset };
        console.end();
        console.line(format_args!(
            "{}: {} requests up to offset {offset} of {} bytes{}",
            shown(&link.part.name),
            walk.requests - requests,
            window.size(),
            keys.filter(|_| at == 0)
                .map_or(String::new(), |keys| format!(", behind {keys} keys")),
        ));
        if let Some(late) = late {
            if walk.requests == 0 && links[0].kind != FileKind::Rdb {
                return Ok(Walked::TooNew { since: late });
            }
            walk.time_known_until(console, late, links)?;
            break;
        }
        if offset < window.size() {
            // Unfinished: the files behind it are empty.
            break;
        }
    }
    if let Some(to) = order.to {
        let timeless = walk
            .timeless
            .map(|(at, _)| modified_s(&links[at].path).unwrap_or(i64::MAX));
        if let Some(written) = timeless.filter(|written| *written > to) {
            walk.time_known_until(console, written, links)?;
        }
    }
    let mut found = Found {
        end,
        requests: walk.requests,
        keys,
        last_s: walk.changed_s.or(since),
    };
    if order.before.is_some() {
        let Some(before) = walk.before else {
            return Ok(Walked::NotThere);
        };
        found.end = before;
        found.requests = walk.before_requests;
        found.last_s = walk.before_changed_s.or(since);
    }
    Ok(Walked::Found(found))
}

impl Walk<'_> {
    /// Goes through one file, behind a snapshot that it may begin with: where its data end that count, and
    /// the time of what comes next if it is too late.
    fn file(
        &mut self,
        console: &mut Console<'_>,
        at: usize,
        link: &Link,
        window: &mut Window<'_>,
        is_last: bool,
    ) -> Result<(u64, Option<i64>), Refused> {
        let path = &link.path;
        let mut scan = Scan::new(window, 0);
        let mut stamped = false;
        // Requests of a transaction that is still open.
        let mut open = 0;
        let stamped_before = self.stamp_s.is_some();
        loop {
            let good = scan.good;
            let piece = match scan.next("") {
                Ok(piece) => piece,
                Err(Stop::Io(error)) => return Err(failed(path)(error)),
                Err(Stop::Fault(fault)) => {
                    let why = match fault.what {
                        // What a crash left of a write, or what the server is just writing.
                        What::Torn(_) if is_last => {
                            console.line(format_args!(
                                "{}: the end is unfinished, from offset {} on: left out",
                                shown(&link.part.name),
                                scan.good
                            ));
                            return Ok((scan.good, None));
                        }
                        What::Torn(why) if why.is_empty() => "the file ends too early".to_owned(),
                        What::Torn(why) | What::Broken(why) => why,
                        What::Format => "neither a request nor an annotation".to_owned(),
                    };
                    return refused(format!(
                        "{} is broken at offset {}: {why}",
                        path.display(),
                        fault.at
                    ));
                }
            };
            match piece {
                Piece::End => return Ok((good, None)),
                Piece::Request(name) => {
                    console.at(scan.window.position());
                    if !stamped && self.timeless.is_none() {
                        self.timeless = Some((at, stamped_before));
                    }
                    if self.order.before.as_ref() == Some(&name) {
                        self.before = Some(Place {
                            link: at,
                            offset: good,
                        });
                        self.before_requests = self.requests;
                        self.before_changed_s = self.changed_s;
                    }
                    open += 1;
                    if !scan.in_transaction() {
                        self.requests += std::mem::take(&mut open);
                        self.changed_s = self.stamp_s;
                    }
                }
                Piece::Annotation(text) => match stamp_of(&text) {
                    Stamp::None => {}
                    Stamp::Bad => {
                        return refused(format!(
                            "{} has an annotation before offset {} whose time is no number: {}",
                            path.display(),
                            scan.window.position(),
                            shown(&text)
                        ));
                    }
                    Stamp::At(stamp) if self.order.to.is_some_and(|to| stamp > to) => {
                        // A transaction that is open is not there at all.
                        return Ok((good, Some(stamp)));
                    }
                    Stamp::At(stamp) => {
                        stamped = true;
                        self.stamp_s = Some(stamp);
                        // What came before is not later than this.
                        self.timeless = None;
                    }
                },
            }
        }
    }

    /// The first thing whose time is known is of `late`. Requests without a time before it may be older or
    /// younger than the moment asked for.
    fn time_known_until(
        &self,
        console: &mut Console<'_>,
        late: i64,
        links: &[Link],
    ) -> Result<(), Refused> {
        let Some((at, stamped_before)) = self.timeless else {
            return Ok(());
        };
        let path = links[at].path.display();
        if stamped_before {
            // A new file begins within the second of the last annotation.
            let stamp = self.stamp_s.map_or(String::new(), time::shown);
            console.line(format_args!(
                "{path}: begins without a time; taken as of {stamp}, the last time before it"
            ));
            return Ok(());
        }
        refused(format!(
            "{path} has changes without a time: aof-timestamp-enabled was no when they were made. They are \
             from some time before {}, which is the first moment that can be gone back to.",
            if late == i64::MAX {
                "now".to_owned()
            } else {
                time::shown(late)
            }
        ))
    }
}

/// When a file was last written to.
fn modified_s(path: &Path) -> Option<i64> {
    let modified = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Copies what counts to the new directory; the manifest comes last, so that an unfinished copy is no data set.
fn write(
    console: &mut Console<'_>,
    disk: &dyn Disk,
    places: &Places,
    source: &Source,
    links: &[Link],
    found: &Found,
) -> Result<(), Refused> {
    let Places { out, folder } = places;
    let target = out.join(folder);
    for dir in [out, &target] {
        disk.create_dir(dir).map_err(failed(dir))?;
        resemble(dir, &source.folder);
    }
    let mut manifest = Manifest::default();
    for (at, link) in links.iter().enumerate().take(found.end.link + 1) {
        let size = link.handles[1].size().map_err(failed(&link.path))?;
        let len = if at == found.end.link {
            found.end.offset
        } else {
            size
        };
        let to = target.join(OsStr::from_bytes(&link.part.name));
        copy(console, disk, link, &to, len)?;
        resemble(&to, &link.path);
        if link.is_base {
            manifest.base = Some(link.part.clone());
        } else {
            manifest.incrementals.push(link.part.clone());
        }
    }
    let path = target.join(OsStr::from_bytes(&manifest_name(&source.stem)));
    let written = disk.create(&path).and_then(|file| {
        Stream(&*file).write_all(&manifest.text())?;
        file.sync()
    });
    written.map_err(failed(&path))?;
    resemble(&path, &links[0].path);
    for dir in [&target, out, out.parent().unwrap_or(Path::new(""))] {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        disk.sync_dir(dir).map_err(failed(dir))?;
    }
    Ok(())
}

/// Where the copy goes.
struct Places {
    /// The new directory.
    out: PathBuf,
    /// The name of the AOF's directory in it.
    folder: OsString,
}

impl Places {
    /// Nothing is overwritten, nor mixed with what is there.
    fn must_be_free(&self, disk: &dyn Disk) -> Result<(), Refused> {
        let taken = |dir: &Path, allowed: Option<&OsStr>| match disk.list(dir) {
            Ok(names) => names.iter().any(|name| Some(&**name) != allowed),
            Err(_) => false,
        };
        if taken(&self.out, Some(&self.folder)) || taken(&self.out.join(&self.folder), None) {
            return refused(format!("{} is not empty", self.out.display()));
        }
        Ok(())
    }
}

/// Gives a copy the owner and the permissions of its original: who recovers is often root, and the server is
/// not. Where that is not allowed, it stays what it is.
fn resemble(copy: &Path, original: &Path) {
    use std::os::unix::fs::{MetadataExt, chown};
    let Ok(original) = std::fs::metadata(original) else {
        return;
    };
    // The copy is whole without either.
    _ = std::fs::set_permissions(copy, original.permissions());
    _ = chown(copy, Some(original.uid()), Some(original.gid()));
}

fn places(order: &Order, source: &Source) -> Places {
    let folder = std::path::absolute(&source.folder).unwrap_or_else(|_| source.folder.clone());
    let in_folder = source
        .manifest
        .base
        .as_ref()
        .is_some_and(|base| base.name == source.stem);
    // The one file of old lies in the server's directory itself.
    let folder = if in_folder {
        OsStr::new("appendonlydir").to_owned()
    } else {
        folder
            .file_name()
            .unwrap_or(OsStr::new("appendonlydir"))
            .to_owned()
    };
    let out = order.out.clone().unwrap_or_else(|| {
        let at = match (order.to, &order.before) {
            (Some(to), _) => time::shown(to).replace([':', '-', ' '], ""),
            (None, before) => {
                let name = before.as_deref().unwrap_or_default();
                format!("before-{}", shown(name).replace(['/', '\\'], "-"))
            }
        };
        let dir = if order.dir.is_dir() {
            &order.dir
        } else {
            &source.folder
        };
        dir.join(format!("recovered-{at}"))
    });
    Places { out, folder }
}

fn copy(
    console: &mut Console<'_>,
    disk: &dyn Disk,
    link: &Link,
    to: &Path,
    len: u64,
) -> Result<(), Refused> {
    let mut room = vec![0; 1 << 20];
    let file = disk.create(to).map_err(failed(to))?;
    console.begin(&format!("Writing {}", shown(&link.part.name)), len);
    let mut done = 0;
    while done < len {
        let wanted = (len - done).min(room.len() as u64) as usize;
        let got = link.handles[1]
            .read(&mut room[..wanted])
            .map_err(failed(&link.path))?;
        if got == 0 {
            return refused(format!("{} became shorter meanwhile", link.path.display()));
        }
        Stream(&*file).write_all(&room[..got]).map_err(failed(to))?;
        done += got as u64;
        console.at(done);
    }
    file.sync().map_err(failed(to))?;
    console.end();
    Ok(())
}

fn tell_end(
    console: &mut Console<'_>,
    order: &Order,
    source: &Source,
    places: &Places,
    found: &Found,
) {
    let Places { out, folder } = places;
    let until = match (&order.before, order.to) {
        (Some(name), _) => format!("before {}", shown(name).to_ascii_uppercase()),
        (None, Some(to)) => format!("at {}", time::shown(to)),
        (None, None) => String::new(),
    };
    let last = found.last_s.map_or(String::new(), |last| {
        format!("; its last change is from {}", time::shown(last))
    });
    let requests = found.requests;
    let keys = found
        .keys
        .map_or(String::new(), |keys| format!("{keys} keys and "));
    console.line(format_args!(
        "Recovered: the data as they were {until}: {keys}{requests} requests{last}."
    ));
    let mut command = format!("redvault --dir {} --appendonly yes", out.display());
    let mut option = |name: &str, value: &dyn Display, default: &str| {
        if value.to_string() != default {
            command.push_str(&format!(" --{name} {value}"));
        }
    };
    option("appenddirname", &folder.display(), "appendonlydir");
    option("appendfilename", &shown(&source.stem), "appendonly.aof");
    console.line(format_args!("A server on them: {command}"));
}
