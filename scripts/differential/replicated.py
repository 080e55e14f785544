"""What replicas.py sends beside the commands of families/: what a primary has to tell its replicas in other words, or by itself.

Deadlines pass while a case runs, members and ids are chosen by the server, clients wait for each other, data go from one
database to another. Keys have the names that the other families use, so that all of them work on the same data."""
from families import FAMILIES, POOLS_OF
from families.dump import payload
from families.scriptlibs import library

TABLE = """
6 SET skey word [PX soon]
2 SET skey word (PX soon|EXAT past|PXAT past) [GET|NX|XX]
1 SET skey word (KEEPTTL|XX|NX) [GET]
3 GETEX skey (PX soon|PXAT past|EXAT past|EX 100|PERSIST)
2 (SETEX skey 100 word|PSETEX skey soon word)
5 PEXPIRE anykey soon [NX|XX|GT|LT]
3 (EXPIRE|PEXPIRE) anykey (0|'-1|100|100000) [NX|XX|GT|LT]
2 (EXPIREAT|PEXPIREAT) anykey past [NX|XX|GT|LT]
1 PERSIST anykey
4 (GET skey|TYPE anykey|EXISTS anykey anykey|TTL anykey|TOUCH anykey|STRLEN skey|DBSIZE|RANDOMKEY)
1~ (GET skey|TYPE anykey|SCAN 0)
3 (DEL|UNLINK|GETDEL) anykey
2 (INCRBYFLOAT skey tenth|INCR skey|APPEND skey word|SETRANGE skey few word|GETSET skey word)
2 (MSET|MSETNX) (skey word) (skey word)
4 SADD setkey (item item item) ...
5 SPOP setkey [few]
2 (SRANDMEMBER setkey few|SMOVE setkey setkey item|SREM setkey item)
1 (SUNIONSTORE|SINTERSTORE|SDIFFSTORE) setkey setkey setkey
4 ZADD zkey [NX|XX|GT|LT] [CH] (few item) (few item)
2 (ZADD zkey INCR tenth item|ZINCRBY zkey tenth item|ZREM zkey item)
4 (ZPOPMIN zkey [few]|ZPOPMAX zkey [few]|ZMPOP 2 zkey zkey (MIN|MAX) [COUNT few])
1 (ZRANGESTORE zkey zkey 0 few|ZUNIONSTORE zkey 2 zkey setkey|ZRANDMEMBER zkey few|ZREMRANGEBYRANK zkey 0 1)
4 (LPUSH|RPUSH) lkey (item item) ...
3 (LPOP lkey [few]|RPOP lkey [few]|LMPOP 2 lkey lkey (LEFT|RIGHT) [COUNT few]|LMOVE lkey lkey LEFT RIGHT|RPOPLPUSH lkey lkey)
1 (LTRIM lkey 0 few|LREM lkey few item|LINSERT lkey BEFORE item item|LSET lkey few item)
4 (BLPOP|BRPOP) lkey lkey wait
2 (BLMOVE lkey lkey (LEFT|RIGHT) (LEFT|RIGHT) wait|BRPOPLPUSH lkey lkey wait|BLMPOP wait 2 lkey lkey (LEFT|RIGHT) [COUNT few])
3 (BZPOPMIN|BZPOPMAX) zkey zkey wait
1 BZMPOP wait 2 zkey zkey (MIN|MAX) [COUNT few]
1 (XREAD BLOCK waitms STREAMS xkey $|XREAD BLOCK waitms STREAMS clockkey $)
5 XADD clockkey [NOMKSTREAM] [MAXLEN (~|=) few|MINID ~ '1-1] * 'f word
3 XADD xkey [MAXLEN (~|=) few [LIMIT few]|MINID (~|=) id] id 'f word
2 XGROUP CREATE streamkey group (0|$) [MKSTREAM] [ENTRIESREAD few]
1 (XGROUP SETID streamkey group (0|$|id)|XGROUP CREATECONSUMER streamkey group consumer|XGROUP DELCONSUMER streamkey group consumer)
6 XREADGROUP GROUP group consumer [COUNT few] [NOACK] STREAMS streamkey >
2 XREADGROUP GROUP group consumer [COUNT few] STREAMS streamkey streamkey > >
3 XREADGROUP GROUP group consumer BLOCK waitms [NOACK] STREAMS streamkey >
4 XAUTOCLAIM streamkey group consumer 0 0 [COUNT few] [JUSTID]
3 XCLAIM xkey group consumer 0 id id [FORCE] [JUSTID] [IDLE few|TIME past] [RETRYCOUNT few] [LASTID id]
2 (XACK xkey group id id|XDEL xkey id|XTRIM streamkey MAXLEN (~|=) few|XSETID streamkey '9999999999999-0)
3 HSET hkey (item word) ...
2 (HINCRBYFLOAT hkey item tenth|HINCRBY hkey item few|HDEL hkey item|HSETNX hkey item word|HRANDFIELD hkey few)
2 (SETBIT skey few 1|BITOP XOR skey skey skey|BITFIELD skey INCRBY 'u4 few 7|BITFIELD skey OVERFLOW FAIL INCRBY 'u2 0 3|BITFIELD skey SET 'i8 #2 few GET 'u4 0)
2 (PFADD pkey word item|PFCOUNT pkey [pkey]|PFMERGE pkey pkey)
1 GEOADD gkey (12.5 41.9 item) (13.4 52.5 item)
1 (GEORADIUS gkey 12 42 2000 'km (STORE|STOREDIST) zkey|GEOSEARCHSTORE zkey gkey FROMLONLAT 12 42 BYRADIUS 2000 'km)
2 (SORT lkey ALPHA STORE lkey|SORT setkey ALPHA DESC LIMIT 0 3 STORE lkey|SORT zkey BY 'nosort GET # STORE lkey)
2 (RENAME|RENAMENX) anykey anykey
3 COPY anykey anykey [DB db] [REPLACE]
3 MOVE anykey db
4 SELECT db
2 SWAPDB db db
1 (FLUSHDB|FLUSHALL) [SYNC|ASYNC]
1 RESTORE anykey (0|soon|100000) payload REPLACE
1 RESTORE anykey past payload REPLACE ABSTTL
3 EVAL script 2 anykey anykey word
1 (FCALL 'f 1 skey word|FUNCTION LOAD REPLACE library|FUNCTION DELETE 'one|FUNCTION FLUSH)
1 PUBLISH 'channel word
4= MULTI
6= EXEC
1= DISCARD
1 (WATCH anykey|UNWATCH|RESET)
"""
# Where every server of the chain is ours.
OURS = """
5 HSET hkey (item word) ...
4 (HPEXPIRE hkey soon|HEXPIRE hkey 100|HPEXPIRE hkey '0|HPEXPIREAT hkey past|HEXPIREAT hkey past) [NX|XX|GT|LT] FIELDS 2 item item
2 (HPERSIST|HTTL|HPEXPIRETIME) hkey FIELDS 2 item item
2 HGETEX hkey (PX soon|EX 100|PXAT past|PERSIST) FIELDS 2 item item
2 HSETEX hkey [FNX|FXX] (PX soon|EX 100|PXAT past|KEEPTTL) FIELDS 2 item word item word
2 HGETDEL hkey FIELDS 2 item item
1 (HGET hkey item|HGETALL hkey|HLEN hkey|COPY hkey hkey REPLACE|RENAME hkey hkey|HINCRBY hkey item 1)
"""
SCRIPTS = [
    "local d = redis.call('DUMP', KEYS[1]) if d then return redis.call('RESTORE', KEYS[2], '0', d, 'REPLACE') end",
    "local t = redis.call('TIME') return redis.call('HSET', 'h0', t[2], ARGV[1])",
    "return redis.call('SET', KEYS[1], tostring(math.random()))",
    "for i, m in ipairs(redis.pcall('SRANDMEMBER', 's3', 5)) do redis.call('SADD', 's4', m) end",
    "redis.call('SELECT', '2') return redis.call('SET', KEYS[1], ARGV[1])",
    "redis.call('SET', KEYS[1], ARGV[1]) redis.call('PEXPIRE', KEYS[1], 5) return redis.call('GET', KEYS[1])",
    "redis.call('INCR', 'n') redis.call('LPUSH', KEYS[1], ARGV[1]) return redis.call('RENAME', KEYS[1], KEYS[2])",
    "redis.call('DEL', KEYS[1]) error('in the middle')",
    "return redis.pcall('SPOP', KEYS[1]) or redis.pcall('LPOP', KEYS[1])",
    "redis.call('XADD', 'xs0', '*', 'f', ARGV[1]) return redis.call('XLEN', 'xs0')",
    "local a = redis.call('SWAPDB', '0', '1') redis.call('SET', KEYS[1], ARGV[1]) return a",
    "redis.call('FLUSHDB') return redis.call('SET', KEYS[1], ARGV[1], 'PX', '3')",
    "return redis.call('KEYS', '*')", "return redis.call('EXPIRE', KEYS[1], '-1')",
]


