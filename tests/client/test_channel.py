"""What `connect` is made of: time limits, ways of waiting, turns, and the socket."""

import socket
import threading
import time

import gevent
import pytest
from server.peers import PATIENCE

from wsmiddleware.channel import (
    Channel,
    Establishing,
    GreenletWaiting,
    ThreadWaiting,
    TimeLimit,
    current_waiting,
)

from .concurrency import MODE, until


@pytest.fixture
def waiting():
    return current_waiting()


def test_the_way_of_waiting_is_found(waiting):
    kind = ThreadWaiting if MODE == "threads" else GreenletWaiting
    assert type(waiting) is kind


# Time limits


def test_no_limit():
    limit = TimeLimit(None, "slow")
    assert limit.left() is None
    assert limit.part(3) is None


def test_a_limit():
    limit = TimeLimit(60, "slow")
    assert 30 < limit.left() <= 60
    assert 10 < limit.part(3) <= 20


def test_a_limit_that_is_over_says_what_was_done():
    limit = TimeLimit(0, "not open")
    limit.doing = "resolving"
    with pytest.raises(TimeoutError, match="^not open within 0 s: resolving$"):
        limit.left()
    with pytest.raises(TimeoutError):
        limit.part(2)


# Waiting


def test_a_socket_is_waited_for(waiting):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting.for_socket(ours.fileno(), True, PATIENCE)
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            waiting.for_socket(ours.fileno(), False, 0.1)
        assert 0.05 < time.monotonic() - started < 5
        theirs.sendall(b"x")
        waiting.for_socket(ours.fileno(), False, None)


def test_addresses_and_names_are_resolved(waiting):
    for host in ("127.0.0.1", "localhost"):
        addresses = waiting.resolve(host, 80, PATIENCE)
        assert ("127.0.0.1", 80) in [address[4] for address in addresses]
    assert waiting.resolve("::1", 80, None)[0][4][:2] == ("::1", 80)
    with pytest.raises(socket.gaierror):
        waiting.resolve("nowhere.invalid", 80, None)


def test_a_call_returns_or_raises(waiting):
    assert waiting.call(lambda: 42, PATIENCE) == 42
    assert waiting.call(lambda: 42, None) == 42
    with pytest.raises(ZeroDivisionError):
        waiting.call(lambda: 1 // 0, PATIENCE)


def test_a_call_that_takes_too_long_is_left_alone(waiting):
    go_on = threading.Event()
    closed = threading.Event()

    class Result:
        close = staticmethod(closed.set)

    def slow():
        go_on.wait(PATIENCE)
        return Result()

    with pytest.raises(TimeoutError):
        waiting.call(slow, 0.1)
    go_on.set()
    if MODE != "patched":  # there the call ends with the wait for it
        # Nobody else could close what it returned.
        until(closed.is_set)


def test_sleeping(waiting):
    started = time.monotonic()
    waiting.sleep(0.05)
    assert time.monotonic() - started > 0.04


# Turns


class Log:
    """Note who had the turn, and that nobody had it at the same time."""

    def __init__(self):
        self.order = []
        self.inside = 0

    def visit(self, establishing, name, waiting, host="h", seconds=0.01):
        with establishing.turn(host, waiting, TimeLimit(PATIENCE, "no turn")):
            self.inside += 1
            assert self.inside == 1
            self.order.append(name)
            waiting.sleep(seconds)
            self.inside -= 1


@pytest.mark.skipif(MODE != "threads", reason="needs threads beside greenlets")
def test_threads_and_greenlets_take_turns():
    """Greenlets of two threads, and plain threads, all at once."""
    establishing, log = Establishing(), Log()
    errors = []

    def as_thread(name):
        try:
            for _ in range(5):
                log.visit(establishing, name, ThreadWaiting())
        except BaseException as error:
            errors.append(error)

    def as_greenlets(name):
        def run(number):
            for _ in range(5):
                log.visit(establishing, f"{name}{number}", GreenletWaiting())

        try:
            jobs = [gevent.spawn(run, number) for number in range(3)]
            gevent.joinall(jobs, timeout=PATIENCE, raise_error=True)
        except BaseException as error:
            errors.append(error)
        finally:
            gevent.get_hub().destroy(destroy_loop=True)

    threads = [
        threading.Thread(target=target, args=(name,))
        for target, name in [
            (as_thread, "a"),
            (as_thread, "b"),
            (as_greenlets, "c"),
            (as_greenlets, "d"),
        ]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert errors == []
    assert len(log.order) == 2 * 5 + 2 * 3 * 5
    assert establishing._queues == {}


def test_hosts_do_not_wait_for_each_other(waiting):
    establishing = Establishing()
    limit = TimeLimit(0.5, "no turn")
    with establishing.turn("a", waiting, limit), establishing.turn("b", waiting, limit):
        pass
    assert establishing._queues == {}


def test_a_turn_that_does_not_come(waiting):
    establishing = Establishing()
    with establishing.turn("a", waiting, TimeLimit(None, "no turn")):
        limit = TimeLimit(0.1, "no turn")
        with (
            pytest.raises(TimeoutError, match="no turn within"),
            establishing.turn("a", waiting, limit),
        ):
            pytest.fail("two had the turn")
    with establishing.turn("a", waiting, TimeLimit(1, "no turn")):
        pass
    assert establishing._queues == {}


# The socket


@pytest.fixture
def pair(waiting):
    ours, theirs = socket.socketpair()
    channel = Channel(ours, waiting, TimeLimit(0.3, "too slow"))
    yield channel, theirs
    channel.close()
    theirs.close()


def test_sending_and_receiving(pair):
    channel, theirs = pair
    channel.send(b"hello")
    assert theirs.recv(100) == b"hello"
    theirs.sendall(b"world")
    assert channel.receive() == b"world"
    channel.end_of_sending()
    assert theirs.recv(100) == b""
    theirs.close()
    assert channel.receive() == b""
    channel.end_of_sending()


def test_sending_waits_for_room_and_no_longer_than_the_limit(pair):
    channel, _ = pair
    with pytest.raises(TimeoutError, match=r"^too slow within 0\.3 s: not begun$"):
        channel.send(b"x" * 10_000_000)


def test_receiving_waits_no_longer_than_the_limit(pair):
    channel, _ = pair
    with pytest.raises(TimeoutError):
        channel.receive()
    # Once the time is up there is none left for anything.
    with pytest.raises(TimeoutError):
        channel.receive()
