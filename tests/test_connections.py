"""The count of connections and its limits; `server/` has deploys with real workers."""

import signal
from types import SimpleNamespace

import pytest

from wsmiddleware import connections as module
from wsmiddleware.connections import Connections
from wsmiddleware.handshake import Refusal
from wsmiddleware.options import Options


class Reactor:
    """Remember what is to be called, and call it when the test says so."""

    def __init__(self):
        self.calls = []

    def call_at(self, when, function):
        self.calls.append((when, function))

    def run(self):
        calls, self.calls = self.calls, []
        for _, function in sorted(calls, key=lambda call: call[0]):
            function()


class Connection:
    def __init__(self, accepted=True, **settings):
        self.options = Options(**settings)
        self.accepted = accepted
        self.acts = []
        self.waiting = self.taken = 0

    def go_away(self):
        self.acts.append("close")

    def abort(self, reason):
        self.acts.append(reason)

    def outstanding(self):
        return self.waiting, self.taken


@pytest.fixture
def reactor(monkeypatch):
    reactor = Reactor()
    current = SimpleNamespace(current=lambda: reactor)
    monkeypatch.setattr(module, "GeventReactor", current)
    monkeypatch.setattr(module, "monotonic", lambda: 100.0)
    return reactor


@pytest.fixture
def connections():
    connections = Connections()
    connections.attach(SimpleNamespace())
    return connections


def is_refused(connections, address="a", limit=None, **settings):
    try:
        connections.check(address, limit, Options(**settings))
    except Refusal as error:
        refusal = error
    else:
        return False
    assert refusal.status == "503 Service Unavailable"
    assert dict(refusal.headers)["Retry-After"] == "2"
    return True


def test_connections_are_counted_once(connections):
    first, second = Connection(), Connection()
    connections.add(first, "a")
    connections.add(second, "b")
    assert len(connections) == 2
    connections.discard(first, "a")
    connections.discard(first, "a")
    assert len(connections) == 1
    connections.discard(second, "b")
    assert len(connections) == 0


def test_limit_of_the_server(connections):
    assert not is_refused(connections, limit=1)
    assert is_refused(connections, limit=0)
    opened = Connection()
    connections.add(opened, "a")
    assert is_refused(connections, limit=1)
    assert not is_refused(connections, limit=None)
    connections.discard(opened, "a")
    assert not is_refused(connections, limit=1)


def test_limit_of_an_address(connections):
    limit = {"max_connections_per_address": 2}
    opened = [Connection(), Connection()]
    for connection in opened:
        assert not is_refused(connections, "a", **limit)
        connections.add(connection, "a")
    assert is_refused(connections, "a", **limit)
    assert not is_refused(connections, "b", **limit)
    assert not is_refused(connections, "a")
    connections.discard(opened[0], "a")
    assert not is_refused(connections, "a", **limit)


def test_addresses_are_forgotten(connections):
    for number in range(100):
        connection = Connection()
        connections.add(connection, f"192.0.2.{number}")
        connections.discard(connection, f"192.0.2.{number}")
    assert not connections._addresses


def test_everybody_is_sent_away_at_once(connections, reactor):
    opened = [Connection() for _ in range(3)]
    for connection in opened:
        connections.add(connection, "a")
    connections.drain()
    assert [connection.acts for connection in opened] == [["close"]] * 3
    assert is_refused(connections)
    # The second time does nothing, whoever asks.
    connections.drain()
    assert [connection.acts for connection in opened] == [["close"]] * 3


def test_who_does_not_answer_is_dropped(connections, reactor):
    answered, waiting = Connection(), Connection(accepted=False)
    for connection in (answered, waiting):
        connections.add(connection, "a")
    connections.drain()
    assert {when for when, _ in reactor.calls} == {101.0}
    reactor.run()
    assert answered.acts == ["close", "the server went away"]
    # Its handler has not decided yet: the request is HTTP, and gets its answer.
    assert waiting.acts == ["close"]


def test_who_still_takes_what_came_before_the_close_has_more_time(connections, reactor):
    connection = Connection()
    connection.waiting = 1000
    connections.add(connection, "a")
    connections.drain()
    for _ in range(3):
        connection.taken += 10
        reactor.run()
        assert connection.acts == ["close"]
    reactor.run()
    assert connection.acts == ["close", "the server went away"]
    assert reactor.calls == []


def test_closes_are_spread_over_the_window(connections, reactor):
    opened = [Connection(drain_window=10) for _ in range(5)]
    for connection in opened:
        connections.add(connection, "a")
    connections.drain()
    assert sum(connection.acts == ["close"] for connection in opened) == 1
    # Each has a second to answer from its own close on.
    times = sorted(when for when, _ in reactor.calls)
    assert times == [101, 102, 103, 104, 105, 106, 107, 108, 109]
    reactor.run()
    assert all(
        connection.acts == ["close", "the server went away"] for connection in opened
    )


def test_nobody_is_there_to_be_sent_away(connections, reactor):
    connections.drain()
    assert reactor.calls == []
    assert is_refused(connections)


# ---- a worker that does not tell


class Worker:
    """Stand for gunicorn's; its `handle_exit` is what SIGTERM calls."""

    def __init__(self, ppid):
        self.alive = True
        self.ppid = ppid

    def handle_exit(self, number, frame):
        """Be the handler of a signal."""


@pytest.fixture
def worker(monkeypatch):
    worker = Worker(ppid=7)
    monkeypatch.setattr(module.signal, "getsignal", lambda number: worker.handle_exit)
    monkeypatch.setattr(module.os, "getppid", lambda: 7)
    return worker


@pytest.mark.parametrize("cause", ["alive", "ppid"])
def test_worker_is_asked_as_long_as_there_is_somebody(reactor, worker, cause):
    connections = Connections()
    assert connections.worker is worker
    connection = Connection()
    connections.add(connection, "a")
    connections.add(Connection(), "a")
    assert len(reactor.calls) == 1
    reactor.run()
    assert len(reactor.calls) == 1
    assert connection.acts == []
    setattr(worker, cause, 0)
    reactor.run()
    assert connection.acts == ["close"]
    assert connections.is_draining


@pytest.mark.parametrize("cause", ["alive", "ppid"])
def test_worker_that_stops_takes_nobody_in(reactor, worker, cause):
    connections = Connections()
    assert not is_refused(connections)
    setattr(worker, cause, 0)
    assert is_refused(connections)


def test_nobody_is_asked_for_nobody(reactor, worker):
    connections = Connections()
    connection = Connection()
    connections.add(connection, "a")
    connections.discard(connection, "a")
    reactor.run()
    assert reactor.calls == []
    for _ in range(3):
        connections.add(connection, "a")
        connections.discard(connection, "a")
        assert len(reactor.calls) == 1


@pytest.mark.parametrize("handler", [signal.SIG_DFL, None, lambda number, frame: None])
def test_servers_that_are_not_gunicorn(reactor, monkeypatch, handler):
    monkeypatch.setattr(module.signal, "getsignal", lambda number: handler)
    connections = Connections()
    connections.add(Connection(), "a")
    assert reactor.calls == []
    assert connections.worker is False


def test_worker_that_tells_is_not_asked(reactor, worker):
    connections = Connections()
    connections.attach(worker)
    connections.add(Connection(), "a")
    assert reactor.calls == []
