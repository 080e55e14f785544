//! A snapshot comes in: into a file that is loaded when it is whole, or straight into memory.
use super::super::spool::{Reading, Writing, aside};
use super::{Around, Lost, Phase, PrimaryLink, READ_MAX, set_link};
use crate::base::disk::{DiskFile, exists};
use crate::base::sys::{self, ticks};
use crate::persist::aof::files::remove_in_background;
use crate::persist::save;
use crate::replication::link::intake::{Intake, Place, Step};
use crate::replication::link::resume;
use crate::replication::link::transfer::{Frame, Transfer};
use crate::state::State;
use crate::state::aof::{FileJob, Task};
use crate::state::config::ReplDisklessLoad;
use crate::state::repl::Link;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A window beyond this is not parsed again for every few bytes that come.
const EAGER_MAX: usize = 1 << 20;
/// But after so long in any case, microseconds.
const PATIENCE_US: u64 = 50_000;

/// A file that a snapshot is put into.
pub(super) struct Receiving {
    transfer: Transfer,
    writing: Writing,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    /// All of it has come in.
    whole: bool,
}

impl Receiving {
    /// Is it the disk that is waited for?
    pub(super) fn waits(&self) -> bool {
        self.whole || self.writing.is_full()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It is of no use.
    pub(super) fn abandon(self, state: &mut State) {
        let Receiving { path, .. } = self;
        remove_in_background(&*state.disk, &path, &mut state.aof.jobs);
    }
}

/// A whole file that is loaded, while the background thread brings it to disk. It takes its place when it has been
/// loaded: one that cannot be never lies where a server that starts finds it.
pub(super) struct FromFile {
    intake: Option<Intake>,
    reading: Reading,
    path: PathBuf,
    on_disk: Arc<Task>,
    /// On its way to its place.
    placed: Option<Arc<Task>>,
    /// Bytes to be read before the intake is asked again.
    lacks: usize,
    at_end: bool,
}

impl FromFile {
    pub(super) fn intake_waits_us(&self) -> u64 {
        self.intake
            .as_ref()
            .map_or(0, |intake| intake.wait_until_us)
    }

    /// Where it is, until it is on its way to its place.
    pub(super) fn path(&self) -> Option<&Path> {
        self.placed.is_none().then_some(&*self.path)
    }

    pub(super) fn abandon(self, state: &mut State) {
        if let Some(intake) = self.intake {
            intake.abandon(state);
        }
        if self.placed.is_none() {
            remove_in_background(&*state.disk, &self.path, &mut state.aof.jobs);
        }
    }
}

/// A snapshot that is loaded as it comes.
pub(super) struct FromSocket {
    intake: Option<Intake>,
    frame: Frame,
    /// Bytes of it that were fed, since the last step and in all.
    fresh: usize,
    fed: u64,
    lacks: usize,
    stepped_us: u64,
    /// It is read to its end; the mark is to come.
    rest: Option<Vec<u8>>,
    instead: bool,
}

impl FromSocket {
    pub(super) fn waits_us(&self) -> Option<u64> {
        // One that is hungry waits for bytes alone, one whose key is built elsewhere for that.
        let intake = self.intake.as_ref();
        let intake = intake.filter(|intake| self.lacks == 0 && !intake.waits());
        let delayed = intake.map_or(0, |intake| intake.wait_until_us);
        let patient = (self.fresh > 0).then_some(self.stepped_us + PATIENCE_US);
        match (delayed, patient) {
            (0, patient) => patient,
            (delayed, None) => Some(delayed),
            (delayed, Some(patient)) => Some(delayed.max(patient)),
        }
    }

