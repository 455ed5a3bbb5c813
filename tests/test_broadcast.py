"""One message to many connections: the octets are shared, the contexts are not."""

import socket

import pytest
from gevent.socket import wait_read

from wsmiddleware import broadcast
from wsmiddleware.deflate import DeflateParameters, PerMessageDeflate
from wsmiddleware.hixie import Hixie55, Hixie76
from wsmiddleware.options import Options
from wsmiddleware.reactor import GeventReactor
from wsmiddleware.rfc6455 import RFC6455
from wsmiddleware.transport import Transport
from wsmiddleware.websocket import WebSocket

TEXT = "the same for everyone, " * 40


def deflate(client=False, bits=15, keep=True):
    parameters = DeflateParameters(
        server_max_window_bits=bits, server_no_context_takeover=not keep
    )
    return PerMessageDeflate(parameters, client=client, threshold=20)


def pair(**settings):
    """Return a server's protocol with compression and its client's."""
    ends = [
        RFC6455(client=client, deflate=deflate(client, **settings))
        for client in (False, True)
    ]
    assert ends[0].subprotocol is None
    return ends


@pytest.fixture
def connect():
    """Open a WebSocket for a protocol; return it and its peer's socket."""
    sockets = []
    websockets = []

    def connect(protocol, opened=True, **settings):
        ours, peer = socket.socketpair()
        sockets.extend([ours, peer])
        peer.setblocking(False)
        reactor = GeventReactor.current()
        transport = Transport(ours, reactor)
        websocket = WebSocket(
            lambda subprotocol, headers: (protocol, transport, b""),
            Options(ping_interval=None, **settings),
            reactor,
        )
        if opened:
            websocket.accept()
            websockets.append(websocket)
        return websocket, peer

    yield connect
    for websocket in websockets:
        websocket.abort("the test is over")
    for sock in sockets:
        sock.close()


def received(peer):
    wait_read(peer.fileno(), timeout=10)
    return peer.recv(1 << 20)


def test_a_shared_message_leaves_every_context_right(core):
    """What comes before and after it is read by the peer, whatever each context is."""
    for settings in ({}, {"bits": 9}, {"keep": False}):
        pairs = [pair(**settings) for _ in range(3)]
        encoded = {}
        for number, (server, client) in enumerate(pairs):
            for text in (f"{TEXT}{number}", TEXT[:200]):
                assert client.receive_data(server.send_text(text)) == [text]
            octets = server.send_shared(TEXT, encoded)
            assert client.receive_data(octets) == [TEXT]
            for text in (f"{TEXT}{number}", TEXT):
                assert client.receive_data(server.send_text(text)) == [text]
        assert len(encoded) == 1


def test_one_encoding_for_each_wire_format(core):
    protocols = [
        core.RFC6455(client=False),
        core.RFC6455(client=False, version="8"),
        core.RFC6455(client=False, deflate=deflate()),
        core.RFC6455(client=False, deflate=deflate()),
        core.RFC6455(client=False, deflate=deflate(bits=10)),
        core.Hixie55(client=False),
    ]
    encoded = {}
    octets = [protocol.send_shared(TEXT, encoded) for protocol in protocols]
    assert len(encoded) == 4
    assert octets[0] is octets[1]
    assert octets[2] is octets[3]
    assert octets[0] == core.RFC6455(client=False).send_text(TEXT)
    assert octets[5] == Hixie55(client=False).send_text(TEXT)


def test_a_client_masks_each_frame_anew(core):
    client = core.RFC6455(client=True)
    encoded = {}
    frames = {client.send_shared(TEXT, encoded) for _ in range(3)}
    assert len(frames) == 3
    assert encoded == {}
    assert core.RFC6455(client=False).receive_data(frames.pop()) == [TEXT]
    assert core.RFC6455(client=False).receive_data(
        client.send_shared(b"\0\xff", encoded)
    ) == [b"\0\xff"]


def test_everyone_gets_it(connect):
    ends = [connect(RFC6455(client=False)) for _ in range(3)]
    assert broadcast([websocket for websocket, _ in ends], "hello") == []
    assert [received(peer) for _, peer in ends] == [b"\x81\x05hello"] * 3


def test_whoever_cannot_be_sent_to_is_returned(connect):
    good, peer = connect(RFC6455(client=False))
    unopened, _ = connect(RFC6455(client=False), opened=False)
    closed, _ = connect(RFC6455(client=False))
    closed.start_close()
    gone, _ = connect(RFC6455(client=False))
    gone.abort("gone")
    text_only, _ = connect(Hixie55(client=False))
    waiting, _ = connect(Hixie76(client=True))
    everyone = {unopened, closed, good, gone, text_only}
    assert set(broadcast(everyone, b"\0\1")) == everyone - {good}
    assert received(peer) == b"\x82\x02\0\1"
    assert waiting.closed is False


def test_a_peer_that_takes_nothing_holds_up_nobody(connect):
    slow, _ = connect(RFC6455(client=False), max_buffered=1 << 16)
    quick, peer = connect(RFC6455(client=False), max_buffered=1 << 16)
    message = b"x" * 50000
    for _ in range(100):
        skipped = broadcast([slow, quick], message)
        size = 0
        while size < len(message) + 4:
            size += len(received(peer))
        if skipped:
            break
    assert skipped == [slow]
    assert slow.buffered_amount >= 1 << 16


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_binary_data(connect, kind):
    websocket, peer = connect(RFC6455(client=False))
    assert broadcast([websocket], kind(b"ab")) == []
    assert received(peer) == b"\x82\x02ab"


def test_anything_else_is_no_message(connect):
    with pytest.raises(TypeError, match="a message is str or bytes, not int"):
        broadcast([], 5)
