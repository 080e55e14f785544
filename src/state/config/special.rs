//! Directives whose value is more than one word: save points, output limits, addresses, flags.

use std::borrow::Cow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::num::parse_f64;

use super::setting::{
    Origin, Reason, Rule, Setting, memory_text, one_of, parse_memory, quoted, word_text,
};

/// The most addresses that `bind` takes.
const BIND_ADDRESSES_MAX: usize = 16;

fn text_words(words: &[&[u8]]) -> Vec<String> {
    words
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// True if the words are a single empty one: the way to say "nothing" on a line.
fn is_nothing(words: &[&[u8]]) -> bool {
    matches!(words, [] | [b""])
}

/// One rule of `save`: snapshot after `seconds` if at least `changes` writes happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavePoint {
    /// At least one.
    pub seconds: i64,
    /// May be zero: then a snapshot is due even without a write.
    pub changes: i64,
}

/// When to take snapshots by itself. Lines of a file add up; the first one replaces the built-in rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavePoints {
    /// The rules, in the order written.
    pub points: Vec<SavePoint>,
    built_in: bool,
}

impl Default for SavePoints {
    fn default() -> Self {
        let points = [(3600, 1), (300, 100), (60, 10000)]
            .map(|(seconds, changes)| SavePoint { seconds, changes })
            .to_vec();
        SavePoints {
            points,
            built_in: true,
        }
    }
}

impl Setting for SavePoints {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, origin: Origin) -> Result<(), Reason> {
        let nothing = is_nothing(words);
        let mut points = Vec::new();
        if !nothing {
            let invalid = || Cow::Borrowed("Invalid save parameters");
            if !words.len().is_multiple_of(2) {
                return Err(invalid());
            }
            for pair in words.chunks_exact(2) {
                let seconds: i64 = number(pair[0]).ok_or_else(invalid)?;
                let changes: i64 = number(pair[1]).ok_or_else(invalid)?;
                if seconds < 1 || changes < 0 {
                    return Err(invalid());
                }
                points.push(SavePoint { seconds, changes });
            }
        }
        if nothing || origin == Origin::Command || self.built_in {
            self.points.clear();
        }
        self.points.append(&mut points);
        self.built_in = false;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let words: Vec<String> = self
            .points
            .iter()
            .map(|point| format!("{} {}", point.seconds, point.changes))
            .collect();
        out.extend_from_slice(words.join(" ").as_bytes());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        if self.points.is_empty() {
            return vec![b"\"\"".to_vec()];
        }
        self.points
            .iter()
            .map(|point| format!("{} {}", point.seconds, point.changes).into_bytes())
            .collect()
    }
}

/// When a client that does not read its replies is closed. Zero means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutputLimit {
    /// Closed at once above this many bytes.
    pub hard_bytes: u64,
    /// Closed above this many bytes for `soft_seconds`.
    pub soft_bytes: u64,
    /// How long `soft_bytes` may be exceeded.
    pub soft_seconds: u64,
}

/// The kinds of client that have their own output limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientClass {
    /// Everybody else.
    Normal,
    /// Replicas of this server.
    Replica,
    /// Subscribers.
    Pubsub,
}

impl ClientClass {
    const ALL: [ClientClass; 3] = [
        ClientClass::Normal,
        ClientClass::Replica,
        ClientClass::Pubsub,
    ];

    fn parse(word: &[u8]) -> Option<ClientClass> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if is("normal") => Some(ClientClass::Normal),
            () if is("slave") || is("replica") => Some(ClientClass::Replica),
            () if is("pubsub") => Some(ClientClass::Pubsub),
            () => None,
        }
    }
}

/// `client-output-buffer-limit`, for each class of client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutputLimits([OutputLimit; 3]);

impl OutputLimits {
    /// The limit that holds for clients of this class.
    #[inline]
    pub fn of(&self, class: ClientClass) -> &OutputLimit {
        &self.0[class as usize]
    }
}

impl Default for OutputLimits {
    fn default() -> Self {
        let limit = |hard_mb: u64, soft_mb: u64, soft_seconds| OutputLimit {
            hard_bytes: hard_mb << 20,
            soft_bytes: soft_mb << 20,
            soft_seconds,
        };
        OutputLimits([limit(0, 0, 0), limit(256, 64, 60), limit(32, 8, 60)])
    }
}

