"""The deadlines of a loop: in order, once, and gone when they are cancelled."""

import gc
import threading
from time import monotonic

import gevent

from wsmiddleware.reactor import Deadline, GeventReactor, ThreadReactor


def count_deadlines():
    gc.collect()
    return sum(type(thing) is Deadline for thing in gc.get_objects())


def test_what_is_due_is_called_in_order():
    reactor = GeventReactor.current()
    calls = []
    now = monotonic()
    for delay in (0.02, 0.0, 0.01):
        reactor.call_at(now + delay, lambda delay=delay: calls.append(delay))
    reactor.call_at(now + 0.005, lambda: calls.append("cancelled")).cancel()
    with gevent.Timeout(10):
        while len(calls) < 3:
            gevent.sleep(0.001)
    assert calls == [0.0, 0.01, 0.02]


def test_no_deadline_of_several_threads_is_lost():
    reactor = ThreadReactor.current()
    calls = []
    done = threading.Event()

    def note():
        calls.append(None)
        if len(calls) == 8000:
            done.set()

    def ask():
        for _ in range(2000):
            reactor.call_at(monotonic() + 0.01, note)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.wait(60)


def test_what_was_cancelled_does_not_stay_until_its_time():
    reactor = GeventReactor.current()
    before = count_deadlines()
    tomorrow = monotonic() + 86400
    kept = [reactor.call_at(tomorrow, list) for _ in range(10)]
    for _ in range(10_000):
        reactor.call_at(tomorrow, list).cancel()
    assert count_deadlines() - before < 1100
    assert all(deadline.function is not None for deadline in kept)
    for deadline in kept:
        deadline.cancel()
