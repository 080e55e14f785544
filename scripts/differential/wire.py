"""Servers under comparison and raw connections to them: bytes out, bytes in, nothing interpreted but the framing."""
import os
import shutil
import socket
import subprocess
import tempfile
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def encode(args):
    return b"".join([b"*%d\r\n" % len(args)] + [b"$%d\r\n%s\r\n" % (len(a), a) for a in args])


class Server:
    """One server process in a directory of its own; started again if a case ended it."""

    def __init__(self, name, binary, *more):
        self.name, self.binary, self.more, self.process = name, binary, more, None
        self.dir = tempfile.mkdtemp(prefix=f"differential-{name}-")
        self.start()

    def start(self, port=None):
        self.port = port or free_port()
        args = [self.binary, "--port", str(self.port), "--dir", self.dir, "--save", "", "--databases", "4", "--loglevel", "notice",
                *self.more]
        with open(os.path.join(self.dir, "server.log"), "ab") as log:
            self.process = subprocess.Popen(args, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        limit = time.monotonic() + 20
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{self.name} did not start: see {self.dir}/server.log")

    def alive(self):
        return self.process.poll() is None

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Incomplete(Exception):
    """More bytes are needed."""


def end_of_reply(buf, at):
    """Where the reply that begins at `at` ends."""
    line = buf.find(b"\r\n", at)
    if line < 0:
        raise Incomplete
    kind, after = buf[at], line + 2
    if kind in b"+-:_#,(":
        return after
    size = int(buf[at + 1:line])
    if kind in b"$=!":
        end = after + size + 2 if size >= 0 else after
        if end > len(buf):
            raise Incomplete
        return end
    if kind not in b"*%~>|":
        raise ValueError(f"no reply begins with {bytes(buf[at:at + 20])!r}")
    for _ in range(max(size, 0) * (2 if kind in b"%|" else 1) + (kind in b"|")):
        after = end_of_reply(buf, after)
    return after


def decode(raw):
    """A reply as (kind, value): value is bytes, or a list of replies; None for the null ones."""
    return _decode(raw, 0)[0]


def _decode(raw, at):
    line = raw.find(b"\r\n", at)
    kind, head, after = raw[at:at + 1], raw[at + 1:line], line + 2
    if kind in b"$=!":
        size = int(head)
        return ((kind, None), after) if size < 0 else ((kind, raw[after:after + size]), after + size + 2)
    if kind in b"*%~>":
        if int(head) < 0:
            return (kind, None), after
        items = []
        for _ in range(int(head) * (2 if kind == b"%" else 1)):
            item, after = _decode(raw, after)
            items.append(item)
        return (kind, items), after
    return (kind, head), after


class Connection:
    """A socket that hands out whole replies as they came."""

    def __init__(self, server, timeout=8):
        self.sock = socket.create_connection(("127.0.0.1", server.port))
        self.sock.settimeout(timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf, self.at = bytearray(), 0

    def send(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what was answered before can still be read

    def reply(self):
        """The next reply's bytes; b"" when the server has closed; TimeoutError when it is silent."""
        while True:
            try:
                end = end_of_reply(self.buf, self.at)
            except Incomplete:
                if not self.more():
                    return b""
                continue
            raw = bytes(self.buf[self.at:end])
            self.at = end
            if end == len(self.buf):
                self.buf.clear()
                self.at = 0
            return raw

    def more(self):
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            return False
        self.buf += data
        return bool(data)

    def call(self, *args):
        return self.calls([args])[0]

    def calls(self, commands):
        self.send(b"".join(encode(c) for c in commands))
        replies = [self.reply() for _ in commands]
        if b"" in replies:
            raise ConnectionError("closed")
        return replies

    def close(self):
        self.sock.close()
