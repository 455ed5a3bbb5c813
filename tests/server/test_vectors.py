"""The vectors of RFC 6455 against a real server that echoes, and how it closes."""

import pytest
import wire

from wsmiddleware.events import Close, Fail, Ping, Pong

from . import peers

LIMITLESS = [
    vector
    for vector in wire.load("rfc6455")["vectors"]
    if vector.get("role") != "client"
    and not vector.get("options")
    and not vector.get("partial")
]
PLAIN = [vector for vector in LIMITLESS if "deflate" not in vector]
# what was agreed must be what the vector needs
COMPRESSED = [vector for vector in LIMITLESS if vector.get("deflate") == {}]


@pytest.fixture
def server(shared):
    """The worker; other kinds of server have the same core."""
    return shared("ours")


def expected_answers(events):
    """Return the frames that an echoing server sends, up to its close."""
    answers = []
    for event in events:
        match event:
            case str():
                answers.append(peers.Frame(peers.TEXT, event.encode()))
            case bytes():
                answers.append(peers.Frame(peers.BINARY, event))
            case Ping():
                answers.append(peers.Frame(peers.PONG, event.payload))
            case Pong():
                pass
            case Close(code=1005):
                answers.append(peers.Frame(peers.CLOSE, b""))
            case Close() | Fail():
                answers.append(peers.Frame(peers.CLOSE, event.code.to_bytes(2, "big")))
    return answers


def read_answers(client):
    """Read frames up to the close and the end of TCP, which the server is to begin."""
    answers = []
    while not answers or answers[-1].opcode != peers.CLOSE:
        answers.append(client.read_frame())
    client.wire.expect_end()
    # a reason is for people
    answers[-1] = peers.Frame(peers.CLOSE, answers[-1].payload[:2])
    return answers


def in_order(answers):
    """Put pongs apart: they need not wait for the application, as messages do."""
    pongs = [frame for frame in answers if frame.opcode == peers.PONG]
    return pongs, [frame for frame in answers if frame.opcode != peers.PONG]


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["rule"]) for vector in PLAIN]
)
def test_vector(server, vector):
    events = wire.read_events(vector["events"])
    client = server.open()
    with client.wire:
        client.wire.send(wire.build(vector["stream"], masked=True))
        if not events or not isinstance(events[-1], (Close, Fail)):
            events.append(Close(1000, ""))
            client.send_frame(peers.CLOSE, peers.close_payload(1000))
        answers = read_answers(client)
    assert in_order(answers) == in_order(expected_answers(events))


def open_compressed(server):
    """Open a WebSocket with compression; what the server sends is not, being short."""
    offer = "permessage-deflate"
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", offer),
    ]
    client = peers.RFC6455Client(server.connect(), server.host)
    client.wire.send(peers.http_request("/echo", server.host, fields=fields))
    response = peers.read_response(client.wire)
    assert response.status == 101
    assert response.field("sec-websocket-extensions").startswith(offer)
    return client


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["rule"]) for vector in COMPRESSED]
)
def test_compressed_vector(server, vector):
    events = wire.read_events(vector["events"])
    client = open_compressed(server)
    with client.wire:
        client.wire.send(wire.build(vector["stream"], masked=True))
        if not isinstance(events[-1], (Close, Fail)):
            events.append(Close(1000, ""))
            client.send_frame(peers.CLOSE, peers.close_payload(1000))
        answers = read_answers(client)
    assert in_order(answers) == in_order(expected_answers(events))


# The closing handshake, beyond what one stream can say


def test_both_close_at_once(server):
    """Section 7.1.2 and 7.1.3: each takes the other's close for the answer."""
    client = server.open("13", "/close?4001=ours")
    with client.wire:
        client.send_frame(peers.CLOSE, peers.close_payload(4002, "theirs"))
        close = client.read_close()
        assert close.code in (4001, 4002)
        client.wire.expect_end()


def test_nothing_but_the_end_follows_a_close(server):
    """5.5.1: "The application MUST NOT send any more data frames after sending a Close
    frame."."""
    client = server.open()
    with client.wire:
        client.wire.send(
            wire.build(
                [
                    {"op": "text", "text": "before"},
                    {"op": "close", "code": 1000},
                    {"op": "text", "text": "behind"},
                    {"op": "ping"},
                ],
                masked=True,
            )
        )
        assert client.receive() == "before"
        assert client.read_frame() == peers.Frame(
            peers.CLOSE, peers.close_payload(1000)
        )
        assert client.wire.read_to_end() == b""


def test_a_failed_connection_ends_without_an_answer(server, stopwatch):
    """7.1.7: to fail the connection, the server closes it; 7.1.1: the server first."""
    client = server.open()
    with client.wire:
        client.wire.send(b"\xff\xff")
        assert client.read_close().code == 1002
        client.wire.expect_end()
    # The close's deadline is 5 s.
    assert stopwatch.lap() < 4.5


def test_a_fault_instead_of_an_answer_to_a_close(server, stopwatch):
    client = server.open("13", "/close?4001=bye")
    with client.wire:
        assert client.read_close().code == 4001
        client.wire.send(b"\xff\xff")
        assert client.wire.read_to_end() == b""
    # The close's deadline is 5 s.
    assert stopwatch.lap() < 4.5


def test_messages_are_taken_until_the_answer_to_a_close(server):
    client = server.open("13", "/close?4001=bye")
    with client.wire:
        assert client.read_close().code == 4001
        client.send("late")
        # 5.5.2: a ping is answered "unless it already received a Close frame"
        client.send_frame(peers.PING, b"late")
        pong = client.read_frame()
        assert (pong.opcode, pong.payload) == (peers.PONG, b"late")
        client.send_frame(peers.CLOSE, peers.close_payload(4001))
        assert client.wire.read_to_end() == b""


def test_a_peer_that_says_no_more_but_reads_on(server):
    """Half-close: what was asked before is answered, then the connection ends."""
    client = server.open()
    with client.wire:
        client.send("last words")
        client.wire.end_of_writing()
        assert client.receive() == "last words"
        # there was no close frame to answer
        assert client.wire.read_to_end() in (b"", wire.frame("close"))
