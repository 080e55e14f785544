"""What is measured. A scenario yields rows: (metric, "low" or "high" is better, {server: value}, {server: note})."""
import resource
import socket
import statistics
import sys
import time

from server import Connection, Probe, Server, drive, fill

MILLION = 1_000_000
LOADS = [  # name, requests, redis-benchmark arguments
    ("set P1 c50", 150_000, ["-t", "set", "-r", MILLION, "-c", 50]),
    ("get P1 c50", 150_000, ["-t", "get", "-r", MILLION, "-c", 50]),
    ("set P16", 2_000_000, ["-t", "set", "-r", MILLION, "-P", 16]),
    ("get P16", 2_000_000, ["-t", "get", "-r", MILLION, "-P", 16]),
    ("set P100", 3_000_000, ["-t", "set", "-r", MILLION, "-P", 100]),
    ("get P100", 3_000_000, ["-t", "get", "-r", MILLION, "-P", 100]),
    ("incr P16", 2_000_000, ["-t", "incr", "-r", MILLION, "-P", 16]),
    ("set 1KiB P16", 600_000, ["-t", "set", "-d", 1024, "-r", 100_000, "-P", 16]),
    ("get 1KiB P16", 600_000, ["-t", "get", "-d", 1024, "-r", 100_000, "-P", 16]),
    ("mset10 P16", 200_000, ["-t", "mset", "-r", MILLION, "-P", 16]),
    ("hset P16", 1_500_000, ["-t", "hset", "-r", MILLION, "-P", 16]),
    ("ping P16", 3_000_000, ["-t", "ping_mbulk", "-P", 16]),
    ("lpush P16", 1_500_000, ["-t", "lpush", "-P", 16]),
    ("lpop P16", 1_500_000, ["-t", "lpop", "-P", 16]),
    ("sadd P16", 1_500_000, ["-t", "sadd", "-r", MILLION, "-P", 16]),
    ("zadd P16", 800_000, ["-t", "zadd", "-r", MILLION, "-P", 16]),
    ("zpopmin P16", 1_000_000, ["-t", "zpopmin", "-P", 16]),
    ("lrange100 P1", 60_000, ["LRANGE", "mylist", 0, 99]),     # -t lrange_100 would count its LPUSHes, too
    ("xadd P16", 800_000, ["-P", 16, "XADD", "stream", "MAXLEN", "~", "100000", "*", "field", "value"]),
    ("eval P16", 500_000, ["-P", 16, "EVAL", "return redis.call('incr',KEYS[1])", "1", "counter"]),
]


def failed(what, error):
    """A server that lacks a command loses that row only."""
    print(f"  {what}: {str(error).strip()[:200]}", file=sys.stderr)


def prepare(server, n, args, rounds):
    """What a load reads must be there: keys, or elements enough for every round."""
    kind = args[1] if args[0] == "-t" else args[0]
    if kind == "get":
        size = args[args.index("-d") + 1] if "-d" in args else 3
        fill(server, args[args.index("-r") + 1], size)
    elif kind == "LRANGE":
        server.call("RPUSH", "mylist", *["xxx"] * 100)
    elif kind in ("lpop", "zpopmin"):
        source = {"lpop": "lpush", "zpopmin": "zadd"}[kind]
        drive(server, n * (rounds + 1), "-t", source, "-r", 10**9, "-P", 100)


def throughput(servers, rounds, only):
    for name, n, args in LOADS:
        if only not in name:
            continue
        cpu, rps, live = {}, {}, {}
        try:
            for k, binary in servers.items():
                live[k] = Server(k, binary)
            ready = dict(live)
            for k, s in live.items():
                try:
                    prepare(s, n, args, rounds)
                except RuntimeError as e:
                    failed(name, e)
                    del ready[k]
            for _ in range(rounds):
                for k, s in list(ready.items()):
                    try:
                        c, r = drive(s, n, *args)
                    except RuntimeError as e:
                        failed(name, e)
                        del ready[k]
                        continue
                    cpu.setdefault(k, []).append(c)
                    rps.setdefault(k, []).append(r)
        finally:
            for s in live.values():
                s.stop()
        yield f"{name} cpu us/req", "low", {k: statistics.median(v) for k, v in cpu.items()}, {}
        yield f"{name} rps", "high", {k: statistics.median(v) for k, v in rps.items()}, {}


encode = Connection.encode
SHAPES = {
    "string 8B": (2_000_000, lambda i: encode("SET", b"key:%012d" % i, b"v%07d" % i)),
    "string 8B + TTL": (MILLION, lambda i: encode("SET", b"key:%012d" % i, b"v%07d" % i, "EX", 90000)),
    "string 100B": (MILLION, lambda i: encode("SET", b"key:%012d" % i, b"x" * 100)),
    "hash of 5": (400_000, lambda i: encode("HSET", b"h:%010d" % i, "name", b"user%d" % i, "age", i % 90, "city",
                                            "Lisbon", "mail", b"u%d@x.org" % i, "n", i)),
    "hash field (big hash)": (MILLION, lambda i: encode("HSET", "h", b"field:%09d" % i, b"v%07d" % i)),
    "list of 10": (300_000, lambda i: encode("RPUSH", b"l:%010d" % i, *[b"item%d" % j for j in range(10)])),
    "set member (big set)": (MILLION, lambda i: encode("SADD", "s", b"member:%09d" % i)),
    "zset member (big zset)": (MILLION, lambda i: encode("ZADD", "z", i * 7 % 1000003, b"member:%09d" % i)),
    "stream entry": (500_000, lambda i: encode("XADD", "st", b"%d-1" % (i + 1), "temp", i % 50, "hum", i % 90)),
}


