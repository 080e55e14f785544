"""Sorted sets and sets combined: ZUNION, ZINTER, ZDIFF, what stores them, ZINTERCARD."""
from grammar import FLOATS, NOT_FLOATS, NOT_INTS, from_list, key_of

from .geo import same_scores, scored

ZSETOPS = """
6 ZADD unkey (weight kin) ... ...
2 ZADD unkey (weight kin) ...
2 SADD unkey kin ... ...
1 SADD unkey kin ...
4 ZUNION ('1 unkey|'2 unkey unkey|'3 unkey unkey unkey) [weights] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]
4 ZUNION '2 unkey unkey [WEIGHTS weight weight] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]
4 ZINTER '2 unkey unkey [WEIGHTS weight weight] [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]
3 ZINTER '3 unkey unkey unkey [WITHSCORES] [AGGREGATE (SUM|MIN|MAX)] [WEIGHTS weight weight weight]
4 ZDIFF ('1 unkey|'2 unkey unkey|'3 unkey unkey unkey|'4 unkey unkey unkey unkey) [WITHSCORES] [WEIGHTS weight]
3 ZUNIONSTORE unkey '2 unkey unkey [WEIGHTS weight weight] [AGGREGATE (SUM|MIN|MAX|kin)]
2 ZUNIONSTORE unkey '1 unkey [WEIGHTS weight] [AGGREGATE MAX] [WITHSCORES]
3 ZINTERSTORE unkey '2 unkey unkey [WEIGHTS weight weight] [AGGREGATE (SUM|MIN|MAX)]
2 ZINTERSTORE unkey '3 unkey unkey unkey [WEIGHTS weight weight weight]
3 ZDIFFSTORE unkey ('1 unkey|'2 unkey unkey|'3 unkey unkey unkey) [AGGREGATE SUM]
3 ZINTERCARD ('1 unkey|'2 unkey unkey|'3 unkey unkey unkey) [LIMIT limit]
1 (ZUNION|ZINTER|ZDIFF|ZINTERCARD) numkeys unkey ... [WEIGHTS weight ...] [WITHSCORES] [LIMIT limit]
1 (ZUNIONSTORE|ZINTERSTORE|ZDIFFSTORE) unkey numkeys unkey ... [WEIGHTS weight ...] [AGGREGATE MIN]
1 (DEL unkey|SET unkey value|EXPIRE unkey sec|TTL unkey|TYPE unkey|ZREM unkey kin)
2 ZRANGE unkey '0 '-1 WITHSCORES
1 COMMAND GETKEYS (ZUNION|ZUNIONSTORE unkey|ZINTERCARD) numkeys unkey unkey
"""

FAMILIES = {"zsetops": (ZSETOPS.replace("[weights] ", ""), 1, 60)}


def weight(m):
    if m.rng.random() < 0.7:
        return b"%d" % m.rng.randrange(-3, 6)
    return m.rng.choice([b"inf", b"-inf", b"inf", b"-inf", b"0", b"-0", b"0.1", b"0.2", b"0.3", b"1e308", b"-1e308", b"1e-308", b"1e-320"]
                        + FLOATS + NOT_FLOATS[:3])


def kin(m):
    r = m.rng.random()
    return m.rng.choice(b"abcdefgh").to_bytes(1, "big") if r < 0.6 else b"%d" % m.rng.randrange(-3, 12) if r < 0.9 else \
        m.rng.choice([b"", b"01", b"-0", b"+1", b"9223372036854775807", b"9223372036854775808", b"\xff", b"\0", b"ab", b"abcdefgh", b"abcdefghi"]
                     + ([b"x" * 64, b"x" * 65] if m.big else []))


POOLS = {
    "unkey": key_of(b"u"), "weight": weight, "kin": kin,
    "numkeys": from_list(b"1", b"2", b"3", b"4", b"1", b"2", b"0", b"-1", b"9223372036854775807", b"4294967298", *NOT_INTS),
    "limit": from_list(b"0", b"1", b"2", b"5", b"-1", b"9223372036854775807", b"x"),
}
RULES = {name: same_scores for name in (b"ZUNION", b"ZINTER", b"ZDIFF")}
