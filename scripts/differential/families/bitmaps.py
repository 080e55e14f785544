"""Bitmaps: single bits, ranges of them, integers at any bit, and whole strings combined."""
from grammar import INTS, NOT_INTS, from_list

BITMAPS = """
5 SETBIT skey bitat bit
2 GETBIT skey bitat
4 BITCOUNT skey [rangeat rangeat [BYTE|BIT|value]]
4 BITPOS skey bit [rangeat [rangeat [BYTE|BIT|value]]]
5 BITOP (AND|OR|XOR) skey skey ...
1 BITOP NOT skey skey [skey]
6 BITFIELD skey fieldwork ...
2 BITFIELD skey (GET fieldtype fieldat) ...
1 BITFIELD_RO skey (GET fieldtype fieldat) ...
1 BITFIELD_RO skey fieldwork
2 SET skey value
1 SETRANGE skey offset value
1 APPEND skey value
1 (GET|STRLEN) skey
2 OBJECT ENCODING skey
1 HSET hkey field value
1 COMMAND GETKEYSANDFLAGS BITFIELD skey fieldwork
1 COMMAND GETKEYS BITOP AND skey skey ...
"""


def bit_at(m):
    r = m.rng.random()
    if r < 0.9:
        return b"%d" % (m.rng.choice([0, 0, 0, 350, 9900]) + m.rng.randrange(0, 90))
    return m.rng.choice([b"-1", b"4294967296", b"536870912000", b"9223372036854775807"] + NOT_INTS)


def field_at(m):
    return (b"#" if m.rng.random() < 0.4 else b"") + bit_at(m)


def field_type(m):
    if m.rng.random() < 0.92:
        return b"%s%d" % (m.rng.choice([b"u", b"i"]), m.rng.choice([1, 2, 4, 7, 8, 13, 16, 31, 32, 33, 63]))
    return m.rng.choice([b"i64", b"i64", b"u64", b"i65", b"i0", b"u", b"x8", b"I8", b"", b"u08", b"i-1"])


# Not the least of all: the real server saturates it to the largest one of a type (README).
FIELD_INTS = [n for n in INTS if n != b"-9223372036854775808"]


def field_int(m):
    r = m.rng.random()
    if r < 0.6:
        return b"%d" % m.rng.randrange(-300, 300)
    return m.rng.choice(FIELD_INTS) if r < 0.96 else m.rng.choice(NOT_INTS)


def range_at(m):
    r = m.rng.random()
    if r < 0.6:
        return b"%d" % m.rng.randrange(-20, 20)
    return b"%d" % m.rng.randrange(-12000, 12000) if r < 0.8 else m.rng.choice(INTS if r < 0.96 else NOT_INTS)


POOLS = {
    "bitat": bit_at, "fieldat": field_at, "fieldtype": field_type, "fieldint": field_int, "rangeat": range_at,
    "bit": from_list(*[b"0", b"1"] * 12, b"2", b"-1", b"x", b"", b"01", b"4294967296"),
}
FAMILIES = {"bitmaps": (BITMAPS.replace("fieldwork", "(SET fieldtype fieldat fieldint|INCRBY fieldtype fieldat fieldint|"
                                        "OVERFLOW (WRAP|SAT|FAIL|WRAP|SAT|FAIL|value) INCRBY fieldtype fieldat fieldint|"
                                        "OVERFLOW (SAT|FAIL) SET fieldtype fieldat fieldint|GET fieldtype fieldat)"), 1, 60)}

# 7.2 reads all arguments before it looks for the key; and a range without an end is Valkey 8's.
TEXTS = [(command, theirs, ours) for command in (b"BITCOUNT", b"BITPOS") for ours in (b"-ERR value is not an", b"-ERR syntax error")
         for theirs in (b":0\r\n", b":-1\r\n", b"-WRONGTYPE", b"-ERR syntax error")]
TEXTS += [(b"BITCOUNT", b"-ERR syntax error", ours) for ours in (b":", b"-WRONGTYPE")]
