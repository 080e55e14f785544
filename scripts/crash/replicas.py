#!/usr/bin/env python3
"""Kills primaries, replicas, links and children in every phase of a synchronisation, and checks what is left.

    replicas.py BINARY [--rounds 100] [--seed 1] [--only 17] [--jobs 3]

Each round is a primary with one or two replicas in directories of their own; one of them may be a real redis-server,
where there is one. Under load one replica begins to follow, follows anew, or resumes, and something is killed when
a line in a log tells that the synchronisation has come so far: the snapshot is waited for, is written, is sent, is
loaded, takes the place of the old data, is acknowledged. What was killed is started again, or a replica takes
over. Then all of them have to come to the same data at the same offset, and:
  - nothing is lost that WAIT said a replica has, nor what a primary's file was told with appendfsync always;
  - what a server holds of a writer is what the first so many of its operations make;
  - no file of a transfer stays behind, no server of ours has ended that was not killed, nor used more memory than
    the data account for, and a server that lost its peer has said so.
All choices follow from the seed and the round's number: --only runs one of them again.
"""
import argparse
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter

from model import History, Model, Operations
from process import Failed, Process, Writer, everything, kill_child
from wire import Connection, decode

REAL = shutil.which("redis-server")
WRITERS, DATABASES = 3, 8
# The writers' own; what is loaded before lies behind them, then what nobody keeps count of.
WRITERS_DATABASES, BULK_DB, CHURN_DB = 3, 5, 6
BULK_KEYS = 1500
# Data, a snapshot on its way, twice a backlog, and what the program itself takes.
RSS_MAX_KIB = 300 << 10
PATIENCE_S = 40

# When to strike: whose log tells it, and by which line (ours and the real one's are the same).
PHASES = {
    "asked": ("primary", "asks for synchronization"),
    "begun": ("primary", "Starting BGSAVE for SYNC"),
    "child": ("primary", "Background RDB transfer started|Background saving started"),
    "agreed": ("replica", "Full resync from master"),
    "receiving": ("replica", "MASTER <-> REPLICA sync: receiving"),
    "sent": ("primary", "Streamed replica with|Synchronization with replica"),
    "loading": ("replica", "Loading DB in memory"),
    "replaced": ("replica", "Flushing old data|Swapping active DB"),
    "loaded": ("replica", "Done loading RDB"),
    "finished": ("replica", "Finished with success"),
    "resuming": ("replica", "Trying a partial resynchronization"),
    "resumed": ("replica", "Successful partial resynchronization"),
    "any": ("replica", "$."),
}
LOST = re.compile(
    "Connection with master lost|connection lost|Error condition on socket|Failed to read response|I/O error|"
    "Unable to connect|Connection reset|Connection refused|Failed trying to load|Connection with replica|"
    "SYNC failed|last replica dropped|Write error|Error reply|No response|failed to load|Connection lost|"
    "Sending to the master failed"
)
OVERALL = ["first", "first", "again", "resume"]
VICTIMS = ["primary", "primary", "replica", "replica", "both", "link", "child"]


