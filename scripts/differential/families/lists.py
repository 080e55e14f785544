"""Lists: what is taken, moved, searched and waited for. Waiting is short here: the real server's clients wait one at a time
in this runner; who is served first, by whom and with what is in tests/it/blocking.rs."""
import rules
from grammar import GARBAGE, INTS, NOT_INTS, key_of, value

SAME = [b"a", b"b", b"c", b"1", b"2", b"-1", b"", b"1000000", b"9" * 30]

LISTS = """
8 (LPUSH|RPUSH) lkey element ...
3 (LPUSH|RPUSH) lkey (element element element) ... ... ...
3 (LPUSHX|RPUSHX) lkey element ...
4 (LPOP|RPOP) lkey [few]
1 LLEN lkey
3 LINDEX lkey lindex
4 LRANGE lkey lindex lindex
3 LTRIM lkey lindex lindex
4 LINSERT lkey (BEFORE|AFTER|AFTER|element) element element
4 LSET lkey lindex element
4 LREM lkey lindex element
4 LPOS lkey element [RANK rank] [COUNT few] [MAXLEN few]
1 LPOS lkey element (RANK|COUNT|MAXLEN|NOSUCH) few [RANK]
4 LMOVE lkey lkey (LEFT|RIGHT) (LEFT|RIGHT|LEFT|RIGHT|element)
2 RPOPLPUSH lkey lkey
3 LMPOP one lkey (LEFT|RIGHT|element) [COUNT few]
2 LMPOP two lkey lkey (LEFT|RIGHT) [COUNT few]
1 (BLPOP|BRPOP) lkey lkey lkey ... moment
1 BLMOVE lkey lkey (LEFT|RIGHT) (LEFT|RIGHT) moment
1 BRPOPLPUSH lkey lkey moment
1 BLMPOP moment two lkey lkey (LEFT|RIGHT|RIGHT) [COUNT few]
1 (DEL|TYPE|UNLINK) lkey
1 (RENAME|COPY) lkey lkey
1 SET lkey value
1 HSET hkey field value
1 MULTI
2 EXEC
1= CONFIG SET 'list-max-listpack-size fill
1= CONFIG SET 'list-compress-depth depth
"""


def element(m):
    return m.rng.choice(SAME) if m.rng.random() < 0.5 else value(m)


def list_key(m):
    return b"l%d" % m.rng.randrange(m.keys) if m.rng.random() < 0.95 else key_of(b"h")(m)


def number(good, bad):
    return lambda m: m.rng.choice(good) if m.rng.random() < 0.93 else m.rng.choice(bad)


def index(m):
    if m.rng.random() < 0.9:
        return b"%d" % m.rng.randrange(-12, 12)
    return m.rng.choice([i for i in INTS if i != b"-9223372036854775808"] + NOT_INTS)


FAMILIES = {"lists": (LISTS, 1, 60)}
POOLS = {
    "element": element, "lkey": list_key, "lindex": index,
    "few": number([b"0", b"1", b"2", b"3", b"10", b"100000"], GARBAGE),
    # 7.2 refuses the smallest number, whose opposite there is none of.
    "rank": number([b"1", b"-1", b"2", b"-2", b"3", b"9223372036854775807"], [g for g in GARBAGE if g != b"-9223372036854775808"]),
    "one": number([b"1"], GARBAGE), "two": number([b"2"], GARBAGE),
    "moment": number([b"0.001", b"0.002", b"1e-3"], [b"-1", b"x", b"", b"nan", b"-0.1", b"-inf"]),
    "fill": number([b"-2", b"-1", b"1", b"2", b"5", b"128"], [b"-5", b"0", b"100"]),
    "depth": number([b"0", b"1", b"2"], [b"9"]),
}
VALUE_OF = {b"list": (lambda key: [b"LRANGE", key, b"0", b"-1"], lambda value: value)}
# 7.2 has a text of its own for what is beyond 64 bits.
rules.TEXTS += [(name, b"timeout is negative", b"timeout is out of range")
                for name in (b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"EXEC")]
# And it refuses the smallest rank, whose opposite there is none of.
rules.TEXTS += [(name, b"", b"value must between -9223372036854775807") for name in (b"LPOS", b"EXEC")]
