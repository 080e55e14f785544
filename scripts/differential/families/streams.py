"""Streams and consumer groups. Ids are explicit, since each server has its own clock; how long something is idle is either
not asked for or asked for beyond all doubt.

What 7.2 has otherwise (its release notes): XREADGROUP, XCLAIM and XAUTOCLAIM make the consumer even if it gets nothing, and a
consumer has a second time, when it last got something. So consumers with nothing pending are left out of the comparison."""
from grammar import BINARY, GARBAGE, key_of, value
from rules import CONTAINERS, TEXTS
from wire import decode

CONTAINERS |= {b"XINFO", b"XGROUP"}
TEXTS += [(b"XREAD", b"Unbalanced XREAD", b"Unbalanced 'xread'"), (b"XREADGROUP", b"Unbalanced XREAD", b"Unbalanced 'xreadgroup'")]

# The real server asks for memory for as many as COUNT says, ours for as many as there are.
TEXTS += [(b"XAUTOCLAIM", b"Insufficient memory", b"*")]
# 7.0 takes an id below one that was deleted; 7.2 does not.
TEXTS += [(b"XSETID", b"+OK", b"smaller than current max_deleted_entry_id")]

STREAMS = """
14 XADD xkey newid (field word) ...
6 XADD xkey [NOMKSTREAM] [(MAXLEN|MINID) trimto] newid (field xvalue) ...
6 XADD xkey [NOMKSTREAM] MAXLEN (~|=|) len [LIMIT few] newid (field xvalue)
5 XADD xkey MINID (~|=|) xid [LIMIT few] newid (field xvalue)
2 XADD xkey xid (field xvalue)
1 XADD xkey [NOMKSTREAM] [NOMKSTREAM] [LIMIT few] [MAXLEN len] [MINID xid] newid (field xvalue)
4 XTRIM xkey MAXLEN (~|=|) len [LIMIT few]
4 XTRIM xkey MINID (~|=|) xid [LIMIT few]
6 XDEL xkey xid ...
3 XLEN xkey
5 XRANGE xkey low high [COUNT few]
5 XREVRANGE xkey high low [COUNT few]
4 XREAD [COUNT few] STREAMS xkey xid
2 XREAD [COUNT few] STREAMS xkey xkey xid xid
1 XREAD [COUNT few] [NOACK] [GROUP group consumer] STREAMS xkey [xkey] xid [xid]
1= XREAD [COUNT few] BLOCK '1 STREAMS xkey ('$|xid)
3= XSETID xkey setid [ENTRIESADDED few] [MAXDELETEDID xid]
1= XSETID xkey ('x|'5-|'-|'18446744073709551616|'1-1-1) [ENTRIESADDED few] [MAXDELETEDID xid] [value]
5 XGROUP CREATE xkey group ('$|'0|xid) [MKSTREAM] [ENTRIESREAD few]
3 XGROUP SETID xkey group ('$|'0|edge) [ENTRIESREAD few]
1 XGROUP DESTROY xkey group
2 XGROUP DELCONSUMER xkey group consumer
1 XGROUP CREATECONSUMER xkey group consumer
8 XREADGROUP GROUP group consumer [COUNT few] [NOACK] STREAMS xkey ('>|'>|xid)
2 XREADGROUP GROUP group consumer [COUNT few] [NOACK] STREAMS xkey xkey '> ('>|xid|'$)
1= XREADGROUP GROUP group consumer BLOCK '1 STREAMS xkey ('>|xid)
5 XACK xkey group xid ...
3 XPENDING xkey group
4 XPENDING xkey group [IDLE ('0|'100000000|few)] edge edge few [consumer]
5 XCLAIM xkey group consumer idle xid ... [FORCE] [JUSTID] [RETRYCOUNT few] [TIME few] [IDLE few] [LASTID xid]
4 XAUTOCLAIM xkey group consumer idle edge [COUNT some] [JUSTID]
3 XINFO STREAM xkey [FULL [COUNT few]]
2 XINFO GROUPS xkey
2 XINFO CONSUMERS xkey group
1 (XINFO|XGROUP) (STREAM|GROUPS|CONSUMERS|HELP|NOSUCH|CREATE) xkey [group] [xid]
1 COMMAND (GETKEYS|GETKEYSANDFLAGS) (XREAD [COUNT few] STREAMS xkey xkey [xid] xid|XREADGROUP GROUP group consumer [NOACK] [STREAMS] xkey xid)
1 (DEL|TYPE|EXISTS) xkey
1 OBJECT ENCODING xkey
1 (RENAME|COPY) xkey xkey
1 SET xkey value
1 MULTI
2 EXEC
1= CONFIG SET 'stream-node-max-entries nodesize
1= CONFIG SET 'stream-node-max-bytes nodebytes
"""

