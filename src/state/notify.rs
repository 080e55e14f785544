//! Keyspace events: what happened to a key, by name and class, and which classes are wanted.

/// Class bits, one for each letter of `notify-keyspace-events`.
pub mod class {
    /// K: publish to `__keyspace@db__:key`.
    pub const KEYSPACE: u32 = 1 << 0;
    /// E: publish to `__keyevent@db__:event`.
    pub const KEYEVENT: u32 = 1 << 1;
    pub const GENERIC: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const LIST: u32 = 1 << 4;
    pub const SET: u32 = 1 << 5;
    pub const HASH: u32 = 1 << 6;
    pub const ZSET: u32 = 1 << 7;
    pub const EXPIRED: u32 = 1 << 8;
    pub const EVICTED: u32 = 1 << 9;
    pub const STREAM: u32 = 1 << 10;
    /// m: not part of A.
    pub const KEY_MISS: u32 = 1 << 11;
    pub const MODULE: u32 = 1 << 13;
    /// n: not part of A.
    pub const NEW: u32 = 1 << 14;
    /// A.
    pub const ALL: u32 =
        GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub class: u32,
    pub name: &'static str,
}

macro_rules! events {
    ($($const:ident = $class:ident $name:literal;)*) => {
        impl Event {
            $(#[doc = concat!("`", $name, "`")]
              pub const $const: Event = Event { class: class::$class, name: $name };)*
        }
    };
}

events! {
    DEL = GENERIC "del";
    EXPIRE = GENERIC "expire";
    PERSIST = GENERIC "persist";
    RENAME_FROM = GENERIC "rename_from";
    RENAME_TO = GENERIC "rename_to";
    COPY_TO = GENERIC "copy_to";
    MOVE_FROM = GENERIC "move_from";
    MOVE_TO = GENERIC "move_to";
    RESTORE = GENERIC "restore";
    EXPIRED = EXPIRED "expired";
    EVICTED = EVICTED "evicted";
    KEY_MISS = KEY_MISS "keymiss";
    NEW = NEW "new";
    SET = STRING "set";
    SETRANGE = STRING "setrange";
    INCRBY = STRING "incrby";
    INCRBYFLOAT = STRING "incrbyfloat";
    APPEND = STRING "append";
    SETBIT = STRING "setbit";
    HSET = HASH "hset";
    HDEL = HASH "hdel";
    HINCRBY = HASH "hincrby";
    HINCRBYFLOAT = HASH "hincrbyfloat";
}
