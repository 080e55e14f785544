"""A server that is killed and started again over the same directory, and writers that load it meanwhile."""
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "differential"))
from wire import Connection, decode, encode, free_port  # noqa: E402

# Longer than any start takes, on a busy machine too.
PATIENCE_S = 60


class Failed(Exception):
    """A promise was broken."""


class Process:
    """One life of a server."""

    def __init__(self, binary, directory, arguments, shim=None, log=None, port=None):
        self.synced = os.path.join(directory, "synced")
        environment = dict(os.environ)
        if shim:
            environment.update(LD_PRELOAD=shim, POWERCUT_LOG=self.synced)
            # What lies there before this life has been there for long.
            with open(self.synced, "w") as notes:
                for path in files(directory):
                    state = os.stat(path)
                    notes.write(f"{state.st_ino} {state.st_size}\n")
        self.port, self.log = port or free_port(), log or os.path.join(directory, "server.log")
        self.log_from = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory, *arguments]
        with open(self.log, "ab") as log:
            # Python ignores SIGXFSZ, and so does what inherits that: a file at its limit is an error then, no end.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, restore_signals=False
            )

    def wait_loaded(self):
        """Waits until it answers with its data; a server that ends by itself could not load its files."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise Failed(f"the server ended with {self.process.returncode} while it loaded:\n{self.said()}")
            try:
                connection = Connection(self)
                if connection.call(b"PING") == b"+PONG\r\n":
                    return connection
                connection.close()
            except OSError:
                pass
            time.sleep(0.02)
        raise Failed(f"the server has not loaded within {PATIENCE_S} s:\n{self.said()}")

    def said(self):
        """The end of what this life logged."""
        with open(self.log, "rb") as log:
            log.seek(self.log_from)
            return log.read()[-4000:].decode(errors="replace")

    def children(self):
        """Its living children."""
        pids, base = [], f"/proc/{self.process.pid}/task"
        try:
            for task in os.listdir(base):
                with open(f"{base}/{task}/children") as f:
                    pids += [int(pid) for pid in f.read().split()]
        except OSError:
            pass
        return [pid for pid in pids if lives(pid)]

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        self.process.kill()
        self.process.wait()


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def kill_child(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def build_shim(directory):
    """The library that notes what was synced; None where there is no C compiler."""
    compiler, shim = shutil.which("cc"), os.path.join(directory, "powercut.so")
    if not compiler:
        return None
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "powercut.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    return shim


def cut_power(directory, synced, dice):
    """Takes from every file a part of what was never synced; how many bytes that were."""
    sizes, gone = {}, 0
    with open(synced) as notes:
        for line in notes:
            inode, size = line.split()
            # The last word holds: a file may have been cut, or its inode given to another.
            sizes[int(inode)] = int(size)
    for path in files(directory):
        state = os.stat(path)
        safe = min(sizes.get(state.st_ino, 0), state.st_size)
        kept = dice.choice([safe, state.st_size, dice.randint(safe, state.st_size)])
        os.truncate(path, kept)
        gone += state.st_size - kept
    return gone


def files(directory):
    """Paths of the server's own files."""
    paths = [os.path.join(root, name) for root, _, names in os.walk(directory) for name in names]
    return sorted(path for path in paths if os.path.basename(path) not in ("synced", "server.log"))


class Writer(threading.Thread):
    """Sends one history's operations in pipelines of any depth until its server is gone."""

    def __init__(self, server, number, operations, history, databases):
        super().__init__(daemon=True)
        self.connection = Connection(server, timeout=PATIENCE_S)
        self.connection.call(b"SELECT", b"%d" % (number % databases))
        self.operations, self.history, self.number = operations, history, number
        self.stop, self.error = False, None
        self.dice = random.Random(operations.count)

    def run(self):
        try:
            while not self.stop:
                self.batch(self.dice.choice([1, 1, 4, 16, 50]))
        except (ConnectionError, TimeoutError, OSError) as error:
            if isinstance(error, TimeoutError):
                self.error = f"no answer within {PATIENCE_S} s"
        finally:
            self.connection.close()

    def batch(self, depth):
        batch, history = [self.operations.next() for _ in range(depth)], self.history
        now = time.monotonic()
        history.operations += batch
        history.sent += [now] * depth
        self.connection.send(b"".join(encode(command) for operation in batch for command in operation))
        for operation in batch:
            for _ in operation:
                self.check(self.connection.reply())
            history.acknowledged.append(time.monotonic())

    def check(self, reply):
        if not reply:
            raise ConnectionError
        if reply[:1] == b"-" and b"no such key" not in reply:
            self.error = reply.decode(errors="replace")
            raise ConnectionError


READERS = {
    b"string": lambda key: (b"GET", key),
    b"list": lambda key: (b"LRANGE", key, b"0", b"-1"),
    b"hash": lambda key: (b"HGETALL", key),
    b"set": lambda key: (b"SMEMBERS", key),
    b"zset": lambda key: (b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"),
    b"stream": lambda key: (b"XRANGE", key, b"-", b"+"),
}


def plain(reply):
    """A reply's value without its kinds."""
    value = decode(reply)[1] if isinstance(reply, bytes) else reply[1]
    return [plain(item) for item in value] if isinstance(value, list) else value


def value_of(kind, reply):
    value = plain(reply)
    if kind in (b"hash", b"zset"):
        return dict(zip(value[::2], value[1::2]))
    if kind == b"set":
        return set(value)
    if kind == b"stream":
        return [(stream_id, tuple(fields)) for stream_id, fields in value]
    return value


def everything(connection, databases):
    """All that the server holds: writer's number -> key -> [value, deadline]."""
    found = {}
    for db in range(databases):
        connection.call(b"SELECT", b"%d" % db)
        keys = plain(connection.call(b"KEYS", b"*"))
        asked = connection.calls([c for key in keys for c in ((b"TYPE", key), (b"PEXPIRETIME", key))]) if keys else []
        kinds = [plain(reply) for reply in asked[::2]]
        deadlines = [int(plain(reply)) for reply in asked[1::2]]
        values = connection.calls([READERS[kind](key) for kind, key in zip(kinds, keys)]) if keys else []
        for key, kind, at, reply in zip(keys, kinds, deadlines, values):
            writer = int(key[1:key.index(b":")])
            if writer % databases != db:
                raise Failed(f"{key!r} is in database {db}")
            found.setdefault(writer, {})[key] = [value_of(kind, reply), at if at >= 0 else None]
    return found


def info(connection, field):
    text = connection.call(b"INFO", b"persistence").decode()
    return next(line.split(":", 1)[1] for line in text.split("\r\n") if line.startswith(field + ":"))
