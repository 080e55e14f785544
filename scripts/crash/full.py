#!/usr/bin/env python3
"""Fills the disk under a server and gives the space back.

    full.py BINARY [--fsize]

A small tmpfs is mounted for it where that is allowed; else (or with --fsize) the limit of a file's size stands in for
a full disk. For each policy of the AOF, for rewrites and for snapshots: writes that cannot be kept are refused with
MISCONF (with appendfsync always the server ends instead), reads go on, everything works again without a restart once
there is space, and the next life holds what was acknowledged and nothing that was refused.
"""
import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from process import Failed, Process, info, lives
from wire import Connection

MOUNTED, BALLAST = 8 << 20, 3 << 20
VALUE = b"v" * 4000


class SmallDisk:
    """A directory with little room: `fill` leaves next to nothing, `empty` gives it back."""

    def __init__(self, limit_only):
        self.directory = tempfile.mkdtemp(prefix="crash-full-")
        mount = ["mount", "-t", "tmpfs", "-o", f"size={MOUNTED}", "crash-full", self.directory]
        self.mounted = not limit_only and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0
        self.ballast = os.path.join(self.directory, "ballast")

    def fill(self, server, leave=0):
        if not self.mounted:
            # A file that has grown to its limit: no write makes it longer.
            largest = max([os.path.getsize(path) for path in self.files()], default=0)
            for pid in [server.process.pid]:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + leave, resource.RLIM_INFINITY))
            return
        free = shutil.disk_usage(self.directory).free
        with open(self.ballast, "wb") as f:
            f.write(b"b" * max(free - leave, 0))

    def files(self):
        return [os.path.join(root, name) for root, _, names in os.walk(self.directory) for name in names]

    def empty(self, server):
        if self.mounted:
            if os.path.exists(self.ballast):
                os.remove(self.ballast)
        elif lives(server.process.pid):
            infinite = resource.RLIM_INFINITY
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (infinite, infinite))

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", self.directory], check=True)
        shutil.rmtree(self.directory, ignore_errors=True)


def expect(what, condition):
    if not condition:
        raise Failed(what)


def wait(what, condition, seconds=20):
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise Failed(f"still waiting: {what}")
        time.sleep(0.02)


