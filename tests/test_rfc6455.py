"""RFC 6455, sections 5 to 8, with RFC 7692: what arrives, and what is sent."""

import tracemalloc

import pytest
import wire

from wsmiddleware.deflate import Compression, DeflateParameters
from wsmiddleware.events import Close, Fail, Ping, Pong
from wsmiddleware.exceptions import ConnectionClosed

VECTORS = wire.load("rfc6455")["vectors"]
ROLES = ["server", "client"]


def make_protocol(core, role, options=None, deflate=None):
    """Return one end, with compression when its parameters are given."""
    client = role == "client"
    codec = None
    if deflate is not None:
        config = Compression(threshold=0)
        codec = config.codec(DeflateParameters(**deflate), client=client)
    return core.RFC6455(client=client, deflate=codec, **(options or {}))


CASES = [
    pytest.param(vector, role, id=f"{vector['rule']} ({role})")
    for vector in VECTORS
    for role in ([vector["role"]] if "role" in vector else ROLES)
]


@pytest.mark.parametrize(("vector", "role"), CASES)
def test_vector(core, feed, vector, role):
    stream = wire.build(vector["stream"], masked=role == "server")
    expected = wire.read_events(vector["events"])

    def make():
        return make_protocol(core, role, vector.get("options"), vector.get("deflate"))

    following = None
    if not vector.get("partial"):
        # small enough for every limit
        following = wire.frame("text", masked=role == "server"), [""]
    feed(make, stream, expected, following)
    if "early" in vector:
        assert make().receive_data(stream[: -vector["early"]]) == expected


def test_vectors_have_names_of_their_own():
    names = [(vector["rule"], vector.get("role")) for vector in VECTORS]
    assert len(set(names)) == len(names)