impl Setting for OutputLimits {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        // All or nothing: the classes named before a faulty one must stay as they were.
        let mut limits = self.0;
        for group in words.chunks_exact(4) {
            let class = ClientClass::parse(group[0]).ok_or(Cow::Borrowed(
                "Invalid client class specified in buffer limit configuration.",
            ))?;
            let (hard, soft) = (parse_memory(group[1]), parse_memory(group[2]));
            let seconds = number::<u32>(group[3]).map(u64::from);
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) = (hard, soft, seconds)
            else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                        .into(),
                );
            };
            limits[class as usize] = OutputLimit {
                hard_bytes,
                soft_bytes,
                soft_seconds,
            };
        }
        self.0 = limits;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let words: Vec<String> = ClientClass::ALL
            .iter()
            .zip(["normal", "slave", "pubsub"])
            .map(|(class, name)| {
                let limit = self.of(*class);
                format!(
                    "{name} {} {} {}",
                    limit.hard_bytes, limit.soft_bytes, limit.soft_seconds
                )
            })
            .collect();
        out.extend_from_slice(words.join(" ").as_bytes());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        ClientClass::ALL
            .iter()
            .zip(["normal", "replica", "pubsub"])
            .map(|(class, name)| {
                let limit = self.of(*class);
                let (hard, soft) = (memory_text(limit.hard_bytes), memory_text(limit.soft_bytes));
                format!("{name} {hard} {soft} {}", limit.soft_seconds).into_bytes()
            })
            .collect()
    }

    fn lines_stand_alone(&self) -> bool {
        true
    }
}

/// Which keyspace events are published: a set of bits, so that a write asks with one AND.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventMask(pub u32);

impl EventMask {
    /// K: publish on `__keyspace@N__:key`.
    pub const KEYSPACE: u32 = 1;
    /// E: publish on `__keyevent@N__:event`.
    pub const KEYEVENT: u32 = 1 << 1;
    /// g: commands of every type, such as DEL, EXPIRE, RENAME.
    pub const GENERIC: u32 = 1 << 2;
    /// $: strings.
    pub const STRING: u32 = 1 << 3;
    /// l: lists.
    pub const LIST: u32 = 1 << 4;
    /// s: sets.
    pub const SET: u32 = 1 << 5;
    /// h: hashes.
    pub const HASH: u32 = 1 << 6;
    /// z: sorted sets.
    pub const ZSET: u32 = 1 << 7;
    /// x: keys that expired.
    pub const EXPIRED: u32 = 1 << 8;
    /// e: keys evicted for memory.
    pub const EVICTED: u32 = 1 << 9;
    /// t: streams.
    pub const STREAM: u32 = 1 << 10;
    /// m: reads of a key that is not there. Not part of A.
    pub const KEY_MISS: u32 = 1 << 11;
    /// d: events of modules.
    pub const MODULE: u32 = 1 << 12;
    /// n: a key that was not there before. Not part of A.
    pub const NEW: u32 = 1 << 13;
    /// A: all of the above but m and n.
    pub const ALL: u32 = Self::GENERIC
        | Self::STRING
        | Self::LIST
        | Self::SET
        | Self::HASH
        | Self::ZSET
        | Self::EXPIRED
        | Self::EVICTED
        | Self::STREAM
        | Self::MODULE;

    /// The single letters, in the order shown: what A stands for, then the others.
    const LETTERS: [(u8, u32); 14] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// True if an event of this class would be published at all.
    #[inline]
    pub fn has(self, class: u32) -> bool {
        self.0 & class != 0
    }
}

impl Setting for EventMask {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let mut mask = 0;
        for letter in words[0] {
            let known = Self::LETTERS.iter().find(|(known, _)| known == letter);
            mask |= match (letter, known) {
                (b'A', _) => Self::ALL,
                (_, Some((_, bit))) => *bit,
                _ => {
                    return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into());
                }
            };
        }
        *self = EventMask(mask);
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let all = self.0 & Self::ALL == Self::ALL;
        if all {
            out.push(b'A');
        }
        for (letter, bit) in Self::LETTERS {
            if self.has(bit) && !(all && Self::ALL & bit != 0) {
                out.push(letter);
            }
        }
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        let mut text = Vec::new();
        self.show(rule, &mut text);
        vec![quoted(&text)]
    }
}

