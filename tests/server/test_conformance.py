"""What a public conformance suite asks of a server, beyond the letter of RFC 6455."""

import pytest

from . import peers


def pings(payloads):
    return b"".join(peers.encode_frame(peers.PING, payload) for payload in payloads)


def test_every_ping_of_a_segment_is_answered_in_order(server):
    client = server.open()
    payloads = [b"payload %d" % number for number in range(10)]
    with client.wire:
        client.wire.send(pings(payloads))
        pongs = [client.read_frame() for _ in payloads]
        assert pongs == [peers.Frame(peers.PONG, payload) for payload in payloads]
        assert client.close() == 1000


def test_only_the_latest_ping_is_answered_when_the_peer_takes_nothing(shared):
    """Section 5.5.3: "MAY elect to send a Pong frame for only the most recently
    processed Ping frame"."""
    client = shared("ours").open(path="/produce?text=16000000")
    with client.wire:
        client.wire.send(pings(b"%d" % number for number in range(50)))
        assert len(client.receive()) == 16_000_000
        assert client.read_frame() == peers.Frame(peers.PONG, b"49")
        assert client.close() == 1000


@pytest.mark.parametrize("version", ["55", "76", "7", "8", "13"])
def test_connection_that_the_client_ended_is_gone_at_once(server, version):
    """Once both ends have said that nothing follows, nothing is waited for."""
    client = server.open(version)
    with client.wire:
        client.send("here")
        assert client.receive() == "here"
        client.wire.end_of_writing()
        assert client.wire.read_to_end() == b""
    [(status, _, seconds)] = server.access_lines("/echo")
    assert status == 101
    # That is 5 s.
    assert seconds < 4.5, "the request lasted until the close's deadline"


def test_draft_76_may_declare_its_eight_octets(server):
    """The text has no Content-Length, but a client that is still around sends one."""
    client = server.open("76", fields=[("Content-Length", "8")])
    with client.wire:
        client.send("hello")
        assert client.receive() == "hello"
        client.close()


@pytest.mark.parametrize("length", ["7", "9", "08"])
def test_draft_76_may_not_declare_anything_else(server, length):
    server.allowed_faults = ["body"]
    client = server.client("76", fields=[("Content-Length", length)])
    with client.wire:
        client.wire.send(client.request() + b"x")
        assert peers.read_response(client.wire).status == 400
