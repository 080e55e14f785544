#!/usr/bin/env python3
"""Run Redis's own test suite (7.0.15) with our binary as src/redis-server, against a recorded list of tests.

    run.py [--server BIN] [--units A,B,...]     run the units (default: the recorded ones) and compare
    run.py --tls [--server BIN] [--units A,B,...]   the same over TLS (default: unit/tls and a sample of the others)
    run.py --explain UNIT 'TEST GLOB' REASON    record why tests do not pass (also: --explain UNIT 'GLOB' '' to undo)
    run.py --oracle [--units A,B,...]           run the real redis-server and list its tests as not yet explained

An error (exit 1) is: a recorded test that fails, twice in a row in fresh runs of its unit, or does not run at all; a
failure of a test in neither list; a test listed without a reason; a unit that broke off. A new pass is recorded in
tests/compat/passing.json, unless CI=true or --ci: there it is only told. Details of a run: .compat/out/.
Needs tclsh, redis-tools and procps: installed here when they are missing and this is root on Debian.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import shutil
import subprocess
import sys
import tempfile

import record
import suite
import unit

ROOT = os.path.dirname(os.path.dirname(suite.HERE))
CACHE = os.path.join(ROOT, ".compat")
OUT = os.path.join(CACHE, "out")
RECORD = os.path.join(ROOT, "tests", "compat", "passing.json")
NEEDED = {"tclsh8.6": "tcl", "redis-cli": "redis-tools", "redis-benchmark": "redis-tools", "pgrep": "procps"}
TLS = "unit/tls"    # there is nothing in it without --tls
TLS_UNITS = [TLS, "unit/auth", "unit/multi", "unit/pubsub", "unit/scripting", "unit/querybuf", "unit/type/string",
             "unit/type/list", "unit/introspection", "unit/limits", "unit/protocol"]
LONGEST = "integration/replication"     # begun first
JOBS_MAX = 2                    # more and the suite's own time limits are missed
BASEPORT, PORTS = 21111, 1000   # each job has a thousand; the suite also probes 10,000 above


def need_tools(more=()):
    """Install what the suite needs, or name it in one line."""
    missing = sorted({p for tool, p in [*NEEDED.items(), *more] if not shutil.which(tool)})
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing", *missing, flush=True)
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
        quiet = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        subprocess.run([*quiet, "update"], env=env, check=True)
        subprocess.run([*quiet, "install", "--no-install-recommends", *missing], env=env, check=True,
                       stdout=subprocess.DEVNULL)
    else:
        sys.exit(f"compat: install these Debian packages first: {' '.join(missing)}")


def need_tcl_tls():
    """The suite's clients speak TLS by a package of Tcl."""
    check = subprocess.run(["tclsh8.6"], input="package require tls", text=True, capture_output=True)
    if not check.stderr:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("compat: install this Debian package first: tcl-tls")
    subprocess.run(["apt-get", "-qq", "update"], check=True)
    subprocess.run(["apt-get", "-qq", "install", "--no-install-recommends", "tcl-tls"], check=True,
                   env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"), stdout=subprocess.DEVNULL)


class Runner:
    def __init__(self, server, units, tls):
        self.server, self.units, self.tls = server, units, tls
        self.root = tempfile.mkdtemp(prefix="rvc-", dir="/tmp")     # short: unix socket paths
        self.copies = {}

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def one(self, slot, name, label):
        if slot not in self.copies:
            self.copies[slot] = os.path.join(self.root, str(slot))
            suite.copy(os.path.join(CACHE, "redis-7.0.15"), self.server, self.copies[slot], self.tls)
        log = os.path.join(OUT, f"{name.replace('/', '_')}{label}")
        return unit.run(name, self.copies[slot], self.server, BASEPORT + slot * PORTS, log, self.tls)

    def all(self, each):
        """Run every unit, JOBS_MAX at a time, and hand each result to `each` as it comes; retries happen there."""
        todo = sorted(self.units, key=lambda name: name != LONGEST)

        def job(slot):
            while todo:
                name = todo.pop(0)
                each(slot, self.one(slot, name, ""))

        with concurrent.futures.ThreadPoolExecutor(JOBS_MAX) as pool:
            for future in [pool.submit(job, slot) for slot in range(JOBS_MAX)]:
                future.result()


def check(runner, recorded, ci):
    """Compare every unit with the list; the number of errors."""
    counts = {"passed": 0, "failed": 0, "known": 0}
    details, errors, new = {}, [], []

    def each(slot, result):
        lost, failures, _, _ = recorded.compare(result)
        again = ""
        if lost or failures or not result.complete:
            # Some tests watch the clock: what fails must fail twice.
            second = runner.one(slot, result.unit, ".again")
            tests = dict(result.tests)
            tests.update((t, r) for t, r in second.tests.items() if tests.get(t, ("", ""))[0] != "ok")
            result = result._replace(tests=tests, complete=result.complete or second.complete)
            again = " (run twice)"
        lost, failures, unexplained, passes = recorded.compare(result)
        ok = sum(s == "ok" for s, _ in result.tests.values())
        known = len([t for t, why in recorded.unit(result.unit)["known"].items()
                     if why and result.tests.get(t, ("", ""))[0] != "ok"])
        name = result.unit
        details[name] = {"tests": result.tests, "blocks": result.blocks, "complete": result.complete,
                         "seconds": round(result.seconds, 1)}
        counts["passed"] += ok
        counts["known"] += known
        counts["failed"] += len(lost) + len(failures) + len(unexplained)
        for kind, names in (("recorded as passing, fails now", lost), ("new failure, in no list", failures),
                            ("fails without a reason in the list", unexplained)):
            for test in names:
                status, message = result.tests.get(test, ("did not run", ""))
                errors.append(f"{name}: {test}\n    {kind}: {status}: {message.strip()[:400]}")
        if not result.complete:
            errors.append(f"{name}: the unit broke off")
        if lost or not result.complete:
            errors.extend(f"{name}: {block[:400]}" for block in result.blocks[:3])
        new.extend((name, t) for t in passes)
        print(f"{name:26} {ok:4} passed {len(lost) + len(failures) + len(unexplained):4} failed {known:4} known"
              f" {result.seconds:6.1f} s{again}", flush=True)

    runner.all(each)
    with open(os.path.join(OUT, "results.json"), "w", encoding="utf-8") as f:
        json.dump(details, f, indent=1, ensure_ascii=False)
    for e in errors:
        print("ERROR", e)
    if new and ci:
        print(f"{len(new)} tests pass that are not recorded: run `make compat` and commit {os.path.relpath(RECORD, ROOT)}")
    elif new:
        for name, test in new:
            recorded.passes(name, test)
        recorded.save()
        print(f"{len(new)} new passes recorded in {os.path.relpath(RECORD, ROOT)}")
    print(f"compat: {counts['passed']} passed, {counts['failed']} failed, {counts['known']} skipped")
    return len(errors)


def explain(recorded, name, pattern, reason):
    listed = recorded.unit(name)["known"]
    found = [t for t in listed if t == pattern or fnmatch.fnmatchcase(t, pattern)]
    try:
        with open(os.path.join(OUT, "results.json"), encoding="utf-8") as f:
            tests = json.load(f).get(name, {}).get("tests", {})
    except FileNotFoundError:
        tests = {}
    found += [t for t, (status, _) in tests.items() if status == "err" and t not in found
              and t not in recorded.unit(name)["passing"] and fnmatch.fnmatchcase(t, pattern)]
    for test in found:
        listed[test] = reason
    recorded.save()
    print(f"{len(found)} tests explained in {name}")
    return not found


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--server", default=os.path.join(ROOT, "target", "release", "redvault"), metavar="BIN")
    ap.add_argument("--units", default="", help="comma-separated, e.g. unit/type/string,unit/expire")
    ap.add_argument("--tls", action="store_true", help="run the units over TLS")
    ap.add_argument("--ci", action="store_true", default=os.environ.get("CI") == "true", help="record nothing")
    ap.add_argument("--explain", nargs=3, metavar=("UNIT", "GLOB", "REASON"))
    ap.add_argument("--oracle", action="store_true", help="list what the real redis-server passes")
    a = ap.parse_args()
    recorded = record.Record(RECORD)
    if a.explain:
        return explain(recorded, *a.explain)
    units = [u.strip() for u in a.units.split(",") if u.strip()]
    units = units or (TLS_UNITS if a.tls else [u for u in recorded.units if u != TLS])
    server = shutil.which("redis-server") if a.oracle else os.path.abspath(a.server)
    if not server or not os.access(server, os.X_OK):
        sys.exit(f"compat: {server or 'redis-server'} is not there (make run builds ours)")
    need_tools([("openssl", "openssl")] if a.tls else [])
    if a.tls:
        need_tcl_tls()
    subprocess.run([os.path.join(suite.HERE, "get-suite.sh"), CACHE], check=True)
    unknown = [u for u in units if not os.path.exists(os.path.join(CACHE, "redis-7.0.15", "tests", u + ".tcl"))]
    if unknown or not units:
        sys.exit(f"compat: no such unit: {' '.join(unknown) or '(none recorded)'}")
    shutil.rmtree(OUT, ignore_errors=True)
    os.makedirs(OUT)
    runner = Runner(server, units, a.tls)
    try:
        if not a.oracle:
            return 1 if check(runner, recorded, a.ci) else 0

        def meet(_, result):
            print(f"{result.unit:26} {len(result.tests):4} tests {result.seconds:6.1f} s", flush=True)
            for test, (status, message) in result.tests.items():
                if status == "ok":
                    recorded.meet(result.unit, test)
                elif status == "err":
                    print(f"  fails against the real server: {test}: {message.strip()[:200]}")

        runner.all(meet)
        recorded.save()
        return 0
    except suite.Changed as e:
        sys.exit(f"compat: {e}")
    finally:
        runner.close()


if __name__ == "__main__":
    sys.exit(main())
