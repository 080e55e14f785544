//! What saving and loading of all types have in common: what a load is told, and the judging of packed
//! bytes that came from outside.
//!
//! A type says how it is saved and loaded in the last items of [`Collection`](super::Collection), in a file
//! of its own (`hash/saved.rs` is the model):
//! - `RDB_TYPES`: every number of [`codec::rdb`](rdb) that any Redis ever wrote for it.
//! - `rdb_type` and `save`: the lowest of them that holds the value, so that old servers read it. The type
//!   number, the key and the deadline are the caller's affair.
//! - `load`: builds the value in the encoding that the limits in force ask for.
//!
//! Loading trusts nothing, because RESTORE is open to the network, and it does not depend on
//! `sanitize-dump-payload`: whatever is accepted is a value that its type could have made itself. So for
//! every payload
//! - each length is held against the bytes that are left ([`Source`] does that) before memory is reserved;
//! - packed bytes are walked element by element, which costs less than what follows them on the way into
//!   the keyspace ([`listpack`], [`ziplist`]); the bytes of an intset are looked at for their order;
//! - an element twice in a hash, set or sorted set is refused ([`distinct`]), a score that is no number, too;
//! - an order that Redis keeps (scores in packs) is restored where it is broken.
//!
//! An empty collection is returned as such: RESTORE refuses it, a file is loaded without it.
//!
//! `rewrite`, the last of them, says a value in commands, for append only files that are to hold nothing
//! else: those that Redis 7.0 would write and every server understands that has the type. Only the
//! deadlines of fields ask for a newer one.

use crate::base::hash::{HashKey, siphash13};
use crate::codec::{Commands, Fault, Sink, Source, Why, Written, rdb};
use crate::ds::listpack::{HEADER, Pack, Val};
use crate::ds::ziplist;

use super::string::StrRef;
use super::{Kind, Value, hash, list, set, zset};

/// A type number that the type's `load` does not know: it is not in its `RDB_TYPES`.
pub const UNKNOWN: &str = "a value of an unknown type";

/// What a load is told.
#[derive(Clone, Debug)]
pub struct Loading {
    /// The RDB version that the file or payload names: some type numbers mean different things in different
    /// ones.
    pub version: u32,
    /// Now, in unix milliseconds: for deadlines inside values.
    pub now_ms: i64,
    /// With what tables hash.
    pub hash_key: HashKey,
    /// The limits of hashes.
    pub hash: hash::Limits,
    /// The limits of lists.
    pub list: list::Limits,
    /// The limits of sets.
    pub set: set::Limits,
    /// The limits of sorted sets.
    pub zset: zset::Limits,
}

impl Loading {
    /// The defaults of the configuration, for tests.
    #[doc(hidden)]
    pub fn for_tests() -> Loading {
        let hash_key = HashKey::default();
        Loading {
            version: 10,
            now_ms: 1_700_000_000_000,
            hash_key,
            hash: hash::Limits {
                entries: 512,
                value: 64,
                hash_key,
            },
            list: list::Limits {
                fill: list::Fill::new(-2),
                depth: 0,
                huge: 1 << 30,
            },
            set: set::Limits {
                ints: 512,
                entries: 128,
                value: 64,
                hash_key,
            },
            zset: zset::Limits {
                entries: 128,
                value: 64,
                hash_key,
            },
        }
    }
}

/// A loaded value. A small string is not copied twice.
pub enum Loaded<'a> {
    /// A string that is an integer.
    Int(i64),
    /// A string, as it lies in the source or in the room lent.
    Bytes(&'a [u8]),
    /// Any other value.
    Value(Value),
}

impl Loaded<'_> {
    /// True for a collection without members.
    pub fn is_empty(&self) -> bool {
        matches!(self, Loaded::Value(value) if value.is_empty())
    }
}

/// The RDB version that a server must know to read this type or record; 10 is Redis 7.0's, and the least we write.
pub fn version_of(rdb_type: u8) -> u32 {
    match rdb_type {
        ..=rdb::STREAM_2 | rdb::FUNCTION => 10,
        rdb::SET_LISTPACK | rdb::STREAM_3 => 11,
        _ => 12,
    }
}

