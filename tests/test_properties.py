"""The two ends joined: what one sends, in any order and at any cut, the other gets."""

import tracemalloc

import pytest
import wire
from hypothesis import given
from hypothesis import strategies as st

from wsmiddleware.deflate import Compression, accept_offers, offer, verify
from wsmiddleware.events import ChallengeResponse, Close, Fail, Ping, Pong
from wsmiddleware.exceptions import ConnectionClosed
from wsmiddleware.protocol import CLOSED

ENDS = st.sampled_from(["client", "server"])
TEXTS = st.text(max_size=40) | st.builds(str.__mul__, st.text(max_size=9), st.just(60))
BLOBS = st.binary(max_size=40) | st.builds(
    bytes.__mul__, st.binary(max_size=9), st.sampled_from([20, 20000])
)
CONTROL = st.binary(max_size=125)
CODES = st.sampled_from([1000, 1001, 1003, 1011, 1014, 3000, 4999])
DELIVERY = st.tuples(ENDS, st.just("deliver"), st.integers(1, 200))
STEPS = st.one_of(
    st.tuples(ENDS, st.just("send"), TEXTS | BLOBS),
    st.tuples(ENDS, st.just("send"), TEXTS | BLOBS),
    st.tuples(ENDS, st.just("share"), TEXTS | BLOBS),
    st.tuples(ENDS, st.just("control"), st.builds(Ping, CONTROL)),
    st.tuples(ENDS, st.just("control"), st.builds(Pong, CONTROL)),
    DELIVERY,
    DELIVERY,
)
CLOSES = st.tuples(
    ENDS, st.just("close"), st.builds(Close, CODES, st.text(max_size=30))
)
CONFIGS = st.none() | st.builds(
    Compression,
    max_window_bits=st.integers(9, 15),
    peer_max_window_bits=st.integers(9, 15),
    mem_level=st.integers(1, 9),
    level=st.integers(1, 9),
    threshold=st.sampled_from([0, 10]),
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
)


def other_end(end):
    return "server" if end == "client" else "client"


class Joined:
    """A client and a server with octets between them, and what each ought to get."""

    def __init__(self, client, server):
        self.ends = {"client": client, "server": server}
        self.on_the_way = {"client": b"", "server": b""}
        self.received = {"client": [], "server": []}
        self.expected = {"client": [], "server": []}
        self.closed = set()

    def send(self, end, event, octets):
        assert octets
        self.on_the_way[other_end(end)] += octets
        self.expected[other_end(end)].append(event)

    def deliver(self, end, count):
        octets = self.on_the_way[end][:count]
        self.on_the_way[end] = self.on_the_way[end][count:]
        self.received[end] += self.ends[end].receive_data(octets)

    def step(self, end, what, value):
        protocol = self.ends[end]
        if what == "deliver":
            self.deliver(end, value)
        elif what == "close":
            octets = protocol.send_close(value.code, value.reason)
            assert bool(octets) is (end not in self.closed)
            if octets:
                self.send(end, value, octets)
                self.closed.add(end)
        elif what == "control":
            ask = isinstance(value, Ping)
            send = protocol.send_ping if ask else protocol.send_pong
            octets = send(value.payload)
            if end not in self.closed:
                self.send(end, value, octets)
                return
            # Pings are answered until the peer's close is there; it drops what it gets.
            assert bool(octets) is (not ask and protocol.state != CLOSED)
            self.on_the_way[other_end(end)] += octets
        else:
            self.step_message(end, value, what == "share")

    def step_message(self, end, message, shared):
        protocol = self.ends[end]
        send = protocol.send_text if isinstance(message, str) else protocol.send_binary
        if shared:
            # what all connections get, compressed without a context

            def send(message):
                return protocol.send_shared(message, {})

        if end in self.closed:
            with pytest.raises(ConnectionClosed):
                send(message)
        else:
            self.send(end, message, send(message))

    def finish(self):
        for end in self.ends:
            self.deliver(end, len(self.on_the_way[end]))
        assert self.received == self.expected


def negotiate(client, server):
    """Return the two codecs, or two Nones."""
    if client is None:
        return None, None
    answer, at_server = accept_offers([offer(client)], server)
    if answer is None:
        return None, None
    at_client = verify(answer, client)
    return client.codec(at_client, client=True), server.codec(at_server, client=False)


