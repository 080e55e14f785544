"""What the workers of Celery and rq are told to do. Imported by the workers, so it stands in a module of its own."""
import os

from celery import Celery

URL = os.environ.get("JOBS_URL", "redis://127.0.0.1:6379")

app = Celery("tasks", broker=f"{URL}/1", backend=f"{URL}/2")
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=8, broker_connection_retry_on_startup=True,
                result_expires=600, worker_hijack_root_logger=False)


@app.task(name="add", bind=True, max_retries=3)
def add(self, a, b):
    """Fails at its first attempt now and then: a job that is tried again is a job, too."""
    if a % 100 == 7 and self.request.retries == 0:
        raise self.retry(countdown=0)
    return a + b


@app.task(name="total")
def total(numbers):
    return sum(numbers)


def double(number):
    """rq's job."""
    return 2 * number


class FirstTime(Exception):
    pass


def double_at_second(number):
    """rq's job that succeeds when it is tried again; the mark is the job's own."""
    from rq import get_current_job
    job = get_current_job()
    if not job.meta.get("tried"):
        job.meta["tried"] = True
        job.save_meta()
        raise FirstTime
    return 2 * number
