#!/usr/bin/env python3
"""Check a server against Python's `redis` package, as an application uses it.

    python-client.py BINARY         start BINARY on a free port in a directory of its own, check it, stop it
    python-client.py --port PORT    check a server that runs already (its data in database 15 is flushed)

The package is taken from the system, or installed from PyPI into a virtual environment below target/.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, "target", "python-client")

try:
    import redis
except ImportError:
    python = os.path.join(VENV, "bin", "python")
    if sys.executable == python:
        sys.exit("python-client: the redis package does not import from its virtual environment")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "-q", "--disable-pip-version-check", "install", "redis>=5"], check=True)
    os.execv(python, [python, *sys.argv])


def check_connect(port):
    r = redis.Redis(port=port, db=15, client_name="checker", decode_responses=True)
    assert r.ping()
    assert r.client_getname() == "checker"
    assert r.set("k", "v", ex=100) and r.get("k") == "v" and 99 <= r.ttl("k") <= 100
    assert r.set("k", "w", nx=True) is None and r.set("k", "w", get=True) == "v"
    assert r.get("none") is None
    assert r.mset({"a": 1, "b": 2}) and r.mget("a", "b", "none") == ["1", "2", None]
    assert r.incr("a") == 2 and r.incrbyfloat("b", 0.5) == 2.5
    assert r.hset("h", mapping={"name": "x", "n": "1"}) == 2 and r.hgetall("h") == {"name": "x", "n": "1"}
    assert r.type("h") == "hash" and r.object("encoding", "a") == "int"
    try:
        r.incr("h")
        raise AssertionError("INCR of a hash passed")
    except redis.ResponseError as e:
        assert str(e).startswith("WRONGTYPE"), e


def check_pipeline(port):
    r = redis.Redis(port=port, db=15, decode_responses=True)
    with r.pipeline(transaction=False) as pipe:
        for i in range(5_000):
            pipe.set(f"p:{i}", i).get(f"p:{i}")
        assert pipe.execute()[1::2] == [str(i) for i in range(5_000)]
    with r.pipeline(transaction=False) as pipe:
        pipe.set("s", "text").incr("s").get("s")
        result = pipe.execute(raise_on_error=False)
        assert isinstance(result[1], redis.ResponseError) and result[2] == "text", result


def check_transactions(port):
    r = redis.Redis(port=port, db=15, decode_responses=True)
    assert r.pipeline().set("t", 1).incr("t").execute() == [True, 2]

    def add(pipe):
        n = int(pipe.get("n") or 0)
        pipe.multi()
        pipe.set("n", n + 1)

    def work():
        mine = redis.Redis(port=port, db=15)
        for _ in range(50):
            mine.transaction(add, "n")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert r.get("n") == "200", r.get("n")
    with r.pipeline() as pipe:
        pipe.watch("n")
        r.set("n", "changed")
        pipe.multi()
        pipe.set("n", "mine")
        try:
            pipe.execute()
            raise AssertionError("a watched key changed and EXEC ran")
        except redis.WatchError:
            pass


def check_resp3(port):
    r = redis.Redis(port=port, db=15, protocol=3, decode_responses=True)
    assert r.ping() and r.execute_command("HELLO")["proto"] == 3
    assert r.hset("h3", mapping={"a": "1"}) == 1 and r.hgetall("h3") == {"a": "1"}
    config = r.config_get("max*")
    assert config["maxclients"].isdigit() and r.config_set("maxclients", config["maxclients"])
    assert r.command_count() > 50
    assert r.pipeline().set("x", 1).get("x").execute() == [True, "1"]


def check_scan(port):
    r = redis.Redis(port=port, db=15, decode_responses=True)
    r.mset({f"scan:{i}": i for i in range(3_000)})
    assert {*r.scan_iter(match="scan:*", count=100)} == {f"scan:{i}" for i in range(3_000)}
    assert [*r.scan_iter(match="h", _type="hash")] == ["h"]
    assert len(r.keys("scan:1?")) == 10 and r.dbsize() > 3_000


def check_types(port):
    for protocol in (2, 3):
        r = redis.Redis(port=port, db=15, protocol=protocol, decode_responses=True)
        r.delete("list", "done", "set", "other", "zset", "geo", "stream", "bits", "hll", "fields", "copy")
        assert r.rpush("list", *range(5)) == 5 and r.lrange("list", 0, -1) == [*"01234"]
        assert r.lmove("list", "done", "LEFT", "RIGHT") == "0" and r.blpop("list", 1) in (["list", "1"], ("list", "1"))
        assert r.lpos("list", "3") == 1 and r.lmpop(1, "list", direction="RIGHT", count=2) == ["list", ["4", "3"]]
        assert r.sort("done", alpha=True, desc=True) == ["0"]
        assert r.sadd("set", "a", "b", "c") == 3 and r.sadd("other", "b", "d") == 2
        assert r.sinter("set", "other") == {"b"} and r.sunion("set", "other") == {*"abcd"}
        assert {*r.sscan_iter("set")} == {*"abc"} and r.smismember("set", ["a", "x"]) == [1, 0]
        assert r.zadd("zset", {"a": 1, "b": 2.5, "c": float("inf")}) == 3 and r.zscore("zset", "b") == 2.5
        assert [member for member, _ in r.zrange("zset", 0, -1, desc=True, withscores=True)] == ["c", "b", "a"]
        assert r.zrangebyscore("zset", "(1", 3) == ["b"] and r.zrank("zset", "c") == 2 and r.zincrby("zset", 1, "a") == 2
        assert r.zpopmin("zset") in ([("a", 2.0)], ["a", 2.0]) and dict(r.zscan_iter("zset"))["b"] == 2.5
        assert r.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
        assert r.geosearch("geo", longitude=15, latitude=37, unit="km", radius=200, sort="ASC") == ["Catania", "Palermo"]
        assert 166 < r.geodist("geo", "Palermo", "Catania", "km") < 167
        entry = r.xadd("stream", {"f": "v"})
        assert r.xlen("stream") == 1 and r.xrange("stream") == [(entry, {"f": "v"})]
        assert r.xgroup_create("stream", "group", id="0") and r.xreadgroup("group", "me", {"stream": ">"}, count=5)
        assert r.xpending("stream", "group")["pending"] == 1 and r.xack("stream", "group", entry) == 1
        assert r.xinfo_stream("stream")["length"] == 1 and r.xtrim("stream", maxlen=0, approximate=False) == 1
        assert r.setbit("bits", 7, 1) == 0 and r.bitcount("bits") == 1 and r.bitpos("bits", 1) == 7
        assert r.bitfield("bits").incrby("u8", 8, 3).execute() == [3]
        assert r.pfadd("hll", *range(1000)) == 1 and 970 < r.pfcount("hll") < 1030
        assert r.hset("fields", mapping={"a": "1", "b": "2"}) == 2
        assert r.execute_command("HPEXPIRE", "fields", 100_000, "FIELDS", 1, "a") == [1]
        left = r.execute_command("HTTL", "fields", "FIELDS", 2, "a", "b")
        assert 99 <= left[0] <= 100 and left[1] == -1, left
        payload = redis.Redis(port=port, db=15).dump("list")
        assert redis.Redis(port=port, db=15).restore("copy", 0, payload) and r.lrange("copy", 0, -1) == r.lrange("list", 0, -1)


def check_readme(port):
    """The examples of README.md, as they stand there."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        blocks = readme.read().split("```python\n")[1:]
    assert blocks, "README.md has examples"

    def connect(**options):
        return redis.Redis(port=port, db=15, **options)

    for block in blocks:
        code = block.split("```")[0].replace("redis.Redis(", "connect(")
        exec(compile(code, "README.md", "exec"), {"connect": connect, "print": lambda *_: None})


def check_clients(port):
    r = redis.Redis(port=port, db=15, client_name="lister", decode_responses=True)
    r.ping()
    mine = [c for c in r.client_list() if c["name"] == "lister"]
    assert len(mine) == 1 and mine[0]["db"] == "15" and int(mine[0]["id"]) == r.client_id(), mine
    assert r.client_info()["name"] == "lister"
    other = redis.Redis(port=port, single_connection_client=True, decode_responses=True)
    assert r.client_kill_filter(_id=other.client_id()) == 1


def check_tls(port):
    """TLS with and without a certificate of the client's, and one that stands for a user."""
    if not TLS:
        return
    own = {name: os.path.join(TLS["dir"], name) for name in ("ca.crt", "alice.crt", "alice.key")}
    options = {"port": TLS["port"], "ssl": True, "ssl_ca_certs": own["ca.crt"], "decode_responses": True}
    mine = {"ssl_certfile": own["alice.crt"], "ssl_keyfile": own["alice.key"]}
    admin = redis.Redis(port=port, decode_responses=True)
    for protocol in (2, 3):
        r = redis.Redis(host="localhost", protocol=protocol, **options, **mine)
        assert r.set("tls", "x" * 100_000) and r.get("tls") == "x" * 100_000
        with r.pipeline(transaction=False) as pipe:
            for i in range(5_000):
                pipe.set(f"t:{i % 100}", i)
            assert all(pipe.execute())
        r.close()
    try:
        redis.Redis(**options).ping()
        raise AssertionError("a client without a certificate was let in")
    except redis.ConnectionError:
        pass
    admin.config_set("tls-auth-clients", "optional")
    assert redis.Redis(**options).ping()
    admin.acl_setuser("alice", enabled=True, keys="*", commands=["+@all"])
    admin.config_set("tls-auth-clients-user", "CN")
    assert redis.Redis(**options, **mine).acl_whoami() == "alice"
    assert redis.Redis(**options).acl_whoami() == "default"
    admin.acl_deluser("alice")
    admin.delete("tls", *[f"t:{i}" for i in range(100)])


def check_info(port):
    r = redis.Redis(port=port, db=15, decode_responses=True)
    info = r.info()
    for field in ("redis_version", "used_memory", "connected_clients", "total_commands_processed", "uptime_in_seconds",
                  "role", "tcp_port", "maxmemory_human", "db15"):
        assert field in info, field
    assert info["tcp_port"] == port and info["db15"]["keys"] == r.dbsize()
    assert r.config_resetstat() and isinstance(r.slowlog_get(), list) and r.time()[0] > 1_700_000_000
    assert r.memory_usage("k") > 0 and r.lastsave()
    assert r.flushdb() and r.dbsize() == 0


CHECKS = [check_connect, check_pipeline, check_transactions, check_resp3, check_scan, check_types, check_readme,
          check_clients, check_tls, check_info]
TLS = {}    # where TLS is spoken, and with which certificates


def start(binary):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    directory = tempfile.mkdtemp(prefix="python-client-")
    args = [binary, "--port", str(port), "--dir", directory, "--save", ""]
    if shutil.which("openssl"):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            TLS.update(port=s.getsockname()[1], dir=os.path.join(directory, "certificates"))
        subprocess.run([os.path.join(ROOT, "scripts", "certificates.sh"), TLS["dir"], "alice"], check=True)
        args += ["--tls-port", str(TLS["port"])]
        for option, name in (("cert-file", "server.crt"), ("key-file", "server.key"), ("ca-cert-file", "ca.crt")):
            args += [f"--tls-{option}", os.path.join(TLS["dir"], name)]
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 20
    while True:
        try:
            redis.Redis(port=port).ping()
            return process, port, directory
        except redis.ConnectionError:
            if process.poll() is not None or time.monotonic() > limit:
                process.kill()
                sys.exit(f"python-client: {binary} does not answer")
            time.sleep(0.01)


def main():
    process = directory = None
    if len(sys.argv) == 3 and sys.argv[1] == "--port":
        port = int(sys.argv[2])
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        process, port, directory = start(sys.argv[1])
    else:
        sys.exit(__doc__)
    failed = 0
    print(f"Python's redis {redis.__version__}")
    try:
        redis.Redis(port=port, db=15).flushdb()
        for check in CHECKS:
            try:
                check(port)
                print(f"ok      {check.__name__}")
            except (AssertionError, redis.RedisError, KeyError, TypeError) as e:
                failed += 1
                line = e.__traceback__.tb_next.tb_lineno if e.__traceback__.tb_next else 0
                print(f"FAILED  {check.__name__}, line {line}: {type(e).__name__} {e}")
    finally:
        if process:
            process.terminate()
            process.wait(20)
            shutil.rmtree(directory, ignore_errors=True)
    print(f"python-client: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
