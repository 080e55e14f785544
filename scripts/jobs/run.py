#!/usr/bin/env python3
"""Push 1,000 real jobs each through Celery, rq and BullMQ, and check every result.

    run.py BINARY [NAME ...]        start BINARY on a free port in a directory of its own; NAME: celery, rq, bullmq
    run.py --port PORT [NAME ...]   use a server that runs already (its databases 1 to 4 are flushed)

Celery and rq come from PyPI into a virtual environment below target/, BullMQ from npm into a folder beside it; without
node and npm BullMQ is left out, and says so. Exit code 1 if a job was lost, done twice, or answered wrongly.
"""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PLACE = os.path.join(ROOT, "target", "jobs")
PYTHON = os.path.join(PLACE, "venv", "bin", "python")
JOBS = 1000
LIMIT = 180     # seconds for a thousand jobs: far above what they take on a busy machine

if os.path.abspath(sys.executable) != PYTHON:
    try:
        subprocess.run([PYTHON, "-c", "import celery, redis, rq"], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-m", "venv", os.path.dirname(os.path.dirname(PYTHON))], check=True)
        packages = ["celery[redis]>=5.4", "rq>=2"]
        subprocess.run([PYTHON, "-m", "pip", "-q", "--disable-pip-version-check", "install", *packages], check=True)
    os.execv(PYTHON, [PYTHON, *sys.argv])

import redis


class Worker:
    """Processes that run until the check is over; their output is shown if it fails."""

    def __init__(self, count, *argv, url):
        self.log = tempfile.TemporaryFile()
        env = dict(os.environ, JOBS_URL=url, PYTHONPATH=HERE, PYTHONDONTWRITEBYTECODE="1")
        start = lambda: subprocess.Popen(argv, env=env, stdout=self.log, stderr=self.log)
        self.processes = [start() for _ in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        if kind is not None:
            self.log.seek(0)
            print(self.log.read().decode(errors="replace")[-4000:])


def within(seconds, what, condition):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"after {seconds} s: {what}"
        time.sleep(0.02)


def check_celery(port):
    os.environ["JOBS_URL"] = url = f"redis://127.0.0.1:{port}"
    sys.path.insert(0, HERE)
    import tasks
    from celery import chord, group
    options = ["--loglevel", "warning", "--concurrency", "2", "--without-heartbeat"]
    with Worker(1, PYTHON, "-m", "celery", "-A", "tasks", "worker", *options, url=url):
        result = group(tasks.add.s(i, 2 * i) for i in range(JOBS))()
        assert result.get(timeout=LIMIT) == [3 * i for i in range(JOBS)]
        # A chord counts its parts in the server and runs its end once.
        end = chord((tasks.add.s(i, 1) for i in range(20)), tasks.total.s())()
        assert end.get(timeout=60) == sum(range(1, 21))
        late = tasks.add.apply_async((1, 1), countdown=0.2)
        assert late.get(timeout=30) == 2
    left = redis.Redis(port=port, db=1)
    assert left.llen("celery") == 0, "jobs are left in the queue"


def check_rq(port):
    from datetime import timedelta

    import rq
    sys.path.insert(0, HERE)
    connection = redis.Redis(port=port, db=3)
    queue = rq.Queue("jobs", connection=connection)
    again = rq.Retry(max=2)
    prepared = [
        rq.Queue.prepare_data("tasks.double_at_second" if i % 100 == 7 else "tasks.double", (i,), result_ttl=600,
                              retry=again)
        for i in range(JOBS)
    ]
    jobs = queue.enqueue_many(prepared)
    last = queue.enqueue("tasks.double", 21, depends_on=jobs[-1], result_ttl=600)
    late = queue.enqueue_in(timedelta(seconds=1), "tasks.double", 4, result_ttl=600)
    url = f"redis://127.0.0.1:{port}/3"
    worker = [PYTHON, "-m", "rq.cli", "worker", "--url", url, "--worker-class", "rq.SimpleWorker", "--with-scheduler",
              "--quiet", "jobs"]
    with Worker(2, *worker, url=url):
        done = queue.finished_job_registry
        within(LIMIT, "all jobs are done", lambda: len(done) == JOBS + 2)
        answers = rq.job.Job.fetch_many([job.id for job in jobs], connection=connection)
        assert [job.return_value() for job in answers] == [2 * i for i in range(JOBS)]
        assert last.return_value() == 42 and late.return_value() == 8
    assert len(queue) == 0 and len(queue.failed_job_registry) == 0 and len(queue.started_job_registry) == 0


def check_bullmq(port):
    if not (shutil.which("node") and shutil.which("npm")):
        return "left out: no node and npm"
    modules = os.path.join(PLACE, "node_modules")
    if not os.path.isdir(os.path.join(modules, "bullmq")):
        os.makedirs(PLACE, exist_ok=True)
        quiet = ["--no-audit", "--no-fund", "--silent"]
        subprocess.run(["npm", "install", "--prefix", PLACE, *quiet, "bullmq@5"], check=True)
    script = [shutil.which("node"), os.path.join(HERE, "bullmq.cjs"), str(port), str(JOBS), str(LIMIT)]
    ran = subprocess.run(script, env=dict(os.environ, NODE_PATH=modules), timeout=2 * LIMIT, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert ran.returncode == 0, ran.stdout[-4000:]


CHECKS = {"celery": check_celery, "rq": check_rq, "bullmq": check_bullmq}


def start(binary):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    directory = tempfile.mkdtemp(prefix="jobs-")
    args = [binary, "--port", str(port), "--dir", directory, "--save", "", "--appendonly", "yes"]
    process = subprocess.Popen(args, stdout=subprocess.DEVNULL)
    try:
        within(20, "the server answers", lambda: answers(port, process))
    except AssertionError:
        process.kill()
        raise
    return process, port, directory


def answers(port, process):
    try:
        return redis.Redis(port=port).ping()
    except redis.ConnectionError:
        assert process.poll() is None, "the server ended"
        return False


def main(args):
    process = directory = None
    if args[:1] == ["--port"] and len(args) > 1:
        port, names = int(args[1]), args[2:]
    elif args and not args[0].startswith("-"):
        (process, port, directory), names = start(args[0]), args[1:]
    else:
        sys.exit(__doc__)
    passed = failed = 0
    try:
        for name in names or CHECKS:
            if name not in CHECKS:
                sys.exit(f"jobs: {name} is not one of {', '.join(CHECKS)}")
            for db in range(1, 5):
                redis.Redis(port=port, db=db).flushdb()
            begun = time.monotonic()
            try:
                note = CHECKS[name](port) or f"{JOBS} jobs in {time.monotonic() - begun:.1f} s"
                passed += not note.startswith("left out")
            except Exception as e:
                note = f"FAILED: {type(e).__name__}: {e}"
                failed += 1
            print(f"{name:<8} {note}", flush=True)
    finally:
        if process:
            process.terminate()
            process.wait(30)
            shutil.rmtree(directory, ignore_errors=True)
    print(f"jobs: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
