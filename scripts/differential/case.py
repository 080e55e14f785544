"""One case: commands drawn from a family's table, played to both servers, and made as small as it can be while it fails."""
import time
from collections import namedtuple

import listening
import rules
from families import COMMANDS, DIRECTIVES, FAMILIES, LISTENING, POOLS_OF, SETTINGS, SUBCOMMANDS
from grammar import BINARY, POOLS, Mood, draw, mutate, parse, seeded
from wire import Connection, decode, encode

# `raw` replaces the encoded `args`; `cut`: the pipeline ends behind it; `pause`: and a moment passes.
Step = namedtuple("Step", "conn args raw cut pause")
Failure = namedtuple("Failure", "kind step oracle subject")
DATABASES = 4


def quoted(arg, rng):
    """An argument of an inline command, in one of the ways that mean the same."""
    if rng.random() < 0.5 and arg and all(33 <= c < 127 and c not in b"\"'\\" for c in arg):
        return arg
    if rng.random() < 0.3 and b"\\" not in arg and b"\n" not in arg and b"\r" not in arg and b"\0" not in arg:
        return b"'" + arg.replace(b"'", b"\\'") + b"'"
    named = {10: b"\\n", 13: b"\\r", 9: b"\\t", 7: b"\\a", 8: b"\\b", 34: b'\\"', 92: b"\\\\"}
    return b'"' + b"".join(named[c] if c in named else bytes([c]) if 32 <= c < 127 else b"\\x%02x" % c for c in arg) + b'"'


def inline(m):
    """A command as telnet would send it; sometimes one that cannot be read."""
    name = m.rng.choice([b"PING", b"ECHO", b"SET", b"GET", b"CLIENT SETNAME", b"nosuch", b"STRLEN"])
    args = [POOLS["value"](m)[:400] for _ in range(m.rng.randrange(3))]
    line = (b" " * m.rng.choice([1, 1, 2])).join([name] + [quoted(a, m.rng) for a in args])
    if m.rng.random() < 0.08:
        line += m.rng.choice([b'"', b" 'x", b' "a"b', b" 'a'b", b' "\\x4', b" \\"])
    return m.rng.choice([b"", b"", b" "]) + line + m.rng.choice([b"\r\n", b"\r\n", b"\n"])


