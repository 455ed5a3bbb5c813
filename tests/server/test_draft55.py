"""Every sentence of draft 55 with a "must" or a "should" for servers, in its order."""

import contextlib

import pytest

from . import peers


@pytest.fixture
def server(shared):
    """The worker; the other kinds of server are tried elsewhere."""
    return shared("ours")


def request(server, *fields, target="/echo", line=None):
    """Return a request of draft 55 with these fields behind the usual ones."""
    lines = [
        f"GET {target} HTTP/1.1" if line is None else line,
        "Upgrade: WebSocket",
        "Connection: Upgrade",
        f"Host: {server.host}",
        f"Origin: {server.origin}",
        *fields,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def answer_of(wire):
    """Return the lines of the answer's head."""
    return wire.read_through(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]


def expect_disconnect(wire):
    """See that the server ends the connection, whatever it says before."""
    with contextlib.suppress(ConnectionResetError):
        assert b" 101 " not in wire.read_to_end()


def test_the_request_is_read_to_its_end(server):
    """5.1: "Read data from the client until four bytes 0x0D 0x0A 0x0D 0x0A are
    read. This data must either be discarded or handled as described in the
    following section"."""
    with server.connect() as wire:
        wire.send(request(server, "Cookie: a=b", "X-Nobody-Knows: c") + b"\0next\xff")
        assert answer_of(wire)[0] == "HTTP/1.1 101 Web Socket Protocol Handshake"
        assert wire.read(6) == b"\0next\xff"


@pytest.mark.parametrize("target", ["/echo", "/echo?a=%20b&c", "/echo?%F0%9F%98%80"])
def test_the_path_is_echoed(server, target):
    """5.2: "If the server supports multiple paths, then the server should echo the
    value of this field in the initial handshake, as part of the URL given on the
    |WebSocket-Location| line (after the appropriate scheme and host)."."""
    with server.connect() as wire:
        wire.send(request(server, target=target))
        assert f"WebSocket-Location: ws://{server.host}{target}" in answer_of(wire)


@pytest.mark.parametrize(
    "line", ["GET", "GET /echo", "GET  /echo HTTP/1.1 more", "/echo"]
)
def test_a_first_field_without_three_tokens_aborts(server, line):
    """5.2: "If the first field does not have three tokens, the server should abort
    the connection as it probably represents an errorneous client."."""
    server.allowed_faults = [r"\bWARNING\b", "Invalid"]
    with server.connect() as wire:
        wire.send(request(server, line=line))
        expect_disconnect(wire)


@pytest.mark.parametrize("host", ["virtual.example", "other.example:8080"])
def test_the_host_is_the_one_that_was_asked_for(server, host):
    """5.2: "The right host has to be output as part of the URL given on the
    |WebSocket-Location| line of the handshake described above, to verify that the
    server knows that it is really representing that host."."""
    with server.connect() as wire:
        lines = request(server).decode()
        lines = lines.replace(server.origin, f"http://{host}")
        wire.send(lines.replace(server.host, host).encode())
        assert f"WebSocket-Location: ws://{host}/echo" in answer_of(wire)


def test_the_origin_is_echoed(server):
    """5.2: "If the server supports connections from more than one origin, then the
    server should echo the value of this field in the initial handshake, on the
    |WebSocket-Origin| line."."""
    with server.connect() as wire:
        wire.send(request(server))
        assert f"WebSocket-Origin: {server.origin}" in answer_of(wire)


@pytest.mark.parametrize("field", ["nonsense", "no colon at all", "=a"])
def test_a_field_without_its_separator_disconnects(server, field):
    """5.2: "Any fields that lack the colon-space separator should be discarded and
    may cause the server to disconnect."."""
    server.allowed_faults = [r"\bWARNING\b", "Invalid"]
    with server.connect() as wire:
        wire.send(request(server, field))
        expect_disconnect(wire)


def test_a_field_without_the_space_of_its_separator_is_http(server):
    """5.2, again: HTTP has the space optional, and browsers' proxies leave it out."""
    with server.connect() as wire:
        wire.send(request(server, "Cookie:a=b"))
        assert answer_of(wire)[0] == "HTTP/1.1 101 Web Socket Protocol Handshake"


def test_what_the_client_sends_is_read_step_by_step(server):
    """5.3: "The server must run through the following steps to process the bytes
    sent by the client"."""
    client = server.open("55")
    with client.wire:
        # 1. "it will be a 0x00 byte", 3. "Read a byte", 4. "If /b/ is not 0xFF, then
        # append", 5. "Interpret /raw data/ as a UTF-8 string", 6. "Return to the first"
        client.wire.send_bytewise(b"\0\xc3\xa9\0\xff\0\xff")
        assert client.wire.read(7) == b"\0\xc3\xa9\0\xff\0\xff"


def test_strings_are_sent_step_by_step(server):
    """5.3: "The server must run through the following steps to send strings to the
    client: 1. Send a 0x00 byte [...] 2. Encode /data/ using UTF-8 [...] 3. Send a
    0xFF byte"."""
    client = server.open("55")
    with client.wire:
        text = "a\u00ff\u20ac\U0001f600"
        client.send(text)
        expected = b"\0" + text.encode("utf-8") + b"\xff"
        assert client.wire.read(len(expected)) == expected


@pytest.mark.parametrize(
    "octets",
    [b"\0" + bytes(range(255)) + b"\xff", b"\0\xf0\x28\x8c\x28\xff", b"\0\xc0\x80\xff"],
)
def test_no_input_is_trusted_to_be_valid(server, octets):
    """7: "Servers should therefore be careful about assuming that they are talking
    directly to scripts from known origins, and must consider that they might be
    accessed in unexpected ways. In particular, a server should not trust that any
    input is valid."."""
    client = server.open("55")
    with client.wire:
        client.wire.send(octets)
        assert client.receive() == octets[1:-1].decode("utf-8", "replace")
        client.send("still there")
        assert client.receive() == "still there"


def test_the_origin_is_verified(server):
    """7: "Servers that are not intended to process input from any Web page but
    only for certain sites should verify the "Origin" header is an origin they
    expect, and should only respond with the corresponding "WebSocket-Origin" if it
    is an accepted origin."."""
    server.allowed_faults = [r"evil\.example"]
    with server.connect() as wire:
        lines = request(server).decode()
        wire.send(lines.replace(server.origin, "http://evil.example").encode())
        response = peers.read_response(wire)
    assert response.status == 403
    assert response.field("websocket-origin") is None


def test_what_is_too_much_disconnects(server):
    """7: "If at any time a server is faced with data that it does not understand,
    or that violates some criteria by which the server determines safety of input
    [...] the server should just disconnect."."""
    client = server.open("55")
    with client.wire:
        # a length that no frame may have
        client.wire.send(b"\x80\xff\xff\xff\xff\x7f")
        with contextlib.suppress(ConnectionResetError):
            assert client.wire.read_to_end() == b""


def test_a_protocol_that_nobody_speaks_is_not_echoed(server):
    """8.5: the header "enables scripts to both select a subprotocol and be sure
    that the server agreed to serve that subprotocol"."""
    with server.connect() as wire:
        wire.send(request(server, "WebSocket-Protocol: nobody-speaks-this"))
        names = [line.partition(":")[0] for line in answer_of(wire)]
    assert "WebSocket-Protocol" not in names


def test_the_path_and_the_host_may_be_those_of_an_absolute_uri(server):
    """5.2, again: "the server should echo the value of this field [...] after the
    appropriate scheme and host", which HTTP lets a client write there itself."""
    target = "http://virtual.example:81/echo?a"
    with server.connect() as wire:
        origin = f"Origin: {server.origin}\r\n".encode()
        same = b"Origin: http://virtual.example:81\r\n"
        wire.send(request(server, target=target).replace(origin, same))
        assert f"WebSocket-Location: ws{target[4:]}" in answer_of(wire)
