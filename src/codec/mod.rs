//! Floor 1: how lengths, strings and numbers are written in RDB files and DUMP payloads, and how requests
//! are written.
//!
//! ```text
//! length   00nnnnnn | 01nnnnnn nnnnnnnn | 80 u32 BE | 81 u64 BE
//! string   length bytes | C0 i8 | C1 i16 LE | C2 i32 LE | C3 packed-length length LZF
//! ```
//!
//! [`Sink`] writes, to memory or through a buffer to a file; [`Source`] reads, from bytes in memory;
//! [`Commands`] writes requests to a sink, for append only files that hold no values but commands. Which
//! value is made of what is its type's affair (`types`), how values make a file is `persist`'s.
//!
//! What is read is input, not trust: every length is held against the bytes that are there before
//! anything is reserved for it, and a fault says where it was found.
mod commands;
mod sink;
mod source;

pub use commands::{Commands, Items};
pub use sink::Sink;
pub use source::{Fault, Source, Text, Why, Written};

/// The numbers by which RDB files name what a value is and how it is laid out, and the opcodes that
/// stand in payloads, too.
pub mod rdb {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list, one string for each element.
    pub const LIST: u8 = 1;
    /// A set, one string for each member.
    pub const SET: u8 = 2;
    /// A sorted set with scores as text.
    pub const ZSET: u8 = 3;
    /// A hash, two strings for each field.
    pub const HASH: u8 = 4;
    /// A sorted set with binary scores.
    pub const ZSET_2: u8 = 5;
    /// A module's value as modules in development wrote it: never readable by others.
    pub const MODULE_PRE_GA: u8 = 6;
    /// A module's value.
    pub const MODULE_2: u8 = 7;
    /// A hash in a zipmap.
    pub const HASH_ZIPMAP: u8 = 9;
    /// A list in one ziplist.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set of integers.
    pub const SET_INTSET: u8 = 11;
    /// A sorted set in a ziplist.
    pub const ZSET_ZIPLIST: u8 = 12;
    /// A hash in a ziplist.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list of ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    /// A stream of Redis 5.
    pub const STREAM: u8 = 15;
    /// A hash in a listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set in a listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list of listpacks and of single large elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream of Redis 7.0.
    pub const STREAM_2: u8 = 19;
    /// A set in a listpack (7.2).
    pub const SET_LISTPACK: u8 = 20;
    /// A stream of Redis 7.2, whose consumers know when they were active.
    pub const STREAM_3: u8 = 21;
    /// A hash with field deadlines as Redis 7.4's release candidates wrote it. In files of Valkey (versions
    /// 80 and up) a hash with a deadline for each field.
    pub const HASH_22: u8 = 22;
    /// A packed hash with field deadlines as Redis 7.4's release candidates wrote it.
    pub const HASH_LISTPACK_EX_PRE_GA: u8 = 23;
    /// A hash with field deadlines (7.4).
    pub const HASH_METADATA: u8 = 24;
    /// A packed hash with field deadlines (7.4).
    pub const HASH_LISTPACK_EX: u8 = 25;
    /// The source of a function library.
    pub const FUNCTION: u8 = 245;
    /// A function library as the candidates of 7.0 wrote it: name, engine, description and source.
    pub const FUNCTION_PRE_GA: u8 = 246;
}

/// The first bits of a length that is not one: the string's encoding follows in the other six.
const ENCODED: u8 = 0xC0;
const INT_8: u8 = 0;
const INT_16: u8 = 1;
const INT_32: u8 = 2;
const LZF: u8 = 3;
const LEN_32: u8 = 0x80;
const LEN_64: u8 = 0x81;

/// Fuzz target: any bytes can be read as any primitive, and what was read comes back as it was written.
pub fn fuzz_codec(data: &[u8]) {
    let mut source = Source::new(data);
    loop {
        let before = source.position();
        let len = source.clone().len();
        if let Ok(len) = len {
            let mut sink = Sink::to_memory(false);
            sink.len(len);
            assert_eq!(Source::new(&sink.into_vec()).len(), Ok(len));
        }
        source.clone().f64_text().ok();
        source.clone().count(3).ok();
        let Ok(text) = source.string() else { break };
        assert!(source.position() > before && source.position() <= data.len());
        let bytes = text.bytes(&mut [0; 20]).to_vec();
        for compress in [false, true] {
            let mut sink = Sink::to_memory(compress);
            sink.string(&bytes);
            let written = sink.into_vec();
            assert!(written.len() <= bytes.len() + 9);
            let mut again = Source::new(&written);
            let text = again.string().expect("written a moment ago");
            assert_eq!(text.bytes(&mut [0; 20]), bytes);
            assert!(again.is_empty());
        }
    }
}
