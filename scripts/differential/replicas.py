#!/usr/bin/env python3
"""Random commands to a primary: its replica, and the replica of that, have to hold what it holds.

    replicas.py BINARY [--real redis-server] [--seed N] [--count N] [--chain ours-ours-ours] [--case N]

Chains: all ours; a real redis-server between two of ours; two of ours behind a real one. A case is a sequence of commands of
all families (families/, replicated.py) from three clients: pipelined, in transactions, by scripts and functions. In its midst
servers are restarted or late, links cut, replicas promoted, data synchronised anew, memory is short (EVENTS). At its end, when the
offsets are equal, all databases, deadlines, groups of consumers and functions are. No replica may fail at what it is told.
The same seed sends the same commands; a case that fails is made as small as it can be; `--case` plays one of them again."""
import contextlib
import signal
import sys
import threading
import time

import replicated
from case import Failure, Family, Step, pipelines, shrink
from families import FAMILIES, LISTENING
from grammar import Mood, seeded
from run import line, options
from wire import Connection, Server, decode, encode

CHAINS = {"ours-ours-ours": "ooo", "ours-real-ours": "oro", "real-ours-ours": "roo"}
DATABASES, CLIENTS, LENGTH = 4, 3, 250
PATIENCE_S = 20
# How often data are looked at, one server after the other, before a difference counts.
PASSES = 25
# Families about a connection or the server, and commands that are none of a case's business.
ELSEWHERE = {"connection", "config", "command", "scriptlibs"} | LISTENING
UNFIT = {b"CLIENT", b"COMMAND", b"DEBUG", b"AUTH", b"QUIT", b"SHUTDOWN", b"MONITOR", b"REPLICAOF", b"SUBSCRIBE"}
# What a replica has to hold whatever these are on its primary.
LAYOUTS = {b"list-max-listpack-size": b"-2", b"list-compress-depth": b"0", b"set-max-intset-entries": b"512",
           b"stream-node-max-entries": b"100", b"stream-node-max-bytes": b"4096"}
WRAP = b"#!lua name=wrap\nredis.register_function('wrap', function(keys, args) return redis.pcall(unpack(args)) end)"
BY_SCRIPT = [[b"EVAL", b"return redis.call(unpack(ARGV))", b"0"], [b"FCALL", b"wrap", b"0"],
             [b"EVAL", b"redis.pcall(unpack(ARGV)) return redis.call('INCR', 'scripts')", b"0"],
             [b"EVAL", b"redis.call('SELECT', '1') return redis.pcall(unpack(ARGV))", b"0"]]
EVENTS = ["cut 1", "cut 2", "restart 1 rdb", "restart 1 aof", "restart 2 rdb", "restart 0 rdb", "restart 0 aof", "resync 1", "resync 2",
          "promote", "rewrite 0", "rewrite 1", "squeeze", "squeeze", "stall 1", "stall 1", "stall 2"]
EVENT = -1


def waits(step):
    """Whether its reply may come late."""
    words = [a.upper() for a in step.args]
    return words[0][:1] == b"B" and words[0][:3] != b"BIT" or b"BLOCK" in words


class Node(Server):
    """A server of the chain, over all its lives."""

    def __init__(self, name, binary):
        self.real = name.startswith("real")
        super().__init__(name, binary, "--enable-debug-command", "yes", "--appendonly", "yes", "--repl-diskless-sync-delay", "0",
                         "--repl-backlog-size", "20mb", "--repl-timeout", "600",
                         "--repl-ping-replica-period", "300")

    def ask(self, *args):
        return self.asks([args])[0]

    def asks(self, commands):
        connection = Connection(self, timeout=PATIENCE_S)
        try:
            return connection.calls(commands)
        finally:
            connection.close()

    def info(self):
        found = {}
        for raw in self.asks([[b"INFO", section] for section in (b"replication", b"stats", b"persistence", b"memory")]):
            found.update(pair.split(":", 1) for pair in decode(raw)[1].decode().split("\r\n") if ":" in pair)
        return found

    def said(self):
        with open(f"{self.dir}/server.log", "rb") as log:
            return log.read()[-3000:].decode(errors="replace")


