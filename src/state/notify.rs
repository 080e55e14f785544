//! Keyspace events: what happened to a key, by name and class, and which classes are wanted.

use super::config::EventMask;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// One of `EventMask`'s class bits.
    pub class: u32,
    pub name: &'static str,
}

macro_rules! events {
    ($($const:ident = $class:ident $name:literal;)*) => {
        impl Event {
            $(#[doc = concat!("`", $name, "`")]
              pub const $const: Event = Event { class: EventMask::$class, name: $name };)*
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