class Node:
    """A server over all its lives: its directory and its port stay."""

    def __init__(self, root, name, binary, arguments, port):
        self.name, self.binary, self.arguments, self.port = name, binary, arguments, port
        self.directory = os.path.join(root, name)
        os.mkdir(self.directory)
        self.log = os.path.join(root, f"{name}.log")
        self.real, self.process, self.orphans = binary == REAL, None, set()

    def start(self, *more):
        self.process = Process(self.binary, self.directory, [*self.arguments, *more], None, self.log, self.port)
        return self

    def kill(self):
        """Its children go on: whatever they write, they do it into a directory that is used again."""
        self.orphans |= set(self.process.children())
        self.process.kill()
        # What nobody has written to for long is removed at the next start.
        for name in self.left_behind():
            try:
                os.utime(os.path.join(self.directory, name), (time.time() - 600,) * 2)
            except FileNotFoundError:
                pass

    def left_behind(self):
        """Files that were begun; those of an orphan that outlives the next start are taken away by the one after."""
        names = [name for name in os.listdir(self.directory) if name.startswith("temp-")]
        return [name for name in names if not any(str(pid) in name for pid in self.orphans)]

    def tell(self, *args):
        connection = Connection(self, timeout=PATIENCE_S)
        try:
            return connection.call(*args)
        finally:
            connection.close()

    def ask(self, *args):
        """The same from a server that may not be there, or not yet."""
        try:
            return self.tell(*args)
        except (OSError, ConnectionError, TimeoutError):
            return b""

    def info(self, section=b"replication"):
        text = self.ask(b"INFO", section).decode(errors="replace")
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def said(self):
        with open(self.log, "rb") as log:
            return log.read().decode(errors="replace")

    def size_of_log(self):
        return os.path.getsize(self.log) if os.path.exists(self.log) else 0

    def most_memory_kib(self):
        try:
            with open(f"/proc/{self.process.process.pid}/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return 0


class Waiting(Writer):
    """A writer that asks now and then whether a replica has everything that was answered so far."""

    def __init__(self, node, number, operations, history):
        super().__init__(node, number, operations, history, WRITERS_DATABASES)
        self.held = 0

    def batch(self, depth):
        super().batch(min(depth, 16))
        if self.dice.random() < 0.3:
            answered = len(self.history.acknowledged)
            self.connection.send(b"WAIT 1 40\r\n")
            reply = self.connection.reply()
            if not reply:
                raise ConnectionError
            if int(reply[1:]) >= 1:
                self.held = answered
        time.sleep(0.002)


class Churn(threading.Thread):
    """Changes that are random, or come by themselves: what a replica has to be told in other words."""

    def __init__(self, node, seed):
        super().__init__(daemon=True)
        self.connection, self.dice, self.stop = Connection(node, timeout=PATIENCE_S), random.Random(seed), False
        self.connection.call(b"SELECT", b"%d" % CHURN_DB)

    def run(self):
        try:
            while not self.stop:
                self.connection.calls([self.command() for _ in range(self.dice.randrange(1, 20))])
                time.sleep(0.003)
        except (OSError, ConnectionError):
            pass
        finally:
            self.connection.close()

    def command(self):
        d = self.dice
        n = b"%d" % d.randrange(50)
        return d.choice([
            (b"SET", b"short" + n, os.urandom(20), b"PX", b"%d" % d.randrange(1, 400)),
            (b"SET", b"short" + n, n, b"EX", b"%d" % d.randrange(1, 3)),
            (b"GET", b"short" + n),
            (b"SADD", b"set", *[b"%d" % d.randrange(1000) for _ in range(10)]),
            (b"SPOP", b"set", b"%d" % d.randrange(1, 8)),
            (b"INCRBYFLOAT", b"float", b"0.1"),
            (b"GETEX", b"short" + n, b"PX", b"100"),
            (b"LPUSH", b"queue" + n, n),
            (b"BLPOP", b"queue" + n, b"0.001"),
            (b"XADD", b"stream", b"MAXLEN", b"~", b"100", b"*", b"f", n),
            (b"EVAL", b"redis.call('INCR', KEYS[1]); return redis.call('RPUSH', KEYS[2], ARGV[1])", b"2",
             b"count", b"list" + n, n),
            (b"LTRIM", b"list" + n, b"0", b"10"),
            (b"HINCRBYFLOAT", b"hash", n, b"1.5"),
            (b"ZADD", b"zset", n, n),
            (b"ZPOPMIN", b"zset"),
            (b"COPY", b"set", b"copy" + n, b"REPLACE"),
            (b"UNLINK", b"copy" + n),
        ])


class Round:
    def __init__(self, binary, seed, number, ports):
        self.dice, self.number = random.Random(f"replicas/{seed}/{number}"), number
        self.seen = Counter()
        self.root = tempfile.mkdtemp(prefix="crash-replicas-")
        d = self.dice
        self.overall, self.victim = d.choice(OVERALL), d.choice(VICTIMS)
        phases = [name for name in PHASES if name[:4] != "resu"]
        self.phase = d.choice(["resuming", "resumed", "any"] if self.overall == "resume" else phases)
        self.late_s = d.choice([0, 0, 0.002, 0.02, 0.1]) * d.random() * 2
        if self.phase == "any":
            self.late_s = d.random() * 0.6
        count = d.choice([1, 2])
        # Which side is the real one, if any: the primary, or a replica.
        kinds = [binary] * (1 + count)
        real = d.choice([None, None, 0, 1])
        if real is not None and REAL:
            kinds[real] = REAL
        self.promotes = d.random() < 0.6
        self.always = d.random() < 0.6
        shared = [
            "--databases", str(DATABASES), "--save", "", "--enable-debug-command", "yes", "--loglevel", "notice",
            "--repl-diskless-sync", d.choice(["yes", "no"]), "--repl-diskless-sync-delay", d.choice(["0", "0", "1"]),
            "--repl-backlog-size", d.choice(["1mb", "1mb", "32kb"]),
            "--rdb-key-save-delay", d.choice(["0", "50", "200"]), "--key-load-delay", d.choice(["0", "50", "200"]),
            "--rdbcompression", d.choice(["yes", "no"]),
        ]
        self.nodes = []
        for n, kind in enumerate(kinds):
            kept = self.always if n == 0 else d.random() < 0.4
            arguments = shared + [
                "--appendonly", "yes" if kept else "no", "--appendfsync", "always" if n == 0 else "everysec",
                "--repl-diskless-load", d.choice(["disabled", "on-empty-db", "swapdb"]),
            ]
            name = "primary" if n == 0 else f"replica{n}"
            self.nodes.append(Node(self.root, name, kind, arguments, ports()))
        self.primary, self.replicas = self.nodes[0], self.nodes[1:]
        # It is the one whose synchronisation is disturbed.
        self.replica = self.replicas[-1]
        self.operations = [Operations(f"replicas/{seed}/{number}", n) for n in range(WRITERS)]
        self.histories = [History(Model()) for _ in range(WRITERS)]
        self.writers = []

    def plan(self):
        kinds = "+".join("real" if node.real else "ours" for node in self.nodes)
        options = " ".join(self.primary.arguments[9:] + ["|", *self.replica.arguments[-6:]])
        return (f"round {self.number}: {kinds}, {self.overall}, {self.victim} at {self.phase} + {self.late_s:.3f} s, "
                f"{options}")

    def run(self):
        try:
            self.set_up()
            self.disturb()
            self.settle()
            self.judge()
        except Failed as failure:
            logs = "\n".join(f"--- {node.name} ({'real' if node.real else 'ours'})\n{node.said()[-3500:]}"
                             for node in self.nodes if node.size_of_log())
            return f"{self.plan()}\n{failure}\n{logs}\nThe directory is kept: {self.root}", self.seen
        finally:
            for node in self.nodes:
                if node.process:
                    for pid in node.process.children():
                        kill_child(pid)
                    node.kill()
        shutil.rmtree(self.root, ignore_errors=True)
        return None, self.seen

    def set_up(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.process.wait_loaded().close()
        self.fill()
        for node in self.replicas[:-1]:
            self.follow(node)
        if self.overall != "first":
            self.follow(self.replica)
        for node in self.nodes[1:] if self.overall != "first" else self.nodes[1:-1]:
            self.wait(f"{node.name} to follow", lambda: node.info().get("master_link_status") == "up")
        self.writers = [Waiting(self.primary, n, self.operations[n], self.histories[n]) for n in range(WRITERS)]
        self.writers.append(Churn(self.primary, self.dice.random()))
        for writer in self.writers:
            writer.start()
        time.sleep(0.1 * self.dice.random())

    def fill(self):
        connection = Connection(self.primary, timeout=PATIENCE_S)
        noise = random.Random(self.number)
        connection.call(b"SELECT", b"%d" % BULK_DB)
        for first in range(0, BULK_KEYS, 250):
            connection.calls([(b"SET", b"bulk%d" % n, noise.randbytes(noise.choice([10, 300, 4000])))
                              for n in range(first, first + 250)])
        connection.call(b"FUNCTION", b"LOAD", b"#!lua name=kept\nredis.register_function('f', function() return 1 end)")
        connection.close()

    def follow(self, node):
        """Not while it loads: then it is asked again."""
        request = (b"REPLICAOF", b"127.0.0.1", b"%d" % self.primary.port)
        self.wait(f"{node.name} to follow", lambda: node.ask(*request)[:3] == b"+OK")

    def disturb(self):
        whose, line = PHASES[self.phase]
        node = self.primary if whose == "primary" else self.replica
        seen, pattern = node.size_of_log(), re.compile(line.encode())
        if self.overall == "resume":
            self.cut()
        elif self.overall == "again":
            self.replica.tell(b"REPLICAOF", b"NO", b"ONE")
            self.replica.tell(b"SET", b"own", b"data")
            self.follow(self.replica)
        else:
            self.follow(self.replica)
        limit = time.monotonic() + 2.5
        with open(node.log, "rb") as log:
            log.seek(seen)
            said = b""
            while self.phase != "any" and time.monotonic() < limit:
                said += log.read()
                if pattern.search(said):
                    self.seen[f"struck when {self.phase}"] += 1
                    break
                time.sleep(0.0005)
        time.sleep(self.late_s)
        self.before = {node: node.size_of_log() for node in self.nodes}
        self.seen[f"killed {self.victim}"] += 1
        if self.victim == "link":
            self.cut()
        elif self.victim == "child":
            for pid in self.primary.process.children():
                kill_child(pid)
        if self.victim in ("primary", "both"):
            self.primary.kill()
        if self.victim in ("replica", "both"):
            self.replica.kill()

    def cut(self):
        """Ends the connection between the two: from either end."""
        if self.dice.random() < 0.5:
            self.primary.ask(b"CLIENT", b"KILL", b"TYPE", b"replica")
        else:
            self.replica.ask(b"CLIENT", b"KILL", b"TYPE", b"master")

    def settle(self):
        """Starts again what was killed; a replica takes over, or does not."""
        time.sleep(self.dice.choice([0, 0.02, 0.3]))
        back = ["--replicaof", f"127.0.0.1 {self.primary.port}"]
        if self.victim == "replica":
            self.replica.start(*back)
        if self.victim not in ("primary", "both"):
            time.sleep(self.dice.choice([0, 0.1, 0.3]))
            return
        self.end_writers()
        if self.victim == "primary" and self.promotes and self.take_over():
            return
        if self.victim == "both" and self.dice.random() < 0.5:
            self.replica.start(*back)
            self.primary.start()
        else:
            self.primary.start()
            if self.victim == "both":
                self.replica.start(*back)

    def take_over(self):
        """The replica that has the most becomes the primary; the old one follows it."""
        online = [node for node in self.replicas if node is not self.replica or self.overall == "resume"]
        states = [(node.info(), node) for node in online]
        states = [(int(state.get("slave_repl_offset", 0)), node.name, node) for state, node in states
                  if state.get("role") == "slave" and state.get("master_sync_in_progress") == "0"]
        # Those who are half way through a synchronisation have nothing that counts.
        if not states:
            return False
        new = max(states)[2]
        new.tell(b"REPLICAOF", b"NO", b"ONE")
        self.check_writers(new, [writer.held for writer in self.writers[:WRITERS]], "WAIT told")
        old, self.primary = self.primary, new
        self.seen["took over"] += 1
        for node in self.replicas:
            if node is not new:
                self.follow(node)
        old.start("--replicaof", f"127.0.0.1 {new.port}")
        self.replicas = [node for node in self.nodes if node is not new]
        return True

    def end_writers(self):
        for writer in self.writers:
            writer.stop = True
        for writer in self.writers:
            writer.join(PATIENCE_S)
            if getattr(writer, "error", None):
                raise Failed(f"writer {writer.number} was answered {writer.error}")

    def judge(self):
        self.end_writers()
        self.primary.process.wait_loaded().close()
        if self.victim == "primary" and self.primary is self.nodes[0] or self.victim == "both":
            if self.always:
                promised = [len(history.acknowledged) for history in self.histories]
                self.check_writers(self.primary, promised, "appendfsync always answered")
        elif self.primary is self.nodes[0]:
            promised = [len(history.acknowledged) for history in self.histories]
            self.check_writers(self.primary, promised, "were answered")
        # Somebody goes on writing, or not, while they find each other again.
        if self.dice.random() < 0.5:
            self.primary.tell(b"SET", b"after", b"all")
        self.wait("all to be in step", self.in_step, PATIENCE_S)
        self.wait("all to have the same data", self.same_data, PATIENCE_S)
        for node in self.nodes:
            self.look_at(node)

    def in_step(self):
        offsets = {self.primary.info().get("master_repl_offset")}
        for node in self.replicas:
            state = node.info()
            if state.get("role") != "slave" or state.get("master_link_status") != "up":
                return False
            offsets.add(state.get("slave_repl_offset"))
            offsets.add(state.get("master_repl_offset"))
        return len(offsets) == 1

    def same_data(self):
        return len({node.ask(b"DEBUG", b"DIGEST") + node.ask(b"FUNCTION", b"LIST") for node in self.nodes}) == 1

    def look_at(self, node):
        if node.real:
            return
        # A rewrite may still run, and the background thread be about to take a file away.
        self.wait(f"{node.name} to have no files like {node.left_behind()} left", lambda: not node.left_behind(), 10)
        memory = node.most_memory_kib()
        self.seen["most memory, KiB"] = max(self.seen["most memory, KiB"], memory)
        if memory > RSS_MAX_KIB:
            raise Failed(f"{node.name} has used {memory} KiB")
        text = node.said()
        if "panicked" in text or "BUG REPORT" in text:
            raise Failed(f"{node.name} has failed")
        lost_its_peer = (self.victim == "primary" and node is self.replica and self.phase not in ("any", "asked")
                         or self.victim == "link" and node is self.replica and self.phase == "resumed")
        if lost_its_peer and not LOST.search(text):
            raise Failed(f"{node.name} does not say that it lost its peer")

    def check_writers(self, node, promised, what):
        found = everything(Connection(node, timeout=PATIENCE_S), WRITERS_DATABASES)
        for n, history in enumerate(self.histories):
            prefixes = history.prefixes(found.get(n, {}))
            if not prefixes:
                raise Failed(f"what {node.name} has of writer {n} is no prefix of its {len(history.sent)} operations "
                             f"({len(history.acknowledged)} answered, {promised[n]} promised)")
            if prefixes[-1] < promised[n]:
                raise Failed(f"{node.name} has {prefixes[-1]} operations of writer {n}; {promised[n]} {what}")
            self.seen["operations promised"] += promised[n]

    def wait(self, what, condition, limit_s=PATIENCE_S):
        started = time.monotonic()
        while not condition():
            for node in self.nodes:
                if node.process and not node.process.alive() and node.process.process.returncode != -signal.SIGKILL:
                    raise Failed(f"{node.name} has ended with {node.process.process.returncode}")
            if time.monotonic() - started > limit_s:
                states = "\n".join(f"{node.name}: {node.info()}" for node in self.nodes)
                digests = [node.ask(b"DEBUG", b"DIGEST") for node in self.nodes]
                raise Failed(f"still waiting after {limit_s} s for {what}\n{states}\n{digests}")
            time.sleep(0.01)


def free_ports(first):
    """Ports below those that the system gives to connections: a server that is started again needs its own."""
    state = [first]

    def next_port():
        while True:
            state[0] += 1
            port = 10_000 + state[0] % 22_000
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    pass
    return next_port


STOP = multiprocessing.Event()      # no further round is to begin


def work(task):
    binary, seed, number, first_port = task
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if STOP.is_set():
        return number, "", "", Counter()
    try:
        round_ = Round(binary, seed, number, free_ports(first_port + number * 7))
        failure, seen = round_.run()
        return number, round_.plan(), failure, seen
    except Exception as error:  # what nobody thought of is a failure with a name, too
        import traceback
        return number, "", f"round {number}: {error!r}\n{traceback.format_exc()}", Counter()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--only", type=int, help="the number of one round")
    parser.add_argument("--jobs", type=int, default=3, help="rounds at once: they wait more than they compute")
    parser.add_argument("--verbose", action="store_true", help="what each round was")
    parser.add_argument("--keep-going", action="store_true", help="beyond the first failure")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary) if os.path.exists(options.binary) else options.binary
    print(f"replicas: {binary}, seed {options.seed}, {options.rounds} rounds"
          + ("" if REAL else "; no redis-server: ours on both sides"), flush=True)
    numbers = range(options.rounds) if options.only is None else [options.only]
    tasks = [(binary, options.seed, number, os.getpid() * 199) for number in numbers]
    started, seen, failures, done = time.monotonic(), Counter(), 0, 0
    with multiprocessing.Pool(options.jobs) as pool:
        for _, plan, failure, counts in pool.imap_unordered(work, tasks):
            if not plan and not failure:
                continue    # it never began
            done += 1
            most = max(seen["most memory, KiB"], counts.pop("most memory, KiB", 0))
            seen.update(counts)
            seen["most memory, KiB"] = most
            if options.verbose:
                print(plan, "FAILED" if failure else "", flush=True)
            if failure:
                failures += 1
                print(failure, flush=True)
                if not options.keep_going:
                    # Those that run end their servers themselves.
                    STOP.set()
            elif sys.stdout.isatty():
                print(f"\rreplicas: {done} rounds", end="", flush=True)
    what = ", ".join(f"{what}: {count}" for what, count in sorted(seen.items()))
    seconds = time.monotonic() - started
    kept = "every promise kept" if not failures else f"{failures} FAILED"
    print(f"\rreplicas: {done} rounds in {seconds:.0f} s, {kept}; {what}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
