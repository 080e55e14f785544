"""HyperLogLogs. Their bytes are compared at the end of each case, as those of any string."""
import random
import struct

HLL = """
6 PFADD pkey counted ...
3 PFADD pkey (counted counted counted counted counted counted counted counted counted counted) ...
1 PFADD pkey
4 PFCOUNT pkey
2 PFCOUNT pkey ...
4 PFMERGE pkey pkey ...
1 PFMERGE pkey
1 PFDEBUG (ENCODING|TODENSE|DECODE|GETREG|value) pkey
2 GET pkey
1 OBJECT ENCODING pkey
2 SET pkey hllbytes
1 SETRANGE pkey hllat spoilt
1 APPEND pkey spoilt
1 (DEL|STRLEN) pkey
1 COPY pkey pkey [REPLACE]
1 HSET pkey field value
1= CONFIG SET 'hll-sparse-max-bytes sparsemax
"""


def key(m):
    return b"p%d" % m.rng.randrange(m.keys)


def counted(m):
    r = m.rng.random()
    if r < 0.4:
        return b"e%d" % m.rng.randrange(50)
    if r < 0.9:
        return b"%d" % m.rng.randrange(1000000)
    return m.rng.randbytes(m.rng.choice([0, 1, 7, 8, 9, 16, 40]))


def hll_bytes(m):
    """Now and then a sound one that no PFADD made, or nearly so."""
    rng = m.rng
    head = b"HYLL" + rng.choice([b"\1", b"\1", b"\1", b"\0", b"\2"]) + b"\0\0\0" + rng.choice([struct.pack("<Q", 5), b"\0" * 7 + b"\x80"])
    if head[4] == 0 and rng.random() < 0.9:
        return head + random.Random(rng.random()).randbytes(12288 - (rng.random() < 0.1))
    left, runs = 16384, b""
    while left and rng.random() < 0.97:
        kind = rng.randrange(4)
        if kind == 0:
            n = min(left, rng.randrange(1, 65))
            runs += bytes([n - 1])
        elif kind == 1:
            n = min(left, rng.randrange(1, 3000))
            runs += struct.pack(">H", 0x4000 | n - 1)
        else:
            n = min(left, rng.randrange(1, 5))
            runs += bytes([0x80 | rng.randrange(32) << 2 | n - 1])
        left -= n
    if left and rng.random() < 0.9:
        runs += struct.pack(">H", 0x4000 | left - 1)
    return head + runs


POOLS = {
    "pkey": key, "counted": counted, "hllbytes": hll_bytes,
    "hllat": lambda m: b"%d" % m.rng.choice([0, 1, 4, 8, 15, 16, 17, 20]),
    # No half of a two-byte run: the real server reads the zero behind the string, ours refuses it.
    "spoilt": lambda m: m.rng.choice([b"\0", b"\1", b"\2", b"\x3f", b"\x80", b"\xff"]),
    "sparsemax": lambda m: m.rng.choice([b"0", b"18", b"60", b"3000", b"3000", b"16000"]),
}
FAMILIES = {"hyperloglog": (HLL, 1, 60)}

# Runs that are not the registers: the real server reads on, beyond them.
TEXTS = [(b"PFDEBUG", mark, b"-INVALIDOBJ") for mark in (b"z:", b"Z:", b"v:", b"$0")]
