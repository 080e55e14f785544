"""The language of the tables in families/, and the pools that its lower-case words draw from.

A line is `[weight] WORDS`: upper case is literal (sent in random case), lower case names a pool, `[a|b]` is optional,
`(a|b)` is a choice, `x ...` is once or more. A weight with `~` ends the pipeline behind the command and lets 6 ms pass;
with `=` the command is never spoilt.
Everything is drawn from one seeded generator. No wall clock: deadlines are far in the past or far in the future.
"""
import random
import re

INTS = [b"0", b"1", b"-1", b"2", b"-7", b"10", b"9999", b"10000", b"2147483648", b"-4294967297", b"9007199254740993",
        b"9223372036854775807", b"-9223372036854775808", b"9223372036854775806", b"4611686018427387904"]
NOT_INTS = [b"", b" 1", b"1 ", b"+1", b"01", b"-0", b"-", b"1.0", b"1e3", b"0x10", b"9223372036854775808",
            b"-9223372036854775809", b"18446744073709551616", b"99999999999999999999999", b"abc", b"1\0", b"\xff\x00"]
FLOATS = [b"0", b"0.1", b"-0.1", b"1e3", b"3.0e3", b"1e17", b"123456789.123456789", b"1e-7", b"5e-324", b"1e308", b"-1e308",
          b"1.7976931348623157e308", b"1e400", b"1e4932", b"-0", b"-0.0", b".5", b"5.", b"0x1p3", b"0xA", b"1e21",
          b"9007199254740993", b"0.30000000000000004", b"1234567890123456789", b"100000000000000000000.5", b"+3"]
NOT_FLOATS = [b"nan", b"NaN", b"inf", b"-inf", b"+inf", b"infinity", b"", b" 1", b"1 ", b"1.2.3", b"abc", b"1e", b"0x",
              b"1,5", b"1\0", b"1e99999", b"--1"]
LENGTHS = [43, 44, 45, 63, 64, 65, 1247, 1248, 1249, 16383, 16384, 16385]
BINARY = [b"\x00", b"\r\n", b"a\r\n$1\r\nb", b"\xff\xfe\x00\x01", b"sp ace", b'q"uo\'te', b"\xc3\xa9", b"{tag}x", b"*?[a-b]\\"]
# Never small and positive: as a deadline in milliseconds that would be a race.
GARBAGE = NOT_INTS + NOT_FLOATS + BINARY + [b"0", b"-1", b"1000000", b"9223372036854775807", b"-9223372036854775808",
                                            b"9223372036854775", b"NX", b"XX", b"GET", b"EX", b"COUNT", b"*"]
PATTERNS = [b"*", b"s*", b"h?", b"[st]*", b"[^s]*", b"*1", b"s\\*", b"", b"[", b"[a-", b"**x**", b"?*", b"nothing", b"S*"]


class Mood:
    """What a whole case has in common: big values or not, and which keys it plays with."""

    def __init__(self, rng):
        self.rng = rng
        self.big = rng.random() < 0.5
        self.numeric = rng.random() < 0.25
        self.keys = rng.choice([2, 3, 6])


def key_of(letter):
    def draw(m):
        r = m.rng.random()
        if r < 0.86:
            return b"%s%d" % (letter, m.rng.randrange(m.keys))
        if r < 0.95:
            return b"%s%d" % (m.rng.choice([b"s", b"h", b"t"]), m.rng.randrange(m.keys))
        if r < 0.98 or not m.big:
            return m.rng.choice(BINARY + [b"", b"absent"])
        if r < 0.995:
            return m.rng.choice([b"l", b"m"]) * m.rng.choice([30, 46, 255, 256, 1240])
        return b"L" * m.rng.choice([65533, 65534, 65535, 65536, 70000])
    return draw


def number(m, good, bad, likely=0.9):
    if m.rng.random() >= likely:
        return m.rng.choice(bad)
    return m.rng.choice(good) if m.rng.random() < 0.5 else b"%d" % m.rng.randrange(-20, 100)


def value(m):
    r = m.rng.random()
    if m.numeric or r < 0.3:
        return m.rng.choice([integer, floating])(m)
    if r < 0.7 or not m.big and r < 0.85:
        return bytes(m.rng.choices(b"abcxyz01", k=m.rng.randrange(0, 12)))
    if r < 0.8:
        return m.rng.choice(BINARY + NOT_INTS)
    if not m.big:
        return b"e" * m.rng.choice([43, 44, 45, 63, 64])
    n = m.rng.choice(LENGTHS) if m.rng.random() < 0.8 else m.rng.randrange(1, 40000)
    return bytes([m.rng.choice(b"pqr")]) * n


def integer(m):
    return number(m, INTS, NOT_INTS)


def floating(m):
    if m.rng.random() < 0.2:
        return b"%.*f" % (m.rng.randrange(1, 18), m.rng.uniform(-1000, 1000))
    return number(m, FLOATS, NOT_FLOATS)


def far(scale):
    """Relative deadlines: gone at once, far away (and no two alike), or beyond what can be."""
    edges = [b"0", b"-1", b"-100", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775",
             b"9223372036854776", b"9223370000000000000", b"9223370000000000", b"-9223372036854775", b"9223372036854775808"]

    def draw(m):
        if m.rng.random() < 0.8:
            return b"%d" % (m.rng.randrange(1000, 10 ** 6) * scale)
        return m.rng.choice(edges + NOT_INTS)
    return draw


