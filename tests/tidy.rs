//! The rules of this repository that a program can check. One run reports every offence, each with
//! its place and what to do instead. Rules that rustc and clippy check are in Cargo.toml.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The floors: a module names only folders of lower floors, or its own.
const FLOORS: &[(&str, u32)] = &[
    ("base", 0),
    ("resp", 1),
    ("ds", 1),
    ("codec", 1),
    ("types", 2),
    ("keyspace", 3),
    ("state", 4),
    ("exec", 5),
    ("commands", 6),
    ("script", 6),
    ("vault", 6),
    ("persist", 7),
    ("tools", 8), // offline work on files: needs persist's readers, and is named by the command line only
    ("replication", 8),
    ("cluster", 9),
    ("server", 10),
];

/// Where `unsafe` may stand: a file, or a folder with its slash.
const UNSAFE: &[&str] = &[
    "src/base/sys.rs",
    "src/base/sys/",
    "src/base/alloc.rs",
    "src/ds/table.rs",
    "src/ds/table/",
    "src/ds/pair.rs",   // an item of the table: one thin allocation, as an entry is
    "src/ds/ranked.rs", // an index over items that a table owns
    "src/ds/ranked/",
    "src/keyspace/entry.rs",
    "src/script/lib/stack.rs", // what a library of scripts does with Lua's stack; mlua's handles cost too much
    "src/script/vm/",          // the interpreter's C interface
    "src/server/crash.rs",
];

/// What the top level of the repository may hold.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".dockerignore",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "clippy.toml",
    "redvault.conf",
    "rustfmt.toml",
    "scripts",
    "src",
    "tests",
];

const LINES_MAX: usize = 1_000;

/// A word that may stand only in some places of `src/`.
struct Ban {
    /// Found where it begins and ends at a word's border (`!` and `(` end it too).
    text: &'static str,
    /// Files, or folders with their slash, in which it is allowed.
    allowed: &'static [&'static str],
    /// Whether code under `#[cfg(test)]` may use it.
    tests_may: bool,
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        text: "SystemTime::now",
        allowed: &["src/base/clock.rs"],
        tests_may: false,
        instead: "take the time that is passed in, or base::clock",
    },
    Ban {
        text: "Instant::now",
        allowed: &["src/base/clock.rs"],
        tests_may: false,
        instead: "take the time that is passed in, or base::clock",
    },
    Ban {
        text: "unsafe",
        allowed: UNSAFE,
        tests_may: false,
        instead: "call a safe function of base::sys, or change the list in tests/tidy.rs with a reason",
    },
    Ban {
        text: "unsafe_code",
        allowed: UNSAFE,
        tests_may: false,
        instead: "call a safe function of base::sys, or change the list in tests/tidy.rs with a reason",
    },
    Ban {
        text: ".unwrap()",
        allowed: &[],
        tests_may: true,
        instead: "handle it, or expect(\"why it holds\") where only a broken invariant can fail",
    },
    Ban {
        text: "fork(",
        allowed: &["src/base/sys.rs", "src/base/sys/", "src/persist/child.rs"],
        tests_may: false,
        instead: "start children through persist::child",
    },
    Ban {
        text: "println!",
        allowed: &["src/main.rs", "src/server/cli.rs"],
        tests_may: true,
        instead: "use log::info! and its sisters",
    },
    Ban {
        text: "eprintln!",
        allowed: &["src/main.rs", "src/server/cli.rs"],
        tests_may: true,
        instead: "use log::warn! and its sisters",
    },
];

#[test]
fn the_rules_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut report = Report::default();
    for path in files(root, &["src", "tests", "scripts"]) {
        let name = path
            .strip_prefix(root)
            .expect("listed below it")
            .to_string_lossy()
            .into_owned();
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        report.file(&name, &text);
    }
    report.top_level(root);
    assert!(
        report.offences.is_empty(),
        "{} offences:\n{}",
        report.count,
        report.offences
    );
}

#[derive(Default)]
struct Report {
    offences: String,
    count: usize,
}

impl Report {
    fn add(&mut self, name: &str, line: usize, message: &str) {
        self.count += 1;
        writeln!(self.offences, "{name}:{line}: {message}").expect("a String takes everything");
    }