    pub(super) fn abandon(self, state: &mut State) {
        if let Some(intake) = self.intake {
            intake.abandon(state);
        }
    }
}

impl PrimaryLink {
    /// The snapshot begins.
    pub(super) fn begin_sync(&mut self, around: &mut Around<'_>, frame: Frame) -> Result<(), Lost> {
        let state = &mut *around.state;
        let place = direct(state, self.history.as_ref());
        let to = if place.is_some() { "parser" } else { "disk" };
        match &frame {
            Frame::Mark(_) => log::info!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to {to}"
            ),
            Frame::Length(length) => {
                log::info!("MASTER <-> REPLICA sync: receiving {length} bytes from master to {to}")
            }
        }
        let Some(place) = place else {
            let path = temporary(state);
            let created = state.disk.create(&path);
            let opened = created.and_then(|file| {
                let on = &state.config.bio_cpulist;
                Ok((Writing::begin(file.clone(), on)?, file))
            });
            let (writing, file) = opened.map_err(|error| {
                Lost(format!(
                    "Opening the temp file needed for MASTER <-> REPLICA synchronization: {}",
                    sys::strerror(&error)
                ))
            })?;
            self.phase = Phase::Receive(Box::new(Receiving {
                transfer: Transfer::new(frame),
                writing,
                file,
                path,
                whole: false,
            }));
            return Ok(());
        };
        let total = match frame {
            Frame::Length(length) => Some(length),
            Frame::Mark(_) => None,
        };
        let instead = place == Place::Instead;
        if instead {
            resume::forget(state);
        }
        set_link(state, Link::Load);
        let aside = aside(&state.config.bio_cpulist, &self.wake);
        let intake = Intake::begin(state, place, total, Some(aside));
        self.phase = Phase::LoadSocket(Box::new(FromSocket {
            intake: Some(intake),
            frame,
            fresh: 0,
            fed: 0,
            lacks: 0,
            stepped_us: state.clock.mono_us,
            rest: None,
            instead,
        }));
        Ok(())
    }

    /// More of a snapshot comes in, into a file.
    pub(super) fn receive(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let Phase::Receive(receiving) = &self.phase else {
            return Ok(false);
        };
        let waits = receiving.waits();
        let mut got = 0;
        if !waits {
            let failed = |error| Lost(format!("I/O error trying to sync with MASTER: {error}"));
            got = self.fill(around, READ_MAX).map_err(failed)?;
        }
        let Phase::Receive(receiving) = &mut self.phase else {
            return Ok(false);
        };
        if !waits {
            let writing = &receiving.writing;
            receiving.whole = receiving
                .transfer
                .take(&mut self.input, |bytes| writing.write(bytes));
        }
        if let Some(upstream) = &mut around.state.repl.upstream {
            upstream.transfer_read = receiving.transfer.taken;
            if waits {
                // It is not the primary that is slow.
                upstream.transfer_us = around.state.clock.mono_us;
            }
        }
        if let Some(error) = receiving.writing.failed() {
            return Err(Lost(format!(
                "Write error or short write writing to the DB dump file needed for MASTER <-> REPLICA \
                 synchronization: {}",
                sys::strerror(error)
            )));
        }
        if receiving.whole && receiving.writing.is_done() {
            return self.begin_loading(around);
        }
        Ok(got > 0)
    }

    /// The file is whole.
    fn begin_loading(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let Phase::Receive(receiving) = &self.phase else {
            return Ok(false);
        };
        let state = &mut *around.state;
        let opened = state.disk.open(&receiving.path);
        let wake = self.wake.clone();
        let wake = move || wake.iter().for_each(|wake| wake());
        let on = &state.config.bio_cpulist;
        let reading = opened.and_then(|file| Reading::begin(file, on, wake));
        let reading = reading.map_err(|error| {
            let text = sys::strerror(&error);
            Lost(format!("Failed opening the synchronization DB: {text}"))
        })?;
        // A child would put an older file over this one.
        save::end_child(state);
        let (written, path) = (receiving.file.clone(), receiving.path.clone());
        let total = receiving.transfer.taken;
        let on_disk = sync_later(state, written);
        resume::forget(state);
        set_link(state, Link::Load);
        let aside = aside(&state.config.bio_cpulist, &self.wake);
        let intake = Intake::begin(state, Place::Instead, Some(total), Some(aside));
        self.phase = Phase::LoadFile(Box::new(FromFile {
            intake: Some(intake),
            reading,
            path,
            on_disk,
            placed: None,
            lacks: 0,
            at_end: false,
        }));
        Ok(true)
    }