def moment(scale):
    edges = [b"0", b"-1", b"1", b"1000", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775",
             b"9223372036854776", b"-9223372036854775"]

    def draw(m):
        if m.rng.random() < 0.8:
            return b"%d" % (m.rng.choice([1600000000, 4102444800, 4102444801, 5000000000, 9999999999]) * scale)
        return m.rng.choice(edges + NOT_INTS)
    return draw


def from_list(*words):
    return lambda m: m.rng.choice(words)


def offset(m):
    near = m.rng.choice([0, 0, 0, 40, 1240, 16380]) + m.rng.randrange(0, 12)
    return number(m, [b"-1", b"536870912", b"9223372036854775807", b"4294967296"], NOT_INTS, 0.97) \
        if m.rng.random() < 0.1 else b"%d" % near


def index(m):
    return number(m, INTS + [b"-100", b"100", b"16384"], NOT_INTS, 0.96)


def draws(m):
    """How many random members: never hugely negative, which asks for as many with repeats."""
    return b"%d" % m.rng.randrange(-12, 12) if m.rng.random() < 0.9 else \
        m.rng.choice([b"9223372036854775807", b"-9223372036854775808", b"4611686018427387904", b"200"] + NOT_INTS)


def key_of_any(m):
    return key_of(m.rng.choice([b"s", b"h"]))(m)


def letters(m):
    """Flags of notify-keyspace-events, known and unknown."""
    return bytes(m.rng.choices(b"KEg$lshzxetdmnA" if m.rng.random() < 0.9 else b"KEA!q", k=m.rng.randrange(0, 6)))


POOLS = {
    "key": key_of_any, "skey": key_of(b"s"), "hkey": key_of(b"h"), "value": value, "int": integer, "float": floating,
    "sec": far(1), "msec": far(1000), "at": moment(1), "atms": moment(1000), "offset": offset, "index": index,
    "draws": draws, "letters": letters,
    "field": lambda m: b"f%d" % m.rng.randrange(5) if m.rng.random() < 0.9 else value(m),
    "manyfield": lambda m: b"f%d" % m.rng.randrange(400),
    "pattern": from_list(*PATTERNS), "db": from_list(b"0", b"1", b"1", b"3", b"0", b"4", b"-1", b"x", b"99999999999"),
    "count": from_list(b"1", b"2", b"10", b"1000", b"0", b"-1", b"x", b"9223372036854775807"),
    "cursor": from_list(b"0", b"0", b"0", b"0", b"00", b"abc", b"-1", b"18446744073709551615", b"18446744073709551616", b""),
    "vast": from_list(b"0", b"1gb", b"3GB", b"1tb", b"x", b"1.5gb", b"100%", b"101%", b"-5", b"", b"1g b"),
    "type": from_list(b"string", b"hash", b"list", b"STRING", b"Hash", b"nosuch"),
}

TOKEN = re.compile(r"[\[\]()|]|\.\.\.|[^\s\[\]()|]+")


def parse(line, pools=()):
    """A line as (weight, mark, pattern); the family's own `pools` come before those of all."""
    head = re.match(r"\s*(\d+)([~=]?)\s+", line)
    weight, mark = (int(head[1]), head[2]) if head else (2, "")
    tokens = TOKEN.findall(line[head.end() if head else 0:])
    pattern = _choice(tokens, {**POOLS, **dict(pools)})
    assert not tokens, f"unbalanced: {line}"
    return weight, mark, pattern


def _choice(tokens, pools):
    options = [[]]
    while tokens and tokens[0] not in "])":
        token = tokens.pop(0)
        if token == "|":
            options.append([])
        elif token == "...":
            options[-1][-1] = ("more", options[-1][-1])
        elif token in "[(":
            inner = _choice(tokens, pools)
            assert tokens.pop(0) == {"[": "]", "(": ")"}[token]
            options[-1].append(("maybe" if token == "[" else "one", inner))
        elif token[0].islower():
            options[-1].append(("pool", pools[token]))
        else:
            options[-1].append(("word", token.encode()))
    return options


def draw(pattern, mood):
    """One command after a parsed pattern."""
    rng, out = mood.rng, []
    for kind, what in rng.choice(pattern):
        if kind == "word":
            out.append(what if rng.random() < 0.8 else rng.choice([bytes.lower, bytes.title])(what))
        elif kind == "pool":
            out.append(what(mood))
        elif kind == "one" or kind == "maybe" and rng.random() < 0.4:
            out += draw(what, mood)
        elif kind == "more":
            times = rng.choice([1, 1, 2, 3, 4])
            for _ in range(times):
                out += draw([[what]], mood)
    return out


def mutate(args, rng):
    """Now and then a command that is not quite right."""
    if rng.random() > 0.07:
        return args
    args, at = list(args), rng.randrange(1, len(args) + 1)
    what = rng.randrange(5)
    if what == 0 and at < len(args):
        del args[at]
    elif what == 1:
        args.insert(at, rng.choice(GARBAGE))
    elif what == 2 and at < len(args):
        args[at] = rng.choice(GARBAGE)
    elif what == 3 and at < len(args):
        args.insert(at, args[at])
    elif what == 4 and rng.random() < 0.2:
        args[0] = rng.choice([b"NOSUCH", b"", b"GE", b"x" * 200, b"a\r\nb"])
    return args


def seeded(*parts):
    return random.Random("/".join(map(str, parts)))