class Case:
    """A server on a small disk, and the keys that it has acknowledged."""

    def __init__(self, binary, limit_only, arguments):
        self.binary, self.arguments = binary, arguments
        self.disk = SmallDisk(limit_only)
        self.log = tempfile.NamedTemporaryFile(prefix="crash-full-", suffix=".log")
        self.kept, self.count = set(), 0
        self.begin()

    def begin(self):
        self.server = Process(self.binary, self.disk.directory, self.arguments, log=self.log.name)
        self.ask = self.server.wait_loaded()

    def write(self):
        """One more key: the reply, b"" when the server is gone."""
        self.count += 1
        key = b"k%d" % self.count
        try:
            reply = self.ask.call(b"SET", key, VALUE + key)
        except OSError:
            return b""
        if reply == b"+OK\r\n":
            self.kept.add(key)
        return reply

    def write_until_refused(self):
        for _ in range(4 * MOUNTED // len(VALUE)):
            reply = self.write()
            if reply != b"+OK\r\n":
                return reply
        raise Failed("writes are accepted on a full disk")

    def ends(self):
        self.server.process.wait(timeout=20)
        return self.server.process.returncode

    def next_life(self):
        """Killed and started again: it holds what was acknowledged, and nothing else."""
        self.server.kill()
        self.begin()
        size = int(self.ask.call(b"DBSIZE")[1:])
        for key in self.kept:
            reply = self.ask.call(b"GET", key)
            expect(f"{key} was acknowledged and is not there", reply.endswith(VALUE + key + b"\r\n"))
        expect(f"{size} keys are there, {len(self.kept)} were acknowledged", size == len(self.kept))

    def close(self):
        self.server.kill()
        self.disk.remove()


def policy(case, name):
    """The AOF itself does not fit."""
    for _ in range(50):
        expect("the first writes fit", case.write() == b"+OK\r\n")
    case.disk.fill(case.server, leave=100_000)
    reply = case.write_until_refused()
    if name == "always":
        expect(f"the last reply was {reply}", reply == b"")
        expect("the server ends with 1", case.ends() == 1)
        case.disk.empty(case.server)
        case.begin()
        case.next_life()
        return
    # The very write that did not fit is acknowledged: it is kept in memory and written once there is space.
    expect(f"refused with {reply}", reply.startswith(b"-MISCONF Errors writing to the AOF file: "))
    expect("reads go on", case.ask.call(b"GET", b"k1").startswith(b"$"))
    expect("INFO tells", info(case.ask, "aof_last_write_status") == "err")
    for _ in range(3):
        time.sleep(0.4)
        expect("it stays so", case.write().startswith(b"-MISCONF"))
    case.disk.empty(case.server)
    wait("writes without a restart", lambda: case.write() == b"+OK\r\n")
    expect("INFO tells", info(case.ask, "aof_last_write_status") == "ok")
    case.write()
    case.next_life()


def rewrite(case):
    """A rewrite does not fit; the AOF goes on as it was."""
    for _ in range(700):
        expect("the first writes fit", case.write() == b"+OK\r\n")
    case.disk.fill(case.server, leave=1_000_000 if case.disk.mounted else -1_000_000)
    case.ask.call(b"BGREWRITEAOF")
    wait("the end of the rewrite", lambda: info(case.ask, "aof_rewrite_in_progress") == "0")
    expect("INFO tells", info(case.ask, "aof_last_bgrewrite_status") == "err")
    left = [path for path in case.disk.files() if "temp-" in path]
    expect(f"nothing is left behind but {left}", not left)
    if case.disk.mounted:
        expect("writes go on", case.write() == b"+OK\r\n")
    case.disk.empty(case.server)
    case.ask.call(b"BGREWRITEAOF")
    wait("a rewrite that succeeds", lambda: info(case.ask, "aof_rewrite_in_progress") == "0")
    expect("INFO tells", info(case.ask, "aof_last_bgrewrite_status") == "ok")
    case.write()
    case.next_life()


def snapshot(case):
    """A snapshot does not fit: the one before stays, writes are refused until one succeeds."""
    for _ in range(500):
        expect("the first writes fit", case.write() == b"+OK\r\n")
    expect("SAVE", case.ask.call(b"SAVE") == b"+OK\r\n")
    case.disk.fill(case.server, leave=100_000 if case.disk.mounted else -1_000_000)
    kept = set(case.kept)
    expect("SAVE fails", case.ask.call(b"SAVE").startswith(b"-ERR"))
    case.ask.call(b"BGSAVE")
    wait("the end of BGSAVE", lambda: info(case.ask, "rdb_bgsave_in_progress") == "0")
    expect("INFO tells", info(case.ask, "rdb_last_bgsave_status") == "err")
    refused = case.write()
    expect(f"writes are refused with {refused}", refused.startswith(b"-MISCONF Redis is configured to save RDB"))
    left = [path for path in case.disk.files() if "temp-" in path]
    expect(f"nothing is left behind but {left}", not left)
    case.kept = kept
    case.next_life()
    case.disk.empty(case.server)
    case.ask.call(b"BGSAVE")
    wait("the end of BGSAVE", lambda: info(case.ask, "rdb_bgsave_in_progress") == "0")
    expect("writes without a restart", case.write() == b"+OK\r\n")
    expect("SAVE", case.ask.call(b"SAVE") == b"+OK\r\n")
    case.next_life()


def switch_on(case):
    """CONFIG SET appendonly yes without space for the first base file: no AOF yet, and one once there is space."""
    for _ in range(700):
        expect("the first writes fit", case.write() == b"+OK\r\n")
    case.disk.fill(case.server, leave=100_000 if case.disk.mounted else 1000)
    case.ask.call(b"CONFIG", b"SET", b"appendonly", b"yes")
    time.sleep(1)
    expect("the server lives", case.ask.call(b"GET", b"k1").startswith(b"$"))
    case.disk.empty(case.server)
    wait("an AOF", lambda: info(case.ask, "aof_last_bgrewrite_status") == "ok"
         and info(case.ask, "aof_enabled") == "1" and info(case.ask, "aof_rewrite_in_progress") == "0"
         and info(case.ask, "aof_rewrite_scheduled") == "0" and "aof_base_size" in str(case.ask.call(b"INFO"))
         and int(info(case.ask, "aof_base_size")) > 0, 60)
    case.write()
    time.sleep(0.1)
    case.arguments = case.arguments + ["--appendonly", "yes"]
    case.next_life()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--fsize", action="store_true")
    options = parser.parse_args()
    binary = os.path.abspath(options.binary) if os.path.exists(options.binary) else options.binary
    aof = ["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--rdbcompression", "no"]
    cases = [(f"appendfsync {name}", lambda case, name=name: policy(case, name), [*aof, "--appendfsync", name])
             for name in ("everysec", "no", "always")]
    cases += [
        ("rewrite", rewrite, aof),
        ("snapshot", snapshot, ["--save", "3600 1000000", "--rdbcompression", "no"]),
        ("CONFIG SET appendonly yes", switch_on, ["--save", "", "--rdbcompression", "no"]),
    ]
    failures = 0
    for name, run, arguments in cases:
        case = Case(binary, options.fsize, arguments)
        kind = "a small tmpfs" if case.disk.mounted else "a limit of the file size"
        try:
            run(case)
            print(f"full disk ({kind}), {name}: as it should be, {len(case.kept)} keys kept", flush=True)
        except (Failed, OSError, subprocess.TimeoutExpired) as failure:
            failures += 1
            print(f"full disk ({kind}), {name}: {failure!r}\n{case.server.said()}", flush=True)
        finally:
            case.close()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
