"""Settings of a gunicorn whose workers share the files of their metrics."""

from gunicorn_settings import post_worker_init  # noqa: F401
from prometheus_client import multiprocess


def child_exit(server, worker):
    """Forget the gauges of a worker that has gone."""
    multiprocess.mark_process_dead(worker.pid)