# Rules that are tables


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("op", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcode_is_refused(core, feed, role, op, fin):
    """5.2: %x3-7 and %xB-F are reserved."""
    masked = role == "server"
    fault = wire.frame(op, b"b", fin=fin, masked=masked)
    failure = Fail(1002, f"unknown opcode {op:#x}")

    def make():
        return make_protocol(core, role)

    feed(make, wire.frame("text", b"a", masked=masked) + fault, ["a", failure])
    feed(make, wire.frame("text", fin=False, masked=masked) + fault, [failure])


MAY_BE_RECEIVED = {
    *range(1000, 1004),
    *range(1007, 1015),
    *range(3000, 5000),
}


@pytest.mark.parametrize("role", ROLES)
def test_every_close_code(core, role):
    """7.4.1 and 7.4.2: which codes a close frame may carry."""
    for code in range(65536):
        body = code.to_bytes(2, "big")
        data = wire.frame("close", body, masked=role == "server")
        (event,) = make_protocol(core, role).receive_data(data)
        if code in MAY_BE_RECEIVED:
            assert event == Close(code, "")
        else:
            assert event == Fail(1002, f"invalid close code {code}")


@pytest.mark.parametrize("role", ROLES)
def test_every_close_code_sent(core, role):
    for code in [*range(0, 5100), 65535, 65536, -1]:
        protocol = make_protocol(core, role)
        if code in MAY_BE_RECEIVED:
            assert protocol.send_close(code)
        else:
            with pytest.raises(ValueError, match=f"close code {code} may not be sent"):
                protocol.send_close(code)
            # and nothing was sent
            assert protocol.send_text("open") != b""


# UTF-8 (8.1): sequences that are ill-formed, and how many of their octets show it
ILL_FORMED = [
    ("80", 1),  # continuation octets without a start
    ("bf", 1),
    ("c0 80", 1),  # longer than need be
    ("c1 bf", 1),
    ("e0 80 80", 2),
    ("e0 9f bf", 2),
    ("f0 80 80 80", 2),
    ("f0 8f bf bf", 2),
    ("f8 88 80 80 80", 1),
    ("fc 84 80 80 80 80", 1),
    ("ed a0 80", 2),  # surrogates
    ("ed af bf", 2),
    ("ed b0 80", 2),
    ("ed bf bf", 2),
    ("f4 90 80 80", 2),  # beyond U+10FFFF
    ("f5 80 80 80", 1),
    ("f7 bf bf bf", 1),
    ("fe", 1),
    ("ff", 1),
    ("c2 41", 2),  # a start without its continuation
    ("c2 c2", 2),
    ("e2 82 41", 3),
    ("e2 41", 2),
    ("f0 9f 98 41", 4),
    ("f0 9f 41", 3),
    ("f0 41", 2),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("before", ["", "a", "κ", "\U0001f600"])
@pytest.mark.parametrize(("octets", "enough"), ILL_FORMED)
def test_ill_formed_text_fails_at_its_first_impossible_octet(
    core, feed, role, octets, enough, before
):
    text = before.encode() + bytes.fromhex(octets)
    decided = len(before.encode()) + enough
    masked = role == "server"
    expected = [Fail(1007, "invalid UTF-8 in a text message")]

    def make():
        return make_protocol(core, role)

    whole = wire.frame("text", text + b"tail", masked=masked)
    feed(make, whole, expected, (b"", []))
    early = len(whole) - 4 - len(text) + decided
    assert make().receive_data(whole[:early]) == expected
    assert make().receive_data(whole[: early - 1]) == []
    for cut in range(len(text) + 1):
        # at every border between two fragments
        data = wire.frame("text", text[:cut], fin=False, masked=masked)
        first = make()
        events = first.receive_data(data)
        assert events == (expected if cut >= decided else [])
        if cut < decided:
            rest = wire.frame("continuation", text[cut:], fin=False, masked=masked)
            assert first.receive_data(rest) == expected


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("compressed", [False, True])
def test_text_is_whole_whatever_its_borders(core, feed, role, compressed):
    text = "aé€\U0001f600\ud7ff\ue000\U0010ffff"
    octets = text.encode()
    payload = wire.deflate(octets) if compressed else octets
    masked = role == "server"
    rsv = 4 * compressed

    def make():
        return make_protocol(core, role, deflate={} if compressed else None)

    for cut in range(len(payload) + 1):
        data = wire.frame("text", payload[:cut], fin=False, rsv=rsv, masked=masked)
        data += wire.frame("continuation", payload[cut:], masked=masked)
        feed(make, data, [text])


# Limits


@pytest.mark.parametrize("role", ROLES)
def test_a_declared_length_is_not_buffered_for(core, role):
    protocol = make_protocol(core, role, {"max_message_size": 1 << 40})
    head = wire.frame("binary", declared=1 << 39, masked=role == "server")
    tracemalloc.start()
    try:
        assert protocol.receive_data(head) == []
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_a_message_has_131072_fragments_at_most_unless_given(core):
    protocol = make_protocol(core, "client")
    first = wire.frame("binary", fin=False)
    rest = wire.frame("continuation", fin=False) * ((1 << 17) - 1)
    assert protocol.receive_data(first + rest) == []
    failure = Fail(1009, "message of more than 131072 fragments")
    assert protocol.receive_data(wire.frame("continuation")) == [failure]


@pytest.mark.parametrize("limit", [(1 << 63) - 1, 1 << 63, 1 << 70])
@pytest.mark.parametrize("deflate", [None, {}])
def test_limits_have_no_limit(core, limit, deflate):
    """Compiled, numbers have 64 bits; a limit may have more."""
    names = ("max_message_size", "max_frame_size", "max_fragments")
    for options in [dict.fromkeys(names, limit), {"max_message_size": limit}]:
        protocol = make_protocol(core, "client", options, deflate)
        head = wire.frame("text", b"a", fin=False)
        tail = wire.frame("continuation", declared=(1 << 63) - 2)
        assert protocol.receive_data(head + tail) == []


@pytest.mark.parametrize("op", ["text", "binary"])
def test_fragments_of_one_octet_take_linear_memory(core, op):
    """What is held stays close to what was received."""
    count = 50_000
    protocol = make_protocol(core, "client")
    first = wire.frame(op, b"a", fin=False)
    data = first + wire.frame("continuation", b"a", fin=False) * (count - 2)
    pieces = [data[n : n + 4096] for n in range(0, len(data), 4096)]
    tracemalloc.start()
    try:
        for piece in pieces:
            assert protocol.receive_data(piece) == []
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 3 * count
    (message,) = protocol.receive_data(wire.frame("continuation", b"a"))
    assert len(message) == count


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_held_between_messages(core, role):
    """An idle connection does not keep the last octets that it read."""
    protocol = make_protocol(core, role)
    data = wire.frame("binary", bytes(1 << 19), masked=role == "server")
    half = len(data) // 2
    tracemalloc.start()
    try:
        assert protocol.receive_data(data[:half]) == []
        assert len(protocol.receive_data(data[half:])) == 1
        assert tracemalloc.get_traced_memory()[0] < 10_000
        # nor more than what it needs of a frame that has just begun
        protocol.receive_data(data + data[:1])
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


# What is sent


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 65537])
def test_length_is_sent_in_its_minimal_encoding(core, size):
    """5.2: "the minimal number of bytes MUST be used to encode the length"."""
    server = make_protocol(core, "server")
    assert server.send_binary(b"a" * size) == wire.frame("binary", b"a" * size)
    assert server.send_text("a" * size) == wire.frame("text", b"a" * size)
    octets = make_protocol(core, "client").send_binary(b"a" * size)
    plain = wire.frame("binary", b"a" * size)
    head = len(plain) - size
    assert octets[0] == plain[0]
    assert octets[1] == plain[1] | 0x80
    assert octets[2:head] == plain[2:head]
    key, payload = octets[head : head + 4], octets[head + 4 :]
    assert wire.mask(payload, key) == b"a" * size


