"""The object in the environ, as applications use it, over real sockets."""

import re
import threading
import time

import pytest

from . import peers
from .apps import LIMIT

VERSIONS = ["55", "76", "13"]


def closed_line(server, pattern):
    """Wait for what the handler printed about its end."""
    return server.log.wait(f"^CLOSED {pattern}$", server.mark)[0]


# ---- how a handler ends


@pytest.mark.parametrize("version", VERSIONS)
def test_return_closes_with_1000(server, version):
    client = server.open(version, "/returns", origin=server.origin)
    assert client.receive() == "bye"
    code = client.expect_close()
    assert code == (1000 if version == "13" else None)


@pytest.mark.parametrize("version", VERSIONS)
def test_exception_closes_with_1011_and_is_logged_once(server, version):
    server.allowed_faults = [r"Traceback|\bERROR\b"]
    bystander = server.open("13")
    client = server.open(version, "/raises?who=me", origin=server.origin)
    assert client.receive() == "soon"
    client.send("now")
    code = client.expect_close()
    assert code == (1011 if version == "13" else None)
    server.access_lines("/raises?who=me")
    server.settle()
    faults = server.log.find("RuntimeError: the handler's own fault", server.mark)
    assert len(faults) == 1
    assert len(server.log.find("Traceback", server.mark)) == 1
    assert server.log.find(r"/raises", server.mark), "the request is not named"
    bystander.send("unaffected")
    assert bystander.receive() == "unaffected"
    bystander.close()


def test_exception_before_the_first_use_is_an_http_error(server):
    server.allowed_faults = [".*"]
    client = server.client("13", "/raises-early")
    client.wire.send(client.request())
    assert client.wire.read_to_end().startswith(b"HTTP/1.1 500 ")
    server.log.wait("RuntimeError: a fault", server.mark)
    server.settle()
    assert len(server.log.find("RuntimeError: a fault", server.mark)) == 1


@pytest.mark.parametrize(
    "exit", ["GreenletExit", "Timeout", "SystemExit", "StopIteration"]
)
@pytest.mark.parametrize("path", ["/exits", "/exits-lazily"])
def test_other_ways_to_leave_have_a_defined_end(server, path, exit):
    server.allowed_faults = [r"Traceback|\bERROR\b"]
    path = f"{path}?{exit}"
    client = server.open("13", path)
    assert client.receive() == "soon"
    client.send("now")
    assert client.expect_close() in (1000, 1001, 1011)
    assert [status for status, _, _ in server.access_lines(path)] == [101]
    assert server.get("/").status == 200


def test_response_that_cannot_be_closed(server):
    server.allowed_faults = [r"Traceback|\bERROR\b"]
    client = server.open("13", "/response-fails")
    assert client.receive() == "soon"
    client.send("now")
    assert client.expect_close() == 1011
    path = "/response-fails"
    assert [status for status, _, _ in server.access_lines(path)] == [101]
    assert len(server.log.find("the response's own fault$", server.mark)) == 1
    assert server.get("/").status == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_sending_to_a_peer_that_left_is_no_fault_of_the_handler(server, version):
    client = server.open(version, "/ticks", origin=server.origin)
    assert client.receive() == "tick"
    client.wire.close()
    assert [status for status, _, _ in server.access_lines("/ticks")] == [101]


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake_before_the_application_is_called(shared, version):
    server = shared("ours", "limits:immediate")
    client = server.open(version, origin=server.origin)
    client.send("hello")
    assert client.receive() == "hello"
    client.close()
    client = server.open(version, "/never-used", origin=server.origin)
    client.expect_close()


def test_handshake_before_the_application_is_called_without_key3(shared):
    server = shared("ours", "limits:immediate")
    client = server.client("76", origin=server.origin)
    client.wire.send(client.request_head())
    client.verify_head()
    assert client.wire.read_to_end() == b""
    client.wire.close()
    assert [status for status, _, _ in server.access_lines("/echo")] == [101]


