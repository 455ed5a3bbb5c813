"""When octets leave: at once, together, and never later than the next wait."""

import socket
from time import monotonic

import gevent
import pytest
import wire
from gevent.socket import wait_read

from wsmiddleware.options import Options
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.rfc6455 import RFC6455
from wsmiddleware.transport import Transport
from wsmiddleware.websocket import WebSocket


@pytest.fixture
def ends():
    """Return an open WebSocket and its peer's socket."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    reactor = GeventReactor.current()
    transport = Transport(ours, reactor)
    websocket = WebSocket(
        lambda subprotocol, headers: (RFC6455(client=False), transport, b""),
        Options(ping_interval=None),
        reactor,
    )
    websocket.accept()
    yield websocket, peer
    websocket.abort("the test is over")
    peer.close()


def burst(*texts):
    return b"".join(wire.frame("text", text, masked=True) for text in texts)


def frames(*texts):
    return b"".join(wire.frame("text", text) for text in texts)


def arrived(peer):
    """Return what is there now."""
    try:
        return peer.recv(1 << 20)
    except BlockingIOError:
        return b""


def awaited(peer):
    wait_read(peer.fileno(), timeout=10)
    return peer.recv(1 << 20)


def compute(seconds):
    """Keep the processor, and everybody else from it."""
    until = monotonic() + seconds
    while monotonic() < until:
        pass


def test_the_first_message_since_the_wait_leaves_at_once(ends):
    """Whatever the application computes afterwards."""
    websocket, peer = ends
    peer.send(burst(b"1", b"2", b"3"))
    seen = []

    def serve():
        for message in websocket:
            websocket.send(message)
            seen.append(arrived(peer))

    with gevent.Timeout(10):
        server = gevent.spawn(serve)
        rest = awaited(peer)
    assert seen == [frames(b"1"), b"", b""]
    assert rest == frames(b"2", b"3")
    server.kill()


def test_it_does_with_every_burst_when_the_application_is_slow(ends):
    websocket, peer = ends
    peer.send(burst(b"1", b"2"))
    first = []

    def serve():
        for number, message in enumerate(websocket):
            websocket.send(message)
            if number % 2 == 0:
                first.append(arrived(peer))
                compute(0.002)
            elif number < 9:  # the next burst is there before the application waits
                peer.send(burst(b"1", b"2"))

    server = gevent.spawn(serve)
    rest = b""
    with gevent.Timeout(10):
        while rest.count(b"2") < 5:
            rest += awaited(peer)
    assert first == [frames(b"1")] * 5
    server.kill()


def test_what_is_sent_without_a_wait_leaves_with_the_next_turn_of_the_loop(ends):
    websocket, peer = ends
    for text in ("1", "2", "3"):
        websocket.send(text)
    assert arrived(peer) == frames(b"1")
    assert websocket.buffered_amount == len(frames(b"2", b"3"))
    assert awaited(peer) == frames(b"2", b"3")
    assert websocket.buffered_amount == 0


def test_much_without_a_wait_leaves_before_it_takes_room(ends):
    websocket, peer = ends
    received = b""
    for _ in range(100):
        websocket.send(b"x" * 1000)
        assert websocket.buffered_amount < 1 << 17
        received += arrived(peer)
    assert len(received) > 20000


def test_a_peer_that_takes_nothing_gets_all_of_it_in_the_end(ends):
    websocket, peer = ends
    messages = [bytes([number]) * 100_000 for number in range(9)]
    protocol = RFC6455(client=True)

    def serve():
        for message in messages:
            websocket.send(message)

    server = gevent.spawn(serve)
    received = []
    with gevent.Timeout(20):
        while len(received) < len(messages):
            received += protocol.receive_data(awaited(peer))
        server.join()
    assert received == messages
    assert websocket.buffered_amount == 0


def test_what_the_peer_has_not_taken_is_known(ends):
    """Although the system has taken it, so that nothing waits here."""
    websocket, peer = ends
    assert websocket.outstanding() == (0, websocket.bytes_sent)
    websocket.send("x" * 10_000)
    waiting, taken = websocket.outstanding()
    assert (websocket.buffered_amount, taken < websocket.bytes_sent) == (0, True)
    assert waiting >= 10_000
    while websocket.outstanding()[0]:
        peer.recv(1 << 16)
    assert websocket.outstanding() == (0, websocket.bytes_sent)


def test_reading_stops_when_the_application_lags_behind(ends):
    websocket, peer = ends
    data = burst(*[b"x" * 1000] * 40)
    peer.send(data)
    gevent.sleep(0)
    with gevent.Timeout(10):
        while websocket.messages_received == 0:
            gevent.sleep(0)
    assert websocket.reading_is_paused
    assert [websocket.receive() for _ in range(40)] == ["x" * 1000] * 40
    assert not websocket.reading_is_paused


def test_others_have_their_turn_while_a_peer_floods(ends):
    websocket, peer = ends
    peer.send(burst(*[b"x"] * 6400))
    received = []
    turns = [0]

    def serve():
        for message in websocket:
            received.append(message)

    server = gevent.spawn(serve)
    with gevent.Timeout(10):
        while len(received) < 6400:
            gevent.sleep(0)
            turns.append(len(received))
    longest = max(b - a for a, b in zip(turns, turns[1:], strict=False))
    assert longest <= 64
    server.kill()
