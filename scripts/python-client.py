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


def check_clients(port):
    r = redis.Redis(port=port, db=15, client_name="lister", decode_responses=True)
    r.ping()
    mine = [c for c in r.client_list() if c["name"] == "lister"]
    assert len(mine) == 1 and mine[0]["db"] == "15" and int(mine[0]["id"]) == r.client_id(), mine
    assert r.client_info()["name"] == "lister"
    other = redis.Redis(port=port, single_connection_client=True, decode_responses=True)
    assert r.client_kill_filter(_id=other.client_id()) == 1


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


CHECKS = [check_connect, check_pipeline, check_transactions, check_resp3, check_scan, check_clients, check_info]


def start(binary):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    directory = tempfile.mkdtemp(prefix="python-client-")
    args = [binary, "--port", str(port), "--dir", directory, "--save", ""]
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
