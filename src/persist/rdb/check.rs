//! Going through a file without loading it: every record is read as the loader would read it, looked at, and
//! dropped. Memory for one record at a time.
use std::borrow::Cow;
use std::io;

use super::record::{MAGIC, Problem, Record, Rooms, module_name};
use super::{
    AUX, CHECKSUM_VERSION_MIN, EOF, EXPIRE_MS, EXPIRE_S, FREQ, FUNCTION, FUNCTION_PRE_GA, IDLE,
    MODULE_AUX, RESIZE_DB, SELECT_DB, SLOT_IMPORT, SLOT_INFO,
};
use crate::base::crc64::Crc64;
use crate::codec::{Fault, Source, Why};
use crate::persist::groups;
use crate::persist::window::Window;
use crate::types::dump::knows_version;
use crate::types::saved::{Loading, name_of};

/// What is worth telling while a file is gone through.
pub enum Event<'a> {
    /// A fact about the file or its writer.
    Fact { name: &'a [u8], value: &'a [u8] },
    /// The following keys belong to this database.
    Db(u64),
    /// Data of a module that belong to no key.
    ModuleData(String),
    /// A part of the file was gone through.
    Progress,
}

/// How a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The version of the file has none.
    Absent,
    /// Its writer did not take one.
    Disabled,
    Right,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub keys: u64,
    /// Keys with a deadline.
    pub deadlines: u64,
    /// Keys whose deadline has passed.
    pub expired: u64,
    /// Collections without an element: a load leaves them out.
    pub empty: u64,
    /// Keys whose value belongs to a module: no load takes them.
    pub modules: u64,
    /// Function libraries.
    pub functions: u64,
    /// When the file was begun, in unix seconds, if it says so.
    pub created_s: Option<i64>,
}

/// Why a file would not be loaded.
#[derive(Debug)]
pub struct Failure {
    /// Offset in the file.
    pub at: u64,
    pub why: Cow<'static, str>,
    /// What was being done, by Redis's name for it.
    pub doing: &'static str,
    pub key: Option<Vec<u8>>,
    /// The number and the name of the type of the key's value.
    pub value_type: Option<(u8, &'static str)>,
}

impl Failure {
    fn plain(at: u64, doing: &'static str, why: impl Into<Cow<'static, str>>) -> Failure {
        Failure {
            at,
            why: why.into(),
            doing,
            key: None,
            value_type: None,
        }
    }
}

const EARLY_END: &str = "Unexpected EOF reading RDB file";

/// Goes through one file.
pub struct Check<'w, 'f> {
    window: &'w mut Window<'f>,
    how: Loading,
    crc: Crc64,
    /// Bytes of `window.rest()` that are gone through; the checksum takes them by large pieces.
    seen: usize,
    deadline: Option<i64>,
    pub tally: Tally,
}

impl<'w, 'f> Check<'w, 'f> {
    /// A check of what begins at the window's position. `how` tells what time it is.
    pub fn new(window: &'w mut Window<'f>, how: Loading) -> Check<'w, 'f> {
        Check {
            window,
            how,
            crc: Crc64::new(),
            seen: 0,
            deadline: None,
            tally: Tally::default(),
        }
    }