# ---- closing


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1000, ""), (1001, "leaving"), (3000, "r"), (4999, "x" * 123)],
)
def test_application_closes_with_code_and_reason(server, code, reason):
    client = server.open("13", f"/close?{code}={reason}")
    close = client.read_close()
    assert (close.code, close.reason) == (code, reason)
    client.send_frame(peers.CLOSE, close.payload)
    client.wire.expect_end()
    assert closed_line(server, f"True {code} .*")


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (peers.close_payload(1000), 1000, ""),
        (peers.close_payload(1001, "bye"), 1001, "bye"),
        (peers.close_payload(4321, "\u00e9" * 61), 4321, "\u00e9" * 61),
        (b"", 1005, ""),
    ],
    ids=["1000", "1001 with reason", "long reason", "no code"],
)
def test_application_learns_code_and_reason(server, payload, code, reason):
    client = server.open("13", "/report-close")
    client.send_frame(peers.CLOSE, payload)
    # Section 5.5.1: the answer typically echoes the status code.
    answer = client.read_close()
    assert answer.code in ((1000, 1005) if code == 1005 else (code,))
    client.wire.expect_end()
    pattern = f"True {code} {re.escape(repr(reason))} None ConnectionClosed {code}"
    assert closed_line(server, pattern)


@pytest.mark.parametrize("version", VERSIONS)
def test_end_of_tcp_wakes_the_application(server, version):
    client = server.open(version, "/report-close", origin=server.origin)
    client.wire.end_of_writing()
    client.wire.read_to_end()
    assert closed_line(server, r"True \d+ '.*' None ConnectionClosed \d+")
    # Both sides have ended TCP, so that nothing is left to wait for.
    (line,) = server.access_lines("/report-close")
    assert line[2] < 4.5


def test_peer_that_never_answers_a_close(start):
    """The connection ends by the deadline of the close, 5 s by default."""
    server = start("ours")
    client = server.open("13", "/returns")
    assert client.receive() == "bye"
    assert client.read_close().code == 1000
    started = time.monotonic()
    client.wire.expect_end()
    assert 4 < time.monotonic() - started < 20


# ---- receiving


def test_timeouts_lose_nothing(server):
    client = server.open("13", "/timeout")
    assert client.receive() == "TimeoutError 0.05"
    assert client.receive() == "TimeoutError 0"
    assert client.receive() == "gevent.Timeout"
    client.send("still here")
    assert client.receive() == "still here"
    client.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_timeouts_in_the_middle_of_frames_lose_nothing(server, version):
    client = server.open(version, "/nibble", origin=server.origin)
    messages = ["first " * 5, "", "\N{SNOWMAN}" * 20]
    for message in messages:
        client.wire.send_bytewise(client.encode(message), pause=0.003)
    assert [client.receive() for _ in messages] == messages
    client.close()


def test_two_greenlets_that_receive(server):
    client = server.open("13", "/two-receivers")
    assert client.receive().startswith("ConcurrencyError ")
    client.send("for the first")
    assert client.receive() == "for the first"
    client.expect_close()


def test_pings_are_answered_though_the_application_is_not_receiving(server):
    client = server.open("13", "/lingering?0.2")
    assert client.receive() == "ready"
    client.send_frame(peers.PING, b"are you there?")
    frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (peers.PONG, b"are you there?")
    client.close()


def test_ping_between_the_fragments_of_a_message(server):
    client = server.open("13")
    client.send_frame(peers.TEXT, b"one ", fin=False)
    client.send_frame(peers.PING, b"between")
    client.send_frame(0, b"message", fin=True)
    frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (peers.PONG, b"between")
    assert client.receive() == "one message"
    client.close()


def test_every_message_before_a_fault_reaches_the_application(server):
    client = server.open("13")
    good = client.encode("before the fault")
    client.wire.send(good + good + peers.encode_frame(3))
    assert client.receive() == "before the fault"
    assert client.receive() == "before the fault"
    assert client.expect_close() == 1002


