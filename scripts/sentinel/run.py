#!/usr/bin/env python3
"""Failover by real Sentinel: kills the primary under load, again and again, and checks what it promised.

    run.py BINARY[,BINARY,BINARY] [--rounds 10] [--limit 15] [--seed 1]

One primary and two replicas (three binaries, or one for all three) and three sentinels of Debian's redis-server on
loopback ports, in a directory of their own. Writers ask a sentinel for the primary, write there, and take a write for
acknowledged when WAIT says that a replica has it. In each round the primary is ended by SIGKILL. Then:
  - a sentinel names another primary, which takes writes again within LIMIT seconds of the kill;
  - the old one, started again as it was, is made a replica of the new one, without anybody's help;
  - every write acknowledged so far is there, and all three servers have the same data in the end.
A failure prints what happened and keeps the directory, with every server's and every sentinel's log.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "differential"))
from wire import Connection, decode, free_port  # noqa: E402

NAME = b"vault"
WRITERS = 4
# Longer than anything takes that nobody measures here.
PATIENCE_S = 60
SENTINEL_CONF = """port {port}
bind 127.0.0.1
dir {dir}
sentinel monitor vault 127.0.0.1 {primary} 2
sentinel down-after-milliseconds vault {patience}
sentinel failover-timeout vault 3000
sentinel parallel-syncs vault 1
"""
SERVER_CONF = """port {port}
bind 127.0.0.1
dir {dir}
appendonly yes
save ""
repl-diskless-sync-delay 0
enable-debug-command yes
"""


class Failed(Exception):
    """A promise was broken."""


class Process:
    """A server or a sentinel with a file of its own, which it rewrites: it is started again on what is there."""

    def __init__(self, root, name, command, text):
        self.name, self.command, self.port = name, command, free_port()
        self.dir = os.path.join(root, name)
        os.mkdir(self.dir)
        self.conf = os.path.join(self.dir, "redis.conf")
        with open(self.conf, "w") as f:
            f.write(text(self.port, self.dir))
        self.process = None

    def start(self):
        binary, *mode = self.command
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen([binary, self.conf, *mode], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        wait(f"{self.name} to answer", lambda: self.ask(b"PING") == b"PONG", self)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()

    def ask(self, *args):
        """A value, or None where there is nobody to give one."""
        try:
            connection = Connection(self)
            try:
                return plain(decode(connection.call(*args)))
            finally:
                connection.close()
        except (OSError, ConnectionError):
            return None

    def info(self, section=b"replication"):
        text = self.ask(b"INFO", section) or b""
        return dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)

    def said(self):
        with open(os.path.join(self.dir, "log"), "rb") as log:
            return f"--- {self.name} (port {self.port})\n" + log.read()[-2500:].decode(errors="replace")


def plain(reply):
    value = reply[1]
    return [plain(item) for item in value] if isinstance(value, list) else value


def wait(what, condition, *processes, limit=PATIENCE_S):
    """Waits until it holds; how many seconds that took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit:
            raise Failed(f"still waiting after {limit} s for {what}\n" + "\n".join(p.said() for p in processes))
        for process in processes:
            if process.process and process.process.poll() is not None:
                raise Failed(f"{process.name} has ended with {process.process.returncode}\n{process.said()}")
        time.sleep(0.02)
    return time.monotonic() - started