def memory(servers, rounds, only):
    """Resident bytes for each key or element."""
    for shape, (n, make) in SHAPES.items():
        if only not in shape:
            continue
        out = {}
        for k, binary in servers.items():
            s = Server(k, binary)
            try:
                base = s.rss()
                c = s.connect()
                c.bulk(make(i) for i in range(n))
                c.close()
                time.sleep(0.5)     # a table that is still growing, a buffer that is handed back
                out[k] = (s.rss() - base) / n
            except RuntimeError as e:
                failed(f"memory {shape}: {k}", e)
            finally:
                s.stop()
        yield f"memory bytes per {shape}", "low", out, {}


def connections(servers, rounds, only):
    """What an idle connection holds, and what thousands of them cost the others."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(8000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, n + 200), hard))
    per, cpu = {}, {}
    for k, binary in servers.items():
        s = Server(k, binary)
        held = []
        try:
            base = s.rss()
            for _ in range(n):
                c = socket.create_connection(("127.0.0.1", s.port))
                c.sendall(b"PING\r\n")
                c.recv(16)
                held.append(c)
            per[k] = (s.rss() - base) / n
            cpu[k] = statistics.median(drive(s, 150_000, "-t", "get", "-c", 50, "-r", 1000)[0] for _ in range(rounds))
        finally:
            for c in held:
                c.close()
            s.stop()
    yield f"bytes per idle connection ({n})", "low", per, {}
    yield f"get P1 with {n} idle, cpu us/req", "low", cpu, {}


def keep_turn(server, turns, notes):
    turn = server.longest_turn()
    if turn:
        turns[server.name], notes[server.name] = turn


def growth(servers, rounds, only):
    """Pauses while the keyspace grows to 8 million keys, and the cost of a GET as it grows."""
    sizes = (10_000, MILLION, 8 * MILLION)
    costs, worst, turns, notes = {n: {} for n in sizes}, {}, {}, {}
    for k, binary in servers.items():
        s = Server(k, binary)
        try:
            probe, done = Probe(s), 0
            try:
                for n in sizes:
                    fill(s, n, 8, done, batch=200)
                    done = n
                    costs[n][k] = statistics.median(
                        drive(s, 1_500_000, "-t", "get", "-r", n, "-P", 16)[0] for _ in range(rounds))
            finally:
                worst[k] = probe.stop()
            keep_turn(s, turns, notes)
        finally:
            s.stop()
    for n, cost in costs.items():
        yield f"get P16 over {n:,} keys cpu us/req", "low", cost, {}
    dearer = {k: costs[sizes[-1]][k] / costs[sizes[0]][k] for k in worst}
    yield f"get P16 over {sizes[-1]:,} keys / over {sizes[0]:,}", "low", dearer, {}
    yield f"max PING ms while growing to {sizes[-1]:,} keys", "low", worst, {}
    yield f"longest turn us while growing to {sizes[-1]:,} keys", "low", turns, notes


def expiry(servers, rounds, only, n=MILLION):
    """n keys that all fall due within the same two seconds: how long they outlive it, and the pauses."""
    late, worst, cpu, turns, notes = {}, {}, {}, {}, {}
    for k, binary in servers.items():
        s = Server(k, binary)
        try:
            at = int(time.time() * 1000) + 25_000
            c = s.connect()
            c.bulk(encode("SET", b"key:%012d" % i, "v", "PXAT", at + i % 2000) for i in range(n))
            if time.time() * 1000 > at - 1000:
                raise RuntimeError("the machine is too slow to set the keys before they are due")
            while time.time() * 1000 < at - 500:
                time.sleep(0.01)
            c.call("CONFIG", "RESETSTAT")
            before, peak = s.cpu(), 0.0
            while True:
                t = time.monotonic()
                left = c.call("DBSIZE")
                peak = max(peak, time.monotonic() - t)
                if left == 0 or time.time() * 1000 > at + 120_000:
                    break
                time.sleep(0.0005)
            late[k] = time.time() - (at + 2000) / 1000
            worst[k], cpu[k] = peak * 1e3, s.cpu() - before
            c.close()
            keep_turn(s, turns, notes)
        except RuntimeError as e:
            failed(f"expiry: {k}", e)
        finally:
            s.stop()
    yield f"s from the last of {n:,} deadlines to an empty keyspace", "low", late, {}
    yield "max reply ms while they expire", "low", worst, {}
    yield "server CPU s while they expire", "low", cpu, {}
    yield "longest turn us while they expire", "low", turns, notes
