"""Sets: members in and out, several sets put together, members by chance."""
from grammar import value
from rules import ENCODINGS_ALIKE, scan_page, shape, unordered

# 7.2 takes the number of SADD's arguments for the number of new members, 7.0 counts those that differ.
ENCODINGS_ALIKE.append({b"intset", b"listpack"})

# What is popped by chance differs, so SPOP only takes all, nothing, or the one member of keys that have no other.
SETS = """
6 SADD skey member ...
4 SADD skey manymember ... ...
1 SADD skey smallint ... ...
4 SREM skey member ...
2 SREM skey manymember ...
3 (SISMEMBER skey member|SMISMEMBER skey member ...|SCARD skey|SMEMBERS skey)
3 SMOVE skey skey member
4 (SINTER|SUNION|SDIFF) skey ...
6 (SINTERSTORE|SUNIONSTORE|SDIFFSTORE) skey skey ...
3 SINTERCARD numkeys skey ... [LIMIT limit]
1= SINTERCARD '2 skey skey [LIMIT limit]
1= SPOP skey ('1000|'0|'-1|value skey)
2= SADD onlykey single
2= SPOP onlykey ['0|'1|'7]
2 SRANDMEMBER skey [draws]
3 SSCAN skey cursor [MATCH pattern] [COUNT count]
1 SET skey value
1 HSET hkey field value
1 (DEL skey|PEXPIRE skey msec|COPY skey skey [REPLACE]|RENAME skey skey|TYPE skey)
1= CONFIG SET ('set-max-intset-entries) ('0|'4|'512)
1 COMMAND GETKEYSANDFLAGS (SINTERCARD numkeys skey ...|SINTERSTORE skey skey ...|SMOVE skey skey member)
"""


def member(m):
    r = m.rng.random()
    if r < 0.6:
        return b"%d" % m.rng.randrange(-3, 8)
    return m.rng.choice([b"a", b"b", b"c"]) if r < 0.85 else value(m)


POOLS = {
    "member": member, "manymember": lambda m: b"m%d" % m.rng.randrange(300),
    "smallint": lambda m: b"%d" % (m.rng.randrange(-200, 200) * m.rng.choice([1, 1, 1, 300, 10 ** 9])),
    "onlykey": lambda m: b"only%d" % m.rng.randrange(2),
    "single": lambda m: b"7",
    "numkeys": lambda m: b"%d" % m.rng.randrange(0, 5) if m.rng.random() < 0.9 else m.rng.choice([b"x", b"-1", b"9223372036854775807"]),
    "limit": lambda m: b"%d" % m.rng.randrange(0, 6) if m.rng.random() < 0.9 else m.rng.choice([b"x", b"-1"]),
}
FAMILIES = {"sets": (SETS, 1, 60)}
RULES = {
    b"SMEMBERS": unordered, b"SINTER": unordered, b"SUNION": unordered, b"SDIFF": unordered, b"SPOP": unordered,
    b"SRANDMEMBER": shape, b"SSCAN": scan_page,
}
VALUE_OF = {b"set": (lambda key: [b"SMEMBERS", key], sorted)}
ITERATE = {b"SSCAN": (2, 1)}