def test_a_client_takes_a_fresh_key_for_each_frame(core):
    """5.3: "the client MUST pick a fresh masking key"."""
    client = make_protocol(core, "client")
    keys = {client.send_ping()[2:6] for _ in range(1000)}
    assert len(keys) > 990


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (b"\xff\0", b"\xff\0"),
        (bytearray(b"\xff\0"), b"\xff\0"),
        (memoryview(b"\xff\0"), b"\xff\0"),
        (memoryview(b"a-b-")[::2], b"ab"),
        (b"", b""),
    ],
)
def test_binary_is_sent_from_any_buffer(core, data, payload):
    sent = make_protocol(core, "server").send_binary(data)
    assert sent == wire.frame("binary", payload)


@pytest.mark.parametrize("data", [5, "a", None, [1, 2], 1 << 70])
def test_what_is_no_buffer_is_not_sent(core, data):
    """Nor are so many zeros, which is what bytes makes of a number."""
    protocol = make_protocol(core, "server")
    with pytest.raises(TypeError):
        protocol.send_binary(data)


def test_text_that_is_not_unicode_is_the_callers_fault(core):
    protocol = make_protocol(core, "server")
    with pytest.raises(UnicodeEncodeError):
        protocol.send_text("\ud800")
    assert protocol.send_text("a") == wire.frame("text", b"a")


@pytest.mark.parametrize("op", ["ping", "pong"])
def test_control_frames_are_sent(core, op):
    protocol = make_protocol(core, "server")
    send = getattr(protocol, f"send_{op}")
    assert send() == wire.frame(op)
    assert send(b"a" * 125) == wire.frame(op, b"a" * 125)
    with pytest.raises(ValueError, match="control frame longer than 125 bytes"):
        send(b"a" * 126)
    protocol.receive_data(wire.frame("close", masked=True))
    protocol.send_close()
    assert send() == b""


def test_pings_are_answered_until_the_peer_has_sent_its_close(core):
    """5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong frame in
    response, unless it already received a Close frame."."""
    protocol = make_protocol(core, "server")
    protocol.send_close()
    assert protocol.receive_data(wire.frame("ping", b"p", masked=True)) == [Ping(b"p")]
    assert protocol.send_pong(b"p") == wire.frame("pong", b"p")
    assert protocol.send_ping(b"p") == b""
    protocol.receive_data(wire.frame("close", masked=True))
    assert protocol.send_pong(b"p") == b""


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ((), b"\x03\xe8"),
        ((1000,), b"\x03\xe8"),
        ((4999, "bye"), b"\x13\x87bye"),
        ((1000, "é" * 61), b"\x03\xe8" + "é".encode() * 61),
        ((1000, "a" * 123), b"\x03\xe8" + b"a" * 123),
        ((None,), b""),
        ((None, ""), b""),
    ],
)
def test_close_is_sent_once(core, arguments, body):
    protocol = make_protocol(core, "server")
    assert protocol.send_close(*arguments) == wire.frame("close", body)
    assert protocol.send_close() == b""


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((1000, "a" * 124), "close reason longer than 123 bytes of UTF-8"),
        ((1000, "é" * 62), "close reason longer than 123 bytes of UTF-8"),
        ((None, "bye"), "a close reason needs a close code"),
        ((1005,), "close code 1005 may not be sent, use 1000 or 3000 to 4999"),
    ],
)
def test_close_that_may_not_be_sent(core, arguments, rule):
    protocol = make_protocol(core, "server")
    with pytest.raises(ValueError, match="close") as caught:
        protocol.send_close(*arguments)
    assert str(caught.value) == rule


