"""What a WebSocket does when its connection ends: nothing lost, nobody kept waiting."""

import socket

import gevent
import pytest
import wire
from gevent.socket import wait_read

from wsmiddleware.exceptions import ConnectionClosed
from wsmiddleware.hixie import Hixie55, Hixie76
from wsmiddleware.options import Options
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.rfc6455 import RFC6455
from wsmiddleware.transport import Transport
from wsmiddleware.websocket import WebSocket

NEVER = 600.0

PROTOCOLS = {"55": Hixie55, "76": Hixie76, "13": RFC6455}


@pytest.fixture
def connect():
    """Return the function that joins a WebSocket with a socket of its peer's."""
    opened = []

    def connect(version, *, client, accept=True, **settings):
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        reactor = GeventReactor.current()
        transport = Transport(ours, reactor)
        details = {} if accept else {"respond": lambda key3: b"k" * 16}
        protocol = PROTOCOLS[version](client=client, **details)
        websocket = WebSocket(
            lambda subprotocol, headers: (protocol, transport, b""),
            Options(ping_interval=None, **settings),
            reactor,
            client=client,
            version=version,
        )
        if accept:
            websocket.accept()
        opened.append((websocket, peer))
        return websocket, peer

    yield connect
    for websocket, peer in opened:
        websocket.abort("the test is over")
        peer.close()


def read(peer):
    """Return what comes next, nothing at the end."""
    wait_read(peer.fileno(), timeout=10)
    return peer.recv(1 << 16)


def wait_closed(websocket):
    with gevent.Timeout(10):
        while not websocket.closed:
            gevent.sleep(0.001)


def close_frame(code, *, masked):
    return wire.frame("close", code.to_bytes(2, "big"), masked=masked)


def test_what_cannot_be_sent_is_refused_though_it_would_wait(connect):
    settings = {"overflow": "drop_oldest", "max_buffered": 1000}
    websocket, _ = connect("55", client=False, **settings)
    while websocket.buffered_amount < 500:
        websocket.send("x" * 100_000)
    with pytest.raises(TypeError):
        websocket.send(b"binary")
    with pytest.raises(UnicodeEncodeError):
        websocket.send("\udcff")
    assert websocket.messages_dropped == 0


def test_what_waits_to_be_dropped_or_sent_is_sent_before_the_close(connect):
    settings = {"overflow": "drop_oldest", "max_buffered": 1_000_000}
    websocket, peer = connect("13", client=False, **settings)
    sent = bytearray(b"x" * 400_000)
    for number in range(8):
        sent[0] = number
        websocket.send(sent)  # it is ours to change again
    assert websocket.messages_dropped > 0
    websocket.start_close(4000)
    protocol = RFC6455(client=True, max_message_size=1 << 20)
    events = []
    while not events or isinstance(events[-1], bytes):
        events += protocol.receive_data(read(peer))
    *messages, close = events
    assert len(messages) + websocket.messages_dropped == 8
    assert messages[-1][0] == 7
    assert close.code == 4000
    assert websocket.messages_sent == len(messages)


def test_what_waits_may_be_of_a_class_of_its_own(connect):
    class Markup(str):
        """Be what template engines make."""

    settings = {"overflow": "drop_oldest", "max_buffered": 1_000_000}
    websocket, peer = connect("13", client=False, **settings)
    for number in range(8):
        websocket.send(Markup(f"{number}" * 400_000))
    websocket.start_close()
    assert websocket.closed
    received = b""
    while not received.endswith(close_frame(1000, masked=False)):
        received += read(peer)
    assert websocket.buffered_amount == 0


def test_use_of_draft_76_by_several_waits_for_the_whole_handshake(connect):
    websocket, peer = connect("76", client=False, accept=False)
    senders = [gevent.spawn(websocket.send, text) for text in ("one", "two")]
    impatient = gevent.spawn(gevent.with_timeout, 0.01, websocket.receive)
    impatient.join()
    assert isinstance(impatient.exception, gevent.Timeout)
    receiver = gevent.spawn(websocket.receive)
    peer.send(b"12345678\x00hello\xff")
    received = b""
    with gevent.Timeout(10):
        gevent.joinall([*senders, receiver], raise_error=True)
        while received.count(b"\xff") < 2:
            received += read(peer)
    assert received == b"k" * 16 + b"\x00one\xff\x00two\xff"
    assert receiver.value == "hello"


