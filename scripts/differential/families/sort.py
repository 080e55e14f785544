"""SORT over lists, sets and sorted sets, with weights and results under names made of the elements."""
from grammar import NOT_INTS, floating, value as any_value

# Left out: what the real server leaves to chance, which is the order of a set that is not sorted, and of elements whose
# texts under BY .. ALPHA are equal (but for whole lists). Sorted sets always have a long member: SORT makes a real small one a skiplist, which ours leaves as
# it is. What fills keys is never spoilt, for the reasons at `in_range`.
SORT = """
5= RPUSH listkey element ...
3= RPUSH listkey number ... ...
2= SADD setkey element ...
3= SADD setkey number ... ...
3= ZADD zsetkey (score number) ... '0 longmember
1= ZADD zsetkey '0 longmember
4= SET weightkey number
1= SET weightkey setvalue
2= HSET hashkey ('f number) ...
1 (DEL weightkey|DEL setkey|LPOP listkey)
1 EXPIRE weightkey sec
8 (SORT|SORT_RO) listkey [BY by] [LIMIT limitat limitat] [GET get] [GET get] [ASC|DESC]
4 (SORT|SORT_RO) listkey [BY by] [GET get] [DESC] ALPHA
3 (SORT|SORT_RO) (listkey|setkey|zsetkey|'none|stored) ALPHA [LIMIT limitat limitat] [GET get] [DESC]
3 (SORT|SORT_RO) zsetkey [BY by] [DESC] [LIMIT limitat limitat] [GET get]
3= (SORT|SORT_RO) setkey [BY starred] [DESC] [LIMIT limitat limitat] [GET get]
6 SORT (listkey|zsetkey) [BY by] [LIMIT limitat limitat] [GET get] [GET get] [DESC] STORE stored
4= SORT setkey [BY by] [LIMIT limitat limitat] [GET get] [DESC] STORE stored
1 LRANGE stored '0 '-1
1 (SORT|SORT_RO) anykey [STORE stored]
1 COMMAND GETKEYSANDFLAGS (SORT|SORT_RO) setkey [BY by] [GET get] [LIMIT limitat limitat] [STORE stored] [STORE stored]
"""


def number(m):
    r = m.rng.random()
    if r < 0.75:
        return b"%d" % m.rng.randrange(-9, 12)
    if r < 0.9:
        return m.rng.choice([b"1.5", b"-0", b"0.0", b"1e1", b"0x2", b"+3", b"03", b" 4", b"inf", b"-inf", b"nan", b""])
    return in_range(floating(m) if r < 0.98 else m.rng.choice(NOT_INTS))


def in_range(text):
    """Once a real server has met a number that no double holds, it takes others for bad, too; texts end at a NUL for it."""
    if b"\0" in text:
        return b"8"
    return b"7" if b"e" in text.lower() and any(edge in text for edge in (b"30", b"32", b"40", b"49", b"99")) else text


def value(m):
    return in_range(any_value(m))


def element(m):
    return number(m) if m.rng.random() < 0.7 else value(m)


def limit_at(m):
    return b"%d" % m.rng.randrange(-2, 9) if m.rng.random() < 0.95 else m.rng.choice([b"9223372036854775807", b"-9223372036854775808", b"x"])


def named(*names):
    return lambda m: m.rng.choice(names)


POOLS = {
    "listkey": named(b"l0", b"l1"), "setkey": named(b"s0", b"s1"), "zsetkey": named(b"z0", b"z1"),
    "stored": named(b"d0", b"d1", b"l1", b"w_1"),
    "anykey": named(b"w_1", b"h_1", b"d0", b"l0", b"none"),
    "weightkey": lambda m: b"w_%d" % m.rng.randrange(-2, 8), "hashkey": lambda m: b"h_%d" % m.rng.randrange(-2, 8),
    "number": number, "element": element, "limitat": limit_at, "longmember": lambda m: b"9" * 70,
    "setvalue": value, "score": lambda m: b"%d" % m.rng.randrange(-3, 4),
    "starred": named(b"w_*", b"h_*->f", b"*"),
    "by": named(b"w_*", b"w_*", b"h_*->f", b"nosort", b"#", b"h_*->none", b"w_*->f", b"*", b"w_**", b"", b"h_*->"),
    "get": named(b"#", b"w_*", b"h_*->f", b"constant", b"h_*", b"*", b"h_*->g", b"w_*->"),
}
FAMILIES = {"sort": (SORT, 1, 60)}

