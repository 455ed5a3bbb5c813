"""When a connection acts although nothing happens, by a clock that the tests turn."""

import pytest

from wsmiddleware import deadlines
from wsmiddleware.deadlines import Deadlines
from wsmiddleware.options import Options

NONE = {"ping_interval": None, "send_timeout": None}


class Entry:
    def __init__(self, when, function):
        self.when = when
        self.function = function

    def cancel(self):
        self.function = None


class Clock:
    """The time, and the reactor that keeps it."""

    def __init__(self):
        self.now = 1000.0
        self.entries = []

    def call_at(self, when, function):
        self.entries.append(Entry(when, function))
        return self.entries[-1]

    @property
    def waiting(self):
        return sorted(e.when for e in self.entries if e.function is not None)

    def advance(self, seconds):
        """Go on, from one entry that is due to the next."""
        end = self.now + seconds
        while self.waiting and self.waiting[0] <= end:
            entry = min(
                (e for e in self.entries if e.function is not None),
                key=lambda e: e.when,
            )
            self.entries.remove(entry)
            self.now = max(self.now, entry.when)
            entry.function()
        self.now = end


class Connection:
    """What a WebSocket is to its deadlines; it notes what it is asked."""

    def __init__(self, clock, **settings):
        self.clock = clock
        self.started = clock.now
        self.acts = []
        self.is_gone = False
        self.reading_is_paused = False
        self.buffered_amount = 0
        self.bytes_sent = 0
        self.answers = False
        self.deadlines = Deadlines(self, Options(**settings), clock)

    def outstanding(self):
        return self.buffered_amount, self.bytes_sent

    def note(self, *act):
        self.acts.append((round(self.clock.now - self.started, 3), *act))

    def check_deadlines(self):
        self.deadlines.check()

    def send_keepalive(self):
        self.note("ping")
        self.deadlines.heard = self.answers

    def start_close(self, code, reason):
        self.note("close", int(code), reason)
        self.deadlines.start_close()

    def end_overdue(self):
        self.note("overdue")
        self.lose()

    def abort(self, reason):
        self.note("abort", reason)
        self.lose()

    def lose(self):
        self.is_gone = True
        self.deadlines.stop()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(deadlines, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def connect(clock):
    def connect(has_ping=True, **settings):
        connection = Connection(clock, **settings)
        connection.deadlines.start(has_ping)
        return connection

    return connect


# ---- pings


def test_peer_that_answers_is_pinged_again_and_again(connect, clock):
    connection = connect(ping_interval=10, ping_timeout=5)
    connection.answers = True
    clock.advance(35)
    assert connection.acts == [(10, "ping"), (20, "ping"), (30, "ping")]


def test_peer_that_answers_no_ping_is_given_up(connect, clock):
    connection = connect(ping_interval=10, ping_timeout=5)
    clock.advance(60)
    assert connection.acts == [
        (10, "ping"),
        (15, "abort", "the peer did not answer a ping"),
    ]
    assert clock.waiting == []


@pytest.mark.parametrize("moment", [0.1, 4.9])
def test_anything_that_is_heard_is_an_answer(connect, clock, moment):
    connection = connect(ping_interval=10, ping_timeout=5)
    clock.advance(10 + moment)
    connection.deadlines.heard = True
    clock.advance(10)
    assert connection.acts == [(10, "ping"), (20, "ping")]


def test_what_was_heard_before_the_ping_is_no_answer(connect, clock):
    connection = connect(ping_interval=10, ping_timeout=5)
    clock.advance(9)
    connection.deadlines.heard = True
    clock.advance(10)
    assert connection.acts[-1] == (15, "abort", "the peer did not answer a ping")


def test_answer_may_take_longer_than_the_interval(connect, clock):
    connection = connect(ping_interval=10, ping_timeout=25)
    clock.advance(34)
    assert connection.acts == [(10, "ping"), (20, "ping"), (30, "ping")]
    clock.advance(2)
    assert connection.acts[-1] == (35, "abort", "the peer did not answer a ping")


def test_peer_is_not_blamed_for_what_is_not_read(connect, clock):
    """The application lags behind, so that nothing is read, not even a pong."""
    connection = connect(ping_interval=10, ping_timeout=5)
    connection.reading_is_paused = True
    clock.advance(30)
    assert [act for _, act in connection.acts] == ["ping"] * 3
    connection.reading_is_paused = False
    clock.advance(30)
    assert connection.acts[-1][1] == "abort"


def test_peer_that_has_not_come_to_the_ping_is_not_late(connect, clock):
    """It takes what was sent before, slowly; behind that is the ping."""
    connection = connect(ping_interval=10, ping_timeout=5)
    connection.buffered_amount = 1000
    for _ in range(3):
        clock.advance(10)
        connection.bytes_sent += 1
    assert [act for _, act in connection.acts] == ["ping"] * 3
    clock.advance(20)
    assert connection.acts[-1] == (45, "abort", "the peer did not answer a ping")


def test_what_we_send_ourselves_is_nothing_that_the_peer_takes(connect, clock):
    """Over TLS a ping is longer for the system than for us."""
    connection = connect(ping_interval=10, ping_timeout=5)
    connection.buffered_amount = 30
    clock.advance(12)
    connection.bytes_sent -= 22
    clock.advance(10)
    assert connection.acts[-1] == (15, "abort", "the peer did not answer a ping")


def test_pings_without_a_deadline(connect, clock):
    connection = connect(ping_interval=10, ping_timeout=None)
    clock.advance(45)
    assert [act for _, act in connection.acts] == ["ping"] * 4


@pytest.mark.parametrize(
    ("has_ping", "settings"), [(False, {}), (True, {"ping_interval": None})]
)
def test_no_ping_where_there_is_none_or_none_is_wanted(
    connect, clock, has_ping, settings
):
    connection = connect(has_ping, **settings)
    clock.advance(1000)
    assert connection.acts == []


# ---- idle and old connections


def test_idle_connection_is_closed(connect, clock):
    connection = connect(**NONE, idle_timeout=10, close_timeout=3)
    clock.advance(20)
    assert connection.acts == [
        (10, "close", 1001, "idle for too long"),
        (13, "overdue"),
    ]


def test_busy_connection_is_not_idle(connect, clock):
    connection = connect(**NONE, idle_timeout=10)
    for _ in range(10):
        clock.advance(9)
        connection.deadlines.active = True
    assert connection.acts == []
    clock.advance(20)
    # Four times within the setting it is looked: it is a quarter late at most.
    assert connection.acts[0] == (102.5, "close", 1001, "idle for too long")


def test_pings_do_not_make_a_connection_busy(connect, clock):
    connection = connect(ping_interval=3, idle_timeout=10)
    connection.answers = True
    clock.advance(10)
    assert connection.acts[-1] == (10, "close", 1001, "idle for too long")


def test_old_connection_is_closed_however_busy(connect, clock):
    connection = connect(**NONE, idle_timeout=10, max_lifetime=27)
    for _ in range(6):
        clock.advance(5)
        connection.deadlines.active = True
    assert connection.acts == [(27, "close", 1001, "lifetime is over")]


# ---- a peer that takes nothing


def test_peer_that_takes_nothing_is_given_up(connect, clock):
    connection = connect(ping_interval=None, send_timeout=10)
    connection.buffered_amount = 500
    clock.advance(7)
    connection.deadlines.start_stall()
    clock.advance(10)
    assert connection.acts == [(17, "abort", "the peer took nothing of what was sent")]


def test_peer_that_takes_some_gets_more_time(connect, clock):
    connection = connect(ping_interval=None, send_timeout=10)
    connection.buffered_amount = 500
    connection.deadlines.start_stall()
    for _ in range(5):
        clock.advance(9)
        connection.bytes_sent += 1
        # a second stall of the same time changes nothing
        connection.deadlines.start_stall()
    assert connection.acts == []
    clock.advance(20)
    assert connection.acts[0][1] == "abort"


def test_peer_that_took_everything_is_no_longer_watched(connect, clock):
    connection = connect(ping_interval=None, send_timeout=10)
    connection.buffered_amount = 500
    connection.deadlines.start_stall()
    connection.buffered_amount = 0
    clock.advance(100)
    assert connection.acts == []
    assert clock.waiting == []


def test_stall_without_a_deadline(connect, clock):
    connection = connect(ping_interval=None, send_timeout=None)
    connection.buffered_amount = 500
    connection.deadlines.start_stall()
    clock.advance(1000)
    assert connection.acts == []


# ---- closing


def test_close_that_is_not_answered_ends(connect, clock):
    connection = connect(close_timeout=5)
    connection.deadlines.start_close()
    clock.advance(10)
    assert connection.acts == [(5, "overdue")]


def test_peer_that_has_not_come_to_the_close_has_more_time(connect, clock):
    connection = connect(close_timeout=5, send_timeout=30)
    connection.buffered_amount = 1000
    connection.deadlines.start_close()
    for _ in range(3):
        clock.advance(4)
        connection.bytes_sent += 1
    clock.advance(10)
    # At 5, 10 and 15 seconds it had taken some more, at 20 it had not.
    assert connection.acts == [(20, "overdue")]


def test_peer_that_takes_for_ever_is_given_up(connect, clock):
    connection = connect(close_timeout=5, send_timeout=30)
    connection.buffered_amount = 1000
    connection.deadlines.start_close()
    for _ in range(20):
        clock.advance(2)
        connection.bytes_sent += 1
    assert connection.acts == [(30, "overdue")]


def test_nothing_else_matters_while_closing(connect, clock):
    settings = {"ping_interval": 1, "idle_timeout": 2, "max_lifetime": 3}
    connection = connect(**settings, close_timeout=10)
    connection.deadlines.start_close()
    clock.advance(20)
    assert connection.acts == [(10, "overdue")]


def test_nothing_is_due_once_the_connection_is_gone(connect, clock):
    connection = connect(ping_interval=10, idle_timeout=5)
    connection.lose()
    clock.advance(100)
    assert connection.acts == []
    connection.deadlines.stop()


def test_one_entry_at_a_time_waits(connect, clock):
    """A thousand connections are a thousand entries, whatever they wait for."""
    connection = connect(ping_interval=10, idle_timeout=60, max_lifetime=30)
    connection.buffered_amount = 1
    connection.answers = True
    connection.deadlines.start_stall()
    assert clock.waiting == [connection.started + 10]
    connection.deadlines.start_close()
    assert len(clock.waiting) == 1
