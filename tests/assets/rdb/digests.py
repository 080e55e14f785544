#!/usr/bin/env python3
"""Writes digests.txt: DEBUG DIGEST and DBSIZE of redis-server after loading each file of this folder.

    tests/assets/rdb/digests.py /usr/bin/redis-server > tests/assets/rdb/digests.txt
"""
import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time


def ask(port, *words):
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(" ".join(words).encode() + b"\r\n")
        return s.makefile("rb").readline()[1:].strip().decode()


print("# DEBUG DIGEST of redis-server 7.0.15 after loading each file, made by digests.py; - where it refuses.")
for path in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "*.rdb"))):
    with tempfile.TemporaryDirectory() as d, socket.socket() as s:
        shutil.copy(path, d + "/dump.rdb")
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        p = subprocess.Popen(
            [sys.argv[1], "--port", str(port), "--dir", d, "--save", "", "--enable-debug-command", "yes"],
            stdout=subprocess.DEVNULL,
        )
        digest = "-"
        while p.poll() is None:
            try:
                digest = ask(port, "DEBUG", "DIGEST")
                if not digest.startswith("LOADING"):
                    break
            except OSError:
                time.sleep(0.02)
        p.kill()
        p.wait()
        print(os.path.basename(path), digest)
