//! What units of execution changed, as commands for the AOF and the replicas.
//!
//! Handlers only say where the log differs from the request (`replace`, `also`, `suppress`). By default it
//! gets the request's own bytes, copied as they came. The log is written in one place, when a command has
//! run; when its unit ends, more than one command is put between MULTI and EXEC.
use crate::base::num::fmt_i64;
use crate::resp::request::Argv;

/// The log of what units changed, encoded as requests; AOF and replicas are its readers.
#[derive(Debug, Default)]
pub struct Log {
    /// Requests not yet taken by the readers: they take all of it at the end of each turn.
    pub bytes: Vec<u8>,
    selected: Option<u32>,
    /// Where the commands of the running unit begin.
    unit_at: usize,
    /// How many they are.
    commands: usize,
    /// What a reader is told in front of everything else.
    pub preamble: Vec<u8>,
    /// Up to here the replicas have it.
    fed: usize,
    /// What not everybody gets, in the order of the log.
    parts: Vec<Part>,
    /// The first database that servers without groups do not have; 0: there are no groups.
    pub groups_from: u32,
}

/// Who reads the log.
pub mod reader {
    pub const AOF: u8 = 1 << 0;
    /// Replicas that know groups.
    pub const REPLICAS: u8 = 1 << 1;
    /// Replicas that know none.
    pub const PLAIN: u8 = 1 << 2;
    pub const ALL: u8 = AOF | REPLICAS | PLAIN;
}

/// Bytes of the log that are for these readers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    from: usize,
    to: usize,
    readers: u8,
}

/// Begins what only a server with groups understands: the argument of an ECHO, which a real one runs in vain.
const CARRIED: &[u8] = b"redvault:run ";
const TOLD_DATABASES: &[u8] = b"redvault:databases ";
/// Each begins with this.
pub const CARRIED_MARK: &[u8] = b"redvault:";

/// A request as the argument of an ECHO.
pub fn carried(argv: &[&[u8]]) -> Vec<u8> {
    let mut text = CARRIED.to_vec();
    push_request(&mut text, argv);
    text
}

/// The same for how many databases each group has where the log is written.
pub fn told_databases(count: usize) -> Vec<u8> {
    [TOLD_DATABASES, count.to_string().as_bytes()].concat()
}

/// What an ECHO in a log carries.
#[derive(Debug, PartialEq, Eq)]
pub enum Carried<'a> {
    /// A request's bytes.
    Request(&'a [u8]),
    /// How many databases each group has.
    Databases(&'a [u8]),
}

impl Carried<'_> {
    /// Reads the argument; `None` if it means nothing.
    pub fn read(text: &[u8]) -> Option<Carried<'_>> {
        if let Some(request) = text.strip_prefix(CARRIED) {
            return Some(Carried::Request(request));
        }
        let databases = text.strip_prefix(TOLD_DATABASES)?;
        Some(Carried::Databases(databases))
    }
}

/// Room that the log's buffer keeps when it is empty.
const KEPT: usize = 1 << 20;