/// The out-of-memory scores of this server as a primary, as a replica, and of its children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OomValues(pub [i32; 3]);

impl Setting for OomValues {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        if words.len() != 3 {
            return Err("wrong number of arguments".into());
        }
        let mut values = [0; 3];
        for (value, word) in values.iter_mut().zip(words) {
            *value = number::<i32>(word)
                .filter(|value| (-2000..=2000).contains(value))
                .ok_or(Cow::Borrowed(
                    "Invalid oom-score-adj-values, elements must be between -2000 and 2000.",
                ))?;
        }
        self.0 = values;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let [primary, replica, child] = self.0;
        out.extend_from_slice(format!("{primary} {replica} {child}").as_bytes());
    }
}

/// The addresses to listen on. A leading `-` allows an address to be absent; `*` is every one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind(pub Vec<String>);

impl Default for Bind {
    fn default() -> Self {
        Bind(vec!["*".to_owned(), "-::*".to_owned()])
    }
}

impl Setting for Bind {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        if words.len() > BIND_ADDRESSES_MAX {
            return Err("Too many bind addresses specified.".into());
        }
        self.0 = if is_nothing(words) {
            Vec::new()
        } else {
            text_words(words)
        };
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.join(" ").as_bytes());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        if self.0.is_empty() {
            return vec![b"\"\"".to_vec()];
        }
        let words: Vec<Vec<u8>> = self
            .0
            .iter()
            .map(|word| word_text(word.as_bytes()))
            .collect();
        vec![words.join(&b' ')]
    }
}

/// The percentiles that INFO latencystats shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Percentiles(pub Vec<f64>);

impl Default for Percentiles {
    fn default() -> Self {
        Percentiles(vec![50.0, 99.0, 99.9])
    }
}

