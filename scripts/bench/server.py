"""A server to be measured, a client just large enough to do it, and redis-benchmark as the load."""
import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SERVER_CPU, LOAD_CPU = 0, min(1, os.cpu_count() - 1)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """One server process, pinned, in a directory of its own; the same arguments for every implementation."""

    def __init__(self, name, binary, *extra, directory=None, cpu=SERVER_CPU):
        self.name, self.port = name, free_port()
        self.dir = directory or tempfile.mkdtemp(prefix=f"bench-{name}-")
        self.log = open(os.path.join(self.dir, "server.log"), "ab")
        args = [binary, "--port", str(self.port), "--dir", self.dir, "--save", "", "--appendonly", "no",
                "--maxclients", "20000", "--protected-mode", "no", *extra]
        self.started = time.monotonic()
        self.process = subprocess.Popen(args, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        self.pid = self.process.pid
        self.wait_ready()

    def wait_ready(self, limit=300):
        while time.monotonic() - self.started < limit:
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended with {self.process.returncode}: see {self.log.name}")
            try:
                if self.call("PING") == "PONG":
                    self.ready = time.monotonic() - self.started
                    return
            except (OSError, RuntimeError):
                pass
            time.sleep(0.01)
        sys.exit(f"{self.name} was not ready in {limit} s")

    def connect(self):
        return Connection(self.port)

    def call(self, *args):
        c = self.connect()
        try:
            return c.call(*args)
        finally:
            c.close()

    def cpu(self):
        """CPU seconds of all threads, to the nanosecond. Children (a snapshot's) do not count."""
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/schedstat") as f:
                    total += int(f.read().split()[0])
            except FileNotFoundError:
                pass
        return total / 1e9

    def rss(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) * 1024

    def info(self, field):
        found = re.search(rf"^{field}:(.*?)\r?$", self.call("INFO", "everything"), re.M)
        return found and found[1]

    def longest_turn(self):
        """(microseconds, cause) of the loop's longest turn since CONFIG RESETSTAT, where the server keeps it."""
        us = self.info("loop_longest_turn_us")
        return (float(us), self.info("loop_longest_turn_cause")) if us else None

    def stop(self, keep=False):
        self.process.send_signal(signal.SIGKILL if keep else signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class Connection:
    """A blocking RESP2 client, as small as the scenarios need."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb", 1 << 16)

    def close(self):
        self.file.close()
        self.sock.close()

    @staticmethod
    def encode(*args):
        out = [b"*%d\r\n" % len(args)]
        for a in args:
            a = a if isinstance(a, bytes) else str(a).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(a), a))
        return b"".join(out)

    def read(self):
        line = self.file.readline()
        if not line:
            raise RuntimeError("connection closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            n = int(rest)
            return None if n < 0 else self.file.read(n + 2)[:-2].decode("latin-1")
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest.decode()

    def call(self, *args):
        self.sock.sendall(self.encode(*args))
        return self.read()

    def bulk(self, commands, batch=2000):
        """Pipeline encoded commands, `batch` at a time."""
        pending = []
        for c in commands:
            pending.append(c)
            if len(pending) == batch:
                self.flush(pending)
                pending = []
        self.flush(pending)

    def flush(self, pending):
        sender = threading.Thread(target=self.sock.sendall, args=(b"".join(pending),))
        sender.start()
        for _ in pending:
            self.read()
        sender.join()


def drive(server, n, *args):
    """Run redis-benchmark for n requests; return (server CPU in microseconds a request, requests a second)."""
    before = server.cpu()
    out = subprocess.run(["redis-benchmark", "-p", str(server.port), "-n", str(n), "--csv", *map(str, args)],
                         capture_output=True, text=True, timeout=550,
                         preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}))
    rows = [r for r in csv.reader(out.stdout.splitlines()) if len(r) > 2 and r[0] != "test"]
    if not rows:
        raise RuntimeError(f"{server.name}: redis-benchmark {args}: {out.stdout[-300:]} {out.stderr[-300:]}")
    return (server.cpu() - before) * 1e6 / n, float(rows[-1][1])


def fill(server, n, size, first=0, batch=2000):
    """Strings 'key:%012d' from `first` to n, with values of `size` bytes."""
    c = server.connect()
    head = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$" + b"%d\r\n%s\r\n" % (size, b"x" * size)
    c.bulk((head % i for i in range(first, n)), batch)
    c.close()


class Probe:
    """A connection that asks PING again and again, and keeps the longest wait in milliseconds."""

    def __init__(self, server):
        self.worst_ms, self.stopped, self.server = 0.0, threading.Event(), server
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        c = self.server.connect()
        while not self.stopped.is_set():
            t = time.monotonic()
            c.call("PING")
            self.worst_ms = max(self.worst_ms, (time.monotonic() - t) * 1e3)
            time.sleep(0.0005)
        c.close()

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.worst_ms