@pytest.mark.parametrize(
    "ending", [close_frame(1000, masked=True), None], ids=["close", "end of TCP"]
)
def test_messages_stay_when_their_reader_is_slower_than_the_deadline(connect, ending):
    """A close takes its turn, but its peer does not wait for it forever."""
    websocket, peer = connect("13", client=False, close_timeout=0.02)
    peer.send(b"".join(wire.frame("text", t, masked=True) for t in (b"one", b"two")))
    if ending is None:
        peer.shutdown(socket.SHUT_WR)
    else:
        peer.send(ending)
    wait_closed(websocket)
    assert [websocket.receive() for _ in range(3)] == ["one", "two", None]
    assert websocket.close_code == (1006 if ending is None else 1000)


def test_what_was_aborted_before_its_handshake_has_none(connect):
    websocket, peer = connect("76", client=False, accept=False)
    websocket.abort("changed my mind")
    assert websocket.receive() is None
    with pytest.raises(ConnectionClosed):
        websocket.send("hello")
    websocket.close()
    with pytest.raises(BlockingIOError):
        peer.recv(1)


def test_a_client_that_lags_behind_sees_the_end_when_it_closes(connect):
    websocket, peer = connect("13", client=True, close_timeout=NEVER)
    peer.send(b"".join(wire.frame("text", b"x" * 1000) for _ in range(40)))
    peer.send(close_frame(1000, masked=False))
    with gevent.Timeout(10):
        while not websocket.reading_is_paused:
            gevent.sleep(0.001)
        closing = gevent.spawn(websocket.close)
        assert read(peer)
        peer.shutdown(socket.SHUT_WR)
        closing.join()
    assert websocket.is_gone


def test_a_client_of_draft_76_closes_when_the_server_has(connect):
    """Draft 76: after FF 00 has been answered the connection is closed."""
    websocket, peer = connect("76", client=True, close_timeout=NEVER)
    peer.send(b"\x00bye\xff\xff\x00")
    assert websocket.receive() == "bye"
    assert websocket.receive() is None
    assert (read(peer), read(peer)) == (b"\xff\x00", b"")


def test_a_client_of_draft_76_closes_when_the_server_has_answered(connect):
    websocket, peer = connect("76", client=True, close_timeout=NEVER)
    websocket.start_close()
    assert read(peer) == b"\xff\x00"
    peer.send(b"\xff\x00")
    assert read(peer) == b""


def test_a_client_of_draft_55_waits_for_nobody(connect):
    """Draft 55, 6: "When a user agent is to close the Web Socket connection, it must
    drop all subsequent data from the server and must act as if the server had
    immediately closed its side of the connection."."""
    websocket, peer = connect("55", client=True, close_timeout=NEVER)
    with gevent.Timeout(10):
        websocket.close()
    assert read(peer) == b""


def test_a_client_of_draft_55_sends_all_of_it_before_it_closes(connect):
    websocket, peer = connect("55", client=True, close_timeout=NEVER)
    text = "x" * 1_000_000
    websocket.send(text)
    websocket.start_close()
    received = b""
    while data := read(peer):
        received += data
    assert received == b"\x00" + text.encode() + b"\xff"


def test_a_client_of_draft_55_closes_when_the_server_has(connect):
    """Draft 55, 6: "When a user agent notices that the Web Socket connection is
    closed, it must immediately close its side of the connection."."""
    websocket, peer = connect("55", client=True, close_timeout=NEVER)
    peer.send(b"\x00one\xff\x00two\xff")
    peer.shutdown(socket.SHUT_WR)
    assert read(peer) == b""
    assert [websocket.receive() for _ in range(3)] == ["one", "two", None]