@given(
    configs=st.tuples(CONFIGS, CONFIGS),
    steps=st.lists(STEPS, max_size=30),
    closes=st.lists(CLOSES, max_size=2),
    rest=st.lists(STEPS, max_size=10),
)
def test_rfc6455_arrives_as_it_was_sent(core, configs, steps, closes, rest):
    codecs = negotiate(*configs)
    joined = Joined(
        core.RFC6455(client=True, deflate=codecs[0]),
        core.RFC6455(client=False, deflate=codecs[1]),
    )
    for step in steps + closes + rest:
        joined.step(*step)
    joined.finish()


TEXT_STEPS = st.one_of(
    st.tuples(ENDS, st.sampled_from(["send", "share"]), TEXTS), DELIVERY
)


@given(steps=st.lists(TEXT_STEPS, max_size=30))
def test_draft_55_arrives_as_it_was_sent(core, steps):
    joined = Joined(core.Hixie55(client=True), core.Hixie55(client=False))
    for step in steps:
        joined.step(*step)
    joined.finish()


@given(
    key3=st.binary(min_size=8, max_size=8),
    steps=st.lists(TEXT_STEPS, max_size=30),
    closes=st.lists(
        st.tuples(ENDS, st.just("close"), st.just(Close(1005, ""))), max_size=2
    ),
    rest=st.lists(TEXT_STEPS, max_size=10),
)
def test_draft_76_arrives_as_it_was_sent(core, key3, steps, closes, rest):
    server = core.Hixie76(client=False, respond=lambda octets: octets * 2)
    joined = Joined(core.Hixie76(client=True), server)
    joined.on_the_way["server"] = key3
    joined.expected["server"].append(ChallengeResponse(key3 * 2))
    joined.deliver("server", 8)
    for step in steps + closes + rest:
        joined.step(*step)
    joined.finish()


# Bounds

SMALL = {"max_message_size": 500, "max_fragments": 8}


def held_after(protocol, octets, size):
    """Return what the protocol holds more than before, its context apart."""
    pieces = [octets[n : n + size] for n in range(0, len(octets), size)]
    tracemalloc.start()
    try:
        for piece in pieces:
            protocol.receive_data(piece)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@given(
    frames=st.lists(
        st.builds(
            wire.frame,
            st.sampled_from([0, 0, 1, 2, 9]),
            st.binary(max_size=600) | st.just(b"a" * 400),
            fin=st.booleans(),
            declared=st.none() | st.sampled_from([1 << 20, 1 << 40]),
        ),
        max_size=10,
    ),
    size=st.sampled_from([1, 7, 10_000]),
)
def test_rfc6455_holds_no_more_than_its_limits(core, frames, size):
    protocol = core.RFC6455(client=True, **SMALL)
    # the message, in pieces of an octet each at worst, and the frame at hand
    assert held_after(protocol, b"".join(frames), size) < 60 * 500


@given(
    octets=st.lists(
        st.sampled_from([b"\0", b"\xff", b"\x80", b"\x7f", b"a" * 100]), max_size=60
    ).map(b"".join),
    size=st.sampled_from([1, 7, 10_000]),
)
def test_hixie_holds_no_more_than_its_limits(core, octets, size):
    protocol = core.Hixie76(client=True, max_message_size=500)
    assert held_after(protocol, octets, size) < 10 * 500


def test_a_bomb_in_fragments_holds_no_more_than_its_limit(core):
    """Octet by octet, so that no single call sees how much it would become."""
    limit = 1 << 20
    parameters = verify("permessage-deflate", Compression(max_window_bits=15))
    codec = Compression().codec(parameters, client=True)
    protocol = core.RFC6455(client=True, deflate=codec, max_message_size=limit)
    bomb = wire.deflate(bytes(1 << 22))
    first = wire.frame("binary", bomb, rsv=4, fin=False)
    tracemalloc.start()
    try:
        events = []
        for position in range(len(first)):
            events += protocol.receive_data(first[position : position + 1])
            if events:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert events == [Fail(1009, f"message longer than {limit} bytes")]
    assert peak < 3 * limit
