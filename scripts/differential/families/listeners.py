"""What clients are told of what others do: channels, patterns, shard channels, keyspace events, tracked keys."""
from grammar import from_list

PUBSUB = """
6 SUBSCRIBE channel ...
4 PSUBSCRIBE glob ...
4 SSUBSCRIBE channel ...
3 UNSUBSCRIBE [channel]
2 PUNSUBSCRIBE [glob]
2 SUNSUBSCRIBE [channel]
10 PUBLISH channel value
5 SPUBLISH channel value
4 PUBSUB (NUMSUB|SHARDNUMSUB) [channel ...]
1 PUBSUB NUMPAT
2= HELLO (2|3)
1= RESET
1 PING
"""
EVENTS = """
3= CONFIG SET events classes
3 PSUBSCRIBE eventglob
2 SUBSCRIBE eventname
1 PUNSUBSCRIBE
2= HELLO 3
6 SET lkey value
4 DEL lkey ...
3 GET lkey
2 (INCR|APPEND) lkey 1
3 (LPUSH|RPUSH|SADD) lkey value ...
3 (LPOP|GETDEL) lkey
2 HSET lkey field value
2 ZADD lkey 1 value
2 XADD lkey xid field value
2 EXPIRE lkey (100|-1)
2 RENAME lkey lkey
1 SELECT (0|1)
1 MOVE lkey 1
1 COPY lkey lkey REPLACE
"""
TRACKING = """
4 CLIENT TRACKING ON [REDIRECT target] [NOLOOP] [OPTIN|OPTOUT]
3 CLIENT TRACKING ON BCAST [PREFIX prefix] [PREFIX prefix] [NOLOOP]
2 CLIENT TRACKING OFF
3 CLIENT CACHING (YES|NO)
3 CLIENT TRACKINGINFO
1 CLIENT GETREDIR
3= HELLO 3
1= HELLO 2
1= RESET
2 SUBSCRIBE invalidations
1 UNSUBSCRIBE
10 (GET|TYPE|STRLEN) lkey
4 (MGET|EXISTS|TOUCH) lkey ...
1 SINTER lkey lkey
8 SET lkey value
4 MSET lkey value lkey value
4 DEL lkey ...
3 (INCR|LPUSH|SADD) lkey 1
2 EXPIRE lkey (100|-1)
2 RENAME lkey lkey
1 SELECT (0|1)
1 FLUSHDB
"""

POOLS = {
    "channel": from_list(b"a", b"b", b"news", b"news:1", b"", b"x\0y", b"__keyspace@0__:l1"),
    "glob": from_list(b"*", b"n*", b"news:?", b"[ab]", b"", b"a", b"\\a", b"__key*"),
    "lkey": from_list(b"l1", b"l2", b"l3", b"m1", b"", b"long" * 20),
    "prefix": from_list(b"l", b"l1", b"m", b"lo", b""),
    "events": from_list(b"notify-keyspace-events"), "invalidations": from_list(b"__redis__:invalidate"),
    "xid": from_list(b"5-1", b"6-1", b"7-2", b"8-8"),
    "target": from_list(b"@0", b"@1", b"@2", b"@0", b"@1", b"0", b"999999", b"x"),
    "classes": from_list(b"KEA", b"KA", b"EA", b"K$", b"Eg", b"KEx", b"KEAmn", b"", b"Elz", b"Kt"),
    "eventglob": from_list(b"*", b"__keyspace@*", b"__keyevent@*", b"__key*__:*", b"__keyspace@0__:l1", b"__keyevent@?__:del"),
    "eventname": from_list(b"__keyevent@0__:del", b"__keyevent@0__:set", b"__keyspace@0__:l1", b"__keyspace@1__:l2", b"other"),
}
LISTENING = {"pubsub", "events", "tracking"}
FAMILIES = {"pubsub": (PUBSUB, 3, 40), "events": (EVENTS, 3, 40), "tracking": (TRACKING, 3, 40)}
