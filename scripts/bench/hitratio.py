"""How well eviction chooses: the hit ratio of a cache that has room for half of the data."""
import random

from scenarios import failed
from server import Connection, Server

KEYS, VALUE = 50_000, b"x" * 100
SKEW = 0.99                     # of the Zipf distribution: the n-th key is asked for 1 / n ** SKEW as often as the first
REQUESTS, WARM = 800_000, 300_000
BATCH = 250                     # requests in a pipeline: whoever misses in it writes the key behind it
POLICIES = [(policy, samples) for policy in ("allkeys-lru", "allkeys-lfu") for samples in (5, 10)]
METRIC = "hit % of {}, {} samples"
encode = Connection.encode


def requests():
    """The same for every server: numbers of keys, in batches."""
    rng = random.Random(11)
    names = list(range(KEYS))
    rng.shuffle(names)          # what is popular has nothing to do with what was there first
    weights, total = [], 0.0
    for n in range(1, KEYS + 1):
        total += n ** -SKEW
        weights.append(total)
    for _ in range(REQUESTS // BATCH):
        yield rng.choices(names, cum_weights=weights, k=BATCH)


def half(server):
    """The memory that half of the data takes here, buffers and all."""
    c = server.connect()
    c.bulk(SETS[:KEYS // 2], BATCH)
    room = int(c.call("INFO", "memory").split("used_memory:")[1].split()[0])
    c.call("FLUSHALL")
    c.close()
    return room


GETS = [encode("GET", b"key:%08d" % i) for i in range(KEYS)]
SETS = [encode("SET", b"key:%08d" % i, VALUE) for i in range(KEYS)]


def play(server):
    """Asks for keys as a cache is asked; the share of requests found, per cent, once it is warm."""
    link, hits, counted, done = server.connect(), 0, 0, 0
    try:
        for batch in requests():
            link.sock.sendall(b"".join([GETS[i] for i in batch]))
            missed = [i for i in batch if link.read() is None]
            if missed:
                link.sock.sendall(b"".join([SETS[i] for i in missed]))
                for _ in missed:
                    link.read()
            done += BATCH
            if done > WARM:
                counted += BATCH
                hits += BATCH - len(missed)
    finally:
        link.close()
    return hits * 100 / counted


def hitratio(servers, rounds, only):
    for policy, samples in POLICIES:
        if only not in f"{policy} {samples}":
            continue
        found, notes = {}, {}
        for k, binary in servers.items():
            s = Server(k, binary)
            try:
                room = half(s)
                for name, value in (("policy", policy), ("samples", samples)):
                    s.call("CONFIG", "SET", f"maxmemory-{name}", value)
                s.call("CONFIG", "SET", "maxmemory", room)
                found[k] = play(s)
                notes[k] = f"{s.call('DBSIZE')} keys"
            except RuntimeError as e:
                failed(f"hit ratio: {k}", e)
            finally:
                s.stop()
        yield METRIC.format(policy, samples), "high", found, notes
