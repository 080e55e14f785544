"""What issue 5 added: messages to subscribers, caches of clients, notifications, eviction. (Scripts: `throughput`.)"""
import selectors
import statistics
import threading
import time

from scenarios import failed
from server import Connection, Server, drive, fill

SUBSCRIBERS, TRACKED = 100, 100_000
encode = Connection.encode


class Drain:
    """Reads whatever comes in on sockets, and counts it: who never reads would be a load of another kind."""

    def __init__(self, links):
        self.bytes, self.stopped = 0, False
        self.selector = selectors.DefaultSelector()
        for link in links:
            link.sock.setblocking(False)
            self.selector.register(link.sock, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        room = bytearray(1 << 20)
        while not self.stopped:
            for key, _ in self.selector.select(0.05):
                try:
                    self.bytes += key.fileobj.recv_into(room)
                except BlockingIOError:
                    pass

    def settle(self):
        """Waits until nothing comes any more."""
        seen = -1
        while seen != self.bytes:
            seen = self.bytes
            time.sleep(0.05)
        return seen

    def stop(self):
        self.stopped = True
        self.thread.join()
        self.selector.close()


def measured(server, drain, n, *args):
    """As `drive`, but what the server still has to send counts, too."""
    drain.settle()
    before = server.cpu()
    _, rps = drive(server, n, *args)
    drain.settle()
    return (server.cpu() - before) * 1e6 / n, rps


def in_turn(servers, rounds, extra, prepare, load, what):
    """Servers in turn: what `prepare` returns for each is handed to `load`, which returns its cost."""
    live, held, costs = {}, {}, {}
    try:
        for name, binary in servers.items():
            live[name] = Server(name, binary, *extra)
            try:
                held[name] = prepare(live[name])
            except RuntimeError as error:
                failed(f"{what}: {name}", error)
        for _ in range(rounds):
            for name, thing in list(held.items()):
                try:
                    costs.setdefault(name, []).append(load(live[name], thing))
                except RuntimeError as error:
                    failed(f"{what}: {name}", error)
                    del held[name]
    finally:
        for thing in held.values():
            if isinstance(thing, Listener):
                thing.stop()
        for server in live.values():
            server.stop()
    return costs


class Listener:
    """Connections that get what others do, and their drain."""

    def __init__(self, links):
        self.links, self.drain = links, Drain(links)

    def stop(self):
        self.drain.stop()
        for link in self.links:
            link.close()


def median(costs):
    return {name: statistics.median(values) for name, values in costs.items()}


def pubsub(servers, rounds, only):
    """One message for each of a hundred subscribers: encoded once, copied and written a hundred times."""
    def prepare(server):
        links = [server.connect() for _ in range(SUBSCRIBERS)]
        for link in links:
            link.call("SUBSCRIBE", "channel")
        return Listener(links)

    def load(args, n):
        def run(server, listener):
            before = listener.drain.settle()
            cost, _ = measured(server, listener.drain, n, *args, "PUBLISH", "channel", "x" * 32)
            if (listener.drain.bytes - before) // SUBSCRIBERS < n * 32:
                raise RuntimeError("messages are missing")
            return cost
        return run

    for name, n, args in ((f"publish to {SUBSCRIBERS} P16", 40_000, ["-P", 16]),
                          (f"publish to {SUBSCRIBERS} P1 c50", 10_000, ["-c", 50]),
                          (f"publish to {SUBSCRIBERS} P1 c1", 4_000, ["-c", 1])):
        if only in name:
            # A limit would close who reads more slowly than the load generator writes.
            extra = ["--client-output-buffer-limit", "pubsub 0 0 0"]
            yield f"{name} cpu us/req", "low", median(in_turn(servers, rounds, extra, prepare, load(args, n), name)), {}


def tracking(servers, rounds, only):
    """SET while a client keeps 100,000 keys in its cache: of keys that it has, and of others."""
    def prepare(server):
        fill(server, TRACKED, 8)
        reader, target = server.connect(), server.connect()
        # In RESP2 what is no longer true goes to another connection, as a message: the same for every server.
        target.call("SUBSCRIBE", "__redis__:invalidate")
        probe = server.connect()
        found = next(line for line in probe.call("CLIENT", "LIST", "TYPE", "pubsub").splitlines() if "sub=1" in line)
        reader.call("CLIENT", "TRACKING", "ON", "REDIRECT", found.split()[0].removeprefix("id="))
        probe.close()
        listener = Listener([target])
        listener.reader = reader
        return listener

    def load(n, *args):
        def run(server, listener):
            listener.reader.bulk(encode("MGET", *[b"key:%012d" % i for i in range(at, at + 100)])
                                 for at in range(0, TRACKED, 100))
            if int(server.info("tracking_total_keys")) < TRACKED:
                raise RuntimeError("keys are not tracked")
            return measured(server, listener.drain, n, *args)[0]
        return run

    for name, n, args in ((f"set P16, {TRACKED:,} keys tracked, these", TRACKED, ["-P", 16, "-t", "set", "-r", TRACKED]),
                          (f"set P16, {TRACKED:,} keys tracked, others", 10 * TRACKED,
                           ["-P", 16, "-r", TRACKED, "SET", "other:__rand_int__", "xxx"])):
        if only in name:
            yield f"{name} cpu us/req", "low", median(in_turn(servers, rounds, [], prepare, load(n, *args), name)), {}


def notifications(servers, rounds, only):
    """What notify-keyspace-events KEA costs where nobody listens, against the same server without."""
    def prepare(server):
        drive(server, 1_000_000, "-t", "set", "-r", 100_000, "-P", 16)

    def load(server, _):
        cost = {}
        for events in ("", "KEA"):
            server.call("CONFIG", "SET", "notify-keyspace-events", events)
            cost[events], _ = drive(server, 2_000_000, "-t", "set", "-r", 100_000, "-P", 16)
        return cost["KEA"] / cost[""]

    name = "set P16 with KEA / without"
    if only in name:
        yield name, "low", median(in_turn(servers, 2 * rounds + 1, [], prepare, load, name)), {}


def eviction(servers, rounds, only):
    """SET of ever new keys in a memory that is full: each needs the room of another one."""
    def prepare(server):
        drive(server, 1_500_000, "-t", "set", "-r", 10**9, "-d", 32, "-P", 100)
        if not int(server.info("evicted_keys")):
            raise RuntimeError("nothing was evicted")

    def load(server, _):
        return drive(server, 1_000_000, "-t", "set", "-r", 10**9, "-d", 32, "-P", 16)[0]

    for policy in ("allkeys-lru", "allkeys-lfu"):
        name = f"set P16 under {policy} eviction"
        if only in name:
            extra = ["--maxmemory", "64mb", "--maxmemory-policy", policy]
            yield f"{name} cpu us/req", "low", median(in_turn(servers, rounds, extra, prepare, load, name)), {}