impl Log {
    /// The readers have what was there.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.parts.clear();
        self.fed = 0;
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }

    /// Up to where it holds nothing of the unit that still runs.
    pub fn whole(&self) -> usize {
        match self.commands {
            0 => self.bytes.len(),
            _ => self.unit_at,
        }
    }

    /// The readers have what is whole; of the running unit they get all, or nothing.
    pub fn took_whole(&mut self) {
        let whole = self.whole();
        if whole == self.bytes.len() {
            return self.clear();
        }
        self.bytes.drain(..whole);
        self.unit_at = 0;
        self.fed = self.fed.saturating_sub(whole);
        self.parts.retain_mut(|part| {
            part.from = part.from.saturating_sub(whole);
            part.to = part.to.saturating_sub(whole);
            part.to > 0
        });
    }

    /// The running unit's commands so far are one for themselves: what follows begins another.
    pub fn cut_unit(&mut self) {
        if self.commands > 1 {
            self.wrap();
        }
        self.commands = 0;
    }

    /// Hands over what is whole and the replicas have not had yet, in pieces. A piece that replicas without
    /// groups must not see is told with `false`.
    #[inline]
    pub fn feed(&mut self, mut take: impl FnMut(&[u8], bool)) {
        let whole = self.whole();
        if self.fed >= whole {
            return;
        }
        let mut at = self.fed;
        for part in self.parts.iter().filter(|part| part.to > self.fed) {
            let (from, to) = (part.from.clamp(at, whole), part.to.min(whole));
            if at < from {
                take(&self.bytes[at..from], true);
            }
            if from < to && part.readers & (reader::REPLICAS | reader::PLAIN) != 0 {
                take(&self.bytes[from..to], part.readers & reader::PLAIN != 0);
            }
            at = at.max(to);
        }
        if at < whole {
            take(&self.bytes[at..whole], true);
        }
        self.fed = whole;
    }

    /// Bytes that the replicas have not had yet, those of the running unit included.
    pub fn unfed(&self) -> usize {
        self.bytes.len().saturating_sub(self.fed)
    }

    /// Is all of it for the append-only file?
    pub fn is_all_for_aof(&self) -> bool {
        self.parts
            .iter()
            .all(|part| part.readers & reader::AOF != 0)
    }

    /// Appends what is whole and for the append-only file.
    pub fn copy_for_aof(&self, out: &mut Vec<u8>) {
        let (mut at, whole) = (0, self.whole());
        let others = |part: &&Part| part.readers & reader::AOF == 0;
        for part in self.parts.iter().filter(others) {
            let from = part.from.min(whole);
            out.extend_from_slice(&self.bytes[at..from]);
            at = part.to.min(whole);
        }
        out.extend_from_slice(&self.bytes[at..whole]);
    }

    /// What lies behind `from` is for these readers only; adjoining pieces for the same ones are one.
    #[cold]
    fn mark(&mut self, from: usize, readers: u8) {
        let to = self.bytes.len();
        match self.parts.last_mut() {
            Some(last) if last.to == from && last.readers == readers => last.to = to,
            _ => self.parts.push(Part { from, to, readers }),
        }
    }

    /// Who may read what concerns this database.
    #[inline]
    fn readers_of(&self, db: u32) -> u8 {
        match self.groups_from {
            1.. if db >= self.groups_from => reader::AOF | reader::REPLICAS,
            _ => reader::ALL,
        }
    }

    /// Nobody reads any more: what is there is dropped, the running unit's commands too.
    pub fn abandon(&mut self) {
        self.clear();
        (self.unit_at, self.commands) = (0, 0);
    }

    /// The database that a reader of all of it stands in.
    pub fn selected(&self) -> Option<u32> {
        self.selected
    }

    /// A reader begins here, who does not know which database was selected.
    pub fn reselect(&mut self) {
        self.selected = None;
    }

    /// Something is to follow in this database; where it begins.
    #[inline]
    fn enter(&mut self, db: usize, commands: usize) -> usize {
        let db = db as u32;
        if self.selected != Some(db) {
            self.select(db);
        }
        if self.commands == 0 {
            // Behind that SELECT, as Redis does: readers of its log expect it there.
            self.unit_at = self.bytes.len();
        }
        self.commands += commands;
        self.bytes.len()
    }

    #[cold]
    fn select(&mut self, db: u32) {
        if self.selected.is_none() {
            self.bytes.extend_from_slice(&self.preamble);
        }
        let from = self.bytes.len();
        push_request(&mut self.bytes, &[b"SELECT", db.to_string().as_bytes()]);
        self.selected = Some(db);
        let readers = self.readers_of(db);
        if readers != reader::ALL {
            self.mark(from, readers);
        }
    }

    /// Several commands of one unit: nobody may see some of them without the others.
    #[cold]
    fn wrap(&mut self) {
        const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
        let at = self.unit_at;
        self.bytes.splice(at..at, MULTI.iter().copied());
        let end = self.bytes.len();
        self.shift_parts(at, MULTI.len());
        push_request(&mut self.bytes, &[b"EXEC"]);
        let frame = self.readers_behind(at + MULTI.len(), end);
        if frame != reader::ALL {
            // Who gets nothing of the unit gets its frame neither.
            let behind = self.parts.partition_point(|part| part.to <= at);
            let multi = Part {
                from: at,
                to: at + MULTI.len(),
                readers: frame,
            };
            self.parts.insert(behind, multi);
            self.mark(end, frame);
        }
    }

    /// Bytes were put in at `at`.
    fn shift_parts(&mut self, at: usize, by: usize) {
        let first = self.parts.partition_point(|part| part.to <= at);
        let Some(part) = self.parts.get_mut(first) else {
            return;
        };
        if part.from < at {
            let rest = Part { from: at, ..*part };
            part.to = at;
            self.parts.insert(first + 1, rest);
        }
        for part in self.parts.iter_mut().filter(|part| part.from >= at) {
            (part.from, part.to) = (part.from + by, part.to + by);
        }
    }

    /// Who gets anything of these bytes.
    fn readers_behind(&self, from: usize, to: usize) -> u8 {
        let (mut at, mut readers) = (from, 0);
        for part in self.parts.iter().filter(|part| part.from >= from) {
            if part.from > at {
                return reader::ALL;
            }
            readers |= part.readers;
            at = part.to;
        }
        if at < to { reader::ALL } else { readers }
    }
}

