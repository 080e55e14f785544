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
    PFADD = STRING "pfadd";
    HSET = HASH "hset";
    HDEL = HASH "hdel";
    HINCRBY = HASH "hincrby";
    HINCRBYFLOAT = HASH "hincrbyfloat";
    HEXPIRE = HASH "hexpire";
    HEXPIRED = HASH "hexpired";
    HPERSIST = HASH "hpersist";
    LPUSH = LIST "lpush";
    RPUSH = LIST "rpush";
    LPOP = LIST "lpop";
    RPOP = LIST "rpop";
    LINSERT = LIST "linsert";
    LSET = LIST "lset";
    LREM = LIST "lrem";
    LTRIM = LIST "ltrim";
    SORTSTORE = LIST "sortstore";
    SADD = SET "sadd";
    SREM = SET "srem";
    SPOP = SET "spop";
    SINTERSTORE = SET "sinterstore";
    SUNIONSTORE = SET "sunionstore";
    SDIFFSTORE = SET "sdiffstore";
    ZADD = ZSET "zadd";
    ZINCR = ZSET "zincr";
    ZREM = ZSET "zrem";
    ZREMRANGEBYRANK = ZSET "zremrangebyrank";
    ZREMRANGEBYSCORE = ZSET "zremrangebyscore";
    ZREMRANGEBYLEX = ZSET "zremrangebylex";
    ZPOPMIN = ZSET "zpopmin";
    ZPOPMAX = ZSET "zpopmax";
    ZRANGESTORE = ZSET "zrangestore";
    ZUNIONSTORE = ZSET "zunionstore";
    ZINTERSTORE = ZSET "zinterstore";
    ZDIFFSTORE = ZSET "zdiffstore";
    GEOSEARCHSTORE = ZSET "geosearchstore";
    GEORADIUSSTORE = ZSET "georadiusstore";
    XADD = STREAM "xadd";
    XDEL = STREAM "xdel";
    XTRIM = STREAM "xtrim";
    XSETID = STREAM "xsetid";
    XGROUP_CREATE = STREAM "xgroup-create";
    XGROUP_CREATECONSUMER = STREAM "xgroup-createconsumer";
    XGROUP_DELCONSUMER = STREAM "xgroup-delconsumer";
    XGROUP_DESTROY = STREAM "xgroup-destroy";
    XGROUP_SETID = STREAM "xgroup-setid";
}
