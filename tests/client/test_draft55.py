"""Draft 55, section 4.1, against a server that offers every answer it speaks of."""

import socket
import time
from http.cookiejar import CookieJar

import pytest
from server.peers import PATIENCE

from wsmiddleware import HandshakeError
from wsmiddleware.client import connect

from .concurrency import expect_timeout
from .scripted import Request

ORIGIN = "http://example.com"

STATUS = b"HTTP/1.1 101 Web Socket Protocol Handshake\r\n"
FIXED = b"Upgrade: WebSocket\r\nConnection: Upgrade\r\n"


def fields(server, **changes):
    """Return the headers of a good answer, with some of them changed or left out."""
    values = {
        "WebSocket-Origin": ORIGIN,
        "WebSocket-Location": server.url("/demo"),
        "WebSocket-Protocol": "chat",
    }
    for name, value in changes.items():
        values[f"WebSocket-{name}"] = value
    return b"".join(
        f"{name}: {value}\r\n".encode()
        for name, value in values.items()
        if value is not None
    )


class Server:
    """Answer one connection with given octets, and note how the client went on."""

    def __init__(self, scripted):
        self.server = scripted(self.script)
        self.answer = b""
        self.end = "keep"
        self.bytewise = False
        self.client_closed_after = None

    def script(self, wire):
        request = Request(wire)
        assert request.raw == (
            b"GET /demo HTTP/1.1\r\n"
            b"Upgrade: WebSocket\r\n"
            b"Connection: Upgrade\r\n"
            b"Host: " + self.server.host.encode() + b"\r\n"
            b"Origin: http://example.com\r\n"
            b"WebSocket-Protocol: chat\r\n"
            b"\r\n"
        )
        send = wire.send_bytewise if self.bytewise else wire.send
        try:
            send(self.answer)
            if self.end == "close":
                wire.end_of_writing()
            started = time.monotonic()
            self.tail = wire.read_to_end()
            self.client_closed_after = time.monotonic() - started
        except ConnectionError:
            self.client_closed_after = 0.0

    def connect(self, **settings):
        settings = {
            "origin": "http://Example.com",
            "subprotocols": ["chat"],
            # Byte by byte is slow.
            "open_timeout": PATIENCE,
            **settings,
        }
        return connect(self.server.url("/demo"), version="55", **settings)


@pytest.fixture
def server(scripted):
    return Server(scripted)


GOOD = STATUS + FIXED

