#!/usr/bin/env python3
"""Damaged DUMP payloads to a real redis-server and to ours: each must refuse one, or both hold the same value.

    payloads.py BINARY [--oracle redis-server] [--seed N] [--count N]

Payloads of tests/assets/dumps.txt are mutated and get a checksum that fits. The real server validates in depth. What only one
of the two takes is counted by type and printed once each; that ours refuses more is by design (a payload with bytes behind its
value, a score that is no number...), that it takes more is shown with the value. Exit 1: values that differ, or a server that
is gone."""
import argparse
import collections
import os
import pathlib
import random
import shutil
import socket
import struct
import sys
import tempfile

from wire import Server

ASSETS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "assets" / "dumps.txt"
TABLE = []
for first in range(256):
    for _ in range(8):
        first = first >> 1 ^ (0x95AC9329AC4BC9B5 if first & 1 else 0)
    TABLE.append(first)


def framed(body):
    """A body as a payload with a checksum that fits."""
    crc = 0
    body += struct.pack("<H", 10)
    for byte in body:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return body + struct.pack("<Q", crc)


def mutate(body, rng):
    body = bytearray(body)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(1, len(body)) if len(body) > 1 else 0
        what = rng.randrange(5)
        if what == 0:
            body[at] = rng.randrange(256)
        elif what == 1:
            body[at] ^= 1 << rng.randrange(8)
        elif what == 2:
            body[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0xFE))
        elif what == 3:
            del body[at : at + rng.choice((1, 1, 2, 8))]
        else:
            body[at:at] = body[at : at + rng.choice((1, 1, 2, 8))]
        if not body:
            body = bytearray(b"\0")
    return bytes(body)


LOOK = {
    b"string": [(b"GET", b"k")],
    b"list": [(b"LRANGE", b"k", b"0", b"-1"), (b"LLEN", b"k"), (b"RPOPLPUSH", b"k", b"k")],
    b"set": [(b"SCARD", b"k"), (b"SADD", b"k", b"new"), (b"SREM", b"k", b"new"), (b"SISMEMBER", b"k", b"1")],
    b"zset": [(b"ZRANGE", b"k", b"0", b"-1", b"WITHSCORES"), (b"ZCARD", b"k"), (b"ZADD", b"k", b"5", b"new"), (b"ZREM", b"k", b"new")],
    b"hash": [(b"HLEN", b"k"), (b"HSET", b"k", b"new", b"1"), (b"HDEL", b"k", b"new")],
    b"stream": [(b"XRANGE", b"k", b"-", b"+"), (b"XREVRANGE", b"k", b"+", b"-", b"COUNT", b"3")],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--oracle", default="redis-server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    lines = [line.split() for line in ASSETS.read_text().splitlines() if not line.startswith("#")]
    pool = [(name, bytes.fromhex(text)[:-10]) for name, text in lines]
    pool = [(name, body) for name, body in pool if body[0] <= 19]
    servers = [Debuggable("real", arguments.oracle), Debuggable("ours", arguments.binary)]
    try:
        sys.exit(compare(arguments, rng, pool, [connect(server) for server in servers]))
    finally:
        for server in servers:
            server.stop()


def compare(arguments, rng, pool, asks):
    real, ours = asks
    for ask in asks:
        ask(b"CONFIG", b"SET", b"sanitize-dump-payload", b"yes")
    tally, wrong = collections.Counter(), 0
    for _ in range(arguments.count):
        name, body = rng.choice(pool)
        body = mutate(body, rng)
        payload = framed(body)
        replies = [ask(b"RESTORE", b"k", b"0", payload, b"REPLACE") for ask in asks]
        taken = tuple(reply == b"+OK" for reply in replies)
        tally[body[0], taken] += 1
        if not taken[1]:
            continue
        kind = ours(b"TYPE", b"k")[1:]
        if not taken[0]:
            for look in LOOK.get(kind, []):
                ours(*look)
            if tally[body[0], taken] == 1:
                print(f"only ours takes, of type {body[0]}: {name} as {body.hex()}")
            continue
        values = [ask(b"DEBUG", b"DIGEST-VALUE", b"k") for ask in asks]
        looks = [[ask(*look) for look in LOOK.get(kind, [])] for ask in asks]
        # Packed scores out of order are put in order by ours, and 7.2 prints them shorter.
        if values[0] != values[1] or kind != b"zset" and looks[0] != looks[1]:
            wrong += 1
            print(f"DIFFERENT: {name} as {body.hex()}")
            if wrong == 10:
                break
    for (kind, taken), count in sorted(tally.items()):
        print(f"type {kind:2}  real {'takes' if taken[0] else 'refuses':8} ours {'takes' if taken[1] else 'refuses':8} {count}")
    return wrong > 0


class Debuggable(Server):
    """A server whose DEBUG may be used: the option is a file, since the command line is fixed."""

    def __init__(self, name, binary):
        self.script = tempfile.NamedTemporaryFile("w", prefix="debuggable-", suffix=".sh", delete=False)
        self.script.write(f'#!/bin/sh\nexec "{shutil.which(binary) or binary}" "$@" --enable-debug-command yes\n')
        self.script.close()
        os.chmod(self.script.name, 0o700)
        super().__init__(name, self.script.name)

    def stop(self):
        super().stop()
        os.unlink(self.script.name)


def connect(server):
    """Asks with words, answers with the reply's bytes, bulk strings and arrays decoded."""
    file = socket.create_connection(("127.0.0.1", server.port)).makefile("rwb")

    def read():
        line = file.readline()
        if not line:
            raise SystemExit("a server is gone")
        line = line[:-2]
        if line[:1] == b"$":
            return None if line == b"$-1" else file.read(int(line[1:]) + 2)[:-2]
        if line[:1] == b"*":
            return [read() for _ in range(int(line[1:]))]
        return line

    def ask(*words):
        file.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        file.flush()
        return read()

    return ask


if __name__ == "__main__":
    main()