/// What the running handler chose.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// The request as it came, if it changed something.
    #[default]
    Request,
    /// What lies in `instead`.
    Instead,
    /// The request as it came, whatever it changed, for replicas.
    Replicas,
    Nothing,
}

/// Where commands are handed to.
#[derive(Debug)]
pub struct Propagation {
    /// Does anybody read the log? Without a reader nothing is copied.
    pub on: bool,
    /// For whom commands are logged (`redis.set_repl`): bits of [`reader`].
    pub readers: u8,
    /// Commands of the unit have nothing to do with each other (keys that expired): each is logged on
    /// its own.
    pub apart: bool,
    choice: Choice,
    /// Requests chosen by the handler, and how many they are.
    instead: Vec<u8>,
    instead_count: usize,
    /// What the readers get.
    pub log: Log,
}

impl Default for Propagation {
    fn default() -> Self {
        Propagation {
            on: false,
            readers: reader::ALL,
            apart: false,
            choice: Choice::default(),
            instead: Vec::new(),
            instead_count: 0,
            log: Log::default(),
        }
    }
}

impl Propagation {
    /// The request as it came, to replicas only, although it changed nothing (PUBLISH).
    pub fn to_replicas(&mut self) {
        self.reset_choice();
        self.choice = Choice::Replicas;
    }

    /// This instead of the request.
    pub fn replace(&mut self, argv: &[&[u8]]) {
        self.reset_choice();
        self.also(argv);
    }

    /// This too, behind what was chosen by `replace`.
    pub fn also(&mut self, argv: &[&[u8]]) {
        if !self.on {
            return;
        }
        self.choice = Choice::Instead;
        push_request(&mut self.instead, argv);
        self.instead_count += 1;
    }

    /// This instead of the request, for servers that know groups; others are not to notice.
    pub fn replace_carried(&mut self, argv: &[&[u8]]) {
        self.reset_choice();
        self.also_carried(argv);
    }

    /// The same behind what was chosen before.
    pub fn also_carried(&mut self, argv: &[&[u8]]) {
        if self.on {
            self.also(&[b"ECHO", &carried(argv)]);
        }
    }

    /// Says how many databases each group has, instead of the request.
    pub fn replace_databases(&mut self, count: usize) {
        self.replace(&[b"ECHO", &told_databases(count)]);
    }

    /// Nothing, whatever the request changed.
    pub fn suppress(&mut self) {
        self.reset_choice();
        self.choice = Choice::Nothing;
    }

    /// Did the handler choose anything?
    #[inline]
    pub fn touched(&self) -> bool {
        self.choice != Choice::Request
    }

    /// Forgets the handler's choice.
    #[inline]
    pub fn reset_choice(&mut self) {
        if self.choice != Choice::Request {
            self.choice = Choice::Request;
            self.instead.clear();
            self.instead_count = 0;
        }
    }

