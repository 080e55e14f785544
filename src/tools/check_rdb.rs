//! Whether an RDB file is whole: `check-rdb`, and the first part of AOF files.
use std::io;

use super::console::{Console, shown};
use crate::base::disk::Disk;
use crate::persist::groups;
use crate::persist::rdb::check::{Check, Checksum, Event, Failure, Tally};
use crate::persist::window::Window;
use crate::state::config::file::errno_text;
use crate::types::saved::Loading;
use std::path::Path;

/// Checks a file; the exit code.
pub fn run(console: &mut Console<'_>, disk: &dyn Disk, path: &Path, how: &Loading) -> i32 {
    let name = path.display().to_string();
    let checked = disk.open(path).and_then(|file| {
        let mut window = Window::new(&*file)?;
        check(console, &mut window, &name, how)
    });
    console.end();
    match checked {
        Ok(Some(_)) => 0,
        Ok(None) => 1,
        Err(error) => {
            console.line(format_args!(
                "Cannot read the RDB file {name}: {}",
                errno_text(&error)
            ));
            1
        }
    }
}

/// Checks what begins at the window's position, and tells about it; what was counted, if it is whole.
pub fn check(
    console: &mut Console<'_>,
    window: &mut Window<'_>,
    name: &str,
    how: &Loading,
) -> io::Result<Option<Tally>> {
    console.line(format_args!("[offset 0] Checking RDB file {name}"));
    console.begin(name, window.size());
    let mut check = Check::new(window, how.clone());
    let checked = check.run(&mut |at, event| tell(console, at, &event))?;
    let tally = std::mem::take(&mut check.tally);
    let at = window.position();
    match checked {
        Ok(checksum) => {
            match checksum {
                Checksum::Absent => {}
                Checksum::Right => console.line(format_args!("[offset {at}] Checksum OK")),
                Checksum::Disabled => console.line(format_args!(
                    "[offset {at}] RDB file was saved with checksum disabled: no check performed."
                )),
            }
            console.line(format_args!("[offset {at}] \\o/ RDB looks OK! \\o/"));
            tell_tally(console, &tally, 0);
            Ok(Some(tally))
        }
        Err(failure) => {
            tell_failure(console, &failure);
            // Redis counts the key whose value it fails at.
            tell_tally(console, &tally, u64::from(failure.key.is_some()));
            Ok(None)
        }
    }
}

fn tell(console: &mut Console<'_>, at: u64, event: &Event<'_>) {
    match event {
        // Hashes of passwords and code are nothing to look at.
        Event::Fact { name, value }
            if [groups::USER.as_bytes(), groups::LIBRARY.as_bytes()].contains(name) =>
        {
            let (name, bytes) = (shown(name), value.len());
            console.line(format_args!(
                "[offset {at}] AUX FIELD {name}, {bytes} bytes"
            ));
        }
        Event::Fact { name, value } => console.line(format_args!(
            "[offset {at}] AUX FIELD {} = '{}'",
            shown(name),
            shown(value)
        )),
        Event::Db(db) => console.line(format_args!("[offset {at}] Selecting DB ID {db}")),
        Event::ModuleData(module) => {
            console.line(format_args!("[offset {at}] MODULE AUX for: {module}"));
        }
        Event::Progress => console.at(at),
    }
}

fn tell_failure(console: &mut Console<'_>, failure: &Failure) {
    console.line("--- RDB ERROR DETECTED ---");
    console.line(format_args!("[offset {}] {}", failure.at, failure.why));
    let doing = failure.doing;
    console.line(format_args!("[additional info] While doing: {doing}"));
    if let Some(key) = &failure.key {
        let key = shown(key);
        console.line(format_args!("[additional info] Reading key '{key}'"));
    }
    if let Some((number, name)) = failure.value_type {
        console.line(format_args!(
            "[additional info] Reading type {number} ({name})"
        ));
    }
}

fn tell_tally(console: &mut Console<'_>, tally: &Tally, more: u64) {
    console.line(format_args!("[info] {} keys read", tally.keys + more));
    console.line(format_args!("[info] {} expires", tally.deadlines));
    console.line(format_args!("[info] {} already expired", tally.expired));
    if tally.empty > 0 {
        let count = tally.empty;
        console.line(format_args!(
            "[info] {count} keys without elements: a load leaves them out"
        ));
    }
    if tally.modules > 0 {
        let count = tally.modules;
        console.line(format_args!(
            "[info] {count} keys of modules: RedVault cannot load the file"
        ));
    }
    if tally.functions > 0 {
        console.line(format_args!(
            "[info] {} function libraries",
            tally.functions
        ));
    }
}
