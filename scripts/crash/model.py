"""What writers send and what the data must be: operations drawn from a seed, a model of the keys they
change, and the search for the prefix of a writer's history that a server came back with."""
import random

# Far enough not to come true, and the same in every run.
DEADLINE_MS = 4_000_000_000_000


class Operations:
    """An endless sequence of operations on one writer's own keys. Each is a list of commands: one, or a transaction."""

    def __init__(self, seed, writer):
        self.dice = random.Random(f"{seed}/{writer}")
        self.prefix = b"w%d:" % writer
        self.count = 0

    def key(self, kind, n):
        return self.prefix + kind + b"%d" % self.dice.randrange(n)

    def value(self):
        # Some are long enough for several pages, and to be torn in the middle.
        size = self.dice.choice([0, 3, 10, 10, 40, 100, 3000]) if self.dice.random() < 0.98 else 20_000
        return b"%d:" % self.count + b"v" * size

    def next(self):
        if self.dice.random() < 0.1:
            return [(b"MULTI",)] + [self.command() for _ in range(self.dice.randrange(1, 5))] + [(b"EXEC",)]
        return [self.command()]

    def command(self):
        self.count += 1
        d, n = self.dice, self.count
        kind = d.randrange(18)
        if kind < 4:
            return b"SET", self.key(b"s", 12), self.value()
        if kind < 6:
            return b"INCRBY", self.key(b"n", 3), b"%d" % d.randrange(-5, 100)
        if kind == 6:
            return b"APPEND", self.key(b"a", 2), b"%d," % n
        if kind == 7:
            return b"DEL", self.key(d.choice([b"s", b"a", b"l", b"h", b"z", b"t", b"x", b"m"]), 12)
        if kind == 8:
            return b"PEXPIREAT", self.key(d.choice([b"s", b"l", b"h"]), 4), b"%d" % (DEADLINE_MS + n)
        if kind == 9:
            return b"RENAME", self.key(b"m", 2), self.key(b"m", 2)
        if kind == 10:
            return b"MSET", self.key(b"m", 2), self.value(), self.key(b"m", 2), b"%d" % n
        if kind == 11:
            return (d.choice([b"RPUSH", b"LPUSH"]), self.key(b"l", 3), b"%d" % n, self.value())
        if kind == 12:
            return b"LTRIM", self.key(b"l", 3), b"%d" % d.randrange(3), b"20"
        if kind == 13:
            return b"HSET", self.key(b"h", 3), b"f%d" % d.randrange(30), self.value()
        if kind == 14:
            return b"HDEL", self.key(b"h", 3), b"f%d" % d.randrange(30)
        if kind == 15:
            return d.choice([b"SADD", b"SREM"]), self.key(b"t", 3), b"%d" % d.randrange(40)
        if kind == 16:
            return b"ZADD", self.key(b"z", 3), b"%d" % n, b"m%d" % d.randrange(30)
        return b"XADD", self.key(b"x", 2), b"MAXLEN", b"=", b"20", b"%d-1" % n, b"f", b"%d" % n


def keys_of(command):
    name = command[0]
    if name == b"RENAME":
        return command[1:3]
    if name == b"MSET":
        return command[1::2]
    return command[1:2]


class Model:
    """Keys and values as a server has them: key -> [value, deadline]; a value's Python type is its type."""

    def __init__(self):
        self.data = {}

    def value(self, key, empty):
        return self.data.setdefault(key, [empty, None])[0]

    def apply(self, command):
        name, args = command[0], command[1:]
        getattr(self, name.decode().lower(), self.skip)(*args)
        for key in keys_of(command):
            if key in self.data and self.data[key][0] in ([], {}, set()):
                del self.data[key]

    def skip(self):
        """MULTI, EXEC."""

    def set(self, key, value):
        self.data[key] = [value, None]

    def mset(self, *args):
        for key, value in zip(args[::2], args[1::2]):
            self.set(key, value)

    def incrby(self, key, by):
        self.data[key] = [b"%d" % (int(self.value(key, b"0")) + int(by)), None]

    def append(self, key, more):
        self.data[key] = [self.value(key, b"") + more, None]

    def delete(self, key):
        self.data.pop(key, None)

    def pexpireat(self, key, at):
        if key in self.data:
            self.data[key][1] = int(at)

    def rename(self, old, new):
        if old in self.data:
            self.data[new] = self.data.pop(old)

    def rpush(self, key, *items):
        self.value(key, []).extend(items)

    def lpush(self, key, *items):
        value = self.value(key, [])
        value[:0] = reversed(items)

    def ltrim(self, key, first, last):
        if key in self.data:
            value = self.data[key][0]
            value[:] = value[int(first):int(last) + 1]

    def hset(self, key, field, value):
        self.value(key, {})[field] = value

    def hdel(self, key, field):
        self.value(key, {}).pop(field, None)

    def sadd(self, key, member):
        self.value(key, set()).add(member)

    def srem(self, key, member):
        self.value(key, set()).discard(member)

    def zadd(self, key, score, member):
        self.value(key, {})[member] = score

    def xadd(self, key, _maxlen, _exact, count, stream_id, *fields):
        value = self.value(key, [])
        value.append((stream_id, fields))
        del value[:-int(count)]


setattr(Model, "del", Model.delete)


class History:
    """What one writer did since its server was started: operations, and when each was sent and answered."""

    def __init__(self, model):
        self.model = model
        self.operations, self.sent, self.acknowledged = [], [], []

    def acknowledged_by(self, moment):
        """How many were answered by then; answers come in order."""
        count = len(self.acknowledged)
        while count and self.acknowledged[count - 1] > moment:
            count -= 1
        return count

    def prefixes(self, found):
        """Every number of operations behind which the model holds what was found."""
        data = self.model.data
        differ = {key for key in data.keys() | found.keys() if data.get(key) != found.get(key)}
        matches = [] if differ else [0]
        for n, operation in enumerate(self.operations, 1):
            for command in operation:
                self.model.apply(command)
                for key in keys_of(command):
                    if data.get(key) == found.get(key):
                        differ.discard(key)
                    else:
                        differ.add(key)
            if not differ:
                matches.append(n)
        return matches