    pub(super) fn load_file(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let Phase::LoadFile(load) = &mut self.phase else {
            return Ok(false);
        };
        let Some(intake) = &mut load.intake else {
            return Ok(false);
        };
        let failed = |why: String| {
            Lost(format!(
                "{why}\nFailed trying to load the MASTER synchronization DB from disk, check server logs."
            ))
        };
        if load.lacks > 0 {
            match load.reading.next() {
                None => return Ok(false),
                Some(Ok(piece)) if piece.is_empty() => (load.at_end, load.lacks) = (true, 0),
                Some(Ok(piece)) => {
                    intake.feed_with(|window| window.extend_from_slice(&piece));
                    load.lacks = load.lacks.saturating_sub(piece.len());
                }
                Some(Err(error)) => return Err(failed(sys::strerror(&error))),
            }
            return Ok(true);
        }
        let Some(placed) = &load.placed else {
            match intake.step(around.state, around.until).map_err(failed)? {
                Step::More => {
                    self.more = intake.wait_until_us <= around.state.clock.mono_us;
                    return Ok(false);
                }
                Step::Waits => return Ok(false),
                Step::Hungry(_) if load.at_end => return Err(failed(intake.cut_short())),
                Step::Hungry(wants) => {
                    load.lacks = wants;
                    return Ok(true);
                }
                Step::Done => {}
            }
            let (path, on_disk) = (load.path.clone(), load.on_disk.clone());
            load.placed = Some(place_later(around.state, path, on_disk));
            return Ok(true);
        };
        // Nothing is saved meanwhile that would lie in its place.
        if placed.outcome().is_none() {
            return Ok(false);
        }
        let Some(intake) = load.intake.take() else {
            return Ok(false);
        };
        let db = intake.finish(around.state, around.table).map_err(failed)?;
        let state = &mut *around.state;
        let keeps = state.config.appendonly || !state.config.save.points.is_empty();
        if state.config.rdb_del_sync_files && !keeps {
            log::info!(
                "Removing the RDB file obtained from the master. This replica has persistence disabled"
            );
            let path = save::path(state);
            remove_in_background(&*state.disk, &path, &mut state.aof.jobs);
        }
        self.synced(around, db)
    }

    pub(super) fn load_socket(&mut self, around: &mut Around<'_>) -> Result<bool, Lost> {
        let Phase::LoadSocket(mut load) = std::mem::take(&mut self.phase) else {
            return Ok(false);
        };
        let result = self.load_some(around, &mut load);
        match result {
            Ok(Some(db)) => {
                if !load.instead {
                    resume::forget(around.state);
                }
                self.synced(around, db)
            }
            Ok(None) => {
                self.phase = Phase::LoadSocket(load);
                Ok(false)
            }
            Err(why) => {
                self.phase = Phase::LoadSocket(load);
                Err(Lost(format!(
                    "{}\nFailed trying to load the MASTER synchronization DB from socket, check server logs.",
                    why.0
                )))
            }
        }
    }

    /// The database in which the stream goes on, when all is loaded.
    fn load_some(
        &mut self,
        around: &mut Around<'_>,
        load: &mut FromSocket,
    ) -> Result<Option<u32>, Lost> {
        loop {
            if load.rest.is_some() {
                return self.end_of_socket(around, load);
            }
            let Some(intake) = &mut load.intake else {
                return Ok(None);
            };
            let left = match load.frame {
                Frame::Length(length) => usize::try_from(length - load.fed).unwrap_or(usize::MAX),
                Frame::Mark(_) => usize::MAX,
            };
            let mut dry = false;
            if load.lacks > 0 && left > 0 {
                let most = left.min(READ_MAX);
                let mut input = std::mem::take(&mut self.input);
                let got = match input.is_empty() {
                    true => self.read_into(around, &mut input, most).map_err(|why| {
                        Lost(format!(
                            "{}: {why}. Failure loading rdb format from socket, assuming connection error, \
                             resuming operation.",
                            intake.cut_short()
                        ))
                    })?,
                    false => input.len(),
                };
                let n = got.min(left);
                intake.feed_with(|window| window.extend_from_slice(&input[..n]));
                input.drain(..n);
                self.input = input;
                load.fed += n as u64;
                load.fresh += n;
                load.lacks = load.lacks.saturating_sub(n);
                dry = n == 0;
                if let Some(upstream) = &mut around.state.repl.upstream {
                    upstream.transfer_read = load.fed;
                }
            }
            let now_us = around.state.clock.mono_us;
            let whole = matches!(load.frame, Frame::Length(length) if length == load.fed);
            let enough = load.lacks == 0
                || whole
                || load.fresh > 0 && dry && {
                    let held = (load.fed - intake.position()) as usize;
                    held < EAGER_MAX
                        || load.fresh > held / 4
                        || now_us > load.stepped_us + PATIENCE_US
                };
            if !enough {
                if dry || ticks() > around.until {
                    self.more = !dry;
                    return Ok(None);
                }
                continue;
            }
            (load.fresh, load.stepped_us) = (0, now_us);
            match intake.step(around.state, around.until)? {
                Step::More => {
                    self.more = intake.wait_until_us <= now_us;
                    load.lacks = 0;
                    return Ok(None);
                }
                Step::Waits => {
                    load.lacks = 0;
                    if let Some(upstream) = &mut around.state.repl.upstream {
                        // It is not the primary that is slow, however long that takes.
                        upstream.transfer_us = now_us;
                    }
                    return Ok(None);
                }
                Step::Hungry(_) if whole => return Err(Lost(intake.cut_short())),
                Step::Hungry(wants) => {
                    load.lacks = wants;
                    if dry {
                        return Ok(None);
                    }
                }
                Step::Done => load.rest = Some(intake.take_rest()),
            }
        }
    }