    fn file(&mut self, name: &str, text: &str) {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            self.add(
                name,
                lines,
                "more than 1,000 lines: split it by concept into files named for them",
            );
        }
        if !name.ends_with(".rs") {
            return;
        }
        if !text.starts_with("//!") {
            self.add(
                name,
                1,
                "no head: begin with `//!`, why the file exists, what it relies on",
            );
        }
        for word in [
            concat!("FIX", "ME"),
            concat!("XX", "X"),
            concat!("HA", "CK"),
        ] {
            for at in words(text, word) {
                self.add(
                    name,
                    line_of(text, at),
                    &format!("{word}: do it now, or file an issue and say what holds today"),
                );
            }
        }
        let code = blank(text);
        for word in [concat!("to", "do!"), concat!("unimplemented", "!")] {
            for at in words(&code, word) {
                self.add(
                    name,
                    line_of(text, at),
                    &format!("{word}: return an error instead"),
                );
            }
        }
        if name.starts_with("src/") {
            let tests = test_ranges(name, &code);
            self.bans(name, &code, &tests);
            self.floors(name, &code, &tests);
        }
    }

    fn bans(&mut self, name: &str, code: &str, tests: &[(usize, usize)]) {
        for ban in BANS {
            if ban
                .allowed
                .iter()
                .any(|a| name == *a || a.ends_with('/') && name.starts_with(a))
            {
                continue;
            }
            let mut found = words(code, ban.text);
            found.retain(|at| !(ban.tests_may && within(tests, *at)));
            // One line is enough for a file that does it everywhere.
            if let Some(first) = found.first() {
                let times = match found.len() {
                    1 => String::new(),
                    n => format!(" (and {} more below)", n - 1),
                };
                let message = format!("{}: {}{times}", ban.text, ban.instead);
                self.add(name, line_of(code, *first), &message);
            }
        }
    }

    fn floors(&mut self, name: &str, code: &str, tests: &[(usize, usize)]) {
        let parts: Vec<&str> = name["src/".len()..].split('/').collect();
        let folder = parts[0].trim_end_matches(".rs");
        if folder == "lib" || folder == "main" {
            return;
        }
        let Some(floor) = floor_of(folder) else {
            self.add(
                name,
                1,
                &format!("{folder} has no floor: put the file into a folder of design section 2"),
            );
            return;
        };
        for (at, module) in crate_paths(code) {
            let line = line_of(code, at);
            match floor_of(&module) {
                Some(other) if module == folder || other < floor => {}
                Some(other) => self.add(
                    name,
                    line,
                    &format!(
                        "{folder} (floor {floor}) names {module} (floor {other}): pass the data in, \
                         or move what is needed to a lower floor"
                    ),
                ),
                None => self.add(
                    name,
                    line,
                    &format!("crate::{module} is no floor: name it by its folder"),
                ),
            }
        }
        // `super` leads out of the folder too, when there are enough of them.
        let depth = parts.len() - usize::from(parts.last() == Some(&"mod.rs"));
        let mut from = 0;
        while let Some(found) = code[from..].find("super::") {
            let at = from + found;
            let mut ups = 0;
            from = at;
            while code[from..].starts_with("super::") {
                ups += 1;
                from += "super::".len();
            }
            if ups >= depth + usize::from(within(tests, at) && !is_test_file(name)) {
                self.add(
                    name,
                    line_of(code, at),
                    "super leads out of the folder: use crate::",
                );
            }
        }
    }

    /// Only what git tracks counts: what it ignores, or has not been told of, is nobody's business.
    fn top_level(&mut self, root: &Path) {
        let listed = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(root)
            .output();
        let Ok(listed) = listed else { return };
        let mut entries: Vec<String> = listed
            .stdout
            .split(|b| *b == 0)
            .filter_map(|path| {
                Some(
                    std::str::from_utf8(path)
                        .ok()?
                        .split('/')
                        .next()?
                        .to_owned(),
                )
            })
            .filter(|entry| !entry.is_empty() && !TOP_LEVEL.contains(&entry.as_str()))
            .collect();
        entries.dedup();
        for entry in entries {
            self.add(
                &entry,
                1,
                "not a top-level entry: put it under src, tests, scripts or into README.md",
            );
        }
    }
}

fn floor_of(folder: &str) -> Option<u32> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == folder)
        .map(|(_, floor)| *floor)
}

