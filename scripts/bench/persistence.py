"""What files cost: snapshots, the append only file, loading both."""
import os
import statistics
import subprocess
import time

from scenarios import failed
from server import LOAD_CPU, Probe, Server, drive, fill

METRICS = ("fork pause us", "bgsave s", "dump MiB", "load s (RDB)", "max PING ms while saving under writes",
           "COW MiB while saving under writes", "aof everysec set P16 cpu us/req", "aof always set c50 rps",
           "aof rewrite s", "load s (AOF)")


def wait_while(server, *fields, limit=300):
    started = time.monotonic()
    while any(server.info(f) != "0" for f in fields):
        if time.monotonic() - started > limit:
            raise RuntimeError(f"{fields[0]} did not end")
        time.sleep(0.01)
    return time.monotonic() - started


def snapshot(k, binary, n, got):
    s = Server(k, binary)
    try:
        fill(s, n, 32)
        s.call("BGSAVE")
        got["bgsave s"][k] = wait_while(s, "rdb_bgsave_in_progress")
        got["fork pause us"][k] = float(s.info("latest_fork_usec") or 0)
        got["dump MiB"][k] = os.path.getsize(os.path.join(s.dir, "dump.rdb")) / 2**20
        writer = subprocess.Popen(["redis-benchmark", "-p", str(s.port), "-t", "set", "-d", "32", "-r", str(n), "-P",
                                   "4", "-n", "100000000", "-q"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL,
                                  preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}))
        try:
            time.sleep(1)       # let the writes reach their pace
            probe = Probe(s)
            s.call("BGSAVE")
            wait_while(s, "rdb_bgsave_in_progress")
            got["max PING ms while saving under writes"][k] = probe.stop()
        finally:
            writer.kill()
            writer.wait()
        got["COW MiB while saving under writes"][k] = float(s.info("rdb_last_cow_size") or 0) / 2**20
        s.stop(keep=True)
        s = Server(k, binary, directory=s.dir)
        got["load s (RDB)"][k] = s.ready
        if s.call("DBSIZE") < n:
            raise RuntimeError("keys were lost on load")
    finally:
        s.stop()


def append_only(k, binary, rounds, got):
    options = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--appendfsync")
    s = Server(k, binary, *options, "everysec")
    try:
        got["aof everysec set P16 cpu us/req"][k] = statistics.median(
            drive(s, 1_000_000, "-t", "set", "-r", 1_000_000, "-P", 16)[0] for _ in range(rounds))
        fill(s, 1_000_000, 32)
        s.stop(keep=True)
        s = Server(k, binary, *options, "everysec", directory=s.dir)
        got["load s (AOF)"][k] = s.ready
        s.call("BGREWRITEAOF")
        got["aof rewrite s"][k] = wait_while(s, "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    finally:
        s.stop()
    s = Server(k, binary, *options, "always")
    try:
        got["aof always set c50 rps"][k] = drive(s, 30_000, "-t", "set", "-r", 1_000_000, "-c", 50)[1]
    finally:
        s.stop()


def persistence(servers, rounds, only, n=3_000_000):
    got = {m: {} for m in METRICS}
    for k, binary in servers.items():
        for part in (lambda: snapshot(k, binary, n, got), lambda: append_only(k, binary, rounds, got)):
            try:
                part()
            except (RuntimeError, FileNotFoundError) as e:
                failed(f"persistence: {k}", e)
    for m in METRICS:
        yield m, "high" if "rps" in m else "low", got[m], {}
