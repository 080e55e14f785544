//! Which files make up the append-only file, in which order: the manifest, as text and as data.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.1.incr.aof seq 1 type h
//! file appendonly.aof.2.incr.aof seq 2 type i
//! ```
//!
//! A base file holds everything up to a moment, the incremental files what came behind it; history is what
//! a rewrite has made superfluous and what is to be removed. The text is an interface: Redis, its tools and
//! people with backups read it.
use crate::base::num::parse_i64;
use crate::state::config::file::split_words;
use crate::state::config::setting::word_text;

/// Bytes of a line, its end included.
const LINE_MAX: usize = 1024;

/// What a file is to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    Base,
    Incremental,
    History,
}

impl PartKind {
    fn letter(self) -> u8 {
        match self {
            PartKind::Base => b'b',
            PartKind::Incremental => b'i',
            PartKind::History => b'h',
        }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in the directory of the AOF; bytes, as the file system has them.
    pub name: Vec<u8>,
    pub seq: u64,
}

/// All files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<Part>,
    /// Oldest first; the last one is written to.
    pub incrementals: Vec<Part>,
    /// The latest first.
    pub history: Vec<Part>,
    /// The highest numbers given so far: the next file gets the one behind.
    pub base_seq: u64,
    pub incremental_seq: u64,
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadManifest {
    /// As Redis words it.
    pub reason: &'static str,
    /// The line, counted from 1, and what it says.
    pub line: Option<(usize, Vec<u8>)>,
}

impl BadManifest {
    fn whole(reason: &'static str) -> BadManifest {
        BadManifest { reason, line: None }
    }
}

impl std::fmt::Display for BadManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((number, text)) = &self.line {
            let text = String::from_utf8_lossy(text);
            write!(f, "line {number}: '{text}': ")?;
        }
        f.write_str(self.reason)
    }
}

impl std::error::Error for BadManifest {}

const MALFORMED: &str = "Invalid AOF manifest file format";

impl Manifest {
    /// Reads the text of a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, BadManifest> {
        let mut manifest = Manifest::default();
        let mut number = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            number += 1;
            if line.first() == Some(&b'#') {
                continue;
            }
            if line.last() != Some(&b'\n') || line.len() > LINE_MAX {
                let reason = "The AOF manifest file contains too long line";
                return Err(BadManifest::whole(reason));
            }
            let line = line.trim_ascii();
            manifest.take_line(line).map_err(|reason| BadManifest {
                reason,
                line: Some((number, line.to_vec())),
            })?;
        }
        if number == 0 {
            return Err(BadManifest::whole("Found an empty AOF manifest"));
        }
        Ok(manifest)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let words = split_words(line).ok_or(MALFORMED)?;
        // Three pairs at least; pairs with names of later versions are passed over.
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(MALFORMED);
        }
        let (mut name, mut seq, mut kind) = (None, None, None);
        for pair in words.chunks_exact(2) {
            let (key, value) = (&pair[0], &pair[1]);
            if key.eq_ignore_ascii_case(b"file") {
                if value.contains(&b'/') {
                    return Err("File can't be a path, just a filename");
                }
                name = Some(value.clone()).filter(|name| !name.is_empty());
            } else if key.eq_ignore_ascii_case(b"seq") {
                seq = parse_i64(value).and_then(|n| u64::try_from(n).ok());
            } else if key.eq_ignore_ascii_case(b"type") {
                kind = value.first().copied();
            }
        }
        let (Some(name), Some(seq), Some(kind)) = (name, seq.filter(|n| *n > 0), kind) else {
            return Err(MALFORMED);
        };
        self.take_part(Part { name, seq }, kind)
    }

    fn take_part(&mut self, part: Part, kind: u8) -> Result<(), &'static str> {
        match kind {
            b'b' if self.base.is_some() => return Err("Found duplicate base file information"),
            b'b' => {
                self.base_seq = part.seq;
                self.base = Some(part);
            }
            b'i' if part.seq <= self.incremental_seq => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => {
                self.incremental_seq = part.seq;
                self.incrementals.push(part);
            }
            b'h' => self.history.push(part),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    /// The manifest as a file holds it.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut line = |part: &Part, kind: PartKind| {
            text.extend_from_slice(b"file ");
            text.extend_from_slice(&word_text(&part.name));
            text.extend_from_slice(format!(" seq {} type ", part.seq).as_bytes());
            text.extend_from_slice(&[kind.letter(), b'\n']);
        };
        self.base.iter().for_each(|p| line(p, PartKind::Base));
        self.history.iter().for_each(|p| line(p, PartKind::History));
        let incrementals = self.incrementals.iter();
        incrementals.for_each(|p| line(p, PartKind::Incremental));
        text
    }

    /// True if it names no file that is to be loaded.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrementals.is_empty()
    }

    /// The files to load, in this order.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.incrementals)
    }

    /// A new base file: its name. The one before becomes history. `stem` is `appendfilename`; `rdb` tells
    /// whether it begins as a snapshot.
    pub fn new_base(&mut self, stem: &[u8], rdb: bool) -> Vec<u8> {
        if let Some(old) = self.base.take() {
            self.history.insert(0, old);
        }
        self.base_seq += 1;
        let name = base_name(stem, self.base_seq, rdb);
        self.base = Some(Part {
            name: name.clone(),
            seq: self.base_seq,
        });
        name
    }

    /// A new incremental file behind the others: its name.
    pub fn new_incremental(&mut self, stem: &[u8]) -> Vec<u8> {
        self.incremental_seq += 1;
        let seq = self.incremental_seq;
        let name = [stem, format!(".{seq}.incr.aof").as_bytes()].concat();
        self.incrementals.push(Part {
            name: name.clone(),
            seq,
        });
        name
    }

    /// A new base holds what was in the incremental files: they become history, but for the last one where
    /// it is written to.
    pub fn retire_incrementals(&mut self, keep_last: bool) {
        let kept = usize::from(keep_last && !self.incrementals.is_empty());
        let retired = self.incrementals.len() - kept;
        self.history
            .splice(0..0, self.incrementals.drain(..retired));
    }
}

