"""Settings of the gunicorn that the tests start, beside its command line."""

import os
from types import SimpleNamespace


def post_worker_init(worker):
    """Say that a worker has loaded its application and heeds its signals."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)
    if "SECONDS_BETWEEN_LOOKS" in os.environ:
        look_seldom(float(os.environ["SECONDS_BETWEEN_LOOKS"]))


def look_seldom(seconds):
    """Have gunicorn's gevent workers look seldom whether they are to end.

    They do it once a second.
    """
    import gevent
    from gunicorn.workers import ggevent

    functions = {**vars(gevent), "sleep": lambda _: gevent.sleep(seconds)}
    ggevent.gevent = SimpleNamespace(**functions)