PROTOCOL = [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n", b"*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", b"*x\r\n", b"*\r\n",
            b"*1\r\n:1\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b"*1048577\r\n", b"*2147483648\r\n", b"*1\r\n$536870913\r\n",
            b"*1\r\n$\r\n", b"* 1\r\n$4\r\nPING\r\n", b"*01\r\n", b"*1\r\n$04\r\nPING\r\n", b"$4\r\nPING\r\n", b"+OK\r\n",
            b"*-5\r\n", b"*1\r\nPING\r\n", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n", b"Host: x\r\n", b"x" * 70000 + b"\r\n"]

WORDS = [b"NX", b"STORE", b"BY", b"LIMIT", b"STREAMS", b"KEYS", b"COUNT", b"0", b"1", b"2", b"3"]
POOLS.update({
    "inline": inline, "protocol": lambda m: m.rng.choice(PROTOCOL),
    "name": lambda m: m.rng.choice([b"", b"me", b"a b", b"x\n", b"\xff", b"normal", b"user", b"*", b"string", b"n" * 50]
                                   + BINARY),
    "word": lambda m: m.rng.choice(WORDS),
    "known": lambda m: m.rng.choice([str.upper, str.lower])(m.rng.choice(COMMANDS)).encode(),
    "subcommand": lambda m: m.rng.choice(SUBCOMMANDS).encode(),
    "directive": lambda m: m.rng.choice([str, str, str.upper])(m.rng.choice(DIRECTIVES)).encode(),
    "setting": lambda m: m.rng.choice(SETTINGS).encode(),
})
RAW = (POOLS["inline"], POOLS["protocol"])


class Family:
    """A parsed table."""

    def __init__(self, name):
        table, self.conns, self.length = FAMILIES[name]
        lines = [parse(line, POOLS_OF[name]) for line in table.strip().splitlines()]
        self.name, self.lines, self.weights = name, lines, [weight for weight, _, _ in lines]

    def command(self, mood):
        """One command: its line's mark, its words, or the bytes that stand for it."""
        _, mark, pattern = mood.rng.choices(self.lines, self.weights)[0]
        args = draw(pattern, mood)
        if pattern[0][0][1] in RAW:
            return mark, None, args[0]
        args = [a.removeprefix(b"'") for a in args]
        return mark, args if mark == "=" else mutate(args, mood.rng), None

    def case(self, seed, number):
        rng = seeded(self.name, seed, number)
        mood, steps = Mood(rng), []
        for conn in range(self.conns):
            if rng.random() < 0.4:
                steps.append(Step(conn, [b"HELLO", b"3"], None, True, False))
        conn, cut_odds = 0, rng.choice([0.05, 0.2, 1])
        for _ in range(self.length):
            if rng.random() < 0.2:
                conn = rng.randrange(self.conns)
            mark, args, raw = self.command(mood)
            pause = mark == "~"
            steps.append(Step(conn, args, raw, pause or rng.random() < cut_odds, pause))
        if self.name == "connection":
            # Without replies, the real server forgets to close after QUIT or a broken request.
            muted = rng.random() < 0.5
            steps = [s for s in steps if not (s.raw is not None or s.args[0].upper() == b"QUIT" if muted else
                                                b"REPLY" in [a.upper() for a in s.args or []])]
        if self.name == "config":
            # What the texts of CONFIG show of other bytes is not worth a difference.
            steps = [s._replace(args=[bytes(c for c in a if 0 < c < 128) for a in s.args]) for s in steps]
        return steps


def pipelines(steps):
    """Steps by pipeline: one connection, one write. What is followed page by page stands alone, and so does
    a web page's request: what was answered before it goes down with the connection, or has gone already."""
    batch = []
    for step in steps:
        alone = step.args[0].upper() in rules.ITERATE if step.args else step.raw[:4] in (b"POST", b"Host")
        if batch and (alone or batch[-1].conn != step.conn):
            yield batch
            batch = []
        batch.append(step)
        if step.cut or alone:
            yield batch
            batch = []
    if batch:
        yield batch


class Pair:
    """The two servers, and how a case is played to both."""

    def __init__(self, oracle, subject):
        self.servers = (oracle, subject)
        self.control = []
        self.defaults = None

    def prepare(self, family):
        for conn in self.control:
            conn.close()
        self.control = []
        while len(self.control) < len(self.servers):
            if not all(server.alive() for server in self.servers):
                # Both begin anew: settings of earlier cases hold for both or for none.
                for server in self.servers:
                    server.process.kill()
                    server.process.wait()
                    server.start()
            try:
                self.control = [Connection(server) for server in self.servers]
                for control in self.control:
                    control.call(b"FLUSHALL")
                    if family == "functions":
                        control.call(b"FUNCTION", b"FLUSH")
            except ConnectionError:
                self.control = []
                time.sleep(0.2)  # one of them is still writing its crash report
        if family == "config":
            self.settle()

    def oracle_ended(self):
        """Whether the real server is down: no fault of ours, whatever it was asked."""
        oracle = self.servers[0]
        try:
            Connection(oracle).call(b"PING")
            return False
        except (ConnectionError, TimeoutError):
            return True

    def settle(self):
        """Puts every directive back to what it was at the start."""
        if self.defaults is None:
            self.defaults = []
            for control in self.control:
                pairs = []
                for name in DIRECTIVES + ["maxmemory", "maxmemory-clients"]:
                    found = decode(control.call(b"CONFIG", b"GET", name.encode()))[1]
                    pairs += [v[1] for v in found[:2]]
                self.defaults.append(pairs)
        for control, pairs in zip(self.control, self.defaults):
            for at in range(0, len(pairs), 2):
                control.call(b"CONFIG", b"SET", *pairs[at:at + 2])

    def play(self, family, steps):
        """The first difference, or None."""
        self.prepare(family)
        if family in LISTENING:
            try:
                return listening.play(self, steps, Failure)
            except (ConnectionError, TimeoutError) as error:
                return Failure(f"connection: {error}", steps[-1], b"", b"")
        self.conns, self.queued = {}, {}
        # The order of a hash is free once it has been a table: only a big value or many fields make it one.
        self.free = family == "config" or any(len(a) > 60 for s in steps for a in s.args or [])
        try:
            for batch in pipelines(steps):
                failure = self.batch(batch)
                if failure:
                    return failure
            return self.end_state()
        except (ConnectionError, TimeoutError) as error:
            return Failure(f"connection: {error}", Step(0, [b"the", b"case"], None, 0, 0), b"", b"")
        finally:
            for pair in self.conns.values():
                for conn in pair:
                    conn.close()

    def batch(self, batch):
        at = batch[0].conn
        if at not in self.conns:
            for server in self.servers:
                if not server.alive():
                    return Failure(f"{server.name} ended", batch[0], b"", b"")
            self.conns[at] = [Connection(s) for s in self.servers]
            self.queued[at] = None
        pair = self.conns[at]
        unanswered = any(s.raw is not None or s.args[:1] and s.args[0].upper() == b"CLIENT" and len(s.args) > 1
                         and s.args[1].upper() == b"REPLY" for s in batch)
        if unanswered and self.queued[at] is None:
            return self.stream(batch, pair)
        data = b"".join(encode(s.args) if s.raw is None else s.raw for s in batch)
        for conn in pair:
            conn.send(data)
        for step in batch:
            a, b = (self.reply(conn) for conn in pair)
            failure = self.compare(step, at, a, b)
            if failure or not a:
                if not a:
                    self.reopen(at)
                return failure
        if batch[-1].pause:
            time.sleep(0.006)
        return None

    def reply(self, conn):
        try:
            return conn.reply()
        except TimeoutError:
            return b"(no reply)"

    def reopen(self, at):
        for conn in self.conns.pop(at):
            conn.close()
        self.queued[at] = None

    def compare(self, step, at, a, b):
        for server in self.servers:
            if (not a or not b) and not server.alive():
                return Failure(f"{server.name} ended", step, a, b)
        self.free |= step.args[0].upper() in rules.GROWS_A_FIELD and len(a) > 60
        queued = self.queued[at]
        if step.args[0].upper() in rules.ITERATE and queued is None and rules.items(a)[1] and rules.items(b)[1]:
            return self.scan(step, at, a, b)
        if not rules.alike(step.args, a, b, self.free, queued or ()):
            return Failure("reply", step, a, b)
        name = step.args[0].upper()
        if a == b"+QUEUED\r\n" and queued is not None:
            queued.append(step.args)
        elif name == b"MULTI" and a == b"+OK\r\n":
            self.queued[at] = queued if queued is not None else []
        elif name in (b"EXEC", b"DISCARD", b"RESET") and (not rules.is_error(a) or a.startswith(b"-EXECABORT")):
            self.queued[at] = None
        return None

    def scan(self, step, at, a, b):
        """A scan followed to its end on both sides meets the same things, each side in its own order."""
        place, width = rules.ITERATE[step.args[0].upper()]
        if step.args[place].strip(b"0"):
            return None  # a cursor of our own making: any page will do
        met = []
        for conn, raw in zip(self.conns[at], (a, b)):
            seen, pages = set(), 0
            while True:
                (_, cursor), (_, found) = decode(raw)[1]
                flat = [v[1] for v in found]
                seen.update(zip(flat[::2], flat[1::2]) if width == 2 else flat)
                pages += 1
                if cursor == b"0" or pages > 5000:
                    break
                raw = conn.call(*step.args[:place], cursor, *step.args[place + 1:])
            settle = rules.SETTLED.get(step.args[0].upper(), lambda found: found)
            met.append(sorted(settle(seen)))
        if met[0] != met[1]:
            return Failure("full scan", step, repr(met[0]).encode(), repr(met[1]).encode())
        return None

    def stream(self, batch, pair):
        """Requests that may have no reply: everything up to a mark is compared as it came."""
        mark = b"-- mark --"
        tail = encode([b"CLIENT", b"REPLY", b"ON"]) + encode([b"ECHO", mark])
        data = b"".join(encode(s.args) if s.raw is None else s.raw for s in batch)
        got = []
        for conn in pair:
            conn.send(data + tail)
        for conn in pair:
            replies = []
            while True:
                replies.append(self.reply(conn))
                if replies[-1] in (b"", b"(no reply)") or replies[-1].endswith(mark + b"\r\n"):
                    break
            got.append(replies)
        if any(g[-1] == b"" for g in got):
            self.reopen(batch[0].conn)
        if len(got[0]) == len(got[1]):
            # Which request a reply belongs to is not known here: any rule that fits one of them will do.
            fits = [s.args for s in batch if s.args] or [[b"PING"]]
            for a, b in zip(*got):
                if not any(rules.alike(args, a, b, self.free) for args in fits):
                    return Failure("reply", batch[0], a, b)
            return None
        return Failure("replies", batch[0], b"".join(got[0]), b"".join(got[1]))

    def end_state(self):
        states = []
        for server in self.servers:
            if not server.alive():
                return Failure(f"{server.name} ended", Step(0, [b"the", b"case"], None, 0, 0), b"", b"")
            control = Connection(server)  # the case may have killed any other
            states.append(self.state(control))
            control.close()
        for which in sorted(set(states[0]) | set(states[1])):
            a, b = (state.get(which) for state in states)
            if a is None or b is None or not self.same_key(a, b):
                return Failure(f"state of db {which[0]}", Step(0, [b"key", which[1]], None, 0, 0), repr(a)[:600].encode(),
                               repr(b)[:600].encode())
        return None

    def same_key(self, a, b):
        (type_a, left_a, encoding_a, value_a), (type_b, left_b, encoding_b, value_b) = a, b
        if type_a != type_b or value_a != value_b:
            return False
        if left_a != left_b and (min(left_a, left_b) < 0 or abs(left_a - left_b) > 3000):
            return False
        return encoding_a == encoding_b or (type_a in rules.ENCODING_DIFFERS_BY_DESIGN
                                            and {encoding_a, encoding_b} in rules.ENCODINGS_ALIKE)

    def state(self, control):
        """Every key: type, time left, encoding, value."""
        state = {}
        found = control.calls([c for db in range(DATABASES) for c in ([b"SELECT", b"%d" % db], [b"KEYS", b"*"])])[1::2]
        for db, raw in enumerate(found):
            keys = [key for _, key in decode(raw)[1]]
            if not keys:
                continue
            facts = control.calls([[b"SELECT", b"%d" % db]] + [c for key in keys for c in (
                [b"TYPE", key], [b"PTTL", key], [b"OBJECT", b"ENCODING", key])])[1:]
            kinds = [decode(t)[1] for t in facts[::3]]
            shows = [rules.VALUE_OF.get(kind, rules.UNKNOWN) for kind in kinds]
            values = control.calls([show(key) for key, (show, _) in zip(keys, shows)])
            for n, key in enumerate(keys):
                value = decode(values[n])[1]
                if isinstance(value, list):
                    value = shows[n][1](value)
                state[db, key] = kinds[n], int(decode(facts[3 * n + 1])[1]), decode(facts[3 * n + 2])[1], value
        return state


def shrink(steps, fails, budget=250):
    """The least commands, then the shortest arguments, that still fail."""
    spent = 0

    def still(candidate):
        nonlocal spent
        spent += 1
        return spent <= budget and fails(candidate)

    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            candidate = steps[:at] + steps[at + size:]
            if candidate and still(candidate):
                steps = candidate
            else:
                at += size
        size //= 2
    for at, step in enumerate(steps):
        for n in range(len(step.args or []) - 1, 0, -1):
            for replacement in ([], [step.args[n][:1]], [b"x"]):
                if step.args[n:n + 1] == replacement:
                    break
                smaller = step._replace(args=step.args[:n] + replacement + step.args[n + 1:])
                candidate = steps[:at] + [smaller] + steps[at + 1:]
                if still(candidate):
                    steps, step = candidate, smaller
                    break
    return steps
