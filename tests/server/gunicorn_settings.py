"""Settings of the gunicorn that the tests start, beside its command line."""


def post_worker_init(worker):
    """Say that a worker has loaded its application and heeds its signals."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)