    /// Behind the snapshot: the mark, or the stream.
    fn end_of_socket(
        &mut self,
        around: &mut Around<'_>,
        load: &mut FromSocket,
    ) -> Result<Option<u32>, Lost> {
        let Some(rest) = &mut load.rest else {
            return Ok(None);
        };
        match &load.frame {
            // What came in behind it is the stream.
            Frame::Length(length) if *length == load.fed && rest.is_empty() => {}
            Frame::Length(length) => {
                return Err(Lost(format!(
                    "The snapshot ends before the {length} bytes that the master told"
                )));
            }
            Frame::Mark(mark) => {
                rest.append(&mut self.input);
                if rest.len() < mark.len() {
                    let mut more = std::mem::take(rest);
                    let lacks = mark.len() - more.len();
                    let got = self.read_into(around, &mut more, lacks)?;
                    *rest = more;
                    if rest.len() < mark.len() {
                        self.more = got > 0;
                        return Ok(None);
                    }
                }
                if !rest.starts_with(&mark[..]) {
                    return Err(Lost("Replication stream EOF marker is broken".to_owned()));
                }
                self.input = rest.split_off(mark.len());
            }
        }
        let Some(intake) = load.intake.take() else {
            return Ok(None);
        };
        Ok(Some(intake.finish(around.state, around.table)?))
    }
}

/// Is a snapshot of this history loaded as it comes, and where do the data go?
fn direct(state: &State, history: Option<&(String, u64)>) -> Option<Place> {
    match state.config.repl_diskless_load {
        ReplDisklessLoad::Disabled => None,
        ReplDisklessLoad::OnEmptyDb => (state.dbs.total_keys() == 0).then_some(Place::Instead),
        ReplDisklessLoad::Swapdb => {
            // Only what is known to be an earlier state of the same data may answer meanwhile.
            let same = history.is_some_and(|(id, offset)| *id == state.repl.id && *offset > 0);
            let resumes = resume::known(state).is_some();
            Some(match same && resumes {
                true => Place::Beside,
                false => Place::Hidden,
            })
        }
    }
}

/// A name that no other file has: one of the same second may still wait to be put into its place.
fn temporary(state: &State) -> PathBuf {
    let (first, pid) = (state.clock.unix_ms / 1000, sys::pid());
    let name = |second: i64| format!("temp-{second}.{pid}.rdb");
    let mut paths = (first..).map(|second| state.config.dir.0.join(name(second)));
    let is_free = |path: &PathBuf| !exists(&*state.disk, path).unwrap_or(false);
    paths.find(is_free).unwrap_or_default()
}

/// The background thread brings the file to disk.
fn sync_later(state: &mut State, file: Arc<dyn DiskFile>) -> Arc<Task> {
    run_later(state, move || {
        let synced = file.sync();
        if let Err(error) = &synced {
            log::warn!(
                "Failed trying to sync the temp DB to disk in MASTER <-> REPLICA synchronization: {}",
                sys::strerror(error)
            );
        }
        synced.is_ok()
    })
}

/// It brings the file to its place; one that may not be on disk goes.
fn place_later(state: &mut State, from: PathBuf, on_disk: Arc<Task>) -> Arc<Task> {
    let (to, disk) = (save::path(state), state.disk.clone());
    run_later(state, move || {
        if !on_disk.run() {
            // Why is in the log.
            let _ = disk.remove(&from);
            return false;
        }
        let placed = disk.rename(&from, &to);
        let placed = placed.and_then(|()| disk.sync_dir(to.parent().unwrap_or(Path::new("."))));
        if let Err(error) = &placed {
            log::warn!(
                "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {}",
                to.display(),
                sys::strerror(error)
            );
            let _ = disk.remove(&from);
        }
        placed.is_ok()
    })
}

fn run_later(state: &mut State, work: impl FnOnce() -> bool + Send + 'static) -> Arc<Task> {
    let task = Task::new(work);
    state.aof.jobs.push(FileJob::Task(task.clone()));
    task
}