class Writer(threading.Thread):
    """Writes as a client of Sentinel does, and notes what was acknowledged by a replica, too."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster, self.number, self.stopped = cluster, number, False
        self.acknowledged, self.count, self.error = {}, 0, None

    def run(self):
        while not self.stopped:
            try:
                self.write(Connection(self.cluster.named_primary(), timeout=2))
            except (OSError, ConnectionError, Failed):
                time.sleep(0.05)

    def write(self, connection):
        try:
            while not self.stopped:
                batch = {}
                for _ in range(8):
                    self.count += 1
                    batch[b"%d:%d" % (self.number, self.count % 5000)] = b"%d" % self.count
                commands = [(b"SET", key, value) for key, value in batch.items()]
                replies = connection.calls(commands + [(b"WAIT", b"1", b"1000")])
                if any(reply != b"+OK\r\n" for reply in replies[:-1]):
                    # A replica now, or nobody's primary: ask who it is.
                    time.sleep(0.02)
                    return
                if replies[-1][:1] != b":":
                    self.error = replies[-1].decode(errors="replace")
                    self.stopped = True
                elif int(replies[-1][1:]) >= 1:
                    self.acknowledged.update(batch)
                else:
                    # It may be there and may be not: nothing is known of these keys any more.
                    self.forget(batch)
        except BaseException:
            self.forget(batch)
            raise
        finally:
            connection.close()

    def forget(self, batch):
        for key in batch:
            self.acknowledged.pop(key, None)


def sentinel_binary():
    """Both names lead to the same program."""
    return shutil.which("redis-sentinel") or shutil.which("redis-server")


class Cluster:
    def __init__(self, binaries, root):
        def server(n):
            return lambda port, dir: SERVER_CONF.format(port=port, dir=dir) + (
                f"replicaof 127.0.0.1 {self.servers[0].port}\n" if n else "")

        def sentinel(patience):
            return lambda port, dir: SENTINEL_CONF.format(port=port, dir=dir, primary=self.servers[0].port,
                                                          patience=patience)

        self.servers = []
        for n, binary in enumerate(binaries):
            self.servers.append(Process(root, f"server{n}", [binary], server(n)))
        tool = sentinel_binary()
        # All three noticing in one moment, each would vote for itself, and then wait. One is slower.
        self.sentinels = [Process(root, f"sentinel{n}", [tool, "--sentinel"], sentinel(patience))
                          for n, patience in enumerate((2000, 2000, 2600))]

    def everybody(self):
        return [*self.servers, *self.sentinels]

    def start(self):
        for process in self.everybody():
            process.start()
        self.wait_whole(self.servers[0])

    def stop(self):
        for process in self.everybody():
            process.kill()

    def named_primary(self):
        """The server that a sentinel names."""
        for sentinel in random.sample(self.sentinels, len(self.sentinels)):
            address = sentinel.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", NAME)
            for server in self.servers:
                if address and int(address[1]) == server.port:
                    return server
        raise Failed("no sentinel names a primary")

    def whole(self, primary):
        """Do the servers and all sentinels agree that everybody is well?"""
        state = primary.info()
        if state.get("role") != "master" or state.get("connected_slaves") != "2":
            return False
        for replica in self.servers:
            state = replica.info()
            if replica is not primary and (state.get("role") != "slave" or state.get("master_link_status") != "up"
                                           or state.get("master_port") != str(primary.port)):
                return False
        for sentinel in self.sentinels:
            facts = sentinel.ask(b"SENTINEL", b"MASTER", NAME) or []
            facts = dict(zip(facts[::2], facts[1::2]))
            if facts.get(b"flags") != b"master" or facts.get(b"port") != b"%d" % primary.port:
                return False
            if facts.get(b"num-slaves") != b"2" or facts.get(b"num-other-sentinels") != b"2":
                return False
            for replica in sentinel.ask(b"SENTINEL", b"REPLICAS", NAME) or []:
                facts = dict(zip(replica[::2], replica[1::2]))
                if facts.get(b"flags") != b"slave" or facts.get(b"master-link-status") != b"ok":
                    return False
        return True

    def wait_whole(self, primary):
        return wait("everybody to be well", lambda: self.whole(primary), *self.everybody())

    def takes_writes(self, old):
        """The primary that a sentinel names, if it is another one and takes a write."""
        try:
            primary = self.named_primary()
        except Failed:
            return None
        return primary if primary is not old and primary.ask(b"SET", b"probe", b"1") == b"OK" else None


def check(cluster, primary, writers):
    """Everything acknowledged is there."""
    connection, count = Connection(primary), 0
    for writer in writers:
        keys = list(writer.acknowledged.items())
        replies = connection.calls([(b"GET", key) for key, _ in keys])
        for (key, value), reply in zip(keys, replies):
            found = decode(reply)[1]
            # A later write that was not acknowledged may have come through.
            if found is None or int(found) < int(value):
                raise Failed(f"{key.decode()} is {found}, {value.decode()} was acknowledged\n"
                             + "\n".join(process.said() for process in cluster.everybody()))
            count += 1
    connection.close()
    return count


def same_data(cluster):
    def digests():
        return {server.ask(b"DEBUG", b"DIGEST") for server in cluster.servers}
    wait("all servers to have the same data", lambda: len(digests()) == 1, *cluster.servers)


def round_of(cluster, number, limit):
    primary = cluster.named_primary()
    writers = [Writer(cluster, n) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        time.sleep(0.5 + random.random())
        killed = time.monotonic()
        primary.kill()
        found = []
        wait("a new primary", lambda: found.append(cluster.takes_writes(primary)) or found[-1],
             *[p for p in cluster.everybody() if p is not primary], limit=limit)
        took, new = time.monotonic() - killed, found[-1]
        # The load goes on while the old one comes back.
        time.sleep(0.5 + random.random())
        primary.start()
        rejoined = cluster.wait_whole(new)
        time.sleep(0.5)
    finally:
        for writer in writers:
            writer.stopped = True
        for writer in writers:
            writer.join()
    for writer in writers:
        if writer.error or not writer.acknowledged:
            raise Failed(f"writer {writer.number} was told {writer.error} by WAIT; {len(writer.acknowledged)} keys\n")
    count = check(cluster, new, writers)
    same_data(cluster)
    total = sum(writer.count for writer in writers)
    print(f"round {number}: {new.name} took over from {primary.name} after {took:.1f} s, which was its replica "
          f"{rejoined:.1f} s after its start; {total} writes, {count} keys acknowledged, none lost", flush=True)
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="one for all three servers, or three with commas between")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit", type=float, default=15, help="seconds until there is a new primary")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    if not sentinel_binary():
        sys.exit("sentinel: redis-sentinel is not there (Debian: redis-sentinel, or redis-server, which has it in it)")
    random.seed(options.seed)
    binaries = [os.path.abspath(b) if os.path.exists(b) else b for b in options.binary.split(",")]
    binaries = binaries * 3 if len(binaries) == 1 else binaries
    print(f"sentinel: {', '.join(binaries)}; seed {options.seed}, {options.rounds} rounds", flush=True)
    root = tempfile.mkdtemp(prefix="sentinel-")
    cluster = Cluster(binaries, root)
    try:
        cluster.start()
        times = [round_of(cluster, number, options.limit) for number in range(1, options.rounds + 1)]
    except Failed as failure:
        print(f"{failure}\nThe directory is kept: {root}", flush=True)
        sys.exit(1)
    finally:
        cluster.stop()
    shutil.rmtree(root, ignore_errors=True)
    print(f"sentinel: {len(times)} passed, 0 failed, the slowest {max(times):.1f} s, no acknowledged write lost")


if __name__ == "__main__":
    main()