class Lost(Exception):
    """Something did not come about in time."""


def wait(what, condition, limit_s=PATIENCE_S):
    limit = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(ConnectionError, OSError):
            if condition():
                return
        if time.monotonic() > limit:
            raise Lost(what)
        time.sleep(0.005)


class Chain:
    def __init__(self, name, binary, real):
        self.name = name
        self.nodes = [Node("ours" if kind == "o" else "real", binary if kind == "o" else real) for kind in CHAINS[name]]
        for n, node in enumerate(self.nodes):
            node.name += str(n)
        self.built, self.all_ours = list(self.nodes), "r" not in CHAINS[name]
        self.clients, self.partial, self.broken = {}, 0, False
        self.link()

    def link(self):
        """Puts the servers one behind the other, as they were built."""
        self.nodes = list(self.built)
        self.nodes[0].ask(b"REPLICAOF", b"NO", b"ONE")
        for n in (1, 2):
            self.follow(n)

    def follow(self, n):
        upstream = b"%d" % self.nodes[n - 1].port
        wait("REPLICAOF", lambda: self.nodes[n].ask(b"REPLICAOF", b"127.0.0.1", upstream)[:3] == b"+OK")

    def stop(self):
        for node in self.built:
            node.stop()

    # One case

    def play(self, _name, steps):
        """The first difference, or None."""
        try:
            self.prepare()
            for batch in pipelines(steps):
                self.batch(batch)
            self.close()
            return self.compare()
        except (Lost, ConnectionError, TimeoutError, OSError) as error:
            self.close()
            ended = [node for node in self.nodes if not node.alive()]
            self.broken = True
            which = ended[0].name if ended else self.nodes[0].name
            return self.failure(f"{which} ended" if ended else str(error), b"the case", repr(error).encode(), b"")

    def failure(self, kind, what, *found):
        return Failure(kind, Step(0, [what], None, 0, 0), *found)

    def prepare(self):
        if self.broken:
            for node in self.built:
                node.process.kill()
                node.process.wait()
                node.start(node.port)
            self.broken = False
        if self.nodes != self.built or any(node.info()["master_link_status"] != "up" for node in self.nodes[1:]):
            self.link()
        settings = [[b"CONFIG", b"SET", b"maxmemory", b"0"]] + [[b"CONFIG", b"SET", *pair] for pair in LAYOUTS.items()]
        self.nodes[0].asks(settings + [[b"FLUSHALL"], [b"FUNCTION", b"FLUSH"], [b"FUNCTION", b"LOAD", WRAP]])
        self.wait_level()
        self.real_led, self.fulls = self.nodes[0].real, {}
        self.seen_fulls()
        self.errors = {node.name: self.errors_of(node) for node in self.nodes}

    def seen_fulls(self):
        self.fulls.update({node.name: int(node.info()["sync_full"]) for node in self.nodes})

    def errors_of(self, node):
        return int(node.info()["unexpected_error_replies"])

    def batch(self, batch):
        at = batch[0].conn
        if at == EVENT:
            for step in batch:
                what, *rest = step.args[0].decode().split()
                getattr(self, what)(*rest)
            return
        client = self.clients.get(at)
        if client is None:
            client = self.clients[at] = Connection(self.nodes[0], timeout=PATIENCE_S)
            client.owed = 0
        self.collect(client)
        client.send(b"".join(encode(step.args) for step in batch))
        client.owed = len(batch)
        if not any(waits(step) for step in batch):
            self.collect(client)
        if batch[-1].pause:
            time.sleep(0.006)

    def collect(self, client):
        while client.owed:
            if client.reply() == b"":
                raise ConnectionError(f"{self.nodes[0].name} closed a client")
            client.owed -= 1

    def close(self):
        for client in self.clients.values():
            client.close()
        self.clients = {}

    # What happens in the midst of it

    def cut(self, n):
        if self.nodes[int(n)].port % 2:
            self.nodes[int(n) - 1].ask(b"CLIENT", b"KILL", b"TYPE", b"replica")
        else:
            self.nodes[int(n)].ask(b"CLIENT", b"KILL", b"TYPE", b"master")

    def restart(self, n, how):
        """From its own files, with the rest of the stream to come."""
        n = int(n)
        node = self.nodes[n]
        if n == 0:
            self.close()
        self.level()
        seen = node.info()
        node.ask(b"CONFIG", b"SET", b"appendonly", b"no" if how == "rdb" else b"yes")
        wait("the end of a rewrite", lambda: node.info()["aof_rewrite_in_progress"] == node.info()["rdb_bgsave_in_progress"] == "0")
        connection = Connection(node, timeout=PATIENCE_S)
        connection.send(encode([b"SHUTDOWN", b"SAVE" if how == "rdb" else b"NOSAVE"]))
        if node.process.wait(PATIENCE_S):
            raise Lost(f"{node.name} ended with {node.process.returncode}")
        connection.close()
        upstream = ["--replicaof", f"127.0.0.1 {self.nodes[n - 1].port}"] if n else []
        more, node.more = node.more, [*node.more, "--appendonly", "no" if how == "rdb" else "yes", *upstream]
        node.start(node.port)
        node.more = more
        self.fulls[node.name] = 0
        wait("loading", lambda: node.info()["loading"] == "0")
        self.level()
        if how == "aof":
            # An AOF does not have the place in the stream.
            self.seen_fulls()

    def rewrite(self, n):
        self.nodes[int(n)].ask(b"CONFIG", b"SET", b"appendonly", b"yes")
        self.nodes[int(n)].ask(b"BGREWRITEAOF")

    def resync(self, n):
        """A new copy of all data, by one of the ways there are."""
        n = int(n)
        node, seed = self.nodes[n], self.nodes[n].port + self.nodes[0].port
        self.nodes[n - 1].ask(b"CONFIG", b"SET", b"repl-diskless-sync", [b"yes", b"no"][seed % 2])
        node.ask(b"CONFIG", b"SET", b"repl-diskless-load", [b"disabled", b"swapdb", b"on-empty-db"][seed % 3])
        node.asks([[b"REPLICAOF", b"NO", b"ONE"], [b"SET", b"own", b"data"]])
        self.follow(n)
        self.level()
        self.seen_fulls()

    def promote(self):
        """The first replica takes over, the old primary follows the last."""
        self.close()
        # No key may expire there between the last look and the change.
        self.nodes[0].ask(b"CLIENT", b"PAUSE", b"1000", b"WRITE")
        self.level()
        self.nodes = self.nodes[1:] + self.nodes[:1]
        self.nodes[0].ask(b"REPLICAOF", b"NO", b"ONE")
        self.real_led |= self.nodes[0].real
        self.follow(2)

    def stall(self, n):
        """What the replica gets meanwhile it runs late: by its clock, deadlines have passed."""
        process = self.nodes[int(n)].process
        process.send_signal(signal.SIGSTOP)
        threading.Timer(0.05, process.send_signal, [signal.SIGCONT]).start()

    def squeeze(self):
        """From here on there is little room."""
        node = self.nodes[0]
        policy = [b"allkeys-random", b"allkeys-lru", b"volatile-ttl", b"allkeys-lfu"][node.port % 4]
        node.asks([[b"CONFIG", b"SET", b"maxmemory-policy", policy],
                   [b"CONFIG", b"SET", b"maxmemory", b"%d" % (int(node.info()["used_memory"]) + 30000)]])

    # What has to be the same

    def level(self):
        self.nodes[0].ask(b"CONFIG", b"SET", b"maxmemory", b"0")
        self.wait_level()

    def wait_level(self):
        def same():
            infos = [node.info() for node in self.nodes]
            offsets = {info["master_repl_offset"] for info in infos}
            return len(offsets) == 1 and all(info["master_link_status"] == "up" for info in infos[1:])
        wait("the offsets to be equal", same)

    def compare(self):
        """What has passed its deadline has to be gone everywhere, but not at once."""
        for _ in range(PASSES):
            self.level()
            failure = self.difference([self.facts(node) for node in self.nodes])
            if failure is None:
                break
            time.sleep(0.05)
        for node in self.nodes:
            if failure is None and self.errors_of(node) > self.errors[node.name]:
                failure = self.failure(f"{node.name} failed", b"an error", node.said()[-600:].encode(), b"")
            if failure is None and int(node.info()["sync_full"]) > self.fulls[node.name]:
                failure = self.failure(f"{node.name} sent all data", b"a synchronisation", node.said()[-1500:].encode(), b"")
        return failure

    def difference(self, found):
        for node, there, here in zip(self.nodes[1:], found, found[1:]):
            for name in sorted(there.keys() | here.keys(), key=repr, reverse=True):
                if there.get(name) != here.get(name):
                    return self.failure(f"other data in {node.name}", repr(name).encode(), *(repr(side.get(name)).encode() for side in (there, here)))
        return None

    def facts(self, node):
        """All that a server holds, by name."""
        connection = Connection(node, timeout=PATIENCE_S)
        facts = {"functions": libraries(decode(connection.call(b"FUNCTION", b"LIST", b"WITHCODE"))[1])}
        try:
            asked = connection.calls([c for db in range(DATABASES) for c in ([b"SELECT", b"%d" % db], [b"DBSIZE"], [b"KEYS", b"*"])])
            for db in range(DATABASES):
                facts[db, "keys"] = asked[3 * db + 1]
                keys = [key for _, key in decode(asked[3 * db + 2])[1]]
                if keys:
                    self.look(connection, facts, db, keys)
        finally:
            connection.close()
        return facts

    def look(self, connection, facts, db, keys):
        ask = connection.calls
        kinds = ask([[b"SELECT", b"%d" % db]] + [[b"TYPE", key] for key in keys])[1:]
        deadlines = ask([[b"PEXPIRETIME", key] for key in keys])
        digests = decode(connection.call(b"DEBUG", b"DIGEST-VALUE", *keys))[1]
        for key, kind, deadline, digest in zip(keys, kinds, deadlines, digests):
            facts[db, key] = kind, deadline, digest
        for key in [key for key, kind in zip(keys, kinds) if kind == b"+stream\r\n"]:
            facts[db, key, "groups"] = stream(decode(connection.call(b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0")), OWN | (UNTOLD if self.real_led else set()))
        for key in [key for key, kind in zip(keys, kinds) if kind == b"+hash\r\n" and self.all_ours]:
            fields = sorted(field for _, field in decode(connection.call(b"HKEYS", key))[1])
            if fields:
                times = connection.call(b"HPEXPIRETIME", key, b"FIELDS", b"%d" % len(fields), *fields)
                facts[db, key, "deadlines"] = list(zip(fields, times.split(b"\r\n")[1:]))


def libraries(found):
    """Names and sources, in an order of ours."""
    return sorted((facts[1], facts[-1]) for _, facts in found)


# Layout, and when a consumer was last seen, are each server's own; entries are in the digest.
OWN = {b"radix-tree-keys", b"radix-tree-nodes", b"seen-time", b"active-time", b"entries"}
# What the real server does not tell when entries are read.
UNTOLD = {b"entries-read", b"lag"}


def stream(reply, left_out):
    """XINFO STREAM FULL with names for its parts."""
    kind, inner = reply
    if not isinstance(inner, list):
        return inner
    if inner and inner[0][0] == b"$" and len(inner) % 2 == 0 and inner[0][1] in (b"length", b"name"):
        return {name[1]: stream(value, left_out) for name, value in zip(inner[::2], inner[1::2]) if name[1] not in left_out}
    return [stream(item, left_out) for item in inner]


def case(chain, seed, number):
    """The steps of a case."""
    rng = seeded("replicas", chain.name, seed, number)
    mood, families = Mood(rng), rng.sample(sorted(FAMILIES.keys() - ELSEWHERE - {"replicated"}), rng.choice([0, 1, 2, 4])) + ["replicated"]
    families = [FOUND.setdefault(name, Family(name)) for name in families]
    cut_odds, script_odds, event_odds = rng.choice([0.05, 0.2, 1]), rng.choice([0, 0.05, 0.3]), rng.choice([0, 0.004, 0.02])
    steps, conn = [], 0
    while len(steps) < LENGTH:
        if rng.random() < 0.15:
            conn = rng.randrange(CLIENTS)
        if rng.random() < event_odds:
            steps.append(Step(EVENT, [rng.choice(EVENTS).encode()], None, True, False))
        mark, args, raw = rng.choice(families).command(mood)
        if raw is not None or not args[0] or args[0].upper() in UNFIT or not fit(args):
            continue
        if rng.random() < script_odds:
            args = rng.choice(BY_SCRIPT) + args
        steps.append(Step(conn, args, None, mark == "~" or rng.random() < cut_odds, mark == "~"))
    return steps


def fit(args):
    """No settings that make other bytes of the same commands; and that a consumer is told again what it has
    been given is, in Redis too, no news for a replica."""
    if args[0].upper() == b"CONFIG":
        return len(args) == 4 and args[1].upper() == b"SET" and args[2] in LAYOUTS
    return args[0].upper() != b"XREADGROUP" or args[-1] == b">"


FOUND = {}


def play_chain(chain, arguments):
    """How many differences were found."""
    sent, found, unsteady, number, began = 0, set(), 0, 0, time.monotonic()
    while sent < arguments.count and len(found) < arguments.failures:
        number, at = number + 1, arguments.case if arguments.case is not None else number
        steps = case(chain, arguments.seed, at)
        failure = chain.play(None, steps)
        sent += len(steps)
        if failure and not any(node.real and not node.alive() for node in chain.built):
            again = [chain.play(None, steps) for _ in range(2)]
            print(f"\n--- {chain.name}: seed {arguments.seed}, case {at}: {failure.kind} {failure.step.args[0]!r}", flush=True)
            found.add(at)
            if all(again):
                kinds = {other.kind for other in [failure, *again]}
                steps = shrink(steps, lambda s: (f := chain.play(None, s)) is not None and f.kind in kinds, arguments.budget)
                failure = chain.play(None, steps) or failure
                for step in steps:
                    print(line(step, CLIENTS) if step.conn != EVENT else f"*  {step.args[0].decode()}")
            else:
                print("(not every time)")
            print(f"{failure.kind}: {failure.step.args[0].decode()}\n  there {failure.oracle[:900]!r}\n  here  {failure.subject[:900]!r}", flush=True)
        elif failure:
            unsteady += 1
            print(f"{chain.name}: case {at}: the real server ended")
        if arguments.case is not None:
            break
    seconds = time.monotonic() - began
    print(f"{chain.name:14} {sent:8} commands  {len(found)} differences  the real server ended {unsteady} times  {seconds:.0f} s", flush=True)
    return len(found)


def main():
    parser = options(__doc__, "chain")
    parser.add_argument("--real", default="redis-server")
    parser.add_argument("--chain", default=",".join(CHAINS))
    parser.add_argument("--budget", type=int, default=120, help="how often a case that failed is played to make it smaller")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    total = 0
    for name in arguments.chain.split(","):
        FOUND.clear()
        chain = Chain(name, arguments.binary, arguments.real)
        try:
            replicated.register(chain.all_ours)
            total += play_chain(chain, arguments)
        finally:
            chain.stop()
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