def test_no_data_is_sent_after_a_close(core):
    """5.5.1: "The application MUST NOT send any more data frames after sending"."""
    protocol = make_protocol(core, "server")
    protocol.send_close()
    for send, data in ((protocol.send_text, "a"), (protocol.send_binary, b"a")):
        with pytest.raises(ConnectionClosed):
            send(data)


def test_what_arrives_between_our_close_and_the_peers(core, feed):
    """1.4: "it is safe to close" only when both sent and received a close."""

    def make():
        protocol = make_protocol(core, "client")
        protocol.send_close(1000)
        return protocol

    data = wire.build(
        [
            {"op": "text", "text": "late"},
            {"op": "ping", "text": "p"},
            {"op": "pong"},
            {"op": "close", "code": 1000},
        ]
    )
    expected = ["late", Ping(b"p"), Pong(b""), Close(1000, "")]
    feed(make, data, expected, (wire.frame("text", b"later"), []))


def test_data_may_follow_the_peers_close_until_ours(core):
    """5.5.1: an endpoint "MAY delay sending a Close frame until its current message
    is sent"."""
    protocol = make_protocol(core, "server")
    protocol.receive_data(wire.frame("close", masked=True))
    assert protocol.send_text("a") == wire.frame("text", b"a")
    assert protocol.send_close(None) == wire.frame("close")
    with pytest.raises(ConnectionClosed):
        protocol.send_text("b")


STATES = {
    # what happens, and the state behind it: connecting, open, ...
    ("receive",): 3,
    ("send",): 2,
    ("send", "receive"): 4,
    ("receive", "send"): 4,
    ("fail",): 3,
    ("fail", "send"): 4,
    ("send", "fail"): 4,
    ("send", "send"): 2,
    ("receive", "receive"): 3,
    ("receive", "fail"): 3,
    ("send", "receive", "send"): 4,
}


@pytest.mark.parametrize("steps", STATES)
def test_states_of_the_closing_handshake(core, steps):
    protocol = make_protocol(core, "client")
    assert protocol.state == 1
    for step in steps:
        match step:
            case "receive":
                protocol.receive_data(wire.frame("close"))
            case "fail":
                protocol.receive_data(b"\xff\xff")
            case "send":
                protocol.send_close()
    assert protocol.state == STATES[steps]


def test_messages_are_sent_compressed_when_that_is_smaller(core):
    protocol = make_protocol(core, "server", deflate={})
    long = protocol.send_text("a" * 100)
    assert long == wire.frame("text", long[2:], rsv=4)
    assert len(long) < 20
    # the same for the other kind, with the context taken over
    assert protocol.send_binary(b"a" * 100)[0] == 0xC2
    assert protocol.send_text("") == wire.frame("text")
    assert protocol.send_text("q") == wire.frame("text", b"q")
    # control frames never are: RFC 7692, 6.1
    assert protocol.send_ping(b"a" * 100) == wire.frame("ping", b"a" * 100)
    assert protocol.send_close(1000, "a" * 100)[0] == 0x88


def test_shared_messages_are_compressed_when_that_is_smaller(core):
    protocol = make_protocol(core, "server", deflate={})
    long = protocol.send_shared("a" * 100, {})
    assert long == wire.frame("text", long[2:], rsv=4)
    assert len(long) < 20
    assert protocol.send_shared("q", {}) == wire.frame("text", b"q")
    assert protocol.send_shared(b"q", {}) == wire.frame("binary", b"q")


@pytest.mark.parametrize("version", ["7", "8", "13"])
def test_what_was_agreed_is_told(core, version):
    protocol = core.RFC6455(client=False, version=version, subprotocol="chat")
    assert protocol.version == version
    assert protocol.subprotocol == "chat"
    assert protocol.has_ping
    assert make_protocol(core, "client").subprotocol is None