FAILURES = {
    # Step 11
    "no answer, closed": (b"", "connection closed before the end of the status line"),
    "half a status line, closed": (
        STATUS[:20],
        "connection closed before the end of the status line",
    ),
    "LF alone": (b"\n", r"status line does not end with CR LF: b'\n'"),
    "status line with LF alone": (
        STATUS[:-2] + b"\n",
        "status line does not end with CR LF: "
        r"b'HTTP/1.1 101 Web Socket Protocol Handshake\n'",
    ),
    # Step 12
    "no code": (b"HTTP/1.1\r\n", r"status line has no code: b'HTTP/1.1\r\n'"),
    "one space": (b"HTTP/1.1 101\r\n", r"status line has no code: b'HTTP/1.1 101\r\n'"),
    "another phrase": (
        STATUS.replace(b"Web Socket", b"WebSocket"),
        "status line is not that of draft 55: "
        r"b'HTTP/1.1 101 WebSocket Protocol Handshake\r\n'",
    ),
    "HTTP/1.0": (
        STATUS.replace(b"1.1", b"1.0"),
        "status 101 in an answer of HTTP/1.0",
    ),
    "HTTP/1.2": (
        STATUS.replace(b"1.1", b"1.2"),
        "status line is not that of draft 55: "
        r"b'HTTP/1.2 101 Web Socket Protocol Handshake\r\n'",
    ),
    "another status": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "server refused the handshake with status 200",
    ),
    "proxy authentication required": (
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        "server refused the handshake with status 407",
    ),
    "not HTTP": (
        b"220 mail.example ESMTP ready\r\n",
        "status line is not HTTP's: '220 mail.example ESMTP ready'",
    ),
    # Step 13
    "closed in the 41 bytes": (
        STATUS + FIXED[:30],
        "connection closed before the end of the lines Upgrade and Connection",
    ),
    "the 41 bytes in the other order": (
        STATUS + b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
        "status line is not followed by 'Upgrade: WebSocket' and 'Connection: "
        "Upgrade': b'C'",
    ),
    "the 41 bytes in lowercase": (
        STATUS + FIXED.lower(),
        "status line is not followed by 'Upgrade: WebSocket' and 'Connection: "
        "Upgrade': b'u'",
    ),
    "something between the 41 bytes": (
        STATUS + FIXED.replace(b"\r\nC", b"\r\nX: y\r\nC"),
        "status line is not followed by 'Upgrade: WebSocket' and 'Connection: "
        r"Upgrade': b'Upgrade: WebSocket\r\nX'",
    ),
    # Step 16
    "closed behind the 41 bytes": (GOOD, "connection closed in the name of a header"),
    "closed in a name": (GOOD + b"Nam", "connection closed in the name of a header"),
    "CR in a name": (GOOD + b"Nam\re", "CR in the name of a header: b'nam'"),
    "LF in a name": (GOOD + b"Nam\ne", "LF in the name of a header: b'nam'"),
    "LF for a name": (GOOD + b"\n", "LF in the name of a header: b''"),
    # Step 17
    "closed behind a colon": (
        GOOD + b"Name:",
        "connection closed behind the name of a header",
    ),
    "LF behind a colon": (GOOD + b"Name:\n", "LF in the value of a header: b''"),
    # Step 18
    "closed in a value": (
        GOOD + b"Name: val",
        "connection closed in the value of a header",
    ),
    "LF in a value": (GOOD + b"Name: val\n", "LF in the value of a header: b'val'"),
    # Step 19
    "closed behind a CR": (
        GOOD + b"Name: value\r",
        "connection closed behind the value of a header",
    ),
    "CR without LF": (
        GOOD + b"Name: value\rX",
        "CR without LF behind a header: b'value'",
    ),
    # Step 22
    "closed behind the last CR": (
        lambda server: GOOD + fields(server) + b"\r",
        "connection closed before the end of the headers",
    ),
    "last CR without LF": (
        lambda server: GOOD + fields(server) + b"\rX",
        "CR without LF behind the headers",
    ),
    # Step 23
    "no origin": (
        lambda server: GOOD + fields(server, Origin=None) + b"\r\n",
        "0 websocket-origin headers, not one",
    ),
    "two origins": (
        lambda s: GOOD + fields(s) + f"websocket-origin: {ORIGIN}\r\n\r\n".encode(),
        "2 websocket-origin headers, not one",
    ),
    "another origin": (
        lambda server: GOOD + fields(server, Origin="http://example.org") + b"\r\n",
        "websocket-origin header is 'http://example.org', not 'http://example.com'",
    ),
    "the origin in another case": (
        lambda server: GOOD + fields(server, Origin="http://Example.com") + b"\r\n",
        "websocket-origin header is 'http://Example.com', not 'http://example.com'",
    ),
    "no location": (
        lambda server: GOOD + fields(server, Location=None) + b"\r\n",
        "0 websocket-location headers, not one",
    ),
    "two locations": (
        lambda server: GOOD + fields(server) * 2 + b"\r\n",
        "2 websocket-origin headers, not one",
    ),
    "another location": (
        lambda server: GOOD + fields(server, Location="ws://x/demo") + b"\r\n",
        "websocket-location header is 'ws://x/demo', not 'ws://HOST/demo'",
    ),
    "no protocol": (
        lambda server: GOOD + fields(server, Protocol=None) + b"\r\n",
        "0 websocket-protocol headers, not one",
    ),
    "two protocols": (
        lambda s: GOOD + fields(s) + b"WebSocket-Protocol: chat\r\n\r\n",
        "2 websocket-protocol headers, not one",
    ),
    "another protocol": (
        lambda server: GOOD + fields(server, Protocol="chat2") + b"\r\n",
        "websocket-protocol header is 'chat2', not 'chat'",
    ),
    "an empty name": (
        lambda server: GOOD + fields(server) + b": x\r\n\r\n",
        "header with an empty name",
    ),
    # Not the draft's, but ours
    "headers without an end": (
        GOOD + b"X: " + b"x" * 70_000,
        "headers longer than 65536 bytes",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_has_its_reason(server, name):
    answer, reason = FAILURES[name]
    server.answer = answer(server.server) if callable(answer) else answer
    server.end = "close" if reason.startswith("connection closed") else "keep"
    started = time.monotonic()
    with pytest.raises(HandshakeError) as caught:
        server.connect()
    assert time.monotonic() - started < PATIENCE / 2
    assert str(caught.value) == reason.replace("HOST", server.server.host)
    server.server.stop()
    # 4.3: "To *fail the Web Socket connection*, the user agent must close".
    assert server.client_closed_after < PATIENCE / 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        STATUS[:30],
        STATUS,
        GOOD,
        GOOD + b"Na",
        GOOD + b"Name:",
        GOOD + b"Name: val",
        GOOD + b"Name: val\r",
        GOOD + b"Name: val\r\n\r",
    ],
)
def test_each_wait_has_an_end(server, answer):
    server.answer = answer
    expect_timeout(server.connect, "opening handshake")


