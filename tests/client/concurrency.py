"""The three ways in which a client's caller waits, see `conftest.py`; and its time."""

import os
import threading
import time

import gevent
import pytest
from server import peers
from server.peers import PATIENCE

MODE = os.environ.get("WSMIDDLEWARE_CLIENT_MODE", "threads")


def concurrently(*functions):
    """Run functions at the same time, each in a thread or greenlet; return results."""
    if MODE == "threads":
        results = [None] * len(functions)
        errors = []

        def run(number):
            try:
                results[number] = functions[number]()
            except Exception as error:
                errors.append(error)

        threads = [
            threading.Thread(target=run, args=(n,)) for n in range(len(functions))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        for error in errors:
            raise error
        return results
    jobs = [gevent.spawn(function) for function in functions]
    gevent.joinall(jobs, timeout=PATIENCE, raise_error=True)
    return [job.value for job in jobs]


def sleep(seconds):
    """Let others run."""
    (time if MODE == "threads" else gevent).sleep(seconds)


def until(condition):
    """Look again and again until a condition holds, and let others run meanwhile."""
    peers.until(condition, sleep=sleep)


def expect_timeout(attempt, doing, seconds=0.2):
    """See an attempt to connect end when its time is up, and say what it was doing.

    A slow machine may not come so far in so little time; then there is more of it.
    """
    while True:
        started = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            attempt(open_timeout=seconds)
        assert 0.75 * seconds < time.monotonic() - started < seconds + 5
        words = f"connection not open within {seconds:g} s: "
        assert str(caught.value).startswith(words)
        if str(caught.value).startswith(words + doing):
            return
        seconds *= 2
        assert seconds < PATIENCE, f"never {doing}, but {caught.value}"
