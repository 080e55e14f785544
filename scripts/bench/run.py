#!/usr/bin/env python3
"""Measure Redis-compatible servers side by side, in one run, on one machine.

    run.py [--scenario NAME,...] [--only TEXT] [--rounds N] [--targets] [--json OUT] NAME=BINARY [NAME=BINARY ...]

The first server named is the subject, every other one is a peer. Each scenario starts every server afresh on a
loopback port in a directory of its own, pins it to CPU 0, drives it from CPU 1 and takes the servers in turn, ROUNDS
times; a row shows medians. Quote the ratios, not the absolute figures: machines differ and drift, a ratio taken in one
run holds. The machine should have nothing else to do.

  cpu    server CPU (all threads, user and system) in microseconds for each request, from /proc/PID/task/*/schedstat:
         it does not depend on how fast the load generator is. The figure to judge by.
  rps    requests a second as redis-benchmark saw them: bounded by the generator once the server is the faster one.
  x PEER peer / subject for costs and subject / peer for rates: above 1 the subject is ahead in both.

With --targets each row that has a figure to reach shows it, against the first peer, and NOT YET where it is not reached.
Needs redis-benchmark (Debian: redis-tools).
"""
import argparse
import json
import os
import shutil
import sys

import hitratio
import operations
import persistence
import replication
import scenarios
import session
import targets
import tls
from server import LOAD_CPU

SCENARIOS = {f.__name__: f for f in (scenarios.throughput, scenarios.memory, scenarios.connections, scenarios.growth,
                                     scenarios.expiry, operations.operations, persistence.persistence,
                                     session.pubsub, session.tracking, session.notifications, session.eviction,
                                     hitratio.hitratio, tls.tls, replication.replication)}
DEFAULT = ("throughput,memory,operations,connections,growth,expiry,pubsub,tracking,notifications,eviction,hitratio,tls,"
           "replication")


def cells(values):
    return "".join(f"{v:14,.2f}" if v is not None else f"{'-':>14}" for v in values)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("servers", nargs="+", metavar="NAME=BINARY")
    ap.add_argument("--scenario", default=DEFAULT, help="comma-separated: " + ", ".join(SCENARIOS))
    ap.add_argument("--only", default="", help="only what contains this in its name, in the scenarios that have several rows")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--targets", action="store_true", help="show the figures to reach")
    ap.add_argument("--json", metavar="OUT", help="write the rows there too")
    a = ap.parse_args()
    servers = dict(s.split("=", 1) for s in a.servers)
    for name in (*servers.values(), "redis-benchmark"):
        if not shutil.which(name):
            sys.exit(f"bench: {name} is not there (Debian: redis-server, redis-tools)")
    subject, *peers = servers
    rows, reached, judged = [], 0, 0
    os.sched_setaffinity(0, {LOAD_CPU})
    print(f"{'metric':60}" + "".join(f"{k:>14}" for k in servers) + "".join(f"{'x ' + p:>14}" for p in peers)
          + ("   to reach" if a.targets else ""), flush=True)
    for name in a.scenario.split(","):
        for metric, better, values, notes in SCENARIOS[name](servers, a.rounds, a.only):
            mine = values.get(subject)
            ratios = {p: (values[p] / mine if better == "low" else mine / values[p])
                      for p in peers if mine and values.get(p)}
            rows.append({"scenario": name, "metric": metric, "better": better, "values": values, "ratios": ratios,
                         "notes": notes})
            line = f"{metric:60}" + cells(values.get(k) for k in servers) + cells(ratios.get(p) for p in peers)
            verdict = a.targets and targets.judge(metric, mine, ratios.get(peers[0]) if peers else None)
            if verdict:
                judged += 1
                reached += verdict[1]
                line += f"   {verdict[0]:8}{'' if verdict[1] else '  NOT YET'}"
            if notes:
                line += "   " + ", ".join(f"{k}: {note}" for k, note in notes.items())
            print(line, flush=True)
            if a.json:
                with open(a.json, "w") as f:
                    json.dump(rows, f, indent=1)
    if judged:
        print(f"{reached} of {judged} figures reached")


if __name__ == "__main__":
    main()
