"""Draft 55, sections 4.2, 4.4, 5.3 and 6, and draft 76."""

import tracemalloc

import pytest
import wire

from wsmiddleware.events import ChallengeResponse, Close, Fail
from wsmiddleware.exceptions import ConnectionClosed

VECTORS = wire.load("hixie")["vectors"]
CASES = [
    pytest.param(vector, version, id=f"{vector['rule']} ({version})")
    for vector in VECTORS
    for version in vector.get("versions", ["55", "76"])
]


def make_protocol(core, version, client=False, **options):
    make = {"55": core.Hixie55, "76": core.Hixie76}[version]
    return make(client=client, **options)


@pytest.mark.parametrize("client", [False, True], ids=["server", "client"])
@pytest.mark.parametrize(("vector", "version"), CASES)
def test_vector(core, feed, vector, version, client):
    def make():
        return make_protocol(core, version, client, **vector.get("options", {}))

    following = None if vector.get("partial") else (b"\0next\xff", ["next"])
    options = vector.get("options", {})
    if options.get("max_message_size", 5) < 4:
        following = b"\0\xff", [""]
    expected = wire.read_events(vector["events"])
    feed(make, wire.build(vector["stream"]), expected, following)


def test_vectors_have_names_of_their_own():
    assert len({vector["rule"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("version", ["55", "76"])
@pytest.mark.parametrize("kind", range(1, 256))
def test_every_type_but_text_is_discarded(core, feed, version, kind):
    """4.2: "If /frame type/ is 0x00, then *a message has been received* [...]
    Otherwise, discard the data."."""
    data = bytes([kind])
    data += b"\x03\0\xff\0" if kind >= 0x80 else b"\0\x80\xfe\xff"
    feed(lambda: make_protocol(core, version), data, [], (b"\0a\xff", ["a"]))


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("version", ["55", "76"])
def test_text_above_the_limit_fails_once_it_is(core, version, kind):
    protocol = make_protocol(core, version, max_message_size=5)
    assert protocol.receive_data(bytes([kind]) + b"Hello") == []
    failure = Fail(1009, "frame of 6 bytes, the limit is 5")
    assert protocol.receive_data(b"!") == [failure]
    assert protocol.receive_data(b"\xff\0late\xff") == []


def test_text_above_the_limit_counts_what_has_come(core):
    protocol = make_protocol(core, "55", max_message_size=5)
    failure = Fail(1009, "frame of 12 bytes, the limit is 5")
    assert protocol.receive_data(b"\0a\xff\0Hello, world\xff") == ["a", failure]


@pytest.mark.parametrize("version", ["55", "76"])
def test_the_limit_is_one_mebibyte_unless_given(core, version):
    size = 1 << 20
    (text,) = make_protocol(core, version).receive_data(b"\0" + b"a" * size + b"\xff")
    assert len(text) == size
    (failure,) = make_protocol(core, version).receive_data(b"\0" + b"a" * (size + 1))
    assert failure.code == 1009


@pytest.mark.parametrize("version", ["55", "76"])
def test_a_message_octet_by_octet_is_held_at_its_size(core, version):
    size = 100_000
    protocol = make_protocol(core, version)
    protocol.receive_data(b"\0")
    tracemalloc.start()
    try:
        for _ in range(size):
            protocol.receive_data(b"a")
        assert tracemalloc.get_traced_memory()[1] < 3 * size
    finally:
        tracemalloc.stop()
    assert protocol.receive_data(b"\xff") == ["a" * size]


def test_a_declared_length_is_not_buffered(core):
    protocol = make_protocol(core, "76", max_message_size=1 << 40)
    protocol.receive_data(b"\x80\xff\xff\xff\x7f")
    block = bytes(1 << 16)
    tracemalloc.start()
    try:
        for _ in range(20):
            assert protocol.receive_data(block) == []
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


# What is sent


@pytest.mark.parametrize("version", ["55", "76"])
@pytest.mark.parametrize("client", [False, True])
def test_text_is_sent_between_00_and_ff(core, version, client):
    protocol = make_protocol(core, version, client)
    assert protocol.send_text("") == b"\0\xff"
    assert protocol.send_text("Hellø") == b"\0Hell\xc3\xb8\xff"


@pytest.mark.parametrize("version", ["55", "76"])
def test_no_text_ends_its_frame_early(core, version):
    """7: "an attacker could inject arbitrary frames into the data stream"."""
    protocol = make_protocol(core, version)
    every = "".join(map(chr, range(0xD800))) + "\xff\u00ff\U0010ffff"
    octets = protocol.send_text(every)
    assert octets.index(b"\xff") == len(octets) - 1
    with pytest.raises(UnicodeEncodeError):
        protocol.send_text("\udcff")


def test_a_shared_text_is_encoded_once(core):
    encoded = {}
    first, second = make_protocol(core, "55"), make_protocol(core, "76")
    octets = first.send_shared("Hell\u00f8", encoded)
    assert octets == b"\0Hell\xc3\xb8\xff"
    assert second.send_shared("Hell\u00f8", encoded) is octets
    first.send_close()
    with pytest.raises(ConnectionClosed):
        first.send_shared("late", {})


@pytest.mark.parametrize("version", ["55", "76"])
def test_there_is_text_only(core, version):
    protocol = make_protocol(core, version)
    with pytest.raises(TypeError) as caught:
        protocol.send_binary(b"a")
    assert str(caught.value) == f"version {version} carries text only, send a str"
    with pytest.raises(TypeError):
        protocol.send_shared(b"a", {})
    assert not protocol.has_ping
    assert protocol.send_ping(b"a") == b""
    assert protocol.send_pong(b"a") == b""


# Closing


def test_draft_55_closes_without_octets(core):
    """6: "There is no closing handshake."."""
    protocol = make_protocol(core, "55")
    assert protocol.send_close(1000, "bye") == b""
    assert protocol.state == 4
    assert protocol.send_close() == b""
    with pytest.raises(ConnectionClosed):
        protocol.send_text("late")
    # "it must drop all subsequent data"
    assert protocol.receive_data(b"\0late\xff") == []


@pytest.mark.parametrize("client", [False, True])
def test_draft_76_closes_from_this_side(core, client):
    protocol = make_protocol(core, "76", client)
    assert protocol.send_close(1000, "bye") == b"\xff\0"
    assert protocol.state == 2
    assert protocol.send_close() == b""
    # "after sending it nothing more is sent"
    with pytest.raises(ConnectionClosed):
        protocol.send_text("late")
    # what the peer had sent before its answer arrives
    assert protocol.receive_data(b"\0last\xff") == ["last"]
    assert protocol.receive_data(b"\xff\0") == [Close(1005, "")]
    assert protocol.state == 4
    assert protocol.receive_data(b"\0late\xff") == []


@pytest.mark.parametrize("client", [False, True])
def test_draft_76_closes_from_the_other_side(core, client):
    protocol = make_protocol(core, "76", client)
    assert protocol.receive_data(b"\xff") == []
    assert protocol.receive_data(b"\0") == [Close(1005, "")]
    assert protocol.state == 3
    assert protocol.send_close() == b"\xff\0"
    assert protocol.state == 4
    assert protocol.send_close() == b""


@pytest.mark.parametrize("version", ["55", "76"])
def test_what_failed_is_closed(core, version):
    protocol = make_protocol(core, version, max_message_size=0)
    assert protocol.receive_data(b"\0a")[-1].code == 1009
    assert protocol.send_close() == (b"\xff\0" if version == "76" else b"")
    assert protocol.state == 4


# Draft 76's challenge


def make_challenged(core, **options):
    return core.Hixie76(client=False, respond=lambda key3: key3[::-1] * 2, **options)


def test_key3_is_read_at_any_cut_with_text_behind_it(core, feed):
    expected = [ChallengeResponse(b"hgfedcba" * 2), "Hello"]
    following = b"\xff\0", [Close(1005, "")]
    feed(lambda: make_challenged(core), b"abcdefgh\0Hello\xff", expected, following)


def test_key3_may_be_any_octets(core, feed):
    key3 = b"\0\xff\xff\0\0\xff\xff\0"
    expected = [ChallengeResponse(key3[::-1] * 2)]
    feed(lambda: make_challenged(core), key3, expected, (b"\0a\xff", ["a"]))


def test_a_connection_is_connecting_until_key3_is_there(core):
    protocol = make_challenged(core)
    assert protocol.state == 0
    with pytest.raises(ConnectionClosed):
        protocol.send_text("early")
    assert protocol.receive_data(b"abcdefg") == []
    assert protocol.state == 0
    assert protocol.receive_data(b"h") == [ChallengeResponse(b"hgfedcba" * 2)]
    assert protocol.state == 1
    assert protocol.send_text("now") == b"\0now\xff"


def test_a_connection_closed_before_key3_stays_closed(core):
    protocol = make_challenged(core)
    # No frame stands before the answer to the challenge.
    assert protocol.send_close() == b""
    assert protocol.state == 4
    events = protocol.receive_data(b"abcdefgh\0late\xff")
    assert events == [ChallengeResponse(b"hgfedcba" * 2)]
    assert protocol.state == 4


@pytest.mark.parametrize("version", ["55", "76"])
def test_what_was_agreed_is_told(core, version):
    protocol = make_protocol(core, version, subprotocol="chat")
    assert protocol.version == version
    assert protocol.subprotocol == "chat"
    assert make_protocol(core, version).subprotocol is None
