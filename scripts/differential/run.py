#!/usr/bin/env python3
"""Random commands to a real redis-server and to ours, side by side: every reply and every end state must be the same.

    run.py BINARY [--oracle redis-server] [--seed N] [--count N] [--family strings,keys] [--case N]

What may differ is listed in rules.py, what is sent in families/. A case that differs is made as small as it can be and
printed as redis-cli lines. The same seed sends the same commands; `--case` plays one case of it again."""
import argparse
import signal
import sys
import time

from case import Family, Pair, shrink
from families import FAMILIES
from wire import Server


def shown(arg, most=200):
    if arg and len(arg) <= most and all(33 <= c < 127 and c not in b"\"'\\" for c in arg):
        return arg.decode()
    if len(arg) > most and len(set(arg)) == 1:
        return f'"{chr(arg[0])}" * {len(arg)}'
    text = "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\x{c:02x}" for c in arg[:most])
    return f'"{text}"' + (f" ({len(arg)} bytes)" if len(arg) > most else "")


def line(step, connections):
    text = f"raw {shown(step.raw)}" if step.raw is not None else " ".join(shown(a) for a in step.args)
    ending = "   # then 6 ms pass" if step.pause else ""
    return (f"{step.conn}> " if connections > 1 else "> ") + text + ending


def play_family(pair, family, arguments):
    """How many commands ran and how many distinct differences were found."""
    sent, found, unsteady, number, began = 0, set(), 0, 0, time.monotonic()
    while sent < arguments.count and len(found) < arguments.failures:
        steps = family.case(arguments.seed, arguments.case if arguments.case is not None else number)
        number += 1
        failure = pair.play(family.name, steps)
        sent += len(steps)
        if failure and pair.oracle_ended():
            unsteady += 1
            print(f"{family.name}: case {number - 1}: the real server ended")
        elif failure:
            if not all(pair.play(family.name, steps) for _ in range(3)):
                unsteady += 1  # time passed between the two servers; a real difference comes back
                print(f"{family.name}: case {number - 1} not every time: {failure.kind}, {line(failure.step, 1)[2:]}: "
                      f"{failure.oracle[:100]!r} {failure.subject[:100]!r}")
            elif signature(failure) not in found:
                found.add(signature(failure))
                print(f"\n--- {family.name}: seed {arguments.seed}, case {number - 1}")
                report(pair, family, shrink(steps, lambda s: same_fault(failure, pair.play(family.name, s))))
        if arguments.case is not None:
            break
    seconds = time.monotonic() - began
    print(f"{family.name:14} {sent:8} commands  {len(found)} differences  {unsteady} not seen twice  {seconds:.0f} s", flush=True)
    return len(found)


def signature(failure):
    args = failure.step.args or [b"raw"]
    return failure.kind, args[0].upper(), *(raw[:24] if raw[:1] == b"-" else b"" for raw in failure[2:])


def same_fault(failure, other):
    return other is not None and signature(other)[:2] == signature(failure)[:2]


def report(pair, family, steps):
    failure = pair.play(family.name, steps)
    for step in steps:
        print(line(step, len({s.conn for s in steps})))
    if failure is None:
        print("(does not fail every time)")
        return
    print(f"{failure.kind}: {line(failure.step, 1)[2:]}")
    for server, raw in zip(pair.servers, (failure.oracle, failure.subject)):
        print(f"  {server.name:9} {raw[:700]!r}" + (f" ({len(raw)} bytes)" if len(raw) > 700 else ""))
    sys.stdout.flush()


def options(doc, part):
    """The options of random cases: they are counted for each `part`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000, help=f"commands for each {part}")
    parser.add_argument("--case", type=int, help="only this case")
    parser.add_argument("--failures", type=int, default=10, help=f"differences of a {part} after which it is left")
    return parser


def main():
    parser = options(__doc__, "family")
    parser.add_argument("--oracle", default="redis-server")
    parser.add_argument("--family", default="", help="a comma list; all by default: " + ",".join(FAMILIES))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = arguments.family.split(",") if arguments.family else list(FAMILIES)
    servers = []
    try:
        servers = [Server("redis", arguments.oracle), Server("redvault", arguments.binary)]
        pair = Pair(*servers)
        found = sum(play_family(pair, Family(name), arguments) for name in names)
    finally:
        for server in servers:
            server.stop()
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