FAULTS = {
    "no mask": (peers.encode_frame(peers.TEXT, b"x", mask=False), 1002),
    "reserved bit": (peers.encode_frame(peers.TEXT, b"x", rsv=4), 1002),
    "reserved data opcode": (peers.encode_frame(3, b"x"), 1002),
    "reserved control opcode": (peers.encode_frame(11, b"x"), 1002),
    "continuation of nothing": (peers.encode_frame(0, b"x"), 1002),
    "long ping": (peers.encode_frame(peers.PING, b"x" * 126), 1002),
    "fragmented ping": (peers.encode_frame(peers.PING, b"x", fin=False), 1002),
    "close of one octet": (peers.encode_frame(peers.CLOSE, b"\x03"), 1002),
    "reserved code": (peers.encode_frame(peers.CLOSE, peers.close_payload(1005)), 1002),
    "bad UTF-8": (peers.encode_frame(peers.TEXT, b"\xff"), 1007),
    "first impossible octet": (
        peers.encode_frame(peers.TEXT, b"\xce\xba\xf4\x90", fin=False),
        1007,
    ),
    "over the limit": (peers.encode_frame(peers.TEXT, length=LIMIT + 1), 1009),
    "far over the limit": (
        peers.encode_frame(peers.BINARY, length=(1 << 63) - 1),
        1009,
    ),
    "length of 64 bits": (peers.encode_frame(peers.BINARY, length=1 << 63), 1002),
}


@pytest.mark.parametrize(("data", "code"), FAULTS.values(), ids=FAULTS)
def test_fault_is_answered_with_its_code(server, data, code):
    client = server.open("13")
    client.wire.send(data)
    assert client.expect_close() == code


# ---- sending


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_of_many_senders_never_interleave(server, version):
    senders, rounds = 20, 12
    path = f"/many-senders?{senders}x{rounds}"
    client = server.open(version, path, origin=server.origin)
    turns = dict.fromkeys(range(senders), 0)
    while (message := client.receive()) != "done":
        number, turn, body = message.split(":")
        number, turn = int(number), int(turn)
        assert turn == turns[number], "out of order"
        turns[number] += 1
        letter = chr(ord("a") + number % 26)
        assert body == letter * (number * 997 + turn * 131)
    assert set(turns.values()) == {rounds}
    client.send("thanks")
    client.expect_close()


def test_message_leaves_before_the_application_computes(server, tmp_path):
    seen = tmp_path / "seen"
    client = server.open("13", f"/compute-until-seen?{seen}")
    client.send("go")
    assert client.receive() == "first"
    seen.touch()
    assert client.receive() == "seen"
    client.close()


# ---- size


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [125, 126, 65535, 65536, LIMIT])
def test_big_text_both_ways(server, version, size):
    client = server.open(version, origin=server.origin)
    message = ("0123456789abcde\n" * (size // 16 + 1))[:size]
    exchange_big(client, message)
    client.close()


@pytest.mark.parametrize("size", [0, 65536, LIMIT])
def test_big_binary_both_ways(server, size):
    client = server.open("13")
    exchange_big(client, (bytes(range(256)) * (size // 256 + 1))[:size])
    client.close()


def exchange_big(client, message):
    """Send and receive at the same time, for neither fits in the socket's buffers."""
    sender = threading.Thread(target=client.send, args=(message,))
    sender.start()
    assert client.receive() == message
    sender.join()


@pytest.mark.parametrize("version", VERSIONS)
def test_message_over_the_limit(server, version):
    client = server.open(version, origin=server.origin)
    try:
        client.send("x" * (LIMIT + 1))
        client.wire.end_of_writing()
    except OSError:
        pass  # it had closed before all was sent
    try:
        if version == "13":
            assert client.read_close().code == 1009
        else:
            assert client.wire.read_to_end() in (b"", b"\xff\x00")
    except ConnectionResetError:
        assert version != "13", "reset before the close frame could be read"


def test_message_over_the_limit_in_fragments(server):
    client = server.open("13")
    half = b"x" * (LIMIT // 2)
    for opcode, fin in ((peers.BINARY, False), (0, False), (0, False)):
        client.send_frame(opcode, half, fin=fin)
    assert client.read_close().code == 1009


@pytest.mark.parametrize("size", [LIMIT, 8 * LIMIT])
def test_server_may_send_more_than_it_takes(server, size):
    client = server.open("13", f"/produce?text={size}")
    assert client.receive() == "x" * size
    client.close()


def test_many_messages_in_both_directions_at_once(server):
    client = server.open("13")
    messages = [f"{number}:" + "z" * (number % 700) for number in range(3000)]
    data = b"".join(map(client.encode, messages))
    sender = threading.Thread(target=client.wire.send, args=(data,))
    sender.start()
    assert [client.receive() for _ in messages] == messages
    sender.join()
    client.close()