def names(*letters):
    return lambda m: b"%s%d" % (m.rng.choice(letters), m.rng.randrange(m.keys))


def chosen(*words):
    return lambda m: m.rng.choice(words)


POOLS = {
    "skey": names(b"s"), "setkey": names(b"t", b"u"), "zkey": names(b"z"), "lkey": names(b"l"), "hkey": names(b"h"), "pkey": names(b"p"),
    "gkey": names(b"g"), "xkey": names(b"x"), "clockkey": names(b"xs"), "streamkey": names(b"x", b"xs"),
    "anykey": names(b"s", b"s", b"t", b"z", b"l", b"h", b"x", b"xs"),
    "word": lambda m: b"%d" % m.rng.randrange(100) if m.rng.random() < 0.8 else b"w" * m.rng.choice([0, 10, 70, 5000 if m.big else 20]),
    "item": lambda m: b"i%d" % m.rng.randrange(m.rng.choice([3, 10, 200])), "few": lambda m: b"%d" % m.rng.choice([0, 1, 1, 2, 3, 7, 40]),
    "tenth": chosen(b"0.1", b"-1.5", b"3", b"1e10", b"0.333"), "db": chosen(b"0", b"1", b"2", b"3"),
    "soon": lambda m: b"%d" % m.rng.randrange(1, 25), "past": chosen(b"1", b"1000", b"1600000000"),
    "wait": chosen(b"0.001", b"0.01", b"0.03"), "waitms": chosen(b"1", b"10", b"30"),
    "id": lambda m: b"%d-%d" % (m.rng.randrange(1, 12), m.rng.randrange(2)),
    "group": chosen(b"g0", b"g0", b"g1"), "consumer": chosen(b"c0", b"c1", b"c2"),
    "script": lambda m: m.rng.choice(SCRIPTS).encode(), "payload": payload, "library": library,
}


def register(ours):
    """Makes the family known under a name of its own."""
    FAMILIES["replicated"] = (TABLE.strip() + (OURS if ours else ""), 3, 0)
    POOLS_OF["replicated"] = POOLS