/// The kind of value that an RDB type number stands for; `None` for modules and unknown ones.
pub fn kind_of(rdb_type: u8) -> Option<Kind> {
    Some(match rdb_type {
        rdb::STRING => Kind::String,
        rdb::LIST | rdb::LIST_ZIPLIST | rdb::LIST_QUICKLIST | rdb::LIST_QUICKLIST_2 => Kind::List,
        rdb::SET | rdb::SET_INTSET | rdb::SET_LISTPACK => Kind::Set,
        rdb::ZSET | rdb::ZSET_2 | rdb::ZSET_ZIPLIST | rdb::ZSET_LISTPACK => Kind::Zset,
        rdb::HASH | rdb::HASH_ZIPMAP | rdb::HASH_ZIPLIST | rdb::HASH_LISTPACK => Kind::Hash,
        rdb::HASH_22..=rdb::HASH_LISTPACK_EX => Kind::Hash,
        rdb::STREAM | rdb::STREAM_2 | rdb::STREAM_3 => Kind::Stream,
        _ => return None,
    })
}

/// What Redis's tools call an RDB type number; `None` for what is no type of a value.
pub fn name_of(rdb_type: u8) -> Option<&'static str> {
    Some(match rdb_type {
        rdb::STRING => "string",
        rdb::LIST => "list-linked",
        rdb::SET => "set-hashtable",
        rdb::ZSET => "zset-v1",
        rdb::HASH => "hash-hashtable",
        rdb::ZSET_2 => "zset-v2",
        rdb::MODULE_PRE_GA => "module-pre-release",
        rdb::MODULE_2 => "module-value",
        rdb::HASH_ZIPMAP => "hash-zipmap",
        rdb::LIST_ZIPLIST => "list-ziplist",
        rdb::SET_INTSET => "set-intset",
        rdb::ZSET_ZIPLIST => "zset-ziplist",
        rdb::HASH_ZIPLIST => "hash-ziplist",
        rdb::LIST_QUICKLIST => "quicklist",
        rdb::STREAM => "stream",
        rdb::HASH_LISTPACK => "hash-listpack",
        rdb::ZSET_LISTPACK => "zset-listpack",
        rdb::LIST_QUICKLIST_2 => "quicklist-v2",
        rdb::STREAM_2 => "stream-v2",
        rdb::SET_LISTPACK => "set-listpack",
        rdb::STREAM_3 => "stream-v3",
        rdb::HASH_22 => "hash-hashtable-md-pre-release",
        rdb::HASH_LISTPACK_EX_PRE_GA => "hash-listpack-md-pre-release",
        rdb::HASH_METADATA => "hash-hashtable-md",
        rdb::HASH_LISTPACK_EX => "hash-listpack-md",
        _ => return None,
    })
}

/// What Redis puts into its log about packed bytes that are broken: tools look for it. `None` where what is
/// wrong is no packed bytes.
pub fn complaint(rdb_type: u8, fault: &Fault) -> Option<String> {
    let Why::Bad(what) = fault.why else {
        return None;
    };
    let packed = match rdb_type {
        rdb::HASH_ZIPMAP => "Zipmap",
        rdb::HASH_ZIPLIST => "Hash ziplist",
        rdb::HASH_LISTPACK => "Hash listpack",
        rdb::ZSET_ZIPLIST => "Zset ziplist",
        rdb::ZSET_LISTPACK => "Zset listpack",
        rdb::SET_LISTPACK => "Set listpack",
        rdb::SET_INTSET => "Intset",
        rdb::LIST_ZIPLIST => "List ziplist",
        rdb::LIST_QUICKLIST => "Ziplist",
        rdb::LIST_QUICKLIST_2 => "Listpack",
        rdb::STREAM | rdb::STREAM_2 | rdb::STREAM_3 => "Stream listpack",
        _ => return None,
    };
    Some(format!("{packed} integrity check failed: {what}"))
}

/// For how many of the `count` elements that follow memory may be reserved beforehand: as many as the rest of
/// the source would hold if they were of usual size. More of them are tiny; what they need comes by growing.
pub fn expected(count: usize, source: &Source<'_>) -> usize {
    const USUAL: usize = 8;
    count.min(source.left() / USUAL)
}

/// Reads a string whose bytes are a listpack, and judges every element of it.
pub fn listpack(source: &mut Source<'_>) -> Result<Vec<u8>, Fault> {
    let pack = source.string()?.into_vec();
    match Pack::new(&pack).validate(true) {
        Ok(()) => Ok(pack),
        Err(_) => Err(source.bad("a broken listpack")),
    }
}