/// Every file below the given folders of `root` that these rules speak of, in order.
fn files(root: &Path, folders: &[&str]) -> Vec<PathBuf> {
    let mut todo: Vec<PathBuf> = folders.iter().map(|f| root.join(f)).collect();
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && !["target", "corpus", "artifacts", "__pycache__"].contains(&&*name) {
            let entries = fs::read_dir(&path).expect("a folder of ours can be read");
            todo.extend(entries.filter_map(|e| Some(e.ok()?.path())));
        } else if [".rs", ".py", ".sh", ".tcl"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

fn within(ranges: &[(usize, usize)], at: usize) -> bool {
    ranges.iter().any(|(from, to)| (*from..*to).contains(&at))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands in `text` by itself, not as a part of a longer word.
fn words(text: &str, word: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let (first, last) = (word.as_bytes()[0], word.as_bytes()[word.len() - 1]);
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| !(is_word(first) && at > 0 && is_word(bytes[at - 1])))
        .filter(|&at| !(is_word(last) && bytes.get(at + word.len()).is_some_and(|b| is_word(*b))))
        .collect()
}

/// `text` with comments and the inside of literals made spaces: same length, same lines.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skip = match rest {
            [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => comment_len(rest),
            [b'"', ..] => string_len(rest),
            [b'r' | b'b', ..] if at == 0 || !is_word(bytes[at - 1]) => raw_string_len(rest),
            // A character, as against a lifetime: 'x' or '\n'
            [b'\'', b'\\', _, more @ ..] => 4 + more.iter().position(|b| *b == b'\'').unwrap_or(0),
            [b'\'', a, ..] => {
                let width = match a {
                    0..0x80 => 1,
                    0x80..0xe0 => 2,
                    0xe0..0xf0 => 3,
                    _ => 4,
                };
                if rest.get(1 + width) == Some(&b'\'') {
                    2 + width
                } else {
                    0
                }
            }
            _ => 0,
        };
        for byte in &mut out[at..(at + skip).min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += skip.max(1);
    }
    String::from_utf8(out).expect("whole characters were replaced")
}

fn comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of r"..", r#".."#, br".." and b".."; 0 for anything else.
fn raw_string_len(rest: &[u8]) -> usize {
    let prefix = rest.iter().take_while(|b| matches!(b, b'r' | b'b')).count();
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if prefix > 2 || rest.get(open) != Some(&b'"') {
        return 0;
    }
    if !rest[..prefix].contains(&b'r') {
        return if hashes == 0 {
            prefix + string_len(&rest[prefix..])
        } else {
            0
        };
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &rest[open + 1..];
    let end = body
        .windows(close.len())
        .position(|w| w == close)
        .unwrap_or(body.len());
    open + 1 + end + close.len()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The ranges of items under `#[cfg(test)]`.
fn test_ranges(name: &str, code: &str) -> Vec<(usize, usize)> {
    if is_test_file(name) {
        return vec![(0, code.len())];
    }
    let mut ranges = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let (mut depth, mut end) = (0_usize, code.len());
        for (i, byte) in code.bytes().enumerate().skip(at + "#[cfg(test)]".len()) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(byte, b'}' | b';') {
                end = i + 1;
                break;
            }
        }
        ranges.push((at, end));
    }
    ranges
}

/// The first module of each `crate::` path, also of each one in `crate::{a, b::c}`.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            let module: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            // A macro of ours stands at the root and belongs to no floor.
            if !rest[module.len()..].starts_with('!') {
                found.push((at, module));
            }
            continue;
        }
        let (mut depth, mut module, mut taking) = (0_usize, String::new(), false);
        for (i, c) in rest.char_indices() {
            match c {
                '{' => (depth, taking) = (depth + 1, depth == 0),
                '}' => depth -= 1,
                ',' if depth == 1 => taking = true,
                c if taking && (c.is_alphanumeric() || c == '_') => module.push(c),
                _ => {}
            }
            let ended = matches!(c, '{' | '}' | ',' | ':') || c.is_whitespace();
            if taking && ended && !module.is_empty() {
                found.push((at + "crate::".len() + i, std::mem::take(&mut module)));
                taking = c == ',';
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn literals_and_comments_are_no_code() {
    let code =
        blank("a(\"un\\\"safe\", 'x', '\\'', r#\"fork(\"# /* b /* c */ d */, &'a T) // unwrap");
    assert_eq!(code.replace(' ', ""), "a(,,,,&'aT)");
}

#[test]
fn paths_are_found_in_groups() {
    let names = |code| {
        crate_paths(code)
            .into_iter()
            .map(|(_, m)| m)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("use crate::base::num; crate::ds::x(); crate::note!(1)"),
        ["base", "ds"]
    );
    assert_eq!(
        names("use crate::{\n base::{num, glob::{a}},\n resp,\n state::State };"),
        ["base", "resp", "state"]
    );
}

#[test]
fn offences_are_told_with_their_place() {
    let mut report = Report::default();
    report.file(
        "src/keyspace/db.rs",
        "//! Head.\nuse crate::exec::call;\nfn f() { g().unwrap(); }\n#[cfg(test)]\nmod tests {\n \
         fn h() { g().unwrap(); super::super::x(); }\n}\nfn i() { super::super::y(); }\n",
    );
    assert_eq!(report.count, 3, "{}", report.offences);
    for place in [
        "db.rs:2: keyspace (floor 3) names exec",
        "db.rs:3: .unwrap()",
        "db.rs:8: super",
    ] {
        assert!(
            report.offences.contains(place),
            "{place} in {}",
            report.offences
        );
    }
}
