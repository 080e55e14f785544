"""One unit of the suite, run to its end whatever the server does.

The overlay handles what can be handled inside Tcl. The watchdog here handles the rest: no event for too long means
that the run's servers are killed, then the whole run, which is then repeated without the test that hung. Only
processes of the run are signalled, by pid: they carry its mark in their environment or stand in its directory.
"""
import base64
import collections
import os
import re
import shutil
import signal
import subprocess
import time

STALL_S = 150       # "diskless loading short read" has no event for 40 s against a real server, for 105 s against ours
UNIT_S_MAX = 600    # the slowest unit that is run here, integration/replication, takes 220 s against a real server
RERUNS_MAX = 6      # hung tests that are left out one by one before the unit is given up
# Units whose tests carry drawn or counted numbers in their names: N stands for each of them in the record.
DRAWN = {"integration/psync2": re.compile(r"(?<=#)\d+|(?<=CYCLE )\d+|(?<=x = )\d+")}
ERROR_HEAD = re.compile(r"^(.*?) in (tests/\S+\.tcl)$")

Result = collections.namedtuple("Result", "unit tests blocks complete seconds")
# tests: {name: (status, message)} in the order they ran; status is "ok", "err", "skip" or "ignore"
# blocks: errors between tests; complete: False when the unit was cut short


def processes(mark, directory):
    """Pids that belong to a run."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            cwd = os.readlink(f"/proc/{entry}/cwd")
            with open(f"/proc/{entry}/environ", "rb") as f:
                mine = mark.encode() in f.read().split(b"\0")
        except OSError:
            continue
        if mine or cwd == directory or cwd.startswith(directory + "/"):
            yield int(entry)


def kill(pids):
    for pid in pids:
        for sig in (signal.SIGCONT, signal.SIGKILL):
            try:
                os.kill(pid, sig)
            except OSError:
                pass


class Attempt:
    """One execution of ./runtest --single UNIT."""

    def __init__(self, unit, directory, server, baseport, skip, log, deadline, tls):
        self.unit, self.directory, self.server = unit, directory, os.path.realpath(server)
        self.baseport, self.skip, self.log, self.deadline = baseport, skip, log, deadline
        self.tls = tls
        self.tests = []         # (name, status, message)
        self.blocks = []
        self.current = None     # the test that runs now
        self.done = False
        self.end = None         # why the run was cut short: "hang", "exception", "died", "timeout"
        self.exception = ""

    def event(self, line):
        status, data, _ = (line.split("\t") + ["", ""])[:3]
        data = base64.b64decode(data).decode("utf-8", "replace")
        if status == "testing":
            self.current = data
        elif status == "ok":
            self.finish(data, "ok", "")
        elif status == "err":
            self.error(data)
        elif status == "skip":
            self.tests.append((data, "skip", ""))
        elif status == "ignore":
            name, separator, why = data.rpartition(": ")
            self.tests.append((name if separator else data, "ignore", why))
        elif status == "exception":
            self.end, self.exception = "exception", data
        elif status == "done":
            self.done = True

    def error(self, data):
        head, _, message = data.partition("\n")
        found = ERROR_HEAD.match(head)
        if head.startswith("[block exception]") or head.startswith("Can't start the"):
            self.blocks.append(data)
        elif found:
            self.finish(found[1], "err", message)
        elif self.current is not None and data.startswith(self.current):    # a name with a newline in it
            self.finish(self.current, "err", data[len(self.current):])
        else:
            self.blocks.append(data)

    def finish(self, name, status, message):
        self.tests.append((name, status, message[:2000]))
        self.current = None

    def run(self):
        events = os.path.join(self.directory, "events")
        mark = f"COMPAT_RUN={os.getpid()}.{self.baseport}"
        open(events, "w").close()
        env = dict(os.environ, COMPAT_EVENTS=events, TERM="dumb", LC_ALL="C.UTF-8")
        env.update([mark.split("=")])
        command = ["./runtest", "--single", self.unit, "--clients", "1", "--timeout", "100000", "--dont-clean",
                   "--durable", "--baseport", str(self.baseport), "--portcount", "1000"]
        if self.tls:
            command.append("--tls")
        for name in self.skip:
            command += ["--skiptest", name]
        with open(self.log, "w") as log, open(events, encoding="latin-1") as feed:
            process = subprocess.Popen(command, cwd=self.directory, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                self.watch(process, feed, mark)
            finally:
                for _ in range(20):
                    left = list(processes(mark, self.directory))
                    if not left:
                        break
                    kill(left)
                    time.sleep(0.05)
                process.wait()
        if self.end is None and not self.done:
            self.end = "died"
        os.unlink(events)
        shutil.rmtree(os.path.join(self.directory, "tests", "tmp"), ignore_errors=True)
        os.makedirs(os.path.join(self.directory, "tests", "tmp"))
        return self

    def watch(self, process, feed, mark):
        last, killed_at, partial = time.monotonic(), None, ""
        while True:
            chunk = feed.read()
            *lines, partial = (partial + chunk).split("\n")
            for line in lines:
                self.event(line)
                last, killed_at = time.monotonic(), None
            now = time.monotonic()
            if process.poll() is not None and not chunk:
                return
            if self.end == "exception" and now - last > 5:
                return
            if now > self.deadline:
                self.end = "timeout"
                return
            if killed_at is None and now - last > STALL_S:
                kill(p for p in processes(mark, self.directory) if self.is_server(p))
                killed_at = now
            elif killed_at is not None and now - killed_at > STALL_S / 2:
                self.end = "hang"
                return
            time.sleep(0.05)

    def is_server(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/exe") == self.server
        except OSError:
            return False


def recorded_name(unit, test):
    return DRAWN[unit].sub("N", test) if unit in DRAWN else test


def run(unit, directory, server, baseport, log, tls=False):
    """Run UNIT in DIRECTORY (a copy of the suite), again without the culprit as often as it is cut short."""
    started = time.monotonic()
    merged, skip = {}, []
    while True:
        attempt = Attempt(unit, directory, server, baseport, skip, f"{log}.{len(skip)}.log",
                          started + UNIT_S_MAX, tls).run()
        seen = {}
        for name, status, message in attempt.tests:
            # A name that is used twice passes when all its runs do.
            name = recorded_name(unit, name)
            if seen.get(name, ("ok",))[0] == "ok" or status == "err":
                seen[name] = (status, message)
        merged.update((n, r) for n, r in seen.items() if not (r[0] == "skip" and n in merged))
        if attempt.end is None:
            break
        culprit = attempt.current
        if culprit is not None:
            merged[recorded_name(unit, culprit)] = ("err", f"[{attempt.end}] {attempt.exception[:300]}")
        if culprit is None or culprit in skip or len(skip) == RERUNS_MAX or attempt.end == "timeout":
            attempt.blocks.append(f"[{attempt.end}] {attempt.exception[:2000]}")
            break
        skip.append(culprit)
    return Result(unit, merged, attempt.blocks, attempt.end is None, time.monotonic() - started)