def test_an_answer_that_drips_has_an_end(server):
    server.answer = GOOD + b"X: " + b"x" * 5000
    server.bytewise = True
    with pytest.raises(TimeoutError):
        server.connect(open_timeout=0.3)


def test_a_refusal_has_its_status_headers_and_body_when_time_is_up(server):
    server.answer = b"HTTP/1.1 403 Forbidden\r\nX-Why: no\r\n\r\nbecause"
    with pytest.raises(HandshakeError) as caught:
        server.connect(open_timeout=2)
    assert caught.value.status == 403
    assert ("X-Why", "no") in caught.value.headers
    assert caught.value.body == b"because"


VARIATIONS = {
    "as the draft has it": lambda good: good,
    "in the reverse order": lambda good: list(reversed(good)),
    "names in another case": lambda good: [
        line.split(b":")[0].swapcase() + b":" + line.split(b":", 1)[1] for line in good
    ],
    "no space behind the colons": lambda good: [
        line.replace(b": ", b":", 1) for line in good
    ],
    "unknown headers": lambda good: [b"X: y", *good, b"Server: a:b", b"x:", b"X:  "],
    "names that are not tokens": lambda good: [b"a b\x01: \x02", b"\xff: \xfe", *good],
}


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "byte-by-byte"])
@pytest.mark.parametrize("name", VARIATIONS)
def test_each_variation_is_accepted(server, name, bytewise):
    good = fields(server.server).splitlines()
    lines = VARIATIONS[name](good)
    server.answer = GOOD + b"\r\n".join([*lines, b"", b""]) + b"\x00hello\xff"
    server.bytewise = bytewise
    with server.connect() as ws:
        assert ws.version == "55"
        assert ws.subprotocol == "chat"
        assert ws.receive(timeout=PATIENCE) == "hello"
        ws.send("wörld")
    server.server.stop()
    # Section 6: "There is no closing handshake."
    assert server.tail == b"\x00w\xc3\xb6rld\xff"


def test_frames_are_read_as_section_4_2_has_them(server):
    server.answer = (
        GOOD
        + fields(server.server)
        + b"\r\n"
        + b"\x00one\xff"
        # Other types of text, and binary data, are discarded.
        + b"\x01two\xff"
        + b"\x80\x05three"
        + b"\x80\x00"
        + b"\xff\x80\x81\x00"
        + b"x" * 128
        # 4.4: what is not UTF-8
        + b"\x00f\xf0ur\xff"
        + b"\x00\xff"
    )
    with server.connect() as ws:
        messages = [ws.receive(timeout=PATIENCE) for _ in range(3)]
    assert messages == ["one", "f\ufffdur", ""]


@pytest.mark.parametrize(
    "frame", [b"\x00" + b"x" * 2000, b"\x80\x8f\x50" + b"x" * 2000]
)
def test_what_is_buffered_has_a_limit(server, frame):
    server.answer = GOOD + fields(server.server) + b"\r\n" + frame
    with server.connect(max_message_size=1000, close_timeout=PATIENCE) as ws:
        assert ws.receive(timeout=PATIENCE) is None
        assert ws.closed
        # 4.3: not to be told apart from a normal close
        assert (ws.close_code, ws.close_reason) == (1005, "")
    server.server.stop()
    assert server.client_closed_after < PATIENCE / 2


def test_the_server_closes(server):
    server.answer = GOOD + fields(server.server) + b"\r\n\x00bye\xff"
    server.end = "close"
    with server.connect(close_timeout=PATIENCE) as ws:
        assert list(ws) == ["bye"]
        assert ws.closed
        assert ws.closed_by == "peer"
        assert (ws.close_code, ws.close_reason) == (1005, "")
    server.server.stop()
    # Section 6: "it must immediately close its side of the connection"
    assert server.client_closed_after < PATIENCE / 2


def test_binary_data_has_no_place(server):
    server.answer = GOOD + fields(server.server) + b"\r\n"
    with server.connect() as ws, pytest.raises(TypeError):
        ws.send(b"binary")


def test_connection_that_cannot_be_opened():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1 port {port}"):
            connect(f"ws://127.0.0.1:{port}/", version="55")


@pytest.mark.parametrize(("origin", "kept"), [(ORIGIN, ["a"]), ("http://b", [])])
def test_what_fails_sets_no_cookies(server, origin, kept):
    """Step 23: "fail the Web Socket connection and abort these steps.  Otherwise, [...]
    Handle the cookie"."""
    cookies = b"Set-Cookie: a=1\r\n"
    server.answer = GOOD + fields(server.server, Origin=origin) + cookies + b"\r\n"
    jar = CookieJar()
    try:
        server.connect(cookies=jar).close()
    except HandshakeError:
        assert kept == []
    assert [cookie.name for cookie in jar] == kept