/// Reads a string whose bytes are a ziplist, and gives its elements as a listpack.
pub fn ziplist(source: &mut Source<'_>) -> Result<Vec<u8>, Fault> {
    let text = source.string()?;
    let mut room = [0; 20];
    ziplist::to_listpack(text.bytes(&mut room)).ok_or_else(|| source.bad("a broken ziplist"))
}

/// Is every text different from all others, of the elements number 0, `step`, twice `step` and so on?
pub fn distinct(pack: Pack<'_>, step: usize, hash_key: &HashKey) -> bool {
    /// Up to so many are compared each with each: faster than hashing them.
    const COMPARED_MAX: usize = 8;
    let count = pack.len() / step;
    let mut room = [0; 20];
    if count <= COMPARED_MAX {
        let mut at = pack.first();
        while let Some(here) = at {
            at = (0..step).try_fold(here, |at, _| pack.next(at));
            let Some(val) = pack.val(here) else { break };
            if at.is_some_and(|rest| pack.find(rest, val.text(&mut room), step - 1).is_some()) {
                return false;
            }
        }
        return true;
    }
    let mut seen: Vec<(u64, u32)> = Vec::with_capacity(count);
    let mut iter = pack.iter_from(HEADER);
    loop {
        let at = iter.position();
        let Some(val) = iter.next() else { break };
        seen.push((siphash13(hash_key, val.text(&mut room)), at as u32));
        if step > 1 && iter.nth(step - 2).is_none() {
            break;
        }
    }
    seen.sort_unstable();
    let text = |at: u32| pack.val(at as usize).map(|val| val.to_vec());
    // Equal hashes of different texts do not happen by chance, but nothing rests on that.
    seen.chunk_by(|a, b| a.0 == b.0).all(|same| {
        same.len() == 1 || {
            let mut texts: Vec<_> = same.iter().map(|(_, at)| text(*at)).collect();
            texts.sort_unstable();
            texts.windows(2).all(|pair| pair[0] != pair[1])
        }
    })
}

/// Saves a string value.
pub(super) fn save_string(string: StrRef<'_>, sink: &mut Sink<'_>) {
    match string {
        StrRef::Int(int) => sink.int_string(int),
        StrRef::Inline { bytes, .. } => sink.string(bytes),
        StrRef::Big(big) => sink.string(big.as_slice()),
    }
}

/// Reads a string value: a small one that is compressed into `room`.
#[inline]
pub(super) fn load_string<'a: 'r, 'r>(
    source: &mut Source<'a>,
    room: &'r mut Vec<u8>,
) -> Result<Loaded<'r>, Fault> {
    /// Longer texts are worth an allocation of their own, which becomes the value's.
    const ROOM_MAX: usize = 4096;
    Ok(match source.written()? {
        Written::Plain(bytes) => match crate::base::num::parse_i64(bytes) {
            Some(int) => Loaded::Int(int),
            None => Loaded::Bytes(bytes),
        },
        Written::Int(int) => Loaded::Int(i64::from(int)),
        Written::Packed { bytes, len } if len <= ROOM_MAX => {
            room.clear();
            source.unpack(bytes, len, room)?;
            Loaded::Bytes(room)
        }
        Written::Packed { bytes, len } => {
            let mut text = Vec::new();
            source.unpack(bytes, len, &mut text)?;
            Loaded::Value(Value::Str(text.into()))
        }
    })
}

/// Writes the command that makes a string, and gives it its deadline.
pub(super) fn rewrite_string(
    string: StrRef<'_>,
    key: &[u8],
    expire_at: Option<i64>,
    out: &mut Commands<'_, '_>,
) {
    out.command("SET", if expire_at.is_some() { 4 } else { 2 });
    out.bulk(key);
    out.bulk(string.bytes(&mut [0; 20]));
    if let Some(at_ms) = expire_at {
        out.bulk(b"PXAT");
        out.int(at_ms);
    }
}

/// Writes the command that gives a key its deadline.
pub(super) fn rewrite_deadline(key: &[u8], at_ms: i64, out: &mut Commands<'_, '_>) {
    out.command("PEXPIREAT", 2);
    out.bulk(key);
    out.int(at_ms);
}

/// An element as an argument.
#[inline]
pub(super) fn argument(val: Val<'_>, out: &mut Commands<'_, '_>) {
    match val {
        Val::Str(text) => out.bulk(text),
        Val::Int(int) => out.int(int),
    }
}