    /// Takes a command that ran into the log.
    #[inline]
    pub fn push(&mut self, db: usize, argv: Argv<'_>, changed: bool) {
        let mut readers = self.readers;
        let from = match self.choice {
            Choice::Request if changed => {
                let from = self.log.enter(db, 1);
                push_argv(&mut self.log.bytes, argv);
                from
            }
            Choice::Instead => {
                let from = self.log.enter(db, self.instead_count);
                self.log.bytes.extend_from_slice(&self.instead);
                from
            }
            Choice::Replicas => {
                readers &= !reader::AOF;
                let from = self.log.enter(db, 1);
                push_argv(&mut self.log.bytes, argv);
                from
            }
            Choice::Request | Choice::Nothing => return self.reset_choice(),
        };
        readers &= self.log.readers_of(db as u32);
        if readers != reader::ALL {
            self.log.mark(from, readers);
        }
        self.reset_choice();
    }

    /// Takes a command that no request asked for (an expiry's DEL).
    pub fn push_own(&mut self, db: usize, argv: &[&[u8]]) {
        if self.on {
            let from = self.log.enter(db, 1);
            push_request(&mut self.log.bytes, argv);
            let readers = self.readers & self.log.readers_of(db as u32);
            if readers != reader::ALL {
                self.log.mark(from, readers);
            }
        }
    }

    /// Has the running unit logged anything yet?
    pub fn has_unit(&self) -> bool {
        self.log.commands > 0
    }

    /// What the running unit has logged so far is taken back.
    pub fn drop_unit(&mut self) {
        if self.log.commands > 0 {
            let at = self.log.unit_at;
            self.log.bytes.truncate(at);
            self.log.parts.retain_mut(|part| {
                part.to = part.to.min(at);
                part.from < part.to
            });
            self.log.commands = 0;
        }
        self.reset_choice();
    }

    /// The unit has ended.
    #[inline]
    pub fn end_unit(&mut self) {
        if self.log.commands > 1 && !self.apart {
            self.log.wrap();
        }
        self.log.commands = 0;
        self.apart = false;
    }
}

