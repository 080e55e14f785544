"""Where replies and states may differ between the two servers, each with its reason; everything else is compared byte for byte."""
from wire import decode

# The value of a key, by type: the command that shows it, and how its decoded reply is settled where its order is free.
VALUE_OF = {b"string": (lambda key: [b"GET", key], lambda value: value), b"hash": (lambda key: [b"HGETALL", key], lambda value: pairs(value))}
UNKNOWN = (lambda key: [b"TYPE", key], lambda value: value)
# 7.2 has listpack lists and sets where 7.0 says otherwise (reference.md section 0).
ENCODINGS_ALIKE = [{b"quicklist", b"listpack"}, {b"hashtable", b"listpack"}]
ENCODING_DIFFERS_BY_DESIGN = {b"list", b"set"}
ITERATE = {b"SCAN": (1, 1), b"HSCAN": (2, 2)}  # where the cursor stands, and how many replies an element takes
SETTLED = {}  # command: what its full scan met, where the same things are told in other words
GROWS_A_FIELD = {b"HINCRBYFLOAT", b"EXEC"}  # its reply may be a value too long for a listpack


def is_error(raw):
    return raw[:1] in b"-!"


def near(slack):
    """Numbers that time has passed by: deadlines that are left, idle times."""
    def rule(a, b, _free):
        if a[:1] != b":" or b[:1] != b":":
            return False
        x, y = int(a[1:]), int(b[1:])
        return min(x, y) >= 0 and abs(x - y) <= slack
    return rule


def idle_time(a, b, _free):
    """The real server's small numbers are shared objects, idle since another key used them."""
    return a[:1] == b[:1] == b":" and 0 <= int(b[1:]) <= int(a[1:]) + 5


def items(raw):
    kind, value = decode(raw)
    return kind, value if isinstance(value, list) else None


def unordered(a, b, _free=True):
    """KEYS and the like: the order of a hash table."""
    (ka, x), (kb, y) = items(a), items(b)
    return ka == kb and x is not None and y is not None and sorted(x) == sorted(y)


def pairs(values):
    return sorted(zip(values[::2], values[1::2]))


def hash_reply(of_pairs):
    """HGETALL, HKEYS, HVALS: in order while the hash is small, in any order in a table."""
    def rule(a, b, free):
        (ka, x), (kb, y) = items(a), items(b)
        if ka != kb or x is None or y is None or len(x) != len(y):
            return False
        return (free or len(x) > 128) and (pairs(x) == pairs(y) if of_pairs else sorted(x) == sorted(y))
    return rule


def shape(a, b, _free):
    """Chosen at random: the same kind of reply, the same number of things in it."""
    (ka, x), (kb, y) = items(a), items(b)
    if ka != kb or (x is None) != (y is None):
        return False
    return x is None or len(x) == len(y)


def scan_page(a, b, _free):
    """One page of a scan where it cannot be followed (in a transaction, from a cursor of our own making)."""
    return items(a)[1] is not None and items(b)[1] is not None


def hello(a, b, _free):
    """Version and id are each server's own."""
    def facts(raw):
        _, flat = decode(raw)
        return [v for k, v in zip(flat[::2], flat[1::2]) if k[1] not in (b"version", b"id")]
    return a[:1] == b[:1] and a[:1] in b"*%" and facts(a) == facts(b)


def config_get(a, b, _free):
    """In any order; how directives of 7.2 that 7.0 has not are told is not compared."""
    (ka, x), (kb, y) = items(a), items(b)
    if ka != kb or x is None or y is None:
        return False
    theirs, ours = dict(pairs(x)), dict(pairs(y))
    return all(name in ours and (ours[name] == value or name[1] in (b"port", b"dir") or keeps_new(value, ours[name])) for name, value in theirs.items())


def shape_of_help(a, b, _free):
    """The lines of a HELP are our own words."""
    return a[:1] == b[:1] == b"*"


def keeps_new(theirs, ours):
    """notify-keyspace-events with A: the real server forgets to show n, and so loses it in CONFIG REWRITE."""
    return theirs[1].startswith(b"A") and ours[1].replace(b"n", b"", 1) == theirs[1]


def anything(_a, _b, _free):
    """About every command there is, not only those that both have."""
    return True


def command_info(a, b, _free):
    """Sets of flags are told in no order; the notes on key specs are prose, left to COMMAND DOCS."""
    def settled(reply):
        kind, value = reply
        if not isinstance(value, list):
            return reply
        inner = [settled(v) for v in value]
        if (b"$", b"notes") in inner:
            at = inner.index((b"$", b"notes"))
            del inner[at:at + 2]
        return kind, sorted(inner, key=repr) if kind == b"~" or inner and all(v[0] in (b"+", b"*") for v in inner) else inner
    return settled(decode(a)) == settled(decode(b))


RULES = {
    b"TTL": near(3), b"EXPIRETIME": near(3), b"PTTL": near(3000), b"PEXPIRETIME": near(3000), b"OBJECT IDLETIME": idle_time,
    b"KEYS": unordered, b"HGETALL": hash_reply(True), b"HKEYS": hash_reply(False), b"HVALS": hash_reply(False),
    b"RANDOMKEY": shape, b"HRANDFIELD": shape, b"SCAN": scan_page, b"HSCAN": scan_page, b"HELLO": hello,
    b"CONFIG GET": config_get, b"CLIENT ID": shape, b"CLIENT LIST": shape, b"OBJECT REFCOUNT": near(1 << 31), b"COMMAND INFO": command_info, b"COMMAND COUNT": shape, b"COMMAND": anything, b"HELP": shape_of_help,
    b"COMMAND LIST": anything,
}
# Texts that 7.2 has otherwise: the command, then words of the reply of each.
TEXTS = [
    (b"CONFIG SET", b"debug, verbose, notice, warning", b"notice, warning, nothing"),
    (b"COMMAND GETKEYS", b"wrong number of arguments for 'command|getkeys'", b""),  # one argument is enough for 7.2
    (b"COMMAND GETKEYSANDFLAGS", b"wrong number of arguments for 'command|getkeysandflags'", b""),
]
CONTAINERS = {b"OBJECT", b"CONFIG", b"CLIENT", b"COMMAND"}


def name_of(args):
    name = args[0].upper()
    if len(args) > 1 and args[1].upper() == b"HELP":
        return b"HELP"
    if name in CONTAINERS and len(args) > 1:
        name += b" " + args[1].upper()
    return b"COMMAND" if name == b"COMMAND INFO" and len(args) == 2 else name


def alike(args, a, b, free, queued=()):
    """Whether two replies to a command are the same; `queued` are the commands an EXEC ran."""
    if a == b:
        return True
    name = name_of(args) if args[0] else b""
    if any(name == command and theirs in a and ours in b for command, theirs, ours in TEXTS):
        return True
    if not a or not b or is_error(a) or is_error(b):
        return False
    if name == b"EXEC":
        return exec_alike(a, b, free, queued)
    rule = RULES.get(name)
    return rule is not None and rule(a, b, free)


def exec_alike(a, b, free, queued):
    from wire import end_of_reply
    head = a.index(b"\r\n") + 2
    if a[:head] != b[:head] or a[:1] != b"*" or int(a[1:head]) != len(queued):
        return False
    i = j = head
    for args in queued:
        ni, nj = end_of_reply(a, i), end_of_reply(b, j)
        if not alike(args, a[i:ni], b[j:nj], free):
            return False
        i, j = ni, nj
    return True
