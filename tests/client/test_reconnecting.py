"""`connect.reconnecting`: again and again, with patience, and not in vain."""

import ssl
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from server.peers import PATIENCE

from wsmiddleware import HandshakeError, InvalidURL
from wsmiddleware.channel import GreenletWaiting, ThreadWaiting
from wsmiddleware.client import _Backoff, _retry_after, can_heal, connect

from .scripted import CLOSE, TEXT, accept_13, expect_close, frame, read_frame, refuse


@pytest.fixture
def delays(monkeypatch):
    """Note the delays instead of waiting for them."""
    noted = []
    for waiting in (ThreadWaiting, GreenletWaiting):
        monkeypatch.setattr(
            waiting, "sleep", lambda self, seconds: noted.append(seconds)
        )
    return noted


class Script:
    """Answer each connection with the next of some scripts, then with the last."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.count = 0

    def __call__(self, wire):
        self.count += 1
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        script(wire)


def greet(wire):
    """Send a message and close."""
    accept_13(wire)
    wire.send(frame(TEXT, b"hello") + frame(CLOSE, b"\x03\xe8"))
    assert read_frame(wire)[0] == CLOSE


def drop(wire):
    """Accept, and end the connection without a close."""
    accept_13(wire)


def stay(wire):
    accept_13(wire)
    wire.send(frame(TEXT, b"hello"))
    expect_close(wire, 1000)


def busy(wire):
    refuse(wire, "503 Busy")


def test_a_live_connection_comes_again_and_again(scripted, delays):
    script = Script(greet, busy, drop, greet, stay)
    messages = []
    for ws in connect.reconnecting(scripted(script).url(), first_delay=1, max_delay=8):
        assert not ws.closed
        messages += list(ws) if script.count < 5 else [ws.receive(PATIENCE)]
        if script.count == 5:
            break
    assert messages == ["hello", "hello", "hello"]
    assert script.count == 5
    # Longer and longer, but for chance: half of it at most is taken away.
    for delay, whole in zip(delays, [1, 2, 4, 8], strict=True):
        assert whole / 2 <= delay <= whole


def test_leaving_the_loop_closes_the_connection(scripted, delays):
    server = scripted(Script(stay))
    for ws in connect.reconnecting(server.url()):
        assert ws.receive(PATIENCE) == "hello"
        break
    assert ws.closed
    assert ws.close_code == 1000
    assert delays == []


def test_an_exception_in_the_loop_is_not_swallowed(scripted, delays):
    def use(url):
        for ws in connect.reconnecting(url):
            assert ws.receive(PATIENCE) == "hello"
            raise RuntimeError("mine")

    server = scripted(Script(stay))
    with pytest.raises(RuntimeError, match="mine"):
        use(server.url())
    assert delays == []


def test_a_connection_that_has_lasted_begins_anew(scripted, delays, monkeypatch):
    monkeypatch.setattr("wsmiddleware.client.LASTING", 0.2)

    def last(wire):
        accept_13(wire)
        # The client's clock runs by now.
        assert read_frame(wire) == (TEXT, b"open")
        wire.is_silent(0.3)
        wire.send(frame(CLOSE, b"\x03\xe8"))
        assert read_frame(wire)[0] == CLOSE

    script = Script(busy, busy, busy, last, stay)
    for ws in connect.reconnecting(scripted(script).url(), first_delay=1):
        if script.count == 5:
            break
        ws.send("open")
        list(ws)
    assert 2 <= delays[2] <= 4
    assert 0.5 <= delays[3] <= 1


def test_retry_after_is_honoured(scripted, delays):
    script = Script(lambda wire: refuse(wire, "503 Busy", "Retry-After: 77"), stay)
    for ws in connect.reconnecting(scripted(script).url(), max_delay=5):
        ws.receive(PATIENCE)
        break
    assert delays == [77]


@pytest.mark.parametrize(
    "status", ["400 a", "401 b", "403 c", "404 d", "426 e", "302 f"]
)
def test_it_gives_up_on_a_refusal_that_cannot_heal(scripted, delays, status):
    script = Script(lambda wire: refuse(wire, status))
    with pytest.raises(HandshakeError, match=f"with status {status[:3]}"):
        next(connect.reconnecting(scripted(script).url()))
    assert script.count == 1
    assert delays == []


def test_it_gives_up_on_a_server_that_breaks_the_rules(scripted, delays):
    script = Script(lambda wire: accept_13(wire, "Sec-WebSocket-Protocol: other"))
    with pytest.raises(HandshakeError, match="subprotocol was not offered"):
        next(connect.reconnecting(scripted(script).url()))
    assert delays == []


def test_it_gives_up_on_what_the_caller_says(scripted, delays):
    errors = []

    def heals(error):
        errors.append(error)
        return len(errors) < 3

    script = Script(busy)
    with pytest.raises(HandshakeError):
        next(connect.reconnecting(scripted(script).url(), heals=heals))
    assert len(errors) == 3
    assert script.count == 3


def test_settings_are_checked_before_the_first_try():
    with pytest.raises(InvalidURL):
        connect.reconnecting("http://example.com/")
    with pytest.raises(TypeError):
        connect.reconnecting("ws://example.com/", nonsense=1)


def test_delays_pass_for_real(scripted):
    script = Script(busy, stay)
    started = time.monotonic()
    for ws in connect.reconnecting(scripted(script).url(), first_delay=0.2):
        ws.receive(PATIENCE)
        break
    assert 0.1 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("error", "heals"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (OSError(), True),
        (ssl.SSLError(), True),
        (ssl.SSLCertVerificationError(), False),
        (HandshakeError("", 500), True),
        (HandshakeError("", 503), True),
        (HandshakeError("", 408), True),
        (HandshakeError("", 425), True),
        (HandshakeError("", 429), True),
        (HandshakeError("", 407), False),
        (HandshakeError("", 404), False),
        (HandshakeError("", 101), False),
        (HandshakeError(""), False),
        (InvalidURL(""), False),
        (ValueError(), False),
        (ImportError(), False),
    ],
)
def test_what_can_heal(error, heals):
    assert can_heal(error) is heals


def test_a_connection_that_broke_in_the_handshake_can_heal(scripted):
    server = scripted(lambda wire: wire.read_through(b"\r\n\r\n"))
    with pytest.raises(HandshakeError) as caught:
        connect(server.url())
    assert can_heal(caught.value)


def test_a_refusal_that_ends_with_the_connection_is_a_refusal(scripted, delays):
    def script(wire):
        wire.read_through(b"\r\n\r\n")
        wire.send(b"HTTP/1.0 401 Unauthorized\r\n\r\nwho are you?")

    with pytest.raises(HandshakeError) as caught:
        next(connect.reconnecting(scripted(script).url()))
    assert caught.value.body == b"who are you?"
    assert delays == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("soon", 0),
        ("-5", 0),
        ("1" * 30, 0),
        (format_datetime(datetime(2020, 1, 1, tzinfo=timezone.utc), usegmt=True), 0),
    ],
)
def test_retry_after(value, seconds):
    assert (
        max(0, _retry_after(HandshakeError("", 503, [("retry-after", value)])))
        == seconds
    )
    assert _retry_after(HandshakeError("", 503, [("X", value)])) == 0
    assert _retry_after(OSError()) == 0


def test_retry_after_a_date():
    when = datetime.now(timezone.utc) + timedelta(seconds=100)
    value = format_datetime(when, usegmt=True)
    seconds = _retry_after(HandshakeError("", 503, [("Retry-After", value)]))
    assert 90 < seconds <= 100


def test_backoff_is_bounded_and_random():
    backoff = _Backoff(1, 10)
    delays = [backoff.next() for _ in range(40)]
    assert all(5 <= delay <= 10 for delay in delays[4:])
    assert len(set(delays)) == 40
    backoff.reset()
    assert 0.5 <= backoff.next() <= 1


def test_failure_is_logged_without_what_may_be_secret(scripted, delays, caplog):
    server = scripted(Script(busy, stay))
    url = server.url().replace("ws://", "ws://user:s3cr3t@") + "?token=s3cr3t"
    with caplog.at_level("INFO", "wsmiddleware"):
        for _ in connect.reconnecting(url):
            break
    (line,) = caplog.messages
    assert "503" in line
    assert "next try in" in line
    assert "s3cr3t" not in line
