"""Cases in which clients are told what others do: everything that each connection hears is compared, not one reply for each request."""
import itertools

from wire import Connection, decode, encode

PROTOCOLS = {b"HELLO", b"RESET"}
UNSUBSCRIBED = {b"unsubscribe", b"punsubscribe", b"sunsubscribe"}


def heard(conn, mark):
    """All that a connection gets until it has answered the mark twice, since what a whole turn of the server did is told behind
    the replies of that turn; None when it is closed."""
    got = []
    for _ in range(2):
        conn.send(encode([b"PING", mark]))
        while True:
            raw = conn.reply()
            if raw == b"":
                return None
            if mark in raw:
                break
            got.append(raw)
    return got


def connect(server):
    """A connection with an id that is no other number of a reply, and the id."""
    while True:
        conn = Connection(server)
        number = decode(conn.call(b"CLIENT", b"ID"))[1]
        if int(number) >= 100:
            return conn, number
        conn.close()


def settled(replies, ids):
    """What was heard in one step, in no order: messages of one PUBLISH come by the order of a hash. Ids of clients are told by
    the number of their connection."""
    def named(reply):
        kind, value = reply
        if isinstance(value, list):
            return kind, tuple(named(v) for v in value)
        if kind == b":" and value in ids:
            return kind, b"id %d" % ids.index(value)
        if kind == b"-":
            for number, known in enumerate(ids):
                value = value.replace(known, b"@%d" % number)
        # In place of another the real server says null in the protocol of the one who asked for it.
        return (b"_", b"") if value is None else (kind, value)
    told, counts = [], []
    for raw in replies:
        kind, value = decode(raw)
        if isinstance(value, list) and value and value[0][1] in UNSUBSCRIBED:
            # All of them in the order of a hash, too: which one was the last is not compared.
            counts.append(value[2])
            value = value[:2]
        told.append(named((kind, value)))
    return sorted(told, key=repr), sorted(counts)


def play(pair, steps, failure):
    """The first difference, or None."""
    count = 1 + max(step.conn for step in steps)
    opened = [[connect(server) for _ in range(count)] for server in pair.servers]
    sides, ids = [[conn for conn, _ in side] for side in opened], [[number for _, number in side] for side in opened]
    marks = itertools.count()
    try:
        for step in steps:
            got = []
            for conns, known in zip(sides, ids):
                args = [known[int(a[1:])] if a[:1] == b"@" and a[1:].isdigit() and int(a[1:]) < count else a for a in step.args]
                conns[step.conn].send(encode(args))
                # First the one that spoke: what others hear of it has been said when it is answered.
                order = [step.conn] + [n for n in range(count) if n != step.conn]
                found = {n: heard(conns[n], b"-- mark %d --" % next(marks)) for n in order}
                got.append([found[n] and settled(found[n], known) for n in range(count)])
            for n, (a, b) in enumerate(zip(*got)):
                if a != b and not (step.args[0].upper() in PROTOCOLS and n == step.conn):
                    return failure(f"heard by {n}", step, repr(a).encode(), repr(b).encode())
                if a is None or b is None:
                    return None
        return None
    finally:
        for conn in itertools.chain(*sides):
            conn.close()