ODD_IDS = [b"0-0", b"0", b"0-1", b"18446744073709551615-18446744073709551615", b"18446744073709551615", b"18446744073709551614-5",
           b"-", b"+", b"", b"5-", b"-5", b"5-x", b"x-5", b"1-1-1", b"+5-1", b" 5", b"05-01", b"5-*", b"*", b"5-**", b"0-*", b"1\x00-2",
           b"18446744073709551616", b"$", b">", b"0x5", b"1e3", b"9" * 130]


def some_id(m):
    r = m.rng.random()
    if r < 0.05:
        return m.rng.choice([i for i in ODD_IDS if i != b"+"])  # XREAD takes + since 7.4
    high = getattr(m, "ms", 5)
    ms = m.rng.randrange(0, high + 2)
    return b"%d" % ms if r < 0.3 else b"%d-%d" % (ms, m.rng.randrange(0, 3))


def new_id(m):
    if m.rng.random() < 0.04:
        return m.rng.choice([i for i in ODD_IDS if i != b"*" and not i.startswith(b"184467")] + BINARY)
    m.ms = getattr(m, "ms", 0) + m.rng.choice([0, 0, 1, 1, 1, 2, 2, 200, 70000])
    r = m.rng.random()
    return b"%d" % m.ms if r < 0.1 else b"%d-*" % m.ms if r < 0.3 else b"%d-%d" % (m.ms, m.rng.randrange(0, 4))


def set_id(m):
    """Above all that was deleted: 7.2 refuses what is below, 7.0 does not."""
    m.ms = getattr(m, "ms", 0) + 1
    return b"%d-%d" % (m.ms, m.rng.randrange(0, 3))


def edge(m):
    r = m.rng.random()
    if r < 0.4:
        return m.rng.choice([b"-", b"+"])
    if r < 0.5:
        return b"(" + m.rng.choice([some_id(m), some_id(m), b"-", b"+", b"", b"0-0", b"18446744073709551615-18446744073709551615"])
    return some_id(m)


def low(m):
    """Where a range begins: never +, at which the real server can fail an assertion and end (listpack.c, 7.0.15)."""
    drawn = edge(m)
    return b"-" if drawn.startswith((b"+", b"(+", b"18446744073709551", b"(18446744073709551")) else drawn


def stream_key(m):
    return b"x%d" % m.rng.randrange(min(m.keys, 3)) if m.rng.random() < 0.96 else key_of(b"h")(m)


def number(good, bad):
    return lambda m: m.rng.choice(good) if m.rng.random() < 0.94 else m.rng.choice(bad)


def chosen(*words):
    return lambda m: m.rng.choice(words)


