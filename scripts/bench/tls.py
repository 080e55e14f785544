"""TLS: what requests cost over it, and what a connection does that is opened and what one holds that waits."""
import os
import socket
import ssl
import statistics
import subprocess
import tempfile

from scenarios import failed
from server import Server, drive, free_port

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "certificates.sh")
LOADS = [
    ("set P1 c50", 100_000, ["-t", "set", "-r", 1_000_000, "-c", 50]),
    ("set P16", 1_000_000, ["-t", "set", "-r", 1_000_000, "-P", 16]),
    ("get P16", 1_000_000, ["-t", "get", "-r", 1_000_000, "-P", 16]),
    ("get 16KiB P16", 60_000, ["-t", "get", "-d", 16384, "-P", 16]),
    ("set 16KiB P16", 60_000, ["-t", "set", "-d", 16384, "-P", 16]),
]
HANDSHAKES, IDLE = 1000, 2000


class Secure(Server):
    """A server whose `port` is the one for TLS once it is up."""

    def __init__(self, name, binary, certificates):
        port = free_port()
        self.ca = os.path.join(certificates, "ca.crt")
        files = [f"--tls-{option}={os.path.join(certificates, file)}".split("=") for option, file in
                 (("cert-file", "server.crt"), ("key-file", "server.key"), ("ca-cert-file", "ca.crt"))]
        super().__init__(name, binary, "--tls-port", str(port), "--tls-auth-clients", "no", *sum(files, []))
        self.plain, self.port = self.port, port
        self.context = ssl.create_default_context(cafile=self.ca)

    def open(self):
        link = self.context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname="localhost")
        link.sendall(b"PING\r\n")
        link.recv(16)
        return link


def per_handshake(server):
    before = server.cpu()
    for _ in range(HANDSHAKES):
        server.open().close()
    return (server.cpu() - before) * 1e6 / HANDSHAKES


def per_idle(server):
    base, held = server.rss(), []
    for _ in range(IDLE):
        held.append(server.open())
    grown = (server.rss() - base) / IDLE
    for link in held:
        link.close()
    return grown


def tls(servers, rounds, only):
    with tempfile.TemporaryDirectory(prefix="bench-tls-") as certificates:
        subprocess.run([SCRIPT, certificates], check=True)
        for name, n, args in LOADS:
            if only not in name:
                continue
            live, costs = {}, {}
            try:
                for k, binary in servers.items():
                    live[k] = Secure(k, binary, certificates)
                    if args[1] == "get":
                        drive(live[k], n // 2, "--tls", "--cacert", live[k].ca, "-t", "set", *args[2:])
                for _ in range(rounds):
                    for k, server in live.items():
                        cost, _ = drive(server, n, "--tls", "--cacert", server.ca, *args)
                        costs.setdefault(k, []).append(cost)
            except RuntimeError as error:
                failed(f"tls {name}", error)
            finally:
                for server in live.values():
                    server.stop()
            yield f"tls {name} cpu us/req", "low", {k: statistics.median(v) for k, v in costs.items()}, {}
        for what, measure in (("handshake (P-256) cpu us", per_handshake), ("bytes per idle connection", per_idle)):
            if only not in what:
                continue
            out = {}
            for k, binary in servers.items():
                server = Secure(k, binary, certificates)
                try:
                    out[k] = measure(server)
                except (OSError, RuntimeError) as error:
                    failed(f"tls {what}: {k}", error)
                finally:
                    server.stop()
            yield f"tls {what}", "low", out, {}