    /// Goes through it; the window stands behind its end then. `tell` gets the offset, too.
    pub fn run(
        &mut self,
        tell: &mut dyn FnMut(u64, Event<'_>),
    ) -> io::Result<Result<Checksum, Failure>> {
        let version = match self.begin()? {
            Ok(version) => version,
            Err(failure) => return Ok(Err(failure)),
        };
        self.how.version = version;
        let mut rooms = Rooms::default();
        loop {
            let rest = &self.window.rest()[self.seen..];
            let mut source = Source::new(rest);
            let here = self.window.position() + self.seen as u64;
            match Record::read(&mut source, &self.how, &mut rooms) {
                Ok(Record::End) => {
                    self.seen += source.position();
                    return self.end(version);
                }
                Ok(record) => {
                    let behind = here + source.position() as u64;
                    self.seen += source.position();
                    note(
                        &mut self.tally,
                        &mut self.deadline,
                        &self.how,
                        record,
                        &mut |event| {
                            tell(behind, event);
                        },
                    );
                }
                Err(Problem::Fault(Fault {
                    at,
                    why: Why::Short(missing),
                })) => {
                    let at = here + at as u64;
                    if self.more(missing)? == 0 {
                        let rest = self.window.rest();
                        return Ok(Err(diagnose(rest, at, EARLY_END.into())));
                    }
                    tell(self.window.position(), Event::Progress);
                }
                Err(Problem::Fault(Fault {
                    at,
                    why: Why::Bad(what),
                })) => return Ok(Err(diagnose(rest, here + at as u64, what.into()))),
                Err(Problem::Other(why)) => return Ok(Err(diagnose(rest, here, why.into()))),
            }
        }
    }

    /// The first bytes: the file's version.
    fn begin(&mut self) -> io::Result<Result<u32, Failure>> {
        let start = self.window.position();
        while self.window.rest().len() < MAGIC {
            if self.window.more(MAGIC)? == 0 {
                return Ok(Err(Failure::plain(start, "start", EARLY_END)));
            }
        }
        self.seen = MAGIC;
        let magic = &self.window.rest()[..MAGIC];
        let failed =
            |why: Cow<'static, str>| Err(Failure::plain(start + MAGIC as u64, "start", why));
        let Some(digits) = magic
            .strip_prefix(b"REDIS")
            .or_else(|| magic.strip_prefix(b"VALKEY"))
        else {
            return Ok(failed("Wrong signature trying to load DB from file".into()));
        };
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        let version = digits.parse().unwrap_or(0);
        Ok(if knows_version(version) {
            Ok(version)
        } else {
            failed(format!("Can't handle RDB format version {version}").into())
        })
    }

    /// More bytes, behind those that were gone through.
    fn more(&mut self, missing: usize) -> io::Result<usize> {
        self.crc.update(&self.window.rest()[..self.seen]);
        self.window.take(self.seen);
        self.seen = 0;
        self.window.more(missing)
    }

    /// Behind the last record: the checksum.
    fn end(&mut self, version: u32) -> io::Result<Result<Checksum, Failure>> {
        if version < CHECKSUM_VERSION_MIN {
            self.window.take(self.seen);
            return Ok(Ok(Checksum::Absent));
        }
        while self.window.rest().len() < self.seen + 8 {
            if self.more(8)? == 0 {
                let at = self.window.position() + self.seen as u64;
                return Ok(Err(Failure::plain(at, "check-sum", EARLY_END)));
            }
        }
        let (records, end) = self.window.rest().split_at(self.seen);
        self.crc.update(records);
        let expected = end
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        self.window.take(self.seen + 8);
        Ok(match expected {
            0 => Ok(Checksum::Disabled),
            sum if sum == self.crc.value() => Ok(Checksum::Right),
            _ => {
                let at = self.window.position();
                Err(Failure::plain(at, "check-sum", "RDB CRC error"))
            }
        })
    }
}

fn note(
    tally: &mut Tally,
    deadline: &mut Option<i64>,
    how: &Loading,
    record: Record<'_>,
    tell: &mut dyn FnMut(Event<'_>),
) {
    match record {
        Record::Key { value, .. } => {
            tally.key(deadline.take(), how.now_ms);
            tally.empty += u64::from(value.is_empty());
        }
        Record::ModuleKey { .. } => {
            tally.key(deadline.take(), how.now_ms);
            tally.modules += 1;
        }
        Record::Deadline(at) => *deadline = Some(at),
        Record::Db(db) => tell(Event::Db(db)),
        Record::Fact { name, value } => {
            if name == b"ctime" {
                tally.created_s = crate::base::num::parse_i64(&value);
            }
            tally.functions += u64::from(name == groups::LIBRARY.as_bytes());
            tell(Event::Fact {
                name: &name,
                value: &value,
            });
        }
        Record::Function(_) => tally.functions += 1,
        Record::ModuleData(module) => tell(Event::ModuleData(module_name(module))),
        Record::Size { .. } | Record::Idle(_) | Record::Uses(_) | Record::Slot | Record::End => {}
    }
}

impl Tally {
    fn key(&mut self, deadline: Option<i64>, now_ms: i64) {
        self.keys += 1;
        self.deadlines += u64::from(deadline.is_some());
        self.expired += u64::from(deadline.is_some_and(|at| at < now_ms));
    }
}

/// What was being read when the record that `rest` begins with failed.
fn diagnose(rest: &[u8], at: u64, why: Cow<'static, str>) -> Failure {
    let mut source = Source::new(rest);
    let doing = match source.byte().unwrap_or(EOF) {
        EXPIRE_MS | EXPIRE_S => "read-expire",
        SELECT_DB | RESIZE_DB | IDLE | FREQ | SLOT_INFO | SLOT_IMPORT => "read-len",
        AUX => "read-aux",
        FUNCTION | FUNCTION_PRE_GA => "read-functions",
        MODULE_AUX => "read-module-aux",
        EOF => "read-type",
        number => match name_of(number) {
            None => {
                let why = format!("Invalid object type: {number}");
                return Failure::plain(at + 1, "read-type", why);
            }
            Some(name) => {
                let key = source.string().ok().map(crate::codec::Text::into_vec);
                return Failure {
                    doing: if key.is_some() {
                        "read-object-value"
                    } else {
                        "read-key"
                    },
                    key,
                    value_type: Some((number, name)),
                    ..Failure::plain(at, "", why)
                };
            }
        },
    };
    Failure::plain(at, doing, why)
}
