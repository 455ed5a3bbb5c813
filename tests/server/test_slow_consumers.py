"""Peers that do not read: what is kept for them is bounded, and others go on."""

import signal
import socket
import time

import pytest

from . import peers
from .apps import BOUND, SIZE

MESSAGES = 600  # times 8 KiB, which is more than the kernel and the bound hold


@pytest.fixture
def server(start):
    return start("ours", "limits:consumers_app")


def join(server, policy, stalled=False):
    sock = socket.socket()
    if stalled:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(peers.PATIENCE)
    sock.connect(server.address)
    wire = server.keep(peers.Wire(sock))
    client = peers.RFC6455Client(wire, server.host, f"/{policy}/member").connect()
    assert client.receive() == "joined"
    return client


def speak(server, policy, count=MESSAGES):
    """Have the speaker send to the room; its answer is how much was ever kept."""
    return server.open("13", f"/{policy}/speaker?{count}")


def number_of(message):
    assert len(message) == SIZE
    return int(message[:8])


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "close"])
def test_stalled_reader_delays_nobody(server, policy):
    stalled = join(server, policy, stalled=True)
    swift = join(server, policy)
    started = time.monotonic()
    speaker = speak(server, policy)
    assert [number_of(swift.receive()) for _ in range(MESSAGES)] == list(
        range(MESSAGES)
    )
    # A send that waited for the stalled one would wait for 60 s.
    assert time.monotonic() - started < 30
    most = int(speaker.receive())
    assert most <= BOUND + 2 * SIZE, f"{most} bytes were kept"
    stalled.wire.close()
    server.check()


def read_all(client):
    """Read until nothing comes for a while; return the numbers, and the close."""
    numbers = []
    client.wire.sock.settimeout(3)
    try:
        while not isinstance(message := client.read_any(), peers.Frame):
            numbers.append(number_of(message))
    except (TimeoutError, EOFError):
        return numbers, None
    return numbers, message


def test_drop_oldest_keeps_the_newest(server):
    stalled = join(server, "drop_oldest", stalled=True)
    assert int(speak(server, "drop_oldest").receive()) > 0
    numbers, close = read_all(stalled)
    assert close is None
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == MESSAGES - 1
    assert len(numbers) < MESSAGES
    kept = BOUND // 2 // SIZE - 1
    assert numbers[-kept:] == list(range(MESSAGES - kept, MESSAGES))


def test_drop_newest_keeps_the_oldest(server):
    stalled = join(server, "drop_newest", stalled=True)
    assert int(speak(server, "drop_newest").receive()) > 0
    numbers, close = read_all(stalled)
    assert close is None
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < MESSAGES


def test_close_gives_up_with_1013(server):
    stalled = join(server, "close", stalled=True)
    assert int(speak(server, "close").receive()) >= 0
    numbers, close = read_all(stalled)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) < MESSAGES
    # The close frame stands behind what had begun to leave; it is sent if the peer
    # reads on in time.
    assert close is None or close.code == 1013


def test_block_waits_for_a_reader_that_lags(server):
    lagging = join(server, "block", stalled=True)
    speaker = speak(server, "block")
    for expected in range(MESSAGES):
        assert number_of(lagging.receive()) == expected
    assert int(speaker.receive()) <= BOUND + 2 * SIZE
    server.check()


def test_block_gives_up_at_the_deadline_of_the_send(server):
    stalled = join(server, "block", stalled=True)
    started = time.monotonic()
    speaker = speak(server, "block")
    assert int(speaker.receive()) <= BOUND + 2 * SIZE
    # limits.py gives a send two seconds.
    assert 1 < time.monotonic() - started < 15
    server.log.wait("^SEND FAILED", server.mark)
    stalled.wire.close()


def test_peer_that_reads_nothing_is_given_up(server):
    """The echo's own peer does not read: reading from it stops, then it is closed."""
    client = server.open("13")
    data = client.encode("x" * 60000) * 20
    # limits.py gives a send two seconds; the client would wait for a minute.
    with pytest.raises(ConnectionError):  # noqa: PT012
        while True:
            client.wire.send(data)


# ---- what was sent before the close


SLOWLY = 20_000_000  # bytes, for which such a reader takes some seconds


def read_slowly(client, size):
    """Read so much at a slow but steady pace."""
    while len(client.wire.buffer) < size:
        assert client.wire.fill(), "cut off"
        time.sleep(0.02)


def test_slow_reader_has_all_of_it_before_the_close(start):
    server = start("ours", env={"WSMIDDLEWARE_CLOSE_TIMEOUT": "1.5"})
    path = f"/produce-and-leave?{SLOWLY}"
    client = server.open("13", path)
    read_slowly(client, SLOWLY)
    assert len(client.receive()) == SLOWLY
    assert client.expect_close() == 1000
    assert [status for status, _, _ in server.access_lines(path)] == [101]


def test_slow_reader_has_all_of_it_before_the_worker_goes(start):
    server = start("ours", "apps:app", "--graceful-timeout", "60")
    client = server.open("13", f"/produce?binary={SLOWLY}")
    assert client.wire.fill()
    server.signal(signal.SIGTERM)
    read_slowly(client, SLOWLY)
    assert len(client.receive()) == SLOWLY
    assert client.expect_close() == 1001
    assert server.process.wait(peers.PATIENCE) == 0


def test_reader_that_stops_is_cut_off_at_the_close(start):
    server = start("ours", env={"WSMIDDLEWARE_CLOSE_TIMEOUT": "1.5"})
    path = f"/produce-and-leave?{SLOWLY}"
    client = server.open("13", path)
    assert client.wire.fill()
    ((status, _, seconds),) = server.access_lines(path)
    assert status == 101
    assert 1 < seconds < 30
    client.wire.close()