fn base_name(stem: &[u8], seq: u64, rdb: bool) -> Vec<u8> {
    let format = if rdb { "rdb" } else { "aof" };
    [stem, format!(".{seq}.base.{format}").as_bytes()].concat()
}

/// The manifest's own name.
pub fn manifest_name(stem: &[u8]) -> Vec<u8> {
    [stem, b".manifest"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> &'static str {
        Manifest::parse(text.as_bytes()).expect_err(text).reason
    }

    /// What a real 7.0.15 said to the same texts.
    #[test]
    fn faults_are_named_as_redis_names_them() {
        let long = format!("file a seq 1 type b {}\n", "x y ".repeat(300));
        for (text, expected) in [
            ("", "Found an empty AOF manifest"),
            (
                "file a seq 1 type b",
                "The AOF manifest file contains too long line",
            ),
            (&long, "The AOF manifest file contains too long line"),
            ("file a seq 1 type b\n\n", MALFORMED),
            ("filx a seq 1 type b\n", MALFORMED),
            ("file a type i\n", MALFORMED),
            ("file a seq 0 type i\n", MALFORMED),
            ("file a seq x type i\n", MALFORMED),
            ("file a seq 3 type b file\n", MALFORMED),
            ("file \"a seq 1 type i\n", MALFORMED),
            ("file a seq 1 type x\n", "Unknown AOF file type"),
            (
                "file a/b seq 1 type i\n",
                "File can't be a path, just a filename",
            ),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                "Found duplicate base file information",
            ),
            (
                "file a seq 2 type i\nfile b seq 2 type i\n",
                "Found a non-monotonic sequence number",
            ),
        ] {
            assert_eq!(reason(text), expected, "{text:?}");
        }
        let error = Manifest::parse(b"# one\n file b \n").expect_err("too few words");
        assert_eq!(error.line, Some((2, b"file b".to_vec())));
        assert_eq!(Manifest::parse(b"# only\n"), Ok(Manifest::default()));
    }

    #[test]
    fn text_and_data_are_the_same() {
        let text = "file \" a\\nb\" seq 7 type b\nfile c seq 6 type h\nfile d seq 2 type i\n\
                    file e seq 9 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).expect("it is one");
        let base = manifest.base.as_ref().map(|part| &part.name[..]);
        assert_eq!(base, Some(&b" a\nb"[..]));
        assert_eq!((manifest.base_seq, manifest.incremental_seq), (7, 9));
        assert_eq!(String::from_utf8_lossy(&manifest.text()), text);
        let other = "SEQ 7 x y TYPE b FILE a\n";
        let manifest = Manifest::parse(other.as_bytes()).expect("order does not matter");
        assert_eq!(manifest.text(), b"file a seq 7 type b\n");
    }

    /// The suite's own sequence: two rewrites whose history is kept.
    #[test]
    fn rewrites_make_history() {
        let text = b"file x.5.base.rdb seq 5 type b\nfile x.1.incr.aof seq 1 type i\n";
        let mut manifest = Manifest::parse(text).expect("it is one");
        for _ in 0..2 {
            manifest.new_incremental(b"x");
            manifest.new_base(b"x", true);
            manifest.retire_incrementals(true);
        }
        let text = String::from_utf8(manifest.text()).expect("is text");
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        assert_eq!(
            names,
            [
                "x.7.base.rdb",
                "x.2.incr.aof",
                "x.6.base.rdb",
                "x.1.incr.aof",
                "x.5.base.rdb",
                "x.3.incr.aof"
            ]
        );
        manifest.retire_incrementals(false);
        assert!(manifest.incrementals.is_empty() && manifest.parts().count() == 1);
    }
}
