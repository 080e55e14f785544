//! The records of a file, one by one: what each says, without doing it.
//!
//! The loader puts them into the keyspace, the offline check only counts them; both read the same.

use super::{
    AUX, EOF, EXPIRE_MS, EXPIRE_S, FREQ, FUNCTION, FUNCTION_PRE_GA, IDLE, MODULE_AUX, RESIZE_DB,
    SELECT_DB, SLOT_IMPORT, SLOT_INFO,
};
use crate::codec::{Fault, Source, rdb};
use crate::state::libraries::{Library, Refusal, read_code};
use crate::types::Value;
use crate::types::dump::knows_version;
use crate::types::saved::{Loaded, Loading, kind_of};

/// "REDIS" and four digits, or "VALKEY" and three.
pub const MAGIC: usize = 9;

/// What a record says.
pub enum Record<'a> {
    /// A key, its value, and where it begins.
    Key {
        at: usize,
        key: &'a [u8],
        value: Loaded<'a>,
    },
    /// A key whose value belongs to a module, stepped over.
    ModuleKey { key: Vec<u8>, module: u64 },
    /// Which database the following keys belong to.
    Db(u64),
    /// How many keys the database has.
    Size { keys: u64 },
    /// The next key's deadline.
    Deadline(i64),
    /// Seconds since the next key was used.
    Idle(i64),
    /// How often the next key was used.
    Uses(u8),
    /// A fact about the file or its writer.
    Fact { name: Vec<u8>, value: Vec<u8> },
    /// A function library.
    Function(Library),
    /// Data of a module that belong to no key, stepped over.
    ModuleData(u64),
    /// How many keys a cluster's slot has.
    Slot,
    /// The end; a checksum may follow.
    End,
}

/// Lent to a record for a name and a value that do not lie in the file as they are.
#[derive(Default)]
pub struct Rooms {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Why a record cannot be read.
pub enum Problem {
    Fault(Fault),
    Other(String),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Problem::Fault(fault)
    }
}

impl<'r> Record<'r> {
    /// Reads the next record.
    #[inline]
    pub fn read<'a: 'r>(
        source: &mut Source<'a>,
        how: &Loading,
        rooms: &'r mut Rooms,
    ) -> Result<Record<'r>, Problem> {
        Ok(match source.byte()? {
            EOF => Record::End,
            SELECT_DB => Record::Db(source.len()?),
            RESIZE_DB => {
                let (keys, _) = (source.len()?, source.len()?);
                Record::Size { keys }
            }
            EXPIRE_MS => Record::Deadline(source.u64_le()?.cast_signed()),
            EXPIRE_S => Record::Deadline(i64::from(source.u32_le()?) * 1000),
            IDLE => Record::Idle(i64::try_from(source.len()?).unwrap_or(i64::MAX)),
            FREQ => Record::Uses(source.byte()?),
            AUX => {
                let (name, value) = (source.string()?, source.string()?);
                Record::Fact {
                    name: name.into_vec(),
                    value: value.into_vec(),
                }
            }
            opcode @ (FUNCTION | FUNCTION_PRE_GA) => {
                let code = read_code(opcode, source)?;
                Record::Function(Library::parse(code).map_err(library_failed)?)
            }
            MODULE_AUX => {
                let module = source.len()?;
                skip_module(source)?;
                Record::ModuleData(module)
            }
            SLOT_INFO => {
                _ = (source.len()?, source.len()?, source.len()?);
                Record::Slot
            }
            SLOT_IMPORT => {
                return Err(Problem::Other("slots that are being imported".to_owned()));
            }
            rdb::MODULE_2 => {
                let key = source.string()?.into_vec();
                let module = source.len()?;
                skip_module(source)?;
                Record::ModuleKey { key, module }
            }
            rdb::MODULE_PRE_GA => {
                let key = source.string()?.into_vec();
                return Err(Problem::Other(format!(
                    "the key '{}' is of the module type {}, as modules in development wrote it",
                    String::from_utf8_lossy(&key),
                    module_name(source.len()?)
                )));
            }
            rdb_type if rdb_type == rdb::STRING || kind_of(rdb_type).is_some() => {
                let at = source.position();
                let key = source.string_in(&mut rooms.key)?;
                let value = Value::load(rdb_type, source, how, &mut rooms.value)?;
                Record::Key { at, key, value }
            }
            unknown => {
                return Err(Problem::Other(format!(
                    "{unknown} is neither an opcode nor a type"
                )));
            }
        })
    }
}

/// A library that cannot be taken.
pub fn library_failed(Refusal(why): Refusal) -> Problem {
    let why = String::from_utf8_lossy(&why);
    Problem::Other(format!("Failed loading library, {why}"))
}

/// The version that the first bytes name.
pub fn version_of(magic: &[u8]) -> Result<u32, String> {
    let digits = magic
        .strip_prefix(b"REDIS")
        .or_else(|| magic.strip_prefix(b"VALKEY"))
        .ok_or("this is no RDB file")?;
    let version = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or("this is no RDB file")?;
    if !knows_version(version) {
        return Err(format!("RDB version {version} is not known"));
    }
    Ok(version)
}

/// Modules write their values as pieces that say what they are, up to an end mark.
fn skip_module(source: &mut Source<'_>) -> Result<(), Fault> {
    loop {
        match source.len()? {
            0 => return Ok(()),
            1 | 2 => _ = source.len()?,
            3 => source.skip(4)?,
            4 => source.skip(8)?,
            5 => _ = source.skip_string()?,
            _ => return Err(source.bad("a module's data of an unknown kind")),
        }
    }
}

/// The name in a module type's number: nine characters of six bits over ten bits of version.
pub fn module_name(number: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|at| char::from(LETTERS[(number >> (10 + 6 * at)) as usize & 63]))
        .collect()
}
