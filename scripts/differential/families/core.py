"""The families that need no type but strings and hashes: tables in the language of grammar.py."""

STRINGS = """
6 SET skey value [NX|XX] [GET] [EX sec|PX msec|EXAT at|PXAT atms|KEEPTTL]
4 SET skey value
3 GET skey
GETSET skey value
GETDEL skey
3 GETEX skey [EX sec|PX msec|EXAT at|PXAT atms|PERSIST]
SETNX skey value
1 SETEX skey sec value
1 PSETEX skey msec value
3 MGET skey ...
(MSET|MSETNX) (skey value) ...
(INCR|DECR) skey
4 (INCRBY|DECRBY) skey int
4 INCRBYFLOAT skey float
4 APPEND skey value
STRLEN skey
4 SETRANGE skey offset value
3 (GETRANGE|SUBSTR) skey index index
1 LCS skey skey [LEN] [IDX] [MINMATCHLEN int] [WITHMATCHLEN]
1 (PTTL|TYPE|DEL) skey
2 OBJECT ENCODING skey
1 HSET hkey field value
"""

KEYS = """
6 SET key value [EX sec|PX msec]
3 HSET hkey (field value) ...
2 MSET (key value) ...
1 INCRBY key int
1 APPEND key value
2 (DEL|UNLINK|EXISTS|TOUCH) key ...
(TYPE|PERSIST) key
4 (TTL|PTTL|EXPIRETIME|PEXPIRETIME) key
3 EXPIRE key sec [NX] [XX] [GT] [LT]
3 PEXPIRE key msec [NX] [XX] [GT] [LT]
3 EXPIREAT key at [NX] [XX] [GT] [LT]
3 PEXPIREAT key atms [NX] [XX] [GT] [LT]
1~ PEXPIRE key 1 [GT|LT|NX|XX]
1~ SET key value PX 1
4 (RENAME|RENAMENX) key key
4 COPY key key [DB db] [REPLACE]
3 MOVE key db
2 SELECT db
1 SWAPDB db db
3 OBJECT (ENCODING|REFCOUNT|IDLETIME|FREQ) key
1 OBJECT (HELP|NOSUCH) [key]
1 (GET|STRLEN|HLEN|HGETALL) key
1 KEYS pattern
3 SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]
1 RANDOMKEY
1 (FLUSHDB|FLUSHALL) [ASYNC|SYNC]
"""

HASHES = """
5 (HSET|HMSET) hkey (field value) ...
3 HSET hkey (manyfield value) ... ...
HSETNX hkey field value
3 HGET hkey field
2 HMGET hkey field ...
3 HDEL hkey field ...
(HLEN|HKEYS|HVALS|HGETALL) hkey
1 (HSTRLEN|HEXISTS) hkey field
4 HINCRBY hkey field int
4 HINCRBYFLOAT hkey field float
3 HRANDFIELD hkey [draws [WITHVALUES]]
3 HSCAN hkey cursor [MATCH pattern] [COUNT count]
2 OBJECT ENCODING hkey
1 SET hkey value
1 DEL hkey
1 PEXPIRE hkey msec
1 COPY hkey hkey [REPLACE]
1 RENAME hkey hkey
"""

TRANSACTIONS = """
6 MULTI
8 EXEC
1 DISCARD
5 WATCH key ...
1 UNWATCH
4 SET key value [NX|XX] [GET] [EX sec|KEEPTTL]
3 GET key
2 INCR key
1 INCRBYFLOAT key float
2 HSET hkey field value
1 HINCRBY hkey field int
2 DEL key
1 RENAME key key
1 (EXPIRE key sec|PEXPIREAT key atms|PERSIST key)
1 MSET (key value) ...
1 (TTL|TYPE|HGETALL) key
1 SELECT db
1 SWAPDB db db
1 MOVE key db
1 COPY key key [DB db] [REPLACE]
1 (FLUSHDB|FLUSHALL|DBSIZE|PING|RESET|SCAN 0)
1 (OBJECT ENCODING key|CLIENT GETNAME|CONFIG GET 'maxmemory|COMMAND COUNT)
1 HELLO ('2|'3)
"""

CONNECTION = """
3 PING [value]
2 ECHO value
2 HELLO ('2|'3|'3|'2|'4|value)
1= HELLO ('2|'3) SETNAME name
1= HELLO ('2|'3) AUTH ('default|name) value
1 HELLO
3 CLIENT SETNAME name
4 CLIENT GETNAME
4 CLIENT REPLY (ON|OFF|SKIP|name)
1 CLIENT NO-EVICT (ON|OFF|name)
1 CLIENT (ID|GETREDIR|HELP|NOSUCH|UNPAUSE) [name]
1 CLIENT KILL (name|ID int|TYPE name|SKIPME name|ADDR name|LADDR name USER name)
1 CLIENT UNBLOCK int [TIMEOUT|ERROR|name]
1= CLIENT LIST (ID name|TYPE name|name)
1= CLIENT PAUSE ('-1|name) [WRITE|ALL|name]
3 SELECT db
1 AUTH value [value]
1 RESET
1 QUIT [value]
3 SET skey value
3 GET skey
1 (EXEC|DISCARD)
5 inline
2 protocol
"""