/// Appends a request as a client would send it.
pub fn push_request(out: &mut Vec<u8>, argv: &[&[u8]]) {
    push_length(out, b'*', argv.len());
    for arg in argv {
        push_length(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// The same for a request that came in: as a rule in one piece.
#[inline]
pub fn push_argv(out: &mut Vec<u8>, argv: Argv<'_>) {
    push_length(out, b'*', argv.len());
    if let Some(wire) = argv.wire() {
        push_length(out, b'$', argv.get(0).len());
        out.extend_from_slice(wire);
        out.extend_from_slice(b"\r\n");
        return;
    }
    for arg in argv.iter() {
        push_length(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends a mark, a number and the end of the line.
#[inline]
fn push_length(out: &mut Vec<u8>, mark: u8, len: usize) {
    if len < 10 {
        out.extend_from_slice(&[mark, b'0' + len as u8, b'\r', b'\n']);
        return;
    }
    let mut room = [0; 20];
    let digits = fmt_i64(len as i64, &mut room);
    out.push(mark);
    out.extend_from_slice(digits);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::OwnedArgv;

    fn logged(prop: &mut Propagation) -> String {
        prop.end_unit();
        let text = String::from_utf8_lossy(&prop.log.bytes).into_owned();
        prop.log.clear();
        let words = text
            .split("\r\n")
            .filter(|w| !w.starts_with(['*', '$']) && !w.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_handler_chooses_what_is_logged() {
        let mut prop = Propagation {
            on: true,
            ..Default::default()
        };
        let argv: OwnedArgv = [&b"incrbyfloat"[..], b"k", b"1.5"].into_iter().collect();
        prop.push(0, argv.argv(), true);
        assert_eq!(logged(&mut prop), "SELECT 0 incrbyfloat k 1.5");
        prop.push(0, argv.argv(), false);
        assert_eq!(logged(&mut prop), "");
        prop.replace(&[b"DEL", b"wrong"]);
        prop.replace(&[b"SET", b"k", b"2.5"]);
        prop.push(0, argv.argv(), true);
        assert_eq!(logged(&mut prop), "SET k 2.5");
        prop.suppress();
        prop.push(0, argv.argv(), true);
        assert!(!prop.touched() && !prop.has_unit());
        assert_eq!(logged(&mut prop), "");
    }

    #[test]
    fn several_commands_are_one_transaction() {
        let mut prop = Propagation {
            on: true,
            ..Default::default()
        };
        prop.also(&[b"A", b"1"]);
        prop.also(&[b"B", b"2"]);
        prop.push(3, OwnedArgv::default().argv(), true);
        prop.push_own(4, &[b"C"]);
        assert_eq!(
            logged(&mut prop),
            "SELECT 3 MULTI A 1 B 2 SELECT 4 C EXEC",
            "the first SELECT stands in front"
        );
        prop.push_own(4, &[b"D"]);
        prop.push_own(4, &[b"E"]);
        prop.apart = true;
        assert_eq!(logged(&mut prop), "D E");
        prop.log.reselect();
        prop.push_own(4, &[b"F"]);
        assert_eq!(logged(&mut prop), "SELECT 4 F");
        prop.on = false;
        prop.push_own(4, &[b"G"]);
        prop.replace(&[b"H"]);
        assert!(!prop.touched());
        assert_eq!(logged(&mut prop), "");
    }

    fn text(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let words = text
            .split("\r\n")
            .filter(|w| !w.starts_with(['*', '$']) && !w.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }

    /// What the file, replicas, and replicas that know no groups get.
    fn read(prop: &mut Propagation) -> [String; 3] {
        let (mut aof, mut replicas, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        prop.log.copy_for_aof(&mut aof);
        prop.log.feed(|bytes, for_plain| {
            replicas.extend_from_slice(bytes);
            if for_plain {
                plain.extend_from_slice(bytes);
            }
        });
        prop.log.took_whole();
        [aof, replicas, plain].map(|bytes| text(&bytes))
    }

    #[test]
    fn each_reader_gets_its_own() {
        let mut prop = Propagation {
            on: true,
            ..Default::default()
        };
        prop.log.groups_from = 16;
        let publish: OwnedArgv = [&b"PUBLISH"[..], b"c", b"m"].into_iter().collect();
        prop.push_own(0, &[b"A"]);
        prop.end_unit();
        prop.to_replicas();
        prop.push(0, publish.argv(), false);
        prop.push_own(0, &[b"B"]);
        prop.end_unit();
        let all = "SELECT 0 A MULTI PUBLISH c m B EXEC";
        assert!(!prop.log.is_all_for_aof());
        assert_eq!(read(&mut prop), ["SELECT 0 A MULTI B EXEC", all, all]);
        // Two of another group, and a message of it.
        prop.push_own(20, &[b"C"]);
        prop.to_replicas();
        prop.push(20, publish.argv(), false);
        assert_eq!(read(&mut prop)[1], "SELECT 20", "the rest is not whole");
        prop.end_unit();
        assert_eq!(
            read(&mut prop),
            ["MULTI C EXEC", "MULTI C PUBLISH c m EXEC", ""]
        );
        prop.push_own(20, &[b"D"]);
        prop.push_own(20, &[b"E"]);
        prop.end_unit();
        prop.push_own(1, &[b"F"]);
        prop.end_unit();
        assert_eq!(
            read(&mut prop),
            [
                "MULTI D E EXEC SELECT 1 F",
                "MULTI D E EXEC SELECT 1 F",
                "SELECT 1 F"
            ]
        );
        // A script's choice.
        prop.readers = reader::AOF;
        prop.push_own(1, &[b"G"]);
        prop.readers = reader::ALL;
        prop.push_own(1, &[b"H"]);
        prop.end_unit();
        assert_eq!(
            read(&mut prop),
            ["MULTI G H EXEC", "MULTI H EXEC", "MULTI H EXEC"]
        );
        assert!(prop.log.bytes.is_empty() && prop.log.is_all_for_aof());
    }
}
