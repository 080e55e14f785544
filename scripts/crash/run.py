#!/usr/bin/env python3
"""Kills a server under load with SIGKILL at random moments and checks that it comes back with what it promised.

    run.py BINARY [--policy always,everysec,no,snapshot] [--rounds 100] [--seed 1]

In each round writers send commands of every type in pipelines while rewrites and snapshots run, begun by
commands and by themselves; then the server, its child or both are killed, or the power is cut: all are killed, and
files lose what was never synced, or a part of it (a preloaded library notes what was; this needs a C compiler).
The next life has to load its files, and what it holds has to be, for every writer, what the first so many of its
operations make:
  always      all that were answered
  everysec    all that were answered two seconds before the end
  no          any number (the count of answered ones that were lost is shown)
  snapshot    (no AOF) all that were answered before the last SAVE or BGSAVE that succeeded was asked for
In all of them no operation is missing that was answered before one that is there was sent, and transactions are
there as a whole. The directory lives on from round to round; settings of the AOF are drawn anew for each. A
failure prints what happened and keeps the directory.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter

from model import History, Model, Operations
from process import Failed, Process, Writer, build_shim, cut_power, everything, info, kill_child, lives

WRITERS, DATABASES = 6, 4
POLICIES = ["always", "everysec", "no", "snapshot"]
EVERYSEC_LOSES_S = 2.0
# Rounds that share a directory.
ROUNDS_EACH = 10


class Run:
    """One policy in one directory: what the writers have done, and the rounds."""

    def __init__(self, binary, policy, seed, shim, victims):
        self.binary, self.policy, self.shim, self.victims = binary, policy, shim, victims
        self.dice = random.Random(f"{policy}/{seed}")
        self.operations = [Operations(f"{policy}/{seed}", n) for n in range(WRITERS)]
        self.models = [Model() for _ in range(WRITERS)]
        self.seen = Counter()
        self.orphans = []
        self.directory = None

    def fresh_directory(self):
        self.drop_directory()
        self.directory = tempfile.mkdtemp(prefix=f"crash-{self.policy}-")
        for model in self.models:
            model.data.clear()

    def drop_directory(self):
        self.end_orphans()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end_orphans(self):
        """Children that outlived their server go on writing: the next life has to live with that."""
        for pid in self.orphans:
            kill_child(pid)
        while any(lives(pid) for pid in self.orphans):
            time.sleep(0.001)
        self.orphans.clear()

    def arguments(self):
        def either():
            return self.dice.choice(["yes", "no"])

        arguments = [
            "--databases", str(DATABASES), "--stop-writes-on-bgsave-error", "no",
            "--save", self.dice.choice(["", "1 100"]), "--rdb-key-save-delay", self.dice.choice(["0", "500", "3000"]),
            "--rdbcompression", either(), "--loglevel", "notice",
        ]
        if self.policy != "snapshot":
            arguments += [
                "--appendonly", "yes", "--appendfsync", self.policy, "--aof-use-rdb-preamble", either(),
                "--aof-timestamp-enabled", either(),
                "--auto-aof-rewrite-percentage", "50", "--auto-aof-rewrite-min-size", "256kb",
            ]
        return arguments

    def round(self, number):
        if number % ROUNDS_EACH == 0:
            self.fresh_directory()
        victim = self.dice.choice(self.victims)
        shim = self.shim if victim == "power" else None
        # Without fsync while a child lives (an option of Redis) a power cut may take more.
        lazily = ["--no-appendfsync-on-rewrite", "no" if shim else self.dice.choice(["yes", "no"])]
        server = Process(self.binary, self.directory, self.arguments() + lazily, shim)
        try:
            control = server.wait_loaded()
            histories = [History(model) for model in self.models]
            writers = [
                Writer(server, n, self.operations[n], histories[n], DATABASES) for n in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            disturber = Disturber(self, server, control, histories)
            disturber.start()
            killed_at = self.end(server, disturber, victim)
            for writer in writers:
                writer.join()
                if writer.error:
                    raise Failed(f"writer {writer.number} was answered {writer.error}\n{server.said()}")
            disturber.join()
        finally:
            server.kill()
        self.recovered(histories, killed_at, disturber.saved)

    def end(self, server, disturber, victim):
        """Lets the load run for a random time, and kills; when what is promised was true for the last time."""
        long = [3.0] if victim == "power" and self.policy == "everysec" else []
        time.sleep(self.dice.choice([0.05, 0.3, 0.8, 1.5] + long) * (0.5 + self.dice.random()))
        children = server.children()
        if victim in ("child", "both") and not children:
            # A child lives but for a moment: ask for one, and take it in its prime.
            disturber.wants_child = True
            limit = time.monotonic() + 3
            while not children and time.monotonic() < limit:
                children = server.children()
        if victim in ("child", "both") and not any([kill_child(pid) for pid in children]):
            victim = "server"
        if victim == "child":
            # The server outlives its child, and goes on working.
            time.sleep(self.dice.random())
            if not server.alive():
                raise Failed(f"the server ended when its child was killed:\n{server.said()}")
        self.seen["killed by power cut" if victim == "power" else f"killed {victim}"] += 1
        self.orphans += server.children()
        killed_at = time.monotonic()
        server.kill()
        if victim == "power":
            self.end_orphans()
            self.seen["bytes that a power cut took"] += cut_power(self.directory, server.synced, self.dice)
        self.seen["orphaned children"] += len([pid for pid in self.orphans if lives(pid)])
        return killed_at

    def recovered(self, histories, killed_at, saved):
        """The next life: what it holds against what was promised."""
        server = Process(self.binary, self.directory, self.arguments())
        try:
            found = everything(server.wait_loaded(), DATABASES)
        finally:
            server.kill()
        if any(writer >= WRITERS for writer in found):
            raise Failed(f"writers that never were: {sorted(found)}")
        first, last = [], []
        for n, history in enumerate(histories):
            holds = found.get(n, {})
            prefixes = history.prefixes(holds)
            answered = len(history.acknowledged)
            if not prefixes:
                raise Failed(
                    f"what is there of writer {n} is no prefix of its {len(history.sent)} operations "
                    f"({answered} answered)\n{server.said()}"
                )
            promised = {
                "always": answered,
                "everysec": history.acknowledged_by(killed_at - EVERYSEC_LOSES_S),
                "no": 0,
                "snapshot": saved[n],
            }[self.policy]
            if prefixes[-1] < promised:
                raise Failed(f"writer {n}: {prefixes[-1]} operations are there, {promised} were promised\n{server.said()}")
            self.seen["operations answered"] += answered
            self.seen["answered and lost"] += max(answered - prefixes[-1], 0)
            first.append(prefixes[0])
            last.append(prefixes[-1])
            history.model.data = holds
        newest = max([h.sent[n - 1] for h, n in zip(histories, first) if n], default=0)
        for n, history in enumerate(histories):
            if last[n] < history.acknowledged_by(newest):
                raise Failed(f"a hole: writer {n} misses what was answered before another's last was sent\n{server.said()}")


class Disturber(threading.Thread):
    """Asks for rewrites and snapshots while the load runs, and notes what a snapshot that succeeded must hold."""

    def __init__(self, run, server, control, histories):
        super().__init__(daemon=True)
        self.run_of, self.server, self.control, self.histories = run, server, control, histories
        self.dice, self.saved, self.wants_child = random.Random(run.dice.random()), [0] * WRITERS, False

    def run(self):
        try:
            while True:
                limit = time.monotonic() + self.dice.random() * 0.8
                while time.monotonic() < limit and not self.wants_child:
                    time.sleep(0.01)
                self.wants_child = False
                if self.run_of.policy == "snapshot" or self.dice.random() < 0.2:
                    self.snapshot()
                else:
                    self.control.call(b"BGREWRITEAOF")
                    self.run_of.seen["rewrites asked for"] += 1
        except (OSError, StopIteration):
            pass

    def snapshot(self):
        answered = [len(history.acknowledged) for history in self.histories]
        if self.dice.random() < 0.3:
            saved = self.control.call(b"SAVE") == b"+OK\r\n"
        else:
            saved = self.control.call(b"BGSAVE").startswith(b"+Background saving started")
            while info(self.control, "rdb_bgsave_in_progress") == "1":
                if self.wants_child:
                    return
                time.sleep(0.01)
            saved = saved and info(self.control, "rdb_last_bgsave_status") == "ok"
        if saved:
            self.saved = answered
            self.run_of.seen["snapshots that succeeded"] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--policy", default=",".join(POLICIES))
    parser.add_argument("--victim", default="server,child,both,power")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    options = parser.parse_args()
    binary = os.path.abspath(options.binary) if os.path.exists(options.binary) else options.binary
    print(f"crash: {binary}, seed {options.seed}, {options.rounds} rounds of each policy", flush=True)
    tools, victims = tempfile.TemporaryDirectory(), options.victim.split(",")
    shim = build_shim(tools.name) if "power" in victims else None
    if "power" in victims and not shim:
        print("no C compiler: no power cuts", flush=True)
        victims.remove("power")
    for policy in options.policy.split(","):
        run, started = Run(binary, policy, options.seed, shim, victims), time.monotonic()
        for number in range(options.rounds):
            try:
                run.round(number)
            except Failed as failure:
                print(f"{policy}, round {number}: {failure}\nThe directory is kept: {run.directory}", flush=True)
                sys.exit(1)
            if sys.stdout.isatty():
                print(f"\r{policy}: {number + 1} rounds", end="", flush=True)
        run.drop_directory()
        seen = ", ".join(f"{what}: {count}" for what, count in sorted(run.seen.items()))
        seconds = time.monotonic() - started
        print(f"\r{policy}: {options.rounds} rounds in {seconds:.0f} s, every promise kept; {seen}", flush=True)


if __name__ == "__main__":
    main()