impl Setting for Percentiles {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let mut percentiles = Vec::new();
        if !is_nothing(words) {
            for word in words {
                let value = parse_f64(word).ok_or(Cow::Borrowed(
                    "Invalid latency-tracking-info-percentiles parameters",
                ))?;
                if !(0.0..=100.0).contains(&value) {
                    return Err(
                        "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                            .into(),
                    );
                }
                percentiles.push(value);
            }
        }
        self.0 = percentiles;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let words: Vec<String> = self
            .0
            .iter()
            .map(|value| {
                let text = format!("{value:.6}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            })
            .collect();
        out.extend_from_slice(words.join(" ").as_bytes());
    }

    fn lines(&self, rule: &Rule) -> Vec<Vec<u8>> {
        if self.0.is_empty() {
            return vec![b"\"\"".to_vec()];
        }
        let mut line = Vec::new();
        self.show(rule, &mut line);
        vec![line]
    }
}

/// What SIGTERM or SIGINT does: bits, none of them being the default behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShutdownFlags(pub u8);

impl ShutdownFlags {
    /// Save a snapshot even without save points.
    pub const SAVE: u8 = 1;
    /// Save none even with save points.
    pub const NOSAVE: u8 = 1 << 1;
    /// Do not wait for replicas.
    pub const NOW: u8 = 1 << 2;
    /// Go even if something fails.
    pub const FORCE: u8 = 1 << 3;

    const WORDS: [(&'static str, u8); 5] = [
        ("default", 0),
        ("save", Self::SAVE),
        ("nosave", Self::NOSAVE),
        ("now", Self::NOW),
        ("force", Self::FORCE),
    ];

    /// True if this bit is set.
    pub fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

impl Setting for ShutdownFlags {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let unknown = || one_of(&Self::WORDS.map(|(word, _)| word));
        if words.is_empty() {
            return Err(unknown());
        }
        let mut bits = 0;
        for given in words {
            let known = Self::WORDS
                .iter()
                .find(|(word, _)| given.eq_ignore_ascii_case(word.as_bytes()));
            bits |= known.ok_or_else(unknown)?.1;
        }
        let flags = ShutdownFlags(bits);
        if flags.has(Self::SAVE) && flags.has(Self::NOSAVE) {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let words: Vec<&str> = Self::WORDS
            .iter()
            .filter(|(_, bit)| self.has(*bit))
            .map(|(word, _)| *word)
            .collect();
        let text = if words.is_empty() {
            "default".to_owned()
        } else {
            words.join(" ")
        };
        out.extend_from_slice(text.as_bytes());
    }
}

/// The primary that this server is a replica of, if any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaOf(pub Option<(String, u16)>);

impl Setting for ReplicaOf {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let [host, port] = words else {
            return Err("wrong number of arguments".into());
        };
        self.0 = if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            None
        } else {
            let port = number::<u16>(port).ok_or(Cow::Borrowed("Invalid master port"))?;
            Some((String::from_utf8_lossy(host).into_owned(), port))
        };
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        if let Some((host, port)) = &self.0 {
            out.extend_from_slice(format!("{host} {port}").as_bytes());
        }
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        let line = |(host, port): &(String, u16)| {
            [word_text(host.as_bytes()), port.to_string().into_bytes()].join(&b' ')
        };
        self.0.iter().map(line).collect()
    }
}

/// A limit in bytes or as a share of `maxmemory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryLimit {
    /// Bytes; zero is no limit.
    Bytes(u64),
    /// Per cent of `maxmemory`.
    Percent(u8),
}

impl MemoryLimit {
    /// The limit in bytes, zero for none.
    pub fn bytes(self, maxmemory: u64) -> u64 {
        match self {
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Percent(percent) => {
                let share = u128::from(maxmemory) * u128::from(percent) / 100;
                u64::try_from(share).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Setting for MemoryLimit {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let too_much = || Cow::Borrowed("percentage argument must be less or equal to 100");
        if let Some(digits) = words[0].strip_suffix(b"%") {
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err("argument must be a memory or percent value".into());
            }
            let percent = number::<u8>(digits).filter(|percent| *percent <= 100);
            *self = MemoryLimit::Percent(percent.ok_or_else(too_much)?);
            return Ok(());
        }
        let bytes = parse_memory(words[0])
            .ok_or(Cow::Borrowed("argument must be a memory or percent value"))?;
        // Redis keeps a percentage as a negative number, so it cannot take more than this either.
        if i64::try_from(bytes).is_err() {
            return Err(too_much());
        }
        *self = MemoryLimit::Bytes(bytes);
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        let text = match self {
            MemoryLimit::Bytes(bytes) => bytes.to_string(),
            MemoryLimit::Percent(percent) => format!("{percent}%"),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        vec![match self {
            MemoryLimit::Bytes(bytes) => memory_text(*bytes).into_bytes(),
            MemoryLimit::Percent(percent) => format!("{percent}%").into_bytes(),
        }]
    }
}

/// The working directory, always absolute. It must exist when it is named: a server that starts in the wrong place
/// would show an empty dataset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkDir(pub PathBuf);

impl Default for WorkDir {
    fn default() -> Self {
        WorkDir(std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")))
    }
}

impl Setting for WorkDir {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        let named = Path::new(std::ffi::OsStr::from_bytes(words[0]));
        if named.as_os_str().is_empty() {
            return Err("No such file or directory".into());
        }
        // Canonical, as getcwd() would answer after a chdir.
        let full = std::fs::canonicalize(self.0.join(named)).map_err(|e| errno_text(&e))?;
        if !full.is_dir() {
            return Err("Not a directory".into());
        }
        self.0 = full;
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.clone().into_os_string().into_vec());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        vec![quoted(self.0.as_os_str().as_bytes())]
    }
}

/// The system's own words for an error, without the number that Rust adds.
pub(super) fn errno_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// `activedefrag`. Nothing here moves values, so CONFIG SET refuses to turn it on as a Redis with the system's
/// allocator does (clients and Redis's own tests then leave it alone); in a file it is accepted and has no effect,
/// because a server must start from the file that Redis started from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ActiveDefrag(pub bool);

impl Setting for ActiveDefrag {
    fn parse(&mut self, words: &[&[u8]], rule: &Rule, origin: Origin) -> Result<(), Reason> {
        let mut wanted = self.0;
        wanted.parse(words, rule, origin)?;
        if wanted && origin == Origin::Command && !self.0 {
            return Err("Active defragmentation cannot be enabled: it requires a Redis server compiled with \
                        a modified Jemalloc like the one shipped by default with the Redis source distribution"
                .into());
        }
        self.0 = wanted;
        Ok(())
    }

    fn show(&self, rule: &Rule, out: &mut Vec<u8>) {
        self.0.show(rule, out);
    }
}
