"""Sorted sets: members, ranks, ranges by rank, score and name, and taking from the ends."""
from grammar import GARBAGE, INTS, NOT_FLOATS, NOT_INTS, floating, from_list, key_of, value
from rules import is_error, items, scan_page, shape
from wire import decode

ZSETS = """
9 ZADD zkey (score member) ...
2 ZADD zkey (score manymember) ... ... ...
5 ZADD zkey [NX|XX] [GT|LT] [CH] (score member) ...
3 ZADD zkey [NX|XX] [GT|LT] [CH] INCR score member
3 ZINCRBY zkey score member
3 ZREM zkey member ...
1 (ZCARD|TYPE) zkey
2 ZSCORE zkey member
1 ZMSCORE zkey member ...
3 (ZRANK|ZREVRANK) zkey member
2 ZCOUNT zkey scoreend scoreend
3 ZRANGE zkey rank rank [WITHSCORES]
1 ZREVRANGE zkey rank rank [WITHSCORES]
4 ZRANGE zkey scoreend scoreend BYSCORE [REV] [LIMIT rank rank] [WITHSCORES]
1 ZRANGE zkey rank rank [BYSCORE|BYLEX] [REV] [LIMIT rank rank] [WITHSCORES] [member]
4 (ZRANGEBYSCORE|ZREVRANGEBYSCORE) zkey scoreend scoreend [WITHSCORES] [LIMIT rank rank]
2 ZRANGESTORE zkey zkey rank rank [REV]
2 ZRANGESTORE zkey zkey scoreend scoreend BYSCORE [REV] [LIMIT rank rank]
1 ZREMRANGEBYRANK zkey rank rank
1 ZREMRANGEBYSCORE zkey scoreend scoreend
3 (ZPOPMIN|ZPOPMAX) zkey [rank]
2 ZMPOP ('1 zkey|'2 zkey zkey|rank zkey) (MIN|MAX) [COUNT rank]
1= (BZPOPMIN|BZPOPMAX) zkey zkey zkey ('0.01|badtime)
1= BZMPOP ('0.01|badtime) ('1 zkey|'2 zkey zkey|rank zkey) (MIN|MAX) [COUNT rank]
2 ZRANDMEMBER zkey [draws [WITHSCORES]]
2 ZSCAN zkey cursor [MATCH pattern] [COUNT count]
4= ZADD lkey '0 member
3= ZADD lkey ('0 member) ... ...
3 ZLEXCOUNT lkey nameend nameend
3 ZRANGE lkey nameend nameend BYLEX [REV] [LIMIT rank rank]
3 (ZRANGEBYLEX|ZREVRANGEBYLEX) lkey nameend nameend [LIMIT rank rank]
1 ZRANGESTORE lkey lkey nameend nameend BYLEX [REV] [LIMIT rank rank]
1 ZREMRANGEBYLEX lkey nameend nameend
1 ZREM lkey member ...
2 OBJECT ENCODING zkey
1 SET zkey value
1 DEL (zkey|lkey)
1 PEXPIRE zkey msec
1 COPY zkey zkey [REPLACE]
1 RENAME zkey zkey
"""

# Few scores, so that there are ties, and the odd ones.
SCORES = [b"-inf", b"+inf", b"inf", b"Infinity", b"-0", b"0.1", b"1.5", b"1e-310", b"1e308", b"9007199254740993", b"0x1p3",
          b"1e18", b"-1e18", b"4611686018427387904", b"4611686018427387905", b"1e19", b"5e-324"]


def score(m):
    r = m.rng.random()
    if r < 0.7:
        return b"%d" % m.rng.randrange(-3, 12)
    if r < 0.85:
        return m.rng.choice(SCORES)
    return floating(m)


def score_end(m):
    text = score(m) if m.rng.random() < 0.93 else m.rng.choice(NOT_FLOATS + [b"-inf", b"+inf", b"(", b"1e99999", b"-1e400"])
    return (b"(" if m.rng.random() < 0.25 else b"") + text


def member(m):
    return b"m%d" % m.rng.randrange(12) if m.rng.random() < 0.85 else value(m)


def name_end(m):
    r = m.rng.random()
    if r < 0.2:
        return m.rng.choice([b"-", b"+"])
    return m.rng.choice([b"[", b"("]) + member(m)[:300] if r < 0.95 else m.rng.choice(GARBAGE + [b"[", b"(", b"-x", b"+x"])


def rank(m):
    r = m.rng.random()
    if r < 0.9:
        return b"%d" % m.rng.randrange(-14, 14)
    return m.rng.choice(INTS if r < 0.97 else NOT_INTS)


# Ranges of names only where all scores are equal (lkey): elsewhere they are undefined.
POOLS = {
    "zkey": key_of(b"z"), "lkey": lambda m: b"l%d" % m.rng.randrange(m.keys), "score": score, "scoreend": score_end, "nameend": name_end, "member": member,
    "manymember": lambda m: b"m%d" % m.rng.randrange(400), "rank": rank,
    "badtime": from_list(b"-1", b"x", b"", b"nan", b"-0.5", b" 1"),
}
FAMILIES = {"zsets": (ZSETS, 1, 60)}


def number(reply):
    """A double told as text; the real server gives it 17 digits."""
    kind, text = reply
    try:
        value = float(text)
    except (TypeError, ValueError):
        return reply
    return (kind, value) if value == value else reply


def settled(reply):
    kind, inner = reply
    return (kind, [settled(v) for v in inner]) if isinstance(inner, list) else number(reply)


def doubles(a, b, _free):
    return not is_error(a) and not is_error(b) and settled(decode(a)) == settled(decode(b))


RULES = {name: doubles for name in (
    b"ZADD", b"ZINCRBY", b"ZSCORE", b"ZMSCORE", b"ZRANGE", b"ZREVRANGE", b"ZRANGEBYSCORE", b"ZREVRANGEBYSCORE", b"ZPOPMIN", b"ZPOPMAX",
    b"ZMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP")}
RULES.update({b"ZRANDMEMBER": shape, b"ZSCAN": scan_page})
VALUE_OF = {b"zset": (lambda key: [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], lambda reply: [number(v) for v in reply])}
ITERATE = {b"ZSCAN": (2, 2)}
SETTLED = {b"ZSCAN": lambda pairs: {(name, number((b"", text))) for name, text in pairs}}
# The options of 7.2 and later.
TEXTS = [(name, b"-ERR wrong number of arguments for '" + name.lower(), ours) for name in (b"ZRANK", b"ZREVRANK")
         for ours in (b"-ERR syntax error", b"_", b"*")]
