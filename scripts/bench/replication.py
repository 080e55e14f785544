"""What a replica costs its primary and itself; how long a full synchronisation and a resumption take."""
import os
import statistics
import subprocess
import time

from scenarios import failed
from server import LOAD_CPU, Server, drive, fill

OPTIONS = ("--repl-diskless-sync-delay", "0", "--repl-backlog-size", "256mb", "--client-output-buffer-limit",
           "replica 0 0 0")
PRIMARY, REPLICA = "set P16, one replica attached, cpu us/req", "applying that set on the replica cpu us/req"
FULL, RESUMED = "full sync of 3,000,000 32 B values s", "s until a dropped link under load resumes"


class Pair:
    """A primary, and a replica of its own kind beside the load: CPU time is what counts."""

    def __init__(self, name, binary):
        self.primary = Server(name, binary, *OPTIONS)
        self.replica = None
        try:
            self.replica = Server(name, binary, *OPTIONS, cpu=LOAD_CPU)
        except BaseException:
            self.stop()
            raise

    def follow(self):
        """Seconds from the request until the link is up."""
        started = time.monotonic()
        self.replica.call("REPLICAOF", "127.0.0.1", self.primary.port)
        self.wait(lambda: self.up() and self.keys(self.replica) == self.keys(self.primary), "the full synchronisation")
        return time.monotonic() - started

    def up(self):
        try:
            return self.replica.info("master_link_status") == "up"
        except RuntimeError:
            return False

    @staticmethod
    def keys(server):
        try:
            return server.call("DBSIZE")
        except RuntimeError:
            return -1

    def settle(self):
        """Until the replica has applied everything."""
        self.wait(lambda: self.replica.info("slave_repl_offset") == self.primary.info("master_repl_offset"),
                  "the replica to be in step")

    @staticmethod
    def wait(condition, what, limit=120, every=0.01):
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > limit:
                raise RuntimeError(f"still waiting for {what}")
            time.sleep(every)

    def load(self):
        """Microseconds for each request: of the primary, and of the replica."""
        n = 2_000_000
        self.settle()
        primary, replica = self.primary.cpu(), self.replica.cpu()
        drive(self.primary, n, "-t", "set", "-r", 1_000_000, "-P", 16)
        self.settle()
        return [(server.cpu() - before) * 1e6 / n
                for server, before in ((self.primary, primary), (self.replica, replica))]

    def resume(self):
        """Seconds from the end of a connection until the next one is served from the backlog."""
        writer = subprocess.Popen(["redis-benchmark", "-p", str(self.primary.port), "-t", "set", "-d", "32", "-r",
                                   "100000", "-P", "16", "-n", "100000000", "-q"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}))
        try:
            time.sleep(0.5)     # let the writes reach their pace
            full, partial = self.primary.info("sync_full"), int(self.primary.info("sync_partial_ok"))
            started = time.monotonic()
            if self.primary.call("CLIENT", "KILL", "TYPE", "replica") != 1:
                raise RuntimeError("there was no link to drop")
            self.wait(lambda: int(self.primary.info("sync_partial_ok")) > partial and self.up(), "the link", 30)
            took = time.monotonic() - started
            if self.primary.info("sync_full") != full:
                raise RuntimeError("it took a full synchronisation")
        finally:
            writer.kill()
            writer.wait()
        self.settle()
        return took

    def stop(self):
        for server in (self.replica, self.primary):
            if server:
                server.stop()


def replication(servers, rounds, only):
    got = {name: {} for name in (PRIMARY, REPLICA, FULL, RESUMED)}

    def note(name, server, value):
        got[name].setdefault(server, []).append(value)

    def guarded(server, part):
        try:
            part()
        except (RuntimeError, OSError) as error:
            failed(f"replication: {server}", error)

    def steady():
        live = {}
        try:
            for name, binary in servers.items():
                live[name] = Pair(name, binary)
                guarded(name, live[name].follow)
            for _ in range(rounds):
                for name, pair in live.items():
                    def part():
                        for metric, value in zip((PRIMARY, REPLICA), pair.load()):
                            note(metric, name, value)
                        note(RESUMED, name, pair.resume())
                    guarded(name, part)
        finally:
            for pair in live.values():
                pair.stop()

    def whole():
        for name, binary in servers.items():
            pair = Pair(name, binary)
            try:
                fill(pair.primary, 3_000_000, 32)
                for _ in range(rounds):
                    guarded(name, lambda: note(FULL, name, pair.follow()))
                    pair.replica.call("REPLICAOF", "NO", "ONE")
                    # Apart, so that the next one is whole again.
                    pair.replica.call("FLUSHALL")
                    pair.primary.call("SET", "key:000000000000", "x" * 32)
            finally:
                pair.stop()

    if any(only in name for name in (PRIMARY, REPLICA, RESUMED)):
        steady()
    if only in FULL:
        whole()
    for name, values in got.items():
        if only in name:
            # The slowest resumption is the one that a client notices.
            middle = max if name == RESUMED else statistics.median
            yield name, "low", {server: middle(v) for server, v in values.items()}, {}