CONFIG = """
8 CONFIG SET (directive setting) ...
8 CONFIG GET directive ...
1= CONFIG SET ('maxmemory|'maxmemory-clients) vast
1 CONFIG SET 'notify-keyspace-events letters
2 CONFIG GET ('notify-keyspace-events|'save|'maxm*|'hash-max-*|pattern)
1 CONFIG (RESETSTAT|HELP|NOSUCH|GET|SET) [value]
1 CONFIG SET ('databases|'daemonize|'tcp-backlog|'supervised|'nosuch|'io-threads) setting
1 CONFIG REWRITE
3 HSET hkey manyfield value
1 OBJECT ENCODING hkey
"""

COMMAND = """
6 COMMAND GETKEYS known (key|int|word|value) ... ...
4 COMMAND GETKEYSANDFLAGS known (key|int|word) ... ...
4 COMMAND (GETKEYS|GETKEYSANDFLAGS) (SET key value [GET]|MSET (key value) ...|DEL key ...|RENAME key key|COPY key key [DB db]|LCS key key|GETEX key EX sec)
6 COMMAND INFO (known|subcommand|word|name) ...
1 COMMAND LIST FILTERBY (PATTERN name|ACLCAT name|MODULE name|name)
1 COMMAND (COUNT|NOSUCH|GETKEYS|GETKEYSANDFLAGS|INFO name|LIST name) [key]
"""

# name: (table, connections, commands in a case)
FAMILIES = {
    "strings": (STRINGS, 1, 60),
    "keys": (KEYS, 1, 60),
    "hashes": (HASHES, 1, 60),
    "transactions": (TRANSACTIONS, 2, 60),
    "connection": (CONNECTION, 2, 40),
    "config": (CONFIG, 1, 40),
    "command": (COMMAND, 1, 60),
}

COMMANDS = """APPEND DECR DECRBY GET GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT LCS MGET MSET MSETNX PSETEX SET
SETEX SETNX SETRANGE STRLEN SUBSTR HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HRANDFIELD HSCAN
HSET HSETNX HSTRLEN HVALS COPY DEL EXISTS EXPIRE EXPIREAT EXPIRETIME KEYS MOVE OBJECT PERSIST PEXPIRE PEXPIREAT PEXPIRETIME
PTTL RANDOMKEY RENAME RENAMENX SCAN TOUCH TTL TYPE UNLINK DISCARD EXEC MULTI UNWATCH WATCH ECHO HELLO PING QUIT RESET SELECT
DBSIZE FLUSHALL FLUSHDB SWAPDB TIME LASTSAVE LOLWUT INFO SLOWLOG DEBUG""".split()
SUBCOMMANDS = """config|get config|set config|rewrite config|resetstat config|help object|encoding object|freq object|help
object|idletime object|refcount client|setname client|getname client|reply client|id client|kill client|list client|pause
slowlog|get slowlog|len command|info config|nosuch get|x memory|usage latency|reset""".split()

# Plain directives: setting one changes an answer, not who can connect or where files go.
DIRECTIVES = """maxmemory-policy maxmemory-samples lfu-log-factor lfu-decay-time hz dynamic-hz timeout tcp-keepalive
hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries set-max-intset-entries zset-max-listpack-entries
zset-max-ziplist-value list-max-listpack-size list-compress-depth hll-sparse-max-bytes stream-node-max-bytes
stream-node-max-entries slowlog-log-slower-than slowlog-max-len latency-monitor-threshold latency-tracking
notify-keyspace-events lazyfree-lazy-eviction lazyfree-lazy-expire lazyfree-lazy-user-del lazyfree-lazy-server-del
activerehashing active-expire-effort proto-max-bulk-len client-query-buffer-limit client-output-buffer-limit
repl-backlog-size repl-backlog-ttl repl-timeout repl-diskless-sync repl-diskless-sync-delay min-replicas-to-write
min-slaves-max-lag replica-priority slave-read-only replica-serve-stale-data stop-writes-on-bgsave-error rdbcompression
appendfsync no-appendfsync-on-rewrite auto-aof-rewrite-percentage auto-aof-rewrite-min-size aof-load-truncated
busy-reply-threshold lua-time-limit loglevel acllog-max-len tracking-table-max-keys
maxmemory-eviction-tenacity sanitize-dump-payload shutdown-timeout shutdown-on-sigterm replica-announce-ip
latency-tracking-info-percentiles close-on-replica-write propagation-error-behavior cluster-node-timeout jemalloc-bg-thread
crash-log-enabled disable-thp set-proc-title proc-title-template oom-score-adj save""".split()
SETTINGS = """yes no YES 0 1 2 10 100 101 256 512 -1 -2 -5 -6 65536 1mb 1MB 5k 1kb 3GB 10m 1b 7x 1.5 10% 101% noeviction
allkeys-lru volatile-ttl nosuch always everysec debug notice warning clients disabled relative nosave now|force KEA Ex
4294967296 2147483648 9223372036854775807 9223372036854775808 18446744073709551615 -9223372036854775809""".split() + [
    "", " ", "nosave force", "normal 0 0 0", "replica 1mb 2mb 60", "pubsub 32mb 8mb 60 normal 0 0 3", "normal 0 0", "x 0 0 0",
    "50 99 99.9", "101", "99.99 x", "900 1", "900 1 300 10", "900", "a b", "{title} {port}", "{nosuch}"]
