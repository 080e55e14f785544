"""What one command over 100,000 elements costs: set operations, sorting, bits, HyperLogLogs, places on a map."""
import random
import statistics

from scenarios import failed
from server import Connection, Server

N = 100_000
encode = Connection.encode


def elements():
    """The same data for every server, from one seed; every second member of a pair of keys is in both."""
    rng = random.Random(3)
    for key, first in (("{k}a", 0), ("{k}b", N // 2)):
        for start in range(first, first + N, 500):
            ids = range(start, start + 500)
            yield encode("SADD", key.format(k="set:"), *[b"member:%09d" % i for i in ids])
            yield encode("SADD", key.format(k="ints:"), *[i * 7919 for i in ids])
            scored = [x for i in ids for x in (rng.randrange(10**6), b"member:%09d" % i)]
            yield encode("ZADD", key.format(k="zset:"), *scored)
            yield encode("PFADD", key.format(k="hll:"), *[b"element:%09d" % i for i in ids])
        yield encode("SET", key.format(k="bits:"), rng.randbytes(N))
        yield encode("SET", key.format(k="long:"), rng.randbytes(10 * N))
    for _ in range(0, N, 500):
        yield encode("RPUSH", "numbers", *[rng.randrange(10**9) for _ in range(500)])
        yield encode("RPUSH", "words", *[b"word:%09d" % rng.randrange(10**9) for _ in range(500)])
        yield encode("GEOADD", "places", *[x for _ in range(500) for x in (
            rng.uniform(-10, 30), rng.uniform(35, 60), b"place:%09d" % rng.randrange(10**9))])


# Name, calls in a round, command.
OPERATIONS = [
    ("SUNION", 4, "SUNION set:a set:b"),
    ("SINTER", 4, "SINTER set:a set:b"),
    ("SDIFF", 4, "SDIFF set:a set:b"),
    ("SUNIONSTORE", 4, "SUNIONSTORE target set:a set:b"),
    ("SINTER of integers", 4, "SINTER ints:a ints:b"),
    ("SUNION of integers", 4, "SUNION ints:a ints:b"),
    ("SINTERCARD", 4, "SINTERCARD 2 set:a set:b"),
    ("ZUNIONSTORE", 3, "ZUNIONSTORE target 2 zset:a zset:b"),
    ("ZINTERSTORE", 3, "ZINTERSTORE target 2 zset:a zset:b"),
    ("ZUNION", 3, "ZUNION 2 zset:a zset:b WITHSCORES"),
    ("ZDIFF", 3, "ZDIFF 2 zset:a zset:b"),
    ("SORT of numbers", 4, "SORT numbers"),
    ("SORT of numbers, LIMIT 10", 4, "SORT numbers LIMIT 0 10"),
    ("SORT ALPHA", 3, "SORT words ALPHA"),
    ("SORT of a set, ALPHA", 3, "SORT set:a ALPHA"),
    ("BITOP AND", 300, "BITOP AND target bits:a bits:b"),
    ("BITOP OR", 300, "BITOP OR target bits:a bits:b"),
    ("BITOP XOR", 300, "BITOP XOR target bits:a bits:b"),
    ("BITOP NOT", 300, "BITOP NOT target bits:a"),
    ("BITOP OR of a million bytes", 40, "BITOP OR target long:a long:b"),
    ("BITCOUNT", 500, "BITCOUNT bits:a"),
    ("BITCOUNT of a million bytes", 60, "BITCOUNT long:a"),
    ("PFCOUNT", 200, "PFCOUNT hll:a hll:b"),
    ("PFMERGE", 200, "PFMERGE merged hll:a hll:b"),
    ("GEOSEARCH BYRADIUS", 20, "GEOSEARCH places FROMLONLAT 10 48 BYRADIUS 300 km"),
    ("GEOSEARCH BYRADIUS, nearest 10", 20, "GEOSEARCH places FROMLONLAT 10 48 BYRADIUS 300 km ASC COUNT 10"),
    ("GEOSEARCH BYBOX WITHDIST", 20, "GEOSEARCH places FROMLONLAT 10 48 BYBOX 500 500 km ASC WITHDIST"),
]
METRIC = "{} over 100,000, cpu us"


def operations(servers, rounds, only):
    """CPU of one call, the servers in turn, over the same data."""
    wanted = [o for o in OPERATIONS if only in o[0]]
    live, links = {}, {}
    try:
        for name, binary in servers.items():
            live[name] = Server(name, binary)
            links[name] = live[name].connect()
            fill(links[name], name)
        for what, calls, line in wanted:
            command, cpu = encode(*line.split()), {}
            for _ in range(rounds):
                for name, link in links.items():
                    try:
                        link.bulk([command])     # whatever it makes for the first time is there then
                        before = live[name].cpu()
                        link.bulk([command] * calls, 25)
                        cpu.setdefault(name, []).append((live[name].cpu() - before) * 1e6 / calls)
                    except RuntimeError as error:
                        failed(f"{what}: {name}", error)
            yield METRIC.format(what), "low", {k: statistics.median(v) for k, v in cpu.items()}, {}
    finally:
        for link in links.values():
            link.close()
        for server in live.values():
            server.stop()


def fill(link, name):
    """A server that lacks a type loses the rows over it."""
    for command in elements():
        try:
            link.bulk([command])
        except RuntimeError as error:
            failed(f"filling {name}", error)
