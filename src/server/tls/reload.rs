//! Certificates that are renewed while the server runs: by SIGHUP, and every `tls-auto-reload-interval` seconds if
//! the files have changed.
//!
//! The background thread reads the files and makes of them what connections are accepted with; the loop puts that
//! in force, or, where it does not work, leaves what is in force as it is. (CONFIG SET of a file's name does it at
//! once, and its reply says how it went.)
use super::setup;
use crate::base::tls::setup::{Server as Active, ServerSetup, server};
use crate::server::turn::Server;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

/// What a file looks like from outside: where it lies, how large it is, when it was written.
type Look = (PathBuf, Option<(u64, u64, i64, i64)>);

/// What the background thread found.
struct Found {
    looks: Vec<Look>,
    /// Nothing: the files are as they were.
    built: Option<Result<Active, String>>,
}

/// Where the reading of files stands.
#[derive(Default)]
pub struct Reload {
    under_way: Option<(ServerSetup, Receiver<Found>)>,
    /// How the files looked that are in force, as far as that is known.
    looks: Vec<Look>,
    /// Why the last time failed: what fails again for the same reason is not told again.
    failure: Option<String>,
    /// Wanted once more, whatever the files look like.
    again: bool,
    /// Monotonic milliseconds.
    next_ms: u64,
}

/// How all files look that a setup names.
fn look(setup: &ServerSetup) -> Vec<Look> {
    let one = |path: &Path| {
        let seen = std::fs::metadata(path).ok();
        let seen = seen.map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        (path.to_path_buf(), seen)
    };
    let identities = [&setup.identity, &setup.client_identity];
    let named = identities.into_iter().flat_map(|i| [&i.cert, &i.key]);
    let mut looks: Vec<Look> = named
        .chain([&setup.authorities.file])
        .flatten()
        .map(|path| one(path))
        .collect();
    if let Some(dir) = &setup.authorities.dir {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut below: Vec<Look> = entries.map(|entry| one(&entry.path())).collect();
        below.sort();
        looks.extend(below);
    }
    looks
}

impl Server {
    /// SIGHUP: the files are read again.
    pub(in crate::server) fn reload_tls(&mut self) {
        if setup::wanted(&self.state.config) {
            self.tls_reload.again = true;
            // Who asks is told.
            self.tls_reload.failure = None;
            self.tls_cron();
        }
    }

    /// Takes what the background thread has found, and sends it to look again when it is time to.
    pub(in crate::server) fn tls_cron(&mut self) {
        let reload = &mut self.tls_reload;
        if let Some((asked, receiver)) = &reload.under_way {
            match receiver.try_recv() {
                Err(std::sync::mpsc::TryRecvError::Empty) => return,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => reload.under_way = None,
                Ok(found) => {
                    // What CONFIG SET has said meanwhile is newer.
                    let holds = *asked == setup::of(&self.state.config);
                    reload.under_way = None;
                    match found.built {
                        Some(built) if holds => self.put_in_force(built, found.looks),
                        // The other files are looked at as well.
                        Some(_) => reload.again = true,
                        None => {}
                    }
                }
            }
        }
        let now_ms = self.state.clock.mono_us / 1000;
        let interval_ms = u64::from(self.state.config.tls_auto_reload_interval) * 1000;
        let reload = &mut self.tls_reload;
        let due = interval_ms > 0 && now_ms >= reload.next_ms;
        if !due && !reload.again || !setup::wanted(&self.state.config) {
            return;
        }
        reload.next_ms = now_ms + interval_ms;
        let force = std::mem::take(&mut reload.again);
        let asked = setup::of(&self.state.config);
        let (before, setup) = (reload.looks.clone(), asked.clone());
        let (sender, receiver) = channel();
        reload.under_way = Some((asked, receiver));
        self.jobs.errand(Box::new(move || {
            let looks = look(&setup);
            // The first look has nothing to be held against: what is in force may be of before it.
            let built = (force || looks != before).then(|| server(&setup));
            // Who ends meanwhile wants no answer.
            let _ = sender.send(Found { looks, built });
        }));
    }

    /// What does not work leaves the old looks as well: files that are being written one after the other are read
    /// again, and again, until they belong together.
    fn put_in_force(&mut self, built: Result<Active, String>, looks: Vec<Look>) {
        match built {
            Ok(active) => {
                self.tls_reload.looks = looks;
                self.tls_reload.failure = None;
                self.state.tls.reloads += 1;
                log::info!(
                    "TLS certificates read again; the server's has the serial number {}",
                    active.cert.serial
                );
                self.state.tls.active = Some(active);
            }
            Err(why) => {
                self.state.tls.reloads_failed += 1;
                if self.tls_reload.failure.as_ref() != Some(&why) {
                    log::warn!("{why}");
                    log::warn!("TLS certificates could not be read again: those in force stay.");
                    self.tls_reload.failure = Some(why);
                }
            }
        }
    }
}
