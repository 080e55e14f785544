#!/usr/bin/env python3
"""Writes dumps.txt: DUMP payloads of a real server for every type and layout, and the values of the
RDB files in ./rdb (all layouts older servers wrote) framed as payloads.

    tests/assets/dumps.py PORT-OF-AN-EMPTY-REDIS-7.0 > tests/assets/dumps.txt

Each line: name, payload in hexadecimal. The server is filled and reconfigured.
"""
import glob
import os
import socket
import struct
import sys


class Redis:
    def __init__(self, port):
        self.file = socket.create_connection(("127.0.0.1", port)).makefile("rwb")

    def __call__(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.file.write(b"*%d\r\n" % len(words))
        for word in words:
            self.file.write(b"$%d\r\n%s\r\n" % (len(word), word))
        self.file.flush()
        return self.reply()

    def reply(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise SystemExit(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc


def framed(value, version):
    body = value + struct.pack("<H", version)
    return body + struct.pack("<Q", crc64(body))


def live(r):
    """Every layout that 7.0 writes."""
    r("flushall")
    r("debug", "quicklist-packed-threshold", "200b")
    for compression in ("yes", "no"):
        r("config", "set", "rdbcompression", compression)

        def show(name, fill):
            r("del", "k")
            fill("k")
            print(name + ("" if compression == "yes" else "-plain"), r("dump", "k").hex())

        show("string-int8", lambda k: r("set", k, 5))
        show("string-int16", lambda k: r("set", k, -1000))
        show("string-int32", lambda k: r("set", k, 2147483647))
        show("string-int64", lambda k: r("set", k, 2147483648))
        show("string-text", lambda k: r("set", k, "hello"))
        show("string-empty", lambda k: r("set", k, ""))
        show("string-long", lambda k: r("set", k, "abc" * 100))
        show("list-one", lambda k: r("rpush", k, "a", 1, "ccc", -70000, "", "x" * 40))
        r("config", "set", "list-max-listpack-size", 3)
        show("list-nodes", lambda k: r("rpush", k, *range(10), "a" * 30, "x" * 500, "b", "1"))
        r("config", "set", "list-compress-depth", 1)
        show("list-compressed", lambda k: r("rpush", k, *[f"item{n}" * 20 for n in range(12)]))
        r("config", "set", "list-compress-depth", 0)
        r("config", "set", "list-max-listpack-size", -2)
        show("set-intset16", lambda k: r("sadd", k, 1, -1, 300))
        show("set-intset32", lambda k: r("sadd", k, 1, 2, 70000, -70000))
        show("set-intset64", lambda k: r("sadd", k, 1, 2**40, -(2**62)))
        show("set-table", lambda k: r("sadd", k, "a", "b", 3, "long" * 30, ""))
        show("zset-pack", lambda k: r("zadd", k, 1, "a", 1.5, "b", "-inf", 7, "inf", "", 1e300, "z"))
        show("zset-table", lambda k: r("zadd", k, 1, "a" * 100, -0.0, "b", "-inf", 7, "inf", ""))
        show("hash-pack", lambda k: r("hset", k, "f", "v", 1, 2, "", "x" * 50, "g", -70000))
        show("hash-table", lambda k: r("hset", k, "f", "v", 1, 2, "", "x" * 500, "g", -70000))

        def stream(k):
            for n in range(1, 8):
                r("xadd", k, f"{n * 10}-{n % 3}", "a", n, "b", "text" * n)
            r("xadd", k, "1000-1", "other", "x")
            r("xdel", k, "20-2")
            r("xgroup", "create", k, "empty", 0)
            r("xgroup", "create", k, "busy", 0)
            r("xreadgroup", "group", "busy", "joe", "count", 3, "streams", k, ">")
            r("xreadgroup", "group", "busy", "ann", "count", 2, "streams", k, ">")
            r("xack", k, "busy", "10-1")

        show("stream-groups", stream)

        def emptied(k):
            r("xadd", k, "5-1", "a", 1)
            r("xdel", k, "5-1")

        show("stream-empty", emptied)
    r("flushall")


class Reader:
    """Steps over an RDB file: where each value begins and ends."""

    def __init__(self, data):
        self.data, self.at = data, 9

    def take(self, n):
        self.at += n
        return self.data[self.at - n : self.at]

    def length(self):
        head = self.take(1)[0]
        if head >> 6 == 0:
            return head, False
        if head >> 6 == 1:
            return (head & 63) << 8 | self.take(1)[0], False
        if head == 0x80:
            return struct.unpack(">I", self.take(4))[0], False
        if head == 0x81:
            return struct.unpack(">Q", self.take(8))[0], False
        return head & 63, True

    def string(self):
        n, encoded = self.length()
        if not encoded:
            return self.take(n)
        if n < 3:
            return self.take(1 << n)
        packed, _ = self.length()
        self.length()
        return self.take(packed)

    def many(self, count, *steps):
        for _ in range(count):
            for step in steps:
                step()

    def stream(self, kind):
        self.many(self.length()[0], self.string, self.string)
        self.many(3 if kind == 15 else 8, self.length)
        for _ in range(self.length()[0]):
            self.string()
            self.many(2 if kind == 15 else 3, self.length)
            self.many(self.length()[0], lambda: self.take(24), self.length)
            for _ in range(self.length()[0]):
                self.string()
                self.take(16 if kind == 21 else 8)
                self.many(self.length()[0], lambda: self.take(16))

    def double(self):
        n = self.take(1)[0]
        self.take(n if n < 253 else 0)

    def value(self, kind, version):
        count = lambda: self.length()[0]
        if kind in (0, 9, 10, 11, 12, 13, 16, 17, 20):
            self.string()
        elif kind in (1, 2, 14):
            self.many(count(), self.string)
        elif kind == 3:
            self.many(count(), self.string, self.double)
        elif kind == 5:
            self.many(count(), self.string, lambda: self.take(8))
        elif kind == 4:
            self.many(count(), self.string, self.string)
        elif kind == 18:
            self.many(count(), self.length, self.string)
        elif kind in (15, 19, 21):
            self.stream(kind)
        elif kind == 22 and version >= 80:
            self.many(count(), self.string, self.string, lambda: self.take(8))
        elif kind == 24:
            self.take(8)
            self.many(count(), self.length, self.string, self.string)
        elif kind == 25:
            self.take(8)
            self.string()
        else:
            raise ValueError(f"type {kind}")

    def values(self):
        digits = self.data[6:9] if self.data[:6] == b"VALKEY" else self.data[5:9]
        version = int(digits)
        while self.at < len(self.data):
            kind = self.take(1)[0]
            if kind == 255:
                return
            if kind == 254 or kind == 248:
                self.length()
            elif kind == 251:
                self.many(2, self.length)
            elif kind == 250:
                self.many(2, self.string)
            elif kind in (252, 253):
                self.take(8 if kind == 252 else 4)
            elif kind == 249:
                self.take(1)
            elif kind == 245:
                self.string()
            else:
                self.string()
                start = self.at
                self.value(kind, version)
                yield kind, self.data[start : self.at], version


def stored():
    """One value of each type in each file, the short ones."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rdb", "*.rdb")
    for path in sorted(glob.glob(here)):
        data = open(path, "rb").read()
        name = os.path.basename(path)[:-4]
        shown = set()
        try:
            for kind, value, version in Reader(data).values():
                if kind not in shown and len(value) < 2000:
                    shown.add(kind)
                    version = max(version, 6)
                    print(f"{name}-{kind}", framed(bytes([kind]) + value, version).hex())
        except (ValueError, IndexError, struct.error) as error:
            print(f"{name}: {error}", file=sys.stderr)


print("# Made by dumps.py: payloads of redis-server 7.0.15, then values of the files in rdb/.")
live(Redis(int(sys.argv[1])))
stored()
