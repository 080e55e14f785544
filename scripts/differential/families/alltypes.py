"""What every key can do, over keys of every type: copies, new names, deadlines, looks behind, scans, transactions."""
from grammar import from_list

MAKE = """
3 RPUSH akey value ...
1 RPUSH akey (longvalue longvalue) ...
3 SADD akey (small|value) ...
3 SADD akey small ...
3 ZADD akey (small value) ...
3 HSET akey (field value) ...
3 XADD akey xat field small
3 SET akey value [EX sec]
1 SETBIT akey small 1
1 PFADD akey value ...
1 GEOADD akey small small value
"""
WORK = """
4 COPY akey akey [DB db] [REPLACE]
4 (RENAME|RENAMENX) akey akey
2 MOVE akey db
1 SWAPDB db db
2 SELECT db
4 (TYPE|TTL|PERSIST|EXPIRETIME) akey
3 EXPIRE akey sec [NX|XX|GT|LT]
1 PEXPIREAT akey atms
6 OBJECT (ENCODING|REFCOUNT|IDLETIME|FREQ) akey
4 (DEL|UNLINK|EXISTS|TOUCH) akey ...
3 SCAN cursor [MATCH pattern] [COUNT count] [TYPE anytype]
3 (LLEN|SCARD|ZCARD|HLEN|XLEN|STRLEN|GETBIT|BITCOUNT|PFCOUNT|GET) akey
2 (RPOP|LPOP) akey
2 SREM akey small ...
2 ZREM akey value ...
2 HDEL akey field ...
1 XTRIM akey MAXLEN small
1 (RPUSHX|APPEND|GETSET) akey value
1 (LRANGE akey 0 -1|ZRANGE akey 0 -1|XRANGE akey - +)
1 MEMORY USAGE akey [SAMPLES small]
1 DEBUG (LISTPACK|QUICKLIST) akey
1 (FLUSHDB|FLUSHALL|DBSIZE|RANDOMKEY)
"""
QUEUES = """
4 MULTI
6 EXEC
1 DISCARD
4 WATCH akey ...
1 UNWATCH
"""


def all_key(m):
    return b"a%d" % m.rng.randrange(m.keys)


POOLS = {
    "akey": all_key, "small": lambda m: b"%d" % m.rng.randrange(1, 80),
    "longvalue": lambda m: bytes([m.rng.choice(b"lmn")]) * m.rng.choice([100, 3000, 9000]),
    "xat": lambda m: b"%d-%d" % (m.rng.randrange(1, 400), m.rng.randrange(3)),
    "anytype": from_list(b"string", b"list", b"set", b"zset", b"hash", b"stream", b"ZSET", b"Stream", b"nosuch"),
}
FAMILIES = {"types": (MAKE.strip() + WORK, 1, 60), "queues": (MAKE.strip() + WORK.replace("1 DEBUG (LISTPACK|QUICKLIST) akey\n", "").rstrip() + QUEUES, 2, 60)}


def sorted_reply(values):
    return sorted(values) if isinstance(values, list) else values


def usage(a, b, _free):
    """How much is each server's own; whether there is something is not."""
    return a[:1] == b[:1] == b":"


VALUE_OF = {
    b"set": (lambda key: [b"SMEMBERS", key], sorted_reply),
    b"zset": (lambda key: [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], lambda value: value),
}
RULES = {b"MEMORY": usage}
# Small lists and sets are listpacks in 7.2.
ALIKE = (b"listpack", b"quicklist"), (b"listpack", b"hashtable")
TEXTS = [(b"OBJECT ENCODING", theirs, ours) for ours, theirs in ALIKE]
TEXTS += [(b"DEBUG", b"printed on stdout", b"-ERR Not a "), (b"DEBUG", b"-ERR Not a ", b"printed on stdout"),
          (b"DEBUG", b"-ERR DEBUG command not allowed", b"")]