FAMILIES = {"streams": (STREAMS, 1, 70)}
POOLS = {
    "xkey": stream_key, "xid": some_id, "newid": new_id, "setid": set_id, "edge": edge, "low": low, "high": edge,
    "xvalue": lambda m: value(m) if m.rng.random() < 0.7 else b"%d" % m.rng.randrange(-300, 300),
    "group": lambda m: b"g%d" % m.rng.randrange(2) if m.rng.random() < 0.96 else m.rng.choice(BINARY + [b""]),
    "consumer": lambda m: b"c%d" % m.rng.randrange(3) if m.rng.random() < 0.97 else m.rng.choice(BINARY + [b""]),
    "len": number([b"0", b"1", b"2", b"5", b"10", b"1000"], GARBAGE),
    "trimto": number([b"0", b"1", b"3", b"5-0"], GARBAGE),
    "few": number([b"0", b"1", b"2", b"3", b"10", b"100"], [g for g in GARBAGE if g != b"-1"] + [b"-1"]),
    "some": number([b"1", b"2", b"3", b"10"], [b"0", b"-1", b"x", b"", b"1.5"]),
    "idle": number([b"0", b"0", b"0", b"1000000000", b"-5"], [b"x", b"", b"1.5", b"9223372036854775808"]),
    "nodesize": chosen(b"0", b"1", b"2", b"3", b"5", b"100", b"130", b"300"),
    "nodebytes": chosen(b"0", b"20", b"60", b"100", b"200", b"4096"),
}


def items(reply):
    """Names and values of a map, in either protocol."""
    return {name[1]: item for name, item in zip(reply[1][::2], reply[1][1::2])}


def near(a, b, slack=4000):
    return a[0] == b[0] == b":" and abs(int(a[1]) - int(b[1])) <= slack


def pending(a, b, _free):
    """XPENDING's list: id, consumer, idle time, deliveries."""
    (ka, x), (kb, y) = decode(a), decode(b)
    if x is None or y is None or ka != kb or len(x) != len(y):
        return False
    return all(p[1] is not None and len(p[1]) == 4 and p[1][:2] == q[1][:2] and near(p[1][2], q[1][2]) and p[1][3] == q[1][3]
               for p, q in zip(x, y))


def consumers(a, b, _free):
    """Those that have something pending; see above."""
    def busy(raw):
        kind, found = decode(raw)
        found = [items(c) for c in found]
        return kind, {c[b"name"][1]: (c[b"pending"][1], c[b"idle"][1]) for c in found if c[b"pending"][1] != b"0"}
    (ka, x), (kb, y) = busy(a), busy(b)
    return ka == kb and x.keys() == y.keys() and all(x[n][0] == y[n][0] for n in x)


def groups(a, b, _free):
    """All but how many consumers there are; see above."""
    def settled(raw):
        kind, found = decode(raw)
        return kind, [{k: v for k, v in items(g).items() if k != b"consumers"} for g in found]
    return settled(a) == settled(b)


def full(reply):
    """XINFO STREAM FULL without its times and idle consumers, which are told last."""
    facts = items((b"*", reply))
    if b"groups" not in facts or not isinstance(facts[b"groups"][1], list):
        return facts
    settled = []
    for group in map(items, facts.pop(b"groups")[1]):
        group[b"pending"] = [p[1][:2] + p[1][3:] for p in group[b"pending"][1]]
        own = [items(c) for c in group.pop(b"consumers")[1]]
        settled.append((group, {c[b"name"][1]: [p[1][:1] + p[1][2:] for p in c[b"pending"][1]]
                                for c in own if c[b"pel-count"][1] != b"0"}))
    return facts, settled


def stream_info(a, b, _free):
    (ka, x), (kb, y) = decode(a), decode(b)
    return ka == kb and full(x) == full(y)


def created(a, b, _free):
    """XGROUP CREATECONSUMER: it may be there already; see above."""
    return a == b":1\r\n" and b == b":0\r\n"


RULES = {
    b"XPENDING": pending, b"XINFO CONSUMERS": consumers, b"XINFO GROUPS": groups, b"XINFO STREAM": stream_info,
    b"XGROUP CREATECONSUMER": created,
}
VALUE_OF = {b"stream": (lambda key: [b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"], full)}
